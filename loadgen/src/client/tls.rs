//! How the client decides whether to trust the server, and the TLS settings that follow.
//!
//! Owns the two verifiers that are not rustls' own: one that accepts a single known certificate, one that accepts
//! every certificate. Both still check that the server holds the certificate's key.

use std::path::Path;
use std::sync::Arc;

use braid_quic::{ClientTls, PacketProtection};
use braid_server::perf::ALPN;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Servers whose session tickets are kept; of each, rustls keeps eight.
const SESSIONS_KEPT: usize = 32;

/// The settings that accept exactly `certificate`.
pub(crate) fn pinned(
    certificate: CertificateDer<'static>,
    protection: PacketProtection,
    resumes: bool,
) -> Result<ClientTls, String> {
    config(protection, resumes, |provider| Ok(Arc::new(Known { certificate: Some(certificate), provider })))
}

/// The settings that accept every server.
pub(crate) fn trusting(protection: PacketProtection, resumes: bool) -> Result<ClientTls, String> {
    config(protection, resumes, |provider| Ok(Arc::new(Known { certificate: None, provider })))
}

/// The settings that accept a server whose certificate one of those in the PEM file `authorities` signed.
pub(crate) fn signed_by(
    authorities: &Path,
    protection: PacketProtection,
    resumes: bool,
) -> Result<ClientTls, String> {
    let named = |what: &str| format!("{}: {what}", authorities.display());
    let pem = std::fs::read(authorities).map_err(|error| named(&error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| named("not in PEM form"))?;
        roots.add(certificate).map_err(|error| named(&error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(named("holds no certificate"));
    }
    config(protection, resumes, |provider| {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(verifier.map_err(|error| named(&error.to_string()))?)
    })
}

/// The name to ask for: DNS name or IP address.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is no name of a server"))
}

/// `resumes`: a connection uses a session ticket of one before it, if the server gave any (RFC 8446 §2.2).
fn config(
    protection: PacketProtection,
    resumes: bool,
    verifier: impl FnOnce(Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String>,
) -> Result<ClientTls, String> {
    let provider = Arc::new(protection.provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?;
    let verifier = verifier(provider)?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption =
        if resumes { Resumption::in_memory_sessions(SESSIONS_KEPT) } else { Resumption::disabled() };
    ClientTls::new(Arc::new(config)).map_err(|error| error.to_string())
}

/// Accepts one certificate, or every one.
#[derive(Debug)]
struct Known {
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.certificate {
            Some(known) if known != end_entity => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(certificate: Option<&[u8]>) -> Known {
        let provider = Arc::new(PacketProtection::default().provider());
        Known { certificate: certificate.map(|der| CertificateDer::from(der.to_vec())), provider }
    }

    fn accepts(verifier: &Known, shown: &[u8]) -> bool {
        let name = server_name("localhost").unwrap();
        let shown = CertificateDer::from(shown.to_vec());
        verifier.verify_server_cert(&shown, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_pinned_certificate_is_accepted_to_the_last_octet_and_no_other() {
        let pinned = verifier(Some(b"certificate"));
        assert!(accepts(&pinned, b"certificate"));
        assert!(
            !accepts(&pinned, b"certificatf") && !accepts(&pinned, b"certificate2") && !accepts(&pinned, b"")
        );
        assert!(accepts(&verifier(None), b"any"));
    }

    #[test]
    fn no_verifier_takes_a_signature_of_tls_12_or_offers_no_schemes() {
        let any = verifier(None);
        assert!(any.supported_verify_schemes().contains(&SignatureScheme::ECDSA_NISTP256_SHA256));
    }

    #[test]
    fn files_without_certificates_are_named() {
        let signed_by = |file| signed_by(Path::new(file), PacketProtection::default(), false);
        let missing = signed_by("/nonexistent/ca.pem").unwrap_err();
        assert!(missing.contains("/nonexistent/ca.pem"), "{missing}");
        let empty = signed_by("/dev/null").unwrap_err();
        assert!(empty.contains("holds no certificate"), "{empty}");
    }

    #[test]
    fn names_are_dns_names_or_addresses() {
        assert!(
            server_name("example.org").is_ok()
                && server_name("10.0.0.1").is_ok()
                && server_name("::1").is_ok()
        );
        assert!(server_name("not a name").is_err() && server_name("").is_err());
    }
}
