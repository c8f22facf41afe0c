//! `loadgen ceiling`: what UDP over loopback can do on this machine at all, one thread to one thread.
//!
//! Owns measurements that differ in one thing each: single datagrams, GSO trains received by GRO, and the same trains
//! with AEAD seal and open of every packet by either library. No QUIC; whatever QUIC reaches is judged by these numbers.

mod ends;
mod seal;

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::PacketProtection;
use braid_server::config::available_cores;
use braid_udp_uring::{IoKind, SocketConfig, UdpSocket};
use serde::Serialize;

use self::ends::{Count, Flight, Receiver, Sender, Wire};
use crate::inside::share_cores;
use crate::options::Ceiling as Wish;
use crate::report::bits_per_second;
use crate::report::environment::Environment;

/// The number of the JSON's shape.
const SCHEMA: u32 = 2;
/// How long each measurement within a run takes.
const WITHIN_RUN: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Ceiling {
    schema: u32,
    datagram_bytes: usize,
    /// Whose code QUIC would use here, unless told otherwise.
    packet_protection: String,
    results: Vec<Row>,
    environment: Environment,
}

/// One measurement.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// What arrived, UDP payload.
    goodput_bps: u64,
    /// Whose code sealed and opened the packets; `null` where they were plain.
    aead: Option<String>,
    /// 10^9 bits that arrived for each CPU second of the sender.
    gb_per_sender_cpu_s: Option<f64>,
    /// The same of the receiver.
    gb_per_receiver_cpu_s: Option<f64>,
    sender_ns_per_packet: Option<f64>,
    receiver_ns_per_packet: Option<f64>,
    packets_sent: u64,
    packets_received: u64,
}

/// What sealed trains cost at both ends: 10^9 bits for each CPU second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sealed {
    pub(crate) gb_per_sender_cpu_s: Option<f64>,
    pub(crate) gb_per_receiver_cpu_s: Option<f64>,
}

/// Measures, which takes four times the wished duration.
pub(crate) fn measure(wish: &Wish) -> io::Result<Ceiling> {
    let sealed = |by| Wire { sealed: Some(by), ..trains(wish.datagram_bytes) };
    let variants = [
        ("raw", Wire { segments: 1, ..trains(wish.datagram_bytes) }),
        ("gso+gro", trains(wish.datagram_bytes)),
        ("gso+gro+aws-lc-rs", sealed(PacketProtection::AwsLc)),
        ("gso+gro+ring", sealed(PacketProtection::Ring)),
    ];
    let mut results = Vec::with_capacity(variants.len());
    let (mut io, mut gso) = ("mmsg", true);
    for (name, wire) in variants {
        let (sent, received) = pass(wish.io, wish.duration, wire)?;
        (io, gso) = (sent.io, gso && sent.gso);
        results.push(Row::new(name, wire, &sent, &received));
    }
    let environment = Environment::here(io, gso);
    let packet_protection = PacketProtection::default().resolved().to_string();
    Ok(Ceiling {
        schema: SCHEMA,
        datagram_bytes: wish.datagram_bytes,
        packet_protection,
        results,
        environment,
    })
}

/// Measures only trains that the code of `by` seals, for a second.
pub(crate) fn sealed(io: IoKind, datagram_bytes: usize, by: PacketProtection) -> io::Result<Sealed> {
    let wire = Wire { sealed: Some(by), ..trains(datagram_bytes) };
    let (sent, received) = pass(io, WITHIN_RUN, wire)?;
    let row = Row::new("", wire, &sent, &received);
    let Row { gb_per_sender_cpu_s, gb_per_receiver_cpu_s, .. } = row;
    Ok(Sealed { gb_per_sender_cpu_s, gb_per_receiver_cpu_s })
}

/// Plain trains as long as they can be.
fn trains(datagram_bytes: usize) -> Wire {
    let segments = (braid_udp_uring::SEND_BUFFER_BYTES / datagram_bytes).min(braid_udp_uring::SEGMENTS_MAX);
    Wire { datagram_bytes, segments, sealed: None }
}

/// Sends from one thread to another for a while.
fn pass(io: IoKind, duration: Duration, wire: Wire) -> io::Result<(Count, Count)> {
    let socket = || {
        let address = "127.0.0.1:0".parse().expect("an address");
        UdpSocket::bind(&SocketConfig { gro: wire.segments > 1, ..SocketConfig::new(address) })
    };
    let (from, to) = (socket()?, socket()?);
    let remote = to.local_addr();
    let (sender_cores, receiver_cores) = share_cores(&available_cores(), 1);
    let flight = Arc::new(Flight::default());
    let receiver =
        Receiver { wire, io, socket: to, core: receiver_cores.first().copied(), flight: Arc::clone(&flight) };
    let sender =
        Sender { wire, io, socket: from, core: sender_cores.first().copied(), flight, remote, duration };
    let receiving = std::thread::Builder::new().name("receiver".into()).spawn(|| receiver.run())?;
    let sending = std::thread::Builder::new().name("sender".into()).spawn(|| sender.run())?;
    let gone = |_| io::Error::other("a thread of the measurement panicked");
    let sent = sending.join().map_err(gone)?;
    let received = receiving.join().map_err(gone)?;
    Ok((sent?, received?))
}

impl Row {
    fn new(name: &'static str, wire: Wire, sent: &Count, received: &Count) -> Self {
        let bytes = received.packets * wire.datagram_bytes as u64;
        let per_packet =
            |count: &Count| Some(count.cpu_s? * 1e9 / count.packets as f64).filter(|ns| ns.is_finite());
        let per_cpu_s =
            |count: &Count| count.cpu_s.filter(|&cpu_s| cpu_s > 0.0).map(|cpu_s| bytes as f64 * 8e-9 / cpu_s);
        Self {
            name,
            goodput_bps: bits_per_second(bytes, sent.elapsed),
            aead: wire.sealed.map(|by| by.to_string()),
            gb_per_sender_cpu_s: per_cpu_s(sent),
            gb_per_receiver_cpu_s: per_cpu_s(received),
            sender_ns_per_packet: per_packet(sent),
            receiver_ns_per_packet: per_packet(received),
            packets_sent: sent.packets,
            packets_received: received.packets,
        }
    }
}

impl Ceiling {
    /// The table that people read.
    pub(crate) fn text(&self) -> String {
        let environment = &self.environment;
        let unknown = || "unknown".to_owned();
        let mut text = format!(
            "UDP over loopback, {} bytes a datagram, {}, {} ({} cores), Linux {}; QUIC packets by {}\n\n",
            self.datagram_bytes,
            environment.io,
            environment.cpu.clone().unwrap_or_else(unknown),
            environment.cores,
            environment.kernel.clone().unwrap_or_else(unknown),
            self.packet_protection,
        );
        let head = ["", "Gb/s", "Gb per CPU s sent", "received", "ns/packet sent", "received"];
        let mut line = |cells: [&str; 6]| {
            let [name, rate, sender, receiver, sent, received] = cells;
            let efficiency = format!("{sender:>20}{receiver:>11}");
            writeln!(text, "{name:<18}{rate:>8}{efficiency}{sent:>17}{received:>11}").expect("a string");
        };
        line(head);
        for row in &self.results {
            let number = |value: Option<f64>, decimals| {
                value.map_or("-".into(), |value| format!("{value:.decimals$}"))
            };
            line([
                row.name,
                &number(Some(row.goodput_bps as f64 / 1e9), 2),
                &number(row.gb_per_sender_cpu_s, 2),
                &number(row.gb_per_receiver_cpu_s, 2),
                &number(row.sender_ns_per_packet, 0),
                &number(row.receiver_ns_per_packet, 0),
            ]);
        }
        text
    }

    /// The same as JSON, with a newline behind it.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("all keys are names and all values plain") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(packets: u64, cpu_s: Option<f64>) -> Count {
        Count { packets, cpu_s, elapsed: Duration::from_secs(2), io: "uring", gso: true }
    }

    #[test]
    fn costs_are_for_what_arrived_and_what_each_side_handled() {
        let wire = Wire { datagram_bytes: 1250, segments: 45, sealed: None };
        let row = Row::new("x", wire, &count(2_000_000, Some(1.0)), &count(1_000_000, Some(0.5)));
        assert_eq!((row.goodput_bps, row.gb_per_sender_cpu_s), (5_000_000_000, Some(10.0)));
        assert_eq!((row.gb_per_receiver_cpu_s, row.aead), (Some(20.0), None));
        assert_eq!((row.sender_ns_per_packet, row.receiver_ns_per_packet), (Some(500.0), Some(500.0)));
    }

    #[test]
    fn without_packets_or_cpu_time_there_is_no_cost() {
        let wire = Wire { datagram_bytes: 1250, segments: 1, sealed: Some(PacketProtection::Ring) };
        let row = Row::new("x", wire, &count(0, Some(0.0)), &count(0, None));
        assert_eq!(
            (row.gb_per_sender_cpu_s, row.sender_ns_per_packet, row.receiver_ns_per_packet),
            (None, None, None)
        );
        assert_eq!(row.aead.as_deref(), Some("ring"));
    }

    #[test]
    fn a_short_measurement_fills_every_row() {
        let wish =
            Wish { io: IoKind::Auto, duration: Duration::from_millis(50), datagram_bytes: 1452, json: None };
        let found = measure(&wish).unwrap();
        let names: Vec<_> = found.results.iter().map(|row| row.name).collect();
        assert_eq!(names, ["raw", "gso+gro", "gso+gro+aws-lc-rs", "gso+gro+ring"]);
        for row in &found.results {
            assert!(row.packets_received > 0 && row.packets_received <= row.packets_sent, "{row:?}");
            assert!(row.goodput_bps > 0, "{row:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&found.to_json()).unwrap();
        assert_eq!((&json["schema"], &json["results"][3]["aead"]), (&2.into(), &"ring".into()));
        assert_eq!(found.text().lines().count(), 7);
    }
}
