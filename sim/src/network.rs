//! The wires between the client and the server, and everything that is on them.
//!
//! Owns the links, their addresses and the queue of datagrams in flight, ordered by time and then by sequence, so that
//! a seed repeats a run exactly. Splits trains into datagrams and, on arrival, merges what comes at one instant into
//! buffers as GRO does. Never looks inside a datagram.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use braid_quic::{Ecn, Instant, LocalId, Role, RouteId, Train};

use crate::hash::Hash;
use crate::link::{Lane, LaneStats, Link};
use crate::rng::Rng;

/// The largest UDP payload of IPv4, and so the largest train and the largest merged buffer.
pub(crate) const BUFFER_BYTES: usize = 65_507;
/// Linux's limit for the segments of one train or merged buffer.
const SEGMENTS_MAX: usize = 64;
/// The chance that an arrival joins the buffer before it, where it could: most do, so both ways are tested.
const MERGE_CHANCE: f64 = 0.85;
/// How many of the latest datagrams are remembered for those who want to replay or mutate them.
pub(crate) const REMEMBERED_MAX: usize = 64;

/// Names a link of a world; the first link carries path 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) usize);

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Way {
    pub(crate) fn from_sender(role: Role) -> Self {
        match role {
            Role::Client => Self::Up,
            Role::Server => Self::Down,
        }
    }
}

/// A buffer of equally long datagrams that reached one end; only the last may be shorter.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) to: Role,
    pub(crate) link: LinkId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) segment_size: usize,
    pub(crate) ecn: Ecn,
}

/// A datagram that was sent lately.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Who was to receive it.
    pub to: Role,
    /// On which link.
    pub link: LinkId,
    /// What it held.
    pub bytes: Vec<u8>,
}

/// All links and what is in flight on them.
pub(crate) struct Network {
    wires: Vec<Wire>,
    in_flight: BinaryHeap<InFlight>,
    sequence: u64,
    spare: Vec<Vec<u8>>,
    remembered: VecDeque<Remembered>,
    rng: Rng,
    digest: Hash,
    seed: u64,
}

struct Wire {
    up: Lane,
    down: Lane,
    at_client: RouteId,
    at_server: RouteId,
}

struct InFlight {
    at: Instant,
    sequence: u64,
    departed: Instant,
    to: Role,
    link: LinkId,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            wires: Vec::new(),
            in_flight: BinaryHeap::new(),
            sequence: 0,
            spare: Vec::new(),
            remembered: VecDeque::new(),
            rng: Rng::labelled(seed, "network"),
            digest: Hash::new(0),
            seed,
        }
    }

    pub(crate) fn add(&mut self, link: Link) -> LinkId {
        let number = self.wires.len();
        let client_id = u16::try_from(number).expect("a world has few links");
        let client = address([10, 0, number as u8, 1], 50_000 + client_id);
        let server = address([192, 0, 2, 1 + link.listener as u8], 443);
        let rng = |way| Rng::labelled(self.seed, &format!("link {number} {way}"));
        self.wires.push(Wire {
            up: Lane::new(link.up, rng("up")),
            down: Lane::new(link.down, rng("down")),
            at_client: RouteId::new(LocalId(client_id), client, server),
            at_server: RouteId::new(LocalId(link.listener), server, client),
        });
        LinkId(number)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        (0..self.wires.len()).map(LinkId)
    }

    /// The route that runs over a link, as one end sees it.
    pub(crate) fn route(&self, link: LinkId, seen_by: Role) -> RouteId {
        let wire = &self.wires[link.0];
        match seen_by {
            Role::Client => wire.at_client,
            Role::Server => wire.at_server,
        }
    }

    /// The link that a route runs over.
    pub(crate) fn link_of(&self, route: &RouteId, seen_by: Role) -> Option<LinkId> {
        self.links().find(|&link| self.route(link, seen_by).matches(route))
    }

    /// The link a train takes; a train that fits no link was misaddressed by its endpoint.
    pub(crate) fn link_for(&self, from: Role, train: &Train) -> Result<LinkId, String> {
        let fits = |link: &LinkId| {
            let route = self.route(*link, from);
            route.local_id() == train.local_id
                && route.remote() == train.remote
                && train.source.is_none_or(|source| source == route.local().ip())
        };
        self.links().find(fits).ok_or_else(|| format!("{from:?} sent to nowhere: {train:?}"))
    }

    /// Puts every datagram of a train on the link.
    pub(crate) fn send(&mut self, from: Role, link: LinkId, train: &Train, bytes: &[u8], now: Instant) {
        self.digest.add_u64(now.as_nanos());
        self.digest.add_u64((link.0 as u64) << 1 | u64::from(from == Role::Server));
        for datagram in bytes[..train.bytes].chunks(train.segment_size) {
            self.digest.add_bytes(datagram);
            self.remember(from.peer(), link, datagram);
            self.put(from, link, datagram, train.ecn, now);
        }
    }

    /// When the next datagram arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|next| next.at)
    }

    /// What has arrived by `now`: one buffer at a time, until there is none.
    pub(crate) fn take_arrival(&mut self, now: Instant) -> Option<Arrival> {
        let first = self.pop_lit(now)?;
        let mut arrival = Arrival {
            to: first.to,
            link: first.link,
            segment_size: first.bytes.len(),
            ecn: first.ecn,
            bytes: first.bytes,
        };
        let mut segments = 1;
        while segments < SEGMENTS_MAX
            && self.in_flight.peek().is_some_and(|next| next.at <= now && may_join(&arrival, next))
            && self.rng.chance(MERGE_CHANCE)
        {
            let Some(next) = self.in_flight.pop().filter(|next| self.wires[next.link.0].lights(next)) else {
                continue;
            };
            arrival.bytes.extend_from_slice(&next.bytes);
            self.give_back(next.bytes);
            segments += 1;
        }
        Some(arrival)
    }

    /// Takes a buffer back for reuse.
    pub(crate) fn give_back(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.spare.push(bytes);
    }

    pub(crate) fn cut(&mut self, link: LinkId, way: Way, now: Instant) {
        self.lane(link, way).cut(now);
    }

    pub(crate) fn restore(&mut self, link: LinkId, way: Way, now: Instant) {
        self.lane(link, way).restore(now);
    }

    pub(crate) fn stats(&self, link: LinkId, way: Way) -> LaneStats {
        let wire = &self.wires[link.0];
        match way {
            Way::Up => wire.up.stats(),
            Way::Down => wire.down.stats(),
        }
    }

    /// The latest datagrams sent, oldest first.
    pub(crate) fn remembered(&self) -> &VecDeque<Remembered> {
        &self.remembered
    }

    /// A number over every datagram sent so far, with its time and link.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn lane(&mut self, link: LinkId, way: Way) -> &mut Lane {
        let wire = &mut self.wires[link.0];
        match way {
            Way::Up => &mut wire.up,
            Way::Down => &mut wire.down,
        }
    }

    /// One datagram onto one lane.
    fn put(&mut self, from: Role, link: LinkId, datagram: &[u8], ecn: Ecn, now: Instant) {
        let lane = self.lane(link, Way::from_sender(from));
        let Some(flight) = lane.admit(datagram.len() as u64, now) else { return };
        for (index, at) in [Some(flight.arrives), flight.again].into_iter().flatten().enumerate() {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.extend_from_slice(datagram);
            if flight.corrupt && index == 0 {
                flip_bits(&mut bytes, &mut self.rng);
            }
            self.sequence += 1;
            let (sequence, departed, to) = (self.sequence, flight.departs, from.peer());
            self.in_flight.push(InFlight { at, sequence, departed, to, link, ecn, bytes });
        }
    }

    /// The next datagram due that no cut has swallowed.
    fn pop_lit(&mut self, now: Instant) -> Option<InFlight> {
        while self.in_flight.peek().is_some_and(|next| next.at <= now) {
            let next = self.in_flight.pop()?;
            if self.wires[next.link.0].lights(&next) {
                return Some(next);
            }
            self.give_back(next.bytes);
        }
        None
    }

    fn remember(&mut self, to: Role, link: LinkId, datagram: &[u8]) {
        let mut bytes = if self.remembered.len() < REMEMBERED_MAX {
            Vec::new()
        } else {
            self.remembered.pop_front().map(|oldest| oldest.bytes).unwrap_or_default()
        };
        bytes.clear();
        bytes.extend_from_slice(datagram);
        self.remembered.push_back(Remembered { to, link, bytes });
    }
}

impl Wire {
    fn lights(&mut self, datagram: &InFlight) -> bool {
        match datagram.to {
            Role::Server => self.up.on_arrival(datagram.departed),
            Role::Client => self.down.on_arrival(datagram.departed),
        }
    }
}

/// May this datagram become the next segment of a buffer? Only the last segment may be shorter than the first.
fn may_join(arrival: &Arrival, next: &InFlight) -> bool {
    (arrival.to, arrival.link, arrival.ecn) == (next.to, next.link, next.ecn)
        && next.bytes.len() <= arrival.segment_size
        && arrival.bytes.len().is_multiple_of(arrival.segment_size)
        && arrival.bytes.len() + next.bytes.len() <= BUFFER_BYTES
}

/// What a faulty wire does: flips one to three bits.
fn flip_bits(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..rng.between(1, 3) {
        let bit = rng.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

fn address(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port)
}

// The heap gives the greatest first, so the earliest datagram is the greatest.
impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl Eq for InFlight {}

#[cfg(test)]
mod tests;
