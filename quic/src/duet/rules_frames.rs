//! Rules of the draft about its ten frame types (MP-200 to MP-256) and its error codes (MP-270 to MP-276).

use super::frames::{new_cid, ten};
use super::rules_negotiation::declare;
use super::*;
use crate::PathErrorCode;
use crate::path::set::OpenPathError;
use crate::wire::packet::PacketKind;

const VIOLATION: TransportErrorCode = TransportErrorCode::PROTOCOL_VIOLATION;
const MALFORMED: TransportErrorCode = TransportErrorCode::FRAME_ENCODING_ERROR;

/// `MAX_PATH_ID`, which names a limit and no path.
const MAX_PATH_ID: u64 = 0x3e7a;

/// What closed the connection at `role`, of which the peer was told too.
fn verdict(duet: &mut Duet, role: Role) -> Option<(TransportErrorCode, u64)> {
    duet.run_for(ms(40));
    match duet.end(role).close_reason() {
        Some(CloseReason::LocalTransport(error)) => Some((error.code, error.frame_type)),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

fn path_ack(path: u8, number: u64) -> [u8; 7] {
    assert!(number < 1 << 14);
    [0x3e, path, 0x40 | (number >> 8) as u8, number as u8, 0, 0, 0]
}

/// MP-200, P-24
#[test]
fn in_the_packets_of_the_handshake_each_of_them_is_a_violation() {
    for kind in [PacketKind::Initial, PacketKind::Handshake] {
        for by in [Role::Client, Role::Server] {
            for (frame_type, bytes) in ten(0) {
                let mut duet = Duet::new();
                duet.run_until("both are there", |duet| duet.server.key.is_some());
                duet.end(by).says_raw(kind, 0, &bytes);
                duet.run_for(ms(200));
                let verdict = verdict(&mut duet, by.peer());
                assert_eq!(verdict, Some((VIOLATION, frame_type)), "{kind:?} by {by:?}");
            }
        }
    }
}

/// MP-201, MP-204, MP-251, MP-276, P-37
#[test]
fn a_path_above_the_announced_limit_is_a_violation_in_each_of_them() {
    for by in [Role::Client, Role::Server] {
        for path in [8, 1 << 32, (1 << 32) + 1, (1 << 62) - 1] {
            for (frame_type, bytes) in ten(path) {
                if frame_type == MAX_PATH_ID {
                    continue;
                }
                let mut duet = Duet::confirmed();
                duet.end(by).says_raw(PacketKind::OneRtt, 0, &bytes);
                let closed = verdict(&mut duet, by.peer());
                assert_eq!(closed, Some((VIOLATION, frame_type)), "path {path} by {by:?}");
                let told = duet.end(by).close_reason();
                let whole = |reason: &CloseReason| matches!(reason, CloseReason::PeerTransport { frame_type: it, .. } if *it == frame_type);
                assert!(told.is_some_and(whole), "{told:?}");
            }
        }
    }
}

/// MP-201, MP-251, P-37
#[test]
fn values_up_to_the_limit_are_taken() {
    for path in [6, 7] {
        let mut duet = Duet::confirmed();
        duet.client.says(0, &[Frame::PathsBlocked(path), Frame::PathCidsBlocked { path, next_sequence: 1 }]);
        duet.client.says(0, &[Frame::PathStatus { path, sequence: 1, backup: true }, new_cid(path, 1, 0, 5)]);
        duet.client.says(0, &[Frame::RetireConnectionId { path, plain: false, sequence: 0 }]);
        duet.client.says(0, &[Frame::PathAbandon { path, code: 0 }]);
        duet.assert_alive();
    }
}

/// MP-203, MP-207, MP-212
#[test]
fn the_format_is_judged_before_the_limit() {
    // Each of these names path 2^32 and is malformed as well.
    let path = [0xc0, 0, 0, 1, 0, 0, 0, 0];
    let with = |first: &[u8], last: &[u8]| [first, &path, last].concat();
    for bytes in [
        with(&[0x3e], &[1, 0, 0, 2]),
        with(&[0x3e], &[1, 0, 0]),
        with(&[0x3f], &[1, 0, 0, 0, 1, 1]),
        with(&[0x7e, 0x75], &[]),
        with(&[0x7e, 0x78], &[3, 4, 8]),
        with(&[0x7e, 0x78], &[4, 4, 0]),
        vec![0x7e, 0x7a, 0xc0, 0, 0, 1],
        with(&[0x7e, 0x7c], &[0x40]),
    ] {
        let mut duet = Duet::confirmed();
        duet.client.says_raw(PacketKind::OneRtt, 0, &bytes);
        assert_eq!(verdict(&mut duet, Role::Server).map(|it| it.0), Some(MALFORMED), "{bytes:x?}");
    }
}

/// MP-206, MP-230
#[test]
fn each_of_them_may_travel_on_any_open_path() {
    for on in 0..3 {
        let mut duet = Duet::with_paths(3);
        let number = duet.server.said_on(1)[0].number;
        duet.client.says_raw(PacketKind::OneRtt, on, &path_ack(1, number));
        duet.client.says(on, &[Frame::PathStatus { path: 1, sequence: 9, backup: true }]);
        duet.client.says(on, &[new_cid(5, 1, 0, 0x51), Frame::MaxPathId(9)]);
        duet.client.says(on, &[Frame::PathsBlocked(7), Frame::PathCidsBlocked { path: 6, next_sequence: 1 }]);
        duet.client.says(on, &[Frame::RetireConnectionId { path: 4, plain: false, sequence: 0 }]);
        duet.client.says(on, &[Frame::PathAbandon { path: 1, code: 7 }]);
        duet.assert_alive();
        assert!(duet.server.path(5).unwrap().remote.current().is_some());
        assert!(duet.client.heard(|frame| *frame == Frame::PathAbandon { path: 1, code: 0 }));
    }
}

/// MP-210
#[test]
fn marks_of_congestion_are_counted_for_the_path_on_which_they_came() {
    let mut duet = Duet::with_paths(3);
    duet.hold_all(Role::Client);
    for path in [1, 1, 2, 0] {
        duet.client.says(path, &[Frame::Ping]);
    }
    duet.run_for(ms(1));
    duet.unfilter();
    for (held, ecn) in std::mem::take(&mut duet.held).into_iter().zip([Ecn::Ce, Ecn::Ect0, Ecn::Ce]) {
        let (segment_size, mut bytes) = (held.bytes.len(), held.bytes);
        let received = Received { bytes: &mut bytes, segment_size, route: held.route, ecn };
        duet.server.endpoint.receive(received, duet.now);
    }
    duet.client.says(0, &[Frame::Ping]);
    duet.run_for(ms(100));
    let counts = |path: u64| {
        let frames = duet.client.heard.iter().rev().flat_map(|packet| &packet.frames);
        let mut acks = frames.filter_map(|frame| match frame {
            Frame::Ack(ack) if ack.path == path => Some(ack.ecn.map(|it| (it.ect0, it.ect1, it.ce))),
            _ => None,
        });
        acks.next().unwrap()
    };
    assert_eq!([0, 1, 2].map(counts), [None, Some((1, 0, 1)), Some((0, 0, 1))]);
}

/// MP-210, MP-211
#[test]
fn an_acknowledgement_is_about_the_numbers_of_its_path() {
    let mut duet = Duet::with_paths(2);
    duet.server.mute(true);
    for path in [0, 0, 0, 1] {
        duet.client.says(path, &[Frame::Ping]);
    }
    duet.run_for(ms(12));
    let numbers = [0, 1].map(|path| duet.client.said_on(path).last().unwrap().number);
    let in_flight =
        |duet: &mut Duet, path| duet.client.connection().path_stats(PathId(path)).unwrap().in_flight;
    assert!(in_flight(&mut duet, 0) > 0 && in_flight(&mut duet, 1) > 0);
    let ecn = [0x3f, 1, numbers[1] as u8, 0, 0, 0, 0, 0, 0];
    duet.server.says_raw(PacketKind::OneRtt, 0, &ecn);
    duet.run_for(ms(11));
    assert!(in_flight(&mut duet, 0) > 0);
    assert_eq!(in_flight(&mut duet, 1), 0);
    assert!(numbers[0] > numbers[1], "{numbers:?}");
    duet.server.says_raw(PacketKind::OneRtt, 0, &path_ack(1, numbers[0] + 20));
    duet.server.mute(false);
    duet.assert_closed(Role::Client, VIOLATION);
}

/// MP-213
#[test]
fn acknowledging_packets_of_a_path_that_was_never_opened_is_a_violation() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.end(by).says_raw(PacketKind::OneRtt, 0, &path_ack(5, 0));
        duet.assert_closed(by.peer(), VIOLATION);
    }
}

/// MP-214
#[test]
fn one_packet_may_acknowledge_several_paths() {
    let mut duet = Duet::with_paths(3);
    duet.server.mute(true);
    for path in 0..3 {
        duet.client.says(path, &[Frame::Ping]);
    }
    duet.run_for(ms(12));
    let frames =
        [0, 1, 2].map(|path| path_ack(path, duet.client.said_on(path.into()).last().unwrap().number));
    duet.server.says_raw(PacketKind::OneRtt, 1, &frames.concat());
    duet.run_for(ms(11));
    for path in 0..3 {
        assert_eq!(duet.client.connection().path_stats(PathId(path)).unwrap().in_flight, 0);
    }
}

/// MP-240
#[test]
fn our_limit_ends_at_32_bits() {
    let mut duet = Duet::with_paths_set(6, |client, _| client.max_paths = u32::MAX);
    for path in 1..5 {
        duet.client.connection().abandon_path(PathId(path), PathErrorCode::NO_ERROR).unwrap();
        duet.settle();
    }
    let limits = duet.client.said.iter().flat_map(|packet| &packet.frames).filter_map(|frame| match frame {
        Frame::MaxPathId(limit) => Some(*limit),
        _ => None,
    });
    let limits: Vec<u64> = limits.collect();
    assert!(!limits.is_empty() && limits.iter().all(|limit| *limit == u64::from(u32::MAX)), "{limits:?}");
    duet.assert_alive();
}

/// MP-241, MP-242
#[test]
fn a_limit_out_of_range_is_a_violation_and_one_that_does_not_rise_is_ignored() {
    for limit in [1 << 32, (1 << 62) - 1, 6, 0] {
        for by in [Role::Client, Role::Server] {
            let mut duet = Duet::confirmed();
            duet.end(by).says(0, &[Frame::MaxPathId(limit)]);
            assert_eq!(verdict(&mut duet, by.peer()), Some((VIOLATION, MAX_PATH_ID)), "{limit}");
        }
    }
    declare(Role::Server, vec![3]);
    let mut duet = Duet::confirmed();
    for limit in [5, 3, 4, 5] {
        duet.server.says(0, &[Frame::MaxPathId(limit)]);
        duet.run_for(ms(15));
    }
    duet.assert_alive();
    let opened = [1, 2, 3, 4, 5].map(|line| duet.open(line));
    assert_eq!(opened, [1, 2, 3, 4, 5].map(PathId));
    let route = duet.line(6).at_client(6);
    assert_eq!(duet.client.connection().open_path(route), Err(OpenPathError::PeerLimit));
}

/// MP-243, MP-244
#[test]
fn a_lost_limit_is_repeated_unless_a_newer_one_was_sent_and_ids_follow() {
    let grows = |frame: &Frame<'static>| matches!(frame, Frame::MaxPathId(_));
    let mut duet = Duet::with_paths_set(4, |client, server| (client.max_paths, server.max_paths) = (4, 4));
    duet.drop_next(Role::Server, 1, grows);
    duet.client.connection().abandon_path(PathId(1), PathErrorCode::NO_ERROR).unwrap();
    duet.run_until("the limit is lost", |duet| !duet.lost.is_empty());
    duet.client.connection().abandon_path(PathId(2), PathErrorCode::NO_ERROR).unwrap();
    duet.settle();
    let heard = |end: &End| {
        let frames = end.heard.iter().flat_map(|packet| packet.frames.clone());
        frames.filter(grows).collect::<Vec<_>>()
    };
    assert_eq!(heard(&duet.client).last(), Some(&Frame::MaxPathId(5)));
    for path in [4, 5] {
        for end in [&duet.client, &duet.server] {
            assert!(end.heard(|frame| matches!(frame, Frame::NewConnectionId(new) if new.path == path)));
        }
    }
    assert_eq!([duet.open(1), duet.open(2)], [PathId(4), PathId(5)]);
    duet.settle();
    assert!(duet.client.saw(&Event::PathValidated(PathId(5))));
}

/// MP-252
#[test]
fn a_next_number_beyond_ours_is_a_violation_and_ours_is_normal() {
    for (path, next_sequence, legal) in
        [(0, 2, true), (0, 3, false), (1, 2, true), (1, 3, false), (5, 1, true), (5, 2, false)]
    {
        let mut duet = Duet::with_paths(2);
        duet.client.says(0, &[Frame::PathCidsBlocked { path, next_sequence }]);
        let closed = verdict(&mut duet, Role::Server).map(|it| it.0);
        assert_eq!(closed, (!legal).then_some(VIOLATION), "path {path}, {next_sequence}");
    }
}

/// MP-253, MP-256
#[test]
fn blocked_frames_that_are_out_of_date_change_nothing_and_blocked_ends_keep_quiet() {
    let mut duet = Duet::confirmed_set(|client, server| (client.max_paths, server.max_paths) = (6, 2));
    assert_eq!(duet.open(1), PathId(1));
    let route = duet.line(2).at_client(2);
    for _ in 0..20 {
        assert_eq!(duet.client.connection().open_path(route), Err(OpenPathError::PeerLimit));
        duet.server.says(0, &[Frame::PathsBlocked(5)]);
        duet.run_for(ms(100));
    }
    duet.client.says(0, &[Frame::PathsBlocked(0)]);
    duet.client.forget();
    duet.server.forget();
    duet.run_for(ms(5000));
    let any = |frame: &Frame<'static>| {
        matches!(frame, Frame::PathsBlocked(_) | Frame::MaxPathId(_) | Frame::PathCidsBlocked { .. })
    };
    assert!(
        duet.client.said_times(any) <= 1 && duet.server.said_times(any) <= 1,
        "only what was put into mouths"
    );
    duet.assert_alive();
}

/// MP-254, MP-255, P-38
#[test]
fn a_blocked_frame_is_said_once_repeated_unchanged_and_not_when_it_is_over() {
    let blocked = |frame: &Frame<'static>| matches!(frame, Frame::PathsBlocked(_));
    for raised in [false, true] {
        declare(Role::Server, vec![1]);
        let mut duet = Duet::with_paths(2);
        duet.drop_next(Role::Client, 1, blocked);
        let route = duet.line(2).at_client(2);
        for _ in 0..3 {
            assert_eq!(duet.client.connection().open_path(route), Err(OpenPathError::PeerLimit));
        }
        duet.run_for(ms(1));
        if raised {
            duet.server.says(0, &[Frame::MaxPathId(4)]);
        }
        duet.settle();
        let said: Vec<_> =
            duet.client.said.iter().flat_map(|it| &it.frames).filter(|it| blocked(it)).collect();
        assert!(said.iter().all(|frame| **frame == Frame::PathsBlocked(1)));
        assert_eq!(said.len(), if raised { 1 } else { 2 });
    }
}

/// MP-270, MP-272
#[test]
fn path_errors_have_the_numbers_of_the_draft() {
    let codes = [
        (PathErrorCode::NO_ERROR, 0x0),
        (PathErrorCode::APPLICATION_ABANDON_PATH, 0x3e),
        (PathErrorCode::PATH_RESOURCE_LIMIT_REACHED, 0x3e75),
        (PathErrorCode::PATH_UNSTABLE_OR_POOR, 0x3e76),
        (PathErrorCode::NO_CID_AVAILABLE_FOR_PATH, 0x3e77),
    ];
    for (code, number) in codes {
        let mut duet = Duet::with_paths(2);
        duet.client.connection().abandon_path(PathId(1), code).unwrap();
        duet.run_for(ms(15));
        assert!(duet.server.heard(|frame| *frame == Frame::PathAbandon { path: 1, code: number }));
    }
}

/// MP-275
#[test]
fn errors_of_the_connection_have_the_numbers_of_rfc_9000() {
    let codes = [
        (TransportErrorCode::PROTOCOL_VIOLATION, 0x0a),
        (TransportErrorCode::TRANSPORT_PARAMETER_ERROR, 0x08),
        (TransportErrorCode::FRAME_ENCODING_ERROR, 0x07),
        (TransportErrorCode::CONNECTION_ID_LIMIT_ERROR, 0x09),
        (TransportErrorCode::KEY_UPDATE_ERROR, 0x0e),
        (TransportErrorCode::AEAD_LIMIT_REACHED, 0x0f),
        (TransportErrorCode::NO_VIABLE_PATH, 0x10),
    ];
    for (code, number) in codes {
        assert_eq!(code.0, number);
    }
}

/// P-03
#[test]
fn every_frame_for_a_path_in_any_state_is_taken_ignored_or_closes() {
    for negotiated in [true, false] {
        for path in [0, 1, 2, 3, 5, 8, 1 << 32, (1 << 62) - 1] {
            for (frame_type, bytes) in ten(path) {
                let mut duet = if negotiated {
                    let mut duet = Duet::with_paths(4);
                    // Path 2 is abandoned and forgotten, path 3 abandoned just now.
                    duet.client.connection().abandon_path(PathId(2), PathErrorCode::NO_ERROR).unwrap();
                    duet.settle();
                    duet.client.connection().abandon_path(PathId(3), PathErrorCode::NO_ERROR).unwrap();
                    duet
                } else {
                    Duet::without_multipath(Role::Server)
                };
                duet.client.says_raw(PacketKind::OneRtt, 0, &bytes);
                let closed = verdict(&mut duet, Role::Server);
                let known = [VIOLATION, MALFORMED];
                assert!(closed.is_none_or(|it| known.contains(&it.0)), "{frame_type:#x} {path}: {closed:?}");
                assert!(closed.is_some() || negotiated && path < 9, "{frame_type:#x} {path}");
            }
        }
    }
}
