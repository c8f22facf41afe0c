//! The verbs by which `perf` touches streams, and how a connection answers them.
//!
//! Owns the one chunk of zeros that all answers are made of; it is handed over by reference and never copied before
//! the packet is written. Keeps no state of a stream.

use braid_quic::{ConnectionGuard, StreamId};
use bytes::Bytes;

/// The bytes of all answers.
static CHUNK: [u8; 1 << 20] = [0; 1 << 20];

/// How much of an answer is offered at once; a stream's send buffer is smaller.
const OFFER_MAX: u64 = 64 << 20;

/// `bytes` zeros, in pieces that all lie in one static chunk.
pub fn zeros(bytes: u64) -> impl Iterator<Item = Bytes> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let len = left.min(CHUNK.len() as u64);
        left -= len;
        (len > 0).then(|| Bytes::from_static(&CHUNK[..len as usize]))
    })
}

/// What follows the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// More, some time.
    Open,
    /// Nothing: the stream is complete.
    End,
    /// Nothing: the peer gave it up, or it is gone.
    Reset,
}

/// What became of the bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// The stream took them all.
    All,
    /// So many are left until the stream is writable again.
    Left(u64),
    /// The stream takes no bytes any more.
    Refused,
}

/// The streams of one connection.
pub(super) trait Streams {
    /// Hands all in-order bytes to `sink` and consumes them.
    fn read(&mut self, stream: StreamId, sink: &mut dyn FnMut(&[u8])) -> Reading;
    /// Writes `bytes` zeros.
    fn write(&mut self, stream: StreamId, bytes: u64) -> Writing;
    /// Ends our side after what was written.
    fn finish(&mut self, stream: StreamId);
    /// Gives our side up.
    fn reset(&mut self, stream: StreamId, code: u64);
    /// Reads all datagrams that came, and forgets them.
    fn drop_datagrams(&mut self);
}

impl Streams for ConnectionGuard<'_> {
    fn read(&mut self, stream: StreamId, sink: &mut dyn FnMut(&[u8])) -> Reading {
        loop {
            let Ok(slices) = ConnectionGuard::read(self, stream) else { return Reading::Reset };
            let len = slices.first.len() + slices.second.len();
            let fin = slices.fin;
            sink(slices.first);
            sink(slices.second);
            self.consume(stream, len);
            if fin {
                return Reading::End;
            }
            if len == 0 {
                return Reading::Open;
            }
        }
    }

    fn write(&mut self, stream: StreamId, bytes: u64) -> Writing {
        let mut left = bytes;
        while left > 0 {
            let offered = left.min(OFFER_MAX);
            let Ok(accepted) = ConnectionGuard::write(self, stream, zeros(offered)) else {
                return Writing::Refused;
            };
            left -= accepted;
            if accepted < offered {
                return Writing::Left(left);
            }
        }
        Writing::All
    }

    fn finish(&mut self, stream: StreamId) {
        let _ = ConnectionGuard::finish(self, stream);
    }

    fn reset(&mut self, stream: StreamId, code: u64) {
        ConnectionGuard::reset(self, stream, code);
    }

    fn drop_datagrams(&mut self) {
        while self.recv_datagram().is_some() {}
    }
}
