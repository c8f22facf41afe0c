//! `iroh-perf-server`: serves the perf protocol until it is killed.
//!
//! Owns the loops over connections and streams. What ends badly is said on standard error, for the matrix to show.

use std::process::ExitCode;

use interop_perf::options::ServerOptions;
use interop_perf::{Failure, protocol, with_causes};
use iroh_peer::{In, Out};
use iroh_quinn::{ConnectionError, Incoming};

const NAME: &str = "iroh-perf-server";

fn main() -> ExitCode {
    interop_perf::run(NAME, ServerOptions::from_env(), serve)
}

async fn serve(options: ServerOptions) -> Result<(), Failure> {
    let endpoint = iroh_peer::server(options.listen)?;
    println!("listening on {}", endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(connection(incoming));
    }
    Ok(())
}

async fn connection(incoming: Incoming) {
    let remote = incoming.remote_address();
    match streams(incoming).await {
        ConnectionError::ApplicationClosed(close) if close.error_code == 0u32.into() => {}
        error => eprintln!("{NAME}: the connection from {remote} ended: {}", with_causes(&error)),
    }
}

async fn streams(incoming: Incoming) -> ConnectionError {
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    loop {
        match connection.accept_bi().await {
            Ok((send, receive)) => drop(tokio::spawn(stream(Out(send), In(receive)))),
            Err(error) => return error,
        }
    }
}

async fn stream(send: Out, receive: In) {
    if let Err(failure) = protocol::answer(send, receive).await {
        eprintln!("{NAME}: a stream ended: {}", with_causes(failure.as_ref()));
    }
}
