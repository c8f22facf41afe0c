//! Rules of the draft about abandoning paths: who says what where (MP-160 to MP-170, MP-175, MP-181, MP-182).

use bytes::Bytes;

use super::*;
use crate::PathErrorCode;
use crate::connection::PathError;
use crate::id::Direction;
use crate::path::stage::Stage;

const CODE: PathErrorCode = PathErrorCode::APPLICATION_ABANDON_PATH;

fn is_abandon(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::PathAbandon { path: it, .. } if *it == path)
}

fn is_ack(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::Ack(ack) if ack.path == path)
}

fn abandon(path: u64) -> Frame<'static> {
    Frame::PathAbandon { path, code: 0 }
}

/// MP-161, MP-162, MP-163, MP-175, MP-271
#[test]
fn a_path_is_abandoned_on_another_one_answered_there_and_silent_from_then_on() {
    for by in [Role::Client, Role::Server] {
        for path in 0..2 {
            let mut duet = Duet::with_paths(3);
            duet.client.forget();
            duet.server.forget();
            let begun = duet.now;
            duet.end(by).connection().abandon_path(PathId(path), CODE).unwrap();
            assert!(duet.end(by).path(path).unwrap().stage().is_abandoned());
            duet.run_for(ms(1));
            assert!(
                duet.end(by).path(path).unwrap().remote.current().is_none(),
                "its peer's IDs are retired"
            );
            duet.run_for(ms(25));
            let (said, answer) = (duet.end(by).said_in(is_abandon(path.into())).len(), {
                let heard = duet.end(by).heard_in(is_abandon(path.into()));
                assert_eq!(heard.len(), 1);
                (heard[0].at.since(begun), heard[0].path)
            });
            assert_eq!((said, answer.0), (1, ms(20)), "the answer is immediate");
            assert_ne!(answer.1, PathId(path));
            duet.settle();
            for end in [&duet.client, &duet.server] {
                assert!(end.said_on(path).is_empty(), "{:?}: {:?}", end.role, end.said_on(path));
                assert!(!end.said(|frame| matches!(frame, Frame::RetireConnectionId { .. })));
                let event = Event::PathAbandoned { path: PathId(path), code: CODE, by_peer: end.role != by };
                assert!(end.saw(&event) && end.saw_closed(path), "{:?}", end.events);
            }
        }
    }
}

/// MP-163
#[test]
fn one_answer_is_enough_however_often_it_is_said() {
    let mut duet = Duet::with_paths(3);
    for path in [0, 2, 0, 2] {
        duet.client.says(path, &[abandon(1)]);
    }
    duet.settle();
    duet.client.says(0, &[abandon(1)]);
    duet.assert_alive();
    assert_eq!(duet.server.said_times(is_abandon(1)), 1);
}

/// MP-162, MP-222
#[test]
fn the_frame_may_come_on_its_own_path_or_another_one() {
    for on in [0, 1] {
        for path in [0, 1] {
            let mut duet = Duet::with_paths(3);
            duet.client.says(on, &[abandon(path)]);
            duet.run_for(ms(25));
            let answer = duet.client.heard_in(is_abandon(path));
            assert_eq!(answer.len(), 1, "{path} on {on}");
            assert_ne!(u64::from(answer[0].path.0), path);
            duet.assert_alive();
        }
    }
}

/// MP-164, MP-170
#[test]
fn late_packets_of_an_abandoned_path_are_acknowledged_on_another_one_and_cause_no_reset() {
    let mut duet = Duet::with_paths(2);
    duet.hold_next(Role::Client, 1, |frame| *frame == Frame::MaxData(5));
    duet.client.says(1, &[Frame::MaxData(5)]);
    duet.run_for(ms(1));
    duet.server.connection().abandon_path(PathId(1), CODE).unwrap();
    duet.run_for(ms(30));
    duet.server.forget();
    duet.release();
    duet.run_for(ms(11));
    assert!(duet.server.heard(|frame| *frame == Frame::MaxData(5)));
    let acks = duet.server.said_in(is_ack(1));
    assert_eq!((acks.len(), acks[0].path), (1, PathId(0)), "at once, elsewhere");
    assert_eq!(duet.server.endpoint.stats().stateless_resets, 0);
    duet.assert_alive();
}

/// MP-165, P-29
#[test]
fn an_id_that_was_never_used_is_answered_and_dead() {
    let mut duet = Duet::confirmed();
    duet.client.says(0, &[abandon(3)]);
    duet.run_for(ms(25));
    assert!(duet.client.heard(is_abandon(3)));
    duet.settle();
    let opened = [1, 2, 3, 4].map(|line| duet.open(line));
    assert_eq!(opened, [1, 2, 4, 5].map(PathId));
    duet.settle();
    let late = |frame: &Frame<'static>| matches!(frame, Frame::NewConnectionId(new) if new.path == 3);
    duet.server.forget();
    duet.client.says(0, &[frames::new_cid(3, 9, 0, 3)]);
    duet.assert_alive();
    assert!(!duet.server.said(late) && duet.server.path(3).is_none());
}

/// MP-166, MP-180, P-04, P-33
#[test]
fn a_peer_that_does_not_answer_keeps_the_connection_and_gets_no_further_path() {
    let mut duet = Duet::with_paths_set(3, |client, server| (client.max_paths, server.max_paths) = (3, 3));
    duet.drop_all(Role::Server, is_abandon(2));
    duet.client.connection().abandon_path(PathId(2), CODE).unwrap();
    duet.run_for(ms(20_000));
    assert!(duet.client.is_alive() && duet.server.is_alive());
    let grows = |frame: &Frame<'static>| matches!(frame, Frame::MaxPathId(_));
    assert!(!duet.client.said(grows));
    duet.unfilter();
    duet.run_for(ms(20_000));
    for end in [&duet.client, &duet.server] {
        assert_eq!(end.said_in(grows).len(), 1, "{:?}", end.role);
        assert!(end.said(|frame| *frame == Frame::MaxPathId(3)));
    }
    assert_eq!(duet.open(2), PathId(3));
    duet.settle();
    assert!(duet.client.saw(&Event::PathValidated(PathId(3))));
}

/// MP-167, P-05, P-28
#[test]
fn abandoning_the_last_path_closes_and_the_api_does_not_do_it() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.end(by).says(0, &[abandon(0)]);
        duet.assert_closed(by.peer(), TransportErrorCode::NO_VIABLE_PATH);
        let mut duet = Duet::with_paths(3);
        for path in [0, 2] {
            duet.end(by).connection().abandon_path(PathId(path), CODE).unwrap();
        }
        assert_eq!(duet.end(by).connection().abandon_path(PathId(1), CODE), Err(PathError::LastPath));
        assert_eq!(duet.end(by).connection().abandon_path(PathId(5), CODE), Err(PathError::NoSuchPath));
        assert_eq!(duet.end(by).connection().abandon_path(PathId(0), CODE), Err(PathError::NoSuchPath));
        duet.settle();
        duet.end(by).says(1, &[abandon(7)]);
        duet.assert_alive();
    }
}

/// MP-168, MP-169, P-06
#[test]
fn while_a_new_path_is_being_proven_the_last_one_may_go() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.open(1);
        duet.run_for(ms(12));
        assert!(matches!(duet.server.path(1).unwrap().stage(), Stage::Probing));
        duet.end(by).says(0, &[abandon(0)]);
        duet.settle();
        let heard = duet.end(by).heard_in(is_abandon(0));
        assert_eq!((heard.len(), heard[0].path), (1, PathId(1)), "answered once there is a way");
        duet.assert_alive();
    }
}

/// MP-168, MP-169, P-15
#[test]
fn if_the_new_path_does_not_come_up_the_connection_ends_after_few_challenges() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        duet.open(1);
        duet.run_for(ms(12));
        duet.cut(1, true);
        duet.end(by).says(0, &[abandon(0)]);
        let peer = by.peer();
        duet.run_until("it is gone", |duet| duet.end(peer).saw(&Event::Gone));
        let challenges = duet.end(peer).said_times(|frame| matches!(frame, Frame::PathChallenge(_)));
        assert!(challenges <= 40, "{challenges}");
    }
}

/// MP-170, P-30, P-76
#[test]
fn what_is_in_flight_when_a_path_goes_is_acknowledged_at_once_and_in_few_packets() {
    let mut duet =
        Duet::with_paths_set(2, |client, _| client.scheduler = crate::schedule::SchedulerKind::RoundRobin);
    let stream = duet.client.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; 24_000])]).unwrap();
    duet.run_for(ms(5));
    let in_flight = duet.client.said_on(1).iter().filter(|packet| packet.bytes > 1000).count();
    assert!(in_flight >= 5, "{in_flight}");
    duet.server.forget();
    duet.server.connection().abandon_path(PathId(1), CODE).unwrap();
    duet.run_for(ms(8));
    let acks = duet.server.said_in(is_ack(1));
    assert!((1..=in_flight).contains(&acks.len()), "{} for {in_flight} packets", acks.len());
    assert!(acks.iter().all(|packet| packet.path == PathId(0)));
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 24_000);
    assert_eq!(duet.client.connection().stats().packets_lost, 0);
}

/// MP-181
#[test]
fn the_reply_to_a_frame_on_its_own_path_is_acknowledged_elsewhere() {
    let mut duet = Duet::with_paths(2);
    duet.client.says(1, &[abandon(1)]);
    duet.run_for(ms(15));
    let reply = duet.server.said_in(is_abandon(1))[0].clone();
    assert_eq!(reply.path, PathId(0));
    duet.settle();
    let acked = |frame: &Frame<'static>| match frame {
        Frame::Ack(ack) => ack.path == 0 && ack.ranges().any(|range| range.contains(&reply.number)),
        _ => false,
    };
    assert!(duet.client.said_in(acked).iter().all(|packet| packet.path == PathId(0)));
    assert!(duet.server.heard(acked));
}

/// MP-182
#[test]
fn the_example_of_the_draft_takes_three_packets() {
    let mut duet = Duet::with_paths(2);
    duet.client.forget();
    duet.server.forget();
    duet.client.connection().abandon_path(PathId(0), CODE).unwrap();
    duet.run_for(ms(60));
    let first = duet.client.said_on(1)[0];
    assert!(first.frames.iter().any(is_abandon(0)));
    let answer = duet.server.said_on(1)[0];
    assert!(answer.frames.iter().any(is_abandon(0)));
    let number = first.number;
    let acks =
        |frame: &Frame<'static>| matches!(frame, Frame::Ack(ack) if ack.path == 1 && ack.largest == number);
    assert!(answer.frames.iter().any(acks), "{answer:?}");
    let last = duet.client.said_on(1)[1];
    let number = answer.number;
    let acks =
        |frame: &Frame<'static>| matches!(frame, Frame::Ack(ack) if ack.path == 1 && ack.largest == number);
    assert!(last.frames.iter().any(acks), "{last:?}");
}

/// P-71
#[test]
fn when_an_interface_of_the_server_goes_the_other_path_has_the_data_at_once() {
    for gone in [0, 1] {
        let mut duet = Duet::confirmed_set(|_, server| {
            server.scheduler = crate::schedule::SchedulerKind::RoundRobin;
        });
        let line = duet.line(1);
        (line.server, line.server_local) = ("10.9.1.1:443".parse().unwrap(), crate::LocalId(1));
        duet.open(1);
        duet.settle();
        let stream = duet.server.connection().open_stream(Direction::Unidirectional).unwrap();
        duet.server.connection().write(stream, [Bytes::from(vec![1; 100_000])]).unwrap();
        duet.run_for(ms(15));
        duet.cut(gone, true);
        let (local, now) = (crate::LocalId(gone), duet.now);
        duet.server.endpoint.local_gone(local, now);
        let (path, code) = (PathId(gone.into()), PathErrorCode::PATH_UNSTABLE_OR_POOR);
        duet.run_for(ms(30));
        assert!(duet.server.saw(&Event::PathAbandoned { path, code, by_peer: false }));
        assert!(duet.client.saw(&Event::PathAbandoned { path, code, by_peer: true }));
        let mut got = 0;
        duet.run_until("all of it", |duet| {
            got += duet.client.read(stream).len();
            got == 100_000
        });
        assert!(duet.now.since(now) < ms(100), "{:?}", duet.now.since(now));
        duet.assert_alive();
    }
}

/// P-71
#[test]
fn a_server_whose_only_interface_goes_waits_for_it() {
    let mut duet = Duet::confirmed();
    let stream = duet.server.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.server.connection().write(stream, [Bytes::from(vec![1; 100_000])]).unwrap();
    duet.run_for(ms(15));
    duet.cut(0, true);
    let gone = duet.now;
    duet.server.endpoint.local_gone(crate::LocalId(0), gone);
    duet.run_for(ms(4000));
    assert!(!duet.server.said(is_abandon(0)));
    duet.cut(0, false);
    let back = duet.now;
    let mut got = 0;
    duet.run_until("all of it", |duet| {
        got += duet.client.read(stream).len();
        got == 100_000
    });
    assert!(duet.now.since(back) < ms(3000), "{:?}", duet.now.since(back));
    duet.assert_alive();
}
