//! One way of one path: the simulator's lane, and what the real world adds to its numbers.
//!
//! Owns the bound on what is kept for the way, and why datagrams were dropped. Sends nothing.

use std::io;

use braid_quic::{Ecn, Instant};
use rustix::io::Errno;
use serde::Serialize;

use super::settings::{Change, LaneSettings};
use crate::link::{Flight, Lane, Load, Queue, Stretch};
use crate::network::LinkId;
use crate::rng::Rng;

/// What one way of a path keeps at most, in its queue and on its way: 10 Gb/s for 50 ms.
pub(super) const HELD_BYTES_MAX: u64 = 64 << 20;

/// One way of one path.
pub(super) struct Pipe {
    queue: Queue,
    lane: Lane,
    held_bytes: u64,
    received: Traffic,
    sent: Traffic,
    drops: Drops,
}

/// Datagrams and their bytes of UDP payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// How long, all together.
    pub bytes: u64,
}

/// Datagrams that did not come through, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// The queue was full.
    pub queue: u64,
    /// Lost at random.
    pub lost: u64,
    /// The way was cut.
    pub cut: u64,
    /// The relay itself keeps no more for this way.
    pub held: u64,
    /// The socket's send buffer was full.
    pub blocked: u64,
    /// Longer than `mtu`, or than the next network carries.
    pub too_big: u64,
    /// Nobody listens there, or the system knows no way.
    pub unreachable: u64,
    /// The client's session was gone.
    pub forgotten: u64,
}

/// The numbers of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PipeStats {
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub sent: Traffic,
    /// What did not, and why.
    pub dropped: Drops,
    /// Is it cut at this moment?
    pub is_cut: bool,
}

impl Pipe {
    /// A way with these settings, whose chances come from `rng`.
    pub(super) fn new(settings: &LaneSettings, mut rng: Rng) -> Self {
        let config = settings.lane();
        let queue = Queue::new(&config, Rng::new(rng.next_u64()));
        let lane = Lane::new(LinkId(0), config, rng); // no queue here is shared, so that all may have one name
        let (received, sent) = (Traffic::default(), Traffic::default());
        Self { queue, lane, held_bytes: 0, received, sent, drops: Drops::default() }
    }

    /// Takes a datagram onto the link, if it gets there. Its copies count as held until `on_arrival`.
    pub(super) fn admit(&mut self, bytes: u64, now: Instant) -> Option<Flight> {
        self.received.add(bytes);
        if self.held_bytes + bytes > HELD_BYTES_MAX {
            self.drops.held += 1;
            return None;
        }
        let load = Load { bytes, in_train: false, ecn: Ecn::NotEct };
        let flight = self.lane.admit(&mut self.queue, load, now)?;
        self.held_bytes += bytes * (1 + u64::from(flight.again.is_some()));
        Some(flight)
    }

    /// Does a datagram that departed then arrive?
    pub(super) fn on_arrival(&mut self, bytes: u64, departed: Instant) -> bool {
        self.held_bytes -= bytes;
        self.lane.on_arrival(departed, true)
    }

    /// It was handed to the system, or the system refused it.
    pub(super) fn on_sent(&mut self, bytes: u64, result: &io::Result<()>) {
        match result {
            Ok(()) => self.sent.add(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drops.blocked += 1,
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                self.drops.too_big += 1;
            }
            Err(_) => self.drops.unreachable += 1,
        }
    }

    /// The session that it belonged to is gone.
    pub(super) fn on_forgotten(&mut self) {
        self.drops.forgotten += 1;
    }

    pub(super) fn cut(&mut self, now: Instant) {
        self.lane.cut(&mut self.queue, now);
    }

    pub(super) fn restore(&mut self, now: Instant) {
        self.lane.restore(now);
    }

    /// Changes a setting from now on. A new rate is one for what waits too, which the caller moves.
    pub(super) fn set(&mut self, change: Change, now: Instant) -> Option<Stretch> {
        let (is_queues, stretch) = self.queue.change(change.setting(), now);
        if !is_queues {
            self.lane.change(change.setting());
        }
        stretch
    }

    /// What has been sent arrives by then, because the rate has changed.
    pub(super) fn on_postponed(&mut self, last_arrival: Instant) {
        self.lane.on_postponed(last_arrival);
    }

    pub(super) fn stats(&self) -> PipeStats {
        let lane = self.lane.stats();
        let dropped = Drops {
            queue: lane.overflowed,
            lost: lane.lost,
            cut: lane.cut,
            too_big: self.drops.too_big + lane.too_big,
            ..self.drops
        };
        PipeStats { received: self.received, sent: self.sent, dropped, is_cut: self.lane.is_cut() }
    }
}

impl Traffic {
    fn add(&mut self, bytes: u64) {
        self.datagrams += 1;
        self.bytes += bytes;
    }
}

impl Drops {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { queue, lost, cut, held, blocked, too_big, unreachable, forgotten } = *self;
        queue + lost + cut + held + blocked + too_big + unreachable + forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Ways;
    use crate::units::{mbps, ms, secs};

    fn at(span: std::time::Duration) -> Instant {
        Instant::ZERO + span
    }

    #[test]
    fn no_more_is_held_than_the_limit_although_a_long_link_would_carry_it() {
        let mut settings = LaneSettings::default();
        settings.apply(Change::delay(Ways::Both, secs(10)));
        let mut pipe = Pipe::new(&settings, Rng::new(1));
        let mut flights = Vec::new();
        while let Some(flight) = pipe.admit(65_536, at(ms(0))) {
            flights.push(flight);
        }
        assert_eq!(flights.len() as u64, HELD_BYTES_MAX / 65_536);
        assert_eq!(pipe.stats().dropped, Drops { held: 1, ..Drops::default() });
        assert!(pipe.on_arrival(65_536, flights[0].departs));
        assert!(pipe.admit(65_536, at(secs(10))).is_some(), "what arrived makes room");
    }

    #[test]
    fn errors_of_the_system_are_counted_by_what_they_mean() {
        let mut pipe = Pipe::new(&LaneSettings::default(), Rng::new(1));
        pipe.on_sent(7, &Ok(()));
        for errno in [Errno::AGAIN, Errno::MSGSIZE, Errno::CONNREFUSED, Errno::NETUNREACH] {
            pipe.on_sent(7, &Err(errno.into()));
        }
        let stats = pipe.stats();
        assert_eq!(stats.sent, Traffic { datagrams: 1, bytes: 7 });
        assert_eq!(stats.dropped, Drops { blocked: 1, too_big: 1, unreachable: 2, ..Drops::default() });
        assert_eq!(stats.dropped.total(), 4);
    }

    #[test]
    fn a_new_rate_holds_from_now_on() {
        let mut pipe = Pipe::new(&LaneSettings::default(), Rng::new(1));
        assert_eq!(pipe.admit(1250, at(ms(5))).unwrap().arrives, at(ms(5)), "no limits: at once");
        pipe.set(Change::rate(Ways::Both, mbps(10)), at(ms(6)));
        pipe.set(Change::delay(Ways::Both, ms(20)), at(ms(6)));
        assert_eq!(pipe.admit(1250, at(ms(6))).unwrap().arrives, at(ms(27)), "1 ms and 20 ms");
    }
}
