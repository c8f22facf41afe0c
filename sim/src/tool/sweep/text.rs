//! A sweep as people read it: all rows, the distribution of the benefit, the worst ten.
//!
//! Owns the layout only; every number comes from the `Report`.

use std::fmt::Write as _;

use super::{Report, Row};
use crate::tool::table::{Side, Table, decimal};

/// How many of the worst rows are named again.
const WORST: usize = 10;
const COLUMNS: [(&str, Side); 7] = [
    ("id", Side::Left),
    ("both, s", Side::Right),
    ("path 0, s", Side::Right),
    ("path 1, s", Side::Right),
    ("bound, s", Side::Right),
    ("EBen", Side::Right),
    ("", Side::Left),
];

/// The whole text, with a newline at the end.
pub(super) fn text(report: &Report) -> String {
    let mut text = table(report.rows.iter());
    let mut worst: Vec<&Row> = report.rows.iter().collect();
    // Rows without a benefit are the very worst: not one run over a single path completed.
    worst.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let count = worst.len().min(WORST);
    write!(text, "\nThe worst {count}\n\n{}\n", table(worst.into_iter().take(count)))
        .expect("a string takes everything");
    for (name, line) in [
        ("EBen", distribution(report)),
        ("above 0", format!("{:.1} % of the rows", report.share_above_zero * 100.0)),
        ("rows", rows(report)),
        ("each run", settings(report)),
    ] {
        writeln!(text, "{name:<10}{line}").expect("a string takes everything");
    }
    text
}

fn table<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut table = Table::new(&COLUMNS);
    for row in rows {
        let mark = if row.failures.is_empty() { "" } else { "incomplete" };
        table.row([
            row.id.clone(),
            decimal(row.t_both_s, 3),
            decimal(row.t0_s, 3),
            decimal(row.t1_s, 3),
            decimal(Some(row.bound_s), 3),
            decimal(row.eben, 3),
            mark.to_owned(),
        ]);
    }
    table.text()
}

fn key(row: &Row) -> f64 {
    row.eben.unwrap_or(f64::NEG_INFINITY)
}

fn distribution(report: &Report) -> String {
    let Some(at) = report.eben else { return "no row has one".to_owned() };
    format!("min {:.3}, quartiles {:.3}, {:.3}, {:.3}, max {:.3}", at.min, at.q1, at.median, at.q3, at.max)
}

fn rows(report: &Report) -> String {
    let all = report.rows.len();
    match report.rows_incomplete {
        0 => format!("{all}, all complete"),
        some => format!("{all}, {some} with runs that did not complete"),
    }
}

fn settings(report: &Report) -> String {
    let seeds: Vec<String> = report.seeds.iter().map(u64::to_string).collect();
    format!(
        "{} bytes, {}, {}, queue in {}, seeds {}",
        report.size_bytes,
        report.scheduler,
        report.congestion,
        report.queue,
        seeds.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::sweep::quartiles;

    fn row(id: &str, eben: Option<f64>) -> Row {
        let (t_both_s, t0_s, t1_s) = (Some(1.5), Some(2.0), None);
        let failures = if eben.is_some() { Vec::new() } else { vec!["over path 1, seed 1: no".to_owned()] };
        Row { id: id.to_owned(), t_both_s, t0_s, t1_s, eben, bound_s: 1.25, failures }
    }

    #[test]
    fn all_rows_stand_in_order_and_the_worst_again() {
        let report = Report {
            schema: 1,
            size_bytes: 20_000_000,
            scheduler: "min-rtt".to_owned(),
            congestion: "cubic".to_owned(),
            queue: "bytes",
            seeds: vec![1, 2],
            rows: vec![row("a", Some(0.5)), row("b", Some(-0.25)), row("c", None)],
            share_above_zero: 1.0 / 3.0,
            rows_incomplete: 1,
            eben: quartiles(&[0.5, -0.25]),
        };
        let expected = "\
id  both, s  path 0, s  path 1, s  bound, s    EBen
a     1.500      2.000          -     1.250   0.500
b     1.500      2.000          -     1.250  -0.250
c     1.500      2.000          -     1.250       -  incomplete

The worst 3

id  both, s  path 0, s  path 1, s  bound, s    EBen
c     1.500      2.000          -     1.250       -  incomplete
b     1.500      2.000          -     1.250  -0.250
a     1.500      2.000          -     1.250   0.500

EBen      min -0.250, quartiles -0.062, 0.125, 0.312, max 0.500
above 0   33.3 % of the rows
rows      3, 1 with runs that did not complete
each run  20000000 bytes, min-rtt, cubic, queue in bytes, seeds 1,2
";
        assert_eq!(text(&report), expected);
    }
}
