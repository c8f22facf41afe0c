//! A Multipath QUIC server: one pinned worker per core, packets steered to their worker by connection ID.
//!
//! Joins `braid-quic`, which has no I/O, with `braid-udp-uring`, which knows nothing of QUIC. [`Server`] is the whole;
//! [`crew`] and [`worker`] are the loop that clients use too. Owns every clock, thread and pin of the server. The data
//! path shares nothing between workers but bounded queues.

#![forbid(unsafe_code)]

pub mod config;
mod control;
pub mod crew;
pub mod error;
pub mod forward;
pub mod identity;
mod outbox;
pub mod perf;
pub mod qlog;
mod server;
mod sockets;
pub mod stats;
pub mod steer;
mod system;
pub mod worker;

pub use crate::config::{Config, Steer};
pub use crate::error::StartError;
pub use crate::identity::Identity;
pub use crate::server::{Report, Server};
pub use crate::stats::ServerStats;
