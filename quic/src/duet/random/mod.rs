//! Random operations on the two ends of a connection with up to eight paths: whatever happens, the rules hold.
//!
//! Owns how many cases are played, and from which seed. `BRAID_CASES` is the number of cases (300 without it),
//! `BRAID_SEED` where they begin (1 without it); a failing case is made as short as possible and shown; with
//! `BRAID_TRACE=1` the cases in `found` show every packet. `operation` says what can happen, `play` does it and judges; `book` and `course` know what applications were told. What was found this
//! way stands in `found`, each case as a test of its own.

mod book;
mod course;
mod found;
mod operation;
mod play;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Tries to make a failing case shorter.
const SHRINKS_MAX: u32 = 3000;

fn number(variable: &str, otherwise: u32) -> u32 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| given.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn whatever_happens_to_two_ends_and_eight_paths_the_rules_hold() {
    let cases = number("BRAID_CASES", 300);
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: SHRINKS_MAX, ..Config::default() };
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number("BRAID_SEED", 1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let outcome = TestRunner::new_with_rng(config, rng).run(&operation::cases(), |case| {
        play::play(&case);
        Ok(())
    });
    match outcome {
        Err(TestError::Fail(why, case)) => panic!("{why}\n{case:?}"),
        other => other.unwrap(),
    }
}
