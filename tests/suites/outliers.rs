//! Rows unlike those that were trained on: beyond what a loss is made for, off a feature that was constant, and so far
//! away that f32 ends. Expected values are plain f64 code over the parameters.

use crate::common::{gpu, values};
use strait::analysis::Chain;
use strait::model::{Mapping, Purpose};
use strait::{Activation, Data, EarlyStopping, Error, Loss, Result, Scaling, Session, Spec, Training, data};

/// A run that learns the scaling and nothing else.
fn still() -> Training {
    Training { epochs: 1, learning_rate: 1e-30, batch: 16, ..Training::default() }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// The logits of a linear autoencoder for a row, from its four tensors.
fn logits(params: &[Vec<f32>], x: &[f64]) -> Vec<f64> {
    let layer = |x: &[f64], w: &[f32], b: &[f32]| -> Vec<f64> {
        let sum = |j: usize| (0..x.len()).map(|i| x[i] * f64::from(w[i * b.len() + j])).sum::<f64>();
        (0..b.len()).map(|j| sum(j) + f64::from(b[j])).collect()
    };
    let code = layer(x, &params[0], &params[1]);
    layer(&code, &params[2], &params[3])
}

/// Twelve times half the squared distance of two rows: what it costs to lie outside.
fn beyond(x: &[f64], inside: &[f64]) -> f64 {
    6.0 * x.iter().zip(inside).map(|(x, i)| (x - i).powi(2)).sum::<f64>()
}

fn bernoulli(params: &[Vec<f32>], x: &[f64]) -> f64 {
    let inside: Vec<f64> = x.iter().map(|v| v.clamp(0.0, 1.0)).collect();
    let each = |(z, x): (f64, &f64)| z.max(0.0) + (-z.abs()).exp().ln_1p() - z * x;
    logits(params, &inside).into_iter().zip(&inside).map(each).sum::<f64>() + beyond(x, &inside)
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
}

/// Rows of three features: inside, at the ends, a little beyond, far beyond, on either side.
const ROWS: [[f32; 3]; 6] =
    [[0.2, 0.5, 0.9], [0.0, 1.0, 1.0], [0.3, 1.01, 0.5], [-0.02, 0.5, 1.3], [-40.0, 3.0, 0.1], [10.0, -7.0, 250.0]];

#[test]
fn a_row_beyond_a_bernoulli_loss_costs_its_distance() {
    // Unscaled, and scaled from [-3, 5], [10, 10.5] and [0, 1000]: the same rows in other units.
    let units = [(-3.0f32, 8.0f32), (10.0, 0.5), (0.0, 1000.0)];
    for scaling in [Scaling::None, Scaling::Unit] {
        let place = |v: f32, c: usize| if scaling == Scaling::Unit { units[c].0 + units[c].1 * v } else { v };
        let placed = |row: &[f32]| -> Vec<f32> { row.iter().enumerate().map(|(c, &v)| place(v, c % 3)).collect() };
        let spec = Spec::symmetric(&[3, 2], Activation::Identity).loss(Loss::Bernoulli).scaling(scaling);
        // The last rows are held out, so that early stopping looks at what was never checked.
        let early = EarlyStopping { validation: 0.5, patience: 9, min_delta: 0.0 };
        let mut session = Session::new(&gpu(), &spec, Training { early_stopping: Some(early), ..still() }).unwrap();
        let inside = [0.0f32, 1.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.25, 0.1, 0.7, 0.6, 0.4, 0.2, 0.9, 0.3, 0.8, 0.2];
        let all = Data::from_rows(3, placed(&[inside.as_slice(), ROWS.as_flattened()].concat())).unwrap();
        let fit = session.fit(&all).unwrap();
        let params = session.parameters().unwrap();
        let expected: Vec<f64> = ROWS.iter().map(|row| bernoulli(&params, &wide(row))).collect();
        let held_out = placed(ROWS.as_flattened());
        let scores = session.score(&held_out).unwrap();
        for (i, (&found, &expected)) in scores.iter().zip(&expected).enumerate() {
            // Where scaling takes digits away, the distance squared loses twice as many.
            close(f64::from(found), expected, &format!("{scaling:?}, row {i}"));
        }
        let mean = expected.iter().sum::<f64>() / 6.0;
        let evaluated = session.evaluate(Data::from_rows(3, held_out).unwrap()).unwrap().loss;
        close(evaluated, mean, "evaluated");
        close(fit.best_validation.unwrap(), mean, "held out");
    }
}

#[test]
fn a_row_beyond_a_softmax_loss_costs_its_distance() {
    let spec = Spec::symmetric(&[6, 2], Activation::Identity).loss(Loss::Softmax { classes: 3 });
    let mut session = Session::new(&gpu(), &spec, still()).unwrap();
    let params = session.parameters().unwrap();
    // A row, and the nearest that consists of two distributions, by hand.
    let third = 1.0f32 / 3.0;
    let cases: [([f32; 6], [f32; 6]); 6] = [
        ([0.0, 1.0, 0.0, 0.25, 0.25, 0.5], [0.0, 1.0, 0.0, 0.25, 0.25, 0.5]),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [third, third, third, 0.0, 0.0, 1.0]),
        ([0.0, 10.0, 0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.5, 0.5, 0.0]),
        ([0.1, 0.2, 0.4, -5.0, 1.0, 0.0], [0.2, 0.3, 0.5, 0.0, 1.0, 0.0]),
        ([-1.0, -1.0, -1.0, 1.0, 0.0, 0.0], [third, third, third, 1.0, 0.0, 0.0]),
        ([1.0, 0.5, 0.5, 1.0, 0.0, 1e-3], [0.5, 0.25, 0.25, 1.0 / 1.001, 0.0, 1e-3 / 1.001]),
    ];
    let rows: Vec<f32> = cases.iter().flat_map(|(row, _)| *row).collect();
    let scores = session.score(&rows).unwrap();
    let mut sum = 0.0;
    for ((row, inside), found) in cases.iter().zip(scores) {
        let (row, inside) = (wide(row), wide(inside));
        let z = logits(&params, &inside);
        let block = |b: usize| -> f64 {
            let (z, x) = (&z[3 * b..3 * b + 3], &inside[3 * b..3 * b + 3]);
            let normaliser = z.iter().map(|z| z.exp()).sum::<f64>().ln();
            z.iter().zip(x).map(|(z, x)| x * (normaliser - z)).sum()
        };
        let expected = block(0) + block(1) + beyond(&row, &inside);
        close(f64::from(found), expected, &format!("{row:?}"));
        sum += expected;
    }
    let evaluated = session.evaluate(Data::from_rows(6, rows).unwrap()).unwrap().loss;
    close(evaluated, sum / 6.0, "evaluated");
}

/// What is far from the training data never scores below all of it, and further is never better.
#[test]
fn an_anomaly_scores_above_what_was_trained_on() {
    let digits = data::digits().unwrap().split_at(300).unwrap().0;
    for scaling in [Scaling::None, Scaling::Unit] {
        let spec = Spec::symmetric(&[64, 16], Activation::Identity).loss(Loss::Bernoulli).scaling(scaling);
        let training = Training { epochs: 20, learning_rate: 0.01, batch: 50, ..Training::default() };
        let mut session = Session::new(&gpu(), &spec, training).unwrap();
        session.fit(&digits).unwrap();
        let trained = session.score(digits.values()).unwrap();
        let most = trained.iter().copied().fold(0.0, f32::max);
        let mut before = trained.clone();
        for factor in [3.0f32, 10.0, 100.0, 1e10] {
            let scores = session.score(digits.clone().map(|v| factor * v).unwrap().values()).unwrap();
            let least = scores.iter().copied().fold(f32::INFINITY, f32::min);
            assert!(least > most, "{scaling:?}: rows times {factor} score {least}, trained ones {most}");
            assert!(scores.iter().zip(&before).all(|(now, before)| now > before), "{scaling:?} {factor}");
            before = scores;
        }
        for factor in [-1.0f32, -10.0] {
            let scores = session.score(digits.clone().map(|v| factor * v).unwrap().values()).unwrap();
            assert!(scores.iter().zip(&trained).all(|(now, trained)| now > trained), "{scaling:?} {factor}");
        }
    }
}

/// A bound on the likelihood falls by what the row's distance costs.
#[test]
fn evidence_of_a_row_beyond_its_loss_is_lower_by_its_distance() {
    let spec = Spec::symmetric(&[3, 4, 2], Activation::Tanh).loss(Loss::Bernoulli).variational(1.0);
    let session = Session::new(&gpu(), &spec, still()).unwrap();
    let inside: Vec<f32> = ROWS.as_flattened().iter().map(|v| v.clamp(0.0, 1.0)).collect();
    let (near, far) = (session.evidence(&inside, 3, 7).unwrap(), session.evidence(ROWS.as_flattened(), 3, 7).unwrap());
    for (i, row) in ROWS.iter().enumerate() {
        let cost = beyond(&wide(row), &wide(&inside[3 * i..3 * i + 3]));
        close(far[i], near[i] - cost, &format!("row {i}"));
    }
}

#[test]
fn labels_are_checked_whatever_the_scaling_and_wherever_they_are() {
    let supervised = Some(strait::model::Supervised { classes: 2, weight: 0.5 });
    let rows = |label: [f32; 2]| {
        let mut rows = [0.1f32, 0.2, 0.3, 1.0, 0.0, 0.9, 0.8, 0.6, 0.0, 1.0].repeat(3);
        rows[28..].copy_from_slice(&label);
        Data::from_rows(5, rows).unwrap()
    };
    for scaling in [Scaling::None, Scaling::Unit, Scaling::Standardise] {
        let spec = Spec { supervised, ..Spec::symmetric(&[3, 2], Activation::Identity).scaling(scaling) };
        let early = EarlyStopping { validation: 0.2, patience: 1, min_delta: 0.0 };
        let mut session = Session::new(&gpu(), &spec, Training { early_stopping: Some(early), ..still() }).unwrap();
        session.fit(rows([0.0, 1.0])).unwrap();
        for found in [session.evaluate(rows([0.5, 0.5])).map(drop), session.fit(rows([0.0, 0.0])).map(drop)] {
            let Err(Error::Data { place, .. }) = found else { panic!("{scaling:?}: {found:?}") };
            assert!(place.contains("label columns of row 5"), "{place}");
        }
    }
}

/// Two columns that vary and one that does not, with all parameters 0: the loss is what the scaled row is.
#[test]
fn what_leaves_a_constant_counts() {
    let values: Vec<f32> = (0..20).flat_map(|i| [i as f32, 14.62, -2.0 * (i % 5) as f32]).collect();
    let rows = Data::from_rows(3, values).unwrap();
    for scaling in [Scaling::Standardise, Scaling::Unit] {
        let spec = Spec::symmetric(&[3, 2], Activation::Identity).loss(Loss::SquaredError).scaling(scaling);
        let mut session = Session::new(&gpu(), &spec, still()).unwrap();
        session.fit(&rows).unwrap();
        let nothing: Vec<Vec<f32>> = session.parameters().unwrap().iter().map(|p| vec![0.0; p.len()]).collect();
        session.set_parameters(&nothing).unwrap();
        let (at, off) = ([9.5f32, 14.62, -4.0], [9.5f32, 1000.0, -4.0]);
        let distance = 1000.0 - f64::from(14.62f32);
        let scores = wide(&session.score(&[at, off].concat()).unwrap());
        close(scores[1] - scores[0], distance * distance, "the deviation squared");
        let held_out = session.evaluate(Data::from_rows(3, off.to_vec()).unwrap()).unwrap().loss;
        close(held_out, scores[1], "evaluated");
        // What decodes to 0 is the constant.
        assert_eq!(session.reconstruct(&off).unwrap()[1], 14.62);

        // Files may say that such a feature has no spread; then, too, it counts.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        session.save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let with = |value: f32| {
            let mut bytes = whole.clone();
            let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
            let view = tensors.tensor("input.scale").unwrap();
            let place = view.data().as_ptr() as usize - whole.as_ptr() as usize + 4;
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
            Session::open(&gpu(), &path)
        };
        assert_eq!(wide(&with(0.0).unwrap().score(&[at, off].concat()).unwrap()), scores);
        for bad in [-1.0, 1e-40, -0.1, f32::NAN, f32::INFINITY] {
            match with(bad) {
                Err(Error::Checkpoint { place, .. }) => assert_eq!(place, "input.scale"),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }
    // A feature that lay at one end of a Bernoulli loss leaves it on either side.
    let spec = Spec::symmetric(&[3, 2], Activation::Identity).loss(Loss::Bernoulli).scaling(Scaling::Unit);
    let mut session = Session::new(&gpu(), &spec, still()).unwrap();
    session.fit(&rows).unwrap();
    let params = session.parameters().unwrap();
    for deviation in [-3.0f32, 0.25, 500.0] {
        let found = session.score(&[9.5, 14.62 + deviation, -4.0]).unwrap()[0];
        let moved = f64::from(14.62 + deviation) - f64::from(14.62f32);
        close(f64::from(found), bernoulli(&params, &[0.5, moved, 0.5]), &format!("{deviation}"));
    }
}

fn place<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Data { place, .. }) => place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_loss_too_large_for_f32_is_infinite() {
    let base = || Spec::symmetric(&[8, 3], Activation::Tanh).code_activation(Activation::Tanh);
    let far = [0.1f32; 8].into_iter().chain([1e19; 8]).chain([3e38; 8]).collect::<Vec<f32>>();
    let losses = [
        Loss::Mixture { components: 2 },
        Loss::Mse,
        Loss::SquaredError,
        Loss::Gaussian { sigma: 0.5, learned: false },
        Loss::Gaussian { sigma: 0.5, learned: true },
        Loss::Bernoulli,
        Loss::Softmax { classes: 2 },
    ];
    for loss in losses {
        let session = Session::new(&gpu(), &base().loss(loss.clone()), still()).unwrap();
        let scores = session.score(&far).unwrap();
        assert!(scores[0].is_finite(), "{loss:?}: {scores:?}");
        // The mean of eight (1e19)² is not beyond f32, their sum is.
        assert_eq!(scores[1].is_finite(), loss == Loss::Mse, "{loss:?}: {scores:?}");
        assert_eq!(scores[2], f32::INFINITY, "{loss:?}: {scores:?}");
    }
    // Within f32, though the squares on the way to it are not: 8 (1e20)²/2σ² + 8 (log σ + ½ log 2π), r being 0 beside it.
    let sigma = 1e10;
    let session = Session::new(&gpu(), &base().loss(Loss::Gaussian { sigma, learned: false }), still()).unwrap();
    let found = f64::from(session.score(&[1e20; 8]).unwrap()[0]);
    let x = f64::from(1e20f32);
    close(found / (4.0 * x * x / (sigma * sigma)), 1.0, "a wide Gaussian");
    // So far that no draw has a likelihood.
    let spec = Spec::symmetric(&[8, 4, 3], Activation::Tanh).variational(1.0);
    let spec = spec.loss(Loss::Gaussian { sigma: 1.0, learned: false });
    let session = Session::new(&gpu(), &spec, still()).unwrap();
    let found = session.evidence(&[[0.1f32; 8], [2e19; 8]].concat(), 2, 0).unwrap();
    assert!(found[0].is_finite() && found[1] == f64::NEG_INFINITY, "{found:?}");
}

#[test]
fn a_result_beyond_f32_is_an_error_that_names_its_row() {
    // The second row leaves f32 in the first layer, and the rows beside it do not.
    let rows = [[0.5f32, 0.25], [3e38, -3e38], [0.1, 0.2]].concat();
    let spec = Spec::symmetric(&[2, 2], Activation::Identity);
    let mut session = Session::new(&gpu(), &spec, still()).unwrap();
    let steep = vec![vec![3.0, 1.0, 3.0, -1.0], vec![0.0; 2], vec![3.0, 0.0, 0.0, 3.0], vec![0.0; 2]];
    session.set_parameters(&steep).unwrap();
    for (purpose, found) in [
        (Purpose::Encode, session.encode(&rows)),
        (Purpose::Reconstruct, session.reconstruct(&rows)),
        (Purpose::Decode, session.decode(&rows)),
        (Purpose::Encode, pollster::block_on(session.encode_async(&rows))),
    ] {
        assert_eq!(place(found), format!("rows to {purpose:?}: result of row 1"));
    }
    assert_eq!(session.score(&rows).unwrap()[1], f32::INFINITY);
    // Rows of later parts are counted on.
    let mut many = values(5, 2 * 2100, (0.0, 1.0));
    many[2 * 2050] = 3e38;
    assert_eq!(place(session.encode(&many)), "rows to Encode: result of row 2050");
    assert_eq!(session.score(&many).unwrap()[2050], f32::INFINITY);

    // Standardised rows far from the training data.
    let mut scaled = Session::new(&gpu(), &spec.clone().scaling(Scaling::Standardise), still()).unwrap();
    scaled.fit(Data::from_rows(2, values(6, 40, (0.0, 1e-3))).unwrap()).unwrap();
    assert_eq!(place(scaled.encode(&[0.0, 0.0, 3e38, 3e38])), "rows to Encode: result of row 1");
    assert_eq!(scaled.score(&[3e38, 3e38]).unwrap(), [f32::INFINITY]);

    // Slopes of slopes beyond f32, at every row and at one.
    let mut deep = Session::new(&gpu(), &Spec::symmetric(&[2, 2, 2], Activation::Elu), still()).unwrap();
    let mut params: Vec<Vec<f32>> = deep.parameters().unwrap().iter().map(|p| vec![0.0; p.len()]).collect();
    for (at, diagonal) in [(0, 1e30), (2, 1e30), (4, 1.0), (6, 1.0)] {
        params[at] = vec![diagonal, 0.0, 0.0, diagonal];
    }
    deep.set_parameters(&params).unwrap();
    for of in [Mapping::Encoder, Mapping::Reconstruction] {
        let found = deep.jacobian(&[-1.0, -1.0, 1e-35, 1e-35], of);
        assert!(place(found).ends_with("result of row 1"), "{of:?}");
    }
    assert!(place(deep.spectra(&[1e-35, 1e-35])).ends_with("result of row 0"));

    // What is generated and what is sampled.
    let spec = Spec::symmetric(&[2, 2], Activation::Identity).variational(1.0).gaussian_corruption(0.1);
    let mut session = Session::new(&gpu(), &spec, still()).unwrap();
    let mut params = session.parameters().unwrap();
    params.iter_mut().for_each(|tensor| tensor.fill(3e38));
    session.set_parameters(&params).unwrap();
    assert!(place(session.generate(3, 0)).contains("rows to Decode: result of row"));
    assert!(place(session.log_variance(&[1e30, 1e30])).contains("rows to LogVariance: result of row 0"));
    let mut chains = session.sampler(Chain::Langevin { length: 0.1 }, &[0.0, 0.0, 1.0, 1.0], 0).unwrap();
    assert_eq!(chains.rows().unwrap(), [0.0, 0.0, 1.0, 1.0]);
    chains.advance(3).unwrap();
    assert!(place(chains.rows()).contains("chains after 3 steps: row 0"));
}
