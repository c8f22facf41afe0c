//! A running server: its sockets, its workers and its control thread.
//!
//! Owns the order of starting (check, TLS, sockets, workers, control) and of stopping. Prints nothing and reads no
//! argument: the `server` program does, and load generators start one of these inside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use braid_quic::{EndpointConfig, PacketProtection, Role, Shard};
use crossbeam::channel::Receiver;
use rustls_pki_types::CertificateDer;

use crate::config::{Config, Steer};
use crate::control::Control;
use crate::crew::{Crew, CrewHandle, Ended, Plan, Sharing, random};
use crate::error::StartError;
use crate::perf::{self, Perf};
use crate::qlog::{Recorder, Written};
use crate::sockets::{SocketOptions, Sockets};
use crate::stats::{CONNECTIONS_SHOWN, SCHEMA, ServerStats, WorkerStats};
use crate::steer::Steering;
use crate::system;

/// How long closed connections repeat to their peers that they are closed.
const GRACE: Duration = Duration::from_millis(200);

/// A running server.
#[derive(Debug)]
pub struct Server {
    crew: Crew<Perf>,
    control: Option<Control>,
    recorder: Option<Recorder>,
    observer: Observer,
    addresses: Vec<SocketAddr>,
    warnings: Vec<String>,
    certificate: Option<CertificateDer<'static>>,
}

/// What a server did, told when it has stopped.
#[derive(Debug)]
pub struct Report {
    /// How long it ran.
    pub uptime: Duration,
    /// Its workers at their end.
    pub workers: Vec<WorkerStats>,
    /// Workers that ended before they were told to, in words.
    pub failures: Vec<String>,
    /// What was logged, where connections are.
    pub log: Option<Written>,
}

impl Server {
    /// Starts a server. When this returns it answers on all of its addresses.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let tls = config.identity.server_tls(&[perf::ALPN], config.tickets, config.packet_protection)?;
        let control = config.stats.map(Control::bind).transpose()?;
        let cid_key = random();
        let steering = Steering::new(cid_key, config.workers);
        let steered = config.steer == Steer::Bpf;
        let program = (steered && config.workers > 1).then(|| steering.program());
        let options = SocketOptions {
            receive_buffer_bytes: config.receive_buffer_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
        };
        let sockets = Sockets::bind(&config.listen, config.workers, options, program.as_deref())?;
        let addresses = sockets.addresses().to_vec();
        let warnings = sockets.warning().into_iter().collect();
        let mut transport = config.transport;
        let mut recorder = None;
        if let Some(qlog) = &config.qlog {
            let (log, started) = Recorder::start(qlog, Role::Server)?;
            transport.log = Some(log);
            recorder = Some(started);
        }
        let shared = EndpointConfig {
            server: Some(tls),
            transport: Arc::new(transport),
            connections_max: config.connections_max,
            handshakes_max: config.handshakes_max,
            ..EndpointConfig::new(cid_key, random())
        };
        let udp = braid_udp_uring::Config { kind: config.io, ..braid_udp_uring::Config::default() };
        let plan = |(worker, sockets)| Plan {
            core: config.cores.get(worker % config.cores.len().max(1)).copied(),
            sockets,
            endpoint: EndpointConfig {
                shard: Shard { generation: 0, worker: worker as u8 },
                ..shared.clone()
            },
            udp: udp.clone(),
            application: Perf::default(),
        };
        let plans = sockets.into_workers().into_iter().enumerate().map(plan).collect();
        let crew = Crew::start("worker", plans, Some(Sharing { steering, steered }))?;
        let observer = Observer::new(crew.handle(), config.packet_protection.resolved());
        let control = control.map(|listener| Control::start(listener, observer.clone())).transpose()?;
        let certificate = config.identity.certificate().cloned();
        Ok(Self { crew, control, recorder, observer, addresses, warnings, certificate })
    }

    /// Where it listens, in the order of the settings, with the ports that the system chose.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it serves statistics, if it does.
    pub fn stats_addr(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(Control::address)
    }

    /// What its owner should know, though it works.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The certificate it shows, for clients that pin it.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// The server at this moment.
    pub fn stats(&self) -> ServerStats {
        self.observer.observe()
    }

    /// Says something when a worker ends that was not told to.
    pub fn failures(&self) -> &Receiver<String> {
        self.crew.failures()
    }

    /// Closes all connections, tells the peers, and ends.
    pub fn stop(self) -> Report {
        if let Some(control) = self.control {
            control.stop();
        }
        let uptime = self.observer.started.elapsed();
        let ended = self.crew.stop(GRACE);
        let failures = ended.iter().filter_map(|end: &Ended<Perf>| end.failure.clone()).collect();
        let log = self.recorder.map(Recorder::stop);
        Report { uptime, workers: ended.into_iter().map(|end| end.stats).collect(), failures, log }
    }
}

/// Looks at a server from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    crew: CrewHandle,
    started: Clock,
    packet_protection: PacketProtection,
    receive_buffer_errors_before: Option<u64>,
}

impl Observer {
    pub(crate) fn new(crew: CrewHandle, packet_protection: PacketProtection) -> Self {
        let receive_buffer_errors_before = system::receive_buffer_errors();
        Self { crew, started: Clock::now(), packet_protection, receive_buffer_errors_before }
    }

    pub(crate) fn observe(&self) -> ServerStats {
        let errors = system::receive_buffer_errors().zip(self.receive_buffer_errors_before);
        let mut stats = ServerStats {
            schema: SCHEMA,
            uptime_s: self.started.elapsed().as_secs_f64(),
            packet_protection: self.packet_protection.to_string(),
            memory_resident_bytes: system::resident_bytes(),
            kernel_receive_buffer_errors: errors.map(|(now, before)| now.saturating_sub(before)),
            ..ServerStats::default()
        };
        for (worker, snapshot) in self.crew.describe(CONNECTIONS_SHOWN).into_iter().enumerate() {
            let Some(snapshot) = snapshot else {
                stats.workers_silent.push(worker);
                continue;
            };
            stats.workers.push(snapshot.worker);
            stats.connections.extend(snapshot.connections);
            stats.connections_omitted += snapshot.connections_omitted;
        }
        let too_many = stats.connections.len().saturating_sub(CONNECTIONS_SHOWN);
        stats.connections.truncate(CONNECTIONS_SHOWN);
        stats.connections_omitted += too_many as u64;
        stats
    }
}
