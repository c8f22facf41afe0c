//! What lies between server and client: loopback, or a veth pair between two namespaces of our own.
//!
//! Owns the namespaces while it lives; `scripts/lab` has others, with several paths and their rates. Needs root for
//! the pair alone.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::plan::Network;
use crate::program::Failure;

const SERVER: &str = "rivals-server";
const CLIENT: &str = "rivals-client";
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// A network that is up; it goes down when this is dropped.
#[derive(Debug)]
pub(crate) struct Up(Network);

impl Up {
    /// Brings it up.
    pub(crate) fn new(network: Network) -> Result<Self, Failure> {
        if network == Network::Veth {
            down();
            let up = Self(network); // half a network is none
            for line in [
                format!("netns add {SERVER}"),
                format!("netns add {CLIENT}"),
                format!("-netns {SERVER} link set lo up"),
                format!("-netns {CLIENT} link set lo up"),
                format!("link add name c0 netns {CLIENT} type veth peer name s0 netns {SERVER}"),
                format!("-netns {SERVER} address add {SERVER_IP}/24 dev s0"),
                format!("-netns {CLIENT} address add 10.78.0.1/24 dev c0"),
                format!("-netns {SERVER} link set s0 up"),
                format!("-netns {CLIENT} link set c0 up"),
            ] {
                ip(&line)?;
            }
            return Ok(up);
        }
        Ok(Self(network))
    }

    /// Where the server listens.
    pub(crate) fn server_ip(&self) -> IpAddr {
        match self.0 {
            Network::Loopback => Ipv4Addr::LOCALHOST.into(),
            Network::Veth => SERVER_IP.into(),
        }
    }

    /// The namespaces of server and client, where they have their own.
    pub(crate) fn namespaces(&self) -> (Option<&'static str>, Option<&'static str>) {
        match self.0 {
            Network::Loopback => (None, None),
            Network::Veth => (Some(SERVER), Some(CLIENT)),
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.0 == Network::Veth {
            down();
        }
    }
}

fn down() {
    for namespace in [SERVER, CLIENT] {
        let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
    }
}

fn ip(line: &str) -> Result<(), Failure> {
    let output = Command::new("ip").args(line.split_whitespace()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
