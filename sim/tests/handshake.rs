//! Handshakes on bad links: every one completes, whatever is lost.

use std::ops::Range;

use braid_quic::Role;
use braid_sim::{Hello, Link, Protection, Way, World, mb, mbps, ms, secs};

/// A world whose only link loses three datagrams in ten.
fn lossy(seed: u64) -> World {
    let mut world = World::seeded(seed);
    world.add(Link::new(mbps(10), ms(20)).loss(0.3));
    world.transport(|transport| {
        transport.handshake_timeout = secs(100);
        transport.idle_timeout = secs(100);
    });
    world.hello(if seed.is_multiple_of(2) { Hello::Short } else { Hello::Wide });
    world.protection(if seed.is_multiple_of(5) { Protection::Real } else { Protection::Null });
    world
}

fn all_complete(seeds: Range<u64>) {
    for seed in seeds {
        let mut world = lossy(seed);
        let report = world.run_to(World::is_confirmed);
        assert!(world.is_confirmed(), "{report}");
        assert_eq!(report.client_closed(), None, "{report}");
        assert_eq!(report.connections(), (1, 1), "one handshake makes one connection: {report}");
    }
}

#[test]
fn handshakes_complete_under_30_percent_loss_with_the_first_500_seeds() {
    all_complete(0..500);
}

#[test]
fn handshakes_complete_under_30_percent_loss_with_the_next_500_seeds() {
    all_complete(500..1_000);
}

#[test]
fn a_clean_handshake_is_confirmed_after_two_round_trips() {
    for hello in [Hello::Short, Hello::Wide] {
        let mut world = World::seeded(1);
        world.link(mbps(100), ms(20));
        world.hello(hello);
        let report = world.run_to(World::is_confirmed);
        assert!(world.is_confirmed(), "{report}");
        assert!(report.elapsed() < ms(90), "{hello:?}: {report}");
    }
}

#[test]
fn a_clean_handshake_loses_and_discards_nothing() {
    let mut world = World::seeded(2);
    world.link(mbps(100), ms(20));
    let report = world.run_until(ms(500));
    assert_eq!((report.client().packets_lost, report.server().packets_lost), (0, 0), "{report}");
    assert_eq!((report.client().packets_discarded, report.server().packets_discarded), (0, 0), "{report}");
}

#[test]
fn a_handshake_with_a_server_that_never_answers_ends() {
    let mut world = World::seeded(3);
    let link = world.link(mbps(100), ms(20));
    world.at(ms(0)).cut(link);
    let report = world.run_until(secs(60));
    assert!(report.client_closed().is_some(), "{report}");
    assert_eq!(report.connections(), (0, 0), "{report}");
    assert!(report.link(link).up.sent < 30, "a client backs off: {report}");
}

#[test]
fn a_silent_client_does_not_stay_with_the_server() {
    let mut world = World::seeded(4);
    let link = world.link(mbps(100), ms(20));
    // The first flight arrives, nothing after it does.
    world.at(ms(30)).cut_way(link, Way::Up);
    let report = world.run_until(secs(60));
    assert_eq!(report.connections().1, 0, "{report}");
    let received = report.link(link).up.arrived;
    assert!(received > 0, "{report}");
}

#[test]
fn closing_leaves_nothing_behind_on_either_end() {
    for role in [Role::Client, Role::Server] {
        let mut world = World::seeded(5);
        world.link(mbps(100), ms(20));
        world.at(ms(300)).close(role, 7);
        let report = world.run_until(secs(5));
        assert_eq!(report.connections(), (0, 0), "{role:?}: {report}");
        assert!(report.client_closed().is_some() && report.server_closed().is_some(), "{role:?}: {report}");
    }
}

#[test]
fn early_data_of_the_application_does_not_block_a_lost_finished() {
    for seed in 0..30 {
        let mut world = World::seeded(seed);
        world.add(Link::new(mbps(10), ms(25)).loss(0.2));
        world.client().exchanges(mb(1), 1);
        let report = world.run();
        assert!(report.is_complete(), "{report}");
    }
}
