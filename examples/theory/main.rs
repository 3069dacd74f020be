//! Measures on the GPU what theory says of every system, beside its expected value: `cargo run --release --example
//! theory`.

#[path = "suite.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod suite;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use strait::Gpu;
use suite::check::Check;
use suite::outcome::{self, Outcome};
use suite::{Row, SECTIONS};

/// Measures on the GPU what theory says of every system, beside its expected value.
#[derive(Parser)]
struct Options {
    /// Runs this row only, or these
    #[arg(long, value_delimiter = ',')]
    only: Vec<u32>,
    /// Seeds data, weights and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let rows: Vec<&Row> = SECTIONS.into_iter().flatten().collect();
    for number in &options.only {
        if !rows.iter().any(|row| row.number == *number) {
            let known: Vec<String> = rows.iter().map(|row| row.number.to_string()).collect();
            return Err(format!("--only is {number}; allowed: {}", known.join(", ")).into());
        }
    }
    let gpu = Gpu::new()?;
    println!("adapter  {}", gpu.adapter().name);
    println!("row  {}", Check::titles());
    let (mut passed, mut failed, mut figures) = (0u32, 0u32, Vec::new());
    for row in rows.into_iter().filter(|row| options.only.is_empty() || options.only.contains(&row.number)) {
        let start = Instant::now();
        let parts = std::iter::once(row.run).chain(row.slow);
        let outcome: Outcome<Vec<Vec<Check>>> = parts.map(|run| run(&gpu, options.seed)).collect();
        println!("{:>3}  {} ({:.1} s)", row.number, row.name, start.elapsed().as_secs_f64());
        // A row that cannot be measured fails; the others still run.
        let checks = outcome.map(|parts| parts.concat());
        let checks = checks.unwrap_or_else(|error| vec![Check::equal(format!("error: {error}"), 0.0, f64::NAN, 0.0)]);
        for check in checks {
            println!("     {}", check.line());
            *(if check.passes() { &mut passed } else { &mut failed }) += 1;
            figures.push(check.json(row.number));
        }
    }
    println!("{passed} passed, {failed} failed");
    if options.json {
        println!("{}", serde_json::json!({ "passed": passed, "failed": failed, "rows": figures }));
    }
    if failed > 0 { Err(format!("{failed} of {} checks fail", passed + failed).into()) } else { Ok(()) }
}
