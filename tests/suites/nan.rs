//! What is not a number stays so through everything that compares or chooses, on the GPU as in the interpreters, so that
//! a run that went bad is found. WGSL lets a compiler take every number for a finite one; kernels tell by bits.

use crate::common::{both, gpu, values};
use strait::graph::{Compare, Distribution, Expr, Graph, Over, Reduction, Shape, Sink};
use strait::internals::graph::Function;
use strait::internals::plan::{AdapterKind, Target};
use strait::internals::reference::evaluate;
use strait::reference::Environment;
use strait::{Activation, Error, Loss, Session, Spec, Training, data};

/// Of both signs, and one that signals.
const NANS: [u32; 3] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001];

/// A row with each NaN among numbers, its columns by four.
fn row() -> Vec<f32> {
    let mut row: Vec<f32> = vec![1.5, -2.0, 0.0, f32::INFINITY, f32::NEG_INFINITY];
    row.extend(NANS.map(f32::from_bits));
    row
}

/// Runs a map of the row, and of another value for each of its elements, on the GPU and in both interpreters; NaN is
/// expected where `expected` says so of the two.
fn check(what: &str, second: &[f32], map: impl Fn(Expr, Expr) -> Expr, expected: impl Fn(f32, f32) -> bool) {
    let mut g = Graph::new(vec![], vec![]);
    let (x, y) = (g.input(0, 8), g.input(1, 8));
    let z = g.map([x, y], |[x, y]| map(x, y)).unwrap();
    g.sink(Sink::Output(0), z);
    let inputs = vec![row(), second.to_vec()];
    let wide = inputs.iter().map(|v| v.iter().map(|&v| f64::from(v)).collect()).collect();
    let env = Environment { rows: 1, inputs, ..Environment::default() };
    let exact = &evaluate(&g, &Environment { rows: 1, inputs: wide, ..Environment::default() }).unwrap()[&z];
    let (_, found, interpreted) = both(&gpu(), &g, Target::of(&gpu(), 1), &env).remove(0);
    for i in 0..8 {
        let (x, y) = (env.inputs[0][i], env.inputs[1][i]);
        let wanted = expected(x, y);
        let all = [found[i].is_nan(), interpreted[i].is_nan(), exact[i].is_nan()];
        assert_eq!(all, [wanted; 3], "{what} of {x} and {y}: {}, {}, {}", found[i], interpreted[i], exact[i]);
    }
}

#[test]
fn every_function_and_activation() {
    let ones = [1.0; 8];
    let mut lost = Vec::new();
    for f in Function::ALL {
        // Of NaN alone: what is no number for infinity or below zero is no matter of this suite.
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 3);
        let y = g.map([x], |[x]| x.apply(f)).unwrap();
        g.sink(Sink::Output(0), y);
        let inputs = vec![NANS.map(f32::from_bits).to_vec()];
        let env = Environment { rows: 1, inputs, ..Environment::default() };
        let (_, found, interpreted) = both(&gpu(), &g, Target::of(&gpu(), 1), &env).remove(0);
        if !found.iter().chain(&interpreted).all(|v| v.is_nan()) {
            lost.push(format!("{f:?}: {found:?}, {interpreted:?}"));
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    // Products with infinity are no numbers in the others.
    for activation in Activation::ALL.into_iter().filter(|a| !matches!(a, Activation::Gelu | Activation::Silu)) {
        check(activation.name(), &ones, |x, y| activation.of(&(x * y)), |x, _| x.is_nan());
    }
}

#[test]
fn the_larger_the_smaller_and_choices() {
    let two = [0.5, f32::NAN, 3.0, 1.0, -f32::NAN, 2.0, -1.0, f32::INFINITY];
    let either = |x: f32, y: f32| x.is_nan() || y.is_nan();
    let first = |x: f32, _: f32| x.is_nan();
    check("max", &two, |x, y| x.max(y), either);
    check("min", &two, |x, y| x.min(y), either);
    check("max, swapped", &two, |x, y| y.max(x), either);
    check("min, swapped", &two, |x, y| y.min(x), either);
    check("max with 0", &two, |x, _| x.max(0.0), first);
    check("0 max", &two, |x, _| Expr::constant(0.0).max(x), first);
    check("clamp", &two, |x, _| x.max(-1.0).min(1.0), first);
    check("with itself", &two, |x, _| x.max(&x), first);
    for compare in Compare::ALL {
        check(&format!("{compare:?}"), &two, |x, y| x.select(compare, &y, 1.0, 2.0), either);
        check(&format!("{compare:?} 0"), &two, |x, _| x.select(compare, &0.0.into(), 1.0, 2.0), first);
        check(&format!("0 {compare:?}"), &two, |x, _| Expr::constant(0.0).select(compare, &x, 1.0, 2.0), first);
    }
    // What is not chosen does not count.
    let draw = || Expr::random(Distribution::Uniform, 1);
    let numbers = [0.0; 8];
    check("a draw chooses", &numbers, |x, _| draw().select(Compare::Less, &2.0.into(), 1.0, x), |_, _| false);
    check("a draw chooses it", &numbers, |x, _| draw().select(Compare::Less, &2.0.into(), x, 1.0), first);
    check(
        "slope of the absolute value",
        &two,
        |x, _| x.if_positive(1.0, x.select(Compare::Less, &0.0.into(), -1.0, 0.0)),
        first,
    );
}

/// One NaN anywhere among what is reduced, on both kinds of adapter, one thread to a result and many.
#[test]
fn reductions() {
    let gpu = gpu();
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        for (rows, blocks, columns) in [(3, 2, 9), (40, 2, 5), (2, 2, 130), (3000, 2, 1)] {
            for (op, over) in Reduction::ALL.into_iter().flat_map(|op| Over::ALL.map(|over| (op, over))) {
                let mut g = Graph::new(vec![], vec![]);
                let x = g.input(0, blocks * columns);
                let x = g.view(x, Shape::batched(&[blocks, columns])).unwrap();
                let r = g.reduce(op, over, x);
                g.sink(Sink::Output(0), r);
                let plain = values(4, rows * blocks * columns, (-1.0, 1.0));
                for at in [0, plain.len() / 2, plain.len() - 1] {
                    let mut input = plain.clone();
                    input[at] = f32::from_bits(NANS[at % 2]);
                    let env = Environment { rows, inputs: vec![input], ..Environment::default() };
                    let target = Target { kind, ..Target::of(&gpu, rows) };
                    let (_, found, interpreted) = both(&gpu, &g, target, &env).remove(0);
                    // The place of the result that the element goes into.
                    let (row, column) = (at / columns, at % columns);
                    let place = match over {
                        Over::Columns => row,
                        Over::Rows => column,
                        Over::Batch => row % blocks * columns + column,
                        Over::Blocks | Over::Inner => row / blocks * columns + column,
                        other => panic!("no place for {other:?}"),
                    };
                    for (i, (f, e)) in found.iter().zip(&interpreted).enumerate() {
                        let what =
                            format!("{kind:?} {op:?} {over:?} {rows}x{blocks}x{columns}, element {at}, result {i}");
                        assert_eq!([f.is_nan(), e.is_nan()], [i == place; 2], "{what}: {f} and {e}");
                    }
                }
            }
        }
    }
}

/// The largest of values that are all minus infinity, and sums that overflow, are infinite, not the largest number or NaN.
#[test]
fn infinities_stay_what_they_are() {
    let gpu = gpu();
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        for columns in [3, 9, 5000] {
            for (op, value, expected) in [
                (Reduction::Max, f32::NEG_INFINITY, f32::NEG_INFINITY),
                (Reduction::Max, -f32::MAX, -f32::MAX),
                (Reduction::Max, f32::INFINITY, f32::INFINITY),
                (Reduction::Sum, 3e38, f32::INFINITY),
                (Reduction::Sum, -3e38, f32::NEG_INFINITY),
                (Reduction::Sum, f32::INFINITY, f32::INFINITY),
            ] {
                let mut g = Graph::new(vec![], vec![]);
                let x = g.input(0, columns);
                for (i, over) in [Over::Columns, Over::Rows].into_iter().enumerate() {
                    let r = g.reduce(op, over, x);
                    g.sink(Sink::Output(i), r);
                }
                let env = Environment { rows: 4, inputs: vec![vec![value; 4 * columns]], ..Environment::default() };
                for (sink, found, _) in both(&gpu, &g, Target { kind, ..Target::of(&gpu, 4) }, &env) {
                    assert!(
                        found.iter().all(|&v| v == expected),
                        "{kind:?} {op:?} {sink:?} {columns} of {value}: {found:?}"
                    );
                }
            }
        }
    }
}

/// The largest number as a constant.
#[test]
fn the_largest_constants() {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 2);
    for (i, c) in [f64::from(f32::MAX), -f64::from(f32::MAX), 3.402_823_4e38].into_iter().enumerate() {
        let y = g.map([x], |[x]| x * c).unwrap();
        g.sink(Sink::Output(i), y);
    }
    let env = Environment { rows: 1, inputs: vec![vec![1.0, 0.5]], ..Environment::default() };
    for ((_, found, _), wanted) in
        both(&gpu(), &g, Target::of(&gpu(), 1), &env).into_iter().zip([f32::MAX, -f32::MAX, 3.402_823_4e38])
    {
        assert_eq!(found, [wanted, 0.5 * wanted]);
    }
}

/// Losses whose outputs are not numbers are none, whatever is chosen on the way.
#[test]
fn losses() {
    let gpu = gpu();
    for loss in Loss::ALL {
        let mut g = Graph::new(vec![], vec![]);
        let (z, x) = (g.input(0, 4), g.input(1, 4));
        let rows = loss.rows(&mut g, z, x).unwrap();
        g.sink(Sink::Output(0), rows);
        let mut outputs = vec![0.5; 12];
        outputs[6] = f32::from_bits(NANS[1]);
        let env =
            Environment { rows: 3, inputs: vec![outputs, [1.0, 0.0, 0.0, 1.0].repeat(3)], ..Environment::default() };
        let (_, found, interpreted) = both(&gpu, &g, Target::of(&gpu, 3), &env).remove(0);
        let nan = |v: &[f32]| v.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
        assert_eq!([nan(&found), nan(&interpreted)], [[false, true, false]; 2], "{}: {found:?}", loss.name());
    }
}

/// Infinity less infinity before a layer's activation: the step is found to be bad, and the codes are not 0.
#[test]
fn a_layer_of_nan_ends_the_run() {
    for activation in [Activation::Relu, Activation::LeakyRelu, Activation::Elu, Activation::Selu] {
        let spec = Spec::symmetric(&[2, 3], activation).code_activation(activation);
        let mut session = Session::new(&gpu(), &spec, Training { batch: 2, ..Training::default() }).unwrap();
        let mut params = session.parameters().unwrap();
        // Weights [2, 3]: the rows' products are infinite, of opposite signs.
        params[0] = [[1e38f32; 3], [-1e38; 3]].concat();
        session.set_parameters(&params).unwrap();
        let rows = data::Data::from_rows(2, vec![1e5; 8]).unwrap();
        match session.fit(rows) {
            Err(Error::Diverged { step, .. }) => assert_eq!(step, 0, "{activation:?}"),
            other => panic!("{activation:?}: {other:?}"),
        }
        assert_eq!(session.parameters().unwrap(), params, "{activation:?}");
    }
}
