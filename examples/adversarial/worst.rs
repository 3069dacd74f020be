//! Models that are trained against an adversary: their error on test digits and on the worst inputs that an ascent finds near
//! them, which none of them was trained against.

use std::path::Path;

use strait::model::{Ascent, Bound};
use strait::train::{Adversary, Run};
use strait::{Activation, Data, Gpu, Layer, Loss, Model, Spec, Training};

use super::outcome::Outcome;
use super::panel::{Group, Ink, panel};
use super::training;

/// How far a pixel may be moved.
const BOUND: Bound = Bound::Infinity(0.1);

/// What models are judged by: more and shorter steps than any was trained against.
const JUDGE: Ascent = Ascent { bound: BOUND, steps: 30, length: 0.02 };

/// Digits in the picture.
const SHOWN: usize = 6;

/// Trains a model alone, one against ascents and one against a network, prints their errors and draws worst inputs.
pub fn compared(
    gpu: &Gpu,
    (train, test): (&Data, &Data),
    epochs: u64,
    seed: u64,
    path: &Path,
) -> Outcome<Vec<serde_json::Value>> {
    let spec = Spec::symmetric(&[64, 128, 16], Activation::Elu).loss(Loss::SquaredError);
    let options = Training { batch: 100, epochs, seed, ..Training::default() };
    let hidden = Layer { activation: Activation::Elu, ..Layer::new(128) };
    let adversaries = [
        ("nothing", None),
        ("ascents", Some(Adversary::Ascent(Ascent { bound: BOUND, steps: 3, length: 0.05 }))),
        ("a network", Some(Adversary::network(BOUND, [hidden]))),
    ];
    println!("64-128-16 ELU, squared error, batch 100, Adam .001, {epochs} epochs; pixels moved by up to .1:");
    println!("by ascents of 3 steps of .05, by a network 64-128-64; judged by an ascent of 30 steps of .02");
    println!("{:<16} {:>12} {:>14} {:>14}", "trained against", "test error", "worst, mean", "worst of all");
    let (mut figures, mut groups) = (vec![], vec![]);
    for (name, adversary) in &adversaries {
        let run = match adversary {
            Some(adversary) => Run::against(&spec, adversary, &options)?,
            None => Run::of(&spec, &[])?.then_fine_tune(&options)?,
        };
        let (trainer, _) = training::fit(gpu, run, train, name)?;
        let model: Model = trainer.model().ok_or("no model")?;
        let mean = |errors: &[f32]| errors.iter().map(|&e| f64::from(e)).sum::<f64>() / errors.len() as f64;
        let clean = mean(&model.score(test.values())?);
        let (rows, errors) = model.worst(test.values(), &JUDGE)?;
        let (worst, most) = (mean(&errors), errors.iter().fold(0.0f32, |most, &e| most.max(e)));
        println!("{name:<16} {clean:>12.3} {worst:>14.3} {most:>14.3}");
        figures.push(serde_json::json!({
            "against": name, "test_error": clean, "worst_mean": worst, "worst_of_all": most,
        }));
        let shown = &rows[..SHOWN * 64];
        let reconstructed = model.reconstruct(shown)?;
        let line = |i: usize| [&shown[i * 64..][..64], &reconstructed[i * 64..][..64]].concat();
        groups.push(Group { title: name, ink: Ink::Grey, rows: (0..SHOWN).map(line).collect() });
    }
    let digits = test.values()[..SHOWN * 64].chunks(64).map(<[f32]>::to_vec).collect();
    groups.insert(0, Group { title: "digit", ink: Ink::Grey, rows: digits });
    let title = "The worst inputs near six digits";
    panel(path, title, "pairs: found within .1 of each pixel by 30 steps; its reconstruction", (8, 96), &groups)?;
    Ok(figures)
}
