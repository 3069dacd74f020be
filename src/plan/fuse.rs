//! Fusion: which nodes share a dispatch.
//!
//! A group has at most one anchor (a matrix product or a reduction). Elementwise nodes over the anchor's result join
//! it; elementwise nodes that only a reduction reads are computed inside it and never stored.

use super::Target;
use super::late::{copy_late, late};
use crate::error::Result;
use crate::graph::{Access, Expr, Graph, NodeId, Op, Over, Reduction, Shape, Sink};

/// The nodes of one dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The matrix product or reduction, if there is one.
    pub anchor: Option<NodeId>,
    /// Elementwise nodes computed on the way into a reduction, in order.
    pub before: Vec<NodeId>,
    /// Elementwise nodes over the result, in order.
    pub body: Vec<NodeId>,
    /// The shape of the result.
    pub space: Shape,
}

impl Group {
    /// All nodes in an order they can be computed in.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.before.iter().chain(&self.anchor).chain(&self.body).copied()
    }
}

/// Whether a node's memory is that of another one. A hyperparameter's is not: it lies in a row of a table, among others.
pub(super) fn alias(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let Op::View(input) = graph.node(id).op else { return None };
    if matches!(graph.node(input).op, Op::Table(_)) {
        return None;
    }
    let (from, to) = (graph.shape(input), graph.shape(id));
    let unpadded = from.is_unpadded() && to.is_unpadded();
    (from.columns() == to.columns() || unpadded).then_some(input)
}

/// The node whose memory holds the value.
pub(super) fn root(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Some(input) = alias(graph, id) {
        id = input;
    }
    id
}

/// Whether a node is found in memory rather than computed. Batches whose rows need padding are read by a copy.
pub(super) fn is_leaf(graph: &Graph, id: NodeId) -> bool {
    match graph.node(id).op {
        Op::Param(_) | Op::Constant(_) | Op::Arena(_) | Op::Table(_) => true,
        Op::Input(_) => graph.shape(id).is_unpadded(),
        _ => false,
    }
}

fn is_elementwise(graph: &Graph, id: NodeId) -> bool {
    match graph.node(id).op {
        Op::Map { .. } | Op::Gather { .. } | Op::Fill(_) | Op::Identity => true,
        Op::Input(_) => !is_leaf(graph, id),
        _ => by_memory(graph, id),
    }
}

/// Whether an elementwise node reads other elements of its input than its own, so that the input must lie in memory.
pub(super) fn by_memory(graph: &Graph, id: NodeId) -> bool {
    match graph.node(id).op {
        Op::View(_) => alias(graph, id).is_none(),
        Op::Columns { .. } => true,
        _ => false,
    }
}

/// Which nodes the sinks need.
pub(super) fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().count()];
    for (_, id) in graph.sinks() {
        needed[id.0] = true;
    }
    for (id, node) in graph.nodes().rev() {
        if needed[id.0] {
            node.inputs().iter().for_each(|i| needed[i.0] = true);
        }
    }
    needed
}

/// Gives every sink a node of its own, computed and read by nobody else, so that its value can be placed freely.
pub(super) fn prepare(graph: &Graph, optimise: bool) -> Result<Graph> {
    let mut graph = graph.clone();
    let needed = needed(&graph);
    let mut read = vec![false; needed.len()];
    for input in graph.nodes().filter(|(id, _)| needed[id.0]).flat_map(|(_, node)| node.inputs()) {
        read[root(&graph, input).0] = true;
    }
    let homes: Vec<NodeId> = graph.sinks.iter().map(|&(_, id)| root(&graph, id)).collect();
    for i in 0..graph.sinks.len() {
        let (sink, id) = graph.sinks[i];
        let home = homes[i];
        let free = !is_leaf(&graph, home) && homes.iter().filter(|&&h| h == home).count() == 1;
        // A caller's rows and an arena's gradients lie elsewhere than what other dispatches read. Who reads an updated
        // value does so in the dispatch that computes it, if dispatches are shared at all.
        let private = !read[home.0] || (optimise && matches!(sink, Sink::Update(_)));
        if free && private && home == id {
            continue;
        }
        let shape = graph.shape(id).clone();
        let copy = graph.copy(id, shape);
        graph.sinks[i].1 = copy;
    }
    copy_late(&mut graph);
    Ok(graph)
}

impl Graph {
    /// A map that copies, whatever the copied node is.
    pub(super) fn copy(&mut self, id: NodeId, shape: Shape) -> NodeId {
        let name = self.node(id).name.clone();
        let op = Op::Map { expr: Expr::input(0), inputs: vec![id] };
        self.nodes.push(crate::graph::Node { op, shape, name });
        NodeId(self.nodes.len() - 1)
    }
}

/// Forms the groups, in an order they can run in.
pub(super) fn groups(graph: &Graph, target: &Target) -> Vec<Group> {
    let needed = needed(graph);
    let late = late(graph);
    let inside = if target.optimise { computed_inside(graph, &needed, target) } else { vec![None; needed.len()] };
    let mut groups: Vec<Group> = Vec::new();
    let mut home: Vec<Option<usize>> = vec![None; needed.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| needed[id.0]) {
        if is_leaf(graph, id) || alias(graph, id).is_some() || inside[id.0].is_some() {
            continue;
        }
        let at = if is_elementwise(graph, id) {
            let joins = target.optimise && !late.contains(&id);
            let found = if joins { place_for(graph, target, &groups, &home, id) } else { None };
            found.unwrap_or_else(|| {
                groups.push(Group { anchor: None, before: vec![], body: vec![], space: node.shape.clone() });
                groups.len() - 1
            })
        } else {
            let before = (0..id.0).filter(|&i| inside[i] == Some(id)).map(NodeId).collect();
            groups.push(Group { anchor: Some(id), before, body: vec![], space: node.shape.clone() });
            groups.len() - 1
        };
        if is_elementwise(graph, id) {
            groups[at].body.push(id);
        }
        home[id.0] = Some(at);
    }
    groups
}

/// For every elementwise node that is read by one reduction alone: that reduction, as long as it can bind what it reads.
fn computed_inside(graph: &Graph, needed: &[bool], target: &Target) -> Vec<Option<NodeId>> {
    let mut readers: Vec<Vec<NodeId>> = vec![vec![]; needed.len()];
    for (id, node) in graph.nodes().filter(|(id, _)| needed[id.0]) {
        node.inputs().iter().for_each(|i| readers[i.0].push(id));
    }
    let mut inside: Vec<Option<NodeId>> = vec![None; needed.len()];
    for (id, node) in graph.nodes().rev().filter(|(id, _)| needed[id.0]) {
        if !is_elementwise(graph, id) || sunk(graph, id) {
            continue;
        }
        let mut owners = readers[id.0].iter().map(|&r| match graph.node(r).op {
            Op::Reduce { .. } => Some(r),
            _ if by_memory(graph, r) => None,
            _ => inside[r.0],
        });
        let Some(Some(owner)) = owners.next() else { continue };
        let Op::Reduce { input, .. } = graph.node(owner).op else { continue };
        if !owners.all(|o| o == Some(owner)) || !same_matrix(graph.shape(input), &node.shape) {
            continue;
        }
        let before = (0..needed.len()).filter(|&i| inside[i] == Some(owner)).map(NodeId).collect();
        let group = Group { anchor: Some(owner), before, body: vec![], space: graph.shape(owner).clone() };
        if bindings(graph, &group, Some(id)) <= target.limits.storage_buffers {
            inside[id.0] = Some(owner);
        }
    }
    inside
}

/// Whether two shapes are the same matrix.
pub(super) fn same_matrix(a: &Shape, b: &Shape) -> bool {
    a.batched == b.batched && a.blocks() == b.blocks() && a.columns() == b.columns()
}

/// Whether a node's value goes into a sink.
pub(super) fn sunk(graph: &Graph, id: NodeId) -> bool {
    graph.sinks().iter().any(|(_, s)| *s == id)
}

/// Whether a group has the value of `id` in a register when it computes an element of `shape`.
pub(super) fn in_register(graph: &Graph, id: NodeId, shape: &Shape) -> bool {
    let same = Access::new(graph.shape(id), shape).is_some_and(|a| a.same_row && !a.splat);
    same && same_matrix(graph.shape(root(graph, id)), shape)
}

/// The group that an elementwise node can join: that of the input computed last, if it computes the same matrix; or
/// else a later elementwise one that reads some of the same values, or any where it must find its input in memory.
fn place_for(graph: &Graph, target: &Target, groups: &[Group], home: &[Option<usize>], id: NodeId) -> Option<usize> {
    let node = graph.node(id);
    let inputs: Vec<NodeId> = node.inputs();
    let home_of = |i: &NodeId| home[root(graph, *i).0];
    let last = inputs.iter().filter_map(home_of).max();
    let by_memory = by_memory(graph, id);
    let fits = |at: usize| {
        let group = &groups[at];
        let registers = inputs.iter().filter(|i| home_of(i) == Some(at));
        same_matrix(&group.space, &node.shape)
            && registers.clone().all(|&i| !by_memory && in_register(graph, i, &node.shape))
            && bindings(graph, group, Some(id)) <= target.limits.storage_buffers
    };
    if let Some(at) = last.filter(|&at| fits(at)) {
        return Some(at);
    }
    let shares = |group: &Group| {
        by_memory || group.body.iter().any(|&b| graph.node(b).inputs().iter().any(|i| inputs.contains(i)))
    };
    (last.map_or(0, |l| l + 1)..groups.len()).find(|&at| groups[at].anchor.is_none() && shares(&groups[at]) && fits(at))
}

/// Storage buffers a group binds at most, or would if `extra` joined it: everything read from memory, and everything
/// computed, since it may have to be stored.
pub(super) fn bindings(graph: &Graph, group: &Group, extra: Option<NodeId>) -> usize {
    let mut own: Vec<NodeId> = group.nodes().collect();
    own.extend(extra);
    let mut read: Vec<NodeId> = Vec::new();
    let mut bound_apart = 0;
    for &id in &own {
        if matches!(graph.node(id).op, Op::Gather { .. } | Op::Input(_)) {
            bound_apart += 1;
        }
        for input in graph.node(id).inputs() {
            let home = root(graph, input);
            // The table is no storage buffer.
            let table = matches!(graph.node(home).op, Op::Table(_));
            if !own.contains(&home) && !read.contains(&home) && !table {
                read.push(home);
            }
        }
    }
    let readers = |id: NodeId| graph.nodes().filter(move |(_, n)| n.inputs().contains(&id)).map(|(r, _)| r);
    let leaves = |id: NodeId| sunk(graph, id) || readers(id).any(|r| !own.contains(&r));
    let stored = own.iter().filter(|&&id| leaves(id)).count();
    // An update is bound together with what it replaces; it and gradients are bound beside the flags.
    let updates = |id: NodeId| graph.sinks().iter().any(|(s, n)| matches!(s, Sink::Update(_)) && *n == id);
    let replaced = own
        .iter()
        .filter(|&&id| updates(id))
        .filter(|&&id| {
            graph.sinks().iter().any(|(s, n)| {
                *n == id
                    && read.iter().any(|&r| matches!((s, &graph.node(r).op), (Sink::Update(a), Op::Arena(b)) if a == b))
            })
        })
        .count();
    let flagged = |(s, n): &(Sink, NodeId)| matches!(s, Sink::Update(_) | Sink::Gradient(_)) && own.contains(n);
    let flags = usize::from(graph.sinks().iter().any(flagged));
    read.len() + bound_apart + stored + flags - replaced
}

/// The parts of a reduction.
pub(super) fn reduction(graph: &Graph, id: NodeId) -> Option<(Reduction, Over, NodeId)> {
    match graph.node(id).op {
        Op::Reduce { op, over, input } => Some((op, over, input)),
        _ => None,
    }
}
