//! A world from a scenario file.
//!
//! Owns what keys mean together: names that refer to each other, times, limits. Every refusal names its table. Runs
//! nothing.

use std::time::Duration;

use braid_quic::congestion::UnknownController;
use braid_quic::{Role, TransportConfig};
use braid_sim::{
    At, Competitor as Rival, CompetitorId, Link, LinkId, Rate, Transfer as Wish, TransferId, Way as Side,
    World,
};
use toml::Spanned;

use super::Wrong;
use super::file::{Action, Competitor, Direction, Event, Path, Scenario, Transfer, Way};
use super::links;
use crate::tool::units::{Size, Span};

/// More paths than this at once are not simulated.
const PATHS_MAX: usize = 8;
/// More repetitions or parallel streams than this are a slip of the keyboard.
const TIMES_MAX: u32 = 100_000;
/// Every request begins with the octets that say how much is asked for.
const REQUEST_BYTES: u64 = 8;
/// What every path of QUIC carries (RFC 9000 §14).
const DATAGRAM_SIZES: std::ops::RangeInclusive<u16> = 1_200..=65_507;

/// A world that waits to be run, and the names of what is in it.
pub(crate) struct Built {
    pub(crate) world: World,
    pub(crate) paths: Vec<(String, LinkId)>,
    pub(crate) transfers: Vec<(String, TransferId)>,
    /// With the time at which each closes, if it is told to.
    pub(crate) competitors: Vec<(String, CompetitorId, Option<Duration>)>,
    /// The settings of both ends.
    config: TransportConfig,
}

/// Makes the world.
pub(crate) fn build(scenario: &Scenario) -> Result<Built, Wrong> {
    let world = World::seeded(scenario.seed);
    let config = TransportConfig::default();
    let (paths, transfers, competitors) = (Vec::new(), Vec::new(), Vec::new());
    let mut built = Built { world, paths, transfers, competitors, config };
    if scenario.paths.is_empty() {
        return Err(Wrong::new(None, "there is no [[path]]; the first one carries the handshake"));
    }
    if scenario.transfers.is_empty() {
        return Err(Wrong::new(None, "there is no [[transfer]], so there would be nothing to see"));
    }
    if let Some(one_more) = scenario.paths.get(PATHS_MAX) {
        return Err(Wrong::new(Some(one_more.span().start), format!("more than {PATHS_MAX} paths")));
    }
    built.transport(scenario)?;
    located(&scenario.paths, |path| built.path(path))?;
    located(&scenario.transfers, |transfer| built.transfer(transfer))?;
    located(&scenario.events, |event| built.event(event))?;
    located(&scenario.competitors, |competitor| built.competitor(competitor))?;
    Ok(built)
}

/// Does something with each table, and says in which one it failed.
fn located<T>(tables: &[Spanned<T>], mut work: impl FnMut(&T) -> Result<(), String>) -> Result<(), Wrong> {
    tables.iter().try_for_each(|table| {
        work(table.get_ref()).map_err(|what| Wrong::new(Some(table.span().start), what))
    })
}

impl Built {
    fn transport(&mut self, scenario: &Scenario) -> Result<(), Wrong> {
        let positive = |value: &Option<Spanned<Size>>, key: &str| match value {
            Some(size) if size.get_ref().0 == 0 => {
                Err(Wrong::new(Some(size.span().start), format!("`{key}` 0 would let nothing through")))
            }
            other => Ok(other.as_ref().map(|size| size.get_ref().0)),
        };
        let window_max = positive(&scenario.receive_window, "receive-window")?;
        let window_first = positive(&scenario.first_window, "first-window")?;
        let send_buffer = positive(&scenario.send_buffer, "send-buffer")?;
        let datagram_size = checked_datagram(scenario.datagram_size.as_ref(), "datagram-size")?;
        // Zero switches discovery off.
        let discovered = scenario.datagram_size_max.as_ref().filter(|most| *most.get_ref() > 0);
        let datagram_size_max = match discovered {
            Some(_) => checked_datagram(discovered, "datagram-size-max")?,
            None => scenario.datagram_size_max.as_ref().map(|most| *most.get_ref()),
        };
        if let Some(silence) = scenario.keep_alive.as_ref().filter(|silence| silence.get_ref().0.is_zero()) {
            return Err(Wrong::new(Some(silence.span().start), "`keep-alive` is above 0"));
        }
        let config = &mut self.config;
        config.max_paths = if scenario.multipath { PATHS_MAX as u32 } else { 1 };
        config.scheduler = scenario.scheduler.clone();
        config.congestion = scenario.congestion.clone();
        config.datagram_size = datagram_size.unwrap_or(config.datagram_size);
        config.datagram_size_max = datagram_size_max.unwrap_or(config.datagram_size_max);
        if let Some(first) = window_first {
            (config.stream_window, config.connection_window) = (first, first);
        }
        if let Some(most) = window_max {
            (config.stream_window_max, config.connection_window_max) = (most, most);
        }
        config.stream_window = config.stream_window.min(config.stream_window_max);
        config.connection_window = config.connection_window.min(config.connection_window_max);
        config.send_buffer = send_buffer.unwrap_or(config.send_buffer);
        config.idle_timeout = scenario.idle_timeout.map_or(config.idle_timeout, |span| span.0);
        config.keep_alive = scenario.keep_alive.as_ref().map(|span| span.get_ref().0);
        let config = &self.config;
        self.world.transport(|transport| transport.clone_from(config));
        if let Some(limit) = scenario.limit {
            self.world.limit(limit.0);
        }
        Ok(())
    }

    fn path(&mut self, path: &Path) -> Result<(), String> {
        let name = path.name.clone().unwrap_or_else(|| self.paths.len().to_string());
        if self.paths.iter().any(|(other, _)| *other == name) {
            return Err(format!("another path is called `{name}` already"));
        }
        if path.spare && self.paths.is_empty() {
            return Err("the first path carries the handshake and cannot be `spare`".to_owned());
        }
        let link = match &path.shares {
            Some(other) => links::link_sharing(path)?.sharing(self.link(other)?),
            None => links::link(path)?,
        };
        let id = if path.spare { self.world.add_spare(link) } else { self.world.add(link) };
        if path.backup {
            self.world.backup(id);
        }
        self.paths.push((name, id));
        Ok(())
    }

    fn transfer(&mut self, transfer: &Transfer) -> Result<(), String> {
        let name = transfer.name.clone().unwrap_or_else(|| format!("transfer {}", self.transfers.len()));
        if self.transfers.iter().any(|(other, _)| *other == name) {
            return Err(format!("another transfer is called `{name}` already"));
        }
        let streams = transfer.parallel.unwrap_or(1);
        if !(1..=TIMES_MAX).contains(&streams) {
            return Err(format!("`parallel` is {streams}, not from 1 to {TIMES_MAX}"));
        }
        let mut wish = wish(transfer)?.named(&name).streams(streams);
        if let Some(deadline) = transfer.deadline {
            wish = wish.deadline(deadline.0);
        }
        let (time, repeat) = (self.time_of(transfer)?, Repeat::new(transfer.every, transfer.times)?);
        let id = self.when(time, repeat).transfer(wish);
        self.transfers.push((name, id));
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        let link = self.link(&event.path)?;
        let both =
            Way { rate: event.rate, delay: event.delay, loss: event.loss, mtu: event.mtu, ..Way::default() };
        let mut changes = Vec::new();
        for (sides, way) in
            [(&[Side::Up, Side::Down][..], &both), (&[Side::Up], &event.up), (&[Side::Down], &event.down)]
        {
            let settings = links::settings(way)?;
            changes
                .extend(sides.iter().flat_map(|&side| settings.iter().map(move |&setting| (side, setting))));
        }
        if event.action.is_none() && changes.is_empty() {
            return Err("an event needs a `do`, or a new rate, delay, loss or mtu".to_owned());
        }
        let time = match (event.at, event.after_ready) {
            (Some(at), None) => Time::At(at.0),
            (None, Some(delay)) => Time::AfterReady(delay.0),
            _ => return Err("an event has a time: either `at` or `after-ready`".to_owned()),
        };
        if event.drain && event.action != Some(Action::Kill) {
            return Err("`drain` goes with `do = \"kill\"`".to_owned());
        }
        let repeat = Repeat::new(event.every, event.times)?;
        for (side, setting) in changes {
            self.when(time, repeat).set_way(link, side, setting);
        }
        if let Some(action) = event.action {
            let when = self.when(time, repeat);
            match action {
                Action::Kill if event.drain => when.shut(link),
                Action::Kill => when.cut(link),
                Action::CutUp => when.cut_way(link, Side::Up),
                Action::CutDown => when.cut_way(link, Side::Down),
                Action::Restore => when.restore(link),
                Action::Unreachable => when.unreachable(link),
                Action::Rebind => when.rebind(link),
                Action::Open => when.open(link),
                Action::Abandon => when.abandon(Role::Client, link),
                Action::Backup => advise(when, link, true),
                Action::Available => advise(when, link, false),
            };
        }
        Ok(())
    }
    fn competitor(&mut self, competitor: &Competitor) -> Result<(), String> {
        let number = self.competitors.len();
        let name = competitor.name.clone().unwrap_or_else(|| format!("competitor {number}"));
        if self.competitors.iter().any(|(other, ..)| *other == name) {
            return Err(format!("another competitor is called `{name}` already"));
        }
        let link = Link::new(Rate::UNLIMITED, competitor.delay.0).sharing(self.link(&competitor.shares)?);
        let mut config = self.config.clone();
        config.max_paths = 1;
        if let Some(congestion) = &competitor.congestion {
            config.congestion = congestion.parse().map_err(|error: UnknownController| error.to_string())?;
        }
        let rival = match competitor.direction.unwrap_or(Direction::Download) {
            Direction::Download => Rival::downloads(link),
            Direction::Upload => Rival::uploads(link),
        };
        let from = competitor.at.map_or(Duration::ZERO, |at| at.0);
        let mut rival = rival.transport(config).from(from);
        if let Some(size) = competitor.size {
            rival = rival.bytes(size.0);
        }
        if let Some(until) = competitor.until {
            if until.0 <= from {
                return Err("`until` is not later than `at`".to_owned());
            }
            rival = rival.until(until.0);
        }
        let id = self.world.compete(rival);
        self.competitors.push((name, id, competitor.until.map(|until| until.0)));
        Ok(())
    }

    /// The path of this name.
    fn link(&self, name: &str) -> Result<LinkId, String> {
        let found = self.paths.iter().find(|(path, _)| path == name).map(|(_, link)| *link);
        found.ok_or_else(|| format!("there is no path `{name}`; there is {}", list(&self.paths)))
    }

    fn when(&mut self, time: Time, repeat: Repeat) -> At<'_> {
        let when = match time {
            Time::At(elapsed) => self.world.at(elapsed),
            Time::AfterReady(delay) => self.world.after_ready(delay),
            Time::After(transfer, pause) => self.world.after(transfer, pause),
        };
        match repeat {
            Repeat::Once => when,
            Repeat::Endless(period) => when.every(period),
            Repeat::Times(times, period) => when.times(times, period),
        }
    }

    /// When a transfer begins: at the start unless told otherwise.
    fn time_of(&self, transfer: &Transfer) -> Result<Time, String> {
        let pause = transfer.pause.map(|pause| pause.0);
        if pause.is_some() && transfer.after.is_none() {
            return Err("a `pause` is what follows the transfer named by `after`".to_owned());
        }
        match (transfer.at, transfer.after_ready, &transfer.after) {
            (at, None, None) => Ok(Time::At(at.map_or(Duration::ZERO, |at| at.0))),
            (None, Some(delay), None) => Ok(Time::AfterReady(delay.0)),
            (None, None, Some(other)) => {
                let found = self.transfers.iter().find(|(name, _)| name == other).map(|(_, id)| *id);
                let id = found.ok_or_else(|| {
                    format!("there is no transfer `{other}` above; there is {}", list(&self.transfers))
                })?;
                Ok(Time::After(id, pause.unwrap_or_default()))
            }
            _ => Err("a transfer has one of `at`, `after` and `after-ready`".to_owned()),
        }
    }
}

/// Both ends advise each other on a path.
fn advise(when: At<'_>, link: LinkId, backup: bool) -> At<'_> {
    [Role::Client, Role::Server].into_iter().fold(when, |when, by| when.set_backup(by, link, backup))
}

/// From when a time counts.
#[derive(Clone, Copy)]
enum Time {
    At(Duration),
    AfterReady(Duration),
    After(TransferId, Duration),
}

/// How often something happens, and how far apart.
#[derive(Clone, Copy)]
enum Repeat {
    Once,
    Times(u32, Duration),
    Endless(Duration),
}

impl Repeat {
    fn new(every: Option<Span>, times: Option<u32>) -> Result<Self, String> {
        match (every.map(|every| every.0), times) {
            (None, None) => Ok(Self::Once),
            (Some(Duration::ZERO), _) => Err("`every` is above 0".to_owned()),
            (None, Some(_)) => Err("`times` needs an `every` that says how far apart".to_owned()),
            (Some(_), Some(times)) if !(1..=TIMES_MAX).contains(&times) => {
                Err(format!("`times` is {times}, not from 1 to {TIMES_MAX}"))
            }
            (Some(period), Some(times)) => Ok(Self::Times(times, period)),
            (Some(period), None) => Ok(Self::Endless(period)),
        }
    }
}

/// A number of bytes of UDP payload that every path carries and that UDP holds.
fn checked_datagram(size: Option<&Spanned<u16>>, key: &str) -> Result<Option<u16>, Wrong> {
    let Some(size) = size else { return Ok(None) };
    if DATAGRAM_SIZES.contains(size.get_ref()) {
        return Ok(Some(*size.get_ref()));
    }
    let (least, most) = DATAGRAM_SIZES.into_inner();
    let what = format!("`{key}` is {}, not from {least} to {most}", size.get_ref());
    Err(Wrong::new(Some(size.span().start), what))
}

/// What goes which way on each stream.
fn wish(transfer: &Transfer) -> Result<Wish, String> {
    let of = |size: Option<Size>| size.map(|size| size.0);
    match (of(transfer.size), of(transfer.request), of(transfer.reply)) {
        (Some(bytes), None, None) => Ok(match transfer.direction.unwrap_or(Direction::Download) {
            Direction::Download => Wish::download(bytes),
            Direction::Upload => Wish::upload(bytes),
        }),
        (None, Some(request), Some(reply)) if transfer.direction.is_none() => {
            let upload = request.checked_sub(REQUEST_BYTES);
            let upload = upload.ok_or_else(|| format!("a `request` has at least {REQUEST_BYTES} bytes"))?;
            Ok(Wish::exchange(upload, reply))
        }
        _ => Err("a transfer has a `size` (with a `direction`), or a `request` and a `reply`".to_owned()),
    }
}

/// Names for a sentence.
fn list<T>(named: &[(String, T)]) -> String {
    let names: Vec<String> = named.iter().map(|(name, _)| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
