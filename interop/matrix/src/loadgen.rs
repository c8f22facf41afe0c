//! What the matrix reads of loadgen's report (schema 2).
//!
//! Owns the shape of the few fields that say whether interoperation worked. The full schema is loadgen's own matter.

use serde::Deserialize;

/// A report.
#[derive(Clone, Debug, Deserialize)]
pub struct Loadgen {
    /// The version of the report's shape.
    pub schema: u32,
    /// Stream bits per second.
    pub goodput_bps: u64,
    /// The measured time.
    pub duration_s: f64,
    /// Requests by their end.
    pub requests: Requests,
    /// One entry for each path.
    pub paths: Vec<LoadgenPath>,
    /// The longest time without progress.
    pub longest_stall_us: u64,
}

/// Requests by their end.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Requests {
    /// Answered completely.
    pub completed: u64,
    /// Not answered.
    pub failed: u64,
}

/// One path.
#[derive(Clone, Debug, Deserialize)]
pub struct LoadgenPath {
    /// The path's number.
    pub id: u32,
    /// The part of all bytes that it brought.
    pub share: f64,
    /// Packets that arrived on it.
    pub packets_received: u64,
    /// Its stage of life at the end.
    pub state: String,
}

impl Loadgen {
    /// Says how the bytes were spread over the paths.
    pub fn show(&self, title: &str) {
        let paths = self.paths.iter().map(|path| {
            format!(
                "path {} {}: {:.1} %, {} packets",
                path.id,
                path.state,
                100.0 * path.share,
                path.packets_received
            )
        });
        let paths = paths.collect::<Vec<_>>().join("; ");
        println!(
            "{title}: {} Mb/s, {} requests, longest stall {} us; {paths}",
            self.goodput_bps / 1_000_000,
            self.requests.completed,
            self.longest_stall_us
        );
    }

    /// The paths that are open at the end.
    pub fn open_paths(&self) -> usize {
        self.paths.iter().filter(|path| path.state == "open").count()
    }
}
