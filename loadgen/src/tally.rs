//! The numbers of one path, summed over connections, as one end of them sees it.
//!
//! Owns how counters of two moments subtract and how those of several connections add up. Both ends use it: the
//! client fills it from `PathStats`, the server's side comes from its statistics.

use std::time::Duration;

use braid_quic::{PathStage, PathStats};

/// Counters of one path ID at one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_lost: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) stream_bytes_sent: u64,
    pub(crate) stream_bytes_received: u64,
    pub(crate) probe_timeouts: u64,
    pub(crate) suspected: u64,
}

impl Counts {
    /// What was counted since `earlier`.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            packets_sent: join(self.packets_sent, other.packets_sent),
            packets_received: join(self.packets_received, other.packets_received),
            packets_lost: join(self.packets_lost, other.packets_lost),
            bytes_sent: join(self.bytes_sent, other.bytes_sent),
            bytes_received: join(self.bytes_received, other.bytes_received),
            stream_bytes_sent: join(self.stream_bytes_sent, other.stream_bytes_sent),
            stream_bytes_received: join(self.stream_bytes_received, other.stream_bytes_received),
            probe_timeouts: join(self.probe_timeouts, other.probe_timeouts),
            suspected: join(self.suspected, other.suspected),
        }
    }
}

impl From<&PathStats> for Counts {
    fn from(stats: &PathStats) -> Self {
        Self {
            packets_sent: stats.packets_sent,
            packets_received: stats.packets_received,
            packets_lost: stats.packets_lost,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            stream_bytes_sent: stats.stream_bytes_sent,
            stream_bytes_received: stats.stream_bytes_received,
            probe_timeouts: stats.probe_timeouts,
            suspected: stats.suspected,
        }
    }
}

/// Round trips of one path, over all connections: the smallest, the mean of the smoothed, the largest 99th percentile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rtt {
    min: Option<Duration>,
    smoothed_sum: Duration,
    smoothed_count: u32,
    p99: Option<Duration>,
}

impl Rtt {
    /// The estimates of one connection's path.
    pub(crate) fn new(min: Option<Duration>, smoothed: Option<Duration>, p99: Option<Duration>) -> Self {
        let smoothed_count = u32::from(smoothed.is_some());
        Self { min, smoothed_sum: smoothed.unwrap_or_default(), smoothed_count, p99 }
    }

    #[must_use]
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            min: self.min.into_iter().chain(other.min).min(),
            smoothed_sum: self.smoothed_sum + other.smoothed_sum,
            smoothed_count: self.smoothed_count + other.smoothed_count,
            p99: self.p99.max(other.p99),
        }
    }

    pub(crate) fn min(&self) -> Option<Duration> {
        self.min
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed_sum.checked_div(self.smoothed_count)
    }

    pub(crate) fn p99(&self) -> Option<Duration> {
        self.p99
    }
}

impl From<&PathStats> for Rtt {
    fn from(stats: &PathStats) -> Self {
        Self::new(stats.rtt_min, stats.rtt_smoothed, stats.rtt_p99)
    }
}

/// How far a path got. Over several connections the latest stage is shown: the one that needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Open,
    Suspect,
    Reserved,
    Probing,
    Leaving,
    Closed,
    /// It could not even be opened.
    Refused,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Suspect => "suspect",
            Self::Reserved => "reserved",
            Self::Probing => "probing",
            Self::Leaving => "leaving",
            Self::Closed => "closed",
            Self::Refused => "refused",
        }
    }
}

impl From<PathStage> for State {
    fn from(stage: PathStage) -> Self {
        match stage {
            PathStage::Reserved => Self::Reserved,
            PathStage::Probing => Self::Probing,
            PathStage::Open => Self::Open,
            PathStage::Suspect => Self::Suspect,
            PathStage::Leaving => Self::Leaving,
        }
    }
}

/// One path ID at one end: what was counted, and how the round trips were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) counts: Counts,
    pub(crate) rtt: Rtt,
}

impl Side {
    #[must_use]
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self { counts: self.counts.plus(&other.counts), rtt: self.rtt.plus(&other.rtt) }
    }

    /// The counters since `earlier`; round trips are estimates of now and stay.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self { counts: self.counts.since(&earlier.counts), rtt: self.rtt }
    }
}

impl From<&PathStats> for Side {
    fn from(stats: &PathStats) -> Self {
        Self { counts: stats.into(), rtt: stats.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn counters_of_two_moments_subtract_and_never_wrap() {
        let early = Counts { packets_sent: 10, stream_bytes_received: 7, ..Counts::default() };
        let late =
            Counts { packets_sent: 15, stream_bytes_received: 6, packets_lost: 2, ..Counts::default() };
        let between = late.since(&early);
        assert_eq!((between.packets_sent, between.stream_bytes_received, between.packets_lost), (5, 0, 2));
        assert_eq!(early.plus(&between).packets_sent, 15);
    }

    #[test]
    fn round_trips_of_several_connections_give_least_mean_and_most() {
        let one = Rtt::new(Some(us(40)), Some(us(100)), Some(us(300)));
        let two = Rtt::new(Some(us(50)), Some(us(200)), None);
        let unknown = Rtt::default();
        let all = unknown.plus(&one).plus(&two);
        assert_eq!((all.min(), all.smoothed(), all.p99()), (Some(us(40)), Some(us(150)), Some(us(300))));
        assert_eq!((unknown.min(), unknown.smoothed(), unknown.p99()), (None, None, None));
    }

    #[test]
    fn the_state_that_needs_attention_wins() {
        assert_eq!(State::Open.max(State::Suspect), State::Suspect);
        assert_eq!(State::Closed.max(State::Open).name(), "closed");
    }
}
