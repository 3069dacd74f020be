//! Principal components against numpy's, and a linear autoencoder against them.

use crate::common::gpu;
use serde_json::Value;
use strait::Draw;
use strait::analysis::Pca;
use strait::{Activation, Data, Decay, Error, Optimizer, Schedule, Session, Spec, Training, data};

#[test]
fn components_agree_with_numpy() {
    let gpu = gpu();
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/pca.json")).unwrap();
    let (train, test) = data::digits().unwrap().split_at(1500).unwrap();
    for (i, k) in fixture["k"].as_array().unwrap().iter().enumerate() {
        let pca = Pca::fit(&gpu, &train, k.as_u64().unwrap() as usize).unwrap();
        let close = |found: f64, expected: &Value, what: &str| {
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1e-3), "{what}: {found} against {expected}");
        };
        close(pca.mse(&train).unwrap(), &fixture["train_mse"][i], "train");
        close(pca.mse(&test).unwrap(), &fixture["test_mse"][i], "test");
        for (j, (&value, &mean)) in pca.eigenvalues.iter().zip(&pca.mean).enumerate().take(16) {
            close(value, &fixture["eigenvalues"][j], "eigenvalue");
            close(mean, &fixture["mean"][j], "mean");
        }
    }
}

/// Four points whose components are known, in every order of magnitude that f32 has.
#[test]
fn values_of_any_size() {
    let gpu = gpu();
    for size in [1e-37, 1e-25, 1.0, 1e19, 1e20, 1e38f32] {
        let points = [[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
        let train = Data::from_rows(2, points.as_flattened().iter().map(|v| v * size).collect()).unwrap();
        let pca = Pca::fit(&gpu, &train, 1).unwrap();
        let square = f64::from(size).powi(2);
        let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-6 * expected.abs().max(1e-300);
        assert!(close(pca.eigenvalues[0], 4.5 * square), "{size}: {pca:?}");
        assert!(close(pca.components[0][0].abs(), 1.0), "{size}: {pca:?}");
        assert!(close(pca.mse(&train).unwrap(), 0.25 * square), "{size}: {pca:?}");
        let found = pca.reconstruct(&[2.0 * size, size]).unwrap();
        assert!(close(found[0], 2.0 * f64::from(size)) && found[1].abs() < f64::from(size) * 1e-6, "{size}: {found:?}");
    }
    // A constant has no components of its own, but any are right.
    let pca = Pca::fit(&gpu, &Data::from_rows(3, vec![0.0; 12]).unwrap(), 2).unwrap();
    assert_eq!(pca.eigenvalues, [0.0, 0.0]);
    assert_eq!(pca.reconstruct(&[0.0; 3]).unwrap(), [0.0; 3]);
}

/// Data whose covariance is known by its making: rows ±a_j along each axis j of an orthogonal basis, so that it is
/// Σ_j a_j²/n b_j b_j'. Wide enough to be multiplied in several parts, some values equal, most of them 0.
#[test]
fn components_of_wide_data_by_construction() {
    let gpu = gpu();
    for columns in [1, 2, 5, 191, 193, 400] {
        // A reflection of the axes: I − 2 w w'/w'w.
        let w = |i: usize| 1.0 + (i % 3) as f64;
        let square: f64 = (0..columns).map(|i| w(i).powi(2)).sum();
        let basis = |j: usize| (0..columns).map(move |i| f64::from(u8::from(i == j)) - 2.0 * w(i) * w(j) / square);
        let sizes = [5.0, 4.0, 4.0, 4.0, 1.0];
        let used = sizes.len().min(columns);
        let mut values = Vec::new();
        for (j, size) in sizes.iter().take(used).enumerate() {
            for sign in [1.0, -1.0] {
                values.extend(basis(j).map(|v| (sign * size * v + 2.0) as f32));
            }
        }
        let train = Data::from_rows(columns, values).unwrap();
        let pca = Pca::fit(&gpu, &train, columns).unwrap();
        let rows = 2.0 * used as f64;
        for (j, &found) in pca.eigenvalues.iter().enumerate() {
            let expected = if j < used { 2.0 * sizes[j] * sizes[j] / rows } else { 0.0 };
            assert!((found - expected).abs() < 2e-6 * 25.0, "{columns} columns, value {j}: {found}, not {expected}");
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (j, a) in pca.components.iter().enumerate() {
            for (k, b) in pca.components.iter().enumerate() {
                let expected = f64::from(u8::from(j == k));
                assert!((dot(a, b) - expected).abs() < 1e-10, "{columns} columns: {j} and {k}: {}", dot(a, b));
            }
        }
        // The three equal values share a space; which basis of it comes is nobody's business.
        let first: Vec<f64> = basis(0).collect();
        assert!((dot(&pca.components[0], &first).abs() - 1.0).abs() < 1e-5, "{columns} columns");
        if used == 5 {
            let within = |axis: usize| {
                let axis: Vec<f64> = basis(axis).collect();
                pca.components[1..4].iter().map(|c| dot(c, &axis).powi(2)).sum::<f64>()
            };
            (1..4).for_each(|j| assert!((within(j) - 1.0).abs() < 1e-5, "{columns} columns: {}", within(j)));
        }
        assert!(pca.mse(&train).unwrap() < 1e-9);
    }
}

/// Few rows, many rows, batches that do not come out even, and a mean far from 0: against covariances by plain loops
/// in f64.
#[test]
fn eigenvectors_against_the_covariance() {
    let gpu = gpu();
    for (rows, columns) in [(1, 3), (255, 7), (257, 40), (700, 210)] {
        let draw = Draw { seed: 5, stream: 1, step: 0 };
        let value = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            // Every tenth feature is constant, and neighbours go together.
            let own =
                if column % 10 == 9 { 0.0 } else { draw.normal(row, column) + draw.normal(row, column / 4 + 10_000) };
            (100.0 + own) as f32
        };
        let values: Vec<f32> = (0..rows * columns).map(value).collect();
        let mean = |c: usize| values.iter().skip(c).step_by(columns).map(|&v| f64::from(v)).sum::<f64>() / rows as f64;
        let means: Vec<f64> = (0..columns).map(mean).collect();
        let mut covariance = vec![0.0; columns * columns];
        for row in values.chunks(columns) {
            for (i, &a) in row.iter().enumerate() {
                for (j, &b) in row.iter().enumerate() {
                    covariance[i * columns + j] += (f64::from(a) - means[i]) * (f64::from(b) - means[j]) / rows as f64;
                }
            }
        }
        let trace: f64 = (0..columns).map(|i| covariance[i * columns + i]).sum();
        let pca = Pca::fit(&gpu, &Data::from_rows(columns, values.clone()).unwrap(), columns).unwrap();
        let sum: f64 = pca.eigenvalues.iter().sum();
        assert!((sum - trace).abs() <= 1e-5 * trace, "{rows} x {columns}: {sum}, not {trace}");
        assert!(pca.eigenvalues.is_sorted_by(|a, b| a >= b), "{rows} x {columns}");
        for (value, vector) in pca.eigenvalues.iter().zip(&pca.components) {
            for i in 0..columns {
                let product: f64 = (0..columns).map(|j| covariance[i * columns + j] * vector[j]).sum();
                let off = (product - value * vector[i]).abs();
                assert!(off <= 1e-5 * pca.eigenvalues[0].max(1e-9), "{rows} x {columns}: {off}");
            }
        }
    }
}

/// Fewer rows than features: against the rows themselves by plain loops in f64. More components are asked for than the
/// rows can have.
#[test]
fn few_wide_rows() {
    let gpu = gpu();
    for (rows, columns, count) in [(50, 2000, 60), (7, 300, 300), (2, 3, 3), (1, 40, 5), (64, 65, 65)] {
        let draw = Draw { seed: 9, stream: 3, step: 0 };
        // A few large directions that all rows share, and a part of each row's own.
        let value = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            let shared: f64 = (0..3).map(|k| 10f64.powi(-k) * draw.normal(row, k as usize) * wave(k, column)).sum();
            (5.0 + shared + 0.01 * draw.normal(row, column + 100)) as f32
        };
        let values: Vec<f32> = (0..rows * columns).map(value).collect();
        let mean = |c: usize| values.iter().skip(c).step_by(columns).map(|&v| f64::from(v)).sum::<f64>() / rows as f64;
        let means: Vec<f64> = (0..columns).map(mean).collect();
        let centred: Vec<Vec<f64>> = values
            .chunks(columns)
            .map(|row| row.iter().zip(&means).map(|(&v, m)| f64::from(v) - m).collect())
            .collect();
        let trace = centred.iter().flatten().map(|v| v * v).sum::<f64>() / rows as f64;
        let data = Data::from_rows(columns, values.clone()).unwrap();
        let pca = Pca::fit(&gpu, &data, count).unwrap();
        assert_eq!((pca.eigenvalues.len(), pca.components.len()), (count, count), "{rows} x {columns}");
        // All the variance is in as many directions as there are rows, less the mean.
        let sum: f64 = pca.eigenvalues.iter().sum();
        assert!((sum - trace).abs() <= 1e-6 * trace.max(1e-12), "{rows} x {columns}: {sum}, not {trace}");
        assert!(pca.eigenvalues.is_sorted_by(|a, b| a >= b) && pca.eigenvalues.iter().all(|&v| v >= 0.0));
        assert!(pca.eigenvalues[rows.min(count) - 1..].iter().all(|&v| v <= 1e-6 * trace.max(1e-12)));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (j, (value, vector)) in pca.eigenvalues.iter().zip(&pca.components).enumerate() {
            for (k, other) in pca.components[..=j].iter().enumerate() {
                let expected = f64::from(u8::from(j == k));
                assert!((dot(vector, other) - expected).abs() < 1e-10, "{rows} x {columns}: {j} and {k}");
            }
            // C v = X'(X v) / rows.
            let along: Vec<f64> = centred.iter().map(|row| dot(row, vector) / rows as f64).collect();
            for i in 0..columns {
                let product: f64 = centred.iter().zip(&along).map(|(row, a)| row[i] * a).sum();
                let off = (product - value * vector[i]).abs();
                assert!(off <= 1e-5 * pca.eigenvalues[0].max(1e-9), "{rows} x {columns}, component {j}: {off:e}");
            }
        }
        // What two components leave over is the rest of the spectrum.
        let two = Pca::fit(&gpu, &data, 2).unwrap();
        let left = (trace - two.eigenvalues[0] - two.eigenvalues[1]) / columns as f64;
        let found = two.mse(&data).unwrap();
        assert!((found - left).abs() <= 1e-6 * trace.max(1e-12), "{rows} x {columns}: {found}, not {left}");
    }
}

/// A direction that no other is like.
fn wave(k: i32, column: usize) -> f64 {
    (0.1 * f64::from(k + 1) * column as f64).sin()
}

/// A matrix of features by features would have 36 million values, and its eigenvalues would take minutes.
#[test]
fn few_wide_rows_take_no_long_time() {
    let gpu = gpu();
    let draw = Draw { seed: 2, stream: 8, step: 0 };
    let values: Vec<f32> = (0..30 * 6000).map(|i| draw.normal(i / 6000, i % 6000) as f32).collect();
    let data = Data::from_rows(6000, values).unwrap();
    let start = std::time::Instant::now();
    let pca = Pca::fit(&gpu, &data, 10).unwrap();
    let taken = start.elapsed();
    assert_eq!(pca.components.len(), 10);
    assert!(taken < std::time::Duration::from_secs(20), "{taken:?}");
}

/// A source that breaks its promises.
struct Liar {
    rows: usize,
    value: f32,
}

impl data::Source for Liar {
    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        3
    }

    fn read(&self, _: usize, out: &mut [f32]) -> strait::Result<()> {
        out.fill(self.value);
        Ok(())
    }

    fn name(&self) -> &str {
        "liar"
    }
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let gpu = gpu();
    let named = |error: Option<Error>, name: &str| match error {
        Some(Error::Data { place, .. }) => assert!(place.contains(name), "{place}"),
        other => panic!("{other:?}"),
    };
    for (rows, value) in [(0, 1.0), (300, f32::NAN), (3, f32::INFINITY)] {
        named(Pca::fit(&gpu, &Liar { rows, value }, 2).err(), "liar");
    }
    let values: Vec<f32> = (0..30).map(|i| (i * i % 7) as f32).collect();
    let pca = Pca::fit(&gpu, &Data::from_rows(3, values).unwrap(), 2).unwrap();
    for length in [0, 2, 4] {
        named(pca.reconstruct(&vec![1.0; length]).err(), "row");
    }
    named(pca.mse(&Data::from_rows(2, vec![1.0; 4]).unwrap()).err(), "data: columns");
    named(pca.largest_angle(&[vec![1.0; 3]]).err(), "vectors");
    named(pca.largest_angle(&[vec![1.0; 3], vec![f64::NAN; 3]]).err(), "vectors");
    // Its parts are public.
    let mut short = pca.clone();
    short.components[1].pop();
    let none = Pca { components: vec![], ..pca.clone() };
    let empty = Pca { mean: vec![], eigenvalues: vec![], components: vec![vec![]] };
    for broken in [short, none, empty] {
        let row = vec![1.0; broken.mean.len()];
        named(broken.reconstruct(&row).err(), "components");
        named(broken.largest_angle(&vec![vec![1.0; 3]; broken.components.len()]).err(), "components");
    }
}

/// The short form of the example `pca`: on data with a spectral gap, a linear autoencoder ends in the principal
/// subspace.
#[test]
fn a_linear_autoencoder_ends_in_the_principal_subspace() {
    let gpu = gpu();
    let deviations = [2.0, 1.5, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1];
    let draw = Draw { seed: 3, stream: 0, step: 0 };
    let row = |r: usize| {
        let independent: Vec<f64> = (0..8).map(|c| deviations[c] * draw.normal(r, c)).collect();
        // A reflection mixes the axes, so that no feature is a component by itself.
        let mean = independent.iter().sum::<f64>() / 4.0;
        independent.into_iter().map(move |v| (v - mean) as f32)
    };
    let train = Data::from_rows(8, (0..200).flat_map(row).collect()).unwrap();
    let pca = Pca::fit(&gpu, &train, 2).unwrap();
    let spec = Spec::symmetric(&[8, 2], Activation::Identity);
    let training = Training {
        batch: 200,
        epochs: 2000,
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: false },
        learning_rate: 0.1,
        schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
        ..Training::default()
    };
    let mut session = Session::new(&gpu, &spec, training).unwrap();
    session.fit(&train).unwrap();
    let (mse, best) = (session.evaluate(&train).unwrap().loss, pca.mse(&train).unwrap());
    assert!((mse / best - 1.0).abs() < 1e-3, "{mse} against {best}");
    let decoder = &session.parameters().unwrap()[2];
    let columns: Vec<Vec<f64>> = decoder.chunks(8).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
    let angle = pca.largest_angle(&columns).unwrap();
    assert!(angle < 1e-2, "{angle}");
}
