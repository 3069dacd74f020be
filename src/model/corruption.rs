//! Corruptions: what is done to the input of a denoising autoencoder, or to the output of a layer. Fresh in every step
//! and off at evaluation, where it is noise.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative};
use crate::graph::{Compare, Distribution, Expr, Graph, NodeId};

/// Noise on the input, whose target stays clean (Vincent and others, 2010; "Deep Learning", equation 14.9), or on the
/// output of a layer (equations 14.12 and 14.13; masking with `rescale` is dropout).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
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
    /// Sets values to the smallest or the largest value of the (scaled) training data, each as often. Input only.
    SaltAndPepper {
        /// The probability of each.
        probability: f64,
    },
    /// Sets the same features of the scaled input to zero in every row: what is missing, or is to be painted in. Input only.
    ///
    /// The encoder never sees them, in training or after: whatever lies there in a row changes no code, no reconstruction and no class.
    /// They are reconstructed, and what lies there is what the reconstruction is compared with, in training, evaluation and scores.
    Missing {
        /// For every feature whether it is kept.
        keep: Vec<bool>,
    },
}

/// The smallest and the largest value of the training data, for [`Corruption::SaltAndPepper`], or what is kept, for
/// [`Corruption::Missing`].
pub(crate) type Aids = [Option<NodeId>; 2];

impl Corruption {
    /// Adds the corruption of `x`, drawn from `stream`; as strong as the scalar `strength` says, where it is given.
    pub(crate) fn build(
        &self,
        g: &mut Graph,
        x: NodeId,
        stream: u32,
        aids: Aids,
        strength: Option<NodeId>,
    ) -> Result<NodeId> {
        let uniform = || Expr::random(Distribution::Uniform, stream);
        let mut read = vec![x];
        read.extend(aids.into_iter().flatten());
        let mut strong = |own: f64| match strength {
            // What follows from a constant is one, too.
            None => Expr::constant(own),
            Some(strength) => {
                read.push(strength);
                Expr::input(read.len() - 1)
            }
        };
        let x = || Expr::input(0);
        let corrupted = match (self, aids) {
            (&Corruption::Gaussian { sigma }, _) => x() + strong(sigma) * Expr::random(Distribution::Normal, stream),
            (&Corruption::Masking { probability, rescale }, _) => {
                let p = strong(probability);
                let kept = if rescale { 1.0 / (1.0 - &p) } else { Expr::constant(1.0) };
                uniform().select(Compare::Less, &p, 0.0, kept * x())
            }
            (&Corruption::SaltAndPepper { probability }, [Some(_), Some(_)]) => {
                // One draw decides both whether and to which end.
                let p = strong(probability);
                let end = uniform().select(Compare::Less, &(&p / 2.0), Expr::input(1), Expr::input(2));
                uniform().select(Compare::Less, &p, end, x())
            }
            (Corruption::Missing { .. }, [Some(_), _]) => x() * Expr::input(1),
            _ => return Ok(read[0]),
        };
        g.map_expr(corrupted, &read)
    }

    /// How strong it is: a standard deviation or a probability, with its name.
    pub(super) fn strength_mut(&mut self) -> Option<(&'static str, &mut f64)> {
        match self {
            Corruption::Gaussian { sigma } => Some(("sigma", sigma)),
            Corruption::Masking { probability, .. } | Corruption::SaltAndPepper { probability } => {
                Some(("probability", probability))
            }
            Corruption::None | Corruption::Missing { .. } => None,
        }
    }

    /// Checks the parameters; `field` is where they stand.
    pub(crate) fn check(&self, field: &str, width: usize) -> Result<()> {
        match self {
            Corruption::Gaussian { sigma } => not_negative(&format!("{field}.sigma"), *sigma),
            Corruption::Masking { probability, .. } | Corruption::SaltAndPepper { probability }
                if !(0.0..1.0).contains(probability) =>
            {
                Err(Error::spec(format!("{field}.probability"), probability, "0 or more and less than 1"))
            }
            Corruption::Missing { keep } if keep.len() != width => {
                let found = format!("{} values", keep.len());
                Err(Error::spec(format!("{field}.keep"), found, format!("{width}, one for each feature")))
            }
            _ => Ok(()),
        }
    }

    /// Whether it changes anything.
    pub(crate) fn is_noise(&self) -> bool {
        match self {
            Corruption::None => false,
            Corruption::Gaussian { sigma } => *sigma > 0.0,
            Corruption::Masking { probability, .. } | Corruption::SaltAndPepper { probability } => *probability > 0.0,
            Corruption::Missing { keep } => keep.contains(&false),
        }
    }

    /// Whether it can stand anywhere but at the input.
    pub(crate) fn anywhere(&self) -> bool {
        !matches!(self, Corruption::SaltAndPepper { .. } | Corruption::Missing { .. })
    }
}
