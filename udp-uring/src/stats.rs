//! Counters of one engine.
//!
//! Owns their names and how parts of an engine add up. Plain numbers that only grow; nobody resets them.

/// What one [`Udp`](crate::Udp) did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Turns with the kernel: calls of `io_uring_enter`, or of `epoll_pwait2`.
    pub enters: u64,
    /// All other system calls of this thread, set-up included; with `mmsg` those that carry datagrams too.
    pub other_syscalls: u64,
    /// Datagrams that arrived.
    pub datagrams_received: u64,
    /// Buffers they arrived in.
    pub buffers_received: u64,
    /// Datagrams the kernel took from us.
    pub datagrams_sent: u64,
    /// Trains the kernel took from us as a whole or in pieces.
    pub trains_sent: u64,
    /// What the kernel dropped because a socket's receive buffer was full: datagrams, or merged buffers of many.
    pub receive_overflow: u64,
    /// Times a socket's receive stopped because all buffers were in use.
    pub no_buffers: u64,
    /// Other errors of a receive, and buffers we could not read.
    pub receive_errors: u64,
    /// Turns that found the completion queue overflown.
    pub cq_overflow: u64,
    /// Trains that failed.
    pub send_errors: u64,
    /// Times a socket's send buffer was full, so that its trains had to wait.
    pub send_blocked: u64,
    /// Trains that left as single datagrams because there is no GSO towards their destination.
    pub gso_fallbacks: u64,
    /// Fates that nobody fetched in time.
    pub fates_forgotten: u64,
    /// Turns that a [`Waker`](crate::Waker) asked for.
    pub wakes: u64,
    /// System calls that wakers made on their own threads.
    pub wake_writes: u64,
}

impl Stats {
    /// The sum, field by field: every part of an engine counts its own.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            enters: self.enters + other.enters,
            other_syscalls: self.other_syscalls + other.other_syscalls,
            datagrams_received: self.datagrams_received + other.datagrams_received,
            buffers_received: self.buffers_received + other.buffers_received,
            datagrams_sent: self.datagrams_sent + other.datagrams_sent,
            trains_sent: self.trains_sent + other.trains_sent,
            receive_overflow: self.receive_overflow + other.receive_overflow,
            no_buffers: self.no_buffers + other.no_buffers,
            receive_errors: self.receive_errors + other.receive_errors,
            cq_overflow: self.cq_overflow + other.cq_overflow,
            send_errors: self.send_errors + other.send_errors,
            send_blocked: self.send_blocked + other.send_blocked,
            gso_fallbacks: self.gso_fallbacks + other.gso_fallbacks,
            fates_forgotten: self.fates_forgotten + other.fates_forgotten,
            wakes: self.wakes + other.wakes,
            wake_writes: self.wake_writes + other.wake_writes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_the_fields_apart() {
        let left = Stats { enters: 1, wakes: 5, send_errors: 2, ..Stats::default() };
        let right = Stats { enters: 2, datagrams_sent: 7, wake_writes: 9, ..Stats::default() };
        let sum = left.plus(&right);
        let wanted = Stats {
            enters: 3,
            wakes: 5,
            send_errors: 2,
            datagrams_sent: 7,
            wake_writes: 9,
            ..Stats::default()
        };
        assert_eq!(sum, wanted);
    }
}
