//! Braid as a peer: what a script needs that `server` and `loadgen` have no option for.
//!
//! Owns the way from a script's thread to the worker that has the connection, and the names of events. The worker, the
//! sockets and the server's application are Braid's own.

mod desk;

use std::sync::Arc;
use std::time::Duration;

use braid_quic::{Event, TransportConfig};
use braid_server::crew::{Crew, Plan};
use braid_server::worker::Application;
use braid_udp_uring::UdpSocket;
use interop_perf::{CONNECTION_WINDOW_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES};

pub use crate::desk::{Desk, Errand, Remote, desk};

/// How often a worker looks at its desk.
pub const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long closed connections repeat to their peers that they are closed.
pub const GRACE: Duration = Duration::from_millis(200);

/// Transport settings like those of the other peers.
pub fn transport(paths: u32) -> Arc<TransportConfig> {
    Arc::new(TransportConfig {
        max_paths: paths,
        idle_timeout: IDLE_TIMEOUT,
        stream_window_max: STREAM_WINDOW_BYTES.into(),
        connection_window_max: CONNECTION_WINDOW_BYTES.into(),
        datagram_size: 1200,
        ..TransportConfig::default()
    })
}

/// Starts one worker on these sockets.
pub fn work<A: Application + Send + 'static>(
    name: &str,
    sockets: Vec<UdpSocket>,
    endpoint: braid_quic::EndpointConfig,
    application: A,
) -> Result<Crew<A>, Failure> {
    let udp = braid_udp_uring::Config {
        sockets_max: u16::try_from(sockets.len())?,
        ..braid_udp_uring::Config::default()
    };
    Ok(Crew::start(name, vec![Plan { core: None, sockets, endpoint, udp, application }], None)?)
}

/// An event of a path in the words of scripts.
pub fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::PathValidated(path) => format!("validated {}", path.0),
        Event::PathAbandoned { path, by_peer: true, .. } => format!("abandoned {} by peer", path.0),
        Event::PathAbandoned { path, .. } => format!("abandoned {}", path.0),
        Event::PathClosed { stats } => format!("closed {}", stats.id.0),
        Event::PathStatus { path, backup: true } => format!("told backup {}", path.0),
        Event::PathStatus { path, .. } => format!("told available {}", path.0),
        Event::PathMigrated(path) => format!("migrated {}", path.0),
        Event::PathSuspect(path) => format!("suspect {}", path.0),
        Event::PathRecovered(path) => format!("recovered {}", path.0),
        _ => return None,
    })
}
