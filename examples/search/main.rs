//! Searches numbers and choices of an autoencoder and its training by cross-validation and draws what it found:
//! `cargo run --release --example search`.

#[path = "../common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "../common/chart.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod chart;
#[path = "../common/options.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod options;
#[path = "../common/outcome.rs"]
mod outcome;
mod panels;
#[path = "../common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use options::Common;
use outcome::Outcome;
use strait::search::{Entry, Search, Values};
use strait::{Activation, Gpu, Init, Loss, Spec, data};

/// Draws learning rates, weight decays, noise and activations of an autoencoder of the embedded digits, leaves out two of three
/// candidates after a part of the epochs, twice, and draws every score beside the values that led to it.
#[derive(Parser)]
struct Options {
    /// Candidates that are drawn
    #[arg(long, default_value_t = 27, value_parser = |text: &str| arguments::within(text, 1usize..=10_000))]
    candidates: usize,
    /// Parts of the rows, each of which is held out once
    #[arg(long, default_value_t = 3, value_parser = |text: &str| arguments::within(text, 2usize..=100))]
    folds: usize,
    /// File that keeps the table, from which a search that was broken off goes on
    #[arg(long)]
    table: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let (picture, csv) = (options.common.file("search.png")?, options.common.file("search.csv")?);
    if let Some(table) = &options.table {
        arguments::writable(table).map_err(|e| format!("--table {}: {e}", table.display()))?;
    }
    let (train, test) = data::digits()?.split_at(1500)?;
    let spec = Spec::symmetric(&[64, 96, 16], Activation::Elu).loss(Loss::Bernoulli).init(Init::He);
    let training = options.common.training(1e-3, 50, 18);
    let activations = [Activation::Elu, Activation::Tanh, Activation::Sigmoid].map(|a| (a.name(), a));
    let search = Search::new(spec, training)
        .axis("learning rate", Values::log_uniform(1e-4, 1e-1), |c, rate| c.training.learning_rate = rate)
        .axis("weight decay", Values::log_uniform(1e-7, 1e-2), |c, decay| c.spec.weight_decay = decay)
        .axis("noise", Values::uniform(0.0, 0.5), |c, sigma| c.spec = c.spec.clone().gaussian_corruption(sigma))
        .choice("activation", activations, |c, activation| {
            c.spec.encoder[0].activation = *activation;
            c.spec.decoder[0].activation = *activation;
        })
        .random(options.candidates)
        .halving(3)
        .folds(options.folds)
        .seed(options.common.seed);
    let search = options.table.iter().fold(search, Search::kept_at);

    let gpu = Gpu::new()?;
    println!("adapter  {}", gpu.adapter().name);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} trainings  {msg}  {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let begun = std::time::Instant::now();
    let table = search.run_with(&gpu, &train, |report| {
        bar.set_length(report.of as u64);
        bar.set_position(report.done as u64);
        if let Some(score) = report.table.best().and_then(Entry::score).filter(|_| report.training.is_none()) {
            bar.set_message(format!("best {score:.4}"));
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    print!("{table}");
    let seconds = begun.elapsed().as_secs_f64();
    let best = table.best().ok_or("no candidate could be trained")?;

    // What the search is for: the best, trained on all rows, beside the first that was drawn.
    let error = |candidate: &strait::search::Candidate| -> Outcome<f64> {
        let mut session = strait::Session::new(
            &gpu,
            &candidate.spec,
            strait::Training { epochs: training.epochs, ..candidate.training },
        )?;
        session.fit(&train)?;
        Ok(session.evaluate(&test)?.terms[0].1)
    };
    let first = table.entries().first().filter(|first| first.score().is_some());
    let (of_best, of_first) = (error(&best.candidate)?, first.map(|entry| error(&entry.candidate)).transpose()?);
    println!("trained on all {} rows, cross-entropy a digit on {} others:", train.rows(), test.rows());
    println!("the best {of_best:.3}, the first {}", of_first.map_or("-".into(), |error| format!("{error:.3}")));
    panels::save_table(&picture, &table)?;
    std::fs::write(&csv, table.csv()).map_err(|e| format!("{}: {e}", csv.display()))?;
    println!("wrote    {} and {}", picture.display(), csv.display());
    if options.common.json {
        let entry = |entry: &Entry| {
            serde_json::json!({
                "candidate": entry.number,
                "rung": entry.rung,
                "epochs": entry.candidate.training.epochs,
                "values": entry.values,
                "score": entry.score(),
                "deviation": entry.deviation(),
                "error": entry.error,
            })
        };
        let figures = serde_json::json!({
            "axes": table.axes(),
            "entries": table.entries().iter().map(entry).collect::<Vec<_>>(),
            "best": entry(best),
            "test_error": of_best,
            "test_error_of_the_first": of_first,
            "kernels": gpu.kernels(),
            "seconds": seconds,
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
        });
        println!("{figures}");
    }
    Ok(())
}
