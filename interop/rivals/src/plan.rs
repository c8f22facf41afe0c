//! What is raced: the stacks, the networks and the workloads by name, and which client meets which server.
//!
//! Owns the names and sizes. Starts nothing.

use std::time::Duration;

use clap::ValueEnum;
use interop_race::workload::Workload;
use serde::{Deserialize, Serialize};

/// A server in the race; all but Braid's have a client of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stack {
    Braid,
    Quinn,
    Noq,
    S2n,
    Quiche,
    Msquic,
}

/// Who measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Client {
    /// quinn's, for everybody
    Neutral,
    /// The server's own; loadgen for Braid
    Own,
    /// Braid's, for everybody
    Loadgen,
}

/// What lies between both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    Loopback,
    /// A veth pair between two network namespaces (needs root)
    Veth,
}

/// A workload by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Name {
    /// One stream
    Download,
    /// 64 streams of one connection
    DownloadStreams,
    /// 100 connections, a stream each
    #[value(name = "download-100")]
    #[serde(rename = "download-100")]
    DownloadMany,
    /// One stream
    Upload,
    /// 64 streams of one connection
    UploadStreams,
    /// 100 connections, a stream each
    #[value(name = "upload-100")]
    #[serde(rename = "upload-100")]
    UploadMany,
    /// 1 KB answers, 64 at once on one connection
    Requests,
    /// 1 KB answers, one at once on each of 100 connections
    #[value(name = "requests-100")]
    #[serde(rename = "requests-100")]
    RequestsMany,
    /// 1 KB answers, one after the other
    Latency,
    /// Full handshakes, 8 at once
    Handshakes,
    /// Resumed handshakes, 8 at once
    Resumed,
    /// Datagrams of 1,000 bytes that come back, 64 at once
    Datagrams,
    /// Memory of connections that do nothing
    Idle,
}

/// How a workload is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes per server CPU second.
    Bytes,
    /// Operations per server CPU second.
    Operations,
    /// Microseconds, the fewer the better.
    Latency,
    /// Resident bytes per connection, the fewer the better.
    Memory,
}

const MIB: u64 = 1 << 20;
/// Small enough that the end of a run is not one long request, large enough that requests cost nothing.
const BULK_BYTES: u64 = 64 * MIB;
const REPLY_BYTES: u64 = 1024;
const STREAMS: u32 = 64;
const CONNECTIONS: u32 = 100;
const HANDSHAKES_AT_ONCE: u32 = 8;
const DATAGRAM_BYTES: u32 = 1000;
const DATAGRAMS_AT_ONCE: u32 = 64;

impl Name {
    /// Those that are raced across a veth pair too, unless others are asked for.
    pub(crate) const ACROSS: [Self; 4] = [Self::Download, Self::Upload, Self::Requests, Self::Handshakes];

    /// What the client does for so long; nothing for memory, which is no single run.
    pub(crate) fn workload(self, time: Duration) -> Option<Workload> {
        let time = time.as_secs_f64();
        let transfer = |download, upload, connections, streams| Workload::Transfer {
            download,
            upload,
            connections,
            streams,
            time,
        };
        Some(match self {
            Self::Download => transfer(BULK_BYTES, 0, 1, 1),
            Self::DownloadStreams => transfer(MIB, 0, 1, STREAMS),
            Self::DownloadMany => transfer(MIB, 0, CONNECTIONS, 1),
            Self::Upload => transfer(0, BULK_BYTES, 1, 1),
            Self::UploadStreams => transfer(0, MIB, 1, STREAMS),
            Self::UploadMany => transfer(0, MIB, CONNECTIONS, 1),
            Self::Requests => transfer(REPLY_BYTES, 0, 1, STREAMS),
            Self::RequestsMany => transfer(REPLY_BYTES, 0, CONNECTIONS, 1),
            Self::Latency => transfer(REPLY_BYTES, 0, 1, 1),
            Self::Handshakes => Workload::Handshakes { resumed: false, at_once: HANDSHAKES_AT_ONCE, time },
            Self::Resumed => Workload::Handshakes { resumed: true, at_once: HANDSHAKES_AT_ONCE, time },
            Self::Datagrams => Workload::Datagrams { size: DATAGRAM_BYTES, at_once: DATAGRAMS_AT_ONCE, time },
            Self::Idle => return None,
        })
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Download
            | Self::DownloadStreams
            | Self::DownloadMany
            | Self::Upload
            | Self::UploadStreams
            | Self::UploadMany => Unit::Bytes,
            Self::Requests | Self::RequestsMany | Self::Handshakes | Self::Resumed | Self::Datagrams => {
                Unit::Operations
            }
            Self::Latency => Unit::Latency,
            Self::Idle => Unit::Memory,
        }
    }
}

/// The word for something on the command line and in tables.
pub(crate) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Who meets whom, in the order of a repetition: each begins once, so that nobody is always first.
pub(crate) fn pairs(stacks: &[Stack], clients: &[Client], repetition: usize) -> Vec<(Stack, Client)> {
    let mut pairs = Vec::new();
    for &stack in stacks {
        for &client in clients {
            // quinn's own is the neutral one, and Braid's own is loadgen.
            let twice = match (stack, client) {
                (Stack::Quinn, Client::Own) => clients.contains(&Client::Neutral),
                (Stack::Braid, Client::Loadgen) => clients.contains(&Client::Own),
                _ => false,
            };
            if !twice {
                pairs.push((stack, client));
            }
        }
    }
    if !pairs.is_empty() {
        let first = repetition % pairs.len();
        pairs.rotate_left(first);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_raced_twice_by_the_same_client() {
        let stacks = [Stack::Braid, Stack::Quinn];
        let all = [Client::Neutral, Client::Own, Client::Loadgen];
        let wanted = [
            (Stack::Braid, Client::Neutral),
            (Stack::Braid, Client::Own),
            (Stack::Quinn, Client::Neutral),
            (Stack::Quinn, Client::Loadgen),
        ];
        assert_eq!(pairs(&stacks, &all, 0), wanted);
        assert_eq!(pairs(&stacks, &[Client::Own], 0).len(), 2);
    }

    #[test]
    fn another_pair_is_first_in_every_repetition() {
        let stacks = [Stack::Braid, Stack::Quinn, Stack::Noq];
        let first = |repetition| pairs(&stacks, &[Client::Neutral], repetition)[0].0;
        assert_eq!(
            [first(0), first(1), first(2), first(3)],
            [Stack::Braid, Stack::Quinn, Stack::Noq, Stack::Braid]
        );
        assert!(pairs(&[], &[Client::Own], 3).is_empty());
    }

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_records() {
        for name in Name::value_variants() {
            assert_eq!(serde_json::to_string(name).unwrap(), format!("\"{}\"", word(name)));
        }
        for stack in Stack::value_variants() {
            assert_eq!(serde_json::to_string(stack).unwrap(), format!("\"{}\"", word(stack)));
        }
    }

    #[test]
    fn everything_but_memory_is_one_run() {
        for name in Name::value_variants() {
            let workload = name.workload(Duration::from_secs(2));
            assert_eq!(workload.is_none(), name.unit() == Unit::Memory);
            assert!(workload.is_none_or(|workload| workload.time() == Some(Duration::from_secs(2))));
        }
    }
}
