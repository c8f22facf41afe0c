//! What is true outside QUIC too: time, rates, number ranges, addresses, randomness.
//!
//! Imports nothing from the other rooms, and every other room may import it.

pub(crate) mod address;
pub(crate) mod ranges;
pub mod rate;
pub(crate) mod rng;
pub(crate) mod time;
