//! From what all workers and the server counted to one report.
//!
//! Owns the sums over connections, the shares, which end is the data sender, and the part of the ceiling that was
//! reached. Pure: numbers in, report out.

use braid_quic::RouteId;

use super::environment::Environment;
use super::limit::{self, Kept};
use super::metrics::Series;
use super::settings::Settings;
use super::{
    CeilingShare, Cpu, Datagrams, End, Handshakes, Lag, Latency, OpenLoop, Path, Report, Requests, RttUs,
    SCHEMA, Server, bits_per_second, whole_us,
};
use crate::ceiling::Sealed;
use crate::client::{PathResult, Spent};
use crate::load::{Load, Pace, Work};
use crate::measure::Measure;
use crate::server_side::ServerSide;
use crate::tally::{Side, State};

/// Everything that a run left behind.
pub(crate) struct Findings<'a> {
    pub(crate) load: &'a Load,
    pub(crate) settings: Settings,
    /// The server ran in this process.
    pub(crate) inside: bool,
    pub(crate) paths: usize,
    pub(crate) measure: &'a Measure,
    /// By connection, then by path.
    pub(crate) connections: &'a [Vec<PathResult>],
    /// By worker.
    pub(crate) client_spent: &'a [Spent],
    /// The server before the first connection came.
    pub(crate) before: Option<ServerSide>,
    /// The server at the begin and at the end of the measurement.
    pub(crate) server: Option<(ServerSide, ServerSide)>,
    pub(crate) ceiling: Option<Ceiling>,
    pub(crate) environment: Environment,
}

/// This machine's own limit, measured beside the run.
#[derive(Clone, Debug)]
pub(crate) struct Ceiling {
    /// Whose code protected the data sender's packets.
    pub(crate) packet_protection: String,
    pub(crate) datagram_bytes: u16,
    pub(crate) in_use: Sealed,
    pub(crate) aws_lc_rs: Sealed,
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
        let paths: Vec<Path> =
            paths.map(|(index, (sum, &bytes))| self.path(index, sum, bytes, total)).collect();
        let measure = self.measure;
        let duration = self.load.duration;
        let completed = measure.completed();
        let cpu = self.cpu();
        let open_loop = self.open_loop();
        let kept = open_loop.as_ref().map(|open_loop| Kept {
            offered: open_loop.offered,
            left: open_loop.unstarted + open_loop.refused,
            lag_p99_us: open_loop.lag_us.p99.unwrap_or(0),
        });
        let is_loaded = self.load.connections > 0;
        Report {
            schema: SCHEMA,
            workload: self.load.name(),
            goodput_bps: bits_per_second(total, duration),
            duration_s: duration.as_secs_f64(),
            requests: Requests {
                completed,
                failed: measure.failures().total(),
                per_second: completed as f64 / duration.as_secs_f64(),
            },
            latency_us: Latency {
                p50: measure.latency_us(50.0),
                p90: measure.latency_us(90.0),
                p99: measure.latency_us(99.0),
                p999: measure.latency_us(99.9),
                max: measure.latency_us(100.0),
            },
            paths,
            longest_stall_us: whole_us(measure.longest_stall()),
            limited_by: limit::verdict(cpu.client_taken(), cpu.server_taken(), kept).filter(|_| is_loaded),
            server: self.server(),
            open_loop,
            datagrams: self.datagrams(),
            handshakes: self.load.churns().then(|| {
                let resumed = measure.handshakes_resumed();
                Handshakes { full: completed - resumed, resumed }
            }),
            ceiling: self.ceiling.as_ref().map(|ceiling| self.share(ceiling, total, &cpu)),
            cpu,
            series: Series::default(),
            settings: self.settings,
            environment: self.environment,
        }
    }

    fn cpu(&self) -> Cpu {
        let server = self.server.as_ref().map(|(begin, end)| end.spent_since(begin)).unwrap_or_default();
        let all = |threads: &[Spent], of: fn(&Spent) -> Option<f64>| -> Option<Vec<f64>> {
            threads.iter().map(of).collect::<Option<Vec<f64>>>().filter(|all| !all.is_empty())
        };
        let sum = |threads| all(threads, |thread| thread.cpu_s).map(|all| all.iter().sum());
        let most = |threads, of| {
            let most = all(threads, of)?.into_iter().reduce(f64::max)?;
            Some((most / self.load.duration.as_secs_f64()).min(1.0))
        };
        Cpu {
            client_s: sum(self.client_spent),
            server_s: sum(&server),
            client_busiest: most(self.client_spent, |thread| thread.cpu_s),
            server_busiest: most(&server, |thread| thread.cpu_s),
            client_waiting: most(self.client_spent, |thread| thread.wait_s),
            server_waiting: most(&server, |thread| thread.wait_s),
        }
    }

    fn open_loop(&self) -> Option<OpenLoop> {
        let Pace::Open { .. } = self.load.pace else { return None };
        let found = self.measure.open_loop();
        let lag = |percent| found.lag_us(percent);
        Some(OpenLoop {
            offered: found.offered(),
            lag_us: Lag { p50: lag(50.0), p99: lag(99.0), max: lag(100.0) },
            backlog_peak: found.backlog_peak(),
            unstarted: found.unstarted(),
            unfinished: found.unfinished(),
            refused: found.refused(),
        })
    }

    fn datagrams(&self) -> Option<Datagrams> {
        let Work::Datagrams { .. } = self.load.work else { return None };
        let found = self.measure.datagrams();
        let settled = found.acked + found.lost;
        let loss = (settled > 0).then(|| found.lost as f64 / settled as f64);
        Some(Datagrams { sent: found.sent, acked: found.acked, lost: found.lost, loss })
    }

    fn server(&self) -> Option<Server> {
        let (begin, end) = self.server.as_ref()?;
        let before = self.before.as_ref();
        let memory_before_bytes = before.and_then(ServerSide::memory_resident_bytes);
        let grown = end.memory_resident_bytes().zip(memory_before_bytes);
        let came = before.map(|before| end.connections().saturating_sub(before.connections()));
        // Connections that come and go are not what the memory is for; neither is the client's own.
        let is_theirs = !self.inside && !self.load.churns();
        let per_connection = grown.zip(came.filter(|&came| came > 0 && is_theirs));
        Some(Server {
            same_process: self.inside,
            packet_protection: end.packet_protection().map(str::to_owned),
            totals: end.totals_since(begin),
            memory_resident_bytes: end.memory_resident_bytes(),
            memory_before_bytes,
            memory_per_connection_bytes: per_connection
                .map(|((now, then), came)| (now as f64 - then as f64) / came as f64),
        })
    }

    /// The part of the ceiling that each end reached.
    fn share(&self, ceiling: &Ceiling, total: u64, cpu: &Cpu) -> CeilingShare {
        let gigabits = total as f64 * 8e-9;
        let (sender_s, receiver_s) =
            if self.load.is_download() { (cpu.server_s, cpu.client_s) } else { (cpu.client_s, cpu.server_s) };
        let part = |cpu_s: Option<f64>, limit: Option<f64>| {
            let reached = gigabits / cpu_s.filter(|&cpu_s| cpu_s > 0.0)?;
            Some(reached / limit.filter(|&limit| limit > 0.0)?)
        };
        let Ceiling { packet_protection, datagram_bytes, in_use, aws_lc_rs } = ceiling;
        CeilingShare {
            packet_protection: packet_protection.clone(),
            datagram_bytes: *datagram_bytes,
            gb_per_sender_cpu_s: in_use.gb_per_sender_cpu_s,
            gb_per_receiver_cpu_s: in_use.gb_per_receiver_cpu_s,
            aws_lc_rs_gb_per_sender_cpu_s: aws_lc_rs.gb_per_sender_cpu_s,
            aws_lc_rs_gb_per_receiver_cpu_s: aws_lc_rs.gb_per_receiver_cpu_s,
            sender: part(sender_s, in_use.gb_per_sender_cpu_s),
            receiver: part(receiver_s, in_use.gb_per_receiver_cpu_s),
            sender_of_aws_lc_rs: part(sender_s, aws_lc_rs.gb_per_sender_cpu_s),
            receiver_of_aws_lc_rs: part(receiver_s, aws_lc_rs.gb_per_receiver_cpu_s),
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
    /// spread as the paths sent; those of datagrams, which no path counts by itself, always.
    fn bytes(&self, sums: &[Sum]) -> Vec<u64> {
        if let Work::Datagrams { .. } = self.load.work {
            let sent: Vec<u64> = sums.iter().map(|sum| sum.client.counts.bytes_sent).collect();
            return spread(self.measure.datagrams().acked_bytes, &sent);
        }
        let downloaded = sums.iter().map(|sum| sum.client.counts.stream_bytes_received);
        if self.load.shape().is_none_or(|shape| shape.upload_bytes == 0) {
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
        let (sender, receiver) = if self.load.is_download() { (server, client) } else { (client, server) };
        Path {
            id: index as u32,
            local: sum.route.map(|route| route.local().to_string()),
            remote: sum.route.map(|route| route.remote().to_string()),
            goodput_bps: bits_per_second(bytes, self.load.duration),
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
#[path = "assemble_tests.rs"]
mod tests;
