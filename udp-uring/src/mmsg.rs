//! The engine on `recvmmsg`, `sendmmsg` and `epoll`, for kernels and containers without `io_uring`.
//!
//! Owns the epoll descriptor and the arrays these calls take. Behaves as the other engine does, turn by turn; only its
//! count of system calls differs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::{mem, ptr};

use crate::cmsg::RECEIVE_CONTROL_BYTES;
use crate::inbound::PAYLOAD_BYTES;
use crate::inbound::{self, BUFFER_BYTES, CONTROL_AT, HEADER_BYTES, Inbound, NAME_BYTES, Opened, PAYLOAD_AT};
use crate::lanes::{Mood, Piece};
use crate::outbound::Outbound;
use crate::{Config, Received, SOCKETS_MAX, SocketIndex, Stats, UdpSocket, Wait, Waker, now};

/// Messages of one system call.
const BATCH: usize = 32;
/// Sockets that one turn hears of.
const EVENTS: i32 = 64;
/// Calls a turn makes on one socket before it looks at the others.
const RECEIVES_PER_SOCKET: usize = 4;
/// The waker's number among the sockets'.
const WAKE: u64 = u64::MAX;

/// One thread's sockets.
pub(crate) struct Mmsg {
    epoll: OwnedFd,
    /// `epoll_pwait2` exists: deadlines are exact to the nanosecond, not the millisecond.
    exact: bool,
    inbound: Inbound,
    outbound: Outbound,
    /// Receive buffers that nobody uses.
    free: Vec<u16>,
    /// Scratch space for the pieces of one lane.
    pieces: Vec<Piece>,
    sockets: Vec<UdpSocket>,
    sockets_max: u16,
    waker: Waker,
    stats: Stats,
}

impl Mmsg {
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let waker = Waker::new()?;
        control(&epoll, libc::EPOLL_CTL_ADD, waker.fd(), libc::EPOLLIN | libc::EPOLLET, WAKE)?;
        let inbound = Inbound::new(config);
        Ok(Self {
            epoll,
            exact: true,
            free: (0..inbound.count()).rev().collect(),
            inbound,
            outbound: Outbound::new(config),
            pieces: Vec::new(),
            sockets: Vec::new(),
            sockets_max: config.sockets_max.clamp(1, SOCKETS_MAX),
            waker,
            stats: Stats { other_syscalls: 3, ..Stats::default() }, // those above
        })
    }

    pub(crate) fn add_socket(&mut self, socket: UdpSocket) -> io::Result<SocketIndex> {
        let index = self.sockets.len() as u16;
        if index == self.sockets_max {
            return Err(io::Error::other(format!("no more than {index} sockets on one thread")));
        }
        self.stats.other_syscalls += 1;
        control(&self.epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), libc::EPOLLIN, u64::from(index))?;
        self.inbound.add_socket(&socket);
        self.outbound.add_socket(&socket);
        self.sockets.push(socket);
        Ok(SocketIndex(index))
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    pub(crate) fn submit_and_wait(&mut self, wait: Wait) -> io::Result<()> {
        self.take_back_lent();
        self.transmit()?;
        let busy = self.outbound.take_restless() || self.inbound.any_filled();
        let sleeps = wait != Wait::Now && !busy && self.waker.on_sleep();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS as usize];
        let count = self.wait_for_events(&mut events, if sleeps { wait } else { Wait::Now });
        self.stats.wakes += u64::from(self.waker.on_awake());
        for event in &events[..count?] {
            let libc::epoll_event { events, u64: number } = *event;
            if number == WAKE {
                continue;
            }
            let index = SocketIndex(number as u16);
            if events & libc::EPOLLOUT as u32 != 0 {
                self.watch(index, libc::EPOLLIN)?;
                self.outbound.lanes().list(index.0);
            }
            if events & (libc::EPOLLIN | libc::EPOLLERR) as u32 != 0 {
                self.receive_from(index);
            }
        }
        self.transmit() // what waited for room
    }

    pub(crate) fn receive(&mut self) -> Option<Received<'_>> {
        let (buffer, socket, letter) = loop {
            self.take_back_lent();
            match self.inbound.open() {
                Opened::Nothing => return None,
                Opened::Unreadable => {}
                Opened::Letter { buffer, socket, letter } => break (buffer, socket, letter),
            }
        };
        Some(self.inbound.lend(buffer, socket, letter))
    }

    pub(crate) fn stats(&self) -> Stats {
        let waker = Stats { wake_writes: self.waker.writes(), ..Stats::default() };
        self.stats.plus(self.inbound.stats()).plus(self.outbound.stats()).plus(&waker)
    }

    fn take_back_lent(&mut self) {
        self.free.extend(self.inbound.take_lent());
    }

    /// Sends what is queued, except on sockets that are full: those are watched until they have room.
    fn transmit(&mut self) -> io::Result<()> {
        self.pieces.clear();
        let mut pieces = mem::take(&mut self.pieces);
        while let Some((socket, mood)) = self.outbound.take_pieces(BATCH, &mut pieces) {
            self.send_pieces(socket, mood, &pieces);
            pieces.clear();
            if self.outbound.lanes().is_patient(socket.0) {
                self.outbound.lanes().park(socket.0);
                self.watch(socket, libc::EPOLLIN | libc::EPOLLOUT)?;
            }
        }
        self.pieces = pieces;
        Ok(())
    }

    /// Hands pieces of one socket to the kernel, which stops at the first it does not take.
    fn send_pieces(&mut self, socket: SocketIndex, mood: Mood, pieces: &[Piece]) {
        let fd = self.sockets[usize::from(socket.0)].as_raw_fd();
        let mut batch = [EMPTY_MESSAGE; BATCH];
        for (slot, piece) in batch.iter_mut().zip(pieces) {
            // SAFETY: the header was written when the train was queued, and nobody else uses it now.
            slot.msg_hdr = unsafe { self.outbound.message(*piece).read() };
        }
        self.stats.other_syscalls += 1;
        // SAFETY: so many headers stand in `batch`; what they point to belongs to slots that wait for our answer.
        let result =
            unsafe { libc::sendmmsg(fd, batch.as_mut_ptr(), pieces.len() as u32, libc::MSG_DONTWAIT) };
        let (sent, errno) = match usize::try_from(result) {
            Ok(sent) => (sent, libc::ECANCELED), // why it stopped, the next call will tell
            Err(_) => (0, io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        };
        for (at, piece) in pieces.iter().enumerate() {
            let answer = match at {
                _ if at < sent => Ok(()),
                _ if at == sent => Err(errno),
                _ => Err(libc::ECANCELED),
            };
            self.outbound.on_answer(*piece, mood, answer);
        }
    }

    /// Receives from one socket while it has something and there are buffers. A socket that has more is heard of again
    /// in the next turn.
    fn receive_from(&mut self, index: SocketIndex) {
        for _ in 0..RECEIVES_PER_SOCKET {
            let count = self.free.len().min(BATCH);
            if count == 0 {
                self.inbound.on_no_buffers();
                return;
            }
            if self.receive_batch(index, count) < count {
                return;
            }
        }
    }

    fn receive_batch(&mut self, index: SocketIndex, count: usize) -> usize {
        let mut batch = [EMPTY_MESSAGE; BATCH];
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // The buffers used last come first, as they are warm in the cache.
        for at in 0..count {
            let base = self.inbound.buffer(self.free[self.free.len() - 1 - at]);
            const { assert!(PAYLOAD_AT + PAYLOAD_BYTES <= BUFFER_BYTES) };
            let header = &mut batch[at].msg_hdr;
            // SAFETY: a buffer is BUFFER_BYTES long, so its parts lie within it.
            unsafe {
                header.msg_name = base.add(HEADER_BYTES).cast();
                header.msg_control = base.add(CONTROL_AT).cast();
                vectors[at].iov_base = base.add(PAYLOAD_AT).cast();
            }
            vectors[at].iov_len = PAYLOAD_BYTES;
            header.msg_namelen = NAME_BYTES as libc::socklen_t;
            header.msg_controllen = RECEIVE_CONTROL_BYTES as _;
            header.msg_iov = &raw mut vectors[at];
            header.msg_iovlen = 1;
        }
        let fd = self.sockets[usize::from(index.0)].as_raw_fd();
        self.stats.other_syscalls += 1;
        // SAFETY: so many headers stand in `batch`; each points to a buffer of its own that nobody uses.
        let result = unsafe {
            libc::recvmmsg(fd, batch.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        let Ok(received) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) {
                self.inbound.on_error();
            }
            return 0;
        };
        for message in &batch[..received] {
            let Some(buffer) = self.free.pop() else { break };
            let told = &message.msg_hdr;
            let header = inbound::header(
                told.msg_namelen,
                told.msg_controllen as u32,
                message.msg_len,
                told.msg_flags,
            );
            // SAFETY: the buffer begins with room for the header, and the kernel is done with it.
            unsafe { self.inbound.buffer(buffer).cast::<[u8; HEADER_BYTES]>().write_unaligned(header) };
            self.inbound.on_filled(buffer, index);
        }
        received
    }

    fn watch(&mut self, index: SocketIndex, events: i32) -> io::Result<()> {
        self.stats.other_syscalls += 1;
        let fd = self.sockets[usize::from(index.0)].as_raw_fd();
        control(&self.epoll, libc::EPOLL_CTL_MOD, fd, events, u64::from(index.0))
    }

    /// Waits for events and returns their number; none after a signal.
    fn wait_for_events(
        &mut self,
        events: &mut [libc::epoll_event; EVENTS as usize],
        wait: Wait,
    ) -> io::Result<usize> {
        let rest_ns = match wait {
            Wait::Now => Some(0),
            Wait::Until(deadline) => Some(deadline.saturating_sub(now())),
            Wait::Forever => None,
        };
        self.stats.enters += 1;
        let mut count = if self.exact { wait_exactly(&self.epoll, events, rest_ns) } else { Ok(0) };
        if count.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS)) {
            self.exact = false;
        }
        if !self.exact {
            count = wait_coarsely(&self.epoll, events, rest_ns);
        }
        match count {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            count => count,
        }
    }
}

const EMPTY_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    // SAFETY: all zeroes are a value of this C structure of numbers and pointers.
    msg_hdr: unsafe { mem::zeroed() },
    msg_len: 0,
};

fn control(epoll: &OwnedFd, operation: i32, fd: RawFd, events: i32, number: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: number };
    // SAFETY: the kernel only reads the event, during the call.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn wait_exactly(
    epoll: &OwnedFd,
    events: &mut [libc::epoll_event; EVENTS as usize],
    rest_ns: Option<u64>,
) -> io::Result<usize> {
    let time = rest_ns.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    });
    let time_at = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel writes at most as many events as there is room for; the time outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            EVENTS,
            time_at,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Rounds up, so that a turn does not spin through its last millisecond.
fn wait_coarsely(
    epoll: &OwnedFd,
    events: &mut [libc::epoll_event; EVENTS as usize],
    rest_ns: Option<u64>,
) -> io::Result<usize> {
    let timeout_ms = rest_ns.map_or(-1, |ns| i32::try_from(ns.div_ceil(1_000_000)).unwrap_or(i32::MAX));
    // SAFETY: the kernel writes at most as many events as there is room for.
    let result = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS, timeout_ms) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_exact_wait_still_keeps_deadlines_and_wakes() {
        let mut mmsg = Mmsg::new(&Config::default()).unwrap();
        mmsg.exact = false;
        let deadline = now() + 5_000_000;
        mmsg.submit_and_wait(Wait::Until(deadline)).unwrap();
        assert!(now() >= deadline);
        let waker = mmsg.waker();
        waker.wake();
        mmsg.submit_and_wait(Wait::Forever).unwrap();
        assert_eq!(mmsg.stats().wakes, 1);
    }
}
