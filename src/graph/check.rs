//! The checker: run after every pass, it derives every node's shape anew and names the node that breaks a rule.

use super::node::{Graph, Node, NodeId, Op, Sink, product_shape, reduced};
use super::shape::{Access, Shape};
use crate::error::{Error, Result};

impl Graph {
    /// Checks order, shapes and sinks.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the node and both shapes; [`Error::Internal`] where a node reads one that comes later.
    pub fn check(&self) -> Result<()> {
        for (id, node) in self.nodes() {
            if let Some(late) = node.inputs().into_iter().find(|i| i.0 >= id.0) {
                return Err(Error::Internal(format!("{} reads node {}, which comes later", self.describe(id), late.0)));
            }
            self.check_node(id, node)?;
        }
        for &(sink, id) in &self.sinks {
            let required = match sink {
                Sink::Gradient(i) => self.params.get(i).map(|p| p.shape.clone()),
                Sink::Term(_) => Some(Shape::scalar()),
                Sink::Update(_) => Some(super::Layout::new(&self.params).matrix()),
                Sink::Output(_) => None,
            };
            if let Some(shape) = required.filter(|s| s != self.shape(id)) {
                return Err(Error::shape(format!("{sink:?} of {}", self.describe(id)), self.shape(id), shape));
            }
        }
        Ok(())
    }

    fn check_node(&self, id: NodeId, node: &Node) -> Result<()> {
        let fail = |other: &Shape| Err(Error::shape(self.describe(id), &node.shape, other));
        match &node.op {
            Op::Map { inputs, .. } => {
                for &input in inputs {
                    if Access::new(self.shape(input), &node.shape).is_none() {
                        return fail(self.shape(input));
                    }
                }
            }
            Op::Reduce { over, input, .. } => {
                let shape = reduced(self.shape(*input), *over);
                if shape != node.shape {
                    return fail(&shape);
                }
            }
            Op::MatMul { a, b, ta, tb } => match product_shape(self.shape(*a), self.shape(*b), *ta, *tb) {
                Some(shape) if shape == node.shape => {}
                Some(shape) => return fail(&shape),
                None => {
                    return Err(Error::shape(self.describe(id), self.shape(*a), self.shape(*b)));
                }
            },
            Op::View(input) => {
                let from = self.shape(*input);
                if from.batched != node.shape.batched || from.elements(1) != node.shape.elements(1) {
                    return fail(from);
                }
            }
            Op::Param(i) | Op::Constant(i) => {
                let list = if matches!(node.op, Op::Param(_)) { &self.params } else { &self.constants };
                match list.get(*i) {
                    Some(t) if t.shape == node.shape && !t.shape.batched => {}
                    Some(t) => return fail(&t.shape),
                    None => return Err(Error::Internal(format!("{} has no tensor", self.describe(id)))),
                }
            }
            _ => {}
        }
        Ok(())
    }
}
