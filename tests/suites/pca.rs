//! Principal components against numpy's, and a linear autoencoder against them.

use crate::common::gpu;
use serde_json::Value;
use strait::analysis::Pca;
use strait::random::Draw;
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
