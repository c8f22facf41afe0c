//! Our frames about streams, written into packets.
//!
//! Owns the order in which they are written: control frames as they came due, then repair, then lone FINs, then fresh
//! bytes. Streams take turns, a packet each. Decides neither when nor on which path a packet leaves.

use super::send::SendHalf;
use super::{Streams, at};
use crate::id::Direction;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::receipt::{Receipt, Receipts};

const DIRECTIONS: [Direction; 2] = [Direction::Bidirectional, Direction::Unidirectional];

impl Streams {
    /// Is there a control frame to be written?
    #[inline]
    pub(crate) fn wants_control(&self) -> bool {
        !self.turns.control.is_empty()
            || self.window.due()
            || self.is_blocked()
            || DIRECTIONS
                .iter()
                .any(|&direction| self.theirs[at(direction)].due() || self.ours[at(direction)].report_due())
    }

    /// Writes as many of the control frames that are due as there is room for.
    pub(crate) fn write_control(&mut self, writer: &mut Writer<'_>, receipts: &mut Receipts) {
        if self.window.due() && fits(writer, &Frame::MaxData(self.window.target())) {
            receipts.push(Receipt::max_data(self.window.announce()));
        }
        if self.is_blocked() && fits(writer, &Frame::DataBlocked(self.credit.limit())) {
            self.credit.on_reported();
            receipts.push(Receipt::data_blocked());
            self.starved = true;
        }
        for direction in DIRECTIONS {
            let theirs = &mut self.theirs[at(direction)];
            if theirs.due() && fits(writer, &Frame::MaxStreams { direction, max: theirs.target() }) {
                receipts.push(Receipt::max_streams(direction, theirs.announce()));
            }
            let ours = &mut self.ours[at(direction)];
            if ours.report_due() && fits(writer, &Frame::StreamsBlocked { direction, limit: ours.limit() }) {
                ours.on_reported();
                receipts.push(Receipt::streams_blocked(direction));
            }
        }
        while let Some(slot) = self.turns.control.front() {
            let done = self.write_stream_control(slot, writer, receipts);
            self.refresh(slot);
            if !done {
                return;
            }
        }
    }

    /// Writes the control frames of one stream; tells whether all fitted.
    fn write_stream_control(
        &mut self,
        slot: usize,
        writer: &mut Writer<'_>,
        receipts: &mut Receipts,
    ) -> bool {
        let stream = &mut self.slots[slot];
        let id = stream.id;
        if let Some(send) = &mut stream.send {
            if let Some((code, final_size)) = send.reset_due() {
                if !fits(writer, &Frame::ResetStream { id, code, final_size }) {
                    return false;
                }
                send.on_reset_written();
                receipts.push(Receipt::reset_stream(id));
            }
            if send.blocked_due() {
                if !fits(writer, &Frame::StreamDataBlocked { id, limit: send.limit() }) {
                    return false;
                }
                send.on_blocked_written();
                receipts.push(Receipt::stream_data_blocked(id));
                self.starved = true;
            }
        }
        if let Some(recv) = &mut stream.recv {
            if let Some(code) = recv.stop_due() {
                if !fits(writer, &Frame::StopSending { id, code }) {
                    return false;
                }
                recv.on_stop_written();
                receipts.push(Receipt::stop_sending(id));
            }
            if recv.limit_due() {
                if !fits(writer, &Frame::MaxStreamData { id, max: recv.next_limit() }) {
                    return false;
                }
                receipts.push(Receipt::max_stream_data(id, recv.announce_limit()));
            }
        }
        true
    }

    /// Fills the packet with STREAM frames, repair first, and with bytes never sent before only if `fresh`. Returns how
    /// many bytes of streams it wrote; a lone FIN is none.
    ///
    /// The last frame may have no length and then ends the packet: nothing, not even padding, may follow unless there
    /// is room left.
    #[inline]
    pub(crate) fn write_data(
        &mut self,
        writer: &mut Writer<'_>,
        receipts: &mut Receipts,
        fresh: bool,
    ) -> usize {
        let mut written = self.write_repair(writer, receipts);
        if fresh && self.turns.repair.is_empty() {
            self.write_fins(writer, receipts);
            written += self.write_fresh(writer, receipts);
        }
        written as usize
    }

    fn write_repair(&mut self, writer: &mut Writer<'_>, receipts: &mut Receipts) -> u64 {
        let (mut written, mut served) = (0, None);
        while let Some(slot) = self.turns.repair.front() {
            let stream = &mut self.slots[slot];
            let Some(send) = &mut stream.send else { break };
            let Some(bytes) = send.write_repair(stream.id, writer, receipts) else { break };
            written += bytes;
            served = Some(slot);
            self.refresh(slot);
        }
        if served.is_some() && served == self.turns.repair.front() {
            self.turns.repair.rotate();
        }
        written
    }

    fn write_fins(&mut self, writer: &mut Writer<'_>, receipts: &mut Receipts) {
        while let Some(slot) = self.turns.fins.front() {
            let stream = &mut self.slots[slot];
            let Some(send) = &mut stream.send else { break };
            if send.write_fresh(stream.id, 0, writer, receipts).is_none() {
                return;
            }
            self.refresh(slot);
        }
    }

    fn write_fresh(&mut self, writer: &mut Writer<'_>, receipts: &mut Receipts) -> u64 {
        let (mut written, mut served) = (0, None);
        while let Some(slot) = self.turns.fresh.front() {
            let limit = self.credit.left();
            let stream = &mut self.slots[slot];
            let Some(send) = stream.send.as_mut().filter(|_| limit > 0) else { break };
            let Some(bytes) = send.write_fresh(stream.id, limit, writer, receipts) else { break };
            self.credit.on_used(bytes);
            written += bytes;
            served = Some(slot);
            self.refresh(slot);
        }
        if served.is_some() && served == self.turns.fresh.front() {
            self.turns.fresh.rotate();
        }
        written
    }

    /// Do the peer's limits hold bytes back, as far as is known without a look at every stream?
    pub(crate) fn may_be_starved(&self) -> bool {
        self.starved
    }

    /// Do they, after a look at every stream?
    pub(crate) fn is_starved(&mut self) -> bool {
        let waits = |stream: &super::Stream| stream.send.as_ref().is_some_and(SendHalf::is_starved);
        let by_connection = self.load.fresh_bytes > 0 && self.credit.left() == 0;
        self.starved = by_connection || self.slots.iter().any(|(_, stream)| waits(stream));
        self.starved
    }

    /// Does the connection's limit, and nothing else, hold bytes back, and the peer was not told?
    #[inline]
    fn is_blocked(&self) -> bool {
        self.load.fresh_bytes > 0 && self.credit.report_due()
    }
}

/// Writes `frame` if there is room for it.
fn fits(writer: &mut Writer<'_>, frame: &Frame<'_>) -> bool {
    let fits = frame.len() <= writer.remaining();
    if fits {
        frame.write(writer);
    }
    fits
}
