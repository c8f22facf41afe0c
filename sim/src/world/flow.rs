//! A connection of a world: its two ends, its links and what was delivered between them.
//!
//! Owns how both endpoints are made and started, and what a competitor of the main connection does. Every connection has
//! endpoints of its own, so that they meet in the network only. Decides on no time (`world` does).

use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ClientConfig, ClientTls, Endpoint, EndpointConfig, Instant, Role, ServerTls, TransportConfig,
};

use super::START;
use super::apps::{ClientApp, ServerApp, Wish};
use super::host::{App, Host};
use super::ledger::Ledger;
use super::scenario::Setup;
use crate::link::Link;
use crate::network::{LinkId, Network, Way};
use crate::rng::Rng;
use crate::tls::{self, VirtualClock};

/// More than any run transfers.
const ENDLESS_BYTES: u64 = 1 << 50;

/// Another connection in the same world: one path, and a transfer in one direction. It is counted by itself; no run waits
/// for it.
#[derive(Clone, Debug)]
pub struct Competitor {
    pub(super) link: Link,
    pub(super) from: Duration,
    pub(super) until: Option<Duration>,
    way: Way,
    bytes: u64,
    transport: Option<TransportConfig>,
}

impl Competitor {
    /// The client downloads without end, from the start, over a link of its own: mostly one that shares the queue of
    /// another (`Link::sharing`).
    pub fn downloads(link: Link) -> Self {
        Self {
            link,
            from: Duration::ZERO,
            until: None,
            way: Way::Down,
            bytes: ENDLESS_BYTES,
            transport: None,
        }
    }

    /// The client uploads without end.
    pub fn uploads(link: Link) -> Self {
        Self { way: Way::Up, ..Self::downloads(link) }
    }

    /// It transfers only so much.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// It connects at this time after the start.
    #[must_use]
    pub fn from(mut self, elapsed: Duration) -> Self {
        self.from = elapsed;
        self
    }

    /// The client closes the connection at this time after the start.
    #[must_use]
    pub fn until(mut self, elapsed: Duration) -> Self {
        self.until = Some(elapsed);
        self
    }

    /// Both of its ends have these settings rather than those of the world.
    #[must_use]
    pub fn transport(mut self, transport: TransportConfig) -> Self {
        self.transport = Some(transport);
        self
    }
}

/// Names a competitor of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompetitorId(pub(super) usize);

/// One connection, before and while it exists.
#[derive(Default)]
pub(super) struct Flow {
    /// Links of this connection; the first carries the handshake.
    pub(super) links: Vec<LinkId>,
    /// What it does, if it is a competitor of the main connection.
    competitor: Option<Competitor>,
    pub(super) ledger: Ledger,
    pub(super) ends: Option<Ends>,
    pub(super) started_at: Option<Instant>,
}

/// Both ends of a connection.
pub(super) struct Ends {
    pub(super) client: Host,
    pub(super) server: Host,
    /// Whether the client and the server are to be visited, whatever their deadlines.
    touched: [bool; 2],
}

/// What the making of endpoints needs to know of the world.
pub(super) struct Maker<'a> {
    pub(super) seed: u64,
    pub(super) setup: &'a Setup,
    pub(super) clock: &'a Arc<VirtualClock>,
    pub(super) network: &'a Network,
    pub(super) now: Instant,
}

impl Flow {
    pub(super) fn competing(competitor: Competitor, link: LinkId) -> Self {
        Self { links: vec![link], competitor: Some(competitor), ..Self::default() }
    }

    /// Makes both ends and lets the client connect over the first link. `number` tells flows apart.
    pub(super) fn start(&mut self, number: usize, maker: &Maker<'_>) -> Result<(), String> {
        if self.ends.is_some() {
            return Ok(());
        }
        let (&first, others) = self.links.split_first().ok_or("a world needs a link")?;
        let mut app = ClientApp::default();
        app.on_started(first);
        app.keep_back(&maker.setup.backup_links);
        for &link in others.iter().filter(|link| !maker.setup.spare_links.contains(link)) {
            app.open_link(link, maker.network.route(link, Role::Client));
        }
        if let Some(competitor) = &self.competitor {
            app.wish(competitor.wish());
        }
        let manners = maker.setup.manners;
        let (of_client, of_server) =
            (self.transport(&maker.setup.client), self.transport(&maker.setup.server));
        let mut client =
            Host::new(maker.endpoint(Role::Client, number, &of_client), App::Client(app), manners);
        let server = App::Server(ServerApp::default());
        let server = Host::new(maker.endpoint(Role::Server, number, &of_server), server, manners);
        let config = ClientConfig { tls: maker.client_tls(number), transport: Arc::new(of_client) };
        let route = maker.network.route(first, Role::Client);
        let key = client
            .endpoint_mut()
            .connect(config, tls::server_name(), route, maker.now)
            .map_err(|error| format!("the client cannot connect: {error:?}"))?;
        client.on_key(key);
        self.started_at = Some(maker.now);
        self.ends = Some(Ends { client, server, touched: [true, false] });
        Ok(())
    }

    /// The settings of an end; `main` are those of the main connection.
    fn transport(&self, main: &TransportConfig) -> TransportConfig {
        match &self.competitor {
            // Nor its log: lines of two connections in one book could not be told apart.
            Some(competitor) => {
                competitor.transport.clone().unwrap_or_else(|| TransportConfig { log: None, ..main.clone() })
            }
            None => main.clone(),
        }
    }

    /// When one of its ends wants to be visited.
    pub(super) fn wakes_at(&mut self) -> Option<Instant> {
        let ends = self.ends.as_mut()?;
        [ends.client.wakes_at(), ends.server.wakes_at()].into_iter().flatten().min()
    }

    /// Both ends are to be visited.
    pub(super) fn touch(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.touched = [true; 2];
        }
    }

    /// A turn for each end that was touched or whose time has come.
    pub(super) fn turn(&mut self, network: &mut Network, now: Instant) -> Result<(), String> {
        let Some(ends) = &mut self.ends else { return Ok(()) };
        let touched = std::mem::take(&mut ends.touched);
        for (host, touched) in [&mut ends.client, &mut ends.server].into_iter().zip(touched) {
            if touched || host.wakes_at().is_some_and(|at| at <= now) {
                host.turn(network, &mut self.ledger, now)?;
            }
        }
        Ok(())
    }

    pub(super) fn client_app(&mut self) -> Option<&mut ClientApp> {
        self.ends.as_mut()?.client.client_app()
    }

    /// How many connections its client's and its server's endpoint hold.
    pub(super) fn connections(&self) -> (usize, usize) {
        let count = |endpoint: &Endpoint| endpoint.connections().count();
        self.ends
            .as_ref()
            .map_or((0, 0), |ends| (count(ends.client.endpoint()), count(ends.server.endpoint())))
    }
}

impl Ends {
    /// Remembers the numbers of all paths of both ends.
    pub(super) fn note_paths(&mut self, now: Instant) {
        self.client.report(now);
        self.server.report(now);
    }

    /// One end, to be given something: it is to be visited afterwards.
    pub(super) fn end(&mut self, role: Role) -> &mut Host {
        self.touched[usize::from(role == Role::Server)] = true;
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }
}

impl Competitor {
    fn wish(&self) -> Wish {
        let (upload_bytes, download_bytes) = match self.way {
            Way::Up => (self.bytes, 0),
            Way::Down => (0, self.bytes),
        };
        Wish { upload_bytes, download_bytes, transfer: None }
    }
}

impl Maker<'_> {
    fn endpoint(&self, role: Role, number: usize, transport: &TransportConfig) -> Endpoint {
        let mut rng = Rng::labelled(self.seed, &label(&format!("{role:?} endpoint"), number));
        let mut config = EndpointConfig::new(rng.array(), rng.array());
        if role == Role::Server {
            config.server = Some(self.server_tls(number));
            config.transport = Arc::new(transport.clone());
        }
        Endpoint::new(config, rng.array())
    }

    fn client_tls(&self, number: usize) -> ClientTls {
        let seed = Rng::labelled(self.seed, &label("client tls", number)).next_u64();
        let (protection, hello) = (self.setup.protection, self.setup.hello);
        let config = tls::client_config(seed, protection, hello, Arc::clone(self.clock));
        ClientTls::new(config).expect("the simulator's TLS settings suit QUIC")
    }

    fn server_tls(&self, number: usize) -> ServerTls {
        let seed = Rng::labelled(self.seed, &label("server tls", number)).next_u64();
        let (protection, hello) = (self.setup.protection, self.setup.hello);
        let config = tls::server_config(seed, protection, hello, Arc::clone(self.clock));
        ServerTls::new(config).expect("the simulator's TLS settings suit QUIC")
    }
}

/// What chance of a flow is drawn under; that of the main connection does not depend on whether there are others.
fn label(what: &str, number: usize) -> String {
    if number == 0 { what.to_owned() } else { format!("{what} of competitor {number}") }
}

/// What came of a competitor.
#[derive(Clone, Debug)]
pub struct CompetitorReport {
    /// Its link.
    pub link: LinkId,
    /// When it connected, from the start of the world.
    pub start: Option<Duration>,
    /// When its transfer was complete.
    pub end: Option<Duration>,
    /// In-order stream bytes that its applications read.
    pub delivered: u64,
    /// Its longest time without an in-order byte.
    pub longest_stall: Duration,
}

impl Flow {
    /// What came of it, if it is a competitor.
    pub(super) fn competitor_report(&self, now: Instant) -> Option<CompetitorReport> {
        self.competitor.as_ref()?;
        Some(CompetitorReport {
            link: self.links[0],
            start: self.started_at.map(|at| at.since(START)),
            end: self.ledger.completed_at().map(|at| at.since(START)),
            delivered: self.ledger.delivered(),
            longest_stall: self.ledger.longest_stall(now).0,
        })
    }
}
