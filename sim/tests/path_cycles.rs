//! Opening and closing paths for ever costs no memory: 100,000 paths of one connection, counted by the allocator. Real
//! protection, since the null one remembers every packet number, to see that none is sealed twice
//! (MP-176, P-34).

use std::alloc::System;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ClientConfig, ClientTls, ConnectionKey, Endpoint, EndpointConfig, Event, Instant, LocalId, Outbox,
    PathErrorCode, Received, RouteId, ServerTls, Train, TransportConfig,
};
use braid_sim::{Hello, Protection, VirtualClock, client_config, server_config, server_name};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PATHS_AT_ONCE: u16 = 7;
const CYCLES: u32 = 100_000;
/// Growth that would show a leak of one byte a cycle.
const GROWTH_MAX_BYTES: usize = CYCLES as usize / 2;

#[derive(Default)]
struct Wire {
    buffer: Vec<u8>,
    sent: Vec<(Train, Vec<u8>)>,
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

struct Pair {
    client: Endpoint,
    server: Endpoint,
    key: ConnectionKey,
    now: Instant,
    closed: u32,
    confirmed: bool,
}

fn route(number: u16) -> RouteId {
    let client = SocketAddr::from(([127, 0, 0, 1], 1000 + number));
    RouteId::new(LocalId(number), client, "127.0.0.1:443".parse().unwrap())
}

impl Pair {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::default());
        let transport =
            Arc::new(TransportConfig { idle_timeout: Duration::ZERO, ..TransportConfig::default() });
        let mut config = EndpointConfig::new([1; 16], [2; 32]);
        config.transport = Arc::clone(&transport);
        let mut client = Endpoint::new(config.clone(), [3; 32]);
        let tls = server_config(4, Protection::Real, Hello::Short, Arc::clone(&clock));
        config.server = Some(ServerTls::new(tls).unwrap());
        let server = Endpoint::new(config, [5; 32]);
        let tls = ClientTls::new(client_config(6, Protection::Real, Hello::Short, clock)).unwrap();
        let now = Instant::from_nanos(1_000_000_000);
        let key = client.connect(ClientConfig { tls, transport }, server_name(), route(0), now).unwrap();
        Self { client, server, key, now, closed: 0, confirmed: false }
    }

    /// What each end has to say reaches the other a millisecond later; then `pause` passes.
    fn step(&mut self, pause: Duration) {
        let mut wire = Wire::default();
        self.client.transmit(&mut wire, self.now);
        self.now += Duration::from_millis(1);
        for (train, mut bytes) in wire.sent.drain(..) {
            let source = SocketAddr::from(([127, 0, 0, 1], 1000 + train.local_id.0));
            let route = RouteId::new(LocalId(0), train.remote, source);
            let (bytes, segment_size, ecn) = (&mut bytes[..], train.segment_size, train.ecn);
            self.server.receive(Received { bytes, segment_size, route, ecn }, self.now);
        }
        while self.server.next_event().is_some() {}
        self.server.transmit(&mut wire, self.now);
        self.now += Duration::from_millis(1);
        for (train, mut bytes) in wire.sent.drain(..) {
            let route = route(train.remote.port() - 1000);
            let (bytes, segment_size, ecn) = (&mut bytes[..], train.segment_size, train.ecn);
            self.client.receive(Received { bytes, segment_size, route, ecn }, self.now);
        }
        while let Some((_, event)) = self.client.next_event() {
            match event {
                Event::PathClosed { .. } => self.closed += 1,
                Event::Confirmed => self.confirmed = true,
                Event::Closed(reason) => panic!("closed after {} cycles: {reason:?}", self.closed),
                _ => {}
            }
        }
        self.now += pause;
        self.client.on_deadline(self.now);
        self.server.on_deadline(self.now);
    }

    /// Opens as many paths as may be, gives them up, and waits until they are forgotten.
    fn cycle(&mut self) {
        let target = self.closed + u32::from(PATHS_AT_ONCE);
        let mut opened = Vec::new();
        for _ in 0..1000 {
            let mut client = self.client.connection(self.key, self.now).unwrap();
            let missing = PATHS_AT_ONCE - opened.len() as u16;
            let more: Vec<_> =
                (1..=missing).map_while(|number| client.open_path(route(number)).ok()).collect();
            drop(client);
            self.step(Duration::ZERO);
            self.step(Duration::ZERO);
            let mut client = self.client.connection(self.key, self.now).unwrap();
            for &path in &more {
                client.abandon_path(path, PathErrorCode::APPLICATION_ABANDON_PATH).unwrap();
            }
            drop(client);
            opened.extend(more);
            self.step(Duration::from_millis(5));
            if self.closed >= target {
                return;
            }
            self.step(Duration::from_millis(500));
        }
        panic!("only {} of {target} paths closed", self.closed);
    }
}

#[test]
fn a_hundred_thousand_paths_leave_nothing_behind() {
    let mut pair = Pair::new();
    while !pair.confirmed {
        pair.step(Duration::ZERO);
    }
    while pair.closed < CYCLES / 10 {
        pair.cycle();
        pair.client.audit().unwrap();
        pair.server.audit().unwrap();
    }
    let bytes_held = || {
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    };
    let before = bytes_held();
    while pair.closed < CYCLES {
        pair.cycle();
    }
    let grown = bytes_held().saturating_sub(before);
    assert!(grown < GROWTH_MAX_BYTES, "{grown} bytes more after {CYCLES} paths");
    pair.client.audit().unwrap();
    pair.server.audit().unwrap();
}
