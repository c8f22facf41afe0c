//! `braid-perf-server`: Braid's perf server that tells what happens to paths, and follows a script on the first
//! connection, until it is killed.
//!
//! Owns the telling. Requests are served by the application of `server`.

use std::collections::HashMap;
use std::process::ExitCode;

use braid_peer::{Desk, LOOK_EVERY, Remote, desk, transport, words, work};
use braid_quic::{ConnectionKey, Endpoint, EndpointConfig, Event, Instant, PacketProtection};
use braid_server::Identity;
use braid_server::perf::{ALPN, Perf};
use braid_server::worker::Application;
use braid_udp_uring::{SocketConfig, UdpSocket};
use interop_perf::options::ServerOptions;
use interop_perf::script::{self, Log, Step};
use interop_perf::{Failure, tls};

const NAME: &str = "braid-perf-server";

fn main() -> ExitCode {
    interop_perf::run(NAME, ServerOptions::from_env(), |options| async move { serve(options) })
}

fn serve(options: ServerOptions) -> Result<(), Failure> {
    let socket = UdpSocket::bind(&SocketConfig::new(options.listen))?;
    let listening = socket.local_addr();
    let (remote, desk) = desk(Vec::new());
    let script = (!options.script.is_empty()).then_some((options.script, remote));
    let application = Watched { perf: Perf::default(), logs: HashMap::new(), script, scripted: None, desk };
    let endpoint = EndpointConfig {
        server: Some(Identity::self_signed(&[tls::SERVER_NAME])?.server_tls(
            &[ALPN],
            1,
            PacketProtection::default(),
        )?),
        transport: transport(options.paths),
        ..EndpointConfig::new([3; 16], [4; 32])
    };
    let crew = work("server", vec![socket], endpoint, application)?;
    println!("listening on {listening}");
    Err(crew.failures().recv()?.into())
}

/// The perf application, watched.
struct Watched {
    perf: Perf,
    logs: HashMap<ConnectionKey, Log>,
    /// For the first connection.
    script: Option<(Vec<Step>, Remote)>,
    scripted: Option<ConnectionKey>,
    desk: Desk,
}

impl Application for Watched {
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant) {
        let log = self.logs.entry(key).or_default();
        if let Some(words) = words(&event) {
            log.on_event(words);
        }
        match &event {
            Event::Confirmed => {
                if let Some((steps, remote)) = self.script.take() {
                    self.scripted = Some(key);
                    follow(steps, remote, log.clone());
                }
            }
            Event::Closed(reason) => {
                let updates =
                    endpoint.connection(key, now).map_or(0, |connection| connection.stats().key_updates);
                log.on_event(format!("keys updated {updates}"));
                log.on_event(format!("ended: {reason}"));
                log.on_failed("the connection is over".to_owned());
            }
            Event::Gone => drop(self.logs.remove(&key)),
            _ => {}
        }
        self.perf.on_event(endpoint, key, event, now);
    }

    fn on_turn(&mut self, endpoint: &mut Endpoint, now: Instant) -> Option<Instant> {
        let wish = self.perf.on_turn(endpoint, now);
        let Some(key) = self.scripted else { return wish };
        if let (Some(mut connection), Some(log)) = (endpoint.connection(key, now), self.logs.get(&key)) {
            log.on_moved(connection.stats().stream_bytes_sent);
            self.desk.serve(&mut connection);
        }
        Some(wish.unwrap_or(Instant::NEVER).min(now + LOOK_EVERY))
    }
}

/// Does what the script says, on a thread of its own.
fn follow(steps: Vec<Step>, mut remote: Remote, log: Log) {
    std::thread::spawn(move || {
        if let Err(failure) = script::run(&steps, &mut remote, &log) {
            eprintln!("{NAME}: the script failed: {failure}");
        }
    });
}
