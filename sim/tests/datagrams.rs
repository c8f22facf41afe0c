//! Datagrams over bad and dying paths: each one has exactly one result, and what arrived was sent, once.

use std::time::Duration;

use braid_quic::Role;
use braid_sim::{DatagramReport, Link, LinkId, Volley, World, kb, mb, mbps, ms, secs};

/// Longer than a silent path is kept.
const LONG: Duration = secs(50);

fn world(seed: u64) -> World {
    let mut world = World::seeded(seed);
    world.transport(|transport| transport.datagram_receive_max = u16::MAX);
    world
}

/// Sends a volley every 10 ms for a second, from 300 ms on.
fn stream_of(world: &mut World, by: Role, volley: Volley, link: Option<LinkId>) {
    for n in 0..100 {
        let at = world.at(ms(300 + 10 * n));
        match link {
            Some(link) => at.datagrams_on(by, volley, link),
            None => at.datagrams(by, volley),
        };
    }
}

/// What must hold when all is over.
#[track_caller]
fn settled(world: &World, of: Role) -> DatagramReport {
    let report = world.datagrams(of);
    assert_eq!((report.unsettled, report.impossible), (0, 0), "{report:?}");
    assert_eq!(report.acked + report.lost + report.unsent, report.sent, "{report:?}");
    report
}

#[test]
fn on_a_clean_link_all_arrive() {
    let mut world = world(1);
    world.link(mbps(20), ms(10));
    stream_of(&mut world, Role::Client, Volley::of(5, 1000), None);
    stream_of(&mut world, Role::Server, Volley::of(5, 200), None);
    let report = world.run_until(secs(3));
    for role in [Role::Client, Role::Server] {
        let datagrams = settled(&world, role);
        assert_eq!((datagrams.sent, datagrams.acked, datagrams.arrived), (500, 500, 500), "{report}");
    }
    assert_eq!(report.client().datagrams.received, 500);
}

#[test]
fn on_a_lossy_link_what_does_not_arrive_is_told() {
    let mut world = world(2);
    world.add(Link::new(mbps(20), ms(10)).loss(0.05).reorder(0.05, ms(5)).duplicate(0.05));
    stream_of(&mut world, Role::Client, Volley::of(5, 1000), None);
    stream_of(&mut world, Role::Server, Volley::of(3, 400), None);
    let report = world.run_until(secs(5));
    for role in [Role::Client, Role::Server] {
        let datagrams = settled(&world, role);
        assert!(datagrams.lost > 0 && datagrams.acked > datagrams.sent * 3 / 4, "{datagrams:?}");
        assert_eq!(datagrams.unsent, 0, "{datagrams:?}: {report}");
    }
    assert_eq!(report.client().datagrams.lost, world.datagrams(Role::Client).lost as u64);
}

#[test]
fn datagrams_and_a_transfer_share_two_lossy_paths() {
    for seed in 10..15 {
        let mut world = world(seed);
        let links = [(mbps(20), ms(10)), (mbps(10), ms(30))]
            .map(|(rate, delay)| world.add(Link::new(rate, delay).loss(0.01).queue_time(ms(20))));
        world.client().exchanges(mb(2), mb(2));
        stream_of(&mut world, Role::Client, Volley::of(4, 1000), None);
        stream_of(&mut world, Role::Server, Volley::of(4, 1000), None);
        let report = world.run_until(secs(20));
        assert!(report.is_complete(), "{report}");
        for role in [Role::Client, Role::Server] {
            let datagrams = settled(&world, role);
            assert_eq!((datagrams.sent, datagrams.unsent), (400, 0), "{report}");
            assert!(datagrams.acked > 340, "{datagrams:?}: {report}");
        }
        assert!(links.iter().all(|&link| report.carried_by(link) > kb(200)), "{report}");
    }
}

#[test]
fn a_path_that_is_cut_takes_only_what_was_on_its_way() {
    // MP-171: what was in flight there is lost when the path goes, and is told then at the latest.
    for (seed, cut_near) in [(20, true), (21, false)] {
        let mut world = world(seed);
        let near = world.add(Link::new(mbps(20), ms(10)).queue_time(ms(20)));
        let far = world.add(Link::new(mbps(20), ms(30)).queue_time(ms(20)));
        stream_of(&mut world, Role::Client, Volley::of(5, 1000), None);
        stream_of(&mut world, Role::Server, Volley::of(5, 1000), None);
        world.at(ms(800)).cut(if cut_near { near } else { far });
        let report = world.run_until(LONG);
        for role in [Role::Client, Role::Server] {
            let datagrams = settled(&world, role);
            assert_eq!(datagrams.unsent, 0, "{datagrams:?}: {report}");
            assert!(datagrams.acked > 400, "{datagrams:?}: {report}");
            assert_eq!(datagrams.lost > 0, cut_near, "the near path carries them: {datagrams:?}: {report}");
        }
    }
}

#[test]
fn suspicion_alone_is_no_loss() {
    let mut world = world(22);
    let near = world.add(Link::new(mbps(20), ms(10)));
    world.add(Link::new(mbps(20), ms(30)));
    world.at(ms(500)).datagrams(Role::Client, Volley::of(5, 1000));
    // Only the way back is dark: the datagrams arrive, their acknowledgements wait for the path or take the other.
    world.at(ms(495)).cut_way(near, braid_sim::Way::Down);
    world.at(ms(1500)).restore(near);
    let report = world.run_until(secs(10));
    let datagrams = settled(&world, Role::Client);
    assert_eq!((datagrams.acked, datagrams.arrived), (5, 5), "{datagrams:?}: {report}");
    let suspected = report.link(near).paths.iter().filter_map(|path| path.client.as_ref());
    assert!(suspected.map(|path| path.suspected).sum::<u64>() > 0, "{report}");
}

#[test]
fn what_is_bound_to_a_dead_path_holds_up_nobody_and_goes_with_it() {
    let mut world = world(23);
    let near = world.add(Link::new(mbps(20), ms(10)));
    let far = world.add(Link::new(mbps(20), ms(30)));
    world.at(ms(600)).cut(far);
    for n in 0..200 {
        world.at(ms(300 + 5 * n)).datagrams_on(Role::Client, Volley::of(5, 1000), far);
        world.at(ms(300 + 5 * n)).datagrams(Role::Client, Volley::of(1, 100));
    }
    let early = world.run_until(secs(2));
    let datagrams = world.datagrams(Role::Client);
    assert!(datagrams.acked >= 200 && datagrams.unsettled > 0, "{datagrams:?}: {early}");
    let report = world.run_until(LONG);
    let datagrams = settled(&world, Role::Client);
    assert!(datagrams.unsent > 0 && datagrams.lost > 0, "{datagrams:?}: {report}");
    assert!(report.link(near).up.sent > 200, "{report}");
}

#[test]
fn beyond_the_rate_of_the_path_the_old_make_room_for_the_new() {
    let mut world = world(24);
    world.add(Link::new(mbps(4), ms(20)).queue_time(ms(30)));
    let lifetime = Some(ms(50));
    // 8 Mbit/s in a path of 4.
    stream_of(&mut world, Role::Client, Volley { lifetime, ..Volley::of(10, 1000) }, None);
    let report = world.run_until(secs(5));
    let datagrams = settled(&world, Role::Client);
    assert!(datagrams.unsent > 200 && datagrams.acked > 300, "{datagrams:?}: {report}");
    assert_eq!(datagrams.refused, 0, "old ones leave the queue in time: {datagrams:?}");
}

#[test]
fn an_abandoned_path_settles_its_datagrams() {
    for (seed, by) in [(30, Role::Client), (31, Role::Server)] {
        let mut world = world(seed);
        let near = world.add(Link::new(mbps(20), ms(10)).loss(0.02));
        world.add(Link::new(mbps(20), ms(30)).loss(0.02));
        stream_of(&mut world, Role::Client, Volley::of(5, 1000), None);
        stream_of(&mut world, Role::Server, Volley::of(2, 500), Some(near));
        world.at(ms(800)).abandon(by, near);
        let report = world.run_until(secs(10));
        let datagrams = settled(&world, Role::Client);
        assert!(datagrams.acked > 440, "{datagrams:?}: {report}");
        let bound = settled(&world, Role::Server);
        assert!(
            bound.refused > 50 && bound.acked > 50,
            "there is no such path any more: {bound:?}: {report}"
        );
    }
}
