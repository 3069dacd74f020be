//! What pretraining is good for: pairs of layers, one after the other, against training the whole from scratch; and a classifier of
//! few labels on an encoder that has seen many rows without: `cargo run --release --example pretrain`.

#[path = "../common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "../common/bar.rs"]
mod bar;
#[path = "../common/chart.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod chart;
mod depth;
#[path = "../common/figures.rs"]
mod figures;
mod labels;
#[path = "../common/options.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod options;
#[path = "../common/outcome.rs"]
mod outcome;
#[path = "../common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;
#[path = "../common/training.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod training;

use std::process::ExitCode;

use bar::Progress;
use clap::Parser;
use labels::Counts;
use options::{Common, Images};
use outcome::Outcome;
use strait::{Gpu, data};

/// Pretrains on the embedded digits, or on the images of --data, with ten times fewer labels than images beside all of them.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: Images,
    /// Runs, each with a seed of its own
    #[arg(long, default_value_t = 10, value_parser = arguments::count::<u64>)]
    seeds: u64,
    /// Passes over the rows without labels, for each pair of layers
    #[arg(long, default_value_t = 60, value_parser = arguments::count::<u64>)]
    pretraining: u64,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let picture = options.common.file("pretrain.png")?;
    let (train, test) = match &options.images.data {
        Some(folder) => data::mnist(folder)?,
        None => data::digits()?.split_at(1500)?,
    };
    let train = options.images.first(train)?;
    let gpu = Gpu::new()?;
    let progress = Progress::new();
    let seeds: Vec<u64> = (0..options.seeds).map(|i| options.common.seed.wrapping_add(i)).collect();
    progress.say(&format!("adapter    {}", gpu.adapter().name));
    let depth = match options.images.data {
        // What is known of it is known of the digits.
        Some(_) => serde_json::Value::Null,
        None => depth::compare(&gpu, [&train, &test], &seeds, options.common.epochs.unwrap_or(50), &progress)?,
    };
    let counts = match options.images.data {
        Some(_) => Counts { all: vec![train.rows() / 10, train.rows()], batch: 128, epochs: 20, reference: vec![] },
        None => Counts { all: vec![20, 50], batch: 10, epochs: 100, reference: labels::DIGITS.to_vec() },
    };
    let counts = Counts { epochs: options.common.epochs.unwrap_or(counts.epochs), ..counts };
    let labels = labels::compare(&gpu, [&train, &test], &seeds, options.pretraining, &counts, &picture, &progress)?;
    progress.say(&format!("wrote      {}", picture.display()));
    progress.end();
    if options.common.json {
        let figures = serde_json::json!({
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
            "seeds": options.seeds,
            "pretraining": options.pretraining,
            "epochs": counts.epochs,
            "depth": depth,
            "labels": labels,
        });
        println!("{figures}");
    }
    Ok(())
}
