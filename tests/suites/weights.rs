//! Parameters from other libraries: the layout of matrices is chosen, never guessed.

use safetensors::tensor::{Dtype, TensorView};
use strait::{Activation, Error, Loss, Session, Spec, Training, Weights};

use crate::common::gpu;

/// Writes these tensors of f32.
fn written(tensors: &[(&str, &[usize], &[f32])]) -> tempfile::NamedTempFile {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, dims, _), bytes)| (name.to_string(), TensorView::new(Dtype::F32, dims.to_vec(), bytes).unwrap()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), safetensors::serialize(views, None).unwrap()).unwrap();
    file
}

fn session(spec: &Spec) -> Session {
    Session::new(&gpu(), spec, Training::default()).unwrap()
}

/// Square weights fit either way; codes of (1, 0) and (0, 1) tell which row or column was taken.
#[test]
fn square_weights_lie_as_they_are_said_to() {
    let file = written(&[
        ("encoder.0.weight", &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
        ("encoder.0.bias", &[2], &[10.0, 20.0]),
        ("decoder.0.weight", &[2, 2], &[5.0, 6.0, 7.0, 8.0]),
        ("decoder.0.bias", &[2], &[0.0, 0.0]),
    ]);
    let mut session = session(&Spec::symmetric(&[2, 2], Activation::Identity));
    let unit = [1.0, 0.0, 0.0, 1.0];
    // x W + b with W as it stands in the file, and x Wᵀ + b.
    for (weights, codes, decoded) in [
        (Weights::InOut, [11.0, 22.0, 13.0, 24.0], [5.0, 6.0, 7.0, 8.0]),
        (Weights::OutIn, [11.0, 23.0, 12.0, 24.0], [5.0, 7.0, 6.0, 8.0]),
    ] {
        session.load_parameters(file.path(), weights).unwrap();
        assert_eq!(session.encode(&unit).unwrap(), codes, "{weights:?}");
        assert_eq!(session.decode(&unit).unwrap(), decoded, "{weights:?}");
    }
}

#[test]
fn where_only_the_transpose_fits_the_error_says_so() {
    let turned = |bias: &'static [usize]| {
        written(&[
            ("encoder.0.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ("encoder.0.bias", bias, &[0.0; 2]),
            ("decoder.0.weight", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ("decoder.0.bias", &[3], &[0.0; 3]),
        ])
    };
    let mut session = session(&Spec::symmetric(&[3, 2], Activation::Identity));
    let before = session.parameters().unwrap();
    let file = turned(&[2]);
    match session.load_parameters(file.path(), Weights::InOut) {
        Err(Error::Checkpoint { place, found, allowed, .. }) => {
            assert_eq!((place.as_str(), found.as_str()), ("encoder.0.weight", "shape [2, 3]"));
            assert!(allowed.starts_with("shape [3, 2]; the transpose fits"), "{allowed}");
            assert!(allowed.contains("Weights::OutIn"), "{allowed}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(session.parameters().unwrap(), before);
    session.load_parameters(file.path(), Weights::OutIn).unwrap();
    assert_eq!(session.parameter("encoder.0.weight").unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(session.encode(&[1.0, 0.0, 0.0]).unwrap(), [1.0, 4.0]);
    // The other way round, too; and where neither fits nothing is said of a transpose.
    let saved = tempfile::NamedTempFile::new().unwrap();
    session.save(saved.path()).unwrap();
    let refused = session.load_parameters(saved.path(), Weights::OutIn).unwrap_err().to_string();
    assert!(refused.contains("shape [2, 3]; the transpose fits") && refused.contains("Weights::InOut"), "{refused}");
    let refused = session.load_parameters(turned(&[1, 2]).path(), Weights::OutIn).unwrap_err().to_string();
    assert!(refused.contains("encoder.0.bias") && !refused.contains("transpose"), "{refused}");
}

/// Only weights are turned: a mixture's bias of two dimensions lies the same in both.
#[test]
fn biases_are_never_turned() {
    let mut session = session(&Spec::symmetric(&[2, 2], Activation::Identity).loss(Loss::Mixture { components: 2 }));
    let saved = tempfile::NamedTempFile::new().unwrap();
    session.save(saved.path()).unwrap();
    let names: Vec<String> = session.tensors().iter().map(|tensor| tensor.name.clone()).collect();
    let before = session.parameters().unwrap();
    // [in, K n] is [2, 4]: turn the file's by hand, the square ones as well.
    let turned = |name: &str, v: &[f32]| match (name.ends_with("weight"), v.len()) {
        (true, 4) => vec![v[0], v[2], v[1], v[3]],
        (true, 8) => [0, 4, 1, 5, 2, 6, 3, 7].map(|i: usize| v[i]).to_vec(),
        _ => v.to_vec(),
    };
    let values: Vec<Vec<f32>> = names.iter().zip(&before).map(|(name, v)| turned(name, v)).collect();
    let dims: Vec<Vec<usize>> = session
        .tensors()
        .iter()
        .map(|t| {
            if t.name.ends_with("weight") { t.shape.dims.iter().rev().copied().collect() } else { t.shape.dims.clone() }
        })
        .collect();
    let tensors: Vec<(&str, &[usize], &[f32])> =
        names.iter().zip(&dims).zip(&values).map(|((n, d), v)| (n.as_str(), d.as_slice(), v.as_slice())).collect();
    session.load_parameters(written(&tensors).path(), Weights::OutIn).unwrap();
    assert_eq!(session.parameters().unwrap(), before);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_unread() {
    for result in [
        session(&Spec::symmetric(&[2, 2], Activation::Identity)).load_parameters("/dev/zero", Weights::InOut),
        Session::open(&gpu(), "/dev/zero").map(drop),
    ] {
        assert!(matches!(result, Err(Error::Checkpoint { .. })), "{result:?}");
    }
}
