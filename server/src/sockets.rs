//! The sockets of all workers: one `SO_REUSEPORT` group for each listen address.
//!
//! Owns the order, on which steering depends: the kernel numbers a group's sockets as they are bound, so every group
//! is bound in the order of the workers, completely and before anybody reads, and no socket is ever closed alone.
//! Refuses an address that another socket has, because a group would take that one in silently.

use std::io;
use std::net::SocketAddr;

use braid_udp_uring::{BpfInstruction, SocketConfig, UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::StartError;

/// What all sockets of a server have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    /// Receive buffer asked of the system, in bytes.
    pub(crate) receive_buffer_bytes: usize,
    /// Send buffer asked of the system, in bytes.
    pub(crate) send_buffer_bytes: usize,
}

/// The sockets of a server, by worker and then by listen address.
#[derive(Debug)]
pub(crate) struct Sockets {
    by_worker: Vec<Vec<UdpSocket>>,
    addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds every address once for each worker and tells each group to steer by `program`, if there is one.
    pub(crate) fn bind(
        addresses: &[SocketAddr],
        workers: usize,
        options: SocketOptions,
        program: Option<&[BpfInstruction]>,
    ) -> Result<Self, StartError> {
        let mut by_worker: Vec<Vec<UdpSocket>> = (0..workers).map(|_| Vec::new()).collect();
        let mut bound = Vec::with_capacity(addresses.len());
        for &wanted in addresses {
            let address = probe(wanted)?;
            for sockets in &mut by_worker {
                sockets.push(open(address, workers > 1, options).map_err(|error| because(address, error))?);
            }
            if let Some(program) = program {
                let first = by_worker[0].last().expect("bound just now");
                first.attach_reuseport_cbpf(program).map_err(StartError::Steering)?;
            }
            bound.push(address);
        }
        Ok(Self { by_worker, addresses: bound })
    }

    /// The addresses in the order given, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the owner should know about the sockets' buffers, if they are smaller than wished.
    pub(crate) fn warning(&self) -> Option<String> {
        self.by_worker.iter().flatten().find_map(|socket| socket.buffers().warning())
    }

    /// The sockets of each worker, in the order of the addresses.
    pub(crate) fn into_workers(self) -> Vec<Vec<UdpSocket>> {
        self.by_worker
    }
}

/// Makes sure that nobody has `address`, not even with `SO_REUSEPORT`; returns it with the port the system chose.
fn probe(address: SocketAddr) -> Result<SocketAddr, StartError> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&address.into())?;
        socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
    };
    bind().map_err(|error| because(address, error))
}

fn open(address: SocketAddr, reuse_port: bool, options: SocketOptions) -> io::Result<UdpSocket> {
    UdpSocket::bind(&SocketConfig {
        reuse_port,
        receive_buffer_bytes: options.receive_buffer_bytes,
        send_buffer_bytes: options.send_buffer_bytes,
        ..SocketConfig::new(address)
    })
}

fn because(address: SocketAddr, error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::Busy(address),
        _ => StartError::Listen(address, error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Plain;

    use braid_udp_uring::{Config, IoKind, SocketIndex, Udp, Wait};

    use super::*;
    use crate::steer::Steering;

    const OPTIONS: SocketOptions =
        SocketOptions { receive_buffer_bytes: 1 << 20, send_buffer_bytes: 1 << 16 };

    fn any_port(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 0)
    }

    #[test]
    fn an_address_that_a_stray_group_shares_is_busy() {
        let stray = Sockets::bind(&[any_port("127.0.0.1")], 2, OPTIONS, None).unwrap();
        let address = stray.addresses()[0];
        let refused = Sockets::bind(&[address], 2, OPTIONS, None).unwrap_err();
        assert!(matches!(refused, StartError::Busy(busy) if busy == address), "{refused}");
        drop(stray);
        assert!(Sockets::bind(&[address], 2, OPTIONS, None).is_ok());
    }

    #[test]
    fn a_foreign_address_is_refused_in_words() {
        let foreign = any_port("192.0.2.1");
        let refused = Sockets::bind(&[foreign], 1, OPTIONS, None).unwrap_err().to_string();
        assert!(refused.starts_with("cannot listen on 192.0.2.1:0: "), "{refused}");
    }

    #[test]
    fn every_worker_has_every_address_in_the_same_order() {
        let wanted = [any_port("127.0.0.1"), any_port("127.0.0.2"), any_port("127.0.0.1")];
        let sockets = Sockets::bind(&wanted, 3, OPTIONS, None).unwrap();
        let addresses = sockets.addresses().to_vec();
        assert!(addresses.iter().all(|address| address.port() != 0));
        for worker in sockets.into_workers() {
            assert_eq!(worker.iter().map(UdpSocket::local_addr).collect::<Vec<_>>(), addresses);
        }
    }

    /// Sends datagrams of all shapes to two groups of three workers, and checks that the kernel gave each to the
    /// worker that the rule names.
    fn the_kernel_follows_the_rule(kind: IoKind) {
        let steering = Steering::new([7; 16], 3);
        let addresses = [any_port("127.0.0.1"), any_port("127.0.0.2")];
        let sockets = Sockets::bind(&addresses, 3, OPTIONS, Some(&steering.program())).unwrap();
        let addresses = sockets.addresses().to_vec();
        let engines = sockets.into_workers().into_iter().map(|sockets| {
            let config = Config { kind, receive_buffers: 64, send_buffers: 1, ..Config::default() };
            let mut udp = Udp::new(&config).unwrap();
            for socket in sockets {
                udp.add_socket(socket).unwrap();
            }
            udp.submit_and_wait(Wait::Now).unwrap();
            udp
        });
        let mut engines: Vec<_> = engines.collect();
        let client = Plain::bind("127.0.0.1:0").unwrap();
        let mut seen = [0; 3];
        for round in 0..600_u32 {
            let len = round as usize % 40;
            let mut datagram: Vec<u8> =
                (0..len as u32).map(|at| (round * 31 + at * 7) as u8 ^ 0x55).collect();
            if let Some(first) = datagram.first_mut() {
                *first = if round % 2 == 0 { 0x40 } else { 0xc0 };
            }
            let listener = round as usize / 2 % 2;
            client.send_to(&datagram, addresses[listener]).unwrap();
            let owner = steering.owner(&datagram).worker;
            let udp = &mut engines[owner];
            let until = Wait::Until(braid_udp_uring::now() + 2_000_000_000);
            let received = loop {
                udp.submit_and_wait(until).unwrap();
                if let Some(received) = udp.receive() {
                    break received;
                }
            };
            assert_eq!(received.bytes, datagram, "round {round}: worker {owner} got another datagram");
            assert_eq!(received.socket, SocketIndex(listener as u16));
            seen[owner] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }

    #[test]
    fn the_kernel_follows_the_rule_with_io_uring() {
        the_kernel_follows_the_rule(IoKind::Auto);
    }

    #[test]
    fn the_kernel_follows_the_rule_with_mmsg() {
        the_kernel_follows_the_rule(IoKind::Mmsg);
    }
}
