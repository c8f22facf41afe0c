//! `sim run` as a stranger uses it: the scenarios that come along, JSON, tables, exit codes.
//!
//! The numbers of picoquic's scenarios are those its own tests accept; ours are not to become worse than that.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

fn sim(words: &[&str], scenario: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).arg("run").arg(scenario).args(words).output().unwrap()
}

/// The JSON of a scenario that comes along.
fn run(name: &str, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let output = sim(&words, &scenarios().join(name));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn two_paths_do_what_picoquic_accepts_and_nothing_impossible() {
    // Accepted by picoquic's own tests, and the fluid bound, in seconds.
    for (name, accepted, bound) in [
        ("basic.toml", 1.06, 0.90),
        ("drop_first.toml", 1.49, 1.07),
        ("drop_second.toml", 1.26, 1.07),
        ("backup.toml", 2.0, 1.71),
        ("perf.toml", 1.65, 0.96),
    ] {
        let completed = number(&run(name, &[])["completed_s"]);
        assert!((bound..=accepted).contains(&completed), "{name}: {completed} s");
    }
}

#[test]
fn a_backup_carries_less_than_picoquic_accepts() {
    assert!(number(&run("backup.toml", &[])["paths"][1]["bytes"]) <= 50_000.0);
}

#[test]
fn a_request_that_a_dying_path_swallowed_is_answered_over_the_other() {
    let outcome = run("handover.toml", &[]);
    let took: Vec<f64> =
        outcome["transfers"].as_array().unwrap().iter().map(|one| number(&one["took_ms"])).collect();
    assert_eq!(took.len(), 25);
    // 225 ms and more is what is published.
    assert!(took.iter().all(|&took| took < 200.0), "{took:?}");
    assert!(took.iter().filter(|&&took| took < 50.0).count() >= 23, "one request waits, maybe two: {took:?}");
}

#[test]
fn the_keys_of_the_json_are_those_of_the_readme() {
    let outcome = run("basic.toml", &["--seed", "5"]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let lists = [&outcome, &outcome["transfers"][0], &outcome["paths"][0], &outcome["paths"][0]["up"]];
    for key in lists.into_iter().flat_map(keys) {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not explained");
    }
    assert_eq!((outcome["schema"].as_u64(), outcome["seed"].as_u64()), (Some(1), Some(5)));
    for key in
        ["completed_s", "longest_stall_ms", "duplicate_bytes", "spurious_suspects", "reassembly_peak_bytes"]
    {
        assert!(outcome[key].is_number(), "{key}: {}", outcome[key]);
    }
    let first = &outcome["transfers"][0];
    assert_eq!((&first["name"], &first["download_bytes"]), (&"first".into(), &1_000_000.into()));
    assert!(number(&first["start_s"]) < number(&first["end_s"]));
    let bytes: f64 = (0..2).map(|path| number(&outcome["paths"][path]["bytes"])).sum();
    assert!((bytes - 2_000_514.0).abs() < 0.5, "two requests of 257 bytes and two megabytes: {bytes}");
    assert!(number(&outcome["paths"][1]["lost"]) > 0.0, "slow start ends with losses");
}

#[test]
fn every_scenario_that_comes_along_completes_and_repeats() {
    let mut seen = 0;
    for entry in std::fs::read_dir(scenarios()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let outcome = run(&name, &[]);
        assert!(outcome["completed_s"].is_number(), "{name}: {outcome}");
        assert_eq!(outcome, run(&name, &[]), "{name}: a seed decides everything");
        assert!(!outcome["title"].as_str().unwrap().is_empty(), "{name}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen} scenarios");
}

#[test]
fn the_table_shows_transfers_paths_and_the_end() {
    let output = sim(&["--scheduler=round-robin"], &scenarios().join("basic.toml"));
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "basic: two downloads",
        "first ",
        "second ",
        "brought, bytes",
        "completed ",
        "round-robin",
        " ms at most",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
}

#[test]
fn a_scenario_that_makes_no_sense_is_refused_with_its_line() {
    let output = sim(&[], Path::new("no/such.toml"));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read no/such.toml"));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-wrong.toml", std::process::id()));
    std::fs::write(&path, "[[path]]\nrate = '10Mbps'\nlatency = '10ms'\n").unwrap();
    let output = sim(&[], &path);
    std::fs::remove_file(&path).unwrap();
    let what = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{what}");
    assert!(what.contains("wrong.toml") && what.contains("line 3") && what.contains("latency"), "{what}");
}

/// A path of this test's own below the directory for temporary files.
fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn decisions_are_written_a_line_each_and_change_nothing() {
    let file = temporary("decisions.txt");
    let with = run("drop_first.toml", &["--decisions", file.to_str().unwrap()]);
    assert_eq!(with, run("drop_first.toml", &[]));
    let text = std::fs::read_to_string(file).unwrap();
    let of_server: Vec<&str> = text.lines().filter(|line| line.starts_with("server ")).collect();
    assert!(of_server.len() > 100, "{} lines", of_server.len());
    for (path, why) in [(0, "lowest_rtt"), (1, "only_with_room")] {
        assert!(
            of_server.iter().any(|line| line.contains(&format!("-> {path} {why}"))),
            "path {path}, {why}: {:?}",
            &of_server[..20]
        );
    }
    assert!(of_server.iter().any(|line| line.contains(" suspect")), "path 0 died");
}

#[test]
fn both_ends_are_logged_as_qlog() {
    let directory = temporary("logs");
    run("basic.toml", &["--qlog", directory.to_str().unwrap()]);
    for end in ["client", "server"] {
        let text = std::fs::read_to_string(directory.join(end).with_extension("sqlog")).unwrap();
        let records: Vec<Value> = text
            .split('\u{1e}')
            .filter(|record| !record.is_empty())
            .map(|record| serde_json::from_str(record).unwrap())
            .collect();
        assert_eq!(records[0]["trace"]["vantage_point"]["type"], end);
        let closed = records.iter().filter(|record| record["name"] == "quic:packet_sent").count();
        assert!(closed > 100, "{end}: {closed} packets");
    }
}

#[test]
fn a_log_that_cannot_be_written_is_said_before_anything_is_simulated() {
    let output = sim(&["--decisions", "/nowhere/at/all"], &scenarios().join("basic.toml"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write /nowhere/at/all"));
    assert!(output.stdout.is_empty());
}
