//! What is handed over when, and that each record is a line that a reader understands.

use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::base::address::{LocalId, RouteId};
use crate::error::{CloseReason, PathErrorCode, TransportError, TransportErrorCode};
use crate::event::Event;
use crate::log::record::{
    CongestionState, CongestionTrigger, Decided, DropReason, Initiator, LossTrigger, Packet, PacketType,
    Parameters, Payload, RttMetrics, Started, SuspectTrigger,
};
use crate::schedule::{Decision, Demand, PathView, Reason};
use crate::stats::{PathStage, PathStats};
use crate::wire::code_points::CodePoints;
use crate::wire::params::TransportParameters;

/// Takes chunks while it has room.
#[derive(Default)]
struct Shelf {
    room: Mutex<usize>,
    chunks: Mutex<Vec<Chunk>>,
}

impl Shelf {
    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self { room: Mutex::new(room), ..Self::default() })
    }

    fn give_room(&self, more: usize) {
        *self.room.lock().unwrap() += more;
    }

    fn text(&self) -> String {
        let chunks = self.chunks.lock().unwrap();
        chunks.iter().map(|chunk| String::from_utf8(chunk.as_bytes().to_vec()).unwrap()).collect()
    }

    fn events(&self) -> Vec<Value> {
        let text = self.text();
        let records = text.split_inclusive('\n').map(|line| {
            let line = line.strip_prefix('\u{1e}').expect("a record separator before each record");
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        records.collect()
    }
}

impl Outlet for Shelf {
    fn offer(&self, chunk: Chunk) -> Result<(), Chunk> {
        let mut room = self.room.lock().unwrap();
        if *room == 0 {
            return Err(chunk);
        }
        *room -= 1;
        self.chunks.lock().unwrap().push(chunk);
        Ok(())
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn route() -> RouteId {
    RouteId::new(LocalId(0), "127.0.0.1:1".parse().unwrap(), "[2001:db8::1]:2".parse().unwrap())
}

fn log(settings: Settings, shelf: &Arc<Shelf>, original: &[u8]) -> Option<Box<dyn Log>> {
    let outlet: Arc<dyn Outlet> = Arc::<Shelf>::clone(shelf);
    let opening = Opening { role: Role::Client, original, route: route(), at: at(0) };
    factory(settings, outlet).open(&opening)
}

fn recovered(path: u32) -> Event {
    Event::PathRecovered(PathId(path))
}

#[test]
fn the_header_stands_before_the_first_event_and_names_the_connection() {
    let shelf = Shelf::with_room(9);
    let wall_clock = Some("2026-11-22T20:23:15.000Z".to_owned());
    let mut log = log(Settings { wall_clock, ..Settings::new(at(1_000)) }, &shelf, &[0xab; 8]).unwrap();
    log.record(at(1_012), &Record::Event(&recovered(3)));
    drop(log);
    let events = shelf.events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["file_schema"], "urn:ietf:params:qlog:file:sequential");
    assert_eq!(events[0]["serialization_format"], "application/qlog+json-seq");
    assert_eq!(events[0]["trace"]["common_fields"]["group_id"], "abababababababab");
    assert_eq!(events[0]["trace"]["vantage_point"]["type"], "client");
    let time = &events[0]["trace"]["common_fields"]["reference_time"];
    assert_eq!((&time["clock_type"], &time["epoch"]), (&"monotonic".into(), &"unknown".into()));
    assert_eq!(time["wall_clock_time"], "2026-11-22T20:23:15.000Z");
    assert_eq!(
        events[1],
        serde_json::json!({
            "time": 12, "name": "braid:path_recovered", "tuple": "3", "data": {"path_id": 3}
        })
    );
    let chunks = shelf.chunks.lock().unwrap();
    assert!(chunks[0].is_last());
    assert_eq!(chunks[0].source().to_string(), "abababababababab_client");
}

#[test]
fn connections_that_share_a_log_are_told_apart_by_group_id() {
    let shelf = Shelf::with_room(9);
    let settings = Settings { grouping: Grouping::Shared, ..Settings::new(at(0)) };
    for original in [[1; 8], [2; 8]] {
        log(settings.clone(), &shelf, &original).unwrap().record(at(5), &Record::Event(&recovered(0)));
    }
    let groups: Vec<_> = shelf.events().iter().map(|event| event["group_id"].clone()).collect();
    assert_eq!(groups, ["0101010101010101", "0202020202020202"], "and no header among them");
    let header = String::from_utf8(header(&settings, Role::Server)).unwrap();
    let header: Value = serde_json::from_str(header.trim_start_matches('\u{1e}')).unwrap();
    assert_eq!(header["trace"]["vantage_point"]["type"], "server");
    assert_eq!(header["trace"]["common_fields"].get("group_id"), None);
}

#[test]
fn a_chunk_goes_when_it_is_full_or_old() {
    let shelf = Shelf::with_room(99);
    let mut log = log(Settings::new(at(0)), &shelf, &[1; 8]).unwrap();
    let taken = || shelf.chunks.lock().unwrap().len();
    log.record(at(10), &Record::Event(&recovered(0)));
    log.record(at(1_009), &Record::Event(&recovered(0)));
    assert_eq!(taken(), 0);
    log.record(at(1_010), &Record::Event(&recovered(0)));
    assert_eq!(taken(), 1, "a second after it was begun");
    let mut records = 0;
    while taken() == 1 {
        log.record(at(1_010), &Record::Event(&recovered(0)));
        records += 1;
    }
    let chunks = shelf.chunks.lock().unwrap();
    assert!((CHUNK_BYTES..CHUNK_BYTES + 100).contains(&chunks[1].as_bytes().len()));
    assert_eq!(chunks[1].events(), records);
}

#[test]
fn without_room_whole_chunks_are_dropped_and_the_log_says_so() {
    let shelf = Shelf::with_room(0);
    let mut log = log(Settings::new(at(0)), &shelf, &[1; 8]).unwrap();
    let mut step = |ms| log.record(at(ms), &Record::Event(&recovered(0)));
    step(0);
    step(2_000); // this chunk finds no room
    step(2_001);
    step(2_002);
    step(4_000); // nor does this
    assert_eq!(shelf.text(), "");
    shelf.give_room(1);
    step(4_001);
    step(6_000);
    let events = shelf.events();
    assert_eq!(events[0]["file_schema"], "urn:ietf:params:qlog:file:sequential", "the header is not lost");
    assert_eq!(events[1]["name"], "loglevel:warning");
    assert_eq!(events[1]["data"]["message"], "5 events are missing here: the queue was full");
    assert_eq!(events.len(), 4);
    shelf.give_room(1);
    step(6_001);
    drop(log);
    assert_eq!(shelf.events().len(), 5, "neither header nor warning is said twice");
}

#[test]
fn what_was_no_connection_leaves_nothing() {
    let shelf = Shelf::with_room(9);
    let mut log = log(Settings::new(at(0)), &shelf, &[1; 8]).unwrap();
    log.record(at(0), &Record::Event(&recovered(0)));
    log.withdraw();
    drop(log);
    assert!(shelf.chunks.lock().unwrap().is_empty());
}

#[test]
fn connections_that_are_not_sampled_have_no_log() {
    let shelf = Shelf::with_room(0);
    let chosen = |every| {
        let settings = Settings { every, ..Settings::new(at(0)) };
        (0..100_u64).filter(|id| log(settings.clone(), &shelf, &id.to_be_bytes()).is_some()).count()
    };
    assert_eq!((chosen(1), chosen(0)), (100, 0));
    assert!((5..20).contains(&chosen(10)));
    assert!(log(Settings::new(at(0)), &shelf, &[0; 21]).is_none(), "no connection ID is so long");
}

fn written(record: &Record<'_>) -> Vec<Value> {
    let shelf = Shelf::with_room(9);
    let mut log = log(Settings::new(at(0)), &shelf, &[1; 8]).unwrap();
    log.record(at(7), record);
    drop(log);
    shelf.events().split_off(1)
}

fn one(record: &Record<'_>) -> Value {
    let mut events = written(record);
    assert_eq!(events.len(), 1, "{record:?}");
    events.remove(0)
}

fn started() -> Started<'static> {
    Started {
        role: Role::Client,
        original: &[1; 8],
        local_cid: &[2; 12],
        route: route(),
        scheduler: "min-rtt",
        congestion: "cubic",
        initial_rtt: Duration::from_millis(333),
        datagram_size: 1_200,
        window: 12_000,
        max_paths: 8,
        reorder_packets: 3,
    }
}

#[test]
fn the_beginning_is_five_events() {
    let events = written(&Record::Started(started()));
    let names: Vec<_> = events.iter().map(|event| event["name"].as_str().unwrap()).collect();
    let expected = [
        "quic:connection_started",
        "quic:version_information",
        "quic:connection_state_updated",
        "quic:tuple_assigned",
        "quic:recovery_parameters_set",
    ];
    assert_eq!(names, expected);
    assert_eq!(events[0]["data"]["local"]["ip_v4"], "127.0.0.1");
    assert_eq!(events[0]["data"]["local"]["connection_ids"][0], "020202020202020202020202");
    assert_eq!(events[0]["data"]["remote"], serde_json::json!({"ip_v6": "2001:db8::1", "port_v6": 2}));
    assert_eq!(events[1]["data"]["chosen_version"], "00000001");
    assert_eq!(events[3]["data"]["tuple_id"], "0");
    assert_eq!(events[4]["data"]["time_threshold"], 1.125);
    assert_eq!(events[4]["data"]["scheduler"], "min-rtt");
}

#[test]
fn packets_have_a_header_a_size_and_frames() {
    let packet = Packet {
        path: PathId(2),
        kind: PacketType::OneRtt,
        number: 17,
        bytes: 40,
        key_phase: Some(1),
        mtu_probe: false,
        frames: Payload::new(&[1], 3, CodePoints::Final),
    };
    let event = one(&Record::PacketSent(packet));
    assert_eq!(
        event,
        serde_json::json!({
            "time": 7, "name": "quic:packet_sent", "tuple": "2", "data": {
                "header": {"packet_type": "1RTT", "packet_number": 17, "key_phase": 1, "path_id": 2},
                "raw": {"length": 40, "payload_length": 1},
                "frames": [{"frame_type": "ping"}],
            }
        })
    );
    let first = Packet { path: PathId::ZERO, kind: PacketType::Initial, key_phase: None, ..packet };
    let event = one(&Record::PacketReceived(first));
    assert_eq!(event["name"], "quic:packet_received");
    assert_eq!(event["data"]["header"], serde_json::json!({"packet_type": "initial", "packet_number": 17}));
    let (path, kind, number) = (PathId(2), PacketType::OneRtt, 17);
    let lost = |mtu_probe| Record::PacketLost { path, kind, number, mtu_probe, trigger: LossTrigger::Time };
    assert_eq!(one(&lost(false))["data"]["trigger"], "time_threshold");
    assert_eq!(one(&lost(false))["data"].get("is_mtu_probe_packet"), None);
    assert_eq!(one(&lost(true))["data"]["is_mtu_probe_packet"], true);
    let probe = Record::PacketSent(Packet { mtu_probe: true, ..packet });
    assert_eq!(one(&probe)["data"]["is_mtu_probe_packet"], true);
    let dropped = one(&Record::PacketDropped { path, bytes: 9, reason: DropReason::Duplicate });
    assert_eq!(dropped["data"]["trigger"], "duplicate");
}

#[test]
fn only_numbers_that_changed_are_told() {
    let rtt = RttMetrics {
        min: Duration::from_millis(10),
        smoothed: Duration::from_micros(10_500),
        latest: Duration::from_millis(11),
        var: Duration::from_millis(2),
    };
    let first = Metrics {
        path: PathId(1),
        rtt: Some(rtt),
        window: 12_000,
        in_flight: 0,
        pacing_rate: Some(1_000_000),
        slow_start: true,
    };
    let shelf = Shelf::with_room(9);
    let mut log = log(Settings::new(at(0)), &shelf, &[1; 8]).unwrap();
    let second = Metrics { in_flight: 1_200, ..first };
    let third = Metrics { slow_start: false, ..second };
    for metrics in [first, first, second, third] {
        log.record(at(1), &Record::Metrics(metrics));
    }
    drop(log);
    let data: Vec<_> = shelf.events()[1..].iter().map(|event| event["data"].clone()).collect();
    assert_eq!(data.len(), 2, "{data:?}");
    assert_eq!(
        data[0],
        serde_json::json!({
            "min_rtt": 10, "smoothed_rtt": 10.5, "latest_rtt": 11, "rtt_variance": 2,
            "congestion_window": 12_000, "bytes_in_flight": 0, "pacing_rate": 8_000_000,
        })
    );
    assert_eq!(data[1], serde_json::json!({"bytes_in_flight": 1_200}));
}

#[test]
fn each_end_of_a_connection_has_its_trigger() {
    let words = b"bye \xff".to_vec();
    let error = TransportError::protocol_violation("x");
    for (reason, trigger, initiator) in [
        (CloseReason::LocalApplication { code: 7 }, "application", "local"),
        (CloseReason::LocalTransport(error), "error", "local"),
        (CloseReason::PeerApplication { code: 7, reason: words.clone() }, "application", "remote"),
        (
            CloseReason::PeerTransport { code: TransportErrorCode(0x4000), frame_type: 0, reason: words },
            "error",
            "remote",
        ),
        (CloseReason::IdleTimeout, "idle_timeout", "local"),
        (CloseReason::HandshakeTimeout, "aborted", "local"),
        (CloseReason::StatelessReset, "stateless_reset", "remote"),
        (CloseReason::VersionMismatch, "version_mismatch", "local"),
        (CloseReason::Refused, "aborted", "local"),
    ] {
        let event = Event::Closed(reason.clone());
        let events = written(&Record::Event(&event));
        assert_eq!(events[0]["name"], "quic:connection_closed");
        let data = &events[0]["data"];
        assert_eq!(
            (&data["trigger"], &data["initiator"]),
            (&trigger.into(), &initiator.into()),
            "{reason:?}"
        );
        assert_eq!(events[1]["name"], "quic:connection_state_updated");
    }
}

#[test]
fn a_decision_says_what_it_saw_and_why() {
    let view = PathView {
        id: PathId(1),
        backup: false,
        suspect: true,
        rtt: Duration::from_millis(20),
        rtt_var: Duration::ZERO,
        one_way_delay: Duration::ZERO,
        delivery_rate: 0,
        window_left: 1_200,
        in_flight: 10_800,
        queued: 0,
        ready_at: at(9),
        segment_size: 1_200,
        loss_permille: 5,
    };
    let (demand, until) = (Demand::Repair { bytes: 77 }, Some(at(9)));
    let decided = |decision, reason| Decided { demand, paths: std::slice::from_ref(&view), decision, reason };
    let sent = decided(Decision::Send(0), Reason::AllSuspect);
    let sent = one(&Record::Decided(sent));
    assert_eq!(sent["tuple"], "1");
    assert_eq!(
        sent["data"],
        serde_json::json!({
            "demand": "repair", "demand_bytes": 77, "path_id": 1, "trigger": "all_suspect", "paths": [{
                "path_id": 1, "rtt": 20, "window_left": 1_200, "bytes_in_flight": 10_800, "pacing_wait": 2,
                "loss_permille": 5, "backup": false, "suspect": true,
            }]
        })
    );
    let waits = decided(Decision::Wait { until }, Reason::Pacer);
    let waits = one(&Record::Decided(waits));
    assert_eq!((&waits["data"]["wait"], &waits["data"]["trigger"]), (&2.into(), &"pacer".into()));
    assert_eq!(waits.get("tuple"), None);
}

#[test]
fn the_life_of_a_path_has_its_events() {
    let path = PathId(1);
    let opened = written(&Record::PathOpened { path, route: route(), by: Initiator::Remote });
    assert_eq!(opened[0]["name"], "quic:tuple_assigned");
    assert_eq!(opened[1]["data"], serde_json::json!({"path_id": 1, "initiator": "remote"}));
    let migrated = written(&Record::PathMigrated { path, route: route() });
    assert_eq!(migrated[0]["data"]["tuple_remote"]["port_v6"], 2);
    assert_eq!(migrated[1]["name"], "braid:path_migrated");
    let abandoned = Event::PathAbandoned { path, code: PathErrorCode(0x3e), by_peer: false };
    for (record, name, member, value) in [
        (
            Record::PathSuspect { path, why: SuspectTrigger::Overdue },
            "suspect",
            "trigger",
            "acknowledgement_overdue",
        ),
        (Record::PathAdvised { path, backup: true }, "status", "status", "backup"),
        (Record::Event(&abandoned), "abandoned", "initiator", "local"),
    ] {
        let event = one(&record);
        assert_eq!(event["name"], format!("braid:path_{name}"));
        assert_eq!(event["data"][member], value);
    }
    for event in [Event::PathValidated(path), Event::PathRecovered(path), Event::PathMigrationFailed(path)] {
        assert_eq!(one(&Record::Event(&event))["data"], serde_json::json!({"path_id": 1}));
    }
    assert!(written(&Record::Event(&Event::StreamsAvailable)).is_empty(), "packets tell of streams");
}

#[test]
fn a_path_ends_with_its_final_numbers() {
    let stats = PathStats {
        id: PathId(1),
        route: route(),
        stage: PathStage::Leaving,
        backup: false,
        backup_by_us: false,
        packets_sent: 1,
        packets_received: 2,
        packets_lost: 3,
        bytes_sent: 4,
        bytes_received: 5,
        stream_bytes_sent: 6,
        stream_bytes_received: 7,
        rtt_min: Some(Duration::from_millis(20)),
        rtt_smoothed: Some(Duration::from_micros(20_500)),
        rtt_p99: None,
        window: 12_000,
        in_flight: 0,
        probe_timeouts: 8,
        suspected: 9,
        mtu: 1_452,
        black_holes: 10,
        train_holes: 11,
    };
    let event = Event::PathClosed { stats: Box::new(stats) };
    let closed = one(&Record::Event(&event));
    assert_eq!((&closed["name"], &closed["tuple"]), (&"braid:path_closed".into(), &"1".into()));
    assert_eq!(
        closed["data"],
        serde_json::json!({
            "path_id": 1, "packets_sent": 1, "packets_received": 2, "packets_lost": 3, "bytes_sent": 4,
            "bytes_received": 5, "stream_bytes_sent": 6, "stream_bytes_received": 7, "probe_timeouts": 8,
            "suspected": 9, "mtu": 1_452, "black_holes": 10, "train_holes": 11, "min_rtt": 20,
            "smoothed_rtt": 20.5,
        })
    );
}

#[test]
fn each_change_of_a_datagram_size_is_told_once() {
    let shelf = Shelf::with_room(9);
    let mut log = log(Settings::new(at(0)), &shelf, &[1; 8]).unwrap();
    log.record(at(0), &Record::Started(started()));
    for (path, bytes) in [(0, 1_200), (0, 1_452), (0, 1_452), (1, 1_200), (1, 1_372), (0, 1_200)] {
        log.record(at(1), &Record::DatagramSize { path: PathId(path), bytes });
    }
    drop(log);
    let events = shelf.events();
    let told = events.iter().filter(|event| event["name"] == "quic:mtu_updated");
    let told: Vec<_> = told.map(|event| (event["tuple"].as_str().unwrap(), event["data"].clone())).collect();
    let change = |old: u16, new: u16| serde_json::json!({"old": old, "new": new});
    assert_eq!(told, [("0", change(1_200, 1_452)), ("1", change(1_200, 1_372)), ("0", change(1_452, 1_200))]);
}

#[test]
fn parameters_keys_and_states_have_their_events() {
    let parameters = TransportParameters {
        max_datagram_frame_size: 65_535,
        initial_max_path_id: Some(3),
        initial_max_path_id_draft_13: Some(4),
        ..TransportParameters::default()
    };
    let set = one(&Record::Parameters(Initiator::Remote, Parameters(&parameters)));
    assert_eq!(
        (&set["data"]["initiator"], &set["data"]["initial_max_path_id"]),
        (&"remote".into(), &3.into())
    );
    assert_eq!(set["data"]["initial_max_path_id_draft_13"], 4);
    assert_eq!(set["data"]["max_datagram_frame_size"], 65_535);
    assert_eq!(set["data"].get("stateless_reset_token"), None, "secrets stay out");
    let keys = written(&Record::KeysUpdated { by: Initiator::Local, generation: 2 });
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0]["data"]["trigger"], "local_update");
    let congestion = one(&Record::Congestion {
        path: PathId(0),
        old: CongestionState::SlowStart,
        new: CongestionState::Recovery,
        trigger: CongestionTrigger::Loss,
    });
    assert_eq!(
        (&congestion["data"]["old"], &congestion["data"]["new"]),
        (&"slow_start".into(), &"recovery".into())
    );
    let alpn = one(&Record::Alpn(b"perf"));
    assert_eq!(alpn["data"]["chosen_alpn"]["string_value"], "perf");
}
