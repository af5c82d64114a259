//! The `selvedge` binary: the command line, and nothing beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    selvedge::cli::main()
}
