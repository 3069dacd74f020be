//! Rows that a graph makes of others: what a phase trains on where a part of its model stays as it is, so that this part is
//! computed once and not in every epoch.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::resident::Resident;
use crate::data::Source;
use crate::error::{Result, finite_rows};
use crate::gpu::{Buffer, Gpu, Program, Work, lock};
use crate::graph::Graph;
use crate::plan::{Recording, Role, Target};
use crate::state::State;

/// Rows that are computed at a time, where there are so many.
const ROWS: usize = 1024;

/// The rows of a source, each by a graph.
pub(super) struct Cached {
    source: Arc<dyn Source>,
    columns: usize,
    /// Rows that are computed at a time.
    most: usize,
    /// One reader at a time: they share its buffers.
    running: Mutex<Running>,
}

/// The graph on the GPU.
struct Running {
    gpu: Gpu,
    program: Program,
    state: Buffer,
    data: Buffer,
    output: Buffer,
}

impl Cached {
    /// The rows of `source` by a graph that gathers them in order and gives its rows to the first output, with the tensors as
    /// they are when they are read.
    pub fn new(resident: &Resident, graph: &Graph, columns: usize, source: Arc<dyn Source>) -> Result<Cached> {
        let gpu = &resident.gpu;
        let most = source.rows().min(ROWS);
        let graph = graph.clone().with_scalars(resident.tensors.scalars().clone());
        let recording = Recording::new(&graph, Target::of(gpu, most))?;
        let state = gpu.buffer("state", 64)?;
        let bytes = (most * source.columns() * 4) as u64;
        let data = gpu.buffer("rows to be cached", bytes.next_multiple_of(16))?;
        let mut shared: BTreeMap<Role, Buffer> = resident.shared.clone();
        shared.retain(|role, _| matches!(role, Role::Arena(_) | Role::Constants));
        shared.insert(Role::Data, data.clone());
        let program = Program::new(gpu, &recording, &state, &shared)?;
        let output = program.buffer(Role::Output(0))?.clone();
        let running = Mutex::new(Running { gpu: gpu.clone(), program, state, data, output });
        Ok(Cached { source, columns, most, running })
    }
}

impl Source for Cached {
    fn rows(&self) -> usize {
        self.source.rows()
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        let running = lock(&self.running);
        let Running { gpu, program, state, data, output } = &*running;
        let mut rows = vec![0.0; self.most * self.source.columns()];
        for (i, made) in out.chunks_mut(self.most * self.columns).enumerate() {
            let count = made.len() / self.columns;
            let rows = &mut rows[..count * self.source.columns()];
            let first = first_row + i * self.most;
            self.source.read(first, rows)?;
            finite_rows(self.source.name(), self.source.columns(), first, rows)?;
            gpu.write(data, 0, bytemuck::cast_slice(rows))?;
            gpu.write(state, 0, bytemuck::bytes_of(&State::once(count, 0)))?;
            gpu.submit([Work::Run(program)])?;
            made.copy_from_slice(&gpu.read(output, 0, made.len())?);
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
