//! `s2n-race-client`: does one workload of the race on one thread and says what came of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    interop_race::run("s2n-race-client", s2n_peer::drive)
}
