//! Scalar functions against values computed elsewhere with 700 digits (see fixtures/README.md): the f64 reference, and
//! the WGSL on the GPU.

use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::graph::Function;
use strait::internals::state::State;

/// The points and values of a function; `None` for the absolute value, which has nothing to get wrong but its sign.
fn golden(f: Function) -> Option<Vec<(f64, f64)>> {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../fixtures/golden.json")).unwrap();
    let name = format!("{f:?}").to_lowercase();
    let table = ["functions", "activations"].iter().find_map(|section| golden[section].get(&name))?;
    let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(table[key].clone()).unwrap() };
    Some(numbers("x").into_iter().zip(numbers("value")).collect())
}

#[test]
fn every_function_has_golden_values() {
    for f in Function::ALL {
        assert_eq!(golden(f).is_some(), f != Function::Abs, "{f:?}");
    }
}

#[test]
fn the_reference() {
    for f in Function::ALL {
        for (x, expected) in golden(f).unwrap_or_default() {
            let found = f.eval(x);
            assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{f:?}({x}) = {found}, golden {expected}");
        }
    }
    assert_eq!([-2.5, -0.0, 0.0, 2.5].map(|x: f64| Function::Abs.eval(x)), [2.5, 0.0, 0.0, 2.5]);
}

/// How far from the true value a result in f32 may be.
fn bound(f: Function, x: f64, value: f64) -> f64 {
    const ULP: f64 = 1.2e-7;
    match f {
        Function::Abs => 0.0,
        // What WGSL itself promises for exp, the constant taken twice for what is computed around it.
        Function::Exp | Function::Expm1 | Function::Sigmoid | Function::Softplus => {
            (6.0 + 2.0 * x.abs()) * ULP * value.abs()
        }
        Function::Log | Function::Log1p | Function::Sqrt | Function::Tanh => 10.0 * ULP * value.abs(),
        // Series of sums and products, which WGSL promises to round rightly; of a large angle an f32 says little.
        Function::Sin | Function::Cos => 2.0 * ULP,
    }
}

#[test]
fn the_gpu() {
    let gpu = crate::common::gpu();
    for f in Function::ALL {
        let absolutes = || [-2.5, -0.0, 0.0, 2.5].map(|x: f64| (x, if x < 0.0 { -x } else { x })).to_vec();
        let points = golden(f).unwrap_or_else(absolutes);
        assert!(points.len() >= 4, "{f:?}");
        let mut graph = Graph::new(vec![], vec![]);
        let x = graph.input(0, points.len());
        let y = graph.map([x], |[x]| x.apply(f)).unwrap();
        graph.sink(Sink::Output(0), y);
        let evaluator = Evaluator::new(&gpu, &graph, 1).unwrap();
        evaluator.input(0, &points.iter().map(|p| p.0 as f32).collect::<Vec<_>>()).unwrap();
        evaluator.run(State::once(1, 0)).unwrap();
        let found = evaluator.sink(Sink::Output(0), 1).unwrap();
        for ((x, expected), found) in points.into_iter().zip(found) {
            // A GPU may flush numbers below the normal range to zero.
            let allowed = bound(f, x, expected).max(f64::from(f32::MIN_POSITIVE));
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= allowed,
                "{f:?}({x}) = {found}, golden {expected}, {error:e} off where {allowed:e} may be"
            );
        }
    }
}
