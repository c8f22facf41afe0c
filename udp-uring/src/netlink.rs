//! Messages of rtnetlink about links and addresses, as bytes (`man 7 rtnetlink`).
//!
//! Owns the layout of a request for all of a kind and of the answers, and the rule which addresses can be used. Reads
//! only what Braid needs, so that what newer kernels add is passed over. Pure memory, no unsafe, no system call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;

/// Attributes of a link and of an address, by `linux/if_link.h` and `linux/if_addr.h`.
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// The two high bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Links,
    Addresses,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) flags: u32,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) ip: IpAddr,
    pub(crate) flags: u32,
}

/// One message of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Link(Link),
    Address(Address),
    /// The answer is complete.
    Done,
    /// The kernel refuses, with this error number.
    Refused(i32),
    /// Nothing that we know.
    Other,
}

/// A request for all links or all addresses.
pub(crate) fn request(kind: Kind, sequence: u32) -> Vec<u8> {
    let (kind, body) = match kind {
        Kind::Links => (libc::RTM_GETLINK, LINK_BYTES),
        Kind::Addresses => (libc::RTM_GETADDR, ADDRESS_BYTES),
    };
    let mut bytes = vec![0; HEADER_BYTES + body]; // an empty body asks for every family
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    bytes[..4].copy_from_slice(&((HEADER_BYTES + body) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

/// The messages of a datagram that answer the request with this number.
pub(crate) fn messages(mut bytes: &[u8], sequence: u32) -> impl Iterator<Item = Message> {
    std::iter::from_fn(move || {
        loop {
            let length = u32_at(bytes, 0)? as usize;
            let whole = bytes.get(..length).filter(|whole| whole.len() >= HEADER_BYTES)?;
            bytes = bytes.get(aligned(length)..).unwrap_or_default();
            if u32_at(whole, 8)? == sequence {
                return Some(message(u16_at(whole, 4)?, &whole[HEADER_BYTES..]).unwrap_or(Message::Other));
            }
        }
    })
}

fn message(kind: u16, body: &[u8]) -> Option<Message> {
    match i32::from(kind) {
        libc::NLMSG_DONE => Some(Message::Done),
        libc::NLMSG_ERROR => Some(Message::Refused(-u32_at(body, 0)?.cast_signed())),
        _ => match kind {
            libc::RTM_NEWLINK => link(body).map(Message::Link),
            libc::RTM_NEWADDR => address(body).map(Message::Address),
            _ => None,
        },
    }
}

/// `struct ifinfomsg` and its attributes.
fn link(body: &[u8]) -> Option<Link> {
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let mut names = attributes(body.get(LINK_BYTES..)?).filter(|&(kind, _)| kind == IFLA_IFNAME);
    let name = names.next()?.1;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Some(Link { index, name: String::from_utf8_lossy(name).into_owned(), flags })
}

/// `struct ifaddrmsg` and its attributes. On a point-to-point link only `IFA_LOCAL` is our own address.
fn address(body: &[u8]) -> Option<Address> {
    let (family, index) = (*body.first()?, u32_at(body, 4)?);
    let mut flags = u32::from(*body.get(2)?);
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_BYTES..)?) {
        match kind {
            IFA_LOCAL => local = ip(family, value),
            IFA_ADDRESS => other = ip(family, value),
            IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(Address { index, ip: local.or(other)?, flags })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// Type and value of each attribute; stops at the first that makes no sense.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Is a link up, with a carrier, and no loopback unless asked for?
pub(crate) fn is_working(flags: u32, loopback: bool) -> bool {
    let all = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP).cast_unsigned();
    flags & all == all && (loopback || flags & libc::IFF_LOOPBACK.cast_unsigned() == 0)
}

/// May new connections use an address with these flags? Not before duplicate address detection (RFC 4862 §5.4) is
/// through or optimistic (RFC 4429), and not after its preferred lifetime.
pub(crate) fn is_usable(ip: IpAddr, flags: u32, link_local: bool) -> bool {
    let unproven = flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0;
    let bound_to_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !unproven && flags & (IFA_F_DADFAILED | IFA_F_DEPRECATED) == 0 && (link_local || !bound_to_link)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKING: u32 = 0x1_0041;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn packed(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn link_message(sequence: u32) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(7_u32.to_ne_bytes());
        body.extend(WORKING.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attribute(0x7abc, b"from the future"));
        body.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        packed(libc::RTM_NEWLINK, sequence, &body)
    }

    fn address_message(family: i32, flags: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![family as u8, 24, flags, 0];
        body.extend(7_u32.to_ne_bytes());
        body.extend(attributes.concat());
        packed(libc::RTM_NEWADDR, 1, &body)
    }

    fn only(bytes: &[u8]) -> Message {
        let mut all = messages(bytes, 1);
        let first = all.next().unwrap();
        assert_eq!(all.next(), None);
        first
    }

    #[test]
    fn a_link_is_its_index_name_and_flags_whatever_else_is_said() {
        let expected = Link { index: 7, name: "eth0".into(), flags: WORKING };
        assert_eq!(only(&link_message(1)), Message::Link(expected));
    }

    #[test]
    fn our_own_address_is_the_local_one_and_wide_flags_count() {
        let attributes = [
            attribute(IFA_ADDRESS, &[10, 0, 0, 2]),
            attribute(IFA_LOCAL, &[10, 0, 0, 1]),
            attribute(IFA_FLAGS, &0x180_u32.to_ne_bytes()),
        ];
        let expected = Address { index: 7, ip: Ipv4Addr::new(10, 0, 0, 1).into(), flags: 0x180 };
        assert_eq!(only(&address_message(libc::AF_INET, 0x80, &attributes)), Message::Address(expected));
        let six: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let bytes = address_message(libc::AF_INET6, 0x40, &[attribute(IFA_ADDRESS, &six.octets())]);
        assert_eq!(only(&bytes), Message::Address(Address { index: 7, ip: six.into(), flags: 0x40 }));
    }

    #[test]
    fn answers_to_other_requests_are_passed_over_and_the_end_is_seen() {
        let refused = packed(libc::NLMSG_ERROR as u16, 1, &(-libc::EPERM).to_ne_bytes());
        let done = packed(libc::NLMSG_DONE as u16, 1, &[0; 4]);
        let bytes = [link_message(9), refused, link_message(8), done].concat();
        let all: Vec<_> = messages(&bytes, 1).collect();
        assert_eq!(all, [Message::Refused(libc::EPERM), Message::Done]);
    }

    #[test]
    fn what_is_cut_short_is_no_message_and_no_panic() {
        let whole =
            [link_message(1), address_message(libc::AF_INET, 0, &[attribute(IFA_LOCAL, &[1, 2, 3, 4])])];
        let whole = whole.concat();
        for end in 0..whole.len() {
            assert!(messages(&whole[..end], 1).count() < 2, "{end}");
        }
        let mut broken = link_message(1);
        for at in 0..broken.len() {
            let before = std::mem::replace(&mut broken[at], 0xff);
            messages(&broken, 1).for_each(drop);
            broken[at] = before;
        }
        assert_eq!(messages(&[0; 64], 0).count(), 0, "a length of zero ends it");
    }

    #[test]
    fn a_request_asks_for_all_of_a_kind() {
        let bytes = request(Kind::Addresses, 5);
        assert_eq!(
            (bytes.len(), u32_at(&bytes, 0), u16_at(&bytes, 4)),
            (24, Some(24), Some(libc::RTM_GETADDR))
        );
        assert_eq!((u16_at(&bytes, 6), u32_at(&bytes, 8)), (Some(0x301), Some(5)));
        assert_eq!(request(Kind::Links, 5).len(), 32);
    }

    #[test]
    fn only_links_that_are_up_with_a_carrier_work() {
        assert!(is_working(WORKING, false));
        assert!(!is_working(WORKING & !1, false), "down");
        assert!(!is_working(WORKING & !0x40, false), "not running");
        assert!(!is_working(WORKING & !0x1_0000, false), "no carrier");
        assert!(!is_working(WORKING | 8, false) && is_working(WORKING | 8, true), "loopback");
    }

    #[test]
    fn only_proven_and_preferred_addresses_are_usable() {
        let usable = |ip: &str, flags| is_usable(ip.parse().unwrap(), flags, false);
        assert!(usable("10.0.0.1", 0x80) && usable("2001:db8::1", 0));
        assert!(!usable("2001:db8::1", IFA_F_TENTATIVE));
        assert!(usable("2001:db8::1", IFA_F_TENTATIVE | IFA_F_OPTIMISTIC));
        assert!(!usable("2001:db8::1", IFA_F_TENTATIVE | IFA_F_DADFAILED));
        assert!(!usable("2001:db8::1", IFA_F_DEPRECATED));
        assert!(!usable("fe80::1", 0) && !usable("169.254.0.1", 0));
        assert!(is_usable("fe80::1".parse().unwrap(), 0, true));
    }
}
