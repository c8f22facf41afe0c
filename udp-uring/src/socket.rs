//! A UDP socket with all its options set, and read back.
//!
//! Owns the descriptor from birth to `close`, the options, and the classic BPF program of a reuseport group. Never
//! receives or sends: an engine does.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// What a receive or send buffer should hold when nobody says otherwise.
const BUFFER_BYTES_WANTED: usize = 8 << 20;

/// How a [`UdpSocket`] is made.
#[derive(Clone, Debug)]
pub struct SocketConfig {
    /// Where to bind; `[::]` takes IPv4 too.
    pub address: SocketAddr,
    /// Share the address with other sockets of this user (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// The wanted receive buffer.
    pub receive_buffer_bytes: usize,
    /// The wanted send buffer.
    pub send_buffer_bytes: usize,
    /// Merge datagrams of one sender (`UDP_GRO`).
    pub gro: bool,
    /// Bind to this network interface.
    pub device: Option<String>,
}

impl SocketConfig {
    /// The defaults for a socket at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            reuse_port: false,
            receive_buffer_bytes: BUFFER_BYTES_WANTED,
            send_buffer_bytes: BUFFER_BYTES_WANTED,
            gro: true,
            device: None,
        }
    }
}

/// One instruction of classic BPF, as `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInstruction {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

const _: () = assert!(size_of::<BpfInstruction>() == size_of::<libc::sock_filter>());
const _: () = assert!(align_of::<BpfInstruction>() == align_of::<libc::sock_filter>());

/// The kernel's limit for the instructions of one program.
const PROGRAM_INSTRUCTIONS_MAX: usize = 4096;

/// The socket buffers, as wanted and as the system granted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferReport {
    /// Wanted for receiving, in bytes.
    pub receive_wanted: usize,
    /// Got for receiving.
    pub receive_got: usize,
    /// Wanted for sending.
    pub send_wanted: usize,
    /// Got for sending.
    pub send_got: usize,
}

impl BufferReport {
    /// What to tell the operator if the system's limits are too low.
    pub fn warning(&self) -> Option<String> {
        let mut commands = Vec::new();
        if self.receive_got < self.receive_wanted {
            commands.push(format!("net.core.rmem_max={}", self.receive_wanted));
        }
        if self.send_got < self.send_wanted {
            commands.push(format!("net.core.wmem_max={}", self.send_wanted));
        }
        if commands.is_empty() {
            return None;
        }
        Some(format!(
            "the socket buffers are smaller than wanted (receive {} of {} bytes, send {} of {}), so bursts may be \
             lost; raise the limits: sysctl -w {}",
            self.receive_got,
            self.receive_wanted,
            self.send_got,
            self.send_wanted,
            commands.join(" ")
        ))
    }
}

/// A bound, non-blocking UDP socket.
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    buffers: BufferReport,
}

impl UdpSocket {
    /// Makes, configures and binds a socket. The error names the address.
    pub fn bind(config: &SocketConfig) -> io::Result<Self> {
        let explain = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
                io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
                io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            io::Error::new(error.kind(), format!("cannot bind UDP {}: {why}", config.address))
        };
        Self::try_bind(config).map_err(explain)
    }

    fn try_bind(config: &SocketConfig) -> io::Result<Self> {
        let address = config.address;
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if let Some(device) = &config.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.set_reuse_port(config.reuse_port)?;
        let v6 = address.is_ipv6();
        let wildcard = address.ip().is_unspecified();
        let dual = v6 && (wildcard || is_mapped(address));
        if v6 {
            socket.set_only_v6(!dual)?;
        }
        let fd = socket.as_fd();
        if v6 {
            set_int(fd, libc::SOL_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            set_int(fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
        }
        if !v6 || dual {
            set_int(fd, libc::SOL_IP, libc::IP_RECVTOS, 1)?;
            set_int(fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
        }
        if wildcard {
            // IPv6's option covers the mapped datagrams of a dual-stack socket as well.
            let (level, option) =
                if v6 { (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::SOL_IP, libc::IP_PKTINFO) };
            set_int(fd, level, option, 1)?;
        }
        set_int(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        if config.gro {
            set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1)?;
        }
        let receive_got = set_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, config.receive_buffer_bytes)?;
        let send_got = set_buffer(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, config.send_buffer_bytes)?;
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let buffers = BufferReport {
            receive_wanted: config.receive_buffer_bytes,
            receive_got,
            send_wanted: config.send_buffer_bytes,
            send_got,
        };
        Ok(Self { socket, local, buffers })
    }

    /// The address it is bound to, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The socket buffers it got.
    pub fn buffers(&self) -> BufferReport {
        self.buffers
    }

    /// Lets a classic BPF program choose the socket of this reuseport group. It sees the UDP payload from offset 0 on
    /// and returns a socket's number in bind order; a number that does not exist leaves the choice to the kernel.
    pub fn attach_reuseport_cbpf(&self, program: &[BpfInstruction]) -> io::Result<()> {
        if program.is_empty() || program.len() > PROGRAM_INSTRUCTIONS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let program = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
        };
        // SAFETY: `BpfInstruction` has the layout of `sock_filter` (asserted above); the kernel copies the program
        // during the call and does not write to it.
        unsafe { set_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program) }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("UdpSocket").field(&self.local).finish()
    }
}

fn is_mapped(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// Sets a buffer, past the system's limit if we may, and reads back what can be used of it.
fn set_buffer(fd: BorrowedFd<'_>, force: i32, plain: i32, bytes: usize) -> io::Result<usize> {
    // The kernel doubles the number for its own bookkeeping, and tells the doubled one.
    let wanted = i32::try_from(bytes).unwrap_or(i32::MAX).min(i32::MAX / 2);
    if set_int(fd, libc::SOL_SOCKET, force, wanted).is_err() {
        set_int(fd, libc::SOL_SOCKET, plain, wanted)?;
    }
    Ok(get_int(fd, libc::SOL_SOCKET, plain)? as usize / 2)
}

fn set_int(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: these options take an int without pointers.
    unsafe { set_option(fd, level, option, &value) }
}

/// # Safety
/// `value` is of the type that this option takes, and what it points to is valid during the call.
unsafe fn set_option<T>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which the kernel only reads; the rest is the caller's promise.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const *value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get_int(fd: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: pointers and length describe `value` and `length`, which outlive the call.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(socket: &UdpSocket, level: i32, option: i32) -> i32 {
        get_int(socket.as_fd(), level, option).unwrap()
    }

    #[test]
    fn a_wildcard_socket_asks_for_all_it_needs() {
        let socket = UdpSocket::bind(&SocketConfig::new("[::]:0".parse().unwrap())).unwrap();
        assert_ne!(socket.local_addr().port(), 0);
        for (level, name) in [
            (libc::SOL_IPV6, libc::IPV6_RECVTCLASS),
            (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO),
            (libc::SOL_IP, libc::IP_RECVTOS),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
            (libc::SOL_UDP, libc::UDP_GRO),
        ] {
            assert_eq!(option(&socket, level, name), 1, "level {level} option {name}");
        }
        assert_eq!(option(&socket, libc::SOL_IPV6, libc::IPV6_V6ONLY), 0);
        assert_eq!(option(&socket, libc::SOL_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_PROBE);
        assert_eq!(option(&socket, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER), libc::IPV6_PMTUDISC_PROBE);
    }

    #[test]
    fn a_socket_with_an_address_needs_no_packet_info() {
        let socket = UdpSocket::bind(&SocketConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        assert_eq!(option(&socket, libc::SOL_IP, libc::IP_PKTINFO), 0);
        assert_eq!(option(&socket, libc::SOL_IP, libc::IP_RECVTOS), 1);
    }

    #[test]
    fn a_taken_address_is_told_in_one_clear_sentence() {
        let first = UdpSocket::bind(&SocketConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let error = UdpSocket::bind(&SocketConfig::new(first.local_addr())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let wanted = format!("cannot bind UDP {}: the address is in use", first.local_addr());
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_well() {
        let error = UdpSocket::bind(&SocketConfig::new("192.0.2.1:0".parse().unwrap())).unwrap_err();
        assert!(error.to_string().ends_with("this machine does not have the address"), "{error}");
    }

    #[test]
    fn granted_buffers_give_no_warning_and_small_ones_name_the_sysctl() {
        let config = SocketConfig {
            receive_buffer_bytes: 65_536,
            send_buffer_bytes: 65_536,
            ..SocketConfig::new("127.0.0.1:0".parse().unwrap())
        };
        let report = UdpSocket::bind(&config).unwrap().buffers();
        assert_eq!((report.receive_got, report.send_got), (65_536, 65_536));
        assert_eq!(report.warning(), None);
        let low = BufferReport { receive_got: 212_992, receive_wanted: 8_388_608, ..report };
        let warning = low.warning().unwrap();
        assert!(warning.ends_with("sysctl -w net.core.rmem_max=8388608"), "{warning}");
        let both = BufferReport { send_got: 1, ..low }.warning().unwrap();
        assert!(both.ends_with("net.core.rmem_max=8388608 net.core.wmem_max=65536"), "{both}");
    }

    #[test]
    fn an_empty_or_endless_program_is_refused() {
        let socket = UdpSocket::bind(&SocketConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let instruction = BpfInstruction { code: 6, jt: 0, jf: 0, k: 0 };
        for program in [&[][..], &vec![instruction; PROGRAM_INSTRUCTIONS_MAX + 1]] {
            let error = socket.attach_reuseport_cbpf(program).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
