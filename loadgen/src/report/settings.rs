//! What was asked for, in the report: two runs can be compared only if they did the same.
//!
//! Owns the line between `load`, which has to be equal, and `tuning`, which may be what is compared.

use serde::Serialize;

use crate::load::{Load, Pace, Work};
use crate::options::Sockets;
use crate::plan::Plan;

/// The settings of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) load: LoadSettings,
    pub(crate) tuning: Tuning,
}

/// What was put on the server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadSettings {
    /// The server ran in the same process.
    inside: bool,
    paths: usize,
    follows_interfaces: bool,
    connections: usize,
    idle: usize,
    /// Requests or datagrams of a connection under way at once at most.
    at_once: Option<usize>,
    download_bytes: Option<u64>,
    upload_bytes: Option<u64>,
    datagram_payload_bytes: Option<usize>,
    /// Handshakes took up earlier sessions.
    resumes: bool,
    /// The open loop's; `null` for the closed loop.
    rate_per_second: Option<f64>,
    arrivals: Option<&'static str>,
    warmup_s: f64,
    duration_s: f64,
    /// Paths cut, and so many seconds after the begin.
    cuts: Vec<(usize, f64)>,
}

/// How it was done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tuning {
    /// Whose code protected the client's packets.
    packet_protection: String,
    workers: usize,
    sockets: &'static str,
    scheduler: Option<String>,
    congestion: Option<String>,
    code_points: String,
    ack_frequency: bool,
    datagram_bytes: u16,
    datagram_bytes_max: u16,
    seed: Option<u64>,
}

impl Settings {
    /// The settings that `plan` has.
    pub(crate) fn of(plan: &Plan) -> Self {
        let tuning = Tuning {
            packet_protection: plan.packet_protection.resolved().to_string(),
            workers: plan.workers,
            sockets: if plan.sockets == Sockets::Shared { "shared" } else { "per-path" },
            scheduler: plan.scheduler.as_ref().map(ToString::to_string),
            congestion: plan.congestion.as_ref().map(ToString::to_string),
            code_points: plan.code_points.to_string(),
            ack_frequency: plan.ack_frequency,
            datagram_bytes: plan.datagram_bytes,
            datagram_bytes_max: plan.datagram_bytes_max,
            seed: plan.seed,
        };
        let cuts = plan.kills.iter().map(|kill| (kill.path, kill.after.as_secs_f64())).collect();
        let load = LoadSettings {
            inside: plan.target.is_none(),
            paths: plan.paths,
            follows_interfaces: plan.following.is_some(),
            cuts,
            ..LoadSettings::of(&plan.load)
        };
        Self { load, tuning }
    }
}

impl LoadSettings {
    /// Connections that only stood there.
    pub(crate) fn idle(&self) -> usize {
        self.idle
    }

    fn of(load: &Load) -> Self {
        let (at_once, payload) = match load.work {
            Work::Requests { at_once, .. } => (Some(at_once), None),
            Work::Datagrams { bytes, at_once } => (Some(at_once), Some(bytes)),
            Work::Handshakes { .. } => (None, None),
        };
        let (rate_per_second, arrivals) = match load.pace {
            Pace::Closed => (None, None),
            Pace::Open { per_second, pattern } => (Some(per_second), Some(pattern.name())),
        };
        Self {
            inside: false,
            paths: 1,
            follows_interfaces: false,
            connections: load.connections,
            idle: load.idle,
            at_once,
            download_bytes: load.shape().map(|shape| shape.download_bytes),
            upload_bytes: load.shape().map(|shape| shape.upload_bytes),
            datagram_payload_bytes: payload,
            resumes: load.resumes(),
            rate_per_second,
            arrivals,
            warmup_s: load.warmup.as_secs_f64(),
            duration_s: load.duration.as_secs_f64(),
            cuts: Vec::new(),
        }
    }
}

#[cfg(test)]
impl Settings {
    /// One connection that downloads.
    pub(crate) fn example() -> Self {
        let words = ["loadgen", "--paths", "2", "--packet-protection", "ring"];
        match crate::options::read(words, 2) {
            Ok(crate::options::Task::Run(plan)) => Self::of(&plan),
            other => panic!("{other:?}"),
        }
    }
}
