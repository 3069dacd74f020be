//! A classifier of few labels: on an encoder from scratch, on a pretrained one that it fine-tunes, and on one that stays as it is.

use std::path::Path;

use strait::model::Supervised;
use strait::train::{Run, Trainer};
use strait::{Activation, Corruption, Data, Draw, Gpu, Loss, Model, Spec, Training};

use super::bar::Progress;
use super::chart::{COLOURS, Points, points};
use super::figures::moments;
use super::outcome::Outcome;

const CLASSES: usize = 10;

/// Units of the layers that the classifier stands on.
const LAYERS: [usize; 3] = [256, 256, 64];

/// The part of what each layer sees that pretraining hides.
const HIDDEN: f64 = 0.3;

/// The rate of the classifier's steps: of .001, .003 and .01 the best on the digits 1,201 to 1,500, held out of the others.
const RATE: f64 = 0.003;

/// What is compared.
const WAYS: [&str; 3] = ["from scratch", "fine-tuned", "frozen"];

/// Accuracies of [`WAYS`] elsewhere, of ten seeds on the digits with 20 and with 50 labels: the mean, and its own error.
pub const DIGITS: [[[f64; 2]; 3]; 2] =
    [[[0.429, 0.023], [0.669, 0.013], [0.723, 0.011]], [[0.475, 0.034], [0.770, 0.007], [0.787, 0.005]]];

/// How many labels there are, how they are learned, and what is known elsewhere.
pub struct Counts {
    pub all: Vec<usize>,
    pub batch: usize,
    pub epochs: u64,
    pub reference: Vec<[[f64; 2]; 3]>,
}

/// Accuracies on the test rows.
pub fn compare(
    gpu: &Gpu,
    [train, test]: [&Data; 2],
    seeds: &[u64],
    pretraining: u64,
    counts: &Counts,
    picture: &Path,
    progress: &Progress,
) -> Outcome<serde_json::Value> {
    let widths: Vec<usize> = [train.columns()].into_iter().chain(LAYERS).collect();
    let corruption = Corruption::Masking { probability: HIDDEN, rescale: false };
    let plain =
        Spec::symmetric(&widths, Activation::Sigmoid).code_activation(Activation::Sigmoid).corruption(corruption);
    let plain = plain.loss(Loss::Bernoulli);
    let spec = Spec { supervised: Some(Supervised { classes: CLASSES, weight: 1.0 }), ..plain.clone() };
    let pairs = plain.pairs()?;
    let widths: Vec<String> = widths.iter().map(usize::to_string).collect();
    progress.say(&format!(
        "labels     {} sigmoid; pretrained in pairs on {} rows, {HIDDEN} of what a layer sees hidden, {pretraining} epochs a pair, batches of 50, Adam .001,",
        widths.join("-"),
        train.rows()
    ));
    progress.say(&format!(
        "           loss {} of the first pair, {} of the others, sums over what a layer sees;",
        pairs[0].loss.name(),
        pairs[1].loss.name()
    ));
    progress.say(&format!(
        "           then softmax and cross-entropy alone, {} epochs, batches of {}, Adam {RATE}, as many labels of each class; accuracy on {} rows, {} seeds",
        counts.epochs,
        counts.batch,
        test.rows(),
        seeds.len()
    ));
    let mut found = vec![vec![vec![]; WAYS.len()]; counts.all.len()];
    for &seed in seeds {
        let training = Training { epochs: pretraining, batch: 50, seed, ..Training::default() };
        let mut trainer = Trainer::new(gpu, Run::greedy(&plain, &training)?)?;
        while let Some(phase) = trainer.phase() {
            progress.begin(format!("{}, seed {seed}", phase.name));
            trainer.fit_with(train, |report| progress.told(report))?;
        }
        let pretrained = trainer.model().ok_or("a run over a spec has a model")?;
        for (&count, found) in counts.all.iter().zip(&mut found) {
            let few = balanced(train, count, seed)?.labelled(CLASSES)?;
            let &Counts { epochs, batch, .. } = counts;
            let training = Training { learning_rate: RATE, epochs, batch, seed, ..Training::default() };
            for (way, found) in WAYS.iter().zip(found) {
                progress.begin(format!("{count} labels, {way}, seed {seed}"));
                let frozen: &[&str] = if *way == "frozen" { &["encoder"] } else { &[] };
                let mut trainer = Trainer::new(gpu, Run::classifier(&spec, frozen, &training)?)?;
                if *way != "from scratch" {
                    trainer.start_from(&pretrained)?;
                }
                trainer.fit_with(&few, |report| progress.told(report))?;
                found.push(accuracy(&trainer.model().ok_or("a run over a spec has a model")?, test)?);
            }
        }
    }
    let mut figures = vec![];
    let mut drawn: Vec<Points> = vec![];
    for (at, way) in WAYS.iter().enumerate() {
        let mut drawn_of = vec![];
        for (i, &count) in counts.all.iter().enumerate() {
            let [mean, deviation] = moments(&found[i][at]);
            let error = deviation / (seeds.len() as f64).sqrt();
            let reference = counts.reference.get(i).map(|of| of[at]);
            let beside =
                reference.map_or(String::new(), |[mean, error]| format!("  (elsewhere {mean:.3} ± {error:.3})"));
            progress.say(&format!("{count:>6} labels, {way:<13} {mean:.3} ± {error:.3}{beside}"));
            figures.push(serde_json::json!({
                "labels": count, "way": way, "mean": mean, "error": error, "each": found[i][at], "reference": reference,
            }));
            drawn_of.push((i as f64 + 0.12 * (at as f64 - 1.0), mean, error));
        }
        drawn.push(Points { label: way.to_string(), colour: COLOURS[at], points: drawn_of });
    }
    let ticks: Vec<String> = counts.all.iter().map(|count| format!("{count} labels")).collect();
    let title = format!("Accuracy, mean of {} seeds and its error", seeds.len());
    points(picture, &title, "accuracy on test rows", &ticks, &drawn)?;
    Ok(figures.into())
}

/// So many rows, as many of each class, drawn by a seed.
fn balanced(data: &Data, count: usize, seed: u64) -> Outcome<Data> {
    let labels = data.labels().ok_or("rows without labels")?;
    let draw = Draw { seed, stream: 40, step: 0 };
    let mut order: Vec<usize> = (0..data.rows()).collect();
    order.sort_by(|&a, &b| draw.uniform(a, 0).total_cmp(&draw.uniform(b, 0)));
    let mut left = [count.div_ceil(CLASSES); CLASSES];
    let rows: Vec<usize> = order
        .into_iter()
        .filter(|&row| {
            let left = &mut left[labels[row] as usize];
            let wanted = *left > 0;
            *left -= usize::from(wanted);
            wanted
        })
        .collect();
    Ok(data.select(&rows)?)
}

/// The share of rows whose most probable class is theirs.
fn accuracy(model: &Model, test: &Data) -> Outcome<f64> {
    let labels = test.labels().ok_or("rows without labels")?;
    let told = model.classify(test.values())?;
    let best = |p: &[f32]| (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]));
    let right = told.chunks(CLASSES).zip(labels).filter(|(p, label)| best(p) == Some(**label as usize));
    Ok(right.count() as f64 / test.rows() as f64)
}
