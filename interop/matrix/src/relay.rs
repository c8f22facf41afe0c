//! Braid's relay between a client and a server of the matrix: one port for each link.
//!
//! Owns the program and reads the few numbers of its report that say what a link carried.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::process::Process;
use crate::programs::Program;

/// A relay starts, answers and ends within this time.
const LIMIT: Duration = Duration::from_secs(20);

/// A relay that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    process: Process,
    links: Vec<SocketAddr>,
    /// How often it was asked for its numbers.
    questions: usize,
}

/// What a relay did.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayReport {
    /// One entry for each link.
    pub paths: Vec<RelayPath>,
}

/// What one link did.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayPath {
    /// Sockets that were exchanged.
    pub rebinds: u64,
    /// From the client to the server.
    pub up: RelayWay,
    /// From the server to the client.
    pub down: RelayWay,
}

/// One direction.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayWay {
    /// What arrived.
    pub sent: Traffic,
    /// What did not.
    pub dropped: Dropped,
}

/// Datagrams and their bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// How long, all together.
    pub bytes: u64,
}

/// Datagrams that did not arrive, by the reasons that tests look at.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Dropped {
    /// At random.
    pub lost: u64,
    /// The queue was full.
    pub queue: u64,
}

impl RelayPath {
    /// Bytes that arrived, both ways together.
    pub fn carried_bytes(&self) -> u64 {
        self.up.sent.bytes + self.down.sent.bytes
    }
}

impl Relay {
    /// Starts a relay to `server` with a link for each of these settings, as `rate=40M delay=5ms`.
    #[track_caller]
    #[must_use]
    pub fn towards(server: SocketAddr, links: &[&str]) -> Self {
        let target = server.to_string();
        let mut words = vec!["--json", "-"];
        for settings in links {
            words.extend(["--path", "127.0.0.1:0", &target]);
            words.extend(settings.split_whitespace());
        }
        let mut process = Process::start_to_talk(Program::Relay.path(), &words);
        let listens = (0..links.len()).map(|number| {
            let line = process.line_after(&format!("path {number} listens on "), LIMIT);
            line.and_then(|text| text.parse().ok())
        });
        let Some(links) = listens.collect() else { panic!("the relay does not listen: {}", process.end()) };
        Self { process, links, questions: 0 }
    }

    /// Where clients find the server on each link.
    pub fn links(&self) -> &[SocketAddr] {
        &self.links
    }

    /// Makes the relay do something, as `rebind 1`.
    #[track_caller]
    pub fn command(&mut self, line: &str) {
        self.process.say(line);
        let done = self.process.line_after(&format!("ok {line}"), LIMIT);
        assert!(done.is_some(), "the relay did not {line}: {}", self.process.end());
    }

    /// Waits until a link has carried so many bytes, both ways together.
    #[track_caller]
    pub fn wait_for(&mut self, link: usize, bytes: u64) {
        for _ in 0..10_000 {
            if self.report().paths[link].carried_bytes() >= bytes {
                return;
            }
        }
        panic!("link {link} never carried {bytes} bytes: {:?}", self.report());
    }

    /// What it did until now.
    #[track_caller]
    pub fn report(&mut self) -> RelayReport {
        self.questions += 1;
        self.process.say("stats");
        let line = self.process.line_number(self.questions, "{", LIMIT);
        let report = line.and_then(|line| serde_json::from_str(&format!("{{{line}")).ok());
        report.unwrap_or_else(|| panic!("the relay says no numbers: {}", self.process.end()))
    }

    /// Ends the relay; returns its numbers.
    #[track_caller]
    #[must_use]
    pub fn finish(mut self) -> RelayReport {
        self.process.say("quit");
        assert_eq!(self.process.wait(LIMIT), Some(true), "{}", self.process.end());
        let (output, _) = self.process.into_output();
        let last = output.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("the relay reports `{last}`: {error}"))
    }
}
