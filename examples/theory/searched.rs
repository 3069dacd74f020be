//! Row 41: hyperparameter search with cross-validation.

use nalgebra::DMatrix;
use strait::search::{Fold, Search, Table, Values};
use strait::{Activation, Decay, Gpu, Loss, Optimizer, Schedule, Spec, Training};

use super::Row;
use super::check::Check;
use super::device;
use super::linear::{covariance, diagonal, eigen, matrix, means, normal, rounded, with_spectrum};
use super::outcome::Outcome;

/// The rows of this section.
pub const ROWS: &[Row] =
    &[Row { number: 41, name: "hyperparameter search with cross-validation", run: searched, slow: None }];

/// The variance of the noise, and the decays that are tried: 2 lambda in row 6's formula, of which lambda = sigma² is one.
const VARIANCE: f64 = 0.5;
const DECAYS: [f64; 5] = [0.2, 0.44, 2.0 * VARIANCE, 2.3, 5.2];

/// Row 41.
fn searched(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    // Signals, and the same with noise. A linear autoencoder of the noisy rows with decay shrinks each principal axis of
    // variance lambda_i by 1 - lambda/lambda_i, which is Wiener's filter where lambda is the noise's variance.
    let count = 240;
    let signal = with_spectrum(count, &[3.0, 1.5, 0.9, 0.4], seed, 60);
    let noisy = rounded(&(&signal + normal(count, 4, seed, 62) * VARIANCE.sqrt()));
    let (data, clean) = (device::data(&noisy)?, signal.clone());
    let of_rows = data.clone();
    let search = Search::new(Spec::symmetric(&[4, 4], Activation::Identity).loss(Loss::SquaredError), slow(seed))
        .axis("weight_decay", DECAYS, |c, decay| c.spec.weight_decay = decay)
        .folds(3)
        .seed(seed)
        .score("distance from the signal", move |session, fold| {
            let found = matrix(&session.reconstruct(of_rows.select(&fold.held)?.values())?, 4);
            Ok((found - clean.select_rows(&fold.held)).norm_squared() / fold.held.len() as f64)
        });
    let table = search.run(gpu, &data)?;
    if let Some(error) = table.entries().iter().find_map(|entry| entry.error.clone()) {
        return Err(error.into());
    }
    let folds = search.folds_of(count)?;
    let closed = |decay: f64| folds.iter().map(|fold| filtered(&noisy, &signal, fold, decay / 2.0)).collect();
    let expected: Vec<Vec<f64>> = DECAYS.iter().map(|&decay| closed(decay)).collect();
    let found: Vec<f64> = table.entries().iter().flat_map(|entry| entry.scores.clone()).collect();
    // Where a variance is next to lambda, its axis is left by a power of the steps only.
    checks.push(Check::all_equal("scores: shrunk by 1 - lambda/lambda_i, each fold", &expected.concat(), &found, 1e-4));
    let totals: Vec<f64> = expected.iter().map(|scores| scores.iter().sum()).collect();
    let least = (0..DECAYS.len()).min_by(|&a, &b| totals[a].total_cmp(&totals[b])).ok_or("no decay")?;
    let best = table.best().ok_or("no best entry")?.candidate.spec.weight_decay;
    checks.push(Check::equal("the best decay of the grid, by the closed form", DECAYS[least], best, 0.0));
    checks.push(Check::equal("which is 2 sigma² of the noise", 2.0 * VARIANCE, best, 0.0));

    let mut held: Vec<usize> = folds.iter().flat_map(|fold| fold.held.clone()).collect();
    held.sort_unstable();
    held.dedup();
    let kept: usize = folds.iter().map(|fold| fold.held.len()).sum();
    checks.push(Check::equal("rows that are held out, of 240", 240.0, held.len() as f64, 0.0));
    checks.push(Check::equal("how often, all together", 240.0, kept as f64, 0.0));
    let apart = |fold: &Fold| fold.train.iter().filter(|row| fold.held.contains(row)).count();
    let both: usize = folds.iter().map(apart).sum();
    checks.push(Check::equal("rows that are trained on and held out at once", 0.0, both as f64, 0.0));

    let again = || -> strait::Result<Table> {
        Search::new(Spec::symmetric(&[4, 2], Activation::Tanh), Training { batch: 40, seed, ..Training::default() })
            .axis("learning_rate", Values::log_uniform(1e-4, 1e-1), |c, rate| c.training.learning_rate = rate)
            .axis("weight_decay", Values::uniform(0.0, 0.1), |c, decay| c.spec.weight_decay = decay)
            .random(9)
            .halving(3)
            .folds(2)
            .seed(seed)
            .run(gpu, &data)
    };
    let differ = if again()? == again()? { 0.0 } else { 1.0 };
    checks.push(Check::equal("halving of random draws twice: tables that differ", 0.0, differ, 0.0));
    Ok(checks)
}

/// Full batches with momentum along half a cosine, until nothing moves any more.
fn slow(seed: u64) -> Training {
    Training {
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: false },
        schedule: Schedule { warm_up: 0, decay: Decay::Cosine { steps: None } },
        learning_rate: 0.03,
        clip_norm: Some(5.0),
        batch: 160,
        epochs: 500,
        shuffle: false,
        seed,
        ..Training::default()
    }
}

/// The mean squared distance of held rows, shrunk along the principal axes of those to train on, from their signals.
fn filtered(noisy: &DMatrix<f64>, signal: &DMatrix<f64>, fold: &Fold, lambda: f64) -> f64 {
    let train = noisy.select_rows(&fold.train);
    let (variances, axes) = eigen(&covariance(&train));
    let kept: Vec<f64> = variances.iter().map(|variance| (1.0 - lambda / variance).max(0.0)).collect();
    let filter = &axes * diagonal(&kept) * axes.transpose();
    let mean = means(&train);
    let distance = |&row: &usize| {
        let off = noisy.row(row).transpose() - &mean;
        (&mean + &filter * off - signal.row(row).transpose()).norm_squared()
    };
    fold.held.iter().map(distance).sum::<f64>() / fold.held.len() as f64
}
