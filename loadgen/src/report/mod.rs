//! The report of a run: JSON, schema 1.
//!
//! Owns the shape that other programs rely on (`schema/report-1.json`): fields are only ever added under a new schema
//! number. What nobody knows is `null`. How people see it is in `table`; nothing is measured here.

pub(crate) mod assemble;
pub(crate) mod environment;
pub(crate) mod table;

use std::time::Duration;

use serde::Serialize;

use crate::tally::{Counts, Rtt, Side};
use environment::Environment;

/// The number of this shape.
pub(crate) const SCHEMA: u32 = 1;

/// What a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    /// Stream bits per second over all paths, repeats not counted.
    pub(crate) goodput_bps: u64,
    /// The measured time.
    pub(crate) duration_s: f64,
    pub(crate) requests: Requests,
    pub(crate) latency_us: Latency,
    pub(crate) paths: Vec<Path>,
    /// The longest time in which an open request got no further.
    pub(crate) longest_stall_us: u64,
    pub(crate) cpu: Cpu,
    pub(crate) environment: Environment,
}

/// Requests by their end. One that the end of the run cut is in neither number.
#[derive(Debug, Serialize)]
pub(crate) struct Requests {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) per_second: f64,
}

/// From a request's first byte to the last of its answer; `null` if none completed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// One path ID over all connections; the addresses are those of the first.
#[derive(Debug, Serialize)]
pub(crate) struct Path {
    pub(crate) id: u32,
    pub(crate) local: Option<String>,
    pub(crate) remote: Option<String>,
    pub(crate) goodput_bps: u64,
    /// The part of all stream bytes that this path brought first.
    pub(crate) share: f64,
    /// The client's count.
    pub(crate) packets_sent: u64,
    /// The client's count.
    pub(crate) packets_received: u64,
    /// The data sender's view.
    pub(crate) packets_lost: Option<u64>,
    /// The data sender's view.
    pub(crate) rtt_us: RttUs,
    pub(crate) state: &'static str,
    /// The end that sends most of the data.
    pub(crate) sender: End,
    /// The other end.
    pub(crate) receiver: End,
}

/// Round trips in microseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RttUs {
    pub(crate) min: Option<u64>,
    pub(crate) smoothed: Option<u64>,
    pub(crate) p99: Option<u64>,
}

/// What one end counted on a path; all `null` for an end that does not tell.
#[derive(Debug, Default, Serialize)]
pub(crate) struct End {
    packets_sent: Option<u64>,
    packets_received: Option<u64>,
    packets_lost: Option<u64>,
    bytes_sent: Option<u64>,
    bytes_received: Option<u64>,
    stream_bytes_sent: Option<u64>,
    stream_bytes_received: Option<u64>,
    probe_timeouts: Option<u64>,
    suspected: Option<u64>,
    rtt_us: RttUs,
}

/// CPU seconds of the measured time.
#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) client_s: Option<f64>,
    pub(crate) server_s: Option<f64>,
}

impl End {
    /// What this end told, if it did.
    pub(crate) fn new(side: Option<&Side>) -> Self {
        let count = |field: fn(&Counts) -> u64| side.map(|side| field(&side.counts));
        Self {
            packets_sent: count(|counts| counts.packets_sent),
            packets_received: count(|counts| counts.packets_received),
            packets_lost: count(|counts| counts.packets_lost),
            bytes_sent: count(|counts| counts.bytes_sent),
            bytes_received: count(|counts| counts.bytes_received),
            stream_bytes_sent: count(|counts| counts.stream_bytes_sent),
            stream_bytes_received: count(|counts| counts.stream_bytes_received),
            probe_timeouts: count(|counts| counts.probe_timeouts),
            suspected: count(|counts| counts.suspected),
            rtt_us: RttUs::new(side.map(|side| &side.rtt)),
        }
    }
}

impl RttUs {
    /// The estimates of an end, if it told them.
    pub(crate) fn new(rtt: Option<&Rtt>) -> Self {
        let us = |field: fn(&Rtt) -> Option<Duration>| rtt.and_then(field).map(whole_us);
        Self { min: us(Rtt::min), smoothed: us(Rtt::smoothed), p99: us(Rtt::p99) }
    }
}

impl Report {
    /// The report as JSON with a newline behind it.
    pub(crate) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("all keys are names and all values plain");
        text + "\n"
    }

    /// Stream bytes of the measured time.
    pub(crate) fn bytes(&self) -> f64 {
        self.goodput_bps as f64 * self.duration_s / 8.0
    }
}

/// Bits per second of `bytes` in `span`, rounded down.
pub(crate) fn bits_per_second(bytes: u64, span: Duration) -> u64 {
    let nanos = span.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 8_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Microseconds, rounded down.
pub(crate) fn whole_us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
