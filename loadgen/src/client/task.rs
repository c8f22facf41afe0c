//! What a worker is told, and what it has to say at the end.
//!
//! Plain values that `run` and `client` exchange, and the CPU time of the worker's thread. Decides nothing.

use std::sync::Arc;

use braid_quic::{ClientConfig, TransportConfig};
use rustls_pki_types::ServerName;

use super::gate::Gate;
use super::tracks::PathResult;
use crate::cpu;
use crate::load::Load;
use crate::measure::Measure;
use crate::plan::Kill;

/// What all workers of a run have in common.
pub(crate) struct Task {
    pub(crate) config: ClientConfig,
    /// The settings of connections that only stand there.
    pub(crate) idle_transport: Arc<TransportConfig>,
    pub(crate) server_name: ServerName<'static>,
    pub(crate) load: Load,
    /// Repeats the arrivals of the open loop.
    pub(crate) seed: u64,
    /// Latencies are kept second by second too.
    pub(crate) logs_latency: bool,
    pub(crate) kills: Vec<Kill>,
    /// The handshake races over the routes of all paths that begin or end elsewhere.
    pub(crate) races: bool,
    pub(crate) gate: Gate,
}

/// What one worker has of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    /// Connections that work.
    pub(crate) connections: usize,
    /// Connections that stand there.
    pub(crate) idle: usize,
}

impl Part {
    /// Connections of this worker that stand before the load begins.
    pub(crate) fn standing(&self, load: &Load) -> usize {
        self.idle + if load.churns() { 0 } else { self.connections }
    }
}

/// What a worker has to say at the end.
pub(crate) struct WorkerResult {
    pub(crate) measure: Measure,
    /// By connection, then by path.
    pub(crate) paths: Vec<Vec<PathResult>>,
    pub(crate) spent: Spent,
    /// A local address that could not be used, and why.
    pub(crate) complaint: Option<String>,
}

/// Time of a thread: on a core, and waiting for one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) cpu_s: Option<f64>,
    pub(crate) wait_s: Option<f64>,
}

/// CPU seconds of this worker's thread, and seconds in which it waited for a core.
#[derive(Default)]
pub(super) struct Cpu {
    begin: (Option<f64>, Option<f64>),
    end: (Option<f64>, Option<f64>),
}

impl Cpu {
    pub(super) fn begin(&mut self) {
        self.begin = (cpu::thread_seconds(), cpu::thread_wait_seconds());
    }

    pub(super) fn end(&mut self) {
        self.end = (cpu::thread_seconds(), cpu::thread_wait_seconds());
    }

    /// What was spent between the two.
    pub(super) fn spent(&self) -> Spent {
        let between = |begin: Option<f64>, end: Option<f64>| begin.zip(end).map(|(begin, end)| end - begin);
        Spent { cpu_s: between(self.begin.0, self.end.0), wait_s: between(self.begin.1, self.end.1) }
    }
}
