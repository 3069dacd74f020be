//! Trains linear autoencoders on the digits and measures how near they come to PCA, which they should end in ("Deep
//! Learning", section 14.1): `cargo run --release --example pca`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/training.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod training;

use std::process::ExitCode;

use clap::Parser;
use outcome::Outcome;
use strait::analysis::Pca;
use strait::train::{Decay, Schedule};
use strait::{Activation, Gpu, Init, Session, Spec, Training, data};

/// Trains linear autoencoders on the digits and measures how near they come to PCA.
#[derive(Parser)]
struct Options {
    /// Numbers in a code, one model for each; no more than the 64 pixels of a digit
    #[arg(long, value_delimiter = ',', default_value = "2,8,16")]
    #[arg(value_parser = |text: &str| arguments::within(text, 1usize..=64))]
    codes: Vec<usize>,
    /// Steps, each on all 1,500 training digits
    #[arg(long, default_value_t = 10_000, value_parser = arguments::count::<u64>)]
    steps: u64,
    /// Learning rate at the start; it falls to 0 along a cosine
    #[arg(long, default_value_t = 0.03, value_parser = arguments::positive)]
    rate: f64,
    /// Seeds the weights
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
    let (train, test) = data::digits()?.split_at(1500)?;
    let gpu = Gpu::new()?;
    let mut figures = Vec::new();
    println!("adapter  {}", gpu.adapter().name);
    println!("code    test error  PCA's error      ratio  largest angle  seconds");
    for &code in &options.codes {
        let spec = Spec::symmetric(&[64, code], Activation::Identity).init(Init::Glorot);
        let training = Training {
            learning_rate: options.rate,
            schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
            batch: train.rows(),
            epochs: options.steps,
            shuffle: false,
            seed: options.seed,
            ..Training::default()
        };
        let mut session = Session::new(&gpu, &spec, training)?;
        let (fit, _) = training::fit(&mut session, &train)?;
        let seconds = fit.elapsed.as_secs_f64();

        let pca = Pca::fit(&gpu, &train, code)?;
        let (error, best) = (training::mse(&mut session, &test)?, pca.mse(&test)?);
        // The rows of the decoder's weights span the space that reconstructions lie in.
        let decoder = session.tensors().iter().position(|t| t.name == "decoder.0.weight").ok_or("no decoder")?;
        let weights: Vec<f64> = session.parameters()?[decoder].iter().map(|&w| w.into()).collect();
        let rows: Vec<Vec<f64>> = weights.chunks(train.columns()).map(Vec::from).collect();
        let angle = pca.largest_angle(&rows)?;
        println!("{code:>4} {error:>13.6} {best:>12.6} {:>10.6} {angle:>14.1e} {seconds:>8.1}", error / best);
        figures.push(serde_json::json!({
            "code": code,
            "test_mse": error,
            "pca_test_mse": best,
            "largest_angle": angle,
            "train_seconds": seconds,
        }));
    }
    if options.json {
        let all = serde_json::json!({
            "models": figures,
            "steps": options.steps,
            "adapter": gpu.adapter().name,
            "seed": options.seed,
        });
        println!("{all}");
    }
    Ok(())
}
