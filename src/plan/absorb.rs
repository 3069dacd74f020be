//! Absorption: a group that only computes elements for one later group, of the same matrix, becomes part of it. What it
//! reads is then read there, and its result never lies in memory.

use std::collections::BTreeSet;

use super::Target;
use super::binds::Binds;
use super::fuse::Group;
use super::values::{Values, same_matrix};
use crate::graph::{NodeId, Op};

/// Merges groups into later ones where that can be done. Every group reads from earlier ones only, before as after.
pub(super) fn absorb(values: &Values, mut groups: Vec<Group>, target: &Target) -> Vec<Group> {
    if !target.optimise {
        return groups;
    }
    let binds = Binds::new(values, target);
    let mut of: Vec<Option<usize>> = vec![None; values.len()];
    for (at, group) in groups.iter().enumerate() {
        group.body.iter().for_each(|id| of[id.0] = Some(at));
    }
    for at in (0..groups.len()).rev() {
        let group = &groups[at];
        // Random numbers and rows of the data may cost more than what is saved by computing them beside a product.
        let plain = |id: &NodeId| matches!(values.op(*id), Op::Map { .. } | Op::Fill(_)) && values[*id].sink.is_none();
        if group.anchor.is_some() || !group.body.iter().all(plain) {
            continue;
        }
        let reads = group.body.iter().flat_map(|&id| &values[id].readers);
        let outside: Vec<(NodeId, NodeId)> = reads.copied().filter(|(reader, _)| of[reader.0] != Some(at)).collect();
        let Some(home) = outside.first().and_then(|(reader, _)| of[reader.0]).filter(|&home| home > at) else {
            continue;
        };
        let into = &groups[home];
        let in_registers = outside.iter().all(|&(reader, input)| {
            let element = !values[reader].way.by_memory() && values.in_register(input, values.shape(reader));
            of[reader.0] == Some(home) && element
        });
        let late = into.body.iter().any(|&id| values[id].late);
        if !in_registers || late || !same_matrix(&group.space, &into.space) {
            continue;
        }
        let mut body: Vec<NodeId> = group.body.iter().chain(&into.body).copied().collect();
        body.sort_unstable();
        let merged = Group { body, ..into.clone() };
        let nodes: BTreeSet<NodeId> = merged.nodes().collect();
        if binds.of(&nodes, None, [false; 2]).len() <= target.limits.storage_buffers {
            groups[at].body.iter().for_each(|id| of[id.0] = Some(home));
            groups[home] = merged;
            groups[at].body.clear();
        }
    }
    groups.retain(|group| group.nodes().next().is_some());
    groups
}
