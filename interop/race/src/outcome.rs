//! What a client found out: one line of JSON.
//!
//! Owns the shape and the counting on the way to it. A latency runs from the moment a request is made, before its
//! stream is there, to the last byte of its answer.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// No latency of interest is longer: a minute, in nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What was done between the first operation and the end of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests, handshakes or datagrams that came to their end.
    pub operations: u64,
    /// Application bytes that they moved, both ways, without the octets of requests.
    pub bytes: u64,
    /// How long it took.
    pub elapsed_s: f64,
    /// Handshakes among the operations that went without a certificate.
    pub resumed: u64,
    /// How long an operation took.
    pub latency_us: Latency,
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Ninety-nine of a hundred were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Counts until the end.
#[derive(Debug)]
pub struct Tally {
    start: Instant,
    operations: u64,
    bytes: u64,
    resumed: u64,
    latency_ns: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Starts the clock.
    pub fn new() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("these bounds are valid");
        Self { start: Instant::now(), operations: 0, bytes: 0, resumed: 0, latency_ns }
    }

    /// An operation came to its end.
    pub fn on_done(&mut self, bytes: u64, took: Duration) {
        self.operations += 1;
        self.bytes += bytes;
        self.latency_ns.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LATENCY_MAX_NS));
    }

    /// A handshake came to its end.
    pub fn on_handshake(&mut self, resumed: bool, took: Duration) {
        self.on_done(0, took);
        self.resumed += u64::from(resumed);
    }

    /// Stops the clock.
    pub fn outcome(&self) -> Outcome {
        let us = |quantile| self.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        let latency_us = Latency { p50: us(0.5), p99: us(0.99), max: us(1.0) };
        let Self { start, operations, bytes, resumed, .. } = *self;
        Outcome { operations, bytes, elapsed_s: start.elapsed().as_secs_f64(), resumed, latency_us }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut tally = Tally::new();
        for us in 1..=1000 {
            tally.on_done(10, Duration::from_micros(us));
        }
        tally.on_handshake(true, Duration::from_millis(2));
        let outcome = tally.outcome();
        assert_eq!((outcome.operations, outcome.bytes, outcome.resumed), (1001, 10_000, 1));
        let near = |value: f64, wanted: f64| (value - wanted).abs() < wanted / 200.0;
        assert!(near(outcome.latency_us.p50, 501.0) && near(outcome.latency_us.p99, 991.0), "{outcome:?}");
        assert!(near(outcome.latency_us.max, 2000.0), "{outcome:?}");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let outcome = Outcome { operations: 3, bytes: 9, elapsed_s: 0.5, ..Outcome::default() };
        let line = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome);
    }
}
