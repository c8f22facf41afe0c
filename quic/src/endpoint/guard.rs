//! A connection in its owner's hands.
//!
//! The guard is how applications reach a connection. When it is dropped the connection is marked as changed, so nothing
//! queued through it is ever forgotten.

use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;

use super::{ConnectionKey, Endpoint};
use crate::base::address::{LocalId, RouteId};
use crate::base::time::Instant;
use crate::config::PathOptions;
use crate::congestion::CongestionKind;
use crate::connection::{Connection, PathError};
use crate::crypto::keyring::UpdateError;
use crate::error::PathErrorCode;
use crate::id::{Direction, PathId, Role, StreamId};
use crate::path::set::OpenPathError;
use crate::stats::{ConnectionStats, PathStats};
use crate::stream::{
    DatagramId, DatagramOptions, DatagramResult, ReadError, SendDatagramError, SendState, Slices, WriteError,
};
use crate::turn::Turn;

/// One connection, lent by its endpoint.
pub struct ConnectionGuard<'a> {
    endpoint: &'a mut Endpoint,
    key: ConnectionKey,
    now: Instant,
}

impl<'a> ConnectionGuard<'a> {
    pub(super) fn new(endpoint: &'a mut Endpoint, key: ConnectionKey, now: Instant) -> Self {
        Self { endpoint, key, now }
    }

    fn get(&self) -> &Connection {
        &self.endpoint.entries[self.key.slot as usize].connection
    }

    fn get_mut(&mut self) -> &mut Connection {
        &mut self.endpoint.entries[self.key.slot as usize].connection
    }

    fn with_turn<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> T {
        let Endpoint { entries, cids, rng, .. } = &mut *self.endpoint;
        let mut turn = Turn { now: self.now, slot: self.key.slot, cids, rng };
        act(&mut entries[self.key.slot as usize].connection, &mut turn)
    }

    /// Its key.
    pub fn key(&self) -> ConnectionKey {
        self.key
    }

    /// Which end we are.
    pub fn role(&self) -> Role {
        self.get().role()
    }

    /// The application protocol agreed on, once TLS knows it.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.get().alpn()
    }

    /// The name the client asked for, at a server.
    pub fn server_name(&self) -> Option<&str> {
        self.get().server_name()
    }

    /// The certificates that the peer presented, its own first, once TLS knows them.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.get().peer_certificates()
    }

    /// Is the multipath extension in use?
    pub fn multipath(&self) -> bool {
        self.get().is_multipath()
    }

    /// Is the handshake confirmed (RFC 9001 §4.1.2)?
    pub fn is_confirmed(&self) -> bool {
        self.get().is_confirmed()
    }

    /// Totals of the connection.
    pub fn stats(&self) -> ConnectionStats {
        self.get().stats()
    }

    /// The paths that were opened, those being left included, until `Event::PathClosed`.
    pub fn paths(&self) -> impl Iterator<Item = PathId> {
        self.get().path_ids()
    }

    /// Numbers and status of one path, until `Event::PathClosed`.
    pub fn path_stats(&self, path: PathId) -> Option<PathStats> {
        self.get().path_stats(path)
    }

    /// Is the peer proven to be at the far end of a route that a path rides, left or tries out (RFC 9000 §8)? To where it
    /// is not, no more than three times is sent what came from there.
    pub fn is_proven(&self, route: &RouteId) -> bool {
        self.get().is_proven(route)
    }

    /// The smoothed RTT of the best path.
    pub fn rtt(&self) -> Duration {
        self.get().rtt()
    }

    /// Opens a stream; `None` while the peer allows no more (`Event::StreamsAvailable` follows).
    pub fn open_stream(&mut self, direction: Direction) -> Option<StreamId> {
        self.get_mut().open_stream(direction)
    }

    /// Gives chunks to a stream, by reference, until the peer acknowledged them. Returns how many bytes were taken; when
    /// fewer than given, `Event::Writable` follows.
    ///
    /// # Errors
    /// When the stream cannot be written to.
    pub fn write(
        &mut self,
        stream: StreamId,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> Result<u64, WriteError> {
        self.get_mut().write(stream, chunks)
    }

    /// Ends a stream after what was written.
    ///
    /// # Errors
    /// When the stream cannot be written to.
    pub fn finish(&mut self, stream: StreamId) -> Result<(), WriteError> {
        self.get_mut().finish(stream)
    }

    /// Breaks off sending on a stream (RFC 9000 §19.4).
    pub fn reset(&mut self, stream: StreamId, code: u64) {
        self.get_mut().reset(stream, code);
    }

    /// Asks the peer to stop sending on a stream, and drops what arrived (RFC 9000 §19.5).
    pub fn stop(&mut self, stream: StreamId, code: u64) {
        self.get_mut().stop(stream, code);
    }

    /// The in-order bytes of a stream, lent; `consume` takes them.
    ///
    /// # Errors
    /// When there is no such stream or the peer reset it.
    pub fn read(&mut self, stream: StreamId) -> Result<Slices<'_>, ReadError> {
        self.get_mut().read(stream)
    }

    /// Takes the first `count` bytes that `read` lends; returns how many there were to take.
    pub fn consume(&mut self, stream: StreamId, count: usize) -> usize {
        self.with_turn(|connection, turn| connection.consume(turn, stream, count))
    }

    /// How far sending on a stream is, or `None` if there is nothing to send on.
    pub fn send_state(&self, stream: StreamId) -> Option<SendState> {
        self.get().send_state(stream)
    }

    /// Gives a datagram to be sent once, or never (RFC 9221): it is not repeated, and may arrive before or after others.
    /// Datagrams go before stream data, but never starve it.
    ///
    /// ```
    /// use braid_quic::{ConnectionGuard, DatagramId, DatagramOptions, SendDatagramError};
    /// use bytes::Bytes;
    /// use std::time::Duration;
    ///
    /// /// Sends a video frame that nobody needs after 50 ms; its result will be told by `datagram_result`.
    /// fn send(
    ///     connection: &mut ConnectionGuard<'_>,
    ///     frame: Bytes,
    /// ) -> Result<DatagramId, SendDatagramError> {
    ///     let lifetime = Some(Duration::from_millis(50));
    ///     connection.send_datagram(frame, DatagramOptions { lifetime, report: true, ..Default::default() })
    /// }
    /// ```
    ///
    /// # Errors
    /// When the peer takes no datagrams or none of this size, when too many wait, when the path asked for is not there,
    /// and before the handshake is complete. The datagram is dropped then.
    pub fn send_datagram(
        &mut self,
        bytes: Bytes,
        options: DatagramOptions,
    ) -> Result<DatagramId, SendDatagramError> {
        let now = self.now;
        self.get_mut().send_datagram(bytes, options, now)
    }

    /// The oldest datagram that arrived and was not read. After `Event::DatagramReceived`, call until it gives none.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        self.get_mut().recv_datagram()
    }

    /// The oldest result of a datagram that was sent with `report`. After `Event::DatagramsSettled`, call until it gives
    /// none; who never calls loses the oldest beyond [`DATAGRAM_RESULTS_MAX`](crate::DATAGRAM_RESULTS_MAX).
    pub fn datagram_result(&mut self) -> Option<(DatagramId, DatagramResult)> {
        self.get_mut().datagram_result()
    }

    /// The largest datagram in bytes that every usable path carries now; `None` if the peer takes none. It changes with
    /// the paths. Larger ones are taken as long as some usable path carries them, wait for that path, and are dropped
    /// when no such path is left (MP-299).
    pub fn datagram_max(&self) -> Option<usize> {
        self.get().datagram_max()
    }

    /// The largest datagram in bytes that `path` carries now; `None` if there is no such path or the peer takes none.
    pub fn datagram_max_on(&self, path: PathId) -> Option<usize> {
        self.get().datagram_max_on(path)
    }

    /// Opens a path over `route` (clients only). `Event::PathValidated` or `Event::PathAbandoned` follows.
    ///
    /// # Errors
    /// When no path can be opened now.
    pub fn open_path(&mut self, route: RouteId) -> Result<PathId, OpenPathError> {
        self.open_path_with(route, &PathOptions::default())
    }

    /// The same with settings of its own.
    ///
    /// # Errors
    /// When no path can be opened now.
    pub fn open_path_with(&mut self, route: RouteId, options: &PathOptions) -> Result<PathId, OpenPathError> {
        self.with_turn(|connection, turn| connection.open_path(turn, route, options))
    }

    /// The path that runs over `route` now, whoever opened it and whether validated or not; if there is none or it was
    /// abandoned, a new one.
    ///
    /// # Errors
    /// When there is none and no path can be opened now.
    pub fn open_path_if_absent(
        &mut self,
        route: RouteId,
        options: &PathOptions,
    ) -> Result<PathId, OpenPathError> {
        self.with_turn(|connection, turn| connection.open_path_if_absent(turn, route, options))
    }

    /// Sends a PING on this path after so much silence there; zero for never (MP-302).
    ///
    /// # Errors
    /// When there is no such path.
    pub fn set_path_keep_alive(&mut self, path: PathId, every: Duration) -> Result<(), PathError> {
        self.get_mut().set_path_keep_alive(path, every)
    }

    /// Abandons this path after so much silence there, while another one is usable; zero for never (MP-301).
    ///
    /// # Errors
    /// When there is no such path.
    pub fn set_path_idle_timeout(&mut self, path: PathId, timeout: Duration) -> Result<(), PathError> {
        self.get_mut().set_path_idle_timeout(path, timeout)
    }

    /// Lets another congestion controller decide on this path from now on. It begins with its initial window.
    ///
    /// # Errors
    /// When there is no such path.
    pub fn set_path_congestion(&mut self, path: PathId, kind: &CongestionKind) -> Result<(), PathError> {
        self.get_mut().set_path_congestion(path, kind)
    }

    /// Moves a path to another local address (clients only): `route` is tried out first, and `Event::PathMigrated` or
    /// `Event::PathMigrationFailed` follows (RFC 9000 §9.2). Where the extension is in use, opening a path there and
    /// abandoning the old one loses less (MP-120).
    ///
    /// # Errors
    /// When there is no such path, the peer forbids it or lent no connection ID for it.
    pub fn migrate_path(&mut self, path: PathId, route: RouteId) -> Result<(), PathError> {
        self.with_turn(|connection, turn| connection.migrate_path(turn, path, route, false))
    }

    /// Tells of another local address from which the server can be reached. It joins the race of a handshake that nobody
    /// has answered, and paths move there when their own local address goes and no other path is left. It opens no path.
    pub fn add_local(&mut self, route: RouteId) {
        self.with_turn(|connection, turn| connection.add_local(turn, route));
    }

    /// Tells that a local interface or socket is gone, to this connection only (`Endpoint::local_gone` tells all).
    pub fn local_gone(&mut self, local: LocalId) {
        self.with_turn(|connection, turn| connection.local_gone(turn, local));
    }

    /// Gives a path up; what it carried goes on elsewhere.
    ///
    /// # Errors
    /// When there is no such path or it is the last one.
    pub fn abandon_path(&mut self, path: PathId, code: PathErrorCode) -> Result<(), PathError> {
        self.with_turn(|connection, turn| connection.abandon_path(turn, path, code))
    }

    /// Advises the peer to use a path only as a backup, or freely again (MP-140); this end does so too unless the peer
    /// advises otherwise.
    ///
    /// # Errors
    /// When there is no such path.
    pub fn set_path_backup(&mut self, path: PathId, backup: bool) -> Result<(), PathError> {
        self.get_mut().set_path_backup(path, backup)
    }

    /// Starts a key update (RFC 9001 §6). Keys are also updated in time without it.
    ///
    /// # Errors
    /// When it is too early for one.
    pub fn update_keys(&mut self) -> Result<(), UpdateError> {
        self.with_turn(|connection, turn| connection.update_keys(turn))
    }

    /// Closes the connection with the application's code and at most 256 octets of words. `Event::Closed` follows at
    /// once, `Event::Gone` when late packets have passed by.
    pub fn close(&mut self, code: u64, reason: &[u8]) {
        self.with_turn(|connection, turn| connection.close(turn, code, reason));
    }
}

impl Drop for ConnectionGuard<'_> {
    fn drop(&mut self) {
        self.endpoint.mark(self.key.slot);
    }
}
