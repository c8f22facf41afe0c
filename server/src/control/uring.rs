//! The control thread's clients on tokio-uring.
//!
//! Owns one task per client on one thread. Every client has a deadline, after which its socket is shut down, so that
//! no read stays with the kernel.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_uring::Runtime;
use tokio_uring::net::TcpStream;

use super::http::REQUEST_MAX;
use super::{CLIENT_TIMEOUT, CLIENTS_MAX, answer, statistics};
use crate::server::Observer;

/// How long to rest after the system had no socket for us.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A runtime for the calling thread, if the system lets us use `io_uring`.
pub(super) fn runtime() -> io::Result<Runtime> {
    Runtime::new(&tokio_uring::builder())
}

/// Serves clients until `stopped` resolves.
pub(super) fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    observer: Observer,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async move {
        tokio_uring::spawn(accept(listener, observer));
        // An error is a server that was dropped.
        let _ = stopped.await;
    });
}

async fn accept(listener: TcpListener, observer: Observer) {
    let listener = tokio_uring::net::TcpListener::from_std(listener);
    let clients = Rc::new(Cell::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        if clients.get() == CLIENTS_MAX {
            continue;
        }
        clients.set(clients.get() + 1);
        let (clients, observer) = (Rc::clone(&clients), observer.clone());
        tokio_uring::spawn(async move {
            // Timeouts and errors are the client's loss.
            let _ = tokio::time::timeout(CLIENT_TIMEOUT, converse(&stream, &observer)).await;
            let _ = stream.shutdown(Shutdown::Both);
            clients.set(clients.get() - 1);
        });
    }
}

async fn converse(stream: &TcpStream, observer: &Observer) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = vec![0; REQUEST_MAX];
    loop {
        let (read, lent) = stream.read(buffer).await;
        buffer = lent;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..read]);
        if let Some(answer) = answer(&request, || statistics(observer)) {
            stream.write_all(answer).await.0?;
            break;
        }
    }
    // What the client still sends must be read, or closing would take the answer back.
    stream.shutdown(Shutdown::Write)?;
    loop {
        let (read, lent) = stream.read(buffer).await;
        buffer = lent;
        if read? == 0 {
            return Ok(());
        }
    }
}
