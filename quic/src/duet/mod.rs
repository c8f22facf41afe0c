//! Two real endpoints on a virtual wire in virtual time: the rules of the multipath draft, frame by frame.
//!
//! For tests only. A [`Duet`] is a client and a server with real TLS, joined by lines (line `n` is the client's address
//! 10.0.n.1; path 0 takes line 0) with a delay of 10 ms each way. Nothing is random but keys, nothing sleeps.
//!
//! **Begin**: `Duet::new()` (nothing sent yet), `Duet::confirmed()`, `Duet::with_paths(3)` (paths 0 to 2 validated at
//! both ends, on lines 0 to 2); each has a `_set` form that takes a closure over both `TransportConfig`s, client's
//! first; `without_multipath(Role::Server)` makes one. `tamper_with_parameters` changes what an end declares.
//!
//! **Time**: `run_for(ms(50))`, `settle()` (two seconds), `run_until(what, |duet| ...)` (at most two minutes).
//!
//! **Ends**: `duet.client` and `duet.server` (or `duet.end(role)`) are [`End`]s. `end.connection()` is what applications
//! have, `end.path(1)` the state inside. `end.says(1, &[Frame::Ping])` puts a packet into its mouth that its logic
//! knows nothing of; `says_raw(kind, path, bytes)` one with any bytes in any packet; `says_so(Say { .. })` one with
//! another connection ID, route or number; `mute(true)` lets it say nothing else.
//!
//! **What happened**: `end.heard(|f| matches!(f, Frame::PathAbandon { path: 1, .. }))`, `heard_times`, `heard_in` (the
//! packets, with path, number, kind, route, datagram size, time), and `said...` for what it wrote, even if that was
//! lost; `sent_with` has the datagrams. `end.forget()` starts a new page. `end.events`, `end.saw(&event)`.
//!
//! **The wire**: `duet.line(1).cut_up = true`, `.up = ms(100)`, `.outside = addr` (a NAT is rebound). `duet.filter(|d|
//! ...)` decides about each datagram (`Verdict`: pass, drop, hold, twice, late); `drop_next`, `drop_all`, `hold_next`,
//! `hold_all` are filters by frame; `release()` lets held ones go, `release_reversed()` backwards; `replay(&datagram)`
//! delivers a recorded one again, `inject(to, route, bytes)` anything.
//!
//! **Verdicts**: `assert_closed(Role::Server, TransportErrorCode::PROTOCOL_VIOLATION)`: this end closed the connection
//! with the code and told the other; `assert_alive()`.

#![allow(dead_code, unused_imports, reason = "a toolbox: not every tool is in use at every time")]

mod ack_frequency;
mod code_points;
mod end;
pub(crate) mod frames;
mod random;
mod rules_abandon;
mod rules_abandoned;
mod rules_cids;
mod rules_closing;
mod rules_frames;
mod rules_migration;
mod rules_negotiation;
mod rules_opening;
mod rules_recovery;
mod rules_resources;
mod rules_routes;
mod rules_status;
mod tests;
mod tickets;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use crate::connection::hook::{
    Packet, Say, keep_no_frames, leave_out_source, tamper_with_parameters,
};
pub(crate) use end::{End, encoded};
pub(crate) use wire::{Datagram, Line, Verdict};

use crate::base::address::{Ecn, RouteId};
use crate::base::time::Instant;
use crate::config::{ClientConfig, EndpointConfig, TransportConfig};
use crate::crypto::fixture::{client_tls, server_tls};
use crate::crypto::tls::{ClientTls, ServerTls};
use crate::datagram::Received;
use crate::endpoint::Endpoint;
use crate::error::{CloseReason, TransportErrorCode};
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::wire::frame::Frame;
use wire::Filter;

/// A client, a server, and the wire between them.
pub(crate) struct Duet {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) now: Instant,
    /// Datagrams that a filter holds, in the order in which they left.
    pub(crate) held: Vec<Datagram>,
    /// Datagrams that were lost: dropped by a filter, a cut line, or for want of a line.
    pub(crate) lost: Vec<Datagram>,
    lines: HashMap<u16, Line>,
    on_the_way: BTreeMap<(Instant, u64), Datagram>,
    departures: u64,
    filter: Option<Filter>,
    steps_at_once: u32,
}

/// So many milliseconds.
pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Beginnings.
impl Duet {
    pub(crate) fn new() -> Self {
        Self::new_set(|_, _| {})
    }

    /// A client that is about to say its first word, with settings changed by `set`.
    pub(crate) fn new_set(set: impl FnOnce(&mut TransportConfig, &mut TransportConfig)) -> Self {
        Self::with_tls(client_tls(), server_tls(), set)
    }

    /// With TLS settings that several duets may share, and with them session tickets.
    pub(crate) fn with_tls(
        client_tls: ClientTls,
        server_tls: ServerTls,
        set: impl FnOnce(&mut TransportConfig, &mut TransportConfig),
    ) -> Self {
        let (mut client, mut server) = (TransportConfig::default(), TransportConfig::default());
        set(&mut client, &mut server);
        let mut config = EndpointConfig::new([1; 16], [2; 32]);
        let transport = Arc::new(client);
        config.transport = Arc::clone(&transport);
        let mut connecting = Endpoint::new(config.clone(), [3; 32]);
        config.transport = Arc::new(server);
        config.server = Some(server_tls);
        let accepting = Endpoint::new(config, [4; 32]);
        let now = Instant::from_nanos(1_000_000_000);
        let config = ClientConfig { tls: client_tls, transport };
        let route = Line::new(0).at_client(0);
        let key = connecting.connect(config, "localhost".try_into().unwrap(), route, now).unwrap();
        let mut client = End::new(Role::Client, connecting, now);
        client.key = Some(key);
        Self {
            client,
            server: End::new(Role::Server, accepting, now),
            now,
            held: Vec::new(),
            lost: Vec::new(),
            lines: HashMap::new(),
            on_the_way: BTreeMap::new(),
            departures: 0,
            filter: None,
            steps_at_once: 0,
        }
    }

    /// The handshake is confirmed at both ends and all that follows it has arrived.
    pub(crate) fn confirmed() -> Self {
        Self::confirmed_set(|_, _| {})
    }

    pub(crate) fn confirmed_set(set: impl FnOnce(&mut TransportConfig, &mut TransportConfig)) -> Self {
        let mut duet = Self::new_set(set);
        duet.settle();
        assert!(duet.client.saw(&Event::Confirmed) && duet.server.saw(&Event::Confirmed));
        duet
    }

    /// Confirmed, and one end did not offer the extension.
    pub(crate) fn without_multipath(at: Role) -> Self {
        let duet = Self::confirmed_set(|client, server| match at {
            Role::Client => client.max_paths = 1,
            Role::Server => server.max_paths = 1,
        });
        assert!(duet.client.saw(&Event::Connected { multipath: false }));
        duet
    }

    /// Paths 0 to `count - 1` are validated at both ends, on lines of the same numbers.
    pub(crate) fn with_paths(count: u32) -> Self {
        Self::with_paths_set(count, |_, _| {})
    }

    pub(crate) fn with_paths_set(
        count: u32,
        set: impl FnOnce(&mut TransportConfig, &mut TransportConfig),
    ) -> Self {
        let mut duet = Self::confirmed_set(set);
        for id in 1..count {
            assert_eq!(duet.open(id as u16), PathId(id));
            duet.settle();
            for end in [&duet.client, &duet.server] {
                assert!(end.saw(&Event::PathValidated(PathId(id))), "{:?}: {:?}", end.role, end.events);
            }
        }
        duet
    }

    /// The client opens a path on a line.
    pub(crate) fn open(&mut self, line: u16) -> PathId {
        let route = self.line(line).at_client(line);
        self.client.connection().open_path(route).unwrap()
    }
}

/// Time.
impl Duet {
    pub(crate) fn settle(&mut self) {
        self.run_for(ms(2000));
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
    }

    /// Runs until `what` holds. `why` is said when it does not within two minutes.
    pub(crate) fn run_until(&mut self, why: &str, mut what: impl FnMut(&mut Self) -> bool) {
        let end = self.now + Duration::from_mins(2);
        while !what(self) {
            assert!(self.step(end), "never: {why}");
        }
    }

    /// Goes on to the next thing that happens before `end`; `false` if `end` was reached.
    pub(crate) fn step(&mut self, end: Instant) -> bool {
        self.send();
        let arrival = self.on_the_way.keys().next().map(|(at, _)| *at);
        let deadlines = [self.client.endpoint.deadline(), self.server.endpoint.deadline()];
        let next = deadlines.into_iter().flatten().chain(arrival).min().unwrap_or(Instant::NEVER);
        let next = next.max(self.now);
        self.steps_at_once = if next == self.now { self.steps_at_once + 1 } else { 0 };
        assert!(self.steps_at_once < 10_000, "time stands still at {:?}", self.now);
        self.set_now(next.min(end));
        if next > end {
            return false;
        }
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= next) {
            let datagram = entry.remove();
            self.deliver(datagram.to, datagram.route, &datagram.bytes);
        }
        for end in [&mut self.client, &mut self.server] {
            end.endpoint.on_deadline(next);
            end.collect();
            end.endpoint.audit().unwrap();
        }
        self.send();
        true
    }

    fn set_now(&mut self, now: Instant) {
        (self.now, self.client.now, self.server.now) = (now, now, now);
    }

    fn send(&mut self) {
        loop {
            let from_client = self.client.transmit();
            let from_server = self.server.transmit();
            if from_client.is_empty() && from_server.is_empty() {
                break;
            }
            for (train, bytes, packets) in from_client {
                let number = train.local_id.0;
                let line = self.line(number).clone();
                let known = line.server == train.remote;
                self.depart(Role::Server, known.then_some(number), line.at_server(), &train, &bytes, packets);
            }
            for (train, bytes, packets) in from_server {
                let mut lines = self.lines.iter();
                let line = lines.find(|(_, line)| line.leads_to(train.remote, train.source));
                let route = line.map_or(Line::new(0).at_client(0), |(n, line)| line.at_client(*n));
                let number = line.map(|(number, _)| *number);
                self.depart(Role::Client, number, route, &train, &bytes, packets);
            }
            self.client.collect();
            self.server.collect();
        }
    }

    fn depart(
        &mut self,
        to: Role,
        line: Option<u16>,
        route: RouteId,
        train: &crate::datagram::Train,
        bytes: &[u8],
        packets: Vec<Packet>,
    ) {
        let count = bytes.len().div_ceil(train.segment_size);
        let mut packets = packets.into_iter();
        for (at, bytes) in bytes.chunks(train.segment_size).enumerate() {
            let (mut inside, mut len) = (Vec::new(), 0);
            while len < bytes.len()
                && let Some(packet) = packets.next()
            {
                len += packet.bytes;
                inside.push(packet);
            }
            let (bytes, segment, remote) = (bytes.to_vec(), (at, count), train.remote);
            let datagram =
                Datagram { to, line, route, remote, bytes, packets: inside, at: self.now, segment };
            let from = self.end(to.peer());
            from.said.extend_from_slice(&datagram.packets);
            from.sent.push(datagram.clone());
            self.judge(datagram);
        }
    }

    fn judge(&mut self, datagram: Datagram) {
        let verdict = self.filter.as_mut().map_or(Verdict::Pass, |filter| filter(&datagram));
        match verdict {
            Verdict::Pass => self.forward(datagram, Duration::ZERO),
            Verdict::Drop => self.lost.push(datagram),
            Verdict::Hold => self.held.push(datagram),
            Verdict::Twice => {
                self.forward(datagram.clone(), Duration::ZERO);
                self.forward(datagram, Duration::ZERO);
            }
            Verdict::Late(by) => self.forward(datagram, by),
        }
    }

    fn forward(&mut self, datagram: Datagram, later: Duration) {
        let Some(line) = datagram.line.map(|number| self.line(number).clone()) else {
            return self.lost.push(datagram);
        };
        let (cut, delay) = match datagram.to {
            Role::Server => (line.cut_up, line.up),
            Role::Client => (line.cut_down, line.down),
        };
        if cut {
            return self.lost.push(datagram);
        }
        self.departures += 1;
        self.on_the_way.insert((self.now + delay + later, self.departures), datagram);
    }

    fn deliver(&mut self, to: Role, route: RouteId, bytes: &[u8]) {
        let now = self.now;
        let mut bytes = bytes.to_vec();
        let segment_size = bytes.len();
        let received = Received { bytes: &mut bytes, segment_size, route, ecn: Ecn::NotEct };
        let end = self.end(to);
        end.endpoint.receive(received, now);
        end.collect();
    }
}

/// The wire.
impl Duet {
    pub(crate) fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    /// A line, made when first named.
    pub(crate) fn line(&mut self, number: u16) -> &mut Line {
        self.lines.entry(number).or_insert_with(|| Line::new(number))
    }

    /// Cuts both ways of a line, or heals them.
    pub(crate) fn cut(&mut self, line: u16, cut: bool) {
        let line = self.line(line);
        (line.cut_up, line.cut_down) = (cut, cut);
    }

    /// From now on `filter` decides about each datagram that leaves.
    pub(crate) fn filter(&mut self, filter: impl FnMut(&Datagram) -> Verdict + 'static) {
        self.filter = Some(Box::new(filter));
    }

    pub(crate) fn unfilter(&mut self) {
        self.filter = None;
    }

    /// Loses the next `count` datagrams with such a frame that leave `from`.
    pub(crate) fn drop_next(
        &mut self,
        from: Role,
        count: usize,
        is: impl Fn(&Frame<'static>) -> bool + 'static,
    ) {
        self.treat(from, count, Verdict::Drop, is);
    }

    /// Loses all datagrams with such a frame that leave `from`.
    pub(crate) fn drop_all(&mut self, from: Role, is: impl Fn(&Frame<'static>) -> bool + 'static) {
        self.treat(from, usize::MAX, Verdict::Drop, is);
    }

    /// Holds the next `count` datagrams with such a frame that leave `from`, until `release`.
    pub(crate) fn hold_next(
        &mut self,
        from: Role,
        count: usize,
        is: impl Fn(&Frame<'static>) -> bool + 'static,
    ) {
        self.treat(from, count, Verdict::Hold, is);
    }

    /// Holds everything that leaves `from`, until `release`.
    pub(crate) fn hold_all(&mut self, from: Role) {
        self.filter(move |it| if it.to == from { Verdict::Pass } else { Verdict::Hold });
    }

    fn treat(
        &mut self,
        from: Role,
        mut count: usize,
        verdict: Verdict,
        is: impl Fn(&Frame<'static>) -> bool + 'static,
    ) {
        self.filter(move |datagram| {
            if count == 0 || datagram.to == from || !datagram.carries(&is) {
                return Verdict::Pass;
            }
            count -= 1;
            verdict
        });
    }

    /// Takes the filter away and lets what it held go, in the order in which it left.
    pub(crate) fn release(&mut self) {
        self.unfilter();
        for datagram in std::mem::take(&mut self.held) {
            self.forward(datagram, Duration::ZERO);
        }
    }

    /// The same, last one first.
    pub(crate) fn release_reversed(&mut self) {
        self.held.reverse();
        self.release();
    }

    /// Delivers a datagram (again), now and as it was.
    pub(crate) fn replay(&mut self, datagram: &Datagram) {
        self.deliver(datagram.to, datagram.route, &datagram.bytes);
    }

    /// Delivers any bytes, now and from anywhere.
    pub(crate) fn inject(&mut self, to: Role, route: RouteId, bytes: &[u8]) {
        self.deliver(to, route, bytes);
    }
}

/// Verdicts.
impl Duet {
    /// `by` closed the connection with `code`, and the other end was told so.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self, by: Role, code: TransportErrorCode) {
        self.settle();
        let reason = self.end(by).close_reason().cloned();
        let Some(CloseReason::LocalTransport(error)) = reason else {
            panic!("{by:?} did not close with {code:?}: {reason:?}");
        };
        assert_eq!(error.code, code, "{error}");
        let told = self.end(by.peer()).close_reason();
        let named = |reason: &CloseReason| match reason {
            CloseReason::PeerTransport { code: told, .. } => *told == code,
            _ => false,
        };
        assert!(told.is_some_and(named), "{:?} heard {told:?} and not {code:?}", by.peer());
    }

    /// Neither end has closed, two seconds later.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.settle();
        for role in [Role::Client, Role::Server] {
            let end = self.end(role);
            assert!(end.is_alive(), "{role:?}: {:?}", end.close_reason());
        }
    }
}
