//! Expressions that share their parts, are nested deep or are large, and long chains of maps: all take moments, or are
//! refused by what they are.

use crate::common::{both, gpu};
use strait::Error;
use strait::graph::{Expr, Graph, Over, Shape, Sink, Tensor};
use strait::internals::plan::{Recording, Target};
use strait::reference::Environment;

/// Expressions share their parts: what is squared 26 times is computed in 26 steps, not in 2^26, wherever an expression
/// goes.
#[test]
fn what_is_shared_is_walked_once() {
    let squared = |x: Expr, times: usize| (0..times).fold(x, |x, _| x.square());
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 4);
    let y = g.map([x], |[x]| squared(x, 26)).unwrap();
    assert_eq!(g.map([x], |[x]| squared(x, 26)).unwrap(), y, "built once more it is the same node");
    let other = g.map([x], |[x]| squared(x + 0.0 * Expr::rows(), 25).square() * 2.0).unwrap();
    assert_ne!(y, other);
    let sum = g.sum(Over::Columns, y);
    let all = g.sum_all(sum);
    let slope = g.gradient(all, &[x]).unwrap()[0];
    g.sink(Sink::Output(0), y);
    g.sink(Sink::Output(1), slope);
    let times = 2f32.powi(26);
    let inputs = vec![vec![1.0, -1.0, 0.0, 1.0]];
    let env = Environment { rows: 1, inputs, ..Environment::default() };
    for (sink, found, interpreted) in both(&gpu(), &g, Target::of(&gpu(), 1), &env) {
        let expected = match sink {
            Sink::Output(0) => [1.0, 1.0, 0.0, 1.0],
            _ => [times, -times, 0.0, times],
        };
        assert_eq!((&found[..], &interpreted[..]), (&expected[..], &expected[..]), "{sink:?}");
    }
    let written = format!("{:?}", squared(Expr::input(0), 200));
    assert!(written.len() < 20_000, "{} characters", written.len());
    // Of many tensors, so that a plan has to take it apart.
    let tensors: Vec<Tensor> = (0..12).map(|i| Tensor { name: format!("t{i}"), shape: Shape::fixed(&[4]) }).collect();
    let mut g = Graph::new(tensors, vec![]);
    let p: Vec<_> = (0..12).map(|i| g.param(i).unwrap()).collect();
    let sum = (1..12).fold(Expr::input(0), |sum, i| sum + Expr::input(i));
    let wide = g.map_expr(squared(sum, 26), &p).unwrap();
    g.sink(Sink::Output(0), wide);
    let plan = Recording::new(&g, Target::of(&gpu(), 1)).unwrap();
    assert!(plan.dispatches.len() < 20, "{} dispatches", plan.dispatches.len());
}

#[test]
fn what_is_nested_too_deep_or_too_large_is_refused() {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 4);
    let deep = |depth: usize| (0..depth).fold(Expr::input(0), |x, _| x.sin());
    g.map_expr(deep(500), &[x]).unwrap();
    let chain = |x: Expr, ops: usize| (0..ops).fold(x, |x, i| x + i as f64);
    let grafted = Expr::through_output(Expr::input(0), &deep(400), |y| chain(y.clone(), 600));
    let nested = [deep(513), deep(100_000), chain(Expr::input(0), 1_000_000), deep(700) * 0.5 + 1.0, grafted];
    for (i, expr) in nested.into_iter().enumerate() {
        let refused = g.map_expr(expr, &[x]);
        assert!(matches!(&refused, Err(Error::Spec { allowed, .. }) if allowed.contains("512")), "{i}: {refused:?}");
    }
    fn tree(first: usize, leaves: usize) -> Expr {
        match leaves {
            1 => Expr::input(0) * first as f64,
            _ => tree(first, leaves / 2) + tree(first + leaves / 2, leaves - leaves / 2),
        }
    }
    let refused = g.map_expr(tree(2, 5000), &[x]);
    assert!(matches!(&refused, Err(Error::Spec { allowed, .. }) if allowed.contains("4096")), "{refused:?}");
    let y = g.map_expr(tree(2, 300), &[x]).unwrap();
    assert!(g.map([y], |[y]| deep(3) * y).is_ok());
}

/// Copies of constants are read through, but not without end: each is within the bounds.
#[test]
fn long_chains_of_constants_stay_shallow() {
    let mut g = Graph::new(vec![], vec![]);
    let mut y = g.map_to(Expr::rows(), &[], Shape::fixed(&[3])).unwrap();
    for _ in 0..3000 {
        y = g.map([y], |[y]| y * 0.5 + 1.0).unwrap();
    }
    g.sink(Sink::Output(0), y);
    let env = Environment::<f64> { rows: 2, ..Environment::default() };
    assert_eq!(strait::internals::reference::evaluate(&g, &env).unwrap()[&y], [2.0; 3]);
}

/// A chain of 5,000 maps has a gradient of as many, and built once more it adds no node.
#[test]
fn long_chains_have_few_nodes() {
    const LENGTH: usize = 5000;
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 4);
    let chain = |g: &mut Graph| {
        let step = |y, i| g.map([y], |[y]| (y * (1.0 + i as f64 * 1e-9)).sin()).unwrap();
        let y = (0..LENGTH).fold(x, step);
        let sum = g.sum_all(y);
        g.gradient(sum, &[x]).unwrap()[0]
    };
    let slope = chain(&mut g);
    let nodes = g.nodes().count();
    assert!(nodes <= 2 * LENGTH + 10, "{nodes} nodes");
    assert_eq!((chain(&mut g), g.nodes().count()), (slope, nodes));
    g.sink(Sink::Output(0), slope);
    g.check().unwrap();
}
