//! Steps in two halves: gradients are there to be read and replaced, and applied they are the steps of any other run.

use super::*;
use crate::common::squared_error;
use crate::updates::OPTIMIZERS;
use strait::internals::model::Network;
use strait::internals::reference::evaluate;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Corruption, EarlyStopping, Error, Loss, Penalty, Schedule};

/// Takes a step in two halves.
fn halves(session: &mut Session) {
    assert!(session.backward().unwrap());
    session.apply().unwrap();
    report(session);
}

/// Draws, penalties, clipping, a last batch that is smaller, another epoch: all as in steps taken whole.
#[test]
fn two_halves_are_a_step() {
    let spec = tiny().gaussian_corruption(0.2).weight_decay(0.01);
    for optimizer in OPTIMIZERS {
        let schedule = Schedule { warm_up: 3, ..Schedule::default() };
        let training = Training { optimizer, schedule, batch: 6, clip_norm: Some(0.3), ..Training::default() };
        let begun = || {
            let mut session = session(&gpu(), &spec, training);
            session.load(rows(15)).unwrap();
            session
        };
        let (mut whole, mut apart) = (begun(), begun());
        take(&mut whole, 8, 1);
        for step in 0..8 {
            if step == 5 {
                // A step between is begun anew, and so is a half that is repeated.
                assert!(apart.backward().unwrap());
                take(&mut apart, 1, 1);
                continue;
            }
            assert!(apart.backward().unwrap());
            halves(&mut apart);
        }
        assert_eq!(apart.steps(), 8);
        assert!(bits(&apart) == bits(&whole), "{optimizer:?}");
    }
}

/// What lies between two halves is in no checkpoint: the step is taken anew.
#[test]
fn a_checkpoint_between_two_halves() {
    let training = Training { optimizer: MOMENTUM, batch: 4, ..Training::default() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("between");
    let mut session =
        session(&gpu(), &tiny().corruption(Corruption::Masking { probability: 0.3, rescale: false }), training);
    session.load(rows(10)).unwrap();
    halves(&mut session);
    assert!(session.backward().unwrap());
    session.checkpoint(&file).unwrap();
    halves(&mut session);
    let mut resumed = Session::resume(&gpu(), &file).unwrap();
    resumed.load(rows(10)).unwrap();
    assert!(matches!(resumed.gradients(), Err(Error::Data { .. })));
    halves(&mut resumed);
    assert!(bits(&resumed) == bits(&session));
}

/// Against the whole objective's gradient by the interpreter in f64, before anything is clipped.
#[test]
fn gradients_are_those_of_the_objective() {
    let l1 = Penalty::L1 { weight: 0.05, layer: None };
    let spec = tiny().loss(Loss::SquaredError).penalty(l1).weight_decay(0.1).tied();
    let training = Training { batch: 7, shuffle: false, clip_norm: Some(1e-3), ..Training::default() };
    let mut session = session(&gpu(), &spec, training);
    session.load(rows(7)).unwrap();
    assert!(session.backward().unwrap());
    let found = session.gradients().unwrap();
    let graph = Network::new(&spec).unwrap().graph(Purpose::Train, false).unwrap();
    let wide = |v: &f32| f64::from(*v);
    let env = Environment {
        rows: 7,
        data: values(50, 21, (-1.0, 1.0)).iter().map(wide).collect(),
        params: session.parameters().unwrap().iter().map(|p| p.iter().map(wide).collect()).collect(),
        ..Environment::default()
    };
    let expected = evaluate(&graph, &env).unwrap();
    for (i, found) in found.iter().enumerate() {
        let own = env.sink(&graph, &expected, strait::graph::Sink::Gradient(i)).unwrap();
        let own: Vec<f32> = own.iter().map(|&v| v as f32).collect();
        let error = squared_error(found, &own).sqrt();
        assert!(error < 1e-5, "{}: {error:e}", session.tensors()[i].name);
    }
}

/// Two models that have a half of every batch each, and the mean of both gradients, are one model that has all of it.
#[test]
fn gradients_of_two_halves_of_a_batch() {
    let training = Training { optimizer: MOMENTUM, learning_rate: 0.1, shuffle: false, ..Training::default() };
    let made = |rows: Data| {
        let mut session = session(&gpu(), &tiny(), Training { batch: rows.rows(), ..training });
        session.load(rows).unwrap();
        session
    };
    let (first, second) = rows(12).split_at(6).unwrap();
    let (mut whole, mut parts) = (made(rows(12)), [made(first), made(second)]);
    take(&mut whole, 10, 1);
    for _ in 0..10 {
        parts.iter_mut().for_each(|part| assert!(part.backward().unwrap()));
        let [one, other] = parts.each_mut().map(|part| part.gradients().unwrap());
        let mean = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
        let mean: Vec<Vec<f32>> = one.iter().zip(&other).map(mean).collect();
        for part in &mut parts {
            part.set_gradients(&mean).unwrap();
            assert!(part.gradients().unwrap() == mean);
            part.apply().unwrap();
            report(part);
        }
    }
    assert!(bits(&parts[0]) == bits(&parts[1]));
    let error = squared_error(&parts[0].parameters().unwrap().concat(), &whole.parameters().unwrap().concat());
    assert!(error < 1e-10, "{error:e}");
}

/// With plain descent the step is the gradient that was put there.
#[test]
fn a_step_along_a_direction_of_ones_own() {
    let training = Training { optimizer: Optimizer::SGD, learning_rate: 0.5, batch: 5, ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    session.load(rows(5)).unwrap();
    let before = session.parameters().unwrap();
    assert!(session.backward().unwrap());
    let direction: Vec<Vec<f32>> = before.iter().map(|p| (0..p.len()).map(|i| i as f32 / 8.0).collect()).collect();
    session.set_gradients(&direction).unwrap();
    session.apply().unwrap();
    let moved = |(p, g): (&Vec<f32>, &Vec<f32>)| p.iter().zip(g).map(|(p, g)| p - 0.5 * g).collect();
    let expected: Vec<Vec<f32>> = before.iter().zip(&direction).map(moved).collect();
    assert!(session.parameters().unwrap() == expected);
}

#[test]
fn what_is_not_there_or_does_not_fit() {
    let mut session = session(&gpu(), &tiny(), Training { batch: 4, epochs: 1, ..Training::default() });
    let none = |found: Result<(), Error>| match found {
        Err(Error::Data { place, .. }) => place,
        other => panic!("{other:?}"),
    };
    assert_eq!(none(session.backward().map(drop)), "training data");
    session.load(rows(12)).unwrap();
    let zeros: Vec<Vec<f32>> = session.parameters().unwrap().iter().map(|p| vec![0.0; p.len()]).collect();
    for refused in [session.gradients().map(drop), session.set_gradients(&zeros), session.apply()] {
        assert_eq!(none(refused), "gradients");
    }
    assert!(session.backward().unwrap());
    let there = session.gradients().unwrap();
    assert_eq!(none(session.set_gradients(&zeros[1..])), "gradients");
    let mut bad = zeros.clone();
    bad[1].pop();
    assert_eq!(none(session.set_gradients(&bad)), "encoder.0.bias");
    // Nor what has no square in f32, which clipping would take for infinite.
    for value in [f32::NAN, f32::INFINITY, -1e30] {
        let mut bad = zeros.clone();
        bad[2][0] = value;
        assert_eq!(none(session.set_gradients(&bad)), "encoder.1.weight");
    }
    assert!(session.gradients().unwrap() == there, "nothing was replaced");
    session.apply().unwrap();
    assert_eq!(none(session.gradients().map(drop)), "gradients");
    // Two reports that nobody has read: neither half is taken.
    assert!(session.backward().unwrap());
    session.apply().unwrap();
    assert!(!session.backward().unwrap());
    assert_eq!(none(session.apply()), "gradients");
    report(&mut session);
    report(&mut session);
    halves(&mut session);
    assert!(!session.backward().unwrap(), "the run of three steps is over");
}

/// A step whose own gradient went bad changes nothing, whatever was put in its place; what comes after is not held to it.
#[test]
fn gradients_that_are_not_finite() {
    let training = Training { optimizer: Optimizer::SGD, batch: 5, ..Training::default() };
    let mut session = session(&gpu(), &tiny(), training);
    session.load(rows(5)).unwrap();
    let sound = session.parameters().unwrap();
    let mut huge = sound.clone();
    huge[0].fill(f32::MAX);
    let zeros: Vec<Vec<f32>> = sound.iter().map(|p| vec![0.0; p.len()]).collect();
    huge.last_mut().unwrap().fill(f32::MAX);
    session.set_parameters(&huge).unwrap();
    assert!(session.backward().unwrap());
    session.set_gradients(&zeros).unwrap();
    session.apply().unwrap();
    session.gpu().wait().unwrap();
    assert!(matches!(session.progress(), Err(Error::Diverged { step: 0, .. })));
    assert!(session.parameters().unwrap() == huge);
    session.load(rows(5)).unwrap();
    assert!(session.backward().unwrap());
    session.set_parameters(&sound).unwrap();
    halves(&mut session);
    assert!(session.parameters().unwrap() != sound);
    // Nor is a step that is taken whole.
    session.set_parameters(&huge).unwrap();
    assert!(session.backward().unwrap());
    session.set_parameters(&sound).unwrap();
    take(&mut session, 1, 1);
    assert!(session.parameters().unwrap() != sound);
}

/// Rows that are held out are looked at by `fit` alone, and its look is due after an epoch that ends whole.
#[test]
fn early_stopping_goes_on_after_halves() {
    let early = EarlyStopping { validation: 0.25, patience: 50, min_delta: 0.0 };
    let training = Training { batch: 3, epochs: 4, early_stopping: Some(early), ..Training::default() };
    let mut whole = session(&gpu(), &tiny(), training);
    whole.load(rows(12)).unwrap();
    let mut apart = session(&gpu(), &tiny(), training);
    apart.load(rows(12)).unwrap();
    take(&mut whole, 2, 1);
    (0..2).for_each(|_| halves(&mut apart));
    let fits = [whole.fit(rows(12)).unwrap(), apart.fit(rows(12)).unwrap()];
    assert_eq!(fits[0].best_validation, fits[1].best_validation);
    assert_eq!(fits[0].steps, 10);
    assert!(bits(&whole) == bits(&apart));
}
