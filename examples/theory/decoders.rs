//! Rows 7 to 11: what a decoder says about its input.

use strait::graph::{Graph, Sink};
use strait::{Activation, Data, Gpu, Loss, Session, Spec, Training};

use super::Row;
use super::check::Check;
use super::device::{self, Feed};
use super::forward::{coin, sigmoid};
use super::linear::{largest, narrow, uniform, values, wide};
use super::outcome::Outcome;

/// In the order of the list.
pub const ROWS: &[Row] = &[Row { number: 8, name: "Bernoulli decoder, from logits", quick: true, run: bernoulli }];

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
    checks.push(Check::equal("training on one row ends at the entropy of x", floor, session.evaluate(&data)?, 1e-5));
    Ok(checks)
}
