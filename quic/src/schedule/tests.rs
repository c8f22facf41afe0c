//! Schedulers against tables of paths.

use super::*;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const FRESH: Demand = Demand::Fresh { bytes: 100_000 };
const REPAIR: Demand = Demand::Repair { bytes: 5_000 };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An idle path with a window of 120,000 bytes per round trip.
fn path(id: u32, rtt_ms: u64) -> PathView {
    PathView {
        id: PathId(id),
        backup: false,
        suspect: false,
        rtt: ms(rtt_ms),
        rtt_var: ms(1),
        one_way_delay: ms(rtt_ms) / 2,
        delivery_rate: 0,
        window_left: 120_000,
        in_flight: 0,
        queued: 0,
        ready_at: NOW,
        segment_size: 1_200,
        loss_permille: 0,
    }
}

fn full(path: PathView) -> PathView {
    PathView { window_left: 1_199, in_flight: 118_801, ..path }
}

fn paced(path: PathView, wait_ms: u64) -> PathView {
    PathView { ready_at: NOW + ms(wait_ms), ..path }
}

fn backup(path: PathView) -> PathView {
    PathView { backup: true, ..path }
}

fn suspect(path: PathView) -> PathView {
    PathView { suspect: true, ..path }
}

fn pick(kind: &SchedulerKind, paths: &[PathView], demand: Demand) -> Decision {
    kind.build().pick(paths, &demand, NOW)
}

const WAIT: Decision = Decision::Wait { until: None };
const OURS: [SchedulerKind; 3] = [SchedulerKind::MinRtt, SchedulerKind::RoundRobin, SchedulerKind::Backup];

fn wait_for(millis: u64) -> Decision {
    Decision::Wait { until: Some(NOW + ms(millis)) }
}

#[test]
fn min_rtt_fills_the_fast_path_first_then_the_next() {
    let kind = SchedulerKind::MinRtt;
    let (a, b, c) = (path(0, 40), path(1, 10), path(2, 25));
    assert_eq!(pick(&kind, &[a, b, c], FRESH), Decision::Send(1));
    assert_eq!(pick(&kind, &[a, full(b), c], FRESH), Decision::Send(2));
    assert_eq!(pick(&kind, &[a, full(b), paced(c, 1)], FRESH), Decision::Send(0));
    assert_eq!(pick(&kind, &[path(3, 10), path(5, 10)], FRESH), Decision::Send(0));
}

#[test]
fn a_single_path_is_no_special_case() {
    for kind in OURS {
        for demand in [FRESH, REPAIR] {
            assert_eq!(pick(&kind, &[path(0, 40)], demand), Decision::Send(0), "{kind}");
            assert_eq!(pick(&kind, &[full(path(0, 40))], demand), WAIT, "{kind}");
            assert_eq!(pick(&kind, &[paced(path(0, 40), 3)], demand), wait_for(3), "{kind}");
            assert_eq!(pick(&kind, &[], demand), WAIT, "{kind}");
        }
    }
}

#[test]
fn one_full_packet_of_room_is_enough_and_one_byte_less_is_not() {
    for kind in OURS {
        let room = |bytes| PathView { window_left: bytes, ..path(0, 10) };
        assert_eq!(pick(&kind, &[room(1_200)], FRESH), Decision::Send(0), "{kind}");
        assert_eq!(pick(&kind, &[room(1_199)], FRESH), WAIT, "{kind}");
    }
}

#[test]
fn when_only_pacing_blocks_the_first_pacer_sets_the_time() {
    for kind in [SchedulerKind::MinRtt, SchedulerKind::RoundRobin] {
        let paths = [paced(path(0, 10), 9), paced(path(1, 40), 4), paced(full(path(2, 5)), 1)];
        assert_eq!(pick(&kind, &paths, FRESH), wait_for(4), "{kind}: a full window has nothing to wait for");
    }
}

/// MP-140
#[test]
fn backup_paths_stay_idle_while_another_path_is_usable_even_if_it_is_full() {
    for kind in OURS {
        assert_eq!(pick(&kind, &[backup(path(0, 1)), path(1, 90)], FRESH), Decision::Send(1), "{kind}");
        assert_eq!(pick(&kind, &[backup(path(0, 1)), full(path(1, 90))], FRESH), WAIT, "{kind}");
        assert_eq!(pick(&kind, &[backup(path(0, 1)), full(path(1, 90))], REPAIR), WAIT, "{kind}");
        assert_eq!(pick(&kind, &[backup(path(0, 1)), paced(path(1, 90), 2)], FRESH), wait_for(2), "{kind}");
    }
}

#[test]
fn backup_paths_take_over_when_all_others_are_suspect() {
    for kind in OURS {
        let paths = [suspect(path(0, 1)), backup(path(1, 90))];
        assert_eq!(pick(&kind, &paths, FRESH), Decision::Send(1), "{kind}");
        assert_eq!(pick(&kind, &paths, REPAIR), Decision::Send(1), "{kind}");
    }
}

/// MP-142
#[test]
fn suspect_paths_are_used_when_there_are_no_others_and_backups_last_of_all() {
    for kind in OURS {
        assert_eq!(
            pick(&kind, &[suspect(path(0, 1)), suspect(path(1, 9))], FRESH),
            Decision::Send(0),
            "{kind}"
        );
        let paths = [suspect(backup(path(0, 1))), suspect(path(1, 9))];
        assert_eq!(pick(&kind, &paths, FRESH), Decision::Send(1), "{kind}");
        assert_eq!(pick(&kind, &[backup(path(0, 1))], FRESH), Decision::Send(0), "{kind}: all are backup");
    }
}

#[test]
fn round_robin_gives_each_path_a_train_in_turn() {
    let mut scheduler = SchedulerKind::RoundRobin.build();
    let paths = [path(0, 10), path(3, 90), path(7, 20)];
    let mut order = Vec::new();
    for _ in 0..7 {
        let Decision::Send(index) = scheduler.pick(&paths, &FRESH, NOW) else { panic!("all are open") };
        order.push(index);
        scheduler.on_sent(paths[index].id, 12_000);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn round_robin_skips_who_cannot_send_and_forgets_nobody() {
    let mut scheduler = SchedulerKind::RoundRobin.build();
    let (a, b, c) = (path(0, 10), path(1, 10), path(2, 10));
    scheduler.on_sent(PathId(0), 1_200);
    assert_eq!(scheduler.pick(&[a, full(b), c], &FRESH, NOW), Decision::Send(2));
    assert_eq!(
        scheduler.pick(&[a, b, c], &FRESH, NOW),
        Decision::Send(1),
        "a pick that was not sent costs no turn"
    );
    scheduler.on_sent(PathId(2), 1_200);
    assert_eq!(scheduler.pick(&[b, c], &FRESH, NOW), Decision::Send(0), "path 0 is gone: the next one wraps");
    scheduler.on_sent(PathId(9), 1_200);
    assert_eq!(scheduler.pick(&[a, b], &FRESH, NOW), Decision::Send(0));
}

#[test]
fn the_backup_scheduler_uses_the_first_path_alone() {
    let kind = SchedulerKind::Backup;
    assert_eq!(pick(&kind, &[path(0, 90), path(1, 1)], FRESH), Decision::Send(0));
    assert_eq!(pick(&kind, &[full(path(0, 90)), path(1, 1)], FRESH), WAIT);
    assert_eq!(pick(&kind, &[full(path(0, 90)), path(1, 1)], REPAIR), WAIT);
    assert_eq!(pick(&kind, &[paced(path(0, 90), 5), path(1, 1)], REPAIR), wait_for(5));
    assert_eq!(pick(&kind, &[suspect(path(0, 90)), path(1, 1)], FRESH), Decision::Send(1));
}

#[test]
fn eta_adds_pacing_queue_way_and_risk() {
    let idle = path(0, 40);
    assert_eq!(idle.eta(NOW), NOW + ms(20));
    assert_eq!(paced(idle, 7).eta(NOW), NOW + ms(27));
    assert_eq!(PathView { ready_at: Instant::ZERO, ..idle }.eta(NOW), NOW + ms(20));
    // 1,000 bytes a millisecond: 40,000 are on their way, 60,000 wait in front of the bottleneck or here
    let busy = PathView { delivery_rate: 1_000_000, in_flight: 70_000, queued: 30_000, ..idle };
    assert_eq!(busy.eta(NOW), NOW + ms(20 + 60));
    assert_eq!(PathView { in_flight: 10_000, ..busy }.eta(NOW), NOW + ms(20));
    assert_eq!(PathView { loss_permille: 50, ..idle }.eta(NOW), NOW + ms(22));
}

#[test]
fn without_a_delivery_rate_a_window_per_round_trip_is_assumed() {
    let unknown = PathView { in_flight: 60_000, window_left: 60_000, queued: 120_000, ..path(0, 40) };
    assert_eq!(unknown.eta(NOW), NOW + ms(20 + 20)); // 180,000 bytes at 120,000 in 40 ms, less one round trip
    let nothing = PathView { in_flight: 0, window_left: 0, queued: 1, ..path(0, 40) };
    assert!(nothing.eta(NOW) > NOW + Duration::from_secs(1_000_000));
}

#[test]
fn repairs_take_the_path_that_delivers_first() {
    for kind in [SchedulerKind::MinRtt, SchedulerKind::RoundRobin] {
        let near = PathView { delivery_rate: 1_000_000, ..path(0, 10) };
        let far = PathView { delivery_rate: 1_000_000, ..path(1, 60) };
        assert_eq!(pick(&kind, &[near, far], REPAIR), Decision::Send(0), "{kind}");
        let queue = PathView { in_flight: 40_000, ..near }; // 30 ms of queue and 5 ms of way, against 30 ms
        assert_eq!(pick(&kind, &[queue, far], REPAIR), Decision::Send(1), "{kind}");
        assert_eq!(pick(&kind, &[full(near), far], REPAIR), Decision::Send(1), "{kind}");
        assert_eq!(pick(&kind, &[suspect(near), far], REPAIR), Decision::Send(1), "{kind}");
        assert_eq!(
            pick(&kind, &[paced(near, 24), far], REPAIR),
            wait_for(24),
            "{kind}: still earlier than far"
        );
        assert_eq!(pick(&kind, &[paced(near, 26), far], REPAIR), Decision::Send(1), "{kind}");
    }
}

#[test]
fn names_lead_to_schedulers_and_back() {
    for name in ["min-rtt", "round-robin", "backup"] {
        assert_eq!(name.parse::<SchedulerKind>().unwrap().to_string(), name);
    }
    assert_eq!(SchedulerKind::default().name(), "min-rtt");
    let error = "fast".parse::<SchedulerKind>().unwrap_err();
    assert_eq!(error.to_string(), "unknown scheduler \"fast\": choose min-rtt, round-robin or backup");
}

/// A user's scheduler that always answers the same.
#[derive(Debug)]
struct Stubborn(Decision);

impl Scheduler for Stubborn {
    fn pick(&mut self, _: &[PathView], _: &Demand, _: Instant) -> Decision {
        self.0
    }
}

/// MP-285
#[test]
fn a_users_scheduler_can_neither_overdraw_nor_outrun_nor_invent_a_path() {
    let paths = [path(0, 10), full(path(1, 10)), paced(path(2, 10), 6)];
    let answer = |decision| {
        let kind =
            SchedulerKind::Custom(SchedulerFactory::new("stubborn", move || Box::new(Stubborn(decision))));
        pick(&kind, &paths, FRESH)
    };
    assert_eq!(answer(Decision::Send(0)), Decision::Send(0));
    assert_eq!(answer(Decision::Send(1)), WAIT);
    assert_eq!(answer(Decision::Send(2)), wait_for(6));
    assert_eq!(answer(Decision::Send(3)), WAIT);
    assert_eq!(answer(wait_for(1)), wait_for(1));
}

fn reason(kind: &SchedulerKind, paths: &[PathView], demand: Demand) -> Reason {
    let mut scheduler = kind.build();
    let decision = scheduler.pick(paths, &demand, NOW);
    why(paths, decision, scheduler.rule(&demand), NOW)
}

#[test]
fn a_train_says_why_it_went_where_it_went() {
    let [min_rtt, round_robin, standby] = OURS;
    let (a, b, c) = (path(0, 40), path(1, 10), path(2, 25));
    for kind in OURS {
        assert_eq!(reason(&kind, &[a], FRESH), Reason::OnlyPath, "{kind}");
        assert_eq!(reason(&kind, &[suspect(a), b, backup(c)], FRESH), Reason::OnlyEligible, "{kind}");
        assert_eq!(reason(&kind, &[suspect(a), backup(b), backup(c)], FRESH), Reason::LastBackup, "{kind}");
        assert_eq!(reason(&kind, &[suspect(a), suspect(b)], FRESH), Reason::AllSuspect, "{kind}");
    }
    assert_eq!(reason(&min_rtt, &[a, b, c], FRESH), Reason::LowestRtt);
    assert_eq!(reason(&min_rtt, &[a, b, c], REPAIR), Reason::Earliest);
    assert_eq!(
        reason(&min_rtt, &[full(a), b, full(c)], FRESH),
        Reason::LowestRtt,
        "with or without room elsewhere"
    );
    assert_eq!(reason(&min_rtt, &[full(a), full(b), c], FRESH), Reason::OnlyWithRoom);
    assert_eq!(reason(&min_rtt, &[full(a), paced(b, 1), c], FRESH), Reason::OnlyReady);
    assert_eq!(reason(&min_rtt, &[full(a), full(b), c], REPAIR), Reason::OnlyWithRoom);
    assert_eq!(reason(&min_rtt, &[paced(a, 1), b], REPAIR), Reason::Earliest, "a pacer does not decide");
    assert_eq!(reason(&round_robin, &[a, b, c], FRESH), Reason::Turn);
    assert_eq!(
        reason(&standby, &[a, full(b), c], FRESH),
        Reason::Carrier,
        "the others' room does not matter"
    );
}

#[test]
fn a_train_that_waits_says_what_for() {
    let [min_rtt, _, standby] = OURS;
    let (a, b) = (path(0, 40), path(1, 10));
    for kind in OURS {
        assert_eq!(reason(&kind, &[full(a), full(b)], FRESH), Reason::Window, "{kind}");
        assert_eq!(reason(&kind, &[paced(a, 1), paced(b, 2)], FRESH), Reason::Pacer, "{kind}");
        assert_eq!(reason(&kind, &[full(a), backup(b)], FRESH), Reason::Window, "{kind}");
    }
    assert_eq!(reason(&standby, &[full(a), b], FRESH), Reason::Held, "path 1 could send");
    assert_eq!(reason(&min_rtt, &[a, paced(b, 1)], REPAIR), Reason::Held, "path 1 is earlier all the same");
}

#[test]
fn a_users_own_rule_has_a_name_where_there_was_a_choice() {
    #[derive(Debug)]
    struct Last;
    impl Scheduler for Last {
        fn pick(&mut self, paths: &[PathView], _: &Demand, _: Instant) -> Decision {
            Decision::Send(paths.len() - 1)
        }

        fn rule(&self, _: &Demand) -> Reason {
            Reason::OwnRule("last")
        }
    }
    let kind = SchedulerKind::Custom(SchedulerFactory::new("last", || Box::new(Last)));
    assert_eq!(reason(&kind, &[path(0, 1), path(1, 1)], FRESH), Reason::OwnRule("last"));
    assert_eq!(reason(&kind, &[full(path(0, 1)), path(1, 1)], FRESH), Reason::OnlyWithRoom);
    assert_eq!(reason(&kind, &[path(0, 1), full(path(1, 1))], FRESH), Reason::Held, "it overdrew a window");
}
