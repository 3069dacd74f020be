//! Measures what every system adds to a training step of the model without it, in rounds that go through all of them, each
//! right behind the model without it, so that what else the machine does falls on both alike:
//! `cargo run --release --example cost`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "../benches/common/statistics.rs"]
#[allow(dead_code, reason = "benches use the rest")]
mod statistics;
#[path = "common/steps.rs"]
mod steps;

use std::fs::DirEntry;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use outcome::Outcome;
use statistics::median;
use steps::{BATCH, Case, Learner, cases};
use strait::{Draw, Gpu};

/// Measures what every system adds to a training step of the model without it.
#[derive(Parser)]
struct Options {
    /// Rounds; figures are medians over them
    #[arg(long, default_value_t = 31, value_parser = arguments::count::<usize>)]
    rounds: usize,
    /// Steps of each system in a round
    #[arg(long, default_value_t = 2, value_parser = arguments::count::<u64>)]
    steps: u64,
    /// Only systems whose name contains one of these, and what they are compared with
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Prints where the time of each system's step goes instead, over so many steps
    #[arg(long, value_name = "STEPS", value_parser = |text: &str| arguments::within(text, 1u64..=65_536))]
    #[arg(conflicts_with_all = ["rounds", "steps", "json"])]
    profile: Option<u64>,
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
    learner: Learner,
    /// Of a step, where it is a session's.
    dispatches: Option<usize>,
    /// Seconds a step, one for each round.
    seconds: Vec<f64>,
    /// What that is in steps of the model without it, taken right before.
    ratios: Vec<f64>,
    /// The same of processor time.
    busy: Vec<f64>,
}

fn run(options: Options) -> Outcome {
    let all = cases();
    let names = |case: &Case, part: &String| !part.is_empty() && case.name.contains(part);
    if let Some(none) = options.only.iter().find(|part| !all.iter().any(|case| names(case, part))) {
        let known: Vec<&str> = all.iter().map(|case| case.name).collect();
        return Err(format!("--only is {none:?}; allowed: a part of one of\n  {}", known.join("\n  ")).into());
    }
    let gpu = Gpu::new()?;
    let named = |case: &Case| options.only.is_empty() || options.only.iter().any(|part| names(case, part));
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
                let learner = steps::prepare(&gpu, &case.model)?;
                bar.inc(1);
                let dispatches = match &learner {
                    Learner::Session(session) => session.dispatches_per_step(),
                    Learner::Trainer(_) => None,
                };
                let (seconds, ratios, busy) = Default::default();
                Some(Measured { case, learner, dispatches, seconds, ratios, busy })
            }
        });
    }
    if let Some(steps) = options.profile {
        bar.finish_and_clear();
        for Measured { case, learner, .. } in table.iter_mut().flatten() {
            // Sessions have profiles.
            if let Learner::Session(session) = learner {
                println!("{}\n{}", case.name, session.profile(steps)?);
            }
        }
        return Ok(());
    }
    bar.set_length(options.rounds as u64);
    bar.set_position(0);
    bar.set_message("measuring");
    for round in 0..options.rounds {
        // Another order every round: nobody always runs behind the same neighbour.
        let draw = Draw { seed: 0, stream: 0, step: round as u32 };
        let mut order: Vec<usize> = (0..table.len()).collect();
        order.sort_by(|&a, &b| draw.uniform(a, 0).total_cmp(&draw.uniform(b, 0)));
        for at in order {
            let Some(beside) = table[at].as_ref().map(|measured| measured.case.beside) else { continue };
            let Some(without) = table[beside].as_mut().map(|measured| take(measured, options.steps)) else { continue };
            let (seconds, busy) = without?;
            if let Some(measured) = &mut table[at] {
                let with = take(measured, options.steps)?;
                measured.seconds.push(with.0);
                measured.ratios.push(with.0 / seconds);
                measured.busy.push(with.1 / busy);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    print(&options, &gpu, &table)
}

/// Takes steps; the seconds of one, and those of processor time.
fn take(measured: &mut Measured, steps: u64) -> Outcome<(f64, f64)> {
    // One to bring its data back into the caches.
    steps::take(&mut measured.learner, 1)?;
    let (begun, busy) = (Instant::now(), processor_time());
    steps::take(&mut measured.learner, steps)?;
    Ok((begun.elapsed().as_secs_f64() / steps as f64, (processor_time() - busy) / steps as f64))
}

/// Prints the table.
fn print(options: &Options, gpu: &Gpu, table: &[Option<Measured>]) -> Outcome {
    // A GPU's work is not the processor's.
    let software = gpu.adapter().software && processor_time() > 0.0;
    println!("adapter  {}", gpu.adapter().name);
    println!("medians of {} rounds of {} steps, batch {BATCH}", options.rounds, options.steps);
    if software {
        println!("cpu: the ratio of processor times, which does not count what other processes take");
    }
    println!("{:<50} {:>9} {:>7} {:>7} {:>6}  dispatches", "system", "ms a step", "ratio", "cpu", "asked");
    let mut figures = Vec::new();
    for measured in table.iter().flatten() {
        let Measured { case, dispatches, seconds, ratios, busy, .. } = measured;
        let Some(beside) = &table[case.beside] else { continue };
        let ratio = median(ratios);
        let cpu = software.then(|| median(busy));
        let [asked, shown] = [case.asked.map(|v| v.to_string()), cpu.map(|v| format!("{v:.3}"))];
        let (asked, shown) = (asked.unwrap_or_default(), shown.unwrap_or_default());
        let dispatched = dispatches.map_or("-".into(), |dispatches| dispatches.to_string());
        let time = median(seconds) * 1e3;
        println!("{:<50} {time:>9.2} {ratio:>7.3} {shown:>7} {asked:>6}  {dispatched}", case.name);
        figures.push(serde_json::json!({
            "system": case.name,
            "beside": beside.case.name,
            "step_ms": time,
            "ratio": ratio,
            "cpu_ratio": cpu,
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

/// Seconds that all threads of this process have run, a driver's among them; 0 where the system does not tell as Linux
/// does.
fn processor_time() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = |task: DirEntry| -> Option<f64> {
        std::fs::read_to_string(task.path().join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(nanoseconds).sum::<f64>() * 1e-9
}
