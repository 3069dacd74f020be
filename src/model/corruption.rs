//! Corruptions of the input of a denoising autoencoder: fresh in every step, off at evaluation.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative};
use crate::graph::{Distribution, Expr, Graph, NodeId};

/// What is done to the input before it is encoded; the target stays clean. Vincent and others, 2010; "Deep Learning",
/// equation 14.9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Corruption {
    /// Nothing.
    #[default]
    None,
    /// Adds normal noise.
    Gaussian {
        /// Its standard deviation, in units of the scaled input.
        sigma: f64,
    },
    /// Sets values to zero.
    Masking {
        /// The probability of each.
        probability: f64,
        /// Divides what is kept by the probability of keeping it, so that the mean stays.
        #[serde(default)]
        rescale: bool,
    },
}

impl Corruption {
    /// Adds the corruption of `x`, drawn from `stream`.
    pub(crate) fn build(self, g: &mut Graph, x: NodeId, stream: u32) -> Result<NodeId> {
        match self {
            Corruption::None => Ok(x),
            Corruption::Gaussian { sigma } => g.map([x], |[x]| x + sigma * Expr::random(Distribution::Normal, stream)),
            Corruption::Masking { probability, rescale } => {
                let kept = if rescale { 1.0 / (1.0 - probability) } else { 1.0 };
                let draw = Expr::random(Distribution::Uniform, stream);
                g.map([x], |[x]| draw.select(crate::graph::Compare::Less, &probability.into(), 0.0, kept * x))
            }
        }
    }

    /// Checks the parameters.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Corruption::Gaussian { sigma } => not_negative("corruption.sigma", sigma),
            Corruption::Masking { probability, .. } if !(0.0..1.0).contains(&probability) => {
                Err(Error::spec("corruption.probability", probability, "0 or more and less than 1"))
            }
            _ => Ok(()),
        }
    }
}
