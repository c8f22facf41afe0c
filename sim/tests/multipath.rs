//! Several paths: their rates add up, and what happens to one does not stop the others.

use std::time::Duration;

use braid_quic::schedule::SchedulerKind;
use braid_quic::{PathStage, Role};
use braid_sim::{
    Link, LinkId, Protection, Rate, Report, Way, World, first_byte_at, fluid_time, kb, mb, mbps, ms, secs, us,
};

/// Runs a download of `bytes` over these links and compares its time with the fluid bound.
fn within_a_fifth_of_the_fluid_bound(seed: u64, bytes: u64, links: &[(Rate, Duration)]) {
    let mut world = World::seeded(seed);
    let ids: Vec<LinkId> = links.iter().map(|&(rate, delay)| world.link(rate, delay)).collect();
    world.client().downloads(bytes);
    let report = world.run();
    let handshake_rtt = links[0].1 * 2;
    let starts = |(index, &(rate, delay)): (usize, &(Rate, Duration))| {
        (rate, first_byte_at(index, handshake_rtt, delay * 2))
    };
    let bound = fluid_time(bytes, &links.iter().enumerate().map(starts).collect::<Vec<_>>());
    assert!(report.is_complete(), "{report}");
    assert!(report.completed_at().unwrap() <= bound.mul_f64(1.2), "bound {bound:?}: {report}");
    for id in ids {
        assert!(report.carried_by(id) > bytes / 50, "every path works: {report}");
    }
}

#[test]
fn two_unequal_paths_come_within_a_fifth_of_the_fluid_bound() {
    within_a_fifth_of_the_fluid_bound(1, mb(30), &[(mbps(50), ms(10)), (mbps(20), ms(60))]);
}

#[test]
fn the_slow_path_may_be_the_one_of_the_handshake() {
    within_a_fifth_of_the_fluid_bound(2, mb(30), &[(mbps(20), ms(60)), (mbps(50), ms(10))]);
}

#[test]
fn four_unequal_paths_come_within_a_fifth_of_the_fluid_bound() {
    let links = [(mbps(40), ms(10)), (mbps(30), ms(20)), (mbps(20), ms(40)), (mbps(10), ms(60))];
    within_a_fifth_of_the_fluid_bound(3, mb(50), &links);
}

#[test]
fn every_scheduler_uses_what_it_should() {
    for (scheduler, far_works) in
        [(SchedulerKind::MinRtt, true), (SchedulerKind::RoundRobin, true), (SchedulerKind::Backup, false)]
    {
        let mut world = World::seeded(4);
        let near = world.link(mbps(30), ms(10));
        let far = world.link(mbps(30), ms(30));
        world.transport(|transport| transport.scheduler = scheduler.clone());
        world.client().downloads(mb(8));
        let report = world.run();
        assert!(report.is_complete(), "{scheduler:?}: {report}");
        assert!(report.carried_by(near) > mb(2), "{scheduler:?}: {report}");
        assert_eq!(report.carried_by(far) > mb(2), far_works, "{scheduler:?}: {report}");
    }
}

/// How long round trips on these test links take at most: twice the delay, a full queue, one datagram's own time.
const NEAR: (Duration, Duration) = (ms(20), ms(26));
const FAR: (Duration, Duration) = (ms(60), ms(66));

/// The longest probe timeout for round trips within these bounds: smoothed RTT at most the longest, variation at most
/// half of the spread, plus the default acknowledgement delay (RFC 9002 §6.2.1).
fn probe_timeout_max((shortest, longest): (Duration, Duration)) -> Duration {
    let variation = longest.saturating_sub(shortest) / 2;
    longest + (variation * 4).max(ms(1)) + ms(25)
}

/// Cuts one of two paths in the middle of a download for good.
fn cut(seed: u64, cut_near: bool, ways: &[Way]) {
    let mut world = World::seeded(seed);
    let near = world.add(Link::new(mbps(50), ms(10)).queue_time(ms(5)));
    let far = world.add(Link::new(mbps(20), ms(30)).queue_time(ms(5)));
    world.client().downloads(mb(10));
    let (dark, lit) = if cut_near { (near, far) } else { (far, near) };
    for &way in ways {
        world.at(ms(900)).cut_way(dark, way);
    }
    let report = world.run();
    let (of_dark, of_lit) = if cut_near { (NEAR, FAR) } else { (FAR, NEAR) };
    let bound = probe_timeout_max(of_dark) + of_lit.1;
    assert!(report.is_complete(), "{report}");
    assert!(report.longest_stall() <= bound, "bound {bound:?}, cut at 900 ms: {report}");
    assert!(report.carried_by(lit) > mb(3), "{report}");
    let refusals = world.refusals();
    assert!(refusals.is_empty(), "{refusals:?}");
}

/// MP-295
#[test]
fn data_moves_over_when_the_near_path_goes_dark() {
    cut(10, true, &[Way::Up, Way::Down]);
}

#[test]
fn data_moves_over_when_the_near_path_loses_its_way_up() {
    cut(11, true, &[Way::Up]);
}

#[test]
fn data_moves_over_when_the_near_path_loses_its_way_down() {
    cut(12, true, &[Way::Down]);
}

#[test]
fn data_moves_over_when_the_far_path_goes_dark() {
    cut(13, false, &[Way::Up, Way::Down]);
}

#[test]
fn data_moves_over_when_the_far_path_loses_its_way_up() {
    cut(14, false, &[Way::Up]);
}

#[test]
fn data_moves_over_when_the_far_path_loses_its_way_down() {
    cut(15, false, &[Way::Down]);
}

#[test]
fn a_path_that_comes_back_carries_data_again() {
    let mut world = World::seeded(16);
    let near = world.link(mbps(20), ms(10));
    let far = world.link(mbps(20), ms(30));
    world.client().downloads(mb(16));
    world.at(ms(1_000)).cut(near);
    world.at(ms(1_800)).restore(near);
    let dark = world.run_until(ms(1_900)).carried_by(near);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.carried_by(near) > dark + mb(1), "before {dark}: {report}");
    assert!(report.carried_by(far) > mb(2), "{report}");
}

#[test]
fn the_last_trusted_path_may_die_as_soon_as_a_doubted_one_heals() {
    for seed in 0..20 {
        let mut world = World::seeded(seed);
        let near = world.link(mbps(20), ms(10));
        let far = world.link(mbps(20), ms(30));
        world.client().exchanges(mb(2), mb(12));
        world.at(ms(1_000)).cut(near);
        world.at(ms(1_600)).restore(near).cut(far);
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        assert!(report.longest_stall() < secs(3), "{report}");
    }
}

/// Four paths with a few megabits each, long enough busy for ten updates three probe timeouts apart.
fn key_updates(seed: u64, protection: Protection, trouble: f64, by: [Role; 10]) -> Report {
    let mut world = World::seeded(seed);
    for delay in [10, 15, 25, 40] {
        let link =
            Link::new(mbps(5), ms(delay)).loss(trouble).reorder(trouble * 2.0, ms(20)).duplicate(trouble);
        world.add(link.queue_time(ms(20)));
    }
    world.protection(protection);
    world.client().exchanges(mb(6), mb(12));
    for (index, role) in by.into_iter().enumerate() {
        world.at(ms(400 + 100 * index as u64)).update_keys(role);
    }
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let refusals = world.refusals();
    assert!(refusals.is_empty(), "{refusals:?}");
    report
}

/// MP-041
#[test]
fn ten_key_updates_on_four_paths_lose_nothing() {
    let report = key_updates(20, Protection::Real, 0.0, [Role::Client; 10]);
    assert_eq!((report.client().key_updates, report.server().key_updates), (10, 10), "{report}");
    assert_eq!((report.client().packets_discarded, report.server().packets_discarded), (0, 0), "{report}");
}

#[test]
fn both_ends_update_keys_on_four_bad_paths() {
    let (client, server) = (Role::Client, Role::Server);
    let by = [client, server, server, client, client, server, client, server, client, server];
    let report = key_updates(21, Protection::Null, 0.01, by);
    assert!(report.client().key_updates >= 5, "updates of both ends may coincide: {report}");
    assert_eq!(report.client().key_updates, report.server().key_updates, "{report}");
}

/// MP-161
#[test]
fn a_path_abandoned_by_either_end_falls_silent_and_the_rest_goes_on() {
    for (seed, by, near_goes) in [
        (30, Role::Client, true),
        (31, Role::Client, false),
        (32, Role::Server, true),
        (33, Role::Server, false),
    ] {
        let mut world = World::seeded(seed);
        let near = world.link(mbps(30), ms(10));
        let far = world.link(mbps(30), ms(30));
        let (gone, stays) = if near_goes { (near, far) } else { (far, near) };
        world.client().exchanges(mb(2), mb(6));
        world.at(ms(700)).abandon(by, gone);
        world.run_until(ms(900));
        let before = world.report();
        let report = world.run();
        assert!(report.is_complete(), "{by:?}: {report}");
        assert!(world.refusals().is_empty(), "{:?}", world.refusals());
        let sent = |report: &Report| (report.link(gone).up.sent, report.link(gone).down.sent);
        assert_eq!(sent(&before), sent(&report), "{by:?} abandoned it: {report}");
        assert!(report.carried_by(stays) > mb(4), "{by:?}: {report}");
        assert_eq!(world.drain().connections(), (0, 0));
    }
}

/// MP-180
#[test]
fn an_abandoned_path_makes_room_for_a_new_one() {
    let mut world = World::seeded(34);
    let near = world.link(mbps(30), ms(10));
    world.link(mbps(10), ms(30));
    let spare = world.add_spare(Link::new(mbps(30), ms(10)).to_listener(1));
    world.transport(|transport| transport.max_paths = 2);
    world.client().downloads(mb(8));
    world.at(ms(600)).abandon(Role::Client, near);
    world.at(ms(1_000)).open(spare);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.carried_by(spare) > mb(1), "{report}");
    assert_eq!(world.path_stats(Role::Server, spare).map(|stats| stats.stage), Some(PathStage::Open));
}

/// P-33
#[test]
fn paths_open_and_close_a_hundred_times() {
    let mut world = World::seeded(35);
    world.link(mbps(20), ms(10));
    let spare = world.add_spare(Link::new(mbps(20), ms(15)).loss(0.01));
    world.client().downloads(mb(20));
    for round in 0..100 {
        world.at(ms(300 + 300 * round)).open(spare);
        let by = if round % 2 == 0 { Role::Client } else { Role::Server };
        world.at(ms(500 + 300 * round)).abandon(by, spare);
        world.at(ms(310 + 300 * round)).download(kb(50));
    }
    world.audit_every(10);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.client().paths_opened >= 90, "{report}");
}

/// MP-140
#[test]
fn a_backup_is_idle_until_it_is_needed() {
    let mut world = World::seeded(40);
    let near = world.link(mbps(30), ms(20));
    let far = world.link(mbps(30), ms(10));
    // The client receives, so it advises the server; data starts once the advice has arrived.
    world.at(ms(300)).set_backup(Role::Client, far, true).set_backup(Role::Server, far, true);
    world.at(ms(500)).download(mb(8));
    world.at(ms(1_500)).cut(near);
    let before = world.run_until(ms(1_490));
    assert_eq!(before.carried_by(far), 0, "{before}");
    assert!(before.carried_by(near) > mb(1), "{before}");
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.carried_by(far) > mb(3), "{report}");
}

/// MP-017
#[test]
fn a_path_that_is_a_backup_from_its_first_packet_on_carries_next_to_nothing() {
    for backup_first in [false, true] {
        let mut world = World::seeded(45);
        let links = [world.link(mbps(30), ms(10)), world.link(mbps(30), ms(10))];
        let (backup, working) = if backup_first { (links[0], links[1]) } else { (links[1], links[0]) };
        world.backup(backup);
        world.client().exchanges(mb(4), mb(4));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        assert!(report.carried_by(working) > mb(7), "{report}");
        // The path of the handshake works alone until another is validated.
        assert!(report.carried_by(backup) < if backup_first { kb(500) } else { kb(20) }, "{report}");
    }
}

/// MP-017
#[test]
fn a_peer_without_multipath_gets_one_path() {
    for role in [Role::Client, Role::Server] {
        let mut world = World::seeded(41);
        let near = world.link(mbps(30), ms(10));
        let spare = world.add_spare(Link::new(mbps(30), ms(10)));
        world.transport_of(role, |transport| transport.max_paths = 1);
        world.client().exchanges(mb(1), mb(1));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        assert_eq!((report.carried_by(near), report.carried_by(spare)), (mb(2) + 8, 0), "{report}");
    }
}

#[test]
fn eight_paths_on_two_listeners_carry_a_transfer_together() {
    let mut world = World::seeded(42);
    let links: Vec<LinkId> = (0..8)
        .map(|index| {
            let link = Link::new(mbps(10), ms(10 + 5 * index)).loss(0.002).coalesce(us(500));
            world.add(link.to_listener(index as u16 % 2))
        })
        .collect();
    world.client().exchanges(mb(4), mb(16));
    world.limit(secs(60));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    for link in links {
        assert!(report.carried_by(link) > kb(400), "{report}");
    }
}
