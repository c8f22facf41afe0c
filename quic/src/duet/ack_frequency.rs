//! Wishes for acknowledgements between two endpoints (draft-ietf-quic-ack-frequency), with several paths too (MP-309).

use super::*;
use crate::wire::frame_ack::AckFrequency;

/// So many more packets than usual without an acknowledgement, for 20 ms at most.
fn wish(sequence: u64, threshold: u64) -> Frame<'static> {
    Frame::AckFrequency(AckFrequency { sequence, threshold, delay_us: 20_000, reordering: 3 })
}

/// The client says `count` PINGs on each of `paths`, all at once; how many acknowledgements of each path come back
/// before the server's patience is over.
fn prompt_acks(duet: &mut Duet, paths: &[u32], count: u32) -> Vec<usize> {
    duet.run_for(ms(500)); // nothing is owed any more
    duet.client.forget();
    for &path in paths {
        for _ in 0..count {
            duet.client.says(path, &[Frame::Ping]);
        }
    }
    duet.run_for(ms(25));
    let acks =
        |path: u32| move |frame: &Frame<'_>| matches!(frame, Frame::Ack(ack) if ack.path == u64::from(path));
    paths.iter().map(|&path| duet.client.heard_times(acks(path))).collect()
}

/// MP-309
#[test]
fn a_wish_holds_for_all_paths_and_each_counts_for_itself() {
    let mut duet = Duet::with_paths(2);
    assert_eq!(prompt_acks(&mut duet, &[0, 1], 3), [1, 1]);
    duet.client.says(1, &[wish(0, 3)]);
    assert_eq!(prompt_acks(&mut duet, &[0, 1], 3), [0, 0]);
    duet.run_for(ms(20));
    assert!(duet.client.heard(|frame| matches!(frame, Frame::Ack(_))), "they were not forgotten");
    assert_eq!(prompt_acks(&mut duet, &[0, 1], 4), [1, 1]);
    duet.assert_alive();
}

/// MP-309
#[test]
fn an_immediate_ack_brings_the_acknowledgements_of_all_paths() {
    let mut duet = Duet::with_paths(2);
    duet.client.says(0, &[wish(0, 100)]);
    assert_eq!(prompt_acks(&mut duet, &[0, 1], 3), [0, 0]);
    duet.run_for(ms(500));
    duet.client.forget();
    duet.client.says(1, &[Frame::Ping]);
    duet.client.says(0, &[Frame::ImmediateAck]);
    duet.run_for(ms(22));
    for path in [0, 1] {
        assert!(duet.client.heard(|frame| matches!(frame, Frame::Ack(ack) if ack.path == path)), "{path}");
    }
}

#[test]
fn an_older_wish_and_a_copy_change_nothing() {
    let mut duet = Duet::confirmed();
    for (sequence, threshold) in [(5, 3), (5, 9), (4, 0)] {
        duet.client.says(0, &[wish(sequence, threshold)]);
    }
    assert_eq!(prompt_acks(&mut duet, &[0], 3), [0]);
    assert_eq!(prompt_acks(&mut duet, &[0], 4), [1]);
}

#[test]
fn a_wish_for_a_delay_that_was_not_offered_ends_the_connection() {
    let mut duet = Duet::confirmed();
    let frame = AckFrequency { sequence: 0, threshold: 1, delay_us: 999, reordering: 1 };
    duet.client.says(0, &[Frame::AckFrequency(frame)]);
    duet.assert_closed(Role::Server, TransportErrorCode::PROTOCOL_VIOLATION);
}

#[test]
fn who_offers_nothing_takes_no_wishes_and_is_sent_none() {
    for frame in [wish(0, 3), Frame::ImmediateAck] {
        let mut duet = Duet::confirmed_set(|_, server| server.ack_frequency = false);
        duet.client.says(0, &[frame]);
        duet.assert_closed(Role::Server, TransportErrorCode::FRAME_ENCODING_ERROR);
    }
    let mut duet = Duet::with_paths_set(2, |_, server| server.ack_frequency = false);
    upload(&mut duet, 2 << 20);
    duet.cut(0, true);
    duet.run_for(ms(500));
    assert!(!duet.client.said(Frame::is_ack_frequency) && !duet.server.said(Frame::is_ack_frequency));
}

fn upload(duet: &mut Duet, bytes: usize) {
    let stream = duet.client.connection().open_stream(crate::id::Direction::Unidirectional).unwrap();
    duet.client.connection().write(stream, [bytes::Bytes::from(vec![1; bytes])]).unwrap();
}

/// The server reads whatever comes, so that no credit runs out.
fn reading(duet: &mut Duet, span: Duration) {
    let end = duet.now + span;
    while duet.now < end {
        duet.run_for(ms(1));
        let opened = |event: &Event| match event {
            Event::StreamOpened(stream) => Some(*stream),
            _ => None,
        };
        let streams: Vec<_> = duet.server.events.iter().filter_map(opened).collect();
        for stream in streams {
            duet.server.read(stream);
        }
    }
}

#[test]
fn a_sender_with_a_large_window_asks_for_fewer_acknowledgements_and_gets_them() {
    let acks = |on: bool| {
        let mut duet = Duet::confirmed_set(|client, _| client.ack_frequency = on);
        duet.client.forget();
        upload(&mut duet, 3 << 20);
        reading(&mut duet, ms(800));
        let asked = duet.client.said_times(|frame| matches!(frame, Frame::AckFrequency(_)));
        assert_eq!(asked > 0, on);
        assert!(asked < 12, "{asked} wishes: one for each doubling of the window is enough");
        duet.client.heard_times(|frame| matches!(frame, Frame::Ack(_)))
    };
    let (usual, fewer) = (acks(false), acks(true));
    // Whole trains arrive in one turn here, which is one acknowledgement each in any case.
    assert!(fewer < usual, "{fewer} of {usual}");
}

#[test]
fn a_lost_wish_is_sent_again() {
    let mut duet = Duet::confirmed();
    duet.drop_next(Role::Client, 1, |frame| matches!(frame, Frame::AckFrequency(_)));
    upload(&mut duet, 3 << 20);
    reading(&mut duet, ms(800));
    assert!(duet.server.heard(|frame| matches!(frame, Frame::AckFrequency(_))));
    duet.assert_alive();
}

#[test]
fn probes_ask_for_an_answer_at_once() {
    let mut duet = Duet::confirmed();
    duet.settle();
    duet.client.forget();
    duet.drop_next(Role::Client, 1, |frame| matches!(frame, Frame::Stream { .. }));
    upload(&mut duet, 100);
    duet.run_for(ms(200));
    let probes = duet.client.said_in(|frame| *frame == Frame::ImmediateAck);
    assert!(!probes.is_empty());
}
