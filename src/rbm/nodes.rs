//! What a machine adds to graphs: its free energy, and Gibbs steps with draws of their own.

use super::{Rbm, Units};
use crate::error::Result;
use crate::graph::{Compare, Distribution, Expr, Graph, NodeId, Over};

impl Units {
    /// Their mean for what they get, biases included.
    pub(super) fn mean(self, z: Expr) -> Expr {
        match self {
            Units::Bernoulli => z.sigmoid(),
            Units::Gaussian => z,
        }
    }

    /// Values of theirs, drawn for what they get, biases included.
    fn drawn(self, z: Expr, stream: u32) -> Expr {
        let mean = self.mean(z);
        match self {
            Units::Bernoulli => Expr::random(Distribution::Uniform, stream).select(Compare::Less, &mean, 1.0, 0.0),
            Units::Gaussian => mean + Expr::random(Distribution::Normal, stream),
        }
    }
}

/// How the second half of a Gibbs step comes to v.
#[derive(Clone, Copy)]
pub(super) enum Half {
    /// A draw from this stream.
    Drawn(u32),
    /// The mean given h.
    Mean,
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
        let hidden = g.map([inputs, b], |[x, b]| match self.hidden_units {
            Units::Bernoulli => (x + b).softplus(),
            Units::Gaussian => 0.5 * (x + b).square(),
        })?;
        let own = g.map([rows, a], |[v, a]| match self.visible_units {
            Units::Bernoulli => -(a * v),
            Units::Gaussian => 0.5 * (v - a).square(),
        })?;
        let (hidden, own) = (g.sum(Over::Columns, hidden), g.sum(Over::Columns, own));
        g.map([own, hidden], |[own, hidden]| own - hidden)
    }

    /// h, drawn given rows.
    pub(super) fn hidden_given(&self, g: &mut Graph, v: NodeId, [w, b, _]: [NodeId; 3], stream: u32) -> Result<NodeId> {
        let inputs = g.matmul(v, w, false, false)?;
        g.map([inputs, b], |[x, b]| self.hidden_units.drawn(x + b, stream))
    }

    /// The mean of h given rows.
    pub(super) fn mean_hidden(&self, g: &mut Graph, v: NodeId, [w, b, _]: [NodeId; 3]) -> Result<NodeId> {
        let inputs = g.matmul(v, w, false, false)?;
        g.map([inputs, b], |[x, b]| self.hidden_units.mean(x + b))
    }

    /// What the visible units get from hidden ones, before their biases.
    pub(super) fn inputs_given(&self, g: &mut Graph, h: NodeId, [w, ..]: [NodeId; 3]) -> Result<NodeId> {
        g.matmul(h, w, false, true)
    }

    /// v given hidden units, drawn or their mean; a constant for derivatives.
    pub(super) fn visible_given(
        &self,
        g: &mut Graph,
        h: NodeId,
        parameters: [NodeId; 3],
        half: Half,
    ) -> Result<NodeId> {
        let (inputs, units) = (self.inputs_given(g, h, parameters)?, self.visible_units);
        g.map([inputs, parameters[2]], |[x, a]| {
            Expr::detached(match half {
                Half::Drawn(stream) => units.drawn(x + a, stream),
                Half::Mean => units.mean(x + a),
            })
        })
    }

    /// Where so many Gibbs steps lead from `v`, of which `visible` tells how each comes to v: each draw has a stream of its own,
    /// from `first` on.
    pub(super) fn walk(
        &self,
        g: &mut Graph,
        mut v: NodeId,
        parameters: [NodeId; 3],
        (steps, first): (usize, u32),
        visible: impl Fn(u32) -> Half,
    ) -> Result<NodeId> {
        for stream in (first..).step_by(2).take(steps) {
            let h = self.hidden_given(g, v, parameters, stream)?;
            v = self.visible_given(g, h, parameters, visible(stream + 1))?;
        }
        Ok(v)
    }
}
