//! Code points of older drafts: who offers which, which are used then, and that no others are.

use super::*;
use crate::config::MultipathCodePoints::{self, Both, Draft13, Final};
use crate::error::PathErrorCode;
use crate::wire::packet::PacketKind;
use bytes::Bytes;

/// `initial_max_path_id` = 7 as both columns have it.
const PARAMETER: &[u8] = &[0x3e, 1, 7];
const PARAMETER_DRAFT_13: &[u8] = &[0xcf, 0x73, 0x9b, 0xbc, 0x1b, 0x66, 0x6d, 0x0d, 1, 7];

/// `PATHS_BLOCKED` at 7 as both columns have it.
const PATHS_BLOCKED: &[u8] = &[0x7e, 0x7b, 7];
const PATHS_BLOCKED_DRAFT_13: &[u8] = &[0x95, 0x22, 0x8c, 0x0d, 7];

/// The offers of client and server, and what holds then.
const MATRIX: [(MultipathCodePoints, MultipathCodePoints, Option<MultipathCodePoints>); 9] = [
    (Final, Final, Some(Final)),
    (Final, Both, Some(Final)),
    (Both, Final, Some(Final)),
    (Both, Both, Some(Final)),
    (Both, Draft13, Some(Draft13)),
    (Draft13, Both, Some(Draft13)),
    (Draft13, Draft13, Some(Draft13)),
    (Final, Draft13, None),
    (Draft13, Final, None),
];

fn duet(client: MultipathCodePoints, server: MultipathCodePoints) -> Duet {
    Duet::confirmed_set(|at_client, at_server| {
        at_client.multipath_code_points = client;
        at_server.multipath_code_points = server;
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_newest_common_code_points_are_used_and_without_any_there_is_one_path() {
    for (client, server, agreed) in MATRIX {
        let mut duet = duet(client, server);
        let multipath = agreed.is_some();
        for end in [&duet.client, &duet.server] {
            assert!(end.saw(&Event::Connected { multipath }), "{client}, {server}: {:?}", end.events);
        }
        if multipath {
            assert_eq!(duet.open(1), PathId(1));
            duet.settle();
            duet.server.connection().set_path_backup(PathId(1), true).unwrap();
        }
        let stream = duet.client.connection().open_stream(crate::id::Direction::Bidirectional).unwrap();
        duet.client.connection().write(stream, [Bytes::from(vec![7; 50_000])]).unwrap();
        duet.settle();
        assert_eq!(duet.server.read(stream).len(), 50_000);
        duet.assert_alive();
        for end in [&duet.client, &duet.server] {
            // What an end cannot read in the agreed numbers is not in its record.
            let path_acks = end.heard(|frame| matches!(frame, Frame::Ack(ack) if !ack.plain));
            assert_eq!(path_acks, multipath, "{client}, {server}");
            assert_eq!(end.saw(&Event::PathValidated(PathId(1))), multipath, "{client}, {server}");
        }
        assert_eq!(duet.client.saw(&Event::PathStatus { path: PathId(1), backup: true }), multipath);
    }
}

#[test]
fn an_end_that_gives_a_path_up_is_understood_with_its_reason() {
    for (client, server) in [(Final, Both), (Draft13, Both)] {
        let mut duet = duet(client, server);
        duet.open(1);
        duet.settle();
        let code = PathErrorCode::APPLICATION_ABANDON_PATH;
        duet.client.connection().abandon_path(PathId(1), code).unwrap();
        duet.settle();
        let abandoned = Event::PathAbandoned { path: PathId(1), code, by_peer: true };
        assert!(duet.server.saw(&abandoned), "{:?}", duet.server.events);
        duet.assert_alive();
    }
}

#[test]
fn a_client_offers_all_and_a_server_answers_with_those_that_are_used() {
    for (client, server, agreed) in MATRIX {
        let mut duet = duet(client, server);
        let offer = duet.server.inside().peer_parameters().to_vec();
        assert_eq!(contains(&offer, PARAMETER_DRAFT_13), client.has_draft_13(), "{client}, {server}");
        assert_eq!(offer.ends_with(PARAMETER), client.has_final(), "the final one is the last");
        let answer = duet.client.inside().peer_parameters().to_vec();
        if let Some(agreed) = agreed {
            assert_eq!(contains(&answer, PARAMETER_DRAFT_13), agreed == Draft13, "{client}, {server}");
            assert_eq!(answer.ends_with(PARAMETER), agreed == Final, "{client}, {server}");
        }
    }
}

/// MP-018
#[test]
fn frames_of_other_code_points_than_the_agreed_are_unknown() {
    for (client, server, agreed) in MATRIX {
        for from in [Role::Client, Role::Server] {
            let mut duet = duet(client, server);
            let strange = if agreed == Some(Draft13) { PATHS_BLOCKED } else { PATHS_BLOCKED_DRAFT_13 };
            duet.end(from).says_raw(PacketKind::OneRtt, 0, strange);
            duet.assert_closed(from.peer(), TransportErrorCode::FRAME_ENCODING_ERROR);
        }
    }
}

#[test]
fn frames_of_the_agreed_code_points_are_known() {
    for (client, server, agreed) in MATRIX {
        let Some(agreed) = agreed else { continue };
        for from in [Role::Client, Role::Server] {
            let mut duet = duet(client, server);
            let known = if agreed == Draft13 { PATHS_BLOCKED_DRAFT_13 } else { PATHS_BLOCKED };
            duet.end(from).says_raw(PacketKind::OneRtt, 0, known);
            duet.assert_alive();
            assert!(duet.end(from.peer()).heard(|frame| *frame == Frame::PathsBlocked(7)));
        }
    }
}
