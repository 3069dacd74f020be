//! Principal components against numpy's, and a linear autoencoder against them.

mod common;

use common::gpu;
use serde_json::Value;
use strait::analysis::Pca;
use strait::random::Draw;
use strait::{Activation, Data, Decay, Optimizer, Schedule, Session, Spec, Training, data};

#[test]
fn components_agree_with_numpy() {
    let gpu = gpu();
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string("tests/fixtures/pca.json").unwrap()).unwrap();
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
    let (mse, best) = (session.evaluate(&train).unwrap(), pca.mse(&train).unwrap());
    assert!((mse / best - 1.0).abs() < 1e-3, "{mse} against {best}");
    let decoder = &session.parameters().unwrap()[2];
    let columns: Vec<Vec<f64>> = decoder.chunks(8).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
    let angle = pca.largest_angle(&columns).unwrap();
    assert!(angle < 1e-2, "{angle}");
}
