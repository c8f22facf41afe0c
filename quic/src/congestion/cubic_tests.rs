//! The rules of CUBIC, one by one, against numbers computed by hand.

use super::super::tests::{acked, at, lost};
use super::*;

const DATAGRAM: u64 = 1_000;

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Slow start up to `datagrams` datagrams of 1,000 bytes, sent before 1 s.
fn at_window(datagrams: u64) -> Cubic {
    let mut cubic = Cubic::new(1_000);
    cubic.on_acked(&acked(900, (datagrams - 10) * DATAGRAM));
    assert_eq!(cubic.window(), datagrams * DATAGRAM);
    cubic
}

/// Acknowledges a window per round trip of 50 ms, in ten frames, from `now` for `span` (in ms). Returns the end.
fn run(cubic: &mut Cubic, mut now: u64, span: u64) -> u64 {
    let end = now + span;
    while now < end {
        now += 5;
        let bytes = cubic.window() / 10;
        cubic.on_acked(&Acked { rtt_smoothed: Duration::from_millis(50), ..acked(now, bytes) });
    }
    now
}

#[test]
fn the_curve_has_the_values_of_its_formula() {
    // W_max = 100 datagrams, K = 4 s: W(0) = 100 - 0.4 x 64 = 74.4
    let value = |seconds| curve(100_000, 4_000_000, secs(seconds), DATAGRAM);
    assert_eq!(value(0.0), 74_400);
    assert_eq!(value(2.0), 96_800);
    assert_eq!(value(4.0), 100_000);
    assert_eq!(value(6.0), 103_200);
    assert_eq!(value(9.0), 150_000);
    assert_eq!(curve(1_000, 60_000_000, Duration::ZERO, DATAGRAM), 0);
    assert_eq!(curve(u64::MAX, u64::MAX, Duration::MAX, 65_507), u64::MAX);
}

#[test]
fn the_plateau_is_the_cube_root_of_rise_over_c_away() {
    assert_eq!(plateau_us(25_600, DATAGRAM), 4_000_000);
    assert_eq!(plateau_us(300_000, DATAGRAM), 9_085_602); // cube root of 750 s^3
    assert_eq!(plateau_us(0, DATAGRAM), 0);
    assert!(plateau_us(1 << 36, 1) < 1 << 42);
}

#[test]
fn cube_roots_are_exact_at_cubes_and_just_below() {
    for root in [1u64, 2, 3, 999, 1 << 20, (1 << 42) - 1] {
        let cube = u128::from(root).pow(3);
        assert_eq!((cube_root(cube), cube_root(cube - 1)), (root, root - 1));
    }
}

#[test]
fn congestion_leaves_seven_tenths_and_remembers_the_peak() {
    let mut cubic = at_window(100);
    cubic.on_congestion(&lost(1_000, 950));
    assert_eq!(cubic.window(), 70_000);
    assert_eq!((cubic.peak, cubic.before), (Some(100_000), 100_000));
    assert!(!cubic.in_slow_start());
    cubic.on_congestion(&lost(1_010, 1_000));
    assert_eq!(cubic.window(), 70_000, "one reaction per round trip");
}

#[test]
fn a_falling_peak_makes_room_for_others() {
    assert_eq!(peak(100_000, None), 100_000);
    assert_eq!(peak(100_000, Some(100_000)), 100_000);
    assert_eq!(peak(100_000, Some(100_001)), 85_000);
    let mut cubic = at_window(100);
    cubic.on_congestion(&lost(1_000, 950));
    cubic.on_congestion(&lost(1_100, 1_050));
    assert_eq!((cubic.window(), cubic.peak, cubic.before), (49_000, Some(59_500), 70_000));
}

#[test]
fn the_window_is_back_at_the_peak_at_time_k_within_a_datagram() {
    let mut cubic = at_window(1_000);
    cubic.on_congestion(&lost(1_000, 950));
    assert_eq!(cubic.window(), 700_000);
    let now = run(&mut cubic, 1_100, 5); // the epoch begins
    let now = run(&mut cubic, now, 4_545); // half of K: 1000 - 0.4 x 4.54^3 = 962.5
    assert!(cubic.window().abs_diff(962_500) < 3 * DATAGRAM, "{}", cubic.window());
    run(&mut cubic, now, 4_540); // K = 9.0856 s
    assert!(cubic.window().abs_diff(1_000_000) < DATAGRAM, "{}", cubic.window());
}

#[test]
fn beyond_the_plateau_the_window_grows_ever_faster() {
    let mut cubic = at_window(1_000);
    cubic.on_congestion(&lost(1_000, 950));
    let now = run(&mut cubic, 1_100, 9_090);
    let plateau = cubic.window();
    let now = run(&mut cubic, now, 2_000);
    let first = cubic.window() - plateau;
    run(&mut cubic, now, 2_000);
    let second = cubic.window() - plateau - first;
    assert!(
        (3_000..4_500).contains(&first),
        "0.4 x 2^3 = 3.2 datagrams, and a little for the round trip: {first}"
    );
    assert!((22_000..27_000).contains(&second), "0.4 x (4^3 - 2^3) = 22.4: {second}");
}

#[test]
fn small_windows_grow_as_reno_would_with_alpha_until_the_old_window_and_then_by_one() {
    let mut cubic = at_window(20);
    cubic.on_congestion(&lost(1_000, 950));
    assert_eq!(cubic.window(), 14_000); // K = cube root of 15 = 2.47 s, so Reno is faster at 50 ms
    cubic.on_acked(&acked(1_100, 14_000)); // the epoch begins: 14,000 + 9/17 x 1,000
    assert_eq!(cubic.epoch.as_ref().map(|epoch| epoch.reno), Some(14_529));
    cubic.on_acked(&acked(1_150, 14_529));
    assert!((15_050..=15_060).contains(&cubic.window()), "{}", cubic.window());
    let mut epoch = Epoch::begin(at(0), 20_000, Some(20_000), DATAGRAM);
    assert_eq!(
        epoch.growth(&acked(0, 20_000), 20_000, 20_000, 20_000, DATAGRAM),
        1_000,
        "alpha is 1 at cwnd_prior"
    );
}

#[test]
fn one_round_trip_never_asks_for_more_than_half_a_window_more() {
    let mut epoch = Epoch::begin(at(0), 10_000, Some(1_000_000), DATAGRAM);
    epoch.elapsed = secs(60.0);
    assert_eq!(epoch.growth(&acked(0, 10_000), 10_000, 10_000, 1_000_000, DATAGRAM), 5_000);
}

#[test]
fn time_in_which_the_window_was_no_limit_does_not_count() {
    let mut cubic = at_window(1_000);
    cubic.on_congestion(&lost(1_000, 950));
    let now = run(&mut cubic, 1_100, 1_000);
    let window = cubic.window();
    for late in 1..100 {
        cubic.on_acked(&Acked { app_limited: true, ..acked(now + late * 100, 5_000) });
    }
    assert_eq!(cubic.window(), window);
    let sent = Sent { now: at(60_000), bytes: 1_000, in_flight_after: 1_000, last_packet_number: 7 };
    cubic.on_sent(&sent);
    let elapsed = |cubic: &Cubic| cubic.epoch.as_ref().map(|epoch| epoch.elapsed);
    assert_eq!(elapsed(&cubic), Some(Duration::from_millis(995)));
    cubic.on_acked(&acked(60_050, 1_000));
    assert_eq!(elapsed(&cubic), Some(Duration::from_millis(1_045)));
}

#[test]
fn a_mistaken_reduction_is_taken_back_whole() {
    let mut cubic = at_window(1_000);
    cubic.on_congestion(&lost(1_000, 950));
    run(&mut cubic, 1_100, 2_000);
    let (window, curve) = (cubic.window(), cubic.epoch.as_ref().map(|epoch| (epoch.peak, epoch.elapsed)));
    cubic.on_congestion(&lost(3_200, 3_150));
    assert_eq!(cubic.window(), window * 7 / 10);
    run(&mut cubic, 3_250, 100);
    cubic.on_spurious(&Spurious { now: at(3_400), sent_at: at(3_150) });
    assert_eq!(cubic.window(), window);
    assert_eq!((cubic.peak, cubic.before), (Some(1_000_000), 1_000_000));
    assert_eq!(cubic.epoch.as_ref().map(|epoch| (epoch.peak, epoch.elapsed)), curve);
    cubic.on_spurious(&Spurious { now: at(3_410), sent_at: at(3_150) });
    assert_eq!(cubic.window(), window, "nothing is taken back twice");
    cubic.on_acked(&acked(3_450, 1_000));
    let elapsed = cubic.epoch.as_ref().map(|epoch| epoch.elapsed);
    assert_eq!(
        elapsed,
        curve.map(|(_, before)| before + Duration::from_millis(50)),
        "the episode does not count"
    );
}

#[test]
fn what_was_won_back_meanwhile_is_kept() {
    let mut cubic = at_window(20);
    cubic.on_congestion(&lost(1_000, 950));
    run(&mut cubic, 1_100, 10_000);
    let window = cubic.window();
    assert!(window > 20_000);
    cubic.on_spurious(&Spurious { now: at(12_000), sent_at: at(950) });
    assert_eq!(cubic.window(), window);
    assert_eq!(cubic.peak, Some(20_000));
}

#[test]
fn a_spurious_loss_in_slow_start_resumes_it() {
    let mut cubic = at_window(100);
    cubic.on_congestion(&lost(1_000, 950));
    cubic.on_spurious(&Spurious { now: at(1_020), sent_at: at(950) });
    assert_eq!(cubic.window(), 100_000);
    assert!(cubic.in_slow_start());
    cubic.on_congestion(&lost(1_030, 960));
    assert_eq!(cubic.window(), 70_000, "a true loss of the same round trip still counts");
}

#[test]
fn persistent_congestion_is_not_taken_back() {
    let mut cubic = at_window(1_000);
    cubic.on_congestion(&Congestion { persistent: true, ..lost(1_000, 950) });
    assert_eq!(cubic.window(), 2_000);
    assert!(cubic.in_slow_start());
    cubic.on_spurious(&Spurious { now: at(1_020), sent_at: at(950) });
    assert_eq!(cubic.window(), 2_000);
    cubic.on_acked(&acked(1_100, 698_000));
    assert_eq!(cubic.window(), 700_000, "slow start leads to the threshold");
    cubic.on_acked(&acked(1_150, 1_000));
    let plateau = cubic.epoch.as_ref().map(|epoch| (epoch.peak, epoch.plateau_us));
    assert_eq!(plateau, Some((1_000_000, 9_085_602)));
}

#[test]
fn a_new_route_forgets_the_peak() {
    let mut cubic = at_window(1_000);
    cubic.on_congestion(&lost(1_000, 950));
    run(&mut cubic, 1_100, 500);
    cubic.reset();
    assert_eq!((cubic.window(), cubic.peak), (10_000, None));
    assert!(cubic.in_slow_start() && cubic.epoch.is_none() && cubic.undo.is_none());
}
