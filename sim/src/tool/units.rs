//! Quantities as people write them: `20ms`, `1.5MB`, `64KiB`, `10Mbps`, `0.5%`.
//!
//! Owns the spelling, for the command line and for scenario files alike, and the sentences about what is wrong with a
//! word. Arithmetic is exact to a nanosecond, a byte or a bit. Knows no limit that belongs to one key only.

use std::fmt;
use std::time::Duration;

use braid_sim::{Rate, bps};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Digits behind the point that are read; more would be less than a nanosecond of anything.
const FRACTION_DIGITS_MAX: usize = 9;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Word")]
pub(crate) struct Size(pub(crate) u64);

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Word")]
pub(crate) struct Span(pub(crate) Duration);

/// Bits of UDP payload per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Word")]
pub(crate) struct Speed(pub(crate) u64);

/// A probability or a share, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(try_from = "Word")]
pub(crate) struct Share(pub(crate) f64);

/// What a queue holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Word")]
pub(crate) enum Queue {
    /// Bytes that wait or leave.
    Bytes(u64),
    /// How long a datagram may wait for those before it.
    Time(Duration),
}

impl Speed {
    pub(crate) fn rate(self) -> Rate {
        bps(self.0)
    }
}

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

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate: write for instance 800kbps, 10Mbps or 2.5Gbps");
        let (number, unit) = split(text);
        let factor: u64 = match unit.strip_suffix("ps").or_else(|| unit.strip_suffix("/s")) {
            Some("b" | "bit") => 1,
            Some("kb" | "kbit") => 1_000,
            Some("Mb" | "Mbit") => 1_000_000,
            Some("Gb" | "Gbit") => 1_000_000_000,
            _ => return Err(wrong()),
        };
        match scaled(number, factor) {
            Some(0) => Err(format!("`{text}` carries nothing: use an event that cuts the path instead")),
            Some(bits) => Ok(Self(bits)),
            None => Err(wrong()),
        }
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share: write a percentage, for instance 2.5%, 0% to 100%");
        let percent = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let is_plain = !percent.is_empty() && percent.bytes().all(|c| c.is_ascii_digit() || c == b'.');
        let percent: f64 = percent.parse().map_err(|_| wrong())?;
        if is_plain && percent <= 100.0 { Ok(Self(percent / 100.0)) } else { Err(wrong()) }
    }
}

impl std::str::FromStr for Queue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no queue: write a time (20ms) or a number of bytes (64KiB), either above 0")
        };
        let queue = match (text.parse::<Span>(), text.parse::<Size>()) {
            (Ok(Span(time)), _) => Self::Time(time),
            (_, Ok(Size(bytes))) => Self::Bytes(bytes),
            _ => return Err(wrong()),
        };
        let empty = matches!(queue, Self::Time(Duration::ZERO) | Self::Bytes(0));
        if empty { Err(wrong()) } else { Ok(queue) }
    }
}

/// A value of a scenario file before it has a meaning.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    Text(String),
    Integer(i64),
    Real(f64),
}

/// What a word may become, from text and, where that is unmistakable, from a bare number.
pub(crate) trait Quantity: std::str::FromStr<Err = String> {
    fn from_number(number: &Word) -> Result<Self, String>;
}

impl Quantity for Size {
    fn from_number(number: &Word) -> Result<Self, String> {
        match *number {
            Word::Integer(bytes) if bytes >= 0 => Ok(Self(bytes.unsigned_abs())),
            _ => number.to_string().parse(),
        }
    }
}

impl Quantity for Share {
    fn from_number(number: &Word) -> Result<Self, String> {
        let value = match *number {
            Word::Integer(value) => value as f64,
            Word::Real(value) => value,
            Word::Text(_) => f64::NAN,
        };
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(format!("{number} is no share: write a percentage in quotes, \"2.5%\", or a number from 0 to 1"))
    }
}

impl Quantity for Span {
    fn from_number(number: &Word) -> Result<Self, String> {
        Err(format!("{number} needs a unit: write for instance \"{number}ms\""))
    }
}

impl Quantity for Speed {
    fn from_number(number: &Word) -> Result<Self, String> {
        Err(format!("{number} needs a unit: write for instance \"{number}Mbps\""))
    }
}

impl Quantity for Queue {
    fn from_number(number: &Word) -> Result<Self, String> {
        Err(format!("{number} needs a unit: write for instance \"20ms\" or \"64KiB\""))
    }
}

/// One implementation for all: text is parsed, a number is asked about.
fn quantity<Q: Quantity>(word: &Word) -> Result<Q, String> {
    match word {
        Word::Text(text) => text.parse(),
        number => Q::from_number(number),
    }
}

/// `try_from` for serde, for each quantity.
macro_rules! from_word {
    ($($quantity:ty),*) => {$(
        impl TryFrom<Word> for $quantity {
            type Error = String;

            fn try_from(word: Word) -> Result<Self, String> {
                quantity(&word)
            }
        }
    )*};
}

from_word!(Size, Span, Speed, Share, Queue);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "`{text}`"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
        }
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a quantity with its unit in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
        Ok(Word::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
        Ok(Word::Integer(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Word, E> {
        Ok(Word::Real(number))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
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

    #[test]
    fn rates_are_bits_and_never_nothing() {
        let rates = [("10Mbps", 10_000_000), ("9.536743Mb/s", 9_536_743), ("800 kbit/s", 800_000)];
        for (text, bits) in rates.into_iter().chain([("1Gbps", 1_000_000_000), ("300bps", 300)]) {
            assert_eq!(text.parse(), Ok(Speed(bits)), "{text}");
        }
        for text in ["", "10", "10M", "10MB/s", "10mbps", "bps", "10b", "10Mb", "-1Mbps"] {
            assert!(text.parse::<Speed>().unwrap_err().contains("10Mbps"), "{text}");
        }
        assert!("0Mbps".parse::<Speed>().unwrap_err().contains("cuts the path"));
    }

    #[test]
    fn shares_are_percentages_up_to_100() {
        assert_eq!("2.5%".parse(), Ok(Share(0.025)));
        assert_eq!("100 %".parse(), Ok(Share(1.0)));
        assert_eq!("0%".parse(), Ok(Share(0.0)));
        for text in ["", "%", "1", "101%", "-1%", "1e1%", "nan%"] {
            assert!(text.parse::<Share>().unwrap_err().contains("2.5%"), "{text}");
        }
    }

    #[test]
    fn queues_are_times_or_sizes_and_hold_something() {
        assert_eq!("20ms".parse(), Ok(Queue::Time(Duration::from_millis(20))));
        assert_eq!("64KiB".parse(), Ok(Queue::Bytes(65_536)));
        for text in ["", "0ms", "0", "20Mbps"] {
            assert!(text.parse::<Queue>().unwrap_err().contains("64KiB"), "{text}");
        }
    }
}
