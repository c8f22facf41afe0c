//! How large a datagram one route carries: found by probes, given up when large packets vanish.
//!
//! Owns the size in use, the search for a larger one (DPLPMTUD: RFC 8899 with RFC 9000 §14.3) and the detection of black
//! holes. Says which probe is due and judges what became of it; writes no packet, and knows no window. ICMP is not
//! listened to: whoever can write to the socket could forge it, and probes find out all the same.

use std::time::Duration;

use crate::base::time::Instant;
use crate::path::doubt::{Arrived, Doubt, Missing, Patience, Rule};

/// The datagram size that every route must carry (RFC 9000 §14); the base of the search (§14.3).
pub(crate) const DATAGRAM_SIZE_MIN: u16 = 1200;

/// So many probes of one size lost mean that it is too large (`MAX_PROBES`, RFC 8899 §5.1.2).
const PROBES_MAX: u8 = 3;

/// How long a search that ended is believed (`PMTU_RAISE_TIMER`, RFC 8899 §5.1.1). No timer runs: the next search begins
/// with whatever leaves after that, so that a connection at rest stays so.
const SEARCH_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// How long after a black hole the search begins again at first; it doubles up to `SEARCH_AGAIN_AFTER`.
const HOLE_AVOIDED_FOR: Duration = Duration::from_secs(60);

/// The route carries nothing larger than the base when eight larger packets were lost, in four bursts a round trip or
/// more apart, and no such packet arrived between, though smaller ones did (RFC 8899 §4.3, third indication).
///
/// Broken trains show after three bursts, so that packets of full size are tried alone before size is blamed.
const BLACK_HOLE: Rule = Rule { bursts: 4, packets: 8 };

/// UDP payload of full packets on common links: behind tunnels and on mobile networks (1280 to 1480 bytes of IP), DSL,
/// Ethernet, and jumbo frames of hosts and clouds, over IPv6 or IPv4.
const COMMON: [u16; 17] = [
    1232, 1332, 1372, 1392, 1412, 1432, 1444, ETHERNET, 1464, 1472, 1996, 3852, 4052, 8848, 8952, 8972,
    16_336,
];

/// Ethernet, over IPv6 or IPv4.
const ETHERNET: u16 = 1452;

/// The size of datagrams on one route.
#[derive(Debug)]
pub(crate) struct Mtu {
    /// In use: the largest that is believed to arrive.
    size: u16,
    /// The size that was told last.
    told: u16,
    /// Nothing larger is probed.
    limit: u16,
    /// The smallest that is known not to arrive.
    too_big: u16,
    search: Search,
    /// Probes of the size in question that were lost.
    lost_probes: u8,
    /// The first probe that says something of the present search.
    first_probe: Option<u64>,
    doubt: Doubt,
    patience: Patience,
    holes: u32,
}

/// Where the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// A probe of this size is to leave.
    Due { bytes: u16 },
    /// It left.
    Sent { bytes: u16, number: u64, at: Instant },
    /// Nothing to find before this time.
    Resting { until: Instant },
}

impl Mtu {
    /// Datagrams have `start` bytes, and up to `most` are tried; nothing is, if that is no more than 0.
    pub(crate) fn new(start: u16, most: u16) -> Self {
        let limit = if most == 0 { 0 } else { most.max(start) };
        let mut mtu = Self {
            size: start,
            told: start,
            limit,
            too_big: u16::MAX,
            search: Search::Resting { until: Instant::ZERO },
            lost_probes: 0,
            first_probe: None,
            doubt: Doubt::default(),
            patience: Patience::default(),
            holes: 0,
        };
        mtu.go_on(Instant::ZERO);
        mtu
    }

    /// Size of a full datagram.
    #[inline]
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// The size, if it is another than was told last.
    #[inline]
    pub(crate) fn take_news(&mut self) -> Option<u16> {
        if self.told == self.size {
            return None;
        }
        self.told = self.size;
        Some(self.size)
    }

    /// How often large packets vanished.
    pub(crate) fn holes(&self) -> u32 {
        self.holes
    }

    /// The size of the probe that is to leave, if one is; `most` bytes may leave at all. What is larger waits until they
    /// may, and a smaller one goes first.
    #[inline]
    pub(crate) fn probe_due(&self, most: u64, now: Instant) -> Option<u16> {
        let (bytes, too_big) = match self.search {
            Search::Due { bytes } => (bytes, self.too_big),
            Search::Resting { until } if until <= now => {
                (next_size(self.size, u16::MAX, self.limit)?, u16::MAX)
            }
            Search::Resting { .. } | Search::Sent { .. } => return None,
        };
        if u64::from(bytes) <= most {
            return Some(bytes);
        }
        next_size(self.size, too_big.min(most as u16 + 1), self.limit)
    }

    /// A probe left.
    pub(crate) fn on_probe_sent(&mut self, bytes: u16, number: u64, now: Instant) {
        if matches!(self.search, Search::Resting { .. }) {
            (self.too_big, self.lost_probes) = (u16::MAX, 0);
        }
        self.first_probe.get_or_insert(number);
        self.search = Search::Sent { bytes, number, at: now };
    }

    /// When the probe under way left.
    pub(crate) fn probe_sent_at(&self) -> Option<Instant> {
        match self.search {
            Search::Sent { at, .. } => Some(at),
            Search::Due { .. } | Search::Resting { .. } => None,
        }
    }

    /// A probe arrived, maybe late.
    pub(crate) fn on_probe_acked(&mut self, bytes: u16, number: u64, now: Instant) {
        let counts = self.first_probe.is_some_and(|first| number >= first);
        if !counts || bytes <= self.size || bytes > self.limit {
            return;
        }
        self.size = bytes;
        if self.too_big <= bytes {
            self.too_big = u16::MAX; // what was taken for a limit was loss
        }
        self.lost_probes = 0;
        self.go_on(now);
    }

    /// A probe was lost; after `PROBES_MAX` of one size that is too big.
    pub(crate) fn on_probe_lost(&mut self, number: u64, now: Instant) {
        if let Search::Sent { bytes, number: awaited, .. } = self.search
            && awaited == number
        {
            self.lost_probes += 1;
            if self.lost_probes >= PROBES_MAX {
                self.on_probe_too_big(bytes, now);
            } else {
                self.search = Search::Due { bytes };
            }
        }
    }

    /// The probe under way found no answer in time: it is lost. Returns its number.
    pub(crate) fn on_probe_timeout(&mut self, now: Instant) -> Option<u64> {
        let Search::Sent { number, .. } = self.search else { return None };
        self.on_probe_lost(number, now);
        Some(number)
    }

    /// The system refused the probe under way, or no buffer takes it. Returns its number if it has one.
    pub(crate) fn on_probe_refused(&mut self, now: Instant) -> Option<u64> {
        match self.search {
            Search::Sent { bytes, number, .. } => {
                self.on_probe_too_big(bytes, now);
                Some(number)
            }
            Search::Due { bytes } => {
                self.on_probe_too_big(bytes, now);
                None
            }
            Search::Resting { .. } => {
                self.search = Search::Resting { until: now + SEARCH_AGAIN_AFTER };
                None
            }
        }
    }

    /// The route is silent as a whole: a probe under way tells nothing.
    pub(crate) fn on_silence(&mut self) {
        if let Search::Sent { bytes, .. } = self.search {
            self.search = Search::Due { bytes };
        }
    }

    /// The system refused a datagram of the present size: it never left, and the interface takes less. The search goes on
    /// below at once.
    pub(crate) fn on_refused(&mut self, now: Instant) {
        if self.size > DATAGRAM_SIZE_MIN {
            self.too_big = self.size;
            self.fall_back();
            self.go_on(now);
        }
    }

    /// The peer takes datagrams of this size at most (RFC 9000 §18.2, `max_udp_payload_size`).
    pub(crate) fn on_peer_maximum(&mut self, bytes: u64) {
        let most = u16::try_from(bytes).unwrap_or(u16::MAX).max(DATAGRAM_SIZE_MIN);
        self.limit = self.limit.min(most);
        self.size = self.size.min(most);
        self.told = self.size;
        if self.probe_sent_at().is_none() {
            self.go_on(Instant::ZERO);
        }
    }

    /// Packets larger than the base arrived.
    #[inline]
    pub(crate) fn on_acked(&mut self, large: &Arrived) {
        self.doubt.on_acked(large);
    }

    /// Such packets were lost. If they vanish in a black hole, the size falls to the base; says since when they do.
    pub(crate) fn on_lost(&mut self, large: &Missing, now: Instant) -> Option<Instant> {
        if self.size == DATAGRAM_SIZE_MIN {
            return None; // left over from before it fell
        }
        let since = self.doubt.on_lost(large, BLACK_HOLE, now)?;
        self.holes += 1;
        self.too_big = u16::MAX;
        self.fall_back();
        let until = self.patience.next(HOLE_AVOIDED_FOR, SEARCH_AGAIN_AFTER, now);
        self.search = Search::Resting { until };
        Some(since)
    }

    fn fall_back(&mut self) {
        self.size = DATAGRAM_SIZE_MIN;
        self.lost_probes = 0;
        self.first_probe = None;
        self.doubt.forget();
    }

    fn on_probe_too_big(&mut self, bytes: u16, now: Instant) {
        self.too_big = bytes;
        self.lost_probes = 0;
        self.go_on(now);
    }

    /// The next size, or a rest.
    fn go_on(&mut self, now: Instant) {
        self.search = match next_size(self.size, self.too_big, self.limit) {
            Some(bytes) => Search::Due { bytes },
            None => Search::Resting { until: now + SEARCH_AGAIN_AFTER },
        };
    }
}

/// What to try next, when `size` arrives, `too_big` does not, and nothing above `limit` is wanted.
///
/// The limit first: mostly it is right, and one probe is all. Else Ethernet, since where jumbo frames do not pass it is
/// most likely; else the middle one of the common sizes between, so that each answer halves what is left.
fn next_size(size: u16, too_big: u16, limit: u16) -> Option<u16> {
    if limit <= size {
        return None;
    }
    if too_big > limit {
        return Some(limit);
    }
    let from = COMMON.partition_point(|&common| common <= size);
    let to = COMMON.partition_point(|&common| common < too_big);
    let between = COMMON.get(from..to)?;
    if too_big > 1500 && between.contains(&ETHERNET) {
        return Some(ETHERNET);
    }
    between.get(between.len() / 2).copied()
}

#[cfg(test)]
#[path = "mtu_tests.rs"]
mod tests;
