//! Tests of `mtu`: searches on routes of any size, refusals, black holes.

use super::*;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn secs(secs: u64) -> Instant {
    at(1000 * secs)
}

const MOST: u64 = u64::MAX;

/// Probes until nothing is due, on a route that carries up to `carried` bytes. Returns the sizes probed.
fn search(mtu: &mut Mtu, carried: u16, now: Instant) -> Vec<u16> {
    let mut probed = Vec::new();
    while let Some(bytes) = mtu.probe_due(MOST, now) {
        let number = 100 + probed.len() as u64;
        mtu.on_probe_sent(bytes, number, now);
        assert_eq!(mtu.probe_due(MOST, now), None, "one at a time");
        probed.push(bytes);
        if bytes <= carried {
            mtu.on_probe_acked(bytes, number, now);
        } else {
            mtu.on_probe_lost(number, now);
        }
    }
    probed
}

fn large(times: std::ops::Range<u64>, bytes: u16) -> Missing {
    let mut missing = Missing::default();
    for ms in times {
        missing.add(bytes, at(ms));
    }
    missing
}

/// Four bursts of three lost packets of full size.
fn swallow(mtu: &mut Mtu, from: u64) -> Option<Instant> {
    let bytes = mtu.size();
    (0..4)
        .filter_map(|burst| {
            mtu.on_lost(&large(from + burst * 10..from + burst * 10 + 3, bytes), at(from + burst * 10 + 5))
        })
        .last()
}

#[test]
fn a_route_that_carries_the_limit_takes_one_probe() {
    let mut mtu = Mtu::new(1200, 1452);
    assert_eq!(search(&mut mtu, 1500, at(1)), [1452]);
    assert_eq!((mtu.size(), mtu.take_news(), mtu.take_news()), (1452, Some(1452), None));
}

#[test]
fn the_search_ends_within_the_steps_of_the_common_sizes() {
    for limit in [1452, 1472, 8972, 65_507] {
        for carried in 1200..=limit {
            let mut mtu = Mtu::new(1200, limit);
            let probed = search(&mut mtu, carried, at(1));
            let mut sizes = probed.clone();
            sizes.dedup();
            assert!(sizes.len() <= 6, "{sizes:?} for {carried} of {limit}");
            assert!(probed.len() <= 16, "{probed:?} for {carried} of {limit}");
            let best = COMMON.into_iter().chain([1200, limit]).filter(|&it| it <= carried.min(limit)).max();
            assert_eq!(Some(mtu.size()), best, "{carried} of {limit}");
        }
    }
}

#[test]
fn where_jumbo_frames_do_not_pass_ethernet_is_tried_next() {
    let mut mtu = Mtu::new(1200, 8972);
    assert_eq!(search(&mut mtu, 1452, at(1))[..4], [8972, 8972, 8972, 1452]);
}

#[test]
fn a_size_that_exceeds_the_window_waits_while_smaller_ones_are_tried() {
    let mut mtu = Mtu::new(1200, 65_507);
    let mut probed = Vec::new();
    while let Some(bytes) = mtu.probe_due(12_000, at(1)) {
        mtu.on_probe_sent(bytes, 1, at(1));
        mtu.on_probe_acked(bytes, 1, at(1));
        probed.push(bytes);
    }
    assert_eq!(probed, [1452, 4052, 8952, 8972]);
    assert_eq!(mtu.probe_due(65_507, at(1)), Some(65_507));
}

#[test]
fn a_size_is_too_big_after_three_lost_probes_and_not_before() {
    let mut mtu = Mtu::new(1200, 1452);
    for number in 1..3 {
        mtu.on_probe_sent(1452, number, at(number));
        mtu.on_probe_lost(number, at(number));
        assert_eq!(mtu.probe_due(MOST, at(number)), Some(1452));
    }
    mtu.on_probe_sent(1452, 3, at(3));
    mtu.on_probe_lost(3, at(3));
    assert_eq!(mtu.probe_due(MOST, at(3)), Some(1392), "the middle of what is left");
}

#[test]
fn a_probe_that_arrives_late_counts_all_the_same() {
    let mut mtu = Mtu::new(1200, 1452);
    for number in 1..=3 {
        mtu.on_probe_sent(1452, number, at(number));
        mtu.on_probe_lost(number, at(number));
    }
    mtu.on_probe_acked(1452, 2, at(9));
    assert_eq!((mtu.size(), mtu.probe_due(MOST, at(9))), (1452, None));
}

#[test]
fn a_lost_probe_that_is_not_the_one_under_way_counts_for_nothing() {
    let mut mtu = Mtu::new(1200, 1452);
    for number in 1..20 {
        mtu.on_probe_sent(1452, number, at(number));
        mtu.on_silence();
        mtu.on_probe_lost(number, at(number));
    }
    assert_eq!(mtu.probe_due(MOST, at(20)), Some(1452), "silence is no verdict");
}

#[test]
fn a_search_that_ended_is_repeated_after_ten_minutes() {
    let mut mtu = Mtu::new(1200, 1452);
    search(&mut mtu, 1400, at(0));
    assert_eq!(mtu.size(), 1392);
    assert_eq!(mtu.probe_due(MOST, secs(599)), None);
    assert_eq!(mtu.probe_due(MOST, secs(600)), Some(1452));
    assert_eq!(search(&mut mtu, 1500, secs(600)), [1452]);
    assert_eq!((mtu.size(), mtu.probe_due(MOST, secs(6000))), (1452, None), "nothing is left to find");
}

#[test]
fn without_a_larger_size_to_find_nothing_is_probed() {
    for (start, most) in [(1200, 0), (1452, 0), (1200, 1200), (1452, 1452), (9000, 1452)] {
        assert_eq!(Mtu::new(start, most).probe_due(MOST, secs(9999)), None, "{start} {most}");
    }
}

#[test]
fn nothing_larger_is_sent_than_the_peer_takes() {
    let mut mtu = Mtu::new(1452, 9000);
    mtu.on_peer_maximum(1300);
    assert_eq!((mtu.size(), mtu.probe_due(MOST, at(1))), (1300, None));
    mtu.on_peer_maximum(65_527);
    assert_eq!((mtu.size(), mtu.probe_due(MOST, at(1))), (1300, None), "a limit is never lifted");
    let mut mtu = Mtu::new(1200, 9000);
    mtu.on_peer_maximum(1400);
    assert_eq!(search(&mut mtu, 9000, at(1)), [1400]);
    let mut mtu = Mtu::new(1200, 9000);
    mtu.on_peer_maximum(700);
    assert_eq!((mtu.size(), mtu.probe_due(MOST, at(1))), (1200, None), "RFC 9000 allows no such value");
}

#[test]
fn what_the_interface_refuses_ends_at_the_base_and_the_search_goes_on_below() {
    let mut mtu = Mtu::new(1452, 1472);
    mtu.on_refused(at(1));
    assert_eq!((mtu.size(), mtu.take_news()), (1200, Some(1200)));
    assert_eq!(search(&mut mtu, 1400, at(1)).first(), Some(&1392));
    assert_eq!(mtu.size(), 1392);
}

#[test]
fn a_refused_probe_is_no_matter_of_luck() {
    let mut mtu = Mtu::new(1200, 1472);
    mtu.on_probe_sent(1472, 7, at(1));
    assert_eq!(mtu.on_probe_refused(at(1)), Some(7));
    assert_eq!((mtu.size(), mtu.probe_due(MOST, at(1))), (1200, Some(1412)));
    assert_eq!(mtu.on_probe_refused(at(1)), None, "it never left");
    assert_eq!(mtu.probe_due(MOST, at(1)), Some(1372));
}

#[test]
fn large_packets_that_vanish_lower_the_size_at_once_and_for_a_minute() {
    let mut mtu = Mtu::new(1200, 1452);
    search(&mut mtu, 1500, at(0));
    assert_eq!(swallow(&mut mtu, 1000), Some(at(1000)));
    assert_eq!((mtu.size(), mtu.holes()), (1200, 1));
    mtu.on_probe_acked(1452, 100, at(1100));
    assert_eq!(mtu.size(), 1200, "that probe was sent before the hole opened");
    assert_eq!(mtu.probe_due(MOST, secs(61)), None);
    assert_eq!(search(&mut mtu, 1300, secs(62)).first(), Some(&1452));
    assert_eq!(mtu.size(), 1232);
}

#[test]
fn a_route_that_swallows_what_its_probes_found_is_tried_ever_more_rarely() {
    let mut mtu = Mtu::new(1200, 1452);
    let mut now_ms = 0;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        search(&mut mtu, 1500, at(now_ms));
        swallow(&mut mtu, now_ms + 100).unwrap();
        let from = now_ms;
        while mtu.probe_due(MOST, at(now_ms)).is_none() {
            now_ms += 1000;
        }
        pauses.push((now_ms - from) / 1000);
    }
    assert_eq!(pauses, [61, 121, 241, 481, 601, 601]);
}

#[test]
fn one_large_packet_that_arrives_between_saves_the_size() {
    let mut mtu = Mtu::new(1452, 1452);
    for burst in 0..50 {
        let from = 100 * burst;
        mtu.on_lost(&large(from..from + 9, 1452), at(from + 20));
        if burst % 3 == 2 {
            let mut arrived = Arrived::default();
            arrived.add(1452, at(from + 30));
            mtu.on_acked(&arrived);
        }
    }
    assert_eq!(mtu.size(), 1452);
}

#[test]
fn packets_that_are_smaller_than_those_lost_do_not_save_the_size() {
    let mut mtu = Mtu::new(1452, 1452);
    for burst in 0..4 {
        let from = 100 * burst;
        let mut arrived = Arrived::default();
        arrived.add(1300, at(from + 50));
        mtu.on_acked(&arrived);
        mtu.on_lost(&large(from..from + 9, 1452), at(from + 20));
    }
    assert_eq!(mtu.size(), 1200);
}
