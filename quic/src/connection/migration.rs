//! Paths that move: what proofs and failures of addresses mean for the connection, and moving a path by our own wish.
//!
//! Owns no state; the routes of a path are its own (`path/migration`). Which packets tell that the peer moved is
//! `receive`'s to see.

use super::Connection;
use super::doors::PathError;
use super::race::{ROUTES_MAX, Race};
use crate::base::address::{LocalId, RouteId};
use crate::base::time::Instant;
use crate::error::PathErrorCode;
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::{Record, SuspectTrigger};
use crate::path::Path;
use crate::path::migration::{Failure, Proof, Via};
use crate::path::route::Route;
use crate::turn::Turn;

impl Connection {
    /// `PATH_RESPONSE`: only the route of its challenge is proven (MP-126).
    pub(super) fn on_path_response(&mut self, turn: &mut Turn<'_>, id: PathId, data: [u8; 8]) {
        let proof = self.paths.get_mut(id).and_then(|path| path.on_response(turn, data));
        match proof {
            Some(Proof::Opened | Proof::Moved) => self.announce(Event::PathValidated(id)),
            Some(Proof::Candidate) => self.announce(Event::PathMigrated(id)),
            Some(Proof::Address | Proof::Former) | None => {}
        }
    }

    /// The time of a challenge is up. `false` if only sending can help.
    pub(super) fn on_validation_alarm(&mut self, turn: &mut Turn<'_>, id: PathId) -> bool {
        let Some(path) = self.paths.get_mut(id) else { return true };
        match path.on_challenge_timeout(turn) {
            Some(Failure::Path) => self.on_validation_failed(turn, id),
            Some(Failure::Returned) => self.announce(Event::PathMigrated(id)),
            Some(Failure::Candidate) => self.announce(Event::PathMigrationFailed(id)),
            Some(Failure::Former) => {}
            None => return false,
        }
        true
    }

    /// Nobody answers on a path that was never proven (MP-112).
    fn on_validation_failed(&mut self, turn: &Turn<'_>, id: PathId) {
        let last_resort = self.paths.by_preference().iter().all(|&other| other == id);
        let again = self.patience();
        let Some(path) = self.paths.get_mut(id) else { return };
        if last_resort {
            // It may be the last way out: ask again rather than give it up (MP-179).
            path.challenge_again(again.slower().challenge(turn.now));
            return;
        }
        let no_cid = path.remote.current().is_none();
        let code = if no_cid {
            PathErrorCode::NO_CID_AVAILABLE_FOR_PATH
        } else {
            PathErrorCode::PATH_UNSTABLE_OR_POOR
        };
        self.abandon(id, code, turn.now);
    }

    /// There is another local address to reach the server from.
    pub(crate) fn add_local(&mut self, turn: &mut Turn<'_>, route: RouteId) {
        if self.role == Role::Server || self.lifecycle.is_ending() {
            return;
        }
        let stranded = self.still_stranded();
        if self.alternatives.len() < ROUTES_MAX && !self.alternatives.contains(&route) {
            self.alternatives.push(route);
        }
        if let Some(race) = self.handshake.as_mut().and_then(|handshake| handshake.race.as_mut()) {
            race.add(route);
        }
        if let Some(stranded) = stranded
            && self.migrate_path(turn, stranded, route, true).is_ok()
        {
            self.stranded = None;
        }
    }

    /// A local address is gone, and every path over it (MP-160). What they carried goes on elsewhere at once.
    pub(crate) fn local_gone(&mut self, turn: &mut Turn<'_>, local: LocalId) {
        if self.lifecycle.is_ending() {
            return;
        }
        self.alternatives.retain(|route| route.local_id() != local);
        if self.present_of_zero().is_some_and(|present| present.local_id() == local) {
            self.race_again(turn.now);
        }
        if let Some(race) = self.handshake.as_mut().and_then(|handshake| handshake.race.as_mut()) {
            if race.remove(local) {
                self.next_in_race(turn.now);
            }
            return;
        }
        for id in self.paths.ids() {
            let Some(path) = self.paths.get_mut(id).filter(|path| !path.stage().is_abandoned()) else {
                continue;
            };
            let rides = path.running().is_some_and(|running| running.route.id().local_id() == local);
            if path.on_local_gone(turn, local) {
                self.announce(Event::PathMigrationFailed(id));
            }
            if rides {
                self.replace_path(turn, id, local);
            }
        }
    }

    /// The interface of path `id` is gone: give the path up if there is another, or move it. Of several that have nowhere
    /// to go one is kept.
    fn replace_path(&mut self, turn: &mut Turn<'_>, id: PathId, gone: LocalId) {
        let unproven = self.paths.get(id).is_some_and(|path| !path.stage().is_usable());
        let better = |path: &Path| {
            let local = path.running().map(|running| running.route.id().local_id());
            path.id() != id && path.stage().is_usable() && (unproven || local != Some(gone))
        };
        let kept = |path: &Path| Some(path.id()) == self.stranded && path.stage().is_usable();
        let spare = self.paths.iter().any(|path| better(path) || path.id() != id && kept(path));
        if self.paths.is_multipath() && spare {
            self.abandon(id, PathErrorCode::PATH_UNSTABLE_OR_POOR, turn.now);
            return;
        }
        // What is tried out already may have had an answer on its way, and has an ID of its own.
        let tried = self.paths.get(id).and_then(Path::candidate);
        let mut others = tried.into_iter().chain(self.alternatives.clone());
        if others.any(|other| self.migrate_path(turn, id, other, true).is_ok()) {
            return;
        }
        // One that was never proven is nothing to save.
        if self.paths.get(id).is_some_and(|path| path.stage().is_usable()) {
            self.stranded = Some(id);
            self.suspect(turn, id, SuspectTrigger::Unreachable);
        }
    }

    /// The next route of the race carries the first packets too.
    pub(super) fn next_in_race(&mut self, now: Instant) {
        let Some(handshake) = &mut self.handshake else { return };
        let Some(race) = &mut handshake.race else { return };
        let route = race.advance(now);
        handshake.repeat();
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut()) {
            running.redirect(route);
            self.log.record(|| Record::Redirected { path: PathId::ZERO, route });
        }
    }

    /// The route of the path that carries the handshake.
    fn present_of_zero(&self) -> Option<RouteId> {
        Some(self.paths.get(PathId::ZERO)?.running()?.route.id())
    }

    /// The way to the server is lost. If it was heard before, but we have not sent anything that proves where we are, the
    /// race begins again.
    fn race_again(&mut self, now: Instant) {
        let Some(present) = self.present_of_zero().filter(|_| self.role == Role::Client) else { return };
        let Some(handshake) = self.handshake.as_mut().filter(|it| !it.is_committed()) else { return };
        if handshake.race.is_none() {
            let mut race = Race::new(present, self.config.race_after, now);
            self.alternatives.iter().for_each(|route| race.add(*route));
            race.on_sent();
            handshake.race = Some(race);
        }
    }

    /// The path whose interface is gone, unless it rides another one by now.
    fn still_stranded(&mut self) -> Option<PathId> {
        let present = self.paths.get(self.stranded?).and_then(Path::running)?.route.id();
        if self.alternatives.iter().any(|other| other.local_id() == present.local_id()) {
            self.stranded = None;
        }
        self.stranded
    }

    /// A path whose interface is gone moves, now that it may or that there is a connection ID for it.
    pub(super) fn move_stranded(&mut self, turn: &mut Turn<'_>) {
        let Some(id) = self.still_stranded() else { return };
        let mut others = self.alternatives.clone().into_iter();
        if others.any(|other| self.migrate_path(turn, id, other, true).is_ok()) {
            self.stranded = None;
        }
    }

    /// The server was heard: the route on which it was stays.
    pub(super) fn end_race(&mut self, heard_on: RouteId) {
        let Some(handshake) = &mut self.handshake else { return };
        if handshake.race.take().is_none() {
            return;
        }
        if let Some(running) = self.paths.get_mut(PathId::ZERO).and_then(|path| path.running_mut())
            && !running.route.recognises(&heard_on)
        {
            running.redirect(heard_on);
            self.log.record(|| Record::Redirected { path: PathId::ZERO, route: heard_on });
        }
        self.handshake_remote = heard_on.remote();
    }

    /// The system knows no way from here to there, which is no reason to wait for timeouts (MP-160). What goes to where
    /// the path came from, or to anybody who asks, is no part of it.
    pub(super) fn on_unreachable(&mut self, turn: &mut Turn<'_>, id: PathId, via: Via) {
        match via {
            Via::Present => self.on_present_unreachable(turn, id),
            Via::Candidate => {
                if self.paths.get_mut(id).is_some_and(|path| path.on_candidate_unreachable(turn)) {
                    self.announce(Event::PathMigrationFailed(id));
                }
            }
            Via::Former | Via::Elsewhere => {}
        }
    }

    fn on_present_unreachable(&mut self, turn: &mut Turn<'_>, id: PathId) {
        self.race_again(turn.now);
        let race = self.handshake.as_mut().and_then(|handshake| handshake.race.as_mut());
        if let Some(race) = race.filter(|race| race.has_others()) {
            if race.on_error() {
                self.next_in_race(turn.now);
            }
        } else if self.paths.has_other(id) {
            self.suspect(turn, id, SuspectTrigger::Unreachable);
        } else if let Some(path) = self.paths.get(id).filter(|path| !path.is_moving())
            && let Some(here) = path.running().map(|running| running.route.id())
            && let Some(at) = self.alternatives.iter().position(|other| !other.matches(&here))
        {
            let other = self.alternatives.remove(at);
            self.alternatives.push(other); // the next time it is another one's turn
            let _ = self.migrate_path(turn, id, other, false);
        }
    }

    /// Moves a path to another route of ours once that is proven to work (RFC 9000 §9.2), or at once if the path's own
    /// is gone.
    pub(crate) fn migrate_path(
        &mut self,
        turn: &mut Turn<'_>,
        id: PathId,
        route: RouteId,
        at_once: bool,
    ) -> Result<(), PathError> {
        if self.role == Role::Server {
            return Err(PathError::ServerCannotMigrate);
        }
        if self.lifecycle.is_ending() || !self.confirmed {
            return Err(PathError::NotConfirmed);
        }
        if self.agreed.migration_forbidden {
            return Err(PathError::MigrationForbidden);
        }
        let challenge = self.patience().challenge(turn.now);
        let mut fresh = Route::new(route, &self.config, true);
        fresh.on_peer_maximum(self.peer_datagram_max);
        let path = self.paths.get_mut(id).filter(|path| path.stage().is_usable());
        let path = path.ok_or(PathError::NoSuchPath)?;
        // RFC 9000 §9.5: one ID does not serve two local addresses. A trial waits for one that is not spent.
        if path.remote.spare().is_none() || at_once && !path.has_cid_for(&route) {
            return Err(PathError::NoConnectionId);
        }
        if at_once {
            path.move_to(turn, fresh, challenge);
            self.announce(Event::PathMigrated(id));
        } else {
            path.try_out(turn, fresh, challenge);
        }
        Ok(())
    }
}
