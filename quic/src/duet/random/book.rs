//! What both applications wrote and sent, held against what they read and were told.
//!
//! Owns the expectation: bytes of a stream arrive in order, unchanged and no more than were written; a datagram arrives
//! unchanged and once; one that was to be reported has one result. Knows nothing of paths.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::endpoint::ConnectionGuard;
use crate::id::{Direction, PathId, Role, StreamId};
use crate::stream::{DatagramId, DatagramOptions, DatagramResult, ReadError};

/// One direction of a stream: what its sender did, and what its receiver saw.
#[derive(Debug, Default)]
struct Half {
    written: u64,
    finished: bool,
    reset: bool,
    stopped: bool,
    read: u64,
    over: bool,
}

/// Keyed by sender: `true` for the server.
#[derive(Debug, Default)]
pub(super) struct Book {
    halves: BTreeMap<(bool, u64), Half>,
    datagrams: Vec<Vec<u8>>,
    arrived: BTreeSet<usize>,
    /// Results that are still to come.
    expected: BTreeMap<(bool, DatagramId), usize>,
}

/// The stream that operations call `number`: bits for who opened it, its index and its direction.
pub(super) fn stream(number: u8) -> StreamId {
    let opener = if number & 1 == 0 { Role::Client } else { Role::Server };
    let direction = if number & 4 == 0 { Direction::Bidirectional } else { Direction::Unidirectional };
    StreamId::new(opener, direction, u64::from(number >> 1 & 1))
}

/// What the byte of a stream at `offset` is.
fn byte(by_server: bool, id: StreamId, offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16) ^ (id.as_u64() * 31) ^ u64::from(by_server)) as u8
}

/// Streams.
impl Book {
    fn half(&mut self, sender: Role, id: StreamId) -> &mut Half {
        self.halves.entry((sender == Role::Server, id.as_u64())).or_default()
    }

    /// Does this end have the stream? Its own ones are opened here.
    fn has(by: &mut ConnectionGuard<'_>, id: StreamId) -> bool {
        let role = by.role();
        while id.opened_by() == role && by.send_state(id).is_none() {
            match by.open_stream(id.direction()) {
                Some(opened) if opened.index() > id.index() => return false, // it is over
                Some(_) => {}
                None => return false,
            }
        }
        by.send_state(id).is_some()
    }

    pub(super) fn write(&mut self, by: &mut ConnectionGuard<'_>, id: StreamId, bytes: usize) {
        let role = by.role();
        if !Self::has(by, id) {
            return;
        }
        let half = self.half(role, id);
        let end = half.written + bytes as u64;
        let data: Vec<u8> =
            (half.written..end).map(|offset| byte(role == Role::Server, id, offset)).collect();
        if let Ok(taken) = by.write(id, [Bytes::from(data)]) {
            assert!(!half.finished && !half.reset, "{id:?} took bytes behind its end");
            half.written += taken;
        }
    }

    pub(super) fn finish(&mut self, by: &mut ConnectionGuard<'_>, id: StreamId) {
        if Self::has(by, id) && by.finish(id).is_ok() {
            self.half(by.role(), id).finished = true;
        }
    }

    pub(super) fn reset(&mut self, by: &mut ConnectionGuard<'_>, id: StreamId) {
        if Self::has(by, id) {
            by.reset(id, 7);
            self.half(by.role(), id).reset = true;
        }
    }

    pub(super) fn stop(&mut self, by: &mut ConnectionGuard<'_>, id: StreamId) {
        by.stop(id, 8);
        self.half(by.role().peer(), id).stopped = true;
    }

    /// Reads all that a stream has.
    pub(super) fn read(&mut self, by: &mut ConnectionGuard<'_>, id: StreamId) {
        let sender = by.role().peer();
        let half = self.half(sender, id);
        loop {
            let (count, fin) = match by.read(id) {
                Err(ReadError::UnknownStream) => return,
                Err(ReadError::Reset(_)) => {
                    assert!(half.reset || half.stopped, "{id:?}: nobody reset it");
                    half.over = true;
                    return;
                }
                Ok(slices) => {
                    let all = slices.first.iter().chain(slices.second);
                    for (offset, &found) in (half.read..).zip(all) {
                        assert!(offset < half.written, "{id:?}: more than was written");
                        let written = byte(sender == Role::Server, id, offset);
                        assert_eq!(found, written, "{id:?}: the byte at {offset}");
                    }
                    (slices.len(), slices.fin)
                }
            };
            half.read += count as u64;
            assert_eq!(by.consume(id, count), count);
            if fin {
                assert!(half.finished && half.read == half.written, "{id:?} ended early: {half:?}");
                half.over = true;
            }
            if fin || count == 0 {
                return;
            }
        }
    }
}

/// Datagrams.
impl Book {
    pub(super) fn send(
        &mut self,
        by: &mut ConnectionGuard<'_>,
        bytes: usize,
        on_path: Option<u32>,
        lifetime_ms: Option<u64>,
    ) {
        let (name, server) = (self.datagrams.len(), by.role() == Role::Server);
        let mut content = (name as u32).to_be_bytes().to_vec();
        content.push(u8::from(server));
        content.extend((0..bytes).map(|at| (at * 7 + name) as u8));
        let lifetime = lifetime_ms.map(Duration::from_millis);
        let options = DatagramOptions { on_path: on_path.map(PathId), lifetime, report: true };
        if let Ok(id) = by.send_datagram(Bytes::from(content.clone()), options) {
            self.datagrams.push(content);
            let twice = self.expected.insert((server, id), name);
            assert!(twice.is_none(), "{id:?} names two datagrams");
        }
    }

    /// Takes the datagrams that arrived.
    pub(super) fn receive(&mut self, by: &mut ConnectionGuard<'_>) {
        while let Some(found) = by.recv_datagram() {
            let name = u32::from_be_bytes(found[..4].try_into().unwrap()) as usize;
            assert_eq!(found, self.datagrams[name], "a datagram changed on its way");
            assert_eq!(found[4] == 1, by.role() == Role::Client, "a datagram came back");
            assert!(self.arrived.insert(name), "a datagram arrived twice");
        }
    }

    /// Takes results. Unless the other end is `gone`, its application has taken what arrived before.
    pub(super) fn take_results(&mut self, by: &mut ConnectionGuard<'_>, gone: bool) {
        while let Some((id, result)) = by.datagram_result() {
            let name = self.expected.remove(&(by.role() == Role::Server, id));
            let name = name.unwrap_or_else(|| panic!("{id:?} has two results, or nobody asked: {result:?}"));
            let arrived = self.arrived.contains(&name);
            match result {
                DatagramResult::Acked => {
                    assert!(arrived || gone, "{id:?} was acknowledged and did not arrive");
                }
                DatagramResult::Lost => {}
                _ => assert!(!arrived, "{id:?} did not leave and arrived: {result:?}"),
            }
        }
    }
}

impl Book {
    /// Something that has to arrive, or to be told, and was not yet.
    pub(super) fn open_item(&self) -> Option<String> {
        let waits = |half: &Half| {
            let all_read = half.read == half.written && (half.over || !half.finished);
            !half.reset && !half.stopped && !all_read
        };
        let half = self.halves.iter().find(|(_, half)| waits(half));
        let half = half
            .map(|((server, id), half)| format!("{:?}, server {server}: {half:?}", StreamId::from_wire(*id)));
        half.or_else(|| {
            self.expected.iter().next().map(|((server, id), _)| format!("{id:?}, server {server}: no result"))
        })
    }
}
