//! Time: what is due, and when to come back.
//!
//! Each room names its own deadline; here they are compared and served. After a deadline was served and there was room
//! to send, none lies in the past.

use std::time::Duration;

use super::Connection;
use super::lifecycle::Lifecycle;
use crate::base::time::Instant;
use crate::error::{CloseReason, PathErrorCode, TransportError, TransportErrorCode};
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::{Record, SuspectTrigger};
use crate::path::stage::Stage;
use crate::path::{Alarm, Path};
use crate::turn::Turn;

/// A path may stay suspect for this long before it is given up, or as long as the idle timeout, if that is shorter.
const SUSPECT_MAX: Duration = Duration::from_secs(30);

/// Where all paths are suspect, one that is silent while others are heard is given up after this time at the earliest.
const OUTLIVED_MIN: Duration = Duration::from_secs(1);

/// Silence after which a sender that waits for credit sends a PING.
const STARVED_PING_AFTER: Duration = Duration::from_secs(1);

/// Silence after which memory kept for speed is given back.
const TRIM_AFTER: Duration = Duration::from_secs(1);

impl Connection {
    /// When it must be visited next, if nothing arrives.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let own = self.lifecycle.deadline();
        if self.lifecycle.is_ending() {
            return own;
        }
        let keys = self.keys.as_ref().map(|keys| keys.deadline()).filter(|&at| at != Instant::NEVER);
        [
            own,
            keys,
            self.paced_until,
            self.paths.deadline(self.frequency.peer_delay(), self.confirmed),
            self.handshake_deadline(),
            self.idle.deadline(self.longest_probe_timeout()),
            self.keep_alive_at(),
            self.suspect_deadline(),
            self.trim_at(),
            self.pathless_until(),
            self.datagrams.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Serves everything that is due.
    pub(crate) fn on_deadline(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if self.lifecycle.deadline().is_some_and(|at| at <= now) {
            self.on_lifecycle_deadline();
        }
        if self.lifecycle.is_ending() {
            return;
        }
        if self.idle.deadline(self.longest_probe_timeout()).is_some_and(|at| at <= now) {
            self.lifecycle = Lifecycle::Gone;
            self.end(CloseReason::IdleTimeout);
            return;
        }
        if let Some(keys) = &mut self.keys {
            keys.on_deadline(now);
        }
        if self.paced_until.is_some_and(|at| at <= now) {
            self.paced_until = None;
        }
        if self.keep_alive_at().is_some_and(|at| at <= now) {
            let kept_alive = self.idle.keep_alive_at(self.config.keep_alive).is_some_and(|at| at <= now);
            self.ping_owed = kept_alive || self.streams.is_starved();
        }
        if self.trim_at().is_some_and(|at| at <= now) {
            self.streams.trim();
            self.datagrams.trim();
        }
        self.on_handshake_deadline(turn);
        for id in self.paths.ids() {
            self.on_path_deadline(turn, id);
        }
        self.prune_datagrams(now);
        self.forget_finished(turn);
        self.on_pathless(now);
    }

    /// Paths that both ends gave up and that left nothing behind.
    pub(super) fn forget_finished(&mut self, turn: &mut Turn<'_>) {
        for path in self.paths.forget_finished(turn) {
            self.gone.add(&path.counters);
            if let Some(stats) = path.stats() {
                self.announce(Event::PathClosed { stats: Box::new(stats) });
            }
        }
    }

    /// How long a connection without a path waits for a new one (MP-168, MP-169).
    fn pathless_until(&self) -> Option<Instant> {
        Some(self.pathless_since? + self.longest_probe_timeout() * 3)
    }

    fn on_pathless(&mut self, now: Instant) {
        if !self.paths.is_pathless() {
            self.pathless_since = None;
        }
        if self.pathless_until().is_some_and(|at| at <= now) && !self.lifecycle.is_ending() {
            self.lifecycle = Lifecycle::Gone;
            let code = TransportErrorCode::NO_VIABLE_PATH;
            self.end(CloseReason::LocalTransport(TransportError::new(code, "no path is left")));
        }
    }

    fn on_lifecycle_deadline(&mut self) {
        let timed_out = self.lifecycle.is_handshaking();
        self.lifecycle = Lifecycle::Gone;
        if timed_out {
            self.end(CloseReason::HandshakeTimeout);
        }
    }

    /// When a PING leaves because all is quiet. A sender that waits for credit does not wait in silence: if its address
    /// changed, the credit goes to the old one until the peer hears from the new one (RFC 9000 §4.1).
    fn keep_alive_at(&self) -> Option<Instant> {
        let starved = self.streams.may_be_starved().then_some(STARVED_PING_AFTER);
        let every = [starved, self.config.keep_alive].into_iter().flatten().min();
        self.idle.keep_alive_at(every).filter(|_| self.confirmed && !self.ping_owed)
    }

    /// When a connection that went quiet gives back the memory that it keeps for speed.
    fn trim_at(&self) -> Option<Instant> {
        (self.streams.has_spare() || self.datagrams.has_spare()).then(|| self.idle.quiet_since() + TRIM_AFTER)
    }

    /// Loss and probe timers of the Initial and Handshake levels.
    fn handshake_deadline(&self) -> Option<Instant> {
        let handshake = self.handshake.as_ref()?;
        let others = self.handshake_probe_at().into_iter().chain(handshake.race_at());
        handshake.loss_at().into_iter().chain(others).min()
    }

    fn handshake_probe_at(&self) -> Option<Instant> {
        let handshake = self.handshake.as_ref()?;
        let route = &self.paths.get(PathId::ZERO)?.running()?.route;
        if route.credit() == 0 {
            return None; // the client must speak first (RFC 9002 §6.2.2.1)
        }
        let stuck = self.role == Role::Client && !self.confirmed;
        handshake.probe_at(route.rtt.pto_base(Duration::ZERO), stuck)
    }

    fn on_handshake_deadline(&mut self, turn: &Turn<'_>) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= turn.now);
        if due(self.handshake.as_ref().and_then(|handshake| handshake.race_at())) {
            self.next_in_race(turn.now);
        }
        if due(self.handshake.as_ref().and_then(|handshake| handshake.loss_at())) {
            self.on_handshake_loss_timer(turn);
        }
        if due(self.handshake_probe_at())
            && let Some(handshake) = &mut self.handshake
        {
            handshake.on_probe_timeout();
            if let Some(path) = self.paths.get_mut(PathId::ZERO) {
                path.counters.probe_timeouts += 1;
            }
        }
    }

    /// Serves the alarms of one path until none is due.
    fn on_path_deadline(&mut self, turn: &mut Turn<'_>, id: PathId) {
        let now = turn.now;
        if let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) {
            running.space.acks.on_deadline(now);
        }
        if self.suspect_until(id).is_some_and(|at| at <= now) {
            self.abandon(id, PathErrorCode::PATH_UNSTABLE_OR_POOR, now);
            self.ask_others(id); // the peer must hear of it, however full their windows are
        }
        // Each alarm changes what the next one is; the bound only guards against a mistake of ours.
        for _ in 0..8 {
            let timing = self.timing(id);
            let due = self.paths.get(id).and_then(|path| path.alarm(timing)).filter(|(at, _)| *at <= now);
            let Some((_, alarm)) = due else { return };
            if !self.on_path_alarm(turn, id, alarm) {
                return;
            }
        }
    }

    /// `false` if only sending can help.
    fn on_path_alarm(&mut self, turn: &mut Turn<'_>, id: PathId, alarm: Alarm) -> bool {
        match alarm {
            Alarm::Loss => self.on_loss_timer(id, turn),
            Alarm::Suspect => self.suspect(turn, id, SuspectTrigger::Overdue),
            Alarm::Probe => {
                if let Some(path) = self.paths.get_mut(id) {
                    path.counters.probe_timeouts += 1;
                    if let Some(running) = path.running_mut() {
                        running.on_probe_timeout();
                    }
                }
                if self.paths.has_other(id) {
                    self.suspect(turn, id, SuspectTrigger::ProbeTimeout);
                }
            }
            Alarm::MtuProbe => {
                let running = self.paths.get_mut(id).and_then(|path| path.running_mut());
                if let Some(number) = running.and_then(|running| running.on_mtu_probe_timeout(turn.now)) {
                    self.tell_mtu_probe_lost(id, number);
                }
            }
            Alarm::Validation => return self.on_validation_alarm(turn, id),
            Alarm::KeepAlive => {
                if let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) {
                    running.ask_for_ping();
                }
            }
            Alarm::Idle => {
                self.abandon(id, PathErrorCode::NO_ERROR, turn.now);
            }
            Alarm::Gone => self.stop_path(id),
        }
        true
    }

    /// Acknowledgements of a path are overdue: its data is sent elsewhere too.
    pub(super) fn suspect(&mut self, turn: &Turn<'_>, id: PathId, why: SuspectTrigger) {
        if self.paths.get_mut(id).is_some_and(|path| path.on_silent(turn.now)) {
            self.log.record(|| Record::PathSuspect { path: id, why });
            self.hand_over(id);
            self.announce(Event::PathSuspect(id));
            self.ask_others(id);
        }
    }

    /// The best other path than `id` is to show that it works, and where we are now, before it is relied on (MP-303).
    fn ask_others(&mut self, id: PathId) {
        let other = self.paths.best(Some(id)).and_then(|other| self.paths.get_mut(other)?.running_mut());
        if let Some(other) = other.filter(|_| self.confirmed) {
            other.ask_for_ping();
        }
    }

    fn suspect_deadline(&self) -> Option<Instant> {
        self.paths.iter().filter_map(|path| self.suspect_until(path.id())).min()
    }

    /// When a suspect path is given up, if others could replace it (MP-160).
    fn suspect_until(&self, id: PathId) -> Option<Instant> {
        let Stage::Suspect { since } = *self.paths.get(id).map(Path::stage)? else { return None };
        let probes = self.longest_probe_timeout() * 3;
        if self.paths.has_alternative(id) {
            let patience = self.idle.timeout().map_or(SUSPECT_MAX, |timeout| timeout.min(SUSPECT_MAX));
            return Some(since + patience.max(probes));
        }
        // All are suspect, and this one is as silent as they come while the peer is heard elsewhere: perhaps it sends its
        // acknowledgements of all paths here and does not know that they get lost.
        self.paths.is_outlived(id, since).then(|| since + probes.max(OUTLIVED_MIN))
    }
}
