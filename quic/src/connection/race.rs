//! The race for a way that works, while nobody has answered a client's first packets.
//!
//! Owns the routes that may carry the handshake and whose turn it is. As in RFC 8305 the next one has its turn after a
//! short while and not after a timeout, so that a dead first interface costs a quarter of a second. One connection runs
//! the race: all routes carry copies of the same first packets, and the one on which the server is heard first stays.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::address::{LocalId, RouteId};
use crate::base::time::Instant;

/// Routes that may race at once.
pub(crate) const ROUTES_MAX: usize = 16;

/// The longest turn.
const TURN_MAX: Duration = Duration::from_secs(2);

/// The routes of a client that has not heard from its server.
#[derive(Debug)]
pub(super) struct Race {
    routes: SmallVec<[RouteId; 2]>,
    at: usize,
    turn: Duration,
    next_at: Instant,
    /// Something was sent in this turn.
    sent: bool,
    /// Turns in a row that an error ended early.
    errors: usize,
}

impl Race {
    /// `first` has its turn now, and the next one after `turn`.
    pub(super) fn new(first: RouteId, turn: Duration, now: Instant) -> Self {
        Self {
            routes: SmallVec::from_slice(&[first]),
            at: 0,
            turn,
            next_at: now + turn,
            sent: false,
            errors: 0,
        }
    }

    /// Another route joins. What does not fit is left out.
    pub(super) fn add(&mut self, route: RouteId) {
        if self.routes.len() < ROUTES_MAX && !self.has(&route) {
            self.routes.push(route);
        }
    }

    /// The routes of `local` are gone. `true` if it was their turn and another one should begin.
    pub(super) fn remove(&mut self, local: LocalId) -> bool {
        let current = self.routes[self.at];
        if self.routes.iter().all(|route| route.local_id() == local) {
            return false; // the last way there is: it may come back
        }
        self.routes.retain(|route| route.local_id() != local);
        // Behind the last one, so that the first one left has the next turn.
        self.at = self.routes.iter().position(|route| *route == current).unwrap_or(self.routes.len() - 1);
        current.local_id() == local
    }

    /// Does this route take part?
    pub(super) fn has(&self, route: &RouteId) -> bool {
        self.routes.iter().any(|entrant| entrant.matches(route))
    }

    /// Is there another one than the one whose turn it is?
    pub(super) fn has_others(&self) -> bool {
        self.routes.len() > 1
    }

    /// When the next turn begins.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.has_others().then_some(self.next_at)
    }

    /// Something was sent on the route whose turn it is.
    pub(super) fn on_sent(&mut self) {
        self.sent = true;
    }

    /// The system knows no way there. `true` if the next turn should begin: once for all that was sent in this one, and
    /// not again for routes that all had their turn, or a system without any network would be asked without end.
    pub(super) fn on_error(&mut self) -> bool {
        let early = self.sent && self.errors + 1 < self.routes.len();
        self.errors += usize::from(early);
        early
    }

    /// The next turn begins: whose it is. Turns get longer with each round.
    pub(super) fn advance(&mut self, now: Instant) -> RouteId {
        self.at = (self.at + 1) % self.routes.len();
        if self.at == 0 {
            self.turn = (self.turn * 2).min(TURN_MAX);
        }
        if self.next_at <= now {
            self.errors = 0;
        }
        self.next_at = now + self.turn;
        self.sent = false;
        self.routes[self.at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(n: u16) -> RouteId {
        RouteId::new(LocalId(n), ([127, 0, 0, 1], 1000 + n).into(), ([127, 0, 0, 1], 443).into())
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn turns_go_round_and_get_longer() {
        let mut race = Race::new(route(1), Duration::from_millis(250), at(0));
        assert_eq!(race.deadline(), None, "alone it does not race");
        race.add(route(2));
        race.add(route(2));
        race.add(route(3));
        let mut turns = Vec::new();
        while let Some(now) = race.deadline().filter(|now| *now <= at(5000)) {
            turns.push((now.as_nanos() / 1_000_000, race.advance(now).local_id().0));
        }
        let expected = [(250, 2), (500, 3), (750, 1), (1250, 2), (1750, 3), (2250, 1), (3250, 2), (4250, 3)];
        assert_eq!(turns, expected);
    }

    #[test]
    fn a_route_that_goes_loses_its_turn_and_the_last_one_stays() {
        let mut race = Race::new(route(1), Duration::from_millis(250), at(0));
        race.add(route(2));
        race.add(route(3));
        assert!(!race.remove(LocalId(3)));
        assert!(race.remove(LocalId(1)));
        assert_eq!(race.advance(at(1)), route(2));
        assert!(!race.remove(LocalId(2)), "the last way there is");
        assert!(race.has(&route(2)) && !race.has(&route(1)));
    }

    #[test]
    fn no_more_than_so_many_take_part() {
        let mut race = Race::new(route(0), Duration::from_millis(250), at(0));
        (1..100).for_each(|n| race.add(route(n)));
        assert_eq!(race.routes.len(), ROUTES_MAX);
    }
}
