//! Proving that the peer is at an address: challenges sent, responses owed (RFC 9000 §8.2, MP-103 to MP-114).
//!
//! Owns the data of outstanding challenges, their repetition and the answer to the peer's. Which datagram carries them
//! and how it is padded is the connection's.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::address::RouteId;
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// Challenges sent before the path is given up.
pub(crate) const TRIES_MAX: u8 = 10;

/// Responses that may be owed at once; a peer that asks for more gets the newest.
pub(crate) const RESPONSES_MAX: usize = 8;

/// The longest time between two challenges.
const REPEAT_MAX: Duration = Duration::from_secs(1);

/// A validation that is under way.
#[derive(Debug)]
pub(crate) struct Challenge {
    sent: SmallVec<[Asked; 3]>,
    tries: u8,
    repeat_after: Duration,
    next_at: Instant,
    give_up_at: Instant,
}

/// One challenge that left.
#[derive(Clone, Copy, Debug)]
struct Asked {
    data: [u8; 8],
    at: Instant,
    padded: bool,
}

/// What an answer shows: how long the way there and back took, and whether it carries full-sized datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) span: Duration,
    pub(crate) padded: bool,
}

impl Challenge {
    /// A validation that starts now. `probe_timeout` is that of the path as far as it is known, `initial` the one
    /// before any sample (RFC 9000 §8.2.4: wait three times the larger, MP-113).
    pub(crate) fn new(probe_timeout: Duration, initial: Duration, now: Instant) -> Self {
        Self {
            sent: SmallVec::new(),
            tries: 0,
            repeat_after: probe_timeout,
            next_at: now,
            give_up_at: now + 3 * probe_timeout.max(initial),
        }
    }

    /// Should a challenge leave now?
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next_at <= now && self.tries < TRIES_MAX
    }

    /// Data for a challenge that leaves now; fresh for each (RFC 9000 §8.2.1).
    pub(crate) fn next(&mut self, rng: &mut Rng, padded: bool, now: Instant) -> [u8; 8] {
        let data = rng.array();
        self.sent.push(Asked { data, at: now, padded });
        self.tries += 1;
        self.next_at = now + self.repeat_after;
        self.repeat_after = (self.repeat_after * 2).min(REPEAT_MAX);
        // A path must have had its tries, however long the first waited for leave to be sent.
        self.give_up_at = self.give_up_at.max(self.next_at);
        data
    }

    /// Did a challenge leave?
    pub(crate) fn was_asked(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The system did not send the last one.
    pub(crate) fn on_unsent(&mut self) {
        self.sent.pop();
    }

    /// What `data` shows, if it answers one of ours.
    pub(crate) fn on_response(&self, data: [u8; 8], now: Instant) -> Option<Answer> {
        let asked = self.sent.iter().find(|asked| asked.data == data)?;
        Some(Answer { span: now.since(asked.at), padded: asked.padded })
    }

    /// The peer is there, but that the way carries full-sized datagrams is still to be shown: asks again at once
    /// (RFC 9000 §8.2.1, MP-107).
    pub(crate) fn ask_padded(&mut self, span: Duration, now: Instant) {
        self.tries = 0;
        self.repeat_after = self.repeat_after.max(2 * span).min(REPEAT_MAX);
        self.next_at = now;
        self.give_up_at = self.give_up_at.max(now + 3 * self.repeat_after);
    }

    /// When something is to be done; `blocked` says that no challenge can be sent as things stand.
    pub(crate) fn deadline(&self, blocked: bool) -> Instant {
        if blocked || self.tries >= TRIES_MAX { self.give_up_at } else { self.next_at.min(self.give_up_at) }
    }

    /// Is it over without an answer?
    pub(crate) fn has_failed(&self, now: Instant) -> bool {
        self.give_up_at <= now
    }
}

/// Responses owed to the peer; each is sent once, to where its challenge came from (MP-105).
#[derive(Debug, Default)]
pub(crate) struct Responses(SmallVec<[Owed; 1]>);

/// An answer that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) data: [u8; 8],
    /// Where the challenge came from.
    pub(crate) route: RouteId,
    /// How many bytes the answer may have there, should nothing else be known of that address (RFC 9000 §8.1).
    pub(crate) credit: usize,
}

impl Responses {
    /// A challenge came from the route that the path rides.
    pub(crate) fn on_challenge(&mut self, owed: Owed) {
        if self.0.len() == RESPONSES_MAX {
            self.0.remove(0);
        }
        self.0.push(owed);
    }

    /// A challenge came from elsewhere. One answer is owed there at a time: an address that nobody proved gets no more
    /// than three times what came from it.
    pub(crate) fn on_stray_challenge(&mut self, owed: Owed) {
        self.0.retain(|other| !other.route.matches(&owed.route));
        self.on_challenge(owed);
    }

    /// Is an answer owed to the address `here`?
    pub(crate) fn wants_here(&self, here: &RouteId) -> bool {
        self.0.iter().any(|owed| owed.route.matches(here))
    }

    /// Is an answer owed to another address than `here`?
    pub(crate) fn wants_elsewhere(&self, here: &RouteId) -> bool {
        self.0.iter().any(|owed| !owed.route.matches(here))
    }

    /// The oldest answer owed to the address `here`.
    pub(crate) fn take_here(&mut self, here: &RouteId) -> Option<Owed> {
        let at = self.0.iter().position(|owed| owed.route.matches(here))?;
        Some(self.0.remove(at))
    }

    /// The oldest answer owed to another address than `here`.
    pub(crate) fn take_elsewhere(&mut self, here: &RouteId) -> Option<Owed> {
        let at = self.0.iter().position(|owed| !owed.route.matches(here))?;
        Some(self.0.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::LocalId;

    const PTO: Duration = Duration::from_millis(100);
    const INITIAL: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// MP-113
    #[test]
    fn challenges_repeat_with_back_off_and_then_the_path_fails() {
        let mut rng = Rng::new([1; 32]);
        let mut challenge = Challenge::new(PTO, INITIAL, at(0));
        let mut sent = Vec::new();
        let mut now = at(0);
        while !challenge.has_failed(now) {
            if challenge.is_due(now) {
                challenge.next(&mut rng, true, now);
                sent.push(now.as_nanos() / 1_000_000);
            }
            now = challenge.deadline(false);
        }
        assert_eq!(sent, [0, 100, 300, 700, 1500, 2500]);
        assert_eq!(now, at(3500), "at least three times the initial probe timeout");
    }

    #[test]
    fn any_challenge_sent_may_be_answered_and_nothing_else() {
        let mut rng = Rng::new([1; 32]);
        let mut challenge = Challenge::new(PTO, INITIAL, at(0));
        let first = challenge.next(&mut rng, false, at(0));
        let second = challenge.next(&mut rng, true, at(100));
        assert_ne!(first, second);
        let answer = |ms, padded| Some(Answer { span: Duration::from_millis(ms), padded });
        assert_eq!(challenge.on_response(first, at(250)), answer(250, false));
        assert_eq!(challenge.on_response(second, at(250)), answer(150, true));
        assert_eq!(challenge.on_response([0; 8], at(250)), None);
    }

    /// P-68, MP-336
    #[test]
    fn an_answer_to_a_small_challenge_asks_for_a_padded_one_and_time_for_it() {
        let mut rng = Rng::new([1; 32]);
        let mut challenge = Challenge::new(PTO, INITIAL, at(0));
        challenge.next(&mut rng, false, at(0));
        challenge.ask_padded(Duration::from_millis(400), at(2900));
        assert!(challenge.is_due(at(2900)));
        assert!(!challenge.has_failed(at(3500)));
    }

    fn owed(n: u8, port: u16) -> Owed {
        let remote = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let route = RouteId::new(LocalId(0), "127.0.0.1:443".parse().unwrap(), remote);
        Owed { data: [n; 8], route, credit: 3600 }
    }

    /// P-68, MP-336
    #[test]
    fn a_flood_of_challenges_is_answered_within_bounds() {
        let mut responses = Responses::default();
        let here = owed(0, 1).route;
        (0..100).for_each(|n| responses.on_challenge(owed(n, 1)));
        let answered: Vec<_> =
            std::iter::from_fn(|| responses.take_here(&here)).map(|owed| owed.data[0]).collect();
        assert_eq!(answered, [92, 93, 94, 95, 96, 97, 98, 99]);
        assert!(!responses.wants_here(&here));
    }

    #[test]
    fn a_datagram_full_of_challenges_from_elsewhere_gets_one_answer() {
        let mut responses = Responses::default();
        (0..100).for_each(|n| responses.on_stray_challenge(owed(n, 1)));
        let here = owed(0, 2).route;
        assert_eq!(responses.take_elsewhere(&here), Some(owed(99, 1)));
        assert!(!responses.wants_elsewhere(&here));
    }

    #[test]
    fn each_answer_goes_to_where_its_challenge_came_from() {
        let mut responses = Responses::default();
        responses.on_challenge(owed(1, 1));
        responses.on_challenge(owed(2, 2));
        let here = owed(0, 2).route;
        assert_eq!(responses.take_elsewhere(&here), Some(owed(1, 1)));
        assert!(!responses.wants_elsewhere(&here));
        assert_eq!(responses.take_here(&here), Some(owed(2, 2)));
    }
}
