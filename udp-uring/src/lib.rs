//! UDP at the speed of one core: `io_uring`, or `recvmmsg` and `sendmmsg` where it is barred.
//!
//! Owns every file descriptor, every system call and every unsafe line of Braid: sockets, GRO buffers in, GSO trains
//! out, the deadline of a turn and the wake-up from another thread. Knows nothing of QUIC, and never decides what is
//! sent, when, or where to. One [`Udp`] belongs to one thread. [`Interfaces`] tells which local addresses there are.

mod address;
mod arena;
mod cmsg;
mod gso;
mod inbound;
mod interfaces;
mod lanes;
mod messages;
mod mmsg;
mod netlink;
mod outbound;
mod socket;
mod stats;
mod uring;
mod waker;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

pub use crate::interfaces::{ADDRESSES_MAX, InterfaceAddress, InterfaceChange, Interfaces, Scope};
pub use crate::socket::{BpfInstruction, BufferReport, SocketConfig, UdpSocket};
pub use crate::stats::Stats;
pub use crate::waker::Waker;

use crate::mmsg::Mmsg;
use crate::outbound::Outbound;
use crate::uring::Uring;

const _: () = assert!(usize::BITS == 64, "only 64-bit Linux");

/// The bytes one [`Udp::send_buffer`] holds: the largest UDP payload that IPv4 can carry.
pub const SEND_BUFFER_BYTES: usize = 65_507;

/// The most segments of one GSO train; every kernel with UDP GSO takes this many.
pub const SEGMENTS_MAX: usize = 64;

/// The most sockets of one [`Udp`], whatever [`Config::sockets_max`] says.
pub const SOCKETS_MAX: u16 = 8192;

/// Which system calls carry the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IoKind {
    /// `io_uring` where the kernel lets us, else `recvmmsg` and `sendmmsg`.
    #[default]
    Auto,
    /// `io_uring`, or an error.
    Uring,
    /// `recvmmsg`, `sendmmsg` and `epoll`.
    Mmsg,
}

impl FromStr for IoKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "mmsg" => Ok(Self::Mmsg),
            other => Err(format!("`{other}` is none of auto, uring, mmsg")),
        }
    }
}

impl fmt::Display for IoKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
        })
    }
}

/// How one thread's [`Udp`] is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which system calls to use.
    pub kind: IoKind,
    /// Receive buffers of 64 KiB; rounded up to a power of two, at most 4096. The kernel uses them in turn, so few that
    /// stay in the cache are faster than many; when they run out, datagrams wait in the socket.
    pub receive_buffers: u16,
    /// Send buffers of 64 KiB; at most 4096.
    pub send_buffers: u16,
    /// Longer trains leave as several sends of this many segments; 1 switches GSO off.
    pub gso_segments_max: u16,
    /// The sockets that [`Udp::add_socket`] takes.
    pub sockets_max: u16,
    /// Report [`Fate::Sent`] too, not only what went wrong.
    pub report_sent: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: IoKind::Auto,
            receive_buffers: 64,
            send_buffers: 64,
            gso_segments_max: SEGMENTS_MAX as u16,
            sockets_max: 1024,
            report_sent: false,
        }
    }
}

/// The number of a socket in its [`Udp`], from zero in the order they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SocketIndex(pub u16);

/// How long a turn may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: submit, take what is there, return.
    Now,
    /// Until a completion, a wake-up, or this instant in nanoseconds of [`now`].
    Until(u64),
    /// Until a completion or a wake-up.
    Forever,
}

/// What the kernel received: one datagram, or several of one sender merged by GRO.
#[derive(Debug)]
pub struct Received<'a> {
    /// The socket that received it.
    pub socket: SocketIndex,
    /// The payloads, one after the other.
    pub bytes: &'a mut [u8],
    /// The length of each datagram but the last, which may be shorter; never zero.
    pub segment_size: usize,
    /// The sender; an IPv4-mapped address is folded to IPv4.
    pub remote: SocketAddr,
    /// The address it was sent to, where the kernel or the socket's own address tells.
    pub local: Option<IpAddr>,
    /// The two ECN bits.
    pub ecn: u8,
}

/// What to do with the buffer lent last.
#[derive(Clone, Copy, Debug)]
pub struct Send {
    /// The socket to send from.
    pub socket: SocketIndex,
    /// The bytes of the buffer that leave.
    pub bytes: usize,
    /// The length of each datagram but the last, which may be shorter.
    pub segment_size: usize,
    /// The source address; heeded only where the socket is bound to a wildcard address.
    pub source: Option<IpAddr>,
    /// The destination.
    pub remote: SocketAddr,
    /// The two ECN bits.
    pub ecn: u8,
    /// Comes back with the [`Fate`].
    pub tag: u64,
}

/// What became of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The kernel took it. Reported only with [`Config::report_sent`].
    Sent,
    /// The kernel took it, but only as single datagrams: there is no GSO towards this destination.
    NoSegmentation,
    /// A datagram is larger than the route's MTU.
    TooBig,
    /// There is no way to this destination, or not from this source address.
    Unreachable,
    /// The kernel had no memory or no queue space for it.
    NoRoom,
    /// Another error, by its number.
    Other(i32),
}

/// One thread's UDP: its sockets, buffers and ring.
pub struct Udp {
    engine: Engine,
    fallback_reason: Option<String>,
    /// The ring accepts submissions of its own thread only, so this type stays where it was made.
    one_thread: PhantomData<*const ()>,
}

enum Engine {
    Uring(Box<Uring>),
    Mmsg(Box<Mmsg>),
}

impl Udp {
    /// Makes the engine. Call it on the thread that will use it.
    pub fn new(config: &Config) -> io::Result<Self> {
        let with = |engine, fallback_reason| Self { engine, fallback_reason, one_thread: PhantomData };
        let uring = |config| Ok(Engine::Uring(Box::new(Uring::new(config)?)));
        let mmsg = |config| Ok::<_, io::Error>(Engine::Mmsg(Box::new(Mmsg::new(config)?)));
        match config.kind {
            IoKind::Uring => Ok(with(uring(config)?, None)),
            IoKind::Mmsg => Ok(with(mmsg(config)?, None)),
            IoKind::Auto => match uring(config) {
                Ok(engine) => Ok(with(engine, None)),
                Err(error) => Ok(with(mmsg(config)?, Some(uring::why_barred(&error)))),
            },
        }
    }

    /// Which system calls are used: never [`IoKind::Auto`].
    pub fn kind(&self) -> IoKind {
        match self.engine {
            Engine::Uring(_) => IoKind::Uring,
            Engine::Mmsg(_) => IoKind::Mmsg,
        }
    }

    /// Why [`IoKind::Auto`] did not become [`IoKind::Uring`].
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Takes over a socket and receives from it from the next turn on.
    pub fn add_socket(&mut self, socket: UdpSocket) -> io::Result<SocketIndex> {
        match &mut self.engine {
            Engine::Uring(uring) => uring.add_socket(socket),
            Engine::Mmsg(mmsg) => mmsg.add_socket(socket),
        }
    }

    /// A handle by which another thread ends the sleep of this one.
    pub fn waker(&self) -> Waker {
        match &self.engine {
            Engine::Uring(uring) => uring.waker(),
            Engine::Mmsg(mmsg) => mmsg.waker(),
        }
    }

    /// One turn with the kernel: hands over the queued trains, then waits as `wait` says.
    ///
    /// Does not sleep while received buffers or fates wait to be fetched, nor if [`send_buffer`](Self::send_buffer)
    /// had none and the kernel is about to free some. A return may be early or for no reason at all; a signal is such
    /// a reason.
    pub fn submit_and_wait(&mut self, wait: Wait) -> io::Result<()> {
        match &mut self.engine {
            Engine::Uring(uring) => uring.submit_and_wait(wait),
            Engine::Mmsg(mmsg) => mmsg.submit_and_wait(wait),
        }
    }

    /// The next buffer of those received. It goes back to the kernel with the next call of this or of
    /// [`submit_and_wait`](Self::submit_and_wait).
    pub fn receive(&mut self) -> Option<Received<'_>> {
        match &mut self.engine {
            Engine::Uring(uring) => uring.receive(),
            Engine::Mmsg(mmsg) => mmsg.receive(),
        }
    }

    /// An empty buffer of [`SEND_BUFFER_BYTES`], or `None` if all are in use. Without a [`send`](Self::send) in
    /// between, the next call lends the same one.
    pub fn send_buffer(&mut self) -> Option<&mut [u8]> {
        self.outbound().send_buffer()
    }

    /// Queues the buffer lent last. Trains of one socket leave in the order of these calls.
    pub fn send(&mut self, request: Send) {
        self.outbound().send(&request);
    }

    /// The next fate of a train, with its tag.
    pub fn next_fate(&mut self) -> Option<(u64, Fate)> {
        self.outbound().next_fate()
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        match &self.engine {
            Engine::Uring(uring) => uring.stats(),
            Engine::Mmsg(mmsg) => mmsg.stats(),
        }
    }

    /// Hands over what is queued, then ends: cancels what is in flight, waits for it and frees the buffers, as
    /// dropping does too.
    pub fn close(mut self) -> io::Result<()> {
        self.submit_and_wait(Wait::Now)
    }

    fn outbound(&mut self) -> &mut Outbound {
        match &mut self.engine {
            Engine::Uring(uring) => uring.outbound(),
            Engine::Mmsg(mmsg) => mmsg.outbound(),
        }
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Udp")
            .field("kind", &self.kind())
            .field("fallback_reason", &self.fallback_reason)
            .finish_non_exhaustive()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours and outlives the call; the clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_reads_back_what_it_prints() {
        for kind in [IoKind::Auto, IoKind::Uring, IoKind::Mmsg] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("epoll".parse::<IoKind>(), Err("`epoll` is none of auto, uring, mmsg".to_owned()));
    }

    #[test]
    fn the_clock_never_runs_backwards() {
        let first = now();
        assert!(first > 0 && now() >= first);
    }
}
