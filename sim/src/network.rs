//! The wires between the client and the server, and everything that is on them.
//!
//! Owns the links and the queue of datagrams in flight, ordered by time and then by sequence, so that a seed repeats a
//! run exactly. Splits trains into datagrams and, on arrival, merges what comes at one instant into buffers as GRO
//! does. Never looks inside a datagram; whose address is whose is `wire`'s.

mod attack;
mod wire;

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use braid_quic::{Ecn, Fate, Instant, LocalId, Role, RouteId, Train};

use self::wire::{Exit, FaceId, Wire};
use crate::hash::Hash;
use crate::link::{LaneStats, Link, Load, Queue, Setting, Stretch};
use crate::rng::Rng;

pub use self::attack::Attacker;
pub(crate) use self::wire::Rebinding;

/// The largest UDP payload of IPv4, and so the largest train and the largest merged buffer.
pub(crate) const BUFFER_BYTES: usize = 65_507;
/// Linux's limit for the segments of one train or merged buffer.
const SEGMENTS_MAX: usize = 64;
/// The chance that an arrival joins the buffer before it, where it could: most do, so both ways are tested.
const MERGE_CHANCE: f64 = 0.85;
/// Interfaces that got another number have numbers above this; the others have those of their links.
const RENUMBERED_MIN: u16 = 1_000;
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

    /// Who sends in this direction.
    pub(crate) fn sender(self) -> Role {
        match self {
            Self::Up => Role::Client,
            Self::Down => Role::Server,
        }
    }
}

/// A buffer of equally long datagrams that reached one end; only the last may be shorter.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) to: Role,
    pub(crate) link: LinkId,
    /// Where it came in and from whom, as that end sees it.
    pub(crate) route: RouteId,
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
    queues: Vec<Queue>,
    in_flight: BinaryHeap<InFlight>,
    sequence: u64,
    spare: Vec<Vec<u8>>,
    remembered: VecDeque<Remembered>,
    rng: Rng,
    digest: Hash,
    seed: u64,
    renumbered: u16,
}

#[derive(Clone)]
struct InFlight {
    at: Instant,
    sequence: u64,
    /// When it left the sender's end; `None` for an attacker's copy, which no cut of the link stops.
    departed: Option<Instant>,
    to: Role,
    link: LinkId,
    /// The sender's address as the receiver will see it.
    source: FaceId,
    /// The receiver's address that it was sent to.
    destination: FaceId,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            wires: Vec::new(),
            queues: Vec::new(),
            in_flight: BinaryHeap::new(),
            sequence: 0,
            spare: Vec::new(),
            remembered: VecDeque::new(),
            rng: Rng::labelled(seed, "network"),
            digest: Hash::new(0),
            seed,
            renumbered: 0,
        }
    }

    pub(crate) fn add(&mut self, link: Link) -> LinkId {
        let number = self.wires.len();
        let queues = [Way::Up, Way::Down].map(|way| self.queue_for(number, way, &link));
        self.wires.push(Wire::new(number, link, queues, self.seed));
        LinkId(number)
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> + use<> {
        (0..self.wires.len()).map(LinkId)
    }

    /// The route that runs over a link, as one end sees it.
    pub(crate) fn route(&self, link: LinkId, seen_by: Role) -> RouteId {
        self.wires[link.0].route(seen_by)
    }

    /// The link that a route runs over, or ran over before an address changed.
    pub(crate) fn link_of(&self, route: &RouteId, seen_by: Role) -> Option<LinkId> {
        self.links().find(|link| self.wires[link.0].knows(route, seen_by))
    }

    /// The link a train takes; a train that fits no link was misaddressed by its endpoint.
    pub(crate) fn link_for(&self, from: Role, train: &Train) -> Result<LinkId, String> {
        let fits = |link: &LinkId| self.wires[link.0].exit(from, train).is_some();
        self.links().find(fits).ok_or_else(|| format!("{from:?} sent to nowhere: {train:?}"))
    }

    /// Puts every datagram of a train on the link that `link_for` found, and tells what became of the train.
    pub(crate) fn send(
        &mut self,
        from: Role,
        link: LinkId,
        train: &Train,
        bytes: &[u8],
        now: Instant,
    ) -> Fate {
        let wire = &mut self.wires[link.0];
        let Some(Exit::To(destination)) = wire.exit(from, train) else { return Fate::Unreachable };
        let faces = (wire.source(from), destination);
        let largest = train.segment_size.min(train.bytes);
        if let Some(fate) = wire.lane_mut(Way::from_sender(from)).refuses(largest as u64) {
            return fate;
        }
        self.digest.add_u64(now.as_nanos());
        self.digest.add_u64((link.0 as u64) << 1 | u64::from(from == Role::Server));
        for datagram in bytes[..train.bytes].chunks(train.segment_size) {
            self.digest.add_bytes(datagram);
            self.remember(from.peer(), link, datagram);
            let in_train = train.bytes > train.segment_size;
            let load = Load { bytes: datagram.len() as u64, in_train, ecn: train.ecn };
            self.put(from, link, faces, datagram, load, now);
        }
        Fate::Sent
    }

    /// When the next datagram arrives, or a rate changes by itself.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        let change = self.queues.iter().filter_map(Queue::changes_at).min();
        self.in_flight.peek().map(|next| next.at).into_iter().chain(change).min()
    }

    /// What has arrived by `now`: one buffer at a time, until there is none.
    pub(crate) fn take_arrival(&mut self, now: Instant) -> Option<Arrival> {
        self.change_rates(now);
        let first = self.pop_lit(now)?;
        let mut arrival = Arrival {
            to: first.to,
            link: first.link,
            route: self.wires[first.link.0].route_from(first.source, first.to),
            segment_size: first.bytes.len(),
            ecn: first.ecn,
            bytes: first.bytes,
        };
        let mut segments = 1;
        let same =
            |next: &InFlight| (next.to, next.link, next.source) == (first.to, first.link, first.source);
        while segments < SEGMENTS_MAX
            && self
                .in_flight
                .peek()
                .is_some_and(|next| next.at <= now && same(next) && may_join(&arrival, next))
            && self.rng.chance(MERGE_CHANCE)
        {
            let Some(next) = self.in_flight.pop().filter(|next| lights(&mut self.wires, next)) else {
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
        let wire = &mut self.wires[link.0];
        let queue = &mut self.queues[wire.queue(way)];
        wire.lane_mut(way).cut(queue, now);
    }

    pub(crate) fn shut(&mut self, link: LinkId, way: Way, now: Instant) {
        let wire = &mut self.wires[link.0];
        let queue = &self.queues[wire.queue(way)];
        wire.lane_mut(way).shut(queue, now);
    }

    pub(crate) fn restore(&mut self, link: LinkId, way: Way, now: Instant) {
        self.wires[link.0].lane_mut(way).restore(now);
    }

    /// Changes a property of one direction.
    pub(crate) fn change(&mut self, link: LinkId, way: Way, setting: Setting, now: Instant) {
        let wire = &mut self.wires[link.0];
        let queue = wire.queue(way);
        match self.queues[queue].change(setting, now) {
            (true, Some(stretch)) => self.postpone(queue, stretch),
            (true, None) => {}
            (false, _) => wire.lane_mut(way).change(setting),
        }
    }

    /// Something was done to a link that explains why nothing comes through for a while.
    pub(crate) fn on_disturbed(&mut self, link: LinkId, now: Instant) {
        self.wires[link.0].on_disturbed(now);
    }

    /// Whether that was later than `since`, or the link is dark now.
    pub(crate) fn is_disturbed(&self, link: LinkId, since: Instant) -> bool {
        self.wires[link.0].is_disturbed(since)
    }

    /// The server sees the client of this link under another address from now on.
    pub(crate) fn rebind(&mut self, link: LinkId, rebinding: Rebinding) {
        self.wires[link.0].rebind(rebinding);
    }

    /// The client's interface gets another address and `LocalId`: one that no interface ever had.
    pub(crate) fn renumber(&mut self, link: LinkId) {
        self.renumbered += 1;
        self.wires[link.0].renumber(LocalId(RENUMBERED_MIN + self.renumbered));
    }

    /// The route by which datagrams from `source` reach one end of a link; what is sent back there goes nowhere.
    pub(crate) fn stranger(&mut self, link: LinkId, victim: Role, source: SocketAddr) -> RouteId {
        self.wires[link.0].add_stranger(victim, source);
        let route = self.route(link, victim);
        RouteId::new(route.local_id(), route.local(), source)
    }

    /// Someone begins to copy datagrams of a link.
    pub(crate) fn attack(&mut self, link: LinkId, attacker: Attacker) {
        self.wires[link.0].attack(attacker);
    }

    pub(crate) fn stats(&self, link: LinkId, way: Way) -> LaneStats {
        self.wires[link.0].lane(way).stats()
    }

    /// The latest datagrams sent, oldest first.
    pub(crate) fn remembered(&self) -> &VecDeque<Remembered> {
        &self.remembered
    }

    /// A number over every datagram sent so far, with its time and link.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The queue of one direction of a new link: a new one, or that of the link with which it shares.
    fn queue_for(&mut self, number: usize, way: Way, link: &Link) -> usize {
        let config = match way {
            Way::Up => &link.up,
            Way::Down => &link.down,
        };
        if let Some(other) = config.shares {
            return self.wires[other.0].queue(way);
        }
        let rng = Rng::labelled(self.seed, &format!("queue {number} {way:?}"));
        self.queues.push(Queue::new(config, rng));
        self.queues.len() - 1
    }

    /// Changes the rates whose time has come.
    fn change_rates(&mut self, now: Instant) {
        for queue in 0..self.queues.len() {
            while let Some(at) = self.queues[queue].changes_at().filter(|&at| at <= now) {
                if let Some(stretch) = self.queues[queue].on_change(at) {
                    self.postpone(queue, stretch);
                }
            }
        }
    }

    /// Moves the departures and arrivals of what waits in a queue whose rate has changed; what was in order stays so.
    fn postpone(&mut self, queue: usize, stretch: Stretch) {
        let mut flights = std::mem::take(&mut self.in_flight).into_vec();
        flights.sort_unstable_by_key(|flight| flight.sequence);
        for (number, wire) in self.wires.iter_mut().enumerate() {
            for way in [Way::Up, Way::Down] {
                if wire.queue(way) != queue {
                    continue;
                }
                let to = way.sender().peer();
                let lane = wire.lane_mut(way);
                let mine = flights.iter_mut().filter(|flight| (flight.link.0, flight.to) == (number, to));
                let (mut latest_before, mut latest) = (Instant::ZERO, Instant::ZERO);
                for flight in mine {
                    let Some(departed) = &mut flight.departed else { continue };
                    let trip = flight.at.since(*departed);
                    *departed = stretch.apply(*departed);
                    let arrives = lane.coalesced(*departed + trip);
                    let in_order = flight.at >= latest_before;
                    latest_before = latest_before.max(flight.at);
                    flight.at = if in_order { arrives.max(latest) } else { arrives };
                    latest = if in_order { flight.at } else { latest };
                }
                lane.on_postponed(latest);
            }
        }
        self.in_flight = flights.into();
    }

    /// One datagram onto one lane, `faces` being its source and its destination.
    fn put(
        &mut self,
        from: Role,
        link: LinkId,
        faces: (FaceId, FaceId),
        datagram: &[u8],
        load: Load,
        now: Instant,
    ) {
        let way = Way::from_sender(from);
        let wire = &mut self.wires[link.0];
        let queue = &mut self.queues[wire.queue(way)];
        let flight = wire.lane_mut(way).admit(queue, load, now);
        let ecn = flight.map_or(load.ecn, |flight| flight.ecn);
        let (source, destination) = faces;
        let (sequence, to, bytes) = (0, from.peer(), Vec::new());
        let original =
            InFlight { at: now, sequence, departed: None, to, link, source, destination, ecn, bytes };
        if let Some(attack) = wire.attack_on(way) {
            let arrives = flight.map_or(now, |flight| flight.arrives);
            if let Some((at, source)) = attack.copy(now, arrives) {
                self.launch(InFlight { at, source, ..original.clone() }, datagram, false);
            }
        }
        let Some(flight) = flight else { return };
        for (index, at) in [Some(flight.arrives), flight.again].into_iter().flatten().enumerate() {
            let departed = Some(flight.departs);
            self.launch(
                InFlight { at, departed, ..original.clone() },
                datagram,
                flight.corrupt && index == 0,
            );
        }
    }

    fn launch(&mut self, mut flight: InFlight, datagram: &[u8], corrupt: bool) {
        flight.bytes = self.spare.pop().unwrap_or_default();
        flight.bytes.extend_from_slice(datagram);
        if corrupt {
            flip_bits(&mut flight.bytes, &mut self.rng);
        }
        self.sequence += 1;
        flight.sequence = self.sequence;
        self.in_flight.push(flight);
    }

    /// The next datagram due that no cut has swallowed.
    fn pop_lit(&mut self, now: Instant) -> Option<InFlight> {
        while self.in_flight.peek().is_some_and(|next| next.at <= now) {
            let next = self.in_flight.pop()?;
            if lights(&mut self.wires, &next) {
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

/// Does a datagram reach its end? Not if its way was dark when it departed, nor if its address leads nowhere now.
fn lights(wires: &mut [Wire], datagram: &InFlight) -> bool {
    let wire = &mut wires[datagram.link.0];
    let at_home = wire.leads_home(datagram.to, datagram.destination);
    let lane = wire.lane_mut(Way::from_sender(datagram.to.peer()));
    match datagram.departed {
        Some(departed) => lane.on_arrival(departed, at_home),
        None => at_home,
    }
}

/// May this datagram become the next segment of a buffer? Only the last segment may be shorter than the first.
fn may_join(arrival: &Arrival, next: &InFlight) -> bool {
    arrival.ecn == next.ecn
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
mod address_tests;
#[cfg(test)]
mod tests;
