//! Losses, penalties and kernels of the caller's own: what they compute, on the GPU and beside plain f64; gradients, also wrong
//! ones; files that name them; refusals.

use std::sync::Arc;

use crate::common::{both, gpu, report, squared_error, values};
use serde_json::json;
use strait::graph::{Compare, Graph, Matrix, NodeId, Over, OwnKernel, Shape, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::plan::Target;
use strait::internals::reference::evaluate;
use strait::model::{Decoded, Meanings, Purpose, RowLoss, RowPenalty};
use strait::reference::{Environment, gradcheck};
use strait::{Activation, Data, Error, Loss, Optimizer, Penalty, Precision, Result, Session, Spec, Training};

/// The loss of Huber.
struct Huber;

impl RowLoss for Huber {
    fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, numbers: &[f64]) -> Result<NodeId> {
        let delta = numbers[0];
        let each = g.map([decoded.output, target], |[r, x]| {
            let off = (r - x).abs();
            let line = delta * (&off - 0.5 * delta);
            off.select(Compare::Less, &delta.into(), 0.5 * off.square(), line)
        })?;
        Ok(g.sum(Over::Columns, each))
    }

    fn check(&self, numbers: &[f64]) -> Result<()> {
        match numbers {
            [delta] if *delta > 0.0 => Ok(()),
            _ => Err(Error::spec("numbers", format!("{numbers:?}"), "one above 0")),
        }
    }
}

fn huber(r: &[f32], x: &[f32], delta: f64) -> f64 {
    let each = |(r, x): (&f32, &f32)| {
        let off = (f64::from(*r) - f64::from(*x)).abs();
        if off < delta { 0.5 * off * off } else { delta * (off - 0.5 * delta) }
    };
    r.iter().zip(x).map(each).sum()
}

/// (Σ |h|)²/(Σ h² + ε)
struct Spread;

impl RowPenalty for Spread {
    fn rows(&self, g: &mut Graph, h: NodeId, numbers: &[f64]) -> Result<NodeId> {
        let (size, square) = (g.map([h], |[h]| h.abs())?, g.map([h], |[h]| h.square())?);
        let (sizes, squares) = (g.sum(Over::Columns, size), g.sum(Over::Columns, square));
        g.map([sizes, squares], |[s, q]| s.square() / (q + numbers[0]))
    }
}

/// Something whose rows are what they should not be.
struct Whole;

impl RowLoss for Whole {
    fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, _: &[f64]) -> Result<NodeId> {
        g.map([decoded.output, target], |[r, x]| r - x)
    }
}

impl RowPenalty for Whole {
    fn rows(&self, g: &mut Graph, h: NodeId, _: &[f64]) -> Result<NodeId> {
        Ok(g.sum_all(h))
    }
}

const DELTA: f64 = 0.2;
const WEIGHT: f64 = 0.05;
const LITTLE: f64 = 1e-3;

fn spec() -> Spec {
    let spec = Spec::symmetric(&[5, 4, 3], Activation::Tanh).loss(Loss::own("huber", [DELTA], Huber));
    spec.penalty(Penalty::own("spread", WEIGHT, [LITTLE], Spread))
}

fn meanings() -> Meanings {
    Meanings::new().loss("huber", Huber).penalty("spread", Spread)
}

fn rows() -> Data {
    Data::from_rows(5, values(70, 13 * 5, (-1.0, 1.0))).unwrap()
}

fn training() -> Training {
    Training { batch: 13, epochs: 200, learning_rate: 0.02, ..Training::default() }
}

/// Terms, scores and training, against formulas in f64 of what the session gives back.
#[test]
fn a_loss_and_a_penalty_train() {
    let data = rows();
    let mut session = Session::new(&gpu(), &spec(), training()).unwrap();
    let (made, codes) = (session.reconstruct(data.values()).unwrap(), session.encode(data.values()).unwrap());
    let cost = huber(&made, data.values(), DELTA) / 13.0;
    let spread = |h: &[f32]| {
        let (size, square) = h.iter().fold((0.0, 0.0), |(s, q), &h| (s + f64::from(h.abs()), q + f64::from(h).powi(2)));
        size * size / (square + LITTLE)
    };
    let spread = WEIGHT * codes.chunks(3).map(spread).sum::<f64>() / 13.0;
    let scores = session.score(data.values()).unwrap();
    for ((score, made), row) in scores.iter().zip(made.chunks(5)).zip(data.values().chunks(5)) {
        let expected = huber(made, row, DELTA);
        assert!((f64::from(*score) - expected).abs() < 1e-5 * expected.max(1.0), "{score} against {expected}");
    }
    session.load(&data).unwrap();
    session.step(1).unwrap();
    let first = report(&mut session);
    for ((name, found), (wanted, expected)) in first.terms.iter().zip([("reconstruction", cost), ("spread", spread)]) {
        assert_eq!(name, wanted);
        assert!((found - expected).abs() < 1e-5 * expected, "{name}: {found} against {expected}");
    }
    let last = session.fit(&data).unwrap().history.pop().unwrap();
    assert!(last.loss < 0.5 * first.loss, "{} after {}", last.loss, first.loss);
    // The coefficient of a penalty of one's own may have a ramp.
    let ramped = spec().ramp("penalties[0].weight", strait::Ramp::linear(0.0, 1.0));
    let mut session = Session::new(&gpu(), &ramped, training()).unwrap();
    session.load(&data).unwrap();
    session.step(1).unwrap();
    assert_eq!(report(&mut session).terms[1].1, 0.0);
}

/// Both in the very graph that trains, by the suites' checker.
#[test]
fn their_gradients_are_right() {
    for precision in [Precision::F32, Precision::F16] {
        let network = Network::new(&spec().precision(precision)).unwrap();
        let graph = network.graph(Purpose::Train, false).unwrap();
        assert_eq!(graph.terms(), ["reconstruction", "spread"]);
        if precision == Precision::F16 {
            // What is rounded has no differences; that it is built is enough.
            continue;
        }
        let shape = |tensor: &Tensor| tensor.shape.elements(1);
        let params = network.params().iter().enumerate();
        let params = params.map(|(i, t)| wide(&values(80 + i as u32, shape(t), (-0.7, 0.7)))).collect();
        let data = wide(rows().values());
        let env = Environment { rows: 13, data, params, ..Environment::default() };
        for (sink, node) in graph.sinks() {
            if let strait::graph::Sink::Term(i) = sink {
                let found = gradcheck(&graph, *node, &env).unwrap();
                assert!(found.is_empty(), "{}: {} of them, first {:?}", graph.terms()[*i], found.len(), found[0]);
            }
        }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// A file keeps name and numbers; what they mean is given when it is opened.
#[test]
fn files_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let (model, checkpoint) = (folder.path().join("model"), folder.path().join("checkpoint"));
    let data = rows();
    let mut session = Session::new(&gpu(), &spec(), Training { optimizer: Optimizer::ADAM, ..training() }).unwrap();
    session.load(&data).unwrap();
    session.step(50).unwrap();
    session.save(&model).unwrap();
    session.checkpoint(&checkpoint).unwrap();
    session.fit(&data).unwrap();
    let opened = Session::open_with(&gpu(), &model, &meanings()).unwrap();
    assert_eq!(opened.spec(), &spec());
    let mut resumed = Session::resume_with(&gpu(), &checkpoint, &meanings()).unwrap();
    resumed.fit(&data).unwrap();
    assert!(resumed.parameters().unwrap() == session.parameters().unwrap());
    // A spec that was opened so means the same in another session.
    Session::new(&gpu(), opened.spec(), training()).unwrap();
    for (result, place) in [
        (Session::open(&gpu(), &model), "loss.own.name"),
        (Session::resume(&gpu(), &checkpoint), "loss.own.name"),
        (Session::open_with(&gpu(), &model, &Meanings::new().loss("huber", Huber)), "penalties[0].of.name"),
    ] {
        match result {
            Err(Error::Spec { field, .. }) => assert_eq!(field, place),
            other => panic!("{:?}", other.map(|_| "opened")),
        }
    }
    let text = spec().to_toml().unwrap();
    assert_eq!(Spec::from_toml(&text).unwrap(), spec());
    let json: serde_json::Value = serde_json::from_str(&spec().to_json().unwrap()).unwrap();
    assert_eq!(json["loss"], json!({ "own": { "name": "huber", "numbers": [DELTA] } }));
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |spec: Spec| match Session::new(&gpu(), &spec, training()).map(|_| ()) {
        Err(Error::Spec { field, value, allowed, .. }) => [field, value, allowed],
        other => panic!("{other:?}"),
    };
    let read = Spec::from_toml(&spec().to_toml().unwrap()).unwrap();
    assert_eq!(refused(read.clone())[..2], ["loss.own.name", "\"huber\""]);
    match read.clone().given(&Meanings::new().loss("hubert", Huber).loss("huberty", Huber)) {
        Err(Error::Spec { allowed, .. }) => assert_eq!(allowed, "hubert, huberty"),
        other => panic!("{:?}", other.map(|_| "given")),
    }
    assert_eq!(read.given(&meanings()).unwrap(), spec());
    let loss = |loss: Loss| refused(Spec::symmetric(&[5, 3], Activation::Tanh).loss(loss));
    assert_eq!(loss(Loss::own("", [1.0], Huber))[0], "loss.own.name");
    assert_eq!(loss(Loss::own("huber", [1.0, f64::NAN], Huber))[0], "loss.own.numbers[1]");
    let alike = refused(Spec::symmetric(&[5, 3], Activation::Tanh).penalty(Penalty::own("kl", 1.0, [], Spread)));
    assert_eq!(alike[..2], ["penalties[0].of.name", "\"kl\""]);
    let unknown = spec().loss(Loss::Mse);
    let unknown = Spec::from_toml(&unknown.to_toml().unwrap()).unwrap();
    assert_eq!(refused(unknown)[0], "penalties[0].of.name");
    assert_eq!(loss(Loss::own("huber", [-1.0], Huber)), ["loss.own.numbers", "[-1.0]", "one above 0"]);
    let penalty = |penalty: Penalty| refused(Spec::symmetric(&[5, 3], Activation::Tanh).penalty(penalty));
    assert_eq!(penalty(Penalty::own("spread", -1.0, [], Spread))[0], "penalties[0].weight");
    assert_eq!(penalty(Penalty::own("spread", 1.0, [f64::INFINITY], Spread))[0], "penalties[0].of.numbers[0]");
    // A likelihood it is not.
    assert_eq!(refused(Spec { walkback: 1, ..spec().gaussian_corruption(0.1) })[1], "huber");
    // Rows of another shape are found when the graph is built.
    let shape = |spec: Spec| match Network::new(&spec).unwrap().graph(Purpose::Train, false) {
        Err(Error::Shape { op, .. }) => op,
        other => panic!("{:?}", other.map(|_| "built")),
    };
    let bare = || Spec::symmetric(&[5, 3], Activation::Tanh);
    assert_eq!(shape(bare().loss(Loss::own("whole", [], Whole))), "loss.own (\"whole\")");
    assert_eq!(shape(bare().penalty(Penalty::own("whole", 1.0, [], Whole))), "penalties.own (\"whole\")");
}

/// Sums along rows, each value with those before it, or after it.
struct RunningSum {
    backwards: bool,
    /// How many gradients it gives, of which shape, and how many times too large.
    gives: (usize, bool, f64),
}

impl RunningSum {
    fn new(backwards: bool) -> RunningSum {
        RunningSum { backwards, gives: (1, true, 1.0) }
    }
}

impl OwnKernel for RunningSum {
    fn name(&self) -> &str {
        "running sum"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn wgsl(&self, _: &[&Shape]) -> String {
        let (first, end) = if self.backwards { ("column", "columns_0") } else { ("0u", "column + 1u") };
        format!(
            "    var sum = 0.0;\n    for (var c = {first}; c < {end}; c++) {{\n        sum += input_0(row, c);\n    }}\n    \
             return sum;\n"
        )
    }

    fn rounds(&self, inputs: &[&Shape]) -> usize {
        inputs[0].columns()
    }

    fn value(&self, inputs: &[Matrix<'_>], row: usize, column: usize) -> f64 {
        let range = if self.backwards { column..inputs[0].columns() } else { 0..column + 1 };
        range.map(|c| inputs[0].at(row, c)).sum()
    }

    fn gradient(&self, g: &mut Graph, _: &[NodeId], _: NodeId, cotangent: NodeId) -> Result<Vec<Option<NodeId>>> {
        let (count, right, factor) = self.gives;
        let share = g.own(Arc::new(RunningSum::new(!self.backwards)), &[cotangent])?;
        let share = if right { g.map([share], |[s]| s * factor)? } else { g.sum(Over::Columns, share) };
        Ok(vec![Some(share); count])
    }
}

/// Squared distances of rows [batch, n] from points [k, n], [batch, k].
struct Distances;

impl OwnKernel for Distances {
    fn name(&self) -> &str {
        "distances"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        match inputs {
            [x, p] if x.columns() == p.columns() && !p.batched => {
                Ok(Shape { batched: x.batched, dims: vec![p.blocks()] })
            }
            [x, p] => Err(Error::shape("distances", x, p)),
            _ => Err(Error::spec("distances", inputs.len(), "2 inputs")),
        }
    }

    fn wgsl(&self, _: &[&Shape]) -> String {
        "    var sum = 0.0;\n    for (var c = 0u; c < columns_0; c++) {\n        let off = input_0(row, c) - input_1(column, c);\n        \
         sum += off * off;\n    }\n    return sum;\n"
            .into()
    }

    fn rounds(&self, inputs: &[&Shape]) -> usize {
        inputs[0].columns()
    }

    fn value(&self, inputs: &[Matrix<'_>], row: usize, column: usize) -> f64 {
        (0..inputs[0].columns()).map(|c| (inputs[0].at(row, c) - inputs[1].at(column, c)).powi(2)).sum()
    }

    fn gradient(&self, g: &mut Graph, inputs: &[NodeId], _: NodeId, cotangent: NodeId) -> Result<Vec<Option<NodeId>>> {
        let (x, p) = (inputs[0], inputs[1]);
        // 2 Σ_k g_k (x - p_k), and 2 Σ g_k (p_k - x) over the batch.
        let (sums, along) = (g.sum(Over::Columns, cotangent), g.matmul(cotangent, p, false, false)?);
        let by_x = g.map([sums, x, along], |[s, x, a]| 2.0 * (s * x - a))?;
        let ones = g.fill(1.0, Shape { batched: true, dims: vec![1] });
        let (counts, along) = (g.matmul(cotangent, ones, true, false)?, g.matmul(cotangent, x, true, false)?);
        let by_p = g.map([counts, p, along], |[s, p, a]| 2.0 * (s * p - a))?;
        Ok(vec![Some(by_x), Some(by_p)])
    }
}

/// A scalar made of both kernels, over rows of `columns` values and points that are trained.
fn scalar(columns: usize, sum: RunningSum) -> (Graph, NodeId) {
    let points = Tensor { name: "points".into(), shape: Shape::fixed(&[3, columns]) };
    let mut g = Graph::new(vec![points], vec![]);
    let (x, p) = (g.input(0, columns), g.param(0).unwrap());
    let sums = g.own(Arc::new(sum), &[x]).unwrap();
    let sums = g.map([sums], |[s]| (s * 0.3).tanh()).unwrap();
    let distances = g.own(Arc::new(Distances), &[sums, p]).unwrap();
    let near = g.map([distances], |[d]| (-0.5 * d).exp()).unwrap();
    let total = g.sum_all(near);
    (g, total)
}

fn environment(rows: usize, columns: usize) -> Environment<f32> {
    let (inputs, params) = (vec![values(1, rows * columns, (-1.0, 1.0))], vec![values(2, 3 * columns, (-1.0, 1.0))]);
    Environment { rows, inputs, params, ..Environment::default() }
}

/// Values and both gradients, for rows with and without padding, beside the interpreter; in one dispatch with what follows.
#[test]
fn kernels_compute_what_they_say() {
    let gpu = gpu();
    for (rows, columns) in [(1, 1), (3, 5), (7, 8), (2, 13)] {
        let (mut g, total) = scalar(columns, RunningSum::new(false));
        let x = g.nodes().find(|(_, node)| matches!(node.op, strait::internals::graph::Op::Input(_))).unwrap().0;
        let points = g.param(0).unwrap();
        let slopes = g.gradient(total, &[x, points]).unwrap();
        g.term("total", total);
        g.sink(strait::graph::Sink::Output(0), slopes[0]);
        g.sink(strait::graph::Sink::Gradient(0), slopes[1]);
        for optimise in [true, false] {
            let target = Target { optimise, ..Target::of(&gpu, rows + 2) };
            for (sink, found, expected) in both(&gpu, &g, target, &environment(rows, columns)) {
                let off = squared_error(&found, &expected);
                assert!(off < 1e-10, "{sink:?}, {rows} x {columns}, optimise: {optimise}: {off:e}");
            }
        }
    }
}

/// Loops of many values, beside sums over rows and columns: software adapters end those of a thread at some length.
#[test]
fn long_loops_of_many_values() {
    let gpu = gpu();
    let (rows, columns) = (128, 784);
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, columns);
    let sums = g.own(Arc::new(RunningSum::new(false)), &[x]).unwrap();
    let square = g.map([sums], |[s]| s.square()).unwrap();
    for (i, over) in [Over::Columns, Over::Rows].into_iter().enumerate() {
        let sum = g.sum(over, square);
        g.sink(strait::graph::Sink::Output(i), sum);
    }
    g.sink(strait::graph::Sink::Output(2), sums);
    let env = Environment { rows, inputs: vec![values(9, rows * columns, (0.0, 1.0))], ..Environment::default() };
    for (sink, found, expected) in both(&gpu, &g, Target::of(&gpu, rows), &env) {
        let off = squared_error(&found, &expected);
        assert!(off < 1e-10, "{sink:?}: {off:e}");
    }
    // What is longer than a thread may go round is refused where it would be cut short.
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 20_000);
    let sums = g.own(Arc::new(RunningSum::new(false)), &[x]).unwrap();
    g.sink(strait::graph::Sink::Output(0), sums);
    let of = |kind| strait::internals::plan::Recording::new(&g, Target { kind, ..Target::of(&gpu, 1) }).map(drop);
    of(strait::internals::plan::AdapterKind::Hardware).unwrap();
    match of(strait::internals::plan::AdapterKind::Software) {
        Err(Error::Limit { needs, allowed, .. }) => assert_eq!((needs, allowed), (80_000, 65_000)),
        other => panic!("{other:?}"),
    }
}

/// A times the second input, whatever that is: a scalar of the table, too.
struct Times;

impl OwnKernel for Times {
    fn name(&self) -> &str {
        "times"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn wgsl(&self, _: &[&Shape]) -> String {
        // Names that hold another's, and a space before the bracket.
        "    let my_input_0 = input_0 (row, column);\n    return my_input_0 * input_1(0u, 0u);\n".into()
    }

    fn rounds(&self, _: &[&Shape]) -> usize {
        0
    }

    fn value(&self, inputs: &[Matrix<'_>], row: usize, column: usize) -> f64 {
        inputs[0].at(row, column) * inputs[1].at(0, 0)
    }

    /// By the first alone, and not for every cotangent: those that are made of ones are answered by nothing.
    fn gradient(&self, g: &mut Graph, inputs: &[NodeId], _: NodeId, cotangent: NodeId) -> Result<Vec<Option<NodeId>>> {
        let share = g.own(Arc::new(Times), &[cotangent, inputs[1]])?;
        let first =
            g.nodes().filter(|(_, node)| matches!(node.op, strait::internals::graph::Op::Own { .. })).count() == 2;
        Ok(vec![first.then_some(share), None])
    }
}

#[test]
fn a_scalar_of_the_table_is_read_by_its_column() {
    let gpu = gpu();
    let scalars = strait::internals::graph::Scalars::new(["a", "b", "c", "d", "e", "f"]).unwrap();
    let mut g = Graph::new(vec![], vec![]).with_scalars(scalars);
    let (x, f) = (g.input(0, 3), g.scalar("f").unwrap());
    let product = g.own(Arc::new(Times), &[x, f]).unwrap();
    g.sink(strait::graph::Sink::Output(0), product);
    let evaluator = Evaluator::new(&gpu, &g, 2).unwrap();
    evaluator.table(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
    evaluator.input(0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    evaluator.run(strait::internals::state::State::once(2, 0)).unwrap();
    let found = evaluator.sink(strait::graph::Sink::Output(0), 2).unwrap();
    assert_eq!(found, [6.0, 12.0, 18.0, 24.0, 30.0, 36.0]);
}

/// A gradient that is given for one of several cotangents alone is 0 for the others.
#[test]
fn cotangents_that_nothing_is_given_for() {
    let mut g = Graph::new(vec![], vec![]);
    let (x, two) = (g.input(0, 2), g.fill(2.0, Shape::fixed(&[1])));
    let product = g.own(Arc::new(Times), &[x, two]).unwrap();
    let ones = g.identity(true, 2);
    let whole = g.vjp(product, ones, &[x]).unwrap()[0];
    g.sink(strait::graph::Sink::Output(0), whole);
    let env = Environment { rows: 1, inputs: vec![vec![1.0, 1.0]], ..Environment::default() };
    let found = evaluate::<f64>(&g, &env).unwrap();
    assert_eq!(env.sink(&g, &found, strait::graph::Sink::Output(0)).unwrap(), [2.0, 0.0, 0.0, 0.0]);
}

fn wide_environment(rows: usize, columns: usize) -> Environment<f64> {
    let Environment { inputs, params, .. } = environment(rows, columns);
    let [inputs, params] = [inputs, params].map(|all| all.iter().map(|values| wide(values)).collect());
    Environment { rows, inputs, params, ..Environment::default() }
}

#[test]
fn their_gradients_are_checked() {
    let (g, total) = scalar(5, RunningSum::new(false));
    let env = wide_environment(4, 5);
    assert!(gradcheck(&g, total, &env).unwrap().is_empty());
    // A hundredth too large: found in every element of the batch, and in nothing else.
    let wrong = RunningSum { gives: (1, true, 1.01), ..RunningSum::new(false) };
    let (g, total) = scalar(5, wrong);
    let found = gradcheck(&g, total, &env).unwrap();
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|wrong| wrong.tensor != "points"), "first {:?}", found[0]);
}

/// Several cotangents at once give what each gives alone.
#[test]
fn several_cotangents_go_one_after_the_other() {
    let mut g = Graph::new(vec![Tensor { name: "p".into(), shape: Shape::fixed(&[3, 4]) }], vec![]);
    let (x, p) = (g.input(0, 4), g.param(0).unwrap());
    let sums = g.own(Arc::new(RunningSum::new(true)), &[x]).unwrap();
    let distances = g.own(Arc::new(Distances), &[sums, p]).unwrap();
    let ones = g.identity(true, 3);
    let whole = g.vjp(distances, ones, &[x]).unwrap()[0];
    g.sink(strait::graph::Sink::Output(0), whole);
    for at in 0..3 {
        let one = g.slice(distances, at, 1).unwrap();
        let sum = g.sum_all(one);
        let row = g.gradient(sum, &[x]).unwrap()[0];
        g.sink(strait::graph::Sink::Output(1 + at), row);
    }
    let env = wide_environment(5, 4);
    let env = Environment { params: vec![env.params[0][..12].to_vec()], ..env };
    let found = evaluate(&g, &env).unwrap();
    let of = |i: usize| env.sink(&g, &found, strait::graph::Sink::Output(i)).unwrap();
    for (row, all) in of(0).chunks(12).enumerate() {
        for at in 0..3 {
            for (a, b) in all[4 * at..4 * at + 4].iter().zip(&of(1 + at)[4 * row..4 * row + 4]) {
                assert!((a - b).abs() < 1e-12, "{a} against {b}");
            }
        }
    }
}

/// A loss of one's own that is made of a kernel of one's own: how far two rows are apart as heaps of sand.
struct Sand;

impl RowLoss for Sand {
    fn rows(&self, g: &mut Graph, decoded: Decoded, target: NodeId, _: &[f64]) -> Result<NodeId> {
        let off = g.map([decoded.output, target], |[r, x]| r - x)?;
        let moved = g.own(Arc::new(RunningSum::new(false)), &[off])?;
        let square = g.map([moved], |[m]| m.square())?;
        Ok(g.sum(Over::Columns, square))
    }
}

#[test]
fn a_kernel_trains() {
    let data = rows();
    let spec = Spec::symmetric(&[5, 4], Activation::Tanh).loss(Loss::own("sand", [], Sand));
    let mut session = Session::new(&gpu(), &spec, training()).unwrap();
    let made = session.reconstruct(data.values()).unwrap();
    let row = |(r, x): (&[f32], &[f32])| {
        let mut moved = 0.0;
        let each = r.iter().zip(x).map(|(r, x)| {
            moved += f64::from(r - x);
            moved * moved
        });
        each.sum::<f64>()
    };
    let expected = made.chunks(5).zip(data.values().chunks(5)).map(row).sum::<f64>() / 13.0;
    session.load(&data).unwrap();
    session.step(1).unwrap();
    let first = report(&mut session).loss;
    assert!((first - expected).abs() < 1e-5 * expected, "{first} against {expected}");
    assert!(session.fit(&data).unwrap().history.pop().unwrap().loss < 0.3 * first);
}

/// Statements that are none.
struct Broken;

impl OwnKernel for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn shape(&self, _: &[&Shape]) -> Result<Shape> {
        Ok(Shape::batched(&[2]))
    }

    fn wgsl(&self, _: &[&Shape]) -> String {
        "    return input_0(row, no_such_column);\n".into()
    }

    fn rounds(&self, _: &[&Shape]) -> usize {
        0
    }

    fn value(&self, _: &[Matrix<'_>], _: usize, _: usize) -> f64 {
        0.0
    }

    fn gradient(&self, _: &mut Graph, _: &[NodeId], _: NodeId, _: NodeId) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None])
    }
}

#[test]
fn kernels_that_do_not_fit_are_refused() {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 4);
    let field = |result: Result<NodeId>| match result {
        Err(Error::Spec { field, value, .. }) => (field, value),
        other => panic!("{other:?}"),
    };
    let sum = || Arc::new(RunningSum::new(false));
    assert_eq!(field(g.own(sum(), &[])), ("inputs of the kernel \"running sum\"".into(), "0".into()));
    assert_eq!(field(g.own(sum(), &[x; 5])).1, "5");
    assert!(matches!(g.own(Arc::new(Distances), &[x, x]), Err(Error::Shape { .. })));
    let slopes = |gives: (usize, bool, f64)| {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 4);
        let sums = g.own(Arc::new(RunningSum { gives, ..RunningSum::new(false) }), &[x]).unwrap();
        let total = g.sum_all(sums);
        g.gradient(total, &[x]).map(drop)
    };
    match slopes((2, true, 1.0)) {
        Err(Error::Spec { field, value, .. }) => {
            assert_eq!((&field[..], &value[..]), ("gradients of the kernel \"running sum\"", "2"));
        }
        other => panic!("{other:?}"),
    }
    match slopes((1, false, 1.0)) {
        Err(Error::Shape { op, .. }) => assert!(op.contains("running sum"), "{op}"),
        other => panic!("{other:?}"),
    }
    slopes((1, true, 1.0)).unwrap();
    let broken = g.own(Arc::new(Broken), &[x]).unwrap();
    g.sink(strait::graph::Sink::Output(0), broken);
    match Evaluator::new(&gpu(), &g, 2).map(|_| ()) {
        Err(Error::Kernel { message, .. }) => assert!(message.contains("no_such_column"), "{message}"),
        other => panic!("{other:?}"),
    }
}
