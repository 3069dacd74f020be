//! What a machine adds to graphs: its free energy, and Gibbs steps with draws of their own.

use super::{Rbm, Units};
use crate::error::Result;
use crate::graph::{Compare, Distribution, Expr, Graph, NodeId, Over};

/// 1 with this probability, else 0.
fn coin(probability: &Expr, stream: u32) -> Expr {
    Expr::random(Distribution::Uniform, stream).select(Compare::Less, probability, 1.0, 0.0)
}

impl Rbm {
    /// Adds the free energy of rows, one value a row (see [`Units`] for the formula): `[.., visible]` becomes `[.., 1]`. Its
    /// derivative by the rows is −1 times the score of the machine's density. The nodes W, b and a are parameters, or anything of
    /// their shapes.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] where shapes do not fit; [`crate::Error::Node`].
    pub fn free_energy(&self, g: &mut Graph, rows: NodeId, [w, b, a]: [NodeId; 3]) -> Result<NodeId> {
        let inputs = g.matmul(rows, w, false, false)?;
        let hidden = g.map([inputs, b], |[x, b]| (x + b).softplus())?;
        let own = g.map([rows, a], |[v, a]| match self.units {
            Units::Bernoulli => -(a * v),
            Units::Gaussian => 0.5 * (v - a).square(),
        })?;
        let (hidden, own) = (g.sum(Over::Columns, hidden), g.sum(Over::Columns, own));
        g.map([own, hidden], |[own, hidden]| own - hidden)
    }

    /// h, drawn given rows.
    pub(super) fn hidden_given(&self, g: &mut Graph, v: NodeId, [w, b, _]: [NodeId; 3], stream: u32) -> Result<NodeId> {
        let inputs = g.matmul(v, w, false, false)?;
        g.map([inputs, b], |[x, b]| coin(&(x + b).sigmoid(), stream))
    }

    /// What the visible units get from hidden ones, before their biases.
    pub(super) fn inputs_given(&self, g: &mut Graph, h: NodeId, [w, ..]: [NodeId; 3]) -> Result<NodeId> {
        g.matmul(h, w, false, true)
    }

    /// The mean of v for what the units get and their biases.
    pub(super) fn mean(&self, inputs: Expr, a: Expr) -> Expr {
        match self.units {
            Units::Bernoulli => (inputs + a).sigmoid(),
            Units::Gaussian => inputs + a,
        }
    }

    /// v, drawn given hidden units; a constant for derivatives.
    pub(super) fn visible_given(
        &self,
        g: &mut Graph,
        h: NodeId,
        parameters: [NodeId; 3],
        stream: u32,
    ) -> Result<NodeId> {
        let inputs = self.inputs_given(g, h, parameters)?;
        g.map([inputs, parameters[2]], |[x, a]| {
            let mean = self.mean(x, a);
            Expr::detached(match self.units {
                Units::Bernoulli => coin(&mean, stream),
                Units::Gaussian => mean + Expr::random(Distribution::Normal, stream),
            })
        })
    }

    /// Where so many Gibbs steps lead from `v`: each half step has a stream of draws of its own, from `first` on.
    pub(super) fn walk(
        &self,
        g: &mut Graph,
        mut v: NodeId,
        parameters: [NodeId; 3],
        steps: usize,
        first: u32,
    ) -> Result<NodeId> {
        for stream in (first..).step_by(2).take(steps) {
            let h = self.hidden_given(g, v, parameters, stream)?;
            v = self.visible_given(g, h, parameters, stream + 1)?;
        }
        Ok(v)
    }
}
