//! The door: the process's words go in, its exit code comes out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    pmctl::cli::run(&argv).into()
}
