//! Control messages: what rides beside a datagram, as bytes.
//!
//! Owns their encoding and decoding. Pure memory, no unsafe, no system call: lengths that the kernel (or anybody else)
//! wrote are checked before they are believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for all that we ask the kernel to tell on a receive, on a dual-stack socket too.
pub(crate) const RECEIVE_CONTROL_BYTES: usize = 144;
/// Room for all that we tell the kernel on a send.
pub(crate) const SEND_CONTROL_BYTES: usize = 96;

const ALIGNMENT: usize = align_of::<libc::cmsghdr>();
const HEADER_BYTES: usize = aligned(size_of::<libc::cmsghdr>());
const LEVEL_AT: usize = size_of::<usize>();
const KIND_AT: usize = LEVEL_AT + 4;

// The worst case of each direction fits.
const _: () = assert!(space(4) * 2 + space(20) + space(12) + space(4) <= RECEIVE_CONTROL_BYTES);
const _: () = assert!(space(2) + space(4) + space(20) <= SEND_CONTROL_BYTES);

const fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// What one message of `data_bytes` takes up.
const fn space(data_bytes: usize) -> usize {
    HEADER_BYTES + aligned(data_bytes)
}

/// What the kernel told beside a received buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    /// The length of each merged datagram; absent if there is only one.
    pub(crate) segment_size: Option<usize>,
    pub(crate) ecn: u8,
    pub(crate) local: Option<IpAddr>,
    /// Datagrams this socket has lost so far, modulo 2^32; absent while it is zero.
    pub(crate) overflow: Option<u32>,
}

impl Ancillary {
    /// Reads the messages in `control`; unknown and malformed ones are skipped.
    pub(crate) fn decode(control: &[u8]) -> Self {
        let mut told = Self::default();
        for (level, kind, data) in Messages(control) {
            match (level, kind) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    told.segment_size = int(data).and_then(|size| usize::try_from(size).ok());
                }
                (libc::SOL_IP, libc::IP_TOS) => told.ecn = data.first().map_or(0, |tos| tos & 3),
                (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                    told.ecn = int(data).map_or(0, |class| class as u8 & 3);
                }
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    // struct in_pktinfo: interface, the address that answers, the address in the header.
                    if let Some(octets) = data.get(8..12).and_then(|octets| <[u8; 4]>::try_from(octets).ok())
                    {
                        told.local = Some(IpAddr::V4(octets.into()));
                    }
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
                    if let Some(octets) = data.get(..16).and_then(|octets| <[u8; 16]>::try_from(octets).ok())
                    {
                        told.local = Some(IpAddr::V6(octets.into()).to_canonical());
                    }
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => told.overflow = int(data).map(|count| count as u32),
                _ => {}
            }
        }
        told
    }
}

fn int(data: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(data.get(..4)?.try_into().ok()?))
}

/// The messages in a control buffer: level, kind, data.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = usize::from_ne_bytes(self.0.get(..LEVEL_AT)?.try_into().ok()?);
        let message = self.0.get(..bytes)?;
        let data = message.get(HEADER_BYTES..)?;
        self.0 = self.0.get(aligned(bytes)..).unwrap_or_default();
        Some((int(&message[LEVEL_AT..])?, int(&message[KIND_AT..])?, data))
    }
}

/// Writes control messages one after the other.
pub(crate) struct ControlWriter<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl<'a> ControlWriter<'a> {
    /// Writes into `bytes`, which is [`SEND_CONTROL_BYTES`] long.
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    /// The bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The ECN bits, for a datagram that leaves as IPv6 or as IPv4.
    pub(crate) fn ecn(&mut self, ecn: u8, as_ipv6: bool) {
        let (level, kind) =
            if as_ipv6 { (libc::SOL_IPV6, libc::IPV6_TCLASS) } else { (libc::SOL_IP, libc::IP_TOS) };
        self.push(level, kind, &i32::from(ecn & 3).to_ne_bytes());
    }

    /// The source address.
    pub(crate) fn source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(address) => self.source_v4(address),
            IpAddr::V6(address) => self.source_v6(address),
        }
    }

    /// The length of each datagram of a train.
    pub(crate) fn segment_size(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes());
    }

    fn source_v4(&mut self, address: Ipv4Addr) {
        let mut data = [0; 12];
        data[4..8].copy_from_slice(&address.octets()); // ipi_spec_dst: the kernel ignores the rest
        self.push(libc::SOL_IP, libc::IP_PKTINFO, &data);
    }

    fn source_v6(&mut self, address: Ipv6Addr) {
        let mut data = [0; 20];
        data[..16].copy_from_slice(&address.octets());
        self.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &data);
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let message = &mut self.bytes[self.used..self.used + space(data.len())];
        message.fill(0);
        message[..LEVEL_AT].copy_from_slice(&(HEADER_BYTES + data.len()).to_ne_bytes());
        message[LEVEL_AT..KIND_AT].copy_from_slice(&level.to_ne_bytes());
        message[KIND_AT..KIND_AT + 4].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER_BYTES..HEADER_BYTES + data.len()].copy_from_slice(data);
        self.used += space(data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; space(data.len())];
        ControlWriter::new(&mut bytes).push(level, kind, data);
        bytes
    }

    #[test]
    fn our_layout_is_that_of_the_c_macros() {
        for data_bytes in [0_u32, 1, 2, 4, 12, 20] {
            // SAFETY: these two are arithmetic on their argument.
            let (space_c, len_c) = unsafe { (libc::CMSG_SPACE(data_bytes), libc::CMSG_LEN(data_bytes)) };
            assert_eq!(space(data_bytes as usize), space_c as usize);
            assert_eq!(HEADER_BYTES + data_bytes as usize, len_c as usize);
        }
    }

    #[test]
    fn everything_a_dual_stack_socket_tells_is_read() {
        let mapped = Ipv4Addr::new(127, 0, 0, 5).to_ipv6_mapped();
        let mut pktinfo = mapped.octets().to_vec();
        pktinfo.extend([1, 0, 0, 0]);
        let control = [
            raw(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7_u32.to_ne_bytes()),
            raw(libc::SOL_IPV6, libc::IPV6_PKTINFO, &pktinfo),
            raw(libc::SOL_IP, libc::IP_TOS, &[0b1011_1110]),
            raw(libc::SOL_UDP, libc::UDP_GRO, &1452_i32.to_ne_bytes()),
        ]
        .concat();
        let wanted = Ancillary {
            segment_size: Some(1452),
            ecn: 2,
            local: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5))),
            overflow: Some(7),
        };
        assert_eq!(Ancillary::decode(&control), wanted);
    }

    #[test]
    fn the_header_address_of_ipv4_is_the_local_one() {
        let data = [1, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let told = Ancillary::decode(&raw(libc::SOL_IP, libc::IP_PKTINFO, &data));
        assert_eq!(told.local, Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))));
    }

    #[test]
    fn lengths_that_lie_end_the_list_and_nothing_else() {
        let good = raw(libc::SOL_IPV6, libc::IPV6_TCLASS, &3_i32.to_ne_bytes());
        for length in [0, 1, HEADER_BYTES - 1, HEADER_BYTES + 400, usize::MAX, usize::MAX - 7] {
            let mut bad = raw(libc::SOL_UDP, libc::UDP_GRO, &9_i32.to_ne_bytes());
            bad[..LEVEL_AT].copy_from_slice(&length.to_ne_bytes());
            let told = Ancillary::decode(&[good.clone(), bad].concat());
            assert_eq!(told, Ancillary { ecn: 3, ..Ancillary::default() });
        }
        for cut in 0..good.len() - 4 {
            assert_eq!(Ancillary::decode(&good[..cut]), Ancillary::default(), "cut at {cut}");
        }
    }

    #[test]
    fn data_shorter_than_its_kind_is_skipped() {
        let control = [
            raw(libc::SOL_UDP, libc::UDP_GRO, &[1, 2]),
            raw(libc::SOL_IP, libc::IP_PKTINFO, &[0; 11]),
            raw(libc::SOL_IPV6, libc::IPV6_PKTINFO, &[0; 15]),
            raw(libc::SOL_IP, libc::IP_TOS, &[]),
        ]
        .concat();
        assert_eq!(Ancillary::decode(&control), Ancillary::default());
    }

    #[test]
    fn what_we_write_is_read_back_and_fits() {
        let mut bytes = [0xff; SEND_CONTROL_BYTES];
        let mut writer = ControlWriter::new(&mut bytes);
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
        writer.ecn(1, true);
        writer.source(IpAddr::V6(source));
        let without_segments = writer.len();
        writer.segment_size(1200);
        let used = writer.len();
        assert!(used <= SEND_CONTROL_BYTES && used - without_segments == space(2));
        let told = Ancillary::decode(&bytes[..used]);
        assert_eq!((told.ecn, told.local), (1, Some(IpAddr::V6(source))));
        let last = Messages(&bytes[..used]).last();
        assert_eq!(last, Some((libc::SOL_UDP, libc::UDP_SEGMENT, &1200_u16.to_ne_bytes()[..])));
    }
}
