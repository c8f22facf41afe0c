//! The course of events at one end: which may follow which.
//!
//! Owns what an application was told of each path. Why a connection ended is `play`'s to judge.

use std::collections::BTreeMap;

use crate::error::CloseReason;
use crate::event::Event;
use crate::id::{PathId, Role};

#[derive(Debug, Default)]
struct Told {
    opened: bool,
    abandoned: bool,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Course {
    role: Role,
    paths: BTreeMap<PathId, Told>,
    /// Paths may be given up that this end never opened: the peer said so of its own accord.
    pub(super) odd_abandons: bool,
    pub(super) ended: Option<CloseReason>,
    pub(super) gone: bool,
}

impl Course {
    pub(super) fn new(role: Role) -> Self {
        let zero = Told { opened: true, ..Told::default() };
        let paths = BTreeMap::from([(PathId::ZERO, zero)]);
        Self { role, paths, odd_abandons: role == Role::Server, ended: None, gone: false }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Paths that were opened and not given up.
    pub(super) fn standing(&self) -> usize {
        self.paths.values().filter(|told| told.opened && !told.abandoned).count()
    }

    /// The next event, in order.
    pub(super) fn on_event(&mut self, event: &Event) {
        let role = self.role;
        assert!(!self.gone, "{role:?}: {event:?} behind Gone");
        assert!(self.ended.is_none() || *event == Event::Gone, "{role:?}: {event:?} behind Closed");
        match event {
            Event::PathOpened(id) => {
                let told = self.paths.entry(*id).or_default();
                assert!(!told.opened && !told.abandoned, "{role:?}: {event:?} twice, or late: {told:?}");
                told.opened = true;
            }
            Event::PathValidated(id)
            | Event::PathMigrated(id)
            | Event::PathMigrationFailed(id)
            | Event::PathSuspect(id)
            | Event::PathRecovered(id)
            | Event::PathMtu { path: id, .. } => {
                let told = self.paths.entry(*id).or_default();
                assert!(told.opened && !told.abandoned, "{role:?}: {event:?} of a path {told:?}");
            }
            Event::PathAbandoned { path, .. } => {
                let told = self.paths.entry(*path).or_default();
                assert!(told.opened || self.odd_abandons, "{role:?}: {event:?} of a path {told:?}");
                assert!(!told.abandoned, "{role:?}: {event:?} of a path {told:?}");
                told.abandoned = true;
            }
            Event::PathClosed { stats } => {
                let told = self.paths.entry(stats.id).or_default();
                let due = told.opened && told.abandoned && !told.closed;
                assert!(due, "{role:?}: {:?} closed, {told:?}", stats.id);
                told.closed = true;
            }
            Event::PathStatus { path, .. } => {
                let told = self.paths.entry(*path).or_default();
                assert!(!told.abandoned, "{role:?}: {event:?} of a path {told:?}");
            }
            Event::Closed(reason) => self.ended = Some(reason.clone()),
            Event::Gone => {
                assert!(self.ended.is_some(), "{role:?}: gone and never closed");
                self.gone = true;
            }
            _ => {}
        }
    }

    /// A path that was given up and of which nothing was told since.
    pub(super) fn open_item(&self) -> Option<String> {
        let waits = |told: &Told| told.opened && told.abandoned && !told.closed;
        let path = self.paths.iter().find(|(_, told)| waits(told));
        path.map(|(id, told)| format!("{:?}: {id:?} never closed: {told:?}", self.role))
    }
}
