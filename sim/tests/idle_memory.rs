//! What an idle connection costs a server in memory: its heap, counted by the allocator, ten seconds after confirmation.
//!
//! Real protection and the default settings. The allocator is read before and after each call of the server's endpoint,
//! so that the clients in the same process do not count. What the kernel and the allocator's own books take comes on top;
//! `bench-results` has the resident memory of the program.

use std::alloc::System;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ClientConfig, ClientTls, ConnectionKey, Endpoint, EndpointConfig, Event, Instant, LocalId, Outbox,
    Received, RouteId, ServerTls, Train, TransportConfig,
};
use braid_sim::{Hello, Protection, VirtualClock, client_config, server_config, server_name};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections before the count begins, and those that are counted.
const FEW: u16 = 100;
const MORE: u16 = 400;
const MORE_CONNECTIONS: isize = 400;
const CONNECTIONS: isize = 500;

/// What an idle connection with one path may take, and each further path.
const CONNECTION_MAX_BYTES: isize = 12_500;
const PATH_MAX_BYTES: isize = 2 << 10;

fn bytes_held() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.cast_signed() - stats.bytes_deallocated.cast_signed()
}

#[derive(Default)]
struct Wire {
    buffer: Vec<u8>,
    sent: Vec<(Train, Vec<u8>)>,
    /// Bytes that the wire itself took.
    taken: isize,
}

impl Outbox for Wire {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        let before = bytes_held();
        self.buffer.resize(65_507, 0);
        self.taken += bytes_held() - before;
        Some(&mut self.buffer)
    }

    fn send(&mut self, train: Train) {
        let before = bytes_held();
        self.sent.push((train, self.buffer[..train.bytes].to_vec()));
        self.taken += bytes_held() - before;
    }
}

struct Pair {
    client: Endpoint,
    server: Endpoint,
    client_config: ClientConfig,
    clients: Vec<ConnectionKey>,
    now: Instant,
    confirmed: u32,
    /// Bytes that the server holds.
    held: isize,
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 1)), 443);

/// A client's end: each path of each connection has an address of its own.
fn client_end(local: LocalId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1000 + local.0))
}

fn client_route(connection: u16, line: u16) -> RouteId {
    let local = LocalId(line * (FEW + MORE) + connection);
    RouteId::new(local, client_end(local), SERVER)
}

impl Pair {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::default());
        let transport =
            Arc::new(TransportConfig { idle_timeout: Duration::ZERO, ..TransportConfig::default() });
        let mut config = EndpointConfig::new([1; 16], [2; 32]);
        config.transport = Arc::clone(&transport);
        let client = Endpoint::new(config.clone(), [3; 32]);
        let tls = server_config(4, Protection::Real, Hello::Short, Arc::clone(&clock));
        config.server = Some(ServerTls::new(tls).unwrap());
        let server = Endpoint::new(config, [5; 32]);
        let tls = ClientTls::new(client_config(6, Protection::Real, Hello::Short, clock)).unwrap();
        Self {
            client,
            server,
            client_config: ClientConfig { tls, transport },
            clients: Vec::new(),
            now: Instant::from_nanos(1_000_000_000),
            confirmed: 0,
            held: 0,
        }
    }

    /// Connects `count` clients, one after the other.
    fn connect(&mut self, count: u16) {
        for _ in 0..count {
            let route = client_route(self.clients.len() as u16, 0);
            let connected = self.client.connect(self.client_config.clone(), server_name(), route, self.now);
            self.clients.push(connected.unwrap());
            while self.confirmed < self.clients.len() as u32 {
                self.step();
            }
        }
        self.rest();
    }

    /// Ten seconds pass, and what is due is done.
    fn rest(&mut self) {
        for _ in 0..100 {
            self.step();
            self.now += Duration::from_millis(90);
        }
    }

    /// Does something at the server and counts what it keeps.
    fn at_server(&mut self, act: impl FnOnce(&mut Endpoint, Instant) -> isize) {
        let before = bytes_held();
        let others = act(&mut self.server, self.now);
        self.held += bytes_held() - before - others;
    }

    /// What each end has to say reaches the other five milliseconds later.
    fn step(&mut self) {
        let mut wire = Wire::default();
        self.client.transmit(&mut wire, self.now);
        self.now += Duration::from_millis(5);
        for (train, mut bytes) in wire.sent.drain(..) {
            let route = RouteId::new(LocalId(0), train.remote, client_end(train.local_id));
            let (segment_size, ecn) = (train.segment_size, train.ecn);
            self.at_server(|server, now| {
                server.receive(Received { bytes: &mut bytes, segment_size, route, ecn }, now);
                while server.next_event().is_some() {}
                0
            });
        }
        let mut wire = Wire::default();
        self.at_server(|server, now| {
            server.transmit(&mut wire, now);
            while server.next_event().is_some() {}
            wire.taken
        });
        self.now += Duration::from_millis(5);
        for (train, mut bytes) in wire.sent.drain(..) {
            let local = LocalId(train.remote.port() - 1000);
            let route = RouteId::new(local, train.remote, SERVER);
            let (bytes, segment_size, ecn) = (&mut bytes[..], train.segment_size, train.ecn);
            self.client.receive(Received { bytes, segment_size, route, ecn }, self.now);
        }
        while let Some((_, event)) = self.client.next_event() {
            match event {
                Event::Confirmed => self.confirmed += 1,
                Event::Closed(reason) => panic!("closed: {reason:?}"),
                _ => {}
            }
        }
        self.client.on_deadline(self.now);
        self.at_server(|server, now| {
            server.on_deadline(now);
            while server.next_event().is_some() {}
            0
        });
    }
}

#[test]
fn an_idle_connection_and_an_idle_path_take_so_many_bytes() {
    let mut pair = Pair::new();
    pair.connect(FEW);
    let few = pair.held;
    pair.connect(MORE);
    let each = (pair.held - few) / MORE_CONNECTIONS;
    let before = pair.held;
    for number in 0..FEW + MORE {
        for line in 1..=2 {
            let key = pair.clients[usize::from(number)];
            pair.client.connection(key, pair.now).unwrap().open_path(client_route(number, line)).unwrap();
            (0..4).for_each(|_| pair.step());
        }
    }
    pair.rest();
    let each_path = (pair.held - before) / (2 * CONNECTIONS);
    println!("{each} bytes for a connection, {each_path} for each further path");
    assert!(each <= CONNECTION_MAX_BYTES, "{each} bytes for an idle connection");
    assert!(each_path <= PATH_MAX_BYTES, "{each_path} bytes for an idle path");
}
