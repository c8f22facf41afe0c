//! Many connections on one worker: who a datagram is for, who is to be visited, who has something to send.
//!
//! Owns the connections, the table of connection IDs, the timers and the list of connections that changed. Only those
//! are visited. Knows no socket and no clock; datagrams, trains and the time are handed in and out.

mod admit;
#[cfg(test)]
mod datagram_tests;
mod guard;
#[cfg(test)]
mod hook;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod manager_tests;
#[cfg(test)]
mod migration_tests;
mod orphan;
#[cfg(test)]
mod pair;
mod receive;
#[cfg(test)]
mod tests;
mod timers;
mod transmit;

use std::collections::VecDeque;

use rustls_pki_types::ServerName;
use slab::Slab;

use crate::base::address::{LocalId, RouteId};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::cid::CidTable;
use crate::config::{ClientConfig, EndpointConfig};
use crate::connection::Connection;
use crate::datagram::{Fate, TrainTag};
use crate::endpoint::orphan::Replies;
use crate::endpoint::timers::Timers;
use crate::event::Event;
use crate::id::Role;
use crate::turn::Turn;

pub use guard::ConnectionGuard;
pub use transmit::Transmitted;

/// Timers kept for each connection at most, live ones and left-behind ones, and some more for few connections.
const TIMERS_PER_CONNECTION: usize = 4;
const TIMERS_SPARE: usize = 64;

/// Names a connection of one endpoint; never used again after `Event::Gone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    slot: u32,
    generation: u32,
}

/// Why a connection was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// `EndpointConfig::connections_max` is reached.
    TooMany,
    /// TLS refuses the configuration or the name.
    Tls(crate::crypto::tls::TlsConfigError),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany => f.write_str("too many connections"),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}

/// What an endpoint counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Connections that exist now, closing ones included.
    pub connections: u64,
    /// Of these, accepted ones whose handshake is not complete.
    pub handshakes: u64,
    /// Paths of these that carry or may carry packets.
    pub paths: u64,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections refused because a limit was reached.
    pub refused: u64,
    /// Datagrams that belonged to no connection and were dropped.
    pub strays: u64,
    /// Stateless resets sent.
    pub stateless_resets: u64,
    /// Version Negotiation packets sent.
    pub version_negotiations: u64,
    /// Packets sent by connections that are gone and by those that exist.
    pub packets_sent: u64,
    /// Packets received likewise.
    pub packets_received: u64,
}

struct Entry {
    connection: Box<Connection>,
    generation: u32,
    dirty: bool,
    has_news: bool,
    /// The earliest timer set for it.
    armed: Instant,
    handshaking: bool,
    paths: u64,
    packets: (u64, u64),
}

/// The connections of one worker.
pub struct Endpoint {
    config: EndpointConfig,
    rng: Rng,
    cids: CidTable,
    entries: Slab<Entry>,
    next_generation: u32,
    timers: Timers,
    /// Connections that changed since they were last visited.
    dirty: VecDeque<u32>,
    /// Connections with events.
    news: VecDeque<u32>,
    replies: Replies,
    handshakes_this_turn: usize,
    turn_at: Instant,
    stats: EndpointStats,
}

const _: () = {
    const fn assert_send<T: Send>() {}
    assert_send::<Endpoint>();
};

impl Endpoint {
    /// An endpoint without connections. `seed` must be random and secret; with equal seeds and equal input, endpoints
    /// behave alike.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let mut rng = Rng::new(seed);
        let hash_seed = u64::from_le_bytes(rng.array());
        Self {
            cids: CidTable::new(config.shard, config.cid_key, config.reset_key, hash_seed),
            rng,
            entries: Slab::new(),
            next_generation: 0,
            timers: Timers::default(),
            dirty: VecDeque::new(),
            news: VecDeque::new(),
            replies: Replies::default(),
            handshakes_this_turn: 0,
            turn_at: Instant::ZERO,
            stats: EndpointStats::default(),
            config,
        }
    }

    /// Starts a connection to `server_name` over `route`. Its first packet leaves with the next `transmit`.
    ///
    /// # Errors
    /// When the limit on connections is reached or TLS refuses the configuration.
    pub fn connect(
        &mut self,
        config: ClientConfig,
        server_name: ServerName<'static>,
        route: RouteId,
        now: Instant,
    ) -> Result<ConnectionKey, ConnectError> {
        self.connect_over(config, server_name, (route, &[]), now)
    }

    /// The same over the first of several routes that answers. The first one begins; each of the others joins after
    /// `TransportConfig::race_after`. All are known to the connection afterwards, as if `add_local` had named them; at
    /// most 16 are.
    ///
    /// # Errors
    /// When the limit on connections is reached or TLS refuses the configuration.
    pub fn connect_over(
        &mut self,
        config: ClientConfig,
        server_name: ServerName<'static>,
        routes: (RouteId, &[RouteId]),
        now: Instant,
    ) -> Result<ConnectionKey, ConnectError> {
        if self.entries.len() >= self.config.connections_max {
            return Err(ConnectError::TooMany);
        }
        let slot = self.entries.vacant_key() as u32;
        let mut turn = Turn { now, slot, cids: &mut self.cids, rng: &mut self.rng };
        let connection =
            Connection::client(config, server_name, routes, &mut turn).map_err(ConnectError::Tls)?;
        Ok(self.insert(connection, false))
    }

    fn insert(&mut self, connection: Connection, accepted: bool) -> ConnectionKey {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let slot = self.entries.insert(Entry {
            connection: Box::new(connection),
            generation,
            dirty: false,
            has_news: false,
            armed: Instant::NEVER,
            handshaking: accepted,
            paths: 0,
            packets: (0, 0),
        }) as u32;
        self.stats.connections += 1;
        self.stats.handshakes += u64::from(accepted);
        self.mark(slot);
        ConnectionKey { slot, generation }
    }

    /// The next thing that happened on some connection.
    pub fn next_event(&mut self) -> Option<(ConnectionKey, Event)> {
        while let Some(&slot) = self.news.front() {
            if let Some(entry) = self.entries.get_mut(slot as usize) {
                if let Some(event) = entry.connection.next_event() {
                    return Some((ConnectionKey { slot, generation: entry.generation }, event));
                }
                entry.has_news = false;
                if entry.connection.is_gone() {
                    let key = ConnectionKey { slot, generation: entry.generation };
                    self.news.pop_front();
                    self.remove(slot);
                    return Some((key, Event::Gone));
                }
            }
            self.news.pop_front();
        }
        None
    }

    /// The connection `key`, until it is gone. It is visited after the guard was dropped.
    pub fn connection(&mut self, key: ConnectionKey, now: Instant) -> Option<ConnectionGuard<'_>> {
        let entry = self.entries.get_mut(key.slot as usize).filter(|it| it.generation == key.generation)?;
        entry.connection.set_log_time(now);
        Some(ConnectionGuard::new(self, key, now))
    }

    /// The keys of all connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionKey> {
        self.entries
            .iter()
            .map(|(slot, entry)| ConnectionKey { slot: slot as u32, generation: entry.generation })
    }

    /// Serves every timer that is due.
    pub fn on_deadline(&mut self, now: Instant) {
        self.begin_turn(now);
        while let Some((slot, generation, at)) = self.timers.pop_due(now) {
            let Some(entry) = self.entries.get_mut(slot as usize) else { continue };
            if entry.generation != generation || entry.armed != at {
                continue; // an older timer of it, or one of a connection that is gone
            }
            entry.armed = Instant::NEVER;
            entry.connection.set_log_time(now);
            let mut turn = Turn { now, slot, cids: &mut self.cids, rng: &mut self.rng };
            entry.connection.on_deadline(&mut turn);
            self.mark(slot);
        }
    }

    /// When `on_deadline` has something to do next.
    pub fn deadline(&mut self) -> Option<Instant> {
        // Timers that were set for a later time than the connection needs now are left behind; drop them here, so that
        // nobody wakes for nothing.
        while let Some((slot, generation, at)) = self.timers.peek() {
            let live = self
                .entries
                .get(slot as usize)
                .is_some_and(|it| it.generation == generation && it.armed == at);
            if live {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// The fate of a train that this endpoint sent.
    pub fn on_fate(&mut self, tag: TrainTag, fate: Fate, now: Instant) {
        let Some(transmit::Tagged { slot, generation, path, leg, mtu_probe }) = transmit::untag(tag) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        if entry.generation & transmit::GENERATION_MASK == generation {
            entry.connection.set_log_time(now);
            let mut turn = Turn { now, slot, cids: &mut self.cids, rng: &mut self.rng };
            entry.connection.on_fate(&mut turn, (path, leg), mtu_probe, fate);
            self.mark(slot);
        }
    }

    /// A local interface or socket is gone: paths over it are abandoned, or moved to another local address that the
    /// connection knows, at once.
    pub fn local_gone(&mut self, local: LocalId, now: Instant) {
        self.begin_turn(now);
        let slots: Vec<u32> = self.entries.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            let entry = &mut self.entries[slot as usize];
            entry.connection.set_log_time(now);
            let mut turn = Turn { now, slot, cids: &mut self.cids, rng: &mut self.rng };
            entry.connection.local_gone(&mut turn, local);
            self.mark(slot);
        }
    }

    /// What was counted.
    pub fn stats(&self) -> EndpointStats {
        self.stats
    }

    /// Checks what must always hold, over all connections; for simulators and tests.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn audit(&self) -> Result<(), String> {
        for (slot, entry) in &self.entries {
            entry.connection.audit().map_err(|error| format!("connection {slot}: {error}"))?;
        }
        if self.timers.len() > TIMERS_PER_CONNECTION * self.entries.len() + TIMERS_SPARE {
            return Err(format!("{} timers for {} connections", self.timers.len(), self.entries.len()));
        }
        let held = self.entries.iter().map(|(_, entry)| entry.connection.cids_held());
        let held = held.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if held != self.cids.sizes() {
            let kept = self.cids.sizes();
            return Err(format!("connection IDs and reset tokens: {kept:?} kept, {held:?} of connections"));
        }
        let handshakes = self.entries.iter().filter(|(_, entry)| entry.handshaking).count() as u64;
        if handshakes != self.stats.handshakes {
            return Err(format!("{} handshakes kept, {handshakes} counted", self.stats.handshakes));
        }
        Ok(())
    }

    /// The connection in `slot` changed: visit it.
    fn mark(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push_back(slot);
        }
        if !entry.has_news {
            entry.has_news = true;
            self.news.push_back(slot);
        }
    }

    /// A new reading of the clock starts a new turn, with a new budget.
    fn begin_turn(&mut self, now: Instant) {
        if now != self.turn_at {
            self.turn_at = now;
            self.handshakes_this_turn = 0;
        }
    }

    /// Sets the timer of a connection that was visited, and takes its numbers over.
    fn settle(&mut self, slot: u32, deadline: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        let deadline = deadline.unwrap_or(Instant::NEVER);
        if deadline < entry.armed {
            // A timer that now comes too early is left: to be woken once costs less than to search for it.
            entry.armed = deadline;
            self.timers.push(slot, entry.generation, deadline);
            self.weed_timers();
        }
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        if entry.handshaking && !entry.connection.is_handshaking() {
            entry.handshaking = false;
            self.stats.handshakes -= 1;
        }
        let (paths, stats) = (entry.connection.paths_running() as u64, entry.connection.stats());
        self.stats.paths = self.stats.paths + paths - entry.paths;
        self.stats.packets_sent += stats.packets_sent - entry.packets.0;
        self.stats.packets_received += stats.packets_received - entry.packets.1;
        entry.paths = paths;
        entry.packets = (stats.packets_sent, stats.packets_received);
        if !entry.has_news && (entry.connection.has_event() || entry.connection.is_gone()) {
            entry.has_news = true;
            self.news.push_back(slot);
        }
    }

    /// Drops left-behind timers once they are most of the heap: each costs memory for as long as it lies in the future.
    fn weed_timers(&mut self) {
        if self.timers.len() > TIMERS_PER_CONNECTION * self.entries.len() + TIMERS_SPARE {
            let armed = self.entries.iter().filter(|(_, entry)| entry.armed < Instant::NEVER);
            self.timers.rebuild(armed.map(|(slot, entry)| (slot as u32, entry.generation, entry.armed)));
        }
    }

    fn remove(&mut self, slot: u32) {
        let mut entry = self.entries.remove(slot as usize);
        let mut turn = Turn { now: self.turn_at, slot, cids: &mut self.cids, rng: &mut self.rng };
        entry.connection.release(&mut turn);
        self.stats.connections -= 1;
        self.stats.handshakes -= u64::from(entry.handshaking);
        self.stats.paths -= entry.paths;
        self.weed_timers();
    }

    /// Is the connection in `slot` a client's?
    fn is_client(&self, slot: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(|entry| entry.connection.role() == Role::Client)
    }
}
