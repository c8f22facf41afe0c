//! The report as people read it: a table of paths, a few lines below, and where there were several runs what they say.
//!
//! Owns the layout only; every number comes from the `Report`. What is unknown is a dash.

use std::fmt::Write as _;

use super::metrics::Metric;
use super::{CeilingShare, OpenLoop, Path, Report, RttUs, Server};
use crate::units::{show_bytes, show_metric, show_rate, show_us};

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

/// Where a thread waits for a core for this part of the time, something else runs on the machine.
pub(crate) const WAITING_TOLD: f64 = 0.05;
/// Work of fewer bytes than this is known by its number, other work by its bytes.
const BULK_MIN_BYTES: f64 = 100_000.0;

/// The whole text, with a newline at the end.
pub(crate) fn text(report: &Report) -> String {
    let mut text = if report.paths.is_empty() { String::new() } else { paths(report) + "\n" };
    let bulk = report.workload == "requests";
    let lines = [
        (report.workload, (report.workload != "idle").then(|| requests(report))),
        ("idle", idle(report)),
        ("latency", Some(latency(report))),
        ("open loop", report.open_loop.as_ref().map(open_loop)),
        ("stall", bulk.then(|| format!("{} at most", show_us(report.longest_stall_us as f64)))),
        ("CPU", Some(cpu(report))),
        ("server", report.server.as_ref().map(server)),
        ("ceiling", report.ceiling.as_ref().map(ceiling)),
        ("limit", limit(report)),
        ("machine", Some(machine(report))),
        ("runs", runs(report)),
    ];
    for (name, line) in lines.into_iter().filter(|(name, _)| report.workload != "idle" || !is_of_work(name)) {
        if let Some(line) = line {
            writeln!(text, "{name:<12}{line}").expect("a string takes everything");
        }
    }
    text
}

/// Does this line tell of work, which idle connections have none of?
fn is_of_work(line: &str) -> bool {
    matches!(line, "latency" | "stall" | "limit")
}

fn paths(report: &Report) -> String {
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
    let done = if report.workload == "datagrams" { "acknowledged" } else { "completed" };
    let loss = report.datagrams.as_ref().and_then(|datagrams| Some((datagrams.lost, datagrams.loss?)));
    let lost = loss.map_or_else(String::new, |(lost, loss)| format!("{lost} lost ({:.3} %), ", loss * 100.0));
    let resumed = report.handshakes.as_ref().filter(|handshakes| handshakes.resumed > 0);
    let resumed = resumed.map_or_else(String::new, |all| format!("{} of them resumed, ", all.resumed));
    format!("{completed} {done}, {resumed}{lost}{failed} failed, {:.2} per second", requests.per_second)
}

/// The connections that only stood there.
fn idle(report: &Report) -> Option<String> {
    let count = report.settings.load.idle();
    let alone = report.workload == "idle";
    let failed = if alone { format!(", {} failed", report.requests.failed) } else { String::new() };
    (alone || count > 0).then(|| format!("{count} connections held open{failed}"))
}

fn open_loop(open_loop: &OpenLoop) -> String {
    let OpenLoop { offered, backlog_peak, unstarted, unfinished, refused, lag_us } = open_loop;
    let lag = us(lag_us.p99);
    format!(
        "{offered} due, lag p99 {lag}, backlog {backlog_peak} at most; at the end {unstarted} not begun, {unfinished} \
         not complete, {refused} refused"
    )
}

fn server(server: &Server) -> String {
    let totals = &server.totals;
    let packets = totals.packets_received + totals.packets_sent;
    let calls = totals.enters + totals.other_syscalls;
    let each = if packets == 0 { 0.0 } else { calls as f64 / packets as f64 };
    let memory = server.memory_resident_bytes.map_or_else(
        || UNKNOWN.into(),
        |bytes| {
            let whose = if server.same_process { " with the client" } else { "" };
            format!("{} resident{whose}", show_bytes(bytes as f64))
        },
    );
    let per_connection = server
        .memory_per_connection_bytes
        .map_or_else(String::new, |bytes| format!(", {} a connection", show_bytes(bytes)));
    let protection = server.packet_protection.as_deref().unwrap_or(UNKNOWN);
    format!(
        "{} packets in, {} out, {each:.3} system calls each, {memory}{per_connection}, {protection}",
        totals.packets_received, totals.packets_sent
    )
}

fn ceiling(share: &CeilingShare) -> String {
    let part = |part: Option<f64>| part.map_or_else(|| UNKNOWN.into(), percent);
    let limit = |limit: Option<f64>| limit.map_or_else(|| UNKNOWN.into(), |limit| format!("{limit:.2}"));
    format!(
        "sender {} of {} Gb a CPU s ({}), receiver {} of {}; with aws-lc-rs {} and {}",
        part(share.sender),
        limit(share.gb_per_sender_cpu_s),
        share.packet_protection,
        part(share.receiver),
        limit(share.gb_per_receiver_cpu_s),
        part(share.sender_of_aws_lc_rs),
        part(share.receiver_of_aws_lc_rs),
    )
}

/// Who was the bottleneck, and what says so.
fn limit(report: &Report) -> Option<String> {
    let who = match report.limited_by?.name() {
        "client" => "client limited",
        "server" => "server limited",
        "both" => "client and server limited",
        _ => "neither end limited",
    };
    let part =
        |part: Option<f64>| part.map_or_else(|| UNKNOWN.into(), |part| format!("{:.0} %", part * 100.0));
    let (client, server) = (part(report.cpu.client_busiest), part(report.cpu.server_busiest));
    let waits = report.cpu.client_waiting.into_iter().chain(report.cpu.server_waiting).reduce(f64::max);
    let waits = waits.filter(|&waits| waits >= WAITING_TOLD);
    let shared = waits
        .map_or_else(String::new, |it| format!("; one waited {:.0} % of the time for a core", it * 100.0));
    Some(format!(
        "{who}: the busiest thread of the client used {client} of a core, of the server {server}{shared}"
    ))
}

/// The numbers of all runs; the lines above are the median one's.
fn runs(report: &Report) -> Option<String> {
    let series = &report.series;
    (series.runs > 1).then(|| {
        let mut text = format!("{}; above is the median one, below the medians of all", series.runs);
        for metric in &series.metrics {
            let Metric { name, median, .. } = metric;
            let interval = match (metric.low, metric.high, metric.confidence) {
                (Some(low), Some(high), Some(confidence)) => {
                    let (low, high) = (show_metric(name, low), show_metric(name, high));
                    format!("[{low} .. {high}] {:.1} %", confidence * 100.0)
                }
                _ => "no interval from so few".into(),
            };
            write!(text, "\n  {name:<36}{:>12}  {interval}", show_metric(name, *median))
                .expect("a string takes everything");
        }
        text
    })
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

/// CPU seconds of both ends, for each gigabyte (10^9 bytes) or for each small piece of work, and in all.
fn cpu(report: &Report) -> String {
    let (bytes, completed) = (report.bytes(), report.requests.completed as f64);
    let is_bulk = bytes > 0.0 && (completed < 1.0 || bytes / completed >= BULK_MIN_BYTES);
    let end = |name: &str, seconds: Option<f64>| match seconds {
        None => format!("{name} {UNKNOWN}"),
        Some(seconds) if is_bulk => format!("{name} {:.3} s/GB ({seconds:.2} s)", seconds / (bytes / 1e9)),
        Some(seconds) if completed >= 1.0 => {
            format!("{name} {:.2} us each ({seconds:.2} s)", seconds * 1e6 / completed)
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
    use super::super::Handshakes;
    use super::super::metrics::summarize;
    use super::super::tests::{everything, example};
    use super::*;

    #[test]
    fn every_path_has_a_row_and_the_total_one_too() {
        let expected = "\
path   local            remote            goodput    share  packets in   out  lost  RTT min  smoothed      p99  state
0      127.0.0.1:40001  127.0.0.1:4433  6.00 Gb/s   75.0 %      300000   900    12    30 us     85 us   412 us  open
1      127.0.0.2:40002  127.0.0.1:4433  2.00 Gb/s   25.0 %      100000   300     0    31 us     92 us  1.50 ms  suspect
total                                   8.00 Gb/s  100.0 %      400000  1200    12    30 us

requests    4 completed, 0 failed, 0.80 per second
latency     p50 1.01 s, p90 1.20 s, p99 1.20 s, p99.9 1.20 s, max 1.20 s
stall       1.23 ms at most
CPU         client 0.900 s/GB (4.50 s), server 1.000 s/GB (5.00 s)
server      1200 packets in, 400000 out, 0.010 system calls each, 48.0 MiB resident with the client, ring
limit       client and server limited: the busiest thread of the client used 90 % of a core, of the server 100 %
machine     AMD EPYC (2 cores), Linux 6.18.0, uring, GSO on
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
        report.requests.completed = 0;
        assert!(cpu(&report).starts_with("client 4.50 s,"), "{}", cpu(&report));
        report.requests.completed = 1_000_000;
        assert!(cpu(&report).starts_with("client 4.50 us each (4.50 s),"), "{}", cpu(&report));
    }

    fn line(report: &Report, start: &str) -> Option<String> {
        let text = text(report);
        text.lines().find(|line| line.starts_with(start)).map(str::to_owned)
    }

    #[test]
    fn the_open_loop_datagrams_and_the_ceiling_have_their_lines() {
        let report = Report { handshakes: None, ..everything() };
        let open = "open loop   5000 due, lag p99 12 us, backlog 7 at most; at the end 1 not begun, 2 not complete, 3 refused";
        assert_eq!(line(&report, "open").as_deref(), Some(open));
        let datagrams = "datagrams   4 acknowledged, 1 lost (20.000 %), 0 failed, 0.80 per second";
        assert_eq!(line(&report, "datagrams").as_deref(), Some(datagrams));
        let ceiling = "ceiling     sender 53.0 % of 10.20 Gb a CPU s (ring), receiver 40.0 % of 12.00; with aws-lc-rs 61.0 % \
                       and 50.0 %";
        assert_eq!(line(&report, "ceiling").as_deref(), Some(ceiling));
    }

    #[test]
    fn resumed_handshakes_are_told() {
        let handshakes = |resumed| Some(Handshakes { full: 4 - resumed, resumed });
        let of = |resumed| Report { workload: "handshakes", handshakes: handshakes(resumed), ..example() };
        assert_eq!(requests(&of(0)), "4 completed, 0 failed, 0.80 per second");
        assert_eq!(requests(&of(3)), "4 completed, 3 of them resumed, 0 failed, 0.80 per second");
    }

    #[test]
    fn a_machine_that_is_shared_is_told() {
        let mut report = example();
        assert!(!line(&report, "limit").unwrap().contains("waited"));
        report.cpu.server_waiting = Some(0.35);
        assert!(
            line(&report, "limit")
                .unwrap()
                .ends_with("of the server 100 %; one waited 35 % of the time for a core")
        );
    }

    #[test]
    fn idle_connections_have_memory_and_no_latency() {
        let mut report = everything();
        report.workload = "idle";
        for absent in ["latency", "limit", "stall"] {
            assert_eq!(line(&report, absent), None);
        }
        assert!(line(&report, "server").unwrap().contains("8.00 KiB a connection"));
    }

    #[test]
    fn several_runs_are_listed_below_with_their_intervals() {
        let of = |goodput_bps| Report { goodput_bps, ..example() };
        let few = summarize((1..=3).map(|n| of(n * 1_000_000_000)).collect()).unwrap();
        let goodput = |report: &Report| line(report, "  goodput_bps").unwrap();
        assert!(goodput(&few).ends_with("2.00 Gb/s  no interval from so few"), "{}", goodput(&few));
        let enough = summarize((1..=6).map(|n| of(n * 1_000_000_000)).collect()).unwrap();
        assert!(goodput(&enough).ends_with("3.50 Gb/s  [1.00 Gb/s .. 6.00 Gb/s] 96.9 %"));
        assert!(line(&enough, "runs").unwrap().starts_with("runs        6; above is the median one"));
        assert_eq!(line(&example(), "runs"), None);
    }
}
