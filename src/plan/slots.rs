//! Memory: where every value lies. Sinks have places of their own; everything else gets a slot, which is used again
//! once the last dispatch that reads the value has run.

use std::collections::BTreeMap;

use super::fuse::{Group, alias, is_leaf, root};
use super::{Place, Role, Target};
use crate::error::{Error, Result};
use crate::graph::{Arena, Graph, Kind, Layout, Node, NodeId, Op, Sink};
use crate::kernel::{RING, TERMS};

/// Bytes between two terms.
const TERM_STRIDE: u64 = 256;

/// Where values lie.
pub(super) struct Places {
    /// The place of every value that lies in memory.
    pub of: BTreeMap<NodeId, Place>,
    /// The sink of a node that has one.
    pub sinks: BTreeMap<NodeId, Sink>,
    /// All buffers with their sizes.
    pub buffers: Vec<(Role, u64)>,
}

/// Assigns places.
pub(super) fn places(graph: &Graph, stages: &[Vec<Group>], target: &Target) -> Result<Places> {
    if graph.terms.len() > TERMS {
        let (needs, allowed) = (graph.terms.len() as u64, TERMS as u64);
        return Err(Error::Limit { what: "terms of the objective".into(), needs, allowed, limit: "TERMS" });
    }
    let params = Layout::new(&graph.params);
    let constants = Layout::new(&graph.constants);
    let mut of = BTreeMap::new();
    let mut sinks = BTreeMap::new();
    let whole = |role, bytes| Place { role, offset: 0, bytes };
    for &(sink, id) in graph.sinks() {
        let shape = graph.shape(id);
        let place = match sink {
            Sink::Gradient(i) => {
                Place { role: Role::Arena(Arena::Grads), offset: params.offsets[i], bytes: shape.bytes(1) }
            }
            Sink::Term(i) => Place { role: Role::Terms, offset: i as u64 * TERM_STRIDE, bytes: 16 },
            Sink::Output(i) => whole(Role::Output(i), packed_bytes(shape.elements(target.rows))),
            Sink::Update(arena) => whole(Role::Arena(arena), params.bytes),
        };
        of.insert(id, place);
        sinks.insert(id, sink);
    }
    for (id, node) in graph.nodes() {
        let place = match node.op {
            Op::Param(i) => {
                Place { role: Role::Arena(Arena::Params), offset: params.offsets[i], bytes: node.shape.bytes(1) }
            }
            Op::Constant(i) => {
                Place { role: Role::Constants, offset: constants.offsets[i], bytes: node.shape.bytes(1) }
            }
            Op::Arena(arena) => whole(Role::Arena(arena), params.bytes),
            Op::Table(_) => whole(Role::Table, RING as u64 * 16),
            Op::Input(i) if is_leaf(graph, id) => whole(Role::Input(i), packed_bytes(node.shape.elements(target.rows))),
            _ => continue,
        };
        of.insert(id, place);
    }
    let (mut slots, mut halves) = (Slots::default(), Slots::default());
    let last = last_uses(graph, stages);
    for (at, group) in in_stages(stages) {
        for id in group.anchor.iter().chain(&group.body).copied().filter(|id| !sinks.contains_key(id)) {
            if let Some(&until) = last.get(&id).filter(|&&until| until > at) {
                let bytes = graph.shape(id).bytes(target.rows);
                let until = if target.optimise { until } else { usize::MAX };
                let place = match target.optimise && in_half(graph, id) {
                    true => whole(Role::Half(halves.take(bytes / 2, at, until)), bytes / 2),
                    false => whole(Role::Slot(slots.take(bytes, at, until)), bytes),
                };
                of.insert(id, place);
            }
        }
    }
    let buffers = buffers(graph, stages, &of, [&slots, &halves], target);
    Ok(Places { of, sinks, buffers })
}

/// Bytes of so many values without padding: a whole number of quads only where they are bound as quads.
pub(super) fn packed_bytes(elements: usize) -> u64 {
    elements as u64 * 4
}

/// Whether a value loses nothing in half precision, and is only read in whole quads.
pub(super) fn in_half(graph: &Graph, id: NodeId) -> bool {
    let rounded = matches!(&graph.node(id).op, Op::Map { expr, .. } if matches!(*expr.0, Kind::Half(_)));
    let cut_anew = |(view, node): (NodeId, &Node)| {
        matches!(node.op, Op::View(input) if root(graph, input) == id) && alias(graph, view).is_none()
    };
    rounded && !graph.nodes().any(cut_anew)
}

/// Every group with the number of its stage.
fn in_stages(stages: &[Vec<Group>]) -> impl Iterator<Item = (usize, &Group)> {
    stages.iter().enumerate().flat_map(|(at, stage)| stage.iter().map(move |group| (at, group)))
}

/// For every value that some other group reads from memory: the last stage with such a group.
fn last_uses(graph: &Graph, stages: &[Vec<Group>]) -> BTreeMap<NodeId, usize> {
    let mut home = BTreeMap::new();
    for (at, group) in in_stages(stages) {
        home.extend(group.nodes().map(|id| (id, at)));
    }
    let mut last = BTreeMap::new();
    for (at, group) in in_stages(stages) {
        for input in group.nodes().flat_map(|id| graph.node(id).inputs()) {
            let input = root(graph, input);
            if home.get(&input).is_some_and(|&h| h != at) {
                last.insert(input, at);
            }
        }
    }
    last
}

/// Every buffer with its size.
fn buffers(
    graph: &Graph,
    stages: &[Vec<Group>],
    of: &BTreeMap<NodeId, Place>,
    [slots, halves]: [&Slots; 2],
    target: &Target,
) -> Vec<(Role, u64)> {
    let mut buffers: BTreeMap<Role, u64> = BTreeMap::new();
    for place in of.values() {
        let bytes = buffers.entry(place.role).or_default();
        *bytes = (*bytes).max(place.offset + place.bytes);
    }
    for (role, bytes) in &mut buffers {
        match role {
            Role::Arena(_) => *bytes = Layout::new(&graph.params).bytes,
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
