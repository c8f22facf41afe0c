//! Where segmentation offload does not work.
//!
//! Owns a small table of destinations whose trains the kernel refused (`EIO`: no checksum offload or `IPsec` on the
//! route; `EINVAL`: no GSO). Never sends anything. An entry expires, so a route that changed is tried again.

use std::net::IpAddr;

use crate::SocketIndex;

/// How long a destination gets single datagrams before we try a train again.
pub(crate) const RETRY_AFTER_NS: u64 = 60_000_000_000;
/// Beyond this many destinations we forget the oldest; its next train finds out anew.
pub(crate) const DESTINATIONS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    socket: SocketIndex,
    remote: IpAddr,
    until_ns: u64,
}

/// The destinations to which only single datagrams go.
#[derive(Debug, Default)]
pub(crate) struct Segmentation {
    /// Oldest first, as all entries live equally long.
    refused: std::collections::VecDeque<Entry>,
}

impl Segmentation {
    /// Is nothing refused anywhere? Then nobody needs to read the clock.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.refused.is_empty()
    }

    /// May a train go to `remote`?
    pub(crate) fn allows(&mut self, socket: SocketIndex, remote: IpAddr, now_ns: u64) -> bool {
        while self.refused.front().is_some_and(|entry| entry.until_ns <= now_ns) {
            self.refused.pop_front();
        }
        !self.refused.iter().any(|entry| entry.socket == socket && entry.remote == remote)
    }

    /// The kernel refused a train to `remote` and took its datagrams one by one.
    pub(crate) fn on_refused(&mut self, socket: SocketIndex, remote: IpAddr, now_ns: u64) {
        self.refused.retain(|entry| (entry.socket, entry.remote) != (socket, remote));
        if self.refused.len() == DESTINATIONS_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(Entry { socket, remote, until_ns: now_ns.saturating_add(RETRY_AFTER_NS) });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOCKET: SocketIndex = SocketIndex(2);

    fn host(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
    }

    #[test]
    fn a_refusal_holds_for_one_socket_and_one_destination() {
        let mut table = Segmentation::default();
        assert!(table.is_unlimited());
        table.on_refused(SOCKET, host(1), 5);
        assert!(!table.is_unlimited());
        assert!(!table.allows(SOCKET, host(1), 6));
        assert!(table.allows(SOCKET, host(2), 6));
        assert!(table.allows(SocketIndex(3), host(1), 6));
    }

    #[test]
    fn a_refusal_expires_and_is_renewed_by_the_next() {
        let mut table = Segmentation::default();
        table.on_refused(SOCKET, host(1), 0);
        table.on_refused(SOCKET, host(2), 10);
        table.on_refused(SOCKET, host(1), 20);
        assert!(!table.allows(SOCKET, host(2), RETRY_AFTER_NS + 9));
        assert!(table.allows(SOCKET, host(2), RETRY_AFTER_NS + 10));
        assert!(!table.allows(SOCKET, host(1), RETRY_AFTER_NS + 19));
        assert!(table.allows(SOCKET, host(1), RETRY_AFTER_NS + 20));
        assert!(table.is_unlimited());
    }

    #[test]
    fn at_the_bound_the_oldest_is_forgotten() {
        let mut table = Segmentation::default();
        for number in 0..=DESTINATIONS_MAX as u16 {
            table.on_refused(SOCKET, host(number), 0);
        }
        assert_eq!(table.refused.len(), DESTINATIONS_MAX);
        assert!(table.allows(SOCKET, host(0), 1));
        assert!(!table.allows(SOCKET, host(1), 1));
        assert!(!table.allows(SOCKET, host(DESTINATIONS_MAX as u16), 1));
    }
}
