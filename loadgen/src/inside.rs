//! The server inside this process: what `loadgen` without a target loads.
//!
//! Owns how the cores are shared between both ends, and the settings that both ends get from one command line. It is
//! the very server that the `server` program runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::TransportConfig;
use braid_quic::log::LogFactory;
use braid_server::qlog::Written;
use braid_server::{Config, Identity, Server};
use rustls_pki_types::CertificateDer;

use crate::load::Work;
use crate::plan::Plan;

/// The name in the inside server's certificate; nobody checks it, since the certificate itself is pinned.
pub(crate) const NAME: &str = "localhost";

/// Datagrams that wait to be sent on one connection, in bytes; how many may is the command line's matter.
const DATAGRAM_BUFFER_BYTES: u64 = 16 << 20;
/// How long a connection that only stands there may be silent; less than any idle timeout in use.
const IDLE_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The settings that one command line makes for both ends.
pub(crate) fn transport(plan: &Plan) -> TransportConfig {
    let defaults = TransportConfig::default();
    let streams = match plan.load.work {
        Work::Requests { at_once, .. } => at_once,
        Work::Datagrams { .. } | Work::Handshakes { .. } => 0,
    };
    TransportConfig {
        max_paths: plan.paths as u32,
        multipath_code_points: plan.code_points,
        ack_frequency: plan.ack_frequency,
        datagram_size: plan.datagram_bytes,
        datagram_size_max: plan.datagram_bytes_max,
        scheduler: plan.scheduler.clone().unwrap_or(defaults.scheduler),
        congestion: plan.congestion.clone().unwrap_or(defaults.congestion),
        max_streams_bidirectional: defaults.max_streams_bidirectional.max(streams as u64),
        // Both ends have room for what is under way; who takes none has none.
        datagram_receive_max: u16::MAX,
        datagram_send_buffer: DATAGRAM_BUFFER_BYTES,
        // It costs 8 KiB a path, and what idle connections cost is what they are there for.
        rtt_distribution: plan.load.idle == 0,
        ..defaults
    }
}

/// The cores of the client's workers and those that are left for a server, of all `cores`.
///
/// The client takes the last ones, so a server of its own started on the first cores is out of its way.
pub(crate) fn share_cores(cores: &[usize], workers: usize) -> (Vec<usize>, Vec<usize>) {
    let split = cores.len().saturating_sub(workers);
    if split == 0 {
        return (Vec::new(), Vec::new()); // too few to share: the system places the threads
    }
    (cores[split..].to_vec(), cores[..split].to_vec())
}

/// A running server of our own.
pub(crate) struct Inside {
    server: Server,
    listen: Vec<SocketAddr>,
}

impl Inside {
    /// Starts a server for `plan` on `cores`; with none of its own it gets a worker for each of the client's.
    pub(crate) fn start(plan: &Plan, cores: Vec<usize>) -> Result<Self, String> {
        let listen = plan.listen_inside()?;
        let identity = Identity::self_signed(&[NAME]).map_err(|error| error.to_string())?;
        let defaults = Config::new(listen.clone(), identity);
        let config = Config {
            workers: if cores.is_empty() { plan.workers } else { cores.len() }.min(plan.load.all()),
            cores,
            transport: transport(plan),
            io: plan.io,
            packet_protection: plan.packet_protection,
            // One file is one end's.
            qlog: plan.qlog.clone().filter(|qlog| !qlog.is_file()),
            connections_max: defaults.connections_max.max(plan.load.all()),
            handshakes_max: defaults.handshakes_max.max(plan.load.connections),
            ..defaults
        };
        let server = Server::start(config).map_err(|error| error.to_string())?;
        Ok(Self { server, listen })
    }

    /// The server itself.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Where it was asked to listen.
    pub(crate) fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The certificate to pin.
    pub(crate) fn certificate(&self) -> Result<CertificateDer<'static>, String> {
        self.server.certificate().cloned().ok_or_else(|| "the server inside has no certificate".into())
    }

    /// Ends it; what went wrong with its workers, if anything.
    pub(crate) fn stop(self) -> Vec<String> {
        let report = self.server.stop();
        let mut failures = report.failures;
        failures.extend(report.log.iter().flat_map(Written::complaints));
        failures
    }
}

/// The client's settings for the same command line, and its log.
pub(crate) fn client_transport(plan: &Plan, log: Option<LogFactory>) -> Arc<TransportConfig> {
    Arc::new(TransportConfig { log, ..transport(plan) })
}

/// The same for connections that only stand there: not logged, and kept alive.
pub(crate) fn idle_transport(plan: &Plan) -> Arc<TransportConfig> {
    Arc::new(TransportConfig { keep_alive: Some(IDLE_KEEP_ALIVE), ..transport(plan) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_takes_the_last_cores_and_the_server_gets_the_others() {
        assert_eq!(share_cores(&[0, 1, 2, 3], 2), (vec![2, 3], vec![0, 1]));
        assert_eq!(share_cores(&[0, 1], 1), (vec![1], vec![0]));
    }

    #[test]
    fn where_cores_are_too_few_nobody_is_pinned() {
        assert_eq!(share_cores(&[0], 1), (vec![], vec![]));
        assert_eq!(share_cores(&[0, 1], 2), (vec![], vec![]));
        assert_eq!(share_cores(&[], 1), (vec![], vec![]));
    }
}
