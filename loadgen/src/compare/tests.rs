//! Comparisons of reports that are only a few members long.

use serde_json::json;

use super::*;

/// A report of six runs of about this goodput.
fn report(goodput: f64) -> Report {
    let metric = |name, better, median: f64| json!({ "name": name, "better": better, "median": median, "low": median * 0.99, "high": median * 1.01 });
    let value = json!({
        "schema": SCHEMA,
        "workload": "requests",
        "limited_by": "server",
        "cpu": { "client_waiting": 0.01, "server_waiting": null },
        "series": { "runs": 6, "metrics": [
            metric("goodput_bps", "higher", goodput),
            metric("latency_p99_us", "lower", 1e15 / goodput),
            metric("server_gb_per_cpu_s", "higher", goodput / 1e9),
        ]},
        "settings": {
            "load": { "connections": 1, "paths": 2 },
            "tuning": { "packet_protection": "ring" },
        },
        "environment": { "kernel": "6.18", "cpu": "EPYC", "cores": 2, "io": "uring", "git": "abc" },
    });
    serde_json::from_value(value).unwrap()
}

fn compared(a: &Report, b: &Report) -> Comparison {
    Comparison::between(a, b, ["a.json", "b.json"])
}

fn line(comparison: &Comparison, start: &str) -> String {
    let found = comparison.text().lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("{start}: {}", comparison.text())).to_owned()
}

#[test]
fn a_difference_is_told_with_its_size_and_direction() {
    let found = compared(&report(8e9), &report(10e9));
    assert_eq!(found.refusals(), [""; 0]);
    let goodput = line(&found, "goodput_bps");
    assert!(goodput.ends_with("B is better: B is 25.0 % higher (22.5 to 27.5 %)"), "{goodput}");
    assert!(goodput.contains("8.00 Gb/s [7.92 Gb/s .. 8.08 Gb/s]"), "{goodput}");
    let latency = line(&found, "latency_p99_us");
    assert!(latency.ends_with("B is better: B is 20.0 % lower (18.4 to 21.6 %)"), "{latency}");
    let back = compared(&report(10e9), &report(8e9));
    assert!(line(&back, "goodput_bps").contains("A is better: B is 20.0 % lower"));
}

#[test]
fn overlapping_intervals_are_no_verdict() {
    let found = compared(&report(8e9), &report(8.1e9));
    assert!(line(&found, "goodput_bps").ends_with("no verdict: the intervals overlap"));
}

#[test]
fn other_load_other_machines_and_few_runs_have_no_verdict_at_all() {
    let refused = |change: fn(&mut Report)| {
        let (a, mut b) = (report(8e9), report(20e9));
        change(&mut b);
        let found = compared(&a, &b);
        assert!(!line(&found, "goodput_bps").contains("better"));
        assert_eq!(found.refusals().len(), 1, "{:?}", found.refusals());
        found.refusals()[0].clone()
    };
    let load = refused(|b| b.settings.load["paths"] = json!(4));
    assert_eq!(load, "different load: paths is 2 in A and 4 in B");
    assert!(refused(|b| _ = b.settings.load.remove("paths")).contains("null in B"));
    assert!(refused(|b| b.environment["cpu"] = json!("Xeon")).contains("different machines: cpu"));
    assert!(refused(|b| b.workload = "datagrams".into()).contains("A measured requests, B datagrams"));
    assert!(refused(|b| b.series.runs = 5).contains("B has 5 runs; a verdict needs 6"));
}

#[test]
fn what_is_compared_may_differ_and_is_named() {
    let (a, mut b) = (report(8e9), report(10e9));
    b.settings.tuning["packet_protection"] = json!("aws-lc-rs");
    b.environment["git"] = json!("def");
    let found = compared(&a, &b);
    assert!(found.refusals().is_empty());
    assert!(found.text().contains("differs: packet_protection is \"ring\" in A and \"aws-lc-rs\" in B\n"));
    assert!(found.text().contains("differs: git is \"abc\" in A and \"def\" in B\n"));
}

#[test]
fn the_pace_of_a_limited_client_says_nothing_but_costs_do() {
    let (mut a, mut b) = (report(8e9), report(10e9));
    b.limited_by = Some("client".into());
    let found = compared(&a, &b);
    assert!(line(&found, "goodput_bps").ends_with("no verdict: the client was the bottleneck of B"));
    assert!(line(&found, "latency_p99_us").ends_with("the bottleneck of B"));
    assert!(line(&found, "server_gb_per_cpu_s").contains("B is better"));
    a.limited_by = Some("client".into());
    assert!(line(&compared(&a, &b), "goodput_bps").ends_with("the bottleneck of both"));
}

#[test]
fn runs_that_had_to_share_the_machine_are_told() {
    let (a, mut b) = (report(8e9), report(10e9));
    b.cpu.server_waiting = Some(0.31);
    let found = compared(&a, &b);
    assert!(found.text().contains("B had to share: a thread waited 31 % of the time for a core\n"));
    assert!(!found.text().contains("A had to share"));
}

#[test]
fn a_number_without_an_interval_has_no_verdict() {
    let (a, mut b) = (report(8e9), report(10e9));
    b.series.metrics[0].low = None;
    let found = compared(&a, &b);
    assert!(line(&found, "goodput_bps").ends_with("no verdict: too few runs"));
}

#[test]
fn files_that_are_no_reports_are_named() {
    let told = |path: &str| read(Path::new(path)).unwrap_err();
    assert!(told("/nonexistent/a.json").starts_with("/nonexistent/a.json: "));
    assert_eq!(told("/dev/null"), "/dev/null: no JSON");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/report-2.json");
    assert!(read(&schema).unwrap_err().ends_with("no report of schema 2"));
}
