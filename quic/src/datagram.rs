//! The plain shapes that an endpoint exchanges with whoever moves its datagrams.
//!
//! Datagrams in, trains out, and the fate of a train. No type of an operating system, no QUIC packet.

use std::net::{IpAddr, SocketAddr};

use crate::base::address::{Ecn, LocalId, RouteId};

/// One receive buffer: a datagram, or several of equal size from one sender that were merged (generic receive offload).
#[derive(Debug)]
pub struct Received<'a> {
    /// The bytes; packets are opened in place, so they are changed.
    pub bytes: &'a mut [u8],
    /// Size of each datagram in bytes; the last may be shorter. At least `bytes.len()` when there is only one.
    pub segment_size: usize,
    /// Where they came in and from whom.
    pub route: RouteId,
    /// The marks of the network.
    pub ecn: Ecn,
}

/// Datagrams of equal size (the last may be shorter) for one destination, to be sent in one go (generic segmentation
/// offload) and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// UDP payload of all of them, in bytes.
    pub bytes: usize,
    /// UDP payload of each but the last, in bytes; equal to `bytes` for a single datagram.
    pub segment_size: usize,
    /// The listener or interface to send from.
    pub local_id: LocalId,
    /// The source address to send from, where that is known.
    pub source: Option<IpAddr>,
    /// The destination.
    pub remote: SocketAddr,
    /// The marks to send with.
    pub ecn: Ecn,
    /// To be given back with the train's fate.
    pub tag: TrainTag,
}

/// Names the connection of a train, its path, and the route that it takes; opaque to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainTag(pub u64);

/// What became of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handed to the network.
    Sent,
    /// The system does not segment for this destination; the datagrams were sent one by one.
    NoSegmentation,
    /// A datagram is larger than the interface takes; nothing was sent.
    TooBig,
    /// The system knows no way to the destination; nothing was sent.
    Unreachable,
    /// The system had no memory for it; nothing was sent.
    NoRoom,
}

/// Takes what an endpoint sends.
pub trait Outbox {
    /// Lends an empty buffer, best of 65,507 bytes, or `None` when no more can be taken now. Asked again without `send`
    /// between, it lends the same one.
    fn buffer(&mut self) -> Option<&mut [u8]>;

    /// Sends the first `train.bytes` bytes of the buffer that was lent last.
    fn send(&mut self, train: Train);
}
