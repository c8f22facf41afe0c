//! Who the server is: certificate chain and private key.
//!
//! Owns reading them from PEM files, making a self-signed pair, and the TLS settings of the workers. Nothing here is
//! a process-wide default, and no key ever reaches a message.

use std::path::Path;
use std::sync::Arc;

use braid_quic::{PacketProtection, ServerTls};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::StartError;

/// A certificate chain and the key of its first certificate.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// This chain, the server's own certificate first, and its key.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// Reads a chain and a key from PEM files.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, StartError> {
        let no_certificate = || StartError::Content(certificate.into(), "holds no certificate in PEM form");
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| no_certificate())?;
        if chain.is_empty() {
            return Err(no_certificate());
        }
        let key = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| StartError::Content(key.into(), "holds no private key in PEM form"))?;
        Ok(Self { chain, key })
    }

    /// Makes a key and a certificate for `names`, signed by itself: good for tests, trusted by nobody else.
    pub fn self_signed(names: &[&str]) -> Result<Self, StartError> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names)
            .map_err(|error| StartError::Tls(format!("could not make a certificate: {error}")))?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Ok(Self { chain: vec![made.cert.der().clone()], key })
    }

    /// The server's own certificate, for clients that pin it.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// The TLS settings that make a server of this identity speak the application protocols `alpn`, protect packets by the
    /// code of `protection`, and give each client `tickets` session tickets (RFC 8446 §4.6.1). What they say is sealed with
    /// a key of these settings alone, which all copies of them share and which is changed every six hours; nothing is
    /// stored. Early data is never accepted.
    pub fn server_tls(
        &self,
        alpn: &[&[u8]],
        tickets: usize,
        protection: PacketProtection,
    ) -> Result<ServerTls, StartError> {
        let tls = |error: rustls::Error| {
            StartError::Tls(match error {
                rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
                other => other.to_string(),
            })
        };
        let provider = Arc::new(protection.provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {}); // it would be shared by all workers
        config.send_tls13_tickets = tickets;
        if tickets > 0 {
            config.ticketer = Ticketer::new().map_err(tls)?;
        }
        ServerTls::new(Arc::new(config)).map_err(|error| StartError::Tls(error.to_string()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|error| StartError::Read(path.into(), error))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A file with this content in a place of its own, gone after the test.
    struct File(PathBuf);

    impl File {
        fn new(name: &str, content: &str) -> Self {
            let path = std::env::temp_dir().join(format!("braid-identity-{}-{name}", std::process::id()));
            std::fs::write(&path, content).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn pair(name: &str) -> (File, File) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = File::new(&format!("{name}-cert"), &made.cert.pem());
        (certificate, File::new(&format!("{name}-key"), &made.signing_key.serialize_pem()))
    }

    fn tls(identity: &Identity) -> Result<ServerTls, StartError> {
        identity.server_tls(&[b"perf"], 1, PacketProtection::default())
    }

    fn complaint<T>(result: Result<T, StartError>) -> String {
        result.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_pair_of_files_makes_a_server() {
        let (certificate, key) = pair("good");
        let identity = Identity::from_files(&certificate.0, &key.0).unwrap();
        assert_eq!(complaint(tls(&identity)), "");
        assert!(identity.certificate().is_some());
    }

    #[test]
    fn a_self_signed_pair_makes_a_server() {
        let identity = Identity::self_signed(&["localhost", "127.0.0.1"]).unwrap();
        assert_eq!(complaint(tls(&identity)), "");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (certificate, _key) = pair("one");
        let (_certificate, key) = pair("other");
        let identity = Identity::from_files(&certificate.0, &key.0).unwrap();
        let said = complaint(tls(&identity));
        assert!(said.contains("the key is not the certificate's"), "{said}");
    }

    #[test]
    fn files_that_are_absent_or_hold_something_else_are_named() {
        let (certificate, key) = pair("mixed");
        let absent = Path::new("/nonexistent/key.pem");
        assert!(complaint(Identity::from_files(&certificate.0, absent)).contains("/nonexistent/key.pem"));
        assert!(complaint(Identity::from_files(&key.0, &key.0)).contains("holds no certificate"));
        assert!(complaint(Identity::from_files(&certificate.0, &certificate.0)).contains("no private key"));
    }
}
