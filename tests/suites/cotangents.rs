//! Several cotangents at once: every kind of node, rank and reduction, and maps that draw random numbers. What is expected
//! are the cotangents times the Jacobian by central differences in f64, one after the other; nothing of it was
//! differentiated by strait.

use crate::common::{both, gpu, values};
use strait::Error;
use strait::graph::{Distribution, Expr, Graph, NodeId, Over, Reduction, Shape, Sink, Tensor};
use strait::internals::plan::Target;
use strait::internals::reference::evaluate;
use strait::reference::Environment;

const ROWS: usize = 3;
const EPS: f64 = 1e-6;
/// The error of a central difference of moderate values.
const ALLOWED: f64 = 1e-7;

/// What stands in front of a cotangent's own dimensions; some are as long as the dimensions behind them.
const EXTRA: [&[usize]; 5] = [&[1], &[2], &[3], &[2, 2], &[3, 1]];

struct Model {
    graph: Graph,
    leaves: Vec<NodeId>,
    env: Environment<f64>,
}

fn wide(stream: u32, count: usize) -> Vec<f64> {
    values(stream, count, (-1.0, 1.0)).into_iter().map(f64::from).collect()
}

/// A graph over leaves, batched ones as inputs and fixed ones as parameters, and behind them the cotangents.
fn model(leaves: &[Shape], cotangents: Option<Shape>) -> Model {
    let all: Vec<Shape> = leaves.iter().cloned().chain(cotangents).collect();
    let own = all.iter().filter(|shape| !shape.batched);
    let tensors = own.enumerate().map(|(i, shape)| Tensor { name: format!("leaf {i}"), shape: shape.clone() });
    let mut graph = Graph::new(tensors.collect(), vec![]);
    let mut env = Environment { rows: ROWS, seed: 5, step: 2, ..Environment::default() };
    let mut nodes = Vec::new();
    for (i, shape) in all.iter().enumerate() {
        let drawn = wide(20 + i as u32, shape.elements(ROWS));
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

fn run(graph: &Graph, env: &Environment<f64>, nodes: &[NodeId]) -> Vec<Vec<f64>> {
    let mut graph = graph.clone();
    nodes.iter().enumerate().for_each(|(i, &n)| graph.sink(Sink::Output(i), n));
    let found = evaluate(&graph, env).expect("values");
    nodes.iter().map(|n| found[n].clone()).collect()
}

/// The values of a leaf.
fn leaf<'a>(env: &'a mut Environment<f64>, leaves: &[Shape], at: usize) -> &'a mut Vec<f64> {
    let place = leaves[..at].iter().filter(|shape| shape.batched == leaves[at].batched).count();
    if leaves[at].batched { &mut env.inputs[place] } else { &mut env.params[place] }
}

/// Checks an operation for one set of further dimensions; `shared` cotangents are the same for every row.
fn check_with(
    what: &str,
    leaves: &[Shape],
    op: &dyn Fn(&mut Graph, &[NodeId]) -> NodeId,
    extra: &[usize],
    shared: bool,
) {
    let mut plain = model(leaves, None);
    let nodes = plain.leaves.clone();
    let y = op(&mut plain.graph, &nodes);
    let shape = plain.graph.shape(y).clone();
    let given = Shape { batched: shape.batched && !shared, dims: [extra, &shape.dims].concat() };
    let Model { mut graph, leaves: mut nodes, mut env } = model(leaves, Some(given.clone()));
    let cotangent = nodes.pop().unwrap();
    let y = op(&mut graph, &nodes);
    let products = graph.vjp(y, cotangent, &nodes).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut all = leaves.to_vec();
    all.push(given.clone());
    let cotangents = leaf(&mut env, &all, leaves.len()).clone();
    let found = run(&graph, &env, &products);
    let (count, size) = (extra.iter().product::<usize>(), shape.elements(1));
    for (l, of) in leaves.iter().enumerate() {
        let expected_shape = Shape { batched: of.batched, dims: [extra, &of.dims].concat() };
        assert_eq!(*graph.shape(products[l]), expected_shape, "{what}: leaf {l}");
        let own = of.elements(1);
        for at in 0..of.elements(ROWS) {
            let mut shifted = |shift: f64| {
                leaf(&mut env, &all, l)[at] += shift;
                let value = run(&graph, &env, &[y]).remove(0);
                leaf(&mut env, &all, l)[at] -= shift;
                value
            };
            let (above, below) = (shifted(EPS), shifted(-EPS));
            for e in 0..count {
                let product = |(i, (a, b)): (usize, (&f64, &f64))| {
                    let row = if given.batched { i / size } else { 0 };
                    cotangents[(row * count + e) * size + i % size] * (a - b) / (2.0 * EPS)
                };
                let expected: f64 = above.iter().zip(&below).enumerate().map(product).sum();
                let found = found[l][(at / own * count + e) * own + at % own];
                assert!(
                    (found - expected).abs() <= ALLOWED * expected.abs().max(1.0),
                    "{what}, {extra:?} cotangents, shared {shared}: leaf {l}, element {at}, cotangent {e}: {found} where \
                     differences give {expected}"
                );
            }
        }
    }
}

fn check(what: &str, leaves: &[Shape], op: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
    for extra in EXTRA {
        for shared in [false, true] {
            check_with(what, leaves, &op, extra, shared);
        }
    }
}

fn batched(dims: &[usize]) -> Shape {
    Shape::batched(dims)
}

fn fixed(dims: &[usize]) -> Shape {
    Shape::fixed(dims)
}

/// Every rank below that of the map, with dimensions repeated before, between and behind those that are there.
#[test]
fn maps_of_tensors_of_lower_rank() {
    let small: [&[usize]; 12] = [
        &[],
        &[1],
        &[3],
        &[2, 1],
        &[2, 3],
        &[1, 3],
        &[1, 1],
        &[2, 2, 3],
        &[2, 1, 3],
        &[2, 1, 1],
        &[1, 2, 1],
        &[1, 1, 3],
    ];
    for large in [&[3][..], &[2, 3], &[2, 2, 3]] {
        for small in small {
            for (large, small) in
                [(batched(large), fixed(small)), (batched(large), batched(small)), (fixed(large), fixed(small))]
            {
                if small.broadcasts_to(&large) {
                    let what = format!("{small} repeated to {large}");
                    check(&what, &[large, small], |g, x| g.map([x[0], x[1]], |[a, b]| (a * &b).tanh() + b).unwrap());
                }
            }
        }
    }
    check("scalars", &[fixed(&[]), fixed(&[])], |g, x| g.map([x[0], x[1]], |[a, b]| a * b.exp()).unwrap());
    check("a value a row", &[batched(&[]), fixed(&[])], |g, x| g.map([x[0], x[1]], |[a, b]| a * b.exp()).unwrap());
    check("a sum of all", &[fixed(&[2, 3]), fixed(&[3])], |g, x| {
        let y = g.map([x[0], x[1]], |[a, b]| a * b).unwrap();
        g.sum_all(y)
    });
}

#[test]
fn every_reduction_of_every_rank() {
    for op in Reduction::ALL {
        for over in Over::ALL {
            let dims: [&[usize]; 7] = [&[], &[1], &[3], &[2, 3], &[3, 1], &[2, 3, 2], &[2, 2, 3, 2]];
            for shape in dims.into_iter().flat_map(|dims| [batched(dims), fixed(dims)]) {
                let what = format!("{op:?} over {over:?} of {shape}");
                check(&what, &[shape], |g, x| {
                    let y = g.map([x[0]], |[x]| x.exp()).unwrap();
                    let r = g.reduce(op, over, y);
                    g.map([r], |[r]| r.square()).unwrap()
                });
            }
        }
    }
}

#[test]
fn every_product() {
    let mut checked = 0;
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let left: [&[usize]; 5] = [&[2, 3], &[3, 2], &[3], &[2, 2, 3], &[3, 2, 2]];
        let right: [&[usize]; 6] = [&[3, 4], &[4, 3], &[4], &[3], &[3, 1, 4], &[2, 2, 3]];
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
            for (left_batched, right_batched) in [(false, false), (true, false), (true, true)] {
                let leaf = |dims: &[usize], batched| Shape { batched, dims: dims.to_vec() };
                let leaves = [leaf(a, left_batched), leaf(b, right_batched)];
                let Model { mut graph, leaves: nodes, .. } = model(&leaves, None);
                if graph.matmul(nodes[0], nodes[1], ta, tb).is_ok() {
                    let what = format!("matmul {ta} {tb} of {} and {}", leaves[0], leaves[1]);
                    let op = |g: &mut Graph, x: &[NodeId]| g.matmul(x[0], x[1], ta, tb).unwrap();
                    for (extra, shared) in [(&[2][..], false), (&[2], true), (&[3, 2], false)] {
                        check_with(&what, &leaves, &op, extra, shared);
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 30, "only {checked} products fit");
    check("AᵀA", &[batched(&[3])], |g, x| g.matmul(x[0], x[0], true, false).unwrap());
    check("A Aᵀ", &[fixed(&[3, 2])], |g, x| g.matmul(x[0], x[0], false, true).unwrap());
    check("tied weights", &[batched(&[3]), fixed(&[3, 2])], |g, x| {
        let h = g.matmul(x[0], x[1], false, false).unwrap();
        let h = g.map([h], |[h]| h.tanh()).unwrap();
        g.matmul(h, x[1], false, true).unwrap()
    });
}

#[test]
fn views_and_columns() {
    let to: [&[usize]; 5] = [&[6], &[2, 3], &[3, 2], &[1, 6, 1], &[2, 1, 3]];
    for (from, to) in to.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
        for batched in [false, true] {
            let shape = |dims: &[usize]| Shape { batched, dims: dims.to_vec() };
            check(&format!("view of {from:?} as {to:?}"), &[shape(from)], |g, x| {
                let y = g.map([x[0]], |[x]| x.exp()).unwrap();
                g.view(y, shape(to)).unwrap()
            });
        }
    }
    check("a scalar seen as a row", &[fixed(&[])], |g, x| g.view(x[0], fixed(&[1, 1])).unwrap());
    for leaf in [batched(&[5]), batched(&[2, 6]), fixed(&[3, 4])] {
        for (offset, width) in [(0, 3), (0, 9), (1, 3), (3, 5), (-1, 6), (-2, 3), (-3, 9), (7, 2)] {
            check(&format!("{width} columns from {offset} on of {leaf}"), std::slice::from_ref(&leaf), |g, x| {
                let y = g.map([x[0]], |[x]| x.exp()).unwrap();
                g.columns(y, offset, width).unwrap()
            });
        }
    }
}

/// All cotangents meet the draws that the values were computed with.
#[test]
fn maps_that_draw() {
    let uniform = || Expr::random(Distribution::Uniform, 1);
    let normal = || Expr::random(Distribution::Normal, 2);
    for shape in [batched(&[5]), batched(&[2, 3]), batched(&[1]), batched(&[]), fixed(&[2, 3]), fixed(&[4]), fixed(&[])]
    {
        check(&format!("masked {shape}"), std::slice::from_ref(&shape), |g, x| {
            g.map([x[0]], |[x]| uniform().select(strait::graph::Compare::Less, &0.5.into(), 0.0, 2.0 * x)).unwrap()
        });
        check(&format!("noise that grows, of {shape}"), &[shape.clone(), shape], |g, x| {
            let y = g.map([x[0], x[1]], |[m, s]| m + (0.5 * s).exp() * normal()).unwrap();
            g.map([y], |[y]| (y * (0.5 + uniform())).tanh()).unwrap()
        });
    }
    check("noise on what is repeated", &[fixed(&[3]), batched(&[2, 3])], |g, x| {
        g.map([x[0], x[1]], |[a, b]| a * uniform() + b * normal()).unwrap()
    });
}

/// y = Σ over columns of x ∘ A for x = (1, 2, 3) and A = (1 2 3; 10 20 30): its cotangents (1, 2) and (0, 0) give x
/// (21, 42, 63) and nothing.
#[test]
fn a_row_that_several_rows_are_multiplied_by() {
    let tensor = |name: &str, dims: &[usize]| Tensor { name: name.into(), shape: Shape::fixed(dims) };
    let mut g = Graph::new(vec![tensor("x", &[3]), tensor("A", &[2, 3]), tensor("cotangents", &[2, 2, 1])], vec![]);
    let [x, a, cotangents] = [0, 1, 2].map(|i| g.param(i).unwrap());
    let product = g.map([x, a], |[x, a]| x * a).unwrap();
    let y = g.sum(Over::Columns, product);
    let found = g.vjp(y, cotangents, &[x]).unwrap()[0];
    g.sink(Sink::Output(0), found);
    let params = vec![vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0], vec![1.0, 2.0, 0.0, 0.0]];
    let env = Environment { rows: 1, params, ..Environment::default() };
    let (_, found, interpreted) = both(&gpu(), &g, Target::of(&gpu(), 1), &env).remove(0);
    assert_eq!(found, [21.0, 42.0, 63.0, 0.0, 0.0, 0.0]);
    assert_eq!(interpreted, found);
}

/// Where cotangents can only go one after the other, there is an end to how many.
#[test]
fn too_many_to_go_one_after_the_other() {
    let Model { mut graph, leaves, .. } = model(&[batched(&[2]), fixed(&[2, 1])], None);
    let y = graph.matmul(leaves[0], leaves[1], false, false).unwrap();
    for count in [4097, 1 << 40, usize::MAX] {
        let ones = graph.fill(1.0, Shape::batched(&[count, 1]));
        let by_weight = graph.vjp(y, ones, &[leaves[1]]);
        assert!(matches!(by_weight, Err(Error::Limit { allowed: 4096, .. })), "{by_weight:?}");
        assert!(graph.vjp(y, ones, &[leaves[0]]).is_ok(), "by the input they go at once");
    }
    let none = graph.fill(1.0, Shape::batched(&[0, 1]));
    graph.vjp(y, none, &[leaves[1]]).unwrap();
}
