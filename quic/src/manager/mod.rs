//! The path manager of a client: keeps the paths that a policy wishes, while interfaces come and go.
//!
//! Owns what is known of local addresses, of routes that failed, and of the paths it sees. Opens, advises and gives up
//! paths through the connection's guard only. Reads no clock and no interface list (`udp-uring` follows the system's),
//! and never decides what a path carries.

mod mesh;
mod rest;
mod rules;

use std::net::SocketAddr;
use std::time::Duration;

use self::mesh::{Wish, is_ipv4, wishes};
pub use self::rest::ROUTES_REMEMBERED_MAX;
use self::rest::{Rests, Way, ending, rest};
pub use self::rules::{Cost, Local, Plan, Policy, Rule, Usage};
use crate::{
    ConnectionGuard, Event, Instant, LocalId, OpenPathError, PathErrorCode, PathId, PathOptions, PathStage,
    PathStats, RouteId,
};

/// Local addresses that one manager knows at once.
pub const LOCALS_MAX: usize = 32;
/// Addresses of the server that one manager knows.
pub const REMOTES_MAX: usize = 32;

/// How often the only path is looked at while a last resort is held back: nobody doubts a path without another one.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// [`PathManager::local_up`] knows as many local addresses as it may ([`LOCALS_MAX`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyLocals;

impl std::fmt::Display for TooManyLocals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "more than {LOCALS_MAX} local addresses")
    }
}

impl std::error::Error for TooManyLocals {}

/// Keeps the paths of one client connection as its [`Policy`] wishes.
///
/// Tell it of every local address, the handshake's too, by [`local_up`](Self::local_up) and
/// [`local_down`](Self::local_down), hand it every event of the connection, and let it [`act`](Self::act) after events
/// and at its [`deadline`](Self::deadline).
///
/// - Of a route it wants, it opens one path, never two. Paths that the application opens are counted and let be.
/// - A route whose path failed rests, longer each time; an interface that flaps is one whose paths fail. Where the
///   application of either end gave a path up (`APPLICATION_ABANDON_PATH`) none is opened again.
/// - Where no further path may be opened, it waits until one is closed, and asks again after a rest.
/// - Against a server without the multipath extension it opens nothing, but names local addresses to move to.
/// - It sets the status of a path (MP-140) when it first sees it and when the use of its interface changes, not again.
///
/// ```
/// use braid_quic::manager::{PathManager, Plan, Policy, Rule, Usage};
/// use braid_quic::{ConnectionKey, Endpoint, Instant};
/// use std::net::SocketAddr;
///
/// /// At most four paths; mobile networks only when nothing else works.
/// fn manager(servers: Vec<SocketAddr>) -> PathManager {
///     let rules = vec![Rule { interface: "wwan*".into(), usage: Usage::LastResort }];
///     PathManager::new(Policy { plan: Plan::FullMesh { paths_max: 4 }, rules, ..Policy::default() }, servers)
/// }
///
/// /// One round of a client with one connection; returns when the manager wants the next one.
/// fn turn(client: &mut Endpoint, only: ConnectionKey, manager: &mut PathManager, now: Instant) -> Option<Instant> {
///     while let Some((_, event)) = client.next_event() {
///         manager.on_event(&event, now);
///     }
///     manager.act(&mut client.connection(only, now)?, now);
///     manager.deadline()
/// }
/// ```
#[derive(Debug)]
pub struct PathManager {
    policy: Policy,
    remotes: Vec<SocketAddr>,
    locals: Vec<Local>,
    /// Those that the connection was told of as spare.
    told: Vec<LocalId>,
    /// Those that it must be told are gone.
    gone: Vec<Local>,
    seen: Vec<Seen>,
    rests: Rests,
    /// No path can be opened until then, as so many attempts in a row showed.
    full: Option<(Instant, u32)>,
    changed: bool,
    wake: Option<Instant>,
    over: bool,
}

/// A path from when it is first seen until the event that it was abandoned.
#[derive(Debug)]
struct Seen {
    path: PathId,
    route: RouteId,
    /// Its route for the memory of failures; `None` over local addresses that nobody told us of.
    way: Option<Way>,
    proven_at: Option<Instant>,
    /// Works without a doubt since then.
    sound_since: Option<Instant>,
    /// Probe timeouts and packets received when it was last looked at.
    pulse: (u64, u64),
    /// The status that we gave it.
    backup: Option<bool>,
    given_up: bool,
}

impl PathManager {
    /// A manager for a connection to a server with these addresses, of which the handshake uses one. The first
    /// [`REMOTES_MAX`] count.
    #[must_use]
    pub fn new(policy: Policy, mut remotes: Vec<SocketAddr>) -> Self {
        remotes.truncate(REMOTES_MAX);
        Self {
            policy,
            remotes,
            locals: Vec::new(),
            told: Vec::new(),
            gone: Vec::new(),
            seen: Vec::new(),
            rests: Rests::default(),
            full: None,
            changed: true,
            wake: None,
            over: false,
        }
    }

    /// Follows another policy from now on; every route that rests may be tried at once. Paths that are there stay, unless
    /// their interface is now a last resort or not to be used.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.rests.forget();
        self.full = None;
        self.changed = true;
    }

    /// The local addresses that are there, in the order in which they came.
    pub fn locals(&self) -> impl Iterator<Item = &Local> {
        self.locals.iter()
    }

    /// The routes that are wished now, the most wanted first: over these a handshake may race
    /// ([`Endpoint::connect_over`](crate::Endpoint::connect_over)).
    pub fn routes(&self) -> Vec<RouteId> {
        wishes(&self.policy, &self.locals, &self.remotes).into_iter().map(|wish| wish.route).collect()
    }

    /// A local address is there, or one with this number has another interface or cost.
    ///
    /// # Errors
    /// When there are too many; it is not used then.
    pub fn local_up(&mut self, local: Local) -> Result<(), TooManyLocals> {
        self.changed = true;
        self.gone.retain(|gone| *gone != local); // it was away for less than a turn, and nobody noticed
        if let Some(known) = self.locals.iter_mut().find(|known| known.id == local.id) {
            *known = local;
            return Ok(());
        }
        if self.locals.len() + self.gone.len() >= LOCALS_MAX {
            return Err(TooManyLocals);
        }
        self.locals.push(local);
        Ok(())
    }

    /// A local address is gone, with its interface or without. What its paths carried goes on elsewhere.
    pub fn local_down(&mut self, id: LocalId) {
        let Some(at) = self.locals.iter().position(|local| local.id == id) else { return };
        self.gone.push(self.locals.remove(at));
        self.changed = true;
    }

    /// Something happened on the connection.
    pub fn on_event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::PathAbandoned { path, code, .. } => self.on_abandoned(*path, *code, now),
            Event::PathClosed { stats } => {
                self.seen.retain(|seen| seen.path != stats.id);
                self.full = None;
            }
            Event::Closed(_) | Event::Gone => self.over = true,
            Event::Connected { .. }
            | Event::Confirmed
            | Event::PathOpened(_)
            | Event::PathValidated(_)
            | Event::PathMigrated(_)
            | Event::PathSuspect(_)
            | Event::PathRecovered(_) => {}
            _ => return,
        }
        self.changed = true;
    }

    /// When to act again although nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        if self.changed { Some(Instant::ZERO) } else { self.wake }
    }

    /// Tells the connection of local addresses, opens the paths that are wanted and missing, and gives up those that are
    /// not needed any more. Costs next to nothing when there is nothing to do.
    pub fn act(&mut self, connection: &mut ConnectionGuard<'_>, now: Instant) {
        let due = self.changed || self.wake.is_some_and(|at| at <= now);
        if self.over || !due {
            return;
        }
        self.changed = false;
        self.wake = None;
        self.tell_of_losses(connection);
        self.look(connection, now);
        self.tell_of_spares(connection);
        if connection.is_confirmed() && connection.multipath() {
            self.advise(connection);
            self.open_missing(connection, now);
            self.give_up_spare(connection, now);
        }
    }

    fn on_abandoned(&mut self, path: PathId, code: PathErrorCode, now: Instant) {
        let Some(at) = self.seen.iter().position(|seen| seen.path == path) else { return };
        let seen = self.seen.swap_remove(at);
        if let Some(way) = seen.way.filter(|_| !seen.given_up) {
            let was_sound = seen.proven_at.is_some_and(|at| at + self.policy.calm <= now);
            self.rests.on_ended(way, ending(code), was_sound, &self.policy, now);
        }
    }

    fn tell_of_losses(&mut self, connection: &mut ConnectionGuard<'_>) {
        for gone in self.gone.drain(..) {
            self.told.retain(|&told| told != gone.id);
            connection.local_gone(gone.id);
        }
    }

    /// What became of the paths.
    fn look(&mut self, connection: &ConnectionGuard<'_>, now: Instant) {
        for stats in connection.paths().filter_map(|path| connection.path_stats(path)) {
            let at = self.seen.iter().position(|seen| seen.path == stats.id);
            let moved = at.is_none_or(|at| self.seen[at].route != stats.route);
            let way = if moved { self.way(&stats.route) } else { None };
            match at {
                Some(at) => {
                    if moved {
                        self.seen[at].way = way;
                    }
                    self.seen[at].on_look(&stats, now);
                }
                None if stats.stage != PathStage::Leaving => {
                    let mut seen = Seen::new(stats.id, stats.route, way);
                    seen.on_look(&stats, now);
                    self.seen.push(seen);
                }
                None => {}
            }
        }
    }

    /// Local addresses without a path are places to move to, and join the race of a handshake.
    fn tell_of_spares(&mut self, connection: &mut ConnectionGuard<'_>) {
        for local in &self.locals {
            let rides = self.seen.iter().any(|seen| seen.route.local_id() == local.id);
            if rides || self.told.contains(&local.id) || self.policy.usage(local).0 == Usage::Never {
                continue;
            }
            let family = is_ipv4(&local.address);
            if let Some(&remote) = self.remotes.iter().find(|remote| is_ipv4(remote) == family) {
                connection.add_local(RouteId::new(local.id, local.address, remote));
                self.told.push(local.id);
            }
        }
    }

    fn advise(&mut self, connection: &mut ConnectionGuard<'_>) {
        for at in 0..self.seen.len() {
            let Some(usage) = self.usage(&self.seen[at].route) else { continue };
            let (seen, backup) = (&mut self.seen[at], usage != Usage::Free);
            if seen.backup != Some(backup) && connection.set_path_backup(seen.path, backup).is_ok() {
                seen.backup = Some(backup);
            }
        }
    }

    fn open_missing(&mut self, connection: &mut ConnectionGuard<'_>, now: Instant) {
        let paths_max = match self.policy.plan {
            Plan::Explicit(_) => usize::MAX,
            Plan::FullMesh { paths_max } => paths_max,
        };
        for wish in wishes(&self.policy, &self.locals, &self.remotes) {
            if self.seen.iter().any(|seen| seen.route.matches(&wish.route)) {
                continue;
            }
            if self.seen.len() >= paths_max {
                return;
            }
            if wish.usage == Usage::LastResort && self.sound_since(wish.usage).is_some() {
                self.wake_at(now + WATCH_EVERY);
                continue;
            }
            let Some(way) = self.way(&wish.route) else { continue };
            let full_until = self.full.map_or(Instant::ZERO, |(until, _)| until);
            let ready_at = self.rests.until(&way).max(full_until);
            if ready_at > now {
                self.wake_at(ready_at);
            } else if !self.open(connection, &wish, way, now) {
                return;
            }
        }
    }

    /// Opens one path; `false` if none can be opened now.
    fn open(&mut self, connection: &mut ConnectionGuard<'_>, wish: &Wish, way: Way, now: Instant) -> bool {
        let backup = wish.usage != Usage::Free;
        let options =
            PathOptions { backup: backup || self.policy.options.backup, ..self.policy.options.clone() };
        match connection.open_path_if_absent(wish.route, &options) {
            Ok(path) => {
                self.full = None;
                let mut seen = Seen::new(path, wish.route, Some(way));
                seen.backup = Some(backup);
                self.seen.push(seen);
                true
            }
            Err(OpenPathError::PeerForbids) => {
                self.rests.on_forbidden(way);
                true
            }
            Err(OpenPathError::PeerLimit | OpenPathError::OwnLimit) => {
                let attempts = self.full.map_or(1, |(_, attempts)| attempts.saturating_add(1));
                let until = now + rest(attempts, self.policy.rest_first, self.policy.rest_max);
                self.full = Some((until, attempts));
                self.wake_at(until);
                false
            }
            Err(
                OpenPathError::ServerCannotOpen
                | OpenPathError::NotNegotiated
                | OpenPathError::NotConfirmed
                | OpenPathError::Closing,
            ) => false,
        }
    }

    /// Last resorts, and paths where none should be, go when a better one has proven itself.
    fn give_up_spare(&mut self, connection: &mut ConnectionGuard<'_>, now: Instant) {
        for at in 0..self.seen.len() {
            let usage = self.usage(&self.seen[at].route);
            let Some(usage) = usage.filter(|&usage| usage >= Usage::LastResort) else { continue };
            if self.seen[at].given_up {
                continue;
            }
            let Some(since) = self.sound_since(usage) else {
                self.wake_at(now + WATCH_EVERY);
                continue;
            };
            if since + self.policy.calm > now {
                self.wake_at(since + self.policy.calm);
                continue;
            }
            let seen = &mut self.seen[at];
            let code = PathErrorCode::APPLICATION_ABANDON_PATH;
            seen.given_up = connection.abandon_path(seen.path, code).is_ok();
        }
    }

    /// Since when has a path over an interface for better use than this worked without a doubt?
    fn sound_since(&self, usage: Usage) -> Option<Instant> {
        let better = |seen: &&Seen| self.usage(&seen.route).unwrap_or_default() < usage;
        self.seen.iter().filter(better).filter_map(|seen| seen.sound_since).min()
    }

    fn usage(&self, route: &RouteId) -> Option<Usage> {
        self.local(route).map(|local| self.policy.usage(local).0)
    }

    fn way(&self, route: &RouteId) -> Option<Way> {
        self.local(route).map(|local| Way::new(local, route.remote()))
    }

    fn local(&self, route: &RouteId) -> Option<&Local> {
        self.locals.iter().find(|local| local.id == route.local_id())
    }

    fn wake_at(&mut self, at: Instant) {
        if at != Instant::NEVER {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }
}

impl Seen {
    fn new(path: PathId, route: RouteId, way: Option<Way>) -> Self {
        Self {
            path,
            route,
            way,
            proven_at: None,
            sound_since: None,
            pulse: (0, 0),
            backup: None,
            given_up: false,
        }
    }

    fn on_look(&mut self, stats: &PathStats, now: Instant) {
        let pulse = (stats.probe_timeouts, stats.packets_received);
        let is_open = stats.stage == PathStage::Open;
        if is_open {
            self.proven_at = self.proven_at.or(Some(now));
        }
        self.sound_since = if is_open && !is_silent(self.pulse, pulse, self.sound_since.is_some()) {
            self.sound_since.or(Some(now))
        } else {
            None
        };
        self.pulse = pulse;
        self.route = stats.route;
        self.backup = self.backup.or(stats.backup_by_us.then_some(true));
    }
}

/// Does a path answer no more, by its probe timeouts and received packets at two looks? What was silent is so until
/// something arrives.
fn is_silent(before: (u64, u64), now: (u64, u64), was_sound: bool) -> bool {
    let (timed_out, heard) = (now.0 > before.0, now.1 > before.1);
    !heard && (timed_out || now.0 > 0 && !was_sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_times_out_and_hears_nothing_is_silent_until_it_hears_something() {
        assert!(!is_silent((0, 5), (0, 5), true), "an idle path");
        assert!(!is_silent((0, 0), (0, 0), false), "a new path");
        assert!(is_silent((0, 5), (1, 5), true));
        assert!(is_silent((1, 5), (1, 5), false), "nothing has changed since");
        assert!(!is_silent((1, 5), (1, 6), false));
        assert!(!is_silent((1, 5), (3, 6), true), "it answers, late");
    }

    fn local(id: u16) -> Local {
        let address = SocketAddr::from(([10, 0, 0, id as u8], 7));
        Local { id: LocalId(id), address, interface: "eth0".into(), cost: Cost::Free }
    }

    #[test]
    fn local_addresses_that_come_and_go_are_bounded() {
        let mut manager = PathManager::new(Policy::default(), Vec::new());
        let mut refused = 0;
        for id in 0..1000 {
            refused += usize::from(manager.local_up(local(id)).is_err());
            manager.local_down(LocalId(id));
        }
        assert_eq!((manager.gone.len(), refused), (LOCALS_MAX, 1000 - LOCALS_MAX));
        assert_eq!(manager.locals().count(), 0);
    }

    #[test]
    fn a_handshake_races_over_what_is_wished_and_a_last_resort_comes_last() {
        let rules = vec![
            Rule { interface: "wwan0".into(), usage: Usage::LastResort },
            Rule { interface: "tun0".into(), usage: Usage::Never },
        ];
        let policy = Policy { rules, ..Policy::default() };
        let mut manager = PathManager::new(policy, vec!["10.9.0.1:4".parse().unwrap()]);
        for (id, interface) in [(1, "wwan0"), (2, "tun0"), (3, "eth0")] {
            manager.local_up(Local { interface: interface.into(), ..local(id) }).unwrap();
        }
        let numbers: Vec<_> = manager.routes().iter().map(|route| route.local_id().0).collect();
        assert_eq!(numbers, [3, 1]);
    }

    #[test]
    fn an_address_that_was_away_for_less_than_a_turn_was_not_away() {
        let mut manager = PathManager::new(Policy::default(), Vec::new());
        for _ in 0..1000 {
            manager.local_up(local(1)).unwrap();
            manager.local_down(LocalId(1));
        }
        manager.local_up(local(1)).unwrap();
        assert_eq!((manager.locals().count(), manager.gone.len()), (1, 0));
        manager.local_down(LocalId(1));
        manager.local_up(Local { interface: "eth1".into(), ..local(1) }).unwrap();
        assert_eq!((manager.locals().count(), manager.gone.len()), (1, 1), "this is another one");
    }
}
