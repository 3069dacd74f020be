//! Row 26: chains that sample from what a denoising autoencoder knows; `stochastic` holds those with noise at hidden layers.

use nalgebra::DMatrix;
use strait::analysis::{Chain, Sampler};
use strait::{Activation, Corruption, Gpu, Layer, Loss, Spec};

use super::check::Check;
use super::denoising::{Average, ERRORS, chi_squared, inverse, over_draws, parameters, session};
use super::device::Feed;
use super::forward::sigmoid;
use super::kernels::Kernels;
use super::linear::{diagonal, matrix, narrow, normal, orthonormal, values, wide};
use super::outcome::Outcome;
use super::stochastic;

/// Chains that run side by side.
const CHAINS: usize = 4096;

/// Parts of them, each an average of its own.
const PARTS: usize = 16;

/// Row 26.
pub fn sampling(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = normal_line(gpu, seed)?;
    checks.extend(normal_space(gpu, seed)?);
    checks.extend(langevin(gpu, seed)?);
    checks.extend(walkback(gpu, seed)?);
    checks.extend(discrete(gpu, seed)?);
    checks.extend(modes(gpu, seed)?);
    checks.extend(stochastic::networks(gpu, seed)?);
    Ok(checks)
}

/// Second moments of chains, taken `count` times with `apart` steps between, after `first` steps.
///
/// One draw of an average is the mean over a part of the chains, which are independent; times are so far apart that
/// what is left of their correlation is at most a hundredth.
fn moments(chains: &mut Sampler, width: usize, (first, apart, count): (u64, u64, usize)) -> Outcome<Average> {
    chains.advance(first)?;
    let mut average = Average::default();
    for _ in 0..count {
        chains.advance(apart)?;
        let rows = chains.rows()?;
        for part in rows.chunks(rows.len() / PARTS) {
            let x = matrix(part, width);
            let second = x.transpose() * &x / x.nrows() as f64;
            average.add(&[x.row_mean().iter().copied().collect(), values(&second)].concat());
        }
    }
    Ok(average)
}

/// The claim that chains have mean 0 and this covariance.
fn stationary(identity: &str, chains: Average, covariance: &DMatrix<f64>) -> Vec<Check> {
    let expected = [vec![0.0; covariance.ncols()], values(covariance)].concat();
    let size = covariance.ncols();
    let diagonal = chains.results().into_iter().skip(size).step_by(size + 1);
    let (found, errors) = diagonal.fold((0.0, 0.0), |(sum, errors), (mean, error)| (sum + mean, errors + error));
    vec![
        Check::equal(format!("{identity}: variance"), covariance.trace(), found, ERRORS * errors),
        chains.check_all(&format!("{identity}: moments"), &expected),
    ]
}

/// A linear autoencoder with r(x) = x A and p(x|h) normal of standard deviation `tau`.
fn linear(features: usize, sigma: f64, tau: f64) -> Spec {
    Spec::symmetric(&[features, features], Activation::Identity)
        .loss(Loss::Gaussian { sigma: tau, learned: false })
        .gaussian_corruption(sigma)
}

/// Normal data in one dimension: a decoder variance, if it is the posterior's, is enough.
fn normal_line(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (variance, sigma) = (1.7f64, 0.8f64);
    let slope = variance / (variance + sigma * sigma);
    let posterior = variance - variance * slope;
    let mut checks = Vec::new();
    for (name, tau2) in [("1-D, posterior variance: the data's", posterior), ("1-D, half of that", 0.5 * posterior)] {
        let spec = linear(1, sigma, tau2.sqrt());
        let session = session(gpu, &spec, &[("encoder.0.weight", vec![slope]), ("decoder.0.weight", vec![1.0])])?;
        let mut chains = session.sampler(Chain::Alternating, &vec![3.0; CHAINS], seed)?;
        // x' = a (x + sigma e) + tau e': c = (a² sigma² + tau²)/(1 - a²), which is S where tau² is the posterior's.
        let own = (slope * slope * sigma * sigma + tau2) / (1.0 - slope * slope);
        let expected = if tau2 == posterior { variance } else { own };
        let found = moments(&mut chains, 1, (40, 12, 12))?;
        checks.extend(stationary(name, found, &DMatrix::from_element(1, 1, expected)));
    }
    Ok(checks)
}

/// Normal data in several dimensions: noise on the code gives p(x|x~) any covariance.
fn normal_space(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (features, sigma, tau) = (3, 0.7, 0.01);
    let axes = orthonormal(features, features, seed, 0);
    let turned = |spectrum: [f64; 3]| &axes * diagonal(&spectrum) * axes.transpose();
    let spectrum = [1.6, 0.7, 0.2];
    let s = turned(spectrum);
    let identity = DMatrix::<f64>::identity(features, features);
    let best = inverse(&(&s + &identity * (sigma * sigma)))? * &s;
    let posterior = &s - &s * &best;
    let mut checks = Vec::new();

    // Code h = x~ A V^-1 + noise of deviation 1, decoded by V with V'V + tau² I the posterior covariance.
    let left = |e: f64| e * sigma * sigma / (e + sigma * sigma) - tau * tau;
    let root = turned(spectrum.map(|e| left(e).sqrt()));
    let mut spec = linear(features, sigma, tau);
    spec.encoder[0].noise = Corruption::Gaussian { sigma: 1.0 };
    let coded = &best * inverse(&root)?;
    let tensors = [("encoder.0.weight", values(&coded)), ("decoder.0.weight", values(&root))];
    let model = session(gpu, &spec, &tensors)?;
    let start = vec![0.0; CHAINS * features];
    let mut chains = model.sampler(Chain::Alternating, &start, seed)?;
    let found = moments(&mut chains, features, (40, 20, 12))?;
    checks.extend(stationary("3-D, posterior covariance: S", found, &s));

    // A scalar decoder variance, the mean of the posterior's: another distribution, by C = A (C + sigma² I) A + tau² I.
    let tau2 = posterior.trace() / features as f64;
    let spec = linear(features, sigma, tau2.sqrt());
    let tensors = [("encoder.0.weight", values(&best)), ("decoder.0.weight", values(&identity))];
    let model = session(gpu, &spec, &tensors)?;
    let mut chains = model.sampler(Chain::Alternating, &start, seed)?;
    let found = moments(&mut chains, features, (40, 20, 12))?;
    let each = |e: f64| {
        let a = e / (e + sigma * sigma);
        (a * a * sigma * sigma + tau2) / (1.0 - a * a)
    };
    let other = turned(spectrum.map(each));
    let expected = [vec![0.0; features], values(&s)].concat();
    checks.push(Check::at_least(
        "3-D, scalar variance: not the data's, in std. errors",
        3.0 * ERRORS,
        found.furthest(&expected),
    ));
    checks.extend(stationary("3-D, scalar variance: its own", found, &other));
    Ok(checks)
}

/// x + (ε/2)(r − x)/σ² + √ε z on normal data: discretised, it is too wide by a known factor.
fn langevin(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (variance, sigma) = (0.75, 0.5);
    let smoothed = variance + sigma * sigma;
    let spec = linear(1, sigma, 1.0);
    let tensors = [("encoder.0.weight", vec![variance / smoothed]), ("decoder.0.weight", vec![1.0])];
    let model = session(gpu, &spec, &tensors)?;
    let mut checks = Vec::new();
    for length in [0.25, 0.5, 1.5] {
        let mut chains = model.sampler(Chain::Langevin { length }, &vec![2.0; CHAINS], seed)?;
        let expected = smoothed / (1.0 - length / (4.0 * smoothed));
        // What is left of a correlation after a step is 1 - eps/2v.
        let factor: f64 = 1.0 - length / (2.0 * smoothed);
        let apart = ((0.01f64).ln() / factor.ln()).ceil() as u64;
        let found = moments(&mut chains, 1, (2 * apart, apart, 12))?;
        let expected = DMatrix::from_element(1, 1, expected);
        checks.extend(stationary(&format!("Langevin, eps {length}: v/(1 - eps/4v)"), found, &expected));
        let before = wide(&chains.rows()?);
        chains.advance(1)?;
        let mut product = Average::default();
        let variance = expected[(0, 0)];
        before.iter().zip(wide(&chains.rows()?)).for_each(|(a, b)| product.add(&[(b - factor * a) * a / variance]));
        let identity = format!("Langevin, eps {length}: regression on before, less 1 - eps/2v");
        checks.push(product.check(identity, 0.0));
    }
    Ok(checks)
}

/// The loss of a walkback, mean over its passes, and its gradient with the draws taken for constants.
fn walkback(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (a, sigma, tau, steps, rows) = (0.6f64, 0.5f64, 0.4f64, 3, 1024);
    let x = super::linear::rounded(&normal(rows, 1, seed, 0));
    let square = x.norm_squared() / rows as f64;
    let spec = Spec { walkback: steps, ..linear(1, sigma, tau) };
    let params = parameters(&spec, &[("encoder.0.weight", vec![a]), ("decoder.0.weight", vec![1.0])])?;
    let feed = Feed { data: narrow(&values(&x)), params, seed, ..Feed::default() };
    let (gradients, objective) = over_draws(gpu, &spec, &feed, 150)?;
    // Given x the i-th corrupted point has mean m x and variance s: m = 1, s = sigma² at first, then both through a.
    let (mut m, mut s) = (1.0, sigma * sigma);
    let (mut loss, mut slope) = (0.0, 0.0);
    for _ in 0..=steps {
        loss += ((a * m - 1.0).powi(2) * square + a * a * s) / (2.0 * tau * tau);
        slope += (a * (m * m * square + s) - m * square) / (tau * tau);
        (m, s) = (a * m, a * a * s + tau * tau + sigma * sigma);
    }
    let passes = (steps + 1) as f64;
    let constant = tau.ln() + 0.5 * std::f64::consts::TAU.ln();
    let mean = x.sum() / rows as f64;
    // The biases' gradients, of the code and of the output: the mean of (r - x)/tau².
    let (mut m, mut bias) = (1.0, 0.0);
    for _ in 0..=steps {
        bias += (a * m - 1.0) * mean / (tau * tau * passes);
        m *= a;
    }
    // The decoder's weight is 1 and sees a x~: its slope is a times the encoder's.
    let expected = [slope / passes, bias, a * slope / passes, bias];
    Ok(vec![
        objective.check("walkback of 3: the loss, from moments", loss / passes + constant),
        gradients.check_all("walkback of 3: its gradients, draws constant", &expected),
    ])
}

/// Two bits and one of four classes: every state's probability.
fn discrete(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let probability = 0.4;
    let corruption = Corruption::Masking { probability, rescale: false };
    // A random model of two bits; its transition matrix by going through all masks.
    let spec = Spec {
        encoder: vec![Layer { activation: Activation::Sigmoid, ..Layer::new(3) }],
        ..Spec::symmetric(&[2, 3], Activation::Identity).loss(Loss::Bernoulli).corruption(corruption.clone())
    };
    let draw = |rows, columns, stream| wide(&narrow(&values(&(normal(rows, columns, seed, stream) * 2.0))));
    let (w, b, v, c) = (draw(2, 3, 0), draw(1, 3, 1), draw(3, 2, 2), draw(1, 2, 3));
    let tensors = [
        ("encoder.0.weight", w.clone()),
        ("encoder.0.bias", b.clone()),
        ("decoder.0.weight", v.clone()),
        ("decoder.0.bias", c.clone()),
    ];
    let bit = |state: usize, i: usize| ((state >> i) & 1) as f64;
    let ones = |x: [f64; 2]| -> Vec<f64> {
        let h: Vec<f64> = (0..3).map(|j| sigmoid(b[j] + x[0] * w[j] + x[1] * w[3 + j])).collect();
        (0..2).map(|i| sigmoid(c[i] + (0..3).map(|j| h[j] * v[2 * j + i]).sum::<f64>())).collect()
    };
    let mut transition = DMatrix::<f64>::zeros(4, 4);
    for (from, mask, to) in (0..64).map(|n| (n / 16, n / 4 % 4, n % 4)) {
        let kept = |i: usize| if bit(mask, i) > 0.0 { 1.0 - probability } else { probability };
        let p = ones([bit(from, 0) * bit(mask, 0), bit(from, 1) * bit(mask, 1)]);
        let drawn = |i: usize| if bit(to, i) > 0.0 { p[i] } else { 1.0 - p[i] };
        transition[(from, to)] += kept(0) * kept(1) * drawn(0) * drawn(1);
    }
    let mut expected = DMatrix::from_element(1, 4, 0.25);
    for _ in 0..500 {
        expected = &expected * &transition;
    }
    let model = session(gpu, &spec, &tensors)?;
    let mut chains = model.sampler(Chain::Alternating, &vec![1.0; 2 * 4 * CHAINS], seed)?;
    chains.advance(30)?;
    let (mut counts, mut pairs) = (vec![0.0; 4], vec![0.0; 16]);
    let state = |x: &[f32]| usize::from(x[0] > 0.5) + 2 * usize::from(x[1] > 0.5);
    let before: Vec<usize> = chains.rows()?.chunks(2).map(state).collect();
    chains.advance(1)?;
    for (from, to) in before.iter().zip(chains.rows()?.chunks(2).map(state)) {
        counts[to] += 1.0;
        pairs[4 * from + to] += 1.0;
    }
    let both: Vec<f64> = (0..16).map(|n| expected[n / 4] * transition[(n / 4, n % 4)]).collect();
    let mut checks = vec![
        chi_squared("two bits: stationary, by all masks", &counts, &values(&expected)),
        chi_squared("two bits: a step, by all masks", &pairs, &both),
    ];

    // One of four classes, masked: what is left of a masked row is nothing, and the best answer the data's shares.
    let shares = [0.1, 0.2, 0.3, 0.4];
    let spec = linear(4, 0.0, 1.0).loss(Loss::Softmax { classes: 4 }).corruption(corruption);
    let tensors = [
        ("encoder.0.weight", values(&DMatrix::identity(4, 4))),
        ("decoder.0.weight", values(&(DMatrix::<f64>::identity(4, 4) * 40.0))),
        ("decoder.0.bias", shares.iter().map(|p: &f64| p.ln()).collect()),
    ];
    let model = session(gpu, &spec, &tensors)?;
    let mut chains = model.sampler(Chain::Alternating, &[1.0, 0.0, 0.0, 0.0].repeat(CHAINS), seed)?;
    chains.advance(40)?;
    let mut counts = vec![0.0; 4];
    chains.rows()?.chunks(4).for_each(|x| x.iter().enumerate().for_each(|(i, v)| counts[i] += f64::from(*v)));
    checks.push(chi_squared("four classes: the data's shares", &counts, &shares));
    Ok(checks)
}

/// Three points of unequal weight: with the exact posterior for a decoder the chain visits each as often as the data,
/// and Langevin steps have the kernel density for stationary distribution, up to their length.
fn modes(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let kernels = Kernels { points: vec![vec![-1.0], vec![0.2], vec![1.0]], weights: vec![0.5, 0.2, 0.3], sigma: 0.5 };
    let model = kernels.session(gpu)?;
    let mut chains = model.sampler(Chain::Alternating, &vec![1.0; CHAINS], seed)?;
    chains.advance(60)?;
    let mut counts = vec![0.0; 3];
    for x in chains.rows()? {
        let near = |p: &Vec<f64>| (f64::from(x) - p[0]).abs() < 0.05;
        if let Some(at) = kernels.points.iter().position(near) {
            counts[at] += 1.0;
        }
    }
    let lost = CHAINS as f64 - counts.iter().sum::<f64>();
    let mut checks = vec![
        Check::equal("three points: rows away from all of them", 0.0, lost, 0.0),
        chi_squared("three points: the data's shares", &counts, &kernels.weights),
    ];

    // The density of Langevin chains on cells, by iterating their transition on a fine grid.
    let (length, cells, low, high) = (0.1f64, 600, -4.0, 4.0);
    let width = (high - low) / f64::from(cells);
    let place = |i: i32| low + width * (f64::from(i) + 0.5);
    let moved = |x: f64| x + length / (2.0 * 0.25) * (kernels.denoised(&[x])[0] - x);
    let step = DMatrix::from_fn(cells as usize, cells as usize, |from, to| {
        let z = place(to as i32) - moved(place(from as i32));
        (-z * z / (2.0 * length)).exp() * width / (std::f64::consts::TAU * length).sqrt()
    });
    let mut density = DMatrix::from_element(1, cells as usize, 1.0 / f64::from(cells));
    for _ in 0..400 {
        density = &density * &step;
    }
    let mut chains = model.sampler(Chain::Langevin { length }, &vec![0.0; CHAINS], seed)?;
    chains.advance(200)?;
    // Bins of 0.4 between -2.4 and 2.4, and what lies outside.
    let bin = |x: f64| (((x + 2.4) / 0.4).floor() + 1.0).clamp(0.0, 13.0) as usize;
    let (mut expected, mut counts) = (vec![0.0; 14], vec![0.0; 14]);
    density.iter().enumerate().for_each(|(i, p)| expected[bin(place(i as i32))] += p);
    chains.rows()?.iter().for_each(|x| counts[bin(f64::from(*x))] += 1.0);
    checks.push(chi_squared("three points, Langevin: by iterating its step", &counts, &expected));
    Ok(checks)
}
