//! Streams: the application's bytes, in order, as long as the connection lives (RFC 9000 §2 to §4).
//!
//! Owns every stream and all flow control. Does not know how data travels: frames go into whatever packet asks, each
//! leaves a receipt, and what a lost one carried becomes repair for whichever packet asks next. `receive` takes frames,
//! `transmit` writes them, `settle` hears their fate, `app` is the application's door. Hot path: one hash lookup per
//! frame, no allocation in steady state.

mod app;
mod assembler;
pub(crate) mod datagrams;
mod flow;
mod kinds;
pub(crate) mod lanes;
mod outbuf;
mod ready;
mod receive;
mod recv;
mod send;
mod settle;
mod transmit;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::fmt;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use self::assembler::Blocks;
use self::flow::{Credit, Window};
use self::kinds::{Ours, Standing, Theirs};
use self::ready::Queue;
use self::recv::RecvHalf;
use self::send::{Load, SendHalf};
use crate::config::TransportConfig;
use crate::event::Event;
use crate::id::{Direction, Role, StreamId};

pub use self::app::{ReadError, SendState, Slices, WriteError};
pub use self::datagrams::{DatagramId, DatagramOptions, DatagramResult, SendDatagramError};

/// What the peer's transport parameters allow us (RFC 9000 §18.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerLimits {
    /// `initial_max_data`.
    pub(crate) max_data: u64,
    /// `initial_max_stream_data_bidi_local`: for streams that the peer opens.
    pub(crate) stream_data_bidi_local: u64,
    /// `initial_max_stream_data_bidi_remote`: for streams that we open.
    pub(crate) stream_data_bidi_remote: u64,
    /// `initial_max_stream_data_uni`.
    pub(crate) stream_data_uni: u64,
    /// `initial_max_streams_bidi`.
    pub(crate) max_streams_bidi: u64,
    /// `initial_max_streams_uni`.
    pub(crate) max_streams_uni: u64,
}

/// How much could leave now, as far as the peer's limits go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Bytes to be sent again; a lone FIN counts as 1.
    pub(crate) repair_bytes: u64,
    /// Bytes to be sent for the first time; a lone FIN counts as 1.
    pub(crate) fresh_bytes: u64,
}

struct Stream {
    id: StreamId,
    send: Option<SendHalf>,
    recv: Option<RecvHalf>,
    /// What of it is counted in `Streams::load`.
    load: Load,
}

/// What could leave now on all streams together.
#[derive(Default)]
struct TotalLoad {
    repair_bytes: u64,
    /// Within the streams' credit, not yet cut to the connection's.
    fresh_bytes: u64,
    fins: u64,
}

/// Which streams have what to do; each list holds a stream at most once.
struct Turns {
    repair: Queue,
    fresh: Queue,
    fins: Queue,
    control: Queue,
    news: Queue,
}

/// All streams of a connection.
pub(crate) struct Streams {
    role: Role,
    slots: Slab<Stream>,
    by_id: HashMap<u64, u32, FixedState>,
    ours: [Ours; 2],
    theirs: [Theirs; 2],
    /// What the peer lets us send on all streams.
    credit: Credit,
    /// What we let the peer send on all streams.
    window: Window,
    blocks: Blocks,
    load: TotalLoad,
    turns: Turns,
    /// A stream that was refused can be opened now, and the application was not told.
    openable: bool,
    /// We told the peer that its limits hold us back, and may still wait.
    starved: bool,
    peer: PeerLimits,
    settings: Settings,
}

/// What of the configuration matters here.
#[derive(Clone, Copy)]
struct Settings {
    stream_window: u64,
    stream_window_max: u64,
    send_buffer: u64,
}

impl Streams {
    /// No streams. The peer may use what `config` says, which must be what our transport parameters announce: each of
    /// the three initial stream limits is `stream_window`. We may use nothing before `on_peer_params`.
    pub(crate) fn new(role: Role, config: &TransportConfig, hash_seed: u64) -> Self {
        let queue = Queue::new;
        Self {
            role,
            slots: Slab::new(),
            by_id: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            ours: [Ours::default(), Ours::default()],
            theirs: [
                Theirs::new(config.max_streams_bidirectional),
                Theirs::new(config.max_streams_unidirectional),
            ],
            credit: Credit::new(0),
            window: Window::new(config.connection_window, config.connection_window_max),
            blocks: Blocks::new(),
            load: TotalLoad::default(),
            turns: Turns { repair: queue(), fresh: queue(), fins: queue(), control: queue(), news: queue() },
            openable: false,
            starved: false,
            peer: PeerLimits::default(),
            settings: Settings {
                stream_window: config.stream_window,
                stream_window_max: config.stream_window_max,
                send_buffer: config.send_buffer,
            },
        }
    }

    /// The peer's transport parameters became known.
    pub(crate) fn on_peer_params(&mut self, limits: &PeerLimits) {
        self.peer = *limits;
        self.credit.on_limit(limits.max_data);
        self.openable |= self.ours[at(Direction::Bidirectional)].on_limit(limits.max_streams_bidi);
        self.openable |= self.ours[at(Direction::Unidirectional)].on_limit(limits.max_streams_uni);
        let slots: Vec<usize> = self.slots.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let limit = self.initial_credit(self.slots[slot].id);
            if let Some(send) = &mut self.slots[slot].send {
                send.on_limit(limit);
            }
            self.refresh(slot);
        }
    }

    /// How much could leave now. O(1).
    #[inline]
    pub(crate) fn pending(&self) -> Pending {
        Pending {
            repair_bytes: self.load.repair_bytes,
            fresh_bytes: self.load.fresh_bytes.min(self.credit.left()) + self.load.fins,
        }
    }

    /// The next thing the application should know; `None` when it knows all. At most one event of a kind per stream
    /// waits here, however long the application does not ask.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        for direction in [Direction::Bidirectional, Direction::Unidirectional] {
            if let Some(index) = self.theirs[at(direction)].take_news() {
                return Some(Event::StreamOpened(StreamId::new(self.role.peer(), direction, index)));
            }
        }
        if std::mem::take(&mut self.openable) {
            return Some(Event::StreamsAvailable);
        }
        let slot = self.turns.news.front()?;
        let event = self.slots[slot].take_event(self.settings.send_buffer);
        debug_assert!(event.is_some());
        self.refresh(slot);
        event
    }

    /// Is something to be told to the application?
    pub(crate) fn has_event(&self) -> bool {
        self.openable || !self.turns.news.is_empty() || self.theirs.iter().any(Theirs::has_news)
    }

    /// The most received bytes that ever waited for others in front of them.
    pub(crate) fn early_bytes_peak(&self) -> u64 {
        self.blocks.early_peak()
    }

    /// Is memory kept that `trim` would give back?
    pub(crate) fn has_spare(&self) -> bool {
        self.blocks.has_spare()
    }

    /// Gives back memory that is kept for speed; for a connection that has gone quiet.
    pub(crate) fn trim(&mut self) {
        self.blocks.trim();
    }

    /// Checks that what is counted is what is there; for the simulator and tests.
    pub(crate) fn audit(&self) -> Result<(), &'static str> {
        let loads = || self.slots.iter().map(|(_, stream)| stream.load);
        let same = loads().map(|load| load.repair_bytes).sum::<u64>() == self.load.repair_bytes
            && loads().map(|load| load.fresh_bytes).sum::<u64>() == self.load.fresh_bytes
            && loads().filter(|load| load.fin_only).count() as u64 == self.load.fins;
        if !same {
            return Err("the streams' load is not the sum of its parts");
        }
        if self.by_id.len() != self.slots.len() {
            return Err("a stream is not in the map, or is there twice");
        }
        for (slot, stream) in &self.slots {
            if stream.load != stream.present_load() {
                return Err("a stream's load is out of date");
            }
            let listed = self.turns.repair.contains(slot) == (stream.load.repair_bytes > 0)
                && self.turns.fresh.contains(slot) == (stream.load.fresh_bytes > 0)
                && self.turns.fins.contains(slot) == stream.load.fin_only
                && self.turns.control.contains(slot) == stream.owes_control()
                && self.turns.news.contains(slot) == stream.has_news(self.settings.send_buffer);
            if !listed {
                return Err("a stream stands in a wrong list");
            }
        }
        Ok(())
    }

    #[inline]
    fn slot_of(&self, id: StreamId) -> Option<usize> {
        self.by_id.get(&id.as_u64()).map(|&slot| slot as usize)
    }

    /// Where the application finds a stream; one that the peer opened silently gets its state now.
    fn slot_for_app(&mut self, id: StreamId) -> Option<usize> {
        let known = self.slot_of(id);
        let theirs = &mut self.theirs[at(id.direction())];
        if known.is_some() || id.opened_by() == self.role || !theirs.is_dormant(id.index()) {
            return known;
        }
        let standing = theirs.touch(id.index());
        debug_assert_eq!(standing, Standing::New);
        Some(self.insert(id))
    }

    /// Makes the state of a stream.
    fn insert(&mut self, id: StreamId) -> usize {
        let ours = id.opened_by() == self.role;
        let bidirectional = id.direction() == Direction::Bidirectional;
        let send = (ours || bidirectional).then(|| SendHalf::new(self.initial_credit(id)));
        let settings = &self.settings;
        let recv = (!ours || bidirectional)
            .then(|| RecvHalf::new(Window::new(settings.stream_window, settings.stream_window_max)));
        let slot = self.slots.insert(Stream { id, send, recv, load: Load::default() });
        self.by_id.insert(id.as_u64(), slot as u32);
        slot
    }

    fn initial_credit(&self, id: StreamId) -> u64 {
        match id.direction() {
            Direction::Unidirectional => self.peer.stream_data_uni,
            Direction::Bidirectional if id.opened_by() == self.role => self.peer.stream_data_bidi_remote,
            Direction::Bidirectional => self.peer.stream_data_bidi_local,
        }
    }

    /// Brings counts and lists up to date after a stream changed, and removes it if it is over.
    #[inline]
    fn refresh(&mut self, slot: usize) {
        let stream = &mut self.slots[slot];
        let load = stream.present_load();
        let before = std::mem::replace(&mut stream.load, load);
        let (control, news) = (stream.owes_control(), stream.has_news(self.settings.send_buffer));
        let over = stream.is_over() && !news;
        if load != before {
            let total = &mut self.load;
            total.repair_bytes = total.repair_bytes - before.repair_bytes + load.repair_bytes;
            total.fresh_bytes = total.fresh_bytes - before.fresh_bytes + load.fresh_bytes;
            total.fins = total.fins - u64::from(before.fin_only) + u64::from(load.fin_only);
            self.turns.repair.set(slot, load.repair_bytes > 0);
            self.turns.fresh.set(slot, load.fresh_bytes > 0);
            self.turns.fins.set(slot, load.fin_only);
        }
        self.turns.control.set(slot, control && !over);
        self.turns.news.set(slot, news);
        if over {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: usize) {
        let stream = self.slots.remove(slot);
        self.by_id.remove(&stream.id.as_u64());
        if stream.id.opened_by() != self.role {
            self.theirs[at(stream.id.direction())].on_closed();
        }
        if self.slots.is_empty() {
            self.blocks.trim();
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} streams, {:?}", self.slots.len(), self.pending())
    }
}

impl Stream {
    #[inline]
    fn present_load(&self) -> Load {
        self.send.as_ref().map_or(Load::default(), SendHalf::load)
    }

    #[inline]
    fn owes_control(&self) -> bool {
        self.send.as_ref().is_some_and(|send| send.reset_due().is_some() || send.blocked_due())
            || self.recv.as_ref().is_some_and(|recv| recv.limit_due() || recv.stop_due().is_some())
    }

    #[inline]
    fn has_news(&self, send_buffer: u64) -> bool {
        self.recv.as_ref().is_some_and(RecvHalf::has_news)
            || self.send.as_ref().is_some_and(|send| {
                send.stop_news().is_some() || send.finish_news() || send.room_news(send_buffer)
            })
    }

    fn take_event(&mut self, send_buffer: u64) -> Option<Event> {
        if let Some(recv) = self.recv.as_mut().filter(|recv| recv.has_news()) {
            recv.on_told();
            return Some(Event::Readable(self.id));
        }
        let send = self.send.as_mut()?;
        if let Some(code) = send.stop_news() {
            send.on_stop_told();
            return Some(Event::Stopped { stream: self.id, code });
        }
        if send.finish_news() {
            send.on_finish_told();
            return Some(Event::Finished(self.id));
        }
        if send.room_news(send_buffer) {
            send.on_room_told();
            return Some(Event::Writable(self.id));
        }
        None
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.send.as_ref().is_none_or(SendHalf::is_closed)
            && self.recv.as_ref().is_none_or(RecvHalf::is_closed)
    }
}

/// The place of a direction in an array of two.
#[inline]
const fn at(direction: Direction) -> usize {
    matches!(direction, Direction::Unidirectional) as usize
}
