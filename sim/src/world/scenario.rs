//! The words in which scenarios are written.
//!
//! Owns the settings of a world and the methods that change them. Runs nothing (`world` does).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::log::{LogFactory, qlog};
use braid_quic::{Instant, PathStats, Role, RouteId, TransportConfig};

use super::agenda::{Action, Anchor};
use super::at::At;
use super::book::{Transfer, TransferId};
use super::datagrams::DatagramReport;
use super::flow::{Competitor, CompetitorId, Ends, Flow};
use super::host::Manners;
use super::{MAIN, START, World};
use crate::link::Link;
use crate::logbook::Logbook;
use crate::network::{Arrival, LinkId, Remembered};
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
    pub(crate) backup_links: Vec<LinkId>,
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
            backup_links: Vec::new(),
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
        let link = self.own(link, MAIN);
        self.flows[MAIN].links.push(link);
        link
    }

    /// Adds another connection, with endpoints and a link of its own.
    pub fn compete(&mut self, competitor: Competitor) -> CompetitorId {
        let number = self.flows.len();
        let link = self.own(competitor.link.clone(), number);
        self.agenda.add(START + competitor.from, None, Action::Begin(number));
        if let Some(until) = competitor.until {
            self.agenda.add(START + until, None, Action::End(number));
        }
        self.flows.push(Flow::competing(competitor, link));
        CompetitorId(number - 1)
    }

    fn own(&mut self, link: Link, flow: usize) -> LinkId {
        assert!(self.flows[MAIN].ends.is_none(), "links are added before the world runs");
        self.owners.push(flow);
        self.network.add(link)
    }

    /// Adds a link on which no path is opened until `At::open` says so.
    pub fn add_spare(&mut self, link: Link) -> LinkId {
        let link = self.add(link);
        self.setup.spare_links.push(link);
        link
    }

    /// Makes the path of a link a backup: the client says so when it opens it, the server when all paths are ready.
    pub fn backup(&mut self, link: LinkId) {
        self.setup.backup_links.push(link);
        self.after_ready(Duration::ZERO).set_backup(Role::Server, link, true);
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

    /// Virtual time's start, from which logs count.
    pub const fn origin() -> Instant {
        START
    }

    /// Logs one end of the main connection. Nothing but the log changes: datagrams are the same with and without.
    pub fn log(&mut self, of: Role, log: LogFactory) {
        self.transport_of(of, |transport| transport.log = Some(log));
    }

    /// Logs one end of the main connection as qlog, in virtual time, to a book with room for `bytes_max`. What is not
    /// yet in the book enters it when the connection, or the world, is gone.
    pub fn qlog(&mut self, of: Role, bytes_max: usize) -> Logbook {
        let book = Logbook::with_room(bytes_max);
        self.log(of, qlog::factory(qlog::Settings::new(START), Arc::new(book.clone())));
        book
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
        At::new(self, Anchor::Start, elapsed)
    }

    /// What happens at a time after every path that is opened at the start was validated by both ends; if one never is,
    /// it never happens.
    pub fn after_ready(&mut self, delay: Duration) -> At<'_> {
        At::new(self, Anchor::Ready, delay)
    }

    /// What happens at a time after a transfer is complete.
    pub fn after(&mut self, transfer: TransferId, delay: Duration) -> At<'_> {
        At::new(self, Anchor::Completed(transfer), delay)
    }
}

/// The world while it runs.
impl World {
    /// The handshake is confirmed and every path that was asked for is opened.
    pub fn is_confirmed(&mut self) -> bool {
        self.client_app().is_ok_and(|app| app.is_confirmed())
    }

    /// The handshake is confirmed and every path that was asked for is validated by both ends.
    pub fn is_ready(&mut self) -> bool {
        let Some(Ends { client, server, .. }) = &mut self.flows[MAIN].ends else { return false };
        let Some(app) = client.client_app() else { return false };
        let Some(paths) = app.opened_paths().map(Vec::from_iter) else { return false };
        paths.into_iter().all(|path| client.has_validated(path) && server.has_validated(path))
    }

    /// Everything asked for is delivered and every action done; or the connection is over.
    pub fn is_done(&mut self) -> bool {
        let Some(ends) = &mut self.flows[MAIN].ends else { return false };
        let over =
            ends.client.closed().is_some() && (ends.server.closed().is_some() || !ends.server.is_open());
        let served = ends.server.server_app().is_none_or(|app| app.open() == 0);
        let satisfied = ends.client.client_app().is_some_and(|app| app.is_confirmed() && app.is_satisfied());
        over || (satisfied && served && self.agenda.is_empty())
    }

    /// How many connections the endpoints of the main client and its server hold.
    pub fn connections(&self) -> (usize, usize) {
        self.flows[MAIN].connections()
    }

    /// One end's numbers of the path opened last on a link.
    pub fn path_stats(&mut self, seen_by: Role, link: LinkId) -> Option<PathStats> {
        let path = self.client_app().ok()?.path_on(link)?;
        let now = self.now;
        self.flows[MAIN]
            .ends
            .as_mut()?
            .end(seen_by)
            .path_stats(now)
            .iter()
            .find(|stats| stats.id == path)
            .cloned()
    }

    /// What came of the datagrams of one end.
    pub fn datagrams(&self, of: Role) -> DatagramReport {
        let logs =
            self.flows[MAIN].ends.as_ref().map(|ends| (ends.client.datagrams(), ends.server.datagrams()));
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
        self.inject_by(to, link, self.network.route(link, to), bytes);
    }

    /// The same from any address: what somebody off the path can do who saw or guessed a datagram.
    pub fn inject_from(&mut self, source: SocketAddr, to: Role, link: LinkId, bytes: Vec<u8>) {
        let route = self.network.stranger(link, to, source);
        self.inject_by(to, link, route, bytes);
    }

    fn inject_by(&mut self, to: Role, link: LinkId, route: RouteId, bytes: Vec<u8>) {
        let now = self.now;
        self.start();
        let Some(ends) = &mut self.flows[self.owners[link.0]].ends else { return };
        let mut arrival = Arrival {
            to,
            link,
            route,
            segment_size: bytes.len().max(1),
            bytes,
            ecn: braid_quic::Ecn::NotEct,
        };
        ends.end(to).receive(&mut arrival, now);
        self.network.give_back(arrival.bytes);
    }

    /// Gives both ends a turn, after `inject`.
    pub fn serve(&mut self) {
        self.flows.iter_mut().for_each(Flow::touch);
        if let Err(broken) = self.turn() {
            panic!("{}: {broken}", self.place());
        }
    }

    pub(super) fn plan_transfer(&mut self, transfer: Transfer) -> TransferId {
        self.asked += transfer.total_bytes();
        self.flows[MAIN].ledger.book.plan(transfer)
    }
}

/// What the client does from the start.
pub struct Client<'a> {
    world: &'a mut World,
}

impl Client<'_> {
    /// Asks for `bytes` on a new stream.
    pub fn downloads(self, bytes: u64) {
        self.exchanges(0, bytes);
    }

    /// Sends `bytes` on a new stream.
    pub fn sends(self, bytes: u64) {
        self.exchanges(bytes, 0);
    }

    /// Sends and asks on one new stream.
    pub fn exchanges(self, upload_bytes: u64, download_bytes: u64) {
        self.world.at(Duration::ZERO).transfer(Transfer::exchange(upload_bytes, download_bytes));
    }
}
