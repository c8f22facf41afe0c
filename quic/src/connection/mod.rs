//! One connection: the corridor that joins the rooms.
//!
//! Owns the rooms and the order in which they are visited: `receive` and `frames` on the way in, `transmit` and `build`
//! on the way out, `settle` for what became of packets, `deadline` for time. Rooms compute; here they are only called.
//! What its owner may do stands in `doors`.

mod agreed;
mod build;
mod build_long;
mod datagrams;
mod deadline;
mod doors;
mod frames;
mod handshake;
#[cfg(test)]
pub(crate) mod hook;
mod lifecycle;
mod migration;
#[cfg(test)]
mod mtu_tests;
mod race;
mod receive;
mod settle;
mod shake;
mod tell;
mod transmit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::config::{ClientConfig, MultipathCodePoints, PathOptions, TransportConfig};
use crate::connection::agreed::Agreed;
use crate::connection::handshake::Handshake;
use crate::connection::lifecycle::Lifecycle;
use crate::connection::race::Race;
use crate::crypto::crypto_stream::CryptoStream;
use crate::crypto::keyring::KeyRing;
use crate::crypto::tls::{Params, ServerTls, Tls, TlsConfigError};
use crate::error::{CloseReason, TransportError};
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::{Journal, Opening};
use crate::path::cids::Post;
use crate::path::frequency::Frequency;
use crate::path::idle::{Idle, Upkeep};
use crate::path::route::Route;
use crate::path::set::Paths;
use crate::path::{Counters, Timing};
use crate::schedule::AnyScheduler;
use crate::stats::ConnectionStats;
use crate::stream::Streams;
use crate::stream::datagrams::Datagrams;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::packet::UDP_PAYLOAD_MAX;
use crate::wire::receipt::{Receipt, Receipts};

pub use doors::PathError;
pub(crate) use receive::Arrival;

pub(crate) use crate::path::leg::Leg;

/// Events for which there is room from the start.
const EVENTS_EXPECTED: usize = 4;

/// The state of one connection.
pub(crate) struct Connection {
    role: Role,
    config: Arc<TransportConfig>,
    lifecycle: Lifecycle,
    idle: Idle,
    /// Scaffolding: gone once the handshake is confirmed.
    handshake: Option<Box<Handshake>>,
    tls: Tls,
    keys: Option<Box<KeyRing>>,
    /// Handshake data in 1-RTT packets: session tickets.
    tickets: CryptoStream,
    /// `HANDSHAKE_DONE`, at a server.
    handshake_done: Option<Post>,
    paths: Paths,
    streams: Streams,
    datagrams: Datagrams,
    frequency: Frequency,
    scheduler: AnyScheduler,
    agreed: Agreed,
    events: VecDeque<Event>,
    stats: ConnectionStats,
    /// Totals of the paths that are gone.
    gone: Counters,
    /// When the pacer lets something waiting go.
    paced_until: Option<Instant>,
    confirmed: bool,
    /// A PING is to leave, to keep the connection alive.
    ping_owed: bool,
    /// The destination that the client chose for its first packets. A server answers to it for as long as it lives, so
    /// that a late copy starts no second connection.
    original: Cid,
    /// When the last path was given up, while no other is usable or being validated.
    pathless_since: Option<Instant>,
    /// The peer's address during the handshake.
    handshake_remote: std::net::SocketAddr,
    /// Other routes of ours that could carry a path, where its own goes.
    alternatives: Vec<RouteId>,
    /// The local interface of this path is gone, and nothing could replace it.
    stranded: Option<PathId>,
    /// The source that the server's first packet named, at a client.
    peer_scid: Option<Cid>,
    /// The largest datagram that the peer takes.
    peer_datagram_max: u64,
    scratch: Scratch,
    log: Journal,
    #[cfg(test)]
    pub(crate) hook: hook::Hook,
}

/// The clock of a path that begins now.
fn upkeep(config: &TransportConfig, options: &PathOptions, turn: &Turn<'_>) -> Upkeep {
    let keep_alive = options.keep_alive.or(config.path_keep_alive).unwrap_or_default();
    let timeout = options.idle_timeout.or(config.path_idle_timeout).unwrap_or_default();
    Upkeep::new(keep_alive, timeout, turn.now)
}

/// Memory that is used again for every packet.
#[derive(Default)]
struct Scratch {
    receipts: Receipts,
    settled: Vec<(Receipt, crate::path::space::Outcome)>,
    tls: Vec<u8>,
}

impl Connection {
    /// A client's connection over `route`, or over one of `others` if that answers first; its first packet waits for
    /// `transmit`.
    pub(crate) fn client(
        config: ClientConfig,
        server_name: rustls_pki_types::ServerName<'static>,
        (route, others): (RouteId, &[RouteId]),
        turn: &mut Turn<'_>,
    ) -> Result<Self, TlsConfigError> {
        let original = Cid::new(&turn.rng.array::<{ crate::cid::CID_LEN }>()).unwrap_or(Cid::EMPTY);
        let (scid, token) = turn.mint(PathId::ZERO, 0);
        let transport = config.transport;
        let code_points = transport.multipath_code_points;
        let params = agreed::ours(&transport, code_points, Role::Client, scid, None, turn);
        let told = transport.log.is_some().then(|| params.clone());
        let tls = Tls::client(&config.tls, server_name, params).inspect_err(|_| turn.cids.release(&scid))?;
        let handshake = Handshake::new(config.tls.initial_keys(&original), original);
        let mut this = Self::new(Role::Client, transport, tls, handshake, route, turn);
        let path = this.paths.get_mut(PathId::ZERO).expect("path 0 is there from the start");
        path.local.adopt(scid, token);
        path.remote.adopt(original);
        this.tell_start(route);
        if let Some(encoded) = told {
            tell::declared(&mut this.log, Role::Client, &encoded);
        }
        if let Some(handshake) = &mut this.handshake {
            handshake.race = Some(Race::new(route, this.config.race_after, turn.now));
        }
        for known in [route].iter().chain(others) {
            this.add_local(turn, *known);
        }
        this.pump_tls(turn).map_err(|_| TlsConfigError::NoInitialSuite)?;
        Ok(this)
    }

    /// A server's connection for a client whose first packet carried `original` as destination and `scid` as source.
    pub(crate) fn server(
        tls: &ServerTls,
        transport: Arc<TransportConfig>,
        original: Cid,
        peer: Cid,
        route: RouteId,
        turn: &mut Turn<'_>,
    ) -> Result<Self, TlsConfigError> {
        let (scid, token) = turn.mint(PathId::ZERO, 0);
        let mut params = |code_points| {
            agreed::ours(&transport, code_points, Role::Server, scid, Some((original, token, peer)), turn)
        };
        let params = match transport.multipath_code_points {
            // The answer has only those that will be used: the newest that the client has too.
            MultipathCodePoints::Both => Params::ByClient {
                usual: params(MultipathCodePoints::Final),
                other: params(MultipathCodePoints::Draft13),
                wants_other: agreed::is_draft_13,
            },
            one => Params::Fixed(params(one)),
        };
        let mut handshake = Handshake::new(tls.initial_keys(&original), original);
        handshake.declared = transport.log.is_some().then(|| Box::new(params.clone()));
        let tls = Tls::server(tls, params).inspect_err(|_| turn.cids.release(&scid))?;
        let mut this = Self::new(Role::Server, transport, tls, handshake, route, turn);
        let path = this.paths.get_mut(PathId::ZERO).expect("path 0 is there from the start");
        path.local.adopt(scid, token);
        path.remote.adopt(peer);
        this.tell_start(route);
        Ok(this)
    }

    fn new(
        role: Role,
        config: Arc<TransportConfig>,
        tls: Tls,
        handshake: Handshake,
        route: RouteId,
        turn: &mut Turn<'_>,
    ) -> Self {
        let mut paths = Paths::new(role, config.max_paths);
        let validated = role == Role::Client;
        let zero = paths.get_mut(PathId::ZERO).expect("path 0 is there from the start");
        zero.start(
            Route::new(route, &config, validated),
            None,
            upkeep(&config, &PathOptions::default(), turn),
        );
        let original = handshake.original();
        let hash_seed = u64::from_le_bytes(turn.rng.array());
        let log = tell::open(&config, &Opening { role, original: &original, route, at: turn.now });
        Self {
            role,
            lifecycle: Lifecycle::handshaking(turn.now + config.handshake_timeout),
            idle: Idle::new(config.idle_timeout, turn.now),
            handshake: Some(Box::new(handshake)),
            tls,
            keys: None,
            tickets: CryptoStream::default(),
            handshake_done: None,
            paths,
            streams: Streams::new(role, &config, hash_seed),
            datagrams: Datagrams::new(&config),
            frequency: Frequency::new(&config),
            scheduler: config.scheduler.build(),
            agreed: Agreed::unknown(),
            events: VecDeque::with_capacity(EVENTS_EXPECTED),
            stats: ConnectionStats::default(),
            gone: Counters::default(),
            paced_until: None,
            confirmed: false,
            ping_owed: false,
            original,
            pathless_since: None,
            handshake_remote: route.remote(),
            alternatives: Vec::new(),
            stranded: None,
            peer_scid: None,
            peer_datagram_max: UDP_PAYLOAD_MAX,
            scratch: Scratch::default(),
            log,
            #[cfg(test)]
            hook: hook::Hook::default(),
            config,
        }
    }

    /// Is there something to tell?
    pub(crate) fn has_event(&self) -> bool {
        let rooms = || self.streams.has_event() || self.datagrams.has_event();
        !self.events.is_empty() || !self.lifecycle.is_ending() && rooms()
    }

    /// Queues news. Of what only informs about the present state of a path the newest is enough, so that a peer cannot
    /// fill the queue with changes of mind. Behind its end nothing is told of a connection.
    fn announce(&mut self, event: Event) {
        if self.lifecycle.is_ending() && !matches!(event, Event::Closed(_)) {
            return;
        }
        self.tell_event(&event);
        let about = |event: &Event| match *event {
            Event::PathStatus { path, .. } => Some((0, path)),
            Event::PathSuspect(path) | Event::PathRecovered(path) => Some((1, path)),
            Event::PathMtu { path, .. } => Some((2, path)),
            Event::PathMigrated(path) => Some((3, path)),
            _ => None,
        };
        if let Some(topic) = about(&event) {
            self.events.retain(|queued| about(queued) != Some(topic));
        }
        self.events.push_back(event);
    }

    /// The next thing that happened.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.lifecycle.is_ending() {
            return None;
        }
        self.streams.next_event().or_else(|| self.datagrams.next_event())
    }

    /// Is the last state gone?
    pub(crate) fn is_gone(&self) -> bool {
        self.lifecycle.is_gone()
    }

    /// Is the handshake under way?
    pub(crate) fn is_handshaking(&self) -> bool {
        self.lifecycle.is_handshaking()
    }

    /// Paths that carry or may carry packets.
    pub(crate) fn paths_running(&self) -> usize {
        self.paths.iter().filter(|path| path.running().is_some()).count()
    }

    /// The peer broke the protocol: tell it, and close.
    fn fail(&mut self, error: TransportError, turn: &Turn<'_>) {
        if self.lifecycle.is_ending() {
            return;
        }
        let until = turn.now + self.longest_probe_timeout() * 3;
        self.lifecycle = Lifecycle::closing_by_error(error, until);
        self.end(CloseReason::LocalTransport(error));
    }

    /// The connection is over: only the closing or draining period is left.
    fn end(&mut self, reason: CloseReason) {
        if let Some(keys) = &mut self.keys {
            keys.on_closing();
        }
        self.paced_until = None;
        self.announce(Event::Closed(reason));
    }

    /// The largest probe timeout among the paths (MP-040, MP-042, MP-048).
    fn longest_probe_timeout(&self) -> Duration {
        let delay = self.frequency.peer_delay();
        let running = self.paths.iter().filter_map(|path| path.running());
        running.map(|running| running.route.rtt.pto_base(delay)).max().unwrap_or(self.config.initial_rtt * 3)
    }

    fn timing(&self, id: PathId) -> Timing {
        self.paths.timing(id, self.frequency.peer_delay(), self.confirmed)
    }

    /// Takes back what the endpoint's tables hold for it.
    pub(crate) fn release(&mut self, turn: &mut Turn<'_>) {
        self.paths.release(turn);
        if self.role == Role::Server {
            turn.cids.release(&self.original);
        }
    }

    /// Do the totals of all paths, those that are gone included, add up to the connection's?
    fn audit_totals(&self) -> Result<(), String> {
        let mut paths = self.gone;
        self.paths.iter().for_each(|path| paths.add(&path.counters));
        let of_paths = [
            paths.packets_sent,
            paths.packets_received,
            paths.packets_lost,
            paths.bytes_sent,
            paths.bytes_received,
            paths.stream_bytes_sent,
            paths.stream_bytes_received,
        ];
        let of_connection = [
            self.stats.packets_sent,
            self.stats.packets_received,
            self.stats.packets_lost,
            self.stats.bytes_sent,
            self.stats.bytes_received,
            self.stats.stream_bytes_sent,
            self.stats.stream_bytes_received,
        ];
        if of_paths == of_connection {
            return Ok(());
        }
        Err(format!("totals of the paths {of_paths:?}, of the connection {of_connection:?}"))
    }

    /// How many connection IDs and reset tokens the endpoint's tables hold for it; for audits.
    pub(crate) fn cids_held(&self) -> (usize, usize) {
        let original = usize::from(self.role == Role::Server);
        let issued: usize = self.paths.iter().map(|path| path.local.len()).sum();
        let tokens = self.paths.iter().map(|path| path.remote.tokens()).sum();
        (issued + original, tokens)
    }

    /// Checks what must always hold; for audits.
    pub(crate) fn audit(&self) -> Result<(), String> {
        self.audit_totals()?;
        self.paths.audit()?;
        self.streams.audit()?;
        self.datagrams.audit()?;
        for path in self.paths.iter() {
            let Some(running) = path.running() else { continue };
            let mut sum = running.space.in_flight_bytes();
            if path.id() == PathId::ZERO
                && let Some(handshake) = &self.handshake
            {
                sum += handshake.in_flight_bytes();
            }
            if sum != running.route.in_flight() {
                let kept = running.route.in_flight();
                return Err(format!("{:?}: {kept} bytes in flight kept, {sum} counted", path.id()));
            }
        }
        Ok(())
    }
}
