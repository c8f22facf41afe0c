//! From what all workers and the server counted to one report.
//!
//! Owns the sums over connections, the shares, and which end is the data sender. Pure: numbers in, report out.

use std::time::Duration;

use braid_quic::RouteId;

use super::environment::Environment;
use super::{Cpu, End, Latency, Path, Report, Requests, RttUs, SCHEMA, bits_per_second, whole_us};
use crate::client::PathResult;
use crate::measure::Measure;
use crate::plan::Shape;
use crate::server_side::ServerSide;
use crate::tally::{Side, State};

/// Everything that a run left behind.
pub(crate) struct Findings<'a> {
    pub(crate) shape: Shape,
    pub(crate) duration: Duration,
    pub(crate) paths: usize,
    pub(crate) measure: &'a Measure,
    /// By connection, then by path.
    pub(crate) connections: &'a [Vec<PathResult>],
    pub(crate) client_cpu_s: Option<f64>,
    /// The server at the begin and at the end of the measurement.
    pub(crate) server: Option<(ServerSide, ServerSide)>,
    pub(crate) environment: Environment,
}

/// One path ID over all connections.
struct Sum {
    route: Option<RouteId>,
    client: Side,
    server: Option<Side>,
    state: State,
}

impl Findings<'_> {
    /// The report.
    pub(crate) fn report(self) -> Report {
        let sums: Vec<Sum> = (0..self.paths).map(|index| self.sum(index)).collect();
        let bytes = self.bytes(&sums);
        let total: u64 = bytes.iter().sum();
        let paths = sums.iter().zip(&bytes).enumerate();
        let measure = self.measure;
        let completed = measure.completed();
        let cpu_since = |(begin, end): &(ServerSide, ServerSide)| end.cpu_since(begin);
        Report {
            schema: SCHEMA,
            goodput_bps: bits_per_second(total, self.duration),
            duration_s: self.duration.as_secs_f64(),
            requests: Requests {
                completed,
                failed: measure.failures().total(),
                per_second: completed as f64 / self.duration.as_secs_f64(),
            },
            latency_us: Latency {
                p50: measure.latency_us(50.0),
                p90: measure.latency_us(90.0),
                p99: measure.latency_us(99.0),
                p999: measure.latency_us(99.9),
                max: measure.latency_us(100.0),
            },
            paths: paths.map(|(index, (sum, &bytes))| self.path(index, sum, bytes, total)).collect(),
            longest_stall_us: whole_us(measure.longest_stall()),
            cpu: Cpu { client_s: self.client_cpu_s, server_s: self.server.as_ref().and_then(cpu_since) },
            environment: self.environment,
        }
    }

    fn sum(&self, index: usize) -> Sum {
        let paths = || self.connections.iter().filter_map(|paths| paths.get(index));
        let way = |path: &PathResult| (path.route.local().ip(), path.route.remote());
        // Where connections took different ways, no address speaks for all.
        let one = paths().next().filter(|first| paths().all(|path| way(path) == way(first)));
        let route = one.map(|path| path.route);
        let mut sum = Sum { route, client: Side::default(), server: None, state: State::Open };
        for path in paths() {
            sum.client = sum.client.plus(&path.side);
            sum.state = sum.state.max(path.state);
        }
        sum.server = self.server.as_ref().and_then(|(begin, end)| end.path_since(index, begin));
        sum
    }

    /// Stream bytes that each path was the first to bring, both directions.
    ///
    /// What an upload brought only the server knows. If it does not tell, the bytes that our streams took are
    /// spread as the paths sent.
    fn bytes(&self, sums: &[Sum]) -> Vec<u64> {
        let downloaded = sums.iter().map(|sum| sum.client.counts.stream_bytes_received);
        if self.shape.upload_bytes == 0 {
            return downloaded.collect();
        }
        let told: Option<Vec<u64>> =
            sums.iter().map(|sum| sum.server.map(|server| server.counts.stream_bytes_received)).collect();
        let uploaded = told.unwrap_or_else(|| {
            let sent: Vec<u64> = sums.iter().map(|sum| sum.client.counts.stream_bytes_sent).collect();
            spread(self.measure.uploaded_bytes(), &sent)
        });
        downloaded.zip(uploaded).map(|(down, up)| down + up).collect()
    }

    fn path(&self, index: usize, sum: &Sum, bytes: u64, total: u64) -> Path {
        let (client, server) = (Some(&sum.client), sum.server.as_ref());
        let (sender, receiver) = if self.shape.is_download() { (server, client) } else { (client, server) };
        Path {
            id: index as u32,
            local: sum.route.map(|route| route.local().to_string()),
            remote: sum.route.map(|route| route.remote().to_string()),
            goodput_bps: bits_per_second(bytes, self.duration),
            share: if total == 0 { 0.0 } else { bytes as f64 / total as f64 },
            packets_sent: sum.client.counts.packets_sent,
            packets_received: sum.client.counts.packets_received,
            packets_lost: sender.map(|side| side.counts.packets_lost),
            rtt_us: RttUs::new(sender.map(|side| &side.rtt)),
            state: sum.state.name(),
            sender: End::new(sender),
            receiver: End::new(receiver),
        }
    }
}

/// `total` in the proportions of `weights`, rounded down.
fn spread(total: u64, weights: &[u64]) -> Vec<u64> {
    let all: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let part = |&weight: &u64| (u128::from(total) * u128::from(weight)).checked_div(all).unwrap_or(0) as u64;
    weights.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use braid_quic::{Instant, LocalId};
    use braid_server::ServerStats;
    use braid_server::stats::{ConnectionView, PathView};

    use super::*;
    use crate::measure::Window;
    use crate::tally::Counts;

    const SECOND: Duration = Duration::from_secs(1);

    fn path(index: u8, received: u64, sent: u64, state: State) -> PathResult {
        let local = format!("127.0.0.{}:1000", index + 1).parse().unwrap();
        let counts = Counts {
            stream_bytes_received: received,
            stream_bytes_sent: sent,
            packets_received: received / 1000,
            packets_lost: 3,
            ..Counts::default()
        };
        PathResult {
            route: RouteId::new(LocalId(index.into()), local, "127.0.0.1:4433".parse().unwrap()),
            side: Side { counts, ..Side::default() },
            state,
        }
    }

    fn server(paths: &[(u64, u64)]) -> ServerSide {
        let view = |(id, &(packets_lost, stream_bytes_received)): (usize, &(u64, u64))| PathView {
            id: id as u32,
            packets_lost,
            stream_bytes_received,
            ..PathView::default()
        };
        let paths = paths.iter().enumerate().map(view).collect();
        let connections = vec![ConnectionView { paths, ..ConnectionView::default() }];
        ServerSide::of(&ServerStats { connections, ..ServerStats::default() })
    }

    fn report(
        shape: Shape,
        connections: &[Vec<PathResult>],
        server: Option<(ServerSide, ServerSide)>,
    ) -> Report {
        let mut measure = Measure::new();
        measure.open(Window::new(Instant::ZERO, Duration::ZERO, SECOND));
        measure.on_uploaded(4000, Instant::ZERO);
        let environment = Environment::here("uring", true);
        let findings = Findings {
            shape,
            duration: SECOND,
            paths: 2,
            measure: &measure,
            connections,
            client_cpu_s: Some(0.5),
            server,
            environment,
        };
        findings.report()
    }

    const DOWNLOAD: Shape = Shape { download_bytes: 1 << 30, upload_bytes: 0 };
    const UPLOAD: Shape = Shape { download_bytes: 0, upload_bytes: 1 << 30 };

    #[test]
    fn connections_sum_up_by_path() {
        let connections = [
            vec![path(0, 6000, 8, State::Open), path(1, 1000, 0, State::Open)],
            vec![path(0, 2000, 8, State::Open), path(1, 1000, 0, State::Suspect)],
        ];
        let report = report(DOWNLOAD, &connections, None);
        assert_eq!(report.goodput_bps, 80_000);
        let [first, second] = &report.paths[..] else { panic!() };
        assert_eq!((first.goodput_bps, first.share, first.state), (64_000, 0.8, "open"));
        assert_eq!((second.goodput_bps, second.share, second.state), (16_000, 0.2, "suspect"));
        assert_eq!(first.packets_received, 8);
        assert_eq!(second.local.as_deref(), Some("127.0.0.2:1000"));
    }

    #[test]
    fn losses_are_those_of_the_data_sender_and_null_where_it_does_not_tell() {
        let connections = [vec![path(0, 6000, 8, State::Open), path(1, 1000, 0, State::Open)]];
        let lost = |report: &Report| report.paths[0].packets_lost;
        assert_eq!(lost(&report(DOWNLOAD, &connections, None)), None);
        let told = (server(&[(10, 0), (0, 0)]), server(&[(17, 0), (0, 0)]));
        assert_eq!(lost(&report(DOWNLOAD, &connections, Some(told))), Some(7));
        assert_eq!(lost(&report(UPLOAD, &connections, None)), Some(3));
    }

    #[test]
    fn an_upload_is_what_the_server_got_or_else_what_we_handed_over() {
        let connections = [vec![path(0, 0, 300, State::Open), path(1, 0, 100, State::Open)]];
        let told = (server(&[(0, 100), (0, 0)]), server(&[(0, 1100), (0, 3000)]));
        let report_told = report(UPLOAD, &connections, Some(told));
        assert_eq!((report_told.goodput_bps, report_told.paths[1].share), (32_000, 0.75));
        let report_guessed = report(UPLOAD, &connections, None);
        assert_eq!((report_guessed.goodput_bps, report_guessed.paths[1].share), (32_000, 0.25));
    }

    #[test]
    fn a_path_that_is_not_the_same_way_for_all_connections_has_no_addresses() {
        let connections = [
            vec![path(0, 0, 0, State::Open), path(1, 0, 0, State::Open)],
            vec![path(0, 0, 0, State::Open), path(2, 0, 0, State::Open)],
        ];
        let report = report(DOWNLOAD, &connections, None);
        assert_eq!(report.paths[0].local.as_deref(), Some("127.0.0.1:1000"));
        assert_eq!((&report.paths[1].local, &report.paths[1].remote), (&None, &None));
    }

    #[test]
    fn a_run_that_got_nowhere_has_no_shares_and_no_addresses() {
        let report = report(DOWNLOAD, &[], None);
        assert_eq!((report.goodput_bps, report.paths.len(), report.paths[0].share), (0, 2, 0.0));
        assert_eq!(report.paths[0].local, None);
    }

    #[test]
    fn spreading_keeps_proportions_and_survives_zero() {
        assert_eq!(spread(100, &[1, 3]), [25, 75]);
        assert_eq!(spread(100, &[0, 0]), [0, 0]);
        assert_eq!(spread(u64::MAX, &[u64::MAX, 0]), [u64::MAX, 0]);
    }
}
