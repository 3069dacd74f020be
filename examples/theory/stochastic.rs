//! Row 26, with noise at hidden layers: generative stochastic networks of a few bits, whose chains are known state by state.

use nalgebra::DMatrix;
use strait::analysis::Chain;
use strait::{Activation, Corruption, Data, Gpu, Layer, Loss, Spec, Training};

use super::check::Check;
use super::denoising::{chi_squared, session};
use super::forward::{formula, sigmoid};
use super::jacobians::random_params;
use super::linear::{matrix, narrow, values, wide};
use super::outcome::Outcome;

const BITS: usize = 3;
const STATES: usize = 1 << BITS;

/// Chains that run side by side, at least.
const CHAINS: usize = 1 << 14;

/// How many of them every cell of a table should hold, at least, for a chi-squared test of it, and how many it is given.
const CELL: f64 = 5.0;
const GIVEN: f64 = 2.0 * CELL;

/// Every way that noise may change values, each with its probability.
fn outcomes(noise: &Corruption, values: &[f64]) -> Outcome<Vec<(Vec<f64>, f64)>> {
    let each = |value: f64| match *noise {
        Corruption::None => Ok(vec![(value, 1.0)]),
        Corruption::Masking { probability: p, rescale: false } => Ok(vec![(0.0, p), (value, 1.0 - p)]),
        Corruption::Masking { probability: p, rescale: true } => Ok(vec![(0.0, p), (value / (1.0 - p), 1.0 - p)]),
        // The ends are those of bits.
        Corruption::SaltAndPepper { probability: p } => Ok(vec![(0.0, p / 2.0), (1.0, p / 2.0), (value, 1.0 - p)]),
        _ => Err(format!("no list of what {noise:?} may do")),
    };
    let mut all = vec![(vec![], 1.0)];
    for &value in values {
        let mut longer = Vec::new();
        for (changed, q) in each(value)? {
            let next = |(before, p): &(Vec<f64>, f64)| ([&before[..], &[changed]].concat(), p * q);
            longer.extend(all.iter().map(next));
        }
        all = longer;
    }
    Ok(all)
}

fn bits(state: usize) -> Vec<f64> {
    (0..BITS).map(|i| ((state >> i) & 1) as f64).collect()
}

fn state(row: &[f32]) -> usize {
    row.iter().enumerate().map(|(i, &bit)| usize::from(bit > 0.5) << i).sum()
}

/// How likely each state follows each other one: a sum over all that input and layers may be changed to.
fn transition(spec: &Spec, params: &[Vec<f64>]) -> Outcome<DMatrix<f64>> {
    let layers: Vec<&Layer> = spec.encoder.iter().chain(&spec.decoder).collect();
    let mut found = DMatrix::zeros(STATES, STATES);
    for from in 0..STATES {
        let mut now = outcomes(&spec.corruption, &bits(from))?;
        for (l, layer) in layers.iter().enumerate() {
            let (weight, f) = (matrix(&params[2 * l], layer.units), formula(layer.activation)?);
            let mut next = Vec::new();
            for (x, p) in now {
                let sum = |j: usize| x.iter().enumerate().map(|(i, x)| x * weight[(i, j)]).sum::<f64>();
                let after: Vec<f64> = (0..layer.units).map(|j| f(params[2 * l + 1][j] + sum(j))).collect();
                next.extend(outcomes(&layer.noise, &after)?.into_iter().map(|(values, q)| (values, p * q)));
            }
            now = next;
        }
        for (logits, p) in now {
            for to in 0..STATES {
                let bit = |(z, bit): (&f64, f64)| sigmoid(if bit > 0.0 { *z } else { -z });
                found[(from, to)] += p * logits.iter().zip(bits(to)).map(bit).product::<f64>();
            }
        }
    }
    Ok(found)
}

/// What a chain comes to, by power iteration.
fn stationary(transition: &DMatrix<f64>) -> Vec<f64> {
    let mut found = DMatrix::from_element(1, STATES, 1.0 / STATES as f64);
    for _ in 0..2000 {
        found = &found * transition;
    }
    values(&found)
}

/// The divergence of a distribution from another, in nats.
fn divergence(of: &[f64], from: &[f64]) -> f64 {
    of.iter().zip(from).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln()).sum()
}

/// Layers that are noisy, before and after the code.
fn network(corruption: Corruption) -> Spec {
    let masking = |probability, rescale| Corruption::Masking { probability, rescale };
    let layer = |units, activation, noise| Layer { activation, noise, ..Layer::new(units) };
    Spec {
        encoder: vec![
            layer(4, Activation::Sigmoid, masking(0.3, false)),
            layer(3, Activation::Tanh, masking(0.25, true)),
        ],
        decoder: vec![layer(3, Activation::Tanh, masking(0.4, false)), Layer::new(BITS)],
        ..Spec::symmetric(&[BITS, 1], Activation::Identity).loss(Loss::Bernoulli).corruption(corruption)
    }
}

/// Chains of stochastic networks, given and trained.
pub fn networks(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = given(gpu, seed)?;
    checks.extend(trained(gpu, seed)?);
    Ok(checks)
}

/// Any network: the noise of every layer is in each step of the chain.
fn given(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let spec = network(Corruption::Masking { probability: 0.2, rescale: false });
    let params = random_params(&spec, 1.5, seed, 60)?;
    let transition = transition(&spec, &params)?;
    let expected = stationary(&transition);
    let names = (0..4).map(|l| if l < 2 { format!("encoder.{l}") } else { format!("decoder.{}", l - 2) });
    let names: Vec<String> = names.flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")]).collect();
    let named: Vec<(&str, Vec<f64>)> = names.iter().map(String::as_str).zip(params.iter().cloned()).collect();
    let both: Vec<f64> =
        (0..STATES * STATES).map(|n| expected[n / STATES] * transition[(n / STATES, n % STATES)]).collect();
    let count = CHAINS.max((GIVEN / least(&both)).ceil() as usize);
    let model = session(gpu, &spec, &named)?;
    let mut chains = model.sampler(Chain::Alternating, &vec![0.0; count * BITS], seed)?;
    chains.advance(40)?;
    let before: Vec<usize> = chains.rows()?.chunks(BITS).map(state).collect();
    chains.advance(1)?;
    let (mut counts, mut pairs) = (vec![0.0; STATES], vec![0.0; STATES * STATES]);
    for (from, to) in before.into_iter().zip(chains.rows()?.chunks(BITS).map(state)) {
        counts[to] += 1.0;
        pairs[STATES * from + to] += 1.0;
    }
    // The network without its layers' noise comes to something else, which as many chains tell apart.
    let mut quiet = spec.clone();
    quiet.encoder.iter_mut().chain(&mut quiet.decoder).for_each(|layer| layer.noise = Corruption::None);
    let other = stationary(&self::transition(&quiet, &params)?);
    let wrong = chi_squared("the same beside a chain without that noise", &counts, &other);
    Ok(vec![
        Check::at_least("generative stochastic network: the least cell of a step", CELL, least(&both) * count as f64),
        chi_squared("generative stochastic network: stationary", &counts, &expected),
        chi_squared("generative stochastic network: a step", &pairs, &both),
        Check::at_least("the same without its layers' noise: chi-squared", 3.0 * wrong.expected, wrong.measured),
    ])
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Training with walkback moves what the chain comes to towards the data's distribution.
fn trained(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    // Two patterns, and a few rows of all others: each bit by itself says nothing.
    const COUNTS: [usize; STATES] = [160, 10, 10, 20, 20, 10, 10, 160];
    let total = COUNTS.iter().sum::<usize>();
    let shares: Vec<f64> = COUNTS.iter().map(|&count| count as f64 / total as f64).collect();
    let rows: Vec<f64> = (0..STATES).flat_map(|state| bits(state).repeat(COUNTS[state])).collect();
    let mut spec = Spec { walkback: 1, ..network(Corruption::SaltAndPepper { probability: 0.15 }) };
    spec.encoder = vec![Layer {
        activation: Activation::Tanh,
        noise: Corruption::Masking { probability: 0.1, rescale: false },
        ..Layer::new(8)
    }];
    spec.decoder = vec![Layer::new(BITS)];
    let training = Training { learning_rate: 0.01, batch: total / 4, epochs: 300, seed, ..Training::default() };
    let mut model = strait::Session::new(gpu, &spec, training)?;
    let exact = |model: &strait::Session| -> Outcome<DMatrix<f64>> {
        let params: Vec<Vec<f64>> = model.parameters()?.iter().map(|p| wide(p)).collect();
        transition(&spec, &params)
    };
    let before = divergence(&shares, &stationary(&exact(&model)?));
    model.fit(Data::from_rows(BITS, narrow(&rows))?)?;
    let transition = exact(&model)?;
    let expected = stationary(&transition);
    let after = divergence(&shares, &expected);
    // Bits drawn apart, each with its share in the data, half: the most that is learned without what they have in common.
    let apart = divergence(&shares, &[1.0 / STATES as f64; STATES]);

    // So many steps that where the chains started makes no difference.
    let mut now = DMatrix::from_fn(1, STATES, |_, state| f64::from(u8::from(state == 0)));
    let mut steps = 0;
    while steps < 1000 && now.iter().zip(&expected).any(|(now, expected)| (now - expected).abs() > 5e-4) {
        now = &now * &transition;
        steps += 1;
    }
    let mut chains = model.sampler(Chain::Alternating, &vec![0.0; CHAINS * BITS], seed)?;
    chains.advance(steps)?;
    let mut counts = vec![0.0; STATES];
    chains.rows()?.chunks(BITS).for_each(|row| counts[state(row)] += 1.0);
    Ok(vec![
        chi_squared("trained with walkback: stationary, by all changes", &counts, &expected),
        Check::at_most("trained with walkback: KL from the data, over that at first", 0.25, after / before),
        Check::at_most("the same over that of bits drawn apart", 0.25, after / apart),
    ])
}
