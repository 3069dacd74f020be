//! Plans on wgpu's NOOP backend: shaders do not run, but everything is validated, at WebGPU's default limits and with
//! no feature.

use std::collections::BTreeMap;

use strait::gpu::{Gpu, Program, Work};
use strait::graph::{Arena, Distribution, Expr, Graph, NodeId, Shape, Sink, Tensor};
use strait::plan::{AdapterKind, Limits, Recording, Role, Target};

/// Two dense layers on a noisy input with their gradients, and the update of their parameters.
fn autoencoder() -> [Graph; 2] {
    let shapes: [&[usize]; 4] = [&[7, 5], &[5], &[5, 7], &[7]];
    let names = ["w0", "b0", "w1", "b1"];
    let tensor = |(name, dims): (&&str, &&[usize])| Tensor { name: name.to_string(), shape: Shape::fixed(dims) };
    let params: Vec<Tensor> = names.iter().zip(&shapes).map(tensor).collect();
    let mut g = Graph::new(params.clone(), vec![]);
    let x = g.gather(7, true);
    let p: Vec<NodeId> = (0..4).map(|i| g.param(i).unwrap()).collect();
    let mut h = g.map([x], |[x]| x + 0.1 * Expr::random(Distribution::Normal, 0)).unwrap();
    for layer in p.chunks(2) {
        let product = g.matmul(h, layer[0], false, false).unwrap();
        h = g.map([product, layer[1]], |[z, b]| (z + b).tanh()).unwrap();
    }
    let error = g.map([h, x], |[y, x]| (y - x).square()).unwrap();
    let loss = g.batch_mean(error).unwrap();
    let gradients = g.gradient(loss, &p).unwrap();
    g.term("loss", loss);
    gradients.into_iter().enumerate().for_each(|(i, d)| g.sink(Sink::Gradient(i), d));
    let mut update = Graph::new(params, vec![]);
    let [p, d] = [Arena::Params, Arena::Grads].map(|a| update.arena(a));
    let rate = update.table(0);
    let p = update.map([p, d, rate], |[p, d, r]| p - r * d).unwrap();
    update.sink(Sink::Update(Arena::Params), p);
    [g, update]
}

#[test]
fn plans_are_valid_at_default_limits_and_without_features() {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    assert_eq!(device.features(), wgpu::Features::empty());
    let gpu = Gpu::adopt(device, queue);
    assert_eq!(gpu.limits(), Limits::DEFAULT);
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        for rows in [1, 100, 20_000] {
            for optimise in [true, false] {
                let target = Target { kind, rows, data_rows: 1797, optimise, ..Target::of(&gpu, rows) };
                let state = gpu.buffer("state", 64).unwrap();
                let mut shared = BTreeMap::from([(Role::Flags, gpu.buffer("flags", 16).unwrap())]);
                let mut programs = Vec::new();
                for graph in autoencoder() {
                    let recording = Recording::new(&graph, target).expect("a plan");
                    let program = Program::new(&gpu, &recording, &state, &shared).expect("a program");
                    for (role, _) in recording.buffers.iter().filter(|(r, _)| matches!(r, Role::Arena(_) | Role::Terms))
                    {
                        shared.insert(*role, program.buffer(*role).unwrap().clone());
                    }
                    programs.push(program);
                }
                let ring = gpu.buffer("ring", 1024 * 32).unwrap();
                programs.push(
                    Program::finish(&gpu, &state, &shared[&Role::Terms], &ring, &shared[&Role::Flags], 1).unwrap(),
                );
                gpu.submit(programs.iter().map(Work::Run)).expect("a submission");
                gpu.wait().expect("no error");
            }
        }
    }
}

/// The proof above rests on this backend's complaints reaching us.
#[test]
fn the_backend_does_validate() {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let gpu = Gpu::adopt(device, queue);
    let [graph, _] = autoencoder();
    let mut recording = Recording::new(&graph, Target::of(&gpu, 3)).unwrap();
    let state = gpu.buffer("state", 64).unwrap();
    recording.dispatches[0].bindings[0].offset += 4;
    let misplaced = Program::new(&gpu, &recording, &state, &BTreeMap::new());
    assert!(misplaced.is_err(), "an offset that is not aligned was accepted");
}
