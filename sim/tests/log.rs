//! Logs tell what happened: to the packet, from both ends, in words that the drafts know.

mod qlog;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use braid_quic::log::text;
use braid_quic::{ConnectionStats, MultipathCodePoints, Role};
use braid_sim::{Competitor, Link, Logbook, Protection, Report, Setting, Volley, World, mb, mbps, ms, secs};
use serde_json::Value;

use qlog::Trace;

const ROOM: usize = 512 << 20;

/// A download over two lossy paths, one of which goes dark and comes back, with a log at both ends.
fn troubled(seed: u64) -> (Report, Trace, Trace) {
    let mut world = World::seeded(seed);
    let near = world.add(Link::new(mbps(20), ms(10)).loss(0.02).reorder(0.01, ms(5)).duplicate(0.01));
    world.add(Link::new(mbps(10), ms(30)).loss(0.02));
    let books = [Role::Client, Role::Server].map(|end| world.qlog(end, ROOM));
    world.client().exchanges(mb(1), mb(3));
    world.at(ms(500)).cut(near);
    world.at(ms(1_500)).restore(near).update_keys(Role::Server);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    drop(world);
    let [client, server] = books.map(|book: Logbook| Trace::read(&book.take()));
    (report, client, server)
}

#[test]
fn every_line_conforms_to_the_drafts() {
    let (_, client, server) = troubled(1);
    for (trace, end) in [(&client, "client"), (&server, "server")] {
        trace.check(end);
    }
    assert_eq!(client.group(), server.group(), "both ends know the connection by one name");
    for name in [
        "quic:connection_started",
        "quic:parameters_set",
        "quic:alpn_information",
        "quic:packet_lost",
        "quic:packet_dropped",
        "quic:recovery_metrics_updated",
        "quic:congestion_state_updated",
        "quic:key_updated",
        "quic:tuple_assigned",
        "braid:path_opened",
        "braid:path_validated",
        "braid:path_suspect",
        "braid:path_recovered",
        "braid:train_scheduled",
    ] {
        assert!(server.named(name).next().is_some(), "the server's log has no {name}");
    }
    for end in [&client, &server] {
        assert_eq!(end.named("quic:parameters_set").count(), 2, "ours and the peer's");
    }
}

#[test]
fn logs_count_what_the_statistics_count() {
    let (report, client, server) = troubled(2);
    let counts = |stats: &ConnectionStats| {
        [stats.packets_sent, stats.packets_received, stats.packets_lost, stats.packets_discarded]
    };
    let logged = |trace: &Trace| {
        let count = |name| trace.named(name).count() as u64;
        let (sent, received) = (count("quic:packet_sent"), count("quic:packet_received"));
        [sent, received, trace.lost().count() as u64, count("quic:packet_dropped")]
    };
    assert_eq!(logged(&client), counts(report.client()));
    assert_eq!(logged(&server), counts(report.server()));
    assert!(report.server().packets_lost > 0 && report.client().packets_discarded > 0, "{report}");
}

#[test]
fn what_one_end_received_the_other_sent() {
    let (_, client, server) = troubled(3);
    for (sender, receiver) in [(&client, &server), (&server, &client)] {
        let mut sent = HashMap::new();
        for event in sender.named("quic:packet_sent") {
            let before = sent.insert(event["data"]["header"].to_string(), &event["data"]);
            assert_eq!(before, None, "two packets with one number");
        }
        for event in receiver.named("quic:packet_received") {
            let data = sent.remove(&event["data"]["header"].to_string()).expect("received once");
            for member in ["raw", "frames"] {
                assert_eq!(data[member], event["data"][member], "with the frames that were sent: {event}");
            }
        }
    }
}

#[test]
fn each_train_has_its_reason() {
    let mut world = World::seeded(4);
    let near = world.link(mbps(20), ms(10));
    world.link(mbps(20), ms(40));
    let book = world.qlog(Role::Server, ROOM);
    world.client().downloads(mb(3));
    world.at(ms(400)).cut(near);
    let report = world.run();
    drop(world);
    let server = Trace::read(&book.take());
    let suspect = server.named("braid:path_suspect").next().expect("the near path went dark");
    assert_eq!(suspect["data"]["path_id"], 0);
    let since = suspect["time"].as_f64().unwrap();
    let (mut before, mut after) = (HashMap::new(), HashMap::new());
    for train in server.named("braid:train_scheduled") {
        let Some(path) = train["data"]["path_id"].as_u64() else { continue };
        let seen = if train["time"].as_f64().unwrap() < since { &mut before } else { &mut after };
        *seen.entry((path, train["data"]["trigger"].as_str().unwrap().to_owned())).or_insert(0_u64) += 1;
    }
    assert!(before.get(&(0, "lowest_rtt".to_owned())).is_some_and(|&trains| trains > 10), "{before:?}");
    assert!(before.get(&(1, "only_with_room".to_owned())).is_some_and(|&trains| trains > 10), "{before:?}");
    assert!(after.keys().all(|(path, reason)| *path == 1 && reason == "only_eligible"), "{after:?} {report}");
}

#[test]
fn decisions_can_be_read() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let mut world = World::seeded(5);
    world.link(mbps(20), ms(10));
    world.link(mbps(20), ms(40));
    world.log(
        Role::Server,
        text::decisions(World::origin(), move |line| kept.lock().unwrap().push(line.to_string())),
    );
    world.client().downloads(mb(1));
    world.run();
    let lines = lines.lock().unwrap();
    assert!(lines.len() > 20);
    let is_decision = |line: &String| line.contains(" -> ") && line.contains("fresh ");
    assert!(lines.iter().filter(|line| is_decision(line)).count() > 20);
    assert!(
        lines.iter().any(|line| line.contains(" -> 0 lowest_rtt | 0 rtt ")),
        "{}",
        lines[lines.len() / 2]
    );
}

#[test]
fn a_log_changes_nothing() {
    let digest = |logged: bool| {
        let mut world = World::seeded(6);
        world.add(Link::new(mbps(20), ms(10)).loss(0.02));
        world.add(Link::new(mbps(10), ms(30)).loss(0.02));
        let books = logged.then(|| [Role::Client, Role::Server].map(|end| world.qlog(end, ROOM)));
        world.protection(Protection::Real);
        world.client().exchanges(mb(1) / 2, mb(1));
        let digest = world.run().digest();
        drop(books);
        digest
    };
    assert_eq!(digest(true), digest(false));
}

#[test]
fn a_migration_is_told_with_the_new_address() {
    let mut world = World::seeded(7);
    let link = world.link(mbps(20), ms(10));
    let book = world.qlog(Role::Server, ROOM);
    world.client().sends(mb(2));
    world.at(ms(300)).rebind(link);
    world.run();
    drop(world);
    let server = Trace::read(&book.take());
    server.check("server");
    let tuples: Vec<&Value> =
        server.named("quic:tuple_assigned").map(|event| &event["data"]["tuple_remote"]).collect();
    assert_eq!(tuples.len(), 2);
    assert_ne!(tuples[0], tuples[1]);
    assert_eq!(server.named("braid:path_migrated").count(), 1);
}

#[test]
fn a_migration_that_fails_is_told() {
    let mut world = World::seeded(9);
    let near = world.link(mbps(20), ms(10));
    let dark = world.add_spare(Link::new(mbps(20), ms(10)));
    let book = world.qlog(Role::Client, ROOM);
    world.at(ms(100)).cut(dark);
    world.client().sends(mb(4));
    world.at(ms(300)).migrate(near, dark);
    world.run_until(secs(10));
    drop(world);
    let client = Trace::read(&book.take());
    client.check("client");
    assert_eq!(client.named("braid:path_migration_failed").count(), 1);
    assert_eq!(client.named("braid:path_migrated").count(), 0);
}

#[test]
fn each_change_of_the_datagram_size_is_told() {
    let mut world = World::seeded(10);
    let link = world.add(Link::new(mbps(20), ms(10)).mtu(1_400));
    let book = world.qlog(Role::Server, ROOM);
    world.client().downloads(mb(4));
    world.at(ms(800)).set(link, Setting::Mtu(Some(1_250)));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let mtu = world.path_stats(Role::Server, link).unwrap().mtu;
    drop(world);
    let server = Trace::read(&book.take());
    server.check("server");
    let sizes: Vec<_> = server
        .named("quic:mtu_updated")
        .map(|event| ["old", "new"].map(|member| event["data"][member].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes[0][0], 1_200, "{sizes:?}");
    assert!(sizes.windows(2).all(|pair| pair[0][1] == pair[1][0]), "{sizes:?}");
    assert!(sizes.iter().any(|[old, new]| new < old), "the link takes less than before: {sizes:?}");
    assert_eq!(sizes.last().map(|size| size[1]), Some(u64::from(mtu)), "{sizes:?}");
    let probes =
        |name| server.named(name).filter(|event| event["data"]["is_mtu_probe_packet"] == true).count();
    assert!(probes("quic:packet_sent") > probes("quic:packet_lost"), "some were answered");
    assert!(probes("quic:packet_lost") > 0, "1452 bytes are too many");
}

#[test]
fn datagrams_stand_in_their_packets() {
    let mut world = World::seeded(11);
    world.transport(|transport| transport.datagram_receive_max = u16::MAX);
    world.add(Link::new(mbps(20), ms(10)).loss(0.02));
    let books = [Role::Client, Role::Server].map(|end| world.qlog(end, ROOM));
    world.at(ms(300)).times(20, ms(10)).datagrams(Role::Client, Volley::of(5, 500));
    let report = world.run_until(secs(3));
    drop(world);
    let [client, server] = books.map(|book| Trace::read(&book.take()));
    client.check("client");
    server.check("server");
    let sent: Vec<_> = client.frames("quic:packet_sent", "datagram").collect();
    assert_eq!(sent.len() as u64, report.client().datagrams.sent);
    assert!(sent.len() == 100 && sent.iter().all(|frame| frame["raw"]["length"] == 500), "{sent:?}");
    let received = server.frames("quic:packet_received", "datagram").count();
    assert_eq!(received as u64, report.server().datagrams.received);
}

#[test]
fn a_path_ends_with_numbers_that_its_log_bears_out() {
    let mut world = World::seeded(12);
    world.link(mbps(20), ms(10));
    let far = world.add(Link::new(mbps(20), ms(20)).loss(0.02));
    let books = [Role::Client, Role::Server].map(|end| world.qlog(end, ROOM));
    world.client().exchanges(mb(1), mb(4));
    world.at(ms(600)).abandon(Role::Client, far);
    world.run_until(secs(4));
    drop(world);
    for (end, book) in ["client", "server"].into_iter().zip(books) {
        let trace = Trace::read(&book.take());
        trace.check(end);
        let closed: Vec<_> = trace.named("braid:path_closed").collect();
        assert_eq!(closed.len(), 1, "{closed:?}");
        let data = &closed[0]["data"];
        let here = |event: &&Value| event["tuple"] == "1";
        let lost = trace.lost().filter(here).count();
        assert_eq!((&data["path_id"], &data["packets_lost"]), (&1.into(), &lost.into()), "{end}: {data}");
        for (name, packets, bytes) in [
            ("quic:packet_sent", "packets_sent", "bytes_sent"),
            ("quic:packet_received", "packets_received", "bytes_received"),
        ] {
            let sizes: Vec<_> = trace
                .named(name)
                .filter(here)
                .map(|event| event["data"]["raw"]["length"].as_u64().unwrap())
                .collect();
            assert_eq!(
                (&data[packets], &data[bytes]),
                (&sizes.len().into(), &sizes.iter().sum::<u64>().into())
            );
        }
    }
}

#[test]
fn the_code_points_of_older_drafts_are_told_as_what_they_mean() {
    let mut world = World::seeded(13);
    world.link(mbps(20), ms(10));
    world.link(mbps(20), ms(20));
    world.transport_of(Role::Client, |to| to.multipath_code_points = MultipathCodePoints::Draft13);
    world.transport_of(Role::Server, |to| to.multipath_code_points = MultipathCodePoints::Both);
    let book = world.qlog(Role::Server, ROOM);
    world.client().exchanges(mb(1), mb(1));
    world.run();
    drop(world);
    let server = Trace::read(&book.take());
    server.check("server");
    for by in ["local", "remote"] {
        let set: Vec<_> =
            server.named("quic:parameters_set").filter(|event| event["data"]["initiator"] == by).collect();
        assert_eq!(set.len(), 1, "{by}");
        assert!(set[0]["data"]["initial_max_path_id_draft_13"].is_u64(), "{by}: {}", set[0]);
        assert_eq!(set[0]["data"].get("initial_max_path_id"), None, "{by}: {}", set[0]);
    }
    for name in ["quic:packet_sent", "quic:packet_received"] {
        assert!(server.frames(name, "path_ack").count() > 10, "{name}");
    }
}

#[test]
fn a_competitor_writes_in_nobodys_log() {
    let mut world = World::seeded(14);
    world.link(mbps(20), ms(10));
    let book = world.qlog(Role::Server, ROOM);
    world.client().downloads(mb(1));
    world.compete(Competitor::downloads(Link::new(mbps(20), ms(10))).bytes(mb(1)));
    world.run();
    drop(world);
    let server = Trace::read(&book.take());
    server.check("server");
    assert_eq!(server.named("quic:connection_started").count(), 1);
}

#[test]
fn a_book_that_is_full_says_what_is_missing() {
    let mut world = World::seeded(8);
    world.link(mbps(20), ms(10));
    let book = world.qlog(Role::Server, 100 << 10);
    world.limit(secs(20));
    world.client().downloads(mb(2));
    let report = world.run();
    let first = book.take();
    assert!(first.len() <= 100 << 10 && first.len() > 60 << 10, "{}", first.len());
    world.at(report.elapsed()).close(Role::Client, 0);
    world.drain();
    let rest = String::from_utf8(book.take()).unwrap();
    let warning = rest.lines().next().unwrap();
    assert!(warning.contains("loglevel:warning") && warning.contains("events are missing here"), "{warning}");
}
