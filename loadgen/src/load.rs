//! What a run puts on the server: which work, on how many connections, when the next piece of it begins.
//!
//! Owns the plain values and their names. Knows no spelling on the command line (`options`), does no work (`client`).

use std::time::Duration;

/// All that a run does to its server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) work: Work,
    /// Connections that work at once.
    pub(crate) connections: usize,
    /// Connections that are held open beside them and do nothing.
    pub(crate) idle: usize,
    pub(crate) pace: Pace,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

impl Load {
    /// Connections that stand before the load begins.
    pub(crate) fn standing(&self) -> usize {
        self.idle + if self.churns() { 0 } else { self.connections }
    }

    /// Do connections come and go?
    pub(crate) fn churns(&self) -> bool {
        matches!(self.work, Work::Handshakes { .. })
    }

    /// Do handshakes take up earlier sessions?
    pub(crate) fn resumes(&self) -> bool {
        self.work == Work::Handshakes { resumed: true }
    }

    /// Connections that there are at once.
    pub(crate) fn all(&self) -> usize {
        self.idle + self.connections
    }

    /// What each request asks for and carries, where the work is requests.
    pub(crate) fn shape(&self) -> Option<Shape> {
        match self.work {
            Work::Requests { shape, .. } => Some(shape),
            Work::Datagrams { .. } | Work::Handshakes { .. } => None,
        }
    }

    /// Whether the server sends at least as much as the client, so that it is the data sender of the report.
    pub(crate) fn is_download(&self) -> bool {
        self.shape().is_some_and(Shape::is_download)
    }

    /// The name of the work in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self.work {
            _ if self.connections == 0 => "idle",
            Work::Requests { .. } => "requests",
            Work::Datagrams { .. } => "datagrams",
            Work::Handshakes { .. } => "handshakes",
        }
    }
}

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Requests on streams, so many open at once on each connection at most.
    Requests { shape: Shape, at_once: usize },
    /// Datagrams (RFC 9221) of this payload, so many unsettled at once on each connection at most.
    Datagrams { bytes: usize, at_once: usize },
    /// Connect, be confirmed, close, and again; by tickets of earlier sessions where `resumed`.
    Handshakes { resumed: bool },
}

/// What each request asks for and carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) download_bytes: u64,
    pub(crate) upload_bytes: u64,
}

impl Shape {
    /// Whether the server sends at least as much as the client.
    pub(crate) fn is_download(self) -> bool {
        self.download_bytes >= self.upload_bytes
    }
}

/// When the next piece of work begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Where one ends (closed loop).
    Closed,
    /// By the clock, whether those before have ended or not (open loop).
    Open { per_second: f64, pattern: Pattern },
}

/// How arrivals are spread in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pattern {
    /// Equal gaps.
    #[default]
    Constant,
    /// Exponential gaps, as of many independent users.
    Poisson,
}

impl Pattern {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}
