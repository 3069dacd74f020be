//! Samples from denoising autoencoders, by alternating corruption and by Langevin steps: moments of normal data beside
//! the exact ones, and digits; with noise at hidden layers, too, by a generative stochastic network (`--gsn`):
//! `cargo run --release --example sampling`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/options.rs"]
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

use clap::Parser;
use options::{Common, Images};
use outcome::Outcome;
use picture::{Sheet, one_of_each};
use strait::Draw;
use strait::analysis::Chain;
use strait::{Activation, Corruption, Data, Decay, Gpu, Loss, Schedule, Session, Spec, Training};

/// Samples from denoising autoencoders and compares moments with the exact ones: 40 passes over the embedded digits by
/// default, 3 over the images of --data.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: Images,
    /// Has noise at the hidden layers, too, and two steps of walkback at least: a generative stochastic network
    #[arg(long)]
    gsn: bool,
    #[command(flatten)]
    common: Common,
}

/// Normal rows to learn from, their variance, and the noise on them.
const ROWS: usize = 4096;
const VARIANCE: f64 = 1.7;
const SIGMA: f64 = 0.8;
/// Chains that run side by side, and how often their moments are taken.
const CHAINS: usize = 4096;
const TIMES: usize = 12;
/// The standard deviation of the noise at hidden layers.
const HIDDEN_NOISE: f64 = 0.5;
/// Steps after which the digits' chains are drawn.
const SHOWN: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

fn run(options: Options) -> Outcome {
    let (images, _) = options.images.split()?;
    let path = options.common.file(if options.gsn { "sampling-gsn.png" } else { "sampling.png" })?;
    let gpu = Gpu::new()?;
    println!("adapter    {}", gpu.adapter().name);
    let chains = normal_data(&gpu, options.common.seed)?;
    let digits = digits(&gpu, &options, &images, &path)?;
    println!("wrote      {}", path.display());
    if options.common.json {
        let figures = serde_json::json!({
            "normal": chains,
            "digits": digits,
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
        });
        println!("{figures}");
    }
    Ok(())
}

/// A linear autoencoder that learns normal data with the variance of p(x|h), and what its chains come to.
///
/// With S the data's variance, v = S + sigma² is the smoothed one. At the optimum r(x) = x S/v and p(x|h) has the
/// posterior's variance S − S²/v; then the alternating chain has the data's variance, and Langevin steps of length eps
/// the smoothed one over 1 − eps/4v.
fn normal_data(gpu: &Gpu, seed: u64) -> Outcome<Vec<serde_json::Value>> {
    let draw = Draw { seed, stream: 0, step: 0 };
    let raw: Vec<f64> = (0..ROWS).map(|row| draw.normal(row, 0)).collect();
    let mean = raw.iter().sum::<f64>() / ROWS as f64;
    let deviation = (raw.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / ROWS as f64).sqrt();
    let values = raw.iter().map(|x| ((x - mean) / deviation * VARIANCE.sqrt()) as f32).collect();

    let spec = Spec::symmetric(&[1, 1], Activation::Identity)
        .loss(Loss::Gaussian { sigma: 1.0, learned: true })
        .gaussian_corruption(SIGMA);
    let training = Training {
        learning_rate: 0.02,
        schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
        batch: ROWS,
        epochs: 800,
        shuffle: false,
        seed,
        ..Training::default()
    };
    let mut session = Session::new(gpu, &spec, training)?;
    training::fit(&mut session, &Data::from_rows(1, values)?)?;
    let smoothed = VARIANCE + SIGMA * SIGMA;
    let posterior = VARIANCE - VARIANCE * VARIANCE / smoothed;
    let slope = session.parameter("encoder.0.weight")?[0] * session.parameter("decoder.0.weight")?[0];
    let learned = f64::from(session.parameter("decoder.log_sigma")?[0] * 2.0).exp();
    println!("normal     data of variance {VARIANCE}, corrupted by sigma {SIGMA}, learned in 800 steps");
    println!("           r(x) = {slope:.4} x (exact: {:.4})", VARIANCE / smoothed);
    println!("           variance of p(x|h) {learned:.4} (exact: {posterior:.4})");
    println!("chain                 mean  exact   variance  +- std. error    exact");

    let mut figures = Vec::new();
    let langevin = |length: f64| (Chain::Langevin { length }, smoothed / (1.0 - length / (4.0 * smoothed)));
    for (name, (chain, exact), apart) in [
        ("alternating", (Chain::Alternating, VARIANCE), 12),
        ("Langevin, eps 0.5", langevin(0.5), 44),
        ("Langevin, eps 2", langevin(2.0), 9),
    ] {
        let mut chains = session.sampler(chain, &vec![3.0; CHAINS], seed)?;
        chains.advance(3 * apart)?;
        let (mut sum, mut square, mut fourth) = (0.0, 0.0, 0.0);
        for _ in 0..TIMES {
            chains.advance(apart)?;
            for x in chains.rows()? {
                let x = f64::from(x);
                (sum, square, fourth) = (sum + x, square + x * x, fourth + x.powi(4));
            }
        }
        let count = (TIMES * CHAINS) as f64;
        let (mean, variance) = (sum / count, square / count - (sum / count).powi(2));
        let error = ((fourth / count - variance * variance) / count).sqrt();
        println!("{name:<18} {mean:>7.4} {:>6.1} {variance:>10.4} {error:>14.4} {exact:>8.4}", 0.0);
        figures.push(serde_json::json!({
            "chain": name, "mean": mean, "variance": variance, "std_error": error, "exact_variance": exact,
        }));
    }
    Ok(figures)
}

/// Learns digits in black and white, and draws chains that start at one of each.
fn digits(gpu: &Gpu, options: &Options, all: &Data, path: &Path) -> Outcome<serde_json::Value> {
    let pixels = all.columns();
    let start = binary(one_of_each(all)?.values());
    let rows = binary(all.values());
    let mut spec = Spec::from_toml(include_str!("sampling.toml"))?;
    spec.input = pixels;
    if options.images.data.is_some() {
        // Of more pixels more are known twice over: it takes more noise to move, and more steps back to where data lies.
        (spec.corruption, spec.walkback) = (Corruption::SaltAndPepper { probability: 0.4 }, 3);
    }
    if options.gsn {
        spec.encoder.iter_mut().for_each(|layer| layer.noise = Corruption::Gaussian { sigma: HIDDEN_NOISE });
        spec.walkback = spec.walkback.max(2);
    }
    if let Some(last) = spec.decoder.last_mut() {
        last.units = pixels;
    }
    let training = options.common.training(options.images.choose(4e-3, 1e-3), 100, options.images.choose(40, 3));
    let mut session = Session::new(gpu, &spec, training)?;
    let set = Data::from_rows(pixels, rows.clone())?;
    training::start_at_means(&mut session, &set)?;
    let (fit, _) = training::fit(&mut session, &set)?;
    println!("digits     {} steps in {:.1} s", fit.steps, fit.elapsed.as_secs_f64());

    // What is shown is the mean of p(x|h) at the chain's state, not the state, whose pixels are drawn apart.
    let mut chains = session.sampler(Chain::Alternating, &start, options.common.seed)?;
    let mut sheet = vec![("start", start.clone())];
    let labels = ["1 step", "2 steps", "4 steps", "8 steps", "16 steps", "32 steps", "64 steps"];
    let mut before = 0;
    for (label, steps) in labels.into_iter().zip(SHOWN) {
        chains.advance(steps - before)?;
        before = steps;
        sheet.push((label, session.reconstruct(&chains.rows()?)?));
    }

    // Many chains, to compare the first moments: how often each pixel is set.
    let many: Vec<f32> = rows.iter().take(1024 * pixels).copied().collect();
    let mut chains = session.sampler(Chain::Alternating, &many, options.common.seed.wrapping_add(1))?;
    chains.advance(100)?;
    let (wanted, found) = (pixel_means(&rows, pixels), pixel_means(&chains.rows()?, pixels));
    let apart = wanted.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let apart = (apart / wanted.len() as f64).sqrt();
    let [ink, drawn] = [&wanted, &found].map(|m| m.iter().sum::<f64>() / m.len() as f64);
    println!("pixels set {drawn:.4} of all after 100 steps of 1,024 chains (data: {ink:.4})");
    println!("           each pixel's share off by {apart:.4} (root of the mean square)");

    Sheet {
        side: (pixels as f64).sqrt() as u32,
        title: match options.gsn {
            true => "Ten chains of a generative stochastic network: the mean of p(x|h)",
            false => "Ten chains of corrupting and drawing from p(x|h), whose mean is shown",
        }
        .into(),
        rows: sheet,
        legend: "",
        features: &[],
        feature_size: 48,
    }
    .save(path)?;
    Ok(serde_json::json!({
        "gsn": options.gsn,
        "steps": fit.steps,
        "train_seconds": fit.elapsed.as_secs_f64(),
        "pixels_set": drawn,
        "pixels_set_in_data": ink,
        "pixel_share_off": apart,
    }))
}

/// 1 where a pixel is darker than half, else 0.
fn binary(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| if *v > 0.5 { 1.0 } else { 0.0 }).collect()
}

/// The mean of each pixel over images.
fn pixel_means(values: &[f32], pixels: usize) -> Vec<f64> {
    let count = (values.len() / pixels) as f64;
    let mean = |at| values.iter().skip(at).step_by(pixels).map(|v| f64::from(*v)).sum::<f64>() / count;
    (0..pixels).map(mean).collect()
}
