//! Trains sparse autoencoders on images under three penalties and draws what they learned:
//! `cargo run --release --example sparse`.

#[path = "common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "sparse/chart.rs"]
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

use std::process::ExitCode;

use chart::{Codes, Curve};
use clap::Parser;
use options::{Common, Images};
use outcome::Outcome;
use strait::graph::{Expr, Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::state::State;
use strait::model::Penalty;
use strait::{Activation, Gpu, Loss, Session, Spec};

/// Trains sparse autoencoders on images and draws their features, their codes, and the sparsity curves: 60 passes over
/// the embedded digits by default, 5 over the images of --data.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    images: Images,
    /// Units of the code
    #[arg(long, default_value_t = 64, value_parser = arguments::count::<usize>)]
    code: usize,
    /// Images in a batch
    #[arg(long, default_value_t = 50, value_parser = arguments::count::<usize>)]
    batch: usize,
    /// Learning rate at the start; it falls to 0 along a cosine
    #[arg(long, default_value_t = 5e-3, value_parser = arguments::positive)]
    rate: f64,
    #[command(flatten)]
    common: Common,
}

/// The mean activity that the curves are drawn for, and that KL sparsity asks for.
const RHO: f64 = 0.1;

fn main() -> ExitCode {
    outcome::exit(run(Options::parse()))
}

/// The models: name, activation of the code, penalty. What a number of the code costs under L1 and Student-t does not grow
/// with the image, or all units of large images fall silent before the decoder has learned what they are good for.
fn systems(pixels: usize) -> [(&'static str, Activation, Option<Penalty>); 4] {
    let scale = pixels as f64 / 64.0;
    let layer = None;
    [
        ("no penalty", Activation::Relu, None),
        ("L1", Activation::Relu, Some(Penalty::L1 { weight: 0.3, layer })),
        ("KL sparsity", Activation::Sigmoid, Some(Penalty::KlSparsity { weight: 0.5 * scale, rho: RHO, layer })),
        ("Student-t", Activation::Relu, Some(Penalty::StudentT { weight: 0.3, nu: 1.0, layer })),
    ]
}

fn run(options: Options) -> Outcome {
    let (train, test) = options.images.split()?;
    let pixels = train.columns();
    let training = options.common.training(options.rate, options.batch, options.images.choose(60, 5));
    let (features, curves) = (options.common.file("sparse.png")?, options.common.file("sparsity.png")?);
    let gpu = Gpu::new()?;
    println!("adapter      {}", gpu.adapter().name);
    println!("{:<12} {:>14} {:>12} {:>14}", "penalty", "error an image", "exact zeros", "mean activity");
    let (mut panels, mut figures) = (Vec::new(), Vec::new());
    for (name, activation, penalty) in systems(pixels) {
        let base = Spec::symmetric(&[pixels, options.code], activation).loss(Loss::SquaredError);
        // Without a scale on the decoder a penalty on codes can be cheated.
        let spec = Spec { unit_norm: true, ..base.code_activation(activation) };
        let spec = penalty.into_iter().fold(spec, Spec::penalty);
        let mut session = Session::new(&gpu, &spec, training)?;
        let (fit, _) = training::fit(&mut session, &train)?;
        let codes = session.encode(test.values())?;
        let error = training::mse(&mut session, &test)? * pixels as f64;
        let count = codes.len() as f64;
        let zeros = codes.iter().filter(|h| **h == 0.0).count() as f64 / count;
        let mean = codes.iter().map(|&h| f64::from(h)).sum::<f64>() / count;
        println!("{name:<12} {error:>14.3} {:>11.1}% {mean:>14.3}", zeros * 100.0);
        figures.push(serde_json::json!({
            "penalty": name,
            "test_error": error,
            "zeros": zeros,
            "mean_activity": mean,
            "steps": fit.steps,
            "train_seconds": fit.elapsed.as_secs_f64(),
        }));
        panels.push(Codes {
            title: format!("{name} ({})", activation.name()),
            note: format!("squared error {error:.2} an image; codes: {:.0} % exactly 0, mean {mean:.2}", zeros * 100.0),
            weights: session.parameter("decoder.0.weight")?,
            codes,
        });
    }

    let side = pixels.isqrt();
    chart::features(&features, side, &panels)?;
    chart::curves(&curves, RHO, &penalty_curves(&gpu)?)?;
    println!("wrote        {} and {}", features.display(), curves.display());
    if options.common.json {
        let figures = serde_json::json!({
            "systems": figures,
            "adapter": gpu.adapter().name,
            "seed": options.common.seed,
            "epochs": training.epochs,
        });
        println!("{figures}");
    }
    Ok(())
}

/// Both penalties of a unit's mean activity q from .001 to .999, as the GPU computes them.
fn penalty_curves(gpu: &Gpu) -> Outcome<Vec<Curve>> {
    let q: Vec<f32> = (1..1000).map(|i| i as f32 / 1000.0).collect();
    let layer = None;
    let penalties = [
        ("KL(rho || q)", Penalty::KlSparsity { weight: 1.0, rho: RHO, layer }),
        ("(q - rho)²", Penalty::SquaredSparsity { weight: 1.0, rho: RHO, layer }),
    ];
    let curve = |(name, penalty): (&'static str, Penalty)| -> Outcome<Curve> {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 1);
        let cost = penalty.of_mean(&Expr::input(0)).ok_or("no penalty of a mean activity")?;
        let each = g.map_expr(cost, &[x])?;
        g.sink(Sink::Output(0), each);
        let evaluator = Evaluator::new(gpu, &g, q.len())?;
        evaluator.input(0, &q)?;
        evaluator.run(State::once(q.len(), 0))?;
        let cost = evaluator.sink(Sink::Output(0), q.len())?;
        Ok(Curve { name, points: q.iter().zip(cost).map(|(&q, c)| (q.into(), c.into())).collect() })
    };
    penalties.into_iter().map(curve).collect()
}
