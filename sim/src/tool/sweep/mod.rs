//! `sim sweep`: every line of a design, over both paths and over each alone.
//!
//! Owns the distribution of runs to threads and what is computed from their times. One result for each line, in the
//! order of the file, however many threads there are. How it is shown is in `text`.

mod benefit;
pub(crate) mod design;
pub(crate) mod row;
mod text;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use self::benefit::{eben, median, quantile};
use self::design::Pair;
use self::row::{Outcome, Settings, Use};

/// Says how the JSON is to be read; rises when a key changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What a sweep found; its JSON is this, key by key.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    size_bytes: u64,
    scheduler: String,
    congestion: String,
    queue: &'static str,
    seeds: Vec<u64>,
    rows: Vec<Row>,
    /// Rows with a benefit above zero, of all rows.
    share_above_zero: f64,
    /// Rows in which a run did not complete.
    rows_incomplete: usize,
    eben: Option<Quartiles>,
}

/// One line of the design. A time that does not exist is `None`.
#[derive(Clone, Debug, Serialize)]
struct Row {
    id: String,
    t_both_s: Option<f64>,
    t0_s: Option<f64>,
    t1_s: Option<f64>,
    eben: Option<f64>,
    bound_s: f64,
    /// A sentence for each run that did not complete.
    failures: Vec<String>,
}

/// How the benefit is distributed over the rows that have one.
#[derive(Clone, Copy, Debug, Serialize)]
struct Quartiles {
    min: f64,
    q1: f64,
    median: f64,
    q3: f64,
    max: f64,
}

/// Runs everything.
pub(crate) fn sweep(pairs: &[Pair], settings: &Settings, seeds: &[u64], jobs: usize) -> Report {
    let runs_a_row = seeds.len() * Use::ALL.len();
    let outcomes = in_parallel(pairs.len() * runs_a_row, jobs, |index| {
        let (pair, run) = (&pairs[index / runs_a_row], index % runs_a_row);
        row::run(pair, Use::ALL[run % Use::ALL.len()], seeds[run / Use::ALL.len()], settings)
    });
    let of_row = |(pair, outcomes)| row(pair, outcomes, seeds, settings.size_bytes);
    let rows: Vec<Row> = pairs.iter().zip(outcomes.chunks(runs_a_row)).map(of_row).collect();
    let benefits: Vec<f64> = rows.iter().filter_map(|row| row.eben).collect();
    let above_zero = benefits.iter().filter(|benefit| **benefit > 0.0).count();
    Report {
        schema: SCHEMA,
        size_bytes: settings.size_bytes,
        scheduler: settings.scheduler.to_string(),
        congestion: settings.congestion.to_string(),
        queue: settings.queue.name(),
        seeds: seeds.to_vec(),
        share_above_zero: above_zero as f64 / rows.len() as f64,
        rows_incomplete: rows.iter().filter(|row| !row.failures.is_empty()).count(),
        eben: quartiles(&benefits),
        rows,
    }
}

impl Report {
    /// What went wrong, a sentence each; nothing if every run completed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> {
        self.rows.iter().flat_map(|row| row.failures.iter().map(|what| format!("row {}: {what}", row.id)))
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data") + "\n"
    }

    pub(crate) fn to_text(&self) -> String {
        text::text(self)
    }
}

/// A row from its runs: those of the first seed over both paths, over path 0 and over path 1, then the next seed's.
fn row(pair: &Pair, outcomes: &[Outcome], seeds: &[u64], size_bytes: u64) -> Row {
    let time = |which: usize| {
        let of_use = outcomes.iter().skip(which).step_by(Use::ALL.len());
        let seconds = |outcome: &Outcome| outcome.as_ref().map_or(f64::INFINITY, Duration::as_secs_f64);
        median(&of_use.map(seconds).collect::<Vec<_>>())
    };
    let [both, first, second] = [0, 1, 2].map(time);
    let goodput = |seconds: f64| size_bytes as f64 / seconds;
    let known = |seconds: f64| seconds.is_finite().then_some(seconds);
    let failure = |(index, outcome): (usize, &Outcome)| {
        let over = ["over both paths", "over path 0", "over path 1"][index % Use::ALL.len()];
        outcome.as_ref().err().map(|what| format!("{over}, seed {}: {what}", seeds[index / Use::ALL.len()]))
    };
    Row {
        id: pair.id.clone(),
        t_both_s: known(both),
        t0_s: known(first),
        t1_s: known(second),
        eben: eben(goodput(both), [goodput(first), goodput(second)]),
        bound_s: row::bound(pair, size_bytes).as_secs_f64(),
        failures: outcomes.iter().enumerate().filter_map(failure).collect(),
    }
}

fn quartiles(benefits: &[f64]) -> Option<Quartiles> {
    let at = |q| quantile(benefits, q);
    (!benefits.is_empty()).then(|| Quartiles {
        min: at(0.0),
        q1: at(0.25),
        median: at(0.5),
        q3: at(0.75),
        max: at(1.0),
    })
}

/// `work` for every number below `count`, by `jobs` threads; the results in the order of the numbers.
fn in_parallel<T: Send>(count: usize, jobs: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        numbers.take_while(|&number| number < count).map(|number| (number, work(number))).collect::<Vec<_>>()
    };
    let mut results: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.min(count)).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("runs catch their panics")).collect()
    });
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::design::Path;
    use super::*;

    fn pair(id: &str) -> Pair {
        let path = Path { rate_mbps: 8.0, rtt_ms: 20.0, queue_ms: 20.0, loss_pct: 0.0 };
        Pair { id: id.to_owned(), paths: [path; 2] }
    }

    fn after(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_row_takes_the_median_of_the_seeds_for_each_use() {
        let outcomes = [1.0, 2.0, 4.0, 1.5, 2.5, 9.0, 9.0, 1.0, 5.0].map(after).map(Ok);
        let row = row(&pair("7"), &outcomes, &[1, 2, 3], 1_000_000);
        assert_eq!((row.t_both_s, row.t0_s, row.t1_s), (Some(1.5), Some(2.0), Some(5.0)));
        // By hand, in MB/s: (1/1.5 - 1/2) / (1/5) = 5/6.
        assert!((row.eben.unwrap() - 5.0 / 6.0).abs() < 1e-9, "{row:?}");
        assert_eq!((row.id.as_str(), row.failures.len()), ("7", 0));
    }

    #[test]
    fn a_run_that_does_not_complete_has_no_time_and_a_sentence() {
        let outcomes = [Err("only 5 bytes".to_owned()), Ok(after(2.0)), Ok(after(4.0))];
        let row = row(&pair("7"), &outcomes, &[3], 1_000_000);
        assert_eq!((row.t_both_s, row.t0_s, row.eben), (None, Some(2.0), Some(-1.0)));
        assert_eq!(row.failures, ["over both paths, seed 3: only 5 bytes"]);
    }

    #[test]
    fn results_have_the_order_of_their_numbers_whoever_computed_them() {
        for jobs in [1, 2, 7] {
            assert_eq!(
                in_parallel(20, jobs, |number| number * number),
                (0..20).map(|n| n * n).collect::<Vec<_>>()
            );
        }
        assert!(in_parallel(0, 2, |number| number).is_empty());
    }
}
