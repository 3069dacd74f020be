//! What a group of nodes binds: said here once, for fusion, which keeps groups within the limit, for stages, and for the
//! check of every dispatch that is written.

use std::collections::BTreeSet;

use super::Target;
use super::values::Values;
use crate::graph::{Arena, Kept, NodeId, Op, Sink};

/// A storage range that a dispatch binds, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    /// A value.
    Value(NodeId, Cut),
    /// A whole arena, read or replaced; gradients are written through one binding of theirs, where it may be as large.
    Arena(Arena),
    /// The resident data, or a batch of the caller's that needs padding.
    Rows(Option<usize>),
    Terms,
    Flags,
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    Quads,
    /// Two quads at a time, by a product.
    Octets,
    /// Value by value.
    Values,
}

/// What groups of a plan bind.
pub(super) struct Binds<'a> {
    values: &'a Values,
    /// For each trainable tensor the buffer of gradients that it shares one binding of with others.
    gradients: Vec<Option<Arena>>,
}

impl<'a> Binds<'a> {
    pub fn new(values: &'a Values, target: &Target) -> Binds<'a> {
        let graph = &values.graph;
        let mut gradients = vec![None; graph.params.len()];
        for set in graph.sets().filter(|&set| graph.layout(set).bytes <= target.limits.binding_bytes) {
            gradients[graph.members(set)].fill(Some(set.arena(Kept::Gradients)));
        }
        Binds { values, gradients }
    }

    /// What a node binds to be computed where `own` tells which values are computed beside it; a product reads the factors
    /// that `octets` names two quads at a time.
    pub fn reads(&self, id: NodeId, octets: [bool; 2], own: impl Fn(NodeId) -> bool, to: &mut BTreeSet<Binding>) {
        let (values, op) = (self.values, self.values.op(id));
        match op {
            Op::Gather { .. } => drop(to.insert(Binding::Rows(None))),
            Op::Input(i) => drop(to.insert(Binding::Rows(Some(*i)))),
            // These bind what they read, and nothing else.
            Op::Map { .. } | Op::Reduce { .. } | Op::MatMul { .. } => {}
            Op::View(_) | Op::Columns { .. } | Op::Own { .. } => {}
            Op::Param(_) | Op::Constant(_) | Op::Arena(_) | Op::Table(_) | Op::Fill(_) | Op::Identity => {}
        }
        let singly = values[id].way.singly();
        for (at, &input) in values[id].inputs.iter().enumerate() {
            let home = values.home(input);
            match *values.op(home) {
                // No storage buffer.
                Op::Table(_) => {}
                Op::Arena(arena) => drop(to.insert(Binding::Arena(arena))),
                _ if own(home) => {}
                _ if singly => drop(to.insert(Binding::Value(home, Cut::Values))),
                _ if octets.get(at) == Some(&true) => drop(to.insert(Binding::Value(home, Cut::Octets))),
                _ => drop(to.insert(Binding::Value(home, Cut::Quads))),
            }
        }
    }

    /// What it binds to leave a value behind.
    pub fn writes(&self, id: NodeId, to: &mut BTreeSet<Binding>) {
        match self.values[id].sink {
            Some(Sink::Gradient(i)) => {
                let all = self.gradients.get(i).copied().flatten();
                to.extend([all.map_or(Binding::Value(id, Cut::Quads), Binding::Arena), Binding::Flags]);
            }
            Some(Sink::Update(arena)) => to.extend([Binding::Arena(arena), Binding::Flags]),
            Some(Sink::Term(_)) => drop(to.insert(Binding::Terms)),
            Some(Sink::Output(_)) | None => drop(to.insert(Binding::Value(id, Cut::Quads))),
        }
    }

    /// Whether a value of a group is read by others or goes into a sink.
    pub fn leaves(&self, id: NodeId, own: impl Fn(NodeId) -> bool) -> bool {
        let value = &self.values[id];
        value.sink.is_some() || value.readers.iter().any(|(reader, _)| !own(*reader))
    }

    /// What a whole group binds.
    pub fn of(&self, nodes: &BTreeSet<NodeId>, product: Option<NodeId>, octets: [bool; 2]) -> BTreeSet<Binding> {
        let mut bound = BTreeSet::new();
        let own = |id: NodeId| nodes.contains(&id);
        for &id in nodes {
            self.reads(id, if product == Some(id) { octets } else { [false; 2] }, own, &mut bound);
            if self.leaves(id, own) {
                self.writes(id, &mut bound);
            }
        }
        bound
    }
}
