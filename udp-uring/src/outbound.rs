//! The way out, up to the system call: buffers, requests, pieces, fates.
//!
//! Owns the send buffers and what each of them carries, joins lanes (order), messages (memory) and the segmentation
//! table, and reads errors. Never makes a system call: an engine takes pieces here and reports what the kernel said.

use std::collections::VecDeque;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::address::Family;
use crate::gso::Segmentation;
use crate::lanes::{Lanes, Mood, Outcome, Piece};
use crate::messages::{Cut, Envelope, Messages};
use crate::socket::UdpSocket;
use crate::{Config, Fate, SEGMENTS_MAX, SEND_BUFFER_BYTES, Send, SocketIndex, Stats, now};

/// The most send buffers of an engine.
const SEND_BUFFERS_MAX: u16 = 4096;
/// Beyond this many fates that nobody fetched we forget the oldest.
pub(crate) const FATES_MAX: usize = 8192;

/// What a slot carries.
#[derive(Clone, Copy, Debug)]
struct Cargo {
    tag: u64,
    socket: SocketIndex,
    envelope: Envelope,
    cut: Cut,
    /// It left as single datagrams because the kernel refuses trains there.
    cut_up: bool,
    /// The refusal is news to the segmentation table.
    refused_now: bool,
}

#[derive(Clone, Copy, Debug)]
struct SocketFacts {
    family: Family,
    wildcard: bool,
}

/// The send side of an engine.
#[derive(Debug)]
pub(crate) struct Outbound {
    messages: Messages,
    lanes: Lanes,
    cargo: Vec<Cargo>,
    /// Free slots; the one used last comes first, as it is warm in the cache.
    free: Vec<u16>,
    /// The slot whose payload is lent to the caller.
    lent: Option<u16>,
    /// The caller wanted a buffer this turn and got none.
    starved: bool,
    sockets: Vec<SocketFacts>,
    segmentation: Segmentation,
    segments_per_piece: usize,
    fates: VecDeque<(u64, Fate)>,
    report_sent: bool,
    /// Trains under way whose success is told, because they were cut up.
    cut_up_trains: usize,
    stats: Stats,
}

impl Outbound {
    pub(crate) fn new(config: &Config) -> Self {
        let slots = config.send_buffers.clamp(1, SEND_BUFFERS_MAX);
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let idle = Cargo {
            tag: 0,
            socket: SocketIndex(0),
            envelope: Envelope { remote: nowhere, family: Family::Ipv4, source: None, ecn: 0 },
            cut: Cut { start: 0, end: 0, segment_size: 1, segments_per_piece: 1 },
            cut_up: false,
            refused_now: false,
        };
        Self {
            messages: Messages::new(slots),
            lanes: Lanes::new(slots),
            cargo: vec![idle; usize::from(slots)],
            free: (0..slots).rev().collect(),
            lent: None,
            starved: false,
            sockets: Vec::new(),
            segmentation: Segmentation::default(),
            segments_per_piece: usize::from(config.gso_segments_max).clamp(1, SEGMENTS_MAX),
            fates: VecDeque::new(),
            report_sent: config.report_sent,
            cut_up_trains: 0,
            stats: Stats::default(),
        }
    }

    /// How many send buffers there are.
    pub(crate) fn count(&self) -> u16 {
        self.cargo.len() as u16
    }

    /// Trains of the next socket number go out here.
    pub(crate) fn add_socket(&mut self, socket: &UdpSocket) {
        let address = socket.local_addr();
        self.sockets
            .push(SocketFacts { family: Family::of(address), wildcard: address.ip().is_unspecified() });
        self.lanes.open();
    }

    pub(crate) fn send_buffer(&mut self) -> Option<&mut [u8]> {
        if self.lent.is_none() {
            self.lent = self.free.pop();
            self.starved |= self.lent.is_none();
        }
        let slot = self.lent?;
        // SAFETY: a lent slot came from `free`, where slots stand of which no piece is with the kernel.
        Some(unsafe { self.messages.payload(slot) })
    }

    pub(crate) fn send(&mut self, request: &Send) {
        let Some(slot) = self.lent.take() else {
            debug_assert!(false, "send() without a buffer");
            return;
        };
        let Some(cargo) = self.cargo_of(request) else {
            return self.fail(slot, request.tag, Fate::Other(libc::EINVAL));
        };
        self.cargo[usize::from(slot)] = cargo;
        // SAFETY: the slot was lent to the caller, so no piece of it is with the kernel.
        if unsafe { self.messages.write(slot, &cargo.envelope, &cargo.cut) } {
            self.cut_up_trains += usize::from(cargo.cut_up);
            self.lanes.push(request.socket.0, slot, cargo.cut.pieces() as u16);
        } else {
            self.fail(slot, request.tag, Fate::Unreachable);
        }
    }

    pub(crate) fn next_fate(&mut self) -> Option<(u64, Fate)> {
        self.fates.pop_front()
    }

    /// Takes up to `limit` pieces of the next lane that has some.
    pub(crate) fn take_pieces(&mut self, limit: usize, into: &mut Vec<Piece>) -> Option<(SocketIndex, Mood)> {
        if limit == 0 {
            return None;
        }
        let lane = self.lanes.next_ready()?;
        if let Some(refused) = self.lanes.take_refused(lane) {
            self.cut_up(refused);
        }
        Some((SocketIndex(lane), self.lanes.take(lane, limit, into)))
    }

    /// Are there pieces to take?
    pub(crate) fn any_ready(&self) -> bool {
        self.lanes.any_ready()
    }

    /// Pieces the kernel has and answers for without waiting.
    pub(crate) fn eager_with_kernel(&self) -> usize {
        self.lanes.eager_with_kernel()
    }

    /// Will the caller have something to do when the kernel has answered for the eager pieces it has? Forgets by asking
    /// that buffers ran out.
    pub(crate) fn take_restless(&mut self) -> bool {
        let answers_soon = self.lanes.eager_with_kernel() > 0;
        let resumes = mem::take(&mut self.starved) && (answers_soon || !self.free.is_empty());
        let fates_soon = answers_soon && (self.report_sent || self.cut_up_trains > 0);
        resumes || fates_soon || !self.fates.is_empty()
    }

    /// The header of a piece that was taken.
    pub(crate) fn message(&self, piece: Piece) -> *mut libc::msghdr {
        self.messages.message(piece)
    }

    /// The lanes, for an engine that parks the patient ones by itself.
    pub(crate) fn lanes(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    /// The kernel took a piece, or said why not (an error number).
    pub(crate) fn on_answer(&mut self, piece: Piece, mood: Mood, answer: Result<(), i32>) {
        let cargo = &self.cargo[usize::from(piece.slot)];
        let segments = cargo.cut.segments_of(usize::from(piece.index));
        let outcome = match answer {
            Ok(()) => {
                self.stats.datagrams_sent += segments as u64;
                Outcome::Sent
            }
            Err(errno) => outcome_of(errno, segments),
        };
        self.stats.send_blocked += u64::from(outcome == Outcome::Full);
        let Some(finished) = self.lanes.on_outcome(piece, mood, outcome) else { return };
        let Cargo { tag, socket, envelope, cut_up, refused_now, .. } = self.cargo[usize::from(finished.slot)];
        self.cut_up_trains -= usize::from(cut_up);
        if let Some(fate) = finished.failure {
            return self.fail(finished.slot, tag, fate);
        }
        self.free.push(finished.slot);
        self.stats.trains_sent += 1;
        if cut_up {
            self.stats.gso_fallbacks += 1;
            if refused_now {
                // Only now is it known that the train was refused and not its datagrams.
                self.segmentation.on_refused(socket, envelope.remote.ip(), now());
            }
            self.report(tag, Fate::NoSegmentation);
        } else if self.report_sent {
            self.report(tag, Fate::Sent);
        }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Never frees the memory: the kernel still uses it.
    pub(crate) fn leak(&mut self) {
        self.messages.leak();
    }

    /// What a request means for its slot; `None` if it makes no sense.
    fn cargo_of(&mut self, request: &Send) -> Option<Cargo> {
        let facts = *self.sockets.get(usize::from(request.socket.0))?;
        let segment_fits = (1..=usize::from(u16::MAX)).contains(&request.segment_size);
        if request.bytes > SEND_BUFFER_BYTES || !segment_fits {
            return None;
        }
        let segments = request.bytes.div_ceil(request.segment_size);
        if segments > SEGMENTS_MAX {
            return None;
        }
        let remote_ip = request.remote.ip();
        let cut_up = segments > 1
            && !self.segmentation.is_unlimited()
            && !self.segmentation.allows(request.socket, remote_ip, now());
        Some(Cargo {
            tag: request.tag,
            socket: request.socket,
            envelope: Envelope {
                remote: request.remote,
                family: facts.family,
                source: request.source.filter(|_| facts.wildcard).map(|ip| ip.to_canonical()),
                ecn: request.ecn & 3,
            },
            cut: Cut {
                start: 0,
                end: request.bytes,
                segment_size: request.segment_size,
                segments_per_piece: if cut_up { 1 } else { self.segments_per_piece },
            },
            cut_up,
            refused_now: false,
        })
    }

    /// Turns what is left of a refused train into single datagrams.
    fn cut_up(&mut self, refused: Piece) {
        let cargo = &mut self.cargo[usize::from(refused.slot)];
        let start = cargo.cut.range(usize::from(refused.index)).start;
        cargo.cut = Cut { start, segments_per_piece: 1, ..cargo.cut };
        self.cut_up_trains += usize::from(!cargo.cut_up);
        (cargo.cut_up, cargo.refused_now) = (true, true);
        // SAFETY: `take_refused` names a piece only when nothing of its lane is with the kernel.
        let written = unsafe { self.messages.write(refused.slot, &cargo.envelope, &cargo.cut) };
        debug_assert!(written, "the same destination was written before");
        self.lanes.on_cut_up(refused.slot, cargo.cut.pieces() as u16);
    }

    fn fail(&mut self, slot: u16, tag: u64, fate: Fate) {
        self.free.push(slot);
        self.stats.send_errors += 1;
        self.report(tag, fate);
    }

    fn report(&mut self, tag: u64, fate: Fate) {
        if self.fates.len() == FATES_MAX {
            self.fates.pop_front();
            self.stats.fates_forgotten += 1;
        }
        self.fates.push_back((tag, fate));
    }
}

/// What an error number means for a piece of so many datagrams.
fn outcome_of(errno: i32, segments: usize) -> Outcome {
    match errno {
        libc::EAGAIN | libc::EINTR => Outcome::Full,
        libc::ECANCELED => Outcome::Cancelled,
        // A segment above the route's MTU is EINVAL on older kernels; then a single datagram says EMSGSIZE.
        libc::EIO | libc::EINVAL if segments > 1 => Outcome::Refused,
        libc::EMSGSIZE => Outcome::Failed(Fate::TooBig),
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EHOSTDOWN
        | libc::EADDRNOTAVAIL
        | libc::ECONNREFUSED => Outcome::Failed(Fate::Unreachable),
        libc::ENOBUFS | libc::ENOMEM => Outcome::Failed(Fate::NoRoom),
        other => Outcome::Failed(Fate::Other(other)),
    }
}

#[cfg(test)]
mod tests;
