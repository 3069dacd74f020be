//! What several suites share: a device at WebGPU's default limits, made inputs, and the comparison of two results.
#![allow(dead_code, reason = "every suite uses a part of it")]

#[path = "../../examples/common/pending.rs"]
mod pending;

#[allow(unused_imports, reason = "every suite uses a part of it")]
pub use pending::until_pending;

use std::sync::OnceLock;

use strait::Draw;
use strait::gpu::{Gpu, GpuOptions};
use strait::graph::{Graph, Sink};
use strait::internals::evaluator::Evaluator;
use strait::internals::plan::Target;
use strait::internals::reference::evaluate;
use strait::internals::state::State;
use strait::reference::Environment;
use strait::{Progress, Session, wgpu};

/// The suite's device, at WebGPU's default limits: one for all its tests, so that each kernel is compiled once.
/// Without an adapter the suite fails.
pub fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(own_gpu).clone()
}

/// A device of the test's own, for tests that lose it or count what lies on it.
pub fn own_gpu() -> Gpu {
    Gpu::with(&GpuOptions { default_limits: true, ..GpuOptions::default() }).expect("an adapter")
}

/// Waits for the report of the oldest submit. Where another test's thread has been told of its arrival, it may take a moment
/// longer than the device.
pub fn report(session: &mut Session) -> Progress {
    loop {
        session.gpu().wait().expect("a device");
        if let Some(progress) = session.progress().expect("a report") {
            return progress;
        }
        std::thread::yield_now();
    }
}

/// `count` values drawn uniformly from an interval, the same ones for the same stream.
pub fn values(stream: u32, count: usize, (low, high): (f64, f64)) -> Vec<f32> {
    let draw = Draw { seed: 7, stream, step: 0 };
    (0..count).map(|i| (low + (high - low) * draw.uniform(i / 4, i % 4)) as f32).collect()
}

/// Runs a graph on the GPU and in the f32 interpreter, on the same made inputs, and returns each sink's values from
/// both, the GPU's first.
pub fn both(gpu: &Gpu, graph: &Graph, target: Target, env: &Environment<f32>) -> Vec<(Sink, Vec<f32>, Vec<f32>)> {
    let evaluator = Evaluator::with_target(gpu, graph, target).expect("a plan");
    for (i, input) in env.inputs.iter().enumerate() {
        evaluator.input(i, input).expect("an input");
    }
    if !env.data.is_empty() {
        evaluator.data(&env.data).expect("the data");
    }
    evaluator.params(&env.params).expect("the parameters");
    evaluator.constants(&env.constants).expect("the constants");
    for (arena, values) in &env.arenas {
        evaluator.arena(*arena, values).expect("an arena");
    }
    if !env.table.is_empty() {
        evaluator.table(&env.table).expect("the table");
    }
    let columns = graph.nodes().find(|(_, n)| matches!(n.op, strait::internals::graph::Op::Gather { .. }));
    let count = columns.map_or(env.rows, |(_, n)| env.data.len() / n.shape.columns());
    let state = State {
        step: env.step,
        first_row: env.first_row as u32,
        epoch: env.epoch,
        count: count as u32,
        ..State::once(env.rows, env.seed)
    };
    evaluator.run(state).expect("a run");
    let expected = evaluate(graph, env).expect("the reference");
    let sinks = graph.sinks().iter();
    sinks.map(|&(sink, id)| (sink, evaluator.sink(sink, env.rows).expect("a result"), expected[&id].clone())).collect()
}

/// The squared distance of two vectors over the squared length of the second.
pub fn squared_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |v: f64| v * v;
    let error: f64 = found.iter().zip(expected).map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum();
    let scale: f64 = expected.iter().map(|&e| square(f64::from(e))).sum();
    error / scale.max(1e-30)
}

/// A buffer of the host's own with these values, and of exactly their size.
pub fn host_buffer(gpu: &Gpu, values: &[f32]) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let size = size_of_val(values) as u64;
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(values));
    buffer
}

/// How many submits something makes, on a device that nobody else uses meanwhile. wgpu numbers them, and gives every buffer that is
/// mapped a number, too: what is read back counts twice.
pub fn submits<T>(gpu: &Gpu, work: impl FnOnce() -> T) -> (T, u64) {
    // What is submitted here counts, too.
    let number = || {
        let number: String = format!("{:?}", gpu.queue().submit([])).chars().filter(char::is_ascii_digit).collect();
        number.parse::<u64>().expect("a number")
    };
    let (before, done) = (number(), work());
    (done, number() - before - 1)
}

/// A device of the host's own with these features, where its adapter has them.
pub fn host_device(wanted: wgpu::Features) -> Option<(wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY)).remove(0);
    if !adapter.features().contains(wanted) {
        return None;
    }
    let descriptor = wgpu::DeviceDescriptor { required_features: wanted, ..Default::default() };
    Some(pollster::block_on(adapter.request_device(&descriptor)).expect("a device"))
}
