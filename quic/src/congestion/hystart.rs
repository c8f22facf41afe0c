//! Leaving slow start before the queue overflows: `HyStart++` (RFC 9406).
//!
//! Owns the rounds of the first slow start and the smallest round trip in each. Says how fast the window may grow;
//! never holds the window. Shared by the controllers.

use std::time::Duration;

use super::Acked;

/// The least and the largest rise of the round-trip time that counts as a queue (RFC 9406 §4.3, as all below).
const RISE_MIN: Duration = Duration::from_millis(4);
/// See `RISE_MIN`.
const RISE_MAX: Duration = Duration::from_millis(16);
/// Between the two, a rise by this part of the round-trip time counts.
const RISE_DIVISOR: u32 = 8;
/// A round with fewer samples proves nothing.
const SAMPLES_MIN: u32 = 8;
/// Rounds of conservative slow start before it is over.
const CONSERVATIVE_ROUNDS: u8 = 5;
/// By how much slower the window grows in conservative slow start.
const CONSERVATIVE_DIVISOR: u64 = 4;

/// Watches the round trips of one slow start, the first of a route.
#[derive(Clone, Debug, Default)]
pub(super) struct HyStart {
    stage: Stage,
    /// The last packet sent before the current round; its acknowledgement ends the round.
    round_end: Option<u64>,
    round_min: Option<Duration>,
    samples: u32,
    last_round_min: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Standard,
    /// The round trips got longer. `baseline` is what they were when we noticed: if they fall below, it was jitter.
    Conservative {
        baseline: Duration,
        rounds: u8,
    },
    Over,
}

/// How much the window may grow for some acknowledged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// By this many bytes.
    By(u64),
    /// Not at all: slow start is over, its threshold is the window as it is.
    Stop,
}

impl HyStart {
    /// A train ending with packet `last` left. (RFC 9406 §4.2: a round ends when what was sent at its start is
    /// acknowledged.)
    pub(super) fn on_sent(&mut self, last: u64) {
        self.round_end.get_or_insert(last);
    }

    /// Bytes were acknowledged in slow start: how much the window may grow.
    pub(super) fn on_acked(&mut self, acked: &Acked) -> Growth {
        if let Some(rtt) = acked.rtt_latest {
            self.round_min = Some(self.round_min.map_or(rtt, |min| min.min(rtt)));
            self.samples = self.samples.saturating_add(1);
        }
        self.stage = match self.stage {
            Stage::Standard => self.watch(),
            Stage::Conservative { baseline, .. } if self.is_jitter(baseline) => Stage::Standard,
            stage => stage,
        };
        if self.round_end.is_some_and(|end| acked.largest_acked >= end) {
            self.next_round(acked.next_packet_number);
        }
        match self.stage {
            Stage::Conservative { rounds: CONSERVATIVE_ROUNDS.., .. } => {
                self.stage = Stage::Over;
                Growth::Stop
            }
            Stage::Conservative { .. } => Growth::By(acked.bytes / CONSERVATIVE_DIVISOR),
            Stage::Standard | Stage::Over => Growth::By(acked.bytes),
        }
    }

    /// The first slow start is over, and later ones know where to stop (RFC 9406 §4.3).
    pub(super) fn on_congestion(&mut self) {
        self.stage = Stage::Over;
    }

    fn watch(&self) -> Stage {
        match (self.last_round_min, self.round_min) {
            (Some(last), Some(current)) if self.samples >= SAMPLES_MIN && has_risen(last, current) => {
                Stage::Conservative { baseline: current, rounds: 0 }
            }
            _ => Stage::Standard,
        }
    }

    fn is_jitter(&self, baseline: Duration) -> bool {
        self.samples >= SAMPLES_MIN && self.round_min.is_some_and(|current| current < baseline)
    }

    fn next_round(&mut self, next_packet_number: u64) {
        self.round_end = Some(next_packet_number.saturating_sub(1));
        self.last_round_min = self.round_min.take();
        self.samples = 0;
        if let Stage::Conservative { rounds, .. } = &mut self.stage {
            *rounds += 1;
        }
    }
}

/// Is `current` so much above the last round's minimum that a queue must be building? (RFC 9406 §4.2)
fn has_risen(last: Duration, current: Duration) -> bool {
    current >= last.saturating_add((last / RISE_DIVISOR).clamp(RISE_MIN, RISE_MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::acked;
    use super::*;

    /// One round: `samples` acknowledgements of 8,000 bytes, each measuring `rtt_ms`. Returns what the last allowed.
    fn round(hystart: &mut HyStart, number: u64, rtt_ms: u64, samples: u64) -> Growth {
        let mut growth = Growth::Stop;
        for sample in 1..=samples {
            growth = hystart.on_acked(&Acked {
                rtt_latest: Some(Duration::from_millis(rtt_ms)),
                largest_acked: if sample == samples { number * 100 + 99 } else { number * 100 },
                next_packet_number: number * 100 + 200,
                ..acked(1_000, 8_000)
            });
        }
        growth
    }

    fn started() -> HyStart {
        let mut hystart = HyStart::default();
        hystart.on_sent(99);
        hystart.on_sent(199);
        hystart
    }

    #[test]
    fn a_rise_counts_between_4_and_16_ms_at_an_eighth() {
        let rises =
            |last: u64, current: u64| has_risen(Duration::from_millis(last), Duration::from_millis(current));
        assert!(!rises(10, 13) && rises(10, 14)); // an eighth is 1.25 ms, so 4
        assert!(!rises(80, 89) && rises(80, 90)); // an eighth is 10
        assert!(!rises(400, 415) && rises(400, 416)); // an eighth is 50 ms, so 16
    }

    #[test]
    fn steady_round_trips_let_the_window_double() {
        let mut hystart = started();
        for number in 0..20 {
            assert_eq!(round(&mut hystart, number, 50, 10), Growth::By(8_000));
        }
    }

    #[test]
    fn a_rise_slows_growth_to_a_quarter_and_five_rounds_later_ends_it() {
        let mut hystart = started();
        round(&mut hystart, 0, 50, 10);
        assert_eq!(round(&mut hystart, 1, 60, 10), Growth::By(2_000));
        for number in 2..5 {
            assert_eq!(round(&mut hystart, number, 62, 10), Growth::By(2_000));
        }
        assert_eq!(round(&mut hystart, 5, 62, 10), Growth::Stop); // the round of the rise counts
        assert_eq!(round(&mut hystart, 6, 200, 10), Growth::By(8_000), "a later slow start is a plain one");
    }

    #[test]
    fn jitter_is_forgiven_when_a_round_is_as_fast_as_before() {
        let mut hystart = started();
        round(&mut hystart, 0, 50, 10);
        assert_eq!(round(&mut hystart, 1, 60, 10), Growth::By(2_000));
        assert_eq!(round(&mut hystart, 2, 59, 7), Growth::By(2_000), "seven samples prove nothing");
        assert_eq!(round(&mut hystart, 3, 59, 8), Growth::By(8_000));
        assert_eq!(round(&mut hystart, 4, 62, 8), Growth::By(8_000), "3 ms above 59 are no rise");
        assert_eq!(round(&mut hystart, 5, 70, 8), Growth::By(2_000));
    }

    #[test]
    fn fewer_than_eight_samples_prove_nothing() {
        let mut hystart = started();
        round(&mut hystart, 0, 50, 10);
        assert_eq!(round(&mut hystart, 1, 90, 7), Growth::By(8_000));
    }

    #[test]
    fn the_first_round_has_nothing_to_compare_with() {
        assert_eq!(round(&mut started(), 0, 900, 50), Growth::By(8_000));
    }

    #[test]
    fn one_fast_sample_in_a_round_is_enough_to_see_no_queue() {
        let mut hystart = started();
        round(&mut hystart, 0, 50, 10);
        let fast =
            Acked { rtt_latest: Some(Duration::from_millis(51)), largest_acked: 100, ..acked(1_000, 8_000) };
        hystart.on_acked(&fast);
        assert_eq!(round(&mut hystart, 1, 90, 10), Growth::By(8_000));
    }

    #[test]
    fn after_congestion_it_no_longer_interferes() {
        let mut hystart = started();
        round(&mut hystart, 0, 50, 10);
        hystart.on_congestion();
        assert_eq!(round(&mut hystart, 1, 90, 10), Growth::By(8_000));
    }
}
