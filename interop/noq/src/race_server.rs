//! `noq-race-server`: serves the race's workloads on one thread until it is killed.

use std::process::ExitCode;

fn main() -> ExitCode {
    interop_race::run("noq-race-server", noq_peer::race::serve)
}
