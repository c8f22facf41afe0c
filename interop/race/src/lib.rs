//! What all stacks of the race share: command lines, TLS settings, workloads and their result.
//!
//! A stack's server and client differ from another's in nothing but the stack. One thread each, so that both ends
//! fit a core. Knows no QUIC and none of our crates; what runs them, and against whom, is the business of `rivals`.

pub mod client;
pub mod conversation;
pub mod options;
pub mod outcome;
pub mod server;
pub mod tls;
pub mod workload;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
pub use interop_perf::{Failure, socket, with_causes};
use tokio::task::LocalSet;

/// Bytes of one stream that may be under way: more than loopback ever holds.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// The same for a whole connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// UDP payload of full packets, the same for all stacks: Ethernet's, behind an IPv6 header.
pub const DATAGRAM_BYTES: u16 = 1452;
/// Idle connections have to outlive the measurement of memory.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Streams that a client may have open at once.
pub const STREAMS_MAX: u32 = 128;

/// The code with which a client says that one of both ends cannot do this workload.
pub const UNSUPPORTED: u8 = 3;

/// What one of both ends cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unsupported: {}", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Runs a program of an asynchronous stack on this thread alone.
pub fn run<O: Parser, W, F>(name: &str, work: W) -> ExitCode
where
    W: FnOnce(O) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let options = parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = LocalSet::new();
    end(name, runtime.map_err(Failure::from).and_then(|runtime| local.block_on(&runtime, work(options))))
}

/// The command line of this process; complains and ends it, if it is wrong.
pub fn parse<O: Parser>() -> O {
    O::parse()
}

/// How a program ends: in silence, or with a sentence.
pub fn end(name: &str, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    eprintln!("{name}: {}", with_causes(failure.as_ref()));
    ExitCode::from(if failure.is::<Unsupported>() { UNSUPPORTED } else { 1 })
}
