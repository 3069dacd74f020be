//! Measures what every system adds to a training step of the model without it, in rounds that go through all of them in
//! turn, so that what else the machine does falls on all alike: `cargo run --release --example cost`.

#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/steps.rs"]
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use outcome::Outcome;
use steps::{BATCH, Case, cases};
use strait::{Gpu, Session};

/// Measures what every system adds to a training step of the model without it.
#[derive(Parser)]
struct Options {
    /// Rounds; figures are medians over them
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// Steps of each system in a round
    #[arg(long, default_value_t = 2)]
    steps: u64,
    /// Only systems whose name contains one of these, and what they are compared with
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

/// A system in the making of the table.
struct Measured {
    case: Case,
    session: Session,
    dispatches: usize,
    /// Seconds a step, one for each round.
    seconds: Vec<f64>,
}

fn run(options: Options) -> Outcome {
    if options.rounds == 0 || options.steps == 0 {
        return Err("--rounds and --steps: 1 or more".into());
    }
    let gpu = Gpu::new()?;
    let all = cases();
    let named = |case: &Case| options.only.is_empty() || options.only.iter().any(|part| case.name.contains(part));
    let mut wanted: Vec<bool> = all.iter().map(named).collect();
    for (i, case) in all.iter().enumerate() {
        wanted[case.beside] |= wanted[i];
    }
    let style = ProgressStyle::with_template("{msg:10} {bar:30} {pos}/{len}  {eta} left");
    let bar = ProgressBar::new(wanted.iter().filter(|w| **w).count() as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("compiling");
    let mut table: Vec<Option<Measured>> = Vec::new();
    for (case, wanted) in all.into_iter().zip(wanted) {
        table.push(match wanted {
            false => None,
            true => {
                let session = steps::prepare(&gpu, &case.spec)?;
                bar.inc(1);
                let dispatches = session.dispatches_per_step().unwrap_or(0);
                Some(Measured { case, session, dispatches, seconds: Vec::new() })
            }
        });
    }
    bar.set_length(options.rounds as u64);
    bar.set_position(0);
    bar.set_message("measuring");
    for round in 0..options.rounds {
        // Another order every round: nobody always runs behind the same neighbour.
        let count = table.len();
        for i in 0..count {
            let at = if round % 2 == 0 { (i + round) % count } else { (count - 1 - i + round) % count };
            if let Some(measured) = &mut table[at] {
                let begun = Instant::now();
                steps::take(&mut measured.session, options.steps)?;
                measured.seconds.push(begun.elapsed().as_secs_f64() / options.steps as f64);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    print(&options, &gpu, &table)
}

/// Prints the table.
fn print(options: &Options, gpu: &Gpu, table: &[Option<Measured>]) -> Outcome {
    println!("adapter  {}", gpu.adapter().name);
    println!("medians of {} rounds of {} steps, batch {BATCH}", options.rounds, options.steps);
    println!("{:<50} {:>10} {:>8} {:>8}  dispatches", "system", "ms a step", "ratio", "asked");
    let mut figures = Vec::new();
    for measured in table.iter().flatten() {
        let Measured { case, dispatches, seconds, .. } = measured;
        let Some(beside) = &table[case.beside] else { continue };
        let ratio = median(seconds) / median(&beside.seconds);
        let asked = case.asked.map_or(String::new(), |asked| format!("{asked}"));
        let time = median(seconds) * 1e3;
        println!("{:<50} {time:>10.2} {ratio:>8.3} {asked:>8}  {dispatches}", case.name);
        figures.push(serde_json::json!({
            "system": case.name,
            "beside": beside.case.name,
            "step_ms": time,
            "ratio": ratio,
            "asked": case.asked,
            "dispatches": dispatches,
        }));
    }
    if options.json {
        let adapter = &gpu.adapter().name;
        println!("{}", serde_json::json!({ "adapter": adapter, "rounds": options.rounds, "systems": figures }));
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
