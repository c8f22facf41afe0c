//! How long a route rests after its path failed, and which routes are not wanted any more.
//!
//! Owns the memory of failures, by interface and addresses, so that an interface that comes back with another socket is
//! the same. Bounded; never opens or closes anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::rules::{Local, Policy};
use crate::{Instant, PathErrorCode};

/// Routes whose failures are remembered. Beyond this the one that may be tried soonest is forgotten.
pub const ROUTES_REMEMBERED_MAX: usize = 256;

/// What the end of a path says about its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// An application wanted it so: no other path there.
    Unwanted,
    /// It was not needed, or there was no room for it: try much later.
    NotNow,
    /// It did not work: try later.
    Trouble,
}

/// Why did a path end that we did not give up ourselves? (draft-ietf-quic-multipath-21 §4.2.1)
pub(super) fn ending(code: PathErrorCode) -> Ending {
    match code {
        PathErrorCode::APPLICATION_ABANDON_PATH => Ending::Unwanted,
        PathErrorCode::NO_ERROR | PathErrorCode::PATH_RESOURCE_LIMIT_REACHED => Ending::NotNow,
        _ => Ending::Trouble,
    }
}

/// The rest after so many failures in a row.
pub(super) fn rest(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    first.saturating_mul(1 << doublings).min(longest)
}

/// A route, whatever the number of the socket and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    interface: Arc<str>,
    local: IpAddr,
    remote: SocketAddr,
}

impl Way {
    pub(super) fn new(local: &Local, remote: SocketAddr) -> Self {
        let interface = Arc::clone(&local.interface);
        Self { interface, local: local.address.ip().to_canonical(), remote }
    }
}

#[derive(Debug)]
struct Memory {
    way: Way,
    failures: u32,
    until: Instant,
}

/// All ways that failed, or are not wanted.
#[derive(Debug, Default)]
pub(super) struct Rests(Vec<Memory>);

impl Rests {
    /// From when on a path may be opened there; `Instant::NEVER` if it is not wanted.
    pub(super) fn until(&self, way: &Way) -> Instant {
        self.0.iter().find(|memory| memory.way == *way).map_or(Instant::ZERO, |memory| memory.until)
    }

    /// A path there ended; it had been sound if `was_sound`.
    pub(super) fn on_ended(
        &mut self,
        way: Way,
        ending: Ending,
        was_sound: bool,
        policy: &Policy,
        now: Instant,
    ) {
        let memory = self.entry(way);
        memory.failures = if was_sound { 1 } else { memory.failures.saturating_add(1) };
        memory.until = match ending {
            Ending::Unwanted => Instant::NEVER,
            Ending::NotNow => now + policy.rest_max,
            Ending::Trouble => now + rest(memory.failures, policy.rest_first, policy.rest_max),
        };
    }

    /// No path can ever be opened there.
    pub(super) fn on_forbidden(&mut self, way: Way) {
        self.entry(way).until = Instant::NEVER;
    }

    /// Everything may be tried again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    fn entry(&mut self, way: Way) -> &mut Memory {
        let at = self.0.iter().position(|memory| memory.way == way).unwrap_or_else(|| {
            if self.0.len() == ROUTES_REMEMBERED_MAX {
                let soonest = self.0.iter().enumerate().min_by_key(|(_, memory)| memory.until);
                let soonest = soonest.map_or(0, |(at, _)| at);
                self.0.swap_remove(soonest);
            }
            self.0.push(Memory { way, failures: 0, until: Instant::ZERO });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalId;
    use crate::manager::Cost;

    const S: Duration = Duration::from_secs(1);

    fn way(host: u16) -> Way {
        let [high, low] = host.to_be_bytes();
        let address = SocketAddr::from(([10, 0, high, low], 7));
        let local = Local { id: LocalId(host), address, interface: "eth0".into(), cost: Cost::Free };
        Way::new(&local, "10.9.0.1:4".parse().unwrap())
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_rest_doubles_up_to_its_limit() {
        assert_eq!(
            [0, 1, 2, 3, 7, 400].map(|failures| rest(failures, S, 60 * S)),
            [1, 1, 2, 4, 60, 60].map(|n| n * S)
        );
    }

    #[test]
    fn the_code_of_the_end_says_whether_to_try_again() {
        assert_eq!(ending(PathErrorCode::APPLICATION_ABANDON_PATH), Ending::Unwanted);
        assert_eq!(ending(PathErrorCode::PATH_RESOURCE_LIMIT_REACHED), Ending::NotNow);
        assert_eq!(ending(PathErrorCode::NO_ERROR), Ending::NotNow);
        assert_eq!(ending(PathErrorCode::PATH_UNSTABLE_OR_POOR), Ending::Trouble);
        assert_eq!(ending(PathErrorCode::NO_CID_AVAILABLE_FOR_PATH), Ending::Trouble);
        assert_eq!(ending(PathErrorCode(0x1234)), Ending::Trouble);
    }

    #[test]
    fn a_path_that_was_sound_begins_with_a_short_rest() {
        let (mut rests, policy) = (Rests::default(), Policy::default());
        let mut end = |was_sound, now| {
            rests.on_ended(way(1), Ending::Trouble, was_sound, &policy, now);
            rests.until(&way(1))
        };
        assert_eq!(end(false, at(0)), at(1));
        assert_eq!(end(false, at(10)), at(12));
        assert_eq!(end(false, at(20)), at(24));
        assert_eq!(end(true, at(100)), at(101));
    }

    #[test]
    fn what_is_unwanted_stays_so_until_all_is_forgotten() {
        let (mut rests, policy) = (Rests::default(), Policy::default());
        rests.on_ended(way(1), Ending::Unwanted, true, &policy, at(5));
        rests.on_ended(way(2), Ending::NotNow, true, &policy, at(5));
        assert_eq!((rests.until(&way(1)), rests.until(&way(2))), (Instant::NEVER, at(65)));
        rests.forget();
        assert_eq!(rests.until(&way(1)), Instant::ZERO);
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_rests_longest() {
        let (mut rests, policy) = (Rests::default(), Policy::default());
        rests.on_ended(way(60_000), Ending::Unwanted, false, &policy, at(0));
        for host in 0..3 * ROUTES_REMEMBERED_MAX {
            rests.on_ended(way(host as u16), Ending::Trouble, false, &policy, at(host as u64));
        }
        assert_eq!(rests.0.len(), ROUTES_REMEMBERED_MAX);
        assert_eq!(rests.until(&way(60_000)), Instant::NEVER);
    }
}
