//! Half precision: a graph whose products read factors of 16 bits and add up in 32.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Graph;
use super::expr::Expr;
use super::node::{Node, NodeId, Op};

impl Graph {
    /// The same graph with the factors of all matrix products rounded to half precision ([`Expr::half`]). What is
    /// computed is rounded for all its readers, so that it lies in memory once; parameters and batches are rounded for
    /// the products alone and stay what they are for everybody else. Sums, sinks and updates stay in single precision.
    /// A sink that receives a node of another graph still does, so that [`Graph::check`] refuses it.
    #[doc(hidden)]
    pub fn halved(&self) -> Graph {
        let base = |mut id: NodeId| {
            while let Op::View(input) = self.node(id).op {
                id = input;
            }
            id
        };
        let computed = |id: NodeId| match self.node(id).op {
            Op::Map { .. } | Op::MatMul { .. } | Op::Reduce { .. } | Op::Own { .. } => true,
            // These values are others', who may need them as they are; a constant is cheaper as it is.
            Op::Input(_) | Op::Gather { .. } | Op::Param(_) | Op::Constant(_) | Op::Arena(_) | Op::Table(_) => false,
            Op::Columns { .. } | Op::View(_) | Op::Fill(_) | Op::Identity => false,
        };
        let factors = |node: &Node| if let Op::MatMul { a, b, .. } = node.op { vec![a, b] } else { vec![] };
        let rounded: BTreeSet<NodeId> =
            self.nodes().flat_map(|(_, node)| factors(node)).map(base).filter(|&id| computed(id)).collect();
        let mut half = self.without_nodes();
        // What sinks keep of every node, what others read of it, and what products read where that is something else.
        let (mut kept, mut read, mut beside) = (vec![], Vec::<NodeId>::new(), BTreeMap::new());
        for (id, node) in self.nodes() {
            for factor in factors(node).into_iter().filter(|&factor| !rounded.contains(&base(factor))) {
                beside.entry(factor).or_insert_with(|| half.rounded(read[factor.0]));
            }
            let product = matches!(node.op, Op::MatMul { .. });
            half.nodes.push(node.moved(|id| beside.get(&id).copied().filter(|_| product).unwrap_or(read[id.0])));
            let own = NodeId(half.nodes.len() - 1);
            kept.push(own);
            read.push(if rounded.contains(&id) { half.rounded(own) } else { own });
        }
        let foreign = |id: NodeId| NodeId(id.0.max(half.nodes.len()));
        half.sinks =
            self.sinks.iter().map(|&(sink, id)| (sink, kept.get(id.0).copied().unwrap_or(foreign(id)))).collect();
        half
    }

    fn rounded(&mut self, id: NodeId) -> NodeId {
        let Node { shape, name, .. } = self.node(id).clone();
        self.nodes.push(Node { op: Op::Map { expr: Expr::input(0).half(), inputs: vec![id] }, shape, name });
        NodeId(self.nodes.len() - 1)
    }
}
