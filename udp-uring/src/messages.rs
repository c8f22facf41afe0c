//! The memory of what leaves: payloads, and the message headers that point into them.
//!
//! Owns their layout and addresses, which never change, so that the kernel may read them after a call returned. Never
//! decides when: a slot's memory is ours while the slot is free or queued, the kernel's while a piece is with it.

use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};

use crate::address::{self, ADDRESS_BYTES, Family};
use crate::arena::Arena;
use crate::cmsg::{ControlWriter, SEND_CONTROL_BYTES};
use crate::lanes::Piece;
use crate::{SEGMENTS_MAX, SEND_BUFFER_BYTES};

const PAYLOAD_BYTES: usize = 65_536;
const ALIGNMENT: usize = 64;

const _: () = assert!(SEND_BUFFER_BYTES <= PAYLOAD_BYTES);

/// All that the kernel reads of one slot but the payload.
#[repr(C, align(64))]
struct Headers {
    control: [u8; SEND_CONTROL_BYTES],
    name: [u8; ADDRESS_BYTES],
    messages: [libc::msghdr; SEGMENTS_MAX],
    vectors: [libc::iovec; SEGMENTS_MAX],
}

// The kernel walks the control messages as `cmsghdr`s.
const _: () = assert!(offset_of!(Headers, control).is_multiple_of(align_of::<libc::cmsghdr>()));

/// What a train says beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) remote: SocketAddr,
    pub(crate) family: Family,
    pub(crate) source: Option<IpAddr>,
    pub(crate) ecn: u8,
}

/// How the bytes of a slot are cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the first message begins.
    pub(crate) start: usize,
    /// Where the last one ends.
    pub(crate) end: usize,
    pub(crate) segment_size: usize,
    /// Datagrams of each message but the last, which may have fewer.
    pub(crate) segments_per_piece: usize,
}

impl Cut {
    pub(crate) fn segments(&self) -> usize {
        (self.end - self.start).div_ceil(self.segment_size).max(1)
    }

    pub(crate) fn pieces(&self) -> usize {
        self.segments().div_ceil(self.segments_per_piece)
    }

    /// The bytes of piece `index`.
    pub(crate) fn range(&self, index: usize) -> std::ops::Range<usize> {
        let piece_bytes = self.segment_size * self.segments_per_piece;
        let start = self.start + index * piece_bytes;
        start..self.end.min(start + piece_bytes)
    }

    /// How many datagrams piece `index` has.
    pub(crate) fn segments_of(&self, index: usize) -> usize {
        self.range(index).len().div_ceil(self.segment_size).max(1)
    }
}

/// The memory of all slots.
#[derive(Debug)]
pub(crate) struct Messages {
    headers: Arena,
    payloads: Arena,
}

impl Messages {
    pub(crate) fn new(slots: u16) -> Self {
        let slots = usize::from(slots);
        Self {
            headers: Arena::new(slots, size_of::<Headers>(), align_of::<Headers>()),
            payloads: Arena::new(slots, PAYLOAD_BYTES, ALIGNMENT),
        }
    }

    /// The payload of a slot.
    ///
    /// # Safety
    /// No piece of the slot is with the kernel.
    pub(crate) unsafe fn payload(&mut self, slot: u16) -> &mut [u8] {
        // SAFETY: the block is longer than that and zeroed at birth; by the caller's promise the kernel does not read
        // it, and `&mut self` keeps every other reference away.
        unsafe { std::slice::from_raw_parts_mut(self.payloads.block(usize::from(slot)), SEND_BUFFER_BYTES) }
    }

    /// Writes the headers of a slot. `false`: a socket of this family cannot reach the destination.
    ///
    /// # Safety
    /// No piece of the slot is with the kernel.
    pub(crate) unsafe fn write(&mut self, slot: u16, envelope: &Envelope, cut: &Cut) -> bool {
        debug_assert!(cut.pieces() <= SEGMENTS_MAX && cut.end <= SEND_BUFFER_BYTES);
        let headers = self.headers(slot);
        // SAFETY: `headers` points to a whole, aligned and zeroed `Headers`, for which all zeroes are a value; by the
        // caller's promise the kernel does not use it, and `&mut self` keeps every other reference away.
        let (name, control) = unsafe { (&mut (*headers).name, &mut (*headers).control) };
        let Some(name_bytes) = address::encode(envelope.remote, envelope.family, name) else {
            return false;
        };
        let mut writer = ControlWriter::new(control);
        if envelope.ecn != 0 {
            writer.ecn(envelope.ecn, envelope.remote.ip().to_canonical().is_ipv6());
        }
        if let Some(source) = envelope.source {
            writer.source(source);
        }
        let single_bytes = writer.len();
        writer.segment_size(cut.segment_size as u16);
        let train_bytes = writer.len();
        let payload = self.payloads.block(usize::from(slot));
        for index in 0..cut.pieces() {
            let range = cut.range(index);
            let control_bytes = if cut.segments_of(index) > 1 { train_bytes } else { single_bytes };
            // SAFETY: `index` is below SEGMENTS_MAX and the range lies within the payload, both by the assertion
            // above, which `Outbound` ensures; the memory is ours as said above.
            unsafe {
                let vector = &raw mut (*headers).vectors[index];
                (*vector).iov_base = payload.add(range.start).cast();
                (*vector).iov_len = range.len();
                let message = &raw mut (*headers).messages[index];
                (*message).msg_name = (&raw mut (*headers).name).cast();
                (*message).msg_namelen = name_bytes as libc::socklen_t;
                (*message).msg_iov = vector;
                (*message).msg_iovlen = 1;
                (*message).msg_control = match control_bytes {
                    0 => std::ptr::null_mut(),
                    _ => (&raw mut (*headers).control).cast(),
                };
                (*message).msg_controllen = control_bytes as _;
            }
        }
        true
    }

    /// The header of one piece; valid as long as `self` and until the slot is written anew.
    pub(crate) fn message(&self, piece: Piece) -> *mut libc::msghdr {
        let headers = self.headers(piece.slot);
        // SAFETY: `headers` points to a whole `Headers`; indexing checks the bound, and no reference is made.
        unsafe { &raw mut (*headers).messages[usize::from(piece.index)] }
    }

    /// Never frees the memory: the kernel still uses it.
    pub(crate) fn leak(&mut self) {
        self.headers.leak();
        self.payloads.leak();
    }

    fn headers(&self, slot: u16) -> *mut Headers {
        self.headers.block(usize::from(slot)).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIN: Cut = Cut { start: 0, end: 45 * 1452, segment_size: 1452, segments_per_piece: 64 };

    #[test]
    fn a_train_is_one_message_and_its_remains_are_singles() {
        assert_eq!((TRAIN.segments(), TRAIN.pieces()), (45, 1));
        assert_eq!((TRAIN.range(0), TRAIN.segments_of(0)), (0..65_340, 45));
        let rest = Cut { start: 2904, end: 2904 + 1453, segments_per_piece: 1, ..TRAIN };
        assert_eq!((rest.segments(), rest.pieces()), (2, 2));
        assert_eq!((rest.range(0), rest.range(1)), (2904..4356, 4356..4357));
        let empty = Cut { end: 0, ..TRAIN };
        assert_eq!((empty.segments(), empty.pieces(), empty.range(0)), (1, 1, 0..0));
    }

    #[test]
    fn a_shorter_limit_makes_several_trains() {
        let cut = Cut { segments_per_piece: 20, ..TRAIN };
        assert_eq!(cut.pieces(), 3);
        assert_eq!([0, 1, 2].map(|index| cut.segments_of(index)), [20, 20, 5]);
        assert_eq!(cut.range(2), 58_080..65_340);
    }

    #[test]
    fn headers_point_to_their_own_slot() {
        let mut messages = Messages::new(2);
        let remote: SocketAddr = "10.0.0.1:443".parse().unwrap();
        let envelope = Envelope { remote, family: Family::Ipv4, source: None, ecn: 0 };
        // SAFETY: no kernel is involved.
        assert!(unsafe { messages.write(1, &envelope, &Cut { segments_per_piece: 44, ..TRAIN }) });
        // SAFETY: the header was written above.
        let read = |index| unsafe { messages.message(Piece { slot: 1, index }).read() };
        let (train, last) = (read(0), read(1));
        // SAFETY: the vectors were written above and live in `messages`.
        let (train_bytes, last_bytes) = unsafe { ((*train.msg_iov).iov_len, (*last.msg_iov).iov_len) };
        assert_eq!((train_bytes, last_bytes), (44 * 1452, 1452));
        assert_eq!(train.msg_namelen, 16);
        assert!(train.msg_controllen > 0 && !train.msg_control.is_null());
        assert!(last.msg_controllen == 0 && last.msg_control.is_null(), "one datagram needs no segment size");
        // SAFETY: nothing is with any kernel.
        let payload = unsafe { messages.payload(1) }.as_mut_ptr();
        // SAFETY: as above.
        assert_eq!(unsafe { (*last.msg_iov).iov_base }, payload.wrapping_add(44 * 1452).cast());
    }

    #[test]
    fn a_family_that_cannot_reach_the_destination_is_refused() {
        let mut messages = Messages::new(1);
        let remote = "[::1]:443".parse().unwrap();
        let envelope = Envelope { remote, family: Family::Ipv4, source: None, ecn: 0 };
        // SAFETY: no kernel is involved.
        assert!(!unsafe { messages.write(0, &envelope, &TRAIN) });
    }
}
