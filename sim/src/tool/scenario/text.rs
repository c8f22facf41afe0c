//! The outcome of a scenario as people read it: what was transferred, what each path did.
//!
//! Owns the layout only; every number comes from the `Outcome`.

use std::fmt::Write as _;

use super::outcome::{Outcome, Path, Transfer};
use crate::tool::table::{NONE, Side, Table, decimal};

/// A transfer that is repeated more often than this is summed up in one line.
const LINES_A_NAME: usize = 8;

/// The whole text, with a newline at the end.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    if !outcome.title.is_empty() {
        writeln!(text, "{}\n", outcome.title).expect("a string takes everything");
    }
    for table in [transfers(outcome), paths(outcome)].into_iter().chain(competitors(outcome)) {
        writeln!(text, "{table}").expect("a string takes everything");
    }
    for (name, line) in [
        ("completed", completed(outcome)),
        ("stall", stall(outcome)),
        ("suspects", format!("{}, {} of them without reason", outcome.suspects, outcome.spurious_suspects)),
        ("delivered", delivered(outcome)),
        ("run", format!("seed {}, {}, {}", outcome.seed, outcome.scheduler, outcome.congestion)),
    ] {
        writeln!(text, "{name:<11}{line}").expect("a string takes everything");
    }
    text
}

fn transfers(outcome: &Outcome) -> String {
    let mut table = Table::new(&[
        ("transfer", Side::Left),
        ("up, bytes", Side::Right),
        ("down, bytes", Side::Right),
        ("start, s", Side::Right),
        ("end, s", Side::Right),
        ("took, ms", Side::Right),
        ("deadline", Side::Left),
    ]);
    for group in outcome.transfers.chunk_by(|one, next| one.name == next.name) {
        let rows: Vec<[String; 7]> = match group.len() {
            0..=LINES_A_NAME => group.iter().map(line).collect(),
            _ => summary(group).into(),
        };
        for row in rows {
            table.row(row);
        }
    }
    table.text()
}

fn line(transfer: &Transfer) -> [String; 7] {
    let deadline = match (transfer.deadline_ms, transfer.met_deadline) {
        (None, _) => "",
        (_, Some(true)) => "met",
        (_, Some(false)) => "missed",
        (_, None) => "open",
    };
    [
        transfer.name.clone(),
        transfer.upload_bytes.to_string(),
        transfer.download_bytes.to_string(),
        decimal(transfer.start_s, 3),
        decimal(transfer.end_s, 3),
        decimal(transfer.took_ms, 2),
        deadline.to_owned(),
    ]
}

/// Two lines for many repetitions: the fastest and the slowest, and how many met their deadline.
fn summary(group: &[Transfer]) -> [[String; 7]; 2] {
    let took = |transfer: &&Transfer| transfer.took_ms.unwrap_or(f64::INFINITY);
    let by_time = |a: &&Transfer, b: &&Transfer| took(a).total_cmp(&took(b));
    let (fastest, slowest) = (group.iter().min_by(by_time), group.iter().max_by(by_time));
    let named = |what: &str, transfer: Option<&Transfer>| {
        let mut row = transfer.map_or_else(|| std::array::from_fn(|_| NONE.to_owned()), line);
        row[0] = format!("{} ({what} of {})", row[0], group.len());
        row
    };
    let [mut first, mut last] = [named("fastest", fastest), named("slowest", slowest)];
    if group.iter().any(|transfer| transfer.deadline_ms.is_some()) {
        let met = group.iter().filter(|transfer| transfer.met_deadline == Some(true)).count();
        first[6] = String::new();
        last[6] = format!("{met} of {} met", group.len());
    }
    [first, last]
}

fn paths(outcome: &Outcome) -> String {
    let mut table = Table::new(&[
        ("path", Side::Left),
        ("brought, bytes", Side::Right),
        ("share", Side::Right),
        ("lost", Side::Right),
        ("suspected", Side::Right),
        ("RTT min, ms", Side::Right),
        ("smoothed", Side::Right),
        ("up: sent", Side::Right),
        ("dropped", Side::Right),
        ("down: sent", Side::Right),
        ("dropped", Side::Right),
    ]);
    let all: u64 = outcome.paths.iter().map(|path| path.bytes).sum();
    for path in &outcome.paths {
        table.row(path_row(path, all));
    }
    table.text()
}

fn path_row(path: &Path, all: u64) -> [String; 11] {
    let share = (all > 0).then(|| path.bytes as f64 / all as f64 * 100.0);
    [
        path.name.clone(),
        path.bytes.to_string(),
        share.map_or_else(|| NONE.to_owned(), |share| format!("{share:.1} %")),
        path.lost.to_string(),
        path.suspected.to_string(),
        decimal(path.rtt_min_ms, 2),
        decimal(path.rtt_smoothed_ms, 2),
        path.up.sent.to_string(),
        path.up.dropped().to_string(),
        path.down.sent.to_string(),
        path.down.dropped().to_string(),
    ]
}

/// A table of competitors, if there are any.
fn competitors(outcome: &Outcome) -> Option<String> {
    let columns = ["competitor", "delivered, bytes", "start, s", "end, s", "goodput, Mbps"];
    let side = |index: usize| if index == 0 { Side::Left } else { Side::Right };
    let columns: Vec<(&str, Side)> =
        columns.into_iter().enumerate().map(|(at, name)| (name, side(at))).collect();
    let mut table = Table::new(&columns);
    for one in &outcome.competitors {
        table.row([
            one.name.clone(),
            one.delivered_bytes.to_string(),
            decimal(one.start_s, 3),
            decimal(one.end_s, 3),
            decimal(one.goodput_mbps, 2),
        ]);
    }
    (!outcome.competitors.is_empty()).then(|| table.text())
}

fn delivered(outcome: &Outcome) -> String {
    let Outcome { delivered_bytes, asked_bytes, duplicate_bytes, reassembly_peak_bytes, .. } = outcome;
    format!(
        "{delivered_bytes} of {asked_bytes} bytes, {duplicate_bytes} twice; at most {reassembly_peak_bytes} waited for \
         others"
    )
}

fn completed(outcome: &Outcome) -> String {
    match outcome.completed_s {
        Some(at) => format!("{at:.3} s"),
        None => format!("not within {:.3} s", outcome.elapsed_s),
    }
}

fn stall(outcome: &Outcome) -> String {
    format!("{:.2} ms at most, from {:.3} s on", outcome.longest_stall_ms, outcome.longest_stall_at_s)
}
