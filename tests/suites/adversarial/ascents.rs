//! Ascents of the error: monotone and bounded for every kind of model, and as far as brute force finds.

use super::draws::{column, moments};
use super::{WIDTH, data, forward, spec, training, wide};
use crate::common::{gpu, values};
use strait::model::{Ascent, Bound};
use strait::{Activation, Corruption, Data, Loss, Model, Scaling, Session, Spec};

/// A model of each kind that has an error of rows.
fn models() -> Vec<(&'static str, Model)> {
    let mut learned = spec().loss(Loss::Gaussian { sigma: 0.5, learned: true }).variational(0.1);
    learned.encoder[0].noise = Corruption::Gaussian { sigma: 0.3 };
    let specs = vec![
        ("squared", spec()),
        ("bernoulli", spec().loss(Loss::Bernoulli)),
        ("variational", learned),
        ("mixture", spec().loss(Loss::Mixture { components: 2 })),
        ("corrupted, tied", spec().gaussian_corruption(0.5).tied()),
        ("standardised", spec().scaling(Scaling::Standardise)),
    ];
    let trained = |(name, spec): (&'static str, Spec)| {
        let mut session = Session::new(&gpu(), &spec, training()).unwrap();
        session.fit(data()).unwrap();
        (name, session.model())
    };
    specs.into_iter().map(trained).collect()
}

#[test]
fn ascents_never_lower_the_error_and_keep_their_bound() {
    for (name, model) in models() {
        let rows = data().values().to_vec();
        let clean = model.score(&rows).unwrap();
        // Standard deviations, in whose units the bound is where rows are standardised.
        let scale: Vec<f64> = (0..WIDTH).map(|at| moments(column(&rows, WIDTH, at)).1.sqrt()).collect();
        for bound in [Bound::Infinity(0.15), Bound::Two(0.15)] {
            let mut before = clean.clone();
            // Steps far too long: most would lower it.
            for (steps, length) in [(1, 0.05), (2, 0.05), (4, 0.05), (8, 0.05), (16, 0.05), (1, 3.0), (20, 3.0)] {
                let ascent = Ascent { bound, steps, length };
                let (found, errors) = model.worst(&rows, &ascent).unwrap();
                let what = format!("{name}, {ascent:?}");
                let scored = model.score(&found).unwrap();
                if length > 1.0 {
                    before.clone_from(&clean);
                }
                for (row, &error) in errors.iter().enumerate() {
                    let least = before[row] - 1e-5 * before[row].abs().max(1.0);
                    assert!(error >= least, "{what}: row {row} fell from {} to {error}", before[row]);
                    assert!(
                        (error - scored[row]).abs() < 1e-4 * error.abs().max(1.0),
                        "{what}: {error} is {}",
                        scored[row]
                    );
                    let way = (0..WIDTH).map(|c| {
                        let way = f64::from(found[row * WIDTH + c]) - f64::from(rows[row * WIDTH + c]);
                        if name == "standardised" { way / scale[c] } else { way }
                    });
                    let far = match bound {
                        Bound::Infinity(_) => way.map(f64::abs).fold(0.0, f64::max),
                        _ => way.map(|v| v * v).sum::<f64>().sqrt(),
                    };
                    assert!(far <= 0.15 * (1.0 + 1e-5), "{what}: row {row} went {far}");
                }
                if name == "bernoulli" {
                    assert!(found.iter().all(|v| (0.0..=1.0).contains(v)), "{what}");
                }
                let rise = |e: &[f32]| e.iter().zip(&clean).map(|(e, c)| f64::from(e - c)).sum::<f64>();
                assert!(length > 1.0 || rise(&errors) > 0.0, "{what}: no error rose");
                before = errors;
            }
        }
    }
}

/// The largest error within the bound on a fine grid, in plain f64, of a model with two inputs.
#[test]
fn ascents_find_what_brute_force_finds() {
    let spec = Spec::symmetric(&[2, 3, 1], Activation::Tanh).loss(Loss::SquaredError);
    let mut session = Session::new(&gpu(), &spec, training()).unwrap();
    session.fit(Data::from_rows(2, values(213, 40, (-1.0, 1.0))).unwrap()).unwrap();
    let tensors = wide(&session.parameters().unwrap());
    let error = |x: &[f64]| {
        let h = forward(x, &tensors[..4], &[1]);
        let r = forward(&h, &tensors[4..], &[1]);
        r.iter().zip(x).map(|(r, x)| (r - x).powi(2)).sum::<f64>()
    };
    let rows = values(214, 16, (-1.0, 1.0));
    for bound in [Bound::Infinity(0.2), Bound::Two(0.2)] {
        let (_, errors) = session.worst(&rows, &Ascent { bound, steps: 60, length: 0.1 }).unwrap();
        for (row, &found) in rows.chunks(2).zip(&errors) {
            let mut most = 0.0f64;
            for i in -100..=100 {
                for j in -100..=100 {
                    let way = [f64::from(i) * 0.002, f64::from(j) * 0.002];
                    if matches!(bound, Bound::Infinity(_)) || way[0].hypot(way[1]) <= 0.2 {
                        most = most.max(error(&[f64::from(row[0]) + way[0], f64::from(row[1]) + way[1]]));
                    }
                }
            }
            let found = f64::from(found);
            assert!(found <= most * 1.01 && found >= most * 0.97, "{bound:?} at {row:?}: {found}, not {most}");
        }
    }
}
