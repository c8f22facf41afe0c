//! The matrix: every client against every server, as processes on loopback, in bounded time.
//!
//! Owns the processes and the reading of what they say. Whether that is good is for the tests to judge. A failure shows
//! everything that both programs said; `RUST_LOG=noq_proto=debug` or `quinn_proto=trace` makes the peers say more.

mod loadgen;
mod process;
mod programs;
mod relay;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use interop_perf::report::Report;

pub use crate::loadgen::{Loadgen, LoadgenPath};
use crate::process::Process;
use crate::programs::Program;
pub use crate::relay::{Relay, RelayPath, RelayReport};

/// A server listens within this time.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A client has its own limit; this is for one that forgets it.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// What every run of our loadgen is told.
const LOADGEN: [&str; 3] = ["--insecure", "--json", "-"];

/// Who made the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Us.
    Braid,
    /// n0's fork of quinn; speaks multipath.
    Noq,
    /// Speaks multipath with the code points of an older draft, which nobody else here does.
    Iroh,
    /// One path only.
    Quinn,
}

/// A server that runs, with one test at a time; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    _turn: MutexGuard<'static, ()>,
}

/// What a run of `loadgen` brought.
#[derive(Debug)]
pub struct LoadgenRun {
    /// Its JSON.
    pub report: Loadgen,
    /// What it said on standard error.
    pub notes: Vec<String>,
}

impl Stack {
    /// Starts this stack's server with more options.
    #[track_caller]
    #[must_use]
    pub fn serve(self, options: &[&str]) -> Server {
        let (program, ours) = match self {
            Self::Braid => (Program::BraidServer, &["--workers", "1"][..]),
            Self::Noq => (Program::NoqServer, &[][..]),
            Self::Iroh => (Program::IrohServer, &[][..]),
            Self::Quinn => (Program::QuinnServer, &[][..]),
        };
        Server::start(program, &[ours, options].concat())
    }

    /// Starts this stack's server with paths that a script can move, and tells what happens to them.
    #[track_caller]
    #[must_use]
    pub fn serve_paths(self, options: &[&str]) -> Server {
        match self {
            Self::Braid => Server::start(Program::BraidPeerServer, options),
            _ => self.serve(options),
        }
    }

    /// Runs this stack's client; returns its report if it went well.
    #[track_caller]
    #[must_use]
    pub fn ask(self, server: &mut Server, options: &[&str]) -> Report {
        self.finish(server, Process::start(self.client().path(), &[&server.address.to_string()], &[options]))
    }

    /// Runs this stack's client over a relay, with a script.
    #[track_caller]
    #[must_use]
    pub fn follow(self, server: &mut Server, relay: &Relay, script: &str, options: &[&str]) -> Report {
        let client = self.begin(relay, script, options);
        self.finish(server, client)
    }

    /// The same, and moves the relay by `meddle` while the client runs.
    #[track_caller]
    #[must_use]
    pub fn follow_while(
        self,
        server: &mut Server,
        relay: &mut Relay,
        script: &str,
        meddle: impl FnOnce(&mut Relay),
    ) -> Report {
        let client = self.begin(relay, script, &["--paths", "8"]);
        meddle(relay);
        self.finish(server, client)
    }

    fn client(self) -> Program {
        match self {
            Self::Noq => Program::NoqClient,
            Self::Iroh => Program::IrohClient,
            Self::Quinn => Program::QuinnClient,
            Self::Braid => Program::BraidPeerClient,
        }
    }

    fn begin(self, relay: &Relay, script: &str, options: &[&str]) -> Process {
        let links: Vec<String> = relay.links().iter().map(ToString::to_string).collect();
        let mut words = vec![links[0].as_str(), "--script", script];
        for link in &links {
            words.extend(["--link", link]);
        }
        Process::start(self.client().path(), &words, &[options])
    }

    #[track_caller]
    fn finish(self, server: &mut Server, client: Process) -> Report {
        let (stdout, notes) = server.outcome(client);
        for note in notes {
            println!("{note}");
        }
        let report = serde_json::from_str(&stdout);
        report.unwrap_or_else(|error| panic!("{self:?}'s client reports `{stdout}`: {error}"))
    }
}

impl Server {
    #[track_caller]
    fn start(program: Program, options: &[&str]) -> Self {
        // Transfers share two cores with their peer already; a second one beside them would measure the machine.
        let turn = turn(program);
        let mut process = Process::start(program.path(), &["--listen", "127.0.0.1:0"], &[options]);
        let address = process.line_after("listening on ", START_LIMIT).and_then(|text| text.parse().ok());
        let address = address.unwrap_or_else(|| panic!("the server does not listen: {}", process.end()));
        Self { process, address, _turn: turn }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has told this event.
    #[track_caller]
    pub fn wait_for(&mut self, event: &str) {
        let told = self.process.note_after(&format!("event: {event}"), START_LIMIT);
        assert!(told, "the server did not say `{event}`: {}", self.process.end());
    }

    /// The events that it told until now.
    pub fn events(&self) -> Vec<String> {
        self.notes().iter().filter_map(|note| note.strip_prefix("event: ")).map(str::to_owned).collect()
    }

    /// Runs our loadgen against it; returns its report if it went well.
    #[track_caller]
    #[must_use]
    pub fn loadgen(&mut self, options: &[&str]) -> LoadgenRun {
        let target = self.address.to_string();
        let client = Process::start(Program::BraidLoadgen.path(), &[&target], &[&LOADGEN, options]);
        self.loaded(client)
    }

    /// Runs our loadgen with one path over each link of a relay, and moves the relay by `meddle` meanwhile.
    #[track_caller]
    #[must_use]
    pub fn loadgen_while(
        &mut self,
        relay: &mut Relay,
        options: &[&str],
        meddle: impl FnOnce(&mut Relay),
    ) -> LoadgenRun {
        let links: Vec<String> = relay.links().iter().map(ToString::to_string).collect();
        let words = [&links[0], "--remote", &links.join(","), "--paths", &links.len().to_string()];
        let client = Process::start(Program::BraidLoadgen.path(), &words, &[&LOADGEN, options]);
        meddle(relay);
        self.loaded(client)
    }

    /// What a loadgen has to say at its end.
    #[track_caller]
    fn loaded(&mut self, client: Process) -> LoadgenRun {
        let (stdout, notes) = self.outcome(client);
        match serde_json::from_str(&stdout) {
            Ok(report) => LoadgenRun { report, notes },
            Err(error) => panic!("loadgen reports `{stdout}`: {error}"),
        }
    }

    /// What this server said on standard error until now. A complaint of the last client's end may still be missing.
    pub fn notes(&self) -> Vec<String> {
        self.process.notes()
    }

    /// Waits for a client's good end; returns its standard output and the lines of its standard error.
    #[track_caller]
    fn outcome(&mut self, mut client: Process) -> (String, Vec<String>) {
        if client.wait(RUN_LIMIT) == Some(true) {
            return client.into_output();
        }
        panic!("the client failed: {}\nits server: {}", client.end(), self.process.end());
    }
}

/// One transfer at a time. The program is built before the wait is over, so that no build disturbs a transfer.
fn turn(program: Program) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    program.path();
    turn
}

/// Prints how the bytes were spread over a client's paths.
pub fn show_shares(title: &str, report: &Report) {
    let shares = report.paths.iter().map(|path| {
        format!("path {}: {:.1} %, {} us", path.id, 100.0 * path.share_of(&report.paths), path.rtt_us)
    });
    println!("{title}: {} Mb/s; {}", report.goodput_bps / 1_000_000, shares.collect::<Vec<_>>().join("; "));
}
