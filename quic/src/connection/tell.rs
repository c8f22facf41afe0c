//! What the corridor tells the log of a connection.
//!
//! Owns nothing and decides nothing: each function makes one record of what the rooms know, and only while somebody
//! listens. What the application is told is told the log in `announce`.

use super::Connection;
use super::agreed::ACK_DELAY_EXPONENT;
use super::frames::Place;
use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::config::{MultipathCodePoints, TransportConfig};
use crate::crypto::Level;
use crate::event::Event;
use crate::id::{PathId, Role};
use crate::log::{
    Cause, Initiator, Journal, LossTrigger, Metrics, Opening, Packet, PacketType, Parameters, Payload,
    Record, Started,
};
use crate::path::Path;
use crate::path::loss::REORDER_PACKETS;
use crate::wire::code_points::CodePoints;
use crate::wire::packet::PacketKind;
use crate::wire::params::TransportParameters;

/// The journal of a connection that begins.
pub(super) fn open(config: &TransportConfig, opening: &Opening<'_>) -> Journal {
    Journal::open(config.log.as_ref(), opening)
}

/// What leaves in a packet, with our unit of delays.
pub(super) const fn payload(frames: &[u8], code_points: CodePoints) -> Payload<'_> {
    Payload::new(frames, ACK_DELAY_EXPONENT, code_points)
}

/// What we declare as `role`, in `encoded`.
pub(super) fn declared(log: &mut Journal, role: Role, encoded: &[u8]) {
    if let Ok(ours) = TransportParameters::decode(encoded, role, MultipathCodePoints::Both) {
        log.record(|| Record::Parameters(Initiator::Local, Parameters(&ours)));
    }
}

/// What packets of a level are called.
pub(super) fn packet_type(level: Level) -> PacketType {
    match level {
        Level::Initial => PacketType::Initial,
        Level::Handshake => PacketType::Handshake,
        Level::OneRtt => PacketType::OneRtt,
    }
}

impl Connection {
    /// The beginning.
    pub(super) fn tell_start(&mut self, route: RouteId) {
        let zero = self.paths.get(PathId::ZERO);
        let window = zero.and_then(Path::running).map_or(0, |running| running.route.window());
        let cid = zero.map(|path| path.local.first());
        self.log.record(|| {
            Record::Started(Started {
                role: self.role,
                original: &self.original,
                local_cid: cid.as_deref().unwrap_or(&[]),
                route,
                scheduler: self.config.scheduler.name(),
                congestion: self.config.congestion.name(),
                initial_rtt: self.config.initial_rtt,
                datagram_size: self.config.datagram_size,
                window,
                max_paths: self.config.max_paths,
                reorder_packets: REORDER_PACKETS,
            })
        });
    }

    /// It is `now`, for all that is told until the next visit.
    #[inline]
    pub(crate) fn set_log_time(&mut self, now: Instant) {
        self.log.set_now(now);
    }

    /// It was none: its first packet was not authentic.
    pub(crate) fn withdraw_log(&mut self) {
        self.log.withdraw();
    }

    /// What the application is told, but for what other records say better.
    pub(super) fn tell_event(&mut self, event: &Event) {
        let running = |id| self.paths.get(id).and_then(Path::running);
        match *event {
            Event::PathOpened(_) | Event::PathSuspect(_) => {}
            Event::PathMigrated(path) => {
                if let Some(route) = running(path).map(|running| running.route.id()) {
                    self.log.record(|| Record::PathMigrated { path, route });
                    self.tell_datagram_size(path);
                }
            }
            Event::PathMtu { path, bytes } => self.log.record(|| Record::DatagramSize { path, bytes }),
            _ => self.log.record(|| Record::Event(event)),
        }
    }

    /// Packet `number` of `place`, with all its `bytes`, was opened: these are its frames.
    #[inline]
    pub(super) fn tell_received(&mut self, place: &Place, number: u64, bytes: usize, frames: &[u8]) {
        let (exponent, code_points) = (self.agreed.ack_delay_exponent, self.agreed.code_points);
        self.log.record(|| {
            let (path, kind) = (place.path, place.kind.into());
            let key_phase = (place.kind == PacketKind::OneRtt).then_some(place.generation);
            let frames = Payload::new(frames, exponent, code_points);
            Record::PacketReceived(Packet { path, kind, number, bytes, key_phase, mtu_probe: false, frames })
        });
    }

    /// The numbers of path `id` after `cause`.
    #[inline]
    pub(super) fn tell_metrics(&mut self, id: PathId, cause: Cause) {
        self.log.measured(cause, || metrics(self.paths.get(id)?));
    }

    /// Path `id` runs over a new route, or the peer says what it takes: full packets may have another size.
    pub(super) fn tell_datagram_size(&mut self, id: PathId) {
        if let Some(running) = self.paths.get(id).and_then(Path::running) {
            let bytes = running.route.datagram_size();
            self.log.record(|| Record::DatagramSize { path: id, bytes });
        }
    }

    /// A probe for a larger datagram size found no answer in time.
    pub(super) fn tell_mtu_probe_lost(&mut self, path: PathId, number: u64) {
        let (kind, trigger) = (PacketType::OneRtt, LossTrigger::Time);
        self.log.record(|| Record::PacketLost { path, kind, number, mtu_probe: true, trigger });
    }
}

fn metrics(path: &Path) -> Option<Metrics> {
    Some(path.running()?.route.metrics(path.id()))
}
