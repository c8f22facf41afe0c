//! Connections that come and go: connect, be confirmed, close, and again.
//!
//! Owns the slots, a socket each, and how many closed connections may linger: an endpoint keeps one for a while, to
//! repeat that it is closed (RFC 9000 §10.2). Touches no endpoint; `client` dials and hangs up.

use std::hash::Hash;

use braid_quic::{Instant, RouteId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::measure::Measure;

/// Closed connections of one worker whose state is not gone yet; where there are more, no other begins.
pub(crate) const LINGERING_MAX: usize = 1 << 16;

/// The handshakes of one worker. `K` names a connection.
pub(super) struct Churn<K> {
    /// By slot.
    routes: Vec<RouteId>,
    free: Vec<usize>,
    /// The slot, and when the handshake was to begin.
    under_way: HashMap<K, (usize, Instant), FixedState>,
    lingering: usize,
    closed_loop: bool,
    is_over: bool,
}

impl<K: Copy + Eq + Hash> Churn<K> {
    /// As many handshakes at once as there are routes.
    pub(super) fn new(routes: Vec<RouteId>, closed_loop: bool) -> Self {
        Self {
            free: (0..routes.len()).rev().collect(),
            routes,
            under_way: HashMap::with_hasher(FixedState::default()),
            lingering: 0,
            closed_loop,
            is_over: false,
        }
    }

    /// Where one handshake ends, does the next begin?
    pub(super) fn is_closed_loop(&self) -> bool {
        self.closed_loop
    }

    /// Might a handshake begin now?
    pub(super) fn has_room(&self) -> bool {
        !self.is_over && !self.free.is_empty() && self.lingering < LINGERING_MAX
    }

    /// Begins a handshake that was to begin at `intended`, by `dial`; `false` if none began.
    pub(super) fn begin(
        &mut self,
        intended: Instant,
        measure: &mut Measure,
        dial: impl FnOnce(RouteId) -> Result<K, String>,
    ) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(slot) = self.free.pop() else { return false };
        match dial(self.routes[slot]) {
            Ok(key) => {
                self.under_way.insert(key, (slot, intended));
                true
            }
            Err(why) => {
                measure.on_failed(1, &why);
                self.free.push(slot);
                false
            }
        }
    }

    /// A handshake is confirmed; whoever says so closes the connection.
    pub(super) fn on_confirmed(&mut self, key: K, resumed: bool, now: Instant, measure: &mut Measure) {
        if let Some(intended) = self.end(key) {
            measure.on_handshake(resumed, intended, now);
        }
    }

    /// A connection is closed. If its handshake was not confirmed, that is a failure.
    pub(super) fn on_closed(&mut self, key: K, why: impl std::fmt::Display, measure: &mut Measure) {
        if self.end(key).is_some() && !self.is_over {
            measure.on_failed(1, &format!("handshake failed: {why}"));
        }
    }

    /// The last state of a connection is gone.
    pub(super) fn on_gone(&mut self) {
        self.lingering = self.lingering.saturating_sub(1);
    }

    /// The run is over. In the open loop the latency of what is under way counts as far as it went.
    pub(super) fn on_over(&mut self, measure: &mut Measure) {
        self.is_over = true;
        if !self.closed_loop {
            self.under_way.values().for_each(|&(_, intended)| measure.on_unfinished(intended));
        }
        self.under_way.clear();
    }

    fn end(&mut self, key: K) -> Option<Instant> {
        let (slot, intended) = self.under_way.remove(&key)?;
        self.free.push(slot);
        self.lingering += 1;
        Some(intended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use braid_quic::LocalId;

    use super::*;
    use crate::measure::Window;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn measure() -> Measure {
        let mut measure = Measure::new();
        measure.open(Window::new(at(0), Duration::ZERO, Duration::from_secs(100)));
        measure
    }

    fn churn(slots: u16, closed_loop: bool) -> Churn<u64> {
        let route =
            |n| RouteId::new(LocalId(n), "127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        Churn::new((0..slots).map(route).collect(), closed_loop)
    }

    #[test]
    fn a_slot_is_free_again_when_its_handshake_is_confirmed() {
        let (mut churn, mut measure) = (churn(2, true), measure());
        assert!(churn.begin(at(0), &mut measure, |_| Ok(1)) && churn.begin(at(0), &mut measure, |_| Ok(2)));
        assert!(!churn.has_room() && !churn.begin(at(0), &mut measure, |_| unreachable!()));
        churn.on_confirmed(2, true, at(3), &mut measure);
        churn.on_confirmed(2, true, at(4), &mut measure);
        assert_eq!((measure.completed(), measure.latency_us(100.0).map(|us| us / 1000)), (1, Some(3)));
        assert_eq!(measure.handshakes_resumed(), 1);
        assert!(churn.begin(at(5), &mut measure, |route| Ok(u64::from(route.local_id().0) + 10)));
        churn.on_closed(2, "closed by us", &mut measure);
        assert_eq!(measure.failures().total(), 0, "it had been confirmed");
        churn.on_closed(11, "refused", &mut measure);
        assert_eq!(measure.failures().iter().collect::<Vec<_>>(), [("handshake failed: refused", 1)]);
    }

    #[test]
    fn a_connection_that_cannot_even_begin_is_a_failure_and_its_slot_is_kept() {
        let (mut churn, mut measure) = (churn(1, true), measure());
        assert!(!churn.begin(at(0), &mut measure, |_| Err("too many".into())));
        assert_eq!((measure.failures().total(), churn.has_room()), (1, true));
    }

    #[test]
    fn connections_that_linger_are_bounded() {
        let (mut churn, mut measure) = (churn(1, true), measure());
        for key in 0..LINGERING_MAX as u64 {
            assert!(churn.begin(at(0), &mut measure, |_| Ok(key)));
            churn.on_confirmed(key, false, at(1), &mut measure);
        }
        assert!(!churn.has_room());
        churn.on_gone();
        assert!(churn.has_room());
    }

    #[test]
    fn after_the_end_nothing_begins_or_fails_and_the_open_loop_counts_what_was_under_way() {
        for (closed_loop, unfinished) in [(true, 0), (false, 1)] {
            let (mut churn, mut measure) = (churn(2, closed_loop), measure());
            churn.begin(at(0), &mut measure, |_| Ok(1));
            churn.on_over(&mut measure);
            churn.on_closed(1, "closed by us", &mut measure);
            assert!(!churn.has_room());
            assert_eq!((measure.open_loop().unfinished(), measure.failures().total()), (unfinished, 0));
        }
    }
}
