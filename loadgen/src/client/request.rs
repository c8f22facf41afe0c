//! One request of the perf protocol (draft-banks-quic-performance §2): eight octets that say how much the client
//! wants, the upload behind them, and as an answer that many octets.
//!
//! Owns what is still to write and what has come back. Touches no stream: `exchange` moves the bytes.

use braid_quic::Instant;
use braid_server::perf::{REQUEST_LEN, zeros};
use bytes::Bytes;

use crate::load::Shape;
use crate::measure::Measure;

/// Octets of the number in front.
const HEADER_BYTES: u64 = REQUEST_LEN as u64;
/// How much of an upload is offered at once; a stream's send buffer takes less.
const OFFER_MAX_BYTES: u64 = 64 << 20;

/// A request from its first octet to the last of its answer.
pub(super) struct Request {
    shape: Shape,
    /// When it was to start; its latency counts from here.
    intended: Instant,
    /// When the last octet went either way.
    moved_at: Instant,
    written_bytes: u64,
    read_bytes: u64,
    answered: bool,
    /// The server has acknowledged all of the upload. An answer may come before that.
    delivered: bool,
}

/// How far a request is when one of its directions has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Complete,
    /// The other direction goes on.
    HalfWay,
    /// The answer is not as long as was asked for.
    Wrong,
}

impl Request {
    /// A request that was to start at `intended` and does so `now`.
    pub(super) fn new(shape: Shape, intended: Instant, now: Instant) -> Self {
        let delivered = shape.upload_bytes == 0;
        Self { shape, intended, moved_at: now, written_bytes: 0, read_bytes: 0, answered: false, delivered }
    }

    /// When it was to start.
    pub(super) fn intended(&self) -> Instant {
        self.intended
    }

    /// How much is still to write.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        HEADER_BYTES + self.shape.upload_bytes - self.written_bytes
    }

    /// What to write next: all that is left, or as much as anybody takes at once.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Bytes> + use<> {
        let header = self.shape.download_bytes.to_be_bytes();
        let begun = self.written_bytes.min(HEADER_BYTES);
        let header = (begun < HEADER_BYTES).then(|| Bytes::copy_from_slice(&header[begun as usize..]));
        let upload = self.shape.upload_bytes - (self.written_bytes - begun);
        header.into_iter().chain(zeros(upload.min(OFFER_MAX_BYTES)))
    }

    /// The stream took `bytes` of what was to write.
    pub(super) fn on_written(&mut self, bytes: u64, now: Instant, measure: &mut Measure) {
        if bytes == 0 {
            return;
        }
        debug_assert!(bytes <= self.unwritten_bytes());
        let payload = |written: u64| written.saturating_sub(HEADER_BYTES);
        let before = payload(self.written_bytes);
        self.written_bytes += bytes;
        measure.on_uploaded(payload(self.written_bytes) - before, now);
        self.move_on(now, measure);
    }

    /// `bytes` of the answer came, in order.
    pub(super) fn on_read(&mut self, bytes: u64, now: Instant, measure: &mut Measure) {
        if bytes > 0 {
            self.read_bytes += bytes;
            self.move_on(now, measure);
        }
    }

    /// Has more come than was asked for?
    pub(super) fn is_overrun(&self) -> bool {
        self.read_bytes > self.shape.download_bytes
    }

    /// The answer ended.
    pub(super) fn on_answered(&mut self, now: Instant, measure: &mut Measure) -> Progress {
        if self.read_bytes != self.shape.download_bytes {
            return Progress::Wrong;
        }
        self.answered = true;
        self.on_half(now, measure)
    }

    /// The server acknowledged all that we wrote.
    pub(super) fn on_delivered(&mut self, now: Instant, measure: &mut Measure) -> Progress {
        self.delivered = true;
        self.on_half(now, measure)
    }

    fn on_half(&mut self, now: Instant, measure: &mut Measure) -> Progress {
        self.move_on(now, measure);
        if !self.answered || !self.delivered {
            return Progress::HalfWay;
        }
        measure.on_completed(self.intended, now);
        Progress::Complete
    }

    /// The run ends, or the connection does, while the request is open.
    pub(super) fn on_cut(&self, now: Instant, measure: &mut Measure) {
        measure.on_progress(self.moved_at, now);
    }

    fn move_on(&mut self, now: Instant, measure: &mut Measure) {
        measure.on_progress(self.moved_at, now);
        self.moved_at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Window;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn measure() -> Measure {
        let mut measure = Measure::new();
        measure.open(Window::new(at(0), Duration::ZERO, Duration::from_secs(100)));
        measure
    }

    /// Writes all of a request, at most `step` octets of each chunk.
    fn written(request: &mut Request, step: usize, measure: &mut Measure) -> Vec<u8> {
        let mut all = Vec::new();
        while request.unwritten_bytes() > 0 {
            let chunk = request.chunks().next().expect("as long as something is left");
            let taken = &chunk[..chunk.len().min(step)];
            all.extend_from_slice(taken);
            request.on_written(taken.len() as u64, at(0), measure);
        }
        assert_eq!(request.chunks().count(), 0);
        all
    }

    #[test]
    fn the_wanted_size_leads_in_network_order_and_the_upload_follows() {
        let shape = Shape { download_bytes: 0x0102_0304, upload_bytes: 5 };
        for step in [1, 3, 8, 100] {
            let mut measure = measure();
            let all = written(&mut Request::new(shape, at(0), at(0)), step, &mut measure);
            assert_eq!(all, [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0]);
            assert_eq!(measure.uploaded_bytes(), 5, "the eight octets in front are no upload");
        }
    }

    #[test]
    fn an_upload_is_offered_whole_unless_it_is_huge() {
        let offered = |upload_bytes| {
            let request = Request::new(Shape { download_bytes: 1, upload_bytes }, at(0), at(0));
            request.chunks().map(|chunk| chunk.len() as u64).sum::<u64>()
        };
        assert_eq!(offered(3_000_000), 3_000_008);
        assert_eq!(offered(1 << 40), OFFER_MAX_BYTES + 8);
    }

    #[test]
    fn an_answer_is_complete_at_its_size_and_nowhere_else() {
        let shape = Shape { download_bytes: 1000, upload_bytes: 0 };
        for (bytes, progress, completed, overrun) in [
            (999, Progress::Wrong, 0, false),
            (1000, Progress::Complete, 1, false),
            (1001, Progress::Wrong, 0, true),
        ] {
            let mut measure = measure();
            let mut request = Request::new(shape, at(0), at(0));
            request.on_read(bytes, at(7), &mut measure);
            assert_eq!(request.is_overrun(), overrun);
            assert_eq!(request.on_answered(at(8), &mut measure), progress);
            assert_eq!(measure.completed(), completed);
        }
    }

    #[test]
    fn an_upload_is_complete_when_it_is_delivered_and_answered_in_either_order() {
        for answer_first in [true, false] {
            let mut measure = measure();
            let mut request = Request::new(Shape { download_bytes: 0, upload_bytes: 5 }, at(0), at(0));
            let [first, second] = if answer_first {
                [request.on_answered(at(1), &mut measure), request.on_delivered(at(2), &mut measure)]
            } else {
                [request.on_delivered(at(1), &mut measure), request.on_answered(at(2), &mut measure)]
            };
            assert_eq!((first, second, measure.completed()), (Progress::HalfWay, Progress::Complete, 1));
        }
    }

    #[test]
    fn stalls_begin_with_the_request_and_end_with_the_run() {
        let shape = Shape { download_bytes: 1000, upload_bytes: 0 };
        let mut measure = measure();
        let mut request = Request::new(shape, at(100), at(100));
        request.on_read(1, at(130), &mut measure);
        assert_eq!(measure.longest_stall(), Duration::from_millis(30), "until the first byte");
        request.on_read(0, at(190), &mut measure);
        request.on_cut(at(200), &mut measure);
        assert_eq!(measure.longest_stall(), Duration::from_millis(70), "nothing new is no progress");
    }

    #[test]
    fn a_request_for_nothing_is_complete_when_it_is_answered() {
        let mut measure = measure();
        let mut request = Request::new(Shape { download_bytes: 0, upload_bytes: 0 }, at(0), at(0));
        written(&mut request, 8, &mut measure);
        assert_eq!(request.on_answered(at(3), &mut measure), Progress::Complete);
    }

    #[test]
    fn latency_counts_from_when_a_request_was_to_start_and_stalls_from_when_it_did() {
        let mut measure = measure();
        let mut request = Request::new(Shape { download_bytes: 0, upload_bytes: 0 }, at(100), at(400));
        assert_eq!(request.on_answered(at(401), &mut measure), Progress::Complete);
        assert_eq!(measure.latency_us(100.0).unwrap() / 1000, 301);
        assert_eq!(measure.longest_stall(), Duration::from_millis(1));
    }
}
