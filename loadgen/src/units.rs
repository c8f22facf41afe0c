//! Sizes and times as people write them, both ways: `64K`, `1.5G`, `500ms`.
//!
//! Owns the spelling and its error sentences. Decides no limit: `options` does.

use std::time::Duration;

/// Reads a number of bytes: digits, maybe a fraction, and one of `K`, `M`, `G`, `T` (powers of 1024) or nothing.
pub(crate) fn size_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write for instance 1500, 64K, 1.5M or 2G");
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => return Err(wrong()),
    };
    scaled(number, factor).ok_or_else(wrong)
}

/// Reads a span of time: digits, maybe a fraction, and one of `us`, `ms`, `s`, `m`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write for instance 500ms, 2s or 1m");
    let (number, unit) = split(text);
    let factor_ns: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        _ => return Err(wrong()),
    };
    scaled(number, factor_ns).map(Duration::from_nanos).ok_or_else(wrong)
}

/// Bits per second for people, with three digits or more: `8.31 Gb/s`.
pub(crate) fn show_rate(bits_per_second: f64) -> String {
    let (value, unit) = match bits_per_second {
        rate if rate >= 1e9 => (rate / 1e9, "Gb/s"),
        rate if rate >= 1e6 => (rate / 1e6, "Mb/s"),
        rate if rate >= 1e3 => (rate / 1e3, "kb/s"),
        rate => (rate, "b/s"),
    };
    format!("{value:.*} {unit}", decimals(value))
}

/// Microseconds for people: `87 us`, `1.42 ms`, `3.05 s`.
pub(crate) fn show_us(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => return format!("{us:.0} us"),
    };
    format!("{value:.*} {unit}", decimals(value))
}

/// Bytes for people: `87 B`, `8.00 KiB`, `1.50 GiB`.
pub(crate) fn show_bytes(bytes: f64) -> String {
    let (value, unit) = match bytes.abs() {
        size if size >= 1_073_741_824.0 => (bytes / 1_073_741_824.0, "GiB"),
        size if size >= 1_048_576.0 => (bytes / 1_048_576.0, "MiB"),
        size if size >= 1024.0 => (bytes / 1024.0, "KiB"),
        _ => return format!("{bytes:.0} B"),
    };
    format!("{value:.*} {unit}", decimals(value.abs()))
}

/// The number of a report that has this name, in the unit that the name ends with.
pub(crate) fn show_metric(name: &str, value: f64) -> String {
    if name.ends_with("_bps") {
        show_rate(value)
    } else if name.ends_with("_us") {
        show_us(value)
    } else if name.ends_with("_bytes") {
        show_bytes(value)
    } else if value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.*}", decimals(value.abs()) + usize::from(value.abs() < 1.0))
    }
}

/// The digits in front and the unit behind.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// `number` times `factor` without floating point; `None` if it is no number or too large.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return (!number.ends_with('.')).then_some(whole);
    }
    let parts = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
    whole.checked_add((parts / 10_u128.pow(fraction.len() as u32)) as u64)
}

/// As many decimals as give three digits.
fn decimals(value: f64) -> usize {
    match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_whatever_the_case() {
        assert_eq!(size_bytes("0"), Ok(0));
        assert_eq!(size_bytes("1500"), Ok(1500));
        assert_eq!(size_bytes("64K"), Ok(65_536));
        assert_eq!(size_bytes("64k"), Ok(65_536));
        assert_eq!(size_bytes("1M"), Ok(1 << 20));
        assert_eq!(size_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(size_bytes("1.5G"), Ok(3 << 29));
        assert_eq!(size_bytes("10B"), Ok(10));
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in
            ["", "K", "-1", "1X", "1.", ".5M", "1.2.3", "1 M", "1BB", "18446744073709551616", "99999999T"]
        {
            let error = size_bytes(text).expect_err(text);
            assert!(error.contains("64K"), "{error}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(time("0.25s"), Ok(Duration::from_millis(250)));
        assert_eq!(time("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "s", "1h", "-1s", "1,5s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_reports_are_shown_in_the_unit_of_their_name() {
        for (name, value, shown) in [
            ("goodput_bps", 8.312e9, "8.31 Gb/s"),
            ("latency_p99_us", 1_420.0, "1.42 ms"),
            ("server_memory_per_connection_bytes", 8192.0, "8.00 KiB"),
            ("server_memory_per_connection_bytes", -3_145_728.0, "-3.00 MiB"),
            ("requests_per_second", 181_234.5, "181234"),
            ("ceiling_sender", 0.5321, "0.532"),
            ("server_gb_per_cpu_s", 10.25, "10.2"),
        ] {
            assert_eq!(show_metric(name, value), shown);
        }
        assert_eq!((show_bytes(87.0), show_bytes(1_610_612_736.0)), ("87 B".into(), "1.50 GiB".into()));
    }

    #[test]
    fn rates_and_times_are_shown_with_three_digits() {
        assert_eq!(show_rate(8_312_000_000.0), "8.31 Gb/s");
        assert_eq!(show_rate(31_240_000_000.0), "31.2 Gb/s");
        assert_eq!(show_rate(512_400_000.0), "512 Mb/s");
        assert_eq!(show_rate(0.0), "0.00 b/s");
        assert_eq!(show_us(87.0), "87 us");
        assert_eq!(show_us(1_420.0), "1.42 ms");
        assert_eq!(show_us(61_000_000.0), "61.0 s");
    }
}
