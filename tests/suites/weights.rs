//! Parameters from other libraries: the layout of matrices and the names of layers are chosen, never guessed.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use strait::model::Supervised;
use strait::{Activation, Error, Latent, Loss, Model, Session, Spec, Training, Weights};

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
        Err(Error::Checkpoint { place, found, .. }) => {
            assert_eq!((&*place, &*found), ("decoder.0.bias", "1e39 at [1]"))
        }
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

/// The largest and the smallest numbers of every type, and what lies beyond, by bit patterns written down here. What is
/// no number of f32 is named with its place.
#[test]
fn numbers_at_the_ends() {
    let mut session = session(&Spec::symmetric(&[3, 2], Activation::Identity));
    let zeros = |count: usize| vec![0; count * 4];
    let mut check = |dtype: Dtype, last: &[u8], expected: Result<u32, &str>| {
        let values: Vec<u8> = [vec![0; 5 * last.len()], last.to_vec()].concat();
        let file = written_as(&[
            ("encoder.0.weight", Dtype::F32, &[3, 2], zeros(6)),
            ("encoder.0.bias", Dtype::F32, &[2], zeros(2)),
            ("decoder.0.weight", dtype, &[2, 3], values),
            ("decoder.0.bias", Dtype::F32, &[3], zeros(3)),
        ]);
        let before = session.parameters().unwrap();
        match (session.load_parameters(file.path(), Weights::InOut), expected) {
            (Ok(()), Ok(bits)) => {
                assert_eq!(session.parameter("decoder.0.weight").unwrap()[5].to_bits(), bits, "{dtype:?} {last:?}");
            }
            (Err(Error::Checkpoint { place, found, allowed, .. }), Err(number)) => {
                assert_eq!((&*place, found), ("decoder.0.weight", format!("{number} at [1, 2]")), "{last:?}");
                assert_eq!(allowed, "finite numbers, in the range of f32");
                assert_eq!(session.parameters().unwrap(), before);
            }
            other => panic!("{dtype:?} {last:?}: {other:?}"),
        }
    };
    // From halfway between the largest f32 and 2^128 on, numbers are nearer to what f32 does not have.
    let halfway = 2f64.powi(128) - 2f64.powi(103);
    for (number, expected) in [
        (f64::from(f32::MAX), Ok(0x7f7f_ffff)),
        (f64::from_bits(halfway.to_bits() - 1), Ok(0x7f7f_ffff)),
        (halfway, Err("3.4028235677973366e38")),
        (-1e39, Err("-1e39")),
        (f64::MAX, Err("1.7976931348623157e308")),
        (f64::NAN, Err("NaN")),
        (f64::INFINITY, Err("inf")),
        (2f64.powi(-149), Ok(1)),
        (2f64.powi(-150), Ok(0)),
        (-5e-324, Ok(0x8000_0000)),
    ] {
        check(Dtype::F64, &number.to_le_bytes(), expected);
    }
    for (bits, expected) in [
        (0x7f7f_ffff, Ok(0x7f7f_ffff)),
        (0x8000_0001, Ok(0x8000_0001)),
        (0x7fc0_0000, Err("NaN")),
        (0xff80_0000u32, Err("-inf")),
    ] {
        check(Dtype::F32, &bits.to_le_bytes(), expected);
    }
    // 65504, -2^-24, the largest number below 2^-14.
    for (bits, expected) in [
        (0x7bff, Ok(65504f32.to_bits())),
        (0x8001, Ok((-2f32.powi(-24)).to_bits())),
        (0x03ff, Ok((2f32.powi(-14) - 2f32.powi(-24)).to_bits())),
        (0x7c00, Err("inf")),
        (0x7e00, Err("NaN")),
        (0xfc01u16, Err("NaN")),
    ] {
        check(Dtype::F16, &bits.to_le_bytes(), expected);
    }
    // The upper half of an f32.
    for (bits, expected) in
        [(0xff7f, Ok(0xff7f_0000)), (0x0001, Ok(0x0001_0000)), (0x7f80, Err("inf")), (0xffc0u16, Err("NaN"))]
    {
        check(Dtype::BF16, &bits.to_le_bytes(), expected);
    }
    // Far into a large tensor, which is read in pieces.
    let mut values = vec![0f64; 400 * 400];
    values[399 * 400 + 7] = 1e39;
    let bytes = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let file = written_as(&[
        ("encoder.0.weight", Dtype::F64, &[400, 400], bytes(&values)),
        ("encoder.0.bias", Dtype::F32, &[400], zeros(400)),
        ("decoder.0.weight", Dtype::F32, &[400, 400], zeros(160_000)),
        ("decoder.0.bias", Dtype::F32, &[400], zeros(400)),
    ]);
    let mut large = self::session(&Spec::symmetric(&[400, 400], Activation::Identity));
    match large.load_parameters(file.path(), Weights::OutIn) {
        Err(Error::Checkpoint { place, found, .. }) => {
            assert_eq!((&*place, &*found), ("encoder.0.weight", "1e39 at [399, 7]"));
        }
        other => panic!("{other:?}"),
    }
}

/// The norm of the difference over the norm.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(&f, &e)| (f64::from(f) - e).powi(2)).sum();
    (error / expected.iter().map(|e| e.powi(2)).sum::<f64>()).sqrt()
}

/// What PyTorch wrote (tests/fixtures/make_state_dict.py) computes here what it computes there; its square layers tell
/// which way they lie.
#[test]
fn a_state_dict_of_pytorch() {
    let bytes: &[u8] = include_bytes!("../fixtures/state_dict.safetensors");
    let expected: Value = serde_json::from_str(include_str!("../fixtures/state_dict.json")).unwrap();
    let table = |key: &str| serde_json::from_value::<Vec<Vec<f64>>>(expected[key].clone()).unwrap().concat();
    let rows: Vec<f32> = table("rows").into_iter().map(|v| v as f32).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let spec = Spec::symmetric(&[6, 4, 4, 2], Activation::Elu);
    let names: Vec<(String, String)> = ["encoder", "decoder"]
        .iter()
        .flat_map(|side| (0..3).map(move |i| (format!("{side}.{i}"), format!("{side}.{}", 2 * i))))
        .collect();
    let mut session = session(&spec);
    session.load_parameters_named(file.path(), Weights::OutIn, &names).unwrap();
    let model = Model::with_parameters(&gpu(), &spec, file.path(), Weights::OutIn, &names).unwrap();
    for model in [session.model(), model] {
        let off = distance(&model.encode(&rows).unwrap(), &table("codes"));
        assert!(off <= 1e-6, "codes: {off:e}");
        let off = distance(&model.reconstruct(&rows).unwrap(), &table("outputs"));
        assert!(off <= 1e-6, "outputs: {off:e}");
    }
    // [out, in] = [4, 4] there, so that rows become columns.
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let there: Vec<f32> = bytemuck::pod_collect_to_vec(tensors.tensor("decoder.2.weight").unwrap().data());
    let turned: Vec<f32> = (0..16).map(|i| there[i % 4 * 4 + i / 4]).collect();
    assert_eq!(session.parameter("decoder.1.weight").unwrap(), turned);
    match session.load_parameters_named(file.path(), Weights::InOut, &names) {
        Err(Error::Checkpoint { place, found, allowed, .. }) => {
            assert_eq!((&*place, &*found), ("encoder.0.weight", "shape [4, 6]"));
            assert!(allowed.contains("[6, 4]") && allowed.contains("Weights::OutIn"), "{allowed}");
        }
        other => panic!("{other:?}"),
    }
    // By the names alone it does not load, and is told what there is.
    let refused = session.load_parameters(file.path(), Weights::OutIn).unwrap_err().to_string();
    for words in ["encoder.1.weight: found nothing", "encoder.4.weight [2, 4]", "load_parameters_named"] {
        assert!(refused.contains(words), "{refused}");
    }
}

/// Names of layers or tensors, strait's and a file's.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A file of two square layers, under these names: [[1, 2], [3, 4]] and (10, 20), [[5, 6], [7, 8]] and (0, 0).
fn squares(names: [&str; 4]) -> tempfile::NamedTempFile {
    let [w1, b1, w2, b2] = names;
    written(&[
        (w1, &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
        (b1, &[2], &[10.0, 20.0]),
        (w2, &[2, 2], &[5.0, 6.0, 7.0, 8.0]),
        (b2, &[2], &[0.0, 0.0]),
    ])
}

/// Layers by numbers, layers by names, and single tensors; pairs come in any order and say which layer is which.
#[test]
fn names_are_paired_by_the_caller() {
    let spec = Spec::symmetric(&[2, 2], Activation::Identity);
    let unit = [1.0, 0.0, 0.0, 1.0];
    let (first, second): ([f32; 4], [f32; 4]) = ([11.0, 23.0, 12.0, 24.0], [5.0, 7.0, 6.0, 8.0]);
    let single = ["0.weight", "0.bias", "2.weight", "2.bias"];
    let named = ["fc1.weight", "fc1.bias", "net.out.weight", "b"];
    // Those of the other layer, where the pairs say so.
    let other = [[15.0, 27.0, 16.0, 28.0], [1.0, 3.0, 2.0, 4.0]];
    let cases: [([&str; 4], Pairs); 4] = [
        (single, &[("encoder.0", "0"), ("decoder.0", "2")]),
        (single, &[("decoder.0", "2"), ("encoder.0", "0")]),
        (named, &[("encoder.0", "fc1"), ("decoder.0.bias", "b"), ("decoder.0.weight", "net.out.weight")]),
        (
            single,
            &[
                ("encoder.0.weight", "2.weight"),
                ("encoder.0.bias", "0.bias"),
                ("decoder.0.weight", "0.weight"),
                ("decoder.0.bias", "2.bias"),
            ],
        ),
    ];
    let same = [first, second];
    for ((there, names), [codes, decoded]) in cases.into_iter().zip([same, same, same, other]) {
        let (mut session, file) = (session(&spec), squares(there));
        session.load_parameters_named(file.path(), Weights::OutIn, names).unwrap();
        let model = Model::with_parameters(&gpu(), &spec, file.path(), Weights::OutIn, names).unwrap();
        for model in [session.model(), model] {
            assert_eq!(model.encode(&unit).unwrap(), codes, "{names:?}");
            assert_eq!(model.decode(&unit).unwrap(), decoded, "{names:?}");
        }
        session.load_parameters_named(file.path(), Weights::InOut, names).unwrap();
        let turned = |v: [f32; 4]| [v[0], v[2], v[1], v[3]];
        assert_eq!(session.decode(&unit).unwrap(), turned(decoded), "{names:?}");
    }
}

/// Nothing is left out, on either side, and nothing is taken twice; what fails changes nothing.
#[test]
fn names_that_do_not_fit_are_refused() {
    let mut session = session(&Spec::symmetric(&[2, 2], Activation::Identity));
    let before = session.parameters().unwrap();
    let right = squares(["0.weight", "0.bias", "2.weight", "2.bias"]);
    let normalised = written_as(&[
        ("0.weight", Dtype::F32, &[2, 2], vec![0; 16]),
        ("0.bias", Dtype::F32, &[2], vec![0; 8]),
        ("1.running_mean", Dtype::F32, &[2], vec![0; 8]),
        ("1.num_batches_tracked", Dtype::I64, &[], vec![0; 8]),
        ("2.weight", Dtype::F32, &[2, 2], vec![0; 16]),
        ("2.bias", Dtype::F32, &[2], vec![0; 8]),
    ]);
    let wide = written(&[
        ("0.weight", &[3, 2], &[0.0; 6]),
        ("0.bias", &[2], &[0.0; 2]),
        ("2.weight", &[2, 2], &[0.0; 4]),
        ("2.bias", &[2], &[0.0; 2]),
    ]);
    let long = "x".repeat(300);
    let many: Vec<String> = (0..9).map(|i| format!("{i}{long}")).collect();
    let many: Vec<(&str, &[usize], &[f32])> = many.iter().map(|name| (name.as_str(), &[1][..], &[0.0][..])).collect();
    let many = written(&many);
    let both = [("encoder.0", "0"), ("decoder.0", "2")];
    let cases: [(&tempfile::NamedTempFile, Pairs, &[&str]); 11] = [
        (
            &right,
            &[("encoder.0", "0"), ("decoder.0", "4")],
            &["4.weight, for decoder.0.weight: found nothing", "2.weight [2, 2]", "2.bias [2]"],
        ),
        (
            &normalised,
            &both,
            &["1.running_mean [2]", "1.num_batches_tracked []", "that no pair names", "the tensors of the pairs alone"],
        ),
        (&wide, &both, &["0.weight, for encoder.0.weight: found shape [3, 2]; allowed: shape [2, 2]"]),
        (&many, &both, &["0.weight, for encoder.0.weight: found nothing", "and 3 more"]),
        (&right, &[], &["names: found no pair for encoder.0.weight"]),
        (&right, &[("encoder.0", "0")], &["names: found no pair for decoder.0.weight"]),
        (
            &right,
            &[("encoder.0", "0"), ("decoder.0.weight", "2.weight")],
            &["names: found no pair for decoder.0.bias; allowed: a pair for every layer, or for each of its tensors"],
        ),
        (
            &right,
            &[("encoder.0", "0"), ("decoder.0", "2"), ("encoder.1", "4")],
            &["names: found \"encoder.1\"; allowed: encoder.0, decoder.0, or the name of one of their tensors"],
        ),
        (&right, &[("encoder", "0"), ("decoder.0", "2")], &["names: found \"encoder\""]),
        (
            &right,
            &[("encoder.0", "0"), ("decoder.0", "0")],
            &["names: found \"0.weight\" for encoder.0.weight and for decoder.0.weight"],
        ),
        (
            &right,
            &[("encoder.0", "0"), ("decoder.0", "2"), ("decoder.0.bias", "2.bias")],
            &["names: found \"decoder.0\" and \"decoder.0.bias\" for decoder.0.bias"],
        ),
    ];
    for (file, names, words) in cases {
        let refused = session.load_parameters_named(file.path(), Weights::OutIn, names).unwrap_err();
        assert!(matches!(refused, Error::Checkpoint { .. } | Error::Data { .. }), "{refused:?}");
        let model = Model::with_parameters(&gpu(), session.spec(), file.path(), Weights::OutIn, names).unwrap_err();
        for text in [refused.to_string(), model.to_string()] {
            words.iter().for_each(|word| assert!(text.contains(word), "{names:?}: {text}"));
            assert!(text.len() < 1000, "{text}");
        }
        assert_eq!(session.parameters().unwrap(), before);
    }
}

/// Two matrices where the model has one must be each other's transpose, to the bit, also where no names are paired.
#[test]
fn tied_weights_from_two_matrices() {
    let mut session = session(&Spec::symmetric(&[3, 2], Activation::Identity).tied());
    let file = |second: Option<[f32; 6]>| {
        let mut tensors: Vec<(&str, &[usize], &[f32])> = vec![
            ("encoder.0.weight", &[2, 3], &[1.0, 2.0, 0.0, 4.0, 5.0, 6.0]),
            ("encoder.0.bias", &[2], &[0.5, 0.25]),
            ("decoder.0.bias", &[3], &[7.0, 8.0, 9.0]),
        ];
        let second = second.as_ref().map(|values| values.as_slice());
        tensors.extend(second.map(|values| ("decoder.0.weight", &[3, 2][..], values)));
        written(&tensors)
    };
    let layers = [("encoder.0", "encoder.0"), ("decoder.0", "decoder.0")];
    let transpose = [1.0, 4.0, 2.0, 5.0, 0.0, 6.0];
    for second in [Some(transpose), None] {
        let file = file(second);
        for named in [true, false] {
            session.set_parameters(&[vec![0.0; 6], vec![0.0; 2], vec![0.0; 3]]).unwrap();
            match named {
                true => session.load_parameters_named(file.path(), Weights::OutIn, &layers).unwrap(),
                false => session.load_parameters(file.path(), Weights::OutIn).unwrap(),
            }
            // As [in, out].
            let [weight, encoder, decoder] = &session.parameters().unwrap()[..] else { panic!("three tensors") };
            assert_eq!(weight, &[1.0, 4.0, 2.0, 5.0, 0.0, 6.0]);
            assert_eq!((encoder.as_slice(), decoder.as_slice()), (&[0.5, 0.25][..], &[7.0, 8.0, 9.0][..]));
        }
    }
    let before = session.parameters().unwrap();
    // The next number, a zero of the other sign, and the matrix itself instead of its transpose.
    let next = f32::from_bits(5f32.to_bits() + 1);
    for (second, [found, allowed]) in [
        ([1.0, 4.0, 2.0, next, 0.0, 6.0], ["5.0000005 at [1, 1]", "5.0, as encoder.0.weight has it at [1, 1]"]),
        ([1.0, 4.0, 2.0, 5.0, -0.0, 6.0], ["-0.0 at [2, 0]", "0.0, as encoder.0.weight has it at [0, 2]"]),
        ([1.0, 2.0, 0.0, 4.0, 5.0, 6.0], ["0.0 at [1, 0]", "2.0, as encoder.0.weight has it at [0, 1]"]),
    ] {
        let file = file(Some(second));
        for refused in [
            session.load_parameters_named(file.path(), Weights::OutIn, &layers),
            session.load_parameters(file.path(), Weights::OutIn),
        ] {
            match refused {
                Err(Error::Checkpoint { place, found: there, allowed: right, .. }) => {
                    assert_eq!((&*place, &*there), ("decoder.0.weight", found));
                    assert!(right.starts_with(allowed) && right.contains("tied"), "{right}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(session.parameters().unwrap(), before);
    }
    // Who names the matrix says that it is there; who names the bias alone leaves it over.
    let refused = |file: tempfile::NamedTempFile, names: &[(&str, &str)]| {
        Model::with_parameters(
            &gpu(),
            &Spec::symmetric(&[3, 2], Activation::Identity).tied(),
            file.path(),
            Weights::OutIn,
            names,
        )
        .unwrap_err()
        .to_string()
    };
    let tensors =
        [("encoder.0", "encoder.0"), ("decoder.0.weight", "decoder.0.weight"), ("decoder.0.bias", "decoder.0.bias")];
    let text = refused(file(None), &tensors);
    assert!(text.contains("decoder.0.weight: found nothing"), "{text}");
    let text = refused(file(Some(transpose)), &[tensors[0], tensors[2]]);
    assert!(text.contains("decoder.0.weight: found a tensor that no pair names"), "{text}");
    // A mixture's decoder, which all components share.
    let spec = Spec::symmetric(&[2, 3], Activation::Identity).loss(Loss::Mixture { components: 2 }).tied();
    let mixture = self::session(&spec);
    let names: Vec<&str> = mixture.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let values = mixture.parameters().unwrap();
    let mut tensors: Vec<(&str, &[usize], &[f32])> =
        mixture.tensors().iter().zip(&values).map(|(t, v)| (t.name.as_str(), &t.shape.dims[..], &v[..])).collect();
    assert_eq!((names[0], tensors[0].1), ("encoder.0.weight", &[2, 3][..]));
    let w = values[0].clone();
    let turned = [w[0], w[3], w[1], w[4], w[2], w[5]];
    tensors.push(("decoder.0.weight", &[3, 2], &turned));
    self::session(&spec).load_parameters(written(&tensors).path(), Weights::InOut).unwrap();
}

/// Of every kind of model the layers and the tensors that belong to none, as a caller names them.
#[test]
fn every_kind_of_model_has_names() {
    let plain = || Spec::symmetric(&[6, 4, 2], Activation::Tanh);
    let sides = ["encoder.0", "encoder.1", "decoder.0", "decoder.1"];
    let with = |more: &[&'static str]| [&sides[..], more].concat();
    let variational = Spec { latent: Latent::Gaussian { beta: 1.0 }, ..plain() };
    let supervised = Spec { supervised: Some(Supervised { classes: 3, weight: 1.0 }), ..plain() };
    let latent = Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 2 };
    let predictive = Spec { latent, ..Spec::symmetric(&[6, 4], Activation::Identity).loss(Loss::SquaredError) };
    for (spec, layers) in [
        (plain(), with(&[])),
        (plain().tied(), with(&[])),
        (variational, with(&["log_variance"])),
        (supervised, with(&["classifier"])),
        (plain().loss(Loss::Mixture { components: 2 }), with(&["mixture.logits", "mixture.log_sigma"])),
        (plain().loss(Loss::Gaussian { sigma: 0.5, learned: true }), with(&["decoder.log_sigma"])),
        (predictive, vec!["encoder.0", "decoder.0"]),
    ] {
        let of_seed = |seed| Session::new(&gpu(), &spec, Training { seed, ..Training::default() }).unwrap();
        let (from, mut to) = (of_seed(1), of_seed(2));
        // "L3.weight" for that of the third layer, and "L3" for a tensor of its own.
        let names: Vec<(&str, String)> = layers.iter().enumerate().map(|(i, &name)| (name, format!("L{i}"))).collect();
        let there = |name: &str| {
            let (ours, theirs) = names.iter().find(|(ours, _)| name.starts_with(ours)).expect("a layer");
            name.replacen(ours, theirs, 1)
        };
        let values = from.parameters().unwrap();
        let renamed: Vec<String> = from.tensors().iter().map(|tensor| there(&tensor.name)).collect();
        let tensors: Vec<(&str, &[usize], &[f32])> = renamed
            .iter()
            .zip(from.tensors())
            .zip(&values)
            .map(|((name, tensor), values)| (name.as_str(), &tensor.shape.dims[..], &values[..]))
            .collect();
        assert_ne!(to.parameters().unwrap()[0], values[0]);
        to.load_parameters_named(written(&tensors).path(), Weights::InOut, &names).unwrap();
        assert_eq!(to.parameters().unwrap(), values, "{layers:?}");
    }
}
