//! Controllers in a closed loop with a bottleneck made of arithmetic: a rate, a propagation delay, a drop-tail queue.
//!
//! Also the facts that the unit tests of this room share.

use std::collections::VecDeque;

use super::*;

/// The instant `millis` ms after the origin.
pub(super) fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// At `now_ms`, `bytes` sent 50 ms ago were acknowledged.
pub(super) fn acked(now_ms: u64, bytes: u64) -> Acked {
    let rtt = Duration::from_millis(50);
    Acked {
        now: at(now_ms),
        bytes,
        packets: bytes.div_ceil(1_200),
        in_flight_before: bytes,
        in_flight_after: 0,
        largest_acked: 0,
        newest_sent_at: at(now_ms) - rtt,
        next_packet_number: 1,
        rtt_latest: None,
        rtt_smoothed: rtt,
        rtt_min: rtt,
        app_limited: false,
    }
}

/// At `now_ms`, a packet sent at `sent_ms` was found lost.
pub(super) fn lost(now_ms: u64, sent_ms: u64) -> Congestion {
    Congestion {
        now: at(now_ms),
        sent_at: at(sent_ms),
        lost_bytes: 1_200,
        in_flight_after: 0,
        persistent: false,
        ecn: false,
    }
}

const DATAGRAM: u64 = 1_200;
const RATE: Rate = Rate::from_bytes_per_second(12_500_000); // 100 Mbit/s
const DELAY: Duration = Duration::from_millis(50); // there and back
const PIPE: u64 = 625_000; // what fits on the way

/// A sender, paced and window limited, in front of the bottleneck. Every packet is acknowledged by itself; the third
/// packet acknowledged after a gap reveals the loss.
struct Loop {
    controller: AnyController,
    queue_max: u64,
    /// What the application produces, or no limit.
    source: Rate,
    /// Whether the controller is told round trips.
    sees_delay: bool,
    produced_at: Instant,
    now: Instant,
    may_send_at: Instant,
    link_free_at: Instant,
    flying: VecDeque<Packet>,
    next_number: u64,
    rtt_smoothed: Duration,
    rtt_min: Duration,
    source_ran_dry: bool,
    delivered: u64,
    lost: u64,
    queue_seen: u64,
    left_slow_start_at: Option<Instant>,
}

struct Packet {
    number: u64,
    sent_at: Instant,
    acked_at: Option<Instant>,
}

impl Loop {
    fn new(kind: &CongestionKind, queue_max: u64) -> Self {
        Self {
            controller: kind.build(1_200),
            queue_max,
            source: Rate::UNLIMITED,
            sees_delay: true,
            produced_at: Instant::ZERO,
            now: Instant::ZERO,
            may_send_at: Instant::ZERO,
            link_free_at: Instant::ZERO,
            flying: VecDeque::new(),
            next_number: 0,
            rtt_smoothed: DELAY,
            rtt_min: DELAY,
            source_ran_dry: false,
            delivered: 0,
            lost: 0,
            queue_seen: 0,
            left_slow_start_at: None,
        }
    }

    fn in_flight(&self) -> u64 {
        self.flying.len() as u64 * DATAGRAM
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let room = self.in_flight() + DATAGRAM <= self.controller.window();
            let send_at =
                if room { self.may_send_at.max(self.produced_at).max(self.now) } else { Instant::NEVER };
            let acked_at = self.flying.iter().find_map(|packet| packet.acked_at).unwrap_or(Instant::NEVER);
            self.source_ran_dry |= room && self.produced_at > self.now.max(self.may_send_at);
            let next = send_at.min(acked_at);
            assert_ne!(next, Instant::NEVER, "nothing in flight and nothing to send");
            if next >= end {
                self.now = end;
                return;
            }
            self.now = next;
            if acked_at <= send_at {
                self.acknowledge();
            } else {
                self.send();
            }
            if self.left_slow_start_at.is_none() && !self.controller.in_slow_start() {
                self.left_slow_start_at = Some(self.now);
            }
        }
    }

    fn send(&mut self) {
        let start = self.link_free_at.max(self.now);
        let queue = RATE.bytes_in(start.since(self.now));
        self.queue_seen = self.queue_seen.max(queue);
        let acked_at = (queue + DATAGRAM <= self.queue_max).then(|| {
            self.link_free_at = start + RATE.time_for(DATAGRAM);
            self.link_free_at + DELAY
        });
        let number = self.next_number;
        self.flying.push_back(Packet { number, sent_at: self.now, acked_at });
        self.next_number += 1;
        let rate = self.controller.pacing_rate(self.rtt_smoothed).unwrap_or(Rate::UNLIMITED);
        self.may_send_at = self.now + rate.time_for(DATAGRAM);
        self.produced_at = self.produced_at.max(self.now - DELAY) + self.source.time_for(DATAGRAM);
        self.controller.on_sent(&Sent {
            now: self.now,
            bytes: DATAGRAM,
            in_flight_after: self.in_flight(),
            last_packet_number: number,
        });
    }

    fn acknowledge(&mut self) {
        let before = self.in_flight();
        let index = self.flying.iter().position(|packet| packet.acked_at.is_some()).unwrap();
        let packet = self.flying.remove(index).unwrap();
        let rtt = self.now.since(packet.sent_at);
        self.rtt_min = self.rtt_min.min(rtt);
        self.rtt_smoothed = (self.rtt_smoothed * 7 + rtt) / 8;
        self.delivered += DATAGRAM;
        self.declare_lost(packet.number);
        self.controller.on_acked(&Acked {
            now: self.now,
            bytes: DATAGRAM,
            packets: 1,
            in_flight_before: before,
            in_flight_after: self.in_flight(),
            largest_acked: packet.number,
            newest_sent_at: packet.sent_at,
            next_packet_number: self.next_number,
            rtt_latest: self.sees_delay.then_some(rtt),
            rtt_smoothed: self.rtt_smoothed,
            rtt_min: self.rtt_min,
            app_limited: std::mem::take(&mut self.source_ran_dry),
        });
    }

    fn declare_lost(&mut self, largest: u64) {
        let mut newest = None;
        let mut count = 0;
        while let Some(packet) =
            self.flying.front().filter(|it| it.acked_at.is_none() && it.number + 3 <= largest)
        {
            newest = Some(packet.sent_at);
            count += 1;
            self.flying.pop_front();
        }
        let Some(sent_at) = newest else { return };
        self.lost += count;
        self.controller.on_congestion(&Congestion {
            now: self.now,
            sent_at,
            lost_bytes: count * DATAGRAM,
            in_flight_after: self.in_flight(),
            persistent: false,
            ecn: false,
        });
    }

    /// The share of the bottleneck that was used in the last `span`.
    fn share_until(&mut self, end: Instant) -> f64 {
        let (from, before) = (self.now, self.delivered);
        self.run_until(end);
        (self.delivered - before) as f64 / RATE.bytes_in(end.since(from)) as f64
    }
}

const OURS: [CongestionKind; 2] = [CongestionKind::NewReno, CongestionKind::Cubic];

#[test]
fn both_controllers_fill_a_bottleneck_with_a_queue_of_one_pipe() {
    for kind in OURS {
        let mut flow = Loop::new(&kind, PIPE);
        flow.run_until(at(5_000));
        let share = flow.share_until(at(60_000));
        assert!(share > 0.98, "{kind}: {share}");
        assert!(flow.lost > 0, "{kind} never reached the end of the queue, so this proves little");
        assert!(flow.lost < flow.delivered / DATAGRAM / 1_000, "{kind} lost {}", flow.lost);
    }
}

#[test]
fn cubic_fills_it_better_than_newreno_when_the_queue_is_short() {
    let [newreno, cubic] = OURS.map(|kind| {
        let mut flow = Loop::new(&kind, PIPE / 10);
        flow.run_until(at(10_000));
        flow.share_until(at(90_000))
    });
    assert!(cubic > newreno, "cubic {cubic}, newreno {newreno}");
    assert!(cubic > 0.90, "{cubic}");
}

/// Runs to the end of slow start, which may see what happens to round trips or not.
fn after_slow_start(kind: &CongestionKind, queue_max: u64, sees_delay: bool) -> Loop {
    let mut flow = Loop { sees_delay, ..Loop::new(kind, queue_max) };
    while flow.left_slow_start_at.is_none() {
        flow.run_until(flow.now + Duration::from_millis(1));
        assert!(flow.now < at(3_000), "{kind} stays in slow start");
    }
    flow
}

#[test]
fn slow_start_ends_before_a_deep_queue_overflows_and_with_the_pipe_full() {
    for kind in OURS {
        let mut flow = after_slow_start(&kind, 6 * PIPE, true);
        assert_eq!(flow.lost, 0, "{kind}");
        let window = flow.controller.window();
        assert!((PIPE..6 * PIPE).contains(&window), "{kind}: {window}");
        let share = flow.share_until(flow.now + Duration::from_secs(2));
        assert!(share > 0.99, "{kind}: {share}");
        assert_eq!(flow.lost, 0, "{kind}");

        let mut blind = after_slow_start(&kind, 6 * PIPE, false);
        blind.run_until(blind.now + Duration::from_secs(2));
        assert!(blind.lost > 1_000, "{kind} without HyStart++ loses about a window: {}", blind.lost);
    }
}

#[test]
fn where_a_queue_of_one_pipe_is_too_short_for_it_slow_start_still_loses_much_less() {
    for kind in OURS {
        let [hystart, blind] = [true, false].map(|sees_delay| {
            let mut flow = after_slow_start(&kind, PIPE, sees_delay);
            flow.run_until(flow.now + Duration::from_millis(300));
            flow.lost
        });
        assert!(hystart * 3 < blind, "{kind}: {hystart} packets, {blind} without HyStart++");
    }
}

#[test]
fn a_flow_that_its_application_limits_does_not_grow() {
    for kind in OURS {
        let mut flow = Loop::new(&kind, PIPE);
        flow.source = RATE.scaled(1, 100); // 5 datagrams in a round trip, half the initial window
        flow.run_until(at(20_000));
        assert_eq!(flow.controller.window(), 12_000, "{kind}");
        assert!(flow.delivered > 2_400_000, "{kind}: {}", flow.delivered);
    }
}

#[test]
fn persistent_congestion_collapses_a_grown_window_to_the_minimum() {
    for kind in OURS {
        let mut flow = Loop::new(&kind, PIPE);
        flow.run_until(at(3_000));
        assert!(flow.controller.window() > PIPE / 2);
        let now = flow.now;
        flow.controller.on_congestion(&Congestion { persistent: true, now, sent_at: now, ..lost(0, 0) });
        assert_eq!(flow.controller.window(), 2_400, "{kind}");
        assert!(flow.controller.in_slow_start(), "{kind}");
        flow.flying.clear();
        flow.run_until(now + Duration::from_secs(2));
        assert!(flow.controller.window() > PIPE / 2, "{kind} recovers");
    }
}

#[test]
fn the_pacing_rate_spreads_a_window_and_leads_by_a_quarter_or_in_slow_start_by_all() {
    let rate = |slow| spread(PIPE, DELAY, slow).map(Rate::bytes_per_second);
    assert_eq!(rate(false), Some(15_625_000));
    assert_eq!(rate(true), Some(25_000_000));
    assert_eq!(spread(PIPE, Duration::ZERO, true), None);
}

#[test]
fn names_lead_to_controllers_and_back() {
    for name in ["newreno", "cubic"] {
        assert_eq!(name.parse::<CongestionKind>().unwrap().to_string(), name);
    }
    assert_eq!(CongestionKind::default().name(), "cubic");
    let error = "reno".parse::<CongestionKind>().unwrap_err();
    assert_eq!(error.to_string(), "unknown congestion controller \"reno\": choose newreno or cubic");
}

/// What a user might write: a window that never changes.
#[derive(Debug)]
struct Fixed(u64);

impl Controller for Fixed {
    fn on_sent(&mut self, _: &Sent) {}
    fn on_acked(&mut self, _: &Acked) {}
    fn on_congestion(&mut self, _: &Congestion) {}
    fn on_datagram_size(&mut self, _: u16) {}
    fn reset(&mut self) {}
    fn window(&self) -> u64 {
        self.0
    }
    fn in_slow_start(&self) -> bool {
        false
    }
}

#[test]
fn a_users_controller_runs_in_the_same_loop() {
    let kind =
        CongestionKind::Custom(ControllerFactory::new("fixed", |size| Box::new(Fixed(50 * u64::from(size)))));
    let mut flow = Loop::new(&kind, PIPE);
    let share = flow.share_until(at(10_000));
    assert_eq!(kind.to_string(), "fixed");
    assert!((share - 0.096).abs() < 0.002, "60,000 of 625,000 bytes: {share}");
}
