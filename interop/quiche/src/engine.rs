//! Many quiche connections on one socket and one thread.
//!
//! Owns the socket, the buffers, the table of connection IDs and the deadlines. What streams carry is the
//! application's: it is asked for every connection that changed, before packets leave.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use interop_race::{DATAGRAM_BYTES, Failure, socket};
use quiche::{Config, Connection, ConnectionId, Header, RecvInfo, Type};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slab::Slab;

/// Octets of our connection IDs.
const CID_LEN: usize = 16;
/// Segments of a train: what fits the longest UDP datagram.
const TRAIN_MAX: usize = 44;
/// What a batch of GRO may hold.
const RECEIVE_BYTES: usize = 64 << 10;
/// Batches that are received before packets leave again.
const BATCHES_MAX: usize = 4;

/// A connection's place.
pub(crate) type Key = usize;

/// What connections are for.
pub(crate) trait Application {
    /// Something may have changed: reads, writes, opens and closes.
    fn on_turn(&mut self, key: Key, connection: &mut Connection);

    /// The connection is gone.
    fn on_gone(&mut self, key: Key);
}

/// All connections of a program.
pub(crate) struct Engine {
    port: Port,
    config: Config,
    /// Are connections of strangers accepted?
    serves: bool,
    connections: Slab<Entry>,
    ids: HashMap<[u8; CID_LEN], Key>,
    /// The IDs that clients chose for their first packets.
    chosen: HashMap<Vec<u8>, Key>,
    deadlines: BinaryHeap<Reverse<(Instant, Key)>>,
    changed: Vec<Key>,
}

struct Entry {
    connection: Connection,
    id: [u8; CID_LEN],
    chosen: Option<Vec<u8>>,
    /// The earliest deadline that stands in the heap.
    due: Option<Instant>,
    changed: bool,
}

/// The socket and what it needs.
struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    train: Vec<u8>,
}

/// Buffers for a batch of datagrams.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; RECEIVE_BYTES * BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE] }
    }
}

impl Engine {
    pub(crate) fn new(local: SocketAddr, config: Config, serves: bool) -> Result<Self, Failure> {
        let socket = socket(local)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        let port = Port { socket, state, local, train: vec![0; TRAIN_MAX * usize::from(DATAGRAM_BYTES)] };
        Ok(Self {
            port,
            config,
            serves,
            connections: Slab::new(),
            ids: HashMap::new(),
            chosen: HashMap::new(),
            deadlines: BinaryHeap::new(),
            changed: Vec::new(),
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.port.local
    }

    /// Begins a connection, with what was kept of one before.
    pub(crate) fn connect(
        &mut self,
        name: &str,
        to: SocketAddr,
        session: Option<&[u8]>,
    ) -> Result<Key, Failure> {
        let id = new_id()?;
        let local = self.port.local;
        let source = ConnectionId::from_ref(&id);
        let mut connection = quiche::connect(Some(name), &source, local, to, &mut self.config)?;
        if let Some(session) = session {
            connection.set_session(session)?;
        }
        Ok(self.insert(connection, id, None))
    }

    pub(crate) fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        self.connections.get_mut(key).map(|entry| &mut entry.connection)
    }

    /// Has this connection visited in the next turn.
    pub(crate) fn touch(&mut self, key: Key) {
        let entry = &mut self.connections[key];
        if !std::mem::replace(&mut entry.changed, true) {
            self.changed.push(key);
        }
    }

    fn insert(&mut self, connection: Connection, id: [u8; CID_LEN], chosen: Option<Vec<u8>>) -> Key {
        let entry = Entry { connection, id, chosen: chosen.clone(), due: None, changed: false };
        let key = self.connections.insert(entry);
        self.ids.insert(id, key);
        if let Some(chosen) = chosen {
            self.chosen.insert(chosen, key);
        }
        self.touch(key);
        key
    }

    /// Visits what changed, waits for the next event or `limit`, and takes it in.
    pub(crate) fn turn(
        &mut self,
        application: &mut impl Application,
        batch: &mut Batch,
        limit: Duration,
    ) -> Result<(), Failure> {
        for key in std::mem::take(&mut self.changed) {
            self.visit(key, application)?;
        }
        self.wait(limit)?;
        for _ in 0..BATCHES_MAX {
            if !self.receive(batch)? {
                break;
            }
        }
        self.expire();
        Ok(())
    }

    fn visit(&mut self, key: Key, application: &mut impl Application) -> Result<(), Failure> {
        let entry = &mut self.connections[key];
        entry.changed = false;
        if !entry.connection.is_closed() {
            application.on_turn(key, &mut entry.connection);
            self.port.send(&mut entry.connection)?;
        }
        if entry.connection.is_closed() {
            let entry = self.connections.remove(key);
            self.ids.remove(&entry.id);
            if let Some(chosen) = entry.chosen {
                self.chosen.remove(&chosen);
            }
            application.on_gone(key);
            return Ok(());
        }
        let due = entry.connection.timeout_instant();
        // An earlier entry of the heap finds the later deadline when its time comes.
        if let Some(at) = due
            && entry.due.is_none_or(|known| at < known)
        {
            entry.due = due;
            self.deadlines.push(Reverse((at, key)));
        }
        Ok(())
    }

    fn wait(&self, limit: Duration) -> Result<(), Failure> {
        let now = Instant::now();
        let next = self.deadlines.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
        let limit =
            if self.changed.is_empty() { next.map_or(limit, |next| next.min(limit)) } else { Duration::ZERO };
        self.port.wait(PollFlags::IN, Some(limit))?;
        Ok(())
    }

    /// Takes one batch in; says whether it was full.
    fn receive(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        let mut slices = batch.bytes.chunks_mut(RECEIVE_BYTES).map(IoSliceMut::new).collect::<Vec<_>>();
        let socket = UdpSockRef::from(&self.port.socket);
        let count = match self.port.state.recv(socket, &mut slices, &mut batch.metas) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for (buffer, meta) in batch.bytes.chunks_mut(RECEIVE_BYTES).zip(&batch.metas[..count]) {
            for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                self.datagram(datagram, meta.addr)?;
            }
        }
        Ok(count == BATCH_SIZE)
    }

    fn datagram(&mut self, bytes: &mut [u8], from: SocketAddr) -> Result<(), Failure> {
        let Some(key) = self.find(bytes, from)? else { return Ok(()) };
        // What quiche dislikes about a packet it tells the peer itself.
        let _ = self.connections[key].connection.recv(bytes, RecvInfo { from, to: self.port.local });
        self.touch(key);
        Ok(())
    }

    /// The connection of a datagram; a new one, if it begins one.
    fn find(&mut self, bytes: &mut [u8], from: SocketAddr) -> Result<Option<Key>, Failure> {
        if let [first, rest @ ..] = &*bytes
            && first & 0x80 == 0
        {
            return Ok(rest.first_chunk::<CID_LEN>().and_then(|id| self.ids.get(id).copied()));
        }
        let Ok(header) = Header::from_slice(bytes, CID_LEN) else { return Ok(None) };
        let known = <&[u8; CID_LEN]>::try_from(&*header.dcid).ok().and_then(|id| self.ids.get(id));
        if let Some(key) = known.or_else(|| self.chosen.get(&*header.dcid)) {
            return Ok(Some(*key));
        }
        if !self.serves || header.ty != Type::Initial {
            return Ok(None);
        }
        let id = new_id()?;
        let source = ConnectionId::from_ref(&id);
        let connection = quiche::accept(&source, None, self.port.local, from, &mut self.config)?;
        Ok(Some(self.insert(connection, id, Some(header.dcid.to_vec()))))
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, key))) = self.deadlines.peek() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            // The place may be another connection's by now, or the deadline may have moved.
            let Some(entry) = self.connections.get_mut(key).filter(|entry| entry.due == Some(at)) else {
                continue;
            };
            entry.due = None;
            if entry.connection.timeout_instant().is_some_and(|due| due <= now) {
                entry.connection.on_timeout();
            }
            self.touch(key);
        }
    }
}

impl Port {
    /// Sends all that a connection has to send, in trains.
    fn send(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let full = usize::from(DATAGRAM_BYTES);
        let (mut start, mut end, mut segment) = (0, 0, 0);
        let mut to = self.local;
        loop {
            if end + full > self.train.len() {
                self.leave(start..end, segment, to)?;
                (start, end, segment) = (0, 0, 0);
            }
            let Ok((len, info)) = connection.send(&mut self.train[end..end + full]) else { break };
            if start < end && (len > segment || info.to != to) {
                // It is no part of this train, and begins one.
                self.leave(start..end, segment, to)?;
                start = end;
            }
            if start == end {
                segment = len;
                to = info.to;
            }
            end += len;
            if len < segment {
                self.leave(start..end, segment, to)?;
                (start, end, segment) = (0, 0, 0);
            }
        }
        self.leave(start..end, segment, to)
    }

    fn leave(
        &self,
        range: std::ops::Range<usize>,
        segment: usize,
        destination: SocketAddr,
    ) -> Result<(), Failure> {
        if range.is_empty() {
            return Ok(());
        }
        let contents = &self.train[range];
        let transmit =
            Transmit { destination, ecn: None, contents, segment_size: Some(segment), src_ip: None };
        loop {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::OUT, None)?,
                // The other end is gone; its connection will find out.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self, flags: PollFlags, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&self.socket, flags)], limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn new_id() -> Result<[u8; CID_LEN], Failure> {
    let mut id = [0; CID_LEN];
    boring::rand::rand_bytes(&mut id)?;
    Ok(id)
}
