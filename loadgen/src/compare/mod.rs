//! `loadgen compare A.json B.json`: which of two reports is better, by how much, and whether the data say so at all.
//!
//! Owns what has to be equal for a comparison, and the text. Refuses rather than guesses: runs that did different things
//! or were made elsewhere have no verdict, nor has a number whose intervals overlap (`verdict`).

#[cfg(test)]
mod tests;
mod verdict;

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::verdict::{Estimates, Verdict, verdict};
use crate::estimate::VALUES_MIN;
use crate::report::SCHEMA;
use crate::report::metrics::Better;
use crate::report::table::WAITING_TOLD;
use crate::units::show_metric;

/// A file that is larger than this is no report.
const REPORT_MAX_BYTES: u64 = 64 << 20;
/// What of the environment has to be equal; the rest may be what is compared.
const ENVIRONMENT: [&str; 3] = ["kernel", "cpu", "cores"];

/// What of a report a comparison needs.
#[derive(Debug, Deserialize)]
struct Report {
    schema: u32,
    workload: String,
    limited_by: Option<String>,
    cpu: Cpu,
    series: Series,
    settings: Settings,
    environment: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Cpu {
    client_waiting: Option<f64>,
    server_waiting: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Series {
    runs: usize,
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    name: String,
    better: Better,
    median: f64,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    load: Map<String, Value>,
    tuning: Map<String, Value>,
}

/// Two reports side by side.
pub(crate) struct Comparison {
    text: String,
    refusals: Vec<String>,
}

impl Comparison {
    /// Reads and compares two reports.
    pub(crate) fn of(a: &Path, b: &Path) -> Result<Self, String> {
        Ok(Self::between(&read(a)?, &read(b)?, [&a.display().to_string(), &b.display().to_string()]))
    }

    fn between(a: &Report, b: &Report, names: [&str; 2]) -> Self {
        let refusals = refusals(a, b);
        let mut text = String::new();
        for (letter, name, report) in [("A", names[0], a), ("B", names[1], b)] {
            let limit = report.limited_by.as_deref().unwrap_or("unknown");
            let runs = report.series.runs;
            writeln!(text, "{letter}  {name}: {}, {runs} runs, limited by {limit}", report.workload)
                .expect("a string takes everything");
        }
        for (letter, Report { cpu, .. }) in [("A", a), ("B", b)] {
            let waiting = cpu.client_waiting.into_iter().chain(cpu.server_waiting).reduce(f64::max);
            if let Some(part) = waiting.filter(|&part| part >= WAITING_TOLD) {
                let percent = part * 100.0;
                writeln!(
                    text,
                    "{letter} had to share: a thread waited {percent:.0} % of the time for a core"
                )
                .expect("a string takes everything");
            }
        }
        for line in differences(a, b) {
            writeln!(text, "differs: {line}").expect("a string takes everything");
        }
        text.push('\n');
        let rows = a.series.metrics.iter().filter_map(|of_a| {
            let of_b = b.series.metrics.iter().find(|of_b| of_b.name == of_a.name)?;
            let words = if refusals.is_empty() { judge(a, b, of_a, of_b) } else { String::new() };
            Some([of_a.name.clone(), shown(of_a), shown(of_b), words])
        });
        let head = ["", "A", "B", ""].map(str::to_owned);
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let [name, left, right] = [width(0), width(1), width(2)];
        for [of, a, b, words] in &rows {
            let line = format!("{of:<name$}  {a:<left$}  {b:<right$}  {words}");
            writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
        }
        Self { text, refusals }
    }

    /// The table.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Why there is no verdict on anything; empty if there are verdicts.
    pub(crate) fn refusals(&self) -> &[String] {
        &self.refusals
    }
}

fn read(path: &Path) -> Result<Report, String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let size = std::fs::metadata(path).map_err(|error| named(&error))?.len();
    if size > REPORT_MAX_BYTES {
        return Err(named(&"too large for a report"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    let value: Value = serde_json::from_str(&text).map_err(|_| named(&"no JSON"))?;
    if value["schema"] != SCHEMA {
        return Err(named(&format!("no report of schema {SCHEMA}")));
    }
    let report: Report = serde_json::from_value(value).map_err(|error| named(&error))?;
    debug_assert_eq!(report.schema, SCHEMA);
    Ok(report)
}

/// Why these two cannot be compared.
fn refusals(a: &Report, b: &Report) -> Vec<String> {
    let mut found = Vec::new();
    if a.workload != b.workload {
        found.push(format!("A measured {}, B {}", a.workload, b.workload));
    }
    let load = unequal(&a.settings.load, &b.settings.load);
    found.extend(
        load.map(|(key, of_a, of_b)| format!("different load: {key} is {of_a} in A and {of_b} in B")),
    );
    for key in ENVIRONMENT {
        let (of_a, of_b) = (value(&a.environment, key), value(&b.environment, key));
        if of_a != of_b {
            found.push(format!("different machines: {key} is {of_a} in A and {of_b} in B"));
        }
    }
    for (letter, report) in [("A", a), ("B", b)] {
        let runs = report.series.runs;
        if runs < VALUES_MIN {
            found.push(format!(
                "{letter} has {runs} runs; a verdict needs {VALUES_MIN}: --repeat {VALUES_MIN}"
            ));
        }
    }
    found
}

/// What differs and may be the very thing that is compared.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let rest = |report: &Report| -> Map<String, Value> {
        let of = report.environment.clone().into_iter();
        of.filter(|(key, _)| !ENVIRONMENT.contains(&key.as_str())).collect()
    };
    let tuning = unequal(&a.settings.tuning, &b.settings.tuning);
    let (of_a, of_b) = (rest(a), rest(b));
    let environment = unequal(&of_a, &of_b);
    let show = |(key, a, b): (String, Value, Value)| format!("{key} is {a} in A and {b} in B");
    tuning.chain(environment).map(show).collect()
}

/// The keys whose values differ, and both values.
fn unequal<'a>(
    a: &'a Map<String, Value>,
    b: &'a Map<String, Value>,
) -> impl Iterator<Item = (String, Value, Value)> + 'a {
    let only_b = b.keys().filter(|key| !a.contains_key(*key));
    let both = a.keys().chain(only_b).map(|key| (key.clone(), value(a, key), value(b, key)));
    both.filter(|(_, a, b)| a != b)
}

fn value(map: &Map<String, Value>, key: &str) -> Value {
    map.get(key).cloned().unwrap_or(Value::Null)
}

/// What there is to say of one number.
fn judge(a: &Report, b: &Report, of_a: &Metric, of_b: &Metric) -> String {
    if is_pace(&of_a.name) {
        let limited = |report: &Report| report.limited_by.as_deref() == Some("client");
        match (limited(a), limited(b)) {
            (false, false) => {}
            (true, true) => return "no verdict: the client was the bottleneck of both".into(),
            (true, false) => return "no verdict: the client was the bottleneck of A".into(),
            (false, true) => return "no verdict: the client was the bottleneck of B".into(),
        }
    }
    let estimates =
        |metric: &Metric| Some(Estimates { median: metric.median, low: metric.low?, high: metric.high? });
    let (Some(of_a_found), Some(of_b_found)) = (estimates(of_a), estimates(of_b)) else {
        return "no verdict: too few runs".into();
    };
    match verdict(of_a_found, of_b_found, of_a.better) {
        Verdict::Overlap => "no verdict: the intervals overlap".into(),
        Verdict::Better { b_wins, percent, least, most } => {
            let (winner, way) =
                (if b_wins { "B" } else { "A" }, if percent < 0.0 { "lower" } else { "higher" });
            let [percent, least, most] = [percent, least, most].map(f64::abs);
            let (least, most) = (least.min(most), least.max(most));
            format!("{winner} is better: B is {percent:.1} % {way} ({least:.1} to {most:.1} %)")
        }
    }
}

/// Is this number worse when the generator is slow?
fn is_pace(name: &str) -> bool {
    ["goodput", "requests_per_second", "latency", "longest_stall"].iter().any(|start| name.starts_with(start))
}

fn shown(metric: &Metric) -> String {
    let show = |value| show_metric(&metric.name, value);
    let interval = metric.low.zip(metric.high);
    let interval = interval.map(|(low, high)| format!(" [{} .. {}]", show(low), show(high)));
    show(metric.median) + &interval.unwrap_or_default()
}
