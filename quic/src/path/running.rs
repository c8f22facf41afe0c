//! The running part of a path at work: its probe timeouts, and PINGs that are asked for.
//!
//! Owns what `Running` does by itself. Its fields, and all that depends on the stage of the path, are `Path`'s.

use std::time::Duration;

use super::{PROBES_PER_TIMEOUT, Running};
use crate::base::time::Instant;
use crate::path::loss::probe_after;
use crate::path::route::PROOF_CREDIT_MIN;

impl Running {
    /// When the next probe leaves, `base` being the probe timeout (RFC 9002 §6.2.1); not before the peer's next packet if
    /// its address is unproven and got all it may (§6.2.2.1).
    pub(super) fn probe_at(&self, base: Duration) -> Option<Instant> {
        if self.probes_owed > 0 || self.route.credit() < PROOF_CREDIT_MIN {
            return None;
        }
        Some(self.space.last_eliciting_at()? + probe_after(base, self.timeouts))
    }

    /// The probe timeout fired.
    pub(crate) fn on_probe_timeout(&mut self) {
        self.timeouts = self.timeouts.saturating_add(1);
        self.probes_owed = PROBES_PER_TIMEOUT;
        self.route.mtu.on_silence();
    }

    /// The probe for a larger datagram size was not answered in time.
    pub(crate) fn on_mtu_probe_timeout(&mut self, now: Instant) -> Option<u64> {
        let number = self.route.mtu.on_probe_timeout(now)?;
        self.give_up(number);
        Some(number)
    }

    /// The probe for a larger datagram size was refused by the system, or fits no buffer.
    pub(crate) fn on_mtu_probe_refused(&mut self, now: Instant) {
        if let Some(number) = self.route.mtu.on_probe_refused(now) {
            self.give_up(number);
        }
    }

    fn give_up(&mut self, number: u64) {
        let bytes = self.space.give_up(number);
        self.route.on_discarded(bytes);
    }

    /// Is a probe to leave, or a PING on just this path?
    pub(crate) fn owes_probe(&self) -> bool {
        self.probes_owed > 0 || self.wants_ping
    }

    /// Is the next probe the first one since the timeout fired?
    pub(crate) fn is_first_probe(&self) -> bool {
        self.probes_owed == PROBES_PER_TIMEOUT
    }

    /// A PING is to leave on this path.
    pub(crate) fn ask_for_ping(&mut self) {
        self.wants_ping = true;
    }

    /// Something ack-eliciting left, which serves as a probe.
    pub(crate) fn on_probe_sent(&mut self) {
        self.probes_owed = self.probes_owed.saturating_sub(1);
        self.wants_ping = false;
    }

    /// The back-off is over for another reason than an acknowledgement (RFC 9002 §6.2.2).
    pub(crate) fn reset_timeouts(&mut self) {
        self.timeouts = 0;
        self.probes_owed = 0;
    }
}
