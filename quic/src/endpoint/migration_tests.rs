//! Paths that move: rebinding, attackers who copy datagrams, and a client that changes its interface (RFC 9000 §9).

use std::net::SocketAddr;

use bytes::Bytes;

use super::pair::{Pair, Wire, route};
use super::*;
use crate::base::address::LocalId;
use crate::config::TransportConfig;
use crate::connection::PathError;
use crate::datagram::Fate;
use crate::id::{Direction, PathId, StreamId};
use crate::stats::{PathStage, PathStats};

const ZERO: PathId = PathId::ZERO;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Both ends are through with the handshake and quiet.
fn confirmed() -> Pair {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    assert!(pair.saw(&Event::Confirmed));
    pair
}

fn server_stats(pair: &mut Pair, path: PathId) -> PathStats {
    let (key, now) = (pair.server_key(), pair.now);
    pair.server.connection(key, now).unwrap().path_stats(path).unwrap()
}

fn ask(pair: &mut Pair, bytes: usize) -> StreamId {
    let mut client = pair.client();
    let stream = client.open_stream(Direction::Bidirectional).unwrap();
    client.write(stream, [Bytes::from(vec![7; bytes])]).unwrap();
    client.finish(stream).unwrap();
    stream
}

/// Bytes of `stream` that the server can read until its end, or until nothing more comes.
fn arrived(pair: &mut Pair, stream: StreamId) -> usize {
    let mut total = 0;
    for _ in 0..5000 {
        let (bytes, fin) = pair.read_at_server(stream);
        assert!(bytes.iter().all(|&byte| byte == 7));
        total += bytes.len();
        if fin {
            break;
        }
        pair.step();
    }
    total
}

#[test]
fn a_new_port_moves_the_path_and_keeps_what_was_learned() {
    let mut pair = confirmed();
    let stream = ask(&mut pair, 300_000);
    (0..6).for_each(|_| {
        pair.step();
    });
    let before = server_stats(&mut pair, ZERO);
    let moved_to = address("127.0.0.1:5555");
    pair.outer.insert(LocalId(0), moved_to);
    assert_eq!(arrived(&mut pair, stream), 300_000);
    pair.settle();
    assert!(pair.server_saw(&Event::PathMigrated(ZERO)) && pair.server_saw(&Event::PathValidated(ZERO)));
    let after = server_stats(&mut pair, ZERO);
    assert_eq!(after.route.remote(), moved_to);
    assert_eq!(after.rtt_min, before.rtt_min, "a port leaves the way as it is");
    assert_eq!(after.in_flight, 0);
}

/// MP-118
#[test]
fn a_new_host_begins_anew_and_old_losses_do_not_count_against_it() {
    // P-10: packets in flight at the move are acknowledged or lost later; no counter underflows (audits run).
    let mut pair = confirmed();
    let stream = ask(&mut pair, 300_000);
    (0..6).for_each(|_| {
        pair.step();
    });
    let (key, now) = (pair.server_key(), pair.now);
    let mut server = pair.server.connection(key, now).unwrap();
    let push = server.open_stream(Direction::Unidirectional).unwrap();
    server.write(push, [Bytes::from(vec![9; 200_000])]).unwrap();
    drop(server);
    pair.step();
    pair.outer.insert(LocalId(0), address("127.0.0.99:1000"));
    pair.step();
    let moved = server_stats(&mut pair, ZERO);
    assert_eq!(moved.route.remote(), address("127.0.0.99:1000"));
    assert_eq!(moved.rtt_smoothed, None, "nothing is known of this way");
    assert_eq!(arrived(&mut pair, stream), 300_000);
    (0..2000).for_each(|_| {
        pair.step();
    });
    assert_eq!(server_stats(&mut pair, ZERO).in_flight, 0);
}

#[test]
fn an_address_that_does_not_answer_gets_three_times_what_it_sent_and_loses_the_path() {
    let mut pair = confirmed();
    let thief = address("127.0.0.66:6666");
    pair.copies_from = Some(thief);
    let stream = ask(&mut pair, 100);
    pair.step();
    // The client falls silent, so nothing contradicts the copy at first.
    pair.copies_from = None;
    let (key, now) = (pair.server_key(), pair.now);
    pair.server.connection(key, now).unwrap().write(stream, [Bytes::from(vec![1; 200_000])]).unwrap();
    pair.settle();
    assert_eq!(server_stats(&mut pair, ZERO).route.remote(), address("127.0.0.1:1000"));
    assert!(pair.sent_to[&thief] <= 9, "{:?}", pair.sent_to);
    assert!(!pair.server_events.iter().any(|(_, event)| matches!(event, Event::Closed(_))));
}

#[test]
fn somebody_who_sends_on_faster_does_not_steal_the_path() {
    // RFC 9000 §9.3.3: the address left is asked, and the client's answer from there moves the path back. (P-54, MP-118)
    let mut pair = confirmed();
    let thief = address("127.0.0.66:6666");
    pair.copies_from = Some(thief);
    let stream = ask(&mut pair, 2_000_000);
    (0..50).for_each(|_| {
        pair.step();
    });
    assert!(pair.server_saw(&Event::PathMigrated(ZERO)));
    pair.copies_from = None;
    assert_eq!(arrived(&mut pair, stream), 2_000_000);
    pair.settle();
    assert_eq!(server_stats(&mut pair, ZERO).route.remote(), address("127.0.0.1:1000"));
}

#[test]
fn each_path_moves_alone() {
    // MP-116, MP-117
    let mut pair = confirmed();
    let second = pair.client().open_path(route(1001)).unwrap();
    pair.settle();
    pair.outer.insert(LocalId(1), address("127.0.0.77:1001"));
    ask(&mut pair, 50_000);
    pair.client().set_path_backup(ZERO, true).unwrap();
    pair.settle();
    ask(&mut pair, 50_000);
    pair.settle();
    assert!(pair.server_saw(&Event::PathMigrated(second)) && !pair.server_saw(&Event::PathMigrated(ZERO)));
    assert_eq!(server_stats(&mut pair, second).route.remote(), address("127.0.0.77:1001"));
    assert_eq!(server_stats(&mut pair, ZERO).route.remote(), address("127.0.0.1:1000"));
}

#[test]
fn a_client_moves_its_path_after_it_tried_the_way() {
    let mut pair = confirmed();
    let stream = ask(&mut pair, 500_000);
    (0..10).for_each(|_| {
        pair.step();
    });
    pair.client().migrate_path(ZERO, route(1002)).unwrap();
    assert_eq!(arrived(&mut pair, stream), 500_000);
    pair.settle();
    assert!(pair.saw(&Event::PathMigrated(ZERO)) && pair.server_saw(&Event::PathMigrated(ZERO)));
    assert_eq!(pair.client().path_stats(ZERO).unwrap().route, route(1002));
    assert_eq!(server_stats(&mut pair, ZERO).route.remote(), address("127.0.0.1:1002"));
}

#[test]
fn a_way_that_does_not_work_is_not_taken() {
    let mut pair = confirmed();
    // What the server answers to socket 3 finds nobody: socket 2 is behind the same address and does not know it.
    pair.outer.insert(LocalId(3), address("127.0.0.1:9000"));
    pair.outer.insert(LocalId(2), address("127.0.0.1:9000"));
    pair.client().migrate_path(ZERO, route(1003)).unwrap();
    let stream = ask(&mut pair, 1000);
    (0..4000).for_each(|_| {
        pair.step();
    });
    assert!(pair.saw(&Event::PathMigrationFailed(ZERO)));
    assert!(!pair.server_saw(&Event::PathMigrated(ZERO)), "probes move nothing");
    assert_eq!(pair.client().path_stats(ZERO).unwrap().route, route(1000));
    assert_eq!(arrived(&mut pair, stream), 1000);
}

#[test]
fn servers_cannot_move_paths() {
    let mut pair = confirmed();
    let (key, now) = (pair.server_key(), pair.now);
    let refused = pair.server.connection(key, now).unwrap().migrate_path(ZERO, route(1));
    assert_eq!(refused, Err(PathError::ServerCannotMigrate));
}

#[test]
fn what_became_of_a_train_says_nothing_of_a_way_that_the_path_took_later() {
    let mut pair = confirmed();
    pair.client().open_path(route(1001)).unwrap();
    pair.settle();
    pair.client().set_path_backup(PathId(1), true).unwrap();
    pair.settle();
    ask(&mut pair, 1000);
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    let train = wire.sent.iter().find(|(train, _)| train.local_id == LocalId(0)).unwrap().0;
    pair.client().migrate_path(ZERO, route(1002)).unwrap();
    pair.settle();
    assert!(pair.saw(&Event::PathMigrated(ZERO)));
    assert_eq!(pair.client().path_stats(ZERO).unwrap().stage, PathStage::Open);
    pair.client.on_fate(train.tag, Fate::Unreachable, pair.now);
    assert_eq!(pair.client().path_stats(ZERO).unwrap().stage, PathStage::Open);
}
