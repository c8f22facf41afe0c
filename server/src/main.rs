//! The `server` program: command line in, a running server, and a clean end on SIGTERM or SIGINT.
//!
//! Owns what is printed and the exit codes: 0 for a clean end, 2 for what the caller can put right before it starts,
//! 1 for a server that failed while running.

#![forbid(unsafe_code)]

mod options;

use std::process::ExitCode;

use braid_server::{Server, StartError};
use crossbeam::channel::{Receiver, bounded, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::options::{Instead, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The caller can put it right.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        Err(Instead::Show(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Instead::Complain(sentence)) => return complain(&format!("{sentence} (see --help)")),
    };
    // Before anything else, so that a signal never finds a half-started server.
    let signals = match signals() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("cannot handle signals: {error}")),
    };
    match start(options) {
        Ok(server) => serve(server, &signals),
        Err(error) => complain(&error.to_string()),
    }
}

fn start(options: Options) -> Result<Server, StartError> {
    let self_signed = options.is_self_signed();
    let server = Server::start(options.into_config()?)?;
    if self_signed {
        eprintln!("server: no --cert given, so the certificate is self-signed and made anew at every start");
    }
    for warning in server.warnings() {
        eprintln!("server: {warning}");
    }
    Ok(server)
}

/// Serves until a signal arrives or a worker fails.
fn serve(server: Server, signals: &Receiver<()>) -> ExitCode {
    for worker in server.stats().workers {
        if let Some(reason) = worker.io_fallback {
            eprintln!("server: worker {} does without io_uring: {reason}", worker.worker);
        }
    }
    for address in server.local_addrs() {
        println!("listening on {address}");
    }
    if let Some(address) = server.stats_addr() {
        println!("statistics at http://{address}/");
    }
    let failure = select! {
        recv(signals) -> _ => None,
        recv(server.failures()) -> failure => Some(failure.unwrap_or_else(|_| "all workers ended".to_owned())),
    };
    let report = server.stop();
    for failure in failure.iter().chain(&report.failures) {
        eprintln!("server: {failure}");
    }
    for sentence in report.log.iter().flat_map(braid_server::qlog::Written::complaints) {
        eprintln!("server: {sentence}");
    }
    if failure.is_some() || !report.failures.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says something for each SIGTERM or SIGINT; a second one does not wait for a clean end.
fn signals() -> std::io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (send, receive) = bounded(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut forever = signals.forever();
        if forever.next().is_some() {
            let _ = send.send(());
        }
        if forever.next().is_some() {
            std::process::exit(1);
        }
    })?;
    Ok(receive)
}

fn complain(sentence: &str) -> ExitCode {
    eprintln!("server: {sentence}");
    ExitCode::from(WRONG_USE)
}
