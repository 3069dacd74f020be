//! Stages: groups that do not depend on one another run side by side, as parts of one dispatch. A dispatch has a price
//! whatever its size, and a barrier between each and the next; a backward pass is full of pairs that need neither.

use std::collections::{BTreeMap, BTreeSet};

use super::choose::{choose_tile, lanes, map, octets, product};
use super::fuse::{Group, alias, needed, root};
use super::{AdapterKind, Target};
use crate::graph::{Graph, Layout, NodeId, Op, Sink};
use crate::kernel::{SUBGROUP, Schedule};

/// Something a dispatch binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    /// A value.
    Value(NodeId, Cut),
    /// The resident data, or a batch of the caller's that needs padding.
    Rows(Option<usize>),
    Gradients,
    Terms,
    Flags,
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Quads,
    /// Two quads at a time, by a product.
    Octets,
    /// Value by value, where rows are cut anew.
    Values,
}

/// Puts the groups into stages, in an order they can run in. Those that most others wait for go first; the rest fills
/// the room they leave.
pub(super) fn stages(graph: &Graph, groups: Vec<Group>, target: &Target) -> Vec<Vec<Group>> {
    let alone = |groups: Vec<Group>| groups.into_iter().map(|group| vec![group]).collect();
    // Kernels that compile soon are those that many dispatches share. What reads or replaces whole arenas keeps its
    // order.
    let arenas = graph.nodes().any(|(_, node)| matches!(node.op, Op::Arena(_)));
    let updates = graph.sinks().iter().any(|(sink, _)| matches!(sink, Sink::Update(_)));
    if !target.optimise || arenas || updates || (target.quick && target.kind == AdapterKind::Software) {
        return alone(groups);
    }
    let mut home = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        home.extend(group.nodes().map(|id| (id, at)));
    }
    let waits: Vec<BTreeSet<usize>> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| {
            let inputs = group.nodes().flat_map(|id| graph.node(id).inputs());
            inputs.filter_map(|input| home.get(&root(graph, input)).copied()).filter(|&h| h != at).collect()
        })
        .collect();
    // How many stages must follow each group.
    let mut height = vec![0usize; groups.len()];
    for at in (0..groups.len()).rev() {
        for &before in &waits[at] {
            height[before] = height[before].max(height[at] + 1);
        }
    }
    let readers = readers(graph);
    let bound: Vec<BTreeSet<Binding>> = groups.iter().map(|group| bindings(graph, group, &readers, target)).collect();
    let weights: Vec<Weight> = groups.iter().map(|group| weight(graph, group, target)).collect();
    let workgroup: Vec<Option<u32>> = groups.iter().map(|group| fixed_workgroup(graph, group, target)).collect();
    let mut stage_of: Vec<Option<usize>> = vec![None; groups.len()];
    let mut order: Vec<Vec<usize>> = Vec::new();
    while order.iter().map(Vec::len).sum::<usize>() < groups.len() {
        let ready = |at: &usize| stage_of[*at].is_none() && waits[*at].iter().all(|&w| stage_of[w].is_some());
        let mut ready: Vec<usize> = (0..groups.len()).filter(ready).collect();
        ready.sort_by_key(|&at| (std::cmp::Reverse(height[at]), at));
        let mut stage: Vec<usize> = Vec::new();
        let mut union: BTreeSet<Binding> = BTreeSet::new();
        let mut size = None;
        for at in ready {
            let joint: BTreeSet<Binding> = union.union(&bound[at]).copied().collect();
            let sizes = size.is_none() || workgroup[at].is_none() || size == workgroup[at];
            let together = stage.iter().all(|&other| weights[at].may_join(weights[other]));
            let fits = sizes && together;
            if stage.is_empty() || (fits && joint.len() <= target.limits.storage_buffers) {
                stage.push(at);
                size = size.or(workgroup[at]);
                union = joint;
            }
        }
        stage.iter().for_each(|&at| stage_of[at] = Some(order.len()));
        // A GPU hands out workgroups in order: those that take longest go first, and the others fill what is left.
        let inner = |at: usize| product(graph, &groups[at], target).map_or(0, |product| product.inner);
        match target.kind {
            AdapterKind::Hardware => stage.sort_unstable_by_key(|&at| (std::cmp::Reverse(inner(at)), at)),
            AdapterKind::Software => stage.sort_unstable(),
        }
        order.push(stage);
    }
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    order.into_iter().map(|stage| stage.into_iter().filter_map(|at| groups[at].take()).collect()).collect()
}

/// What a group means for others beside it on software adapters. llvmpipe runs every part of a kernel in every workgroup,
/// under a mask that is empty for all but one: a product's registers are then cleared and stored for nothing, and its loop
/// is gone through once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Anything goes with it.
    Free,
    /// A product.
    Product,
    /// A product so large that a dispatch of its own costs less than another product beside it.
    Large,
    /// So many workgroups that they do not go with a product.
    Many,
}

impl Weight {
    fn may_join(self, other: Weight) -> bool {
        use Weight::Free;
        // Products that are not large go together, and so do maps and sums.
        self == Free || other == Free || (self == other && self != Weight::Large)
    }
}

/// The most workgroups, of the size that products have, that go with a product on software adapters.
const FEW: usize = 64;

/// Operations from which a product is large: beside another one, 8 to 10 % of its time is more than the 25 microseconds of a
/// dispatch (784-1000-500-250-30, batch 128, llvmpipe of Mesa 22.3.6).
const LARGE: u64 = 30_000_000;

fn weight(graph: &Graph, group: &Group, target: &Target) -> Weight {
    let (rows, quads) = (group.space.matrix_rows(target.rows), group.space.stride() / 4);
    let groups = match group.anchor.map(|id| &graph.node(id).op) {
        _ if target.kind == AdapterKind::Hardware => return Weight::Free,
        Some(Op::MatMul { .. }) => {
            let flops = product(graph, group, target).map_or(0, |product| product.flops());
            return if flops < LARGE { Weight::Product } else { Weight::Large };
        }
        Some(_) => (rows * quads).div_ceil(SUBGROUP),
        None => map(graph, group, target).groups(rows, quads, SUBGROUP as u32),
    };
    if groups > FEW { Weight::Many } else { Weight::Free }
}

/// For every value the nodes that read it.
fn readers(graph: &Graph) -> BTreeMap<NodeId, Vec<NodeId>> {
    let needed = needed(graph);
    let mut readers: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in graph.nodes().filter(|(id, _)| needed[id.0]) {
        node.inputs().iter().for_each(|&input| readers.entry(root(graph, input)).or_default().push(id));
    }
    readers
}

/// The size of a group's workgroups, where it cannot be chosen.
fn fixed_workgroup(graph: &Graph, group: &Group, target: &Target) -> Option<u32> {
    match group.anchor.map(|id| &graph.node(id).op) {
        Some(&Op::MatMul { ta, tb, .. }) => {
            let tile = choose_tile(target, graph, group);
            Some(Schedule::MatMul { tile, ta, tb }.workgroup())
        }
        Some(_) => Some(lanes(graph, group, target)).filter(|&lanes| lanes > 1),
        None => None,
    }
}

/// What a group binds.
fn bindings(
    graph: &Graph,
    group: &Group,
    readers: &BTreeMap<NodeId, Vec<NodeId>>,
    target: &Target,
) -> BTreeSet<Binding> {
    let own: Vec<NodeId> = group.nodes().collect();
    let one_arena = Layout::new(&graph.params).bytes <= target.limits.binding_bytes;
    let mut bound = BTreeSet::new();
    for &id in &own {
        let cut_anew = matches!(graph.node(id).op, Op::View(_)) && alias(graph, id).is_none();
        let cut = if cut_anew { Cut::Values } else { Cut::Quads };
        let octets = if group.anchor == Some(id) { octets(graph, group, target) } else { [false; 2] };
        match graph.node(id).op {
            Op::Gather { .. } => drop(bound.insert(Binding::Rows(None))),
            Op::Input(i) => drop(bound.insert(Binding::Rows(Some(i)))),
            _ => {}
        }
        for (at, input) in graph.node(id).inputs().into_iter().enumerate() {
            let home = root(graph, input);
            let cut = if octets.get(at) == Some(&true) { Cut::Octets } else { cut };
            match graph.node(home).op {
                // No storage buffer.
                Op::Table(_) => {}
                _ if own.contains(&home) => {}
                _ => drop(bound.insert(Binding::Value(home, cut))),
            }
        }
        let sink = graph.sinks().iter().find(|(_, node)| *node == id).map(|(sink, _)| sink);
        match sink {
            Some(Sink::Gradient(_)) if one_arena => bound.extend([Binding::Gradients, Binding::Flags]),
            Some(Sink::Gradient(_)) => bound.extend([Binding::Value(id, Cut::Quads), Binding::Flags]),
            Some(Sink::Term(_)) => drop(bound.insert(Binding::Terms)),
            Some(_) => drop(bound.insert(Binding::Value(id, Cut::Quads))),
            None => {
                let leaves = readers.get(&id).is_some_and(|r| r.iter().any(|reader| !own.contains(reader)));
                if leaves {
                    bound.insert(Binding::Value(id, Cut::Quads));
                }
            }
        }
    }
    bound
}
