//! The local addresses of the machine, and how they come and go.
//!
//! Owns two netlink sockets: one on which the kernel says that something changed, one to ask what is there. A change is
//! the difference of two answers, so a notice that was lost or came late does no harm. Opens no UDP socket.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::netlink::{Address, Kind, Link, Message, is_usable, is_working, messages, request};

/// Addresses that one [`Interfaces`] shows; a machine with more shows the first of them.
pub const ADDRESSES_MAX: usize = 1024;
/// Notices that one call takes; more leave the descriptor readable.
const NOTICES_MAX: usize = 256;
/// How long the kernel may take to answer. It answers at once; this is for the day when it does not.
const ANSWER_MAX_S: i64 = 2;

/// Which addresses are shown beside the usual ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those of the loopback interface.
    pub loopback: bool,
    /// Those that are valid on their link only: `fe80::/10` and 169.254.0.0/16.
    pub link_local: bool,
}

/// A local address that can be used now: its interface is up with a carrier, and the address itself is neither tentative
/// nor deprecated (RFC 4862).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// The name of its interface, for [`SocketConfig::device`](crate::SocketConfig::device).
    pub interface: String,
    /// The index of its interface: the scope of a link-local address.
    pub index: u32,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceChange {
    /// An address can be used.
    Added(InterfaceAddress),
    /// An address cannot be used any more: it, its interface, or the carrier is gone.
    Removed(InterfaceAddress),
}

/// Follows the addresses of the machine, or of the network namespace in which it was made.
///
/// ```no_run
/// use braid_udp_uring::{InterfaceChange, Interfaces, Scope};
///
/// let mut interfaces = Interfaces::new(Scope::default())?;
/// println!("at first: {:?}", interfaces.addresses());
/// // Whenever the descriptor is readable, or now and then:
/// for change in interfaces.changes()? {
///     match change {
///         InterfaceChange::Added(address) => println!("{} on {} is there", address.ip, address.interface),
///         InterfaceChange::Removed(address) => println!("{} on {} is gone", address.ip, address.interface),
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Interfaces {
    notices: Socket,
    questions: Socket,
    sequence: u32,
    scope: Scope,
    addresses: Vec<InterfaceAddress>,
    /// The last answer failed, so the next call asks again without a notice.
    stale: bool,
}

impl Interfaces {
    /// Asks what is there, and listens from then on.
    ///
    /// # Errors
    /// Where the system has no netlink for us.
    pub fn new(scope: Scope) -> io::Result<Self> {
        let mut notices = Socket::new(NETLINK_ROUTE)?;
        notices.bind_auto()?;
        notices.set_non_blocking(true)?;
        for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR] {
            notices.add_membership(group)?;
        }
        let mut questions = Socket::new(NETLINK_ROUTE)?;
        questions.bind_auto()?;
        questions.connect(&SocketAddr::new(0, 0))?; // the kernel, and nobody else
        let timeout = std::time::Duration::from_secs(ANSWER_MAX_S as u64);
        socket2::SockRef::from(&questions).set_read_timeout(Some(timeout))?;
        let mut this = Self { notices, questions, sequence: 0, scope, addresses: Vec::new(), stale: false };
        this.addresses = this.ask()?;
        Ok(this)
    }

    /// What is there, as of the last call of [`changes`](Self::changes), in the kernel's order.
    pub fn addresses(&self) -> &[InterfaceAddress] {
        &self.addresses
    }

    /// What changed since the last call; never waits. What is gone comes first. An address that went and came between two
    /// calls did not change.
    ///
    /// # Errors
    /// When the kernel does not answer; the next call asks again.
    pub fn changes(&mut self) -> io::Result<Vec<InterfaceChange>> {
        if !self.take_notices()? && !self.stale {
            return Ok(Vec::new());
        }
        self.stale = true;
        let now = self.ask()?;
        self.stale = false;
        let before = std::mem::replace(&mut self.addresses, now);
        Ok(difference(before, &self.addresses))
    }

    /// Is there an interface of this name, in use or not?
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn has(&mut self, name: &str) -> io::Result<bool> {
        let mut links = Vec::new();
        self.question(Kind::Links, &mut links, &mut Vec::new())?;
        Ok(links.iter().any(|link| link.name == name))
    }

    /// Did the kernel say that something changed?
    fn take_notices(&self) -> io::Result<bool> {
        let mut buffer = [0; 64]; // the kernel drops the rest of the notice, which nobody reads
        for taken in 0..NOTICES_MAX {
            match self.notices.recv(&mut &mut buffer[..], 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken > 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Notices were lost for want of room: all the more a reason to ask.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn ask(&mut self) -> io::Result<Vec<InterfaceAddress>> {
        let (mut links, mut addresses) = (Vec::new(), Vec::new());
        self.question(Kind::Links, &mut links, &mut addresses)?;
        self.question(Kind::Addresses, &mut links, &mut addresses)?;
        Ok(join(&links, &addresses, self.scope))
    }

    fn question(
        &mut self,
        kind: Kind,
        links: &mut Vec<Link>,
        addresses: &mut Vec<Address>,
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.questions.send(&request(kind, self.sequence), 0)?;
        loop {
            let (bytes, _) = self.questions.recv_from_full()?;
            for message in messages(&bytes, self.sequence) {
                match message {
                    Message::Link(link) => links.push(link),
                    Message::Address(address) => addresses.push(address),
                    Message::Done => return Ok(()),
                    Message::Refused(number) => return Err(io::Error::from_raw_os_error(number)),
                    Message::Other => {}
                }
            }
        }
    }
}

impl AsFd for Interfaces {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl AsRawFd for Interfaces {
    fn as_raw_fd(&self) -> RawFd {
        self.notices.as_raw_fd()
    }
}

impl fmt::Debug for Interfaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Interfaces").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// The usable addresses on working links.
fn join(links: &[Link], addresses: &[Address], scope: Scope) -> Vec<InterfaceAddress> {
    let shown = |address: &Address| {
        let link = links.iter().find(|link| link.index == address.index)?;
        let usable =
            is_working(link.flags, scope.loopback) && is_usable(address.ip, address.flags, scope.link_local);
        usable.then(|| InterfaceAddress {
            ip: address.ip,
            interface: link.name.clone(),
            index: address.index,
        })
    };
    addresses.iter().filter_map(shown).take(ADDRESSES_MAX).collect()
}

/// What is missing now, then what is new.
fn difference(before: Vec<InterfaceAddress>, now: &[InterfaceAddress]) -> Vec<InterfaceChange> {
    let added: Vec<_> = now.iter().filter(|address| !before.contains(address)).cloned().collect();
    let removed = before.into_iter().filter(|address| !now.contains(address));
    removed.map(InterfaceChange::Removed).chain(added.into_iter().map(InterfaceChange::Added)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKING: u32 = 0x1_0041;

    fn link(index: u32, flags: u32) -> Link {
        Link { index, name: format!("if{index}"), flags }
    }

    fn address(index: u32, host: u32) -> Address {
        Address { index, ip: std::net::Ipv4Addr::from(0x0a00_0000 + host).into(), flags: 0 }
    }

    fn hosts(addresses: &[InterfaceAddress]) -> Vec<String> {
        addresses.iter().map(|address| format!("{}@{}", address.ip, address.interface)).collect()
    }

    #[test]
    fn addresses_are_shown_with_a_link_that_works() {
        let links = [link(1, WORKING | 8), link(2, WORKING), link(3, 0x1003)];
        let addresses = [address(1, 1), address(2, 2), address(3, 3), address(4, 4)];
        assert_eq!(hosts(&join(&links, &addresses, Scope::default())), ["10.0.0.2@if2"]);
        let scope = Scope { loopback: true, ..Scope::default() };
        assert_eq!(hosts(&join(&links, &addresses, scope)), ["10.0.0.1@if1", "10.0.0.2@if2"]);
    }

    #[test]
    fn no_more_addresses_are_shown_than_the_limit() {
        let addresses: Vec<_> = (0..2 * ADDRESSES_MAX as u32).map(|host| address(1, host)).collect();
        assert_eq!(join(&[link(1, WORKING)], &addresses, Scope::default()).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_change_is_the_difference_of_two_answers() {
        let shown = |hosts: &[u32]| {
            let addresses: Vec<_> = hosts.iter().map(|&host| address(1, host)).collect();
            join(&[link(1, WORKING)], &addresses, Scope::default())
        };
        let (before, now) = (shown(&[1, 2]), shown(&[2, 3]));
        let expected = [InterfaceChange::Removed(before[0].clone()), InterfaceChange::Added(now[1].clone())];
        assert_eq!(difference(before, &now), expected);
        assert_eq!(difference(now.clone(), &now), []);
    }
}
