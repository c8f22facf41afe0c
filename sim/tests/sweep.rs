//! `sim sweep` and `sim design` as a stranger uses them: files in, tables and JSON out, exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Three rows that take a moment: unequal paths, the same pair exchanged, loss.
const DESIGN: &str = "\
id,bw0_mbps,rtt0_ms,qdelay0_ms,loss0_pct,bw1_mbps,rtt1_ms,qdelay1_ms,loss1_pct
near-first,20,20,50,0,10,40,50,0
far-first,10,40,50,0,20,20,50,0
lossy,20,20,50,1,10,40,50,1
";

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn sim(words: &[&str], file: Option<&File>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(words).args(file.map(|file| &file.0)).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that was refused says, with its exit code.
fn refusal(words: &[&str], file: Option<&File>) -> (Option<i32>, String) {
    let output = sim(words, file);
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_row_for_each_line_in_its_order_with_times_benefit_and_bound() {
    let design = File::new("order.csv", DESIGN);
    let report: Value =
        serde_json::from_str(&stdout(&sim(&["sweep", "--size", "1MB", "--json"], Some(&design)))).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["near-first", "far-first", "lossy"]);
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
        let (both, single) = (number("t_both_s"), [number("t0_s"), number("t1_s")]);
        assert!(both > number("bound_s"), "nothing beats the bound: {row}");
        // By hand from the definition: goodputs relative to the best one, size cancels out.
        let best = 1.0 / single[0].min(single[1]);
        let other = 1.0 / single[0].max(single[1]);
        let multipath = 1.0 / both;
        let divisor = if multipath >= best { other } else { best };
        assert!((number("eben") - (multipath - best) / divisor).abs() < 1e-9, "{row}");
        assert_eq!(row["failures"].as_array().map(Vec::len), Some(0), "{row}");
    }
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for key in
        [&report, &rows[0], &report["eben"]].into_iter().flat_map(|table| table.as_object().unwrap().keys())
    {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not explained");
    }
    let times = |row: usize| (rows[row]["t0_s"].clone(), rows[row]["t1_s"].clone());
    assert_eq!(times(0), (times(1).1, times(1).0), "a path alone does not care who was first");
    let above = rows.iter().filter(|row| row["eben"].as_f64() > Some(0.0)).count();
    assert_eq!(report["share_above_zero"].as_f64(), Some(above as f64 / 3.0));
    for (key, value) in [("schema", 1), ("size_bytes", 1_000_000), ("rows_incomplete", 0)] {
        assert_eq!(report[key].as_u64(), Some(value), "{key}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let design = File::new("jobs.csv", DESIGN);
    let run = |jobs: &str| {
        let words =
            ["sweep", "--size=300kB", "--seeds=3", "--scheduler=round-robin", "--json", "--jobs", jobs];
        stdout(&sim(&words, Some(&design)))
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn the_table_names_every_row_the_quartiles_and_the_worst() {
    let design = File::new("table.csv", DESIGN);
    let json = File::new("table.json", "");
    let option = format!("--json={}", json.0.display());
    let text = stdout(&sim(&["sweep", "--size=300kB", "--congestion=newreno", &option], Some(&design)));
    for words in ["near-first", "lossy", "The worst 3", "quartiles", "above 0", "all complete", "newreno"] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(&json.0).unwrap()).unwrap();
    assert_eq!(report["congestion"], "newreno");
}

#[test]
fn a_row_that_does_not_complete_is_reported_and_fails_the_sweep() {
    let design = File::new("limit.csv", DESIGN);
    let output = sim(&["sweep", "--size=1MB", "--limit=600ms", "--json"], Some(&design));
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &report["rows"][0];
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(3), "no row is dropped");
    assert!(row["t1_s"].is_null() && row["t0_s"].is_f64(), "{row}");
    assert!(row["failures"][0].as_str().is_some_and(|what| what.contains("over path 1, seed 1")), "{row}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("sim: row near-first: over path 1"), "{told}");
}

#[test]
fn a_design_with_a_mistake_is_refused_with_file_line_and_column() {
    let design = File::new("wrong.csv", &DESIGN.replace("near-first,20", "near-first,fast"));
    let (code, what) = refusal(&["sweep"], Some(&design));
    assert_eq!(code, Some(2));
    assert!(what.contains("wrong.csv: line 2: bw0_mbps is `fast`"), "{what}");
    let (code, what) = refusal(&["sweep", "no/such.csv"], None);
    assert!(code == Some(2) && what.contains("cannot read no/such.csv"), "{what}");
    let (code, what) = refusal(&["sweep", "--size=0"], Some(&File::new("size.csv", DESIGN)));
    assert!(code == Some(2) && what.contains("--size 0"), "{what}");
}

#[test]
fn a_design_that_is_printed_can_be_swept() {
    let text = stdout(&sim(&["design", "low-bdp-losses", "--pairs", "1", "--seed", "5"], None));
    let design = File::new("printed.csv", &text);
    let report = stdout(&sim(&["sweep", "--size=10kB", "--json"], Some(&design)));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(refusal(&["design", "low-bdp-losses", "--pairs", "0"], None).0, Some(2));
}

#[test]
fn the_designs_that_come_along_are_what_their_first_line_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("designs");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let command = text.lines().next().and_then(|line| line.strip_prefix("# sim ")).unwrap();
        assert_eq!(stdout(&sim(&command.split(' ').collect::<Vec<_>>(), None)), text);
        seen += 1;
    }
    assert_eq!(seen, 4, "one for each class");
}
