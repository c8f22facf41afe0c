//! The TLS 1.3 handshake, by rustls (RFC 9001 §4, §8).
//!
//! Owns the check that a TLS configuration can serve QUIC, and one handshake's state. Takes and gives plain bytes per
//! level; knows no packets and no CRYPTO frames. Only this file and `provider` name types of rustls. Never uses a
//! process-wide crypto provider: everything comes from the configuration given.

use std::fmt;
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::crypto::CryptoProvider;
use rustls::quic;
use rustls_pki_types::{CertificateDer, ServerName};

use super::Level;
use super::keyring::KeyRing;
use super::protect::LevelKeys;
use super::provider::{InitialSuite, KeySource};
use crate::error::{TransportError, TransportErrorCode};
use crate::id::Role;
use crate::wire::client_hello::{self, Declared};

/// The alert `internal_error`, for failures that rustls has no alert for (RFC 8446 §6).
const ALERT_INTERNAL_ERROR: u8 = 80;

/// The alert `unexpected_message` (RFC 8446 §6).
const ALERT_UNEXPECTED_MESSAGE: u8 = 10;

/// A client's first message that is longer than this is left to TLS to judge.
const UNDECIDED_MAX: usize = 1 << 16;

/// Why a TLS configuration cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsConfigError {
    /// The provider lacks `TLS13_AES_128_GCM_SHA256` with packet protection, which Initial packets need.
    NoInitialSuite,
    /// No application protocol (ALPN) is configured, which QUIC needs (RFC 9001 §8.1).
    NoApplicationProtocol,
    /// Early data (0-RTT) is accepted, which this implementation does not do.
    EarlyData,
    /// Rustls refuses it.
    Refused(rustls::Error),
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInitialSuite => {
                f.write_str("the crypto provider lacks TLS13_AES_128_GCM_SHA256 for QUIC")
            }
            Self::NoApplicationProtocol => f.write_str("no application protocol (ALPN) is configured"),
            Self::EarlyData => f.write_str("early data (0-RTT) is not supported"),
            Self::Refused(error) => write!(f, "TLS refuses the configuration: {error}"),
        }
    }
}

impl std::error::Error for TlsConfigError {}

/// A server's TLS configuration, checked.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<rustls::ServerConfig>,
    initial: InitialSuite,
}

impl ServerTls {
    /// Takes `config` if it can serve QUIC connections.
    pub fn new(config: Arc<rustls::ServerConfig>) -> Result<Self, TlsConfigError> {
        let initial = check(config.crypto_provider(), &config.alpn_protocols)?;
        if config.max_early_data_size > 0 {
            return Err(TlsConfigError::EarlyData);
        }
        let tls = Self { config, initial };
        Tls::server(&tls, Params::Fixed(Vec::new()))?;
        Ok(tls)
    }

    /// The keys of Initial packets for the destination connection ID of the client's first one.
    pub(crate) fn initial_keys(&self, dcid: &[u8]) -> LevelKeys {
        initial_keys(self.initial, dcid, Role::Server)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("alpn", &self.config.alpn_protocols).finish_non_exhaustive()
    }
}

/// A client's TLS configuration, checked.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<rustls::ClientConfig>,
    initial: InitialSuite,
}

impl ClientTls {
    /// Takes `config` if it can make QUIC connections.
    pub fn new(config: Arc<rustls::ClientConfig>) -> Result<Self, TlsConfigError> {
        let initial = check(config.crypto_provider(), &config.alpn_protocols)?;
        let tls = Self { config, initial };
        let anyone = ServerName::IpAddress(std::net::IpAddr::from([0; 16]).into());
        Tls::client(&tls, anyone, Vec::new())?;
        Ok(tls)
    }

    /// The keys of Initial packets for the destination connection ID of our first one.
    pub(crate) fn initial_keys(&self, dcid: &[u8]) -> LevelKeys {
        initial_keys(self.initial, dcid, Role::Client)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("alpn", &self.config.alpn_protocols).finish_non_exhaustive()
    }
}

fn check(provider: &CryptoProvider, alpn: &[Vec<u8>]) -> Result<InitialSuite, TlsConfigError> {
    if alpn.is_empty() {
        return Err(TlsConfigError::NoApplicationProtocol);
    }
    InitialSuite::of(provider).ok_or(TlsConfigError::NoInitialSuite)
}

fn initial_keys(suite: InitialSuite, dcid: &[u8], role: Role) -> LevelKeys {
    let (local, remote) = suite.keys(dcid, role);
    LevelKeys::new(local, remote)
}

/// Keys that TLS has just made: what is written from now on belongs to their level.
#[derive(Debug)]
pub(crate) enum NewKeys {
    Handshake(LevelKeys),
    OneRtt(Box<KeyRing>),
}

/// A server's transport parameters.
#[derive(Clone, Debug)]
pub(crate) enum Params {
    Fixed(Vec<u8>),
    /// `other` for clients whose own parameters ask for them.
    ByClient {
        usual: Vec<u8>,
        other: Vec<u8>,
        wants_other: fn(&[u8]) -> bool,
    },
}

impl Params {
    /// What a client gets that declares `theirs`.
    pub(crate) fn answer(&self, theirs: &[u8]) -> &[u8] {
        match self {
            Self::Fixed(params) => params,
            Self::ByClient { other, wants_other, .. } if wants_other(theirs) => other,
            Self::ByClient { usual, .. } => usual,
        }
    }
}

/// A server that has not read enough of the client to know its own parameters.
struct Undecided {
    other: quic::Connection,
    wants_other: fn(&[u8]) -> bool,
    read: Vec<u8>,
}

/// One handshake, and what comes after it on the handshake stream.
pub(crate) struct Tls {
    session: Session,
    write_level: Level,
}

/// What is kept of a TLS session.
enum Session {
    Live(Box<Live>),
    /// All is said, and nothing may come: some kilobytes less for each idle connection of a server.
    Over(Box<Facts>),
}

struct Live {
    connection: quic::Connection,
    undecided: Option<Box<Undecided>>,
}

/// What an application may want to know afterwards.
struct Facts {
    alpn: Option<Box<[u8]>>,
    server_name: Option<Box<str>>,
    peer_certificates: Option<Box<[CertificateDer<'static>]>>,
    #[cfg(test)]
    peer_params: Option<Vec<u8>>,
}

impl Tls {
    /// A client's handshake with `server_name`, carrying these transport parameters.
    pub(crate) fn client(
        tls: &ClientTls,
        server_name: ServerName<'static>,
        params: Vec<u8>,
    ) -> Result<Self, TlsConfigError> {
        let config = Arc::clone(&tls.config);
        let connection = quic::ClientConnection::new(config, quic::Version::V1, server_name, params)
            .map_err(TlsConfigError::Refused)?;
        Ok(Self::begin(connection.into(), None))
    }

    /// A server's handshake, carrying these transport parameters.
    pub(crate) fn server(tls: &ServerTls, params: Params) -> Result<Self, TlsConfigError> {
        let begin = |params| {
            let connection = quic::ServerConnection::new(Arc::clone(&tls.config), quic::Version::V1, params);
            connection.map(quic::Connection::from).map_err(TlsConfigError::Refused)
        };
        let (connection, undecided) = match params {
            Params::Fixed(params) => (begin(params)?, None),
            Params::ByClient { usual, other, wants_other } => {
                let undecided = Undecided { other: begin(other)?, wants_other, read: Vec::new() };
                (begin(usual)?, Some(Box::new(undecided)))
            }
        };
        Ok(Self::begin(connection, undecided))
    }

    /// Takes the next bytes that came at `level`. Call `write` until it gives nothing before reading more.
    pub(crate) fn read(&mut self, level: Level, data: &[u8]) -> Result<(), TransportError> {
        if level != self.read_level() {
            return Err(TransportError::protocol_violation("handshake data at the wrong level"));
        }
        match &mut self.session {
            Session::Live(live) => live.read(data),
            Session::Over(_) if data.is_empty() => Ok(()),
            // A client has nothing to say behind its handshake: QUIC has no KeyUpdate (RFC 9001 §6), and no certificate was
            // asked for.
            Session::Over(_) => Err(TransportError::new(
                TransportErrorCode::crypto(ALERT_UNEXPECTED_MESSAGE),
                "TLS message out of place",
            )),
        }
    }

    /// Appends to `out` what is to be sent at `write_level`, and gives the keys of the next level when TLS has made
    /// them. Call again until it gives neither.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) -> Option<NewKeys> {
        let Session::Live(live) = &mut self.session else { return None };
        let change = live.connection.write_hs(out)?;
        self.write_level = self.write_level.next();
        Some(match change {
            quic::KeyChange::Handshake { keys } => {
                NewKeys::Handshake(LevelKeys::new(keys.local.into(), keys.remote.into()))
            }
            quic::KeyChange::OneRtt { keys, next } => {
                let ring = KeyRing::new(keys.local.into(), keys.remote.into(), KeySource::new(next));
                NewKeys::OneRtt(Box::new(ring))
            }
        })
    }

    /// The level of what the next call of `write` appends.
    pub(crate) const fn write_level(&self) -> Level {
        self.write_level
    }

    /// The level whose data TLS reads now.
    pub(crate) fn read_level(&self) -> Level {
        match self.write_level {
            Level::OneRtt if self.is_handshaking() => Level::Handshake,
            level => level,
        }
    }

    /// Is the handshake incomplete? (RFC 9001 §4.1.1)
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection().is_some_and(|connection| connection.is_handshaking())
    }

    /// Did it take up an earlier session by a ticket of the server's, so that no certificate was shown? Known once the
    /// handshake is complete (RFC 8446 §2.2).
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection().and_then(|connection| connection.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// The peer's transport parameters, once they came. They are authentic when the handshake is complete.
    ///
    /// A client that resumes holds those of the earlier connection until the server's come. Those are for 0-RTT alone; they
    /// have gone when the application protocol is known, which comes with them (RFC 8446 §4.3.1) and which QUIC needs.
    pub(crate) fn peer_params(&self) -> Option<&[u8]> {
        match &self.session {
            Session::Live(live) => self.alpn().and_then(|_| live.connection.quic_transport_parameters()),
            #[cfg(test)]
            Session::Over(facts) => facts.peer_params.as_deref(),
            #[cfg(not(test))]
            Session::Over(_) => None,
        }
    }

    /// The application protocol agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.session {
            Session::Live(live) => live.connection.alpn_protocol(),
            Session::Over(facts) => facts.alpn.as_deref(),
        }
    }

    /// The name that the client asked for, at a server.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match &self.session {
            Session::Live(live) => match &live.connection {
                quic::Connection::Client(_) => None,
                quic::Connection::Server(server) => server.server_name(),
            },
            Session::Over(facts) => facts.server_name.as_deref(),
        }
    }

    /// The certificates the peer presented, its own first.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.session {
            Session::Live(live) => live.connection.peer_certificates(),
            Session::Over(facts) => facts.peer_certificates.as_deref(),
        }
    }

    /// Lets go of what only the handshake needed. For servers whose handshake is complete and whose tickets are written:
    /// a client would lose the tickets that are still to come.
    pub(crate) fn retire(&mut self) {
        debug_assert!(!self.is_handshaking());
        let facts = Facts {
            alpn: self.alpn().map(Into::into),
            server_name: self.server_name().map(Into::into),
            peer_certificates: self.peer_certificates().map(Into::into),
            #[cfg(test)]
            peer_params: self.peer_params().map(Into::into),
        };
        self.session = Session::Over(Box::new(facts));
    }

    fn begin(connection: quic::Connection, undecided: Option<Box<Undecided>>) -> Self {
        let session = Session::Live(Box::new(Live { connection, undecided }));
        Self { session, write_level: Level::Initial }
    }

    fn connection(&self) -> Option<&quic::Connection> {
        match &self.session {
            Session::Live(live) => Some(&live.connection),
            Session::Over(_) => None,
        }
    }
}

impl Live {
    fn read(&mut self, data: &[u8]) -> Result<(), TransportError> {
        let Some(mut undecided) = self.undecided.take() else { return self.read_decided(data) };
        undecided.read.extend_from_slice(data);
        match client_hello::declared(&undecided.read) {
            Declared::NotYet if undecided.read.len() < UNDECIDED_MAX => {
                self.undecided = Some(undecided);
                return Ok(());
            }
            Declared::These(params) if (undecided.wants_other)(params) => self.connection = undecided.other,
            _ => {}
        }
        self.read_decided(&undecided.read)
    }

    fn read_decided(&mut self, data: &[u8]) -> Result<(), TransportError> {
        self.connection.read_hs(data).map_err(|error| {
            let alert = self.connection.alert().map_or(ALERT_INTERNAL_ERROR, u8::from);
            TransportError::new(TransportErrorCode::crypto(alert), reason(&error))
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("write_level", &self.write_level).finish_non_exhaustive()
    }
}

/// What went wrong, in words that no peer can choose.
fn reason(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::NoApplicationProtocol => "no application protocol in common",
        rustls::Error::InvalidCertificate(_) => "the certificate is not accepted",
        rustls::Error::NoCertificatesPresented => "a certificate is missing",
        rustls::Error::PeerIncompatible(_) => "no TLS settings in common",
        rustls::Error::PeerMisbehaved(_) => "the rules of TLS were broken",
        rustls::Error::InvalidMessage(_) => "malformed TLS message",
        rustls::Error::InappropriateMessage { .. } | rustls::Error::InappropriateHandshakeMessage { .. } => {
            "TLS message out of place"
        }
        _ => "the TLS handshake failed",
    }
}
