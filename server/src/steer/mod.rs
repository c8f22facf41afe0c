//! Which worker owns a datagram.
//!
//! Owns one rule over the first octets of a datagram, [`Steering::owner`], and in `program` the classic BPF program
//! that makes the kernel follow the same rule. Every datagram has exactly one owner, whatever its version and the
//! length of its connection ID, so two workers never accept the same connection. Does not know how connection IDs
//! are masked (`braid_quic::cid` does), nor what happens to a stray (`forward`).

mod program;
#[cfg(test)]
mod tests;

use braid_quic::Shard;
use braid_quic::cid::{WORKERS_MAX, shard_octet};

/// The bit of a datagram's first octet that tells a long header (RFC 8999 §5).
const LONG_HEADER: u8 = 0x80;
/// Where a long header has the length of the destination connection ID (RFC 8999 §5.1).
const LONG_ID_LEN_AT: usize = 5;
/// Where a long header has the destination connection ID.
const LONG_ID_AT: usize = 6;
/// Where a short header has the destination connection ID (RFC 8999 §5.2).
const SHORT_ID_AT: usize = 1;
/// How many octets of the ID the rule reads. Shorter ones belong to the first worker.
const ID_HEAD_LEN: usize = 8;

/// The worker that serves a datagram, and what named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The worker's index.
    pub worker: usize,
    /// Why it is that one.
    pub basis: Basis,
}

/// What named the owner of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The destination connection ID.
    ConnectionId,
    /// Nothing: the datagram or its ID is too short, so it is the first worker's.
    Default,
}

/// The rule for one group of workers.
#[derive(Clone, Copy, Debug)]
pub struct Steering {
    key: [u8; 16],
    workers: usize,
}

impl Steering {
    /// The rule for `workers` workers whose connection IDs are masked with `key`.
    ///
    /// # Panics
    ///
    /// If there is no worker, or more than a connection ID can name.
    pub fn new(key: [u8; 16], workers: usize) -> Self {
        assert!((1..=WORKERS_MAX).contains(&workers), "1 to {WORKERS_MAX} workers");
        Self { key, workers }
    }

    /// How many workers share the datagrams.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The worker that owns `datagram` (one segment of a GRO buffer).
    #[inline]
    #[must_use]
    pub fn owner(&self, datagram: &[u8]) -> Owner {
        match id_head(datagram).and_then(|head| shard_octet(&self.key, head)) {
            Some(octet) => Owner {
                worker: usize::from(Shard::from_octet(octet).worker) % self.workers,
                basis: Basis::ConnectionId,
            },
            None => Owner { worker: 0, basis: Basis::Default },
        }
    }
}

/// The head of the destination connection ID, if the ID has that many octets and they are here.
fn id_head(datagram: &[u8]) -> Option<&[u8]> {
    let at = if datagram.first()? & LONG_HEADER == 0 {
        SHORT_ID_AT
    } else if usize::from(*datagram.get(LONG_ID_LEN_AT)?) < ID_HEAD_LEN {
        return None;
    } else {
        LONG_ID_AT
    };
    datagram.get(at..at + ID_HEAD_LEN)
}
