//! All paths of one connection: which IDs exist, which may be opened, what the peers agreed.
//!
//! Owns the limits on path IDs, the memory of abandoned ones, and the frames that belong to no single path. Each path's
//! own state is `Path`'s; packets and keys are the connection's.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::ranges::RangeSet;
use crate::base::time::Instant;
use crate::error::PathErrorCode;
use crate::id::{PathId, Role};
use crate::path::cids::Post;
use crate::path::stage::Stage;
use crate::path::{Path, Timing};
use crate::schedule::PathView;
use crate::turn::Turn;

/// Paths that one connection ever shows to a scheduler without an allocation.
pub(crate) type Views = SmallVec<[PathView; 8]>;

/// Why a path cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenPathError {
    /// Only clients open paths (MP-100).
    ServerCannotOpen,
    /// One of the ends did not offer the extension.
    NotNegotiated,
    /// The handshake is not confirmed yet.
    NotConfirmed,
    /// The peer allows no further path now; it was told that we want one (`PATHS_BLOCKED`).
    PeerLimit,
    /// Our own limit (`max_paths`) is reached.
    OwnLimit,
    /// The peer does not want further paths to the address of the handshake (`disable_active_migration`, MP-015).
    PeerForbids,
    /// The connection is closing.
    Closing,
}

impl std::fmt::Display for OpenPathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ServerCannotOpen => "only the client opens paths",
            Self::NotNegotiated => "the peer does not speak multipath QUIC",
            Self::NotConfirmed => "the handshake is not confirmed yet",
            Self::PeerLimit => "the peer allows no further path",
            Self::OwnLimit => "the limit on paths is reached",
            Self::PeerForbids => "the peer wants no further path to this address of it",
            Self::Closing => "the connection is closing",
        })
    }
}

impl std::error::Error for OpenPathError {}

/// What makes a path better than another: the smaller, the better.
fn preference(path: &Path) -> (bool, bool, Option<Duration>, PathId) {
    let rtt = path.running().map(|running| running.route.rtt.smoothed());
    (path.stage().is_suspect(), path.status.is_backup(), rtt, path.id())
}

/// The paths of a connection, ascending by ID.
#[derive(Debug)]
pub(crate) struct Paths {
    role: Role,
    list: Vec<Path>,
    /// IDs that lived and are forgotten (MP-176).
    forgotten: RangeSet,
    /// Both ends offered the extension and the handshake is complete.
    multipath: bool,
    /// The highest path ID that we announced, and how far that announcement has come.
    our_limit: u64,
    our_limit_post: Post,
    /// How many paths we want to be able to have open at once.
    most: u64,
    peer_limit: u64,
    peer_initial_limit: u64,
    /// `active_connection_id_limit` of the peer.
    peer_cid_limit: u64,
    /// `PATHS_BLOCKED`: the limit that stopped us, and how far the frame has come.
    blocked_at: Option<(u64, Post)>,
    opened: u64,
}

impl Paths {
    /// Path 0 only, not started. `most` is the number of paths we would like to have at once.
    pub(crate) fn new(role: Role, most: u32) -> Self {
        let most = u64::from(most.max(1));
        Self {
            role,
            list: vec![Path::reserved(PathId::ZERO)],
            forgotten: RangeSet::new(),
            multipath: false,
            our_limit: most - 1,
            our_limit_post: Post::Acked,
            most,
            peer_limit: 0,
            peer_initial_limit: 0,
            peer_cid_limit: 2,
            blocked_at: None,
            opened: 1,
        }
    }

    /// Both ends offered the extension; `peer_limit` is the peer's `initial_max_path_id` (MP-013).
    pub(crate) fn on_negotiated(&mut self, peer_limit: u64) {
        self.multipath = true;
        self.peer_limit = peer_limit;
        self.peer_initial_limit = peer_limit;
    }

    /// The peer's `active_connection_id_limit`, which counts per path (MP-014).
    pub(crate) fn on_peer_cid_limit(&mut self, limit: u64) {
        self.peer_cid_limit = limit;
    }

    pub(crate) fn is_multipath(&self) -> bool {
        self.multipath
    }

    #[inline]
    pub(crate) fn get(&self, id: PathId) -> Option<&Path> {
        self.list.iter().find(|path| path.id() == id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.list.iter_mut().find(|path| path.id() == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        self.list.iter_mut()
    }

    /// The IDs of all paths that exist.
    pub(crate) fn ids(&self) -> SmallVec<[PathId; 8]> {
        self.list.iter().map(Path::id).collect()
    }

    /// Paths ever opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    pub(crate) fn count_opened(&mut self) {
        self.opened += 1;
    }

    /// Is there a usable, unsuspicious path besides `id`?
    pub(crate) fn has_alternative(&self, id: PathId) -> bool {
        self.list.iter().any(|path| path.id() != id && matches!(path.stage(), Stage::Open))
    }

    /// Is there a usable path besides `id`, even if it is suspect too? Then `id` may be doubted: when all are suspect,
    /// all are used again, and the one that works shows itself.
    pub(crate) fn has_other(&self, id: PathId) -> bool {
        self.list.iter().any(|path| path.id() != id && path.stage().is_usable())
    }

    /// Was nothing heard on `id` since it became suspect, although something is on another path, which itself became
    /// suspect meanwhile?
    pub(crate) fn is_outlived(&self, id: PathId, suspect_since: Instant) -> bool {
        let heard_since = |path: &Path, since: Instant| {
            path.running().is_some_and(|running| running.upkeep.heard_at() > since)
        };
        let outlives = |path: &Path| match *path.stage() {
            Stage::Suspect { since } => heard_since(path, since.max(suspect_since)),
            _ => false,
        };
        let silent = self.get(id).is_some_and(|path| !heard_since(path, suspect_since));
        silent && self.list.iter().any(|path| path.id() != id && outlives(path))
    }

    /// The best path for what may go anywhere and must arrive.
    pub(crate) fn best(&self, besides: Option<PathId>) -> Option<PathId> {
        self.best_with_credit(besides, 0)
    }

    /// The best path on which so many bytes may leave, whether or not the peer's address is proven.
    pub(crate) fn best_with_credit(&self, besides: Option<PathId>, bytes: u64) -> Option<PathId> {
        let usable = self.usable().filter(|path| Some(path.id()) != besides && path.may_send(bytes));
        usable.min_by_key(|path| preference(path)).map(Path::id)
    }

    /// The usable paths, best first: open before suspect, available before backup, lowest RTT first.
    pub(crate) fn by_preference(&self) -> SmallVec<[PathId; 8]> {
        let mut usable: SmallVec<[&Path; 8]> = self.usable().collect();
        usable.sort_by_key(|path| preference(path));
        usable.into_iter().map(Path::id).collect()
    }

    fn usable(&self) -> impl Iterator<Item = &Path> {
        self.list.iter().filter(|path| path.stage().is_usable() && path.remote.current().is_some())
    }

    /// Is no path usable, and none about to be?
    pub(crate) fn is_pathless(&self) -> bool {
        !self.list.iter().any(|path| path.stage().is_usable() || matches!(path.stage(), Stage::Probing))
    }

    /// Is there something to forget?
    pub(crate) fn has_finished(&self) -> bool {
        self.list.iter().any(Path::is_finished)
    }

    /// The longest smoothed RTT of the paths that carry data.
    pub(crate) fn longest_rtt(&self) -> Option<Duration> {
        let usable = self.list.iter().filter(|path| path.stage().is_usable());
        usable.filter_map(|path| Some(path.running()?.route.rtt.smoothed())).max()
    }

    /// Mints connection IDs for every path that may be used and has too few, lowest path first (MP-058, MP-059).
    ///
    /// Bounded by our own limit whatever the peer allows (MP-335).
    pub(crate) fn reserve(&mut self, turn: &mut Turn<'_>) {
        if self.multipath {
            for id in self.allowed() {
                let limit = self.peer_cid_limit;
                let Some(path) = self.entry(id).filter(|path| !path.stage().is_abandoned()) else { continue };
                let in_use = path.was_used();
                path.local.fill(turn, id, in_use, limit);
            }
        } else {
            let limit = self.peer_cid_limit;
            self.list[0].local.fill(turn, PathId::ZERO, true, limit);
        }
    }

    /// The IDs that both ends allow and that have not lived, ascending. As many as may be open at once, however many
    /// lived before.
    fn allowed(&self) -> SmallVec<[PathId; 8]> {
        let limit = self.our_limit.min(self.peer_limit);
        let fresh = self.forgotten.missing_in(0..limit + 1).flatten();
        fresh.filter_map(|id| u32::try_from(id).ok().map(PathId)).collect()
    }

    /// The path `id`, made if it may exist (within our limit, never abandoned).
    fn entry(&mut self, id: PathId) -> Option<&mut Path> {
        if u64::from(id.0) > self.our_limit || self.forgotten.contains(u64::from(id.0)) {
            return None;
        }
        let at = self.list.partition_point(|path| path.id() < id);
        if self.list.get(at).is_none_or(|path| path.id() != id) {
            self.list.insert(at, Path::reserved(id));
        }
        self.list.get_mut(at)
    }

    /// The lowest ID that can be opened now (MP-060, MP-101).
    pub(crate) fn take_unused(&mut self) -> Result<PathId, OpenPathError> {
        if self.role == Role::Server {
            return Err(OpenPathError::ServerCannotOpen);
        }
        if !self.multipath {
            return Err(OpenPathError::NotNegotiated);
        }
        let unused = self.allowed().into_iter().find(|&id| self.get(id).is_none_or(|path| !path.was_used()));
        match unused {
            Some(id) => {
                self.entry(id);
                Ok(id)
            }
            None if self.our_limit <= self.peer_limit => Err(OpenPathError::OwnLimit),
            None => {
                if self.blocked_at.is_none_or(|(limit, _)| limit != self.peer_limit) {
                    self.blocked_at = Some((self.peer_limit, Post::Queued));
                }
                Err(OpenPathError::PeerLimit)
            }
        }
    }

    /// Gives up `id`. `false` if that was done before or there is no such path.
    pub(crate) fn abandon(&mut self, id: PathId, code: PathErrorCode) -> bool {
        self.get_mut(id).is_some_and(|path| path.abandon(code))
    }

    /// Forgets paths that both ends gave up, and lets the peer use one more ID for each (MP-180). Returns them.
    pub(crate) fn forget_finished(&mut self, turn: &mut Turn<'_>) -> SmallVec<[Path; 1]> {
        let mut gone = SmallVec::new();
        while let Some(at) = self.list.iter().position(Path::is_finished) {
            let mut path = self.list.remove(at);
            path.local.release(turn);
            self.forgotten.insert(u64::from(path.id().0)..u64::from(path.id().0) + 1);
            if self.our_limit < u64::from(u32::MAX) {
                self.our_limit += 1;
                self.our_limit_post = Post::Queued;
            }
            gone.push(path);
        }
        if !gone.is_empty() {
            self.reserve(turn);
        }
        gone
    }

    /// Takes back every connection ID: the connection is gone.
    pub(crate) fn release(&mut self, turn: &mut Turn<'_>) {
        for path in &mut self.list {
            path.local.release(turn);
            path.remote.drop_all(turn);
        }
    }

    /// The peer wants to hear at once what arrived: on all paths, since the frame that says so names none (MP-309).
    pub(crate) fn hurry_acks(&mut self) {
        for running in self.list.iter_mut().filter_map(Path::running_mut) {
            running.space.acks.hurry();
        }
    }

    /// What the scheduler sees.
    pub(crate) fn views(&self, demand_bytes: u64, now: Instant) -> Views {
        self.list.iter().filter_map(|path| path.view(demand_bytes, now)).collect()
    }

    /// The earliest alarm of all paths.
    pub(crate) fn deadline(&self, max_ack_delay: Duration, confirmed: bool) -> Option<Instant> {
        let alarms =
            self.list.iter().filter_map(|path| path.alarm(self.timing(path.id(), max_ack_delay, confirmed)));
        let acks = self.list.iter().filter_map(|path| path.running()?.space.acks.deadline());
        alarms.map(|(at, _)| at).chain(acks).min()
    }

    pub(crate) fn timing(&self, id: PathId, max_ack_delay: Duration, confirmed: bool) -> Timing {
        Timing { max_ack_delay, alternative: self.has_other(id), confirmed }
    }

    /// Checks what must always hold; for audits.
    pub(crate) fn audit(&self) -> Result<(), String> {
        if self.list.len() as u64 > self.most + 64 {
            return Err(format!("{} paths kept for a limit of {}", self.list.len(), self.most));
        }
        if self.forgotten.len() as u64 > self.most + 1 {
            return Err(format!("{} ranges of forgotten paths", self.forgotten.len()));
        }
        if !self.list.is_sorted_by_key(Path::id) {
            return Err("paths out of order".to_owned());
        }
        self.list.iter().try_for_each(|path| match path.running() {
            Some(running) => running.space.audit().map_err(|error| format!("{:?}: {error}", path.id())),
            None => Ok(()),
        })
    }
}

#[path = "set_frames.rs"]
mod frames;
#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
