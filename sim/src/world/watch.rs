//! What the world can see from outside, and what must always hold there.
//!
//! Owns the rules that need no key: an address is not answered with more than three times what it sent before it proved
//! itself, a path that is leaving is silent, a train is well formed. Looks at datagrams only; what happens inside an
//! endpoint is checked by its own `audit`.

use braid_quic::cid::CID_LEN;
use braid_quic::{Role, RouteId, Train};

use crate::network::BUFFER_BYTES;

/// RFC 9000 §8: before validation, at most this many times the bytes received.
const AMPLIFICATION: u64 = 3;
/// Linux's limit for the segments of one train.
const SEGMENTS_MAX: usize = 64;
/// Set in the first octet of long headers (RFC 8999 §5.1).
const LONG: u8 = 0x80;

/// One end of the network under observation.
#[derive(Debug)]
pub(crate) struct Watch {
    role: Role,
    /// One for each route that anything came or went by, latest last.
    places: Vec<Place>,
}

/// What is known of one route: its far address may be another one tomorrow, and then must prove itself again.
#[derive(Clone, Debug)]
struct Place {
    route: RouteId,
    received_bytes: u64,
    sent_bytes: u64,
    proven: bool,
    silent: bool,
    /// Connection IDs that short-header packets carried to the far end of this route.
    used_ids: Vec<[u8; CID_LEN]>,
}

impl Watch {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, places: Vec::new() }
    }

    /// A buffer of datagrams arrived.
    pub(crate) fn on_received(&mut self, route: RouteId, bytes: &[u8], segment_size: usize) {
        let role = self.role;
        let place = self.place(route);
        place.received_bytes += bytes.len() as u64;
        // Only who received our Initial packets can protect a Handshake packet (RFC 9000 §8.1).
        if !place.proven && role == Role::Server {
            place.proven = bytes.chunks(segment_size.max(1)).any(holds_handshake_packet);
        }
    }

    /// The endpoint says that the address at the far end of `route` is validated.
    pub(crate) fn on_proven(&mut self, route: RouteId) {
        self.place(route).proven = true;
    }

    /// Whether the server knows an address that did not prove itself.
    pub(crate) fn doubts_any(&self) -> bool {
        self.role == Role::Server && self.places.iter().any(|place| !place.proven)
    }

    /// Notes for which routes `is_proven` holds, as the endpoint says.
    pub(crate) fn believe(&mut self, is_proven: impl Fn(&RouteId) -> bool) {
        for place in self.places.iter_mut().filter(|place| !place.proven) {
            place.proven = is_proven(&place.route);
        }
    }

    /// From now on nothing may leave by the routes for which `is_silent` holds.
    pub(crate) fn silence(&mut self, is_silent: impl Fn(&RouteId) -> bool) {
        for place in &mut self.places {
            place.silent = is_silent(&place.route);
        }
    }

    /// A train leaves, and `bytes` begins with what it holds.
    pub(crate) fn on_train(&mut self, route: RouteId, train: &Train, bytes: &[u8]) -> Result<(), String> {
        well_formed(train.bytes, train.segment_size)?;
        let role = self.role;
        let place = self.place(route);
        for id in bytes[..train.bytes].chunks(train.segment_size).filter_map(short_packet_id) {
            match place.used_ids.contains(&id) {
                true if place.silent => {
                    return Err(format!("{role:?} sent on a route whose path is leaving: {train:?}"));
                }
                // An endpoint may answer what fits no connection: by a stateless reset, to an ID never used here.
                false if !place.silent => place.used_ids.push(id),
                _ => {}
            }
        }
        place.sent_bytes += train.bytes as u64;
        let (sent, received) = (place.sent_bytes, place.received_bytes);
        if role == Role::Server && !place.proven && sent > AMPLIFICATION * received {
            let remote = route.remote();
            return Err(format!("amplification to {remote}: {sent} bytes sent for {received} received"));
        }
        Ok(())
    }

    fn place(&mut self, route: RouteId) -> &mut Place {
        let known = self.places.iter().rposition(|place| place.route == route);
        let at = known.unwrap_or_else(|| {
            self.places.push(Place::new(route));
            self.places.len() - 1
        });
        &mut self.places[at]
    }
}

impl Place {
    fn new(route: RouteId) -> Self {
        Self { route, received_bytes: 0, sent_bytes: 0, proven: false, silent: false, used_ids: Vec::new() }
    }
}

/// The connection ID of a short-header packet, as long as the ones that our endpoints issue.
fn short_packet_id(datagram: &[u8]) -> Option<[u8; CID_LEN]> {
    let (first, rest) = datagram.split_first()?;
    if first & LONG == 0 { rest.first_chunk().copied() } else { None }
}

/// May a train have this shape?
fn well_formed(bytes: usize, segment_size: usize) -> Result<(), String> {
    let fits = (1..=BUFFER_BYTES).contains(&bytes) && segment_size > 0;
    if fits && bytes.div_ceil(segment_size) <= SEGMENTS_MAX {
        return Ok(());
    }
    Err(format!("a malformed train: {bytes} bytes in segments of {segment_size}"))
}

/// Does a datagram hold a Handshake packet, perhaps behind an Initial packet? (RFC 9000 §12.2, §17.2)
fn holds_handshake_packet(datagram: &[u8]) -> bool {
    const INITIAL: u8 = 0;
    const HANDSHAKE: u8 = 2;
    let mut rest = datagram;
    while let Some(&first) = rest.first()
        && first & LONG != 0
    {
        let kind = first >> 4 & 3;
        if kind == HANDSHAKE {
            return true;
        }
        let Some(length) = long_packet_bytes(rest, kind == INITIAL) else { return false };
        rest = &rest[length..];
    }
    false
}

/// The length of the long-header packet at the front of `bytes`, if it fits.
fn long_packet_bytes(bytes: &[u8], initial: bool) -> Option<usize> {
    let mut at = 5;
    for _ in 0..2 {
        at += 1 + usize::from(*bytes.get(at)?); // a connection ID
    }
    if initial {
        let (token_bytes, width) = varint(bytes.get(at..)?)?;
        at = at.checked_add(width)?.checked_add(usize::try_from(token_bytes).ok()?)?;
    }
    let (length, width) = varint(bytes.get(at..)?)?;
    let end = at.checked_add(width)?.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

/// A variable-length integer and how many octets it takes (RFC 9000 §16).
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let width = 1_usize << (first >> 6);
    let octets = bytes.get(1..width)?;
    Some((octets.iter().fold(u64::from(first & 0x3f), |value, &octet| value << 8 | u64::from(octet)), width))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use braid_quic::{Ecn, LocalId, TrainTag};

    use super::*;

    /// The route to a client with this port.
    fn to(port: u16) -> RouteId {
        RouteId::new(LocalId(0), "192.0.2.1:443".parse().unwrap(), ([10, 0, 0, 1], port).into())
    }

    fn train(bytes: usize) -> Train {
        let remote: SocketAddr = "10.0.0.1:5".parse().unwrap();
        let segment_size = bytes.clamp(1, 1_200);
        Train {
            bytes,
            segment_size,
            local_id: LocalId(0),
            source: None,
            remote,
            ecn: Ecn::NotEct,
            tag: TrainTag(0),
        }
    }

    /// Sends a train of short-header packets to one connection ID.
    fn send(watch: &mut Watch, route: RouteId, bytes: usize) -> Result<(), String> {
        watch.on_train(route, &train(bytes), &vec![7; bytes])
    }

    /// A long-header packet of type `kind` with empty connection IDs and `body` octets after its length.
    fn long_packet(kind: u8, body: u8) -> Vec<u8> {
        let mut packet = vec![0xc0 | kind << 4, 0, 0, 0, 1, 0, 0];
        if kind == 0 {
            packet.push(0); // no token
        }
        packet.push(body);
        packet.extend(std::iter::repeat_n(0xaa, usize::from(body)));
        packet
    }

    #[test]
    fn a_server_may_send_three_times_what_it_received_and_not_one_byte_more() {
        let mut watch = Watch::new(Role::Server);
        watch.on_received(to(5), &[0x40; 1_200], 1_200);
        assert_eq!(send(&mut watch, to(5), 3_600), Ok(()));
        assert!(send(&mut watch, to(5), 1).unwrap_err().contains("amplification"));
    }

    #[test]
    fn a_handshake_packet_or_the_endpoints_word_lifts_the_limit() {
        let mut coalesced = long_packet(0, 30);
        coalesced.extend(long_packet(2, 30));
        let mut watch = Watch::new(Role::Server);
        watch.on_received(to(5), &coalesced, coalesced.len());
        assert_eq!(send(&mut watch, to(5), 60_000), Ok(()));
        watch.on_proven(to(6));
        assert_eq!(send(&mut watch, to(6), 60_000), Ok(()));
    }

    #[test]
    fn initial_and_short_packets_do_not_lift_it_and_runts_are_survived() {
        assert!(!holds_handshake_packet(&long_packet(0, 40)));
        assert!(!holds_handshake_packet(&[0x40; 100]));
        let mut packet = long_packet(0, 40);
        packet.extend(long_packet(2, 40));
        let first = long_packet(0, 40).len();
        for length in 0..packet.len() {
            assert_eq!(holds_handshake_packet(&packet[..length]), length > first, "{length}");
        }
    }

    #[test]
    fn the_second_segment_of_a_buffer_counts_too() {
        let mut bytes = long_packet(0, 38); // 47 octets
        bytes.extend(long_packet(2, 38)); // 46 octets
        let mut watch = Watch::new(Role::Server);
        watch.on_received(to(5), &bytes, 47);
        assert_eq!(send(&mut watch, to(5), 60_000), Ok(()));
    }

    #[test]
    fn a_client_is_not_limited() {
        let mut watch = Watch::new(Role::Client);
        assert_eq!(send(&mut watch, to(5), 60_000), Ok(()));
    }

    #[test]
    fn nothing_may_leave_on_a_silent_link() {
        let mut watch = Watch::new(Role::Client);
        assert_eq!(send(&mut watch, to(5), 30), Ok(()));
        watch.silence(|route| *route == to(5));
        assert!(send(&mut watch, to(5), 30).unwrap_err().contains("leaving"));
        assert_eq!(send(&mut watch, to(6), 30), Ok(()));
        watch.silence(|_| false);
        assert_eq!(send(&mut watch, to(5), 30), Ok(()));
    }

    #[test]
    fn a_stateless_reset_may_leave_on_a_silent_link() {
        let mut watch = Watch::new(Role::Server);
        watch.on_proven(to(5));
        assert_eq!(send(&mut watch, to(5), 30), Ok(()));
        watch.silence(|_| true);
        assert_eq!(watch.on_train(to(5), &train(30), &[0x41; 30]), Ok(()));
        assert!(send(&mut watch, to(5), 30).is_err());
    }

    #[test]
    fn trains_have_between_1_and_64_segments_and_fit_a_datagram() {
        assert!(well_formed(0, 1_200).is_err());
        assert!(well_formed(1_200, 0).is_err());
        assert!(well_formed(100, 1_200).is_ok(), "one short segment");
        assert!(well_formed(64_000, 1_000).is_ok());
        assert!(well_formed(64_001, 1_000).is_err(), "65 segments");
        assert!(well_formed(65_508, 65_508).is_err());
    }

    #[test]
    fn varints_decode_as_in_rfc_9000_appendix_a() {
        assert_eq!(varint(&[0x25]), Some((37, 1)));
        assert_eq!(varint(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(varint(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(varint(&[0x9d, 0x7f, 0x3e]), None);
    }
}
