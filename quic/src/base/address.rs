//! Who a route is: the listener or interface it uses, its local and its remote address.
//!
//! Owns the folding of IPv4-mapped addresses and the rule which two identities are the same route. Holds no state of
//! a route (`path/route` does).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The number of a listener or of a local interface.
///
/// It is equal on all workers of a process and never a file descriptor, so a datagram that a neighbour worker
/// forwarded keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LocalId(pub u16);

/// The identity of a route: local number, local address and port, remote address and port.
///
/// Addresses are canonical: an IPv4-mapped IPv6 address is folded to IPv4, and the flow label is dropped. A local IP
/// address may be unknown (`0.0.0.0` or `::`) as long as the operating system has not told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId {
    local_id: LocalId,
    local: SocketAddr,
    remote: SocketAddr,
}

impl RouteId {
    /// The identity for these addresses, made canonical.
    pub fn new(local_id: LocalId, local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local_id, local: canonical(local), remote: canonical(remote) }
    }

    /// The number of the listener or local interface.
    pub fn local_id(&self) -> LocalId {
        self.local_id
    }

    /// The local address and port; the IP address may be unspecified, which means not known yet.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address and port.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The local IP address, if it is known: the source address that answers must carry.
    pub fn source(&self) -> Option<IpAddr> {
        Some(self.local.ip()).filter(|ip| !ip.is_unspecified())
    }

    /// Is `other` the same route? An unknown local IP address matches every one.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let local_ip_same = self.local.ip() == other.local.ip()
            || self.local.ip().is_unspecified()
            || other.local.ip().is_unspecified();
        self.local_id == other.local_id
            && self.remote == other.remote
            && self.local.port() == other.local.port()
            && local_ip_same
    }

    /// Takes over the local IP address of `other`, the same route, if ours is unknown.
    pub(crate) fn learn(&mut self, other: &Self) {
        debug_assert!(self.matches(other));
        if self.source().is_none() {
            self.local = other.local;
        }
    }
}

/// Folds IPv4-mapped addresses to IPv4 and drops what does not identify a peer (the flow label).
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope(v6))),
        },
    }
}

/// A scope identifies a peer only where the address is link-local.
fn scope(address: SocketAddrV6) -> u32 {
    let link_local = |ip: &Ipv6Addr| (ip.segments()[0] & 0xffc0) == 0xfe80;
    if link_local(address.ip()) { address.scope_id() } else { 0 }
}

/// The two bits of explicit congestion notification in the IP header (RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ecn {
    /// 00: not capable.
    #[default]
    NotEct,
    /// 01: capable, ECT(1).
    Ect1,
    /// 10: capable, ECT(0).
    Ect0,
    /// 11: congestion experienced.
    Ce,
}

impl Ecn {
    /// The codepoint in the low two bits of a TOS or traffic-class octet.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(local: &str, remote: &str) -> RouteId {
        RouteId::new(LocalId(0), local.parse().unwrap(), remote.parse().unwrap())
    }

    /// P-55
    #[test]
    fn mapped_and_plain_ipv4_are_one_route() {
        let mapped = route("[::ffff:127.0.0.1]:443", "[::ffff:127.0.0.2]:50000");
        assert_eq!(mapped, route("127.0.0.1:443", "127.0.0.2:50000"));
    }

    /// P-51
    #[test]
    fn a_local_address_that_becomes_known_is_no_change() {
        let mut known_later = route("0.0.0.0:443", "127.0.0.2:50000");
        let known = route("127.0.0.1:443", "127.0.0.2:50000");
        assert!(known_later.matches(&known));
        known_later.learn(&known);
        assert_eq!(known_later, known);
        assert!(!known_later.matches(&route("127.0.0.9:443", "127.0.0.2:50000")));
    }

    #[test]
    fn another_listener_or_port_is_another_route() {
        let one = route("127.0.0.1:443", "127.0.0.2:50000");
        assert!(!one.matches(&route("127.0.0.1:444", "127.0.0.2:50000")));
        let other = RouteId::new(LocalId(1), one.local(), one.remote());
        assert!(!one.matches(&other));
    }

    /// P-55
    #[test]
    fn flow_labels_and_global_scopes_do_not_matter_but_link_local_scopes_do() {
        let ip: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let labelled = SocketAddr::V6(SocketAddrV6::new(ip, 1, 77, 3));
        assert_eq!(canonical(labelled), SocketAddr::V6(SocketAddrV6::new(ip, 1, 0, 0)));
        let local: Ipv6Addr = "fe80::1".parse().unwrap();
        let scoped = SocketAddr::V6(SocketAddrV6::new(local, 1, 77, 3));
        assert_eq!(canonical(scoped), SocketAddr::V6(SocketAddrV6::new(local, 1, 0, 3)));
    }

    #[test]
    fn ecn_bits_round_trip() {
        for bits in 0..4 {
            assert_eq!(Ecn::from_bits(bits).bits(), bits);
        }
    }
}
