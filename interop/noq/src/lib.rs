//! noq as a peer, with its paths.
//!
//! What it shares with quinn, of which it is a fork, is in `family`; scripts move its paths by `paths`.

#[path = "../../quinn/src/family.rs"]
mod family;
mod paths;
#[path = "../../quinn/src/race.rs"]
pub mod race;

use std::time::Duration;

use bytes::Bytes;
use interop_perf::{Failure, READ_BYTES};
use noq as stack;

pub use crate::family::*;
pub use crate::paths::{ScriptedPaths, listen, path_report};

/// A path on which nothing came for this long is pinged, so that the peer learns of a new address of ours.
const PATH_KEEP_ALIVE: Duration = Duration::from_millis(200);

/// Transport settings for up to `paths` paths; with 1 it offers no multipath.
pub fn transport(paths: u32) -> Result<stack::TransportConfig, Failure> {
    let mut config = tuned()?;
    if paths > 1 {
        config.max_concurrent_multipath_paths(paths);
        config.default_path_keep_alive_interval(Some(PATH_KEEP_ALIVE));
    }
    Ok(config)
}

async fn read(stream: &mut stack::RecvStream) -> Result<Option<Bytes>, Failure> {
    Ok(stream.read_chunk(READ_BYTES).await?)
}
