//! The client: what a worker does with its share of the connections, from the first packet to the last number.
//!
//! Owns the phases of a run: connect and open paths, load, measure, stop. What a connection does is its `Job`
//! (`connection`), those that come and go are `churn`'s, when work begins in the open loop is `schedule`'s; paths are
//! `tracks`', those that follow interfaces `follow`'s, numbers are `measure`'s; the loop around it is the server's own
//! worker.

mod blackout;
pub(crate) mod churn;
mod connection;
mod exchange;
pub(crate) mod flow;
pub(crate) mod follow;
mod gate;
mod request;
pub(crate) mod schedule;
pub(crate) mod sockets;
mod task;
pub(crate) mod tls;
mod tracks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    CloseReason, ConnectError, ConnectionGuard, ConnectionKey, Endpoint, Event, Instant, LocalId, RouteId,
};
use braid_server::worker::{Application, close_all};
use braid_udp_uring::UdpSocket;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use self::blackout::Blackout;
use self::churn::Churn;
use self::connection::{Connection, Job, Stage};
use self::follow::Follow;
pub(crate) use self::gate::Gate;
use self::schedule::Schedule;
use self::task::Cpu;
pub(crate) use self::task::{Part, Spent, Task, WorkerResult};
pub(crate) use self::tracks::PathResult;
use self::tracks::Tracks;
use crate::arrivals::Arrivals;
use crate::load::Pace;
use crate::measure::{Measure, Window};

/// Handshakes that one worker has under way at once; more would only queue at the server.
const CONNECTING_MAX: usize = 64;
/// How often a worker looks at the gate and at missing paths.
const GATHER_EVERY: Duration = Duration::from_millis(5);
/// When a handshake that could not even begin is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// One worker's client.
pub(crate) struct Client {
    task: Arc<Task>,
    part: Part,
    phase: Phase,
    /// Those that work, then those that only stand there.
    connections: Vec<Connection>,
    /// Those that come and go.
    churn: Option<Churn<ConnectionKey>>,
    /// When work begins, in the open loop.
    schedule: Option<Schedule>,
    /// The connection whose turn it is in the open loop.
    turn: usize,
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

impl Client {
    /// A client that connects once over each entry of `routes`, with a path over each route. Handshakes that come and go
    /// take the first route of each entry that is not needed for a connection that stays.
    pub(crate) fn new(task: Arc<Task>, part: Part, mut routes: Vec<Vec<RouteId>>) -> Self {
        let closed_loop = task.load.pace == Pace::Closed;
        let churn = task.load.churns().then(|| {
            let slots = routes.drain(..part.connections).filter_map(|routes| routes.first().copied());
            Churn::new(slots.collect(), closed_loop)
        });
        let working = routes.len() - part.idle;
        let job = |index: usize| if index < working { Job::of(&task.load) } else { Job::Idle };
        let connections = routes.into_iter().map(Tracks::new).enumerate();
        let measure = Measure::new();
        Self {
            connections: connections.map(|(index, tracks)| Connection::new(tracks, job(index))).collect(),
            part,
            phase: Phase::Gather { next: Instant::ZERO },
            churn,
            schedule: None,
            turn: 0,
            by_key: HashMap::with_hasher(FixedState::default()),
            begun: 0,
            connecting: 0,
            blackout: Blackout::new(),
            follow: None,
            measure: if task.logs_latency { measure.with_intervals() } else { measure },
            moved_bytes: 0,
            cpu: Cpu::default(),
            task,
        }
    }

    /// The same, with paths that follow the interfaces.
    pub(crate) fn following(task: Arc<Task>, part: Part, follow: Follow) -> Self {
        let routes = vec![Vec::new(); part.standing(&task.load)];
        Self { follow: Some(follow), ..Self::new(task, part, routes) }
    }

    /// The numbers, once the run is over.
    pub(crate) fn into_result(self) -> WorkerResult {
        let paths = self.connections.iter().map(|connection| connection.tracks.results().collect());
        WorkerResult {
            paths: paths.collect(),
            spent: self.cpu.spent(),
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
        let mut config = self.task.config.clone();
        if matches!(self.connections[index].job, Job::Idle) {
            config.transport = Arc::clone(&self.task.idle_transport);
        }
        let name = self.task.server_name.clone();
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

    /// The load begins: all at once in the closed loop, by the clock in the open one.
    fn start(&mut self, endpoint: &mut Endpoint, start: Instant, now: Instant) {
        let (load, part) = (&self.task.load, self.part);
        if let Pace::Open { per_second, pattern } = load.pace {
            let share = part.connections as f64 / load.connections as f64;
            if share > 0.0 {
                let parts = (part.worker, part.workers);
                let arrivals = Arrivals::new(pattern, per_second * share, start, self.task.seed, parts);
                self.schedule = Some(Schedule::new(arrivals));
            }
        }
        self.each(endpoint, now, |connection, guard, measure| {
            if connection.stage == Stage::Standing {
                connection.job.fill(guard, now, measure);
            }
        });
    }

    /// Begins what is due in the open loop, and handshakes where others ended in the closed one. When to come back.
    fn begin_work(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        let Self { connections, churn, schedule, turn, task, measure, .. } = self;
        if let Some(schedule) = schedule {
            schedule.serve(now, measure, |intended, measure| match churn {
                Some(churn) => churn.begin(intended, measure, |route| dial(task, route, endpoint, now)),
                None => begin_somewhere(connections, turn, endpoint, (intended, now), measure),
            });
            return Some(schedule.next_at());
        }
        let churn = churn.as_mut().filter(|churn| churn.is_closed_loop())?;
        while churn.begin(now, measure, |route| dial(task, route, endpoint, now)) {}
        churn.has_room().then(|| now + RETRY_AFTER)
    }

    fn begin_measuring(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.each(endpoint, now, |connection, guard, _| connection.observe(guard));
        self.connections.iter_mut().for_each(|connection| connection.tracks.begin());
        self.cpu.begin();
    }

    fn end_measuring(&mut self, endpoint: &mut Endpoint, now: Instant) {
        self.cpu.end();
        self.each(endpoint, now, |connection, guard, _| connection.observe(guard));
        let Self { connections, churn, schedule, measure, .. } = self;
        if let Some(schedule) = schedule.take() {
            schedule.cut(now.min(measure.window().end()), measure);
        }
        for connection in connections {
            connection.job.on_over(now, measure);
        }
        if let Some(churn) = churn {
            churn.on_over(measure);
        }
    }

    /// The next step of the run, if it is time for it; and when to look again.
    fn step(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        loop {
            self.phase = match self.phase {
                Phase::Gather { next } => match self.task.gate.start() {
                    Some(start) => {
                        self.end_gathering();
                        let window = Window::new(start, self.task.load.warmup, self.task.load.duration);
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
                Phase::Ready { start, window } => {
                    self.start(endpoint, start, now);
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

    /// Something happened on a connection that comes and goes.
    fn on_churn(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: &Event, now: Instant) {
        let Some(churn) = &mut self.churn else { return };
        match event {
            Event::Confirmed => {
                let Some(mut guard) = endpoint.connection(key, now) else { return };
                churn.on_confirmed(key, guard.stats().resumed, now, &mut self.measure);
                guard.close(0, b"");
            }
            Event::Closed(reason) => churn.on_closed(key, reason, &mut self.measure),
            Event::Gone => churn.on_gone(),
            _ => {}
        }
    }

    /// A connection ended. Before the end of the run that is a failure of all its requests, or of itself.
    fn on_closed(&mut self, index: usize, reason: &CloseReason, now: Instant) {
        let connection = &mut self.connections[index];
        if connection.stage == Stage::Connecting {
            self.connecting -= 1;
        }
        let open = connection.job.on_connection_lost(now, &mut self.measure);
        if !matches!(self.phase, Phase::Over) && connection.lose(&self.task.gate) {
            self.measure.on_failed(open.max(1), &format!("connection lost: {reason}"));
        }
    }
}

impl Application for Client {
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant) {
        let Some(&index) = self.by_key.get(&key) else { return self.on_churn(endpoint, key, &event, now) };
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
            event => {
                self.moved_bytes += connection.job.on_event(&event, &mut guard, is_loading, now, measure);
            }
        }
    }

    fn on_turn(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        let moved_bytes = std::mem::take(&mut self.moved_bytes);
        if moved_bytes > 0 {
            self.task.gate.on_moved(moved_bytes);
        }
        let follow_at = self.follow(endpoint, now);
        let step_at = self.step(endpoint, now)?;
        let work_at = if self.is_loading() { self.begin_work(endpoint, now) } else { None };
        [follow_at, work_at, Some(step_at)].into_iter().flatten().min()
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

/// Begins a handshake over `route`.
fn dial(task: &Task, route: RouteId, endpoint: &mut Endpoint, now: Instant) -> Result<ConnectionKey, String> {
    let (config, name) = (task.config.clone(), task.server_name.clone());
    endpoint.connect(config, name, route, now).map_err(|error: ConnectError| error.to_string())
}

/// Begins a piece of work on the next connection that takes it; `false` if none does.
fn begin_somewhere(
    connections: &mut [Connection],
    turn: &mut usize,
    endpoint: &mut Endpoint,
    (intended, now): (Instant, Instant),
    measure: &mut Measure,
) -> bool {
    for _ in 0..connections.len() {
        *turn = if *turn + 1 < connections.len() { *turn + 1 } else { 0 };
        let connection = &mut connections[*turn];
        if !connection.works() {
            continue;
        }
        let Some(mut guard) = connection.key.and_then(|key| endpoint.connection(key, now)) else { continue };
        if connection.job.begin(intended, &mut guard, now, measure) {
            return true;
        }
    }
    false
}
