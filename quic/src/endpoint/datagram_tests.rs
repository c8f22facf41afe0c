//! Datagrams between two endpoints (RFC 9221): what arrives, what is told, and how they share packets and paths.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, Wire, route};
use super::*;
use crate::config::TransportConfig;
use crate::connection::Leg;
use crate::error::{CloseReason, PathErrorCode, TransportErrorCode};
use crate::id::{Direction, PathId};
use crate::stats::DatagramStats;
use crate::stream::{DatagramId, DatagramOptions, DatagramResult, SendDatagramError};

const REPORT: DatagramOptions = DatagramOptions { on_path: None, lifetime: None, report: true };

fn on_path(id: u32) -> DatagramOptions {
    DatagramOptions { on_path: Some(PathId(id)), ..REPORT }
}

fn taking_datagrams() -> TransportConfig {
    TransportConfig { datagram_receive_max: u16::MAX, datagram_size_max: 0, ..TransportConfig::default() }
}

impl Pair {
    fn connected(transport: TransportConfig) -> Self {
        let mut pair = Self::new(transport);
        pair.settle();
        assert!(pair.saw(&Event::Confirmed));
        pair
    }

    /// Two paths that are open at both ends.
    fn with_two_paths(transport: TransportConfig) -> Self {
        let mut pair = Self::connected(transport);
        pair.client().open_path(route(1001)).unwrap();
        pair.settle();
        assert!(pair.server_saw(&Event::PathValidated(PathId(1))));
        pair
    }

    fn server(&mut self) -> ConnectionGuard<'_> {
        let (key, now) = (self.server_key(), self.now);
        self.server.connection(key, now).unwrap()
    }

    fn send(&mut self, len: usize, options: DatagramOptions) -> Result<DatagramId, SendDatagramError> {
        self.client().send_datagram(Bytes::from(vec![len as u8; len]), options)
    }

    /// The lengths of all datagrams that the server has.
    fn arrived(&mut self) -> Vec<usize> {
        let mut guard = self.server();
        std::iter::from_fn(|| guard.recv_datagram()).map(|bytes| bytes.len()).collect()
    }

    fn results(&mut self) -> Vec<(u64, DatagramResult)> {
        let mut guard = self.client();
        std::iter::from_fn(|| guard.datagram_result()).map(|(id, result)| (id.0, result)).collect()
    }

    /// What the client sends now: the number of packets of each train and their size.
    fn trains(&mut self) -> Vec<(usize, usize)> {
        let mut wire = Wire::default();
        self.client.transmit(&mut wire, self.now);
        wire.sent
            .iter()
            .map(|(train, _)| (train.bytes.div_ceil(train.segment_size), train.segment_size))
            .collect()
    }
}

#[test]
fn datagrams_go_both_ways_and_their_fate_is_told() {
    let mut pair = Pair::connected(taking_datagrams());
    assert_eq!(pair.send(0, REPORT), Ok(DatagramId(0)));
    assert_eq!(pair.send(800, DatagramOptions::default()), Ok(DatagramId(1)));
    assert_eq!(pair.send(900, REPORT), Ok(DatagramId(2)));
    pair.server().send_datagram(Bytes::from_static(b"back"), REPORT).unwrap();
    pair.settle();
    assert!(pair.server_saw(&Event::DatagramReceived) && pair.saw(&Event::DatagramReceived));
    assert!(pair.server_saw(&Event::DatagramsSettled) && pair.saw(&Event::DatagramsSettled));
    assert_eq!(pair.arrived(), [0, 800, 900]);
    assert_eq!(pair.client().recv_datagram().as_deref(), Some(&b"back"[..]));
    assert_eq!(pair.results(), [(0, DatagramResult::Acked), (2, DatagramResult::Acked)]);
    assert_eq!(
        pair.client().stats().datagrams,
        DatagramStats { sent: 3, received: 1, ..DatagramStats::default() }
    );
    assert_eq!(
        pair.server().stats().datagrams,
        DatagramStats { sent: 1, received: 3, ..DatagramStats::default() }
    );
}

#[test]
fn the_largest_datagram_arrives_whatever_else_is_in_the_packet() {
    for datagram_size in [1200, 1452, 9000, 65_507] {
        let mut pair = Pair::connected(TransportConfig { datagram_size, ..taking_datagrams() });
        let max = pair.client().datagram_max().unwrap();
        assert_eq!(max, usize::from(datagram_size) - (1 + 12 + 4 + 16) - 1);
        assert_eq!(pair.send(max + 1, REPORT), Err(SendDatagramError::TooLarge { max }));
        for round in 0..20 {
            // What the server sends asks for an acknowledgement in the same packet.
            pair.server().send_datagram(Bytes::from_static(b"x"), REPORT).unwrap();
            pair.step();
            pair.send(max, REPORT).unwrap();
            pair.step();
            assert_eq!(pair.arrived(), [max], "round {round} of {datagram_size}");
        }
    }
}

#[test]
fn nobody_sends_datagrams_to_a_peer_that_takes_none() {
    let mut pair = Pair::new(TransportConfig::default());
    assert_eq!(pair.send(1, REPORT), Err(SendDatagramError::NotConnected));
    pair.settle();
    assert_eq!(pair.send(1, REPORT), Err(SendDatagramError::Unsupported));
    assert_eq!(pair.client().datagram_max(), None);
    assert_eq!(pair.client().datagram_max_on(PathId(0)), None);
    assert_eq!(pair.send(1, on_path(1)), Err(SendDatagramError::NoSuchPath));
    pair.client().close(0, b"");
    assert_eq!(pair.send(1, REPORT), Err(SendDatagramError::NotConnected));
}

#[test]
fn a_datagram_that_was_not_invited_ends_the_connection() {
    let mut pair = Pair::connected(TransportConfig::default());
    let slot = pair.key.slot as usize;
    pair.client.entries[slot].connection.pretend_datagrams_are_taken();
    pair.send(1, REPORT).unwrap();
    pair.settle();
    let blamed = pair.server_events.iter().find_map(|(_, event)| match event {
        Event::Closed(CloseReason::LocalTransport(error)) => Some((error.code, error.frame_type)),
        _ => None,
    });
    assert_eq!(blamed, Some((TransportErrorCode::PROTOCOL_VIOLATION, 0x31)));
}

#[test]
fn datagrams_of_one_length_leave_in_one_train_whatever_the_length() {
    for len in [100, 700, 1166] {
        let mut pair = Pair::connected(taking_datagrams());
        for _ in 0..8 {
            pair.send(len, REPORT).unwrap();
        }
        let (each, trains) = (1166 / (len + 2), pair.trains());
        assert_eq!(trains.len(), 1, "{len}: {trains:?}");
        assert_eq!(trains[0].0, 8_usize.div_ceil(each.max(1)), "{len}: {trains:?}");
        assert!(trains[0].1 <= 40 + each.max(1) * (len + 3), "{len}: {trains:?}");
    }
}

#[test]
fn streams_and_datagrams_share_packets_and_neither_starves() {
    let mut pair = Pair::connected(taking_datagrams());
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    pair.client().write(stream, [Bytes::from(vec![1; 100_000])]).unwrap();
    let (mut sent, mut read) = (0, 0);
    for round in 0..400 {
        while pair.send(1166, DatagramOptions::default()).is_ok() {
            sent += 1;
        }
        pair.step();
        if pair.server_saw(&Event::StreamOpened(stream)) && round < 300 {
            read += pair.read_at_server(stream).0.len();
        }
    }
    assert_eq!(read, 100_000, "a flood of datagrams lets streams live");
    let received = pair.server().stats().datagrams.received;
    assert!(received > 1000 && sent > received, "{received} of {sent}");
}

#[test]
fn a_bound_datagram_takes_its_path_and_no_stream_data_with_it() {
    let mut pair = Pair::with_two_paths(taking_datagrams());
    pair.client().set_path_backup(PathId(1), true).unwrap();
    pair.server().set_path_backup(PathId(1), true).unwrap();
    pair.settle();
    let before = pair.client().path_stats(PathId(1)).unwrap();
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    pair.client().write(stream, [Bytes::from(vec![1; 50_000])]).unwrap();
    for _ in 0..10 {
        pair.send(500, on_path(1)).unwrap();
    }
    pair.settle();
    let after = pair.client().path_stats(PathId(1)).unwrap();
    assert!(after.bytes_sent - before.bytes_sent >= 5000, "{after:?}");
    assert_eq!(after.stream_bytes_sent, 0);
    assert_eq!((pair.arrived().len(), pair.results().len()), (10, 10));
}

#[test]
fn sizes_follow_the_paths_and_what_no_path_carries_any_more_is_dropped() {
    // MP-299
    let mut pair = Pair::with_two_paths(TransportConfig { datagram_size: 4000, ..taking_datagrams() });
    let small = PathId(1);
    let slot = pair.key.slot as usize;
    let narrow = |pair: &mut Pair, id| {
        let Pair { client, now, .. } = pair;
        let Endpoint { entries, cids, rng, .. } = client;
        let mut turn = Turn { now: *now, slot: slot as u32, cids, rng };
        entries[slot].connection.on_fate(&mut turn, (id, Leg::default()), false, Fate::TooBig);
    };
    narrow(&mut pair, small);
    let max_on = |pair: &mut Pair, id| pair.client().datagram_max_on(PathId(id));
    assert_eq!(
        (max_on(&mut pair, 0), max_on(&mut pair, 1), max_on(&mut pair, 2)),
        (Some(3966), Some(1166), None)
    );
    assert_eq!(pair.client().datagram_max(), Some(1166), "what every path carries");
    assert_eq!(pair.send(3967, REPORT), Err(SendDatagramError::TooLarge { max: 3966 }));
    assert_eq!(pair.send(3000, on_path(1)), Err(SendDatagramError::TooLarge { max: 1166 }));
    pair.send(3966, REPORT).unwrap();
    pair.settle();
    assert_eq!(pair.arrived(), [3966], "it finds the path that carries it");
    pair.send(3966, REPORT).unwrap();
    pair.send(1000, REPORT).unwrap();
    narrow(&mut pair, PathId(0));
    pair.settle();
    assert_eq!(pair.arrived(), [1000]);
    let (all, acked) = (pair.results(), DatagramResult::Acked);
    assert_eq!(all, [(0, acked), (1, DatagramResult::TooLarge), (2, acked)]);
}

#[test]
fn what_is_bound_to_a_path_goes_when_the_path_is_given_up() {
    let mut pair = Pair::with_two_paths(taking_datagrams());
    pair.send(10, on_path(1)).unwrap();
    pair.client().abandon_path(PathId(1), PathErrorCode::APPLICATION_ABANDON_PATH).unwrap();
    assert_eq!(pair.send(10, on_path(1)), Err(SendDatagramError::NoSuchPath));
    pair.settle();
    assert_eq!(pair.results(), [(0, DatagramResult::PathGone)]);
    assert_eq!(pair.arrived(), [0; 0]);
}

#[test]
fn a_datagram_that_could_not_leave_in_time_is_dropped_and_told_of() {
    let mut pair = Pair::connected(taking_datagrams());
    let lifetime = Some(Duration::from_millis(10));
    let mut ids = 0;
    while pair.send(1000, DatagramOptions { lifetime, ..REPORT }).is_ok() {
        ids += 1;
    }
    // Nothing arrives at either end from here on: the window fills and the rest waits.
    for _ in 0..100 {
        pair.trains();
        pair.now += Duration::from_millis(1);
        pair.client.on_deadline(pair.now);
        while pair.client.next_event().is_some() {}
    }
    let expired = pair.results();
    assert!(expired.len() > ids / 2 && expired.len() < ids, "{} of {ids}", expired.len());
    assert!(expired.iter().all(|&(_, result)| result == DatagramResult::Expired));
    assert_eq!(pair.client().stats().datagrams.dropped_unsent, expired.len() as u64);
    assert!(pair.client.deadline().is_some_and(|at| at > pair.now));
}

#[test]
fn a_datagram_that_left_in_time_wakes_nobody_when_its_time_is_over() {
    let mut pair = Pair::new(TransportConfig { datagram_receive_max: 1200, ..TransportConfig::default() });
    pair.settle();
    let lifetime = Some(Duration::from_millis(50));
    let options = DatagramOptions { lifetime, ..DatagramOptions::default() };
    pair.client().send_datagram(Bytes::from_static(b"hello"), options).unwrap();
    pair.settle();
    let now = pair.now;
    pair.client.transmit(&mut Wire::default(), now);
    assert!(pair.client.deadline().is_none_or(|at| at > now), "{:?} at {now:?}", pair.client.deadline());
}
