//! Graphs in every way they can be wrong: what is built from outside ends in an error that names the place, never in a
//! panic.

use strait::Error;
use strait::graph::{Expr, Graph, NodeId, Over, Reduction, Shape, Sink, Tensor};
use strait::internals::graph::Layout;
use strait::internals::plan::{AdapterKind, Limits, Recording, Target};
use strait::internals::reference::{evaluate, evaluate_node};
use strait::reference::Environment;

const TARGET: Target = Target {
    kind: AdapterKind::Hardware,
    limits: Limits::DEFAULT,
    rows: 3,
    data_rows: 9,
    tile: None,
    tuning: None,
    quick: false,
    optimise: true,
};

fn tensor(name: &str, shape: Shape) -> Tensor {
    Tensor { name: name.into(), shape }
}

fn graph() -> Graph {
    Graph::new(vec![tensor("w", Shape::fixed(&[4, 5]))], vec![tensor("c", Shape::fixed(&[5]))])
}

/// The error with which a graph is refused, which is the same wherever it is looked at first.
fn refusal(graph: &Graph) -> Error {
    let error = graph.check().expect_err("a graph that is not sound");
    let planned = Recording::new(graph, TARGET).expect_err("no plan");
    let evaluated = evaluate(graph, &Environment::<f32>::default()).expect_err("no values");
    assert_eq!([planned.to_string(), evaluated.to_string()], [error.to_string(), error.to_string()]);
    error
}

/// A number of a node that a graph of a few nodes does not have.
fn foreign() -> NodeId {
    let mut other = Graph::new(vec![], vec![]);
    (0..50).map(|i| other.input(i, 5)).last().expect("a node")
}

#[test]
fn dimensions_of_zero() {
    let empty = || Shape::fixed(&[3, 0]);
    let build: [fn(&mut Graph) -> NodeId; 6] = [
        |g| g.input(0, 0),
        |g| g.gather(0, true),
        |g| g.fill(1.0, Shape::fixed(&[0])),
        |g| g.fill(1.0, Shape::batched(&[0, 4])),
        |g| g.map_to(Expr::rows(), &[], Shape::fixed(&[0])).unwrap(),
        |g| {
            let fill = g.fill(1.0, Shape::batched(&[0, 4]));
            let view = g.view(fill, Shape::batched(&[7, 0])).unwrap();
            let sum = g.sum(Over::Columns, view);
            g.matmul(view, sum, true, false).unwrap()
        },
    ];
    for build in build {
        let mut g = graph();
        let node = build(&mut g);
        g.sink(Sink::Output(0), node);
        let rows = g.reduce(Reduction::Max, Over::Rows, node);
        let sum = g.sum_all(rows);
        g.term("sum", sum);
        let w = g.param(0).unwrap();
        g.gradient(sum, &[w]).unwrap();
        let error = refusal(&g);
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
    // Also a tensor that no node reads: it would lie in the arena.
    for tensors in [[vec![tensor("gone", empty())], vec![]], [vec![], vec![tensor("gone", empty())]]] {
        let [params, constants] = tensors;
        let mut g = Graph::new(params, constants);
        let x = g.input(0, 4);
        g.sink(Sink::Output(0), x);
        let error = refusal(&g).to_string();
        assert!(error.contains("gone") && error.contains("[3, 0]"), "{error}");
    }
}

/// Numbers of nodes mean nothing to another graph. Functions that return a result refuse them; what the others make of
/// them is refused where it is used.
#[test]
fn nodes_of_another_graph() {
    let id = foreign();
    let mut g = graph();
    let (x, w) = (g.input(0, 5), g.param(0).unwrap());
    assert_eq!(*g.shape(id), Shape::scalar());
    assert!(g.node(id).inputs().is_empty() && !g.describe(id).is_empty());
    let before = g.nodes().count();
    let mut made = vec![id, g.sum_all(id)];
    for over in Over::ALL {
        made.push(g.reduce(Reduction::Max, over, id));
    }
    for made in made {
        let refused = [
            g.map([x, made], |[a, b]| a + b).map(|_| ()),
            g.map_to(Expr::input(0), &[made], Shape::batched(&[5])).map(|_| ()),
            g.matmul(made, w, false, false).map(|_| ()),
            g.matmul(x, made, false, true).map(|_| ()),
            g.view(made, Shape::fixed(&[1])).map(|_| ()),
            g.batch_mean(made).map(|_| ()),
            g.gradient(made, &[w]).map(|_| ()),
            g.vjp(x, made, &[w]).map(|_| ()),
            g.vjp(x, x, &[made]).map(|_| ()),
        ];
        for (i, refused) in refused.into_iter().enumerate() {
            assert!(matches!(refused, Err(Error::Node { node, .. }) if node == 49), "{i}: {refused:?}");
        }
        let mut sunk = g.clone();
        sunk.sink(Sink::Output(3), made);
        let error = refusal(&sunk);
        assert!(matches!(&error, Error::Node { op, node: 49, .. } if op.contains("Output(3)")), "{error}");
    }
    assert_eq!(g.nodes().count(), before, "nothing of it stays");
    g.sink(Sink::Output(0), x);
    g.check().expect("a sound graph");
    let value = evaluate_node(&g, &Environment::<f32>::default(), id, &Default::default());
    assert!(matches!(value, Err(Error::Internal(_))), "{value:?}");
}

#[test]
fn columns_that_are_not_there() {
    let mut g = graph();
    let (x, w, scalar) = (g.input(0, 5), g.param(0).unwrap(), g.fill(1.0, Shape::scalar()));
    let refused = [
        g.slice(x, 0, 0),
        g.slice(x, 2, 4),
        g.slice(x, 6, 0),
        g.slice(x, usize::MAX, 2),
        g.slice(scalar, 0, 1),
        g.pad(w, 1, 5),
        g.pad(w, usize::MAX, usize::MAX),
        g.pad(w, 3, 2),
        g.columns(x, 3, 0),
        g.columns(scalar, 0, 1),
    ];
    for (i, refused) in refused.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::Shape { .. })), "{i}: {refused:?}");
    }
    for refused in [g.columns(foreign(), 1, 2), g.slice(foreign(), 0, 1), g.pad(foreign(), 9, 3)] {
        assert!(matches!(refused, Err(Error::Node { node: 49, .. })), "{refused:?}");
    }
    assert_eq!(g.slice(x, 0, 5).unwrap(), x);
    for nothing in [g.columns(x, isize::MIN, 3), g.columns(x, isize::MAX, 3), g.columns(w, 5, 9), g.columns(w, -3, 3)] {
        assert_eq!(g.node(nothing.unwrap()).op, strait::internals::graph::Op::Fill(0.0));
    }
}

#[test]
fn tensors_inputs_and_scalars_that_are_not_there() {
    let mut g = graph();
    assert!(matches!(g.param(1), Err(Error::Spec { .. })));
    assert!(matches!(g.constant(1), Err(Error::Spec { .. })));
    let x = g.input(0, 5);
    assert!(matches!(g.map([x], |[x]| x + Expr::input(1)), Err(Error::Shape { .. })));
    let beside = |x: Expr| Expr::through_output(x, &Expr::input(7), |y| y.clone());
    assert!(matches!(g.map([x], |[x]| beside(x)), Err(Error::Shape { .. })));
    assert!(matches!(g.scalar("rate"), Err(Error::Spec { .. })));
}

#[test]
fn sinks_without_a_place() {
    for (sink, named) in [(Sink::Gradient(1), "gradient is 1"), (Sink::Term(1), "term is 1"), (Sink::Output(0), "one")]
    {
        let mut g = graph();
        let w = g.param(0).unwrap();
        let sum = g.sum_all(w);
        g.term("sum", sum);
        g.sink(Sink::Output(0), sum);
        g.check().expect("a sound graph");
        g.sink(sink, sum);
        let error = refusal(&g);
        assert!(matches!(error, Error::Spec { .. }) && error.to_string().contains(named), "{error}");
    }
}

/// A batch lies in one buffer, whose rows have one length.
#[test]
fn a_batch_of_two_widths() {
    let build: [fn(&mut Graph) -> [NodeId; 2]; 2] =
        [|g| [g.input(0, 5), g.input(0, 8)], |g| [g.gather(5, true), g.gather(4, false)]];
    for build in build {
        let mut g = graph();
        for (i, node) in build(&mut g).into_iter().enumerate() {
            g.sink(Sink::Output(i), node);
        }
        let error = refusal(&g);
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
    let mut g = graph();
    let nodes = [g.input(0, 5), g.input(1, 8), g.gather(5, true), g.gather(5, false)];
    nodes.into_iter().enumerate().for_each(|(i, n)| g.sink(Sink::Output(i), n));
    Recording::new(&g, TARGET).expect("a plan");
}

#[test]
fn targets_without_rows() {
    let mut g = graph();
    let x = g.gather(5, true);
    g.sink(Sink::Output(0), x);
    for (target, field) in [(Target { rows: 0, ..TARGET }, "rows"), (Target { data_rows: 0, ..TARGET }, "data_rows")] {
        match Recording::new(&g, target) {
            Err(Error::Spec { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{other:?}"),
        }
    }
}

/// Sizes that no number holds, and some that no index of a kernel holds although nothing of them lies in memory.
#[test]
fn absurd_sizes() {
    const MUCH: usize = usize::MAX - 1;
    for dims in [&[MUCH, MUCH][..], &[MUCH, 3, MUCH], &[MUCH], &[1, MUCH], &[1 << 32, 1], &[1 << 20, 1 << 20]] {
        for batched in [false, true] {
            let shape = Shape { batched, dims: dims.to_vec() };
            let mut g = graph();
            let ones = g.map_to(Expr::rows(), &[], shape.clone()).unwrap();
            let copy = g.map_to(Expr::input(0) * 2.0, &[ones], shape.clone()).unwrap();
            let sum = g.sum_all(copy);
            g.term("sum", sum);
            let refused = Recording::new(&g, TARGET);
            assert!(matches!(refused, Err(Error::Limit { .. })), "{shape}: {refused:?}");
        }
        let tensors = vec![tensor("huge", Shape::fixed(dims)), tensor("small", Shape::fixed(&[2]))];
        let mut g = Graph::new(tensors.clone(), tensors.clone());
        let leaves = [
            g.param(0).unwrap(),
            g.constant(1).unwrap(),
            g.arena(strait::graph::Set::FIRST.arena(strait::graph::Kept::Gradients)),
        ];
        leaves.into_iter().enumerate().for_each(|(i, n)| g.sink(Sink::Output(i), n));
        let refused = Recording::new(&g, TARGET);
        assert!(matches!(refused, Err(Error::Limit { .. })), "{dims:?}: {refused:?}");
        let layout = Layout::new(&tensors);
        assert!(matches!(layout.pack(&tensors, &[vec![0.0f32; 7]]), Err(Error::Data { .. })), "{dims:?}");
        assert!(matches!(layout.unpack(&tensors, &[0.0f32; 7]), Err(Error::Data { .. })), "{dims:?}");
    }
    let mut g = graph();
    let wide = [g.input(0, MUCH), g.gather(MUCH, true)];
    wide.into_iter().enumerate().for_each(|(i, n)| g.sink(Sink::Output(i), n));
    assert!(matches!(Recording::new(&g, TARGET), Err(Error::Limit { .. })));
    let most = Limits { binding_bytes: u64::MAX, buffer_bytes: u64::MAX, ..Limits::DEFAULT };
    let absurd = Target { rows: usize::MAX, data_rows: usize::MAX, limits: most, ..TARGET };
    assert!(matches!(Recording::new(&g, absurd), Err(Error::Limit { .. })));
}

#[test]
fn layouts_of_other_tensors() {
    let (few, many) = ([tensor("a", Shape::fixed(&[3]))], [tensor("b", Shape::fixed(&[40, 30]))]);
    let layout = Layout::new(&few);
    assert!(matches!(layout.pack(&many, &[vec![1.0f32; 1200]]), Err(Error::Data { .. })));
    let arena = layout.pack(&few, &[vec![1.0f32, 2.0, 3.0]]).unwrap();
    assert_eq!(layout.unpack(&few, &arena).unwrap(), [[1.0, 2.0, 3.0]]);
    assert!(matches!(layout.unpack(&many, &arena), Err(Error::Data { .. })));
    let empty = [tensor("empty", Shape::fixed(&[4, 0]))];
    let layout = Layout::new(&empty);
    let arena = layout.pack(&empty, &[vec![0.0f32; 0]]).unwrap();
    assert_eq!(layout.unpack(&empty, &arena).unwrap(), [[0.0f32; 0]]);
}
