//! Several connections in one world: who shares a bottleneck gets a fair part of it, and is counted by itself.

use std::time::Duration;

use braid_quic::Role;
use braid_sim::{Competitor, Link, World, kb, mb, mbps, ms, secs};

/// What the main connection and its competitors received between two times.
fn between(world: &mut World, from: Duration, until: Duration) -> Vec<u64> {
    let mut delivered = |at| {
        let report = world.run_until(at);
        let others = report.competitors().iter().map(|other| other.delivered);
        std::iter::once(report.delivered()).chain(others).collect::<Vec<_>>()
    };
    let (before, after) = (delivered(from), delivered(until));
    after.into_iter().zip(before).map(|(after, before)| after - before).collect()
}

fn bottleneck() -> Link {
    Link::new(mbps(20), ms(20))
}

#[test]
fn two_equal_flows_share_a_bottleneck_fairly() {
    for (seed, upload) in [(1, false), (2, true)] {
        let mut world = World::seeded(seed);
        let shared = world.add(bottleneck());
        let link = Link::new(mbps(20), ms(20)).sharing(shared);
        world.compete(if upload { Competitor::uploads(link) } else { Competitor::downloads(link) });
        if upload {
            world.client().sends(mb(300));
        } else {
            world.client().downloads(mb(300));
        }
        world.audit_every(100);
        let got = between(&mut world, secs(5), secs(65));
        let all = got[0] + got[1];
        let most = mbps(20).bytes_in(secs(60));
        assert!(all > most * 85 / 100 && all <= most, "{got:?} of {most}");
        assert!((all * 35 / 100..all * 65 / 100).contains(&got[0]), "{got:?}");
    }
}

#[test]
fn flows_on_links_of_their_own_do_not_slow_each_other_down() {
    let time = |others: usize| {
        let mut world = World::seeded(3);
        world.add(bottleneck());
        for _ in 0..others {
            world.compete(Competitor::downloads(bottleneck()));
        }
        world.client().downloads(mb(4));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        report.completed_at().unwrap()
    };
    assert_eq!(time(0), time(2));
}

#[test]
fn a_competitor_comes_and_goes_when_it_is_told_and_holds_nobody_up() {
    let mut world = World::seeded(4);
    let shared = world.add(bottleneck());
    let rival = Competitor::downloads(Link::new(mbps(1), ms(15)).sharing(shared));
    let rival = world.compete(rival.from(secs(2)).until(secs(4)));
    let small = world.compete(Competitor::uploads(Link::new(mbps(5), ms(5))).bytes(kb(100)));
    let never = world.compete(Competitor::uploads(Link::new(mbps(5), ms(5))).from(secs(90)));
    world.client().downloads(mb(20));
    let early = world.run_until(secs(2));
    assert_eq!((early.competitor(rival).start, early.competitor(rival).delivered), (Some(secs(2)), 0));
    let middle = world.run_until(secs(4)).competitor(rival).delivered;
    assert!(middle > mb(1), "{middle}");
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.completed_at().unwrap() < secs(13), "{report}");
    assert!(report.competitor(rival).delivered < middle + kb(600), "{report}");
    assert_eq!(report.competitor(rival).end, None);
    let small = report.competitor(small);
    assert!(small.delivered == kb(100) && small.end.is_some_and(|end| end < secs(1)), "{small:?}");
    assert_eq!(report.competitor(never).start, None);
    assert_eq!(report.delivered(), mb(20), "others are counted by themselves");
    assert!(report.link(report.competitor(rival).link).paths[0].server.is_some());
}

#[test]
fn a_competitor_with_other_settings_has_them_at_both_ends() {
    let mut world = World::seeded(5);
    let shared = world.add(bottleneck());
    let link = Link::new(mbps(20), ms(20)).sharing(shared);
    let transport = braid_quic::TransportConfig {
        datagram_size: 1_200,
        datagram_size_max: 0,
        ..braid_quic::TransportConfig::default()
    };
    let rival = world.compete(Competitor::downloads(link).transport(transport));
    world.transport(|transport| transport.datagram_size = 1_400);
    world.client().downloads(mb(2));
    let report = world.run();
    let down = report.link(report.competitor(rival).link).down;
    let mine = report.link(shared).down;
    assert!(down.sent_bytes / down.sent < 1_201 && mine.sent_bytes / mine.sent > 1_250, "{report}");
    assert!(world.path_stats(Role::Server, shared).is_some());
}

#[test]
fn worlds_with_competitors_repeat_themselves() {
    let digest = |seed, audit_every| {
        let mut world = World::seeded(seed);
        let one = world.add(bottleneck().loss(0.002));
        world.add(Link::new(mbps(20), ms(30)).sharing(one));
        world.compete(Competitor::downloads(Link::new(mbps(20), ms(10)).sharing(one)));
        world.audit_every(audit_every);
        world.client().downloads(mb(3));
        world.run().digest()
    };
    assert_eq!(digest(6, 1), digest(6, 1));
    assert_eq!(digest(6, 1), digest(6, u32::MAX), "an audit changes nothing");
    assert_ne!(digest(6, 1), digest(7, 1));
}
