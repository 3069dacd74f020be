//! Every kind of model that a spec can describe, and combinations of them: gradients of the whole objective against
//! central differences in f64, the GPU against the f64 interpreter, and a few steps that lower the objective.

use crate::common::{gpu, values};
use strait::analysis::Chain;
use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::model::{Mapping, Method, Purpose, Supervised};
use strait::reference::Environment;
use strait::{Activation, Corruption, Error, Latent, Layer, Loss, Penalty, Session, Spec, Training, data};

const ROWS: usize = 5;
const EPS: f64 = 1e-5;

/// Smooth everywhere: kinks would make differences lie.
fn base() -> Spec {
    Spec::symmetric(&[6, 5, 3], Activation::Tanh).loss(Loss::SquaredError).code_activation(Activation::Sigmoid)
}

fn shallow() -> Spec {
    Spec::symmetric(&[6, 3], Activation::Tanh).loss(Loss::SquaredError).code_activation(Activation::Sigmoid)
}

fn contractive(of: Mapping, method: Method) -> Penalty {
    Penalty::Contractive { weight: 0.3, of, method }
}

/// Every system apart, then several at once.
pub fn specs() -> Vec<(&'static str, Spec)> {
    let mut noisy = base();
    noisy.encoder[0].noise = Corruption::Gaussian { sigma: 0.3 };
    noisy.decoder[0].noise = Corruption::Masking { probability: 0.4, rescale: true };
    let sparse = Latent::PredictiveSparse { weight: 0.1, gamma: 0.5, steps: 4 };
    let hutchinson = Method::Hutchinson { projections: 2 };
    let variational = || base().code_activation(Activation::Identity).variational(0.7);
    let mut everything = base().tied().loss(Loss::Mixture { components: 2 }).weight_decay(0.01);
    everything =
        everything.gaussian_corruption(0.2).penalty(Penalty::KlSparsity { weight: 0.2, rho: 0.1, layer: None });
    everything = everything.penalty(contractive(Mapping::Encoder, Method::Auto));
    everything.walkback = 1;
    vec![
        ("gaussian decoder", base().loss(Loss::Gaussian { sigma: 0.7, learned: false })),
        ("learned sigma", base().loss(Loss::Gaussian { sigma: 0.7, learned: true })),
        ("softmax decoder", base().loss(Loss::Softmax { classes: 3 })),
        ("mixture decoder", base().loss(Loss::Mixture { components: 3 })),
        ("tied mixture decoder", base().tied().loss(Loss::Mixture { components: 3 })),
        ("noise at layers", noisy),
        ("l1", base().penalty(Penalty::L1 { weight: 0.1, layer: None })),
        ("l1 of a hidden layer", base().penalty(Penalty::L1 { weight: 0.1, layer: Some(0) })),
        ("student t", base().penalty(Penalty::StudentT { weight: 0.1, nu: 3.0, layer: None })),
        ("kl sparsity", base().penalty(Penalty::KlSparsity { weight: 0.1, rho: 0.05, layer: None })),
        ("squared sparsity", base().penalty(Penalty::SquaredSparsity { weight: 0.1, rho: 0.05, layer: None })),
        ("contractive, closed form", shallow().penalty(contractive(Mapping::Encoder, Method::Auto))),
        ("contractive, exact, one layer", shallow().penalty(contractive(Mapping::Encoder, Method::Exact))),
        ("contractive, exact", base().penalty(contractive(Mapping::Encoder, Method::Exact))),
        ("contractive, linear code", {
            base().code_activation(Activation::Identity).penalty(contractive(Mapping::Encoder, Method::Exact))
        }),
        ("contractive, estimated", base().penalty(contractive(Mapping::Encoder, hutchinson))),
        ("contractive by layers", base().penalty(contractive(Mapping::Layers, Method::Auto))),
        ("contractive reconstruction of one variational layer", {
            let spec = shallow().code_activation(Activation::Identity).variational(0.5);
            spec.penalty(contractive(Mapping::Reconstruction, Method::Exact))
        }),
        ("two of a kind", {
            let l1 = |layer| Penalty::L1 { weight: 0.1, layer };
            base().penalty(l1(Some(0))).penalty(l1(None))
        }),
        ("contractive reconstruction", base().penalty(contractive(Mapping::Reconstruction, Method::Exact))),
        ("trace", shallow().penalty(Penalty::Trace { weight: 0.3 })),
        ("trace, tied", shallow().tied().penalty(Penalty::Trace { weight: 0.3 })),
        ("trace, unit norm", Spec { unit_norm: true, ..shallow().penalty(Penalty::Trace { weight: 0.3 }) }),
        ("trace, unit norm and tied, normal decoder", {
            let spec = shallow().tied().loss(Loss::Gaussian { sigma: 0.7, learned: true });
            Spec { unit_norm: true, ..spec.gaussian_corruption(0.2).penalty(Penalty::Trace { weight: 0.3 }) }
        }),
        ("salt and pepper", base().corruption(Corruption::SaltAndPepper { probability: 0.3 })),
        ("missing", base().corruption(Corruption::Missing { keep: vec![true, false, true, true, false, true] })),
        ("walkback", {
            Spec { walkback: 2, ..base().loss(Loss::Gaussian { sigma: 0.5, learned: false }).gaussian_corruption(0.2) }
        }),
        ("walkback by noise at a layer", {
            let mut spec = Spec { walkback: 2, ..base().loss(Loss::Bernoulli) };
            spec.encoder[0].noise = Corruption::Masking { probability: 0.3, rescale: false };
            spec
        }),
        ("variational", variational()),
        ("variational, bernoulli", variational().loss(Loss::Bernoulli)),
        ("predictive sparse", Spec { latent: sparse, ..shallow() }),
        ("unit norm", Spec { unit_norm: true, ..base() }),
        ("unit norm, tied", Spec { unit_norm: true, ..shallow().tied() }),
        ("classifier", Spec { supervised: Some(Supervised { classes: 3, weight: 0.5 }), ..base() }),
        ("everything", everything),
    ]
}

fn wide(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

/// What the interpreter runs a network's graphs in, before it is given rows: parameters of some size, a scaling that
/// changes nothing, and every other value of a mask.
pub fn environment(network: &Network) -> Environment<f64> {
    let own = network.params().iter().enumerate();
    let params = own.map(|(i, t)| wide(values(10 + i as u32, t.shape.elements(1), (-0.7, 0.7)))).collect();
    let constants = network.constants().iter().map(|t| match t.name.as_str() {
        "input.low" => vec![0.0],
        "input.high" => vec![1.0],
        _ => (0..t.shape.elements(1)).map(|i| f64::from(u8::from(i % 2 == 0))).collect(),
    });
    Environment { params, constants: constants.collect(), seed: 5, step: 3, ..Environment::default() }
}

struct Case {
    graph: Graph,
    env: Environment<f64>,
}

impl Case {
    fn new(spec: &Spec) -> Case {
        let network = Network::new(spec).unwrap();
        let graph = network.graph(Purpose::Train, false).unwrap();
        let data = wide(values(1, ROWS * network.data_columns(), (0.05, 0.95)));
        let env = Environment { rows: ROWS, data, ..environment(&network) };
        Case { graph, env }
    }

    /// The sum of all terms.
    fn total(&self, env: &Environment<f64>) -> f64 {
        let values = evaluate(&self.graph, env).unwrap();
        (0..self.graph.terms().len()).map(|i| env.sink(&self.graph, &values, Sink::Term(i)).unwrap()[0]).sum()
    }
}

/// What the objective takes for a constant although it depends on parameters, so that differences see more than the
/// gradient: codes of an inner minimisation, draws of a walkback.
fn detached(spec: &Spec) -> bool {
    spec.walkback > 0 || matches!(spec.latent, Latent::PredictiveSparse { .. })
}

#[test]
fn every_gradient_is_that_of_the_objective() {
    for (name, spec) in specs().into_iter().filter(|(_, spec)| !detached(spec)) {
        let case = Case::new(&spec);
        let values = evaluate(&case.graph, &case.env).unwrap();
        for p in 0..case.env.params.len() {
            let gradient = case.env.sink(&case.graph, &values, Sink::Gradient(p)).unwrap();
            for (i, &slope) in gradient.iter().enumerate() {
                let at = |shift: f64| {
                    let mut env = case.env.clone();
                    env.params[p][i] += shift;
                    case.total(&env)
                };
                let difference = (at(EPS) - at(-EPS)) / (2.0 * EPS);
                assert!(
                    (slope - difference).abs() <= 1e-6 + 1e-5 * difference.abs(),
                    "{name}, parameter {p}, element {i}: {slope} against {difference}"
                );
            }
        }
    }
}

#[test]
fn the_gpu_computes_what_the_interpreter_does() {
    let gpu = gpu();
    for (name, spec) in specs() {
        let case = Case::new(&spec);
        let exact = evaluate(&case.graph, &case.env).unwrap();
        let evaluator = Evaluator::new(&gpu, &case.graph, ROWS).unwrap();
        let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        evaluator.data(&narrow(&case.env.data)).unwrap();
        evaluator.params(&case.env.params.iter().map(|p| narrow(p)).collect::<Vec<_>>()).unwrap();
        if !case.env.constants.is_empty() {
            evaluator.constants(&case.env.constants.iter().map(|p| narrow(p)).collect::<Vec<_>>()).unwrap();
        }
        evaluator.run(State { step: case.env.step, ..State::once(ROWS, case.env.seed) }).unwrap();
        for &(sink, _) in case.graph.sinks() {
            let wanted = case.env.sink(&case.graph, &exact, sink).unwrap();
            let found = evaluator.sink(sink, ROWS).unwrap();
            let scale = wanted.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
            for (a, b) in found.iter().zip(wanted) {
                assert!((f64::from(*a) - b).abs() <= 2e-5 * scale, "{name}, {sink:?}: {a} against {b}");
            }
        }
    }
}

/// A unit norm takes the scale out of a weight: the objective stays and the gradient is divided by the scale, also where
/// squares of weights leave f32's range. A unit without weights decodes to nothing, and no number is NaN.
#[test]
fn unit_norm_holds_at_every_scale_of_the_weights() {
    let gpu = gpu();
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    // The term and the gradient of parameter `at` where that parameter's values are changed.
    let step = |spec: Spec, at: usize, change: &dyn Fn(usize, f64) -> f64| {
        let mut case = Case::new(&Spec { unit_norm: true, ..spec });
        case.env.params[at].iter_mut().enumerate().for_each(|(i, w)| *w = change(i, *w));
        let evaluator = Evaluator::new(&gpu, &case.graph, ROWS).unwrap();
        evaluator.data(&narrow(&case.env.data)).unwrap();
        evaluator.params(&case.env.params.iter().map(|p| narrow(p)).collect::<Vec<_>>()).unwrap();
        evaluator.run(State::once(ROWS, 5)).unwrap();
        let gradient = evaluator.sink(Sink::Gradient(at), ROWS).unwrap();
        (f64::from(evaluator.sink(Sink::Term(0), ROWS).unwrap()[0]), gradient.into_iter().map(f64::from).collect())
    };
    const DECODER: usize = 2;
    let (term, gradient): (f64, Vec<f64>) = step(shallow(), DECODER, &|_, w| w);
    let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    for scale in [1e25, 1e-25] {
        let (found, slopes) = step(shallow(), DECODER, &|_, w| w * scale);
        assert!((found / term - 1.0).abs() < 1e-5, "scale {scale}: {found} against {term}");
        for (slope, g) in slopes.iter().zip(&gradient) {
            assert!((slope * scale - g).abs() < 1e-5 * largest, "scale {scale}: {slope} against {g}");
        }
    }
    for (spec, weight) in [(shallow(), DECODER), (shallow().tied(), 0)] {
        let (term, gradient) = step(spec, weight, &|i, w| if i % 3 == 0 || i < 6 { 0.0 } else { w });
        assert!(term.is_finite() && gradient.iter().all(|g| g.is_finite()), "{term}, {gradient:?}");
    }
}

#[test]
fn estimates_of_a_jacobian_are_right_in_the_mean() {
    let at = |method| {
        let case = Case::new(&base().penalty(contractive(Mapping::Encoder, method)));
        let term = |env: &Environment<f64>| {
            let values = evaluate(&case.graph, env).unwrap();
            env.sink(&case.graph, &values, Sink::Term(1)).unwrap()[0]
        };
        let steps = if matches!(method, Method::Exact) { 1 } else { 400 };
        (0..steps).map(|step| term(&Environment { step, ..case.env.clone() })).sum::<f64>() / f64::from(steps)
    };
    let (exact, estimate) = (at(Method::Exact), at(Method::Hutchinson { projections: 4 }));
    assert!((estimate / exact - 1.0).abs() < 0.02, "{estimate} against {exact}");
    // And of one layer the three ways agree.
    let one = |method| {
        let case = Case::new(&shallow().penalty(contractive(Mapping::Encoder, method)));
        let values = evaluate(&case.graph, &case.env).unwrap();
        (0..4).map(|i| case.env.sink(&case.graph, &values, Sink::Gradient(i)).unwrap().to_vec()).collect::<Vec<_>>()
    };
    for (a, b) in one(Method::ClosedForm).iter().flatten().zip(one(Method::Exact).iter().flatten()) {
        assert!((a - b).abs() < 1e-12, "{a} against {b}");
    }
}

#[test]
fn the_cheapest_way_to_a_jacobian_is_chosen_and_told() {
    let auto = |spec: Spec, of| contractive(of, Method::Auto).method(&spec).unwrap();
    assert_eq!(auto(shallow(), Mapping::Encoder), Method::ClosedForm);
    assert_eq!(auto(base(), Mapping::Layers), Method::ClosedForm);
    assert_eq!(auto(base(), Mapping::Encoder), Method::Exact);
    assert_eq!(auto(base(), Mapping::Reconstruction), Method::Exact);
    let wide = Spec::symmetric(&[60, 40, 20], Activation::Tanh);
    assert_eq!(auto(wide.clone(), Mapping::Encoder), Method::Hutchinson { projections: 1 });
    assert_eq!(auto(wide, Mapping::Reconstruction), Method::Hutchinson { projections: 1 });
    assert_eq!(Penalty::L1 { weight: 0.1, layer: None }.method(&base()), None);
}

#[test]
fn specs_come_back_from_toml_and_json() {
    for (name, spec) in specs() {
        assert_eq!(Spec::from_toml(&spec.to_toml().unwrap()).unwrap(), spec, "{name}");
        assert_eq!(Spec::from_json(&spec.to_json().unwrap()).unwrap(), spec, "{name}");
    }
}

type Change = Box<dyn Fn(&mut Spec)>;

/// Every way the new parts of a spec are wrong, with the field that is named.
#[test]
fn what_cannot_work_is_refused_by_name() {
    let penalty = |penalty: Penalty| -> Change { Box::new(move |s| s.penalties = vec![penalty.clone()]) };
    let loss = |loss: Loss| -> Change { Box::new(move |s| s.loss = loss.clone()) };
    let corruption = |c: Corruption| -> Change { Box::new(move |s| s.corruption = c.clone()) };
    let latent = |latent: Latent| -> Change { Box::new(move |s| s.latent = latent) };
    let traced = |change: fn(&mut Spec)| -> Change {
        Box::new(move |s| {
            *s = shallow().penalty(Penalty::Trace { weight: 0.1 });
            change(s);
        })
    };
    let nan = f64::NAN;
    let layer = None;
    let kl = |weight, rho, layer| penalty(Penalty::KlSparsity { weight, rho, layer });
    let cases: Vec<(&str, Change)> = vec![
        ("penalties[0].weight", penalty(Penalty::L1 { weight: -0.1, layer })),
        ("penalties[0].weight", penalty(Penalty::L1 { weight: nan, layer })),
        ("penalties[0].weight", penalty(Penalty::L1 { weight: f64::INFINITY, layer })),
        ("penalties[0].weight", penalty(Penalty::StudentT { weight: -1.0, nu: 1.0, layer })),
        ("penalties[0].weight", penalty(Penalty::SquaredSparsity { weight: nan, rho: 0.1, layer })),
        ("penalties[0].weight", kl(-0.1, 0.1, None)),
        ("penalties[0].weight", kl(nan, 0.1, None)),
        ("penalties[0].weight", {
            penalty(Penalty::Contractive { weight: -0.1, of: Mapping::Encoder, method: Method::Auto })
        }),
        ("penalties[0].weight", {
            penalty(Penalty::Contractive { weight: nan, of: Mapping::Reconstruction, method: Method::Auto })
        }),
        ("penalties[0].weight", penalty(Penalty::Trace { weight: -0.1 })),
        ("penalties[0].weight", penalty(Penalty::Trace { weight: nan })),
        ("encoder (number of layers)", penalty(Penalty::Trace { weight: 0.1 })),
        ("decoder (number of layers)", traced(|s| s.decoder.push(Layer::new(6)))),
        ("decoder[0].activation", traced(|s| s.decoder[0].activation = Activation::Tanh)),
        ("decoder[0].noise", {
            traced(|s| s.decoder[0].noise = Corruption::Masking { probability: 0.1, rescale: true })
        }),
        ("loss", traced(|s| s.loss = Loss::Bernoulli)),
        ("loss", traced(|s| s.loss = Loss::Mixture { components: 2 })),
        ("latent", {
            traced(|s| {
                s.encoder[0].activation = Activation::Identity;
                s.latent = Latent::Gaussian { beta: 1.0 };
            })
        }),
        ("penalties[0].layer", penalty(Penalty::L1 { weight: 0.1, layer: Some(2) })),
        ("penalties[0].nu", penalty(Penalty::StudentT { weight: 0.1, nu: 0.0, layer })),
        ("penalties[0].nu", penalty(Penalty::StudentT { weight: 0.1, nu: -1.0, layer })),
        ("penalties[0].nu", penalty(Penalty::StudentT { weight: 0.1, nu: nan, layer })),
        ("penalties[0].rho", kl(0.1, 0.0, None)),
        ("penalties[0].rho", kl(0.1, 1.0, None)),
        ("penalties[0].rho", kl(0.1, -0.1, None)),
        ("penalties[0].rho", kl(0.1, 1.1, None)),
        ("penalties[0].rho", kl(0.1, nan, None)),
        ("encoder[0].activation", kl(0.1, 0.1, Some(0))),
        ("penalties[0].rho", penalty(Penalty::SquaredSparsity { weight: 0.1, rho: nan, layer })),
        ("penalties[0].method", penalty(contractive(Mapping::Encoder, Method::ClosedForm))),
        ("penalties[0].method", penalty(contractive(Mapping::Layers, Method::Exact))),
        ("penalties[0].method.projections", {
            penalty(contractive(Mapping::Encoder, Method::Hutchinson { projections: 0 }))
        }),
        ("penalties", Box::new(|s| s.penalties = vec![Penalty::L1 { weight: 0.1, layer: None }; 7])),
        (
            "encoder[1].noise",
            Box::new(|s| {
                s.encoder[1].noise = Corruption::Gaussian { sigma: 0.1 };
                s.penalties = vec![Penalty::KlSparsity { weight: 0.1, rho: 0.1, layer: None }];
            }),
        ),
        (
            "penalties[0].of",
            Box::new(|s| {
                *s = Spec { latent: Latent::PredictiveSparse { weight: 0.1, gamma: 0.1, steps: 3 }, ..shallow() };
                s.penalties = vec![contractive(Mapping::Reconstruction, Method::Exact)];
            }),
        ),
        ("loss.gaussian.sigma (its square, twice)", loss(Loss::Gaussian { sigma: 1e-20, learned: false })),
        ("loss.gaussian.sigma", loss(Loss::Gaussian { sigma: 0.0, learned: false })),
        ("loss.gaussian.sigma", loss(Loss::Gaussian { sigma: 0.0, learned: true })),
        ("loss.gaussian.sigma", loss(Loss::Gaussian { sigma: -1.0, learned: false })),
        ("loss.gaussian.sigma", loss(Loss::Gaussian { sigma: nan, learned: true })),
        ("loss.softmax.classes", loss(Loss::Softmax { classes: 4 })),
        ("loss.softmax.classes", loss(Loss::Softmax { classes: 1 })),
        ("loss.mixture.components", loss(Loss::Mixture { components: 0 })),
        ("corruption.keep", corruption(Corruption::Missing { keep: vec![true; 5] })),
        ("corruption.keep", corruption(Corruption::Missing { keep: vec![true; 7] })),
        ("corruption.keep", corruption(Corruption::Missing { keep: vec![] })),
        ("corruption.probability", corruption(Corruption::SaltAndPepper { probability: 1.0 })),
        ("encoder[0].noise.sigma", Box::new(|s| s.encoder[0].noise = Corruption::Gaussian { sigma: -1.0 })),
        ("decoder[1].noise", Box::new(|s| s.decoder[1].noise = Corruption::SaltAndPepper { probability: 0.1 })),
        ("encoder[1].activation", latent(Latent::Gaussian { beta: 1.0 })),
        ("latent.beta", latent(Latent::Gaussian { beta: -1.0 })),
        ("latent.beta", latent(Latent::Gaussian { beta: nan })),
        ("decoder", latent(Latent::PredictiveSparse { weight: 0.1, gamma: 0.1, steps: 3 })),
        ("latent.gamma", latent(Latent::PredictiveSparse { weight: 0.1, gamma: nan, steps: 3 })),
        ("latent.gamma", latent(Latent::PredictiveSparse { weight: 0.1, gamma: -0.1, steps: 3 })),
        ("latent.weight", latent(Latent::PredictiveSparse { weight: -0.1, gamma: 1.0, steps: 3 })),
        ("latent.weight", latent(Latent::PredictiveSparse { weight: nan, gamma: 1.0, steps: 3 })),
        ("latent.steps", latent(Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 1001 })),
        ("loss", Box::new(|s| (s.walkback, s.corruption) = (1, Corruption::Gaussian { sigma: 0.1 }))),
        ("corruption", Box::new(|s| (s.walkback, s.loss) = (1, Loss::Bernoulli))),
        ("supervised.classes", Box::new(|s| s.supervised = Some(Supervised { classes: 1, weight: 1.0 }))),
        ("supervised.weight", Box::new(|s| s.supervised = Some(Supervised { classes: 2, weight: f64::NAN }))),
        ("supervised.weight", Box::new(|s| s.supervised = Some(Supervised { classes: 2, weight: -0.5 }))),
    ];
    for (wanted, change) in cases {
        let mut spec = base();
        change(&mut spec);
        match Session::new(&gpu(), &spec, Training::default()) {
            Err(Error::Spec { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

/// What some kinds of model have and others do not.
#[test]
fn what_a_model_does_not_have_is_refused_by_name() {
    let session = |spec: &Spec| Session::new(&gpu(), spec, Training::default()).unwrap();
    let row = [0.5; 6];
    match session(&base()).mixture(&row) {
        Err(Error::Spec { field, value, .. }) => {
            assert_eq!((field.as_str(), value.as_str()), ("loss", "squared_error"))
        }
        other => panic!("{other:?}"),
    }
    let components = session(&base().loss(Loss::Mixture { components: 3 })).mixture(&row.repeat(2)).unwrap();
    assert!(components.len() == 2 && components.iter().all(|c| c.len() == 3 && c[0].mean.len() == 6));
    // What draws codes needs a posterior to draw them from.
    let plain = session(&base());
    let drawn = [plain.generate(3, 0).map(drop), plain.evidence(&row, 5, 0).map(drop)];
    for result in drawn {
        assert!(matches!(&result, Err(Error::Spec { field, .. }) if field == "latent"), "{result:?}");
    }
    let variational = session(&base().code_activation(Activation::Identity).variational(1.0));
    assert_eq!(variational.generate(3, 0).unwrap().len(), 18);
    match variational.evidence(&row, 5, 0) {
        Err(Error::Spec { field, .. }) => assert_eq!(field, "loss", "squared error is no likelihood"),
        other => panic!("{other:?}"),
    }
    // Alternating needs noise at the input or at any layer of the encoder.
    let mut spec = base().loss(Loss::Bernoulli);
    match session(&spec).sampler(Chain::Alternating, &row, 0) {
        Err(Error::Spec { field, .. }) => assert_eq!(field, "corruption"),
        other => panic!("{other:?}"),
    }
    spec.encoder[0].noise = Corruption::Gaussian { sigma: 0.3 };
    assert!(session(&spec).sampler(Chain::Alternating, &row, 0).is_ok());
}

#[test]
fn labels_are_one_class_a_row() {
    let spec = Spec { supervised: Some(Supervised { classes: 2, weight: 0.5 }), ..base() };
    for label in [[0.5, 0.5], [1.0, 1.0], [0.0, 0.0], [2.0, -1.0]] {
        let rows = [&[0.5f32; 6][..], &[1.0, 0.0], &[0.5; 6], &label].concat();
        let mut session = Session::new(&gpu(), &spec, Training { batch: 2, ..Training::default() }).unwrap();
        match session.load(data::Data::from_rows(8, rows).unwrap()) {
            Err(Error::Data { place, .. }) => assert!(place.contains("label columns of row 1"), "{place}"),
            other => panic!("{label:?}: {other:?}"),
        }
    }
}

#[test]
fn targets_of_a_softmax_loss_are_distributions() {
    let spec = base().loss(Loss::Softmax { classes: 3 });
    let good = [0.0f32, 1.0, 0.0, 0.2, 0.3, 0.50003];
    let session = || Session::new(&gpu(), &spec, Training { batch: 2, ..Training::default() }).unwrap();
    session().fit(data::Data::from_rows(6, good.repeat(2)).unwrap()).unwrap();
    assert_eq!(session().score(&good.repeat(2)).unwrap().len(), 2);
    // Each value lies in [0, 1]; one block is no distribution.
    let cases: [([f32; 6], usize, f64); 5] = [
        ([0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 1, 0.0),
        ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 0, 2.0),
        ([0.0, 0.0, 1.0, 0.3, 0.3, 0.3], 1, 0.9),
        ([0.5, 0.5, 0.001, 1.0, 0.0, 0.0], 0, 1.001),
        ([0.0, 0.5, 0.0, 0.5, 1.0, 0.0], 0, 0.5),
    ];
    for (bad, block, sum) in cases {
        let rows = [good, bad].concat();
        let both = data::Data::from_rows(6, rows.clone()).unwrap();
        let mut fitted = session();
        let result = fitted.fit(&both);
        let Err(Error::Data { place, found, .. }) = result else { panic!("{bad:?}: {result:?}") };
        assert!(place.contains(&format!("row 1, block {block} (columns {} to", 3 * block)), "{place}");
        let told: f64 = found.trim_start_matches("a sum of ").parse().unwrap();
        assert!((told - sum).abs() < 1e-6, "{found}");
        assert_eq!(fitted.steps(), 0, "nothing ran");
        // What is only looked at costs more for it.
        assert!(fitted.evaluate(&both).unwrap().loss.is_finite());
        assert!(fitted.score(&rows).unwrap().iter().all(|score| score.is_finite()));
        assert!(fitted.encode(&bad).is_ok(), "codes have no loss");
    }
}

/// Every system trains: on digits the objective falls, and codes, reconstructions and scores come out finite.
#[test]
fn every_system_learns() {
    let digits = data::digits().unwrap().select(&(0..200).collect::<Vec<_>>()).unwrap();
    for (name, mut spec) in specs() {
        let six: Vec<f32> = digits.values().chunks(64).flat_map(|row| row[18..24].to_vec()).collect();
        let mut rows = data::Data::from_rows(6, six).unwrap();
        if let Some(supervised) = spec.supervised {
            let labels = digits.labels().unwrap().iter().map(|&l| l % supervised.classes as u32).collect();
            rows = rows.with_labels(labels).unwrap().labelled(supervised.classes).unwrap();
        }
        if let Loss::Softmax { .. } = spec.loss {
            let hot = rows.values().chunks(3).flat_map(|b| {
                let top = (0..3).max_by(|&i, &j| b[i].total_cmp(&b[j])).unwrap();
                (0..3).map(move |i| if i == top { 1.0 } else { 0.0 })
            });
            rows = data::Data::from_rows(6, hot.collect()).unwrap();
        }
        spec.weight_decay = 0.0;
        let training = Training { epochs: 20, batch: 50, learning_rate: 0.01, ..Training::default() };
        let mut session = Session::new(&gpu(), &spec, training).unwrap();
        let fit = session.fit(rows.clone()).unwrap();
        let (first, last) = (&fit.history[0], &fit.history[fit.history.len() - 1]);
        assert!(last.loss < first.loss, "{name}: {} after {}", last.loss, first.loss);
        let features: Vec<f32> = rows.values().chunks(rows.columns()).flat_map(|r| r[..6].to_vec()).collect();
        for found in [session.encode(&features), session.reconstruct(&features), session.score(&features)] {
            assert!(found.unwrap().iter().all(|v| v.is_finite()), "{name}");
        }
    }
}

/// A linear map has the same Jacobian at every row, so its graph reads none.
#[test]
fn jacobians_of_linear_maps_are_one_for_every_row() {
    let session = Session::new(&gpu(), &Spec::symmetric(&[5, 3], Activation::Identity), Training::default()).unwrap();
    let params = session.parameters().unwrap();
    let (w, v) = (&params[0], &params[2]);
    let encoder: Vec<f32> = (0..15).map(|i| w[i % 5 * 3 + i / 5]).collect();
    let product = |r: usize, c: usize| (0..3).map(|j| w[c * 3 + j] * v[j * 5 + r]).sum::<f32>();
    let whole: Vec<f32> = (0..25).map(|i| product(i / 5, i % 5)).collect();
    let rows = values(7, 20, (-1.0, 1.0));
    assert_eq!(session.jacobian(&rows, Mapping::Encoder).unwrap(), encoder.repeat(4));
    for (found, expected) in session.jacobian(&rows, Mapping::Reconstruction).unwrap().iter().zip(whole.repeat(4)) {
        assert!((found - expected).abs() <= 1e-6, "{found} against {expected}");
    }
    assert_eq!(session.spectra(&rows).unwrap().len(), 4);
}
