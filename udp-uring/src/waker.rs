//! Waking a thread that sleeps in its turn.
//!
//! Owns the eventfd and the one atomic that says whether a write to it is needed. Loses no wake-up and makes no system
//! call while the thread is awake or woken already. Never says why it woke: the caller looks into its queues.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The thread computes, and will look at this flag before it sleeps.
const AWAKE: u8 = 0;
/// The thread sleeps, or is about to: only the eventfd ends that.
const ASLEEP: u8 = 1;
/// Somebody has something for the thread.
const CALLED: u8 = 2;

/// Ends the sleep of one [`Udp`](crate::Udp)'s thread from another thread.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    writes: AtomicU64,
    eventfd: File,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        let eventfd = unsafe { File::from_raw_fd(fd) };
        let shared = Shared { state: AtomicU8::new(AWAKE), writes: AtomicU64::new(0), eventfd };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes the present or next turn end at once. What was written before this call is seen after that turn.
    pub fn wake(&self) {
        if self.shared.state.swap(CALLED, Ordering::SeqCst) == ASLEEP {
            self.shared.writes.fetch_add(1, Ordering::Relaxed);
            // The only error is a counter at its limit, and then the sleeper has a wake-up waiting anyway.
            let _ = (&self.shared.eventfd).write(&1_u64.to_ne_bytes());
        }
    }

    /// The thread wants to sleep. `false`: it was called meanwhile and must not.
    pub(crate) fn on_sleep(&self) -> bool {
        self.shared.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The thread is back from its turn. `true`: it was called.
    pub(crate) fn on_awake(&self) -> bool {
        self.shared.state.swap(AWAKE, Ordering::SeqCst) == CALLED
    }

    /// The descriptor that becomes readable. Nobody reads it: all who wait for it do so edge-triggered.
    pub(crate) fn fd(&self) -> RawFd {
        self.shared.eventfd.as_raw_fd()
    }

    /// System calls made so far by those who woke us.
    pub(crate) fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waking_the_awake_makes_no_system_call_and_is_not_lost() {
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        assert_eq!(waker.writes(), 0);
        assert!(!waker.on_sleep(), "called before it slept");
        assert!(waker.on_awake());
        assert!(waker.on_sleep(), "one call ends one sleep");
        assert!(!waker.on_awake());
    }

    #[test]
    fn many_calls_of_one_sleeper_make_one_system_call() {
        let waker = Waker::new().unwrap();
        assert!(waker.on_sleep());
        for _ in 0..100 {
            waker.clone().wake();
        }
        assert_eq!(waker.writes(), 1);
        assert!(waker.on_awake());
    }
}
