//! Transfers over one path: every byte arrives, in order, as fast as the link allows.

use braid_quic::congestion::CongestionKind;
use braid_sim::{Link, Protection, Report, World, first_byte_at, fluid_time, kb, mb, mbps, ms, secs, us};

/// 10 MB down a link of 100 Mb/s and 20 ms round trip.
fn ten_megabytes(seed: u64, loss: f64, change: impl FnOnce(&mut World)) -> Report {
    let mut world = World::seeded(seed);
    world.add(Link::new(mbps(100), ms(10)).loss(loss));
    world.limit(secs(400));
    world.client().downloads(mb(10));
    change(&mut world);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.delivered(), mb(10), "{report}");
    report
}

#[test]
fn ten_megabytes_arrive_without_loss_near_the_rate_of_the_link() {
    let report = ten_megabytes(1, 0.0, |world| world.protection(Protection::Real));
    let bound = fluid_time(mb(10), &[(mbps(100), first_byte_at(0, ms(20), ms(20)))]);
    assert!(report.completed_at().unwrap() < bound.mul_f64(1.2), "bound {bound:?}: {report}");
}

#[test]
fn ten_megabytes_arrive_with_1_percent_loss() {
    let report = ten_megabytes(2, 0.01, |_| {});
    assert!(report.server().packets_lost > 50, "{report}");
}

#[test]
fn ten_megabytes_arrive_with_5_percent_loss() {
    let report = ten_megabytes(3, 0.05, |_| {});
    assert!(report.server().packets_lost > 250, "{report}");
}

#[test]
fn ten_megabytes_arrive_under_newreno_with_1_percent_loss() {
    ten_megabytes(4, 0.01, |world| {
        world.transport(|transport| transport.congestion = CongestionKind::NewReno);
    });
}

#[test]
fn what_is_lost_is_what_the_link_lost() {
    // No reordering, a queue that never overflows: the sender declares lost what was lost, and little else.
    let report = ten_megabytes(5, 0.01, |_| {});
    let down = report.links()[0].down;
    let (declared, real) = (report.server().packets_lost, down.lost + down.overflowed);
    assert!(
        declared >= real.saturating_sub(30) && declared <= real + real / 5 + 30,
        "{declared} of {real}: {report}"
    );
}

#[test]
fn an_upload_and_a_download_share_one_stream() {
    let mut world = World::seeded(6);
    world.add(Link::new(mbps(50), ms(15)).loss(0.01).reorder(0.02, ms(5)).duplicate(0.01).corrupt(0.01));
    world.client().exchanges(mb(2), mb(3));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.client().packets_discarded > 0, "corrupted packets are discarded: {report}");
}

#[test]
fn a_hundred_small_requests_are_answered() {
    let mut world = World::seeded(7);
    world.add(Link::new(mbps(20), ms(25)).loss(0.02));
    for request in 0..100_u64 {
        world.at(ms(10 * request)).download(request * 100).upload(request * 10);
    }
    let report = world.run();
    assert!(report.is_complete(), "{report}");
}

#[test]
fn more_streams_than_the_server_allows_at_once_wait_for_credit() {
    let mut world = World::seeded(8);
    world.link(mbps(50), ms(10));
    world.transport(|transport| transport.max_streams_bidirectional = 3);
    for _ in 0..40 {
        world.client().downloads(kb(20));
    }
    let report = world.run();
    assert!(report.is_complete(), "{report}");
}

#[test]
fn small_windows_slow_a_transfer_down_but_do_not_stop_it() {
    let mut world = World::seeded(9);
    world.add(Link::new(mbps(50), ms(10)).loss(0.01));
    world.transport(|transport| {
        (transport.stream_window, transport.stream_window_max) = (4_000, 16_000);
        (transport.connection_window, transport.connection_window_max) = (6_000, 24_000);
        transport.send_buffer = 10_000;
    });
    world.client().downloads(kb(500));
    world.client().sends(kb(300));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
}

#[test]
fn windows_grow_until_they_no_longer_slow_a_long_link_down() {
    // 100 Mb/s x 200 ms = 2.5 MB in flight, ten times the first stream window.
    let mut world = World::seeded(10);
    world.link(mbps(100), ms(100));
    world.client().downloads(mb(40));
    let report = world.run();
    let bound = fluid_time(mb(40), &[(mbps(100), first_byte_at(0, ms(200), ms(200)))]);
    assert!(report.completed_at().is_some_and(|at| at < bound.mul_f64(1.6)), "bound {bound:?}: {report}");
}

#[test]
fn sockets_that_cannot_segment_or_are_full_and_late_timers_only_cost_time() {
    for seed in 11..15 {
        let mut world = World::seeded(seed);
        world.add(Link::new(mbps(100), ms(5)).loss(0.005).coalesce(us(300)));
        world.no_segmentation();
        world.socket_takes(1 + seed as usize % 3);
        world.late_by(us(700));
        world.client().exchanges(mb(1), mb(2));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
    }
}

#[test]
fn an_idle_connection_is_silent_and_ends_after_its_timeout() {
    let mut world = World::seeded(15);
    let link = world.link(mbps(50), ms(10));
    world.transport(|transport| transport.idle_timeout = secs(20));
    world.client().downloads(kb(100));
    let busy = world.run();
    assert!(busy.is_complete(), "{busy}");
    let settled = world.run_until(secs(2));
    let idle = world.run_until(secs(15));
    let sent = |report: &Report| (report.link(link).up.sent, report.link(link).down.sent);
    assert_eq!(sent(&settled), sent(&idle), "nothing is sent while idle: {idle}");
    let over = world.run_until(secs(40));
    assert_eq!(over.connections(), (0, 0), "{over}");
    assert_eq!(sent(&over), sent(&idle), "an idle timeout is silent: {over}");
}

#[test]
fn a_connection_that_keeps_alive_outlives_its_idle_timeout() {
    let mut world = World::seeded(16);
    world.link(mbps(50), ms(10));
    world.transport(|transport| {
        transport.idle_timeout = secs(5);
        transport.keep_alive = Some(secs(2));
    });
    world.at(secs(20)).download(kb(10));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
}
