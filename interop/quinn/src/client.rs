//! `quinn-perf-client`: makes its requests, checks the answers and reports in one line of JSON.
//!
//! Owns the course of a run and its time limit.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use interop_perf::options::ClientOptions;
use interop_perf::report::PathReport;
use interop_perf::{Failure, protocol};
use quinn::Connection;
use tokio::time::timeout;

fn main() -> ExitCode {
    interop_perf::run("quinn-perf-client", ClientOptions::from_env(), run)
}

async fn run(options: ClientOptions) -> Result<(), Failure> {
    if options.paths > 1 {
        return Err("quinn has no multipath: leave out --paths".into());
    }
    timeout(options.timeout, fetch(&options)).await.map_err(|_| "the run took too long")?
}

async fn fetch(options: &ClientOptions) -> Result<(), Failure> {
    let local = (Ipv4Addr::LOCALHOST, 0).into();
    let (endpoint, client) = quinn_peer::connect(local, options.target, quinn_peer::tuned()?).await?;
    let mut report = protocol::ask(&client, options).await?;
    report.paths = vec![path(&client.0)];
    client.0.close(0u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(report.print()?)
}

fn path(connection: &Connection) -> PathReport {
    let stats = connection.stats();
    PathReport {
        id: "0".to_owned(),
        bytes_sent: stats.udp_tx.bytes,
        bytes_received: stats.udp_rx.bytes,
        packets_lost: stats.path.lost_packets,
        rtt_us: u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX),
    }
}
