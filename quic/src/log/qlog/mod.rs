//! qlog: records as JSON text sequences (draft-ietf-quic-qlog-main-schema-14 and -quic-events-13, `.sqlog`).
//!
//! Owns the header of a log, the lines of a connection and how they are bundled into chunks. An `Outlet` takes the
//! chunks away and says when it has no room; whole chunks are dropped then, and the log says how many events are missing.
//! Opens no file and starts no thread. Times are milliseconds since the origin that the owner names.

mod data;
mod event;
mod frame;
mod json;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use self::event::{Before, Data, Told, events};
use self::json::Object;
use super::record::{Metrics, Record};
use super::{Log, LogFactory, Opening, is_sampled};
use crate::base::time::Instant;
use crate::id::{PathId, Role};
use crate::wire::cid_bytes::Cid;

/// A chunk is handed over once it has so many bytes; the last event may exceed it.
pub const CHUNK_BYTES: usize = 32 << 10;

/// A chunk is handed over with the first event this long after it was begun, so that a log can be watched.
const CHUNK_SPAN: Duration = Duration::from_secs(1);

/// Paths whose last numbers are remembered, so that only changes are told.
const KNOWN_MAX: usize = 16;

/// What stands before each record (RFC 7464 §2.2).
const RECORD_SEPARATOR: u8 = 0x1e;

/// The schemas of the events (draft-ietf-quic-qlog-quic-events §2.1 asks for the number of the draft). The last two are
/// ours, and nobody's domain: the frames of the multipath extension, and our own events.
const EVENT_SCHEMAS: [&str; 4] = [
    "urn:ietf:params:qlog:events:quic-13",
    "urn:ietf:params:qlog:events:loglevel",
    "https://braid.invalid/112026/quic#multipath",
    "https://braid.invalid/112026/braid",
];

/// Whose events stand in one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// One connection's: its first chunk has the header.
    #[default]
    Separate,
    /// Those of many connections, told apart by `group_id`: the owner writes the `header` once.
    Shared,
}

/// How connections are logged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose events stand in one log.
    pub grouping: Grouping,
    /// One connection in so many is logged, chosen by its first destination connection ID, so that both ends log the
    /// same ones. 1 logs all, 0 none.
    pub every: u64,
    /// The instant from which times are counted.
    pub origin: Instant,
    /// The time of day at the origin, as RFC 3339 writes it, if it is known.
    pub wall_clock: Option<String>,
}

impl Settings {
    /// Every connection in a log of its own, times counted from `origin`.
    pub const fn new(origin: Instant) -> Self {
        Self { grouping: Grouping::Separate, every: 1, origin, wall_clock: None }
    }
}

/// Takes chunks away, for instance to the thread that writes files.
pub trait Outlet: Send + Sync {
    /// Takes a chunk, or gives it back because there is no room. Called on the data path, so it must not block.
    fn offer(&self, chunk: Chunk) -> Result<(), Chunk>;
}

/// Whole lines of one connection's log.
#[derive(Debug)]
pub struct Chunk {
    source: Source,
    bytes: Vec<u8>,
    events: u64,
    last: bool,
}

impl Chunk {
    /// Whose log it is.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The lines, for a log of their own with the header before the first ones.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many events are in it.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Is the connection gone, so that no chunk of it follows?
    pub fn is_last(&self) -> bool {
        self.last
    }
}

/// One end of one connection. Shown as the recommended name of its log, without the ending: the first destination
/// connection ID, and which end it is (draft-ietf-quic-qlog-main-schema, "Set file output destination").
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    original: Cid,
    server: bool,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.original.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if self.server { "_server" } else { "_client" })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Logs the connections that `settings` choose to `outlet`.
pub fn factory(settings: Settings, outlet: Arc<dyn Outlet>) -> LogFactory {
    let settings = Arc::new(settings);
    LogFactory::new(move |opening| {
        if !is_sampled(opening.original, settings.every) {
            return None;
        }
        Some(Box::new(ConnectionLog::new(Arc::clone(&settings), Arc::clone(&outlet), opening)?))
    })
}

/// The header of a log that many connections share, all seen from the end `role`.
pub fn header(settings: &Settings, role: Role) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, settings, role, None);
    out
}

/// The log of one connection.
struct ConnectionLog {
    settings: Arc<Settings>,
    outlet: Arc<dyn Outlet>,
    source: Source,
    lines: Lines,
    /// When the first event of the chunk happened.
    begun_at: Instant,
    /// How long the chunk will be.
    expected_bytes: usize,
    /// Events that were dropped since the last chunk that was taken.
    missing: u64,
    header_due: bool,
    withdrawn: bool,
    /// UDP payload of full packets of a path that begins.
    datagram_size: u16,
    known: SmallVec<[Known; 2]>,
}

/// What was told last of a path.
#[derive(Clone, Copy, Debug)]
struct Known {
    path: PathId,
    metrics: Option<Metrics>,
    datagram_size: u16,
}

/// Lines that were not handed over yet.
struct Lines {
    bytes: Vec<u8>,
    events: u64,
    group: Option<Cid>,
    origin: Instant,
}

impl ConnectionLog {
    fn new(settings: Arc<Settings>, outlet: Arc<dyn Outlet>, opening: &Opening<'_>) -> Option<Self> {
        let original = Cid::new(opening.original)?;
        let shared = settings.grouping == Grouping::Shared;
        let group = shared.then_some(original);
        Some(Self {
            source: Source { original, server: opening.role == Role::Server },
            lines: Lines { bytes: Vec::new(), events: 0, group, origin: settings.origin },
            begun_at: opening.at,
            expected_bytes: 0,
            missing: 0,
            header_due: !shared,
            withdrawn: false,
            datagram_size: 0,
            known: SmallVec::new(),
            settings,
            outlet,
        })
    }

    fn role(&self) -> Role {
        if self.source.server { Role::Server } else { Role::Client }
    }

    /// Begins a chunk with what must stand before all else.
    fn begin(&mut self, at: Instant) {
        self.begun_at = at;
        // As much as the last time: busy connections do not copy as they grow, quiet ones hold little.
        self.lines.bytes.reserve(self.expected_bytes);
        if self.header_due {
            let role = self.role();
            put_header(&mut self.lines.bytes, &self.settings, role, Some(&self.source.original));
        }
        if self.missing > 0 {
            let told = Told { name: "loglevel:warning", path: None, data: Data::Missing(self.missing) };
            self.lines.put(at, &told);
            self.lines.events -= 1; // a warning is no event that could be missing
        }
    }

    fn hand_over(&mut self, last: bool) {
        if self.lines.bytes.is_empty() && !last {
            return;
        }
        let bytes = std::mem::take(&mut self.lines.bytes);
        let events = std::mem::take(&mut self.lines.events);
        self.expected_bytes = bytes.len() + bytes.len() / 8;
        match self.outlet.offer(Chunk { source: self.source, bytes, events, last }) {
            Ok(()) => {
                self.header_due = false;
                self.missing = 0;
            }
            Err(chunk) => {
                self.missing += chunk.events;
                // Its memory serves the next chunk.
                self.lines.bytes = chunk.bytes;
                self.lines.bytes.clear();
            }
        }
    }

    /// Remembers what a record says of a path, and returns what was known before.
    fn learn(&mut self, record: &Record<'_>) -> Before {
        match *record {
            Record::Started(started) => self.datagram_size = started.datagram_size,
            Record::Metrics(metrics) => {
                return Before::Metrics(self.known(metrics.path).metrics.replace(metrics));
            }
            Record::DatagramSize { path, bytes } => {
                let known = self.known(path);
                return Before::DatagramSize(std::mem::replace(&mut known.datagram_size, bytes));
            }
            _ => {}
        }
        Before::Nothing
    }

    fn known(&mut self, path: PathId) -> &mut Known {
        let at = self.known.iter().position(|known| known.path == path).unwrap_or_else(|| {
            if self.known.len() == KNOWN_MAX {
                self.known.remove(0);
            }
            self.known.push(Known { path, metrics: None, datagram_size: self.datagram_size });
            self.known.len() - 1
        });
        &mut self.known[at]
    }
}

impl Log for ConnectionLog {
    fn record(&mut self, at: Instant, record: &Record<'_>) {
        if self.lines.bytes.is_empty() {
            self.begin(at);
        }
        let before = self.learn(record);
        let (role, lines) = (self.role(), &mut self.lines);
        events(record, at, role, before, &mut |told| lines.put(at, &told));
        if self.lines.bytes.len() >= CHUNK_BYTES || at.since(self.begun_at) >= CHUNK_SPAN {
            self.hand_over(false);
        }
    }

    fn withdraw(&mut self) {
        self.withdrawn = true;
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        if !self.withdrawn {
            self.hand_over(true);
        }
    }
}

impl Lines {
    fn put(&mut self, at: Instant, told: &Told<'_>) {
        self.bytes.push(RECORD_SEPARATOR);
        let mut event = Object::begin(&mut self.bytes);
        event.millis("time", at.since(self.origin));
        event.text("name", told.name);
        if let Some(PathId(path)) = told.path {
            event.display("tuple", path);
        }
        if let Some(group) = &self.group {
            event.hex("group_id", group);
        }
        event.object("data", |data| told.data.put(data));
        event.end();
        self.bytes.push(b'\n');
        self.events += 1;
    }
}

/// The first record of a log (draft-ietf-quic-qlog-main-schema, `QlogFileSeq`).
fn put_header(out: &mut Vec<u8>, settings: &Settings, role: Role, group: Option<&Cid>) {
    out.push(RECORD_SEPARATOR);
    let mut header = Object::begin(out);
    header.text("file_schema", "urn:ietf:params:qlog:file:sequential");
    header.text("serialization_format", "application/qlog+json-seq");
    header.object("trace", |trace| {
        trace.object("common_fields", |fields| {
            if let Some(group) = group {
                fields.hex("group_id", group);
            }
            fields.text("time_format", "relative_to_epoch");
            fields.object("reference_time", |time| {
                time.text("clock_type", "monotonic");
                time.text("epoch", "unknown");
                if let Some(wall_clock) = &settings.wall_clock {
                    time.text("wall_clock_time", wall_clock);
                }
            });
        });
        trace.object("vantage_point", |point| {
            point.text("name", "braid");
            point.text("type", if role == Role::Client { "client" } else { "server" });
        });
        trace.list("event_schemas", |list| EVENT_SCHEMAS.iter().for_each(|schema| list.text(schema)));
    });
    header.end();
    out.push(b'\n');
}
