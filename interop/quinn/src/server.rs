//! `quinn-perf-server`: serves the perf protocol until it is killed.
//!
//! What ends badly is said on standard error, for the matrix to show.

use std::process::ExitCode;

use interop_perf::Failure;
use interop_perf::options::ServerOptions;

const NAME: &str = "quinn-perf-server";

fn main() -> ExitCode {
    interop_perf::run(NAME, ServerOptions::from_env(), serve)
}

async fn serve(options: ServerOptions) -> Result<(), Failure> {
    let endpoint = quinn_peer::server(options.listen, quinn_peer::tuned()?)?;
    quinn_peer::serve(NAME, &endpoint).await
}
