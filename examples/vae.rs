//! Trains variational autoencoders on handwritten digits, generates digits with one and looks into the 2-D codes of
//! another: `cargo run --release --example vae`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "common/chart.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod chart;
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

use chart::{COLOURS, Line, Tiles, lines, scatter};
use clap::Parser;
use options::{Common, Images};
use outcome::Outcome;
use strait::{Activation, Data, Gpu, Loss, Session, Spec};
use training::Curves;

/// Trains variational autoencoders on handwritten digits and draws what they generate: 60 passes over the embedded
/// digits by default, 5 over the images of --data.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: Images,
    /// Numbers in a code of the model that generates; a second one has 2
    #[arg(long, default_value_t = 8, value_parser = arguments::count::<usize>)]
    code: usize,
    /// Units of the hidden layers
    #[arg(long, default_value_t = 128, value_parser = arguments::count::<usize>)]
    hidden: usize,
    /// Images in a batch
    #[arg(long, default_value_t = 100, value_parser = arguments::count::<usize>)]
    batch: usize,
    /// Learning rate at the start; it falls to 0 along a cosine
    #[arg(long, default_value_t = 5e-3, value_parser = arguments::positive)]
    rate: f64,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

/// A trained model.
struct Model {
    session: Session,
    curves: Curves,
    steps: u64,
    seconds: f64,
    /// On the test images, nats each.
    elbo: f64,
    /// The importance-weighted bound of 50 draws.
    bound: f64,
}

/// Draws of the code for each test image.
const DRAWS: u32 = 50;

fn run(options: Options) -> Outcome {
    let (train, test) = options.images.split()?;
    // Black or white, so that the Bernoulli likelihood is one.
    let (train, test) = (binary(&train)?, binary(&test)?);
    // No more than a picture has room for.
    let test = if test.rows() > 2000 { test.split_at(2000)?.0 } else { test };
    let [generated, walk, codes, terms] =
        ["generated", "walk", "codes", "terms"].map(|name| options.common.file(&format!("vae-{name}.png")));
    let paths = [generated?, walk?, codes?, terms?];
    let gpu = Gpu::new()?;
    let mut wide = learn(&gpu, &options, options.code, &train, &test)?;
    let mut flat = learn(&gpu, &options, 2, &train, &test)?;

    draw_generated(&mut wide.session, options.common.seed, &paths[0])?;
    draw_walk(&mut flat.session, &paths[1])?;
    draw_codes(&mut flat.session, &test, &paths[2])?;
    draw_terms([&wide, &flat], &paths[3])?;

    println!("adapter     {}", gpu.adapter().name);
    for model in [&wide, &flat] {
        let Model { session, steps, seconds, elbo, bound, .. } = model;
        let code = session.spec().code();
        println!(
            "codes of {code}  {steps} steps in {seconds:.1} s; test ELBO {elbo:.3} nats, bound of {DRAWS} draws {bound:.3}"
        );
    }
    println!("wrote       {}", paths.each_ref().map(|p| p.display().to_string()).join(", "));
    if options.common.json {
        let figures = |model: &Model| {
            serde_json::json!({
                "code": model.session.spec().code(),
                "test_elbo": model.elbo,
                "test_bound": model.bound,
                "draws": DRAWS,
                "steps": model.steps,
                "train_seconds": model.seconds,
            })
        };
        let models = [&wide, &flat].map(figures);
        println!(
            "{}",
            serde_json::json!({ "adapter": gpu.adapter().name, "seed": options.common.seed, "models": models })
        );
    }
    Ok(())
}

/// The same images with every pixel 0 or 1.
fn binary(data: &Data) -> Outcome<Data> {
    let values = data.values().iter().map(|&v| f32::from(u8::from(v > 0.5))).collect();
    let plain = Data::from_rows(data.columns(), values)?;
    Ok(match data.labels() {
        Some(labels) => plain.with_labels(labels.to_vec())?,
        None => plain,
    })
}

/// Trains a model with codes of so many numbers and bounds the likelihood of the test images.
fn learn(gpu: &Gpu, options: &Options, code: usize, train: &Data, test: &Data) -> Outcome<Model> {
    let spec = Spec::symmetric(&[train.columns(), options.hidden, code], Activation::Elu)
        .loss(Loss::Bernoulli)
        .variational(1.0);
    let training = options.common.training(options.rate, options.batch, options.images.choose(60, 5));
    let mut session = Session::new(gpu, &spec, training)?;
    training::start_at_means(&mut session, train)?;
    let (fit, curves) = training::fit_terms(&mut session, train)?;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    // Every draw alone is an estimate of the ELBO; together they are a tighter bound.
    let mut elbo = 0.0;
    for draw in 0..10 {
        elbo += mean(&session.evidence(test.values(), 1, draw)?) / 10.0;
    }
    let bound = mean(&session.evidence(test.values(), DRAWS, 0)?);
    Ok(Model { session, curves, steps: fit.steps, seconds: fit.elapsed.as_secs_f64(), elbo, bound })
}

/// Pixels of an image's side.
fn side(session: &Session) -> u32 {
    session.spec().input.isqrt() as u32
}

fn draw_generated(session: &mut Session, seed: u64, path: &Path) -> Outcome {
    let images = session.generate(60, seed)?;
    let code = session.spec().code();
    let note = format!("z ~ N(0, I) of {code} numbers, decoded: grey is the probability that a pixel is 1");
    let tiles = Tiles {
        title: "60 images that the model generates",
        note: &note,
        side: side(session),
        columns: 12,
        size: 112,
        gap: 16,
        images: &images,
        ticks: [vec![], vec![]],
        axes: ["", ""],
    };
    tiles.save(path)
}

/// What the decoder makes of codes on a lattice.
fn draw_walk(session: &mut Session, path: &Path) -> Outcome {
    let steps = 17;
    let at = |i: usize| -2.4 + 4.8 * i as f32 / (steps - 1) as f32;
    // The second number grows upwards.
    let codes: Vec<f32> = (0..steps * steps).flat_map(|i| [at(i % steps), -at(i / steps)]).collect();
    let images = session.decode(&codes)?;
    let ticks = |sign: f32| (0..5).map(|i| format!("{:.1}", sign * at(i * 4) + 0.0)).collect::<Vec<_>>();
    let tiles = Tiles {
        title: "A walk through a 2-D code space",
        note: "Each image is what the decoder makes of the code at its place",
        side: side(session),
        columns: steps as u32,
        size: 72,
        gap: 10,
        images: &images,
        ticks: [ticks(1.0), ticks(-1.0)],
        axes: ["first number of the code", "second number of the code"],
    };
    tiles.save(path)
}

/// The codes of images that the model has not seen.
fn draw_codes(session: &mut Session, test: &Data, path: &Path) -> Outcome {
    let codes = session.encode(test.values())?;
    let labels = test.labels().unwrap_or_default();
    let of = |class: u32| {
        let own = codes.chunks(2).zip(labels).filter(|(_, label)| **label == class);
        (class.to_string(), own.map(|(code, _)| (f64::from(code[0]), f64::from(code[1]))).collect())
    };
    let classes: Vec<(String, Vec<(f64, f64)>)> = (0..10).map(of).collect();
    let title = format!("2-D codes (posterior means) of {} test images, by class", test.rows());
    scatter(path, &title, ["first number of the code", "second number of the code"], &classes)
}

/// The terms of the bound while both models learn.
fn draw_terms(models: [&Model; 2], path: &Path) -> Outcome {
    let mut all = Vec::new();
    for (dashed, model) in [false, true].into_iter().zip(models) {
        let code = model.session.spec().code();
        let mut sum: Vec<(f64, f64)> = Vec::new();
        for ((name, points), colour) in model.curves.iter().zip([COLOURS[0], COLOURS[3]]) {
            sum.resize(points.len(), (0.0, 0.0));
            sum.iter_mut().zip(points).for_each(|(sum, point)| *sum = (point.0, sum.1 + point.1));
            let what = if name == "kl" { "KL(q(z|x) || p(z))" } else { "-E log p(x|z)" };
            let label = format!("{what}, {code} numbers");
            all.push(Line { label, colour, dashed, points: points.clone() });
        }
        let label = format!("-ELBO, their sum, {code} numbers");
        all.push(Line { label, colour: picture::INK, dashed, points: sum });
    }
    let [first, second] = models.map(|model| model.session.spec().code());
    let title = format!("Terms of the bound in training, codes of {first} and of {second} numbers");
    lines(path, &title, ["epoch", "nats per image"], &all)
}
