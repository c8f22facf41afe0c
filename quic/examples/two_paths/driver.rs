//! Joins an endpoint to ordinary UDP sockets: what every program that embeds one has in some form.
//!
//! A turn is: datagrams in, timers, events (and whatever the application does about them), datagrams out. Then sleep until
//! a datagram arrives or the endpoint's deadline. One thread; no call blocks but `wait`.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use braid_quic::{
    ConnectionKey, Ecn, Endpoint, EndpointConfig, Event, Fate, Instant, LocalId, Outbox, PathStats, Received,
    RouteId, Train, TrainTag, Transmitted,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Outcome, random, tell};

/// Read from a socket before others have their turn.
const DATAGRAMS_A_TURN: usize = 64;

/// An endpoint and its sockets.
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    pub(crate) endpoint: Endpoint,
    sockets: Sockets,
    receive_buffer: Vec<u8>,
    /// There is more to do at once, without waiting.
    busy: bool,
    /// Last numbers of each path.
    pub(crate) final_numbers: Vec<PathStats>,
    /// The latest event.
    last_event: Option<Event>,
}

impl Driver {
    /// Opens a socket for each address. A `LocalId` names them to the endpoint: here it is the index.
    pub(crate) fn new(config: EndpointConfig, addresses: &[&str]) -> Outcome<Self> {
        let sockets = addresses.iter().map(|address| {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Some(socket))
        });
        Ok(Self {
            name: if config.server.is_some() { "server" } else { "client" },
            endpoint: Endpoint::new(config, random()?),
            sockets: Sockets {
                open: sockets.collect::<Outcome<_>>()?,
                buffer: vec![0; 65_507],
                fates: Vec::new(),
            },
            receive_buffer: vec![0; 65_535],
            busy: false,
            final_numbers: Vec::new(),
            last_event: None,
        })
    }

    /// First half of a turn: datagrams in, then timers. Afterwards there may be events.
    pub(crate) fn take_in(&mut self, now: Instant) -> Outcome<()> {
        self.busy = false;
        for (index, socket) in self.sockets.open.iter().enumerate() {
            let Some(socket) = socket else { continue };
            let local_id = LocalId(index as u16);
            let local = socket.local_addr()?;
            for _ in 0..DATAGRAMS_A_TURN {
                // `WouldBlock` says that nothing is left; other errors are about something that was sent before.
                let Ok((len, from)) = socket.recv_from(&mut self.receive_buffer) else { break };
                let received = Received {
                    bytes: &mut self.receive_buffer[..len],
                    segment_size: len, // one datagram; several with UDP_GRO
                    route: RouteId::new(local_id, local, from),
                    ecn: Ecn::NotEct, // the standard library does not tell
                };
                self.endpoint.receive(received, now);
            }
        }
        self.endpoint.on_deadline(now);
        Ok(())
    }

    /// The next event, printed.
    pub(crate) fn next_event(&mut self, now: Instant) -> Option<(ConnectionKey, Event)> {
        let (key, event) = self.endpoint.next_event()?;
        // Reading and writing go on and on: only the first of a row is told.
        let often = matches!(event, Event::Readable(_) | Event::Writable(_));
        if !often || self.last_event.as_ref() != Some(&event) {
            tell(self.name, now, &event);
        }
        match &event {
            Event::PathClosed { stats } => self.final_numbers.push((**stats).clone()),
            // The paths that live until the end have no `PathClosed`, but a closed connection still answers.
            Event::Closed(_) => {
                if let Some(connection) = self.endpoint.connection(key, now) {
                    let numbers = connection.paths().filter_map(|path| connection.path_stats(path));
                    self.final_numbers.extend(numbers);
                }
            }
            _ => {}
        }
        self.last_event = Some(event.clone());
        Some((key, event))
    }

    /// Second half of a turn: datagrams out, and back what became of them.
    pub(crate) fn put_out(&mut self, now: Instant) {
        self.busy = self.endpoint.transmit(&mut self.sockets, now) == Transmitted::BudgetSpent;
        for (tag, fate) in self.sockets.fates.drain(..) {
            self.endpoint.on_fate(tag, fate, now);
            self.busy = true;
        }
    }

    /// Was there a connection, and is it gone? (A closed one answers late packets for a while.)
    pub(crate) fn is_over(&self) -> bool {
        self.last_event == Some(Event::Gone)
    }

    /// A socket is gone, with its interface or address: what ran over it goes on elsewhere.
    pub(crate) fn lose(&mut self, local: LocalId, now: Instant) {
        self.sockets.open[usize::from(local.0)] = None;
        self.endpoint.local_gone(local, now);
    }

    pub(crate) fn address(&self, local: LocalId) -> Outcome<SocketAddr> {
        let socket = self.sockets.open[usize::from(local.0)].as_ref();
        Ok(socket.ok_or("this socket is closed")?.local_addr()?)
    }
}

/// Where an endpoint puts what it sends.
struct Sockets {
    /// By `LocalId`; `None` for one that was lost.
    open: Vec<Option<UdpSocket>>,
    buffer: Vec<u8>,
    /// Trains that did not leave, and why.
    fates: Vec<(TrainTag, Fate)>,
}

impl Outbox for Sockets {
    fn buffer(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.buffer)
    }

    /// Sends a train, datagram by datagram. Where speed matters, `UDP_SEGMENT` sends it in one call, as `udp-uring` does.
    fn send(&mut self, train: Train) {
        let Some(socket) = &self.open[usize::from(train.local_id.0)] else {
            return self.fates.push((train.tag, Fate::Unreachable));
        };
        for datagram in self.buffer[..train.bytes].chunks(train.segment_size) {
            let Err(error) = socket.send_to(datagram, train.remote) else { continue };
            let fate = match error.kind() {
                ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Fate::Unreachable,
                _ if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => Fate::TooBig,
                _ => Fate::NoRoom, // what is lost will be noticed and repaired
            };
            return self.fates.push((train.tag, fate));
        }
    }
}

/// Sleeps until a datagram arrives or an endpoint has something to do.
pub(crate) fn wait(drivers: [&mut Driver; 2], now: Instant) -> Outcome<()> {
    let mut wake_at = now + Duration::from_millis(100); // to look whether patience has run out
    let mut sockets = Vec::new();
    for driver in drivers {
        wake_at = wake_at.min(driver.endpoint.deadline().unwrap_or(Instant::NEVER));
        wake_at = if driver.busy { now } else { wake_at };
        let open = driver.sockets.open.iter().flatten();
        sockets.extend(open.map(|socket| PollFd::new(socket, PollFlags::IN)));
    }
    match poll(&mut sockets, Some(&Timespec::try_from(wake_at.since(now))?)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
