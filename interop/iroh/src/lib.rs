//! iroh-quinn 0.15 as a peer: multipath by the provisional code points of an older draft, from before it became noq.
//!
//! It offers several paths by the transport parameter 0x0f739bbc1b666d0c and knows no other, so a peer of today has to
//! take it for a stack without multipath. What it shares with quinn is in `family`.

#[path = "../../quinn/src/family.rs"]
mod family;

use bytes::Bytes;
use interop_perf::{Failure, READ_BYTES};
use iroh_quinn as stack;

pub use crate::family::*;

/// Paths that it offers.
const PATHS: u32 = 8;

/// Transport settings, with several paths on offer.
pub fn transport() -> Result<stack::TransportConfig, Failure> {
    let mut config = tuned()?;
    config.max_concurrent_multipath_paths(PATHS);
    Ok(config)
}

async fn read(stream: &mut stack::RecvStream) -> Result<Option<Bytes>, Failure> {
    Ok(stream.read_chunk(READ_BYTES).await?.map(|chunk| chunk.bytes))
}
