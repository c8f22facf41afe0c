//! `quiche-race-client`: does one workload of the race on one thread and says what came of it.

use std::process::ExitCode;

use interop_race::options::ClientOptions;

fn main() -> ExitCode {
    interop_race::end("quiche-race-client", quiche_peer::drive(&interop_race::parse::<ClientOptions>()))
}
