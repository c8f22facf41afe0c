//! Records as qlog events: their names and data (draft-ietf-quic-qlog-quic-events-13).
//!
//! Owns the translation of one record. What that draft has no event for is in the namespace `braid`: the life of paths
//! and the decisions of the scheduler. Knows nothing of files, headers or queues.

use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::error::CloseReason;
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::record::{
    CongestionState, CongestionTrigger, Decided, DropReason, Initiator, LossTrigger, Metrics, Packet,
    PacketType, Parameters, Record, Started, SuspectTrigger,
};
use crate::stats::PathStats;

/// One event: its name, the path it belongs to, and what fills its data.
pub(super) struct Told<'a> {
    pub(super) name: &'static str,
    pub(super) path: Option<PathId>,
    pub(super) data: Data<'a>,
}

/// What was told before of the path that a record is about.
#[derive(Clone, Copy)]
pub(super) enum Before {
    Nothing,
    Metrics(Option<Metrics>),
    DatagramSize(u16),
}

/// What the data of an event is made of.
pub(super) enum Data<'a> {
    ConnectionStarted(Started<'a>),
    Versions(Role),
    Recovery(Started<'a>),
    Tuple(PathId, RouteId),
    State(&'static str),
    Closed(&'a CloseReason),
    Parameters(Initiator, Parameters<'a>),
    Alpn(&'a [u8]),
    Packet(Packet<'a>),
    Dropped(usize, DropReason),
    Lost(PacketType, u64, PathId, bool, LossTrigger),
    Metrics(Metrics, Option<Metrics>),
    Congestion(CongestionState, CongestionState, CongestionTrigger),
    Key(&'static str, Initiator, u64),
    Path(PathId),
    PathOpened(PathId, Initiator),
    PathSuspect(PathId, SuspectTrigger),
    PathStatus(PathId, Initiator, bool),
    PathAbandoned(PathId, Initiator, u64),
    PathClosed(&'a PathStats),
    DatagramSize(u16, u16),
    Decided(Decided<'a>, Instant),
    Missing(u64),
}

/// The events that a record made at `at` becomes, handed to `tell` one by one.
pub(super) fn events<'a>(
    record: &Record<'a>,
    at: Instant,
    role: Role,
    before: Before,
    tell: &mut impl FnMut(Told<'a>),
) {
    let mut one = |name, path, data| tell(Told { name, path, data });
    match *record {
        Record::Started(started) => {
            let zero = Some(PathId::ZERO);
            one("quic:connection_started", None, Data::ConnectionStarted(started));
            one("quic:version_information", None, Data::Versions(role));
            one("quic:connection_state_updated", None, Data::State("attempted"));
            one("quic:tuple_assigned", zero, Data::Tuple(PathId::ZERO, started.route));
            one("quic:recovery_parameters_set", None, Data::Recovery(started));
        }
        Record::Parameters(by, parameters) => {
            one("quic:parameters_set", None, Data::Parameters(by, parameters));
        }
        Record::Alpn(chosen) => one("quic:alpn_information", None, Data::Alpn(chosen)),
        Record::PacketSent(packet) => one("quic:packet_sent", Some(packet.path), Data::Packet(packet)),
        Record::PacketReceived(packet) => {
            one("quic:packet_received", Some(packet.path), Data::Packet(packet));
        }
        Record::PacketDropped { path, bytes, reason } => {
            one("quic:packet_dropped", Some(path), Data::Dropped(bytes, reason));
        }
        Record::PacketLost { path, kind, number, mtu_probe, trigger } => {
            one("quic:packet_lost", Some(path), Data::Lost(kind, number, path, mtu_probe, trigger));
        }
        Record::Metrics(metrics) => {
            let before = if let Before::Metrics(before) = before { before } else { None };
            if is_news(&metrics, before) {
                one("quic:recovery_metrics_updated", Some(metrics.path), Data::Metrics(metrics, before));
            }
        }
        Record::Congestion { path, old, new, trigger } => {
            one("quic:congestion_state_updated", Some(path), Data::Congestion(old, new, trigger));
        }
        Record::KeysUpdated { by, generation } => {
            for key in ["client_1rtt_secret", "server_1rtt_secret"] {
                one("quic:key_updated", None, Data::Key(key, by, generation));
            }
        }
        Record::PathOpened { path, route, by } => {
            one("quic:tuple_assigned", Some(path), Data::Tuple(path, route));
            one("braid:path_opened", Some(path), Data::PathOpened(path, by));
        }
        Record::Redirected { path, route } => {
            one("quic:tuple_assigned", Some(path), Data::Tuple(path, route));
        }
        Record::PathMigrated { path, route } => {
            one("quic:tuple_assigned", Some(path), Data::Tuple(path, route));
            one("braid:path_migrated", Some(path), Data::Path(path));
        }
        Record::PathSuspect { path, why } => {
            one("braid:path_suspect", Some(path), Data::PathSuspect(path, why));
        }
        Record::PathAdvised { path, backup } => {
            let data = Data::PathStatus(path, Initiator::Local, backup);
            one("braid:path_status", Some(path), data);
        }
        Record::DatagramSize { path, bytes } => match before {
            Before::DatagramSize(old) if old != bytes => {
                one("quic:mtu_updated", Some(path), Data::DatagramSize(old, bytes));
            }
            _ => {}
        },
        Record::Event(event) => told_to_application(event, &mut one),
        Record::Decided(decided) => {
            one("braid:train_scheduled", decided.path(), Data::Decided(decided, at));
        }
    }
}

/// Are the numbers other than those told before? Slow start is told by the congestion controller's state.
fn is_news(metrics: &Metrics, before: Option<Metrics>) -> bool {
    before.is_none_or(|before| Metrics { slow_start: metrics.slow_start, ..before } != *metrics)
}

fn told_to_application<'a>(event: &'a Event, one: &mut impl FnMut(&'static str, Option<PathId>, Data<'a>)) {
    const STATE: &str = "quic:connection_state_updated";
    match *event {
        Event::Connected { .. } => one(STATE, None, Data::State("handshake_complete")),
        Event::Confirmed => one(STATE, None, Data::State("handshake_confirmed")),
        Event::PathValidated(path) => one("braid:path_validated", Some(path), Data::Path(path)),
        Event::PathRecovered(path) => one("braid:path_recovered", Some(path), Data::Path(path)),
        Event::PathMigrationFailed(path) => {
            one("braid:path_migration_failed", Some(path), Data::Path(path));
        }
        Event::PathClosed { ref stats } => {
            one("braid:path_closed", Some(stats.id), Data::PathClosed(stats));
        }
        Event::PathAbandoned { path, code, by_peer } => {
            let by = if by_peer { Initiator::Remote } else { Initiator::Local };
            one("braid:path_abandoned", Some(path), Data::PathAbandoned(path, by, code.0));
        }
        Event::PathStatus { path, backup } => {
            let data = Data::PathStatus(path, Initiator::Remote, backup);
            one("braid:path_status", Some(path), data);
        }
        Event::Closed(ref reason) => {
            one("quic:connection_closed", None, Data::Closed(reason));
            one(STATE, None, Data::State(state_after(reason)));
        }
        _ => {} // what the application is told of streams stands in the packets
    }
}

/// The state that a connection is in after this end.
const fn state_after(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::LocalApplication { .. } | CloseReason::LocalTransport(_) => "closing",
        CloseReason::PeerApplication { .. }
        | CloseReason::PeerTransport { .. }
        | CloseReason::StatelessReset => "draining",
        _ => "closed",
    }
}
