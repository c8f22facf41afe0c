//! Rules of the draft about resources and denial of service (MP-330 to MP-339), and pitfalls around them.

use bytes::Bytes;

use super::rules_negotiation::declare;
use super::*;
use crate::PathErrorCode;
use crate::id::{Direction, StreamId};
use crate::path::set::OpenPathError;
use crate::wire::packet::PacketKind;

fn is_abandon(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::PathAbandon { .. })
}

fn is_new_id(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::NewConnectionId(_))
}

fn push(duet: &mut Duet, from: Role, bytes: usize) -> StreamId {
    let stream = duet.end(from).connection().open_stream(Direction::Unidirectional).unwrap();
    duet.end(from).connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

/// MP-330
#[test]
fn a_path_that_may_be_opened_has_connection_ids_and_nothing_else() {
    let mut duet = Duet::with_paths(2);
    for role in [Role::Client, Role::Server] {
        for path in 2..8 {
            let reserved = duet.end(role).path(path).unwrap();
            assert!(reserved.running().is_none() && reserved.remote.current().is_some());
        }
        assert!(duet.end(role).path(1).unwrap().running().is_some());
    }
}

/// MP-331, MP-332, P-75
#[test]
fn eight_paths_at_once_are_the_most_and_a_ninth_is_refused_by_both_ends() {
    let mut duet = Duet::confirmed();
    for line in 1..8 {
        duet.open(line);
    }
    let route = duet.line(8).at_client(8);
    assert_eq!(duet.client.connection().open_path(route), Err(OpenPathError::OwnLimit));
    duet.settle();
    for id in 1..8 {
        assert!(duet.server.saw(&Event::PathValidated(PathId(id))));
    }
    let dcid = duet.client.path(7).unwrap().remote.current();
    let say = Say::new(PacketKind::OneRtt, PathId(8), vec![1]);
    duet.client.says_so(Say { route: Some(route), dcid, ..say });
    duet.assert_alive();
    assert_eq!(duet.server.connection().paths().count(), 8);
}

/// MP-334
#[test]
fn all_paths_may_move_at_once() {
    let mut duet = Duet::with_paths_set(5, |client, _| {
        client.scheduler = crate::schedule::SchedulerKind::RoundRobin;
    });
    let held = duet.server.endpoint.ids_held();
    for line in 0..5 {
        duet.line(line).outside = std::net::SocketAddr::from(([10, 77, 0, line as u8], 7));
    }
    let stream = push(&mut duet, Role::Client, 200_000);
    duet.settle();
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 200_000);
    for path in 0..5 {
        let line = duet.line(path).at_server();
        let stats = duet.server.connection().path_stats(PathId(path.into())).unwrap();
        assert_eq!((stats.route, stats.stage), (line, crate::PathStage::Open), "path {path}");
    }
    assert!(duet.server.endpoint.ids_held() <= held + 5, "one spare ID a path at most");
    duet.assert_alive();
}

/// MP-335, P-79
#[test]
fn the_largest_limit_of_a_peer_allocates_nothing() {
    for role in [Role::Client, Role::Server] {
        declare(role, vec![0xc0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        let mut duet = Duet::confirmed();
        let victim = role.peer();
        let held = duet.end(victim).endpoint.ids_held();
        assert!(held <= 10, "{held}");
        duet.end(role).says(0, &[Frame::MaxPathId(u64::from(u32::MAX))]);
        duet.assert_alive();
        assert_eq!(duet.end(victim).endpoint.ids_held(), held);
        assert_eq!(duet.end(victim).said_times(is_new_id), 8);
    }
}

/// MP-337, P-77
#[test]
fn a_peer_that_abandons_every_id_gets_one_answer_and_one_new_id_for_each() {
    let mut duet = Duet::confirmed();
    duet.server.forget();
    for path in 1..40_u64 {
        // The client's own logic answers too, so each path is closed by both.
        duet.client.says(0, &[Frame::PathAbandon { path, code: 0 }]);
        duet.run_for(ms(1000));
    }
    assert_eq!(duet.server.said_times(is_abandon), 39);
    let grown = duet.server.said_times(|frame| matches!(frame, Frame::MaxPathId(_)));
    assert_eq!(grown, 39);
    assert!(duet.server.said_times(is_new_id) <= 39);
    assert!(duet.server.endpoint.ids_held() <= 10);
    duet.assert_alive();
}

/// P-53
#[test]
fn a_server_that_speaks_from_another_address_is_not_believed() {
    let mut duet = Duet::with_paths(2);
    duet.line(0).server = "10.9.0.9:443".parse().unwrap();
    let before = duet.client.heard.len();
    let elsewhere = duet.line(0).at_client(0);
    duet.server.mute(true);
    duet.server.says(0, &[Frame::MaxData(77)]);
    duet.server.mute(false);
    duet.line(0).server = "10.9.0.1:443".parse().unwrap();
    duet.hold_all(Role::Server);
    duet.run_for(ms(1));
    let word = duet.held.pop().unwrap();
    duet.inject(Role::Client, elsewhere, &word.bytes);
    assert_eq!(duet.client.heard.len(), before);
    duet.release();
    duet.assert_alive();
    let there = duet.client.connection().path_stats(PathId::ZERO).unwrap().route.remote();
    assert_eq!(there, "10.9.0.1:443".parse().unwrap());
}

/// P-61
#[test]
fn a_path_to_where_one_was_abandoned_is_a_new_one() {
    let mut duet = Duet::with_paths(2);
    duet.client.connection().abandon_path(PathId(1), PathErrorCode::NO_ERROR).unwrap();
    assert_eq!(duet.open(1), PathId(2), "at once");
    duet.settle();
    assert_eq!(duet.open(1), PathId(3));
    duet.settle();
    assert!(
        duet.server.saw(&Event::PathValidated(PathId(2)))
            && duet.server.saw(&Event::PathValidated(PathId(3)))
    );
}

/// What an application asks of a connection.
type Ask = Box<dyn Fn(&mut crate::ConnectionGuard<'_>)>;

/// P-65
#[test]
fn whatever_the_application_asks_leaves_at_once() {
    let mut duet = Duet::with_paths(3);
    let before = duet.client.said.len();
    let route = duet.line(3).at_client(3);
    let mut said = before;
    let asks: Vec<(&str, Ask)> = vec![
        ("backup", Box::new(|it| it.set_path_backup(PathId(1), true).unwrap())),
        ("open", Box::new(move |it| assert_eq!(it.open_path(route), Ok(PathId(3))))),
        ("abandon", Box::new(|it| it.abandon_path(PathId(2), PathErrorCode::NO_ERROR).unwrap())),
        ("close", Box::new(|it| it.close(0, b""))),
    ];
    for (what, ask) in asks {
        duet.settle();
        said = said.max(duet.client.said.len());
        ask(&mut duet.client.connection());
        duet.run_for(ms(0));
        assert!(duet.client.said.len() > said, "{what}");
        said = duet.client.said.len();
    }
}

/// P-67
#[test]
fn a_probe_that_waits_when_its_level_goes_is_forgotten() {
    let mut duet = Duet::new();
    duet.line(0).down = ms(700);
    duet.run_until("a probe of the handshake", |duet| {
        let initial = |packet: &&Packet| packet.kind == PacketKind::Initial;
        duet.client.said.iter().filter(initial).count() >= 2
    });
    duet.run_for(ms(10_000));
    assert!(duet.client.saw(&Event::Confirmed));
    duet.open(1);
    duet.settle();
    duet.settle();
    duet.client.connection().abandon_path(PathId::ZERO, PathErrorCode::NO_ERROR).unwrap();
    duet.client.forget();
    duet.settle();
    assert!(duet.client.said.iter().all(|packet| packet.kind == PacketKind::OneRtt));
    duet.assert_alive();
}

/// MP-336, P-68
#[test]
fn a_thousand_challenges_are_answered_at_most_once_each() {
    let mut duet = Duet::with_paths(2);
    let mut data = 0_u64;
    for _ in 0..50 {
        let frames: Vec<_> = (0..20)
            .map(|_| {
                data += 1;
                Frame::PathChallenge(data.to_be_bytes())
            })
            .collect();
        duet.client.says(1, &frames);
    }
    duet.assert_alive();
    let mut answers: Vec<[u8; 8]> = Vec::new();
    for frame in duet.server.said.iter().flat_map(|packet| &packet.frames) {
        if let Frame::PathResponse(data) = frame
            && data[0] == 0
        {
            answers.push(*data);
        }
    }
    let all = answers.len();
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), all, "none twice");
    assert!((8..=1000).contains(&all), "{all}");
}

/// P-69
#[test]
fn the_ids_of_sixteen_paths_do_not_delay_the_first_data() {
    let mut duet = Duet::new_set(|client, server| (client.max_paths, server.max_paths) = (16, 16));
    duet.run_until("the handshake is complete", |duet| {
        duet.client.saw(&Event::Connected { multipath: true })
    });
    let begun = duet.now;
    let stream = push(&mut duet, Role::Client, 1000);
    duet.run_until("it is there", |duet| duet.server.saw(&Event::StreamOpened(stream)));
    assert!(duet.now.since(begun) <= ms(11), "{:?}", duet.now.since(begun));
}

/// P-17
#[test]
fn what_leaves_on_a_path_is_a_matter_of_its_state() {
    // Path 1 stays unproven, path 2 is a backup.
    let mut duet = Duet::confirmed();
    duet.line(1).cut_down = true;
    assert_eq!([duet.open(1), duet.open(2)], [PathId(1), PathId(2)]);
    duet.client.connection().set_path_backup(PathId(2), true).unwrap();
    duet.run_for(ms(100));
    duet.client.forget();
    push(&mut duet, Role::Client, 200_000);
    duet.client.connection().update_keys().unwrap();
    duet.run_for(ms(500));
    let carried = |path: u32, is: &dyn Fn(&Frame<'static>) -> bool| {
        duet.client.said_on(path).iter().any(|packet| packet.frames.iter().any(is))
    };
    let data = |frame: &Frame<'static>| matches!(frame, Frame::Stream { .. });
    assert_eq!([0, 1, 2].map(|path| carried(path, &data)), [true, false, false]);
    let validation = |frame: &Frame<'static>| {
        matches!(frame, Frame::PathChallenge(_) | Frame::PathResponse(_) | Frame::Padding | Frame::Ack(_))
    };
    assert!(carried(1, &validation) && !carried(1, &|frame| !validation(frame)), "an unproven path");
}
