//! quinn as a peer. It has no multipath.
//!
//! What it shares with its forks is in `family`; here is what is its own.

mod family;
pub mod race;

use bytes::Bytes;
use interop_perf::{Failure, READ_BYTES};
use quinn as stack;

pub use crate::family::*;

async fn read(stream: &mut stack::RecvStream) -> Result<Option<Bytes>, Failure> {
    Ok(stream.read_chunk(READ_BYTES, true).await?.map(|chunk| chunk.bytes))
}
