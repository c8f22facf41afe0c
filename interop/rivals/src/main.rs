//! `rivals`: races Braid's server against others, in turn, and writes what came of it.
//!
//! Owns the command line, the order of the runs and the files. `scripts/rivals` builds everything first.

mod environment;
mod network;
mod picture;
mod plan;
mod program;
mod race;
mod record;
mod report;
mod statistics;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use crate::network::Up;
use crate::plan::{Client, Name, Network, Stack, pairs, word};
use crate::program::Failure;
use crate::race::{Course, End};
use crate::record::Record;

/// What a run takes besides its time: two programs that start and end.
const OVERHEAD: Duration = Duration::from_millis(350);
/// Connections that the neutral client makes in a second, roughly, for the estimate alone.
const CONNECTS_PER_SECOND: f64 = 1_200.0;

/// Races Braid's server against others and writes medians, raw data, environment and a picture.
#[derive(Debug, Parser)]
#[command(name = "rivals")]
struct Options {
    /// Servers, with commas [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<Stack>,
    /// Workloads, with commas [default: all; across veth: download,upload,requests,handshakes]
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Name>,
    /// Who measures, with commas; across veth the neutral client alone unless given [default: neutral,own]
    #[arg(long, value_delimiter = ',')]
    clients: Vec<Client>,
    /// What lies in between, with commas
    #[arg(long, value_delimiter = ',', default_value = "loopback,veth")]
    networks: Vec<Network>,
    /// How often everything is measured [default: 3, quick: 1]
    #[arg(long)]
    repeat: Option<usize>,
    /// Seconds of each run [default: 1.5, quick: 0.3]
    #[arg(long)]
    time: Option<f64>,
    /// Idle connections of the first and of the second sample of memory [default: 1000,10000, quick: 50,250]
    #[arg(long, value_delimiter = ',', num_args = 2)]
    idle: Vec<u32>,
    /// Shows that everything works, in a few minutes; measures nothing worth keeping
    #[arg(long)]
    quick: bool,
    /// Where the result goes, a folder
    #[arg(long)]
    out: PathBuf,
    /// The checkout
    #[arg(long)]
    root: PathBuf,
    /// Where the programs of the race are
    #[arg(long)]
    programs: PathBuf,
    /// Where `server` and `loadgen` are
    #[arg(long)]
    braid: PathBuf,
}

/// What a result says about itself.
const README: &str = include_str!("readme.md");

/// The runs of one workload over one network.
struct Leg {
    network: Network,
    name: Name,
    clients: Vec<Client>,
    repeat: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match race(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("rivals: {failed} runs failed");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("rivals: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything; returns how many runs failed.
fn race(options: &Options) -> Result<usize, Failure> {
    let raw = options.out.join("raw");
    fs::create_dir_all(&raw)?;
    fs::write(options.out.join("environment"), environment::describe(&options.root))?;
    let secrets = std::env::temp_dir().join(format!("rivals-{}", std::process::id()));
    fs::create_dir_all(&secrets)?;
    let result = run_all(options, &raw, &secrets);
    fs::remove_dir_all(&secrets)?;
    let (records, failed) = result?;
    let command = command(std::env::args().skip(1));
    let (standing, tables) = (report::standing(&records), report::tables(&records));
    let readme =
        README.replace("{standing}", &standing).replace("{command}", &command).replace("{tables}", &tables);
    fs::write(options.out.join("README.md"), readme)?;
    fs::write(options.out.join("command"), command + "\n")?;
    picture::draw(&records, &options.out.join("rivals.svg"))?;
    println!("{tables}\n{standing}\n{}", options.out.display());
    Ok(failed)
}

/// How `scripts/rivals` was called: its own words are not part of it.
fn command(words: impl Iterator<Item = String>) -> String {
    let mut line = "scripts/rivals".to_owned();
    let mut words = words;
    while let Some(word) = words.next() {
        let own = ["--root", "--programs", "--braid"].contains(&word.as_str());
        if own {
            words.next();
        } else {
            line.push(' ');
            line.push_str(&word);
        }
    }
    line
}

fn run_all(options: &Options, raw: &Path, secrets: &Path) -> Result<(Vec<Record>, usize), Failure> {
    let (cert, key) = race::certificate(secrets)?;
    let quick = options.quick;
    let idle = match options.idle[..] {
        [few, many] if few < many => (few, many),
        [_, _] => return Err("--idle: the second number is to be the larger".into()),
        _ => {
            if quick {
                (50, 250)
            } else {
                (1_000, 10_000)
            }
        }
    };
    let course = Course {
        programs: options.programs.clone(),
        braid: options.braid.clone(),
        cert,
        key,
        time: Duration::from_secs_f64(options.time.unwrap_or(if quick { 0.3 } else { 1.5 })),
        idle,
        settle: Duration::from_secs(if quick { 1 } else { 10 }),
    };
    let stacks = if options.only.is_empty() { Stack::value_variants() } else { &options.only };
    let legs = legs(options);
    eprintln!("about {:.0} minutes", estimate(&legs, stacks, &course).as_secs_f64() / 60.0);
    let mut file = File::create(raw.join("records.jsonl"))?;
    let (mut records, mut failed) = (Vec::new(), 0);
    for leg in &legs {
        let up = Up::new(leg.network)?;
        for repetition in 0..leg.repeat {
            for (server, client) in pairs(stacks, &leg.clients, repetition) {
                let record = run(&course, &up, leg, repetition, (server, client));
                failed += usize::from(record.is_err());
                let record = match record {
                    Ok(record) => record,
                    Err(failure) => {
                        eprintln!(
                            "rivals: {} {} {}: {failure}",
                            word(&leg.name),
                            word(&server),
                            word(&client)
                        );
                        continue;
                    }
                };
                writeln!(file, "{}", serde_json::to_string(&record)?)?;
                records.push(record);
            }
        }
    }
    Ok((records, failed))
}

fn run(
    course: &Course,
    up: &Up,
    leg: &Leg,
    repetition: usize,
    (server, client): (Stack, Client),
) -> Result<Record, Failure> {
    let (measured, skipped) = match course.run(up, leg.name, server, client)? {
        End::Measured(measured) => (Some(*measured), None),
        End::Skipped(why) => (None, Some(why)),
    };
    let score = measured.and_then(|measured| measured.score(leg.name.unit()));
    let text = match (&skipped, score) {
        (Some(why), _) => format!("skipped: {why}"),
        (None, Some(score)) => report::number(leg.name.unit(), score),
        (None, None) => "nothing".to_owned(),
    };
    let (network, workload) = (leg.network, leg.name);
    eprintln!(
        "{} {} {} by {} #{repetition}: {text}",
        word(&network),
        word(&workload),
        word(&server),
        word(&client)
    );
    Ok(Record { network, workload, server, client, repetition, measured, skipped })
}

/// What is run, in its order.
fn legs(options: &Options) -> Vec<Leg> {
    let repeat = options.repeat.unwrap_or(if options.quick { 1 } else { 3 });
    let or = |given: &[Client], default: &[Client]| {
        if given.is_empty() { default.to_vec() } else { given.to_vec() }
    };
    let mut legs = Vec::new();
    for &network in &options.networks {
        let (names, clients): (&[Name], &[Client]) = match network {
            Network::Loopback => (Name::value_variants(), &[Client::Neutral, Client::Own]),
            Network::Veth => (&Name::ACROSS, &[Client::Neutral]),
        };
        let names = if options.workloads.is_empty() { names } else { &options.workloads };
        for &name in names {
            // Memory does not depend on the client, and once is enough.
            let (clients, repeat) = match name {
                Name::Idle => (or(&options.clients, &[Client::Neutral]), 1),
                _ => (or(&options.clients, clients), repeat),
            };
            legs.push(Leg { network, name, clients, repeat });
        }
    }
    legs
}

fn estimate(legs: &[Leg], stacks: &[Stack], course: &Course) -> Duration {
    let connecting = Duration::from_secs_f64(f64::from(course.idle.1) / CONNECTS_PER_SECOND);
    let one = |leg: &Leg| match leg.name {
        Name::Idle => 2 * course.settle + connecting,
        _ => course.time + OVERHEAD,
    };
    let runs =
        |leg: &Leg| u32::try_from(pairs(stacks, &leg.clients, 0).len() * leg.repeat).unwrap_or(u32::MAX);
    let start = Instant::now(); // durations add up to what a clock can hold
    legs.iter().fold(start, |end, leg| end + one(leg) * runs(leg)) - start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let fixed = "rivals --out o --root r --programs p --braid b ";
        Options::try_parse_from((fixed.to_owned() + line).split_whitespace()).unwrap()
    }

    #[test]
    fn a_full_race_has_everything_on_loopback_and_the_main_things_across_veth() {
        let legs = legs(&options(""));
        let count = |network| legs.iter().filter(|leg| leg.network == network).count();
        assert_eq!((count(Network::Loopback), count(Network::Veth)), (Name::value_variants().len(), 4));
        assert!(legs.iter().all(|leg| leg.repeat == if leg.name == Name::Idle { 1 } else { 3 }));
    }

    #[test]
    fn the_command_is_the_scripts() {
        let words = "--root r --programs p --braid b --out o --quick --only quinn";
        let command = command(words.split(' ').map(str::to_owned));
        assert_eq!(command, "scripts/rivals --out o --quick --only quinn");
    }

    #[test]
    fn what_is_asked_for_is_all_that_is_run() {
        let options = options(
            "--only quinn,braid --workloads download,requests-100 --networks veth --clients own --quick",
        );
        assert_eq!(options.only, [Stack::Quinn, Stack::Braid]);
        let legs = legs(&options);
        let names = legs.iter().map(|leg| (leg.network, leg.name, leg.repeat)).collect::<Vec<_>>();
        assert_eq!(names, [(Network::Veth, Name::Download, 1), (Network::Veth, Name::RequestsMany, 1)]);
        assert!(legs.iter().all(|leg| leg.clients == [Client::Own]));
    }
}
