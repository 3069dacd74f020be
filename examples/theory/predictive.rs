//! Row 34: predictive sparse decomposition.

use nalgebra::DMatrix;
use strait::analysis::Pca;
use strait::{Activation, Data, Gpu, Latent, Session, Spec, Training};

use super::check::Check;
use super::contractive::layered;
use super::device::{self, Feed};
use super::jacobians::{Layers, random_params};
use super::linear::{largest, matrix, narrow, normal, orthonormal, rounded, values, wide};
use super::outcome::Outcome;

/// λ and γ.
const WEIGHTS: (f64, f64) = (0.3, 0.7);

/// A tanh encoder of one layer and a dictionary.
fn spec(input: usize, units: usize, (weight, gamma): (f64, f64), steps: usize) -> Spec {
    Spec { latent: Latent::PredictiveSparse { weight, gamma, steps }, ..layered(input, &[(units, Activation::Tanh)]) }
}

fn soft(v: f64, threshold: f64) -> f64 {
    v.signum() * (v.abs() - threshold).max(0.0)
}

fn squares(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// One problem: ||x − h D − b||² + λ|h| + γ||h − f||², with the atoms of D as rows.
struct Problem<'a> {
    x: &'a [f64],
    f: &'a [f64],
    atoms: &'a DMatrix<f64>,
    bias: &'a [f64],
    weights: (f64, f64),
}

impl Problem<'_> {
    /// x − h D − b.
    fn residual(&self, h: &[f64]) -> Vec<f64> {
        let left = |i: usize| self.x[i] - self.bias[i] - (0..h.len()).map(|j| h[j] * self.atoms[(j, i)]).sum::<f64>();
        (0..self.x.len()).map(left).collect()
    }

    fn objective(&self, h: &[f64]) -> f64 {
        let error: f64 = self.residual(h).iter().map(|r| r * r).sum();
        error + self.weights.0 * h.iter().map(|h| h.abs()).sum::<f64>() + self.weights.1 * squares(h, self.f)
    }

    /// D r, for the residual r.
    fn onto(&self, residual: &[f64], j: usize) -> f64 {
        (0..residual.len()).map(|i| self.atoms[(j, i)] * residual[i]).sum()
    }

    /// The minimum, one code at a time until nothing moves: not the method under test.
    fn minimum(&self) -> Vec<f64> {
        let mut h = vec![0.0; self.f.len()];
        for _ in 0..20_000 {
            let before = h.clone();
            for j in 0..h.len() {
                let norm: f64 = self.atoms.row(j).iter().map(|a| a * a).sum();
                let pull = self.onto(&self.residual(&h), j) + norm * h[j] + self.weights.1 * self.f[j];
                h[j] = soft(pull, self.weights.0 / 2.0) / (norm + self.weights.1);
            }
            if squares(&before, &h) < 1e-26 {
                break;
            }
        }
        h
    }

    /// How far h is from a minimum: the largest part of the subgradient that cannot be 0.
    fn slack(&self, h: &[f64]) -> f64 {
        let (weight, gamma) = self.weights;
        let residual = self.residual(h);
        let each = |j: usize| {
            let slope = -2.0 * self.onto(&residual, j) + 2.0 * gamma * (h[j] - self.f[j]);
            if h[j] == 0.0 { (slope.abs() - weight).max(0.0) } else { (slope + weight * h[j].signum()).abs() }
        };
        (0..h.len()).map(each).fold(0.0, f64::max)
    }
}

/// The predictions of a spec's encoder.
fn predictions(spec: &Spec, params: &[Vec<f64>], x: &[f64]) -> Outcome<Vec<Vec<f64>>> {
    let encoder = Layers::encoder(spec, params)?;
    Ok(x.chunks(spec.input).map(|row| encoder.of(row)).collect())
}

fn problems<'a>(
    x: &'a [f64],
    predicted: &'a [Vec<f64>],
    atoms: &'a DMatrix<f64>,
    bias: &'a [f64],
    weights: (f64, f64),
) -> Vec<Problem<'a>> {
    let pairs = x.chunks(bias.len()).zip(predicted);
    pairs.map(|(x, f)| Problem { x, f, atoms, bias, weights }).collect()
}

/// The largest sum of a row of |DD'|, which no eigenvalue exceeds, plus γ: half of L.
fn curvature(atoms: &DMatrix<f64>, gamma: f64) -> f64 {
    let gram = atoms * atoms.transpose();
    gram.row_iter().map(|row| row.iter().map(|v| v.abs()).sum::<f64>()).fold(0.0, f64::max) + gamma
}

/// A session with these parameters.
fn session(gpu: &Gpu, spec: &Spec, params: &[Vec<f64>]) -> Outcome<Session> {
    let mut session = Session::new(gpu, spec, Training::default())?;
    session.set_parameters(&params.iter().map(|p| narrow(p)).collect::<Vec<_>>())?;
    Ok(session)
}

pub fn decomposition(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (n, k, count) = (6, 4, 12);
    let x = values(&rounded(&normal(count, n, seed, 0)));

    // Orthonormal atoms: the minimum in closed form, which one proximal step reaches.
    let mut params = random_params(&spec(n, k, WEIGHTS, 1), 0.7, seed, 10)?;
    let atoms = rounded(&orthonormal(n, k, seed, 20).transpose());
    params[2] = values(&atoms);
    let encoder = Layers::encoder(&spec(n, k, WEIGHTS, 1), &params)?;
    let predicted: Vec<f64> = x.chunks(n).flat_map(|row| encoder.of(row)).collect();
    for (name, (weight, gamma), steps) in [
        ("orthonormal, 1 step", WEIGHTS, 1),
        ("orthonormal, 10 steps", WEIGHTS, 10),
        ("orthonormal, gamma = 0", (0.3, 0.0), 10),
    ] {
        let mut expected = Vec::new();
        for (row, f) in x.chunks(n).zip(predicted.chunks(k)) {
            for j in 0..k {
                let onto: f64 = (0..n).map(|i| atoms[(j, i)] * (row[i] - params[3][i])).sum();
                expected.push(soft(onto + gamma * f[j], weight / 2.0) / (1.0 + gamma));
            }
        }
        let found = session(gpu, &spec(n, k, (weight, gamma), steps), &params)?.sparse_codes(&narrow(&x))?;
        let identity = format!("{name}: soft(D'x + gamma f, lambda/2)/(1 + gamma)");
        checks.push(Check::all_equal(identity, &expected, &found, 1e-6));
        let zeros = |h: &[f64]| h.iter().filter(|&&h| h == 0.0).count() as f64;
        checks.push(Check::equal(
            format!("{name}: codes that are exactly 0"),
            zeros(&expected),
            zeros(&wide(&found)),
            0.0,
        ));
    }

    // Dictionaries of any kind, with and without prediction: the minimum by coordinate descent.
    let objectives = |problems: &[Problem], codes: &[f32]| -> Vec<f64> {
        let codes = wide(codes);
        problems.iter().zip(codes.chunks(codes.len() / count)).map(|(p, h)| p.objective(h)).collect()
    };
    for (name, k, weights) in [("9 atoms in 6 dimensions", 9, WEIGHTS), ("gamma = 0, 5 atoms", 5, (0.3, 0.0))] {
        let mut params = random_params(&spec(n, k, weights, 1), 0.6, seed, 30)?;
        if weights.1 == 0.0 {
            // Without prediction, only atoms that are not nearly dependent let a few hundred steps come to the end.
            let mixed = DMatrix::identity(k, k) + normal(k, k, seed, 40) * 0.15;
            params[2] = values(&rounded(&(mixed * orthonormal(n, k, seed, 41).transpose())));
        }
        let atoms = matrix(&params[2], n);
        let predicted = predictions(&spec(n, k, weights, 1), &params, &x)?;
        let problems = problems(&x, &predicted, &atoms, &params[3], weights);
        let expected: Vec<f64> = problems.iter().flat_map(Problem::minimum).collect();
        let found = session(gpu, &spec(n, k, weights, 300), &params)?.sparse_codes(&narrow(&x))?;
        let least: f64 = problems.iter().zip(expected.chunks(k)).map(|(p, h)| p.objective(h)).sum();
        let ratio = objectives(&problems, &found).iter().sum::<f64>() / least;
        checks.push(Check::equal(format!("{name}: objective over that of coordinate descent"), 1.0, ratio, 1e-6));
        checks.push(Check::all_equal(format!("{name}: the codes"), &expected, &found, 5e-6));
        let slack = problems.iter().zip(wide(&found).chunks(k)).map(|(p, h)| p.slack(h)).fold(0.0, f64::max);
        checks.push(Check::at_most(format!("{name}: no subgradient is further from 0"), 2e-5, slack));
        if weights.1 == 0.0 {
            // Nothing of the encoder is left.
            let mut other = params.clone();
            other[0] = random_params(&spec(n, k, weights, 1), 0.6, seed, 50)?.swap_remove(0);
            let again = session(gpu, &spec(n, k, weights, 300), &other)?.sparse_codes(&narrow(&x))?;
            checks.push(Check::all_equal("gamma = 0: another encoder, the same codes", &expected, &again, 5e-6));
        }
    }

    // An overcomplete dictionary without prediction has flat valleys: the gap to the minimum is at most
    // L ||h0 - h*||²/2t after t steps (Beck and Teboulle, 2009), with 1/L the length of a step.
    let k = 9;
    let params = random_params(&spec(n, k, WEIGHTS, 1), 0.6, seed, 30)?;
    let atoms = matrix(&params[2], n);
    let predicted = predictions(&spec(n, k, WEIGHTS, 1), &params, &x)?;
    let problems = |weights| problems(&x, &predicted, &atoms, &params[3], weights);
    let flat = problems((0.3, 0.0));
    let minima: Vec<Vec<f64>> = flat.iter().map(Problem::minimum).collect();
    for steps in [10, 100] {
        let found = session(gpu, &spec(n, k, (0.3, 0.0), steps), &params)?.sparse_codes(&narrow(&x))?;
        let gaps = objectives(&flat, &found).into_iter().zip(flat.iter().zip(&minima));
        let most = gaps.map(|(found, (problem, least))| {
            let allowed = 2.0 * curvature(&atoms, 0.0) * squares(problem.f, least) / (2 * steps) as f64;
            (found - problem.objective(least)) / allowed
        });
        let name = format!("gamma = 0, 9 atoms, {steps} steps: gap over L ||f - h*||²/2t, largest");
        checks.push(Check::at_most(name, 1.0, most.fold(f64::NEG_INFINITY, f64::max)));
    }

    // Step by step the objective falls, for every row.
    for weights in [WEIGHTS, (0.3, 0.0)] {
        let problems = problems(weights);
        let mut path = Vec::new();
        for steps in 0..=10 {
            let found = session(gpu, &spec(n, k, weights, steps), &params)?.sparse_codes(&narrow(&x))?;
            if steps == 0 {
                let start: Vec<f64> = predicted.concat();
                let name = format!("gamma = {}: no steps leave h at f(x)", weights.1);
                checks.push(Check::all_equal(name, &start, &found, 1e-6));
            }
            path.push(objectives(&problems, &found));
        }
        let rises: Vec<f64> =
            path.windows(2).flat_map(|w| w[0].iter().zip(&w[1]).map(|(a, b)| b - a).collect::<Vec<_>>()).collect();
        let most = rises.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let name = format!("gamma = {}: largest rise in ten steps, any row", weights.1);
        checks.push(Check::at_most(name, 0.0, most));
    }
    checks.extend(training(gpu, seed, &x, &params)?);
    checks.extend(deployment(gpu, seed)?);
    Ok(checks)
}

/// What a training step sees: terms and gradients with the codes held fixed.
fn training(gpu: &Gpu, seed: u64, x: &[f64], params: &[Vec<f64>]) -> Outcome<Vec<Check>> {
    let (n, k, (weight, gamma)) = (6, 9, WEIGHTS);
    let spec = spec(n, k, WEIGHTS, 10);
    let params32: Vec<Vec<f32>> = params.iter().map(|p| narrow(p)).collect();
    let step = device::step(gpu, &spec, &Feed { data: narrow(x), params: params32, seed, ..Feed::default() })?;
    let atoms = matrix(&params[2], n);
    let encoder = Layers::encoder(&spec, params)?;
    let rows = (x.len() / n) as f64;
    let bound = curvature(&atoms, gamma);
    let mut terms = [0.0; 3];
    let mut gradients = [vec![0.0; n * k], vec![0.0; k], vec![0.0; k * n], vec![0.0; n]];
    for row in x.chunks(n) {
        let f = encoder.of(row);
        let problem = Problem { x: row, f: &f, atoms: &atoms, bias: &params[3], weights: WEIGHTS };
        let mut h = f.clone();
        for _ in 0..10 {
            let residual = problem.residual(&h);
            let each = |j: usize| {
                let slope = -2.0 * problem.onto(&residual, j) + 2.0 * gamma * (h[j] - f[j]);
                soft(h[j] - slope / (2.0 * bound), weight / (2.0 * bound))
            };
            h = (0..k).map(each).collect();
        }
        let residual = problem.residual(&h);
        terms[0] += residual.iter().map(|r| r * r).sum::<f64>() / rows;
        terms[1] += weight * h.iter().map(|h| h.abs()).sum::<f64>() / rows;
        terms[2] += gamma * squares(&h, &f) / rows;
        for j in 0..k {
            // tanh' = 1 − f².
            let delta = -2.0 * gamma * (h[j] - f[j]) * (1.0 - f[j] * f[j]) / rows;
            gradients[1][j] += delta;
            for i in 0..n {
                gradients[0][i * k + j] += delta * row[i];
                gradients[2][j * n + i] += -2.0 * h[j] * residual[i] / rows;
            }
        }
        for i in 0..n {
            gradients[3][i] += -2.0 * residual[i] / rows;
        }
    }
    let found: Vec<f64> = step.terms.iter().map(|t| t.1).collect();
    let mut checks = vec![Check::all_equal("a step's three terms, in plain loops", &terms, &found, 3e-6)];
    let names =
        ["W = -2 gamma (h - f) f' x", "b = -2 gamma (h - f) f'", "D = -2 h'(x - hD - b)", "c = -2 (x - hD - b)"];
    for ((name, expected), found) in names.iter().zip(&gradients).zip(&step.gradients) {
        checks.push(Check::all_equal(format!("h fixed: d{name}"), expected, found, 2e-6 * largest(expected)));
    }
    Ok(checks)
}

/// After training, the encoder stands in for the minimisation, alone and stacked.
fn deployment(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    // Few of twelve directions at a time.
    let (n, k, count) = (8, 12, 256);
    let (directions, active) = (normal(k, n, seed, 100), normal(count, k, seed, 101));
    let sparse = active.map(|v| if v.abs() > 1.3 { v } else { 0.0 });
    let x = rounded(&(sparse * directions * 0.3));
    let data = device::data(&x)?;
    let training = |seed| Training { epochs: 80, batch: 64, learning_rate: 0.01, seed, ..Training::default() };
    let mut first = Session::new(gpu, &Spec { unit_norm: true, ..spec(n, k, (0.1, 0.5), 10) }, training(seed))?;
    let apart = |session: &mut Session, data: &Data| -> Outcome<f64> {
        let (h, f) = (wide(&session.sparse_codes(data.values())?), wide(&session.encode(data.values())?));
        Ok(squares(&h, &f) / h.iter().map(|h| h * h).sum::<f64>())
    };
    let before = apart(&mut first, &data)?;
    first.fit(&data)?;
    let after = apart(&mut first, &data)?;
    checks.push(Check::at_most("trained: ||h - f||² over ||h||² is below half of what it was", before / 2.0, after));
    let exact: Vec<Vec<f64>> = first.parameters()?.iter().map(|p| wide(p)).collect();
    let encoder = Layers::encoder(first.spec(), &exact)?;
    let rows = values(&x);
    let expected: Vec<f64> = rows.chunks(n).flat_map(|row| encoder.of(row)).collect();
    let codes = first.encode(data.values())?;
    checks.push(Check::all_equal("what is deployed is f: encode", &expected, &codes, 2e-6));
    let unit = matrix(&exact[2], n);
    let unit = DMatrix::from_fn(k, n, |j, i| unit[(j, i)] / unit.row(j).norm());
    let decoded: Vec<f64> = expected
        .chunks(k)
        .flat_map(|h| {
            (0..n).map(|i| exact[3][i] + (0..k).map(|j| h[j] * unit[(j, i)]).sum::<f64>()).collect::<Vec<_>>()
        })
        .collect();
    let found = first.reconstruct(data.values())?;
    checks.push(Check::all_equal("and g(f(x)): reconstruct", &decoded, &found, 3e-6));
    let objective = (squares(&rows, &decoded) + 0.1 * expected.iter().map(|h| h.abs()).sum::<f64>()) / count as f64;
    checks.push(Check::equal("evaluate: ||x - g(f)||² + lambda |f|", objective, first.evaluate(&data)?.loss, 3e-6));

    // A second one on the codes of the first.
    let codes = Data::from_rows(k, codes)?;
    let mut second = Session::new(gpu, &Spec { unit_norm: true, ..spec(k, 6, (0.1, 0.5), 10) }, training(seed + 1))?;
    let before = second.evaluate(&codes)?.loss;
    second.fit(&codes)?;
    checks.push(Check::at_most(
        "a second one on the codes: the objective falls",
        before,
        second.evaluate(&codes)?.loss,
    ));
    let error = second.reconstruct(codes.values())?;
    let error = squares(&wide(&error), &wide(codes.values())) / (count * k) as f64;
    let spread = Pca::fit(gpu, &codes, k)?.eigenvalues.iter().sum::<f64>() / k as f64;
    checks.push(Check::at_most("its error on them, below their variance", spread, error));
    let deep = layered(n, &[(k, Activation::Tanh), (6, Activation::Tanh)]);
    let mut stack = Session::new(gpu, &deep, Training::default())?;
    let (lower, upper, mut whole) = (first.parameters()?, second.parameters()?, stack.parameters()?);
    whole.splice(..4, lower[..2].iter().chain(&upper[..2]).cloned());
    stack.set_parameters(&whole)?;
    let expected = wide(&second.encode(codes.values())?);
    checks.push(Check::all_equal(
        "stacked as one encoder: the same codes",
        &expected,
        &stack.encode(data.values())?,
        2e-6,
    ));
    Ok(checks)
}
