use super::*;
use crate::load::{Pace, Pattern, Shape, Work};

fn plan(words: &str) -> Plan {
    match read(line(words), 4) {
        Ok(Task::Run(plan)) => *plan,
        other => panic!("{words}: {other:?}"),
    }
}

fn sentence(words: &str) -> String {
    match read(line(words), 4) {
        Err(Refusal::Usage(sentence)) => sentence,
        other => panic!("{words}: {other:?}"),
    }
}

fn line(words: &str) -> impl Iterator<Item = &str> {
    std::iter::once("loadgen").chain(words.split_whitespace())
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_first_command_of_the_readme_measures_bulk_on_loopback() {
    let plan = plan("--paths 4");
    assert_eq!((plan.target, plan.paths, plan.repeat, plan.ceiling), (None, 4, 1, false));
    let shape = Shape { download_bytes: 1 << 30, upload_bytes: 0 };
    let expected = Load {
        work: Work::Requests { shape, at_once: 1 },
        connections: 1,
        idle: 0,
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(5),
    };
    assert_eq!(plan.load, expected);
    assert_eq!((plan.workers, plan.datagram_bytes, plan.trust), (1, 1452, Trust::Pinned));
}

#[test]
fn every_option_reaches_the_plan() {
    let plan = plan(
        "example.org:4433 --paths 2 --local 10.0.0.1,10.1.0.1 --remote 10.0.0.2,10.1.0.2:5 --connections 9 \
         --streams 3 --download 64K --upload 1M --duration 2s --warmup 500ms --workers 3 --io mmsg --sockets shared \
         --seed 7 --kill-path 1@1s --kill-path 0@1500ms --stats-from 10.0.0.2:9000 --json - --ca ca.pem \
         --server-name other.example --scheduler round-robin --congestion newreno --datagram-size 1300 \
         --code-points both --packet-protection ring --ack-frequency on --qlog logs/ --qlog-sample 5 \
         --rate 5000 --arrivals poisson --idle 20 --repeat 6 --ceiling --hdr latency.hlog",
    );
    assert_eq!(plan.target, Some(Host { name: "example.org".into(), port: 4433 }));
    assert_eq!(plan.remotes[0], Host { name: "10.0.0.2".into(), port: 4433 });
    assert_eq!(plan.remotes[1], Host { name: "10.1.0.2".into(), port: 5 });
    let shape = Shape { download_bytes: 65_536, upload_bytes: 1 << 20 };
    let expected = Load {
        work: Work::Requests { shape, at_once: 3 },
        connections: 9,
        idle: 20,
        pace: Pace::Open { per_second: 5000.0, pattern: Pattern::Poisson },
        warmup: Duration::from_millis(500),
        duration: Duration::from_secs(2),
    };
    assert_eq!((plan.load, plan.workers), (expected, 3));
    assert_eq!((plan.repeat, plan.ceiling, plan.hdr), (6, true, Some("latency.hlog".into())));
    assert_eq!((plan.sockets, plan.seed, plan.datagram_bytes), (Sockets::Shared, Some(7), 1300));
    assert_eq!(plan.datagram_bytes_max, 0, "a size that was chosen stays");
    assert!(matches!(plan.io, IoKind::Mmsg));
    let second = Duration::from_secs(1);
    assert_eq!(plan.kills, [Kill { path: 1, after: second }, Kill { path: 0, after: second * 3 / 2 }]);
    assert_eq!(plan.stats_from, Some("10.0.0.2:9000".parse().unwrap()));
    assert_eq!((plan.json, plan.trust), (Some(Json::Stdout), Trust::Signed("ca.pem".into())));
    assert_eq!(plan.server_name.as_deref(), Some("other.example"));
    assert!(plan.scheduler.is_some() && plan.congestion.is_some());
    assert_eq!(plan.code_points, MultipathCodePoints::Both);
    assert_eq!(plan.packet_protection, PacketProtection::Ring);
    assert!(plan.ack_frequency);
    assert!(plan.qlog.is_some_and(|qlog| !qlog.is_file() && qlog.every == 5));
}

#[test]
fn an_upload_alone_downloads_nothing() {
    let shape = |words| plan(words).load.shape().unwrap();
    assert_eq!(shape("--upload 1M"), Shape { download_bytes: 0, upload_bytes: 1 << 20 });
    assert_eq!(shape("--upload 1M --download 2M"), Shape { download_bytes: 2 << 20, upload_bytes: 1 << 20 });
    let small = shape("--request 100 --response 1K");
    assert_eq!(small, Shape { download_bytes: 1024, upload_bytes: 100 }, "the same by other names");
}

#[test]
fn how_much_is_under_way_depends_on_the_work() {
    let at_once = |words| match plan(words).load.work {
        Work::Requests { at_once, .. } | Work::Datagrams { at_once, .. } => at_once,
        Work::Handshakes { .. } => 0,
    };
    assert_eq!((at_once(""), at_once("--rate 10"), at_once("--rate 10 --streams 4")), (1, 128, 4));
    assert_eq!((at_once("--datagrams 1200"), at_once("--datagrams 100 --streams 9 --rate 5")), (1024, 9));
    let handshakes = |words| plan(&format!("--handshakes {words}")).load.work;
    assert_eq!(handshakes("--connections 8 --rate 100"), Work::Handshakes { resumed: false });
    assert_eq!(handshakes("--resume"), Work::Handshakes { resumed: true });
}

#[test]
fn idle_connections_may_stand_alone() {
    let load = plan("--connections 0 --idle 1000").load;
    assert_eq!((load.connections, load.idle, load.name()), (0, 1000, "idle"));
    assert_eq!((load.standing(), plan("--idle 5").load.standing()), (1000, 6));
    assert_eq!(plan("--handshakes --connections 9 --idle 5").load.standing(), 5);
    assert_eq!(plan("--connections 0 --idle 1").workers, 1);
}

#[test]
fn workers_leave_half_of_the_cores_to_a_server_inside_and_never_outnumber_connections() {
    assert_eq!(plan("--connections 8").workers, 2);
    assert_eq!(plan("10.0.0.1:1 --insecure --connections 8").workers, 4);
    assert_eq!(plan("10.0.0.1:1 --insecure").workers, 1);
    assert_eq!(default_workers(1, true), 1);
}

#[test]
fn datagrams_are_full_sized_only_where_nothing_narrow_can_be_in_between() {
    assert_eq!(plan("127.0.0.1:4433 --insecure").datagram_bytes, 1452);
    let far = plan("10.0.0.1:4433 --insecure");
    assert_eq!((far.datagram_bytes, far.datagram_bytes_max), (1200, 1452), "the rest is found out");
    assert_eq!(plan("--datagram-size-max 8972").datagram_bytes_max, 8972);
}

#[test]
fn lists_name_one_address_for_all_paths_or_one_for_each() {
    assert_eq!(plan("--local 127.0.0.5,127.0.0.6").paths, 2);
    assert_eq!(plan("--local 127.0.0.5 --paths 3").paths, 3);
    assert!(sentence("--local 127.0.0.5,127.0.0.6 --paths 3").contains("2 addresses for 3 paths"));
    assert!(
        sentence("--remote 127.0.0.1,127.0.0.2 --local 127.0.0.1,127.0.0.2,127.0.0.3").contains("--remote")
    );
}

#[test]
fn local_and_remote_addresses_are_paired_by_index() {
    let plan = plan("10.0.0.9:443 --insecure --local 10.0.0.1,10.1.0.1 --remote 10.0.0.2,10.1.0.2:5");
    let ends = plan.ends_outside(plan.target.as_ref().unwrap()).unwrap();
    let pairs: Vec<_> = ends.iter().flat_map(|ends| [ends.local, ends.remote]).collect();
    assert_eq!(pairs, addresses(&["10.0.0.1:0", "10.0.0.2:443", "10.1.0.1:0", "10.1.0.2:5"]));
}

#[test]
fn without_lists_the_system_chooses_the_local_address() {
    let plan = plan("[::1]:443 --insecure --paths 2");
    let ends = plan.ends_outside(plan.target.as_ref().unwrap()).unwrap();
    assert_eq!(ends.len(), 2);
    assert_eq!([ends[1].local, ends[1].remote], addresses(&["[::]:0", "[::1]:443"])[..]);
}

#[test]
fn inside_the_paths_start_at_different_loopback_addresses() {
    let plan = plan("--paths 4");
    let listen = plan.listen_inside().unwrap();
    assert_eq!(listen, addresses(&["127.0.0.1:0"]));
    let ends = plan.ends_inside(&listen, &addresses(&["127.0.0.1:4000"])).unwrap();
    let locals: Vec<_> = ends.iter().map(|ends| ends.local).collect();
    assert_eq!(locals, addresses(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"]));
    assert!(ends.iter().all(|ends| ends.remote.port() == 4000));
}

#[test]
fn inside_the_server_listens_on_each_named_address_once() {
    let plan = plan("--remote 127.0.1.1,127.0.1.2,127.0.1.1");
    let listen = plan.listen_inside().unwrap();
    assert_eq!(listen, addresses(&["127.0.1.1:0", "127.0.1.2:0"]));
    let ends = plan.ends_inside(&listen, &addresses(&["127.0.1.1:4000", "127.0.1.2:4001"])).unwrap();
    let remotes: Vec<_> = ends.iter().map(|ends| ends.remote).collect();
    assert_eq!(remotes, addresses(&["127.0.1.1:4000", "127.0.1.2:4001", "127.0.1.1:4000"]));
}

#[test]
fn a_target_needs_a_word_about_trust_and_the_inside_server_none() {
    assert!(sentence("example.org:1").contains("--ca FILE or --insecure"));
    assert!(sentence("--insecure").contains("TARGET"));
    assert!(sentence("--stats-from 127.0.0.1:1").contains("TARGET"));
    assert!(sentence("example.org:1 --insecure --ca x").contains("cannot be used with"));
}

#[test]
fn every_refusal_is_one_sentence() {
    for (words, hint) in [
        ("--paths 0", "1 to 64"),
        ("--paths 65", "1 to 64"),
        ("--paths four", "--paths"),
        ("--connections 0", "0 with --idle"),
        ("--connections 0 --idle 5 --rate 10", "--rate needs a connection"),
        ("--connections 0 --idle 5 --handshakes", "--handshakes needs a connection"),
        ("--connections 0 --idle 5 --ceiling", "--ceiling needs a connection"),
        ("--idle 2000000", "--idle"),
        ("--rate 0", "--rate"),
        ("--rate nan", "--rate"),
        ("--rate 1e9", "--rate"),
        ("--arrivals poisson", "--rate"),
        ("--rate 5 --arrivals bursts", "constant, poisson"),
        ("--datagrams 0", "1 to 65000"),
        ("--datagrams 100 --streams 4097", "1 to 4096"),
        ("--datagrams 100 --upload 5", "cannot be used with"),
        ("--handshakes --download 5", "cannot be used with"),
        ("--handshakes --streams 5", "cannot be used with"),
        ("--resume", "--handshakes"),
        ("--handshakes --ceiling", "cannot be used with"),
        ("--handshakes --paths 2", "more than one path"),
        ("--handshakes --kill-path 0@1s", "--kill-path"),
        ("10.0.0.1:1 --insecure --handshakes --follow-interfaces", "--follow-interfaces"),
        ("--repeat 0", "--repeat"),
        ("--repeat 2 --qlog a.sqlog", "name a directory"),
        ("--idle 8000 --connections 500 --workers 1", "--sockets shared"),
        ("--streams 65537", "--streams"),
        ("--workers 0", "--workers"),
        ("--duration 0s", "--duration"),
        ("--duration 25h", "500ms"),
        ("--duration 1441m", "24 hours"),
        ("--warmup 1441m", "--warmup"),
        ("--download 1X", "64K"),
        ("--io epoll", "epoll"),
        ("--sockets mine", "per-path, shared"),
        ("--scheduler best", "best"),
        ("--packet-protection best", "fastest, aws-lc-rs or ring"),
        ("--kill-path 1", "1@2s"),
        ("--kill-path 1@2s", "the last of 1 paths is 0"),
        ("--kill-path 0@5s", "over by then"),
        ("--local localhost", "--local"),
        ("--datagram-size 1199", "1200 to 65507"),
        ("--datagram-size-max 65508", "at most 65507"),
        ("--connections 65000 --paths 2 --workers 1", "--sockets shared"),
        ("example.org --insecure", "HOST:PORT"),
        ("--unknown", "--unknown"),
        ("ceiling --datagram-size 1", "1200"),
        ("ceiling --paths 1", "--paths"),
        ("compare a.json", "<B>"),
    ] {
        let sentence = sentence(words);
        assert!(sentence.contains(hint) && !sentence.contains('\n'), "{words}: {sentence}");
        assert!(!sentence.starts_with("error"), "{sentence}");
    }
}

#[test]
fn help_and_version_are_answers_and_no_failures() {
    for (words, hint) in [("--help", "--kill-path"), ("--version", "loadgen"), ("ceiling --help", "--json")] {
        match read(line(words), 1) {
            Err(Refusal::Answer(text)) => assert!(text.contains(hint), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_ceiling_has_options_of_its_own() {
    let Ok(Task::Ceiling(ceiling)) = read(line("ceiling --json - --duration 100ms"), 1) else { panic!() };
    assert_eq!((ceiling.duration, ceiling.datagram_bytes), (Duration::from_millis(100), 1452));
    assert_eq!(ceiling.json, Some(Json::Stdout));
}

#[test]
fn two_reports_are_compared() {
    let Ok(Task::Compare(files)) = read(line("compare a.json b.json"), 1) else { panic!() };
    assert_eq!(files, CompareArgs { a: "a.json".into(), b: "b.json".into() });
}

#[test]
fn paths_that_follow_the_interfaces_have_a_limit_and_interfaces_with_a_use_of_their_own() {
    let follows = |words: &str| plan(&format!("10.0.0.2:4 --insecure --follow-interfaces {words}"));
    let plan = follows("--metered wwan* --backup wlan0 --backup usb0 --remote 10.0.0.2,10.0.1.2:5");
    let following = plan.following.unwrap();
    assert_eq!((following.metered, following.backup.len()), (vec!["wwan*".to_owned()], 2));
    assert_eq!((plan.paths, plan.remotes.len()), (8, 2));
    assert_eq!(follows("--paths 3").paths, 3);
    assert_eq!(follows("--connections 10000 --paths 64").load.connections, 10_000, "sockets are shared");
}

#[test]
fn following_the_interfaces_needs_a_target_and_no_fixed_paths() {
    assert!(sentence("--follow-interfaces").contains("needs a TARGET"));
    let refused = |words: &str| sentence(&format!("10.0.0.2:4 --insecure {words}"));
    for (option, value) in [("--local", "10.0.0.1"), ("--kill-path", "0@1s"), ("--sockets", "shared")] {
        let sentence = refused(&format!("--follow-interfaces {option} {value}"));
        assert!(sentence.contains("--follow-interfaces") && sentence.contains(option), "{sentence}");
    }
    assert!(refused("--follow-interfaces --paths 65").contains("--paths"));
    assert!(refused("--metered wwan0").contains("--follow-interfaces"));
    assert!(refused("--backup wwan0").contains("--follow-interfaces"));
    let both = refused("--follow-interfaces --metered wwan0 --backup usb0 --backup wwan0");
    assert!(both.contains("`wwan0`"), "{both}");
}
