//! Lowering: what one dispatch cannot do, or not well, becomes several nodes: a map that reads more tensors than can be
//! bound, a product whose sums are too long for a loop or for so few results.
//!
//! Only plans do that. In the graph an expression stays whole, with the derivative that was declared for it.

use std::collections::HashMap;

use super::Target;
use super::binds::Binds;
use super::choose::parts;
use super::values::Values;
use crate::graph::{Expr, Graph, Kind, Node, NodeId, Op, Over, Reduction, in_parts, reduced};

/// The graph without what is too much for a dispatch of the target.
pub(super) fn lower(values: &Values, target: &Target) -> Graph {
    let (graph, binds) = (&values.graph, Binds::new(values, target));
    let limit = target.limits.storage_buffers;
    // Beside what it reads, a dispatch binds the result and, for an update, the flags.
    let most = limit.saturating_sub(2);
    let mut narrow = graph.without_nodes();
    let mut moved: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes() {
        let mut node = node.moved(|i| moved[i.0]);
        if let Op::Map { expr, inputs } = &node.op
            && inputs.len() > most
            && binds.of(&[id].into(), None, [false; 2]).len() > limit
        {
            let (inputs, done) = (inputs.clone(), HashMap::new());
            let mut narrowing = Narrowing { graph: &mut narrow, like: &node, inputs, most, done };
            let expr = narrowing.narrow(expr);
            let (expr, inputs) = expr.compact(&narrowing.inputs);
            node.op = Op::Map { expr, inputs };
        }
        if let Op::MatMul { parts: left @ 1, .. } = &mut node.op
            && let parts @ 2.. = parts(values, id, target)
        {
            *left = parts;
            let whole = node.shape.clone();
            node.shape = in_parts(whole.clone(), parts);
            let (sum, over, name) = (Reduction::Sum, Over::Inner, node.name.clone());
            let shape = reduced(&node.shape, over);
            narrow.nodes.push(node);
            let op = Op::Reduce { op: sum, over, input: NodeId(narrow.nodes.len() - 1) };
            narrow.nodes.push(Node { op, shape, name: name.clone() });
            node = Node { op: Op::View(NodeId(narrow.nodes.len() - 1)), shape: whole, name };
        }
        narrow.nodes.push(node);
        moved.push(NodeId(narrow.nodes.len() - 1));
    }
    narrow.sinks.iter_mut().for_each(|(_, id)| *id = moved[id.0]);
    narrow
}

/// A map on its way to being several.
struct Narrowing<'a> {
    graph: &'a mut Graph,
    like: &'a Node,
    /// What it reads, and then its parts.
    inputs: Vec<NodeId>,
    most: usize,
    /// What became of parts that are shared, with those parts, so that no other can have their identity.
    done: HashMap<*const Kind, (Expr, Expr)>,
}

impl Narrowing<'_> {
    fn width(&self, expr: &Expr) -> usize {
        expr.used(self.inputs.len()).len()
    }

    /// The same value from no more inputs than allowed, as far as there are parts to compute apart: the widest first.
    fn narrow(&mut self, expr: &Expr) -> Expr {
        if let Some((_, narrow)) = self.done.get(&expr.identity()) {
            return narrow.clone();
        }
        let mut parts: Vec<Expr> = expr.parts().into_iter().cloned().collect();
        let mut left: Vec<usize> = (0..parts.len()).collect();
        let mut narrow = expr.clone();
        while self.width(&narrow) > self.most {
            let Some(&widest) = left.iter().max_by_key(|&&i| self.width(&parts[i])) else { break };
            left.retain(|&i| i != widest);
            let part = self.narrow(&parts[widest]);
            // An only part is no narrower apart.
            let part = if parts.len() > 1 { self.apart(part) } else { part };
            let shared = parts[widest].identity();
            parts.iter_mut().filter(|other| other.identity() == shared).for_each(|other| *other = part.clone());
            narrow = expr.with_parts(&parts);
        }
        self.done.insert(expr.identity(), (expr.clone(), narrow.clone()));
        narrow
    }

    /// A part as a map of its own.
    fn apart(&mut self, part: Expr) -> Expr {
        if part.parts().is_empty() {
            return part;
        }
        let (expr, inputs) = part.compact(&self.inputs);
        let (shape, name) = (self.like.shape.clone(), self.like.name.clone());
        self.graph.nodes.push(Node { op: Op::Map { expr, inputs }, shape, name });
        self.inputs.push(NodeId(self.graph.nodes.len() - 1));
        Expr::input(self.inputs.len() - 1)
    }
}
