//! One run: a new server, a client, and what both cost.
//!
//! Owns the course of a run and the command lines. CPU time is read between `ready` and the result, so that neither
//! start nor end counts; loadgen does not wait, and its whole life counts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use interop_race::UNSUPPORTED;
use interop_race::outcome::Outcome;
use interop_race::workload::Workload;

use crate::network::Up;
use crate::plan::{Client, Name, Stack, word};
use crate::program::{Failure, Place, Program, machine_cpu_s};
use crate::record::{Measured, from_loadgen};

const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// A program that starts says so within this time.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Thousands of connections take longer, and so does the end of a workload with a slow stack.
const PREPARE_LIMIT: Duration = Duration::from_secs(120);

/// What all runs have in common.
#[derive(Debug)]
pub(crate) struct Course {
    /// Where the programs of the race are.
    pub(crate) programs: PathBuf,
    /// Where `server` and `loadgen` are.
    pub(crate) braid: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) time: Duration,
    /// Idle connections of the first and of the second sample of memory.
    pub(crate) idle: (u32, u32),
    /// How long idle connections are left alone before memory is looked at.
    pub(crate) settle: Duration,
}

/// How a run ended that did not fail.
#[derive(Debug)]
pub(crate) enum End {
    Measured(Box<Measured>),
    /// Why there is nothing to measure.
    Skipped(String),
}

impl Course {
    /// Runs a workload once.
    pub(crate) fn run(&self, up: &Up, name: Name, server: Stack, client: Client) -> Result<End, Failure> {
        let (path, client_path) = (self.server_path(server), self.client_path(client_of(server, client)));
        for path in [&path, &client_path] {
            if !path.exists() {
                let name = path.file_name().unwrap_or_default().display();
                return Ok(End::Skipped(format!("there is no {name}")));
            }
        }
        let (server_space, client_space) = up.namespaces();
        let mut listening = Program::start(
            &path,
            &self.server_words(server, SocketAddr::new(up.server_ip(), 0)),
            Place { core: SERVER_CORE, namespace: server_space },
        )?;
        let target = listening.line_after("listening on ", START_LIMIT)?.trim().to_owned();
        let place = Place { core: CLIENT_CORE, namespace: client_space };
        match (name.workload(self.time), client_of(server, client)) {
            (Some(workload), None) => self.loadgen(&mut listening, &target, workload, place),
            (Some(workload), Some(stack)) => self.client(&mut listening, &target, stack, workload, place),
            (None, Some(stack)) => self.idle(&mut listening, &target, stack, place),
            (None, None) => Ok(End::Skipped("loadgen has no option for idle connections".to_owned())),
        }
    }

    fn server_path(&self, stack: Stack) -> PathBuf {
        match stack {
            Stack::Braid => self.braid.join("server"),
            other => self.programs.join(format!("{}-race-server", word(&other))),
        }
    }

    /// A stack's client, or loadgen.
    fn client_path(&self, stack: Option<Stack>) -> PathBuf {
        match stack {
            Some(stack) => self.programs.join(format!("{}-race-client", word(&stack))),
            None => self.braid.join("loadgen"),
        }
    }

    fn server_words(&self, stack: Stack, listen: SocketAddr) -> Vec<String> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let mut line = format!("--listen {listen} --cert {cert} --key {key}");
        if stack == Stack::Braid {
            line.push_str(" --workers 1 --idle-timeout 5m");
        }
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn start_client(
        &self,
        target: &str,
        stack: Stack,
        workload: Workload,
        place: Place<'_>,
    ) -> Result<Program, Failure> {
        let path = self.client_path(Some(stack));
        let mut words = vec![target.to_owned(), "--cert".to_owned(), self.cert.display().to_string()];
        words.extend(workload.words());
        Program::start(&path, &words, place)
    }

    fn client(
        &self,
        server: &mut Program,
        target: &str,
        stack: Stack,
        workload: Workload,
        place: Place<'_>,
    ) -> Result<End, Failure> {
        let mut client = self.start_client(target, stack, workload, place)?;
        if let Err(failure) = client.line_after("ready", PREPARE_LIMIT) {
            return skipped_or(failure, &mut client);
        }
        let meter = Meter::start(server, Some(&client));
        client.say("go")?;
        let line = match client.line(self.time + PREPARE_LIMIT) {
            Ok(line) => line,
            Err(failure) => return skipped_or(failure, &mut client),
        };
        let mut measured = meter.stop(server, Some(&client));
        measured.outcome = serde_json::from_str::<Outcome>(&line)?;
        match client.finish() {
            Some(status) if status.success() => Ok(End::Measured(Box::new(measured))),
            _ => Err(client.story("did not end well")),
        }
    }

    fn loadgen(
        &self,
        server: &mut Program,
        target: &str,
        workload: Workload,
        place: Place<'_>,
    ) -> Result<End, Failure> {
        let Some(words) = loadgen_words(target, workload) else {
            return Ok(End::Skipped("loadgen has no such workload".to_owned()));
        };
        let meter = Meter::start(server, None);
        let mut client = Program::start(&self.client_path(None), &words, place)?;
        let report = client.rest(self.time + PREPARE_LIMIT);
        let mut measured = meter.stop(server, None);
        let Some((outcome, cpu_s)) = from_loadgen(&report) else {
            return Err(client.story("made no report"));
        };
        measured.outcome = outcome;
        measured.client_cpu_s = cpu_s;
        measured.others_cpu_s = (measured.others_cpu_s - cpu_s).max(0.0);
        match client.finish() {
            Some(status) if status.success() => Ok(End::Measured(Box::new(measured))),
            _ => Err(client.story("did not end well")),
        }
    }

    /// Memory with some idle connections, and with many more.
    fn idle(
        &self,
        server: &mut Program,
        target: &str,
        stack: Stack,
        place: Place<'_>,
    ) -> Result<End, Failure> {
        let (few, many) = self.idle;
        let mut clients = Vec::new();
        let mut samples = Vec::new();
        let meter = Meter::start(server, None);
        for connections in [few, many - few] {
            let mut client = self.start_client(target, stack, Workload::Idle { connections }, place)?;
            if let Err(failure) = client.line_after("ready", PREPARE_LIMIT) {
                return skipped_or(failure, &mut client);
            }
            clients.push(client);
            // What was needed for the handshakes alone is to be gone.
            thread::sleep(self.settle);
            samples.push(server.resident_bytes());
        }
        let mut measured = meter.stop(server, None);
        measured.connection_bytes = Some((samples[1] as f64 - samples[0] as f64) / f64::from(many - few));
        measured.outcome.operations = many.into();
        Ok(End::Measured(Box::new(measured)))
    }
}

/// Whose client it is; none for loadgen.
fn client_of(server: Stack, client: Client) -> Option<Stack> {
    match (client, server) {
        (Client::Neutral, _) => Some(Stack::Quinn),
        (Client::Loadgen, _) | (Client::Own, Stack::Braid) => None,
        (Client::Own, own) => Some(own),
    }
}

fn skipped_or(failure: Failure, client: &mut Program) -> Result<End, Failure> {
    let unsupported = client.finish().and_then(|status| status.code()) == Some(UNSUPPORTED.into());
    if unsupported { Ok(End::Skipped(sentence(&failure.to_string()))) } else { Err(failure) }
}

/// What a client said about what is not supported.
fn sentence(text: &str) -> String {
    let said = text.split_once("unsupported: ").map_or(text, |(_, said)| said);
    said.trim_end_matches(')').to_owned()
}

fn loadgen_words(target: &str, workload: Workload) -> Option<Vec<String>> {
    let Workload::Transfer { download, upload, connections, streams, time } = workload else { return None };
    let line = format!(
        "{target} --insecure --server-name localhost --workers 1 --connections {connections} --streams {streams} \
         --download {download} --upload {upload} --duration {:.0}ms --json -",
        time * 1e3
    );
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// CPU seconds from here to there.
struct Meter {
    server: f64,
    client: f64,
    machine: f64,
}

impl Meter {
    fn start(server: &Program, client: Option<&Program>) -> Self {
        let (server, client) = (server.cpu_s(), client.map_or(0.0, Program::cpu_s));
        Self { server, client, machine: machine_cpu_s() }
    }

    fn stop(&self, server: &Program, client: Option<&Program>) -> Measured {
        let server_cpu_s = server.cpu_s() - self.server;
        let client_cpu_s = client.map_or(0.0, Program::cpu_s) - self.client;
        let machine_s = machine_cpu_s() - self.machine;
        Measured {
            server_cpu_s,
            client_cpu_s,
            others_cpu_s: (machine_s - server_cpu_s - client_cpu_s).max(0.0),
            resident_bytes: server.resident_bytes(),
            ..Measured::default()
        }
    }
}

/// A certificate for both ends of every pair: ECDSA with P-256, signed by itself.
pub(crate) fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    Ok((cert, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loadgen_gets_the_same_work_in_its_own_words() {
        let workload =
            Workload::Transfer { download: 1024, upload: 0, connections: 100, streams: 1, time: 1.5 };
        let words = loadgen_words("127.0.0.1:9", workload).unwrap().join(" ");
        assert!(words.starts_with("127.0.0.1:9 --insecure"), "{words}");
        assert!(
            words.contains("--connections 100 --streams 1 --download 1024 --upload 0 --duration 1500ms"),
            "{words}"
        );
        assert_eq!(loadgen_words("x", Workload::Idle { connections: 1 }), None);
    }

    #[test]
    fn what_is_unsupported_is_said_in_one_sentence() {
        let text =
            "quinn-race-client: ended (exit status: 3; it said: q: unsupported: the server sends no tickets)";
        assert_eq!(sentence(text), "the server sends no tickets");
    }

    #[test]
    fn everybody_has_a_client() {
        assert_eq!(client_of(Stack::Braid, Client::Neutral), Some(Stack::Quinn));
        assert_eq!(client_of(Stack::S2n, Client::Own), Some(Stack::S2n));
        assert_eq!(client_of(Stack::Braid, Client::Own), None);
        assert_eq!(client_of(Stack::S2n, Client::Loadgen), None);
    }
}
