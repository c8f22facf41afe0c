//! `noq-perf-client`: opens its paths, makes its requests, checks the answers and reports in one line of JSON.
//!
//! Owns the course of a run and its time limit. Paths come from 127.0.0.1, 127.0.0.2 and so on, all from one socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use interop_perf::options::ClientOptions;
use interop_perf::report::Report;
use interop_perf::script::{self, Log};
use interop_perf::{Failure, protocol};
use noq::{Connection, FourTuple, Path, PathError, PathId, PathStatus};
use noq_peer::{Client, ScriptedPaths, path_report};
use tokio::time::{sleep, timeout};

const NAME: &str = "noq-perf-client";
/// How often to try a path for which the server has not given its connection IDs yet.
const OPEN_TRIES: u32 = 100;
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    interop_perf::run(NAME, ClientOptions::from_env(), run)
}

async fn run(options: ClientOptions) -> Result<(), Failure> {
    timeout(options.timeout, fetch(&options)).await.map_err(|_| "the run took too long")?
}

async fn fetch(options: &ClientOptions) -> Result<(), Failure> {
    // One path needs one address; several leave from a socket that has them all.
    let local = if options.paths > 1 { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let transport = noq_peer::transport(options.paths)?;
    let (endpoint, client) = noq_peer::connect((local, 0).into(), options.target, transport).await?;
    let mut report = if options.script.is_empty() {
        ask(&client, options).await?
    } else {
        follow(&client, options).await?
    };
    report.multipath = client.0.is_multipath_enabled();
    client.0.close(0u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(report.print()?)
}

/// Opens all paths, then makes all requests.
async fn ask(client: &Client, options: &ClientOptions) -> Result<Report, Failure> {
    let more = open_paths(&client.0, options).await?;
    let mut report = protocol::ask(client, options).await?;
    let ids = std::iter::once(PathId::ZERO).chain(more.iter().map(Path::id));
    let numbers = ids.filter_map(|id| Some(path_report(id, &client.0.path_stats(id)?)));
    report.paths = numbers.collect();
    Ok(report)
}

/// Does what the script says.
async fn follow(client: &Client, options: &ClientOptions) -> Result<Report, Failure> {
    client.0.handshake_confirmed().await?;
    let (log, start) = (Log::default(), Instant::now());
    noq_peer::listen(&client.0, &log);
    let mut paths = ScriptedPaths::new(client.0.clone(), Some(options.clone()), log.clone());
    let (steps, told) = (options.script.clone(), log.clone());
    let done =
        tokio::task::spawn_blocking(move || script::run(&steps, &mut paths, &told).map(|()| paths.reports()));
    let paths = done.await??;
    let path_acks = Some(client.0.stats().frame_rx.path_acks);
    let report = Report {
        bytes_received: log.moved_bytes(),
        events: log.events(),
        paths,
        path_acks,
        ..Report::default()
    };
    Ok(report.over(start.elapsed()))
}

/// Opens what is wanted beyond the first path; nothing if the server has no multipath.
async fn open_paths(connection: &Connection, options: &ClientOptions) -> Result<Vec<Path>, Failure> {
    if options.paths == 1 {
        return Ok(Vec::new());
    }
    connection.handshake_confirmed().await?;
    if !connection.is_multipath_enabled() {
        eprintln!("{NAME}: the server speaks no multipath: one path");
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for number in 1..options.paths {
        let local = u32::from(Ipv4Addr::LOCALHOST) + number;
        paths.push(open_path(connection, options.target, Ipv4Addr::from(local).into()).await?);
    }
    Ok(paths)
}

/// Opens one path, as soon as the server's limits and connection IDs allow.
async fn open_path(connection: &Connection, target: SocketAddr, local: IpAddr) -> Result<Path, Failure> {
    let mut tries = 1;
    loop {
        let failure =
            match connection.open_path(FourTuple::new(target, Some(local)), PathStatus::Available).await {
                Ok(path) => return Ok(path),
                Err(failure) => failure,
            };
        let may_pass = matches!(failure, PathError::RemoteCidsExhausted | PathError::MaxPathIdReached);
        if !may_pass || tries == OPEN_TRIES {
            return Err(format!("no path from {local} after {tries} tries: {failure}").into());
        }
        tries += 1;
        sleep(OPEN_AGAIN_AFTER).await;
    }
}
