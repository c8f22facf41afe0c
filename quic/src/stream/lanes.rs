//! Datagrams that wait to leave, in lanes: one for those that may take any path, one for each path that some are bound to.
//!
//! Owns their order: the oldest that fits goes first, and none waits behind one that only another path could carry.
//! Knows paths by number only; how much fits on them is told. Hot path: no allocation once the lanes have grown.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::datagrams::DatagramResult;
use crate::base::time::Instant;
use crate::id::PathId;

/// So many datagrams at the front of a lane are looked at for one that fits the path. Those that only a larger path
/// carries hold up others no longer than that path has room for them.
pub(super) const LOOK_AHEAD: usize = 64;

/// Expired datagrams are looked for at most this often; none leaves after its time, whether found or not.
const SWEEP_EVERY: Duration = Duration::from_millis(1);

/// An empty lane that has room for more datagrams than this is memory worth giving back.
const LANE_KEPT: usize = 16;

/// A datagram that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) bytes: Bytes,
    pub(super) expires_at: Instant,
    pub(super) report: bool,
}

impl Waiting {
    fn fits(&self, room: usize, now: Instant) -> bool {
        self.bytes.len() <= room && self.expires_at > now
    }
}

/// What may become of the datagrams in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Those of at most so many bytes can leave, now or later.
    UpTo(usize),
    /// It is not known yet.
    Open,
    /// None of them can: their path is gone.
    Gone,
}

#[derive(Debug)]
struct Lane {
    /// `None`: any path.
    bound_to: Option<PathId>,
    queue: VecDeque<Waiting>,
    bytes: u64,
    /// None is longer than this.
    longest: usize,
}

impl Lane {
    fn first_fit(&self, room: usize, now: Instant) -> Option<usize> {
        self.queue.iter().take(LOOK_AHEAD).position(|waiting| waiting.fits(room, now))
    }

    fn may_take(&self, path: PathId, bound_only: bool) -> bool {
        self.bound_to.map_or(!bound_only, |bound_to| bound_to == path)
    }
}

/// All lanes. As many as there are paths at most, and one.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    all: Vec<Lane>,
    bytes: u64,
    count: usize,
    /// None expires before.
    expiry: Option<Instant>,
    swept_at: Instant,
}

impl Lanes {
    /// Puts a datagram at the end of its lane.
    pub(super) fn push(&mut self, bound_to: Option<PathId>, waiting: Waiting) {
        let len = waiting.bytes.len();
        self.bytes += len as u64;
        self.count += 1;
        if waiting.expires_at < Instant::NEVER {
            self.expiry = Some(self.expiry.map_or(waiting.expires_at, |at| at.min(waiting.expires_at)));
        }
        let known = self.all.iter().position(|lane| lane.bound_to == bound_to);
        let at = known.unwrap_or_else(|| {
            self.all.push(Lane { bound_to, queue: VecDeque::new(), bytes: 0, longest: 0 });
            self.all.len() - 1
        });
        let lane = &mut self.all[at];
        lane.longest = if lane.queue.is_empty() { len } else { lane.longest.max(len) };
        lane.bytes += len as u64;
        lane.queue.push_back(waiting);
    }

    /// Bytes that wait in all lanes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Datagrams that wait in all lanes.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What waits for any path: bytes, where one without any counts as 1.
    pub(super) fn unbound_load(&self) -> u64 {
        let unbound = self.all.iter().find(|lane| lane.bound_to.is_none());
        unbound.map_or(0, |lane| lane.bytes.max(lane.queue.len() as u64))
    }

    /// The paths that datagrams are bound to.
    pub(super) fn bound_paths(&self) -> impl Iterator<Item = PathId> {
        self.all.iter().filter(|lane| !lane.queue.is_empty()).filter_map(|lane| lane.bound_to)
    }

    /// Could a datagram leave on `path` in `room` bytes? With `bound_only` one that is bound to it.
    pub(super) fn has_for(&self, path: PathId, room: usize, bound_only: bool, now: Instant) -> bool {
        self.find(path, room, bound_only, now).is_some()
    }

    /// The length of the datagram that `take` would give.
    pub(super) fn peek(&self, path: PathId, room: usize, bound_only: bool, now: Instant) -> Option<usize> {
        let (lane, at) = self.find(path, room, bound_only, now)?;
        Some(self.all[lane].queue[at].bytes.len())
    }

    /// Takes the oldest datagram that may leave on `path` in `room` bytes.
    pub(super) fn take(
        &mut self,
        path: PathId,
        room: usize,
        bound_only: bool,
        now: Instant,
    ) -> Option<Waiting> {
        let (lane, at) = self.find(path, room, bound_only, now)?;
        let lane = &mut self.all[lane];
        let waiting = lane.queue.remove(at)?;
        let len = waiting.bytes.len() as u64;
        lane.bytes -= len;
        self.bytes -= len;
        self.count -= 1;
        Some(waiting)
    }

    fn find(&self, path: PathId, room: usize, bound_only: bool, now: Instant) -> Option<(usize, usize)> {
        let lanes = self.all.iter().enumerate().filter(|(_, lane)| lane.may_take(path, bound_only));
        let fits = lanes.filter_map(|(at, lane)| Some((at, lane.first_fit(room, now)?)));
        fits.min_by_key(|&(lane, at)| self.all[lane].queue[at].id)
    }

    /// When `prune` has something to look for, though nothing else happened.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.count == 0 {
            return None; // what left in time had the earliest expiry
        }
        Some(self.expiry?.max(self.swept_at + SWEEP_EVERY))
    }

    /// Hands to `dropped` what cannot leave any more: expired, too large for every path that is left (MP-299), or bound
    /// to a path that is gone.
    pub(super) fn prune(
        &mut self,
        now: Instant,
        outlook: impl Fn(Option<PathId>) -> Outlook,
        mut dropped: impl FnMut(Waiting, DatagramResult),
    ) {
        let sweep = self.deadline().is_some_and(|at| at <= now);
        let mut expiry = None::<Instant>;
        for lane in &mut self.all {
            let room = match outlook(lane.bound_to) {
                Outlook::UpTo(room) => Some(room),
                Outlook::Open => Some(usize::MAX),
                Outlook::Gone => None,
            };
            if sweep || room.is_none_or(|room| lane.longest > room) {
                let before = (lane.bytes, lane.queue.len());
                lane.prune(room, now, &mut dropped);
                self.bytes -= before.0 - lane.bytes;
                self.count -= before.1 - lane.queue.len();
            }
            if sweep {
                let times = lane.queue.iter().map(|waiting| waiting.expires_at);
                let first = times.filter(|&at| at < Instant::NEVER).min();
                expiry = [expiry, first].into_iter().flatten().min();
            }
        }
        if sweep {
            (self.expiry, self.swept_at) = (expiry, now);
        }
        self.all.retain(|lane| !lane.queue.is_empty() || outlook(lane.bound_to) != Outlook::Gone);
    }

    /// Is memory kept that `trim` would give back?
    pub(super) fn has_spare(&self) -> bool {
        self.count == 0 && self.all.iter().any(|lane| lane.queue.capacity() > LANE_KEPT)
    }

    /// Gives back memory that is kept for speed.
    pub(super) fn trim(&mut self) {
        if self.count == 0 {
            self.all = Vec::new();
        }
    }

    /// Checks that what is counted is what is there.
    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let lane_bytes =
            |lane: &Lane| lane.queue.iter().map(|waiting| waiting.bytes.len() as u64).sum::<u64>();
        let right = self.all.iter().all(|lane| lane_bytes(lane) == lane.bytes)
            && self.all.iter().map(|lane| lane.bytes).sum::<u64>() == self.bytes
            && self.all.iter().map(|lane| lane.queue.len()).sum::<usize>() == self.count;
        if right { Ok(()) } else { Err("the datagrams that wait are not the sum of their lanes") }
    }
}

impl Lane {
    fn prune(
        &mut self,
        room: Option<usize>,
        now: Instant,
        dropped: &mut impl FnMut(Waiting, DatagramResult),
    ) {
        let (mut bytes, mut longest) = (0, 0);
        for _ in 0..self.queue.len() {
            let Some(waiting) = self.queue.pop_front() else { break };
            let len = waiting.bytes.len();
            let verdict = match room {
                _ if waiting.expires_at <= now => Some(DatagramResult::Expired),
                None => Some(DatagramResult::PathGone),
                Some(room) if len > room => Some(DatagramResult::TooLarge),
                Some(_) => None,
            };
            if let Some(result) = verdict {
                dropped(waiting, result);
            } else {
                bytes += len as u64;
                longest = longest.max(len);
                self.queue.push_back(waiting);
            }
        }
        (self.bytes, self.longest) = (bytes, longest);
    }
}
