//! What a relay did: its numbers as JSON and as a table.
//!
//! Owns the shape. `schema` changes when a field goes or changes its meaning.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use braid_quic::Instant;
use serde::Serialize;

use super::pipe::PipeStats;

/// The version of the JSON's shape.
pub(super) const SCHEMA: u32 = 1;

/// All numbers of a relay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RelayStats {
    /// The version of this shape.
    pub schema: u32,
    /// How long the relay has run.
    pub uptime_s: f64,
    /// Its paths, in their order.
    pub paths: Vec<PathStats>,
    /// How much later than they should datagrams left the relay.
    pub late: Lateness,
    /// The latest commands, with their times; at most as many as a script may have.
    pub commands: Vec<Applied>,
}

/// The numbers of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathStats {
    /// Where clients send.
    pub listen: SocketAddr,
    /// The server.
    pub target: SocketAddr,
    /// Clients at this moment.
    pub sessions: usize,
    /// Clients' datagrams dropped because there was no session for them.
    pub crowded: u64,
    /// Sockets that were exchanged.
    pub rebinds: u64,
    /// From the clients to the server.
    pub up: PipeStats,
    /// From the server to the clients.
    pub down: PipeStats,
}

/// How late datagrams were, because a machine has other things to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lateness {
    /// On average, in microseconds.
    pub mean_us: u64,
    /// The worst, in microseconds.
    pub max_us: u64,
    /// Datagrams more than a millisecond late.
    pub over_1_ms: u64,
    #[serde(skip)]
    datagrams: u64,
    #[serde(skip)]
    sum_us: u64,
}

/// A command that was obeyed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// When, in seconds after the relay's start.
    pub at_s: f64,
    /// The command, or why it failed.
    pub command: String,
}

impl Lateness {
    /// A datagram that was due at `due` leaves now.
    pub(super) fn note(&mut self, due: Instant, now: Instant) {
        let late_us = now.since(due).as_micros() as u64;
        self.datagrams += 1;
        self.sum_us += late_us;
        self.mean_us = self.sum_us / self.datagrams;
        self.max_us = self.max_us.max(late_us);
        self.over_1_ms += u64::from(now.since(due) > Duration::from_millis(1));
    }
}

impl fmt::Display for RelayStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:6} {:4} {:>10} {:>13} {:>10} {:>13} {:>8} {:>8} {:>8} {:>8}",
            "path", "way", "in", "bytes", "out", "bytes", "queue", "lost", "cut", "other"
        )?;
        for (number, path) in self.paths.iter().enumerate() {
            for (way, pipe) in [("up", path.up), ("down", path.down)] {
                let drops = pipe.dropped;
                writeln!(
                    f,
                    "{number:<6} {way:4} {:>10} {:>13} {:>10} {:>13} {:>8} {:>8} {:>8} {:>8}",
                    pipe.received.datagrams,
                    pipe.received.bytes,
                    pipe.sent.datagrams,
                    pipe.sent.bytes,
                    drops.queue,
                    drops.lost,
                    drops.cut,
                    drops.total() - drops.queue - drops.lost - drops.cut
                )?;
            }
        }
        let late = self.late;
        write!(
            f,
            "late: {} us on average, {} us at most, {} datagrams more than 1 ms",
            late.mean_us, late.max_us, late.over_1_ms
        )
    }
}
