//! The program around the simulator: reads files, simulates, prints tables or JSON.
//!
//! Owns the exit codes: 0 for success, 1 if a run did not do what was asked, 2 for a command line or a file that makes
//! no sense. All that is simulated is the library's.

mod logs;
mod options;
mod scenario;
mod sweep;
mod table;
mod units;
mod wsp;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use self::logs::Wanted;
use self::options::{Command, CommandLine, DesignArgs, Output, RunArgs, SweepArgs};
use self::scenario::Instead;
use self::sweep::row::Settings;

/// Something did not complete.
const FAILED: u8 = 1;
/// The command line or a file makes no sense.
const USAGE: u8 = 2;

/// Runs the program with these words, its own name first.
pub(crate) fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(words) {
        Ok(line) => line,
        Err(answer) if !answer.use_stderr() => return print(&answer.to_string()),
        Err(refusal) => {
            let text = refusal.to_string();
            return fail(USAGE, text.trim_start_matches("error: ").trim_end());
        }
    };
    let outcome = match line.command {
        Command::Run(args) => run(&args),
        Command::Sweep(args) => sweep(&args),
        Command::Design(args) => design(&args),
    };
    outcome.unwrap_or_else(|sentence| fail(USAGE, &sentence))
}

fn run(args: &RunArgs) -> Result<ExitCode, String> {
    let RunArgs { scenario: path, seed, scheduler, congestion, output, decisions, qlog } = args;
    let instead = Instead { seed: *seed, scheduler: scheduler.clone(), congestion: congestion.clone() };
    let scenario = scenario::read(&contents(path)?, instead).map_err(within(path))?;
    let sink = Sink::open(output)?;
    let wanted = Wanted { decisions: decisions.clone(), qlog: qlog.clone() };
    Ok(match scenario.run(&wanted) {
        Ok(outcome) => judged(sink.show(|| outcome.to_text(), || outcome.to_json()), outcome.failure()),
        Err(broken) => fail(FAILED, &broken),
    })
}

fn sweep(args: &SweepArgs) -> Result<ExitCode, String> {
    let pairs = sweep::design::read(&contents(&args.design)?).map_err(within(&args.design))?;
    let settings = Settings {
        size_bytes: args.size_bytes()?,
        scheduler: args.scheduler.clone(),
        congestion: args.congestion.clone(),
        queue: args.queue,
        limit: args.limit(),
    };
    let jobs = args.jobs()?;
    let sink = Sink::open(&args.output)?;
    let report = sweep::sweep(&pairs, &settings, &args.seeds.0, jobs);
    let written = sink.show(|| report.to_text(), || report.to_json());
    Ok(judged(written, report.failures()))
}

fn design(args: &DesignArgs) -> Result<ExitCode, String> {
    wsp::design(args.class, args.pairs, args.seed).map(|text| print(&text))
}

/// Does what may panic: a rule that breaks ends a world so. That must not end a sweep, nor go unnoticed.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        format!("broke a rule: {}", text.unwrap_or_default())
    })
}

/// Success only if everything was written and nothing failed; failures are told one by one.
fn judged(written: ExitCode, failures: impl IntoIterator<Item = String>) -> ExitCode {
    failures.into_iter().fold(written, |_, failure| fail(FAILED, &failure))
}

fn contents(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Puts the name of a file in front of what is wrong with it.
fn within(path: &Path) -> impl FnOnce(String) -> String {
    move |what| format!("{}: {what}", path.display())
}

/// Where results go, opened before the work so that a wrong name does not cost a run.
enum Sink {
    Table,
    Json,
    Both(File, String),
}

impl Sink {
    fn open(output: &Output) -> Result<Self, String> {
        match output.json.as_deref() {
            None => Ok(Self::Table),
            Some(path) if path == Path::new("-") => Ok(Self::Json),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path).map_err(|error| format!("cannot write {name}: {error}"))?;
                Ok(Self::Both(file, name))
            }
        }
    }

    fn show(self, text: impl Fn() -> String, json: impl Fn() -> String) -> ExitCode {
        match self {
            Self::Table => print(&text()),
            Self::Json => print(&json()),
            Self::Both(mut file, name) => match file.write_all(json().as_bytes()) {
                Ok(()) => print(&text()),
                Err(error) => fail(FAILED, &format!("cannot write {name}: {error}")),
            },
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &format!("cannot write to standard output: {error}")),
    }
}

fn fail(code: u8, sentence: &str) -> ExitCode {
    eprintln!("sim: {sentence}");
    code.into()
}
