//! The numbers of a report that runs are compared by, and what several runs say of each.
//!
//! Owns their names, which way is better, and what each is made of. Whether a difference is one is `compare`'s.

use serde::Serialize;

use super::Report;
use crate::estimate::estimate;

/// Which way a number is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One number over all runs of a command.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) better: Better,
    pub(crate) median: f64,
    /// The ends of the interval for the true median; `null` for fewer than 6 runs.
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// How often such an interval holds.
    pub(crate) confidence: Option<f64>,
    /// Run by run.
    pub(crate) values: Vec<f64>,
}

/// All runs of a command.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Series {
    pub(crate) runs: usize,
    /// Those that every run has.
    pub(crate) metrics: Vec<Metric>,
}

type Read = fn(&Report) -> Option<f64>;

/// Each number, which way it is better, and where it is found. The first that a run has is what it is ranked by.
const ALL: [(&str, Better, Read); 15] = [
    ("goodput_bps", Better::Higher, |report| Some(report.goodput_bps as f64).filter(|&rate| rate > 0.0)),
    ("requests_per_second", Better::Higher, |report| {
        Some(report.requests.per_second).filter(|&rate| rate > 0.0)
    }),
    ("latency_p50_us", Better::Lower, |report| report.latency_us.p50.map(|us| us as f64)),
    ("latency_p99_us", Better::Lower, |report| report.latency_us.p99.map(|us| us as f64)),
    ("latency_p999_us", Better::Lower, |report| report.latency_us.p999.map(|us| us as f64)),
    ("longest_stall_us", Better::Lower, |report| {
        Some(report.longest_stall_us as f64).filter(|&stall| stall > 0.0)
    }),
    ("server_gb_per_cpu_s", Better::Higher, |report| per(report.gigabits(), report.cpu.server_s)),
    ("server_requests_per_cpu_s", Better::Higher, |report| {
        per(report.requests.completed as f64, report.cpu.server_s)
    }),
    ("client_gb_per_cpu_s", Better::Higher, |report| per(report.gigabits(), report.cpu.client_s)),
    ("client_requests_per_cpu_s", Better::Higher, |report| {
        per(report.requests.completed as f64, report.cpu.client_s)
    }),
    ("ceiling_sender", Better::Higher, |report| report.ceiling.as_ref()?.sender),
    ("ceiling_receiver", Better::Higher, |report| report.ceiling.as_ref()?.receiver),
    ("datagram_loss", Better::Lower, |report| report.datagrams.as_ref()?.loss),
    ("server_syscalls_per_packet", Better::Lower, |report| {
        let totals = &report.server.as_ref()?.totals;
        let packets = totals.packets_received + totals.packets_sent;
        per((totals.enters + totals.other_syscalls) as f64, Some(packets as f64))
    }),
    ("server_memory_per_connection_bytes", Better::Lower, |report| {
        report.server.as_ref()?.memory_per_connection_bytes
    }),
];

/// What all runs say of each number; the report of the median run leads.
pub(crate) fn summarize(mut reports: Vec<Report>) -> Option<Report> {
    let metrics: Vec<Metric> = ALL.iter().filter_map(|metric| metric_of(metric, &reports)).collect();
    let median = median_run(metrics.first().map_or(&[], |metric| &metric.values));
    let runs = reports.len();
    let mut report = if median < runs { reports.swap_remove(median) } else { return None };
    report.series = Series { runs, metrics };
    Some(report)
}

fn metric_of((name, better, read): &(&'static str, Better, Read), reports: &[Report]) -> Option<Metric> {
    let values = reports.iter().map(read).collect::<Option<Vec<f64>>>()?;
    let found = estimate(&values)?;
    Some(Metric {
        name,
        better: *better,
        median: found.median,
        low: found.interval.map(|interval| interval.low),
        high: found.interval.map(|interval| interval.high),
        confidence: found.interval.map(|interval| interval.confidence),
        values,
    })
}

/// The run in the middle; of an even number the lower one.
fn median_run(values: &[f64]) -> usize {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

fn per(amount: f64, cost: Option<f64>) -> Option<f64> {
    cost.filter(|&cost| cost > 0.0 && amount > 0.0).map(|cost| amount / cost)
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    fn reports(rates: &[u64]) -> Vec<Report> {
        rates.iter().map(|&goodput_bps| Report { goodput_bps, ..example() }).collect()
    }

    #[test]
    fn the_report_of_the_median_run_leads_and_has_the_numbers_of_all() {
        let report = summarize(reports(&[5, 1, 9, 7, 3, 11, 13])).unwrap();
        assert_eq!((report.goodput_bps, report.series.runs), (7, 7));
        let goodput = &report.series.metrics[0];
        assert_eq!((goodput.name, goodput.better), ("goodput_bps", Better::Higher));
        assert_eq!(goodput.values, [5.0, 1.0, 9.0, 7.0, 3.0, 11.0, 13.0]);
        assert_eq!((goodput.median, goodput.low, goodput.high), (7.0, Some(1.0), Some(13.0)));
        assert_eq!(summarize(reports(&[4, 1, 3, 2])).unwrap().goodput_bps, 2, "the lower of the middle two");
        assert!(summarize(Vec::new()).is_none());
    }

    #[test]
    fn one_run_has_values_and_no_interval() {
        let report = summarize(reports(&[8_000_000_000])).unwrap();
        let goodput = &report.series.metrics[0];
        assert_eq!((goodput.median, goodput.low, goodput.confidence), (8e9, None, None));
    }

    #[test]
    fn costs_are_for_cpu_seconds_and_what_a_run_lacks_is_left_out() {
        let value = |report: Report, name: &str| {
            let series = summarize(vec![report]).unwrap().series;
            series.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.median)
        };
        assert_eq!(value(example(), "server_gb_per_cpu_s"), Some(8.0), "40 Gb in 5 CPU seconds");
        assert_eq!(value(example(), "server_requests_per_cpu_s"), Some(0.8));
        assert_eq!(value(example(), "latency_p99_us"), Some(1_200_000.0));
        let mut quiet = example();
        (quiet.cpu.server_s, quiet.latency_us.p99) = (None, None);
        assert_eq!(value(quiet, "server_gb_per_cpu_s"), None);
        let mut partly = reports(&[1, 2]);
        partly[1].latency_us.p50 = None;
        let series = summarize(partly).unwrap().series;
        assert!(series.metrics.iter().all(|metric| metric.name != "latency_p50_us"), "not of every run");
    }
}
