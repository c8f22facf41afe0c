//! Addresses that change on the way, tested without endpoints: which datagrams arrive, and whose they seem to be.

use std::time::Duration;

use braid_quic::TrainTag;

use super::*;
use crate::units::{mbps, ms, us};

const PORT: Rebinding = Rebinding { ip: false, both_ways: false };

fn at(span: Duration) -> Instant {
    Instant::ZERO + span
}

/// A network with one link: 1 ms for a datagram of 1250 bytes, 20 ms one way.
fn network() -> (Network, LinkId) {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)));
    (network, link)
}

/// Sends one datagram of 1250 bytes along `route`, filled with `mark`.
fn send_by(network: &mut Network, from: Role, route: RouteId, mark: u8, now: Duration) -> Fate {
    let train = Train {
        bytes: 1_250,
        segment_size: 1_250,
        local_id: route.local_id(),
        source: route.source(),
        remote: route.remote(),
        ecn: Ecn::NotEct,
        tag: TrainTag(0),
    };
    let link = network.link_for(from, &train).unwrap();
    network.send(from, link, &train, &[mark; 1_250], at(now))
}

/// Everything that arrives: when, at which end, from which address, and its mark.
fn arrivals(network: &mut Network) -> Vec<(Duration, Role, SocketAddr, u8)> {
    let mut seen = Vec::new();
    while let Some(now) = network.next_arrival() {
        while let Some(arrival) = network.take_arrival(now) {
            let remote = arrival.route.remote();
            let each = |datagram: &[u8]| (now.since(Instant::ZERO), arrival.to, remote, datagram[0]);
            seen.extend(arrival.bytes.chunks(arrival.segment_size).map(each));
        }
    }
    seen
}

#[test]
fn after_a_rebinding_the_server_sees_another_port_and_what_it_sent_to_the_old_one_is_lost() {
    let (mut network, link) = network();
    let client = network.route(link, Role::Client);
    let old = network.route(link, Role::Server);
    send_by(&mut network, Role::Client, client, 1, ms(0)); // carries the old address all its way
    send_by(&mut network, Role::Server, old, 2, ms(0)); // would arrive at 21 ms
    network.rebind(link, PORT);
    let new = network.route(link, Role::Server);
    send_by(&mut network, Role::Client, client, 3, ms(10));
    send_by(&mut network, Role::Server, old, 4, ms(10));
    send_by(&mut network, Role::Server, new, 5, ms(10));
    assert_eq!(old.remote().ip(), new.remote().ip());
    assert_ne!(old.remote().port(), new.remote().port());
    assert_eq!(
        arrivals(&mut network),
        [
            (ms(21), Role::Server, old.remote(), 1),
            (ms(31), Role::Server, new.remote(), 3),
            (ms(32), Role::Client, client.remote(), 5),
        ]
    );
    let down = network.stats(link, Way::Down);
    assert_eq!((down.sent, down.astray, down.arrived), (3, 2, 1));
    assert_eq!(network.route(link, Role::Client), client, "the client knows nothing");
}

#[test]
fn a_rebinding_both_ways_leaves_the_old_address_open() {
    let (mut network, link) = network();
    let old = network.route(link, Role::Server);
    network.rebind(link, Rebinding { both_ways: true, ..PORT });
    send_by(&mut network, Role::Server, old, 1, ms(0));
    assert_eq!(arrivals(&mut network).len(), 1);
    network.rebind(link, PORT);
    send_by(&mut network, Role::Server, old, 2, ms(50));
    assert_eq!(arrivals(&mut network).len(), 1, "the second rebinding closes only the address it replaces");
}

#[test]
fn every_address_of_a_link_is_another_one_and_leads_back_to_the_link() {
    let (mut network, link) = network();
    network.add(Link::new(mbps(10), ms(20)));
    let mut seen = vec![network.route(link, Role::Server)];
    for round in 0..600 {
        network.rebind(link, Rebinding { ip: round % 3 == 0, ..PORT });
        seen.push(network.route(link, Role::Server));
    }
    let mut addresses: Vec<_> = seen.iter().map(RouteId::remote).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), seen.len());
    assert_ne!(seen[0].remote().ip(), seen[1].remote().ip());
    assert!(seen.iter().all(|route| network.link_of(route, Role::Server) == Some(link)));
    let nobody = RouteId::new(seen[0].local_id(), seen[0].local(), "203.0.113.9:9".parse().unwrap());
    assert_eq!(network.link_of(&nobody, Role::Server), None);
}

#[test]
fn a_renumbered_interface_sends_and_receives_by_its_new_address_only() {
    let (mut network, link) = network();
    let (old, seen_before) = (network.route(link, Role::Client), network.route(link, Role::Server));
    network.renumber(link);
    let (new, seen_after) = (network.route(link, Role::Client), network.route(link, Role::Server));
    assert_ne!(old.local_id(), new.local_id());
    assert_eq!(seen_after.remote(), new.local());
    assert_eq!(send_by(&mut network, Role::Client, old, 1, ms(0)), Fate::Unreachable);
    assert_eq!(send_by(&mut network, Role::Client, new, 2, ms(0)), Fate::Sent);
    send_by(&mut network, Role::Server, seen_before, 3, ms(0));
    send_by(&mut network, Role::Server, seen_after, 4, ms(0));
    let arrived: Vec<_> = arrivals(&mut network).into_iter().map(|(_, _, _, mark)| mark).collect();
    assert_eq!(arrived, [2, 4]);
    assert_eq!(network.link_of(&old, Role::Client), Some(link), "statistics of the old route are its");
}

#[test]
fn two_renumbered_interfaces_do_not_share_a_number() {
    let (mut network, link) = network();
    let other = network.add(Link::new(mbps(10), ms(20)));
    network.renumber(link);
    network.renumber(other);
    let number = |link| network.route(link, Role::Client).local_id();
    assert_ne!(number(link), number(other));
}

#[test]
fn an_attackers_copies_come_ahead_or_behind_from_his_own_address_and_end_after_their_number() {
    for (attacker, when) in [
        (Attacker::copying(Way::Up, 1).ahead(ms(5)), ms(16)),
        (Attacker::copying(Way::Up, 1).ahead(ms(500)), ms(0)),
        (Attacker::copying(Way::Up, 1).behind(ms(5)), ms(26)),
        (Attacker::copying(Way::Up, 1), ms(21)),
    ] {
        let (mut network, link) = network();
        let (client, seen) = (network.route(link, Role::Client), network.route(link, Role::Server));
        network.attack(link, attacker);
        send_by(&mut network, Role::Client, client, 1, ms(0));
        send_by(&mut network, Role::Client, client, 2, ms(100));
        let all = arrivals(&mut network);
        let (genuine, copies): (Vec<_>, Vec<_>) =
            all.iter().partition(|(_, _, from, _)| *from == seen.remote());
        assert_eq!(genuine.iter().map(|(at, _, _, _)| *at).collect::<Vec<_>>(), [ms(21), ms(121)]);
        assert_eq!(copies.iter().map(|(at, _, _, mark)| (*at, *mark)).collect::<Vec<_>>(), [(when, 1)]);
    }
}

#[test]
fn what_is_sent_to_an_attacker_goes_nowhere_unless_he_relays() {
    for relays in [false, true] {
        let (mut network, link) = network();
        let client = network.route(link, Role::Client);
        let attacker = Attacker::copying(Way::Up, 9).ahead(ms(5));
        network.attack(link, if relays { attacker.relaying() } else { attacker });
        send_by(&mut network, Role::Client, client, 1, ms(0));
        let (_, _, his, _) = arrivals(&mut network)[0];
        let server = network.route(link, Role::Server);
        let to_him = RouteId::new(server.local_id(), server.local(), his);
        assert_eq!(send_by(&mut network, Role::Server, to_him, 2, ms(50)), Fate::Sent);
        let seen = arrivals(&mut network);
        let expected = [(ms(71), Role::Client, client.remote(), 2)];
        assert_eq!(seen, if relays { &expected[..] } else { &[] });
    }
}

#[test]
fn copies_of_what_the_server_sends_reach_the_client_from_elsewhere_even_if_the_link_is_cut() {
    let (mut network, link) = network();
    let server = network.route(link, Role::Server);
    network.attack(link, Attacker::copying(Way::Down, 5).behind(ms(3)));
    send_by(&mut network, Role::Server, server, 1, ms(0));
    network.cut(link, Way::Down, at(us(500)));
    let seen = arrivals(&mut network);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].0, seen[0].1), (ms(24), Role::Client));
    assert_ne!(seen[0].2, network.route(link, Role::Client).remote());
}

#[test]
fn a_stranger_may_be_answered_but_gets_nothing() {
    let (mut network, link) = network();
    let source = "203.0.113.9:4000".parse().unwrap();
    let route = network.stranger(link, Role::Server, source);
    assert_eq!(route, network.stranger(link, Role::Server, source));
    assert_eq!(send_by(&mut network, Role::Server, route, 1, ms(0)), Fate::Sent);
    assert!(arrivals(&mut network).is_empty());
}

#[test]
fn datagrams_from_two_addresses_are_never_merged() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(crate::units::Rate::UNLIMITED, ms(1)));
    let client = network.route(link, Role::Client);
    for mark in 0..40 {
        send_by(&mut network, Role::Client, client, mark, ms(0));
        network.rebind(link, PORT);
    }
    let mut buffers = 0;
    while let Some(arrival) = network.take_arrival(at(ms(1))) {
        assert_eq!(arrival.bytes.len(), arrival.segment_size);
        buffers += 1;
    }
    assert_eq!(buffers, 40);
}
