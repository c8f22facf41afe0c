//! A reader of qlog that takes nothing for granted: records, header, names, members, order.
//!
//! Owns what draft-ietf-quic-qlog-quic-events-13 requires of each event and frame that Braid logs, and of those in
//! Braid's own namespace. An event that is not listed here is an error.

use serde_json::Value;

/// Events and the members that their data must have; a list of names after `=` is what the member may be.
const EVENTS: &[(&str, &[&str])] = &[
    ("quic:connection_started", &["local", "remote"]),
    (
        "quic:connection_closed",
        &["trigger=idle_timeout application error version_mismatch stateless_reset aborted unspecified"],
    ),
    (
        "quic:connection_state_updated",
        &["new=attempted handshake_started handshake_complete handshake_confirmed closing draining closed"],
    ),
    ("quic:version_information", &["chosen_version"]),
    ("quic:alpn_information", &["chosen_alpn"]),
    ("quic:parameters_set", &["initiator=local remote", "initial_max_data", "initial_source_connection_id"]),
    ("quic:tuple_assigned", &["tuple_id", "tuple_local", "tuple_remote"]),
    ("quic:mtu_updated", &["old", "new"]),
    ("quic:packet_sent", &["header", "raw", "frames"]),
    ("quic:packet_received", &["header", "raw", "frames"]),
    (
        "quic:packet_dropped",
        &[
            "raw",
            "trigger=internal_error rejected unsupported invalid duplicate connection_unknown \
             decryption_failure key_unavailable general",
        ],
    ),
    ("quic:packet_lost", &["header", "trigger=reordering_threshold time_threshold pto_expired"]),
    ("quic:recovery_parameters_set", &["timer_granularity"]),
    ("quic:recovery_metrics_updated", &[]),
    ("quic:congestion_state_updated", &["new"]),
    (
        "quic:key_updated",
        &["key_type=client_1rtt_secret server_1rtt_secret", "trigger=tls remote_update local_update"],
    ),
    ("loglevel:warning", &["message"]),
    ("braid:path_opened", &["path_id", "initiator=local remote"]),
    ("braid:path_validated", &["path_id"]),
    ("braid:path_suspect", &["path_id", "trigger=acknowledgement_overdue probe_timeout unreachable"]),
    ("braid:path_recovered", &["path_id"]),
    ("braid:path_migrated", &["path_id"]),
    ("braid:path_migration_failed", &["path_id"]),
    ("braid:path_abandoned", &["path_id", "initiator=local remote", "error_code"]),
    (
        "braid:path_closed",
        &[
            "path_id",
            "packets_sent",
            "packets_received",
            "packets_lost",
            "bytes_sent",
            "bytes_received",
            "stream_bytes_sent",
            "stream_bytes_received",
            "probe_timeouts",
            "suspected",
            "mtu",
            "black_holes",
            "train_holes",
        ],
    ),
    ("braid:path_status", &["path_id", "initiator=local remote", "status=available backup"]),
    (
        "braid:train_scheduled",
        &[
            "demand=fresh repair",
            "demand_bytes",
            "paths",
            "trigger=only_path only_eligible only_with_room only_ready last_backup all_suspect lowest_rtt \
             earliest turn carrier window pacer held",
        ],
    ),
];

const FRAMES: &[(&str, &[&str])] = &[
    ("padding", &["raw"]),
    ("ping", &[]),
    ("ack", &["acked_ranges"]),
    ("path_ack", &["path_id", "acked_ranges"]),
    ("reset_stream", &["stream_id", "error", "final_size"]),
    ("stop_sending", &["stream_id", "error"]),
    ("crypto", &["offset", "raw"]),
    ("new_token", &["token"]),
    ("stream", &["stream_id", "raw"]),
    ("max_data", &["maximum"]),
    ("max_stream_data", &["stream_id", "maximum"]),
    ("max_streams", &["stream_type=unidirectional bidirectional", "maximum"]),
    ("data_blocked", &["limit"]),
    ("stream_data_blocked", &["stream_id", "limit"]),
    ("streams_blocked", &["stream_type=unidirectional bidirectional", "limit"]),
    ("new_connection_id", &["sequence_number", "retire_prior_to", "connection_id"]),
    ("path_new_connection_id", &["path_id", "sequence_number", "retire_prior_to", "connection_id"]),
    ("retire_connection_id", &["sequence_number"]),
    ("path_retire_connection_id", &["path_id", "sequence_number"]),
    ("path_challenge", &["data"]),
    ("path_response", &["data"]),
    ("connection_close", &["error_space=transport application", "error"]),
    ("handshake_done", &[]),
    (
        "ack_frequency",
        &["sequence_number", "ack_eliciting_threshold", "requested_max_ack_delay", "reordering_threshold"],
    ),
    ("immediate_ack", &[]),
    ("datagram", &["raw"]),
    ("path_abandon", &["path_id", "error_code"]),
    ("path_status_backup", &["path_id", "sequence_number"]),
    ("path_status_available", &["path_id", "sequence_number"]),
    ("max_path_id", &["maximum"]),
    ("paths_blocked", &["maximum"]),
    ("path_cids_blocked", &["path_id", "next_sequence_number"]),
];

const PACKET_TYPES: [&str; 4] = ["initial", "handshake", "0RTT", "1RTT"];

/// One log.
pub(crate) struct Trace {
    header: Value,
    events: Vec<Value>,
}

impl Trace {
    /// Reads a log (RFC 7464): each record between a separator and a line feed.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("a log is UTF-8");
        let mut records = text.split('\u{1e}');
        assert_eq!(records.next(), Some(""), "a log begins with a record separator");
        let mut values = records.map(|record| {
            let record = record.strip_suffix('\n').expect("a record ends with a line feed");
            serde_json::from_str::<Value>(record).unwrap_or_else(|error| panic!("{error}: {record}"))
        });
        let header = values.next().expect("a log has a header");
        Self { header, events: values.collect() }
    }

    /// The events of this name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["name"] == name)
    }

    /// The frames of this type in the packets of these events.
    pub(crate) fn frames(&self, event: &str, frame_type: &str) -> impl Iterator<Item = &Value> {
        let frames = self.named(event).filter_map(|event| event["data"]["frames"].as_array()).flatten();
        frames.filter(move |frame| frame["frame_type"] == frame_type)
    }

    /// The packets that count as lost: a lost probe for a larger datagram size only answers its question.
    pub(crate) fn lost(&self) -> impl Iterator<Item = &Value> {
        self.named("quic:packet_lost").filter(|event| event["data"].get("is_mtu_probe_packet").is_none())
    }

    /// The connection that all events belong to.
    pub(crate) fn group(&self) -> &Value {
        &self.header["trace"]["common_fields"]["group_id"]
    }

    /// Does everything conform?
    pub(crate) fn check(&self, vantage_point: &str) {
        let trace = &self.header["trace"];
        assert_eq!(self.header["file_schema"], "urn:ietf:params:qlog:file:sequential");
        assert_eq!(self.header["serialization_format"], "application/qlog+json-seq");
        assert_eq!(trace["vantage_point"]["type"], vantage_point);
        assert!(trace["event_schemas"].as_array().is_some_and(|schemas| !schemas.is_empty()));
        assert_eq!(trace["common_fields"]["reference_time"]["epoch"], "unknown", "as monotonic clocks have");
        let mut last = 0.0;
        for event in &self.events {
            let time = event["time"].as_f64().expect("a time");
            assert!(time >= last, "time goes back from {last} at {event}");
            last = time;
            check_event(event);
        }
    }
}

fn check_event(event: &Value) {
    let name = event["name"].as_str().expect("a name");
    let data = event["data"].as_object().expect("data");
    require(EVENTS, name, &event["data"], event);
    if name == "quic:recovery_metrics_updated" {
        assert!(!data.is_empty(), "at least one metric: {event}");
    }
    if let Some(header) = data.get("header") {
        assert!(PACKET_TYPES.iter().any(|kind| header["packet_type"] == *kind), "{event}");
        assert!(header["packet_number"].is_u64(), "{event}");
    }
    for frame in data.get("frames").and_then(Value::as_array).into_iter().flatten() {
        require(FRAMES, frame["frame_type"].as_str().expect("a frame type"), frame, event);
    }
}

fn require(table: &[(&str, &[&str])], name: &str, object: &Value, event: &Value) {
    let row = table.iter().find(|(known, _)| *known == name);
    let (_, members) = row.unwrap_or_else(|| panic!("{name} is not known: {event}"));
    for member in *members {
        let (member, values) = member.split_once('=').unwrap_or((member, ""));
        let value = object.get(member).unwrap_or_else(|| panic!("no {member}: {event}"));
        let known = values.is_empty() || values.split_whitespace().any(|known| value == known);
        assert!(known, "{member} may not be {value}: {event}");
    }
}
