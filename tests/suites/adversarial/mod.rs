//! Adversarial runs: each player's terms and gradients against plain f64, going on from a file in the middle of a turn, refusals.

mod ascents;
mod draws;

use crate::common::{gpu, squared_error, values};
use crate::phases::report;
use crate::what_this_device_lacks::{Need, has};
use strait::graph::{Expr, Graph, NodeId, Over, Set, Shape, Sink};
use strait::internals::graph::Op;
use strait::internals::model::Network;
use strait::internals::plan::AdapterKind;
use strait::model::{Ascent, Bound, Mapping, Method, Mode, Prior, Purpose, RowPenalty, Supervised};
use strait::train::{Adversary, Discriminator, Run, Step, Trainer, Update};
use strait::{
    Activation, Corruption, Data, EarlyStopping, Error, Latent, Layer, Loss, Optimizer, Penalty, Precision, Ramp,
    Scaling, Session, Spec, Training,
};

const ROWS: usize = 12;
const WIDTH: usize = 3;
const CODE: usize = 2;

fn data() -> Data {
    Data::from_rows(WIDTH, values(211, ROWS * WIDTH, (0.1, 0.9))).unwrap()
}

fn spec() -> Spec {
    Spec::symmetric(&[WIDTH, 4, CODE], Activation::Tanh).loss(Loss::SquaredError)
}

fn training() -> Training {
    Training { epochs: 4, batch: 5, learning_rate: 0.01, seed: 3, ..Training::default() }
}

fn hidden(units: usize) -> Layer {
    Layer { activation: Activation::Tanh, ..Layer::new(units) }
}

/// A step on all rows that descends by the gradient itself.
fn descent() -> (Training, Update) {
    let update = Update { optimizer: Optimizer::SGD, ..Update::adam([], 1.0) };
    let whole = Training { optimizer: Optimizer::SGD, learning_rate: 1.0, batch: ROWS, epochs: 1, ..training() };
    (whole, update)
}

type Tensors = Vec<Vec<f64>>;

fn wide(tensors: &[Vec<f32>]) -> Tensors {
    tensors.iter().map(|tensor| tensor.iter().map(|&v| f64::from(v)).collect()).collect()
}

fn rows_of(values: &[f32], width: usize) -> Tensors {
    values.chunks(width).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect()
}

/// Layers of weight and bias one after the other, with tanh after all but those of these numbers.
fn forward(row: &[f64], tensors: &[Vec<f64>], linear: &[usize]) -> Vec<f64> {
    let mut last = row.to_vec();
    for (i, layer) in tensors.chunks(2).enumerate() {
        let units = layer[1].len();
        let sum =
            |j: usize| last.iter().enumerate().map(|(k, v)| v * layer[0][k * units + j]).sum::<f64>() + layer[1][j];
        last = (0..units).map(|j| if linear.contains(&i) { sum(j) } else { sum(j).tanh() }).collect();
    }
    last
}

/// The model of [`spec`]: code of a row, and its squared error. Tensors are encoder, then decoder.
fn code(row: &[f64], model: &[Vec<f64>]) -> Vec<f64> {
    forward(row, &model[..4], &[1])
}

fn error(row: &[f64], model: &[Vec<f64>]) -> f64 {
    let r = forward(&code(row, model), &model[4..8], &[1]);
    r.iter().zip(row).map(|(r, x)| (r - x).powi(2)).sum()
}

fn softplus(v: f64) -> f64 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    values.sum::<f64>() / ROWS as f64
}

/// The gradient of a function of tensors by those of some numbers: central differences.
fn differences(tensors: &Tensors, of: impl Iterator<Item = usize>, f: impl Fn(&Tensors) -> f64) -> Tensors {
    const STEP: f64 = 1e-5;
    let mut at = tensors.clone();
    let mut slope = |i: usize, j: usize| {
        let own = at[i][j];
        let mut beside = |by: f64| {
            at[i][j] = own + by;
            f(&at)
        };
        let slope = (beside(STEP) - beside(-STEP)) / (2.0 * STEP);
        at[i][j] = own;
        slope
    };
    of.map(|i| (0..tensors[i].len()).map(|j| slope(i, j)).collect()).collect()
}

type Taken = (Vec<Vec<f32>>, Vec<Vec<f32>>, Vec<(String, f64)>);

/// Takes one step of a run whose phase is left with the step of a name; parameters before and after, and the terms.
fn taken(mut run: Run, name: &str) -> Taken {
    run.phases[0].steps.retain(|step: &Step| step.name == name);
    let mut trainer = Trainer::new(&gpu(), run).unwrap();
    let before = trainer.parameters().unwrap();
    trainer.load(data()).unwrap();
    trainer.step(1).unwrap();
    let terms = report(&mut trainer).unwrap().terms;
    (before, trainer.parameters().unwrap(), terms)
}

/// Asserts that tensors went by a gradient and that all others kept their bytes.
fn assert_went(before: &[Vec<f32>], after: &[Vec<f32>], range: std::ops::Range<usize>, gradient: &Tensors, what: &str) {
    for (i, (before, after)) in before.iter().zip(after).enumerate() {
        let Some(at) = range.clone().position(|own| own == i) else {
            assert!(before == after, "{what}: tensor {i} changed");
            continue;
        };
        for ((&b, &a), &slope) in before.iter().zip(after).zip(&gradient[at]) {
            let went = f64::from(b) - f64::from(a);
            assert!((went - slope).abs() < 2e-6 * (1.0 + slope.abs()), "{what}: tensor {i} went {went}, not {slope}");
        }
    }
}

fn assert_terms(terms: &[(String, f64)], expected: &[(&str, f64)]) {
    assert_eq!(terms.len(), expected.len(), "{terms:?}");
    for ((name, value), (wanted, due)) in terms.iter().zip(expected) {
        assert!(name == wanted && (value - due).abs() < 1e-5 * (1.0 + due.abs()), "{terms:?}, not {expected:?}");
    }
}

/// Draws that are known: column c of every row is .7 c − .2.
fn known() -> Prior {
    Prior::own(|g, _| g.map_to(0.7 * Expr::column() - 0.2, &[], Shape::batched(&[CODE])))
}

const KNOWN: [f64; CODE] = [-0.2, 0.5];

#[test]
fn the_discriminator_and_the_generator_by_hand() {
    let (whole, update) = descent();
    let discriminator = Discriminator {
        update: update.clone(),
        generator: update,
        ..Discriminator::new(known(), [hidden(6), hidden(3)])
    };
    let run = || Run::adversarial(&spec(), &discriminator, &whole).unwrap();
    let x = rows_of(data().values(), WIDTH);
    // The model's tensors lie in the order of the spec, those of the discriminator after them.
    let logit = |z: &[f64], all: &Tensors| forward(z, &all[8..], &[2])[0];
    let prior = |all: &Tensors| softplus(-logit(&KNOWN, all));
    let codes = |all: &Tensors, sign: f64| mean(x.iter().map(|x| softplus(sign * logit(&code(x, all), all))));

    let loss = |all: &Tensors| mean(x.iter().map(|x| error(x, all)));
    let (before, after, terms) = taken(run(), "players");
    let all = wide(&before);
    let expected = [
        ("players.reconstruction", loss(&all)),
        ("players.discriminator.prior", prior(&all)),
        ("players.discriminator.codes", codes(&all, 1.0)),
    ];
    assert_terms(&terms, &expected);
    // Each by its own, and the discriminator sees codes of before the model's update.
    let mut gradient = differences(&all, 0..8, loss);
    gradient.extend(differences(&all, 8..14, |all| prior(all) + codes(all, 1.0)));
    assert_went(&before, &after, 0..14, &gradient, "players");

    let (before, after, terms) = taken(run(), "generator");
    assert_terms(&terms, &[("generator.codes", codes(&all, -1.0))]);
    let gradient = differences(&all, 0..4, |all| codes(all, -1.0));
    assert_went(&before, &after, 0..4, &gradient, "generator");
}

/// Products of the step `players`: those of the model, and of a discriminator with one hidden layer, for draws and for codes, 2
/// forward, 2 for its weights and 1 to the hidden layer. The encoder's are there once.
#[test]
fn codes_are_computed_once() {
    let products = |g: &Graph| g.nodes().filter(|(_, node)| matches!(node.op, Op::MatMul { .. })).count();
    let model = Network::new(&spec()).unwrap().graph(Purpose::Train, true).unwrap();
    let run = Run::adversarial(&spec(), &Discriminator::new(Prior::Normal, [hidden(4)]), &training()).unwrap();
    assert_eq!(products(&run.phases[0].steps[0].graph), products(&model) + 2 * (2 + 2 + 1));
}

/// By plain descent each tensor goes in half precision as far as in single, to a few roundings of 2^-11.
#[test]
fn half_precision_trains_players() {
    if !has("adversarial::half_precision_trains_players", Need::F16) {
        return;
    }
    let (whole, update) = descent();
    let discriminator = Discriminator {
        update: update.clone(),
        generator: update,
        ..Discriminator::new(Prior::Normal, [hidden(6), hidden(3)])
    };
    for step in ["players", "generator"] {
        let went = |precision: Precision| {
            let spec = spec().gaussian_corruption(0.2).precision(precision);
            let (before, after, _) = taken(Run::adversarial(&spec, &discriminator, &whole).unwrap(), step);
            let way = |(before, after): (&Vec<f32>, &Vec<f32>)| before.iter().zip(after).map(|(b, a)| a - b).collect();
            before.iter().zip(&after).map(way).collect::<Vec<Vec<f32>>>()
        };
        let (half, single) = (went(Precision::F16), went(Precision::F32));
        for (i, (half, single)) in half.iter().zip(&single).enumerate() {
            let apart = if single.iter().all(|&way| way == 0.0) {
                half.iter().map(|&v| f64::from(v.abs())).sum()
            } else {
                squared_error(half, single)
            };
            assert!(apart <= 1e-4, "{step}: tensor {i} is off by {apart:e}");
        }
        assert!(half.concat() != single.concat(), "{step}: both are the same kernels");
    }
}

/// Codes of a variational model are draws whose moments are those that the encoder says; of a corrupted one they are of corrupted
/// rows: a discriminator whose logit is the code itself would not tell, so its terms over many draws do.
#[test]
fn codes_are_those_that_the_decoder_meets() {
    let linear = Spec::symmetric(&[1, 1], Activation::Identity).loss(Loss::SquaredError);
    let mut variational = linear.clone();
    variational.latent = Latent::Gaussian { beta: 0.0 };
    let corrupted = linear.clone().gaussian_corruption(0.8);
    let count = 20_000;
    let rows = Data::from_rows(1, vec![0.5; count]).unwrap();
    // E softplus(h) for h normal, by a fine sum.
    let expected = |mean: f64, deviation: f64| {
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        (-800..=800)
            .map(|i| f64::from(i) / 100.0)
            .map(|t| softplus(mean + deviation * t) * density(t) / 100.0)
            .sum::<f64>()
    };
    for (spec, tensors, deviation) in [
        // Encoder, decoder, discriminator: h = 2 x + .1, D = h.
        (corrupted, vec![vec![2.0], vec![0.1], vec![1.0], vec![0.0], vec![1.0], vec![0.0]], 1.6),
        // γ = x + 1.
        (
            variational,
            vec![vec![2.0], vec![0.1], vec![1.0], vec![1.0], vec![1.0], vec![0.0], vec![1.0], vec![0.0]],
            (0.75f64).exp(),
        ),
    ] {
        let training = Training { batch: count, epochs: 1, ..training() };
        let mut run = Run::adversarial(&spec, &Discriminator::new(Prior::Normal, []), &training).unwrap();
        run.phases[0].steps.truncate(1);
        let mut trainer = Trainer::new(&gpu(), run).unwrap();
        let names: Vec<&str> = trainer.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names[0..2], ["encoder.0.weight", "encoder.0.bias"], "{names:?}");
        trainer.set_parameters(&tensors).unwrap();
        trainer.load(rows.clone()).unwrap();
        trainer.step(1).unwrap();
        let mut terms = report(&mut trainer).unwrap().terms;
        terms.retain(|(name, _)| {
            ["players.discriminator.prior", "players.discriminator.codes"].contains(&name.as_str())
        });
        for (value, mean, deviation) in [(terms[0].1, 0.0, 1.0), (terms[1].1, 1.1, deviation)] {
            // Five standard errors: softplus has a slope below 1.
            let due = expected(mean, deviation);
            assert!((value - due).abs() < 5.0 * deviation / (count as f64).sqrt(), "{terms:?}: {value}, not {due}");
        }
        assert!((terms[1].1 - softplus(1.1)).abs() > 0.05, "{terms:?}: nothing was drawn");
    }
}

#[test]
fn training_against_an_ascent_by_hand() {
    let (whole, _) = descent();
    for bound in [Bound::Infinity(0.2), Bound::Two(0.3)] {
        let ascent = Ascent { bound, steps: 3, length: 0.1 };
        let run = Run::against(&spec(), &Adversary::Ascent(ascent), &whole).unwrap();
        let model = Trainer::new(&gpu(), run.clone()).unwrap().model().unwrap();
        let (found, _) = model.worst(data().values(), &ascent).unwrap();
        let (x, found) = (rows_of(data().values(), WIDTH), rows_of(&found, WIDTH));
        let loss = |rows: &Tensors, all: &Tensors| mean(rows.iter().map(|x| error(x, all)));
        let (before, after, terms) = taken(run, "model");
        let all = wide(&before);
        assert_terms(&terms, &[("model.reconstruction", loss(&x, &all)), ("model.found", loss(&found, &all))]);
        let gradient = differences(&all, 0..8, |all| 0.5 * (loss(&x, all) + loss(&found, all)));
        assert_went(&before, &after, 0..8, &gradient, "model");
    }
}

#[test]
fn training_against_a_network_by_hand() {
    let (whole, update) = descent();
    for bound in [Bound::Infinity(0.2), Bound::Two(0.3)] {
        let adversary = Adversary::Network { bound, layers: vec![hidden(5)], update: Box::new(update.clone()) };
        let run = || Run::against(&spec(), &adversary, &whole).unwrap();
        let x = rows_of(data().values(), WIDTH);
        let moved = |x: &[f64], all: &Tensors| -> Vec<f64> {
            let v = forward(x, &all[8..], &[1]);
            let length = (1.0 + v.iter().map(|v| v * v).sum::<f64>()).sqrt();
            let way = |v: f64| match bound {
                Bound::Infinity(radius) => radius * v.tanh(),
                Bound::Two(radius) => radius * v / length,
                _ => unreachable!(),
            };
            x.iter().zip(v).map(|(x, v)| x + way(v)).collect()
        };
        let made = |all: &Tensors| mean(x.iter().map(|x| error(&moved(x, all), all)));
        let (before, after, terms) = taken(run(), "adversary");
        let all = wide(&before);
        assert_terms(&terms, &[("adversary.error", made(&all))]);
        assert_went(&before, &after, 8..12, &differences(&all, 8..12, |all| -made(all)), "adversary");

        // What was made is a constant for the model.
        let fixed: Tensors = x.iter().map(|x| moved(x, &all)).collect();
        let loss = |rows: &Tensors, all: &Tensors| mean(rows.iter().map(|x| error(x, all)));
        let (before, after, terms) = taken(run(), "model");
        assert_terms(&terms, &[("model.reconstruction", loss(&x, &all)), ("model.found", loss(&fixed, &all))]);
        let gradient = differences(&all, 0..8, |all| 0.5 * (loss(&x, all) + loss(&fixed, all)));
        assert_went(&before, &after, 0..8, &gradient, "model");
    }
}

fn runs() -> Vec<(&'static str, Run)> {
    let mixture = Prior::Mixture(vec![
        Mode { weight: 1.0, mean: vec![1.0, 0.0], deviation: 0.5 },
        Mode { weight: 2.0, mean: vec![-1.0, 0.0], deviation: 0.5 },
    ]);
    let denoising = spec().gaussian_corruption(0.2);
    let ascent = Adversary::Ascent(Ascent { bound: Bound::Infinity(0.1), steps: 2, length: 0.1 });
    let network = Adversary::network(Bound::Two(0.2), [hidden(4)]);
    let discriminator = |prior| Discriminator::new(prior, [hidden(4)]);
    vec![
        ("codes", Run::adversarial(&denoising, &discriminator(mixture), &training()).unwrap()),
        ("draws", Run::adversarial(&spec().variational(0.1), &discriminator(Prior::Normal), &training()).unwrap()),
        ("ascent", Run::against(&denoising, &ascent, &training()).unwrap()),
        ("network", Run::against(&denoising.tied(), &network, &training()).unwrap()),
    ]
}

/// From a file, after each step of a turn and in later ones; the rest comes to the bits of a run that nobody stopped.
#[test]
fn runs_go_on_from_the_middle_of_a_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    for (name, run) in runs() {
        let mut whole = Trainer::new(&gpu(), run.clone()).unwrap();
        let first = whole.parameters().unwrap();
        whole.fit(data()).unwrap();
        let whole = whole.parameters().unwrap();
        assert!(first.iter().zip(&whole).all(|(first, now)| first != now), "{name}: a tensor was not trained");
        for steps in [1, 2, 3, 4, 8] {
            let mut trainer = Trainer::new(&gpu(), run.clone()).unwrap();
            trainer.load(data()).unwrap();
            trainer.step(steps).unwrap();
            trainer.checkpoint(&path).unwrap();
            drop(trainer);
            let mut again = Trainer::resume(&gpu(), run.clone(), &path).unwrap();
            again.fit(data()).unwrap();
            let found = again.parameters().unwrap();
            let same = match gpu().kind() {
                AdapterKind::Software => found == whole,
                AdapterKind::Hardware => squared_error(&found.concat(), &whole.concat()) < 1e-8,
            };
            assert!(same, "{name}, after {steps} steps: {:e}", squared_error(&found.concat(), &whole.concat()));
        }
    }
}

/// Whatever the objective of the spec: its terms are reported as in a session, its ramps are, and all tensors are trained.
#[test]
fn any_spec_has_adversaries() {
    let sigmoid = Spec::symmetric(&[WIDTH, 4, CODE], Activation::Sigmoid).code_activation(Activation::Sigmoid);
    let contractive =
        Penalty::Contractive { weight: 0.1, of: Mapping::Encoder, method: Method::Hutchinson { projections: 1 } };
    let sparse = Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 3 };
    let linear = Spec::symmetric(&[WIDTH, CODE], Activation::Identity).loss(Loss::SquaredError);
    let normal = spec().loss(Loss::Gaussian { sigma: 0.5, learned: false }).gaussian_corruption(0.2);
    let mut dropped = spec().scaling(Scaling::Unit);
    dropped.encoder[0].noise = Corruption::Masking { probability: 0.3, rescale: true };
    let specs = [
        ("contractive", sigmoid.clone().loss(Loss::Bernoulli).penalty(contractive)),
        ("sparse", sigmoid.penalty(Penalty::KlSparsity { weight: 0.2, rho: 0.1, layer: None }).weight_decay(0.01)),
        ("predictive", Spec { latent: sparse, ..linear }),
        ("walkback", Spec { walkback: 2, ..normal.clone() }),
        (
            "ramps",
            normal.ramp("corruption.sigma", Ramp::linear(0.0, 0.5)).ramp("loss.gaussian.sigma", Ramp::linear(1.0, 0.5)),
        ),
        ("variational", spec().variational(0.5).ramp("latent.beta", Ramp::linear(0.0, 0.5))),
        ("dropped", dropped),
        ("salted", spec().corruption(Corruption::SaltAndPepper { probability: 0.2 })),
        ("supervised", Spec { supervised: Some(Supervised { classes: 2, weight: 0.5 }), ..spec() }),
    ];
    let labels = (0..ROWS as u32).map(|row| row % 2).collect();
    let labelled = data().with_labels(labels).unwrap().labelled(2).unwrap();
    let ascent = Adversary::Ascent(Ascent { bound: Bound::Two(0.1), steps: 2, length: 0.1 });
    let network = Adversary::network(Bound::Infinity(0.1), [hidden(4)]);
    for (name, spec) in specs {
        let rows = || if spec.supervised.is_some() { labelled.clone() } else { data() };
        let mut session = Session::new(&gpu(), &spec, training()).unwrap();
        let own: Vec<String> =
            session.fit(rows()).unwrap().history[0].terms.iter().map(|(name, _)| name.clone()).collect();
        let discriminator = Discriminator::new(Prior::Normal, [hidden(4)]);
        // Without the generator's step the model is trained as if there were no discriminator.
        let mut alone = Run::adversarial(&spec, &discriminator, &training()).unwrap();
        alone.phases[0].steps.truncate(1);
        let mut alone = Trainer::new(&gpu(), alone).unwrap();
        alone.fit(rows()).unwrap();
        for (tensor, expected) in session.tensors().iter().zip(session.parameters().unwrap()) {
            let at = alone.tensors().iter().position(|other| other.name == tensor.name).unwrap();
            let apart = squared_error(&alone.parameters().unwrap()[at], &expected);
            assert!(apart <= 1e-10, "{name}: {} is off by {apart:e}", tensor.name);
        }
        for (step, more, run) in [
            ("players", 3, Run::adversarial(&spec, &discriminator, &training())),
            ("model", 1, Run::against(&spec, &ascent, &training())),
            ("model", 2, Run::against(&spec, &network, &training())),
        ] {
            let mut trainer = Trainer::new(&gpu(), run.unwrap()).unwrap();
            let first = trainer.parameters().unwrap();
            let fit = trainer.fit(rows()).unwrap();
            let terms = &fit.history[0].terms;
            let of_model = |own: &String| terms.iter().any(|(name, _)| *name == format!("{step}.{own}"));
            assert!(own.iter().all(of_model) && terms.len() == own.len() + more, "{name}: {terms:?}, beside {own:?}");
            let untrained = |(before, now): (&Vec<f32>, &Vec<f32>)| before == now;
            let at = first.iter().zip(&trainer.parameters().unwrap()).position(untrained);
            assert!(at.is_none(), "{name}, {step}: {} was not trained", trainer.tensors()[at.unwrap()].name);
        }
    }
}

/// Players draw other first weights than the model, and the same for the same seed.
#[test]
fn players_start_as_their_layers_say() {
    let (wide, player) =
        Run::of(&spec(), &[]).unwrap().with_player("other", WIDTH, &[hidden(4), Layer::new(1)]).unwrap();
    assert_eq!((player.set(), player.params()), (Set(1), 8..12));
    let mut run = wide;
    let part = run.part().unwrap();
    let mut g = run.graph();
    let x = g.gather(WIDTH, false);
    let y = player.forward(&mut g, x).unwrap();
    let cost = g.batch_mean(y).unwrap();
    g.term("cost", cost);
    let wanted: Vec<_> = player.params().map(|i| g.param(i).unwrap()).collect();
    for (i, gradient) in player.params().zip(g.gradient(cost, &wanted).unwrap()) {
        g.sink(Sink::Gradient(i), gradient);
    }
    assert_eq!(part.spec(), &spec());
    run.phases = vec![strait::train::Phase::new("alone", [Step::new("alone", g, [Update::adam([player.set()], 0.1)])])];
    let trainer = Trainer::new(&gpu(), run.clone()).unwrap();
    let first = trainer.parameters().unwrap();
    let session = Session::new(&gpu(), &spec(), Training { seed: 0, ..training() }).unwrap();
    assert!(first[..8] == session.parameters().unwrap()[..], "the model starts as in a session");
    assert!(first[8].iter().any(|&v| v != 0.0) && first[8] != first[0], "{:?}", first[8]);
    assert!(first[9].iter().chain(&first[11]).all(|&v| v == 0.0));
    let names: Vec<&str> = trainer.tensors()[8..].iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["other.0.weight", "other.0.bias", "other.1.weight", "other.1.bias"]);
    match run.with_player("late", WIDTH, &[Layer::new(1)]).map(drop) {
        Err(error) => assert_eq!(error.to_string(), "phases is \"alone\"; allowed: none before the players are there"),
        Ok(()) => panic!("a player that comes late"),
    }
}

/// A penalty that is a term and no more.
struct Sum;

impl RowPenalty for Sum {
    fn rows(&self, g: &mut Graph, h: NodeId, _: &[f64]) -> Result<NodeId, Error> {
        Ok(g.sum(Over::Columns, h))
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |result: Result<Run, Error>| match result.map(drop) {
        Err(error @ Error::Spec { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let adversarial =
        |prior: Prior, layers: Vec<Layer>| Run::adversarial(&spec(), &Discriminator::new(prior, layers), &training());
    let mode = |weight: f64, mean: Vec<f64>, deviation: f64| Prior::Mixture(vec![Mode { weight, mean, deviation }]);
    let positive = "allowed: a number above 0 in the normal range of f32";
    let cases = [
        (
            mode(1.0, vec![0.0; 3], 1.0),
            "prior.mixture[0].mean is 3 values; allowed: 2, as wide as the code".to_string(),
        ),
        (mode(0.0, vec![0.0; 2], 1.0), format!("prior.mixture[0].weight is 0; {positive}")),
        (mode(1.0, vec![0.0; 2], -1.0), format!("prior.mixture[0].deviation is -1; {positive}")),
        (
            mode(1.0, vec![0.0, f64::NAN], 1.0),
            "prior.mixture[0].mean is NaN; allowed: numbers that are finite in f32".into(),
        ),
        (Prior::Mixture(vec![]), "prior.mixture is empty; allowed: at least one mode".into()),
        (
            Prior::Uniform { low: 1.0, high: 1.0 },
            "prior.uniform is 1 to 1; allowed: a finite interval, low < high".into(),
        ),
        (
            Prior::own(|g, _| g.map_to(Expr::column(), &[], Shape::batched(&[5]))),
            "prior (own) is [batch, 5]; allowed: [batch, 2]".into(),
        ),
    ];
    for (prior, text) in cases {
        assert_eq!(said(adversarial(prior, vec![hidden(4)])), text);
    }
    assert_eq!(said(adversarial(Prior::Normal, vec![hidden(0)])), "discriminator[0].units is 0; allowed: 1 to 1048576");
    let player = |input: usize, layers: &[Layer]| {
        said(Run::of(&spec(), &[]).unwrap().with_player("other", input, layers).map(|(run, _)| run))
    };
    assert_eq!(player(0, &[hidden(4)]), "other.input is 0; allowed: 1 to 1048576");
    assert_eq!(player(3, &[]), "other is empty; allowed: at least one layer");
    let noisy = Layer { noise: Corruption::Gaussian { sigma: 0.1 }, ..hidden(4) };
    assert_eq!(
        said(adversarial(Prior::Normal, vec![noisy])),
        "discriminator[0].noise is Gaussian { sigma: 0.1 }; allowed: none: a player's layers draw nothing"
    );
    let rate = Discriminator { generator: Update::adam([], 0.0), ..Discriminator::new(Prior::Normal, []) };
    assert_eq!(
        said(Run::adversarial(&spec(), &rate, &training())),
        format!("phases[\"adversarial\"].steps[\"generator\"].updates[0].learning_rate is 0; {positive}")
    );
    // As many terms as a spec can have.
    let predictive = Spec {
        latent: Latent::PredictiveSparse { weight: 0.1, gamma: 1.0, steps: 3 },
        supervised: Some(Supervised { classes: 2, weight: 1.0 }),
        ..Spec::symmetric(&[WIDTH, CODE], Activation::Identity).loss(Loss::SquaredError).weight_decay(0.01)
    };
    let wordy = (0..6).fold(predictive, |spec, i| spec.penalty(Penalty::own(format!("own {i}"), 1.0, [], Sum)));
    Run::adversarial(&wordy, &Discriminator::new(Prior::Normal, []), &training()).unwrap();
    let named = |name: &str| spec().penalty(Penalty::own(name, 1.0, [], Sum));
    assert_eq!(
        said(Run::adversarial(&named("discriminator.prior"), &Discriminator::new(Prior::Normal, []), &training())),
        "phases[\"adversarial\"].steps[\"players\"].graph: terms is \"discriminator.prior\" twice; allowed: names that differ"
    );
    let network = Adversary::network(Bound::Infinity(0.1), []);
    assert_eq!(
        said(Run::against(&named("found"), &network, &training())),
        "phases[\"against\"].steps[\"model\"].graph: terms is \"found\" twice; allowed: names that differ"
    );
    let early =
        Training { early_stopping: Some(EarlyStopping { validation: 0.2, patience: 1, min_delta: 0.0 }), ..training() };
    assert_eq!(
        said(Run::adversarial(&spec(), &Discriminator::new(Prior::Normal, []), &early)),
        "early_stopping is some; allowed: none: phases look at no validation rows"
    );

    let good = Ascent { bound: Bound::Infinity(0.1), steps: 2, length: 0.1 };
    let against = |ascent: Ascent| said(Run::against(&spec(), &Adversary::Ascent(ascent), &training()));
    for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for bound in [Bound::Infinity(radius), Bound::Two(radius)] {
            let text = format!("adversary.bound.radius is {radius}; {positive}");
            assert_eq!(against(Ascent { bound, ..good }), text);
            assert_eq!(said(Run::against(&spec(), &Adversary::network(bound, []), &training())), text);
        }
    }
    assert_eq!(against(Ascent { length: 0.0, ..good }), format!("adversary.length is 0; {positive}"));
    assert_eq!(against(Ascent { steps: 0, ..good }), "adversary.steps is 0; allowed: 1 to 100");
    assert_eq!(against(Ascent { steps: 101, ..good }), "adversary.steps is 101; allowed: 1 to 100");
    let softmax = spec().loss(Loss::Softmax { classes: 3 });
    assert_eq!(
        said(Run::against(&softmax, &Adversary::Ascent(good), &training())),
        "loss is softmax; allowed: one of rows that can be moved: no distributions"
    );

    let session = Session::new(&gpu(), &spec(), training()).unwrap();
    let worst = |rows: &[f32], ascent: Ascent| session.worst(rows, &ascent).unwrap_err().to_string();
    assert_eq!(worst(&[0.0; 3], Ascent { steps: 0, ..good }), "steps is 0; allowed: 1 to 100");
    assert_eq!(
        worst(&[0.0; 4], good),
        "rows to find worse ones of: found 4 values; allowed: whole rows of 3 values, at least one"
    );
    assert_eq!(
        worst(&[0.0, f32::NAN, 0.0], good),
        "rows to find worse ones of: row 0, column 1: found NaN; allowed: a finite number"
    );
    let far = worst(&[3e38; 3], good);
    assert!(far.starts_with("rows to find worse ones of: row 0: found "), "{far}");
}
