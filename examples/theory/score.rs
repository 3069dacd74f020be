//! Rows 22 to 24: the displacement r(x) − x of a denoising autoencoder as a field.

use std::f64::consts::TAU;

use nalgebra::DMatrix;
use strait::internals::model::Network;
use strait::model::{Mapping, Method};
use strait::{Activation, Gpu, Loss, Penalty, Session, Spec};

use super::check::Check;
use super::denoising::{self, linear_spec, over_draws, parameters};
use super::device::{self, Feed};
use super::forward::{Forward, sigmoid, softplus};
use super::linear::{largest, matrix, narrow, normal, orthonormal, values, wide, with_spectrum};
use super::outcome::Outcome;

/// A tied autoencoder with sigmoid units and a linear output.
fn tied_sigmoid(features: usize, units: usize) -> Spec {
    Spec::symmetric(&[features, units], Activation::Identity)
        .loss(Loss::SquaredError)
        .code_activation(Activation::Sigmoid)
        .tied()
}

/// A Gaussian-binary restricted Boltzmann machine: weights `[features, units]` row by row, biases of units and of
/// features.
struct Machine {
    w: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    sigma: f64,
}

impl Machine {
    /// E(x) = −(c'x − ½ ||x||² + Σ_j softplus(W_j x + b_j)) / σ².
    fn energy(&self, x: &[f64]) -> f64 {
        let units = self.b.len();
        let input = |j: usize| self.b[j] + x.iter().enumerate().map(|(i, x)| x * self.w[i * units + j]).sum::<f64>();
        let linear: f64 = self.c.iter().zip(x).map(|(c, x)| c * x - 0.5 * x * x).sum();
        -(linear + (0..units).map(|j| softplus(input(j))).sum::<f64>()) / (self.sigma * self.sigma)
    }

    /// −dE/dx, by central differences: the score of the machine's density.
    fn score(&self, x: &[f64]) -> Vec<f64> {
        let along = |at: usize, shift: f64| {
            let mut x = x.to_vec();
            x[at] += shift;
            self.energy(&x)
        };
        (0..x.len()).map(|at| (along(at, -1e-5) - along(at, 1e-5)) / 2e-5).collect()
    }

    /// The same by the formula, (c − x + W' sigmoid(W x + b)) / σ²: fit to be differentiated once more.
    fn formula(&self, x: &[f64]) -> Vec<f64> {
        let units = self.b.len();
        let mut out: Vec<f64> = self.c.iter().zip(x).map(|(c, x)| c - x).collect();
        for j in 0..units {
            let sum = self.b[j] + x.iter().enumerate().map(|(i, x)| x * self.w[i * units + j]).sum::<f64>();
            out.iter_mut().enumerate().for_each(|(i, o)| *o += self.w[i * units + j] * sigmoid(sum));
        }
        out.iter().map(|o| o / (self.sigma * self.sigma)).collect()
    }

    /// The Jacobian of the score at one point, entry by entry: (Σ_j W_ij s_j (1 − s_j) W_kj − δ_ik) / σ².
    fn jacobian(&self, x: &[f64]) -> DMatrix<f64> {
        let units = self.b.len();
        let slope = |j: usize| {
            let s = sigmoid(self.b[j] + x.iter().enumerate().map(|(i, x)| x * self.w[i * units + j]).sum::<f64>());
            s * (1.0 - s)
        };
        let entry = |i: usize, k: usize| {
            let sum: f64 = (0..units).map(|j| self.w[i * units + j] * slope(j) * self.w[k * units + j]).sum();
            (sum - if i == k { 1.0 } else { 0.0 }) / (self.sigma * self.sigma)
        };
        DMatrix::from_fn(x.len(), x.len(), entry)
    }

    /// Score matching: the mean over rows of ½ ||ψ||² + tr dψ/dx with ψ = −dE/dx (Hyvärinen, 2005), by full Jacobians.
    fn score_matching(&self, rows: &[f64]) -> f64 {
        let each =
            |x: &[f64]| 0.5 * self.formula(x).iter().map(|psi| psi * psi).sum::<f64>() + self.jacobian(x).trace();
        rows.chunks(self.c.len()).map(each).sum::<f64>() / (rows.len() / self.c.len()) as f64
    }

    /// The derivative of a function of the machine by each of its parameters, tensor by tensor.
    fn slopes(&self, of: impl Fn(&Machine) -> f64) -> Vec<Vec<f64>> {
        let params = [self.w.clone(), self.b.clone(), self.c.clone()];
        super::forward::differences(&params, 1e-5, |params| {
            of(&Machine { w: params[0].clone(), b: params[1].clone(), c: params[2].clone(), sigma: self.sigma })
        })
    }

    /// Denoising score matching: the mean over pairs of ||−dE/dx at x~ − (x − x~)/σ²||² (Vincent, 2011, without his ½).
    fn matching(&self, clean: &[f64], corrupted: &[f64]) -> f64 {
        let features = self.c.len();
        let pairs = clean.chunks(features).zip(corrupted.chunks(features));
        let each = |(x, noisy): (&[f64], &[f64])| -> f64 {
            let wanted = x.iter().zip(noisy).map(|(x, n)| (x - n) / (self.sigma * self.sigma));
            self.formula(noisy).into_iter().zip(wanted).map(|(s, w)| (s - w).powi(2)).sum()
        };
        pairs.map(each).sum::<f64>() / (clean.len() / features) as f64
    }
}

/// Row 22.
pub fn energy(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (features, units, sigma, rows) = (5, 3, 0.7, 64);
    let spec = tied_sigmoid(features, units).gaussian_corruption(sigma);
    let draw = |rows, columns, stream| wide(&narrow(&values(&normal(rows, columns, seed, stream))));
    let machine = Machine { w: draw(features, units, 0), b: draw(1, units, 1), c: draw(1, features, 2), sigma };
    let tensors = |m: &Machine| {
        [("encoder.0.weight", m.w.clone()), ("encoder.0.bias", m.b.clone()), ("decoder.0.bias", m.c.clone())]
    };
    let session = denoising::session(gpu, &spec, &tensors(&machine))?;
    let clean = draw(rows, features, 3);

    let r = wide(&session.reconstruct(&narrow(&clean))?);
    let displacement: Vec<f64> = r.iter().zip(&clean).map(|(r, x)| r - x).collect();
    let scores: Vec<f64> = clean.chunks(features).flat_map(|x| machine.score(x)).collect();
    let expected: Vec<f64> = scores.iter().map(|s| sigma * sigma * s).collect();
    let mut checks =
        vec![Check::all_equal("r - x = -sigma² dE/dx, by differences of E", &expected, &displacement, 5e-6)];
    let formula: Vec<f64> = clean.chunks(features).flat_map(|x| machine.formula(x)).collect();
    checks.push(Check::all_equal("the formula of dE/dx in f64, by differences of E", &scores, &formula, 1e-8));

    // The draws of the first training step are those of a request of as many rows with the same seed.
    let corrupted = wide(&session.corrupt(&narrow(&clean), seed)?);
    let params = parameters(&spec, &tensors(&machine))?;
    let feed = Feed { data: narrow(&clean), params, seed, ..Feed::default() };
    let step = device::step(gpu, &spec, &feed)?;
    let matching = machine.matching(&clean, &corrupted);
    let measured = step.objective() / sigma.powi(4);
    checks.push(Check::equal("denoising loss / sigma^4 over score matching's", 1.0, measured / matching, 1e-6));

    // So are their gradients, by every parameter.
    let slopes = machine.slopes(|machine| machine.matching(&clean, &corrupted));
    for ((name, expected), gradient) in ["W", "b", "c"].into_iter().zip(slopes).zip(&step.gradients) {
        let gradient: Vec<f64> = gradient.iter().map(|g| f64::from(*g) / sigma.powi(4)).collect();
        let identity = format!("its gradient by {name}, by differences of score matching");
        checks.push(Check::all_equal(identity, &expected, &gradient, 5e-6 * largest(&expected)));
    }
    checks.extend(traces(gpu, seed, &machine, &clean)?);
    Ok(checks)
}

/// Score matching itself: a reconstruction error and the trace of the reconstruction's Jacobian.
fn traces(gpu: &Gpu, seed: u64, machine: &Machine, rows: &[f64]) -> Outcome<Vec<Check>> {
    let (features, units, sigma) = (machine.c.len(), machine.b.len(), machine.sigma);
    let n = features as f64;
    let mut exact = Vec::new();
    let mut found = Vec::new();
    for x in rows.chunks(features).take(8) {
        let column = |at: usize, shift: f64| {
            let mut x = x.to_vec();
            x[at] += shift;
            machine.formula(&x)
        };
        for at in 0..features {
            exact.extend(column(at, 1e-5).iter().zip(column(at, -1e-5)).map(|(up, down)| (up - down) / 2e-5));
        }
        found.extend(machine.jacobian(x).iter().copied());
    }
    let mut checks = vec![Check::all_equal("the formula of dpsi/dx in f64, by differences", &exact, &found, 1e-8)];

    let objective = machine.score_matching(rows);
    let slopes = machine.slopes(|machine| machine.score_matching(rows));
    let feed = Feed {
        data: narrow(rows),
        params: [&machine.w, &machine.b, &machine.c].map(|values| narrow(values)).to_vec(),
        ..Feed::default()
    };
    // The loss, the penalty's weight, and what their sum is beside score matching's objective: a factor, and a constant.
    let square = sigma * sigma;
    let constant = n * (sigma.ln() + 0.5 * TAU.ln());
    let likelihood = Loss::Gaussian { sigma, learned: false };
    for (name, loss, weight, factor, constant) in [
        ("squared error", Loss::SquaredError, 2.0 * square, 2.0 * square * square, 2.0 * n * square),
        ("mse", Loss::Mse, 2.0 * square / n, 2.0 * square * square / n, 2.0 * square),
        ("normal likelihood", likelihood, 1.0, square, n + constant),
    ] {
        let spec = tied_sigmoid(features, units).loss(loss).penalty(Penalty::Trace { weight });
        let step = device::step(gpu, &spec, &feed)?;
        let measured = (step.objective() - constant) / factor;
        let identity = format!("{name} and trace: ||psi||²/2 + tr dpsi/dx");
        checks.push(Check::equal(identity, objective, measured, 5e-6 * objective.abs().max(n / square)));
        for ((tensor, expected), gradient) in ["W", "b", "c"].into_iter().zip(&slopes).zip(&step.gradients) {
            let gradient: Vec<f64> = gradient.iter().map(|g| f64::from(*g) / factor).collect();
            let identity = format!("{name} and trace: the gradient by {tensor}");
            checks.push(Check::all_equal(identity, expected, &gradient, 5e-6 * largest(expected)));
        }
    }

    // Untied, with another activation: the full Jacobian by differences.
    let untied = Spec { tied: false, ..tied_sigmoid(features, units) }.code_activation(Activation::Tanh);
    let (_, params) = random_session(gpu, &untied, 0.8, seed, 70)?;
    let forward = Forward::new(&untied)?;
    let count = (rows.len() / features) as f64;
    let expected = rows.chunks(features).map(|x| differences(&forward, &params, x).trace()).sum::<f64>() / count;
    let feed = Feed { params: params.iter().map(|p| narrow(p)).collect(), ..feed };
    let step = device::step(gpu, &untied.penalty(Penalty::Trace { weight: 1.0 }), &feed)?;
    checks.push(Check::equal("untied: the trace of J_r, by differences", expected, step.terms[1].1, 5e-6));
    Ok(checks)
}

/// Random values for the tensors of a spec, by name.
fn random_tensors(spec: &Spec, scale: f64, seed: u64, stream: u32) -> Outcome<Vec<(String, Vec<f64>)>> {
    let network = Network::new(spec)?;
    let draw = |(i, t): (usize, &strait::graph::Tensor)| {
        let drawn = normal(1, t.shape.elements(1), seed, stream + i as u32) * scale;
        (t.name.clone(), wide(&narrow(&values(&drawn))))
    };
    Ok(network.params().iter().enumerate().map(draw).collect())
}

/// A session with such values, and the values.
fn random_session(gpu: &Gpu, spec: &Spec, scale: f64, seed: u64, stream: u32) -> Outcome<(Session, Vec<Vec<f64>>)> {
    let tensors = random_tensors(spec, scale, seed, stream)?;
    let named: Vec<(&str, Vec<f64>)> = tensors.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    Ok((denoising::session(gpu, spec, &named)?, tensors.into_iter().map(|(_, v)| v).collect()))
}

/// The integral of (r(x) − x) dx along points, by the trapezoidal rule: on a closed smooth curve its error falls
/// faster than any power of the number of points.
fn along(session: &mut Session, curve: &DMatrix<f64>, velocity: &DMatrix<f64>) -> Outcome<f64> {
    let at = narrow(&values(curve));
    let r = matrix(&session.reconstruct(&at)?, curve.ncols());
    let displacement = r - matrix(&at, curve.ncols());
    Ok(displacement.component_mul(velocity).sum() / curve.nrows() as f64)
}

/// Row 23.
pub fn gradient_field(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (features, units, points) = (4, 6, 128);
    let tied = tied_sigmoid(features, units);
    let untied = Spec { tied: false, ..tied.clone() };
    let mut deep = Spec::symmetric(&[features, units, 3], Activation::Tanh).tied();
    deep.decoder[0].activation = Activation::Tanh;

    // A circle of radius 1.5 in a random plane, away from the origin; velocities by the angle over a whole turn.
    let plane = orthonormal(features, 2, seed, 0);
    let angle = |p: usize| TAU * p as f64 / points as f64;
    let around = |p: usize, shift: f64| [1.5 * (angle(p) + shift).cos(), 1.5 * (angle(p) + shift).sin()];
    let place = |p: usize, c: usize, shift: f64| (0..2).map(|k| plane[(c, k)] * around(p, shift)[k]).sum::<f64>();
    let circle = DMatrix::from_fn(points, features, |p, c| 0.3 + place(p, c, 0.0));
    let velocity = DMatrix::from_fn(points, features, |p, c| TAU * place(p, c, TAU / 4.0));

    let mut checks = Vec::new();
    for (name, spec, symmetric) in
        [("tied", &tied, true), ("untied", &untied, false), ("tied, two hidden layers", &deep, false)]
    {
        let (mut session, params) = random_session(gpu, spec, 0.8, seed, 20)?;
        let forward = Forward::new(spec)?;
        let rows = values(&circle.rows(0, 8).into_owned());
        let found = session.jacobian(&narrow(&rows), Mapping::Reconstruction)?;
        let mut skew = Vec::new();
        let mut expected = Vec::new();
        for (row, found) in rows.chunks(features).zip(found.chunks(features * features)) {
            let (found, exact) = (matrix(found, features), differences(&forward, &params, row));
            skew.extend(values(&(&found - found.transpose())));
            expected.extend(values(&(&exact - exact.transpose())));
        }
        let loop_integral = along(&mut session, &circle, &velocity)?;
        let reconstruction = |p: usize| forward.reconstruction(&params, &values(&circle.rows(p, 1).into_owned()));
        let field = DMatrix::from_row_iterator(points, features, (0..points).flat_map(reconstruction)) - &circle;
        let exact = field.component_mul(&velocity).sum() / points as f64;
        if symmetric {
            let zeros = vec![0.0; skew.len()];
            checks.push(Check::all_equal(format!("{name}: J_r - J_r' = 0"), &zeros, &skew, 1e-6));
            checks.push(Check::equal(format!("{name}: integral of r - x around a circle"), 0.0, loop_integral, 5e-6));
        } else {
            checks.push(Check::at_least(format!("{name}: largest of J_r - J_r'"), 0.05, largest(&skew)));
            checks.push(Check::all_equal(format!("{name}: J_r - J_r', by differences"), &expected, &skew, 5e-6));
            checks.push(Check::at_least(format!("{name}: that integral, size"), 0.05, loop_integral.abs()));
            checks.push(Check::equal(format!("{name}: that integral, in f64"), exact, loop_integral, 1e-5));
        }
    }
    checks.push(potential(gpu, seed, &tied)?);
    Ok(checks)
}

/// The potential itself: between two points the integral is that of row 22's energy, whatever the way.
fn potential(gpu: &Gpu, seed: u64, spec: &Spec) -> Outcome<Check> {
    let features = spec.input;
    let (mut session, params) = random_session(gpu, spec, 0.8, seed, 20)?;
    let [w, b, c] = &params[..] else { return Err("a tied model of one layer has three tensors".into()) };
    let machine = Machine { w: w.clone(), b: b.clone(), c: c.clone(), sigma: 1.0 };
    // A bent way that starts and ends at rest, so that the ends cost the trapezoidal rule nothing.
    let ends = normal(3, features, seed, 50);
    let points = 2001;
    let smooth = |t: f64| (t.powi(3) * (10.0 - 15.0 * t + 6.0 * t * t), 30.0 * t * t * (1.0 - t).powi(2));
    let time = |p: usize| p as f64 / (points - 1) as f64;
    let place = |p: usize, k: usize| {
        let s = smooth(time(p)).0;
        ends[(0, k)] + s * ends[(1, k)] + s * (1.0 - s) * ends[(2, k)]
    };
    let speed = |p: usize, k: usize| {
        let (s, rate) = smooth(time(p));
        rate * (ends[(1, k)] + (1.0 - 2.0 * s) * ends[(2, k)])
    };
    let way = DMatrix::from_fn(points, features, place);
    let velocity = DMatrix::from_fn(points, features, speed) * (points as f64 / (points - 1) as f64);
    let found = along(&mut session, &way, &velocity)?;
    let energy = |p: usize| machine.energy(&values(&way.rows(p, 1).into_owned()));
    let expected = energy(0) - energy(points - 1);
    Ok(Check::equal("tied: integral between two points = fall of the energy", expected, found, 5e-6))
}

/// The Jacobian of the reconstruction in f64, by central differences.
fn differences(forward: &Forward, params: &[Vec<f64>], row: &[f64]) -> DMatrix<f64> {
    let at = |column: usize, shift: f64| {
        let mut row = row.to_vec();
        row[column] += shift;
        forward.reconstruction(params, &row)
    };
    let slopes = |column: usize| -> Vec<f64> {
        at(column, 1e-5).iter().zip(at(column, -1e-5)).map(|(up, down)| (up - down) / 2e-5).collect()
    };
    DMatrix::from_iterator(row.len(), row.len(), (0..row.len()).flat_map(slopes))
}

/// Row 24.
pub fn contractive_limit(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = linear_limit(gpu, seed)?;
    checks.extend(curved_limit(gpu, seed)?);
    Ok(checks)
}

/// Linear autoencoders: denoising is a contractive penalty on the reconstruction, exactly.
fn linear_limit(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (features, rows, sigma) = (4, 256, 0.6);
    let x = super::linear::rounded(&with_spectrum(rows, &[1.5, 1.0, 0.5, 0.25], seed, 0));
    let spec = linear_spec(features);
    let tensors = random_tensors(&spec, 0.6, seed, 10)?;
    let (w1, b1, w2, b2) = (&tensors[0].1, &tensors[1].1, &tensors[2].1, &tensors[3].1);
    let [w1, w2, b1] = [w1, w2, b1].map(|v| matrix(v, features));
    let (map, shift) = (&w1 * &w2, &b1 * &w2 + matrix(b2, features));
    let r = &x * &map + DMatrix::from_fn(rows, features, |_, c| shift[c]);
    let expected = (&r - &x).norm_squared() / rows as f64 + sigma * sigma * map.norm_squared();

    let params: Vec<Vec<f32>> = tensors.iter().map(|(_, v)| narrow(v)).collect();
    let feed = Feed { data: narrow(&values(&x)), params, seed, ..Feed::default() };
    let (gradients, objective) = over_draws(gpu, &spec.clone().gaussian_corruption(sigma), &feed, 300)?;
    let penalty = Penalty::Contractive { weight: sigma * sigma, of: Mapping::Reconstruction, method: Method::Exact };
    let contractive = device::step(gpu, &spec.penalty(penalty), &feed)?;
    Ok(vec![
        objective.check("linear: E||r(x + eps) - x||² = ||r - x||² + sigma² ||W||²", expected),
        Check::equal(
            "linear: the contractive loss on r, lambda = sigma², over it",
            1.0,
            contractive.objective() / expected,
            5e-6,
        ),
        gradients.check_all("linear: gradients of both are the same", &wide(&contractive.gradients.concat())),
    ])
}

/// Nodes and weights of Gauss-Hermite quadrature for a standard normal variable, by the eigenvalues of the Jacobi
/// matrix (Golub and Welsch, 1969).
fn hermite(count: usize) -> (Vec<f64>, Vec<f64>) {
    let off = |r: usize, c: usize| if r.abs_diff(c) == 1 { (r.max(c) as f64).sqrt() } else { 0.0 };
    let (nodes, vectors) = super::linear::eigen(&DMatrix::from_fn(count, count, off));
    let weights = (0..count).map(|i| vectors[(0, i)].powi(2)).collect();
    (nodes, weights)
}

/// Autoencoders that are not linear: to the second order in σ, with a term for the curvature of r.
fn curved_limit(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let features = 2;
    let mut spec = Spec::symmetric(&[features, 4], Activation::Identity).loss(Loss::SquaredError);
    spec = spec.code_activation(Activation::Tanh);
    let (session, params) = random_session(gpu, &spec, 0.7, seed, 30)?;
    let forward = Forward::new(&spec)?;
    let rows = wide(&narrow(&values(&normal(16, features, seed, 40))));
    let count = rows.len() / features;

    // The right side of each row, from the GPU's Jacobian; the Laplacian by differences in f64.
    let each = |i: usize| &rows[i * features..(i + 1) * features];
    let squares = |r: &[f32]| -> Vec<f64> {
        let error = |i: usize| each(i).iter().zip(&r[i * features..]).map(|(x, r)| (f64::from(*r) - x).powi(2)).sum();
        (0..count).map(error).collect()
    };
    let first = squares(&session.reconstruct(&narrow(&rows))?);
    let jacobian = session.jacobian(&narrow(&rows), Mapping::Reconstruction)?;
    let norm = |j: &[f32]| j.iter().map(|j| f64::from(*j).powi(2)).sum::<f64>();
    let contraction: Vec<f64> = jacobian.chunks(features * features).map(norm).collect();
    let exact: Vec<f64> = (0..count).map(|i| differences(&forward, &params, each(i)).norm_squared()).collect();
    let curvature: Vec<f64> = (0..count).map(|i| curvature(&forward, &params, each(i))).collect();

    // The left side: the GPU's reconstructions at the nodes of a quadrature over the noise.
    let (nodes, weights) = hermite(12);
    let expectation = |sigma: f64| -> Outcome<Vec<f64>> {
        let mut total = vec![0.0; count];
        for (i, j) in (0..144).map(|n| (n / 12, n % 12)) {
            let shift = [sigma * nodes[i], sigma * nodes[j]];
            let at: Vec<f32> = rows.iter().enumerate().map(|(e, x)| (x + shift[e % 2]) as f32).collect();
            let weight = weights[i] * weights[j];
            total.iter_mut().zip(squares(&session.reconstruct(&at)?)).for_each(|(t, s)| *t += weight * s);
        }
        Ok(total)
    };
    // Sums of magnitudes over rows: those of opposite sign do not hide each other.
    let mut remainders = Vec::new();
    for sigma in [0.1f64, 0.05] {
        let left = expectation(sigma)?;
        let (mut with, mut without) = (0.0, 0.0);
        for i in 0..count {
            let remainder = left[i] - first[i] - sigma * sigma * contraction[i];
            without += remainder.abs();
            with += (remainder - sigma * sigma * curvature[i]).abs();
        }
        remainders.push([with, without]);
    }
    let order = |i: usize| (remainders[0][i] / remainders[1][i]).log2();
    let mut checks = vec![
        Check::all_equal("not linear: ||J_r||² by differences in f64", &exact, &contraction, 5e-6 * largest(&exact)),
        Check::equal("not linear: the remainder's order in sigma", 4.0, order(0), 0.2),
        Check::equal("not linear: its order without the Laplacian's term", 2.0, order(1), 0.2),
    ];

    // What training sees, at one σ: the quadrature's value over the GPU's own draws.
    let sigma = 0.1;
    let feed = Feed {
        data: narrow(&rows.repeat(64)),
        params: params.iter().map(|p| narrow(p)).collect(),
        seed,
        ..Feed::default()
    };
    let noisy = spec.gaussian_corruption(sigma);
    let (_, objective) = over_draws(gpu, &noisy, &feed, 200)?;
    let second = (0..count).map(|i| first[i] + sigma * sigma * (contraction[i] + curvature[i])).sum::<f64>();
    let (mean, error) = objective.results()[0];
    // The remainder of higher order, as found above, is left for it.
    let allowed = denoising::ERRORS * error + remainders[0][0] / count as f64;
    checks.push(Check::equal(
        "not linear, trained with noise: the loss to second order",
        second / count as f64,
        mean,
        allowed,
    ));
    Ok(checks)
}

/// (r − x)' Δr at one point.
fn curvature(forward: &Forward, params: &[Vec<f64>], x: &[f64]) -> f64 {
    let h = 1e-3;
    let at = |column: usize, shift: f64| {
        let mut x = x.to_vec();
        x[column] += shift;
        forward.reconstruction(params, &x)
    };
    let here = forward.reconstruction(params, x);
    let laplacian =
        |i: usize| -> f64 { (0..x.len()).map(|c| (at(c, h)[i] - 2.0 * here[i] + at(c, -h)[i]) / (h * h)).sum() };
    (0..x.len()).map(|i| (here[i] - x[i]) * laplacian(i)).sum()
}
