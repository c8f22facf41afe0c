//! Paths that are cut silently: below QUIC, both directions, while the socket stays open.
//!
//! Owns which socket goes dark when. Tells no end about it: the worker asks for every datagram whether it passes.

use braid_quic::{Instant, LocalId};

use crate::plan::Kill;

/// The sockets of a worker, and which of them are dark.
#[derive(Debug)]
pub(super) struct Blackout {
    /// By socket.
    links: Vec<Link>,
    /// When the next socket goes dark.
    next: Instant,
}

#[derive(Clone, Debug)]
struct Link {
    from: Instant,
    dark: bool,
}

impl Blackout {
    /// All is light.
    pub(super) fn new() -> Self {
        Self { links: Vec::new(), next: Instant::NEVER }
    }

    /// The measurement begins at `begin`, which the times of `kills` count from. `sockets` says which path each socket
    /// serves by then.
    pub(super) fn arm(
        &mut self,
        kills: &[Kill],
        sockets: impl IntoIterator<Item = (LocalId, usize)>,
        begin: Instant,
    ) {
        for (socket, path) in sockets {
            let cuts = kills.iter().filter(|kill| kill.path == path).map(|kill| begin + kill.after);
            let index = usize::from(socket.0);
            if index >= self.links.len() {
                self.links.resize(index + 1, Link { from: Instant::NEVER, dark: false });
            }
            self.links[index].from = cuts.min().unwrap_or(Instant::NEVER);
        }
        self.next = self.links.iter().map(|link| link.from).min().unwrap_or(Instant::NEVER);
    }

    /// Darkens what is due, and tells when the next is.
    pub(super) fn on_time(&mut self, now: Instant) -> Instant {
        if self.next <= now {
            self.links.iter_mut().for_each(|link| link.dark |= link.from <= now);
            let light = self.links.iter().filter(|link| !link.dark);
            self.next = light.map(|link| link.from).min().unwrap_or(Instant::NEVER);
        }
        self.next
    }

    /// May datagrams of this socket pass?
    #[inline]
    pub(super) fn passes(&self, socket: LocalId) -> bool {
        self.links.get(usize::from(socket.0)).is_none_or(|link| !link.dark)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn kill(path: usize, ms: u64) -> Kill {
        Kill { path, after: Duration::from_millis(ms) }
    }

    fn sockets(paths: &[usize]) -> impl Iterator<Item = (LocalId, usize)> {
        paths.iter().enumerate().map(|(number, &path)| (LocalId(number as u16), path))
    }

    fn light(blackout: &Blackout) -> [bool; 4] {
        [0, 1, 2, 3].map(|socket| blackout.passes(LocalId(socket)))
    }

    #[test]
    fn all_sockets_of_a_killed_path_go_dark_at_its_time_and_no_others() {
        let mut blackout = Blackout::new();
        blackout.arm(&[kill(1, 300), kill(1, 200)], sockets(&[0, 1, 0, 1]), at(1000));
        assert_eq!((blackout.on_time(at(1199)), light(&blackout)), (at(1200), [true; 4]));
        assert_eq!(blackout.on_time(at(1200)), Instant::NEVER, "the earliest of two cuts holds");
        assert_eq!(light(&blackout), [true, false, true, false]);
    }

    #[test]
    fn paths_go_dark_one_after_the_other() {
        let mut blackout = Blackout::new();
        blackout.arm(&[kill(0, 20), kill(2, 10)], sockets(&[0, 1, 2, 3]), at(0));
        assert_eq!(blackout.on_time(at(15)), at(20));
        assert_eq!(light(&blackout), [true, true, false, true]);
        blackout.on_time(at(25));
        assert_eq!(light(&blackout), [false, true, false, true]);
    }

    #[test]
    fn nothing_is_dark_before_the_measurement_or_for_unknown_sockets() {
        let mut blackout = Blackout::new();
        assert_eq!(blackout.on_time(at(u64::MAX / 2_000_000)), Instant::NEVER);
        assert!(blackout.passes(LocalId(0)) && blackout.passes(LocalId(7)));
    }
}
