//! Weights that grow or fade over a run: their formula at every step on the GPU, their gradients, going on in the middle of
//! one, kernels that many weights share, and ramps that cannot be.

use std::collections::BTreeSet;
use std::f64::consts::PI;

use crate::common::{gpu, report, squared_error, values};
use crate::what_this_device_lacks::{Need, has};
use strait::internals::model::Network;
use strait::internals::plan::{Recording, Target};
use strait::model::{Purpose, Supervised};
use strait::{
    Activation, Corruption, Curve, Data, Error, Latent, Loss, Optimizer, Penalty, Precision, Ramp, Session, Spec,
    Training,
};

/// A model with every weight that may have a ramp, each other than 1.
fn spec() -> Spec {
    let mut spec = Spec::symmetric(&[4, 3], Activation::Sigmoid).loss(Loss::SquaredError).weight_decay(0.02);
    spec = spec.variational(0.3).penalty(Penalty::L1 { weight: 0.05, layer: None });
    spec = spec.penalty(Penalty::StudentT { weight: 0.07, nu: 2.0, layer: None });
    Spec { supervised: Some(Supervised { classes: 2, weight: 0.4 }), ..spec }
}

/// The weights by their place, their terms, and their own values.
const WEIGHTS: [(&str, &str, f64); 5] = [
    ("weight_decay", "weight_decay", 0.02),
    ("latent.beta", "kl", 0.3),
    ("penalties[0].weight", "l1", 0.05),
    ("penalties[1].weight", "student_t", 0.07),
    ("supervised.weight", "supervised", 0.4),
];

fn rows() -> Data {
    let data = Data::from_rows(4, values(61, 15 * 4, (-1.0, 1.0))).unwrap();
    data.with_labels((0..15).map(|i| i % 2).collect()).unwrap().labelled(2).unwrap()
}

/// Seven epochs of three steps.
fn training() -> Training {
    Training { batch: 6, epochs: 7, optimizer: Optimizer::SGD, ..Training::default() }
}

const STEPS: usize = 21;

fn begun(spec: &Spec, training: Training) -> Session {
    begun_on(rows(), spec, training)
}

fn begun_on(data: Data, spec: &Spec, training: Training) -> Session {
    let mut session = Session::new(&gpu(), spec, training).unwrap();
    session.load(data).unwrap();
    session
}

/// The terms of the next step.
fn step(session: &mut Session) -> Vec<(String, f64)> {
    assert_eq!(session.step(1).unwrap().steps(), 1);
    report(session).terms
}

fn term(terms: &[(String, f64)], name: &str) -> f64 {
    terms.iter().find(|(other, _)| other == name).unwrap().1
}

/// The formulas, written down here.
fn formula(ramp: &Ramp, to: f64, step: usize) -> f64 {
    let part = step as f64 / STEPS as f64;
    let t = ((part - ramp.begin) / (ramp.end - ramp.begin)).clamp(0.0, 1.0);
    match ramp.curve {
        Curve::Linear => ramp.from * (1.0 - t) + to * t,
        Curve::Cosine => to + (ramp.from - to) * (1.0 + (PI * t).cos()) / 2.0,
        Curve::Exponential => (ramp.from.ln() * (1.0 - t) + to.ln() * t).exp(),
        Curve::Step if part < ramp.end => ramp.from,
        _ => to,
    }
}

fn ramps() -> Vec<Ramp> {
    let ramp = |from, curve, begin, end| Ramp { from, curve, begin, end };
    vec![
        Ramp::linear(0.0, 1.0),
        ramp(0.9, Curve::Linear, 0.2, 0.6),
        ramp(0.0, Curve::Cosine, 0.1, 0.9),
        ramp(1e-4, Curve::Exponential, 0.0, 0.8),
        ramp(2.0, Curve::Exponential, 0.3, 1.0),
        ramp(0.7, Curve::Step, 0.0, 0.5),
        Ramp::constant(),
    ]
}

/// What a step reports of a term is its value with weight 1, which a run without ramps tells, times the formula. The
/// learning rate is so small that nothing is learned between.
#[test]
fn every_step_has_the_weight_of_its_formula() {
    let training = Training { learning_rate: 1e-30, ..training() };
    let mut unit = spec();
    (unit.weight_decay, unit.supervised) = (1.0, Some(Supervised { classes: 2, weight: 1.0 }));
    unit = unit.variational(1.0);
    unit.penalties =
        vec![Penalty::L1 { weight: 1.0, layer: None }, Penalty::StudentT { weight: 1.0, nu: 2.0, layer: None }];
    let mut whole = begun(&unit, training);
    let whole: Vec<_> = (0..STEPS).map(|_| step(&mut whole)).collect();
    for (at, ramp) in ramps().into_iter().enumerate() {
        // All weights at once, and another ramp for one of them.
        let other = ramps()[(at + 1) % ramps().len()];
        let of = |path: &str| if path == "latent.beta" { other } else { ramp };
        let ramped = WEIGHTS.iter().fold(spec(), |spec, (path, ..)| spec.ramp(*path, of(path)));
        let mut session = begun(&ramped, training);
        for (at, whole) in whole.iter().enumerate() {
            let terms = step(&mut session);
            for (path, name, to) in WEIGHTS {
                let (found, of_one) = (term(&terms, name), term(whole, name));
                let expected = of_one * formula(&of(path), to, at);
                let close = (found - expected).abs() <= 1e-6 * of_one.abs();
                assert!(close, "{path}, {:?}, step {at}: {found} against {expected}", of(path));
            }
            assert_eq!(term(&terms, "reconstruction"), term(whole, "reconstruction"));
        }
    }
}

/// The gradient is that of the other terms, and the weight times that of the term alone.
#[test]
fn gradients_follow() {
    let training = Training { learning_rate: 1e-30, ..training() };
    let with = |weight: f64| spec().variational(weight);
    let (mut none, mut one) = (begun(&with(0.0), training), begun(&with(1.0), training));
    let ramp = Ramp { from: 0.0, curve: Curve::Cosine, begin: 0.0, end: 0.7 };
    let mut session = begun(&with(0.3).ramp("latent.beta", ramp), training);
    for at in 0..STEPS {
        let gradients = [&mut none, &mut one, &mut session].map(|session| {
            assert!(session.backward().unwrap());
            let found = session.gradients().unwrap().concat();
            session.apply().unwrap();
            report(session);
            found
        });
        let weight = formula(&ramp, 0.3, at);
        let mix = |(none, one): (&f32, &f32)| (f64::from(*none) + weight * f64::from(one - none)) as f32;
        let expected: Vec<f32> = gradients[0].iter().zip(&gradients[1]).map(mix).collect();
        let error = squared_error(&gradients[2], &expected).sqrt();
        assert!(error < 1e-6, "step {at}: {error:e}");
    }
}

/// Noise of every kind at its places: each step is that of a run whose noise always has the strength of the formula.
#[test]
fn noise_follows() {
    let training = Training { learning_rate: 1e-30, ..training() };
    let plain = || Spec::symmetric(&[4, 5, 3], Activation::Tanh).loss(Loss::Bernoulli);
    let gaussian = |sigma| Corruption::Gaussian { sigma };
    let masking = |probability, rescale| Corruption::Masking { probability, rescale };
    let layer = |noise: Corruption, decoder: bool| {
        let mut spec = plain();
        let layers = if decoder { &mut spec.decoder } else { &mut spec.encoder };
        layers[0].noise = noise;
        spec
    };
    type Noisy<'a> = (&'a str, f64, Box<dyn Fn(f64) -> Spec + 'a>);
    let cases: Vec<Noisy> = vec![
        ("corruption.sigma", 0.4, Box::new(|s| plain().corruption(gaussian(s)))),
        ("corruption.probability", 0.5, Box::new(|p| plain().corruption(masking(p, false)))),
        ("corruption.probability", 0.5, Box::new(|p| plain().corruption(masking(p, true)))),
        ("corruption.probability", 0.3, Box::new(|p| plain().corruption(Corruption::SaltAndPepper { probability: p }))),
        ("encoder[0].noise.sigma", 0.2, Box::new(|s| layer(gaussian(s), false))),
        ("decoder[0].noise.probability", 0.6, Box::new(|p| layer(masking(p, true), true))),
        // A walk of several passes meets the strength in each.
        ("corruption.sigma", 0.4, Box::new(|s| Spec { walkback: 2, ..plain().corruption(gaussian(s)) })),
    ];
    let data = || Data::from_rows(4, values(63, 15 * 4, (0.0, 1.0))).unwrap();
    for (at, (path, to, of)) in cases.into_iter().enumerate() {
        let from = if at == 6 { 0.1 } else { 0.0 };
        let ramp = Ramp { from, curve: Curve::Linear, begin: 0.1, end: 0.8 };
        let begun = |spec: &Spec| begun_on(data(), spec, training);
        let mut session = begun(&of(to).ramp(path, ramp));
        let mut seen = BTreeSet::new();
        for at in 0..STEPS {
            let found = term(&step(&mut session), "reconstruction");
            seen.insert(found.to_bits());
            if ![0, 3, 4, 9, 16, 20].contains(&at) {
                continue;
            }
            let mut fixed = begun(&of(formula(&ramp, to, at)));
            let expected = (0..=at).map(|_| term(&step(&mut fixed), "reconstruction")).last().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-5, "{path}, step {at}: {found} against {expected}");
        }
        assert_eq!(seen.len(), STEPS, "{path}: no two steps are alike");
    }
    // Strengths that noise cannot have, and noise that is not there.
    let refused = |spec: Spec, path: &str, ramp| match spec.ramp(path, ramp).check() {
        Err(Error::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let masked = || plain().corruption(masking(0.5, true));
    let from = |from| Ramp { from, ..Ramp::linear(0.0, 1.0) };
    assert_eq!(refused(masked(), "corruption.probability", from(1.0)), "ramps[\"corruption.probability\"].from");
    assert_eq!(refused(masked(), "corruption.sigma", from(0.1)), "ramps");
    assert_eq!(refused(plain(), "encoder[0].noise.sigma", from(0.1)), "ramps");
    let walk = Spec { walkback: 2, ..plain().corruption(gaussian(0.4)) };
    assert_eq!(refused(walk, "corruption.sigma", from(0.0)), "ramps[\"corruption.sigma\"].from");
}

/// Coefficients that are no weights: what a step reports is what one reports whose coefficient is the formula's value, and so are its
/// gradients.
#[test]
fn coefficients_follow() {
    let training = Training { learning_rate: 1e-30, ..training() };
    let plain = || Spec::symmetric(&[4, 3, 2], Activation::Tanh).code_activation(Activation::Sigmoid);
    let penalised = |penalty: Penalty| plain().penalty(penalty);
    let sparse = || Spec::symmetric(&[4, 6], Activation::Tanh).loss(Loss::SquaredError);
    let predictive = |weight, gamma| Spec { latent: Latent::PredictiveSparse { weight, gamma, steps: 5 }, ..sparse() };
    type Of<'a> = Box<dyn Fn(f64) -> Spec + 'a>;
    let cases: Vec<(&str, f64, f64, Of<'_>)> = vec![
        ("penalties[0].nu", 0.5, 3.0, Box::new(|nu| penalised(Penalty::StudentT { weight: 0.4, nu, layer: None }))),
        (
            "penalties[0].rho",
            0.05,
            0.5,
            Box::new(|rho| penalised(Penalty::KlSparsity { weight: 0.4, rho, layer: None })),
        ),
        (
            "penalties[0].rho",
            0.5,
            0.1,
            Box::new(|rho| penalised(Penalty::SquaredSparsity { weight: 2.0, rho, layer: None })),
        ),
        ("latent.weight", 0.1, 0.6, Box::new(|weight| predictive(weight, 0.3))),
        ("latent.gamma", 1.5, 0.2, Box::new(|gamma| predictive(0.2, gamma))),
        ("loss.gaussian.sigma", 2.0, 0.3, Box::new(|sigma| plain().loss(Loss::Gaussian { sigma, learned: false }))),
    ];
    let data = || Data::from_rows(4, values(64, 15 * 4, (0.0, 1.0))).unwrap();
    for (path, from, to, of) in cases {
        let ramp = Ramp { from, curve: Curve::Cosine, begin: 0.1, end: 0.8 };
        let begun = |spec: &Spec| begun_on(data(), spec, training);
        let mut session = begun(&of(to).ramp(path, ramp));
        for at in 0..STEPS {
            assert!(session.backward().unwrap());
            let found = session.gradients().unwrap().concat();
            session.apply().unwrap();
            let terms = report(&mut session).terms;
            if ![0, 3, 4, 9, 16, 20].contains(&at) {
                continue;
            }
            let mut fixed = begun(&of(formula(&ramp, to, at)));
            (0..at).for_each(|_| drop(step(&mut fixed)));
            assert!(fixed.backward().unwrap());
            let expected = fixed.gradients().unwrap().concat();
            fixed.apply().unwrap();
            for ((name, found), (wanted, expected)) in terms.iter().zip(report(&mut fixed).terms) {
                assert_eq!(*name, wanted);
                let close = (found - expected).abs() <= 2e-5 * expected.abs().max(1e-3);
                assert!(close, "{path}, step {at}, {name}: {found} against {expected}");
            }
            let off = squared_error(&found, &expected);
            assert!(off < 1e-9, "{path}, step {at}: gradients are off by {off:e}");
        }
        // Evaluation takes the value itself.
        let of_itself = begun(&of(to)).evaluate(data()).unwrap();
        assert_eq!(session.evaluate(data()).unwrap(), of_itself, "{path}");
    }
    let learned = plain().loss(Loss::Gaussian { sigma: 0.3, learned: true });
    assert!(learned.ramp("loss.gaussian.sigma", Ramp::linear(1.0, 1.0)).check().is_err(), "that is where it starts");
    match plain()
        .loss(Loss::Gaussian { sigma: 0.3, learned: false })
        .ramp("loss.gaussian.sigma", Ramp::linear(0.0, 1.0))
        .check()
    {
        Err(Error::Spec { field, .. }) => assert_eq!(field, "ramps[\"loss.gaussian.sigma\"].from"),
        other => panic!("{other:?}"),
    }
}

/// In half precision the gradient is that of the weight itself too, also where a ramp passes through weights that are a
/// thousandth of the largest: the backward pass is scaled by that.
#[test]
fn half_precision() {
    if !has("ramps::half_precision", Need::F16) {
        return;
    }
    let training = Training { learning_rate: 1e-30, ..training() };
    let half = |beta: f64| spec().variational(beta).precision(Precision::F16);
    let ramp = Ramp { from: 1e-3, curve: Curve::Exponential, begin: 0.0, end: 0.9 };
    let mut session = begun(&half(1.0).ramp("latent.beta", ramp), training);
    for at in 0..STEPS {
        assert!(session.backward().unwrap());
        let found = session.gradients().unwrap().concat();
        session.apply().unwrap();
        report(&mut session);
        if ![0, 7, 14, 20].contains(&at) {
            continue;
        }
        let mut fixed = begun(&half(formula(&ramp, 1.0, at)), training);
        (0..at).for_each(|_| drop(step(&mut fixed)));
        assert!(fixed.backward().unwrap());
        let error = squared_error(&found, &fixed.gradients().unwrap().concat()).sqrt();
        assert!(error < 2e-3, "step {at}: {error:e}");
    }
}

/// Evaluation takes the weights' own values, whatever step the run is at.
#[test]
fn evaluation_has_the_value_itself() {
    let ramped = WEIGHTS.iter().fold(spec(), |spec, (path, ..)| spec.ramp(*path, Ramp::linear(0.0, 1.0)));
    let [found, expected] = [ramped, spec()].map(|spec| begun(&spec, training()).evaluate(rows()).unwrap());
    assert_eq!(found, expected);
}

/// A run that is taken up in the middle of its ramps ends as if nothing had happened, and one behind it begins them anew.
#[test]
fn a_run_goes_on_in_the_middle_of_a_ramp() {
    let training = Training { optimizer: Optimizer::ADAM, ..training() };
    let spec = WEIGHTS.iter().zip(ramps()).fold(spec(), |spec, ((path, ..), ramp)| spec.ramp(*path, ramp));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("middle");
    let mut whole = begun(&spec, training);
    whole.fit(rows()).unwrap();
    let mut broken = begun(&spec, training);
    (0..8).for_each(|_| drop(step(&mut broken)));
    broken.checkpoint(&file).unwrap();
    let mut resumed = Session::resume(&gpu(), &file).unwrap();
    assert_eq!(resumed.spec(), &spec, "the ramps are in the file");
    resumed.fit(rows()).unwrap();
    assert!(resumed.parameters().unwrap() == whole.parameters().unwrap());
    // With a ramp from 0 the first step of another run reports 0 again.
    let plain = Training { learning_rate: 1e-30, ..training };
    let mut again = begun(&self::spec().ramp("latent.beta", Ramp::linear(0.0, 1.0)), plain);
    again.fit(rows()).unwrap();
    again.load(rows()).unwrap();
    assert_eq!(term(&step(&mut again), "kl"), 0.0);
    assert!(term(&step(&mut again), "kl") > 0.0);
}

/// Weights that fade out altogether, in a run of more steps than a table has rows, from data that comes in chunks: the last
/// look of a run finds them gone, and a run that was broken off in it goes on to the same bits.
#[test]
fn long_runs_over_chunks() {
    let fade = Ramp { from: 0.5, curve: Curve::Linear, begin: 0.0, end: 0.5 };
    let mut spec = Spec::symmetric(&[4, 3], Activation::Tanh).penalty(Penalty::L1 { weight: 0.0, layer: None });
    for path in ["weight_decay", "penalties[0].weight"] {
        spec = spec.ramp(path, fade);
    }
    let data = Data::from_rows(4, values(62, 20 * 4, (-1.0, 1.0))).unwrap();
    let training = Training { batch: 5, epochs: 300, learning_rate: 1e-30, data_budget: 160, ..Training::default() };
    let begun = || {
        let mut session = Session::new(&gpu(), &spec, training).unwrap();
        session.load(data.clone()).unwrap();
        session
    };
    let mut session = begun();
    let mut seen = vec![];
    let fit = session.fit_with(data.clone(), |progress| {
        seen.push((progress.step, term(&progress.terms, "weight_decay"), term(&progress.terms, "l1")));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(fit.unwrap().steps, 1200);
    // Reports are means of several steps: they fall until the middle of the run and stay 0 from there.
    assert!(seen.windows(2).all(|w| w[1].1 <= w[0].1), "{seen:?}");
    assert!(seen[0].1 > 0.0 && seen[0].2 > 0.0);
    let late: Vec<_> = seen.iter().filter(|(step, ..)| *step > 600 + 256).collect();
    assert!(!late.is_empty() && late.iter().all(|(_, decay, l1)| (*decay, *l1) == (0.0, 0.0)), "{seen:?}");
    // One step of the second table's length, by hand.
    let mut session = begun();
    let all = Session::new(&gpu(), &spec.clone(), training).unwrap();
    let squares: f64 = (all.parameters().unwrap().iter().zip(all.tensors()))
        .filter(|(_, tensor)| tensor.name.ends_with("weight"))
        .flat_map(|(values, _)| values.iter().map(|v| f64::from(*v).powi(2)))
        .sum();
    for step in 0..560 {
        let found = term(&self::step(&mut session), "weight_decay");
        let expected = 0.5 * (1.0 - step as f64 / 600.0) * 0.5 * squares;
        assert!((found / expected - 1.0).abs() < 1e-5, "step {step}: {found} against {expected}");
    }
}

/// Weights and ramps of every kind have one set of kernels, and with a constant ramp they learn what the weight itself does.
#[test]
fn kernels_know_no_weight() {
    let mut texts = BTreeSet::new();
    for i in 0..64 {
        let lambda = 1e-4 * 1.2f64.powi(i);
        let ramp = Ramp { from: if i % 2 == 0 { lambda } else { 0.5 }, ..ramps()[i as usize % ramps().len()] };
        let spec = Spec::symmetric(&[4, 3], Activation::Sigmoid).penalty(Penalty::L1 { weight: lambda, layer: None });
        let spec = spec.ramp("penalties[0].weight", ramp);
        let graph = Network::new(&spec).unwrap().graph(Purpose::Train, true).unwrap();
        let recording = Recording::new(&graph, Target::of(&gpu(), 6)).unwrap();
        texts.insert(recording.dispatches.iter().map(|dispatch| dispatch.wgsl.clone()).collect::<Vec<_>>());
    }
    assert_eq!(texts.len(), 1, "64 weights and ramps");
    let constant = WEIGHTS.iter().fold(spec(), |spec, (path, ..)| spec.ramp(*path, Ramp::constant()));
    let [plain, constant] = [spec(), constant].map(|spec| {
        let mut session = begun(&spec, training());
        session.fit(rows()).unwrap();
        session.parameters().unwrap().concat()
    });
    assert!(squared_error(&constant, &plain) < 1e-12);
}

/// Where its ramps are constant evaluation has one set of kernels, too, and gives what it gives without them.
#[test]
fn evaluation_knows_no_weight() {
    let places = || WEIGHTS.iter().map(|(path, ..)| *path).chain(["penalties[1].nu"]);
    let mut texts = BTreeSet::new();
    for factor in [0.0, 0.5, 1.0, 3.0] {
        let mut plain = spec().variational(0.3 * factor).weight_decay(0.02 * factor);
        plain.supervised = Some(Supervised { classes: 2, weight: 0.4 * factor });
        plain.penalties = vec![
            Penalty::L1 { weight: 0.05 * factor, layer: None },
            Penalty::StudentT { weight: 0.07 * factor, nu: 2.0 + factor, layer: None },
        ];
        let constant = places().fold(plain.clone(), |spec, place| spec.ramp(place, Ramp::constant()));
        let graph = Network::new(&constant).unwrap().graph(Purpose::Evaluate, false).unwrap();
        let recording = Recording::new(&graph, Target::of(&gpu(), 6)).unwrap();
        texts.insert(recording.dispatches.iter().map(|dispatch| dispatch.wgsl.clone()).collect::<Vec<_>>());
        let [found, expected] = [constant, plain].map(|spec| begun(&spec, training()).evaluate(rows()).unwrap());
        for (name, expected) in &expected.terms {
            let found = term(&found.terms, name);
            assert!((found - expected).abs() <= 2e-6 * expected.abs(), "{name}: {found}, not {expected}");
        }
        assert!((found.loss - expected.loss).abs() <= 2e-6 * expected.loss);
    }
    assert_eq!(texts.len(), 1);
}

#[test]
fn ramps_in_files() {
    let spec = spec().ramp("latent.beta", Ramp { from: 0.1, curve: Curve::Exponential, begin: 0.25, end: 0.5 });
    assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec);
    assert_eq!(Spec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
    let text = "input = 4\nweight_decay = 0.1\nencoder = [{ units = 2 }]\ndecoder = [{ units = 4 }]\n\
                [ramps.weight_decay]\nend = 0.5\n";
    let read = Spec::from_toml(text).unwrap();
    assert_eq!(read.ramps["weight_decay"], Ramp::linear(0.0, 0.5));
    assert!(Spec::from_toml(&text.replace("end = 0.5", "until = 0.5")).is_err());
}

#[test]
fn ramps_that_cannot_be() {
    let refused = |path: &str, ramp: Ramp| match spec().ramp(path, ramp).check() {
        Err(Error::Spec { field, value, allowed, .. }) => (field, value, allowed),
        other => panic!("{path}, {ramp:?}: {other:?}"),
    };
    for path in ["beta", "penalties[2].weight", "penalties[0].nu", "input", ""] {
        let (field, value, allowed) = refused(path, Ramp::linear(0.0, 1.0));
        assert_eq!((field, value), ("ramps".into(), format!("{path:?}")));
        let there: Vec<&str> = WEIGHTS.iter().map(|(path, ..)| *path).chain(["penalties[1].nu"]).collect();
        assert_eq!(allowed.split(", ").collect::<BTreeSet<_>>(), there.into_iter().collect());
    }
    let deterministic = Spec { latent: strait::Latent::Deterministic, ..spec() };
    assert!(deterministic.ramp("latent.beta", Ramp::constant()).check().is_err());
    let linear = Ramp::linear(0.0, 1.0);
    for (ramp, name) in [
        (Ramp { begin: 0.5, end: 0.5, ..linear }, "end"),
        (Ramp { begin: 0.6, end: 0.5, ..linear }, "end"),
        (Ramp { end: 1.01, ..linear }, "end"),
        (Ramp { end: f64::NAN, ..linear }, "end"),
        (Ramp { begin: -0.1, ..linear }, "begin"),
        (Ramp { begin: 1.0, ..linear }, "begin"),
        (Ramp { begin: f64::NAN, ..linear }, "begin"),
        (Ramp { from: -0.1, ..linear }, "from"),
        (Ramp { from: f64::NAN, ..linear }, "from"),
        (Ramp { from: f64::INFINITY, ..linear }, "from"),
        (Ramp { from: 1e39, ..linear }, "from"),
        (Ramp { curve: Curve::Exponential, ..linear }, "curve"),
        (Ramp { curve: Curve::Step, ..linear }, "curve"),
        (Ramp { curve: Curve::Step, begin: 0.1, end: 0.5, ..linear }, "curve"),
    ] {
        assert_eq!(refused("latent.beta", ramp).0, format!("ramps[\"latent.beta\"].{name}"), "{ramp:?}");
    }
    assert!(Session::new(&gpu(), &spec().ramp("beta", linear), Training::default()).is_err());
}
