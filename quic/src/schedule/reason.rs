//! *Why* a train went where it went, or why it waits.
//!
//! Owns the reasons and one pure function that finds what the table of paths alone explains; a scheduler adds the rule
//! it chose by among several. Asked only for logs: nothing here changes a decision.

use std::fmt;

use super::{Decision, PathView, eligible};
use crate::base::time::Instant;

/// Why a scheduler answered as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// There is no other validated path.
    OnlyPath,
    /// Every other path is suspect or a backup, and this one is not.
    OnlyEligible,
    /// It would not be the first choice, but the windows of the other eligible paths are full.
    OnlyWithRoom,
    /// It would not be the first choice, but the other eligible paths wait for their pacers.
    OnlyReady,
    /// The peer advised against the path (MP-140), but every path that is not a backup is gone or suspect.
    LastBackup,
    /// All paths are suspect: one of them must show that it works.
    AllSuspect,
    /// The one with the lowest round-trip time, of all or at least of several that can send.
    LowestRtt,
    /// The one that delivers a repair earliest, of all or at least of several with room.
    Earliest,
    /// Its turn.
    Turn,
    /// The lowest path ID carries everything while the others stand by.
    Carrier,
    /// Of several, by a rule of the scheduler that has no name here.
    OwnRule(&'static str),
    /// Waits: the windows of all eligible paths are full.
    Window,
    /// Waits: the eligible paths with room wait for their pacers.
    Pacer,
    /// Waits for one path, though another could send now.
    Held,
}

impl Reason {
    /// Its name in logs: lower case, words joined by underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnlyPath => "only_path",
            Self::OnlyEligible => "only_eligible",
            Self::OnlyWithRoom => "only_with_room",
            Self::OnlyReady => "only_ready",
            Self::LastBackup => "last_backup",
            Self::AllSuspect => "all_suspect",
            Self::LowestRtt => "lowest_rtt",
            Self::Earliest => "earliest",
            Self::Turn => "turn",
            Self::Carrier => "carrier",
            Self::OwnRule(name) => name,
            Self::Window => "window",
            Self::Pacer => "pacer",
            Self::Held => "held",
        }
    }

    /// What a choice by this rule looks at before it compares: `(room, pacer)`.
    const fn looks_at(self) -> (bool, bool) {
        match self {
            Self::Carrier => (false, false),
            Self::Earliest => (true, false),
            _ => (true, true),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why `decision` was made over `paths`, when `rule` is how the scheduler chooses among several.
pub fn why(paths: &[PathView], decision: Decision, rule: Reason, now: Instant) -> Reason {
    match decision {
        Decision::Send(index) => why_sent(paths, index, rule, now),
        Decision::Wait { .. } if eligible(paths).any(|(_, path)| path.can_send(now)) => Reason::Held,
        Decision::Wait { .. } if eligible(paths).any(|(_, path)| path.has_room()) => Reason::Pacer,
        Decision::Wait { .. } => Reason::Window,
    }
}

fn why_sent(paths: &[PathView], index: usize, rule: Reason, now: Instant) -> Reason {
    let (room, pacer) = rule.looks_at();
    match paths.get(index) {
        _ if paths.len() == 1 => Reason::OnlyPath,
        Some(path) if path.suspect => Reason::AllSuspect,
        Some(path) if path.backup => Reason::LastBackup,
        _ if eligible(paths).count() == 1 => Reason::OnlyEligible,
        _ if is_first_choice(paths, index, rule, now) => rule,
        _ if room && eligible(paths).filter(|(_, path)| path.has_room()).count() == 1 => Reason::OnlyWithRoom,
        _ if pacer && eligible(paths).filter(|(_, path)| path.can_send(now)).count() == 1 => {
            Reason::OnlyReady
        }
        _ => rule,
    }
}

/// Would the rule choose this path even if no window were full and no pacer waited?
fn is_first_choice(paths: &[PathView], index: usize, rule: Reason, now: Instant) -> bool {
    let first = match rule {
        Reason::LowestRtt => eligible(paths).min_by_key(|(_, path)| (path.rtt, path.id)),
        Reason::Earliest => eligible(paths).min_by_key(|(_, path)| (path.eta(now), path.rtt, path.id)),
        _ => None,
    };
    first.is_some_and(|(at, _)| at == index)
}
