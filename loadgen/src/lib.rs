//! A load generator for QUIC servers that sees every path.
//!
//! Runs the same worker loop as the server, from the client's side: keeps requests open over one or many paths, fixed
//! ones or those of the interfaces that come and go, and reports what arrived, by which path, how fast and at what cost.
//! Without a target it starts a server inside. Compares such reports. Owns the exit codes: 0 for success, 1 if anything failed, 2 for a command
//! line that makes no sense.

#![forbid(unsafe_code)]

mod arrivals;
mod ceiling;
mod client;
mod compare;
mod cpu;
mod estimate;
mod hdr;
mod inside;
mod load;
mod measure;
mod options;
mod plan;
mod report;
mod run;
mod secrets;
mod server_side;
mod tally;
mod units;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;

use crate::options::{Refusal, Task};
use crate::plan::{Json, Plan};

/// Something failed.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;

/// Runs the program with these words, its own name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match options::read(words, report::environment::cores()) {
        Ok(Task::Run(plan)) => run(&plan),
        Ok(Task::Ceiling(ceiling)) => measure_ceiling(&ceiling),
        Ok(Task::Compare(files)) => compare(&files),
        Err(Refusal::Answer(text)) => print(&text),
        Err(Refusal::Usage(sentence)) => fail(USAGE, &sentence),
    }
}

fn run(plan: &Plan) -> ExitCode {
    let sink = match plan.json.as_ref().map(Sink::open).transpose() {
        Ok(sink) => sink,
        Err(sentence) => return fail(USAGE, &sentence),
    };
    let outcome = match run::run(plan) {
        Ok(outcome) => outcome,
        Err(run::Refusal::Usage(sentence)) => return fail(USAGE, &sentence),
        Err(run::Refusal::Failed(sentence)) => return fail(FAILED, &sentence),
    };
    let written = show(sink, || report::table::text(&outcome.report), || outcome.report.to_json());
    for failure in &outcome.failures {
        fail(FAILED, failure);
    }
    if outcome.failures.is_empty() { written } else { FAILED.into() }
}

fn measure_ceiling(wish: &options::Ceiling) -> ExitCode {
    let sink = match wish.json.as_ref().map(Sink::open).transpose() {
        Ok(sink) => sink,
        Err(sentence) => return fail(USAGE, &sentence),
    };
    match ceiling::measure(wish) {
        Ok(found) => show(sink, || found.text(), || found.to_json()),
        Err(error) => fail(FAILED, &error.to_string()),
    }
}

fn compare(files: &options::CompareArgs) -> ExitCode {
    let found = match compare::Comparison::of(&files.a, &files.b) {
        Ok(found) => found,
        Err(sentence) => return fail(USAGE, &sentence),
    };
    let printed = print(found.text());
    for refusal in found.refusals() {
        fail(FAILED, &format!("no verdict: {refusal}"));
    }
    if found.refusals().is_empty() { printed } else { FAILED.into() }
}

/// Where JSON goes, opened before the work so that a wrong name does not cost a run.
enum Sink {
    Stdout,
    File(File, String),
}

impl Sink {
    fn open(json: &Json) -> Result<Self, String> {
        match json {
            Json::Stdout => Ok(Self::Stdout),
            Json::File(path) => {
                let name = path.display().to_string();
                let file = File::create(path).map_err(|error| format!("cannot write {name}: {error}"))?;
                Ok(Self::File(file, name))
            }
        }
    }
}

/// Prints the text, the JSON, or both: with `-` only the JSON goes to standard output.
fn show(sink: Option<Sink>, text: impl Fn() -> String, json: impl Fn() -> String) -> ExitCode {
    match sink {
        None => print(&text()),
        Some(Sink::Stdout) => print(&json()),
        Some(Sink::File(mut file, name)) => match file.write_all(json().as_bytes()) {
            Ok(()) => print(&text()),
            Err(error) => fail(FAILED, &format!("cannot write {name}: {error}")),
        },
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &format!("cannot write to standard output: {error}")),
    }
}

fn fail(code: u8, sentence: &str) -> ExitCode {
    eprintln!("loadgen: {sentence}");
    code.into()
}
