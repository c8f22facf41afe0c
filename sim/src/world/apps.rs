//! The applications at both ends: a client that asks for bytes, a server that gives them.
//!
//! Owns the request format of `perf`: 8 octets, big endian, of how much the client wants, then its upload; the server
//! answers with that much. Owns which link carries which path on the client. Checks that what was asked is what came.

use std::collections::{BTreeMap, VecDeque};

use braid_quic::{
    ConnectionGuard, ConnectionKey, Direction, Event, Instant, PathError, PathId, RouteId, StreamId,
};
use bytes::Bytes;

use super::book::TransferId;
use super::ledger::Ledger;
use super::transfer::{Incoming, Outgoing};
use crate::network::{LinkId, Way};

const REQUEST_BYTES: usize = 8;

/// How much goes which way on one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) upload_bytes: u64,
    pub(crate) download_bytes: u64,
    /// Whose part it is.
    pub(crate) transfer: Option<TransferId>,
}

/// The client: opens paths and streams, reads replies.
#[derive(Debug, Default)]
pub(crate) struct ClientApp {
    connected: bool,
    confirmed: bool,
    /// Transfers that wait for the handshake or for stream credit.
    wishes: VecDeque<Wish>,
    transfers: BTreeMap<StreamId, ClientTransfer>,
    /// Links that wait to be opened as paths, in order.
    links: VecDeque<(LinkId, RouteId)>,
    paths: Vec<(LinkId, PathId)>,
    /// Links whose paths the server is to use only as a backup; it is told with the path's first packets.
    backups: Vec<LinkId>,
}

#[derive(Debug)]
struct ClientTransfer {
    wish: Wish,
    request: Outgoing,
    reply: Incoming,
}

impl ClientApp {
    pub(crate) fn wish(&mut self, wish: Wish) {
        self.wishes.push_back(wish);
    }

    pub(crate) fn open_link(&mut self, link: LinkId, route: RouteId) {
        self.links.push_back((link, route));
    }

    /// Advises the server to use the paths of these links only as a backup.
    pub(crate) fn keep_back(&mut self, links: &[LinkId]) {
        self.backups.extend_from_slice(links);
    }

    /// The path of the handshake runs over this link.
    pub(crate) fn on_started(&mut self, link: LinkId) {
        self.paths.push((link, PathId::ZERO));
    }

    /// A path is to run over another link.
    pub(crate) fn on_migrated(&mut self, path: PathId, link: LinkId) {
        self.paths.retain(|(_, other)| *other != path);
        self.paths.push((link, path));
    }

    /// The path opened last on a link.
    pub(crate) fn path_on(&self, link: LinkId) -> Option<PathId> {
        self.paths.iter().rev().find(|(on, _)| *on == link).map(|(_, path)| *path)
    }

    /// Every path that was asked for is opened, and these are all.
    pub(crate) fn opened_paths(&self) -> Option<impl Iterator<Item = PathId>> {
        let opened = self.confirmed && self.links.is_empty();
        opened.then(|| self.paths.iter().map(|(_, path)| *path))
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Nothing is left to transfer and no link waits to be opened.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.wishes.is_empty() && self.transfers.is_empty() && self.links.is_empty()
    }

    pub(crate) fn on_event(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        event: &Event,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        match event {
            Event::Connected { .. } => self.connected = true,
            Event::Confirmed => {
                self.confirmed = true;
                self.advise(connection, PathId::ZERO)?;
            }
            Event::Readable(stream) => self.on_readable(connection, *stream, ledger, now)?,
            Event::Writable(stream) => {
                if let Some(transfer) = self.transfers.get_mut(stream) {
                    transfer.request.push(connection)?;
                }
                self.forget_if_done(*stream);
            }
            _ => {}
        }
        Ok(())
    }

    /// Opens what has waited, as far as the connection allows.
    pub(crate) fn on_turn(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        while self.confirmed
            && let Some((link, route)) = self.links.front()
            && let Ok(path) = connection.open_path(*route)
        {
            self.paths.push((*link, path));
            self.links.pop_front();
            self.advise(connection, path)?;
        }
        while self.connected
            && let Some(wish) = self.wishes.front().copied()
            && let Some(stream) = connection.open_stream(Direction::Bidirectional)
        {
            self.wishes.pop_front();
            ledger.on_opened(wish.transfer, stream, now);
            let wanted = Bytes::copy_from_slice(&wish.download_bytes.to_be_bytes());
            let mut request = Outgoing::new(stream, Way::Up, wanted, wish.upload_bytes);
            request.push(connection)?;
            let reply = Incoming::new(stream, Way::Down, 0);
            self.transfers.insert(stream, ClientTransfer { wish, request, reply });
        }
        Ok(())
    }

    /// Tells the server about a path that is a backup. Where multipath was not negotiated there is nothing to tell.
    fn advise(&self, connection: &mut ConnectionGuard<'_>, path: PathId) -> Result<(), String> {
        let is_backup = self.paths.iter().any(|(link, of)| *of == path && self.backups.contains(link));
        if !is_backup {
            return Ok(());
        }
        match connection.set_path_backup(path, true) {
            Ok(()) | Err(PathError::NotNegotiated) => Ok(()),
            Err(error) => Err(format!("{path:?} cannot become a backup: {error:?}")),
        }
    }

    /// Whether `on_turn` could do something: the guard marks the connection dirty, so it is taken only then.
    pub(crate) fn wants_turn(&self) -> bool {
        (self.confirmed && !self.links.is_empty()) || (self.connected && !self.wishes.is_empty())
    }

    fn on_readable(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        stream: StreamId,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        let Some(transfer) = self.transfers.get_mut(&stream) else { return Ok(()) };
        transfer.reply.pull(connection, ledger, now)?;
        let (wanted, read) = (transfer.wish.download_bytes, transfer.reply.content_read());
        if read > wanted || (transfer.reply.ended() && read < wanted) {
            return Err(format!("{stream:?} brought {read} bytes where {wanted} were asked for"));
        }
        self.forget_if_done(stream);
        Ok(())
    }

    fn forget_if_done(&mut self, stream: StreamId) {
        let done = |transfer: &ClientTransfer| transfer.reply.ended() && transfer.request.finished();
        if self.transfers.get(&stream).is_some_and(done) {
            self.transfers.remove(&stream);
        }
    }
}

/// The server: reads requests, checks uploads, writes replies.
#[derive(Debug, Default)]
pub(crate) struct ServerApp {
    serving: BTreeMap<(ConnectionKey, StreamId), Serving>,
}

#[derive(Debug)]
struct Serving {
    request: Incoming,
    reply: Option<Outgoing>,
    acknowledged: bool,
}

impl ServerApp {
    pub(crate) fn on_event(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        key: ConnectionKey,
        event: &Event,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        match *event {
            Event::StreamOpened(stream) => {
                self.serving.insert((key, stream), Serving::new(stream));
                self.on_readable(connection, key, stream, ledger, now)
            }
            Event::Readable(stream) => self.on_readable(connection, key, stream, ledger, now),
            Event::Writable(stream) => match self.serving.get_mut(&(key, stream)) {
                Some(Serving { reply: Some(reply), .. }) => reply.push(connection),
                _ => Ok(()),
            },
            Event::Finished(stream) => {
                if let Some(serving) = self.serving.get_mut(&(key, stream)) {
                    serving.acknowledged = true;
                }
                self.forget_if_done(key, stream);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// How many requests are not answered and acknowledged yet.
    pub(crate) fn open(&self) -> usize {
        self.serving.len()
    }

    /// The connection is over, and its streams with it.
    pub(crate) fn on_closed(&mut self, key: ConnectionKey) {
        self.serving.retain(|(of, _), _| *of != key);
    }

    fn on_readable(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        key: ConnectionKey,
        stream: StreamId,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        if let Some(serving) = self.serving.get_mut(&(key, stream)) {
            serving.on_readable(connection, stream, ledger, now)?;
        }
        self.forget_if_done(key, stream);
        Ok(())
    }

    fn forget_if_done(&mut self, key: ConnectionKey, stream: StreamId) {
        let done = |serving: &Serving| serving.acknowledged && serving.request.ended();
        if self.serving.get(&(key, stream)).is_some_and(done) {
            self.serving.remove(&(key, stream));
        }
    }
}

impl Serving {
    fn new(stream: StreamId) -> Self {
        Self { request: Incoming::new(stream, Way::Up, REQUEST_BYTES), reply: None, acknowledged: false }
    }

    fn on_readable(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        stream: StreamId,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<(), String> {
        self.request.pull(connection, ledger, now)?;
        if self.reply.is_some() {
            return Ok(());
        }
        let Some(wanted) = self.request.prefix() else { return Ok(()) };
        let wanted = u64::from_be_bytes(wanted.try_into().expect("a prefix has 8 octets"));
        let reply = self.reply.insert(Outgoing::new(stream, Way::Down, Bytes::new(), wanted));
        reply.push(connection)
    }
}
