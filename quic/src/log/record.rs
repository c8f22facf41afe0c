//! What can be logged of a connection, as plain borrowed values.
//!
//! Owns the records and nothing else: no text, no JSON (`qlog`, `text`), no state. A record is made only while somebody
//! listens, borrows what it tells of, and costs no allocation.

use std::time::Duration;

use crate::base::address::RouteId;
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::schedule::{Decision, Demand, PathView, Reason};
use crate::wire::code_points::CodePoints;
use crate::wire::packet::PacketKind;
use crate::wire::params::TransportParameters;

/// One thing that happened on a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Record<'a> {
    /// The connection begins.
    Started(Started<'a>),
    /// An end's transport parameters became known.
    Parameters(Initiator, Parameters<'a>),
    /// The application protocol was agreed on (RFC 7301).
    Alpn(&'a [u8]),
    /// A packet was written and leaves with the next datagram.
    PacketSent(Packet<'a>),
    /// A packet was opened.
    PacketReceived(Packet<'a>),
    /// A packet was dropped without consequence.
    PacketDropped {
        /// The path that its connection ID names.
        path: PathId,
        /// What was dropped, in bytes: a packet, or what is left of a datagram.
        bytes: usize,
        /// Why.
        reason: DropReason,
    },
    /// A packet of ours was declared lost (RFC 9002 §6.1).
    PacketLost {
        /// Its path.
        path: PathId,
        /// Its kind.
        kind: PacketType,
        /// Its number.
        number: u64,
        /// It asked for a larger datagram size: statistics count no loss (RFC 9000 §14.4).
        mtu_probe: bool,
        /// By which threshold.
        trigger: LossTrigger,
    },
    /// The estimates and windows of a path changed.
    Metrics(Metrics),
    /// The congestion controller of a path changed its state.
    Congestion {
        /// The path.
        path: PathId,
        /// Before.
        old: CongestionState,
        /// Now.
        new: CongestionState,
        /// What for.
        trigger: CongestionTrigger,
    },
    /// 1-RTT keys were updated (RFC 9001 §6).
    KeysUpdated {
        /// Who began it.
        by: Initiator,
        /// How many updates there were, this one included.
        generation: u64,
    },
    /// A path was opened and is being validated.
    PathOpened {
        /// The path.
        path: PathId,
        /// Where it runs.
        route: RouteId,
        /// Who opened it.
        by: Initiator,
    },
    /// Before anything is proven a path runs over another 4-tuple: clients may race for one that works.
    Redirected {
        /// The path.
        path: PathId,
        /// Where it runs now.
        route: RouteId,
    },
    /// A path runs over another 4-tuple now (RFC 9000 §9).
    PathMigrated {
        /// The path.
        path: PathId,
        /// Where it runs now.
        route: RouteId,
    },
    /// A path became suspect (its data is sent elsewhere too).
    PathSuspect {
        /// The path.
        path: PathId,
        /// Why.
        why: SuspectTrigger,
    },
    /// We advise the peer how to use a path (MP-140).
    PathAdvised {
        /// The path.
        path: PathId,
        /// Use it only when no other is usable.
        backup: bool,
    },
    /// The size of full packets of a path, where it may be another than before. A path begins with `Started`'s.
    DatagramSize {
        /// The path.
        path: PathId,
        /// UDP payload, in bytes.
        bytes: u16,
    },
    /// What the application is told, but for what other records say better: that a path was opened, migrated, became
    /// suspect or has another datagram size.
    Event(&'a Event),
    /// A scheduler was asked where a train goes.
    Decided(Decided<'a>),
}

/// The beginning of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Started<'a> {
    /// Which end this is.
    pub role: Role,
    /// The destination connection ID of the client's first packet: both ends know the connection by it.
    pub original: &'a [u8],
    /// The connection ID that this end chose for itself.
    pub local_cid: &'a [u8],
    /// Where path 0 runs.
    pub route: RouteId,
    /// The name of the scheduler.
    pub scheduler: &'a str,
    /// The name of the congestion controller.
    pub congestion: &'a str,
    /// The RTT before there is a sample.
    pub initial_rtt: Duration,
    /// UDP payload of full packets, in bytes.
    pub datagram_size: u16,
    /// The first congestion window, in bytes.
    pub window: u64,
    /// How many paths may be open at once.
    pub max_paths: u32,
    /// A packet so many numbers behind an acknowledged one is lost (RFC 9002 §6.1.1).
    pub reorder_packets: u64,
}

/// Which end something began at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// This end.
    Local,
    /// The peer.
    Remote,
}

/// Transport parameters of one end.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a>(pub(crate) &'a TransportParameters);

/// The kinds of packets that carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    /// Long header, type 0.
    Initial,
    /// Long header, type 1.
    ZeroRtt,
    /// Long header, type 2.
    Handshake,
    /// Short header.
    OneRtt,
}

impl From<PacketKind> for PacketType {
    fn from(kind: PacketKind) -> Self {
        match kind {
            PacketKind::Initial => Self::Initial,
            PacketKind::ZeroRtt => Self::ZeroRtt,
            PacketKind::Handshake => Self::Handshake,
            PacketKind::OneRtt => Self::OneRtt,
        }
    }
}

/// A packet in the clear.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its path.
    pub path: PathId,
    /// Its kind.
    pub kind: PacketType,
    /// Its number, which each path counts from 0.
    pub number: u64,
    /// All its bytes, header and tag included.
    pub bytes: usize,
    /// The generation of its keys; `None` before 1-RTT.
    pub key_phase: Option<u64>,
    /// It leaves to find out whether datagrams of its size arrive (RFC 8899); not known of what was received.
    pub mtu_probe: bool,
    /// What it carries.
    pub frames: Payload<'a>,
}

/// The frames of a packet, as they stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    /// Acknowledgement delays are in units of 2 to this power, in microseconds.
    pub(crate) ack_delay_exponent: u8,
    pub(crate) code_points: CodePoints,
}

impl<'a> Payload<'a> {
    pub(crate) const fn new(bytes: &'a [u8], ack_delay_exponent: u8, code_points: CodePoints) -> Self {
        Self { bytes, ack_delay_exponent, code_points }
    }

    /// The encoded frames, one behind the other (RFC 9000 §19, RFC 9221 §4, draft-ietf-quic-multipath-21 §4), those of
    /// the multipath extension with the numbers that both ends agreed on.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The header makes no sense, or the packet is too short.
    Malformed,
    /// 0-RTT, Retry, or another version.
    Unsupported,
    /// There are no keys for it: not yet, or not any more.
    NoKeys,
    /// It did not open.
    NotAuthentic,
    /// Its number arrived before.
    Duplicate,
    /// It came from or to an address that the path does not use, or for a path that may not be used.
    WrongRoute,
    /// Coalesced with packets for another connection ID (RFC 9000 §12.2).
    WrongCid,
    /// The server changed its connection ID during the handshake (RFC 9000 §7.2).
    WrongSource,
    /// An Initial packet of a client in a datagram of less than 1200 bytes (RFC 9000 §14.1).
    SmallDatagram,
}

/// Which threshold made a packet count as lost (RFC 9002 §6.1; RFC 8899 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossTrigger {
    /// Later packets were acknowledged.
    Reordering,
    /// Too much time passed.
    Time,
}

/// Why a path became suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspectTrigger {
    /// Its oldest unheard packet is one probe timeout old.
    Overdue,
    /// A probe timeout fired.
    ProbeTimeout,
    /// The system knows no way there, or none from here any more.
    Unreachable,
}

/// Estimates and windows of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The path.
    pub path: PathId,
    /// Smallest, smoothed and latest RTT and its mean deviation (RFC 9002 §5); `None` before a sample.
    pub rtt: Option<RttMetrics>,
    /// Congestion window in bytes.
    pub window: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// The rate at which trains leave, in bytes per second; `None` for unpaced.
    pub pacing_rate: Option<u64>,
    /// Whether the window still grows exponentially.
    pub slow_start: bool,
}

/// What is known of a path's round-trip time (RFC 9002 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttMetrics {
    /// Smallest.
    pub min: Duration,
    /// Smoothed.
    pub smoothed: Duration,
    /// Latest.
    pub latest: Duration,
    /// Mean deviation.
    pub var: Duration,
}

/// What a congestion controller is about (RFC 9002 §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionState {
    /// Exponential growth.
    SlowStart,
    /// One reaction to congestion is being waited out.
    Recovery,
    /// Careful growth.
    Avoidance,
}

/// What changed a congestion controller's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionTrigger {
    /// Packets were lost.
    Loss,
    /// So many that it is persistent congestion (RFC 9002 §7.6).
    PersistentCongestion,
    /// What was sent since the reaction was acknowledged, or the threshold was reached.
    Acknowledged,
}

/// A decision of the scheduler, and what it saw.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// What was to be sent.
    pub demand: Demand,
    /// The paths it could choose from.
    pub paths: &'a [PathView],
    /// What it answered.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
}

impl Decided<'_> {
    /// The path that was chosen.
    pub fn path(&self) -> Option<PathId> {
        match self.decision {
            Decision::Send(index) => self.paths.get(index).map(|path| path.id),
            Decision::Wait { .. } => None,
        }
    }
}
