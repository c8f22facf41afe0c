//! Rules of the draft about what becomes of an abandoned path (MP-160 to MP-183), and of frames about it.

use bytes::Bytes;

use super::frames::{new_cid, ten};
use super::*;
use crate::PathErrorCode;
use crate::id::{Direction, StreamId};
use crate::wire::packet::PacketKind;

const CODE: PathErrorCode = PathErrorCode::APPLICATION_ABANDON_PATH;

fn is_abandon(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::PathAbandon { path: it, .. } if *it == path)
}

fn is_ack(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::Ack(ack) if ack.path == path)
}

fn push(duet: &mut Duet, bytes: usize) -> StreamId {
    let stream = duet.client.connection().open_stream(Direction::Unidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

fn round_robin(count: u32) -> Duet {
    Duet::with_paths_set(count, |client, server| {
        client.scheduler = crate::schedule::SchedulerKind::RoundRobin;
        server.scheduler = crate::schedule::SchedulerKind::RoundRobin;
    })
}

/// A path that both ends abandoned and forgot.
fn forgotten(paths: u32, gone: u32) -> Duet {
    let mut duet = Duet::with_paths(paths);
    duet.client.connection().abandon_path(PathId(gone), CODE).unwrap();
    duet.settle();
    assert!(duet.client.path(gone).is_none() && duet.server.path(gone).is_none());
    duet
}

/// MP-171, P-09, P-32
#[test]
fn a_path_that_goes_with_fifty_packets_in_flight_loses_no_data() {
    for by in [Role::Client, Role::Server] {
        let mut duet = round_robin(2);
        for _ in 0..3 {
            let warm = push(&mut duet, 200_000);
            duet.settle();
            assert_eq!(duet.server.read(warm).len(), 200_000);
        }
        (duet.line(1).up, duet.line(1).cut_up) = (ms(40), true);
        let stream = push(&mut duet, 250_000);
        duet.client.forget();
        duet.run_for(ms(12));
        let in_flight = duet.client.said_on(1).len();
        assert!(in_flight >= 50, "{in_flight}");
        duet.end(by).connection().abandon_path(PathId(1), CODE).unwrap();
        let mut got = 0;
        duet.run_until("all of it", |duet| {
            got += duet.server.read(stream).len();
            got == 250_000
        });
        duet.settle();
        assert!(duet.client.path(1).is_none() && duet.server.path(1).is_none());
        let stats = duet.client.connection().path_stats(PathId::ZERO).unwrap();
        assert_eq!(stats.in_flight, 0);
        assert_eq!(stats.packets_lost, 0, "no loss of one path is another's");
    }
}

/// MP-166, MP-179
#[test]
fn ends_that_each_speak_where_the_other_no_longer_listens_hear_of_it_when_the_network_is_back() {
    let mut duet = Duet::with_paths(2);
    (0..2).for_each(|line| duet.cut(line, true));
    duet.client.connection().abandon_path(PathId(0), CODE).unwrap();
    duet.server.connection().abandon_path(PathId(1), CODE).unwrap();
    duet.run_for(ms(10_000));
    (0..2).for_each(|line| duet.cut(line, false));
    duet.run_for(ms(5000));
    duet.assert_closed(Role::Server, TransportErrorCode::NO_VIABLE_PATH);
}

/// MP-172, P-08
#[test]
fn acknowledgements_of_an_abandoned_path_count_while_its_state_is_there_and_not_later() {
    let mut duet = round_robin(2);
    let stream = push(&mut duet, 24_000);
    duet.run_for(ms(5));
    duet.hold_all(Role::Server);
    duet.run_for(ms(8));
    duet.client.connection().abandon_path(PathId(1), CODE).unwrap();
    let before = duet.client.connection().path_stats(PathId(1)).unwrap().in_flight;
    assert!(before > 5000, "{before}");
    duet.release();
    duet.run_for(ms(30));
    assert_eq!(duet.client.connection().path_stats(PathId(1)).unwrap().in_flight, 0);
    assert_eq!(duet.client.connection().stats().packets_lost, 0);
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 24_000);
    assert!(duet.client.path(1).is_none());
    duet.server.says_raw(PacketKind::OneRtt, 0, &[0x3e, 1, 0, 0, 0, 0]);
    duet.server.says_raw(PacketKind::OneRtt, 0, &[0x3e, 1, 0x40, 200, 0, 0, 0]);
    duet.assert_alive();
}

/// MP-173, MP-202, MP-230, P-07
#[test]
fn every_frame_about_a_forgotten_path_is_ignored_and_its_packet_acknowledged() {
    for role in [Role::Client, Role::Server] {
        for (frame_type, bytes) in ten(1) {
            if frame_type == 0x3e7a {
                continue; // MAX_PATH_ID names no path but a limit
            }
            let mut duet = forgotten(3, 1);
            let events = duet.end(role.peer()).events.len();
            duet.end(role).forget();
            duet.end(role).says_raw(PacketKind::OneRtt, 2, &bytes);
            duet.run_for(ms(60));
            let number = duet.end(role).said_on(2)[0].number;
            let acked = |frame: &Frame<'static>| match frame {
                Frame::Ack(ack) => ack.path == 2 && ack.ranges().any(|range| range.contains(&number)),
                _ => false,
            };
            let silent = frame_type <= 0x3f;
            assert!(duet.end(role).heard(acked) || silent, "{frame_type:#x}");
            duet.assert_alive();
            assert_eq!(duet.end(role.peer()).events.len(), events, "{frame_type:#x}");
            assert!(duet.end(role.peer()).path(1).is_none(), "{frame_type:#x} revived it");
        }
        // A blocked frame that asks for more than a path that is there was given is a violation.
        let mut duet = forgotten(3, 1);
        duet.end(role).says(2, &[Frame::PathCidsBlocked { path: 1, next_sequence: 77 }]);
        duet.assert_alive();
    }
}

/// MP-176, P-18
#[test]
fn nothing_that_comes_late_revives_an_abandoned_path() {
    let mut duet = Duet::with_paths(2);
    let old = duet.client.sent.iter().rfind(|it| it.line == Some(1)).unwrap().clone();
    let held = duet.server.endpoint.ids_held();
    duet.client.connection().abandon_path(PathId(1), CODE).unwrap();
    for wait in [1, 25, 1000, 1000] {
        duet.run_for(ms(wait));
        duet.replay(&old);
        duet.client.says(0, &[new_cid(1, 4, 0, 0x44)]);
        duet.client.says(0, &[Frame::PathStatus { path: 1, sequence: 50, backup: true }]);
    }
    duet.assert_alive();
    assert!(duet.client.path(1).is_none() && duet.server.path(1).is_none());
    assert_eq!(duet.server.endpoint.ids_held(), held - 1, "two less for path 1 and one more for path 8");
    assert_eq!(duet.open(1), PathId(2));
}

/// MP-177
#[test]
fn without_path_0_everything_goes_on() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::with_paths(2);
        duet.end(by).connection().abandon_path(PathId::ZERO, CODE).unwrap();
        duet.run_for(ms(5000));
        assert!(duet.client.path(0).is_none() && duet.server.path(0).is_none());
        let stream = push(&mut duet, 100_000);
        duet.client.connection().update_keys().unwrap();
        duet.settle();
        assert_eq!(duet.server.read(stream).len(), 100_000);
        assert_eq!(duet.open(3), PathId(2));
        duet.settle();
        assert!(duet.server.saw(&Event::PathValidated(PathId(2))));
        duet.cut(1, true);
        let stream = push(&mut duet, 50_000);
        duet.settle();
        assert_eq!(duet.server.read(stream).len(), 50_000);
        duet.client.connection().close(3, b"");
        duet.run_until("both are gone", |it| it.client.saw(&Event::Gone) && it.server.saw(&Event::Gone));
    }
}

/// MP-178, MP-183, P-19
#[test]
fn a_response_after_the_end_is_no_news_and_challenges_stop() {
    for by in [Role::Client, Role::Server] {
        let mut duet = Duet::confirmed();
        let is_response = |frame: &Frame<'static>| matches!(frame, Frame::PathResponse(_));
        duet.hold_next(by.peer(), 1, is_response);
        duet.open(1);
        duet.run_until("a response is on its way", |duet| !duet.held.is_empty());
        duet.end(by).connection().abandon_path(PathId(1), CODE).unwrap();
        duet.run_for(ms(1));
        duet.client.forget();
        duet.server.forget();
        duet.release();
        duet.run_for(ms(5000));
        for end in [&duet.client, &duet.server] {
            assert!(!end.said(|frame| matches!(frame, Frame::PathChallenge(_))) || end.role != by);
        }
        let end = duet.end(by);
        assert!(!end.saw(&Event::PathValidated(PathId(1))), "{:?}", end.events);
        assert!(end.saw_closed(1));
    }
}

/// MP-183
#[test]
fn each_path_that_opens_is_abandoned_once_and_closed_once() {
    let mut duet = Duet::confirmed_set(|client, server| (client.max_paths, server.max_paths) = (4, 4));
    for round in 0..30_u16 {
        let line = 1 + round % 3;
        let id = duet.open(line);
        duet.run_for(ms(u64::from(round) * 3 % 70));
        duet.line(line).cut_down = round % 5 == 4;
        let by = if round % 2 == 0 { Role::Client } else { Role::Server };
        // The server may not have heard of it yet.
        let _ = duet.end(by).connection().abandon_path(id, CODE);
        duet.run_for(ms(40));
        let _ = duet.client.connection().abandon_path(id, CODE);
        duet.run_for(ms(2500));
        duet.cut(line, false);
    }
    duet.run_for(ms(10_000));
    for id in 1..=30 {
        let path = PathId(id);
        let places = |end: &End, is: &dyn Fn(&Event) -> bool| {
            let found = end.events.iter().enumerate().filter(|(_, event)| is(event));
            found.map(|(at, _)| at).collect::<Vec<_>>()
        };
        for end in [&duet.client, &duet.server] {
            let abandoned =
                |event: &Event| matches!(event, Event::PathAbandoned { path: it, .. } if *it == path);
            let abandoned = places(end, &abandoned);
            let closed =
                places(end, &|event| matches!(event, Event::PathClosed { stats } if stats.id == path));
            assert_eq!((abandoned.len(), closed.len()), (1, 1), "{:?} {path:?}: {:?}", end.role, end.events);
            assert!(abandoned < closed);
            let validated = places(end, &|event| *event == Event::PathValidated(path));
            assert!(validated.len() <= 1 && validated.iter().all(|at| *at < abandoned[0]));
        }
    }
}

/// MP-178, P-41
#[test]
fn a_dead_path_gets_few_probes_and_is_given_up() {
    let mut duet = Duet::with_paths_set(2, |client, server| {
        (client.keep_alive, server.keep_alive) = (Some(ms(1000)), Some(ms(1000)));
    });
    duet.cut(1, true);
    duet.client.says(1, &[Frame::Ping]);
    duet.client.forget();
    let closed =
        Event::PathAbandoned { path: PathId(1), code: PathErrorCode::PATH_UNSTABLE_OR_POOR, by_peer: false };
    duet.run_until("it is given up", |duet| duet.client.saw(&closed));
    let probes = duet.client.said_on(1).len();
    assert!((3..60).contains(&probes), "{probes}");
    duet.client.forget();
    duet.run_for(ms(20_000));
    assert!(duet.client.said_on(1).is_empty());
    assert!(duet.client.is_alive());
}

/// MP-220, MP-221
#[test]
fn any_code_reaches_the_application_and_a_lost_frame_is_repeated() {
    for code in [0, 0x3e75, 0x1234_5678, (1 << 62) - 1] {
        let mut duet = Duet::with_paths(2);
        duet.drop_next(Role::Client, 2, is_abandon(1));
        duet.client.connection().abandon_path(PathId(1), PathErrorCode(code)).unwrap();
        duet.settle();
        let event = Event::PathAbandoned { path: PathId(1), code: PathErrorCode(code), by_peer: true };
        assert!(duet.server.saw(&event));
        assert!(duet.client.said_times(is_abandon(1)) >= 3);
        assert!(duet.client.saw_closed(1));
    }
}

/// MP-221
#[test]
fn an_acknowledgement_of_our_frame_is_not_the_peers_own() {
    let mut duet = Duet::with_paths(2);
    duet.drop_all(Role::Server, is_abandon(1));
    duet.client.connection().abandon_path(PathId(1), CODE).unwrap();
    duet.run_for(ms(20));
    let number = duet.client.said_in(is_abandon(1))[0].number as u8;
    duet.server.says_raw(PacketKind::OneRtt, 0, &[0x3e, 0, number, 0, 0, 0]);
    duet.run_for(ms(10_000));
    assert!(!duet.client.saw_closed(1), "only one end has given it up");
    duet.unfilter();
    duet.run_for(ms(20_000));
    assert!(duet.client.saw_closed(1), "{:?}", duet.client.events);
}

/// P-31
#[test]
fn a_packet_that_acknowledged_three_paths_is_settled_when_one_of_them_is_gone() {
    let mut duet = Duet::with_paths(3);
    for path in 0..3 {
        duet.server.says(path, &[Frame::Ping, Frame::MaxData(1)]);
    }
    duet.run_for(ms(11));
    // One packet with three acknowledgements, which is acknowledged only after path 2 is gone.
    let largest = [0, 1, 2].map(|path| duet.server.said_on(path).last().unwrap().number as u8);
    let frames = [0, 1, 2].map(|path| vec![0x3e, path, largest[usize::from(path)], 0, 0, 0]);
    duet.hold_next(Role::Server, usize::MAX, is_ack(0));
    duet.client.says_raw(PacketKind::OneRtt, 0, &[frames.concat(), vec![1]].concat());
    duet.run_for(ms(1));
    duet.client.connection().abandon_path(PathId(2), CODE).unwrap();
    duet.run_for(ms(1500));
    duet.release();
    duet.assert_alive();
    assert!(duet.client.path(2).is_none() && duet.server.path(2).is_none());
}
