//! The command line of `server`, and what is wrong with it in one sentence.
//!
//! Owns the names, the help and the parsing of every option. What makes no sense together is `Config::check`'s.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;
use braid_quic::{MultipathCodePoints, PacketProtection};
use braid_server::config::{DEFAULT_PORT, TICKETS_MAX, default_datagram_size};
use braid_server::qlog::Qlog;
use braid_server::{Config, Identity, StartError, Steer};
use braid_udp_uring::IoKind;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser};

/// Names that a self-signed certificate is made for, besides the listen addresses.
const SELF_SIGNED_FOR: &str = "localhost";

/// A Multipath QUIC server for every core of one machine. It speaks the `perf` protocol: a client asks for a number
/// of bytes and gets them, and whatever it uploads is discarded.
#[derive(Parser, Debug)]
#[command(name = "server", version, max_term_width = 100)]
pub(crate) struct Options {
    /// Where to listen; several addresses may follow. `[::]:PORT` takes IPv4 too. Clients may open paths to any of
    /// them. Port 0 lets the system choose [default: 0.0.0.0:4433]
    #[arg(long, value_name = "ADDR", num_args = 1.., value_parser = address)]
    listen: Vec<SocketAddr>,

    /// Worker threads, 1 to 64, each pinned to a core [default: one for each core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// How datagrams find the worker that has their connection: `bpf` lets the kernel steer by connection ID (needs
    /// no privilege); `none` lets it spread them by address, and workers forward to each other
    #[arg(long, value_name = "bpf|none", default_value = "bpf", value_parser = named::<Steer>)]
    steer: Steer,

    /// Certificate chain, a PEM file. Without it the server makes a self-signed one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Session tickets for each connection, 0 to 8: with one, a client's next handshake needs no certificate. Early data is
    /// never accepted
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=TICKETS_MAX as i64))]
    tickets: u8,

    /// Which path takes the next train of packets: `min-rtt`, `round-robin`, or `backup` (one path, others only when
    /// it fails)
    #[arg(long, value_name = "NAME", default_value = "min-rtt", value_parser = named::<SchedulerKind>)]
    scheduler: SchedulerKind,

    /// How much may be in flight on a path: `cubic` or `newreno`
    #[arg(long, value_name = "NAME", default_value = "cubic", value_parser = named::<CongestionKind>)]
    congestion: CongestionKind,

    /// Paths that a connection may have open at once; 1 switches multipath off
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    max_paths: u32,

    /// Which numbers the multipath extension has on the wire: `final`, `draft-13` (those of drafts 13 to 18), or `both`:
    /// whichever the client knows, the final ones first
    #[arg(long, value_name = "NAME", default_value = "final", value_parser = named::<MultipathCodePoints>)]
    code_points: MultipathCodePoints,

    /// Whose code protects packets: `aws-lc-rs`, `ring`, or `fastest`, whichever is expected to be faster on this CPU
    #[arg(long, value_name = "NAME", default_value = "fastest", value_parser = named::<PacketProtection>)]
    packet_protection: PacketProtection,

    /// Let peers say how often their packets are acknowledged, and ask them to acknowledge large windows less often, where
    /// they can. Off unless given: over loopback it costs throughput, for batches of packets are acknowledged at once anyway
    #[arg(long, value_name = "on|off", default_value = "off", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    ack_frequency: bool,

    /// Silence after which a connection is dropped, as 30s, 500ms or 5m; 0 for never
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    idle_timeout: Duration,

    /// System calls that carry datagrams: `uring` is `io_uring`, `mmsg` is recvmmsg and sendmmsg, `auto` is the
    /// first of them that the system allows
    #[arg(long, value_name = "auto|uring|mmsg", default_value = "auto", value_parser = named::<IoKind>)]
    io: IoKind,

    /// Serve statistics as JSON by HTTP at this address, path `/`
    #[arg(long, value_name = "ADDR", value_parser = address)]
    stats: Option<SocketAddr>,

    /// Log connections as qlog: a file for each in the directory PATH, or all in one file if PATH ends in `.sqlog`
    #[arg(long, value_name = "PATH", env = "QLOGDIR")]
    qlog: Option<PathBuf>,

    /// Log one connection in N; clients that log with the same N log the same ones
    #[arg(long, value_name = "N", default_value_t = 1, requires = "qlog", value_parser = clap::value_parser!(u64).range(1..))]
    qlog_sample: u64,

    /// UDP payload in bytes of the full packets that paths start with, 1200 to 65507 [default: 1452 if it listens on
    /// loopback only, else 1200]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1200..=65507))]
    datagram_size: Option<u16>,

    /// UDP payload in bytes up to which larger packets are tried on every path, at most 65507; 0 for never
    /// [default: 1452, or 0 if --datagram-size is given]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(0..=65507))]
    datagram_size_max: Option<u16>,
}

/// What to do instead of serving.
#[derive(Debug)]
pub(crate) enum Instead {
    /// Print this (help or version) and end well.
    Show(String),
    /// Complain in one sentence and end with code 2.
    Complain(String),
}

impl Options {
    /// Reads a command line, the program's name first.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Instead> {
        Self::try_parse_from(arguments).map_err(|error| {
            let text = error.render().to_string();
            if error.use_stderr() { Instead::Complain(sentence(&text)) } else { Instead::Show(text) }
        })
    }

    /// Was no certificate given, so that one is made?
    pub(crate) fn is_self_signed(&self) -> bool {
        self.cert.is_none()
    }

    /// The server's settings; reads the certificate and the key.
    pub(crate) fn into_config(self) -> Result<Config, StartError> {
        let default = || SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT));
        let listen = if self.listen.is_empty() { vec![default()] } else { self.listen };
        let identity = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Identity::from_files(certificate, key)?,
            _ => self_signed(&listen)?,
        };
        let datagram_size = self.datagram_size.unwrap_or_else(|| default_datagram_size(&listen));
        let mut config =
            Config { steer: self.steer, io: self.io, stats: self.stats, ..Config::new(listen, identity) };
        config.qlog = self.qlog.map(|path| Qlog { every: self.qlog_sample, ..Qlog::new(path) });
        config.tickets = self.tickets.into();
        config.workers = self.workers.unwrap_or(config.workers);
        config.transport.datagram_size = datagram_size;
        let found = if self.datagram_size.is_some() { 0 } else { config.transport.datagram_size_max };
        config.transport.datagram_size_max = self.datagram_size_max.unwrap_or(found);
        config.transport.max_paths = self.max_paths;
        config.transport.multipath_code_points = self.code_points;
        config.packet_protection = self.packet_protection;
        config.transport.ack_frequency = self.ack_frequency;
        config.transport.idle_timeout = self.idle_timeout;
        // Whoever looks at statistics looks at percentiles too.
        config.transport.rtt_distribution = self.stats.is_some();
        config.transport.scheduler = self.scheduler;
        config.transport.congestion = self.congestion;
        Ok(config)
    }
}

/// A certificate for `localhost` and all addresses that clients can name.
fn self_signed(listen: &[SocketAddr]) -> Result<Identity, StartError> {
    let addresses = listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    let names: Vec<String> =
        std::iter::once(SELF_SIGNED_FOR.to_owned()).chain(addresses.map(|ip| ip.to_string())).collect();
    Identity::self_signed(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address is IP:PORT, for instance 127.0.0.1:4433 or [::1]:4433".to_owned())
}

fn named<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A time with its unit; seconds without one.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number with s, ms or m, for instance 30s".to_owned();
    let digits = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let number: u32 = text[..digits].parse().map_err(|_| wrong())?;
    match &text[digits..] {
        "" | "s" => Ok(Duration::from_secs(number.into())),
        "ms" => Ok(Duration::from_millis(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(wrong()),
    }
}

/// The first paragraph of a message, on one line and without its heading.
fn sentence(message: &str) -> String {
    let lines = message.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Result<Options, Instead> {
        Options::read(std::iter::once("server").chain(arguments.split_whitespace()).map(OsString::from))
    }

    fn complaint(arguments: &str) -> String {
        match read(arguments) {
            Err(Instead::Complain(sentence)) => sentence,
            other => panic!("{arguments}: {other:?}"),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let config = read("").unwrap().into_config().unwrap();
        assert_eq!(config.listen, ["0.0.0.0:4433".parse().unwrap()]);
        assert_eq!((config.steer, config.io, config.stats), (Steer::Bpf, IoKind::Auto, None));
        assert_eq!((config.transport.max_paths, config.transport.datagram_size), (8, 1200));
        assert_eq!(config.transport.datagram_size_max, 1452);
        assert_eq!(config.transport.idle_timeout, Duration::from_secs(30));
        assert_eq!(config.transport.multipath_code_points, MultipathCodePoints::Final);
        assert_eq!(config.packet_protection, PacketProtection::Fastest);
        assert!(!config.transport.ack_frequency);
        assert_eq!(config.tickets, 1);
        assert!(config.check().is_ok());
    }

    #[test]
    fn every_option_reaches_the_settings() {
        let options = read(
            "--listen 127.0.0.1:1 [::1]:2 --listen 127.0.0.2:3 --workers 3 --steer none --scheduler round-robin \
             --congestion newreno --max-paths 4 --code-points both --ack-frequency on --tickets 0 \
             --idle-timeout 1500ms --io mmsg --stats 127.0.0.1:9 --qlog logs/ --qlog-sample 10 \
             --packet-protection ring",
        )
        .unwrap();
        assert!(options.is_self_signed());
        let config = options.into_config().unwrap();
        assert_eq!(config.listen.len(), 3);
        assert_eq!(config.listen[1], "[::1]:2".parse().unwrap());
        assert_eq!((config.workers, config.steer, config.io), (3, Steer::None, IoKind::Mmsg));
        assert_eq!(config.stats, Some("127.0.0.1:9".parse().unwrap()));
        assert_eq!((config.transport.max_paths, config.transport.datagram_size), (4, 1452));
        assert_eq!(config.transport.multipath_code_points, MultipathCodePoints::Both);
        assert!(config.transport.ack_frequency);
        assert_eq!(config.tickets, 0);
        assert!(config.transport.rtt_distribution);
        assert_eq!(config.packet_protection, PacketProtection::Ring);
        let qlog = config.qlog.as_ref().unwrap();
        assert_eq!((qlog.path.to_str(), qlog.every, qlog.is_file()), (Some("logs/"), 10, false));
        assert_eq!(config.transport.idle_timeout, Duration::from_millis(1500));
        assert!(matches!(config.transport.scheduler, SchedulerKind::RoundRobin));
        assert!(matches!(config.transport.congestion, CongestionKind::NewReno));
        let sized = read("--datagram-size 9000").unwrap().into_config().unwrap();
        assert_eq!((sized.transport.datagram_size, sized.transport.datagram_size_max), (9000, 0));
        let tried = read("--datagram-size 1300 --datagram-size-max 8972").unwrap().into_config().unwrap();
        assert_eq!((tried.transport.datagram_size, tried.transport.datagram_size_max), (1300, 8972));
    }

    #[test]
    fn complaints_are_one_sentence_that_names_the_option() {
        for (arguments, named) in [
            ("--listen localhost", "IP:PORT"),
            ("--listen", "--listen"),
            ("--workers many", "--workers"),
            ("--steer ebpf", "none of bpf, none"),
            ("--scheduler best", "--scheduler"),
            ("--congestion bbr", "--congestion"),
            ("--max-paths 0", "--max-paths"),
            ("--code-points draft-12", "final, both or draft-13"),
            ("--packet-protection boring", "fastest, aws-lc-rs or ring"),
            ("--ack-frequency seldom", "--ack-frequency"),
            ("--tickets 9", "--tickets"),
            ("--idle-timeout soon", "30s"),
            ("--io epoll", "auto, uring, mmsg"),
            ("--datagram-size 1199", "--datagram-size"),
            ("--datagram-size-max 65508", "--datagram-size-max"),
            ("--cert a.pem", "--key"),
            ("--key a.pem", "--cert"),
            ("--qlog-sample 2", "--qlog"),
            ("--qlog a.sqlog --qlog-sample 0", "--qlog-sample"),
            ("--speed 11", "--speed"),
        ] {
            let said = complaint(arguments);
            assert!(said.contains(named) && !said.contains('\n'), "{arguments}: {said}");
            assert!(!said.starts_with("error"), "{said}");
        }
    }

    #[test]
    fn help_and_version_are_no_complaints() {
        let Err(Instead::Show(help)) = read("--help") else { panic!("no help") };
        for option in ["--listen", "--workers", "--steer", "--cert", "--key", "--scheduler", "--congestion"] {
            assert!(help.contains(option), "{option}");
        }
        for option in [
            "--max-paths",
            "--packet-protection",
            "--code-points",
            "--ack-frequency",
            "--tickets",
            "--idle-timeout",
            "--io",
            "--stats",
            "--datagram-size",
            "--datagram-size-max",
            "--qlog",
        ] {
            assert!(help.contains(option), "{option}");
        }
        assert!(matches!(read("--version"), Err(Instead::Show(_))));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("5"), Ok(Duration::from_secs(5)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        for wrong in ["", "s", "-1s", "1h", "1.5s", "99999999999s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
