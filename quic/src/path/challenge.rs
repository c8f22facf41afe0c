//! Proving that the peer is at an address: challenges sent, responses owed (RFC 9000 §8.2, MP-103 to MP-114).
//!
//! Owns the data of outstanding challenges, their repetition and the answer to the peer's. Which datagram carries them
//! and how it is padded is the connection's.

use std::time::Duration;

use smallvec::SmallVec;

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
    sent: SmallVec<[([u8; 8], Instant); 3]>,
    tries: u8,
    repeat_after: Duration,
    next_at: Instant,
    give_up_at: Instant,
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
    pub(crate) fn next(&mut self, rng: &mut Rng, now: Instant) -> [u8; 8] {
        let data = rng.array();
        self.sent.push((data, now));
        self.tries += 1;
        self.next_at = now + self.repeat_after;
        self.repeat_after = (self.repeat_after * 2).min(REPEAT_MAX);
        // A path must have had its tries, however long the first waited for leave to be sent.
        self.give_up_at = self.give_up_at.max(self.next_at);
        data
    }

    /// How long the way there and back took, if `data` answers one of ours.
    pub(crate) fn on_response(&self, data: [u8; 8], now: Instant) -> Option<Duration> {
        let (_, at) = self.sent.iter().find(|(sent, _)| *sent == data)?;
        Some(now.since(*at))
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

/// Responses owed to the peer; each is sent once, on the path of its challenge (MP-105).
#[derive(Debug, Default)]
pub(crate) struct Responses(SmallVec<[[u8; 8]; 1]>);

impl Responses {
    pub(crate) fn on_challenge(&mut self, data: [u8; 8]) {
        if self.0.len() == RESPONSES_MAX {
            self.0.remove(0);
        }
        self.0.push(data);
    }

    pub(crate) fn wants(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn take(&mut self) -> Option<[u8; 8]> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTO: Duration = Duration::from_millis(100);
    const INITIAL: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn challenges_repeat_with_back_off_and_then_the_path_fails() {
        let mut rng = Rng::new([1; 32]);
        let mut challenge = Challenge::new(PTO, INITIAL, at(0));
        let mut sent = Vec::new();
        let mut now = at(0);
        while !challenge.has_failed(now) {
            if challenge.is_due(now) {
                challenge.next(&mut rng, now);
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
        let first = challenge.next(&mut rng, at(0));
        let second = challenge.next(&mut rng, at(100));
        assert_ne!(first, second);
        assert_eq!(challenge.on_response(first, at(250)), Some(Duration::from_millis(250)));
        assert_eq!(challenge.on_response(second, at(250)), Some(Duration::from_millis(150)));
        assert_eq!(challenge.on_response([0; 8], at(250)), None);
    }

    #[test]
    fn a_flood_of_challenges_is_answered_within_bounds() {
        let mut responses = Responses::default();
        (0..100).for_each(|n| responses.on_challenge([n; 8]));
        let answered: Vec<_> = std::iter::from_fn(|| responses.take()).map(|data| data[0]).collect();
        assert_eq!(answered, [92, 93, 94, 95, 96, 97, 98, 99]);
        assert!(!responses.wants());
    }
}
