//! The engine on `io_uring`: one ring, one thread, one enter a turn.
//!
//! Owns the ring, the registered files and the count of operations that the kernel has. Joins receives, sends and the
//! waker in a turn, and ends soundly: it cancels, waits, and frees memory only when the kernel is done with it. Needs
//! Linux 6.1 (`DEFER_TASKRUN`); what is newer is used where it is found.

mod enter;
mod receive;
mod ring_buffers;
mod token;
mod transmit;

use std::io;
use std::os::fd::AsRawFd;

use io_uring::types::{CancelBuilder, Fixed};
use io_uring::{IoUring, cqueue, opcode};

use crate::inbound::{Inbound, Opened};
use crate::outbound::Outbound;
use crate::{Config, Received, SOCKETS_MAX, SocketIndex, Stats, UdpSocket, Wait, Waker, now};

use self::enter::{Gate, Turn};
use self::receive::Receives;
use self::ring_buffers::RingBuffers;
use self::token::Token;
use self::transmit::Sends;

/// Entries of the submission queue: the pieces of one turn.
const SUBMISSIONS: u32 = 512;
/// The least entries of the completion queue.
const COMPLETIONS_MIN: u32 = 4096;
/// How long an end waits for the kernel before it leaks the memory instead.
const DRAIN_NS: u64 = 1_000_000_000;

/// One thread's ring and all that it works on.
pub(crate) struct Uring {
    gate: Gate, // before the ring, so that it ends first
    ring: IoUring,
    buffers: RingBuffers,
    receives: Receives,
    sends: Sends,
    inbound: Inbound,
    outbound: Outbound,
    sockets: Vec<UdpSocket>,
    sockets_max: u16,
    waker: Waker,
    wake_armed: bool,
    /// Operations of which the kernel has to tell the end: as long as there are any, it uses our memory.
    operations: usize,
    stats: Stats,
}

/// A sentence for the error of [`Uring::new`].
pub(crate) fn why_barred(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no io_uring",
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is not permitted here (see kernel.io_uring_disabled, or the container's seccomp profile)"
        }
        Some(libc::EINVAL) => "this kernel's io_uring is too old (Linux 6.1 is needed)",
        Some(libc::ENOMEM) => "there is not enough memory for a ring (see ulimit -l)",
        _ => "the ring cannot be made",
    };
    format!("{why}: {error}")
}

impl Uring {
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let inbound = Inbound::new(config);
        let outbound = Outbound::new(config);
        let sockets_max = config.sockets_max.clamp(1, SOCKETS_MAX);
        let ring =
            make_ring(u32::from(inbound.count()), u32::from(outbound.count()), u32::from(sockets_max))?;
        let waker = Waker::new()?;
        let submitter = ring.submitter();
        submitter.register_files_sparse(u32::from(sockets_max) + 1)?;
        submitter.register_files_update(u32::from(sockets_max), &[waker.fd()])?;
        let buffers = RingBuffers::new(&ring, &inbound)?;
        let gate = Gate::new(ring.as_raw_fd(), ring.params().is_feature_min_timeout());
        let stats = Stats { other_syscalls: 6, ..Stats::default() }; // those above
        Ok(Self {
            gate,
            ring,
            buffers,
            receives: Receives::default(),
            sends: Sends::default(),
            inbound,
            outbound,
            sockets: Vec::new(),
            sockets_max,
            waker,
            wake_armed: false,
            operations: 0,
            stats,
        })
    }

    pub(crate) fn add_socket(&mut self, socket: UdpSocket) -> io::Result<SocketIndex> {
        let index = self.sockets.len() as u16;
        if index == self.sockets_max {
            return Err(io::Error::other(format!("no more than {index} sockets on one thread")));
        }
        self.stats.other_syscalls += 1;
        self.ring.submitter().register_files_update(u32::from(index), &[socket.as_raw_fd()])?;
        self.inbound.add_socket(&socket);
        self.outbound.add_socket(&socket);
        self.receives.add_socket();
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
        let left_over = self.outbound.eager_with_kernel();
        self.push_entries();
        let (submit, idle) = self.queue_state();
        // Nobody sleeps while there is something to fetch, to answer or to hand over.
        let restless = self.outbound.take_restless();
        let busy = restless || self.inbound.any_filled() || left_over > 0 || self.outbound.any_ready();
        let sleeps = wait != Wait::Now && !busy && self.waker.on_sleep();
        let certain = self.outbound.eager_with_kernel() - self.sends.silent();
        if !sleeps && idle && certain == 0 {
            self.on_back();
            return Ok(()); // the kernel has nothing to do for us
        }
        let turn = Turn {
            submit,
            completions: (certain + usize::from(sleeps)) as u32,
            wait: if sleeps { wait } else { Wait::Now },
        };
        self.stats.enters += 1;
        let entered = self.gate.enter(turn);
        self.on_back();
        self.harvest();
        entered.and_then(|()| self.receives.take_broken())
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
        if let Some(number) = self.inbound.take_lent() {
            self.buffers.give(number, self.inbound.buffer(number));
        }
    }

    /// Queues all that has to go to the kernel and fits.
    fn push_entries(&mut self) {
        let mut queue = self.ring.submission();
        if !self.wake_armed {
            let poll = opcode::PollAdd::new(Fixed(u32::from(self.sockets_max)), libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(Token::Wake.encode());
            // SAFETY: this entry points to nothing.
            if unsafe { queue.push(&poll) }.is_ok() {
                self.wake_armed = true;
                self.operations += 1;
            }
        }
        self.operations += self.receives.arm(&mut queue, &self.buffers, &self.inbound);
        self.operations += self.sends.push(&mut queue, &mut self.outbound);
    }

    /// How many entries wait for submission, and whether neither they nor the kernel need an enter.
    fn queue_state(&mut self) -> (u32, bool) {
        let queue = self.ring.submission();
        let overflown = queue.cq_overflow();
        self.stats.cq_overflow += u64::from(overflown);
        (queue.len() as u32, queue.is_empty() && !queue.taskrun() && !overflown)
    }

    fn on_back(&mut self) {
        self.stats.wakes += u64::from(self.waker.on_awake());
    }

    /// Takes all completions and hands each to its owner.
    fn harvest(&mut self) {
        let Self { ring, buffers, receives, sends, inbound, outbound, operations, wake_armed, .. } = self;
        for completion in ring.completion() {
            let ended = match Token::decode(completion.user_data()) {
                Token::Receive(socket) => receives.on_completion(socket, &completion, buffers, inbound),
                Token::Send(piece, mood) => sends.on_completion(piece, mood, completion.result(), outbound),
                Token::Wake => {
                    *wake_armed = cqueue::more(completion.flags());
                    !*wake_armed
                }
                Token::Signal => false,
            };
            *operations -= usize::from(ended);
        }
        let queue = ring.submission();
        if queue.is_empty() && !queue.cq_overflow() {
            sends.on_all_taken(outbound);
        }
    }

    /// Cancels every operation and waits for its end. `false`: the kernel still has some.
    fn drain(&mut self) -> bool {
        let deadline = now() + DRAIN_NS;
        let cancel =
            opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(Token::Signal.encode());
        while self.operations > 0 && now() < deadline {
            let mut queue = self.ring.submission();
            // SAFETY: this entry points to nothing. A full queue is emptied by the enter below.
            let _ = unsafe { queue.push(&cancel) };
            let submit = queue.len() as u32;
            drop(queue);
            // Two completions: the cancellation's own, and that of something cancelled.
            let turn = Turn { submit, completions: 2, wait: Wait::Until(now() + DRAIN_NS / 100) };
            if self.gate.enter(turn).is_err() {
                return false;
            }
            self.harvest();
        }
        self.operations == 0
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let done = self.drain() && self.sends.silent() == 0;
        // A ring ends some time after its descriptor; the sockets shall be closed now.
        let unregistered = self.ring.submitter().unregister_files();
        if !done || unregistered.is_err() {
            self.buffers.leak();
            self.inbound.leak();
            self.outbound.leak();
        }
    }
}

/// A ring with all the options this kernel has.
fn make_ring(receive_buffers: u32, send_buffers: u32, sockets: u32) -> io::Result<IoUring> {
    // Between two harvests no more can complete than this: each buffer, each socket's receive, each blocked send, the
    // entries of this turn and those that other completions left over from turns before. So the queue does not
    // overflow, which `Sends` relies on to believe in silence.
    let most = 2 * (receive_buffers + sockets) + send_buffers + 2 * SUBMISSIONS;
    let completions = most.next_power_of_two().max(COMPLETIONS_MIN);
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork();
    match builder.clone().setup_no_sqarray().build(SUBMISSIONS) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(SUBMISSIONS), // before 6.6
        result => result,
    }
}
