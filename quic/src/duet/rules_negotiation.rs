//! Rules of the draft about negotiation and transport parameters (MP-001 to MP-018).

use bytes::Bytes;

use super::frames::{is_of_multipath, ten};
use super::*;
use crate::config::MultipathCodePoints;
use crate::id::Direction;
use crate::path::set::OpenPathError;
use crate::wire::cursor::{Reader, Sink};
use crate::wire::header::LongHeader;
use crate::wire::packet::PacketKind;
use crate::wire::params::TransportParameters;

const MAX_PATH_ID: u64 = 0x3e;

/// Replaces the value of a parameter, or adds it.
fn set_parameter(encoded: &mut Vec<u8>, id: u64, value: &[u8]) {
    let mut others = Vec::new();
    let mut reader = Reader::new(encoded);
    while let Some(this) = reader.varint() {
        let kept = reader.prefixed().unwrap();
        if this != id {
            put(&mut others, this, kept);
        }
    }
    put(&mut others, id, value);
    *encoded = others;
}

fn put(to: &mut Vec<u8>, id: u64, value: &[u8]) {
    to.varint(id);
    to.varint(value.len() as u64);
    to.slice(value);
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.varint(value);
    bytes
}

/// From now on `role` declares this for `initial_max_path_id`.
pub(super) fn declare(role: Role, value: Vec<u8>) {
    tamper_with_parameters(Some(Box::new(move |declaring, encoded| {
        if declaring == role {
            set_parameter(encoded, MAX_PATH_ID, &value);
        }
    })));
}

fn exchange(duet: &mut Duet, bytes: usize) {
    let stream = duet.client.connection().open_stream(Direction::Bidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), bytes);
}

/// MP-001, MP-017
#[test]
fn one_offer_alone_leaves_plain_quic() {
    for silent in [Role::Client, Role::Server] {
        let mut duet = Duet::without_multipath(silent);
        exchange(&mut duet, 100_000);
        let route = duet.line(1).at_client(1);
        assert_eq!(duet.client.connection().open_path(route), Err(OpenPathError::NotNegotiated));
        duet.settle();
        for end in [&duet.client, &duet.server] {
            let strange: Vec<_> = end.said_in(is_of_multipath);
            assert!(strange.is_empty(), "{silent:?} did not offer, {:?} said {strange:?}", end.role);
            assert!(end.said(|frame| matches!(frame, Frame::Ack(_))));
            assert!(end.said.iter().all(|packet| packet.path == PathId::ZERO));
        }
    }
}

/// MP-002, MP-003, MP-280, MP-281
#[test]
fn after_the_handshake_both_ends_acknowledge_by_path_and_never_before() {
    let mut duet = Duet::with_paths(2);
    exchange(&mut duet, 50_000);
    for end in [&duet.client, &duet.server] {
        for packet in &end.said {
            let plain = packet.kind != PacketKind::OneRtt;
            for frame in &packet.frames {
                match frame {
                    Frame::Ack(ack) => assert_eq!(ack.plain, plain, "{packet:?}"),
                    frame => assert!(!plain || !is_of_multipath(frame), "{packet:?}"),
                }
            }
        }
        let early = |packet: &Packet| packet.kind != PacketKind::OneRtt;
        assert!(end.said_in(|frame| matches!(frame, Frame::Ack(_))).iter().any(|packet| early(packet)));
    }
    assert!(duet.server.heard.iter().any(|packet| packet.path == PathId(1)), "opened with the path's nonce");
}

/// MP-004, MP-005, MP-008
#[test]
fn what_an_end_declares_is_its_number_of_paths_less_one_and_within_32_bits() {
    use std::cell::RefCell;
    use std::rc::Rc;
    for most in [2, 8, u32::MAX] {
        let declared = Rc::new(RefCell::new(None));
        let seen = Rc::clone(&declared);
        tamper_with_parameters(Some(Box::new(move |role, encoded| {
            if role == Role::Client {
                *seen.borrow_mut() =
                    Some(TransportParameters::decode(encoded, role, MultipathCodePoints::default()).unwrap());
            }
        })));
        let mut duet = Duet::new_set(|client, _| client.max_paths = most);
        duet.run_for(ms(1));
        let declared = declared.borrow().clone().unwrap();
        assert_eq!(declared.initial_max_path_id, Some(most - 1));
        assert!(!declared.initial_source_connection_id.unwrap().is_empty());
        let first = &duet.client.sent[0].bytes;
        let header = LongHeader::parse(first).unwrap();
        assert!(!header.scid.is_empty() && !header.dcid.is_empty());
    }
}

/// MP-009
#[test]
fn the_offer_under_an_empty_connection_id_is_a_violation_for_who_knows_it() {
    const INITIAL_SOURCE: u64 = 0x0f;
    for nameless in [Role::Client, Role::Server] {
        for (offers, knows) in [(true, true), (false, true), (true, false)] {
            leave_out_source(nameless);
            tamper_with_parameters(Some(Box::new(move |role, encoded| {
                if role == nameless {
                    set_parameter(encoded, INITIAL_SOURCE, &[]);
                    if offers {
                        set_parameter(encoded, MAX_PATH_ID, &varint(3));
                    }
                }
            })));
            let mut duet = Duet::new_set(|client, server| {
                let of = |role| if role == nameless { offers } else { knows };
                (client.max_paths, server.max_paths) =
                    (if of(Role::Client) { 4 } else { 1 }, if of(Role::Server) { 4 } else { 1 });
            });
            duet.run_for(ms(100));
            let judge = duet.end(nameless.peer());
            let named = Frame::is_ack_eliciting;
            assert!(judge.heard(named), "{nameless:?} was heard");
            let closed = judge.close_reason().map(|reason| match reason {
                CloseReason::LocalTransport(error) => error.code,
                other => panic!("{other:?}"),
            });
            let expected = (offers && knows).then_some(TransportErrorCode::PROTOCOL_VIOLATION);
            assert_eq!(closed, expected, "{nameless:?} offers {offers}, its peer knows {knows}");
        }
    }
}

/// MP-006
#[test]
fn a_declared_limit_above_32_bits_closes_the_handshake_and_the_largest_within_does_not() {
    for role in [Role::Client, Role::Server] {
        for value in [1 << 32, (1 << 62) - 1] {
            declare(role, varint(value));
            let mut duet = Duet::new();
            duet.assert_closed(role.peer(), TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
        }
        declare(role, varint(u64::from(u32::MAX)));
        let mut duet = Duet::confirmed();
        assert!(duet.client.saw(&Event::Connected { multipath: true }));
        duet.assert_alive();
    }
}

/// MP-012
#[test]
fn a_malformed_limit_closes_the_handshake() {
    for role in [Role::Client, Role::Server] {
        for value in [vec![], vec![1, 1], vec![0x40]] {
            declare(role, value);
            Duet::new().assert_closed(role.peer(), TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
        }
        tamper_with_parameters(Some(Box::new(move |declaring, encoded| {
            if declaring == role {
                put(encoded, MAX_PATH_ID, &[7]);
            }
        })));
        Duet::new().assert_closed(role.peer(), TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
    }
}

/// MP-007, MP-013, MP-071
#[test]
fn a_limit_of_0_is_an_offer_for_one_path_until_it_is_raised() {
    declare(Role::Server, vec![0]);
    let mut duet = Duet::confirmed();
    assert!(duet.client.saw(&Event::Connected { multipath: true }));
    exchange(&mut duet, 5000);
    assert!(duet.client.said(|frame| matches!(frame, Frame::Ack(ack) if !ack.plain && ack.path == 0)));
    let route = duet.line(1).at_client(1);
    assert_eq!(duet.client.connection().open_path(route), Err(OpenPathError::PeerLimit));
    duet.settle();
    assert!(duet.server.heard(|frame| *frame == Frame::PathsBlocked(0)));
    let issued = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path > 0);
    assert!(!duet.client.said(issued), "none for paths that the server does not allow");
    duet.server.says(0, &[Frame::MaxPathId(1)]);
    duet.settle();
    assert_eq!(duet.open(1), PathId(1));
    duet.settle();
    assert!(duet.client.saw(&Event::PathValidated(PathId(1))), "{:?}", duet.client.events);
}

/// MP-013, MP-062, MP-331
#[test]
fn the_smaller_of_both_limits_bounds_what_is_opened_and_issued() {
    for (client_paths, server_paths, refusal) in
        [(3, 6, OpenPathError::OwnLimit), (6, 3, OpenPathError::PeerLimit)]
    {
        let mut duet = Duet::with_paths_set(3, |client, server| {
            (client.max_paths, server.max_paths) = (client_paths, server_paths);
        });
        let route = duet.line(3).at_client(3);
        assert_eq!(duet.client.connection().open_path(route), Err(refusal));
        duet.settle();
        for end in [&duet.client, &duet.server] {
            let high = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path > 2);
            assert!(!end.said(high), "{:?}", end.role);
        }
    }
}

/// MP-014, MP-065
#[test]
fn the_limit_on_connection_ids_counts_for_each_path_by_itself() {
    let mut duet = Duet::with_paths(4);
    // Each path holds two of the server's; two more fill each path's limit of four, eight in all.
    for path in 0..4 {
        let more = [2, 3].map(|sequence| frames::new_cid(path, sequence, 0, (0x10 * path + sequence) as u8));
        duet.server.says(0, &more);
    }
    duet.assert_alive();
    duet.server.says(0, &[frames::new_cid(3, 4, 0, 0x99)]);
    duet.assert_closed(Role::Client, TransportErrorCode::CONNECTION_ID_LIMIT_ERROR);
}

/// MP-015
#[test]
fn a_server_that_wants_no_migration_gets_no_path_to_its_handshake_address() {
    tamper_with_parameters(Some(Box::new(|role, encoded| {
        if role == Role::Server {
            put(encoded, 0x0c, &[]);
        }
    })));
    let mut duet = Duet::confirmed();
    let same = duet.line(1).at_client(1);
    assert_eq!(duet.client.connection().open_path(same), Err(OpenPathError::PeerForbids));
    duet.line(2).server = "10.9.0.2:443".parse().unwrap();
    assert_eq!(duet.open(2), PathId(1));
    duet.settle();
    assert!(duet.client.saw(&Event::PathValidated(PathId(1))));
}

/// MP-018
#[test]
fn a_frame_of_the_extension_without_it_closes_the_connection() {
    for (silent, by) in [
        (Role::Client, Role::Client),
        (Role::Client, Role::Server),
        (Role::Server, Role::Client),
        (Role::Server, Role::Server),
    ] {
        for (frame_type, bytes) in ten(0) {
            let mut duet = Duet::without_multipath(silent);
            duet.end(by).says_raw(PacketKind::OneRtt, 0, &bytes);
            // To who did not offer it the type is unknown; the other one knows that it was not agreed.
            let code = if by.peer() == silent {
                TransportErrorCode::FRAME_ENCODING_ERROR
            } else {
                TransportErrorCode::PROTOCOL_VIOLATION
            };
            duet.assert_closed(by.peer(), code);
            let Some(CloseReason::LocalTransport(error)) = duet.end(by.peer()).close_reason() else {
                panic!()
            };
            assert_eq!(error.frame_type, frame_type);
        }
    }
}
