//! Short names for the quantities that scenarios are written in.
//!
//! Owns `Rate` and the rule how long a datagram takes on a link. Holds no state and knows no link.

use std::time::Duration;

/// `n` milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` microseconds.
pub const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// `n` seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` thousand bytes.
pub const fn kb(n: u64) -> u64 {
    n * 1_000
}

/// `n` million bytes.
pub const fn mb(n: u64) -> u64 {
    n * 1_000_000
}

/// `n` million bits of UDP payload per second.
pub const fn mbps(n: u64) -> Rate {
    Rate { bits_per_second: n * 1_000_000 }
}

/// `n` bits of UDP payload per second, at least one.
pub const fn bps(n: u64) -> Rate {
    assert!(n > 0, "a link that carries nothing is a cut link");
    Rate { bits_per_second: n }
}

/// How fast a link carries UDP payload; headers below UDP cost nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    bits_per_second: u64,
}

impl Rate {
    /// A link that never makes a datagram wait.
    pub const UNLIMITED: Self = Self { bits_per_second: u64::MAX };

    /// How long `bytes` of UDP payload occupy the link, rounded up to a nanosecond.
    #[must_use]
    pub const fn time_for(self, bytes: u64) -> Duration {
        if self.bits_per_second == u64::MAX {
            return Duration::ZERO;
        }
        let nanos = (bytes as u128 * 8 * 1_000_000_000).div_ceil(self.bits_per_second as u128);
        Duration::from_nanos(nanos as u64)
    }

    /// How many whole bytes the link carries in `span`; `u64::MAX` for an unlimited one.
    #[must_use]
    pub const fn bytes_in(self, span: Duration) -> u64 {
        if self.bits_per_second == u64::MAX {
            return u64::MAX;
        }
        (self.bits_per_second as u128 * span.as_nanos() / 8_000_000_000) as u64
    }

    /// How long that takes at the rate `to` which takes `span` at this one, rounded up to a nanosecond.
    #[must_use]
    pub(crate) const fn stretched(self, span: Duration, to: Self) -> Duration {
        if to.bits_per_second == u64::MAX {
            return Duration::ZERO;
        }
        let nanos = (span.as_nanos() * self.bits_per_second as u128).div_ceil(to.bits_per_second as u128);
        Duration::from_nanos(nanos as u64)
    }

    /// Bytes per second, for arithmetic with fluids.
    pub const fn bytes_per_second(self) -> f64 {
        self.bits_per_second as f64 / 8.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_occupies_the_link_for_its_bits_over_the_rate() {
        assert_eq!(mbps(10).time_for(1250), ms(1));
        assert_eq!(mbps(50).time_for(1200), us(192));
        assert_eq!(bps(800).time_for(1), ms(10));
        assert_eq!(mbps(3).time_for(1), Duration::from_nanos(2667), "rounded up");
        assert_eq!(Rate::UNLIMITED.time_for(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn what_takes_a_second_takes_four_at_a_quarter_of_the_rate() {
        assert_eq!(mbps(8).stretched(secs(1), mbps(2)), secs(4));
        assert_eq!(mbps(2).stretched(secs(4), mbps(8)), secs(1));
        assert_eq!(mbps(2).stretched(secs(4), Rate::UNLIMITED), Duration::ZERO);
    }

    #[test]
    fn a_span_carries_its_rate_times_its_length() {
        assert_eq!(mbps(8).bytes_in(ms(20)), 20_000);
        assert_eq!(mbps(8).bytes_in(Duration::from_nanos(999)), 0);
        assert_eq!(Rate::UNLIMITED.bytes_in(ms(1)), u64::MAX);
    }
}
