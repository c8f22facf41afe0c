//! The requests of one connection. In the closed loop so many are open, and where one ends the next begins; in the open
//! loop they begin when they are told to, up to as many.
//!
//! Owns the open requests by stream. Touches streams only through the verbs of `Streams`, so its tests need no
//! network. Knows neither paths nor the end of the run; `client` tells it.

use std::fmt;

use braid_quic::{ConnectionGuard, Direction, Instant, ReadError, StreamId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::request::{Progress, Request};
use crate::load::Shape;
use crate::measure::Measure;

/// We stop and reset streams with this code when their answer makes no sense.
const GIVEN_UP: u64 = 1;

/// What the client asks of its connection.
pub(super) trait Streams {
    /// Opens a stream, if the server allows one more now.
    fn open(&mut self) -> Option<StreamId>;
    /// Writes what the stream takes of a request's rest and tells how much; ends our side behind the last of it.
    fn write(&mut self, stream: StreamId, request: &Request) -> Result<u64, Fault>;
    /// Reads and drops what is there in order: how much, and whether it was the last.
    fn read(&mut self, stream: StreamId) -> Result<(u64, bool), Fault>;
    /// Gives both directions up.
    fn give_up(&mut self, stream: StreamId);
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Reset(u64),
    Stopped(u64),
    Refused,
    WrongSize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(code) => write!(f, "the server reset the answer with code {code}"),
            Self::Stopped(code) => write!(f, "the server stopped the request with code {code}"),
            Self::Refused => f.write_str("the stream took no request"),
            Self::WrongSize => f.write_str("the answer was not as long as asked for"),
        }
    }
}

/// All open requests of a connection.
pub(super) struct Exchange {
    shape: Shape,
    at_once: usize,
    /// Where a request ends, the next begins.
    closed_loop: bool,
    open: HashMap<StreamId, Request, FixedState>,
}

impl Exchange {
    /// At most `at_once` open requests, kept up by themselves in the closed loop.
    pub(super) fn new(shape: Shape, at_once: usize, closed_loop: bool) -> Self {
        Self { shape, at_once, closed_loop, open: HashMap::with_hasher(FixedState::default()) }
    }

    /// Begins as many requests as are missing and the server allows, in the closed loop.
    pub(super) fn fill(&mut self, streams: &mut impl Streams, now: Instant, measure: &mut Measure) {
        let missing = if self.closed_loop { self.at_once.saturating_sub(self.open.len()) } else { 0 };
        for _ in 0..missing {
            if !self.begin(now, streams, now, measure) {
                return;
            }
        }
    }

    /// Begins a request that was to start at `intended`; `false` if none may begin now.
    pub(super) fn begin(
        &mut self,
        intended: Instant,
        streams: &mut impl Streams,
        now: Instant,
        measure: &mut Measure,
    ) -> bool {
        if self.open.len() >= self.at_once {
            return false;
        }
        let Some(stream) = streams.open() else { return false };
        self.open.insert(stream, Request::new(self.shape, intended, now));
        self.on_writable(stream, streams, now, measure);
        true
    }

    /// Something of an answer is there; returns how many bytes.
    pub(super) fn on_readable(
        &mut self,
        stream: StreamId,
        streams: &mut impl Streams,
        now: Instant,
        measure: &mut Measure,
    ) -> u64 {
        let Some(request) = self.open.get_mut(&stream) else { return 0 };
        let (bytes, last) = match streams.read(stream) {
            Ok(read) => read,
            Err(fault) => {
                self.on_fault(stream, fault, streams, now, measure);
                return 0;
            }
        };
        request.on_read(bytes, now, measure);
        if last {
            let progress = request.on_answered(now, measure);
            self.on_progress(stream, progress, streams, now, measure);
        } else if request.is_overrun() {
            self.on_fault(stream, Fault::WrongSize, streams, now, measure);
        }
        bytes
    }

    /// The server acknowledged all of a request.
    pub(super) fn on_delivered(
        &mut self,
        stream: StreamId,
        streams: &mut impl Streams,
        now: Instant,
        measure: &mut Measure,
    ) {
        let Some(request) = self.open.get_mut(&stream) else { return };
        let progress = request.on_delivered(now, measure);
        self.on_progress(stream, progress, streams, now, measure);
    }

    /// The stream takes bytes again; returns how many it took.
    pub(super) fn on_writable(
        &mut self,
        stream: StreamId,
        streams: &mut impl Streams,
        now: Instant,
        measure: &mut Measure,
    ) -> u64 {
        let Some(request) = self.open.get_mut(&stream) else { return 0 };
        match streams.write(stream, request) {
            Ok(bytes) => {
                request.on_written(bytes, now, measure);
                bytes
            }
            Err(fault) => {
                self.lose(stream, fault, now, measure); // no refill here, or it could go round for ever
                streams.give_up(stream);
                0
            }
        }
    }

    /// A request failed; the next one begins.
    pub(super) fn on_fault(
        &mut self,
        stream: StreamId,
        fault: Fault,
        streams: &mut impl Streams,
        now: Instant,
        measure: &mut Measure,
    ) {
        if self.lose(stream, fault, now, measure) {
            streams.give_up(stream);
            self.fill(streams, now, measure);
        }
    }

    /// The connection is lost: all its open requests fail, and no more begin. Returns how many failed.
    pub(super) fn on_connection_lost(&mut self, now: Instant, measure: &mut Measure) -> u64 {
        let lost = self.open.len() as u64;
        self.cut(now, measure);
        lost
    }

    /// The run is over: what is open is cut and counts neither as completed nor as failed. In the open loop its latency
    /// counts as far as it went.
    pub(super) fn on_over(&mut self, now: Instant, measure: &mut Measure) {
        if !self.closed_loop {
            self.open.values().for_each(|request| measure.on_unfinished(request.intended()));
        }
        self.cut(now, measure);
    }

    fn cut(&mut self, now: Instant, measure: &mut Measure) {
        self.at_once = 0;
        self.open.values().for_each(|request| request.on_cut(now, measure));
        self.open.clear();
    }

    /// One direction of a request ended; if it was the last, the next request begins.
    fn on_progress(
        &mut self,
        stream: StreamId,
        progress: Progress,
        streams: &mut impl Streams,
        now: Instant,
        measure: &mut Measure,
    ) {
        match progress {
            Progress::HalfWay => {}
            Progress::Wrong => self.on_fault(stream, Fault::WrongSize, streams, now, measure),
            Progress::Complete => {
                self.open.remove(&stream);
                self.fill(streams, now, measure);
            }
        }
    }

    fn lose(&mut self, stream: StreamId, fault: Fault, now: Instant, measure: &mut Measure) -> bool {
        let Some(request) = self.open.remove(&stream) else { return false };
        request.on_cut(now, measure);
        measure.on_failed(1, &fault.to_string());
        true
    }
}

impl Streams for ConnectionGuard<'_> {
    fn open(&mut self) -> Option<StreamId> {
        self.open_stream(Direction::Bidirectional)
    }

    fn write(&mut self, stream: StreamId, request: &Request) -> Result<u64, Fault> {
        if request.unwritten_bytes() == 0 {
            return Ok(0);
        }
        let written = ConnectionGuard::write(self, stream, request.chunks()).map_err(|_| Fault::Refused)?;
        if written == request.unwritten_bytes() {
            self.finish(stream).map_err(|_| Fault::Refused)?;
        }
        Ok(written)
    }

    fn read(&mut self, stream: StreamId) -> Result<(u64, bool), Fault> {
        let mut total = 0;
        loop {
            let slices = ConnectionGuard::read(self, stream).map_err(|error| match error {
                ReadError::Reset(code) => Fault::Reset(code),
                ReadError::UnknownStream => Fault::Refused,
            })?;
            let (bytes, last) = (slices.first.len() + slices.second.len(), slices.fin);
            self.consume(stream, bytes);
            total += bytes as u64;
            if last || bytes == 0 {
                return Ok((total, last));
            }
        }
    }

    fn give_up(&mut self, stream: StreamId) {
        // Either half may be over already; then there is nothing to give up.
        self.stop(stream, GIVEN_UP);
        self.reset(stream, GIVEN_UP);
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
