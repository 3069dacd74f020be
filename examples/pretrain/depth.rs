//! Pairs of layers one after the other, then the whole, against the whole from scratch: errors of reconstructions.

use strait::train::{Run, Trainer};
use strait::{Activation, Data, Gpu, Session, Spec, Training};

use super::bar::Progress;
use super::figures::moments;
use super::outcome::Outcome;
use super::training::mean_square;

const WIDTHS: [usize; 3] = [64, 128, 32];

/// What is compared, with the mean and the deviation of ten seeds elsewhere.
const WAYS: [(&str, [f64; 2]); 4] = [
    ("stacked pairs", [0.0196, 0.0013]),
    ("fine-tuned", [0.0032, 0.0001]),
    ("from scratch, twice the epochs", [0.0038, 0.0001]),
    ("from scratch, three times", [0.0032, 0.0001]),
];

/// The errors a pixel of test digits, squared and mean: of pairs that are stacked, after `epochs` more for the whole, and of the whole
/// from scratch.
pub fn compare(
    gpu: &Gpu,
    [train, test]: [&Data; 2],
    seeds: &[u64],
    epochs: u64,
    progress: &Progress,
) -> Outcome<serde_json::Value> {
    let spec = Spec::symmetric(&WIDTHS, Activation::Elu);
    let widths = WIDTHS.map(|width| width.to_string()).join("-");
    progress.say(&format!(
        "depth      {widths} and mirrored, ELU, MSE, {epochs} epochs a phase, batches of 50, Adam .001; {} seeds",
        seeds.len()
    ));
    let mut found = vec![vec![]; WAYS.len()];
    for &seed in seeds {
        let training = Training { epochs, batch: 50, seed, ..Training::default() };
        let run = Run::greedy(&spec, &training)?.then_fine_tune(&training)?;
        let mut trainer = Trainer::new(gpu, run)?;
        let mut error = |trainer: &Trainer, way: usize| -> Outcome {
            let model = trainer.model().ok_or("a run over a spec has a model")?;
            found[way].push(mean_square(&model.reconstruct(test.values())?, test));
            Ok(())
        };
        while let Some(phase) = trainer.phase() {
            let last = phase.name == "fine-tune";
            progress.begin(format!("{}, seed {seed}", phase.name));
            if last {
                error(&trainer, 0)?;
            }
            trainer.fit_with(train, |report| progress.told(report))?;
        }
        error(&trainer, 1)?;
        for (way, times) in [(2, 2), (3, 3)] {
            progress.begin(format!("from scratch, seed {seed}"));
            let mut session = Session::new(gpu, &spec, Training { epochs: times * epochs, ..training })?;
            session.fit_with(train, |report| progress.told(report))?;
            found[way].push(mean_square(&session.reconstruct(test.values())?, test));
        }
    }
    let mut figures = vec![];
    for ((name, [reference, spread]), each) in WAYS.iter().zip(&found) {
        let [mean, deviation] = moments(each);
        progress.say(&format!("{name:<31}{mean:.4} ± {deviation:.4}  (elsewhere {reference:.4} ± {spread:.4})"));
        figures.push(serde_json::json!({
            "way": name, "mean": mean, "deviation": deviation, "each": each, "reference": [reference, spread],
        }));
    }
    Ok(figures.into())
}
