//! The report as people read it: a table of paths and a few lines below.
//!
//! Owns the layout only; every number comes from the `Report`. What is unknown is a dash.

use std::fmt::Write as _;

use super::{Path, Report, RttUs};
use crate::units::{show_rate, show_us};

const HEADINGS: [&str; 11] = [
    "path",
    "local",
    "remote",
    "goodput",
    "share",
    "packets in",
    "out",
    "lost",
    "RTT min",
    "smoothed",
    "p99",
];
/// The columns that hold words and start at the left; numbers end at the right.
const LEFT: [usize; 3] = [0, 1, 2];
/// What stands for a number that nobody told.
const UNKNOWN: &str = "-";

/// The whole text, with a newline at the end.
pub(crate) fn text(report: &Report) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(report.paths.iter().map(path_row));
    rows.push(total_row(report));
    let states =
        std::iter::once("state").chain(report.paths.iter().map(|path| path.state)).chain(std::iter::once(""));
    let mut text = String::new();
    for (row, state) in rows.iter().zip(states) {
        let line = aligned(row, &widths(&rows)) + "  " + state;
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    for (name, line) in [
        ("requests", requests(report)),
        ("latency", latency(report)),
        ("stall", format!("{} at most", show_us(report.longest_stall_us as f64))),
        ("CPU", cpu(report)),
        ("machine", machine(report)),
    ] {
        writeln!(text, "{name:<10}{line}").expect("a string takes everything");
    }
    text
}

fn path_row(path: &Path) -> [String; 11] {
    let RttUs { min, smoothed, p99 } = path.rtt_us;
    [
        path.id.to_string(),
        path.local.clone().unwrap_or_else(|| UNKNOWN.into()),
        path.remote.clone().unwrap_or_else(|| UNKNOWN.into()),
        show_rate(path.goodput_bps as f64),
        percent(path.share),
        path.packets_received.to_string(),
        path.packets_sent.to_string(),
        path.packets_lost.map_or_else(|| UNKNOWN.into(), |lost| lost.to_string()),
        us(min),
        us(smoothed),
        us(p99),
    ]
}

/// Sums where sums make sense. The losses are unknown as soon as one path's are.
fn total_row(report: &Report) -> [String; 11] {
    let paths = &report.paths;
    let lost: Option<u64> = paths.iter().map(|path| path.packets_lost).sum();
    let received: u64 = paths.iter().map(|path| path.packets_received).sum();
    let sent: u64 = paths.iter().map(|path| path.packets_sent).sum();
    let blank = String::new;
    [
        "total".into(),
        blank(),
        blank(),
        show_rate(report.goodput_bps as f64),
        percent(paths.iter().map(|path| path.share).sum()),
        received.to_string(),
        sent.to_string(),
        lost.map_or_else(|| UNKNOWN.into(), |lost| lost.to_string()),
        us(paths.iter().filter_map(|path| path.rtt_us.min).min()),
        blank(),
        blank(),
    ]
}

fn requests(report: &Report) -> String {
    let requests = &report.requests;
    let (completed, failed) = (requests.completed, requests.failed);
    format!("{completed} completed, {failed} failed, {:.2} per second", requests.per_second)
}

fn latency(report: &Report) -> String {
    let latency = &report.latency_us;
    if latency.max.is_none() {
        return "no request completed within the measured time".into();
    }
    let values = [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("p99.9", latency.p999)];
    let named =
        values.into_iter().chain([("max", latency.max)]).map(|(name, value)| format!("{name} {}", us(value)));
    named.collect::<Vec<_>>().join(", ")
}

/// CPU seconds of both ends, for each gigabyte (10^9 bytes) and in all.
fn cpu(report: &Report) -> String {
    let gigabytes = report.bytes() / 1e9;
    let end = |name: &str, seconds: Option<f64>| match seconds {
        None => format!("{name} {UNKNOWN}"),
        Some(seconds) if gigabytes > 0.0 => {
            format!("{name} {:.3} s/GB ({seconds:.2} s)", seconds / gigabytes)
        }
        Some(seconds) => format!("{name} {seconds:.2} s"),
    };
    end("client", report.cpu.client_s) + ", " + &end("server", report.cpu.server_s)
}

fn machine(report: &Report) -> String {
    let environment = &report.environment;
    let or_unknown = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    format!(
        "{} ({} cores), Linux {}, {}, GSO {}",
        or_unknown(environment.cpu.as_deref()),
        environment.cores,
        or_unknown(environment.kernel.as_deref()),
        environment.io,
        if environment.gso { "on" } else { "off" },
    )
}

fn us(value: Option<u64>) -> String {
    value.map_or_else(|| UNKNOWN.into(), |us| show_us(us as f64))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The widest cell of each column.
fn widths(rows: &[[String; 11]]) -> [usize; 11] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
}

fn aligned(row: &[String; 11], widths: &[usize; 11]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
        if LEFT.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    cells.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_path_has_a_row_and_the_total_one_too() {
        let expected = "\
path   local            remote            goodput    share  packets in   out  lost  RTT min  smoothed      p99  state
0      127.0.0.1:40001  127.0.0.1:4433  6.00 Gb/s   75.0 %      300000   900    12    30 us     85 us   412 us  open
1      127.0.0.2:40002  127.0.0.1:4433  2.00 Gb/s   25.0 %      100000   300     0    31 us     92 us  1.50 ms  suspect
total                                   8.00 Gb/s  100.0 %      400000  1200    12    30 us

requests  4 completed, 0 failed, 0.80 per second
latency   p50 1.01 s, p90 1.20 s, p99 1.20 s, p99.9 1.20 s, max 1.20 s
stall     1.23 ms at most
CPU       client 0.900 s/GB (4.50 s), server 1.000 s/GB (5.00 s)
machine   AMD EPYC (2 cores), Linux 6.18.0, uring, GSO on
";
        assert_eq!(text(&example()), expected);
    }

    #[test]
    fn what_nobody_told_is_a_dash_and_one_unknown_loss_makes_the_total_unknown() {
        let mut report = example();
        (report.paths[1].packets_lost, report.paths[1].rtt_us) = (None, RttUs::default());
        report.latency_us.max = None;
        report.cpu.server_s = None;
        report.environment.cpu = None;
        let text = text(&report);
        let words = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("1 ")[9..], ["-", "-", "-", "-", "suspect"]);
        assert_eq!(words("total")[7..], ["-", "30", "us"]);
        assert!(
            text.contains("no request completed")
                && text.contains("server -\n")
                && text.contains("unknown (2")
        );
    }

    #[test]
    fn a_run_without_a_byte_has_no_cost_per_byte() {
        let mut report = example();
        report.goodput_bps = 0;
        assert!(cpu(&report).starts_with("client 4.50 s,"), "{}", cpu(&report));
    }
}
