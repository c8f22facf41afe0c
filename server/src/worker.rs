//! The loop of one worker: received buffers into `quic`, trains out of it, one turn with the kernel a round.
//!
//! Owns one `Endpoint` and one `Udp` and shares neither. Reads the clock once a turn, and bounds what a turn does.
//! Decides nothing about QUIC (`quic`), nothing about streams (the `Application`), starts no thread (`crew`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use braid_quic::{
    ConnectionKey, Ecn, Endpoint, Event, Instant, LocalId, Received, RouteId, TrainTag, Transmitted,
};
use braid_udp_uring::{Udp, UdpSocket, Wait, Waker};
use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;

use crate::forward::{Forwarder, Label};
use crate::outbox::{UdpOutbox, fate};
use crate::stats::{ConnectionView, QuicStats, WorkerStats};

/// Received buffers that one turn takes, each up to 64 KiB.
pub const BUFFERS_PER_TURN: usize = 64;

/// Parcels from other workers that one turn takes.
pub const PARCELS_PER_TURN: usize = 64;

/// Events that one turn hands to the application.
pub const EVENTS_PER_TURN: usize = 4096;

/// Commands that may wait for a worker; more are refused.
pub const COMMANDS_MAX: usize = 16;

/// What runs on top of a worker's connections: a server's application or a client.
pub trait Application {
    /// Something happened on a connection. After `Event::Gone` its key does not answer any more.
    fn on_event(&mut self, endpoint: &mut Endpoint, key: ConnectionKey, event: Event, now: Instant);

    /// Once a turn, after all events. Returns when it wants its next turn, whatever else happens.
    fn on_turn(&mut self, _endpoint: &mut Endpoint, _now: Instant) -> Option<Instant> {
        None
    }

    /// Another socket to receive on and send from. Asked for after `on_turn` until there is none; its `LocalId` is the
    /// number of those that the worker has already, so it may be used in that very turn.
    #[inline]
    fn take_socket(&mut self) -> Option<UdpSocket> {
        None
    }

    /// Does the link between this local socket and this peer work? `false` drops datagrams of both directions below
    /// QUIC, so that neither end is told.
    #[inline]
    fn passes(&self, _local: LocalId, _remote: SocketAddr) -> bool {
        true
    }

    /// The worker is about to stop: end all connections.
    fn on_stop(&mut self, endpoint: &mut Endpoint, now: Instant) {
        close_all(endpoint, now);
    }
}

/// Closes every connection of an endpoint with the application's code 0.
pub fn close_all(endpoint: &mut Endpoint, now: Instant) {
    let keys: Vec<_> = endpoint.connections().collect();
    for key in keys {
        if let Some(mut connection) = endpoint.connection(key, now) {
            connection.close(0, b"");
        }
    }
}

/// What other threads ask of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Describe yourself and at most so many connections.
    Describe { connections_max: usize, reply: Sender<Snapshot> },
    /// Close all connections, and end when they are gone, at the latest after this time.
    Stop { grace: Duration },
}

/// A worker at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) worker: WorkerStats,
    pub(crate) connections: Vec<ConnectionView>,
    pub(crate) connections_omitted: u64,
}

/// How a worker learns what others want, and tells them that it has something for them.
#[derive(Debug)]
pub(crate) struct Contacts {
    pub(crate) commands: Arc<ArrayQueue<Command>>,
    pub(crate) neighbours: Vec<Waker>,
}

/// One worker.
pub(crate) struct Worker<A> {
    udp: Udp,
    endpoint: Endpoint,
    application: A,
    forwarder: Option<Forwarder>,
    locals: Vec<SocketAddr>,
    contacts: Contacts,
    stop_at: Option<Instant>,
    turns: u64,
    identity: WorkerStats,
}

impl<A: Application> Worker<A> {
    /// Joins an endpoint with an engine that has the sockets bound to `locals`, in this order. `identity` is the part
    /// of its statistics that never changes.
    pub(crate) fn new(
        udp: Udp,
        locals: Vec<SocketAddr>,
        endpoint: Endpoint,
        application: A,
        forwarder: Option<Forwarder>,
        contacts: Contacts,
        identity: WorkerStats,
    ) -> Self {
        Self { udp, endpoint, application, forwarder, locals, contacts, stop_at: None, turns: 0, identity }
    }

    /// Works until told to stop, or until the engine fails. Returns the application and the final statistics.
    pub(crate) fn run(mut self) -> (A, WorkerStats, io::Result<()>) {
        let result = self.work();
        let stats = self.stats();
        let closed = self.udp.close();
        (self.application, stats, result.and(closed))
    }

    fn work(&mut self) -> io::Result<()> {
        while let Some(wait) = self.turn(Instant::from_nanos(braid_udp_uring::now()))? {
            self.udp.submit_and_wait(wait)?;
        }
        Ok(())
    }

    /// All that can be done now. Returns how long to wait before the next turn; `None` to end.
    fn turn(&mut self, now: Instant) -> io::Result<Option<Wait>> {
        self.turns += 1;
        self.obey(now);
        while let Some((tag, became)) = self.udp.next_fate() {
            self.endpoint.on_fate(TrainTag(tag), fate(became), now);
        }
        let mut more = self.receive(now);
        more |= self.receive_mail(now);
        self.endpoint.on_deadline(now);
        more |= self.deliver_events(now);
        let wish = self.application.on_turn(&mut self.endpoint, now);
        while let Some(socket) = self.application.take_socket() {
            self.locals.push(socket.local_addr());
            self.udp.add_socket(socket)?;
        }
        let mut outbox = UdpOutbox::new(&mut self.udp, &self.application);
        more |= matches!(self.endpoint.transmit(&mut outbox, now), Transmitted::BudgetSpent);
        self.wake_neighbours();
        if self.is_over(now) {
            return Ok(None);
        }
        let deadline = [self.endpoint.deadline(), wish, self.stop_at].into_iter().flatten().min();
        Ok(Some(wait(more, deadline)))
    }

    /// Takes what the kernel received; `true` if there may be more.
    fn receive(&mut self, now: Instant) -> bool {
        for _ in 0..BUFFERS_PER_TURN {
            let Some(received) = self.udp.receive() else { return false };
            let label = Label {
                segment_size: received.segment_size,
                local_id: LocalId(received.socket.0),
                local: received.local,
                remote: received.remote,
                ecn: Ecn::from_bits(received.ecn),
            };
            if !self.application.passes(label.local_id, label.remote) {
                continue;
            }
            let mut deliver = |run: &mut [u8]| deliver(&mut self.endpoint, &self.locals, &label, run, now);
            match &mut self.forwarder {
                Some(forwarder) => forwarder.sort(received.bytes, &label, deliver),
                None => deliver(received.bytes),
            }
        }
        true
    }

    /// Takes what other workers forwarded; `true` if there is more.
    fn receive_mail(&mut self, now: Instant) -> bool {
        let Some(forwarder) = &mut self.forwarder else { return false };
        for _ in 0..PARCELS_PER_TURN {
            let Some(mut parcel) = forwarder.take() else { return false };
            let label = parcel.label;
            deliver(&mut self.endpoint, &self.locals, &label, &mut parcel.bytes, now);
            forwarder.give_back(parcel);
        }
        forwarder.has_mail()
    }

    /// Hands events to the application; `true` if there may be more.
    fn deliver_events(&mut self, now: Instant) -> bool {
        for _ in 0..EVENTS_PER_TURN {
            let Some((key, event)) = self.endpoint.next_event() else { return false };
            let too_late = self.stop_at.is_some() && matches!(event, Event::Connected { .. });
            self.application.on_event(&mut self.endpoint, key, event, now);
            if too_late && let Some(mut connection) = self.endpoint.connection(key, now) {
                connection.close(0, b"");
            }
        }
        true
    }

    /// One wake a target and turn, however many parcels it got.
    fn wake_neighbours(&mut self) {
        let Some(forwarder) = &mut self.forwarder else { return };
        for target in forwarder.take_targets() {
            self.contacts.neighbours[target].wake();
        }
    }

    fn obey(&mut self, now: Instant) {
        while let Some(command) = self.contacts.commands.pop() {
            match command {
                Command::Describe { connections_max, reply } => {
                    // Who asked may have given up waiting.
                    let _ = reply.try_send(self.describe(connections_max, now));
                }
                Command::Stop { grace } => {
                    self.application.on_stop(&mut self.endpoint, now);
                    self.stop_at = Some(now + grace);
                }
            }
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.stop_at.is_some_and(|at| at <= now || self.endpoint.connections().next().is_none())
    }

    fn describe(&mut self, connections_max: usize, now: Instant) -> Snapshot {
        let worker = self.stats();
        let keys: Vec<_> = self.endpoint.connections().take(connections_max).collect();
        let views = keys.iter().filter_map(|&key| {
            let connection = self.endpoint.connection(key, now)?;
            Some(ConnectionView::of(&connection, worker.worker))
        });
        let connections: Vec<_> = views.collect();
        let connections_omitted = worker.quic.connections.saturating_sub(connections.len() as u64);
        Snapshot { worker, connections, connections_omitted }
    }

    fn stats(&self) -> WorkerStats {
        WorkerStats {
            turns: self.turns,
            quic: QuicStats::from(self.endpoint.stats()),
            udp: self.udp.stats().into(),
            forwards: self.forwarder.as_ref().map(Forwarder::forwards).unwrap_or_default(),
            ..self.identity.clone()
        }
    }
}

/// Hands segments to the endpoint, under the route they came by.
#[inline]
fn deliver(endpoint: &mut Endpoint, locals: &[SocketAddr], label: &Label, bytes: &mut [u8], now: Instant) {
    let mut local = locals[usize::from(label.local_id.0)];
    if let Some(ip) = label.local {
        local.set_ip(ip);
    }
    let route = RouteId::new(label.local_id, local, label.remote);
    endpoint.receive(Received { bytes, segment_size: label.segment_size, route, ecn: label.ecn }, now);
}

/// How long a turn may sleep, given that there is `more` to do at once and something due at `deadline`.
fn wait(more: bool, deadline: Option<Instant>) -> Wait {
    match deadline {
        _ if more => Wait::Now,
        None | Some(Instant::NEVER) => Wait::Forever,
        Some(at) => Wait::Until(at.as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_sleeps_until_the_next_deadline_unless_there_is_more_to_do() {
        let at = Instant::from_nanos(7);
        assert_eq!(wait(true, Some(at)), Wait::Now);
        assert_eq!(wait(true, None), Wait::Now);
        assert_eq!(wait(false, Some(at)), Wait::Until(7));
        assert_eq!(wait(false, None), Wait::Forever);
        assert_eq!(wait(false, Some(Instant::NEVER)), Wait::Forever);
    }
}
