//! One path ID for life: its number space, its connection IDs, and the route it rides now.
//!
//! Owns everything that is one PER PATH; `set` owns what is one per connection about paths. Single-path QUIC is no
//! special case: it is path 0. A path never holds a key and does not know what streams are.

pub(crate) mod acks;
pub(crate) mod challenge;
pub(crate) mod cids;
mod delivery;
pub(crate) mod doubt;
pub(crate) mod frequency;
pub(crate) mod idle;
pub(crate) mod leg;
pub(crate) mod loss;
pub(crate) mod migration;
pub(crate) mod mtu;
pub(crate) mod pacer;
pub(crate) mod route;
pub(crate) mod rtt;
mod running;
pub(crate) mod sent;
pub(crate) mod set;
pub(crate) mod space;
pub(crate) mod stage;
pub(crate) mod status;
pub(crate) mod trains;

use std::time::Duration;

use crate::base::time::Instant;
use crate::error::PathErrorCode;
use crate::id::PathId;
use crate::path::challenge::{Challenge, Responses};
use crate::path::cids::{LocalCids, Post, RemoteCids};
use crate::path::frequency::Seen;
use crate::path::idle::Upkeep;
use crate::path::leg::Leg;
use crate::path::migration::Detours;
use crate::path::route::Route;
use crate::path::space::Space;
use crate::path::stage::Stage;
use crate::path::status::StatusPair;
use crate::schedule::PathView;
use crate::stats::PathStats;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::receipt::{Receipt, Receipts};

/// Packets that a probe timeout sends (RFC 9002 §6.2.4).
const PROBES_PER_TIMEOUT: u8 = 2;

/// A path of a connection.
#[derive(Debug)]
pub(crate) struct Path {
    id: PathId,
    stage: Stage,
    pub(crate) local: LocalCids,
    pub(crate) remote: RemoteCids,
    pub(crate) status: StatusPair,
    running: Option<Box<Running>>,
    /// Our `PATH_ABANDON` frame, once decided.
    abandon: Option<(PathErrorCode, Post)>,
    peer_abandoned: bool,
    /// `PATH_CIDS_BLOCKED`: the sequence number that is missing, and how far the frame has come.
    blocked: Option<(u64, Post)>,
    pub(crate) counters: Counters,
    /// Its last numbers, once the route is gone.
    last: Option<Box<PathStats>>,
}

/// What a path needs from its first packet on; nothing of it is there for a path that is only reserved (MP-330).
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) route: Route,
    pub(crate) space: Space,
    pub(crate) responses: Responses,
    pub(crate) upkeep: Upkeep,
    detours: Detours,
    /// The name of the route that began last.
    leg: Leg,
    /// Something that is no probe is to leave, so that the peer hears of us here.
    wants_ping: bool,
    timeouts: u32,
    probes_owed: u8,
    /// The path showed at this time that it works; silence counts from here at the earliest.
    trusted_from: Instant,
}

/// Totals of a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
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

impl Counters {
    /// Adds those of another path.
    pub(crate) fn add(&mut self, other: &Self) {
        self.packets_sent += other.packets_sent;
        self.packets_received += other.packets_received;
        self.packets_lost += other.packets_lost;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.stream_bytes_sent += other.stream_bytes_sent;
        self.stream_bytes_received += other.stream_bytes_received;
        self.probe_timeouts += other.probe_timeouts;
        self.suspected += other.suspected;
    }
}

/// What the connection knows that a path's timers need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The peer's `max_ack_delay`.
    pub(crate) max_ack_delay: Duration,
    /// Another path, suspect or not, could carry what this one has in flight.
    pub(crate) alternative: bool,
    /// The handshake is confirmed; before, the peer may be unable to answer (RFC 9002 §6.2.1).
    pub(crate) confirmed: bool,
}

/// What a timer of a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Run loss detection.
    Loss,
    /// The path is silent: hand its data to others.
    Suspect,
    /// Send probes (RFC 9002 §6.2).
    Probe,
    /// Send another challenge, or give up.
    Validation,
    /// Say something, so that the way stays open (MP-302).
    KeepAlive,
    /// Nothing was heard for so long that the path is given up (MP-301).
    Idle,
    /// A probe for a larger datagram size was not answered.
    MtuProbe,
    /// The time for late packets is over.
    Gone,
}

impl Path {
    pub(crate) fn reserved(id: PathId) -> Self {
        Self {
            id,
            stage: Stage::Reserved,
            local: LocalCids::default(),
            remote: RemoteCids::default(),
            status: StatusPair::default(),
            running: None,
            abandon: None,
            peer_abandoned: false,
            blocked: None,
            counters: Counters::default(),
            last: None,
        }
    }

    pub(crate) fn id(&self) -> PathId {
        self.id
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.stage
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_deref()
    }

    #[inline]
    pub(crate) fn running_mut(&mut self) -> Option<&mut Running> {
        self.running.as_deref_mut()
    }

    /// The first packet: the path rides `route` and is to be validated, or is known to be good.
    pub(crate) fn start(&mut self, mut route: Route, validation: Option<Challenge>, upkeep: Upkeep) {
        debug_assert!(matches!(self.stage, Stage::Reserved));
        self.stage = if validation.is_some() { Stage::Probing } else { Stage::Open };
        if self.remote.current().is_none() {
            self.blocked = Some((self.remote.next_sequence(), Post::Queued)); // MP-070
        }
        if let Some(challenge) = validation {
            route.challenge(challenge);
        }
        self.running = Some(Box::new(Running {
            route,
            space: Space::default(),
            responses: Responses::default(),
            upkeep,
            detours: Detours::default(),
            leg: Leg::default(),
            wants_ping: false,
            timeouts: 0,
            probes_owed: 0,
            trusted_from: Instant::ZERO,
        }));
    }

    /// Validation goes on with fresh challenges.
    pub(crate) fn challenge_again(&mut self, again: Challenge) {
        if let Some(running) = &mut self.running {
            running.route.challenge(again);
        }
    }

    /// The path is proven for the first time. `true` if that is news.
    fn open_if_probing(&mut self) -> bool {
        let news = matches!(self.stage, Stage::Probing);
        if news {
            self.stage = Stage::Open;
            self.status.announce();
        }
        news
    }

    /// The peer was heard where the path is now: whatever made it suspect lies behind it.
    fn on_heard_again(&mut self) {
        if self.stage.is_suspect() {
            self.stage = Stage::Open;
            self.status.set_doubted(false);
        }
    }

    /// A packet of the path was opened.
    pub(crate) fn on_packet(&mut self, now: Instant) {
        self.counters.packets_received += 1;
        if let Some(running) = &mut self.running {
            running.upkeep.on_received(now);
        }
    }

    /// Is a probe for a larger datagram size to leave now? Only a path that is open, in use and not silent is probed.
    #[inline]
    pub(crate) fn wants_mtu_probe(&self, now: Instant) -> bool {
        let Some(running) = &self.running else { return false };
        running.route.mtu_probe_due(now).is_some()
            && running.timeouts == 0
            && matches!(self.stage, Stage::Open)
            && !self.status.is_backup()
            && self.remote.current().is_some()
    }

    /// Acknowledgements are overdue. `true` if that is news. The peer hears of it on other paths, so that it need not find
    /// out by itself (MP-143).
    pub(crate) fn on_silent(&mut self, now: Instant) -> bool {
        let news = matches!(self.stage, Stage::Open);
        if news {
            self.stage = Stage::Suspect { since: now };
            self.counters.suspected += 1;
            self.status.set_doubted(true);
            if let Some(running) = &mut self.running {
                running.route.mtu.on_silence();
            }
        }
        news
    }

    /// Something was acknowledged: the path works. `true` if it was suspect.
    pub(crate) fn on_progress(&mut self, now: Instant) -> bool {
        let news = self.stage.is_suspect();
        if let Some(running) = &mut self.running {
            running.reset_timeouts();
            if news {
                running.trusted_from = now;
            }
        }
        if news {
            self.stage = Stage::Open;
            self.status.set_doubted(false);
        }
        news
    }

    /// Gives the path up, by our wish. `false` if it was given up before.
    pub(crate) fn abandon(&mut self, code: PathErrorCode) -> bool {
        if self.abandon.is_some() {
            return false;
        }
        self.abandon = Some((code, Post::Queued));
        self.stage = Stage::AbandonQueued;
        true
    }

    /// The peer gave the path up; our reply is queued unless we said so before (MP-163). `true` if that is news.
    pub(crate) fn on_peer_abandon(&mut self, until: Instant) -> bool {
        let news = !self.peer_abandoned;
        self.peer_abandoned = true;
        let first = self.abandon.is_none();
        if first {
            self.abandon = Some((PathErrorCode::NO_ERROR, Post::Queued));
        }
        if news {
            self.stage = Stage::Leaving { until };
        }
        news
    }

    /// The code of the `PATH_ABANDON` frame to send, if one is to be sent.
    pub(crate) fn abandon_to_send(&self) -> Option<PathErrorCode> {
        self.abandon.filter(|(_, post)| *post == Post::Queued).map(|(code, _)| code)
    }

    /// Our `PATH_ABANDON` left: no further packet on this path (MP-161).
    pub(crate) fn on_abandon_sent(&mut self, until: Instant) {
        if let Some((_, post)) = &mut self.abandon {
            *post = Post::Sent;
        }
        self.stage = match self.stage {
            Stage::Leaving { until: earlier } => Stage::Leaving { until: earlier.max(until) },
            _ => Stage::Leaving { until },
        };
    }

    /// Our `PATH_ABANDON` is not acknowledged yet: it is to leave once more.
    pub(crate) fn repeat_abandon(&mut self) {
        if let Some((_, post)) = self.abandon.as_mut().filter(|(_, post)| *post == Post::Sent) {
            *post = Post::Queued;
        }
    }

    /// Our `PATH_ABANDON` was acknowledged or lost (MP-221: an acknowledgement is not the peer's own frame).
    pub(crate) fn on_abandon_settled(&mut self, acked: bool) {
        if let Some((_, post)) = self.abandon.as_mut().filter(|(_, post)| *post != Post::Acked) {
            *post = if acked { Post::Acked } else { Post::Queued };
        }
    }

    /// Lacks the path a connection ID of the peer, and is that to be said?
    pub(crate) fn wants_blocked(&self) -> bool {
        self.remote.current().is_none() && matches!(self.blocked, Some((_, Post::Queued)))
    }

    /// Writes `PATH_CIDS_BLOCKED`, once for each time the path is blocked (MP-254, MP-256).
    pub(crate) fn write_blocked(&mut self, w: &mut Writer<'_>, receipts: &mut Receipts) {
        let Some((next_sequence, post)) = &mut self.blocked else { return };
        let frame = Frame::PathCidsBlocked { path: u64::from(self.id.0), next_sequence: *next_sequence };
        if frame.fits(w) {
            frame.write(w);
            receipts.push(Receipt::path_cids_blocked(self.id, *next_sequence));
            *post = Post::Sent;
        }
    }

    /// That frame was acknowledged or lost; a repeat has the same values (MP-255).
    pub(crate) fn on_blocked_settled(&mut self, acked: bool) {
        if let Some((_, post)) = self.blocked.as_mut().filter(|(_, post)| *post == Post::Sent) {
            *post = if acked { Post::Acked } else { Post::Queued };
        }
    }

    /// The time for late packets is over. `false` if the path must go on listening: a peer that has not answered may not
    /// know, and may have nowhere else to say so (MP-166, MP-179).
    pub(crate) fn may_stop(&mut self) -> bool {
        if !self.peer_abandoned {
            self.stage = Stage::Leaving { until: Instant::NEVER };
        }
        self.peer_abandoned
    }

    /// Takes the running part away. Its numbers stay until the path is forgotten.
    pub(crate) fn stop(&mut self) -> Option<Box<Running>> {
        self.last = self.stats().map(Box::new);
        self.running.take()
    }

    /// Both ends gave it up, both know, and nothing is kept: the ID may be forgotten.
    pub(crate) fn is_finished(&self) -> bool {
        self.peer_abandoned && self.running.is_none() && matches!(self.abandon, Some((_, Post::Acked)))
    }

    /// Has a packet been sent or received on it, ever?
    pub(crate) fn was_used(&self) -> bool {
        !matches!(self.stage, Stage::Reserved)
    }

    /// The earliest thing to be done for this path, and what.
    pub(crate) fn alarm(&self, timing: Timing) -> Option<(Instant, Alarm)> {
        if let Stage::Leaving { until } = self.stage {
            return self.running.as_ref().map(|_| (until, Alarm::Gone));
        }
        let running = self.running.as_ref()?;
        let mut alarms = [None; 8];
        alarms[0] = running.space.loss_at().map(|at| (at, Alarm::Loss));
        if !self.stage.is_abandoned() {
            let validation = running.route.challenge_at(self.remote.current().is_none());
            alarms[3] = validation.map(|at| (at, Alarm::Validation));
            alarms[4] =
                running.detours.deadline(self.remote.spare().is_some()).map(|at| (at, Alarm::Validation));
        }
        if !matches!(self.stage, Stage::Probing) {
            let base = running.route.rtt.pto_base(timing.max_ack_delay);
            alarms[7] = running.route.mtu_probe_until(base).map(|at| (at, Alarm::MtuProbe));
            alarms[1] = running.probe_at(base).filter(|_| timing.confirmed).map(|at| (at, Alarm::Probe));
            if self.stage.is_usable() && timing.confirmed {
                let ping = running.upkeep.keep_alive_at().filter(|_| !running.owes_probe());
                alarms[5] = ping.map(|at| (at, Alarm::KeepAlive));
                let idle = running.upkeep.idle_at(base).filter(|_| timing.alternative);
                alarms[6] = idle.map(|at| (at, Alarm::Idle));
            }
            if timing.alternative && matches!(self.stage, Stage::Open) {
                let unheard = running.space.oldest_unheard_at().map(|at| at.max(running.trusted_from));
                alarms[2] = unheard.map(|at| (at + base, Alarm::Suspect));
            }
        }
        alarms.into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Is there a connection ID for a packet, and credit for so many bytes (RFC 9000 §8.1)?
    pub(crate) fn may_send(&self, bytes: u64) -> bool {
        self.remote.current().is_some() && self.running().is_some_and(|it| it.route.credit() >= bytes)
    }

    /// What the scheduler sees; `None` unless stream data may leave here.
    pub(crate) fn view(&self, demand_bytes: u64, now: Instant) -> Option<PathView> {
        if !self.stage.is_usable() || self.remote.current().is_none() {
            return None;
        }
        let route = &self.running.as_ref()?.route;
        let credit_short = route.credit() < u64::from(route.datagram_size());
        Some(PathView {
            id: self.id,
            backup: self.status.is_backup(),
            suspect: self.stage.is_suspect(),
            rtt: route.rtt_expected(now),
            rtt_var: route.rtt.var(),
            one_way_delay: route.rtt_expected(now) / 2,
            delivery_rate: route.delivery_rate(),
            window_left: if credit_short { 0 } else { route.window_left() },
            in_flight: route.in_flight(),
            queued: 0,
            ready_at: route.ready_at(demand_bytes, now),
            segment_size: route.datagram_size(),
            loss_permille: route.loss_permille(),
        })
    }

    /// Are there numbers for its owner?
    pub(crate) fn has_stats(&self) -> bool {
        self.running.is_some() || self.last.is_some()
    }

    /// What our wish for acknowledgements has to suit: paths whose windows and pacers hold the sender back.
    pub(crate) fn seen(&self) -> Option<Seen> {
        let route = &self.running.as_ref().filter(|_| matches!(self.stage, Stage::Open))?.route;
        let window_packets = route.window() / u64::from(route.datagram_size());
        (route.rtt.has_sample() && !route.is_app_limited())
            .then(|| Seen { window_packets, rtt: route.rtt.smoothed() })
    }

    /// The numbers for its owner; `None` for a path that was never used.
    pub(crate) fn stats(&self) -> Option<PathStats> {
        let Some(running) = &self.running else {
            // What was in flight at the end was counted as lost after the numbers were taken.
            let packets_lost = self.counters.packets_lost;
            return self.last.as_deref().map(|last| PathStats { packets_lost, ..last.clone() });
        };
        let route = &running.route;
        let sampled = route.rtt.has_sample();
        Some(PathStats {
            id: self.id,
            route: route.id(),
            stage: self.stage.shown(),
            backup: self.status.is_backup(),
            backup_by_us: self.status.is_backup_by_us(),
            packets_sent: self.counters.packets_sent,
            packets_received: self.counters.packets_received,
            packets_lost: self.counters.packets_lost,
            bytes_sent: self.counters.bytes_sent,
            bytes_received: self.counters.bytes_received,
            stream_bytes_sent: self.counters.stream_bytes_sent,
            stream_bytes_received: self.counters.stream_bytes_received,
            rtt_min: sampled.then(|| route.rtt.min()),
            rtt_smoothed: sampled.then(|| route.rtt.smoothed()),
            rtt_p99: route.rtt_p99(),
            window: route.window(),
            in_flight: route.in_flight(),
            probe_timeouts: self.counters.probe_timeouts,
            suspected: self.counters.suspected,
            mtu: route.datagram_size(),
            black_holes: route.mtu.holes(),
            train_holes: route.trains.holes(),
        })
    }
}
