//! The relay's only thread: sockets in, links, sockets out, all on one clock.
//!
//! Owns the order of a turn: obey, receive, send what is due, wait. Reads the clock when it wakes and before it sends.
//! What a link does to a datagram is `pipe`'s, clients are `sessions`', words are `command`'s.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use braid_quic::Instant;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::clock::RealClock;
use super::command::{Command, Which};
use super::departures::{Departures, Leg};
use super::ends::{End, Inbox, SOCKET_BUFFER_BYTES};
use super::pipe::Pipe;
use super::sessions::{Newcomer, SESSIONS_MAX, SessionId, Sessions};
use super::settings::Change;
use super::stats::{Applied, Lateness, PathStats, RelayStats, SCHEMA};
use super::{Message, PATHS_MAX, RelayConfig, RelayError, RelayPath, SCRIPT_MAX, system};
use crate::network::Way;
use crate::rng::Rng;

/// Ready sockets that one turn serves.
const EVENTS_MAX: usize = 256;
/// Datagrams that one turn sends before it looks for new ones again.
const SENDS_MAX: usize = 512;
/// The waker's name in the poll; listeners follow from here on, sessions start at 0.
const WAKER: u64 = 1 << 32;
const LISTENERS: u64 = WAKER + 1;

/// Everything that the thread has.
pub(super) struct Engine {
    clock: RealClock,
    poll: OwnedFd,
    waker: Arc<OwnedFd>,
    messages: Receiver<Message>,
    paths: Vec<Path>,
    sessions: Sessions,
    departures: Departures,
    script: Script,
    late: Lateness,
    applied: VecDeque<Applied>,
    warnings: Vec<String>,
}

/// One path.
struct Path {
    listener: End,
    listen: SocketAddr,
    target: SocketAddr,
    source: Option<IpAddr>,
    up: Pipe,
    down: Pipe,
    crowded: u64,
    rebinds: u64,
}

/// Commands that wait for their time, which counts from the first datagram.
struct Script {
    commands: VecDeque<(Duration, Command)>,
    start: Option<Instant>,
}

impl Engine {
    pub(super) fn new(
        config: RelayConfig,
        waker: Arc<OwnedFd>,
        messages: Receiver<Message>,
    ) -> Result<Self, RelayError> {
        check(&config)?;
        let poll = epoll::create(CreateFlags::CLOEXEC).map_err(system)?;
        watch(&poll, &*waker, WAKER).map_err(RelayError::System)?;
        let mut paths = Vec::with_capacity(config.paths.len());
        for (number, path) in config.paths.iter().enumerate() {
            let path = Path::bind(path, number, config.seed)?;
            watch(&poll, &path.listener.socket, LISTENERS + number as u64).map_err(RelayError::System)?;
            paths.push(path);
        }
        let given = paths[0].listener.receive_buffer_bytes().map_err(RelayError::System)?;
        let short = (given < SOCKET_BUFFER_BYTES).then(|| {
            format!(
                "the system gives sockets {given} bytes of {SOCKET_BUFFER_BYTES}, and may drop datagrams that \
                 nobody counts: raise net.core.rmem_max"
            )
        });
        Ok(Self {
            clock: RealClock::new(),
            poll,
            waker,
            messages,
            paths,
            sessions: Sessions::new(SESSIONS_MAX),
            departures: Departures::default(),
            script: Script::new(config.script),
            late: Lateness::default(),
            applied: VecDeque::new(),
            warnings: short.into_iter().collect(),
        })
    }

    pub(super) fn listens(&self) -> Vec<SocketAddr> {
        self.paths.iter().map(|path| path.listen).collect()
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Relays until told to stop; returns the last numbers.
    pub(super) fn run(mut self) -> RelayStats {
        let mut inbox = Inbox::new();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while self.obey() {
            self.follow_script();
            self.send_due();
            self.wait(&mut events);
            let now = self.clock.now();
            for event in events.drain(..) {
                match event.data.u64() {
                    WAKER => drop(rustix::io::read(&*self.waker, &mut [0_u8; 8])),
                    listener @ LISTENERS.. => {
                        self.receive_up((listener - LISTENERS) as usize, &mut inbox, now);
                    }
                    session => self.receive_down(SessionId(session), &mut inbox, now),
                }
            }
        }
        self.stats()
    }

    /// Answers what was asked; `false` when that was to stop.
    fn obey(&mut self) -> bool {
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Do(command, answer) => drop(answer.send(self.apply(&command))),
                Message::Describe(answer) => drop(answer.send(self.stats())),
                Message::Stop => return false,
            }
        }
        true
    }

    fn follow_script(&mut self) {
        while let Some(command) = self.script.take_due(self.clock.now()) {
            let _ = self.apply(&command); // what became of it is in `applied`
        }
    }

    fn apply(&mut self, command: &Command) -> Result<(), String> {
        let result = self.perform(command);
        let told = match &result {
            Ok(()) => command.to_string(),
            Err(sentence) => format!("{command}: {sentence}"),
        };
        if self.applied.len() == SCRIPT_MAX {
            self.applied.pop_front();
        }
        self.applied.push_back(Applied { at_s: self.clock.elapsed().as_secs_f64(), command: told });
        result
    }

    fn perform(&mut self, command: &Command) -> Result<(), String> {
        let now = self.clock.now();
        match command {
            Command::Cut(which, ways) => {
                for number in self.chosen(*which)? {
                    ways.iter().for_each(|way| self.paths[number].pipe(way).cut(now));
                }
            }
            Command::Restore(which, ways) => {
                for number in self.chosen(*which)? {
                    ways.iter().for_each(|way| self.paths[number].pipe(way).restore(now));
                }
            }
            Command::Set(which, changes) => {
                for number in self.chosen(*which)? {
                    for &change in changes {
                        self.set(number, change, now);
                    }
                }
            }
            Command::Rebind { path, client, source } => {
                for number in self.chosen(*path)? {
                    self.rebind(number, *client, *source)?;
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, number: usize, change: Change, now: Instant) {
        for way in change.ways().iter() {
            let pipe = self.paths[number].pipe(way);
            if let Some(stretch) = pipe.set(change, now) {
                pipe.on_postponed(self.departures.postpone(number, way, stretch));
            }
        }
    }

    fn chosen(&self, which: Which) -> Result<std::ops::Range<usize>, String> {
        match which {
            Which::All => Ok(0..self.paths.len()),
            Which::One(path) if path < self.paths.len() => Ok(path..path + 1),
            Which::One(path) => Err(format!("there is no path {path}; the last is {}", self.paths.len() - 1)),
        }
    }

    fn rebind(
        &mut self,
        number: usize,
        client: Option<SocketAddr>,
        source: Option<IpAddr>,
    ) -> Result<(), String> {
        let path = &mut self.paths[number];
        let source = source.or(path.source);
        let ids = self.sessions.of(number, client);
        if let (Some(client), true) = (client, ids.is_empty()) {
            return Err(format!("path {number} has no client {client}"));
        }
        for id in ids {
            let failed = |error| format!("no new socket for path {number}: {error}");
            if let Some((before, after)) = self.sessions.rebind(id, path.target, source).map_err(failed)? {
                epoll::delete(&self.poll, &before.socket).map_err(|error| failed(error.into()))?;
                watch(&self.poll, &after.socket, id.0).map_err(failed)?;
                path.rebinds += 1;
            }
        }
        path.source = source;
        Ok(())
    }

    /// Takes what clients sent.
    fn receive_up(&mut self, number: usize, inbox: &mut Inbox, now: Instant) {
        if self.paths[number].listener.receive(inbox).is_err() {
            return;
        }
        for (meta, datagram) in inbox.datagrams() {
            self.script.start.get_or_insert(now);
            let found = self.sessions.find(number, meta.addr, now);
            let Some(session) = found.or_else(|| self.greet(number, meta.addr, meta.dst_ip, now)) else {
                self.paths[number].crowded += 1;
                continue;
            };
            let leg = Leg { path: number, way: Way::Up, session, ecn: meta.ecn };
            carry(&mut self.paths[number].up, &mut self.departures, leg, datagram, now);
        }
    }

    /// Gives a new client its session, if there is room and the system has a socket for it.
    fn greet(
        &mut self,
        path: usize,
        client: SocketAddr,
        local: Option<IpAddr>,
        now: Instant,
    ) -> Option<SessionId> {
        let Path { target, source, .. } = self.paths[path];
        let newcomer = Newcomer { path, client, local, target, source };
        let (id, session) = self.sessions.add(newcomer, now)?;
        if watch(&self.poll, &session.upstream.socket, id.0).is_err() {
            self.sessions.remove(id);
            return None;
        }
        Some(id)
    }

    /// Takes what the server sent to one client.
    fn receive_down(&mut self, session: SessionId, inbox: &mut Inbox, now: Instant) {
        let Some(found) = self.sessions.get(session) else { return };
        let number = found.path;
        if found.upstream.receive(inbox).is_err() {
            return;
        }
        self.sessions.touch(session, now);
        for (meta, datagram) in inbox.datagrams() {
            let leg = Leg { path: number, way: Way::Down, session, ecn: meta.ecn };
            carry(&mut self.paths[number].down, &mut self.departures, leg, datagram, now);
        }
    }

    /// Hands what has arrived by now to the system.
    fn send_due(&mut self) {
        let now = self.clock.now();
        for _ in 0..SENDS_MAX {
            let Some(due) = self.departures.take_due(now) else { return };
            self.late.note(due.at, now);
            let leg = due.leg;
            let path = &mut self.paths[leg.path];
            let bytes = due.bytes.len() as u64;
            let pipe = match leg.way {
                Way::Up => &mut path.up,
                Way::Down => &mut path.down,
            };
            if pipe.on_arrival(bytes, due.departed) {
                match (self.sessions.get(leg.session), leg.way) {
                    (None, _) => pipe.on_forgotten(),
                    (Some(session), Way::Up) => {
                        pipe.on_sent(bytes, &session.upstream.send(path.target, None, leg.ecn, &due.bytes));
                    }
                    (Some(session), Way::Down) => {
                        let sent = path.listener.send(session.client, session.local, leg.ecn, &due.bytes);
                        pipe.on_sent(bytes, &sent);
                    }
                }
            }
            self.departures.give_back(due.bytes);
        }
    }

    /// Waits for a socket, a message or the next time at which there is something to do.
    fn wait(&self, events: &mut Vec<epoll::Event>) {
        let next = [self.departures.next_at(), self.script.next_at()].into_iter().flatten().min();
        let left = next.map(|at| at.since(self.clock.now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        // The poll of the poll: this one counts in nanoseconds on every kernel.
        let mut ready = [PollFd::new(&self.poll, PollFlags::IN)];
        if left.is_none_or(|left| !left.is_zero()) {
            let _ = rustix::event::poll(&mut ready, timeout.as_ref()); // an interruption is a turn like others
        }
        events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&at_once));
    }

    fn stats(&self) -> RelayStats {
        let path = |(number, path): (usize, &Path)| PathStats {
            listen: path.listen,
            target: path.target,
            sessions: self.sessions.of(number, None).len(),
            crowded: path.crowded,
            rebinds: path.rebinds,
            up: path.up.stats(),
            down: path.down.stats(),
        };
        RelayStats {
            schema: SCHEMA,
            uptime_s: self.clock.elapsed().as_secs_f64(),
            paths: self.paths.iter().enumerate().map(path).collect(),
            late: self.late,
            commands: self.applied.iter().cloned().collect(),
        }
    }
}

/// Puts one datagram on its link.
fn carry(pipe: &mut Pipe, departures: &mut Departures, leg: Leg, datagram: &[u8], now: Instant) {
    let Some(flight) = pipe.admit(datagram.len() as u64, now) else { return };
    for at in [Some(flight.arrives), flight.again].into_iter().flatten() {
        departures.push(at, flight.departs, leg, datagram);
    }
}

impl Path {
    fn bind(path: &RelayPath, number: usize, seed: u64) -> Result<Self, RelayError> {
        let failed = |error| RelayError::Listen(path.listen, error);
        let listener = End::listen(path.listen).map_err(failed)?;
        let listen = listener.socket.local_addr().map_err(failed)?;
        let rng = |way| Rng::labelled(seed, &format!("relay {number} {way}"));
        Ok(Self {
            listener,
            listen,
            target: path.target,
            source: path.source,
            up: Pipe::new(&path.up, rng("up")),
            down: Pipe::new(&path.down, rng("down")),
            crowded: 0,
            rebinds: 0,
        })
    }

    fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

impl Script {
    fn new(mut commands: Vec<(Duration, Command)>) -> Self {
        commands.sort_by_key(|(after, _)| *after);
        Self { commands: commands.into(), start: None }
    }

    fn next_at(&self) -> Option<Instant> {
        Some(self.start? + self.commands.front()?.0)
    }

    fn take_due(&mut self, now: Instant) -> Option<Command> {
        self.next_at().filter(|&at| at <= now)?;
        self.commands.pop_front().map(|(_, command)| command)
    }
}

fn check(config: &RelayConfig) -> Result<(), RelayError> {
    let wrong = |sentence: String| Err(RelayError::Config(sentence));
    if config.paths.is_empty() || config.paths.len() > PATHS_MAX {
        return wrong(format!("a relay has 1 to {PATHS_MAX} paths"));
    }
    if config.script.len() > SCRIPT_MAX {
        return wrong(format!("a script has at most {SCRIPT_MAX} commands"));
    }
    let mut targets = config.paths.iter().filter(|path| path.target.port() == 0);
    match targets.next() {
        Some(path) => wrong(format!("{} is no target: it needs a port", path.target)),
        None => Ok(()),
    }
}

fn watch(poll: &OwnedFd, socket: &impl AsFd, name: u64) -> io::Result<()> {
    epoll::add(poll, socket, EventData::new_u64(name), EventFlags::IN).map_err(|error: Errno| error.into())
}
