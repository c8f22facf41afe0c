//! The race in one picture: a panel for each workload, a bar for each server, a whisker for its range.
//!
//! Owns the layout; the drawing is plotters'. Shows what the neutral client measured, over the first network.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::plan::{Client, Name, Network, Stack, word};
use crate::program::Failure;
use crate::record::Record;
use crate::report::{Cell, cells, meaning, number};
use crate::statistics::Summary;

const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (360, 230);
const MARGIN: i32 = 14;
const HEAD: i32 = 44;
/// Room for the names on the left and for the numbers on the right.
const LABELS: (i32, i32) = (52, 78);
const OURS: RGBColor = RGBColor(20, 110, 170);
const THEIRS: RGBColor = RGBColor(150, 160, 170);

type Bar = (Stack, Summary);
type Panel = (Name, Vec<Bar>);

/// Draws it; does nothing where there is nothing to show.
pub(crate) fn draw(records: &[Record], path: &Path) -> Result<(), Failure> {
    let panels = panels(records);
    if panels.is_empty() {
        return Ok(());
    }
    let rows = panels.len().div_ceil(COLUMNS);
    let columns = panels.len().min(COLUMNS);
    let size = (PANEL.0 * u32::try_from(columns)?, PANEL.1 * u32::try_from(rows)?);
    let root = SVGBackend::new(path, size).into_drawing_area();
    let fault =
        |error: &dyn std::fmt::Display| Failure::from(format!("cannot draw {}: {error}", path.display()));
    root.fill(&WHITE).map_err(|error| fault(&error))?;
    for (area, panel) in root.split_evenly((rows, columns)).iter().zip(&panels) {
        panel_in(area, panel).map_err(|error| fault(&error))?;
    }
    root.present().map_err(|error| fault(&error))
}

/// What the neutral client measured over the first network that there is.
fn panels(records: &[Record]) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    let network = records.iter().map(|record| record.network).min().unwrap_or(Network::Loopback);
    for ((at, name, server, client), cell) in &cells(records) {
        let Some(summary) = score_of(cell).filter(|_| *at == network && *client == Client::Neutral) else {
            continue;
        };
        match panels.last_mut().filter(|(last, _)| last == name) {
            Some((_, bars)) => bars.push((*server, summary)),
            None => panels.push((*name, vec![(*server, summary)])),
        }
    }
    panels
}

fn score_of(cell: &Cell<'_>) -> Option<Summary> {
    cell.score().filter(|summary| summary.most > 0.0)
}

fn panel_in<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    (name, bars): &Panel,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (width, height) = (i32::try_from(PANEL.0).unwrap_or(0), i32::try_from(PANEL.1).unwrap_or(0));
    let style = |size: i32, color: &RGBColor, horizontal| {
        let anchor = Pos::new(horizontal, VPos::Center);
        ("sans-serif", size).into_font().color(color).pos(anchor)
    };
    area.draw_text(&word(name), &style(15, &BLACK, HPos::Left), (MARGIN, MARGIN + 2))?;
    area.draw_text(
        meaning(name.unit()),
        &style(11, &RGBColor(90, 90, 90), HPos::Left),
        (MARGIN, MARGIN + 18),
    )?;
    let most = bars.iter().map(|(_, summary)| summary.most).fold(0.0, f64::max);
    let (left, right) = (MARGIN + LABELS.0, width - MARGIN - LABELS.1);
    let at = |value: f64| left + pixels(value / most, right - left);
    let step = (height - HEAD - MARGIN) / i32::try_from(bars.len().max(1)).unwrap_or(1);
    for (row, (server, summary)) in (0..).zip(bars) {
        let middle = HEAD + step * row + step / 2;
        let half = (step / 3).min(11);
        let color = if *server == Stack::Braid { OURS } else { THEIRS };
        let bar = [(left, middle - half), (at(summary.median), middle + half)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        let whisker = [(at(summary.least), middle), (at(summary.most), middle)];
        area.draw(&PathElement::new(whisker, BLACK.stroke_width(1)))?;
        area.draw_text(&word(server), &style(12, &BLACK, HPos::Right), (left - 5, middle))?;
        let text = number(name.unit(), summary.median);
        area.draw_text(&text, &style(12, &BLACK, HPos::Left), (at(summary.most) + 6, middle))?;
    }
    Ok(())
}

/// A part of some pixels.
#[expect(clippy::cast_possible_truncation, reason = "a part of a few hundred pixels")]
fn pixels(part: f64, of: i32) -> i32 {
    (part.clamp(0.0, 1.0) * f64::from(of)).round() as i32
}

#[cfg(test)]
mod tests {
    use interop_race::outcome::Outcome;

    use super::*;
    use crate::record::Measured;

    fn record(workload: Name, server: Stack, client: Client, operations: u64) -> Record {
        let outcome = Outcome { operations, bytes: operations, elapsed_s: 1.0, ..Outcome::default() };
        let measured = Some(Measured { outcome, server_cpu_s: 1.0, ..Measured::default() });
        Record {
            network: Network::Loopback,
            workload,
            server,
            client,
            repetition: 0,
            measured,
            skipped: None,
        }
    }

    #[test]
    fn a_panel_has_a_bar_for_each_server_that_the_neutral_client_measured() {
        let records = [
            record(Name::Requests, Stack::Quinn, Client::Neutral, 100),
            record(Name::Requests, Stack::Braid, Client::Neutral, 200),
            record(Name::Requests, Stack::Braid, Client::Own, 900),
            record(Name::Handshakes, Stack::Braid, Client::Neutral, 0),
        ];
        let panels = panels(&records);
        assert_eq!(panels.len(), 1, "nothing is shown of what came to nothing");
        let bars = panels[0].1.iter().map(|(server, summary)| (*server, summary.median)).collect::<Vec<_>>();
        assert_eq!(bars, [(Stack::Braid, 200.0), (Stack::Quinn, 100.0)]);
    }

    #[test]
    fn the_picture_names_servers_and_numbers() {
        let path = std::env::temp_dir().join(format!("rivals-{}.svg", std::process::id()));
        let records = [record(Name::Requests, Stack::Noq, Client::Neutral, 181_234)];
        draw(&records, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for wanted in ["<svg", "noq", "requests", "181 k"] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
    }

    #[test]
    fn a_part_stays_within_its_panel() {
        assert_eq!([pixels(0.5, 100), pixels(2.0, 100), pixels(-1.0, 100)], [50, 100, 0]);
    }
}
