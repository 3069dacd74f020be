//! Evaluating rows of which some are not finite: every term is still the mean over all rows, computed here in f64.

use super::*;
use strait::{EarlyStopping, Penalty, Stop};

const LAMBDA: f64 = 0.3;
const DECAY: f64 = 0.1;

/// A linear model with terms of the reconstruction, of the code and of the weights.
fn linear(training: Training) -> Session {
    let spec = Spec::symmetric(&[3, 2], Activation::Identity).weight_decay(DECAY);
    session(&gpu(), &spec.penalty(Penalty::L1 { weight: LAMBDA, layer: None }), training)
}

/// The terms `l1` and `weight_decay` of a linear model over all rows.
fn expected(session: &Session, data: &Data) -> [f64; 2] {
    let params = session.parameters().unwrap();
    let (w, b) = (&params[0], &params[1]);
    let code = |x: &[f32], j: usize| {
        let sum: f64 = (0..3).map(|i| f64::from(x[i]) * f64::from(w[i * 2 + j])).sum();
        (sum + f64::from(b[j])).abs()
    };
    let l1: f64 = data.values().chunks(3).map(|x| code(x, 0) + code(x, 1)).sum();
    let square = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    [LAMBDA * l1 / data.rows() as f64, DECAY / 2.0 * (square(w) + square(&params[2]))]
}

/// Asserts that the reconstruction is not finite and that the other terms are what they are.
fn holds(session: &mut Session, data: &Data) {
    let found = session.evaluate(data).unwrap();
    assert_eq!(found.terms[0].0, "reconstruction");
    assert!(!found.terms[0].1.is_finite() && !found.loss.is_finite(), "{found:?}");
    for (name, expected) in ["l1", "weight_decay"].into_iter().zip(expected(session, data)) {
        let value = found.terms.iter().find(|(term, _)| term == name).unwrap().1;
        assert!((value / expected - 1.0).abs() < 1e-5, "{name}: {value}, right {expected}");
    }
}

#[test]
fn terms_behind_a_batch_that_is_not_finite_are_counted_too() {
    let data = rows(1500);
    let mut session = linear(Training::default());
    let mut params = session.parameters().unwrap();
    // Its square is beyond f32 in every row.
    params[3][1] = 3e19;
    session.set_parameters(&params).unwrap();
    holds(&mut session, &data);
}

#[test]
fn one_bad_row_spoils_one_term_only() {
    // In the first batch, one in the middle, and the last; in batches of 1,024, and in more batches of 4 than the ring
    // of reports has places.
    for (count, bad, data_budget) in [(3000, 5, 1 << 30), (3000, 1100, 1 << 30), (3000, 2999, 1 << 30), (4200, 9, 48)] {
        let mut values = rows(count).values().to_vec();
        values[bad * 3] = 1e25;
        let data = Data::from_rows(3, values).unwrap();
        let mut session = linear(Training { data_budget, ..Training::default() });
        let mut params = session.parameters().unwrap();
        // The code does not see that feature.
        params[0][..2].fill(0.0);
        session.set_parameters(&params).unwrap();
        holds(&mut session, &data);
        // What was evaluated before leaves no trace.
        let good = session.evaluate(rows(1500)).unwrap();
        assert!(good.loss.is_finite(), "{good:?}");
    }
}

#[test]
fn a_validation_that_is_not_finite_is_never_the_best() {
    // The last row, which is held out, overflows when it is squared.
    let mut values = rows(10).values().to_vec();
    values[29] = 1e25;
    let early = EarlyStopping { validation: 0.1, patience: 2, min_delta: 0.0 };
    let training = Training { batch: 3, epochs: 9, early_stopping: Some(early), ..Training::default() };
    let mut session = linear(training);
    let fit = session.fit(Data::from_rows(3, values).unwrap()).unwrap();
    assert_eq!((fit.stop, fit.best_validation), (Stop::Early, None));
    let seen: Vec<f64> = fit.history.iter().filter_map(|p| p.validation.as_ref()).map(|found| found.loss).collect();
    assert!(seen.len() == 2 && seen.iter().all(|loss| !loss.is_finite()), "{seen:?}");
}
