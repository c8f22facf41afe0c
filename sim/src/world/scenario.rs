//! The words in which scenarios are written.
//!
//! Owns the settings of a world and the methods that change them. Runs nothing (`world` does).

use std::net::SocketAddr;
use std::time::Duration;

use braid_quic::{Endpoint, PathStats, Role, RouteId, TransportConfig};

use super::agenda::Action;
use super::apps::Wish;
use super::datagrams::{DatagramReport, Volley};
use super::host::Manners;
use super::{START, World};
use crate::link::Link;
use crate::network::{Arrival, Attacker, LinkId, Rebinding, Remembered, Way};
use crate::provider::{Hello, Protection};
use crate::units::Rate;

/// Everything about a world that is fixed before it starts.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) client: TransportConfig,
    pub(crate) server: TransportConfig,
    pub(crate) protection: Protection,
    pub(crate) hello: Hello,
    pub(crate) manners: Manners,
    pub(crate) limit: Duration,
    pub(crate) spare_links: Vec<LinkId>,
}

impl Default for Setup {
    fn default() -> Self {
        let manners = Manners {
            trains_max: usize::MAX,
            segmentation: true,
            lateness: Duration::ZERO,
            audit_every: 1,
            forgery: false,
        };
        Self {
            client: TransportConfig::default(),
            server: TransportConfig::default(),
            protection: Protection::Null,
            hello: Hello::Short,
            manners,
            limit: Duration::from_secs(120),
            spare_links: Vec::new(),
        }
    }
}

/// The world before it runs.
impl World {
    /// Adds a clean link. The client opens a path on every link, in this order; the first carries the handshake.
    pub fn link(&mut self, rate: Rate, delay: Duration) -> LinkId {
        self.add(Link::new(rate, delay))
    }

    /// Adds a link.
    pub fn add(&mut self, link: Link) -> LinkId {
        assert!(self.ends.is_none(), "links are added before the world runs");
        self.network.add(link)
    }

    /// Adds a link on which no path is opened until `At::open` says so.
    pub fn add_spare(&mut self, link: Link) -> LinkId {
        let link = self.add(link);
        self.setup.spare_links.push(link);
        link
    }

    /// Changes the transport settings of both ends.
    pub fn transport(&mut self, change: impl Fn(&mut TransportConfig)) {
        change(&mut self.setup.client);
        change(&mut self.setup.server);
    }

    /// Changes the transport settings of one end.
    pub fn transport_of(&mut self, role: Role, change: impl FnOnce(&mut TransportConfig)) {
        match role {
            Role::Client => change(&mut self.setup.client),
            Role::Server => change(&mut self.setup.server),
        }
    }

    /// How packets are protected; null by default.
    pub fn protection(&mut self, protection: Protection) {
        self.setup.protection = protection;
        self.setup.manners.forgery |= protection == Protection::Blind;
    }

    /// How long the client's first message is.
    pub fn hello(&mut self, hello: Hello) {
        self.setup.hello = hello;
    }

    /// Virtual time after which `run` gives up; 120 s by default.
    pub fn limit(&mut self, limit: Duration) {
        self.setup.limit = limit;
    }

    /// Calls the endpoints' audit in every n-th turn only; in every turn by default.
    pub fn audit_every(&mut self, turns: u32) {
        assert!(turns > 0);
        self.setup.manners.audit_every = turns;
    }

    /// Lets sockets take only so many trains in a turn, so that the outbox is full at times.
    pub fn socket_takes(&mut self, trains_a_turn: usize) {
        assert!(trains_a_turn > 0);
        self.setup.manners.trains_max = trains_a_turn;
    }

    /// Sockets report that they cannot segment; what they were given still leaves.
    pub fn no_segmentation(&mut self) {
        self.setup.manners.segmentation = false;
    }

    /// Serves every deadline this much late.
    pub fn late_by(&mut self, lateness: Duration) {
        self.setup.manners.lateness = lateness;
    }

    /// What the client does from the start.
    pub fn client(&mut self) -> Client<'_> {
        Client { world: self }
    }

    /// What happens at a time after the start.
    pub fn at(&mut self, elapsed: Duration) -> At<'_> {
        At { elapsed, world: self }
    }
}

/// The world while it runs.
impl World {
    /// The handshake is confirmed and every path that was asked for is opened.
    pub fn is_confirmed(&mut self) -> bool {
        self.client_app().is_ok_and(|app| app.is_confirmed())
    }

    /// Everything asked for is delivered and every action done; or the connection is over.
    pub fn is_done(&mut self) -> bool {
        let Some(ends) = &mut self.ends else { return false };
        let over =
            ends.client.closed().is_some() && (ends.server.closed().is_some() || !ends.server.is_open());
        let served = ends.server.server_app().is_none_or(|app| app.open() == 0);
        let satisfied = ends.client.client_app().is_some_and(|app| app.is_confirmed() && app.is_satisfied());
        over || (satisfied && served && self.agenda.is_empty())
    }

    /// How many connections the client's and the server's endpoint hold.
    pub fn connections(&self) -> (usize, usize) {
        let count = |endpoint: &Endpoint| endpoint.connections().count();
        self.ends
            .as_ref()
            .map_or((0, 0), |ends| (count(ends.client.endpoint()), count(ends.server.endpoint())))
    }

    /// One end's numbers of the path opened last on a link.
    pub fn path_stats(&mut self, seen_by: Role, link: LinkId) -> Option<PathStats> {
        let path = self.client_app().ok()?.path_on(link)?;
        let now = self.now;
        self.ends.as_mut()?.end(seen_by).path_stats(now).iter().find(|stats| stats.id == path).cloned()
    }

    /// What came of the datagrams of one end.
    pub fn datagrams(&self, of: Role) -> DatagramReport {
        let logs = self.ends.as_ref().map(|ends| (ends.client.datagrams(), ends.server.datagrams()));
        match (of, logs) {
            (_, None) => DatagramReport::default(),
            (Role::Client, Some((client, server))) => client.report(server),
            (Role::Server, Some((client, server))) => server.report(client),
        }
    }

    /// What endpoints refused to do, with the time since the start.
    pub fn refusals(&self) -> &[(Duration, String)] {
        &self.refusals
    }

    /// The latest datagrams sent, oldest first: what a listener on the wire would know.
    pub fn remembered(&self) -> impl ExactSizeIterator<Item = &Remembered> {
        self.network.remembered().iter()
    }

    /// Hands a datagram to one end at once, as if it came over the link. Between this and `serve` the end has no turn.
    pub fn inject(&mut self, to: Role, link: LinkId, bytes: Vec<u8>) {
        self.inject_by(to, self.network.route(link, to), bytes);
    }

    /// The same from any address: what somebody off the path can do who saw or guessed a datagram.
    pub fn inject_from(&mut self, source: SocketAddr, to: Role, link: LinkId, bytes: Vec<u8>) {
        let route = self.network.stranger(link, to, source);
        self.inject_by(to, route, bytes);
    }

    fn inject_by(&mut self, to: Role, route: RouteId, bytes: Vec<u8>) {
        let now = self.now;
        self.start();
        let Some(ends) = &mut self.ends else { return };
        let mut arrival =
            Arrival { to, route, segment_size: bytes.len().max(1), bytes, ecn: braid_quic::Ecn::NotEct };
        ends.end(to).receive(&mut arrival, now);
        self.network.give_back(arrival.bytes);
    }

    /// Gives both ends a turn, after `inject`.
    pub fn serve(&mut self) {
        if let Err(broken) = self.turn([true; 2]) {
            panic!("{}: {broken}", self.place());
        }
    }

    pub(super) fn ask(&mut self, elapsed: Duration, upload_bytes: u64, download_bytes: u64) {
        self.asked += upload_bytes + download_bytes;
        self.agenda.add(START + elapsed, Action::Transfer(Wish { upload_bytes, download_bytes }));
    }
}

/// What the client does from the start.
pub struct Client<'a> {
    world: &'a mut World,
}

impl Client<'_> {
    /// Asks for `bytes` on a new stream.
    pub fn downloads(self, bytes: u64) {
        self.world.ask(Duration::ZERO, 0, bytes);
    }

    /// Sends `bytes` on a new stream.
    pub fn sends(self, bytes: u64) {
        self.world.ask(Duration::ZERO, bytes, 0);
    }

    /// Sends and asks on one new stream.
    pub fn exchanges(self, upload_bytes: u64, download_bytes: u64) {
        self.world.ask(Duration::ZERO, upload_bytes, download_bytes);
    }
}

/// What happens at one time; every method schedules one thing and may be chained.
pub struct At<'a> {
    elapsed: Duration,
    world: &'a mut World,
}

// A scenario writes these as statements; the value returned is only for chaining.
#[allow(clippy::return_self_not_must_use)]
impl At<'_> {
    /// Both directions of a link go dark; nobody is told.
    pub fn cut(self, link: LinkId) -> Self {
        self.cut_way(link, Way::Up).cut_way(link, Way::Down)
    }

    /// One direction of a link goes dark.
    pub fn cut_way(self, link: LinkId, way: Way) -> Self {
        self.plan(Action::Cut(link, way))
    }

    /// Both directions of a link work again.
    pub fn restore(self, link: LinkId) -> Self {
        self.plan(Action::Restore(link, Way::Up)).plan(Action::Restore(link, Way::Down))
    }

    /// A NAT gives the client of a link another port; what the server sends to the old one is lost.
    pub fn rebind(self, link: LinkId) -> Self {
        self.plan(Action::Rebind(link, Rebinding { ip: false, both_ways: false }))
    }

    /// The same with another IP address and port.
    pub fn rebind_ip(self, link: LinkId) -> Self {
        self.plan(Action::Rebind(link, Rebinding { ip: true, both_ways: false }))
    }

    /// Another port, but what the server sends to the old one still arrives.
    pub fn rebind_both_ways(self, link: LinkId) -> Self {
        self.plan(Action::Rebind(link, Rebinding { ip: false, both_ways: true }))
    }

    /// The client's interface at a link gets another address and `LocalId`: what is sent from or to the old address is
    /// lost, the former with `Fate::Unreachable`. The client is not told; what it receives comes in at the new one.
    pub fn renumber(self, link: LinkId) -> Self {
        self.plan(Action::Renumber(link))
    }

    /// Someone begins to copy datagrams of a link; whoever did so before in that direction stops.
    pub fn attack(self, link: LinkId, attacker: Attacker) -> Self {
        self.plan(Action::Attack(link, attacker))
    }

    /// The client asks for `bytes` on a new stream.
    pub fn download(self, bytes: u64) -> Self {
        self.world.ask(self.elapsed, 0, bytes);
        self
    }

    /// The client sends `bytes` on a new stream.
    pub fn upload(self, bytes: u64) -> Self {
        self.world.ask(self.elapsed, bytes, 0);
        self
    }

    /// One end sends datagrams, over whatever path.
    pub fn datagrams(self, by: Role, volley: Volley) -> Self {
        self.plan(Action::Datagrams(by, volley, None))
    }

    /// One end sends datagrams that only the path opened last on this link may carry.
    pub fn datagrams_on(self, by: Role, volley: Volley, link: LinkId) -> Self {
        self.plan(Action::Datagrams(by, volley, Some(link)))
    }

    /// The client opens a new path on a link.
    pub fn open(self, link: LinkId) -> Self {
        self.plan(Action::OpenPath(link))
    }

    /// One end abandons the path opened last on a link.
    pub fn abandon(self, by: Role, link: LinkId) -> Self {
        self.plan(Action::AbandonPath(by, link))
    }

    /// One end advises the other to use a link's path only as a backup, or as any other.
    pub fn set_backup(self, by: Role, link: LinkId, backup: bool) -> Self {
        self.plan(Action::SetBackup(by, link, backup))
    }

    /// One end updates its keys, as soon as it may.
    pub fn update_keys(self, by: Role) -> Self {
        self.plan(Action::UpdateKeys(by))
    }

    /// One end closes the connection.
    pub fn close(self, by: Role, code: u64) -> Self {
        self.plan(Action::Close(by, code))
    }

    fn plan(self, action: Action) -> Self {
        self.world.agenda.add(START + self.elapsed, action);
        self
    }
}
