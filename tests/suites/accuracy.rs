//! Numbers at the ends of f32: sums of squares that would overflow, costs so near 0 that their terms cancel, and draws of
//! a class where several come out equal.

use crate::common::{both, gpu, values};
use strait::graph::{Arena, Graph, Layout, Shape, Sink, Tensor};
use strait::plan::Target;
use strait::reference::Environment;
use strait::Optimizer;

/// Clips gradients on the GPU and in the interpreter by a step of plain descent with learning rate 1 from 0, and returns
/// what both subtract.
fn clipped(gradients: &[f32], limit: f64) -> [Vec<f32>; 2] {
    let tensors = vec![Tensor { name: "p".into(), shape: Shape::fixed(&[gradients.len()]) }];
    let layout = Layout::new(&tensors);
    let graph = Optimizer::SGD.graph(&tensors, Some(limit)).unwrap();
    let pack = |values: Vec<f32>| layout.pack(&tensors, &[values]).unwrap();
    let arenas = [(Arena::Params, pack(vec![0.0; gradients.len()])), (Arena::Grads, pack(gradients.to_vec()))];
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
