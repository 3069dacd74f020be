//! Trains a sparse denoising autoencoder on handwritten digits and draws what it learned:
//! `cargo run --release --example digits`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/features.rs"]
mod features;
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
use features::{neighbour_correlation, recognised};
use options::Common;
use outcome::Outcome;
use picture::{Sheet, loss_curve, one_of_each};
use strait::{Data, Gpu, Session, Spec, data};

/// Trains a sparse denoising autoencoder on 8 x 8 digits and draws what it learned: 60 passes over 1,500 of them by
/// default.
#[derive(Parser)]
struct Options {
    /// Units of the code
    #[arg(long, default_value_t = 64, value_parser = arguments::count::<usize>)]
    code: usize,
    /// Digits in a batch
    #[arg(long, default_value_t = 50, value_parser = arguments::count::<usize>)]
    batch: usize,
    /// Learning rate at the start; it falls to 0 along a cosine
    #[arg(long, default_value_t = 5e-3, value_parser = arguments::positive)]
    rate: f64,
    #[command(flatten)]
    common: Common,
}

/// Pixels of a digit's side.
const SIDE: usize = 8;

/// What this picture showed at an earlier commit, the weights of a first layer, which looked like noise: how much
/// neighbouring pixels correlated in them.
const BEFORE: &str = "461b42f";
const CORRELATION_BEFORE: f64 = 0.049;

fn main() -> ExitCode {
    outcome::exit(run(Instant::now(), Options::parse()))
}

fn run(begun: Instant, options: Options) -> Outcome {
    let mut spec = Spec::from_toml(include_str!("digits.toml"))?;
    if let Some(code) = spec.encoder.last_mut() {
        code.units = options.code;
    }
    let training = options.common.training(options.rate, options.batch, 60);
    let (train, test) = data::digits()?.split_at(1500)?;
    let (sheet, curve_path) = (options.common.file("digits.png")?, options.common.file("loss.png")?);
    let gpu = Gpu::new()?;
    let mut session = Session::new(&gpu, &spec, training)?;
    let before = begun.elapsed();
    let (fit, curve) = training::fit(&mut session, &train)?;

    let test_mse = training::mse(&mut session, &test)?;
    // The test digits with noise, and what the model makes of those, under the same labels.
    let labels = test.labels().unwrap_or_default();
    let labelled = |rows| Data::from_rows(test.columns(), rows)?.with_labels(labels.to_vec());
    let noisy = labelled(session.corrupt(test.values(), options.common.seed)?)?;
    let denoised = labelled(session.reconstruct(noisy.values())?)?;
    let [noisy_mse, denoised_mse] = [&noisy, &denoised].map(|rows| training::mean_square(rows.values(), &test));
    let [clean, corrupted, reconstructed] = [one_of_each(&test)?, one_of_each(&noisy)?, one_of_each(&denoised)?];
    let (right, all_right) = (recognised(&gpu, &train, &reconstructed)?, recognised(&gpu, &train, &denoised)?);
    let strokes = strokes(&mut session, &test)?;
    let correlation = neighbour_correlation(&strokes, SIDE);
    let rows = [("clean", &clean), ("corrupted", &corrupted), ("reconstructed", &reconstructed)];
    let rows = rows.map(|(name, digits)| (name, digits.values().to_vec())).to_vec();
    draw_sheet(rows, &strokes, options.code, &sheet)?;
    loss_curve(&curve_path, "Training loss", "Bernoulli loss and penalties (nats per digit)", &curve)?;

    let seconds = fit.elapsed.as_secs_f64();
    println!("adapter     {}", gpu.adapter().name);
    println!("training    {} steps in {seconds:.1} s", fit.steps);
    println!("test error  {test_mse:.5} per pixel with codes of {} units", options.code);
    println!("noise       {noisy_mse:.5} per pixel, {denoised_mse:.5} once it went through the model");
    println!(
        "recognised  {right} of {} digits in the picture, {all_right} of {} test digits, both from their corrupted form, by \
         the 5 nearest training digits",
        clean.rows(),
        test.rows()
    );
    println!(
        "strokes     neighbouring pixels correlate by {correlation:.3} (features shown at {BEFORE}: {CORRELATION_BEFORE})"
    );
    println!("wrote       {} and {}", sheet.display(), curve_path.display());
    if options.common.json {
        let figures = serde_json::json!({
            "test_mse": test_mse,
            "noisy_mse": noisy_mse,
            "denoised_mse": denoised_mse,
            "recognised": right,
            "recognised_of_all": all_right,
            "correlation": correlation,
            "correlation_before": CORRELATION_BEFORE,
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

/// What each unit of the code draws: how much the pixels change where it goes from off to on and the others are as they
/// are in the mean over `digits`. One image after the other.
fn strokes(session: &mut Session, digits: &Data) -> strait::Result<Vec<f32>> {
    let codes = session.encode(digits.values())?;
    let code = session.spec().code();
    let mean = |unit: usize| codes.iter().skip(unit).step_by(code).sum::<f32>() / digits.rows() as f32;
    let means: Vec<f32> = (0..code).map(mean).collect();
    let with = |state: f32| {
        let at = |i: usize| if i % code == i / code { state } else { means[i % code] };
        session.decode(&(0..code * code).map(at).collect::<Vec<f32>>())
    };
    let (on, off) = (with(1.0)?, with(0.0)?);
    Ok(on.iter().zip(&off).map(|(on, off)| on - off).collect())
}

/// Draws the rows of digits above what each unit of the code draws.
fn draw_sheet(rows: Vec<(&str, Vec<f32>)>, strokes: &[f32], code: usize, path: &Path) -> Outcome {
    let pixels = SIDE * SIDE;
    let sheet = Sheet {
        side: SIDE as u32,
        title: format!("Digits the model has not seen, through a sparse code of {code} units"),
        rows,
        legend: "What each unit of the code draws: where it comes on, red pixels get darker and blue ones lighter",
        // As the picture wants them: pixel by pixel.
        features: &(0..code * pixels).map(|i| strokes[i % code * pixels + i / code]).collect::<Vec<f32>>(),
        feature_size: 100,
    };
    sheet.save(path)
}
