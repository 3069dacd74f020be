//! Rows 12 to 19: sparse codes; row 19, which shares a hidden layer between criteria, is in `joint`.

use std::f64::consts::PI;

use nalgebra::DMatrix;
use strait::graph::{Expr, Graph, Sink};
use strait::internals::model::Network;
use strait::{Activation, Data, Gpu, Latent, Loss, Penalty, Session, Spec, Training, data};

use super::Row;
use super::check::Check;
use super::device::{self, Feed, Step};
use super::forward::{Forward, differences, relative, sigmoid};
use super::joint;
use super::linear::{
    centred, covariance, diagonal, eigen, largest, matrix, narrow, normal, orthonormal, rounded, uniform, values, wide,
};
use super::outcome::Outcome;
use super::structure::{Case, STEP, random_params};

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 12, name: "L1: a Laplace prior on the code", run: laplace, slow: None },
    Row { number: 13, name: "Student-t prior on the code", run: student, slow: None },
    Row { number: 14, name: "KL sparsity", run: kl, slow: None },
    Row { number: 15, name: "squared sparsity", run: squared, slow: None },
    Row { number: 16, name: "ReLU codes with exact zeros", run: zeros, slow: None },
    Row { number: 17, name: "sparse autoencoder as a VAE with a Dirac posterior", run: dirac, slow: None },
    Row { number: 18, name: "sparsity as a stand-in for log Z", run: stand_in, slow: None },
    Row { number: 19, name: "joint supervised criterion, dropout", run: joint::run, slow: None },
];

/// 6-4-6, one layer each way, squared error.
pub fn shallow(code: Activation) -> Spec {
    Spec::symmetric(&[6, 4], Activation::Identity).loss(Loss::SquaredError).code_activation(code)
}

/// A term of a step by its name.
pub fn term(step: &Step, name: &str) -> Outcome<f64> {
    let found = step.terms.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    found.ok_or_else(|| format!("no term {name}").into())
}

/// The codes of rows, one for each.
pub fn codes(forward: &Forward, params: &[Vec<f64>], rows: &[f64], features: usize) -> DMatrix<f64> {
    let codes: Vec<Vec<f64>> = rows.chunks(features).map(|row| forward.code(params, row)).collect();
    let width = codes.first().map_or(1, Vec::len);
    matrix(&codes.concat(), width)
}

/// A penalty within a whole model: its term, and every gradient of the whole objective. `cost` is the penalty of codes,
/// λ included.
fn whole(
    gpu: &Gpu,
    seed: u64,
    code: Activation,
    penalty: Penalty,
    cost: impl Fn(&DMatrix<f64>) -> f64,
) -> Outcome<Vec<Check>> {
    let plain = shallow(code);
    let (case, forward) = (Case::new(&plain, 5, seed)?, Forward::new(&plain)?);
    let of = |params: &[Vec<f64>]| cost(&codes(&forward, params, &case.data, 6));
    let step = device::step(gpu, &plain.clone().penalty(penalty.clone()), &case.feed())?;
    let expected = differences(&case.params, STEP, |params| forward.objective(params, &case.data) + of(params));
    let found = relative(&step.gradients, &expected);
    let value = term(&step, penalty.name())? / of(&case.params);
    Ok(vec![
        Check::equal("in a model: the term, over that in f64", 1.0, value, 1e-6),
        Check::all_equal("in a model: every gradient, by differences", &relative(&expected, &expected), &found, 5e-6),
    ])
}

fn laplace(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let lambda = 0.7;

    // Codes that are free to minimise ||x - h D - c||² + lambda |h|, for orthonormal atoms.
    let spec = Spec {
        latent: Latent::PredictiveSparse { weight: lambda, gamma: 0.0, steps: 10 },
        ..shallow(Activation::Identity)
    };
    let (atoms, bias) = (rounded(&orthonormal(6, 4, seed, 0).transpose()), rounded(&normal(1, 6, seed, 1)));
    let mut params = Network::new(&spec)?.initial(seed);
    (params[2], params[3]) = (narrow(&values(&atoms)), narrow(&values(&bias)));
    let x = rounded(&normal(32, 6, seed, 2));
    let mut session = Session::new(gpu, &spec, Training::default())?;
    session.set_parameters(&params)?;
    let found = session.sparse_codes(&narrow(&values(&x)))?;
    let onto = DMatrix::from_fn(32, 6, |r, c| x[(r, c)] - bias[c]) * atoms.transpose();
    let soft = onto.map(|v| v.signum() * (v.abs() - lambda / 2.0).max(0.0));
    checks.push(Check::all_equal("free codes: soft(D'x, lambda/2)", &values(&soft), &found, 2e-6));
    let (zero, none) = (soft.iter().filter(|v| **v == 0.0).count(), found.iter().filter(|v| **v == 0.0).count());
    checks.push(Check::equal("free codes: exact zeros among 128", zero as f64, none as f64, 0.0));

    // -log p(h) of a Laplace prior, (lambda/2) exp(-lambda |h|) each, differs by a constant.
    let penalty = Penalty::L1 { weight: lambda, layer: None };
    let spec = shallow(Activation::Tanh).penalty(penalty.clone());
    let forward = Forward::new(&spec)?;
    let rows = wide(&narrow(&values(&uniform(5, 6, (0.0, 1.0), seed, 3))));
    let mut constants = Vec::new();
    for draw in 0..3 {
        let params = random_params(&spec, 0.5 * f64::from(draw + 1), seed, 10 + 10 * draw)?;
        let feed = Feed { data: narrow(&rows), params: params.iter().map(|p| narrow(p)).collect(), ..Feed::default() };
        let density = |h: &f64| 0.5 * lambda * (-lambda * h.abs()).exp();
        let surprise = -codes(&forward, &params, &rows, 6).map(|h| density(&h).ln()).sum() / 5.0;
        constants.push(term(&device::step(gpu, &spec, &feed)?, "l1")? - surprise);
    }
    let expected = [4.0 * (lambda / 2.0).ln(); 3];
    let identity = "lambda |h| less -log p(h) is k log(lambda/2), for any model";
    checks.push(Check::all_equal(identity, &expected, &constants, 1e-6));
    checks.extend(whole(gpu, seed, Activation::Tanh, penalty.clone(), |h| lambda * h.abs().sum() / h.nrows() as f64)?);

    // Codes a tenth as large and weights ten times as large reconstruct alike and cost a tenth, unless the norm is kept.
    let spec = shallow(Activation::Identity).penalty(penalty.clone());
    let params = random_params(&spec, 0.7, seed, 50)?;
    let scaled = |encoder: f64, decoder: f64| -> Feed {
        let factors = [encoder, encoder, decoder, 1.0];
        let params = params.iter().zip(factors).map(|(p, f)| narrow(&p.iter().map(|v| v * f).collect::<Vec<f64>>()));
        Feed { data: narrow(&rows), params: params.collect(), ..Feed::default() }
    };
    let (honest, cheat) = (device::step(gpu, &spec, &scaled(1.0, 1.0))?, device::step(gpu, &spec, &scaled(0.1, 10.0))?);
    let ratio = |name: &str| -> Outcome<f64> { Ok(term(&cheat, name)? / term(&honest, name)?) };
    checks.push(Check::equal("the cheat: reconstruction of (W/10, 10 V)", 1.0, ratio("reconstruction")?, 2e-6));
    checks.push(Check::equal("the cheat: its penalty", 0.1, ratio("l1")?, 1e-6));
    let kept = Spec { unit_norm: true, ..spec };
    let at = |decoder: f64| -> Outcome<f64> { Ok(device::step(gpu, &kept, &scaled(1.0, decoder))?.objective()) };
    checks.push(Check::equal("unit norm: objective of 10 V over that of V", 1.0, at(10.0)? / at(1.0)?, 1e-6));
    let mut session = Session::new(gpu, &kept, Training::default())?;
    session.set_parameters(&scaled(1.0, 10.0).params)?;
    let units = DMatrix::<f64>::identity(4, 4);
    let (base, rows) = (session.decode(&[0.0; 4])?, session.decode(&narrow(&values(&units)))?);
    let norm = |row: &[f32]| row.iter().zip(&base).map(|(r, b)| (f64::from(*r) - f64::from(*b)).powi(2)).sum::<f64>();
    let norms: Vec<f64> = rows.chunks(6).map(|row| norm(row).sqrt()).collect();
    checks.push(Check::all_equal("unit norm: ||g(one unit on) - g(0)||", &[1.0; 4], &norms, 2e-6));
    Ok(checks)
}

fn student(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let h = [-20.0, -5.0, -1.5, -0.5, -0.01, 0.001, 0.1, 0.75, 1.0, 2.5, 8.0];
    let h: Vec<f64> = wide(&narrow(&h));
    let run = |nu: f64| -> Outcome<[Vec<f64>; 2]> {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 1);
        let cost = Penalty::StudentT { weight: 1.0, nu, layer: None }.of(&Expr::input(0)).ok_or("no cost of a code")?;
        let each = g.map_expr(cost, &[x])?;
        let total = g.sum_all(each);
        let slope = g.gradient(total, &[x])?[0];
        g.sink(Sink::Output(0), each);
        g.sink(Sink::Output(1), slope);
        let evaluator = device::run(gpu, &g, h.len(), &Feed { inputs: vec![narrow(&h)], ..Feed::default() })?;
        let sink = |i| evaluator.sink(Sink::Output(i), h.len());
        Ok([wide(&sink(0)?), wide(&sink(1)?)])
    };
    let over = |found: &[f64], of: &dyn Fn(f64) -> f64| -> Vec<f64> {
        found.iter().zip(&h).map(|(f, &h)| f / of(h)).collect()
    };
    let ones = vec![1.0; h.len()];
    for nu in [0.5, 1.0, 3.0, 30.0, 1e4] {
        let [cost, slope] = run(nu)?;
        let cost = over(&cost, &|h| 0.5 * (nu + 1.0) * (h * h / nu).ln_1p());
        let slope = over(&slope, &|h| (nu + 1.0) * h / (nu + h * h));
        let identity = format!("nu {nu}: cost and slope, over those in f64");
        checks.push(Check::all_equal(identity, &[&ones[..], &ones].concat(), &[cost, slope].concat(), 1e-6));
    }
    // Of 1 + h²/nu in f32 nothing would be left.
    for nu in [1e9, 1e15] {
        let [cost, slope] = run(nu)?;
        let found = [over(&cost, &|h| 0.5 * h * h), over(&slope, &|h| h)].concat();
        let identity = format!("nu {nu:.0e}: over ½ h² and its slope");
        checks.push(Check::all_equal(identity, &[&ones[..], &ones].concat(), &found, 1e-6));
    }
    // Known densities: Cauchy's for nu = 1, and 2 / (pi sqrt(3) (1 + h²/3)²) for nu = 3.
    let cauchy = |h: f64| 1.0 / (PI * (1.0 + h * h));
    let three = |h: f64| 2.0 / (PI * 3f64.sqrt() * (1.0 + h * h / 3.0).powi(2));
    for (nu, density, at_zero) in [(1.0, &cauchy as &dyn Fn(f64) -> f64, -PI.ln()), (3.0, &three, three(0.0).ln())] {
        let found: Vec<f64> = run(nu)?[0].iter().zip(&h).map(|(c, &h)| c + density(h).ln()).collect();
        let identity = format!("nu {nu}: cost less -log p(h) is log p(0)");
        checks.push(Check::all_equal(identity, &vec![at_zero; h.len()], &found, 2e-6));
    }
    let penalty = Penalty::StudentT { weight: 0.7, nu: 3.0, layer: None };
    let cost = |h: &DMatrix<f64>| 0.7 * 2.0 * h.map(|h| (h * h / 3.0).ln_1p()).sum() / h.nrows() as f64;
    checks.extend(whole(gpu, seed, Activation::Tanh, penalty, cost)?);
    Ok(checks)
}

/// What the list says of a penalty on mean activities: cost and slope of one unit's.
struct Curve {
    penalty: Penalty,
    cost: fn(f64) -> f64,
    slope: fn(f64) -> f64,
}

impl Curve {
    /// The mean activity that is wanted.
    const RHO: f64 = 0.1;

    /// The penalty of one sigmoid unit that is `low` in one row and `high` in another.
    fn of_two(&self, gpu: &Gpu, low: f64, high: f64) -> Outcome<f64> {
        let spec = Spec::symmetric(&[1, 1], Activation::Identity).code_activation(Activation::Sigmoid);
        let logit = |p: f64| (p / (1.0 - p)).ln();
        let (slope, bias) = ((logit(high) - logit(low)) / 2.0, (logit(high) + logit(low)) / 2.0);
        let params = vec![vec![slope as f32], vec![bias as f32], vec![0.0], vec![0.0]];
        let feed = Feed { data: vec![-1.0, 1.0], params, ..Feed::default() };
        term(&device::step(gpu, &spec.penalty(self.penalty.clone()), &feed)?, self.penalty.name())
    }

    /// What both such penalties have in common.
    fn checks(&self, gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
        let mut checks = Vec::new();
        let name = self.penalty.name();
        let zero = self.of_two(gpu, Curve::RHO, Curve::RHO)?;
        checks.push(Check::equal("0 at rho_hat = rho", 0.0, zero, 1e-7));
        checks.push(Check::equal(
            "rows of .02 and .18: rho_hat is their mean",
            0.0,
            self.of_two(gpu, 0.02, 0.18)?,
            1e-7,
        ));

        // Units of one activity each, from .01 to .99: the curve, and its slope times that of the sigmoid. The decoder
        // has no weights, so that no other gradient comes to the encoder.
        let units = 99;
        let q: Vec<f64> = (1..100).map(|i| f64::from(i) / 100.0).collect();
        let bias = narrow(&q.iter().map(|q| (q / (1.0 - q)).ln()).collect::<Vec<f64>>());
        let q: Vec<f64> = bias.iter().map(|&b| sigmoid(b.into())).collect();
        let spec = Spec::symmetric(&[2, units], Activation::Identity).code_activation(Activation::Sigmoid);
        let spec = spec.penalty(self.penalty.clone());
        let params = vec![vec![0.0; 2 * units], bias, vec![0.0; 2 * units], vec![0.0; 2]];
        let step = device::step(gpu, &spec, &Feed { data: vec![0.5; 8], params, ..Feed::default() })?;
        let all: f64 = q.iter().map(|&q| (self.cost)(q)).sum();
        checks.push(Check::equal(
            "sum over 99 units, rho_hat from .01 to .99, over that",
            1.0,
            term(&step, name)? / all,
            1e-6,
        ));
        let expected: Vec<f64> = q.iter().map(|&q| (self.slope)(q) * q * (1.0 - q)).collect();
        let scale = largest(&expected);
        let over = |v: &[f64]| v.iter().map(|v| v / scale).collect::<Vec<f64>>();
        let found = over(&wide(&step.gradients[1]));
        checks.push(Check::all_equal("gradient by each bias, over the largest", &over(&expected), &found, 1e-6));

        // Codes that differ from row to row: a row gets a B-th of the slope at the mean.
        let (spec, rows) = (shallow(Activation::Sigmoid).penalty(self.penalty.clone()), 7);
        let mut params = random_params(&spec, 1.0, seed, 0)?;
        params[2].fill(0.0);
        let x = rounded(&normal(rows, 6, seed, 10));
        let h = codes(&Forward::new(&shallow(Activation::Sigmoid))?, &params, &values(&x), 6);
        let slopes: Vec<f64> = h.column_iter().map(|unit| (self.slope)(unit.mean()) / rows as f64).collect();
        let back = DMatrix::from_fn(rows, 4, |r, j| slopes[j] * h[(r, j)] * (1.0 - h[(r, j)]));
        let feed =
            Feed { data: narrow(&values(&x)), params: params.iter().map(|p| narrow(p)).collect(), ..Feed::default() };
        let step = device::step(gpu, &spec, &feed)?;
        let expected = values(&(x.transpose() * back));
        let identity = "each of B rows gets slope(rho_hat)/B: gradient by W";
        checks.push(Check::all_equal(identity, &expected, &step.gradients[0], 2e-6 * largest(&expected)));
        let total: f64 = h.column_iter().map(|unit| (self.cost)(unit.mean())).sum();
        let cost = |h: &DMatrix<f64>| h.column_iter().map(|unit| (self.cost)(unit.mean())).sum();
        checks.push(Check::equal("its term there, over that in f64", 1.0, term(&step, name)? / total, 1e-6));
        checks.extend(whole(gpu, seed, Activation::Sigmoid, self.penalty.clone(), cost)?);
        Ok(checks)
    }
}

fn kl(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let penalty = Penalty::KlSparsity { weight: 1.0, rho: Curve::RHO, layer: None };
    let curve = Curve {
        penalty: penalty.clone(),
        cost: |q| 0.1 * (0.1 / q).ln() + 0.9 * (0.9 / (1.0 - q)).ln(),
        slope: |q| -0.1 / q + 0.9 / (1.0 - q),
    };
    let mut checks = vec![
        // Half a unit of the figure's last place, and a rounding.
        Check::equal("KL(.1||.3): the list's figure", 0.1163218, curve.of_two(gpu, 0.3, 0.3)?, 2e-7),
        Check::equal("KL(.1||.3), of a mean of .1 and .5", 0.1163218, curve.of_two(gpu, 0.1, 0.5)?, 2e-7),
    ];
    checks.extend(curve.checks(gpu, seed)?);
    let far = [curve.of_two(gpu, 1e-30, 1e-30)?, curve.of_two(gpu, 1.0 - 1e-16, 1.0 - 1e-16)?];
    let wild = far.iter().filter(|v| !v.is_finite()).count();
    checks.push(Check::equal("not finite where all codes are 0 or all 1", 0.0, wild as f64, 0.0));
    let fit = |a: &&Activation| shallow(**a).penalty(penalty.clone()).check().is_ok();
    let fitting: Vec<&str> = Activation::ALL.iter().filter(fit).map(|a| a.name()).collect();
    let only = f64::from(u8::from(fitting == ["sigmoid"]));
    checks.push(Check::equal("refused for every activation but the sigmoid (1: yes)", 1.0, only, 0.0));
    Ok(checks)
}

fn squared(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let penalty = Penalty::SquaredSparsity { weight: 1.0, rho: Curve::RHO, layer: None };
    let curve = Curve { penalty, cost: |q| (q - 0.1).powi(2), slope: |q| 2.0 * (q - 0.1) };
    let mut checks = vec![
        Check::equal("(.3 - .1)²: the list's figure", 0.04, curve.of_two(gpu, 0.3, 0.3)?, 1e-8),
        Check::equal("(.3 - .1)², of a mean of .1 and .5", 0.04, curve.of_two(gpu, 0.1, 0.5)?, 1e-8),
    ];
    checks.extend(curve.checks(gpu, seed)?);
    Ok(checks)
}

/// The weights of L1 that are compared in rows 16 and 18.
const LAMBDAS: [f64; 4] = [0.0, 0.05, 0.2, 0.6];

/// An overcomplete autoencoder with ReLU codes and L1, its decoder's columns of norm 1.
fn learned(gpu: &Gpu, seed: u64, [features, units]: [usize; 2], lambda: f64, data: &Data) -> Outcome<Session> {
    let spec = Spec::symmetric(&[features, units], Activation::Relu).loss(Loss::SquaredError);
    let spec = Spec { unit_norm: true, ..spec.code_activation(Activation::Relu) };
    let spec = spec.penalty(Penalty::L1 { weight: lambda, layer: None });
    let training = Training { learning_rate: 3e-3, epochs: 12, batch: 50, seed, ..Training::default() };
    let mut session = Session::new(gpu, &spec, training)?;
    session.fit(data)?;
    Ok(session)
}

/// The squared error of a row, in the mean.
fn error(session: &mut Session, rows: &DMatrix<f64>) -> Outcome<f64> {
    Ok(wide(&session.score(&narrow(&values(rows)))?).iter().sum::<f64>() / rows.nrows() as f64)
}

fn zeros(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (train, test) = data::digits()?.split_at(1500)?;
    let mut last = None;
    for lambda in LAMBDAS {
        let session = learned(gpu, seed, [64, 96], lambda, &train)?;
        let h = session.encode(test.values())?;
        let share = h.iter().filter(|h| **h == 0.0).count() as f64 / h.len() as f64;
        let below = h.iter().filter(|h| **h < 0.0).count();
        if let Some((before, share_before)) = last {
            let identity = format!("share of exact zeros, lambda {lambda}: at least .02 above {before}'s");
            checks.push(Check::at_least(identity, share_before + 0.02, share));
        }
        // Which pre-activations are positive, in f64.
        let params: Vec<Vec<f64>> = session.parameters()?.iter().map(|p| wide(p)).collect();
        let plain = Spec::symmetric(&[64, 96], Activation::Relu).code_activation(Activation::Relu);
        let exact = codes(&Forward::new(&plain)?, &params, &wide(test.values()), 64);
        let expected = exact.iter().filter(|h| **h == 0.0).count() as f64 / h.len() as f64;
        // Two of the 28,512 codes may lie so near 0 that a rounding decides.
        let identity = format!("lambda {lambda}: they are those in f64");
        checks.push(Check::equal(identity, expected, share, 2.5 / h.len() as f64));
        checks.push(Check::equal(format!("lambda {lambda}: codes below 0"), 0.0, below as f64, 0.0));
        last = Some((lambda, share));
    }
    Ok(checks)
}

fn dirac(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (sigma, lambda, units) = (0.4, 0.7, 3);
    let plain = Spec::symmetric(&[6, 5, units], Activation::Tanh);
    let spec = plain.clone().loss(Loss::Gaussian { sigma, learned: false });
    let spec = spec.penalty(Penalty::L1 { weight: lambda, layer: None });
    // q(z|x) = N(mu, exp(-60) I): as good as a Dirac. The KL to a normal prior is left out (beta 0); L1 is -log of the
    // Laplace prior, but for a constant.
    let variational = spec.clone().variational(0.0);
    let forward = Forward::new(&plain.loss(Loss::SquaredError))?;
    let rows = wide(&narrow(&values(&uniform(5, 6, (0.0, 1.0), seed, 0))));
    // What a Laplace density has before its exponential.
    let constant = f64::from(units as u8) * (lambda / 2.0f64).ln();
    let (mut own, mut bounds, mut apart, mut steepest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for draw in 0..3 {
        let params = random_params(&spec, 0.4 * f64::from(draw + 1), seed, 10 + 20 * draw)?;
        let feed = |params: &[Vec<f64>]| {
            let params = params.iter().map(|p| narrow(p)).collect();
            Feed { data: narrow(&rows), params, step: draw, seed, ..Feed::default() }
        };
        // -log p(x|h) - log p(h), mean over rows, with h the code.
        let h = codes(&forward, &params, &rows, 6);
        let normaliser = 0.5 * 6.0 * (2.0 * PI * sigma * sigma).ln();
        let likelihood = forward.objective(&params, &rows) / (2.0 * sigma * sigma) + normaliser;
        let prior = -h.map(|h| (0.5 * lambda * (-lambda * h.abs()).exp()).ln()).sum() / 5.0;
        let sparse = device::step(gpu, &spec, &feed(&params))?;
        own.push(sparse.objective() / (likelihood + prior + constant));

        let mut wider = params.clone();
        wider.splice(4..4, [vec![0.0; 5 * units], vec![-60.0; units]]);
        let bound = device::step(gpu, &variational, &feed(&wider))?;
        bounds.push(bound.objective() / (likelihood + prior + constant));
        let shared = |step: &Step| [&step.gradients[..4], &step.gradients[step.gradients.len() - 4..]].concat();
        let exact: Vec<Vec<f64>> = shared(&sparse).iter().map(|g| wide(g)).collect();
        steepest.extend(relative(&exact, &exact));
        apart.extend(relative(&shared(&bound), &exact));
    }
    let identity = "sparse loss, over -log p(x, h) + k log(lambda/2), three models";
    checks.push(Check::all_equal(identity, &[1.0; 3], &own, 1e-6));
    let identity = "-ELBO of a VAE with a Dirac posterior, over the same";
    checks.push(Check::all_equal(identity, &[1.0; 3], &bounds, 1e-6));
    checks.push(Check::all_equal("so both have the same gradients, over the largest", &steepest, &apart, 1e-6));
    Ok(checks)
}

fn stand_in(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    // Rows made of few of 32 atoms in 16 dimensions, and normal noise of the same covariance: nothing but sparsity tells
    // them apart, so a model that copies reconstructs both alike.
    let (count, n, atoms) = (3000, 16, 32);
    let dictionary = normal(atoms, n, seed, 0);
    let draw = uniform(count, atoms, (0.0, 1.0), seed, 1);
    let size = uniform(count, atoms, (0.5, 1.5), seed, 2);
    let sparse = DMatrix::from_fn(count, atoms, |r, j| if draw[(r, j)] < 0.06 { size[(r, j)] } else { 0.0 });
    let x = rounded(&centred(&(sparse * dictionary / 4.0)));
    let (eigenvalues, axes) = eigen(&covariance(&x));
    let deviations: Vec<f64> = eigenvalues.iter().map(|e| e.sqrt()).collect();
    let noise = rounded(&(normal(500, n, seed, 3) * diagonal(&deviations) * axes.transpose()));
    let (train, test) = (x.rows(0, 2500).into_owned(), x.rows(2500, 500).into_owned());
    let mut found = Vec::new();
    for lambda in LAMBDAS {
        let mut session = learned(gpu, seed, [n, 64], lambda, &device::data(&train)?)?;
        let h = session.encode(&narrow(&values(&test)))?;
        let active = h.iter().filter(|h| **h > 0.0).count() as f64 / test.nrows() as f64;
        found.push((lambda, active, error(&mut session, &noise)?, error(&mut session, &test)?));
    }
    for pair in found.windows(2) {
        let (lambda, before, after) = (pair[1].0, pair[0], pair[1]);
        let identity = format!("lambda {lambda}: active units a row, below those before");
        checks.push(Check::at_most(identity, before.1, after.1));
        checks.push(Check::at_least(format!("lambda {lambda}: error on noise, above that before"), before.2, after.2));
        let identity = format!("lambda {lambda}: rise on noise, above that on unseen rows");
        checks.push(Check::at_least(identity, after.3 - before.3, after.2 - before.2));
    }
    Ok(checks)
}
