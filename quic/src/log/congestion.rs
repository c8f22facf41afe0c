//! What a congestion controller is about, told from its window.
//!
//! Owns one small state for each path of a logged connection. Controllers are plugs that show a window and whether they
//! are in slow start; that a reaction is being waited out is seen from outside here (RFC 9002 §7.3), for logs only.

use smallvec::SmallVec;

use super::record::{CongestionState as State, CongestionTrigger as Trigger, Metrics};
use crate::base::time::Instant;
use crate::id::PathId;

/// What the numbers of a path changed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Packets left.
    Sent,
    /// Packets were acknowledged, the newest sent at this time.
    Acked { newest_sent_at: Option<Instant> },
    /// Packets were lost.
    Lost { persistent: bool },
}

/// The controllers of a connection's paths.
#[derive(Debug, Default)]
pub(super) struct Watch {
    paths: SmallVec<[(PathId, Seen); 2]>,
}

/// A controller as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    window: u64,
    /// When the reaction began that is being waited out.
    since: Instant,
}

/// Paths whose controllers are remembered; a connection has no more at once by default, and old ones do not come back.
const WATCHED_MAX: usize = 16;

impl Watch {
    /// The path has these numbers since `now`. Returns how its state changed, if it did.
    pub(super) fn on_metrics(
        &mut self,
        metrics: &Metrics,
        cause: Cause,
        now: Instant,
    ) -> Option<(State, State, Trigger)> {
        let seen = self.of(metrics.path, metrics.window, now);
        let old = seen.state;
        let (new, trigger) = next(*seen, metrics.window, metrics.slow_start, cause);
        if new == State::Recovery && metrics.window < seen.window {
            seen.since = now;
        }
        seen.state = new;
        seen.window = metrics.window;
        (old != new).then_some((old, new, trigger))
    }

    fn of(&mut self, path: PathId, window: u64, now: Instant) -> &mut Seen {
        let at = self.paths.iter().position(|(id, _)| *id == path).unwrap_or_else(|| {
            if self.paths.len() == WATCHED_MAX {
                self.paths.remove(0);
            }
            self.paths.push((path, Seen { state: State::SlowStart, window, since: now }));
            self.paths.len() - 1
        });
        &mut self.paths[at].1
    }
}

/// The state after `cause` left the controller with this window (RFC 9002 §7.3, §7.6.2).
fn next(seen: Seen, window: u64, slow_start: bool, cause: Cause) -> (State, Trigger) {
    let growing = if slow_start { State::SlowStart } else { State::Avoidance };
    match cause {
        Cause::Lost { persistent: true } => (growing, Trigger::PersistentCongestion),
        Cause::Lost { persistent: false } if window < seen.window => (State::Recovery, Trigger::Loss),
        Cause::Acked { newest_sent_at } if seen.state == State::Recovery => {
            let over = newest_sent_at.is_some_and(|sent_at| sent_at > seen.since) || window > seen.window;
            (if over { growing } else { State::Recovery }, Trigger::Acknowledged)
        }
        Cause::Acked { .. } => (growing, Trigger::Acknowledged),
        Cause::Sent | Cause::Lost { .. } => (seen.state, Trigger::Loss),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn metrics(path: u32, window: u64, slow_start: bool) -> Metrics {
        Metrics { path: PathId(path), rtt: None, window, in_flight: 0, pacing_rate: None, slow_start }
    }

    fn acked(ms: u64) -> Cause {
        Cause::Acked { newest_sent_at: Some(at(ms)) }
    }

    const LOST: Cause = Cause::Lost { persistent: false };

    #[test]
    fn a_loss_begins_recovery_and_what_was_sent_after_it_ends_it() {
        let mut watch = Watch::default();
        assert_eq!(watch.on_metrics(&metrics(0, 12_000, true), Cause::Sent, at(0)), None);
        assert_eq!(watch.on_metrics(&metrics(0, 24_000, true), acked(0), at(10)), None);
        let began = watch.on_metrics(&metrics(0, 16_800, false), LOST, at(20));
        assert_eq!(began, Some((State::SlowStart, State::Recovery, Trigger::Loss)));
        assert_eq!(watch.on_metrics(&metrics(0, 16_800, false), LOST, at(21)), None, "one reaction");
        assert_eq!(watch.on_metrics(&metrics(0, 16_800, false), acked(20), at(30)), None);
        let ended = watch.on_metrics(&metrics(0, 16_800, false), acked(21), at(40));
        assert_eq!(ended, Some((State::Recovery, State::Avoidance, Trigger::Acknowledged)));
    }

    #[test]
    fn persistent_congestion_is_slow_start_again() {
        let mut watch = Watch::default();
        watch.on_metrics(&metrics(1, 12_000, true), Cause::Sent, at(0));
        watch.on_metrics(&metrics(1, 8_400, false), LOST, at(20));
        let collapsed = watch.on_metrics(&metrics(1, 2_400, true), Cause::Lost { persistent: true }, at(30));
        assert_eq!(collapsed, Some((State::Recovery, State::SlowStart, Trigger::PersistentCongestion)));
    }

    #[test]
    fn a_reaction_taken_back_is_no_recovery_any_more() {
        let mut watch = Watch::default();
        watch.on_metrics(&metrics(0, 12_000, true), Cause::Sent, at(0));
        watch.on_metrics(&metrics(0, 8_400, false), LOST, at(20));
        let back = watch.on_metrics(&metrics(0, 12_000, true), acked(1), at(25));
        assert_eq!(back, Some((State::Recovery, State::SlowStart, Trigger::Acknowledged)));
    }

    #[test]
    fn paths_are_told_apart_and_old_ones_are_forgotten() {
        let mut watch = Watch::default();
        for path in 0..=WATCHED_MAX as u32 {
            watch.on_metrics(&metrics(path, 12_000, true), Cause::Sent, at(0));
        }
        assert_eq!(watch.paths.len(), WATCHED_MAX);
        assert!(watch.on_metrics(&metrics(16, 8_400, false), LOST, at(1)).is_some());
        assert_eq!(watch.on_metrics(&metrics(15, 12_000, true), acked(0), at(2)), None);
    }
}
