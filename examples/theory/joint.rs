//! Row 19: a classifier that shares the hidden layer (L_rec + alpha L_sup), noise in it, and dropout.

use nalgebra::DMatrix;
use strait::graph::Sink;
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::model::{Purpose, Supervised};
use strait::{Activation, Corruption, Data, Gpu, Session, Spec, Training};

use super::check::Check;
use super::device::{self, Feed};
use super::forward::{Forward, differences, relative};
use super::linear::{largest, matrix, narrow, normal, rounded, uniform, values, wide};
use super::outcome::Outcome;
use super::sparse::{codes, shallow, term};
use super::structure::{STEP, random_params};

/// The checks of row 19.
pub fn run(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = supervised(gpu, seed)?;
    checks.extend(dropout(gpu, seed)?);
    Ok(checks)
}

/// L_rec + alpha L_sup.
fn supervised(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (plain, classes, rows) = (shallow(Activation::Tanh), 3, 5);
    let with = |weight: f64| Spec { supervised: Some(Supervised { classes, weight }), ..plain.clone() };
    let params = random_params(&with(1.0), 0.7, seed, 0)?;
    let x = wide(&narrow(&values(&uniform(rows, 6, (0.0, 1.0), seed, 20))));
    let labels = [2, 0, 1, 1, 2];
    let hot = |class: usize| (0..classes).map(move |c| f32::from(u8::from(c == class)));
    let data: Vec<f32> =
        x.chunks(6).zip(labels).flat_map(|(row, class)| narrow(row).into_iter().chain(hot(class))).collect();
    let feed = Feed { data, params: params.iter().map(|p| narrow(p)).collect(), ..Feed::default() };
    let forward = Forward::new(&plain)?;
    let probabilities = |params: &[Vec<f64>]| -> Vec<f64> {
        let h = codes(&forward, params, &x, 6);
        let logits = h * matrix(&params[4], classes) + DMatrix::from_fn(rows, classes, |_, c| params[5][c]);
        let odds = logits.map(f64::exp);
        values(&DMatrix::from_fn(rows, classes, |r, c| odds[(r, c)] / odds.row(r).sum()))
    };
    let surprise = |params: &[Vec<f64>]| {
        let p = probabilities(params);
        -(0..rows).map(|r| p[r * classes + labels[r]].ln()).sum::<f64>() / rows as f64
    };
    let reconstruction = |params: &[Vec<f64>]| forward.objective(params, &x);

    let none = device::step(gpu, &with(0.0), &feed)?;
    let expected = differences(&params[..4], STEP, reconstruction);
    let found = relative(&none.gradients[..4], &expected);
    checks.push(Check::all_equal("alpha 0: L_rec's gradients", &relative(&expected, &expected), &found, 5e-6));
    let idle = largest(&wide(&none.gradients[4..].concat()));
    checks.push(Check::equal("alpha 0: the classifier's gradients", 0.0, idle, 0.0));

    let half = device::step(gpu, &with(0.5), &feed)?;
    let both = |params: &[Vec<f64>]| reconstruction(params) + 0.5 * surprise(params);
    let expected = differences(&params, STEP, both);
    let found = relative(&half.gradients, &expected);
    checks.push(Check::all_equal(
        "alpha ½: gradients of L_rec + ½ L_sup",
        &relative(&expected, &expected),
        &found,
        5e-6,
    ));
    checks.push(Check::equal("alpha ½: its objective, over that", 1.0, half.objective() / both(&params), 1e-6));

    let alpha = 1e8;
    let most = device::step(gpu, &with(alpha), &feed)?;
    let pick = |g: &[Vec<f64>]| [&g[..2], &g[4..]].concat();
    let expected = pick(&differences(&params, STEP, surprise));
    let found: Vec<Vec<f64>> =
        most.gradients.iter().map(|g| g.iter().map(|g| f64::from(*g) / alpha).collect()).collect();
    let rest = largest(&found[2..4].concat());
    let found = relative(&pick(&found), &expected);
    checks.push(Check::all_equal(
        "alpha 1e8: L_sup's gradients, over alpha",
        &relative(&expected, &expected),
        &found,
        5e-6,
    ));
    checks.push(Check::equal("alpha 1e8: the decoder's, over alpha", 0.0, rest, 1e-6));

    // Noise in the hidden layer: fresh in training, off elsewhere.
    let mut noisy = with(1.0);
    noisy.encoder[0].noise = Corruption::Gaussian { sigma: 0.3 };
    let mut session = Session::new(gpu, &noisy, Training::default())?;
    session.set_parameters(&feed.params)?;
    let quiet = session.evaluate(Data::from_rows(6 + classes, feed.data.clone())?)?.loss;
    let exact = reconstruction(&params) + surprise(&params);
    checks.push(Check::equal("noise is off at evaluation: objective, over that", 1.0, quiet / exact, 1e-6));
    let identity = "and in classification: softmax(h V + c)";
    checks.push(Check::all_equal(identity, &probabilities(&params), &session.classify(&narrow(&x))?, 1e-6));
    let draws = (0..8).map(|step| device::step(gpu, &noisy, &Feed { step, ..feed.clone() }));
    let mut draws: Vec<f64> = draws.map(|step| term(&step?, "supervised")).collect::<Outcome<_>>()?;
    draws.sort_by(f64::total_cmp);
    draws.dedup();
    checks.push(Check::equal("and fresh in training: losses that differ in 8 steps", 8.0, draws.len() as f64, 0.0));
    Ok(checks)
}

/// Masking of the hidden layer, divided by what is kept, before a linear decoder.
fn dropout(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (units, keep) = (4, 0.6);
    let mut spec = shallow(Activation::Tanh);
    spec.encoder[0].noise = Corruption::Masking { probability: 1.0 - keep, rescale: true };
    let params = random_params(&spec, 0.9, seed, 100)?;
    let narrowed: Vec<Vec<f32>> = params.iter().map(|p| narrow(p)).collect();
    let x = rounded(&normal(1, 6, seed, 120));
    let plain = Forward::new(&shallow(Activation::Tanh))?;
    let h = codes(&plain, &params, &values(&x), 6);
    let (v, c) = (matrix(&params[2], 6), matrix(&params[3], 6));

    // ||x - W h||² + (1 - p)/p sum h_j² ||W_j||², and its gradient by the decoder's weights.
    let left = &x - &h * &v - &c;
    let ratio = (1.0 - keep) / keep;
    let closed = left.norm_squared() + ratio * (0..units).map(|j| h[j].powi(2) * v.row(j).norm_squared()).sum::<f64>();
    let gradient = DMatrix::from_fn(units, 6, |j, i| -2.0 * h[j] * left[i] + 2.0 * ratio * h[j].powi(2) * v[(j, i)]);
    // All sixteen masks, with the probability of each: how far draws spread.
    let mask = |bits: usize| {
        let kept = |j: usize| bits >> j & 1 == 1;
        let h = DMatrix::from_fn(1, units, |_, j| if kept(j) { h[j] / keep } else { 0.0 });
        let left = &x - &h * &v - &c;
        let p: f64 = (0..units).map(|j| if kept(j) { keep } else { 1.0 - keep }).product();
        (p, left.norm_squared(), h.transpose() * left * -2.0)
    };
    let masks: Vec<(f64, f64, DMatrix<f64>)> = (0..1 << units).map(mask).collect();
    let variance: f64 = masks.iter().map(|(p, loss, _)| p * (loss - closed).powi(2)).sum();

    let count = 1 << 15;
    let data = narrow(&values(&x)).repeat(count);
    let step = device::step(gpu, &spec, &Feed { data, params: narrowed.clone(), seed, ..Feed::default() })?;
    let tolerance = 4.0 * (variance / count as f64).sqrt();
    let identity = "dropout: mean ||x - W(m h)/p||² of 32,768 draws";
    checks.push(Check::equal(identity, closed, step.objective(), tolerance));
    let found = matrix(&step.gradients[2], 6);
    let deviation = DMatrix::from_fn(units, 6, |j, i| {
        let at = (j, i);
        let variance: f64 = masks.iter().map(|(p, _, g)| p * (g[at] - gradient[at]).powi(2)).sum();
        (found[at] - gradient[at]) / (variance / count as f64).sqrt()
    });
    let identity = "dropout: its gradient by W, in standard errors";
    checks.push(Check::at_most(identity, 4.0, largest(deviation.as_slice())));

    // Single draws: each loss is that of one mask, and masks come as often as they should.
    let network = Network::new(&spec)?;
    let evaluator = Evaluator::new(gpu, &network.graph(Purpose::Train, false)?, 1)?;
    let draw = |step: u32, seed: u64| -> Outcome<f64> {
        let feed = Feed { data: narrow(&values(&x)), params: narrowed.clone(), step, seed, ..Feed::default() };
        device::again(&evaluator, 1, &feed)?;
        Ok(evaluator.sink(Sink::Term(0), 1)?[0].into())
    };
    let (mut counts, mut strange, draws) = ([0.0; 16], 0, 480);
    let mut first = Vec::new();
    for step in 0..draws {
        let loss = draw(step, seed)?;
        let near = masks.iter().position(|(_, exact, _)| (loss - exact).abs() < 2e-6 * (1.0 + exact));
        near.map_or_else(|| strange += 1, |mask| counts[mask] += 1.0);
        first.push(loss);
    }
    checks.push(Check::equal("dropout: losses of 480 steps that are no mask's", 0.0, f64::from(strange), 0.0));
    let expected = masks.iter().map(|(p, ..)| p * f64::from(draws));
    let squared: f64 = counts.iter().zip(expected).map(|(n, e)| (n - e).powi(2) / e).sum();
    // A thousandth of chi-squared with 15 degrees of freedom lies beyond.
    checks.push(Check::at_most("dropout: chi-squared of the 16 masks", 37.70, squared));
    let again = (0..16).map(|step| draw(step, seed)).collect::<Outcome<Vec<f64>>>()?;
    checks.push(Check::all_equal("dropout: the same seed draws the same", &first[..16], &again, 0.0));
    let other = (0..16).map(|step| draw(step, seed + 1)).collect::<Outcome<Vec<f64>>>()?;
    let same = other.iter().zip(&first).filter(|(a, b)| a == b).count();
    checks.push(Check::at_most("dropout: of 16 draws of another seed the same", 8.0, same as f64));

    let mut session = Session::new(gpu, &spec, Training::default())?;
    session.set_parameters(&narrowed)?;
    let expected = plain.reconstruction(&params, &values(&x));
    let found = session.reconstruct(&narrow(&values(&x)))?;
    checks.push(Check::all_equal("dropout is off at evaluation: W h", &expected, &found, 1e-6));
    let found = session.evaluate(device::data(&x)?)?.loss / left.norm_squared();
    checks.push(Check::equal("and ||x - W h||², over that", 1.0, found, 1e-6));
    Ok(checks)
}
