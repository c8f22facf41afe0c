//! What all peers share: the perf protocol, the command line, the certificate, the report, and how a program ends.
//!
//! A peer is a foreign QUIC stack with two small programs, a server and a client. Whatever does not depend on the
//! stack is here, so that the peers differ in nothing but their stacks. Knows no QUIC and none of our crates.

pub mod options;
pub mod protocol;
pub mod report;
pub mod script;
pub mod tls;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tracing_subscriber::EnvFilter;

/// Why a peer's program gives up; only people read it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of one stream that may be under way. noq closes a connection when a stream has more than 1,024 packets that its
/// application has not read yet, which a slow reader on a busy machine brings about; a window of fewer packets than that
/// is safe, and so is noq's default.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for a whole connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// What a peer's application reads of a stream at once.
pub const READ_BYTES: usize = 1 << 20;
/// A peer that says nothing for this long is gone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What we ask of the kernel for a socket; it may give less.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// The caller can put it right.
const WRONG_USE: u8 = 2;

/// Binds a UDP socket with room for a burst.
pub fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Less than that works too; the kernel's limit is the machine's business.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Runs a peer's program: options first, then `work`; `RUST_LOG` makes the stack talk on standard error.
pub fn run<O, W, F>(name: &str, options: Result<O, String>, work: W) -> ExitCode
where
    W: FnOnce(O) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let options = match options {
        Ok(options) => options,
        Err(sentence) => {
            eprintln!("{name}: {sentence}");
            return ExitCode::from(WRONG_USE);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(work(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {}", with_causes(failure.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and what led to it, on one line.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
