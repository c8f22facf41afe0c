//! Where the workers and the main thread meet: nobody loads the server before every connection stands or has failed.
//!
//! Owns a few counters that the workers raise and the main thread reads, and the instant of the start, which travels
//! the other way. Carries no byte of the data path, and every value stands for itself, so no ordering is needed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use braid_quic::Instant;

/// One for a run, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    settled: AtomicUsize,
    lost: AtomicUsize,
    without_multipath: AtomicUsize,
    without_all_paths: AtomicUsize,
    start_ns: AtomicU64,
    moved_bytes: AtomicU64,
}

impl Gate {
    /// A connection stands with all the paths it will get, or has failed.
    pub(super) fn on_settled(&self) {
        self.settled.fetch_add(1, Relaxed);
    }

    /// A connection is over before the run is.
    pub(super) fn on_lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// The server of a connection speaks no multipath.
    pub(super) fn on_without_multipath(&self) {
        self.without_multipath.fetch_add(1, Relaxed);
    }

    /// A connection goes without some of its paths.
    pub(super) fn on_without_all_paths(&self) {
        self.without_all_paths.fetch_add(1, Relaxed);
    }

    /// So many bytes moved since the last call, for the line that people watch.
    pub(super) fn on_moved(&self, bytes: u64) {
        self.moved_bytes.fetch_add(bytes, Relaxed);
    }

    /// When the load starts, once that is known.
    pub(super) fn start(&self) -> Option<Instant> {
        Some(self.start_ns.load(Relaxed)).filter(|&ns| ns > 0).map(Instant::from_nanos)
    }

    /// Lets all workers start at `start`.
    pub(crate) fn open(&self, start: Instant) {
        self.start_ns.store(start.as_nanos().max(1), Relaxed);
    }

    pub(crate) fn settled(&self) -> usize {
        self.settled.load(Relaxed)
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Relaxed)
    }

    pub(crate) fn without_multipath(&self) -> usize {
        self.without_multipath.load(Relaxed)
    }

    pub(crate) fn without_all_paths(&self) -> usize {
        self.without_all_paths.load(Relaxed)
    }

    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Relaxed)
    }
}
