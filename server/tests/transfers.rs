//! Whole servers and clients over loopback, with every way of steering and both kinds of I/O.
//!
//! Real sockets and threads, so nothing here waits for less than a generous deadline, and every assertion is about
//! counts, not about time.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ClientConfig, ClientTls, CloseReason, ConnectionKey, Direction, Endpoint, EndpointConfig, Event, Instant,
    LocalId, RouteId, TransportConfig,
};
use braid_server::crew::{Crew, Plan};
use braid_server::worker::Application;
use braid_server::{Config, Identity, Server, Steer, perf};
use braid_udp_uring::{IoKind, SocketConfig, UdpSocket};
use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};

const PATIENCE: Duration = Duration::from_secs(20);

/// What a client tells.
#[derive(Debug, PartialEq)]
enum News {
    /// A download is complete, with so many bytes.
    Complete(u64),
    /// A connection ended.
    Closed(CloseReason),
}

/// Makes one connection per socket, downloads once on each while uploading, and keeps the connections open.
struct Client {
    config: ClientConfig,
    routes: Vec<RouteId>,
    wanted: u64,
    upload: u64,
    received: HashMap<ConnectionKey, u64>,
    news: Sender<News>,
}

impl Application for Client {
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant) {
        let Some(mut connection) = endpoint.connection(key, now) else { return };
        match event {
            Event::Connected { .. } => {
                let stream = connection.open_stream(Direction::Bidirectional).expect("the first stream");
                let request = Bytes::copy_from_slice(&self.wanted.to_be_bytes());
                let chunks = std::iter::once(request).chain(perf::zeros(self.upload));
                assert_eq!(connection.write(stream, chunks), Ok(8 + self.upload));
                connection.finish(stream).expect("a stream just opened");
            }
            Event::Readable(stream) => {
                while let Ok(slices) = connection.read(stream) {
                    let (len, fin) = (slices.first.len() + slices.second.len(), slices.fin);
                    assert!(slices.first.iter().chain(slices.second).all(|&octet| octet == 0));
                    connection.consume(stream, len);
                    let received = self.received.entry(key).or_default();
                    *received += len as u64;
                    if fin {
                        self.news.send(News::Complete(*received)).expect("the test listens");
                    }
                    if fin || len == 0 {
                        break;
                    }
                }
            }
            Event::Closed(reason) => self.news.send(News::Closed(reason)).expect("the test listens"),
            _ => {}
        }
    }

    fn on_turn(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        for route in self.routes.drain(..) {
            let name = "localhost".try_into().expect("a name");
            endpoint.connect(self.config.clone(), name, route, now).expect("room for a connection");
        }
        None
    }
}

fn client_tls(server: &Server) -> ClientTls {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.certificate().expect("a certificate").clone()).expect("a fine certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![perf::ALPN.to_vec()];
    ClientTls::new(Arc::new(config)).expect("settings for QUIC")
}

/// A client with `connections` connections, each from a socket of its own, to the server's addresses in turn.
fn client(server: &Server, io: IoKind, connections: usize, wanted: u64) -> (Crew<Client>, Receiver<News>) {
    client_with(client_tls(server), server, io, connections, wanted)
}

fn client_with(
    tls: ClientTls,
    server: &Server,
    io: IoKind,
    connections: usize,
    wanted: u64,
) -> (Crew<Client>, Receiver<News>) {
    let (news, hear) = unbounded();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets: Vec<_> =
        (0..connections).map(|_| UdpSocket::bind(&SocketConfig::new(any)).expect("a socket")).collect();
    let route = |(number, socket): (usize, &UdpSocket)| {
        let remote = server.local_addrs()[number % server.local_addrs().len()];
        RouteId::new(LocalId(number as u16), socket.local_addr(), remote)
    };
    let application = Client {
        config: ClientConfig { tls, transport: Arc::new(TransportConfig::default()) },
        routes: sockets.iter().enumerate().map(route).collect(),
        wanted,
        upload: 30_000,
        received: HashMap::new(),
        news,
    };
    let plan = Plan {
        core: None,
        sockets,
        endpoint: EndpointConfig::new([1; 16], [2; 32]),
        udp: braid_udp_uring::Config { kind: io, ..braid_udp_uring::Config::default() },
        application,
    };
    (Crew::start("client", vec![plan], None).expect("a client"), hear)
}

fn server(listen: &[&str], workers: usize, steer: Steer, io: IoKind) -> Server {
    let listen = listen.iter().map(|address| address.parse().expect("an address")).collect();
    let identity = Identity::self_signed(&["localhost"]).expect("a certificate");
    let stats = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    Server::start(Config { workers, steer, io, stats, ..Config::new(listen, identity) }).expect("a server")
}

/// Downloads over many connections at once, and returns how many segments the workers forwarded.
fn downloads(steer: Steer, io: IoKind) -> u64 {
    const CONNECTIONS: usize = 24;
    const WANTED: u64 = 300_000;
    let server = server(&["127.0.0.1:0"], 2, steer, io);
    let (client, news) = client(&server, io, CONNECTIONS, WANTED);
    for _ in 0..CONNECTIONS {
        assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Complete(WANTED)));
    }
    let stats = server.stats();
    assert_eq!((stats.workers.len(), &stats.workers_silent[..]), (2, &[][..]));
    assert_eq!(stats.connections.len(), CONNECTIONS);
    let accepted: Vec<u64> = stats.workers.iter().map(|worker| worker.quic.accepted).collect();
    assert_eq!(accepted.iter().sum::<u64>(), CONNECTIONS as u64, "no connection was accepted twice");
    assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
    for worker in &stats.workers {
        assert!(worker.cpu_s.is_some_and(|seconds| seconds > 0.0));
        assert!(worker.udp.enters > 0 && worker.udp.datagrams_sent > 0);
        let forwards = worker.forwards;
        assert_eq!((forwards.dropped_inbox_full, forwards.dropped_no_buffer), (0, 0));
    }
    client.stop(Duration::ZERO);
    let report = server.stop();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let sent = report.workers.iter().map(|worker| worker.forwards.sent()).sum();
    let received: u64 = report.workers.iter().map(|worker| worker.forwards.received).sum();
    assert!(received <= sent);
    sent
}

#[test]
fn with_steering_nothing_is_forwarded() {
    assert_eq!(downloads(Steer::Bpf, IoKind::Auto), 0);
    assert_eq!(downloads(Steer::Bpf, IoKind::Mmsg), 0);
}

#[test]
fn without_steering_strays_are_forwarded_and_nothing_fails() {
    assert!(downloads(Steer::None, IoKind::Auto) > 0);
    assert!(downloads(Steer::None, IoKind::Mmsg) > 0);
}

#[test]
fn every_listen_address_is_served() {
    let server = server(&["127.0.0.1:0", "127.0.0.2:0"], 2, Steer::Bpf, IoKind::Auto);
    let (client, news) = client(&server, IoKind::Auto, 4, 1000);
    for _ in 0..4 {
        assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Complete(1000)));
    }
    let locals: Vec<String> =
        server.stats().connections.iter().map(|connection| connection.paths[0].local.clone()).collect();
    for address in server.local_addrs() {
        assert_eq!(locals.iter().filter(|local| **local == address.to_string()).count(), 2, "{locals:?}");
    }
    client.stop(Duration::ZERO);
    server.stop();
}

#[test]
fn a_session_is_taken_up_by_whichever_worker_gets_the_ticket() {
    const CONNECTIONS: usize = 8; // as many tickets of one server as rustls keeps
    let server = server(&["127.0.0.1:0"], 2, Steer::Bpf, IoKind::Auto);
    let tls = client_tls(&server);
    for resumed in [0, CONNECTIONS] {
        let (client, news) = client_with(tls.clone(), &server, IoKind::Auto, CONNECTIONS, 1000);
        for _ in 0..CONNECTIONS {
            assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Complete(1000)));
        }
        let stats = server.stats();
        assert_eq!(stats.connections.iter().filter(|connection| connection.resumed).count(), resumed);
        client.stop(Duration::ZERO);
    }
    server.stop();
}

#[test]
fn a_server_that_stops_tells_its_clients() {
    let server = server(&["127.0.0.1:0"], 2, Steer::Bpf, IoKind::Auto);
    let (client, news) = client(&server, IoKind::Auto, 5, 10);
    for _ in 0..5 {
        assert_eq!(news.recv_timeout(PATIENCE), Ok(News::Complete(10)));
    }
    assert!(server.stop().failures.is_empty());
    for _ in 0..5 {
        let told = news.recv_timeout(PATIENCE);
        assert!(matches!(told, Ok(News::Closed(CloseReason::PeerApplication { code: 0, .. }))), "{told:?}");
    }
    client.stop(Duration::ZERO);
}

#[test]
fn a_busy_port_is_said() {
    let first = server(&["127.0.0.1:0"], 1, Steer::Bpf, IoKind::Auto);
    let identity = Identity::self_signed(&["localhost"]).expect("a certificate");
    let second = Server::start(Config::new(first.local_addrs().to_vec(), identity));
    assert!(second.is_err_and(|error| error.to_string().ends_with("the port is already in use")));
    first.stop();
}
