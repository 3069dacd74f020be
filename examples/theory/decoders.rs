//! Rows 7 to 11: what a decoder says about its input.

use std::f64::consts::TAU;

use nalgebra::DMatrix;
use strait::analysis::Chain;
use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::{Activation, Corruption, Data, Gpu, Layer, Loss, Session, Spec, Training};

use super::Row;
use super::check::Check;
use super::device::{self, Feed, solve};
use super::forward::{Forward, coin, differences, relative, sigmoid};
use super::linear::{
    centred, covariance, diagonal, eigen, largest, matrix, narrow, normal, orthonormal, rounded, uniform, values, wide,
    with_spectrum,
};
use super::outcome::Outcome;
use super::structure::{Case, STEP, random_params, two_and_two};

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 7, name: "Gaussian decoder, sigma fixed or learned", run: gaussian, slow: None },
    Row { number: 8, name: "Bernoulli decoder, from logits", run: bernoulli, slow: None },
    Row { number: 9, name: "softmax decoder", run: softmax, slow: None },
    Row { number: 10, name: "mixture density decoder", run: mixture, slow: None },
    Row { number: 11, name: "stochastic encoder and decoder", run: stochastic, slow: None },
];

/// −log N(x; mean, sigma² I) of `n` features whose squared distance from the mean is `distance`.
fn normal_cost(distance: f64, sigma: f64, n: usize) -> f64 {
    distance / (2.0 * sigma * sigma) + 0.5 * n as f64 * (TAU * sigma * sigma).ln()
}

fn gaussian(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let twin = two_and_two(Activation::Tanh, Loss::SquaredError);
    let (case, forward, n) = (Case::new(&twin, 4, seed)?, Forward::new(&twin)?, twin.input);
    let squares = forward.objective(&case.params, &case.data);
    let plain = device::step(gpu, &twin, &case.feed())?;
    let (mut costs, mut found_costs) = (Vec::new(), Vec::new());
    for sigma in [0.05, 0.3, 2.0] {
        let spec = twin.clone().loss(Loss::Gaussian { sigma, learned: false });
        let step = device::step(gpu, &spec, &case.feed())?;
        costs.push(1.0);
        found_costs.push(step.objective() / normal_cost(squares, sigma, n));
        let scaled = |from: &[Vec<f64>]| -> Vec<Vec<f64>> {
            from.iter().map(|g| g.iter().map(|g| g / (2.0 * sigma * sigma)).collect()).collect()
        };
        let expected = scaled(&case.gradients);
        let found = relative(&step.gradients, &expected);
        let identity = format!("sigma {sigma}: gradients, d||x - mu||²/2 sigma² by differences");
        checks.push(Check::all_equal(identity, &relative(&expected, &expected), &found, 5e-6));
        let plain = scaled(&plain.gradients.iter().map(|g| wide(g)).collect::<Vec<_>>());
        let identity = format!("sigma {sigma}: the same from squared error on the GPU");
        checks.push(Check::all_equal(identity, &relative(&plain, &expected), &found, 1e-6));
    }
    let identity = "||x - mu||²/2 sigma² + ½ n log 2 pi sigma², over that";
    checks.push(Check::all_equal(identity, &costs, &found_costs, 1e-6));

    // Row by row.
    let sigma = 0.3;
    let mut session =
        Session::new(gpu, &twin.clone().loss(Loss::Gaussian { sigma, learned: false }), Training::default())?;
    session.set_parameters(&case.feed().params)?;
    let row_cost = |row: &[f64]| normal_cost(forward.objective(&case.params, row), sigma, n);
    let expected: Vec<f64> = case.data.chunks(n).map(row_cost).collect();
    let found = session.score(&case.feed().data)?;
    checks.push(Check::all_equal("the score of each row is its -log N(x; mu, sigma² I)", &expected, &found, 1e-5));

    // sigma learned, through its logarithm.
    let spec = twin.clone().loss(Loss::Gaussian { sigma: 1.0, learned: true });
    let mut params = case.params.clone();
    params.push(vec![f64::from(sigma.ln() as f32)]);
    let feed = Feed { params: params.iter().map(|p| narrow(p)).collect(), ..case.feed() };
    let step = device::step(gpu, &spec, &feed)?;
    let slope = n as f64 - squares / params[8][0].exp().powi(2);
    let found: f64 = step.gradients[8][0].into();
    checks.push(Check::equal("learned: d/d log sigma = n - ||x - mu||²/sigma², over that", 1.0, found / slope, 2e-6));
    let expected: Vec<Vec<f64>> =
        case.gradients.iter().map(|g| g.iter().map(|g| g / (2.0 * sigma * sigma)).collect()).collect();
    let found = relative(&step.gradients[..8], &expected);
    checks.push(Check::all_equal("learned: the other gradients", &relative(&expected, &expected), &found, 5e-6));

    // At the optimum of a linear model sigma² is what principal components leave over, per feature.
    let x = rounded(&with_spectrum(64, &[2.0, 1.0, 0.4, 0.3, 0.1], seed, 200));
    let (eigenvalues, _) = eigen(&covariance(&x));
    let variance = eigenvalues[2..].iter().sum::<f64>() / 5.0;
    let spec = Spec::symmetric(&[5, 2], Activation::Identity).loss(Loss::Gaussian { sigma: 1.0, learned: true });
    let data = device::data(&x)?;
    let mut session = solve(gpu, &spec, 0.005, 3000, seed, &data)?;
    let log_sigma: f64 = session.parameter("decoder.log_sigma")?[0].into();
    let identity = "learned, linear: sigma² = what 2 components leave, per feature";
    checks.push(Check::equal(identity, variance, (2.0 * log_sigma).exp(), 1e-6));
    let least = 2.5 * ((TAU * variance).ln() + 1.0);
    let identity = "learned, linear: the loss ends at ½ n (log 2 pi sigma² + 1)";
    checks.push(Check::equal(identity, least, session.evaluate(&data)?.loss, 5e-6));
    Ok(checks)
}

/// −x log x − (1 − x) log(1 − x), in nats.
fn entropy(x: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    part(x) + part(1.0 - x)
}

fn bernoulli(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();

    // The loss of single elements and its gradient, from logits far out to far out.
    let targets = [0.0, 0.25, 0.5, 0.9, 1.0];
    let logits = [-100.0, -88.0, -20.0, -3.0, -0.1, 0.0, 0.1, 3.0, 20.0, 88.0, 100.0];
    let pairs: Vec<(f64, f64)> = logits.iter().flat_map(|&z| targets.map(|x| (f64::from(z as f32), x))).collect();
    let mut g = Graph::new(vec![], vec![]);
    let (z, x) = (g.input(0, 1), g.input(1, 1));
    let rows = Loss::Bernoulli.rows(&mut g, z, x)?;
    let total = g.sum_all(rows);
    let gradient = g.gradient(total, &[z])?[0];
    g.sink(Sink::Output(0), rows);
    g.sink(Sink::Output(1), gradient);
    let feed = |pairs: &[(f64, f64)]| {
        let inputs = vec![pairs.iter().map(|p| p.0 as f32).collect(), pairs.iter().map(|p| p.1 as f32).collect()];
        Feed { inputs, ..Feed::default() }
    };
    let evaluator = device::run(gpu, &g, pairs.len(), &feed(&pairs))?;
    let (found, slopes) =
        (evaluator.sink(Sink::Output(0), pairs.len())?, evaluator.sink(Sink::Output(1), pairs.len())?);
    let infinite = found.iter().chain(&slopes).filter(|v| !v.is_finite()).count();
    checks.push(Check::equal("values and slopes that are not finite, z from -100 to 100", 0.0, infinite as f64, 0.0));
    // x has been rounded to f32, so the oracle takes what the GPU took.
    let exact = |pairs: &[(f64, f64)], f: fn(f64, f64) -> f64| -> Vec<f64> {
        pairs.iter().map(|&(z, x)| f(z, f64::from(x as f32))).collect()
    };
    let expected = exact(&pairs, coin);
    // softplus(z) and z x are as large as z, so f32 rounds their difference to so many digits of z.
    let error = |((&f, e), p): ((&f32, &f64), &(f64, f64))| (f64::from(f) - e).abs() / (1.0 + p.0.abs());
    let relative: Vec<f64> = found.iter().zip(&expected).zip(&pairs).map(error).collect();
    let formula = "max(z, 0) - z x + log(1 + exp(-|z|)): error over 1 + |z|";
    checks.push(Check::at_most(formula, 3e-7, largest(&relative)));
    let expected = exact(&pairs, |z, x| sigmoid(z) - x);
    checks.push(Check::all_equal("its gradient is sigmoid(z) - x", &expected, &slopes, 3e-7));

    // The floor of each target, over logits .005 apart: no lower than its entropy, and that near to it.
    let grid: Vec<(f64, f64)> =
        [0.1, 0.25, 0.5, 0.9].iter().flat_map(|&x| (-800..=800).map(move |i| (f64::from(i) * 0.005, x))).collect();
    let evaluator = device::run(gpu, &g, grid.len(), &feed(&grid))?;
    let found = evaluator.sink(Sink::Output(0), grid.len())?;
    let lowest: Vec<f32> = found.chunks(1601).map(|part| part.iter().copied().fold(f32::INFINITY, f32::min)).collect();
    let floors = [0.1, 0.25, 0.5, 0.9].map(entropy);
    checks.push(Check::all_equal("the lowest loss over all logits is the entropy of x", &floors, &lowest, 1.5e-6));

    // The same through a whole model: weights of zero leave the last bias as the logits.
    let (count, features) = (32, 5);
    let data = uniform(count, features, (0.0, 1.0), seed, 0);
    let bias = narrow(&[-100.0, -2.0, 0.0, 1.5, 100.0]);
    let spec = Spec::symmetric(&[features, 3], Activation::Tanh).loss(Loss::Bernoulli);
    let params = vec![vec![0.0; features * 3], vec![0.0; 3], vec![0.0; 3 * features], bias.clone()];
    let data = wide(&narrow(&values(&data)));
    let feed = Feed { data: narrow(&data), params, ..Feed::default() };
    let step = device::step(gpu, &spec, &feed)?;
    let mean = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        let of = |c: usize| data.iter().skip(c).step_by(features).map(|&x| f(bias[c].into(), x)).sum::<f64>();
        (0..features).map(|c| of(c) / count as f64).collect()
    };
    let expected = mean(&|z, x| sigmoid(z) - x);
    checks.push(Check::all_equal("a model's last bias: mean of sigmoid(z) - x", &expected, &step.gradients[3], 1e-6));
    let expected: f64 = mean(&coin).iter().sum();
    checks.push(Check::equal("a model's loss: sum over features, mean over rows", expected, step.objective(), 3e-5));

    // And learned: on one row, training ends at the entropy.
    let row = [0.1, 0.25, 0.5, 0.9];
    let training = Training { learning_rate: 0.05, epochs: 500, batch: 1, seed, ..Training::default() };
    let spec = Spec::symmetric(&[4, 2], Activation::Tanh).loss(Loss::Bernoulli);
    let mut session = Session::new(gpu, &spec, training)?;
    let data = Data::from_rows(4, narrow(&row))?;
    session.fit(&data)?;
    let floor: f64 = row.iter().map(|&x| entropy(x)).sum();
    checks.push(Check::equal(
        "training on one row ends at the entropy of x",
        floor,
        session.evaluate(&data)?.loss,
        1e-5,
    ));
    Ok(checks)
}

/// log of the sum of exponentials.
fn log_sum_exp(z: &[f64]) -> f64 {
    let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + z.iter().map(|z| (z - most).exp()).sum::<f64>().ln()
}

fn softmax(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    // Three blocks of four classes; logits far out in the last rows.
    let (rows, blocks, classes) = (12, 3, 4);
    let width = blocks * classes;
    let mut logits = values(&uniform(rows, width, (-3.0, 3.0), seed, 0));
    logits[8 * width..].iter_mut().for_each(|z| *z *= 33.0);
    let logits = wide(&narrow(&logits));
    let picks = values(&uniform(rows, blocks, (0.0, classes as f64), seed, 1));
    let hot: Vec<f64> =
        picks.iter().flat_map(|&p| (0..classes).map(move |c| f64::from(u8::from(c == p as usize)))).collect();
    let build = |classes: usize, width: usize| -> Outcome<Graph> {
        let mut g = Graph::new(vec![], vec![]);
        let (z, x) = (g.input(0, width), g.input(1, width));
        let cost = Loss::Softmax { classes }.rows(&mut g, z, x)?;
        let total = g.sum_all(cost);
        let gradient = g.gradient(total, &[z])?[0];
        g.sink(Sink::Output(0), cost);
        g.sink(Sink::Output(1), gradient);
        Ok(g)
    };
    let evaluator = Evaluator::new(gpu, &build(classes, width)?, rows)?;
    let run = |logits: &[f64], hot: &[f64]| -> Outcome<(Vec<f32>, Vec<f32>)> {
        device::again(&evaluator, rows, &Feed { inputs: vec![narrow(logits), narrow(hot)], ..Feed::default() })?;
        Ok((evaluator.sink(Sink::Output(0), rows)?, evaluator.sink(Sink::Output(1), rows)?))
    };
    let (found, slopes) = run(&logits, &hot)?;
    let cost = |(z, x): (&[f64], &[f64])| log_sum_exp(z) - z.iter().zip(x).map(|(z, x)| z * x).sum::<f64>();
    let each: Vec<f64> = logits.chunks(classes).zip(hot.chunks(classes)).map(cost).collect();
    let expected: Vec<f64> = each.chunks(blocks).map(|row| row.iter().sum()).collect();
    let identity = "-sum over blocks of x log softmax(z), each row";
    checks.push(Check::all_equal(identity, &expected[..8], &found[..8], 3e-6));
    checks.push(Check::all_equal("the same for logits from -99 to 99", &expected[8..], &found[8..], 5e-5));
    let gradient = |(z, x): (&[f64], &[f64])| {
        let normaliser = log_sum_exp(z);
        z.iter().zip(x).map(|(z, x)| (z - normaliser).exp() - x).collect::<Vec<f64>>()
    };
    let expected: Vec<f64> = logits.chunks(classes).zip(hot.chunks(classes)).flat_map(gradient).collect();
    let near = 8 * width;
    checks.push(Check::all_equal("its gradient is p - onehot", &expected[..near], &slopes[..near], 1e-6));
    // A rounding of z is as large as that of p there: 2^-18 for z near 64.
    checks.push(Check::all_equal("the same for logits from -99 to 99", &expected[near..], &slopes[near..], 8e-6));

    // Shifts by powers of two that f32 adds without error to logits that are multiples of 1/8192.
    let coarse: Vec<f64> = logits.iter().map(|z| (z * 8192.0).round() / 8192.0).collect();
    let shifts = [0.0, 16.0, -32.0, 4.0, 64.0];
    let shifted = coarse.chunks(classes).enumerate();
    let shifted: Vec<f64> = shifted.flat_map(|(i, z)| z.iter().map(move |z| z + shifts[i % 5])).collect();
    let ((plain, slopes), (moved, moved_slopes)) = (run(&coarse, &hot)?, run(&shifted, &hot)?);
    let identity = "the same constant on all logits of a block changes no loss";
    checks.push(Check::all_equal(identity, &wide(&plain[..8]), &moved[..8], 3e-5));
    let identity = "nor any gradient";
    checks.push(Check::all_equal(identity, &wide(&slopes[..near]), &moved_slopes[..near], 1e-5));

    // Two classes are one coin.
    let pairs = [(-9.0, 0.3), (-0.5, 1.25), (0.0, 0.0), (2.0, -1.5), (6.0, 0.25)];
    let inputs = vec![
        pairs.iter().flat_map(|&(a, b)| [a as f32, b as f32]).collect(),
        pairs.iter().flat_map(|_| [0.0, 1.0]).collect(),
    ];
    let evaluator = device::run(gpu, &build(2, 2)?, 5, &Feed { inputs, ..Feed::default() })?;
    let expected: Vec<f64> = pairs.iter().map(|&(a, b)| coin(f64::from(b as f32) - f64::from(a as f32), 1.0)).collect();
    let identity = "two classes: a Bernoulli decoder of z2 - z1";
    checks.push(Check::all_equal(identity, &expected, &evaluator.sink(Sink::Output(0), 5)?, 1e-6));

    // A model whose last bias is the logarithm of the frequencies costs the entropy of both blocks, and is at rest.
    let frequencies = [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]];
    let classes = [[0, 0, 0, 0, 1, 1, 2, 2], [1, 0, 1, 2, 1, 1, 1, 1]];
    let hot = |class: usize| (0..3).map(move |c| if c == class { 1.0f32 } else { 0.0 });
    let rows: Vec<f32> = (0..8).flat_map(|i| hot(classes[0][i]).chain(hot(classes[1][i]))).collect();
    let spec = Spec::symmetric(&[6, 2], Activation::Identity).loss(Loss::Softmax { classes: 3 });
    let logits: Vec<f64> = frequencies.iter().flatten().map(|f: &f64| f.ln()).collect();
    let params = vec![vec![0.0; 12], vec![0.0; 2], vec![0.0; 12], narrow(&logits)];
    let step = device::step(gpu, &spec, &Feed { data: rows.clone(), params: params.clone(), ..Feed::default() })?;
    let entropy: f64 = frequencies.iter().flatten().map(|f| -f * f.ln()).sum();
    checks.push(Check::equal("logits that are log frequencies: the entropy", entropy, step.objective(), 1e-6));
    checks.push(Check::all_equal("and no gradient by them", &[0.0; 6], &step.gradients[3], 1e-7));
    let mut session = Session::new(gpu, &spec, Training::default())?;
    session.set_parameters(&params)?;
    let wanted: Vec<f64> = frequencies.iter().flatten().copied().collect();
    let identity = "the reconstruction is the probabilities";
    checks.push(Check::all_equal(identity, &wanted, &session.reconstruct(&rows[..6])?, 1e-6));
    Ok(checks)
}

/// The components of a mixture after one hidden layer in each half, in f64: weights, deviations, means one after the
/// other.
fn components(params: &[Vec<f64>], row: &[f64]) -> [Vec<f64>; 3] {
    let dense = |x: &[f64], at: usize| -> Vec<f64> {
        let (w, b) = (&params[at], &params[at + 1]);
        let unit = |j: usize| b[j] + x.iter().enumerate().map(|(i, x)| x * w[i * b.len() + j]).sum::<f64>();
        (0..b.len()).map(unit).collect()
    };
    let tanh = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(f64::tanh).collect() };
    let hidden = tanh(dense(&tanh(dense(row, 0)), 2));
    let logits = dense(&hidden, 6);
    let normaliser = log_sum_exp(&logits);
    let weights = logits.iter().map(|z| (z - normaliser).exp()).collect();
    [weights, dense(&hidden, 8).iter().map(|s| s.exp()).collect(), dense(&hidden, 4)]
}

/// −log of the density that they give the row.
fn mixture_cost(params: &[Vec<f64>], row: &[f64]) -> f64 {
    let [weights, sigmas, means] = components(params, row);
    let parts = weights.iter().zip(&sigmas).zip(means.chunks(row.len())).map(|((p, &s), mean)| {
        let distance = mean.iter().zip(row).map(|(m, x)| (m - x).powi(2)).sum::<f64>();
        p.ln() - normal_cost(distance, s, row.len())
    });
    -log_sum_exp(&parts.collect::<Vec<f64>>())
}

fn mixture(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let layer = |units, activation| Layer { activation, ..Layer::new(units) };
    let (tanh, plain) = (Activation::Tanh, Activation::Identity);
    let spec = |components: usize| Spec {
        encoder: vec![layer(3, tanh)],
        decoder: vec![layer(5, tanh), layer(6, plain)],
        ..Spec::symmetric(&[6, 3], plain).loss(Loss::Mixture { components })
    };
    let rows = wide(&narrow(&values(&uniform(4, 6, (0.0, 1.0), seed, 0))));
    let feed = |params: &[Vec<f64>]| Feed {
        data: narrow(&rows),
        params: params.iter().map(|p| narrow(p)).collect(),
        ..Feed::default()
    };

    // One component is row 7: its cost and gradients from plain loops for squared errors.
    let mut params = random_params(&spec(1), 0.7, seed, 10)?;
    params[8].fill(0.0);
    params[9] = vec![-0.9375];
    let twin = spec(1).loss(Loss::SquaredError);
    let forward = Forward::new(&twin)?;
    let sigma = params[9][0].exp();
    let cost = |params: &[Vec<f64>]| normal_cost(forward.objective(params, &rows), sigma, 6);
    let step = device::step(gpu, &spec(1), &feed(&params))?;
    let found = step.objective() / cost(&params);
    checks.push(Check::equal("K = 1: the cost of row 7's decoder, over that", 1.0, found, 2e-6));
    let expected = differences(&params[..6], STEP, cost);
    let found = relative(&step.gradients[..6], &expected);
    checks.push(Check::all_equal("K = 1: row 7's gradients", &relative(&expected, &expected), &found, 5e-6));
    checks.push(Check::equal("K = 1: none by the one logit", 0.0, step.gradients[7][0], 1e-6));

    // Three components.
    let params = random_params(&spec(3), 0.7, seed, 20)?;
    let cost = |params: &[Vec<f64>]| rows.chunks(6).map(|row| mixture_cost(params, row)).sum::<f64>() / 4.0;
    let step = device::step(gpu, &spec(3), &feed(&params))?;
    let identity = "K = 3: -log sum pi_k N(x; mu_k, sigma_k² I), over that in f64";
    checks.push(Check::equal(identity, 1.0, step.objective() / cost(&params), 2e-6));
    let expected = differences(&params, STEP, cost);
    let found = relative(&step.gradients, &expected);
    checks.push(Check::all_equal("K = 3: every gradient", &relative(&expected, &expected), &found, 5e-6));
    let mut session = Session::new(gpu, &spec(3), Training::default())?;
    session.set_parameters(&feed(&params).params)?;
    let told = session.mixture(&feed(&params).data)?.into_iter().flatten();
    let told = told.flat_map(|c| [vec![c.weight, c.sigma], c.mean].concat()).collect::<Vec<f32>>();
    let parts: Vec<[Vec<f64>; 3]> = rows.chunks(6).map(|row| components(&params, row)).collect();
    let one = |[p, s, m]: &[Vec<f64>; 3], k: usize| [vec![p[k], s[k]], m[6 * k..][..6].to_vec()].concat();
    let expected: Vec<f64> = parts.iter().flat_map(|parts| (0..3).flat_map(|k| one(parts, k))).collect();
    checks.push(Check::all_equal("K = 3: the components of each row", &expected, &told, 2e-6));
    let mean =
        |[p, _, m]: &[Vec<f64>; 3]| (0..6).map(|j| (0..3).map(|k| p[k] * m[6 * k + j]).sum()).collect::<Vec<f64>>();
    let expected: Vec<f64> = parts.iter().flat_map(mean).collect();
    let found = session.reconstruct(&feed(&params).data)?;
    checks.push(Check::all_equal("K = 3: the reconstruction is their mean", &expected, &found, 2e-6));
    let mut far = feed(&params).params;
    far[5].iter_mut().for_each(|mean| *mean += 1e4);
    session.set_parameters(&far)?;
    let wild = session.score(&feed(&params).data)?.iter().filter(|v| !v.is_finite()).count();
    checks.push(Check::equal("K = 3: losses not finite, all components 10,000 away", 0.0, wild as f64, 0.0));

    // A density: its integral over the plane, by the midpoint rule.
    let flat = Spec::symmetric(&[2, 1], plain).loss(Loss::Mixture { components: 3 });
    let mut session = Session::new(gpu, &flat, Training::default())?;
    let means = vec![-1.5, 0.5, 1.0, 1.0, 0.0, -1.0];
    let params = [vec![0.0; 2], vec![0.0], vec![0.0; 6], means, vec![0.0; 3], vec![0.5, 0.0, -1.0]];
    session.set_parameters(&[&params[..], &[vec![0.0; 3], vec![-0.5, 0.0, -1.2]]].concat())?;
    let side = |i: usize| -7.0 + 0.08 * (i as f32 + 0.5);
    let grid: Vec<f32> = (0..175 * 175).flat_map(|i| [side(i % 175), side(i / 175)]).collect();
    let mass: f64 = session.score(&grid)?.iter().map(|&cost| (-f64::from(cost)).exp()).sum::<f64>() * 0.08 * 0.08;
    checks.push(Check::equal("exp(-score) integrates to 1 over the plane", 1.0, mass, 2e-6));

    // x is -1 or, three times as often, 1, give or take .1. The code knows nothing of it: the input is missing.
    let sides = Data::from_rows(1, vec![-1.1, -0.9, 0.9, 1.1, 0.9, 1.1, 0.9, 1.1])?;
    let blind = Spec::symmetric(&[1, 2], plain).corruption(Corruption::Missing { keep: vec![false] });
    let session = solve(gpu, &blind.clone().loss(Loss::SquaredError), 0.01, 1000, seed, &sides)?;
    let found = session.reconstruct(&[0.0])?[0];
    checks.push(Check::equal("two values: squared error gives their mean", 0.5, found, 1e-6));
    let session = solve(gpu, &blind.loss(Loss::Mixture { components: 2 }), 0.005, 2000, seed, &sides)?;
    let mut modes = session.mixture(&[0.0])?.swap_remove(0);
    modes.sort_by(|a, b| a.mean[0].total_cmp(&b.mean[0]));
    let found: Vec<f32> = modes.iter().flat_map(|c| [c.mean[0], c.weight, c.sigma]).collect();
    let identity = "two values: the mixture gives both modes (mean, pi, sigma)";
    checks.push(Check::all_equal(identity, &[-1.0, 0.25, 0.1, 1.0, 0.75, 0.1], &found, 1e-5));
    let count = 8192;
    let mut draws = session.sampler(Chain::Alternating, &vec![0.0; count], seed)?;
    draws.advance(1)?;
    let drawn = wide(&draws.rows()?);
    let right = drawn.iter().filter(|x| **x > 0.0).count() as f64 / count as f64;
    checks.push(Check::equal("share of its draws near 1", 0.75, right, 4.0 * (0.1875 / count as f64).sqrt()));
    let near = drawn.iter().filter(|x| (x.abs() - 1.0).abs() < 0.6).count();
    checks.push(Check::equal("draws within 6 sigma of either mode", count as f64, near as f64, 0.0));
    Ok(checks)
}

/// The largest of the deviations, each over its standard error.
fn deviation(found: &DMatrix<f64>, expected: &DMatrix<f64>, error: impl Fn(usize, usize) -> f64) -> f64 {
    let each = DMatrix::from_fn(found.nrows(), found.ncols(), |i, j| (found[(i, j)] - expected[(i, j)]) / error(i, j));
    largest(each.as_slice())
}

fn stochastic(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    // h ~ N(0, I), x|h ~ N(h V + c, sigma² I) with V V' = a² I. By Bayes x ~ N(c, S) with S = V'V + sigma² I, and
    // h|x ~ N((x - c) V'/m, sigma²/m I) with m = a² + sigma².
    let (n, k, a, sigma) = (3, 2, 1.2f64, 0.6f64);
    let v = rounded(&(orthonormal(n, k, seed, 0).transpose() * a));
    let c = rounded(&normal(1, n, seed, 1));
    let m = a * a + sigma * sigma;
    let tau = sigma / m.sqrt();
    let w = rounded(&(v.transpose() / m));
    let b = rounded(&(-&c * &w));
    let mut spec = Spec::symmetric(&[n, k], Activation::Identity).loss(Loss::Gaussian { sigma, learned: false });
    spec.encoder[0].noise = Corruption::Gaussian { sigma: tau };
    let params: Vec<Vec<f32>> = [&w, &b, &v, &c].map(|m| narrow(&values(m))).into();
    let mut session = Session::new(gpu, &spec, Training::default())?;
    session.set_parameters(&params)?;

    // Both factorisations at pairs of x and h from anywhere.
    let count = 64;
    let (x, h) = (rounded(&(normal(count, n, seed, 2) * 2.0)), rounded(&normal(count, k, seed, 3)));
    let cost = |sigma: f64, mean: Vec<f32>, target: &DMatrix<f64>| -> Outcome<Vec<f64>> {
        let mut g = Graph::new(vec![], vec![]);
        let (r, t) = (g.input(0, target.ncols()), g.input(1, target.ncols()));
        let rows = Loss::Gaussian { sigma, learned: false }.rows(&mut g, r, t)?;
        g.sink(Sink::Output(0), rows);
        let inputs = vec![mean, narrow(&values(target))];
        let evaluator = device::run(gpu, &g, count, &Feed { inputs, ..Feed::default() })?;
        Ok(wide(&evaluator.sink(Sink::Output(0), count)?))
    };
    let encoder = cost(tau, session.encode(&narrow(&values(&x)))?, &h)?;
    let decoder = cost(sigma, session.decode(&narrow(&values(&h)))?, &x)?;
    let s = v.transpose() * &v + DMatrix::identity(n, n) * (sigma * sigma);
    let precision = s.clone().try_inverse().ok_or("a singular covariance")?;
    let away = DMatrix::from_fn(count, n, |r, j| x[(r, j)] - c[j]);
    let quadratic = |r: usize| (away.row(r) * &precision * away.row(r).transpose())[0];
    let marginal = |r: usize| 0.5 * (quadratic(r) + s.determinant().ln() + n as f64 * TAU.ln());
    let prior = |r: usize| normal_cost(h.row(r).norm_squared(), 1.0, k);
    // The joint density itself, of (x, h) at once.
    let joint = {
        let mut all = DMatrix::zeros(n + k, n + k);
        all.view_mut((0, 0), (n, n)).copy_from(&s);
        all.view_mut((0, n), (n, k)).copy_from(&v.transpose());
        all.view_mut((n, 0), (k, n)).copy_from(&v);
        all.view_mut((n, n), (k, k)).fill_with_identity();
        all
    };
    let precision = joint.clone().try_inverse().ok_or("a singular covariance")?;
    let constant = 0.5 * (joint.determinant().ln() + (n + k) as f64 * TAU.ln());
    let direct = |r: usize| {
        let z = DMatrix::from_fn(1, n + k, |_, j| if j < n { away[(r, j)] } else { h[(r, j - n)] });
        0.5 * (&z * &precision * z.transpose())[0] + constant
    };
    let through_x: Vec<f64> = (0..count).map(|r| (encoder[r] + marginal(r)) / direct(r)).collect();
    let through_h: Vec<f64> = (0..count).map(|r| (decoder[r] + prior(r)) / direct(r)).collect();
    let ones = vec![1.0; count];
    checks.push(Check::all_equal("-log p(x) p(h|x), the encoder's, over -log p(x, h)", &ones, &through_x, 1e-6));
    checks.push(Check::all_equal("-log p(h) p(x|h), the decoder's, over -log p(x, h)", &ones, &through_h, 1e-6));

    // What training sees: the mean cost of one x over many draws of its code.
    let count = 1 << 14;
    let one = rounded(&normal(1, n, seed, 4));
    let feed = Feed { data: narrow(&values(&one)).repeat(count), params: params.clone(), seed, ..Feed::default() };
    let clean = &one - ((&one * &w + &b) * &v + &c);
    let distance = clean.norm_squared() + tau * tau * v.norm_squared();
    let expected = normal_cost(distance, sigma, n);
    let along = (&clean * v.transpose()).norm_squared();
    let spread = (4.0 * tau * tau * along + 2.0 * (tau * a).powi(4) * k as f64).sqrt() / (2.0 * sigma * sigma);
    let found = device::step(gpu, &spec, &feed)?.objective();
    let tolerance = 4.0 * spread / (count as f64).sqrt();
    let identity = "mean over h of -log p(x|h): + tau² ||V||²/2 sigma²";
    checks.push(Check::equal(identity, expected, found, tolerance));
    let quiet = session.score(&narrow(&values(&one)))?[0];
    let identity = "off at evaluation: -log p(x|E h)";
    checks.push(Check::equal(identity, normal_cost(clean.norm_squared(), sigma, n), quiet, 5e-6));

    // From x to a draw of h to a draw of x: both conditionals belong to one joint density, so p(x) stays what it is
    // and the pair is as likely backwards. Rows of exactly mean c and covariance S to start from.
    let count = 1 << 16;
    let (eigenvalues, axes) = eigen(&s);
    let root = &axes * diagonal(&eigenvalues.iter().map(|e| e.sqrt()).collect::<Vec<f64>>()) * axes.transpose();
    let white = centred(&normal(count, n, seed, 5)).qr().q() * (count as f64).sqrt();
    let start = rounded(&(white * root));
    let place = DMatrix::from_fn(count, n, |r, j| start[(r, j)] + c[j]);
    let mut chain = session.sampler(Chain::Alternating, &narrow(&values(&place)), seed)?;
    chain.advance(1)?;
    let drawn = matrix(&chain.rows()?, n);
    let middle = DMatrix::from_fn(1, n, |_, j| drawn.column(j).mean());
    let error = |i: usize, j: usize| ((s[(i, i)] * s[(j, j)] + s[(i, j)].powi(2)) / count as f64).sqrt();
    let drift = deviation(&middle, &c, |_, j| (s[(j, j)] / count as f64).sqrt());
    checks.push(Check::at_most("x -> h -> x: the mean stays c, in standard errors", 4.0, drift));
    let drift = deviation(&covariance(&drawn), &s, error);
    checks.push(Check::at_most("x -> h -> x: the covariance stays S, in standard errors", 4.0, drift));
    let cross = centred(&start).transpose() * centred(&drawn) / count as f64;
    let drift = deviation(&cross, &(&s * v.transpose() * &v / m), error);
    checks.push(Check::at_most("x -> h -> x: Cov(x, x') = S V'V/m, in standard errors", 4.0, drift));
    let drift = deviation(&cross, &cross.transpose(), error);
    checks.push(Check::at_most("and it is symmetric: the chain is reversible", 4.0, drift));
    Ok(checks)
}
