//! Two builds of this program, each with its own strait, in turns: medians of paired ratios. `benches/beside COMMIT`
//! builds both and starts it.

mod compare;
#[path = "../../common/statistics.rs"]
mod statistics;
mod work;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the parts of this program return.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs two builds in turns and prints how many times as fast the second is
    Compare(Compare),
    /// Works at one workload, told on stdin how many steps to take
    Work {
        /// Its name
        workload: String,
    },
}

/// What is compared, and how.
#[derive(clap::Args)]
pub struct Compare {
    /// The old build of this program
    old: PathBuf,
    /// The new one
    new: PathBuf,
    /// What the old one is called
    #[arg(long, default_value = "old")]
    commit: String,
    /// Rounds; ratios are taken within each
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only these workloads
    #[arg(long, value_delimiter = ',', value_parser = work::NAMES)]
    only: Vec<String>,
    /// Prints everything as JSON in the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Options::parse().command {
        Command::Compare(options) => compare::compare(&options),
        Command::Work { workload } => work::work(&workload),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
