//! The peer's frames about streams (RFC 9000 §3.3, §4, §19.4 to §19.14).
//!
//! Owns the rules which frame may come for which stream. A frame for a stream that is gone is late and means nothing;
//! a frame for a stream that cannot exist, or cannot take it, is the peer's error.

use super::kinds::Standing;
use super::{Streams, at};
use crate::error::{TransportError, TransportErrorCode};
use crate::id::{Direction, StreamId};
use crate::wire::frame::STREAMS_MAX;

/// Which half of a stream a frame is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Send,
    Recv,
}

impl Streams {
    /// A STREAM frame; returns how many of its bytes were never seen before.
    #[inline]
    pub(crate) fn on_stream(
        &mut self,
        id: StreamId,
        offset: u64,
        data: &[u8],
        fin: bool,
    ) -> Result<u64, TransportError> {
        let Some(slot) = self.find(id, Half::Recv)? else { return Ok(0) };
        let Some(recv) = &mut self.slots[slot].recv else { return Ok(0) };
        let new = recv.on_stream(offset, data, fin, &mut self.window, &mut self.blocks)?;
        self.refresh(slot);
        Ok(new)
    }

    /// A `RESET_STREAM` frame.
    pub(crate) fn on_reset_stream(
        &mut self,
        id: StreamId,
        code: u64,
        final_size: u64,
    ) -> Result<(), TransportError> {
        let Some(slot) = self.find(id, Half::Recv)? else { return Ok(()) };
        if let Some(recv) = &mut self.slots[slot].recv {
            recv.on_reset_stream(code, final_size, &mut self.window, &mut self.blocks)?;
        }
        self.refresh(slot);
        Ok(())
    }

    /// A `STOP_SENDING` frame.
    pub(crate) fn on_stop_sending(&mut self, id: StreamId, code: u64) -> Result<(), TransportError> {
        let Some(slot) = self.find(id, Half::Send)? else { return Ok(()) };
        if let Some(send) = &mut self.slots[slot].send {
            send.on_stop_sending(code);
        }
        self.refresh(slot);
        Ok(())
    }

    /// A `MAX_DATA` frame.
    pub(crate) fn on_max_data(&mut self, limit: u64) {
        self.credit.on_limit(limit);
    }

    /// A `MAX_STREAM_DATA` frame.
    pub(crate) fn on_max_stream_data(&mut self, id: StreamId, limit: u64) -> Result<(), TransportError> {
        let Some(slot) = self.find(id, Half::Send)? else { return Ok(()) };
        if let Some(send) = &mut self.slots[slot].send {
            send.on_limit(limit);
        }
        self.refresh(slot);
        Ok(())
    }

    /// A `MAX_STREAMS` frame.
    pub(crate) fn on_max_streams(&mut self, direction: Direction, limit: u64) -> Result<(), TransportError> {
        check_stream_count(limit)?;
        self.openable |= self.ours[at(direction)].on_limit(limit);
        Ok(())
    }

    /// A `DATA_BLOCKED` frame.
    pub(crate) fn on_data_blocked(&mut self) {
        self.window.on_blocked();
    }

    /// A `STREAM_DATA_BLOCKED` frame.
    pub(crate) fn on_stream_data_blocked(&mut self, id: StreamId) -> Result<(), TransportError> {
        let Some(slot) = self.find(id, Half::Recv)? else { return Ok(()) };
        if let Some(recv) = &mut self.slots[slot].recv {
            recv.on_blocked();
        }
        self.refresh(slot);
        Ok(())
    }

    /// A `STREAMS_BLOCKED` frame.
    pub(crate) fn on_streams_blocked(
        &mut self,
        direction: Direction,
        limit: u64,
    ) -> Result<(), TransportError> {
        check_stream_count(limit)?;
        self.theirs[at(direction)].on_blocked();
        Ok(())
    }

    /// The stream of a frame; `None` if it is gone. A stream that the peer opens with this frame gets its state.
    #[inline]
    fn find(&mut self, id: StreamId, half: Half) -> Result<Option<usize>, TransportError> {
        let ours = id.opened_by() == self.role;
        if id.direction() == Direction::Unidirectional && ours != (half == Half::Send) {
            return Err(state_error("frame for a half that the stream does not have"));
        }
        if let Some(slot) = self.slot_of(id) {
            return Ok(Some(slot));
        }
        if ours {
            if id.index() < self.ours[at(id.direction())].opened() {
                return Ok(None);
            }
            return Err(state_error("frame for a stream that we have not opened"));
        }
        match self.theirs[at(id.direction())].touch(id.index()) {
            Standing::New => Ok(Some(self.insert(id))),
            Standing::Gone => Ok(None),
            Standing::Forbidden => {
                let code = TransportErrorCode::STREAM_LIMIT_ERROR;
                Err(TransportError::new(code, "more streams than we allowed"))
            }
        }
    }
}

const fn state_error(reason: &'static str) -> TransportError {
    TransportError::new(TransportErrorCode::STREAM_STATE_ERROR, reason)
}

/// Can that many streams be numbered? (RFC 9000 §4.6, §19.11, §19.14)
const fn check_stream_count(count: u64) -> Result<(), TransportError> {
    if count > STREAMS_MAX {
        return Err(TransportError::frame_encoding("more than 2^60 streams"));
    }
    Ok(())
}
