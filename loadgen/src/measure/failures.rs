//! Why something failed and how often.
//!
//! Owns the bound on how many reasons are kept apart: the words of some come from the peer.

use std::collections::BTreeMap;

/// Different reasons of failure that are kept apart; the rest are counted together.
pub(crate) const REASONS_MAX: usize = 16;

/// How often something failed, by reason.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    total: u64,
    reasons: BTreeMap<String, u64>,
}

impl Failures {
    pub(super) const OTHER: &str = "other reasons";

    pub(super) fn add(&mut self, count: u64, reason: &str) {
        self.total += count;
        let known = self.reasons.contains_key(reason) || self.reasons.len() < REASONS_MAX;
        let reason = if known { reason } else { Self::OTHER };
        *self.reasons.entry(reason.to_owned()).or_default() += count;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Each reason and how often it was met.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.reasons.iter().map(|(reason, &count)| (reason.as_str(), count))
    }
}
