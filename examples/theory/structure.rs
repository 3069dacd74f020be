//! Rows 1 to 6: what the model is made of.

use nalgebra::DMatrix;
use strait::analysis::Pca;
use strait::graph::{Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::model::Purpose;
use strait::{Activation, Decay, Gpu, Init, Layer, Loss, Schedule, Session, Spec, Training, data};

use super::Row;
use super::check::Check;
use super::device::{self, Feed, parameter, solve};
use super::forward::{Forward, relative};
use super::linear::{
    covariance, diagonal, eigen, largest, largest_angle, matrix, means, narrow, normal, rounded, singular_values,
    uniform, values, wide, with_spectrum,
};
use super::outcome::Outcome;

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 1, name: "general autoencoder", run: general, slow: None },
    Row {
        number: 2,
        name: "undercomplete and linear: principal components",
        run: undercomplete,
        slow: Some(undercomplete_digits),
    },
    Row { number: 3, name: "overcomplete and linear: the identity", run: overcomplete, slow: None },
    Row { number: 4, name: "stacked, 784-300-150-300-784", run: stacked, slow: None },
    Row { number: 5, name: "tied weights", run: tied, slow: None },
    Row { number: 6, name: "weight decay as a MAP estimate", run: weight_decay, slow: None },
];

/// Values for the tensors of a spec, rounded to f32: weights of standard deviation `scale`, biases of half of that.
pub fn random_params(spec: &Spec, scale: f64, seed: u64, stream: u32) -> Outcome<Vec<Vec<f64>>> {
    let draw = |(i, tensor): (usize, &Tensor)| {
        let scale = if tensor.name.ends_with("bias") { 0.5 * scale } else { scale };
        let drawn = normal(1, tensor.shape.elements(1), seed, stream + i as u32) * scale;
        wide(&narrow(&values(&drawn)))
    };
    Ok(Network::new(spec)?.params().iter().enumerate().map(draw).collect())
}

/// A step for central differences in f64: truncation and rounding are both below 1e-9 then.
pub const STEP: f64 = 1e-5;

/// Numbers at which no kink is near, so that differences are derivatives, and no layer is dead.
pub struct Case {
    /// By tensor.
    pub params: Vec<Vec<f64>>,
    /// Row by row.
    pub data: Vec<f64>,
    /// Of the objective, by differences.
    pub gradients: Vec<Vec<f64>>,
}

impl Case {
    /// The first such numbers for a spec.
    pub fn new(spec: &Spec, rows: usize, seed: u64) -> Outcome<Case> {
        let forward = Forward::new(spec)?;
        for stream in (0..).step_by(100).take(100) {
            let params = random_params(spec, 0.7, seed, stream)?;
            let data = wide(&narrow(&values(&uniform(rows, spec.input, (0.0, 1.0), seed, stream + 50))));
            if forward.margin(&params, &data) < 1e-3 {
                continue;
            }
            let gradients = forward.gradients(&params, &data, STEP);
            if gradients.iter().all(|g| largest(g) > 1e-3) {
                return Ok(Case { params, data, gradients });
            }
        }
        Err("a hundred draws all come near a kink".into())
    }

    /// The same as the GPU takes it.
    pub fn feed(&self) -> Feed {
        Feed { data: narrow(&self.data), params: self.params.iter().map(|p| narrow(p)).collect(), ..Feed::default() }
    }
}

/// Two layers and two, no two of the same width; `activation` everywhere, but not where logits are due.
pub fn two_and_two(activation: Activation, loss: Loss) -> Spec {
    let layer = |units, activation| Layer { activation, ..Layer::new(units) };
    let last = if loss.takes_logits() { Activation::Identity } else { activation };
    Spec {
        encoder: vec![layer(5, activation), layer(3, activation)],
        decoder: vec![layer(4, activation), layer(6, last)],
        ..Spec::symmetric(&[6, 3], Activation::Identity).loss(loss)
    }
}

fn general(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (mut costs, mut found_costs) = (Vec::new(), Vec::new());
    for activation in Activation::ALL {
        let (mut expected, mut measured) = (Vec::new(), Vec::new());
        for loss in Loss::ALL {
            let spec = two_and_two(activation, loss);
            let case = Case::new(&spec, 4, seed)?;
            let step = device::step(gpu, &spec, &case.feed())?;
            expected.extend(relative(&case.gradients, &case.gradients));
            measured.extend(relative(&step.gradients, &case.gradients));
            costs.push(1.0);
            found_costs.push(step.objective() / Forward::new(&spec)?.objective(&case.params, &case.data));
        }
        let identity = format!("{}: every gradient, under every loss, over its largest", activation.name());
        checks.push(Check::all_equal(identity, &expected, &measured, 5e-6));
    }
    checks.push(Check::all_equal("objectives of all of these, over those in f64", &costs, &found_costs, 1e-6));

    // Both halves apart.
    let spec = two_and_two(Activation::Elu, Loss::Bernoulli);
    let (case, forward) = (Case::new(&spec, 4, seed)?, Forward::new(&spec)?);
    let mut session = Session::new(gpu, &spec, Training::default())?;
    let feed = case.feed();
    session.set_parameters(&feed.params)?;
    let all = |f: &dyn Fn(&[f64]) -> Vec<f64>| case.data.chunks(spec.input).flat_map(f).collect::<Vec<f64>>();
    let codes = session.encode(&feed.data)?;
    let expected = all(&|row| forward.code(&case.params, row));
    checks.push(Check::all_equal("the encoder alone: f(x) in f64", &expected, &codes, 1e-6));
    let expected = all(&|row| forward.reconstruction(&case.params, row));
    checks.push(Check::all_equal(
        "the decoder alone on these codes: g(f(x)) in f64",
        &expected,
        &session.decode(&codes)?,
        1e-6,
    ));
    checks.push(Check::all_equal("both: g(f(x)) in f64", &expected, &session.reconstruct(&feed.data)?, 1e-6));
    Ok(checks)
}

/// The mean squared error of reconstructions.
fn mse(reconstructed: &DMatrix<f64>, x: &DMatrix<f64>) -> f64 {
    (reconstructed - x).norm_squared() / x.len() as f64
}

/// The error of `test` after projection on the `count` leading components of `train`, in f64.
fn pca_mse(train: &DMatrix<f64>, test: &DMatrix<f64>, count: usize) -> f64 {
    let (_, axes) = eigen(&covariance(train));
    let (axes, mean) = (axes.columns(0, count).into_owned(), means(train).transpose());
    let off = DMatrix::from_fn(test.nrows(), test.ncols(), |r, c| test[(r, c)] - mean[c]);
    let left = &off - &off * &axes * axes.transpose();
    left.norm_squared() / test.len() as f64
}

/// A session's reconstruction of rows.
fn reconstruct(session: &mut Session, x: &DMatrix<f64>) -> Outcome<DMatrix<f64>> {
    Ok(matrix(&session.reconstruct(&narrow(&values(x)))?, x.ncols()))
}

fn undercomplete(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();

    // Made data with a gap after the third component, away from the origin.
    let spectrum = [4.0, 3.0, 2.0, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2];
    let all = with_spectrum(600, &spectrum, seed, 0);
    let all = rounded(&DMatrix::from_fn(600, 10, |r, c| all[(r, c)] + 0.1 * c as f64));
    let (train, test) = (all.rows(0, 400).into_owned(), all.rows(400, 200).into_owned());
    let spec = Spec::symmetric(&[10, 3], Activation::Identity);
    let mut session = solve(gpu, &spec, 0.2, 4000, seed, &device::data(&train)?)?;
    let (_, axes) = eigen(&covariance(&train));
    let span = parameter(&session, "decoder.0.weight")?.transpose();
    let angle = largest_angle(&span, &axes.columns(0, 3).into_owned());
    checks.push(Check::at_most("largest angle between decoder columns and the top 3 axes", 1e-3, angle));
    let (error, best) = (mse(&reconstruct(&mut session, &test)?, &test), pca_mse(&train, &test, 3));
    checks.push(Check::equal("its test error over that of PCA", 1.0, error / best, 1e-6));

    // The digits. The list says .00337 for 30, which is .003365 rounded once more.
    let (train, test) = data::digits()?.split_at(1500)?;
    let (x, y) = (matrix(train.values(), 64), matrix(test.values(), 64));
    for (count, listed) in [(2, 0.05261), (8, 0.02532), (16, 0.01214), (30, 0.003365)] {
        let found = Pca::fit(gpu, &train, count)?.mse(&test)?;
        checks.push(Check::equal(format!("digits, {count} components: the list's test error"), listed, found, 5e-6));
        let exact = pca_mse(&x, &y, count);
        checks.push(Check::equal(format!("digits, {count} components: PCA in f64"), 1.0, found / exact, 2e-6));
    }
    Ok(checks)
}

/// The same learned on the digits, whose gap is narrower.
fn undercomplete_digits(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let (train, test) = data::digits()?.split_at(1500)?;
    let (x, y) = (matrix(train.values(), 64), matrix(test.values(), 64));
    let training = Training {
        learning_rate: 0.03,
        schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
        batch: train.rows(),
        epochs: 3000,
        shuffle: false,
        seed,
        ..Training::default()
    };
    let mut session = Session::new(gpu, &Spec::symmetric(&[64, 2], Activation::Identity).init(Init::Glorot), training)?;
    session.fit(&train)?;
    let found = mse(&reconstruct(&mut session, &y)?, &y);
    let (_, axes) = eigen(&covariance(&x));
    let span = parameter(&session, "decoder.0.weight")?.transpose();
    let angle = largest_angle(&span, &axes.columns(0, 2).into_owned());
    Ok(vec![
        Check::equal("digits, a code of 2 learned: the list's test error", 0.05261, found, 5e-6),
        Check::at_most("digits, a code of 2 learned: largest angle", 1e-3, angle),
    ])
}

fn overcomplete(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let spectrum = [2.0, 1.5, 1.0, 0.7, 0.5];
    let all = rounded(&with_spectrum(128, &spectrum, seed, 0));
    let (train, test) = (all.rows(0, 64).into_owned(), all.rows(64, 64).into_owned());
    let spec = Spec::symmetric(&[5, 8], Activation::Identity);
    let mut session = solve(gpu, &spec, 0.1, 2000, seed, &device::data(&train)?)?;
    let train_error = mse(&reconstruct(&mut session, &train)?, &train);
    let test_error = mse(&reconstruct(&mut session, &test)?, &test);
    let noise = rounded(&uniform(64, 5, (-3.0, 3.0), seed, 9));
    let noise_error = mse(&reconstruct(&mut session, &noise)?, &noise);
    let product = parameter(&session, "encoder.0.weight")? * parameter(&session, "decoder.0.weight")?;
    let identity = values(&DMatrix::identity(5, 5));
    Ok(vec![
        Check::equal("MSE on the training data", 0.0, train_error, 1e-12),
        Check::equal("gap: MSE on test data, less that", 0.0, test_error - train_error, 1e-12),
        Check::equal("the failure: MSE on noise unlike the data", 0.0, noise_error, 1e-12),
        Check::all_equal("W2 W1 = I", &identity, &values(&product), 2e-6),
    ])
}

fn stacked(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let layer = |units, activation| Layer { activation, ..Layer::new(units) };
    let (elu, plain) = (Activation::Elu, Activation::Identity);
    let spec = Spec {
        encoder: vec![layer(300, elu), layer(150, elu)],
        decoder: vec![layer(300, elu), layer(784, plain)],
        ..Spec::symmetric(&[784, 150], plain).weight_decay(0.001)
    };
    let training = Training { learning_rate: 0.01, batch: 150, epochs: 2, seed, ..Training::default() };
    let mut session = Session::new(gpu, &spec, training)?;

    let params = session.parameters()?;
    let mut biases = Vec::new();
    for (tensor, start) in session.tensors().iter().zip(&params) {
        if tensor.name.ends_with("bias") {
            biases.extend(wide(start));
            continue;
        }
        let (count, expected) = (start.len() as f64, 2.0 / tensor.shape.blocks() as f64);
        let variance = start.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / count;
        // Four standard errors of the variance of so many normal draws.
        let tolerance = 4.0 * expected * (2.0 / count).sqrt();
        let identity = format!("{}: starts with variance 2 / fan_in", tensor.name);
        checks.push(Check::equal(identity, expected, variance, tolerance));
    }
    checks.push(Check::equal("biases start at 0", 0.0, largest(&biases), 0.0));

    // Images of ten hidden numbers each.
    let hidden = normal(750, 10, seed, 1) * normal(10, 784, seed, 2);
    let images = rounded(&hidden.map(|v| 1.0 / (1.0 + (-v).exp())));
    let batch = values(&images.rows(0, 8).into_owned());
    let forward = Forward::new(&spec)?;
    let feed = Feed { data: narrow(&batch), params: params.clone(), ..Feed::default() };
    let step = device::step(gpu, &spec, &feed)?;
    let exact: Vec<Vec<f64>> = params.iter().map(|p| wide(p)).collect();
    let cost = forward.objective(&exact, &batch);
    checks.push(Check::equal("objective of a batch, over that in f64", 1.0, step.objective() / cost, 1e-6));
    for (t, tensor) in session.tensors().iter().enumerate() {
        let pick = uniform(1, 4, (0.0, exact[t].len() as f64), seed, 30 + t as u32);
        let places: Vec<usize> = pick.iter().map(|&v| v as usize).collect();
        let expected: Vec<f64> = places.iter().map(|&e| forward.slope(&exact, &batch, t, e, 1e-4)).collect();
        let found: Vec<f64> = places.iter().map(|&e| step.gradients[t][e].into()).collect();
        let scale = largest(&wide(&step.gradients[t]));
        let over = |v: &[f64]| v.iter().map(|v| v / scale).collect::<Vec<f64>>();
        let identity = format!("{}: gradient at 4 places, over its largest", tensor.name);
        checks.push(Check::all_equal(identity, &over(&expected), &over(&found), 5e-6));
    }

    let data = device::data(&images)?;
    let before = session.evaluate(&data)?.loss;
    checks.push(Check::equal(
        "objective of all images at the start, over that in f64",
        1.0,
        before / forward.objective(&exact, &values(&images)),
        1e-6,
    ));
    let fit = session.fit(&data)?;
    checks.push(Check::at_most(
        format!("objective after {} steps of Adam, below that", fit.steps),
        before,
        session.evaluate(&data)?.loss,
    ));
    Ok(checks)
}

fn tied(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let twin = Spec::symmetric(&[6, 5, 3], Activation::Tanh).loss(Loss::SquaredError);
    let spec = twin.clone().tied();
    let case = Case::new(&spec, 4, seed)?;
    let step = device::step(gpu, &spec, &case.feed())?;
    let found = relative(&step.gradients, &case.gradients);
    let expected = relative(&case.gradients, &case.gradients);
    checks.push(Check::all_equal("every gradient, by differences, over its largest", &expected, &found, 5e-6));

    // An untied twin with equal weights gives the parts.
    let [w0, b0, w1, b1, c0, c1] = &case.params[..] else { return Err("a tied model has six tensors".into()) };
    let across = |w: &Vec<f64>, columns: usize| values(&matrix(w, columns).transpose());
    let params: Vec<Vec<f64>> =
        [w0.clone(), b0.clone(), w1.clone(), b1.clone(), across(w1, 3), c0.clone(), across(w0, 5), c1.clone()].into();
    let feed = Feed { params: params.iter().map(|p| narrow(p)).collect(), ..case.feed() };
    let parts = Forward::new(&twin)?.gradients(&params, &case.data, STEP);
    let twin_step = device::step(gpu, &twin, &feed)?;
    for (layer, mirror, columns, name) in [(0, 6, 6, "encoder.0"), (2, 4, 5, "encoder.1")] {
        // The gradient of a decoder's weights, seen as the encoder's.
        let sum = |encoder: &[f64], decoder: &[f64]| -> Vec<f64> {
            let decoder = values(&matrix(decoder, columns).transpose());
            encoder.iter().zip(decoder).map(|(e, d)| e + d).collect()
        };
        let expected = sum(&parts[layer], &parts[mirror]);
        let identity = format!("{name}: dW = encoder part + decoder part', by differences");
        checks.push(Check::all_equal(identity, &expected, &step.gradients[layer], 5e-6 * largest(&expected)));
        let expected = sum(&wide(&twin_step.gradients[layer]), &wide(&twin_step.gradients[mirror]));
        let identity = format!("{name}: the same from an untied twin on the GPU");
        checks.push(Check::all_equal(identity, &expected, &step.gradients[layer], 2e-6 * largest(&expected)));
    }

    // ½ λ ||W||² adds λ W to each weight once, and nothing to a bias.
    let lambda = 0.5;
    let decayed = device::step(gpu, &spec.clone().weight_decay(lambda), &case.feed())?;
    let (mut expected, mut added) = (Vec::new(), Vec::new());
    for (t, tensor) in Network::new(&spec)?.params().iter().enumerate() {
        let lambda = if tensor.name.ends_with("weight") { lambda } else { 0.0 };
        expected.extend(case.params[t].iter().map(|w| lambda * w));
        added.extend(decayed.gradients[t].iter().zip(&step.gradients[t]).map(|(d, g)| f64::from(*d) - f64::from(*g)));
    }
    checks.push(Check::all_equal("weight decay adds lambda W once, nothing to biases", &expected, &added, 2e-6));

    let count = |spec: &Spec| -> Outcome<f64> {
        let session = Session::new(gpu, spec, Training::default())?;
        Ok(session.parameters()?.iter().map(Vec::len).sum::<usize>() as f64)
    };
    let own = 6 * 5 + 5 + 5 * 3 + 3 + 5 + 6;
    checks.push(Check::equal("numbers to learn, 6-5-3-5-6 tied", f64::from(own), count(&spec)?, 0.0));
    checks.push(Check::equal("numbers to learn, untied", f64::from(own + 5 * 3 + 6 * 5), count(&twin)?, 0.0));
    Ok(checks)
}

fn weight_decay(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();

    // A fixed code h = tanh(x W1 + b1), and x = h W + noise: the MAP estimate of W is ridge regression.
    let (count, features, units) = (60, 6, 4);
    let (sigma, sigma_w) = (0.5, 0.8);
    let lambda = sigma * sigma / (sigma_w * sigma_w);
    let layer = |units, activation| Layer { activation, ..Layer::new(units) };
    let spec = Spec {
        encoder: vec![layer(units, Activation::Tanh)],
        // The list's lambda is for the sum over rows and ||W||²; the spec's for the mean over rows and ½ ||W||².
        ..Spec::symmetric(&[features, units], Activation::Identity)
            .loss(Loss::SquaredError)
            .weight_decay(2.0 * lambda / count as f64)
    };
    let mut params = random_params(&spec, 1.0, seed, 0)?;
    params[3].fill(0.0);
    let x = rounded(&normal(count, features, seed, 10));
    let forward = Forward::new(&spec)?;
    let rows = values(&x);
    let codes: Vec<f64> = rows.chunks(features).flat_map(|row| forward.code(&params, row)).collect();
    let h = matrix(&codes, units);
    let ridge = (h.transpose() * &h + DMatrix::identity(units, units) * lambda).lu().solve(&(h.transpose() * &x));
    let ridge = ridge.ok_or("a singular ridge")?;
    // The mean of W given x, conditioning the joint normal distribution of both.
    let joint = &h * h.transpose() * (sigma_w * sigma_w) + DMatrix::identity(count, count) * (sigma * sigma);
    let posterior = h.transpose() * joint.lu().solve(&x).ok_or("a singular joint covariance")? * (sigma_w * sigma_w);

    let network = Network::new(&spec)?;
    let evaluator = Evaluator::new(gpu, &network.graph(Purpose::Train, false)?, count)?;
    let steepest = 2.0 * largest(&singular_values(&h)).powi(2) / count as f64 + spec.weight_decay;
    let mut feed = Feed { data: narrow(&rows), params: params.iter().map(|p| narrow(p)).collect(), ..Feed::default() };
    for _ in 0..400 {
        device::again(&evaluator, count, &feed)?;
        let gradient = wide(&evaluator.sink(Sink::Gradient(2), count)?);
        params[2].iter_mut().zip(&gradient).for_each(|(w, g)| *w -= g / steepest);
        feed.params[2] = narrow(&params[2]);
    }
    checks.push(Check::all_equal("fixed code: W = (H'H + lambda I)^-1 H'X", &values(&ridge), &params[2], 2e-6));
    checks.push(Check::all_equal(
        "fixed code: W = E[W | X], the posterior mean",
        &values(&posterior),
        &params[2],
        2e-6,
    ));

    // Both halves free and linear, on centred data: E||x - W2 W1 x||² + lambda (||W1||² + ||W2||²).
    let (spectrum, lambda) = ([3.0, 1.5, 0.8, 0.3, 0.1], 0.5);
    let x = rounded(&with_spectrum(64, &spectrum, seed, 20));
    let (eigenvalues, axes) = eigen(&covariance(&x));
    let spec = Spec::symmetric(&[5, 4], Activation::Identity).loss(Loss::SquaredError).weight_decay(2.0 * lambda);
    let data = device::data(&x)?;
    let mut session = solve(gpu, &spec, 0.02, 3000, seed, &data)?;
    let squares: Vec<f64> = eigenvalues.iter().map(|e| (1.0 - lambda / e).max(0.0)).collect();
    let expected: Vec<f64> = squares[..4].iter().map(|s| s.sqrt()).collect();
    let (w1, w2) = (parameter(&session, "encoder.0.weight")?, parameter(&session, "decoder.0.weight")?);
    let identity = "singular values sqrt(max(0, 1 - lambda / lambda_i))";
    checks.push(Check::all_equal(format!("W1: {identity}"), &expected, &singular_values(&w1), 2e-6));
    checks.push(Check::all_equal(format!("W2: {identity}"), &expected, &singular_values(&w2), 2e-6));
    checks.push(Check::all_equal("W1 = W2'", &values(&w2.transpose()), &values(&w1), 2e-6));
    let product = &axes * diagonal(&squares) * axes.transpose();
    checks.push(Check::all_equal("W2 W1 along the principal axes", &values(&product), &values(&(&w1 * &w2)), 2e-6));
    let each = |e: &f64| if *e > lambda { 2.0 * lambda - lambda * lambda / e } else { *e };
    let least: f64 = eigenvalues.iter().map(each).sum();
    checks.push(Check::equal(
        "the objective there, sum of 2 lambda - lambda²/lambda_i",
        least,
        session.evaluate(&data)?.loss,
        3e-6,
    ));
    Ok(checks)
}
