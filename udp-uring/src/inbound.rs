//! The way in, after the system call: filled buffers, and what stands in them.
//!
//! Owns the receive buffers and their layout, which is that of multishot `recvmsg`; the other engine writes the same
//! one. Never makes a system call and never decides when a buffer goes back: an engine does.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::address;
use crate::arena::Arena;
use crate::cmsg::{Ancillary, RECEIVE_CONTROL_BYTES};
use crate::socket::UdpSocket;
use crate::{Config, Received, SocketIndex, Stats};

/// Room for the sender's address.
pub(crate) const NAME_BYTES: usize = 32;
/// Actual lengths of address, control messages and payload, and the message flags.
pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const CONTROL_AT: usize = HEADER_BYTES + NAME_BYTES;
pub(crate) const PAYLOAD_AT: usize = CONTROL_AT + RECEIVE_CONTROL_BYTES;
/// The largest that GRO makes, and a little more.
pub(crate) const PAYLOAD_BYTES: usize = 65_536;
pub(crate) const BUFFER_BYTES: usize = PAYLOAD_AT + PAYLOAD_BYTES;
const RECEIVE_BUFFERS_MAX: u16 = 4096;

// Control messages aligned, payload at a cache line.
const _: () = assert!(CONTROL_AT.is_multiple_of(8) && PAYLOAD_AT.is_multiple_of(64));
const _: () = assert!(BUFFER_BYTES.is_multiple_of(64));

/// How many receive buffers a configuration means: a power of two.
pub(crate) fn buffer_count(config: &Config) -> u16 {
    config.receive_buffers.clamp(2, RECEIVE_BUFFERS_MAX).next_power_of_two()
}

/// A buffer the kernel filled.
#[derive(Clone, Copy, Debug)]
struct Filled {
    buffer: u16,
    socket: SocketIndex,
}

#[derive(Clone, Copy, Debug)]
struct SocketFacts {
    /// The address it is bound to, unless that is a wildcard.
    local: Option<IpAddr>,
    overflow_seen: u32,
}

/// The receive side of an engine.
#[derive(Debug)]
pub(crate) struct Inbound {
    buffers: Arena,
    count: u16,
    /// Filled and not fetched yet; never more than there are buffers.
    filled: VecDeque<Filled>,
    /// Fetched by the caller, to go back to the kernel at the next occasion.
    lent: Option<u16>,
    sockets: Vec<SocketFacts>,
    stats: Stats,
}

impl Inbound {
    pub(crate) fn new(config: &Config) -> Self {
        let count = buffer_count(config);
        Self {
            buffers: Arena::new(usize::from(count), BUFFER_BYTES, 64),
            count,
            filled: VecDeque::with_capacity(usize::from(count)),
            lent: None,
            sockets: Vec::new(),
            stats: Stats::default(),
        }
    }

    pub(crate) fn add_socket(&mut self, socket: &UdpSocket) {
        let local = Some(socket.local_addr().ip().to_canonical()).filter(|ip| !ip.is_unspecified());
        self.sockets.push(SocketFacts { local, overflow_seen: 0 });
    }

    /// How many buffers there are.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Where a buffer begins; [`BUFFER_BYTES`] long.
    pub(crate) fn buffer(&self, number: u16) -> *mut u8 {
        self.buffers.block(usize::from(number))
    }

    /// How many buffers are with the kernel, or could be.
    pub(crate) fn spare(&self) -> usize {
        usize::from(self.count) - self.filled.len() - usize::from(self.lent.is_some())
    }

    /// Do filled buffers wait to be fetched?
    pub(crate) fn any_filled(&self) -> bool {
        !self.filled.is_empty()
    }

    /// The kernel filled a buffer and handed it over.
    pub(crate) fn on_filled(&mut self, buffer: u16, socket: SocketIndex) {
        debug_assert!(self.filled.len() < usize::from(self.count));
        self.filled.push_back(Filled { buffer, socket });
    }

    /// A receive failed, in the kernel or in our reading of it.
    pub(crate) fn on_error(&mut self) {
        self.stats.receive_errors += 1;
    }

    /// A socket's receive stopped for want of buffers.
    pub(crate) fn on_no_buffers(&mut self) {
        self.stats.no_buffers += 1;
    }

    /// The buffer the caller is done with.
    pub(crate) fn take_lent(&mut self) -> Option<u16> {
        self.lent.take()
    }

    /// Opens the next filled buffer. The engine has taken back the one before.
    pub(crate) fn open(&mut self) -> Opened {
        debug_assert!(self.lent.is_none());
        let Some(Filled { buffer, socket }) = self.filled.pop_front() else { return Opened::Nothing };
        self.lent = Some(buffer);
        let Some(letter) = Letter::read(self.bytes(buffer)) else {
            self.stats.receive_errors += 1;
            return Opened::Unreadable;
        };
        let facts = &mut self.sockets[usize::from(socket.0)];
        if let Some(overflow) = letter.ancillary.overflow {
            self.stats.receive_overflow += u64::from(overflow.wrapping_sub(facts.overflow_seen));
            facts.overflow_seen = overflow;
        }
        self.stats.buffers_received += 1;
        self.stats.datagrams_received += letter.payload.len().div_ceil(letter.segment_size()).max(1) as u64;
        Opened::Letter { buffer, socket, letter }
    }

    /// Lends what was opened last.
    pub(crate) fn lend(&mut self, buffer: u16, socket: SocketIndex, letter: Letter) -> Received<'_> {
        debug_assert_eq!(self.lent, Some(buffer));
        let local = letter.ancillary.local.or(self.sockets[usize::from(socket.0)].local);
        Received {
            socket,
            segment_size: letter.segment_size(),
            remote: letter.remote,
            local,
            ecn: letter.ancillary.ecn,
            bytes: &mut self.bytes(buffer)[letter.payload],
        }
    }

    fn bytes(&mut self, buffer: u16) -> &mut [u8] {
        debug_assert_eq!(self.lent, Some(buffer));
        // SAFETY: the block has this length and was zeroed at birth, so it is initialised. The buffer is lent: the
        // kernel filled it and handed it over, and no engine gives it back before `take_lent`; `&mut self` keeps every
        // other reference away.
        unsafe { std::slice::from_raw_parts_mut(self.buffer(buffer), BUFFER_BYTES) }
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Never frees the memory: the kernel still uses it.
    pub(crate) fn leak(&mut self) {
        self.buffers.leak();
    }
}

/// What [`Inbound::open`] found.
#[derive(Debug)]
pub(crate) enum Opened {
    Nothing,
    /// Cut off, or without a sender: counted, and to be given back.
    Unreadable,
    Letter {
        buffer: u16,
        socket: SocketIndex,
        letter: Letter,
    },
}

/// What stands in a filled buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    remote: SocketAddr,
    ancillary: Ancillary,
    payload: Range<usize>,
}

impl Letter {
    /// Reads a buffer; `None` if it was cut off or has no sender.
    fn read(buffer: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(buffer.get(at..at + 4)?.try_into().ok()?));
        let (name_bytes, control_bytes) = (word(0)? as usize, word(4)? as usize);
        let (payload_bytes, flags) = (word(8)? as usize, word(12)?.cast_signed());
        if flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let name = &buffer[HEADER_BYTES..HEADER_BYTES + name_bytes.min(NAME_BYTES)];
        let control = &buffer[CONTROL_AT..CONTROL_AT + control_bytes.min(RECEIVE_CONTROL_BYTES)];
        let payload = PAYLOAD_AT..PAYLOAD_AT + payload_bytes;
        if payload.end > buffer.len() {
            return None;
        }
        Some(Self { remote: address::decode(name)?, ancillary: Ancillary::decode(control), payload })
    }

    /// The length of each datagram but the last; never zero.
    fn segment_size(&self) -> usize {
        self.ancillary.segment_size.filter(|size| *size > 0).unwrap_or(self.payload.len()).max(1)
    }
}

/// The header that [`Letter::read`] reads, for an engine whose kernel call does not write it.
pub(crate) fn header(
    name_bytes: u32,
    control_bytes: u32,
    payload_bytes: u32,
    flags: i32,
) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    for (at, word) in [name_bytes, control_bytes, payload_bytes, flags as u32].into_iter().enumerate() {
        bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{ADDRESS_BYTES, Family};

    fn buffer(payload_bytes: u32, flags: i32) -> Vec<u8> {
        let mut bytes = vec![0; PAYLOAD_AT + 3000];
        let mut name = [0; ADDRESS_BYTES];
        let name_bytes = address::encode("10.1.2.3:77".parse().unwrap(), Family::Ipv4, &mut name).unwrap();
        bytes[..HEADER_BYTES].copy_from_slice(&header(name_bytes as u32, 0, payload_bytes, flags));
        bytes[HEADER_BYTES..HEADER_BYTES + name_bytes].copy_from_slice(&name[..name_bytes]);
        bytes
    }

    #[test]
    fn a_letter_has_a_sender_and_a_payload() {
        let letter = Letter::read(&buffer(2904, 0)).unwrap();
        assert_eq!(letter.remote, "10.1.2.3:77".parse().unwrap());
        assert_eq!(letter.payload, PAYLOAD_AT..PAYLOAD_AT + 2904);
        assert_eq!(letter.ancillary, Ancillary::default());
        assert!(Letter::read(&buffer(3000, 0)).is_some(), "to the last byte");
    }

    #[test]
    fn what_was_cut_off_is_no_letter() {
        assert_eq!(Letter::read(&buffer(2904, libc::MSG_TRUNC)), None);
        assert_eq!(Letter::read(&buffer(3001, 0)), None);
        assert_eq!(Letter::read(&buffer(u32::MAX, 0)), None);
        assert_eq!(Letter::read(&[0; 15]), None);
    }

    #[test]
    fn lengths_beyond_their_fields_are_cut_to_them() {
        let mut bytes = buffer(10, 0);
        bytes[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        bytes[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Letter::read(&bytes).is_some());
    }

    #[test]
    fn the_number_of_buffers_is_a_power_of_two_within_bounds() {
        let count = |receive_buffers| buffer_count(&Config { receive_buffers, ..Config::default() });
        assert_eq!([0, 2, 3, 256, 257, 4096, u16::MAX].map(count), [2, 2, 4, 256, 512, 4096, 4096]);
    }
}
