//! Evaluating a graph once on the GPU: for analysis, for checks, and for whoever builds graphs of their own.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Program, Timed, Work};
use crate::graph::{Arena, Graph, Kept, Layout, Sink};
use crate::plan::{Recording, Role, Target};
use crate::state::State;

/// A graph on the GPU, with buffers of its own.
#[derive(Debug)]
pub struct Evaluator {
    gpu: Gpu,
    recording: Recording,
    program: Program,
    state: Buffer,
}

impl Evaluator {
    /// Plans and compiles a graph for batches of up to `rows` rows.
    ///
    /// # Errors
    /// As [`Recording::new`] and [`Program::new`].
    pub fn new(gpu: &Gpu, graph: &Graph, rows: usize) -> Result<Evaluator> {
        Evaluator::with_target(gpu, graph, Target::of(gpu, rows))
    }

    /// As [`Evaluator::new`], for a target of one's own.
    ///
    /// # Errors
    /// As [`Evaluator::new`].
    pub fn with_target(gpu: &Gpu, graph: &Graph, target: Target) -> Result<Evaluator> {
        let recording = Recording::new(graph, target)?;
        let state = gpu.buffer("state", 64)?;
        let shared = BTreeMap::from([(Role::Flags, gpu.buffer("flags", 16)?)]);
        let program = Program::new(gpu, &recording, &state, &shared)?;
        Ok(Evaluator { gpu: gpu.clone(), recording, program, state })
    }

    /// The plan.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Writes the i-th batch: rows without padding.
    ///
    /// # Errors
    /// [`Error::Spec`] where it does not fit; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn input(&self, index: usize, values: &[f32]) -> Result<()> {
        self.fill(&format!("write input {index} of the graph"), self.program.buffer(Role::Input(index))?, values)
    }

    /// Writes the resident data set.
    ///
    /// # Errors
    /// As [`Evaluator::input`].
    pub fn data(&self, values: &[f32]) -> Result<()> {
        self.fill("write the data set of the graph", self.program.buffer(Role::Data)?, values)
    }

    /// Writes the trainable tensors, in the graph's order, as far as the plan reads them.
    ///
    /// # Errors
    /// As [`Evaluator::input`].
    pub fn params(&self, values: &[Vec<f32>]) -> Result<()> {
        let graph = &self.recording.graph;
        for set in graph.sets() {
            let own = values.get(graph.members(set)).unwrap_or_default();
            self.arena(set.arena(Kept::Values), &graph.layout(set).pack(graph.tensors(set), own)?)?;
        }
        Ok(())
    }

    /// Writes the frozen tensors, in the graph's order, as far as the plan reads them.
    ///
    /// # Errors
    /// As [`Evaluator::input`].
    pub fn constants(&self, values: &[Vec<f32>]) -> Result<()> {
        let tensors = &self.recording.graph.constants;
        self.role(Role::Constants, &Layout::new(tensors).pack(tensors, values)?)
    }

    /// Writes a whole buffer of a set, padding included.
    ///
    /// # Errors
    /// As [`Evaluator::input`].
    pub fn arena(&self, arena: Arena, values: &[f32]) -> Result<()> {
        self.role(Role::Arena(arena), values)
    }

    /// Reads a whole buffer of a set, padding included: `None` where the plan neither reads nor writes it.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn kept(&self, arena: Arena) -> Result<Option<Vec<f32>>> {
        let role = Role::Arena(arena);
        match self.recording.buffers.iter().find(|(other, _)| *other == role) {
            Some((_, bytes)) => self.gpu.read(self.program.buffer(role)?, 0, *bytes as usize / 4).map(Some),
            None => Ok(None),
        }
    }

    /// Writes rows of the table of scalars, each of whole quads of values.
    ///
    /// # Errors
    /// As [`Evaluator::input`].
    pub fn table(&self, values: &[f32]) -> Result<()> {
        self.role(Role::Table, values)
    }

    fn role(&self, role: Role, values: &[f32]) -> Result<()> {
        match self.program.buffer(role) {
            Ok(buffer) => self.fill(&format!("write {role:?} of the graph"), buffer, values),
            Err(_) => Ok(()),
        }
    }

    /// Writes values to the start of a buffer, which must have room for them.
    fn fill(&self, op: &str, buffer: &Buffer, values: &[f32]) -> Result<()> {
        let bytes = bytemuck::cast_slice(values);
        buffer.check(op, 0, bytes.len() as u64)?;
        self.gpu.write(buffer, 0, bytes)
    }

    /// Runs the graph for the given state.
    ///
    /// # Errors
    /// [`Error::Spec`] where the state has no rows or more than were planned for, or, in a graph that reads the data
    /// set, where the batch does not lie within it; as [`Gpu::submit`].
    pub fn run(&self, state: State) -> Result<()> {
        let Target { rows: most, data_rows, .. } = self.recording.target;
        if state.rows == 0 || state.rows as usize > most {
            return Err(Error::spec("rows", state.rows, format!("1 to the {most} rows planned for")));
        }
        if self.recording.buffers.iter().any(|(role, _)| *role == Role::Data) {
            if state.count as usize > data_rows {
                return Err(Error::spec("count", state.count, format!("at most the {data_rows} rows planned for")));
            }
            let allowed = state.count.checked_sub(state.rows);
            if allowed.is_none_or(|last| state.first_row > last) {
                let (value, rows) = (state.first_row, state.rows);
                let allowed = format!("{rows} rows before the end of the {} resident ones", state.count);
                return Err(Error::spec("first_row", value, allowed));
            }
        }
        self.gpu.write(&self.state, 0, bytemuck::bytes_of(&state))?;
        self.gpu.submit([Work::Run(&self.program)])
    }

    /// Runs the graph once more, for the state of the last run, and tells how long each dispatch took.
    ///
    /// # Errors
    /// As [`Gpu::timed`].
    pub fn timed(&self) -> Result<Vec<Timed>> {
        self.gpu.timed(&[&self.program])
    }

    /// Reads what a sink received in a run with `rows` rows, without padding.
    ///
    /// # Errors
    /// [`Error::Internal`] where the graph has no such sink; as [`Gpu::read`].
    pub fn sink(&self, sink: Sink, rows: usize) -> Result<Vec<f32>> {
        let none = || Error::Internal(format!("the graph has no {sink:?}"));
        let graph = &self.recording.graph;
        let id = graph.sinks().iter().find(|(s, _)| *s == sink).map(|(_, id)| *id).ok_or_else(none)?;
        let mut stores = self.recording.dispatches.iter().flat_map(|d| &d.stores);
        let place = stores.find(|(n, _)| *n == id).map(|(_, place)| *place).ok_or_else(none)?;
        let shape = graph.shape(id);
        let packed = matches!(sink, Sink::Output(_)) || shape.is_unpadded();
        let stride = if packed { shape.columns() } else { shape.stride() };
        let count = shape.matrix_rows(rows) * stride;
        let values = self.gpu.read(self.program.buffer(place.role)?, place.offset as usize / 4, count)?;
        Ok(if packed { values } else { shape.unpadded(&values) })
    }
}

impl Target {
    /// The target for batches of up to `rows` rows on a device, the resident data set no larger than a batch.
    pub fn of(gpu: &Gpu, rows: usize) -> Target {
        Target {
            kind: gpu.kind(),
            limits: gpu.limits(),
            rows,
            data_rows: rows,
            tile: None,
            tuning: None,
            quick: false,
            optimise: true,
        }
    }
}
