//! Addresses that change below a connection, with real endpoints on both sides.

use braid_quic::Role;
use braid_sim::{Attacker, Way, World, kb, mb, mbps, ms};

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
