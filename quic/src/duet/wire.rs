//! The virtual wire between the two ends of a `Duet`: lines with delays, and what a test does to single datagrams.
//!
//! Owns addresses, delays, cuts and the fate of each datagram. Knows no QUIC but what the ends wrote down themselves
//! (`Datagram::packets`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::address::{LocalId, RouteId};
use crate::base::time::Instant;
use crate::connection::hook::Packet;
use crate::id::Role;
use crate::wire::frame::Frame;

/// One way of the client to the server.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The client's own address.
    pub(crate) client: SocketAddr,
    /// Its address as the server sees it; change it and a NAT was rebound.
    pub(crate) outside: SocketAddr,
    /// The server's address on this line, and its interface.
    pub(crate) server: SocketAddr,
    pub(crate) server_local: LocalId,
    /// One-way delays: to the server, to the client.
    pub(crate) up: Duration,
    pub(crate) down: Duration,
    /// Nothing gets through: to the server, to the client.
    pub(crate) cut_up: bool,
    pub(crate) cut_down: bool,
}

impl Line {
    pub(crate) fn new(number: u16) -> Self {
        let client = SocketAddr::from(([10, 0, number as u8, 1], 5000));
        let delay = Duration::from_millis(10);
        Self {
            client,
            outside: client,
            server: SocketAddr::from(([10, 9, 0, 1], 443)),
            server_local: LocalId(0),
            up: delay,
            down: delay,
            cut_up: false,
            cut_down: false,
        }
    }

    /// The line as the client names it.
    pub(crate) fn at_client(&self, number: u16) -> RouteId {
        RouteId::new(LocalId(number), self.client, self.server)
    }

    /// The line as the server names it.
    pub(crate) fn at_server(&self) -> RouteId {
        RouteId::new(self.server_local, self.server, self.outside)
    }

    /// Does a datagram of the server for `remote` from `source` take this line?
    pub(crate) fn leads_to(&self, remote: SocketAddr, source: Option<IpAddr>) -> bool {
        self.outside == remote && source.is_none_or(|source| source == self.server.ip())
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) to: Role,
    /// The line it takes; `None` if none leads to its destination, and then it is lost.
    pub(crate) line: Option<u16>,
    /// As its receiver will see it.
    pub(crate) route: RouteId,
    /// Where its sender wants it to go.
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    /// What is in it, by the word of the end that wrote it. Empty for what belongs to no connection.
    pub(crate) packets: Vec<Packet>,
    pub(crate) at: Instant,
    /// Its place in the train it left with, and how many these were.
    pub(crate) segment: (usize, usize),
}

impl Datagram {
    /// All frames in it, in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame<'static>> {
        self.packets.iter().flat_map(|packet| &packet.frames)
    }

    /// Is there such a frame in it?
    pub(crate) fn carries(&self, is: impl Fn(&Frame<'static>) -> bool) -> bool {
        self.frames().any(is)
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Drop,
    /// Kept until `Duet::release`.
    Hold,
    /// Arrives twice.
    Twice,
    /// Arrives later than usual by this much, and so behind others.
    Late(Duration),
}

/// Decides about each datagram when it leaves.
pub(crate) type Filter = Box<dyn FnMut(&Datagram) -> Verdict>;
