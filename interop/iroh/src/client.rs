//! `iroh-perf-client`: makes its requests, checks the answers and reports in one line of JSON.
//!
//! Owns the course of a run and its time limit.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use interop_perf::options::ClientOptions;
use interop_perf::report::PathReport;
use interop_perf::{Failure, protocol};
use iroh_quinn::{Connection, PathId};
use tokio::time::timeout;

fn main() -> ExitCode {
    interop_perf::run("iroh-perf-client", ClientOptions::from_env(), run)
}

async fn run(options: ClientOptions) -> Result<(), Failure> {
    if options.paths > 1 {
        return Err("iroh-quinn is here for one path: leave out --paths".into());
    }
    timeout(options.timeout, fetch(&options)).await.map_err(|_| "the run took too long")?
}

async fn fetch(options: &ClientOptions) -> Result<(), Failure> {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let (endpoint, client) = iroh_peer::connect(local, options.target, iroh_peer::transport()?).await?;
    let mut report = protocol::ask(&client, options).await?;
    report.multipath = client.0.is_multipath_enabled();
    report.paths = path(&client.0).into_iter().collect();
    client.0.close(0u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(report.print()?)
}

fn path(connection: &Connection) -> Option<PathReport> {
    let (all, path) = (connection.stats(), connection.path_stats(PathId::ZERO)?);
    Some(PathReport {
        id: PathId::ZERO.to_string(),
        bytes_sent: all.udp_tx.bytes,
        bytes_received: all.udp_rx.bytes,
        packets_lost: path.lost_packets,
        rtt_us: u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX),
    })
}
