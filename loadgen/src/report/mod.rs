//! The report of a run: JSON, schema 2.
//!
//! Owns the shape that other programs rely on (`schema/report-2.json`): fields are only ever added under a new schema
//! number. What nobody knows is `null`. How people see it is in `table`; nothing is measured here.

pub(crate) mod assemble;
pub(crate) mod environment;
pub(crate) mod limit;
pub(crate) mod metrics;
pub(crate) mod settings;
pub(crate) mod table;

use std::time::Duration;

use serde::Serialize;

use crate::server_side::Totals;
use crate::tally::{Counts, Rtt, Side};
use environment::Environment;
use limit::LimitedBy;
use metrics::Series;
use settings::Settings;

/// The number of this shape.
pub(crate) const SCHEMA: u32 = 2;

/// What a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    /// What the connections did: requests, datagrams, handshakes, or nothing (idle).
    pub(crate) workload: &'static str,
    /// Stream bits per second over all paths, repeats not counted; with datagrams, payload that was acknowledged.
    pub(crate) goodput_bps: u64,
    /// The measured time.
    pub(crate) duration_s: f64,
    pub(crate) requests: Requests,
    pub(crate) latency_us: Latency,
    pub(crate) paths: Vec<Path>,
    /// The longest time in which an open request got no further.
    pub(crate) longest_stall_us: u64,
    pub(crate) cpu: Cpu,
    /// Who was the bottleneck, where that can be told.
    pub(crate) limited_by: Option<LimitedBy>,
    /// The server as it told of itself.
    pub(crate) server: Option<Server>,
    pub(crate) open_loop: Option<OpenLoop>,
    pub(crate) datagrams: Option<Datagrams>,
    pub(crate) handshakes: Option<Handshakes>,
    pub(crate) ceiling: Option<CeilingShare>,
    /// All runs, where there were several; this report is the median one's.
    pub(crate) series: Series,
    pub(crate) settings: Settings,
    pub(crate) environment: Environment,
}

/// How the open loop kept its schedule.
#[derive(Debug, Serialize)]
pub(crate) struct OpenLoop {
    /// What became due.
    pub(crate) offered: u64,
    /// How late the generator took note of it.
    pub(crate) lag_us: Lag,
    /// The most that ever waited because nothing was free, workers added up.
    pub(crate) backlog_peak: u64,
    /// What waited still at the end; counts with the time that it waited.
    pub(crate) unstarted: u64,
    /// What had begun and was not complete at the end; counts with the time that it took so far.
    pub(crate) unfinished: u64,
    /// What found no room to wait; counts with the longest latency that there is.
    pub(crate) refused: u64,
}

/// A few percentiles.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Lag {
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// Datagrams by their fate. One that the end of the run cut has none.
#[derive(Debug, Serialize)]
pub(crate) struct Datagrams {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) lost: u64,
    /// The part of those with a fate that was lost.
    pub(crate) loss: Option<f64>,
}

/// Completed handshakes by their kind.
#[derive(Debug, Serialize)]
pub(crate) struct Handshakes {
    pub(crate) full: u64,
    /// They took up an earlier session: no certificate was shown.
    pub(crate) resumed: u64,
}

/// The server over the measured time.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    /// It ran in the same process, whose memory is both ends'.
    pub(crate) same_process: bool,
    pub(crate) packet_protection: Option<String>,
    #[serde(flatten)]
    pub(crate) totals: Totals,
    /// At the end of the measured time.
    pub(crate) memory_resident_bytes: Option<u64>,
    /// Before the first connection came.
    pub(crate) memory_before_bytes: Option<u64>,
    /// The difference for each connection that came since and is there; `null` where it is both ends'.
    pub(crate) memory_per_connection_bytes: Option<f64>,
}

/// Which part of this machine's own limit a run reached.
#[derive(Debug, Serialize)]
pub(crate) struct CeilingShare {
    /// Whose code sealed the limit's packets: that of the data sender.
    pub(crate) packet_protection: String,
    pub(crate) datagram_bytes: u16,
    /// 10^9 bits for each CPU second of the sender, of the receiver.
    pub(crate) gb_per_sender_cpu_s: Option<f64>,
    pub(crate) gb_per_receiver_cpu_s: Option<f64>,
    /// The same with aws-lc-rs.
    pub(crate) aws_lc_rs_gb_per_sender_cpu_s: Option<f64>,
    pub(crate) aws_lc_rs_gb_per_receiver_cpu_s: Option<f64>,
    /// Stream bits per CPU second of the data sender, as a part of the limit.
    pub(crate) sender: Option<f64>,
    /// The same of the receiver.
    pub(crate) receiver: Option<f64>,
    /// Both as a part of the limit with aws-lc-rs.
    pub(crate) sender_of_aws_lc_rs: Option<f64>,
    pub(crate) receiver_of_aws_lc_rs: Option<f64>,
}

/// Requests, datagrams or handshakes by their end. One that the end of the run cut is in neither number.
#[derive(Debug, Serialize)]
pub(crate) struct Requests {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) per_second: f64,
}

/// From when a request was to start to the last byte of its answer; `null` if none completed.
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
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) client_s: Option<f64>,
    pub(crate) server_s: Option<f64>,
    /// The part of a core that the busiest thread of the client used.
    pub(crate) client_busiest: Option<f64>,
    pub(crate) server_busiest: Option<f64>,
    /// The part of the time in which a thread of the client waited for a core: something else had it.
    pub(crate) client_waiting: Option<f64>,
    pub(crate) server_waiting: Option<f64>,
}

impl Cpu {
    /// The part of the time in which the busiest thread of the client had no time to spare.
    pub(crate) fn client_taken(&self) -> Option<f64> {
        Some(self.client_busiest? + self.client_waiting.unwrap_or(0.0))
    }

    /// The same of the server.
    pub(crate) fn server_taken(&self) -> Option<f64> {
        Some(self.server_busiest? + self.server_waiting.unwrap_or(0.0))
    }
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

    /// 10^9 bits of the measured time.
    pub(crate) fn gigabits(&self) -> f64 {
        self.bytes() * 8e-9
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
