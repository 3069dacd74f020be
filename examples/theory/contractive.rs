//! Rows 27 to 34: contraction (here), manifolds, predictive sparse decomposition.

use nalgebra::DMatrix;
use strait::graph::Sink;
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::model::{Mapping, Method, Purpose};
use strait::{Activation, Gpu, Layer, Loss, Penalty, Session, Spec, Training};

use super::Row;
use super::check::Check;
use super::device::{self, Feed, parameter, solve};
use super::forward::sigmoid;
use super::jacobians::{Layers, differences, mean, random_params, squared_norm};
use super::linear::{
    covariance, diagonal, eigen, largest, matrix, narrow, orthonormal, rounded, singular_values, uniform, values, wide,
    with_spectrum,
};
use super::outcome::Outcome;
use super::{manifold, predictive};

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 27, name: "contractive", run: contractive, slow: None },
    Row { number: 28, name: "contractive on the reconstruction", run: reconstruction, slow: None },
    Row { number: 29, name: "layerwise contractive stack", run: stack, slow: None },
    Row { number: 30, name: "the scale pathology", run: scale, slow: None },
    Row { number: 31, name: "contraction spectrum, saturation", run: manifold::spectrum, slow: None },
    Row { number: 32, name: "tangents", run: manifold::tangents, slow: Some(manifold::tangents_of_models) },
    Row { number: 33, name: "neighbours, local PCA, manifold Parzen windows", run: manifold::baselines, slow: None },
    Row { number: 34, name: "predictive sparse decomposition", run: predictive::decomposition, slow: None },
];

/// The weight of every penalty here.
const LAMBDA: f64 = 0.5;

/// Encoder layers of the given widths and activations, and one linear decoder layer, with the squared error.
pub fn layered(input: usize, encoder: &[(usize, Activation)]) -> Spec {
    let layer = |&(units, activation)| Layer { activation, ..Layer::new(units) };
    Spec {
        encoder: encoder.iter().map(layer).collect(),
        decoder: vec![Layer::new(input)],
        ..Spec::symmetric(&[input, 1], Activation::Identity).loss(Loss::SquaredError)
    }
}

fn penalised(spec: &Spec, weight: f64, of: Mapping, method: Method) -> Spec {
    spec.clone().penalty(Penalty::Contractive { weight, of, method })
}

fn feed(params: &[Vec<f64>], data: &[f64]) -> Feed {
    Feed { data: narrow(data), params: params.iter().map(|p| narrow(p)).collect(), ..Feed::default() }
}

/// Parameters whose decoder gives nothing, so that the encoder's gradient is that of the penalty alone.
fn silent(spec: &Spec, seed: u64, stream: u32) -> Outcome<Vec<Vec<f64>>> {
    let mut params = random_params(spec, 0.7, seed, stream)?;
    params[2 * spec.encoder.len()].fill(0.0);
    Ok(params)
}

fn term(step: &device::Step, name: &str) -> Outcome<f64> {
    let found = step.terms.iter().find(|(n, _)| n == name).ok_or_else(|| format!("no term {name}"))?;
    Ok(found.1)
}

/// A dozen roundings of f32, relative: what a Jacobian through a few layers and the sum of its squares go through.
const ROUNDING: f64 = 1e-6;

/// Whether gradients are those expected: apart by so much of the largest slope at most.
fn same_gradients(identity: String, expected: &[Vec<f64>], found: &[Vec<f32>], tolerance: f64) -> Check {
    let (expected, found) = (expected.concat(), wide(&found.concat()));
    let scale = largest(&expected);
    let over = |values: Vec<f64>| values.into_iter().map(|v| v / scale).collect::<Vec<f64>>();
    Check::all_equal(identity, &over(expected), &over(found), tolerance)
}

/// λ ||J||², mean over rows, and its gradient by the encoder's parameters.
fn exact(spec: &Spec, params: &[Vec<f64>], data: &[f64]) -> Outcome<(f64, Vec<Vec<f64>>)> {
    let value = |params: &[Vec<f64>]| -> Outcome<f64> {
        let encoder = Layers::encoder(spec, params)?;
        Ok(LAMBDA * mean(data, spec.input, |row| squared_norm(&encoder.jacobian(row))))
    };
    let mut gradients = differences(params, value)?;
    gradients.truncate(2 * spec.encoder.len());
    Ok((value(params)?, gradients))
}

fn rows(count: usize, columns: usize, seed: u64, stream: u32) -> Vec<f64> {
    values(&rounded(&uniform(count, columns, (-1.0, 1.0), seed, stream)))
}

fn contractive(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let methods = [("closed form", Method::ClosedForm), ("exact", Method::Exact), ("auto", Method::Auto)];

    // One sigmoid layer, in the closed form of the list; neither side of W is as long as the other or as the batch.
    let (n, k, count) = (6, 4, 5);
    let spec = layered(n, &[(k, Activation::Sigmoid)]);
    let params = silent(&spec, seed, 0)?;
    let data = rows(count, n, seed, 50);
    let (mut value, mut dw, mut db) = (0.0, vec![0.0; n * k], vec![0.0; k]);
    for x in data.chunks(n) {
        for j in 0..k {
            let z = params[1][j] + (0..n).map(|i| x[i] * params[0][i * k + j]).sum::<f64>();
            let h = sigmoid(z);
            let s = h * (1.0 - h);
            let norm: f64 = (0..n).map(|i| params[0][i * k + j].powi(2)).sum();
            value += LAMBDA * s * s * norm / count as f64;
            for i in 0..n {
                let slope = 2.0 * s * s * params[0][i * k + j] + 2.0 * s * s * (1.0 - 2.0 * h) * norm * x[i];
                dw[i * k + j] += LAMBDA * slope / count as f64;
            }
            db[j] += LAMBDA * 2.0 * s * s * (1.0 - 2.0 * h) * norm / count as f64;
        }
    }
    for (name, method) in methods {
        let step = device::step(gpu, &penalised(&spec, LAMBDA, Mapping::Encoder, method), &feed(&params, &data))?;
        let of = |what: &str| format!("one sigmoid layer, {name}: {what}");
        let found = term(&step, "contractive")?;
        checks.push(Check::equal(of("sum of s² n, mean over rows"), value, found, ROUNDING * value));
        let (dw, db) = (&dw, &db);
        // A bias's slope is a sum that cancels: its rounding is of the size of the largest slope.
        let tolerance = ROUNDING * largest(dw).max(largest(db));
        checks.push(Check::all_equal(of("dW"), dw, &step.gradients[0], tolerance));
        checks.push(Check::all_equal(of("db"), db, &step.gradients[1], tolerance));
    }

    // Every activation, wide and narrow layers, one to three deep: the full Jacobian in plain loops.
    let all = Activation::ALL;
    let mut specs: Vec<(String, Spec, Method)> = Vec::new();
    for &activation in &all {
        let spec = layered(n, &[(k, activation)]);
        specs.push((format!("one {} layer, closed form", activation.name()), spec, Method::ClosedForm));
    }
    for (i, pair) in all.chunks(2).enumerate() {
        let (first, last) = (pair[0], pair[pair.len() - 1]);
        let widths = [(6, 5, 3), (3, 5, 2)][i % 2];
        let spec = layered(widths.0, &[(widths.1, first), (widths.2, last)]);
        let name = format!("{}-{}-{} {}, {}, exact", widths.0, widths.1, widths.2, first.name(), last.name());
        specs.push((name, spec, Method::Exact));
    }
    let deep = layered(5, &[(7, Activation::Tanh), (4, Activation::Softplus), (3, Activation::Sigmoid)]);
    specs.push(("5-7-4-3 tanh, softplus, sigmoid, auto".into(), deep, Method::Auto));
    for (i, (name, spec, method)) in (0..).zip(specs) {
        let data = rows(count, spec.input, seed, 60 + i);
        let params = silent(&spec, seed, 100 + 20 * i)?;
        let (value, gradients) = exact(&spec, &params, &data)?;
        let step = device::step(gpu, &penalised(&spec, LAMBDA, Mapping::Encoder, method), &feed(&params, &data))?;
        let found = term(&step, "contractive")?;
        checks.push(Check::equal(format!("{name}: value"), value, found, ROUNDING * value));
        let (identity, found) = (format!("{name}: gradient"), &step.gradients[..gradients.len()]);
        checks.push(same_gradients(identity, &gradients, found, 3.0 * ROUNDING));
    }

    // A linear encoder: λ ||W||², whatever the data, and its gradient 2 λ W.
    let spec = layered(n, &[(k, Activation::Identity)]);
    let params = silent(&spec, seed, 700)?;
    let step = device::step(gpu, &penalised(&spec, LAMBDA, Mapping::Encoder, Method::Auto), &feed(&params, &data))?;
    let norm: f64 = params[0].iter().map(|w| w * w).sum();
    let found = term(&step, "contractive")?;
    checks.push(Check::equal("linear encoder: lambda ||W||²", LAMBDA * norm, found, ROUNDING * norm));
    let expected: Vec<f64> = params[0].iter().map(|w| 2.0 * LAMBDA * w).collect();
    checks.push(Check::all_equal("linear encoder: dW = 2 lambda W", &expected, &step.gradients[0], 5e-7));
    let spec = layered(n, &[(5, Activation::Identity), (3, Activation::Identity)]);
    let params = silent(&spec, seed, 720)?;
    let step = device::step(gpu, &penalised(&spec, LAMBDA, Mapping::Encoder, Method::Auto), &feed(&params, &data))?;
    let norm = squared_norm(&(matrix(&params[0], 5) * matrix(&params[2], 3)));
    let found = term(&step, "contractive")?;
    checks.push(Check::equal("linear encoder of two layers: lambda ||W1 W2||²", LAMBDA * norm, found, ROUNDING * norm));

    for projections in [1, 4] {
        checks.extend(hutchinson(gpu, seed, projections)?);
    }
    Ok(checks)
}

/// Random projections: value and gradient are those of the exact norm in the mean.
fn hutchinson(gpu: &Gpu, seed: u64, projections: usize) -> Outcome<Vec<Check>> {
    const DRAWS: u32 = 400;
    let spec = layered(6, &[(5, Activation::Tanh), (4, Activation::Sigmoid)]);
    let params = silent(&spec, seed, 800)?;
    let data = rows(5, 6, seed, 850);
    let (value, gradients) = exact(&spec, &params, &data)?;
    let method = Method::Hutchinson { projections };
    let network = Network::new(&penalised(&spec, LAMBDA, Mapping::Encoder, method))?;
    let evaluator = Evaluator::new(gpu, &network.graph(Purpose::Train, false)?, 5)?;
    let (mut found, mut slopes) = (Vec::new(), Vec::new());
    for step in 0..DRAWS {
        device::again(&evaluator, 5, &Feed { step, seed, ..feed(&params, &data) })?;
        found.push(f64::from(evaluator.sink(Sink::Term(1), 5)?[0]));
        if projections == 1 {
            let each: Vec<Vec<f32>> =
                (0..gradients.len()).map(|i| evaluator.sink(Sink::Gradient(i), 5)).collect::<strait::Result<_>>()?;
            slopes.push(wide(&each.concat()));
        }
    }
    let encoder = Layers::encoder(&spec, &params)?;
    // The variance of v'Av for v of ±1 is twice the sum of the squares off the diagonal of A = JJ'.
    let variance = |row: &[f64]| {
        let j = encoder.jacobian(row);
        let a = &j * j.transpose();
        2.0 * (squared_norm(&a) - a.diagonal().iter().map(|v| v * v).sum::<f64>())
    };
    let variance = LAMBDA * LAMBDA * mean(&data, 6, variance) / (5 * projections) as f64;
    let draws = f64::from(DRAWS);
    let average = found.iter().sum::<f64>() / draws;
    let spread = found.iter().map(|v| (v - average).powi(2)).sum::<f64>() / (draws - 1.0);
    let of = |what: &str| format!("Hutchinson, {projections} a row: {what}");
    let mut checks = vec![
        Check::equal(of("mean of 400 draws"), value, average, 4.0 * (variance / draws).sqrt()),
        // Four standard errors of the variance of normal draws, which these, sums over a batch, nearly are.
        Check::equal(of("variance over that in theory"), 1.0, spread / variance, 4.0 * (2.0 / draws).sqrt()),
    ];
    if projections > 1 {
        return Ok(checks);
    }
    let far = |e: usize, expected: f64| {
        let average = slopes.iter().map(|s| s[e]).sum::<f64>() / draws;
        let spread = slopes.iter().map(|s| (s[e] - average).powi(2)).sum::<f64>() / (draws - 1.0);
        (average - expected) / (spread / draws).sqrt()
    };
    let apart: Vec<f64> = gradients.concat().iter().enumerate().map(|(e, &expected)| far(e, expected)).collect();
    let what = format!("{} mean slopes, standard errors off", apart.len());
    checks.push(Check::at_most(of(&what), 4.0, largest(&apart)));
    Ok(checks)
}

fn reconstruction(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let squares = |r: &[f64], x: &[f64]| r.iter().zip(x).map(|(r, x)| (r - x).powi(2)).sum::<f64>();

    // Any depth, and the mean of a likelihood: the objective and its gradient in plain loops.
    let deep = |loss| Spec { loss, ..Spec::symmetric(&[5, 4, 2], Activation::Tanh) };
    for (i, spec) in (0..).zip([deep(Loss::SquaredError), deep(Loss::SquaredError).tied(), deep(Loss::Bernoulli)]) {
        let data = values(&rounded(&uniform(4, 5, (0.0, 1.0), seed, i)));
        let params = random_params(&spec, 0.7, seed, 10 + 20 * i)?;
        let norm = |params: &[Vec<f64>]| -> Outcome<f64> {
            let network = Layers::whole(&spec, params)?;
            Ok(LAMBDA * mean(&data, 5, |row| squared_norm(&network.jacobian(row))))
        };
        let heavy = penalised(&spec, LAMBDA, Mapping::Reconstruction, Method::Exact);
        let (step, plain) =
            (device::step(gpu, &heavy, &feed(&params, &data))?, device::step(gpu, &spec, &feed(&params, &data))?);
        let name = format!("5-4-2-4-5 {}{}", spec.loss.name(), if spec.tied { ", tied" } else { "" });
        let found = term(&step, "contractive")?;
        let value = norm(&params)?;
        checks.push(Check::equal(format!("{name}: lambda ||J||² in plain loops"), value, found, ROUNDING * value));
        let gradients = differences(&params, norm)?;
        // What the penalty adds to the gradient of the loss.
        let both = step.gradients.iter().zip(&plain.gradients);
        let added: Vec<Vec<f64>> =
            both.map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()).collect();
        let scale = gradients.iter().map(|g| largest(g)).fold(0.0, f64::max);
        let identity = format!("{name}: its gradient, by differences");
        checks.push(Check::all_equal(identity, &gradients.concat(), &added.concat(), 5e-6 * scale));
    }

    // A linear model: with λ = σ² it is the denoising criterion, exactly.
    let sigma = 0.4;
    let spec = Spec::symmetric(&[4, 2], Activation::Identity).loss(Loss::SquaredError);
    let params = random_params(&spec, 0.7, seed, 100)?;
    let data = rows(6, 4, seed, 110);
    // Points with the first and second moments of the noise, which are all that a quadratic sees.
    let denoising = |params: &[Vec<f64>]| -> Outcome<f64> {
        let network = Layers::whole(&spec, params)?;
        let each = |row: &[f64]| {
            let point = |p: usize| {
                let mut moved = row.to_vec();
                moved[p / 2] += sigma * 2.0 * if p.is_multiple_of(2) { 1.0 } else { -1.0 };
                squares(&network.of(&moved), row)
            };
            (0..8).map(point).sum::<f64>() / 8.0
        };
        Ok(mean(&data, 4, each))
    };
    let contracted = penalised(&spec, sigma * sigma, Mapping::Reconstruction, Method::Exact);
    let step = device::step(gpu, &contracted, &feed(&params, &data))?;
    let expected = denoising(&params)?;
    let name = "linear, lambda = sigma²: E||r(x + eps) - x||²";
    checks.push(Check::equal(name, expected, step.objective(), 1e-6 * expected));
    let gradients = differences(&params, denoising)?;
    let identity = "linear: the gradient of that".to_string();
    checks.push(same_gradients(identity, &gradients, &step.gradients, 3.0 * ROUNDING));
    let network = Network::new(&spec.clone().gaussian_corruption(sigma))?;
    let evaluator = Evaluator::new(gpu, &network.graph(Purpose::Train, false)?, 6)?;
    let mut losses = Vec::new();
    for step in 0..1000 {
        device::again(&evaluator, 6, &Feed { step, seed, ..feed(&params, &data) })?;
        losses.push(f64::from(evaluator.sink(Sink::Term(0), 6)?[0]));
    }
    let draws = losses.len() as f64;
    let average = losses.iter().sum::<f64>() / draws;
    let error = (losses.iter().map(|l| (l - average).powi(2)).sum::<f64>() / (draws - 1.0) / draws).sqrt();
    checks.push(Check::equal("linear: the mean of 1,000 denoising steps", step.objective(), average, 4.0 * error));

    // Not linear: E||r(x + eps) - x||² = ||r - x||² + sigma² (||J||² + (r - x)' Laplacian r) + O(sigma^4), row 24.
    let spec = layered(2, &[(3, Activation::Tanh)]);
    let params = random_params(&spec, 1.0, seed, 120)?;
    let data = rows(3, 2, seed, 130);
    let network = Layers::whole(&spec, &params)?;
    let contracted = penalised(&spec, 1.0, Mapping::Reconstruction, Method::Exact);
    let step = device::step(gpu, &contracted, &feed(&params, &data))?;
    let norm = term(&step, "contractive")?;
    let left = |sigma: f64| {
        let each = |row: &[f64]| {
            let (r, h) = (network.of(row), 1e-3);
            let curved: f64 = (0..4)
                .map(|p| {
                    let mut moved = row.to_vec();
                    moved[p / 2] += if p.is_multiple_of(2) { h } else { -h };
                    network.of(&moved).iter().zip(&r).zip(row).map(|((m, r), x)| (r - x) * (m - r)).sum::<f64>()
                })
                .sum();
            expectation(|a, b| squares(&network.of(&[row[0] + sigma * a, row[1] + sigma * b]), row))
                - squares(&r, row)
                - sigma * sigma * curved / (h * h)
        };
        (mean(&data, 2, each) - sigma * sigma * norm) / sigma.powi(4)
    };
    let (coarse, fine) = (left(0.1), left(0.05));
    let name = "tanh: what is left is O(sigma^4): over sigma^4, .05 against .1";
    checks.push(Check::equal(name, coarse, fine, 0.05 * coarse.abs()));
    Ok(checks)
}

/// E f(a, b) of two standard normal numbers, by the trapezoid rule, which is exact to many digits here.
fn expectation(f: impl Fn(f64, f64) -> f64) -> f64 {
    let grid = || (-32..=32).map(|i| f64::from(i) * 0.25);
    let weight = |v: f64| (-0.5 * v * v).exp();
    let (mut sum, mut total) = (0.0, 0.0);
    for a in grid() {
        for b in grid() {
            sum += weight(a) * weight(b) * f(a, b);
            total += weight(a) * weight(b);
        }
    }
    sum / total
}

/// The largest singular value of each of the Jacobians, one after the other, of a map from `columns` values to
/// `outputs`.
fn norms(jacobians: &[f32], columns: usize, outputs: usize) -> Vec<f64> {
    jacobians.chunks(columns * outputs).map(|j| singular_values(&matrix(j, columns))[0]).collect()
}

fn stack(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let spec = layered(6, &[(5, Activation::Tanh), (3, Activation::Sigmoid)]);
    let params = silent(&spec, seed, 0)?;
    let data = rows(5, 6, seed, 10);
    let value = |params: &[Vec<f64>]| -> Outcome<f64> {
        let encoder = Layers::encoder(&spec, params)?;
        Ok(LAMBDA * mean(&data, 6, |row| encoder.jacobians(row).iter().map(squared_norm).sum()))
    };
    let layers = penalised(&spec, LAMBDA, Mapping::Layers, Method::Auto);
    let step = device::step(gpu, &layers, &feed(&params, &data))?;
    let (expected, found) = (value(&params)?, term(&step, "contractive")?);
    checks.push(Check::equal("6-5-3: sum over layers of lambda ||J_l||²", expected, found, ROUNDING * expected));
    let gradients = differences(&params, value)?;
    let identity = "its gradient, by differences, over its largest".to_string();
    checks.push(same_gradients(identity, &gradients[..4], &step.gradients[..4], 3.0 * ROUNDING));

    // Two contractive autoencoders, the second trained on the codes of the first, and both as one encoder.
    let x = rounded(&with_spectrum(128, &[2.0, 1.0, 0.5, 0.2, 0.1, 0.05], seed, 20));
    let single = |input, units, activation| {
        let spec = layered(input, &[(units, activation)]);
        penalised(&spec, 0.1, Mapping::Encoder, Method::Auto)
    };
    let first = solve(gpu, &single(6, 5, Activation::Tanh), 0.02, 300, seed, &device::data(&x)?)?;
    let codes = first.encode(&narrow(&values(&x)))?;
    let codes = strait::Data::from_rows(5, codes)?;
    let second = solve(gpu, &single(5, 3, Activation::Sigmoid), 0.02, 300, seed + 1, &codes)?;
    let mut deep = Session::new(gpu, &spec, Training::default())?;
    let (lower, upper, mut whole) = (first.parameters()?, second.parameters()?, deep.parameters()?);
    whole.splice(..4, lower[..2].iter().chain(&upper[..2]).cloned());
    deep.set_parameters(&whole)?;
    let few = narrow(&values(&x)[..6 * 32]);
    let expected = wide(&second.encode(&first.encode(&few)?)?);
    checks.push(Check::all_equal("trained one by one, stacked: the same codes", &expected, &deep.encode(&few)?, 1e-6));
    let below = first.encode(&few)?;
    let whole = norms(&deep.jacobian(&few, Mapping::Encoder)?, 6, 3);
    let lower = norms(&first.jacobian(&few, Mapping::Encoder)?, 6, 5);
    let upper = norms(&second.jacobian(&below, Mapping::Encoder)?, 5, 3);
    let ratios: Vec<f64> = (0..whole.len()).map(|i| whole[i] / (lower[i] * upper[i])).collect();
    checks.push(Check::at_most("||J_deep||_2 over ||J_1||_2 ||J_2||_2, largest of 32 rows", 1.0, largest(&ratios)));
    let exact: Vec<Vec<f64>> = deep.parameters()?.iter().map(|p| wide(p)).collect();
    let encoder = Layers::encoder(&spec, &exact)?;
    let expected: Vec<f64> = wide(&few).chunks(6).map(|row| singular_values(&encoder.jacobian(row))[0]).collect();
    checks.push(Check::all_equal("||J_deep||_2 in f64", &expected, &whole, 1e-6));

    // The bound is reached where what the first layer stretches most is what the second does.
    let shared = orthonormal(5, 5, seed, 30);
    let w1 = orthonormal(6, 5, seed, 31) * diagonal(&[3.0, 1.0, 0.5, 0.4, 0.2]) * shared.transpose();
    let w2 = shared.columns(0, 3) * diagonal(&[2.0, 1.5, 0.1]) * orthonormal(3, 3, seed, 32).transpose();
    let mut linear =
        Session::new(gpu, &layered(6, &[(5, Activation::Identity), (3, Activation::Identity)]), Training::default())?;
    let mut params = linear.parameters()?;
    (params[0], params[2]) = (narrow(&values(&w1)), narrow(&values(&w2)));
    linear.set_parameters(&params)?;
    let found = norms(&linear.jacobian(&few[..6], Mapping::Encoder)?, 6, 3)[0];
    checks.push(Check::equal("linear layers that line up: ||J_deep||_2 = 3 · 2", 6.0, found, 6e-6));
    Ok(checks)
}

fn scale(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    // A power of two changes no digit, so that "the same" is bit for bit.
    let epsilon = 0.125f32;
    let data = rows(7, 5, seed, 0);
    let scaled = |params: &[Vec<f32>], decoder: Option<usize>| {
        let mut params = params.to_vec();
        params[0].iter_mut().for_each(|w| *w *= epsilon);
        if let Some(at) = decoder {
            params[at].iter_mut().for_each(|w| *w /= epsilon);
        }
        params
    };
    let measure = |spec: &Spec, params: Vec<Vec<f32>>| -> Outcome<(f64, Vec<f32>)> {
        let step = device::step(gpu, spec, &Feed { data: narrow(&data), params: params.clone(), ..Feed::default() })?;
        let mut session = Session::new(gpu, spec, Training::default())?;
        session.set_parameters(&params)?;
        Ok((term(&step, "contractive")?, session.reconstruct(&narrow(&data))?))
    };
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    for (name, activation) in
        [("linear", Activation::Identity), ("relu", Activation::Relu), ("leaky relu", Activation::LeakyRelu)]
    {
        let spec = penalised(&layered(5, &[(4, activation)]), LAMBDA, Mapping::Encoder, Method::Auto);
        let mut params: Vec<Vec<f32>> = random_params(&spec, 0.7, seed, 10)?.iter().map(|p| narrow(p)).collect();
        params[1].fill(0.0);
        let (before, old) = measure(&spec, params.clone())?;
        let (after, new) = measure(&spec, scaled(&params, Some(2)))?;
        let of = |what: &str| format!("{name}, zero code bias, (W/8, 8V): {what}");
        checks.push(Check::equal(of("change of the reconstruction"), 0.0, apart(&old, &new), 0.0));
        checks.push(Check::equal(of("penalty over that before"), 1.0 / 64.0, after / before, 0.0));
        if activation == Activation::Relu {
            params[1].fill(0.25);
            let (old, new) = (measure(&spec, params.clone())?.1, measure(&spec, scaled(&params, Some(2)))?.1);
            let what = "relu, code bias 1/4: the reconstruction changes";
            checks.push(Check::at_least(what, 0.1, apart(&old, &new)));
        }
    }
    // Weights out of the code of norm 1: a larger V is the same V.
    let unit = Spec {
        unit_norm: true,
        ..penalised(&layered(5, &[(4, Activation::Identity)]), LAMBDA, Mapping::Encoder, Method::Auto)
    };
    let mut params: Vec<Vec<f32>> = random_params(&unit, 0.7, seed, 10)?.iter().map(|p| narrow(p)).collect();
    (params[1], params[3]) = (vec![0.0; 4], vec![0.0; 5]);
    let (old, new) = (measure(&unit, params.clone())?.1, measure(&unit, scaled(&params, Some(2)))?.1);
    let eighth: Vec<f64> = old.iter().map(|&r| f64::from(r) / 8.0).collect();
    checks.push(Check::all_equal("unit norm stops it: the reconstruction is an eighth", &eighth, &new, 1e-6));

    // Tied, a smaller W is a smaller reconstruction: minimising E||x - W W'x||² + lambda ||W||² ends, for each
    // eigenvalue e of the covariance, where s² = 1 - lambda/2e minimises e (1 - s²)² + lambda s².
    let x = rounded(&with_spectrum(64, &[3.0, 1.5, 0.8, 0.3, 0.1], seed, 40));
    let (eigenvalues, axes) = eigen(&covariance(&x));
    let linear = Spec::symmetric(&[5, 4], Activation::Identity).loss(Loss::SquaredError);
    let spec = penalised(&linear.clone().tied(), LAMBDA, Mapping::Encoder, Method::Auto);
    let tied = solve(gpu, &spec, 0.02, 1200, seed, &device::data(&x)?)?;
    let w = parameter(&tied, "encoder.0.weight")?;
    let squares: Vec<f64> = eigenvalues.iter().map(|e| (1.0 - LAMBDA / (2.0 * e)).max(0.0)).collect();
    let expected: Vec<f64> = squares[..4].iter().map(|s| s.sqrt()).collect();
    let name = "tied: singular values sqrt(max(0, 1 - lambda/2 lambda_i))";
    checks.push(Check::all_equal(name, &expected, &singular_values(&w), 3e-6));
    let product: DMatrix<f64> = &axes * diagonal(&squares) * axes.transpose();
    let found = values(&(&w * w.transpose()));
    checks.push(Check::all_equal("tied: W W' along the principal axes", &values(&product), &found, 3e-6));
    let floor = LAMBDA * squares.iter().sum::<f64>();
    let found = LAMBDA * squared_norm(&w);
    checks.push(Check::equal("tied: the penalty ends at lambda sum (1 - lambda/2 lambda_i)", floor, found, 5e-6));
    // Untied there is no end: training goes on lowering the penalty, and the reconstruction stays PCA's.
    let rest: f64 = eigenvalues[4..].iter().sum();
    let spec = penalised(&linear, LAMBDA, Mapping::Encoder, Method::Auto);
    let free = solve(gpu, &spec, 0.02, 2000, seed, &device::data(&x)?)?;
    let (w, v) = (parameter(&free, "encoder.0.weight")?, parameter(&free, "decoder.0.weight")?);
    let error = &x - &x * &w * &v;
    let found = squared_norm(&error) / 64.0;
    checks.push(Check::at_most(
        "untied: the penalty falls far below the tied one's",
        floor / 4.0,
        LAMBDA * squared_norm(&w),
    ));
    checks.push(Check::equal("untied: and the reconstruction comes near PCA's", rest, found, 0.2 * rest));
    Ok(checks)
}
