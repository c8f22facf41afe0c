//! The application on streams that are only a few vectors.

use std::collections::HashMap;

use braid_quic::CloseReason;

use super::*;

/// Streams that remember what was done to them.
#[derive(Default)]
struct Fake {
    uploads: HashMap<StreamId, (Vec<u8>, Reading)>,
    room: u64,
    written: HashMap<StreamId, u64>,
    ended: Vec<(StreamId, &'static str, u64)>,
    datagrams: usize,
}

impl Fake {
    fn upload(&mut self, stream: StreamId, bytes: &[u8], then: Reading) {
        self.uploads.insert(stream, (bytes.to_vec(), then));
    }
}

impl Streams for Fake {
    fn read(&mut self, stream: StreamId, sink: &mut dyn FnMut(&[u8])) -> Reading {
        let Some((bytes, then)) = self.uploads.get_mut(&stream) else { return Reading::Open };
        // In two slices, as a ring that wraps around lends them.
        let (first, second) = bytes.split_at(bytes.len() / 3);
        sink(first);
        sink(second);
        bytes.clear();
        *then
    }

    fn write(&mut self, stream: StreamId, bytes: u64) -> Writing {
        let accepted = bytes.min(self.room);
        self.room -= accepted;
        *self.written.entry(stream).or_default() += accepted;
        if accepted == bytes { Writing::All } else { Writing::Left(bytes - accepted) }
    }

    fn finish(&mut self, stream: StreamId) {
        self.ended.push((stream, "finish", 0));
    }

    fn reset(&mut self, stream: StreamId, code: u64) {
        self.ended.push((stream, "reset", code));
    }

    fn drop_datagrams(&mut self) {
        self.datagrams = 0;
    }
}

const DOWN: StreamId = StreamId::new(Role::Client, Direction::Bidirectional, 0);
const UP: StreamId = StreamId::new(Role::Client, Direction::Unidirectional, 0);

#[test]
fn datagrams_are_read_so_that_none_waits() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { datagrams: 3, ..Fake::default() });
    jobs.on_event(&mut streams, &Event::DatagramReceived);
    assert_eq!(streams.datagrams, 0);
}

#[test]
fn a_request_is_answered_as_room_allows_and_then_finished() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 600, ..Fake::default() });
    streams.upload(DOWN, &1000_u64.to_be_bytes(), Reading::End);
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    assert_eq!(streams.written[&DOWN], 600);
    assert!(streams.ended.is_empty());
    streams.room = 1000;
    jobs.on_event(&mut streams, &Event::Writable(DOWN));
    assert_eq!(streams.written[&DOWN], 1000);
    assert_eq!(streams.ended, [(DOWN, "finish", 0)]);
    assert!(jobs.0.is_empty(), "nothing is kept of a stream that is done");
    jobs.on_event(&mut streams, &Event::Writable(DOWN));
    assert_eq!(streams.ended.len(), 1);
}

#[test]
fn the_answer_starts_before_the_upload_ends() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 100, ..Fake::default() });
    let mut upload = 7_u64.to_be_bytes().to_vec();
    upload.extend([0xff; 5000]);
    streams.upload(DOWN, &upload, Reading::Open);
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    assert_eq!((streams.written[&DOWN], streams.ended.len()), (7, 1));
    assert_eq!(jobs.0.len(), 1, "the upload goes on");
    streams.upload(DOWN, &[0xff; 3], Reading::End);
    jobs.on_event(&mut streams, &Event::Readable(DOWN));
    assert!(jobs.0.is_empty());
    assert_eq!(streams.written[&DOWN], 7);
}

#[test]
fn a_request_may_come_octet_by_octet() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 1 << 20, ..Fake::default() });
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    for (position, octet) in 0x01_0203_u64.to_be_bytes().into_iter().enumerate() {
        assert!(!streams.written.contains_key(&DOWN), "no answer after {position} octets");
        streams.upload(DOWN, &[octet], Reading::Open);
        jobs.on_event(&mut streams, &Event::Readable(DOWN));
    }
    assert_eq!(streams.written[&DOWN], 0x01_0203);
}

#[test]
fn nothing_wanted_is_an_empty_answer_with_its_end() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake::default());
    streams.upload(DOWN, &[0; 8], Reading::End);
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    assert_eq!(streams.ended, [(DOWN, "finish", 0)]);
}

#[test]
fn a_stream_that_ends_within_the_request_is_reset() {
    for end in [Reading::End, Reading::Reset] {
        let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 9, ..Fake::default() });
        streams.upload(DOWN, &[1; 7], end);
        jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
        assert_eq!(streams.ended, [(DOWN, "reset", SHORT_REQUEST)]);
        assert!(jobs.0.is_empty() && streams.written.is_empty());
    }
}

#[test]
fn an_upload_that_is_reset_does_not_stop_the_answer() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 5, ..Fake::default() });
    streams.upload(DOWN, &10_u64.to_be_bytes(), Reading::Reset);
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    streams.room = 5;
    jobs.on_event(&mut streams, &Event::Writable(DOWN));
    assert_eq!((streams.written[&DOWN], streams.ended.len()), (10, 1));
}

#[test]
fn an_answer_that_nobody_wants_is_reset_with_the_peers_code() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 5, ..Fake::default() });
    streams.upload(DOWN, &10_u64.to_be_bytes(), Reading::Open);
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    jobs.on_event(&mut streams, &Event::Stopped { stream: DOWN, code: 77 });
    assert_eq!(streams.ended, [(DOWN, "reset", 77)]);
    streams.room = 5;
    jobs.on_event(&mut streams, &Event::Writable(DOWN));
    assert_eq!(streams.written[&DOWN], 5);
    streams.upload(DOWN, &[], Reading::End);
    jobs.on_event(&mut streams, &Event::Readable(DOWN));
    assert!(jobs.0.is_empty());
}

#[test]
fn a_unidirectional_stream_is_read_and_forgotten() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake { room: 1 << 20, ..Fake::default() });
    streams.upload(UP, &[9; 100], Reading::Open);
    jobs.on_event(&mut streams, &Event::StreamOpened(UP));
    streams.upload(UP, &[9; 100], Reading::End);
    jobs.on_event(&mut streams, &Event::Readable(UP));
    assert!(jobs.0.is_empty() && streams.written.is_empty() && streams.ended.is_empty());
}

#[test]
fn a_closed_connection_leaves_no_jobs() {
    let (mut jobs, mut streams) = (Jobs::default(), Fake::default());
    jobs.on_event(&mut streams, &Event::StreamOpened(DOWN));
    jobs.on_event(&mut streams, &Event::Closed(CloseReason::IdleTimeout));
    assert!(jobs.0.is_empty());
}

#[test]
fn zeros_add_up_and_lie_in_one_place() {
    let chunks: Vec<_> = zeros((2 << 20) + 17).collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>(), (2 << 20) + 17);
    assert!(chunks.iter().all(|chunk| chunk.as_ptr() == chunks[0].as_ptr()));
    assert_eq!(zeros(0).count(), 0);
}
