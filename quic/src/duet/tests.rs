//! The harness itself: does it do what its tests rely on?

use bytes::Bytes;

use super::*;
use crate::id::Direction;
use crate::wire::packet::PacketKind;

#[test]
fn a_duet_opens_paths_and_both_ends_hear_what_the_other_said() {
    let mut duet = Duet::with_paths(3);
    for end in [&duet.client, &duet.server] {
        assert!(end.heard(|frame| matches!(frame, Frame::PathChallenge(_))));
        assert!(end.heard_times(|frame| matches!(frame, Frame::PathResponse(_))) >= 2);
    }
    assert_eq!(duet.server.heard.len(), duet.client.said.len(), "nothing was lost");
    let on_line_2 = duet.line(2).at_server();
    assert!(duet.server.heard.iter().any(|it| it.path == PathId(2) && it.route == Some(on_line_2)));
    duet.assert_alive();
}

#[test]
fn words_put_into_a_mouth_are_heard_and_acknowledged() {
    let mut duet = Duet::with_paths(2);
    duet.server.forget();
    duet.client.forget();
    duet.client.says(1, &[Frame::Ping, Frame::MaxData(7)]);
    duet.settle();
    let heard = duet.server.heard_in(|frame| *frame == Frame::MaxData(7));
    assert_eq!((heard.len(), heard[0].path, heard[0].frames.len()), (1, PathId(1), 2));
    let number = heard[0].number;
    let acked = |frame: &Frame<'static>| match frame {
        Frame::Ack(ack) => ack.path == 1 && ack.ranges().any(|range| range.contains(&number)),
        _ => false,
    };
    assert!(duet.client.heard(acked));
    duet.assert_alive();
}

#[test]
fn nonsense_in_any_packet_is_answered_with_a_close() {
    for (from, kind) in [
        (Role::Client, PacketKind::Initial),
        (Role::Server, PacketKind::Initial),
        (Role::Client, PacketKind::Handshake),
        (Role::Server, PacketKind::Handshake),
        (Role::Client, PacketKind::OneRtt),
        (Role::Server, PacketKind::OneRtt),
    ] {
        let mut duet = Duet::new();
        duet.run_until("both ends are there", |duet| duet.server.key.is_some());
        duet.end(from).says_raw(kind, 0, &[0x40, 0x21, 0, 0, 0]);
        duet.settle();
        let reason = duet.end(from.peer()).close_reason();
        assert!(matches!(reason, Some(CloseReason::LocalTransport(_))), "{from:?} {kind:?} {reason:?}");
    }
}

#[test]
fn datagrams_are_dropped_held_repeated_and_replayed() {
    let mut duet = Duet::confirmed();
    let is = |frame: &Frame<'static>| matches!(frame, Frame::MaxData(_));
    let values = |duet: &Duet| {
        let all = duet.server.heard.iter().flat_map(|packet| packet.frames.clone());
        all.filter(is).collect::<Vec<_>>()
    };
    duet.drop_next(Role::Client, 1, is);
    duet.client.says(0, &[Frame::MaxData(1)]);
    duet.client.says(0, &[Frame::MaxData(2)]);
    duet.run_for(ms(15));
    assert_eq!(values(&duet), [Frame::MaxData(2)]);
    duet.hold_next(Role::Client, 2, is);
    duet.client.says(0, &[Frame::MaxData(3)]);
    duet.client.says(0, &[Frame::MaxData(4)]);
    duet.run_for(ms(15));
    assert_eq!(values(&duet).len(), 1);
    duet.release_reversed();
    duet.run_for(ms(15));
    assert_eq!(values(&duet)[1..], [Frame::MaxData(4), Frame::MaxData(3)]);
    let copy = duet.client.sent_with(is)[0].clone();
    duet.replay(&copy);
    assert_eq!(values(&duet)[3..], [Frame::MaxData(1)], "the lost one arrives after all");
    duet.replay(&copy);
    assert_eq!(values(&duet).len(), 4, "a copy is a duplicate");
    duet.assert_alive();
}

#[test]
fn data_flows_over_lines_with_delays_and_a_cut_way_is_silent() {
    let mut duet = Duet::with_paths(2);
    duet.line(0).up = ms(50);
    duet.line(1).cut_up = true;
    let stream = duet.client.connection().open_stream(Direction::Bidirectional).unwrap();
    duet.client.connection().write(stream, [Bytes::from(vec![7; 100_000])]).unwrap();
    duet.server.forget();
    let mut got = 0;
    duet.run_until("all bytes", |duet| {
        got += duet.server.read(stream).len();
        got == 100_000
    });
    assert!(duet.server.heard.iter().all(|packet| packet.path == PathId(0)));
    assert!(!duet.lost.is_empty());
}

#[test]
fn a_packet_can_be_forged_for_a_path_that_is_not_open() {
    let mut duet = Duet::confirmed();
    let dcid = duet.client.path(3).unwrap().remote.current();
    assert!(dcid.is_some(), "the server has reserved an ID for path 3");
    let route = duet.line(3).at_client(3);
    let ping = encoded(&[Frame::Ping]);
    let say = Say { route: Some(route), ..Say::new(PacketKind::OneRtt, PathId(3), ping) };
    duet.client.says_so(say);
    duet.run_for(ms(15));
    assert!(duet.server.saw(&Event::PathOpened(PathId(3))));
}
