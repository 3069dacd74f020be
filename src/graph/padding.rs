//! What an update writes where no tensor lies: between the tensors of an arena, behind the last, and behind the ends of
//! their rows. Everybody relies on zeros there, and mostly they follow from the expression.

use super::build::Graph;
use super::node::{NodeId, Op};
use super::set::Set;

impl Graph {
    /// Whether a value that goes into a buffer of a set is 0 wherever the set's other buffers are.
    pub(crate) fn stays_zero(&self, id: NodeId, set: Set) -> bool {
        let space = self.shape(id);
        let mut known: Vec<Option<f64>> = Vec::new();
        for (_, node) in self.nodes().take_while(|(at, _)| *at <= id) {
            known.push(match &node.op {
                // Another set has its zeros elsewhere.
                Op::Arena(arena) => (arena.set == set).then_some(0.0),
                Op::Fill(value) => Some(*value),
                Op::Map { expr, inputs } => {
                    // What is repeated has no padding, and a value of its own.
                    let beside = |i: usize| inputs.get(i).filter(|input| self.shape(**input) == space);
                    expr.known(&|i| beside(i).and_then(|input| known[input.0]))
                }
                Op::Reduce { .. } | Op::MatMul { .. } | Op::View(_) | Op::Columns { .. } | Op::Own { .. } => None,
                Op::Input(_) | Op::Gather { .. } | Op::Param(_) | Op::Constant(_) | Op::Table(_) | Op::Identity => None,
            });
        }
        known.get(id.0).copied().flatten() == Some(0.0)
    }
}
