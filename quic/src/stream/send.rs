//! The sending half of a stream (RFC 9000 §3.1).
//!
//! Owns its state from open to acknowledged, its credit at the peer, and how a frame is cut to the room in a packet.
//! Bytes and their fate are in `outbuf`. Which stream may send next, and the connection's credit, are not its matter.

use bytes::Bytes;

use super::flow::Credit;
use super::outbuf::OutBuf;
use super::{SendState, WriteError};
use crate::id::StreamId;
use crate::wire::cursor::Writer;
use crate::wire::frame::{stream_header, stream_header_len};
use crate::wire::receipt::{Receipt, Receipts};

/// Fewer bytes than this of a longer piece are not worth a frame at the end of a packet.
const FRAGMENT_MIN_BYTES: usize = 16;
/// A receipt counts a frame's bytes in 16 bits.
const FRAME_MAX_BYTES: u64 = u16::MAX as u64;

/// How far a FIN or a `RESET_STREAM` has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Owed,
    InFlight,
    Lost,
    Acked,
}

enum Stage {
    Open,
    /// The application ended the stream; the FIN rides on the last frame.
    Finished(Delivery),
    /// Given up, by us or because the peer asked; `final_size` must not change any more (RFC 9000 §13.3).
    Reset {
        code: u64,
        final_size: u64,
        by_peer: bool,
        frame: Delivery,
    },
}

/// What of a half could leave now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Bytes to be sent again; 1 for a lone FIN.
    pub(super) repair_bytes: u64,
    /// Bytes to be sent for the first time, within the stream's credit.
    pub(super) fresh_bytes: u64,
    /// Only a FIN is left to be sent for the first time.
    pub(super) fin_only: bool,
}

/// One sending half.
pub(super) struct SendHalf {
    out: OutBuf,
    credit: Credit,
    stage: Stage,
    /// A write was refused or cut, and the application waits to hear that there is room.
    cut: bool,
    /// The application was told that the half is over.
    finish_told: bool,
    /// The application was told that the peer stopped it.
    stop_told: bool,
}

impl SendHalf {
    /// A half that may send up to `limit`.
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            out: OutBuf::new(),
            credit: Credit::new(limit),
            stage: Stage::Open,
            cut: false,
            finish_told: false,
            stop_told: false,
        }
    }

    /// Takes chunks until `buffer_bytes` are held; returns how many bytes it took.
    pub(super) fn write(
        &mut self,
        chunks: impl IntoIterator<Item = Bytes>,
        buffer_bytes: u64,
    ) -> Result<u64, WriteError> {
        self.writable()?;
        let before = self.out.end();
        for mut chunk in chunks.into_iter().filter(|chunk| !chunk.is_empty()) {
            let room = self.out.room(buffer_bytes);
            self.cut = chunk.len() as u64 > room;
            if self.cut {
                chunk.truncate(room as usize);
            }
            if !chunk.is_empty() {
                self.out.push(chunk);
            }
            if self.cut {
                break;
            }
        }
        Ok(self.out.end() - before)
    }

    /// Ends the stream behind what was written.
    pub(super) fn finish(&mut self) -> Result<(), WriteError> {
        self.writable()?;
        self.stage = Stage::Finished(Delivery::Owed);
        self.cut = false;
        Ok(())
    }

    fn writable(&self) -> Result<(), WriteError> {
        match self.stage {
            Stage::Open => Ok(()),
            Stage::Finished(_) => Err(WriteError::Finished),
            Stage::Reset { by_peer: false, .. } => Err(WriteError::Reset),
            Stage::Reset { code, by_peer: true, .. } => Err(WriteError::Stopped(code)),
        }
    }

    /// Gives the stream up, unless it is over or given up already.
    pub(super) fn reset(&mut self, code: u64) {
        self.abandon(code, false);
    }

    /// The peer asked us to stop: answers with its own code (RFC 9000 §3.5).
    pub(super) fn on_stop_sending(&mut self, code: u64) {
        self.abandon(code, true);
    }

    fn abandon(&mut self, code: u64, by_peer: bool) {
        if self.is_closed() || matches!(self.stage, Stage::Reset { .. }) {
            return;
        }
        self.out.abandon();
        self.cut = false;
        self.stage = Stage::Reset { code, final_size: self.out.sent(), by_peer, frame: Delivery::Owed };
    }

    /// The peer lets this stream send up to `limit`.
    pub(super) fn on_limit(&mut self, limit: u64) {
        self.credit.on_limit(limit);
    }

    /// What could leave now.
    #[inline]
    pub(super) fn load(&self) -> Load {
        let fin = match self.stage {
            Stage::Open => Delivery::Acked,
            Stage::Finished(fin) => fin,
            Stage::Reset { .. } => return Load::default(),
        };
        let unsent = self.out.unsent();
        Load {
            repair_bytes: self.out.repair_bytes().max(u64::from(fin == Delivery::Lost)),
            fresh_bytes: unsent.min(self.credit.left()),
            fin_only: unsent == 0 && fin == Delivery::Owed,
        }
    }

    /// Writes one frame of repair; returns how many bytes of the stream it carries, `None` if there was no room.
    pub(super) fn write_repair(
        &mut self,
        id: StreamId,
        writer: &mut Writer<'_>,
        receipts: &mut Receipts,
    ) -> Option<u64> {
        let end = self.out.end();
        let range = self.out.repair_front().unwrap_or(end..end);
        self.write_frame(id, range.start, range.end - range.start, writer, receipts)
    }

    /// Writes one frame of at most `limit` bytes never sent before; returns how many it carries, `None` if there was
    /// no room.
    pub(super) fn write_fresh(
        &mut self,
        id: StreamId,
        limit: u64,
        writer: &mut Writer<'_>,
        receipts: &mut Receipts,
    ) -> Option<u64> {
        let available = self.out.unsent().min(self.credit.left()).min(limit);
        let sent = self.write_frame(id, self.out.sent(), available, writer, receipts)?;
        self.credit.on_used(sent);
        Some(sent)
    }

    fn write_frame(
        &mut self,
        id: StreamId,
        start: u64,
        available: u64,
        writer: &mut Writer<'_>,
        receipts: &mut Receipts,
    ) -> Option<u64> {
        let cut = cut(id, start, available.min(FRAME_MAX_BYTES) as usize, writer.remaining())?;
        let len = cut.len as u64;
        let fin = self.fin_wanted() && start + len == self.out.end();
        stream_header(writer, id, start, (!cut.to_the_end).then_some(cut.len), fin);
        if cut.len > 0 {
            self.out.write(writer, start, cut.len);
        }
        if fin {
            self.stage = Stage::Finished(Delivery::InFlight);
        }
        receipts.push(Receipt::stream(id, start, cut.len, fin));
        Some(len)
    }

    fn fin_wanted(&self) -> bool {
        matches!(self.stage, Stage::Finished(fin) if fin != Delivery::Acked)
    }

    /// A STREAM frame was acknowledged.
    #[inline]
    pub(super) fn on_acked(&mut self, start: u64, len: u64, fin: bool) {
        if matches!(self.stage, Stage::Reset { .. }) {
            return;
        }
        self.out.on_acked(start, len);
        if fin {
            self.stage = Stage::Finished(Delivery::Acked);
        }
    }

    /// A STREAM frame has to be sent again.
    pub(super) fn on_lost(&mut self, start: u64, len: u64, fin: bool) {
        if matches!(self.stage, Stage::Reset { .. }) {
            return;
        }
        self.out.on_lost(start, len);
        if fin && self.fin_wanted() {
            self.stage = Stage::Finished(Delivery::Lost);
        }
    }

    /// The code and final size of a `RESET_STREAM` that has to be sent.
    #[inline]
    pub(super) fn reset_due(&self) -> Option<(u64, u64)> {
        match self.stage {
            Stage::Reset { code, final_size, frame: Delivery::Owed | Delivery::Lost, .. } => {
                Some((code, final_size))
            }
            _ => None,
        }
    }

    /// The `RESET_STREAM` was written.
    pub(super) fn on_reset_written(&mut self) {
        self.advance_reset(Delivery::InFlight);
    }

    /// The `RESET_STREAM` was acknowledged.
    pub(super) fn on_reset_acked(&mut self) {
        self.advance_reset(Delivery::Acked);
    }

    /// The `RESET_STREAM` has to be sent again.
    pub(super) fn on_reset_lost(&mut self) {
        self.advance_reset(Delivery::Lost);
    }

    fn advance_reset(&mut self, to: Delivery) {
        if let Stage::Reset { frame, .. } = &mut self.stage
            && *frame != Delivery::Acked
        {
            *frame = to;
        }
    }

    /// Should the peer hear that its limit for this stream blocks us?
    #[inline]
    pub(super) fn blocked_due(&self) -> bool {
        self.out.unsent() > 0 && self.credit.report_due()
    }

    /// Does the peer's limit for this stream hold bytes back?
    pub(super) fn is_starved(&self) -> bool {
        self.out.unsent() > 0 && self.credit.left() == 0
    }

    /// How far the peer lets this stream send.
    pub(super) fn limit(&self) -> u64 {
        self.credit.limit()
    }

    /// The report was written.
    pub(super) fn on_blocked_written(&mut self) {
        self.credit.on_reported();
    }

    /// The report was lost.
    pub(super) fn on_blocked_lost(&mut self) {
        self.credit.on_report_lost();
    }

    /// Has the peer acknowledged all of it, or our reset?
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        match self.stage {
            Stage::Open => false,
            Stage::Finished(fin) => fin == Delivery::Acked && self.out.held() == 0,
            Stage::Reset { frame, .. } => frame == Delivery::Acked,
        }
    }

    /// The peer's code, if the application has not heard of it.
    #[inline]
    pub(super) fn stop_news(&self) -> Option<u64> {
        match self.stage {
            Stage::Reset { code, by_peer: true, .. } if !self.stop_told => Some(code),
            _ => None,
        }
    }

    /// The application heard that the peer stopped the stream.
    pub(super) fn on_stop_told(&mut self) {
        self.stop_told = true;
    }

    /// Is the half over, and the application has not heard of it?
    #[inline]
    pub(super) fn finish_news(&self) -> bool {
        !self.finish_told && self.is_closed()
    }

    /// The application heard that the half is over.
    pub(super) fn on_finish_told(&mut self) {
        self.finish_told = true;
    }

    /// Does the application wait for room that is there now?
    #[inline]
    pub(super) fn room_news(&self, buffer_bytes: u64) -> bool {
        self.cut && self.out.is_roomy(buffer_bytes)
    }

    /// The application heard that there is room.
    pub(super) fn on_room_told(&mut self) {
        self.cut = false;
    }

    /// What the application may know of it.
    pub(super) fn state(&self) -> SendState {
        let unacknowledged = self.out.held();
        match self.stage {
            Stage::Open => SendState::Open { unacknowledged },
            Stage::Finished(_) => SendState::Finished { unacknowledged },
            Stage::Reset { code, by_peer: false, .. } => SendState::Reset { code },
            Stage::Reset { code, by_peer: true, .. } => SendState::Stopped { code },
        }
    }
}

/// How much of a piece goes into a frame.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    len: usize,
    /// The frame fills the packet, and so needs no length (RFC 9000 §19.8).
    to_the_end: bool,
}

/// How to cut a frame from `available` bytes at `offset` for `room` bytes of packet; `None` if it is not worth it.
#[inline]
fn cut(id: StreamId, offset: u64, available: usize, room: usize) -> Option<Cut> {
    let bare = room.checked_sub(stream_header_len(id, offset, None))?;
    let (len, to_the_end) = if available >= bare {
        (bare, true)
    } else {
        let full = room.checked_sub(stream_header_len(id, offset, Some(available)))?;
        (available.min(full), false)
    };
    (len >= available.min(FRAGMENT_MIN_BYTES)).then_some(Cut { len, to_the_end })
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
