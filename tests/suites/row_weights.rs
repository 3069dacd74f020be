//! Rows with weights: the objective and its gradient against plain f64 code, against runs that do not know of weights, and
//! against rows that are there several times; that runs stay the same to the bit; refusals.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::common::{gpu, report, squared_error, values};
use crate::systems;
use strait::analysis::Pca;
use strait::data::{Shuffled, Source, Weighted};
use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::plan::AdapterKind;
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::model::{Mapping, Method, Purpose};
use strait::reference::Environment;
use strait::train::Ring;
use strait::{
    Activation, Data, EarlyStopping, Error, Loss, Optimizer, Penalty, Progress, Scaling, Session, Spec, Training,
};

type Rows = Arc<dyn Source>;

/// Rows as a spec wants them, labels included. The first row has the ends of the range, 0 and 1, where the loss allows that.
fn rows(spec: &Spec, stream: u32, count: usize) -> Vec<f32> {
    let mut all = Vec::new();
    let features = values(stream, count * spec.input, (0.05, 0.95));
    for (i, features) in features.chunks(spec.input).enumerate() {
        let mut row = features.to_vec();
        if let Loss::Softmax { classes } = spec.loss {
            for block in row.chunks_mut(classes) {
                let sum: f32 = block.iter().sum();
                block.iter_mut().for_each(|v| *v /= sum);
            }
        } else if i == 0 {
            (row[0], row[1]) = (0.0, 1.0);
        }
        let classes = spec.supervised.map_or(0, |supervised| supervised.classes);
        row.extend((0..classes).map(|class| if (i + stream as usize) % classes == class { 1.0 } else { 0.0 }));
        all.extend(row);
    }
    all
}

fn columns(spec: &Spec) -> usize {
    Network::new(spec).unwrap().data_columns()
}

fn plain(spec: &Spec, values: Vec<f32>) -> Rows {
    Data::from_rows(columns(spec), values).unwrap().into()
}

fn weighted(spec: &Spec, values: Vec<f32>, weights: &[f32]) -> Rows {
    Weighted::new(plain(spec, values), weights).unwrap().into()
}

/// Plain steps over batches of so many rows, in order.
fn in_order(batch: usize) -> Training {
    Training { batch, shuffle: false, optimizer: Optimizer::SGD, learning_rate: 0.1, seed: 5, ..Training::default() }
}

fn bits(tensors: &[Vec<f32>]) -> Vec<u32> {
    tensors.iter().flatten().map(|v| v.to_bits()).collect()
}

/// The gradients of a session's next step, and its report.
fn step(session: &mut Session) -> (Vec<Vec<f32>>, Progress) {
    assert!(session.backward().unwrap());
    let gradients = session.gradients().unwrap();
    session.apply().unwrap();
    (gradients, report(session))
}

/// The same of the first step over such rows.
fn first_step(spec: &Spec, rows: &Rows, training: Training) -> (Vec<Vec<f32>>, Progress) {
    let mut session = Session::new(&gpu(), spec, training).unwrap();
    session.load(rows.clone()).unwrap();
    step(&mut session)
}

/// What a batch of rows costs in a model of one sigmoid layer and a linear one, term by term, and the gradient: plain f64.
/// The terms are the squared error, λ Σ (q − ρ)² of the mean activity q, and the weight decay.
#[test]
fn objective_and_gradient_are_those_of_plain_code() {
    const N: usize = 4;
    const K: usize = 3;
    const ROWS: usize = 5;
    const LAMBDA: f64 = 0.7;
    const RHO: f64 = 0.2;
    const DECAY: f64 = 0.3;
    let sparsity = Penalty::SquaredSparsity { weight: LAMBDA, rho: RHO, layer: None };
    let spec = Spec::symmetric(&[N, K], Activation::Identity).code_activation(Activation::Sigmoid);
    let spec = spec.loss(Loss::SquaredError).penalty(sparsity).weight_decay(DECAY);
    let (x, weights) = (rows(&spec, 1, ROWS), [0.5f32, 3.0, 0.0, 1.25, 0.75]);
    let (found, progress) = first_step(&spec, &weighted(&spec, x.clone(), &weights), in_order(ROWS));

    let params = Session::new(&gpu(), &spec, in_order(ROWS)).unwrap().parameters().unwrap();
    let at = |p: usize, i: usize| f64::from(params[p][i]);
    let (x, w) = (|i: usize, n: usize| f64::from(x[i * N + n]), |i: usize| f64::from(weights[i]));
    let all: f64 = (0..ROWS).map(w).sum();
    let hidden = |i: usize, k: usize| {
        let z: f64 = (0..N).map(|n| x(i, n) * at(0, n * K + k)).sum::<f64>() + at(1, k);
        1.0 / (1.0 + (-z).exp())
    };
    let h: Vec<Vec<f64>> = (0..ROWS).map(|i| (0..K).map(|k| hidden(i, k)).collect()).collect();
    let off = |i: usize, n: usize| (0..K).map(|k| h[i][k] * at(2, k * N + n)).sum::<f64>() + at(3, n) - x(i, n);
    let q: Vec<f64> = (0..K).map(|k| (0..ROWS).map(|i| w(i) * h[i][k]).sum::<f64>() / all).collect();

    let cost = |i: usize| (0..N).map(|n| off(i, n).powi(2)).sum::<f64>();
    let squares: f64 = [0, 2].iter().flat_map(|&p| &params[p]).map(|&v| f64::from(v).powi(2)).sum();
    let terms = [
        (0..ROWS).map(|i| w(i) * cost(i)).sum::<f64>() / ROWS as f64,
        q.iter().map(|q| LAMBDA * (q - RHO).powi(2)).sum(),
        0.5 * DECAY * squares,
    ];
    for ((name, found), wanted) in progress.terms.iter().zip(terms) {
        assert!((found - wanted).abs() < 2e-6 * wanted, "{name}: {found} against {wanted}");
    }

    let mut wanted: Vec<Vec<f64>> = params.iter().map(|p| vec![0.0; p.len()]).collect();
    for (i, h) in h.iter().enumerate() {
        let slope: Vec<f64> = (0..N).map(|n| 2.0 * w(i) * off(i, n) / ROWS as f64).collect();
        for k in 0..K {
            let back: f64 = (0..N).map(|n| slope[n] * at(2, k * N + n)).sum();
            let back = back + 2.0 * LAMBDA * (q[k] - RHO) * w(i) / all;
            let back = back * h[k] * (1.0 - h[k]);
            (0..N).for_each(|n| wanted[0][n * K + k] += x(i, n) * back);
            wanted[1][k] += back;
            (0..N).for_each(|n| wanted[2][k * N + n] += h[k] * slope[n]);
        }
        (0..N).for_each(|n| wanted[3][n] += slope[n]);
    }
    for p in [0, 2] {
        wanted[p].iter_mut().enumerate().for_each(|(i, g)| *g += DECAY * at(p, i));
    }
    for (p, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let scale = wanted.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for (i, (&a, b)) in found.iter().zip(wanted).enumerate() {
            assert!((f64::from(a) - b).abs() < 2e-6 * scale, "parameter {p}, element {i}: {a} against {b}");
        }
    }
}

/// A step of a graph over such rows, on the GPU: each sink's values.
fn on_gpu(graph: &Graph, env: &Environment<f64>) -> Vec<Vec<f32>> {
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let evaluator = Evaluator::new(&gpu(), graph, env.rows).unwrap();
    evaluator.data(&narrow(&env.data)).unwrap();
    evaluator.params(&env.params.iter().map(|p| narrow(p)).collect::<Vec<_>>()).unwrap();
    if !env.constants.is_empty() {
        evaluator.constants(&env.constants.iter().map(|c| narrow(c)).collect::<Vec<_>>()).unwrap();
    }
    evaluator.run(State { step: env.step, ..State::once(env.rows, env.seed) }).unwrap();
    graph.sinks().iter().map(|&(sink, _)| evaluator.sink(sink, env.rows).unwrap()).collect()
}

/// Whether all of the objective is means over rows of what each costs.
fn of_rows(spec: &Spec) -> bool {
    let of_means = |penalty: &Penalty| matches!(penalty, Penalty::KlSparsity { .. } | Penalty::SquaredSparsity { .. });
    spec.weight_decay == 0.0 && !spec.penalties.iter().any(of_means)
}

/// Every loss beside a contraction, a KL divergence and noise, and every system apart: what a row costs, and its gradient, is
/// what the sums over the first rows differ by with it and without it. So it meets the draws of its place, in a graph
/// that knows of no weights, in f64.
#[test]
fn every_term_is_the_weighted_mean_of_what_rows_cost() {
    const WEIGHTS: [f64; 5] = [0.5, 3.0, 0.0, 1.25, 0.75];
    let count = WEIGHTS.len();
    let losses = [Loss::Gaussian { sigma: 0.5, learned: true }, Loss::Mixture { components: 2 }];
    let contractive = Penalty::Contractive { weight: 0.3, of: Mapping::Encoder, method: Method::Auto };
    let beside = |loss: Loss| {
        let spec = Spec::symmetric(&[6, 5, 3], Activation::Tanh).loss(loss).variational(0.7);
        spec.gaussian_corruption(0.2).penalty(contractive.clone())
    };
    let specs = Loss::ALL.into_iter().chain(losses).map(|loss| ("a loss beside all", beside(loss)));
    let mut seen = 0;
    for (name, spec) in specs.chain(systems::specs()).filter(|(_, spec)| of_rows(spec)) {
        let network = Network::new(&spec).unwrap();
        let columns = columns(&spec);
        let data: Vec<f64> = rows(&spec, 1, count).into_iter().map(f64::from).collect();
        let env = Environment { rows: count, ..systems::environment(&network) };

        let graph = network.graph(Purpose::Train, false).unwrap();
        // Sums over the first rows, none at first, of every sink.
        let mut sums: Vec<Vec<Vec<f64>>> = vec![];
        for rows in 1..=count {
            let env = Environment { rows, data: data[..rows * columns].to_vec(), ..env.clone() };
            let found = evaluate(&graph, &env).unwrap();
            let of = |&(sink, _): &(Sink, _)| env.sink(&graph, &found, sink).unwrap();
            let sum = |mean: &[f64]| mean.iter().map(|v| v * rows as f64).collect();
            sums.push(graph.sinks().iter().map(of).map(sum).collect());
        }
        let weighted = network.with_row_weights().graph(Purpose::Train, false).unwrap();
        assert_eq!(weighted.terms(), graph.terms());
        let data = data.chunks(columns).zip(WEIGHTS).flat_map(|(row, w)| row.iter().copied().chain([w])).collect();
        let found = on_gpu(&weighted, &Environment { data, ..env });
        for (at, (sink, found)) in graph.sinks().iter().zip(&found).enumerate() {
            let of = |rows: usize, i: usize| rows.checked_sub(1).map_or(0.0, |last| sums[last][at][i]);
            let wanted = |i: usize| {
                let costs = (0..count).map(|row| WEIGHTS[row] * (of(row + 1, i) - of(row, i)));
                costs.sum::<f64>() / count as f64
            };
            let wanted: Vec<f64> = (0..found.len()).map(wanted).collect();
            let scale = wanted.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
            for (a, b) in found.iter().zip(wanted) {
                assert!((f64::from(*a) - b).abs() <= 2e-5 * scale, "{name}, {:?}: {a} against {b}", sink.0);
            }
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen} specs");
}

/// Weights of 1 are none: over shuffled epochs of every system gradients and parameters are the same to the bit. What is
/// reported of a term is a sum that another kernel takes, and may be off by its last bit. On hardware (an H100, 2026-11-27) the
/// compiler may contract what is multiplied by a weight and added in another way: there the first step's gradients are the
/// same within the bound that this suite has for values against f64.
#[test]
fn weights_of_one_change_no_bit() {
    for (name, spec) in systems::specs() {
        let training = Training { batch: 4, epochs: 2, seed: 5, ..Training::default() };
        let values = rows(&spec, 2, 11);
        let [wanted, found] = [plain(&spec, values.clone()), weighted(&spec, values, &[1.0; 11])].map(|rows| {
            let mut session = Session::new(&gpu(), &spec, training).unwrap();
            session.load(rows).unwrap();
            let steps: Vec<_> = (0..6).map(|_| step(&mut session)).collect();
            (steps, bits(&session.parameters().unwrap()))
        });
        if gpu().kind() == AdapterKind::Hardware {
            for (found, wanted) in found.0[0].0.iter().zip(&wanted.0[0].0) {
                let scale = wanted.iter().fold(0f32, |most, v| most.max(v.abs()));
                let near = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 2e-5 * scale);
                assert!(near, "{name}");
            }
            continue;
        }
        assert!(found.1 == wanted.1, "{name}");
        for ((found, told), (wanted, progress)) in found.0.iter().zip(&wanted.0) {
            assert!(bits(found) == bits(wanted), "{name}, step {}", told.step);
            for ((term, a), (_, b)) in told.terms.iter().zip(&progress.terms) {
                assert!((a - b).abs() <= f64::from(f32::EPSILON) * b.abs(), "{name}, {term}: {a} against {b}");
            }
        }
    }
}

/// Rows of whole weights are rows that are there as often: in one batch of all, weights divided by their mean. So are those of
/// penalties on mean activities.
#[test]
fn whole_weights_are_rows_that_are_there_as_often() {
    let (base, layer) = (|| Spec::symmetric(&[6, 5, 3], Activation::Tanh).code_activation(Activation::Sigmoid), None);
    let specs = [
        base().penalty(Penalty::KlSparsity { weight: 0.5, rho: 0.1, layer }).weight_decay(0.1),
        base().penalty(Penalty::SquaredSparsity { weight: 0.5, rho: 0.1, layer }),
        base().loss(Loss::Bernoulli).penalty(Penalty::L1 { weight: 0.1, layer }),
        base().penalty(Penalty::Contractive { weight: 0.1, of: Mapping::Encoder, method: Method::Exact }),
    ];
    for (at, spec) in specs.iter().enumerate() {
        for times in [[1, 3, 2, 2], [1, 0, 2, 1], [0, 0, 5, 0]] {
            let (values, all) = (rows(spec, 3, 4), times.iter().sum::<usize>());
            let weights = times.map(|times| times as f32 * 4.0 / all as f32);
            let repeated: Vec<f32> = values.chunks(6).zip(times).flat_map(|(row, times)| row.repeat(times)).collect();
            let (found, told) = first_step(spec, &weighted(spec, values.clone(), &weights), in_order(4));
            let (wanted, progress) = first_step(spec, &plain(spec, repeated), in_order(all));
            for ((name, a), (_, b)) in told.terms.iter().zip(&progress.terms) {
                assert!((a - b).abs() < 2e-6 * b.abs().max(1e-2), "{at}, {times:?}, {name}: {a} against {b}");
            }
            for (p, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                let error = squared_error(found, wanted);
                assert!(error < 1e-11, "{at}, {times:?}, parameter {p}: {error:e}");
            }
        }
    }
}

/// Rows of weight 0 may be others: not a bit changes, in any system.
#[test]
fn rows_of_weight_zero_change_nothing() {
    let weights = [1.0, 0.0, 2.0, 0.5, 0.0, 1.5];
    for (name, spec) in systems::specs() {
        let (values, columns) = (rows(&spec, 2, 6), columns(&spec));
        let mut others = values.clone();
        for row in [1, 4] {
            let place = row * columns..(row + 1) * columns;
            others[place.clone()].copy_from_slice(&rows(&spec, 9, 6)[place]);
        }
        assert!(values != others, "{name}");
        let steps = [values, others].map(|values| {
            let (gradients, progress) = first_step(&spec, &weighted(&spec, values, &weights), in_order(6));
            (bits(&gradients), progress.terms)
        });
        assert!(steps[0] == steps[1], "{name}");
    }
}

/// A batch without weights costs nothing and moves nothing; the next one does.
#[test]
fn a_batch_whose_weights_are_all_zero_moves_nothing() {
    let layer = None;
    let spec = Spec::symmetric(&[6, 3], Activation::Tanh).code_activation(Activation::Sigmoid);
    let spec = spec.penalty(Penalty::KlSparsity { weight: 0.5, rho: 0.1, layer });
    let spec = spec.penalty(Penalty::SquaredSparsity { weight: 0.5, rho: 0.1, layer });
    let weights = [0.0, 0.0, 0.0, 1.0, 1.0, 2.0];
    let mut session = Session::new(&gpu(), &spec, in_order(3)).unwrap();
    let before = session.parameters().unwrap();
    session.load(weighted(&spec, rows(&spec, 2, 6), &weights)).unwrap();
    let (gradients, progress) = step(&mut session);
    assert!(gradients.iter().flatten().all(|&g| g == 0.0));
    assert!(progress.terms.iter().all(|(_, term)| *term == 0.0), "{:?}", progress.terms);
    assert!(bits(&session.parameters().unwrap()) == bits(&before));
    let (gradients, progress) = step(&mut session);
    assert!(gradients.iter().all(|tensor| tensor.iter().any(|&g| g != 0.0)));
    assert!(progress.terms.iter().all(|(_, term)| *term > 0.0), "{:?}", progress.terms);
}

/// Rows that are made as they are read, the last value of each its weight.
struct Made {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Source for Made {
    fn rows(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read(&self, first_row: usize, out: &mut [f32]) -> strait::Result<()> {
        out.copy_from_slice(&self.values[first_row * self.columns..][..out.len()]);
        Ok(())
    }
    fn name(&self) -> &str {
        "made"
    }
    fn is_weighted(&self) -> bool {
        true
    }
}

const MANY: usize = 61;

fn tiny() -> Spec {
    Spec::symmetric(&[6, 4, 2], Activation::Tanh).gaussian_corruption(0.1)
}

/// Weights that differ, some of them 0.
fn many_weights() -> Vec<f32> {
    (0..MANY).map(|i| (i % 5) as f32 * 0.5).collect()
}

/// Rows and weights side by side, put together here.
fn made() -> Made {
    let (rows, values, weights) = (MANY, rows(&tiny(), 4, MANY), many_weights());
    let values = values.chunks(6).zip(weights).flat_map(|(row, w)| [row, &[w]].concat()).collect();
    Made { rows, columns: 7, values }
}

#[test]
fn a_weight_follows_its_row_however_rows_are_read() {
    let source = Weighted::new(plain(&tiny(), rows(&tiny(), 4, MANY)), many_weights()).unwrap();
    assert_eq!((source.rows(), source.columns(), source.is_weighted()), (MANY, 7, true));
    let wanted = made().values;
    for (first, count) in [(0, MANY), (0, 1), (MANY - 1, 1), (7, 20), (30, 0)] {
        let mut found = vec![f32::NAN; count * 7];
        source.read(first, &mut found).unwrap();
        assert!(found == wanted[first * 7..(first + count) * 7], "{count} rows from {first} on");
    }
    for (first, length) in [(0, 6), (MANY, 7), (MANY - 1, 14)] {
        assert!(matches!(source.read(first, &mut vec![0.0; length]), Err(Error::Data { .. })), "{first}, {length}");
    }
    // In another order too.
    let shuffled = Shuffled::new(source, 3).unwrap();
    assert!(shuffled.is_weighted());
    let mut found = vec![0.0; MANY * 7];
    shuffled.read(0, &mut found).unwrap();
    assert!(found != wanted && found.chunks(7).all(|row| wanted.chunks(7).any(|other| row == other)));
}

/// Shuffled and streamed, in one go, broken off anywhere and resumed, and from a source of one's own: the same bits.
#[test]
fn runs_that_are_streamed_and_resumed_end_in_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let source = || weighted(&tiny(), rows(&tiny(), 4, MANY), &many_weights());
    // Three chunks, of 24 rows at most.
    let training = Training { batch: 8, epochs: 4, data_budget: 24 * 7 * 4 + 3, seed: 5, ..Training::default() };
    let mut whole = Session::new(&gpu(), &tiny(), training).unwrap();
    assert_eq!(whole.fit(source()).unwrap().steps, 4 * 8);
    let wanted = bits(&whole.parameters().unwrap());
    let mut own = Session::new(&gpu(), &tiny(), training).unwrap();
    own.fit(Arc::new(made()) as Rows).unwrap();
    assert!(bits(&own.parameters().unwrap()) == wanted);
    for stop in [1, 5, 9, 20] {
        let mut session = Session::new(&gpu(), &tiny(), training).unwrap();
        let break_off = |progress: &Progress| match progress.step >= stop {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        session.fit_with(source(), break_off).unwrap();
        session.checkpoint(&path).unwrap();
        drop(session);
        let mut resumed = Session::resume(&gpu(), &path).unwrap();
        resumed.fit(source()).unwrap();
        assert_eq!(resumed.steps(), 32);
        assert!(bits(&resumed.parameters().unwrap()) == wanted, "broken off after {stop}");
    }
    // In order, streamed or not; and weights mean something.
    let ended = |rows: Rows, data_budget: u64| {
        let training = Training { data_budget, epochs: 3, ..in_order(8) };
        let mut session = Session::new(&gpu(), &tiny(), training).unwrap();
        session.fit(rows).unwrap();
        bits(&session.parameters().unwrap())
    };
    let resident = ended(source(), 1 << 30);
    assert!(ended(source(), 24 * 7 * 4 + 3) == resident);
    assert!(ended(plain(&tiny(), rows(&tiny(), 4, MANY)), 1 << 30) != resident);
}

/// The scaling is learned from the features as they are, and rows that are held out are looked at without their weights.
#[test]
fn scaling_and_validation_do_not_know_of_weights() {
    let early = EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 };
    for scaling in [Scaling::Unit, Scaling::Standardise] {
        let spec = tiny().scaling(scaling);
        let training = Training { batch: 8, epochs: 1, early_stopping: Some(early), seed: 5, ..Training::default() };
        let values = rows(&spec, 4, MANY);
        let codes = [plain(&spec, values.clone()), weighted(&spec, values.clone(), &many_weights())].map(|rows| {
            let mut session = Session::new(&gpu(), &spec, training).unwrap();
            session.load(rows).unwrap();
            session.encode(&values).unwrap()
        });
        assert!(bits(&codes[..1]) == bits(&codes[1..]), "{scaling:?}");

        let mut session = Session::new(&gpu(), &spec, training).unwrap();
        let fit = session.fit(weighted(&spec, values.clone(), &many_weights())).unwrap();
        let looked = fit.history.last().unwrap().validation.clone().unwrap();
        // 12 of 61 rows.
        let held = plain(&spec, values[49 * 6..].to_vec());
        assert_eq!(looked, session.evaluate(held.clone()).unwrap());
        // Of the caller's own they have none either.
        session.set_validation(Some(held));
        session.fit(weighted(&spec, values, &many_weights())).unwrap();
    }
}

/// Pushed beside their rows, weights are what they are beside stored ones.
#[test]
fn pushed_rows_have_weights() {
    let (spec, gpu) = (tiny(), gpu());
    let made = made().values[..8 * 7].to_vec();
    // From the newest on.
    let turned: Vec<f32> = made.chunks(7).rev().flatten().copied().collect();
    let stored = Made { rows: 8, columns: 7, values: turned };
    let (wanted, told) = first_step(&spec, &(Arc::new(stored) as Rows), in_order(8));
    let ring = Ring::newest(&gpu, 7, 8).unwrap().weighted().unwrap();
    assert!(ring.is_weighted());
    ring.push(&made).unwrap();
    let (found, progress) = first_step(&spec, &(&ring).into(), in_order(8));
    assert!(bits(&found) == bits(&wanted));
    assert_eq!(progress.terms, told.terms);
    // What a push changes, the next step sees.
    let mut session = Session::new(&gpu, &spec, in_order(8)).unwrap();
    session.load(&ring).unwrap();
    let nothing: Vec<f32> = made.chunks(7).flat_map(|row| [&row[..6], &[0.0]].concat()).collect();
    ring.push(&nothing).unwrap();
    let (found, _) = step(&mut session);
    assert!(found.iter().flatten().all(|&g| g == 0.0));
    // A run may begin with nothing but rows that do not count.
    Session::new(&gpu, &spec, in_order(8)).unwrap().load(&ring).unwrap();

    // Whatever is wrong with a weight, nothing is pushed.
    let before = copied(&ring);
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        let mut rows = made.clone();
        rows[2 * 7 + 6] = bad;
        refused(
            ring.push(&rows),
            &format!("rows to push: {}", if bad < 0.0 { "weight of row 2" } else { "row 2, column 6" }),
        );
    }
    assert!(copied(&ring) == before);
    assert!(
        matches!(Ring::uniform(&gpu, 1, 4).unwrap().weighted(), Err(Error::Spec { field, .. }) if field == "columns")
    );
    assert!(matches!(ring.clone().weighted(), Err(Error::Spec { field, .. }) if field == "weighted"));
    // A ring without weights has one column too many.
    let ring = Ring::uniform(&gpu, 7, 8).unwrap();
    ring.push(&made).unwrap();
    refused(session.load(&ring), "pushed rows: columns");
}

/// What is in a ring, to the bit.
fn copied(ring: &Ring) -> Vec<u32> {
    let mut found = vec![0.0; ring.rows() * ring.columns()];
    ring.read(0, &mut found).unwrap();
    bits(&[found])
}

/// Asserts that a result is the refusal of something in the data.
fn refused<T: std::fmt::Debug>(result: strait::Result<T>, wanted: &str) {
    match result {
        Err(Error::Data { place, found, allowed, .. }) => assert_eq!(place, wanted, "{found}; allowed: {allowed}"),
        other => panic!("{wanted}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_weighted_is_refused_by_name() {
    let source = || plain(&tiny(), rows(&tiny(), 4, MANY));
    let with = |at: usize, bad: f32| {
        let mut weights = many_weights();
        weights[at] = bad;
        weights
    };
    for count in [0, 1, MANY - 1, MANY + 1] {
        refused(Weighted::new(source(), vec![1.0; count]), "data: number of weights");
    }
    for bad in [-1.0, -1e-30, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused(Weighted::new(source(), with(17, bad)), "data: weight of row 17");
    }
    refused(Weighted::new(source(), vec![0.0; MANY]), "data: weights");
    let weighted = || weighted(&tiny(), rows(&tiny(), 4, MANY), &many_weights());
    refused(Weighted::new(weighted(), many_weights()), "data: columns");

    let mut session = Session::new(&gpu(), &tiny(), in_order(8)).unwrap();
    // A column more is no weight unless the source says so, and one that says so must have it.
    refused(session.load(Data::from_rows(7, made().values).unwrap()), "data: columns");
    refused(session.load(Arc::new(Made { rows: 4, columns: 6, values: vec![0.5; 24] }) as Rows), "made: columns");
    for (bad, place) in [(-0.5, "made: weight of row 30"), (f32::NAN, "made: row 30, column 6")] {
        let mut source = made();
        source.values[30 * 7 + 6] = bad;
        refused(session.load(Arc::new(source) as Rows), place);
    }
    // All that count are held out.
    let last: Vec<f32> = (0..MANY).map(|i| if i < 50 { 0.0 } else { 1.0 }).collect();
    let early = EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 };
    session.set_training(Training { early_stopping: Some(early), ..in_order(8) }).unwrap();
    refused(session.load(Weighted::new(source(), last.clone()).unwrap()), "data: weights");
    // Not where they are looked at only, nor where nobody asks for weights.
    session.set_validation(Some(weighted()));
    refused(session.load(weighted()), "data: columns");
    session.set_validation(Some(source()));
    session.load(Weighted::new(source(), last).unwrap()).unwrap();
    refused(session.evaluate(weighted()), "data: columns");
    session.evaluate(source()).unwrap();
    refused(Pca::fit(&gpu(), &*weighted(), 2), "data: columns");
    refused(Pca::fit(&gpu(), &*source(), 2).unwrap().mse(&*weighted()), "data: columns");
}

/// Rows of plain data, and how many of them were read. It may come to have others.
struct Watched {
    source: Rows,
    read: AtomicUsize,
    more: AtomicUsize,
}

impl Watched {
    fn new() -> Arc<Watched> {
        let source = plain(&tiny(), rows(&tiny(), 4, MANY));
        Arc::new(Watched { source, read: AtomicUsize::new(0), more: AtomicUsize::new(0) })
    }
}

impl Source for Watched {
    fn rows(&self) -> usize {
        self.source.rows() + self.more.load(Relaxed)
    }
    fn columns(&self) -> usize {
        self.source.columns()
    }
    fn read(&self, first_row: usize, out: &mut [f32]) -> strait::Result<()> {
        self.read.fetch_add(out.len() / self.columns(), Relaxed);
        self.source.read(first_row, out)
    }
    fn name(&self) -> &str {
        "watched"
    }
}

/// Weights were looked at when they were given: loading rows reads them no more often than it does without.
#[test]
fn weights_that_are_known_are_not_read_again() {
    let early = EarlyStopping { validation: 0.2, patience: 9, min_delta: 0.0 };
    for early_stopping in [None, Some(early)] {
        let read = |with: &dyn Fn(Rows) -> Rows| {
            let watched = Watched::new();
            let mut session = Session::new(&gpu(), &tiny(), Training { early_stopping, ..in_order(8) }).unwrap();
            session.load(with(watched.clone())).unwrap();
            watched.read.load(Relaxed)
        };
        let weighted = |source: Rows| Weighted::new(source, many_weights()).unwrap();
        let wanted = read(&|source| source);
        assert!(wanted > 0, "{early_stopping:?}");
        assert_eq!(read(&|source| weighted(source).into()), wanted, "{early_stopping:?}");
        assert_eq!(read(&|source| Shuffled::new(weighted(source), 3).unwrap().into()), wanted, "{early_stopping:?}");
    }
}

/// Which rows are trained on is known in another order, too: where all that count are held out, nothing is.
#[test]
fn rows_that_count_are_found_in_any_order() {
    const HELD: usize = 12;
    let source = || Data::from_rows(6, (0..MANY * 6).map(|i| (i / 6) as f32).collect::<Vec<f32>>()).unwrap();
    let mut order = vec![0.0; MANY * 6];
    Shuffled::new(source(), 3).unwrap().read(0, &mut order).unwrap();
    let number = |place: usize| order[place * 6] as usize;
    let early = EarlyStopping { validation: HELD as f64 / MANY as f64, patience: 9, min_delta: 0.0 };
    let training = Training { early_stopping: Some(early), ..in_order(8) };
    let load = |weights: Vec<f32>| {
        let mut session = Session::new(&gpu(), &tiny(), training).unwrap();
        session.load(Shuffled::new(Weighted::new(source(), weights).unwrap(), 3).unwrap())
    };
    let mut weights = vec![0.0; MANY];
    (MANY - HELD..MANY).for_each(|place| weights[number(place)] = 1.0);
    refused(load(weights.clone()), "data: weights");
    weights[number(MANY - HELD - 1)] = 1.0;
    load(weights).unwrap();
}

/// Rows that come later have no weights: as many are told as there are weights, and reading fails.
#[test]
fn a_source_that_grows_has_no_more_weights() {
    let watched = Watched::new();
    let weighted = Weighted::new(watched.clone() as Rows, many_weights()).unwrap();
    watched.more.store(5, Relaxed);
    assert_eq!((weighted.rows(), weighted.columns()), (MANY, 7));
    refused(weighted.read(0, &mut [0.0; 7]), "watched: rows");
    watched.more.store(0, Relaxed);
    weighted.read(0, &mut [0.0; 7]).unwrap();
}

/// A classifier's labels and weights travel together, and labels are still looked at.
#[test]
fn labels_are_looked_at_beside_weights() {
    let (_, spec) = systems::specs().into_iter().find(|(name, _)| *name == "classifier").unwrap();
    let mut values = rows(&spec, 2, 6);
    let mut session = Session::new(&gpu(), &spec, in_order(3)).unwrap();
    session.load(weighted(&spec, values.clone(), &[2.0; 6])).unwrap();
    values[3 * 9 + 7] = 0.5;
    refused(session.load(weighted(&spec, values, &[2.0; 6])), "data: label columns of row 3");
    assert_eq!(columns(&spec), 9);
}
