//! Models: what a spec may say and how it is refused, and what its parts do to training, measured against answers that
//! are known beforehand (rows 3 to 6, 20 and 21 of the list of systems).

use crate::common::{gpu, values};
use nalgebra::DMatrix;
use strait::Draw;
use strait::graph::Sink;
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{
    Activation, Corruption, Data, Decay, EarlyStopping, Error, Init, Layer, Loss, Optimizer, Scaling, Schedule,
    Session, Spec, Training,
};

/// Asserts that a result is the refusal of a field.
fn refused<T: std::fmt::Debug>(result: strait::Result<T>, wanted: &str) {
    match result {
        Err(Error::Spec { field, value, allowed, .. }) => {
            assert_eq!(field, wanted, "{value}; allowed: {allowed}");
            assert!(!value.is_empty() && !allowed.is_empty(), "{field}");
        }
        other => panic!("{wanted}: {other:?}"),
    }
}

fn small() -> Spec {
    Spec::symmetric(&[6, 5, 2], Activation::Elu)
}

#[test]
fn a_spec_comes_back_from_toml_and_json() {
    let mut odd = Spec {
        corruption: Corruption::Masking { probability: 0.1 + 0.2, rescale: true },
        encoder: vec![Layer { activation: Activation::LeakyRelu, init: Init::Lecun, ..Layer::new(3) }],
        ..Spec::symmetric(&[7, 3], Activation::Identity).tied().weight_decay(1.0 / 3.0).scaling(Scaling::Unit)
    };
    odd.decoder[0].init = Init::Glorot;
    // Numbers of all sizes: a reader that rounds the last bit of one of them would not resume to the bit.
    let decays = (0..500).map(|i| {
        let draw = Draw { seed: 1, stream: 0, step: i };
        10f64.powf(20.0 * draw.uniform(0, 0) - 15.0) * (1.0 + draw.uniform(0, 1))
    });
    let many = decays.map(|decay| small().weight_decay(decay));
    let losses = Loss::ALL.map(|loss| small().loss(loss).gaussian_corruption(0.25));
    for spec in many.chain([small(), odd]).chain(losses) {
        assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec);
        assert_eq!(Spec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
    }
}

#[test]
fn the_training_options_come_back_from_json() {
    let optimizers = [
        Optimizer::SGD,
        Optimizer::Sgd { momentum: 0.9, nesterov: true },
        Optimizer::RmsProp { alpha: 0.95, epsilon: 1e-7 },
        Optimizer::ADAM,
        Optimizer::AdamW { beta1: 0.8, beta2: 0.99, epsilon: 1e-6, weight_decay: 0.1 },
    ];
    let linear = [None, Some(7)].map(|steps| Decay::Linear { to: 0.1, steps });
    let decays = [Decay::Step { every: 3, factor: 0.7 }, Decay::Cosine { steps: None }, linear[0], linear[1]];
    for (i, optimizer) in optimizers.into_iter().enumerate() {
        let training = Training {
            optimizer,
            learning_rate: 1e-3 / 3.0,
            schedule: Schedule { warm_up: i as u64, decay: decays[i % 4] },
            clip_norm: (i % 2 == 0).then_some(0.1),
            seed: u64::MAX,
            early_stopping: Some(EarlyStopping { validation: 0.1, patience: 3, min_delta: 1e-4 }),
            ..Training::default()
        };
        let text = serde_json::to_string(&training).unwrap();
        assert_eq!(serde_json::from_str::<Training>(&text).unwrap(), training);
    }
    assert!(serde_json::from_str::<Training>(r#"{"learning_speed": 1.0}"#).unwrap_err().to_string().contains("speed"));
}

#[test]
fn what_a_short_spec_means() {
    let spec = Spec::from_toml("input = 4\n[[encoder]]\nunits = 2\n[[decoder]]\nunits = 4\n").unwrap();
    assert_eq!(spec, Spec::symmetric(&[4, 2], Activation::Identity));
    assert_eq!((&spec.loss, spec.tied, spec.weight_decay), (&Loss::Mse, false, 0.0));
    assert_eq!((spec.scaling, &spec.corruption, spec.code()), (Scaling::None, &Corruption::None, 2));
}

#[test]
fn every_way_a_spec_is_wrong() {
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = small();
        change(&mut spec);
        spec
    };
    type Change = Box<dyn Fn(&mut Spec)>;
    let cases: Vec<(&str, Change)> = vec![
        ("input", Box::new(|s| s.input = 0)),
        ("input", Box::new(|s| s.input = usize::MAX)),
        ("encoder", Box::new(|s| s.encoder.clear())),
        ("decoder", Box::new(|s| s.decoder.clear())),
        ("encoder[1].units", Box::new(|s| s.encoder[1].units = 0)),
        ("encoder[0].units", Box::new(|s| s.encoder[0].units = (1 << 20) + 1)),
        ("decoder[0].units", Box::new(|s| s.decoder[0].units = usize::MAX)),
        ("decoder[1].units", Box::new(|s| s.decoder[1].units = 7)),
        (
            "decoder[1].activation",
            Box::new(|s| {
                s.loss = Loss::Bernoulli;
                s.decoder[1].activation = Activation::Sigmoid;
            }),
        ),
        (
            "scaling",
            Box::new(|s| {
                s.loss = Loss::Bernoulli;
                s.scaling = Scaling::Standardise;
            }),
        ),
        ("weight_decay", Box::new(|s| s.weight_decay = -1e-9)),
        ("weight_decay", Box::new(|s| s.weight_decay = f64::NAN)),
        ("weight_decay", Box::new(|s| s.weight_decay = f64::INFINITY)),
        ("weight_decay", Box::new(|s| s.weight_decay = 1e39)),
        ("corruption.sigma", Box::new(|s| s.corruption = Corruption::Gaussian { sigma: f64::NAN })),
        ("corruption.sigma", Box::new(|s| s.corruption = Corruption::Gaussian { sigma: -0.1 })),
        ("corruption.sigma", Box::new(|s| s.corruption = Corruption::Gaussian { sigma: 1e39 })),
        (
            "corruption.probability",
            Box::new(|s| s.corruption = Corruption::Masking { probability: 1.0, rescale: false }),
        ),
        (
            "corruption.probability",
            Box::new(|s| s.corruption = Corruption::Masking { probability: -0.1, rescale: true }),
        ),
        (
            "corruption.probability",
            Box::new(|s| s.corruption = Corruption::Masking { probability: f64::NAN, rescale: true }),
        ),
        (
            "decoder (number of layers)",
            Box::new(|s| {
                s.tied = true;
                s.decoder.remove(0);
            }),
        ),
        (
            "decoder[0].units",
            Box::new(|s| {
                s.tied = true;
                s.decoder[0].units = 4;
            }),
        ),
    ];
    for (field, change) in cases {
        let spec = with(&*change);
        refused(spec.check(), field);
        refused(Network::new(&spec).map(|_| ()), field);
        refused(Session::new(&gpu(), &spec, Training::default()), field);
        // What could not be read back is not written either.
        refused(spec.to_json(), field);
        refused(spec.to_toml(), field);
    }
    refused(Spec::symmetric(&[], Activation::Relu).check(), "input");
    refused(Spec::symmetric(&[5], Activation::Relu).check(), "encoder");
}

#[test]
fn text_that_is_no_spec_names_its_place() {
    let toml = small().to_toml().unwrap();
    let json = small().to_json().unwrap();
    let cases = [
        (toml.replace("tied", "tyed"), json.replace("tied", "tyed"), "tyed"),
        (toml.replace("\"elu\"", "\"elo\""), json.replace("\"elu\"", "\"elo\""), "elo"),
        (toml.replace("units = 5", "units = -5"), json.replace("\"units\":5", "\"units\":-5"), "-5"),
        (toml.replace("units = 5", "unit = 5"), json.replace("\"units\":5", "\"unit\":5"), "unit"),
        (toml.replace("input = 6", ""), json.replace("\"input\":6,", ""), "input"),
        (toml.replace("\"mse\"", "\"mae\""), json.replace("\"mse\"", "\"mae\""), "mae"),
        (toml + "]", json.clone() + "]", "line"),
        (String::new(), String::new(), "missing field|EOF"),
        ("[[[[[[".into(), "[".repeat(100_000), "line"),
    ];
    for (toml, json, wanted) in cases {
        for result in [Spec::from_toml(&toml), Spec::from_json(&json)] {
            let Err(Error::Spec { field, value, .. }) = result else { panic!("{wanted}: {result:?}") };
            assert_eq!(field, "spec");
            assert!(wanted.split('|').any(|w| value.contains(w)), "{wanted}: {value}");
        }
    }
    // A width that is read but cannot be.
    let wide = small().to_json().unwrap().replace("\"units\":5", "\"units\":18446744073709551615");
    refused(Spec::from_json(&wide), "encoder[0].units");
}

#[test]
fn every_way_training_options_are_wrong() {
    let base = Training::default();
    let optimizer = |optimizer| Training { optimizer, ..base };
    let early = |validation, patience, min_delta| Training {
        early_stopping: Some(EarlyStopping { validation, patience, min_delta }),
        ..base
    };
    let decay = |decay| Training { schedule: Schedule { warm_up: 0, decay }, ..base };
    let adam = |beta1, beta2, epsilon| optimizer(Optimizer::Adam { beta1, beta2, epsilon });
    let adamw = |beta1, weight_decay| optimizer(Optimizer::AdamW { beta1, beta2: 0.999, epsilon: 1e-8, weight_decay });
    let nan = f64::NAN;
    let rates = [nan, 0.0, -0.1, f64::INFINITY, 1e39, 1e-60];
    let mut cases: Vec<(&str, Training)> =
        rates.map(|learning_rate| ("learning_rate", Training { learning_rate, ..base })).into();
    cases.extend([nan, 0.0, -1.0, f64::INFINITY].map(|n| ("clip_norm", Training { clip_norm: Some(n), ..base })));
    cases.extend([
        ("batch", Training { batch: 0, ..base }),
        ("optimizer.momentum", optimizer(Optimizer::Sgd { momentum: 1.0, nesterov: false })),
        ("optimizer.momentum", optimizer(Optimizer::Sgd { momentum: nan, nesterov: false })),
        ("optimizer.momentum", optimizer(Optimizer::Sgd { momentum: -0.5, nesterov: false })),
        ("optimizer.momentum", optimizer(Optimizer::Sgd { momentum: 0.0, nesterov: true })),
        ("optimizer.alpha", optimizer(Optimizer::RmsProp { alpha: 1.0, epsilon: 1e-8 })),
        ("optimizer.epsilon", optimizer(Optimizer::RmsProp { alpha: 0.9, epsilon: 0.0 })),
        ("optimizer.beta1", adam(1.0, 0.999, 1e-8)),
        ("optimizer.beta1", adam(nan, 0.999, 1e-8)),
        ("optimizer.beta2", adam(0.9, -0.1, 1e-8)),
        ("optimizer.beta2", adam(0.9, 1.5, 1e-8)),
        ("optimizer.epsilon", adam(0.9, 0.999, 0.0)),
        ("optimizer.epsilon", adam(0.9, 0.999, -1e-8)),
        ("optimizer.epsilon", adam(0.9, 0.999, nan)),
        ("optimizer.epsilon", adam(0.9, 0.999, 1e-40)),
        ("optimizer.epsilon", adam(0.9, 0.999, 1e39)),
        ("optimizer.beta1", adamw(2.0, 0.1)),
        ("optimizer.weight_decay", adamw(0.9, nan)),
        ("optimizer.weight_decay", adamw(0.9, -0.1)),
        ("optimizer.weight_decay", adamw(0.9, 1e39)),
        ("early_stopping.validation", early(0.0, 1, 0.0)),
        ("early_stopping.validation", early(1.0, 1, 0.0)),
        ("early_stopping.validation", early(nan, 1, 0.0)),
        ("early_stopping.patience", early(0.1, 0, 0.0)),
        ("early_stopping.min_delta", early(0.1, 1, -1.0)),
        ("early_stopping.min_delta", early(0.1, 1, nan)),
        ("schedule.decay.every", decay(Decay::Step { every: 0, factor: 0.5 })),
        ("schedule.decay.factor", decay(Decay::Step { every: 1, factor: nan })),
        ("schedule.decay.factor", decay(Decay::Step { every: 1, factor: 0.0 })),
        ("schedule.decay.steps", decay(Decay::Cosine { steps: Some(0) })),
        ("schedule.decay.steps", decay(Decay::Linear { to: 0.5, steps: Some(0) })),
        ("schedule.decay.to", decay(Decay::Linear { to: -0.1, steps: None })),
        ("schedule.decay.to", decay(Decay::Linear { to: 1.1, steps: None })),
        ("schedule.decay.to", decay(Decay::Linear { to: nan, steps: None })),
    ]);
    for (field, training) in cases {
        refused(training.check(), field);
        refused(Session::new(&gpu(), &small(), training), field);
    }
}

/// The gradients of a network's parameters on one batch, in f64.
fn gradients(network: &Network, params: &[Vec<f64>], data: &[f64], rows: usize) -> Vec<Vec<f64>> {
    let g = network.graph(Purpose::Train, false).unwrap();
    let env = Environment { rows, data: data.to_vec(), params: params.to_vec(), ..Environment::default() };
    let found = evaluate(&g, &env).unwrap();
    (0..params.len()).map(|i| env.sink(&g, &found, Sink::Gradient(i)).unwrap().to_vec()).collect()
}

fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| matrix.iter().skip(c).step_by(columns).copied()).collect()
}

/// Row 5: the gradient of a tied weight is the encoder's part plus the decoder's, transposed.
#[test]
fn tied_weights_have_the_gradients_of_both_their_places() {
    let spec = Spec::symmetric(&[5, 4, 3], Activation::Tanh);
    let tied = Network::new(&spec.clone().tied()).unwrap();
    let untied = Network::new(&spec).unwrap();
    let names = |n: &Network| n.params().iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    let [w0, b0, w1, b1] = ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "encoder.1.bias"];
    assert_eq!(names(&tied), [w0, b0, w1, b1, "decoder.0.bias", "decoder.1.bias"]);
    let count = |n: &Network| n.params().iter().map(|t| t.shape.elements(1)).sum::<usize>();
    assert_eq!(count(&tied), 5 * 4 + 4 + 4 * 3 + 3 + 4 + 5);
    assert_eq!(count(&untied), count(&tied) + 3 * 4 + 4 * 5);

    let wide = |stream, count| values(stream, count, (-1.0, 1.0)).into_iter().map(f64::from).collect::<Vec<f64>>();
    let own: Vec<Vec<f64>> =
        tied.params().iter().enumerate().map(|(i, t)| wide(i as u32, t.shape.elements(1))).collect();
    let [w0, b0, w1, b1, c0, c1] = own.clone().try_into().unwrap();
    let both = [w0.clone(), b0, w1.clone(), b1, transposed(&w1, 3), c0, transposed(&w0, 4), c1];
    let data = wide(20, 6 * 5);
    let [t0, tb0, t1, tb1, tc0, tc1] = gradients(&tied, &own, &data, 6).try_into().unwrap();
    let [u0, ub0, u1, ub1, v0, uc0, v1, uc1] = gradients(&untied, &both, &data, 6).try_into().unwrap();
    let sum = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<f64>>();
    // The decoder's first layer is [3, 4], its second [4, 5].
    let expected = [sum(u0, transposed(&v1, 5)), ub0, sum(u1, transposed(&v0, 4)), ub1, uc0, uc1];
    for (found, expected) in [t0, tb0, t1, tb1, tc0, tc1].iter().zip(&expected) {
        let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-14 && expected.iter().any(|e| e.abs() > 1e-3), "{worst:e}");
    }
}

/// Rows with independent normal features of these deviations, mean exactly 0.
fn gaussian(rows: usize, deviations: &[f64], seed: u64) -> Vec<f32> {
    let draw = Draw { seed, stream: 0, step: 0 };
    let columns = deviations.len();
    let mut values: Vec<f64> =
        (0..rows * columns).map(|i| deviations[i % columns] * draw.normal(i / columns, i % columns)).collect();
    for c in 0..columns {
        let mean = values.iter().skip(c).step_by(columns).sum::<f64>() / rows as f64;
        values.iter_mut().skip(c).step_by(columns).for_each(|v| *v -= mean);
    }
    values.into_iter().map(|v| v as f32).collect()
}

/// X'X / N.
fn covariance(values: &[f32], columns: usize) -> DMatrix<f64> {
    let x = DMatrix::from_row_iterator(values.len() / columns, columns, values.iter().map(|&v| f64::from(v)));
    x.transpose() * &x / x.nrows() as f64
}

fn matrix(values: &[f32], columns: usize) -> DMatrix<f64> {
    DMatrix::from_row_iterator(values.len() / columns, columns, values.iter().map(|&v| f64::from(v)))
}

/// Full-batch momentum along half a cosine: what a convex-like problem needs to be solved closely in `epochs` steps.
fn solve(spec: &Spec, learning_rate: f64, epochs: u64, batch: usize, data: &Data) -> Session {
    let training = Training {
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: false },
        schedule: Schedule { warm_up: 0, decay: Decay::Cosine { steps: None } },
        learning_rate,
        batch,
        epochs,
        ..Training::default()
    };
    let mut session = Session::new(&gpu(), spec, training).unwrap();
    session.fit(data).unwrap();
    session
}

/// Row 3: with a code as wide as the data a linear autoencoder copies.
#[test]
fn an_overcomplete_linear_autoencoder_learns_the_identity() {
    let data = Data::from_rows(3, gaussian(32, &[1.0, 0.8, 1.2], 1)).unwrap();
    let spec = Spec::symmetric(&[3, 4], Activation::Identity).loss(Loss::SquaredError);
    let mut session = solve(&spec, 0.03, 1500, 32, &data);
    let mse = session.evaluate(&data).unwrap().loss;
    assert!(mse < 1e-9, "{mse:e}");
    let params = session.parameters().unwrap();
    let product = matrix(&params[0], 4) * matrix(&params[2], 3);
    let off = (product - DMatrix::identity(3, 3)).abs().max();
    assert!(off < 1e-4, "{off}");
}

/// Row 6: with ½ λ (||W1||² + ||W2||²) on centred data the singular values of the weights are
/// sqrt(max(0, 1 − (λ / 2) / λ_i)), λ_i the eigenvalues of the covariance, and W1 = W2'.
#[test]
fn weight_decay_shrinks_a_linear_autoencoder_by_its_closed_form() {
    let values = gaussian(64, &[2.0, 1.0, 0.3], 2);
    let mut eigenvalues: Vec<f64> = covariance(&values, 3).symmetric_eigenvalues().iter().copied().collect();
    eigenvalues.sort_by(|a, b| b.total_cmp(a));
    let data = Data::from_rows(3, values).unwrap();
    // Larger than the third eigenvalue and smaller than the others.
    let lambda = 0.6;
    let spec = Spec::symmetric(&[3, 3], Activation::Identity).loss(Loss::SquaredError).weight_decay(lambda);
    let session = solve(&spec, 0.01, 2000, 64, &data);
    let expected: Vec<f64> = eigenvalues.iter().map(|e| (1.0 - 0.5 * lambda / e).max(0.0).sqrt()).collect();
    assert!(expected[1] > 0.5 && expected[2] == 0.0, "{expected:?}");
    let params = session.parameters().unwrap();
    let (w1, w2) = (matrix(&params[0], 3), matrix(&params[2], 3));
    for weights in [&w1, &w2] {
        let mut found: Vec<f64> = weights.singular_values().iter().copied().collect();
        found.sort_by(|a, b| b.total_cmp(a));
        assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-3), "{found:?}, expected {expected:?}");
    }
    let apart = (&w1 - w2.transpose()).abs().max();
    assert!(apart < 1e-3, "{apart}");
    assert!(params[1].iter().chain(&params[3]).all(|b| b.abs() < 1e-3), "centred data needs no biases: {params:?}");
}

/// Row 20: on Gaussian data with Gaussian noise the best linear denoiser is S (S + σ² I)^-1.
#[test]
fn a_linear_denoising_autoencoder_ends_in_its_closed_form() {
    let values = gaussian(256, &[1.5, 1.0, 0.5], 3);
    let (s, sigma) = (covariance(&values, 3), 0.5);
    let expected = &s * (&s + DMatrix::identity(3, 3) * (sigma * sigma)).try_inverse().unwrap();
    let data = Data::from_rows(3, values).unwrap();
    let spec = Spec::symmetric(&[3, 3], Activation::Identity).loss(Loss::SquaredError).gaussian_corruption(sigma);
    let session = solve(&spec, 0.01, 3000, 256, &data);
    let params = session.parameters().unwrap();
    let product = matrix(&params[0], 3) * matrix(&params[2], 3);
    // 3,000 draws of 256 rows leave sampling noise; without corruption the product would be I, .1 to .5 away.
    let off = (&product - &expected).abs().max();
    assert!(off < 0.02, "{product} expected {expected}");
}

/// What the training graph on the GPU feeds to the encoder: a linear 1 : 1 network whose gradient is the input.
mod corruption {
    use super::*;
    use strait::graph::Graph;

    const COLUMNS: usize = 5;

    /// The values of the corrupted input in a step: the node that the first matrix product reads.
    fn corrupted(spec: &Spec, purpose: Purpose, data: &[f32], step: u32, seed: u64) -> Vec<f32> {
        let rows = data.len() / COLUMNS;
        let network = Network::new(spec).unwrap();
        let trained: Graph = network.graph(purpose, false).unwrap();
        let product = trained.nodes().find_map(|(_, n)| match n.op {
            strait::internals::graph::Op::MatMul { a, .. } => Some(a),
            _ => None,
        });
        let mut g = trained.clone();
        g.sink(Sink::Output(0), product.unwrap());
        let evaluator = Evaluator::new(&gpu(), &g, rows).unwrap();
        evaluator.data(data).unwrap();
        evaluator.params(&network.initial(1)).unwrap();
        evaluator.run(State { step, ..State::once(rows, seed) }).unwrap();
        evaluator.sink(Sink::Output(0), rows).unwrap()
    }

    fn spec() -> Spec {
        Spec::symmetric(&[COLUMNS, 2], Activation::Identity)
    }

    #[test]
    fn gaussian_noise_has_the_moments_of_its_sigma() {
        let data = values(1, 4000 * COLUMNS, (-1.0, 1.0));
        let sigma = 0.3;
        let noisy = corrupted(&spec().gaussian_corruption(sigma), Purpose::Train, &data, 0, 9);
        let noise: Vec<f64> = noisy.iter().zip(&data).map(|(n, d)| (f64::from(*n) - f64::from(*d)) / sigma).collect();
        let count = noise.len() as f64;
        let moment = |power: i32| noise.iter().map(|n| n.powi(power)).sum::<f64>() / count;
        // The moments of a standard normal and the standard errors of their estimates, four of them allowed.
        for (power, expected, error) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let (found, allowed) = (moment(power), 4.0 * f64::sqrt(error / count));
            assert!((found - expected).abs() < allowed, "moment {power}: {found}, expected {expected} ± {allowed}");
        }
        // Neighbours, in a row and in a column, are not correlated.
        for lag in [1, 2, COLUMNS] {
            let product = noise.iter().zip(&noise[lag..]).map(|(a, b)| a * b).sum::<f64>() / (count - lag as f64);
            assert!(product.abs() < 4.0 / count.sqrt(), "lag {lag}: {product}");
        }
    }

    #[test]
    fn masking_keeps_its_share_everywhere() {
        let data = vec![1.5; 4000 * COLUMNS];
        for (rescale, kept) in [(false, 1.5), (true, 2.0)] {
            let corruption = Corruption::Masking { probability: 0.25, rescale };
            let masked = corrupted(&Spec { corruption, ..spec() }, Purpose::Train, &data, 3, 9);
            assert!(masked.iter().all(|&v| v == 0.0 || v == kept), "{rescale}");
            // Chi-squared of the zeros in each column and in each tenth of the rows: 5 and 10 degrees of freedom, which
            // pass these bounds once in 1,000 times.
            let chi_squared = |group: &dyn Fn(usize) -> usize, groups: usize| {
                let mut zeros = vec![0.0; groups];
                (0..masked.len()).filter(|&i| masked[i] == 0.0).for_each(|i| zeros[group(i)] += 1.0);
                let expected = 0.25 * (masked.len() / groups) as f64;
                zeros.iter().map(|z: &f64| (z - expected).powi(2) / (expected * 0.75)).sum::<f64>()
            };
            let columns = chi_squared(&|i| i % COLUMNS, COLUMNS);
            let rows = chi_squared(&|i| i / COLUMNS / 400, 10);
            assert!(columns < 20.52 && rows < 29.59, "{columns} {rows}");
        }
    }

    #[test]
    fn every_step_and_every_seed_draws_afresh_and_evaluation_draws_nothing() {
        let data = values(1, 8 * COLUMNS, (-1.0, 1.0));
        for spec in [
            spec().gaussian_corruption(0.5),
            spec().corruption(Corruption::Masking { probability: 0.5, rescale: false }),
        ] {
            let at = |step, seed| corrupted(&spec, Purpose::Train, &data, step, seed);
            assert_eq!(at(0, 1), at(0, 1));
            assert_ne!(at(0, 1), at(1, 1));
            assert_ne!(at(0, 1), at(0, 2));
            assert_ne!(at(0, 1), at(0, 1 | 1 << 40));
            assert_eq!(corrupted(&spec, Purpose::Evaluate, &data, 0, 1), data);
        }
    }

    /// The target stays clean: an encoder of zeros reconstructs 0, whatever the noise, and costs the clean square.
    #[test]
    fn the_target_is_not_corrupted() {
        let data = Data::from_rows(COLUMNS, values(1, 8 * COLUMNS, (-1.0, 1.0))).unwrap();
        let clean = data.values().iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 8.0;
        let spec = spec().loss(Loss::SquaredError).gaussian_corruption(2.0);
        let training = Training { batch: 8, epochs: 1, learning_rate: 1e-30, ..Training::default() };
        let mut session = Session::new(&gpu(), &spec, training).unwrap();
        let zeros = session.parameters().unwrap().iter().map(|p| vec![0.0; p.len()]).collect::<Vec<_>>();
        session.set_parameters(&zeros).unwrap();
        let fit = session.fit(&data).unwrap();
        assert!((fit.history[0].loss / clean - 1.0).abs() < 1e-6, "{} {clean}", fit.history[0].loss);
    }
}
