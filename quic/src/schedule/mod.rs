//! *Where* the next train goes.
//!
//! Owns the plug (`Scheduler`), what it sees, the rules all of ours share, and the choice among ours and a user's own.
//! A scheduler sees numbers, never a path; how much may be in flight (`congestion`) and when (`pacer`) are given.
//! Hot path: no allocation.

mod backup;
mod min_rtt;
mod reason;
mod round_robin;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::rate::Rate;
use crate::base::time::Instant;
use crate::id::PathId;

pub use backup::Backup;
pub use min_rtt::MinRtt;
pub use reason::{Reason, why};
pub use round_robin::RoundRobin;

/// Decides which path takes the next train of a connection.
///
/// Asked whenever there is stream data or a datagram to send and at least one validated path. It is asked again after each train, when
/// an acknowledgement or new data arrives, when a path changes, and at the time it named; nothing else wakes it, so
/// `Wait { until: None }` while a path could send is only right when an acknowledgement is sure to come.
///
/// Probes, acknowledgements and other frames that belong to one path never pass a scheduler.
pub trait Scheduler: Send + fmt::Debug {
    /// Which of `paths` takes the next train, or how long to wait.
    ///
    /// `paths` is never empty, in ascending order of path IDs, each at most once, and holds validated paths only. Picks
    /// must be free of effects that matter if nothing is sent: a full outbox may keep the train from leaving.
    fn pick(&mut self, paths: &[PathView], demand: &Demand, now: Instant) -> Decision;

    /// The train of the last pick left on `path` with `bytes` of UDP payload. Called once per train.
    fn on_sent(&mut self, _path: PathId, _bytes: u64) {}

    /// How it chooses among several paths that could take `demand`, in logs. Asked only where decisions are logged; what
    /// the table of paths explains by itself (`why`) comes first.
    fn rule(&self, _demand: &Demand) -> Reason {
        Reason::OwnRule("own_rule")
    }
}

/// What a scheduler sees of a path. All bytes are UDP payload.
#[derive(Clone, Copy, Debug)]
pub struct PathView {
    /// Names the path for life; the slice is sorted by it.
    pub id: PathId,
    /// The peer advises to use the path only when no other is usable (MP-140).
    pub backup: bool,
    /// Acknowledgements are overdue: what is in flight there is sent elsewhere too, and only probes should go there.
    pub suspect: bool,
    /// Smoothed round-trip time; a guess or a hint before the first sample.
    pub rtt: Duration,
    /// Mean deviation of the round-trip time.
    pub rtt_var: Duration,
    /// How long a packet takes to the peer: half of `rtt` where nothing better is known.
    pub one_way_delay: Duration,
    /// Bytes per second that the path lately delivered; 0 while unknown.
    pub delivery_rate: u64,
    /// Bytes that the congestion window leaves; 0 when it is full or overdrawn.
    pub window_left: u64,
    /// Bytes sent, neither acknowledged nor lost. `in_flight + window_left` is the window unless it is overdrawn.
    pub in_flight: u64,
    /// Bytes that were given to the path but wait for their turn in this host.
    pub queued: u64,
    /// When the pacer lets the next train go; in the past or `now` if it may go at once.
    pub ready_at: Instant,
    /// Size of a full packet; never 0.
    pub segment_size: u16,
    /// Packets lost of the last thousand or so, 0 to 1000.
    pub loss_permille: u16,
}

impl PathView {
    /// Whether the window takes one more full packet.
    pub fn has_room(&self) -> bool {
        self.window_left >= u64::from(self.segment_size)
    }

    /// Whether a train may leave now: the window has room and the pacer agrees.
    pub fn can_send(&self, now: Instant) -> bool {
        self.has_room() && self.ready_at <= now
    }

    /// When a packet that takes this path next would be at the peer: once the pacer lets it go, behind what still
    /// queues in front of the bottleneck, and later by the risk that it is lost and repaired a round trip later.
    ///
    /// Of the bytes in flight, those that fit in one round trip are on their way and delay nothing.
    pub fn eta(&self, now: Instant) -> Instant {
        let drain = self.time_for(self.in_flight.saturating_add(self.queued));
        let risk = (self.rtt / 1000).saturating_mul(u32::from(self.loss_permille));
        self.ready_at.max(now) + self.one_way_delay + drain.saturating_sub(self.rtt) + risk
    }

    /// How long the path takes to deliver `bytes`: by its delivery rate or, while that is unknown, a window per round
    /// trip.
    fn time_for(&self, bytes: u64) -> Duration {
        if self.delivery_rate > 0 {
            return Rate::from_bytes_per_second(self.delivery_rate).time_for(bytes);
        }
        let window = self.in_flight.saturating_add(self.window_left);
        Rate::of(window, self.rtt).time_for(bytes)
    }

    /// Classes of paths, best first: data uses paths of the best class there is and no other, however full they are.
    /// A suspect path is the last resort, a backup path the last but one (MP-140, MP-142).
    fn class(&self) -> u8 {
        u8::from(self.suspect) << 1 | u8::from(self.backup)
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Bytes that were sent before and are lost or overdue: the peer waits for them, and later ones wait behind them.
    Repair {
        /// Stream bytes to repair, at least 1.
        bytes: u64,
    },
    /// Bytes never sent before.
    Fresh {
        /// Bytes of streams that flow control lets go and of datagrams that wait, at least 1.
        bytes: u64,
    },
}

impl Demand {
    /// How many stream bytes want to go.
    pub const fn bytes(&self) -> u64 {
        match *self {
            Self::Repair { bytes } | Self::Fresh { bytes } => bytes,
        }
    }
}

/// What a scheduler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The path at this index of the slice. It must have room and be ready; otherwise this counts as `Wait`.
    Send(usize),
    /// No path now.
    Wait {
        /// Ask again at this time at the latest; `None` if only an acknowledgement or a change can help.
        until: Option<Instant>,
    },
}

/// Which scheduler a connection gets.
#[derive(Clone, Debug, Default)]
pub enum SchedulerKind {
    /// The path with the lowest round-trip time that has room.
    #[default]
    MinRtt,
    /// A train per path in turn.
    RoundRobin,
    /// One path carries everything, the others stand by.
    Backup,
    /// A user's own.
    Custom(SchedulerFactory),
}

impl SchedulerKind {
    /// A scheduler for a new connection.
    pub fn build(&self) -> AnyScheduler {
        match self {
            Self::MinRtt => AnyScheduler::MinRtt(MinRtt),
            Self::RoundRobin => AnyScheduler::RoundRobin(RoundRobin::default()),
            Self::Backup => AnyScheduler::Backup(Backup),
            Self::Custom(factory) => AnyScheduler::Custom((factory.make)()),
        }
    }

    /// Its name, as `FromStr` takes it for our own.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MinRtt => "min-rtt",
            Self::RoundRobin => "round-robin",
            Self::Backup => "backup",
            Self::Custom(factory) => factory.name,
        }
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SchedulerKind {
    type Err = UnknownScheduler;

    fn from_str(name: &str) -> Result<Self, UnknownScheduler> {
        match name {
            "min-rtt" => Ok(Self::MinRtt),
            "round-robin" => Ok(Self::RoundRobin),
            "backup" => Ok(Self::Backup),
            _ => Err(UnknownScheduler(name.to_owned())),
        }
    }
}

/// There is no scheduler of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScheduler(String);

impl fmt::Display for UnknownScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown scheduler {:?}: choose min-rtt, round-robin or backup", self.0)
    }
}

impl std::error::Error for UnknownScheduler {}

/// Makes a user's scheduler for each connection.
#[derive(Clone)]
pub struct SchedulerFactory {
    name: &'static str,
    make: Arc<dyn Fn() -> Box<dyn Scheduler> + Send + Sync>,
}

impl SchedulerFactory {
    /// A factory under this name.
    pub fn new(name: &'static str, make: impl Fn() -> Box<dyn Scheduler> + Send + Sync + 'static) -> Self {
        Self { name, make: Arc::new(make) }
    }
}

impl fmt::Debug for SchedulerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One of our schedulers, without a vtable, or a user's own.
#[derive(Debug)]
pub enum AnyScheduler {
    /// Lowest round-trip time first.
    MinRtt(MinRtt),
    /// A train per path in turn.
    RoundRobin(RoundRobin),
    /// One path, the others stand by.
    Backup(Backup),
    /// A user's own.
    Custom(Box<dyn Scheduler>),
}

impl Scheduler for AnyScheduler {
    fn pick(&mut self, paths: &[PathView], demand: &Demand, now: Instant) -> Decision {
        let decision = match self {
            Self::MinRtt(it) => it.pick(paths, demand, now),
            Self::RoundRobin(it) => it.pick(paths, demand, now),
            Self::Backup(it) => it.pick(paths, demand, now),
            Self::Custom(it) => it.pick(paths, demand, now),
        };
        checked(decision, paths, now)
    }

    fn on_sent(&mut self, path: PathId, bytes: u64) {
        match self {
            Self::MinRtt(it) => it.on_sent(path, bytes),
            Self::RoundRobin(it) => it.on_sent(path, bytes),
            Self::Backup(it) => it.on_sent(path, bytes),
            Self::Custom(it) => it.on_sent(path, bytes),
        }
    }

    fn rule(&self, demand: &Demand) -> Reason {
        match self {
            Self::MinRtt(it) => it.rule(demand),
            Self::RoundRobin(it) => it.rule(demand),
            Self::Backup(it) => it.rule(demand),
            Self::Custom(it) => it.rule(demand),
        }
    }
}

/// A user's scheduler must not overdraw a window, outrun a pacer or name a path that is not there.
fn checked(decision: Decision, paths: &[PathView], now: Instant) -> Decision {
    match decision {
        Decision::Send(index) => match paths.get(index) {
            Some(path) if path.can_send(now) => decision,
            Some(path) if path.has_room() => Decision::Wait { until: Some(path.ready_at) },
            _ => Decision::Wait { until: None },
        },
        Decision::Wait { .. } => decision,
    }
}

/// The paths of the best class there is, with their indices. Users' schedulers may use it too.
pub fn eligible(paths: &[PathView]) -> impl Iterator<Item = (usize, &PathView)> + Clone {
    let best = paths.iter().map(PathView::class).min();
    paths.iter().enumerate().filter(move |(_, path)| Some(path.class()) == best)
}

/// Nothing can leave now: when the first pacer lets a path go that has room, if there is one.
pub fn wait<'a>(paths: impl Iterator<Item = (usize, &'a PathView)>) -> Decision {
    Decision::Wait { until: paths.filter(|(_, path)| path.has_room()).map(|(_, path)| path.ready_at).min() }
}

/// Where a repair goes: to the eligible path with room that delivers it earliest, even if it must wait for that path's
/// pacer. The path that lost it is as good as any other, unless it is suspect. A repair that waits does not bar fresh
/// data, for which the scheduler may be asked next.
pub fn earliest(paths: &[PathView], now: Instant) -> Decision {
    let with_room = eligible(paths).filter(|(_, path)| path.has_room());
    match with_room.min_by_key(|(_, path)| (path.eta(now), path.rtt, path.id)) {
        Some((index, path)) if path.ready_at <= now => Decision::Send(index),
        Some((_, path)) => Decision::Wait { until: Some(path.ready_at) },
        None => Decision::Wait { until: None },
    }
}
