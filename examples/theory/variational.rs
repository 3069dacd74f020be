//! Rows 35 and 36: variational autoencoders and generation.

use std::f64::consts::TAU;

use nalgebra::DMatrix;
use strait::graph::{Sink, Tensor};
use strait::internals::model::Network;
use strait::model::Purpose;
use strait::{Activation, Decay, Gpu, Init, Loss, Schedule, Session, Spec, Training};

use super::Row;
use super::check::Check;
use super::device::{self, Feed};
use super::forward::{coin, sigmoid};
use super::linear::{
    covariance, diagonal, eigen, matrix, means, narrow, normal, rounded, uniform, values, wide, with_spectrum,
};
use super::outcome::Outcome;

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 35, name: "variational autoencoder", run: variational, slow: None },
    Row { number: 36, name: "generation", run: generation, slow: None },
];

/// How many standard errors what is drawn may be off.
const ERRORS: f64 = 4.0;

/// Copies of every row where draws are averaged: each copy draws for itself.
const COPIES: usize = 1024;

/// KL(N(mu, exp gamma) || N(0, 1)).
fn divergence(mu: f64, gamma: f64) -> f64 {
    0.5 * (gamma.exp() + mu * mu - 1.0 - gamma)
}

/// The density of N(mu, exp gamma) at z, as a logarithm.
fn log_normal(z: f64, mu: f64, gamma: f64) -> f64 {
    -0.5 * ((z - mu).powi(2) * (-gamma).exp() + gamma + TAU.ln())
}

/// The integral over the real line, by the trapezoidal rule, of what is as good as 0 beyond `centre` ± 12 `width`: its
/// error falls exponentially with the number of points.
fn integral(centre: f64, width: f64, f: impl Fn(f64) -> f64) -> f64 {
    let step = 24.0 * width / 4000.0;
    (0..=4000).map(|i| f(centre - 12.0 * width + step * f64::from(i))).sum::<f64>() * step
}

/// Mean and variance of f(z) under N(mu, exp gamma).
fn moments(mu: f64, gamma: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let width = (0.5 * gamma).exp();
    let mean = |f: &dyn Fn(f64) -> f64| integral(mu, width, |z| log_normal(z, mu, gamma).exp() * f(z));
    let first = mean(&f);
    (first, mean(&|z| (f(z) - first).powi(2)))
}

/// Values for the tensors of a spec, rounded to f32.
fn random_params(spec: &Spec, scale: f64, seed: u64) -> Outcome<Vec<Vec<f64>>> {
    let draw = |(i, tensor): (usize, &Tensor)| {
        wide(&narrow(&values(&(normal(1, tensor.shape.elements(1), seed, 200 + i as u32) * scale))))
    };
    Ok(Network::new(spec)?.params().iter().enumerate().map(draw).collect())
}

/// activation(x W + b) in plain loops, with the weights row by row.
fn dense(x: &[f64], weight: &[f64], bias: &[f64], activation: fn(f64) -> f64) -> Vec<f64> {
    let unit = |j: usize| x.iter().enumerate().map(|(i, x)| x * weight[i * bias.len() + j]).sum::<f64>() + bias[j];
    (0..bias.len()).map(|j| activation(unit(j))).collect()
}

/// A small variational autoencoder in f64: 3-4-1-4-3, tanh, a Bernoulli decoder.
struct Small {
    params: Vec<Vec<f64>>,
}

impl Small {
    fn spec() -> Spec {
        Spec::symmetric(&[3, 4, 1], Activation::Tanh).loss(Loss::Bernoulli).variational(1.0)
    }

    /// mu and gamma of a row.
    fn posterior(&self, x: &[f64]) -> (f64, f64) {
        let p = &self.params;
        let hidden = dense(x, &p[0], &p[1], f64::tanh);
        (dense(&hidden, &p[2], &p[3], |v| v)[0], dense(&hidden, &p[4], &p[5], |v| v)[0])
    }

    /// log p(x|z).
    fn likelihood(&self, x: &[f64], z: f64) -> f64 {
        -self.logits(z).iter().zip(x).map(|(&z, &x)| coin(z, x)).sum::<f64>()
    }

    /// What the decoder gives.
    fn logits(&self, z: f64) -> Vec<f64> {
        let p = &self.params;
        dense(&dense(&[z], &p[6], &p[7], f64::tanh), &p[8], &p[9], |v| v)
    }

    /// log p(x), by integrating over the code.
    fn evidence(&self, x: &[f64]) -> f64 {
        integral(0.0, 1.0, |z| (self.likelihood(x, z) + log_normal(z, 0.0, 0.0)).exp()).ln()
    }
}

fn variational(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = kl(gpu, seed)?;
    checks.extend(drawn(gpu, seed)?);
    checks.extend(bounds(gpu, seed)?);
    checks.extend(linear(gpu, seed)?);
    Ok(checks)
}

/// The divergence as a term of the objective: weights of zero leave biases as mu and gamma.
fn kl(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let at = |mu: &[f64], gamma: &[f64], beta: f64| -> Outcome<device::Step> {
        let k = mu.len();
        let spec = Spec::symmetric(&[2, k], Activation::Identity).loss(Loss::SquaredError).variational(beta);
        let zero = |count: usize| vec![0.0; count];
        let params = vec![zero(2 * k), narrow(mu), zero(2 * k), narrow(gamma), zero(k * 2), zero(2)];
        let data = narrow(&values(&uniform(6, 2, (0.0, 1.0), seed, 1)));
        Ok(device::step(gpu, &spec, &Feed { data, params, ..Feed::default() })?)
    };
    let term = |step: &device::Step| step.terms[1].1;
    checks.push(Check::equal("KL at mu 1, sigma 1: the list's .5", 0.5, term(&at(&[1.0], &[0.0], 1.0)?), 1e-7));
    checks.push(Check::equal(
        "KL at mu .5, gamma -1: the list's .3089397",
        0.3089397,
        term(&at(&[0.5], &[-1.0], 1.0)?),
        1e-7,
    ));
    let (mu, gamma) = ([1.5, -0.25, 0.0], [0.75, -3.0, 1e-3]);
    let step = at(&mu, &gamma, 1.0)?;
    // By what a divergence is, not by its closed form.
    let each = |(&m, &c): (&f64, &f64)| moments(m, c, |z| log_normal(z, m, c) - log_normal(z, 0.0, 0.0)).0;
    let expected: f64 = mu.iter().zip(&gamma).map(each).sum();
    checks.push(Check::equal("of three units: the sum of integrals of q log q/p", expected, term(&step), 1e-6));
    let step = at(&mu, &gamma, 0.3)?;
    checks.push(Check::equal("weighted by beta .3", 0.3 * expected, term(&step), 3e-7));
    let slopes = gamma.map(|c: f64| 0.3 * 0.5 * (c.exp() - 1.0));
    checks.push(Check::all_equal("its slope by mu is beta mu", &mu.map(|m| 0.3 * m), &step.gradients[1], 1e-7));
    checks.push(Check::all_equal("by gamma beta (exp(gamma) - 1)/2", &slopes, &step.gradients[3], 1e-7));

    // With weights the posterior differs from row to row: mean over the batch.
    let spec = Small::spec();
    let small = Small { params: random_params(&spec, 0.8, seed)? };
    let data = rounded(&uniform(32, 3, (0.0, 1.0), seed, 2));
    let rows = values(&data);
    let params: Vec<Vec<f32>> = small.params.iter().map(|p| narrow(p)).collect();
    let feed = Feed { data: narrow(&rows), params: params.clone(), ..Feed::default() };
    let found = device::step(gpu, &spec, &feed)?;
    let posteriors: Vec<(f64, f64)> = rows.chunks(3).map(|x| small.posterior(x)).collect();
    let mean = posteriors.iter().map(|&(m, c)| divergence(m, c)).sum::<f64>() / 32.0;
    checks.push(Check::equal("a model's: mean over rows", mean, term(&found), 1e-6));

    // Fresh noise in every step, the same for the same seed, none in evaluation.
    let other = device::step(gpu, &spec, &Feed { step: 1, ..feed.clone() })?;
    let again = device::step(gpu, &spec, &feed)?;
    checks.push(Check::at_least(
        "another step draws other noise: change of the loss",
        1e-4,
        (other.terms[0].1 - found.terms[0].1).abs(),
    ));
    checks.push(Check::equal("the same step and seed the same", found.terms[0].1, again.terms[0].1, 0.0));
    let mut session = Session::new(gpu, &spec, Training::default())?;
    session.set_parameters(&params)?;
    let exact = |(x, &(m, c)): (&[f64], &(f64, f64))| divergence(m, c) - small.likelihood(x, m);
    let expected = rows.chunks(3).zip(&posteriors).map(exact).sum::<f64>() / 32.0;
    checks.push(Check::equal(
        "evaluated without noise: z = mu",
        expected,
        session.evaluate(device::data(&data)?)?.loss,
        2e-6,
    ));
    let (codes, variances) = (session.encode(&narrow(&rows))?, session.log_variance(&narrow(&rows))?);
    let (mu, gamma): (Vec<f64>, Vec<f64>) = posteriors.into_iter().unzip();
    checks.push(Check::all_equal("codes are mu", &mu, &codes, 1e-6));
    checks.push(Check::all_equal("log-variances are gamma", &gamma, &variances, 1e-6));
    Ok(checks)
}

/// z = mu + sigma eps, seen through a decoder that gives it back.
fn drawn(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (count, sigma) = (COPIES * 4, 0.1f64);
    let normal = Loss::Gaussian { sigma, learned: false };
    let spec = Spec::symmetric(&[2, 2], Activation::Identity).loss(normal).variational(1.0);
    let (mu, gamma) = ([0.5, -1.0], [-1.0, 0.5f64]);
    let identity = vec![1.0, 0.0, 0.0, 1.0];
    let params = vec![vec![0.0; 4], narrow(&mu), vec![0.0; 4], narrow(&gamma), identity, vec![0.0; 2]];
    let graph = Network::new(&spec)?.graph(Purpose::Resample, false)?;
    let feed = Feed { inputs: vec![vec![0.0; count * 2]], params, seed, ..Feed::default() };
    let found = matrix(&device::run(gpu, &graph, count, &feed)?.sink(Sink::Output(0), count)?, 2);
    let (mean, cov) = (means(&found), covariance(&found));
    let n = count as f64;
    let mut checks = Vec::new();
    for j in 0..2 {
        let variance = gamma[j].exp() + sigma * sigma;
        let error = ERRORS * (variance / n).sqrt();
        checks.push(Check::equal(format!("z of unit {j}: mean mu"), mu[j], mean[j], error));
        let error = ERRORS * variance * (2.0 / n).sqrt();
        checks.push(Check::equal(
            format!("z of unit {j}: variance exp(gamma), and the decoder's"),
            variance,
            cov[(j, j)],
            error,
        ));
        // Of a normal variable; its estimate's variance is 24/n.
        let fourth = found.column(j).iter().map(|z| ((z - mean[j]).powi(2) / cov[(j, j)]).powi(2)).sum::<f64>() / n;
        checks.push(Check::equal(format!("z of unit {j}: fourth moment 3"), 3.0, fourth, ERRORS * (24.0 / n).sqrt()));
    }
    let error = ERRORS * ((gamma[0].exp() + sigma * sigma) * (gamma[1].exp() + sigma * sigma) / n).sqrt();
    checks.push(Check::equal("the two units' noises are uncorrelated", 0.0, cov[(0, 1)], error));
    Ok(checks)
}

/// Both forms of the bound against integrals, and the importance-weighted one between it and log p(x).
fn bounds(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let spec = Small::spec();
    // Weights so large that the posterior is far from right: the bound has a gap to close.
    let small = Small { params: random_params(&spec, 1.2, seed)? };
    let rows = wide(&narrow(&values(&uniform(8, 3, (0.0, 1.0), seed, 3))));
    let copies: Vec<f32> = (0..COPIES).flat_map(|_| narrow(&rows)).collect();
    let (count, draws) = (8.0, (8 * COPIES) as f64);
    let (mut elbo, mut spread, mut weights_spread, mut evidence) = (0.0, 0.0, 0.0, 0.0);
    for x in rows.chunks(3) {
        let (mu, gamma) = small.posterior(x);
        let (mean, variance) = moments(mu, gamma, |z| small.likelihood(x, z));
        elbo += (mean - divergence(mu, gamma)) / count;
        spread += variance / count;
        let ratio = |z: f64| small.likelihood(x, z) + log_normal(z, 0.0, 0.0) - log_normal(z, mu, gamma);
        weights_spread += moments(mu, gamma, ratio).1 / count;
        evidence += small.evidence(x) / count;
    }
    let params: Vec<Vec<f32>> = small.params.iter().map(|p| narrow(p)).collect();
    let feed = Feed { data: copies.clone(), params: params.clone(), seed, ..Feed::default() };
    let first = -device::step(gpu, &spec, &feed)?.objective();
    let error = ERRORS * (spread / draws).sqrt();
    checks.push(Check::equal("ELBO = E log p(x|z) - KL, in training, by integrals", elbo, first, error));
    let mut session = Session::new(gpu, &spec, Training::default())?;
    session.set_parameters(&params)?;
    let bound = |draws: u32| -> Outcome<(f64, f64)> {
        let found = session.evidence(&copies, draws, seed)?;
        let n = found.len() as f64;
        let mean = found.iter().sum::<f64>() / n;
        // Rows differ in their bounds; what is uncertain is only the draws' part.
        let of = |row: usize| found.iter().skip(row).step_by(8);
        let own = |row: usize| of(row).sum::<f64>() / COPIES as f64;
        let squares: f64 = (0..8).map(|row| of(row).map(|v| (v - own(row)).powi(2)).sum::<f64>()).sum();
        Ok((mean, (squares / n / n).sqrt()))
    };
    let (second, _) = bound(1)?;
    let both = ERRORS * (weights_spread / draws).sqrt();
    checks.push(Check::equal("ELBO = E[log p(x, z) - log q(z|x)], by integrals", elbo, second, both));
    checks.push(Check::equal("both forms agree", first, second, error.hypot(both)));
    let (five, five_error) = bound(5)?;
    let (fifty, fifty_error) = bound(50)?;
    checks.push(Check::at_least(
        "importance-weighted bound of 5 draws, above that of 1",
        elbo + ERRORS * five_error,
        five,
    ));
    checks.push(Check::at_least("of 50 draws, above that of 5", five + ERRORS * five_error.hypot(fifty_error), fifty));
    checks.push(Check::at_most("and below log p(x), by integrals", evidence + ERRORS * fifty_error, fifty));
    Ok(checks)
}

/// Probabilistic PCA at its optimum (Tipping and Bishop, "Probabilistic principal component analysis", 1999).
struct Optimum {
    spec: Spec,
    /// In the order of the spec's tensors.
    params: Vec<Vec<f64>>,
    /// W W' + sigma² I
    covariance: DMatrix<f64>,
    /// log p(x) of each row.
    likelihoods: Vec<f64>,
    /// Its mean in closed form, from the eigenvalues alone.
    likelihood: f64,
}

impl Optimum {
    /// For `codes` codes. With W = U (L - sigma² I)^½ the posterior's covariance sigma² (W'W + sigma² I)^-1 is diagonal, so
    /// that a variational encoder can give it.
    fn new(x: &DMatrix<f64>, codes: usize) -> Outcome<Optimum> {
        let n = x.ncols();
        let (eigenvalues, axes) = eigen(&covariance(x));
        let noise = eigenvalues[codes..].iter().sum::<f64>() / (n - codes) as f64;
        let kept = axes.columns(0, codes).into_owned();
        let scales: Vec<f64> = eigenvalues[..codes].iter().map(|e| (e - noise).sqrt()).collect();
        let w = &kept * diagonal(&scales);
        let mean = means(x);
        // M = W'W + sigma² I = L: mu = M^-1 W'(x - mean), covariance sigma² M^-1.
        let inverse: Vec<f64> = eigenvalues[..codes].iter().map(|e| 1.0 / e).collect();
        let encoder = &w * diagonal(&inverse);
        let bias: Vec<f64> = (mean.transpose() * &encoder).iter().map(|b| -b).collect();
        let gamma: Vec<f64> = inverse.iter().map(|i| (noise * i).ln()).collect();
        let loss = Loss::Gaussian { sigma: noise.sqrt(), learned: false };
        let spec = Spec::symmetric(&[n, codes], Activation::Identity).loss(loss).variational(1.0);
        let zero = vec![0.0; n * codes];
        let params = vec![values(&encoder), bias, zero, gamma, values(&w.transpose()), mean.iter().copied().collect()];
        let covariance = &w * w.transpose() + DMatrix::identity(n, n) * noise;
        let precision = covariance.clone().try_inverse().ok_or("a singular covariance")?;
        let log_determinant = covariance.determinant().ln();
        let row = |i: usize| {
            let d = x.row(i).transpose() - &mean;
            -0.5 * (n as f64 * TAU.ln() + log_determinant + (d.transpose() * &precision * &d)[(0, 0)])
        };
        let logs: f64 = eigenvalues[..codes].iter().map(|e| e.ln()).sum();
        let likelihood = -0.5 * (n as f64 * (TAU.ln() + 1.0) + logs + (n - codes) as f64 * noise.ln());
        Ok(Optimum { spec, params, covariance, likelihoods: (0..x.nrows()).map(row).collect(), likelihood })
    }

    fn session(&self, gpu: &Gpu) -> Outcome<Session> {
        let mut session = Session::new(gpu, &self.spec, Training::default())?;
        session.set_parameters(&self.params.iter().map(|p| narrow(p)).collect::<Vec<_>>())?;
        Ok(session)
    }
}

/// Data with four directions of noise below two that matter.
fn noisy_plane(seed: u64) -> DMatrix<f64> {
    let x = with_spectrum(64, &[9.0, 1.5, 0.3, 0.25, 0.2, 0.15], seed, 20);
    rounded(&x.map(|v| v + 0.5))
}

/// A linear variational autoencoder beside probabilistic PCA.
fn linear(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let x = noisy_plane(seed);
    let best = Optimum::new(&x, 2)?;
    let rows = narrow(&values(&x));
    let session = best.session(gpu)?;
    // With the exact posterior log p(x, z) - log q(z|x) is log p(x) whatever z is.
    let found = session.evidence(&rows, 1, seed)?;
    checks.push(Check::all_equal(
        "linear, at pPCA's optimum: one draw gives log p(x)",
        &best.likelihoods,
        &found,
        2e-5,
    ));
    let mean = found.iter().sum::<f64>() / 64.0;
    checks.push(Check::equal("mean over rows: the maximum of pPCA's likelihood", best.likelihood, mean, 1e-5));
    // In training by the other form, with the exact variance of the squared distance under the posterior.
    let step = |gamma: f64| -> Outcome<f64> {
        let copies: Vec<f32> = (0..1000).flat_map(|_| rows.clone()).collect();
        let mut params: Vec<Vec<f32>> = best.params.iter().map(|p| narrow(p)).collect();
        params[3].iter_mut().for_each(|c| *c += gamma as f32);
        Ok(-device::step(gpu, &best.spec, &Feed { data: copies, params, seed, ..Feed::default() })?.objective())
    };
    let error = |gamma: f64| best.error(&x, gamma, 1000.0);
    checks.push(Check::equal("E log p(x|z) - KL there, over 64,000 draws", best.likelihood, step(0.0)?, error(0.0)));
    // Where q is not the posterior the bound is lower by KL(q || p(z|x)).
    let gap = 2.0 * 0.5 * (1f64.exp() - 1.0 - 1.0);
    checks.push(Check::equal(
        "gamma one too large: lower by KL(q || p(z|x))",
        best.likelihood - gap,
        step(1.0)?,
        error(1.0),
    ));
    checks.extend(trained(gpu, seed, &x, &best)?);
    Ok(checks)
}

impl Optimum {
    /// The standard errors, [`ERRORS`] of them, of the mean of log p(x|z) over `copies` draws for each row, where q's gamma
    /// is this much too large.
    fn error(&self, x: &DMatrix<f64>, gamma: f64, copies: f64) -> f64 {
        let w = matrix(&self.params[4], x.ncols());
        let Loss::Gaussian { sigma, .. } = self.spec.loss else { return 0.0 };
        // log p(x|z) = c - |d - W e|²/2 sigma² with d what mu leaves over and e of variances s: the variance of a
        // quadratic form of normal variables is 2 tr((A s)²) + 4 b's b, here with A = W'W/2 sigma² and b = W d/2 sigma².
        let spread: Vec<f64> = self.params[3].iter().map(|c| (c + gamma).exp()).collect();
        let gram = &w * w.transpose() * diagonal(&spread) / (2.0 * sigma * sigma);
        let quadratic = 2.0 * (&gram * &gram).trace();
        let encoder = matrix(&self.params[0], 2);
        let row = |i: usize| {
            let x = x.row(i);
            let mu = x * &encoder + matrix(&self.params[1], 2);
            let left = x - mu * &w - matrix(&self.params[5], x.ncols());
            let b = left * w.transpose() / (2.0 * sigma * sigma);
            quadratic + 4.0 * (0..2).map(|j| spread[j] * b[j] * b[j]).sum::<f64>()
        };
        let count = x.nrows() as f64;
        ERRORS * ((0..x.nrows()).map(row).sum::<f64>() / count / (count * copies)).sqrt()
    }
}

/// What a linear variational autoencoder learns by itself, sigma included.
fn trained(gpu: &Gpu, seed: u64, x: &DMatrix<f64>, best: &Optimum) -> Outcome<Vec<Check>> {
    let Loss::Gaussian { sigma, .. } = best.spec.loss else { return Err("pPCA's decoder is normal".into()) };
    let spec = Spec { loss: Loss::Gaussian { sigma: 1.0, learned: true }, ..best.spec.clone() }.init(Init::Glorot);

    // At the optimum the mean of the gradient is 0: over 16 steps, each number of it in its standard errors.
    let rows = narrow(&values(x));
    let mut params: Vec<Vec<f32>> = best.params.iter().map(|p| narrow(p)).collect();
    params.push(vec![sigma.ln() as f32]);
    let steps = 16;
    let gradient = |step: u32| -> Outcome<Vec<f64>> {
        let data = (0..16).flat_map(|_| rows.clone()).collect();
        let found = device::step(gpu, &spec, &Feed { data, params: params.clone(), step, seed, ..Feed::default() })?;
        Ok(found.gradients.iter().flat_map(|g| wide(g)).collect())
    };
    let found = (0..steps).map(gradient).collect::<Outcome<Vec<Vec<f64>>>>()?;
    let error = |i: usize| {
        let mean = found.iter().map(|g| g[i]).sum::<f64>() / f64::from(steps);
        let variance = found.iter().map(|g| (g[i] - mean).powi(2)).sum::<f64>() / f64::from(steps - 1);
        mean / (variance / f64::from(steps)).sqrt()
    };
    let errors: Vec<f64> = (0..found[0].len()).map(error).collect();
    let zeros = vec![0.0; errors.len()];
    let still = "at pPCA's optimum the gradient is 0 in the mean, in standard errors";
    let mut checks = vec![Check::all_equal(still, &zeros, &errors, 5.0)];

    let training = Training {
        learning_rate: 0.1,
        schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
        batch: x.nrows(),
        epochs: 1000,
        shuffle: false,
        seed,
        ..Training::default()
    };
    let mut session = Session::new(gpu, &spec, training)?;
    session.fit(device::data(x)?)?;
    let many: Vec<f32> = (0..256).flat_map(|_| rows.clone()).collect();
    let bounds = session.evidence(&many, 1, seed)?;
    let mean = bounds.iter().sum::<f64>() / bounds.len() as f64;
    let short = "a thousand steps from random weights lead to within .01 nats of it";
    checks.push(Check::equal(short, best.likelihood, mean, 0.01));
    Ok(checks)
}

fn generation(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let x = noisy_plane(seed);
    let best = Optimum::new(&x, 2)?;
    let session = best.session(gpu)?;
    let count = 32768;
    let z = matrix(&session.generate(count, seed)?, 6);
    let (w, bias) = (matrix(&best.params[4], 6), &best.params[5]);
    let expected = w.transpose() * &w;
    let n = count as f64;
    // Of n normal rows: the mean's variance is C_ii/n, that of C_ij (C_ii C_jj + C_ij²)/n. Each in its standard errors.
    let over = |found: &DMatrix<f64>, mean: &[f64], exact: &DMatrix<f64>| -> [Vec<f64>; 2] {
        let (m, c) = (means(found), covariance(found));
        let first = (0..mean.len()).map(|i| (m[i] - mean[i]) / (exact[(i, i)] / n).sqrt()).collect();
        let error = |i, j| ((exact[(i, i)] * exact[(j, j)] + exact[(i, j)] * exact[(i, j)]) / n).sqrt();
        let pairs = (0..mean.len()).flat_map(|i| (0..=i).map(move |j| (i, j)));
        [first, pairs.map(|(i, j)| (c[(i, j)] - exact[(i, j)]) / error(i, j)).collect()]
    };
    let zeros = vec![0.0; 21];
    let [first, second] = over(&z, bias, &expected);
    checks.push(Check::all_equal(
        "z ~ N(0, I) decoded linearly: mean b, in standard errors",
        &zeros[..6],
        &first,
        ERRORS,
    ));
    checks.push(Check::all_equal("covariance W W', in standard errors", &zeros, &second, ERRORS));
    // In the two directions that it has, and in no other.
    let spectrum = eigen(&covariance(&z)).0;
    checks.push(Check::all_equal("no variance outside the columns of W", &zeros[..4], &spectrum[2..], 1e-12));
    let axis = w.row(0).transpose() / w.row(0).norm_squared();
    let scores = (0..count).map(|r| (z.row(r) - matrix(bias, 6)).dot(&axis.transpose()));
    let fourth = scores.map(|v| v.powi(4)).sum::<f64>() / n;
    checks.push(Check::equal("fourth moment 3 along the first column of W", 3.0, fourth, ERRORS * (96.0 / n).sqrt()));
    let again = session.generate(count, seed)?;
    checks.push(Check::all_equal("the same seed gives the same rows", &values(&z), &again, 0.0));
    let other = matrix(&session.generate(count, seed + 1)?, 6);
    let product = (&z - &other).norm_squared()
        / (z.norm_squared() + other.norm_squared() - 2.0 * n * bias.iter().map(|b| b * b).sum::<f64>());
    checks.push(Check::equal("another seed gives independent ones: |a - b|² / (var a + var b)", 1.0, product, 0.05));

    // A decoder that is not linear: means of sigmoid(h V + c) over the code, by integrals.
    let spec = Small::spec();
    let small = Small { params: random_params(&spec, 1.2, seed)? };
    let mut model = Session::new(gpu, &spec, Training::default())?;
    model.set_parameters(&small.params.iter().map(|p| narrow(p)).collect::<Vec<_>>())?;
    let found = matrix(&model.generate(count, seed)?, 3);
    let pixel = |z: f64, i: usize| sigmoid(small.logits(z)[i]);
    let mut errors = Vec::new();
    for i in 0..3 {
        let (mean, variance) = moments(0.0, 0.0, |z| pixel(z, i));
        errors.push((means(&found)[i] - mean) / (variance / n).sqrt());
        let (square, spread) = moments(0.0, 0.0, |z| (pixel(z, i) - mean).powi(2));
        errors.push((covariance(&found)[(i, i)] - square) / (spread / n).sqrt());
    }
    let identity = "Bernoulli decoder: means and variances by integrals, in standard errors";
    checks.push(Check::all_equal(identity, &zeros[..6], &errors, ERRORS));

    // The aggregated posterior, the mean of q(z|x) over the data: of pPCA's optimum exactly the prior's moments.
    let rows = narrow(&values(&x));
    let mu = matrix(&session.encode(&rows)?, 2);
    let gamma = matrix(&session.log_variance(&rows)?, 2);
    let spread = gamma.map(f64::exp).row_mean();
    let second = covariance(&mu) + diagonal(&[spread[0], spread[1]]);
    let mean: Vec<f64> = means(&mu).iter().copied().collect();
    checks.push(Check::all_equal("aggregated posterior at pPCA's optimum: mean 0", &[0.0, 0.0], &mean, 1e-6));
    checks.push(Check::all_equal(
        "its covariance, of means and variances, is I",
        &[1.0, 0.0, 0.0, 1.0],
        &values(&second),
        2e-6,
    ));
    // Drawn from and decoded with its noise, it is pPCA's density: W I W' + sigma² I.
    let copies: Vec<f32> = (0..count / 64).flat_map(|_| rows.clone()).collect();
    let graph = Network::new(&best.spec)?.graph(Purpose::Resample, false)?;
    let params = best.params.iter().map(|p| narrow(p)).collect();
    let feed = Feed { inputs: vec![copies], params, seed, ..Feed::default() };
    let found = matrix(&device::run(gpu, &graph, count, &feed)?.sink(Sink::Output(0), count)?, 6);
    let [first, second] = over(&found, bias, &best.covariance);
    checks.push(Check::all_equal("draws from it, decoded and drawn: mean b", &zeros[..6], &first, ERRORS));
    checks.push(Check::all_equal("and covariance W W' + sigma² I, in standard errors", &zeros, &second, ERRORS));
    Ok(checks)
}
