//! What came of a race, for people: tables in Markdown and who was fastest.
//!
//! Owns the words and the rounding. Every number is a median with its range, from records alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::plan::{Client, Name, Network, Stack, Unit, word};
use crate::record::{Measured, Record};
use crate::statistics::Summary;

/// More than this of a run's core seconds spent by others makes it no result.
const OTHERS_MAX: f64 = 0.05;

/// All that was measured of one server by one client in one workload over one network.
pub(crate) struct Cell<'a> {
    pub(crate) unit: Unit,
    measured: Vec<&'a Measured>,
    skipped: Option<&'a str>,
}

pub(crate) type Key = (Network, Name, Stack, Client);

/// The records of each cell.
pub(crate) fn cells(records: &[Record]) -> BTreeMap<Key, Cell<'_>> {
    let mut cells = BTreeMap::new();
    for record in records {
        let key = (record.network, record.workload, record.server, record.client);
        let empty = || Cell { unit: record.workload.unit(), measured: Vec::new(), skipped: None };
        let cell = cells.entry(key).or_insert_with(empty);
        cell.measured.extend(&record.measured);
        cell.skipped = cell.skipped.or(record.skipped.as_deref());
    }
    cells
}

impl Cell<'_> {
    /// The number that the workload is judged by.
    pub(crate) fn score(&self) -> Option<Summary> {
        self.of(|measured| measured.score(self.unit))
    }

    fn of(&self, value: impl Fn(&Measured) -> Option<f64>) -> Option<Summary> {
        Summary::of(self.measured.iter().filter_map(|measured| value(measured)))
    }

    /// A line of a table, behind the names.
    fn line(&self) -> String {
        let Some(score) = self.score() else {
            return format!("{} | | | | | |", self.skipped.unwrap_or("nothing"));
        };
        let percent = |summary: Option<Summary>| {
            summary.map_or_else(String::new, |summary| format!("{:.0} %", summary.median * 100.0))
        };
        let rate = self.of(|measured| measured.rate(self.unit));
        let tail = self.of(|measured| {
            let p99 = measured.outcome.latency_us.p99;
            (p99 > 0.0 && self.unit != Unit::Bytes).then_some(p99)
        });
        let on_the_clock = self.unit != Unit::Memory;
        let busy = |value: Option<Summary>| if on_the_clock { percent(value) } else { String::new() };
        format!(
            "{} | {:.0} % | {} | {} | {} | {} |",
            ranged(score, |value| number(self.unit, value)),
            score.spread() * 100.0,
            rate.map_or_else(String::new, |rate| number(rate_unit(self.unit), rate.median)),
            tail.map_or_else(String::new, |tail| format!("{:.0} µs", tail.median)),
            busy(self.of(|measured| Some(measured.busy().0))),
            busy(self.of(|measured| Some(measured.busy().1))),
        )
    }
}

/// Latencies come at a rate of operations.
fn rate_unit(unit: Unit) -> Unit {
    if unit == Unit::Latency { Unit::Operations } else { unit }
}

fn ranged(summary: Summary, text: impl Fn(f64) -> String) -> String {
    match summary.count {
        1 => text(summary.median),
        _ => format!("{} ({} to {})", text(summary.median), text(summary.least), text(summary.most)),
    }
}

/// A value with as many digits as it deserves.
pub(crate) fn number(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Bytes => format!("{:.2} Gb", value / 1e9),
        Unit::Operations if value >= 10_000.0 => format!("{:.0} k", value / 1e3),
        Unit::Operations => format!("{value:.0}"),
        Unit::Latency => format!("{value:.1} µs"),
        Unit::Memory => format!("{:.1} KiB", value / 1024.0),
    }
}

/// What the number of a workload says.
pub(crate) fn meaning(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bits per server CPU second",
        Unit::Operations => "operations per server CPU second",
        Unit::Latency => "median time of one request",
        Unit::Memory => "resident bytes per further idle connection",
    }
}

/// Braid beside the best of the others, as the neutral client measured them.
pub(crate) fn standing(records: &[Record]) -> String {
    let cells = cells(records);
    let mut text = warning(records);
    text.push_str(
        "\n| workload | network | Braid | best other | Braid is better by |\n|---|---|---|---|---|\n",
    );
    for ((network, name, server, client), cell) in &cells {
        let (Stack::Braid, Client::Neutral, Some(ours)) = (server, client, cell.score()) else { continue };
        let others = cells.iter().filter(|((at, what, server, by), _)| {
            (at, what, by) == (network, name, client) && *server != Stack::Braid
        });
        let scores = others.filter_map(|((_, _, server, _), cell)| Some((*server, cell.score()?.median)));
        let less_is_more = matches!(cell.unit, Unit::Latency | Unit::Memory);
        let worth = |value: f64| if less_is_more { -value } else { value };
        let Some((best, theirs)) = scores.max_by(|a, b| worth(a.1).total_cmp(&worth(b.1))) else { continue };
        let factor = if less_is_more { theirs / ours.median } else { ours.median / theirs };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} by {} | x {factor:.2} |",
            word(name),
            word(network),
            number(cell.unit, ours.median),
            number(cell.unit, theirs),
            word(&best),
        );
    }
    text
}

/// All tables.
pub(crate) fn tables(records: &[Record]) -> String {
    let cells = cells(records);
    let mut text = String::new();
    let mut last = None;
    for ((network, name, server, client), cell) in &cells {
        if last != Some((*network, *name)) {
            let _ = write!(
                text,
                "\n### {}, {}\n\n| server | client | {} | spread | per second | p99 | server busy | client busy |\n\
                 |---|---|---|---|---|---|---|---|\n",
                word(name),
                word(network),
                meaning(cell.unit),
            );
            last = Some((*network, *name));
        }
        let _ = writeln!(text, "| {} | {} | {}", word(server), word(client), cell.line());
    }
    text
}

/// Was the machine ours alone?
fn warning(records: &[Record]) -> String {
    let shares = records.iter().filter_map(|record| {
        let measured = record.measured.filter(|measured| measured.outcome.elapsed_s > 0.0)?;
        Some(measured.others_cpu_s / measured.outcome.elapsed_s)
    });
    let shares = shares.collect::<Vec<_>>();
    let disturbed = shares.iter().filter(|share| **share > OTHERS_MAX).count();
    if disturbed == 0 {
        return String::new();
    }
    format!(
        "**The machine was not alone with the race**: in {disturbed} of {} runs other programs used more than {:.0} % \
         of a core. These numbers are no result.\n",
        shares.len(),
        OTHERS_MAX * 100.0
    )
}

#[cfg(test)]
mod tests {
    use interop_race::outcome::Outcome;

    use super::*;

    fn record(server: Stack, repetition: usize, bytes: u64, others_cpu_s: f64) -> Record {
        let outcome = Outcome { operations: 1, bytes, elapsed_s: 1.0, ..Outcome::default() };
        let measured =
            Measured { outcome, server_cpu_s: 1.0, client_cpu_s: 0.5, others_cpu_s, ..Measured::default() };
        let (network, workload, client) = (Network::Loopback, Name::Download, Client::Neutral);
        Record { network, workload, server, client, repetition, measured: Some(measured), skipped: None }
    }

    #[test]
    fn a_cell_shows_the_median_of_its_repetitions_and_their_range() {
        let records = [125_000_000, 375_000_000, 250_000_000].map(|bytes| record(Stack::Noq, 0, bytes, 0.0));
        let text = tables(&records);
        assert!(
            text.contains(
                "| noq | neutral | 2.00 Gb (1.00 Gb to 3.00 Gb) | 100 % | 2.00 Gb |  | 100 % | 50 % |"
            ),
            "{text}"
        );
        assert!(!standing(&records).contains("no result"), "{text}");
    }

    #[test]
    fn what_was_skipped_says_why() {
        let mut skipped = record(Stack::Quiche, 0, 0, 0.0);
        skipped.measured = None;
        skipped.skipped = Some("the server sends no tickets".to_owned());
        let text = tables(&[skipped, record(Stack::Noq, 0, 1_000_000_000, 0.0)]);
        assert!(text.contains("| quiche | neutral | the server sends no tickets |"), "{text}");
        assert!(text.contains("| noq | neutral | 8.00 Gb |"), "{text}");
    }

    #[test]
    fn a_busy_machine_is_said_first() {
        let text = standing(&[record(Stack::Noq, 0, 1, 0.0), record(Stack::Noq, 1, 1, 0.5)]);
        assert!(text.starts_with("**The machine was not alone with the race**: in 1 of 2 runs"), "{text}");
    }

    #[test]
    fn braid_stands_beside_the_best_of_the_others() {
        let mut records = vec![
            record(Stack::Braid, 0, 1_000_000_000, 0.0),
            record(Stack::Noq, 0, 250_000_000, 0.0),
            record(Stack::S2n, 0, 500_000_000, 0.0),
        ];
        let text = standing(&records);
        assert!(text.contains("| download | loopback | 8.00 Gb | 4.00 Gb by s2n | x 2.00 |"), "{text}");
        for record in &mut records {
            record.workload = Name::Idle;
            let bytes = record.measured.unwrap().outcome.bytes as f64 / 1e6;
            record.measured =
                record.measured.map(|m| Measured { connection_bytes: Some(bytes * 1024.0), ..m });
        }
        let text = standing(&records);
        assert!(
            text.contains("| idle | loopback | 1000.0 KiB | 250.0 KiB by noq | x 0.25 |"),
            "less is more: {text}"
        );
    }

    #[test]
    fn numbers_have_their_units() {
        assert_eq!(number(Unit::Bytes, 5_432_000_000.0), "5.43 Gb");
        assert_eq!(number(Unit::Operations, 181_234.0), "181 k");
        assert_eq!(number(Unit::Operations, 1570.4), "1570");
        assert_eq!(number(Unit::Latency, 41.26), "41.3 µs");
        assert_eq!(number(Unit::Memory, 8192.0), "8.0 KiB");
    }
}
