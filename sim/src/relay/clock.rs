//! The real clock in the simulator's time.
//!
//! Owns the origin. Links are asked about instants, and never learn whether the time is real.

use std::time::{Duration, Instant as Clock};

use braid_quic::Instant;

/// What has passed since the relay started.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealClock {
    start: Clock,
}

impl RealClock {
    pub(super) fn new() -> Self {
        Self { start: Clock::now() }
    }

    /// The time since the start, as an instant.
    pub(super) fn now(self) -> Instant {
        Instant::ZERO + self.elapsed()
    }

    pub(super) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }
}
