//! Answers to packets that belong to no connection: Version Negotiation and stateless reset.
//!
//! Owns a bounded queue of them. Each is smaller than what it answers, so nobody can be flooded through us, and a full
//! queue drops.

use std::collections::VecDeque;

use super::Endpoint;
use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::cid::CID_LEN;
use crate::wire::cursor::Writer;
use crate::wire::header::{STATELESS_RESET_LEN_MIN, invariant};
use crate::wire::header_write::{encode_stateless_reset, encode_version_negotiation};
use crate::wire::packet::{DATAGRAM_LEN_MIN, VERSION_1};

/// Replies that wait to be sent at most.
pub(super) const REPLIES_MAX: usize = 64;

/// A reset no longer than this looks like any short packet.
const RESET_LEN_MAX: usize = 43;

/// A datagram in answer to a stranger.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) route: RouteId,
    pub(super) bytes: Vec<u8>,
}

/// Replies in the order of their causes.
#[derive(Debug, Default)]
pub(super) struct Replies(VecDeque<Reply>);

impl Replies {
    fn push(&mut self, reply: Reply) -> bool {
        let room = self.0.len() < REPLIES_MAX;
        if room {
            self.0.push_back(reply);
        }
        room
    }

    pub(super) fn front(&self) -> Option<&Reply> {
        self.0.front()
    }

    pub(super) fn pop(&mut self) {
        self.0.pop_front();
    }
}

impl Endpoint {
    /// A client wants a version that we do not speak (RFC 9000 §6.1).
    pub(super) fn negotiate_version(&mut self, datagram: &[u8], route: &RouteId) {
        let Some(header) = invariant(datagram, 0) else { return };
        // Never an answer to an answer, nor to what is too small to be a first packet.
        if header.version == 0 || datagram.len() < DATAGRAM_LEN_MIN {
            self.stats.strays += 1;
            return;
        }
        let [random]: [u8; 1] = self.rng.array();
        let mut bytes = vec![0; 7 + header.scid.len() + header.dcid.len() + 8];
        let mut w = Writer::new(&mut bytes);
        let reserved = 0x0a0a_0a0a | u32::from(random & 0xf0) << 24;
        encode_version_negotiation(&mut w, random & 0x3f, header.scid, header.dcid, &[VERSION_1, reserved]);
        let len = w.len();
        bytes.truncate(len);
        if self.replies.push(Reply { route: *route, bytes }) {
            self.stats.version_negotiations += 1;
        }
    }

    /// A peer uses a connection that we do not know: tell it, in a packet smaller than its own (RFC 9000 §10.3.3).
    pub(super) fn reset_statelessly(&mut self, datagram: &[u8], route: &RouteId, _now: Instant) {
        if self.config.server.is_none() || datagram.len() <= STATELESS_RESET_LEN_MIN {
            return;
        }
        let Some(header) = invariant(datagram, CID_LEN) else { return };
        let token = self.cids.reset_token(header.dcid);
        let len = (datagram.len() - 1).min(RESET_LEN_MAX);
        let mut bytes = vec![0; len];
        let mut random = [0; RESET_LEN_MAX];
        self.rng.fill(&mut random);
        encode_stateless_reset(&mut Writer::new(&mut bytes), &random[..len - token.len()], &token);
        if self.replies.push(Reply { route: *route, bytes }) {
            self.stats.stateless_resets += 1;
        }
    }
}
