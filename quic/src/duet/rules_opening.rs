//! Rules of the draft about opening and validating paths (MP-100 to MP-116, MP-122, MP-124, MP-125, MP-127).

use bytes::Bytes;

use super::*;
use crate::PathErrorCode;
use crate::id::{Direction, StreamId};
use crate::path::stage::Stage;
use crate::wire::packet::PacketKind;

fn is_challenge(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::PathChallenge(_))
}

fn is_response(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::PathResponse(_))
}

fn is_abandon(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::PathAbandon { path: it, .. } if *it == path)
}

fn validated(path: u32) -> Event {
    Event::PathValidated(PathId(path))
}

/// The packet of a client that sends its first words on a path, on the line of the same number.
fn first_words(duet: &mut Duet, path: u16, frames: &[Frame<'_>], pad_to: usize) {
    let route = duet.line(path).at_client(path);
    let say = Say::new(PacketKind::OneRtt, PathId(path.into()), encoded(frames));
    duet.client.says_so(Say { route: Some(route), pad_to, ..say });
}

/// `HANDSHAKE_DONE` travels with the connection IDs that a filter keeps back, so it is said once more by itself.
fn confirm_without_ids(duet: &mut Duet) {
    duet.run_until("the handshake is complete", |duet| duet.server.saw(&Event::Confirmed));
    duet.server.says(0, &[Frame::HandshakeDone]);
    duet.run_until("confirmed", |duet| duet.client.saw(&Event::Confirmed));
}

/// MP-100, P-63
#[test]
fn what_a_server_sends_on_an_unused_path_opens_nothing() {
    let mut duet = Duet::confirmed();
    for path in 1..8_u16 {
        let route = duet.line(path).at_server();
        let ping = encoded(&[Frame::Ping, Frame::PathChallenge([1; 8])]);
        let say = Say::new(PacketKind::OneRtt, PathId(path.into()), ping);
        duet.server.says_so(Say { route: Some(route), pad_to: 1200, ..say });
    }
    duet.assert_alive();
    assert!(!duet.client.said(is_response));
    assert!(duet.client.heard.iter().all(|packet| packet.path == PathId::ZERO));
    assert_eq!(duet.client.connection().paths().collect::<Vec<_>>(), [PathId::ZERO]);
    assert!(duet.client.connection().stats().packets_discarded >= 7);
}

/// MP-101
#[test]
fn without_an_id_of_the_server_nothing_leaves_on_a_path() {
    let mut duet = Duet::new();
    let of_path_1 = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path == 1);
    duet.hold_next(Role::Server, usize::MAX, of_path_1);
    confirm_without_ids(&mut duet);
    duet.open(1);
    duet.run_for(ms(100));
    assert!(duet.client.said_on(1).is_empty());
    duet.release();
    duet.settle();
    assert!(duet.client.saw(&validated(1)) && duet.server.saw(&validated(1)));
}

/// MP-103, MP-104, MP-107, MP-108, P-62
#[test]
fn both_ends_challenge_with_1200_bytes_and_are_answered_with_1200_bytes() {
    let mut duet = Duet::confirmed();
    duet.open(1);
    duet.settle();
    let line = duet.line(1).clone();
    for (end, route) in [(&duet.server, line.at_server()), (&duet.client, line.at_client(1))] {
        for is in [is_challenge, is_response] {
            let packets = end.heard_in(is);
            assert_eq!(packets.len(), 1, "{:?}", end.role);
            assert_eq!((packets[0].path, packets[0].route), (PathId(1), Some(route)));
            assert!(packets[0].bytes >= 1200, "{}", packets[0].bytes);
        }
        assert!(end.saw(&validated(1)));
    }
    let of = |end: &End, is: fn(&Frame<'static>) -> bool| {
        end.heard.iter().flat_map(|it| it.frames.clone()).find(is)
    };
    let (asked, answered) = (of(&duet.server, is_challenge).unwrap(), of(&duet.client, is_response).unwrap());
    let (Frame::PathChallenge(asked), Frame::PathResponse(answered)) = (asked, answered) else { panic!() };
    assert_eq!(asked, answered);
}

/// MP-104
#[test]
fn a_server_sends_no_data_on_a_path_before_its_client_is_proven() {
    let mut duet =
        Duet::confirmed_set(|_, server| server.scheduler = crate::schedule::SchedulerKind::RoundRobin);
    let stream = duet.server.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.drop_all(Role::Client, is_response);
    duet.open(1);
    duet.run_for(ms(15));
    duet.server.connection().write(stream, [Bytes::from(vec![1; 200_000])]).unwrap();
    duet.run_for(ms(300));
    let data = |frame: &Frame<'static>| matches!(frame, Frame::Stream { .. });
    assert!(duet.server.said_in(data).iter().all(|packet| packet.path == PathId::ZERO));
    assert!(matches!(duet.server.path(1).unwrap().stage(), Stage::Probing));
}

/// MP-105, MP-125
#[test]
fn a_lost_response_is_not_repeated_and_its_acknowledgement_proves_nothing() {
    let mut duet = Duet::confirmed();
    duet.drop_next(Role::Server, 2, is_response);
    duet.open(1);
    duet.run_for(ms(35));
    // The packet of the challenge is acknowledged all the same, by the server's word on another path.
    let number = duet.client.said_in(is_challenge)[0].number;
    duet.server.says_raw(PacketKind::OneRtt, 0, &[0x3e, 1, number as u8, 0, 0, 0]);
    duet.run_for(ms(12));
    assert!(matches!(duet.client.path(1).unwrap().stage(), Stage::Probing));
    duet.settle();
    assert!(duet.client.saw(&validated(1)));
    let challenges = duet.client.said_times(is_challenge);
    assert!(challenges >= 3, "{challenges}");
    let answers: Vec<_> =
        duet.server.said.iter().flat_map(|it| &it.frames).filter(|it| is_response(it)).collect();
    assert_eq!(answers.len(), duet.server.heard_times(is_challenge), "one for each challenge that came");
    let mut unique = answers.clone();
    unique.dedup();
    assert_eq!(unique.len(), answers.len(), "and none twice");
}

/// MP-106, MP-115
#[test]
fn the_first_packet_of_a_path_may_carry_anything() {
    let mut duet = Duet::confirmed();
    let id = StreamId::new(Role::Client, Direction::Unidirectional, 0);
    let data = Frame::Stream { id, offset: 0, fin: true, data: b"early" };
    first_words(&mut duet, 1, &[Frame::MaxData(1 << 30), data], 0);
    duet.run_for(ms(15));
    assert!(duet.server.saw(&Event::PathOpened(PathId(1))));
    assert_eq!(duet.server.read(id), b"early");
    assert!(duet.server.is_alive());
}

/// MP-107, MP-108
#[test]
fn a_response_is_not_padded_beyond_the_credit_and_a_padded_challenge_follows() {
    let mut duet = Duet::confirmed();
    first_words(&mut duet, 1, &[Frame::PathChallenge([7; 8])], 0);
    duet.run_for(ms(100));
    let received = duet.client.sent_with(is_challenge)[0].bytes.len();
    let sent: usize = duet.server.sent.iter().filter(|it| it.line == Some(1)).map(|it| it.bytes.len()).sum();
    assert!(sent > 0 && sent <= 3 * received, "{sent} for {received}");
    assert_eq!(duet.server.said_times(is_response), 1);
    let padded = |end: &End| end.sent_with(is_challenge).iter().any(|it| it.bytes.len() >= 1200);
    assert!(!padded(&duet.server), "there is no credit for 1200 bytes");
    first_words(&mut duet, 1, &[Frame::Ping], 1200);
    duet.run_for(ms(2000));
    assert!(padded(&duet.server));
}

/// MP-109, MP-162
#[test]
fn a_server_that_does_not_want_a_path_abandons_it_on_another_one() {
    let mut duet = Duet::confirmed();
    duet.open(1);
    duet.run_for(ms(12));
    let code = PathErrorCode::PATH_RESOURCE_LIMIT_REACHED;
    duet.server.connection().abandon_path(PathId(1), code).unwrap();
    duet.run_for(ms(12));
    let heard = duet.client.heard_in(is_abandon(1));
    assert_eq!((heard.len(), heard[0].path), (1, PathId::ZERO));
    assert!(duet.client.saw(&Event::PathAbandoned { path: PathId(1), code, by_peer: true }));
    duet.assert_alive();
}

/// MP-110, MP-274
#[test]
fn a_path_for_which_no_id_ever_comes_is_abandoned_for_that_reason() {
    let mut duet = Duet::new();
    let of_path_1 = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path == 1);
    duet.drop_all(Role::Server, of_path_1);
    confirm_without_ids(&mut duet);
    duet.open(1);
    duet.run_for(ms(5000));
    let code = PathErrorCode::NO_CID_AVAILABLE_FOR_PATH;
    assert!(duet.client.saw(&Event::PathAbandoned { path: PathId(1), code, by_peer: false }));
    assert!(duet.server.heard(|frame| *frame == Frame::PathAbandon { path: 1, code: code.0 }));
    assert!(duet.client.is_alive());
}

/// MP-112, MP-124, MP-160, MP-273
#[test]
fn a_path_that_fails_is_abandoned_carries_nothing_and_uses_its_id_up() {
    let mut duet = Duet::confirmed();
    duet.cut(1, true);
    duet.open(1);
    duet.run_for(ms(10_000));
    let code = PathErrorCode::PATH_UNSTABLE_OR_POOR;
    assert!(duet.client.saw(&Event::PathAbandoned { path: PathId(1), code, by_peer: false }));
    assert!(duet.server.heard(|frame| *frame == Frame::PathAbandon { path: 1, code: code.0 }));
    let strange = |frame: &Frame<'static>| !matches!(frame, Frame::PathChallenge(_) | Frame::Padding);
    assert!(duet.client.said_on(1).iter().all(|packet| !packet.frames.iter().any(strange)));
    assert_eq!(duet.open(2), PathId(2));
}

/// MP-113, P-14, P-15, P-78
#[test]
fn challenges_to_nobody_differ_back_off_and_end() {
    let mut duet = Duet::confirmed();
    duet.line(1).cut_down = true;
    duet.open(1);
    let begun = duet.now;
    let abandoned =
        |duet: &mut Duet| duet.client.events.iter().any(|it| matches!(it, Event::PathAbandoned { .. }));
    duet.run_until("given up", abandoned);
    assert!(duet.now.since(begun) >= ms(3 * 999), "three initial probe timeouts");
    for end in [&duet.client, &duet.server] {
        let packets = end.said_in(is_challenge);
        assert!((3..=10).contains(&packets.len()), "{:?}: {}", end.role, packets.len());
        let gaps: Vec<_> = packets.windows(2).map(|pair| pair[1].at.since(pair[0].at)).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
        let mut data: Vec<_> =
            packets.iter().flat_map(|it| &it.frames).filter(|it| is_challenge(it)).collect();
        data.dedup();
        assert_eq!(data.len(), packets.len(), "fresh data in each");
    }
}

/// MP-114, MP-333
#[test]
fn credit_of_one_unproven_path_is_not_spent_on_another() {
    let mut duet = Duet::confirmed();
    first_words(&mut duet, 1, &[Frame::PathChallenge([1; 8])], 1200);
    first_words(&mut duet, 2, &[Frame::PathChallenge([2; 8])], 0);
    for _ in 0..5 {
        // A flood of challenges asks for far more than three times what came.
        first_words(&mut duet, 2, &[Frame::PathChallenge([3; 8]), Frame::PathChallenge([4; 8])], 0);
    }
    duet.run_for(ms(3000));
    for line in [1, 2] {
        let bytes = |end: &End| {
            let there = end.sent.iter().filter(|it| it.line == Some(line));
            there.map(|it| it.bytes.len()).sum::<usize>()
        };
        let (sent, received) = (bytes(&duet.server), bytes(&duet.client));
        assert!(sent <= 3 * received, "line {line}: {sent} for {received}");
    }
    let answered = duet.server.said_times(|frame| *frame == Frame::PathResponse([1; 8]));
    assert_eq!(answered, 1);
}

/// MP-116
#[test]
fn packets_of_a_new_path_change_nothing_on_the_others() {
    let mut duet = Duet::with_paths(2);
    let before = [0, 1].map(|id| duet.server.connection().path_stats(PathId(id)).unwrap());
    first_words(&mut duet, 2, &[Frame::Ping], 1200);
    first_words(&mut duet, 3, &[Frame::PathChallenge([1; 8])], 1200);
    duet.run_for(ms(15));
    let after = [0, 1].map(|id| duet.server.connection().path_stats(PathId(id)).unwrap());
    for (before, after) in before.into_iter().zip(after) {
        assert_eq!((before.route, before.stage, before.window), (after.route, after.stage, after.window));
        assert_eq!(
            (before.rtt_smoothed, before.packets_received),
            (after.rtt_smoothed, after.packets_received)
        );
    }
}

/// MP-122
#[test]
fn paths_may_share_their_addresses_and_one_of_them_may_go() {
    let mut duet = Duet::confirmed();
    for id in [1, 2] {
        assert_eq!(duet.open(0), PathId(id));
        duet.settle();
        assert!(duet.client.saw(&validated(id)) && duet.server.saw(&validated(id)));
    }
    duet.client.connection().abandon_path(PathId(1), PathErrorCode::NO_ERROR).unwrap();
    duet.settle();
    duet.client.says(2, &[Frame::Ping]);
    duet.client.says(0, &[Frame::Ping]);
    duet.assert_alive();
    assert_eq!(duet.server.connection().paths().collect::<Vec<_>>(), [PathId(0), PathId(2)]);
}

/// MP-111, MP-127
#[test]
fn the_example_of_the_draft_takes_one_round_trip_and_a_half() {
    let mut duet = Duet::confirmed();
    duet.client.forget();
    duet.server.forget();
    let begun = duet.now;
    duet.open(1);
    duet.run_until("the client is content", |duet| duet.client.saw(&validated(1)));
    assert_eq!(duet.now.since(begun), ms(20));
    duet.run_until("the server is content", |duet| duet.server.saw(&validated(1)));
    assert_eq!(duet.now.since(begun), ms(30));
    let first = duet.client.said_on(1)[0];
    assert!((first.number, first.frames.iter().any(is_challenge)) == (0, true));
    let answer = duet.server.said_on(1)[0];
    let acks = |frame: &Frame<'static>| matches!(frame, Frame::Ack(ack) if ack.path == 1 && ack.largest == 0);
    for is in [is_response as fn(&Frame<'static>) -> bool, is_challenge, acks] {
        assert!(answer.frames.iter().any(is), "{answer:?}");
    }
    let last = duet.client.said_on(1)[1];
    assert!(last.frames.iter().any(is_response) && last.frames.iter().any(acks), "{last:?}");
}

/// P-16
#[test]
fn a_path_opens_though_its_first_challenges_are_lost() {
    for lost in 1..=3 {
        let mut duet = Duet::confirmed();
        duet.drop_next(Role::Client, lost, is_challenge);
        duet.open(1);
        duet.run_for(ms(3000));
        assert!(duet.client.saw(&validated(1)), "{lost} lost: {:?}", duet.client.events);
    }
}

/// P-12
#[test]
fn a_second_path_to_the_same_server_from_another_port_is_validated_for_itself() {
    let mut duet = Duet::confirmed();
    let other_port = "10.0.0.1:5001".parse().unwrap();
    (duet.line(1).client, duet.line(1).outside) = (other_port, other_port);
    duet.open(1);
    duet.settle();
    assert!(duet.server.heard(is_challenge) && duet.client.heard(is_challenge));
    assert!(duet.server.saw(&validated(1)));
}
