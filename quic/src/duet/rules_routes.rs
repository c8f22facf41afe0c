//! What holds for each route by itself: ways that are tried out or were left, local addresses that go, connection IDs
//! that were shown, credit that is short, and the size of first packets (RFC 9000 §9, §14.1).

use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::base::address::LocalId;
use crate::id::{Direction, StreamId};
use crate::path::stage::Stage;
use crate::wire::cid_bytes::Cid;
use crate::wire::packet::PacketKind;

const ZERO: PathId = PathId::ZERO;
const ONE: PathId = PathId(1);

fn is_challenge(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::PathChallenge(_))
}

fn is_response(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::PathResponse(_))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn push(duet: &mut Duet, bytes: usize) -> StreamId {
    let stream = duet.client.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

/// The client alone has no use for several paths.
fn single() -> Duet {
    let mut duet = Duet::confirmed_set(|client, _| client.max_paths = 1);
    duet.client.forget();
    duet
}

/// The client's system knows no way over a line.
fn block(duet: &mut Duet, line: u16) {
    let server = duet.line(line).server;
    duet.client.unreachable.push((LocalId(line), server));
}

fn gone(duet: &mut Duet, line: u16) {
    let now = duet.now;
    duet.client.endpoint.local_gone(LocalId(line), now);
}

/// The connection IDs that the client has shown on a line.
fn shown_on(duet: &Duet, line: u16) -> Vec<Cid> {
    let sent = duet.client.sent.iter().filter(|it| it.line == Some(line));
    let mut ids: Vec<_> = sent.flat_map(|it| &it.packets).map(|packet| packet.dcid).collect();
    ids.dedup();
    ids
}

fn local_of(duet: &mut Duet, path: PathId) -> LocalId {
    duet.client.connection().path_stats(path).unwrap().route.local_id()
}

/// RFC 9000 §9: a way that is tried out and does not work is no reason to doubt the way that the path has.
#[test]
fn a_way_that_the_system_does_not_know_ends_the_trial_and_leaves_the_path_alone() {
    let mut duet = Duet::with_paths(2);
    duet.settle();
    block(&mut duet, 2);
    let spare = duet.client.path(1).unwrap().remote.spare();
    let route = duet.line(2).at_client(2);
    duet.client.connection().migrate_path(ONE, route).unwrap();
    duet.run_for(ms(1));
    duet.client.collect();
    assert!(!duet.client.saw(&Event::PathSuspect(ONE)));
    assert!(duet.client.saw(&Event::PathMigrationFailed(ONE)), "{:?}", duet.client.events);
    assert_eq!(duet.client.path(1).unwrap().remote.spare(), spare, "nobody has seen it");
    assert!(matches!(duet.client.path(1).unwrap().stage(), Stage::Open));
}

#[test]
fn where_a_path_came_from_may_be_unreachable() {
    let (home, away) = (address("10.0.1.1:5000"), address("10.8.8.8:8"));
    let mut duet = Duet::with_paths(2);
    duet.settle();
    duet.line(1).outside = away;
    duet.server.unreachable.push((LocalId(0), home));
    duet.client.says(1, &[Frame::Ping]);
    duet.settle();
    assert!(duet.server.saw(&Event::PathMigrated(ONE)));
    assert!(!duet.server.saw(&Event::PathSuspect(ONE)), "{:?}", duet.server.events);
    assert_eq!(duet.server.connection().path_stats(ONE).unwrap().route.remote(), away);
}

#[test]
fn a_probe_from_where_no_answer_gets_to_does_not_make_the_path_suspect() {
    let away = address("10.8.8.8:8");
    let mut duet = Duet::with_paths(2);
    duet.settle();
    duet.server.forget();
    duet.server.unreachable.push((LocalId(0), away));
    duet.client.mute(true);
    duet.line(1).outside = away;
    let say = Say::new(PacketKind::OneRtt, ONE, encoded(&[Frame::PathChallenge([7; 8])]));
    duet.client.says_so(Say { pad_to: 1200, ..say });
    duet.run_for(ms(12));
    assert!(duet.server.heard(|frame| *frame == Frame::PathChallenge([7; 8])));
    assert!(!duet.server.said(is_response), "it did not leave");
    assert!(!duet.server.saw(&Event::PathSuspect(ONE)), "{:?}", duet.server.events);
}

#[test]
fn a_lone_path_without_a_way_tries_one_local_address_after_the_other() {
    let mut duet = single();
    for line in [2, 3] {
        let route = duet.line(line).at_client(line);
        duet.client.connection().add_local(route);
    }
    for line in [0, 2] {
        block(&mut duet, line);
    }
    let stream = push(&mut duet, 1000);
    duet.settle();
    assert_eq!(local_of(&mut duet, ZERO), LocalId(3), "{:?}", duet.client.events);
    assert_eq!(duet.server.read(stream).len(), 1000);
}

#[test]
fn a_way_that_is_tried_out_ends_with_its_interface() {
    let mut duet = Duet::with_paths(2);
    duet.settle();
    duet.cut(2, true);
    let route = duet.line(2).at_client(2);
    duet.client.connection().migrate_path(ONE, route).unwrap();
    duet.run_for(ms(5));
    assert_eq!(duet.client.sent_with(is_challenge).last().unwrap().line, Some(2));
    let shown = shown_on(&duet, 2);
    gone(&mut duet, 2);
    duet.run_for(ms(1));
    assert!(duet.client.saw(&Event::PathMigrationFailed(ONE)), "{:?}", duet.client.events);
    duet.client.forget();
    duet.settle();
    assert!(!duet.client.sent.iter().any(|it| it.line == Some(2)));
    let spare = duet.client.path(1).unwrap().remote.spare();
    assert!(spare.is_some_and(|cid| !shown.contains(&cid)), "{spare:?}, shown {shown:?}");
}

/// RFC 9000 §9.5: the candidate's ID is known where it was shown; so that is where the path goes.
#[test]
fn a_path_whose_interface_goes_takes_the_way_that_it_was_trying_out() {
    let mut duet = single();
    duet.line(2).down = ms(200);
    for line in [3, 2] {
        let route = duet.line(line).at_client(line);
        duet.client.connection().add_local(route);
    }
    let route = duet.line(2).at_client(2);
    duet.client.connection().migrate_path(ZERO, route).unwrap();
    duet.run_for(ms(5));
    let before = shown_on(&duet, 2);
    assert_eq!(before.len(), 1);
    duet.cut(0, true);
    gone(&mut duet, 0);
    let stream = push(&mut duet, 1000);
    duet.settle();
    assert_eq!(local_of(&mut duet, ZERO), LocalId(2));
    assert_eq!(shown_on(&duet, 2), before, "one ID for one address");
    assert!(shown_on(&duet, 3).is_empty());
    assert_eq!(duet.server.read(stream).len(), 1000);
}

/// RFC 9000 §9.5
#[test]
fn an_id_that_was_shown_on_one_way_is_never_shown_on_another() {
    let mut duet = single();
    duet.cut(2, true);
    let routes = [2, 3].map(|line| duet.line(line).at_client(line));
    duet.client.connection().migrate_path(ZERO, routes[0]).unwrap();
    duet.run_for(ms(5));
    duet.client.connection().add_local(routes[1]);
    push(&mut duet, 1000);
    gone(&mut duet, 2);
    gone(&mut duet, 0);
    duet.settle();
    let shown = [0, 2].map(|line| shown_on(&duet, line)).concat();
    let there = shown_on(&duet, 3);
    assert!(there.iter().all(|cid| !shown.contains(cid)), "{there:?}, before {shown:?}");
}

/// The client says PING on a path from a new address, in so small a datagram that it buys next to nothing, and then what
/// it said from the old one arrives.
fn move_without_credit(duet: &mut Duet, path: u32) {
    duet.client.mute(true);
    duet.hold_next(Role::Client, 1, |frame| *frame == Frame::MaxData(1));
    duet.client.says(path, &[Frame::MaxData(1)]);
    duet.run_for(ms(1));
    let late = duet.held.pop().unwrap();
    duet.line(path as u16).outside = address("10.8.8.8:8");
    duet.client.says(path, &[Frame::Ping]);
    duet.run_for(ms(40));
    assert!(duet.server.saw(&Event::PathMigrated(PathId(path))));
    let running = duet.server.path(path).unwrap().running().unwrap();
    assert!(running.route.credit() < 40, "{}", running.route.credit());
    duet.server.forget();
    duet.replay(&late);
    duet.run_for(ms(40));
}

/// RFC 9000 §8.1, MP-170
#[test]
fn acknowledgements_of_a_path_without_credit_leave_on_another() {
    for (poor, rich) in [(1, 0), (0, 1)] {
        let mut duet = Duet::with_paths(2);
        duet.settle();
        move_without_credit(&mut duet, poor);
        let of = |path: u32| move |frame: &Frame<'static>| matches!(frame, Frame::Ack(ack) if ack.path == u64::from(path));
        let acks = duet.server.said_in(of(poor));
        assert!(!acks.is_empty() && acks.iter().all(|packet| packet.path == PathId(rich)), "{acks:?}");
        // And nobody waits behind it.
        duet.client.says(rich, &[Frame::Ping]);
        duet.client.says(rich, &[Frame::Ping]);
        duet.run_for(ms(40));
        assert!(duet.server.said(of(rich)));
    }
}

/// The server waits for the rest of the client's handshake; what it said itself is lost.
fn waiting_server() -> Duet {
    let mut duet = Duet::new();
    duet.hold_all(Role::Server);
    duet.run_for(ms(11));
    duet.held.clear();
    duet.unfilter();
    duet.server.mute(true);
    duet
}

fn initial_pings(end: &End) -> usize {
    let initial = end.heard.iter().filter(|packet| packet.kind == PacketKind::Initial);
    initial.flat_map(|packet| &packet.frames).filter(|frame| **frame == Frame::Ping).count()
}

/// RFC 9000 §14.1: also when the connection is there already. It is the datagram that counts, and not the packet.
#[test]
fn a_server_takes_no_initial_packet_in_a_small_datagram() {
    for (datagram, taken) in [(1199, false), (1200, true)] {
        let mut duet = waiting_server();
        let ping = Say::new(PacketKind::Initial, ZERO, vec![1]);
        duet.client.says_so(Say { pad_to: datagram, ..ping });
        duet.run_for(ms(11));
        assert_eq!(initial_pings(&duet.server), usize::from(taken), "a packet of {datagram} bytes");
        let dropped = duet.server.connection().stats().packets_discarded;
        assert_eq!(dropped, u64::from(!taken));
    }
    for (datagram, taken) in [(1199, false), (1200, true)] {
        let mut duet = waiting_server();
        duet.hold_all(Role::Client);
        duet.client.says_so(Say::new(PacketKind::Initial, ZERO, vec![1]));
        duet.run_for(ms(1));
        let mut word = duet.held.pop().unwrap();
        assert!(word.bytes.len() < 100);
        word.bytes.resize(datagram, 0); // no packet, but part of the datagram
        let (route, bytes) = (word.route, word.bytes);
        duet.inject(Role::Server, route, &bytes);
        assert_eq!(initial_pings(&duet.server), usize::from(taken), "a datagram of {datagram} bytes");
    }
}

/// RFC 9000 §14.1
#[test]
fn a_client_pads_every_datagram_with_an_initial_packet_the_last_one_too() {
    let mut duet = Duet::new();
    duet.run_for(ms(1));
    duet.client.mute(true);
    duet.run_for(ms(20)); // the server's first flight: there are keys of two levels
    duet.client.mute(false);
    duet.client.connection().close(7, b"enough");
    duet.run_for(ms(1));
    let initial = |it: &&Datagram| it.packets.iter().any(|packet| packet.kind == PacketKind::Initial);
    let with_initial: Vec<_> = duet.client.sent.iter().filter(initial).collect();
    assert!(with_initial.len() > 1 && with_initial.iter().any(|it| it.packets.len() > 1));
    assert!(with_initial.iter().all(|it| it.bytes.len() >= 1200), "{with_initial:?}");
}

/// A client that heard the server's first packet, and has keys for no more than that.
fn half_heard() -> Duet {
    let mut duet = waiting_server();
    let spare = duet.line(1).at_client(1);
    duet.client.connection().add_local(spare);
    duet.server.says_raw(PacketKind::Initial, 0, &[1]);
    duet.run_for(ms(11));
    duet.server.mute(false);
    assert_eq!(initial_pings(&duet.client), 1);
    duet.cut(0, true);
    duet
}

/// Nothing but Initial packets has left: the server cannot tell this from a race.
#[test]
fn a_handshake_that_has_hardly_begun_goes_on_over_another_interface() {
    for told in [true, false] {
        let mut duet = half_heard();
        let from = duet.now;
        if told {
            gone(&mut duet, 0);
        } else {
            block(&mut duet, 0);
        }
        duet.run_until("confirmed", |duet| duet.client.saw(&Event::Confirmed));
        let took = duet.now.since(from);
        let limit = if told { ms(200) } else { ms(2000) }; // a refusal is noticed when something is sent
        assert!(took < limit, "{took:?}");
        assert_eq!(local_of(&mut duet, ZERO), LocalId(1));
        let stream = push(&mut duet, 10_000);
        duet.settle();
        assert_eq!(duet.server.read(stream).len(), 10_000);
    }
}

/// RFC 9000 §9: a client does not move before the handshake is confirmed, and then it does at once.
#[test]
fn an_interface_that_goes_before_confirmation_is_left_when_that_comes() {
    for told in [true, false] {
        let mut duet = Duet::new();
        let spare = duet.line(1).at_client(1);
        duet.client.connection().add_local(spare);
        duet.hold_next(Role::Server, usize::MAX, |frame| *frame == Frame::HandshakeDone);
        duet.run_for(ms(50));
        assert!(!duet.held.is_empty() && !duet.client.saw(&Event::Confirmed));
        duet.line(0).cut_up = true;
        if told {
            gone(&mut duet, 0);
        } else {
            block(&mut duet, 0);
        }
        duet.run_for(ms(100));
        assert!(shown_on(&duet, 1).is_empty(), "not before");
        duet.unfilter();
        duet.release();
        duet.run_until("confirmed", |duet| duet.client.saw(&Event::Confirmed));
        duet.run_for(ms(100));
        assert!(duet.client.saw(&Event::PathMigrated(ZERO)), "{told}: {:?}", duet.client.events);
        assert_eq!(local_of(&mut duet, ZERO), LocalId(1));
        let stream = push(&mut duet, 10_000);
        duet.settle();
        assert_eq!(duet.server.read(stream).len(), 10_000);
    }
}

/// RFC 9000 §9.3.3, where the path has not been proven to be anywhere yet.
#[test]
fn somebody_who_copies_a_handshake_packet_does_not_steal_the_connection() {
    let thief = address("10.8.8.8:8");
    let mut duet = Duet::new();
    let shakes = |it: &Datagram| it.packets.iter().any(|packet| packet.kind == PacketKind::Handshake);
    duet.filter(move |it| if it.to == Role::Server && shakes(it) { Verdict::Hold } else { Verdict::Pass });
    duet.run_for(ms(21));
    assert!(!duet.held.is_empty());
    for word in duet.held.clone() {
        let there = RouteId::new(word.route.local_id(), word.route.local(), thief);
        duet.inject(Role::Server, there, &word.bytes);
    }
    assert_eq!(duet.server.connection().path_stats(ZERO).unwrap().route.remote(), thief);
    duet.unfilter();
    duet.release();
    let from = duet.now;
    duet.run_until("confirmed", |duet| duet.client.saw(&Event::Confirmed));
    let took = duet.now.since(from);
    assert!(took < ms(2000), "{took:?}");
    duet.settle();
    let route = duet.server.connection().path_stats(ZERO).unwrap().route;
    assert_eq!(route.remote(), address("10.0.0.1:5000"));
    assert!(duet.server.connection().is_proven(&route));
    let stream = push(&mut duet, 100_000);
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 100_000);
    let told: usize = duet.server.sent.iter().filter(|it| it.remote == thief).map(|it| it.bytes.len()).sum();
    assert!(told <= 3 * 1300, "{told} bytes");
}

/// RFC 9000 §9.4: a challenge overtakes nothing that left on the path's own route.
#[test]
fn a_faster_way_that_is_tried_out_makes_no_packet_of_the_path_lost() {
    let mut duet = single();
    duet.line(0).up = ms(100);
    duet.line(2).up = ms(1);
    duet.line(2).cut_down = true;
    push(&mut duet, 10_000);
    duet.run_for(ms(1));
    let route = duet.line(2).at_client(2);
    duet.client.connection().migrate_path(ZERO, route).unwrap();
    duet.run_for(ms(80));
    assert!(duet.server.heard(is_challenge));
    let acked = |frame: &Frame<'static>| matches!(frame, Frame::Ack(_));
    assert!(duet.client.heard(acked), "nothing else has arrived there");
    assert_eq!(duet.client.connection().stats().packets_lost, 0);
}

/// RFC 9000 §9.4
#[test]
fn a_way_that_is_tried_out_does_not_speak_for_the_path() {
    let mut duet = Duet::with_paths(2);
    duet.settle();
    duet.line(1).cut_up = true;
    duet.line(2).cut_down = true;
    duet.client.says(1, &[Frame::Ping]);
    duet.run_until("suspect", |duet| duet.client.saw(&Event::PathSuspect(ONE)));
    let route = duet.line(2).at_client(2);
    duet.client.connection().migrate_path(ONE, route).unwrap();
    duet.client.forget();
    duet.run_for(ms(500));
    let asked = |packet: &&Packet| packet.frames.iter().any(is_challenge);
    let challenges: Vec<u64> = duet.client.said.iter().filter(asked).map(|packet| packet.number).collect();
    let acked = |frame: &Frame<'static>| match frame {
        Frame::Ack(ack) => ack.path == 1 && challenges.contains(&ack.largest),
        _ => false,
    };
    assert!(duet.client.heard(acked));
    assert!(!duet.client.saw(&Event::PathRecovered(ONE)));
}
