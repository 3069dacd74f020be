//! Memory: where every value lies. Sinks have places of their own; everything else gets a slot, which is used again
//! once the last dispatch that reads the value has run.

use std::collections::BTreeMap;

use super::choose::Job;
use super::fuse::Group;
use super::values::{Values, Way};
use super::{Place, Role, Target};
use crate::error::{Error, Result};
use crate::graph::{Kept, Layout, NodeId, Op, Sink};
use crate::kernel::TERMS;

/// Bytes between two terms.
const TERM_STRIDE: u64 = 256;

/// Where values lie.
pub(super) struct Places {
    /// The place of every value that lies in memory.
    pub of: BTreeMap<NodeId, Place>,
    /// All buffers with their sizes.
    pub buffers: Vec<(Role, u64)>,
}

/// Assigns places.
pub(super) fn places(values: &Values, stages: &[Vec<Job>], target: &Target) -> Result<Places> {
    let graph = &values.graph;
    if graph.terms.len() > TERMS {
        let (needs, allowed) = (graph.terms.len() as u64, TERMS as u64);
        return Err(Error::Limit { what: "terms of the objective".into(), needs, allowed, limit: "TERMS" });
    }
    let layouts: Vec<Layout> = graph.sets().map(|set| graph.layout(set)).collect();
    // Of a trainable tensor, in one of its set's buffers.
    let offsets = graph.offsets();
    let tensor = |i: usize, kept: Kept| {
        let missing = || Error::Internal(format!("trainable tensor {i} is in no set"));
        let &(set, offset) = offsets.get(i).ok_or_else(missing)?;
        Ok(Place { role: Role::Arena(set.arena(kept)), offset, bytes: graph.params[i].shape.bytes(1) })
    };
    let constants = Layout::new(&graph.constants);
    let mut of = BTreeMap::new();
    let whole = |role, bytes| Place { role, offset: 0, bytes };
    for &(sink, id) in graph.sinks() {
        let shape = graph.shape(id);
        let place = match sink {
            Sink::Gradient(i) => tensor(i, Kept::Gradients)?,
            Sink::Term(i) => Place { role: Role::Terms, offset: i as u64 * TERM_STRIDE, bytes: 16 },
            Sink::Output(i) => whole(Role::Output(i), packed_bytes(shape.elements(target.rows))),
            Sink::Update(arena) => whole(Role::Arena(arena), layouts[arena.set.0].bytes),
        };
        of.insert(id, place);
    }
    for (id, node) in graph.nodes() {
        let place = match node.op {
            Op::Param(i) => tensor(i, Kept::Values)?,
            Op::Constant(i) => {
                Place { role: Role::Constants, offset: constants.offsets[i], bytes: node.shape.bytes(1) }
            }
            Op::Arena(arena) => whole(Role::Arena(arena), layouts[arena.set.0].bytes),
            Op::Table(_) => whole(Role::Table, graph.scalars().bytes()),
            Op::Input(i) if values[id].way == Way::Leaf => {
                whole(Role::Input(i), packed_bytes(node.shape.elements(target.rows)))
            }
            // Slots, if they lie in memory at all.
            Op::Map { .. } | Op::Reduce { .. } | Op::MatMul { .. } => continue,
            Op::View(_) | Op::Columns { .. } | Op::Own { .. } => continue,
            Op::Input(_) | Op::Gather { .. } | Op::Fill(_) | Op::Identity => continue,
        };
        of.insert(id, place);
    }
    let (mut slots, mut halves) = (Slots::default(), Slots::default());
    let last = last_uses(values, stages);
    for (at, group) in in_stages(stages) {
        for id in group.anchor.iter().chain(&group.body).copied().filter(|id| values[*id].sink.is_none()) {
            if let Some(until) = last[id.0].filter(|&until| until > at) {
                let bytes = graph.shape(id).bytes(target.rows);
                let until = if target.optimise { until } else { usize::MAX };
                let place = match target.optimise && values[id].half {
                    true => whole(Role::Half(halves.take(bytes / 2, at, until)), bytes / 2),
                    false => whole(Role::Slot(slots.take(bytes, at, until)), bytes),
                };
                of.insert(id, place);
            }
        }
    }
    let buffers = buffers(values, stages, &of, [&slots, &halves], target);
    Ok(Places { of, buffers })
}

/// Bytes of so many values without padding: a whole number of quads only where they are bound as quads.
pub(super) fn packed_bytes(elements: usize) -> u64 {
    elements as u64 * 4
}

/// Every group with the number of its stage.
fn in_stages(stages: &[Vec<Job>]) -> impl Iterator<Item = (usize, &Group)> {
    stages.iter().enumerate().flat_map(|(at, stage)| stage.iter().map(move |job| (at, &job.group)))
}

/// For every value that some group reads: the last stage with such a group.
fn last_uses(values: &Values, stages: &[Vec<Job>]) -> Vec<Option<usize>> {
    let mut last = vec![None; values.len()];
    for (at, group) in in_stages(stages) {
        for &input in group.nodes().flat_map(|id| &values[id].inputs) {
            last[values.home(input).0] = Some(at);
        }
    }
    last
}

/// Every buffer with its size.
fn buffers(
    values: &Values,
    stages: &[Vec<Job>],
    of: &BTreeMap<NodeId, Place>,
    [slots, halves]: [&Slots; 2],
    target: &Target,
) -> Vec<(Role, u64)> {
    let graph = &values.graph;
    let mut buffers: BTreeMap<Role, u64> = BTreeMap::new();
    for place in of.values() {
        let bytes = buffers.entry(place.role).or_default();
        *bytes = (*bytes).max(place.offset + place.bytes);
    }
    for (role, bytes) in &mut buffers {
        match role {
            Role::Arena(arena) => *bytes = graph.layout(arena.set).bytes,
            Role::Constants => *bytes = Layout::new(&graph.constants).bytes,
            Role::Slot(i) => *bytes = slots.bytes[*i],
            Role::Half(i) => *bytes = halves.bytes[*i],
            _ => {}
        }
    }
    for id in in_stages(stages).flat_map(|(_, group)| group.nodes()) {
        match graph.node(id).op {
            Op::Gather { .. } => {
                buffers.insert(Role::Data, packed_bytes(target.data_rows * graph.shape(id).columns()));
            }
            Op::Input(i) => {
                buffers.insert(Role::Input(i), packed_bytes(graph.shape(id).elements(target.rows)));
            }
            _ => {}
        }
    }
    buffers.into_iter().collect()
}

/// Slots in use, coloured greedily.
#[derive(Default)]
struct Slots {
    bytes: Vec<u64>,
    busy_until: Vec<usize>,
}

impl Slots {
    /// A slot for a value made by group `now` and read until group `until`: the free one that fits best, or grows
    /// least.
    fn take(&mut self, bytes: u64, now: usize, until: usize) -> usize {
        let free = (0..self.bytes.len()).filter(|&i| self.busy_until[i] < now);
        let waste = |&i: &usize| (self.bytes[i] < bytes, self.bytes[i].abs_diff(bytes));
        let slot = free.min_by_key(waste).unwrap_or_else(|| {
            self.bytes.push(0);
            self.busy_until.push(0);
            self.bytes.len() - 1
        });
        self.bytes[slot] = self.bytes[slot].max(bytes);
        self.busy_until[slot] = until;
        slot
    }
}
