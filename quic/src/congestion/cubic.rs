//! CUBIC: a window that returns quickly to where congestion was met, lingers there, then searches on (RFC 9438).
//!
//! Owns the cubic curve, the estimate of what Reno would have, and what is needed to take a mistaken reduction back.
//! Integers only, so that every machine computes the same. `window` does the rest.

use std::time::Duration;

use super::window::{Remainder, Window};
use super::{Acked, Congestion, Controller, Sent, Spurious};
use crate::base::time::Instant;

/// beta: what is left of the window after congestion (RFC 9438 §4.6), 0.7.
const LEFT: (u64, u64) = (7, 10);
/// (1 + beta) / 2: where the peak is assumed when it keeps falling (RFC 9438 §4.7), 0.85.
const FALLING: (u64, u64) = (17, 20);
/// alpha: 3 (1 - beta) / (1 + beta), the growth in datagrams per round trip by which a flow that keeps 0.7 gets what
/// Reno gets (RFC 9438 §4.3), 9/17.
const FRIENDLY: (u64, u64) = (9, 17);
/// C: how steep the curve is, in datagrams per cubic second (RFC 9438 §5.1), 0.4.
const STEEPNESS: (u128, u128) = (4, 10);
/// A cubic second in cubic microseconds.
const CUBIC_SECOND: u128 = 1_000_000_000_000_000_000;
/// Further than this from its plateau, in microseconds (10,000 s), the curve is off all scales.
const REACH_US: u64 = 10_000_000_000;

/// The controller of RFC 9438, with `HyStart++` in its first slow start.
#[derive(Clone, Debug)]
pub struct Cubic {
    window: Window,
    /// `W_max`: where congestion was met last, or a little below; `None` before.
    peak: Option<u64>,
    /// `cwnd_prior`: the window when congestion was met last.
    before: u64,
    /// The current stage of congestion avoidance; begins with the first acknowledgement in it.
    epoch: Option<Epoch>,
    undo: Option<Undo>,
}

/// One stage of congestion avoidance.
#[derive(Clone, Debug)]
struct Epoch {
    /// Where the curve has its plateau, and when, counted from the start of the epoch (K).
    peak: u64,
    plateau_us: u64,
    /// For how long the window limited the sender. Other times do not count (RFC 9438 §5.8).
    elapsed: Duration,
    counted_until: Instant,
    /// `W_est`: what Reno would have.
    reno: u64,
    reno_growth: Remainder,
    growth: Remainder,
}

/// What a reduction replaced.
#[derive(Clone, Debug)]
struct Undo {
    at: Instant,
    bytes: u64,
    threshold: u64,
    peak: Option<u64>,
    before: u64,
    epoch: Option<Epoch>,
}

impl Cubic {
    /// A fresh window for datagrams of `datagram_size` bytes.
    pub fn new(datagram_size: u16) -> Self {
        let window = Window::new(datagram_size);
        Self { window, peak: None, before: 0, epoch: None, undo: None }
    }

    /// RFC 9438 §4.6 and §4.7.
    fn shrink(&mut self, now: Instant) {
        let bytes = self.window.bytes();
        self.undo = Some(Undo {
            at: now,
            bytes,
            threshold: self.window.threshold(),
            peak: self.peak,
            before: self.before,
            epoch: self.epoch.take(),
        });
        self.peak = Some(peak(bytes, self.peak));
        self.before = bytes;
        self.window.shrink(LEFT.0, LEFT.1, now);
    }
}

impl Controller for Cubic {
    fn on_sent(&mut self, sent: &Sent) {
        self.window.on_sent(sent.last_packet_number);
        if sent.in_flight_after <= sent.bytes {
            self.pause(sent.now); // nothing was in flight: the time before was idle
        }
    }

    fn on_acked(&mut self, acked: &Acked) {
        let bytes = self.window.on_acked(acked);
        if bytes == 0 {
            return self.pause(acked.now);
        }
        let (window, datagram) = (self.window.bytes(), self.window.datagram_bytes());
        let (top, before) = (self.peak, self.before);
        let epoch = self.epoch.get_or_insert_with(|| Epoch::begin(acked.now, window, top, datagram));
        self.window.grow(epoch.growth(acked, bytes, window, before, datagram));
    }

    fn on_congestion(&mut self, congestion: &Congestion) {
        if self.window.is_news(congestion) {
            self.shrink(congestion.now);
        }
        if congestion.persistent {
            self.window.collapse();
            self.epoch = None;
            self.undo = None;
        }
    }

    /// RFC 9438 §4.9.2; what was won back meanwhile is kept.
    fn on_spurious(&mut self, spurious: &Spurious) {
        let Some(undo) = self.undo.take_if(|undo| spurious.sent_at <= undo.at) else { return };
        if self.window.bytes() >= undo.bytes {
            return;
        }
        self.window.restore(undo.bytes, undo.threshold);
        self.peak = undo.peak;
        self.before = undo.before;
        self.epoch = undo.epoch;
        self.pause(spurious.now);
    }

    fn on_datagram_size(&mut self, datagram_size: u16) {
        self.window.on_datagram_size(datagram_size);
        self.epoch = None; // the curve is drawn in datagrams
        self.undo = None;
    }

    fn reset(&mut self) {
        self.window.reset();
        *self = Self { window: self.window.clone(), peak: None, before: 0, epoch: None, undo: None };
    }

    fn window(&self) -> u64 {
        self.window.bytes()
    }

    fn in_slow_start(&self) -> bool {
        self.window.in_slow_start()
    }
}

impl Cubic {
    /// The time since the last acknowledgement does not count.
    fn pause(&mut self, now: Instant) {
        if let Some(epoch) = &mut self.epoch {
            epoch.counted_until = now;
        }
    }
}

impl Epoch {
    /// Begins at `window`, on the way to `top`. Without congestion before, or above its peak, the search for a new peak
    /// begins at once (RFC 9438 §4.10).
    fn begin(now: Instant, window: u64, top: Option<u64>, datagram: u64) -> Self {
        let peak = top.unwrap_or(0).max(window);
        Self {
            peak,
            plateau_us: plateau_us(peak - window, datagram),
            elapsed: Duration::ZERO,
            counted_until: now,
            reno: window,
            reno_growth: Remainder::default(),
            growth: Remainder::default(),
        }
    }

    /// By how much the window grows for `bytes` acknowledged (RFC 9438 §4.3 to §4.5).
    fn growth(&mut self, acked: &Acked, bytes: u64, window: u64, before: u64, datagram: u64) -> u64 {
        self.elapsed = self.elapsed.saturating_add(acked.now.since(self.counted_until));
        self.counted_until = acked.now;
        let alpha = if self.reno < before { FRIENDLY } else { (1, 1) };
        let reno_growth = self.reno_growth.take(alpha.0 * datagram, bytes, alpha.1 * window);
        self.reno = self.reno.saturating_add(reno_growth);
        if curve(self.peak, self.plateau_us, self.elapsed, datagram) < self.reno {
            return self.reno.saturating_sub(window);
        }
        let ahead = self.elapsed.saturating_add(acked.rtt_smoothed);
        let target = curve(self.peak, self.plateau_us, ahead, datagram).clamp(window, window + window / 2);
        self.growth.take(target - window, bytes, window)
    }
}

/// Where the curve shall have its plateau after congestion at `window`. A flow that did not get as far as last time
/// assumes that others need room, and stays below (fast convergence, RFC 9438 §4.7).
fn peak(window: u64, last: Option<u64>) -> u64 {
    if last.is_some_and(|last| window < last) { window * FALLING.0 / FALLING.1 } else { window }
}

/// K: how long the curve takes to its plateau `rise` bytes above, in microseconds (RFC 9438 §4.2, Figure 2).
fn plateau_us(rise: u64, datagram: u64) -> u64 {
    let cube = u128::from(rise) * CUBIC_SECOND / u128::from(datagram.max(1)) * STEEPNESS.1 / STEEPNESS.0;
    cube_root(cube)
}

/// `W_cubic`: the window at `time` of an epoch whose plateau is `peak` at `plateau_us` (RFC 9438 §4.2, Figure 1).
fn curve(peak: u64, plateau_us: u64, time: Duration, datagram: u64) -> u64 {
    let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let distance = u128::from(time_us.abs_diff(plateau_us).min(REACH_US));
    let height =
        u128::from(datagram) * distance * distance * distance * STEEPNESS.0 / STEEPNESS.1 / CUBIC_SECOND;
    let height = u64::try_from(height).unwrap_or(u64::MAX);
    if time_us < plateau_us { peak.saturating_sub(height) } else { peak.saturating_add(height) }
}

/// The whole part of the cube root, bit by bit; used once per epoch.
fn cube_root(number: u128) -> u64 {
    let mut root = 0u128;
    for bit in (0..42).rev() {
        let larger = root | 1 << bit;
        if larger * larger * larger <= number {
            root = larger;
        }
    }
    root as u64 // below 2^42
}

#[cfg(test)]
#[path = "cubic_tests.rs"]
mod tests;
