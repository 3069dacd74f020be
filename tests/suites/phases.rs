//! Runs of phases and of steps that take turns, against the same done by hand: each graph and each update run once at a time,
//! with the rows, the scalars and the counts that are written down here.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use crate::common::{gpu, own_gpu, squared_error, values};
use crate::updates::OPTIMIZERS;
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

/// What a step came to: its terms by name.
type Terms = Vec<(String, f64)>;

/// A run done by hand.
struct Hand {
    gpu: Gpu,
    arenas: BTreeMap<Arena, Vec<f32>>,
    /// The terms of each phase's steps.
    terms: Vec<Vec<Terms>>,
}

impl Hand {
    fn new(gpu: &Gpu) -> Hand {
        let mut hand = Hand { gpu: gpu.clone(), arenas: BTreeMap::new(), terms: vec![] };
        let mut left = initial().into_iter();
        for (i, set) in sets().iter().enumerate() {
            let own: Vec<Vec<f32>> = left.by_ref().take(set.tensors.len()).collect();
            let packed = Layout::new(&set.tensors).pack(&set.tensors, &own).unwrap();
            hand.arenas.insert(Set(i).arena(Kept::Values), packed);
        }
        hand
    }

    fn parameters(&self) -> Vec<Vec<f32>> {
        let of = |(i, set): (usize, &TensorSet)| {
            Layout::new(&set.tensors).unpack(&set.tensors, &self.arenas[&Set(i).arena(Kept::Values)]).unwrap()
        };
        sets().iter().enumerate().flat_map(of).collect()
    }

    fn phase(&mut self, run: &Run, number: u64, phase: &Phase) {
        for i in 0..4 {
            let zeros = vec![0.0; self.arenas[&Set(i).arena(Kept::Values)].len()];
            self.arenas.extend([Kept::First(0), Kept::Second(0)].map(|kept| (Set(i).arena(kept), zeros.clone())));
        }
        let target = Target { data_rows: ROWS, ..Target::of(&self.gpu, phase.batch) };
        let all = data();
        let passes: Vec<Evaluator> = phase
            .steps
            .iter()
            .map(|step| {
                let evaluator = Evaluator::with_target(&self.gpu, &step.graph, target.clone()).unwrap();
                evaluator.data(all.values()).unwrap();
                evaluator
            })
            .collect();
        let turns = if phase.drop_last { ROWS / phase.batch } else { ROWS.div_ceil(phase.batch) };
        let total = turns as u64 * phase.epochs;
        let (mut step, mut applied, mut terms) = (0, vec![0; phase.steps.len()], vec![]);
        for turn in 0..total {
            let first_row = (turn as usize % turns) * phase.batch;
            let state = State {
                rows: phase.batch.min(ROWS - first_row) as u32,
                first_row: first_row as u32,
                count: ROWS as u32,
                epoch: (turn / turns as u64) as u32,
                ..State::once(ROWS, run.seed + number)
            };
            for (at, taken) in phase.steps.iter().enumerate() {
                for _ in 0..taken.repeat {
                    self.pass(&passes[at], State { step, ..state }, fooling(turn as f64 / total as f64));
                    let found = taken.graph.terms().iter().enumerate().map(|(i, term)| {
                        let value = passes[at].sink(Sink::Term(i), state.rows as usize).unwrap()[0];
                        (format!("{}.{term}", taken.name), f64::from(value))
                    });
                    terms.push(found.collect());
                    for update in &taken.updates {
                        let share = (applied[at] as f64 + 1.0) / 4.0;
                        let part = applied[at] as f64 / (total * taken.repeat) as f64;
                        let factor = match update.schedule.warm_up {
                            0 => 1.0,
                            _ => share.min(1.0) * 0.5 * (1.0 + (PI * part).cos()),
                        };
                        self.update(update, update.learning_rate * factor, applied[at]);
                    }
                    for set in &taken.state {
                        let next = self.arenas[&set.arena(Kept::Gradients)].clone();
                        self.arenas.insert(set.arena(Kept::Values), next);
                    }
                    applied[at] += 1;
                    step += 1;
                }
            }
        }
        self.terms.push(terms);
    }

    fn pass(&mut self, evaluator: &Evaluator, state: State, fooling: f64) {
        for (arena, values) in self.arenas.iter().filter(|(arena, _)| arena.kept == Kept::Values) {
            evaluator.arena(*arena, values).unwrap();
        }
        evaluator.table(&[0.0, 0.0, 0.0, fooling as f32]).unwrap();
        evaluator.run(state).unwrap();
        for i in 0..4 {
            let arena = Set(i).arena(Kept::Gradients);
            if let Some(gradients) = evaluator.kept(arena).unwrap() {
                self.arenas.insert(arena, gradients);
            }
        }
    }

    fn update(&mut self, update: &Update, rate: f64, applied: u64) {
        let graph = update.optimizer.update(sets(), &update.sets, update.clip_norm).unwrap();
        let evaluator = Evaluator::new(&self.gpu, &graph, 1).unwrap();
        for (arena, values) in &self.arenas {
            evaluator.arena(*arena, values).unwrap();
        }
        let (first, second) = match update.optimizer {
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                let count = applied as f64 + 1.0;
                (rate / (1.0 - beta1.powf(count)), 1.0 / (1.0 - beta2.powf(count)).sqrt())
            }
            _ => (rate, 1.0),
        };
        evaluator.table(&[rate as f32, first as f32, second as f32, 0.0]).unwrap();
        evaluator.run(State::once(1, 0)).unwrap();
        for (arena, values) in &mut self.arenas {
            if let (Some(new), false) = (evaluator.kept(*arena).unwrap(), arena.kept == Kept::Gradients) {
                *values = new;
            }
        }
    }
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

/// Codes of `w`, which stays as it is.
pub(crate) fn code(g: &mut Graph, shuffled: bool) -> NodeId {
    let (x, w) = (g.gather(COLUMNS, shuffled), g.param(0).unwrap());
    let code = g.matmul(x, w, false, false).unwrap();
    g.map([code], |[h]| h.tanh()).unwrap()
}

fn inner() -> TensorSet {
    TensorSet::new("inner", vec![tensor("u", &[3, 2]), tensor("t", &[2, 3])])
}

/// An autoencoder of codes, whose tensors are numbered from `first` on.
pub(crate) fn of_codes(mut g: Graph, code: NodeId, first: usize) -> Step {
    let (u, t) = (g.param(first).unwrap(), g.param(first + 1).unwrap());
    let h = g.matmul(code, u, false, false).unwrap();
    let h = g.map([h], |[h]| h.tanh() + 0.05 * Expr::random(Distribution::Normal, 4)).unwrap();
    let r = g.matmul(h, t, false, false).unwrap();
    let rows = g.map([r, code], |[r, x]| (r - x).square()).unwrap();
    let error = g.batch_mean(rows).unwrap();
    g.term("error", error);
    sink(&mut g, error, &[first, first + 1]).unwrap();
    Step::new("inner", g, [update(&[Set(usize::from(first > 0))], Optimizer::ADAM, 0.03, Some(0.2))])
}

pub(crate) fn outer_and_inner() -> (Run, Vec<Vec<f32>>) {
    let mut run = Run::new(vec![TensorSet::new("outer", vec![tensor("w", &[COLUMNS, 3])]), inner()], vec![]).unwrap();
    run.seed = 9;
    let params = [15, 6, 6].iter().enumerate().map(|(i, &count)| values(40 + i as u32, count, (-0.8, 0.8)));
    (run, params.collect())
}

/// A phase on cached codes gives the bits of one that computes them in every step, and those of a model of its own that is
/// trained on the codes; also where they come in chunks.
#[test]
fn cached_codes_are_those_that_are_computed_again() {
    let gpu = gpu();
    let ended = |run: Run, params: &[Vec<f32>], data: Data| {
        let mut trainer = Trainer::new(&gpu, run).unwrap();
        trainer.set_parameters(params).unwrap();
        let fit = trainer.fit(data).unwrap();
        (trainer.parameters().unwrap(), fit.history[0].terms.clone())
    };
    for (shuffled, budget) in [(true, 1 << 20), (false, 1 << 20), (false, 4 * 3 * 4)] {
        let (mut run, params) = outer_and_inner();
        run.data_budget = budget;
        let phase =
            |step: Step, cached: Option<Graph>| Phase { batch: 4, epochs: 6, cached, ..Phase::new("inner", [step]) };
        let mut cached = run.clone();
        let mut codes = cached.graph();
        let rows = code(&mut codes, false);
        codes.sink(Sink::Output(0), rows);
        let mut g = cached.graph();
        let x = g.gather(3, shuffled);
        cached.phases = vec![phase(of_codes(g, x, 1), Some(codes.clone()))];
        let (found, terms) = ended(cached, &params, data());
        assert!(found[0] == params[0] && found[1] != params[1]);
        // In every step, from the rows themselves.
        let mut again = run.clone();
        again.data_budget = 1 << 20;
        let mut g = again.graph();
        let x = code(&mut g, shuffled);
        again.phases = vec![phase(of_codes(g, x, 1), None)];
        let (expected, _) = ended(again, &params, data());
        assert_same(&gpu, &found, &expected, &format!("computed again, shuffled: {shuffled}, budget {budget}"));
        // By a model that knows nothing of the other.
        let evaluator = Evaluator::new(&gpu, &codes, ROWS).unwrap();
        evaluator.params(&params).unwrap();
        evaluator.data(data().values()).unwrap();
        evaluator.run(State::once(ROWS, 0)).unwrap();
        let rows = Data::from_rows(3, evaluator.sink(Sink::Output(0), ROWS).unwrap()).unwrap();
        let mut apart = Run::new(vec![inner()], vec![]).unwrap();
        (apart.seed, apart.data_budget) = (run.seed, budget);
        let mut g = apart.graph();
        let x = g.gather(3, shuffled);
        apart.phases = vec![phase(of_codes(g, x, 0), None)];
        let (expected, told) = ended(apart, &params[1..], rows);
        assert!(found[1..] == expected[..], "apart, shuffled: {shuffled}, budget {budget}");
        assert_eq!(terms, told);
    }
    // What cannot be computed once.
    let refused = |build: &dyn Fn(&mut Graph) -> NodeId, outputs: usize| {
        let (mut run, _) = outer_and_inner();
        let mut g = run.graph();
        let rows = build(&mut g);
        (0..outputs).for_each(|i| g.sink(Sink::Output(i), rows));
        let mut step = run.graph();
        let x = step.gather(3, true);
        run.phases = vec![Phase { cached: Some(g), ..Phase::new("inner", [of_codes(step, x, 1)]) }];
        match run.check() {
            Err(Error::Spec { field, value, .. }) => (field, value),
            other => panic!("{other:?}"),
        }
    };
    let field = || "phases[\"inner\"].cached".to_string();
    assert_eq!(refused(&|g| code(g, true), 1), (field(), "shuffled rows".into()));
    assert_eq!(refused(&|g| code(g, false), 2), (field(), "2 results".into()));
    assert_eq!(refused(&|g| code(g, false), 0), (field(), "0 results".into()));
    let changed = |g: &mut Graph| {
        let (h, u) = (code(g, false), g.param(1).unwrap());
        let sum = g.sum_all(u);
        g.map([h, sum], |[h, s]| h + s).unwrap()
    };
    assert_eq!(refused(&changed, 1), (field(), "u, which the phase changes".into()));
    let drawn = |g: &mut Graph| {
        let h = code(g, false);
        g.map([h], |[h]| h + Expr::random(Distribution::Normal, 1)).unwrap()
    };
    assert!(refused(&drawn, 1).1.ends_with("which draws"));
    let scheduled = |g: &mut Graph| {
        let (h, rate) = (code(g, false), g.scalar("learning_rate").unwrap());
        g.map([h, rate], |[h, r]| h * r).unwrap()
    };
    assert_eq!(refused(&scheduled, 1), (field(), "a scalar, which changes".into()));
    let wide = |g: &mut Graph| g.gather(COLUMNS, false);
    assert_eq!(refused(&wide, 1), ("phases[\"inner\"].steps".into(), "rows of 3 columns".into()));
    assert_eq!(refused(&|g| g.input(0, 3), 1), (field(), "input 0, which nobody writes".into()));
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

pub(crate) fn refused(run: Run) -> [String; 3] {
    match run.check() {
        Err(Error::Spec { field, value, allowed, .. }) => [field, value, allowed],
        other => panic!("{:?}", other.map(|()| "nothing was refused")),
    }
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let fine = || run(false, false);
    fine().check().unwrap();
    let with = |change: &dyn Fn(&mut Run)| {
        let mut run = fine();
        change(&mut run);
        refused(run)
    };
    let step = "phases[\"players\"].steps[\"critic\"]";
    let place = |change: &dyn Fn(&mut Run)| with(change)[0].clone();
    assert_eq!(with(&|run| run.phases.clear()), ["phases", "none", "at least one"]);
    assert_eq!(with(&|run| run.phases[1].name = "alone".into())[1], "\"alone\" twice");
    assert_eq!(place(&|run| run.phases[1].batch = 0), "phases[\"players\"].batch");
    assert_eq!(place(&|run| run.phases[1].steps.clear()), "phases[\"players\"].steps");
    let range = |low: f32, high: f32| with(&|run| run.phases[1].range = Some([low, high]));
    let finite = "from a finite number to no smaller one";
    assert_eq!(range(1.0, 0.5), ["phases[\"players\"].range", "1 to 0.5", finite]);
    assert_eq!(range(f32::NAN, 1.0)[1..], ["NaN to 1", finite]);
    assert_eq!(range(0.0, f32::INFINITY)[2], finite);
    assert_eq!(with(&|run| run.phases[1].steps[1].name = "critic".into())[1], "\"critic\" twice");
    assert_eq!(place(&|run| run.phases[1].steps[0].repeat = 0), format!("{step}.repeat"));
    assert_eq!(with(&|run| run.phases[1].steps[0].repeat = 256)[1..], ["258", "at most 256 in a turn"]);
    assert_eq!(with(&|run| run.phases[1].steps[0].repeat = u64::MAX)[2], "at most 256 in a turn");
    let update = |change: &dyn Fn(&mut Update)| with(&|run| change(&mut run.phases[1].steps[0].updates[0]));
    let named = |field: &str| format!("{step}.updates[0].{field}");
    assert_eq!(update(&|u| u.sets.clear())[0], named("sets"));
    assert_eq!(update(&|u| u.sets = vec![Set(4)]), [named("sets"), "4".into(), "below 4".into()]);
    assert_eq!(update(&|u| u.sets = vec![CRITIC, ENCODER])[1], "w without one");
    assert_eq!(update(&|u| u.learning_rate = f64::NAN)[0], named("learning_rate"));
    assert_eq!(update(&|u| u.clip_norm = Some(-1.0))[0], named("clip_norm"));
    assert_eq!(
        update(&|u| u.optimizer = Optimizer::Sgd { momentum: 1.0, nesterov: false })[0],
        named("optimizer.momentum")
    );
    let never = Schedule { warm_up: 0, decay: Decay::Cosine { steps: Some(0) } };
    assert_eq!(update(&|u| u.schedule = never)[0], named("schedule.decay.steps"));
    let twice = with(&|run| run.phases[1].steps[1].updates[1].sets = vec![DECODER, ENCODER]);
    assert_eq!(twice[1], "\"encoder\" twice");
    let state = |state: Set| with(&|run| run.phases[1].steps[2].state = vec![state]);
    assert_eq!(state(Set(4))[1..], ["4", "below 4"]);
    assert_eq!(state(CRITIC)[1], "c without one");
    let both = with(&|run| run.phases[1].steps[0].updates[0].sets = vec![STATE]);
    assert_eq!(both[1], "mean without one");
    let trained = with(&|run| run.phases[1].steps[1].state = vec![DECODER]);
    assert_eq!(trained[1], "\"decoder\" is trained, too");
    // Graphs.
    let other = |change: &dyn Fn(&Run) -> Graph| with(&|run| run.phases[1].steps[0].graph = change(run));
    let bare = other(&|_| Run::new(sets(), vec![]).unwrap().graph());
    assert_eq!(bare[0], format!("{step}.graph"));
    let graph = |run: &Run, add: &dyn Fn(&mut Graph) -> NodeId| {
        let mut g = run.phases[1].steps[0].graph.clone();
        let node = add(&mut g);
        let sum = g.sum_all(node);
        g.term("more", sum);
        g
    };
    assert_eq!(other(&|run| graph(run, &|g| g.input(0, 3)))[1], "input 0, which nobody writes");
    let updates = other(&|run| {
        let mut g = run.phases[1].steps[0].graph.clone();
        let values = g.arena(CRITIC.arena(Kept::Values));
        let twice = g.map([values], |[v]| 2.0 * v).unwrap();
        g.sink(Sink::Update(CRITIC.arena(Kept::Values)), twice);
        g
    });
    assert_eq!(updates[1], "an update of \"critic\"");
    let moments = other(&|run| graph(run, &|g| g.arena(ENCODER.arena(Kept::First(0)))));
    assert_eq!(moments[1], "first moments of a set");
    let terms = other(&|run| {
        let mut g = run.phases[1].steps[0].graph.clone();
        for i in 0..11 {
            let more = g.fill(f64::from(i), Shape::scalar());
            g.term(&format!("more {i}"), more);
        }
        g
    });
    assert_eq!(terms[1..], ["13", "at most 12"]);
    let mut unsound = fine();
    let g = &mut unsound.phases[1].steps[0].graph;
    let row = g.gather(COLUMNS, false);
    g.sink(Sink::Gradient(0), row);
    match unsound.check() {
        Err(Error::Shape { op, .. }) => assert!(op.starts_with(&format!("{step}.graph: ")), "{op}"),
        other => panic!("{other:?}"),
    }
    let wide = other(&|run| {
        let mut g = run.graph();
        let (x, c) = (g.gather(7, false), g.param(3).unwrap());
        let sum = g.sum_all(x);
        let gradient = g.map([c, sum], |[c, s]| c * s).unwrap();
        g.sink(Sink::Gradient(3), gradient);
        g
    });
    assert_eq!(
        wide[1..],
        ["rows of 5 columns, shuffled: false", "the same rows for all: of 7 columns, shuffled: false"]
    );
    // Without data.
    let mut run = empty();
    let mut g = run.graph();
    let c = g.param(3).unwrap();
    let sum = g.sum_all(c);
    g.term("sum", sum);
    run.phases = vec![Phase::new("none", [Step::new("one", g, [])])];
    assert_eq!(refused(run)[1], "graphs that read no data");
    // Scalars.
    let scalar = |name: &str, value: f64, ramp: Ramp| match empty().scalar(name, value, ramp) {
        Err(Error::Spec { field, value, .. }) => [field, value],
        other => panic!("{:?}", other.map(|_| "nothing was refused")),
    };
    assert_eq!(scalar("fooling", 1.0, Ramp::constant())[1], "\"fooling\" twice");
    assert_eq!(scalar("learning_rate", 1.0, Ramp::constant())[1], "\"learning_rate\" twice");
    assert_eq!(scalar("a", f64::NAN, Ramp::constant())[0], "ramps[\"a\"]");
    assert_eq!(scalar("a", 1e39, Ramp::constant())[0], "ramps[\"a\"]");
    assert_eq!(scalar("a", 1.0, Ramp { end: 0.05, ..RAMP })[0], "ramps[\"a\"].end");
    assert_eq!(scalar("a", -1.0, Ramp { from: 1.0, curve: Curve::Exponential, ..RAMP })[0], "ramps[\"a\"].curve");
    // Rows of another width, and none.
    let mut trainer = begun(&gpu(), fine());
    assert!(matches!(trainer.step(1), Err(Error::Data { .. })), "nothing was loaded");
    let narrow = Data::from_rows(4, vec![0.0; 8]).unwrap();
    match trainer.load(narrow) {
        Err(Error::Data { place, allowed, .. }) => {
            assert!(place.ends_with("columns") && allowed.starts_with("5, "), "{place}: {allowed}");
        }
        other => panic!("{other:?}"),
    }
    match trainer.set_parameters(&initial()[1..]) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "parameters"),
        other => panic!("{other:?}"),
    }
    match trainer.set_constants(&[vec![1.0]]) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "constants"),
        other => panic!("{other:?}"),
    }
    trainer.set_constants(&[]).unwrap();
    let mut frozen = Run::new(sets(), vec![tensor("frozen", &[2])]).unwrap();
    frozen.phases = fine().phases;
    frozen.phases.truncate(1);
    frozen.phases[0].steps = vec![{
        let mut g = frozen.graph();
        let (x, c) = (g.gather(COLUMNS, false), g.constant(0).unwrap());
        let (x, c) = (g.sum_all(x), g.sum_all(c));
        g.term("x", x);
        g.term("c", c);
        Step::new("sum", g, [])
    }];
    let mut trainer = Trainer::new(&gpu(), frozen).unwrap();
    match trainer.set_constants(&[vec![1.0, f32::NAN]]) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "frozen"),
        other => panic!("{other:?}"),
    }
    trainer.set_constants(&[vec![1.0, 2.0]]).unwrap();
    let found = trainer.fit(data()).unwrap().history[0].terms[1].clone();
    assert_eq!(found, ("sum.c".into(), 3.0));
}
