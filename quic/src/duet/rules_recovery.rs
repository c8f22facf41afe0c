//! Rules of the draft about acknowledgements, recovery and idle time (MP-280 to MP-312).

use bytes::Bytes;

use super::*;
use crate::id::{Direction, StreamId};
use crate::stats::PathStats;
use crate::wire::packet::PacketKind;

fn push(duet: &mut Duet, from: Role, bytes: usize) -> StreamId {
    let stream = duet.end(from).connection().open_stream(Direction::Unidirectional).unwrap();
    duet.end(from).connection().write(stream, [Bytes::from(vec![1; bytes])]).unwrap();
    stream
}

fn round_robin(count: u32) -> Duet {
    Duet::with_paths_set(count, |client, server| {
        client.scheduler = crate::schedule::SchedulerKind::RoundRobin;
        server.scheduler = crate::schedule::SchedulerKind::RoundRobin;
    })
}

fn stats(end: &mut End, path: u32) -> PathStats {
    end.connection().path_stats(PathId(path)).unwrap()
}

fn is_ack(path: u64) -> impl Fn(&Frame<'static>) -> bool {
    move |frame| matches!(frame, Frame::Ack(ack) if ack.path == path)
}

/// `PATH_ACK` (or with `plain` an ACK) of one packet.
fn ack_of(path: u8, number: u64, plain: bool) -> Vec<u8> {
    let number = [0x40 | (number >> 8) as u8, number as u8, 0, 0, 0];
    if plain { [&[0x02][..], &number].concat() } else { [&[0x3e, path][..], &number].concat() }
}

/// MP-282, MP-283
#[test]
fn an_ack_of_rfc_9000_means_path_0_and_may_be_mixed_with_the_other_form() {
    let mut duet = Duet::with_paths(2);
    duet.server.mute(true);
    for path in [0, 0, 1] {
        duet.client.says(path, &[Frame::Ping]);
    }
    duet.run_for(ms(12));
    let sent: Vec<u64> = duet.client.said_on(0).iter().rev().take(2).map(|packet| packet.number).collect();
    let before = stats(&mut duet.client, 0).in_flight;
    duet.server.says_raw(PacketKind::OneRtt, 1, &ack_of(0, sent[1], true));
    duet.run_for(ms(11));
    let between = stats(&mut duet.client, 0).in_flight;
    duet.server.says_raw(PacketKind::OneRtt, 1, &ack_of(0, sent[0], false));
    duet.server.says_raw(PacketKind::OneRtt, 0, &ack_of(0, sent[0], true));
    duet.run_for(ms(11));
    assert!(before > between && between > 0, "{before} {between}");
    assert_eq!(stats(&mut duet.client, 0).in_flight, 0);
    assert!(stats(&mut duet.client, 1).in_flight > 0, "the other path is not meant");
}

/// MP-284, MP-311
#[test]
fn each_path_has_numbers_of_its_own_from_0_and_equal_ones_are_no_duplicates() {
    let mut duet = Duet::confirmed();
    for _ in 0..400 {
        duet.client.says(0, &[Frame::Ping]);
        duet.run_for(ms(1));
    }
    assert!(duet.client.said_on(0).last().unwrap().number >= 400);
    assert_eq!([duet.open(1), duet.open(2)], [PathId(1), PathId(2)]);
    duet.settle();
    for path in [1, 2] {
        for (from, to) in [(&duet.client, &duet.server), (&duet.server, &duet.client)] {
            assert_eq!(from.said_on(path)[0].number, 0);
            let heard = to.heard.iter().filter(|it| it.path == PathId(path));
            let numbers: Vec<u64> = heard.map(|packet| packet.number).collect();
            assert!(numbers.len() >= 2 && numbers.is_sorted() && numbers[0] == 0, "{numbers:?}");
        }
    }
    // A true copy is one.
    let copy = duet.client.sent.iter().rfind(|it| it.line == Some(1)).unwrap().clone();
    let before = duet.server.heard.len();
    duet.replay(&copy);
    assert_eq!(duet.server.heard.len(), before);
}

/// MP-284, MP-285
#[test]
fn losses_of_one_path_cost_the_others_nothing_and_no_window_is_overdrawn() {
    let mut duet = round_robin(2);
    let mut count = 0;
    duet.filter(move |datagram| {
        count += usize::from(datagram.line == Some(1) && datagram.bytes.len() > 1000);
        if count % 5 == 4 && datagram.line == Some(1) { Verdict::Drop } else { Verdict::Pass }
    });
    let begun = [0, 1].map(|path| stats(&mut duet.client, path).window);
    let stream = push(&mut duet, Role::Client, 200_000);
    let mut got = 0;
    duet.run_until("all of it", |duet| {
        for path in 0..2 {
            let stats = stats(&mut duet.client, path);
            let probes = 2 * 1200;
            assert!(stats.in_flight <= stats.window + probes, "{stats:?}");
        }
        got += duet.server.read(stream).len();
        got == 200_000
    });
    duet.settle();
    let [near, far] = [0, 1].map(|path| stats(&mut duet.client, path));
    assert_eq!(near.packets_lost, 0);
    assert!(near.window >= begun[0] && far.packets_lost > 0 && far.window < near.window);
    assert_eq!(duet.client.connection().stats().packets_lost, far.packets_lost);
}

/// MP-286
#[test]
fn a_path_that_moves_to_another_host_begins_with_a_new_window_and_the_others_keep_theirs() {
    let mut duet = round_robin(2);
    let learned = |duet: &mut Duet| {
        [0, 1].map(|path| {
            let stats = stats(&mut duet.server, path);
            (stats.window, stats.rtt_smoothed)
        })
    };
    let [_, (first_window, _)] = learned(&mut duet);
    let stream = push(&mut duet, Role::Server, 240_000);
    duet.settle();
    assert_eq!(duet.client.read(stream).len(), 240_000);
    let before = learned(&mut duet);
    assert!(before.iter().all(|(window, _)| *window > first_window), "{before:?}, at first {first_window}");
    duet.line(1).outside = "10.77.0.1:5000".parse().unwrap();
    duet.client.says(1, &[Frame::Ping]);
    duet.run_until("it moves", |duet| duet.server.saw(&Event::PathMigrated(PathId(1))));
    assert_eq!(learned(&mut duet), [before[0], (10 * 1200, None)], "RFC 9002 §7.2");
}

/// MP-287, MP-289
#[test]
fn a_sample_is_the_way_there_and_the_way_of_the_acknowledgement() {
    // The draft's figures: terrestrial 50 ms and satellite 300 ms one way.
    for (there, back, milliseconds) in [(0, 0, 100), (1, 0, 350), (0, 1, 350), (1, 1, 600)] {
        let mut duet = Duet::with_paths(2);
        for (line, delay) in [(0, ms(50)), (1, ms(300))] {
            (duet.line(line).up, duet.line(line).down) = (delay, delay);
        }
        duet.server.mute(true);
        duet.client.says(there, &[Frame::Ping]);
        let number = duet.client.said_on(there).last().unwrap().number + 1;
        duet.run_for(if there == 0 { ms(50) } else { ms(300) });
        let before = stats(&mut duet.client, there).rtt_smoothed.unwrap();
        duet.server.says_raw(PacketKind::OneRtt, back, &ack_of(there as u8, number, false));
        duet.run_for(ms(301));
        let after = stats(&mut duet.client, there).rtt_smoothed.unwrap();
        // One sample moves the smoothed one by an eighth of the difference (RFC 9002 §5.3).
        let expected = (before * 7 + ms(milliseconds)) / 8;
        assert!(after.abs_diff(expected) < ms(1), "{there} and back on {back}: {before:?} {after:?}");
    }
}

/// MP-291, MP-292, MP-309
#[test]
fn acknowledgements_return_on_their_own_path_and_wait_for_it_alone() {
    let mut duet = round_robin(3);
    let stream = push(&mut duet, Role::Client, 200_000);
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 200_000);
    for path in 0..3_u32 {
        let packets = duet.server.said_in(is_ack(path.into()));
        assert!(packets.len() > 2 && packets.iter().all(|it| it.path == PathId(path)), "path {path}");
    }
    // One packet on path 1 waits for the delay that was agreed, however busy path 0 is.
    duet.server.forget();
    let begun = duet.now;
    duet.client.says(1, &[Frame::Ping]);
    for _ in 0..10 {
        duet.client.says(0, &[Frame::Ping]);
        duet.client.says(0, &[Frame::Ping]);
        duet.run_for(ms(3));
    }
    duet.run_for(ms(40));
    let [near, far] = [0, 1].map(|path| duet.server.said_in(is_ack(path))[0].at.since(begun));
    assert_eq!((near, far), (ms(10), ms(35)));
}

/// MP-293, MP-302
#[test]
fn paths_without_data_carry_nothing_and_by_default_nothing_keeps_them_alive() {
    let mut duet = Duet::with_paths(3);
    duet.client.connection().set_path_backup(PathId(1), true).unwrap();
    duet.client.connection().set_path_backup(PathId(2), true).unwrap();
    duet.settle();
    duet.server.forget();
    duet.client.forget();
    for _ in 0..8 {
        let stream = push(&mut duet, Role::Server, 200_000);
        duet.run_for(ms(2500));
        assert_eq!(duet.client.read(stream).len(), 200_000);
    }
    for end in [&duet.client, &duet.server] {
        assert!(end.said_on(1).is_empty() && end.said_on(2).is_empty(), "{:?}", end.role);
    }
    assert!(!duet.client.said(|frame| *frame == Frame::Ping) || duet.client.said_on(0).len() > 10);
}

/// MP-295, P-43
#[test]
fn a_probe_timeout_is_the_paths_own_loses_nothing_and_probes_there() {
    let mut duet = round_robin(2);
    duet.line(1).cut_up = true;
    duet.client.forget();
    let stream = push(&mut duet, Role::Client, 50_000);
    duet.run_for(ms(400));
    assert_eq!(duet.server.read(stream).len(), 50_000, "sent again elsewhere");
    let [near, far] = [0, 1].map(|path| stats(&mut duet.client, path));
    assert_eq!((near.probe_timeouts, far.packets_lost, near.packets_lost), (0, 0, 0));
    assert!(far.probe_timeouts >= 1 && far.in_flight > 0);
    let probes = duet.client.said_on(1);
    assert!(probes.len() > 5 && probes.iter().all(|it| it.frames.iter().any(Frame::is_ack_eliciting)));
    let sum: usize = probes.iter().map(|packet| packet.bytes).sum();
    assert_eq!(far.in_flight, sum as u64, "probes count in flight");
}

/// MP-296
#[test]
fn what_was_sent_twice_and_acknowledged_late_counts_once() {
    let mut duet = round_robin(2);
    let acks_of_1 = |datagram: &Datagram| {
        let late = datagram.to == Role::Client && datagram.line == Some(1);
        if late { Verdict::Late(ms(400)) } else { Verdict::Pass }
    };
    duet.filter(acks_of_1);
    let stream = push(&mut duet, Role::Client, 50_000);
    duet.client.connection().finish(stream).unwrap();
    duet.run_for(ms(300));
    assert!(duet.client.saw(&Event::PathSuspect(PathId(1))));
    duet.settle();
    assert_eq!(duet.server.read(stream).len(), 50_000);
    let finished = duet.client.events.iter().filter(|it| **it == Event::Finished(stream)).count();
    assert_eq!(finished, 1);
    for path in 0..2 {
        let stats = stats(&mut duet.client, path);
        assert_eq!((stats.in_flight, stats.packets_lost), (0, 0), "path {path}");
    }
}

/// MP-300, MP-301
#[test]
fn a_connection_is_idle_only_when_all_its_paths_are_and_an_idle_path_stays() {
    let mut duet = Duet::with_paths_set(2, |client, server| {
        (client.idle_timeout, server.idle_timeout) = (ms(3000), ms(3000));
    });
    for _ in 0..10 {
        duet.client.says(1, &[Frame::Ping]);
        duet.run_for(ms(2000));
    }
    assert!(duet.client.is_alive() && duet.server.is_alive());
    assert_eq!(stats(&mut duet.client, 0).stage, crate::PathStage::Open);
    duet.run_for(ms(3100));
    for end in [&duet.client, &duet.server] {
        assert_eq!(end.close_reason(), Some(&CloseReason::IdleTimeout), "{:?}", end.role);
    }
}

/// MP-310, P-02
#[test]
fn packets_for_another_path_behind_or_instead_of_the_handshakes_are_dropped() {
    let mut duet = Duet::with_paths(2);
    let coalesced = duet.server.sent.iter().find(|it| it.packets.len() > 1).unwrap().clone();
    let ids: Vec<_> =
        [0, 1, 3].map(|path| duet.server.path(path).unwrap().remote.current().unwrap()).to_vec();
    duet.client.connection().abandon_path(PathId(1), crate::PathErrorCode::NO_ERROR).unwrap();
    duet.settle();
    let heard = duet.client.heard.len();
    for (id, line) in ids.into_iter().zip([0, 1, 3]) {
        let mut bytes = coalesced.bytes.clone();
        bytes[6..6 + id.len()].copy_from_slice(&id);
        let route = duet.line(line).at_client(line);
        duet.inject(Role::Client, route, &bytes);
        // ... and with a whole short packet behind it.
        let tail = duet.server.sent.iter().rfind(|it| it.line == Some(0)).unwrap().bytes.clone();
        duet.inject(Role::Client, route, &[&bytes[..], &tail[..]].concat());
    }
    assert_eq!(duet.client.heard.len(), heard);
    duet.assert_alive();
}

/// MP-312
#[test]
fn streams_and_their_credit_are_the_connections_whatever_path_brings_them() {
    let mut duet = Duet::with_paths(3);
    let id = StreamId::new(Role::Client, Direction::Unidirectional, 0);
    let piece = |offset, fin| Frame::Stream { id, offset, fin, data: &[7; 4] };
    duet.client.says(2, &[piece(8, true)]);
    duet.client.says(1, &[piece(4, false)]);
    duet.client.says(0, &[piece(0, false), piece(4, false)]);
    duet.run_for(ms(15));
    assert_eq!(duet.server.read(id), [7; 12]);
    // Two paths together exceed what neither does alone.
    let window = TransportConfig::default().connection_window;
    let ids = [1, 2, 3, 4, 5].map(|index| StreamId::new(Role::Client, Direction::Unidirectional, index));
    for (at, id) in ids.into_iter().enumerate() {
        let offset = window / 4 - 1;
        duet.client.says(at as u32 % 3, &[Frame::Stream { id, offset, fin: false, data: &[1] }]);
    }
    duet.assert_closed(Role::Server, TransportErrorCode::FLOW_CONTROL_ERROR);
}

/// P-42
#[test]
fn after_half_a_minute_of_darkness_traffic_is_back_within_seconds() {
    let mut duet = Duet::confirmed_set(|client, server| {
        (client.idle_timeout, server.idle_timeout) = (ms(120_000), ms(120_000));
    });
    let stream = push(&mut duet, Role::Client, 100_000);
    duet.run_for(ms(15));
    duet.cut(0, true);
    duet.run_for(ms(30_000));
    duet.cut(0, false);
    let healed = duet.now;
    let mut got = 0;
    duet.run_until("all of it", |duet| {
        got += duet.server.read(stream).len();
        got == 100_000
    });
    assert!(duet.now.since(healed) < ms(3000), "{:?}", duet.now.since(healed));
}

/// MP-303
#[test]
fn a_path_unused_for_long_is_asked_once_the_other_one_is_doubted_and_tells_where_we_are_now() {
    let mut duet = Duet::with_paths(2);
    for _ in 0..30 {
        for role in [Role::Client, Role::Server] {
            duet.end(role).says(0, &[Frame::Ping]);
        }
        duet.run_for(ms(2000));
    }
    // Meanwhile the other path's NAT forgot it, so the server cannot reach the client there.
    duet.line(1).outside = "10.0.1.1:6000".parse().unwrap();
    duet.client.forget();
    duet.cut(0, true);
    duet.client.says(0, &[Frame::Ping]);
    duet.run_until("doubt", |duet| duet.client.saw(&Event::PathSuspect(PathId::ZERO)));
    let doubted = duet.now;
    duet.run_for(ms(15));
    let first = duet.client.said_on(1)[0];
    assert!(first.at == doubted && first.frames.iter().any(Frame::is_ack_eliciting), "{first:?}");
    assert!(duet.server.saw(&Event::PathMigrated(PathId(1))));
    let stream = push(&mut duet, Role::Server, 50_000);
    duet.settle();
    assert_eq!(duet.client.read(stream).len(), 50_000);
    assert_eq!(stats(&mut duet.client, 1).stage, crate::PathStage::Open);
}

/// P-45, P-47
#[test]
fn an_unused_path_does_not_grow_and_a_full_one_stops_nobody_else() {
    let mut duet = Duet::with_paths(3);
    duet.server.connection().set_path_backup(PathId(2), true).unwrap();
    duet.settle();
    let begun = stats(&mut duet.client, 2).window;
    // Nothing on path 0 is acknowledged: its window fills.
    duet.line(0).down = ms(900);
    duet.client.forget();
    let stream = push(&mut duet, Role::Client, 250_000);
    let mut got = 0;
    duet.run_until("all of it", |duet| {
        got += duet.server.read(stream).len();
        got == 250_000
    });
    assert!(duet.client.said_on(1).len() > 50, "path 1 goes on");
    assert_eq!(stats(&mut duet.client, 2).window, begun);
}
