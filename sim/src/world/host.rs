//! One end of the network: an endpoint, its application and its socket, driven as a worker drives them.
//!
//! Owns one turn: receive, deadline, events, transmit. After each turn it checks what must hold: the endpoint's own
//! audit, no deadline in the past, and what `watch` sees. Knows no link's properties.

use std::collections::BTreeSet;
use std::time::Duration;

use braid_quic::{
    CloseReason, ConnectionGuard, ConnectionKey, ConnectionStats, Endpoint, Event, Fate, Instant, Outbox,
    PathId, PathStage, PathStats, Received, Role, RouteId, Train, TrainTag, Transmitted,
};

use super::apps::{ClientApp, ServerApp};
use super::datagrams::{DatagramLog, Volley};
use super::ledger::Ledger;
use super::report::EndReport;
use super::watch::Watch;
use crate::network::{Arrival, BUFFER_BYTES, Network};

/// An endpoint that is not quiet after this many rounds at one instant never will be.
const ROUNDS_MAX: u32 = 10_000;
/// A socket that was full has room again after this long.
const SOCKET_DRAINS_IN: Duration = Duration::from_micros(20);

/// Trouble of its link explains a path's being suspected for this many smoothed round trips, and a bit, afterwards.
const SUSPICION_RTTS: u32 = 3;
const SUSPICION_EXCUSED: Duration = Duration::from_millis(100);

/// How often an end suspected a path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspicions {
    pub(crate) all: u64,
    pub(crate) spurious: u64,
}

/// How an end's socket and clock behave, and how closely it is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Trains the socket takes in one turn.
    pub(crate) trains_max: usize,
    /// Whether the socket splits trains itself.
    pub(crate) segmentation: bool,
    /// Deadlines are served this much late, as a busy machine does.
    pub(crate) lateness: Duration,
    /// The endpoint's audit is called in every n-th turn.
    pub(crate) audit_every: u32,
    /// Packets may be forged, so content may be wrong and streams may break; only the rules of the protocol hold.
    pub(crate) forgery: bool,
}

/// The application of an end.
#[derive(Debug)]
pub(crate) enum App {
    Client(ClientApp),
    Server(ServerApp),
}

/// One end.
pub(crate) struct Host {
    role: Role,
    endpoint: Endpoint,
    app: App,
    manners: Manners,
    watch: Watch,
    buffer: Vec<u8>,
    key: Option<ConnectionKey>,
    closed: Option<CloseReason>,
    abandoned_any: bool,
    validated: BTreeSet<PathId>,
    /// Paths that were suspected since the last judgement.
    doubted: Vec<PathId>,
    suspicions: Suspicions,
    socket_ready_at: Option<Instant>,
    turns: u32,
    /// The last known numbers of the connection and of every path it had.
    stats: ConnectionStats,
    paths: Vec<PathStats>,
    datagrams: DatagramLog,
}

impl Host {
    pub(crate) fn new(endpoint: Endpoint, app: App, manners: Manners) -> Self {
        let role = match app {
            App::Client(_) => Role::Client,
            App::Server(_) => Role::Server,
        };
        Self {
            role,
            endpoint,
            app,
            manners,
            watch: Watch::new(role),
            buffer: vec![0; BUFFER_BYTES],
            key: None,
            closed: None,
            abandoned_any: false,
            validated: BTreeSet::new(),
            doubted: Vec::new(),
            suspicions: Suspicions::default(),
            socket_ready_at: None,
            turns: 0,
            stats: ConnectionStats::default(),
            paths: Vec::new(),
            datagrams: DatagramLog::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    pub(crate) fn client_app(&mut self) -> Option<&mut ClientApp> {
        match &mut self.app {
            App::Client(app) => Some(app),
            App::Server(_) => None,
        }
    }

    pub(crate) fn server_app(&self) -> Option<&ServerApp> {
        match &self.app {
            App::Client(_) => None,
            App::Server(app) => Some(app),
        }
    }

    /// The connection of this end is the one with `key`.
    pub(crate) fn on_key(&mut self, key: ConnectionKey) {
        self.key = Some(key);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.key.is_some() && self.closed.is_none()
    }

    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Whether this end has validated a path; that of the handshake needs no more than the handshake.
    pub(crate) fn has_validated(&self, path: PathId) -> bool {
        path == PathId::ZERO || self.validated.contains(&path)
    }

    /// This end's connection, while the endpoint knows it.
    pub(crate) fn connection(&mut self, now: Instant) -> Option<ConnectionGuard<'_>> {
        self.endpoint.connection(self.key?, now)
    }

    /// Sends datagrams, if there is a connection.
    pub(crate) fn send_datagrams(&mut self, volley: Volley, on_path: Option<PathId>, now: Instant) {
        let Self { endpoint, datagrams, key, .. } = self;
        if let Some(mut connection) = key.and_then(|key| endpoint.connection(key, now)) {
            datagrams.send(&mut connection, volley, on_path);
        }
    }

    /// What became of this end's datagrams and arrived at it.
    pub(crate) fn datagrams(&self) -> &DatagramLog {
        &self.datagrams
    }

    /// When this end wants to be visited.
    pub(crate) fn wakes_at(&mut self) -> Option<Instant> {
        let deadline = self.endpoint.deadline().map(|at| at + self.manners.lateness);
        [deadline, self.socket_ready_at].into_iter().flatten().min()
    }

    /// Hands a buffer to the endpoint.
    pub(crate) fn receive(&mut self, arrival: &mut Arrival, now: Instant) {
        self.watch.on_received(arrival.route, &arrival.bytes, arrival.segment_size);
        let Arrival { route, bytes, segment_size, ecn, .. } = arrival;
        let (route, segment_size, ecn) = (*route, *segment_size, *ecn);
        self.endpoint.receive(Received { bytes, segment_size, route, ecn }, now);
    }

    /// One visit: deadline, events, transmit, until the endpoint is quiet; then the checks.
    pub(crate) fn turn(
        &mut self,
        network: &mut Network,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        self.socket_ready_at = None;
        let mut trains_left = self.manners.trains_max;
        for _ in 0..ROUNDS_MAX {
            if self.endpoint.deadline().is_some_and(|at| at <= now) {
                self.endpoint.on_deadline(now);
            }
            self.take_events(ledger, now)?;
            self.judge_suspicions(network, now);
            let quiet = self.transmit(network, &mut trains_left, now)?;
            if self.socket_ready_at.is_some() || quiet {
                return self.check(now);
            }
        }
        Err(format!("{:?} does not become quiet", self.role))
    }

    /// The latest numbers of every path this end has had.
    pub(crate) fn path_stats(&mut self, now: Instant) -> &[PathStats] {
        self.note_paths(now);
        &self.paths
    }

    /// Those numbers as they were when they were last asked for.
    pub(crate) fn known_paths(&self) -> &[PathStats] {
        &self.paths
    }

    pub(crate) fn report(&mut self, now: Instant) -> EndReport {
        self.note_paths(now);
        EndReport {
            connections: self.endpoint.connections().count(),
            stats: self.stats,
            closed: self.closed.clone(),
            suspicions: self.suspicions,
        }
    }

    fn take_events(&mut self, ledger: &mut Ledger, now: Instant) -> Result<(), String> {
        while let Some((key, event)) = self.endpoint.next_event() {
            self.on_event(key, &event, ledger, now)?;
        }
        let wants_turn = matches!(&self.app, App::Client(app) if app.wants_turn());
        if wants_turn && self.is_open() {
            let Some(mut connection) = self.key.and_then(|key| self.endpoint.connection(key, now)) else {
                return Ok(());
            };
            if let App::Client(app) = &mut self.app {
                app.on_turn(&mut connection, ledger, now)?;
            }
        }
        Ok(())
    }

    /// Finds out which suspicions had no reason.
    fn judge_suspicions(&mut self, network: &Network, now: Instant) {
        if self.doubted.is_empty() {
            return;
        }
        self.note_paths(now);
        for path in std::mem::take(&mut self.doubted) {
            self.suspicions.all += 1;
            let Some(stats) = self.paths.iter().find(|stats| stats.id == path) else { continue };
            let patience = stats.rtt_smoothed.unwrap_or_default() * SUSPICION_RTTS + SUSPICION_EXCUSED;
            let since = Instant::ZERO + now.since(Instant::ZERO).saturating_sub(patience);
            let link = network.link_of(&stats.route, self.role);
            self.suspicions.spurious +=
                u64::from(link.is_some_and(|link| !network.is_disturbed(link, since)));
        }
    }

    fn on_event(
        &mut self,
        key: ConnectionKey,
        event: &Event,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        match event {
            Event::Connected { .. } if self.key.is_none() => self.key = Some(key),
            Event::PathAbandoned { .. } => {
                self.abandoned_any = true;
                self.note_paths(now);
            }
            Event::PathSuspect(path) => self.doubted.push(*path),
            Event::PathValidated(path) => self.on_validated(key, *path, now),
            Event::Closed(reason) => {
                self.note_paths(now);
                if self.key == Some(key) {
                    self.closed = Some(reason.clone());
                }
                if let App::Server(app) = &mut self.app {
                    app.on_closed(key);
                }
                return Ok(());
            }
            _ => {}
        }
        let Some(mut connection) = self.endpoint.connection(key, now) else { return Ok(()) };
        let outcome = match &mut self.app {
            App::Client(app) => app.on_event(&mut connection, event, ledger, now),
            App::Server(app) => app.on_event(&mut connection, key, event, ledger, now),
        };
        let outcome = outcome.and_then(|()| self.datagrams.on_event(&mut connection, event));
        if self.manners.forgery { Ok(()) } else { outcome }
    }

    fn on_validated(&mut self, key: ConnectionKey, path: PathId, now: Instant) {
        let stats = self.endpoint.connection(key, now).and_then(|connection| connection.path_stats(path));
        if self.key == Some(key) {
            self.validated.insert(path);
        }
        if let Some(stats) = stats {
            self.watch.on_proven(stats.route);
        }
    }

    /// Lets the endpoint send; true when it has nothing more to do now.
    fn transmit(
        &mut self,
        network: &mut Network,
        trains_left: &mut usize,
        now: Instant,
    ) -> Result<bool, String> {
        self.silence_leaving_paths(now);
        self.prove_addresses(now);
        let mut port = Port {
            network,
            watch: &mut self.watch,
            buffer: &mut self.buffer,
            role: self.role,
            segmentation: self.manners.segmentation,
            trains_left,
            sent: 0,
            fates: Vec::new(),
            violation: None,
            now,
        };
        let outcome = self.endpoint.transmit(&mut port, now);
        let Port { sent, fates, violation, .. } = port;
        if let Some(violation) = violation {
            return Err(violation);
        }
        let quiet = sent == 0 && fates.is_empty() && matches!(outcome, Transmitted::Done);
        for (tag, fate) in fates {
            self.endpoint.on_fate(tag, fate, now);
        }
        if matches!(outcome, Transmitted::OutboxFull) {
            self.socket_ready_at = Some(now + SOCKET_DRAINS_IN);
        }
        Ok(quiet)
    }

    /// Tells the watch which addresses the endpoint holds for proven: not every proof is an event.
    fn prove_addresses(&mut self, now: Instant) {
        if !self.watch.doubts_any() {
            return;
        }
        let Some(connection) = self.key.and_then(|key| self.endpoint.connection(key, now)) else { return };
        self.watch.believe(|route| connection.is_proven(route));
    }

    /// Tells the watch which routes carry only paths that are leaving.
    fn silence_leaving_paths(&mut self, now: Instant) {
        if !self.abandoned_any {
            return;
        }
        let mut stages = Vec::new();
        if let Some(connection) = self.connection(now) {
            for path in connection.paths() {
                let Some(stats) = connection.path_stats(path) else { continue };
                stages.push((stats.route, stats.stage == PathStage::Leaving));
            }
        }
        let any = |route: &RouteId, leaving: bool| {
            stages.iter().any(|(of, stage)| *stage == leaving && of.matches(route))
        };
        self.watch.silence(|route| any(route, true) && !any(route, false));
    }

    fn check(&mut self, now: Instant) -> Result<(), String> {
        let role = self.role;
        if self.socket_ready_at.is_none()
            && let Some(deadline) = self.endpoint.deadline().filter(|&at| at <= now)
        {
            return Err(format!(
                "{role:?} was served and had room to send, but its deadline is {deadline:?}"
            ));
        }
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(self.manners.audit_every) {
            self.endpoint.audit().map_err(|what| format!("{role:?} fails its audit: {what}"))?;
        }
        Ok(())
    }

    /// Remembers the numbers of all paths, which the endpoint forgets with the paths.
    fn note_paths(&mut self, now: Instant) {
        let Some(connection) = self.key.and_then(|key| self.endpoint.connection(key, now)) else { return };
        self.stats = connection.stats();
        for path in connection.paths() {
            let Some(stats) = connection.path_stats(path) else { continue };
            match self.paths.iter_mut().find(|known| known.id == path) {
                Some(known) => *known = stats,
                None => self.paths.push(stats),
            }
        }
    }
}

/// The outbox that an endpoint sends through.
struct Port<'a> {
    network: &'a mut Network,
    watch: &'a mut Watch,
    buffer: &'a mut Vec<u8>,
    role: Role,
    segmentation: bool,
    trains_left: &'a mut usize,
    sent: usize,
    fates: Vec<(TrainTag, Fate)>,
    violation: Option<String>,
    now: Instant,
}

impl Outbox for Port<'_> {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        (*self.trains_left > 0).then_some(&mut self.buffer[..])
    }

    fn send(&mut self, train: Train) {
        *self.trains_left -= 1;
        self.sent += 1;
        let fate = match self.hand_over(&train) {
            Ok(fate) => fate,
            Err(violation) => {
                self.violation.get_or_insert(violation);
                return;
            }
        };
        if fate != Fate::Sent {
            self.fates.push((train.tag, fate));
            return;
        }
        if !self.segmentation && train.bytes > train.segment_size {
            self.fates.push((train.tag, Fate::NoSegmentation));
        }
    }
}

impl Port<'_> {
    /// Puts a train on its link, under the eyes of the watch.
    fn hand_over(&mut self, train: &Train) -> Result<Fate, String> {
        let link = self.network.link_for(self.role, train)?;
        let local = self.network.route(link, self.role).local();
        let route = RouteId::new(train.local_id, local, train.remote);
        let fate = self.network.send(self.role, link, train, self.buffer, self.now);
        if fate == Fate::Sent {
            self.watch.on_train(route, train, self.buffer)?;
        }
        Ok(fate)
    }
}
