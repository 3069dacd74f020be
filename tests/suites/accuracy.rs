//! Numbers at the ends of f32: sums of squares that would overflow, costs so near 0 that their terms cancel, and draws of
//! a class where several come out equal.

use crate::common::{both, gpu, values};
use strait::graph::{Graph, Kept, Over, Set, Shape, Sink, Tensor};
use strait::internals::graph::Layout;
use strait::internals::model::Network;
use strait::internals::plan::Target;
use strait::internals::reference::evaluate;
use strait::model::Purpose;
use strait::reference::Environment;
use strait::{Activation, Loss, Optimizer, Penalty, Spec};

/// Clips gradients on the GPU and in the interpreter by a step of plain descent with learning rate 1 from 0, and returns
/// what both subtract.
fn clipped(gradients: &[f32], limit: f64) -> [Vec<f32>; 2] {
    let tensors = vec![Tensor { name: "p".into(), shape: Shape::fixed(&[gradients.len()]) }];
    let layout = Layout::new(&tensors);
    let graph = Optimizer::SGD.graph(&tensors, Some(limit)).unwrap();
    let pack = |values: Vec<f32>| layout.pack(&tensors, &[values]).unwrap();
    let arenas = [
        (Set::FIRST.arena(Kept::Values), pack(vec![0.0; gradients.len()])),
        (Set::FIRST.arena(Kept::Gradients), pack(gradients.to_vec())),
    ];
    let params = vec![vec![0.0; gradients.len()]];
    let table = vec![1.0, 0.0, 0.0, 0.0];
    let env = Environment { rows: 1, params, arenas: arenas.into(), table, ..Environment::default() };
    let (_, found, interpreted) = both(&gpu(), &graph, Target::of(&gpu(), 1), &env).remove(0);
    [found, interpreted].map(|new| layout.unpack(&tensors, &new).unwrap().remove(0).iter().map(|v| -v).collect())
}

#[test]
fn clipping_neither_overflows_nor_loses_small_gradients() {
    let random = |count| values(3, count, (-1.0, 1.0));
    for (count, size) in
        [(2048, 1e18), (5, 1.8e19), (3000, 1.8e19), (100_000, 1e19), (2048, 3.0), (100_000, 1e-4), (7, 1e-9)]
    {
        for limit in [1.0, 1e-3, 250.0, 1e-6] {
            let mut gradients: Vec<f32> = random(count).iter().map(|v| v * size).collect();
            gradients[0] = size;
            let norm = gradients.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
            let scale = (limit / (norm + 1e-6)).min(1.0);
            for (found, who) in clipped(&gradients, limit).iter().zip(["GPU", "interpreter"]) {
                for (&found, &g) in found.iter().zip(&gradients) {
                    let expected = f64::from(g) * scale;
                    let error = (f64::from(found) - expected).abs();
                    assert!(
                        error <= 2e-5 * expected.abs() + 1e-37,
                        "{count} gradients up to {size}, limit {limit}, {who}: {found:e} where {expected:e} is right"
                    );
                }
            }
        }
    }
}

/// Kullback-Leibler of two coins in f64, where q is so far from ρ that nothing cancels; near ρ by the first terms of its
/// series in d = q − ρ: Σ over n of (−d)^n/n (1/ρ^(n−1) + (−1)^n/(1 − ρ)^(n−1)).
fn divergence(q: f64, rho: f64) -> f64 {
    let d = q - rho;
    if d.abs() > 0.02 * rho.min(1.0 - rho) {
        return rho * (rho / q).ln() + (1.0 - rho) * ((1.0 - rho) / (1.0 - q)).ln();
    }
    let term = |n: i32| (-d).powi(n) / f64::from(n) * (rho.powi(1 - n) + (-1f64).powi(n) * (1.0 - rho).powi(1 - n));
    (2..12).map(term).sum()
}

#[test]
fn the_cost_of_a_mean_activity_is_accurate_near_its_optimum() {
    for rho in [0.2, 0.05, 0.5, 0.9, 0.001] {
        let penalty = Penalty::KlSparsity { weight: 1.0, rho, layer: None };
        let offsets = [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.2, 0.3, 0.34, 0.35, 0.36, 0.5, 0.8, 0.99];
        let signed = offsets.iter().flat_map(|&d| [d, -d]);
        let mut means: Vec<f32> = signed.map(|d| (rho * (1.0 + d)) as f32).filter(|&q| q < 0.999).collect();
        means.extend(signed_towards_one(rho));
        let mut g = Graph::new(vec![], vec![]);
        let q = g.input(0, means.len());
        let each = g.map([q], |[q]| penalty.of_mean(&q).unwrap()).unwrap();
        let sum = g.sum(Over::Columns, each);
        let ones = g.fill(1.0, Shape::batched(&[1]));
        let slope = g.vjp(sum, ones, &[q]).unwrap()[0];
        g.sink(Sink::Output(0), each);
        g.sink(Sink::Output(1), slope);
        let env = Environment { rows: 1, inputs: vec![means.clone()], ..Environment::default() };
        // ρ is a number of f32 in a kernel.
        let narrow = f64::from(rho as f32);
        for (sink, found, interpreted) in both(&gpu(), &g, Target::of(&gpu(), 1), &env) {
            for (who, found) in [("GPU", found), ("interpreter", interpreted)] {
                for (&q, found) in means.iter().zip(found) {
                    let (q, found) = (f64::from(q), f64::from(found));
                    let expected = match sink {
                        Sink::Output(0) => divergence(q, narrow),
                        _ => (q - narrow) / (q * (1.0 - q)),
                    };
                    assert!(sink != Sink::Output(0) || found >= 0.0, "ρ {rho}, q {q}, {who}: {found:e} is negative");
                    assert!(
                        (found - expected).abs() <= 2e-5 * expected.abs() + 1e-14,
                        "ρ {rho}, q {q}, {sink:?}, {who}: {found:e} where {expected:e} is right"
                    );
                }
            }
        }
        let wide = Environment { rows: 1, inputs: vec![vec![rho; means.len()]], ..Environment::default() };
        let found = evaluate(&g, &wide).unwrap();
        assert!(found[&each].iter().all(|&v: &f64| (0.0..1e-30).contains(&v)), "{:?}", found[&each]);
    }
}

/// Means between ρ and 1.
fn signed_towards_one(rho: f64) -> Vec<f32> {
    [0.3, 0.34, 0.36, 0.7, 0.99].iter().map(|part| (rho + part * (1.0 - rho)) as f32).collect()
}

/// A unit that is always on or always off has a large cost, and a finite one.
#[test]
fn a_saturated_unit_costs_much_but_not_without_end() {
    let penalty = Penalty::KlSparsity { weight: 1.0, rho: 0.2, layer: None };
    let mut g = Graph::new(vec![], vec![]);
    let q = g.input(0, 2);
    let each = g.map([q], |[q]| penalty.of_mean(&q).unwrap()).unwrap();
    g.sink(Sink::Output(0), each);
    let env = Environment { rows: 1, inputs: vec![vec![0.0, 1.0]], ..Environment::default() };
    for (_, found, interpreted) in both(&gpu(), &g, Target::of(&gpu(), 1), &env) {
        for v in found.iter().chain(&interpreted) {
            assert!(v.is_finite() && *v > 10.0, "{v}");
        }
    }
}

/// A draw of the model for each of 64 rows whose decoder gives what `bias` says, from the GPU and the interpreter.
fn drawn(spec: &Spec, bias: impl Fn(&str) -> f32) -> [Vec<f32>; 2] {
    let network = Network::new(spec).unwrap();
    let graph = network.graph(Purpose::Resample, false).unwrap();
    let value = |t: &Tensor| vec![bias(&t.name); t.shape.elements(1)];
    let params = network.params().iter().map(value).collect();
    let inputs = vec![vec![0.0; 64 * spec.input]];
    let env = Environment { rows: 64, inputs, params, seed: 4, ..Environment::default() };
    let (_, found, interpreted) = both(&gpu(), &graph, Target::of(&gpu(), 64), &env).remove(0);
    [found, interpreted]
}

/// Beside large logits the noise is rounded so coarsely that classes come out equal in nearly every draw, or always.
#[test]
fn a_draw_of_a_class_is_one_class() {
    for classes in [2, 5, 64, 1024] {
        let spec = Spec::symmetric(&[3 * classes, 2], Activation::Identity).loss(Loss::Softmax { classes });
        for (logit, always_first) in [(0.0, false), (1e6, false), (1e9, true)] {
            for (draws, who) in drawn(&spec, |name| if name == "decoder.0.bias" { logit } else { 0.0 })
                .iter()
                .zip(["GPU", "interpreter"])
            {
                for draw in draws.chunks(classes) {
                    let ones: Vec<usize> = (0..classes).filter(|&i| draw[i] == 1.0).collect();
                    assert!(draw.iter().all(|&v| v == 0.0 || v == 1.0), "{who}: {draw:?}");
                    assert_eq!(ones.len(), 1, "{who}: {classes} classes with logits {logit}: {ones:?} are drawn");
                    assert!(!always_first || ones == [0], "{who}: {classes} equal classes, and {ones:?} is drawn");
                }
            }
        }
    }
    // Of a mixture whose components have mean 1, a draw of two would be about 2.
    let mixture = Spec::symmetric(&[4, 2], Activation::Identity).loss(Loss::Mixture { components: 33 });
    for logit in [0.0, 1e6, 1e9] {
        let bias = |name: &str| match name {
            "mixture.logits.bias" => logit,
            "mixture.log_sigma.bias" => -7.0,
            "decoder.0.bias" => 1.0,
            _ => 0.0,
        };
        for v in drawn(&mixture, bias).into_iter().flatten() {
            assert!((v - 1.0).abs() < 0.01, "a draw of {v} where all components are 1, logits {logit}");
        }
    }
}
