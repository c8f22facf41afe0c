//! What lies between server and client: loopback, or a veth pair between two namespaces of our own.
//!
//! Owns the namespaces while it lives; `scripts/lab` has others, with several paths and their rates. Needs root for
//! the pair alone.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::plan::Network;
use crate::program::Failure;

const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// A network that is up; it goes down when this is dropped.
#[derive(Debug)]
pub(crate) struct Up {
    network: Network,
    /// The namespaces of server and client, this process's own.
    server: String,
    client: String,
}

impl Up {
    /// Brings it up.
    pub(crate) fn new(network: Network) -> Result<Self, Failure> {
        let name = |end: &str| format!("rivals-{end}-{}", std::process::id());
        let up = Self { network, server: name("server"), client: name("client") };
        if network == Network::Loopback {
            return Ok(up);
        }
        let Self { server, client, .. } = &up; // half a network is none: dropping it takes it down
        for line in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-netns {server} link set lo up"),
            format!("-netns {client} link set lo up"),
            format!("link add name c0 netns {client} type veth peer name s0 netns {server}"),
            format!("-netns {server} address add {SERVER_IP}/24 dev s0"),
            format!("-netns {client} address add 10.78.0.1/24 dev c0"),
            format!("-netns {server} link set s0 up"),
            format!("-netns {client} link set c0 up"),
        ] {
            ip(&line)?;
        }
        Ok(up)
    }

    /// Where the server listens.
    pub(crate) fn server_ip(&self) -> IpAddr {
        match self.network {
            Network::Loopback => Ipv4Addr::LOCALHOST.into(),
            Network::Veth => SERVER_IP.into(),
        }
    }

    /// The namespaces of server and client, where they have their own.
    pub(crate) fn namespaces(&self) -> (Option<&str>, Option<&str>) {
        match self.network {
            Network::Loopback => (None, None),
            Network::Veth => (Some(&self.server), Some(&self.client)),
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.network == Network::Veth {
            for namespace in [&self.server, &self.client] {
                let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
            }
        }
    }
}

fn ip(line: &str) -> Result<(), Failure> {
    let output = Command::new("ip").args(line.split_whitespace()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
