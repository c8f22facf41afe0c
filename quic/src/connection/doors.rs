//! Doors: what the owner of a connection may ask and do.
//!
//! Every door that queues something leaves the connection so that `transmit` finds it; the endpoint's guard sees to it
//! that the connection is visited.

use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;

use super::Connection;
use super::lifecycle::Lifecycle;
use crate::base::address::RouteId;
use crate::config::PathOptions;
use crate::congestion::CongestionKind;
use crate::crypto::keyring::UpdateError;
use crate::datagram::Fate;
use crate::error::{CloseReason, PathErrorCode};
use crate::event::Event;
use crate::id::{Direction, PathId, Role, StreamId};
use crate::log::{Initiator, Record};
use crate::path::leg::Leg;
use crate::path::route::Route;
use crate::path::set::OpenPathError;
use crate::path::{Path, Running};
use crate::stats::{ConnectionStats, PathStats};
use crate::stream::{ReadError, SendState, Slices, WriteError};
use crate::turn::Turn;

/// Why a wish about a path cannot be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// There is no such path, or it was given up.
    NoSuchPath,
    /// One of the ends did not offer the extension.
    NotNegotiated,
    /// It is the last path: close the connection instead (MP-179).
    LastPath,
    /// Only clients move paths (RFC 9000 §9).
    ServerCannotMigrate,
    /// The handshake is not confirmed yet, or the connection is closing.
    NotConfirmed,
    /// The peer does not want paths to its handshake address to be moved (RFC 9000 §18.2, `disable_active_migration`).
    MigrationForbidden,
    /// The peer has not issued a connection ID for another address; try again later.
    NoConnectionId,
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSuchPath => "there is no such path",
            Self::NotNegotiated => "the peer does not speak multipath QUIC",
            Self::LastPath => "it is the last path",
            Self::ServerCannotMigrate => "only the client moves paths",
            Self::NotConfirmed => "the handshake is not confirmed yet, or the connection is closing",
            Self::MigrationForbidden => "the peer forbids migration",
            Self::NoConnectionId => "the peer has issued no connection ID for another address",
        })
    }
}

impl std::error::Error for PathError {}

/// What may be known.
impl Connection {
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            key_updates: self.keys.as_ref().map_or(0, |keys| keys.generation()),
            paths_opened: self.paths.opened(),
            early_bytes_peak: self.streams.early_bytes_peak(),
            datagrams: self.datagrams.stats(),
            ..self.stats
        }
    }

    pub(crate) fn path_stats(&self, id: PathId) -> Option<PathStats> {
        self.paths.get(id)?.stats()
    }

    /// The paths that were opened and are not forgotten.
    pub(crate) fn path_ids(&self) -> impl Iterator<Item = PathId> {
        self.paths.iter().filter(|path| path.has_stats()).map(Path::id)
    }

    pub(crate) fn is_proven(&self, route: &RouteId) -> bool {
        self.paths.iter().filter_map(Path::running).any(|running| running.proves(route))
    }

    /// The smoothed RTT of the best path.
    pub(crate) fn rtt(&self) -> Duration {
        let best = self.paths.best(None).and_then(|id| Some(&self.paths.get(id)?.running()?.route));
        best.map_or(self.config.initial_rtt, |route| route.rtt.smoothed())
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn()
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        self.tls.server_name()
    }

    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.peer_certificates()
    }

    pub(crate) fn is_multipath(&self) -> bool {
        self.paths.is_multipath()
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}

/// Streams.
impl Connection {
    pub(crate) fn open_stream(&mut self, direction: Direction) -> Option<StreamId> {
        if self.lifecycle.is_ending() { None } else { self.streams.open(direction) }
    }

    pub(crate) fn write(
        &mut self,
        id: StreamId,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> Result<u64, WriteError> {
        self.streams.write(id, chunks)
    }

    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        self.streams.finish(id)
    }

    pub(crate) fn reset(&mut self, id: StreamId, code: u64) {
        self.streams.reset(id, code);
    }

    pub(crate) fn stop(&mut self, id: StreamId, code: u64) {
        self.streams.stop(id, code);
    }

    pub(crate) fn read(&mut self, id: StreamId) -> Result<Slices<'_>, ReadError> {
        self.streams.read(id)
    }

    pub(crate) fn consume(&mut self, turn: &Turn<'_>, id: StreamId, count: usize) -> usize {
        // In-order bytes wait for the slowest path, so windows must last for its round trip.
        let rtt = self.paths.longest_rtt().unwrap_or(self.config.initial_rtt);
        self.streams.consume(id, count, turn.now, rtt)
    }

    pub(crate) fn send_state(&self, id: StreamId) -> Option<SendState> {
        self.streams.send_state(id)
    }
}

/// Paths, keys, the end.
impl Connection {
    pub(crate) fn open_path(
        &mut self,
        turn: &mut Turn<'_>,
        route: RouteId,
        options: &PathOptions,
    ) -> Result<PathId, OpenPathError> {
        if self.lifecycle.is_ending() {
            return Err(OpenPathError::Closing);
        }
        if self.role == Role::Client && !self.confirmed {
            return Err(OpenPathError::NotConfirmed);
        }
        if self.agreed.migration_forbidden && self.handshake_remote == route.remote() {
            return Err(OpenPathError::PeerForbids); // MP-015
        }
        let id = self.paths.take_unused()?;
        let challenge = self.patience().challenge(turn.now);
        // The server's address is proven by the handshake, but not that this way leads there (MP-103).
        let mut fresh = Route::new(route, &self.config, true);
        fresh.on_peer_maximum(self.peer_datagram_max);
        if let Some(kind) = &options.congestion {
            fresh.set_congestion(kind);
        }
        if let Some(path) = self.paths.get_mut(id) {
            path.start(fresh, Some(challenge), super::upkeep(&self.config, options, turn));
            path.status.set(options.backup);
        }
        self.log.record(|| Record::PathOpened { path: id, route, by: Initiator::Local });
        self.tell_datagram_size(id);
        self.paths.count_opened();
        self.paths.reserve(turn);
        self.pathless_since = None;
        self.announce(Event::PathOpened(id));
        Ok(id)
    }

    /// The path that runs over `route` and is not given up; opened now if there is none.
    pub(crate) fn open_path_if_absent(
        &mut self,
        turn: &mut Turn<'_>,
        route: RouteId,
        options: &PathOptions,
    ) -> Result<PathId, OpenPathError> {
        let there = |path: &&Path| {
            !path.stage().is_abandoned()
                && path.running().is_some_and(|running| running.route.id().matches(&route))
        };
        let present = self.paths.iter().find(there).map(Path::id);
        present.map_or_else(|| self.open_path(turn, route, options), Ok)
    }

    /// A path that was opened and is not given up.
    fn path_in_use(&mut self, id: PathId) -> Result<&mut Running, PathError> {
        let path = self.paths.get_mut(id).filter(|path| path.was_used() && !path.stage().is_abandoned());
        path.and_then(Path::running_mut).ok_or(PathError::NoSuchPath)
    }

    pub(crate) fn set_path_keep_alive(&mut self, id: PathId, every: Duration) -> Result<(), PathError> {
        self.path_in_use(id)?.upkeep.set_keep_alive(every);
        Ok(())
    }

    pub(crate) fn set_path_idle_timeout(&mut self, id: PathId, timeout: Duration) -> Result<(), PathError> {
        self.path_in_use(id)?.upkeep.set_timeout(timeout);
        Ok(())
    }

    pub(crate) fn set_path_congestion(&mut self, id: PathId, kind: &CongestionKind) -> Result<(), PathError> {
        self.path_in_use(id)?.route.set_congestion(kind);
        Ok(())
    }

    pub(crate) fn abandon_path(
        &mut self,
        turn: &Turn<'_>,
        id: PathId,
        code: PathErrorCode,
    ) -> Result<(), PathError> {
        if !self.paths.is_multipath() {
            return Err(PathError::NotNegotiated);
        }
        let abandoned =
            self.paths.get(id).filter(|path| path.was_used()).map(|path| path.stage().is_abandoned());
        if abandoned != Some(false) {
            return Err(PathError::NoSuchPath);
        }
        if self.paths.best(Some(id)).is_none() {
            return Err(PathError::LastPath);
        }
        self.abandon(id, code, turn.now);
        Ok(())
    }

    pub(crate) fn set_path_backup(&mut self, id: PathId, backup: bool) -> Result<(), PathError> {
        if !self.paths.is_multipath() {
            return Err(PathError::NotNegotiated);
        }
        let path = self.paths.get_mut(id).filter(|path| path.was_used() && !path.stage().is_abandoned());
        path.ok_or(PathError::NoSuchPath)?.status.set(backup);
        self.log.record(|| Record::PathAdvised { path: id, backup });
        Ok(())
    }

    /// New keys, seen by the peer in the next packet on any path (RFC 9001 §6).
    pub(crate) fn update_keys(&mut self, turn: &Turn<'_>) -> Result<(), UpdateError> {
        let pto_max = self.longest_probe_timeout();
        let keys = self.keys.as_mut().filter(|_| self.confirmed).ok_or(UpdateError::NotConfirmed)?;
        keys.initiate_update(turn.now, pto_max)?;
        let generation = keys.generation();
        self.log.record(|| Record::KeysUpdated { by: Initiator::Local, generation });
        Ok(())
    }

    /// Updates keys before they have sealed as many packets as they may (MP-307).
    pub(super) fn update_keys_if_due(&mut self, turn: &Turn<'_>) {
        if self.keys.as_ref().is_some_and(|keys| keys.update_due()) {
            // Too early is no harm: it is asked again with the next packet, long before the limit.
            let _ = self.update_keys(turn);
        }
    }

    pub(crate) fn close(&mut self, turn: &Turn<'_>, code: u64, reason: &[u8]) {
        if self.lifecycle.is_ending() {
            return;
        }
        let until = turn.now + self.longest_probe_timeout() * 3;
        self.lifecycle = Lifecycle::closing_by_application(code, reason, until);
        self.end(CloseReason::LocalApplication { code });
    }

    /// The system refused a datagram of this size, or trains, or everything, on this route of a path.
    pub(crate) fn on_fate(
        &mut self,
        turn: &mut Turn<'_>,
        (id, leg): (PathId, Leg),
        mtu_probe: bool,
        fate: Fate,
    ) {
        let Some(running) = self.paths.get_mut(id).and_then(|path| path.running_mut()) else { return };
        let Some(via) = running.via(leg) else { return };
        let Some(route) = running.route_via(via) else { return };
        match fate {
            Fate::NoSegmentation => route.trains.on_refused(turn.now),
            Fate::TooBig if mtu_probe => running.on_mtu_probe_refused(turn.now),
            Fate::TooBig => route.on_too_big(turn.now),
            Fate::Unreachable => self.on_unreachable(turn, id, via),
            Fate::Sent | Fate::NoRoom => {}
        }
        self.note_mtu(id);
    }
}
