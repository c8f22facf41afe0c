//! `quinn-race-server`: serves the race's workloads on one thread until it is killed.

use std::process::ExitCode;

fn main() -> ExitCode {
    interop_race::run("quinn-race-server", quinn_peer::race::serve)
}
