//! Fusion: which nodes are computed together, in one pass over one result. Such nodes are a group.
//!
//! A group has at most one anchor: a matrix product or a reduction. An elementwise node joins the group that computes the last of
//! its inputs, where the shape of the result is the same, or else a later group without an anchor. Elementwise nodes that nobody
//! but one reduction reads are computed inside that reduction, and their values are never stored. This pass decides about groups
//! only. Which groups run side by side, as parts of one dispatch, `stage` decides later.
//!
//! No node asks the whole graph, only what it reads, who reads it, and groups that read the same.

use std::collections::{BTreeSet, HashMap};

use super::Target;
use super::binds::{Binding, Binds, Cut};
use super::values::{Values, Way, same_matrix};
use crate::graph::{NodeId, Op, Set, Shape, Sink};

/// Nodes that are computed together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// The matrix product or reduction, if there is one.
    pub anchor: Option<NodeId>,
    /// Elementwise nodes that are computed inside the reduction, before it sums, in order.
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

/// Puts every computed node into a group. The groups are in an order they can run in: each reads from earlier ones only.
pub(super) fn groups(values: &Values, target: &Target) -> Vec<Group> {
    let binds = Binds::new(values, target);
    let mut inside = if target.optimise { computed_inside(values, &binds, target) } else { Inside::none(values) };
    let mut drafts = Drafts {
        values,
        binds,
        most: target.limits.storage_buffers,
        groups: Vec::new(),
        bound: Vec::new(),
        of: vec![None; values.len()],
        unmet: (0..values.len()).map(|at| values[NodeId(at)].readers.len()).collect(),
        reading: HashMap::new(),
        over: HashMap::new(),
    };
    for id in values.computed().filter(|id| inside.owner[id.0].is_none()) {
        if !values[id].way.is_elementwise() {
            let before = std::mem::take(&mut inside.nodes[id.0]);
            drafts.open(Group { anchor: Some(id), before, body: vec![], space: values.shape(id).clone() });
            continue;
        }
        let joins = target.optimise && !values[id].late && values[id].way != Way::Own;
        match if joins { drafts.place_for(id) } else { None } {
            Some(at) => drafts.join(at, id),
            None => {
                drafts.open(Group { anchor: None, before: vec![], body: vec![id], space: values.shape(id).clone() })
            }
        }
    }
    drafts.groups
}

/// Whether every value that replaces an arena's is read in its own group alone, where it is in registers.
pub(super) fn keeps_updates(values: &Values, groups: &[Group]) -> bool {
    let keeps = |group: &Group| {
        let own: BTreeSet<NodeId> = group.nodes().collect();
        let updates = own.iter().filter(|&&id| matches!(values[id].sink, Some(Sink::Update(_))));
        updates.flat_map(|&id| &values[id].readers).all(|(reader, _)| own.contains(reader))
    };
    let updates = values.graph.sinks().iter().any(|(sink, _)| matches!(sink, Sink::Update(_)));
    !updates || groups.iter().all(keeps)
}

/// Which elementwise nodes are computed inside a reduction.
struct Inside {
    /// For each node the reduction that it is computed in.
    owner: Vec<Option<NodeId>>,
    /// For each reduction the nodes that are, in order.
    nodes: Vec<Vec<NodeId>>,
}

impl Inside {
    fn none(values: &Values) -> Inside {
        Inside { owner: vec![None; values.len()], nodes: vec![vec![]; values.len()] }
    }
}

/// Finds the elementwise nodes that one reduction alone reads, itself or through others such, as long as the reduction can bind
/// all that they read.
fn computed_inside(values: &Values, binds: &Binds, target: &Target) -> Inside {
    let mut inside = Inside::none(values);
    let mut bound: HashMap<NodeId, BTreeSet<Binding>> = HashMap::new();
    for id in values.computed().rev() {
        let value = &values[id];
        if !value.way.is_elementwise() || value.way == Way::Own || value.sink.is_some() {
            continue;
        }
        let owner = |&(reader, input): &(NodeId, NodeId)| match values[reader].way {
            // What is seen in another shape is another matrix.
            _ if input != id => None,
            Way::Reduction => Some(reader),
            way if way.by_memory() => None,
            _ => inside.owner[reader.0],
        };
        let mut owners = value.readers.iter().map(owner);
        let Some(Some(owner)) = owners.next() else { continue };
        let Op::Reduce { input, .. } = *values.op(owner) else { continue };
        if !owners.all(|o| o == Some(owner)) || !same_matrix(values.shape(input), values.shape(id)) {
            continue;
        }
        // Who reads it is inside, so it is no longer read from memory.
        let mut with = bound.get(&owner).cloned().unwrap_or_else(|| binds.of(&[owner].into(), None, [false; 2]));
        with.remove(&Binding::Value(id, Cut::Quads));
        binds.reads(id, [false; 2], |_| false, &mut with);
        if with.len() <= target.limits.storage_buffers {
            inside.owner[id.0] = Some(owner);
            inside.nodes[owner.0].push(id);
            bound.insert(owner, with);
        }
    }
    inside.nodes.iter_mut().for_each(|nodes| nodes.reverse());
    inside
}

/// Groups while nodes still join them.
struct Drafts<'a> {
    values: &'a Values,
    binds: Binds<'a>,
    /// Storage buffers that a group may bind, which `Limits` has one less of than the device offers.
    most: usize,
    groups: Vec<Group>,
    /// What each group binds.
    bound: Vec<BTreeSet<Binding>>,
    /// The group of each node.
    of: Vec<Option<usize>>,
    /// For each value how often it is read by nodes that are not in its group, or in none yet.
    unmet: Vec<usize>,
    /// For each node the groups without an anchor that read it, in order.
    reading: HashMap<NodeId, Vec<usize>>,
    /// For each matrix (as [`matrix`] tells them apart) the groups without an anchor that compute values of it, in order.
    over: HashMap<(bool, usize, usize), Vec<usize>>,
}

/// What makes two shapes the same matrix: whether it is batched, rows (of each row of the batch, where it is), columns.
fn matrix(shape: &Shape) -> (bool, usize, usize) {
    (shape.batched, shape.blocks(), shape.columns())
}

impl Drafts<'_> {
    /// Begins a group.
    fn open(&mut self, group: Group) {
        let at = self.groups.len();
        let nodes: BTreeSet<NodeId> = group.nodes().collect();
        self.bound.push(self.binds.of(&nodes, None, [false; 2]));
        if group.anchor.is_none() {
            self.over.entry(matrix(&group.space)).or_default().push(at);
        }
        self.groups.push(group);
        for &id in &nodes {
            self.settle(at, id);
        }
    }

    /// Adds an elementwise node to a group that has room for it.
    fn join(&mut self, at: usize, id: NodeId) {
        self.bound[at] = self.bound_with(at, id);
        self.groups[at].body.push(id);
        self.settle(at, id);
    }

    /// Notes that a node is in a group, and what that means for the values that it reads.
    fn settle(&mut self, at: usize, id: NodeId) {
        self.of[id.0] = Some(at);
        let free = self.groups[at].anchor.is_none();
        for &input in &self.values[id].inputs {
            let home = self.values.home(input);
            if self.of[home.0] == Some(at) {
                self.unmet[home.0] -= 1;
            }
            if free {
                let groups = self.reading.entry(input).or_default();
                if groups.last() != Some(&at) {
                    groups.push(at);
                }
            }
        }
    }

    /// What a group binds once a node has joined it.
    fn bound_with(&self, at: usize, id: NodeId) -> BTreeSet<Binding> {
        let here = |id: NodeId| self.of[id.0] == Some(at);
        let mut bound = self.bound[at].clone();
        self.binds.reads(id, [false; 2], here, &mut bound);
        self.binds.writes(id, &mut bound);
        let inputs = &self.values[id].inputs;
        for home in inputs.iter().map(|&input| self.values.home(input)).filter(|&home| here(home)) {
            // Nobody else reads what this one finds in registers.
            let unread = inputs.iter().filter(|&&other| self.values.home(other) == home).count() == self.unmet[home.0];
            if unread && self.values[home].sink.is_none() {
                bound.remove(&Binding::Value(home, Cut::Quads));
            }
        }
        bound
    }

    /// Whether a node can join a group: its result has the same rows and columns, it finds in registers what the group computes,
    /// and in memory the rest, and the group then still binds few enough buffers.
    fn fits(&self, at: usize, id: NodeId) -> bool {
        let (values, value) = (self.values, &self.values[id]);
        let here = |input: &&NodeId| self.of[values.home(**input).0] == Some(at);
        let register = |&input: &NodeId| value.way == Way::Element && values.in_register(input, values.shape(id));
        // An update reads what else is kept of its set. A group can hold the arenas of one set.
        let sets = self.set(&[id]).is_none_or(|set| self.set(&self.groups[at].body).is_none_or(|other| other == set));
        sets && same_matrix(&self.groups[at].space, values.shape(id))
            && value.inputs.iter().filter(here).all(register)
            && self.bound_with(at, id).len() <= self.most
    }

    /// The set of the first of some nodes that replaces or reads a whole arena.
    fn set(&self, nodes: &[NodeId]) -> Option<Set> {
        let of = |&id: &NodeId| match self.values[id].sink {
            Some(Sink::Update(arena)) => Some(arena.set),
            _ => self.values[id].inputs.iter().find_map(|&input| match *self.values.op(self.values.home(input)) {
                Op::Arena(arena) => Some(arena.set),
                _ => None,
            }),
        };
        nodes.iter().find_map(of)
    }

    /// The group that an elementwise node can join, if there is one. First choice is the group that computes the last of its
    /// inputs. Otherwise it is a later group without an anchor: one that reads some of the same values, or, for a node that must
    /// find its inputs in memory, any over the same matrix.
    fn place_for(&self, id: NodeId) -> Option<usize> {
        let value = &self.values[id];
        let last = value.inputs.iter().filter_map(|&input| self.of[self.values.home(input).0]).max();
        if let Some(at) = last.filter(|&at| self.fits(at, id)) {
            return Some(at);
        }
        let later = |groups: &[usize]| match last {
            Some(last) => groups.partition_point(|&at| at <= last),
            None => 0,
        };
        if value.way.by_memory() {
            let groups = self.over.get(&matrix(self.values.shape(id)))?;
            return groups[later(groups)..].iter().copied().find(|&at| self.fits(at, id));
        }
        let sharing = value.inputs.iter().filter_map(|input| self.reading.get(input));
        let found = sharing.filter_map(|groups| groups[later(groups)..].iter().copied().find(|&at| self.fits(at, id)));
        found.min()
    }
}
