//! The interpreter of a recording: the dispatches of a plan in order, on the CPU in f32, over buffers laid out as
//! planned. All memory holds NaN until it is written, and again once a value's last reader has run, so that a mistake
//! of the planner shows in the results.

use std::collections::BTreeMap;

use super::graph::{Environment, Values, evaluate_node};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kept, Layout, NodeId, Op, Shape, Sink, Tensor};
use crate::plan::{Dispatch, Place, Recording, Role};

/// What the sinks received, without padding.
pub type Results = BTreeMap<Sink, Vec<f32>>;

/// Runs a recording for a batch.
///
/// # Errors
/// [`Error::Internal`] where the plan is not sound (a value that is missing or lies outside its buffer, padding that
/// is not zero, a dispatch that overwrites what it reads), or where the environment lacks something.
pub fn replay(recording: &Recording, env: &Environment<f32>) -> Result<Results> {
    let mut memory = Memory::new(recording, env)?;
    for (at, dispatch) in recording.dispatches.iter().enumerate() {
        memory.run(dispatch, env)?;
        let later = &recording.dispatches[at + 1..];
        let read_later = |id: &NodeId| later.iter().any(|d| d.loads.iter().any(|(other, _)| other == id));
        for (id, place) in &dispatch.loads {
            if place.role.is_slot() && !read_later(id) {
                memory.range(*place)?.fill(POISON);
            }
        }
    }
    let mut results = Results::new();
    for &(sink, id) in recording.graph.sinks() {
        let mut stores = recording.dispatches.iter().flat_map(|d| &d.stores);
        let (_, place) = stores.find(|(other, _)| *other == id).ok_or_else(|| memory.fault(id, "is never stored"))?;
        let stride = stride(place.role, recording.graph.shape(id));
        results.insert(sink, memory.read(*place, id, stride)?);
    }
    Ok(results)
}

/// Not a number, nor are its halves.
const POISON: f32 = f32::from_bits(0x7fff_7fff);

/// Two values of half precision to each of single precision, and back.
fn packed(values: &[f32]) -> Vec<f32> {
    let bits = |v: f32| u32::from(half::f16::from_f32(v).to_bits());
    values.chunks(2).map(|pair| f32::from_bits(bits(pair[0]) | bits(*pair.last().unwrap_or(&0.0)) << 16)).collect()
}

fn unpacked(values: &[f32]) -> Vec<f32> {
    let half = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
    values.iter().flat_map(|v| [half(v.to_bits()), half(v.to_bits() >> 16)]).collect()
}

struct Memory<'a> {
    graph: &'a Graph,
    rows: usize,
    buffers: BTreeMap<Role, Vec<f32>>,
}

impl Memory<'_> {
    /// The planned buffers, with what the environment provides.
    fn new<'a>(recording: &'a Recording, env: &Environment<f32>) -> Result<Memory<'a>> {
        let graph = &recording.graph;
        let empty = |&(role, bytes): &(Role, u64)| (role, vec![POISON; bytes as usize / 4]);
        let buffers = recording.buffers.iter().map(empty).collect();
        let mut memory = Memory { graph, rows: env.rows, buffers };
        let pack = |tensors: &[Tensor], values: &[Vec<f32>]| Layout::new(tensors).pack(tensors, values);
        for set in graph.sets() {
            let own = env.params.get(graph.members(set)).unwrap_or_default();
            memory.provide(Role::Arena(set.arena(Kept::Values)), &pack(graph.tensors(set), own)?)?;
        }
        memory.provide(Role::Constants, &pack(&graph.constants, &env.constants)?)?;
        for (arena, values) in &env.arenas {
            memory.provide(Role::Arena(*arena), values)?;
        }
        for (i, values) in env.inputs.iter().enumerate() {
            memory.provide(Role::Input(i), values)?;
        }
        Ok(memory)
    }

    fn provide(&mut self, role: Role, values: &[f32]) -> Result<()> {
        let Some(buffer) = self.buffers.get_mut(&role) else { return Ok(()) };
        let room = buffer.get_mut(..values.len());
        room.ok_or_else(|| Error::Internal(format!("{role:?} is too small")))?.copy_from_slice(values);
        Ok(())
    }

    fn run(&mut self, dispatch: &Dispatch, env: &Environment<f32>) -> Result<()> {
        let mut values = Values::new();
        for &id in &dispatch.nodes {
            for input in self.graph.node(id).inputs() {
                if !values.contains_key(&input) {
                    let value = self.find(dispatch, &values, input, env)?;
                    values.insert(input, value);
                }
            }
            values.insert(id, evaluate_node(self.graph, env, id, &values)?);
        }
        for (id, place) in &dispatch.stores {
            self.check_overlaps(dispatch, *id, *place)?;
            let value = values.get(id).ok_or_else(|| self.fault(*id, "is stored but not computed"))?;
            self.write(*place, *id, value)?;
        }
        Ok(())
    }

    /// A value that a dispatch did not compute under this number: one of its loads, or another view of a value.
    fn find(&self, dispatch: &Dispatch, values: &Values<f32>, id: NodeId, env: &Environment<f32>) -> Result<Vec<f32>> {
        if let Op::Table(_) = self.graph.node(id).op {
            return evaluate_node(self.graph, env, id, values);
        }
        let mut home = id;
        loop {
            if let Some((_, place)) = dispatch.loads.iter().find(|(other, _)| *other == home) {
                return self.read(*place, id, self.graph.shape(id).stride());
            }
            if let Some(value) = values.get(&home) {
                return Ok(value.clone());
            }
            let Op::View(input) = self.graph.node(home).op else { return Err(self.fault(id, "is not loaded")) };
            home = input;
        }
    }

    /// All threads of a dispatch read and write as they please: only an element's own new value may replace it.
    fn check_overlaps(&self, dispatch: &Dispatch, id: NodeId, place: Place) -> Result<()> {
        let update = self.graph.sinks().iter().any(|(sink, s)| *s == id && matches!(sink, Sink::Update(_)));
        let overlaps = |p: &Place| {
            p.role == place.role && p.offset < place.offset + place.bytes && place.offset < p.offset + p.bytes
        };
        let loads = dispatch.loads.iter().any(|(_, p)| overlaps(p) && !(update && *p == place));
        let stores = dispatch.stores.iter().any(|(other, p)| *other != id && overlaps(p));
        if loads || stores { Err(self.fault(id, "is stored over what the same dispatch uses")) } else { Ok(()) }
    }

    /// A value as it lies in memory, its rows so far apart.
    fn read(&self, place: Place, id: NodeId, stride: usize) -> Result<Vec<f32>> {
        let shape = self.graph.shape(id);
        let columns = shape.columns();
        let start = place.offset as usize / 4;
        let stored = self.buffers.get(&place.role).and_then(|b| b.get(start..start + place.bytes as usize / 4));
        let stored = stored.map(|s| if matches!(place.role, Role::Half(_)) { unpacked(s) } else { s.to_vec() });
        let rows = stored.as_ref().and_then(|s| s.get(..shape.matrix_rows(self.rows) * stride));
        let rows = rows.ok_or_else(|| self.fault(id, "is read outside its buffer"))?;
        if rows.chunks(stride).any(|row| row[columns..].iter().any(|&v| v != 0.0)) {
            return Err(self.fault(id, "is padded with something else than zeros"));
        }
        Ok(rows.chunks(stride).flat_map(|row| row[..columns].iter().copied()).collect())
    }

    fn write(&mut self, place: Place, id: NodeId, value: &[f32]) -> Result<()> {
        let graph = self.graph;
        let shape = graph.shape(id);
        let (columns, stride) = (shape.columns(), stride(place.role, shape));
        let update = graph.sinks().iter().any(|(sink, s)| *s == id && matches!(sink, Sink::Update(_)));
        let outside = self.fault(id, "is written outside its buffer");
        let length = shape.matrix_rows(self.rows) * stride;
        let half = matches!(place.role, Role::Half(_));
        let range = self.range(place)?;
        let mut whole = if half { unpacked(range) } else { vec![] };
        let stored = if half { &mut whole[..] } else { &mut *range };
        for (row, value) in stored.get_mut(..length).ok_or(outside)?.chunks_mut(stride).zip(value.chunks(columns)) {
            for (old, &new) in row.iter_mut().zip(value).filter(|(_, new)| !update || new.is_finite()) {
                *old = new;
            }
            row[columns..].fill(0.0);
        }
        if half {
            range.copy_from_slice(&packed(&whole));
        }
        Ok(())
    }

    fn range(&mut self, place: Place) -> Result<&mut [f32]> {
        let start = place.offset as usize / 4;
        let buffer = self.buffers.get_mut(&place.role);
        let range = buffer.and_then(|b| b.get_mut(start..start + place.bytes as usize / 4));
        range.ok_or_else(|| Error::Internal(format!("{place:?} lies outside its buffer")))
    }

    fn fault(&self, id: NodeId, what: &str) -> Error {
        Error::Internal(format!("{} {what}", self.graph.describe(id)))
    }
}

/// Values from one stored row to the next: the caller's results are not padded.
fn stride(role: Role, shape: &Shape) -> usize {
    if matches!(role, Role::Output(_)) { shape.columns() } else { shape.stride() }
}
