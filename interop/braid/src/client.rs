//! `braid-perf-client`: does what its script says, checks the answers and reports in one line of JSON.
//!
//! Owns the downloads. Paths leave from 127.0.0.1, 127.0.0.2 and so on, each from a socket of its own.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant as Clock;

use braid_peer::{Desk, Errand, GRACE, LOOK_EVERY, desk, transport, words, work};
use braid_quic::{
    ClientConfig, ClientTls, ConnectionGuard, ConnectionKey, Direction, Endpoint, EndpointConfig, Event,
    Instant, LocalId, RouteId, StreamId,
};
use braid_server::worker::Application;
use braid_udp_uring::{SocketConfig, UdpSocket};
use bytes::Bytes;
use interop_perf::options::ClientOptions;
use interop_perf::protocol::is_zeros;
use interop_perf::report::Report;
use interop_perf::script::{self, Log, Step};
use interop_perf::{Failure, tls};
use rustls::pki_types::ServerName;

const NAME: &str = "braid-perf-client";

fn main() -> ExitCode {
    interop_perf::run(NAME, ClientOptions::from_env(), |options| async move { fetch(&options) })
}

fn fetch(options: &ClientOptions) -> Result<(), Failure> {
    let last = options.script.iter().map(|step| match step {
        Step::Open(link) | Step::Cycle(_, link) => *link,
        _ => 0,
    });
    let (mut sockets, mut routes) = (Vec::new(), Vec::new());
    for link in 0..=last.max().unwrap_or(0) {
        let socket = UdpSocket::bind(&SocketConfig::new((ClientOptions::local(link), 0).into()))?;
        routes.push(RouteId::new(LocalId(link.into()), socket.local_addr(), options.link(link)));
        sockets.push(socket);
    }
    let provider = Arc::new(braid_quic::PacketProtection::default().provider());
    let config = ClientConfig {
        tls: ClientTls::new(Arc::new(tls::client_with(provider)?))?,
        transport: transport(options.paths),
    };
    let (log, first) = (Log::default(), routes[0]);
    let (mut remote, desk) = desk(routes);
    let application = Client {
        begin: Some((config, first)),
        key: None,
        confirmed: false,
        desk,
        log: log.clone(),
        downloads: HashMap::new(),
    };
    let crew = work("client", sockets, EndpointConfig::new([1; 16], [2; 32]), application)?;
    let start = Clock::now();
    let done = script::run(&options.script, &mut remote, &log);
    let elapsed = start.elapsed();
    let numbers = remote.numbers();
    for ended in crew.stop(GRACE) {
        ended.failure.map_or(Ok(()), Err)?;
    }
    done?;
    let (paths, key_updates) = numbers.ok_or("the connection is gone")?;
    let report = Report {
        bytes_received: log.moved_bytes(),
        multipath: log.events().iter().any(|event| event == "multipath"),
        paths,
        events: log.events(),
        key_updates: Some(key_updates),
        ..Report::default()
    };
    Ok(report.over(elapsed).print()?)
}

/// One connection.
struct Client {
    begin: Option<(ClientConfig, RouteId)>,
    key: Option<ConnectionKey>,
    confirmed: bool,
    desk: Desk,
    log: Log,
    downloads: HashMap<StreamId, Download>,
}

/// One answer, as far as it has come.
struct Download {
    wanted_bytes: u64,
    received_bytes: u64,
}

impl Application for Client {
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant) {
        if let Some(words) = words(&event) {
            self.log.on_event(words);
        }
        match event {
            Event::Connected { multipath: true } => self.log.on_event("multipath"),
            Event::Confirmed => self.confirmed = true,
            Event::Closed(reason) => self.log.on_failed(format!("connection lost: {reason}")),
            Event::Readable(stream) => {
                let Some(mut connection) = endpoint.connection(key, now) else { return };
                if let Some(result) = self.read(&mut connection, stream) {
                    self.downloads.remove(&stream);
                    self.log.on_done(result);
                }
            }
            _ => {}
        }
    }

    fn on_turn(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        if let Some((config, route)) = self.begin.take() {
            match ServerName::try_from(tls::SERVER_NAME) {
                Ok(name) => match endpoint.connect(config, name, route, now) {
                    Ok(key) => self.key = Some(key),
                    Err(error) => self.log.on_failed(error.to_string()),
                },
                Err(error) => self.log.on_failed(error.to_string()),
            }
        }
        if self.confirmed
            && let Some(mut connection) = endpoint.connection(self.key?, now)
        {
            for Errand::Get(bytes) in self.desk.serve(&mut connection) {
                if let Err(sentence) = self.ask(&mut connection, bytes) {
                    self.log.on_done(Err(sentence));
                }
            }
        }
        Some(now + LOOK_EVERY)
    }
}

impl Client {
    fn ask(&mut self, connection: &mut ConnectionGuard<'_>, wanted_bytes: u64) -> Result<(), String> {
        let stream = connection.open_stream(Direction::Bidirectional).ok_or("the server allows no stream")?;
        let request = Bytes::copy_from_slice(&wanted_bytes.to_be_bytes());
        connection.write(stream, [request]).map_err(|error| error.to_string())?;
        connection.finish(stream).map_err(|error| error.to_string())?;
        self.downloads.insert(stream, Download { wanted_bytes, received_bytes: 0 });
        Ok(())
    }

    /// Reads what there is; tells how a download ended, once it has.
    fn read(&mut self, connection: &mut ConnectionGuard<'_>, stream: StreamId) -> Option<Result<(), String>> {
        let download = self.downloads.get_mut(&stream)?;
        loop {
            let slices = match connection.read(stream) {
                Ok(slices) => slices,
                Err(error) => return Some(Err(error.to_string())),
            };
            let (count, fin) = (slices.first.len() + slices.second.len(), slices.fin);
            if !is_zeros(slices.first) || !is_zeros(slices.second) {
                return Some(Err("the answer is not all zeros".to_owned()));
            }
            connection.consume(stream, count);
            download.received_bytes += count as u64;
            self.log.on_received(count as u64);
            let Download { wanted_bytes, received_bytes } = *download;
            match fin {
                true if received_bytes == wanted_bytes => return Some(Ok(())),
                true => return Some(Err(format!("asked for {wanted_bytes} bytes and got {received_bytes}"))),
                false if count == 0 => return None,
                false => {}
            }
        }
    }
}
