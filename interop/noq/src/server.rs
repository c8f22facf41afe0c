//! `noq-perf-server`: serves the perf protocol until it is killed.
//!
//! Owns the loop over connections and the script of the first. What ends badly is said on standard error, for the matrix to show.

use std::process::ExitCode;
use std::time::Duration;

use interop_perf::Failure;
use interop_perf::options::ServerOptions;
use interop_perf::script::{self, Log, Step};
use noq::{Connection, Incoming};
use noq_peer::ScriptedPaths;
use tokio::time::sleep;

const NAME: &str = "noq-perf-server";
/// How often to look how much has left.
const LOOK_EVERY: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    interop_perf::run(NAME, ServerOptions::from_env(), serve)
}

async fn serve(options: ServerOptions) -> Result<(), Failure> {
    let endpoint = noq_peer::server(options.listen, noq_peer::transport(options.paths)?)?;
    println!("listening on {}", endpoint.local_addr()?);
    let mut script = options.script;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(connection(incoming, std::mem::take(&mut script)));
    }
    Ok(())
}

async fn connection(incoming: Incoming, script: Vec<Step>) {
    let remote = incoming.remote_address();
    let end = match incoming.await {
        Ok(connection) => {
            let log = follow(&connection, script);
            let end = noq_peer::streams(NAME, &connection).await;
            log.on_event(format!("path acks {}", connection.stats().frame_rx.path_acks));
            end
        }
        Err(error) => error,
    };
    noq_peer::tell_end(NAME, remote, &end);
}

/// Tells what happens to the connection's paths, and does what the script says.
fn follow(connection: &Connection, script: Vec<Step>) -> Log {
    let log = Log::default();
    noq_peer::listen(connection, &log);
    if script.is_empty() {
        return log;
    }
    let (watched, told) = (connection.clone(), log.clone());
    tokio::spawn(async move {
        while watched.close_reason().is_none() {
            told.on_moved(watched.stats().udp_tx.bytes);
            sleep(LOOK_EVERY).await;
        }
    });
    let (mut paths, told) = (ScriptedPaths::new(connection.clone(), None, log.clone()), log.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(failure) = script::run(&script, &mut paths, &told) {
            eprintln!("{NAME}: the script failed: {failure}");
        }
    });
    log
}
