//! The receiving half of a stream (RFC 9000 §3.2).
//!
//! Owns its state from the first frame to what the application has read, its final size (§4.5) and its window. Bytes
//! are in `assembler`. Whatever the application will never read is given back to the connection's window at once.

use std::time::Duration;

use super::assembler::{Assembler, Blocks};
use super::flow::Window;
use crate::base::time::Instant;
use crate::error::{TransportError, TransportErrorCode};
use crate::wire::varint::VARINT_MAX;

enum Stage {
    Receiving,
    SizeKnown {
        size: u64,
    },
    /// The application wants no more. Over as soon as the peer's final size is known, or, when it was known before,
    /// as soon as the peer has heard of it.
    Stopped {
        code: u64,
        size: Option<u64>,
        owed: bool,
    },
    /// The peer reset it, and the application has not read so.
    Reset {
        code: u64,
        size: u64,
    },
    Closed {
        size: u64,
    },
}

/// What a reader finds.
pub(super) enum Found {
    /// Bytes, perhaps none; `end` tells whether nothing follows them.
    Bytes { end: bool },
    /// The end was reached, and with this the half is over.
    End,
    /// The peer reset the stream, and with this the half is over.
    Reset { code: u64 },
    /// Nothing is left to be read.
    Nothing,
}

/// One receiving half.
pub(super) struct RecvHalf {
    assembler: Assembler,
    window: Window,
    stage: Stage,
    /// Something came that the application was not told.
    news: bool,
    /// The application has read since it was told last.
    armed: bool,
}

impl RecvHalf {
    /// A half with this window.
    pub(super) const fn new(window: Window) -> Self {
        Self { assembler: Assembler::new(), window, stage: Stage::Receiving, news: false, armed: true }
    }

    /// The bytes of a STREAM frame; returns how many were new. Of bytes that nobody will read, those count that are
    /// beyond all before.
    pub(super) fn on_stream(
        &mut self,
        offset: u64,
        data: &[u8],
        fin: bool,
        connection: &mut Window,
        blocks: &mut Blocks,
    ) -> Result<u64, TransportError> {
        let end = offset + data.len() as u64;
        let growth = self.grow_to(end, fin, connection)?;
        match &mut self.stage {
            Stage::Receiving | Stage::SizeKnown { .. } => {}
            Stage::Stopped { size, .. } => {
                connection.on_discarded(self.window.discard_rest());
                if fin && size.is_none() {
                    self.stage = Stage::Closed { size: end };
                }
                // Across a gap the highest offset grows by more than what arrived.
                return Ok(growth.min(data.len() as u64));
            }
            Stage::Reset { .. } | Stage::Closed { .. } => return Ok(0),
        }
        let before = self.assembler.next();
        let new = self.assembler.insert(offset, data, blocks);
        self.news |= self.assembler.next() > before;
        if fin && matches!(self.stage, Stage::Receiving) {
            self.stage = Stage::SizeKnown { size: end };
            self.news |= self.assembler.next() == end;
        }
        Ok(new)
    }

    /// A `RESET_STREAM` frame.
    pub(super) fn on_reset_stream(
        &mut self,
        code: u64,
        size: u64,
        connection: &mut Window,
        blocks: &mut Blocks,
    ) -> Result<(), TransportError> {
        self.grow_to(size, true, connection)?;
        match self.stage {
            Stage::SizeKnown { size } if self.assembler.next() == size => return Ok(()), // all is here, so read it
            Stage::Reset { .. } | Stage::Closed { .. } => return Ok(()),
            Stage::Receiving | Stage::SizeKnown { .. } => {
                self.stage = Stage::Reset { code, size };
                self.news = true;
            }
            Stage::Stopped { .. } => self.stage = Stage::Closed { size },
        }
        self.discard(connection, blocks);
        Ok(())
    }

    /// The application wants no more of it.
    pub(super) fn stop(&mut self, code: u64, connection: &mut Window, blocks: &mut Blocks) {
        self.stage = match self.stage {
            Stage::Receiving => Stage::Stopped { code, size: None, owed: true },
            Stage::SizeKnown { size } if self.assembler.next() == size => Stage::Closed { size },
            Stage::SizeKnown { size } => Stage::Stopped { code, size: Some(size), owed: true },
            Stage::Reset { size, .. } => Stage::Closed { size },
            Stage::Stopped { .. } | Stage::Closed { .. } => return,
        };
        self.news = false;
        self.discard(connection, blocks);
    }

    fn discard(&mut self, connection: &mut Window, blocks: &mut Blocks) {
        connection.on_discarded(self.window.discard_rest());
        self.assembler.clear(blocks);
    }

    /// Checks an offset against the final size and both windows, and counts it.
    fn grow_to(&mut self, end: u64, is_final: bool, connection: &mut Window) -> Result<u64, TransportError> {
        check_size(self.final_size(), self.window.received(), end, is_final)?;
        let growth = end.saturating_sub(self.window.received());
        self.window.on_received(growth)?;
        connection.on_received(growth)?;
        Ok(growth)
    }

    #[inline]
    fn final_size(&self) -> Option<u64> {
        match self.stage {
            Stage::Receiving => None,
            Stage::Stopped { size, .. } => size,
            Stage::SizeKnown { size } | Stage::Reset { size, .. } | Stage::Closed { size } => Some(size),
        }
    }

    /// What there is to read. Reading arms the next notice, and reading an end makes it final.
    pub(super) fn read(&mut self) -> Found {
        self.news = false;
        self.armed = true;
        match self.stage {
            Stage::SizeKnown { size } if self.assembler.next() == size => {
                if self.assembler.readable() > 0 {
                    return Found::Bytes { end: self.slices_len() == self.assembler.readable() };
                }
                self.stage = Stage::Closed { size };
                Found::End
            }
            Stage::Receiving | Stage::SizeKnown { .. } => Found::Bytes { end: false },
            Stage::Reset { code, size } => {
                self.stage = Stage::Closed { size };
                Found::Reset { code }
            }
            Stage::Stopped { .. } | Stage::Closed { .. } => Found::Nothing,
        }
    }

    /// Up to two slices of bytes in order.
    pub(super) fn slices(&self) -> (&[u8], &[u8]) {
        self.assembler.slices()
    }

    fn slices_len(&self) -> u64 {
        let (first, second) = self.slices();
        (first.len() + second.len()) as u64
    }

    /// The application is done with `count` bytes; returns how many of them there were.
    pub(super) fn consume(
        &mut self,
        count: u64,
        now: Instant,
        rtt: Duration,
        connection: &mut Window,
        blocks: &mut Blocks,
    ) -> u64 {
        let count = count.min(self.assembler.readable());
        if count == 0 {
            return 0;
        }
        self.assembler.consume(count, blocks);
        self.window.on_consumed(count, now, rtt);
        connection.on_consumed(count, now, rtt);
        if let Stage::SizeKnown { size } = self.stage
            && self.assembler.next() == size
            && self.assembler.readable() == 0
        {
            self.stage = Stage::Closed { size };
            self.news = false;
        }
        count
    }

    /// The code of a `STOP_SENDING` that has to be sent.
    #[inline]
    pub(super) fn stop_due(&self) -> Option<u64> {
        match self.stage {
            Stage::Stopped { code, owed: true, .. } => Some(code),
            _ => None,
        }
    }

    /// The `STOP_SENDING` was written.
    pub(super) fn on_stop_written(&mut self) {
        if let Stage::Stopped { owed, .. } = &mut self.stage {
            *owed = false;
        }
    }

    /// The `STOP_SENDING` was acknowledged.
    pub(super) fn on_stop_acked(&mut self) {
        if let Stage::Stopped { size: Some(size), .. } = self.stage {
            self.stage = Stage::Closed { size };
        }
    }

    /// The `STOP_SENDING` has to be sent again.
    pub(super) fn on_stop_lost(&mut self) {
        if let Stage::Stopped { owed, .. } = &mut self.stage {
            *owed = true;
        }
    }

    /// Should the peer be told a new limit? Only while its final size is open (RFC 9000 §3.3).
    #[inline]
    pub(super) fn limit_due(&self) -> bool {
        matches!(self.stage, Stage::Receiving) && self.window.due()
    }

    /// The limit that `announce_limit` would announce.
    pub(super) fn next_limit(&self) -> u64 {
        self.window.target()
    }

    /// The limit to announce now.
    pub(super) fn announce_limit(&mut self) -> u64 {
        self.window.announce()
    }

    /// The announcement of `limit` was lost.
    pub(super) fn on_limit_lost(&mut self, limit: u64) {
        self.window.on_lost(limit);
    }

    /// The peer says that the limit blocks it.
    pub(super) fn on_blocked(&mut self) {
        self.window.on_blocked();
    }

    /// Is there something that the application should be told?
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.news && self.armed
    }

    /// The application was told.
    pub(super) fn on_told(&mut self) {
        self.news = false;
        self.armed = false;
    }

    /// Has the application learnt the end, or given it up and the peer agreed?
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed { .. })
    }

    /// How many blocks it holds.
    #[cfg(test)]
    pub(super) fn blocks_used(&self) -> usize {
        self.assembler.blocks_used()
    }
}

/// May a frame end at `end`, and be final there? (RFC 9000 §4.5, §19.8)
fn check_size(known: Option<u64>, received: u64, end: u64, is_final: bool) -> Result<(), TransportError> {
    if end > VARINT_MAX {
        return Err(TransportError::frame_encoding("stream offset above 2^62-1"));
    }
    let wrong = match known {
        Some(size) => end > size || (is_final && end != size),
        None => is_final && end < received,
    };
    if wrong {
        return Err(TransportError::new(
            TransportErrorCode::FINAL_SIZE_ERROR,
            "final size of a stream changed",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "recv_tests.rs"]
mod tests;
