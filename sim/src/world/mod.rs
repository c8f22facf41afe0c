//! A world: two endpoints, the links between them, and virtual time.
//!
//! Owns the clock and the order of everything that happens: arrivals, then scheduled actions, then a turn of each end
//! that was touched or whose deadline came. A broken rule ends the run with the seed and the time at which it broke.
//! What a scenario may ask for is in `scenario`.

mod agenda;
mod apps;
mod content;
mod datagrams;
mod host;
mod ledger;
mod report;
mod scenario;
mod transfer;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ClientConfig, ClientTls, Endpoint, EndpointConfig, Instant, PathErrorCode, Role, ServerTls,
};

use self::agenda::{Action, Agenda};
use self::apps::{ClientApp, ServerApp};
use self::host::{App, Host};
use self::ledger::Ledger;
use self::report::EndReport;
use self::scenario::Setup;
use crate::network::{LinkId, Network, Way};
use crate::rng::Rng;
use crate::tls::{self, VirtualClock};

pub use self::datagrams::{DatagramReport, Volley};
pub use self::report::{LinkReport, PathReport, Report};
pub use self::scenario::{At, Client};

/// Where virtual time starts; not at the origin, so that subtracting from it does not saturate.
const START: Instant = Instant::from_nanos(1_000_000_000_000);
/// How long both ends have to forget a closed connection: more than an idle timeout, should the close be lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(200);
/// How soon an action that an endpoint refused for now is tried again.
const PATIENCE: Duration = Duration::from_millis(5);
/// More steps than this at one instant mean that time stands still.
const STEPS_AT_ONE_INSTANT_MAX: u32 = 100_000;

/// Two endpoints and the links between them.
pub struct World {
    seed: u64,
    now: Instant,
    steps_at_now: u32,
    setup: Setup,
    clock: Arc<VirtualClock>,
    network: Network,
    ledger: Ledger,
    agenda: Agenda,
    ends: Option<Ends>,
    asked: u64,
    refusals: Vec<(Duration, String)>,
}

/// Both ends, once the world runs.
struct Ends {
    client: Host,
    server: Host,
}

impl Ends {
    fn end(&mut self, role: Role) -> &mut Host {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Something happened.
    Stepped,
    /// Nothing will ever happen again, or not before the time that was asked for.
    Rested,
}

impl World {
    /// An empty world in which `seed` decides everything that chance decides.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            now: START,
            steps_at_now: 0,
            setup: Setup::default(),
            clock: Arc::default(),
            network: Network::new(seed),
            ledger: Ledger::default(),
            agenda: Agenda::default(),
            ends: None,
            asked: 0,
            refusals: Vec::new(),
        }
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// Runs until every transfer is complete and every scheduled action done, until both ends have closed, or until
    /// the time limit.
    pub fn run(&mut self) -> Report {
        self.run_to(World::is_done)
    }

    /// Runs until this time after the start, whatever happens.
    pub fn run_until(&mut self, elapsed: Duration) -> Report {
        self.advance(START + elapsed, |_| false);
        self.report()
    }

    /// Runs until `stop` holds, or until the time limit.
    pub fn run_to(&mut self, stop: impl Fn(&mut World) -> bool) -> Report {
        self.advance(START + self.setup.limit, stop);
        self.report()
    }

    /// Closes the connection at the client's end and runs until both endpoints have forgotten it.
    pub fn drain(&mut self) -> Report {
        self.at(self.elapsed()).close(Role::Client, 0);
        self.advance(self.now + DRAIN_LIMIT, |world| {
            world.agenda.is_empty() && world.connections() == (0, 0)
        });
        self.report()
    }

    /// What has come of the run so far.
    pub fn report(&mut self) -> Report {
        let now = self.now;
        let (stall, stalled_at) = self.ledger.longest_stall(now);
        let mut report = Report {
            seed: self.seed,
            elapsed: self.elapsed(),
            asked: self.asked,
            delivered: self.ledger.delivered(),
            completed_at: self.ledger.completed_at().map(|at| at.since(START)),
            longest_stall: (stall, stalled_at.since(START)),
            links: Vec::new(),
            client: EndReport::default(),
            server: EndReport::default(),
            digest: self.network.digest(),
        };
        let Some(ends) = &mut self.ends else { return report };
        report.client = ends.client.report(now);
        report.server = ends.server.report(now);
        report.links = self.network.links().map(|link| link_report(&self.network, ends, link)).collect();
        report
    }

    /// Steps until `stop` holds or nothing happens before `end`; then the clock shows `end`, unless stopped.
    fn advance(&mut self, end: Instant, stop: impl Fn(&mut World) -> bool) {
        self.start();
        while !stop(self) {
            match self.step(end) {
                Ok(Progress::Stepped) => {}
                Ok(Progress::Rested) => {
                    self.set_now(end.max(self.now));
                    return;
                }
                Err(broken) => panic!("{}: {broken}", self.place()),
            }
        }
    }

    /// The next instant at which anything happens.
    fn step(&mut self, end: Instant) -> Result<Progress, String> {
        let Some(next) = self.next_instant().filter(|&at| at <= end) else { return Ok(Progress::Rested) };
        self.set_now(next.max(self.now));
        if self.steps_at_now > STEPS_AT_ONE_INSTANT_MAX {
            return Err("time stands still".to_owned());
        }
        let now = self.now;
        let mut touched = self.deliver();
        while let Some(action) = self.agenda.take_due(now) {
            touched = [true; 2];
            self.perform(action);
        }
        self.turn(touched)?;
        Ok(Progress::Stepped)
    }

    fn next_instant(&mut self) -> Option<Instant> {
        let ends = self.ends.as_mut()?;
        let wakes = [ends.client.wakes_at(), ends.server.wakes_at()];
        let others = [self.network.next_arrival(), self.agenda.next_at()];
        wakes.into_iter().chain(others).flatten().min()
    }

    /// Hands over what has arrived, and tells whether the client and the server got something.
    fn deliver(&mut self) -> [bool; 2] {
        let mut touched = [false; 2];
        let Some(ends) = &mut self.ends else { return touched };
        while let Some(mut arrival) = self.network.take_arrival(self.now) {
            touched[usize::from(arrival.to == Role::Server)] = true;
            ends.end(arrival.to).receive(&mut arrival, self.now);
            self.network.give_back(arrival.bytes);
        }
        touched
    }

    /// A turn for each end that was touched or whose time has come.
    fn turn(&mut self, touched: [bool; 2]) -> Result<(), String> {
        let Some(ends) = &mut self.ends else { return Ok(()) };
        for (host, touched) in [&mut ends.client, &mut ends.server].into_iter().zip(touched) {
            if touched || host.wakes_at().is_some_and(|at| at <= self.now) {
                host.turn(&mut self.network, &mut self.ledger, self.now)?;
            }
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) {
        let outcome = self.try_perform(action);
        let Err(refusal) = outcome else { return };
        if action.is_patient() && self.ends.as_ref().is_some_and(|ends| ends.client.closed().is_none()) {
            self.agenda.add(self.now + PATIENCE, action);
        } else {
            self.refusals.push((self.elapsed(), refusal));
        }
    }

    fn try_perform(&mut self, action: Action) -> Result<(), String> {
        let now = self.now;
        match action {
            Action::Cut(link, way) => self.network.cut(link, way, now),
            Action::Restore(link, way) => self.network.restore(link, way, now),
            Action::Rebind(link, rebinding) => self.network.rebind(link, rebinding),
            Action::Renumber(link) => self.network.renumber(link),
            Action::Attack(link, attacker) => self.network.attack(link, attacker),
            Action::Transfer(wish) => self.client_app()?.wish(wish),
            Action::Datagrams(by, volley, link) => {
                let path = match link {
                    Some(link) => {
                        Some(self.client_app()?.path_on(link).ok_or("no path was opened on the link")?)
                    }
                    None => None,
                };
                let ends = self.ends.as_mut().ok_or("the world has not started")?;
                ends.end(by).send_datagrams(volley, path, now);
            }
            Action::OpenPath(link) => {
                let route = self.network.route(link, Role::Client);
                self.client_app()?.open_link(link, route);
            }
            Action::AbandonPath(by, link) => {
                let path = self.client_app()?.path_on(link).ok_or("no path was opened on the link")?;
                let code = PathErrorCode::APPLICATION_ABANDON_PATH;
                self.with(by, |connection| connection.abandon_path(path, code).map_err(shown))?;
            }
            Action::SetBackup(by, link, backup) => {
                let path = self.client_app()?.path_on(link).ok_or("no path was opened on the link")?;
                self.with(by, |connection| connection.set_path_backup(path, backup).map_err(shown))?;
            }
            Action::UpdateKeys(by) => self.with(by, |connection| connection.update_keys().map_err(shown))?,
            Action::Close(by, code) => {
                self.with(by, |connection| {
                    connection.close(code, b"as the scenario says");
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Does something with the connection of one end.
    fn with(
        &mut self,
        role: Role,
        ask: impl FnOnce(&mut braid_quic::ConnectionGuard<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let now = self.now;
        let ends = self.ends.as_mut().ok_or("the world has not started")?;
        let host = ends.end(role);
        let mut connection = host.connection(now).ok_or_else(|| format!("{role:?} has no connection"))?;
        ask(&mut connection)
    }

    fn client_app(&mut self) -> Result<&mut ClientApp, String> {
        self.ends.as_mut().and_then(|ends| ends.client.client_app()).ok_or_else(|| "no client".to_owned())
    }

    /// Makes both endpoints and lets the client connect over the first link.
    fn start(&mut self) {
        if self.ends.is_some() {
            return;
        }
        self.clock.set(self.now);
        let links: Vec<LinkId> = self.network.links().collect();
        let (&first, others) = links.split_first().expect("a world needs a link");
        let mut app = ClientApp::default();
        app.on_started(first);
        for &link in others.iter().filter(|link| !self.setup.spare_links.contains(link)) {
            app.open_link(link, self.network.route(link, Role::Client));
        }
        let setup = &self.setup;
        let mut client = Host::new(self.endpoint(Role::Client), App::Client(app), setup.manners);
        let server = Host::new(self.endpoint(Role::Server), App::Server(ServerApp::default()), setup.manners);
        let config = ClientConfig { tls: self.client_tls(), transport: Arc::new(setup.client.clone()) };
        let route = self.network.route(first, Role::Client);
        let key = client
            .endpoint_mut()
            .connect(config, tls::server_name(), route, self.now)
            .unwrap_or_else(|error| panic!("{}: the client cannot connect: {error:?}", self.place()));
        client.on_key(key);
        self.ends = Some(Ends { client, server });
        if let Err(broken) = self.turn([true, false]) {
            panic!("{}: {broken}", self.place());
        }
    }

    fn endpoint(&self, role: Role) -> Endpoint {
        let mut rng = Rng::labelled(self.seed, &format!("{role:?} endpoint"));
        let mut config = EndpointConfig::new(rng.array(), rng.array());
        if role == Role::Server {
            config.server = Some(self.server_tls());
            config.transport = Arc::new(self.setup.server.clone());
        }
        Endpoint::new(config, rng.array())
    }

    fn client_tls(&self) -> ClientTls {
        let seed = Rng::labelled(self.seed, "client tls").next_u64();
        let (protection, hello) = (self.setup.protection, self.setup.hello);
        let config = tls::client_config(seed, protection, hello, Arc::clone(&self.clock));
        ClientTls::new(config).expect("the simulator's TLS settings suit QUIC")
    }

    fn server_tls(&self) -> ServerTls {
        let seed = Rng::labelled(self.seed, "server tls").next_u64();
        let (protection, hello) = (self.setup.protection, self.setup.hello);
        let config = tls::server_config(seed, protection, hello, Arc::clone(&self.clock));
        ServerTls::new(config).expect("the simulator's TLS settings suit QUIC")
    }

    fn set_now(&mut self, now: Instant) {
        debug_assert!(now >= self.now);
        self.steps_at_now = if now == self.now { self.steps_at_now + 1 } else { 0 };
        self.now = now;
        self.clock.set(now);
    }

    /// Where a message belongs: the seed repeats the run, the time tells where to look.
    fn place(&self) -> String {
        format!("seed {}, {:?} after the start", self.seed, self.elapsed())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A panic inside an endpoint knows neither seed nor time.
        if std::thread::panicking() {
            eprintln!("the world that panicked: {}", self.place());
        }
    }
}

/// A link's numbers, and those of the paths that ran over it.
fn link_report(network: &Network, ends: &mut Ends, link: LinkId) -> LinkReport {
    let of_link = |host: &Host, role| {
        let on_link = |stats: &&braid_quic::PathStats| network.link_of(&stats.route, role) == Some(link);
        host.known_paths().iter().filter(on_link).cloned().collect::<Vec<_>>()
    };
    let client = of_link(&ends.client, Role::Client);
    let mut server = of_link(&ends.server, Role::Server);
    let mut paths: Vec<PathReport> = Vec::new();
    for stats in client {
        let other = server.iter().position(|other| other.id == stats.id).map(|at| server.remove(at));
        paths.push(PathReport { client: Some(stats), server: other });
    }
    paths.extend(server.into_iter().map(|stats| PathReport { client: None, server: Some(stats) }));
    LinkReport { up: network.stats(link, Way::Up), down: network.stats(link, Way::Down), paths }
}

fn shown(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
