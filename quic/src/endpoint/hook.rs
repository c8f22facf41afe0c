//! For tests only: a door to the connections behind an endpoint's tables.
//!
//! Not there outside `cfg(test)`. `duet` is its user.

#![allow(dead_code, reason = "a toolbox: not every tool is in use at every time")]

use super::{ConnectionKey, Endpoint};
use crate::connection::Connection;
use crate::datagram::TrainTag;
use crate::id::PathId;
use crate::turn::Turn;
use crate::wire::frame::NewConnectionId;

impl Endpoint {
    /// The connection itself; it is visited as if something had happened.
    pub(crate) fn inside(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.mark(key.slot);
        let entry = self.entries.get_mut(key.slot as usize)?;
        (entry.generation == key.generation).then_some(&mut *entry.connection)
    }

    /// The connection that sent a train; `None` for what belongs to no connection.
    pub(crate) fn sender(&mut self, tag: TrainTag) -> Option<&mut Connection> {
        let slot = super::transmit::untag(tag)?.slot;
        self.entries.get_mut(slot as usize).map(|entry| &mut *entry.connection)
    }

    /// A real ID of a path that the path has issued and not said; whoever hears of it is to retire all before it.
    pub(crate) fn issue(&mut self, key: ConnectionKey, path: PathId) -> NewConnectionId {
        let Self { entries, cids, rng, .. } = self;
        let mut turn = Turn { now: self.turn_at, slot: key.slot, cids, rng };
        let paths = entries[key.slot as usize].connection.paths_mut();
        paths.get_mut(path).expect("the path").local.issue_silently(&mut turn, path)
    }

    /// Connection IDs in its tables.
    pub(crate) fn ids_held(&self) -> usize {
        self.cids.sizes().0
    }
}
