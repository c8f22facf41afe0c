//! How often acknowledgements are sent, and how often we ask for them (draft-ietf-quic-ack-frequency).
//!
//! Owns the peer's wish and ours, the `ACK_FREQUENCY` frame, and the peer's `max_ack_delay`. Both
//! wishes are one for all paths, since the frame names none; what arrived is counted by each path's `Acks` (MP-309).
//! Never decides about one packet.

use std::time::Duration;

use crate::base::time::{Instant, nanos};
use crate::config::TransportConfig;
use crate::error::{TransportError, TransportErrorCode};
use crate::path::cids::Post;
use crate::path::loss::REORDER_PACKETS;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::frame_ack::AckFrequency;
use crate::wire::params::{ACK_DELAY_MS_BOUND, ACK_DELAY_MS_DEFAULT};
use crate::wire::receipt::{Receipt, Receipts};

/// The shortest time that an acknowledgement can be told to wait here; our timers are finer, their owners' turns are not.
const DELAY_MIN_US: u64 = 1_000;

/// Acknowledgements that a window is to bring. What waits for one is missing from a window that does not fill the path:
/// half of this part of the throughput. It is also more than the eight samples that `HyStart` wants in a round (RFC 9406
/// §4.3), and so many that the loss of one or two is not taken for silence.
const ACKS_A_WINDOW: u64 = 32;

/// Packets between two acknowledgements at most: one in a full train of GSO is cheap enough.
const THRESHOLD_MAX: u64 = 64;

/// Parts of a round trip that the peer may wait for more packets ...
const DELAYS_A_ROUND: u32 = 4;

/// ... but at least this long: as long as a busy machine may keep a worker waiting, so that silence means something.
const DELAY_ASKED_MIN: Duration = Duration::from_millis(5);

/// We change our mind once a round trip at most, and not more often than this.
const REVIEW_EVERY_MIN: Duration = Duration::from_millis(10);

/// When packets that ask for it are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Habit {
    /// So many may wait without an acknowledgement; one more is acknowledged at once.
    pub(crate) threshold: u64,
    /// None waits longer.
    pub(crate) delay: Duration,
    /// A missing packet that lies so far behind the newest is told at once; 0: never.
    pub(crate) reordering: u64,
}

impl Habit {
    /// Every second packet, and what is out of order at once (RFC 9000 §13.2).
    pub(crate) const fn usual(delay: Duration) -> Self {
        Self { threshold: 1, delay, reordering: 1 }
    }
}

/// A path that is in use, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) window_packets: u64,
    pub(crate) rtt: Duration,
}

/// What we ask the peer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    threshold: u64,
    delay: Duration,
}

impl Wish {
    /// What suits these paths: the smallest window and the shortest round trip decide.
    fn suiting(seen: &[Seen], delay_max: Duration) -> Option<Self> {
        let window_packets = seen.iter().map(|path| path.window_packets).min()?;
        let rtt = seen.iter().map(|path| path.rtt).min()?;
        let threshold = (window_packets / ACKS_A_WINDOW).clamp(1, THRESHOLD_MAX);
        Some(Self { threshold, delay: (rtt / DELAYS_A_ROUND).max(DELAY_ASKED_MIN).min(delay_max) })
    }

    /// Where every second packet is acknowledged a gap is told at once as ever; else when it makes a packet lost
    /// ("Setting the Reordering Threshold Value").
    fn reordering(self) -> u64 {
        if self.threshold > 1 { REORDER_PACKETS } else { 1 }
    }

    /// Is it so different from the last wish that it is worth a frame? The peer may acknowledge too often for long, too
    /// seldom only for a short while: not after a window was reduced (RFC 9438 §4.6, by three tenths).
    fn differs(self, last: Self) -> bool {
        let (short, long) = (self.delay.min(last.delay), self.delay.max(last.delay));
        self.threshold >= 2 * last.threshold
            || 4 * self.threshold <= 3 * last.threshold
            || long > short * 3 / 2
    }
}

/// The wishes of both ends.
#[derive(Debug)]
pub(crate) struct Frequency {
    habit: Habit,
    /// Our `min_ack_delay` in microseconds, if we obey.
    offered_us: Option<u64>,
    /// The largest sequence number of the peer's wishes.
    heard: Option<u64>,
    /// The peer's `min_ack_delay`, if it obeys.
    peer_delay_min: Option<Duration>,
    /// The peer's `max_ack_delay` as it declared it; we never ask for a longer one.
    peer_delay: Duration,
    /// Our last wish, its sequence number and how far it has come.
    asked: Option<(Wish, u64, Post)>,
    review_at: Instant,
}

impl Frequency {
    pub(crate) fn new(config: &TransportConfig) -> Self {
        let unknown = config.max_ack_delay.max(Duration::from_millis(ACK_DELAY_MS_DEFAULT));
        Self {
            habit: Habit::usual(config.max_ack_delay),
            offered_us: Self::offer_us(config),
            heard: None,
            peer_delay_min: None,
            peer_delay: unknown,
            asked: None,
            review_at: Instant::ZERO,
        }
    }

    /// Our `min_ack_delay` in microseconds, if we obey; never more than our `max_ack_delay`, which has milliseconds.
    pub(crate) fn offer_us(config: &TransportConfig) -> Option<u64> {
        let max_us = config.max_ack_delay.as_millis() as u64 * 1_000;
        config.ack_frequency.then(|| DELAY_MIN_US.min(max_us))
    }

    /// The peer's transport parameters `max_ack_delay` and `min_ack_delay`.
    ///
    /// # Errors
    /// The longest delay is shorter than the shortest ("Negotiating Extension Use").
    pub(crate) fn on_peer(&mut self, max_ms: u64, min_us: Option<u64>) -> Result<(), TransportError> {
        self.peer_delay = Duration::from_millis(max_ms);
        if self.offered_us.is_none() {
            return Ok(()); // unknown to us
        }
        if min_us.is_some_and(|min_us| min_us > max_ms * 1_000) {
            let code = TransportErrorCode::TRANSPORT_PARAMETER_ERROR;
            return Err(TransportError::new(code, "min_ack_delay above max_ack_delay"));
        }
        self.peer_delay_min = min_us.map(Duration::from_micros);
        Ok(())
    }

    /// How we acknowledge.
    #[inline]
    pub(crate) fn habit(&self) -> Habit {
        self.habit
    }

    /// May the peer send the frames of the extension?
    pub(crate) fn is_offered(&self) -> bool {
        self.offered_us.is_some()
    }

    /// May we send them?
    pub(crate) fn is_obeyed(&self) -> bool {
        self.peer_delay_min.is_some()
    }

    /// The longest time that the peer waits with an acknowledgement. It is the one that it declared, although we may have
    /// asked for a shorter one: a probe timeout that has only that much patience takes two lost acknowledgements, of
    /// which there are few now, for a silent path. Since no wish is longer, it is also never too short ("Computation of
    /// Probe Timeout Period").
    #[inline]
    pub(crate) fn peer_delay(&self) -> Duration {
        self.peer_delay
    }

    /// The peer wishes us to acknowledge in another way from now on. What is no newer than its last wish changes nothing.
    ///
    /// # Errors
    /// A delay that we did not offer is a protocol violation.
    pub(crate) fn on_frame(&mut self, frame: &AckFrequency) -> Result<(), TransportError> {
        let offered = self.offered_us.unwrap_or(0)..ACK_DELAY_MS_BOUND * 1_000;
        if !offered.contains(&frame.delay_us) {
            return Err(TransportError::protocol_violation(
                "a delay of acknowledgements that was not offered",
            ));
        }
        if self.heard.is_none_or(|heard| frame.sequence > heard) {
            self.heard = Some(frame.sequence);
            let delay = Duration::from_micros(frame.delay_us);
            self.habit = Habit { threshold: frame.threshold, delay, reordering: frame.reordering };
        }
        Ok(())
    }

    /// May we change our mind? Not while the peer may not know the last one yet.
    #[inline]
    pub(crate) fn is_review_due(&self, now: Instant) -> bool {
        now >= self.review_at && self.is_obeyed() && self.asked.is_none_or(|(.., post)| post == Post::Acked)
    }

    /// Compares what we asked for with what suits the paths that windows hold back now. The first wish has to be worth a
    /// frame, and each later one must differ by a lot.
    pub(crate) fn review(&mut self, seen: &[Seen], now: Instant) {
        let Some(wish) = Wish::suiting(seen, self.peer_delay) else { return };
        let wish = Wish { delay: wish.delay.max(self.peer_delay_min.unwrap_or_default()), ..wish };
        let longest = seen.iter().map(|path| path.rtt).max().unwrap_or_default();
        self.review_at = now + longest.max(REVIEW_EVERY_MIN);
        match self.asked {
            None if wish.threshold > 1 => self.asked = Some((wish, 0, Post::Queued)),
            Some((before, sequence, _)) if wish.differs(before) => {
                self.asked = Some((wish, sequence + 1, Post::Queued));
            }
            _ => {}
        }
    }

    /// Is an `ACK_FREQUENCY` to leave?
    pub(crate) fn wants(&self) -> bool {
        matches!(self.asked, Some((.., Post::Queued)))
    }

    /// Writes it if there is room.
    pub(crate) fn write(&mut self, w: &mut Writer<'_>, receipts: &mut Receipts) {
        let Some((wish, sequence, post)) = self.asked.as_mut().filter(|(.., post)| *post == Post::Queued)
        else {
            return;
        };
        let frame = Frame::AckFrequency(AckFrequency {
            sequence: *sequence,
            threshold: wish.threshold,
            delay_us: nanos(wish.delay) / 1_000,
            reordering: wish.reordering(),
        });
        if frame.fits(w) {
            frame.write(w);
            receipts.push(Receipt::ack_frequency(*sequence));
            *post = Post::Sent;
        }
    }

    /// An `ACK_FREQUENCY` was acknowledged or lost; the last one is sent again as it was.
    pub(crate) fn on_settled(&mut self, sequence: u64, acked: bool) {
        if let Some((_, last, post)) = &mut self.asked
            && *last == sequence
            && *post != Post::Acked
        {
            *post = if acked { Post::Acked } else { Post::Queued };
        }
    }
}

#[cfg(test)]
#[path = "frequency_tests.rs"]
mod tests;
