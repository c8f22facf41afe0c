//! A virtual network in virtual time that runs Braid's endpoints.
//!
//! One seed decides everything: links, randomness, key shares, names of connections. Two runs with one seed exchange
//! the same datagrams, in one process or in two, and after every step the world checks what must always hold. Nothing
//! here opens a socket, reads a clock or sleeps, but for [`relay`], which puts the same links between real sockets.
//!
//! ```
//! use braid_sim::{World, mbps, mb, ms};
//!
//! let mut world = World::seeded(7);
//! let near = world.link(mbps(50), ms(10));
//! let far = world.link(mbps(20), ms(60));
//! world.client().downloads(mb(1));
//! world.at(ms(200)).cut(near);
//! let report = world.run();
//! assert_eq!(report.delivered(), mb(1));
//! assert!(report.carried_by(far) > 0, "{report}");
//! ```

#![forbid(unsafe_code)]

mod fluid;
mod hash;
mod link;
mod logbook;
mod mutate;
mod network;
mod null;
mod provider;
pub mod relay;
mod rng;
mod tls;
mod units;
mod world;

pub use fluid::{first_byte_at, fluid_time};
pub use link::{BurstLoss, Jitter, LaneStats, Link, QueueLimit, Setting, Trains, TwoRates};
pub use logbook::Logbook;
pub use mutate::mutate;
pub use network::{Attacker, LinkId, Remembered, Way};
pub use provider::{Hello, Protection, provider};
pub use rng::Rng;
pub use tls::{ALPN, VirtualClock, client_config, server_config, server_name};
pub use units::{Rate, bps, kb, mb, mbps, ms, secs, us};
pub use world::{
    At, Client, Competitor, CompetitorId, CompetitorReport, DatagramReport, LinkReport, PathReport, Report,
    Transfer, TransferId, TransferReport, Volley, World,
};
