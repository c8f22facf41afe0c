//! What a scenario does at which time.
//!
//! Owns the scheduled actions, ordered by time and then by the order in which they were written down. Performs none
//! (`world` does).

use std::collections::BTreeMap;

use braid_quic::{Instant, Role};

use super::apps::Wish;
use super::datagrams::Volley;
use crate::network::{Attacker, LinkId, Rebinding, Way};

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Cut(LinkId, Way),
    Restore(LinkId, Way),
    Rebind(LinkId, Rebinding),
    Renumber(LinkId),
    Attack(LinkId, Attacker),
    Transfer(Wish),
    Datagrams(Role, Volley, Option<LinkId>),
    OpenPath(LinkId),
    AbandonPath(Role, LinkId),
    SetBackup(Role, LinkId, bool),
    UpdateKeys(Role),
    Close(Role, u64),
}

impl Action {
    /// An endpoint may refuse for now; it is asked again until it agrees.
    pub(crate) fn is_patient(self) -> bool {
        matches!(self, Self::UpdateKeys(_))
    }
}

/// Actions that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<(Instant, u64), Action>,
    sequence: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Instant, action: Action) {
        self.sequence += 1;
        self.entries.insert((at, self.sequence), action);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Action> {
        let first = self.entries.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_by_time_and_then_in_the_order_they_were_written() {
        let mut agenda = Agenda::default();
        let at = Instant::from_nanos;
        for (nanos, code) in [(20, 1), (10, 2), (20, 3), (10, 4)] {
            agenda.add(at(nanos), Action::Close(Role::Client, code));
        }
        let mut codes = Vec::new();
        assert!(agenda.take_due(at(9)).is_none());
        while let Some(next) = agenda.next_at() {
            let Some(Action::Close(_, code)) = agenda.take_due(next) else { unreachable!() };
            codes.push(code);
        }
        assert_eq!(codes, [2, 4, 1, 3]);
        assert!(agenda.is_empty());
    }
}
