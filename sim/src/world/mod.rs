//! A world: two endpoints, the links between them, and virtual time; other connections may compete.
//!
//! Owns the clock and the order of everything that happens: arrivals, then scheduled actions, then a turn of each end
//! that was touched or whose deadline came. A broken rule ends the run with the seed and the time at which it broke.
//! What a scenario may ask for is in `scenario`.

mod agenda;
mod apps;
mod at;
mod book;
mod content;
mod datagrams;
mod flow;
mod host;
mod ledger;
mod report;
mod scenario;
mod transfer;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use braid_quic::{Instant, PathErrorCode, Role};

use self::agenda::{Action, Agenda, Anchor};
use self::apps::{ClientApp, Wish};
use self::flow::{Flow, Maker};
use self::host::Host;
use self::report::EndReport;
use self::scenario::Setup;
use crate::network::{LinkId, Network, Way};
use crate::tls::VirtualClock;

pub use self::at::At;
pub use self::book::{Transfer, TransferId, TransferReport};
pub use self::datagrams::{DatagramReport, Volley};
pub use self::flow::{Competitor, CompetitorId, CompetitorReport};
pub use self::report::{LinkReport, PathReport, Report};
pub use self::scenario::Client;

/// Where virtual time starts; not at the origin, so that subtracting from it does not saturate.
const START: Instant = Instant::from_nanos(1_000_000_000_000);
/// How long both ends have to forget a closed connection: more than an idle timeout, should the close be lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(200);
/// How soon an action that an endpoint refused for now is tried again.
const PATIENCE: Duration = Duration::from_millis(5);
/// The index of the main connection.
const MAIN: usize = 0;
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
    agenda: Agenda,
    /// The main connection, and then its competitors.
    flows: Vec<Flow>,
    /// Whose each link is, as an index of `flows`.
    owners: Vec<usize>,
    ready_at: Option<Instant>,
    asked: u64,
    refusals: Vec<(Duration, String)>,
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
            agenda: Agenda::default(),
            flows: vec![Flow::default()],
            owners: Vec::new(),
            ready_at: None,
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
        let ledger = &self.flows[MAIN].ledger;
        let (stall, stalled_at) = ledger.longest_stall(now);
        let mut report = Report {
            seed: self.seed,
            elapsed: self.elapsed(),
            asked: self.asked,
            delivered: ledger.delivered(),
            completed_at: ledger.completed_at().map(|at| at.since(START)),
            longest_stall: (stall, stalled_at.since(START)),
            ready_at: self.ready_at.map(|at| at.since(START)),
            transfers: ledger.book.report(START, now),
            competitors: self.flows.iter().filter_map(|flow| flow.competitor_report(now)).collect(),
            links: Vec::new(),
            client: EndReport::default(),
            server: EndReport::default(),
            digest: self.network.digest(),
        };
        for ends in self.flows.iter_mut().skip(MAIN + 1).filter_map(|flow| flow.ends.as_mut()) {
            ends.note_paths(now);
        }
        let Some(ends) = &mut self.flows[MAIN].ends else { return report };
        report.client = ends.client.report(now);
        report.server = ends.server.report(now);
        let owners = self.network.links().zip(&self.owners);
        report.links =
            owners.map(|(link, &owner)| link_report(&self.network, &self.flows[owner], link)).collect();
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
        self.deliver();
        while let Some(action) = self.agenda.take_due(now) {
            self.flows.iter_mut().for_each(Flow::touch);
            self.perform(action);
        }
        self.turn()?;
        self.reach_anchors();
        Ok(Progress::Stepped)
    }

    fn next_instant(&mut self) -> Option<Instant> {
        let others = [self.network.next_arrival(), self.agenda.next_at()];
        self.flows.iter_mut().map(Flow::wakes_at).chain(others).flatten().min()
    }

    /// Hands over what has arrived.
    fn deliver(&mut self) {
        while let Some(mut arrival) = self.network.take_arrival(self.now) {
            if let Some(ends) = &mut self.flows[self.owners[arrival.link.0]].ends {
                ends.end(arrival.to).receive(&mut arrival, self.now);
            }
            self.network.give_back(arrival.bytes);
        }
    }

    /// A turn for each end that was touched or whose time has come.
    fn turn(&mut self) -> Result<(), String> {
        for (number, flow) in self.flows.iter_mut().enumerate() {
            let outcome = flow.turn(&mut self.network, self.now);
            outcome.map_err(|broken| match number {
                MAIN => broken,
                competitor => format!("competitor {competitor}: {broken}"),
            })?;
        }
        Ok(())
    }

    /// Tells the agenda what has come to pass that actions may wait for.
    fn reach_anchors(&mut self) {
        if self.ready_at.is_none() && self.is_ready() {
            self.ready_at = Some(self.now);
            self.agenda.on_reached(Anchor::Ready, self.now);
        }
        while let Some(transfer) = self.flows[MAIN].ledger.book.take_completed() {
            self.agenda.on_reached(Anchor::Completed(transfer), self.now);
        }
    }

    /// When that came to pass, if it is known.
    fn reached_at(&self, anchor: Anchor) -> Option<Instant> {
        match anchor {
            Anchor::Start => Some(START),
            Anchor::Ready => self.ready_at,
            Anchor::Completed(transfer) => self.flows[MAIN].ledger.book.ended_at(transfer),
        }
    }

    fn perform(&mut self, action: Action) {
        let outcome = self.try_perform(action);
        let Err(refusal) = outcome else { return };
        if action.is_patient() && self.is_client_open() {
            self.agenda.add(self.now + PATIENCE, None, action);
        } else {
            self.refusals.push((self.elapsed(), refusal));
        }
    }

    fn try_perform(&mut self, action: Action) -> Result<(), String> {
        let now = self.now;
        if let Some(link) = action.disturbs() {
            self.network.on_disturbed(link, now);
        }
        match action {
            Action::Cut(link, way) => self.network.cut(link, way, now),
            Action::Shut(link, way) => self.network.shut(link, way, now),
            Action::Restore(link, way) => self.network.restore(link, way, now),
            Action::Rebind(link, rebinding) => self.network.rebind(link, rebinding),
            Action::Renumber(link) => self.network.renumber(link),
            Action::Attack(link, attacker) => self.network.attack(link, attacker),
            Action::Set(link, way, setting) => self.network.change(link, way, setting, now),
            Action::Transfer(transfer) => self.begin(transfer)?,
            Action::TransferLike(other) => {
                let transfer = self.plan_transfer(self.flows[MAIN].ledger.book.transfer(other).clone());
                self.begin(transfer)?;
            }
            Action::Datagrams(by, volley, link) => {
                let path = match link {
                    Some(link) => {
                        Some(self.client_app()?.path_on(link).ok_or("no path was opened on the link")?)
                    }
                    None => None,
                };
                let ends = self.flows[MAIN].ends.as_mut().ok_or("the world has not started")?;
                ends.end(by).send_datagrams(volley, path, now);
            }
            Action::OpenPath(link) => {
                let route = self.network.route(link, Role::Client);
                self.client_app()?.open_link(link, route);
            }
            Action::MigratePath(from, to) => {
                let path = self.client_app()?.path_on(from).ok_or("no path was opened on the link")?;
                let route = self.network.route(to, Role::Client);
                self.with(Role::Client, |connection| connection.migrate_path(path, route).map_err(shown))?;
                self.client_app()?.on_migrated(path, to);
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
            Action::Begin(competitor) => self.launch(competitor)?,
            Action::End(competitor) => {
                let ends = self.flows[competitor].ends.as_mut().ok_or("the competitor never began")?;
                let connection = ends.end(Role::Client).connection(now);
                connection.ok_or("the competitor is gone")?.close(0, b"as the scenario says");
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

    /// The client's application asks for a transfer.
    fn begin(&mut self, transfer: TransferId) -> Result<(), String> {
        self.flows[MAIN].ledger.book.on_asked(transfer, self.now);
        let planned = self.flows[MAIN].ledger.book.transfer(transfer);
        let ((upload_bytes, download_bytes), streams) = (planned.stream_bytes(), planned.stream_count());
        for _ in 0..streams {
            self.client_app()?.wish(Wish { upload_bytes, download_bytes, transfer: Some(transfer) });
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
        let ends = self.flows[MAIN].ends.as_mut().ok_or("the world has not started")?;
        let host = ends.end(role);
        let mut connection = host.connection(now).ok_or_else(|| format!("{role:?} has no connection"))?;
        ask(&mut connection)
    }

    fn client_app(&mut self) -> Result<&mut ClientApp, String> {
        self.flows[MAIN].client_app().ok_or_else(|| "no client".to_owned())
    }

    fn is_client_open(&self) -> bool {
        self.flows[MAIN].ends.as_ref().is_some_and(|ends| ends.client.closed().is_none())
    }

    /// Makes both endpoints and lets the client connect over the first link.
    fn start(&mut self) {
        if self.flows[MAIN].ends.is_some() {
            return;
        }
        if let Err(broken) = self.launch(MAIN).and_then(|()| self.turn()) {
            panic!("{}: {broken}", self.place());
        }
    }

    /// Makes both endpoints of a connection.
    fn launch(&mut self, number: usize) -> Result<(), String> {
        self.clock.set(self.now);
        let maker = Maker {
            seed: self.seed,
            setup: &self.setup,
            clock: &self.clock,
            network: &self.network,
            now: self.now,
        };
        self.flows[number].start(number, &maker)
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
fn link_report(network: &Network, flow: &Flow, link: LinkId) -> LinkReport {
    let (up, down) = (network.stats(link, Way::Up), network.stats(link, Way::Down));
    let mut paths: Vec<PathReport> = Vec::new();
    let Some(ends) = &flow.ends else { return LinkReport { up, down, paths } };
    let of_link = |host: &Host, role| {
        let on_link = |stats: &&braid_quic::PathStats| network.link_of(&stats.route, role) == Some(link);
        host.known_paths().iter().filter(on_link).cloned().collect::<Vec<_>>()
    };
    let client = of_link(&ends.client, Role::Client);
    let mut server = of_link(&ends.server, Role::Server);
    for stats in client {
        let other = server.iter().position(|other| other.id == stats.id).map(|at| server.remove(at));
        paths.push(PathReport { client: Some(stats), server: other });
    }
    paths.extend(server.into_iter().map(|stats| PathReport { client: None, server: Some(stats) }));
    LinkReport { up, down, paths }
}

fn shown(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
