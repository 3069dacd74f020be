//! Row 39: recirculation, against its formulas in f64 and against the gradient that it stands for.

use nalgebra::DMatrix;
use strait::graph::Sink;
use strait::train::{Run, Trainer};
use strait::{Activation, Gpu, Loss, Optimizer, Spec, Training};

use super::check::Check;
use super::device::{self, Feed};
use super::forward::{Forward, formula, relative, sigmoid};
use super::jacobians::random_params;
use super::linear::{matrix, narrow, normal, orthonormal, rounded, uniform, values, wide, with_spectrum};
use super::outcome::Outcome;

/// An autoencoder of one layer and one back, whose hidden and visible units have these activations.
pub fn pair([inputs, units]: [usize; 2], [hidden, visible]: [Activation; 2], loss: Loss) -> Spec {
    let mut spec = Spec::symmetric(&[inputs, units], Activation::Identity).loss(loss).code_activation(hidden);
    spec.decoder[0].activation = visible;
    spec
}

/// The rule in plain matrices, mean over rows: what W, b, V and c follow, of tied ones the sum.
pub fn direction(spec: &Spec, params: &[Vec<f64>], x: &DMatrix<f64>, lambda: f64) -> Outcome<Vec<Vec<f64>>> {
    let units = spec.code();
    let f = formula(spec.encoder[0].activation)?;
    let g = if spec.loss == Loss::Bernoulli { sigmoid } else { formula(spec.decoder[0].activation)? };
    let w = matrix(&params[0], units);
    let v = if spec.tied { w.transpose() } else { matrix(&params[2], spec.input) };
    let (b, c) = (&params[1], &params[params.len() - 1]);
    let layer = |x: &DMatrix<f64>, w: &DMatrix<f64>, b: &[f64], f: fn(f64) -> f64| {
        let product = x * w;
        DMatrix::from_fn(product.nrows(), product.ncols(), |r, c| f(product[(r, c)] + b[c]))
    };
    let h1 = layer(x, &w, b, f);
    let v2 = x * lambda + layer(&h1, &v, c, g) * (1.0 - lambda);
    let h3 = layer(&v2, &w, b, f);
    let (visible, hidden, count) = (x - &v2, &h1 - h3, x.nrows() as f64);
    let (encoder, decoder) = (v2.transpose() * &hidden / count, h1.transpose() * &visible / count);
    let biases = [&hidden, &visible].map(|of| of.row_mean().iter().copied().collect::<Vec<f64>>());
    let [hidden, visible] = biases;
    Ok(match spec.tied {
        true => vec![values(&(encoder + decoder.transpose())), hidden, visible],
        false => vec![values(&encoder), hidden, values(&decoder), visible],
    })
}

/// What the GPU would follow, and the term that it reports.
fn found(gpu: &Gpu, spec: &Spec, params: &[Vec<f64>], x: &DMatrix<f64>, lambda: f64) -> Outcome<(Vec<Vec<f64>>, f64)> {
    let run = Run::recirculation(spec, lambda, &Training { shuffle: false, ..Training::default() })?;
    let graph = &run.phases[0].steps[0].graph;
    let feed = Feed { data: narrow(&values(x)), params: params.iter().map(|p| narrow(p)).collect(), ..Feed::default() };
    let evaluator = device::run(gpu, graph, x.nrows(), &feed)?;
    let gradient = |i| -> Outcome<Vec<f64>> {
        let values = evaluator.sink(Sink::Gradient(i), x.nrows())?;
        Ok(values.iter().map(|v| -f64::from(*v)).collect())
    };
    let all = (0..params.len()).map(gradient).collect::<Outcome<_>>()?;
    Ok((all, evaluator.sink(Sink::Term(0), x.nrows())?[0].into()))
}

/// 1 less the cosine between two directions, as half the squared distance of the unit vectors: so small angles keep their digits.
fn apart(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let unit = |v: &[Vec<f64>]| -> Vec<f64> {
        let v = v.concat();
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v.iter().map(|v| v / norm).collect()
    };
    unit(a).iter().zip(unit(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 2.0
}

/// Row 39.
pub fn recirculation(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = rule(gpu, seed)?;
    checks.extend(gradient(gpu, seed)?);
    checks.extend(fixed_point(gpu, seed)?);
    Ok(checks)
}

/// The direction itself, for every kind of unit.
fn rule(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (linear, squashed) = (Activation::Identity, Activation::Sigmoid);
    let x = rounded(&uniform(17, 6, (0.0, 1.0), seed, 0));
    let mut checks = Vec::new();
    for (name, units, loss) in [
        ("linear units", [linear, linear], Loss::Mse),
        ("sigmoid code", [squashed, linear], Loss::SquaredError),
        ("sigmoid units", [squashed, squashed], Loss::SquaredError),
        ("sigmoid units by logits", [squashed, linear], Loss::Bernoulli),
    ] {
        for tied in [false, true] {
            let spec = Spec { tied, ..pair([6, 4], units, loss.clone()) };
            let params = random_params(&spec, 0.7, seed, 10)?;
            let expected = direction(&spec, &params, &x, 0.75)?;
            let (found, term) = found(gpu, &spec, &params, &x, 0.75)?;
            let name = format!("{name}, {}", if tied { "tied" } else { "untied" });
            let [wanted, given] = [relative(&expected, &expected), relative(&found, &expected)];
            checks.push(Check::all_equal(format!("{name}: what the tensors follow"), &wanted, &given, 5e-6));
            let loss = Forward::new(&spec)?.objective(&params, &values(&x));
            checks.push(Check::equal(format!("{name}: the term is the loss"), loss, term, 2e-6 * loss));
        }
    }
    Ok(checks)
}

/// Linear units with tied weights beside the gradient of the squared error, by differences.
fn gradient(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let spec = pair([5, 3], [Activation::Identity; 2], Loss::SquaredError).tied();
    let x = rounded(&normal(40, 5, seed, 1));
    let mut params = random_params(&spec, 0.5, seed, 20)?;
    let descent = |params: &[Vec<f64>]| -> Outcome<Vec<Vec<f64>>> {
        let gradients = Forward::new(&spec)?.gradients(params, &values(&x), 1e-5);
        Ok(gradients.into_iter().map(|g| g.into_iter().map(|g| -g).collect()).collect())
    };
    let downhill = descent(&params)?;
    let mut checks = Vec::new();
    let mut angles = Vec::new();
    for lambda in [0.0, 0.5, 0.75, 0.95, 0.975, 0.9875] {
        let (found, _) = found(gpu, &spec, &params, &x, lambda)?;
        let (measured, exact) = (apart(&found, &downhill), apart(&direction(&spec, &params, &x, lambda)?, &downhill));
        // Rounding, of differences that have the factor 1 - lambda, turns a direction; the cosine falls by that times the angle.
        let turned = 1e-7 / (1.0 - lambda) * (2.0 * exact).sqrt();
        checks.push(Check::equal(format!("linear, tied: 1 - cos, lambda {lambda}"), exact, measured, turned));
        angles.push(measured);
    }
    checks.push(Check::equal("linear, tied: its order in 1 - lambda", 2.0, (angles[4] / angles[5]).log2(), 0.1));
    checks.push(Check::at_least("linear, tied: it is some at lambda = 0", 1e-3, angles[0]));

    // Orthonormal columns, no bias: what the reconstruction lacks has no code.
    params[0] = wide(&narrow(&values(&orthonormal(5, 3, seed, 30))));
    params[1..].iter_mut().for_each(|bias| bias.fill(0.0));
    let downhill = descent(&params)?;
    for lambda in [0.0, 0.75] {
        let (found, _) = found(gpu, &spec, &params, &x, lambda)?;
        let identity = format!("orthonormal columns: 1 - cos, lambda {lambda}");
        checks.push(Check::equal(identity, 0.0, apart(&found, &downhill), 1e-9));
    }
    Ok(checks)
}

/// Linear units with tied weights end where the gradient does, for any λ: with orthonormal columns in the principal subspace.
fn fixed_point(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let x = rounded(&with_spectrum(64, &[2.0, 1.0, 0.3, 0.1], seed, 2));
    let spec = pair([4, 2], [Activation::Identity; 2], Loss::SquaredError).tied();
    let mut checks = Vec::new();
    for lambda in [0.0, 0.75] {
        let training = Training {
            optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: false },
            learning_rate: 0.01 / (1.0 - lambda),
            batch: x.nrows(),
            epochs: 600,
            seed,
            ..Training::default()
        };
        let mut trainer = Trainer::new(gpu, Run::recirculation(&spec, lambda, &training)?)?;
        trainer.fit(device::data(&x)?)?;
        let params: Vec<Vec<f64>> = trainer.parameters()?.iter().map(|p| wide(p)).collect();
        let loss = Forward::new(&spec)?.objective(&params, &values(&x));
        let name = format!("linear, tied, trained with lambda {lambda}");
        checks.push(Check::equal(format!("{name}: the sum of what is left out"), 0.4, loss, 1e-4));
        let w = matrix(&params[0], 2);
        let gram = values(&(w.transpose() * &w));
        checks.push(Check::all_equal(format!("{name}: W'W = I"), &[1.0, 0.0, 0.0, 1.0], &gram, 1e-3));
    }
    Ok(checks)
}
