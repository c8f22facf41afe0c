//! Addresses that change below a connection, with real endpoints on both sides.

use braid_quic::Role;
use braid_sim::{Attacker, Link, Way, World, kb, mb, mbps, ms, secs};

#[test]
fn a_transfer_survives_the_rebinding_of_one_of_two_paths() {
    for seed in 0..6 {
        let mut world = World::seeded(seed);
        let near = world.link(mbps(20), ms(10));
        world.link(mbps(20), ms(30));
        world.client().exchanges(mb(1), mb(4));
        match seed % 3 {
            0 => drop(world.at(ms(600)).rebind(near)),
            1 => drop(world.at(ms(600)).rebind_ip(near)),
            _ => drop(world.at(ms(600)).renumber(near)),
        }
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        assert!(
            report.link(near).down.astray > 0,
            "what was on its way to the old address is lost: {report}"
        );
        assert_eq!(world.drain().connections(), (0, 0));
    }
}

#[test]
fn an_attacker_who_copies_everything_does_not_stop_a_transfer() {
    for (seed, way) in [(10, Way::Up), (11, Way::Down)] {
        let mut world = World::seeded(seed);
        let link = world.link(mbps(20), ms(10));
        world.client().exchanges(kb(300), kb(300));
        world.at(ms(0)).attack(link, Attacker::copying(way, u64::MAX).behind(ms(7)));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
    }
}

#[test]
fn a_datagram_from_nowhere_is_survived() {
    let mut world = World::seeded(12);
    let link = world.link(mbps(20), ms(10));
    world.client().downloads(kb(500));
    world.run_until(ms(150));
    let seen: Vec<_> = world.remembered().cloned().collect();
    for old in seen {
        let (to, source) = (old.to, "203.0.113.7:777".parse().unwrap());
        world.inject_from(source, to, link, old.bytes);
        world.serve();
    }
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(world.path_stats(Role::Client, link).is_some_and(|stats| stats.route.local().port() == 50_000));
}

#[test]
fn a_connection_with_one_path_survives_every_kind_of_rebinding() {
    for seed in 20..32 {
        let mut world = World::seeded(seed);
        let link = world.link(mbps(20), ms(10));
        // Who only listens, and owes no acknowledgement just then, tells nobody where it is now unless it says something.
        world.transport_of(Role::Client, |transport| transport.keep_alive = Some(ms(500)));
        world.client().exchanges(mb(1), mb(2));
        let at = world.at(ms(300)).times(3, ms(250));
        match seed % 3 {
            0 => drop(at.rebind(link)),
            1 => drop(at.rebind_ip(link)),
            _ => drop(at.rebind_both_ways(link)),
        }
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        assert!(report.completed_at().unwrap() < secs(3), "{report}");
        let server = world.path_stats(Role::Server, link).unwrap();
        assert_eq!(server.route.remote().port(), 50_003, "three rebindings: {server:?}");
        assert_eq!(world.drain().connections(), (0, 0));
    }
}

#[test]
fn after_an_attackers_race_is_over_the_path_is_where_the_client_is() {
    for seed in 40..52 {
        let mut world = World::seeded(seed);
        let link = world.link(mbps(20), ms(10));
        world.client().exchanges(mb(1), mb(3));
        let attacker = Attacker::copying(Way::Up, 1 + seed % 4 * 20);
        world.at(ms(400)).attack(link, if seed % 2 == 0 { attacker.ahead(ms(8)) } else { attacker });
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        assert!(report.completed_at().unwrap() < secs(4), "{report}");
        let server = world.path_stats(Role::Server, link).unwrap();
        assert_eq!(server.route.remote().port(), 50_000, "not the attacker's: {server:?}");
    }
}

#[test]
fn a_client_moves_its_only_path_to_another_link_and_back() {
    let mut world = World::seeded(60);
    let first = world.link(mbps(20), ms(10));
    let second = world.add_spare(Link::new(mbps(20), ms(20)));
    world.client().downloads(mb(5));
    world.at(ms(500)).migrate(first, second);
    world.at(ms(1_300)).migrate(second, first);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(world.refusals().is_empty(), "{:?}", world.refusals());
    let down = [first, second].map(|link| report.link(link).down.sent_bytes);
    assert!(down[0] > mb(1) && down[1] > mb(1), "both links carried a part: {report}");
}

#[test]
fn a_client_that_is_told_of_its_new_address_goes_on_with_its_only_path() {
    let mut world = World::seeded(61);
    let link = world.link(mbps(20), ms(10));
    world.client().exchanges(mb(1), mb(2));
    world.at(ms(400)).renumber(link).migrate(link, link);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let client = world.path_stats(Role::Client, link).unwrap();
    assert_eq!(client.route.local_id().0, 1_001, "{client:?}");
}
