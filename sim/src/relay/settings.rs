//! What one way of a path is like, and the words for it: `rate=50M delay=10ms queue=64K loss=1%`.
//!
//! Owns the spelling for the command line and for commands at run time, in terms of the simulator's `Setting`. The
//! sentences of errors give an example; nothing here has state.

use std::fmt;
use std::time::Duration;

use super::command::Ways;
use crate::link::{BurstLoss, Jitter, LaneConfig, Link, QueueLimit, Setting};
use crate::units::{Rate, bps};

/// A longer one-way delay, or one that varies by more, is a mistake; what is on its way has to be kept.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// One way of a path: by default no limit at all.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneSettings {
    rate: Rate,
    delay: Duration,
    others: Vec<Setting>,
}

/// One word about one or both ways of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    ways: Ways,
    setting: Setting,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self { rate: Rate::UNLIMITED, delay: Duration::ZERO, others: Vec::new() }
    }
}

impl LaneSettings {
    /// Takes over one change, whichever way it was meant for.
    pub(super) fn apply(&mut self, change: Change) {
        match change.setting {
            Setting::Rate(rate) => self.rate = rate,
            Setting::Delay(delay) => self.delay = delay,
            other => self.others.push(other),
        }
    }

    /// The lane that these settings describe; without a word about it the queue is that of `Link::new`.
    pub(super) fn lane(&self) -> LaneConfig {
        let link = Link::new(self.rate, self.delay);
        self.others.iter().fold(link, |link, &setting| link.with(setting)).up
    }
}

impl Change {
    /// Another rate of UDP payload.
    pub fn rate(ways: Ways, rate: Rate) -> Self {
        Self { ways, setting: Setting::Rate(rate) }
    }

    /// Another one-way delay, at most ten seconds.
    pub fn delay(ways: Ways, delay: Duration) -> Self {
        Self { ways, setting: Setting::Delay(delay.min(DELAY_MAX)) }
    }

    /// Another queue.
    pub fn queue(ways: Ways, limit: QueueLimit) -> Self {
        Self { ways, setting: Setting::Queue(limit) }
    }

    /// Another probability of loss, 0 to 1.
    pub fn loss(ways: Ways, probability: f64) -> Self {
        Self { ways, setting: Setting::Loss(probability.clamp(0.0, 1.0)) }
    }

    /// Losses in bursts.
    pub fn bursts(ways: Ways, bursts: BurstLoss) -> Self {
        Self { ways, setting: Setting::BurstLoss(bursts) }
    }

    /// A delay that varies by up to this, more or less.
    pub fn jitter(ways: Ways, most: Duration) -> Self {
        Self { ways, setting: Setting::Jitter(Jitter::Uniform(most.min(DELAY_MAX))) }
    }

    /// Drops datagrams with more UDP payload than this.
    pub fn mtu(ways: Ways, bytes: u64) -> Self {
        Self { ways, setting: Setting::Mtu(Some(bytes)) }
    }

    /// The ways that it is for.
    pub fn ways(self) -> Ways {
        self.ways
    }

    /// What it says.
    pub(super) fn setting(self) -> Setting {
        self.setting
    }

    /// Reads `key=value`, where `up-` or `down-` before the key means one way only.
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{word}` is no setting; write rate=50M, delay=10ms, queue=64K, loss=1%, bursts=1%/20%, \
                 jitter=2ms, mtu=1300, or up-rate=50M for one way"
            )
        };
        let (key, value) = word.split_once('=').ok_or_else(wrong)?;
        let (ways, key) = match (key.strip_prefix("up-"), key.strip_prefix("down-")) {
            (Some(key), _) => (Ways::Up, key),
            (_, Some(key)) => (Ways::Down, key),
            (None, None) => (Ways::Both, key),
        };
        let change = match key {
            "rate" => Self::rate(ways, rate(value)?),
            "delay" => Self::delay(ways, delay(value)?),
            "queue" => Self::queue(ways, queue(value)?),
            "loss" => Self::loss(ways, percent(value).ok_or_else(|| bad_loss(value))?),
            "bursts" => Self::bursts(ways, bursts(value)?),
            "jitter" => Self::jitter(ways, delay(value)?),
            "mtu" => Self::mtu(
                ways,
                value.parse().map_err(|_| format!("`{value}` is no mtu; write for instance 1300"))?,
            ),
            _ => return Err(wrong()),
        };
        Ok(change)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.ways {
            Ways::Up => "up-",
            Ways::Down => "down-",
            Ways::Both => "",
        })?;
        let us = |span: Duration| span.as_nanos() as f64 / 1e3;
        match self.setting {
            Setting::Rate(Rate::UNLIMITED) => f.write_str("rate=unlimited"),
            Setting::Rate(rate) => write!(f, "rate={}k", rate.bytes_per_second() * 8.0 / 1e3),
            Setting::Delay(delay) => write!(f, "delay={}us", us(delay)),
            Setting::Queue(QueueLimit::Bytes(bytes)) => write!(f, "queue={bytes}"),
            Setting::Queue(QueueLimit::Time(span)) => write!(f, "queue={}us", us(span)),
            Setting::Loss(loss) => write!(f, "loss={}%", loss * 100.0),
            Setting::BurstLoss(bursts) => {
                write!(f, "bursts={}%/{}%", bursts.to_bad * 100.0, bursts.to_good * 100.0)
            }
            Setting::Jitter(Jitter::Uniform(most)) => write!(f, "jitter={}us", us(most)),
            Setting::Mtu(Some(bytes)) => write!(f, "mtu={bytes}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Bits per second of UDP payload, in powers of 1000; `unlimited` for no limit.
fn rate(text: &str) -> Result<Rate, String> {
    if text == "unlimited" {
        return Ok(Rate::UNLIMITED);
    }
    let wrong = || format!("`{text}` is no rate; write for instance 800k, 50M, 1.5G or unlimited");
    let (number, unit) = number(text).ok_or_else(wrong)?;
    let factor = match unit {
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err(wrong()),
    };
    let bits = (number * factor).round();
    if (1e3..1e12).contains(&bits) { Ok(bps(bits as u64)) } else { Err(wrong()) }
}

/// A span of time with its unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write for instance 500us, 10ms or 2s");
    let (number, unit) = number(text).ok_or_else(wrong)?;
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())
}

fn delay(text: &str) -> Result<Duration, String> {
    let delay = time(text)?;
    if delay <= DELAY_MAX { Ok(delay) } else { Err(format!("a delay of {text} is more than ten seconds")) }
}

fn queue(text: &str) -> Result<QueueLimit, String> {
    if let Ok(span) = time(text) {
        return Ok(QueueLimit::Time(span));
    }
    let wrong = || format!("`{text}` is no queue; write a time as 50ms, or bytes as 64000, 64K or 2M");
    let (number, unit) = number(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" => 1.0,
        "K" => 1024.0,
        "M" => 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    Ok(QueueLimit::Bytes((number * factor) as u64))
}

/// How likely a burst begins with each datagram, and how likely it ends; within it everything is lost.
fn bursts(text: &str) -> Result<BurstLoss, String> {
    let parts = text.split_once('/').and_then(|(begin, end)| Some((percent(begin)?, percent(end)?)));
    let (to_bad, to_good) =
        parts.ok_or_else(|| format!("`{text}` is no bursts; write for instance 1%/20%"))?;
    Ok(BurstLoss { to_bad, to_good, loss_good: 0.0, loss_bad: 1.0 })
}

/// A probability as per cent.
fn percent(text: &str) -> Option<f64> {
    match number(text)? {
        (percent, "%") if percent <= 100.0 => Some(percent / 100.0),
        _ => None,
    }
}

fn bad_loss(text: &str) -> String {
    format!("`{text}` is no loss; write for instance 1% or 0.05%")
}

/// The digits in front, with a fraction maybe, and what stands behind them.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|sign: char| !sign.is_ascii_digit() && sign != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.starts_with('.') || digits.ends_with('.') {
        return None;
    }
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{mbps, ms, us};

    fn change(word: &str) -> Change {
        Change::parse(word).unwrap_or_else(|error| panic!("{word}: {error}"))
    }

    #[test]
    fn every_setting_has_a_word() {
        assert_eq!(change("rate=50M"), Change::rate(Ways::Both, mbps(50)));
        assert_eq!(change("rate=1.5G"), Change::rate(Ways::Both, mbps(1500)));
        assert_eq!(change("rate=unlimited"), Change::rate(Ways::Both, Rate::UNLIMITED));
        assert_eq!(change("up-delay=500us"), Change::delay(Ways::Up, us(500)));
        assert_eq!(change("down-delay=1.5ms"), Change::delay(Ways::Down, us(1500)));
        assert_eq!(change("queue=64K"), Change::queue(Ways::Both, QueueLimit::Bytes(65_536)));
        assert_eq!(change("queue=50ms"), Change::queue(Ways::Both, QueueLimit::Time(ms(50))));
        assert_eq!(change("loss=2.5%"), Change::loss(Ways::Both, 0.025));
        for word in
            ["rate=1.5k", "up-rate=unlimited", "down-delay=1.5us", "queue=7", "queue=20us", "loss=2.5%"]
        {
            assert_eq!(change(word).to_string(), word, "what is shown can be read");
        }
    }

    #[test]
    fn what_is_no_setting_is_refused_with_an_example() {
        for (word, hint) in [
            ("rate", "rate=50M"),
            ("speed=5M", "rate=50M"),
            ("rate=5", "50M"),
            ("rate=-5M", "50M"),
            ("rate=0M", "50M"),
            ("rate=5.M", "50M"),
            ("delay=10", "10ms"),
            ("delay=11s", "ten seconds"),
            ("queue=lots", "64K"),
            ("loss=0.01", "1%"),
            ("loss=101%", "1%"),
            ("bursts=1%", "1%/20%"),
            ("jitter=11s", "ten seconds"),
            ("mtu=big", "1300"),
            ("sideways-loss=1%", "up-rate"),
        ] {
            let sentence = Change::parse(word).expect_err(word);
            assert!(sentence.contains(hint), "{word}: {sentence}");
        }
    }
}
