//! Parameters from other libraries: the layout of matrices is chosen, never guessed.

use safetensors::tensor::{Dtype, TensorView};
use strait::{Activation, Error, Loss, Session, Spec, Training, Weights};

use crate::common::gpu;

/// Writes these tensors of f32.
fn written(tensors: &[(&str, &[usize], &[f32])]) -> tempfile::NamedTempFile {
    let bytes = |v: &f32| v.to_le_bytes().to_vec();
    let typed: Vec<_> = tensors
        .iter()
        .map(|(name, dims, values)| (*name, Dtype::F32, *dims, values.iter().flat_map(bytes).collect::<Vec<u8>>()))
        .collect();
    written_as(&typed)
}

/// Writes these tensors of any type, by their bytes.
fn written_as(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> tempfile::NamedTempFile {
    let views = tensors
        .iter()
        .map(|(name, dtype, dims, bytes)| (name.to_string(), TensorView::new(*dtype, dims.to_vec(), bytes).unwrap()));
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

/// Numbers of other widths are read as they are, as far as f32 holds them: by bit patterns written down here.
#[test]
fn numbers_of_64_and_of_16_bits() {
    let half = |words: &[u16]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    // 1, -2, .5, 65504, the smallest subnormal 2^-24, 0 in half precision; 1, -2, 3.140625, 2^127 in bfloat16.
    let halves = half(&[0x3c00, 0xc000, 0x3800, 0x7bff, 0x0001, 0x0000]);
    let brains = half(&[0x3f80, 0xc000, 0x4049, 0x7f00, 0x0000, 0x8000]);
    let doubles: Vec<u8> = [0.1f64, -1e-30, 1.0 + 2f64.powi(-40)].iter().flat_map(|v| v.to_le_bytes()).collect();
    let singles: Vec<u8> = [0.25f32, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let write = |doubles: Vec<u8>| {
        written_as(&[
            ("encoder.0.weight", Dtype::F16, &[3, 2], halves.clone()),
            ("encoder.0.bias", Dtype::F32, &[2], singles.clone()),
            ("decoder.0.weight", Dtype::BF16, &[2, 3], brains.clone()),
            ("decoder.0.bias", Dtype::F64, &[3], doubles),
            ("steps", Dtype::I64, &[1], vec![0; 8]),
        ])
    };
    let mut session = session(&Spec::symmetric(&[3, 2], Activation::Identity));
    session.load_parameters(write(doubles).path(), Weights::InOut).unwrap();
    let expected: [&[f32]; 4] = [
        &[1.0, -2.0, 0.5, 65504.0, 2f32.powi(-24), 0.0],
        &[0.25, 4.0],
        &[1.0, -2.0, 3.140625, 2f32.powi(127), 0.0, -0.0],
        &[0.1, -1e-30, 1.0],
    ];
    assert!(session.parameters().unwrap().iter().zip(expected).all(|(found, expected)| found == expected));
    // What f32 cannot hold is no number of it.
    let beyond: Vec<u8> = [0.0f64, 1e39, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    match session.load_parameters(write(beyond).path(), Weights::InOut) {
        Err(Error::Checkpoint { place, found, .. }) => assert_eq!((&*place, &*found), ("decoder.0.bias", "inf")),
        other => panic!("{other:?}"),
    }
    let whole = written_as(&[("encoder.0.weight", Dtype::I32, &[3, 2], vec![0; 24])]);
    match session.load_parameters(whole.path(), Weights::InOut) {
        Err(Error::Checkpoint { found, allowed, .. }) => {
            assert_eq!((&*found, &*allowed), ("dtype I32", "dtype F32, F64, F16, BF16"));
        }
        other => panic!("{other:?}"),
    }
}
