//! The control thread: statistics over HTTP, beside the workers and never in their way.
//!
//! Owns a listener and a thread on tokio-uring; where `io_uring` is barred, a plain thread with blocking sockets. It
//! asks the workers by queues and touches no packet. Bounded: clients at once, octets of a request, time for all of it.

mod http;
mod plain;
#[cfg(test)]
mod tests;
mod uring;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::StartError;
use crate::server::Observer;

/// Clients that are served at once; others are turned away unheard.
const CLIENTS_MAX: usize = 16;

/// How long one client may take in all.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running control thread.
#[derive(Debug)]
pub(crate) struct Control {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    bell: plain::Bell,
    thread: JoinHandle<()>,
}

impl Control {
    /// Takes the address, before anything else starts.
    pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
        TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => StartError::Busy(address),
            _ => StartError::Listen(address, error),
        })
    }

    /// Starts the thread that serves what `observer` sees.
    pub(crate) fn start(listener: TcpListener, observer: Observer) -> Result<Self, StartError> {
        Self::start_on(uring::runtime, listener, observer).map_err(StartError::Control)
    }

    /// The same on the runtime that `runtime` makes on the thread, or on plain sockets if it makes none.
    fn start_on(
        runtime: fn() -> io::Result<tokio_uring::Runtime>,
        listener: TcpListener,
        observer: Observer,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let bell = plain::Bell::new(address);
        let heard = bell.clone();
        let serve = move || match runtime() {
            Ok(runtime) => uring::serve(&runtime, listener, observer, stopped),
            Err(_) => plain::serve(&listener, &observer, &heard),
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(serve)?;
        Ok(Self { address, stop, bell, thread })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        // Which of the two the thread listens to is its own business.
        let _ = self.stop.send(());
        self.bell.ring();
        // A panic of the control thread has been printed, and is no reason for the server to end badly.
        let _ = self.thread.join();
    }
}

/// The whole answer to a complete request, or to one that will never be; `None` while octets are missing.
fn answer(request: &[u8], observe: impl FnOnce() -> String) -> Option<Vec<u8>> {
    match http::judge(request) {
        http::Verdict::Incomplete => None,
        http::Verdict::Statistics { body } => Some(http::ok(&observe(), body)),
        http::Verdict::Refused(refusal) => Some(http::refuse(refusal)),
    }
}

/// What a client gets to see.
fn statistics(observer: &Observer) -> String {
    let mut json = serde_json::to_string_pretty(&observer.observe()).unwrap_or_else(|_| "{}".to_owned());
    json.push('\n');
    json
}
