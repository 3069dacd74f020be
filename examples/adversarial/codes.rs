//! Codes that a discriminator pulls to N(0, I): the model of the reference's figures, what is measured of it, and a picture.

use std::path::Path;

use nalgebra::{DMatrix, SymmetricEigen};
use strait::model::Prior;
use strait::train::{Discriminator, Run};
use strait::{Activation, Data, Draw, Gpu, Layer, Loss, Model, Session, Spec, Training};

use super::chart::scatter;
use super::figures::moments;
use super::outcome::Outcome;
use super::{mse, training};

/// Units of a code.
pub const CODE: usize = 8;

/// Rows of a batch.
const BATCH: usize = 100;

/// All of them. The discriminator's activation was chosen on rows 1,201 to 1,500, among this one and a leaky ReLU of slope .01 with
/// and without rates that fall along a cosine or a generator's rate of .0005: the reference has a leaky ReLU of slope .2.
pub const HYPERPARAMETERS: &str = "64-256-8 ELU, Bernoulli, prior N(0, I), batch 100; discriminator 8-128-128-1 ELU (the reference's: \
     leaky ReLU, slope .2); Adam .001, discriminator and generator with betas .5 and .999";

/// The terms of the discriminator's loss.
const DISCRIMINATOR: [&str; 2] = ["players.discriminator.prior", "players.discriminator.codes"];

/// What is told of a trained model.
#[derive(Clone, Copy)]
pub struct Figures([f64; 5]);

const NAMES: [&str; 5] = ["test_mse", "norm_of_mean", "least_eigenvalue", "largest_eigenvalue", "discriminator"];

/// Ten seeds in PyTorch, and their deviations.
pub const REFERENCE: Figures = Figures([0.0252, 0.78, 0.42, 1.39, 1.34]);
pub const DEVIATION: Figures = Figures([0.0020, 0.12, 0.06, 0.11, 0.04]);

/// Whether less of a figure is better.
const LESS: [bool; 5] = [true, true, false, true, false];

impl Figures {
    /// The titles of the columns of [`Figures::line`].
    pub fn titles() -> String {
        let names = ["MSE", "|mean code|", "least eig.", "largest", "D's loss"];
        format!("{:<15} {}", "", names.map(|name| format!("{name:>11}")).join(" "))
    }

    pub fn line(&self) -> String {
        let [mse, rest @ ..] = self.0;
        format!("{mse:>11.4} {}", rest.map(|v| format!("{v:>11.3}")).join(" "))
    }

    pub fn json(&self) -> serde_json::Value {
        NAMES
            .iter()
            .zip(self.0)
            .map(|(name, value)| (name.to_string(), value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Mean and standard deviation of several.
    pub fn statistics(all: &[Figures]) -> (Figures, Figures) {
        let each: [[f64; 2]; 5] = std::array::from_fn(|i| moments(&all.iter().map(|f| f.0[i]).collect::<Vec<_>>()));
        (Figures(each.map(|[mean, _]| mean)), Figures(each.map(|[_, deviation]| deviation)))
    }

    /// Whether each is no worse than the reference by more than one of its deviations.
    pub fn verdicts(&self) -> [&'static str; 5] {
        std::array::from_fn(|i| {
            let above = (self.0[i] - REFERENCE.0[i]) / DEVIATION.0[i];
            let worse = if LESS[i] { above } else { -above };
            if worse <= 1.0 { "yes" } else { "NO" }
        })
    }
}

fn spec() -> Spec {
    Spec::symmetric(&[64, 256, CODE], Activation::Elu).loss(Loss::Bernoulli)
}

/// An adversarial autoencoder and its figures on test digits.
pub fn trained(gpu: &Gpu, (train, test): (&Data, &Data), epochs: u64, seed: u64) -> Outcome<(Model, Figures)> {
    let hidden = Layer { activation: Activation::Elu, ..Layer::new(128) };
    let discriminator = Discriminator::new(Prior::Normal, [hidden.clone(), hidden]);
    let options = Training { batch: BATCH.min(train.rows()), epochs, seed, ..Training::default() };
    let (trainer, fit) =
        training::fit(gpu, Run::adversarial(&spec(), &discriminator, &options)?, train, &format!("seed {seed}"))?;
    let model = trainer.model().ok_or("no model")?;
    let codes = model.encode(test.values())?;
    let codes = DMatrix::from_row_iterator(test.rows(), CODE, codes.into_iter().map(f64::from));
    let mean = codes.row_mean();
    let centred = DMatrix::from_fn(test.rows(), CODE, |r, c| codes[(r, c)] - mean[c]);
    let covariance = centred.transpose() * &centred / test.rows() as f64;
    let eigenvalues = SymmetricEigen::new(covariance).eigenvalues;
    // The discriminator's two terms, over the last reports.
    let last = &fit.history[fit.history.len().saturating_sub(10)..];
    let mut loss = 0.0;
    for (report, term) in last.iter().flat_map(|report| DISCRIMINATOR.map(|term| (report, term))) {
        let found = report.terms.iter().find(|(name, _)| name == term);
        loss += found.ok_or_else(|| format!("no report tells of {term}"))?.1 / last.len() as f64;
    }
    Ok((model.clone(), Figures([mse(&model, test)?, mean.norm(), eigenvalues.min(), eigenvalues.max(), loss])))
}

/// Draws the first two units of test codes without and with the discriminator beside draws of the prior.
pub fn draw(path: &Path, gpu: &Gpu, model: &Model, (train, test): (&Data, &Data), epochs: u64, seed: u64) -> Outcome {
    let options = Training { batch: BATCH.min(train.rows()), epochs, seed, ..Training::default() };
    let mut plain = Session::new(gpu, &spec(), options)?;
    plain.fit(train)?;
    let pairs = |codes: Vec<f32>| codes.chunks(CODE).map(|code| (code[0].into(), code[1].into())).collect::<Vec<_>>();
    let draw = Draw { seed, stream: 1, step: 0 };
    let prior = (0..test.rows()).map(|row| (draw.normal(row, 0), draw.normal(row, 1))).collect();
    let classes = [
        ("without a discriminator".to_string(), pairs(plain.encode(test.values())?)),
        ("with one".to_string(), pairs(model.encode(test.values())?)),
        ("N(0, I)".to_string(), prior),
    ];
    scatter(path, "Codes of test digits", ["first unit", "second unit"], &classes)
}
