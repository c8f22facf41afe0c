//! Quantities as people write them: `20ms`, `1.5MB`, `64KiB`.
//!
//! Owns the spelling and the sentences about what is wrong with a word. Arithmetic is exact to a nanosecond or a byte.
//! Knows no limit that belongs to one option only.

use std::time::Duration;

/// Digits behind the point that are read; more would be less than a nanosecond of anything.
const FRACTION_DIGITS_MAX: usize = 9;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write for instance 1500, 64KiB, 500kB or 20MB");
        let (number, unit) = split(text);
        let factor: u64 = match unit {
            "" | "B" => 1,
            "k" | "K" | "kB" | "KB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        scaled(number, factor).map(Self).ok_or_else(wrong)
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time: write for instance 250us, 20ms, 1.5s or 2m");
        let (number, unit) = split(text);
        let factor_ns: u64 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        scaled(number, factor_ns).map(|nanos| Self(Duration::from_nanos(nanos))).ok_or_else(wrong)
    }
}

/// The digits in front and the unit behind, maybe with a space between.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.strip_prefix(' ').unwrap_or(unit))
}

/// `number` times `factor`, rounded down, without floating point; `None` if it is no number or too large.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let parts = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    let parts = parts / 10_u128.pow(fraction.len() as u32);
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(parts as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let sizes = [("0", 0), ("1500", 1_500), ("20MB", 20_000_000), ("20M", 20_000_000), ("1.5kB", 1_500)];
        let more = [("64KiB", 65_536), ("1 MiB", 1 << 20), ("256 KB", 256_000), ("2GB", 2_000_000_000)];
        for (text, bytes) in sizes.into_iter().chain(more) {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "-1", "1X", "1.", ".5M", "1.2.3", "1  M", "1mb", "18446744073709551616", "1e3"]
        {
            assert!(text.parse::<Size>().unwrap_err().contains("64KiB"), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        let times = [("250us", 250_000), ("20 ms", 20_000_000), ("1.5s", 1_500_000_000), ("7ns", 7)];
        for (text, nanos) in times.into_iter().chain([("2m", 120_000_000_000), ("0s", 0)]) {
            assert_eq!(text.parse(), Ok(Span(Duration::from_nanos(nanos))), "{text}");
        }
        for text in ["", "5", "s", "1d", "-1s", "1,5s", "99999999999h"] {
            assert!(text.parse::<Span>().unwrap_err().contains("20ms"), "{text}");
        }
    }
}
