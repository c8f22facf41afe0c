use super::*;

const PATH: &str = "[[path]]\nrate = '10Mbps'\ndelay = '10ms'\n";
const TRANSFER: &str = "[[transfer]]\nsize = '100kB'\n";

fn outcome(text: &str) -> Outcome {
    let ready = read(text, Instead::default()).unwrap_or_else(|error| panic!("{error}"));
    ready.run(&Wanted::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// What is said about a file with one path and one transfer that continues like this.
fn refusal(more: &str) -> String {
    whole_refusal(&format!("{PATH}{TRANSFER}{more}"))
}

fn whole_refusal(text: &str) -> String {
    read(text, Instead::default()).err().unwrap_or_else(|| panic!("accepted:\n{text}"))
}

fn assert_says(cases: &[(&str, &str)]) {
    for (more, says) in cases {
        let error = refusal(more);
        assert!(error.contains(says), "{more}\n{error}");
    }
}

#[test]
fn the_smallest_scenario_is_a_path_and_a_transfer() {
    let outcome = outcome(&format!("{PATH}{TRANSFER}"));
    assert!(outcome.failure().is_none());
    assert_eq!(outcome.transfers[0].name, "transfer 0");
    assert_eq!((outcome.paths[0].name.as_str(), outcome.paths[0].bytes), ("0", 100_008));
    assert_eq!((outcome.seed, outcome.scheduler.as_str()), (1, "min-rtt"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_belongs_there() {
    let error = whole_refusal("[[path]]\nrate = '10Mbps'\nlatency = '10ms'\n");
    assert!(error.contains("line 3") && error.contains("`latency`") && error.contains("`delay`"), "{error}");
    let error = whole_refusal("sheduler = 'min-rtt'\n");
    assert!(error.contains("line 1") && error.contains("`scheduler`"), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_an_example() {
    for (text, line, says) in [
        ("[[path]]\nrate = 10\n", "line 2", "\"10Mbps\""),
        ("[[path]]\nrate = '10'\n", "line 2", "10Mbps"),
        ("[[path]]\n\ndelay = '10'\n", "line 3", "20ms"),
        ("[[path]]\nloss = 2\n", "line 2", "2.5%"),
        ("[[path]]\nqueue = '0ms'\n", "line 2", "64KiB"),
        ("[[path]]\nburst-loss = { to-bad = '1%' }\n", "line 2", "to-good"),
        ("[[event]]\ndo = 'explode'\n", "line 2", "`cut-up`"),
        ("[[transfer]]\ndirection = 'sideways'\n", "line 2", "`download`"),
        ("scheduler = 'best'\n", "line 1", "choose min-rtt"),
        ("congestion = 'bbr'\n", "line 1", "choose newreno"),
        ("seed = -1\n", "line 1", "u64"),
    ] {
        let error = whole_refusal(text);
        assert!(error.contains(line) && error.contains(says), "{text}\n{error}");
    }
}

#[test]
fn a_scenario_without_paths_or_transfers_is_refused() {
    assert!(whole_refusal(TRANSFER).contains("no [[path]]"));
    assert!(whole_refusal(PATH).contains("no [[transfer]]"));
    let nine = PATH.repeat(9) + TRANSFER;
    assert_eq!(whole_refusal(&nine), "line 25: more than 8 paths");
}

#[test]
fn a_path_needs_a_rate_and_a_delay_and_one_of_what_excludes_each_other() {
    assert_says(&[
        ("[[path]]\ndelay = '1ms'\n", "line 6: a path needs a `rate`"),
        ("[[path]]\nrate = '1Mbps'\n", "needs a `delay`"),
        ("[[path]]\nrate = '1Mbps'\nup = { delay = '1ms' }\n", "needs a `delay`"),
        ("[[path]]\nrate = '1Mbps'\ndelay = '1ms'\nname = '0'\n", "called `0` already"),
        ("[[path]]\nshares = '0'\ndelay = '1ms'\nrate = '1Mbps'\n", "none of its own"),
        ("[[path]]\nshares = 'x'\ndelay = '1ms'\n", "no path `x`; there is `0`"),
        (
            "[[path]]\nrate = '1Mbps'\ndelay = '1ms'\nloss = '1%'\nburst-loss = { to-bad = '1%', to-good = '9%' }\n",
            "`loss` and `burst-loss` exclude",
        ),
        (
            "[[path]]\ndelay = '1ms'\nmarkov-rate = { rates = ['1Mbps', '2Mbps'], means = ['1s', '0s'] }\n",
            "`means`",
        ),
    ]);
    let spare_first = format!("{PATH}spare = true\n{TRANSFER}");
    assert!(whole_refusal(&spare_first).contains("cannot be `spare`"));
}

#[test]
fn a_transfer_says_what_and_when_in_one_way_only() {
    assert_says(&[
        ("[[transfer]]\n", "line 6: a transfer has a `size`"),
        ("[[transfer]]\nsize = '1kB'\nrequest = '9B'\n", "a transfer has a `size`"),
        ("[[transfer]]\nrequest = '9B'\n", "a `request` and a `reply`"),
        ("[[transfer]]\nrequest = '7B'\nreply = '7B'\n", "at least 8 bytes"),
        ("[[transfer]]\nsize = '1kB'\nat = '1s'\nafter = 'transfer 0'\n", "one of `at`, `after`"),
        ("[[transfer]]\nsize = '1kB'\nafter = 'next'\n", "no transfer `next` above; there is `transfer 0`"),
        ("[[transfer]]\nsize = '1kB'\npause = '1s'\n", "`pause`"),
        ("[[transfer]]\nsize = '1kB'\ntimes = 3\n", "`times` needs an `every`"),
        ("[[transfer]]\nsize = '1kB'\nevery = '0s'\n", "`every` is above 0"),
        ("[[transfer]]\nsize = '1kB'\nevery = '1s'\ntimes = 0\n", "`times` is 0"),
        ("[[transfer]]\nsize = '1kB'\nparallel = 0\n", "`parallel` is 0"),
        ("[[transfer]]\nsize = '1kB'\nname = 'transfer 0'\n", "called `transfer 0` already"),
    ]);
}

#[test]
fn an_event_has_a_path_a_time_and_something_that_happens() {
    assert_says(&[
        ("[[event]]\ndo = 'kill'\nat = '1s'\n", "missing field `path`"),
        ("[[event]]\npath = '0'\ndo = 'kill'\n", "line 6: an event has a time"),
        (
            "[[event]]\npath = '0'\ndo = 'kill'\nat = '1s'\nafter-ready = '1s'\n",
            "either `at` or `after-ready`",
        ),
        ("[[event]]\npath = '0'\nat = '1s'\n", "an event needs a `do`"),
        ("[[event]]\npath = '0'\nat = '1s'\ndo = 'restore'\ndrain = true\n", "`drain` goes with"),
        ("[[event]]\npath = 'wifi'\nat = '1s'\ndo = 'kill'\n", "no path `wifi`; there is `0`"),
    ]);
}

#[test]
fn a_competitor_shares_a_bottleneck_for_a_while() {
    assert_says(&[
        ("[[competitor]]\nshares = 'x'\ndelay = '1ms'\n", "no path `x`"),
        ("[[competitor]]\nshares = '0'\n", "missing field `delay`"),
        ("[[competitor]]\nshares = '0'\ndelay = '1ms'\ncongestion = 'bbr'\n", "choose newreno"),
        ("[[competitor]]\nshares = '0'\ndelay = '1ms'\nat = '1s'\nuntil = '1s'\n", "not later than"),
    ]);
    let file = format!("{PATH}[[transfer]]\nsize = '4MB'\n");
    let alone = outcome(&file).completed_s;
    let more = "[[competitor]]\nname = 'rival'\nshares = '0'\ndelay = '10ms'\nat = '1s'\nuntil = '3s'\ncongestion = 'newreno'\n";
    let shared = outcome(&format!("{file}{more}"));
    assert!(shared.completed_s > alone, "{shared:?}");
    let rival = &shared.competitors[0];
    assert_eq!((rival.name.as_str(), rival.start_s, rival.end_s), ("rival", Some(1.0), None));
    // In two seconds of 10 Mbps, shared.
    let most = rival.delivered_bytes as f64 * 8.0 / 2e6;
    assert!(most > 1.0 && rival.goodput_mbps.is_some_and(|mbps| (mbps - most).abs() < 0.01), "{rival:?}");
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    let with = |key: &str| whole_refusal(&format!("{key}\n{PATH}{TRANSFER}"));
    assert_eq!(with("receive-window = 0"), "line 1: `receive-window` 0 would let nothing through");
    assert!(with("send-buffer = '0kB'").contains("`send-buffer` 0"));
    assert!(with("datagram-size = 1199").contains("not from 1200 to 65507"));
    assert!(with("datagram-size-max = 70").contains("`datagram-size-max` is 70, not from 1200"));
    assert!(with("keep-alive = '0s'").contains("above 0"));
}

#[test]
fn what_the_command_line_says_goes_before_the_file() {
    let text = format!("seed = 3\nscheduler = 'backup'\n{PATH}{TRANSFER}");
    let instead = Instead {
        seed: Some(9),
        scheduler: Some(SchedulerKind::RoundRobin),
        congestion: Some(CongestionKind::NewReno),
    };
    let outcome =
        read(&text, instead).unwrap_or_else(|error| panic!("{error}")).run(&Wanted::default()).unwrap();
    let said = (outcome.seed, outcome.scheduler.as_str(), outcome.congestion.as_str());
    assert_eq!(said, (9, "round-robin", "newreno"));
}

#[test]
fn directions_may_differ() {
    let text = "[[path]]\nrate = '8Mbps'\ndelay = '10ms'\nup = { rate = '2Mbps', delay = '40ms' }\n
        [[transfer]]\nname = 'up'\ndirection = 'upload'\nsize = '1MB'\n
        [[transfer]]\nname = 'down'\nafter = 'up'\npause = '1s'\nsize = '1MB'\n";
    let outcome = outcome(text);
    let [up, down] = [0, 1].map(|index| outcome.transfers[index].took_ms.unwrap());
    assert!((4_000.0..5_500.0).contains(&up), "1 MB at 2 Mbps: {up}");
    assert!((1_000.0..1_700.0).contains(&down), "1 MB at 8 Mbps: {down}");
    assert!(outcome.paths[0].rtt_min_ms.is_some_and(|rtt| (50.0..55.0).contains(&rtt)), "10 + 40 ms");
    let gap = outcome.transfers[1].start_s.unwrap() - outcome.transfers[0].end_s.unwrap();
    assert!((gap - 1.0).abs() < 1e-6, "{gap}");
}

#[test]
fn transfers_repeat_and_run_in_parallel_and_have_deadlines() {
    let text = format!(
        "{PATH}[[transfer]]\nname = 'ping'\nrequest = '100B'\nreply = '200B'\nat = '1s'\nevery = '50ms'\ntimes = 4\n\
         deadline = '30ms'\n[[transfer]]\nname = 'file'\nsize = '50kB'\nparallel = 3\nafter = 'ping'\ndeadline = '1ms'\n"
    );
    let outcome = outcome(&text);
    let pings: Vec<_> = outcome.transfers.iter().filter(|transfer| transfer.name == "ping").collect();
    assert_eq!(pings.len(), 4);
    for (index, ping) in pings.iter().enumerate() {
        assert!((ping.start_s.unwrap() - 1.0 - 0.05 * index as f64).abs() < 1e-6);
        assert_eq!((ping.upload_bytes, ping.download_bytes, ping.met_deadline), (92, 200, Some(true)));
    }
    let file = outcome.transfers.iter().find(|transfer| transfer.name == "file").unwrap();
    assert_eq!((file.download_bytes, file.met_deadline), (150_000, Some(false)));
    assert!(file.start_s >= pings[3].end_s);
    assert!(outcome.failure().is_none());
}

#[test]
fn a_scenario_that_cannot_complete_says_how_far_it_came() {
    let text = format!(
        "limit = '2s'\n{PATH}[[transfer]]\nsize = '1MB'\n[[event]]\npath = '0'\nat = '300ms'\ndo = 'cut-down'\n"
    );
    let outcome = outcome(&text);
    let failure = outcome.failure().unwrap();
    assert!(failure.starts_with("only ") && failure.ends_with(" of 1000000 bytes within 2 s"), "{failure}");
    assert!(outcome.longest_stall_ms > 1_500.0);
}

#[test]
fn every_event_does_what_it_says() {
    let run = |event: &str| {
        outcome(&format!(
            "{PATH}[[path]]\nname = 'far'\nrate = '10Mbps'\ndelay = '30ms'\n[[transfer]]\nsize = '2MB'\n{event}"
        ))
    };
    let calm = run("");
    assert_eq!(calm.paths[1].up.cut + calm.paths[1].down.cut, 0);
    let event = |what: &str| run(&format!("[[event]]\npath = 'far'\nafter-ready = '200ms'\n{what}\n"));
    let cut = |outcome: &Outcome| (outcome.paths[1].up.cut > 0, outcome.paths[1].down.cut > 0);
    assert_eq!(cut(&event("do = 'kill'")), (true, true));
    assert_eq!(cut(&event("do = 'cut-up'")), (true, false));
    let brought = |what: &str| event(what).paths[1].down.arrived;
    assert!(brought("do = 'kill'\ndrain = true") > brought("do = 'kill'"), "the queue still arrives");
    assert_eq!(cut(&event("do = 'cut-down'")), (false, true));
    assert!(event("do = 'unreachable'").paths[1].bytes < calm.paths[1].bytes);
    assert!(event("do = 'abandon'").paths[1].bytes < calm.paths[1].bytes);
    let reserved = event("do = 'backup'");
    assert!(reserved.paths[1].bytes < calm.paths[1].bytes / 2, "{reserved:?}");
    let freed = "do = 'backup'\n[[event]]\npath = 'far'\nafter-ready = '400ms'\ndo = 'available'";
    assert!(event(freed).paths[1].bytes > reserved.paths[1].bytes + 100_000);
    assert!(event("loss = '10%'").paths[1].down.lost > 10);
    assert_eq!(event("loss = '10%'\nup = { loss = 0 }").paths[1].up.lost, 0);
    assert!(event("rate = '100kbps'").completed_s > calm.completed_s);
    assert!(event("down = { delay = '300ms' }").paths[1].rtt_smoothed_ms > calm.paths[1].rtt_smoothed_ms);
    let healed = run(
        "[[event]]\npath = 'far'\nat = '400ms'\ndo = 'kill'\n[[event]]\npath = 'far'\nat = '500ms'\ndo = 'restore'\n",
    );
    let dead = run("[[event]]\npath = 'far'\nat = '400ms'\ndo = 'kill'\n");
    assert!(healed.paths[1].bytes > dead.paths[1].bytes);
}

#[test]
fn a_spare_path_waits_for_its_event_and_a_shared_one_for_its_turn() {
    let spare = |event: &str| {
        let path = "[[path]]\nname = 'b'\nrate = '10Mbps'\ndelay = '10ms'\nspare = true\n";
        outcome(&format!("{PATH}{path}[[transfer]]\nsize = '1MB'\n{event}")).paths[1].bytes
    };
    assert_eq!(spare(""), 0);
    assert!(spare("[[event]]\npath = 'b'\nat = '200ms'\ndo = 'open'\n") > 100_000);
    let one = outcome(&format!("{PATH}[[transfer]]\nsize = '2MB'\n"));
    let shared =
        outcome(&format!("{PATH}[[path]]\nshares = '0'\ndelay = '10ms'\n[[transfer]]\nsize = '2MB'\n"));
    let (one, shared) = (one.completed_s.unwrap(), shared.completed_s.unwrap());
    assert!(shared > 0.85 * one, "two paths through one bottleneck are not faster: {shared} after {one}");
}
