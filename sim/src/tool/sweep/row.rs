//! One run of a sweep: a download over both paths of a pair, or over one of them.
//!
//! Owns how a line of the design becomes links, and what a run that does not complete is called. Compares nothing
//! (`benefit` and `mod` do).

use std::time::Duration;

use braid_quic::TransportConfig;
use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;
use braid_sim::{Link, Rate, World, bps, first_byte_at, fluid_time, us};

use super::design::{Pair, Path};
use crate::tool::guarded;

/// A round trip of zero stands for no added delay; an emulated network still takes about this long.
const RTT_MIN: Duration = us(200);
/// No queue holds fewer full packets than this.
const QUEUE_PACKETS_MIN: u64 = 10;

/// What all runs of a sweep have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How much the client downloads, on one stream.
    pub(crate) size_bytes: u64,
    pub(crate) scheduler: SchedulerKind,
    pub(crate) congestion: CongestionKind,
    pub(crate) queue: QueueKind,
    /// Virtual time after which a run is given up.
    pub(crate) limit: Duration,
}

/// How the queue of a path is limited; both admit what a path carries in RTT + queueing delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum QueueKind {
    /// A number of bytes, at least ten full packets.
    Bytes,
    /// The time a datagram waits.
    Time,
}

impl QueueKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Time => "time",
        }
    }
}

/// Which paths of a pair a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Both; path 0 carries the handshake.
    Both,
    /// This one alone, without the multipath extension.
    Single(usize),
}

impl Use {
    /// All, in the order of the results.
    pub(crate) const ALL: [Self; 3] = [Self::Both, Self::Single(0), Self::Single(1)];
}

/// How long a run took, or why there is no such time.
pub(crate) type Outcome = Result<Duration, String>;

/// Simulates one download.
pub(crate) fn run(pair: &Pair, which: Use, seed: u64, settings: &Settings) -> Outcome {
    guarded(|| simulate(pair, which, seed, settings))?
}

fn simulate(pair: &Pair, which: Use, seed: u64, settings: &Settings) -> Outcome {
    let mut world = World::seeded(seed);
    let (paths, max_paths) = match which {
        Use::Both => (&pair.paths[..], 2),
        Use::Single(index) => (&pair.paths[index..=index], 1),
    };
    world.transport(|transport| {
        transport.max_paths = max_paths;
        transport.scheduler = settings.scheduler.clone();
        transport.congestion = settings.congestion.clone();
    });
    let config = TransportConfig::default();
    let datagram_bytes = u64::from(config.datagram_size.max(config.datagram_size_max));
    for path in paths {
        world.add(link(path, settings.queue, datagram_bytes));
    }
    world.audit_every(u32::MAX);
    world.limit(settings.limit);
    world.client().downloads(settings.size_bytes);
    let report = world.run();
    if let (true, Some(time)) = (report.is_complete(), report.completed_at()) {
        return Ok(time);
    }
    let delivered = report.delivered();
    Err(match report.client_closed().or(report.server_closed()) {
        Some(reason) => format!("the connection ended after {delivered} bytes: {reason}"),
        None => format!("only {delivered} bytes within {:?}", settings.limit),
    })
}

/// The time in which no transport can do it: both paths as pipes of a fluid, each from its first possible byte on.
pub(crate) fn bound(pair: &Pair, size_bytes: u64) -> Duration {
    let handshake_rtt = rtt(&pair.paths[0]);
    let pipe = |index: usize| {
        let path = &pair.paths[index];
        (rate(path), first_byte_at(index, handshake_rtt, rtt(path)))
    };
    fluid_time(size_bytes, &[pipe(0), pipe(1)])
}

fn link(path: &Path, queue: QueueKind, datagram_bytes: u64) -> Link {
    let link = Link::new(rate(path), rtt(path) / 2).loss(path.loss_pct / 100.0);
    let room = rtt(path) + millis(path.queue_ms);
    match queue {
        QueueKind::Bytes => {
            link.queue_bytes(rate(path).bytes_in(room).max(QUEUE_PACKETS_MIN * datagram_bytes))
        }
        QueueKind::Time => link.queue_time(room),
    }
}

fn rate(path: &Path) -> Rate {
    bps((path.rate_mbps * 1e6).round() as u64)
}

fn rtt(path: &Path) -> Duration {
    millis(path.rtt_ms).max(RTT_MIN)
}

fn millis(value: f64) -> Duration {
    Duration::from_secs_f64(value / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use braid_sim::{mb, ms, secs};

    fn settings() -> Settings {
        Settings {
            size_bytes: mb(1),
            scheduler: SchedulerKind::default(),
            congestion: CongestionKind::default(),
            queue: QueueKind::Bytes,
            limit: secs(100),
        }
    }

    fn pair(loss_pct: f64) -> Pair {
        let near = Path { rate_mbps: 10.0, rtt_ms: 20.0, queue_ms: 20.0, loss_pct };
        let far = Path { rate_mbps: 5.0, rtt_ms: 60.0, queue_ms: 20.0, loss_pct };
        Pair { id: "1".to_owned(), paths: [near, far] }
    }

    #[test]
    fn two_paths_are_faster_than_either_and_slower_than_the_bound() {
        let time = |which| run(&pair(0.0), which, 1, &settings()).unwrap();
        let [both, near, far] = Use::ALL.map(time);
        assert!(both < near && near < far, "{both:?} {near:?} {far:?}");
        assert!(both > bound(&pair(0.0), mb(1)));
        // 8 Mbit at 10 and at 5 Mb/s.
        assert!(near > ms(800) && far > ms(1_600), "{near:?} {far:?}");
    }

    #[test]
    fn the_bound_lets_each_path_start_when_it_can() {
        // By hand: path 0 from 40 ms on at 1.25 MB/s, path 1 from 160 ms on at 0.625 MB/s:
        // (1 + 1.25 * 0.040 + 0.625 * 0.160) / 1.875 s.
        let expected = 1.15 / 1.875;
        assert!((bound(&pair(0.0), mb(1)).as_secs_f64() - expected).abs() < 1e-6);
    }

    #[test]
    fn a_round_trip_of_nothing_still_takes_a_fifth_of_a_millisecond() {
        let mut pair = pair(0.0);
        (pair.paths[0].rtt_ms, pair.paths[1].rtt_ms) = (0.0, 0.0);
        assert_eq!(rtt(&pair.paths[0]), us(200));
        run(&pair, Use::Both, 1, &settings()).unwrap();
    }

    #[test]
    fn a_queue_by_time_is_another_queue() {
        let by_time = Settings { queue: QueueKind::Time, ..settings() };
        let times =
            [settings(), by_time].map(|settings| run(&pair(0.0), Use::Single(0), 1, &settings).unwrap());
        assert_ne!(times[0], times[1]);
    }

    #[test]
    fn a_run_that_does_not_complete_says_how_far_it_came() {
        let hurried = Settings { limit: ms(500), ..settings() };
        let far = run(&pair(0.0), Use::Single(1), 1, &hurried).unwrap_err();
        assert!(far.contains("bytes within 500ms"), "{far}");
        let deaf = run(&pair(100.0), Use::Both, 1, &settings()).unwrap_err();
        assert!(deaf.contains("ended after 0 bytes"), "{deaf}");
    }
}
