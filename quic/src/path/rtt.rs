//! How long a round trip takes on one route.
//!
//! Owns the estimator of RFC 9002 §5 and the spans that are made from it alone. Never arms a timer (`loss` does) and
//! never decides which acknowledgement is a sample. Hot path: no allocation.

use std::time::Duration;

/// The shortest span a timer is worth setting for (RFC 9002 §6.1.2, kGranularity).
const GRANULARITY: Duration = Duration::from_millis(1);

/// The round-trip time of one route: latest, smallest, smoothed, and how much it varies.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    latest: Duration,
    smoothed: Duration,
    var: Duration,
    min: Duration,
    source: Source,
}

/// Where the estimate comes from so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Guess,
    Hint,
    Samples,
}

impl RttEstimator {
    /// An estimator that assumes `initial` until it learns better (RFC 9002 §6.2.2).
    pub(crate) fn new(initial: Duration) -> Self {
        Self { latest: initial, smoothed: initial, var: initial / 2, min: initial, source: Source::Guess }
    }

    /// A route trip was measured: `latest` from sending the largest newly acknowledged packet to its acknowledgement,
    /// `ack_delay` of it spent by the peer, as the peer says.
    ///
    /// `max_ack_delay` is the peer's promise; `None` until the handshake is confirmed, because before, the peer may
    /// have had to wait for keys and the promise does not hold (RFC 9002 §5.3).
    pub(crate) fn on_sample(
        &mut self,
        latest: Duration,
        ack_delay: Duration,
        max_ack_delay: Option<Duration>,
    ) {
        self.latest = latest;
        if self.source != Source::Samples {
            self.source = Source::Samples;
            self.min = latest;
            self.smoothed = latest;
            self.var = latest / 2;
            return;
        }
        self.min = self.min.min(latest);
        let ack_delay = max_ack_delay.map_or(ack_delay, |limit| ack_delay.min(limit));
        let adjusted = without_ack_delay(latest, self.min, ack_delay);
        self.var = (self.var * 3 + self.smoothed.abs_diff(adjusted)) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// Something other than an acknowledgement, such as the answer to a path challenge, took `span` for the way there
    /// and back. The first such hint replaces the initial guess; it is no sample (RFC 9002 §6.2.2).
    pub(crate) fn on_initial_hint(&mut self, span: Duration) {
        if self.source == Source::Guess {
            *self = Self { source: Source::Hint, ..Self::new(span) };
        }
    }

    /// Everything sent over a long time was lost: the route may have changed, so the minimum starts again from the
    /// latest sample (RFC 9002 §5.2).
    pub(crate) fn on_persistent_congestion(&mut self) {
        self.min = self.latest;
    }

    /// Whether a round trip was ever measured by an acknowledgement.
    pub(crate) fn has_sample(&self) -> bool {
        self.source == Source::Samples
    }

    /// The latest sample, or the guess.
    pub(crate) fn latest(&self) -> Duration {
        self.latest
    }

    /// The smallest sample since the route began, or the guess.
    pub(crate) fn min(&self) -> Duration {
        self.min
    }

    /// The smoothed round-trip time.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The mean deviation.
    pub(crate) fn var(&self) -> Duration {
        self.var
    }

    /// The probe timeout before backoff (RFC 9002 §6.2.1). Spaces that never delay acknowledgements pass zero.
    pub(crate) fn pto_base(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed.saturating_add((self.var * 4).max(GRANULARITY)).saturating_add(max_ack_delay)
    }

    /// How long after a later packet's acknowledgement an earlier one counts as lost (RFC 9002 §6.1.2).
    pub(crate) fn loss_delay(&self) -> Duration {
        let longest = self.latest.max(self.smoothed);
        (longest + longest / 8).max(GRANULARITY)
    }
}

/// `latest` less the peer's delay, unless that would fall below the minimum ever seen (RFC 9002 §5.3).
fn without_ack_delay(latest: Duration, min: Duration, ack_delay: Duration) -> Duration {
    latest.checked_sub(ack_delay).filter(|&adjusted| adjusted >= min).unwrap_or(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: Duration = Duration::from_millis(333);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn before_a_sample_the_guess_rules() {
        let rtt = RttEstimator::new(INITIAL);
        assert!(!rtt.has_sample());
        assert_eq!((rtt.smoothed(), rtt.var()), (ms(333), us(166_500)));
        assert_eq!(rtt.pto_base(Duration::ZERO), ms(999));
    }

    #[test]
    fn the_first_sample_replaces_everything_and_ignores_the_ack_delay() {
        let mut rtt = RttEstimator::new(INITIAL);
        rtt.on_sample(ms(100), ms(20), None);
        assert!(rtt.has_sample());
        assert_eq!((rtt.latest(), rtt.min(), rtt.smoothed(), rtt.var()), (ms(100), ms(100), ms(100), ms(50)));
    }

    #[test]
    fn later_samples_are_smoothed_by_an_eighth_and_a_quarter() {
        let mut rtt = RttEstimator::new(INITIAL);
        rtt.on_sample(ms(100), Duration::ZERO, Some(ms(25)));
        rtt.on_sample(ms(180), Duration::ZERO, Some(ms(25)));
        assert_eq!((rtt.smoothed(), rtt.var()), (ms(110), us(57_500))); // 3/4 x 50 + 1/4 x 80; 7/8 x 100 + 1/8 x 180
        rtt.on_sample(ms(70), Duration::ZERO, Some(ms(25)));
        assert_eq!((rtt.smoothed(), rtt.var()), (ms(105), us(53_125))); // 3/4 x 57.5 + 1/4 x 40
        assert_eq!(rtt.min(), ms(70));
    }

    #[test]
    fn the_ack_delay_is_taken_off_but_never_below_the_minimum() {
        let (latest, min) = (ms(130), ms(100));
        assert_eq!(without_ack_delay(latest, min, ms(20)), ms(110));
        assert_eq!(without_ack_delay(latest, min, ms(30)), ms(100));
        assert_eq!(without_ack_delay(latest, min, ms(31)), ms(130));
        assert_eq!(without_ack_delay(latest, min, Duration::MAX), ms(130));
    }

    #[test]
    fn the_peers_promise_limits_its_ack_delay_once_the_handshake_is_confirmed() {
        let after = |promise: Option<Duration>| {
            let mut rtt = RttEstimator::new(INITIAL);
            rtt.on_sample(ms(100), Duration::ZERO, promise);
            rtt.on_sample(ms(180), ms(65), promise);
            rtt.smoothed()
        };
        assert_eq!(after(Some(ms(25))), us(106_875)); // 180 - 25 = 155
        assert_eq!(after(None), us(101_875)); // 180 - 65 = 115
    }

    /// MP-290, P-46
    #[test]
    fn a_hint_seeds_once_and_is_no_sample() {
        let mut rtt = RttEstimator::new(INITIAL);
        rtt.on_initial_hint(ms(40));
        rtt.on_initial_hint(ms(900));
        assert!(!rtt.has_sample());
        assert_eq!((rtt.smoothed(), rtt.var(), rtt.pto_base(ms(25))), (ms(40), ms(20), ms(145)));
        rtt.on_sample(ms(60), Duration::ZERO, None);
        assert_eq!((rtt.min(), rtt.smoothed(), rtt.var()), (ms(60), ms(60), ms(30)));
        rtt.on_initial_hint(ms(1));
        assert_eq!(rtt.smoothed(), ms(60));
    }

    #[test]
    fn timers_are_never_shorter_than_the_granularity() {
        let mut rtt = RttEstimator::new(INITIAL);
        for _ in 0..200 {
            rtt.on_sample(us(50), Duration::ZERO, Some(Duration::ZERO));
        }
        assert_eq!(rtt.loss_delay(), ms(1));
        assert_eq!(rtt.pto_base(Duration::ZERO), us(1_050));
    }

    #[test]
    fn the_loss_delay_is_nine_eighths_of_the_longer_of_latest_and_smoothed() {
        let mut rtt = RttEstimator::new(INITIAL);
        rtt.on_sample(ms(80), Duration::ZERO, None);
        assert_eq!(rtt.loss_delay(), ms(90));
        rtt.on_sample(ms(160), Duration::ZERO, None);
        assert_eq!(rtt.loss_delay(), ms(180));
        rtt.on_sample(ms(8), Duration::ZERO, None);
        assert_eq!(rtt.loss_delay(), rtt.smoothed() + rtt.smoothed() / 8);
    }

    #[test]
    fn persistent_congestion_forgets_the_minimum() {
        let mut rtt = RttEstimator::new(INITIAL);
        rtt.on_sample(ms(10), Duration::ZERO, None);
        rtt.on_sample(ms(90), Duration::ZERO, None);
        rtt.on_persistent_congestion();
        assert_eq!(rtt.min(), ms(90));
    }
}
