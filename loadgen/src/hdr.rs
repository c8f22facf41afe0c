//! Interval logs of `HdrHistogram`: the latencies of each second, in the format that the tools around it read.
//!
//! Owns the file's head and its lines. Values are microseconds, and so says a comment; the maximum that stands in clear
//! beside each histogram is milliseconds. What is recorded is `measure`'s.

use std::io::Write;
use std::time::SystemTime;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::measure::Latencies;
use crate::measure::intervals::{INTERVAL, Intervals};

/// The maximum in clear is in milliseconds, as those tools expect.
const MAX_VALUE_DIVISOR: f64 = 1000.0;

/// The latencies of one run.
pub(crate) struct Run<'a> {
    /// When the measured time began.
    pub(crate) began: SystemTime,
    pub(crate) intervals: &'a Intervals,
}

/// Writes all runs one after the other; if there are several, each has a tag of its own, `run-1` and so on.
pub(crate) fn write(sink: &mut impl Write, runs: &[Run<'_>]) -> Result<(), String> {
    let first = runs.first().map_or(SystemTime::UNIX_EPOCH, |run| run.began);
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Latencies in microseconds, logged with loadgen]")
        .with_start_time(first)
        .with_base_time(first)
        .with_max_value_divisor(MAX_VALUE_DIVISOR);
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let mut log = builder.begin_log_with(sink, &mut serializer).map_err(|error| told(&error))?;
    for (number, run) in (1..).zip(runs) {
        let name = format!("run-{number}");
        let tag = if runs.len() > 1 { Tag::new(&name) } else { None };
        let mut start = run.began.duration_since(first).unwrap_or_default();
        for counts in run.intervals.iter() {
            let mut latencies = Latencies::default();
            for &(us, count) in counts {
                latencies.record_many_us(us, count);
            }
            let histogram = latencies.histogram();
            log.write_histogram(histogram, start, INTERVAL, tag).map_err(|error| told(&error))?;
            start += INTERVAL;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use braid_quic::Instant;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::measure::{Measure, Window};

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn measured() -> Measure {
        let mut measure = Measure::new().with_intervals();
        measure.open(Window::new(at(0), Duration::ZERO, Duration::from_secs(10)));
        measure.on_completed(at(0), at(5));
        measure.on_completed(at(0), at(5));
        measure.on_completed(at(2000), at(2100));
        let mut all = Measure::new().with_intervals();
        all.merge(&measure);
        all
    }

    fn read(log: &[u8]) -> Vec<(Option<String>, Duration, Histogram<u64>)> {
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(log) {
            if let LogEntry::Interval(interval) = entry.expect("every line is read") {
                let octets = base64(interval.encoded_histogram());
                let histogram = Deserializer::new().deserialize(&mut octets.as_slice()).expect("a histogram");
                let tag = interval.tag().map(|tag| tag.as_str().to_owned());
                found.push((tag, interval.start_timestamp(), histogram));
            }
        }
        found
    }

    /// RFC 4648 §4.
    fn base64(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digit = |sign: u8| ALPHABET.iter().position(|&it| it == sign).expect("a digit") as u32;
        let (mut octets, mut bits, mut count) = (Vec::new(), 0_u32, 0);
        for sign in text.bytes().filter(|&sign| sign != b'=') {
            (bits, count) = ((bits << 6) | digit(sign), count + 6);
            if count >= 8 {
                count -= 8;
                octets.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        octets
    }

    #[test]
    fn every_second_is_a_line_that_the_librarys_reader_reads_back() {
        let measure = measured();
        let run = Run { began: SystemTime::UNIX_EPOCH, intervals: measure.intervals().unwrap() };
        let mut log = Vec::new();
        write(&mut log, &[run]).unwrap();
        assert!(String::from_utf8_lossy(&log).contains("microseconds"));
        let seconds = read(&log);
        let starts: Vec<_> = seconds.iter().map(|(_, start, _)| start.as_secs()).collect();
        let counts: Vec<_> = seconds.iter().map(|(_, _, histogram)| histogram.len()).collect();
        assert_eq!((starts, counts), (vec![0, 1, 2], vec![2, 0, 1]));
        assert_eq!(seconds[0].2.value_at_percentile(50.0) / 10, 500);
        assert!(seconds.iter().all(|(tag, ..)| tag.is_none()));
    }

    #[test]
    fn several_runs_are_told_apart_by_their_tags() {
        let measure = measured();
        let run = |secs| Run {
            began: SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
            intervals: measure.intervals().unwrap(),
        };
        let mut log = Vec::new();
        write(&mut log, &[run(0), run(60)]).unwrap();
        let seconds = read(&log);
        assert_eq!(seconds.len(), 6);
        assert_eq!((seconds[3].0.as_deref(), seconds[3].1.as_secs()), (Some("run-2"), 60));
    }
}
