//! Datagram sizes and trains on whole connections: what is probed, what is found, and what happens when large datagrams
//! or all but the first of a train vanish. The rules themselves are tested in `path/mtu`, `path/trains`, `path/doubt`.

use bytes::Bytes;

use crate::base::time::Instant;
use crate::config::TransportConfig;
use crate::duet::{Datagram, Duet, End, Verdict, ms};
use crate::event::Event;
use crate::id::{Direction, PathId, Role, StreamId};
use crate::schedule::SchedulerKind;
use crate::stats::PathStats;
use crate::stream::{DatagramOptions, SendDatagramError};
use crate::wire::frame::Frame;

/// A wire that carries datagrams of at most `most` bytes.
fn carries(most: usize) -> impl FnMut(&Datagram) -> Verdict {
    move |datagram| if datagram.bytes.len() > most { Verdict::Drop } else { Verdict::Pass }
}

fn stats(end: &mut End, path: u32) -> PathStats {
    end.connection().path_stats(PathId(path)).unwrap()
}

fn sizes(end: &End) -> Vec<usize> {
    end.sent.iter().map(|datagram| datagram.bytes.len()).collect()
}

/// The client sends `bytes` on a new stream.
fn send(duet: &mut Duet, bytes: usize) -> StreamId {
    let stream = duet.client.connection().open_stream(Direction::Bidirectional).unwrap();
    let data: Vec<u8> = (0..bytes as u32).map(|n| (n >> 3) as u8).collect();
    assert_eq!(duet.client.connection().write(stream, [Bytes::from(data)]), Ok(bytes as u64));
    stream
}

/// Runs until the server has read `bytes` of `stream`.
fn arrive(duet: &mut Duet, stream: StreamId, bytes: usize) {
    let mut got = Vec::new();
    duet.run_until("all bytes arrive", |duet| {
        if duet.server.saw(&Event::StreamOpened(stream)) {
            got.extend(duet.server.read(stream));
        }
        got.len() == bytes
    });
    assert!(got.iter().enumerate().all(|(n, byte)| *byte == (n as u32 >> 3) as u8));
}

fn transfer(duet: &mut Duet, bytes: usize) {
    let stream = send(duet, bytes);
    arrive(duet, stream, bytes);
}

/// All but the last datagram of each train have the same size, and the last is not larger (no train mixes sizes).
fn assert_even_trains(end: &End) {
    let mut first = 0;
    for datagram in &end.sent {
        let (at, count) = datagram.segment;
        first = if at == 0 { datagram.bytes.len() } else { first };
        let even = if at + 1 < count { datagram.bytes.len() == first } else { datagram.bytes.len() <= first };
        assert!(even, "segment {at} of {count}: {} after {first}", datagram.bytes.len());
    }
}

#[test]
fn both_ends_find_what_ethernet_carries_with_one_probe_each() {
    let mut duet = Duet::confirmed();
    for role in [Role::Client, Role::Server] {
        let end = duet.end(role);
        assert!(end.saw(&Event::PathMtu { path: PathId::ZERO, bytes: 1452 }), "{:?}", end.events);
        assert_eq!(stats(end, 0).mtu, 1452);
        let large: Vec<_> = end.sent.iter().filter(|it| it.bytes.len() > 1200).collect();
        assert_eq!(large.len(), 1);
        assert_eq!((large[0].bytes.len(), large[0].segment), (1452, (0, 1)), "alone in its datagram");
        let frames: Vec<_> = large[0].frames().filter(|frame| !matches!(frame, Frame::Padding)).collect();
        assert_eq!(frames, [&Frame::Ping], "RFC 9000 §14.4");
    }
}

#[test]
fn probes_that_are_lost_cost_no_window_no_repeat_and_no_trust() {
    let mut duet = Duet::new();
    duet.filter(carries(1400));
    duet.settle();
    transfer(&mut duet, 100_000);
    duet.run_for(ms(20_000));
    for role in [Role::Client, Role::Server] {
        let end = duet.end(role);
        assert!(end.saw(&Event::PathMtu { path: PathId::ZERO, bytes: 1392 }), "{:?}", end.events);
        let stats = stats(end, 0);
        assert_eq!((stats.mtu, stats.packets_lost, stats.suspected, stats.black_holes), (1392, 0, 0, 0));
        assert_eq!((stats.probe_timeouts, stats.in_flight), (0, 0), "{role:?}");
        let probes = sizes(end).into_iter().filter(|&size| size > 1392).collect::<Vec<_>>();
        assert_eq!(probes, [1452, 1452, 1452, 1432, 1432, 1432, 1412, 1412, 1412]);
    }
    assert_even_trains(&duet.client);
}

#[test]
fn a_connection_at_rest_ends_its_search_and_is_quiet() {
    let mut duet = Duet::new_set(|client, server| {
        (client.idle_timeout, server.idle_timeout) = (ms(0), ms(0));
    });
    duet.filter(carries(1400));
    duet.run_for(ms(30_000));
    assert_eq!(stats(&mut duet.client, 0).mtu, 1392);
    duet.client.forget();
    duet.run_for(ms(3_600_000));
    assert_eq!(sizes(&duet.client), [] as [usize; 0], "no timer wakes it");
    duet.client.says(0, &[Frame::Ping]);
    duet.run_for(ms(10_000));
    assert!(sizes(&duet.client).contains(&1452), "with what leaves next it looks again");
}

/// P-50
#[test]
fn each_path_has_its_own_size() {
    // MP-298, and pitfall 50 of the field: discovery on path 0 alone, and its size for all.
    let mut duet = Duet::new();
    duet.filter(|datagram| {
        let most = if datagram.line == Some(1) { 1300 } else { 1500 };
        if datagram.bytes.len() > most { Verdict::Drop } else { Verdict::Pass }
    });
    duet.settle();
    assert_eq!(duet.open(1), PathId(1));
    duet.run_for(ms(10_000));
    for role in [Role::Client, Role::Server] {
        let end = duet.end(role);
        assert_eq!((stats(end, 0).mtu, stats(end, 1).mtu), (1452, 1232));
        assert!(end.saw(&Event::PathMtu { path: PathId(1), bytes: 1232 }));
    }
    // MP-294: what the large path loses is framed anew for the small one.
    duet.client.forget();
    let stream = send(&mut duet, 300_000);
    duet.run_for(ms(15));
    duet.cut(0, true);
    arrive(&mut duet, stream, 300_000);
    let on = |line| duet.client.sent.iter().filter(move |it| it.line == Some(line)).map(|it| it.bytes.len());
    assert_eq!((on(0).max(), on(1).max()), (Some(1452), Some(1232)));
    assert_even_trains(&duet.client);
}

/// P-50
#[test]
fn what_datagrams_may_have_is_what_every_path_carries_and_the_least_there_is_when_all_paths_are_gone() {
    let taking = |config: &mut TransportConfig| config.datagram_receive_max = u16::MAX;
    let mut duet = Duet::new_set(|client, server| {
        taking(client);
        taking(server);
    });
    duet.filter(|it| if it.line == Some(1) && it.bytes.len() > 1300 { Verdict::Drop } else { Verdict::Pass });
    duet.settle();
    let large = duet.client.connection().datagram_max().unwrap();
    duet.open(1);
    duet.run_for(ms(10_000));
    let small = duet.client.connection().datagram_max().unwrap();
    assert_eq!(large - small, 1452 - 1232, "the smaller path's");
    duet.open(2);
    duet.run_for(ms(2));
    duet.cut(2, true);
    duet.server.says(0, &[Frame::PathAbandon { path: 0, code: 0 }]);
    duet.run_for(ms(15));
    assert_eq!(duet.client.connection().datagram_max(), Some(small));
    duet.server.says(1, &[Frame::PathAbandon { path: 1, code: 0 }]);
    duet.run_for(ms(15));
    let least = duet.client.connection().datagram_max().unwrap();
    assert_eq!(least, 1200 - (1 + 20 + 4) - 16 - 1, "with the longest connection ID");
    let mut send = |bytes: usize| {
        duet.client.connection().send_datagram(Bytes::from(vec![1; bytes]), DatagramOptions::default())
    };
    assert_eq!(send(least + 1), Err(SendDatagramError::TooLarge { max: least }));
    assert!(send(least).is_ok());
    duet.cut(2, false);
    duet.settle();
    assert_eq!(duet.server.connection().recv_datagram().map(|bytes| bytes.len()), Some(least));
}

#[test]
fn large_datagrams_that_vanish_in_a_transfer_bring_the_size_down_and_the_data_through() {
    let mut duet = Duet::confirmed();
    let stream = send(&mut duet, 3_000_000);
    duet.run_for(ms(45));
    let begin = duet.now;
    duet.filter(carries(1300));
    arrive(&mut duet, stream, 3_000_000);
    let stats = stats(&mut duet.client, 0);
    assert_eq!((stats.mtu, stats.black_holes, stats.train_holes), (1200, 1, 0), "{stats:?}");
    assert!(duet.client.saw(&Event::PathMtu { path: PathId::ZERO, bytes: 1200 }));
    assert!(duet.now.since(begin) < ms(3000), "{:?}", duet.now.since(begin));
    assert_even_trains(&duet.client);
    // A minute later it looks again and finds less than before.
    duet.run_for(ms(20_000));
    duet.client.forget();
    for _ in 0..20 {
        duet.client.says(0, &[Frame::Ping]);
        duet.run_for(ms(4_000));
    }
    assert_eq!(self::stats(&mut duet.client, 0).mtu, 1232);
    duet.assert_alive();
}

#[test]
fn an_outage_is_no_black_hole() {
    let mut duet = Duet::confirmed();
    let stream = send(&mut duet, 2_000_000);
    for _ in 0..5 {
        duet.run_for(ms(200));
        duet.cut(0, true);
        duet.run_for(ms(400));
        duet.cut(0, false);
    }
    arrive(&mut duet, stream, 2_000_000);
    let stats = stats(&mut duet.client, 0);
    assert_eq!((stats.mtu, stats.black_holes, stats.train_holes), (1452, 0, 0), "{stats:?}");
}

#[test]
fn a_starting_size_that_the_path_does_not_carry_does_no_lasting_harm() {
    let large = |config: &mut TransportConfig| config.datagram_size = 1452;
    let mut duet = Duet::new_set(|client, server| {
        large(client);
        large(server);
    });
    duet.filter(carries(1300));
    transfer_from_the_start(&mut duet);
    assert_eq!(stats(&mut duet.client, 0).mtu, 1200);
}

fn transfer_from_the_start(duet: &mut Duet) {
    duet.run_until("a handshake of small datagrams", |duet| duet.client.saw(&Event::Confirmed));
    transfer(duet, 500_000);
}

#[test]
fn what_the_interface_refuses_is_known_at_once() {
    let mut duet = Duet::new_set(|client, _| (client.datagram_size, client.datagram_size_max) = (1452, 9000));
    duet.client.takes_bytes = 1400;
    transfer_from_the_start(&mut duet);
    duet.settle();
    let stats = stats(&mut duet.client, 0);
    assert_eq!((stats.mtu, stats.black_holes), (1392, 0), "{stats:?}");
    assert_eq!(stats.in_flight, 0, "refused probes leave the books");
}

#[test]
fn a_refused_probe_costs_no_round_trip() {
    let mut duet = Duet::new_set(|client, _| client.datagram_size_max = 65_507);
    duet.client.takes_bytes = 1472;
    duet.run_until("the handshake", |duet| duet.client.saw(&Event::Confirmed));
    let begin = duet.now;
    duet.run_until("the size", |duet| stats(&mut duet.client, 0).mtu == 1472);
    assert!(duet.now.since(begin) <= ms(100), "two probes that arrived: {:?}", duet.now.since(begin));
}

#[test]
fn with_discovery_off_nothing_larger_leaves() {
    for most in [0, 1200] {
        let mut duet = Duet::confirmed_set(|client, server| {
            (client.datagram_size_max, server.datagram_size_max) = (most, most);
        });
        transfer(&mut duet, 100_000);
        assert!(sizes(&duet.client).iter().chain(&sizes(&duet.server)).all(|&size| size <= 1200));
    }
}

#[test]
fn paths_that_are_suspect_backups_or_given_up_are_not_probed() {
    // MP-178
    let mut duet = Duet::new();
    duet.filter(|it| if it.line == Some(1) && it.bytes.len() > 1200 { Verdict::Drop } else { Verdict::Pass });
    duet.settle();
    let path = duet.open(1);
    duet.run_until("validation", |duet| duet.client.saw(&Event::PathValidated(path)));
    duet.client.connection().set_path_backup(path, true).unwrap();
    duet.run_for(ms(300));
    let probes = |duet: &Duet| {
        let large = |it: &&Datagram| it.line == Some(1) && it.bytes.len() > 1200;
        duet.client.sent.iter().filter(large).count()
    };
    let before = probes(&duet);
    assert!(before <= 2, "{before}");
    duet.run_for(ms(10_000));
    assert_eq!(probes(&duet), before, "a backup");
    duet.client.connection().set_path_backup(path, false).unwrap();
    duet.run_for(ms(100));
    let before = probes(&duet);
    duet.line(1).cut_down = true;
    duet.client.says(1, &[Frame::Ping]);
    duet.run_until("suspicion", |duet| duet.client.saw(&Event::PathSuspect(path)));
    let before = before.max(probes(&duet));
    duet.run_for(ms(5_000));
    assert_eq!(probes(&duet), before, "suspect");
    let code = crate::error::PathErrorCode::NO_ERROR;
    duet.client.connection().abandon_path(path, code).unwrap();
    duet.run_for(ms(5_000));
    assert_eq!(probes(&duet), before, "given up");
}

#[test]
fn a_path_that_moves_to_another_address_looks_afresh_and_another_port_changes_nothing() {
    // MP-118
    let mut duet = Duet::confirmed();
    duet.server.forget();
    duet.line(0).outside.set_port(6000);
    transfer(&mut duet, 10_000);
    duet.settle();
    assert_eq!(stats(&mut duet.server, 0).mtu, 1452);
    assert!(!sizes(&duet.server).contains(&1452), "known already");
    duet.line(0).outside = "10.77.0.1:6000".parse().unwrap();
    duet.filter(carries(1300));
    transfer(&mut duet, 10_000);
    duet.run_for(ms(10_000));
    let stats = stats(&mut duet.server, 0);
    assert_eq!((stats.mtu, stats.in_flight), (1232, 0));
}

/// A network card that spoils trains: of each only the first `whole` datagrams get through.
fn spoils_trains(whole: usize) -> impl FnMut(&Datagram) -> Verdict {
    move |datagram| match datagram.segment {
        (at, count) if count > 1 && at >= whole => Verdict::Drop,
        _ => Verdict::Pass,
    }
}

#[test]
fn trains_that_are_spoiled_without_a_word_are_given_up_and_the_size_is_kept() {
    for whole in [1, 0] {
        let mut duet = Duet::confirmed();
        duet.filter(spoils_trains(whole));
        let begin = duet.now;
        transfer(&mut duet, 2_000_000);
        let stats = stats(&mut duet.client, 0);
        assert_eq!((stats.train_holes, stats.black_holes, stats.mtu), (1, 0, 1452), "{stats:?}");
        assert!(duet.now.since(begin) < ms(10_000), "{:?}", duet.now.since(begin));
        duet.client.forget();
        transfer(&mut duet, 200_000);
        assert!(duet.client.sent.iter().all(|it| it.segment.1 == 1), "single datagrams for a minute");
        duet.unfilter();
        let ahead: Instant = duet.now + ms(60_000);
        while duet.now < ahead {
            duet.client.says(0, &[Frame::Ping]);
            duet.run_for(ms(5_000));
        }
        duet.client.forget();
        transfer(&mut duet, 200_000);
        assert!(duet.client.sent.iter().any(|it| it.segment.1 > 1), "then trains are tried again");
        assert_eq!(self::stats(&mut duet.client, 0).train_holes, 1);
    }
}

#[test]
fn on_one_of_two_paths_spoiled_trains_are_given_up_for_that_path_alone() {
    let mut duet = Duet::with_paths_set(2, |client, _| client.scheduler = SchedulerKind::RoundRobin);
    duet.filter(|datagram| match (datagram.line, datagram.segment) {
        (Some(1), (at, count)) if count > 1 && at > 0 => Verdict::Drop,
        _ => Verdict::Pass,
    });
    transfer(&mut duet, 3_000_000);
    assert_eq!(stats(&mut duet.client, 0).train_holes, 0);
    assert_eq!(stats(&mut duet.client, 1).train_holes, 1);
}
