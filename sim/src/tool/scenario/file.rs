//! The form of a scenario file: its tables, keys and defaults.
//!
//! Owns what may be written at all, key by key, and refuses every other key. What keys mean together, and what they
//! become, is in `build`.

use std::fmt::Display;
use std::str::FromStr;

use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;
use serde::de::{Deserialize, Deserializer, Error as _};
use toml::Spanned;

use crate::tool::units::{Queue, Share, Size, Span, Speed};

/// A whole file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// A line above the table.
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default = "Scenario::default_seed")]
    pub(crate) seed: u64,
    /// Virtual time after which the run is given up.
    pub(crate) limit: Option<Span>,
    #[serde(default, deserialize_with = "by_name")]
    pub(crate) scheduler: SchedulerKind,
    #[serde(default, deserialize_with = "by_name")]
    pub(crate) congestion: CongestionKind,
    #[serde(default = "Scenario::default_multipath")]
    pub(crate) multipath: bool,
    pub(crate) datagram_size: Option<Spanned<u16>>,
    pub(crate) datagram_size_max: Option<Spanned<u16>>,
    pub(crate) receive_window: Option<Spanned<Size>>,
    pub(crate) first_window: Option<Spanned<Size>>,
    pub(crate) send_buffer: Option<Spanned<Size>>,
    pub(crate) idle_timeout: Option<Span>,
    pub(crate) keep_alive: Option<Spanned<Span>>,
    #[serde(default, rename = "path")]
    pub(crate) paths: Vec<Spanned<Path>>,
    #[serde(default, rename = "transfer")]
    pub(crate) transfers: Vec<Spanned<Transfer>>,
    #[serde(default, rename = "event")]
    pub(crate) events: Vec<Spanned<Event>>,
    #[serde(default, rename = "competitor")]
    pub(crate) competitors: Vec<Spanned<Competitor>>,
}

impl Scenario {
    const fn default_seed() -> u64 {
        1
    }

    const fn default_multipath() -> bool {
        true
    }
}

/// A path between the client and the server.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Path {
    pub(crate) name: Option<String>,
    /// The peer of each end is told to use it only when no other path works.
    #[serde(default)]
    pub(crate) backup: bool,
    /// No path is opened here until an event says so.
    #[serde(default)]
    pub(crate) spare: bool,
    /// Another path whose rate and queue it shares.
    pub(crate) shares: Option<String>,
    pub(crate) rate: Option<Speed>,
    pub(crate) markov_rate: Option<MarkovRate>,
    pub(crate) delay: Option<Span>,
    pub(crate) queue: Option<Queue>,
    pub(crate) loss: Option<Share>,
    pub(crate) burst_loss: Option<Bursts>,
    pub(crate) jitter: Option<Span>,
    pub(crate) laplace_jitter: Option<Laplace>,
    pub(crate) mtu: Option<u16>,
    #[serde(default)]
    pub(crate) up: Way,
    #[serde(default)]
    pub(crate) down: Way,
}

impl Path {
    /// What is said about both directions.
    pub(crate) fn both(&self) -> Way {
        Way {
            rate: self.rate,
            markov_rate: self.markov_rate,
            delay: self.delay,
            queue: self.queue,
            loss: self.loss,
            burst_loss: self.burst_loss,
            jitter: self.jitter,
            laplace_jitter: self.laplace_jitter,
            mtu: self.mtu,
        }
    }
}

/// Properties of one direction, or of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Way {
    pub(crate) rate: Option<Speed>,
    pub(crate) markov_rate: Option<MarkovRate>,
    pub(crate) delay: Option<Span>,
    pub(crate) queue: Option<Queue>,
    pub(crate) loss: Option<Share>,
    pub(crate) burst_loss: Option<Bursts>,
    pub(crate) jitter: Option<Span>,
    pub(crate) laplace_jitter: Option<Laplace>,
    pub(crate) mtu: Option<u16>,
}

/// A rate that jumps between two values at random: a Markov chain of two states.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MarkovRate {
    /// It begins with the first.
    pub(crate) rates: [Speed; 2],
    /// How long each lasts in the mean.
    pub(crate) means: [Span; 2],
}

/// Losses in bursts, after Gilbert and Elliott.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bursts {
    pub(crate) to_bad: Share,
    pub(crate) to_good: Share,
    #[serde(default)]
    pub(crate) loss_good: Share,
    #[serde(default = "Bursts::default_loss_bad")]
    pub(crate) loss_bad: Share,
}

impl Bursts {
    const fn default_loss_bad() -> Share {
        Share(1.0)
    }
}

/// A deviation of the delay by a Laplace distribution.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Laplace {
    /// The mean of the deviation's size.
    pub(crate) scale: Span,
    /// The largest deviation.
    pub(crate) cap: Span,
}

/// Something to transfer.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Transfer {
    pub(crate) name: Option<String>,
    pub(crate) direction: Option<Direction>,
    pub(crate) size: Option<Size>,
    pub(crate) request: Option<Size>,
    pub(crate) reply: Option<Size>,
    pub(crate) at: Option<Span>,
    pub(crate) after_ready: Option<Span>,
    pub(crate) after: Option<String>,
    pub(crate) pause: Option<Span>,
    pub(crate) every: Option<Span>,
    pub(crate) times: Option<u32>,
    pub(crate) parallel: Option<u32>,
    pub(crate) deadline: Option<Span>,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// From the server to the client.
    Download,
    /// From the client to the server.
    Upload,
}

/// Something that happens to a path.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Event {
    pub(crate) path: String,
    pub(crate) at: Option<Span>,
    pub(crate) after_ready: Option<Span>,
    pub(crate) every: Option<Span>,
    pub(crate) times: Option<u32>,
    #[serde(rename = "do")]
    pub(crate) action: Option<Action>,
    /// With `kill`: what waits in the queues still arrives.
    #[serde(default)]
    pub(crate) drain: bool,
    pub(crate) rate: Option<Speed>,
    pub(crate) delay: Option<Span>,
    pub(crate) loss: Option<Share>,
    pub(crate) mtu: Option<u16>,
    #[serde(default)]
    pub(crate) up: Way,
    #[serde(default)]
    pub(crate) down: Way,
}

/// What an event does, beyond new properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// Both directions go dark; nobody is told.
    Kill,
    /// From the client to the server nothing arrives.
    CutUp,
    /// From the server to the client nothing arrives.
    CutDown,
    /// Both directions work again.
    Restore,
    /// The systems at both ends say that there is no way.
    Unreachable,
    /// A NAT gives the client another port.
    Rebind,
    /// The client opens a path here.
    Open,
    /// The client gives the path up.
    Abandon,
    /// Each end advises the other to use it only when no other path works.
    Backup,
    /// Each end takes that back.
    Available,
}

/// Another connection that shares a bottleneck.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Competitor {
    pub(crate) name: Option<String>,
    pub(crate) shares: String,
    pub(crate) delay: Span,
    pub(crate) direction: Option<Direction>,
    pub(crate) size: Option<Size>,
    pub(crate) at: Option<Span>,
    pub(crate) until: Option<Span>,
    pub(crate) congestion: Option<String>,
}

/// A name that the library knows how to read.
fn by_name<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
