//! The workloads over quiche.
//!
//! Owns the course of a run: prepare, say `ready`, go, say what came of it. What differs between the workloads is
//! done when a connection is visited.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use interop_race::conversation::{Conversation, Heard};
use interop_race::options::ClientOptions;
use interop_race::outcome::Tally;
use interop_race::server::zeros;
use interop_race::workload::Workload;
use interop_race::{Failure, Unsupported, tls};
use quiche::Connection;

use crate::engine::{Application, Batch, Engine, Key};

/// Connections that are being made at once when many are prepared.
const PREPARED_AT_ONCE: usize = 16;
/// How often to look whether the runner said something.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What is late is lost: a datagram, a ticket, a whole handshake.
const DATAGRAM_LIMIT: Duration = Duration::from_millis(50);
const TICKET_LIMIT: Duration = Duration::from_secs(2);
/// What is read of a stream at once.
const READ_BYTES: usize = 64 << 10;

/// Does a client's workload.
pub fn drive(options: &ClientOptions) -> Result<(), Failure> {
    let local = if options.target.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let mut config = crate::tuned(crate::tls()?)?;
    config.verify_peer(false);
    let engine = Engine::new((local, 0).into(), config, false)?;
    let client = Client::new(options.workload);
    Run { engine, client, batch: Batch::new(), talk: Conversation::new(), target: options.target }.run()
}

struct Run {
    engine: Engine,
    client: Client,
    batch: Batch,
    talk: Conversation,
    target: SocketAddr,
}

impl Run {
    fn run(mut self) -> Result<(), Failure> {
        self.prepare()?;
        self.talk.say_ready();
        loop {
            self.turn()?;
            match self.talk.heard() {
                Heard::Line => break,
                Heard::Nothing => {}
                Heard::End if matches!(self.client.workload, Workload::Idle { .. }) => return Ok(()),
                Heard::End => return Err("the input ended before there was a line to go".into()),
            }
        }
        if let Some(time) = self.client.workload.time() {
            self.client.tally = Tally::new();
            self.client.until = Some(Instant::now() + time);
            self.work()?;
            self.talk.tell(&self.client.tally.outcome())?;
        }
        while self.talk.heard() != Heard::End {
            self.turn()?;
        }
        for key in self.client.links.keys().copied().collect::<Vec<_>>() {
            if let Some(connection) = self.engine.connection(key) {
                let _ = connection.close(true, 0, b"done");
            }
            self.engine.touch(key);
        }
        self.turn()
    }

    fn turn(&mut self) -> Result<(), Failure> {
        self.engine.turn(&mut self.client, &mut self.batch, LOOK_EVERY)?;
        self.client.failure.take().map_or(Ok(()), Err)
    }

    fn connect(&mut self, session: Option<&[u8]>) -> Result<(), Failure> {
        let key = self.engine.connect(tls::SERVER_NAME, self.target, session)?;
        self.client.links.insert(key, Box::new(Peer::new(session.is_some())));
        Ok(())
    }

    /// Makes all connections that a workload has from its beginning, or one to get tickets from.
    fn prepare(&mut self) -> Result<(), Failure> {
        let count = match self.client.workload {
            Workload::Transfer { connections, .. } | Workload::Idle { connections } => connections as usize,
            Workload::Datagrams { .. } => 1,
            Workload::Handshakes { resumed, at_once, .. } => {
                return self.prepare_tickets(resumed, at_once as usize);
            }
        };
        loop {
            let open = self.client.links.values().filter(|peer| peer.established).count();
            if open == count {
                break;
            }
            while self.client.links.len() < count.min(open + PREPARED_AT_ONCE) {
                self.connect(None)?;
            }
            self.turn()?;
        }
        if let Workload::Datagrams { size, .. } = self.client.workload {
            let key = self.client.links.keys().copied().next();
            let connection =
                key.and_then(|key| self.engine.connection(key)).ok_or("the connection is gone")?;
            let max = connection.dgram_max_writable_len();
            if max.is_none_or(|max| max < size as usize) {
                return Err(Unsupported("the server takes no such datagrams".to_owned()).into());
            }
        }
        Ok(())
    }

    fn prepare_tickets(&mut self, resumed: bool, count: usize) -> Result<(), Failure> {
        let late = Instant::now() + TICKET_LIMIT;
        while resumed && self.client.sessions.len() < count {
            while self.client.links.len() + self.client.sessions.len() < count {
                self.connect(None)?;
            }
            self.turn()?;
            if Instant::now() > late {
                return Err(Unsupported("the server sends no tickets".to_owned()).into());
            }
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), Failure> {
        let keys = self.client.links.keys().copied().collect::<Vec<_>>();
        keys.into_iter().for_each(|key| self.engine.touch(key));
        while !self.client.is_done() {
            if let Workload::Handshakes { resumed, at_once, .. } = self.client.workload {
                while self.client.goes_on() && self.client.links.len() < at_once as usize {
                    let session = if resumed { self.client.sessions.pop() } else { None };
                    self.connect(session.as_deref())?;
                }
            }
            if let Workload::Datagrams { .. } = self.client.workload
                && self.client.heard_at.elapsed() > DATAGRAM_LIMIT
            {
                self.client.under_way = 0; // lost, all of them
                self.client.heard_at = Instant::now();
                let keys = self.client.links.keys().copied().collect::<Vec<_>>();
                keys.into_iter().for_each(|key| self.engine.touch(key));
            }
            self.turn()?;
        }
        if matches!(self.client.workload, Workload::Datagrams { .. })
            && self.client.tally.outcome().operations == 0
        {
            return Err(Unsupported("the server returns no datagrams".to_owned()).into());
        }
        Ok(())
    }
}

struct Client {
    workload: Workload,
    /// Set when the work has begun.
    until: Option<Instant>,
    tally: Tally,
    /// Connections of which the work still wants something.
    links: HashMap<Key, Box<Peer>>,
    /// What is kept for resumption.
    sessions: Vec<Vec<u8>>,
    under_way: u32,
    heard_at: Instant,
    buffer: Vec<u8>,
    failure: Option<Failure>,
}

struct Peer {
    begin: Instant,
    established: bool,
    with_ticket: bool,
    next_stream: u64,
    requests: HashMap<u64, Request>,
}

struct Request {
    begin: Instant,
    received: u64,
    to_send: u64,
}

impl Peer {
    fn new(with_ticket: bool) -> Self {
        Self {
            begin: Instant::now(),
            established: false,
            with_ticket,
            next_stream: 0,
            requests: HashMap::new(),
        }
    }
}

impl Application for Client {
    fn on_turn(&mut self, key: Key, connection: &mut Connection) {
        let Some(mut peer) = self.links.remove(&key) else { return };
        if !connection.is_established() {
            self.links.insert(key, peer);
            return;
        }
        let just_now = !std::mem::replace(&mut peer.established, true);
        let keep = match self.workload {
            Workload::Handshakes { resumed, .. } => self.shake(&mut peer, connection, just_now, resumed),
            Workload::Transfer { download, upload, streams, .. } => {
                self.transfer(&mut peer, connection, download, upload, streams as usize);
                true
            }
            Workload::Datagrams { size, at_once, .. } => {
                self.datagrams(connection, size, at_once);
                true
            }
            Workload::Idle { .. } => true,
        };
        if keep {
            self.links.insert(key, peer);
        } else {
            let _ = connection.close(true, 0, b"done");
        }
    }

    fn on_gone(&mut self, key: Key) {
        if self.links.remove(&key).is_some() {
            self.failure = Some("a connection was lost".into());
        }
    }
}

impl Client {
    fn new(workload: Workload) -> Self {
        Self {
            workload,
            until: None,
            tally: Tally::new(),
            links: HashMap::new(),
            sessions: Vec::new(),
            under_way: 0,
            heard_at: Instant::now(),
            buffer: vec![0; READ_BYTES],
            failure: None,
        }
    }

    fn goes_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Is nothing wanted any more?
    fn is_done(&self) -> bool {
        let open = match self.workload {
            Workload::Handshakes { .. } => !self.links.is_empty(),
            _ => self.links.values().any(|peer| !peer.requests.is_empty()),
        };
        !open && !self.goes_on()
    }

    /// Is the connection still needed?
    fn shake(&mut self, peer: &mut Peer, connection: &Connection, just_now: bool, resumed: bool) -> bool {
        if just_now && self.until.is_some() {
            let was_resumed = peer.with_ticket && connection.is_resumed();
            self.tally.on_handshake(was_resumed, peer.begin.elapsed());
        }
        if !resumed {
            return false;
        }
        match connection.session() {
            Some(session) => {
                self.sessions.push(session.to_vec());
                false
            }
            None => true,
        }
    }

    fn transfer(
        &mut self,
        peer: &mut Peer,
        connection: &mut Connection,
        download: u64,
        upload: u64,
        streams: usize,
    ) {
        for stream in connection.readable() {
            let Some(request) = peer.requests.get_mut(&stream) else { continue };
            while let Ok((len, fin)) = connection.stream_recv(stream, &mut self.buffer) {
                request.received += len as u64;
                if !fin {
                    continue;
                }
                if request.received != download {
                    let received = request.received;
                    self.failure = Some(format!("asked for {download} bytes and got {received}").into());
                }
                self.tally.on_done(download + upload, request.begin.elapsed());
                peer.requests.remove(&stream);
                break;
            }
        }
        while peer.requests.len() < streams && self.goes_on() {
            let stream = peer.next_stream;
            if connection.stream_send(stream, &download.to_be_bytes(), upload == 0).is_err() {
                break; // the server allows no more for now
            }
            peer.next_stream += 4;
            peer.requests.insert(stream, Request { begin: Instant::now(), received: 0, to_send: upload });
        }
        if upload > 0 {
            peer.requests.iter_mut().for_each(|(stream, request)| request.write(connection, *stream));
        }
    }

    fn datagrams(&mut self, connection: &mut Connection, size: u32, at_once: u32) {
        while let Ok(len) = connection.dgram_recv(&mut self.buffer) {
            self.under_way = self.under_way.saturating_sub(1);
            self.heard_at = Instant::now();
            if self.until.is_some() {
                self.tally.on_done(2 * len as u64, Duration::ZERO);
            }
        }
        while self.under_way < at_once && self.goes_on() {
            if connection.dgram_send(&zeros(size.into())).is_err() {
                break;
            }
            self.under_way += 1;
        }
    }
}

impl Request {
    fn write(&mut self, connection: &mut Connection, stream: u64) {
        while self.to_send > 0 {
            let chunk = zeros(self.to_send);
            let last = chunk.len() as u64 == self.to_send;
            let Ok(len) = connection.stream_send(stream, &chunk, last) else { return };
            self.to_send -= len as u64;
            if len < chunk.len() {
                return;
            }
        }
    }
}
