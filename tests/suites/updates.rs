//! What an update writes where no tensor lies: zeros, whatever its expression makes of zeros; and no kernel pays for that
//! where zeros follow by themselves.

use crate::common::{both, gpu};
use std::collections::BTreeMap;
use strait::Optimizer;
use strait::graph::{Arena, Compare, Distribution, Expr, Graph, Kept, Set, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::graph::{Layout, Scalars};
use strait::internals::plan::{Recording, Target};
use strait::internals::reference::replay;
use strait::internals::state::State;
use strait::reference::Environment;

/// Every optimizer, with numbers that it is used with.
pub const OPTIMIZERS: [Optimizer; 6] = [
    Optimizer::SGD,
    Optimizer::Sgd { momentum: 0.9, nesterov: false },
    Optimizer::Sgd { momentum: 0.9, nesterov: true },
    Optimizer::RmsProp { alpha: 0.99, epsilon: 1e-8 },
    Optimizer::ADAM,
    Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 },
];

fn tensors() -> Vec<Tensor> {
    let dims: [&[usize]; 5] = [&[1, 5], &[], &[3, 13], &[2, 3, 9], &[64]];
    let tensor = |(i, dims): (usize, &&[usize])| Tensor { name: format!("p{i}"), shape: Shape::fixed(dims) };
    dims.iter().enumerate().map(tensor).collect()
}

/// Everything in an arena that is no tensor's.
fn padding(tensors: &[Tensor], arena: &[f32]) -> Vec<f32> {
    let layout = Layout::new(tensors);
    let ones: Vec<Vec<f32>> = tensors.iter().map(|t| vec![1.0; t.shape.elements(1)]).collect();
    let tensor = layout.pack(tensors, &ones).unwrap();
    assert_eq!(tensor.len(), arena.len());
    arena.iter().zip(tensor).filter(|(_, tensor)| *tensor == 0.0).map(|(&v, _)| v).collect()
}

fn arenas(tensors: &[Tensor], value: f32) -> BTreeMap<Arena, Vec<f32>> {
    let values: Vec<Vec<f32>> = tensors.iter().map(|t| vec![value; t.shape.elements(1)]).collect();
    let packed = Layout::new(tensors).pack(tensors, &values).unwrap();
    [
        Set::FIRST.arena(Kept::Values),
        Set::FIRST.arena(Kept::Gradients),
        Set::FIRST.arena(Kept::First(0)),
        Set::FIRST.arena(Kept::Second(0)),
    ]
    .map(|arena| (arena, packed.clone()))
    .into()
}

#[test]
fn one_is_added_twice_and_a_product_reads_five_columns() {
    let (gpu, tensors) = (gpu(), tensors());
    let layout = Layout::new(&tensors);
    let mut g = Graph::new(tensors.clone(), vec![]);
    let p = g.arena(Set::FIRST.arena(Kept::Values));
    let new = g.map([p], |[p]| p + 1.0).unwrap();
    g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
    let evaluator = Evaluator::new(&gpu, &g, 1).unwrap();
    evaluator.params(&tensors.iter().map(|t| vec![-1.0; t.shape.elements(1)]).collect::<Vec<_>>()).unwrap();
    for _ in 0..2 {
        evaluator.run(State::once(1, 0)).unwrap();
    }
    let arena = evaluator.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), 1).unwrap();
    assert!(padding(&tensors, &arena).iter().all(|&v| v == 0.0));
    assert!(layout.unpack(&tensors, &arena).unwrap().iter().flatten().all(|&v| v == 1.0));
    let mut g = Graph::new(tensors, vec![]);
    let row = g.param(0).unwrap();
    let square = g.matmul(row, row, false, true).unwrap();
    g.sink(Sink::Output(0), square);
    let evaluator = Evaluator::new(&gpu, &g, 1).unwrap();
    evaluator.arena(Set::FIRST.arena(Kept::Values), &arena).unwrap();
    evaluator.run(State::once(1, 0)).unwrap();
    assert_eq!(evaluator.sink(Sink::Output(0), 1).unwrap(), [5.0], "1 times 1, five times");
}

/// Expressions that are not 0 for zeros, with what they give for a parameter and a gradient of 0.5 and a hyperparameter of 3.
#[test]
fn what_is_not_zero_of_itself_is_masked() {
    type Build = fn(Expr, Expr, Expr) -> Expr;
    let cases: [(&str, Build, Option<f64>); 10] = [
        ("a constant", |p, _, _| p + 1.0, Some(1.5)),
        ("a hyperparameter", |p, _, t| p + t, Some(3.5)),
        ("a function", |p, g, _| p.cos() * (g - 1.5), Some(-0.5f64.cos())),
        ("an exponential", |p, _, _| p.exp(), Some(0.5f64.exp())),
        ("a comparison", |p, g, _| p.select(Compare::Equal, &g, 7.0, 0.0), Some(7.0)),
        ("an unknown comparison", |p, _, t| t.select(Compare::Less, &2.0.into(), 4.0, 5.0) + p, Some(5.5)),
        ("rows", |p, _, _| p * 0.0 + Expr::rows(), Some(1.0)),
        ("a quotient of zeros", |p, g, _| p / g, Some(1.0)),
        ("a bound", |p, _, _| p.max(0.75), Some(0.75)),
        ("a draw", |p, _, _| p * 2.0 + Expr::random(Distribution::Normal, 2), None),
    ];
    let tensors = tensors();
    for (name, build, expected) in cases {
        let mut g = Graph::new(tensors.clone(), vec![]).with_scalars(Scalars::new(["t"]).unwrap());
        let [p, gradient] = [Kept::Values, Kept::Gradients].map(|kept| g.arena(Set::FIRST.arena(kept)));
        let t = g.scalar("t").unwrap();
        let new = g.map([p, gradient, t], |[p, d, t]| build(p, d, t)).unwrap();
        // A second update, made of the first, in the same kernel.
        let moment = g.map([new, p], |[n, p]| n - p).unwrap();
        g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), new);
        g.sink(Sink::Update(Set::FIRST.arena(Kept::First(0))), moment);
        let params = tensors.iter().map(|t| vec![0.5; t.shape.elements(1)]).collect();
        let env = Environment {
            rows: 1,
            params,
            arenas: arenas(&tensors, 0.5),
            table: vec![3.0, 0.0, 0.0, 0.0],
            seed: 6,
            ..Environment::default()
        };
        for optimise in [true, false] {
            let target = Target { optimise, ..Target::of(&gpu(), 1) };
            let recording = Recording::new(&g, target.clone()).unwrap();
            assert!(recording.dispatches.iter().any(|d| d.wgsl.contains("in_set_")), "{name}: no mask");
            let replayed = replay(&recording, &env).unwrap();
            for (sink, found, interpreted) in both(&gpu(), &g, target, &env) {
                for (who, arena) in [("GPU", &found), ("interpreter", &interpreted), ("plan", &replayed[&sink])] {
                    assert!(padding(&tensors, arena).iter().all(|&v| v == 0.0), "{name}, {sink:?}, {who}: padding");
                    let Some(mut expected) = expected else { continue };
                    if sink == Sink::Update(Set::FIRST.arena(Kept::First(0))) {
                        expected -= 0.5;
                    }
                    let values = Layout::new(&tensors).unpack(&tensors, arena).unwrap();
                    let wrong = values.iter().flatten().find(|&&v| (f64::from(v) - expected).abs() > 1e-5);
                    assert!(wrong.is_none(), "{name}, {sink:?}, {who}: {wrong:?} where {expected} is right");
                }
            }
        }
    }
}

#[test]
fn optimizers_pay_for_no_mask() {
    for (optimizer, clip) in OPTIMIZERS.into_iter().flat_map(|o| [(o, None), (o, Some(1.0))]) {
        let graph = optimizer.graph(&tensors(), clip).unwrap();
        for optimise in [true, false] {
            let recording = Recording::new(&graph, Target { optimise, ..Target::of(&gpu(), 1) }).unwrap();
            assert!(recording.dispatches.iter().all(|d| !d.wgsl.contains("in_set_")), "{optimizer:?}");
        }
    }
}
