//! When a path moves to another 4-tuple: the peer's address changed, or we move it ourselves (RFC 9000 §9, MP-117 to
//! MP-128).
//!
//! Owns the route that the path left and may return to, and the one that is tried out before the path moves there. Path
//! ID and packet numbers stay; which packets make a path move is the connection's to see.

use std::time::Duration;

use crate::base::address::{LocalId, RouteId};
use crate::base::time::Instant;
use crate::path::challenge::{Challenge, Owed};
use crate::path::leg::Leg;
use crate::path::route::{DATAGRAM_SIZE_MIN, PROOF_CREDIT_MIN, Route};
use crate::path::stage::Stage;
use crate::path::{Path, Running};
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;

/// Routes of a path besides the one it rides.
#[derive(Debug, Default)]
pub(crate) struct Detours {
    /// Where the path came from, kept while the present route may prove to be a lie (RFC 9000 §9.3.2, §9.3.3).
    former: Option<Box<Route>>,
    /// Where we would like to move the path, being tried out.
    candidate: Option<Box<Route>>,
}

/// Where a datagram of a path goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The route that the path rides.
    Present,
    Former,
    Candidate,
    /// To wherever a challenge came from.
    Elsewhere,
}

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The route that the path rides.
    Present,
    /// One that the path left or tries out.
    Detour,
    Unknown,
}

/// What an answer to a challenge proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The peer is there, but a new path opens only once full-sized datagrams got there; or it is no news.
    Address,
    /// The path may be used.
    Opened,
    /// The peer is where the path moved to.
    Moved,
    /// The peer is still where the path came from.
    Former,
    /// The path may move to where we wanted it.
    Candidate,
}

/// What became of a challenge without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A path that never opened, or that cannot be used any more.
    Path,
    /// The path returned to where it came from.
    Returned,
    /// We do not move it after all.
    Candidate,
    /// Nobody is where it came from, which changes nothing.
    Former,
}

impl Detours {
    fn iter(&self) -> impl Iterator<Item = &Route> {
        self.former.iter().chain(&self.candidate).map(Box::as_ref)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<Route>> {
        self.former.iter_mut().chain(&mut self.candidate)
    }

    /// When something is to be done about one of them; `spare` says that there is a connection ID for a new one.
    pub(crate) fn deadline(&self, spare: bool) -> Option<Instant> {
        let former = self.former.as_ref().and_then(|route| route.challenge_at(false));
        let candidate = self.candidate.as_ref().and_then(|route| route.challenge_at(!spare));
        former.into_iter().chain(candidate).min()
    }
}

impl Running {
    /// Which of the path's routes a datagram came on; counts it towards what may be sent there.
    pub(crate) fn on_datagram(&mut self, route: &RouteId, bytes: usize) -> Origin {
        if self.route.recognises(route) {
            self.route.on_received(bytes);
            return Origin::Present;
        }
        match self.detours.iter_mut().find_map(|detour| detour.recognises(route).then_some(detour)) {
            Some(detour) => {
                detour.on_received(bytes);
                Origin::Detour
            }
            None => Origin::Unknown,
        }
    }

    /// Is the peer proven to be at the far end of this route, one of the path's?
    pub(crate) fn proves(&self, route: &RouteId) -> bool {
        let mut routes = std::iter::once(&self.route).chain(self.detours.iter());
        routes.any(|own| own.is_validated() && own.id().matches(route))
    }

    /// The peer asks for an answer.
    pub(crate) fn on_challenge(&mut self, owed: Owed) {
        if self.route.id().matches(&owed.route) {
            self.responses.on_challenge(owed);
        } else {
            self.responses.on_stray_challenge(owed);
        }
    }

    /// Where a challenge or a response is to go now.
    fn errand(&self, now: Instant) -> Option<Via> {
        let here = self.route.id();
        let answer = self.responses.wants_here(&here) && self.route.credit() >= PROOF_CREDIT_MIN;
        if answer || self.route.owes_challenge(now) {
            return Some(Via::Present);
        }
        if self.responses.wants_elsewhere(&here) {
            return Some(Via::Elsewhere);
        }
        let owes = |route: &Option<Box<Route>>| route.as_ref().is_some_and(|route| route.owes_challenge(now));
        if owes(&self.detours.former) {
            return Some(Via::Former);
        }
        owes(&self.detours.candidate).then_some(Via::Candidate)
    }

    /// The route that a datagram takes, where it is one of the path's.
    pub(crate) fn route_via(&mut self, via: Via) -> Option<&mut Route> {
        match via {
            Via::Present => Some(&mut self.route),
            Via::Former => self.detours.former.as_deref_mut(),
            Via::Candidate => self.detours.candidate.as_deref_mut(),
            Via::Elsewhere => None,
        }
    }

    /// Which of the path's routes has this name, if it still is one.
    pub(crate) fn via(&self, leg: Leg) -> Option<Via> {
        let has = |route: &Option<Box<Route>>| route.as_ref().is_some_and(|route| route.leg() == leg);
        if self.route.leg() == leg {
            Some(Via::Present)
        } else if has(&self.detours.former) {
            Some(Via::Former)
        } else {
            has(&self.detours.candidate).then_some(Via::Candidate)
        }
    }

    /// A name for a route that begins.
    fn next_leg(&mut self) -> Leg {
        self.leg = self.leg.next();
        self.leg
    }

    /// The addresses change before anything is proven: during the handshake, before the first answer.
    pub(crate) fn redirect(&mut self, id: RouteId) {
        let leg = self.next_leg();
        self.route.redirect(id);
        self.route.set_leg(leg);
    }

    /// The same, by a packet of `bytes` that may be a copy. The addresses left are kept, those before them rather than
    /// many, and asked once that is possible (RFC 9000 §9.3.3).
    pub(crate) fn redirect_in_doubt(&mut self, mut fresh: Route, bytes: usize) {
        let to = fresh.id();
        fresh.set_leg(self.next_leg());
        fresh.on_received(bytes);
        if let Some(mut former) = self.detours.former.take_if(|former| former.recognises(&to)) {
            self.route.redirect_to(&mut former);
        } else {
            self.route.redirect_to(&mut fresh);
            self.detours.former.get_or_insert_with(|| Box::new(fresh));
        }
    }

    /// Asks whether the peer is where it was heard last, and whether it is where it was before, as far as nobody knows.
    pub(crate) fn ask_where_unproven(&mut self, patience: Patience, now: Instant) {
        let former = self.detours.former.as_deref_mut();
        for route in [&mut self.route].into_iter().chain(former) {
            if !route.is_validated() && !route.is_challenged() {
                route.challenge(patience.challenge(now));
            }
        }
    }

    /// The answer to a challenge that goes this way.
    pub(crate) fn take_response(&mut self, via: Via) -> Option<Owed> {
        let here = self.route.id();
        match via {
            Via::Present => self.responses.take_here(&here),
            Via::Elsewhere => self.responses.take_elsewhere(&here),
            Via::Former | Via::Candidate => None,
        }
    }

    /// Rides `next` from now on. What the peer's new port leaves as it was is kept, all else begins anew (RFC 9000
    /// §9.4). Returns the route left.
    fn ride(&mut self, next: Route, now: Instant) -> Route {
        let mut left = std::mem::replace(&mut self.route, next);
        if same_way(&left.id(), &self.route.id()) {
            self.route.exchange_learned(&mut left);
        } else {
            self.space.on_route_changed();
            left.on_left();
        }
        self.reset_timeouts();
        self.trusted_from = now;
        left
    }
}

impl Path {
    /// Where a challenge or a response is to go now.
    pub(crate) fn wants_validation(&self, now: Instant) -> Option<Via> {
        if self.remote.current().is_none() || self.stage().is_abandoned() {
            return None;
        }
        let via = self.running()?.errand(now)?;
        // A candidate's ID may be spent before the peer has replaced it.
        (via != Via::Candidate || self.remote.spare().is_some()).then_some(via)
    }

    /// Is another route being tried out, or the present one not proven?
    pub(crate) fn is_moving(&self) -> bool {
        self.running().is_some_and(|it| it.detours.candidate.is_some() || it.route.is_challenged())
    }

    /// The connection ID that a datagram carries: another one for each address, as far as there are some (RFC 9000
    /// §9.5, MP-067).
    pub(crate) fn cid_via(&self, via: Via) -> Option<Cid> {
        match via {
            Via::Present => self.remote.current(),
            Via::Former => self.remote.parked().or(self.remote.current()),
            Via::Candidate => self.remote.spare(),
            Via::Elsewhere => self.remote.spare().or(self.remote.current()),
        }
    }

    /// A packet that is no probe, the newest of the path, came from `fresh`: the peer is there now (RFC 9000 §9.3).
    /// The new address is to be proven, and so is the one left, in case somebody else sent the packet on.
    pub(crate) fn on_peer_moved(
        &mut self,
        turn: &mut Turn<'_>,
        mut fresh: Route,
        bytes: usize,
        patience: Patience,
    ) {
        let Some(running) = self.running.as_deref_mut() else { return };
        let to = fresh.id();
        fresh.set_leg(running.next_leg());
        fresh.on_received(bytes);
        let returns = running.detours.former.take_if(|former| former.recognises(&to));
        let back = returns.is_some();
        let mut next = returns.map_or(fresh, |former| *former);
        if !next.is_validated() && !next.is_challenged() {
            next.challenge(patience.challenge(turn.now));
        }
        let mut left = running.ride(next, turn.now);
        // A route that was never proven is nothing to return to; the one before it still is.
        if left.is_validated() {
            left.challenge(patience.challenge(turn.now));
            running.detours.former = Some(Box::new(left));
        }
        if back {
            self.remote.unpark(turn);
        } else {
            self.remote.rotate(turn);
        }
        self.on_heard_again();
    }

    /// We want the path to move to `fresh`, once the way is tried out.
    pub(crate) fn try_out(&mut self, turn: &mut Turn<'_>, mut fresh: Route, challenge: Challenge) {
        self.end_trial(turn);
        fresh.challenge(challenge);
        let Some(running) = self.running.as_deref_mut() else { return };
        fresh.set_leg(running.next_leg());
        running.detours.candidate = Some(Box::new(fresh));
    }

    /// The path does not move to where that was tried out. The ID that was shown there is spent (RFC 9000 §9.5). `false`
    /// if nothing was tried out.
    fn end_trial(&mut self, turn: &mut Turn<'_>) -> bool {
        let candidate = self.running.as_deref_mut().and_then(|running| running.detours.candidate.take());
        if candidate.as_ref().is_some_and(|candidate| candidate.was_asked()) {
            self.remote.drop_spare(turn);
        }
        candidate.is_some()
    }

    /// A local address of ours is gone: nothing is tried out from there. `false` if nothing was.
    pub(crate) fn on_local_gone(&mut self, turn: &mut Turn<'_>, local: LocalId) -> bool {
        self.candidate().is_some_and(|candidate| candidate.local_id() == local) && self.end_trial(turn)
    }

    /// The system knows no way to where the path would go. `false` if nothing was tried out.
    pub(crate) fn on_candidate_unreachable(&mut self, turn: &mut Turn<'_>) -> bool {
        let candidate = self.running.as_deref_mut().and_then(|running| running.detours.candidate.as_mut());
        candidate.and_then(|candidate| candidate.challenge_mut()).into_iter().for_each(Challenge::on_unsent);
        self.end_trial(turn)
    }

    /// The route that is being tried out.
    pub(crate) fn candidate(&self) -> Option<RouteId> {
        self.running()?.detours.candidate.as_ref().map(|candidate| candidate.id())
    }

    /// Is there a connection ID for `route` that was shown nowhere else (RFC 9000 §9.5)?
    pub(crate) fn has_cid_for(&self, route: &RouteId) -> bool {
        let candidate = self.running().and_then(|running| running.detours.candidate.as_ref());
        let spent = candidate.is_some_and(|it| it.was_asked() && !it.id().matches(route));
        self.remote.spares() > usize::from(spent)
    }

    /// The path moves to `fresh` at once, because there is no way back. What was tried out there was shown the ID that the
    /// path takes along; one that was shown elsewhere is spent.
    pub(crate) fn move_to(&mut self, turn: &mut Turn<'_>, mut fresh: Route, challenge: Challenge) {
        if self.candidate().is_some_and(|candidate| !candidate.matches(&fresh.id())) {
            self.end_trial(turn);
        }
        fresh.challenge(challenge);
        let Some(running) = self.running.as_deref_mut() else { return };
        fresh.set_leg(running.next_leg());
        running.ride(fresh, turn.now);
        running.detours = Detours::default();
        running.wants_ping = true;
        self.remote.rotate(turn);
        self.remote.drop_parked(turn);
        self.on_heard_again();
    }

    /// The peer answered a challenge. What that proves, if it was one of ours.
    pub(crate) fn on_response(&mut self, turn: &mut Turn<'_>, data: [u8; 8]) -> Option<Proof> {
        let now = turn.now;
        if self.stage().is_abandoned() {
            return None;
        }
        let running = self.running.as_deref_mut()?;
        let news = !running.route.is_validated();
        if let Some(answer) = running.route.on_response(data, now) {
            running.route.rtt.on_initial_hint(answer.span);
            let opened = answer.padded && self.open_if_probing();
            self.forget_former_if_settled(turn);
            let moved = news && !matches!(self.stage(), Stage::Probing);
            return Some(if opened {
                Proof::Opened
            } else if moved {
                Proof::Moved
            } else {
                Proof::Address
            });
        }
        if running.detours.former.as_mut().is_some_and(|it| it.on_response(data, now).is_some()) {
            self.forget_former_if_settled(turn);
            return Some(Proof::Former);
        }
        let span = running.detours.candidate.as_mut()?.on_response(data, now)?.span;
        let mut next = *running.detours.candidate.take()?;
        next.rtt.on_initial_hint(span);
        running.ride(next, now);
        running.wants_ping = true; // a packet that is no probe moves the path at the peer, too
        self.remote.rotate(turn);
        self.remote.drop_parked(turn);
        self.on_heard_again();
        Some(Proof::Candidate)
    }

    /// Serves challenges whose time is up.
    pub(crate) fn on_challenge_timeout(&mut self, turn: &mut Turn<'_>) -> Option<Failure> {
        let now = turn.now;
        let probing = matches!(self.stage(), Stage::Probing);
        let running = self.running.as_deref_mut()?;
        if running.detours.candidate.as_ref().is_some_and(|candidate| candidate.has_failed(now)) {
            self.end_trial(turn);
            return Some(Failure::Candidate);
        }
        if let Some(former) = running.detours.former.as_mut().filter(|former| former.has_failed(now)) {
            former.end_challenge();
            self.forget_former_if_settled(turn);
            return Some(Failure::Former);
        }
        if !running.route.has_failed(now) {
            return None;
        }
        // What nobody answers from either is nothing to return to.
        let former = running.detours.former.take_if(|it| it.is_validated() || it.is_challenged());
        let Some(former) = former.filter(|_| !probing) else {
            return Some(Failure::Path);
        };
        running.ride(*former, now); // RFC 9000 §9.3.2
        self.remote.unpark(turn);
        Some(Failure::Returned)
    }

    /// How large a datagram that answers or asks may be, and to what size it is padded (RFC 9000 §8.2.1, §8.2.2).
    pub(crate) fn validation_size(&mut self, via: Via, owed: Option<&Owed>) -> usize {
        let most = usize::from(DATAGRAM_SIZE_MIN);
        let credit = match (owed, self.running_mut().and_then(|running| running.route_via(via))) {
            (_, Some(route)) => usize::try_from(route.credit()).unwrap_or(usize::MAX),
            (Some(owed), None) => owed.credit,
            (None, None) => 0,
        };
        most.min(credit)
    }

    /// The route left is of no interest any more once the present one is proven and it had its chance.
    fn forget_former_if_settled(&mut self, turn: &mut Turn<'_>) {
        let Some(running) = self.running.as_deref_mut() else { return };
        let settled = running.route.is_validated() && !running.route.is_challenged();
        if settled && running.detours.former.take_if(|former| !former.is_challenged()).is_some() {
            self.remote.drop_parked(turn);
        }
    }
}

/// Do two routes differ by nothing but the peer's port? Then the way is taken to be the same (RFC 9000 §9.4).
fn same_way(a: &RouteId, b: &RouteId) -> bool {
    a.local_id() == b.local_id() && a.local() == b.local() && a.remote().ip() == b.remote().ip()
}

/// How long to wait for the answer to a first challenge, and the least for the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) probe_timeout: Duration,
    pub(crate) initial: Duration,
}

impl Patience {
    /// For another round of challenges where the first was in vain.
    pub(crate) fn slower(self) -> Self {
        Self { probe_timeout: self.probe_timeout.max(self.initial), ..self }
    }

    /// A challenge that starts now.
    pub(crate) fn challenge(self, now: Instant) -> Challenge {
        Challenge::new(self.probe_timeout, self.initial, now)
    }
}
