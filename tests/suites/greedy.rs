//! Greedy pretraining against separate models that are trained one after the other and stacked, what it leaves alone, and what
//! of a spec its pairs have.

use crate::common::{gpu, squared_error, values};
use crate::updates::OPTIMIZERS;
use strait::internals::plan::AdapterKind;
use strait::model::{Mapping, Method};
use strait::train::{Run, Trainer};
use strait::{
    Activation, Corruption, Data, EarlyStopping, Error, Gpu, Latent, Layer, Loss, Penalty, Precision, Ramp, Scaling,
    Session, Spec, Training,
};

const ROWS: usize = 37;
const WIDTHS: [usize; 4] = [9, 6, 5, 3];

fn data() -> Data {
    Data::from_rows(WIDTHS[0], values(171, ROWS * WIDTHS[0], (0.0, 1.0))).unwrap()
}

fn spec() -> Spec {
    Spec::symmetric(&WIDTHS, Activation::Elu)
}

/// Kinds of pairs: plain, denoising, contractive, sparse, tied, scaled, with ramps.
fn specs() -> Vec<(&'static str, Spec)> {
    let contractive = Penalty::Contractive { weight: 0.1, of: Mapping::Encoder, method: Method::Auto };
    let sigmoid = Spec::symmetric(&WIDTHS, Activation::Sigmoid).code_activation(Activation::Sigmoid);
    vec![
        ("plain", spec()),
        ("denoising", spec().gaussian_corruption(0.2).weight_decay(0.01)),
        ("masking", spec().corruption(Corruption::Masking { probability: 0.3, rescale: false }).tied()),
        ("contractive", sigmoid.clone().loss(Loss::Bernoulli).penalty(contractive)),
        ("sparse", sigmoid.penalty(Penalty::KlSparsity { weight: 0.2, rho: 0.1, layer: None })),
        ("scaled", spec().scaling(Scaling::Standardise).loss(Loss::SquaredError)),
        ("variational", spec().variational(0.1).loss(Loss::Gaussian { sigma: 0.5, learned: true })),
        ("growing", spec().gaussian_corruption(0.3).ramp("corruption.sigma", Ramp::linear(0.0, 0.5))),
    ]
}

fn training() -> Training {
    Training { epochs: 4, batch: 8, learning_rate: 0.01, seed: 5, ..Training::default() }
}

/// Separate models, each trained on the codes of the one before: their parameters by the names that the deep spec has for them.
fn apart(gpu: &Gpu, spec: &Spec) -> Vec<(String, Vec<f32>)> {
    let (mut rows, mut found, count) = (data(), vec![], spec.encoder.len());
    for (i, pair) in spec.pairs().unwrap().into_iter().enumerate() {
        let training = Training { seed: training().seed + i as u64, ..training() };
        let mut session = Session::new(gpu, &pair, training).unwrap();
        session.fit(&rows).unwrap();
        for (tensor, values) in session.tensors().iter().zip(session.parameters().unwrap()) {
            let name = tensor.name.replace("encoder.0", &format!("encoder.{i}"));
            found.push((name.replace("decoder.0", &format!("decoder.{}", count - 1 - i)), values));
        }
        rows = Data::from_rows(pair.code(), session.encode(rows.values()).unwrap()).unwrap();
    }
    found
}

fn named(trainer: &Trainer) -> Vec<(String, Vec<f32>)> {
    let names = trainer.tensors().iter().map(|tensor| tensor.name.clone());
    names.zip(trainer.parameters().unwrap()).collect()
}

fn assert_same(gpu: &Gpu, found: &[f32], expected: &[f32], what: &str) {
    let same = match gpu.kind() {
        AdapterKind::Software => found == expected,
        AdapterKind::Hardware => squared_error(found, expected) < 1e-8,
    };
    assert!(same, "{what}: off by {:e}", squared_error(found, expected));
}

/// Takes all phases that are left.
fn finish(trainer: &mut Trainer) {
    while trainer.phase().is_some() {
        trainer.fit(data()).unwrap();
    }
}

#[test]
fn phases_are_separate_models() {
    let gpu = gpu();
    for (kind, spec) in specs() {
        let mut trainer = Trainer::new(&gpu, Run::greedy(&spec, &training()).unwrap()).unwrap();
        finish(&mut trainer);
        let found = named(&trainer);
        let expected = apart(&gpu, &spec);
        assert_eq!(found.len(), expected.len(), "{kind}");
        for (name, values) in expected {
            let own = found.iter().find(|(other, _)| *other == name);
            let (_, own) = own.unwrap_or_else(|| panic!("{kind}: no {name}"));
            assert_same(&gpu, own, &values, &format!("{kind}: {name}"));
        }
    }
}

/// Fine-tuning is a session of the whole that begins with the stacked parameters; the model that comes of all is one like any
/// other.
#[test]
fn fine_tuning_is_a_session_of_the_whole() {
    let gpu = gpu();
    for (kind, spec) in specs() {
        let run = Run::greedy(&spec, &training()).unwrap().then_fine_tune(&training()).unwrap();
        let mut trainer = Trainer::new(&gpu, run).unwrap();
        for _ in &spec.encoder {
            trainer.fit(data()).unwrap();
        }
        let stacked = named(&trainer);
        trainer.fit(data()).unwrap();
        let seed = training().seed + spec.encoder.len() as u64;
        let mut session = Session::new(&gpu, &spec, Training { seed, ..training() }).unwrap();
        let of = |name: &String| stacked.iter().find(|(other, _)| other == name).unwrap().1.clone();
        let begin: Vec<Vec<f32>> = session.tensors().iter().map(|tensor| of(&tensor.name)).collect();
        session.set_parameters(&begin).unwrap();
        session.fit(data()).unwrap();
        let model = trainer.model().unwrap();
        let rows = values(172, 5 * WIDTHS[0], (0.0, 1.0));
        let (found, expected) = (model.reconstruct(&rows).unwrap(), session.reconstruct(&rows).unwrap());
        assert_same(&gpu, &found, &expected, &format!("{kind}: reconstructions"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.save(&path).unwrap();
        let opened = strait::Model::open(&gpu, &path).unwrap();
        assert_eq!(opened.spec(), &spec, "{kind}");
        assert_same(&gpu, &opened.reconstruct(&rows).unwrap(), &found, &format!("{kind}: opened"));
    }
}

/// Whatever the optimizer, a phase changes its own pair and leaves every bit of the others.
#[test]
fn other_pairs_keep_their_bytes() {
    let gpu = gpu();
    for optimizer in OPTIMIZERS {
        let training = Training { optimizer, ..training() };
        let mut trainer = Trainer::new(&gpu, Run::greedy(&spec(), &training).unwrap()).unwrap();
        for i in 0..WIDTHS.len() - 1 {
            let before = trainer.parameters().unwrap();
            trainer.fit(data()).unwrap();
            let own = [format!("encoder.{i}."), format!("decoder.{}.", WIDTHS.len() - 2 - i)];
            let after = trainer.parameters().unwrap();
            for ((tensor, before), after) in trainer.tensors().iter().zip(before).zip(after) {
                let trained = own.iter().any(|own| tensor.name.starts_with(own));
                assert_eq!(before != after, trained, "{optimizer:?}, phase {i}: {}", tensor.name);
            }
        }
    }
}

/// From the middle of a phase on cached codes, in a file of the model's scaling too.
#[test]
fn a_run_goes_on_from_a_snapshot() {
    let gpu = gpu();
    let spec = spec().scaling(Scaling::Unit).gaussian_corruption(0.1);
    let run = || Run::greedy(&spec, &training()).unwrap().then_fine_tune(&training()).unwrap();
    let mut whole = Trainer::new(&gpu, run()).unwrap();
    finish(&mut whole);
    for (phases, steps) in [(0, 0), (0, 3), (1, 7), (2, 1), (3, 9)] {
        let mut trainer = Trainer::new(&gpu, run()).unwrap();
        for _ in 0..phases {
            trainer.fit(data()).unwrap();
        }
        if steps > 0 {
            trainer.load(data()).unwrap();
            trainer.step(steps).unwrap();
        }
        let snapshot = trainer.snapshot().unwrap();
        drop(trainer);
        let mut again = Trainer::restore(&gpu, run(), &snapshot).unwrap();
        finish(&mut again);
        let what = format!("after {phases} phases and {steps} steps");
        assert_same(&gpu, &again.parameters().unwrap().concat(), &whole.parameters().unwrap().concat(), &what);
        let rows = values(173, 4 * WIDTHS[0], (0.0, 1.0));
        let [found, expected] = [&again, &whole].map(|t| t.model().unwrap().encode(&rows).unwrap());
        assert_same(&gpu, &found, &expected, &what);
    }
}

/// What of a spec each pair has, written down by hand; stacked they are the spec again, but for what is of the whole.
#[test]
fn pairs_are_what_they_are_by_hand() {
    let mut spec = spec().loss(Loss::Bernoulli).gaussian_corruption(0.2).weight_decay(0.5);
    spec.latent = Latent::Gaussian { beta: 2.0 };
    spec.penalties = vec![
        Penalty::L1 { weight: 0.1, layer: Some(1) },
        Penalty::Contractive { weight: 0.3, of: Mapping::Encoder, method: Method::Auto },
        Penalty::StudentT { weight: 0.2, nu: 3.0, layer: None },
    ];
    spec.encoder[1].noise = Corruption::Gaussian { sigma: 0.7 };
    for path in ["penalties[1].weight", "penalties[0].weight", "latent.beta", "encoder[1].noise.sigma", "weight_decay"]
    {
        spec = spec.ramp(path, Ramp::linear(0.0, 1.0));
    }
    let pairs = spec.pairs().unwrap();
    let layer = |units: usize, activation: Activation| Layer { activation, ..Layer::new(units) };
    let expected = [(9, 6, Activation::Elu), (6, 5, Activation::Elu), (5, 3, Activation::Identity)];
    for (i, (pair, (input, code, activation))) in pairs.iter().zip(expected).enumerate() {
        let back = if i == 0 { Activation::Identity } else { Activation::Elu };
        let mut encoder = layer(code, activation);
        encoder.noise = if i == 1 { Corruption::Gaussian { sigma: 0.7 } } else { Corruption::None };
        assert_eq!((pair.input, &pair.encoder), (input, &vec![encoder]), "pair {i}");
        assert_eq!(pair.decoder, [layer(input, back)], "pair {i}");
        assert_eq!(pair.loss, if i == 0 { Loss::Bernoulli } else { Loss::SquaredError }, "pair {i}");
        assert_eq!(pair.latent, if i == 2 { spec.latent } else { Latent::Deterministic }, "pair {i}");
        assert_eq!((pair.weight_decay, &pair.corruption), (0.5, &spec.corruption), "pair {i}");
        let names: Vec<&str> = pair.penalties.iter().map(Penalty::name).collect();
        let own = if i == 1 { vec!["l1", "contractive", "student_t"] } else { vec!["contractive", "student_t"] };
        assert_eq!(names, own, "pair {i}");
    }
    let ramps = |i: usize| pairs[i].ramps.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(ramps(0), ["penalties[0].weight", "weight_decay"]);
    assert_eq!(ramps(1), ["encoder[0].noise.sigma", "penalties[0].weight", "penalties[1].weight", "weight_decay"]);
    assert_eq!(ramps(2), ["latent.beta", "penalties[0].weight", "weight_decay"]);
    let stacked = Spec::stack(&pairs).unwrap();
    assert_eq!(stacked, Spec { penalties: vec![], ramps: Default::default(), ..spec });
}

/// Noise of a decoder layer is on its output, which is a reconstruction in an inner pair, and the input of a layer in the whole.
#[test]
fn noise_of_decoders_is_no_noise_of_reconstructions() {
    let dropout = Corruption::Masking { probability: 0.5, rescale: true };
    let mut spec = Spec::symmetric(&[6, 5, 5], Activation::Identity);
    for layer in spec.encoder.iter_mut().chain(&mut spec.decoder) {
        layer.noise = dropout.clone();
    }
    for layer in ["encoder[0]", "encoder[1]", "decoder[0]", "decoder[1]"] {
        spec = spec.ramp(format!("{layer}.noise.probability"), Ramp::constant());
    }
    let pairs = spec.pairs().unwrap();
    let noise = |i: usize| [&pairs[i].encoder[0].noise, &pairs[i].decoder[0].noise];
    assert_eq!([noise(0), noise(1)], [[&dropout, &dropout], [&dropout, &Corruption::None]]);
    let ramps = |i: usize| pairs[i].ramps.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(ramps(0), ["decoder[0].noise.probability", "encoder[0].noise.probability"]);
    assert_eq!(ramps(1), ["encoder[0].noise.probability"]);

    // Five units give codes of five back as they are. With dropout on these, half of each would be the best.
    let mut spec = Spec::symmetric(&[6, 5, 5], Activation::Identity);
    spec.decoder[0].noise = dropout;
    let training = Training { epochs: 600, batch: ROWS, learning_rate: 0.02, ..training() };
    let rows = values(176, ROWS * 6, (-1.0, 1.0));
    let mut trainer = Trainer::new(&gpu(), Run::greedy(&spec, &training).unwrap()).unwrap();
    while trainer.phase().is_some() {
        trainer.fit(Data::from_rows(6, rows.clone()).unwrap()).unwrap();
    }
    let tensors = named(&trainer);
    let linear = |name: &str, x: &[f64]| -> Vec<f64> {
        let of = |part: &str| &tensors.iter().find(|(other, _)| *other == format!("{name}.{part}")).unwrap().1;
        let (w, b) = (of("weight"), of("bias"));
        let sum = |j: usize| x.iter().enumerate().map(|(i, x)| x * f64::from(w[i * b.len() + j])).sum::<f64>();
        (0..b.len()).map(|j| f64::from(b[j]) + sum(j)).collect()
    };
    let (mut along, mut size) = (0.0, 0.0);
    for row in rows.chunks(6) {
        let code = linear("encoder.0", &row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let back = linear("decoder.0", &linear("encoder.1", &code));
        along += code.iter().zip(back).map(|(h, r)| h * r).sum::<f64>();
        size += code.iter().map(|h| h * h).sum::<f64>();
    }
    assert!((along / size - 1.0).abs() < 0.03, "the reconstruction is {} times the code", along / size);
}

fn refused<T: std::fmt::Debug>(result: strait::Result<T>) -> [String; 3] {
    match result {
        Err(Error::Spec { field, value, allowed, .. }) => [field, value, allowed],
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_has_no_pairs_is_refused() {
    let lopsided = Spec { decoder: vec![Layer::new(9)], ..spec() };
    assert_eq!(refused(lopsided.pairs())[0], "decoder (number of layers)");
    let ends = spec().corruption(Corruption::SaltAndPepper { probability: 0.1 });
    assert_eq!(refused(ends.pairs())[..2], ["corruption", "salt_and_pepper"]);
    let sparse = spec().penalty(Penalty::KlSparsity { weight: 0.1, rho: 0.1, layer: None });
    assert_eq!(refused(sparse.code_activation(Activation::Sigmoid).pairs())[0], "pairs[0].encoder[0].activation");
    let early = EarlyStopping { validation: 0.1, patience: 3, min_delta: 0.0 };
    let stops = Training { early_stopping: Some(early), ..training() };
    assert_eq!(refused(Run::greedy(&spec(), &stops))[0], "early_stopping");
    let pairs = spec().pairs().unwrap();
    assert_eq!(refused(Run::greedy_by(&spec(), &pairs[1..], &training()))[0], "pairs");
    let mut wide = pairs.clone();
    wide[1].encoder[0].units = 7;
    assert_eq!(refused(Run::greedy_by(&spec(), &wide, &training()))[0], "encoder.1.weight");
    let deep = vec![spec(), pairs[1].clone(), pairs[2].clone()];
    assert_eq!(refused(Run::greedy_by(&spec(), &deep, &training()))[0], "pairs[0].layers");
    assert_eq!(refused(Spec::stack(&[]))[0], "specs");
    assert_eq!(refused(Spec::stack(&[pairs[0].clone(), pairs[2].clone()]))[0], "specs[1].input");
    let run = Run::new(vec![], vec![]).unwrap();
    assert_eq!(refused(run.then_fine_tune(&training()))[0], "run");
}

/// Sets by the names of layers: every tensor once, the rest in a set of its own.
#[test]
fn tensors_lie_in_the_sets_that_were_asked_for() {
    let sets: [(&str, &[&str]); 2] = [("inner", &["encoder.2", "decoder.0.weight"]), ("bias", &["encoder.0.bias"])];
    let run = Run::of(&spec(), &sets).unwrap().then_fine_tune(&training()).unwrap();
    let trainer = Trainer::new(&gpu(), run).unwrap();
    let names: Vec<&str> = trainer.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let first = ["encoder.2.weight", "encoder.2.bias", "decoder.0.weight", "encoder.0.bias", "encoder.0.weight"];
    assert_eq!((&names[..5], names.len()), (&first[..], 12));
    // What each starts with is what it starts with in a session.
    let session = Session::new(&gpu(), &spec(), training()).unwrap();
    let run = Run::of(&spec(), &sets).unwrap().then_fine_tune(&training()).unwrap();
    for (name, values) in named(&Trainer::new(&gpu(), run).unwrap()) {
        assert!(values == session.parameter(&name).unwrap(), "{name}");
    }
    assert_eq!(refused(Run::of(&spec(), &[("a", &["encoder.7"])]))[..2], ["sets[\"a\"]", "\"encoder.7\""]);
    assert_eq!(refused(Run::of(&spec(), &[("a", &["encoder"]), ("b", &["encoder.0.bias"])]))[0], "sets[\"b\"]");
    assert_eq!(refused(Run::of(&spec(), &[("a", &[])]))[..2], ["sets[\"a\"]", "none"]);
}

/// The training of the first phase says the seed and the budget of its run, which starts, draws and ends as a session with the same
/// options; that of a later phase says neither.
#[test]
fn a_first_fine_tuning_says_the_seed() {
    let gpu = gpu();
    let noisy = spec().gaussian_corruption(0.2);
    let of = |training: &Training| Run::of(&noisy, &[]).unwrap().then_fine_tune(training).unwrap();
    let mut ends = vec![];
    for seed in [0, 5, 11] {
        let training = Training { seed, data_budget: 4096, ..training() };
        let run = of(&training);
        assert_eq!((run.seed, run.data_budget), (seed, 4096));
        let mut trainer = Trainer::new(&gpu, run).unwrap();
        let mut session = Session::new(&gpu, &noisy, training).unwrap();
        assert!(trainer.parameters().unwrap() == session.parameters().unwrap(), "the start of seed {seed}");
        trainer.fit(data()).unwrap();
        session.fit(data()).unwrap();
        let (found, expected) = (trainer.parameters().unwrap().concat(), session.parameters().unwrap().concat());
        assert_same(&gpu, &found, &expected, &format!("seed {seed}"));
        ends.push(found);
    }
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        assert!(squared_error(&ends[a], &ends[b]) > 1e-3, "seeds give models of their own");
    }
    let later = Training { seed: 11, data_budget: 4096, ..training() };
    let run = Run::greedy(&spec(), &training()).unwrap().then_fine_tune(&later).unwrap();
    assert_eq!((run.seed, run.data_budget), (5, 1 << 30));
}

/// A trainer's model is used while it is trained, by others only when the trainer has gone.
#[test]
fn the_model_is_shared() {
    let gpu = gpu();
    let mut trainer = Trainer::new(&gpu, Run::greedy(&spec(), &training()).unwrap()).unwrap();
    let model = trainer.model().unwrap();
    let rows = values(174, 3 * WIDTHS[0], (0.0, 1.0));
    let before = model.encode(&rows).unwrap();
    let same = Session::new(&gpu, &spec(), training()).unwrap().encode(&rows).unwrap();
    // The outermost pair starts as a session of that seed does; the others by later seeds.
    assert_ne!(before, same);
    trainer.fit(data()).unwrap();
    assert_ne!(before, model.encode(&rows).unwrap());
    assert_eq!(refused(Session::of(&model, training()).map(drop))[0], "model");
    drop(trainer);
    Session::of(&model, training()).unwrap().fit(data()).unwrap();
}

/// Layers that have the names of another model's take its values, and what scales the input; others stay as they are.
#[test]
fn layers_start_from_another_model() {
    let gpu = gpu();
    let mut session = Session::new(&gpu, &spec().scaling(Scaling::Unit), training()).unwrap();
    session.fit(data()).unwrap();
    let trainer = |spec: &Spec| {
        let run = Run::of(spec, &[("encoder", &["encoder"])]).unwrap().then_fine_tune(&training()).unwrap();
        Trainer::new(&gpu, run).unwrap()
    };
    // The same encoder, and a decoder of one more layer.
    let mut deeper = spec().scaling(Scaling::Unit);
    deeper.decoder.push(Layer::new(9));
    let mut other = trainer(&deeper);
    let before = named(&other);
    other.start_from(&session).unwrap();
    for ((name, before), (_, now)) in before.into_iter().zip(named(&other)) {
        match session.parameter(&name) {
            Ok(values) => assert!(now == values, "{name}"),
            Err(_) => assert!(now == before, "{name}"),
        }
    }
    let rows = values(175, 3 * WIDTHS[0], (0.0, 1.0));
    assert!(other.model().unwrap().encode(&rows).unwrap() == session.encode(&rows).unwrap());
    let short = Spec { decoder: vec![Layer::new(9)], ..spec() };
    match trainer(&short).start_from(&session) {
        Err(Error::Data { place, found, allowed, .. }) => {
            assert_eq!([place, found, allowed], ["decoder.0.weight", "shape [3, 5]", "shape [3, 9]"]);
        }
        other => panic!("{other:?}"),
    }
}

/// Phases in half precision.
#[test]
fn half_precision_trains_in_phases() {
    let gpu = gpu();
    let run = Run::greedy(&spec().precision(Precision::F16), &training()).unwrap();
    match Trainer::new(&gpu, run) {
        Ok(mut trainer) => {
            finish(&mut trainer);
            assert!(trainer.parameters().unwrap().concat().iter().all(|value| value.is_finite()));
        }
        Err(error) => assert_eq!(refused::<()>(Err(error))[..2], ["precision", "f16"]),
    }
}
