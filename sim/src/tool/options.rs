//! The command line: its options, their defaults and what may stand together.
//!
//! Owns the spelling, and one sentence about what is wrong. Reads no file and simulates nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;
use clap::{Args, Parser, Subcommand};

use super::sweep::row::QueueKind;
use super::units::{Size, Span};

/// More seeds than this for each row are a slip of the keyboard.
const SEEDS_MAX: u64 = 10_000;
/// More threads than this are a slip too.
const JOBS_MAX: usize = 1_024;

/// Simulates Multipath QUIC connections in virtual time.
///
/// A seed decides everything that chance decides: what runs twice ends twice in the same way. No network is used.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a scenario: paths, what happens to them, and what is transferred.
    Run(RunArgs),
    /// Download over many pairs of paths, over both and over each alone, and tell what the second path was worth.
    Sweep(SweepArgs),
    /// Print a design for `sweep`: pairs of paths that fill their space evenly.
    Design(DesignArgs),
}

/// Options of `sim run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The scenario, a TOML file.
    #[arg(value_name = "SCENARIO.toml")]
    pub(crate) scenario: PathBuf,
    /// Instead of the scenario's seed.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Instead of the scenario's scheduler: min-rtt, round-robin or backup.
    #[arg(long, value_name = "NAME")]
    pub(crate) scheduler: Option<SchedulerKind>,
    /// Instead of the scenario's congestion controller: cubic or newreno.
    #[arg(long, value_name = "NAME")]
    pub(crate) congestion: Option<CongestionKind>,
    /// Write why each train went where it went, a line for each decision of either end.
    #[arg(long, value_name = "FILE", conflicts_with = "qlog")]
    pub(crate) decisions: Option<PathBuf>,
    /// Log both ends as qlog, to client.sqlog and server.sqlog in this directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) qlog: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Options of `sim sweep`.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// The pairs of paths, a CSV file.
    #[arg(value_name = "DESIGN.csv")]
    pub(crate) design: PathBuf,
    /// What each run downloads, on one stream: 256kB, 20MB (K, M, G are powers of 1000, KiB, MiB, GiB of 1024).
    #[arg(long, value_name = "SIZE", default_value = "20MB")]
    pub(crate) size: Size,
    /// Which path carries the next train: min-rtt, round-robin or backup.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) scheduler: SchedulerKind,
    /// How much may be in flight on a path: cubic or newreno.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) congestion: CongestionKind,
    /// How often each run is repeated, with the seeds 1, 2 and so on; or the seeds themselves: 7,8,9. Times are medians.
    #[arg(long, value_name = "N", default_value = "1", value_parser = seeds)]
    pub(crate) seeds: Seeds,
    /// Threads that simulate; as many as there are cores unless given. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// What limits a queue to what the path carries in RTT + queueing delay: its bytes, or the time a datagram waits.
    #[arg(long, value_name = "KIND", value_enum, default_value = "bytes")]
    pub(crate) queue: QueueKind,
    /// Virtual time after which a run is given up.
    #[arg(long, value_name = "TIME", default_value = "10000s")]
    pub(crate) limit: Span,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Options of `sim design`.
#[derive(Debug, Args)]
pub(crate) struct DesignArgs {
    /// The space to fill.
    #[arg(value_enum)]
    pub(crate) class: super::wsp::Class,
    /// Pairs of paths; each gives two rows, one with either path as the first.
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub(crate) pairs: usize,
    /// Another seed gives other pairs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Where results go.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print JSON instead of the table; with =FILE print the table and write the JSON there.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
}

/// The seeds of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(pub(crate) Vec<u64>);

impl SweepArgs {
    pub(crate) fn jobs(&self) -> Result<usize, String> {
        match self.jobs {
            Some(jobs) if jobs.get() > JOBS_MAX => Err(format!("--jobs {jobs} is more than {JOBS_MAX}")),
            Some(jobs) => Ok(jobs.get()),
            None => Ok(std::thread::available_parallelism().map_or(1, NonZeroUsize::get)),
        }
    }

    /// What was asked to be downloaded; nothing has no goodput.
    pub(crate) fn size_bytes(&self) -> Result<u64, String> {
        if self.size.0 == 0 { Err("--size 0 would take no time".to_owned()) } else { Ok(self.size.0) }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit.0
    }
}

/// `3` is the seeds 1, 2 and 3; `7,8` is what it says.
fn seeds(text: &str) -> Result<Seeds, String> {
    let wrong =
        || format!("write a number from 1 to {SEEDS_MAX}, or seeds with commas between them, each once");
    let numbers: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
    let mut list = numbers.map_err(|_| wrong())?;
    if let [count] = list[..] {
        list = if (1..=SEEDS_MAX).contains(&count) { (1..=count).collect() } else { Vec::new() };
    }
    let repeated = list.iter().enumerate().any(|(index, seed)| list[..index].contains(seed));
    if list.is_empty() || list.len() as u64 > SEEDS_MAX || repeated { Err(wrong()) } else { Ok(Seeds(list)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(words: &str) -> Result<SweepArgs, String> {
        let words = format!("sim sweep design.csv {words}");
        let line =
            CommandLine::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())?;
        let Command::Sweep(args) = line.command else { panic!("{line:?}") };
        Ok(args)
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_sweep_has_defaults_for_everything_but_its_design() {
        let args = sweep("").unwrap();
        assert_eq!((args.size, args.seeds, args.queue), (Size(20_000_000), Seeds(vec![1]), QueueKind::Bytes));
        assert!(args.output.json.is_none() && args.jobs.is_none());
        assert_eq!((args.scheduler.name(), args.congestion.name()), ("min-rtt", "cubic"));
    }

    #[test]
    fn seeds_are_counted_or_listed() {
        assert_eq!(sweep("--seeds 3").unwrap().seeds, Seeds(vec![1, 2, 3]));
        assert_eq!(sweep("--seeds 7,5,6").unwrap().seeds, Seeds(vec![7, 5, 6]));
        for wrong in ["0", "x", "10001", "1,", "3,3", "-1"] {
            assert!(sweep(&format!("--seeds={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_goes_to_standard_output_unless_a_file_is_named() {
        assert_eq!(sweep("--json").unwrap().output.json, Some(PathBuf::from("-")));
        assert_eq!(sweep("--json=out.json").unwrap().output.json, Some(PathBuf::from("out.json")));
        assert!(sweep("--json out.json").is_err(), "that would be a second design");
    }

    #[test]
    fn wrong_words_are_refused_with_what_is_allowed() {
        for (words, says) in [
            ("--scheduler fast", "choose min-rtt"),
            ("--congestion bbr", "choose newreno"),
            ("--size 20mb", "20MB"),
            ("--queue none", "bytes"),
            ("--jobs 0", "--jobs"),
            ("--limit 5", "20ms"),
        ] {
            let error = sweep(words).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(sweep("--jobs 9999").unwrap().jobs().is_err());
        assert!(sweep("--size 0").unwrap().size_bytes().is_err());
    }
}
