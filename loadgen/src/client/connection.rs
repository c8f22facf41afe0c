//! One connection of the client from its first packet to its last number.
//!
//! Owns the stages of its life and hands its events to its job: requests, datagrams, or nothing. The phases of the run
//! are `client`'s.

use std::time::Duration;

use braid_quic::{ConnectionGuard, ConnectionKey, Event, Instant};

use super::exchange::{Exchange, Fault};
use super::flow::Flow;
use super::gate::Gate;
use super::tracks::Tracks;
use crate::load::{Load, Pace, Work};
use crate::measure::Measure;

/// How long a connection waits for its paths before it goes without the missing ones.
const PATHS_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Connection {
    pub(super) key: Option<ConnectionKey>,
    pub(super) stage: Stage,
    pub(super) tracks: Tracks,
    pub(super) job: Job,
}

/// Where in its life a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    /// It waits for its paths, at most until then.
    Opening {
        until: Instant,
    },
    Standing,
    Over,
}

/// What a connection does.
pub(super) enum Job {
    Requests(Exchange),
    Datagrams(Flow),
    /// It stands there.
    Idle,
}

impl Job {
    /// The job of a connection that works.
    pub(super) fn of(load: &Load) -> Self {
        let closed_loop = load.pace == Pace::Closed;
        match load.work {
            Work::Requests { shape, at_once } => Self::Requests(Exchange::new(shape, at_once, closed_loop)),
            Work::Datagrams { bytes, at_once } => Self::Datagrams(Flow::new(bytes, at_once, closed_loop)),
            Work::Handshakes { .. } => Self::Idle,
        }
    }

    /// Begins as much as is missing, in the closed loop.
    pub(super) fn fill(&mut self, guard: &mut ConnectionGuard<'_>, now: Instant, measure: &mut Measure) {
        match self {
            Self::Requests(exchange) => exchange.fill(guard, now, measure),
            Self::Datagrams(flow) => flow.fill(guard, now, measure),
            Self::Idle => {}
        }
    }

    /// Begins one piece of work that was to begin at `intended`; `false` if it takes none now.
    pub(super) fn begin(
        &mut self,
        intended: Instant,
        guard: &mut ConnectionGuard<'_>,
        now: Instant,
        measure: &mut Measure,
    ) -> bool {
        match self {
            Self::Requests(exchange) => exchange.begin(intended, guard, now, measure),
            Self::Datagrams(flow) => flow.begin(intended, guard, now, measure),
            Self::Idle => false,
        }
    }

    /// Something happened to its streams or datagrams. Returns how many bytes moved.
    pub(super) fn on_event(
        &mut self,
        event: &Event,
        guard: &mut ConnectionGuard<'_>,
        is_loading: bool,
        now: Instant,
        measure: &mut Measure,
    ) -> u64 {
        match (self, event) {
            (Self::Requests(exchange), &Event::Readable(stream)) => {
                return exchange.on_readable(stream, guard, now, measure);
            }
            (Self::Requests(exchange), &Event::Writable(stream)) => {
                return exchange.on_writable(stream, guard, now, measure);
            }
            (Self::Datagrams(flow), Event::DatagramsSettled) => return flow.on_settled(guard, now, measure),
            (Self::Requests(exchange), &Event::Finished(stream)) => {
                exchange.on_delivered(stream, guard, now, measure);
            }
            (Self::Requests(exchange), &Event::Stopped { stream, code }) => {
                exchange.on_fault(stream, Fault::Stopped(code), guard, now, measure);
            }
            (Self::Requests(exchange), Event::StreamsAvailable) if is_loading => {
                exchange.fill(guard, now, measure);
            }
            (Self::Datagrams(flow), Event::DatagramsUnblocked) if is_loading => {
                flow.fill(guard, now, measure);
            }
            _ => {}
        }
        0
    }

    /// The connection is lost. Returns how much was open.
    pub(super) fn on_connection_lost(&mut self, now: Instant, measure: &mut Measure) -> u64 {
        match self {
            Self::Requests(exchange) => exchange.on_connection_lost(now, measure),
            Self::Datagrams(flow) => flow.on_connection_lost(),
            Self::Idle => 0,
        }
    }

    /// The run is over.
    pub(super) fn on_over(&mut self, now: Instant, measure: &mut Measure) {
        match self {
            Self::Requests(exchange) => exchange.on_over(now, measure),
            Self::Datagrams(flow) => flow.on_over(measure),
            Self::Idle => {}
        }
    }
}

impl Connection {
    pub(super) fn new(tracks: Tracks, job: Job) -> Self {
        Self { key: None, stage: Stage::Connecting, tracks, job }
    }

    /// Does it take work?
    pub(super) fn works(&self) -> bool {
        self.stage == Stage::Standing && !matches!(self.job, Job::Idle)
    }

    /// Notes what was counted so far. Of a connection that is over the last numbers stay.
    pub(super) fn observe(&mut self, guard: &ConnectionGuard<'_>) {
        if self.stage != Stage::Over {
            self.tracks.observe(guard);
        }
    }

    /// The handshake is through; only now may further paths be opened.
    pub(super) fn on_confirmed(
        &mut self,
        guard: &mut ConnectionGuard<'_>,
        follows: bool,
        gate: &Gate,
        now: Instant,
    ) {
        if self.stage != Stage::Connecting {
            return;
        }
        self.stage = Stage::Opening { until: now + PATHS_PATIENCE };
        if (follows || self.tracks.len() > 1) && !guard.multipath() {
            gate.on_without_multipath();
            self.settle(gate);
            return;
        }
        if !follows {
            self.tracks.on_confirmed(guard);
            self.tracks.open_missing(guard);
            self.settle_if_complete(gate);
        }
    }

    pub(super) fn settle_if_complete(&mut self, gate: &Gate) {
        if matches!(self.stage, Stage::Opening { .. }) && self.tracks.all_stand() {
            self.settle(gate);
        }
    }

    /// It will get no more paths.
    pub(super) fn settle(&mut self, gate: &Gate) {
        self.stage = Stage::Standing;
        gate.on_settled();
    }

    /// It is over; `false` if that was known.
    pub(super) fn lose(&mut self, gate: &Gate) -> bool {
        let before = std::mem::replace(&mut self.stage, Stage::Over);
        if matches!(before, Stage::Connecting | Stage::Opening { .. }) {
            gate.on_settled();
        }
        let news = before != Stage::Over;
        if news {
            self.tracks.on_lost();
            gate.on_lost();
        }
        news
    }
}
