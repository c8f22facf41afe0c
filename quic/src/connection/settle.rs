//! What became of packets: acknowledgements, losses and suspicion come home to the rooms whose frames they carried.
//!
//! Data is not bound to a path: rooms remember what is to be sent again, and the scheduler decides the road. Bound to
//! their path are only challenges, responses and probes.

use std::time::Duration;

use smallvec::SmallVec;

use super::Connection;
use super::tell;
use crate::base::time::Instant;
use crate::crypto::Level;
use crate::error::{PathErrorCode, TransportError};
use crate::event::Event;
use crate::id::PathId;
use crate::log::{Cause, Journal, LossTrigger, PacketType, Record};
use crate::path::frequency::Seen;
use crate::path::loss;
use crate::path::space::{AckReport, Gone, LossReport, Outcome, Space};
use crate::path::{Path, Running};
use crate::stream::Streams;
use crate::turn::Turn;
use crate::wire::frame_ack::Ack;
use crate::wire::receipt::{Receipt, ReceiptKind};

/// Lost packets are remembered for this many probe timeouts, in case they arrive after all.
const LOST_KEPT_TIMEOUTS: u32 = 3;

/// Receipts that do not concern streams, with what became of their packets.
type Settled = Vec<(Receipt, Outcome)>;

/// Stream receipts, the bulk, go to their room at once; the others wait until the path is free again.
fn sort(streams: &mut Streams, settled: &mut Settled, receipt: &Receipt, outcome: Outcome) {
    match receipt.kind() {
        ReceiptKind::Stream
        | ReceiptKind::ResetStream
        | ReceiptKind::StopSending
        | ReceiptKind::MaxData
        | ReceiptKind::MaxStreamData
        | ReceiptKind::MaxStreams
        | ReceiptKind::DataBlocked
        | ReceiptKind::StreamDataBlocked
        | ReceiptKind::StreamsBlocked => match outcome {
            Outcome::Acked | Outcome::AckedLate => streams.on_acked(receipt),
            Outcome::Lost => streams.on_lost(receipt),
            Outcome::Overdue => streams.on_overdue(receipt),
            Outcome::LostOverdue => {} // queued again when it was overdue
        },
        _ => settled.push((*receipt, outcome)),
    }
}

impl Connection {
    /// ACK or `PATH_ACK` in a 1-RTT packet opened with the keys of `generation`.
    pub(super) fn on_ack(
        &mut self,
        turn: &mut Turn<'_>,
        ack: &Ack<'_>,
        generation: u64,
    ) -> Result<(), TransportError> {
        let now = turn.now;
        let delay = self.agreed.ack_delay(ack.delay_raw);
        let max_delay = self.confirmed.then_some(self.frequency.peer_delay());
        let Some(path) = self.paths.named(ack.path)? else { return Ok(()) };
        let (id, used, abandoned) = (path.id(), path.was_used(), path.stage().is_abandoned());
        let Some(running) = path.running_mut() else {
            let unsent = TransportError::protocol_violation("acknowledged packets of an unused path");
            return if used || abandoned { Ok(()) } else { Err(unsent) }; // MP-213
        };
        let (streams, settled) = (&mut self.streams, &mut self.scratch.settled);
        let report =
            running.space.on_ack(ack, |receipt, outcome| sort(streams, settled, receipt, outcome))?;
        if let Some(keys) = &mut self.keys {
            keys.on_acked(&running.space.phase, ack.largest, generation, now)?;
        }
        if report.newly_acked == 0 {
            return Ok(());
        }
        let sampled = sample(running, &report, delay, max_delay, now);
        let mut listener = Listener { log: &mut self.log, path: id, kind: PacketType::OneRtt };
        let lost = detect(running, self.frequency.peer_delay(), now, &mut listener, |receipt, outcome| {
            sort(streams, settled, receipt, outcome);
        });
        let next_number = running.space.peek_number();
        running.route.on_acked(&report, sampled, next_number, now);
        path.counters.packets_lost += lost;
        self.stats.packets_lost += lost;
        let recovered = report.progress && path.on_progress(now);
        self.tell_metrics(id, Cause::Acked { newest_sent_at: report.newest_sent_at });
        if recovered {
            self.announce(Event::PathRecovered(id));
            self.hand_over_doubted();
        }
        self.note_mtu(id);
        self.settle_rest();
        self.review_ack_frequency(now);
        Ok(())
    }

    /// Is another frequency of acknowledgements better by now?
    fn review_ack_frequency(&mut self, now: Instant) {
        if self.confirmed && self.frequency.is_review_due(now) {
            let seen: SmallVec<[Seen; 8]> = self.paths.iter().filter_map(Path::seen).collect();
            self.frequency.review(&seen, now);
        }
    }

    /// ACK in an Initial or Handshake packet.
    pub(super) fn on_handshake_ack(
        &mut self,
        turn: &mut Turn<'_>,
        ack: &Ack<'_>,
        level: Level,
    ) -> Result<(), TransportError> {
        let now = turn.now;
        let Some(handshake) = &mut self.handshake else { return Ok(()) };
        let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) else {
            return Ok(());
        };
        let Some(rung) = handshake.rung(level).filter(|rung| !rung.is_discarded()) else { return Ok(()) };
        let crypto = &mut rung.crypto;
        let acks = &mut rung.space;
        let mut acked_acks = None;
        let report = acks.on_ack(ack, |receipt, _| match receipt.kind() {
            ReceiptKind::Crypto => crypto.on_acked(receipt.offset(), receipt.len()),
            ReceiptKind::Ack => acked_acks = acked_acks.max(Some(receipt.value())),
            _ => {}
        })?;
        if let Some(largest) = acked_acks {
            acks.acks.on_ack_acked(largest);
        }
        if report.newly_acked == 0 {
            return Ok(());
        }
        if let Some(sent_at) = report.sample_from {
            running.route.on_rtt_sample(now.since(sent_at), Duration::ZERO, None, now);
        }
        let mut listener =
            Listener { log: &mut self.log, path: PathId::ZERO, kind: tell::packet_type(level) };
        let (space, route) = (&mut rung.space, &mut running.route);
        let lost = detect_in(space, route, Duration::ZERO, now, &mut listener, |receipt, _| {
            if receipt.kind() == ReceiptKind::Crypto {
                crypto.on_lost(receipt.offset(), receipt.len());
            }
        });
        let next_number = rung.space.peek_number();
        running.route.on_acked(&report, report.sample_from.is_some(), next_number, now);
        handshake.on_progress(self.role, level);
        self.stats.packets_lost += lost;
        if let Some(path) = self.paths.get_mut(PathId::ZERO) {
            path.counters.packets_lost += lost;
        }
        self.tell_metrics(PathId::ZERO, Cause::Acked { newest_sent_at: report.newest_sent_at });
        Ok(())
    }

    /// The loss timer of a path fired.
    pub(super) fn on_loss_timer(&mut self, id: PathId, turn: &Turn<'_>) {
        let (streams, settled) = (&mut self.streams, &mut self.scratch.settled);
        let Some(path) = self.paths.get_mut(id) else { return };
        let Some(running) = path.running_mut() else { return };
        let mut listener = Listener { log: &mut self.log, path: id, kind: PacketType::OneRtt };
        let lost =
            detect(running, self.frequency.peer_delay(), turn.now, &mut listener, |receipt, outcome| {
                sort(streams, settled, receipt, outcome);
            });
        path.counters.packets_lost += lost;
        self.stats.packets_lost += lost;
        self.note_mtu(id);
        self.settle_rest();
    }

    /// Tells a new datagram size.
    pub(super) fn note_mtu(&mut self, id: PathId) {
        let path = self.paths.get_mut(id).filter(|path| !path.stage().is_abandoned());
        let running = path.and_then(|path| path.running_mut());
        if let Some(bytes) = running.and_then(|running| running.route.mtu.take_news()) {
            self.announce(Event::PathMtu { path: id, bytes });
        }
    }

    /// The loss timer of the Initial or Handshake level fired.
    pub(super) fn on_handshake_loss_timer(&mut self, turn: &Turn<'_>) {
        let Some(handshake) = &mut self.handshake else { return };
        let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) else {
            return;
        };
        let mut lost = 0;
        for level in [Level::Initial, Level::Handshake] {
            let Some(rung) = handshake.rung(level) else { continue };
            let crypto = &mut rung.crypto;
            let mut listener =
                Listener { log: &mut self.log, path: PathId::ZERO, kind: tell::packet_type(level) };
            let (space, route) = (&mut rung.space, &mut running.route);
            lost += detect_in(space, route, Duration::ZERO, turn.now, &mut listener, |receipt, _| {
                if receipt.kind() == ReceiptKind::Crypto {
                    crypto.on_lost(receipt.offset(), receipt.len());
                }
            });
        }
        self.stats.packets_lost += lost;
        if let Some(path) = self.paths.get_mut(PathId::ZERO) {
            path.counters.packets_lost += lost;
        }
    }

    /// Everything in flight on `id` is to be sent elsewhere too: acknowledgements are overdue.
    pub(super) fn hand_over(&mut self, id: PathId) {
        let (streams, settled) = (&mut self.streams, &mut self.scratch.settled);
        if let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) {
            running.space.hand_over(|receipt, outcome| sort(streams, settled, receipt, outcome));
        }
        self.settle_rest();
    }

    /// A path works again: what left meanwhile on those that are still doubted goes there too.
    fn hand_over_doubted(&mut self) {
        for id in self.paths.ids() {
            if self.paths.get(id).is_some_and(|path| path.stage().is_suspect()) {
                self.hand_over(id);
            }
        }
    }

    /// An abandoned path waited long enough: what is unacknowledged there is lost (MP-171), and its last state goes.
    pub(super) fn stop_path(&mut self, id: PathId) {
        let (streams, settled) = (&mut self.streams, &mut self.scratch.settled);
        let Some(path) = self.paths.get_mut(id) else { return };
        if let Some(running) = path.running_mut() {
            let bytes = running.space.lose_all(|receipt, outcome| sort(streams, settled, receipt, outcome));
            running.route.on_discarded(bytes);
        }
        if path.may_stop() {
            path.stop();
        }
        self.settle_rest();
    }

    /// Gives up `id` for a reason of our own.
    pub(super) fn abandon(&mut self, id: PathId, code: PathErrorCode, now: Instant) -> bool {
        let news = self.paths.abandon(id, code);
        if news {
            self.hand_over(id);
            self.note_pathless(now);
            self.announce(Event::PathAbandoned { path: id, code, by_peer: false });
        }
        news
    }

    /// The probe of a silent path repeats its oldest data and that of all suspects, and what the peer must know of given-up
    /// paths: who knows which path still works, and what arrives on this one may be what the others wait for.
    pub(super) fn repeat_for_probe(&mut self, id: PathId) {
        let (streams, settled) = (&mut self.streams, &mut self.scratch.settled);
        for path in self.paths.iter_mut().filter(|path| path.id() == id || path.stage().is_suspect()) {
            if let Some(running) = path.running_mut() {
                running
                    .space
                    .hand_over_oldest(2, |receipt, outcome| sort(streams, settled, receipt, outcome));
            }
        }
        self.settle_rest();
        self.paths.iter_mut().for_each(Path::repeat_abandon);
    }

    /// The wait for a new path begins if none is left.
    pub(super) fn note_pathless(&mut self, now: Instant) {
        if self.pathless_since.is_none() && self.paths.is_pathless() {
            self.pathless_since = Some(now);
        }
    }

    /// Receipts that concern paths and the handshake.
    fn settle_rest(&mut self) {
        let mut settled = std::mem::take(&mut self.scratch.settled);
        for (receipt, outcome) in settled.drain(..) {
            if receipt.kind() == ReceiptKind::Datagram {
                self.on_datagram_settled(&receipt, outcome);
                continue;
            }
            let acked = match outcome {
                Outcome::Acked | Outcome::AckedLate => true,
                Outcome::Lost | Outcome::Overdue => false,
                Outcome::LostOverdue => continue, // queued again when it was overdue
            };
            match receipt.kind() {
                ReceiptKind::Ack if acked => {
                    if let Some(running) =
                        self.paths.get_mut(receipt.path()).and_then(|path| path.running_mut())
                    {
                        running.space.acks.on_ack_acked(receipt.value());
                    }
                }
                ReceiptKind::Ack => {} // the current state goes out anyway, never the old frame
                ReceiptKind::Crypto if acked => self.tickets.on_acked(receipt.offset(), receipt.len()),
                ReceiptKind::Crypto => self.tickets.on_lost(receipt.offset(), receipt.len()),
                ReceiptKind::HandshakeDone => self.on_handshake_done_settled(acked),
                ReceiptKind::AckFrequency => self.frequency.on_settled(receipt.value(), acked),
                _ => self.paths.on_settled(&receipt, acked),
            }
        }
        self.scratch.settled = settled;
    }

    fn on_handshake_done_settled(&mut self, acked: bool) {
        use crate::path::cids::Post;
        if let Some(post) = self.handshake_done.as_mut().filter(|post| **post != Post::Acked) {
            *post = if acked { Post::Acked } else { Post::Queued };
        }
    }
}

/// Takes an RTT sample from the acknowledgement, if it is one (RFC 9002 §5.1).
fn sample(
    running: &mut Running,
    report: &AckReport,
    delay: Duration,
    max_delay: Option<Duration>,
    now: Instant,
) -> bool {
    let Some(sent_at) = report.sample_from else { return false };
    running.route.on_rtt_sample(now.since(sent_at), delay, max_delay, now);
    true
}

/// Who hears of lost packets of one space.
struct Listener<'a> {
    log: &'a mut Journal,
    path: PathId,
    kind: PacketType,
}

impl Listener<'_> {
    #[inline]
    fn on_lost(&mut self, Gone { number, mtu_probe, overtaken }: Gone) {
        let (path, kind) = (self.path, self.kind);
        let trigger = if overtaken { LossTrigger::Reordering } else { LossTrigger::Time };
        self.log.record(|| Record::PacketLost { path, kind, number, mtu_probe, trigger });
    }
}

/// Loss detection on a path; returns how many packets were lost.
fn detect(
    running: &mut Running,
    max_ack_delay: Duration,
    now: Instant,
    listener: &mut Listener<'_>,
    sink: impl FnMut(&Receipt, Outcome),
) -> u64 {
    let Running { route, space, .. } = running;
    detect_in(space, route, max_ack_delay, now, listener, sink)
}

/// Loss detection in a space that rides on `route`, with the congestion response (RFC 9002 §6.1, §7.6, §7.7).
fn detect_in(
    space: &mut Space,
    route: &mut crate::path::route::Route,
    max_ack_delay: Duration,
    now: Instant,
    listener: &mut Listener<'_>,
    sink: impl FnMut(&Receipt, Outcome),
) -> u64 {
    let timeout = route.rtt.pto_base(max_ack_delay);
    let (delay, keep) = (route.rtt.loss_delay(), timeout * LOST_KEPT_TIMEOUTS);
    let report: LossReport = space.detect_lost(delay, keep, now, |gone| listener.on_lost(gone), sink);
    if report.packets > 0 || report.mtu_probe.is_some() {
        let persistent = report.run.is_some_and(|(first, last)| {
            route.sampled_before(first) && loss::is_persistent(first, last, timeout)
        });
        route.on_lost(&report, persistent, now);
        listener.log.measured(Cause::Lost { persistent }, || Some(route.metrics(listener.path)));
        if persistent {
            space.forget_lost_run();
        }
    }
    report.packets + report.aside
}
