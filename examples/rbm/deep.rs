//! A deep autoencoder of digits from scratch, and from a stack of machines.

use strait::analysis::Pca;
use strait::model::Ramp;
use strait::rbm::{Pretraining, pretrain};
use strait::{Activation, Data, Gpu, Loss, Optimizer, Session, Spec, Training};

use super::bar::Progress;
use super::outcome::Outcome;
use super::training::{mean_square, mse};

/// Units of the layers, down to the code.
pub const WIDTHS: [usize; 5] = [64, 128, 64, 32, 8];
/// Rows of a batch, for the machines and for the whole.
pub const BATCH: usize = 50;

/// What is compared: its name, how the whole is trained, its learning rate for the loss's mean over pixels, and the errors elsewhere: from scratch, after
/// pretraining, of five runs the lowest and the highest.
pub const WAYS: [(&str, Optimizer, f64, [[f64; 2]; 2]); 2] = [
    ("SGD", Optimizer::Sgd { momentum: 0.9, nesterov: false }, 0.1, [[0.0738, 0.0738], [0.0199, 0.0221]]),
    ("Adam", Optimizer::ADAM, 0.001, [[0.0306, 0.0332], [0.0139, 0.0159]]),
];

/// The deep autoencoder: its code is linear.
pub fn spec() -> Spec {
    Spec::symmetric(&WIDTHS, Activation::Sigmoid).loss(Loss::Bernoulli)
}

/// How its machines are trained.
pub fn machines(epochs: u64, seed: u64) -> Pretraining {
    Pretraining { epochs, batch: BATCH, seed, ..Pretraining::default() }
}

/// A descent in words.
pub fn descent(optimizer: Optimizer, momentum: Option<Ramp>) -> String {
    match (optimizer, momentum) {
        (Optimizer::Sgd { momentum, .. }, None) => format!("SGD with momentum {momentum}"),
        (Optimizer::Sgd { momentum, .. }, Some(Ramp { from, end, .. })) => {
            format!("SGD with momentum {from} for {:.0} % of the steps, then {momentum}", 100.0 * end)
        }
        (other, ramp) => format!("{other:?}, {ramp:?}"),
    }
}

/// The errors of test digits, squared and mean over pixels, for each of [`WAYS`] from scratch and after pretraining; before them
/// that of the stack as it is.
pub fn learn(
    gpu: &Gpu,
    [train, test]: [&Data; 2],
    seed: u64,
    [pretraining, epochs]: [u64; 2],
    progress: &Progress,
) -> Outcome<(f64, [[f64; 2]; 2])> {
    let spec = spec();
    let model = pretrain(gpu, &spec, train, &machines(pretraining, seed), |layer, report| {
        progress.begin(format!("seed {seed}, machine {} of {}", layer + 1, WIDTHS.len() - 1));
        progress.told(report)
    })?;
    let start = model.parameters()?;
    let mut found = [[0.0; 2]; 2];
    for ((name, optimizer, rate, _), found) in WAYS.iter().zip(&mut found) {
        // The loss here is the sum over pixels; Adam does not care.
        let (optimizer, learning_rate) = match *optimizer {
            Optimizer::Sgd { .. } => (*optimizer, rate / WIDTHS[0] as f64),
            _ => (*optimizer, *rate),
        };
        let training = Training { optimizer, learning_rate, batch: BATCH, epochs, seed, ..Training::default() };
        for (how, error) in ["from scratch", "after pretraining"].into_iter().zip(found) {
            progress.begin(format!("seed {seed}, {name} {how}"));
            let mut session = Session::new(gpu, &spec, training)?;
            if how == "after pretraining" {
                session.set_parameters(&start)?;
            }
            session.fit_with(train, |report| progress.told(report))?;
            *error = mse(&mut session, test)?;
        }
    }
    let stacked = mean_square(&model.reconstruct(test.values())?, test);
    Ok((stacked, found))
}

/// The errors of the mean of the training digits, and of as many principal components as the code has numbers.
pub fn beside(gpu: &Gpu, train: &Data, test: &Data) -> Outcome<[f64; 2]> {
    let columns = train.columns();
    let mut means = vec![0.0; columns];
    let rows = train.rows() as f64;
    train
        .values()
        .chunks(columns)
        .for_each(|row| means.iter_mut().zip(row).for_each(|(mean, v)| *mean += f64::from(*v) / rows));
    let errors = test.values().iter().enumerate().map(|(at, v)| (f64::from(*v) - means[at % columns]).powi(2));
    let of_means = errors.sum::<f64>() / test.values().len() as f64;
    Ok([of_means, Pca::fit(gpu, train, WIDTHS[4])?.mse(test)?])
}
