//! The checker: run after every pass, it derives every node's shape anew and names the node that breaks a rule.

use super::build::{Graph, absent};
use super::node::{Node, NodeId, Op, Sink, in_parts, product_shape, reduced, resized};
use super::set::Set;
use super::shape::{Access, Shape};
use crate::error::{Error, Result};

impl Graph {
    /// Checks order, shapes and sinks.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the node and both shapes, [`Error::Node`] where a sink receives a node that the graph
    /// does not have, [`Error::Spec`] where a sink has no place or two values; [`Error::Internal`] where a node reads
    /// one that comes later.
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        for tensor in self.params.iter().chain(&self.constants) {
            not_empty(&tensor.name, &tensor.shape)?;
        }
        let mut outside: Vec<(&Op, &Shape)> = Vec::new();
        for (id, node) in self.nodes() {
            if let Some(late) = node.inputs().into_iter().find(|i| i.0 >= id.0) {
                return Err(Error::Internal(format!("{} reads node {}, which comes later", self.describe(id), late.0)));
            }
            not_empty(&self.describe(id), &node.shape)?;
            self.check_node(id, node)?;
            if matches!(node.op, Op::Input(_) | Op::Gather { .. }) {
                // One buffer holds the rows, so that all who read it must cut it into the same rows.
                let same = |op: &Op| *op == node.op || matches!((op, &node.op), (Op::Gather { .. }, Op::Gather { .. }));
                if let Some((_, shape)) = outside.iter().find(|(op, shape)| same(op) && *shape != &node.shape) {
                    return Err(Error::shape(self.describe(id), &node.shape, shape));
                }
                outside.push((&node.op, &node.shape));
            }
        }
        for (i, &(sink, id)) in self.sinks.iter().enumerate() {
            self.has(&format!("{sink:?}"), &[id])?;
            if self.sinks[..i].iter().any(|(other, _)| *other == sink) {
                return Err(Error::spec(format!("{sink:?}"), "given two values", "one"));
            }
            let required = match sink {
                Sink::Gradient(i) => {
                    Some(self.params.get(i).ok_or_else(|| absent("gradient", i, self.params.len()))?.shape.clone())
                }
                Sink::Term(i) if i >= self.terms.len() => return Err(absent("term", i, self.terms.len())),
                Sink::Term(_) => Some(Shape::scalar()),
                Sink::Update(arena) => {
                    self.has_set(arena.set)?;
                    Some(self.layout(arena.set).matrix())
                }
                Sink::Output(_) => None,
            };
            if let Some(shape) = required.filter(|s| s != self.shape(id)) {
                return Err(Error::shape(format!("{sink:?} of {}", self.describe(id)), self.shape(id), shape));
            }
        }
        Ok(())
    }

    fn has_set(&self, set: Set) -> Result<()> {
        let count = self.sets().count();
        if set.0 < count { Ok(()) } else { Err(absent("set", set.0, count)) }
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
            Op::Identity => {
                let square = Shape { dims: vec![node.shape.columns(); 2], ..node.shape.clone() };
                if node.shape != square {
                    return fail(&square);
                }
            }
            Op::Reduce { over, input, .. } => {
                let shape = reduced(self.shape(*input), *over);
                if shape != node.shape {
                    return fail(&shape);
                }
            }
            Op::MatMul { a, b, ta, tb, parts } => match product_shape(self.shape(*a), self.shape(*b), *ta, *tb) {
                Some(shape) if in_parts(shape.clone(), *parts) == node.shape => {}
                Some(shape) => return fail(&in_parts(shape, *parts)),
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
            Op::Columns { input, .. } => {
                let from = self.shape(*input);
                if resized(from, node.shape.columns()).as_ref() != Some(&node.shape) {
                    return fail(from);
                }
            }
            Op::Own { kernel, inputs } => {
                let shape = self.own_shape(&*kernel.0, inputs)?;
                if shape != node.shape {
                    return fail(&shape);
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
            Op::Table(i) if *i >= self.scalars.names().len() => {
                return Err(absent("scalar", *i, self.scalars.names().len()));
            }
            Op::Arena(arena) => self.has_set(arena.set)?,
            Op::Table(_) | Op::Input(_) | Op::Gather { .. } | Op::Fill(_) => {}
        }
        Ok(())
    }
}

/// Fails where there is nothing to compute: no kernel and no interpreter is made for that.
fn not_empty(what: &str, shape: &Shape) -> Result<()> {
    match shape.dims.contains(&0) {
        true => Err(Error::shape(what, shape, "dimensions of 1 or more")),
        false => Ok(()),
    }
}
