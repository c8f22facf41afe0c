//! Datagrams in the corridor: the owner's doors, which path takes which, and what became of them (RFC 9221).
//!
//! Calls the room (`stream/datagrams`) with what only the paths know: how much fits in a packet, which path is gone.
//! Congestion control and pacing bind datagrams as they bind streams (RFC 9221 §5.4).

use bytes::Bytes;
use smallvec::SmallVec;

use super::Connection;
use crate::base::time::Instant;
use crate::crypto::TAG_LEN;
use crate::id::PathId;
use crate::path::Path;
use crate::path::route::DATAGRAM_SIZE_MIN;
use crate::path::set::{Paths, Views};
use crate::path::space::Outcome;
use crate::stream::lanes::Outlook;
use crate::stream::{DatagramId, DatagramOptions, DatagramResult, SendDatagramError};
use crate::wire::cid_bytes::CID_LEN_MAX;
use crate::wire::cursor::Writer;
use crate::wire::header_write::short_header_len_max;
use crate::wire::receipt::Receipt;

/// Room for frames that a packet has on every path there may ever be.
const ROOM_MIN: usize = room_in(DATAGRAM_SIZE_MIN as usize, CID_LEN_MAX);

/// Doors.
impl Connection {
    pub(crate) fn send_datagram(
        &mut self,
        bytes: Bytes,
        options: DatagramOptions,
        now: Instant,
    ) -> Result<DatagramId, SendDatagramError> {
        if self.lifecycle.is_ending() || self.lifecycle.is_handshaking() {
            return Err(SendDatagramError::NotConnected);
        }
        let room = match options.on_path {
            Some(id) => room(bindable(&self.paths, id).ok_or(SendDatagramError::NoSuchPath)?),
            None => usable_rooms(&self.paths).max(),
        };
        let max = self.datagrams.max_in(room.unwrap_or(ROOM_MIN));
        self.datagrams.send(bytes, options, max, now)
    }

    pub(crate) fn recv_datagram(&mut self) -> Option<Bytes> {
        self.datagrams.read()
    }

    pub(crate) fn datagram_result(&mut self) -> Option<(DatagramId, DatagramResult)> {
        self.datagrams.take_result()
    }

    pub(crate) fn datagram_max(&self) -> Option<usize> {
        self.datagrams.max_in(usable_rooms(&self.paths).min().unwrap_or(ROOM_MIN))
    }

    pub(crate) fn datagram_max_on(&self, id: PathId) -> Option<usize> {
        self.datagrams.max_in(room(bindable(&self.paths, id)?).unwrap_or(ROOM_MIN))
    }
}

/// On their way.
impl Connection {
    /// A path that takes one of the datagrams that are bound to it, now.
    pub(super) fn bound_datagrams(&mut self, now: Instant) -> Option<PathId> {
        if self.datagrams.is_idle() {
            return None;
        }
        for id in self.datagrams.bound_paths().collect::<SmallVec<[PathId; 8]>>() {
            let Some(view) = self.paths.get(id).and_then(|path| path.view(1, now)) else { continue };
            if !view.has_room() || !self.has_datagrams(id, true, now) {
                continue;
            }
            if view.can_send(now) {
                return Some(id);
            }
            self.pace(Some(view.ready_at), now);
        }
        None
    }

    /// Could a datagram leave on this path, as far as sizes go?
    pub(super) fn has_datagrams(&self, id: PathId, bound_only: bool, now: Instant) -> bool {
        let room = self.paths.get(id).and_then(room);
        room.is_some_and(|room| self.datagrams.has_for(id, room, bound_only, now))
    }

    /// Leaves out the paths whose packets are too small for any of the datagrams at hand: a train there would be empty.
    pub(super) fn retain_for_datagrams(&self, views: &mut Views, now: Instant) {
        views.retain(|view| self.has_datagrams(view.id, false, now));
    }

    pub(super) fn write_datagrams(&mut self, id: PathId, bound_only: bool, now: Instant, w: &mut Writer<'_>) {
        if let Some(room) = self.paths.get(id).and_then(room) {
            self.datagrams.write(w, &mut self.scratch.receipts, id, room, bound_only, now);
        }
    }

    /// Drops datagrams that cannot leave any more.
    pub(super) fn prune_datagrams(&mut self, now: Instant) {
        if self.datagrams.is_idle() {
            return;
        }
        let paths = &self.paths;
        self.datagrams.prune(now, |bound_to| match bound_to {
            Some(id) => bindable(paths, id).map_or(Outlook::Gone, |path| outlook(room(path))),
            None => outlook(usable_rooms(paths).max()),
        });
    }

    /// One that was called lost is not told of again if it arrived after all; one that is overdue may still.
    pub(super) fn on_datagram_settled(&mut self, receipt: &Receipt, outcome: Outcome) {
        match outcome {
            Outcome::Acked => self.datagrams.on_acked(receipt),
            Outcome::Lost | Outcome::LostOverdue => self.datagrams.on_lost(receipt),
            Outcome::AckedLate | Outcome::Overdue => {}
        }
    }
}

#[cfg(test)]
impl Connection {
    /// Lets a test send what the peer did not invite.
    pub(crate) fn pretend_datagrams_are_taken(&mut self) {
        self.datagrams.on_peer_limit(u64::from(u16::MAX));
    }
}

fn outlook(room: Option<usize>) -> Outlook {
    room.map_or(Outlook::Open, Outlook::UpTo)
}

/// A path that datagrams may be bound to.
fn bindable(paths: &Paths, id: PathId) -> Option<&Path> {
    paths.get(id).filter(|path| path.was_used() && !path.stage().is_abandoned())
}

/// Room for frames in a packet of each path that may carry data now.
fn usable_rooms(paths: &Paths) -> impl Iterator<Item = usize> {
    paths.iter().filter(|path| path.stage().is_usable()).filter_map(room)
}

/// Room for frames in a full packet of a path; `None` as long as nothing can be sent there.
fn room(path: &Path) -> Option<usize> {
    let size = path.running()?.route.datagram_size();
    Some(room_in(usize::from(size), path.remote.current()?.len()))
}

/// Room for frames in a 1-RTT packet of this size.
const fn room_in(packet_bytes: usize, dcid_len: usize) -> usize {
    packet_bytes - short_header_len_max(dcid_len) - TAG_LEN
}
