//! The command line: its options, their defaults and what may stand together.
//!
//! Owns the spelling and turns it into a `Plan`, or into one sentence about what is wrong. Opens no socket and
//! resolves no name.

mod load;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;
use braid_quic::{MultipathCodePoints, PacketProtection};
use braid_server::qlog::Qlog;
use braid_udp_uring::IoKind;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use self::load::LoadArgs;
use crate::load::Load;
use crate::plan::{Following, Host, Json, Kill, Plan, Trust};
use crate::units;

/// More paths than this help nobody, and every one of them has a socket per connection.
pub(crate) const PATHS_MAX: usize = 64;
/// Paths that a connection has at most where they follow the interfaces, unless `--paths` says otherwise.
const PATHS_FOLLOWED: usize = 8;
/// Sockets that a worker has at most; by default it has one per connection and path.
const SOCKETS_MAX: usize = braid_udp_uring::SOCKETS_MAX as usize;
/// Threads of the client.
const WORKERS_MAX: usize = 256;
/// Runs of one command at most.
const REPEAT_MAX: usize = 1000;
/// The longest run; latencies and counters are sized for less than this.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// UDP payload that fits an Ethernet frame behind an IPv6 header, used where nothing narrower can be in between.
const DATAGRAM_LOOPBACK: u16 = 1452;
/// UDP payload that every QUIC path carries (RFC 9000 §14).
const DATAGRAM_ANYWHERE: u16 = 1200;
/// Payload up to which larger datagrams are tried: Ethernet's, over IPv6 and IPv4.
const DATAGRAM_MAX: u16 = 1452;

/// Makes load on a QUIC server over one or many paths, and measures what arrives.
///
/// Without a TARGET it starts a server of its own inside this process and measures over loopback.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print this machine's own limit: UDP over loopback raw, in GSO/GRO trains, and with AEAD seal and open by aws-lc-rs
    /// and by ring.
    Ceiling(CeilingArgs),
    /// Say which of two reports of the same load is better and by how much, where the data say so: both need --repeat 6 or
    /// more, and a number is called better only if the intervals for its median do not overlap.
    Compare(CompareArgs),
}

/// Arguments of `loadgen compare`.
#[derive(Debug, PartialEq, Args)]
pub(crate) struct CompareArgs {
    /// A report that --json wrote.
    pub(crate) a: PathBuf,
    /// Another one.
    pub(crate) b: PathBuf,
}

/// Options of `loadgen ceiling`.
#[derive(Debug, Args)]
struct CeilingArgs {
    /// How to talk to the kernel: auto, uring or mmsg.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    io: IoKind,
    /// How long each of the measurements takes.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::time)]
    duration: Duration,
    /// UDP payload of each datagram.
    #[arg(long, value_name = "SIZE", default_value_t = DATAGRAM_LOOPBACK)]
    datagram_size: u16,
    /// Write the result as JSON to FILE, or to standard output for `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Options of a run.
#[derive(Debug, Args)]
struct RunArgs {
    /// The server to load, HOST:PORT; without it one is started inside.
    target: Option<String>,
    /// Paths of each connection.
    #[arg(long, value_name = "N")]
    paths: Option<usize>,
    /// Local address of each path, or one for all.
    #[arg(long, value_name = "IP,IP", value_delimiter = ',')]
    local: Vec<IpAddr>,
    /// Server address of each path, or one for all; the port is the target's unless given.
    #[arg(long, value_name = "HOST,HOST", value_delimiter = ',')]
    remote: Vec<String>,
    /// Open a path over every interface of this machine, while it is there; --paths says how many at most (8). --remote
    /// names all addresses of the TARGET.
    #[arg(long, conflicts_with_all = ["local", "kill_path", "sockets"])]
    follow_interfaces: bool,
    /// An interface that costs money, `wwan0` or `wwan*`: it gets a path when no other works; may be repeated.
    #[arg(long, value_name = "NAME", requires = "follow_interfaces")]
    metered: Vec<String>,
    /// An interface whose path carries data when no other can; may be repeated.
    #[arg(long, value_name = "NAME", requires = "follow_interfaces")]
    backup: Vec<String>,
    #[command(flatten)]
    load: LoadArgs,
    /// Measure so often, each time with new connections and, inside, a new server. The report is that of the median run,
    /// with the median of each number and an interval in which the true median lies with 95 %; that takes 6 runs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: usize,
    /// Measure this machine's own limit in each run too (1 s for each AEAD), and say which part of it was reached.
    #[arg(long, conflicts_with = "handshakes")]
    ceiling: bool,
    /// Client threads; the server inside gets the other cores.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// How to talk to the kernel: auto, uring or mmsg.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    io: IoKind,
    /// Who has a socket: each connection's every path, or each path for all connections of a worker.
    #[arg(long, value_name = "WHO", value_enum, default_value = "per-path")]
    sockets: Sockets,
    /// Makes the client's keys and arrivals repeat from run to run; without it they come from the system.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Cut a path silently, both directions, at this time of the measurement; may be repeated.
    #[arg(long, value_name = "ID@TIME", value_parser = kill)]
    kill_path: Vec<Kill>,
    /// Where the target serves its statistics, IP:PORT, for the server's side of the report.
    #[arg(long, value_name = "ADDR")]
    stats_from: Option<SocketAddr>,
    /// Write the report as JSON to FILE, or to standard output for `-`, which silences the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the latencies of each second to FILE as an interval log of HDR histograms, in microseconds.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Trust the target if a certificate in this PEM file signed it.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Trust any target.
    #[arg(long)]
    insecure: bool,
    /// The name to ask the target for and to find in its certificate; the target's host unless given.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Which path carries the next train: min-rtt, round-robin or backup.
    #[arg(long, value_name = "NAME")]
    scheduler: Option<SchedulerKind>,
    /// How much may be in flight on a path: cubic or newreno.
    #[arg(long, value_name = "NAME")]
    congestion: Option<CongestionKind>,
    /// Which numbers the multipath extension has on the wire: final, draft-13 (those of drafts 13 to 18) or both.
    #[arg(long, value_name = "NAME", default_value = "final")]
    code_points: MultipathCodePoints,
    /// Whose code protects packets, of the client and of the server inside: aws-lc-rs, ring, or fastest, whichever is
    /// expected to be faster on this CPU.
    #[arg(long, value_name = "NAME", default_value = "fastest")]
    packet_protection: PacketProtection,
    /// Ask the server to acknowledge large windows less often, and let it ask, where it can. Off unless given, as the server's.
    #[arg(long, value_name = "on|off", default_value = "off", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    ack_frequency: bool,
    /// Log connections as qlog: a file for each end of each in the directory PATH, or the client's all in one file if
    /// PATH ends in `.sqlog`.
    #[arg(long, value_name = "PATH", env = "QLOGDIR")]
    qlog: Option<PathBuf>,
    /// Log one connection in N; a server that logs with the same N logs the same ones.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "qlog", value_parser = clap::value_parser!(u64).range(1..))]
    qlog_sample: u64,
    /// UDP payload of the full packets that paths start with; 1452 on loopback and 1200 elsewhere unless given.
    #[arg(long, value_name = "SIZE")]
    datagram_size: Option<u16>,
    /// UDP payload up to which larger packets are tried on every path, 0 for never; 1452 unless given, and 0 with
    /// --datagram-size.
    #[arg(long, value_name = "SIZE")]
    datagram_size_max: Option<u16>,
}

/// Who has a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sockets {
    /// Every path of every connection has its own.
    PerPath,
    /// All connections of a worker share one per path.
    Shared,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Task {
    Run(Box<Plan>),
    Ceiling(Ceiling),
    Compare(CompareArgs),
}

/// What `loadgen ceiling` was asked to do.
#[derive(Debug, PartialEq)]
pub(crate) struct Ceiling {
    pub(crate) io: IoKind,
    pub(crate) duration: Duration,
    pub(crate) datagram_bytes: usize,
    pub(crate) json: Option<Json>,
}

/// Why there is nothing to do.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Help or version: text for standard output, and no failure.
    Answer(String),
    /// One sentence about what is wrong.
    Usage(String),
}

/// Reads a command line, program name first; `cores` decides the default number of workers.
pub(crate) fn read<I, T>(words: I, cores: usize) -> Result<Task, Refusal>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let line = CommandLine::try_parse_from(words).map_err(|error| refusal(&error))?;
    let task = match line.command {
        Some(Command::Ceiling(args)) => args.check().map(Task::Ceiling),
        Some(Command::Compare(args)) => Ok(Task::Compare(args)),
        None => line.run.check(cores).map(|plan| Task::Run(Box::new(plan))),
    };
    task.map_err(Refusal::Usage)
}

impl CeilingArgs {
    fn check(self) -> Result<Ceiling, String> {
        check_datagram(self.datagram_size)?;
        check_duration("--duration", self.duration)?;
        let json = self.json.map(Json::from_path);
        Ok(Ceiling { io: self.io, duration: self.duration, datagram_bytes: self.datagram_size.into(), json })
    }
}

impl RunArgs {
    fn check(self, cores: usize) -> Result<Plan, String> {
        let target = self.target.as_deref().map(|text| Host::parse(text, None)).transpose()?;
        let trust = self.trust(target.is_some())?;
        self.check_following(target.is_some())?;
        let paths = if self.follow_interfaces { self.paths_followed()? } else { self.path_count()? };
        let remotes = self.remotes(target.as_ref())?;
        let load = self.load.check()?;
        self.check_load(&load, paths)?;
        check_count("--workers", self.workers.unwrap_or(1), WORKERS_MAX)?;
        check_count("--repeat", self.repeat, REPEAT_MAX)?;
        let workers = self.workers.unwrap_or_else(|| default_workers(cores, target.is_none()));
        let workers = workers.min(load.connections.max(load.idle));
        let own_sockets = self.sockets == Sockets::PerPath && !self.follow_interfaces;
        let of_worker = load.connections.div_ceil(workers) + load.idle.div_ceil(workers);
        if own_sockets && of_worker * paths > SOCKETS_MAX {
            return Err(format!(
                "a worker has at most {SOCKETS_MAX} sockets: take --sockets shared or more --workers"
            ));
        }
        self.check_kills(paths, load.duration)?;
        let datagram_bytes = self.datagram_size.unwrap_or_else(|| default_datagram(target.as_ref()));
        check_datagram(datagram_bytes)?;
        let found = if self.datagram_size.is_some() { 0 } else { DATAGRAM_MAX };
        let datagram_bytes_max = self.datagram_size_max.unwrap_or(found);
        if datagram_bytes_max > 65_507 {
            return Err("--datagram-size-max must be at most 65507".into());
        }
        Ok(Plan {
            target,
            paths,
            locals: self.local,
            remotes,
            following: self
                .follow_interfaces
                .then_some(Following { metered: self.metered, backup: self.backup }),
            load,
            repeat: self.repeat,
            ceiling: self.ceiling,
            workers,
            io: self.io,
            sockets: self.sockets,
            seed: self.seed,
            kills: self.kill_path,
            stats_from: self.stats_from,
            json: self.json.map(Json::from_path),
            hdr: self.hdr,
            trust,
            server_name: self.server_name,
            scheduler: self.scheduler,
            congestion: self.congestion,
            code_points: self.code_points,
            packet_protection: self.packet_protection,
            ack_frequency: self.ack_frequency,
            qlog: self.qlog.map(|path| Qlog { every: self.qlog_sample, ..Qlog::new(path) }),
            datagram_bytes,
            datagram_bytes_max,
        })
    }

    /// How the target proves who it is. The server inside needs no proof: its certificate is pinned.
    fn trust(&self, has_target: bool) -> Result<Trust, String> {
        let outside_only = [
            ("--ca", self.ca.is_some()),
            ("--insecure", self.insecure),
            ("--server-name", self.server_name.is_some()),
            ("--stats-from", self.stats_from.is_some()),
        ];
        match (has_target, &self.ca, self.insecure) {
            (false, ..) => match outside_only.iter().find(|(_, given)| *given) {
                Some((name, _)) => Err(format!("{name} needs a TARGET: the server inside is known already")),
                None => Ok(Trust::Pinned),
            },
            (true, Some(file), _) => Ok(Trust::Signed(file.clone())),
            (true, None, true) => Ok(Trust::Any),
            (true, None, false) => Err("say how to trust the target: --ca FILE or --insecure".into()),
        }
    }

    fn check_following(&self, has_target: bool) -> Result<(), String> {
        if self.follow_interfaces && !has_target {
            return Err("--follow-interfaces needs a TARGET: no interface leads to the server inside".into());
        }
        match self.metered.iter().find(|name| self.backup.contains(name)) {
            Some(name) => Err(format!("`{name}` cannot be --metered and --backup")),
            None => Ok(()),
        }
    }

    fn paths_followed(&self) -> Result<usize, String> {
        let paths = self.paths.unwrap_or(PATHS_FOLLOWED);
        check_count("--paths", paths, PATHS_MAX)?;
        Ok(paths)
    }

    /// `--paths`, or as many as the lists name; a list names one address for all paths or one for each.
    fn path_count(&self) -> Result<usize, String> {
        let longest = self.local.len().max(self.remote.len()).max(1);
        let paths = self.paths.unwrap_or(longest);
        check_count("--paths", paths, PATHS_MAX)?;
        for (name, entries) in [("--local", self.local.len()), ("--remote", self.remote.len())] {
            if entries > 1 && entries != paths {
                return Err(format!(
                    "{name} names {entries} addresses for {paths} paths: give one, or one for each"
                ));
            }
        }
        Ok(paths)
    }

    fn remotes(&self, target: Option<&Host>) -> Result<Vec<Host>, String> {
        let port = target.map_or(0, |host| host.port); // inside, port 0 lets the system choose
        self.remote.iter().map(|text| Host::parse(text, Some(port))).collect()
    }

    /// What does not go with this work.
    fn check_load(&self, load: &Load, paths: usize) -> Result<(), String> {
        if load.churns() {
            let refused = [
                ("more than one path", paths > 1 && !self.follow_interfaces),
                ("--follow-interfaces", self.follow_interfaces),
                ("--kill-path", !self.kill_path.is_empty()),
            ];
            if let Some((what, _)) = refused.iter().find(|(_, given)| *given) {
                return Err(format!(
                    "--handshakes does not go with {what}: its connections are gone at once"
                ));
            }
        }
        if self.ceiling && load.connections == 0 {
            return Err("--ceiling needs a connection that works: idle ones have no rate".into());
        }
        if self.repeat > 1 && self.qlog.as_deref().is_some_and(|path| Qlog::new(path.to_owned()).is_file()) {
            return Err("--repeat would overwrite one --qlog file: name a directory".into());
        }
        Ok(())
    }

    fn check_kills(&self, paths: usize, duration: Duration) -> Result<(), String> {
        for kill in &self.kill_path {
            if kill.path >= paths {
                return Err(format!("--kill-path {}: the last of {paths} paths is {}", kill.path, paths - 1));
            }
            if kill.after >= duration {
                return Err(format!("--kill-path {}: the run is over by then", kill.path));
            }
        }
        Ok(())
    }
}

/// Half of the cores where the server inside needs the other half.
fn default_workers(cores: usize, inside: bool) -> usize {
    if inside { (cores / 2).max(1) } else { cores.max(1) }
}

/// Nothing between us and a server on this machine is narrower than Ethernet.
fn default_datagram(target: Option<&Host>) -> u16 {
    if target.is_none_or(Host::is_loopback) { DATAGRAM_LOOPBACK } else { DATAGRAM_ANYWHERE }
}

fn check_count(name: &str, value: usize, most: usize) -> Result<(), String> {
    if (1..=most).contains(&value) { Ok(()) } else { Err(format!("{name} must be 1 to {most}")) }
}

fn check_datagram(size: u16) -> Result<(), String> {
    if (1200..=65_507).contains(&size) { Ok(()) } else { Err("--datagram-size must be 1200 to 65507".into()) }
}

fn check_duration(name: &str, span: Duration) -> Result<(), String> {
    let fits = !span.is_zero() && span <= DURATION_MAX;
    if fits { Ok(()) } else { Err(format!("{name} must be more than 0 and at most 24 hours")) }
}

/// Reads `ID@TIME`.
fn kill(text: &str) -> Result<Kill, String> {
    let wrong = || format!("`{text}` is no cut; write for instance 1@2s");
    let (path, after) = text.split_once('@').ok_or_else(wrong)?;
    Ok(Kill { path: path.parse().map_err(|_| wrong())?, after: units::time(after)? })
}

/// The first paragraph of what the parser says, on one line.
fn refusal(error: &clap::Error) -> Refusal {
    let text = error.to_string();
    if !error.use_stderr() {
        return Refusal::Answer(text);
    }
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let sentence = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    Refusal::Usage(sentence.trim_start_matches("error: ").to_owned())
}

#[cfg(test)]
mod tests;
