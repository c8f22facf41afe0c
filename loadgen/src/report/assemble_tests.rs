//! Reports of runs that are a few numbers long.

use std::time::Duration;

use braid_quic::{Instant, LocalId};
use braid_server::ServerStats;
use braid_server::stats::{ConnectionView, PathView};

use super::*;
use crate::load::{Pattern, Shape};
use crate::measure::Window;
use crate::tally::Counts;

const SECOND: Duration = Duration::from_secs(1);

fn path(index: u8, received: u64, sent: u64, state: State) -> PathResult {
    let local = format!("127.0.0.{}:1000", index + 1).parse().unwrap();
    let counts = Counts {
        stream_bytes_received: received,
        stream_bytes_sent: sent,
        packets_received: received / 1000,
        packets_lost: 3,
        ..Counts::default()
    };
    PathResult {
        route: RouteId::new(LocalId(index.into()), local, "127.0.0.1:4433".parse().unwrap()),
        side: Side { counts, ..Side::default() },
        state,
    }
}

fn server(paths: &[(u64, u64)]) -> ServerSide {
    let view = |(id, &(packets_lost, stream_bytes_received)): (usize, &(u64, u64))| PathView {
        id: id as u32,
        packets_lost,
        stream_bytes_received,
        ..PathView::default()
    };
    let paths = paths.iter().enumerate().map(view).collect();
    let connections = vec![ConnectionView { paths, ..ConnectionView::default() }];
    ServerSide::of(&ServerStats { connections, ..ServerStats::default() })
}

fn load(work: Work) -> Load {
    let (warmup, duration) = (Duration::ZERO, SECOND);
    Load { work, connections: 1, idle: 0, pace: Pace::Closed, warmup, duration }
}

fn measure() -> Measure {
    let mut measure = Measure::new();
    measure.open(Window::new(Instant::ZERO, Duration::ZERO, SECOND));
    measure.on_uploaded(4000, Instant::ZERO);
    measure
}

fn findings<'a>(
    load: &'a Load,
    measure: &'a Measure,
    connections: &'a [Vec<PathResult>],
    server: Option<(ServerSide, ServerSide)>,
) -> Findings<'a> {
    Findings {
        load,
        settings: Settings::example(),
        inside: false,
        paths: 2,
        measure,
        connections,
        client_spent: &CLIENT,
        before: None,
        server,
        ceiling: None,
        environment: Environment::here("uring", true),
    }
}

fn report(shape: Shape, connections: &[Vec<PathResult>], server: Option<(ServerSide, ServerSide)>) -> Report {
    findings(&load(Work::Requests { shape, at_once: 1 }), &measure(), connections, server).report()
}

const CLIENT: [Spent; 2] =
    [Spent { cpu_s: Some(0.25), wait_s: Some(0.1) }, Spent { cpu_s: Some(0.5), wait_s: Some(0.05) }];
const DOWNLOAD: Shape = Shape { download_bytes: 1 << 30, upload_bytes: 0 };
const UPLOAD: Shape = Shape { download_bytes: 0, upload_bytes: 1 << 30 };

#[test]
fn connections_sum_up_by_path() {
    let connections = [
        vec![path(0, 6000, 8, State::Open), path(1, 1000, 0, State::Open)],
        vec![path(0, 2000, 8, State::Open), path(1, 1000, 0, State::Suspect)],
    ];
    let report = report(DOWNLOAD, &connections, None);
    assert_eq!(report.goodput_bps, 80_000);
    let [first, second] = &report.paths[..] else { panic!() };
    assert_eq!((first.goodput_bps, first.share, first.state), (64_000, 0.8, "open"));
    assert_eq!((second.goodput_bps, second.share, second.state), (16_000, 0.2, "suspect"));
    assert_eq!(first.packets_received, 8);
    assert_eq!(second.local.as_deref(), Some("127.0.0.2:1000"));
}

#[test]
fn losses_are_those_of_the_data_sender_and_null_where_it_does_not_tell() {
    let connections = [vec![path(0, 6000, 8, State::Open), path(1, 1000, 0, State::Open)]];
    let lost = |report: &Report| report.paths[0].packets_lost;
    assert_eq!(lost(&report(DOWNLOAD, &connections, None)), None);
    let told = (server(&[(10, 0), (0, 0)]), server(&[(17, 0), (0, 0)]));
    assert_eq!(lost(&report(DOWNLOAD, &connections, Some(told))), Some(7));
    assert_eq!(lost(&report(UPLOAD, &connections, None)), Some(3));
}

#[test]
fn an_upload_is_what_the_server_got_or_else_what_we_handed_over() {
    let connections = [vec![path(0, 0, 300, State::Open), path(1, 0, 100, State::Open)]];
    let told = (server(&[(0, 100), (0, 0)]), server(&[(0, 1100), (0, 3000)]));
    let report_told = report(UPLOAD, &connections, Some(told));
    assert_eq!((report_told.goodput_bps, report_told.paths[1].share), (32_000, 0.75));
    let report_guessed = report(UPLOAD, &connections, None);
    assert_eq!((report_guessed.goodput_bps, report_guessed.paths[1].share), (32_000, 0.25));
}

#[test]
fn a_path_that_is_not_the_same_way_for_all_connections_has_no_addresses() {
    let connections = [
        vec![path(0, 0, 0, State::Open), path(1, 0, 0, State::Open)],
        vec![path(0, 0, 0, State::Open), path(2, 0, 0, State::Open)],
    ];
    let report = report(DOWNLOAD, &connections, None);
    assert_eq!(report.paths[0].local.as_deref(), Some("127.0.0.1:1000"));
    assert_eq!((&report.paths[1].local, &report.paths[1].remote), (&None, &None));
}

#[test]
fn a_run_that_got_nowhere_has_no_shares_and_no_addresses() {
    let report = report(DOWNLOAD, &[], None);
    assert_eq!((report.goodput_bps, report.paths.len(), report.paths[0].share), (0, 2, 0.0));
    assert_eq!(report.paths[0].local, None);
}

#[test]
fn spreading_keeps_proportions_and_survives_zero() {
    assert_eq!(spread(100, &[1, 3]), [25, 75]);
    assert_eq!(spread(100, &[0, 0]), [0, 0]);
    assert_eq!(spread(u64::MAX, &[u64::MAX, 0]), [u64::MAX, 0]);
}

#[test]
fn datagrams_are_what_was_acknowledged_spread_as_the_paths_sent() {
    let mut connections = [vec![path(0, 0, 0, State::Open), path(1, 0, 0, State::Open)]];
    connections[0][0].side.counts.bytes_sent = 300;
    connections[0][1].side.counts.bytes_sent = 100;
    let mut measure = measure();
    measure.on_datagram_acked(1000, Instant::ZERO, Instant::ZERO);
    measure.on_datagram_lost(Instant::ZERO);
    let load = load(Work::Datagrams { bytes: 1000, at_once: 9 });
    let report = findings(&load, &measure, &connections, None).report();
    assert_eq!((report.workload, report.goodput_bps), ("datagrams", 8000));
    assert_eq!(report.paths[0].goodput_bps, 6000);
    let datagrams = report.datagrams.unwrap();
    assert_eq!((datagrams.acked, datagrams.lost, datagrams.loss), (1, 1, Some(0.5)));
}

fn told(cpu_s: f64, connections: u64, memory: u64) -> ServerSide {
    let quic = braid_server::stats::QuicStats { connections, ..Default::default() };
    let worker = braid_server::stats::WorkerStats { cpu_s: Some(cpu_s), quic, ..Default::default() };
    let memory_resident_bytes = Some(memory);
    ServerSide::of(&ServerStats { workers: vec![worker], memory_resident_bytes, ..ServerStats::default() })
}

#[test]
fn the_busiest_thread_of_each_end_shows_who_was_the_bottleneck() {
    let load = load(Work::Requests { shape: DOWNLOAD, at_once: 1 });
    let measure = measure();
    let server = Some((told(1.0, 1, 0), told(1.95, 1, 0)));
    let report = findings(&load, &measure, &[], server).report();
    assert_eq!((report.cpu.client_s, report.cpu.client_busiest), (Some(0.75), Some(0.5)));
    assert_eq!((report.cpu.client_waiting, report.cpu.server_waiting), (Some(0.1), None));
    assert_eq!(report.limited_by, Some(limit::LimitedBy::Server));
    let idle = Load { connections: 0, idle: 5, ..load };
    assert_eq!(findings(&idle, &measure, &[], None).report().limited_by, None);
}

#[test]
fn memory_is_for_each_connection_that_came_unless_it_is_both_ends() {
    let idle = Load { connections: 0, idle: 100, ..load(Work::Requests { shape: DOWNLOAD, at_once: 1 }) };
    let measure = measure();
    let ends = || Some((told(1.0, 102, 9_000), told(1.0, 102, 10_000)));
    let before = || Some(told(0.0, 2, 5_000));
    let outside = Findings { before: before(), ..findings(&idle, &measure, &[], ends()) }.report();
    let server = outside.server.unwrap();
    assert_eq!((server.memory_per_connection_bytes, server.memory_before_bytes), (Some(50.0), Some(5_000)));
    let inside = Findings { before: before(), inside: true, ..findings(&idle, &measure, &[], ends()) };
    assert_eq!(inside.report().server.unwrap().memory_per_connection_bytes, None);
}

#[test]
fn the_ceiling_is_the_senders_and_the_receivers() {
    let sealed = |sender, receiver| Sealed {
        gb_per_sender_cpu_s: Some(sender),
        gb_per_receiver_cpu_s: Some(receiver),
    };
    let ceiling = || {
        let (in_use, aws_lc_rs) = (sealed(10.0, 20.0), sealed(8.0, 16.0));
        Some(Ceiling { packet_protection: "ring".into(), datagram_bytes: 1452, in_use, aws_lc_rs })
    };
    // One gigabit: the server used 0.5 s for it, the client 0.75 s.
    let (down, up) = ([vec![path(0, 125_000_000, 0, State::Open)]], [vec![path(0, 0, 9, State::Open)]]);
    let server = || Some((told(1.0, 1, 0), told(1.5, 1, 0)));
    let mut measure = measure();
    measure.on_uploaded(125_000_000 - 4000, Instant::ZERO);
    for (shape, connections, sender, receiver) in
        [(DOWNLOAD, &down, 2.0 / 10.0, 1.0 / 0.75 / 20.0), (UPLOAD, &up, 1.0 / 0.75 / 10.0, 2.0 / 20.0)]
    {
        let load = load(Work::Requests { shape, at_once: 1 });
        let findings = findings(&load, &measure, connections, server());
        let share = Findings { ceiling: ceiling(), paths: 1, ..findings }.report().ceiling.unwrap();
        assert!((share.sender.unwrap() - sender).abs() < 1e-6, "{share:?}");
        assert!((share.receiver.unwrap() - receiver).abs() < 1e-6, "{share:?}");
        assert!((share.sender_of_aws_lc_rs.unwrap() - sender * 10.0 / 8.0).abs() < 1e-6, "{share:?}");
    }
}

#[test]
fn the_open_loop_tells_how_it_kept_its_schedule() {
    let pace = Pace::Open { per_second: 10.0, pattern: Pattern::Constant };
    let load = Load { pace, ..load(Work::Handshakes { resumed: true }) };
    let mut measure = measure();
    measure.on_due(Instant::ZERO, Instant::from_nanos(5_000));
    measure.on_unstarted(Instant::ZERO);
    measure.on_handshake(true, Instant::ZERO, Instant::ZERO);
    measure.on_handshake(false, Instant::ZERO, Instant::ZERO);
    let report = findings(&load, &measure, &[], None).report();
    assert_eq!(report.handshakes.map(|all| (all.full, all.resumed)), Some((1, 1)));
    let open_loop = report.open_loop.unwrap();
    assert_eq!((open_loop.offered, open_loop.unstarted, open_loop.lag_us.max), (1, 1, Some(5)));
    assert_eq!(
        report.limited_by,
        Some(limit::LimitedBy::Client),
        "it could not begin, and no server was busy"
    );
}
