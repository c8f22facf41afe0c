//! The way out: trains of `quic` into buffers of `udp-uring`.
//!
//! Owns nothing; joins the two, and lets an application cut a link below QUIC. The fates of trains come back through
//! [`fate`].

use braid_quic::{Outbox, Train};
use braid_udp_uring::{Send, SocketIndex, Udp};

use crate::worker::Application;

/// Lends the engine's buffers for one transmit.
#[derive(Debug)]
pub(crate) struct UdpOutbox<'a, A> {
    udp: &'a mut Udp,
    application: &'a A,
}

impl<'a, A: Application> UdpOutbox<'a, A> {
    pub(crate) fn new(udp: &'a mut Udp, application: &'a A) -> Self {
        Self { udp, application }
    }
}

impl<A: Application> Outbox for UdpOutbox<'_, A> {
    #[inline]
    fn buffer(&mut self) -> Option<&mut [u8]> {
        self.udp.send_buffer()
    }

    #[inline]
    fn send(&mut self, train: Train) {
        if !self.application.passes(train.local_id, train.remote) {
            return; // the engine lends the same buffer again
        }
        self.udp.send(Send {
            socket: SocketIndex(train.local_id.0),
            bytes: train.bytes,
            segment_size: train.segment_size,
            source: train.source,
            remote: train.remote,
            ecn: train.ecn.bits(),
            tag: train.tag.0,
        });
    }
}

/// What became of a train, in the words of `quic`.
pub(crate) fn fate(fate: braid_udp_uring::Fate) -> braid_quic::Fate {
    match fate {
        braid_udp_uring::Fate::Sent => braid_quic::Fate::Sent,
        braid_udp_uring::Fate::NoSegmentation => braid_quic::Fate::NoSegmentation,
        braid_udp_uring::Fate::TooBig => braid_quic::Fate::TooBig,
        // Other errors (a firewall's EPERM, for instance) stand in the way of this destination too.
        braid_udp_uring::Fate::Unreachable | braid_udp_uring::Fate::Other(_) => braid_quic::Fate::Unreachable,
        braid_udp_uring::Fate::NoRoom => braid_quic::Fate::NoRoom,
    }
}
