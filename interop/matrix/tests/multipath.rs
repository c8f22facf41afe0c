//! Multipath between Braid and noq, both ways round, over links of the relay: the life of paths, one story a test.
//!
//! Each story runs twice, with Braid as the server and with Braid as the client. The steps are the client's, or the
//! server's where it says so.

use interop_perf::report::Report;
use matrix::Stack::{self, Braid, Noq};
use matrix::{Relay, RelayReport};

/// Two links that a transfer of some megabytes needs both of, and that take a while for it.
const TWO: [&str; 2] = ["rate=40M delay=5ms", "rate=40M delay=5ms"];
const THREE: [&str; 3] = [TWO[0], TWO[1], TWO[0]];
const SEVERAL_PATHS: [&str; 2] = ["--paths", "8"];

/// What a story left behind.
struct Outcome {
    report: Report,
    relay: RelayReport,
    server_events: Vec<String>,
}

impl Outcome {
    #[track_caller]
    fn saw(&self, event: &str) {
        assert!(
            self.report.events.iter().any(|seen| seen == event),
            "no `{event}`: {:?}",
            self.report.events
        );
    }

    #[track_caller]
    fn server_saw(&self, event: &str) {
        assert!(
            self.server_events.iter().any(|seen| seen == event),
            "no `{event}`: {:?}",
            self.server_events
        );
    }

    fn never_saw(&self, word: &str) {
        for events in [&self.report.events, &self.server_events] {
            assert!(!events.iter().any(|event| event.contains(word)), "`{word}` in {events:?}");
        }
    }

    /// Bytes that a link carried to the client.
    fn down_bytes(&self, link: usize) -> u64 {
        self.relay.paths[link].down.sent.bytes
    }
}

/// Runs a story to its end: client and server agree that it went well.
#[track_caller]
fn story(server: Stack, client: Stack, links: &[&str], script: &str) -> Outcome {
    with_server_script(server, client, links, script, "")
}

#[track_caller]
fn with_server_script(
    server: Stack,
    client: Stack,
    links: &[&str],
    script: &str,
    at_server: &str,
) -> Outcome {
    tell(server, links, at_server, |server, relay| client.follow(server, relay, script, &SEVERAL_PATHS))
}

#[track_caller]
fn tell(
    server: Stack,
    links: &[&str],
    at_server: &str,
    act: impl FnOnce(&mut matrix::Server, &mut Relay) -> Report,
) -> Outcome {
    let mut process = server.serve_paths(&[&SEVERAL_PATHS[..], &["--script", at_server]].concat());
    let mut relay = Relay::towards(process.address(), links);
    let report = act(&mut process, &mut relay);
    // Both servers say something last when a connection is over.
    process.wait_for(if server == Noq { "path acks" } else { "ended" });
    let notes = process.notes();
    assert!(
        !notes.iter().any(|note| note.contains("failed") || note.contains("the connection from")),
        "{notes:?}"
    );
    assert!(report.multipath);
    let outcome = Outcome { report, relay: relay.finish(), server_events: process.events() };
    println!("{server:?}: {:?}\nclient: {:?}", outcome.server_events, outcome.report);
    outcome
}

/// Makes two tests of each story.
macro_rules! both_ways_round {
    ($($story:ident),* $(,)?) => {
        mod braid_serves {
            $(#[test] fn $story() { super::$story(super::Braid, super::Noq); })*
        }
        mod noq_serves {
            $(#[test] fn $story() { super::$story(super::Noq, super::Braid); })*
        }
    };
}

both_ways_round!(
    path_0_is_acknowledged_by_path_ack,
    two_paths_carry_ten_megabytes,
    paths_are_given_up_and_replaced_during_a_transfer,
    the_server_gives_a_path_up,
    the_status_of_a_path_changes_during_a_transfer,
    the_client_updates_keys_during_a_transfer,
    the_server_updates_keys_during_a_transfer,
    a_path_survives_the_rebinding_of_its_nat,
    five_per_cent_of_loss_on_each_path,
    a_hundred_paths_come_and_go,
);

fn path_0_is_acknowledged_by_path_ack(server: Stack, client: Stack) {
    let outcome = story(server, client, &TWO[..1], "get 1000000; finish");
    assert_eq!(outcome.report.bytes_received, 1_000_000);
    // noq counts frames. It uses PATH_ACK from the handshake's end on, and so must we.
    match client {
        Noq => assert!(outcome.report.path_acks > Some(0), "{:?}", outcome.report),
        _ => {
            assert!(
                !outcome.server_events.contains(&"path acks 0".to_owned()),
                "{:?}",
                outcome.server_events
            );
        }
    }
}

fn two_paths_carry_ten_megabytes(server: Stack, client: Stack) {
    let outcome = story(server, client, &TWO, "open 1; get 10000000; finish");
    assert_eq!(outcome.report.bytes_received, 10_000_000);
    outcome.server_saw("validated 1");
    for link in 0..2 {
        assert!(outcome.down_bytes(link) > 2_000_000, "{:?}", outcome.relay);
    }
}

fn paths_are_given_up_and_replaced_during_a_transfer(server: Stack, client: Stack) {
    let script = "open 1; get 8000000; after 1000000; abandon 1; open 2; after 3000000; abandon 0; finish; \
                  closed 1; closed 0; get 100000; finish";
    let outcome = story(server, client, &THREE, script);
    assert_eq!(outcome.report.bytes_received, 8_100_000);
    for event in ["abandoned 1 by peer", "abandoned 0 by peer", "validated 2"] {
        outcome.server_saw(event);
    }
    // The server may take three of its longest probe timeouts, and the connection may be over by then.
    outcome.saw("closed 1");
    outcome.saw("closed 0");
    assert!(outcome.down_bytes(2) > 2_000_000, "{:?}", outcome.relay);
}

fn the_server_gives_a_path_up(server: Stack, client: Stack) {
    let script = "open 1; get 6000000; finish; closed 1; get 100000; finish";
    let outcome = with_server_script(server, client, &TWO, script, "after 1000000; abandon 1");
    assert_eq!(outcome.report.bytes_received, 6_100_000);
    outcome.saw("abandoned 1 by peer");
}

fn the_status_of_a_path_changes_during_a_transfer(server: Stack, client: Stack) {
    let script = "open 1; get 8000000; after 1000000; backup 1; after 4000000; available 1; finish";
    let outcome = story(server, client, &TWO, script);
    assert_eq!(outcome.report.bytes_received, 8_000_000);
    outcome.server_saw("told backup 1");
    outcome.server_saw("told available 1");
    let at = |event: &str| outcome.server_events.iter().rposition(|seen| seen == event);
    assert!(at("told available 1") > at("told backup 1"), "{:?}", outcome.server_events);
    // Three of eight megabytes were asked for while path 1 was a backup.
    assert!(outcome.down_bytes(1) < outcome.down_bytes(0), "{:?}", outcome.relay);
}

fn the_client_updates_keys_during_a_transfer(server: Stack, client: Stack) {
    let script = "open 1; get 10000000; after 2000000; keys; after 6000000; keys; finish";
    keys_were_updated(&story(server, client, &TWO, script), client);
}

fn the_server_updates_keys_during_a_transfer(server: Stack, client: Stack) {
    let at_server = "after 2000000; keys; after 6000000; keys";
    let script = "open 1; get 10000000; finish";
    keys_were_updated(&with_server_script(server, client, &TWO, script, at_server), client);
}

/// Braid counts the updates, its own and the peer's. noq also makes one unasked, within its first thousand packets.
#[track_caller]
fn keys_were_updated(outcome: &Outcome, client: Stack) {
    assert_eq!(outcome.report.bytes_received, 10_000_000);
    let updates = match client {
        Braid => outcome.report.key_updates,
        _ => outcome.server_events.iter().find_map(|event| event.strip_prefix("keys updated ")?.parse().ok()),
    };
    assert!(updates >= Some(2), "{:?}\n{:?}", outcome.server_events, outcome.report);
    outcome.never_saw("abandoned");
}

/// Who only receives tells the other end of its new address by keeping the path alive.
fn a_path_survives_the_rebinding_of_its_nat(server: Stack, client: Stack) {
    let script = "open 1; get 20000000; finish";
    let outcome = tell(server, &TWO, "", |server, relay| {
        client.follow_while(server, relay, script, |relay| {
            relay.wait_for(1, 1_000_000);
            relay.command("rebind 1");
        })
    });
    assert_eq!(outcome.report.bytes_received, 20_000_000);
    assert_eq!(outcome.relay.paths[1].rebinds, 1);
    outcome.never_saw("abandoned");
    if server == Braid {
        outcome.server_saw("migrated 1");
    }
    // Half of the twenty would have gone over it anyway; a path that died would have stopped at one.
    assert!(outcome.down_bytes(1) > 4_000_000, "{:?}", outcome.relay);
}

fn five_per_cent_of_loss_on_each_path(server: Stack, client: Stack) {
    let links = ["rate=40M delay=2ms loss=5%"; 2];
    let outcome = story(server, client, &links, "open 1; get 3000000; finish");
    assert_eq!(outcome.report.bytes_received, 3_000_000);
    assert!(outcome.relay.paths.iter().all(|path| path.down.dropped.lost > 10), "{:?}", outcome.relay);
}

fn a_hundred_paths_come_and_go(server: Stack, client: Stack) {
    let outcome = story(server, client, &["delay=1ms"; 2], "cycle 100 1; closed 100; get 1000000; finish");
    assert_eq!(outcome.report.bytes_received, 1_000_000);
    for path in 1..=100 {
        outcome.saw(&format!("validated {path}"));
        outcome.server_saw(&format!("abandoned {path} by peer"));
    }
}

#[test]
fn without_the_transport_parameter_there_is_one_path_and_no_error() {
    for (server, client) in [(Braid, Noq), (Noq, Braid)] {
        for (at_server, at_client) in [("1", "8"), ("8", "1")] {
            let mut process = server.serve_paths(&["--paths", at_server]);
            let relay = Relay::towards(process.address(), &TWO[..1]);
            let report = client.follow(&mut process, &relay, "get 1000000; finish", &["--paths", at_client]);
            assert_eq!((report.multipath, report.bytes_received), (false, 1_000_000), "{report:?}");
        }
    }
}

/// noq acknowledges what comes on all paths on one of them, so what is cut may be the way of all acknowledgements.
#[track_caller]
fn an_upload_to_noq_goes_on_over_the_other_link(cut: usize) {
    let mut process = Noq.serve(&SEVERAL_PATHS);
    let mut relay = Relay::towards(process.address(), &TWO);
    let mut until_then = 0;
    let run = process.loadgen_while(&mut relay, &["--upload", "1000000", "--duration", "8s"], |relay| {
        relay.wait_for(cut, 3_000_000);
        relay.command(&format!("cut {cut}"));
        until_then = relay.report().paths[1 - cut].carried_bytes();
    });
    let relay = relay.finish();
    run.report.show(&format!("upload to noq, link {cut} cut"));
    assert_eq!(run.report.requests.failed, 0, "{run:?}");
    assert!(run.report.longest_stall_us < 3_000_000, "{run:?}");
    // It takes a second of eight to cut and one or two to notice; five megabytes a second fit through the other link.
    assert!(relay.paths[1 - cut].carried_bytes() > until_then + 10_000_000, "{until_then}, {relay:?}");
    assert_eq!(run.report.open_paths(), 1, "{run:?}");
}

#[test]
fn an_upload_to_noq_survives_the_path_on_which_it_acknowledges() {
    an_upload_to_noq_goes_on_over_the_other_link(0);
}

#[test]
fn an_upload_to_noq_survives_the_path_on_which_it_does_not_acknowledge() {
    an_upload_to_noq_goes_on_over_the_other_link(1);
}
