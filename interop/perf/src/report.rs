//! What a client found out: one line of JSON on standard output.
//!
//! Owns the shape, for the clients that write it and for the matrix that reads it. Measures nothing itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A run that went well. One that did not is a sentence on standard error and a failure code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Requests answered completely.
    pub requests: u32,
    /// Bytes of answers, all of them zeros.
    pub bytes_received: u64,
    /// Bytes uploaded, without the requests themselves.
    pub bytes_sent: u64,
    /// From the first request to the last byte.
    pub elapsed_s: f64,
    /// Bits per second in the direction that carried more.
    pub goodput_bps: u64,
    /// Did both ends agree on several paths?
    pub multipath: bool,
    /// Every path that was opened.
    pub paths: Vec<PathReport>,
    /// What happened to paths, in the words of `script`.
    #[serde(default)]
    pub events: Vec<String>,
    /// `PATH_ACK` frames that came, where the stack counts them.
    #[serde(default)]
    pub path_acks: Option<u64>,
    /// Key updates, where the stack counts them.
    #[serde(default)]
    pub key_updates: Option<u64>,
}

/// The client's view of one path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathReport {
    /// The path's number.
    pub id: String,
    /// UDP payload sent.
    pub bytes_sent: u64,
    /// UDP payload received.
    pub bytes_received: u64,
    /// Packets that the client sent and gave up.
    pub packets_lost: u64,
    /// The client's smoothed round trip.
    pub rtt_us: u64,
}

impl Report {
    /// Notes how long everything took.
    #[must_use]
    pub fn over(self, elapsed: Duration) -> Self {
        let bits = self.bytes_received.max(self.bytes_sent).saturating_mul(8);
        let goodput_bps = u128::from(bits) * 1_000_000 / elapsed.as_micros().max(1);
        let goodput_bps = u64::try_from(goodput_bps).unwrap_or(u64::MAX);
        Self { elapsed_s: elapsed.as_secs_f64(), goodput_bps, ..self }
    }

    /// Prints the line.
    pub fn print(&self) -> Result<(), serde_json::Error> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

impl PathReport {
    /// This path's part of what was received over all `paths`, 0 to 1.
    #[must_use]
    pub fn share_of(&self, paths: &[Self]) -> f64 {
        let all: u64 = paths.iter().map(|path| path.bytes_received).sum();
        self.bytes_received as f64 / all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_that_of_the_busier_direction() {
        let report = Report { bytes_received: 1_000_000, bytes_sent: 10, ..Report::default() };
        assert_eq!(report.over(Duration::from_secs(2)).goodput_bps, 4_000_000);
        let report = Report { bytes_received: 1, bytes_sent: 1_000, ..Report::default() };
        assert_eq!(report.over(Duration::from_millis(1)).goodput_bps, 8_000_000);
        assert_eq!(Report::default().over(Duration::ZERO).goodput_bps, 0);
    }

    #[test]
    fn shares_sum_up_to_one() {
        let path = |bytes_received| PathReport { bytes_received, ..PathReport::default() };
        let paths = [path(30), path(10)];
        assert!((paths[0].share_of(&paths) - 0.75).abs() < 1e-9);
        assert!((paths[1].share_of(&paths) - 0.25).abs() < 1e-9);
        assert!(path(0).share_of(&[path(0)]).abs() < 1e-9);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let paths = vec![PathReport { id: "3".into(), bytes_sent: 7, ..PathReport::default() }];
        let report = Report { requests: 2, multipath: true, paths, ..Report::default() };
        let line = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
    }
}
