//! What a server shows of itself: the values behind `--stats`, as JSON and as Rust.
//!
//! Owns the names. Plain numbers since the start, made on request on the worker that they are about, so that nothing
//! is shared while packets flow. Units are the last part of a name.

use std::time::Duration;

use braid_quic::{ConnectionGuard, EndpointStats, PathStage, PathStats};
use serde::{Deserialize, Serialize};

use crate::forward::Forwards;

/// The layout of [`ServerStats`]; grows when a name changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Connections that are shown one by one; the rest is only counted.
pub const CONNECTIONS_SHOWN: usize = 256;

/// A server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerStats {
    /// The layout of all this.
    pub schema: u32,
    /// Time since the start.
    pub uptime_s: f64,
    /// Whose code protects packets.
    #[serde(default)]
    pub packet_protection: String,
    /// Memory that the process occupies.
    pub memory_resident_bytes: Option<u64>,
    /// UDP datagrams that the whole system dropped for lack of receive buffer since the start.
    pub kernel_receive_buffer_errors: Option<u64>,
    /// The workers that answered, in order.
    pub workers: Vec<WorkerStats>,
    /// The workers that did not answer in time.
    pub workers_silent: Vec<usize>,
    /// Some connections.
    pub connections: Vec<ConnectionView>,
    /// How many connections are not among these.
    pub connections_omitted: u64,
}

/// One worker since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Its index.
    pub worker: usize,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Which system calls carry its datagrams.
    pub io: String,
    /// Why `auto` did not become `uring`.
    pub io_fallback: Option<String>,
    /// CPU time of its thread.
    pub cpu_s: Option<f64>,
    /// Time that its thread could have run and had no core.
    #[serde(default)]
    pub cpu_wait_s: Option<f64>,
    /// Turns of its loop.
    pub turns: u64,
    /// QUIC packets and datagrams.
    pub quic: QuicStats,
    /// Datagrams, trains and system calls.
    pub udp: UdpStats,
    /// Strays.
    pub forwards: Forwards,
}

/// The connections of one worker, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuicStats {
    /// Connections there are.
    pub connections: u64,
    /// Paths that they have.
    pub paths: u64,
    /// Of the connections, accepted ones whose handshake goes on.
    pub handshakes: u64,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections refused because a limit was reached.
    pub refused: u64,
    /// Packets received and opened.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Datagrams that belonged to no connection and started none.
    pub strays: u64,
    /// Stateless resets sent.
    pub stateless_resets: u64,
    /// Version Negotiation packets sent.
    pub version_negotiations: u64,
}

impl From<EndpointStats> for QuicStats {
    fn from(stats: EndpointStats) -> Self {
        Self {
            connections: stats.connections,
            paths: stats.paths,
            handshakes: stats.handshakes,
            accepted: stats.accepted,
            refused: stats.refused,
            packets_received: stats.packets_received,
            packets_sent: stats.packets_sent,
            strays: stats.strays,
            stateless_resets: stats.stateless_resets,
            version_negotiations: stats.version_negotiations,
        }
    }
}

/// What one worker and the kernel exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpStats {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Buffers they came in; one holds several that the kernel merged.
    pub buffers_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Trains they left in.
    pub trains_sent: u64,
    /// System calls that waited for or started I/O: one a turn.
    pub enters: u64,
    /// All other system calls.
    pub other_syscalls: u64,
    /// Times another thread woke this one.
    pub wakes: u64,
    /// Datagrams the kernel dropped because a socket's receive buffer was full.
    pub receive_overflow: u64,
    /// Times the kernel found no buffer of ours.
    pub no_buffers: u64,
    /// Failed receives.
    pub receive_errors: u64,
    /// Failed trains.
    pub send_errors: u64,
    /// Times a socket's send buffer was full.
    pub send_blocked: u64,
    /// Trains that left as single datagrams.
    pub gso_fallbacks: u64,
}

impl From<braid_udp_uring::Stats> for UdpStats {
    fn from(stats: braid_udp_uring::Stats) -> Self {
        Self {
            datagrams_received: stats.datagrams_received,
            buffers_received: stats.buffers_received,
            datagrams_sent: stats.datagrams_sent,
            trains_sent: stats.trains_sent,
            enters: stats.enters,
            other_syscalls: stats.other_syscalls,
            wakes: stats.wakes,
            receive_overflow: stats.receive_overflow,
            no_buffers: stats.no_buffers,
            receive_errors: stats.receive_errors,
            send_errors: stats.send_errors,
            send_blocked: stats.send_blocked,
            gso_fallbacks: stats.gso_fallbacks,
        }
    }
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// The worker that owns it.
    pub worker: usize,
    /// Both ends speak multipath.
    pub multipath: bool,
    /// Its handshake took up an earlier session by a ticket.
    #[serde(default)]
    pub resumed: bool,
    /// Packets sent on all paths it ever had.
    pub packets_sent: u64,
    /// Packets received and opened.
    pub packets_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Stream bytes sent, repeats included.
    pub stream_bytes_sent: u64,
    /// Stream bytes received for the first time.
    pub stream_bytes_received: u64,
    /// Its paths.
    pub paths: Vec<PathView>,
}

impl ConnectionView {
    /// The connection as it is now.
    pub fn of(connection: &ConnectionGuard<'_>, worker: usize) -> Self {
        let stats = connection.stats();
        let paths = connection.paths().filter_map(|path| connection.path_stats(path));
        Self {
            worker,
            multipath: connection.multipath(),
            resumed: stats.resumed,
            packets_sent: stats.packets_sent,
            packets_received: stats.packets_received,
            packets_lost: stats.packets_lost,
            stream_bytes_sent: stats.stream_bytes_sent,
            stream_bytes_received: stats.stream_bytes_received,
            paths: paths.map(|stats| PathView::from(&stats)).collect(),
        }
    }
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathView {
    /// Its ID.
    pub id: u32,
    /// The server's address.
    pub local: String,
    /// The client's address.
    pub remote: String,
    /// Where in its life it is.
    pub state: String,
    /// The peer advises to use it only as a backup.
    pub backup: bool,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received and opened.
    pub packets_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// UDP payload sent.
    pub bytes_sent: u64,
    /// UDP payload received.
    pub bytes_received: u64,
    /// Stream bytes sent, repeats included.
    pub stream_bytes_sent: u64,
    /// Stream bytes that this path was the first to bring.
    pub stream_bytes_received: u64,
    /// Round-trip times, as far as known.
    pub rtt_us: RttView,
    /// Congestion window.
    pub window_bytes: u64,
    /// Bytes in flight.
    pub in_flight_bytes: u64,
    /// Probe timeouts that fired.
    pub probe_timeouts: u64,
    /// Times the path became suspect.
    pub suspected: u64,
    /// UDP payload of full datagrams now.
    #[serde(default)]
    pub mtu_bytes: u16,
    /// Times that larger datagrams vanished, so that their size fell.
    #[serde(default)]
    pub black_holes: u32,
    /// Times that trains vanished, so that single datagrams were sent for a while.
    #[serde(default)]
    pub train_holes: u32,
}

/// Round-trip times of a path in microseconds; `null` where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RttView {
    /// The smallest.
    pub min: Option<f64>,
    /// Smoothed.
    pub smoothed: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

impl From<&PathStats> for PathView {
    fn from(stats: &PathStats) -> Self {
        let us = |time: Option<Duration>| time.map(|time| time.as_nanos() as f64 / 1e3);
        Self {
            id: stats.id.0,
            local: stats.route.local().to_string(),
            remote: stats.route.remote().to_string(),
            state: state(stats.stage).to_owned(),
            backup: stats.backup,
            packets_sent: stats.packets_sent,
            packets_received: stats.packets_received,
            packets_lost: stats.packets_lost,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            stream_bytes_sent: stats.stream_bytes_sent,
            stream_bytes_received: stats.stream_bytes_received,
            rtt_us: RttView {
                min: us(stats.rtt_min),
                smoothed: us(stats.rtt_smoothed),
                p99: us(stats.rtt_p99),
            },
            window_bytes: stats.window,
            in_flight_bytes: stats.in_flight,
            probe_timeouts: stats.probe_timeouts,
            suspected: stats.suspected,
            mtu_bytes: stats.mtu,
            black_holes: stats.black_holes,
            train_holes: stats.train_holes,
        }
    }
}

/// A stage of a path in one word.
pub fn state(stage: PathStage) -> &'static str {
    match stage {
        PathStage::Reserved => "reserved",
        PathStage::Probing => "probing",
        PathStage::Open => "open",
        PathStage::Suspect => "suspect",
        PathStage::Leaving => "leaving",
    }
}

#[cfg(test)]
mod tests {
    use braid_quic::{LocalId, PathId, RouteId};

    use super::*;

    fn path() -> PathStats {
        PathStats {
            id: PathId(3),
            route: RouteId::new(
                LocalId(1),
                "127.0.0.1:4433".parse().unwrap(),
                "127.0.0.2:999".parse().unwrap(),
            ),
            stage: PathStage::Suspect,
            backup: true,
            backup_by_us: false,
            packets_sent: 1,
            packets_received: 2,
            packets_lost: 3,
            bytes_sent: 4,
            bytes_received: 5,
            stream_bytes_sent: 6,
            stream_bytes_received: 7,
            rtt_min: Some(Duration::from_nanos(1500)),
            rtt_smoothed: Some(Duration::from_micros(20)),
            rtt_p99: None,
            window: 8,
            in_flight: 9,
            probe_timeouts: 10,
            suspected: 11,
            mtu: 1452,
            black_holes: 12,
            train_holes: 13,
        }
    }

    #[test]
    fn a_path_is_shown_with_its_units() {
        let json = serde_json::to_value(PathView::from(&path())).unwrap();
        assert_eq!(json["id"], 3);
        assert_eq!(json["local"], "127.0.0.1:4433");
        assert_eq!(json["state"], "suspect");
        assert_eq!(json["rtt_us"], serde_json::json!({ "min": 1.5, "smoothed": 20.0, "p99": null }));
        assert_eq!((&json["stream_bytes_received"], &json["suspected"]), (&7.into(), &11.into()));
        assert_eq!((&json["mtu_bytes"], &json["black_holes"]), (&1452.into(), &12.into()));
    }

    #[test]
    fn statistics_read_back_what_they_wrote() {
        let worker =
            WorkerStats { worker: 1, core: Some(1), io: "uring".to_owned(), ..WorkerStats::default() };
        let stats = ServerStats {
            schema: SCHEMA,
            uptime_s: 1.5,
            workers: vec![worker],
            connections: vec![ConnectionView { paths: vec![(&path()).into()], ..ConnectionView::default() }],
            ..ServerStats::default()
        };
        let json = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::from_str::<ServerStats>(&json).unwrap(), stats);
    }
}
