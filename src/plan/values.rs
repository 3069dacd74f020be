//! What a plan knows of every value of its graph: in whose memory it lies, who reads it, where it goes. Found once, before
//! anything is decided; the passes after it ask this table and never the graph again.

use crate::graph::{Access, Expr, Graph, Kind, Node, NodeId, Op, Shape, Sink};

/// How the value of a node comes about. The only place where the planner tells kinds of node apart by what is done with
/// them; how each is written in WGSL is told in `emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is found in memory.
    Leaf,
    /// Its memory is that of its input.
    Alias,
    /// From the elements of its inputs that are in its own place.
    Element,
    /// From other elements of its input in the same row, so that the input must lie in memory.
    Neighbour,
    /// From any values of its input, which it reads one by one: rows are cut anew.
    ByValue,
    /// As that, by a kernel of the caller's own: no other loop shares its threads.
    Own,
    /// A reduction.
    Reduction,
    /// A matrix product.
    Product,
}

impl Way {
    /// Whether a thread computes it from elements, and may compute others beside it.
    pub fn is_elementwise(self) -> bool {
        self == Way::Element || self.by_memory()
    }

    /// Whether its input must lie in memory, although a thread computes it from elements.
    pub fn by_memory(self) -> bool {
        matches!(self, Way::Neighbour | Way::ByValue | Way::Own)
    }

    /// Whether its inputs are read value by value, not by whole quads.
    pub fn singly(self) -> bool {
        matches!(self, Way::ByValue | Way::Own)
    }
}

/// An entry of the table.
pub(super) struct Value {
    pub way: Way,
    /// The node whose memory holds it: itself, unless it is an alias.
    pub home: NodeId,
    /// The nodes it reads.
    pub inputs: Vec<NodeId>,
    /// Of a home: the nodes that read it, each with the node by which it does; aliases and what no sink needs left out.
    pub readers: Vec<(NodeId, NodeId)>,
    /// Whether a sink needs it.
    pub needed: bool,
    /// Where it goes, if anywhere. Once sinks have nodes of their own it is the only one.
    pub sink: Option<Sink>,
    /// Whether it is written into an arena, after everything that reads that arena.
    pub late: bool,
    /// Whether it loses nothing in half precision and is only read in whole quads.
    pub half: bool,
}

/// A graph with what is known of its values.
pub(super) struct Values {
    pub graph: Graph,
    of: Vec<Value>,
}

impl Values {
    pub fn new(graph: Graph) -> Values {
        let mut of: Vec<Value> = Vec::with_capacity(graph.nodes.len());
        for (id, node) in graph.nodes() {
            let inputs = node.inputs();
            let way = way(&graph, node);
            let home = if way == Way::Alias { of[inputs[0].0].home } else { id };
            let half = matches!(&node.op, Op::Map { expr, .. } if matches!(*expr.0, Kind::Half(_)));
            of.push(Value { way, home, inputs, readers: vec![], needed: false, sink: None, late: false, half });
        }
        for &(sink, id) in &graph.sinks {
            (of[id.0].needed, of[id.0].sink) = (true, Some(sink));
        }
        for at in (0..of.len()).rev() {
            if of[at].needed {
                let inputs = of[at].inputs.clone();
                inputs.into_iter().for_each(|input| of[input.0].needed = true);
            }
        }
        let mut values = Values { graph, of };
        (0..values.of.len()).map(NodeId).for_each(|id| values.read_inputs(id));
        values
    }

    /// Tells the inputs of a node that it reads them.
    fn read_inputs(&mut self, id: NodeId) {
        if self[id].way == Way::Alias || !self[id].needed {
            return;
        }
        let singly = self[id].way.singly();
        for i in 0..self[id].inputs.len() {
            let input = self[id].inputs[i];
            let home = self.home(input);
            let home = &mut self.of[home.0];
            home.readers.push((id, input));
            home.half &= !singly;
        }
    }

    /// Every node that a sink needs, in order, but for aliases and what is found in memory: what has to be computed.
    pub fn computed(&self) -> impl DoubleEndedIterator<Item = NodeId> {
        let is = |value: &Value| value.needed && !matches!(value.way, Way::Leaf | Way::Alias);
        self.of.iter().enumerate().filter(move |(_, value)| is(value)).map(|(at, _)| NodeId(at))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    pub fn shape(&self, id: NodeId) -> &Shape {
        self.graph.shape(id)
    }

    pub fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }

    /// The node whose memory holds a value.
    pub fn home(&self, id: NodeId) -> NodeId {
        self[id].home
    }

    /// Whether a group has the value of `id` in a register when it computes an element of `shape`.
    pub fn in_register(&self, id: NodeId, shape: &Shape) -> bool {
        let same = Access::new(self.shape(id), shape).is_some_and(|a| a.same_row && !a.splat);
        same && same_matrix(self.shape(self.home(id)), shape)
    }

    /// Gives the i-th sink a copy of its value, a node of its own that nobody else reads.
    pub fn copy_for_sink(&mut self, i: usize) {
        let (sink, id) = self.graph.sinks[i];
        let Node { shape, name, .. } = self.graph.node(id).clone();
        let op = Op::Map { expr: Expr::input(0), inputs: vec![id] };
        self.graph.nodes.push(Node { op, shape, name });
        let copy = NodeId(self.of.len());
        let (way, inputs, readers) = (Way::Element, vec![id], vec![]);
        self.of.push(Value {
            way,
            home: copy,
            inputs,
            readers,
            needed: true,
            sink: Some(sink),
            late: false,
            half: false,
        });
        self.graph.sinks[i].1 = copy;
        self.of[id.0].sink = self.graph.sinks.iter().find(|(_, other)| *other == id).map(|(sink, _)| *sink);
        self.read_inputs(copy);
    }

    pub fn mark_late(&mut self, id: NodeId) {
        self.of[id.0].late = true;
    }
}

impl std::ops::Index<NodeId> for Values {
    type Output = Value;

    fn index(&self, id: NodeId) -> &Value {
        &self.of[id.0]
    }
}

/// Whether two shapes are the same matrix.
pub(super) fn same_matrix(a: &Shape, b: &Shape) -> bool {
    a.batched == b.batched && a.blocks() == b.blocks() && a.columns() == b.columns()
}

fn way(graph: &Graph, node: &Node) -> Way {
    match node.op {
        Op::Param(_) | Op::Constant(_) | Op::Arena(_) | Op::Table(_) => Way::Leaf,
        // Batches whose rows need padding are read by a copy.
        Op::Input(_) if node.shape.is_unpadded() => Way::Leaf,
        Op::Input(_) | Op::Gather { .. } | Op::Fill(_) | Op::Identity | Op::Map { .. } => Way::Element,
        // A scalar lies in a row of a table, among others.
        Op::View(input) if matches!(graph.node(input).op, Op::Table(_)) => Way::ByValue,
        Op::View(input) => {
            let from = graph.shape(input);
            let unpadded = from.is_unpadded() && node.shape.is_unpadded();
            if from.columns() == node.shape.columns() || unpadded { Way::Alias } else { Way::ByValue }
        }
        Op::Columns { .. } => Way::Neighbour,
        Op::Own { .. } => Way::Own,
        Op::Reduce { .. } => Way::Reduction,
        Op::MatMul { .. } => Way::Product,
    }
}
