//! The ring by which receive buffers go to the kernel.
//!
//! Owns the shared entries and their tail, and the message template of a multishot receive. Never looks into a buffer
//! and never takes one back: the kernel hands them over by number.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::arena::Arena;
use crate::cmsg::RECEIVE_CONTROL_BYTES;
use crate::inbound::{BUFFER_BYTES, Inbound, NAME_BYTES};

/// The only group of provided buffers in a ring.
pub(super) const GROUP: u16 = 0;
const PAGE_BYTES: usize = 4096;

/// Entries the kernel reads while the ring lives.
#[derive(Debug)]
pub(super) struct RingBuffers {
    entries: Arena,
    template: Arena,
    mask: u16,
    tail: u16,
}

impl RingBuffers {
    /// Registers the entries with `ring` and gives it all buffers of `inbound`.
    pub(super) fn new(ring: &IoUring, inbound: &Inbound) -> io::Result<Self> {
        let count = inbound.count();
        debug_assert!(count.is_power_of_two());
        let entries_bytes = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE_BYTES);
        let entries = Arena::new(1, entries_bytes, PAGE_BYTES);
        let base = entries.block(0);
        // SAFETY: the memory is page-aligned, large enough and zeroed. It outlives the registration: `Uring` frees it
        // only when the kernel is done with the ring's operations, and leaks it otherwise.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(base.addr() as u64, count, GROUP, 0)?;
        }
        let template = Arena::new(1, size_of::<libc::msghdr>().next_multiple_of(64), 64);
        let message: *mut libc::msghdr = template.block(0).cast();
        // SAFETY: the block is aligned, zeroed and large enough for a header, and the kernel does not have it yet.
        unsafe {
            (*message).msg_namelen = NAME_BYTES as libc::socklen_t;
            (*message).msg_controllen = RECEIVE_CONTROL_BYTES as _;
        }
        let mut buffers = Self { entries, template, mask: count - 1, tail: 0 };
        for number in 0..count {
            buffers.give(number, inbound.buffer(number));
        }
        Ok(buffers)
    }

    /// Gives a buffer to the kernel.
    pub(super) fn give(&mut self, number: u16, buffer: *mut u8) {
        let entry = self.entry(self.tail & self.mask);
        // SAFETY: the entry lies behind the tail, where the kernel does not read, and no reference to it exists
        // elsewhere. Its last field is left alone, for in the first entry it is the tail.
        unsafe {
            (*entry).set_addr(buffer.addr() as u64);
            (*entry).set_len(BUFFER_BYTES as u32);
            (*entry).set_bid(number);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry exists, and its last field is the ring's tail, aligned for a u16; kernel and we
        // access it by atomics only.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entry(0)).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The message of every multishot receive. Valid as long as `self`.
    pub(super) fn template(&self) -> *const libc::msghdr {
        self.template.block(0).cast()
    }

    /// Never frees the memory: the kernel still uses it.
    pub(super) fn leak(&mut self) {
        self.entries.leak();
        self.template.leak();
    }

    fn entry(&self, index: u16) -> *mut BufRingEntry {
        let base: *mut BufRingEntry = self.entries.block(0).cast();
        debug_assert!(index <= self.mask);
        // SAFETY: the index is masked, and that many entries were allocated.
        unsafe { base.add(usize::from(index)) }
    }
}
