//! Two endpoints joined by a wire without delay: what a whole connection does, told in short stories. Loss, delay and
//! everything random is the simulator's.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, Wire, received, route};
use super::*;
use crate::base::address::LocalId;
use crate::config::TransportConfig;
use crate::crypto::fixture::server_tls;
use crate::datagram::Received;
use crate::error::{CloseReason, PathErrorCode};
use crate::id::{Direction, PathId};
use crate::path::set::OpenPathError;

#[test]
fn a_handshake_is_confirmed_and_leaves_no_scaffolding() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    assert!(pair.saw(&Event::Connected { multipath: true }), "{:?}", pair.events);
    assert!(pair.saw(&Event::Confirmed));
    assert!(pair.server_saw(&Event::Confirmed));
    assert_eq!(pair.server.stats().handshakes, 0);
    assert_eq!(pair.client().alpn(), Some(&b"perf"[..]));
}

#[test]
fn bytes_go_both_ways_and_streams_end() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    let data: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    assert_eq!(pair.client().write(stream, [Bytes::from(data.clone())]), Ok(300_000));
    pair.client().finish(stream).unwrap();
    let (mut got, mut fin) = (Vec::new(), false);
    for _ in 0..300 {
        pair.step();
        if pair.server_saw(&Event::StreamOpened(stream)) && !fin {
            let (more, end) = pair.read_at_server(stream);
            got.extend(more);
            fin = end;
        }
    }
    assert!(got == data, "{} bytes", got.len());
    assert!(fin);
    assert!(pair.saw(&Event::Finished(stream)));
}

#[test]
fn four_paths_open_and_carry_data() {
    let mut pair = Pair::new(TransportConfig {
        scheduler: crate::schedule::SchedulerKind::RoundRobin,
        ..TransportConfig::default()
    });
    pair.settle();
    for port in 1001..1004 {
        pair.client().open_path(route(port)).unwrap();
    }
    pair.settle();
    for id in 1..4 {
        assert!(pair.saw(&Event::PathValidated(PathId(id))), "{:?}", pair.events);
        assert!(pair.server_saw(&Event::PathValidated(PathId(id))));
    }
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    pair.client().write(stream, [Bytes::from(vec![7; 200_000])]).unwrap();
    pair.settle();
    for id in 0..4 {
        let stats = pair.client().path_stats(PathId(id)).unwrap();
        assert!(stats.stream_bytes_sent > 20_000, "{stats:?}");
    }
    assert_eq!(pair.read_at_server(stream).0.len(), 200_000);
}

/// MP-176, MP-124
#[test]
fn a_path_given_up_is_gone_on_both_sides_and_its_id_is_not_used_again() {
    let mut pair = Pair::new(TransportConfig { max_paths: 2, ..TransportConfig::default() });
    pair.settle();
    let first = pair.client().open_path(route(1001)).unwrap();
    pair.settle();
    assert_eq!(pair.client().open_path(route(1002)), Err(OpenPathError::OwnLimit));
    pair.client().abandon_path(first, PathErrorCode::APPLICATION_ABANDON_PATH).unwrap();
    for _ in 0..3000 {
        pair.step();
    }
    assert!(pair.saw_closed(first), "{:?}", pair.events);
    assert!(pair.server_saw_closed(first), "{:?}", pair.server_events);
    let second = pair.client().open_path(route(1002)).unwrap();
    assert_eq!(second, PathId(2));
    pair.settle();
    assert!(pair.saw(&Event::PathValidated(second)));
}

/// MP-179, MP-100
#[test]
fn the_last_path_is_not_given_up_and_servers_open_none() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let code = PathErrorCode::NO_ERROR;
    assert_eq!(pair.client().abandon_path(PathId(0), code), Err(crate::connection::PathError::LastPath));
    let (key, now) = (pair.server_key(), pair.now);
    let mut server = pair.server.connection(key, now).unwrap();
    assert_eq!(server.open_path(route(1001)), Err(OpenPathError::ServerCannotOpen));
}

#[test]
fn keys_are_updated_on_request_and_data_still_flows() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    for round in 0..3_u8 {
        pair.client().update_keys().unwrap();
        pair.client().write(stream, [Bytes::from(vec![round; 5000])]).unwrap();
        pair.settle();
    }
    assert_eq!(pair.read_at_server(stream).0.len(), 15_000);
    assert_eq!(pair.client().stats().key_updates, 3);
}

#[test]
fn the_close_and_its_words_arrive() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    pair.client().close(77, b"enough");
    for _ in 0..3000 {
        pair.step();
    }
    let reason = CloseReason::PeerApplication { code: 77, reason: b"enough".to_vec() };
    assert!(pair.server_saw(&Event::Closed(reason)), "{:?}", pair.server_events);
    assert!(pair.server_saw(&Event::Gone));
    assert!(pair.saw(&Event::Gone));
    assert_eq!((pair.client.connections().count(), pair.server.connections().count()), (0, 0));
}

#[test]
fn silence_ends_a_connection() {
    let mut pair =
        Pair::new(TransportConfig { idle_timeout: Duration::from_secs(2), ..TransportConfig::default() });
    pair.settle();
    for _ in 0..3000 {
        pair.step();
    }
    assert!(pair.saw(&Event::Closed(CloseReason::IdleTimeout)), "{:?}", pair.events);
    assert!(pair.server_saw(&Event::Closed(CloseReason::IdleTimeout)));
}

#[test]
fn keep_alive_prevents_that() {
    let mut pair = Pair::new(TransportConfig {
        idle_timeout: Duration::from_secs(2),
        keep_alive: Some(Duration::from_millis(500)),
        ..TransportConfig::default()
    });
    for _ in 0..5000 {
        pair.step();
    }
    assert!(!pair.events.iter().any(|event| matches!(event, Event::Closed(_))), "{:?}", pair.events);
}

#[test]
fn a_version_nobody_speaks_is_answered_with_ours() {
    let mut pair = Pair::new(TransportConfig::default());
    let mut datagram = vec![0xc0, 0xba, 0xba, 0xba, 0xba, 8, 1, 1, 1, 1, 1, 1, 1, 1, 4, 2, 2, 2, 2];
    datagram.resize(1200, 0);
    let route = RouteId::new(LocalId(0), "127.0.0.1:443".parse().unwrap(), "127.0.0.9:9".parse().unwrap());
    let received =
        Received { bytes: &mut datagram, segment_size: 1200, route, ecn: crate::base::address::Ecn::NotEct };
    pair.server.receive(received, pair.now);
    let mut wire = Wire::default();
    pair.server.transmit(&mut wire, pair.now);
    let (train, bytes) = &wire.sent[0];
    assert_eq!(train.remote, route.remote());
    assert_eq!(bytes[1..5], [0; 4]);
    assert_eq!(bytes[5..10], [4, 2, 2, 2, 2]);
    assert!(bytes.chunks(4).count() > 0 && bytes.windows(4).any(|window| window == [0, 0, 0, 1]));
}

#[test]
fn a_stranger_is_reset_with_a_smaller_packet_and_a_client_believes_a_true_reset() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let key = pair.server_key();
    // The server forgets everything, as after a crash; its keys are the same.
    let mut config = EndpointConfig::new([1; 16], [2; 32]);
    config.server = Some(server_tls());
    pair.server = Endpoint::new(config, [5; 32]);
    let _ = key;
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    pair.client().write(stream, [Bytes::from_static(&[1; 500])]).unwrap();
    pair.settle();
    assert!(pair.saw(&Event::Closed(CloseReason::StatelessReset)), "{:?}", pair.events);
    assert!(pair.server.stats().stateless_resets > 0);
}

/// MP-017
#[test]
fn without_multipath_all_goes_over_one_path() {
    let mut pair = Pair::new(TransportConfig { max_paths: 1, ..TransportConfig::default() });
    pair.settle();
    assert!(pair.saw(&Event::Connected { multipath: false }));
    assert_eq!(pair.client().open_path(route(1001)), Err(OpenPathError::NotNegotiated));
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    pair.client().write(stream, [Bytes::from(vec![1; 50_000])]).unwrap();
    pair.settle();
    assert_eq!(pair.read_at_server(stream).0.len(), 50_000);
}

#[test]
fn handshakes_are_refused_beyond_the_limit() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.server.config.handshakes_max = 0;
    pair.step();
    assert_eq!(pair.server.stats().refused, 1);
    assert_eq!(pair.server.connections().count(), 0);
    assert_eq!(pair.server.cids.sizes().0, 0);
}

#[test]
fn when_both_ends_give_up_different_last_paths_the_connection_ends_and_does_not_hang() {
    // MP-179
    let mut pair = Pair::new(TransportConfig { idle_timeout: Duration::ZERO, ..TransportConfig::default() });
    pair.settle();
    pair.client().open_path(route(1001)).unwrap();
    pair.settle();
    let (key, now) = (pair.server_key(), pair.now);
    pair.server.connection(key, now).unwrap().abandon_path(PathId(1), PathErrorCode::NO_ERROR).unwrap();
    pair.client().abandon_path(PathId(0), PathErrorCode::NO_ERROR).unwrap();
    for _ in 0..3000 {
        pair.step();
    }
    assert!(pair.saw(&Event::Gone), "{:?}", pair.events);
    assert!(pair.server_saw(&Event::Gone), "{:?}", pair.server_events);
}

#[test]
fn a_client_that_closes_before_its_handshake_is_confirmed_is_heard() {
    let mut pair = Pair::new(TransportConfig::default());
    while !pair.saw(&Event::Connected { multipath: true }) {
        assert!(!pair.saw(&Event::Confirmed));
        pair.step();
    }
    pair.client().close(9, b"never mind");
    pair.settle();
    let heard = pair.server_events.iter().any(|(_, event)| matches!(event, Event::Closed(_)));
    assert!(heard, "{:?}", pair.server_events);
}

#[test]
fn datagrams_larger_than_the_first_credit_do_not_delay_a_handshake() {
    for datagram_size in [1200, 3601, 9000, 65_507] {
        let mut pair = Pair::new(TransportConfig { datagram_size, ..TransportConfig::default() });
        let begin = pair.now;
        while !pair.saw(&Event::Confirmed) {
            pair.step();
            assert!(pair.now.since(begin) < Duration::from_millis(50), "{datagram_size}");
        }
    }
}

#[test]
fn a_late_copy_of_the_first_packet_starts_no_second_connection() {
    let mut pair = Pair::new(TransportConfig::default());
    let mut wire = Wire::default();
    pair.client.transmit(&mut wire, pair.now);
    let from_client = RouteId::new(LocalId(0), wire.sent[0].0.remote, "127.0.0.1:1000".parse().unwrap());
    let copy = wire.sent[0].1.clone();
    for (train, mut bytes) in wire.sent {
        pair.server.receive(received(&mut bytes, &train, from_client), pair.now);
    }
    pair.settle();
    assert!(pair.saw(&Event::Confirmed));
    let (mut copy, ecn) = (copy, crate::base::address::Ecn::NotEct);
    let segment_size = copy.len();
    pair.server.receive(Received { bytes: &mut copy, segment_size, route: from_client, ecn }, pair.now);
    assert_eq!(pair.server.stats().accepted, 1);
    assert_eq!(pair.server.connections().count(), 1);
}

/// P-57
#[test]
fn changes_of_mind_about_a_path_do_not_pile_up() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    pair.client().open_path(route(1001)).unwrap();
    pair.settle();
    let mut wire = Wire::default();
    for round in 0..500 {
        pair.client().set_path_backup(PathId(1), round % 2 == 0).unwrap();
        pair.now += Duration::from_millis(1);
        pair.client.on_deadline(pair.now);
        pair.client.transmit(&mut wire, pair.now);
        for (train, mut bytes) in wire.sent.drain(..) {
            let source = std::net::SocketAddr::from(([127, 0, 0, 1], 1000 + train.local_id.0));
            let route = RouteId::new(LocalId(0), train.remote, source);
            pair.server.receive(received(&mut bytes, &train, route), pair.now);
        }
        pair.server.transmit(&mut Wire::default(), pair.now);
    }
    let told = std::iter::from_fn(|| pair.server.next_event());
    let about_it = |event: &Event| matches!(event, Event::PathStatus { path: PathId(1), .. });
    let statuses = told.filter(|(_, event)| about_it(event)).count();
    assert_eq!(statuses, 1, "only the newest advice matters");
}

#[test]
fn timers_that_no_longer_matter_are_weeded_out() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.settle();
    let stream = pair.client().open_stream(Direction::Bidirectional).unwrap();
    for _ in 0..1000 {
        pair.client().write(stream, [Bytes::from_static(b"x")]).unwrap();
        for _ in 0..20 {
            pair.step(); // audits the number of timers
        }
        pair.read_at_server(stream);
    }
}

/// Counts the logs that were opened and those that were withdrawn.
#[derive(Clone, Default)]
struct Logs(std::sync::Arc<std::sync::Mutex<(usize, usize)>>);

impl crate::log::Log for Logs {
    fn record(&mut self, _: Instant, _: &crate::log::Record<'_>) {}

    fn withdraw(&mut self) {
        self.0.lock().unwrap().1 += 1;
    }
}

#[test]
fn strangers_fill_no_logs() {
    let logs = Logs::default();
    let opened = logs.clone();
    let log = crate::log::LogFactory::new(move |_| {
        opened.0.lock().unwrap().0 += 1;
        Some(Box::new(opened.clone()))
    });
    let mut config = EndpointConfig::new([1; 16], [2; 32]);
    config.server = Some(server_tls());
    config.transport = std::sync::Arc::new(TransportConfig { log: Some(log), ..TransportConfig::default() });
    let mut server = Endpoint::new(config, [4; 32]);
    // An Initial packet in form, with a body that no key seals.
    let mut datagram = vec![0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e];
    datagram.resize(1_200, 0x5a);
    let now = Instant::from_nanos(1_000_000_000);
    let (segment_size, ecn) = (datagram.len(), crate::Ecn::NotEct);
    server.receive(Received { bytes: &mut datagram, segment_size, route: route(1000), ecn }, now);
    assert_eq!((server.stats().strays, server.stats().accepted), (1, 0));
    assert_eq!(*logs.0.lock().unwrap(), (1, 1), "opened before it was known, and withdrawn");
}
