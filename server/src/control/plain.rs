//! The control thread's clients on blocking sockets, where `io_uring` is barred.
//!
//! Owns one short-lived thread per client, with the same limits as on tokio-uring.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use super::http::REQUEST_MAX;
use super::{CLIENT_TIMEOUT, CLIENTS_MAX, answer, statistics};
use crate::server::Observer;

/// How long to rest after the system had no socket for us.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Tells the thread to end: a flag, and a connection that makes it look.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    rung: Arc<AtomicBool>,
    door: SocketAddr,
}

impl Bell {
    /// A bell for the thread that listens on `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self { rung: Arc::default(), door: SocketAddr::new(ip, address.port()) }
    }

    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.door, CLIENT_TIMEOUT);
    }
}

/// Serves clients until the bell rings.
pub(super) fn serve(listener: &TcpListener, observer: &Observer, bell: &Bell) {
    let clients = Arc::new(());
    loop {
        let accepted = listener.accept();
        if bell.rung.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            std::thread::sleep(ACCEPT_REST);
            continue;
        };
        if Arc::strong_count(&clients) > CLIENTS_MAX {
            continue;
        }
        let (client, observer) = (Arc::clone(&clients), observer.clone());
        let converse = move || {
            // Timeouts and errors are the client's loss.
            let _ = converse(&stream, &observer);
            drop(client);
        };
        // Without a thread the client is turned away.
        let _ = std::thread::Builder::new().name("control-client".to_owned()).spawn(converse);
    }
}

fn converse(mut stream: &TcpStream, observer: &Observer) -> io::Result<()> {
    let until = Clock::now() + CLIENT_TIMEOUT;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut request = Vec::new();
    let mut buffer = vec![0; REQUEST_MAX];
    loop {
        let read = read(stream, &mut buffer, until)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
        if let Some(answer) = answer(&request, || statistics(observer)) {
            stream.write_all(&answer)?;
            break;
        }
    }
    // What the client still sends must be read, or closing would take the answer back.
    stream.shutdown(Shutdown::Write)?;
    while read(stream, &mut buffer, until)? > 0 {}
    Ok(())
}

/// Reads once, but not beyond `until`.
fn read(mut stream: &TcpStream, buffer: &mut [u8], until: Clock) -> io::Result<usize> {
    let left = until.saturating_duration_since(Clock::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.read(buffer)
}
