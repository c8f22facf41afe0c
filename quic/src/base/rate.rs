//! How fast bytes flow.
//!
//! Owns the arithmetic between bytes, time and rate, which saturates instead of overflowing. Knows no path.

use std::fmt;
use std::time::Duration;

use super::time::nanos;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A rate in bytes per second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate(u64);

impl Rate {
    /// Nothing flows.
    pub const ZERO: Self = Self(0);
    /// No limit: any number of bytes takes no time.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// `bytes` per second.
    pub const fn from_bytes_per_second(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes per second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }

    /// The rate of `bytes` in `span`, rounded down; no limit when the span is zero.
    pub fn of(bytes: u64, span: Duration) -> Self {
        let bytes = u128::from(bytes) * NANOS_PER_SECOND;
        Self(bytes.checked_div(u128::from(nanos(span))).map_or(u64::MAX, saturated))
    }

    /// `numerator / denominator` times this rate, rounded down; the denominator is not zero.
    #[must_use]
    pub fn scaled(self, numerator: u32, denominator: u32) -> Self {
        if self == Self::UNLIMITED {
            return self;
        }
        Self(saturated(u128::from(self.0) * u128::from(numerator) / u128::from(denominator)))
    }

    /// How long `bytes` take, rounded up to nanoseconds; about 584 years (the longest span there is) at rate zero.
    pub fn time_for(self, bytes: u64) -> Duration {
        if bytes == 0 || self == Self::UNLIMITED {
            return Duration::ZERO;
        }
        let bytes = u128::from(bytes) * NANOS_PER_SECOND;
        Duration::from_nanos(if self.0 == 0 {
            u64::MAX
        } else {
            saturated(bytes.div_ceil(u128::from(self.0)))
        })
    }

    /// How many whole bytes flow in `span`.
    pub fn bytes_in(self, span: Duration) -> u64 {
        if self == Self::UNLIMITED {
            return u64::MAX;
        }
        saturated(u128::from(self.0) * u128::from(nanos(span)) / NANOS_PER_SECOND)
    }
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNLIMITED => f.write_str("unlimited"),
            Self(bytes) => write!(f, "{bytes} B/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT_100: Rate = Rate::from_bytes_per_second(12_500_000);

    #[test]
    fn bytes_time_and_rate_agree() {
        assert_eq!(MBIT_100.time_for(625_000), Duration::from_millis(50));
        assert_eq!(MBIT_100.bytes_in(Duration::from_millis(50)), 625_000);
        assert_eq!(Rate::of(625_000, Duration::from_millis(50)), MBIT_100);
        assert_eq!(MBIT_100.scaled(5, 4).bytes_per_second(), 15_625_000);
    }

    #[test]
    fn time_is_rounded_up_and_bytes_down_so_nobody_sends_early() {
        let third = Rate::from_bytes_per_second(3);
        assert_eq!(third.time_for(1), Duration::from_nanos(333_333_334));
        assert_eq!(third.bytes_in(Duration::from_nanos(333_333_333)), 0);
        assert_eq!(third.bytes_in(third.time_for(1)), 1);
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(Rate::ZERO.time_for(1), Duration::from_nanos(u64::MAX));
        assert_eq!(Rate::ZERO.time_for(0), Duration::ZERO);
        assert_eq!(Rate::ZERO.bytes_in(Duration::MAX), 0);
        assert_eq!(Rate::of(1, Duration::ZERO), Rate::UNLIMITED);
        assert_eq!(Rate::UNLIMITED.time_for(u64::MAX), Duration::ZERO);
        assert_eq!(Rate::UNLIMITED.bytes_in(Duration::ZERO), u64::MAX);
        assert_eq!(Rate::UNLIMITED.scaled(1, 2), Rate::UNLIMITED);
        assert_eq!(Rate::from_bytes_per_second(u64::MAX - 1).scaled(2, 1), Rate::UNLIMITED);
        assert_eq!(Rate::from_bytes_per_second(u64::MAX - 1).bytes_in(Duration::MAX), u64::MAX);
    }
}
