//! Draws of every kind of prior, by their moments and what their support is.

use crate::common::gpu;
use strait::graph::{Distribution, Expr, Graph, Shape, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::state::State;
use strait::model::{Mode, Prior};

fn drawn(prior: &Prior, code: usize, rows: usize) -> Vec<f32> {
    let mut g = Graph::new(vec![], vec![]);
    let z = prior.draw(&mut g, code).unwrap();
    g.sink(Sink::Output(0), z);
    let evaluator = Evaluator::new(&gpu(), &g, rows).unwrap();
    evaluator.run(State::once(rows, 5)).unwrap();
    evaluator.sink(Sink::Output(0), rows).unwrap()
}

/// Mean and variance of some values.
pub(super) fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, values.map(|v| (v - mean).powi(2)).sum::<f64>() / count)
}

/// Within five standard errors; of a variance by the fourth moment of a normal distribution, which is no smaller than the others'.
fn assert_moments(values: impl Iterator<Item = f64> + Clone, mean: f64, variance: f64, what: &str) {
    let count = values.clone().count() as f64;
    let found = moments(values);
    assert!((found.0 - mean).abs() < 5.0 * (variance / count).sqrt(), "{what}: mean {found:?}, not {mean}");
    assert!((found.1 - variance).abs() < 5.0 * variance * (2.0 / count).sqrt(), "{what}: {found:?}, not {variance}");
}

pub(super) fn column(rows: &[f32], columns: usize, at: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    rows.iter().skip(at).step_by(columns).map(|&v| f64::from(v))
}

#[test]
fn draws_are_those_of_the_prior() {
    const COUNT: usize = 20_000;
    let z = drawn(&Prior::Normal, 5, COUNT);
    for at in 0..5 {
        assert_moments(column(&z, 5, at), 0.0, 1.0, "normal");
        let products: Vec<f64> = column(&z, 5, at).zip(column(&z, 5, (at + 1) % 5)).map(|(a, b)| a * b).collect();
        assert_moments(products.iter().copied().chain([0.0]), 0.0, 1.0, "normal, two units");
    }
    let z = drawn(&Prior::Uniform { low: -1.0, high: 3.0 }, 2, COUNT);
    assert!(z.iter().all(|&v| (-1.0..=3.0).contains(&v)));
    for at in 0..2 {
        assert_moments(column(&z, 2, at), 1.0, 16.0 / 12.0, "uniform");
    }
    // Far apart, so that each row tells which mode it is of.
    let modes = [(1.0, [-20.0, 0.0, 5.0], 0.5), (2.0, [0.0, 10.0, -5.0], 1.0), (5.0, [20.0, 20.0, 0.0], 2.0)];
    let mixture = modes.map(|(weight, mean, deviation)| Mode { weight, mean: mean.to_vec(), deviation });
    let z = drawn(&Prior::Mixture(mixture.to_vec()), 3, COUNT);
    for (weight, mean, deviation) in modes {
        let own: Vec<f32> =
            z.chunks(3).filter(|row| (f64::from(row[0]) - mean[0]).abs() < 10.0).flatten().copied().collect();
        let share = weight / 8.0;
        let error = (share * (1.0 - share) / COUNT as f64).sqrt();
        let found = own.len() as f64 / (3 * COUNT) as f64;
        assert!((found - share).abs() < 5.0 * error, "{found} of the rows, not {share}");
        for (at, mean) in mean.into_iter().enumerate() {
            assert_moments(column(&own, 3, at), mean, deviation * deviation, "mixture");
        }
    }
    let circle = Prior::own(|g, stream| {
        let uniform = Expr::random(Distribution::Uniform, stream);
        let angle = g.map_to(std::f64::consts::TAU * uniform, &[], Shape::batched(&[1]))?;
        let [across, up] = [g.map([angle], |[a]| a.cos())?, g.map([angle], |[a]| a.sin())?];
        let [across, up] = [g.pad(across, 0, 2)?, g.pad(up, 1, 2)?];
        g.map([across, up], |[a, b]| a + b)
    });
    let z = drawn(&circle, 2, COUNT);
    assert!(z.chunks(2).all(|row| (row[0].hypot(row[1]) - 1.0).abs() < 1e-4));
    assert_moments(column(&z, 2, 0), 0.0, 0.5, "circle");
}
