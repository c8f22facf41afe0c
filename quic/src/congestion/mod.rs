//! How *much* may be in flight on a path.
//!
//! Owns the plug (`Controller`), what it is told, and the choice among our controllers and a user's own. A controller
//! sees numbers of one route, never the path, and decides neither when (`pacer`) nor where (`schedule`) data goes.
//! Window arithmetic is in bytes of UDP payload.

mod cubic;
mod hystart;
mod newreno;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::rate::Rate;
use crate::base::time::Instant;

pub use cubic::Cubic;
pub use newreno::NewReno;

/// A congestion controller: keeps the window of one route of one path.
///
/// All bytes are UDP payload of packets that count as in flight (RFC 9002 §2). Calls come in the order of time; `now`
/// never goes back. A controller never blocks anything itself: the connection compares bytes in flight with `window`
/// before it takes a packet number, and probes may exceed it.
///
/// Invariants a controller must keep: `window` is at least two datagrams, and stays put while nothing is reported. It
/// must not allocate in any `on_` method (hot path).
pub trait Controller: Send + fmt::Debug {
    /// A train left.
    fn on_sent(&mut self, sent: &Sent);

    /// An acknowledgement frame newly acknowledged packets; called once per frame. When the frame also reveals losses,
    /// `on_congestion` for them is called first.
    fn on_acked(&mut self, acked: &Acked);

    /// Packets were lost, or the peer reported ECN marks. Called for every such report, also several times in one
    /// round trip: to react only once to each is the controller's duty.
    fn on_congestion(&mut self, congestion: &Congestion);

    /// The latest reaction was a mistake. A controller may undo it; the default does not.
    fn on_spurious(&mut self, _spurious: &Spurious) {}

    /// Datagrams of this path have this size from now on.
    fn on_datagram_size(&mut self, datagram_size: u16);

    /// Forgets all it learned, because the route changed (RFC 9000 §9.4). Only the datagram size stays.
    fn reset(&mut self);

    /// How many bytes may be in flight.
    fn window(&self) -> u64;

    /// Whether the window still grows exponentially in search of the route's capacity.
    fn in_slow_start(&self) -> bool;

    /// The rate at which trains should leave; `None` for unpaced. The default spreads a window over a little less than
    /// a round trip.
    fn pacing_rate(&self, rtt_smoothed: Duration) -> Option<Rate> {
        spread(self.window(), rtt_smoothed, self.in_slow_start())
    }
}

/// A train left.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When.
    pub now: Instant,
    /// Its bytes that count as in flight.
    pub bytes: u64,
    /// All bytes in flight on the path, these included.
    pub in_flight_after: u64,
    /// The number of its last packet.
    pub last_packet_number: u64,
}

/// An acknowledgement frame newly acknowledged packets that were in flight.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// When it arrived.
    pub now: Instant,
    /// Bytes newly acknowledged.
    pub bytes: u64,
    /// Packets newly acknowledged.
    pub packets: u64,
    /// Bytes in flight before it.
    pub in_flight_before: u64,
    /// Bytes in flight after it.
    pub in_flight_after: u64,
    /// The largest packet number acknowledged on this path so far.
    pub largest_acked: u64,
    /// When the newest of the newly acknowledged packets was sent.
    pub newest_sent_at: Instant,
    /// The number the next packet of this path will have.
    pub next_packet_number: u64,
    /// The round trip that this frame measured, if it measured one, the peer's delay included.
    pub rtt_latest: Option<Duration>,
    /// The smoothed round-trip time, this frame included.
    pub rtt_smoothed: Duration,
    /// The smallest round-trip time of the route.
    pub rtt_min: Duration,
    /// Something other than the window (and the pacer that spreads it) held the sender back since the last frame: no
    /// data, flow control, or a scheduler that preferred another path. The window must not grow then (RFC 9002 §7.8).
    pub app_limited: bool,
}

/// Packets were lost, or marked by ECN.
#[derive(Clone, Copy, Debug)]
pub struct Congestion {
    /// When we learned of it.
    pub now: Instant,
    /// When the newest packet that was lost, or whose acknowledgement reported the mark, was sent.
    pub sent_at: Instant,
    /// Bytes lost; 0 for a mark.
    pub lost_bytes: u64,
    /// Bytes in flight, the lost ones excluded.
    pub in_flight_after: u64,
    /// Everything sent over the persistent congestion period was lost (RFC 9002 §7.6).
    pub persistent: bool,
    /// A mark, no loss.
    pub ecn: bool,
}

/// Every packet whose loss caused the latest reaction was acknowledged after all.
#[derive(Clone, Copy, Debug)]
pub struct Spurious {
    /// When the last of them was acknowledged.
    pub now: Instant,
    /// When the newest of them was sent.
    pub sent_at: Instant,
}

/// Which controller a path gets.
#[derive(Clone, Debug, Default)]
pub enum CongestionKind {
    /// RFC 9002 §7 with `HyStart++`.
    NewReno,
    /// RFC 9438 with `HyStart++`.
    #[default]
    Cubic,
    /// A user's own.
    Custom(ControllerFactory),
}

impl CongestionKind {
    /// A controller for a fresh route with datagrams of `datagram_size` bytes.
    pub fn build(&self, datagram_size: u16) -> AnyController {
        match self {
            Self::NewReno => AnyController::NewReno(NewReno::new(datagram_size)),
            Self::Cubic => AnyController::Cubic(Cubic::new(datagram_size)),
            Self::Custom(factory) => AnyController::Custom((factory.make)(datagram_size)),
        }
    }

    /// Its name, as `FromStr` takes it for our own.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NewReno => "newreno",
            Self::Cubic => "cubic",
            Self::Custom(factory) => factory.name,
        }
    }
}

impl fmt::Display for CongestionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CongestionKind {
    type Err = UnknownController;

    fn from_str(name: &str) -> Result<Self, UnknownController> {
        match name {
            "newreno" => Ok(Self::NewReno),
            "cubic" => Ok(Self::Cubic),
            _ => Err(UnknownController(name.to_owned())),
        }
    }
}

/// There is no congestion controller of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownController(String);

impl fmt::Display for UnknownController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown congestion controller {:?}: choose newreno or cubic", self.0)
    }
}

impl std::error::Error for UnknownController {}

/// Makes a user's controller for each route, from the size of its datagrams in bytes.
#[derive(Clone)]
pub struct ControllerFactory {
    name: &'static str,
    make: Arc<dyn Fn(u16) -> Box<dyn Controller> + Send + Sync>,
}

impl ControllerFactory {
    /// A factory under this name.
    pub fn new(
        name: &'static str,
        make: impl Fn(u16) -> Box<dyn Controller> + Send + Sync + 'static,
    ) -> Self {
        Self { name, make: Arc::new(make) }
    }
}

impl fmt::Debug for ControllerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One of our controllers, without a vtable, or a user's own.
#[derive(Debug)]
pub enum AnyController {
    /// `NewReno`.
    NewReno(NewReno),
    /// CUBIC.
    Cubic(Cubic),
    /// A user's own.
    Custom(Box<dyn Controller>),
}

macro_rules! each {
    ($self:ident, $controller:ident => $call:expr) => {
        match $self {
            AnyController::NewReno($controller) => $call,
            AnyController::Cubic($controller) => $call,
            AnyController::Custom($controller) => $call,
        }
    };
}

impl Controller for AnyController {
    fn on_sent(&mut self, sent: &Sent) {
        each!(self, it => it.on_sent(sent));
    }

    fn on_acked(&mut self, acked: &Acked) {
        each!(self, it => it.on_acked(acked));
    }

    fn on_congestion(&mut self, congestion: &Congestion) {
        each!(self, it => it.on_congestion(congestion));
    }

    fn on_spurious(&mut self, spurious: &Spurious) {
        each!(self, it => it.on_spurious(spurious));
    }

    fn on_datagram_size(&mut self, datagram_size: u16) {
        each!(self, it => it.on_datagram_size(datagram_size));
    }

    fn reset(&mut self) {
        each!(self, it => it.reset());
    }

    fn window(&self) -> u64 {
        each!(self, it => it.window())
    }

    fn in_slow_start(&self) -> bool {
        each!(self, it => it.in_slow_start())
    }

    fn pacing_rate(&self, rtt_smoothed: Duration) -> Option<Rate> {
        each!(self, it => it.pacing_rate(rtt_smoothed))
    }
}

/// A window spread over a round trip, faster by a quarter so that pacing is not what limits, or twice as fast in slow
/// start so that the window can double (RFC 9002 §7.7). Unpaced when the round trip takes no time.
fn spread(window: u64, rtt_smoothed: Duration, in_slow_start: bool) -> Option<Rate> {
    if rtt_smoothed.is_zero() {
        return None;
    }
    let rate = Rate::of(window, rtt_smoothed);
    Some(if in_slow_start { rate.scaled(2, 1) } else { rate.scaled(5, 4) })
}
