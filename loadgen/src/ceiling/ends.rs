//! The two ends of a ceiling measurement, a thread each.
//!
//! Owns the packets (eight octets of number, payload, tag) and a window that keeps the sender from overrunning the
//! receiver's socket: loopback has no queue that would slow a sender down. Computes no rates.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use braid_udp_uring::{Config, IoKind, Send, Udp, UdpSocket, Wait, now};

use crate::cpu;

/// Octets of the packet number in front.
const NUMBER_BYTES: usize = 8;
/// Octets of the AEAD's tag.
const TAG_BYTES: usize = 16;
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
    pub(super) sealed: bool,
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
        let seal = Seal::new(wire);
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
        let seal = Seal::new(wire);
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

/// Writes packets and reads them back, sealed or plain.
struct Seal(Option<LessSafeKey>);

impl Seal {
    fn new(wire: Wire) -> Self {
        // The key is known to everybody: this measures work and protects nothing.
        let key = || UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of 16 octets");
        Self(wire.sealed.then(|| LessSafeKey::new(key())))
    }

    /// Makes `packet` the one with this number. Its payload is whatever the buffer holds.
    fn write(&self, packet: &mut [u8], number: u64) {
        let (head, body) = packet.split_at_mut(NUMBER_BYTES);
        head.copy_from_slice(&number.to_be_bytes());
        let Some(key) = &self.0 else { return };
        let (payload, tag) = body.split_at_mut(body.len() - TAG_BYTES);
        let made = key.seal_in_place_separate_tag(nonce(number), Aad::from(head), payload);
        tag.copy_from_slice(made.expect("a packet is shorter than the AEAD's limit").as_ref());
    }

    /// The number of a packet; `None` if it is none of ours.
    fn read(&self, packet: &mut [u8]) -> Option<u64> {
        let (head, body) = packet.split_at_mut_checked(NUMBER_BYTES)?;
        let number = u64::from_be_bytes((&*head).try_into().ok()?);
        if let Some(key) = &self.0 {
            key.open_in_place(nonce(number), Aad::from(&*head), body).ok()?;
        }
        Some(number)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut octets = [0; 12];
    octets[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(octets)
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

    fn wire(sealed: bool) -> Wire {
        Wire { datagram_bytes: 1200, segments: 1, sealed }
    }

    #[test]
    fn packets_read_back_sealed_and_plain() {
        for sealed in [false, true] {
            let seal = Seal::new(wire(sealed));
            let mut packet = vec![9; 1200];
            seal.write(&mut packet, 77);
            assert_eq!(seal.read(&mut packet), Some(77));
        }
    }

    #[test]
    fn a_sealed_packet_that_was_changed_does_not_count() {
        let seal = Seal::new(wire(true));
        for position in [0, 8, 1199] {
            let mut packet = vec![0; 1200];
            seal.write(&mut packet, 5);
            packet[position] ^= 1;
            assert_eq!(seal.read(&mut packet), None, "{position}");
        }
        assert_eq!((seal.read(&mut []), seal.read(&mut [0; 7]), seal.read(&mut [0; 9])), (None, None, None));
    }

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
