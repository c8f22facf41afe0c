//! Interfaces that come, go or lead nowhere while `loadgen` runs, between two network namespaces of the tests' own.
//!
//! Each test starts this program again inside `unshare`: there it is the server, and `loadgen` runs in the namespace
//! `client`, joined by veth pairs. Where namespaces cannot be made, or `unshare` or `ip` is missing, it says so and passes.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use braid_server::stats::PathView;
use braid_server::{Config, Identity, Server};
use serde_json::Value;

/// Set in the inner program.
const INSIDE: &str = "BRAID_FOLLOW_INSIDE";
/// What the inner program says when it is done; a shell that failed before it never does.
const DONE: &str = "the body ran to its end";
/// A namespace for the server with one for the client in it; both end with the inner program.
const SETUP: &str = "mount -t tmpfs none /run && ip link set lo up && ip netns add client && ip -n client link set lo up \
                     && exec \"$0\" --exact \"$1\" --nocapture";
/// How long a change may take to show.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the server is asked whether it shows.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs `body` in namespaces of its own.
fn inside(name: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        println!("{DONE}");
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", SETUP])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "yes")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        return eprintln!("skipped: there is no unshare(1) here");
    };
    let (told, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !told.contains("running 1 test") {
        return eprintln!("skipped: no namespaces can be made here: {}", complaints.trim());
    }
    assert!(output.status.success() && told.contains(DONE), "{told}\n{complaints}");
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Makes link `n` from `near<n>` to `far<n>`, 10.9.n.1 to 10.9.n.2; the client's end has no address yet. The server is
/// 10.9.9.9 over every link.
fn link(n: u8) {
    ip(&format!("link add near{n} netns client type veth peer name far{n}"));
    ip(&format!("address add 10.9.{n}.2/24 dev far{n}"));
    ip(&format!("link set far{n} up"));
    up(n);
}

/// The client's end of link `n` is up, and leads to the server.
fn up(n: u8) {
    ip(&format!("-n client link set near{n} up"));
    ip(&format!("-n client route add 10.9.9.9/32 dev near{n} metric {}", 100 + u32::from(n)));
}

fn address(n: u8) {
    ip(&format!("-n client address add 10.9.{n}.1/24 dev near{n}"));
}

/// What leaves the client for `remote` by link `n` is for an Ethernet address that nobody has.
fn lead_nowhere(n: u8, remote: &str) {
    ip(&format!("-n client neighbour replace {remote} lladdr 02:00:00:00:00:99 dev near{n} nud permanent"));
}

/// A server with one worker on these addresses.
fn serve(addresses: &[&str]) -> Server {
    ip("address add 10.9.9.9/32 dev lo");
    let listen: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let config = Config::new(listen, Identity::self_signed(&["localhost"]).unwrap());
    Server::start(Config { workers: 1, cores: Vec::new(), ..config }).unwrap()
}

/// A run in the client's namespace.
struct Run(Child);

impl Run {
    fn start(words: &str) -> Self {
        let child = Command::new("ip")
            .args(["netns", "exec", "client", env!("CARGO_BIN_EXE_loadgen")])
            .args(words.split_whitespace())
            .args(["--insecure", "--json", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits until the server has this to say of its only connection's paths.
    #[track_caller]
    fn await_paths(&mut self, server: &Server, what: &str, shows: impl Fn(&[PathView]) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let stats = server.stats();
            let paths = stats.connections.first().map_or(&[][..], |connection| &connection.paths);
            if shows(paths) {
                return;
            }
            let is_over = self.0.try_wait().unwrap().is_some();
            assert!(Instant::now() < until && !is_over, "{what}: never, but {paths:#?}");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What it says at its end, which must be a success, and its complaints.
    fn end(self) -> (Value, String) {
        let (code, told, complaints) = self.outcome();
        assert_eq!(code, Some(0), "{complaints}");
        (serde_json::from_str(&told).expect("a report"), complaints)
    }

    /// Its exit code, its output and its complaints.
    fn outcome(mut self) -> (Option<i32>, String, String) {
        // What it has to say fits into the pipes.
        let (mut told, mut complaints) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        (self.0.wait().unwrap().code(), told, complaints)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Does a path from 10.9.n.1 carry data, as the server sees it?
fn carries(paths: &[PathView], n: u8) -> bool {
    let here = format!("10.9.{n}.1:");
    paths.iter().any(|path| {
        path.state == "open" && path.remote.starts_with(&here) && path.stream_bytes_sent > 100_000
    })
}

/// Is there no path from 10.9.n.1 but those that were given up?
fn gave_up(paths: &[PathView], n: u8) -> bool {
    let here = format!("10.9.{n}.1:");
    paths.iter().all(|path| path.state == "leaving" || !path.remote.starts_with(&here))
}

/// States and shares of the paths from 10.9.n.1 in a report.
fn of_link(report: &Value, n: u8) -> (Vec<&str>, Vec<f64>) {
    let here = format!("10.9.{n}.1:");
    let paths = report["paths"].as_array().unwrap();
    let there = paths.iter().filter(|path| path["local"].as_str().unwrap().starts_with(&here));
    there.map(|path| (path["state"].as_str().unwrap(), path["share"].as_f64().unwrap())).unzip()
}

#[test]
fn paths_come_and_go_with_the_interfaces_and_no_request_fails() {
    inside("paths_come_and_go_with_the_interfaces_and_no_request_fails", || {
        (0..5).for_each(link);
        [0, 1, 3, 4].into_iter().for_each(address);
        let server = serve(&["10.9.9.9:4433"]);
        let uses = "--backup near3 --metered near4";
        let mut run = Run::start(&format!("10.9.9.9:4433 --follow-interfaces {uses} --duration 6s"));
        run.await_paths(&server, "two paths", |paths| carries(paths, 0) && carries(paths, 1));
        address(2);
        run.await_paths(&server, "a path over the new address", |paths| carries(paths, 2));
        ip("-n client link set near1 down");
        run.await_paths(&server, "no path over the interface that is down", |paths| gave_up(paths, 1));
        ip("-n client address del 10.9.2.1/24 dev near2");
        run.await_paths(&server, "no path over the address that is gone", |paths| gave_up(paths, 2));
        up(1);
        run.await_paths(&server, "a path over the interface that came back", |paths| carries(paths, 1));

        let (report, complaints) = run.end();
        assert!(!complaints.contains("go without") && !complaints.contains("not used"), "{complaints}");
        assert_eq!(report["requests"]["failed"], 0, "{report:#}");
        assert!(report["longest_stall_us"].as_u64().unwrap() < 2_000_000, "{report:#}");
        assert_eq!(of_link(&report, 0).0, ["open"]);
        let (states, shares) = of_link(&report, 1);
        assert_eq!((states, shares.len()), (vec!["closed", "open"], 2));
        assert!(shares.iter().all(|share| *share > 0.0), "both carried data: {report:#}");
        let (states, shares) = of_link(&report, 2);
        assert_eq!(states, ["closed"]);
        assert!(shares[0] > 0.0, "{report:#}");
        let (states, shares) = of_link(&report, 3);
        assert_eq!(states, ["open"], "{report:#}");
        assert!(shares[0] < 0.05, "a backup while others are usable: {report:#}");
        assert_eq!(of_link(&report, 4).0, [""; 0], "no money is spent while another path works");
    });
}

#[test]
fn a_first_interface_that_leads_nowhere_does_not_keep_the_followers_from_connecting() {
    inside("a_first_interface_that_leads_nowhere_does_not_keep_the_followers_from_connecting", || {
        (0..2).for_each(link);
        (0..2).for_each(address);
        lead_nowhere(0, "10.9.9.9");
        let _server = serve(&["10.9.9.9:4433"]);
        let words = "10.9.9.9:4433 --follow-interfaces --connections 3 --download 100K --duration 1s";
        let (report, _) = Run::start(words).end();
        assert_eq!(report["requests"]["failed"], 0, "{report:#}");
        assert!(report["requests"]["completed"].as_u64().unwrap() > 0, "{report:#}");
        assert!(report["paths"][0]["local"].as_str().unwrap().starts_with("10.9.1.1:"), "{report:#}");
    });
}

#[test]
fn a_first_local_address_that_leads_nowhere_is_tried_again_as_a_path() {
    inside("a_first_local_address_that_leads_nowhere_is_tried_again_as_a_path", || {
        (0..2).for_each(link);
        (0..2).for_each(address);
        lead_nowhere(0, "10.9.0.2");
        let _server = serve(&["10.9.0.2:4433", "10.9.1.2:4433"]);
        let ends = "--local 10.9.0.1,10.9.1.1 --remote 10.9.0.2,10.9.1.2";
        let words = format!("10.9.0.2:4433 {ends} --download 100K --duration 1s");
        let (report, complaints) = Run::start(&words).end();
        assert!(complaints.contains("1 of 1 connections go without some of their paths"), "{complaints}");
        assert_eq!(report["requests"]["failed"], 0, "{report:#}");
        assert!(report["requests"]["completed"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(of_link(&report, 1), (vec!["open"], vec![1.0]), "{report:#}");
        assert_eq!(of_link(&report, 0).1, [0.0], "{report:#}");
        assert!(report["paths"][0]["local"].as_str().unwrap().starts_with("10.9.1.1:"), "{report:#}");
    });
}

#[test]
fn followers_without_any_way_end_with_a_reason() {
    inside("followers_without_any_way_end_with_a_reason", || {
        link(0);
        let outcome = |words: &str| {
            let (code, _, complaints) =
                Run::start(&format!("10.9.9.9:4433 --follow-interfaces {words}")).outcome();
            (code, complaints.lines().last().unwrap_or_default().to_owned())
        };
        let nowhere = "loadgen: no interface can reach the target: none has an address and a carrier";
        assert_eq!(outcome("--backup near0 --metered wwan*"), (Some(1), nowhere.into()));
        let unknown = "loadgen: there is no interface `near7`; write `near7*` if it may come later";
        assert_eq!(outcome("--backup near0 --metered near7"), (Some(2), unknown.into()));
    });
}
