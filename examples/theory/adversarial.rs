//! Row 43: a discriminator of codes, and adversaries of inputs.

use strait::model::{Ascent, Bound, Prior};
use strait::train::{Adversary, Discriminator, Run, Trainer};
use strait::{Activation, Data, Gpu, Layer, Loss, Optimizer, Schedule, Spec, Training, data};

use super::Row;
use super::check::Check;
use super::linear::narrow;
use super::outcome::Outcome;

/// The rows of this section.
pub const ROWS: &[Row] = &[Row { number: 43, name: "adversarial", run: players, slow: None }];

/// Row 43.
fn players(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = discriminator(gpu, seed)?;
    checks.extend(ascents(gpu, seed)?);
    Ok(checks)
}

fn hidden(units: usize) -> Layer {
    Layer { activation: Activation::Tanh, ..Layer::new(units) }
}

/// The prior N(0, 1), and codes of a logistic distribution: rows at its quantiles, whose code they are themselves.
fn discriminator(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    const ROWS: usize = 2048;
    const EPOCHS: u64 = 600;
    let (mean, scale) = (1.0, 0.4);
    let p = |z: f64| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    let q = |z: f64| 1.0 / (scale * 4.0 * ((z - mean) / (2.0 * scale)).cosh().powi(2));
    let quantile = |i: usize| {
        let u = (i as f64 + 0.5) / ROWS as f64;
        mean + scale * (u / (1.0 - u)).ln()
    };
    let rows = Data::from_rows(1, narrow(&(0..ROWS).map(quantile).collect::<Vec<_>>()))?;
    let spec = Spec::symmetric(&[1, 1], Activation::Identity).loss(Loss::SquaredError);
    let mut discriminator = Discriminator::new(Prior::Normal, [hidden(16), hidden(16)]);
    discriminator.update.optimizer = Optimizer::ADAM;
    discriminator.update.learning_rate = 0.01;
    let decay = strait::Decay::Cosine { steps: None };
    discriminator.update.schedule = Schedule { decay, ..Schedule::default() };
    let training = Training { batch: ROWS, epochs: EPOCHS, seed, ..Training::default() };
    let mut run = Run::adversarial(&spec, &discriminator, &training)?;
    // The discriminator alone: codes stay where they are.
    run.phases[0].steps.retain(|step| step.name == "players");
    run.phases[0].steps[0].updates.remove(0);
    let mut trainer = Trainer::new(gpu, run)?;
    let mut start = trainer.parameters()?;
    (start[0], start[1]) = (vec![1.0], vec![0.0]);
    trainer.set_parameters(&start)?;
    trainer.fit(rows)?;

    // σ(D) at a point, in f64.
    let tensors = trainer.parameters()?;
    let told = |z: f64| {
        let mut last = vec![z];
        for (i, layer) in tensors[4..].chunks(2).enumerate() {
            let units = layer[1].len();
            let sum = |j: usize| {
                let products = last.iter().enumerate().map(|(k, v)| v * f64::from(layer[0][k * units + j]));
                products.sum::<f64>() + f64::from(layer[1][j])
            };
            last = (0..units).map(|j| if i == 2 { sum(j) } else { sum(j).tanh() }).collect();
        }
        1.0 / (1.0 + (-last[0]).exp())
    };
    const STEP: f64 = 0.01;
    let integral = |f: &dyn Fn(f64) -> f64| (-900..=1100).map(|i| f(f64::from(i) * STEP) * STEP).sum::<f64>();
    let half = |z: f64| 0.5 * (p(z) + q(z));
    let log = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    let jsd = integral(&|z| 0.5 * (log(p(z), half(z)) + log(q(z), half(z))));
    let best = 2.0 * jsd - 2.0 * 2f64.ln();
    let value = integral(&|z| p(z) * told(z).ln() + q(z) * (1.0 - told(z)).ln());
    let off = integral(&|z| half(z) * (told(z) - p(z) / (p(z) + q(z))).abs());
    Ok(vec![
        Check::equal("the discriminator's value = 2 JSD - 2 log 2", best, value, 0.005),
        Check::at_most("and no larger", best + 1e-6, value),
        Check::at_most("mean distance of the discriminator from p/(p+q)", 0.02, off),
    ])
}

/// Models of digits alone and against adversaries, judged by an ascent that none was trained against.
fn ascents(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let bound = Bound::Infinity(0.1);
    let (train, test) = data::digits()?.split_at(1500)?;
    let spec = Spec::symmetric(&[64, 32, 8], Activation::Elu).loss(Loss::SquaredError);
    let training = Training { batch: 50, epochs: 24, seed, ..Training::default() };
    let judge = |steps: usize| Ascent { bound, steps, length: 0.02 };
    let trained = |run: Run| -> Outcome<strait::Model> {
        let mut trainer = Trainer::new(gpu, run)?;
        trainer.fit(&train)?;
        Ok(trainer.model().ok_or("no model")?)
    };
    let worst = |model: &strait::Model, steps: usize| -> Outcome<(Vec<f32>, Vec<f32>)> {
        Ok(model.worst(test.values(), &judge(steps))?)
    };
    let mean = |errors: &[f32]| errors.iter().map(|&e| f64::from(e)).sum::<f64>() / errors.len() as f64;

    let plain = trained(Run::of(&spec, &[])?.then_fine_tune(&training)?)?;
    let mut before = plain.score(test.values())?;
    let (mut fall, mut far) = (0.0f64, 0.0f64);
    for steps in [1, 2, 4, 8, 16] {
        let (rows, errors) = worst(&plain, steps)?;
        fall = before.iter().zip(&errors).fold(fall, |fall, (b, e)| fall.max(f64::from(b - e) / f64::from(*b)));
        let way = rows.iter().zip(test.values()).map(|(a, b)| f64::from(a - b).abs());
        far = way.fold(far, f64::max);
        before = errors;
    }
    let mut checks = vec![
        Check::at_most("the largest fall of an error by more steps, relative", 1e-5, fall),
        Check::at_most("the farthest that an ascent led, bound .1", 0.1 + 1e-6, far),
    ];
    let alone = mean(&worst(&plain, 20)?.1);
    let other = Layer { activation: Activation::Elu, ..Layer::new(64) };
    for (name, adversary) in [
        ("ascents", Adversary::Ascent(Ascent { bound, steps: 3, length: 0.05 })),
        ("a network", Adversary::network(bound, [other])),
    ] {
        let model = trained(Run::against(&spec, &adversary, &training)?)?;
        checks.push(Check::at_most(format!("worst error, trained against {name}"), alone, mean(&worst(&model, 20)?.1)));
    }
    Ok(checks)
}
