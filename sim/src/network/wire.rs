//! A link as the network holds it: two lanes, and the addresses under which its ends know each other.
//!
//! Owns what a NAT, a new interface address or an attacker does to addresses: which of them lead to an end, which lead
//! nowhere, and what each end sees. Moves no datagram (`network` does) and knows no rate (`link` does).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use braid_quic::{Instant, LocalId, Role, RouteId, Train};

use super::attack::{Attack, Attacker};
use super::{LinkId, Way};
use crate::link::{Lane, Link};
use crate::rng::Rng;

/// The ports of a client's addresses are drawn from here up; below are the well-known ones.
const PORT_MIN: u64 = 1_024;
/// An end has fewer addresses than this on one link, attackers included: each needs a port of its own.
const FACES_MAX: usize = 60_000;

/// Both directions of a link and the addresses of its ends.
pub(super) struct Wire {
    number: u8,
    up: Lane,
    down: Lane,
    /// Which of the network's queues each direction goes through.
    queues: [usize; 2],
    attacks: [Option<Attack>; 2],
    /// The client's own addresses, latest last: what leaves from any but the last goes nowhere.
    client: Vec<(LocalId, SocketAddr)>,
    server: (LocalId, SocketAddr),
    /// The addresses under which the client and the server are known to the other end.
    faces: [Vec<Face>; 2],
    /// Which of its faces the client's datagrams carry now.
    mapped: FaceId,
    disturbed_at: Option<Instant>,
}

/// Names an address under which one end of a link is known to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FaceId(u16);

impl FaceId {
    /// The address an end has at the start.
    pub(super) const FIRST: Self = Self(0);
}

/// An address of one end, as the other sees it.
#[derive(Clone, Copy, Debug)]
struct Face {
    address: SocketAddr,
    /// Whether what is sent there reaches that end.
    leads_home: bool,
}

/// How the client's address changes on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rebinding {
    /// The IP address changes too, not only the port.
    pub(crate) ip: bool,
    /// What is sent to the old address still arrives.
    pub(crate) both_ways: bool,
}

/// How a train leaves an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Towards this address of the far end.
    To(FaceId),
    /// From an address that the end no longer has.
    Gone,
}

impl Wire {
    pub(super) fn new(number: usize, link: Link, queues: [usize; 2], seed: u64) -> Self {
        let id = u8::try_from(number).expect("a world has few links");
        let client = address([10, 0, id, 1], 50_000 + u16::from(id));
        let server = address([192, 0, 2, 1 + link.listener as u8], 443);
        let rng = |way| Rng::labelled(seed, &format!("link {number} {way}"));
        let face = |address| vec![Face { address, leads_home: true }];
        Self {
            number: id,
            up: Lane::new(LinkId(number), link.up, rng("up")),
            down: Lane::new(LinkId(number), link.down, rng("down")),
            queues,
            attacks: [None; 2],
            client: vec![(LocalId(u16::from(id)), client)],
            server: (LocalId(link.listener), server),
            faces: [face(client), face(server)],
            mapped: FaceId::FIRST,
            disturbed_at: None,
        }
    }

    /// The route that runs over the link now, as one end sees it.
    pub(super) fn route(&self, seen_by: Role) -> RouteId {
        let remote = match seen_by {
            Role::Client => FaceId::FIRST,
            Role::Server => self.mapped,
        };
        self.route_from(remote, seen_by)
    }

    /// The route of a datagram that reaches `seen_by` from this address of its peer.
    pub(super) fn route_from(&self, remote: FaceId, seen_by: Role) -> RouteId {
        let (local_id, local) = self.home(seen_by);
        RouteId::new(local_id, local, self.faces(seen_by.peer())[usize::from(remote.0)].address)
    }

    /// Whether the route runs, or ever ran, over this link.
    pub(super) fn knows(&self, route: &RouteId, seen_by: Role) -> bool {
        let fits = |&(local_id, local): &(LocalId, SocketAddr)| {
            RouteId::new(local_id, local, route.remote()).matches(route)
        };
        let local_fits = match seen_by {
            Role::Client => self.client.iter().any(fits),
            Role::Server => fits(&self.server),
        };
        local_fits && self.face_of(seen_by.peer(), route.remote()).is_some()
    }

    /// How a train leaves over this link, if it does.
    pub(super) fn exit(&self, from: Role, train: &Train) -> Option<Exit> {
        let fits = |&(local_id, local): &(LocalId, SocketAddr)| {
            local_id == train.local_id && train.source.is_none_or(|source| source == local.ip())
        };
        let to = self.face_of(from.peer(), train.remote)?;
        if fits(&self.home(from)) {
            return Some(Exit::To(to));
        }
        (from == Role::Client && self.client.iter().any(fits)).then_some(Exit::Gone)
    }

    /// The address that a datagram carries as its source.
    pub(super) fn source(&self, from: Role) -> FaceId {
        match from {
            Role::Client => self.mapped,
            Role::Server => FaceId::FIRST,
        }
    }

    /// Whether what is sent to this address of `end` arrives there.
    pub(super) fn leads_home(&self, end: Role, face: FaceId) -> bool {
        self.faces(end)[usize::from(face.0)].leads_home
    }

    /// The server sees the client under another address from now on.
    pub(super) fn rebind(&mut self, rebinding: Rebinding) {
        let old = &mut self.faces[index(Role::Client)][usize::from(self.mapped.0)];
        old.leads_home = rebinding.both_ways;
        let ip = if rebinding.ip { self.new_ip() } else { old.address.ip() };
        let address = SocketAddr::new(ip, self.new_port());
        self.mapped = self.add_face(Role::Client, Face { address, leads_home: true });
    }

    /// The client's interface gets another number and address; what it had before is gone.
    pub(super) fn renumber(&mut self, local_id: LocalId) {
        let address = SocketAddr::new(self.new_ip(), self.new_port());
        self.client.push((local_id, address));
        self.faces[index(Role::Client)][usize::from(self.mapped.0)].leads_home = false;
        self.mapped = self.add_face(Role::Client, Face { address, leads_home: true });
    }

    /// Somebody at this address pretends to be the peer of `victim`; what is sent there goes nowhere.
    pub(super) fn add_stranger(&mut self, victim: Role, address: SocketAddr) {
        if self.face_of(victim.peer(), address).is_none() {
            self.add_face(victim.peer(), Face { address, leads_home: false });
        }
    }

    pub(super) fn on_disturbed(&mut self, now: Instant) {
        self.disturbed_at = Some(now);
    }

    /// Whether something happened to the link since then that explains silence, or still lasts.
    pub(super) fn is_disturbed(&self, since: Instant) -> bool {
        self.disturbed_at.is_some_and(|at| at >= since) || self.up.is_dark() || self.down.is_dark()
    }

    /// Someone begins to copy what passes in one direction.
    pub(super) fn attack(&mut self, attacker: Attacker) {
        let imitated = match attacker.way() {
            Way::Up => Role::Client,
            Way::Down => Role::Server,
        };
        let port = PORT_MIN as u16 + self.faces(imitated).len() as u16;
        let address = address([198, 51, 100, self.number], port);
        let face = self.add_face(imitated, Face { address, leads_home: attacker.relays() });
        self.attacks[attacker.way() as usize] = Some(Attack::new(attacker, face));
    }

    pub(super) fn attack_on(&mut self, way: Way) -> Option<&mut Attack> {
        self.attacks[way as usize].as_mut()
    }

    pub(super) fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    pub(super) fn queue(&self, way: Way) -> usize {
        self.queues[way as usize]
    }

    pub(super) fn lane_mut(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    fn faces(&self, end: Role) -> &[Face] {
        &self.faces[index(end)]
    }

    /// The latest face of `end` with this address.
    fn face_of(&self, end: Role, address: SocketAddr) -> Option<FaceId> {
        let at = self.faces(end).iter().rposition(|face| face.address == address)?;
        Some(FaceId(at as u16))
    }

    fn add_face(&mut self, end: Role, face: Face) -> FaceId {
        let faces = &mut self.faces[index(end)];
        assert!(faces.len() < FACES_MAX, "link {} has too many addresses", self.number);
        faces.push(face);
        FaceId(faces.len() as u16 - 1)
    }

    fn home(&self, end: Role) -> (LocalId, SocketAddr) {
        match end {
            Role::Client => *self.client.last().expect("a client has an address"),
            Role::Server => self.server,
        }
    }

    fn new_ip(&self) -> IpAddr {
        let used = self.faces(Role::Client).len();
        IpAddr::V4(Ipv4Addr::new(100, 64 + (used >> 8) as u8 % 64, used as u8, self.number))
    }

    fn new_port(&self) -> u16 {
        let first = 50_000 + u64::from(self.number) - PORT_MIN;
        let step = self.faces(Role::Client).len() as u64;
        ((first + step) % (u64::from(u16::MAX) - PORT_MIN) + PORT_MIN) as u16
    }
}

fn index(end: Role) -> usize {
    usize::from(end == Role::Server)
}

fn address(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port)
}
