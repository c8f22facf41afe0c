//! The options that say what is put on the server, and which of them may stand together.
//!
//! Owns their spelling, defaults and limits, and turns them into a `Load`. Where the server is and how it is reached is
//! the rest of the command line's matter.

use std::time::Duration;

use clap::Args;

use super::{check_count, check_duration};
use crate::client::flow::PAYLOAD_MAX_BYTES;
use crate::load::{Load, Pace, Pattern, Shape, Work};
use crate::units;

/// Connections at once.
const CONNECTIONS_MAX: usize = 1 << 20;
/// Streams that a connection keeps busy at most.
const STREAMS_MAX: usize = 1 << 16;
/// The longest run; latencies and counters are sized for less than this.
const DURATION_MAX: Duration = super::DURATION_MAX;
/// What every stream asks for again and again when nothing else is said: so much that a run measures bulk transfer.
const DOWNLOAD_DEFAULT_BYTES: u64 = 1 << 30;
/// Requests that a connection has open at most in the open loop: as many as most servers allow.
const STREAMS_OPEN_LOOP: usize = 128;
/// Datagrams that a connection has under way at most: enough for a gigabit over 10 ms.
const DATAGRAMS_AT_ONCE: usize = 1024;
/// Above this no worker keeps a schedule.
const RATE_MAX: f64 = 1e8;

/// What a run puts on the server.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Connections that are held open beside them and do nothing; with --connections 0 there are only these.
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: usize,
    /// Requests that each connection keeps open at once, each on a stream of its own; with --rate or --datagrams, as many
    /// requests or datagrams as it has under way at most. 1 unless given, 128 with --rate, 1024 with --datagrams.
    #[arg(long, value_name = "N", conflicts_with = "handshakes")]
    streams: Option<usize>,
    /// What each request asks for; 1G without --upload, else 0.
    #[arg(long, visible_alias = "response", value_name = "SIZE", value_parser = units::size_bytes)]
    download: Option<u64>,
    /// What each request carries [default: 0].
    #[arg(long, visible_alias = "request", value_name = "SIZE", value_parser = units::size_bytes)]
    upload: Option<u64>,
    /// Instead of requests: datagrams of this payload (RFC 9221), one way. Latency ends with the acknowledgement.
    #[arg(long, value_name = "SIZE", value_parser = units::size_bytes, conflicts_with_all = ["download", "upload"])]
    datagrams: Option<u64>,
    /// Instead of requests: handshakes, full unless --resume is given, one after the other on each of the --connections. Latency ends when the
    /// server confirms; then the connection is closed, and the next begins.
    #[arg(long, conflicts_with_all = ["download", "upload", "datagrams"])]
    handshakes: bool,
    /// Handshakes take up earlier sessions by the server's tickets, where there are any; the others are full.
    #[arg(long, requires = "handshakes")]
    resume: bool,
    /// Open loop: so many requests, datagrams or handshakes begin each second over all connections, whether those before
    /// are answered or not. Latency counts from when each was to begin.
    #[arg(long, value_name = "PER-SECOND")]
    rate: Option<f64>,
    /// How they are spread in time; --seed repeats the spread.
    #[arg(long, value_name = "HOW", value_enum, requires = "rate", default_value = "constant")]
    arrivals: Pattern,
    /// How long to measure.
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "5s")]
    duration: Duration,
    /// Load before the measurement, which is not counted.
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "0s")]
    warmup: Duration,
}

impl LoadArgs {
    pub(super) fn check(&self) -> Result<Load, String> {
        let least = usize::from(self.idle == 0);
        if self.idle > CONNECTIONS_MAX {
            return Err(format!("--idle must be at most {CONNECTIONS_MAX}"));
        }
        if !(least..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(format!("--connections must be 1 to {CONNECTIONS_MAX}, or 0 with --idle"));
        }
        check_duration("--duration", self.duration)?;
        if self.warmup > DURATION_MAX {
            return Err("--warmup must be at most 24 hours".into());
        }
        if let Some(option) = self.idle_work().filter(|_| self.connections == 0) {
            return Err(format!("{option} needs a connection that works: --connections 1 or more"));
        }
        Ok(Load {
            work: self.work()?,
            connections: self.connections,
            idle: self.idle,
            pace: self.pace()?,
            warmup: self.warmup,
            duration: self.duration,
        })
    }

    /// An option that says what connections do, if one was given.
    fn idle_work(&self) -> Option<&'static str> {
        let given = [
            ("--streams", self.streams.is_some()),
            ("--download", self.download.is_some()),
            ("--upload", self.upload.is_some()),
            ("--datagrams", self.datagrams.is_some()),
            ("--handshakes", self.handshakes),
            ("--rate", self.rate.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn work(&self) -> Result<Work, String> {
        if self.handshakes {
            return Ok(Work::Handshakes { resumed: self.resume });
        }
        let default = match (self.datagrams, self.rate) {
            (Some(_), _) => DATAGRAMS_AT_ONCE,
            (None, Some(_)) => STREAMS_OPEN_LOOP,
            (None, None) => 1,
        };
        let at_once = self.streams.unwrap_or(default);
        if let Some(bytes) = self.datagrams {
            check_count("--streams", at_once, braid_quic::DATAGRAMS_WAITING_MAX)?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            check_count("--datagrams", bytes, PAYLOAD_MAX_BYTES)?;
            return Ok(Work::Datagrams { bytes, at_once });
        }
        check_count("--streams", at_once, STREAMS_MAX)?;
        let upload_bytes = self.upload.unwrap_or(0);
        let download = if upload_bytes == 0 { DOWNLOAD_DEFAULT_BYTES } else { 0 };
        let shape = Shape { download_bytes: self.download.unwrap_or(download), upload_bytes };
        Ok(Work::Requests { shape, at_once })
    }

    fn pace(&self) -> Result<Pace, String> {
        match self.rate {
            None => Ok(Pace::Closed),
            Some(per_second) if per_second > 0.0 && per_second <= RATE_MAX => {
                Ok(Pace::Open { per_second, pattern: self.arrivals })
            }
            Some(_) => Err(format!("--rate must be more than 0 and at most {RATE_MAX}")),
        }
    }
}
