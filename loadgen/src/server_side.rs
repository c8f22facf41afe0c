//! The server's side of the story: CPU seconds, packets, system calls, memory, and what it counted on each path.
//!
//! Owns the two ways to ask, inside this process or by HTTP (`--stats-from`), and how connections sum up by path.
//! Half a story is no story: what covers only some connections is left out.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use braid_server::ServerStats;
use braid_server::stats::{PathView, RttView, WorkerStats};
use serde::Serialize;

use crate::client::Spent;
use crate::tally::{Counts, Rtt, Side};

/// How long the target may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer is read up to this size.
const ANSWER_MAX_BYTES: u64 = 16 << 20;

/// What a server's workers counted, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Connections that there are now, of whomever.
    pub(crate) connections: u64,
    pub(crate) connections_accepted: u64,
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) datagrams_received: u64,
    pub(crate) datagrams_sent: u64,
    pub(crate) buffers_received: u64,
    pub(crate) trains_sent: u64,
    pub(crate) enters: u64,
    pub(crate) other_syscalls: u64,
    pub(crate) receive_overflow: u64,
}

impl Totals {
    fn of(stats: &ServerStats) -> Self {
        let mut this = Self::default();
        for WorkerStats { quic, udp, .. } in &stats.workers {
            this.connections += quic.connections;
            this.connections_accepted += quic.accepted;
            this.packets_received += quic.packets_received;
            this.packets_sent += quic.packets_sent;
            this.datagrams_received += udp.datagrams_received;
            this.datagrams_sent += udp.datagrams_sent;
            this.buffers_received += udp.buffers_received;
            this.trains_sent += udp.trains_sent;
            this.enters += udp.enters;
            this.other_syscalls += udp.other_syscalls;
            this.receive_overflow += udp.receive_overflow;
        }
        this
    }

    /// The counters since `earlier`; how many connections there are is a number of now and stays.
    fn since(&self, earlier: &Self) -> Self {
        let since = |field: fn(&Self) -> u64| field(self).saturating_sub(field(earlier));
        Self {
            connections: self.connections,
            connections_accepted: since(|totals| totals.connections_accepted),
            packets_received: since(|totals| totals.packets_received),
            packets_sent: since(|totals| totals.packets_sent),
            datagrams_received: since(|totals| totals.datagrams_received),
            datagrams_sent: since(|totals| totals.datagrams_sent),
            buffers_received: since(|totals| totals.buffers_received),
            trains_sent: since(|totals| totals.trains_sent),
            enters: since(|totals| totals.enters),
            other_syscalls: since(|totals| totals.other_syscalls),
            receive_overflow: since(|totals| totals.receive_overflow),
        }
    }
}

/// A server at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerSide {
    /// Of each worker since its start; empty if not all of them answered.
    workers: Vec<Spent>,
    totals: Totals,
    memory_resident_bytes: Option<u64>,
    packet_protection: Option<String>,
    /// By path ID; empty if not all connections are told.
    paths: Vec<Side>,
}

impl ServerSide {
    /// What these statistics say.
    pub(crate) fn of(stats: &ServerStats) -> Self {
        let complete = stats.connections_omitted == 0 && stats.workers_silent.is_empty();
        let mut paths: Vec<Side> = Vec::new();
        for view in stats.connections.iter().flat_map(|connection| &connection.paths).filter(|_| complete) {
            let index = view.id as usize;
            if index >= crate::options::PATHS_MAX {
                continue; // paths that this client did not open
            }
            paths.resize(paths.len().max(index + 1), Side::default());
            paths[index] = paths[index].plus(&side(view));
        }
        let heard = stats.workers_silent.is_empty();
        let workers = stats.workers.iter().filter(|_| heard);
        Self {
            workers: workers.map(|it| Spent { cpu_s: it.cpu_s, wait_s: it.cpu_wait_s }).collect(),
            totals: Totals::of(stats),
            memory_resident_bytes: stats.memory_resident_bytes,
            packet_protection: Some(stats.packet_protection.clone()).filter(|name| !name.is_empty()),
            paths,
        }
    }

    /// Asks a server that serves its statistics at `address`.
    pub(crate) fn ask(address: SocketAddr) -> Result<Self, String> {
        let told = |error: String| format!("no statistics from {address}: {error}");
        let body = get(address).map_err(|error| told(error.to_string()))?;
        serde_json::from_slice(&body).map(|stats| Self::of(&stats)).map_err(|error| told(error.to_string()))
    }

    /// What each worker spent between `earlier` and now; nothing if they are not the same ones.
    pub(crate) fn spent_since(&self, earlier: &Self) -> Vec<Spent> {
        if self.workers.len() != earlier.workers.len() {
            return Vec::new();
        }
        let between =
            |now: Option<f64>, then: Option<f64>| now.zip(then).map(|(now, then)| (now - then).max(0.0));
        let pairs = self.workers.iter().zip(&earlier.workers);
        let spent = |(now, then): (&Spent, &Spent)| Spent {
            cpu_s: between(now.cpu_s, then.cpu_s),
            wait_s: between(now.wait_s, then.wait_s),
        };
        pairs.map(spent).collect()
    }

    /// What it counted between `earlier` and now.
    pub(crate) fn totals_since(&self, earlier: &Self) -> Totals {
        self.totals.since(&earlier.totals)
    }

    /// The memory that its process occupies.
    pub(crate) fn memory_resident_bytes(&self) -> Option<u64> {
        self.memory_resident_bytes
    }

    /// Connections that there are.
    pub(crate) fn connections(&self) -> u64 {
        self.totals.connections
    }

    /// Whose code protects its packets.
    pub(crate) fn packet_protection(&self) -> Option<&str> {
        self.packet_protection.as_deref()
    }

    /// What it counted on path `index` between `earlier` and now.
    pub(crate) fn path_since(&self, index: usize, earlier: &Self) -> Option<Side> {
        let before = earlier.paths.get(index).copied().unwrap_or_default();
        self.paths.get(index).map(|side| side.since(&before))
    }
}

fn side(view: &PathView) -> Side {
    let RttView { min, smoothed, p99 } = view.rtt_us;
    let us = |value: Option<f64>| value.and_then(|us| Duration::try_from_secs_f64(us / 1e6).ok());
    Side {
        counts: Counts {
            packets_sent: view.packets_sent,
            packets_received: view.packets_received,
            packets_lost: view.packets_lost,
            bytes_sent: view.bytes_sent,
            bytes_received: view.bytes_received,
            stream_bytes_sent: view.stream_bytes_sent,
            stream_bytes_received: view.stream_bytes_received,
            probe_timeouts: view.probe_timeouts,
            suspected: view.suspected,
        },
        rtt: Rtt::new(us(min), us(smoothed), us(p99)),
    }
}

/// The body of what HTTP says at `address`.
fn get(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: a target that answers the first of several and closes would break the pipe under the others.
    let request =
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let start = end.ok_or_else(|| std::io::Error::other("the answer is no HTTP"))? + 4;
    Ok(answer.split_off(start))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use braid_server::stats::{ConnectionView, QuicStats, UdpStats};

    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn view(id: u32, packets_lost: u64, smoothed: f64) -> PathView {
        let rtt_us = RttView { min: Some(30.0), smoothed: Some(smoothed), p99: None };
        PathView { id, packets_lost, rtt_us, ..PathView::default() }
    }

    fn stats(cpu_s: f64, losses: u64) -> ServerStats {
        let connection = |paths| ConnectionView { paths, ..ConnectionView::default() };
        let worker = |cpu_s| WorkerStats { cpu_s: Some(cpu_s), ..WorkerStats::default() };
        ServerStats {
            workers: vec![worker(cpu_s), worker(cpu_s)],
            connections: vec![
                connection(vec![view(0, losses, 100.0), view(1, 0, 10.0)]),
                connection(vec![view(0, 1, 200.0)]),
            ],
            ..ServerStats::default()
        }
    }

    #[test]
    fn connections_sum_up_by_path_and_moments_subtract() {
        let (early, late) = (ServerSide::of(&stats(1.0, 2)), ServerSide::of(&stats(2.5, 9)));
        assert_eq!(late.spent_since(&early), [Spent { cpu_s: Some(1.5), wait_s: None }; 2]);
        let first = late.path_since(0, &early).unwrap();
        assert_eq!((first.counts.packets_lost, first.rtt.smoothed()), (7, Some(us(150))));
        assert_eq!(late.path_since(1, &early).unwrap().rtt.min(), Some(us(30)));
        assert_eq!(late.path_since(2, &early), None);
    }

    #[test]
    fn a_story_of_some_connections_only_tells_of_no_path() {
        let partial = ServerSide::of(&ServerStats { connections_omitted: 1, ..stats(1.0, 2) });
        assert_eq!(partial.path_since(0, &ServerSide::default()), None);
        assert_eq!(partial.workers.len(), 2);
        let silent = ServerSide::of(&ServerStats { workers_silent: vec![1], ..stats(1.0, 2) });
        assert_eq!((silent.path_since(0, &ServerSide::default()), silent.workers.len()), (None, 0));
    }

    #[test]
    fn workers_count_together_and_spend_apart() {
        let worker = |cpu_s, packets_sent, enters| WorkerStats {
            cpu_s: Some(cpu_s),
            cpu_wait_s: Some(cpu_s / 2.0),
            quic: QuicStats { packets_sent, connections: 4, ..QuicStats::default() },
            udp: UdpStats { enters, ..UdpStats::default() },
            ..WorkerStats::default()
        };
        let at = |workers| ServerSide::of(&ServerStats { workers, ..ServerStats::default() });
        let early = at(vec![worker(1.0, 10, 1), worker(2.0, 20, 2)]);
        let late = at(vec![worker(1.5, 15, 4), worker(4.0, 50, 4)]);
        let spent = |cpu_s, wait_s| Spent { cpu_s: Some(cpu_s), wait_s: Some(wait_s) };
        assert_eq!(late.spent_since(&early), [spent(0.5, 0.25), spent(2.0, 1.0)]);
        let totals = late.totals_since(&early);
        assert_eq!((totals.packets_sent, totals.enters, totals.connections), (35, 5, 8));
        let restarted = at(vec![worker(0.1, 1, 1)]);
        assert_eq!(restarted.spent_since(&early), []);
        assert_eq!(restarted.totals_since(&early).packets_sent, 0);
    }

    #[test]
    fn an_older_server_does_not_tell_whose_code_it_uses() {
        assert_eq!(ServerSide::of(&ServerStats::default()).packet_protection(), None);
        let named = ServerStats { packet_protection: "ring".into(), ..ServerStats::default() };
        assert_eq!(ServerSide::of(&named).packet_protection(), Some("ring"));
    }

    #[test]
    fn path_ids_far_off_take_no_memory() {
        let mut stats = stats(1.0, 0);
        stats.connections[0].paths.push(view(u32::MAX, 1, 1.0));
        assert_eq!(ServerSide::of(&stats).paths.len(), 2);
    }

    #[test]
    fn a_target_is_asked_by_http() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            let body = serde_json::to_string(&stats(1.0, 2)).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        assert_eq!(ServerSide::ask(address), Ok(ServerSide::of(&stats(1.0, 2))));
        let first_piece = server.join().unwrap();
        assert!(first_piece.starts_with("GET / HTTP/1.1\r\n"), "{first_piece:?}");
        assert!(first_piece.ends_with("\r\n\r\n"), "the request comes in one piece: {first_piece:?}");
    }

    #[test]
    fn nobody_there_is_one_sentence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let sentence = ServerSide::ask(address).unwrap_err();
        assert!(sentence.starts_with("no statistics from 127.0.0.1:"), "{sentence}");
    }
}
