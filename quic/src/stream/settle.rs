//! What became of our frames: acknowledged, lost, or overdue.
//!
//! Owns nothing but the way from a receipt to its stream. A receipt may come for a stream that is gone, twice, or late
//! after the same bytes went out again (MP-296); all of that means nothing.

use super::{Streams, at};
use crate::id::StreamId;
use crate::wire::receipt::{Receipt, ReceiptKind, expand_stream_id};

impl Streams {
    /// The peer acknowledged the packet with this frame. Receipts of other rooms are no concern of ours.
    #[inline]
    pub(crate) fn on_acked(&mut self, receipt: &Receipt) {
        match receipt.kind() {
            ReceiptKind::Stream | ReceiptKind::ResetStream | ReceiptKind::StopSending => {}
            _ => return, // limits and reports have done their work
        }
        let Some(slot) = self.slot_of_receipt(receipt) else { return };
        let stream = &mut self.slots[slot];
        match (receipt.kind(), &mut stream.send, &mut stream.recv) {
            (ReceiptKind::Stream, Some(send), _) => {
                send.on_acked(receipt.offset(), receipt.len(), receipt.fin());
            }
            (ReceiptKind::ResetStream, Some(send), _) => send.on_reset_acked(),
            (ReceiptKind::StopSending, _, Some(recv)) => recv.on_stop_acked(),
            _ => {}
        }
        self.refresh(slot);
    }

    /// The packet with this frame was lost: bytes become repair, and of limits the present value is sent.
    pub(crate) fn on_lost(&mut self, receipt: &Receipt) {
        match receipt.kind() {
            ReceiptKind::MaxData => return self.window.on_lost(receipt.value()),
            ReceiptKind::MaxStreams => return self.theirs[at(receipt.direction())].on_lost(receipt.value()),
            ReceiptKind::DataBlocked => return self.credit.on_report_lost(),
            ReceiptKind::StreamsBlocked => return self.ours[at(receipt.direction())].on_report_lost(),
            ReceiptKind::Stream
            | ReceiptKind::ResetStream
            | ReceiptKind::StopSending
            | ReceiptKind::MaxStreamData
            | ReceiptKind::StreamDataBlocked => {}
            _ => return,
        }
        let Some(slot) = self.slot_of_receipt(receipt) else { return };
        let stream = &mut self.slots[slot];
        match (receipt.kind(), &mut stream.send, &mut stream.recv) {
            (ReceiptKind::Stream, Some(send), _) => {
                send.on_lost(receipt.offset(), receipt.len(), receipt.fin());
            }
            (ReceiptKind::ResetStream, Some(send), _) => send.on_reset_lost(),
            (ReceiptKind::StreamDataBlocked, Some(send), _) => send.on_blocked_lost(),
            (ReceiptKind::StopSending, _, Some(recv)) => recv.on_stop_lost(),
            (ReceiptKind::MaxStreamData, _, Some(recv)) => recv.on_limit_lost(receipt.value()),
            _ => {}
        }
        self.refresh(slot);
    }

    /// The packet with this frame is overdue and not yet lost: what it carried is offered again, for another path. The
    /// first acknowledgement wins, and takes back what of the repair has not left yet.
    ///
    /// From here on the repair is responsible for the bytes; a caller that later declares the packet lost need not say
    /// so here, and if it does, the bytes go out once more.
    pub(crate) fn on_overdue(&mut self, receipt: &Receipt) {
        self.on_lost(receipt);
    }

    #[inline]
    fn slot_of_receipt(&self, receipt: &Receipt) -> Option<usize> {
        let low = receipt.stream_low();
        let kind = StreamId::from_wire(u64::from(low & 3));
        let opened = if kind.opened_by() == self.role {
            self.ours[at(kind.direction())].opened()
        } else {
            self.theirs[at(kind.direction())].opened()
        };
        let near = StreamId::new(kind.opened_by(), kind.direction(), opened.checked_sub(1)?);
        self.slot_of(expand_stream_id(low, near.as_u64()))
    }
}
