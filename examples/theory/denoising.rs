//! Rows 20 to 26: denoising, the score of a density, sampling. Here rows 20 and 21; `score`, `fields` and `sampling`
//! hold the others.

use std::f64::consts::PI;

use nalgebra::DMatrix;
use strait::graph::Sink;
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::model::Purpose;
use strait::{Activation, Corruption, Decay, Gpu, Loss, Schedule, Session, Spec, Training};

use super::check::Check;
use super::device::{self, Feed, parameter};
use super::kernels::Kernels;
use super::linear::{covariance, diagonal, largest, matrix, narrow, normal, rounded, values, wide, with_spectrum};
use super::outcome::Outcome;
use super::{Row, fields, sampling, score};

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 20, name: "denoising", run: denoising, slow: None },
    Row { number: 21, name: "corruptions", run: corruptions, slow: None },
    Row { number: 22, name: "equivalence with a Gaussian-binary RBM", run: score::energy, slow: None },
    Row { number: 23, name: "when the displacement is a gradient field", run: score::gradient_field, slow: None },
    Row { number: 24, name: "from denoising to contraction", run: score::contractive_limit, slow: None },
    Row { number: 25, name: "vector fields", run: fields::vector_fields, slow: Some(fields::spiral_learned_long) },
    Row { number: 26, name: "sampling from a denoising autoencoder", run: sampling::sampling, slow: None },
];

/// How many standard errors an average over draws may lie from what is expected: a right one lies further out once in
/// 150,000 times, so that whole tables of them hold for any seed.
pub const ERRORS: f64 = 4.5;

/// A session whose tensors have these values; those that are not named are 0.
pub fn session(gpu: &Gpu, spec: &Spec, tensors: &[(&str, Vec<f64>)]) -> Outcome<Session> {
    let mut session = Session::new(gpu, spec, Training::default())?;
    let values = parameters(spec, tensors)?;
    session.set_parameters(&values)?;
    Ok(session)
}

/// The tensors of a spec with these values; those that are not named are 0.
pub fn parameters(spec: &Spec, tensors: &[(&str, Vec<f64>)]) -> Outcome<Vec<Vec<f32>>> {
    let network = Network::new(spec)?;
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !network.params().iter().any(|t| t.name == *name)) {
        return Err(format!("no tensor {name}").into());
    }
    let value = |tensor: &strait::graph::Tensor| match tensors.iter().find(|(name, _)| tensor.name == *name) {
        Some((_, values)) => narrow(values),
        None => vec![0.0; tensor.shape.elements(1)],
    };
    Ok(network.params().iter().map(value).collect())
}

/// Averages of independent draws with their standard errors.
#[derive(Clone, Debug, Default)]
pub struct Average {
    count: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Average {
    /// Takes one draw of every quantity.
    pub fn add(&mut self, draw: &[f64]) {
        self.count += 1.0;
        self.sums.resize(draw.len(), 0.0);
        self.squares.resize(draw.len(), 0.0);
        for (at, value) in draw.iter().enumerate() {
            self.sums[at] += value;
            self.squares[at] += value * value;
        }
    }

    /// The average of each quantity, and its standard error.
    pub fn results(&self) -> Vec<(f64, f64)> {
        let each = |(sum, square): (&f64, &f64)| {
            let mean = sum / self.count;
            (mean, ((square / self.count - mean * mean).max(0.0) / (self.count - 1.0)).sqrt())
        };
        self.sums.iter().zip(&self.squares).map(each).collect()
    }

    /// How many standard errors the average that is furthest out lies from its expected value.
    pub fn furthest(&self, expected: &[f64]) -> f64 {
        let results = self.results();
        if results.len() != expected.len() {
            return f64::NAN;
        }
        let out = |((mean, error), expected): ((f64, f64), &f64)| (mean - expected).abs() / error.max(1e-12);
        results.into_iter().zip(expected).map(out).fold(0.0, f64::max)
    }

    /// The claim that one average, the only one, is this value, within [`ERRORS`] of its standard errors.
    pub fn check(&self, identity: impl Into<String>, expected: f64) -> Check {
        let (mean, error) = self.results().first().copied().unwrap_or((f64::NAN, f64::NAN));
        Check::equal(identity, expected, mean, ERRORS * error)
    }

    /// The claim that all averages are these values.
    pub fn check_all(&self, identity: &str, expected: &[f64]) -> Check {
        Check::equal(format!("{identity}, in std. errors"), 0.0, self.furthest(expected), ERRORS)
    }
}

/// Gradients (of all tensors, one after the other) and objective of a spec over many draws of its noise.
pub fn over_draws(gpu: &Gpu, spec: &Spec, feed: &Feed, draws: u32) -> Outcome<(Average, Average)> {
    let network = Network::new(spec)?;
    let graph = network.graph(Purpose::Train, false)?;
    let rows = feed.data.len() / network.data_columns();
    let evaluator = Evaluator::new(gpu, &graph, rows)?;
    let (mut gradients, mut objective) = (Average::default(), Average::default());
    let mut feed = feed.clone();
    for step in 0..draws {
        feed.step = step;
        device::again(&evaluator, rows, &feed)?;
        let mut gradient = Vec::new();
        for i in 0..network.params().len() {
            gradient.extend(wide(&evaluator.sink(Sink::Gradient(i), rows)?));
        }
        gradients.add(&gradient);
        let mut total = 0.0;
        for i in 0..graph.terms().len() {
            total += f64::from(evaluator.sink(Sink::Term(i), rows)?[0]);
        }
        objective.add(&[total]);
    }
    Ok((gradients, objective))
}

/// x W with one matrix before the code and the identity behind it: a linear autoencoder that can be any linear map.
pub fn linear_spec(features: usize) -> Spec {
    Spec::symmetric(&[features, features], Activation::Identity).loss(Loss::SquaredError)
}

/// The tensors of such an autoencoder.
fn linear_map(map: &DMatrix<f64>) -> [(&'static str, Vec<f64>); 2] {
    let identity = DMatrix::<f64>::identity(map.ncols(), map.ncols());
    [("encoder.0.weight", values(map)), ("decoder.0.weight", values(&identity))]
}

/// The inverse of a matrix that has one.
pub fn inverse(m: &DMatrix<f64>) -> Outcome<DMatrix<f64>> {
    Ok(m.clone().try_inverse().ok_or("a singular matrix")?)
}

impl Kernels {
    /// An autoencoder whose reconstruction is exactly [`Kernels::denoised`]: a mixture decoder with the points for
    /// components, whose logits are linear in x because ||x||² is common to all of them.
    pub fn session(&self, gpu: &Gpu) -> Outcome<Session> {
        let (features, count) = (self.points[0].len(), self.points.len());
        let spec = Spec::symmetric(&[features, features], Activation::Identity)
            .loss(Loss::Mixture { components: count })
            .gaussian_corruption(self.sigma);
        let variance = self.sigma * self.sigma;
        let logit = |(point, weight): (&Vec<f64>, &f64)| {
            weight.ln() - point.iter().map(|p| p * p).sum::<f64>() / (2.0 * variance)
        };
        let tensors = [
            ("encoder.0.weight", values(&DMatrix::identity(features, features))),
            ("decoder.0.bias", self.points.concat()),
            ("mixture.logits.weight", values(&(matrix(&self.points.concat(), features).transpose() / variance))),
            ("mixture.logits.bias", self.points.iter().zip(&self.weights).map(logit).collect()),
            // As narrow as a component may be.
            ("mixture.log_sigma.bias", vec![-7.0; count]),
        ];
        session(gpu, &spec, &tensors)
    }
}

/// Row 20.
fn denoising(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (features, rows, sigma) = (3, 1024, 0.5);
    let variance = sigma * sigma;
    let x = rounded(&with_spectrum(rows, &[1.5, 0.8, 0.3], seed, 0));
    let s = covariance(&x);
    let identity = DMatrix::<f64>::identity(features, features);
    let smoothed = &s + &identity * variance;
    let best = inverse(&smoothed)? * &s;
    let spec = linear_spec(features).gaussian_corruption(sigma);

    // Fresh draws: in the mean the gradient vanishes at the optimum, and only if the target is clean.
    let feed = |map: &DMatrix<f64>| -> Outcome<Feed> {
        let params = parameters(&spec, &linear_map(map))?;
        Ok(Feed { data: narrow(&values(&x)), params, seed, ..Feed::default() })
    };
    let (gradients, objective) = over_draws(gpu, &spec, &feed(&best)?, 200)?;
    let zeros = vec![0.0; gradients.results().len()];
    checks.push(gradients.check_all("linear, W = S (S + sigma² I)^-1: gradient is 0", &zeros));
    let (away, _) = over_draws(gpu, &spec, &feed(&(&best * 1.05))?, 200)?;
    let identity_text = "linear, W 5 % larger: gradient is not 0, std. errors";
    checks.push(Check::at_least(identity_text, 3.0 * ERRORS, away.furthest(&zeros)));
    let left = &identity - &best;
    let residual = (left.transpose() * &s * &left).trace();
    let expected = residual + variance * best.norm_squared();
    checks.push(objective.check("loss in training: tr (I-W)'S(I-W) + sigma² ||W||²", expected));
    let mut exact = session(gpu, &spec, &linear_map(&best))?;
    let clean = exact.evaluate(&device::data(&x)?)?.loss;
    checks.push(Check::equal("loss at evaluation, nothing corrupted: the first term", residual, clean, 1e-6));

    // Tweedie's formula for a normal distribution.
    for sigma in [0.3, 0.5, 0.8] {
        let smoothed = inverse(&(&s + &identity * (sigma * sigma)))?;
        let spec = linear_spec(features).gaussian_corruption(sigma);
        let session = session(gpu, &spec, &linear_map(&(&smoothed * &s)))?;
        let at = rounded(&(normal(64, features, seed, 5) * 2.0));
        let r = wide(&session.reconstruct(&narrow(&values(&at)))?);
        let found: Vec<f64> = r.iter().zip(values(&at)).map(|(r, x)| (r - x) / (sigma * sigma)).collect();
        let score = values(&(&at * -&smoothed));
        let identity = format!("sigma {sigma}: (r - x)/sigma² = -(S + sigma² I)^-1 x");
        checks.push(Check::all_equal(identity, &score, &found, 1e-5 * largest(&score)));
    }
    checks.push(trained(gpu, seed, &spec, &x, &best, expected)?);
    checks.extend(finite(gpu, seed)?);
    Ok(checks)
}

/// The optimum as training finds it from r(x) = 0, judged by the loss that it gives away. Least squares on M draws
/// gives away n/M of the loss in the mean; gradient descent may give away ten times that.
fn trained(gpu: &Gpu, seed: u64, spec: &Spec, x: &DMatrix<f64>, best: &DMatrix<f64>, loss: f64) -> Outcome<Check> {
    let training = Training {
        learning_rate: 0.01,
        schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
        batch: x.nrows(),
        epochs: 800,
        shuffle: false,
        seed,
        ..Training::default()
    };
    let mut session = Session::new(gpu, spec, training)?;
    // From random weights a product of two matrices may meet saddle points on its way.
    session.set_parameters(&parameters(spec, &linear_map(&DMatrix::zeros(x.ncols(), x.ncols())))?)?;
    let fit = session.fit(&device::data(x)?)?;
    let found = parameter(&session, "encoder.0.weight")? * parameter(&session, "decoder.0.weight")?;
    let Corruption::Gaussian { sigma } = spec.corruption else { return Err("no normal noise".into()) };
    let smoothed = covariance(x) + DMatrix::identity(x.ncols(), x.ncols()) * (sigma * sigma);
    let off = &found - best;
    let excess = (off.transpose() * smoothed * &off).trace() / loss;
    let draws = (fit.steps * x.nrows() as u64) as f64;
    let allowed = 10.0 * x.ncols() as f64 / draws;
    Ok(Check::equal("linear, learned: its loss over the least possible, less 1", 0.0, excess, allowed))
}

/// Few points: the best reconstruction is their mean under the posterior.
fn finite(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let sigma = 0.6;
    let points = wide(&narrow(&values(&normal(5, 2, seed, 40))));
    let kernels = Kernels { points: points.chunks(2).map(Vec::from).collect(), weights: vec![1.0; 5], sigma };
    let session = kernels.session(gpu)?;
    let at = wide(&narrow(&values(&(normal(200, 2, seed, 41) * 1.5))));
    let r = wide(&session.reconstruct(&narrow(&at))?);
    let best: Vec<f64> = at.chunks(2).flat_map(|x| kernels.denoised(x)).collect();
    checks.push(Check::all_equal("5 points: r = sum x_i softmax(-||x - x_i||²/2 sigma²)", &best, &r, 3e-6));
    let score: Vec<f64> = at.chunks(2).flat_map(|x| kernels.score(x)).collect();
    let found: Vec<f64> = r.iter().zip(&at).map(|(r, x)| (r - x) / (sigma * sigma)).collect();
    let identity = "5 points: (r - x)/sigma² = grad log of the kernel density";
    checks.push(Check::all_equal(identity, &score, &found, 1e-5));

    // What the best reconstruction costs, by quadrature over the plane and by the GPU's own corruption.
    let step = 0.02;
    let cost = |i: usize, j: usize| -> f64 {
        let x = [-6.0 + step * i as f64, -6.0 + step * j as f64];
        let r = kernels.denoised(&x);
        let each = |point: &Vec<f64>| {
            let distance = (x[0] - point[0]).powi(2) + (x[1] - point[1]).powi(2);
            let density = (-distance / (2.0 * sigma * sigma)).exp() / (2.0 * PI * sigma * sigma);
            density * ((r[0] - point[0]).powi(2) + (r[1] - point[1]).powi(2))
        };
        kernels.points.iter().map(each).sum::<f64>() / kernels.points.len() as f64
    };
    let expected = (0..=600).map(|i| (0..=600).map(|j| cost(i, j)).sum::<f64>()).sum::<f64>() * step * step;
    let clean: Vec<f32> = narrow(&points).repeat(200);
    let mut average = Average::default();
    for draw in 0..100 {
        let corrupted = session.corrupt(&clean, seed.wrapping_add(draw))?;
        let r = session.reconstruct(&corrupted)?;
        let sum: f64 = r.iter().zip(&clean).map(|(r, x)| (f64::from(*r) - f64::from(*x)).powi(2)).sum();
        average.add(&[sum / (clean.len() / 2) as f64]);
    }
    checks.push(average.check("5 points: E||r - x||² of corrupted points, by quadrature", expected));
    Ok(checks)
}

/// The value that a chi-squared variable of so many degrees exceeds once in 100,000 times (Wilson and Hilferty, 1931).
fn chi_squared_bound(degrees: usize) -> f64 {
    let k = degrees as f64;
    k * (1.0 - 2.0 / (9.0 * k) + 4.265 * (2.0 / (9.0 * k)).sqrt()).powi(3)
}

/// The claim that counts are drawn with these probabilities.
pub fn chi_squared(identity: &str, counts: &[f64], probabilities: &[f64]) -> Check {
    let total: f64 = counts.iter().sum();
    let each = |(count, p): (&f64, &f64)| (count - total * p).powi(2) / (total * p);
    let statistic: f64 = counts.iter().zip(probabilities).map(each).sum();
    let degrees = counts.len() - 1;
    let bound = if probabilities.len() == counts.len() { chi_squared_bound(degrees) } else { f64::NAN };
    Check::at_most(format!("{identity}, chi-squared of {degrees} degrees"), bound, statistic)
}

/// Row 21.
fn corruptions(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    // Six columns: no multiple of the four that are drawn together. Several parts of a request.
    let (rows, features) = (8192, 6);
    let data = rounded(&(normal(rows, features, seed, 0) + DMatrix::from_element(rows, features, 0.7)));
    let x = narrow(&values(&data));
    let mut checks = gaussian(gpu, seed, &x)?;
    checks.extend(masking(gpu, seed, &x)?);
    checks.extend(ends(gpu, seed, &data)?);
    checks.extend(fixed_points(gpu, seed)?);
    Ok(checks)
}

/// Moments, shape and independence of normal noise.
fn gaussian(gpu: &Gpu, seed: u64, x: &[f32]) -> Outcome<Vec<Check>> {
    let (features, sigma) = (6, 0.4);
    let session = session(gpu, &linear_spec(features).gaussian_corruption(sigma), &[])?;
    let corrupted = session.corrupt(x, seed)?;
    let z: Vec<f64> = corrupted.iter().zip(x).map(|(c, x)| (f64::from(*c) - f64::from(*x)) / sigma).collect();
    let mut moments = Average::default();
    // Of a row, of its neighbour, of the column beside, of the next part of 1,024 rows.
    let apart = |at: usize, by: usize| z[at] * z.get(at + by).copied().unwrap_or(0.0);
    for (at, &v) in z.iter().enumerate() {
        let x = f64::from(x[at]) - 0.7;
        moments.add(&[v, v * v, v.powi(3), v.powi(4), v * x, apart(at, 1), apart(at, features), apart(at, 1024 * 6)]);
    }
    let mut checks = vec![
        moments.check_all("normal: moments 0, 1, 0, 3; no correlations", &[0.0, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]),
    ];
    let edges: Vec<f64> = (-12..=12).map(|i| 0.25 * f64::from(i)).collect();
    let mut counts = vec![0.0; edges.len() + 1];
    z.iter().for_each(|v| counts[edges.partition_point(|e| e <= v)] += 1.0);
    let below: Vec<f64> = edges.iter().map(|&e| normal_below(e)).collect();
    let bins = below.windows(2).map(|w| w[1] - w[0]);
    let probabilities: Vec<f64> =
        std::iter::once(below[0]).chain(bins).chain(std::iter::once(1.0 - below[below.len() - 1])).collect();
    checks.push(chi_squared("normal: bins of sigma/4", &counts, &probabilities));
    let again = wide(&session.corrupt(x, seed)?);
    checks.push(Check::all_equal("the same seed gives the same", &wide(&corrupted), &again, 0.0));
    let other = session.corrupt(x, seed.wrapping_add(1))?;
    let same = other.iter().zip(&corrupted).filter(|(a, b)| a == b).count();
    checks.push(Check::at_most("another seed: share of equal values", 1e-3, same as f64 / other.len() as f64));
    Ok(checks)
}

/// The share of a standard normal distribution below x, by Simpson's rule.
fn normal_below(x: f64) -> f64 {
    let steps = 400;
    let width = x / f64::from(steps);
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * PI).sqrt();
    let weight = |i: i32| if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
    0.5 + (0..=steps).map(|i| weight(i) * density(width * f64::from(i))).sum::<f64>() * width / 3.0
}

/// What is kept, how often and how large.
fn masking(gpu: &Gpu, seed: u64, x: &[f32]) -> Outcome<Vec<Check>> {
    let (features, probability) = (6, 0.3);
    let mut checks = Vec::new();
    for rescale in [false, true] {
        let name = if rescale { "masking, rescaled" } else { "masking" };
        let spec = linear_spec(features).corruption(Corruption::Masking { probability, rescale });
        let corrupted = session(gpu, &spec, &[])?.corrupt(x, seed)?;
        let scale = if rescale { 1.0 / (1.0 - probability) } else { 1.0 };
        let kept = |at: usize| if corrupted[at] == 0.0 { 0.0 } else { scale * f64::from(x[at]) };
        let expected: Vec<f64> = (0..x.len()).map(kept).collect();
        checks.push(Check::all_equal(format!("{name}: 0 or what was there"), &expected, &wide(&corrupted), 1e-6));
        // How many of a row's six are gone: binomial where they are independent.
        let mut counts = vec![0.0; features + 1];
        for row in corrupted.chunks(features) {
            counts[row.iter().filter(|v| **v == 0.0).count()] += 1.0;
        }
        let choose = |k: usize| (0..k).map(|i| (features - i) as f64 / (i + 1) as f64).product::<f64>();
        let binomial =
            |k: usize| choose(k) * probability.powi(k as i32) * (1.0 - probability).powi((features - k) as i32);
        let binomial: Vec<f64> = (0..=features).map(binomial).collect();
        checks.push(chi_squared(&format!("{name}: zeros in a row"), &counts, &binomial));
        let mut means = Average::default();
        corrupted.iter().zip(x).for_each(|(c, x)| {
            means.add(&[f64::from(*c) - scale * (1.0 - probability) * f64::from(*x)]);
        });
        let factor = if rescale { "1" } else { "1 - q" };
        checks.push(means.check(format!("{name}: mean is {factor} times the input's, less that"), 0.0));
    }
    Ok(checks)
}

/// Salt and pepper, and features that are missing.
fn ends(gpu: &Gpu, seed: u64, data: &DMatrix<f64>) -> Outcome<Vec<Check>> {
    let (features, probability) = (6, 0.25);
    let x = narrow(&values(data));
    let spec = linear_spec(features).corruption(Corruption::SaltAndPepper { probability });
    let mut peppered = session(gpu, &spec, &[])?;
    peppered.load(device::data(data)?)?;
    // Eight times as many rows, so that a share that is a twentieth off would show.
    let x = x.repeat(8);
    let corrupted = peppered.corrupt(&x, seed)?;
    let (low, high) = (data.min() as f32, data.max() as f32);
    let mut counts = [0.0; 4];
    for (c, x) in corrupted.iter().zip(&x).filter(|(_, x)| **x != low && **x != high) {
        let kind = [*c == low, *c == high, c == x].iter().position(|is| *is).unwrap_or(3);
        counts[kind] += 1.0;
    }
    let mut checks = vec![Check::equal("salt and pepper: values that are none of the three", 0.0, counts[3], 0.0)];
    let half = probability / 2.0;
    checks.push(chi_squared(
        "salt and pepper: minimum, maximum, untouched",
        &counts[..3],
        &[half, half, 1.0 - probability],
    ));

    let keep = vec![true, false, true, true, false, true];
    let spec = linear_spec(features).corruption(Corruption::Missing { keep: keep.clone() });
    let corrupted = session(gpu, &spec, &[])?.corrupt(&x, seed)?;
    let expected: Vec<f64> = x.iter().enumerate().map(|(i, x)| if keep[i % 6] { f64::from(*x) } else { 0.0 }).collect();
    checks.push(Check::all_equal("missing: 0 where nothing is kept, else the input", &expected, &corrupted, 0.0));
    Ok(checks)
}

/// The linear maps that undo masks best, in closed form: there the gradient is 0 in the mean.
fn fixed_points(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (features, rows, q) = (4, 1024, 0.35);
    let x = rounded(&with_spectrum(rows, &[2.0, 1.0, 0.6, 0.3], seed, 60));
    let s = covariance(&x);
    let diagonal_of = diagonal(&s.diagonal().iter().copied().collect::<Vec<f64>>());
    let off = &s - &diagonal_of;
    let at = |spec: &Spec, map: &DMatrix<f64>, draws: u32| -> Outcome<Average> {
        let params = parameters(spec, &linear_map(map))?;
        let feed = Feed { data: narrow(&values(&x)), params, seed, ..Feed::default() };
        Ok(over_draws(gpu, spec, &feed, draws)?.0)
    };
    let mut checks = Vec::new();
    let zeros = vec![0.0; 2 * features * (features + 1)];
    let kept = 1.0 - q;
    let plain = (inverse(&(&off * (kept * kept) + &diagonal_of * kept))? * &s) * kept;
    let scaled = inverse(&(&off + &diagonal_of / kept))? * &s;
    for (rescale, best, other, name) in
        [(false, &plain, &scaled, "masking: W = P Q^-1"), (true, &scaled, &plain, "masking, rescaled: W = S Q^-1")]
    {
        let spec = linear_spec(features).corruption(Corruption::Masking { probability: q, rescale });
        checks.push(at(&spec, best, 200)?.check_all(&format!("{name}: gradient is 0"), &zeros));
        let away = at(&spec, other, 50)?.furthest(&zeros);
        checks.push(Check::at_least(format!("{name}: not at the other's, std. errors"), 3.0 * ERRORS, away));
    }

    // With features missing the best linear map is the mean given the others; nothing is drawn.
    let keep = vec![true, false, true, true];
    let present: Vec<usize> = (0..features).filter(|&i| keep[i]).collect();
    let inner = DMatrix::from_fn(3, 3, |r, c| s[(present[r], present[c])]);
    let onto = inverse(&inner)? * DMatrix::from_fn(3, features, |r, c| s[(present[r], c)]);
    let mut map = DMatrix::zeros(features, features);
    present.iter().enumerate().for_each(|(r, &i)| map.set_row(i, &onto.row(r)));
    let spec = linear_spec(features).corruption(Corruption::Missing { keep });
    let params = parameters(&spec, &linear_map(&map))?;
    let network = Network::new(&spec)?;
    let constants = vec![vec![1.0, 0.0, 1.0, 1.0]; network.constants().len()];
    let feed = Feed { data: narrow(&values(&x)), params, constants, ..Feed::default() };
    let step = device::step(gpu, &spec, &feed)?;
    let gradients = wide(&step.gradients.concat());
    checks.push(Check::all_equal("missing: W the regression on the others: gradient is 0", &zeros, &gradients, 3e-6));
    let residual = (&s - onto.transpose() * &inner * &onto).trace();
    checks.push(Check::equal("missing: the loss there, the variance it leaves", residual, step.objective(), 1e-6));
    Ok(checks)
}
