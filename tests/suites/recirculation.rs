//! Recirculation as a run of a spec: its steps against plain f64, by any optimizer, on scaled rows, going on from a snapshot,
//! refusals.

use crate::common::{gpu, squared_error, values};
use crate::theory::suite::linear::{matrix, narrow, wide};
use crate::theory::suite::recirculation::{direction, pair};
use crate::updates::OPTIMIZERS;
use strait::internals::plan::AdapterKind;
use strait::model::Supervised;
use strait::train::{Run, Trainer};
use strait::{
    Activation, Corruption, Data, EarlyStopping, Error, Latent, Layer, Loss, Optimizer, Penalty, Precision, Ramp,
    Scaling, Session, Spec, Training,
};

const INPUT: usize = 6;
const ROWS: usize = 20;
const BATCH: usize = 8;

fn rows() -> Vec<f32> {
    values(191, ROWS * INPUT, (0.0, 1.0))
}

fn data() -> Data {
    Data::from_rows(INPUT, rows()).unwrap()
}

fn sigmoid() -> Spec {
    pair([INPUT, 4], [Activation::Sigmoid; 2], Loss::SquaredError)
}

fn training() -> Training {
    Training { optimizer: Optimizer::SGD, learning_rate: 0.5, batch: BATCH, epochs: 3, seed: 4, ..Training::default() }
}

fn begun(spec: &Spec, lambda: f64, training: &Training) -> Trainer {
    Trainer::new(&gpu(), Run::recirculation(spec, lambda, training).unwrap()).unwrap()
}

/// Rows in order, the last batch of an epoch smaller: every step goes by the rule.
#[test]
fn steps_of_plain_descent_are_the_rule() {
    let linear = pair([INPUT, 4], [Activation::Identity; 2], Loss::Mse);
    let logits = pair([INPUT, 4], [Activation::Sigmoid, Activation::Identity], Loss::Bernoulli);
    let training = Training { shuffle: false, ..training() };
    // Faster steps of linear units lead out of f32.
    for (spec, lambda, rate) in
        [(sigmoid(), 0.75, 0.5), (sigmoid().tied(), 0.0, 0.5), (linear.tied(), 0.5, 0.05), (logits, 0.9, 0.5)]
    {
        let training = Training { learning_rate: rate, ..training };
        let mut trainer = begun(&spec, lambda, &training);
        let mut params: Vec<Vec<f64>> = trainer.parameters().unwrap().iter().map(|p| wide(p)).collect();
        let start = params.concat();
        for _ in 0..training.epochs {
            for batch in wide(&rows()).chunks(BATCH * INPUT) {
                let followed = direction(&spec, &params, &matrix(batch, INPUT), lambda).unwrap();
                let moved = |(p, d): (&mut f64, &f64)| *p += training.learning_rate * d;
                params.iter_mut().flatten().zip(followed.iter().flatten()).for_each(moved);
            }
        }
        trainer.fit(data()).unwrap();
        let found = wide(&trainer.parameters().unwrap().concat());
        let moved = params.concat().iter().zip(&start).fold(0.0, |most: f64, (p, s)| most.max((p - s).abs()));
        assert!(moved > 1e-2, "it moves: {moved}");
        for (found, expected) in found.iter().zip(params.concat()) {
            assert!((found - expected).abs() < 1e-5 * moved.max(1.0), "{found} against {expected}");
        }
    }
}

/// Adam's first step is the rate times the sign of what it follows, and any optimizer lowers the error.
#[test]
fn any_optimizer_follows_it() {
    let spec = sigmoid().tied();
    for optimizer in OPTIMIZERS {
        let learning_rate = if matches!(optimizer, Optimizer::Sgd { .. }) { 0.5 } else { 0.01 };
        let training = Training { optimizer, learning_rate, epochs: 40, shuffle: false, ..training() };
        let mut trainer = begun(&spec, 0.75, &training);
        let params: Vec<Vec<f64>> = trainer.parameters().unwrap().iter().map(|p| wide(p)).collect();
        let error = |trainer: &Trainer| {
            let scores = trainer.model().unwrap().score(&rows()).unwrap();
            scores.iter().map(|s| f64::from(*s)).sum::<f64>() / ROWS as f64
        };
        let before = error(&trainer);
        trainer.load(data()).unwrap();
        trainer.step(1).unwrap();
        if optimizer == Optimizer::ADAM {
            let batch = matrix(&rows()[..BATCH * INPUT], INPUT);
            let followed = direction(&spec, &params, &batch, 0.75).unwrap().concat();
            let now = wide(&trainer.parameters().unwrap().concat());
            for ((now, before), d) in now.iter().zip(params.concat()).zip(followed) {
                let expected = learning_rate * d / (d.abs() + 1e-8);
                assert!((now - before - expected).abs() < 1e-5, "{} against {expected}", now - before);
            }
        }
        trainer.fit(data()).unwrap();
        let after = error(&trainer);
        assert!(after < 0.8 * before, "{optimizer:?}: {after} after {before}");
    }
}

/// A spec that scales its input is trained as one that is given scaled rows.
#[test]
fn it_goes_by_scaled_rows() {
    let spec = pair([INPUT, 4], [Activation::Sigmoid, Activation::Identity], Loss::Mse);
    let plain = wide(&rows());
    let mut scaled = plain.clone();
    for column in 0..INPUT {
        let of = || plain.iter().skip(column).step_by(INPUT);
        let mean = of().sum::<f64>() / ROWS as f64;
        let deviation = (of().map(|x| (x - mean).powi(2)).sum::<f64>() / ROWS as f64).sqrt();
        scaled.iter_mut().skip(column).step_by(INPUT).for_each(|x| *x = (*x - mean) / deviation);
    }
    let mut own = begun(&spec.clone().scaling(Scaling::Standardise), 0.5, &training());
    own.fit(data()).unwrap();
    let mut by_hand = begun(&spec, 0.5, &training());
    by_hand.fit(Data::from_rows(INPUT, narrow(&scaled)).unwrap()).unwrap();
    let [own, by_hand] = [own, by_hand].map(|trainer| trainer.parameters().unwrap().concat());
    assert!(squared_error(&own, &by_hand) < 1e-9, "{:e}", squared_error(&own, &by_hand));
}

#[test]
fn it_starts_as_a_session_and_goes_on_from_a_snapshot() {
    let gpu = gpu();
    let spec = sigmoid().scaling(Scaling::Unit);
    let mut whole = begun(&spec, 0.75, &training());
    let session = Session::new(&gpu, &spec, training()).unwrap();
    assert!(whole.parameters().unwrap() == session.parameters().unwrap(), "it starts as a session of its seed");
    whole.fit(data()).unwrap();
    let mut broken = begun(&spec, 0.75, &training());
    broken.load(data()).unwrap();
    broken.step(4).unwrap();
    let snapshot = broken.snapshot().unwrap();
    drop(broken);
    let run = Run::recirculation(&spec, 0.75, &training()).unwrap();
    let mut again = Trainer::restore(&gpu, run, &snapshot).unwrap();
    again.fit(data()).unwrap();
    let (found, expected) = (again.parameters().unwrap().concat(), whole.parameters().unwrap().concat());
    match gpu.kind() {
        AdapterKind::Software => assert!(found == expected, "the same bits"),
        AdapterKind::Hardware => assert!(squared_error(&found, &expected) < 1e-9),
    }
}

type Change = Box<dyn Fn(&mut Spec)>;

#[test]
fn what_the_rule_has_no_place_for_is_refused_by_name() {
    let refused = |spec: &Spec, lambda: f64, training: &Training| match Run::recirculation(spec, lambda, training) {
        Err(Error::Spec { field, value, allowed, .. }) => [field, value, allowed],
        other => panic!("{other:?}"),
    };
    for lambda in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
        let [field, value, allowed] = refused(&sigmoid(), lambda, &training());
        assert_eq!([field, value], ["lambda".to_string(), lambda.to_string()]);
        assert_eq!(allowed, "0 or more and less than 1: at 1 nothing comes back");
    }
    let cases: Vec<(&str, &str, Change)> = vec![
        ("encoder (number of layers)", "2", Box::new(|s| s.encoder.push(Layer::new(4)))),
        ("decoder (number of layers)", "2", Box::new(|s| s.decoder.push(Layer::new(INPUT)))),
        ("encoder[0].activation", "tanh", Box::new(|s| s.encoder[0].activation = Activation::Tanh)),
        ("decoder[0].activation", "relu", Box::new(|s| s.decoder[0].activation = Activation::Relu)),
        ("encoder[0].noise", "Gaussian { sigma: 0.1 }", {
            Box::new(|s| s.encoder[0].noise = Corruption::Gaussian { sigma: 0.1 })
        }),
        ("loss", "gaussian", Box::new(|s| s.loss = Loss::Gaussian { sigma: 1.0, learned: true })),
        ("corruption", "Gaussian { sigma: 0.1 }", Box::new(|s| s.corruption = Corruption::Gaussian { sigma: 0.1 })),
        ("latent", "Gaussian { beta: 1.0 }", {
            Box::new(|s| {
                s.encoder[0].activation = Activation::Identity;
                s.latent = Latent::Gaussian { beta: 1.0 };
            })
        }),
        ("penalties", "l1", Box::new(|s| s.penalties = vec![Penalty::L1 { weight: 0.1, layer: None }])),
        ("weight_decay", "0.1", Box::new(|s| s.weight_decay = 0.1)),
        ("weight_decay", "0", Box::new(|s| s.ramps = [("weight_decay".into(), Ramp::linear(0.1, 0.5))].into())),
        ("unit_norm", "true", Box::new(|s| s.unit_norm = true)),
        ("supervised", "a classifier", Box::new(|s| s.supervised = Some(Supervised { classes: 2, weight: 1.0 }))),
        ("precision", "f16", Box::new(|s| s.precision = Precision::F16)),
    ];
    for (field, value, change) in cases {
        let mut spec = sigmoid();
        change(&mut spec);
        let [found, given, allowed] = refused(&spec, 0.75, &training());
        assert_eq!([found.as_str(), given.as_str()], [field, value]);
        assert!(allowed.ends_with(", for recirculation"), "{field}: {allowed}");
    }
    let early = EarlyStopping { validation: 0.1, patience: 3, min_delta: 0.0 };
    let stops = Training { early_stopping: Some(early), ..training() };
    assert_eq!(refused(&sigmoid(), 0.75, &stops)[0], "early_stopping");
}
