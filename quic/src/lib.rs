//! QUIC version 1 (RFC 9000, 9001, 9002) with the multipath extension (draft-ietf-quic-multipath-21), sans I/O.
//!
//! An [`Endpoint`] is a state machine: datagrams and the time go in, trains of datagrams, events and deadlines come
//! out. It opens no socket, reads no clock, starts no thread and contains no unsafe code, so a server, a load generator
//! and a simulator can drive the same code. `ARCHITECTURE.md` in the repository is the map.
//!
//! A program that embeds one turns in a loop:
//!
//! ```
//! use braid_quic::{ConnectionKey, Endpoint, Event, Fate, Instant, Outbox, Received, TrainTag};
//!
//! /// One turn; tells until when to sleep, unless a datagram arrives before.
//! fn turn<'a>(
//!     endpoint: &mut Endpoint,
//!     arrived: impl Iterator<Item = Received<'a>>,
//!     outbox: &mut impl Outbox, // writes to the sockets
//!     fates: impl Iterator<Item = (TrainTag, Fate)>, // what became of earlier trains
//!     mut on_event: impl FnMut(&mut Endpoint, ConnectionKey, Event), // the application
//!     now: Instant,
//! ) -> Option<Instant> {
//!     fates.for_each(|(tag, fate)| endpoint.on_fate(tag, fate, now));
//!     arrived.for_each(|received| endpoint.receive(received, now));
//!     endpoint.on_deadline(now);
//!     while let Some((key, event)) = endpoint.next_event() {
//!         on_event(endpoint, key, event);
//!     }
//!     while endpoint.transmit(outbox, now) == braid_quic::Transmitted::BudgetSpent {}
//!     endpoint.deadline()
//! }
//! ```
//!
//! `cargo run --release --example two_paths` is a whole program of this kind, with sockets: a server and a client, a
//! second path, and the loss of the first one (`quic/examples/two_paths`).

#![forbid(unsafe_code)]

pub mod base;
pub mod cid;
pub mod congestion;
mod connection;
mod crypto;
mod datagram;
#[cfg(test)]
mod duet;
mod endpoint;
pub mod log;
pub mod manager;
pub mod schedule;

pub mod config;
mod error;
mod event;
mod id;
mod path;
mod stats;
mod stream;
mod turn;
mod wire;

pub use base::address::{Ecn, LocalId, RouteId};
pub use base::time::Instant;
pub use config::{
    Budget, ClientConfig, EndpointConfig, MultipathCodePoints, PathOptions, Shard, TransportConfig,
};
pub use connection::PathError;
pub use crypto::backend::{PacketProtection, UnknownPacketProtection};
pub use crypto::keyring::UpdateError;
pub use crypto::tls::{ClientTls, ServerTls, TlsConfigError};
pub use datagram::{Fate, Outbox, Received, Train, TrainTag};
pub use endpoint::{ConnectError, ConnectionGuard, ConnectionKey, Endpoint, EndpointStats, Transmitted};
pub use error::{CloseReason, PathErrorCode, TransportError, TransportErrorCode};
pub use event::Event;
pub use id::{Direction, PathId, Role, StreamId};
pub use path::set::OpenPathError;
pub use stats::{ConnectionStats, DatagramStats, PathStage, PathStats};
pub use stream::datagrams::{DATAGRAM_RESULTS_MAX, DATAGRAMS_UNREAD_MAX, DATAGRAMS_WAITING_MAX};
pub use stream::{
    DatagramId, DatagramOptions, DatagramResult, ReadError, SendDatagramError, SendState, Slices, WriteError,
};
