//! What a scenario says about a path, as properties of a link.
//!
//! Owns which properties exclude each other, which are needed, and the default queue. Adds nothing to a world (`build`
//! does).

use std::time::Duration;

use braid_sim::{BurstLoss, Jitter, Link, QueueLimit, Rate, Setting, TwoRates, Way as Side};

use super::file::{Path, Way};
use crate::tool::units::Queue;

/// A queue that is not said to be anything holds one bandwidth-delay product, and at least this much.
const QUEUE_DEFAULT_BYTES_MIN: u64 = 30_000;

/// A link with the properties of a path that has a rate of its own.
pub(super) fn link(path: &Path) -> Result<Link, String> {
    let (up, down) = ways(path)?;
    let link = Link::new(first_rate(&up)?, delay(&up)?);
    [(Side::Up, up), (Side::Down, down)].into_iter().try_fold(link, |link, (side, way)| {
        let queue = Setting::Queue(way.queue.map_or_else(|| default_queue(&way), |queue| Ok(limit(queue)))?);
        delay(&way)?;
        Ok(settings(&way)?.into_iter().chain([queue]).fold(link, |link, one| link.with_way(side, one)))
    })
}

/// A link behind the bottleneck of another one, which has the rate and the queue.
pub(super) fn link_sharing(path: &Path) -> Result<Link, String> {
    let (up, down) = ways(path)?;
    for way in [&up, &down] {
        if way.rate.is_some() || way.markov_rate.is_some() || way.queue.is_some() {
            return Err(
                "a path that `shares` has the rate and the queue of the other, and none of its own".into()
            );
        }
    }
    let link = Link::new(Rate::UNLIMITED, delay(&up)?);
    [(Side::Up, up), (Side::Down, down)].into_iter().try_fold(link, |link, (side, way)| {
        delay(&way)?;
        Ok(settings(&way)?.into_iter().fold(link, |link, one| link.with_way(side, one)))
    })
}

/// The properties that are given, in the library's words.
pub(super) fn settings(way: &Way) -> Result<Vec<Setting>, String> {
    let exclusive = [
        ("rate", way.rate.is_some(), "markov-rate", way.markov_rate.is_some()),
        ("loss", way.loss.is_some(), "burst-loss", way.burst_loss.is_some()),
        ("jitter", way.jitter.is_some(), "laplace-jitter", way.laplace_jitter.is_some()),
    ];
    if let Some((one, _, other, _)) = exclusive.into_iter().find(|(_, one, _, other)| *one && *other) {
        return Err(format!("`{one}` and `{other}` exclude each other"));
    }
    let two_rates = way.markov_rate.map(|chain| {
        let [first, second] = chain.means.map(|mean| mean.0);
        if first.is_zero() || second.is_zero() {
            return Err("the `means` of a `markov-rate` are above 0".to_owned());
        }
        Ok(TwoRates { rates: chain.rates.map(crate::tool::units::Speed::rate), means: [first, second] })
    });
    let bursts = way.burst_loss.map(|bursts| BurstLoss {
        to_bad: bursts.to_bad.0,
        to_good: bursts.to_good.0,
        loss_good: bursts.loss_good.0,
        loss_bad: bursts.loss_bad.0,
    });
    let laplace =
        way.laplace_jitter.map(|jitter| Jitter::Laplace { scale: jitter.scale.0, cap: jitter.cap.0 });
    let given = [
        way.rate.map(|rate| Setting::Rate(rate.rate())),
        two_rates.transpose()?.map(Setting::TwoRates),
        way.delay.map(|delay| Setting::Delay(delay.0)),
        way.queue.map(|queue| Setting::Queue(limit(queue))),
        way.loss.map(|loss| Setting::Loss(loss.0)),
        bursts.map(Setting::BurstLoss),
        way.jitter.map(|most| Setting::Jitter(Jitter::Uniform(most.0))),
        laplace.map(Setting::Jitter),
        way.mtu.map(|bytes| Setting::Mtu(Some(bytes.into()))),
    ];
    Ok(given.into_iter().flatten().collect())
}

/// Both directions: what is said about one goes before what is said about both.
fn ways(path: &Path) -> Result<(Way, Way), String> {
    // Checked before they are merged, where one of two exclusive keys would win silently.
    for way in [path.both(), path.up, path.down] {
        settings(&way)?;
    }
    Ok((path.up.over(&path.both()), path.down.over(&path.both())))
}

fn first_rate(way: &Way) -> Result<Rate, String> {
    let rate = way.rate.or(way.markov_rate.map(|chain| chain.rates[0]));
    rate.map(crate::tool::units::Speed::rate).ok_or_else(|| {
        "a path needs a `rate` (or a `markov-rate`), for instance rate = \"10Mbps\"".to_owned()
    })
}

fn delay(way: &Way) -> Result<Duration, String> {
    way.delay
        .map(|delay| delay.0)
        .ok_or_else(|| "a path needs a `delay`, for instance delay = \"10ms\"".to_owned())
}

fn default_queue(way: &Way) -> Result<QueueLimit, String> {
    Ok(QueueLimit::Bytes(first_rate(way)?.bytes_in(delay(way)? * 2).max(QUEUE_DEFAULT_BYTES_MIN)))
}

fn limit(queue: Queue) -> QueueLimit {
    match queue {
        Queue::Bytes(bytes) => QueueLimit::Bytes(bytes),
        Queue::Time(time) => QueueLimit::Time(time),
    }
}

impl Way {
    /// These properties, and those of `both` where there is none of a kind.
    fn over(&self, both: &Self) -> Self {
        let of = |own: bool| if own { self } else { both };
        let rate = of(self.rate.is_some() || self.markov_rate.is_some());
        let loss = of(self.loss.is_some() || self.burst_loss.is_some());
        let jitter = of(self.jitter.is_some() || self.laplace_jitter.is_some());
        Self {
            rate: rate.rate,
            markov_rate: rate.markov_rate,
            delay: self.delay.or(both.delay),
            queue: self.queue.or(both.queue),
            loss: loss.loss,
            burst_loss: loss.burst_loss,
            jitter: jitter.jitter,
            laplace_jitter: jitter.laplace_jitter,
            mtu: self.mtu.or(both.mtu),
        }
    }
}
