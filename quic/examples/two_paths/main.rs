//! One download over two paths, one of which is lost half-way: a server and a client in one process, on loopback.
//!
//!     cargo run --release --example two_paths
//!
//! Shows how a program embeds the endpoint, which does no input and output itself: `driver.rs` moves its datagrams
//! through ordinary UDP sockets, here are the two applications on top. Every event is printed with its time and what it
//! means. Ends with an error, and exit code 1, if anything did not happen as told.

mod driver;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use braid_quic::schedule::SchedulerKind;
use braid_quic::{
    ClientConfig, ClientTls, ConnectionKey, Direction, EndpointConfig, Event, Instant, LocalId, PathId,
    RouteId, ServerTls, StreamId, TransportConfig,
};
use bytes::{Buf as _, Bytes};
use rustls_pki_types::PrivateKeyDer;

use driver::{Driver, wait};

type Outcome<T> = Result<T, Box<dyn Error>>;

const DOWNLOAD_BYTES: usize = 10_000_000;
/// The name of our application protocol; both ends must offer it (RFC 9001 §8.1).
const ALPN: &[u8] = b"ten-megabytes";
/// Whatever takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    let (server_tls, client_tls) = identities()?;
    // Packets on both paths by turns. The default (`MinRtt`) would prefer the faster one.
    let transport =
        Arc::new(TransportConfig { scheduler: SchedulerKind::RoundRobin, ..TransportConfig::default() });

    // An endpoint carries any number of connections and can accept and make them; one without `server` only makes them.
    let mut config = EndpointConfig::new(random()?, random()?);
    config.transport = Arc::clone(&transport);
    config.server = Some(server_tls);
    let mut server = Server { driver: Driver::new(config, &["127.0.0.1:0"])?, answers: HashMap::new() };
    let listens_on = server.driver.address(LocalId(0))?;

    // The client has two local addresses: in real life Wi-Fi and mobile, here 127.0.0.1 and 127.0.0.2.
    let mut driver = Driver::new(EndpointConfig::new(random()?, random()?), &["127.0.0.1:0", "127.0.0.2:0"])?;
    let clock = Clock::now();
    let first = RouteId::new(LocalId(0), driver.address(LocalId(0))?, listens_on);
    let second = RouteId::new(LocalId(1), driver.address(LocalId(1))?, listens_on);
    let config = ClientConfig { tls: client_tls, transport };
    driver.endpoint.connect(config, "localhost".try_into()?, first, Instant::ZERO)?;
    let mut client = Client { driver, second, received: 0, received_at_loss: None, ended: false };

    // An endpoint never reads a clock: each call is told the time, in nanoseconds since whenever we like.
    while !(client.driver.is_over() && server.driver.is_over()) {
        if clock.elapsed() > PATIENCE {
            return Err("the story did not come to its end in time".into());
        }
        let now = Instant::from_nanos(clock.elapsed().as_nanos() as u64);
        client.turn(now)?;
        server.turn(now)?;
        wait([&mut client.driver, &mut server.driver], now)?;
    }
    print_table([&client.driver, &server.driver]);
    check(&client, &server)
}

/// Answers every request with `DOWNLOAD_BYTES`.
struct Server {
    driver: Driver,
    /// What is still to be written.
    answers: HashMap<(ConnectionKey, StreamId), Bytes>,
}

impl Server {
    fn turn(&mut self, now: Instant) -> Outcome<()> {
        self.driver.take_in(now)?;
        while let Some((key, event)) = self.driver.next_event(now) {
            let Some(mut connection) = self.driver.endpoint.connection(key, now) else { continue };
            let stream = match event {
                Event::Readable(stream) => {
                    let request = connection.read(stream)?;
                    let (len, is_complete) = (request.len(), request.fin);
                    connection.consume(stream, len);
                    if is_complete {
                        let content: Vec<u8> = (0..DOWNLOAD_BYTES).map(content).collect();
                        self.answers.insert((key, stream), content.into());
                    }
                    stream
                }
                Event::Writable(stream) => stream,
                _ => continue,
            };
            // A stream takes as much as it may buffer; `Writable` comes when it takes more.
            let Some(answer) = self.answers.get_mut(&(key, stream)) else { continue };
            let taken = connection.write(stream, [answer.clone()])?; // kept by reference, not copied
            answer.advance(taken as usize);
            if answer.is_empty() {
                connection.finish(stream)?;
                self.answers.remove(&(key, stream));
            }
        }
        self.driver.put_out(now);
        Ok(())
    }
}

/// Opens the second path, asks for the data, and loses its first socket when half of it is there.
struct Client {
    driver: Driver,
    /// Where the second path shall run.
    second: RouteId,
    received: usize,
    received_at_loss: Option<usize>,
    /// The last byte arrived.
    ended: bool,
}

impl Client {
    fn turn(&mut self, now: Instant) -> Outcome<()> {
        // What waits in the socket then is lost, and sent again over the other path.
        if self.received_at_loss.is_none() && self.received > DOWNLOAD_BYTES / 2 {
            println!("{:>8.1} ms  client  --- loses 127.0.0.1, after {} bytes ---", ms(now), self.received);
            self.driver.lose(LocalId(0), now);
            self.received_at_loss = Some(self.received);
        }
        self.driver.take_in(now)?;
        while let Some((key, event)) = self.driver.next_event(now) {
            self.on_event(key, &event, now)?;
        }
        self.driver.put_out(now);
        Ok(())
    }

    fn on_event(&mut self, key: ConnectionKey, event: &Event, now: Instant) -> Outcome<()> {
        let lost_path_is_gone = !self.driver.final_numbers.is_empty();
        let Some(mut connection) = self.driver.endpoint.connection(key, now) else { return Ok(()) };
        match event {
            Event::Connected { multipath: false } => return Err("the server speaks no multipath".into()),
            Event::Confirmed => {
                connection.open_path(self.second)?;
            }
            Event::PathValidated(_) => {
                let stream = connection.open_stream(Direction::Bidirectional).ok_or("no stream allowed")?;
                connection.write(stream, [Bytes::from_static(b"please")])?;
                connection.finish(stream)?;
            }
            Event::Readable(stream) => {
                // Bytes are lent in order, in two slices at most; `consume` gives them back and makes room for more.
                while !self.ended {
                    let lent = connection.read(*stream)?;
                    let (len, is_last) = (lent.len(), lent.fin);
                    let expected = (self.received..).map(content);
                    if !lent
                        .first
                        .iter()
                        .chain(lent.second)
                        .zip(expected)
                        .all(|(&byte, wanted)| byte == wanted)
                    {
                        return Err("other bytes arrived than were sent".into());
                    }
                    connection.consume(*stream, len);
                    self.received += len;
                    self.ended = is_last;
                    if len == 0 {
                        break;
                    }
                }
            }
            _ => {}
        }
        if self.ended && lost_path_is_gone {
            connection.close(0, b"thank you");
        }
        Ok(())
    }
}

/// Prints an event and what it means.
fn tell(who: &str, now: Instant, event: &Event) {
    let words = match event {
        Event::Connected { multipath } => format!("connected: keys are agreed; multipath: {multipath}"),
        Event::Confirmed => "confirmed: the client may open paths".into(),
        Event::StreamOpened(stream) => format!("{stream:?} opened by the peer"),
        Event::Readable(stream) => format!("{stream:?} readable: bytes, or its end, wait to be read"),
        Event::Writable(stream) => format!("{stream:?} writable: its buffer has room again"),
        Event::Finished(stream) => format!("{stream:?} finished: the peer has all of it"),
        Event::PathOpened(path) => format!("{path:?} opened: it is being validated"),
        Event::PathValidated(path) => format!("{path:?} validated: its address is proven, data may flow"),
        Event::PathSuspect(path) => {
            format!("{path:?} suspect: no answer in time, its data goes elsewhere too")
        }
        Event::PathRecovered(path) => format!("{path:?} recovered: an answer came after all"),
        Event::PathMtu { path, bytes } => format!("{path:?}: full datagrams have {bytes} bytes now"),
        Event::PathAbandoned { path, code, by_peer } => {
            format!("{path:?} abandoned by {}, code {:#x}", if *by_peer { "the peer" } else { "us" }, code.0)
        }
        Event::PathClosed { stats } => {
            format!("{:?} closed: its state is gone, its numbers are final", stats.id)
        }
        Event::Closed(reason) => format!("closed: {reason}"),
        Event::Gone => "gone: nothing is left of the connection".into(),
        other => format!("{other:?}"),
    };
    println!("{:>8.1} ms  {who}  {words}", ms(now));
}

/// The last numbers of each path, as both ends counted them.
fn print_table(drivers: [&Driver; 2]) {
    println!(
        "\n        path  local            remote           packets out     in  lost   data in   RTT min   MTU"
    );
    for driver in drivers {
        for it in &driver.final_numbers {
            let (id, local, remote) = (it.id, it.route.local(), it.route.remote());
            let (out, into, lost, data) =
                (it.packets_sent, it.packets_received, it.packets_lost, it.stream_bytes_received);
            let (name, rtt, mtu) = (driver.name, it.rtt_min.unwrap_or_default(), it.mtu);
            println!(
                "{name}  {id:<4}  {local:<15}  {remote:<15}  {out:>11}  {into:>5}  {lost:>4}  {data:>8}  {rtt:>8.1?}  {mtu:>4}"
            );
        }
    }
}

/// Did everything happen that was to be shown?
fn check(client: &Client, server: &Server) -> Outcome<()> {
    let brought = |path| {
        let numbers = client.driver.final_numbers.iter().find(|stats| stats.id == PathId(path));
        numbers.map_or(0, |stats| stats.stream_bytes_received as usize)
    };
    let facts = [
        (client.received == DOWNLOAD_BYTES && client.ended, "the download is complete"),
        (
            client.received_at_loss.is_some_and(|bytes| bytes < DOWNLOAD_BYTES),
            "it went on after the first path was lost",
        ),
        (brought(0) > 0 && brought(1) > 0, "both paths brought data"),
        (brought(0) + brought(1) == DOWNLOAD_BYTES, "each byte is counted on the path that brought it first"),
        (server.driver.final_numbers.len() == 2, "the server knows the end of both paths too"),
    ];
    println!();
    for (is_so, sentence) in facts {
        println!("{} {sentence}", if is_so { "yes:" } else { "NO: " });
    }
    if facts.iter().all(|(is_so, _)| *is_so) { Ok(()) } else { Err("something did not happen".into()) }
}

/// A certificate for `localhost`, and a client that trusts this one and no other.
fn identities() -> Outcome<(ServerTls, ClientTls)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    server.alpn_protocols = vec![ALPN.to_vec()];

    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(made.cert.der().clone())?;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok((ServerTls::new(Arc::new(server))?, ClientTls::new(Arc::new(client))?))
}

/// Secrets come from outside too: an endpoint with the same seed and the same input does the same.
fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// Byte `offset` of the download.
fn content(offset: usize) -> u8 {
    (offset % 251) as u8
}

fn ms(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1e6
}
