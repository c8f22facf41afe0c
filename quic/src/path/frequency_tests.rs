//! Wishes of both ends: what is asked for and when, what is obeyed, and what that does to the peer's delay.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn seen(window_packets: u64, rtt_ms: u64) -> Seen {
    Seen { window_packets, rtt: ms(rtt_ms) }
}

fn suiting(paths: &[Seen]) -> (u64, Duration) {
    Wish::suiting(paths, ms(25)).map(|wish| (wish.threshold, wish.delay)).unwrap()
}

/// With a peer that obeys and can wait for 1 ms to 25 ms.
fn agreed() -> Frequency {
    let mut frequency = Frequency::new(&TransportConfig::default());
    frequency.on_peer(25, Some(1_000)).unwrap();
    frequency
}

/// Writes the wish that waits: sequence, threshold, delay in microseconds, reordering.
fn written(frequency: &mut Frequency) -> Option<(u64, u64, u64, u64)> {
    let (mut buffer, mut receipts) = ([0; 40], Receipts::default());
    let mut w = Writer::new(&mut buffer);
    frequency.write(&mut w, &mut receipts);
    let read = crate::wire::frame::Frames::new(w.written()).next()?.ok()?.1;
    let Frame::AckFrequency(frame) = read else { return None };
    assert_eq!(receipts.as_slice(), [Receipt::ack_frequency(frame.sequence)]);
    Some((frame.sequence, frame.threshold, frame.delay_us, frame.reordering))
}

#[test]
fn a_window_brings_32_acknowledgements_and_a_round_trip_four() {
    assert_eq!(suiting(&[seen(10, 40)]), (1, ms(10)), "a small window is acknowledged as ever");
    assert_eq!(suiting(&[seen(640, 40)]), (20, ms(10)));
    assert_eq!(suiting(&[seen(100_000, 40)]), (64, ms(10)));
    assert_eq!(suiting(&[seen(320, 1)]).1, ms(5), "a worker may be kept waiting so long");
    assert_eq!(suiting(&[seen(320, 400)]).1, ms(25), "never longer than the peer would wait by itself");
}

#[test]
fn of_several_paths_the_smallest_window_and_the_shortest_round_trip_decide() {
    assert_eq!(suiting(&[seen(640, 80), seen(128, 90), seen(320, 30)]), (4, ms(30) / 4));
    assert_eq!(Wish::suiting(&[], ms(25)), None, "nothing is known of what no window holds back");
}

#[test]
fn a_wish_leaves_when_windows_have_grown_and_again_only_when_they_are_very_different() {
    let mut frequency = agreed();
    frequency.review(&[seen(63, 40)], at(0));
    assert!(!frequency.wants(), "not worth a frame");
    frequency.review(&[seen(320, 40)], at(40));
    assert_eq!(written(&mut frequency), Some((0, 10, 10_000, 3)));
    assert_eq!(written(&mut frequency), None);
    assert!(!frequency.is_review_due(at(400)), "the peer may not know it yet");
    frequency.on_settled(0, true);
    assert!(!frequency.is_review_due(at(79)), "one round trip is not over");
    assert!(frequency.is_review_due(at(80)));
    for (window, rtt_ms) in [(639, 40), (256, 40), (320, 50), (320, 30)] {
        frequency.review(&[seen(window, rtt_ms)], at(80));
        assert!(!frequency.wants(), "{window} packets, {rtt_ms} ms");
    }
    frequency.review(&[seen(640, 40)], at(120));
    assert_eq!(written(&mut frequency), Some((1, 20, 10_000, 3)));
    frequency.on_settled(1, true);
    frequency.review(&[seen(63, 40)], at(160));
    assert_eq!(written(&mut frequency), Some((2, 1, 10_000, 1)), "back to the usual");
    frequency.on_settled(2, true);
    frequency.review(&[seen(63, 20)], at(200));
    assert_eq!(written(&mut frequency), Some((3, 1, 5_000, 1)), "a much shorter round trip");
}

#[test]
fn a_lost_wish_leaves_again_as_it_was() {
    let mut frequency = agreed();
    frequency.review(&[seen(320, 40)], at(0));
    let first = written(&mut frequency);
    frequency.on_settled(0, false);
    assert!(frequency.wants() && !frequency.is_review_due(at(500)));
    assert_eq!(written(&mut frequency), first);
    frequency.on_settled(0, true);
    frequency.on_settled(0, false);
    assert!(!frequency.wants(), "one copy arrived");
}

#[test]
fn no_wish_makes_probe_timeouts_shorter_or_longer() {
    let mut frequency = agreed();
    for (rtt_ms, sequence) in [(40, 0), (400, 1), (4, 2)] {
        frequency.review(&[seen(320, rtt_ms)], at(1_000 * sequence));
        written(&mut frequency);
        assert_eq!(frequency.peer_delay(), ms(25));
        frequency.on_settled(sequence, true);
        assert_eq!(frequency.peer_delay(), ms(25));
    }
}

#[test]
fn who_does_not_obey_is_not_asked_and_who_is_slow_is_not_hurried() {
    let mut silent = Frequency::new(&TransportConfig::default());
    silent.on_peer(25, None).unwrap();
    assert!(!silent.is_obeyed() && !silent.is_review_due(at(1_000)));
    let mut slow = Frequency::new(&TransportConfig::default());
    slow.on_peer(100, Some(20_000)).unwrap();
    slow.review(&[seen(320, 40)], at(0));
    assert_eq!(written(&mut slow), Some((0, 10, 20_000, 3)));
}

#[test]
fn the_peers_shortest_delay_cannot_exceed_its_longest() {
    let mut frequency = Frequency::new(&TransportConfig::default());
    assert_eq!(frequency.on_peer(25, Some(25_000)), Ok(()));
    let error = frequency.on_peer(25, Some(25_001)).unwrap_err();
    assert_eq!(error.code, TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
    let off = TransportConfig { ack_frequency: false, ..TransportConfig::default() };
    let mut off = Frequency::new(&off);
    assert_eq!(off.on_peer(25, Some(25_001)), Ok(()), "unknown to us");
    assert!(!off.is_offered() && !off.is_obeyed());
}

#[test]
fn the_newest_wish_of_the_peer_is_obeyed() {
    let wish = |sequence, threshold| AckFrequency { sequence, threshold, delay_us: 7_000, reordering: 3 };
    let mut frequency = agreed();
    assert_eq!(frequency.habit(), Habit::usual(ms(25)));
    frequency.on_frame(&wish(4, 10)).unwrap();
    let obeyed = Habit { threshold: 10, delay: ms(7), reordering: 3 };
    assert_eq!(frequency.habit(), obeyed);
    for late in [0, 3, 4] {
        frequency.on_frame(&wish(late, 99)).unwrap();
        assert_eq!(frequency.habit(), obeyed);
    }
    frequency.on_frame(&wish(5, 0)).unwrap();
    assert_eq!(frequency.habit().threshold, 0);
}

#[test]
fn a_delay_that_was_not_offered_is_a_violation_from_both_sides() {
    let wish = |delay_us| AckFrequency { sequence: 0, threshold: 1, delay_us, reordering: 1 };
    let judge = |delay_us| agreed().on_frame(&wish(delay_us)).map_err(|error| error.code);
    assert_eq!(judge(999), Err(TransportErrorCode::PROTOCOL_VIOLATION));
    assert_eq!(judge(1_000), Ok(()));
    assert_eq!(judge((1 << 14) * 1_000 - 1), Ok(()));
    assert_eq!(judge((1 << 14) * 1_000), Err(TransportErrorCode::PROTOCOL_VIOLATION));
}

#[test]
fn our_shortest_delay_is_never_longer_than_our_longest() {
    let offer =
        |max| Frequency::offer_us(&TransportConfig { max_ack_delay: max, ..TransportConfig::default() });
    assert_eq!(offer(ms(25)), Some(1_000));
    assert_eq!(offer(Duration::from_micros(900)), Some(0), "declared as 0 ms");
}
