//! What a run shall do, once the command line is understood.
//!
//! Owns the plain values and the pairing of paths with addresses. Knows no spelling (`options`), does no work (`run`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use braid_quic::congestion::CongestionKind;
use braid_quic::manager::{self, Policy, Rule, Usage};
use braid_quic::schedule::SchedulerKind;
use braid_quic::{MultipathCodePoints, PacketProtection};
use braid_server::qlog::Qlog;
use braid_udp_uring::IoKind;

use crate::load::Load;
use crate::options::Sockets;

/// A whole run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `None` starts a server inside.
    pub(crate) target: Option<Host>,
    pub(crate) paths: usize,
    /// None, one, or one for each path.
    pub(crate) locals: Vec<IpAddr>,
    /// None, one, or one for each path.
    pub(crate) remotes: Vec<Host>,
    /// The paths follow the interfaces; then `paths` is how many a connection has at most.
    pub(crate) following: Option<Following>,
    pub(crate) load: Load,
    /// How often the same is measured.
    pub(crate) repeat: usize,
    /// Measure the machine's own limit too.
    pub(crate) ceiling: bool,
    pub(crate) workers: usize,
    pub(crate) io: IoKind,
    pub(crate) sockets: Sockets,
    pub(crate) seed: Option<u64>,
    pub(crate) kills: Vec<Kill>,
    pub(crate) stats_from: Option<SocketAddr>,
    pub(crate) json: Option<Json>,
    /// Where the latencies of each second go.
    pub(crate) hdr: Option<PathBuf>,
    pub(crate) trust: Trust,
    pub(crate) server_name: Option<String>,
    pub(crate) scheduler: Option<SchedulerKind>,
    pub(crate) congestion: Option<CongestionKind>,
    pub(crate) code_points: MultipathCodePoints,
    /// Whose code protects packets, of the client and of the server inside.
    pub(crate) packet_protection: PacketProtection,
    pub(crate) ack_frequency: bool,
    /// Where connections are logged, and how many of them.
    pub(crate) qlog: Option<Qlog>,
    pub(crate) datagram_bytes: u16,
    pub(crate) datagram_bytes_max: u16,
}

/// Interfaces that are not used like others; each is a name, or the beginning of names and an asterisk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    pub(crate) metered: Vec<String>,
    pub(crate) backup: Vec<String>,
}

impl Following {
    /// A full mesh, in which metered interfaces are the last resort.
    pub(crate) fn policy(&self, paths_max: usize) -> Policy {
        let rule = |name: &String| Rule { interface: name.clone(), usage: Usage::Backup };
        Policy {
            plan: manager::Plan::FullMesh { paths_max },
            rules: self.backup.iter().map(rule).collect(),
            metered: Usage::LastResort,
            ..Policy::default()
        }
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.metered.iter().chain(&self.backup).map(String::as_str)
    }
}

/// Cut this path silently, so long after the measurement began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) path: usize,
    pub(crate) after: Duration,
}

/// How the server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It shows the very certificate that it made inside this process.
    Pinned,
    /// One of the certificates in this file signed its own.
    Signed(PathBuf),
    /// Not at all.
    Any,
}

/// Where the JSON goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Stdout,
    File(PathBuf),
}

impl Json {
    /// `-` is standard output.
    pub(crate) fn from_path(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdout } else { Self::File(path) }
    }
}

/// A host, named or numbered, and a UDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Host {
    /// Reads `HOST:PORT`, or `HOST` alone where there is a default port.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no HOST:PORT; write for instance example.org:4433 or [::1]:4433");
        let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
        if let (Ok(ip), Some(port)) = (bare(text).parse::<IpAddr>(), default_port) {
            return Ok(Self { name: ip.to_string(), port });
        }
        let (name, port) = match (text.rsplit_once(':'), default_port) {
            (Some((name, port)), _) => (name, port.parse().map_err(|_| wrong())?),
            (None, Some(port)) => (text, port),
            (None, None) => return Err(wrong()),
        };
        let bracketed = name.starts_with('[') && name.ends_with(']');
        if name.is_empty() || (name.contains(':') && !bracketed) {
            return Err(wrong());
        }
        Ok(Self { name: bare(name), port })
    }

    /// Is it certainly on this machine?
    pub(crate) fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// An address of this host, of the family of `local` if that is given.
    pub(crate) fn resolve(&self, local: Option<IpAddr>) -> Result<SocketAddr, String> {
        let found = (self.name.as_str(), self.port).to_socket_addrs();
        let mut addresses = found.map_err(|error| format!("cannot find {}: {error}", self.name))?;
        let fits = |address: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
        addresses
            .find(fits)
            .ok_or_else(|| format!("{} has no address of the local address's family", self.name))
    }
}

/// Both ends of one path before any socket is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The local address; its port is 0, for the system to choose.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Plan {
    /// The local address that path `index` was given, if any.
    pub(crate) fn local(&self, index: usize) -> Option<IpAddr> {
        pick(&self.locals, index).copied()
    }

    /// The ends of all paths towards the target.
    pub(crate) fn ends_outside(&self, target: &Host) -> Result<Vec<Ends>, String> {
        let ends = |index| {
            let given = self.local(index);
            let remote = pick(&self.remotes, index).unwrap_or(target).resolve(given)?;
            let any =
                if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            Ok(Ends { local: SocketAddr::new(given.unwrap_or(any), 0), remote })
        };
        (0..self.paths).map(ends).collect()
    }

    /// All addresses of the target that were named, each once.
    pub(crate) fn remotes_outside(&self, target: &Host) -> Result<Vec<SocketAddr>, String> {
        let named = if self.remotes.is_empty() { std::slice::from_ref(target) } else { &self.remotes };
        let mut addresses = Vec::new();
        for host in named {
            let address = host.resolve(None)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// Where the server inside shall listen: 127.0.0.1, or what `--remote` names, each once.
    pub(crate) fn listen_inside(&self) -> Result<Vec<SocketAddr>, String> {
        if self.remotes.is_empty() {
            return Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)]);
        }
        let mut addresses = Vec::new();
        for (index, host) in self.remotes.iter().enumerate() {
            let address = host.resolve(self.local(index))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    /// The ends of all paths towards the server inside, which asked for the addresses `listen` and got `bound`.
    ///
    /// Without `--local` the paths start at 127.0.0.1, 127.0.0.2 and so on.
    pub(crate) fn ends_inside(
        &self,
        listen: &[SocketAddr],
        bound: &[SocketAddr],
    ) -> Result<Vec<Ends>, String> {
        let ends = |index| {
            let wanted =
                pick(&self.remotes, index).map(|host| host.resolve(self.local(index))).transpose()?;
            let position = listen.iter().position(|address| wanted.is_none_or(|wanted| wanted == *address));
            let remote =
                position.and_then(|position| bound.get(position)).ok_or("the server listens elsewhere")?;
            let local = self.local(index).unwrap_or_else(|| match remote {
                SocketAddr::V4(_) => Ipv4Addr::new(127, 0, 0, 1 + index as u8).into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(), // IPv6 has but one loopback address
            });
            Ok(Ends { local: SocketAddr::new(local, 0), remote: *remote })
        };
        (0..self.paths).map(ends).collect()
    }
}

/// The entry for path `index`: a list of one is for all.
fn pick<T>(list: &[T], index: usize) -> Option<&T> {
    if list.len() == 1 { list.first() } else { list.get(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_port_of_their_own_or_the_default() {
        let host = |name: &str, port| Ok(Host { name: name.into(), port });
        assert_eq!(Host::parse("example.org:4433", None), host("example.org", 4433));
        assert_eq!(Host::parse("[::1]:4433", None), host("::1", 4433));
        assert_eq!(Host::parse("10.0.0.2", Some(443)), host("10.0.0.2", 443));
        assert_eq!(Host::parse("10.0.0.2:5", Some(443)), host("10.0.0.2", 5));
        assert_eq!(Host::parse("::1", Some(443)), host("::1", 443));
        assert_eq!(Host::parse("[2001:db8::1]:7", Some(443)), host("2001:db8::1", 7));
        for text in ["", "example.org", "::1", ":443", "example.org:x", "example.org:65536", "a:b:1"] {
            assert!(Host::parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        let loopback = |text| Host::parse(text, Some(1)).unwrap().is_loopback();
        assert!(loopback("127.0.0.9") && loopback("::1") && loopback("localhost"));
        assert!(!loopback("10.0.0.1") && !loopback("example.org"));
    }

    #[test]
    fn an_address_of_the_wrong_family_is_refused() {
        let host = Host { name: "127.0.0.1".into(), port: 1 };
        assert!(host.resolve(Some(Ipv6Addr::LOCALHOST.into())).is_err());
        assert_eq!(host.resolve(None), Ok("127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn backup_interfaces_have_rules_and_metered_ones_are_the_last_resort() {
        let following = Following { metered: vec!["wwan*".into()], backup: vec!["wlan0".into()] };
        let policy = following.policy(3);
        assert_eq!(policy.plan, manager::Plan::FullMesh { paths_max: 3 });
        assert_eq!(policy.rules, [Rule { interface: "wlan0".into(), usage: Usage::Backup }]);
        assert_eq!(policy.metered, Usage::LastResort);
        assert_eq!(following.names().collect::<Vec<_>>(), ["wwan*", "wlan0"]);
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(Json::from_path("-".into()), Json::Stdout);
        assert_eq!(Json::from_path("./-".into()), Json::File("./-".into()));
    }
}
