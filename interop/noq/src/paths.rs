//! noq's paths in the words of a script: verbs, events and final numbers.
//!
//! Owns the handles of all paths ever opened, without which noq forgets their numbers. Decides nothing.

use interop_perf::options::ClientOptions;
use interop_perf::protocol;
use interop_perf::report::PathReport;
use interop_perf::script::{Log, Paths, Refusal};
use noq::{Connection, FourTuple, Path, PathError, PathEvent, PathId, PathStats, PathStatus};
use noq_proto::PathAbandonReason;
use tokio::runtime::Handle;
use tokio_stream::StreamExt as _;

use crate::Client;

/// A connection whose paths a script moves; used outside of the runtime's threads.
#[derive(Debug)]
pub struct ScriptedPaths {
    client: Client,
    options: Option<ClientOptions>,
    log: Log,
    runtime: Handle,
    opened: Vec<Path>,
}

impl ScriptedPaths {
    /// The paths of a client, which has `options`, or of a server.
    pub fn new(connection: Connection, options: Option<ClientOptions>, log: Log) -> Self {
        let first = connection.path(PathId::ZERO);
        Self {
            client: Client(connection),
            options,
            log,
            runtime: Handle::current(),
            opened: first.into_iter().collect(),
        }
    }

    /// The numbers of all paths that were ever opened here.
    pub fn reports(&self) -> Vec<PathReport> {
        self.opened.iter().map(|path| path_report(path.id(), &path.stats())).collect()
    }

    fn path(&self, path: u32) -> Result<Path, Refusal> {
        let found = self.client.0.path(path.into());
        found.ok_or_else(|| Refusal::Never(format!("noq has no path {path}")))
    }
}

impl Paths for ScriptedPaths {
    fn open(&mut self, link: u8) -> Result<u32, Refusal> {
        let Some(options) = &self.options else { return Err(never(&"servers open no paths")) };
        let route = FourTuple::new(options.link(link), Some(ClientOptions::local(link)));
        let opening = self.client.0.open_path(route, PathStatus::Available);
        let Some(id) = opening.path_id() else {
            return Err(match self.runtime.block_on(opening) {
                Err(error @ (PathError::RemoteCidsExhausted | PathError::MaxPathIdReached)) => {
                    Refusal::Later(error.to_string())
                }
                Err(error) => never(&error),
                Ok(_) => never(&"noq opened a path without a number"),
            });
        };
        self.opened.extend(self.client.0.path(id));
        id.to_string().parse().map_err(|error| never(&error)) // noq shows the number and hides the method
    }

    fn abandon(&mut self, path: u32) -> Result<(), Refusal> {
        self.path(path)?.close().map_err(|error| never(&error))
    }

    fn advise(&mut self, path: u32, backup: bool) -> Result<(), Refusal> {
        let status = if backup { PathStatus::Backup } else { PathStatus::Available };
        self.path(path)?.set_status(status).map(drop).map_err(|error| never(&error))
    }

    fn update_keys(&mut self) -> Result<(), Refusal> {
        self.client.0.force_key_update();
        Ok(())
    }

    fn get(&mut self, bytes: u64) -> Result<(), Refusal> {
        let (client, log) = (self.client.clone(), self.log.clone());
        self.runtime.spawn(async move { protocol::download(&client, bytes, &log).await });
        Ok(())
    }
}

/// Tells a log all events of a connection's paths from now on.
pub fn listen(connection: &Connection, log: &Log) {
    let (mut events, log) = (connection.path_events(), log.clone());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => tell(&event, &log),
                Err(lagged) => log.on_failed(format!("events are missing: {lagged}")),
            }
        }
    });
}

fn tell(event: &PathEvent, log: &Log) {
    match event {
        PathEvent::Established { id, .. } => log.on_event(format!("validated {id}")),
        PathEvent::Abandoned { id, reason: PathAbandonReason::RemoteAbandoned { .. }, .. } => {
            log.on_event(format!("abandoned {id} by peer"));
        }
        PathEvent::Abandoned { id, .. } => log.on_event(format!("abandoned {id}")),
        PathEvent::Discarded { id, .. } => log.on_event(format!("closed {id}")),
        PathEvent::RemoteStatus { id, status: PathStatus::Backup, .. } => {
            log.on_event(format!("told backup {id}"));
        }
        PathEvent::RemoteStatus { id, .. } => log.on_event(format!("told available {id}")),
        _ => {}
    }
}

/// The numbers of a path.
pub fn path_report(id: PathId, stats: &PathStats) -> PathReport {
    PathReport {
        id: id.to_string(),
        bytes_sent: stats.udp_tx.bytes,
        bytes_received: stats.udp_rx.bytes,
        packets_lost: stats.lost_packets,
        rtt_us: u64::try_from(stats.rtt.as_micros()).unwrap_or(u64::MAX),
    }
}

fn never(error: &impl ToString) -> Refusal {
    Refusal::Never(error.to_string())
}
