//! Paths that move: what proofs and failures of addresses mean for the connection, and moving a path by our own wish.
//!
//! Owns no state; the routes of a path are its own (`path/migration`). Which packets tell that the peer moved is
//! `receive`'s to see.

use super::Connection;
use super::doors::PathError;
use crate::base::address::RouteId;
use crate::error::PathErrorCode;
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::path::migration::{Failure, Proof};
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
        if path.remote.spare().is_none() {
            return Err(PathError::NoConnectionId); // RFC 9000 §9.5: one ID does not serve two local addresses
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
