//! Losses: what a reconstruction costs. Each is an expression of one element, and a reduction that is spelled out.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::{Expr, Graph, NodeId, Over};

/// The loss of a reconstruction r (or of logits z) for a target x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// (r − x)², mean over features and over the batch.
    #[default]
    Mse,
    /// (r − x)², sum over features, mean over the batch.
    SquaredError,
    /// −log of a Bernoulli likelihood from logits, max(z, 0) − z x + log(1 + exp(−|z|)): sum over features, mean over
    /// the batch. For targets in [0, 1]; the last layer has no activation, and the reconstruction is sigmoid(z).
    Bernoulli,
}

impl Loss {
    /// Every loss, for the suites that test them all.
    pub const ALL: [Loss; 3] = [Loss::Mse, Loss::SquaredError, Loss::Bernoulli];

    /// The cost of one element.
    pub fn of(self, output: &Expr, target: &Expr) -> Expr {
        match self {
            Loss::Mse | Loss::SquaredError => (output - target).square(),
            Loss::Bernoulli => output.softplus() - output * target,
        }
    }

    /// What the output of the last layer says about the input: its mean.
    pub fn mean(self, output: &Expr) -> Expr {
        match self {
            Loss::Mse | Loss::SquaredError => output.clone(),
            Loss::Bernoulli => output.sigmoid(),
        }
    }

    /// Adds the loss of each row, [batch, 1].
    pub fn rows(self, g: &mut Graph, output: NodeId, target: NodeId) -> Result<NodeId> {
        let each = g.map([output, target], |[z, x]| self.of(&z, &x))?;
        let sum = g.sum(Over::Columns, each);
        match self {
            Loss::Mse => {
                let features = g.shape(output).columns() as f64;
                g.map([sum], |[s]| s / features)
            }
            _ => Ok(sum),
        }
    }

    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Loss::Mse => "mse",
            Loss::SquaredError => "squared_error",
            Loss::Bernoulli => "bernoulli",
        }
    }
}
