//! Who may start a connection.
//!
//! Owns the limits that keep strangers from costing memory or time: connections, handshakes at once, handshakes a turn
//! (a client can choose its worker, so each worker guards itself). A first packet that is not taken is dropped without
//! a word; the client sends it again.

use std::sync::Arc;

use super::Endpoint;
use crate::base::address::{Ecn, RouteId};
use crate::base::time::Instant;
use crate::cid::CidOwner;
use crate::connection::{Arrival, Connection};
use crate::id::PathId;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::header::{LongHeader, LongKind, invariant};
use crate::wire::packet::{DATAGRAM_LEN_MIN, VERSION_1};

/// A client's first choice of destination has at least so many octets (RFC 9000 §7.2).
const CHOSEN_CID_LEN_MIN: usize = 8;

impl Endpoint {
    /// A datagram with a long header for no connection of ours.
    pub(super) fn admit(&mut self, datagram: &mut [u8], route: &RouteId, ecn: Ecn, now: Instant) {
        let Some(tls) = self.config.server.clone() else {
            self.stats.strays += 1;
            return;
        };
        let Some(header) = invariant(datagram, 0) else { return };
        if header.version != VERSION_1 {
            self.negotiate_version(datagram, route);
            return;
        }
        let Some((original, peer)) = first_packet(datagram) else {
            self.stats.strays += 1;
            return;
        };
        let full = self.entries.len() >= self.config.connections_max
            || self.stats.handshakes >= self.config.handshakes_max as u64
            || self.handshakes_this_turn >= self.config.budget.handshakes;
        if full {
            self.stats.refused += 1;
            return;
        }
        self.handshakes_this_turn += 1;
        let slot = self.entries.vacant_key() as u32;
        let mut turn = Turn { now, slot, cids: &mut self.cids, rng: &mut self.rng };
        let transport = Arc::clone(&self.config.transport);
        let Ok(mut connection) = Connection::server(&tls, transport, original, peer, *route, &mut turn)
        else {
            self.stats.refused += 1;
            return;
        };
        turn.cids.register(original, CidOwner { slot, path: PathId::ZERO, sequence: u64::MAX });
        connection.receive(&mut turn, Arrival { bytes: datagram, path: PathId::ZERO, route: *route, ecn });
        if connection.stats().packets_received == 0 {
            // Not authentic: nothing of it is kept, so that garbage costs no memory.
            connection.withdraw_log();
            connection.release(&mut turn);
            self.stats.strays += 1;
            return;
        }
        self.insert(connection, true);
        self.stats.accepted += 1;
    }
}

/// The IDs in a client's first packet, if `datagram` may be one (RFC 9000 §7.2, §14.1).
fn first_packet(datagram: &[u8]) -> Option<(Cid, Cid)> {
    if datagram.len() < DATAGRAM_LEN_MIN {
        return None;
    }
    let header = LongHeader::parse(datagram).ok()?;
    let initial = matches!(header.kind, LongKind::Initial { .. });
    (initial && header.dcid.len() >= CHOSEN_CID_LEN_MIN).then_some((header.dcid, header.scid))
}
