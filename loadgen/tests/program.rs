//! The program as people run it: real sockets on loopback, a real server inside, exit codes and output.

mod common;

use braid_server::{Config, Identity, Server};
use common::{loadgen, report};
use serde_json::Value;

/// A server outside of the program.
fn served() -> Server {
    let config =
        Config::new(vec!["127.0.0.1:0".parse().unwrap()], Identity::self_signed(&["localhost"]).unwrap());
    Server::start(Config { workers: 1, cores: Vec::new(), ..config }).expect("a server")
}

fn paths(report: &Value) -> &[Value] {
    report["paths"].as_array().expect("a list")
}

#[test]
fn four_paths_carry_one_connection() {
    let report = report("--paths 4 --scheduler round-robin --duration 500ms");
    assert_eq!((&report["schema"], &report["requests"]["failed"]), (&2.into(), &0.into()));
    assert!(report["goodput_bps"].as_u64().unwrap() > 1_000_000, "{report:#}");
    assert_eq!(paths(&report).len(), 4);
    for (index, path) in paths(&report).iter().enumerate() {
        assert!(path["share"].as_f64().unwrap() >= 0.10, "{path:#}");
        assert!(path["local"].as_str().unwrap().starts_with(&format!("127.0.0.{}:", index + 1)), "{path:#}");
        assert_eq!(path["state"], "open");
        assert!(path["sender"]["packets_sent"].as_u64().unwrap() > 0, "the server inside tells its side");
    }
    assert!(
        report["cpu"]["client_s"].as_f64().unwrap() > 0.0
            && report["cpu"]["server_s"].as_f64().unwrap() > 0.0
    );
}

#[test]
fn a_path_cut_silently_costs_no_request_and_only_a_short_stall() {
    for cut in ["1@300ms", "0@300ms"] {
        let report = report(&format!("--paths 2 --duration 1500ms --kill-path {cut}"));
        assert_eq!(report["requests"]["failed"], 0);
        assert!(report["longest_stall_us"].as_u64().unwrap() < 500_000, "{report:#}");
    }
}

#[test]
fn small_requests_over_many_connections_complete_and_have_latencies() {
    let words = "--paths 2 --connections 10 --streams 3 --download 10K --duration 500ms --warmup 100ms";
    for sockets in ["per-path", "shared"] {
        let report = report(&format!("{words} --sockets {sockets}"));
        assert!(report["requests"]["completed"].as_u64().unwrap() > 30, "{report:#}");
        let latency = &report["latency_us"];
        assert!(latency["p50"].as_u64().unwrap() <= latency["max"].as_u64().unwrap());
    }
}

#[test]
fn uploads_count_as_goodput() {
    let report = report("--paths 2 --upload 1M --duration 500ms");
    let goodput_bps = report["goodput_bps"].as_u64().unwrap();
    assert!(goodput_bps > 1_000_000, "{report:#}");
    assert_eq!(report["requests"]["failed"], 0);
    let completed = report["requests"]["completed"].as_u64().unwrap();
    let room = goodput_bps / 16 + (2 << 20); // what half a second brought, and a request begun before
    assert!(
        completed > 0 && completed << 20 <= room,
        "no request completes before its upload arrived: {report:#}"
    );
}

#[test]
fn the_other_kind_of_io_does_the_same() {
    let report = report("--paths 2 --duration 300ms --io mmsg");
    assert_eq!(report["environment"]["io"], "mmsg");
    assert!(report["goodput_bps"].as_u64().unwrap() > 1_000_000);
}

#[test]
fn a_target_that_nobody_serves_is_a_failure_with_a_reason() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = loadgen(&format!("{} --insecure --duration 300ms", silent.local_addr().unwrap()));
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.lines().any(|line| line.starts_with("loadgen: 1 x ")), "{errors}");
}

#[test]
fn a_first_server_address_where_nobody_answers_costs_a_path_and_not_the_run() {
    let (silent, server) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), served());
    let (dead, live) = (silent.local_addr().unwrap(), server.local_addrs()[0]);
    let ends = format!("--local 127.0.0.1,127.0.0.2 --remote {dead},{live}");
    let report = report(&format!("{dead} {ends} --insecure --download 10K --duration 300ms"));
    assert_eq!(report["requests"]["failed"], 0, "{report:#}");
    let addresses = |path: &Value| (path["local"].to_string(), path["remote"].to_string());
    let (local, remote) = addresses(&paths(&report)[0]);
    assert!(local.contains("127.0.0.2:") && remote.contains(&live.to_string()), "{report:#}");
    let (local, remote) = addresses(&paths(&report)[1]);
    assert!(local.contains("127.0.0.1:") && remote.contains(&dead.to_string()), "{report:#}");
    assert_eq!(
        (paths(&report)[0]["share"].as_f64(), paths(&report)[1]["share"].as_f64()),
        (Some(1.0), Some(0.0))
    );
}

#[test]
fn the_path_that_is_cut_is_the_one_of_that_number_whatever_race_the_handshake_had() {
    let (silent, server) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), served());
    let (dead, live) = (silent.local_addr().unwrap(), server.local_addrs()[0]);
    let ends = format!("--local 127.0.0.1,127.0.0.2,127.0.0.3 --remote {dead},{live},{live}");
    // An upload by turns has something under way on either path that works, so the cut one is missed.
    let cut = "--upload 1G --scheduler round-robin --kill-path 0@300ms --duration 1500ms";
    let report = report(&format!("{dead} {ends} --insecure {cut}"));
    assert_eq!(report["requests"]["failed"], 0, "{report:#}");
    assert_ne!(paths(&report)[0]["state"], "open", "{report:#}");
    assert_eq!(paths(&report)[2]["state"], "open", "{report:#}");
}

#[test]
fn a_wrong_command_line_is_one_sentence_and_exit_code_2() {
    let missing = "127.0.0.1:1 --ca /nonexistent/ca.pem";
    for words in [
        "--paths 0",
        "--json /nonexistent/report.json",
        missing,
        "example.org:4433",
        "--no-such-option",
        "--qlog /nonexistent/a.sqlog",
        "127.0.0.1:1 --insecure --follow-interfaces --backup nonesuch0",
        "127.0.0.1:1 --insecure --follow-interfaces --local 127.0.0.1",
    ] {
        let output = loadgen(words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{words}: {errors}");
        assert!(errors.starts_with("loadgen: ") && output.stdout.is_empty(), "{words}: {errors}");
    }
}

#[test]
fn the_table_goes_to_standard_output_and_the_json_to_its_file() {
    let file = std::env::temp_dir().join(format!("loadgen-test-{}.json", std::process::id()));
    let output = loadgen(&format!("--duration 200ms --json {}", file.display()));
    let json = std::fs::read_to_string(&file).expect("the file was written");
    let _ = std::fs::remove_file(&file);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("path "));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["schema"], 2);
}

/// A directory that goes with the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The records of a log, each of which must be JSON behind a separator.
fn records(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a log");
    let record =
        |line: &str| serde_json::from_str(line.strip_prefix('\u{1e}').expect("a separator")).unwrap();
    text.lines().map(record).collect()
}

#[test]
fn both_ends_log_the_same_connection_to_a_file_each() {
    let scratch = Scratch::new("qlog-each");
    report(&format!("--paths 2 --download 100K --duration 200ms --qlog {}", scratch.0.display()));
    let mut files: Vec<_> =
        std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |at: usize| files[at].file_name().unwrap().to_str().unwrap().rsplit_once('_').unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!(name(0).0, name(1).0, "the first destination connection ID");
    assert_eq!((name(0).1, name(1).1), ("client.sqlog", "server.sqlog"));
    for file in &files {
        let records = records(file);
        let has = |name: &str| records.iter().any(|record| record["name"] == name);
        assert!(has("quic:connection_started") && has("quic:connection_closed"), "from begin to end");
        assert!(has("braid:path_validated") && has("quic:packet_received"));
    }
}

#[test]
fn connections_in_one_log_are_told_apart_and_can_be_sampled() {
    let scratch = Scratch::new("qlog-one");
    std::fs::create_dir_all(&scratch.0).unwrap();
    let file = scratch.0.join("all.sqlog");
    let groups = |options: &str| {
        let words = "--connections 40 --download 1K --duration 100ms";
        report(&format!("{words} --qlog {} {options}", file.display()));
        let records = records(&file);
        assert_eq!(records[0]["trace"]["vantage_point"]["type"], "client");
        let groups = records[1..].iter().map(|record| record["group_id"].as_str().unwrap().to_owned());
        groups.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(groups("").len(), 40);
    let sampled = groups("--qlog-sample 4").len();
    assert!((1..30).contains(&sampled), "about one in four: {sampled}");
}

#[test]
fn the_ceiling_is_measured_plain_and_with_either_librarys_protection() {
    let output = loadgen("ceiling --duration 100ms --json -");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|row| row["goodput_bps"].as_u64().unwrap() > 0), "{found:#}");
}
