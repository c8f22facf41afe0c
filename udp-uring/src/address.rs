//! Socket addresses as the kernel writes them.
//!
//! Owns the layout of `sockaddr_in` and `sockaddr_in6` as bytes and the folding of IPv4-mapped addresses. Pure memory,
//! no unsafe, no system call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The larger of the two layouts.
pub(crate) const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();
const IPV4_BYTES: usize = size_of::<libc::sockaddr_in>();

const _: () = assert!(ADDRESS_BYTES == 28 && IPV4_BYTES == 16);

/// Which protocol a socket speaks below UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    /// IPv6, and IPv4 by mapped addresses if the socket is a dual-stack one.
    Ipv6,
}

impl Family {
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// Writes `address` as a socket of `family` takes it, and returns its length. `None`: this family cannot reach it.
pub(crate) fn encode(address: SocketAddr, family: Family, into: &mut [u8; ADDRESS_BYTES]) -> Option<usize> {
    into.fill(0);
    match family {
        Family::Ipv4 => {
            let IpAddr::V4(ip) = address.ip().to_canonical() else { return None };
            into[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            into[2..4].copy_from_slice(&address.port().to_be_bytes());
            into[4..8].copy_from_slice(&ip.octets());
            Some(IPV4_BYTES)
        }
        Family::Ipv6 => {
            let (ip, scope) = match address {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            into[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            into[2..4].copy_from_slice(&address.port().to_be_bytes());
            into[8..24].copy_from_slice(&ip.octets());
            into[24..28].copy_from_slice(&scope.to_ne_bytes());
            Some(ADDRESS_BYTES)
        }
    }
}

/// Reads an address the kernel wrote; an IPv4-mapped one becomes IPv4.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(octets), port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
            let ip = Ipv6Addr::from(octets);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(address: &str, family: Family) -> Option<String> {
        let mut bytes = [0xff; ADDRESS_BYTES];
        let length = encode(address.parse().unwrap(), family, &mut bytes)?;
        Some(decode(&bytes[..length])?.to_string())
    }

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for address in ["127.0.0.1:443", "0.0.0.0:0", "255.255.255.255:65535"] {
            assert_eq!(there_and_back(address, Family::Ipv4).as_deref(), Some(address));
            assert_eq!(there_and_back(address, Family::Ipv6).as_deref(), Some(address));
        }
        for address in ["[::1]:443", "[2001:db8::7]:1", "[fe80::1%3]:9"] {
            assert_eq!(there_and_back(address, Family::Ipv6).as_deref(), Some(address));
            assert_eq!(there_and_back(address, Family::Ipv4), None);
        }
    }

    #[test]
    fn a_mapped_address_leaves_an_ipv4_socket_as_ipv4() {
        assert_eq!(there_and_back("[::ffff:10.0.0.1]:5", Family::Ipv4).as_deref(), Some("10.0.0.1:5"));
    }

    #[test]
    fn the_layout_is_the_kernels() {
        let mut bytes = [0; ADDRESS_BYTES];
        encode("1.2.3.4:258".parse().unwrap(), Family::Ipv4, &mut bytes);
        assert_eq!(bytes[..8], [libc::AF_INET as u8, 0, 1, 2, 1, 2, 3, 4]);
    }

    #[test]
    fn short_and_foreign_addresses_are_refused() {
        let mut bytes = [0; ADDRESS_BYTES];
        encode("[::1]:443".parse().unwrap(), Family::Ipv6, &mut bytes);
        for cut in 0..ADDRESS_BYTES {
            assert_eq!(decode(&bytes[..cut]), None);
        }
        bytes[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert_eq!(decode(&bytes), None);
    }
}
