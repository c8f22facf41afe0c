//! The application behind ALPN `perf`: sends as many bytes as a client asks for and discards what it uploads.
//!
//! Owns one small record per open stream. A client opens a bidirectional stream and starts it with eight octets,
//! the bytes it wants, big endian; whatever follows is upload. Unidirectional streams are upload only
//! (draft-banks-quic-performance §2). Datagrams (RFC 9221), of which the draft knows nothing, are dropped. Touches streams only through the verbs in `streams`, so tests need no network.

mod streams;
#[cfg(test)]
mod tests;

use braid_quic::{ConnectionKey, Direction, Endpoint, Event, Instant, Role, StreamId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use self::streams::{Reading, Streams, Writing};
use crate::worker::Application;

pub use self::streams::zeros;

/// The name by which client and server agree on this application.
pub const ALPN: &[u8] = b"perf";

/// Octets of a request: the bytes wanted, big endian.
pub const REQUEST_LEN: usize = 8;

/// We reset a stream with this code when it ended within the request.
pub const SHORT_REQUEST: u64 = 1;

type Map<K, V> = HashMap<K, V, RandomState>;

/// All perf connections of one worker.
#[derive(Debug, Default)]
pub struct Perf {
    connections: Map<ConnectionKey, Jobs>,
}

/// The open streams of one connection; the transport's stream limit bounds them.
#[derive(Debug, Default)]
struct Jobs(Map<StreamId, Job>);

/// One stream.
#[derive(Debug)]
struct Job {
    upload_open: bool,
    answer: Answer,
}

/// How far the answer to a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The request is not here completely.
    Asked { octets: [u8; REQUEST_LEN], len: usize },
    /// So many bytes are still to be handed over.
    Owed { bytes: u64 },
    /// Everything was handed over, or there is nothing to say on this stream.
    Given,
}

impl Application for Perf {
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant) {
        if event == Event::Gone {
            self.connections.remove(&key);
        } else if let Some(mut connection) = endpoint.connection(key, now) {
            self.connections.entry(key).or_default().on_event(&mut connection, &event);
        }
    }
}

impl Jobs {
    fn on_event(&mut self, streams: &mut impl Streams, event: &Event) {
        match *event {
            Event::StreamOpened(stream) if stream.opened_by() == Role::Client => {
                self.0.insert(stream, Job::new(stream.direction()));
                self.visit(stream, streams, Job::on_readable);
            }
            Event::Readable(stream) => self.visit(stream, streams, Job::on_readable),
            Event::Writable(stream) => self.visit(stream, streams, Job::on_writable),
            Event::Stopped { stream, code } => {
                streams.reset(stream, code);
                self.visit(stream, streams, Job::on_stopped);
            }
            Event::DatagramReceived => streams.drop_datagrams(),
            Event::Closed(_) => self.0.clear(),
            _ => {}
        }
    }

    /// Lets the stream's record act, and forgets it once both directions are done.
    fn visit<S: Streams>(&mut self, stream: StreamId, streams: &mut S, act: fn(&mut Job, StreamId, &mut S)) {
        let Some(job) = self.0.get_mut(&stream) else { return };
        act(job, stream, streams);
        if !job.upload_open && job.answer == Answer::Given {
            self.0.remove(&stream);
        }
    }
}

impl Job {
    fn new(direction: Direction) -> Self {
        let answer = match direction {
            Direction::Bidirectional => Answer::Asked { octets: [0; REQUEST_LEN], len: 0 },
            Direction::Unidirectional => Answer::Given,
        };
        Self { upload_open: true, answer }
    }

    fn on_readable(&mut self, stream: StreamId, streams: &mut impl Streams) {
        let answer = &mut self.answer;
        match streams.read(stream, &mut |bytes| answer.read(bytes)) {
            Reading::Open => {}
            Reading::End | Reading::Reset => {
                self.upload_open = false;
                self.give_up_a_short_request(stream, streams);
            }
        }
        self.on_writable(stream, streams);
    }

    fn on_writable(&mut self, stream: StreamId, streams: &mut impl Streams) {
        let Answer::Owed { bytes } = self.answer else { return };
        self.answer = match streams.write(stream, bytes) {
            Writing::All => {
                streams.finish(stream);
                Answer::Given
            }
            Writing::Left(bytes) => Answer::Owed { bytes },
            Writing::Refused => Answer::Given,
        };
    }

    /// The client does not want the answer; its upload may go on.
    fn on_stopped(&mut self, _: StreamId, _: &mut impl Streams) {
        self.answer = Answer::Given;
    }

    fn give_up_a_short_request(&mut self, stream: StreamId, streams: &mut impl Streams) {
        if let Answer::Asked { .. } = self.answer {
            streams.reset(stream, SHORT_REQUEST);
            self.answer = Answer::Given;
        }
    }
}

impl Answer {
    /// Takes from the upload what belongs to the request.
    fn read(&mut self, bytes: &[u8]) {
        let Self::Asked { octets, len } = self else { return };
        let taken = bytes.len().min(REQUEST_LEN - *len);
        octets[*len..*len + taken].copy_from_slice(&bytes[..taken]);
        *len += taken;
        if *len == REQUEST_LEN {
            *self = Self::Owed { bytes: u64::from_be_bytes(*octets) };
        }
    }
}
