//! The network, tested with literal arithmetic and without endpoints.

use std::time::Duration;

use braid_quic::TrainTag;

use super::*;
use crate::link::{Trains, TwoRates};
use crate::units::{Rate, mbps, ms, us};

fn at(span: Duration) -> Instant {
    Instant::ZERO + span
}

fn train(network: &Network, from: Role, link: LinkId, bytes: usize, segment_size: usize) -> Train {
    let route = network.route(link, from);
    Train {
        bytes,
        segment_size,
        local_id: route.local_id(),
        source: route.source(),
        remote: route.remote(),
        ecn: Ecn::NotEct,
        tag: TrainTag(0),
    }
}

/// Sends `bytes` as one train from the client.
fn send(network: &mut Network, link: LinkId, bytes: &[u8], segment_size: usize, now: Duration) {
    let train = train(network, Role::Client, link, bytes.len(), segment_size);
    network.send(Role::Client, link, &train, bytes, at(now));
}

/// Everything that arrives, with its time: each datagram by itself, as (time, bytes).
fn arrivals(network: &mut Network) -> Vec<(Instant, Vec<u8>)> {
    let mut seen = Vec::new();
    while let Some(now) = network.next_arrival() {
        while let Some(arrival) = network.take_arrival(now) {
            seen.extend(arrival.bytes.chunks(arrival.segment_size).map(|segment| (now, segment.to_vec())));
        }
    }
    seen
}

/// The first `count` datagrams that arrive: an end for networks whose rates change for ever.
fn arrivals_until(network: &mut Network, count: usize) -> Vec<(Instant, Vec<u8>)> {
    let mut seen = Vec::new();
    while seen.len() < count
        && let Some(now) = network.next_arrival()
    {
        while let Some(arrival) = network.take_arrival(now) {
            seen.extend(arrival.bytes.chunks(arrival.segment_size).map(|segment| (now, segment.to_vec())));
        }
    }
    seen
}

#[test]
fn a_train_is_split_and_its_datagrams_arrive_one_serialisation_time_apart() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)));
    send(&mut network, link, &[7; 3_125], 1_250, ms(0)); // 1250 + 1250 + 625 bytes
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(now, bytes)| (now, bytes.len())).collect();
    assert_eq!(seen, [(at(ms(21)), 1_250), (at(ms(22)), 1_250), (at(us(22_500)), 625)]);
}

#[test]
fn a_train_longer_than_the_queue_loses_its_tail() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)).queue_bytes(5_000));
    send(&mut network, link, &[7; 10_000], 1_000, ms(0));
    assert_eq!(arrivals(&mut network).len(), 5);
    assert_eq!(network.stats(link, Way::Up).overflowed, 5);
    assert_eq!(network.stats(link, Way::Down).sent, 0);
}

#[test]
fn datagrams_in_flight_on_a_cut_link_still_arrive_and_the_other_direction_is_not_cut() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)));
    send(&mut network, link, &[1; 1_250], 1_250, ms(0)); // departs at 1 ms, arrives at 21 ms
    network.cut(link, Way::Up, at(ms(2)));
    send(&mut network, link, &[2; 1_250], 1_250, ms(3));
    let train = train(&network, Role::Server, link, 1_250, 1_250);
    network.send(Role::Server, link, &train, &[3; 1_250], at(ms(4)));
    network.restore(link, Way::Up, at(ms(30)));
    send(&mut network, link, &[4; 1_250], 1_250, ms(30));
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(now, bytes)| (now, bytes[0])).collect();
    assert_eq!(seen, [(at(ms(21)), 1), (at(ms(25)), 3), (at(ms(51)), 4)]);
}

#[test]
fn links_do_not_slow_each_other_down() {
    let mut network = Network::new(1);
    let near = network.add(Link::new(mbps(10), ms(5)));
    let far = network.add(Link::new(mbps(10), ms(50)));
    send(&mut network, far, &[1; 1_250], 1_250, ms(0));
    send(&mut network, near, &[2; 1_250], 1_250, ms(0));
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(now, bytes)| (now, bytes[0])).collect();
    assert_eq!(seen, [(at(ms(6)), 2), (at(ms(51)), 1)]);
}

#[test]
fn what_arrives_at_one_instant_is_merged_mostly_and_keeps_its_order_and_boundaries() {
    let mut network = Network::new(5);
    let link = network.add(Link::new(Rate::UNLIMITED, ms(1)));
    let sent: Vec<u8> = (0..100_u8).flat_map(|number| [number; 100]).collect();
    send(&mut network, link, &sent, 100, ms(0));
    send(&mut network, link, &[200; 60], 100, ms(0));
    let mut buffers = Vec::new();
    let mut bytes = Vec::new();
    while let Some(arrival) = network.take_arrival(at(ms(1))) {
        assert_eq!(arrival.to, Role::Server);
        assert!(arrival.bytes.len() <= arrival.segment_size * SEGMENTS_MAX);
        buffers.push(arrival.bytes.len().div_ceil(arrival.segment_size));
        bytes.extend_from_slice(&arrival.bytes);
    }
    assert_eq!(&bytes[..10_000], &sent);
    assert_eq!(&bytes[10_000..], &[200; 60]);
    assert_eq!(buffers.iter().sum::<usize>(), 101);
    assert!(buffers.iter().any(|&segments| segments > 1), "{buffers:?}");
    assert!(buffers.len() > 1, "not always all in one: {buffers:?}");
}

#[test]
fn after_a_shorter_segment_a_buffer_takes_no_more() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(Rate::UNLIMITED, ms(1)));
    for _ in 0..50 {
        send(&mut network, link, &[1; 250], 100, ms(0)); // 100 + 100 + 50
    }
    let mut total = 0;
    while let Some(arrival) = network.take_arrival(at(ms(1))) {
        assert!(arrival.bytes.len() <= 250);
        total += arrival.bytes.len();
    }
    assert_eq!(total, 50 * 250);
}

#[test]
fn a_train_to_an_address_that_no_link_has_is_an_error() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)));
    let other = network.add(Link::new(mbps(10), ms(20)).to_listener(1));
    let good = train(&network, Role::Server, link, 100, 100);
    assert_eq!(network.link_for(Role::Server, &good), Ok(link));
    let from_other_listener = Train { local_id: LocalId(1), ..train(&network, Role::Server, link, 100, 100) };
    assert!(network.link_for(Role::Server, &from_other_listener).is_err());
    let wrong_source = Train {
        source: network.route(other, Role::Server).source(),
        ..train(&network, Role::Server, link, 100, 100)
    };
    assert!(network.link_for(Role::Server, &wrong_source).is_err());
    let open_source = Train { source: None, ..good };
    assert_eq!(network.link_for(Role::Server, &open_source), Ok(link));
}

#[test]
fn corruption_changes_a_datagram_but_not_its_length() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)).corrupt(1.0));
    send(&mut network, link, &[0; 1_000], 1_000, ms(0));
    let (_, bytes) = arrivals(&mut network).remove(0);
    let flipped: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    assert!((1..=3).contains(&flipped), "{flipped}");
    assert_eq!(bytes.len(), 1_000);
}

#[test]
fn the_digest_depends_on_bytes_time_link_and_boundaries() {
    let digest = |bytes: &[u8], segment_size, now, links| {
        let mut network = Network::new(1);
        for _ in 0..links {
            network.add(Link::new(mbps(10), ms(20)));
        }
        send(&mut network, LinkId(links - 1), bytes, segment_size, now);
        network.digest()
    };
    let base = digest(&[1; 200], 200, ms(1), 1);
    assert_eq!(base, digest(&[1; 200], 200, ms(1), 1));
    assert_ne!(base, digest(&[2; 200], 200, ms(1), 1));
    assert_ne!(base, digest(&[1; 200], 100, ms(1), 1));
    assert_ne!(base, digest(&[1; 200], 200, ms(2), 1));
    assert_ne!(base, digest(&[1; 200], 200, ms(1), 2));
}

#[test]
fn only_the_latest_datagrams_are_remembered() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(Rate::UNLIMITED, ms(1)));
    for number in 0..REMEMBERED_MAX as u8 + 3 {
        send(&mut network, link, &[number; 10], 10, ms(0));
    }
    assert_eq!(network.remembered().len(), REMEMBERED_MAX);
    assert_eq!(network.remembered().front().unwrap().bytes, [3; 10]);
}

#[test]
fn a_new_rate_moves_the_arrivals_of_what_waits() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)));
    send(&mut network, link, &[7; 5_000], 1_250, ms(0)); // depart at 1, 2, 3 and 4 ms
    network.change(link, Way::Up, Setting::Rate(mbps(1)), at(ms(2)));
    send(&mut network, link, &[7; 1_250], 1_250, ms(2));
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(now, _)| now.since(at(ms(0)))).collect();
    assert_eq!(seen, [ms(21), ms(22), ms(32), ms(42), ms(52)]);
}

#[test]
fn two_rates_change_by_themselves_while_nothing_is_sent() {
    let rates = TwoRates { rates: [mbps(10), mbps(1)], means: [ms(50), ms(50)] };
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(1), ms(1)).with(Setting::TwoRates(rates)).queue_bytes(u64::MAX));
    send(&mut network, link, &vec![1; 50_000], 1_250, ms(0));
    for _ in 0..49 {
        send(&mut network, link, &vec![1; 50_000], 1_250, ms(0));
    }
    let times: Vec<_> = arrivals_until(&mut network, 2_000).into_iter().map(|(now, _)| now).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    let (fast, slow) = (gaps.iter().filter(|&&gap| gap == ms(1)), gaps.iter().filter(|&&gap| gap == ms(10)));
    let (fast, slow) = (fast.count(), slow.count());
    // Half of the time each: ten times as many datagrams leave in the fast state.
    assert!(fast + slow > 1_850, "{fast} {slow}");
    assert!((4..25).contains(&(fast / slow)), "{fast} {slow}");
}

#[test]
fn two_links_that_share_a_queue_fill_it_together_and_keep_their_own_delays() {
    let mut network = Network::new(1);
    let one = network.add(Link::new(mbps(10), ms(20)).queue_bytes(5_000));
    let two = network.add(Link::new(mbps(99), ms(50)).sharing(one));
    for link in [one, two, one, two, one] {
        send(&mut network, link, &[link.0 as u8; 1_250], 1_250, ms(0));
    }
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(now, bytes)| (now, bytes[0])).collect();
    assert_eq!(seen, [(at(ms(21)), 0), (at(ms(23)), 0), (at(ms(52)), 1), (at(ms(54)), 1)]);
    assert_eq!(network.stats(one, Way::Up).overflowed, 1, "the fifth found it full");
}

#[test]
fn a_cut_of_one_link_leaves_the_other_in_the_queue_they_share() {
    let mut network = Network::new(1);
    let one = network.add(Link::new(mbps(10), ms(20)));
    let two = network.add(Link::new(mbps(10), ms(20)).sharing_way(Way::Up, one));
    for link in [one, two] {
        send(&mut network, link, &[link.0 as u8; 1_250], 1_250, ms(0));
    }
    network.cut(one, Way::Up, at(us(100)));
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(now, bytes)| (now, bytes[0])).collect();
    assert_eq!(seen, [(at(ms(22)), 1)]);
}

#[test]
fn what_a_system_refuses_is_not_sent() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)).with_way(Way::Up, Setting::LocalMtu(Some(1_400))));
    let mut fate = |bytes: usize, segment_size| {
        let train = train(&network, Role::Client, link, bytes, segment_size);
        network.send(Role::Client, link, &train, &vec![1; bytes], at(ms(0)))
    };
    assert_eq!(fate(1_401, 1_401), Fate::TooBig);
    assert_eq!(fate(2_802, 1_401), Fate::TooBig);
    assert_eq!(fate(2_800, 1_400), Fate::Sent);
    assert_eq!(fate(100, 1_500), Fate::Sent, "a short single datagram");
    network.change(link, Way::Up, Setting::Unreachable(true), at(ms(0)));
    let train = train(&network, Role::Client, link, 100, 100);
    assert_eq!(network.send(Role::Client, link, &train, &[1; 100], at(ms(0))), Fate::Unreachable);
    assert_eq!(network.stats(link, Way::Up).sent, 3);
}

#[test]
fn trains_vanish_where_the_hardware_spoils_them() {
    let mut network = Network::new(1);
    let link = network.add(Link::new(mbps(10), ms(20)).with_way(Way::Up, Setting::Trains(Trains::Lost)));
    send(&mut network, link, &[1; 2_400], 1_200, ms(0));
    send(&mut network, link, &[2; 1_200], 1_200, ms(0));
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(_, bytes)| bytes[0]).collect();
    assert_eq!(seen, [2]);
}
