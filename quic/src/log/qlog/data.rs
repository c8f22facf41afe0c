//! The data of qlog events: which members they have, and how values are written.
//!
//! Owns the JSON of each kind of `Data`. Which record becomes which event is `event`'s; frames are `frame`'s.

use std::net::SocketAddr;

use super::event::Data;
use super::frame::{put_frames, put_reason, put_transport_error};
use super::json::Object;
use crate::base::time::Instant;
use crate::error::CloseReason;
use crate::id::{PathId, Role};
use crate::log::record::{
    CongestionState, CongestionTrigger, Decided, DropReason, Initiator, LossTrigger, Metrics, Packet,
    PacketType, Parameters, Started, SuspectTrigger,
};
use crate::schedule::{Decision, Demand, PathView};
use crate::stats::PathStats;
use crate::wire::packet::VERSION_1;

impl Data<'_> {
    /// Writes the members.
    pub(super) fn put(&self, data: &mut Object<'_>) {
        match *self {
            Self::ConnectionStarted(started) => {
                data.object("local", |end| {
                    put_address(end, started.route.local());
                    end.list("connection_ids", |list| list.hex(started.local_cid));
                });
                data.object("remote", |end| put_address(end, started.route.remote()));
            }
            Self::Versions(role) => {
                let ours = if role == Role::Client { "client_versions" } else { "server_versions" };
                data.list(ours, |list| list.hex(&VERSION_1.to_be_bytes()));
                data.hex("chosen_version", &VERSION_1.to_be_bytes());
            }
            Self::Recovery(started) => put_recovery(data, &started),
            Self::Tuple(path, route) => {
                data.display("tuple_id", path);
                data.object("tuple_remote", |end| put_address(end, route.remote()));
                data.object("tuple_local", |end| put_address(end, route.local()));
            }
            Self::State(new) => data.text("new", new),
            Self::Closed(reason) => put_closed(data, reason),
            Self::Parameters(by, parameters) => {
                data.text("initiator", initiator(by));
                put_parameters(data, parameters);
            }
            Self::Alpn(chosen) => data.object("chosen_alpn", |alpn| {
                alpn.hex("byte_value", chosen);
                if let Ok(text) = std::str::from_utf8(chosen) {
                    alpn.text("string_value", text);
                }
            }),
            Self::Packet(packet) => put_packet(data, &packet),
            Self::Dropped(bytes, reason) => put_dropped(data, bytes, reason),
            Self::Lost(kind, number, path, mtu_probe, trigger) => {
                data.object("header", |header| put_header(header, kind, number, path, None));
                put_mtu_probe(data, mtu_probe);
                data.text(
                    "trigger",
                    match trigger {
                        LossTrigger::Reordering => "reordering_threshold",
                        LossTrigger::Time => "time_threshold",
                    },
                );
            }
            Self::Metrics(metrics, before) => put_metrics(data, &metrics, before.as_ref()),
            Self::Congestion(old, new, trigger) => put_congestion(data, old, new, trigger),
            Self::Key(key, by, generation) => {
                data.text("key_type", key);
                data.number("key_phase", generation);
                data.text("trigger", if by == Initiator::Local { "local_update" } else { "remote_update" });
            }
            Self::DatagramSize(old, new) => {
                data.number("old", old.into());
                data.number("new", new.into());
            }
            Self::Decided(decided, at) => put_decided(data, &decided, at),
            Self::Missing(lost) => {
                data.display("message", format_args!("{lost} events are missing here: the queue was full"));
            }
            _ => self.put_path(data),
        }
    }

    /// Writes the members of the events in our namespace that are about a path.
    fn put_path(&self, data: &mut Object<'_>) {
        let (path, by) = match *self {
            Self::Path(path) | Self::PathSuspect(path, _) => (path, None),
            Self::PathClosed(stats) => (stats.id, None),
            Self::PathOpened(path, by) | Self::PathStatus(path, by, _) | Self::PathAbandoned(path, by, _) => {
                (path, Some(by))
            }
            _ => return debug_assert!(false, "not about a path"),
        };
        data.number("path_id", path.0.into());
        if let Some(by) = by {
            data.text("initiator", initiator(by));
        }
        match *self {
            Self::PathSuspect(_, why) => data.text("trigger", suspect_trigger(why)),
            Self::PathClosed(stats) => put_totals(data, stats),
            Self::PathStatus(_, _, backup) => {
                data.text("status", if backup { "backup" } else { "available" });
            }
            Self::PathAbandoned(_, _, code) => data.number("error_code", code),
            _ => {}
        }
    }
}

/// A path's final numbers.
fn put_totals(data: &mut Object<'_>, stats: &PathStats) {
    for (name, total) in [
        ("packets_sent", stats.packets_sent),
        ("packets_received", stats.packets_received),
        ("packets_lost", stats.packets_lost),
        ("bytes_sent", stats.bytes_sent),
        ("bytes_received", stats.bytes_received),
        ("stream_bytes_sent", stats.stream_bytes_sent),
        ("stream_bytes_received", stats.stream_bytes_received),
        ("probe_timeouts", stats.probe_timeouts),
        ("suspected", stats.suspected),
        ("mtu", stats.mtu.into()),
        ("black_holes", stats.black_holes.into()),
        ("train_holes", stats.train_holes.into()),
    ] {
        data.number(name, total);
    }
    for (name, rtt) in
        [("min_rtt", stats.rtt_min), ("smoothed_rtt", stats.rtt_smoothed), ("rtt_p99", stats.rtt_p99)]
    {
        if let Some(rtt) = rtt {
            data.millis(name, rtt);
        }
    }
}

fn put_address(end: &mut Object<'_>, address: SocketAddr) {
    let (ip, port) = if address.is_ipv4() { ("ip_v4", "port_v4") } else { ("ip_v6", "port_v6") };
    end.display(ip, address.ip());
    end.number(port, address.port().into());
}

fn put_recovery(data: &mut Object<'_>, started: &Started<'_>) {
    data.number("reordering_threshold", started.reorder_packets);
    data.decimal("time_threshold", 1_125, 3); // RFC 9002 §6.1.2
    data.number("timer_granularity", 1);
    data.millis("initial_rtt", started.initial_rtt);
    data.number("max_datagram_size", started.datagram_size.into());
    data.number("initial_congestion_window", started.window);
    // Not in the draft, which leaves room for more.
    data.text("congestion_control", started.congestion);
    data.text("scheduler", started.scheduler);
    data.number("max_paths", started.max_paths.into());
}

fn put_closed(data: &mut Object<'_>, reason: &CloseReason) {
    let by = match reason {
        CloseReason::PeerApplication { .. }
        | CloseReason::PeerTransport { .. }
        | CloseReason::StatelessReset => Initiator::Remote,
        _ => Initiator::Local,
    };
    data.text("initiator", initiator(by));
    match reason {
        CloseReason::LocalApplication { code } | CloseReason::PeerApplication { code, .. } => {
            data.text("application_error", "unknown");
            data.number("error_code", *code);
        }
        CloseReason::LocalTransport(error) => put_transport_error(data, "connection_error", error.code),
        CloseReason::PeerTransport { code, .. } => put_transport_error(data, "connection_error", *code),
        _ => {}
    }
    match reason {
        CloseReason::LocalTransport(error) => data.text("reason", error.reason),
        CloseReason::PeerApplication { reason, .. } | CloseReason::PeerTransport { reason, .. } => {
            put_reason(data, reason);
        }
        CloseReason::HandshakeTimeout | CloseReason::Refused => data.display("reason", reason),
        _ => {}
    }
    data.text(
        "trigger",
        match reason {
            CloseReason::LocalApplication { .. } | CloseReason::PeerApplication { .. } => "application",
            CloseReason::LocalTransport(_) | CloseReason::PeerTransport { .. } => "error",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::StatelessReset => "stateless_reset",
            CloseReason::VersionMismatch => "version_mismatch",
            CloseReason::HandshakeTimeout | CloseReason::Refused => "aborted",
        },
    );
}

fn put_parameters(data: &mut Object<'_>, Parameters(parameters): Parameters<'_>) {
    let cids = [
        ("original_destination_connection_id", parameters.original_destination_connection_id),
        ("initial_source_connection_id", parameters.initial_source_connection_id),
        ("retry_source_connection_id", parameters.retry_source_connection_id),
    ];
    for (name, cid) in cids {
        if let Some(cid) = cid {
            data.hex(name, &cid);
        }
    }
    if parameters.disable_active_migration {
        data.flag("disable_active_migration", true);
    }
    data.number("max_idle_timeout", parameters.max_idle_timeout_ms);
    data.number("max_udp_payload_size", parameters.max_udp_payload_size);
    data.number("ack_delay_exponent", parameters.ack_delay_exponent);
    data.number("max_ack_delay", parameters.max_ack_delay_ms);
    data.number("active_connection_id_limit", parameters.active_connection_id_limit);
    data.number("initial_max_data", parameters.initial_max_data);
    data.number("initial_max_stream_data_bidi_local", parameters.initial_max_stream_data_bidi_local);
    data.number("initial_max_stream_data_bidi_remote", parameters.initial_max_stream_data_bidi_remote);
    data.number("initial_max_stream_data_uni", parameters.initial_max_stream_data_uni);
    data.number("initial_max_streams_bidi", parameters.initial_max_streams_bidi);
    data.number("initial_max_streams_uni", parameters.initial_max_streams_uni);
    data.number("max_datagram_frame_size", parameters.max_datagram_frame_size);
    if let Some(delay) = parameters.min_ack_delay_us {
        data.number("min_ack_delay", delay);
    }
    if let Some(max) = parameters.initial_max_path_id {
        data.number("initial_max_path_id", max.into()); // draft-ietf-quic-multipath-21 §2.1
    }
    if let Some(max) = parameters.initial_max_path_id_draft_13 {
        data.number("initial_max_path_id_draft_13", max.into()); // the same with the numbers of drafts 13 to 18
    }
}

fn put_packet(data: &mut Object<'_>, packet: &Packet<'_>) {
    data.object("header", |header| {
        put_header(header, packet.kind, packet.number, packet.path, packet.key_phase);
    });
    data.object("raw", |raw| {
        raw.number("length", packet.bytes as u64);
        raw.number("payload_length", packet.frames.as_bytes().len() as u64);
    });
    put_mtu_probe(data, packet.mtu_probe);
    put_frames(data, packet.frames);
}

/// What is no probe says nothing: that is the default.
fn put_mtu_probe(data: &mut Object<'_>, mtu_probe: bool) {
    if mtu_probe {
        data.flag("is_mtu_probe_packet", true);
    }
}

fn put_header(header: &mut Object<'_>, kind: PacketType, number: u64, path: PathId, key_phase: Option<u64>) {
    let name = match kind {
        PacketType::Initial => "initial",
        PacketType::ZeroRtt => "0RTT",
        PacketType::Handshake => "handshake",
        PacketType::OneRtt => "1RTT",
    };
    header.text("packet_type", name);
    header.number("packet_number", number);
    if let Some(generation) = key_phase {
        header.number("key_phase", generation);
    }
    if kind == PacketType::OneRtt {
        header.number("path_id", path.0.into()); // each path counts its packets from 0
    }
}

fn put_dropped(data: &mut Object<'_>, bytes: usize, reason: DropReason) {
    let (trigger, details) = match reason {
        DropReason::Malformed => ("invalid", "malformed"),
        DropReason::Unsupported => ("unsupported", "packet type or version"),
        DropReason::NoKeys => ("key_unavailable", "no keys"),
        DropReason::NotAuthentic => ("decryption_failure", "not authentic"),
        DropReason::Duplicate => ("duplicate", "packet number seen before"),
        DropReason::WrongRoute => ("rejected", "address that the path does not use"),
        DropReason::WrongCid => ("rejected", "coalesced with another connection ID"),
        DropReason::WrongSource => ("rejected", "source connection ID changed"),
        DropReason::SmallDatagram => ("rejected", "initial packet in a small datagram"),
    };
    data.object("raw", |raw| raw.number("length", bytes as u64));
    data.object("details", |object| object.text("reason", details));
    data.text("trigger", trigger);
}

/// The numbers that are not as they were told before.
fn put_metrics(data: &mut Object<'_>, metrics: &Metrics, before: Option<&Metrics>) {
    let rtt_before = before.and_then(|before| before.rtt);
    if let Some(rtt) = metrics.rtt.filter(|_| metrics.rtt != rtt_before) {
        data.millis("min_rtt", rtt.min);
        data.millis("smoothed_rtt", rtt.smoothed);
        data.millis("latest_rtt", rtt.latest);
        data.millis("rtt_variance", rtt.var);
    }
    if before.is_none_or(|before| before.window != metrics.window) {
        data.number("congestion_window", metrics.window);
    }
    if before.is_none_or(|before| before.in_flight != metrics.in_flight) {
        data.number("bytes_in_flight", metrics.in_flight);
    }
    if let Some(rate) =
        metrics.pacing_rate.filter(|_| before.is_none_or(|it| it.pacing_rate != metrics.pacing_rate))
    {
        data.number("pacing_rate", rate.saturating_mul(8)); // bits per second
    }
}

fn put_congestion(
    data: &mut Object<'_>,
    old: CongestionState,
    new: CongestionState,
    trigger: CongestionTrigger,
) {
    let name = |state| match state {
        CongestionState::SlowStart => "slow_start",
        CongestionState::Recovery => "recovery",
        CongestionState::Avoidance => "congestion_avoidance",
    };
    data.text("old", name(old));
    data.text("new", name(new));
    data.text(
        "trigger",
        match trigger {
            CongestionTrigger::Loss => "packet_loss",
            CongestionTrigger::PersistentCongestion => "persistent_congestion",
            CongestionTrigger::Acknowledged => "acknowledged",
        },
    );
}

fn put_decided(data: &mut Object<'_>, decided: &Decided<'_>, at: Instant) {
    let demand = match decided.demand {
        Demand::Repair { .. } => "repair",
        Demand::Fresh { .. } => "fresh",
    };
    data.text("demand", demand);
    data.number("demand_bytes", decided.demand.bytes());
    match (decided.path(), decided.decision) {
        (Some(path), _) => data.number("path_id", path.0.into()),
        (None, Decision::Wait { until: Some(until) }) => {
            data.millis("wait", until.since(at));
        }
        (None, _) => {}
    }
    data.text("trigger", decided.reason.name());
    data.list("paths", |list| {
        for path in decided.paths {
            list.object(|object| put_view(object, path, at));
        }
    });
}

fn put_view(object: &mut Object<'_>, path: &PathView, at: Instant) {
    object.number("path_id", path.id.0.into());
    object.millis("rtt", path.rtt);
    object.number("window_left", path.window_left);
    object.number("bytes_in_flight", path.in_flight);
    object.millis("pacing_wait", path.ready_at.since(at));
    object.number("loss_permille", path.loss_permille.into());
    object.flag("backup", path.backup);
    object.flag("suspect", path.suspect);
}

const fn initiator(by: Initiator) -> &'static str {
    match by {
        Initiator::Local => "local",
        Initiator::Remote => "remote",
    }
}

const fn suspect_trigger(why: SuspectTrigger) -> &'static str {
    match why {
        SuspectTrigger::Overdue => "acknowledgement_overdue",
        SuspectTrigger::ProbeTimeout => "probe_timeout",
        SuspectTrigger::Unreachable => "unreachable",
    }
}
