//! Strays: segments that the kernel gave to the wrong worker, and their way home.
//!
//! Owns a bounded inbox per worker, the pools of buffers that travel, and the count of every reason. A stray goes
//! once: who finds a parcel in its inbox processes it and never sends it on. Does not decide who owns a segment
//! (`steer`), wakes nobody (`worker` does, once per target and turn) and never touches what is not a stray.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use braid_quic::{Ecn, LocalId};
use crossbeam::queue::ArrayQueue;
use serde::{Deserialize, Serialize};

use crate::steer::{Basis, Owner, Steering};

/// Parcels that may wait for one worker. Beyond this they are dropped, as by a full socket.
pub const INBOX_MAX: usize = 256;

/// Buffers that one worker may have on their way, each as large as the largest run that it carried.
pub const POOL_MAX: usize = 256;

/// A run of segments that belongs to another worker, with all that the kernel told about it.
#[derive(Debug)]
pub struct Parcel {
    /// The segments, one after the other.
    pub bytes: Vec<u8>,
    /// How and whence they came.
    pub label: Label,
    from: usize,
}

/// What a run brings along besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Length of each segment but the last.
    pub segment_size: usize,
    /// The listener it came in by.
    pub local_id: LocalId,
    /// The local address it was sent to, if known.
    pub local: Option<IpAddr>,
    /// Who sent it.
    pub remote: SocketAddr,
    /// Its congestion marks.
    pub ecn: Ecn,
}

/// Why a segment was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Steering is switched off, so the kernel spreads by address.
    NoSteering,
    /// The kernel steers a merged buffer by its first segment; this was a later one.
    GroMix,
    /// Too short to name a worker.
    Short,
    /// The kernel chose otherwise than its program says.
    Misrouted,
}

/// Why the stray with this `owner` is with the wrong worker.
fn reason(steered: bool, first_in_buffer: bool, owner: Owner) -> Reason {
    if !steered {
        Reason::NoSteering
    } else if !first_in_buffer {
        Reason::GroMix
    } else if owner.basis == Basis::Default {
        Reason::Short
    } else {
        Reason::Misrouted
    }
}

/// Segments forwarded by one worker, by reason, and what became of strays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwards {
    /// Forwarded because steering is off.
    pub no_steering: u64,
    /// Forwarded because the kernel merged packets of several owners.
    pub gro_mix: u64,
    /// Forwarded because they are too short to name a worker.
    pub short: u64,
    /// Forwarded because the kernel chose another worker than its program says.
    pub misrouted: u64,
    /// Not forwarded but dropped: the owner's inbox was full.
    pub dropped_inbox_full: u64,
    /// Not forwarded but dropped: all of this worker's buffers were on their way.
    pub dropped_no_buffer: u64,
    /// Strays that arrived here from other workers.
    pub received: u64,
}

impl Forwards {
    /// All segments that went to another worker.
    pub fn sent(&self) -> u64 {
        self.no_steering + self.gro_mix + self.short + self.misrouted
    }

    fn count(&mut self, reason: Reason, segments: u64) {
        *match reason {
            Reason::NoSteering => &mut self.no_steering,
            Reason::GroMix => &mut self.gro_mix,
            Reason::Short => &mut self.short,
            Reason::Misrouted => &mut self.misrouted,
        } += segments;
    }
}

/// The inboxes and buffer pools of a group of workers.
#[derive(Debug)]
struct Mailroom {
    inboxes: Vec<ArrayQueue<Parcel>>,
    spares: Vec<ArrayQueue<Vec<u8>>>,
}

/// One worker's end of the mailroom.
#[derive(Debug)]
pub struct Forwarder {
    me: usize,
    steering: Steering,
    steered: bool,
    room: Arc<Mailroom>,
    buffers_made: usize,
    to_wake: u64,
    forwards: Forwards,
}

impl Forwarder {
    /// One end for each of the workers that share datagrams by `steering`. `steered` tells whether the kernel has
    /// been told of the rule.
    pub fn group(steering: Steering, steered: bool) -> Vec<Self> {
        let workers = steering.workers();
        let room = Arc::new(Mailroom {
            inboxes: (0..workers).map(|_| ArrayQueue::new(INBOX_MAX)).collect(),
            spares: (0..workers).map(|_| ArrayQueue::new(POOL_MAX)).collect(),
        });
        let end = |me| Self {
            me,
            steering,
            steered,
            room: Arc::clone(&room),
            buffers_made: 0,
            to_wake: 0,
            forwards: Forwards::default(),
        };
        (0..workers).map(end).collect()
    }

    /// Walks a GRO buffer: runs of own segments go to `own` in place, runs of strays go to their owners.
    #[inline]
    pub fn sort(&mut self, mut bytes: &mut [u8], label: &Label, mut own: impl FnMut(&mut [u8])) {
        if self.steering.workers() == 1 {
            return own(bytes);
        }
        let mut first_in_buffer = true;
        while !bytes.is_empty() {
            let (len, owner) = first_run(bytes, label.segment_size, &self.steering);
            let (run, rest) = bytes.split_at_mut(len);
            if owner.worker == self.me {
                own(run);
            } else {
                self.forward(owner.worker, run, label, reason(self.steered, first_in_buffer, owner));
            }
            first_in_buffer = false;
            bytes = rest;
        }
    }

    /// The next parcel from another worker. It must come back by [`Self::give_back`].
    #[inline]
    pub fn take(&mut self) -> Option<Parcel> {
        let parcel = self.room.inboxes[self.me].pop()?;
        self.forwards.received += segments(parcel.bytes.len(), parcel.label.segment_size);
        Some(parcel)
    }

    /// Does a parcel wait?
    pub fn has_mail(&self) -> bool {
        !self.room.inboxes[self.me].is_empty()
    }

    /// Returns a parcel's buffer to the worker that sent it.
    pub fn give_back(&self, parcel: Parcel) {
        let lost = self.room.spares[parcel.from].push(parcel.bytes);
        debug_assert!(lost.is_ok(), "a pool holds all buffers of its worker");
    }

    /// The workers that got a parcel since the last call.
    pub fn take_targets(&mut self) -> impl Iterator<Item = usize> + use<> {
        let mut targets = std::mem::take(&mut self.to_wake);
        std::iter::from_fn(move || {
            let target = targets.trailing_zeros();
            targets &= targets.checked_sub(1)?;
            Some(target as usize)
        })
    }

    /// What was forwarded, received and dropped so far.
    pub fn forwards(&self) -> Forwards {
        self.forwards
    }

    #[cold]
    fn forward(&mut self, target: usize, run: &[u8], label: &Label, reason: Reason) {
        let segments = segments(run.len(), label.segment_size);
        let Some(mut bytes) = self.buffer() else {
            self.forwards.dropped_no_buffer += segments;
            return;
        };
        bytes.clear();
        bytes.extend_from_slice(run);
        let parcel = Parcel { bytes, label: *label, from: self.me };
        match self.room.inboxes[target].push(parcel) {
            Ok(()) => {
                self.forwards.count(reason, segments);
                self.to_wake |= 1 << target;
            }
            Err(refused) => {
                self.forwards.dropped_inbox_full += segments;
                self.give_back(refused);
            }
        }
    }

    /// A buffer that came home, or a new one while there may be more.
    fn buffer(&mut self) -> Option<Vec<u8>> {
        self.room.spares[self.me].pop().or_else(|| {
            (self.buffers_made < POOL_MAX).then(|| {
                self.buffers_made += 1;
                Vec::new()
            })
        })
    }
}

/// Length in bytes and owner of the longest run of segments with one owner at the front of a GRO buffer.
fn first_run(bytes: &[u8], segment_size: usize, steering: &Steering) -> (usize, Owner) {
    let mut segments = bytes.chunks(segment_size.max(1));
    let first = segments.next().unwrap_or_default();
    let owner = steering.owner(first);
    let same = segments.take_while(|segment| steering.owner(segment) == owner);
    (same.fold(first.len(), |len, segment| len + segment.len()), owner)
}

/// How many segments of `segment_size` bytes `len` bytes are; the last may be shorter.
fn segments(len: usize, segment_size: usize) -> u64 {
    len.div_ceil(segment_size.max(1)) as u64
}

#[cfg(test)]
mod tests;
