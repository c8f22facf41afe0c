//! Rules of the draft about the connection IDs of paths (MP-055 to MP-078).

use std::collections::HashMap;

use bytes::Bytes;

use super::frames::new_cid;
use super::rules_negotiation::declare;
use super::*;
use crate::id::Direction;
use crate::path::stage::Stage;
use crate::wire::cid_bytes::Cid;
use crate::wire::frame::NewConnectionId;
use crate::wire::packet::PacketKind;

const VIOLATION: TransportErrorCode = TransportErrorCode::PROTOCOL_VIOLATION;

/// The IDs that an end has issued in frames, in the order in which it first said them.
fn issued(end: &End) -> Vec<NewConnectionId> {
    let frames = end.said.iter().flat_map(|packet| &packet.frames);
    let mut seen: Vec<NewConnectionId> = Vec::new();
    for frame in frames {
        if let Frame::NewConnectionId(new) = frame
            && !seen.contains(new)
        {
            seen.push(*new);
        }
    }
    seen
}

fn sequences(end: &End, path: u64) -> Vec<u64> {
    issued(end).iter().filter(|new| new.path == path).map(|new| new.sequence).collect()
}

fn retire(path: u64, sequence: u64) -> Frame<'static> {
    Frame::RetireConnectionId { path, plain: false, sequence }
}

fn is_retire(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::RetireConnectionId { path: it, .. } if *it == path)
}

fn push(duet: &mut Duet, bytes: usize) {
    let stream = duet.client.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), bytes);
}

/// MP-055, MP-056, MP-058, MP-059, P-35
#[test]
fn each_path_that_may_be_opened_gets_an_id_from_0_on_and_lower_paths_first() {
    for lost in [0, 1, 2] {
        let mut duet = Duet::new();
        duet.drop_next(Role::Server, lost, |frame| matches!(frame, Frame::NewConnectionId(_)));
        duet.settle();
        assert_eq!(duet.lost.len(), lost);
        let issued = issued(&duet.server);
        assert!(issued.iter().all(|new| !new.plain && new.retire_prior_to == 0));
        let named: Vec<_> = issued.iter().map(|new| (new.path, new.sequence)).collect();
        assert_eq!(named, [(0, 1), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0)]);
        // Repeats after a loss come in the same order.
        let heard = duet.client.heard.iter().flat_map(|packet| &packet.frames);
        let paths: Vec<u64> = heard
            .filter_map(|frame| match frame {
                Frame::NewConnectionId(new) => Some(new.path),
                _ => None,
            })
            .collect();
        assert!(paths.is_sorted(), "{paths:?}");
        assert!((1..8).all(|path| duet.client.path(path).unwrap().remote.current().is_some()));
    }
}

/// MP-057
#[test]
fn the_plain_forms_of_a_peer_mean_path_0() {
    let mut duet = Duet::with_paths(2);
    let Frame::NewConnectionId(new) = duet.server.rotation(0) else { panic!() };
    duet.server.says(1, &[Frame::NewConnectionId(NewConnectionId { plain: true, ..new })]);
    duet.settle();
    assert!(duet.server.heard(|frame| *frame == retire(0, 0)), "in the form of the extension");
    assert!(!duet.client.said(is_retire(1)));
    let before = sequences(&duet.server, 0).len();
    duet.client.says(1, &[Frame::RetireConnectionId { path: 0, plain: true, sequence: 3 }]);
    duet.run_for(ms(15));
    assert_eq!(sequences(&duet.server, 0).len(), before + 1, "it is replaced");
    assert!(sequences(&duet.server, 1).len() == 2);
}

/// MP-060
#[test]
fn a_client_opens_ids_in_order_and_a_server_takes_any() {
    let mut duet = Duet::confirmed();
    assert_eq!([1, 2, 3].map(|line| duet.open(line)), [PathId(1), PathId(2), PathId(3)]);
    let mut duet = Duet::confirmed();
    for path in [5, 2] {
        let route = duet.line(path).at_client(path);
        let ping = encoded(&[Frame::Ping]);
        let say = Say::new(PacketKind::OneRtt, PathId(path.into()), ping);
        duet.client.says_so(Say { route: Some(route), ..say });
        duet.run_for(ms(15));
        assert!(duet.server.saw(&Event::PathOpened(PathId(path.into()))));
    }
}

/// MP-061, MP-066
#[test]
fn a_path_in_use_has_one_in_reserve_and_the_peers_limit_of_two_is_kept() {
    tamper_with_parameters(Some(Box::new(|role, encoded| {
        if role == Role::Client {
            // The least there is: active_connection_id_limit 2, by absence.
            let at = encoded.windows(3).position(|it| it == [0x0e, 1, 4]).unwrap();
            encoded.drain(at..at + 3);
        }
    })));
    let mut duet = Duet::with_paths(3);
    push(&mut duet, 5000);
    let counts: Vec<usize> = (0..8).map(|path| sequences(&duet.server, path).len()).collect();
    assert_eq!(counts, [1, 2, 2, 1, 1, 1, 1, 1], "and the handshake's for path 0");
}

/// MP-063, P-01
#[test]
fn an_id_for_a_path_is_judged_by_what_we_announced_and_not_by_the_peers_limit() {
    // The server declared IDs up to 3 and issues as if it had said 7, which is what the client declared.
    declare(Role::Server, vec![3]);
    let mut duet = Duet::confirmed();
    assert_eq!((sequences(&duet.server, 7), sequences(&duet.client, 4)), (vec![0], vec![]));
    assert!(duet.client.heard(|frame| matches!(frame, Frame::NewConnectionId(new) if new.path == 7)));
    duet.assert_alive();
    // That it did say so may be heard later.
    duet.server.says(0, &[Frame::MaxPathId(7)]);
    duet.settle();
    assert!(duet.client.path(7).unwrap().remote.current().is_some());
    assert!(sequences(&duet.client, 7) == [0]);
    duet.server.says(0, &[new_cid(8, 0, 0, 0x80)]);
    duet.assert_closed(Role::Client, VIOLATION);
}

/// MP-063
#[test]
fn a_client_is_judged_in_the_same_way() {
    declare(Role::Client, vec![2]);
    let mut duet = Duet::confirmed();
    assert_eq!((sequences(&duet.client, 7), sequences(&duet.server, 3)), (vec![0], vec![]));
    duet.assert_alive();
    duet.client.says(0, &[new_cid(8, 0, 0, 0x80)]);
    duet.assert_closed(Role::Server, VIOLATION);
}

/// MP-064
#[test]
fn one_id_stands_for_one_path_and_number_and_a_repeat_is_ignored() {
    let again = |duet: &Duet| issued(&duet.server).into_iter().find(|new| new.path == 1).unwrap();
    let mut duet = Duet::with_paths(2);
    let new = again(&duet);
    duet.server.says(0, &[Frame::NewConnectionId(new)]);
    duet.assert_alive();
    for changed in [
        NewConnectionId { path: 2, ..new },
        NewConnectionId { sequence: 2, ..new },
        NewConnectionId { reset_token: [1; 16], ..new },
        NewConnectionId { cid: Cid::new(&[1; 12]).unwrap(), ..new },
    ] {
        let mut duet = Duet::with_paths(2);
        duet.server.says(0, &[Frame::NewConnectionId(changed)]);
        duet.assert_closed(Role::Client, VIOLATION);
    }
}

/// MP-067, MP-102, MP-339
#[test]
fn packets_of_a_path_carry_ids_of_this_path_whatever_is_rotated() {
    let mut duet = Duet::with_paths(4);
    let mut owners: HashMap<Vec<u8>, u64> = HashMap::new();
    for _ in 0..5 {
        for path in 0..4 {
            let new = duet.server.rotation(path);
            duet.server.says(0, &[new]);
        }
        duet.settle();
        for path in 0..4 {
            duet.client.says(path, &[Frame::Ping]);
        }
        push(&mut duet, 20_000);
    }
    for new in issued(&duet.server) {
        assert_eq!(owners.insert(new.cid.to_vec(), new.path), None, "one ID for one path");
    }
    let mut used: Vec<Vec<u8>> = Vec::new();
    for packet in duet.client.said.iter().filter(|packet| packet.kind == PacketKind::OneRtt) {
        // The handshake's ID of path 0 came in no frame.
        let owner = owners.get(&packet.dcid.to_vec()).copied().unwrap_or(0);
        assert_eq!(owner, u64::from(packet.path.0), "{packet:?}");
        if used.last().is_none_or(|last| *last != packet.dcid.to_vec()) {
            used.push(packet.dcid.to_vec());
        }
    }
    assert!(used.len() >= 20, "it did rotate");
    duet.assert_alive();
}

/// MP-068, MP-235
#[test]
fn a_retired_id_is_replaced_unless_its_path_is_abandoned() {
    let mut duet = Duet::with_paths(3);
    duet.client.says(0, &[retire(1, 1)]);
    duet.settle();
    assert_eq!(sequences(&duet.server, 1), [0, 1, 2]);
    duet.client.connection().abandon_path(PathId(2), crate::PathErrorCode::NO_ERROR).unwrap();
    duet.run_for(ms(30));
    duet.client.says(0, &[retire(2, 1)]);
    duet.assert_alive();
    assert_eq!(sequences(&duet.server, 2), [0, 1]);
}

/// MP-069, MP-076, MP-175
#[test]
fn a_path_whose_ids_are_all_retired_goes_on_where_it_was() {
    let mut duet = Duet::with_paths(2);
    push(&mut duet, 30_000);
    let before = duet.client.connection().path_stats(PathId(1)).unwrap();
    let last = duet.client.said_on(1).last().unwrap().number;
    let new = duet.server.rotation(1);
    duet.server.says(0, &[new]);
    duet.run_for(ms(15));
    assert_eq!(duet.client.said_times(is_retire(1)), 2);
    duet.run_for(ms(15));
    let after = duet.client.connection().path_stats(PathId(1)).unwrap();
    assert_eq!(after.stage, crate::PathStage::Open);
    assert_eq!((after.rtt_min, after.route), (before.rtt_min, before.route));
    assert!(after.window >= before.window && after.rtt_smoothed.is_some());
    duet.client.says(1, &[Frame::Ping]);
    duet.settle();
    let next = duet.client.said_on(1).last().unwrap().number;
    assert!(next > last, "numbers go on");
    assert!(!duet.client.said(|frame| matches!(frame, Frame::PathAbandon { .. })));
    duet.assert_alive();
}

/// MP-070, MP-110, MP-250, MP-254, P-25
#[test]
fn a_challenge_that_comes_before_its_ids_waits_for_them_and_one_frame_says_so() {
    let mut duet = Duet::new();
    let of_path_1 = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path == 1);
    duet.hold_next(Role::Client, usize::MAX, of_path_1);
    duet.run_for(ms(60));
    duet.open(1);
    duet.run_for(ms(60));
    assert!(duet.server.saw(&Event::PathOpened(PathId(1))));
    assert!(duet.server.said_on(1).is_empty(), "there is no ID to say it to");
    let blocked = Frame::PathCidsBlocked { path: 1, next_sequence: 0 };
    assert_eq!(duet.server.said_times(|frame| *frame == blocked), 1);
    duet.release();
    duet.settle();
    assert!(duet.client.saw(&Event::PathValidated(PathId(1))), "{:?}", duet.client.events);
    assert!(duet.server.saw(&Event::PathValidated(PathId(1))));
    assert_eq!(duet.server.said_times(|frame| *frame == blocked), 1);
}

/// MP-072, MP-231
#[test]
fn retiring_on_one_path_leaves_the_others_alone() {
    for path in 0..3 {
        let mut duet = Duet::with_paths(3);
        let held = |duet: &mut Duet| [0, 1, 2].map(|path| duet.client.path(path).unwrap().remote.current());
        let before = held(&mut duet);
        let new = duet.server.rotation(path);
        duet.server.says((path + 1) % 3, &[new]);
        duet.settle();
        let after = held(&mut duet);
        for other in 0..3 {
            assert_eq!(before[other as usize] != after[other as usize], other == path);
            assert_eq!(duet.client.said(is_retire(other.into())), other == path);
        }
    }
}

/// MP-074, P-73
#[test]
fn a_late_id_below_retire_prior_to_is_retired_at_once_and_numbers_have_62_bits() {
    let last = (1 << 62) - 1;
    for sequence in [1 << 32, last] {
        let mut duet = Duet::with_paths(2);
        duet.server.says(0, &[new_cid(1, sequence, sequence, 0x22), new_cid(1, sequence - 1, 0, 0x11)]);
        duet.settle();
        let retired = |sequence| move |frame: &Frame<'static>| *frame == retire(1, sequence);
        assert!(duet.server.heard(retired(0)) && duet.server.heard(retired(1)));
        // The server never issued it by its own book: it is right to complain, and in full.
        assert!(duet.client.said(retired(sequence - 1)));
    }
}

/// MP-075
#[test]
fn retiring_what_was_never_issued_or_the_packets_own_id_is_a_violation() {
    for (path, on, sequence) in [(1, 0, 2), (0, 1, 2), (7, 0, 1), (1, 0, (1 << 62) - 1), (1, 1, 0)] {
        let mut duet = Duet::with_paths(2);
        duet.client.says(on, &[retire(path, sequence)]);
        duet.assert_closed(Role::Server, VIOLATION);
    }
    let mut duet = Duet::with_paths(2);
    // The same number on another path names another ID than the packet's own.
    duet.client.says(0, &[retire(1, 1)]);
    duet.assert_alive();
}

/// MP-077
#[test]
fn the_id_of_the_handshake_is_retired_as_number_0_of_path_0() {
    let mut duet = Duet::confirmed();
    let handshake = duet.client.path(0).unwrap().remote.current();
    let new = duet.server.rotation(0);
    duet.server.says(0, &[new]);
    duet.settle();
    assert!(duet.server.heard(|frame| *frame == retire(0, 0)));
    assert_ne!(duet.client.path(0).unwrap().remote.current(), handshake);
    assert!(matches!(duet.client.path(0).unwrap().stage(), Stage::Open));
    duet.assert_alive();
}

/// MP-078, P-36
#[test]
fn ids_rotate_a_hundred_times_and_a_flood_of_retirements_closes() {
    let mut duet = Duet::with_paths(2);
    for _ in 0..100 {
        let new = duet.server.rotation(1);
        duet.server.says(0, &[new]);
        duet.run_for(ms(60));
    }
    assert!(duet.client.said_times(is_retire(1)) >= 100);
    duet.assert_alive();
    let late: Vec<_> = (0..20).map(|n| new_cid(1, 1000 + n, 1000 + n, n as u8)).collect();
    duet.server.says(0, &late);
    duet.assert_closed(Role::Client, TransportErrorCode::CONNECTION_ID_LIMIT_ERROR);
}

/// P-80
#[test]
fn no_id_changes_before_the_handshake_is_confirmed() {
    let mut duet = Duet::confirmed();
    duet.settle();
    let early = duet.client.said.iter().take_while(|packet| packet.kind != PacketKind::OneRtt);
    let ids: Vec<_> = early.map(|packet| (packet.kind, packet.dcid)).collect();
    assert!(
        ids.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() <= 1,
        "the server's choice replaces ours"
    );
    assert!(!duet.client.said(|frame| matches!(frame, Frame::RetireConnectionId { .. })));
}
