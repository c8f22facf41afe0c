//! The two ends of a ceiling measurement, a thread each.
//!
//! Owns a window that keeps the sender from overrunning the receiver's socket: loopback has no queue that would slow a
//! sender down. The packets are `seal`'s. Computes no rates.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use braid_quic::PacketProtection;
use braid_udp_uring::{Config, IoKind, Send, Udp, UdpSocket, Wait, now};

use super::seal::Seal;
use crate::cpu;

/// Bytes under way at most; the socket's receive buffer accounts for more than the payload.
const WINDOW_BYTES: u64 = 1 << 20;
/// Sends that one turn queues.
const SENDS_PER_TURN: usize = 16;
/// How long the sender sleeps when the window is full.
const NAP_NS: u64 = 20_000;
/// A window that stays full for so long lost its last packets.
const STUCK_NS: u64 = 5_000_000;
/// How often an idle receiver looks whether the sender has finished.
const LOOK_NS: u64 = 20_000_000;
/// How long nothing may arrive before the receiver gives up, and how long the sender waits for it.
const SILENCE_MAX_NS: u64 = 1_000_000_000;

/// What goes over the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    pub(super) datagram_bytes: usize,
    /// Datagrams in one train.
    pub(super) segments: usize,
    /// Whose code seals and opens each packet, if they are sealed.
    pub(super) sealed: Option<PacketProtection>,
}

/// What both threads know of each other. Every value stands for itself, so no ordering is needed.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Packets before this one have arrived or are lost.
    arrived: AtomicU64,
    receiving: AtomicBool,
    finished: AtomicBool,
}

/// What one end did.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) cpu_s: Option<f64>,
    pub(super) elapsed: Duration,
    pub(super) io: &'static str,
    pub(super) gso: bool,
}

/// Sends as fast as the window lets it.
pub(super) struct Sender {
    pub(super) wire: Wire,
    pub(super) io: IoKind,
    pub(super) socket: UdpSocket,
    pub(super) core: Option<usize>,
    pub(super) flight: Arc<Flight>,
    pub(super) remote: SocketAddr,
    pub(super) duration: Duration,
}

/// Receives until the sender has finished.
pub(super) struct Receiver {
    pub(super) wire: Wire,
    pub(super) io: IoKind,
    pub(super) socket: UdpSocket,
    pub(super) core: Option<usize>,
    pub(super) flight: Arc<Flight>,
}

impl Sender {
    /// Sends for the wished time.
    pub(super) fn run(self) -> io::Result<Count> {
        let Self { wire, io, socket, core, flight, remote, duration } = self;
        let _finish = Finish(&flight);
        let mut udp = engine(io, core)?;
        let socket = udp.add_socket(socket)?;
        let seal = Seal::new(wire.sealed);
        let train_bytes = wire.segments * wire.datagram_bytes;
        let mut window = Window::new(WINDOW_BYTES / wire.datagram_bytes as u64);
        flight.wait_for_receiver();
        let (begin_ns, cpu) = (now(), cpu::thread_seconds());
        let end_ns = begin_ns + duration.as_nanos() as u64;
        let (mut sent, mut now_ns) = (0, begin_ns);
        while now_ns < end_ns {
            let mut wait = Wait::Now;
            for _ in 0..SENDS_PER_TURN {
                if !window.has_room(sent, flight.arrived.load(Relaxed), now_ns) {
                    wait = Wait::Until(now_ns + NAP_NS);
                    break;
                }
                let Some(buffer) = udp.send_buffer() else {
                    wait = Wait::Until(end_ns); // a buffer that comes back ends the wait
                    break;
                };
                for packet in buffer[..train_bytes].chunks_exact_mut(wire.datagram_bytes) {
                    seal.write(packet, sent);
                    sent += 1;
                }
                let segment_size = wire.datagram_bytes;
                udp.send(Send {
                    socket,
                    bytes: train_bytes,
                    segment_size,
                    source: None,
                    remote,
                    ecn: 0,
                    tag: 0,
                });
            }
            udp.submit_and_wait(wait)?;
            while udp.next_fate().is_some() {}
            now_ns = now();
        }
        let elapsed = Duration::from_nanos(now_ns - begin_ns);
        let gso = udp.stats().gso_fallbacks == 0;
        let count = Count { packets: sent, cpu_s: cpu_since(cpu), elapsed, io: name(&udp), gso };
        udp.close()?; // hands over what is still queued
        Ok(count)
    }
}

impl Receiver {
    /// Receives, opens and counts.
    pub(super) fn run(self) -> io::Result<Count> {
        let Self { wire, io, socket, core, flight } = self;
        let mut udp = engine(io, core)?;
        udp.add_socket(socket)?;
        let seal = Seal::new(wire.sealed);
        udp.submit_and_wait(Wait::Now)?;
        flight.receiving.store(true, Relaxed);
        let (begin_ns, cpu) = (now(), cpu::thread_seconds());
        let (mut packets, mut heard_ns) = (0, begin_ns);
        loop {
            udp.submit_and_wait(Wait::Until(now() + LOOK_NS))?;
            let before = packets;
            while let Some(received) = udp.receive() {
                let mut newest = 0;
                for packet in received.bytes.chunks_mut(received.segment_size) {
                    if let Some(number) = seal.read(packet) {
                        packets += 1;
                        newest = number;
                    }
                }
                flight.arrived.fetch_max(newest + 1, Relaxed);
            }
            let now_ns = now();
            if packets > before {
                heard_ns = now_ns;
            } else if flight.finished.load(Relaxed) || now_ns - heard_ns > SILENCE_MAX_NS {
                break;
            }
        }
        let elapsed = Duration::from_nanos(heard_ns - begin_ns);
        Ok(Count { packets, cpu_s: cpu_since(cpu), elapsed, io: name(&udp), gso: true })
    }
}

impl Flight {
    fn wait_for_receiver(&self) {
        let until_ns = now() + SILENCE_MAX_NS;
        while !self.receiving.load(Relaxed) && now() < until_ns {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Says that the sender has finished, however it ends.
struct Finish<'a>(&'a Flight);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Relaxed);
    }
}

/// How many packets may be under way, and since when nothing has moved.
struct Window {
    packets: u64,
    arrived: u64,
    moved_ns: u64,
}

impl Window {
    fn new(packets: u64) -> Self {
        Self { packets: packets.max(1), arrived: 0, moved_ns: 0 }
    }

    /// May a train leave, with `sent` packets sent and those before `arrived` known to have arrived?
    fn has_room(&mut self, sent: u64, arrived: u64, now_ns: u64) -> bool {
        if arrived > self.arrived || self.moved_ns == 0 {
            (self.arrived, self.moved_ns) = (self.arrived.max(arrived), now_ns);
        }
        if sent - self.arrived < self.packets {
            return true;
        }
        if now_ns - self.moved_ns < STUCK_NS {
            return false;
        }
        (self.arrived, self.moved_ns) = (sent, now_ns); // the last packets were dropped: nobody will confirm them
        true
    }
}

fn engine(kind: IoKind, core: Option<usize>) -> io::Result<Udp> {
    if let Some(id) = core {
        // An unpinned thread measures as well, only less evenly.
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    Udp::new(&Config { kind, ..Config::default() })
}

fn name(udp: &Udp) -> &'static str {
    if udp.kind() == IoKind::Uring { "uring" } else { "mmsg" }
}

fn cpu_since(begin: Option<f64>) -> Option<f64> {
    begin.zip(cpu::thread_seconds()).map(|(begin, end)| end - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_opens_with_arrivals_and_after_a_loss() {
        let mut window = Window::new(10);
        assert!(window.has_room(0, 0, 100));
        assert!(window.has_room(9, 0, 200));
        assert!(!window.has_room(10, 0, 300));
        assert!(window.has_room(10, 1, 400));
        assert!(!window.has_room(11, 1, 400 + STUCK_NS - 1));
        assert!(window.has_room(11, 1, 400 + STUCK_NS), "packets that nobody confirms are lost");
        assert!(!window.has_room(21, 1, 500 + STUCK_NS));
    }
}
