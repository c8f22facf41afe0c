//! Rules of the draft about the status of paths (MP-140 to MP-151).

use bytes::Bytes;

use super::*;
use crate::connection::PathError;
use crate::id::{Direction, StreamId};
use crate::path::set::OpenPathError;

fn is_status(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::PathStatus { path: it, .. } if *it == path)
}

/// The numbers and advice of the status frames for `path` in these packets.
fn statuses(packets: &[Packet], path: u64) -> Vec<(u64, bool)> {
    let frames = packets.iter().flat_map(|packet| &packet.frames);
    let status = |frame: &Frame<'static>| match *frame {
        Frame::PathStatus { path: it, sequence, backup } if it == path => Some((sequence, backup)),
        _ => None,
    };
    frames.filter_map(status).collect()
}

fn is_data(frame: &Frame<'static>) -> bool {
    matches!(frame, Frame::Stream { .. })
}

fn push(duet: &mut Duet, from: Role, bytes: usize) -> StreamId {
    let stream = duet.end(from).connection().open_stream(Direction::Unidirectional).unwrap();
    duet.end(from).connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

/// The paths that carried data of `from`, ascending.
fn carriers(duet: &mut Duet, from: Role) -> Vec<u32> {
    let mut paths: Vec<u32> = duet.end(from).said_in(is_data).iter().map(|packet| packet.path.0).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Two paths, and schedulers that would use both.
fn busy() -> Duet {
    Duet::with_paths_set(2, |client, server| {
        client.scheduler = crate::schedule::SchedulerKind::RoundRobin;
        server.scheduler = crate::schedule::SchedulerKind::RoundRobin;
    })
}

/// MP-140, MP-141
#[test]
fn advice_binds_the_sender_of_data_and_each_direction_has_its_own() {
    let mut duet = busy();
    duet.client.connection().set_path_backup(PathId(1), true).unwrap();
    duet.settle();
    // The server sees no reason why the client should not use it.
    duet.server.says(0, &[Frame::PathStatus { path: 1, sequence: 1, backup: false }]);
    duet.run_for(ms(15));
    for role in [Role::Client, Role::Server] {
        let stream = push(&mut duet, role, 100_000);
        duet.settle();
        assert_eq!(duet.end(role.peer()).read(stream).len(), 100_000);
    }
    assert_eq!(carriers(&mut duet, Role::Server), [0]);
    assert_eq!(carriers(&mut duet, Role::Client), [0, 1]);
}

/// MP-142
#[test]
fn when_all_are_backups_or_nothing_was_said_data_flows() {
    for all in [false, true] {
        let mut duet = busy();
        for path in 0..2 {
            if all {
                duet.client.connection().set_path_backup(PathId(path), true).unwrap();
            }
        }
        duet.settle();
        let stream = push(&mut duet, Role::Server, 100_000);
        duet.settle();
        assert_eq!(duet.client.read(stream).len(), 100_000);
        assert_eq!(carriers(&mut duet, Role::Server), [0, 1]);
    }
}

/// MP-143, MP-144, MP-160
#[test]
fn a_backup_takes_over_while_the_broken_path_is_probed_and_in_the_end_abandoned() {
    let mut duet = Duet::with_paths_set(2, |client, server| {
        client.keep_alive = Some(ms(1000));
        server.keep_alive = Some(ms(1000));
    });
    duet.client.connection().set_path_backup(PathId(1), true).unwrap();
    duet.settle();
    duet.cut(0, true);
    let stream = push(&mut duet, Role::Server, 100_000);
    duet.run_for(ms(5000));
    assert_eq!(duet.client.read(stream).len(), 100_000);
    assert!(duet.server.saw(&Event::PathSuspect(PathId::ZERO)));
    let doubted = duet.now;
    duet.run_for(ms(10_000));
    let probes = duet.server.said_on(0).iter().filter(|packet| packet.at > doubted).count();
    assert!((2..40).contains(&probes), "{probes} probes in ten seconds");
    duet.run_for(ms(25_000));
    assert!(duet.client.heard(|frame| matches!(frame, Frame::PathAbandon { path: 0, .. })));
    assert!(duet.client.is_alive() && duet.server.is_alive());
}

/// MP-145, MP-147
#[test]
fn numbers_rise_for_each_path_by_itself_and_both_types_share_them() {
    let mut duet = Duet::with_paths(3);
    for round in 0..3 {
        for path in [1, 2] {
            duet.client.connection().set_path_backup(PathId(path), round % 2 == 0).unwrap();
            duet.run_for(ms(50));
        }
    }
    for path in [1, 2] {
        assert_eq!(statuses(&duet.client.said, path), [(1, true), (2, false), (3, true)]);
    }
}

/// MP-146, P-59
#[test]
fn a_stale_or_equal_number_changes_nothing_and_is_no_news() {
    let mut duet = Duet::with_paths(2);
    let says = |duet: &mut Duet, sequence, backup| {
        duet.client.says(0, &[Frame::PathStatus { path: 1, sequence, backup }]);
        duet.run_for(ms(15));
    };
    says(&mut duet, 7, true);
    for stale in [7, 6, 0] {
        says(&mut duet, stale, false);
    }
    let news: Vec<_> =
        duet.server.events.iter().filter(|it| matches!(it, Event::PathStatus { .. })).collect();
    assert_eq!(news, [&Event::PathStatus { path: PathId(1), backup: true }]);
    assert!(duet.server.connection().path_stats(PathId(1)).unwrap().backup);
    says(&mut duet, 8, false);
    assert!(!duet.server.connection().path_stats(PathId(1)).unwrap().backup);
}

/// MP-148
#[test]
fn the_status_of_a_path_that_is_not_open_yet_waits_for_it() {
    let mut duet = Duet::confirmed();
    duet.server.says(0, &[Frame::PathStatus { path: 1, sequence: 3, backup: true }]);
    duet.settle();
    assert_eq!(duet.open(1), PathId(1));
    duet.settle();
    assert!(duet.client.connection().path_stats(PathId(1)).unwrap().backup);
    // A later word counts from there.
    duet.server.says(0, &[Frame::PathStatus { path: 1, sequence: 3, backup: false }]);
    duet.settle();
    assert!(duet.client.connection().path_stats(PathId(1)).unwrap().backup);
}

/// MP-149, MP-225
#[test]
fn a_lost_frame_is_repeated_with_what_holds_now_and_only_while_it_was_the_last() {
    let mut duet = Duet::with_paths(2);
    duet.drop_next(Role::Client, 1, is_status(1));
    duet.client.connection().set_path_backup(PathId(1), true).unwrap();
    duet.settle();
    assert_eq!(statuses(&duet.server.heard, 1), [(2, true)]);
    duet.drop_next(Role::Client, 1, is_status(1));
    duet.client.connection().set_path_backup(PathId(1), false).unwrap();
    duet.run_for(ms(1));
    duet.client.connection().set_path_backup(PathId(1), true).unwrap();
    duet.settle();
    assert_eq!(statuses(&duet.client.said, 1), [(1, true), (2, true), (3, false), (4, true)]);
}

/// MP-150
#[test]
fn a_status_may_travel_with_the_ids_of_its_path_or_a_response() {
    let mut duet = Duet::with_paths(2);
    let status = Frame::PathStatus { path: 1, sequence: 1, backup: true };
    duet.server.says(1, &[frames::new_cid(1, 2, 0, 9), status, Frame::PathResponse([0; 8])]);
    duet.assert_alive();
    assert!(duet.client.saw(&Event::PathStatus { path: PathId(1), backup: true }));
}

/// MP-151, P-58
#[test]
fn a_path_that_opens_as_a_backup_says_so_before_data_could_flow_and_again_when_it_is_proven() {
    let mut duet =
        Duet::confirmed_set(|_, server| server.scheduler = crate::schedule::SchedulerKind::RoundRobin);
    push(&mut duet, Role::Server, 2_000_000);
    duet.run_for(ms(5));
    duet.open(1);
    duet.client.connection().set_path_backup(PathId(1), true).unwrap();
    duet.settle();
    assert!(duet.server.saw(&Event::PathValidated(PathId(1))));
    assert_eq!(carriers(&mut duet, Role::Server), [0]);
    let said = statuses(&duet.client.said, 1);
    assert_eq!(said, [(1, true), (2, true)]);
    let (first, challenge) = (duet.client.said_in(is_status(1))[0].at, duet.client.said_on(1)[0].at);
    assert!(first <= challenge);
}

/// P-57
#[test]
fn of_lost_and_reordered_frames_the_last_one_wins() {
    let mut duet = Duet::with_paths(2);
    duet.hold_all(Role::Client);
    for backup in [true, false, true] {
        duet.client.connection().set_path_backup(PathId(1), backup).unwrap();
        duet.run_for(ms(1));
    }
    assert_eq!(
        statuses(&duet.client.said, 1),
        [(1, true), (2, false), (3, true)],
        "one frame for each change"
    );
    duet.release_reversed();
    duet.settle();
    assert!(duet.server.connection().path_stats(PathId(1)).unwrap().backup);
    let news = duet.server.events.iter().filter(|event| matches!(event, Event::PathStatus { .. })).count();
    assert_eq!(news, 1);
}

/// P-60
#[test]
fn nothing_of_the_extension_can_be_asked_for_where_it_was_not_agreed() {
    for silent in [Role::Client, Role::Server] {
        let mut duet = Duet::without_multipath(silent);
        let route = duet.line(1).at_client(1);
        let said = duet.client.said.len();
        let mut client = duet.client.connection();
        assert_eq!(client.set_path_backup(PathId(0), true), Err(PathError::NotNegotiated));
        let refused = client.abandon_path(PathId(0), crate::PathErrorCode::NO_ERROR);
        assert_eq!(refused, Err(PathError::NotNegotiated));
        assert_eq!(client.open_path(route), Err(OpenPathError::NotNegotiated));
        drop(client);
        duet.settle();
        assert_eq!(duet.client.said.len(), said);
    }
}

/// MP-143: the peer returns all acknowledgements on a path that dies, so both paths are doubted and both windows are
/// full; it must hear which one to leave nevertheless, and then that it is given up.
#[test]
fn who_acknowledges_on_a_dead_path_hears_that_it_is_dead_although_all_windows_are_full() {
    let mut duet = Duet::with_paths_set(2, |_, server| {
        (server.stream_window, server.connection_window) = (16 << 20, 16 << 20);
    });
    push(&mut duet, Role::Client, 4 << 20);
    duet.run_for(ms(60));
    duet.cut(0, true);
    duet.server.mute(true);
    duet.client.forget();
    for _ in 0..20 {
        duet.server.says(1, &[Frame::Ping]);
        duet.run_for(ms(200));
    }
    let backup = |frame: &Frame<'static>| matches!(frame, Frame::PathStatus { path: 0, backup: true, .. });
    let abandon = |frame: &Frame<'static>| matches!(frame, Frame::PathAbandon { path: 0, .. });
    assert!(duet.server.heard_in(backup).iter().any(|packet| packet.path == PathId(1)));
    assert!(duet.server.heard_in(abandon).iter().any(|packet| packet.path == PathId(1)));
}
