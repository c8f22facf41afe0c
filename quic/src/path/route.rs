//! What belongs to one 4-tuple and is forgotten when it changes (RFC 9000 §9.4).
//!
//! Owns validation, amplification credit, RTT, congestion control, pacing, and as rooms of their own the datagram size
//! (`mtu`) and what is known of segmentation (`trains`). Decides how much may leave now; never what. The packet number
//! space outlives it and is `Space`'s; when a path moves to another route is `migration`'s.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::base::address::RouteId;
use crate::base::rate::Rate;
use crate::base::time::{Instant, nanos};
use crate::config::TransportConfig;
use crate::congestion::{self, AnyController, CongestionKind, Controller as _};
use crate::id::PathId;
use crate::log::{Metrics, RttMetrics};
use crate::path::challenge::{Answer, Challenge};
use crate::path::delivery::{Delivery, Episode};
use crate::path::leg::Leg;
pub(crate) use crate::path::mtu::DATAGRAM_SIZE_MIN;
use crate::path::mtu::Mtu;
use crate::path::pacer::Pacer;
use crate::path::rtt::RttEstimator;
use crate::path::space::{AckReport, LossReport};
use crate::path::trains::Trains;

/// Bytes sent to an unproven address per byte received from it (RFC 9000 §8.1, MP-114).
const AMPLIFICATION: u64 = 3;

/// Credit that a challenge or the answer to one needs at least, unpadded (RFC 9000 §8.2.1, §8.2.2).
pub(crate) const PROOF_CREDIT_MIN: u64 = 64;

/// Bytes that may answer `received` ones at an unproven address.
pub(crate) fn amplified(received: usize) -> usize {
    received.saturating_mul(AMPLIFICATION as usize)
}

/// Probe timeouts that a probe for a larger size waits for its answer (`PROBE_TIMER`, RFC 8899 §5.1.1): longer than a
/// path needs to be found silent, so that it is not the size that is blamed then.
const MTU_PROBE_TIMEOUTS: u32 = 2;

/// RTT samples are kept from 1 us to 1 min, with two significant digits.
const RTT_US_MAX: u64 = 60_000_000;

/// What may leave on a route now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// So many bytes, at least one full packet.
    Go { bytes: u64 },
    /// Nothing before this time: pacing.
    Wait { until: Instant },
    /// Nothing before an acknowledgement: the window is full.
    Window,
    /// Nothing before something arrives: the peer's address is unproven and the credit is spent.
    Credit,
}

/// One 4-tuple and all that was learned about it.
#[derive(Debug)]
pub(crate) struct Route {
    face: Face,
    pub(crate) rtt: RttEstimator,
    first_sample_at: Option<Instant>,
    last_sample_at: Instant,
    samples: Option<Box<Histogram<u32>>>,
    congestion: AnyController,
    pacer: Pacer,
    in_flight: u64,
    app_limited: bool,
    /// The latest episode of losses, as long as it may prove to have been a mistake.
    episode: Option<Episode>,
    delivery: Delivery,
    loss_permille: u16,
    pub(crate) mtu: Mtu,
    pub(crate) trains: Trains,
}

/// What is true of the addresses themselves; all else in a route was learned on the way there.
#[derive(Debug)]
struct Face {
    id: RouteId,
    leg: Leg,
    validated: bool,
    /// The peer's first packets came from several addresses: what it read proves none of them.
    redirected: bool,
    received_bytes: u64,
    unproven_sent_bytes: u64,
    /// The question whether the peer is there and the way leads there, while it is open.
    challenge: Option<Box<Challenge>>,
}

impl Route {
    pub(crate) fn new(id: RouteId, config: &TransportConfig, validated: bool) -> Self {
        let (received_bytes, unproven_sent_bytes) = (0, 0);
        let (leg, redirected, challenge) = (Leg::default(), false, None);
        let face = Face { id, leg, validated, redirected, received_bytes, unproven_sent_bytes, challenge };
        Self {
            face,
            rtt: RttEstimator::new(config.initial_rtt),
            first_sample_at: None,
            last_sample_at: Instant::ZERO,
            samples: config.rtt_distribution.then(|| Box::new(histogram())),
            congestion: config.congestion.build(config.datagram_size),
            pacer: Pacer::new(config.datagram_size),
            in_flight: 0,
            app_limited: true,
            episode: None,
            delivery: Delivery::default(),
            loss_permille: 0,
            mtu: Mtu::new(config.datagram_size, config.datagram_size_max),
            trains: Trains::new(config.train_packets_max),
        }
    }

    pub(crate) fn id(&self) -> RouteId {
        self.face.id
    }

    /// Its name among the routes of its path.
    pub(crate) fn leg(&self) -> Leg {
        self.face.leg
    }

    pub(crate) fn set_leg(&mut self, leg: Leg) {
        self.face.leg = leg;
    }

    /// Another controller decides from now on; it begins anew.
    pub(crate) fn set_congestion(&mut self, kind: &CongestionKind) {
        self.congestion = kind.build(self.datagram_size());
        self.episode = None;
    }

    /// The addresses change before anything is proven: during the handshake, before the first answer.
    pub(crate) fn redirect(&mut self, id: RouteId) {
        debug_assert!(self.face.challenge.is_none());
        self.face.id = id;
        self.face.redirected = true;
        self.face.received_bytes = 0;
        self.face.unproven_sent_bytes = 0;
    }

    /// The same, and `other` brings the new addresses and what came from there. It has the old ones afterwards; what was
    /// learned stays here.
    pub(crate) fn redirect_to(&mut self, other: &mut Self) {
        debug_assert!(self.face.challenge.is_none() && other.face.challenge.is_none());
        std::mem::swap(&mut self.face, &mut other.face);
        self.face.redirected = true;
    }

    /// Does a datagram with these addresses belong to this route? A local address that became known is learned.
    pub(crate) fn recognises(&mut self, id: &RouteId) -> bool {
        let same = self.face.id.matches(id);
        if same {
            self.face.id.learn(id);
        }
        same
    }

    /// The peer read what went to this address, and so is there (RFC 9000 §8.1); unless it may have read it elsewhere,
    /// since addresses changed. Then only a challenge can tell.
    pub(crate) fn on_read_by_peer(&mut self) {
        self.face.validated |= !self.face.redirected;
    }

    /// Is the peer proven to be at this address?
    pub(crate) fn is_validated(&self) -> bool {
        self.face.validated
    }

    /// Asks whether the peer is there, from now on and instead of any question before.
    pub(crate) fn challenge(&mut self, challenge: Challenge) {
        self.face.challenge = Some(Box::new(challenge));
    }

    /// The question that waits for an answer.
    pub(crate) fn challenge_mut(&mut self) -> Option<&mut Challenge> {
        self.face.challenge.as_deref_mut()
    }

    /// Did a challenge leave?
    pub(crate) fn was_asked(&self) -> bool {
        self.face.challenge.as_ref().is_some_and(|challenge| challenge.was_asked())
    }

    /// Is the question still open?
    pub(crate) fn is_challenged(&self) -> bool {
        self.face.challenge.is_some()
    }

    /// Nobody answered, or nobody needs to.
    pub(crate) fn end_challenge(&mut self) {
        self.face.challenge = None;
    }

    /// The peer answered a challenge; what that shows, if it was one of this route. Its address is proven now; that full
    /// datagrams get there may have to be asked yet.
    pub(crate) fn on_response(&mut self, data: [u8; 8], now: Instant) -> Option<Answer> {
        let challenge = self.face.challenge.as_mut()?;
        let answer = challenge.on_response(data, now)?;
        self.face.validated = true;
        if answer.padded {
            self.face.challenge = None;
        } else {
            challenge.ask_padded(answer.span, now);
        }
        Some(answer)
    }

    /// Is a challenge to leave now, and may it? It is padded to the size that every route must carry, as far as the
    /// credit goes (MP-107).
    pub(crate) fn owes_challenge(&self, now: Instant) -> bool {
        let due = self.face.challenge.as_ref().is_some_and(|challenge| challenge.is_due(now));
        due && self.credit() >= PROOF_CREDIT_MIN
    }

    /// When the next challenge leaves or the last one has failed; `blocked` says that none can be sent.
    pub(crate) fn challenge_at(&self, blocked: bool) -> Option<Instant> {
        let blocked = blocked || self.credit() < PROOF_CREDIT_MIN;
        self.face.challenge.as_ref().map(|challenge| challenge.deadline(blocked))
    }

    /// Have all challenges failed?
    pub(crate) fn has_failed(&self, now: Instant) -> bool {
        self.face.challenge.as_ref().is_some_and(|challenge| challenge.has_failed(now))
    }

    /// Exchanges all that was learned with `other`, a route that differs only by what leaves the way as it is
    /// (RFC 9000 §9.4: the peer's port).
    pub(crate) fn exchange_learned(&mut self, other: &mut Self) {
        std::mem::swap(self, other);
        std::mem::swap(&mut self.face, &mut other.face);
    }

    /// What is in flight is not this route's any more: the path left it.
    pub(crate) fn on_left(&mut self) {
        self.in_flight = 0;
        self.episode = None;
        self.mtu.on_silence(); // what becomes of a probe is not told any more
    }

    pub(crate) fn on_received(&mut self, bytes: usize) {
        self.face.received_bytes += bytes as u64;
    }

    /// Bytes that may still be sent to an unproven address (RFC 9000 §8.1).
    pub(crate) fn credit(&self) -> u64 {
        let Face { validated, received_bytes, unproven_sent_bytes, .. } = self.face;
        if validated {
            return u64::MAX;
        }
        (received_bytes * AMPLIFICATION).saturating_sub(unproven_sent_bytes)
    }

    /// Size of a full packet.
    #[inline]
    pub(crate) fn datagram_size(&self) -> u16 {
        self.mtu.size()
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn window(&self) -> u64 {
        self.congestion.window()
    }

    #[inline]
    pub(crate) fn window_left(&self) -> u64 {
        self.congestion.window().saturating_sub(self.in_flight)
    }

    /// When the pacer lets the next train go, if `demand_bytes` want to leave.
    pub(crate) fn ready_at(&self, demand_bytes: u64, now: Instant) -> Instant {
        let rate = self.pacing_rate();
        let train = self.pacer.train_bytes(rate).min(demand_bytes).max(u64::from(self.datagram_size()));
        self.pacer.ready_at(train, rate, now)
    }

    /// What may leave now (RFC 9002 §7, §7.7; RFC 9000 §8.1).
    pub(crate) fn allowance(&self, now: Instant) -> Allowance {
        let packet = u64::from(self.datagram_size());
        if self.credit() < packet {
            return Allowance::Credit;
        }
        if self.window_left() < packet {
            return Allowance::Window;
        }
        let paced = self.pacer.allowance(self.pacing_rate(), now);
        if paced < packet {
            return Allowance::Wait { until: self.pacer.ready_at(packet, self.pacing_rate(), now) };
        }
        Allowance::Go { bytes: paced.min(self.window_left()).min(self.credit()) }
    }

    fn pacing_rate(&self) -> Rate {
        self.congestion.pacing_rate(self.rtt.smoothed()).unwrap_or(Rate::UNLIMITED)
    }

    /// A datagram left: `bytes` of UDP payload, of which `counted` count in flight.
    pub(crate) fn on_sent(&mut self, bytes: u64, counted: u64, last_number: u64, now: Instant) {
        if !self.face.validated {
            self.face.unproven_sent_bytes += bytes;
        }
        if counted > 0 {
            self.in_flight += counted;
            self.pacer.on_sent(counted, self.pacing_rate(), now);
            self.congestion.on_sent(&congestion::Sent {
                now,
                bytes: counted,
                in_flight_after: self.in_flight,
                last_packet_number: last_number,
            });
        }
    }

    /// A datagram left here although the path rides another route: only the credit knows of it.
    pub(crate) fn on_sent_aside(&mut self, bytes: u64) {
        if !self.face.validated {
            self.face.unproven_sent_bytes += bytes;
        }
    }

    /// Whether something other than the window or the pacer holds the sender back (RFC 9002 §7.8).
    pub(crate) fn set_app_limited(&mut self, app_limited: bool) {
        self.app_limited = app_limited;
    }

    /// Does something other than the window or the pacer hold the sender back?
    pub(crate) fn is_app_limited(&self) -> bool {
        self.app_limited
    }

    /// An acknowledgement measured a round trip (RFC 9002 §5).
    pub(crate) fn on_rtt_sample(
        &mut self,
        latest: Duration,
        ack_delay: Duration,
        max_ack_delay: Option<Duration>,
        now: Instant,
    ) {
        self.rtt.on_sample(latest, ack_delay, max_ack_delay);
        self.first_sample_at = self.first_sample_at.or(Some(now));
        self.last_sample_at = now;
        if let Some(samples) = &mut self.samples {
            samples.saturating_record((nanos(latest) / 1_000).clamp(1, RTT_US_MAX));
        }
    }

    /// The RTT that the next packet will see: the smoothed one while the route is in use. What a route at rest measured
    /// last includes queues that have drained since, so there the smallest one says more; without this a path whose
    /// first samples were slow would never be tried again.
    pub(crate) fn rtt_expected(&self, now: Instant) -> Duration {
        let smoothed = self.rtt.smoothed();
        let at_rest = self.in_flight == 0 && now.since(self.last_sample_at) > smoothed;
        if at_rest && self.rtt.has_sample() { self.rtt.min() } else { smoothed }
    }

    /// Packets were acknowledged.
    pub(crate) fn on_acked(&mut self, report: &AckReport, sampled: bool, next_number: u64, now: Instant) {
        self.mtu.on_acked(&report.large);
        self.trains.on_acked(&report.followers);
        if let Some((number, bytes)) = report.mtu_probe {
            self.mtu.on_probe_acked(bytes, number, now);
            self.on_size();
        }
        let before = self.in_flight;
        debug_assert!(report.bytes <= before, "acknowledged more than was in flight");
        self.in_flight -= report.bytes.min(before);
        self.loss_permille -= self.loss_permille.div_ceil(64).min(self.loss_permille);
        self.on_spurious(report.spurious, now);
        let newest_sent_at = report.newest_sent_at.unwrap_or(now);
        self.delivery.on_acked(report.bytes, newest_sent_at, now);
        self.congestion.on_acked(&congestion::Acked {
            now,
            bytes: report.bytes,
            packets: report.packets,
            in_flight_before: before,
            in_flight_after: self.in_flight,
            largest_acked: report.largest,
            newest_sent_at,
            next_packet_number: next_number,
            rtt_latest: sampled.then(|| self.rtt.latest()),
            rtt_smoothed: self.rtt.smoothed(),
            rtt_min: self.rtt.min(),
            app_limited: self.app_limited,
        });
    }

    /// Packets declared lost were acknowledged after all. Once none of an episode is missing, there was no congestion
    /// (RFC 9438 §4.9).
    fn on_spurious(&mut self, packets: u64, now: Instant) {
        let Some(episode) = self.episode.as_mut().filter(|_| packets > 0) else { return };
        episode.missing = episode.missing.saturating_sub(packets);
        if episode.missing == 0 {
            self.congestion.on_spurious(&congestion::Spurious { now, sent_at: episode.newest_sent_at });
            self.episode = None;
        }
    }

    /// Packets were lost; `persistent` says that it was persistent congestion (RFC 9002 §7.6).
    pub(crate) fn on_lost(&mut self, report: &LossReport, persistent: bool, now: Instant) {
        self.judge(report, now);
        let gone = report.bytes + report.mtu_probe_bytes;
        debug_assert!(gone <= self.in_flight, "lost more than was in flight");
        self.in_flight -= gone.min(self.in_flight);
        if report.bytes == 0 {
            return; // nothing that congestion control answers for (RFC 9002 §2, §7)
        }
        let more = 16 * report.packets.min(62) as u16;
        self.loss_permille = (self.loss_permille + more).min(1000);
        self.episode = Some(Episode::after(self.episode.take(), report, now));
        if persistent {
            self.rtt.on_persistent_congestion();
        }
        self.congestion.on_congestion(&congestion::Congestion {
            now,
            sent_at: report.newest_sent_at,
            lost_bytes: report.bytes,
            in_flight_after: self.in_flight,
            persistent,
            ecn: false,
        });
    }

    /// What losses say of sizes and trains.
    fn judge(&mut self, report: &LossReport, now: Instant) {
        if let Some(number) = report.mtu_probe {
            self.mtu.on_probe_lost(number, now);
        }
        self.trains.on_lost(&report.followers, now);
        if let Some(since) = self.mtu.on_lost(&report.large, now) {
            self.trains.on_explained(since);
            self.on_size();
        }
    }

    /// Was there an RTT sample before `at`? Losses before the first one prove no persistent congestion.
    pub(crate) fn sampled_before(&self, at: Instant) -> bool {
        self.first_sample_at.is_some_and(|first| first <= at)
    }

    /// Packets leave the books without a verdict on the network: their space is gone.
    pub(crate) fn on_discarded(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.in_flight);
        self.in_flight -= bytes.min(self.in_flight);
    }

    /// A datagram of full size did not fit the interface.
    pub(crate) fn on_too_big(&mut self, now: Instant) {
        self.mtu.on_refused(now);
        self.on_size();
    }

    /// The peer takes datagrams of this size at most (RFC 9000 §18.2, `max_udp_payload_size`).
    pub(crate) fn on_peer_maximum(&mut self, bytes: u64) {
        self.mtu.on_peer_maximum(bytes);
        self.on_size();
    }

    /// The size of the probe for a larger datagram size that may leave now; it needs room in the window like data
    /// (RFC 9000 §14.4).
    #[inline]
    pub(crate) fn mtu_probe_due(&self, now: Instant) -> Option<u16> {
        let bytes = self.mtu.probe_due(self.window(), now)?;
        if !self.face.validated || self.is_challenged() {
            return None;
        }
        let room = self.window_left() >= u64::from(bytes);
        (room && matches!(self.allowance(now), Allowance::Go { .. })).then_some(bytes)
    }

    /// When the probe under way counts as lost, `base` being the probe timeout.
    pub(crate) fn mtu_probe_until(&self, base: Duration) -> Option<Instant> {
        Some(self.mtu.probe_sent_at()? + base * MTU_PROBE_TIMEOUTS)
    }

    /// The datagram size may be another one now.
    fn on_size(&mut self) {
        let size = self.datagram_size();
        if self.pacer.datagram_size() != size {
            self.pacer.on_datagram_size(size);
            self.congestion.on_datagram_size(size);
        }
    }

    /// Bytes per second lately delivered; 0 while unknown.
    pub(crate) fn delivery_rate(&self) -> u64 {
        self.delivery.rate
    }

    /// Packets lost of the last thousand or so.
    pub(crate) fn loss_permille(&self) -> u16 {
        self.loss_permille
    }

    /// Its numbers, for the log of path `path`.
    pub(crate) fn metrics(&self, path: PathId) -> Metrics {
        let rtt = self.rtt.has_sample().then(|| RttMetrics {
            min: self.rtt.min(),
            smoothed: self.rtt.smoothed(),
            latest: self.rtt.latest(),
            var: self.rtt.var(),
        });
        let paced = self.congestion.pacing_rate(self.rtt.smoothed());
        Metrics {
            path,
            rtt,
            window: self.window(),
            in_flight: self.in_flight,
            pacing_rate: paced.map(Rate::bytes_per_second),
            slow_start: self.congestion.in_slow_start(),
        }
    }

    /// The 99th percentile of RTT samples, where they are kept.
    pub(crate) fn rtt_p99(&self) -> Option<Duration> {
        let samples = self.samples.as_ref().filter(|samples| !samples.is_empty())?;
        Some(Duration::from_micros(samples.value_at_quantile(0.99)))
    }
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, RTT_US_MAX, 2).expect("bounds are constants")
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
