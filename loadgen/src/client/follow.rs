//! Paths that follow the interfaces of this machine: what a worker does for `--follow-interfaces`.
//!
//! Owns a socket for each local address that ever was, shared by all connections of the worker, and when whose path
//! manager acts. Decides about no path (`braid_quic::manager`) and reads no netlink message (`braid_udp_uring`).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use braid_quic::manager::{Cost, Local, PathManager, Policy, Rule, Usage};
use braid_quic::{ConnectionGuard, Event, Instant, LocalId, RouteId};
use braid_udp_uring::{InterfaceAddress, InterfaceChange, Interfaces, Scope, SocketConfig, UdpSocket};

use crate::plan::Following;

/// Sockets that a worker has at most; addresses beyond are not used. The socket of an address that goes is kept for its
/// return.
pub(crate) const SOCKETS_MAX: u16 = 256;
/// How often the kernel is asked whether an interface changed; without a change that is one system call.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Which paths a run wants.
#[derive(Clone)]
pub(crate) struct Wishes {
    /// All addresses of the server.
    pub(crate) remotes: Vec<SocketAddr>,
    pub(crate) policy: Policy,
    /// Interfaces that cost money.
    pub(crate) metered: Vec<String>,
}

/// The local addresses of one worker, and the managers of its connections' paths.
pub(crate) struct Follow {
    interfaces: Interfaces,
    /// By connection.
    managers: Vec<PathManager>,
    metered: Vec<Rule>,
    /// Has the server IPv4, IPv6 addresses?
    families: (bool, bool),
    /// By `LocalId`.
    bound: Vec<Bound>,
    /// Those that the worker has not taken yet, in the order of their numbers.
    fresh: VecDeque<UdpSocket>,
    look_at: Instant,
    /// The earliest deadline of all managers.
    act_at: Instant,
    /// The first address that could not be used, and why.
    complaint: Option<String>,
}

struct Bound {
    to: InterfaceAddress,
    address: SocketAddr,
}

/// Are there interfaces of these names? One that may come later has to be named by an asterisk.
pub(crate) fn check(following: &Following) -> Result<(), String> {
    let mut interfaces = interfaces(Scope::default())?;
    for name in following.names().filter(|name| !name.ends_with('*')) {
        if !interfaces.has(name).map_err(|error| unheard(&error))? {
            return Err(format!("there is no interface `{name}`; write `{name}*` if it may come later"));
        }
    }
    Ok(())
}

impl Follow {
    /// Binds a socket to every address that can reach the server; these are the first ones of the worker.
    pub(crate) fn new(wishes: &Wishes, connections: usize) -> Result<(Self, Vec<UdpSocket>), String> {
        let remotes = &wishes.remotes;
        let loopback = remotes.iter().all(|remote| remote.ip().is_loopback());
        let manager = || PathManager::new(wishes.policy.clone(), remotes.clone());
        let rule = |name: &String| Rule { interface: name.clone(), usage: Usage::default() };
        let mut this = Self {
            interfaces: interfaces(Scope { loopback, link_local: false })?,
            managers: (0..connections).map(|_| manager()).collect(),
            metered: wishes.metered.iter().map(rule).collect(),
            families: (remotes.iter().any(SocketAddr::is_ipv4), remotes.iter().any(SocketAddr::is_ipv6)),
            bound: Vec::new(),
            fresh: VecDeque::new(),
            look_at: Instant::ZERO,
            act_at: Instant::ZERO,
            complaint: None,
        };
        for address in this.interfaces.addresses().to_vec() {
            this.on_added(address);
        }
        if this.bound.is_empty() {
            let why = this.complaint.unwrap_or_else(|| "none has an address and a carrier".into());
            return Err(format!("no interface can reach the target: {why}"));
        }
        let sockets = this.fresh.drain(..).collect();
        Ok((this, sockets))
    }

    /// The routes over which a connection's handshake races, the most wanted first.
    pub(super) fn handshake_routes(&self, connection: usize) -> Option<(RouteId, Vec<RouteId>)> {
        let routes = self.managers[connection].routes();
        let (first, rivals) = routes.split_first()?;
        Some((*first, rivals.to_vec()))
    }

    /// Something happened on a connection.
    pub(super) fn on_event(&mut self, connection: usize, event: &Event, now: Instant) {
        let manager = &mut self.managers[connection];
        manager.on_event(event, now);
        self.act_at = manager.deadline().map_or(self.act_at, |at| self.act_at.min(at));
    }

    /// Looks at the interfaces if it is time. When to do so again.
    pub(super) fn look(&mut self, now: Instant) -> Instant {
        if self.look_at <= now {
            self.look_at = now + LOOK_EVERY;
            // A kernel that does not answer is asked again next time.
            for change in self.interfaces.changes().unwrap_or_default() {
                match change {
                    InterfaceChange::Added(address) => self.on_added(address),
                    InterfaceChange::Removed(address) => self.on_removed(&address),
                }
            }
        }
        self.look_at
    }

    /// A connection began.
    pub(super) fn on_begun(&mut self) {
        self.act_at = Instant::ZERO;
    }

    /// When the next manager acts, as far as known.
    pub(super) fn act_at(&self) -> Instant {
        self.act_at
    }

    /// Lets the manager of this connection act if it is time. When it does so next.
    pub(super) fn act(
        &mut self,
        connection: usize,
        guard: &mut ConnectionGuard<'_>,
        now: Instant,
    ) -> Instant {
        let manager = &mut self.managers[connection];
        manager.act(guard, now);
        manager.deadline().unwrap_or(Instant::NEVER)
    }

    /// All managers have acted; the next one does so then.
    pub(super) fn on_all_acted(&mut self, next: Instant) {
        self.act_at = next;
    }

    /// A socket for the worker; they are taken in the order of their numbers.
    pub(super) fn take_socket(&mut self) -> Option<UdpSocket> {
        self.fresh.pop_front()
    }

    /// The first address that could not be used, and why.
    pub(super) fn complaint(self) -> Option<String> {
        self.complaint
    }

    fn on_added(&mut self, to: InterfaceAddress) {
        let wanted = if to.ip.is_ipv4() { self.families.0 } else { self.families.1 };
        if !wanted {
            return;
        }
        let shown = format!("{} on {}", to.ip, to.interface);
        if let Err(why) = self.use_address(to) {
            self.complaint.get_or_insert(format!("{shown} is not used: {why}"));
        }
    }

    fn use_address(&mut self, to: InterfaceAddress) -> Result<(), String> {
        let metered = self.metered.iter().any(|rule| rule.fits(&to.interface));
        let interface = to.interface.as_str().into();
        let number = match self.bound.iter().position(|bound| bound.to == to) {
            Some(number) => number,
            None => self.bind(to)?,
        };
        let local = Local {
            id: LocalId(number as u16),
            address: self.bound[number].address,
            interface,
            cost: if metered { Cost::Metered } else { Cost::Free },
        };
        self.act_at = Instant::ZERO;
        for manager in &mut self.managers {
            manager.local_up(local.clone()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn on_removed(&mut self, from: &InterfaceAddress) {
        if let Some(number) = self.bound.iter().position(|bound| bound.to == *from) {
            self.act_at = Instant::ZERO;
            self.managers.iter_mut().for_each(|manager| manager.local_down(LocalId(number as u16)));
        }
    }

    fn bind(&mut self, to: InterfaceAddress) -> Result<usize, String> {
        if self.bound.len() == usize::from(SOCKETS_MAX) {
            return Err(format!("more than {SOCKETS_MAX} local addresses came and went"));
        }
        // Bound to its interface, so that packets leave there whatever the routing table prefers.
        let device = (!to.ip.is_loopback()).then(|| to.interface.clone());
        let config = SocketConfig { device, ..SocketConfig::new(SocketAddr::new(to.ip, 0)) };
        let socket = UdpSocket::bind(&config).map_err(|error| error.to_string())?;
        self.bound.push(Bound { to, address: socket.local_addr() });
        self.fresh.push_back(socket);
        Ok(self.bound.len() - 1)
    }
}

fn interfaces(scope: Scope) -> Result<Interfaces, String> {
    Interfaces::new(scope).map_err(|error| unheard(&error))
}

fn unheard(error: &io::Error) -> String {
    format!("cannot follow the interfaces: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way over the loopback interface, as if that had many lives.
    fn life(index: u32) -> InterfaceAddress {
        InterfaceAddress { ip: [127, 0, 0, 1].into(), interface: "lo".into(), index }
    }

    fn follow() -> (Follow, usize) {
        let wishes = Wishes {
            remotes: vec!["127.0.0.1:4433".parse().unwrap()],
            policy: Following::default().policy(8),
            metered: Vec::new(),
        };
        let (follow, sockets) = Follow::new(&wishes, 2).unwrap();
        (follow, sockets.len())
    }

    #[test]
    fn an_address_that_returns_has_the_socket_that_it_had() {
        let (mut follow, count) = follow();
        for _ in 0..3 {
            follow.on_added(life(7000));
            assert_eq!(follow.managers[1].routes().len(), count + 1);
            follow.on_removed(&life(7000));
            assert_eq!(follow.managers[1].routes().len(), count);
        }
        assert_eq!(follow.bound.len(), count + 1);
        assert!(follow.take_socket().is_some() && follow.take_socket().is_none());
        follow.on_added(InterfaceAddress { ip: std::net::Ipv6Addr::LOCALHOST.into(), ..life(7001) });
        assert_eq!(follow.bound.len(), count + 1, "the server has no address of this family");
    }

    #[test]
    fn sockets_are_bounded_however_often_interfaces_come_anew() {
        let (mut follow, _) = follow();
        for index in 0..2 * u32::from(SOCKETS_MAX) {
            follow.on_added(life(7000 + index));
            follow.on_removed(&life(7000 + index));
        }
        assert_eq!(follow.bound.len(), usize::from(SOCKETS_MAX));
        assert!(follow.bind(life(1)).unwrap_err().contains("256"));
        assert!(follow.complaint().unwrap().starts_with("127.0.0.1 on lo is not used: "));
    }
}
