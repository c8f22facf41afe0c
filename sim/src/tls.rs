//! TLS settings of simulated endpoints: the committed certificate, virtual wall time, no tickets.
//!
//! Owns what rustls would otherwise take from outside besides randomness (`provider` owns that). Nothing here reads a
//! clock or a file at run time, so a handshake is a function of its seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use braid_quic::Instant;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::provider::{Hello, Protection, provider};

/// The application protocol of simulated connections.
pub const ALPN: &[u8] = b"perf";
/// 2030-01-01: where virtual wall time starts; the certificate is valid then.
const EPOCH_SECONDS: u64 = 1_893_456_000;

const CERTIFICATE: &[u8] = include_bytes!("../testdata/server.cert");
const KEY: &[u8] = include_bytes!("../testdata/server.key");

/// The wall clock of one world: it shows what the world last told it.
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// Moves the clock.
    pub fn set(&self, now: Instant) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }
}

impl TimeProvider for VirtualClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since_start = Duration::from_nanos(self.0.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(Duration::from_secs(EPOCH_SECONDS) + since_start))
    }
}

/// The name in the certificate.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("braid.test").expect("a valid name")
}

/// A client that trusts exactly the committed certificate.
pub fn client_config(
    seed: u64,
    protection: Protection,
    hello: Hello,
    clock: Arc<VirtualClock>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).expect("the committed certificate is sound");
    let mut config = ClientConfig::builder_with_details(provider(seed, protection, hello), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// A server with the committed certificate, whose Ed25519 signatures contain no randomness.
pub fn server_config(
    seed: u64,
    protection: Protection,
    hello: Hello,
    clock: Arc<VirtualClock>,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("the committed key is sound");
    let mut config = ServerConfig::builder_with_details(provider(seed, protection, hello), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .expect("certificate and key fit");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Arc::new(config)
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE).expect("the committed certificate is sound")
}

#[cfg(test)]
mod tests {
    use rustls::quic::{ClientConnection, Connection, KeyChange, ServerConnection, Version};

    use super::*;

    /// Every byte that both sides of a handshake wrote, and a packet sealed with its final keys.
    fn transcript(seed: u64, protection: Protection, hello: Hello) -> Vec<u8> {
        let clock = Arc::new(VirtualClock::default());
        let client = client_config(seed, protection, hello, Arc::clone(&clock));
        let server = server_config(seed + 1, protection, hello, clock);
        let mut client = Connection::from(
            ClientConnection::new(client, Version::V1, server_name(), b"client".to_vec()).unwrap(),
        );
        let mut server =
            Connection::from(ServerConnection::new(server, Version::V1, b"server".to_vec()).unwrap());
        let mut written = Vec::new();
        while client.is_handshaking() || server.is_handshaking() {
            let before = written.len();
            exchange(&mut client, &mut server, &mut written);
            exchange(&mut server, &mut client, &mut written);
            assert!(written.len() > before, "the handshake is stuck");
        }
        written
    }

    fn exchange(from: &mut Connection, to: &mut Connection, written: &mut Vec<u8>) {
        loop {
            let mut flight = Vec::new();
            let change = from.write_hs(&mut flight);
            to.read_hs(&flight).unwrap();
            written.extend_from_slice(&flight);
            match change {
                Some(KeyChange::OneRtt { keys, .. }) => {
                    let mut payload = *b"payload";
                    let tag =
                        keys.local.packet.encrypt_in_place_for_path(1, 2, b"header", &mut payload).unwrap();
                    written.extend_from_slice(&payload);
                    written.extend_from_slice(tag.as_ref());
                }
                None if flight.is_empty() => return,
                _ => {}
            }
        }
    }

    #[test]
    fn a_handshake_is_a_function_of_its_seed() {
        for protection in [Protection::Real, Protection::Null, Protection::Blind] {
            for hello in [Hello::Short, Hello::Wide] {
                let first = transcript(7, protection, hello);
                assert_eq!(first, transcript(7, protection, hello), "{protection:?} {hello:?}");
                assert_ne!(first, transcript(8, protection, hello), "{protection:?} {hello:?}");
            }
        }
    }

    #[test]
    fn worlds_on_several_threads_do_not_disturb_each_other() {
        let alone = transcript(7, Protection::Real, Hello::Short);
        let together: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| transcript(7, Protection::Real, Hello::Short)))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(together.iter().all(|one| *one == alone));
    }

    #[test]
    fn a_wide_hello_needs_more_than_one_initial_packet() {
        let first_flight = |hello| {
            let clock = Arc::new(VirtualClock::default());
            let config = client_config(1, Protection::Null, hello, clock);
            let mut client = ClientConnection::new(config, Version::V1, server_name(), Vec::new()).unwrap();
            let mut flight = Vec::new();
            client.write_hs(&mut flight);
            flight.len()
        };
        assert!(first_flight(Hello::Short) < 1_000);
        assert!(first_flight(Hello::Wide) > 1_200);
    }

    #[test]
    fn a_client_whose_clock_is_past_the_certificate_refuses_it() {
        let clock = Arc::new(VirtualClock::default());
        clock.set(Instant::from_nanos(200 * 365 * 86_400 * 1_000_000_000));
        let client = client_config(1, Protection::Null, Hello::Short, clock);
        let server = server_config(2, Protection::Null, Hello::Short, Arc::default());
        let mut client = ClientConnection::new(client, Version::V1, server_name(), Vec::new()).unwrap();
        let mut server = ServerConnection::new(server, Version::V1, Vec::new()).unwrap();
        let mut flight = Vec::new();
        client.write_hs(&mut flight);
        server.read_hs(&flight).unwrap();
        let mut answers = Vec::new();
        while server.write_hs(&mut answers).is_some() {}
        assert!(client.read_hs(&answers).is_err());
    }
}
