//! TLS for stacks that have rustls: version 1.3 with AES-128-GCM and X25519 alone, by ring, the default of quinn and noq.
//!
//! Owns tickets and how a client knows whether a certificate was shown. Clients trust anybody who can sign.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use interop_perf::protocol::ALPN;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::ring::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, NamedGroup, ServerConfig, SignatureScheme, version,
};
use tokio::sync::watch;

use crate::Failure;

pub use interop_perf::tls::SERVER_NAME;

/// Tickets that a memory keeps; a server sends two or so.
const TICKETS_MAX: usize = 4;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    })
}

/// A server's side; its tickets hold everything, as is usual.
pub fn server(cert: &Path, key: &Path) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

/// A client's side without any memory.
pub fn client() -> Result<ClientConfig, Failure> {
    Ok(client_with(Resumption::disabled(), Arc::default())?)
}

fn client_with(resumption: Resumption, certificates: Arc<AtomicU64>) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = Anybody { provider: Arc::clone(&provider), certificates };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = resumption;
    Ok(config)
}

/// What a client keeps of its connections, one after the other.
#[derive(Clone, Debug)]
pub struct Memory {
    config: ClientConfig,
    certificates: Arc<AtomicU64>,
    store: Arc<Store>,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Result<Self, Failure> {
        let (store, certificates) = (Arc::new(Store::default()), Arc::default());
        let config = client_with(Resumption::store(Arc::clone(&store) as _), Arc::clone(&certificates))?;
        Ok(Self { config, certificates, store })
    }

    /// The settings of the next connection with this memory.
    pub fn config(&self) -> ClientConfig {
        self.store.before.store(*self.store.came.borrow(), Ordering::Relaxed);
        self.config.clone()
    }

    /// Waits for a ticket of the connection that was made last.
    pub async fn remembered(&self) {
        let before = self.store.before.load(Ordering::Relaxed);
        // The sender is ours, so that it cannot be gone.
        let _ = self.store.came.subscribe().wait_for(|came| *came > before).await;
    }

    /// Did the connections since the last call do without a certificate?
    pub fn was_resumed(&self) -> bool {
        self.certificates.swap(0, Ordering::Relaxed) == 0
    }
}

/// Tickets, and a bell for each that comes.
#[derive(Debug)]
struct Store {
    tickets: ClientSessionMemoryCache,
    /// How many ever came.
    came: watch::Sender<u64>,
    /// How many had come before the last connection.
    before: AtomicU64,
}

impl Default for Store {
    fn default() -> Self {
        let tickets = ClientSessionMemoryCache::new(TICKETS_MAX);
        Self { tickets, came: watch::Sender::new(0), before: AtomicU64::new(0) }
    }
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.tickets.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.tickets.kx_hint(name)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.tickets.insert_tls13_ticket(name, ticket);
        self.came.send_modify(|came| *came += 1);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tickets.take_tls13_ticket(name)
    }
}

/// Trusts every certificate whose owner can sign with it, and counts them.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
    certificates: Arc<AtomicU64>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.certificates.fetch_add(1, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
