//! Counters and estimates that a connection shows to its owner.

use std::time::Duration;

use crate::base::address::RouteId;
use crate::id::PathId;

/// Totals of one connection, over all its paths, closed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Packets sent, of all kinds.
    pub packets_sent: u64,
    /// Packets received and opened, of all kinds.
    pub packets_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Packets that could not be opened, were duplicates or made no sense here; each was dropped.
    pub packets_discarded: u64,
    /// Stream bytes sent, repeats included.
    pub stream_bytes_sent: u64,
    /// Stream bytes received for the first time.
    pub stream_bytes_received: u64,
    /// Stream bytes received that had arrived before, or that nobody reads any more.
    pub stream_bytes_repeated: u64,
    /// The most received stream bytes that ever waited at once for others in front of them.
    pub early_bytes_peak: u64,
    /// Key updates, ours and the peer's.
    pub key_updates: u64,
    /// The handshake took up an earlier session by a ticket (RFC 8446 §2.2).
    pub resumed: bool,
    /// Paths ever opened.
    pub paths_opened: u64,
    /// DATAGRAM frames.
    pub datagrams: DatagramStats,
}

/// What became of the application's datagrams (RFC 9221).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramStats {
    /// Sent.
    pub sent: u64,
    /// Of these, in packets that were declared lost.
    pub lost: u64,
    /// Taken from the application and never sent: expired, too large for the paths left, or bound to a path that is gone.
    pub dropped_unsent: u64,
    /// Received.
    pub received: u64,
    /// Of these, never read: newer ones needed their room.
    pub dropped_unread: u64,
    /// Results that were never fetched: newer ones needed their room.
    pub dropped_results: u64,
}

/// Numbers of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStats {
    /// The path.
    pub id: PathId,
    /// Where it runs.
    pub route: RouteId,
    /// Where in its life it is.
    pub stage: PathStage,
    /// It carries data only when no other path can: the peer's advice, or our own wish where the peer gave none (MP-141).
    pub backup: bool,
    /// We advise the peer to use it only as a backup.
    pub backup_by_us: bool,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received and opened.
    pub packets_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Stream bytes sent, repeats included.
    pub stream_bytes_sent: u64,
    /// Stream bytes that this path was the first to bring.
    pub stream_bytes_received: u64,
    /// Smallest RTT, `None` before a sample.
    pub rtt_min: Option<Duration>,
    /// Smoothed RTT (RFC 9002 §5.3), `None` before a sample.
    pub rtt_smoothed: Option<Duration>,
    /// 99th percentile of the samples, where `rtt_distribution` is on.
    pub rtt_p99: Option<Duration>,
    /// Congestion window in bytes.
    pub window: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Probe timeouts that fired.
    pub probe_timeouts: u64,
    /// Times the path became suspect.
    pub suspected: u64,
    /// UDP payload of full datagrams now, in bytes (RFC 9000 §14).
    pub mtu: u16,
    /// Times that larger datagrams vanished on the present route, so that their size fell to 1200 (RFC 8899 §4.3).
    pub black_holes: u32,
    /// Times that trains (GSO) vanished on the present route but for their first datagrams, so that single datagrams were
    /// sent for a while.
    pub train_holes: u32,
}

/// The stages of a path that its owner can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathStage {
    /// Connection IDs may exist, but nothing was sent.
    Reserved,
    /// Challenged, no response yet.
    Probing,
    /// Usable.
    Open,
    /// Usable in principle, but acknowledgements are overdue.
    Suspect,
    /// Given up; state is kept for late packets.
    Leaving,
}
