//! What a client does: the workloads and their words on its command line.
//!
//! Owns the shapes, for the runner that writes them and the clients that read them.

use std::time::Duration;

use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Requests one after the other on each of several streams at once, each request on a stream of its own
    Transfer {
        /// Bytes that each request asks for
        #[arg(long, default_value_t = 0)]
        download: u64,
        /// Bytes that each request carries
        #[arg(long, default_value_t = 0)]
        upload: u64,
        /// Connections
        #[arg(long, default_value_t = 1)]
        connections: u32,
        /// Requests that each connection keeps open
        #[arg(long, default_value_t = 1)]
        streams: u32,
        /// Seconds after which no further request is made
        #[arg(long)]
        time: f64,
    },
    /// Connections that are made and closed again
    Handshakes {
        /// With a ticket of the connection before; waits for a new one before it closes
        #[arg(long)]
        resumed: bool,
        /// Connections at once
        #[arg(long, default_value_t = 8)]
        at_once: u32,
        /// Seconds after which no further connection is made
        #[arg(long)]
        time: f64,
    },
    /// Datagrams (RFC 9221) that the server returns
    Datagrams {
        /// Bytes of each
        #[arg(long, default_value_t = 1000)]
        size: u32,
        /// How many are under way at once
        #[arg(long, default_value_t = 64)]
        at_once: u32,
        /// Seconds after which no further datagram is sent
        #[arg(long)]
        time: f64,
    },
    /// Connections that do nothing, until the input ends
    Idle {
        /// How many
        #[arg(long)]
        connections: u32,
    },
}

impl Workload {
    /// The words that a client reads as this workload.
    pub fn words(&self) -> Vec<String> {
        let line = match *self {
            Self::Transfer { download, upload, connections, streams, time } => format!(
                "transfer --download {download} --upload {upload} --connections {connections} --streams {streams} \
                 --time {time}"
            ),
            Self::Handshakes { resumed, at_once, time } => {
                format!(
                    "handshakes {}--at-once {at_once} --time {time}",
                    if resumed { "--resumed " } else { "" }
                )
            }
            Self::Datagrams { size, at_once, time } => {
                format!("datagrams --size {size} --at-once {at_once} --time {time}")
            }
            Self::Idle { connections } => format!("idle --connections {connections}"),
        };
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// How long the work takes, if a clock ends it.
    pub fn time(&self) -> Option<Duration> {
        match *self {
            Self::Transfer { time, .. } | Self::Handshakes { time, .. } | Self::Datagrams { time, .. } => {
                Some(Duration::from_secs_f64(time))
            }
            Self::Idle { .. } => None,
        }
    }
}
