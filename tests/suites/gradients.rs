//! Gradients: every kind of node and every scalar function against central differences in f64, first and second order,
//! always in mid-graph, where what comes back from the loss is not 1. Kinks are kept away from by sampling.

use crate::common::values;
use strait::graph::{Compare, Distribution, Expr, Graph, NodeId, Over, Reduction, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::graph::{Binary, Function};
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::reference::{Environment, gradcheck};

/// Rows in the batch of every check.
const ROWS: usize = 3;
/// PyTorch's settings for gradcheck.
const EPS: f64 = 1e-6;
const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-3;

/// What an operation is computed from: a shape and the interval its values are drawn from.
struct Leaf(Shape, (f64, f64));

fn batched(dims: &[usize]) -> Leaf {
    Leaf(Shape::batched(dims), (-1.0, 1.0))
}

fn fixed(dims: &[usize]) -> Leaf {
    Leaf(Shape::fixed(dims), (-1.0, 1.0))
}

/// A graph over leaves, batched ones as inputs and fixed ones as parameters, with the values of both.
struct Model {
    graph: Graph,
    leaves: Vec<NodeId>,
    env: Environment<f64>,
}

fn wide(stream: u32, count: usize, interval: (f64, f64)) -> Vec<f64> {
    values(stream, count, interval).into_iter().map(f64::from).collect()
}

fn tensor(name: impl Into<String>, shape: &Shape) -> Tensor {
    Tensor { name: name.into(), shape: shape.clone() }
}

impl Model {
    fn new(leaves: &[Leaf]) -> Model {
        let own = leaves.iter().enumerate().filter(|(_, leaf)| !leaf.0.batched);
        let params: Vec<Tensor> = own.map(|(i, leaf)| tensor(format!("leaf {i}"), &leaf.0)).collect();
        let mut graph = Graph::new(params, vec![]);
        let mut env = Environment { rows: ROWS, seed: 5, step: 2, ..Environment::default() };
        let mut nodes = Vec::new();
        for (i, Leaf(shape, interval)) in leaves.iter().enumerate() {
            let drawn = wide(20 + i as u32, shape.elements(ROWS), *interval);
            nodes.push(if shape.batched {
                env.inputs.push(drawn);
                let flat = graph.input(env.inputs.len() - 1, shape.elements(1));
                graph.view(flat, shape.clone()).unwrap()
            } else {
                env.params.push(drawn);
                graph.param(env.params.len() - 1).unwrap()
            });
        }
        Model { graph, leaves: nodes, env }
    }

    /// A fixed number for every element of a node, kept out of the leaves.
    fn weights(&mut self, like: NodeId, stream: u32) -> NodeId {
        let shape = self.graph.shape(like).clone();
        // Draws of the graph's own are the same in every evaluation.
        self.graph.map_to(Expr::random(Distribution::Uniform, stream) + 0.25, &[], shape).unwrap()
    }

    /// A scalar in which every element of `node` has a slope of its own, which changes with the element.
    fn loss(&mut self, node: NodeId) -> NodeId {
        let weights = self.weights(node, 90);
        let each = self.graph.map([weights, node], |[w, y]| w * (&y + 0.5).square()).unwrap();
        self.graph.sum_all(each)
    }

    /// The sum of the products of the gradients of `loss` with fixed weights.
    fn along_gradient(&mut self, loss: NodeId) -> NodeId {
        let gradients = self.graph.gradient(loss, &self.leaves).unwrap();
        let mut sum = self.graph.fill(0.0, Shape::scalar());
        for (i, gradient) in gradients.into_iter().enumerate() {
            let weights = self.weights(gradient, 100 + i as u32);
            let each = self.graph.map([weights, gradient], |[w, g]| w * g).unwrap();
            let part = self.graph.sum_all(each);
            sum = self.graph.map([sum, part], |[a, b]| a + b).unwrap();
        }
        sum
    }

    fn evaluate(graph: &Graph, env: &Environment<f64>, nodes: &[NodeId]) -> Vec<Vec<f64>> {
        let mut graph = graph.clone();
        nodes.iter().enumerate().for_each(|(i, &n)| graph.sink(Sink::Output(i), n));
        graph.check().expect("a sound graph");
        let found = evaluate(&graph, env).expect("values");
        nodes.iter().map(|n| found[n].clone()).collect()
    }

    /// Compares the gradients of a scalar with central differences, element by element.
    fn check(&self, what: &str, scalar: NodeId) {
        let wrong = gradcheck(&self.graph, scalar, &self.env).unwrap();
        assert!(wrong.is_empty(), "{what}: {} elements, the first: {:?}", wrong.len(), wrong[0]);
    }
}

/// Checks the gradient of an operation in mid-graph, and the gradient of that gradient.
fn check(what: &str, leaves: &[Leaf], op: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
    let mut model = Model::new(leaves);
    let nodes = model.leaves.clone();
    let node = op(&mut model.graph, &nodes);
    let loss = model.loss(node);
    model.check(what, loss);
    let along = model.along_gradient(loss);
    model.check(&format!("{what}, second order"), along);
}

/// Checks an expression of elements, alone, inside a larger one, and repeated.
fn check_expr<const N: usize>(what: &str, intervals: [(f64, f64); N], f: impl Fn(&[Expr; N]) -> Expr) {
    let leaves: Vec<Leaf> = intervals.iter().map(|&i| Leaf(Shape::batched(&[5]), i)).collect();
    let ids = |nodes: &[NodeId]| -> [NodeId; N] { nodes.try_into().expect("as many nodes as intervals") };
    check(what, &leaves, |g, nodes| g.map(ids(nodes), |x| f(&x)).unwrap());
    check(&format!("{what}, inside"), &leaves, |g, nodes| {
        g.map(ids(nodes), |x| 0.5 - 1.5 * (f(&x) * &x[0]) + f(&x).square() * 0.25).unwrap()
    });
}

#[test]
fn every_function() {
    for f in Function::ALL {
        check_expr(f.name(), [f.domain()], |[x]| x.apply(f));
        check_expr(&format!("{} of another", f.name()), [f.domain()], |[x]| {
            // Stays inside the interval.
            (x * 0.25 + 0.1).square().apply(f)
        });
    }
    check_expr("abs below 0", [(-4.0, -0.1)], |[x]| x.abs());
}

#[test]
fn every_binary_operation() {
    for op in Binary::ALL {
        let build = |a: &Expr, b: &Expr| match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
        };
        let right = if op == Binary::Div { (0.5, 2.0) } else { (-1.0, 1.0) };
        check_expr(&format!("{op:?}"), [(-1.0, 1.0), right], |[a, b]| build(a, b));
        check_expr(&format!("{op:?} with a constant"), [(0.5, 2.0)], |[a]| build(a, &1.25.into()));
        check_expr(&format!("{op:?} of a constant"), [(0.5, 2.0)], |[a]| build(&1.25.into(), a));
    }
}

#[test]
fn every_comparison() {
    for compare in Compare::ALL {
        check_expr(&format!("select {compare:?}"), [(-1.0, 1.0), (-1.0, 1.0)], |[a, b]| {
            a.select(compare, b, a * b, a.exp() - b)
        });
        // Where both sides are the same number, the branch that the comparison takes decides.
        check_expr(&format!("select {compare:?} of equals"), [(-1.0, 1.0)], |[a]| {
            a.select(compare, a, a.square(), a.exp())
        });
    }
    check_expr("if_positive", [(-1.0, 1.0)], |[x]| x.if_positive(x.square(), x.expm1() * 0.5));
}

#[test]
fn slopes_through_the_output() {
    let logistic = |x: &Expr| {
        let argument = x * 2.0 + 0.5;
        Expr::through_output(1.0 / (1.0 + (-&argument).exp()), &argument, |y| y * (1.0 - y))
    };
    check_expr("through_output", [(-2.0, 2.0)], |[x]| logistic(x));
    check_expr("through_output, nested", [(-2.0, 2.0)], |[x]| logistic(&logistic(x)));
    check_expr("through_output of two", [(-1.0, 1.0), (-1.0, 1.0)], |[a, b]| logistic(&(a * b)) - logistic(a));
}

#[test]
fn random_draws_are_constants() {
    check("noise", &[batched(&[5])], |g, x| {
        g.map([x[0]], |[x]| (x * (0.5 + Expr::random(Distribution::Uniform, 1))).tanh()).unwrap()
    });
    check("rows", &[batched(&[5])], |g, x| g.batch_mean(x[0]).unwrap());
}

#[test]
fn every_reduction() {
    for op in Reduction::ALL {
        for over in Over::ALL {
            for shape in
                [Shape::batched(&[5]), Shape::batched(&[2, 3]), Shape::fixed(&[2, 3]), Shape::fixed(&[2, 3, 2])]
            {
                let leaf = || [Leaf(shape.clone(), (-1.0, 1.0))];
                check(&format!("{op:?} over {over:?} of {shape}"), &leaf(), |g, x| g.reduce(op, over, x[0]));
                check(&format!("{op:?} over {over:?} of {shape}, read beside"), &leaf(), |g, x| {
                    let y = g.map([x[0]], |[x]| x.exp()).unwrap();
                    let r = g.reduce(op, over, y);
                    g.map([y, r], |[y, r]| y * r).unwrap()
                });
            }
        }
    }
}

/// Both factors of every shape that the rules allow, rank 1 to 3.
#[test]
fn every_matrix_product() {
    let mut checked = 0;
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let left: [&[usize]; 6] = [&[2, 3], &[3, 2], &[2], &[3], &[2, 2, 3], &[3, 2, 2]];
        let right: [&[usize]; 8] = [&[3, 4], &[4, 3], &[2, 4], &[4], &[3], &[3, 1, 4], &[2, 2, 4], &[2, 2, 3]];
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
            for (left_batched, right_batched) in [(false, false), (true, false), (false, true), (true, true)] {
                let leaf = |dims: &[usize], in_batch| if in_batch { batched(dims) } else { fixed(dims) };
                let leaves = [leaf(a, left_batched), leaf(b, right_batched)];
                let mut model = Model::new(&leaves);
                let (x, y) = (model.leaves[0], model.leaves[1]);
                if model.graph.matmul(x, y, ta, tb).is_ok() {
                    let what = format!("matmul {ta} {tb} of {} and {}", leaves[0].0, leaves[1].0);
                    check(&what, &leaves, |g, x| g.matmul(x[0], x[1], ta, tb).unwrap());
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 40, "only {checked} products fit");
}

#[test]
fn a_tensor_that_is_read_twice() {
    check("AᵀA", &[batched(&[3])], |g, x| g.matmul(x[0], x[0], true, false).unwrap());
    check("A A", &[fixed(&[3, 3])], |g, x| g.matmul(x[0], x[0], false, false).unwrap());
    check("A Aᵀ", &[fixed(&[3, 2])], |g, x| g.matmul(x[0], x[0], false, true).unwrap());
    check("Aᵀ Aᵀ", &[fixed(&[3, 3])], |g, x| g.matmul(x[0], x[0], true, true).unwrap());
    check("tied weights", &[batched(&[3]), fixed(&[3, 2])], |g, x| {
        let h = g.matmul(x[0], x[1], false, false).unwrap();
        let h = g.map([h], |[h]| h.tanh()).unwrap();
        let y = g.matmul(h, x[1], false, true).unwrap();
        g.map([y, x[0]], |[y, x]| (y - x).square()).unwrap()
    });
    check("x + x", &[batched(&[3])], |g, x| g.map([x[0], x[0]], |[a, b]| a * 2.0 + b.exp()).unwrap());
}

#[test]
fn views() {
    let shapes: [(&[usize], &[usize]); 6] =
        [(&[6], &[2, 3]), (&[2, 3], &[6]), (&[2, 3], &[3, 2]), (&[2, 4], &[8]), (&[3, 1], &[3]), (&[1, 4], &[4])];
    for (from, to) in shapes {
        for in_batch in [true, false] {
            let shape = |dims: &[usize]| Shape { batched: in_batch, dims: dims.to_vec() };
            check(&format!("view of {from:?} as {to:?}"), &[Leaf(shape(from), (-1.0, 1.0))], |g, x| {
                let y = g.map([x[0]], |[x]| x.exp()).unwrap();
                let v = g.view(y, shape(to)).unwrap();
                g.map([v], |[v]| v.square()).unwrap()
            });
        }
    }
}

#[test]
fn columns() {
    for leaf in [|| batched(&[5]), || batched(&[2, 6]), || fixed(&[3, 4]), || batched(&[1])] {
        for (offset, width) in [(0, 3), (0, 9), (1, 3), (2, 2), (3, 5), (4, 1), (-1, 6), (-2, 3), (-3, 9), (-4, 7)] {
            let what = format!("{width} columns from {offset} on of {}", leaf().0);
            check(&what, &[leaf()], |g, x| {
                let y = g.map([x[0]], |[x]| x.exp()).unwrap();
                let part = g.columns(y, offset, width).unwrap();
                g.map([part], |[p]| (p + 0.5).square()).unwrap()
            });
        }
    }
    check("a concatenation, sliced", &[batched(&[2, 3]), fixed(&[4])], |g, x| {
        let row = g.map_to(Expr::input(0), &[x[1]], Shape::batched(&[2, 4])).unwrap();
        let (left, right) = (g.pad(x[0], 0, 7).unwrap(), g.pad(row, 3, 7).unwrap());
        let both = g.map([left, right], |[a, b]| (a + b).exp()).unwrap();
        let (first, last) = (g.slice(both, 0, 2).unwrap(), g.slice(both, 5, 2).unwrap());
        g.map([first, last], |[a, b]| a * b).unwrap()
    });
}

#[test]
fn broadcasts() {
    let large = || batched(&[3, 4]);
    let small = [
        fixed(&[4]),
        fixed(&[3, 1]),
        fixed(&[3, 4]),
        fixed(&[1, 4]),
        fixed(&[1]),
        fixed(&[]),
        batched(&[1]),
        batched(&[1, 1]),
        batched(&[4]),
        batched(&[3, 1]),
        batched(&[]),
    ];
    for small in small {
        let what = format!("{} repeated to [batch, 3, 4]", small.0);
        check(&what, &[large(), small], |g, x| g.map([x[0], x[1]], |[a, b]| (a * b).tanh()).unwrap());
    }
    for small in [fixed(&[4]), fixed(&[3, 1]), fixed(&[1]), fixed(&[])] {
        let what = format!("{} repeated to [3, 4]", small.0);
        check(&what, &[fixed(&[3, 4]), small], |g, x| g.map([x[0], x[1]], |[a, b]| (a * b).tanh()).unwrap());
    }
    // Leading and middle dimensions, with others kept before, between and behind them.
    let wide: [&[usize]; 6] = [&[3, 4], &[2, 1, 4], &[2, 1, 1], &[1, 3, 1], &[3, 1], &[2, 3, 1]];
    let wider: [&[usize]; 6] = [&[2, 2], &[3, 1, 1], &[3, 2, 1], &[2, 1, 1, 2], &[2, 3, 1, 1], &[1, 3, 1, 2]];
    let cases = wide.map(|small| (&[2usize, 3, 4][..], small)).into_iter();
    for (large, small) in cases.chain(wider.map(|small| (&[2usize, 3, 2, 2][..], small))) {
        for (large, small) in
            [(batched(large), fixed(small)), (batched(large), batched(small)), (fixed(large), fixed(small))]
        {
            let what = format!("{} repeated to {}", small.0, large.0);
            check(&what, &[large, small], |g, x| g.map([x[0], x[1]], |[a, b]| (a * b).tanh()).unwrap());
        }
    }
    for (a, b) in [(fixed(&[3, 1]), fixed(&[1, 4])), (batched(&[3, 1]), fixed(&[4])), (batched(&[1]), fixed(&[5]))] {
        let what = format!("{} and {} repeated", a.0, b.0);
        check(&what, &[a, b], |g, x| g.map([x[0], x[1]], |[a, b]| (a - b).exp()).unwrap());
    }
    // The tensor of the middle is repeated into a larger one; small copies are read through.
    check("a repetition repeated", &[fixed(&[4]), batched(&[3, 4])], |g, x| {
        let row = g.map_to(Expr::input(0) * 2.0, &[x[0]], Shape::fixed(&[3, 4])).unwrap();
        g.map([row, x[1]], |[r, x]| r * x).unwrap()
    });
}

/// A vector-Jacobian product with a cotangent that varies, against the one-sided sum of products.
#[test]
fn cotangents_are_held_fixed() {
    let mut model = Model::new(&[batched(&[4])]);
    let x = model.leaves[0];
    let y = model.graph.map([x], |[x]| x.exp()).unwrap();
    let back = model.graph.vjp(y, x, &[x]).unwrap();
    let found = Model::evaluate(&model.graph, &model.env, &back).remove(0);
    for (found, x) in found.iter().zip(&model.env.inputs[0]) {
        assert!((found - x * x.exp()).abs() < 1e-12, "{found} at {x}");
    }
}

/// A two-layer tanh encoder with the sum over the batch of the squared Frobenius norm of its Jacobian.
struct Encoder {
    model: Model,
    norm: NodeId,
    gradients: Vec<NodeId>,
}

const IN: usize = 3;
const HIDDEN: usize = 4;
const OUT: usize = 2;

fn encoder() -> Encoder {
    let shapes = [&[IN, HIDDEN][..], &[HIDDEN], &[HIDDEN, OUT], &[OUT]].map(Shape::fixed);
    let params: Vec<Tensor> = shapes.iter().enumerate().map(|(i, shape)| tensor(format!("p{i}"), shape)).collect();
    let constants = (0..OUT).map(|i| tensor(format!("one-hot {i}"), &Shape::fixed(&[OUT]))).collect();
    let mut graph = Graph::new(params, constants);
    let mut env = Environment { rows: ROWS, inputs: vec![wide(1, ROWS * IN, (-1.0, 1.0))], ..Environment::default() };
    env.params = (0..4).map(|i| wide(2 + i, shapes[i as usize].elements(1), (-1.0, 1.0))).collect();
    env.constants = (0..OUT).map(|i| (0..OUT).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let x = graph.input(0, IN);
    let p: Vec<NodeId> = (0..4).map(|i| graph.param(i).unwrap()).collect();
    let mut h = x;
    for layer in p.chunks(2) {
        let product = graph.matmul(h, layer[0], false, false).unwrap();
        h = graph.map([product, layer[1]], |[z, b]| (z + b).tanh()).unwrap();
    }
    let mut norm = graph.fill(0.0, Shape::scalar());
    for i in 0..OUT {
        let one_hot = graph.constant(i).unwrap();
        let cotangent = graph.map_to(Expr::input(0), &[one_hot], Shape::batched(&[OUT])).unwrap();
        let row = graph.vjp(h, cotangent, &[x]).unwrap()[0];
        let squares = graph.map([row], |[r]| r.square()).unwrap();
        let sum = graph.sum_all(squares);
        norm = graph.map([norm, sum], |[a, b]| a + b).unwrap();
    }
    let gradients = graph.gradient(norm, &p).unwrap();
    Encoder { model: Model { graph, leaves: p, env }, norm, gradients }
}

/// The same norm by hand: J = diag(1 - h²) W2ᵀ diag(1 - a²) W1ᵀ, row by row.
fn norm_by_hand(x: &[f64], p: &[Vec<f64>]) -> f64 {
    let mut sum = 0.0;
    for x in x.chunks(IN) {
        let layer = |x: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
            let n = b.len();
            (0..n).map(|j| (b[j] + (0..x.len()).map(|i| x[i] * w[i * n + j]).sum::<f64>()).tanh()).collect()
        };
        let a = layer(x, &p[0], &p[1]);
        let h = layer(&a, &p[2], &p[3]);
        for o in 0..OUT {
            for i in 0..IN {
                let inner: f64 =
                    (0..HIDDEN).map(|k| p[2][k * OUT + o] * (1.0 - a[k] * a[k]) * p[0][i * HIDDEN + k]).sum();
                sum += ((1.0 - h[o] * h[o]) * inner).powi(2);
            }
        }
    }
    sum
}

#[test]
fn the_jacobian_penalty_of_two_layers() {
    let Encoder { model, norm, gradients } = encoder();
    let (x, p) = (&model.env.inputs[0], &model.env.params);
    let found = Model::evaluate(&model.graph, &model.env, &[norm])[0][0];
    let expected = norm_by_hand(x, p);
    assert!((found - expected).abs() <= 1e-12 * expected, "{found} where {expected} was computed by hand");
    let found = Model::evaluate(&model.graph, &model.env, &gradients);
    for (l, found) in found.iter().enumerate() {
        for e in 0..found.len() {
            let value = |shift: f64| {
                let mut p = p.clone();
                p[l][e] += shift;
                norm_by_hand(x, &p)
            };
            let expected = (value(EPS) - value(-EPS)) / (2.0 * EPS);
            let error = (found[e] - expected).abs();
            assert!(error <= ATOL + RTOL * expected.abs(), "p{l}[{e}]: {} against {expected}", found[e]);
        }
    }
}

#[test]
fn the_jacobian_penalty_on_the_gpu() {
    let Encoder { mut model, norm, gradients } = encoder();
    model.graph.term("jacobian", norm);
    gradients.iter().enumerate().for_each(|(i, &g)| model.graph.sink(Sink::Gradient(i), g));
    let expected = evaluate(&model.graph, &model.env).unwrap();
    let gpu = crate::common::gpu();
    let evaluator = Evaluator::new(&gpu, &model.graph, ROWS).unwrap();
    let narrow = |v: &Vec<f64>| -> Vec<f32> { v.iter().map(|&v| v as f32).collect() };
    evaluator.input(0, &narrow(&model.env.inputs[0])).unwrap();
    evaluator.params(&model.env.params.iter().map(narrow).collect::<Vec<_>>()).unwrap();
    evaluator.constants(&model.env.constants.iter().map(narrow).collect::<Vec<_>>()).unwrap();
    evaluator.run(State::once(ROWS, 0)).unwrap();
    for &(sink, id) in model.graph.sinks() {
        let found = evaluator.sink(sink, ROWS).unwrap();
        let length = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
        let error = length(&mut found.iter().zip(&expected[&id]).map(|(&f, e)| f64::from(f) - e));
        let scale = length(&mut expected[&id].iter().copied());
        assert!(scale > 0.1 && error <= 1e-5 * scale, "{sink:?}: off by {error:e} of {scale}");
    }
}

/// A derivative that is declared wrong is found, element by element and in the middle of a graph; one that is right is not, and
/// neither is what the scalar does not depend on.
#[test]
fn a_wrong_derivative_is_found() {
    let built = |slope: fn(&Expr) -> Expr| {
        let mut model = Model::new(&[fixed(&[3]), batched(&[3]), fixed(&[2])]);
        let [w, x, unused] = model.leaves[..] else { unreachable!() };
        let y = model.graph.map([w, x], |[w, x]| Expr::through_output((&w * &x).tanh(), &(w * x), slope)).unwrap();
        let node = model.graph.map([y], |[y]| y.square() + 0.1).unwrap();
        let loss = model.loss(node);
        assert!(model.graph.shape(unused).dims == [2]);
        gradcheck(&model.graph, loss, &model.env).unwrap()
    };
    assert_eq!(built(|y| 1.0 - y.square()), vec![]);
    // A hundredth too much is more than rounding: every element of both is told.
    let wrong = built(|y| 1.01 - y.square());
    let of = |name: &str| wrong.iter().filter(|w| w.tensor == name).map(|w| w.element).collect::<Vec<_>>();
    assert_eq!(of("leaf 0"), [0, 1, 2]);
    assert_eq!(of("input 0"), (0..9).collect::<Vec<_>>());
    assert_eq!(wrong.len(), 12);
    assert!(wrong.iter().all(|w| (w.gradient / w.difference - 1.0).abs() > 5e-3), "{wrong:?}");
    // What is no number is told, too.
    assert_eq!(built(|y| y / 0.0 * 0.0).len(), 12);
}

#[test]
fn what_cannot_be_checked() {
    let model = Model::new(&[fixed(&[3])]);
    let w = model.leaves[0];
    assert!(matches!(gradcheck(&model.graph, w, &model.env), Err(strait::Error::Shape { .. })));
    let mut model = Model::new(&[fixed(&[3])]);
    let loss = model.loss(w);
    model.env.params.clear();
    assert!(gradcheck(&model.graph, loss, &model.env).is_err());
    let mut model = Model::new(&[fixed(&[3])]);
    let loss = model.loss(w);
    model.env.params[0].pop();
    assert!(gradcheck(&model.graph, loss, &model.env).is_err());
}
