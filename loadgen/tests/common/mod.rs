//! The program as a process, for all tests that run it.
//!
//! Owns that runs take turns: they measure, and share the machine's few cores.

use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

static MACHINE: Mutex<()> = Mutex::new(());

fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program.
pub(crate) fn loadgen(words: &str) -> Output {
    let _turn = machine();
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(words.split_whitespace())
        .output()
        .expect("the program runs")
}

/// The report of a run that must succeed.
pub(crate) fn report(words: &str) -> Value {
    let output = loadgen(&format!("{words} --json -"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {errors}");
    serde_json::from_slice(&output.stdout).expect("nothing but JSON on standard output")
}
