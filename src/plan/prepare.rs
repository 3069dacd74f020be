//! Where results go, settled before anything is fused: every sink gets a node of its own, and what is written into an arena
//! is written after everything that reads it.

use std::collections::BTreeMap;

use super::values::{Values, Way};
use crate::graph::{Arena, Kept, NodeId, Op, Sink};

/// Gives every sink a node of its own, computed and read by nobody else, so that its value can be placed freely. Others may
/// read a value that replaces an arena's where they do so `together`, in the group that computes it.
pub(super) fn prepare(values: &mut Values, together: bool) {
    let homes: Vec<NodeId> = values.graph.sinks().iter().map(|&(_, id)| values.home(id)).collect();
    let mut shared: BTreeMap<NodeId, usize> = BTreeMap::new();
    homes.iter().for_each(|&home| *shared.entry(home).or_default() += 1);
    let read: Vec<bool> = homes.iter().map(|&home| !values[home].readers.is_empty()).collect();
    for (i, &home) in homes.iter().enumerate() {
        let (sink, id) = values.graph.sinks()[i];
        let free = home == id && values[home].way != Way::Leaf && shared[&home] == 1;
        // A caller's rows and an arena's gradients lie elsewhere than what other dispatches read.
        let private = !read[i] || (together && matches!(sink, Sink::Update(_)));
        if !(free && private) {
            values.copy_for_sink(i);
        }
    }
    for i in late(values) {
        values.copy_for_sink(i);
        let (_, copy) = values.graph.sinks()[i];
        values.mark_late(copy);
    }
}

/// The sinks whose values go into an arena and must wait there for a dispatch of their own after all others: where someone
/// reads the arena who may come later than the value, or who reads more of it than the element that is replaced.
fn late(values: &Values) -> Vec<usize> {
    let mut readers: BTreeMap<Arena, Vec<(NodeId, NodeId)>> = BTreeMap::new();
    for (id, node) in values.graph.nodes() {
        let arena = match node.op {
            Op::Arena(arena) => arena,
            Op::Param(i) => match values.graph.set_of(i) {
                Some(set) => set.arena(Kept::Values),
                None => continue,
            },
            _ => continue,
        };
        readers.entry(arena).or_default().extend(&values[id].readers);
    }
    let late = |&(_, &(sink, id)): &(usize, &(Sink, NodeId))| {
        let arena = match sink {
            Sink::Update(arena) => arena,
            Sink::Gradient(i) => match values.graph.set_of(i) {
                Some(set) => set.arena(Kept::Gradients),
                None => return false,
            },
            Sink::Term(_) | Sink::Output(_) => return false,
        };
        let Some(readers) = readers.get(&arena).filter(|readers| !readers.is_empty()) else { return false };
        // Dispatches run in an order in which what a value is made of comes no later than the value.
        let earlier = made_of(values, id);
        let in_place = |reader: NodeId, leaf: NodeId| {
            let whole = matches!(values.op(values.home(leaf)), Op::Arena(_));
            whole && matches!(values.op(reader), Op::Map { .. }) && values.in_register(leaf, values.shape(reader))
        };
        readers.iter().any(|&(reader, leaf)| !earlier[reader.0] || !in_place(reader, leaf))
    };
    values.graph.sinks().iter().enumerate().filter(late).map(|(i, _)| i).collect()
}

/// The values that a value is made of, itself included.
fn made_of(values: &Values, id: NodeId) -> Vec<bool> {
    let mut made_of = vec![false; values.len()];
    made_of[id.0] = true;
    for at in (0..=id.0).rev() {
        if made_of[at] {
            values[NodeId(at)].inputs.iter().for_each(|i| made_of[i.0] = true);
        }
    }
    made_of
}
