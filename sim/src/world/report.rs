//! What came of a run.
//!
//! Owns the numbers that scenarios assert on and their table for people. Computes nothing that moves a run.

use std::fmt;
use std::time::Duration;

use braid_quic::{CloseReason, ConnectionStats, PathStats};

use super::book::{TransferId, TransferReport};
use super::flow::{CompetitorId, CompetitorReport};
use super::host::Suspicions;
use crate::link::LaneStats;
use crate::network::LinkId;

/// The outcome of a run, or of its part so far.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) seed: u64,
    pub(crate) elapsed: Duration,
    pub(crate) asked: u64,
    pub(crate) delivered: u64,
    pub(crate) completed_at: Option<Duration>,
    pub(crate) longest_stall: (Duration, Duration),
    pub(crate) ready_at: Option<Duration>,
    pub(crate) transfers: Vec<TransferReport>,
    pub(crate) competitors: Vec<CompetitorReport>,
    pub(crate) links: Vec<LinkReport>,
    pub(crate) client: EndReport,
    pub(crate) server: EndReport,
    pub(crate) digest: u64,
}

/// One link's part.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Datagrams from the client to the server.
    pub up: LaneStats,
    /// Datagrams from the server to the client.
    pub down: LaneStats,
    /// The paths that ran over the link.
    pub paths: Vec<PathReport>,
}

/// One path as both ends saw it last.
#[derive(Clone, Debug)]
pub struct PathReport {
    /// The client's numbers.
    pub client: Option<PathStats>,
    /// The server's numbers.
    pub server: Option<PathStats>,
}

/// One end's connection as it was last seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndReport {
    pub(crate) connections: usize,
    pub(crate) stats: ConnectionStats,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) suspicions: Suspicions,
}

impl Report {
    /// In-order stream bytes that both applications read.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether everything that was asked for was delivered.
    pub fn is_complete(&self) -> bool {
        self.delivered == self.asked && self.completed_at.is_some()
    }

    /// When the last transfer was complete, from the start of the world.
    pub fn completed_at(&self) -> Option<Duration> {
        self.completed_at
    }

    /// How much virtual time has passed.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The longest time without an in-order byte while a transfer was open.
    pub fn longest_stall(&self) -> Duration {
        self.longest_stall.0
    }

    /// When the longest stall began, from the start of the world.
    pub fn stalled_at(&self) -> Duration {
        self.longest_stall.1
    }

    /// When every path that was asked for at the start was validated by both ends, from the start of the world.
    pub fn ready_at(&self) -> Option<Duration> {
        self.ready_at
    }

    /// Every transfer, in the order in which they were written down or, where they are repeated without end, begun.
    pub fn transfers(&self) -> &[TransferReport] {
        &self.transfers
    }

    /// One transfer.
    pub fn transfer(&self, id: TransferId) -> &TransferReport {
        &self.transfers[id.0]
    }

    /// Every competitor, in the order in which they were added.
    pub fn competitors(&self) -> &[CompetitorReport] {
        &self.competitors
    }

    /// One competitor.
    pub fn competitor(&self, id: CompetitorId) -> &CompetitorReport {
        &self.competitors[id.0]
    }

    /// Every link's part, in the order in which the links were added.
    pub fn links(&self) -> &[LinkReport] {
        &self.links
    }

    /// One link's part.
    pub fn link(&self, link: LinkId) -> &LinkReport {
        &self.links[link.0]
    }

    /// Stream bytes that the paths of this link were the first to bring, to either end.
    pub fn carried_by(&self, link: LinkId) -> u64 {
        let ends = self.link(link).paths.iter().flat_map(|path| [&path.client, &path.server]);
        ends.flatten().map(|stats| stats.stream_bytes_received).sum()
    }

    /// The client's connection.
    pub fn client(&self) -> &ConnectionStats {
        &self.client.stats
    }

    /// The server's connection.
    pub fn server(&self) -> &ConnectionStats {
        &self.server.stats
    }

    /// How often either end suspected a path.
    pub fn suspects(&self) -> u64 {
        self.client.suspicions.all + self.server.suspicions.all
    }

    /// How often that had no reason: the link was not dark, and it was not cut, restored, made unreachable or given
    /// another address within three smoothed round trips and 100 ms before. Loss, queues and slow rates are no reasons.
    pub fn spurious_suspects(&self) -> u64 {
        self.client.suspicions.spurious + self.server.suspicions.spurious
    }

    /// Stream bytes that reached either end more than once.
    pub fn duplicate_bytes(&self) -> u64 {
        self.client().stream_bytes_repeated + self.server().stream_bytes_repeated
    }

    /// The most stream bytes that ever waited at one end for others in front of them.
    pub fn reassembly_peak_bytes(&self) -> u64 {
        self.client().early_bytes_peak.max(self.server().early_bytes_peak)
    }

    /// How the client's connection ended, if it did.
    pub fn client_closed(&self) -> Option<&CloseReason> {
        self.client.closed.as_ref()
    }

    /// How the server's connection ended, if it did.
    pub fn server_closed(&self) -> Option<&CloseReason> {
        self.server.closed.as_ref()
    }

    /// Connections that the client's and the server's endpoint still hold.
    pub fn connections(&self) -> (usize, usize) {
        (self.client.connections, self.server.connections)
    }

    /// A number over every datagram of the run: equal in two runs only if they exchanged the same ones.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stall, at) = self.longest_stall;
        writeln!(
            f,
            "seed {} after {:?}: delivered {} of {}",
            self.seed, self.elapsed, self.delivered, self.asked
        )?;
        writeln!(f, "completed at {:?}, longest stall {stall:?} from {at:?}", self.completed_at)?;
        writeln!(f, "client {}\nserver {}", self.client, self.server)?;
        for (number, link) in self.links.iter().enumerate() {
            writeln!(f, "link {number} carried {}", self.carried_by(LinkId(number)))?;
            writeln!(f, "  up   {:?}\n  down {:?}", link.up, link.down)?;
            for end in link.paths.iter().flat_map(|path| [&path.client, &path.server]).flatten() {
                writeln!(f, "  {end:?}")?;
            }
        }
        write!(f, "digest {:016x}", self.digest)
    }
}

impl fmt::Display for EndReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        write!(f, "sent {} packets, lost {}", stats.packets_sent, stats.packets_lost)?;
        write!(f, ", received {}, discarded {}", stats.packets_received, stats.packets_discarded)?;
        match &self.closed {
            Some(reason) => write!(f, "; {reason}"),
            None => Ok(()),
        }
    }
}
