//! The life of paths as their owner sees it: opened once, watched, kept alive, given up, and accounted for to the end.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, route};
use super::*;
use crate::config::{PathOptions, TransportConfig};
use crate::congestion::CongestionKind;
use crate::connection::PathError;
use crate::error::PathErrorCode;
use crate::id::{Direction, PathId};
use crate::stats::{ConnectionStats, PathStage, PathStats};

const ZERO: PathId = PathId::ZERO;
const CODE: PathErrorCode = PathErrorCode::APPLICATION_ABANDON_PATH;

fn confirmed(change: impl FnOnce(&mut TransportConfig)) -> Pair {
    let mut transport = TransportConfig::default();
    change(&mut transport);
    let mut pair = Pair::new(transport);
    pair.settle();
    assert!(pair.saw(&Event::Confirmed));
    pair
}

fn open(pair: &mut Pair, port: u16, options: &PathOptions) -> PathId {
    let path = pair.client().open_path_with(route(port), options).unwrap();
    pair.settle();
    assert!(pair.saw(&Event::PathValidated(path)), "{:?}", pair.events);
    path
}

fn send(pair: &mut Pair, bytes: usize) {
    let mut client = pair.client();
    let stream = client.open_stream(Direction::Bidirectional).unwrap();
    client.write(stream, [Bytes::from(vec![7; bytes])]).unwrap();
    client.finish(stream).unwrap();
}

/// The numbers of the paths that exist.
fn living(pair: &mut Pair) -> (ConnectionStats, Vec<PathStats>) {
    let client = pair.client();
    (client.stats(), client.paths().filter_map(|path| client.path_stats(path)).collect())
}

/// P-74
#[test]
fn final_numbers_come_with_the_end_of_a_path_and_add_up_with_the_others() {
    let mut pair = confirmed(|_| {});
    let second = open(&mut pair, 1001, &PathOptions::default());
    send(&mut pair, 200_000);
    (0..5).for_each(|_| {
        pair.step();
    });
    pair.client().abandon_path(second, CODE).unwrap();
    assert_eq!(pair.client().path_stats(second).unwrap().stage, PathStage::Leaving);
    pair.settle();
    let last = pair.events.iter().find_map(|event| match event {
        Event::PathClosed { stats } if stats.id == second => Some((**stats).clone()),
        _ => None,
    });
    let last = last.expect("the path has ended");
    assert!(last.stream_bytes_sent > 0 && last.rtt_min.is_some(), "{last:?}");
    let (total, living) = living(&mut pair);
    assert_eq!(living.len(), 1);
    let sum = |of: fn(&PathStats) -> u64| living.iter().chain([&last]).map(of).sum::<u64>();
    assert_eq!(sum(|it| it.bytes_sent), total.bytes_sent);
    assert_eq!(sum(|it| it.bytes_received), total.bytes_received);
    assert_eq!(sum(|it| it.packets_sent), total.packets_sent);
    assert_eq!(sum(|it| it.packets_received), total.packets_received);
    assert_eq!(sum(|it| it.packets_lost), total.packets_lost);
    assert_eq!(sum(|it| it.stream_bytes_sent), total.stream_bytes_sent);
}

#[test]
fn every_path_is_opened_once_and_ends_once_with_nothing_after() {
    // MP-183, P-19
    let mut pair = confirmed(|_| {});
    let second = open(&mut pair, 1001, &PathOptions::default());
    pair.client().abandon_path(second, CODE).unwrap();
    pair.settle();
    let story: Vec<_> = pair.events.iter().filter(|event| names(event, second)).cloned().collect();
    assert!(
        matches!(
            story[..],
            [
                Event::PathOpened(_),
                Event::PathValidated(_),
                Event::PathAbandoned { by_peer: false, .. },
                Event::PathClosed { .. }
            ]
        ),
        "{story:?}"
    );
}

fn names(event: &Event, path: PathId) -> bool {
    match event {
        Event::PathOpened(id)
        | Event::PathValidated(id)
        | Event::PathSuspect(id)
        | Event::PathAbandoned { path: id, .. } => *id == path,
        Event::PathClosed { stats } => stats.id == path,
        _ => false,
    }
}

#[test]
fn opening_what_is_open_gives_the_path_there_and_after_its_end_a_new_one() {
    // P-61
    let mut pair = confirmed(|_| {});
    let options = PathOptions::default();
    let second = pair.client().open_path_if_absent(route(1001), &options).unwrap();
    assert_eq!(pair.client().open_path_if_absent(route(1001), &options), Ok(second), "not validated yet");
    pair.settle();
    assert_eq!(pair.client().open_path_if_absent(route(1001), &options), Ok(second));
    assert_eq!(pair.client().open_path_if_absent(route(1000), &options), Ok(ZERO));
    pair.client().abandon_path(second, CODE).unwrap();
    let third = pair.client().open_path_if_absent(route(1001), &options).unwrap();
    assert!(third > second);
}

#[test]
fn a_path_is_kept_alive_by_its_own_pings() {
    // MP-302, P-64: the defaults hold for later paths too.
    let mut pair = confirmed(|transport| transport.path_keep_alive = Some(Duration::from_secs(2)));
    let second = open(&mut pair, 1001, &PathOptions::default());
    let silent = PathOptions { keep_alive: Some(Duration::ZERO), ..PathOptions::default() };
    let third = open(&mut pair, 1002, &silent);
    let before: Vec<_> = [second, third].map(|path| pair.client().path_stats(path).unwrap()).into();
    for _ in 0..5000 {
        pair.step();
    }
    let after: Vec<_> = [second, third].map(|path| pair.client().path_stats(path).unwrap()).into();
    let pings = after[0].packets_sent - before[0].packets_sent;
    // Ten seconds; both ends ask after two of silence, and each answers the other.
    assert!((4..=11).contains(&pings), "{pings}");
    let asked = after[1].packets_received - before[1].packets_received;
    let sent = after[1].packets_sent - before[1].packets_sent;
    assert!(sent <= asked, "only what the server asks for is answered: {sent} for {asked}");
}

#[test]
fn an_idle_path_is_given_up_while_another_one_is_busy_and_the_last_one_never() {
    // MP-301, P-40
    let mut pair = confirmed(|transport| transport.path_idle_timeout = Some(Duration::from_secs(3)));
    let second = open(&mut pair, 1001, &PathOptions { backup: true, ..PathOptions::default() });
    for round in 0..8000 {
        if round % 200 == 0 {
            send(&mut pair, 100);
        }
        pair.step();
    }
    let code = PathErrorCode::NO_ERROR;
    assert!(pair.events.iter().any(|event| match event {
        Event::PathAbandoned { path, code: why, .. } => *path == second && *why == code,
        _ => false,
    }));
    (0..5000).for_each(|_| {
        pair.step();
    });
    assert_eq!(pair.client().path_stats(ZERO).unwrap().stage, PathStage::Open);
}

#[test]
fn each_path_may_have_its_own_controller() {
    let mut pair = confirmed(|transport| transport.congestion = CongestionKind::Cubic);
    let options = PathOptions { congestion: Some(CongestionKind::NewReno), ..PathOptions::default() };
    let second = open(&mut pair, 1001, &options);
    let window = |pair: &mut Pair, path| pair.client().path_stats(path).unwrap().window;
    let initial = window(&mut pair, second);
    for _ in 0..10 {
        send(&mut pair, 20_000);
        pair.settle();
    }
    assert!(window(&mut pair, ZERO) > initial, "it has grown");
    pair.client().set_path_congestion(ZERO, &CongestionKind::NewReno).unwrap();
    assert_eq!(window(&mut pair, ZERO), initial, "it begins anew");
    assert_eq!(
        pair.client().set_path_congestion(PathId(7), &CongestionKind::Cubic),
        Err(PathError::NoSuchPath)
    );
}

#[test]
fn a_path_opened_as_backup_is_announced_as_one() {
    // P-58, MP-150
    let mut pair = confirmed(|_| {});
    let second = open(&mut pair, 1001, &PathOptions { backup: true, ..PathOptions::default() });
    assert!(pair.server_saw(&Event::PathStatus { path: second, backup: true }));
    let stats = pair.client().path_stats(second).unwrap();
    assert!(stats.backup && stats.backup_by_us);
}

#[test]
fn the_peer_hears_that_we_doubt_a_path_and_that_we_trust_it_again() {
    // MP-143
    let mut pair = confirmed(|_| {});
    let second = open(&mut pair, 1001, &PathOptions::default());
    let usual = "127.0.0.1:1001".parse().unwrap();
    send(&mut pair, 400_000);
    pair.step();
    // What the server sends to the second path's socket is lost, so the client hears no acknowledgement there.
    pair.deaf.insert(usual);
    for _ in 0..100 {
        pair.step();
    }
    assert!(pair.saw(&Event::PathSuspect(second)), "{:?}", pair.events);
    assert!(pair.server_saw(&Event::PathStatus { path: second, backup: true }));
    pair.deaf.clear();
    for _ in 0..4000 {
        pair.step();
    }
    assert!(pair.saw(&Event::PathRecovered(second)), "{:?}", pair.events);
    assert!(pair.server_saw(&Event::PathStatus { path: second, backup: false }));
}
