//! The client: what a worker does with its share of the connections, from the first packet to the last number.
//!
//! Owns the phases of a run: connect and open paths, load, measure, stop. Requests are `exchange`'s, paths are `tracks`',
//! those that come and go with interfaces are `follow`'s, numbers are `measure`'s; the loop around it is the server's own
//! worker.

mod blackout;
mod exchange;
pub(crate) mod follow;
mod gate;
mod request;
pub(crate) mod sockets;
pub(crate) mod tls;
mod tracks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ClientConfig, CloseReason, ConnectionGuard, ConnectionKey, Endpoint, Event, Instant, LocalId, RouteId,
};
use braid_server::worker::{Application, close_all};
use braid_udp_uring::UdpSocket;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rustls_pki_types::ServerName;

use self::blackout::Blackout;
use self::exchange::{Exchange, Fault};
use self::follow::Follow;
pub(crate) use self::gate::Gate;
pub(crate) use self::tracks::PathResult;
use self::tracks::Tracks;
use crate::cpu;
use crate::measure::{Measure, Window};
use crate::plan::{Kill, Shape};

/// Handshakes that one worker has under way at once; more would only queue at the server.
const CONNECTING_MAX: usize = 64;
/// How long a connection waits for its paths before it goes without the missing ones.
const PATHS_PATIENCE: Duration = Duration::from_secs(2);
/// How often a worker looks at the gate and at missing paths.
const GATHER_EVERY: Duration = Duration::from_millis(5);

/// What all workers of a run have in common.
pub(crate) struct Task {
    pub(crate) config: ClientConfig,
    pub(crate) server_name: ServerName<'static>,
    pub(crate) shape: Shape,
    pub(crate) streams: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) kills: Vec<Kill>,
    /// The handshake races over the routes of all paths that begin or end elsewhere.
    pub(crate) races: bool,
    pub(crate) gate: Gate,
}

/// One worker's client.
pub(crate) struct Client {
    task: Arc<Task>,
    phase: Phase,
    connections: Vec<Connection>,
    by_key: HashMap<ConnectionKey, usize, FixedState>,
    /// Connections before this one were begun.
    begun: usize,
    connecting: usize,
    blackout: Blackout,
    /// Opens and gives up the paths, where they follow the interfaces.
    follow: Option<Follow>,
    measure: Measure,
    moved_bytes: u64,
    cpu: Cpu,
}

/// Where in the run a worker is.
#[derive(Clone, Copy)]
enum Phase {
    /// Connections and paths come up.
    Gather {
        next: Instant,
    },
    /// All know when the load starts.
    Ready {
        start: Instant,
        window: Window,
    },
    /// Load that is not measured yet.
    WarmUp {
        window: Window,
    },
    Measure {
        window: Window,
    },
    Over,
}

struct Connection {
    key: Option<ConnectionKey>,
    stage: Stage,
    tracks: Tracks,
    exchange: Exchange,
}

/// Where in its life a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// It waits for its paths, at most until then.
    Opening {
        until: Instant,
    },
    Standing,
    Over,
}

/// CPU seconds of this worker's thread.
#[derive(Default)]
struct Cpu {
    begin: Option<f64>,
    end: Option<f64>,
}

/// What a worker has to say at the end.
pub(crate) struct WorkerResult {
    pub(crate) measure: Measure,
    /// By connection, then by path.
    pub(crate) paths: Vec<Vec<PathResult>>,
    pub(crate) cpu_s: Option<f64>,
    /// A local address that could not be used, and why.
    pub(crate) complaint: Option<String>,
}

impl Client {
    /// A client that connects once over each entry of `routes`, with a path over each route.
    pub(crate) fn new(task: Arc<Task>, routes: Vec<Vec<RouteId>>) -> Self {
        let connection = |routes| Connection {
            key: None,
            stage: Stage::Connecting,
            tracks: Tracks::new(routes),
            exchange: Exchange::new(task.shape, task.streams),
        };
        Self {
            connections: routes.into_iter().map(connection).collect(),
            task,
            phase: Phase::Gather { next: Instant::ZERO },
            by_key: HashMap::with_hasher(FixedState::default()),
            begun: 0,
            connecting: 0,
            blackout: Blackout::new(),
            follow: None,
            measure: Measure::new(),
            moved_bytes: 0,
            cpu: Cpu::default(),
        }
    }

    /// A client with so many connections, whose paths follow the interfaces.
    pub(crate) fn following(task: Arc<Task>, follow: Follow, connections: usize) -> Self {
        Self { follow: Some(follow), ..Self::new(task, vec![Vec::new(); connections]) }
    }

    /// The numbers, once the run is over.
    pub(crate) fn into_result(self) -> WorkerResult {
        let paths = self.connections.iter().map(|connection| connection.tracks.results().collect());
        WorkerResult {
            paths: paths.collect(),
            cpu_s: self.cpu.begin.zip(self.cpu.end).map(|(begin, end)| end - begin),
            measure: self.measure,
            complaint: self.follow.and_then(Follow::complaint),
        }
    }

    /// Begins connections as long as few are under way, and asks again for missing paths.
    fn gather(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.connect(endpoint, now);
        for index in 0..self.begun {
            let connection = &mut self.connections[index];
            let Stage::Opening { until } = connection.stage else { continue };
            let Some(mut guard) = connection.key.and_then(|key| endpoint.connection(key, now)) else {
                continue;
            };
            connection.tracks.open_missing(&mut guard);
            connection.settle_if_complete(&self.task.gate);
            if connection.stage != Stage::Standing && until <= now {
                self.task.gate.on_without_all_paths();
                connection.settle(&self.task.gate);
            }
        }
    }

    fn connect(&mut self, endpoint: &mut Endpoint, now: Instant) {
        while self.connecting < CONNECTING_MAX && self.begun < self.connections.len() {
            let index = self.begun;
            self.begun += 1;
            match self.connect_one(index, endpoint, now) {
                Ok(key) => {
                    self.connections[index].key = Some(key);
                    self.by_key.insert(key, index);
                    self.connecting += 1;
                }
                Err(why) => {
                    self.measure.on_failed(1, &why);
                    self.connections[index].lose(&self.task.gate);
                }
            }
        }
    }

    fn connect_one(
        &mut self,
        index: usize,
        endpoint: &mut Endpoint,
        now: Instant,
    ) -> Result<ConnectionKey, String> {
        let routes = match &mut self.follow {
            Some(follow) => {
                follow.on_begun();
                follow.handshake_routes(index)
            }
            None => self.connections[index].tracks.handshake_routes(),
        };
        let (first, rivals) = routes.ok_or("no interface can reach the target")?;
        let rivals = if self.task.races { &rivals[..] } else { &[] };
        let (config, name) = (self.task.config.clone(), self.task.server_name.clone());
        endpoint.connect_over(config, name, (first, rivals), now).map_err(|error| error.to_string())
    }

    /// Lets those path managers act whose time it is. When to come back.
    fn follow(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        let follow = self.follow.as_mut()?;
        let look_at = follow.look(now);
        if follow.act_at() <= now {
            let mut next = Instant::NEVER;
            for (index, connection) in self.connections.iter_mut().enumerate() {
                if let Some(mut guard) = connection.key.and_then(|key| endpoint.connection(key, now)) {
                    next = next.min(follow.act(index, &mut guard, now));
                    connection.tracks.adopt(&guard);
                }
            }
            follow.on_all_acted(next);
        }
        Some(look_at.min(follow.act_at()))
    }

    /// Lets every connection do the same, if it is still there.
    fn each(
        &mut self,
        endpoint: &mut Endpoint,
        now: Instant,
        mut act: impl FnMut(&mut Connection, &mut ConnectionGuard<'_>, &mut Measure),
    ) {
        for connection in &mut self.connections {
            if let Some(mut guard) = connection.key.and_then(|key| endpoint.connection(key, now)) {
                act(connection, &mut guard, &mut self.measure);
            }
        }
    }

    /// The others wait no longer: what does not stand by now has failed, and missing paths stay missing.
    fn end_gathering(&mut self) {
        for connection in &mut self.connections {
            match connection.stage {
                Stage::Connecting => {
                    self.measure.on_failed(1, "the connection did not come up in time");
                    connection.lose(&self.task.gate);
                }
                Stage::Opening { .. } => {
                    self.task.gate.on_without_all_paths();
                    connection.settle(&self.task.gate);
                }
                Stage::Standing | Stage::Over => {}
            }
        }
    }

    fn start(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.each(endpoint, now, |connection, guard, measure| {
            if connection.stage == Stage::Standing {
                connection.exchange.fill(guard, now, measure);
            }
        });
    }

    fn begin_measuring(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.each(endpoint, now, |connection, guard, _| connection.observe(guard));
        self.connections.iter_mut().for_each(|connection| connection.tracks.begin());
        self.cpu.begin = cpu::thread_seconds();
    }

    fn end_measuring(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.cpu.end = cpu::thread_seconds();
        self.each(endpoint, now, |connection, guard, _| connection.observe(guard));
        self.connections.iter_mut().for_each(|connection| connection.exchange.cut(now, &mut self.measure));
    }

    /// The next step of the run, if it is time for it; and when to look again.
    fn step(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        loop {
            self.phase = match self.phase {
                Phase::Gather { next } => match self.task.gate.start() {
                    Some(start) => {
                        self.end_gathering();
                        let window = Window::new(start, self.task.warmup, self.task.duration);
                        self.measure.open(window);
                        let tracks = self.connections.iter().map(|connection| &connection.tracks);
                        let sockets = tracks.flat_map(|tracks| tracks.sockets().zip(0..));
                        self.blackout.arm(&self.task.kills, sockets, window.begin());
                        Phase::Ready { start, window }
                    }
                    None if now < next => return Some(next),
                    None => {
                        self.gather(endpoint, now);
                        Phase::Gather { next: now + GATHER_EVERY }
                    }
                },
                Phase::Ready { start, .. } if now < start => return Some(start),
                Phase::Ready { window, .. } => {
                    self.start(endpoint, now);
                    Phase::WarmUp { window }
                }
                Phase::WarmUp { window } if now < window.begin() => return Some(window.begin()),
                Phase::WarmUp { window } => {
                    self.begin_measuring(endpoint, now);
                    Phase::Measure { window }
                }
                Phase::Measure { window } if now < window.end() => {
                    return Some(window.end().min(self.blackout.on_time(now)));
                }
                Phase::Measure { .. } => {
                    self.end_measuring(endpoint, now);
                    Phase::Over
                }
                Phase::Over => return None,
            };
        }
    }

    fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::WarmUp { .. } | Phase::Measure { .. })
    }

    /// A connection ended. Before the end of the run that is a failure of all its requests, or of itself.
    fn on_closed(&mut self, index: usize, reason: &CloseReason, now: Instant) {
        let connection = &mut self.connections[index];
        if connection.stage == Stage::Connecting {
            self.connecting -= 1;
        }
        let open = connection.exchange.on_connection_lost(now, &mut self.measure);
        if !matches!(self.phase, Phase::Over) && connection.lose(&self.task.gate) {
            self.measure.on_failed(open.max(1), &format!("connection lost: {reason}"));
        }
    }
}

impl Application for Client {
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant) {
        let Some(&index) = self.by_key.get(&key) else { return };
        if let Some(follow) = &mut self.follow {
            follow.on_event(index, &event, now);
        }
        match &event {
            Event::Closed(reason) => {
                if let Some(guard) = endpoint.connection(key, now) {
                    self.connections[index].observe(&guard);
                }
                return self.on_closed(index, reason, now);
            }
            Event::Gone => {
                self.by_key.remove(&key);
                self.connections[index].key = None;
                return;
            }
            _ => {}
        }
        let (is_loading, is_over) = (self.is_loading(), matches!(self.phase, Phase::Over));
        let follows = self.follow.is_some();
        let (connection, measure, task) = (&mut self.connections[index], &mut self.measure, &*self.task);
        let Some(mut guard) = endpoint.connection(key, now) else { return };
        match event {
            Event::Confirmed => {
                self.connecting -= usize::from(connection.stage == Stage::Connecting);
                connection.on_confirmed(&mut guard, follows, &task.gate, now);
            }
            Event::PathValidated(path) => {
                connection.tracks.on_validated(path);
                connection.settle_if_complete(&task.gate);
            }
            Event::PathAbandoned { path, .. } => {
                connection.tracks.on_abandoned(path, &guard);
                connection.settle_if_complete(&task.gate);
            }
            Event::PathClosed { stats } if !is_over => connection.tracks.on_closed(&stats),
            Event::Readable(stream) => {
                self.moved_bytes += connection.exchange.on_readable(stream, &mut guard, now, measure);
            }
            Event::Writable(stream) => {
                self.moved_bytes += connection.exchange.on_writable(stream, &mut guard, now, measure);
            }
            Event::Finished(stream) => connection.exchange.on_delivered(stream, &mut guard, now, measure),
            Event::Stopped { stream, code } => {
                connection.exchange.on_fault(stream, Fault::Stopped(code), &mut guard, now, measure);
            }
            Event::StreamsAvailable if is_loading => connection.exchange.fill(&mut guard, now, measure),
            _ => {}
        }
    }

    fn on_turn(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        let moved_bytes = std::mem::take(&mut self.moved_bytes);
        if moved_bytes > 0 {
            self.task.gate.on_moved(moved_bytes);
        }
        let follow_at = self.follow(endpoint, now);
        let step_at = self.step(endpoint, now)?;
        Some(follow_at.map_or(step_at, |at| at.min(step_at)))
    }

    fn take_socket(&mut self) -> Option<UdpSocket> {
        self.follow.as_mut()?.take_socket()
    }

    #[inline]
    fn passes(&self, local: LocalId, _remote: SocketAddr) -> bool {
        self.blackout.passes(local)
    }

    fn on_stop(&mut self, endpoint: &mut Endpoint, now: Instant) {
        if matches!(self.phase, Phase::Measure { .. }) {
            self.end_measuring(endpoint, now);
        }
        self.phase = Phase::Over;
        close_all(endpoint, now);
    }
}

impl Connection {
    /// Notes what was counted so far. Of a connection that is over the last numbers stay.
    fn observe(&mut self, guard: &ConnectionGuard<'_>) {
        if self.stage != Stage::Over {
            self.tracks.observe(guard);
        }
    }

    /// The handshake is through; only now may further paths be opened.
    fn on_confirmed(&mut self, guard: &mut ConnectionGuard<'_>, follows: bool, gate: &Gate, now: Instant) {
        if self.stage != Stage::Connecting {
            return;
        }
        self.stage = Stage::Opening { until: now + PATHS_PATIENCE };
        if (follows || self.tracks.len() > 1) && !guard.multipath() {
            gate.on_without_multipath();
            self.settle(gate);
            return;
        }
        if !follows {
            self.tracks.on_confirmed(guard);
            self.tracks.open_missing(guard);
            self.settle_if_complete(gate);
        }
    }

    fn settle_if_complete(&mut self, gate: &Gate) {
        if matches!(self.stage, Stage::Opening { .. }) && self.tracks.all_stand() {
            self.settle(gate);
        }
    }

    /// It will get no more paths.
    fn settle(&mut self, gate: &Gate) {
        self.stage = Stage::Standing;
        gate.on_settled();
    }

    /// It is over; `false` if that was known.
    fn lose(&mut self, gate: &Gate) -> bool {
        let before = std::mem::replace(&mut self.stage, Stage::Over);
        if matches!(before, Stage::Connecting | Stage::Opening { .. }) {
            gate.on_settled();
        }
        let news = before != Stage::Over;
        if news {
            self.tracks.on_lost();
            gate.on_lost();
        }
        news
    }
}
