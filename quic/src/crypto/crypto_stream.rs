//! The stream of handshake data at one level, both ways (RFC 9000 §7.5, §19.6).
//!
//! Owns reassembly of what arrives and resending of what was lost. Bounded by what TLS has not read yet; has no flow
//! control and never reads TLS messages. Lives until its level's keys are discarded.

use std::ops::Range;

use crate::base::ranges::RangeSet;
use crate::error::{TransportError, TransportErrorCode};
use crate::wire::cursor::Writer;
use crate::wire::frame::{crypto_header, crypto_header_len};
use crate::wire::receipt::{Receipt, Receipts};

/// How far arriving data may be ahead of what TLS has read (RFC 9000 §7.5 asks for at least 4096).
pub(crate) const CRYPTO_BUFFER_MAX: u64 = 64 << 10;

/// In how many pieces the data ahead may be. A peer with more of them reorders on purpose.
pub(crate) const CRYPTO_PIECES_MAX: usize = 256;

/// Handshake data of one level.
#[derive(Debug, Default)]
pub(crate) struct CryptoStream {
    inbound: Inbound,
    outbound: Outbound,
}

/// Data from the peer, from the first byte that TLS has not read.
#[derive(Debug, Default)]
struct Inbound {
    taken: u64,
    buffer: Vec<u8>,
    arrived: RangeSet,
}

/// Data for the peer, from the first byte that is not acknowledged.
#[derive(Debug, Default)]
struct Outbound {
    base: u64,
    data: Vec<u8>,
    /// Sent up to here at least once.
    sent: u64,
    acked: RangeSet,
    lost: RangeSet,
}

impl CryptoStream {
    /// A CRYPTO frame came.
    pub(crate) fn on_frame(&mut self, offset: u64, data: &[u8]) -> Result<(), TransportError> {
        self.inbound.on_frame(offset, data)
    }

    /// The bytes that are next for TLS, if any are.
    pub(crate) fn take_readable(&mut self) -> Option<Vec<u8>> {
        self.inbound.take_readable()
    }

    /// Has everything that arrived been taken? When TLS moves to the next level it must (RFC 9001 §4.1.3).
    pub(crate) fn is_drained(&self) -> bool {
        self.inbound.arrived.is_empty()
    }

    /// Adds what TLS wrote.
    pub(crate) fn queue(&mut self, data: &[u8]) {
        self.outbound.data.extend_from_slice(data);
    }

    /// Is there anything to send now?
    pub(crate) fn wants(&self) -> bool {
        self.outbound.next().is_some()
    }

    /// Writes CRYPTO frames as they fit, lost data first; `false` when there was nothing or no room.
    pub(crate) fn write(&mut self, writer: &mut Writer<'_>, receipts: &mut Receipts) -> bool {
        let mut wrote = false;
        while self.outbound.write_frame(writer, receipts) {
            wrote = true;
        }
        wrote
    }

    /// A frame of `len` bytes from `offset` on was acknowledged.
    pub(crate) fn on_acked(&mut self, offset: u64, len: u64) {
        self.outbound.on_acked(offset..offset + len);
    }

    /// The packet with `len` bytes from `offset` on was lost.
    pub(crate) fn on_lost(&mut self, offset: u64, len: u64) {
        self.outbound.on_lost(offset..offset + len);
    }

    /// A probe is due: everything unacknowledged shall go again (RFC 9002 §6.2.4).
    pub(crate) fn resend_all(&mut self) {
        self.outbound.on_lost(self.outbound.base..self.outbound.sent);
    }

    /// Was anything sent that is not acknowledged?
    pub(crate) fn has_unacked(&self) -> bool {
        self.outbound.base < self.outbound.sent
    }
}

impl Inbound {
    fn on_frame(&mut self, offset: u64, data: &[u8]) -> Result<(), TransportError> {
        let end = offset.saturating_add(data.len() as u64);
        if end > self.taken + CRYPTO_BUFFER_MAX {
            return Err(EXCEEDED);
        }
        let start = offset.max(self.taken);
        if end <= start {
            return Ok(()); // nothing new
        }
        let data = &data[(start - offset) as usize..];
        let at = (start - self.taken) as usize;
        if self.buffer.len() < at + data.len() {
            self.buffer.resize(at + data.len(), 0);
        }
        self.buffer[at..at + data.len()].copy_from_slice(data);
        self.arrived.insert(start..end);
        if self.arrived.len() > CRYPTO_PIECES_MAX { Err(EXCEEDED) } else { Ok(()) }
    }

    fn take_readable(&mut self) -> Option<Vec<u8>> {
        if self.arrived.min()? != self.taken {
            return None;
        }
        let ready = self.arrived.pop_front()?;
        let behind = self.buffer.split_off((ready.end - ready.start) as usize);
        self.taken = ready.end;
        Some(std::mem::replace(&mut self.buffer, behind))
    }
}

const EXCEEDED: TransportError =
    TransportError::new(TransportErrorCode::CRYPTO_BUFFER_EXCEEDED, "handshake data too far ahead");

impl Outbound {
    const fn end(&self) -> u64 {
        self.base + self.data.len() as u64
    }

    /// What to send next: the first lost range, else what was never sent.
    fn next(&self) -> Option<Range<u64>> {
        let fresh = self.sent..self.end();
        self.lost.peek_front().or(Some(fresh).filter(|fresh| !fresh.is_empty()))
    }

    fn write_frame(&mut self, writer: &mut Writer<'_>, receipts: &mut Receipts) -> bool {
        let Some(range) = self.next() else { return false };
        let offset = range.start;
        let room = writer.remaining().min(usize::from(u16::MAX));
        let wanted = ((range.end - offset) as usize).min(room);
        let len = wanted.min(room.saturating_sub(crypto_header_len(offset, wanted)));
        if len == 0 {
            return false;
        }
        let at = (offset - self.base) as usize;
        crypto_header(writer, offset, len);
        writer.slice(&self.data[at..at + len]);
        receipts.push(Receipt::crypto(offset, len));
        let end = offset + len as u64;
        self.lost.remove(offset..end);
        self.sent = self.sent.max(end);
        true
    }

    fn on_acked(&mut self, range: Range<u64>) {
        debug_assert!(range.end <= self.sent);
        let range = range.start.max(self.base)..range.end;
        self.lost.remove(range.clone());
        self.acked.insert(range);
        if self.acked.min() != Some(self.base) {
            return;
        }
        if let Some(done) = self.acked.pop_front() {
            self.data.drain(..(done.end - done.start) as usize);
            self.base = done.end;
        }
    }

    fn on_lost(&mut self, range: Range<u64>) {
        debug_assert!(range.end <= self.sent);
        for missing in self.acked.missing_in(range.start.max(self.base)..range.end) {
            self.lost.insert(missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Frame, Frames};

    /// One packet with `room` bytes for frames: what is in it.
    fn sent(stream: &mut CryptoStream, room: usize) -> Vec<(u64, Vec<u8>)> {
        let (mut buffer, mut receipts) = (vec![0; room], Receipts::default());
        let mut writer = Writer::new(&mut buffer);
        let wrote = stream.write(&mut writer, &mut receipts);
        let frames: Vec<_> = Frames::new(writer.written())
            .take_while(|_| wrote)
            .map(|frame| match frame.unwrap().1 {
                Frame::Crypto { offset, data } => (offset, data.to_vec()),
                other => panic!("{other:?}"),
            })
            .collect();
        let noted: Vec<_> = receipts.iter().map(|receipt| (receipt.offset(), receipt.len())).collect();
        let written: Vec<_> = frames.iter().map(|(offset, data)| (*offset, data.len() as u64)).collect();
        assert_eq!((noted, wrote), (written, !frames.is_empty()));
        frames
    }

    fn deliver(frames: &[(u64, Vec<u8>)], to: &mut CryptoStream) {
        for (offset, data) in frames {
            to.on_frame(*offset, data).unwrap();
        }
    }

    fn ack(frames: &[(u64, Vec<u8>)], to: &mut CryptoStream) {
        for (offset, data) in frames {
            to.on_acked(*offset, data.len() as u64);
        }
    }

    fn hello() -> Vec<u8> {
        (0..1_800u32).map(|index| (index * 7) as u8).collect()
    }

    #[test]
    fn halves_of_a_hello_may_arrive_in_either_order() {
        let (mut client, mut server) = (CryptoStream::default(), CryptoStream::default());
        client.queue(&hello());
        let (first, second) = (sent(&mut client, 1_000), sent(&mut client, 1_000));
        assert!(!client.wants() && client.has_unacked());
        deliver(&second, &mut server);
        assert_eq!(server.take_readable(), None);
        assert!(!server.is_drained());
        deliver(&first, &mut server);
        assert_eq!(server.take_readable(), Some(hello()));
        assert!(server.is_drained() && server.take_readable().is_none());
    }

    #[test]
    fn a_lost_half_is_sent_again_and_late_acks_do_no_harm() {
        let (mut client, mut server) = (CryptoStream::default(), CryptoStream::default());
        client.queue(&hello());
        let (first, second) = (sent(&mut client, 1_000), sent(&mut client, 1_000));
        deliver(&second, &mut server);
        ack(&second, &mut client);
        client.on_lost(0, first[0].1.len() as u64);
        let again = sent(&mut client, 1_200);
        assert_eq!(again, first);
        deliver(&again, &mut server);
        assert_eq!(server.take_readable(), Some(hello()));
        ack(&first, &mut client);
        ack(&again, &mut client);
        ack(&second, &mut client);
        client.on_lost(0, 400);
        assert!(!client.has_unacked() && !client.wants());
    }

    #[test]
    fn a_probe_repeats_what_is_unacknowledged_and_an_ack_takes_it_back() {
        let mut stream = CryptoStream::default();
        stream.queue(&[1; 300]);
        assert_eq!(sent(&mut stream, 104), [(0, vec![1; 100])]);
        assert_eq!(sent(&mut stream, 105), [(100, vec![1; 100])]);
        assert_eq!(sent(&mut stream, 200), [(200, vec![1; 100])]);
        stream.on_acked(100, 100);
        stream.resend_all();
        assert_eq!(sent(&mut stream, 1_000), [(0, vec![1; 100]), (200, vec![1; 100])]);
        stream.resend_all();
        stream.on_acked(0, 100);
        assert_eq!(sent(&mut stream, 1_000), [(200, vec![1; 100])]);
    }

    #[test]
    fn more_data_continues_at_the_next_offset() {
        let mut stream = CryptoStream::default();
        stream.queue(b"abc");
        let first = sent(&mut stream, 100);
        ack(&first, &mut stream);
        stream.queue(b"de");
        assert_eq!(sent(&mut stream, 100), [(3, b"de".to_vec())]);
    }

    #[test]
    fn a_frame_needs_room_for_one_byte_at_least() {
        let mut stream = CryptoStream::default();
        stream.queue(b"abc");
        assert!((0..4).all(|room| sent(&mut stream, room).is_empty()));
        assert_eq!(sent(&mut stream, 4), [(0, b"a".to_vec())]);
        assert_eq!(sent(&mut stream, 5), [(1, b"bc".to_vec())]);
    }

    #[test]
    fn every_room_is_filled_without_overflow() {
        for room in 8..400 {
            let mut stream = CryptoStream::default();
            stream.queue(&vec![3; 20_000]);
            let mut offset = 0;
            while stream.wants() {
                let frames = sent(&mut stream, room);
                assert_eq!(frames[0].0, offset);
                offset += frames[0].1.len() as u64;
            }
            assert_eq!(offset, 20_000);
        }
    }

    #[test]
    fn overlapping_and_repeated_frames_are_read_once() {
        let mut stream = CryptoStream::default();
        stream.on_frame(2, b"cdef").unwrap();
        stream.on_frame(0, b"abc").unwrap();
        assert_eq!(stream.take_readable().unwrap(), b"abcdef");
        stream.on_frame(0, b"abcdef").unwrap();
        stream.on_frame(4, b"efgh").unwrap();
        assert_eq!(stream.take_readable().unwrap(), b"gh");
        stream.on_frame(8, b"").unwrap();
        assert_eq!(stream.take_readable(), None);
    }

    #[test]
    fn data_may_be_ahead_as_far_as_the_buffer_goes_and_not_one_byte_more() {
        let mut stream = CryptoStream::default();
        stream.on_frame(CRYPTO_BUFFER_MAX - 1, b"x").unwrap();
        let error = stream.on_frame(CRYPTO_BUFFER_MAX, b"x").unwrap_err();
        assert_eq!(error.code, TransportErrorCode::CRYPTO_BUFFER_EXCEEDED);
        assert!(stream.on_frame(u64::MAX, b"x").is_err());
        stream.on_frame(0, b"x").unwrap();
        assert_eq!(stream.take_readable().unwrap(), b"x");
        stream.on_frame(CRYPTO_BUFFER_MAX, b"x").unwrap();
    }

    #[test]
    fn data_may_come_in_so_many_pieces_and_not_one_more() {
        let mut stream = CryptoStream::default();
        for piece in 0..CRYPTO_PIECES_MAX as u64 {
            stream.on_frame(1 + 2 * piece, b"x").unwrap();
        }
        let error = stream.on_frame(1 + 2 * CRYPTO_PIECES_MAX as u64, b"x").unwrap_err();
        assert_eq!(error.code, TransportErrorCode::CRYPTO_BUFFER_EXCEEDED);
    }
}
