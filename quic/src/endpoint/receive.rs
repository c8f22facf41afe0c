//! The way in: each datagram of a receive buffer finds its connection by its own connection ID.
//!
//! A merged buffer may hold datagrams of several connections, so none is judged by its neighbour. What belongs to no
//! connection is `admit`'s, if it may start one, or else `orphan`'s.

use super::Endpoint;
use crate::base::time::Instant;
use crate::cid::{CID_LEN, CidOwner};
use crate::connection::Arrival;
use crate::datagram::Received;
use crate::id::PathId;
use crate::turn::Turn;
use crate::wire::header::{invariant, offered_versions, stateless_reset_token};
use crate::wire::packet::VERSION_1;

impl Endpoint {
    /// A receive buffer arrived.
    pub fn receive(&mut self, received: Received<'_>, now: Instant) {
        self.begin_turn(now);
        let Received { bytes, segment_size, route, ecn } = received;
        if bytes.is_empty() {
            return;
        }
        for datagram in bytes.chunks_mut(segment_size.max(1)) {
            let Some(header) = invariant(datagram, CID_LEN) else {
                self.stats.strays += 1;
                continue;
            };
            let owner = self.cids.owner(header.dcid);
            let foreign = header.long && header.version != VERSION_1;
            match owner {
                Some(owner) if !foreign => {
                    self.visit(owner, now, |connection, turn| {
                        connection.receive(turn, Arrival { bytes: datagram, path: owner.path, route, ecn });
                    });
                }
                Some(owner) if header.version == 0 => self.on_version_negotiation(owner, datagram, now),
                _ if header.long => self.admit(datagram, &route, ecn, now),
                _ => self.on_unknown_short(datagram, &route, now),
            }
        }
    }

    /// Lends the owner of a connection ID the turn, and marks it as changed.
    fn visit(
        &mut self,
        owner: CidOwner,
        now: Instant,
        visit: impl FnOnce(&mut crate::connection::Connection, &mut Turn<'_>),
    ) {
        let Some(entry) = self.entries.get_mut(owner.slot as usize) else { return };
        entry.connection.set_log_time(now);
        let mut turn = Turn { now, slot: owner.slot, cids: &mut self.cids, rng: &mut self.rng };
        visit(&mut entry.connection, &mut turn);
        self.mark(owner.slot);
    }

    /// A Version Negotiation packet for a client (RFC 9000 §6.2). One that lists our version is a lie or a leftover.
    fn on_version_negotiation(&mut self, owner: CidOwner, datagram: &[u8], now: Instant) {
        let Some(mut versions) = offered_versions(datagram) else { return };
        let offers_ours = versions.any(|version| version == VERSION_1);
        if self.is_client(owner.slot) {
            self.visit(owner, now, |connection, _| connection.on_version_negotiation(offers_ours));
        }
    }

    /// A packet with a short header and an unknown connection ID: a stateless reset for us, or one is due to the sender.
    fn on_unknown_short(&mut self, datagram: &mut [u8], route: &crate::base::address::RouteId, now: Instant) {
        if let Some(slot) = stateless_reset_token(datagram).and_then(|token| self.cids.reset_by(token)) {
            let owner = CidOwner { slot, path: PathId::ZERO, sequence: 0 };
            self.visit(owner, now, |connection, turn| connection.on_stateless_reset(turn));
            return;
        }
        self.stats.strays += 1;
        self.reset_statelessly(datagram, route, now);
    }
}
