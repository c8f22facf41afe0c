//! Tables for people: columns as wide as their widest cell.
//!
//! Owns the layout only. A cell without a value is a dash, and what it means is the caller's business.

/// What stands for a number that does not exist.
pub(crate) const NONE: &str = "-";

/// Which side of its column a cell keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells below headings.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&str, Side)]) -> Self {
        let (headings, sides) = columns.iter().map(|&(heading, side)| (heading.to_owned(), side)).unzip();
        Self { sides, rows: vec![headings] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.sides.len());
        self.rows.push(row);
    }

    /// The text, each line with its end and without trailing spaces.
    pub(crate) fn text(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.sides).zip(&widths).map(|((cell, side), &width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

/// A number with this many decimals, or a dash.
pub(crate) fn decimal(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("path", Side::Left), ("bytes", Side::Right), ("state", Side::Left)]);
        table.row(["wi-fi".to_owned(), "7".to_owned(), "open".to_owned()]);
        table.row(["0".to_owned(), "1000000".to_owned(), String::new()]);
        assert_eq!(table.text(), "path     bytes  state\nwi-fi        7  open\n0      1000000\n");
    }

    #[test]
    fn what_does_not_exist_is_a_dash() {
        assert_eq!(decimal(Some(1.2345), 2), "1.23");
        assert_eq!(decimal(None, 2), "-");
    }
}
