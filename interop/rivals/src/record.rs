//! One line of raw data: who met whom over what, and what came of it.
//!
//! Owns the shape and what is computed from a single record. Reads loadgen's report too, so that it stands beside
//! the others.

use interop_race::outcome::{Latency, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{Client, Name, Network, Stack, Unit};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) network: Network,
    pub(crate) workload: Name,
    pub(crate) server: Stack,
    pub(crate) client: Client,
    pub(crate) repetition: usize,
    /// What was measured; nothing if it was skipped.
    pub(crate) measured: Option<Measured>,
    /// Why there is nothing, in a sentence.
    pub(crate) skipped: Option<String>,
}

/// What one run showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) server_cpu_s: f64,
    pub(crate) client_cpu_s: f64,
    /// What the rest of the machine did meanwhile, on all cores.
    pub(crate) others_cpu_s: f64,
    /// Of the server, after the run.
    pub(crate) resident_bytes: u64,
    /// Where memory was asked for: what each further idle connection added.
    pub(crate) connection_bytes: Option<f64>,
}

impl Measured {
    /// The number that a workload is judged by: bits or operations per server CPU second, microseconds, or bytes.
    pub(crate) fn score(&self, unit: Unit) -> Option<f64> {
        let per_cpu = |amount: f64| (self.server_cpu_s > 0.0).then(|| amount / self.server_cpu_s);
        match unit {
            Unit::Bytes => per_cpu(self.outcome.bytes as f64 * 8.0),
            Unit::Operations => per_cpu(self.outcome.operations as f64),
            Unit::Latency => (self.outcome.operations > 0).then_some(self.outcome.latency_us.p50),
            Unit::Memory => self.connection_bytes,
        }
    }

    /// The same per second of the clock.
    pub(crate) fn rate(&self, unit: Unit) -> Option<f64> {
        let per_second =
            |amount: f64| (self.outcome.elapsed_s > 0.0).then(|| amount / self.outcome.elapsed_s);
        match unit {
            Unit::Bytes => per_second(self.outcome.bytes as f64 * 8.0),
            Unit::Operations | Unit::Latency => per_second(self.outcome.operations as f64),
            Unit::Memory => None,
        }
    }

    /// How much of its core the server had, and the client of its own.
    pub(crate) fn busy(&self) -> (f64, f64) {
        let elapsed = self.outcome.elapsed_s.max(1e-9);
        (self.server_cpu_s / elapsed, self.client_cpu_s / elapsed)
    }
}

/// What loadgen's report says: the outcome and its CPU seconds.
pub(crate) fn from_loadgen(report: &str) -> Option<(Outcome, f64)> {
    let report: Value = serde_json::from_str(report).ok()?;
    let number = |value: &Value| value.as_f64();
    let latency = |name: &str| number(&report["latency_us"][name]).unwrap_or_default();
    let elapsed_s = number(&report["duration_s"])?;
    let bits = number(&report["goodput_bps"])? * elapsed_s;
    let moved = format!("{:.0}", bits / 8.0).parse::<u64>().ok()?;
    // Uploads count when they are handed over; what has not left by the end is no work that a server did.
    let paths = report["paths"].as_array().into_iter().flatten();
    let sent = paths.map(|path| path["sender"]["stream_bytes_sent"].as_u64()).collect::<Option<Vec<_>>>();
    let sent = sent.filter(|sent| !sent.is_empty()).map_or(u64::MAX, |sent| sent.iter().sum());
    let outcome = Outcome {
        operations: report["requests"]["completed"].as_u64()?,
        bytes: moved.min(sent),
        elapsed_s,
        resumed: 0,
        latency_us: Latency { p50: latency("p50"), p99: latency("p99"), max: latency("max") },
    };
    Some((outcome, number(&report["cpu"]["client_s"])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let latency_us = Latency { p50: 40.0, p99: 90.0, max: 100.0 };
        let outcome = Outcome { operations: 300, bytes: 1_000_000, elapsed_s: 2.0, resumed: 0, latency_us };
        Measured {
            outcome,
            server_cpu_s: 0.5,
            client_cpu_s: 1.5,
            connection_bytes: Some(9.0),
            ..Measured::default()
        }
    }

    #[test]
    fn scores_are_per_second_of_the_servers_cpu() {
        let measured = measured();
        assert_eq!(measured.score(Unit::Bytes), Some(16_000_000.0));
        assert_eq!(measured.score(Unit::Operations), Some(600.0));
        assert_eq!(measured.score(Unit::Latency), Some(40.0));
        assert_eq!(measured.score(Unit::Memory), Some(9.0));
        assert_eq!(
            (measured.rate(Unit::Bytes), measured.rate(Unit::Operations)),
            (Some(4_000_000.0), Some(150.0))
        );
        assert_eq!(measured.busy(), (0.25, 0.75));
    }

    #[test]
    fn a_server_that_did_nothing_has_no_score() {
        let idle = Measured { server_cpu_s: 0.0, ..Measured::default() };
        for unit in [Unit::Bytes, Unit::Operations, Unit::Latency, Unit::Memory] {
            assert_eq!(idle.score(unit), None);
            assert_eq!(idle.rate(unit), None);
        }
    }

    #[test]
    fn the_report_of_loadgen_is_read() {
        let report = r#"{"goodput_bps": 4000, "duration_s": 2.0, "requests": {"completed": 7, "failed": 0},
            "latency_us": {"p50": 74, "p99": 3915, "max": 27711}, "cpu": {"client_s": 0.25, "server_s": null}}"#;
        let (outcome, cpu_s) = from_loadgen(report).unwrap();
        assert_eq!((outcome.operations, outcome.bytes, cpu_s), (7, 1000, 0.25));
        assert_eq!(outcome.latency_us, Latency { p50: 74.0, p99: 3915.0, max: 27711.0 });
        let with = |paths: &str| report.replace("\"cpu\"", &format!("\"paths\": {paths}, \"cpu\""));
        let bytes = |report: &str| from_loadgen(report).unwrap().0.bytes;
        let path = r#"{"sender": {"stream_bytes_sent": 300}}"#;
        assert_eq!(
            bytes(&with(&format!("[{path}, {path}]"))),
            600,
            "what is still in a buffer does not count"
        );
        assert_eq!(bytes(&with(r#"[{"sender": {"stream_bytes_sent": null}}]"#)), 1000, "nobody knows");
        assert_eq!(from_loadgen("{}"), None);
        assert_eq!(from_loadgen("no"), None);
    }

    #[test]
    fn a_record_is_one_line_that_can_be_read_again() {
        for (measured, skipped) in [(Some(measured()), None), (None, Some("no tickets".to_owned()))] {
            let (network, workload) = (Network::Veth, Name::DownloadMany);
            let (server, client, repetition) = (Stack::S2n, Client::Neutral, 3);
            let record = Record { network, workload, server, client, repetition, measured, skipped };
            let line = serde_json::to_string(&record).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }
}
