//! A UDP socket of the relay: bound, roomy, never blocking.
//!
//! Owns how datagrams are read and written, marks of congestion (ECN) included. It is quinn's code for that and not
//! ours, so that what the relay tests does not test itself. Knows no path.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// What we ask of the kernel; it may give less.
pub(super) const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// A buffer of merged datagrams is no longer.
const BUFFER_BYTES: usize = 1 << 16;

/// A socket.
#[derive(Debug)]
pub(super) struct End {
    pub(super) socket: UdpSocket,
    state: UdpSocketState,
}

/// What was read at once.
pub(super) struct Inbox {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl End {
    /// A socket that hears everybody.
    pub(super) fn listen(address: SocketAddr) -> io::Result<Self> {
        Self::bind(address)
    }

    /// A socket that hears only `target`, from a port of the system's choice.
    pub(super) fn towards(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let end = Self::bind(SocketAddr::new(source.unwrap_or(any), 0))?;
        end.socket.connect(target)?;
        Ok(end)
    }

    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state })
    }

    /// What the kernel keeps for us before it drops; Linux says twice of what it gave.
    pub(super) fn receive_buffer_bytes(&self) -> io::Result<usize> {
        Ok(self.state.recv_buffer_size((&self.socket).into())? / 2)
    }

    /// Hands one datagram to the system.
    pub(super) fn send(
        &self,
        destination: SocketAddr,
        src_ip: Option<IpAddr>,
        ecn: Option<EcnCodepoint>,
        contents: &[u8],
    ) -> io::Result<()> {
        let transmit = Transmit { destination, ecn, contents, segment_size: None, src_ip };
        match self.state.try_send((&self.socket).into(), &transmit) {
            // An earlier datagram found nobody; the system tells it now, and has not sent this one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.state.try_send((&self.socket).into(), &transmit)
            }
            result => result,
        }
    }

    /// Fills the inbox with what is there; an error that only tells about earlier datagrams is nothing.
    pub(super) fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        let mut rest = inbox.buffers.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        inbox.filled = 0;
        match self.state.recv((&self.socket).into(), &mut slices, &mut inbox.metas) {
            Ok(count) => inbox.filled = count,
            Err(error) if is_harmless(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![0; BUFFER_BYTES * BATCH_SIZE],
            metas: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
        }
    }

    /// Every datagram that was read, with what is known about it.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (RecvMeta, &[u8])> {
        let buffers = self.metas[..self.filled].iter().zip(self.buffers.chunks_exact(BUFFER_BYTES));
        buffers.flat_map(|(meta, buffer)| {
            buffer[..meta.len].chunks(meta.stride.max(1)).map(|datagram| (*meta, datagram))
        })
    }
}

fn is_harmless(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, WouldBlock,
    };
    matches!(
        error.kind(),
        WouldBlock | Interrupted | ConnectionRefused | HostUnreachable | NetworkUnreachable | NetworkDown
    )
}
