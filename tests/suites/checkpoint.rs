//! Checkpoints: what comes back from them, and how files that lie are refused: with the place named, nothing loaded and
//! nothing half written.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::common::{gpu, report, values};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use strait::{Activation, Data, EarlyStopping, Error, Optimizer, Scaling, Session, Spec, Training, Weights};
use tempfile::TempDir;

fn spec() -> Spec {
    Spec::symmetric(&[3, 5, 2], Activation::Tanh).scaling(Scaling::Unit)
}

fn data() -> Data {
    Data::from_rows(3, values(5, 3 * 20, (-1.0, 1.0))).unwrap()
}

/// A session that has taken 12 steps, with two moments, a best set of parameters and a learned scaling.
fn trained() -> Session {
    let early = EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 };
    let training = Training { batch: 4, epochs: 3, early_stopping: Some(early), ..Training::default() };
    let mut session = Session::new(&gpu(), &spec(), training).unwrap();
    assert_eq!(session.fit(data()).unwrap().steps, 12);
    session
}

/// A file in a folder that goes when the test ends.
struct Place {
    folder: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Place { folder, path }
}

/// A file taken apart: metadata, and tensors with name, type, shape and bytes.
#[derive(Clone)]
struct File {
    metadata: HashMap<String, String>,
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl File {
    fn of(bytes: &[u8]) -> File {
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let mut tensors: Vec<_> = SafeTensors::deserialize(bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(name, v)| (name, v.dtype(), v.shape().to_vec(), v.data().to_vec()))
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        File { metadata: header.metadata().clone().unwrap(), tensors }
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(n, t, shape, b)| (n, TensorView::new(*t, shape.clone(), b).unwrap()));
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|t| t.0 == name).unwrap_or_else(|| panic!("{name}"))
    }

    /// Changes a metadata entry that is JSON.
    fn json(&mut self, key: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_str(&self.metadata[key]).unwrap();
        change(&mut value);
        self.metadata.insert(key.into(), value.to_string());
    }
}

/// A file by its header, the values of all tensors being `data`.
fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A checkpoint's bytes.
fn checkpoint() -> Vec<u8> {
    let place = place();
    trained().checkpoint(&place.path).unwrap();
    std::fs::read(&place.path).unwrap()
}

/// Asserts that each way of reading refuses the bytes at a place, and that a session they are loaded into stays.
fn refused(what: &str, bytes: &[u8], wanted: &str) {
    let at = place();
    std::fs::write(&at.path, bytes).unwrap();
    let check = |error: Error| match error {
        Error::Checkpoint { path, place, found, allowed, .. } => {
            assert_eq!(path, at.path, "{what}");
            assert!(place.contains(wanted), "{what}: {place}: found {found}; allowed: {allowed}");
            assert!(!found.is_empty() && !allowed.is_empty(), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    };
    check(Session::open(&gpu(), &at.path).map(|_| what).unwrap_err());
    check(Session::resume(&gpu(), &at.path).map(|_| what).unwrap_err());
}

#[test]
fn a_model_comes_back_as_it_was() {
    let (place, session) = (place(), trained());
    for whole in [false, true] {
        if whole { session.checkpoint(&place.path) } else { session.save(&place.path) }.unwrap();
        let opened = Session::open(&gpu(), &place.path).unwrap();
        assert_eq!(opened.spec(), session.spec());
        assert_eq!((opened.steps(), session.steps()), (0, 12), "to be used, or trained afresh");
        assert_eq!(opened.parameters().unwrap(), session.parameters().unwrap());
        let rows = data();
        assert_eq!(opened.reconstruct(rows.values()).unwrap(), session.reconstruct(rows.values()).unwrap());
    }
    let resumed = Session::resume(&gpu(), &place.path).unwrap();
    assert_eq!((resumed.steps(), resumed.training()), (12, session.training()));
    // What was resumed and not touched is written as it was read.
    let before = File::of(&std::fs::read(&place.path).unwrap());
    resumed.checkpoint(&place.path).unwrap();
    let after = File::of(&std::fs::read(&place.path).unwrap());
    assert_eq!((before.metadata, before.tensors), (after.metadata, after.tensors));
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 1, "nothing else is left in the folder");
}

#[test]
fn a_checkpoint_holds_what_is_documented() {
    let file = File::of(&checkpoint());
    let params = ["encoder.0", "encoder.1", "decoder.0", "decoder.1"];
    let mut expected: Vec<String> = vec!["input.scale".into(), "input.shift".into()];
    for prefix in ["", "optimizer.first.", "optimizer.second.", "early_stopping.best."] {
        expected.extend(params.iter().flat_map(|p| [format!("{prefix}{p}.weight"), format!("{prefix}{p}.bias")]));
    }
    expected.sort();
    let names: Vec<&String> = file.tensors.iter().map(|t| &t.0).collect();
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
    assert_eq!(file.metadata["strait.version"], "1");
    assert_eq!(Spec::from_json(&file.metadata["strait.spec"]).unwrap(), spec());
    // Weights are [in, out], row-major: a layer is x W + b.
    let weight = file.tensors.iter().find(|t| t.0 == "encoder.0.weight").unwrap();
    assert_eq!(weight.2, [3, 5]);
    let mut session = trained();
    let first: Vec<f32> = bytemuck::pod_collect_to_vec(&weight.3);
    assert_eq!(first, session.parameters().unwrap()[0]);
    let mut set = session.parameters().unwrap();
    set.iter_mut().for_each(|p| p.fill(0.0));
    (set[0][1], set[2][2]) = (0.5, 1.0);
    session.set_parameters(&set).unwrap();
    // From feature 0 to unit 1 of 5, and from there, row 1 of [5, 2], to code 0.
    let scaled = session.encode(&[1.0, -1.0, 0.0]).unwrap();
    assert!(scaled[0] > 0.1 && scaled[1] == 0.0, "{scaled:?}");
}

#[test]
fn before_the_first_step_there_is_little_to_keep() {
    let place = place();
    let session = Session::new(&gpu(), &spec(), Training { seed: 9, ..Training::default() }).unwrap();
    session.checkpoint(&place.path).unwrap();
    let mut resumed = Session::resume(&gpu(), &place.path).unwrap();
    assert_eq!(resumed.parameters().unwrap(), session.parameters().unwrap());
    assert!(matches!(resumed.encode(&[0.0; 3]), Err(Error::Data { .. })), "its scaling is still to be learned");
    assert!(resumed.fit(data()).unwrap().steps > 0);
    session.save(&place.path).unwrap();
    let refused = Session::resume(&gpu(), &place.path).unwrap_err();
    assert!(matches!(&refused, Error::Checkpoint { place, .. } if place == "strait.run"), "{refused}");
}

#[test]
fn parameters_come_from_any_file_with_their_names_and_shapes() {
    let (place, source) = (place(), trained());
    let mut file = File::of(&checkpoint());
    file.metadata.clear();
    file.tensors.push(("other".into(), Dtype::F32, vec![1], vec![0; 4]));
    // Of other types as well: counters and the like lie beside the weights.
    file.tensors.push(("steps".into(), Dtype::I64, vec![], vec![0; 8]));
    file.tensors.push(("half".into(), Dtype::BF16, vec![3], vec![0; 6]));
    std::fs::write(&place.path, file.bytes()).unwrap();
    let mut session = Session::new(&gpu(), &spec(), Training { seed: 5, ..Training::default() }).unwrap();
    session.load_parameters(&place.path, Weights::InOut).unwrap();
    assert_eq!(session.parameters().unwrap(), source.parameters().unwrap());
    // What the file lacks in part changes nothing at all.
    let before = session.parameters().unwrap();
    let mut changed = file.clone();
    changed.tensor("encoder.0.weight").3.fill(0x3f);
    let mut lacking = changed.clone();
    lacking.tensors.retain(|t| t.0 != "decoder.1.bias");
    let mut shaped = changed.clone();
    shaped.tensor("decoder.1.bias").2 = vec![3, 1];
    let mut bad = changed.clone();
    bad.tensor("decoder.1.bias").3 = [0.0f32, f32::NAN, 0.0].map(f32::to_le_bytes).concat();
    let mut halves = changed;
    (halves.tensor("decoder.1.bias").1, halves.tensor("decoder.1.bias").2) = (Dtype::F16, vec![6]);
    for (what, file) in [("lacking", lacking), ("shape", shaped), ("NaN", bad), ("F16", halves)] {
        std::fs::write(&place.path, file.bytes()).unwrap();
        let refused = session.load_parameters(&place.path, Weights::InOut).unwrap_err();
        assert!(matches!(&refused, Error::Checkpoint { place, .. } if place == "decoder.1.bias"), "{what}: {refused}");
        assert_eq!(session.parameters().unwrap(), before, "{what}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = checkpoint();
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let near = |at: usize| at.saturating_sub(3)..(at + 3).min(whole.len());
    let spread = (0..whole.len()).step_by(97);
    for cut in near(0).chain(near(8)).chain(near(header)).chain(near(whole.len())).chain(spread) {
        refused(&format!("cut at {cut}"), &whole[..cut], "header");
    }
    refused("longer", &[&whole[..], &[0]].concat(), "header");
}

#[test]
fn bytes_that_were_changed_are_refused_or_read_but_never_a_panic() {
    let whole = checkpoint();
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let at = place();
    let mut taken = 0;
    for i in (0..header).step_by(7) {
        let mut bytes = whole.clone();
        bytes[i] ^= 1 << (i % 8);
        std::fs::write(&at.path, &bytes).unwrap();
        match Session::open(&gpu(), &at.path) {
            Ok(_) => taken += 1,
            Err(Error::Checkpoint { .. }) => {}
            Err(other) => panic!("byte {i}: {other:?}"),
        }
    }
    // A changed digit of a number may well be another number.
    assert!(taken < header / 7 / 2, "{taken}");
}

#[test]
fn headers_that_lie_are_refused() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100_000_001] {
        refused(&format!("length {length}"), &[&length.to_le_bytes()[..], b"{}"].concat(), "header");
    }
    let cases = [
        ("no JSON", "{".to_string()),
        ("a list", "[]".into()),
        ("deep", "[".repeat(100_000)),
        ("not UTF-8", "\u{1}".into()),
        ("a type that is none", tensor("F33", "[1]", "[0,4]")),
        ("a negative dimension", tensor("F32", "[-1]", "[0,4]")),
        ("a fraction of a dimension", tensor("F32", "[1.5]", "[0,4]")),
        ("a size that overflows", tensor("F32", "[4294967296,4294967296]", "[0,4]")),
        ("a size in bytes that overflows", tensor("F32", "[4611686018427387904]", "[0,0]")),
        ("more values than bytes", tensor("F32", "[2]", "[0,4]")),
        ("offsets beyond the file", tensor("F32", "[1000000000000]", "[0,4000000000000]")),
        ("offsets backwards", tensor("F32", "[1]", "[4,0]")),
        ("a gap", tensor("F32", "[0]", "[4,4]")),
        ("no offsets", r#"{"t":{"dtype":"F32","shape":[1]}}"#.into()),
    ];
    for (what, header) in cases {
        refused(what, &raw(&header, &[0; 4]), "header");
    }
    // The same name twice, as a tensor and as metadata.
    let twice = r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    refused("twice", &raw(twice, &[0; 4]), "t");
    refused("metadata twice", &raw(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]), "__metadata__");
    let key = r#"{"__metadata__":{"strait.version":"1","strait.version":"1"}}"#;
    refused("a key twice", &raw(key, &[]), "strait.version");
    // A reader takes null for no metadata.
    let key = r#"{"__metadata__":null,"twin":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"twin":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;
    refused("twice behind null", &raw(key, &[]), "twin");
    let key = r#"{"__metadata__":null,"__metadata__":{"strait.version":"1"}}"#;
    refused("metadata twice, once null", &raw(key, &[]), "__metadata__");
    refused("null", &raw(r#"{"__metadata__":null}"#, &[]), "strait.version");
    refused("nothing", &[], "header");
    refused("no metadata", &raw(&tensor("F32", "[1]", "[0,4]"), &[0; 4]), "strait.version");
    refused("metadata that is no text", &raw(r#"{"__metadata__":{"strait.version":1}}"#, &[]), "header");
}

#[test]
fn tensors_that_do_not_fit_the_spec_are_refused() {
    let whole = File::of(&checkpoint());
    let with = |change: &dyn Fn(&mut File)| {
        let mut file = whole.clone();
        change(&mut file);
        file.bytes()
    };
    for name in
        ["encoder.0.weight", "input.scale", "optimizer.second.decoder.1.bias", "early_stopping.best.encoder.1.bias"]
    {
        let values = |f: &mut File| f.tensor(name).3.len() / 4;
        refused("missing", &with(&|f| f.tensors.retain(|t| t.0 != name)), name);
        refused("renamed", &with(&|f| f.tensor(name).0 += "s"), name);
        for bad in [f32::NAN, f32::INFINITY] {
            refused(
                "not finite",
                &with(&|f| {
                    let count = values(f);
                    f.tensor(name).3 = [bad.to_le_bytes().to_vec(), vec![0; 4 * (count - 1)]].concat();
                }),
                name,
            );
        }
        refused("a dimension more", &with(&|f| f.tensor(name).2.push(1)), name);
        refused(
            "longer",
            &with(&|f| {
                let count = values(f);
                (f.tensor(name).2, f.tensor(name).3) = (vec![count + 1], vec![0; 4 * (count + 1)]);
            }),
            name,
        );
        refused("empty", &with(&|f| (f.tensor(name).2, f.tensor(name).3) = (vec![0], vec![])), name);
        for (dtype, width) in
            [(Dtype::F16, 2), (Dtype::BF16, 2), (Dtype::I64, 8), (Dtype::F64, 8), (Dtype::U8, 1), (Dtype::I32, 4)]
        {
            refused(
                "another type",
                &with(&|f| {
                    let bytes: usize = f.tensor(name).2.iter().product::<usize>() * width;
                    (f.tensor(name).1, f.tensor(name).3) = (dtype, vec![0; bytes]);
                }),
                name,
            );
        }
    }
    refused("transposed", &with(&|f| f.tensor("encoder.0.weight").2.reverse()), "encoder.0.weight");
    for name in ["extra", "optimizer.extra", "optimizer.first.extra", "encoder.2.weight", ""] {
        refused("one more", &with(&|f| f.tensors.push((name.into(), Dtype::F32, vec![1], vec![0; 4]))), name);
    }
    // A model alone has no moments.
    refused("moments without a run", &with(&|f| drop(f.metadata.remove("strait.run"))), "");
}

#[test]
fn metadata_that_lies_is_refused() {
    let whole = File::of(&checkpoint());
    let with = |change: &dyn Fn(&mut File)| {
        let mut file = whole.clone();
        change(&mut file);
        file.bytes()
    };
    for version in ["2", "0", "-1", "1.0", "", "one", "99999999999999999999"] {
        refused(
            version,
            &with(&|f| drop(f.metadata.insert("strait.version".into(), version.into()))),
            "strait.version",
        );
    }
    for key in ["strait.version", "strait.spec"] {
        refused("missing", &with(&|f| drop(f.metadata.remove(key))), key);
    }
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Value));
    let spec: [Change; 6] = [
        ("a field more", &|v| v["colour"] = json!("red")),
        ("a field less", &|v| drop(v.as_object_mut().unwrap().remove("encoder"))),
        ("no width", &|v| v["encoder"][0]["units"] = json!(0)),
        ("a negative width", &|v| v["encoder"][0]["units"] = json!(-3)),
        ("null", &|v| v["weight_decay"] = Value::Null),
        ("a list", &|v| *v = json!([])),
    ];
    for (what, change) in spec {
        refused(what, &with(&|f| f.json("strait.spec", change)), "strait.spec");
    }
    let run: [Change; 8] = [
        ("a field more", &|v| v["colour"] = json!("red")),
        ("a field less", &|v| drop(v.as_object_mut().unwrap().remove("step"))),
        ("negative steps", &|v| v["step"] = json!(-1)),
        ("a batch of none", &|v| v["training"]["batch"] = json!(0)),
        ("a rate of none", &|v| v["training"]["learning_rate"] = json!(0.0)),
        ("an optimizer that is none", &|v| v["training"]["optimizer"]["kind"] = json!("lion")),
        ("no patience", &|v| v["training"]["early_stopping"]["patience"] = json!(0)),
        ("a string", &|v| *v = json!("run")),
    ];
    for (what, change) in run {
        refused(what, &with(&|f| f.json("strait.run", change)), "strait.run");
    }
    for text in ["", "{", "nonsense"] {
        for key in ["strait.spec", "strait.run"] {
            refused(text, &with(&|f| drop(f.metadata.insert(key.into(), text.into()))), key);
        }
    }
    // An optimizer with fewer moments than the file has, and one with more.
    refused(
        "SGD",
        &with(&|f| f.json("strait.run", |v| v["training"]["optimizer"] = json!(Optimizer::SGD))),
        "optimizer.",
    );
    let mut none = whole.clone();
    none.tensors.retain(|t| !t.0.starts_with("optimizer."));
    refused("no moments", &none.bytes(), "optimizer.first.");
    // A model far larger than the file is refused for what the file lacks, before anything is made for it.
    let wide = |f: &mut File| f.json("strait.spec", |v| v["encoder"][0]["units"] = json!(1 << 20));
    refused("a huge layer", &with(&wide), "encoder.0.weight");
}

/// Numbers of steps that no run has: nothing overflows, and what is past its end stands still.
#[test]
fn a_step_beyond_the_run_ends_it() {
    let whole = File::of(&checkpoint());
    for step in [13, 1 << 33, u64::MAX] {
        let (place, mut file) = (place(), whole.clone());
        file.json("strait.run", |v| v["step"] = json!(step));
        std::fs::write(&place.path, file.bytes()).unwrap();
        let mut session = Session::resume(&gpu(), &place.path).unwrap();
        let fit = session.fit(data()).unwrap();
        assert_eq!(fit.steps, 0, "{step}");
        assert_eq!(session.step(1).unwrap().steps(), 0);
    }
}

#[test]
fn what_cannot_be_written_leaves_the_old_file() {
    let (at, session) = (place(), trained());
    let missing = at.folder.path().join("missing").join("model");
    let folder = at.folder.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("inside"), "kept").unwrap();
    for target in [&missing, &folder, &PathBuf::new()] {
        let refused = session.save(target).unwrap_err();
        assert!(matches!(refused, Error::Io { .. }), "{}: {refused:?}", target.display());
    }
    assert_eq!(std::fs::read_to_string(folder.join("inside")).unwrap(), "kept");
    // An old file stays where the device is lost before its successor is whole.
    std::fs::write(&at.path, "old").unwrap();
    let lost = crate::common::own_gpu();
    let unwritten = Session::new(&lost, &spec(), Training::default()).unwrap();
    lost.device_lost("gone");
    assert!(matches!(unwritten.checkpoint(&at.path), Err(Error::DeviceLost { .. })));
    assert_eq!(std::fs::read_to_string(&at.path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(at.folder.path()).unwrap().count(), 2, "no half-written file is left");
    session.save(&at.path).unwrap();
    assert!(Session::open(&gpu(), &at.path).is_ok());
    for unreadable in [&missing, &folder] {
        assert!(matches!(Session::open(&gpu(), unreadable), Err(Error::Io { .. })));
        assert!(matches!(trained().load_parameters(unreadable, Weights::InOut), Err(Error::Io { .. })));
    }
}

/// The GPU counts steps in 32 bits.
#[test]
fn steps_beyond_32_bits_are_told_in_full() {
    let (place, session) = (place(), trained());
    session.checkpoint(&place.path).unwrap();
    let mut file = File::of(&std::fs::read(&place.path).unwrap());
    let near = (1u64 << 32) - 2;
    file.json("strait.run", |run| {
        run["step"] = json!(near);
        run["training"]["epochs"] = json!(u64::MAX);
        run["training"]["learning_rate"] = json!(1e-30);
    });
    std::fs::write(&place.path, file.bytes()).unwrap();
    let mut resumed = Session::resume(&gpu(), &place.path).unwrap();
    resumed.load(data()).unwrap();
    for taken in 1..=4 {
        assert_eq!(resumed.step(1).unwrap().steps(), 1);
        let progress = report(&mut resumed);
        assert_eq!(progress.step, near + taken);
        assert!(progress.loss > 0.0 && progress.loss < 10.0, "{progress:?}");
    }
    let large: Vec<Vec<f32>> = resumed.parameters().unwrap().iter().map(|p| vec![1e30; p.len()]).collect();
    resumed.set_parameters(&large).unwrap();
    match resumed.fit(data()) {
        Err(Error::Diverged { step, .. }) => assert_eq!(step, near + 4),
        other => panic!("{other:?}"),
    }
    assert_eq!(resumed.steps(), near + 4);
}

/// The last steps that 64 bits can count.
#[test]
fn steps_near_the_end_of_64_bits_are_taken_and_told() {
    let (place, session) = (place(), trained());
    session.checkpoint(&place.path).unwrap();
    let whole = File::of(&std::fs::read(&place.path).unwrap());
    for (behind, start) in [(0, 0), (1, 0), (5, 0), (5, u64::MAX - 5), (1500, 0), (1500, u64::MAX - 1600)] {
        let mut file = whole.clone();
        file.json("strait.run", |run| {
            run["step"] = json!(u64::MAX - behind);
            run["start"] = json!(start);
            run["best"]["waited"] = json!(0);
            run["training"]["epochs"] = json!(u64::MAX);
            run["training"]["early_stopping"] = json!(null);
            run["training"]["learning_rate"] = json!(1e-30);
        });
        std::fs::write(&place.path, file.bytes()).unwrap();
        let mut resumed = Session::resume(&gpu(), &place.path).unwrap();
        // Other rows than were held out before: told of as many, it goes on.
        resumed.load(data().split_at(16).unwrap().0).unwrap();
        let mut left = behind;
        while left > 0 {
            let taken = resumed.step(400).unwrap().steps();
            assert!(taken > 0 && taken <= left, "{taken} of {left}");
            left -= taken;
            let progress = report(&mut resumed);
            assert_eq!((progress.step, progress.total_steps), (u64::MAX - left, u64::MAX));
        }
        assert_eq!(resumed.step(1).unwrap().steps(), 0);
        resumed.checkpoint(&place.path).unwrap();
        assert_eq!(Session::resume(&gpu(), &place.path).unwrap().steps(), u64::MAX);
    }
}

#[test]
fn a_run_that_starts_behind_its_own_step_is_refused() {
    let mut file = File::of(&checkpoint());
    file.json("strait.run", |run| run["start"] = json!(13));
    refused("start", &file.bytes(), "strait.run");
}
