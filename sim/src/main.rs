//! The `sim` program: answers from the command line what a world would answer in a test.
//!
//! Owns the allocator; all else is in `tool`, which uses the library as anybody could.

#![forbid(unsafe_code)]

mod tool;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tool::main(std::env::args_os())
}
