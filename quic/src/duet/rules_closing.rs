//! Rules of the draft about key updates and the end of a connection (MP-040 to MP-051).

use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::id::{Direction, StreamId};
use crate::wire::packet::PacketKind;

fn upload(duet: &mut Duet, bytes: usize) -> StreamId {
    let stream = duet.client.connection().open_stream(Direction::Bidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

fn is_close(frame: &Frame<'_>) -> bool {
    matches!(frame, Frame::ConnectionClose { .. })
}

/// When an event of this kind was first seen, by running until then.
fn when(duet: &mut Duet, role: Role, event: &Event) -> Instant {
    duet.run_until("the event", |duet| duet.end(role).saw(event));
    duet.now
}

/// MP-040, MP-043
#[test]
fn an_update_waits_for_an_acknowledgement_on_any_path_and_three_of_the_longest_probe_timeouts() {
    use crate::crypto::keyring::UpdateError;
    let mut duet = Duet::with_paths(2);
    (duet.line(1).up, duet.line(1).down) = (ms(200), ms(200));
    // The slow path learns its round trip.
    for _ in 0..20 {
        duet.client.says(1, &[Frame::Ping]);
        duet.run_for(ms(500));
    }
    let longest = duet.client.connection().path_stats(PathId(1)).unwrap().rtt_smoothed.unwrap();
    assert!(longest > ms(250), "{longest:?}");
    duet.client.connection().update_keys().unwrap();
    assert_eq!(duet.client.connection().update_keys(), Err(UpdateError::Unacknowledged));
    duet.client.says(0, &[Frame::Ping]);
    duet.run_for(ms(50));
    let acknowledged = duet.now;
    let Err(UpdateError::TooEarly { until }) = duet.client.connection().update_keys() else { panic!() };
    assert!(until.since(acknowledged) + ms(50) >= longest * 3, "judged by the slowest path");
    duet.run_for(until.since(duet.now));
    duet.client.connection().update_keys().unwrap();
    duet.assert_alive();
}

/// MP-041, MP-042
#[test]
fn an_update_is_of_all_paths_at_once_and_old_packets_still_open_for_a_while() {
    let mut duet = Duet::with_paths(3);
    duet.hold_next(Role::Client, 2, |frame| matches!(frame, Frame::MaxData(_)));
    duet.client.says(1, &[Frame::MaxData(1)]);
    duet.client.says(1, &[Frame::MaxData(2)]);
    duet.run_for(ms(1));
    let late = duet.held.pop().unwrap();
    duet.client.connection().update_keys().unwrap();
    for path in [2, 0] {
        duet.client.says(path, &[Frame::Ping]);
    }
    duet.run_for(ms(15));
    for role in [Role::Client, Role::Server] {
        assert_eq!(duet.end(role).connection().stats().key_updates, 1);
    }
    duet.release();
    duet.run_for(ms(15));
    assert!(duet.server.heard(|frame| *frame == Frame::MaxData(1)), "old keys are kept");
    duet.settle();
    let discarded = duet.server.connection().stats().packets_discarded;
    duet.replay(&late);
    assert!(!duet.server.heard(|frame| *frame == Frame::MaxData(2)), "not for ever");
    assert_eq!(duet.server.connection().stats().packets_discarded, discarded + 1);
    duet.assert_alive();
}

/// MP-046, P-20
#[test]
fn the_first_packet_of_a_path_may_bring_an_update_from_either_end() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.end(by).connection().update_keys().unwrap();
        duet.open(1);
        duet.settle();
        assert!(duet.client.saw(&Event::PathValidated(PathId(1))), "{:?}", duet.client.events);
        for role in [Role::Client, Role::Server] {
            assert_eq!(duet.end(role).connection().stats().key_updates, 1, "by {by:?}");
        }
        duet.assert_alive();
    }
}

/// MP-047, MP-051, P-26
#[test]
fn a_close_leaves_on_a_path_that_works_and_ends_them_all() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::with_paths(2);
        duet.cut(0, true);
        for role in [Role::Client, Role::Server] {
            duet.end(role).says(0, &[Frame::Ping]);
        }
        let suspect = Event::PathSuspect(PathId::ZERO);
        duet.run_until("both doubt path 0", |it| it.client.saw(&suspect) && it.server.saw(&suspect));
        duet.end(by).connection().close(5, b"");
        duet.run_for(ms(30));
        let told = duet.end(by.peer());
        let carriers: Vec<PathId> = told.heard_in(is_close).iter().map(|packet| packet.path).collect();
        assert_eq!(carriers, [PathId(1)]);
        assert!(matches!(told.close_reason(), Some(CloseReason::PeerApplication { code: 5, .. })));
    }
}

/// MP-047
#[test]
fn a_peers_close_is_heard_on_every_open_path() {
    for path in 0..3 {
        let mut duet = Duet::with_paths(3);
        let close = Frame::ConnectionClose { application: true, code: 9, frame_type: 0, reason: b"" };
        duet.client.says(path, &[close]);
        duet.run_for(ms(15));
        assert!(matches!(duet.server.close_reason(), Some(CloseReason::PeerApplication { code: 9, .. })));
    }
}

/// MP-048
#[test]
fn closing_and_draining_last_three_times_the_longest_probe_timeout() {
    let mut duet = Duet::with_paths(2);
    (duet.line(1).up, duet.line(1).down) = (ms(150), ms(150));
    for _ in 0..30 {
        for role in [Role::Client, Role::Server] {
            duet.end(role).says(1, &[Frame::Ping]);
        }
        duet.run_for(ms(400));
    }
    let slowest = |end: &mut End| end.connection().path_stats(PathId(1)).unwrap().rtt_smoothed.unwrap();
    let (at_client, at_server) = (slowest(&mut duet.client), slowest(&mut duet.server));
    assert!(at_client > ms(250) && at_server > ms(250));
    let closed = duet.now;
    duet.client.connection().close(0, b"");
    let told = {
        duet.run_until("the server hears of it", |duet| duet.server.close_reason().is_some());
        duet.now
    };
    assert!(when(&mut duet, Role::Client, &Event::Gone).since(closed) >= at_client * 3);
    assert!(when(&mut duet, Role::Server, &Event::Gone).since(told) >= at_server * 3);
}

/// P-26, P-27
#[test]
fn a_close_leaves_on_an_unproven_path_if_all_others_are_abandoned() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.drop_all(by.peer(), |frame| matches!(frame, Frame::PathResponse(_)));
        duet.open(1);
        duet.run_for(ms(25));
        duet.end(by.peer()).says(0, &[Frame::PathAbandon { path: 0, code: 0 }]);
        duet.run_for(ms(25));
        assert!(duet.end(by).path(0).unwrap().stage().is_abandoned());
        assert!(!duet.end(by).path(1).unwrap().stage().is_usable());
        duet.end(by).connection().close(5, b"");
        duet.run_for(ms(15));
        let told = duet.end(by.peer());
        let carriers: Vec<PathId> = told.heard_in(is_close).iter().map(|packet| packet.path).collect();
        assert_eq!(carriers, [PathId(1)], "by {by:?}");
        duet.run_until("it is gone", |duet| duet.end(by).saw(&Event::Gone));
        assert_eq!(duet.end(by).close_reason(), Some(&CloseReason::LocalApplication { code: 5 }));
    }
}

/// MP-048, P-27
#[test]
fn a_close_without_any_way_out_ends_in_time() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.line(1).cut_down = true;
        duet.open(1);
        duet.run_for(ms(12));
        duet.cut(1, true);
        duet.end(by.peer()).says(0, &[Frame::PathAbandon { path: 0, code: 0 }]);
        duet.run_for(ms(15));
        let closed = duet.now;
        duet.end(by).connection().close(5, b"");
        duet.run_until("it is gone", |duet| duet.end(by).saw(&Event::Gone));
        // Of a path that was never heard nothing is known but the initial RTT (RFC 9002 §6.2.2).
        assert!(duet.now.since(closed) < ms(4000), "{:?}", duet.now.since(closed));
        assert_eq!(duet.end(by).close_reason(), Some(&CloseReason::LocalApplication { code: 5 }));
    }
}

/// MP-049
#[test]
fn a_closing_end_sends_an_unproven_address_no_more_than_three_times_what_came_from_it() {
    let mut duet = Duet::new();
    duet.run_until("the first packet", |duet| duet.server.key.is_some());
    let first = duet.client.sent[0].clone();
    duet.client.mute(true);
    // The client's next word is nonsense, and it never proves its address.
    duet.client.says_raw(PacketKind::Initial, 0, &[0x1f]);
    duet.run_until("the server closes", |duet| duet.server.close_reason().is_some());
    for _ in 0..200 {
        duet.replay(&first);
        duet.run_for(ms(1));
    }
    let sizes = |end: &End| end.sent.iter().map(|datagram| datagram.bytes.len()).sum::<usize>();
    let received = sizes(&duet.client) + 200 * first.bytes.len();
    assert!(sizes(&duet.server) <= 3 * received);
    let answers = duet.server.said_times(is_close);
    assert!(answers <= 2 * 10, "{answers} answers to 200 datagrams");
}

/// MP-050, MP-174
#[test]
fn a_reset_for_any_id_in_use_ends_the_connection_and_for_a_retired_one_nothing() {
    let token_of = |duet: &Duet, path: u64| {
        let frames = duet.client.heard.iter().flat_map(|packet| &packet.frames);
        let tokens = frames.filter_map(|frame| match frame {
            Frame::NewConnectionId(new) if new.path == path => Some(new.reset_token),
            _ => None,
        });
        tokens.collect::<Vec<_>>()
    };
    let reset = |token: [u8; 16]| [&[0x45; 30][..], &token].concat();
    let from: SocketAddr = "10.66.6.6:6".parse().unwrap();
    for (path, ids) in [(0, 1), (1, 2), (2, 2)] {
        let tokens = token_of(&Duet::with_paths(3), path);
        assert_eq!(tokens.len(), ids, "path {path}");
        for token in tokens {
            // The same seeds give the same tokens.
            let mut duet = Duet::with_paths(3);
            let route = RouteId::new(crate::LocalId(0), duet.line(0).client, from);
            duet.inject(Role::Client, route, &reset(token));
            duet.settle();
            assert_eq!(duet.client.close_reason(), Some(&CloseReason::StatelessReset), "path {path}");
        }
    }
    let mut duet = Duet::with_paths(3);
    let tokens = token_of(&duet, 2);
    duet.client.connection().abandon_path(PathId(2), crate::PathErrorCode::NO_ERROR).unwrap();
    duet.run_for(ms(1));
    for token in tokens {
        let route = duet.line(2).at_client(2);
        duet.inject(Role::Client, route, &reset(token));
    }
    duet.assert_alive();
}

/// P-66
#[test]
fn closes_from_both_ends_and_a_reset_on_top_end_a_connection_once() {
    let mut duet = Duet::with_paths(3);
    upload(&mut duet, 50_000);
    duet.run_for(ms(5));
    duet.client.connection().close(1, b"");
    duet.server.connection().close(2, b"");
    duet.run_for(ms(15));
    let token = duet.client.heard.iter().flat_map(|packet| &packet.frames).find_map(|frame| match frame {
        Frame::NewConnectionId(new) if new.path == 1 => Some(new.reset_token),
        _ => None,
    });
    let route = duet.line(1).at_client(1);
    duet.inject(Role::Client, route, &[&[0x45; 30][..], &token.unwrap()].concat());
    duet.settle();
    for end in [&duet.client, &duet.server] {
        let ends = |is: fn(&Event) -> bool| end.events.iter().filter(|event| is(event)).count();
        assert_eq!(ends(|event| matches!(event, Event::Closed(_))), 1, "{:?}", end.events);
        assert_eq!(ends(|event| matches!(event, Event::Gone)), 1, "{:?}", end.events);
        assert_eq!((end.endpoint.stats().connections, end.endpoint.stats().paths), (0, 0));
    }
}
