//! Two ends joined by a network that loses, delays, repeats and reorders: what was written is what is read.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::{LIMITS, config};
use super::*;
use crate::base::time::Instant;
use crate::wire::cursor::Writer;
use crate::wire::frame::{Frame, Frames};
use crate::wire::receipt::{Receipt, Receipts};

const RTT: Duration = Duration::from_millis(10);

/// What a stream's byte at `offset` is.
fn byte(id: StreamId, offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (id.as_u64() * 31)) as u8
}

struct Packet {
    from: usize,
    bytes: Vec<u8>,
    receipts: Vec<Receipt>,
    arrived: bool,
}

#[derive(Default)]
struct Sent {
    written: u64,
    finished: bool,
    reset: bool,
}

#[derive(Default)]
struct Read {
    bytes: u64,
    fin: bool,
    reset: bool,
    stopped: bool,
}

/// Both ends, the packets between them, and what is known of each half: keyed by who sends, and the stream.
struct World {
    ends: [Streams; 2],
    flying: Vec<Packet>,
    sent: BTreeMap<(usize, u64), Sent>,
    read: BTreeMap<(usize, u64), Read>,
    first_seen: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let end = |role| {
            let mut streams = Streams::new(role, &config(), 7);
            streams.on_peer_params(&LIMITS);
            streams
        };
        Self {
            ends: [end(Role::Client), end(Role::Server)],
            flying: Vec::new(),
            sent: BTreeMap::new(),
            read: BTreeMap::new(),
            first_seen: 0,
            now: Instant::ZERO,
        }
    }

    fn open(&mut self, at: usize, direction: Direction) {
        if let Some(id) = self.ends[at].open(direction) {
            self.sent.insert((at, id.as_u64()), Sent::default());
            if direction == Direction::Bidirectional {
                self.read.insert((1 - at, id.as_u64()), Read::default());
            }
        }
    }

    /// One of the halves on which `at` sends.
    fn pick(&self, at: usize, choice: usize) -> Option<StreamId> {
        let halves: Vec<_> = self.sent.keys().filter(|(from, _)| *from == at).collect();
        let (_, id) = halves.get(choice % halves.len().max(1))?;
        Some(StreamId::from_wire(*id))
    }

    fn write(&mut self, at: usize, choice: usize, len: u64) {
        let Some(id) = self.pick(at, choice) else { return };
        let Some(half) = self.sent.get_mut(&(at, id.as_u64())) else { return };
        let bytes: Vec<u8> = (half.written..half.written + len).map(|offset| byte(id, offset)).collect();
        let mut chunks = vec![Bytes::from(bytes)];
        let rest = chunks[0].split_off(len as usize / 3);
        chunks.push(rest);
        if let Ok(taken) = self.ends[at].write(id, chunks) {
            assert!(!half.finished && taken <= len);
            half.written += taken;
        }
    }

    fn finish(&mut self, at: usize, choice: usize) {
        let Some(id) = self.pick(at, choice) else { return };
        if self.ends[at].finish(id).is_ok() {
            self.sent.get_mut(&(at, id.as_u64())).unwrap().finished = true;
        }
    }

    fn reset(&mut self, at: usize, choice: usize) {
        let Some(id) = self.pick(at, choice) else { return };
        self.ends[at].reset(id, 5);
        self.sent.get_mut(&(at, id.as_u64())).unwrap().reset = true;
    }

    fn stop(&mut self, at: usize, choice: usize) {
        let Some(id) = self.pick(1 - at, choice) else { return };
        let Some(half) = self.read.get_mut(&(1 - at, id.as_u64())) else { return };
        self.ends[at].stop(id, 6);
        half.stopped = true;
    }

    fn send(&mut self, at: usize, room: usize, fresh: bool) -> bool {
        let (mut buffer, mut receipts) = (vec![0; room], Receipts::default());
        let mut writer = Writer::new(&mut buffer);
        let end = &mut self.ends[at];
        end.write_control(&mut writer, &mut receipts);
        let before = end.pending();
        let written = end.write_data(&mut writer, &mut receipts, fresh) as u64;
        let after = end.pending();
        assert!(after.repair_bytes <= before.repair_bytes && after.fresh_bytes <= before.fresh_bytes);
        assert!(written <= before.repair_bytes + before.fresh_bytes);
        if receipts.is_empty() {
            return false;
        }
        let (bytes, receipts) = (writer.written().to_vec(), receipts.as_slice().to_vec());
        self.flying.push(Packet { from: at, bytes, receipts, arrived: false });
        true
    }

    /// The packet arrives; it may do so again.
    fn arrive(&mut self, choice: usize) {
        if self.flying.is_empty() {
            return;
        }
        let index = choice % self.flying.len();
        let packet = &mut self.flying[index];
        packet.arrived = true;
        let end = &mut self.ends[1 - packet.from];
        for frame in Frames::new(&packet.bytes) {
            match frame.unwrap().1 {
                Frame::Stream { id, offset, fin, data } => {
                    self.first_seen += end.on_stream(id, offset, data, fin).unwrap();
                }
                Frame::ResetStream { id, code, final_size } => {
                    end.on_reset_stream(id, code, final_size).unwrap();
                }
                Frame::StopSending { id, code } => end.on_stop_sending(id, code).unwrap(),
                Frame::MaxData(max) => end.on_max_data(max),
                Frame::MaxStreamData { id, max } => end.on_max_stream_data(id, max).unwrap(),
                Frame::MaxStreams { direction, max } => end.on_max_streams(direction, max).unwrap(),
                Frame::DataBlocked(_) => end.on_data_blocked(),
                Frame::StreamDataBlocked { id, .. } => end.on_stream_data_blocked(id).unwrap(),
                Frame::StreamsBlocked { direction, limit } => {
                    end.on_streams_blocked(direction, limit).unwrap();
                }
                frame => panic!("{frame:?}"),
            }
        }
    }

    /// The sender hears of the packet: acknowledged if it arrived, else lost.
    fn settle(&mut self, choice: usize) {
        if self.flying.is_empty() {
            return;
        }
        let packet = self.flying.swap_remove(choice % self.flying.len());
        let end = &mut self.ends[packet.from];
        for receipt in &packet.receipts {
            if packet.arrived {
                end.on_acked(receipt);
            } else {
                end.on_lost(receipt);
            }
        }
    }

    fn overdue(&mut self, choice: usize) {
        if !self.flying.is_empty() {
            let packet = &self.flying[choice % self.flying.len()];
            packet.receipts.iter().for_each(|receipt| self.ends[packet.from].on_overdue(receipt));
        }
    }

    /// Serves all events of one end, reading whatever is readable.
    fn serve(&mut self, at: usize) {
        self.now += RTT;
        while let Some(event) = self.ends[at].next_event() {
            match event {
                Event::StreamOpened(id) => {
                    self.read.insert((1 - at, id.as_u64()), Read::default());
                    if id.direction() == Direction::Bidirectional {
                        self.sent.insert((at, id.as_u64()), Sent::default());
                    }
                }
                Event::Readable(id) => self.drain(at, id),
                Event::Stopped { stream, .. } => {
                    self.sent.get_mut(&(at, stream.as_u64())).unwrap().reset = true;
                }
                Event::Finished(_) | Event::Writable(_) | Event::StreamsAvailable => {}
                event => panic!("{event:?}"),
            }
        }
    }

    fn drain(&mut self, at: usize, id: StreamId) {
        let half = self.read.get_mut(&(1 - at, id.as_u64())).unwrap();
        loop {
            let (len, fin) = match self.ends[at].read(id) {
                Ok(slices) => {
                    let offsets = half.bytes..;
                    let right = slices.first.iter().chain(slices.second).zip(offsets);
                    right.for_each(|(&read, offset)| assert_eq!(read, byte(id, offset)));
                    (slices.len(), slices.fin)
                }
                Err(ReadError::Reset(_)) => {
                    half.reset = true;
                    return;
                }
                Err(ReadError::UnknownStream) => panic!("{id:?} cannot be read"),
            };
            half.bytes += len as u64;
            half.fin |= fin;
            if len == 0 || half.fin {
                self.ends[at].consume(id, len, self.now, RTT);
                return;
            }
            assert_eq!(self.ends[at].consume(id, len, self.now, RTT), len);
        }
    }

    fn audit(&self) {
        self.ends.iter().for_each(|end| end.audit().unwrap());
    }

    /// Nothing is lost any more: everything that is under way gets there.
    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            let mut busy = !self.flying.is_empty();
            for at in [0, 1] {
                busy |= self.ends[at].has_event();
                self.serve(at);
                busy |= self.send(at, 1200, true);
            }
            while !self.flying.is_empty() {
                self.arrive(0);
                self.settle(0);
            }
            self.audit();
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest: {:?}", self.ends);
    }

    fn check(&self) {
        for (key, sent) in &self.sent {
            let Some(read) = self.read.get(key) else {
                assert!(!sent.finished && !sent.reset && sent.written == 0, "{key:?} was never seen");
                continue;
            };
            assert!(read.bytes <= sent.written);
            if !sent.reset && !read.stopped {
                assert_eq!(
                    (read.bytes, read.fin, read.reset),
                    (sent.written, sent.finished, false),
                    "{key:?}"
                );
            }
            if read.fin {
                assert!(sent.finished && read.bytes == sent.written, "{key:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open(usize, bool),
    Write(usize, usize, u64),
    Finish(usize, usize),
    Reset(usize, usize),
    Stop(usize, usize),
    Send(usize, usize, bool),
    Arrive(usize),
    Settle(usize),
    Overdue(usize),
    Serve(usize),
}

fn step(rough: u32) -> impl Strategy<Value = Step> {
    let end = || 0..2usize;
    let choice = || 0..1000usize;
    prop_oneof![
        3 => (end(), any::<bool>()).prop_map(|(at, uni)| Step::Open(at, uni)),
        8 => (end(), choice(), 0..4000u64).prop_map(|(at, choice, len)| Step::Write(at, choice, len)),
        2 => (end(), choice()).prop_map(|(at, choice)| Step::Finish(at, choice)),
        rough => (end(), choice()).prop_map(|(at, choice)| Step::Reset(at, choice)),
        rough => (end(), choice()).prop_map(|(at, choice)| Step::Stop(at, choice)),
        16 => (end(), 40..1500usize, any::<bool>()).prop_map(|(at, room, fresh)| Step::Send(at, room, fresh)),
        12 => choice().prop_map(Step::Arrive),
        10 => choice().prop_map(Step::Settle),
        3 => choice().prop_map(Step::Overdue),
        4 => end().prop_map(Step::Serve),
    ]
}

fn play(steps: Vec<Step>) -> World {
    let mut world = World::new();
    for step in steps {
        match step {
            Step::Open(at, false) => world.open(at, Direction::Bidirectional),
            Step::Open(at, true) => world.open(at, Direction::Unidirectional),
            Step::Write(at, choice, len) => world.write(at, choice, len),
            Step::Finish(at, choice) => world.finish(at, choice),
            Step::Reset(at, choice) => world.reset(at, choice),
            Step::Stop(at, choice) => world.stop(at, choice),
            Step::Send(at, room, fresh) => drop(world.send(at, room, fresh)),
            Step::Arrive(choice) => world.arrive(choice),
            Step::Settle(choice) => world.settle(choice),
            Step::Overdue(choice) => world.overdue(choice),
            Step::Serve(at) => world.serve(at),
        }
        world.audit();
    }
    world.come_to_rest();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_whatever_the_network_does(steps in prop::collection::vec(step(0), 1..300)) {
        let world = play(steps);
        world.check();
        let written: u64 = world.sent.values().map(|half| half.written).sum();
        prop_assert_eq!(world.first_seen, written, "each byte counts as new once");
    }

    #[test]
    fn resets_and_stops_leave_the_other_streams_whole(steps in prop::collection::vec(step(1), 1..300)) {
        let mut world = play(steps);
        world.check();
        for at in [0, 1, 0] {
            for choice in 0..40 {
                world.reset(at, choice);
                world.stop(at, choice);
            }
            world.come_to_rest(); // now the other end knows all streams
        }
        let open = world.ends.iter().map(|end| end.slots.len()).sum::<usize>();
        prop_assert_eq!(open, 0, "every stream is over, and nothing of it is left");
    }
}
