//! `sim run`: a scenario file, simulated.
//!
//! Owns the way from the text of a file to the report. The form of the file is in `file`, what it becomes in `build`,
//! how the outcome is shown in `outcome` and `text`.

mod build;
mod file;
mod links;
mod outcome;
mod text;

use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;

use self::file::Scenario;
pub(crate) use self::outcome::Outcome;
use super::logs::{Logs, Wanted};

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instead {
    pub(crate) seed: Option<u64>,
    pub(crate) scheduler: Option<SchedulerKind>,
    pub(crate) congestion: Option<CongestionKind>,
}

/// A scenario that makes sense.
pub(crate) struct Ready {
    scenario: Scenario,
    built: build::Built,
}

/// Reads a file; an error says in which line, what, and what is allowed.
pub(crate) fn read(text: &str, instead: Instead) -> Result<Ready, String> {
    let mut scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
    scenario.seed = instead.seed.unwrap_or(scenario.seed);
    scenario.scheduler = instead.scheduler.unwrap_or(scenario.scheduler);
    scenario.congestion = instead.congestion.unwrap_or(scenario.congestion);
    let built = build::build(&scenario).map_err(|wrong| wrong.shown(text))?;
    Ok(Ready { scenario, built })
}

impl Ready {
    /// Simulates it.
    pub(crate) fn run(mut self, wanted: &Wanted) -> Result<Outcome, String> {
        let logs = Logs::open(wanted, &mut self.built.world)?;
        let report = super::guarded(|| self.built.world.run())?;
        let outcome = Outcome::new(&self.scenario, &self.built, &report);
        drop(self.built); // what connections still have to say enters their logs now
        logs.close()?;
        Ok(outcome)
    }
}

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The first octet of the table or value, if it is one of them.
    at: Option<usize>,
    what: String,
}

impl Wrong {
    fn new(at: Option<usize>, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    fn shown(&self, text: &str) -> String {
        match self.at {
            Some(at) => format!("line {}: {}", text[..at].matches('\n').count() + 1, self.what),
            None => self.what.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
