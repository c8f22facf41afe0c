//! The one system call of a turn.
//!
//! Owns `io_uring_enter` with the ring's registered number and the deadline as its timeout, absolute where the kernel
//! knows that. Never touches the queues. (The `io-uring` crate forgets the registered number with each `Submitter`,
//! and keeps it for itself, so the two calls stand here.)

use std::io;
use std::os::fd::RawFd;

use crate::{Wait, now};

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_ABS_TIMER: u32 = 1 << 5;

const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// `struct io_uring_rsrc_update`
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`
#[repr(C)]
struct EventsArgument {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    time: u64,
}

/// `struct __kernel_timespec`
#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

const _: () = assert!(size_of::<RingUpdate>() == 16 && size_of::<EventsArgument>() == 24);

impl Time {
    fn of(nanoseconds: u64) -> Self {
        Self {
            seconds: (nanoseconds / 1_000_000_000).cast_signed(),
            nanoseconds: (nanoseconds % 1_000_000_000).cast_signed(),
        }
    }
}

/// What to hand over and what to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) submit: u32,
    /// Completions to wait for; zero only takes what is there.
    pub(super) completions: u32,
    pub(super) wait: Wait,
}

/// The way into one ring. The ring outlives it.
#[derive(Debug)]
pub(super) struct Gate {
    fd: RawFd,
    registered: Option<u32>,
    absolute_time: bool,
}

impl Gate {
    /// Registers the ring with this thread, if the kernel can.
    pub(super) fn new(ring_fd: RawFd, absolute_time: bool) -> Self {
        let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: ring_fd as u64 };
        // SAFETY: one update is passed, which the kernel reads and writes during the call only.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_register, ring_fd, REGISTER_RING_FDS, &raw mut update, 1)
        };
        Self { fd: ring_fd, registered: (result == 1).then_some(update.offset), absolute_time }
    }

    /// Enters the kernel. A timeout, a signal and a full completion queue are no errors: the caller looks at the
    /// completions next, whatever the reason.
    pub(super) fn enter(&self, turn: Turn) -> io::Result<()> {
        let mut flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
        let time = match turn.wait {
            Wait::Until(deadline) if self.absolute_time => {
                flags |= ENTER_ABS_TIMER;
                Some(Time::of(deadline))
            }
            Wait::Until(deadline) => Some(Time::of(deadline.saturating_sub(now()))),
            Wait::Now | Wait::Forever => None,
        };
        let time_at = time.as_ref().map_or(0, |time| (&raw const *time).addr() as u64);
        let argument = EventsArgument { sigmask: 0, sigmask_bytes: 0, min_wait_us: 0, time: time_at };
        let fd = match self.registered {
            Some(number) => {
                flags |= ENTER_REGISTERED_RING;
                number.cast_signed()
            }
            None => self.fd,
        };
        // SAFETY: the argument and the time it points to outlive the call, and the size is the argument's. What the
        // submitted entries point to is the promise of those who pushed them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                turn.submit,
                turn.completions,
                flags,
                &raw const argument,
                size_of::<EventsArgument>(),
            )
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(offset) = self.registered {
            let mut update = RingUpdate { offset, reserved: 0, data: 0 };
            // SAFETY: one update is passed, which the kernel only reads; the number is ours, and a thread that gave it
            // up already gets an error back.
            unsafe {
                libc::syscall(libc::SYS_io_uring_register, self.fd, UNREGISTER_RING_FDS, &raw mut update, 1)
            };
        }
    }
}
