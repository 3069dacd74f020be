//! Autoencoders that were trained one by one, stacked: the deep one encodes and decodes as they do one after the other, and what has no
//! place between two layers is refused.

use crate::common::{gpu, squared_error, values};
use strait::model::Supervised;
use strait::train::Run;
use strait::{
    Activation, Corruption, Data, Error, Latent, Loss, Model, Penalty, Precision, Ramp, Result, Scaling, Session, Spec,
    Training,
};

const ROWS: usize = 20;
const INPUT: usize = 6;

fn training() -> Training {
    Training { epochs: 4, batch: 5, learning_rate: 0.02, seed: 4, ..Training::default() }
}

fn data() -> Vec<f32> {
    values(321, ROWS * INPUT, (0.0, 1.0))
}

/// All layers tanh, but the last one.
fn tanh(widths: &[usize]) -> Spec {
    Spec::symmetric(widths, Activation::Tanh).code_activation(Activation::Tanh)
}

/// Sigmoids and a likelihood that has the last one in it.
fn bernoulli(widths: &[usize]) -> Spec {
    Spec::symmetric(widths, Activation::Sigmoid).code_activation(Activation::Sigmoid).loss(Loss::Bernoulli)
}

fn sparse(widths: &[usize]) -> Spec {
    let latent = Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 5 };
    Spec { latent, unit_norm: true, ..tanh(widths).loss(Loss::SquaredError) }
}

/// Autoencoders each of which encodes what the one before gives.
fn kinds() -> Vec<(&'static str, Vec<Spec>)> {
    let missing = Corruption::Missing { keep: vec![true, false, true, true, true, false] };
    let ends = Corruption::SaltAndPepper { probability: 0.1 };
    let learned = Loss::Gaussian { sigma: 0.7, learned: true };
    let variational =
        |widths: &[usize]| Spec::symmetric(widths, Activation::Tanh).loss(learned.clone()).variational(0.1);
    vec![
        ("plain", vec![tanh(&[INPUT, 5]), tanh(&[5, 4, 4]), tanh(&[4, 3])]),
        ("alone", vec![sparse(&[INPUT, 5])]),
        ("bernoulli", vec![bernoulli(&[INPUT, 5]), bernoulli(&[5, 4]), bernoulli(&[4, 3])]),
        (
            "tied, of unit norm",
            vec![
                Spec { unit_norm: true, ..tanh(&[INPUT, 5]).tied() },
                Spec { unit_norm: true, ..tanh(&[5, 3]).tied() },
            ],
        ),
        ("scaled, variational", vec![variational(&[INPUT, 5]).scaling(Scaling::Standardise), variational(&[5, 3])]),
        ("missing", vec![tanh(&[INPUT, 5]).corruption(missing), tanh(&[5, 3]).gaussian_corruption(0.1)]),
        (
            "ends",
            vec![tanh(&[INPUT, 5]).corruption(ends.clone()).scaling(Scaling::Unit), tanh(&[5, 3]).corruption(ends)],
        ),
        ("mixture", vec![tanh(&[INPUT, 5]).loss(Loss::Mixture { components: 2 }), tanh(&[5, 3])]),
        ("predictive sparse", vec![sparse(&[INPUT, 5]), sparse(&[5, 4])]),
    ]
}

/// Models of these, each trained on the codes of the one before, and those codes of all.
fn trained(specs: &[Spec]) -> (Vec<Model>, Vec<f32>) {
    let (mut rows, mut models) = (data(), vec![]);
    for spec in specs {
        let mut session = Session::new(&gpu(), spec, training()).unwrap();
        session.fit(Data::from_rows(spec.input, rows.clone()).unwrap()).unwrap();
        rows = session.encode(&rows).unwrap();
        models.push(session.model());
    }
    (models, rows)
}

fn stack(models: &[Model]) -> Result<Model> {
    Model::stack(&gpu(), &models.iter().collect::<Vec<_>>())
}

fn assert_near(found: &[f32], due: &[f32], what: &str) {
    assert!(squared_error(found, due) < 1e-10, "{what}: off by {:e}", squared_error(found, due));
}

#[test]
fn a_stack_does_what_its_models_do_one_after_the_other() {
    for (kind, specs) in kinds() {
        let (models, codes) = trained(&specs);
        let deep = stack(&models).unwrap();
        assert_near(&deep.encode(&data()).unwrap(), &codes, &format!("{kind}: codes"));
        let back =
            |codes: &Vec<f32>| models.iter().rev().fold(codes.clone(), |code, model| model.decode(&code).unwrap());
        // Codes of no row, too.
        for codes in [codes, values(322, 7 * deep.spec().code(), (-1.0, 1.0))] {
            assert_near(&deep.decode(&codes).unwrap(), &back(&codes), &format!("{kind}: reconstructions"));
        }
        // What is the first one's, what is the last one's, to the bit.
        for (name, of) in
            [("decoder.log_sigma", 0), ("mixture.logits.weight", 0), ("log_variance.weight", specs.len() - 1)]
        {
            if let Ok(values) = deep.parameter(name) {
                assert!(values == models[of].parameter(name).unwrap(), "{kind}: {name}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep.safetensors");
        deep.save(&path).unwrap();
        let opened = Model::open(&gpu(), &path).unwrap();
        assert!(opened.encode(&data()).unwrap() == deep.encode(&data()).unwrap(), "{kind}: opened");
        // A model of its own: the others stay as they are.
        let before = models[0].parameters().unwrap();
        let mut whole = Session::of(&deep, training()).unwrap();
        whole.fit(Data::from_rows(INPUT, data()).unwrap()).unwrap();
        assert!(models[0].parameters().unwrap() == before, "{kind}: trained along");
    }
}

/// Two sigmoid layers whose likelihoods have the last sigmoid in them, by hand.
#[test]
fn what_a_likelihood_has_in_itself_stays() {
    let specs = [bernoulli(&[INPUT, 5]), bernoulli(&[5, 3])];
    let deep = Spec::stack(&specs).unwrap();
    let activations: Vec<Activation> = deep.decoder.iter().map(|layer| layer.activation).collect();
    assert_eq!(activations, [Activation::Sigmoid, Activation::Identity]);
    let (models, codes) = trained(&specs);
    // sigmoid(x W + b)
    let layer = |model: &Model, x: &[f64]| -> Vec<f64> {
        let [w, b] = ["weight", "bias"].map(|of| model.parameter(&format!("decoder.0.{of}")).unwrap());
        let sum = |j: usize| x.iter().enumerate().map(|(i, x)| x * f64::from(w[i * b.len() + j])).sum::<f64>();
        (0..b.len()).map(|j| 1.0 / (1.0 + (-f64::from(b[j]) - sum(j)).exp())).collect()
    };
    let due = codes.chunks(3).flat_map(|code| {
        let code: Vec<f64> = code.iter().map(|&h| f64::from(h)).collect();
        layer(&models[0], &layer(&models[1], &code))
    });
    let due: Vec<f32> = due.map(|r| r as f32).collect();
    assert_near(&stack(&models).unwrap().reconstruct(&data()).unwrap(), &due, "reconstructions");
}

/// Pairs that greedy pretraining takes, with likelihoods of codes, come to the spec whose pairs they are.
#[test]
fn pairs_of_ones_own_come_to_their_spec() {
    let spec = bernoulli(&[INPUT, 5, 4, 3]);
    let mut pairs = spec.pairs().unwrap();
    for pair in &mut pairs[1..] {
        pair.loss = Loss::Bernoulli;
        pair.decoder[0].activation = Activation::Identity;
    }
    Run::greedy_by(&spec, &pairs, &training()).unwrap();
    assert_eq!(Spec::stack(&pairs).unwrap(), spec);
}

/// Codes that an encoder predicts are all that is left of sparse ones.
#[test]
fn sparse_models_come_to_a_deterministic_one() {
    // Norms of weights are the last one's alone: a spec has no tensors that could be brought to them.
    let sparse = |widths: &[usize]| Spec { unit_norm: false, ..sparse(widths) };
    let deep = Spec::stack(&[sparse(&[INPUT, 5]), sparse(&[5, 4]), sparse(&[4, 4])]).unwrap();
    assert_eq!((deep.latent, &deep.loss), (Latent::Deterministic, &Loss::SquaredError));
    let layers = |layers: &[strait::Layer]| layers.iter().map(|l| (l.units, l.activation)).collect::<Vec<_>>();
    assert_eq!(layers(&deep.encoder), [5, 4, 4].map(|units| (units, Activation::Tanh)));
    assert_eq!(layers(&deep.decoder), [4, 5, INPUT].map(|units| (units, Activation::Identity)));
    // Before a variational one, whose code is that of the whole.
    let last = Spec::symmetric(&[5, 3], Activation::Tanh).variational(0.5);
    assert_eq!(Spec::stack(&[sparse(&[INPUT, 5]), last.clone()]).unwrap().latent, last.latent);
}

/// Each field of a spec by hand: whose it is in the whole.
#[test]
fn fields_are_of_the_first_of_the_last_or_of_none() {
    let l1 = |weight: f64| Penalty::L1 { weight, layer: None };
    let classifier = Some(Supervised { classes: 3, weight: 1.0 });
    let masking = |probability: f64| Corruption::Masking { probability, rescale: true };
    let mut first = Spec::symmetric(&[INPUT, 5], Activation::Tanh).loss(Loss::Gaussian { sigma: 0.5, learned: true });
    first = first.scaling(Scaling::Unit).weight_decay(0.1).gaussian_corruption(0.2).variational(0.3).penalty(l1(0.4));
    (first.walkback, first.supervised) = (2, classifier);
    first.decoder[0].noise = masking(0.1);
    let mut last = Spec::symmetric(&[5, 4, 3], Activation::Elu).loss(Loss::Gaussian { sigma: 0.6, learned: true });
    last = last.weight_decay(0.7).gaussian_corruption(0.8).variational(0.9).penalty(l1(1.0));
    (last.walkback, last.supervised, last.unit_norm) = (1, classifier, true);
    last.encoder[0].noise = masking(0.2);
    (last.decoder[0].noise, last.decoder[1].noise) = (masking(0.3), masking(0.4));
    first = first.ramp("weight_decay", Ramp::linear(0.0, 1.0));
    let deep = Spec::stack(&[first.clone(), last.clone()]).unwrap();
    let mut inner = last.decoder.clone();
    inner[1].noise = Corruption::None;
    let due = Spec {
        latent: Latent::Gaussian { beta: 0.9 },
        unit_norm: true,
        penalties: vec![],
        ramps: Default::default(),
        supervised: None,
        encoder: [first.encoder.clone(), last.encoder].concat(),
        decoder: [inner, first.decoder.clone()].concat(),
        ..first
    };
    assert_eq!(deep, due);
}

fn refused<T>(result: Result<T>) -> (String, String) {
    match result.map(drop) {
        Err(Error::Spec { field, value, .. }) => (field, value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_has_no_place_between_layers_is_refused() {
    let plain = |widths: &[usize]| tanh(widths);
    let second = |change: &dyn Fn(&mut Spec)| {
        let mut specs = [plain(&[INPUT, 6]), plain(&[6, 6]), plain(&[6, 6])];
        change(&mut specs[1]);
        refused(Spec::stack(&specs))
    };
    let is = |field: &str, value: &str| (format!("specs[1].{field}"), value.to_string());
    assert_eq!(second(&|spec| spec.scaling = Scaling::Unit), is("scaling", "Unit"));
    let keep = vec![true, false, true, true, true, true];
    let missing = Corruption::Missing { keep: keep.clone() };
    assert_eq!(
        second(&|spec| spec.corruption = missing.clone()),
        is("corruption", &format!("Missing {{ keep: {keep:?} }}"))
    );
    let softmax = |spec: &mut Spec| spec.loss = Loss::Softmax { classes: 3 };
    assert_eq!(second(&softmax), is("loss", "softmax"));
    assert_eq!(second(&|spec| spec.loss = Loss::Mixture { components: 2 }), is("loss", "mixture"));
    assert_eq!(second(&|spec| spec.unit_norm = true), is("unit_norm", "true"));
    assert_eq!(second(&|spec| spec.tied = true), is("tied", "true"));
    assert_eq!(second(&|spec| spec.precision = Precision::F16), is("precision", "F16"));
    assert_eq!(second(&|spec| spec.weight_decay = -1.0), is("weight_decay", "-1"));
    let narrow = [plain(&[INPUT, 5]), plain(&[6, 3])];
    assert_eq!(refused(Spec::stack(&narrow)), is("input", "6"));
    let first = Spec { unit_norm: true, ..plain(&[INPUT, 5]) };
    assert_eq!(refused(Spec::stack(&[first, plain(&[5, 3])])), ("specs[0].unit_norm".into(), "true".into()));

    assert_eq!(refused(stack(&[])), ("models".into(), "none".into()));
    let (models, _) = trained(&[plain(&[INPUT, 5]), plain(&[5, 3]).scaling(Scaling::Standardise)]);
    assert_eq!(refused(stack(&models)), ("models[1].scaling".into(), "Standardise".into()));
}

/// A scaling that the first one has not learned is not known to the whole either.
#[test]
fn what_is_not_learned_stays_unknown() {
    let first = Session::new(&gpu(), &tanh(&[INPUT, 5]).scaling(Scaling::Unit), training()).unwrap();
    let (last, _) = trained(&[tanh(&[INPUT, 3])]);
    assert_eq!(refused(Model::stack(&gpu(), &[&first, &last[0]])).0, "models[1].input");
    let second = Session::new(&gpu(), &tanh(&[5, 3]), training()).unwrap();
    let deep = Model::stack(&gpu(), &[&first, &second]).unwrap();
    match deep.encode(&data()) {
        Err(Error::Data { place, found, .. }) => assert_eq!([place, found], ["input scaling", "unknown"]),
        other => panic!("{other:?}"),
    }
    let mut whole = Session::of(&deep, training()).unwrap();
    whole.fit(Data::from_rows(INPUT, data()).unwrap()).unwrap();
    deep.encode(&data()).unwrap();
}
