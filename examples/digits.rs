//! Trains a denoising autoencoder on handwritten digits and draws what it learned:
//! `cargo run --release --example digits`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/options.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod options;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;
#[path = "common/training.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod training;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use options::Common;
use outcome::Outcome;
use picture::{Sheet, loss_curve, one_of_each};
use strait::analysis::Pca;
use strait::random::Draw;
use strait::{Corruption, Data, Gpu, Session, Spec, data};

/// Trains a denoising autoencoder on 8 x 8 digits and draws what it learned: 40 passes over 1,500 of them by default.
#[derive(Parser)]
struct Options {
    /// Numbers in a code
    #[arg(long, default_value_t = 8, value_parser = arguments::count::<usize>)]
    code: usize,
    /// Digits in a batch
    #[arg(long, default_value_t = 50, value_parser = arguments::count::<usize>)]
    batch: usize,
    /// Learning rate at the start; it falls to 0 along a cosine
    #[arg(long, default_value_t = 6e-3, value_parser = arguments::positive)]
    rate: f64,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    outcome::exit(run(Instant::now(), Options::parse()))
}

fn run(begun: Instant, options: Options) -> Outcome {
    let mut spec = Spec::from_toml(include_str!("digits.toml"))?;
    if let Some(code) = spec.encoder.last_mut() {
        code.units = options.code;
    }
    let training = options.common.training(options.rate, options.batch, 40);
    let (train, test) = data::digits()?.split_at(1500)?;
    let (sheet, curve_path) = (options.common.file("digits.png")?, options.common.file("loss.png")?);
    let gpu = Gpu::new()?;
    let mut session = Session::new(&gpu, &spec, training)?;
    let before = begun.elapsed();
    let (fit, curve) = training::fit(&mut session, &train)?;

    let test_mse = training::mse(&mut session, &test)?;
    // As many components as there are pixels lose nothing, so a wider code has nothing more to be compared with.
    let pca_test_mse = Pca::fit(&gpu, &train, options.code.min(train.columns()))?.mse(&test)?;

    draw_sheet(&mut session, &test, &sheet)?;
    loss_curve(&curve_path, "Training loss", "Bernoulli loss (nats per digit)", &curve)?;

    let seconds = fit.elapsed.as_secs_f64();
    println!("adapter     {}", gpu.adapter().name);
    println!("training    {} steps in {seconds:.1} s", fit.steps);
    println!("test error  {test_mse:.5} per pixel with codes of {} numbers (PCA: {pca_test_mse:.5})", options.code);
    println!("wrote       {} and {}", sheet.display(), curve_path.display());
    if options.common.json {
        let figures = serde_json::json!({
            "test_mse": test_mse,
            "pca_test_mse": pca_test_mse,
            "steps": fit.steps,
            "train_seconds": seconds,
            "first_step_seconds": (before + fit.first_step).as_secs_f64(),
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
            "epochs": training.epochs,
        });
        println!("{figures}");
    }
    Ok(())
}

/// Draws the first test digit of every class, clean, corrupted and reconstructed, above the first layer's features.
fn draw_sheet(session: &mut Session, test: &Data, path: &Path) -> Outcome {
    let clean = one_of_each(test)?.values().to_vec();
    let sigma = if let Corruption::Gaussian { sigma } = session.spec().corruption { sigma } else { 0.0 };
    let draw = Draw { seed: session.training().seed, stream: 0, step: 0 };
    let noise = |i: usize| (sigma * draw.normal(i / test.columns(), i % test.columns())) as f32;
    let corrupted: Vec<f32> = clean.iter().enumerate().map(|(i, x)| x + noise(i)).collect();
    let reconstructed = session.reconstruct(&corrupted)?;
    let parameters = session.parameters()?;
    let sheet = Sheet {
        side: 8,
        title: format!("Digits the model has not seen, through a code of {} numbers", session.spec().code()),
        rows: vec![("clean", clean), ("corrupted", corrupted), ("reconstructed", reconstructed)],
        legend: "Features of the first layer, each to its own scale: red is positive, blue negative",
        features: &parameters[0],
        feature_size: 48,
    };
    sheet.save(path)
}
