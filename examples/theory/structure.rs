//! Rows 1 to 6: what the model is made of.

use strait::graph::Tensor;
use strait::model::Network;
use strait::{Activation, Gpu, Init, Layer, Loss, Session, Spec, Training};

use super::Row;
use super::check::Check;
use super::device::{self, Feed};
use super::forward::{Forward, relative};
use super::linear::{largest, matrix, narrow, normal, rounded, uniform, values, wide};
use super::outcome::Outcome;

/// In the order of the list.
pub const ROWS: &[Row] = &[
    Row { number: 1, name: "general autoencoder", quick: true, run: general },
    Row { number: 4, name: "stacked, 784-300-150-300-784", quick: true, run: stacked },
    Row { number: 5, name: "tied weights", quick: true, run: tied },
];

/// Values for the tensors of a spec, rounded to f32: weights of standard deviation `scale`, biases of half of that.
fn random_params(spec: &Spec, scale: f64, seed: u64, stream: u32) -> Outcome<Vec<Vec<f64>>> {
    let draw = |(i, tensor): (usize, &Tensor)| {
        let scale = if tensor.name.ends_with("bias") { 0.5 * scale } else { scale };
        let drawn = normal(1, tensor.shape.elements(1), seed, stream + i as u32) * scale;
        wide(&narrow(&values(&drawn)))
    };
    Ok(Network::new(spec)?.params().iter().enumerate().map(draw).collect())
}

/// A step for central differences in f64: truncation and rounding are both below 1e-9 then.
const STEP: f64 = 1e-5;

/// Numbers at which no kink is near, so that differences are derivatives, and no layer is dead.
struct Case {
    params: Vec<Vec<f64>>,
    data: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

impl Case {
    /// The first such numbers for a spec.
    fn new(spec: &Spec, rows: usize, seed: u64) -> Outcome<Case> {
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

    fn feed(&self) -> Feed {
        Feed { data: narrow(&self.data), params: self.params.iter().map(|p| narrow(p)).collect(), ..Feed::default() }
    }
}

/// Two layers and two, no two of the same width; `activation` everywhere, but not where logits are due.
fn two_and_two(activation: Activation, loss: Loss) -> Spec {
    let layer = |units, activation| Layer { units, activation, init: Init::He };
    let last = if loss == Loss::Bernoulli { Activation::Identity } else { activation };
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

fn stacked(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let layer = |units, activation| Layer { units, activation, init: Init::He };
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
    let before = session.evaluate(&data)?;
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
        session.evaluate(&data)?,
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
