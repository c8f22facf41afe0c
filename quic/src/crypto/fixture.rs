//! What the tests of this room share: TLS configurations, handshakes in memory, packets.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::keyring::{KeyRing, Opened};
use super::nonce::Ppn;
use super::phase::PhaseMark;
use super::protect::{LevelKeys, OpenError, SealError};
use super::tls::{ClientTls, NewKeys, Params, ServerTls, Tls};
use super::{Level, TAG_LEN};
use crate::base::time::Instant;
use crate::error::TransportError;
use crate::id::PathId;

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A certificate for `localhost` and its key, made once.
fn certificate() -> &'static (CertificateDer<'static>, Vec<u8>) {
    static MADE: OnceLock<(CertificateDer<'static>, Vec<u8>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (made.cert.der().clone(), made.signing_key.serialize_der())
    })
}

/// A certificate that shares nothing with ours, not even the name in it.
fn stranger() -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(vec!["elsewhere".into()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "stranger");
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

pub(super) fn server_config(provider: CryptoProvider, alpn: &[&[u8]]) -> rustls::ServerConfig {
    let (certificate, key) = certificate();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// A client that trusts the server's certificate, or nobody's.
pub(super) fn client_config(
    provider: CryptoProvider,
    alpn: &[&[u8]],
    trusting: bool,
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(if trusting { certificate().0.clone() } else { stranger() }).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

pub(crate) fn server_tls() -> ServerTls {
    ServerTls::new(Arc::new(server_config(provider(), &[b"perf"]))).unwrap()
}

/// A server that gives `tickets` session tickets, sealed with a key of its own, and stores nothing.
pub(crate) fn ticket_tls(tickets: usize) -> ServerTls {
    let mut config = server_config(provider(), &[b"perf"]);
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = tickets;
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    ServerTls::new(Arc::new(config)).unwrap()
}

pub(crate) fn client_tls() -> ClientTls {
    ClientTls::new(Arc::new(client_config(provider(), &[b"perf"], true))).unwrap()
}

/// One end of a handshake in memory: what `connection` does, without packets.
pub(super) struct Peer {
    pub(super) tls: Tls,
    pub(super) handshake: Option<LevelKeys>,
    pub(super) ring: Option<KeyRing>,
}

impl Peer {
    pub(super) fn client(tls: &ClientTls, params: &[u8]) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self::new(Tls::client(tls, name, params.to_vec()).unwrap())
    }

    pub(super) fn server(tls: &ServerTls, params: &[u8]) -> Self {
        Self::new(Tls::server(tls, Params::Fixed(params.to_vec())).unwrap())
    }

    fn new(tls: Tls) -> Self {
        Self { tls, handshake: None, ring: None }
    }

    /// Everything it wants to say now, each piece with its level.
    pub(super) fn write(&mut self) -> Vec<(Level, Vec<u8>)> {
        let mut said = Vec::new();
        loop {
            let (level, mut bytes) = (self.tls.write_level(), Vec::new());
            let keys = self.tls.write(&mut bytes);
            let wrote = !bytes.is_empty();
            if wrote {
                said.push((level, bytes));
            }
            match keys {
                Some(NewKeys::Handshake(keys)) => self.handshake = Some(keys),
                Some(NewKeys::OneRtt(ring)) => self.ring = Some(*ring),
                None if !wrote => return said,
                None => {}
            }
        }
    }

    pub(super) fn read(&mut self, said: &[(Level, Vec<u8>)]) -> Result<(), TransportError> {
        said.iter().try_for_each(|(level, bytes)| self.tls.read(*level, bytes))
    }
}

/// Runs a handshake to its end, or to the first error; `true` in front when the client met it.
pub(super) fn shake(client: &mut Peer, server: &mut Peer) -> Result<(), (bool, TransportError)> {
    for _ in 0..8 {
        let said = client.write();
        for piece in said {
            server.read(&[piece]).map_err(|error| (false, error))?;
        }
        for piece in server.write() {
            client.read(&[piece]).map_err(|error| (true, error))?;
            let said = client.write();
            server.read(&said).map_err(|error| (false, error))?;
        }
    }
    Ok(())
}

/// Both ends of a connection after its handshake.
pub(super) fn rings() -> (KeyRing, KeyRing) {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    shake(&mut client, &mut server).unwrap();
    (client.ring.unwrap(), server.ring.unwrap())
}

pub(super) const PTO: Duration = Duration::from_millis(100);

pub(super) fn ms(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// Where `sealed` puts its packet numbers, of four bytes: behind a first byte and a connection ID.
pub(super) const PN_OFFSET: usize = 9;
pub(super) const PAYLOAD_OFFSET: usize = PN_OFFSET + 4;

/// A short-header packet with `payload`, not sealed yet.
pub(super) fn packet(pn: u64, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x43, 1, 2, 3, 4, 5, 6, 7, 8];
    packet.extend_from_slice(&(pn as u32).to_be_bytes());
    packet.extend_from_slice(payload);
    packet.extend_from_slice(&[0; TAG_LEN]);
    packet
}

/// A key ring with the marks of its paths.
pub(super) struct End {
    pub(super) ring: KeyRing,
    pub(super) marks: [PhaseMark; 8],
}

impl End {
    pub(super) fn new(ring: KeyRing) -> Self {
        Self { ring, marks: Default::default() }
    }

    /// Client and server, both confirmed, after one acknowledged packet each way on path 0.
    pub(super) fn pair() -> (Self, Self) {
        let (client, server) = rings();
        let (mut client, mut server) = (Self::new(client), Self::new(server));
        client.ring.confirm();
        server.ring.confirm();
        client.talk_to(&mut server, 0, 0, ms(0));
        server.talk_to(&mut client, 0, 0, ms(0));
        (client, server)
    }

    pub(super) fn seal(&mut self, path: u32, pn: u64) -> Result<Vec<u8>, SealError> {
        let mut packet = packet(pn, b"payload");
        let ppn = Ppn::new(PathId(path), pn);
        self.ring.seal(ppn, &mut packet, PN_OFFSET, 4, &mut self.marks[path as usize])?;
        Ok(packet)
    }

    pub(super) fn open(&mut self, path: u32, packet: &[u8], now: Instant) -> Result<Opened, OpenError> {
        let mut packet = packet.to_vec();
        let unmasked = self.ring.unmask(&mut packet, PN_OFFSET).unwrap();
        assert_eq!(unmasked.pn_len, 4);
        let ppn = Ppn::new(PathId(path), unmasked.truncated_pn);
        let mark = &mut self.marks[path as usize];
        let opened = self.ring.open(ppn, &mut packet, PAYLOAD_OFFSET, mark, now, PTO)?;
        assert_eq!(&packet[opened.payload.clone()], b"payload");
        Ok(opened)
    }

    /// Sends one packet, which arrives and is acknowledged at once, in a packet of the same path and number.
    pub(super) fn talk_to(&mut self, peer: &mut Self, path: u32, pn: u64, now: Instant) {
        let sealed = self.seal(path, pn).unwrap();
        peer.open(path, &sealed, now).unwrap();
        peer.ring.on_ack_written(&peer.marks[path as usize], pn);
        let generation = peer.ring.generation();
        self.ring.on_acked(&self.marks[path as usize], pn, generation, now).unwrap();
    }
}
