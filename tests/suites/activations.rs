//! Activations, losses and initial weights against values from outside (see fixtures/README.md), through the graph: in
//! the f64 interpreter with second derivatives, and on the GPU.

use serde_json::Value;
use strait::graph::{Graph, NodeId, Shape, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::model::Network;
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::reference::Environment;
use strait::{Activation, Init, Loss, Spec};

/// The golden table of an activation or a loss.
fn golden(section: &str, name: &str) -> Value {
    let golden: Value = serde_json::from_str(include_str!("../fixtures/golden.json")).unwrap();
    let table = golden[section].get(name);
    table.unwrap_or_else(|| panic!("{section}.{name}: add golden values from outside to fixtures/golden.json")).clone()
}

/// The numbers under a key, row-major.
fn numbers(table: &Value, key: &str) -> Vec<f64> {
    fn flatten(value: &Value, out: &mut Vec<f64>) {
        match value {
            Value::Array(parts) => parts.iter().for_each(|part| flatten(part, out)),
            number => out.push(number.as_f64().unwrap()),
        }
    }
    let mut out = Vec::new();
    flatten(&table[key], &mut out);
    assert!(!out.is_empty(), "{key}");
    out
}

/// Asserts that every number is within `tolerance` of the expected one, relative where that is above 1.
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let allowed = tolerance * expected.abs().max(1.0);
        assert!((found - expected).abs() <= allowed, "{what}[{i}]: {found}, golden {expected}");
    }
}

/// A graph whose outputs are an activation of `count` points, its derivative and its second derivative.
fn derivatives(activation: Activation, count: usize) -> Graph {
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, count);
    let mut y = g.map([x], |[x]| activation.of(&x)).unwrap();
    for i in 0..3 {
        g.sink(Sink::Output(i), y);
        let one = g.fill(1.0, Shape::batched(&[count]));
        // Not the gradient of a sum: each point's derivative depends on that point alone.
        y = g.vjp(y, one, &[x]).unwrap()[0];
    }
    g
}

fn interpreted(g: &Graph, inputs: Vec<Vec<f64>>, rows: usize) -> Vec<Vec<f64>> {
    let env = Environment { rows, inputs, ..Environment::default() };
    let values = evaluate(g, &env).unwrap();
    g.sinks().iter().map(|(_, id)| values[id].clone()).collect()
}

fn on_the_gpu(g: &Graph, inputs: &[Vec<f64>], rows: usize) -> Vec<Vec<f64>> {
    let evaluator = Evaluator::new(&crate::common::gpu(), g, rows).unwrap();
    for (i, input) in inputs.iter().enumerate() {
        evaluator.input(i, &input.iter().map(|&v| v as f32).collect::<Vec<_>>()).unwrap();
    }
    evaluator.run(State::once(rows, 0)).unwrap();
    let read = |sink: Sink| evaluator.sink(sink, rows).unwrap().into_iter().map(f64::from).collect();
    g.sinks().iter().map(|&(sink, _)| read(sink)).collect()
}

#[test]
fn every_activation_with_two_derivatives() {
    for activation in Activation::ALL {
        let table = golden("activations", activation.name());
        let x = numbers(&table, "x");
        let g = derivatives(activation, x.len());
        let exact = interpreted(&g, vec![x.clone()], 1);
        let gpu = on_the_gpu(&g, &[x], 1);
        for (i, key) in ["value", "first", "second"].iter().enumerate() {
            let (what, expected) = (format!("{activation:?} {key}"), numbers(&table, key));
            assert_close(&what, &exact[i], &expected, 1e-12);
            // In f32 derivatives lose digits where differences from 1 are multiplied by x and its powers.
            let tolerance = [1e-6, 4e-6, 1e-4][i];
            assert_close(&format!("{what} on the GPU"), &gpu[i], &expected, tolerance);
        }
    }
}

/// Where the derivative is given through the output, it is the derivative all the same: between the golden points too.
#[test]
fn every_slope_is_the_derivative_of_its_value() {
    const H: f64 = 1e-5;
    let points = crate::common::values(1, 200, (-6.0, 6.0)).into_iter().map(f64::from).filter(|x| x.abs() > 2.0 * H);
    let x: Vec<f64> = points.collect();
    for activation in Activation::ALL {
        let g = derivatives(activation, x.len());
        let at = |shift: f64| interpreted(&g, vec![x.iter().map(|x| x + shift).collect()], 1);
        let (below, here, above) = (at(-H), at(0.0), at(H));
        for (i, what) in ["first", "second"].iter().enumerate() {
            let steep: Vec<f64> = above[i].iter().zip(&below[i]).map(|(a, b)| (a - b) / (2.0 * H)).collect();
            assert_close(&format!("{activation:?} {what}"), &here[i + 1], &steep, 1e-9);
        }
    }
}

#[test]
fn every_range_holds_all_values_and_no_more() {
    for activation in Activation::ALL {
        let values = numbers(&golden("activations", activation.name()), "value");
        let (low, high) = activation.range();
        // The last bit of a bound may be rounded.
        assert!(values.iter().all(|v| (low - 1e-12..=high + 1e-12).contains(v)), "{activation:?}");
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), &v| (l.min(v), m.max(v)));
        // The golden points reach out to -100 and 100, and come near enough to the minimum of GELU and SiLU.
        for (bound, reached) in [(low, least), (high, most)] {
            assert!(
                if bound.is_finite() { (reached - bound).abs() < 2e-2 } else { reached.abs() >= 1.0 },
                "{activation:?}"
            );
        }
    }
}

#[test]
fn names_are_those_of_a_spec() {
    for activation in Activation::ALL {
        assert_eq!(serde_json::to_value(activation).unwrap(), activation.name());
    }
    for loss in Loss::ALL {
        let written = serde_json::to_value(&loss).unwrap();
        // What has parameters is an object with the name as its key.
        assert!(written == loss.name() || written.get(loss.name()).is_some(), "{written}");
    }
}

#[test]
fn every_loss_with_its_gradient() {
    const ROWS: usize = 5;
    for loss in Loss::ALL {
        let table = golden("losses", loss.name());
        let (z, x) = (numbers(&table, "z"), numbers(&table, "x"));
        let columns = z.len() / ROWS;
        let mut g = Graph::new(vec![], vec![]);
        let [output, target] = [0, 1].map(|i| g.input(i, columns));
        let rows = loss.rows(&mut g, output, target).unwrap();
        let value = g.batch_mean(rows).unwrap();
        let gradient = g.gradient(value, &[output]).unwrap()[0];
        let value: NodeId = g.view(value, Shape::fixed(&[1])).unwrap();
        for (i, id) in [rows, value, gradient].into_iter().enumerate() {
            g.sink(Sink::Output(i), id);
        }
        let exact = interpreted(&g, vec![z.clone(), x.clone()], ROWS);
        let gpu = on_the_gpu(&g, &[z, x], ROWS);
        for (i, key) in ["rows", "value", "gradient"].iter().enumerate() {
            let (what, expected) = (format!("{loss:?} {key}"), numbers(&table, key));
            assert_close(&what, &exact[i], &expected, 1e-12);
            assert_close(&format!("{what} on the GPU"), &gpu[i], &expected, 1e-6);
        }
    }
}

#[test]
fn weights_start_with_the_variance_that_their_paper_gives() {
    let (fan_in, fan_out) = (300, 200);
    let count = (fan_in * fan_out) as f64;
    for init in Init::ALL {
        let variance = match init {
            Init::He => 2.0 / 300.0,
            Init::Glorot => 2.0 / 500.0,
            Init::Lecun => 1.0 / 300.0,
            other => panic!("no formula for {other:?}"),
        };
        let weights: Vec<f64> = init.weights(fan_in, fan_out, 0, 1).into_iter().map(f64::from).collect();
        let mean = weights.iter().sum::<f64>() / count;
        let found = weights.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / count;
        let inside = weights.iter().filter(|w| w.powi(2) < variance).count() as f64 / count;
        // Four standard errors: of the mean, of the variance, and of the share within one standard deviation.
        assert!(mean.abs() < 4.0 * (variance / count).sqrt(), "{init:?}: mean {mean}");
        assert!((found / variance - 1.0).abs() < 4.0 * (2.0 / count).sqrt(), "{init:?}: variance {found}");
        assert!((inside - 0.682_689).abs() < 4.0 * (0.682_689 * 0.317_311 / count).sqrt(), "{init:?}: {inside} inside");
    }
}

#[test]
fn initial_tensors_differ_by_seed_and_place_and_biases_are_zero() {
    let spec = Spec::symmetric(&[6, 6, 6], Activation::Tanh).init(Init::Lecun);
    let network = Network::new(&spec).unwrap();
    let (one, again, other) = (network.initial(1), network.initial(1), network.initial(1 << 40 | 1));
    assert_eq!(one, again);
    for (i, tensor) in network.params().iter().enumerate() {
        if tensor.name.ends_with("bias") {
            assert!(one[i].iter().all(|&b| b == 0.0), "{}", tensor.name);
        } else {
            assert_ne!(one[i], other[i], "{}: the high word of the seed counts too", tensor.name);
            assert!(one.iter().enumerate().all(|(j, values)| i == j || *values != one[i]), "{}", tensor.name);
        }
    }
}
