use std::collections::VecDeque;
use std::time::Duration;

use braid_quic::Role;

use super::*;
use crate::measure::Window;

/// A server that takes everything, and answers what the test says.
#[derive(Default)]
struct Server {
    allowed: u64,
    opened: u64,
    /// What each stream takes at once; the default takes nothing.
    room: u64,
    refuses: bool,
    answers: VecDeque<Result<(u64, bool), Fault>>,
    given_up: Vec<StreamId>,
}

impl Streams for Server {
    fn open(&mut self) -> Option<StreamId> {
        (self.opened < self.allowed).then(|| {
            self.opened += 1;
            stream(self.opened - 1)
        })
    }

    fn write(&mut self, _: StreamId, request: &Request) -> Result<u64, Fault> {
        if self.refuses { Err(Fault::Refused) } else { Ok(request.unwritten_bytes().min(self.room)) }
    }

    fn read(&mut self, _: StreamId) -> Result<(u64, bool), Fault> {
        self.answers.pop_front().unwrap_or(Ok((0, false)))
    }

    fn give_up(&mut self, stream: StreamId) {
        self.given_up.push(stream);
    }
}

fn stream(index: u64) -> StreamId {
    StreamId::new(Role::Client, Direction::Bidirectional, index)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn measure() -> Measure {
    let mut measure = Measure::new();
    measure.open(Window::new(at(0), Duration::ZERO, Duration::from_secs(100)));
    measure
}

/// A loop of `wanted` downloads of 100 bytes that has begun, with a server that allows `allowed` streams.
fn begun(wanted: usize, allowed: u64) -> (Exchange, Server, Measure) {
    let mut exchange = Exchange::new(Shape { download_bytes: 100, upload_bytes: 0 }, wanted, true);
    let mut server = Server { allowed, room: u64::MAX, ..Server::default() };
    let mut measure = measure();
    exchange.fill(&mut server, at(0), &mut measure);
    (exchange, server, measure)
}

#[test]
fn where_a_request_ends_the_next_begins() {
    let (mut exchange, mut server, mut measure) = begun(2, 100);
    assert_eq!(server.opened, 2);
    server.answers.extend([Ok((60, false)), Ok((40, true))]);
    assert_eq!(exchange.on_readable(stream(0), &mut server, at(1), &mut measure), 60);
    assert_eq!(server.opened, 2);
    assert_eq!(exchange.on_readable(stream(0), &mut server, at(5), &mut measure), 40);
    assert_eq!((server.opened, measure.completed()), (3, 1));
    assert_eq!(measure.latency_us(100.0).unwrap() / 10, 500);
}

#[test]
fn a_download_does_not_wait_for_acknowledgements() {
    let (mut exchange, mut server, mut measure) = begun(1, 100);
    exchange.on_delivered(stream(0), &mut server, at(1), &mut measure);
    assert_eq!((measure.completed(), server.opened), (0, 1));
    server.answers.push_back(Ok((100, true)));
    exchange.on_readable(stream(0), &mut server, at(2), &mut measure);
    exchange.on_delivered(stream(0), &mut server, at(3), &mut measure);
    assert_eq!((measure.completed(), server.opened), (1, 2));
}

#[test]
fn no_more_streams_open_than_the_server_allows_and_the_rest_later() {
    let (mut exchange, mut server, mut measure) = begun(5, 3);
    assert_eq!((server.opened, exchange.open.len()), (3, 3));
    server.allowed = 100;
    exchange.fill(&mut server, at(1), &mut measure);
    assert_eq!((server.opened, exchange.open.len()), (5, 5));
}

#[test]
fn a_reset_and_a_wrong_size_are_failures_by_reason_and_the_loop_goes_on() {
    let (mut exchange, mut server, mut measure) = begun(1, 100);
    server.answers.extend([Err(Fault::Reset(7)), Ok((99, true)), Ok((101, false))]);
    for index in 0..3 {
        exchange.on_readable(stream(index), &mut server, at(1), &mut measure);
    }
    assert_eq!((measure.completed(), measure.failures().total(), server.opened), (0, 3, 4));
    let reasons: Vec<_> = measure.failures().iter().map(|(_, count)| count).collect();
    assert_eq!(reasons, [2, 1], "two of a wrong size, one reset");
    assert_eq!(server.given_up, [stream(0), stream(1), stream(2)]);
}

#[test]
fn a_stop_by_the_server_fails_the_request_once() {
    let (mut exchange, mut server, mut measure) = begun(1, 100);
    exchange.on_fault(stream(0), Fault::Stopped(1), &mut server, at(1), &mut measure);
    exchange.on_fault(stream(0), Fault::Stopped(1), &mut server, at(1), &mut measure);
    assert_eq!((measure.failures().total(), server.opened), (1, 2));
}

#[test]
fn a_stream_that_takes_nothing_at_all_does_not_send_us_round_for_ever() {
    let mut exchange = Exchange::new(Shape { download_bytes: 1, upload_bytes: 0 }, 3, true);
    let mut server = Server { allowed: u64::MAX, refuses: true, ..Server::default() };
    let mut measure = measure();
    exchange.fill(&mut server, at(0), &mut measure);
    assert_eq!((server.opened, measure.failures().total(), exchange.open.len()), (3, 3, 0));
}

#[test]
fn an_upload_goes_on_when_there_is_room_again() {
    let mut exchange = Exchange::new(Shape { download_bytes: 0, upload_bytes: 1000 }, 1, true);
    let mut server = Server { allowed: 100, room: 600, ..Server::default() };
    let mut measure = measure();
    exchange.fill(&mut server, at(0), &mut measure);
    assert_eq!(measure.uploaded_bytes(), 592);
    assert_eq!(exchange.on_writable(stream(0), &mut server, at(1), &mut measure), 408);
    assert_eq!(measure.uploaded_bytes(), 1000);
    server.answers.push_back(Ok((0, true)));
    exchange.on_readable(stream(0), &mut server, at(2), &mut measure);
    assert_eq!((measure.completed(), server.opened), (0, 1), "an early answer does not end an upload");
    exchange.on_delivered(stream(0), &mut server, at(3), &mut measure);
    assert_eq!((measure.completed(), server.opened), (1, 2));
}

#[test]
fn what_the_end_of_the_run_cuts_is_neither_completed_nor_failed_but_its_stall_counts() {
    let (mut exchange, mut server, mut measure) = begun(2, 100);
    exchange.on_over(at(300), &mut measure);
    exchange.fill(&mut server, at(300), &mut measure);
    assert_eq!((measure.completed(), measure.failures().total(), server.opened), (0, 0, 2));
    assert_eq!(measure.longest_stall(), Duration::from_millis(300));
}

#[test]
fn a_lost_connection_loses_its_open_requests() {
    let (mut exchange, mut server, mut measure) = begun(3, 100);
    assert_eq!(exchange.on_connection_lost(at(1), &mut measure), 3);
    assert_eq!(exchange.on_connection_lost(at(1), &mut measure), 0);
    assert_eq!(exchange.on_readable(stream(0), &mut server, at(2), &mut measure), 0);
}

#[test]
fn in_the_open_loop_requests_begin_only_when_told_and_up_to_as_many() {
    let mut exchange = Exchange::new(Shape { download_bytes: 100, upload_bytes: 0 }, 2, false);
    let mut server = Server { allowed: 100, room: u64::MAX, ..Server::default() };
    let mut measure = measure();
    exchange.fill(&mut server, at(0), &mut measure);
    assert_eq!(server.opened, 0);
    let mut begin = |exchange: &mut Exchange, server: &mut Server, ms| {
        exchange.begin(at(ms), server, at(10), &mut measure)
    };
    assert!(begin(&mut exchange, &mut server, 1) && begin(&mut exchange, &mut server, 2));
    assert!(!begin(&mut exchange, &mut server, 3), "two are open");
    server.answers.push_back(Ok((100, true)));
    exchange.on_readable(stream(0), &mut server, at(21), &mut measure);
    assert_eq!((server.opened, measure.completed()), (2, 1), "no other follows by itself");
    assert_eq!(measure.latency_us(100.0).unwrap() / 1000, 20, "from when it was to start");
    exchange.on_over(at(30), &mut measure);
    assert_eq!((measure.open_loop().unfinished(), measure.completed()), (1, 1));
}

#[test]
fn without_credit_for_streams_nothing_begins_in_the_open_loop() {
    let mut exchange = Exchange::new(Shape { download_bytes: 100, upload_bytes: 0 }, 9, false);
    let mut server = Server { allowed: 1, room: u64::MAX, ..Server::default() };
    let mut measure = measure();
    assert!(exchange.begin(at(0), &mut server, at(0), &mut measure));
    assert!(!exchange.begin(at(0), &mut server, at(0), &mut measure));
    assert_eq!(measure.failures().total(), 0);
}
