//! Runs of phases and of steps that take turns, against the same done by hand.

mod cached;
mod hand;
mod refused;

pub(crate) use cached::{code, of_codes, outer_and_inner};
pub(crate) use refused::refused;

use std::collections::BTreeMap;
use std::f64::consts::PI;

use crate::common::{gpu, own_gpu, squared_error, values};
use crate::updates::OPTIMIZERS;
use hand::Hand;
use strait::graph::{Arena, Distribution, Expr, Graph, Kept, NodeId, Over, Set, Shape, Sink, Tensor, TensorSet};
use strait::internals::evaluator::Evaluator;
use strait::internals::graph::Layout;
use strait::internals::model::Network;
use strait::internals::plan::{AdapterKind, Target};
use strait::internals::state::State;
use strait::model::Purpose;
use strait::train::{Phase, Run, Step, Trainer, Update};
use strait::{
    Activation, Curve, Data, Decay, Error, Gpu, Optimizer, Progress, Ramp, Result, Schedule, Session, Spec, Training,
    UpdateRamps,
};

const ROWS: usize = 11;
const COLUMNS: usize = 5;
const ENCODER: Set = Set(0);
const DECODER: Set = Set(1);
const CRITIC: Set = Set(2);
const STATE: Set = Set(3);

/// The scalar of the graphs below, by its formula.
const RAMP: Ramp = Ramp { from: 0.0, curve: Curve::Cosine, begin: 0.1, end: 0.7 };
const FOOLING: f64 = 0.4;

fn fooling(part: f64) -> f64 {
    let t = ((part - 0.1) / 0.6).clamp(0.0, 1.0);
    FOOLING * (1.0 - (PI * t).cos()) / 2.0
}

fn tensor(name: &str, dims: &[usize]) -> Tensor {
    Tensor { name: name.into(), shape: Shape::fixed(dims) }
}

fn sets() -> Vec<TensorSet> {
    vec![
        TensorSet::new("encoder", vec![tensor("w", &[COLUMNS, 3])]),
        TensorSet::new("decoder", vec![tensor("v", &[3, COLUMNS]), tensor("b", &[COLUMNS])]),
        TensorSet::new("critic", vec![tensor("c", &[COLUMNS, 1])]),
        TensorSet::new("state", vec![tensor("mean", &[3]), tensor("chain", &[2, COLUMNS])]),
    ]
}

fn empty() -> Run {
    let mut run = Run::new(sets(), vec![]).unwrap().scalar("fooling", FOOLING, RAMP).unwrap();
    run.seed = 5;
    run
}

pub(crate) fn data() -> Data {
    Data::from_rows(COLUMNS, values(81, ROWS * COLUMNS, (-1.0, 1.0))).unwrap()
}

fn initial() -> Vec<Vec<f32>> {
    let counts = [3 * COLUMNS, 3 * COLUMNS, COLUMNS, COLUMNS, 3, 2 * COLUMNS];
    counts.iter().enumerate().map(|(i, &count)| values(90 + i as u32, count, (-0.5, 0.5))).collect()
}

/// Rows of the data and their reconstructions, from a code that is noisy.
fn pass(g: &mut Graph, shuffled: bool) -> Result<[NodeId; 2]> {
    let x = g.gather(COLUMNS, shuffled);
    let [w, v, b] = [g.param(0)?, g.param(1)?, g.param(2)?];
    let code = g.matmul(x, w, false, false)?;
    let code = g.map([code], |[h]| h.tanh() + 0.1 * Expr::random(Distribution::Normal, 3))?;
    let out = g.matmul(code, v, false, false)?;
    Ok([x, g.map([out, b], |[r, b]| r + b)?])
}

/// How much the critic takes rows for what they are not.
fn mistaken(g: &mut Graph, rows: NodeId, sign: f64) -> Result<NodeId> {
    let c = g.param(3)?;
    let score = g.matmul(rows, c, false, false)?;
    let cost = g.map([score], |[s]| (sign * s).softplus())?;
    g.batch_mean(cost)
}

fn sink(g: &mut Graph, objective: NodeId, trained: &[usize]) -> Result<()> {
    let wanted = trained.iter().map(|&i| g.param(i)).collect::<Result<Vec<_>>>()?;
    let gradients = g.gradient(objective, &wanted)?;
    trained.iter().zip(gradients).for_each(|(&i, gradient)| g.sink(Sink::Gradient(i), gradient));
    Ok(())
}

fn critic(run: &Run, shuffled: bool, updates: Vec<Update>) -> Result<Step> {
    let mut g = run.graph();
    let [x, r] = pass(&mut g, shuffled)?;
    let (real, made) = (mistaken(&mut g, x, -1.0)?, mistaken(&mut g, r, 1.0)?);
    g.term("data", real);
    g.term("made", made);
    let both = g.map([real, made], |[a, b]| a + b)?;
    sink(&mut g, both, &[3])?;
    Ok(Step::new("critic", g, updates))
}

fn model(run: &Run, shuffled: bool, updates: Vec<Update>) -> Result<Step> {
    let mut g = run.graph();
    let [x, r] = pass(&mut g, shuffled)?;
    let rows = g.map([r, x], |[r, x]| (r - x).square())?;
    let (error, fooled, weight) = (g.batch_mean(rows)?, mistaken(&mut g, r, -1.0)?, g.scalar("fooling")?);
    let fooled = g.map([fooled, weight], |[f, w]| f * w)?;
    g.term("error", error);
    g.term("fooled", fooled);
    let both = g.map([error, fooled], |[a, b]| a + b)?;
    sink(&mut g, both, &[0, 1, 2])?;
    Ok(Step::new("model", g, updates))
}

/// A step that trains nothing: a mean of codes that runs along, and a chain that starts where the last step left it.
fn watch(run: &Run, shuffled: bool) -> Result<Step> {
    let mut g = run.graph();
    let x = g.gather(COLUMNS, shuffled);
    let [w, mean, chain] = [g.param(0)?, g.param(4)?, g.param(5)?];
    let code = g.matmul(x, w, false, false)?;
    let sum = g.sum(Over::Rows, code);
    let mean = g.map([mean, sum], |[m, s]| 0.9 * m + 0.1 * (s / Expr::rows()))?;
    let chain = g.map([chain], |[c]| 0.5 * c + Expr::random(Distribution::Normal, 8))?;
    let size = g.sum_all(chain);
    g.term("chain", size);
    g.sink(Sink::Gradient(4), mean);
    g.sink(Sink::Gradient(5), chain);
    Ok(Step { state: vec![STATE], ..Step::new("watch", g, []) })
}

fn update(sets: &[Set], optimizer: Optimizer, learning_rate: f64, clip_norm: Option<f64>) -> Update {
    Update { optimizer, clip_norm, ..Update::adam(sets, learning_rate) }
}

/// Two phases: the model alone, all its sets clipped by one norm; then a critic, twice, and the model, whose sets have
/// optimizers of their own.
pub(crate) fn run(shuffled: bool, drop_last: bool) -> Run {
    let mut run = empty();
    let decaying = Schedule { warm_up: 4, decay: Decay::Cosine { steps: None } };
    let together = Update { schedule: decaying, ..update(&[ENCODER, DECODER], OPTIMIZERS[2], 0.1, Some(0.3)) };
    let alone = model(&run, shuffled, vec![together]).unwrap();
    let own = vec![
        update(&[ENCODER], OPTIMIZERS[3], 0.01, None),
        Update { schedule: decaying, ..update(&[DECODER], Optimizer::ADAM, 0.02, Some(0.1)) },
    ];
    let judge = vec![Update { schedule: decaying, ..update(&[CRITIC], OPTIMIZERS[5], 0.05, Some(0.2)) }];
    let players = vec![
        Step { repeat: 2, ..critic(&run, shuffled, judge).unwrap() },
        model(&run, shuffled, own).unwrap(),
        watch(&run, shuffled).unwrap(),
    ];
    run.phases = vec![
        Phase { batch: 4, epochs: 3, drop_last, ..Phase::new("alone", [alone]) },
        Phase { batch: 3, epochs: 5, drop_last, ..Phase::new("players", players) },
    ];
    run
}

/// To the bit on software adapters; elsewhere a GPU's compiler may round what it finds in one kernel otherwise than in two.
fn assert_same(gpu: &Gpu, found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    let same = match gpu.kind() {
        AdapterKind::Software => found == expected,
        AdapterKind::Hardware => squared_error(&found.concat(), &expected.concat()) < 1e-9,
    };
    assert!(same, "{what}: {:e}", squared_error(&found.concat(), &expected.concat()));
}

pub(crate) fn begun(gpu: &Gpu, run: Run) -> Trainer {
    let mut trainer = Trainer::new(gpu, run).unwrap();
    trainer.set_parameters(&initial()).unwrap();
    trainer
}

/// Waits for the report of the oldest submit.
pub(crate) fn report(trainer: &mut Trainer) -> Result<Progress> {
    loop {
        trainer.gpu().wait()?;
        if let Some(progress) = trainer.progress()? {
            return Ok(progress);
        }
    }
}

/// Both phases, in one go and in submits that end in the middle of turns; orders of rows; smaller last batches.
#[test]
fn turns_are_what_they_are_by_hand() {
    let gpu = gpu();
    for (shuffled, drop_last) in [(false, false), (true, false), (true, true)] {
        let run = run(shuffled, drop_last);
        let mut hand = Hand::new(&gpu);
        let mut trainers = [1, 4, u64::MAX].map(|each| (each, begun(&gpu, run.clone())));
        for (at, phase) in run.phases.iter().enumerate() {
            let frozen = hand.parameters();
            hand.phase(&run, at as u64, phase);
            for (each, trainer) in &mut trainers {
                let what = format!("{:?} in submits of {each}, shuffled: {shuffled}", phase.name);
                assert_eq!(trainer.phase().unwrap().name, phase.name);
                if *each == u64::MAX {
                    let fit = trainer.fit(data()).unwrap();
                    assert_eq!(fit.steps, hand.terms[at].len() as u64);
                    assert_eq!(fit.history.last().unwrap().total_steps, fit.steps);
                } else {
                    trainer.load(data()).unwrap();
                    let mut taken = 0;
                    while trainer.step(*each).unwrap().steps() > 0 {
                        let progress = report(trainer).unwrap();
                        if *each == 1 {
                            let expected = &hand.terms[at][taken];
                            for ((name, found), (wanted, value)) in progress.terms.iter().zip(expected) {
                                assert_eq!(name, wanted, "{what}");
                                assert!((found - value).abs() <= 1e-6 * value.abs(), "{what}: {name} of step {taken}");
                            }
                            assert_eq!(progress.terms.len(), expected.len());
                        }
                        taken = progress.step as usize;
                    }
                    assert_eq!(taken, hand.terms[at].len(), "{what}");
                }
                assert_same(&gpu, &trainer.parameters().unwrap(), &hand.parameters(), &what);
                if at == 0 {
                    assert!(trainer.parameters().unwrap()[3] == frozen[3], "the critic is trained by no step");
                    assert!(trainer.parameters().unwrap()[4] == frozen[4], "nothing replaces the state");
                    assert!(trainer.parameters().unwrap()[0] != frozen[0]);
                }
            }
        }
        for (_, trainer) in &mut trainers {
            assert!(trainer.phase().is_none());
            assert!(matches!(trainer.load(data()), Err(Error::Spec { field, .. }) if field == "phases"));
        }
    }
}

/// Data that comes in chunks, of which each turn still sees one batch.
#[test]
fn turns_over_chunks() {
    let gpu = gpu();
    let mut whole = begun(&gpu, run(false, false));
    let mut run = run(false, false);
    run.data_budget = 4 * COLUMNS as u64 * 4;
    let mut chunked = begun(&gpu, run);
    for _ in 0..2 {
        whole.fit(data()).unwrap();
        chunked.fit(data()).unwrap();
        assert!(whole.parameters().unwrap() == chunked.parameters().unwrap());
    }
}

/// Loading once more in the middle of a turn goes on there.
#[test]
fn loaded_again_in_the_middle_of_a_turn() {
    let gpu = gpu();
    let (mut whole, mut broken) = (begun(&gpu, run(true, false)), begun(&gpu, run(true, false)));
    for _ in 0..2 {
        whole.fit(data()).unwrap();
    }
    // Loading waits for what is under way, which may be the end.
    while broken.load(data()).is_ok() {
        broken.step(4).unwrap();
    }
    assert!(broken.phase().is_none());
    assert!(whole.parameters().unwrap() == broken.parameters().unwrap());
}

/// A session is the run of one phase and one step.
#[test]
fn a_session_is_a_run_of_one_step() {
    let gpu = gpu();
    let spec = Spec::symmetric(&[COLUMNS, 4, 2], Activation::Tanh).gaussian_corruption(0.1).variational(0.3);
    let spec = spec.ramp("latent.beta", Ramp::linear(0.0, 0.5));
    let ramp = |from| Some(Ramp::linear(from, 0.7));
    let ramps = UpdateRamps { clip_norm: ramp(0.1), beta2: ramp(0.9), ..UpdateRamps::default() };
    let training = Training { batch: 4, epochs: 6, clip_norm: Some(0.5), ramps, seed: 5, ..Training::default() };
    let mut session = Session::new(&gpu, &spec, training).unwrap();
    let network = Network::new(&spec).unwrap();
    let run = Run::new(network.sets(), network.constants().to_vec()).unwrap();
    let mut run = run.scalar("latent.beta", 0.3, Ramp::linear(0.0, 0.5)).unwrap();
    let graph = network.graph(Purpose::Train, training.shuffle).unwrap();
    let update = Update { clip_norm: Some(0.5), ramps, ..Update::adam([Set::FIRST], training.learning_rate) };
    let steps = [Step::new("train", graph, [update])];
    run.phases = vec![Phase { batch: 4, epochs: 6, ..Phase::new("all", steps) }];
    run.seed = 5;
    let mut trainer = Trainer::new(&gpu, run).unwrap();
    trainer.set_parameters(&session.parameters().unwrap()).unwrap();
    let (found, expected) = (trainer.fit(data()).unwrap(), session.fit(data()).unwrap());
    assert!(trainer.parameters().unwrap() == session.parameters().unwrap());
    // Later reports are means over as many steps as there was time for.
    let first = [&found, &expected].map(|fit| (fit.history[0].step, fit.history[0].terms.clone()));
    let named = |(name, value): &(String, f64)| (format!("train.{name}"), *value);
    assert_eq!(first[0], (first[1].0, first[1].1.iter().map(named).collect()));
    let last = [&found, &expected].map(|fit| fit.history.last().map(|p| (p.step, p.total_steps, p.learning_rate)));
    assert_eq!(last[0], last[1]);
}

/// A phase is over so many rows.
#[test]
fn other_rows_in_the_middle_of_a_phase() {
    let mut trainer = begun(&gpu(), run(false, false));
    trainer.load(data()).unwrap();
    trainer.load(data().split_at(7).unwrap().0).unwrap();
    trainer.step(1).unwrap();
    match trainer.fit(data()) {
        Err(Error::Data { found, allowed, .. }) => {
            assert_eq!((&found[..], &allowed[..]), ("11", "7, with which the phase \"alone\" began"));
        }
        other => panic!("{:?}", other.map(|fit| fit.steps)),
    }
    assert_eq!(trainer.fit(data().split_at(7).unwrap().0).unwrap().steps, 5);
    assert_eq!(trainer.phase().unwrap().name, "players");
    trainer.fit(data()).unwrap();
}

/// A step may report nothing.
#[test]
fn a_step_without_terms() {
    let mut run = empty();
    let mut g = run.graph();
    let x = g.gather(COLUMNS, false);
    let sum = g.sum(Over::Rows, x);
    let sums = g.map_to(Expr::input(0), &[sum], Shape::fixed(&[2, COLUMNS])).unwrap();
    let mean = g.param(4).unwrap();
    g.sink(Sink::Gradient(4), mean);
    g.sink(Sink::Gradient(5), sums);
    let steps = [Step { state: vec![STATE], ..Step::new("sum", g, []) }];
    run.phases = vec![Phase { batch: ROWS, epochs: 1, ..Phase::new("once", steps) }];
    let mut trainer = begun(&gpu(), run);
    assert!(trainer.fit(data()).unwrap().history[0].terms.is_empty());
    let found = trainer.parameters().unwrap();
    for column in 0..COLUMNS {
        let expected: f64 = data().values().iter().skip(column).step_by(COLUMNS).map(|&v| f64::from(v)).sum();
        assert!((f64::from(found[5][column]) - expected).abs() < 1e-5);
        assert_eq!(found[5][column], found[5][COLUMNS + column]);
    }
}

/// What goes bad is told with the player's name, and parameters stay those before that step.
#[test]
fn a_bad_step_names_its_player() {
    let gpu = own_gpu();
    let mut trainer = begun(&gpu, run(false, false));
    trainer.fit(data()).unwrap();
    trainer.load(data()).unwrap();
    trainer.step(2).unwrap();
    report(&mut trainer).unwrap();
    // The critic's two steps are over: the model's comes, whose code is so large that its error has no square.
    let mut values = trainer.parameters().unwrap();
    values[1].fill(1e30);
    trainer.set_parameters(&values).unwrap();
    trainer.step(5).unwrap();
    match report(&mut trainer) {
        Err(Error::Diverged { step: 2, term }) => assert_eq!(term, "model.error"),
        other => panic!("{:?}", other.map(|progress| progress.step)),
    }
    assert!(trainer.parameters().unwrap() == values);
    assert_eq!(trainer.steps(), 2);
    assert!(matches!(trainer.step(1), Err(Error::Data { .. })), "nothing is loaded");
    trainer.set_parameters(&initial()).unwrap();
    trainer.fit(data()).unwrap();
    assert!(trainer.phase().is_none());
}
