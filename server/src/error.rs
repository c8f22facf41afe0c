//! Why a server does not start, in one sentence each that says what to change.
//!
//! Owns the words and the causes. What happens to a running server is no matter of this file.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server or a group of workers did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting that makes no sense, in words.
    Setting(String),
    /// Somebody else has this address and port.
    Busy(SocketAddr),
    /// The system does not let us have this address.
    Listen(SocketAddr, io::Error),
    /// The kernel did not take the steering program.
    Steering(io::Error),
    /// A file that could not be read.
    Read(PathBuf, io::Error),
    /// A file that does not hold what it should.
    Content(PathBuf, &'static str),
    /// Certificate and key cannot be used together, or at all.
    Tls(String),
    /// A worker could not be set up.
    Worker(usize, io::Error),
    /// The control thread could not be set up.
    Control(io::Error),
    /// Logs cannot be written there.
    Log(PathBuf, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(what) => f.write_str(what),
            Self::Busy(address) => write!(f, "cannot listen on {address}: the port is already in use"),
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Steering(error) => {
                write!(
                    f,
                    "the kernel refused the steering program ({error}); `--steer none` works without it"
                )
            }
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Content(path, what) => write!(f, "{} {what}", path.display()),
            Self::Tls(what) => write!(f, "cannot use this certificate and key: {what}"),
            Self::Worker(worker, error) => write!(f, "worker {worker} could not be set up: {error}"),
            Self::Log(path, error) => write!(f, "cannot write logs to {}: {error}", path.display()),
            Self::Control(error) => write!(f, "the control thread could not be set up: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(_, error)
            | Self::Steering(error)
            | Self::Log(_, error)
            | Self::Read(_, error)
            | Self::Worker(_, error)
            | Self::Control(error) => Some(error),
            Self::Setting(_) | Self::Busy(_) | Self::Content(..) | Self::Tls(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_one_sentence() {
        let io = || io::Error::other("no");
        let address = "127.0.0.1:1".parse().unwrap();
        let causes = [
            StartError::Setting("wrong".to_owned()),
            StartError::Busy(address),
            StartError::Listen(address, io()),
            StartError::Steering(io()),
            StartError::Read("a".into(), io()),
            StartError::Content("a".into(), "holds no certificate"),
            StartError::Tls("b".to_owned()),
            StartError::Worker(1, io()),
            StartError::Control(io()),
        ];
        for cause in causes {
            let text = cause.to_string();
            assert!(!text.is_empty() && !text.contains('\n') && !text.ends_with('.'), "{text}");
        }
    }
}
