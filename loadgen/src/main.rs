//! The `loadgen` program. All it adds to the library is an allocator.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    braid_loadgen::main(std::env::args_os())
}
