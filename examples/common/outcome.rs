//! How an example ends: an error becomes one readable line on stderr and a non-zero exit code.

use std::error::Error;
use std::process::ExitCode;

/// What an example does.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The exit code of an example.
pub fn exit(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
