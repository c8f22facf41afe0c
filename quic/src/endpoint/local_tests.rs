//! Local addresses that do not work, go, or come: the handshake's race, and what becomes of paths.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, Wire, route};
use super::*;
use crate::base::address::LocalId;
use crate::config::{PathOptions, TransportConfig};
use crate::datagram::Fate;
use crate::error::PathErrorCode;
use crate::id::{Direction, PathId, Role};
use crate::log::{Log, LogFactory, Record};
use crate::stats::PathStage;

const ZERO: PathId = PathId::ZERO;

fn racing(change: impl FnOnce(&mut TransportConfig)) -> Pair {
    let mut transport = TransportConfig::default();
    change(&mut transport);
    Pair::over(transport, &[route(1001), route(1002)])
}

/// Steps until the client's handshake is confirmed; how long that took.
fn confirmation(pair: &mut Pair) -> Duration {
    let from = pair.now;
    for _ in 0..5000 {
        if pair.saw(&Event::Confirmed) {
            return pair.now.since(from);
        }
        pair.step();
    }
    panic!("not confirmed: {:?}", pair.events);
}

fn local(pair: &mut Pair) -> LocalId {
    pair.client().path_stats(ZERO).unwrap().route.local_id()
}

#[test]
fn a_handshake_whose_first_way_is_dead_takes_the_next_one_after_a_quarter_of_a_second() {
    let mut pair = racing(|_| {});
    pair.mute.insert(LocalId(0));
    let took = confirmation(&mut pair);
    assert!((250..350).contains(&took.as_millis()), "{took:?}");
    assert_eq!(local(&mut pair), LocalId(1));
}

#[test]
fn a_way_on_which_nothing_comes_back_is_as_good_as_dead() {
    let mut pair = racing(|_| {});
    pair.deaf.insert("127.0.0.1:1000".parse().unwrap());
    let took = confirmation(&mut pair);
    assert!(took < Duration::from_millis(400), "{took:?}");
    assert_eq!(local(&mut pair), LocalId(1));
    assert_eq!(pair.server.connections().count(), 1, "it is one connection");
}

/// The port at the client of each way that a racing handshake tried, as the logs of both ends tell it.
#[derive(Clone, Default)]
struct Tried(Arc<Mutex<Vec<(Role, u16)>>>);

/// The log of one end.
struct TriedBy(Role, Tried);

impl Log for TriedBy {
    fn record(&mut self, _: Instant, record: &Record<'_>) {
        if let Record::Redirected { route, .. } = record {
            let client = if self.0 == Role::Client { route.local() } else { route.remote() };
            self.1.0.lock().unwrap().push((self.0, client.port()));
        }
    }
}

#[test]
fn logs_tell_which_ways_a_handshake_tries() {
    let tried = Tried::default();
    let to = tried.clone();
    let log = LogFactory::new(move |opening| Some(Box::new(TriedBy(opening.role, to.clone()))));
    let mut pair = racing(|transport| transport.log = Some(log));
    pair.deaf.insert("127.0.0.1:1000".parse().unwrap());
    confirmation(&mut pair);
    assert_eq!(*tried.0.lock().unwrap(), [(Role::Client, 1001), (Role::Server, 1001)]);
}

#[test]
fn where_the_first_way_works_nothing_else_is_tried() {
    let mut pair = racing(|_| {});
    confirmation(&mut pair);
    assert_eq!(local(&mut pair), LocalId(0));
    pair.settle();
    assert_eq!(pair.sent_to.len(), 1, "{:?}", pair.sent_to);
}

#[test]
fn an_error_of_the_system_begins_the_next_turn_at_once() {
    let mut pair = racing(|_| {});
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    pair.client.on_fate(wire.sent[0].0.tag, Fate::Unreachable, pair.now);
    let took = confirmation(&mut pair);
    assert!(took < Duration::from_millis(50), "{took:?}");
    assert_eq!(local(&mut pair), LocalId(1));
}

#[test]
fn an_interface_that_goes_during_the_handshake_is_left_at_once() {
    let mut pair = racing(|_| {});
    pair.mute.insert(LocalId(0));
    pair.step();
    pair.client.local_gone(LocalId(0), pair.now);
    assert!(confirmation(&mut pair) < Duration::from_millis(50));
}

/// P-71
#[test]
fn paths_over_an_interface_that_goes_are_abandoned_and_their_data_goes_on_elsewhere() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let second = pair.client().open_path_with(route(1001), &PathOptions::default()).unwrap();
    pair.settle();
    let mut client = pair.client();
    let stream = client.open_stream(Direction::Bidirectional).unwrap();
    client.write(stream, [Bytes::from(vec![7; 100_000])]).unwrap();
    client.finish(stream).unwrap();
    drop(client);
    pair.step();
    pair.mute.insert(LocalId(0));
    pair.deaf.insert("127.0.0.1:1000".parse().unwrap());
    pair.client.local_gone(LocalId(0), pair.now);
    let gone_at = pair.now;
    let mut arrived = 0;
    while arrived < 100_000 {
        pair.step();
        arrived += pair.read_at_server(stream).0.len();
        assert!(pair.now.since(gone_at) < Duration::from_millis(100), "{arrived} bytes");
    }
    let code = PathErrorCode::PATH_UNSTABLE_OR_POOR;
    assert!(pair.saw(&Event::PathAbandoned { path: ZERO, code, by_peer: false }));
    assert!(pair.server_saw(&Event::PathAbandoned { path: ZERO, code, by_peer: true }), "without a timeout");
    assert_eq!(pair.client().path_stats(second).unwrap().stage, PathStage::Open);
}

/// P-71
#[test]
fn the_last_path_moves_to_an_interface_that_is_there_or_comes() {
    for known_before in [true, false] {
        let mut pair = Pair::new(TransportConfig { max_paths: 1, ..TransportConfig::default() });
        pair.settle();
        if known_before {
            pair.client().add_local(route(1003));
        }
        pair.mute.insert(LocalId(0));
        pair.client.local_gone(LocalId(0), pair.now);
        pair.step();
        if !known_before {
            assert!(!pair.saw(&Event::PathMigrated(ZERO)));
            pair.client().add_local(route(1003));
        }
        pair.settle();
        assert!(pair.server_saw(&Event::PathMigrated(ZERO)), "{:?}", pair.server_events);
        assert_eq!(local(&mut pair), LocalId(3));
    }
}

#[test]
fn a_lone_path_that_the_system_calls_unreachable_tries_another_address() {
    let mut pair = racing(|transport| transport.max_paths = 1);
    confirmation(&mut pair);
    pair.settle();
    let mut client = pair.client();
    let stream = client.open_stream(Direction::Bidirectional).unwrap();
    client.write(stream, [Bytes::from_static(b"hello")]).unwrap();
    drop(client);
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    pair.mute.insert(LocalId(0));
    pair.client.on_fate(wire.sent[0].0.tag, Fate::Unreachable, pair.now);
    pair.settle();
    assert!(pair.saw(&Event::PathMigrated(ZERO)));
    assert_ne!(local(&mut pair), LocalId(0));
}

/// Sends all that the client has on a system that knows no way anywhere; how many trains that were.
fn refuse_all(pair: &mut Pair) -> usize {
    let mut refused = 0;
    for _ in 0..50 {
        let mut wire = Wire::default();
        pair.client.transmit(&mut wire, pair.now);
        for (train, _) in &wire.sent {
            refused += 1;
            pair.client.on_fate(train.tag, Fate::Unreachable, pair.now);
        }
    }
    refused
}

#[test]
fn a_system_without_any_way_is_asked_once_a_turn_for_each() {
    let mut pair = racing(|_| {});
    let first = refuse_all(&mut pair);
    assert!(first <= 6, "{first} trains at once");
    let mut more = 0;
    let until = pair.now + Duration::from_secs(4);
    while let Some(at) = pair.client.deadline().filter(|&at| at <= until) {
        pair.now = at;
        pair.client.on_deadline(at);
        more += refuse_all(&mut pair);
    }
    assert!(more <= 60, "{more} trains in four seconds");
    assert!(confirmation(&mut pair) < Duration::from_secs(3), "it goes on once there is a way");
}

#[test]
fn several_errors_of_one_flight_pass_over_no_way() {
    let mut pair = racing(|_| {});
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    let tag = wire.sent[0].0.tag;
    (0..2).for_each(|_| pair.client.on_fate(tag, Fate::Unreachable, pair.now));
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    assert_eq!(wire.sent[0].0.local_id, LocalId(1));
}

/// What won the race goes, and what lost it is still there.
#[test]
fn the_first_way_of_a_race_is_known_afterwards_like_the_others() {
    let transport = TransportConfig { max_paths: 1, ..TransportConfig::default() };
    let mut pair = Pair::over(transport, &[route(1001)]);
    pair.mute.insert(LocalId(0));
    confirmation(&mut pair);
    pair.settle();
    assert_eq!(local(&mut pair), LocalId(1));
    pair.mute.remove(&LocalId(0));
    pair.mute.insert(LocalId(1));
    pair.client.local_gone(LocalId(1), pair.now);
    pair.settle();
    assert_eq!(local(&mut pair), LocalId(0));
    assert!(pair.server_saw(&Event::PathMigrated(ZERO)), "{:?}", pair.server_events);
}

/// Both paths of a client go with their interface: the one that can move does, once there is another.
#[test]
fn a_path_that_is_not_proven_yet_strands_nobody() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    pair.mute.insert(LocalId(0));
    let far = std::net::SocketAddr::from(([127, 0, 0, 2], 443));
    let second = RouteId::new(LocalId(0), "127.0.0.1:1000".parse().unwrap(), far);
    pair.client().open_path_with(second, &PathOptions::default()).unwrap();
    pair.step();
    pair.client.local_gone(LocalId(0), pair.now);
    pair.step();
    pair.client().add_local(route(1003));
    pair.settle();
    assert!(pair.server_saw(&Event::PathMigrated(ZERO)), "{:?} {:?}", pair.events, pair.server_events);
    assert_eq!(local(&mut pair), LocalId(3));
}

#[test]
fn the_address_that_is_unreachable_is_not_tried_instead_of_itself() {
    let mut pair = Pair::new(TransportConfig { max_paths: 1, ..TransportConfig::default() });
    pair.settle();
    pair.client().add_local(route(1000)); // where the path is already
    pair.client().add_local(route(1003));
    let mut client = pair.client();
    let stream = client.open_stream(Direction::Bidirectional).unwrap();
    client.write(stream, [Bytes::from_static(b"hello")]).unwrap();
    drop(client);
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    pair.mute.insert(LocalId(0));
    pair.client.on_fate(wire.sent[0].0.tag, Fate::Unreachable, pair.now);
    pair.settle();
    assert_eq!(local(&mut pair), LocalId(3));
}

#[test]
fn of_several_paths_with_nowhere_to_go_one_that_is_proven_is_kept_and_moves() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let first = RouteId::new(LocalId(0), route(1000).local(), "127.0.0.2:443".parse().unwrap());
    let second = RouteId::new(LocalId(0), route(1000).local(), "127.0.0.3:443".parse().unwrap());
    let proven = pair.client().open_path(first).unwrap();
    pair.settle();
    let unproven = pair.client().open_path(second).unwrap();
    pair.mute.insert(LocalId(0));
    pair.client.local_gone(LocalId(0), pair.now);
    pair.client.local_gone(LocalId(0), pair.now);
    pair.step();
    let code = PathErrorCode::PATH_UNSTABLE_OR_POOR;
    for path in [proven, unproven] {
        assert!(pair.saw(&Event::PathAbandoned { path, code, by_peer: false }), "{:?}", pair.events);
    }
    pair.client().add_local(route(1003));
    pair.settle();
    assert!(pair.server_saw(&Event::PathMigrated(ZERO)), "{:?}", pair.server_events);
    assert!(pair.server_saw(&Event::PathAbandoned { path: proven, code, by_peer: true }));
    assert_eq!(local(&mut pair), LocalId(3));
    assert_eq!(pair.client().path_stats(ZERO).unwrap().stage, PathStage::Open);
}
