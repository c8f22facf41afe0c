//! What the tests of both engines share: making an engine, sending, and collecting with a limit on patience.
//!
//! Every test body takes an [`IoKind`], and [`both!`] makes two tests of it.

#![allow(dead_code, unreachable_pub)] // each test crate uses its part

use std::net::{IpAddr, SocketAddr};

use braid_udp_uring::{Config, IoKind, Send, SocketConfig, SocketIndex, Udp, UdpSocket, Wait, now};

/// Longer than anything here takes; a test that waits this long has failed.
pub const PATIENCE_NS: u64 = 20_000_000_000;

/// Makes a test per engine of each body. Where `io_uring` is barred its half says so and passes.
#[macro_export]
macro_rules! both {
    ($($body:ident),+ $(,)?) => {
        mod uring {
            $(#[test] fn $body() {
                if $crate::common::available(braid_udp_uring::IoKind::Uring) {
                    super::$body(braid_udp_uring::IoKind::Uring);
                }
            })+
        }
        mod mmsg {
            $(#[test] fn $body() { super::$body(braid_udp_uring::IoKind::Mmsg); })+
        }
    };
}

/// Can this engine be used here?
pub fn available(kind: IoKind) -> bool {
    match Udp::new(&Config { kind, ..Config::default() }) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => true, // see `make`
        Err(error) => {
            eprintln!("skipped: {kind} is not available here: {error}");
            false
        }
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn socket(text: &str) -> UdpSocket {
    UdpSocket::bind(&SocketConfig::new(address(text))).unwrap()
}

/// An engine. The memory of rings that ended counts for a moment longer, so a short lack of it is no failure.
#[track_caller]
pub fn make(config: &Config) -> Udp {
    let deadline = now() + PATIENCE_NS;
    loop {
        match Udp::new(config) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && now() < deadline => {
                std::thread::yield_now();
            }
            result => return result.unwrap(),
        }
    }
}

/// An engine with one socket, and the socket's address.
pub fn engine(config: &Config, socket: UdpSocket) -> (Udp, SocketAddr) {
    let address = socket.local_addr();
    let mut udp = make(config);
    assert_eq!(udp.add_socket(socket).unwrap(), SocketIndex(0));
    (udp, address)
}

pub fn plain(kind: IoKind, socket_text: &str) -> (Udp, SocketAddr) {
    engine(&Config { kind, ..Config::default() }, socket(socket_text))
}

/// A request that says nothing beyond where to.
pub fn to(remote: SocketAddr, segment_size: usize) -> Send {
    Send { socket: SocketIndex(0), bytes: 0, segment_size, source: None, remote, ecn: 0, tag: 0 }
}

/// Queues `payload`.
#[track_caller]
pub fn send(udp: &mut Udp, request: Send, payload: &[u8]) {
    udp.send_buffer().expect("a buffer is free")[..payload.len()].copy_from_slice(payload);
    udp.send(Send { bytes: payload.len(), ..request });
}

/// A received buffer, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub socket: SocketIndex,
    pub bytes: Vec<u8>,
    pub segment_size: usize,
    pub remote: SocketAddr,
    pub local: Option<IpAddr>,
    pub ecn: u8,
}

impl Kept {
    pub fn datagrams(&self) -> usize {
        self.bytes.len().div_ceil(self.segment_size).max(1)
    }
}

/// Takes what is there without a turn.
pub fn fetch(udp: &mut Udp) -> Vec<Kept> {
    let mut kept = Vec::new();
    while let Some(received) = udp.receive() {
        kept.push(Kept {
            socket: received.socket,
            bytes: received.bytes.to_vec(),
            segment_size: received.segment_size,
            remote: received.remote,
            local: received.local,
            ecn: received.ecn,
        });
    }
    kept
}

/// Turns until so many datagrams came.
#[track_caller]
pub fn collect(udp: &mut Udp, datagrams: usize) -> Vec<Kept> {
    let deadline = now() + PATIENCE_NS;
    let mut kept = Vec::new();
    let mut count = 0;
    while count < datagrams {
        assert!(now() < deadline, "{count} of {datagrams} datagrams came; {:?}", udp.stats());
        udp.submit_and_wait(Wait::Until(deadline)).unwrap();
        let fetched = fetch(udp);
        count += fetched.iter().map(Kept::datagrams).sum::<usize>();
        kept.extend(fetched);
    }
    kept
}

/// Turns until a fate comes.
#[track_caller]
pub fn fate(udp: &mut Udp) -> (u64, braid_udp_uring::Fate) {
    let deadline = now() + PATIENCE_NS;
    loop {
        udp.submit_and_wait(Wait::Until(deadline)).unwrap();
        if let Some(fate) = udp.next_fate() {
            return fate;
        }
        assert!(now() < deadline, "no fate came; {:?}", udp.stats());
    }
}
