//! A design: one line of CSV for each pair of paths that a sweep simulates.
//!
//! Owns the columns, what values make sense, and the sentences about a file that does not. Simulates nothing (`row`
//! does).

use std::collections::HashSet;

/// The columns, in the order in which files of ours have them; a file may have them in any order.
pub(crate) const COLUMNS: [&str; 9] = [
    "id",
    "bw0_mbps",
    "rtt0_ms",
    "qdelay0_ms",
    "loss0_pct",
    "bw1_mbps",
    "rtt1_ms",
    "qdelay1_ms",
    "loss1_pct",
];
/// The highest rate that is simulated; beyond this a row takes minutes.
const RATE_MAX_MBPS: f64 = 100_000.0;
/// The lowest rate: below, not even a handshake completes before its time limit.
const RATE_MIN_MBPS: f64 = 0.001;
/// A minute of delay is more than any network has.
const DELAY_MAX_MS: f64 = 60_000.0;

/// Two paths between a client and a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    /// The name of the row, as the file spells it.
    pub(crate) id: String,
    /// Path 0, which carries the handshake, and path 1.
    pub(crate) paths: [Path; 2],
}

/// One path, both directions alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Path {
    /// Capacity in Mbit of UDP payload per second.
    pub(crate) rate_mbps: f64,
    /// Round trip without queueing, in milliseconds.
    pub(crate) rtt_ms: f64,
    /// What a full queue adds to it beyond one round trip's worth, in milliseconds.
    pub(crate) queue_ms: f64,
    /// Datagrams lost at random, in percent, in each direction.
    pub(crate) loss_pct: f64,
}

/// Reads a whole file; an error says where and what is allowed.
pub(crate) fn read(text: &str) -> Result<Vec<Pair>, String> {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| error.to_string())?.clone();
    let places = places(&headers)?;
    let mut ids = HashSet::new();
    let mut pairs = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| shown(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let pair = pair(&record, &places).map_err(|what| format!("line {line}: {what}"))?;
        if !ids.insert(pair.id.clone()) {
            return Err(format!("line {line}: id `{}` stands in an earlier line too", pair.id));
        }
        pairs.push(pair);
    }
    if pairs.is_empty() { Err("has no row below its header".to_owned()) } else { Ok(pairs) }
}

/// Where in a record each of `COLUMNS` stands.
fn places(headers: &csv::StringRecord) -> Result<[usize; COLUMNS.len()], String> {
    let expected = || format!("; the columns are {}", COLUMNS.join(","));
    for (index, name) in headers.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            return Err(format!("line 1: unknown column `{name}`{}", expected()));
        }
        if headers.iter().take(index).any(|earlier| earlier == name) {
            return Err(format!("line 1: column `{name}` stands there twice"));
        }
    }
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let found = headers.iter().position(|name| name == column);
        *place = found.ok_or_else(|| format!("line 1: column `{column}` is missing{}", expected()))?;
    }
    Ok(places)
}

fn pair(record: &csv::StringRecord, places: &[usize; COLUMNS.len()]) -> Result<Pair, String> {
    let id = &record[places[0]];
    if id.is_empty() {
        return Err("the id is empty".to_owned());
    }
    let number = |column: usize, least: f64, most: f64| {
        let text = &record[places[column]];
        let value = text.parse().unwrap_or(f64::NAN);
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(format!("{} is `{text}`, not a number from {least} to {most}", COLUMNS[column]))
    };
    let path = |first: usize| {
        Ok::<_, String>(Path {
            rate_mbps: number(first, RATE_MIN_MBPS, RATE_MAX_MBPS)?,
            rtt_ms: number(first + 1, 0.0, DELAY_MAX_MS)?,
            queue_ms: number(first + 2, 0.0, DELAY_MAX_MS)?,
            loss_pct: number(first + 3, 0.0, 100.0)?,
        })
    };
    Ok(Pair { id: id.to_owned(), paths: [path(1)?, path(5)?] })
}

/// What the CSV reader found, in words that do not need its documentation.
fn shown(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line}: {len} values where the header has {expected_len} columns")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,bw0_mbps,rtt0_ms,qdelay0_ms,loss0_pct,bw1_mbps,rtt1_ms,qdelay1_ms,loss1_pct\n";

    fn error(rows: &str) -> String {
        read(&format!("{HEADER}{rows}")).unwrap_err()
    }

    #[test]
    fn a_line_is_a_pair_of_paths() {
        let pairs =
            read(&format!("{HEADER}a1,10,20.5,30,0.1,40,50,60,2.5\n# aside\n\n2,1,0,0,0,2,0,0,0\n")).unwrap();
        let first = Path { rate_mbps: 10.0, rtt_ms: 20.5, queue_ms: 30.0, loss_pct: 0.1 };
        let second = Path { rate_mbps: 40.0, rtt_ms: 50.0, queue_ms: 60.0, loss_pct: 2.5 };
        assert_eq!(pairs[0], Pair { id: "a1".into(), paths: [first, second] });
        assert_eq!((pairs.len(), pairs[1].id.as_str()), (2, "2"));
    }

    #[test]
    fn columns_may_stand_in_any_order_and_have_spaces() {
        let text = "loss1_pct, qdelay1_ms, rtt1_ms, bw1_mbps, loss0_pct, qdelay0_ms, rtt0_ms, bw0_mbps, id
            8, 7, 6, 5, 4, 3, 2, 1, x";
        let pair = &read(text).unwrap()[0];
        assert_eq!((pair.paths[0].rate_mbps, pair.paths[0].loss_pct), (1.0, 4.0));
        assert_eq!((pair.paths[1].rate_mbps, pair.paths[1].loss_pct), (5.0, 8.0));
    }

    #[test]
    fn a_wrong_header_names_the_column_and_all_that_belong_there() {
        let unknown = read("id,bandwidth\n1,2\n").unwrap_err();
        assert!(unknown.contains("`bandwidth`") && unknown.contains("bw0_mbps,rtt0_ms"), "{unknown}");
        let missing = read(&HEADER.replace(",loss1_pct", "")).unwrap_err();
        assert!(missing.contains("`loss1_pct` is missing"), "{missing}");
        assert!(read(&HEADER.replace("rtt1", "rtt0")).unwrap_err().contains("twice"));
        assert!(read("").unwrap_err().contains("`id` is missing"));
        assert!(error("").contains("no row"));
    }

    #[test]
    fn a_wrong_value_names_line_column_and_range() {
        let found = error("1,10,20,30,0,10,20,30,0\n2,fast,20,30,0,10,20,30,0\n");
        assert_eq!(found, "line 3: bw0_mbps is `fast`, not a number from 0.001 to 100000");
        assert!(error("1,0,20,30,0,10,20,30,0\n").contains("bw0_mbps"));
        assert!(error("1,10,-1,30,0,10,20,30,0\n").contains("rtt0_ms is `-1`"));
        assert!(
            error("1,10,20,30,0,10,20,30,101\n").contains("loss1_pct is `101`, not a number from 0 to 100")
        );
        assert!(error("1,10,20,30,0,10,20,nan,0\n").contains("qdelay1_ms"));
        assert!(error(",10,20,30,0,10,20,30,0\n").contains("id is empty"));
    }

    #[test]
    fn short_lines_and_repeated_ids_are_refused() {
        assert_eq!(error("1,10,20\n"), "line 2: 3 values where the header has 9 columns");
        assert!(
            error("1,10,20,30,0,10,20,30,0\n1,9,9,9,0,9,9,9,0\n").contains("`1` stands in an earlier line")
        );
    }
}
