//! Plans on wgpu's NOOP backend: shaders do not run, but everything is validated, at WebGPU's default limits and with
//! no feature.

use std::collections::BTreeMap;

use strait::Error;
use strait::gpu::Gpu;
use strait::graph::{Distribution, Expr, Graph, Kept, NodeId, Set, Shape, Sink, Tensor};
use strait::internals::evaluator::Evaluator;
use strait::internals::gpu::{Program, Work};
use strait::internals::graph::Scalars;
use strait::internals::plan::{AdapterKind, Limits, Recording, Role, Target};
use strait::internals::state::State;

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
    let mut update = Graph::new(params, vec![]).with_scalars(Scalars::new(["rate"]).unwrap());
    let [p, d] = [Set::FIRST.arena(Kept::Values), Set::FIRST.arena(Kept::Gradients)].map(|a| update.arena(a));
    let rate = update.scalar("rate").unwrap();
    let p = update.map([p, d, rate], |[p, d, r]| p - r * d).unwrap();
    update.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), p);
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
                    let recording = Recording::new(&graph, target.clone()).expect("a plan");
                    let program = Program::new(&gpu, &recording, &state, &shared).expect("a program");
                    for (role, _) in recording.buffers.iter().filter(|(r, _)| matches!(r, Role::Arena(_) | Role::Terms))
                    {
                        shared.insert(*role, program.buffer(*role).unwrap().clone());
                    }
                    programs.push(program);
                }
                let ring = gpu.buffer("ring", 1024 * 32).unwrap();
                programs.push(
                    Program::finish(&gpu, &state, &shared[&Role::Terms], &ring, &shared[&Role::Flags], 1, true)
                        .unwrap(),
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

/// A batch that does not lie within the resident rows is refused before it runs: a shuffled one would run for ever.
#[test]
fn batches_outside_the_resident_rows_are_refused() {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let gpu = Gpu::adopt(device, queue);
    for gathers in [true, false] {
        let mut g = Graph::new(vec![], vec![]);
        let x = if gathers { g.gather(4, true) } else { g.input(0, 4) };
        g.sink(Sink::Output(0), x);
        let evaluator = Evaluator::with_target(&gpu, &g, Target { data_rows: 20, ..Target::of(&gpu, 8) }).unwrap();
        let at = |first_row, rows, count| State { first_row, count, ..State::once(rows, 0) };
        let outside = [at(0, 8, 0), at(0, 8, 7), at(13, 8, 20), at(u32::MAX, 8, 20), at(0, 8, 21), at(20, 1, 20)];
        for state in outside {
            let ran = evaluator.run(state);
            assert_eq!(matches!(ran, Err(Error::Spec { .. })), gathers, "{state:?}: {ran:?}");
        }
        for state in [at(0, 8, 8), at(12, 8, 20), at(19, 1, 20)] {
            evaluator.run(state).expect("a batch within the data");
        }
        for rows in [0, 9] {
            let ran = evaluator.run(at(0, rows, 20));
            assert!(matches!(ran, Err(Error::Spec { .. })), "{rows} rows: {ran:?}");
        }
    }
}

/// A host may share a device that binds fewer buffers than every WebGPU implementation offers.
#[test]
fn a_device_with_few_bindings_is_refused_by_name() {
    let required_limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 3, ..wgpu::Limits::default() };
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor { required_limits, ..Default::default() });
    let gpu = Gpu::adopt(device, queue);
    let [state, terms, ring, flags] = ["state", "terms", "ring", "flags"].map(|l| gpu.buffer(l, 64).unwrap());
    let refused = Program::finish(&gpu, &state, &terms, &ring, &flags, 1, true);
    assert!(matches!(refused, Err(Error::Limit { needs: 4, allowed: 3, .. })), "{refused:?}");
}

/// A host that tries models of many shapes does not fill its memory with their kernels: those go that nobody uses, and those stay
/// that somebody does.
#[test]
fn kernels_that_nobody_uses_go() {
    let (device, queue) = strait::wgpu::Device::noop(&strait::wgpu::DeviceDescriptor::default());
    let gpu = Gpu::adopt(device, queue);
    let with = |number: u32| {
        let mut g = Graph::new(vec![], vec![]);
        let x = g.input(0, 4);
        let y = g.map([x], |[x]| x + f64::from(number)).unwrap();
        g.sink(Sink::Output(0), y);
        Evaluator::new(&gpu, &g, 4).unwrap()
    };
    let kept = with(0);
    let before = gpu.kernels();
    assert!(before > 0);
    drop(with(1));
    assert_eq!(gpu.kernels(), before + 1, "a few are kept, used or not");
    let most = (2..1200).map(|number| {
        drop(with(number));
        gpu.kernels()
    });
    let most = most.max().unwrap();
    assert!(most > before + 1 && most <= 512, "{most} kernels");
    let now = gpu.kernels();
    drop(with(0));
    assert_eq!(gpu.kernels(), now, "what is used was not forgotten");
    drop(kept);
}
