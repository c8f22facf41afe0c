//! Tests of `route`: credit, windows, datagram sizes, episodes of loss.

use super::*;
use crate::base::address::LocalId;

fn route(validated: bool) -> Route {
    let id = RouteId::new(LocalId(0), "127.0.0.1:1".parse().unwrap(), "127.0.0.2:2".parse().unwrap());
    Route::new(id, &TransportConfig::default(), validated)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// MP-114
#[test]
fn an_unproven_peer_gets_three_times_what_it_sent() {
    let mut route = route(false);
    assert_eq!(route.allowance(at(0)), Allowance::Credit);
    route.on_received(1200);
    assert_eq!(route.credit(), 3600);
    route.on_sent(2400, 2400, 1, at(0));
    assert_eq!(route.credit(), 1200);
    route.on_sent(1, 0, 2, at(0));
    assert_eq!(route.allowance(at(0)), Allowance::Credit);
    route.on_read_by_peer();
    assert!(matches!(route.allowance(at(0)), Allowance::Go { .. }));
}

#[test]
fn a_full_window_waits_for_acknowledgements() {
    let mut route = route(true);
    let window = route.window();
    route.on_sent(window, window, 9, at(0));
    assert_eq!(route.allowance(at(1000)), Allowance::Window);
    let report = AckReport { bytes: window, packets: 10, ..AckReport::default() };
    route.on_acked(&report, false, 10, at(1000));
    assert_eq!(route.in_flight(), 0);
    assert!(matches!(route.allowance(at(1000)), Allowance::Go { .. }));
}

#[test]
fn acknowledgements_and_other_small_packets_cost_no_window() {
    let mut route = route(true);
    route.on_sent(60, 0, 0, at(0));
    assert_eq!(route.in_flight(), 0);
}

#[test]
fn a_datagram_too_big_falls_back_to_the_size_every_route_carries() {
    let mut route = route(true);
    route.mtu = Mtu::new(1452, 0);
    route.on_peer_maximum(1300);
    assert_eq!((route.datagram_size(), route.pacer.datagram_size()), (1300, 1300));
    route.on_too_big(at(0));
    let least = DATAGRAM_SIZE_MIN;
    assert_eq!((route.datagram_size(), route.pacer.datagram_size()), (least, least));
}

#[test]
fn a_lost_probe_for_a_larger_size_is_no_congestion_and_frees_its_bytes() {
    let mut route = route(true);
    let window = route.window();
    route.on_sent(1452, 1452, 5, at(0));
    let lost = LossReport { mtu_probe: Some(5), mtu_probe_bytes: 1452, ..LossReport::default() };
    route.on_lost(&lost, false, at(50));
    assert_eq!((route.window(), route.in_flight(), route.loss_permille()), (window, 0, 0));
}

#[test]
fn a_probe_for_a_larger_size_waits_for_room_in_the_window() {
    let mut route = route(true);
    route.on_sent(route.window() - 1300, route.window() - 1300, 9, at(0));
    assert!(matches!(route.allowance(at(1000)), Allowance::Go { .. }), "there is room for a packet of 1200");
    assert_eq!(route.mtu_probe_due(at(1000)), None);
    route.on_discarded(200);
    assert_eq!(route.mtu_probe_due(at(1000)), Some(1452));
}

#[test]
fn a_route_that_is_being_validated_is_not_probed_for_its_size() {
    let mut route = route(true);
    assert_eq!(route.mtu_probe_due(at(1)), Some(1452));
    let second = Duration::from_secs(1);
    route.challenge(Challenge::new(second, second, at(1)));
    assert_eq!(route.mtu_probe_due(at(1)), None);
    route.end_challenge();
    assert_eq!(route.mtu_probe_due(at(1)), Some(1452));
}

#[test]
fn delivery_is_measured_over_whole_rounds() {
    let mut delivery = Delivery::default();
    delivery.on_acked(1000, at(1), at(10));
    assert_eq!(delivery.rate, 0, "nothing to compare with yet");
    delivery.on_acked(50_000, at(9), at(15));
    delivery.on_acked(50_000, at(10), at(20));
    assert_eq!(delivery.rate, 10_000_000, "100,000 bytes in 10 ms");
}

#[test]
fn a_route_at_rest_is_judged_by_its_best_sample() {
    let mut route = route(true);
    let ms = Duration::from_millis;
    route.on_rtt_sample(ms(10), Duration::ZERO, None, at(0));
    route.on_rtt_sample(ms(90), Duration::ZERO, None, at(100));
    let smoothed = route.rtt.smoothed();
    assert_eq!(smoothed, ms(20));
    assert_eq!(route.rtt_expected(at(110)), smoothed, "measured just now");
    assert_eq!(route.rtt_expected(at(121)), ms(10));
    route.on_sent(1200, 1200, 0, at(121));
    assert_eq!(route.rtt_expected(at(200)), smoothed, "in use");
}

#[test]
fn a_loss_that_was_none_gives_the_window_back() {
    let mut route = route(true);
    route.on_sent(12_000, 12_000, 9, at(0));
    let window = route.window();
    let lost = LossReport { packets: 2, bytes: 2400, newest_sent_at: at(0), ..LossReport::default() };
    route.on_lost(&lost, false, at(50));
    assert!(route.window() < window);
    let late = |spurious| AckReport { spurious, newest_sent_at: Some(at(0)), ..AckReport::default() };
    route.on_acked(&late(1), false, 10, at(60));
    assert!(route.window() < window, "one is still missing");
    route.on_acked(&late(1), false, 10, at(61));
    assert!(route.window() >= window);
}

#[test]
fn losses_sent_after_the_answer_are_an_episode_of_their_own() {
    let lost = |ms, packets| LossReport { packets, newest_sent_at: at(ms), ..LossReport::default() };
    let first = Episode::after(None, &lost(10, 2), at(50));
    let more = Episode::after(Some(first), &lost(50, 1), at(55));
    assert_eq!((more.missing, more.answered_at), (3, at(50)));
    let next = Episode::after(Some(more), &lost(51, 1), at(90));
    assert_eq!((next.missing, next.answered_at), (1, at(90)));
}

#[test]
fn a_lost_acknowledgement_is_no_congestion() {
    let mut route = route(true);
    let window = route.window();
    let lost = LossReport { packets: 1, ..LossReport::default() };
    route.on_lost(&lost, false, at(50));
    assert_eq!((route.window(), route.loss_permille()), (window, 0));
}
