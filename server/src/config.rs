//! What the owner of a server decides, and what of it makes no sense.
//!
//! Plain values with defaults. Reads no arguments (the `server` program does) and opens nothing.

use std::net::SocketAddr;
use std::str::FromStr;

use braid_quic::cid::WORKERS_MAX;
use braid_quic::{PacketProtection, TransportConfig};
use braid_udp_uring::IoKind;

use crate::error::StartError;
use crate::identity::Identity;
use crate::qlog::Qlog;

/// The port that a server listens on if nobody says otherwise.
pub const DEFAULT_PORT: u16 = 4433;

/// Datagrams of this size fill an Ethernet frame of 1500 octets over IPv6.
pub const LOOPBACK_DATAGRAM_SIZE: u16 = 1452;

/// Datagrams of this size pass everywhere that QUIC works (RFC 9000 §14).
pub const SAFE_DATAGRAM_SIZE: u16 = 1200;

/// Listen addresses of one server, at most: a `LocalId` each, and a socket on every worker.
pub const LISTEN_MAX: usize = 64;

/// Session tickets of one connection, at most: what they take has to fit among the first packets.
pub const TICKETS_MAX: usize = 8;

/// How datagrams find their worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steer {
    /// The kernel steers by connection ID, with a classic BPF program.
    #[default]
    Bpf,
    /// The kernel spreads by address; workers forward to each other what is not theirs.
    None,
}

impl FromStr for Steer {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "bpf" => Ok(Self::Bpf),
            "none" => Ok(Self::None),
            other => Err(format!("`{other}` is none of bpf, none")),
        }
    }
}

/// A server's settings.
#[derive(Debug)]
pub struct Config {
    /// Where it listens; the position of an address is its `LocalId`. Port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Worker threads.
    pub workers: usize,
    /// The cores they are pinned to, in turn; empty to let the system place them.
    pub cores: Vec<usize>,
    /// How datagrams find their worker.
    pub steer: Steer,
    /// Certificate and key.
    pub identity: Identity,
    /// Whose code protects packets.
    pub packet_protection: PacketProtection,
    /// Session tickets for each connection, so that its client need not see a certificate next time (RFC 8446 §2.2); at
    /// most [`TICKETS_MAX`]. One is enough for a client that makes one connection after the other, since each brings the
    /// ticket for the next; those that make several at once have use for more.
    pub tickets: usize,
    /// Settings of the connections.
    pub transport: TransportConfig,
    /// Which system calls carry the datagrams.
    pub io: IoKind,
    /// Where statistics are served by HTTP, if at all.
    pub stats: Option<SocketAddr>,
    /// Which connections are logged, and where to, if any.
    pub qlog: Option<Qlog>,
    /// Connections that one worker carries at most.
    pub connections_max: usize,
    /// Handshakes that one worker carries at most; a client can choose its worker, so each has its own limit.
    pub handshakes_max: usize,
    /// Receive buffer asked of the system for each socket, in bytes.
    pub receive_buffer_bytes: usize,
    /// Send buffer asked of the system for each socket, in bytes.
    pub send_buffer_bytes: usize,
}

impl Config {
    /// A server on `listen` with one worker on every core that this process may use.
    pub fn new(listen: Vec<SocketAddr>, identity: Identity) -> Self {
        let cores = available_cores();
        let datagram_size = default_datagram_size(&listen);
        Self {
            listen,
            workers: cores.len().clamp(1, WORKERS_MAX),
            cores,
            steer: Steer::default(),
            identity,
            packet_protection: PacketProtection::default(),
            tickets: 1,
            // `perf` reads whatever datagrams come and drops them.
            transport: TransportConfig {
                datagram_size,
                datagram_receive_max: u16::MAX,
                ..TransportConfig::default()
            },
            io: IoKind::default(),
            stats: None,
            qlog: None,
            connections_max: 100_000,
            handshakes_max: 4096,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 8 << 20,
        }
    }

    /// What makes no sense in these settings, before anything is opened.
    pub fn check(&self) -> Result<(), StartError> {
        let wrong = |what: String| Err(StartError::Setting(what));
        if self.listen.is_empty() || self.listen.len() > LISTEN_MAX {
            return wrong(format!("a server needs 1 to {LISTEN_MAX} listen addresses"));
        }
        if self.tickets > TICKETS_MAX {
            return wrong(format!("at most {TICKETS_MAX} session tickets for a connection"));
        }
        for (position, address) in self.listen.iter().enumerate() {
            if address.port() != 0 && self.listen[..position].contains(address) {
                return wrong(format!("the listen address {address} is given twice"));
            }
        }
        if let Some(address) = self.listen.iter().find(|address| self.is_covered(address)) {
            return wrong(format!("[::]:{} takes IPv4 too, so {address} is given twice", address.port()));
        }
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return wrong(format!("a server has 1 to {WORKERS_MAX} workers, not {}", self.workers));
        }
        if !(SAFE_DATAGRAM_SIZE..=65_507).contains(&self.transport.datagram_size) {
            return wrong(format!(
                "datagrams have 1200 to 65507 bytes, not {}",
                self.transport.datagram_size
            ));
        }
        if self.transport.datagram_size_max > 65_507 {
            return wrong(format!(
                "datagrams have at most 65507 bytes, not {}",
                self.transport.datagram_size_max
            ));
        }
        if self.transport.max_paths == 0 {
            return wrong("a connection needs at least 1 path".to_owned());
        }
        if self.qlog.as_ref().is_some_and(|qlog| qlog.every == 0) {
            return wrong("one connection in 0 is none: leave the log away".to_owned());
        }
        if self.connections_max == 0 || self.handshakes_max == 0 {
            return wrong("a worker must be allowed at least 1 connection and 1 handshake".to_owned());
        }
        Ok(())
    }

    /// Is this an IPv4 address whose port an IPv6 wildcard address takes already?
    fn is_covered(&self, address: &SocketAddr) -> bool {
        let takes_all = |other: &SocketAddr| {
            other.is_ipv6() && other.ip().is_unspecified() && other.port() == address.port()
        };
        address.is_ipv4() && address.port() != 0 && self.listen.iter().any(takes_all)
    }
}

/// The numbers of the cores that this process may use.
pub fn available_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}

/// The datagram size that paths of these addresses start with; where nothing narrow can be in between, nothing is to be
/// found out.
pub fn default_datagram_size(listen: &[SocketAddr]) -> u16 {
    let loopback = listen.iter().all(|address| address.ip().is_loopback());
    if loopback { LOOPBACK_DATAGRAM_SIZE } else { SAFE_DATAGRAM_SIZE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[&str]) -> Config {
        let listen = listen.iter().map(|address| address.parse().unwrap()).collect();
        Config::new(listen, Identity::self_signed(&["localhost"]).unwrap())
    }

    fn complaint(config: &Config) -> String {
        config.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_defaults_make_sense() {
        let config = config(&["127.0.0.1:4433", "[::1]:4433"]);
        assert_eq!(complaint(&config), "");
        assert_eq!(config.transport.datagram_size, 1452);
        assert!(config.workers >= 1 && config.transport.max_paths == 8);
        assert_eq!(default_datagram_size(&["0.0.0.0:1".parse().unwrap()]), 1200);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        assert!(complaint(&config(&[])).contains("listen addresses"));
        assert!(complaint(&config(&["127.0.0.1:1", "127.0.0.1:1"])).contains("given twice"));
        assert_eq!(complaint(&config(&["127.0.0.1:0", "127.0.0.1:0"])), "", "the system chooses two ports");
        assert!(complaint(&config(&["0.0.0.0:1", "[::]:1"])).contains("takes IPv4 too"));
        assert_eq!(complaint(&config(&["0.0.0.0:1", "[::1]:1", "[::]:2"])), "");
        let workers = |workers| Config { workers, ..config(&["127.0.0.1:1"]) };
        assert!(complaint(&workers(0)).contains("not 0"));
        assert_eq!(complaint(&workers(64)), "");
        assert!(complaint(&workers(65)).contains("not 65"));
        let mut small = config(&["127.0.0.1:1"]);
        small.transport.datagram_size = 1199;
        assert!(complaint(&small).contains("1199"));
        let mut large = config(&["127.0.0.1:1"]);
        large.transport.datagram_size_max = 65_508;
        assert!(complaint(&large).contains("65508"));
        let mut pathless = config(&["127.0.0.1:1"]);
        pathless.transport.max_paths = 0;
        assert!(complaint(&pathless).contains("path"));
        let shut = Config { handshakes_max: 0, ..config(&["127.0.0.1:1"]) };
        assert!(complaint(&shut).contains("handshake"));
    }

    #[test]
    fn steering_has_two_names() {
        assert_eq!(("bpf".parse(), "none".parse()), (Ok(Steer::Bpf), Ok(Steer::None)));
        assert!("ebpf".parse::<Steer>().unwrap_err().contains("ebpf"));
    }
}
