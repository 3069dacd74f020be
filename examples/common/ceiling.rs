//! What an adapter can do at best, measured on it: multiply-adds in registers, copies, and what the driver takes for a
//! dispatch, a submit and a read. The kernels are written for this alone, several ways each, since no one of them is the
//! fastest on every adapter.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use strait::gpu::Timed;
use strait::internals::plan::{AdapterKind, Cost};
use strait::wgpu;
use strait::{Gpu, Result};

/// Operations and bytes a second, and seconds.
pub struct Ceilings {
    /// Multiplications and additions in single precision, a second.
    pub flops: f64,
    /// The same in half precision, where the device has such numbers.
    pub half_flops: Option<f64>,
    /// Bytes read and written a second, in copies of whatever size is fastest.
    pub bytes: f64,
    /// From one dispatch to the next one that waits for it.
    pub dispatch: f64,
    /// Submitting one dispatch and waiting until it has run.
    pub submit: f64,
    /// Reading four bytes back.
    pub readback: f64,
}

impl Ceilings {
    /// Measures all of it, within about `budget`.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(gpu: &Gpu, budget: Duration) -> Result<Ceilings> {
        let part = |share: f64| Instant::now() + budget.mul_f64(share);
        let flops = arithmetic(gpu, "f32", part(0.35))?;
        let half_flops = gpu.limits().f16.then(|| arithmetic(gpu, "f16", part(0.25))).transpose()?;
        let bytes = copies(gpu, part(0.3))?;
        let tiny = Kernel::new(gpu, "fn main() {\n    values[0] += 1.0;\n}", "f32", 1, 16)?;
        let dispatch = tiny.seconds(gpu, [1, 1, 1], part(0.05))?;
        let submit = fastest(part(0.02), || {
            tiny.submit(gpu, [1, 1, 1], 1);
            gpu.wait()
        })?;
        let four = gpu.buffer("four bytes", 4)?;
        let readback = fastest(part(0.02), || gpu.read(&four, 0, 1).map(drop))?;
        Ok(Ceilings { flops, half_flops, bytes, dispatch, submit, readback })
    }

    /// For benches that only hold kernels against it.
    ///
    /// # Errors
    /// As [`Ceilings::new`].
    pub fn of(gpu: &Gpu) -> Result<Ceilings> {
        Ceilings::new(gpu, Duration::from_secs(4))
    }

    /// What a dispatch, or several, came to, and which share of the ceiling that is.
    pub fn share(&self, cost: Cost, seconds: f64) -> String {
        let mut out = String::new();
        let rates = [(cost.flops, self.flops, "Gflop/s"), (cost.bytes, self.bytes, "GB/s")];
        for (amount, most, unit) in rates.into_iter().filter(|(amount, ..)| *amount > 0) {
            let rate = amount as f64 / seconds;
            let _ = write!(out, "{:8.2} {unit} ({:3.0} %)", rate / 1e9, 100.0 * rate / most);
        }
        out
    }

    /// The ceilings themselves, for people.
    pub fn describe(&self) -> String {
        format!("ceiling: {:.1} Gflop/s in registers, {:.1} GB/s of memory", self.flops / 1e9, self.bytes / 1e9)
    }
}

/// The seconds of all dispatches.
pub fn seconds(times: &[Timed]) -> f64 {
    times.iter().map(|timed| timed.seconds).sum()
}

/// What all dispatches cost.
pub fn cost(times: &[Timed]) -> Cost {
    times.iter().map(|timed| timed.cost).sum()
}

/// A buffer that kernels and copies may use. What goes wrong is found by the next call to the device.
fn buffer(gpu: &Gpu, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("ceiling"),
        size,
        usage,
        mapped_at_creation: false,
    })
}

/// A kernel over one buffer of values, or two.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl Kernel {
    /// `text` is the function `main`; it sees `values` and `target`, arrays of `element`, and `rounds`, a number that no
    /// compiler knows.
    fn new(gpu: &Gpu, text: &str, element: &str, rounds: u32, bytes: u64) -> Result<Kernel> {
        let buffers = [buffer(gpu, bytes), buffer(gpu, bytes)];
        let number = buffer(gpu, 16);
        gpu.queue().write_buffer(&number, 0, &[rounds, 0, 0, 0].map(u32::to_le_bytes).concat());
        // Neither zeros, which some hardware multiplies faster, nor what grows out of range.
        let half = if element.contains("f16") { vec![0x00, 0x38] } else { 0.5f32.to_le_bytes().to_vec() };
        gpu.queue().write_buffer(&buffers[0], 0, &half.repeat(bytes.min(1 << 18) as usize / half.len()));
        let enable = if element.contains("f16") { "enable f16;\n" } else { "" };
        let size = if text.contains("[0] +=") { 1 } else { 256 };
        let source = format!(
            "{enable}@group(0) @binding(0) var<storage, read_write> values: array<{element}>;\n\
             @group(0) @binding(1) var<storage, read_write> target_values: array<{element}>;\n\
             @group(0) @binding(2) var<storage, read> rounds: array<u32>;\n\
             @compute @workgroup_size({size})\n{text}\n"
        );
        let device = gpu.device();
        let source = wgpu::ShaderSource::Wgsl(source.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("ceiling"), source });
        let entry = |binding, read_only| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries = [entry(0, false), entry(1, false), entry(2, true)];
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("ceiling"),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        let all = [&buffers[0], &buffers[1], &number];
        let entries: Vec<_> = (0..)
            .zip(all)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
        let bindings = device.create_bind_group(&descriptor);
        gpu.check()?;
        Ok(Kernel { pipeline, bindings })
    }

    fn submit(&self, gpu: &Gpu, [x, y, z]: [u32; 3], times: u32) {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        (0..times).for_each(|_| pass.dispatch_workgroups(x, y, z));
        drop(pass);
        gpu.queue().submit([encoder.finish()]);
    }

    /// Seconds of one dispatch among many.
    fn seconds(&self, gpu: &Gpu, groups: [u32; 3], end: Instant) -> Result<f64> {
        many(end, |times| {
            self.submit(gpu, groups, times);
            gpu.wait()
        })
    }
}

/// Waits until a GPU runs as fast as it can. One that had nothing to do for a second, while its driver compiled kernels say,
/// runs at a sixth of its clock or less (an H100: 345 of 1,980 MHz) and takes another second under load to get back.
pub struct Clock {
    /// Multiply-adds and nothing else; none for software adapters, which have no clock of their own.
    work: Option<Kernel>,
    /// The least that it ever took.
    least: Cell<f64>,
}

impl Clock {
    /// Compiles the kernel that it goes by.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(gpu: &Gpu) -> Result<Clock> {
        let bytes = u64::from(GROUPS) * 256 * 16;
        let work = match gpu.kind() {
            AdapterKind::Software => None,
            AdapterKind::Hardware => Some(Kernel::new(gpu, &chains(2, "f32"), "vec4<f32>", ROUNDS, bytes)?),
        };
        Ok(Clock { work, least: Cell::new(f64::MAX) })
    }

    /// Keeps the GPU busy until it runs as fast as it ever did, the first time until it gets no faster; three seconds at
    /// most.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn settle(&self, gpu: &Gpu) -> Result<()> {
        let Some(work) = &self.work else { return Ok(()) };
        let (known, begun) = (self.least.get(), Instant::now());
        let mut faster = begun;
        while begun.elapsed() < Duration::from_secs(3) {
            let since = Instant::now();
            work.submit(gpu, [GROUPS, 1, 1], 16);
            gpu.wait()?;
            let taken = since.elapsed().as_secs_f64();
            if taken < 0.98 * self.least.get() {
                faster = Instant::now();
            }
            self.least.set(taken.min(self.least.get()));
            let settled = match known {
                f64::MAX => faster.elapsed() > Duration::from_millis(1500),
                _ => taken < 1.05 * known,
            };
            if settled {
                break;
            }
        }
        Ok(())
    }
}

/// The least time of something, tried until `end` and at least three times.
pub fn fastest(end: Instant, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::MAX;
    let mut tried = 0;
    while tried < 3 || Instant::now() < end {
        let begun = Instant::now();
        run()?;
        least = least.min(begun.elapsed().as_secs_f64());
        tried += 1;
    }
    Ok(least)
}

/// The least time of one of many that are submitted together: so many that what a submit takes is next to nothing.
pub fn many(end: Instant, mut run: impl FnMut(u32) -> Result<()>) -> Result<f64> {
    let time = |run: &mut dyn FnMut(u32) -> Result<()>, times: u32| -> Result<f64> {
        let begun = Instant::now();
        run(times)?;
        Ok(begun.elapsed().as_secs_f64())
    };
    run(1)?;
    let mut times = 1;
    let mut taken = time(&mut run, times)?;
    while taken < 0.01 && times < 1 << 14 && Instant::now() < end {
        times *= 4;
        taken = time(&mut run, times)?;
    }
    let least = fastest(end, || run(times))?;
    Ok(least.min(taken) / f64::from(times))
}

/// Multiplications and additions in one round of a chain.
const STEPS: usize = 32;

/// Workgroups and rounds on hardware.
const GROUPS: u32 = 8192;
const ROUNDS: u32 = 32;

/// The function `main` of a kernel of so many chains of multiply-adds a thread.
fn chains(chains: usize, element: &str) -> String {
    let mut body = String::new();
    for step in 0..STEPS {
        let _ = writeln!(body, "        s{0} = s{0} * x + y;", step % chains);
    }
    let starts: String =
        (0..chains).map(|c| format!("    var s{c} = values[id.x % 64u] * {element}({c});\n")).collect();
    let sum: Vec<String> = (0..chains).map(|c| format!("s{c}")).collect();
    format!(
        "fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n    let x = values[id.y + 1u].x;\n    let y = \
         values[id.y + 2u].y;\n{starts}    for (var i = 0u; i < rounds[0]; i++) {{\n{body}    }}\n    \
         target_values[id.x] = {};\n}}",
        sum.join(" + ")
    )
}

/// Operations a second of chains of multiply-adds: as many chains a thread as turn out best.
fn arithmetic(gpu: &Gpu, element: &str, end: Instant) -> Result<f64> {
    let (groups, rounds) = match gpu.kind() {
        AdapterKind::Software => (16, 32),
        AdapterKind::Hardware => (GROUPS, ROUNDS),
    };
    let mut best: f64 = 0.0;
    let variants = [1, 2, 3, 4, 6, 8];
    for (i, count) in variants.into_iter().enumerate() {
        let quad = format!("vec4<{element}>");
        let kernel = Kernel::new(gpu, &chains(count, element), &quad, rounds, u64::from(groups) * 256 * 16)?;
        let left = end.saturating_duration_since(Instant::now()) / (variants.len() - i) as u32;
        let seconds = kernel.seconds(gpu, [groups, 1, 1], Instant::now() + left)?;
        let operations = f64::from(groups) * 256.0 * f64::from(rounds) * (STEPS * 4 * 2) as f64;
        best = best.max(operations / seconds);
    }
    Ok(best)
}

/// Bytes a second of copies: of more than any cache holds and of less, by threads and by the driver's own copy.
fn copies(gpu: &Gpu, end: Instant) -> Result<f64> {
    let most = gpu.limits().binding_bytes.min(match gpu.kind() {
        AdapterKind::Software => 64 << 20,
        AdapterKind::Hardware => 512 << 20,
    });
    let text = "fn main(@builtin(global_invocation_id) id: vec3<u32>) {\n    target_values[id.x + id.y * 8388352u] = \
                values[id.x + id.y * 8388352u];\n}";
    let mut best: f64 = 0.0;
    let sizes = [most, 8 << 20, 1 << 20];
    for (i, bytes) in sizes.into_iter().enumerate() {
        let bytes = bytes / 4096 * 4096;
        let part = end.saturating_duration_since(Instant::now()) / ((sizes.len() - i) as u32 * 2);
        let kernel = Kernel::new(gpu, text, "vec4<f32>", 1, bytes)?;
        // 32,767 workgroups of 256 threads in a row of the grid.
        let groups = (bytes / 4096) as u32;
        let grid = [groups.min(32_767), groups.div_ceil(32_767), 1];
        let threads = kernel.seconds(gpu, grid, Instant::now() + part)?;
        let [from, to] = [buffer(gpu, bytes), buffer(gpu, bytes)];
        let driver = many(Instant::now() + part, |times| {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            (0..times).for_each(|_| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes));
            gpu.queue().submit([encoder.finish()]);
            gpu.wait()
        })?;
        best = best.max(2.0 * bytes as f64 / threads.min(driver));
    }
    Ok(best)
}
