//! What happens at one time, in the words of a scenario.
//!
//! Owns the methods that schedule an action, once or repeatedly, at a time after the start or after something else came
//! to pass. Performs none (`world` does).

use std::time::Duration;

use braid_quic::Role;

use super::World;
use super::agenda::{Action, Anchor};
use super::book::{Transfer, TransferId};
use super::datagrams::Volley;
use crate::link::Setting;
use crate::network::{Attacker, LinkId, Rebinding, Way};

/// What happens at one time; every method schedules one thing and may be chained.
pub struct At<'a> {
    anchor: Anchor,
    elapsed: Duration,
    repeat: Repeat,
    world: &'a mut World,
}

impl<'a> At<'a> {
    pub(super) fn new(world: &'a mut World, anchor: Anchor, elapsed: Duration) -> Self {
        Self { anchor, elapsed, repeat: Repeat::ONCE, world }
    }
}

/// How often something happens, and how far apart; without end where `times` is unknown.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    times: Option<u32>,
    period: Duration,
}

impl Repeat {
    const ONCE: Self = Self { times: Some(1), period: Duration::ZERO };
}

// A scenario writes these as statements; the value returned is only for chaining.
#[allow(clippy::return_self_not_must_use)]
impl At<'_> {
    /// What follows happens again and again, `period` apart, as long as something else keeps the world running.
    pub fn every(mut self, period: Duration) -> Self {
        assert!(!period.is_zero());
        self.repeat = Repeat { times: None, period };
        self
    }

    /// What follows happens `times` times, `period` apart.
    pub fn times(mut self, times: u32, period: Duration) -> Self {
        assert!(times > 0);
        self.repeat = Repeat { times: Some(times), period };
        self
    }

    /// Changes a property of both directions of a link.
    pub fn set(self, link: LinkId, setting: Setting) -> Self {
        self.set_way(link, Way::Up, setting).set_way(link, Way::Down, setting)
    }

    /// Changes a property of one direction of a link.
    pub fn set_way(self, link: LinkId, way: Way, setting: Setting) -> Self {
        self.plan(Action::Set(link, way, setting))
    }

    /// The systems of both ends know no way over a link any more, and say so.
    pub fn unreachable(self, link: LinkId) -> Self {
        self.set(link, Setting::Unreachable(true))
    }

    /// Both directions of a link go dark; nobody is told.
    pub fn cut(self, link: LinkId) -> Self {
        self.cut_way(link, Way::Up).cut_way(link, Way::Down)
    }

    /// Nothing enters either direction of a link any more, and nobody is told; what waits in its queues still arrives.
    pub fn shut(self, link: LinkId) -> Self {
        self.plan(Action::Shut(link, Way::Up)).plan(Action::Shut(link, Way::Down))
    }

    /// One direction of a link goes dark.
    pub fn cut_way(self, link: LinkId, way: Way) -> Self {
        self.plan(Action::Cut(link, way))
    }

    /// Both directions of a link work again, whether they were cut or unreachable.
    pub fn restore(self, link: LinkId) -> Self {
        self.restore_way(link, Way::Up).restore_way(link, Way::Down)
    }

    /// One direction of a link works again.
    pub fn restore_way(self, link: LinkId, way: Way) -> Self {
        self.plan(Action::Restore(link, way)).set_way(link, way, Setting::Unreachable(false))
    }

    /// A NAT gives the client of a link another port; what the server sends to the old one is lost.
    pub fn rebind(self, link: LinkId) -> Self {
        self.plan(Action::Rebind(link, Rebinding { ip: false, both_ways: false }))
    }

    /// The same with another IP address and port.
    pub fn rebind_ip(self, link: LinkId) -> Self {
        self.plan(Action::Rebind(link, Rebinding { ip: true, both_ways: false }))
    }

    /// Another port, but what the server sends to the old one still arrives.
    pub fn rebind_both_ways(self, link: LinkId) -> Self {
        self.plan(Action::Rebind(link, Rebinding { ip: false, both_ways: true }))
    }

    /// The client's interface at a link gets another address and `LocalId`: what is sent from or to the old address is
    /// lost, the former with `Fate::Unreachable`. The client is not told; what it receives comes in at the new one.
    pub fn renumber(self, link: LinkId) -> Self {
        self.plan(Action::Renumber(link))
    }

    /// Someone begins to copy datagrams of a link; whoever did so before in that direction stops.
    pub fn attack(self, link: LinkId, attacker: Attacker) -> Self {
        self.plan(Action::Attack(link, attacker))
    }

    /// The client asks for `bytes` on a new stream.
    pub fn download(self, bytes: u64) -> Self {
        self.and_transfer(Transfer::download(bytes))
    }

    /// The client sends `bytes` on a new stream.
    pub fn upload(self, bytes: u64) -> Self {
        self.and_transfer(Transfer::upload(bytes))
    }

    /// One end sends datagrams, over whatever path.
    pub fn datagrams(self, by: Role, volley: Volley) -> Self {
        self.plan(Action::Datagrams(by, volley, None))
    }

    /// One end sends datagrams that only the path opened last on this link may carry.
    pub fn datagrams_on(self, by: Role, volley: Volley, link: LinkId) -> Self {
        self.plan(Action::Datagrams(by, volley, Some(link)))
    }

    /// The client opens a new path on a link.
    pub fn open(self, link: LinkId) -> Self {
        self.plan(Action::OpenPath(link))
    }

    /// The client moves the path of a link to another link, or, once the link is renumbered, to its new address.
    pub fn migrate(self, from: LinkId, to: LinkId) -> Self {
        self.plan(Action::MigratePath(from, to))
    }

    /// One end abandons the path opened last on a link.
    pub fn abandon(self, by: Role, link: LinkId) -> Self {
        self.plan(Action::AbandonPath(by, link))
    }

    /// One end advises the other to use a link's path only as a backup, or as any other.
    pub fn set_backup(self, by: Role, link: LinkId, backup: bool) -> Self {
        self.plan(Action::SetBackup(by, link, backup))
    }

    /// One end updates its keys, as soon as it may.
    pub fn update_keys(self, by: Role) -> Self {
        self.plan(Action::UpdateKeys(by))
    }

    /// One end closes the connection.
    pub fn close(self, by: Role, code: u64) -> Self {
        self.plan(Action::Close(by, code))
    }

    /// The client begins a transfer. Where it is repeated, the identifier is that of the last one, or of the first if
    /// there is no last.
    pub fn transfer(mut self, transfer: Transfer) -> TransferId {
        let times = self.repeat.times.unwrap_or(1);
        let mut last = None;
        for (round, transfer) in (0..).zip(std::iter::repeat_n(transfer, times as usize)) {
            let id = self.world.plan_transfer(transfer);
            self.add(round, None, Action::Transfer(id));
            last = Some(id);
        }
        let id = last.expect("what happens happens at least once");
        if self.repeat.times.is_none() {
            self.add(1, Some(self.repeat.period), Action::TransferLike(id));
        }
        id
    }

    fn and_transfer(self, transfer: Transfer) -> Self {
        At { world: &mut *self.world, ..self }.transfer(transfer);
        self
    }

    fn plan(mut self, action: Action) -> Self {
        let every = self.repeat.times.is_none().then_some(self.repeat.period);
        for round in 0..self.repeat.times.unwrap_or(1) {
            self.add(round, every, action);
        }
        self
    }

    /// Adds an action `round` periods after the first time.
    fn add(&mut self, round: u32, every: Option<Duration>, action: Action) {
        let delay = self.elapsed + self.repeat.period * round;
        match self.world.reached_at(self.anchor) {
            Some(reached) => self.world.agenda.add(reached + delay, every, action),
            None => self.world.agenda.add_after(self.anchor, delay, every, action),
        }
    }
}
