//! What a scenario does at which time.
//!
//! Owns the scheduled actions, ordered by time and then by the order in which they were written down. Performs none
//! (`world` does).

use std::collections::BTreeMap;
use std::time::Duration;

use braid_quic::{Instant, Role};

use super::book::TransferId;
use super::datagrams::Volley;
use crate::link::Setting;
use crate::network::{Attacker, LinkId, Rebinding, Way};

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Cut(LinkId, Way),
    Shut(LinkId, Way),
    Restore(LinkId, Way),
    Rebind(LinkId, Rebinding),
    Renumber(LinkId),
    Attack(LinkId, Attacker),
    Set(LinkId, Way, Setting),
    Transfer(TransferId),
    /// Begins a transfer like this one.
    TransferLike(TransferId),
    /// One end sends datagrams, perhaps bound to the path of a link.
    Datagrams(Role, Volley, Option<LinkId>),
    OpenPath(LinkId),
    /// The client moves the path of the first link to the second.
    MigratePath(LinkId, LinkId),
    AbandonPath(Role, LinkId),
    SetBackup(Role, LinkId, bool),
    UpdateKeys(Role),
    Close(Role, u64),
    /// A competitor connects.
    Begin(usize),
    /// It closes its connection.
    End(usize),
}

impl Action {
    /// An endpoint may refuse for now; it is asked again until it agrees.
    pub(crate) fn is_patient(self) -> bool {
        matches!(self, Self::UpdateKeys(_))
    }

    /// The link that may rightly be doubted for a while afterwards.
    pub(crate) fn disturbs(self) -> Option<LinkId> {
        match self {
            Self::Cut(link, _)
            | Self::Shut(link, _)
            | Self::Restore(link, _)
            | Self::Rebind(link, _)
            | Self::Renumber(link)
            | Self::MigratePath(link, _)
            | Self::Set(link, _, Setting::Unreachable(_)) => Some(link),
            _ => None,
        }
    }

    /// A run that is over but for this does not go on.
    fn is_of_others(self) -> bool {
        matches!(self, Self::Begin(_) | Self::End(_))
    }
}

/// From when the time of an action counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The start of the world.
    Start,
    /// Every path that is opened at the start is validated at both ends.
    Ready,
    /// A transfer is complete.
    Completed(TransferId),
}

/// Actions that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeMap<(Instant, u64), Entry>,
    /// Entries whose anchor has not been reached, with their time after it.
    anchored: Vec<(Anchor, Duration, Entry)>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    action: Action,
    /// It is performed again and again, this long apart.
    every: Option<Duration>,
}

impl Agenda {
    /// Adds an action, and its repetitions every so often.
    pub(crate) fn add(&mut self, at: Instant, every: Option<Duration>, action: Action) {
        self.insert(at, Entry { action, every });
    }

    /// Adds an action whose time is not known yet.
    pub(crate) fn add_after(
        &mut self,
        anchor: Anchor,
        delay: Duration,
        every: Option<Duration>,
        action: Action,
    ) {
        self.anchored.push((anchor, delay, Entry { action, every }));
    }

    /// The time of what waited for `anchor` is known now.
    pub(crate) fn on_reached(&mut self, anchor: Anchor, now: Instant) {
        let (reached, others) = self.anchored.drain(..).partition(|(waits_for, _, _)| *waits_for == anchor);
        self.anchored = others;
        for (_, delay, entry) in Vec::<(Anchor, Duration, Entry)>::from_iter(reached) {
            self.insert(now + delay, entry);
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Action> {
        let first = self.entries.first_entry().filter(|entry| entry.key().0 <= now)?;
        let at = first.key().0;
        let entry = first.remove();
        if let Some(period) = entry.every {
            self.insert(at + period, entry);
        }
        Some(entry.action)
    }

    /// Whether nothing is left for which a run goes on: what is repeated without end and what competitors do does not
    /// count, and of what waits for an anchor only transfers do.
    pub(crate) fn is_empty(&self) -> bool {
        let matters = |(_, _, entry): &(Anchor, Duration, Entry)| matches!(entry.action, Action::Transfer(_));
        let idle = |entry: &Entry| entry.every.is_some() || entry.action.is_of_others();
        self.entries.values().all(idle) && !self.anchored.iter().any(matters)
    }

    fn insert(&mut self, at: Instant, entry: Entry) {
        self.sequence += 1;
        self.entries.insert((at, self.sequence), entry);
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
            agenda.add(at(nanos), None, Action::Close(Role::Client, code));
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

    #[test]
    fn what_is_repeated_comes_every_period_and_keeps_no_run_going() {
        let mut agenda = Agenda::default();
        let at = Instant::from_nanos;
        agenda.add(at(5), Some(Duration::from_nanos(10)), Action::Close(Role::Client, 7));
        assert!(agenda.is_empty());
        let times: Vec<_> = (0..4)
            .map(|_| {
                let next = agenda.next_at().unwrap();
                agenda.take_due(next).unwrap();
                next.as_nanos()
            })
            .collect();
        assert_eq!(times, [5, 15, 25, 35]);
    }

    #[test]
    fn the_time_of_what_is_anchored_counts_from_its_anchor() {
        let mut agenda = Agenda::default();
        let at = Instant::from_nanos;
        agenda.add_after(Anchor::Ready, Duration::from_nanos(30), None, Action::Close(Role::Client, 1));
        assert_eq!(agenda.next_at(), None);
        agenda.on_reached(Anchor::Ready, at(100));
        assert_eq!(agenda.next_at(), Some(at(130)));
    }
}
