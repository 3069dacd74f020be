//! Programs: recordings with their pipelines, buffers and bind groups made once, replayed any number of times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::buffer::Buffer;
use super::context::Gpu;
use super::timing::Clock;
use crate::error::{Error, Result};
use crate::kernel::{self, Reflection, Space};
use crate::plan::{Cost, Place, Recording, Role};

/// A compiled kernel.
pub(super) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    /// Whether it was dispatched.
    begun: AtomicBool,
}

/// A recording, ready to run.
#[derive(Debug)]
pub struct Program {
    commands: Vec<Command>,
    buffers: BTreeMap<Role, Buffer>,
    dims: Buffer,
}

/// One dispatch, ready to run.
pub(super) struct Command {
    label: String,
    cost: Cost,
    pipeline: Arc<Pipeline>,
    bindings: wgpu::BindGroup,
    workgroups: [u32; 3],
}

impl Command {
    /// Its name.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// What it costs at the largest batch.
    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.record_of(pass, self.workgroups);
    }

    fn record_of(&self, pass: &mut wgpu::ComputePass<'_>, [x, y, z]: [u32; 3]) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.label, self.workgroups)
    }
}

/// Something to submit.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// Runs a program once.
    Run(&'a Program),
    /// Runs the dispatches of a program from one on, up to another.
    Part(&'a Program, usize, usize),
    /// Copies one buffer over another of the same size.
    Copy(&'a Buffer, &'a Buffer),
    /// Fills a buffer with zeros.
    Clear(&'a Buffer),
}

/// Compiled kernels beyond which those go that no program uses: without an end, somebody who tries models of many shapes would
/// fill the memory with them.
const KEPT: usize = 512;

/// Where the dimensions of a dispatch may start: WebGPU's default alignment of uniform offsets.
const DIMS_ALIGNMENT: u64 = 256;

impl Program {
    /// Compiles a recording and allocates what is not in `shared`. Dispatch 0 of its bindings is always `state`.
    ///
    /// # Errors
    /// [`Error::Kernel`] where a kernel is not valid, [`Error::Limit`] or [`Error::Device`] where memory is short.
    pub fn new(gpu: &Gpu, recording: &Recording, state: &Buffer, shared: &BTreeMap<Role, Buffer>) -> Result<Program> {
        Program::with(gpu, recording, state, shared, &|| {})
    }

    /// [`Program::new`], which calls `made` after each dispatch that was made ready.
    pub(crate) fn with(
        gpu: &Gpu,
        recording: &Recording,
        state: &Buffer,
        shared: &BTreeMap<Role, Buffer>,
        made: &dyn Fn(),
    ) -> Result<Program> {
        let mut buffers = BTreeMap::new();
        for (role, bytes) in &recording.buffers {
            let buffer = match shared.get(role) {
                Some(buffer) if buffer.bytes() < *bytes => {
                    let (needs, allowed) = (*bytes, buffer.bytes());
                    let (what, limit) = match role {
                        Role::Input(_) => ("the host's own buffer that is attached as input".into(), "its bytes"),
                        Role::Output(_) => ("the host's own buffer that is attached as output".into(), "its bytes"),
                        role => (format!("the shared buffer of {role:?}"), "its bytes"),
                    };
                    return Err(Error::Limit { what, needs, allowed, limit });
                }
                Some(buffer) => buffer.clone(),
                None => gpu.buffer(&format!("{role:?}"), *bytes)?,
            };
            buffers.insert(*role, buffer);
        }
        let flagged = recording.dispatches.iter().flat_map(|d| &d.bindings).any(|place| place.role == Role::Flags);
        if let Some(flags) = shared.get(&Role::Flags) {
            buffers.insert(Role::Flags, flags.clone());
        } else if flagged {
            buffers.insert(Role::Flags, gpu.buffer("flags", 16)?);
        }
        let extent = |dims: &Vec<u32>| (dims.len() as u64 * 4).next_multiple_of(DIMS_ALIGNMENT);
        let dims = gpu.buffer("dims", recording.dispatches.iter().map(|d| extent(&d.dims)).sum())?;
        let mut offset = 0;
        let mut commands = Vec::with_capacity(recording.dispatches.len());
        for dispatch in &recording.dispatches {
            let bytes = extent(&dispatch.dims);
            gpu.write(&dims, offset, bytemuck::cast_slice(&dispatch.dims))?;
            let pipeline = gpu.pipeline(&dispatch.label, &dispatch.wgsl)?;
            let mut entries = vec![state.whole(0), range(&dims, 1, offset, bytes)];
            for (b, place) in dispatch.bindings.iter().enumerate() {
                let buffer = buffers.get(&place.role).ok_or_else(|| missing(place))?;
                entries.push(range(buffer, b as u32 + 2, place.offset, place.bytes));
            }
            commands.push(gpu.command(&dispatch.label, dispatch.cost, pipeline, &entries, dispatch.workgroups)?);
            offset += bytes;
            made();
        }
        gpu.begin(&commands)?;
        Ok(Program { commands, buffers, dims })
    }

    /// The program that ends a step (shaders/finish.wgsl): reports `terms` and moves on to the next batch.
    ///
    /// # Errors
    /// As [`Program::new`]; [`Error::Limit`] where the device, one that was adopted, binds too few buffers.
    pub fn finish(
        gpu: &Gpu,
        state: &Buffer,
        terms: &Buffer,
        ring: &Buffer,
        flags: &Buffer,
        count: u32,
        moves_on: bool,
    ) -> Result<Program> {
        let (needs, allowed) = (4, gpu.device().limits().max_storage_buffers_per_shader_stage.into());
        if needs > allowed {
            let limit = "max_storage_buffers_per_shader_stage";
            return Err(Error::Limit { what: "dispatch finish".into(), needs, allowed, limit });
        }
        let dims = gpu.buffer("finish dims", 16)?;
        gpu.write(&dims, 0, bytemuck::cast_slice(&[count, moves_on.into()]))?;
        let pipeline = gpu.pipeline("finish", &kernel::finish())?;
        let entries = [state.whole(0), terms.whole(1), ring.whole(2), flags.whole(3), dims.whole(4)];
        let commands = vec![gpu.command("finish", Cost::default(), pipeline, &entries, [1, 1, 1])?];
        gpu.begin(&commands)?;
        Ok(Program { commands, buffers: BTreeMap::new(), dims })
    }

    /// The buffer of a role.
    ///
    /// # Errors
    /// [`Error::Internal`] where the recording has none.
    pub fn buffer(&self, role: Role) -> Result<&Buffer> {
        self.buffers.get(&role).ok_or_else(|| Error::Internal(format!("the recording has no {role:?}")))
    }

    /// All its buffers by role.
    pub fn buffers(&self) -> &BTreeMap<Role, Buffer> {
        &self.buffers
    }

    /// Everything it holds, shared or not.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        self.buffers.iter().map(|(role, buffer)| (Some(*role), buffer)).chain([(None, &self.dims)])
    }

    /// Its dispatches, in order.
    pub(super) fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Dispatches in one run.
    pub fn dispatches(&self) -> usize {
        self.commands.len()
    }
}

fn missing(place: &Place) -> Error {
    Error::Internal(format!("no buffer for {:?}", place.role))
}

fn range(buffer: &Buffer, binding: u32, offset: u64, bytes: u64) -> wgpu::BindGroupEntry<'_> {
    let (offset, size) = (buffer.start + offset, std::num::NonZeroU64::new(bytes));
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer.raw, offset, size });
    wgpu::BindGroupEntry { binding, resource }
}

impl Buffer {
    fn whole(&self, binding: u32) -> wgpu::BindGroupEntry<'_> {
        range(self, binding, 0, self.bytes())
    }
}

impl Gpu {
    /// How many kernels are kept compiled.
    #[doc(hidden)]
    pub fn kernels(&self) -> usize {
        self.pipelines().len()
    }

    /// The compiled form of a kernel's text, made on first use.
    fn pipeline(&self, label: &str, wgsl: &str) -> Result<Arc<Pipeline>> {
        if let Some(pipeline) = self.pipelines().get(wgsl) {
            return Ok(pipeline.clone());
        }
        let reflection = kernel::reflect(label, wgsl)?;
        let made = self.scoped(label, |device| compile(device, label, reflection));
        let made = Arc::new(made.map_err(|e| match e {
            Error::Device { message, .. } => Error::Kernel { kernel: label.into(), message },
            lost => lost,
        })?);
        let mut kept = self.pipelines();
        if kept.len() >= KEPT {
            kept.retain(|_, pipeline| Arc::strong_count(pipeline) > 1);
        }
        kept.insert(wgsl.to_string(), made.clone());
        Ok(made)
    }

    fn command(
        &self,
        label: &str,
        cost: Cost,
        pipeline: Arc<Pipeline>,
        entries: &[wgpu::BindGroupEntry<'_>],
        workgroups: [u32; 3],
    ) -> Result<Command> {
        let layout = &pipeline.layout;
        let descriptor = wgpu::BindGroupDescriptor { label: Some(label), layout, entries };
        let bindings = self.scoped(label, |device| device.create_bind_group(&descriptor))?;
        Ok(Command { label: label.into(), cost, pipeline, bindings, workgroups })
    }

    /// Dispatches no workgroups of those kernels that were not dispatched yet, and waits for that: some drivers compile a kernel
    /// at its first dispatch, while whoever submits after it waits, a frame of the host's among them.
    fn begin(&self, commands: &[Command]) -> Result<()> {
        let new: Vec<&Command> =
            commands.iter().filter(|command| !command.pipeline.begun.swap(true, Ordering::Relaxed)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let submitted = self.scoped("first dispatches", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            new.iter().for_each(|command| command.record_of(&mut pass, [0; 3]));
            drop(pass);
            self.queue().submit([encoder.finish()])
        })?;
        self.wait_for(Some(submitted))
    }

    /// Submits work in order.
    ///
    /// # Errors
    /// [`Error::Device`] where the device refuses it, [`Error::DeviceLost`] where it is gone.
    #[doc(hidden)]
    pub fn submit<'a>(&self, work: impl IntoIterator<Item = Work<'a>>) -> Result<()> {
        self.scoped("submit", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            record(&mut encoder, work, None);
            self.queue().submit([encoder.finish()]);
        })
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`].
    pub fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    /// Waits until a submission has run, or the last one.
    pub(super) fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
        self.alive()
    }
}

impl<'a> Work<'a> {
    /// The dispatches that it runs, where it is no copy.
    fn commands(self) -> Option<&'a [Command]> {
        match self {
            Work::Run(program) => Some(&program.commands),
            Work::Part(program, start, end) => Some(program.commands.get(start..end).unwrap_or_default()),
            Work::Copy(..) | Work::Clear(_) => None,
        }
    }
}

/// Records work in order. Consecutive programs share one compute pass, and a clock times the first one.
pub(crate) fn record<'a>(
    encoder: &mut wgpu::CommandEncoder,
    work: impl IntoIterator<Item = Work<'a>>,
    mut clock: Option<&Clock>,
) {
    let mut work = work.into_iter().peekable();
    while let Some(next) = work.next() {
        match next {
            Work::Copy(from, to) => {
                let bytes = from.bytes().min(to.bytes());
                encoder.copy_buffer_to_buffer(&from.raw, from.start, &to.raw, to.start, bytes);
            }
            Work::Clear(buffer) => encoder.clear_buffer(&buffer.raw, buffer.start, Some(buffer.bytes())),
            Work::Run(_) | Work::Part(..) => {}
        }
        let Some(first) = next.commands() else { continue };
        let timed = clock.take();
        let timestamp_writes = timed.map(|clock| clock.writes(0));
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        first.iter().for_each(|command| command.record(&mut pass));
        while let Some(next) = work.next_if(|work| work.commands().is_some()).and_then(Work::commands) {
            next.iter().for_each(|command| command.record(&mut pass));
        }
        drop(pass);
        if let Some(clock) = timed {
            clock.resolve(encoder);
        }
    }
}

fn compile(device: &wgpu::Device, label: &str, reflection: Reflection) -> Pipeline {
    let entries: Vec<_> = reflection.bindings.iter().map(layout_entry).collect();
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(&layout)],
        ..Default::default()
    });
    let source = wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(reflection.module));
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: None,
        // Every kernel writes workgroup memory before it reads it.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    Pipeline { pipeline, layout, begun: AtomicBool::new(false) }
}

fn layout_entry(binding: &kernel::Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match binding.space {
        Space::Uniform => wgpu::BufferBindingType::Uniform,
        Space::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Space::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: binding.index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
