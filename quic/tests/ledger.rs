//! The ledger's checker: `RULES.md` names a test, a reason or what it waits for in every row, and means it.
//!
//! Reads the tables and the sources around them: each row is there once, each named test exists, names the row in its
//! text and serves few rows, and no source cites a rule that there is not. Runs no test itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rules that there are; the gaps are for later ones.
const RULES: [(u32, u32); 18] = [
    (1, 18),
    (30, 37),
    (40, 51),
    (55, 78),
    (100, 128),
    (140, 151),
    (160, 183),
    (200, 207),
    (210, 214),
    (220, 222),
    (225, 225),
    (230, 231),
    (235, 235),
    (240, 244),
    (250, 256),
    (270, 276),
    (280, 312),
    (330, 339),
];

/// The pitfalls, from 1.
const PITFALLS: u32 = 80;

/// Rows that one test may serve.
const ROWS_PER_TEST_MAX: usize = 5;

/// Crates whose tests may be named, and where their sources are from the repository's root.
const CRATES: [(&str, &[&str]); 3] =
    [("quic", &["quic/src"]), ("sim", &["sim/tests"]), ("interop", &["interop/matrix/tests"])];

/// Folders whose sources may cite rules.
const CITING: [&str; 7] = ["quic", "sim", "udp-uring", "server", "loadgen", "interop", "scripts"];

/// One line of the ledger: `MP-123` or `P-12`, and the last column.
struct Row {
    id: String,
    proof: String,
}

/// A test: the words around it, in which it cites its rows.
struct Test {
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("quic/RULES.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let (columns, id) = (cells.len(), (*cells.first()?).to_owned());
        let known = id.starts_with("MP-") && columns == 5 || id.starts_with("P-") && columns == 3;
        known.then(|| Row { id, proof: (*cells.last().unwrap()).to_owned() })
    };
    let looks_like_one = |line: &&str| line.starts_with("| MP-") || line.starts_with("| P-");
    let lines: Vec<&str> = text.lines().filter(looks_like_one).collect();
    lines.iter().map(|line| row(line).unwrap_or_else(|| panic!("a row of another form: {line}"))).collect()
}

/// Every source below `folder`, with its path from there.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for entry in entries.map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && entry.file_name().is_some_and(|name| name != "target") {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&entry).unwrap();
                found.push((entry.strip_prefix(folder).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// `path/set.rs` is `path::set`, `path/mod.rs` is `path`; `stream/send_tests.rs` is `stream::send::tests` if `send.rs`
/// takes it in (`inner`).
fn module_of(file: &Path, inner: bool) -> String {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    let outer = parts.last().and_then(|last| last.strip_suffix("_tests")).map(str::to_owned);
    if let Some(name) = outer.filter(|_| inner) {
        parts.pop();
        parts.extend([name, "tests".to_owned()]);
    }
    parts.join("::")
}

/// The tests of a source: the comment and the attributes above each, and its body.
fn tests_in(module: &str, text: &str, found: &mut BTreeMap<String, Test>) {
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.trim() != "#[test]" {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let is_above =
            |line: &&&str| line.trim_start().starts_with("///") || line.trim_start().starts_with("#[");
        let above = lines[..at].iter().rev().take_while(is_above).count();
        let Some(name_at) = (at..lines.len()).find(|&n| lines[n].trim_start().starts_with("fn ")) else {
            continue;
        };
        let name: String = lines[name_at].trim_start()[3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let ends = |line: &str| line.strip_prefix(indent).is_some_and(|rest| rest == "}");
        let end = (name_at..lines.len()).find(|&n| ends(lines[n])).unwrap_or(lines.len() - 1);
        let inner = if indent.is_empty() || module.ends_with("tests") { "" } else { "::tests" };
        let text = lines[at - above..=end].join("\n");
        found.insert(format!("{module}{inner}::{name}"), Test { text });
    }
}

fn tests() -> BTreeMap<String, Test> {
    let mut all = BTreeMap::new();
    for (name, folders) in CRATES {
        let mut found = BTreeMap::new();
        for folder in folders {
            let sources = sources(&root().join(folder));
            for (file, text) in &sources {
                let name = file.file_name().unwrap().to_string_lossy();
                let takes = format!("#[path = \"{name}\"]");
                let siblings = sources.iter().filter(|(other, _)| other.parent() == file.parent());
                let inner = siblings.into_iter().any(|(_, text)| text.contains(&takes));
                tests_in(&module_of(file, inner), text, &mut found);
            }
        }
        all.extend(found.into_iter().map(|(test, it)| (format!("{name} {test}"), it)));
    }
    all
}

/// The numbers behind `prefix` in `text`, as they are written: `MP-123`.
fn citations(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        let digits: String = text[at + prefix.len()..].chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() && !before.is_some_and(|c| c.is_alphanumeric() || c == '-') {
            found.insert(format!("{prefix}{digits}"));
        }
    }
    found
}

fn known_ids() -> BTreeSet<String> {
    let rules = RULES.into_iter().flat_map(|(first, last)| (first..=last).map(|n| format!("MP-{n:03}")));
    rules.chain((1..=PITFALLS).map(|n| format!("P-{n:02}"))).collect()
}

/// The tests that a row names: each in backticks, with commas between.
fn named(row: &Row) -> Vec<String> {
    let list = row.proof.split(", ").map(|name| {
        let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
        name.unwrap_or_else(|| panic!("{}: neither tests, reason, waits nor open: {}", row.id, row.proof))
    });
    list.map(str::to_owned).collect()
}

fn is_excused(row: &Row) -> bool {
    ["reason: ", "waits: "].iter().any(|word| row.proof.starts_with(word) && row.proof.len() > word.len() + 5)
}

#[test]
fn every_row_is_there_once() {
    let mut seen = BTreeMap::new();
    for row in rows() {
        *seen.entry(row.id).or_insert(0) += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let seen: BTreeSet<String> = seen.into_keys().collect();
    let known = known_ids();
    assert!(seen == known, "missing {:?}, unknown {:?}", &known - &seen, &seen - &known);
}

#[test]
fn every_row_has_a_test_that_cites_it_or_a_word_why_not() {
    let tests = tests();
    let (mut served, mut wrong) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
    let (mut open, mut reasons, mut waiting, mut proven) = (Vec::new(), 0, 0, 0);
    for row in rows() {
        if row.proof == "open" {
            open.push(row.id);
            continue;
        }
        if is_excused(&row) {
            reasons += usize::from(row.proof.starts_with("reason"));
            waiting += usize::from(row.proof.starts_with("waits"));
            continue;
        }
        proven += 1;
        for name in named(&row) {
            match tests.get(&name) {
                None => wrong.push(format!("{}: there is no test {name}", row.id)),
                Some(test) => {
                    let prefix = if row.id.starts_with("MP-") { "MP-" } else { "P-" };
                    if !citations(&test.text, prefix).contains(&row.id) {
                        wrong.push(format!("{}: {name} does not cite it", row.id));
                    }
                    served.entry(name).or_default().push(row.id.clone());
                }
            }
        }
    }
    for (name, rows) in served {
        if rows.len() > ROWS_PER_TEST_MAX {
            wrong.push(format!("{name} serves {} rows: {rows:?}", rows.len()));
        }
    }
    println!(
        "{proven} rows with tests, {reasons} with a reason, {waiting} waiting, {} open: {open:?}",
        open.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(open.is_empty(), "rows without a proof: {open:?}");
}

#[test]
fn no_source_cites_a_rule_that_there_is_not() {
    let known = known_ids();
    let mut unknown = Vec::new();
    for folder in CITING {
        for (file, text) in sources(&root().join(folder)) {
            let strange = citations(&text, "MP-").into_iter().filter(|id| !known.contains(id));
            unknown.extend(strange.map(|id| format!("{folder}/{}: {id}", file.display())));
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn names_of_modules_follow_their_files() {
    assert_eq!(module_of(Path::new("path/set.rs"), false), "path::set");
    assert_eq!(module_of(Path::new("duet/mod.rs"), false), "duet");
    assert_eq!(module_of(Path::new("stream/send_tests.rs"), true), "stream::send::tests");
    assert_eq!(module_of(Path::new("crypto/keyring_tests.rs"), false), "crypto::keyring_tests");
}

#[test]
fn citations_are_whole_numbers() {
    let text = "rules MP-201, MP-128 (P-07) and XMP-9, MP-x";
    assert_eq!(citations(text, "MP-"), BTreeSet::from(["MP-201".to_owned(), "MP-128".to_owned()]));
    assert_eq!(citations(text, "P-"), BTreeSet::from(["P-07".to_owned()]));
}
