//! The application's door: open, write, finish, reset; read, consume, stop.
//!
//! Owns the types that the application sees. What it may do wrong is an error value; nothing here panics on a stream
//! that is gone, since streams end while the application looks elsewhere.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::recv::Found;
use super::{Streams, at};
use crate::base::time::Instant;
use crate::id::{Direction, StreamId};

/// Bytes of a stream in order, lent until they are consumed.
///
/// There may be more than these: read until both slices are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slices<'a> {
    /// The first bytes.
    pub first: &'a [u8],
    /// The bytes behind `first`.
    pub second: &'a [u8],
    /// Nothing follows these bytes: the stream ends with them.
    pub fin: bool,
}

impl Slices<'_> {
    /// How many bytes there are.
    pub const fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Are there no bytes?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a stream takes no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// It was never opened, is over, or only the peer sends on it.
    UnknownStream,
    /// It was finished.
    Finished,
    /// It was reset by us.
    Reset,
    /// The peer asked us to stop, with its application's code.
    Stopped(u64),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStream => f.write_str("no such stream to send on"),
            Self::Finished => f.write_str("the stream was finished"),
            Self::Reset => f.write_str("the stream was reset"),
            Self::Stopped(code) => write!(f, "the peer stopped the stream with code {code}"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Why a stream yields no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It was never opened, was read to its end, was stopped, or only we send on it.
    UnknownStream,
    /// The peer reset it, with its application's code; said once.
    Reset(u64),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStream => f.write_str("no such stream to read from"),
            Self::Reset(code) => write!(f, "the peer reset the stream with code {code}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// How far our half of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendState {
    /// It takes bytes.
    Open {
        /// Bytes written and not yet acknowledged, sent or not.
        unacknowledged: u64,
    },
    /// It was finished.
    Finished {
        /// Bytes written and not yet acknowledged, sent or not.
        unacknowledged: u64,
    },
    /// We reset it.
    Reset {
        /// Our code.
        code: u64,
    },
    /// The peer asked us to stop.
    Stopped {
        /// The peer application's code.
        code: u64,
    },
}

impl Streams {
    /// Opens a stream, unless the peer allows no more; then `StreamsAvailable` will tell.
    pub(crate) fn open(&mut self, direction: Direction) -> Option<StreamId> {
        let index = self.ours[at(direction)].open()?;
        let id = StreamId::new(self.role, direction, index);
        self.insert(id);
        Some(id)
    }

    /// Takes chunks, by reference, until the stream's buffer is full; returns how many bytes it took. If not all were
    /// taken, `Writable` will tell when there is room.
    pub(crate) fn write(
        &mut self,
        id: StreamId,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> Result<u64, WriteError> {
        let slot = self.slot_for_app(id).ok_or(WriteError::UnknownStream)?;
        let send = self.slots[slot].send.as_mut().ok_or(WriteError::UnknownStream)?;
        let taken = send.write(chunks, self.settings.send_buffer);
        self.refresh(slot);
        taken
    }

    /// Ends our half behind what was written.
    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        let slot = self.slot_for_app(id).ok_or(WriteError::UnknownStream)?;
        let send = self.slots[slot].send.as_mut().ok_or(WriteError::UnknownStream)?;
        let finished = send.finish();
        self.refresh(slot);
        finished
    }

    /// Gives our half up; bytes not yet acknowledged may never arrive. Nothing happens if it is over.
    pub(crate) fn reset(&mut self, id: StreamId, code: u64) {
        let Some(slot) = self.slot_for_app(id) else { return };
        if let Some(send) = &mut self.slots[slot].send {
            send.reset(code);
        }
        self.refresh(slot);
    }

    /// Gives the peer's half up: what arrived and what will arrive is dropped. Nothing happens if it is over.
    pub(crate) fn stop(&mut self, id: StreamId, code: u64) {
        let Some(slot) = self.slot_for_app(id) else { return };
        if let Some(recv) = &mut self.slots[slot].recv {
            recv.stop(code, &mut self.window, &mut self.blocks);
        }
        self.refresh(slot);
    }

    /// Lends bytes in order, as many as two slices hold. Reading the end of an empty rest, or a reset, is final: the
    /// next answer is `UnknownStream`.
    pub(crate) fn read(&mut self, id: StreamId) -> Result<Slices<'_>, ReadError> {
        let slot = self.slot_for_app(id).ok_or(ReadError::UnknownStream)?;
        let recv = self.slots[slot].recv.as_mut().ok_or(ReadError::UnknownStream)?;
        let found = recv.read();
        self.refresh(slot);
        match found {
            Found::Nothing => Err(ReadError::UnknownStream),
            Found::Reset { code } => Err(ReadError::Reset(code)),
            Found::End => Ok(Slices { fin: true, ..Slices::default() }),
            Found::Bytes { end } => {
                let recv = self.slots[slot].recv.as_ref().ok_or(ReadError::UnknownStream)?;
                let (first, second) = recv.slices();
                Ok(Slices { first, second, fin: end })
            }
        }
    }

    /// The application is done with the next `count` bytes, and the peer may send as many more. `rtt` tunes how many.
    /// Returns how many of the bytes there were. Consuming the last byte before the end is final.
    pub(crate) fn consume(&mut self, id: StreamId, count: usize, now: Instant, rtt: Duration) -> usize {
        let Some(slot) = self.slot_of(id) else { return 0 };
        let Some(recv) = &mut self.slots[slot].recv else { return 0 };
        let consumed = recv.consume(count as u64, now, rtt, &mut self.window, &mut self.blocks);
        self.refresh(slot);
        consumed as usize
    }

    /// How far our half has come; `None` if there is no such half, or the stream is over.
    pub(crate) fn send_state(&self, id: StreamId) -> Option<SendState> {
        Some(self.slots[self.slot_of(id)?].send.as_ref()?.state())
    }
}
