//! Principal components against numpy's, and a linear autoencoder against them.

mod common;

use common::gpu;
use serde_json::Value;
use strait::analysis::Pca;
use strait::{Activation, Decay, Schedule, Session, Spec, Training, data};

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

/// The short form of the example `pca`: a linear autoencoder with two codes ends in the principal subspace.
#[test]
fn a_linear_autoencoder_ends_in_the_principal_subspace() {
    let gpu = gpu();
    let (train, test) = data::digits().unwrap().split_at(1500).unwrap();
    let pca = Pca::fit(&gpu, &train, 2).unwrap();
    let spec = Spec::symmetric(&[64, 2], Activation::Identity);
    let training = Training {
        batch: 1500,
        epochs: 2500,
        learning_rate: 0.01,
        schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
        ..Training::default()
    };
    let mut session = Session::new(&gpu, &spec, training).unwrap();
    session.fit(&train).unwrap();
    let mse = session.evaluate(&test).unwrap();
    let best = pca.mse(&test).unwrap();
    assert!((mse / best - 1.0).abs() < 1e-3, "{mse} against {best}");
    let decoder = &session.parameters().unwrap()[2];
    let columns: Vec<Vec<f64>> = decoder.chunks(64).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
    let angle = pca.largest_angle(&columns).unwrap();
    assert!(angle < 1e-2, "{angle}");
}
