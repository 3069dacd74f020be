//! What is written into an arena is written after everything that reads it.

use super::fuse::{alias, in_register, needed, root};
use crate::graph::{Arena, Graph, NodeId, Op, Sink};

/// The values that wait for a dispatch of their own.
pub(super) fn late(graph: &Graph) -> Vec<NodeId> {
    graph.sinks().iter().filter(|(sink, id)| is_late(graph, *sink, *id)).map(|(_, id)| *id).collect()
}

/// Whether a value that goes into an arena must wait there for a dispatch of its own after all others: where someone
/// reads the arena who may come later than the value, or who reads more of it than the element that is replaced.
fn is_late(graph: &Graph, sink: Sink, id: NodeId) -> bool {
    let arena = match sink {
        Sink::Update(arena) => arena,
        Sink::Gradient(_) => Arena::Grads,
        Sink::Term(_) | Sink::Output(_) => return false,
    };
    let holds = |&leaf: &NodeId| match graph.node(root(graph, leaf)).op {
        Op::Arena(a) => a == arena,
        Op::Param(_) => arena == Arena::Params,
        _ => false,
    };
    // Dispatches run in an order in which what a value is made of comes no later than the value.
    let earlier = made_of(graph, id);
    let in_place = |reader: NodeId, leaf: NodeId| {
        let whole = matches!(graph.node(root(graph, leaf)).op, Op::Arena(_));
        let node = graph.node(reader);
        whole && matches!(node.op, Op::Map { .. }) && in_register(graph, leaf, &node.shape)
    };
    let needed = needed(graph);
    let readers = graph.nodes().filter(|(r, _)| needed[r.0] && alias(graph, *r).is_none());
    readers
        .into_iter()
        .any(|(r, node)| node.inputs().iter().filter(|i| holds(i)).any(|&i| !earlier[r.0] || !in_place(r, i)))
}

/// The values that a value is made of, itself included.
fn made_of(graph: &Graph, id: NodeId) -> Vec<bool> {
    let mut made_of = vec![false; graph.nodes().count()];
    made_of[id.0] = true;
    for (at, node) in graph.nodes().rev() {
        if made_of[at.0] {
            node.inputs().iter().for_each(|i| made_of[i.0] = true);
        }
    }
    made_of
}

/// Gives late values a copy to be written from, behind all other nodes.
pub(super) fn copy_late(graph: &mut Graph) {
    let late: Vec<bool> = graph.sinks().iter().map(|&(sink, id)| is_late(graph, sink, id)).collect();
    for i in (0..late.len()).filter(|&i| late[i]) {
        let id = graph.sinks[i].1;
        let shape = graph.shape(id).clone();
        graph.sinks[i].1 = graph.copy(id, shape);
    }
}
