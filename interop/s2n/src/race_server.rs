//! `s2n-race-server`: serves the race's workloads on one thread until it is killed.

use std::process::ExitCode;

fn main() -> ExitCode {
    interop_race::run("s2n-race-server", s2n_peer::serve)
}
