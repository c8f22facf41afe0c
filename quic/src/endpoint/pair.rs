//! Two endpoints joined by a wire without loss, one millisecond each way, for tests of whole connections.
//!
//! Owns the addresses between them: each local number of the client is a socket behind a translator whose outer port can
//! be changed. Everything random is the simulator's.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::address::LocalId;
use crate::config::TransportConfig;
use crate::crypto::fixture::{client_tls, server_tls};
use crate::datagram::{Outbox, Received, Train};
use crate::id::{PathId, StreamId};

/// Keeps what an endpoint sends.
#[derive(Default)]
pub(super) struct Wire {
    buffer: Vec<u8>,
    pub(super) sent: Vec<(Train, Vec<u8>)>,
}

impl Outbox for Wire {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        self.buffer.resize(65_507, 0);
        Some(&mut self.buffer)
    }

    fn send(&mut self, train: Train) {
        self.sent.push((train, self.buffer[..train.bytes].to_vec()));
    }
}

pub(super) struct Pair {
    pub(super) client: Endpoint,
    pub(super) server: Endpoint,
    pub(super) key: ConnectionKey,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
    pub(super) server_events: Vec<(ConnectionKey, Event)>,
    /// Addresses under which the server sees the client's sockets, where they are not the usual ones.
    pub(super) outer: HashMap<LocalId, SocketAddr>,
    /// Somebody who sends on all that the client's first socket sends, faster than the client's own datagrams arrive.
    pub(super) copies_from: Option<SocketAddr>,
    /// Addresses of the client where nothing of the server's arrives.
    pub(super) deaf: HashSet<SocketAddr>,
    /// Sockets of the client from which nothing gets away.
    pub(super) mute: HashSet<LocalId>,
    /// Datagrams that the server sent, by destination.
    pub(super) sent_to: HashMap<SocketAddr, usize>,
}

/// The server's address.
fn listener() -> SocketAddr {
    "127.0.0.1:443".parse().unwrap()
}

pub(super) fn route(client_port: u16) -> RouteId {
    let client = SocketAddr::from(([127, 0, 0, 1], client_port));
    RouteId::new(LocalId(client_port % 100), client, listener())
}

impl Pair {
    pub(super) fn new(transport: TransportConfig) -> Self {
        Self::over(transport, &[])
    }

    /// The client has other routes for the handshake than its first.
    pub(super) fn over(transport: TransportConfig, others: &[RouteId]) -> Self {
        Self::between(transport.clone(), transport, others)
    }

    /// Each end has settings of its own.
    pub(super) fn between(transport: TransportConfig, server: TransportConfig, others: &[RouteId]) -> Self {
        let transport = Arc::new(transport);
        let mut config = EndpointConfig::new([1; 16], [2; 32]);
        config.transport = Arc::clone(&transport);
        let mut client = Endpoint::new(config.clone(), [3; 32]);
        config.transport = Arc::new(server);
        config.server = Some(server_tls());
        let server = Endpoint::new(config, [4; 32]);
        let now = Instant::from_nanos(1_000_000_000);
        let client_config = ClientConfig { tls: client_tls(), transport };
        let name = "localhost".try_into().unwrap();
        let key = client.connect_over(client_config, name, (route(1000), others), now).unwrap();
        Self {
            client,
            server,
            key,
            now,
            events: Vec::new(),
            server_events: Vec::new(),
            outer: HashMap::new(),
            copies_from: None,
            deaf: HashSet::new(),
            mute: HashSet::new(),
            sent_to: HashMap::new(),
        }
    }

    /// Under which address the server sees a socket of the client.
    fn outer(&self, local: LocalId) -> SocketAddr {
        let usual = SocketAddr::from(([127, 0, 0, 1], 1000 + local.0));
        self.outer.get(&local).copied().unwrap_or(usual)
    }

    /// The client's socket behind an address, if there is one.
    fn inner(&self, address: SocketAddr) -> Option<LocalId> {
        (0..100).map(LocalId).find(|&local| self.outer(local) == address)
    }

    /// One exchange: each side sends what it has, a millisecond each way.
    pub(super) fn step(&mut self) -> bool {
        let mut wire = Wire::default();
        self.client.transmit(&mut wire, self.now);
        self.now += Duration::from_millis(1);
        let mut moved = !wire.sent.is_empty();
        for (train, mut bytes) in wire.sent {
            if self.mute.contains(&train.local_id) {
                continue;
            }
            if let Some(thief) = self.copies_from.filter(|_| train.local_id == LocalId(0)) {
                let route = RouteId::new(LocalId(0), train.remote, thief);
                self.server.receive(received(&mut bytes.clone(), &train, route), self.now);
            }
            let route = RouteId::new(LocalId(0), train.remote, self.outer(train.local_id));
            self.server.receive(received(&mut bytes, &train, route), self.now);
        }
        while let Some(event) = self.server.next_event() {
            self.server_events.push(event);
        }
        let mut wire = Wire::default();
        self.server.transmit(&mut wire, self.now);
        self.now += Duration::from_millis(1);
        moved |= !wire.sent.is_empty();
        for (train, mut bytes) in wire.sent {
            *self.sent_to.entry(train.remote).or_default() += bytes.chunks(train.segment_size).count();
            let Some(local) = self.inner(train.remote).filter(|_| !self.deaf.contains(&train.remote)) else {
                continue;
            };
            let inside = SocketAddr::from(([127, 0, 0, 1], 1000 + local.0));
            let from = train.source.map_or(listener(), |ip| SocketAddr::new(ip, listener().port()));
            let route = RouteId::new(local, inside, from);
            self.client.receive(received(&mut bytes, &train, route), self.now);
        }
        while let Some((_, event)) = self.client.next_event() {
            self.events.push(event);
        }
        self.client.on_deadline(self.now);
        self.server.on_deadline(self.now);
        self.client.audit().unwrap();
        self.server.audit().unwrap();
        moved
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..400 {
            self.step();
        }
    }

    pub(super) fn server_key(&self) -> ConnectionKey {
        self.server.connections().next().unwrap()
    }

    pub(super) fn client(&mut self) -> ConnectionGuard<'_> {
        self.client.connection(self.key, self.now).unwrap()
    }

    pub(super) fn saw(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    pub(super) fn server_saw(&self, event: &Event) -> bool {
        self.server_events.iter().any(|(_, seen)| seen == event)
    }

    /// Did the client see the end of a path?
    pub(super) fn saw_closed(&self, path: PathId) -> bool {
        self.events.iter().any(|event| is_end_of(event, path))
    }

    /// Did the server?
    pub(super) fn server_saw_closed(&self, path: PathId) -> bool {
        self.server_events.iter().any(|(_, event)| is_end_of(event, path))
    }

    /// Reads everything the server has on `stream`.
    pub(super) fn read_at_server(&mut self, stream: StreamId) -> (Vec<u8>, bool) {
        let key = self.server_key();
        let mut guard = self.server.connection(key, self.now).unwrap();
        let mut all = Vec::new();
        loop {
            let slices = guard.read(stream).unwrap();
            let (more, fin) = ([slices.first, slices.second].concat(), slices.fin);
            let consumed = guard.consume(stream, more.len());
            all.extend(more);
            if fin || consumed == 0 {
                return (all, fin);
            }
        }
    }
}

fn is_end_of(event: &Event, path: PathId) -> bool {
    matches!(event, Event::PathClosed { stats } if stats.id == path)
}

pub(super) fn received<'a>(bytes: &'a mut [u8], train: &Train, route: RouteId) -> Received<'a> {
    Received { bytes, segment_size: train.segment_size, route, ecn: train.ecn }
}
