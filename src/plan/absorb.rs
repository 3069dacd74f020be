//! Absorption: a group that only computes elements for one later group, of the same matrix, becomes part of it. What it
//! reads is then read there, and its result never lies in memory.

use std::collections::BTreeSet;

use super::Target;
use super::fuse::{Group, bindings, by_memory, in_register, needed, root, same_matrix, sunk};
use super::late::late;
use crate::graph::{Graph, NodeId, Op};

/// Merges groups into later ones where that can be done. Every group reads from earlier ones only, before as after.
pub(super) fn absorb(graph: &Graph, mut groups: Vec<Group>, target: &Target) -> Vec<Group> {
    if !target.optimise {
        return groups;
    }
    let needed = needed(graph);
    let late = late(graph);
    for at in (0..groups.len()).rev() {
        let group = &groups[at];
        let own: BTreeSet<NodeId> = group.nodes().collect();
        // Random numbers and rows of the data may cost more than what is saved by computing them beside a product.
        let plain = group.body.iter().all(|&id| matches!(graph.node(id).op, Op::Map { .. } | Op::Fill(_)));
        if group.anchor.is_some() || !plain || own.iter().any(|&id| sunk(graph, id)) {
            continue;
        }
        let reads = graph.nodes().filter(|(id, _)| needed[id.0] && !own.contains(id)).flat_map(|(id, node)| {
            node.inputs().into_iter().filter(|input| own.contains(&root(graph, *input))).map(move |input| (id, input))
        });
        let reads: Vec<(NodeId, NodeId)> = reads.collect();
        let home = reads.first().and_then(|(reader, _)| groups.iter().position(|g| g.body.contains(reader)));
        let Some(home) = home.filter(|&home| home > at) else { continue };
        let into = &groups[home];
        let in_registers = reads.iter().all(|&(reader, input)| {
            let shape = graph.shape(reader);
            into.body.contains(&reader) && !by_memory(graph, reader) && in_register(graph, input, shape)
        });
        if !in_registers || !same_matrix(&group.space, &into.space) || into.nodes().any(|id| late.contains(&id)) {
            continue;
        }
        let mut body: Vec<NodeId> = group.body.iter().chain(&into.body).copied().collect();
        body.sort_unstable();
        let merged = Group { body, ..into.clone() };
        if bindings(graph, &merged, None) <= target.limits.storage_buffers {
            groups[home] = merged;
            groups[at].body.clear();
        }
    }
    groups.retain(|group| group.nodes().next().is_some());
    groups
}
