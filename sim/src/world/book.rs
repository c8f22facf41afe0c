//! The transfers of a world: what was asked for, when, and when it was complete.
//!
//! Owns one record for each transfer, from its plan to its end. Moves no bytes (`apps` does) and decides on no time
//! (`agenda` does).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use braid_quic::{Instant, StreamId};

/// Something to transfer: what the client sends, and what it asks the server for, on each of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    name: String,
    upload_bytes: u64,
    download_bytes: u64,
    streams: u32,
    deadline: Option<Duration>,
}

/// Names a transfer of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransferId(pub(super) usize);

/// What came of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferReport {
    /// As the scenario calls it; empty if it does not.
    pub name: String,
    /// Bytes that the client sends, all streams together.
    pub upload_bytes: u64,
    /// Bytes that it asks for, all streams together.
    pub download_bytes: u64,
    /// When the client's application asked for it, from the start of the world; the connection may not have been ready.
    pub start: Option<Duration>,
    /// When both applications had read everything, the streams' ends included.
    pub end: Option<Duration>,
    /// How long it may take from its start.
    pub deadline: Option<Duration>,
    /// Whether it met its deadline; `None` if it has none, or if that is still to come.
    pub met_deadline: Option<bool>,
}

impl Transfer {
    /// The client sends and asks on one stream: a request and its reply. With a stream's end, zero bytes are something.
    pub fn exchange(upload_bytes: u64, download_bytes: u64) -> Self {
        Self { name: String::new(), upload_bytes, download_bytes, streams: 1, deadline: None }
    }

    /// The client asks for bytes.
    pub fn download(bytes: u64) -> Self {
        Self::exchange(0, bytes)
    }

    /// The client sends bytes.
    pub fn upload(bytes: u64) -> Self {
        Self::exchange(bytes, 0)
    }

    /// Gives it a name, for the report.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Does it on so many streams in parallel, each with all the bytes.
    #[must_use]
    pub fn streams(mut self, streams: u32) -> Self {
        assert!(streams > 0);
        self.streams = streams;
        self
    }

    /// How long it may take; the report tells whether it did.
    #[must_use]
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// Bytes of both directions and all streams.
    pub(super) fn total_bytes(&self) -> u64 {
        (self.upload_bytes + self.download_bytes) * u64::from(self.streams)
    }

    pub(super) fn stream_bytes(&self) -> (u64, u64) {
        (self.upload_bytes, self.download_bytes)
    }

    pub(super) fn stream_count(&self) -> u32 {
        self.streams
    }
}

/// All transfers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Book {
    records: Vec<Record>,
    streams: BTreeMap<StreamId, TransferId>,
    completed: VecDeque<TransferId>,
}

#[derive(Debug)]
struct Record {
    transfer: Transfer,
    start: Option<Instant>,
    end: Option<Instant>,
    /// Directions of its streams that are not complete.
    open: u32,
}

impl Book {
    /// Writes down a transfer that will begin some time.
    pub(crate) fn plan(&mut self, transfer: Transfer) -> TransferId {
        let open = transfer.streams * 2;
        self.records.push(Record { transfer, start: None, end: None, open });
        TransferId(self.records.len() - 1)
    }

    pub(crate) fn transfer(&self, id: TransferId) -> &Transfer {
        &self.records[id.0].transfer
    }

    pub(crate) fn ended_at(&self, id: TransferId) -> Option<Instant> {
        self.records[id.0].end
    }

    /// The client's application asks for it.
    pub(crate) fn on_asked(&mut self, id: TransferId, now: Instant) {
        self.records[id.0].start = Some(now);
    }

    /// One of its streams is open.
    pub(crate) fn on_opened(&mut self, id: TransferId, stream: StreamId) {
        self.streams.insert(stream, id);
    }

    /// One direction of a stream is complete: its reader saw the end.
    pub(crate) fn on_completed(&mut self, stream: StreamId, now: Instant) {
        let Some(&id) = self.streams.get(&stream) else { return };
        let record = &mut self.records[id.0];
        record.open -= 1;
        if record.open == 0 {
            record.end = Some(now);
            self.completed.push_back(id);
        }
    }

    /// A transfer that is complete and was not taken yet.
    pub(crate) fn take_completed(&mut self) -> Option<TransferId> {
        self.completed.pop_front()
    }

    /// Everything that is known, with times counted from `origin`.
    pub(crate) fn report(&self, origin: Instant, now: Instant) -> Vec<TransferReport> {
        self.records.iter().map(|record| record.report(origin, now)).collect()
    }
}

impl Record {
    fn report(&self, origin: Instant, now: Instant) -> TransferReport {
        let Transfer { name, upload_bytes, download_bytes, streams, deadline } = &self.transfer;
        let taken = self.start.map(|start| self.end.unwrap_or(now).since(start));
        let late = deadline.zip(taken).map(|(deadline, taken)| taken > deadline);
        TransferReport {
            name: name.clone(),
            upload_bytes: upload_bytes * u64::from(*streams),
            download_bytes: download_bytes * u64::from(*streams),
            start: self.start.map(|at| at.since(origin)),
            end: self.end.map(|at| at.since(origin)),
            deadline: *deadline,
            met_deadline: late.filter(|late| *late || self.end.is_some()).map(|late| !late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ms;

    fn at(span: Duration) -> Instant {
        Instant::from_nanos(1_000) + span
    }

    const ORIGIN: Instant = Instant::from_nanos(1_000);

    #[test]
    fn a_transfer_ends_with_the_last_direction_of_its_last_stream() {
        let mut book = Book::default();
        let id = book.plan(Transfer::download(100).streams(2).named("page"));
        let streams = [StreamId::from_wire(0), StreamId::from_wire(4)];
        book.on_asked(id, at(ms(5)));
        for (index, stream) in streams.into_iter().enumerate() {
            book.on_opened(id, stream);
            book.on_completed(stream, at(ms(20 + index as u64)));
        }
        book.on_completed(streams[1], at(ms(30)));
        assert_eq!(book.take_completed(), None);
        book.on_completed(streams[0], at(ms(40)));
        assert_eq!((book.take_completed(), book.take_completed()), (Some(id), None));
        let report = &book.report(ORIGIN, at(ms(99)))[0];
        assert_eq!((report.start, report.end), (Some(ms(5)), Some(ms(40))));
        assert_eq!((report.name.as_str(), report.download_bytes), ("page", 200));
    }

    #[test]
    fn a_deadline_is_met_or_missed_or_still_to_come() {
        let mut book = Book::default();
        let stream = StreamId::from_wire(0);
        let met = |book: &Book, now| book.report(ORIGIN, at(now))[0].met_deadline;
        let id = book.plan(Transfer::upload(1).deadline(ms(10)));
        assert_eq!(met(&book, ms(50)), None, "not begun");
        book.on_asked(id, at(ms(50)));
        book.on_opened(id, stream);
        assert_eq!(met(&book, ms(60)), None);
        assert_eq!(met(&book, ms(61)), Some(false), "missed before it is complete");
        book.on_completed(stream, at(ms(55)));
        book.on_completed(stream, at(ms(60)));
        assert_eq!(met(&book, ms(90)), Some(true));
    }
}
