//! What else can be put on a server: open loop, handshakes, datagrams, idle connections; repeated, compared, logged.

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;

use braid_server::{Config, Identity, Server};
use common::{loadgen, report};
use serde_json::Value;

/// A server outside of the program, with statistics.
fn served() -> (Server, String) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config::new(vec![any], Identity::self_signed(&["localhost"]).unwrap());
    let server = Server::start(Config { workers: 1, cores: Vec::new(), stats: Some(any), ..config });
    let server = server.expect("a server");
    let words = format!(
        "{} --insecure --stats-from {}",
        server.local_addrs()[0],
        server.stats_addr().expect("it serves statistics")
    );
    (server, words)
}

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number: {value}"))
}

#[test]
fn handshakes_follow_one_another_and_the_server_counts_them() {
    let (_server, target) = served();
    let report = report(&format!("{target} --handshakes --connections 4 --duration 300ms"));
    let completed = number(&report["requests"]["completed"]);
    assert_eq!((&report["workload"], &report["requests"]["failed"]), (&"handshakes".into(), &0.into()));
    // The begin and the end of both ends' windows are not the same instant.
    assert!(completed > 4 && number(&report["server"]["connections_accepted"]) * 2 > completed, "{report:#}");
    assert!(number(&report["latency_us"]["p50"]) > 0);
    assert_eq!(report["paths"], Value::Array(Vec::new()));
}

#[test]
fn handshakes_take_up_earlier_sessions_when_told_and_the_server_gives_tickets() {
    let resumed = report("--handshakes --resume --connections 2 --warmup 100ms --duration 300ms");
    assert!(number(&resumed["handshakes"]["resumed"]) > 0, "{resumed:#}");
    let full = report("--handshakes --connections 2 --duration 200ms");
    assert_eq!(full["handshakes"]["resumed"], 0, "every one costs the same: {full:#}");
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config::new(vec![any], Identity::self_signed(&["localhost"]).unwrap());
    let stingy = Server::start(Config { workers: 1, cores: Vec::new(), tickets: 0, ..config }).unwrap();
    let output =
        loadgen(&format!("{} --insecure --handshakes --resume --duration 200ms", stingy.local_addrs()[0]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("the server gives no tickets"), "{errors}");
}

#[test]
fn the_open_loop_offers_exactly_its_rate_and_a_seed_repeats_it() {
    let constant = report("--rate 1000 --download 1K --connections 2 --warmup 100ms --duration 500ms");
    let open_loop = &constant["open_loop"];
    assert_eq!((&open_loop["offered"], &open_loop["refused"]), (&500.into(), &0.into()), "{constant:#}");
    assert_eq!(constant["requests"]["failed"], 0);
    let poisson = "--rate 2000 --arrivals poisson --download 100 --duration 300ms --seed";
    let offered = |seed: u64| number(&report(&format!("{poisson} {seed}"))["open_loop"]["offered"]);
    let first = offered(7);
    assert_eq!(first, offered(7));
    assert!((400..800).contains(&first), "{first}");
}

#[test]
fn what_a_server_cannot_take_in_time_is_counted_and_somebody_is_to_blame() {
    let report = report("--rate 100000 --download 1M --duration 500ms");
    let open_loop = &report["open_loop"];
    assert_eq!(open_loop["offered"], 50_000);
    assert!(number(&open_loop["unstarted"]) > 0 && number(&open_loop["backlog_peak"]) > 0, "{report:#}");
    assert_ne!(report["limited_by"], "neither", "{report:#}");
    assert!(
        number(&report["latency_us"]["max"]) > 300_000,
        "what never began waited all the time: {report:#}"
    );
}

#[test]
fn handshakes_and_datagrams_have_an_open_loop_too() {
    for work in ["--handshakes --connections 8", "--datagrams 100"] {
        let report = report(&format!("{work} --rate 100 --duration 500ms"));
        assert_eq!(report["open_loop"]["offered"], 50, "{report:#}");
        assert!(number(&report["requests"]["completed"]) > 0, "{report:#}");
    }
}

#[test]
fn datagrams_are_acknowledged_and_count_as_goodput() {
    let (_server, target) = served();
    let report = report(&format!("{target} --datagrams 1000 --paths 2 --duration 300ms"));
    let datagrams = &report["datagrams"];
    let acked = number(&datagrams["acked"]);
    assert!(acked > 0 && acked == number(&report["requests"]["completed"]), "{report:#}");
    assert!(datagrams["loss"].as_f64().unwrap() < 0.5, "{report:#}");
    assert!(number(&report["goodput_bps"]) > 0 && number(&report["latency_us"]["p50"]) > 0);
}

#[test]
fn datagrams_that_fit_no_packet_are_a_failure_with_a_reason() {
    let output = loadgen("--datagrams 9000 --duration 100ms");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("a datagram was not taken"), "{errors}");
}

#[test]
fn idle_connections_stand_alone_or_beside_others_and_the_servers_memory_is_told() {
    let (_server, target) = served();
    let alone = report(&format!("{target} --connections 0 --idle 40 --sockets shared --duration 200ms"));
    assert_eq!((&alone["workload"], &alone["server"]["connections"]), (&"idle".into(), &40.into()));
    assert_eq!(alone["limited_by"], Value::Null);
    let server = &alone["server"];
    assert!(number(&server["memory_resident_bytes"]) > 0 && number(&server["memory_before_bytes"]) > 0);
    assert!(server["memory_per_connection_bytes"].is_number() && server["same_process"] == false);
    let beside = report("--idle 10 --download 1K --duration 200ms");
    assert_eq!((&beside["workload"], &beside["server"]["connections"]), (&"requests".into(), &11.into()));
    assert_eq!(beside["server"]["memory_per_connection_bytes"], Value::Null, "the memory is both ends'");
}

#[test]
fn whose_code_protects_packets_is_chosen_for_both_ends_and_told() {
    for name in ["aws-lc-rs", "ring"] {
        let report = report(&format!("--packet-protection {name} --duration 100ms"));
        assert_eq!(report["settings"]["tuning"]["packet_protection"], name);
        assert_eq!(report["server"]["packet_protection"], name);
    }
    assert_ne!(
        report("--duration 100ms")["server"]["packet_protection"],
        "fastest",
        "what it became is told"
    );
}

#[test]
fn a_run_is_a_part_of_the_ceiling_beside_it() {
    let report = report("--duration 500ms --ceiling --packet-protection ring");
    let ceiling = &report["ceiling"];
    assert_eq!(ceiling["packet_protection"], "ring");
    for part in ["sender", "receiver", "sender_of_aws_lc_rs", "gb_per_sender_cpu_s"] {
        assert!(ceiling[part].as_f64().unwrap() > 0.0, "{ceiling:#}");
    }
}

#[test]
fn repeated_runs_can_be_compared_with_others_of_the_same_load() {
    let (a, b, other) = (Scratch::new("a.json"), Scratch::new("b.json"), Scratch::new("other.json"));
    for (file, words) in [(&a, ""), (&b, "--packet-protection aws-lc-rs"), (&other, "--streams 2")] {
        let run = format!("--download 10K --duration 100ms --repeat 6 {words} --json {}", file.0.display());
        let output = loadgen(&run);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("goodput_bps"));
    }
    let compared =
        |a: &Scratch, b: &Scratch| loadgen(&format!("compare {} {}", a.0.display(), b.0.display()));
    let output = compared(&a, &b);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let goodput = text.lines().find(|line| line.starts_with("goodput_bps")).expect("a line for each number");
    assert!(goodput.contains("no verdict") || goodput.contains("is better"), "{text}");
    let refused = compared(&a, &other);
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("different load: at_once is 1 in A and 2 in B"), "{errors}");
    let missing = loadgen("compare /nonexistent/a.json /nonexistent/b.json");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn latencies_of_each_second_are_logged_as_histograms() {
    let log = Scratch::new("latency.hlog");
    let run = format!("--download 1K --duration 1100ms --hdr {}", log.0.display());
    assert!(loadgen(&run).status.success());
    let text = std::fs::read_to_string(&log.0).expect("a log");
    let seconds: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(seconds.len(), 2, "{text}");
    assert!(seconds.iter().all(|line| line.split(',').nth(3).is_some_and(|it| it.starts_with("HIST"))));
    assert_eq!(loadgen("--hdr /nonexistent/a.hlog --duration 100ms").status.code(), Some(2));
}
