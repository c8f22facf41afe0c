//! The way out: what leaves next, on which path.
//!
//! Decides one `Purpose` per datagram or train, in order of urgency, and hands it to its builder. A full outbox stops
//! before a packet number is taken. Congestion control and pacing bind trains; probes, acknowledgements and validation
//! are free of them (RFC 9002 §7, §7.5).

use std::net::{IpAddr, SocketAddr};

use super::Connection;
use crate::base::address::{Ecn, LocalId, RouteId};
use crate::base::time::Instant;
use crate::id::PathId;
use crate::log::Decided;
use crate::path::leg::Leg;
use crate::path::migration::Via;
use crate::path::route::{Allowance, DATAGRAM_SIZE_MIN, PROOF_CREDIT_MIN};
use crate::path::set::Views;
use crate::path::stage::Stage;
use crate::schedule::{Decision, Demand, Scheduler as _, why};
use crate::turn::Turn;

/// Purposes that may turn out empty in one visit, beyond one for each path.
const EMPTY_PURPOSES_MAX: usize = 8;

/// Credit below which no acknowledgement goes to an unproven address.
const ACK_CREDIT_MIN: u64 = 64;

/// A datagram or train that was written to the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transmission {
    pub(crate) bytes: usize,
    pub(crate) segment_size: usize,
    pub(crate) packets: usize,
    pub(crate) path: PathId,
    /// Which of the path's routes it takes.
    pub(crate) leg: Leg,
    pub(crate) local_id: LocalId,
    pub(crate) source: Option<IpAddr>,
    pub(crate) remote: SocketAddr,
    pub(crate) ecn: Ecn,
    /// It is a probe for a larger datagram size, which may be too large.
    pub(crate) mtu_probe: bool,
}

impl Transmission {
    /// One datagram over `route`.
    pub(super) fn single((path, leg): (PathId, Leg), route: &RouteId, bytes: usize) -> Self {
        Self {
            bytes,
            segment_size: bytes,
            packets: 1,
            path,
            leg,
            local_id: route.local_id(),
            source: route.source(),
            remote: route.remote(),
            ecn: Ecn::NotEct,
            mtu_probe: false,
        }
    }
}

/// What the next datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// `CONNECTION_CLOSE`.
    Close,
    /// Initial and Handshake packets.
    Handshake,
    /// `PATH_CHALLENGE`, `PATH_RESPONSE`.
    Validation(PathId, Via),
    /// Something ack-eliciting after a probe timeout.
    Probe(PathId),
    /// A datagram larger than all before, to see whether it arrives.
    MtuProbe(PathId),
    /// Datagrams that are bound to the path.
    Datagrams(PathId),
    /// Stream data, datagrams and whatever else waits.
    Train(PathId),
    /// Frames that may go anywhere and are no stream data.
    Frames(PathId),
    /// Nothing but an acknowledgement.
    Ack(PathId),
}

impl Connection {
    /// Writes the next datagram or train to `buffer`; `None` when nothing is to leave now. At most `packets_max` packets.
    pub(crate) fn transmit(
        &mut self,
        turn: &mut Turn<'_>,
        buffer: &mut [u8],
        packets_max: usize,
    ) -> Option<Transmission> {
        #[cfg(test)]
        if let std::ops::ControlFlow::Break(said) = self.transmit_said(turn, buffer) {
            return said;
        }
        self.update_keys_if_due(turn);
        if self.paths.has_finished() {
            self.forget_finished(turn);
        }
        self.prune_datagrams(turn.now);
        self.paced_until = None;
        // A purpose may turn out empty (its frames did not fit, its credit is gone); the next one gets its chance.
        for _ in 0..self.paths.iter().count() + EMPTY_PURPOSES_MAX {
            let purpose = self.purpose(turn.now)?;
            let sent = match purpose {
                Purpose::Close => self.build_close(turn, buffer),
                Purpose::Handshake => self.build_handshake(turn, buffer),
                Purpose::Validation(path, via) => self.build_validation(turn, path, via, buffer),
                Purpose::Probe(path) => self.build_probe(turn, path, buffer),
                Purpose::MtuProbe(path) => self.build_mtu_probe(turn, path, buffer),
                Purpose::Datagrams(path) => self.build_train(turn, path, true, buffer, packets_max),
                Purpose::Train(path) => self.build_train(turn, path, false, buffer, packets_max),
                Purpose::Frames(path) => self.build_frames(turn, path, buffer),
                Purpose::Ack(path) => self.build_ack(turn, path, buffer),
            };
            if sent.is_some() {
                return sent;
            }
            if self.lifecycle.is_ending() && purpose == Purpose::Close {
                return None;
            }
        }
        None
    }

    fn purpose(&mut self, now: Instant) -> Option<Purpose> {
        if self.lifecycle.is_ending() {
            return self.lifecycle.farewell_owed().is_some().then_some(Purpose::Close);
        }
        if self.wants_handshake(now) {
            return Some(Purpose::Handshake);
        }
        if self.keys.is_none() || self.lifecycle.is_handshaking() {
            return None;
        }
        let errand = |path: &crate::path::Path| Some((path.id(), path.wants_validation(now)?));
        if let Some((path, via)) = self.paths.iter().find_map(errand) {
            return Some(Purpose::Validation(path, via));
        }
        let owes = |path: &&crate::path::Path| {
            !path.stage().is_abandoned()
                && path.running().is_some_and(|it| it.owes_probe() && it.route.credit() >= PROOF_CREDIT_MIN)
        };
        if let Some(path) = self.paths.iter().find(owes) {
            return Some(Purpose::Probe(path.id()));
        }
        if self.confirmed
            && let Some(path) = self.paths.iter().find(|path| path.wants_mtu_probe(now))
        {
            return Some(Purpose::MtuProbe(path.id()));
        }
        let bound = self.bound_datagrams(now).map(Purpose::Datagrams);
        bound.or_else(|| self.train(now)).or_else(|| self.frames_purpose(now)).or_else(|| self.ack_purpose())
    }

    /// Have the Initial and Handshake levels something that may leave now?
    fn wants_handshake(&self, now: Instant) -> bool {
        let Some(handshake) = &self.handshake else { return false };
        if handshake.wanting() == [None; 2] {
            return false;
        }
        let Some(route) = self.paths.get(PathId::ZERO).and_then(|path| Some(&path.running()?.route)) else {
            return false;
        };
        match route.allowance(now) {
            Allowance::Credit => route.credit() >= u64::from(DATAGRAM_SIZE_MIN),
            Allowance::Go { .. } | Allowance::Wait { .. } => true, // a handshake is too short to pace
            // 1-RTT data fills the window but is acknowledged only once the handshake is through: it must not block it.
            Allowance::Window => handshake.wants_free() || handshake.in_flight_bytes() < route.window(),
        }
    }

    /// Stream data and datagrams, if there are some and a path takes them; repairs first.
    fn train(&mut self, now: Instant) -> Option<Purpose> {
        let pending = self.streams.pending();
        let repair = (pending.repair_bytes > 0).then_some(Demand::Repair { bytes: pending.repair_bytes });
        let fresh_bytes = pending.fresh_bytes + self.datagrams.unbound_load();
        let fresh = (fresh_bytes > 0).then_some(Demand::Fresh { bytes: fresh_bytes });
        if repair.is_none() && fresh.is_none() {
            self.note_app_limited(None, now);
            return None;
        }
        let mut views = self.paths.views(pending.repair_bytes + fresh_bytes, now);
        if pending.repair_bytes + pending.fresh_bytes == 0 {
            self.retain_for_datagrams(&mut views, now);
        }
        if views.is_empty() {
            return None;
        }
        // A repair may have to wait for the one path that delivers it earliest; new data need not wait for it.
        for demand in repair.into_iter().chain(fresh) {
            let decision = self.scheduler.pick(&views, &demand, now);
            self.log.decided(|| Decided {
                demand,
                paths: &views,
                decision,
                reason: why(&views, decision, self.scheduler.rule(&demand), now),
            });
            match decision {
                Decision::Send(at) => {
                    let id = views[at].id;
                    if let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) {
                        running.route.set_app_limited(false);
                    }
                    return Some(Purpose::Train(id));
                }
                Decision::Wait { until } => self.pace(until, now),
            }
        }
        self.note_app_limited(Some(&views), now);
        None
    }

    /// Something waits for a pacer: come back then.
    pub(super) fn pace(&mut self, until: Option<Instant>, now: Instant) {
        if let Some(until) = until.filter(|&at| at > now) {
            self.paced_until = Some(self.paced_until.map_or(until, |at| at.min(until)));
        }
    }

    /// Tells the congestion controllers whether it was they who held the sender back (RFC 9002 §7.8). `waiting` are the
    /// paths that could have been used and were not; `None` when there was nothing to send.
    fn note_app_limited(&mut self, waiting: Option<&Views>, now: Instant) {
        for path in self.paths.iter_mut() {
            let bound = self.datagrams.bound_paths().any(|id| id == path.id());
            if let Some(running) = path.running_mut() {
                let room = running.route.window_left() >= u64::from(running.route.datagram_size());
                let ready = running.route.ready_at(u64::MAX, now) <= now;
                let idle = waiting.is_none() && !bound;
                running.route.set_app_limited(room && (ready || idle));
            }
        }
    }

    /// Frames that are no stream data: they leave on the best path that has room.
    fn frames_purpose(&mut self, now: Instant) -> Option<Purpose> {
        if !self.wants_frames() {
            return None;
        }
        let mut paths = self.paths.by_preference();
        if paths.is_empty() {
            paths.extend(self.frames_path());
        }
        for id in paths {
            let Some(route) = self.paths.get(id).and_then(|path| Some(&path.running()?.route)) else {
                continue;
            };
            match route.allowance(now) {
                Allowance::Go { .. } => return Some(Purpose::Frames(id)),
                Allowance::Wait { until } => self.pace(Some(until), now),
                Allowance::Window | Allowance::Credit => {}
            }
        }
        None
    }

    /// Where frames that belong to no path travel: the best path, or the last resort of a path being given up (MP-162).
    pub(super) fn frames_path(&self) -> Option<PathId> {
        self.paths.best(None).or_else(|| {
            let speaking = |path: &&crate::path::Path| {
                matches!(path.stage(), Stage::AbandonQueued)
                    && path.running().is_some()
                    && path.remote.current().is_some()
            };
            self.paths.iter().find(speaking).map(super::super::path::Path::id)
        })
    }

    /// Has anything but streams and acknowledgements frames to send?
    pub(super) fn wants_frames(&self) -> bool {
        self.handshake_done == Some(crate::path::cids::Post::Queued)
            || self.ping_owed
            || self.tickets.wants()
            || self.frequency.wants()
            || self.streams.wants_control()
            || (self.confirmed && self.paths.wants_frames())
    }

    /// A path whose acknowledgements are due, and the path to send them on.
    fn ack_purpose(&self) -> Option<Purpose> {
        let due = self
            .paths
            .iter()
            .filter(|path| path.running().is_some_and(|running| running.space.acks.is_due()));
        let on = due.filter_map(|path| self.ack_path(path.id()));
        let answers = |id: &PathId| {
            self.paths
                .get(*id)
                .and_then(|path| path.running())
                .is_some_and(|running| !running.space.is_saturated())
        };
        on.into_iter().find(answers).map(Purpose::Ack)
    }

    /// Acknowledgements return on their own path, which keeps RTT samples honest (MP-292). Those of a path that is given
    /// up return on the best other one (MP-170). Those of a suspect path return by turns: what just arrived shows that
    /// half of it works, and the other path may be worse than we know.
    ///
    /// None leave where the peer is unproven and got all it may: that would hold up all others.
    pub(super) fn ack_path(&self, of: PathId) -> Option<PathId> {
        let path = self.paths.get(of)?;
        let own = match path.stage() {
            Stage::Open | Stage::Probing => true,
            Stage::Suspect { .. } => {
                !self.paths.has_alternative(of)
                    || path.running().is_some_and(|it| it.space.acks.is_turn_of_own_path())
            }
            Stage::Reserved | Stage::AbandonQueued | Stage::Leaving { .. } => false,
        };
        if own && path.may_send(ACK_CREDIT_MIN) {
            return Some(of);
        }
        self.paths.best_with_credit(Some(of), ACK_CREDIT_MIN)
    }
}
