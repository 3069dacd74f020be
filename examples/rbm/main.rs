//! Restricted Boltzmann machines: bars and stripes by their exact likelihood, dreamed digits, and a deep autoencoder that begins with
//! a stack of machines: `cargo run --release --example rbm`.

#[path = "../common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "../common/bar.rs"]
mod bar;
#[path = "../common/chart.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod chart;
mod deep;
mod digits;
#[path = "../common/features.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod features;
#[path = "../common/figures.rs"]
mod figures;
#[path = "../common/outcome.rs"]
mod outcome;
#[path = "../common/panel.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod panel;
mod patterns;
#[path = "../common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;
#[path = "../common/training.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod training;

use std::path::PathBuf;
use std::process::ExitCode;

use bar::Progress;
use clap::Parser;
use figures::moments;
use outcome::Outcome;
use strait::rbm::Pretraining;
use strait::{Gpu, data};

/// Trains restricted Boltzmann machines on bars and stripes and on the embedded digits, and a deep autoencoder from a stack of them.
#[derive(Parser)]
struct Options {
    /// Runs of bars and stripes and of the deep autoencoder, each with a seed of its own
    #[arg(long, default_value_t = 10, value_parser = arguments::count::<u64>)]
    seeds: u64,
    /// The first seed, and that of the digits
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps on bars and stripes
    #[arg(long, default_value_t = 20_000, value_parser = arguments::count::<u64>)]
    steps: u64,
    /// Passes over the digits for each machine
    #[arg(long, default_value_t = 60, value_parser = arguments::count::<u64>)]
    epochs: u64,
    /// Passes over the digits for the deep autoencoder
    #[arg(long, default_value_t = 100, value_parser = arguments::count::<u64>)]
    tuning: u64,
    /// Folder for the pictures
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let [dreams, filters] = ["rbm-dreams.png", "rbm-filters.png"].map(|name| arguments::file(&options.out, name));
    let (dreams, filters) = (dreams?, filters?);
    let (train, test) = data::digits()?.split_at(1500)?;
    let gpu = Gpu::new()?;
    let progress = Progress::new();
    let Options { seed, epochs, tuning, .. } = options;
    let seeds: Vec<u64> = (0..options.seeds).map(|i| seed.wrapping_add(i)).collect();
    progress.say(&format!("adapter    {}", gpu.adapter().name));
    let patterns = bars_and_stripes(&gpu, &seeds, options.steps, &progress)?;
    let digits = digits::learn(&gpu, &train, [seed, epochs], [&dreams, &filters], &progress)?;
    let deep = autoencoders(&gpu, [&train, &test], &seeds, [epochs, tuning], &progress)?;
    progress.say(&format!("wrote      {} and {}", dreams.display(), filters.display()));
    progress.end();
    if options.json {
        let figures = serde_json::json!({
            "adapter": gpu.adapter().name,
            "seed": seed,
            "seeds": options.seeds,
            "steps": options.steps,
            "epochs": epochs,
            "tuning": tuning,
            "bars_and_stripes": patterns,
            "digits": digits,
            "deep": deep,
        });
        println!("{figures}");
    }
    Ok(())
}

/// Log-likelihoods of all patterns, of several seeds.
fn bars_and_stripes(gpu: &Gpu, seeds: &[u64], steps: u64, progress: &Progress) -> Outcome<Vec<serde_json::Value>> {
    let [first, last] = patterns::RATES;
    let (hidden, chains, spread, count) =
        (patterns::HIDDEN, patterns::CHAINS, patterns::SPREAD, patterns::patterns().len());
    let best = -(count as f64).ln();
    progress.say(&format!(
        "patterns   {count} bars and stripes, 9-{hidden}, all in a step, {chains} chains, {steps} steps"
    ));
    progress.say(&format!(
        "           SGD, rate {first} to {last} along a line, weights normal with deviation {spread} at the start, biases 0"
    ));
    progress.say(&format!("           log-likelihood of a pattern, {} seeds (best possible {best:.3})", seeds.len()));
    let mut figures = Vec::new();
    for (name, gibbs, [reference, spread]) in patterns::WAYS {
        let of = |seed: &u64| -> Outcome<f64> {
            progress.begin(format!("bars and stripes, {name}, seed {seed}"));
            patterns::learn(gpu, gibbs, *seed, steps, progress)
        };
        let each = seeds.iter().map(of).collect::<Outcome<Vec<f64>>>()?;
        let [mean, deviation] = moments(&each);
        progress.say(&format!("{name:<10} {mean:.3} ± {deviation:.3}  (elsewhere {reference:.3} ± {spread:.3})"));
        figures.push(serde_json::json!({
            "way": name, "mean": mean, "deviation": deviation, "each": each, "reference": [reference, spread],
        }));
    }
    Ok(figures)
}

/// Errors of the deep autoencoder, of several seeds.
fn autoencoders(
    gpu: &Gpu,
    [train, test]: [&strait::Data; 2],
    seeds: &[u64],
    [epochs, tuning]: [u64; 2],
    progress: &Progress,
) -> Outcome<serde_json::Value> {
    let widths = deep::WIDTHS.map(|width| width.to_string()).join("-");
    let [of_means, of_components] = deep::beside(gpu, train, test)?;
    let machines = deep::machines(epochs, 0);
    let Pretraining { learning_rate, normal_learning_rate, weight_decay, optimizer, ramps, .. } = machines;
    progress.say(&format!(
        "deep       {widths} and mirrored, sigmoid, the code linear, loss {}; batches of {}",
        deep::spec().loss.name(),
        deep::BATCH
    ));
    progress.say(&format!(
        "           machines: CD-1, visible units by their means, {epochs} epochs each, rate {learning_rate}, the code's {normal_learning_rate}, {},",
        deep::descent(optimizer, ramps.momentum)
    ));
    progress.say(&format!("           weight decay {weight_decay}, weights normal with deviation 0.1 at the start"));
    progress.say(&format!(
        "           then all: {tuning} epochs at fixed rates, {} of the loss's mean over pixels, Adam of its sum",
        deep::descent(deep::WAYS[0].1, None)
    ));
    progress.say(&format!(
        "           error a pixel of test digits, {} seeds (their mean {of_means:.4}, 8 components {of_components:.5})",
        seeds.len()
    ));
    let of = |seed: &u64| deep::learn(gpu, [train, test], *seed, [epochs, tuning], progress);
    let found = seeds.iter().map(of).collect::<Outcome<Vec<_>>>()?;
    let stacked = moments(&found.iter().map(|(stacked, _)| *stacked).collect::<Vec<f64>>());
    progress.say(&format!("stack      {:.4} ± {:.4} before anything is fine-tuned", stacked[0], stacked[1]));
    let mut figures = Vec::new();
    for (i, (name, _, rate, reference)) in deep::WAYS.iter().enumerate() {
        for (j, start) in ["from scratch", "pretrained"].into_iter().enumerate() {
            let each: Vec<f64> = found.iter().map(|(_, errors)| errors[i][j]).collect();
            let ([mean, deviation], [low, high]) = (moments(&each), reference[j]);
            progress.say(&format!(
                "{name:<10} rate {rate}, {start:<12} {mean:.4} ± {deviation:.4}  (elsewhere {low:.4} to {high:.4})"
            ));
            figures.push(serde_json::json!({
                "optimizer": name, "start": start, "mean": mean, "deviation": deviation, "each": each, "reference": [low, high],
            }));
        }
    }
    Ok(serde_json::json!({ "mean": of_means, "components": of_components, "stack": stacked, "errors": figures }))
}
