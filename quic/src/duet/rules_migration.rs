//! Rules of the draft about paths that move to other addresses (MP-117 to MP-128), and pitfalls around them.

use std::net::SocketAddr;

use bytes::Bytes;

use super::frames::new_cid;
use super::*;
use crate::id::{Direction, StreamId};
use crate::stats::PathStats;
use crate::wire::packet::PacketKind;

fn is_challenge(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::PathChallenge(_))
}

fn stats(end: &mut End, path: u32) -> PathStats {
    end.connection().path_stats(PathId(path)).unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn moved(path: u32) -> Event {
    Event::PathMigrated(PathId(path))
}

fn push(duet: &mut Duet, bytes: usize) -> StreamId {
    let stream = duet.client.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

/// Challenges that the server has sent to an address.
fn challenges_to(duet: &Duet, remote: SocketAddr) -> Vec<[u8; 8]> {
    let there = duet.server.sent.iter().filter(|datagram| datagram.remote == remote);
    let frames = there.flat_map(Datagram::frames);
    let data = |frame: &Frame<'static>| match frame {
        Frame::PathChallenge(data) => Some(*data),
        _ => None,
    };
    frames.filter_map(data).collect()
}

#[test]
fn a_client_whose_address_changes_before_it_hears_the_handshake_is_confirmed_is_found_again() {
    let mut duet = Duet::new();
    duet.drop_all(Role::Server, |frame| matches!(frame, Frame::HandshakeDone));
    duet.run_until("the server is done", |duet| duet.server.saw(&Event::Confirmed));
    assert!(!duet.client.saw(&Event::Confirmed));
    duet.line(0).outside = address("10.8.8.8:8");
    duet.line(0).cut_up = true; // its first 1-RTT packets are lost, and their probes wait for the confirmation
    duet.run_for(ms(150));
    duet.line(0).cut_up = false;
    duet.unfilter();
    duet.run_until("the client is done", |duet| duet.client.saw(&Event::Confirmed));
    duet.settle();
    assert_eq!(stats(&mut duet.server, 0).route.remote(), address("10.8.8.8:8"));
}

/// MP-118, MP-121, P-51
#[test]
fn probing_packets_move_nothing_and_others_do() {
    let new_id = encoded(&[Frame::PathChallenge([1; 8]), new_cid(5, 1, 0, 0x51)]);
    let response = encoded(&[Frame::PathResponse([1; 8])]);
    let status = encoded(&[Frame::PathStatus { path: 1, sequence: 9, backup: false }]);
    let ack = vec![0x3e, 1, 0, 0, 0, 0];
    let blocked = encoded(&[Frame::PathCidsBlocked { path: 1, next_sequence: 1 }]);
    let ping = encoded(&[Frame::Ping, Frame::PathChallenge([1; 8])]);
    for (payload, moves) in
        [(new_id, false), (response, false), (status, true), (ack, true), (blocked, true), (ping, true)]
    {
        let mut duet = Duet::with_paths(2);
        let before = stats(&mut duet.server, 1).route;
        duet.line(1).outside = address("10.8.8.8:8");
        let say = Say::new(PacketKind::OneRtt, PathId(1), payload.clone());
        duet.client.says_so(Say { pad_to: 1200, ..say });
        duet.run_for(ms(11));
        assert_eq!(duet.server.saw(&moved(1)), moves, "{payload:x?}");
        assert_eq!(stats(&mut duet.server, 1).route != before, moves);
        assert!(duet.server.is_alive());
    }
}

/// MP-118
#[test]
fn only_the_newest_packet_of_the_path_moves_it() {
    let mut duet = Duet::with_paths(2);
    duet.hold_next(Role::Client, 1, |frame| *frame == Frame::MaxData(1));
    duet.client.says(1, &[Frame::MaxData(1)]);
    duet.run_for(ms(1));
    duet.client.says(1, &[Frame::MaxData(2)]);
    duet.run_for(ms(11));
    let older = duet.held.pop().unwrap();
    let elsewhere = RouteId::new(crate::LocalId(0), older.route.local(), address("10.8.8.8:8"));
    duet.inject(Role::Server, elsewhere, &older.bytes);
    assert!(duet.server.heard(|frame| *frame == Frame::MaxData(1)));
    assert!(!duet.server.saw(&moved(1)));
}

/// MP-117, MP-119, MP-126
#[test]
fn a_path_that_moves_keeps_its_numbers_changes_its_id_and_is_proven_where_it_went() {
    let mut duet = Duet::with_paths(2);
    duet.settle();
    let before: Packet = (*duet.server.said_on(1).last().unwrap()).clone();
    let zero = stats(&mut duet.server, 0);
    duet.line(1).outside = address("10.8.8.8:8");
    duet.client.says(1, &[Frame::Ping]);
    duet.settle();
    assert!(duet.server.saw(&moved(1)) && !duet.server.saw(&moved(0)));
    let away = duet.server.sent.iter().filter(|it| it.remote == address("10.8.8.8:8"));
    let after: Vec<&Packet> = away.flat_map(|datagram| &datagram.packets).collect();
    assert!(!after.is_empty() && after.iter().all(|packet| packet.number > before.number));
    let now = after[0].dcid;
    assert!(after.iter().all(|packet| packet.dcid == now && packet.dcid != before.dcid));
    let of_path_1 = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path == 1 && new.cid == now);
    assert!(duet.server.heard(of_path_1), "another one of the same path");
    let there = stats(&mut duet.server, 1);
    assert_eq!((there.route.remote(), there.stage), (address("10.8.8.8:8"), crate::PathStage::Open));
    assert_eq!(zero.route, stats(&mut duet.server, 0).route);
}

/// MP-126, P-13
#[test]
fn of_two_challenges_each_response_settles_its_own() {
    let (home, away) = (address("10.0.1.1:5000"), address("10.8.8.8:8"));
    for (answered, stays) in [(away, true), (home, false)] {
        let mut duet = Duet::with_paths(2);
        duet.client.mute(true);
        duet.line(1).outside = away;
        // Enough credit for a challenge that proves the way too.
        let ping = Say::new(PacketKind::OneRtt, PathId(1), vec![1]);
        duet.client.says_so(Say { pad_to: 1200, ..ping });
        duet.run_for(ms(30));
        assert!(duet.server.saw(&moved(1)));
        let data = *challenges_to(&duet, answered).last().unwrap();
        // A probe from where the path is: the answer speaks for the address that was asked and no other.
        let say = Say::new(PacketKind::OneRtt, PathId(1), encoded(&[Frame::PathResponse(data)]));
        duet.client.says_so(Say { pad_to: 1200, ..say });
        duet.run_for(ms(5000));
        let route = stats(&mut duet.server, 1).route.remote();
        assert_eq!(route == away, stays, "answered {answered}: {:?}", duet.server.events);
    }
}

/// MP-128
#[test]
fn another_local_address_of_ours_is_another_4_tuple() {
    let mut duet = Duet::with_paths(2);
    duet.hold_next(Role::Client, 1, |frame| *frame == Frame::MaxData(1));
    duet.client.says(1, &[Frame::MaxData(1)]);
    duet.run_for(ms(1));
    let word = duet.held.pop().unwrap();
    let here = RouteId::new(crate::LocalId(0), address("10.9.0.2:443"), word.route.remote());
    duet.inject(Role::Server, here, &word.bytes);
    assert!(duet.server.saw(&moved(1)));
    assert_eq!(stats(&mut duet.server, 1).route, here);
    duet.run_for(ms(1));
    assert!(
        duet.server.sent.last().unwrap().packets.iter().any(|packet| packet.frames.iter().any(is_challenge))
    );
}

/// P-52, P-72
#[test]
fn both_addresses_are_asked_again_if_challenges_are_lost_and_it_ends() {
    let (home, away) = (address("10.0.1.1:5000"), address("10.8.8.8:8"));
    let mut duet = Duet::with_paths(2);
    duet.client.forget();
    duet.server.forget();
    duet.line(1).outside = away;
    duet.drop_all(Role::Server, is_challenge);
    duet.client.says(1, &[Frame::Ping]);
    duet.run_for(ms(20_000));
    for remote in [home, away] {
        let asked = challenges_to(&duet, remote).len();
        assert!((2..=10).contains(&asked), "{remote}: {asked}");
    }
    duet.unfilter();
    duet.server.forget();
    duet.run_for(ms(5000));
    assert_eq!(duet.server.said_times(is_challenge), 0);
}

/// P-11
#[test]
fn probes_from_a_hundred_other_addresses_leave_the_path_as_it_is() {
    let mut duet = Duet::with_paths(2);
    duet.settle();
    let before = stats(&mut duet.server, 1);
    duet.client.mute(true); // its acknowledgements would be more than probes
    for n in 0..100_u8 {
        duet.line(1).outside = SocketAddr::from(([10, 8, 0, n], 9));
        let say = Say::new(PacketKind::OneRtt, PathId(1), encoded(&[Frame::PathChallenge([n; 8])]));
        duet.client.says_so(Say { pad_to: 1200, ..say });
        duet.run_for(ms(30));
    }
    duet.line(1).outside = duet.line(1).client;
    duet.client.mute(false);
    duet.run_for(ms(50));
    let after = stats(&mut duet.server, 1);
    assert_eq!((after.window, after.in_flight, after.route), (before.window, 0, before.route));
    assert!(!duet.server.saw(&moved(1)));
    duet.assert_alive();
}

/// P-56
#[test]
fn a_lost_challenge_comes_back_on_its_own_path() {
    let mut duet = Duet::confirmed();
    duet.drop_next(Role::Client, 1, is_challenge);
    duet.open(1);
    let stream = push(&mut duet, 100_000);
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 100_000);
    let packets = duet.client.said_in(is_challenge);
    assert!(packets.len() >= 2 && packets.iter().all(|packet| packet.path == PathId(1)));
    assert!(duet.client.saw(&Event::PathValidated(PathId(1))));
}

/// P-48, P-49
#[test]
fn challenges_leave_in_whole_datagrams_of_their_own_whatever_else_leaves() {
    let mut duet = Duet::with_paths_set(2, |client, _| client.datagram_size = 1400);
    let stream = push(&mut duet, 250_000);
    duet.run_for(ms(3));
    duet.open(2);
    duet.line(1).outside = address("10.8.8.8:8");
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 250_000);
    for end in [&duet.client, &duet.server] {
        let challenges = end.sent_with(is_challenge);
        assert!(!challenges.is_empty());
        assert!(challenges.iter().all(|it| it.segment == (0, 1)), "never in a train");
        // One that proves no more than an address may be smaller, for want of credit.
        let whole = |it: &&&Datagram| it.bytes.len() >= 1200 && it.line == Some(2);
        assert!(challenges.iter().any(|it| whole(&it)), "{:?}", end.role);
    }
}

/// P-44
#[test]
fn a_lost_flight_of_the_server_is_repeated_when_credit_comes() {
    for lost in 1..=4 {
        let mut duet = Duet::new();
        let mut left = lost;
        duet.filter(move |datagram| {
            if datagram.to == Role::Server || left == 0 {
                return Verdict::Pass;
            }
            left -= 1;
            Verdict::Drop
        });
        duet.run_until("confirmed", |duet| duet.client.saw(&Event::Confirmed));
        assert_eq!(duet.lost.len(), lost);
        assert!(duet.now.as_nanos() < 6_000_000_000, "{lost} lost: {:?}", duet.now);
    }
}

/// P-74
#[test]
fn what_a_path_counted_stays_in_the_sum_when_it_is_gone() {
    let mut duet = Duet::with_paths_set(2, |client, _| {
        client.scheduler = crate::schedule::SchedulerKind::RoundRobin;
    });
    let mut left = 20;
    duet.filter(move |datagram| {
        left -= i32::from(datagram.line == Some(1));
        if datagram.line == Some(1) && left > 0 && left % 4 == 0 { Verdict::Drop } else { Verdict::Pass }
    });
    let stream = push(&mut duet, 100_000);
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 100_000);
    let lost: u64 = [0, 1].map(|path| stats(&mut duet.client, path).packets_lost).iter().sum();
    assert!(lost > 0 && duet.client.connection().stats().packets_lost == lost);
    duet.client.connection().abandon_path(PathId(1), crate::PathErrorCode::NO_ERROR).unwrap();
    duet.settle();
    assert!(duet.client.path(1).is_none());
    let sums = duet.client.connection().stats();
    assert_eq!(sums.packets_lost, lost);
    assert_eq!(sums.packets_sent, duet.client.said.len() as u64);
    assert_eq!(sums.bytes_sent, duet.client.sent.iter().map(|it| it.bytes.len() as u64).sum::<u64>());
}

/// RFC 9000 §8.1: to have answered proves only the address to which the question went.
#[test]
fn a_client_that_answers_from_elsewhere_during_the_handshake_is_not_proven_to_be_there() {
    let victim = address("10.8.8.8:8");
    let mut duet = Duet::new();
    let shakes = |datagram: &Datagram| datagram.packets.iter().any(|it| it.kind == PacketKind::Handshake);
    duet.filter(move |it| if it.to == Role::Server && shakes(it) { Verdict::Hold } else { Verdict::Pass });
    duet.run_for(ms(30));
    let word = duet.held.remove(0);
    let there = RouteId::new(word.route.local_id(), word.route.local(), victim);
    duet.inject(Role::Server, there, &word.bytes);
    assert!(duet.server.saw(&Event::Confirmed));
    assert!(!duet.server.connection().is_proven(&there));
    let stream = duet.server.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.server.connection().write(stream, [Bytes::from(vec![1; 100_000])]).unwrap();
    duet.run_for(ms(3000));
    let told: usize = duet.server.sent.iter().filter(|it| it.remote == victim).map(|it| it.bytes.len()).sum();
    assert!((1..=3 * word.bytes.len()).contains(&told), "{told} bytes for {}", word.bytes.len());
}

/// The same with a client that is there: it is asked once more, and goes on.
#[test]
fn a_client_whose_address_changes_during_the_handshake_is_proven_by_a_challenge() {
    let away = address("10.8.8.8:8");
    let mut duet = Duet::new();
    let shakes = |datagram: &Datagram| datagram.packets.iter().any(|it| it.kind == PacketKind::Handshake);
    duet.filter(move |it| if it.to == Role::Server && shakes(it) { Verdict::Drop } else { Verdict::Pass });
    duet.run_for(ms(30));
    duet.unfilter();
    duet.line(0).outside = away;
    duet.settle();
    assert!(duet.client.saw(&Event::Confirmed) && duet.server.saw(&Event::Confirmed));
    let route = stats(&mut duet.server, 0).route;
    assert_eq!(route.remote(), away);
    assert!(duet.server.connection().is_proven(&route));
    assert!(!challenges_to(&duet, away).is_empty());
    let stream = push(&mut duet, 100_000);
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 100_000);
}

#[test]
fn what_moved_with_the_handshake_does_not_move_again_with_what_is_behind_it_in_the_datagram() {
    let mut duet = Duet::new();
    duet.run_for(ms(1));
    duet.hold_all(Role::Client);
    duet.run_for(ms(30));
    let shakes = |datagram: &Datagram| datagram.packets.iter().any(|it| it.kind == PacketKind::Handshake);
    let at = duet.held.iter().position(shakes).unwrap();
    let shakes = duet.held.remove(at);
    duet.client.says(0, &[Frame::Ping]);
    duet.run_for(ms(1));
    let ping = duet.held.pop().unwrap();
    assert!(ping.carries(|frame| *frame == Frame::Ping) && ping.packets[0].kind == PacketKind::OneRtt);
    let there = RouteId::new(shakes.route.local_id(), shakes.route.local(), address("10.8.8.8:8"));
    duet.inject(Role::Server, there, &[shakes.bytes, ping.bytes].concat());
    assert!(duet.server.saw(&Event::Confirmed) && duet.server.heard(|frame| *frame == Frame::Ping));
    assert!(!duet.server.saw(&moved(0)));
    assert_eq!(stats(&mut duet.server, 0).route, there);
}

#[test]
fn a_peer_that_moves_to_and_fro_does_not_fill_the_queue_of_events() {
    let mut duet = Duet::with_paths(2);
    duet.hold_all(Role::Client);
    for _ in 0..100 {
        duet.client.says(1, &[Frame::Ping]);
    }
    duet.run_for(ms(1));
    for (n, word) in std::mem::take(&mut duet.held).into_iter().enumerate() {
        let remote = SocketAddr::from(([10, 8, 8, 8], 8 + n as u16 % 2));
        let route = RouteId::new(word.route.local_id(), word.route.local(), remote);
        let segment_size = word.bytes.len();
        let mut bytes = word.bytes;
        let received = Received { bytes: &mut bytes, segment_size, route, ecn: Ecn::NotEct };
        duet.server.endpoint.receive(received, duet.now);
    }
    let events = std::iter::from_fn(|| duet.server.endpoint.next_event()).count();
    assert!((1..10).contains(&events), "{events} events");
}

/// RFC 9000 §9.5: one ID does not serve two local addresses, even if we change our mind about where to go.
#[test]
fn a_second_place_to_move_to_waits_for_an_id_of_its_own() {
    let mut duet = Duet::with_paths(2);
    duet.settle();
    duet.client.forget();
    duet.cut(2, true);
    let here = duet.client.path(1).unwrap().remote.current().unwrap();
    for line in [2, 3] {
        let route = duet.line(line).at_client(line);
        duet.client.connection().migrate_path(PathId(1), route).unwrap();
        duet.run_for(ms(5));
    }
    duet.settle();
    let mut carried = Vec::new();
    for line in [2, 3] {
        let sent = duet.client.sent.iter().filter(|it| it.line == Some(line));
        let mut ids: Vec<_> = sent.flat_map(|it| &it.packets).map(|packet| packet.dcid).collect();
        ids.dedup();
        carried.push(ids);
    }
    assert!(carried.iter().all(|ids| ids.len() == 1 && ids[0] != here), "{carried:?}, before {here:?}");
    assert_ne!(carried[0], carried[1]);
    assert!(duet.client.saw(&moved(1)));
}
