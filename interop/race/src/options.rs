//! The command lines of servers and clients in the race.
//!
//! Owns the words; clap complains. The workloads have their words in `workload`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::workload::Workload;

/// A server of the race. It says `listening on ADDRESS` and serves until it is killed.
#[derive(Clone, Debug, Parser, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Certificate, a PEM file
    #[arg(long)]
    pub cert: PathBuf,
    /// Its private key, a PEM file
    #[arg(long)]
    pub key: PathBuf,
}

/// A client of the race. It says `ready`, waits for a line, works, says its result in one line of JSON, and waits for
/// the end of its input.
#[derive(Clone, Debug, Parser, PartialEq)]
pub struct ClientOptions {
    /// The server
    pub target: SocketAddr,
    /// The server's certificate, a PEM file, for stacks that trust nobody else
    #[arg(long)]
    pub cert: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub workload: Workload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_workload_says_is_what_a_client_reads() {
        for workload in [
            Workload::Transfer { download: 1024, upload: 7, connections: 2, streams: 64, time: 1.5 },
            Workload::Handshakes { resumed: false, at_once: 8, time: 0.25 },
            Workload::Handshakes { resumed: true, at_once: 8, time: 2.0 },
            Workload::Datagrams { size: 1000, at_once: 32, time: 1.0 },
            Workload::Idle { connections: 1000 },
        ] {
            let words = ["client", "127.0.0.1:9", "--cert", "c"]
                .map(str::to_owned)
                .into_iter()
                .chain(workload.words());
            let options = ClientOptions::try_parse_from(words).unwrap();
            let target = "127.0.0.1:9".parse().unwrap();
            assert_eq!(options, ClientOptions { target, cert: Some("c".into()), workload });
        }
    }

    #[test]
    fn a_server_needs_its_certificate() {
        assert!(ServerOptions::try_parse_from(["server", "--key", "k"]).is_err());
        let options = ServerOptions::try_parse_from(["server", "--cert", "c", "--key", "k"]).unwrap();
        assert_eq!(options.listen, "127.0.0.1:0".parse().unwrap());
    }
}
