//! What the owner of an endpoint decides: limits, windows, plugs, keys.
//!
//! Plain values with defaults. Validation of what a person typed belongs to `server` and `loadgen`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::congestion::CongestionKind;
use crate::crypto::tls::{ClientTls, ServerTls};
use crate::log::LogFactory;
use crate::schedule::SchedulerKind;

/// What all endpoints of one process share, and what tells this endpoint from the others.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Which worker this endpoint is; goes masked into every connection ID it issues.
    pub shard: Shard,
    /// Masks the shard in connection IDs; equal on all workers of a process.
    pub cid_key: [u8; 16],
    /// Makes stateless reset tokens from connection IDs; equal on all workers, best on all servers of a fleet.
    pub reset_key: [u8; 32],
    /// Certificate and ALPN for accepting connections; `None` for an endpoint that only connects.
    pub server: Option<ServerTls>,
    /// Settings of the connections it accepts.
    pub transport: Arc<TransportConfig>,
    /// How many connections it carries at most, accepted and made.
    pub connections_max: usize,
    /// How many accepted connections may be in their handshake at once.
    pub handshakes_max: usize,
    /// How much one turn does.
    pub budget: Budget,
}

impl EndpointConfig {
    /// An endpoint for worker 0 with these secrets, which must be random and stay secret.
    pub fn new(cid_key: [u8; 16], reset_key: [u8; 32]) -> Self {
        Self {
            shard: Shard::default(),
            cid_key,
            reset_key,
            server: None,
            transport: Arc::new(TransportConfig::default()),
            connections_max: 1 << 20,
            handshakes_max: 1 << 12,
            budget: Budget::default(),
        }
    }
}

/// Which worker of which generation of the process issued a connection ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Below 4; counts restarts that hand their sockets over.
    pub generation: u8,
    /// Below 64.
    pub worker: u8,
}

/// How much one turn of an endpoint does before it gives the thread back.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// New connections accepted per turn; further first packets wait for a retransmission.
    pub handshakes: usize,
    /// Packets that one connection may send before the next connection has its turn.
    pub packets_per_connection: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { handshakes: 64, packets_per_connection: 128 }
    }
}

/// Settings of a connection.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Silence after which the connection is dropped; zero for never. The smaller of both ends' values holds.
    pub idle_timeout: Duration,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client waits for an answer on one local address before it tries the next one too, where it was given
    /// several (RFC 8305 §5 recommends 250 ms).
    pub race_after: Duration,
    /// Send a PING after this much silence; `None` for never.
    pub keep_alive: Option<Duration>,
    /// Send a PING on each path after this much silence there; `None` for never (MP-302: not recommended unless a
    /// middlebox forgets idle flows).
    pub path_keep_alive: Option<Duration>,
    /// Silence after which a path is abandoned while another one is usable; `None` for never (MP-301).
    pub path_idle_timeout: Option<Duration>,
    /// How many paths may be open at once. 1 switches the multipath extension off.
    pub max_paths: u32,
    /// Which code points of the multipath extension are offered.
    pub multipath_code_points: MultipathCodePoints,
    /// UDP payload of full-sized packets in bytes that every path starts with, 1200 to 65,507. More than 1200 is a claim
    /// that the paths carry it; where they do not, packets are lost until that is noticed.
    pub datagram_size: u16,
    /// UDP payload in bytes up to which larger datagrams are tried on every path (RFC 8899), at most 65,507; tries nothing
    /// if it is no more than `datagram_size`, and 0 means never, not even after packets of the starting size vanished.
    ///
    /// The default is what Ethernet carries over IPv6 and IPv4. Larger ones pay where jumbo frames pass: a train
    /// (64 packets, 65,507 bytes) carries as many bytes with fewer packets to seal and to acknowledge.
    pub datagram_size_max: u16,
    /// Most packets in one train (GSO segments), at least 1.
    pub train_packets_max: u16,
    /// Bytes the peer may send on one stream before we consumed any; the window grows from here.
    pub stream_window: u64,
    /// Bytes up to which a stream's window grows.
    pub stream_window_max: u64,
    /// Bytes the peer may send on all streams before we consumed any; the window grows from here.
    pub connection_window: u64,
    /// Bytes up to which the connection's window grows.
    pub connection_window_max: u64,
    /// Bytes of unacknowledged and unsent data that a stream takes from the application.
    pub send_buffer: u64,
    /// Largest DATAGRAM frame that the peer may send, in bytes with its type and length; 65,535 for whatever fits a
    /// packet, 0 (the default) to take none: an application that never reads datagrams should not hold any
    /// (RFC 9221 §3).
    pub datagram_receive_max: u16,
    /// Bytes of datagrams kept until the application reads them; more push the oldest out.
    pub datagram_receive_buffer: u64,
    /// Bytes of datagrams that wait to be sent; more are refused.
    pub datagram_send_buffer: u64,
    /// Bidirectional streams that the peer may have open at once.
    pub max_streams_bidirectional: u64,
    /// Unidirectional streams that the peer may have open at once.
    pub max_streams_unidirectional: u64,
    /// How long an acknowledgement may wait; below 2^14 ms.
    pub max_ack_delay: Duration,
    /// Let the peer say how often its packets are acknowledged, and ask it to acknowledge large windows less often
    /// (draft-ietf-quic-ack-frequency), if it can. Without it every second packet is.
    pub ack_frequency: bool,
    /// The RTT before there is a sample (RFC 9002 §6.2.2).
    pub initial_rtt: Duration,
    /// Which path takes the next train.
    pub scheduler: SchedulerKind,
    /// How much may be in flight on a path.
    pub congestion: CongestionKind,
    /// Keep the distribution of RTT samples of each path, for `PathStats::rtt_p99`; costs about 8 KiB a path.
    pub rtt_distribution: bool,
    /// Decides which connections are logged, and where to; `None` logs none and costs nothing.
    pub log: Option<LogFactory>,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            race_after: Duration::from_millis(250),
            keep_alive: None,
            path_keep_alive: None,
            path_idle_timeout: None,
            max_paths: 8,
            multipath_code_points: MultipathCodePoints::default(),
            datagram_size: 1200,
            datagram_size_max: 1452,
            train_packets_max: 64,
            stream_window: 256 << 10,
            stream_window_max: 16 << 20,
            connection_window: 1 << 20,
            connection_window_max: 32 << 20,
            send_buffer: 4 << 20,
            datagram_receive_max: 0,
            datagram_receive_buffer: 1 << 20,
            datagram_send_buffer: 1 << 20,
            max_streams_bidirectional: 128,
            max_streams_unidirectional: 128,
            max_ack_delay: Duration::from_millis(25),
            ack_frequency: true,
            initial_rtt: Duration::from_millis(333),
            scheduler: SchedulerKind::default(),
            congestion: CongestionKind::default(),
            rtt_distribution: false,
            log: None,
        }
    }
}

/// Settings of one path, where they differ from the connection's.
#[derive(Clone, Debug, Default)]
pub struct PathOptions {
    /// Advise the peer from the start to use the path only when no other is usable, and do so ourselves (MP-140).
    pub backup: bool,
    /// Instead of `TransportConfig::path_keep_alive`; zero for never.
    pub keep_alive: Option<Duration>,
    /// Instead of `TransportConfig::path_idle_timeout`; zero for never.
    pub idle_timeout: Option<Duration>,
    /// Instead of `TransportConfig::congestion`.
    pub congestion: Option<CongestionKind>,
}

/// Sets of code points of the multipath extension. Frames and rules are the same in all of them; only the numbers on the
/// wire differ, and a peer without a common set gets one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultipathCodePoints {
    /// Those of draft-ietf-quic-multipath-19 and later.
    #[default]
    Final,
    /// Those, and the provisional ones of drafts 13 to 18 for peers that have no others.
    Both,
    /// Only the provisional ones of drafts 13 to 18.
    Draft13,
}

impl MultipathCodePoints {
    /// Are the final ones offered?
    pub const fn has_final(self) -> bool {
        matches!(self, Self::Final | Self::Both)
    }

    /// Are those of drafts 13 to 18 offered?
    pub const fn has_draft_13(self) -> bool {
        matches!(self, Self::Draft13 | Self::Both)
    }
}

impl fmt::Display for MultipathCodePoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Final => "final",
            Self::Both => "both",
            Self::Draft13 => "draft-13",
        })
    }
}

impl FromStr for MultipathCodePoints {
    type Err = UnknownCodePoints;

    fn from_str(name: &str) -> Result<Self, UnknownCodePoints> {
        match name {
            "final" => Ok(Self::Final),
            "both" => Ok(Self::Both),
            "draft-13" => Ok(Self::Draft13),
            _ => Err(UnknownCodePoints(name.to_owned())),
        }
    }
}

/// There is no set of code points of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCodePoints(String);

impl fmt::Display for UnknownCodePoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown code points {:?}: choose final, both or draft-13", self.0)
    }
}

impl std::error::Error for UnknownCodePoints {}

/// What a client decides for one connection it makes.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Trust anchors and ALPN.
    pub tls: ClientTls,
    /// Settings of the connection.
    pub transport: Arc<TransportConfig>,
}
