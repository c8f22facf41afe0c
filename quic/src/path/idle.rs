//! When silence means something: the idle timeout and the keep-alive, of a connection and of each path.
//!
//! Owns the times of the last packets that count (RFC 9000 §10.1). A connection's timeout is agreed and ends it; that of
//! a path is our own wish and only gives the path up (MP-300 to MP-304).

use std::time::Duration;

use crate::base::time::Instant;

/// A clock that silence winds up: the idle timeout and the keep-alive below it.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Zero for never.
    timeout: Duration,
    quiet_since: Instant,
    /// Nothing ack-eliciting was sent since the last packet arrived.
    sent_nothing: bool,
}

impl Idle {
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, quiet_since: now, sent_nothing: true }
    }

    /// The smaller of both ends' values holds; zero means none (RFC 9000 §10.1).
    pub(crate) fn on_peer_timeout(&mut self, peer: Duration) {
        if !peer.is_zero() {
            self.timeout = if self.timeout.is_zero() { peer } else { self.timeout.min(peer) };
        }
    }

    /// The timeout in force, if there is one.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        (!self.timeout.is_zero()).then_some(self.timeout)
    }

    /// When something last happened.
    pub(crate) fn quiet_since(&self) -> Instant {
        self.quiet_since
    }

    pub(crate) fn on_received(&mut self, now: Instant) {
        self.quiet_since = now;
        self.sent_nothing = true;
    }

    /// Only the first ack-eliciting packet after one arrived counts (RFC 9000 §10.1).
    pub(crate) fn on_sent(&mut self, now: Instant) {
        if self.sent_nothing {
            self.quiet_since = now;
            self.sent_nothing = false;
        }
    }

    /// When the connection is dropped; never before three probe timeouts passed (RFC 9000 §10.1).
    pub(crate) fn deadline(&self, probe_timeout: Duration) -> Option<Instant> {
        let timeout = self.timeout.max(probe_timeout * 3);
        (!self.timeout.is_zero()).then(|| self.quiet_since + timeout)
    }

    /// When a PING should leave, if nothing else did.
    pub(crate) fn keep_alive_at(&self, every: Option<Duration>) -> Option<Instant> {
        Some(self.quiet_since + every?).filter(|_| self.sent_nothing)
    }
}

/// The clock of one path.
#[derive(Debug)]
pub(crate) struct Upkeep {
    idle: Idle,
    keep_alive: Duration,
    heard_at: Instant,
}

impl Upkeep {
    /// Both zero for never.
    pub(crate) fn new(keep_alive: Duration, timeout: Duration, now: Instant) -> Self {
        Self { idle: Idle::new(timeout, now), keep_alive, heard_at: now }
    }

    pub(crate) fn set_keep_alive(&mut self, every: Duration) {
        self.keep_alive = every;
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.idle.timeout = timeout;
    }

    pub(crate) fn on_received(&mut self, now: Instant) {
        self.idle.on_received(now);
        self.heard_at = now;
    }

    /// Something left that asks for an acknowledgement.
    pub(crate) fn on_sent(&mut self, now: Instant) {
        self.idle.on_sent(now);
    }

    /// When the last packet arrived, or the path began.
    pub(crate) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// When a PING should leave on this path.
    pub(crate) fn keep_alive_at(&self) -> Option<Instant> {
        self.idle.keep_alive_at((!self.keep_alive.is_zero()).then_some(self.keep_alive))
    }

    /// When the path has been idle for so long that it is given up.
    pub(crate) fn idle_at(&self, probe_timeout: Duration) -> Option<Instant> {
        self.idle.deadline(probe_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_smaller_timeout_holds_and_zero_means_none() {
        let mut idle = Idle::new(Duration::ZERO, at(0));
        assert_eq!(idle.deadline(ms(1)), None);
        idle.on_peer_timeout(ms(500));
        assert_eq!(idle.deadline(ms(1)), Some(at(500)));
        idle.on_peer_timeout(ms(900));
        idle.on_peer_timeout(Duration::ZERO);
        assert_eq!(idle.deadline(ms(1)), Some(at(500)));
        assert_eq!(idle.deadline(ms(300)), Some(at(900)), "three probe timeouts at least");
    }

    #[test]
    fn only_the_first_packet_sent_after_one_arrived_restarts_the_clock() {
        let mut idle = Idle::new(ms(100), at(0));
        idle.on_received(at(10));
        idle.on_sent(at(20));
        idle.on_sent(at(90));
        assert_eq!(idle.deadline(ms(1)), Some(at(120)));
        assert_eq!(idle.keep_alive_at(Some(ms(5))), None, "something is on its way");
        idle.on_received(at(95));
        assert_eq!(idle.keep_alive_at(Some(ms(5))), Some(at(100)));
    }

    /// MP-304
    #[test]
    fn a_path_has_no_timers_unless_it_is_given_some() {
        let mut upkeep = Upkeep::new(Duration::ZERO, Duration::ZERO, at(0));
        assert_eq!((upkeep.keep_alive_at(), upkeep.idle_at(ms(1))), (None, None));
        upkeep.set_keep_alive(ms(10));
        upkeep.set_timeout(ms(100));
        upkeep.on_received(at(5));
        assert_eq!((upkeep.keep_alive_at(), upkeep.idle_at(ms(1))), (Some(at(15)), Some(at(105))));
        upkeep.on_sent(at(15));
        assert_eq!((upkeep.keep_alive_at(), upkeep.idle_at(ms(1))), (None, Some(at(115))));
        assert_eq!(upkeep.heard_at(), at(5));
    }
}
