//! What happened on a connection, for the application.

use crate::error::{CloseReason, PathErrorCode};
use crate::id::{PathId, StreamId};
use crate::stats::PathStats;

/// Something the application may want to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake completed. `multipath` tells whether both ends offered the extension.
    Connected {
        /// Paths above 0 can be opened.
        multipath: bool,
    },
    /// The server confirmed the handshake (RFC 9001 §4.1.2); a client may open paths from now on.
    Confirmed,
    /// The peer opened a stream.
    StreamOpened(StreamId),
    /// A stream has in-order bytes to read, its end, or was reset.
    Readable(StreamId),
    /// A stream whose write was refused or cut takes bytes again.
    Writable(StreamId),
    /// The peer acknowledged everything of a stream that we finished, or our reset of it.
    Finished(StreamId),
    /// The peer asks us to stop sending on a stream; `code` is its application's.
    Stopped {
        /// The stream.
        stream: StreamId,
        /// The peer application's code.
        code: u64,
    },
    /// `open_stream`, refused before for lack of credit, would work now.
    StreamsAvailable,
    /// Datagrams arrived; said once until `recv_datagram` has given all.
    DatagramReceived,
    /// Results of datagrams are there; said once until `datagram_result` has given all.
    DatagramsSettled,
    /// `send_datagram`, refused before because too many waited, would work now.
    DatagramsUnblocked,
    /// A path was opened, by us or by the peer; it is being validated.
    PathOpened(PathId),
    /// A path was validated: data may flow. After `PathMigrated` it says that the new address is proven.
    PathValidated(PathId),
    /// A path runs over another 4-tuple now (RFC 9000 §9): the peer's address changed, or we moved the path, or it went
    /// back because the new address could not be proven. `PathStats::route` tells where it is.
    PathMigrated(PathId),
    /// The route to which `migrate_path` should have moved a path does not work; the path stays where it is.
    PathMigrationFailed(PathId),
    /// No acknowledgement arrived in time; the path's data is sent elsewhere too.
    PathSuspect(PathId),
    /// A suspect path works again.
    PathRecovered(PathId),
    /// We or the peer gave the path up.
    PathAbandoned {
        /// The path.
        path: PathId,
        /// Why.
        code: PathErrorCode,
        /// Whether the peer said it first.
        by_peer: bool,
    },
    /// The last state of an abandoned path is gone; every path that was opened ends in one of these, unless the connection
    /// ends first.
    PathClosed {
        /// Its final numbers.
        stats: Box<PathStats>,
    },
    /// The peer's advice for a path changed (MP-140): `true` for backup.
    PathStatus {
        /// The path.
        path: PathId,
        /// Use it only when no other is usable.
        backup: bool,
    },
    /// Full datagrams on a path have another size from now on: a larger one was found to arrive, or the present one
    /// arrives no more (RFC 8899).
    PathMtu {
        /// The path.
        path: PathId,
        /// UDP payload of a full datagram.
        bytes: u16,
    },
    /// The connection is over; `connection(key)` still answers until `Gone`.
    Closed(CloseReason),
    /// The connection's last state is gone and its key will not answer again.
    Gone,
}
