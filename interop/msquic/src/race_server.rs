//! `msquic-race-server`: serves the race's workloads on one thread until it is killed.

use std::process::ExitCode;

use interop_race::options::ServerOptions;

fn main() -> ExitCode {
    interop_race::end("msquic-race-server", msquic_peer::serve(&interop_race::parse::<ServerOptions>()))
}
