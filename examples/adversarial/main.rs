//! Adversarial autoencoders of the embedded digits: a discriminator that pulls codes to N(0, I), beside figures that PyTorch gave,
//! and models that are trained on the inputs which they reconstruct worst: `cargo run --release --example adversarial`.

#[path = "../common/arguments.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod arguments;
#[path = "../common/chart.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod chart;
#[path = "../common/figures.rs"]
mod figures;
#[path = "../common/options.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod options;
#[path = "../common/outcome.rs"]
mod outcome;
#[path = "../common/panel.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod panel;
#[path = "../common/picture.rs"]
#[allow(dead_code, reason = "other examples use the rest")]
mod picture;

mod codes;
mod training;
mod worst;

use std::process::ExitCode;

use clap::Parser;
use codes::Figures;
use options::Common;
use outcome::Outcome;
use panel::{Group, Ink, panel};
use strait::{Data, Draw, Gpu, data};

/// Trains adversarial autoencoders on the embedded digits: 200 epochs for codes and 60 for inputs unless --epochs says otherwise.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Seeds of the codes' figures, from --seed on
    #[arg(long, default_value_t = 10, value_parser = arguments::count::<u64>)]
    seeds: u64,
}

fn main() -> ExitCode {
    outcome::exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let common = &options.common;
    let names = ["codes.png", "generated.png", "worst.png"];
    let [codes_path, generated_path, worst_path] = names.map(|name| common.file(&format!("adversarial_{name}")));
    let (codes_path, generated_path, worst_path) = (codes_path?, generated_path?, worst_path?);
    let (train, test) = data::digits()?.split_at(1500)?;
    let gpu = Gpu::new()?;
    println!("adapter  {}", gpu.adapter().name);

    let epochs = common.epochs.unwrap_or(200);
    println!("{}, {epochs} epochs", codes::HYPERPARAMETERS);
    println!("{}", Figures::titles());
    let (mut each, mut first) = (vec![], None);
    for seed in (0..options.seeds).map(|i| common.seed.wrapping_add(i)) {
        let (model, figures) = codes::trained(&gpu, (&train, &test), epochs, seed)?;
        println!("seed {seed:<10} {}", figures.line());
        each.push(figures);
        first.get_or_insert(model);
    }
    let (mean, deviation) = Figures::statistics(&each);
    println!("{:<15} {}", "mean", mean.line());
    println!("{:<15} {}", "deviation", deviation.line());
    println!("{:<15} {}", "reference", codes::REFERENCE.line());
    println!("{:<15} {}", "its deviation", codes::DEVIATION.line());
    println!("{:<15} {}", "no worse", mean.verdicts().map(|holds| format!("{holds:>11}")).join(" "));

    if let Some(model) = &first {
        codes::draw(&codes_path, &gpu, model, (&train, &test), epochs, common.seed)?;
        let draw = Draw { seed: common.seed, stream: 0, step: 0 };
        let drawn: Vec<f32> =
            (0..60 * codes::CODE).map(|i| draw.normal(i / codes::CODE, i % codes::CODE) as f32).collect();
        let rows = model.decode(&drawn)?.chunks(12 * 64).map(<[f32]>::to_vec).collect();
        let group = Group { title: "decoded draws", ink: Ink::Grey, rows };
        panel(&generated_path, "Digits from N(0, I)", "codes of 8 units", (8, 72), &[group])?;
    }

    let epochs = common.epochs.unwrap_or(60);
    let attacks = worst::compared(&gpu, (&train, &test), epochs, common.seed, &worst_path)?;
    println!("wrote    {}, {} and {}", codes_path.display(), generated_path.display(), worst_path.display());
    if common.json {
        let figures = serde_json::json!({
            "seeds": each.iter().map(Figures::json).collect::<Vec<_>>(),
            "mean": mean.json(),
            "deviation": deviation.json(),
            "reference": codes::REFERENCE.json(),
            "reference_deviation": codes::DEVIATION.json(),
            "worst": attacks,
            "epochs": common.epochs,
            "adapter": gpu.adapter().name,
            "seed": common.seed,
        });
        println!("{figures}");
    }
    Ok(())
}

/// The squared error of reconstructions, mean over pixels and rows.
fn mse(model: &strait::Model, data: &Data) -> strait::Result<f64> {
    let squares = model.reconstruct(data.values())?.into_iter().zip(data.values());
    let sum: f64 = squares.map(|(r, x)| (f64::from(r) - f64::from(*x)).powi(2)).sum();
    Ok(sum / data.values().len() as f64)
}
