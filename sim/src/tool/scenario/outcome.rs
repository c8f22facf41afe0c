//! What came of a scenario; its JSON is this, key by key.
//!
//! Owns the names and units of the numbers (`sim/README.md` explains each). All of them are taken from the library's
//! report; what does not exist is `None`.

use std::time::Duration;

use braid_sim::{CompetitorId, LaneStats, LinkId, LinkReport, PathReport, Report, TransferReport};
use serde::Serialize;

use super::build::Built;
use super::file::Scenario;

/// Says how the JSON is to be read; rises when a key changes its meaning or goes.
const SCHEMA: u32 = 1;

/// The outcome of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(super) schema: u32,
    pub(super) title: String,
    pub(super) seed: u64,
    pub(super) scheduler: String,
    pub(super) congestion: String,
    pub(super) completed_s: Option<f64>,
    pub(super) ready_s: Option<f64>,
    pub(super) elapsed_s: f64,
    pub(super) longest_stall_ms: f64,
    pub(super) longest_stall_at_s: f64,
    pub(super) delivered_bytes: u64,
    pub(super) asked_bytes: u64,
    pub(super) duplicate_bytes: u64,
    pub(super) suspects: u64,
    pub(super) spurious_suspects: u64,
    pub(super) reassembly_peak_bytes: u64,
    pub(super) transfers: Vec<Transfer>,
    pub(super) paths: Vec<Path>,
    pub(super) competitors: Vec<Competitor>,
    pub(super) closed: Option<String>,
}

/// One transfer. One that is repeated has an entry for each time, with the same name.
#[derive(Debug, Serialize)]
pub(super) struct Transfer {
    pub(super) name: String,
    pub(super) upload_bytes: u64,
    pub(super) download_bytes: u64,
    pub(super) start_s: Option<f64>,
    pub(super) end_s: Option<f64>,
    pub(super) took_ms: Option<f64>,
    pub(super) deadline_ms: Option<f64>,
    pub(super) met_deadline: Option<bool>,
}

/// One path of the scenario, whatever QUIC paths ran over it.
#[derive(Debug, Serialize)]
pub(super) struct Path {
    pub(super) name: String,
    /// Stream bytes that it was the first to bring, both directions.
    pub(super) bytes: u64,
    /// Packets that the ends declared lost.
    pub(super) lost: u64,
    /// Times that the ends suspected it.
    pub(super) suspected: u64,
    pub(super) probe_timeouts: u64,
    pub(super) rtt_min_ms: Option<f64>,
    pub(super) rtt_smoothed_ms: Option<f64>,
    pub(super) up: Way,
    pub(super) down: Way,
}

/// One competitor.
#[derive(Debug, Serialize)]
pub(super) struct Competitor {
    pub(super) name: String,
    pub(super) delivered_bytes: u64,
    pub(super) start_s: Option<f64>,
    pub(super) end_s: Option<f64>,
    /// From its start to its end, or to that of the run.
    pub(super) goodput_mbps: Option<f64>,
}

/// What the link did to the datagrams of one direction.
#[derive(Debug, Serialize)]
pub(super) struct Way {
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    pub(super) arrived: u64,
    pub(super) overflowed: u64,
    pub(super) lost: u64,
    pub(super) cut: u64,
    pub(super) astray: u64,
    pub(super) too_big: u64,
}

impl Outcome {
    pub(super) fn new(scenario: &Scenario, built: &Built, report: &Report) -> Self {
        let completed = report.completed_at().filter(|_| report.is_complete());
        let closed = report.client_closed().or(report.server_closed());
        Self {
            schema: SCHEMA,
            title: scenario.title.clone(),
            seed: scenario.seed,
            scheduler: scenario.scheduler.to_string(),
            congestion: scenario.congestion.to_string(),
            completed_s: completed.map(|at| at.as_secs_f64()),
            ready_s: report.ready_at().map(|at| at.as_secs_f64()),
            elapsed_s: report.elapsed().as_secs_f64(),
            longest_stall_ms: millis(report.longest_stall()),
            longest_stall_at_s: report.stalled_at().as_secs_f64(),
            delivered_bytes: report.delivered(),
            asked_bytes: report.transfers().iter().map(|one| one.upload_bytes + one.download_bytes).sum(),
            duplicate_bytes: report.duplicate_bytes(),
            suspects: report.suspects(),
            spurious_suspects: report.spurious_suspects(),
            reassembly_peak_bytes: report.reassembly_peak_bytes(),
            transfers: report.transfers().iter().map(transfer).collect(),
            paths: built.paths.iter().map(|(name, link)| path(name, *link, report)).collect(),
            competitors: built
                .competitors
                .iter()
                .map(|(name, id, until)| competitor(name, *id, *until, report))
                .collect(),
            closed: closed.map(ToString::to_string),
        }
    }

    /// What a run that did not complete is called.
    pub(crate) fn failure(&self) -> Option<String> {
        if self.completed_s.is_some() {
            return None;
        }
        let (delivered, asked) = (self.delivered_bytes, self.asked_bytes);
        Some(match &self.closed {
            Some(reason) => format!("the connection ended after {delivered} of {asked} bytes: {reason}"),
            None => format!("only {delivered} of {asked} bytes within {} s", self.elapsed_s),
        })
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("an outcome is plain data") + "\n"
    }

    pub(crate) fn to_text(&self) -> String {
        super::text::text(self)
    }
}

fn transfer(report: &TransferReport) -> Transfer {
    let took = report.start.zip(report.end).map(|(start, end)| end.saturating_sub(start));
    Transfer {
        name: report.name.clone(),
        upload_bytes: report.upload_bytes,
        download_bytes: report.download_bytes,
        start_s: report.start.map(|at| at.as_secs_f64()),
        end_s: report.end.map(|at| at.as_secs_f64()),
        took_ms: took.map(millis),
        deadline_ms: report.deadline.map(millis),
        met_deadline: report.met_deadline,
    }
}

fn path(name: &str, id: LinkId, report: &Report) -> Path {
    let link: &LinkReport = report.link(id);
    let sum = |count: fn(&braid_quic::PathStats) -> u64| {
        let ends = link.paths.iter().flat_map(|PathReport { client, server }| [client, server]);
        ends.flatten().map(count).sum()
    };
    // The end that sent most knows the round trip best.
    let ends = || link.paths.iter().flat_map(|path| [&path.client, &path.server]).flatten();
    let sender = ends().max_by_key(|stats| stats.bytes_sent);
    Path {
        name: name.to_owned(),
        bytes: report.carried_by(id),
        lost: sum(|stats| stats.packets_lost),
        suspected: sum(|stats| stats.suspected),
        probe_timeouts: sum(|stats| stats.probe_timeouts),
        rtt_min_ms: ends().filter_map(|stats| stats.rtt_min).min().map(millis),
        rtt_smoothed_ms: sender.and_then(|stats| stats.rtt_smoothed).map(millis),
        up: way(&link.up),
        down: way(&link.down),
    }
}

fn competitor(name: &str, id: CompetitorId, until: Option<Duration>, report: &Report) -> Competitor {
    let it = report.competitor(id);
    let over = [it.end, until].into_iter().flatten().fold(report.elapsed(), Duration::min);
    let active = it.start.map(|start| over.saturating_sub(start).as_secs_f64());
    let mbps = |seconds: f64| it.delivered as f64 * 8.0 / 1e6 / seconds;
    Competitor {
        name: name.to_owned(),
        delivered_bytes: it.delivered,
        start_s: it.start.map(|at| at.as_secs_f64()),
        end_s: it.end.map(|at| at.as_secs_f64()),
        goodput_mbps: active.filter(|seconds| *seconds > 0.0).map(mbps),
    }
}

fn way(lane: &LaneStats) -> Way {
    Way {
        sent: lane.sent,
        sent_bytes: lane.sent_bytes,
        arrived: lane.arrived,
        overflowed: lane.overflowed,
        lost: lane.lost,
        cut: lane.cut,
        astray: lane.astray,
        too_big: lane.too_big,
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

impl Way {
    /// Datagrams that did not arrive, for whatever reason.
    pub(super) fn dropped(&self) -> u64 {
        self.overflowed + self.lost + self.cut + self.astray + self.too_big
    }
}
