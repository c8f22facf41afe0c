//! One direction of one stream: writing known content, or reading and checking it.
//!
//! Owns how far a stream has come. Decides nothing about when streams open or what a request means (`apps` does).

use braid_quic::{ConnectionGuard, Instant, ReadError, StreamId, WriteError};
use bytes::Bytes;

use super::content;
use super::ledger::Ledger;
use crate::network::Way;

/// How much is offered in one write, so that partial acceptance is common.
const OFFER_BYTES: u64 = 200_000;

/// Content on its way out: a prefix that says what is wanted, then `content_bytes`, then the end of the stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: StreamId,
    way: Way,
    prefix: Bytes,
    content_bytes: u64,
    written: u64,
    finished: bool,
}

impl Outgoing {
    pub(crate) fn new(stream: StreamId, way: Way, prefix: Bytes, content_bytes: u64) -> Self {
        Self { stream, way, prefix, content_bytes, written: 0, finished: false }
    }

    /// Writes as much as the stream takes, and its end once everything is written.
    pub(crate) fn push(&mut self, connection: &mut ConnectionGuard<'_>) -> Result<(), String> {
        let total = self.prefix.len() as u64 + self.content_bytes;
        while self.written < total {
            let offered = (total - self.written).min(OFFER_BYTES);
            let accepted = connection
                .write(self.stream, self.pieces(offered))
                .map_err(|error: WriteError| format!("{:?} refused a write: {error:?}", self.stream))?;
            self.written += accepted;
            if accepted < offered {
                return Ok(()); // `Writable` will come
            }
        }
        if !self.finished {
            self.finished = true;
            connection
                .finish(self.stream)
                .map_err(|error| format!("{:?} cannot end: {error:?}", self.stream))?;
        }
        Ok(())
    }

    /// Everything is written, the end included.
    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    fn pieces(&self, length: u64) -> impl Iterator<Item = Bytes> {
        let prefix_bytes = self.prefix.len() as u64;
        let prefix_left = self.prefix.slice(self.written.min(prefix_bytes) as usize..);
        let prefix_left = prefix_left.slice(..prefix_left.len().min(length as usize));
        let content_length = length - prefix_left.len() as u64;
        let offset = self.written.saturating_sub(prefix_bytes);
        let content = content::pieces(self.stream, self.way, offset, content_length);
        std::iter::once(prefix_left).filter(|piece| !piece.is_empty()).chain(content)
    }
}

/// Content on its way in: a prefix of `prefix_bytes` that is kept, then content that is checked.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: StreamId,
    way: Way,
    prefix_bytes: usize,
    prefix: Vec<u8>,
    content_read: u64,
    ended: bool,
}

impl Incoming {
    pub(crate) fn new(stream: StreamId, way: Way, prefix_bytes: usize) -> Self {
        Self { stream, way, prefix_bytes, prefix: Vec::new(), content_read: 0, ended: false }
    }

    /// Reads everything that is in order, and checks it octet by octet.
    pub(crate) fn pull(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        while !self.ended {
            let slices = match connection.read(self.stream) {
                Ok(slices) => slices,
                Err(ReadError::Reset(code)) => {
                    return Err(format!("{:?} was reset with {code}", self.stream));
                }
                Err(error) => return Err(format!("{:?} cannot be read: {error:?}", self.stream)),
            };
            let (first, second, fin) = (slices.first, slices.second, slices.fin);
            let before = self.content_read;
            self.take(first)?;
            self.take(second)?;
            self.ended = fin;
            let read = first.len() + second.len();
            connection.consume(self.stream, read);
            if self.content_read > before {
                ledger.on_delivered(self.content_read - before, now);
            }
            if fin {
                ledger.on_completed(self.stream, now);
            }
            if read == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The prefix, once it is complete.
    pub(crate) fn prefix(&self) -> Option<&[u8]> {
        (self.prefix.len() == self.prefix_bytes).then_some(&self.prefix)
    }

    pub(crate) fn content_read(&self) -> u64 {
        self.content_read
    }

    /// The peer has ended the stream and everything was read.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let missing = (self.prefix_bytes - self.prefix.len()).min(bytes.len());
        let (prefix, content) = bytes.split_at(missing);
        self.prefix.extend_from_slice(prefix);
        if !content::matches(self.stream, self.way, self.content_read, content) {
            let (stream, at, length) = (self.stream, self.content_read, content.len());
            return Err(format!("{stream:?} delivered wrong content within {length} bytes from offset {at}"));
        }
        self.content_read += content.len() as u64;
        Ok(())
    }
}
