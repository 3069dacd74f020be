//! What a code is: the encoder's output itself, a draw from a posterior, or the result of an inner minimisation.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative};
use crate::graph::{Distribution, Expr, Graph, NodeId, Over, Reduction};

/// How the decoder's input comes from the encoder's output f(x).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Latent {
    /// It is f(x).
    #[default]
    Deterministic,
    /// A variational autoencoder: the encoder gives the mean μ and, through a second last layer (`log_variance`), the
    /// logarithm γ of the variance of q(z|x). In training z = μ + exp(γ/2) ∘ ε, elsewhere z = μ. The objective is
    /// −ELBO: the loss, plus β KL(q(z|x) || N(0, I)) = β ½ Σ (exp(γ) + μ² − 1 − γ), sum over units, mean over the
    /// batch. Kingma and Welling, "Auto-encoding variational Bayes", 2013; β: Higgins and others, 2017.
    Gaussian {
        /// β
        #[serde(default = "one")]
        beta: f64,
    },
    /// Predictive sparse decomposition: ||x − g(h)||² + λ Σ |h| + γ ||h − f(x)||² ("Deep Learning", equation 14.19;
    /// Kavukcuoglu, Ranzato and LeCun, 2008). In training h starts at f(x) and takes proximal gradient steps (ISTA) of
    /// size 1/L with the parameters fixed; then the parameters take theirs with h fixed. Elsewhere h = f(x). Sums over
    /// features and units, mean over the batch. For a
    /// decoder of one layer without activation and the squared error.
    PredictiveSparse {
        /// λ
        weight: f64,
        /// γ
        gamma: f64,
        /// Proximal steps for every batch.
        #[serde(default = "ten")]
        steps: usize,
    },
}

fn one() -> f64 {
    1.0
}

fn ten() -> usize {
    10
}

impl Latent {
    /// Checks the parameters.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Latent::Deterministic => Ok(()),
            Latent::Gaussian { beta } => not_negative("latent.beta", beta),
            Latent::PredictiveSparse { weight, gamma, steps } => {
                not_negative("latent.weight", weight)?;
                not_negative("latent.gamma", gamma)?;
                if steps > 1000 {
                    return Err(Error::spec("latent.steps", steps, "0 to 1000"));
                }
                Ok(())
            }
        }
    }
}

/// μ + exp(γ/2) ∘ ε.
pub(super) fn draw(g: &mut Graph, mu: NodeId, gamma: NodeId, stream: u32) -> Result<NodeId> {
    g.map([mu, gamma], |[mu, gamma]| mu + (0.5 * gamma).exp() * Expr::random(Distribution::Normal, stream))
}

/// KL(N(μ, exp γ) || N(0, I)) of each row, [batch, 1].
pub(super) fn divergence(g: &mut Graph, mu: NodeId, gamma: NodeId) -> Result<NodeId> {
    // exp(γ) − 1 − γ without cancellation near 0.
    let each = g.map([mu, gamma], |[mu, gamma]| 0.5 * (gamma.expm1() - gamma + mu.square()))?;
    Ok(g.sum(Over::Columns, each))
}

/// A dictionary [k, n] with its bias [n].
pub(super) struct Dictionary {
    pub atoms: NodeId,
    pub bias: NodeId,
}

/// argmin over h of ||x − h D − b||² + λ Σ |h| + γ ||h − f||², as far as `steps` proximal steps from f lead.
pub(super) fn proximal(
    g: &mut Graph,
    x: NodeId,
    f: NodeId,
    dictionary: &Dictionary,
    [weight, gamma]: [NodeId; 2],
    steps: usize,
) -> Result<NodeId> {
    let &Dictionary { atoms, bias } = dictionary;
    let gram = g.matmul(atoms, atoms, false, true)?;
    // No eigenvalue of a matrix is larger than the largest sum of the absolute values of a row.
    let each = g.map([gram], |[a]| a.abs())?;
    let sums = g.sum(Over::Columns, each);
    let bound = g.reduce(Reduction::Max, Over::Rows, sums);
    let rate = g.map([bound, gamma], |[b, gamma]| 0.5 / (b + gamma).max(1e-30))?;
    let centred = g.map([x, bias], |[x, b]| x - b)?;
    let onto = g.matmul(centred, atoms, false, true)?;
    let mut h = f;
    for _ in 0..steps {
        let product = g.matmul(h, gram, false, false)?;
        h = g.map([h, product, onto, f, rate, weight, gamma], |[h, product, onto, f, rate, weight, gamma]| {
            let moved = &h - 2.0 * &rate * (product - onto + gamma * (&h - f));
            let threshold = rate * weight;
            // The soft threshold; at most one of both is not zero.
            (&moved - &threshold).max(0.0) + (moved + threshold).min(0.0)
        })?;
    }
    g.map([h], |[h]| Expr::detached(h))
}
