//! Optimizers: each is the expressions of one step over whole arenas. They keep PyTorch's conventions, so that the
//! same run gives the same numbers there.

use serde::{Deserialize, Serialize};

use super::numbers::{Reads, UpdateRamps};
use crate::error::{Error, Result, not_negative, positive};
use crate::graph::{Arena, Expr, Graph, Kept, NodeId, Over, Scalars, Set, Shape, Sink, Tensor, TensorSet};

/// How parameters follow their gradients. g is the gradient, lr the scheduled learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Optimizer {
    /// p −= lr g. With momentum μ: b = μ b + g, p −= lr b; Nesterov's form: p −= lr (g + μ b).
    Sgd {
        /// μ, 0 for none.
        #[serde(default)]
        momentum: f64,
        /// Nesterov's form.
        #[serde(default)]
        nesterov: bool,
    },
    /// v = α v + (1 − α) g², p −= lr g / (√v + ε); Tieleman and Hinton, 2012.
    RmsProp {
        /// α
        #[serde(default = "alpha")]
        alpha: f64,
        /// ε
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// m = β1 m + (1 − β1) g, v = β2 v + (1 − β2) g², p −= lr m̂ / (√v̂ + ε) with the bias-corrected m̂ and v̂; Kingma
    /// and Ba, 2014.
    Adam {
        /// β1
        #[serde(default = "beta1")]
        beta1: f64,
        /// β2
        #[serde(default = "beta2")]
        beta2: f64,
        /// ε
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// Adam after p −= lr · weight_decay · p, for every parameter; Loshchilov and Hutter, 2017.
    AdamW {
        /// β1
        #[serde(default = "beta1")]
        beta1: f64,
        /// β2
        #[serde(default = "beta2")]
        beta2: f64,
        /// ε
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// The decay, not part of the objective.
        weight_decay: f64,
    },
}

fn alpha() -> f64 {
    0.99
}
fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}
fn epsilon() -> f64 {
    1e-8
}

/// Added to the norm that gradients are clipped by, as PyTorch does.
const CLIP_MARGIN: f64 = 1e-6;

impl Optimizer {
    /// Plain gradient descent.
    pub const SGD: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false };

    /// Adam with β 0.9 and 0.999, ε 1e-8.
    pub const ADAM: Optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

    /// Whether it keeps first and second moments.
    pub(crate) fn moments(&self) -> (bool, bool) {
        match *self {
            Optimizer::Sgd { momentum, .. } => (momentum != 0.0, false),
            Optimizer::RmsProp { .. } => (false, true),
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => (true, true),
        }
    }

    /// The values of [`Scalars::UPDATE`] in a step.
    #[doc(hidden)]
    pub fn scalars(&self, step: u64, learning_rate: f64) -> [f64; 3] {
        self.corrected(self.betas().map(|beta| beta.powf(step as f64 + 1.0)), learning_rate)
    }

    /// The same where these shares of the moments are still what they began with, zeros.
    pub(super) fn corrected(&self, kept: [f64; 2], learning_rate: f64) -> [f64; 3] {
        let [first, second] = kept.map(|kept| 1.0 - kept);
        [learning_rate, learning_rate / first, 1.0 / second.sqrt()]
    }

    /// The shares of its moments that each step keeps, where these are corrected for what they began with; else 0.
    pub(super) fn betas(&self) -> [f64; 2] {
        match *self {
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => [beta1, beta2],
            Optimizer::Sgd { .. } | Optimizer::RmsProp { .. } => [0.0, 0.0],
        }
    }

    /// Its numbers by name.
    pub(super) fn numbers(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Optimizer::Sgd { momentum, .. } => vec![("momentum", momentum)],
            Optimizer::RmsProp { alpha, epsilon } => vec![("alpha", alpha), ("epsilon", epsilon)],
            Optimizer::Adam { beta1, beta2, epsilon } => {
                vec![("beta1", beta1), ("beta2", beta2), ("epsilon", epsilon)]
            }
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                vec![("beta1", beta1), ("beta2", beta2), ("epsilon", epsilon), ("weight_decay", weight_decay)]
            }
        }
    }

    /// The graph of one update of all parameters, in one set, gradients clipped to the global norm `clip` where given.
    ///
    /// # Errors
    /// [`Error::Shape`], which sound tensors do not cause.
    #[doc(hidden)]
    pub fn graph(&self, params: &[Tensor], clip: Option<f64>) -> Result<Graph> {
        self.update(vec![TensorSet::new("parameters", params.to_vec())], &[Set::FIRST], clip)
    }

    /// The graph of one update of those of the sets that are `trained`, their gradients clipped to one norm of all of
    /// them where `clip` is given. What else there is keeps its bytes.
    ///
    /// # Errors
    /// [`Error::Spec`] where one of `trained` is none of the sets; [`Error::Shape`], which sound tensors do not cause.
    #[doc(hidden)]
    pub fn update(&self, sets: Vec<TensorSet>, trained: &[Set], clip: Option<f64>) -> Result<Graph> {
        let tensors = Graph::with_sets(sets, vec![]).with_scalars(Scalars::new(Scalars::UPDATE)?);
        self.update_of(&tensors, trained, clip)
    }

    /// [`Optimizer::update`] of the sets of a graph, whose table has what updates read.
    ///
    /// # Errors
    /// As [`Optimizer::update`]; [`Error::Spec`] where the table lacks what updates read.
    pub(crate) fn update_of(&self, tensors: &Graph, trained: &[Set], clip: Option<f64>) -> Result<Graph> {
        self.update_reading(
            tensors,
            trained,
            &vec![0; trained.len()],
            clip,
            None,
            &Reads::new(0, UpdateRamps::default()),
        )
    }

    /// The same where it is told which moments of each set are its own and what it reads of the table, with averages of the
    /// values where a decay of theirs is given.
    pub(super) fn update_reading(
        &self,
        tensors: &Graph,
        trained: &[Set],
        moments: &[u8],
        clip: Option<f64>,
        decay: Option<f64>,
        reads: &Reads,
    ) -> Result<Graph> {
        let mut g = tensors.without_nodes();
        g.set_scope("update");
        let scale = match clip {
            Some(limit) => {
                let limit = reads.number(&mut g, "clip_norm", limit)?;
                Some(clip_scale(&mut g, trained, limit)?)
            }
            None => None,
        };
        for (&set, &own) in trained.iter().zip(moments) {
            let new = self.update_set(&mut g, set, own, scale, reads)?;
            g.sink(Sink::Update(set.arena(Kept::Values)), new);
            if let Some(decay) = decay {
                let (old, rest) = (g.arena(set.arena(Kept::Average)), g.fill(1.0 - decay, Shape::scalar()));
                let average = g.map([old, new, rest], |[a, p, rest]| &a + rest * (p - &a))?;
                g.sink(Sink::Update(set.arena(Kept::Average)), average);
            }
        }
        g.check()?;
        Ok(g)
    }

    /// The new values of a set, by moments of a number.
    fn update_set(&self, g: &mut Graph, set: Set, own: u8, scale: Option<NodeId>, reads: &Reads) -> Result<NodeId> {
        let (p, gradient) = (g.arena(set.arena(Kept::Values)), g.arena(set.arena(Kept::Gradients)));
        let gradient = match scale {
            Some(scale) => g.map([gradient, scale], |[g, s]| g * s)?,
            None => gradient,
        };
        let [rate, _, _] = Scalars::UPDATE;
        let rate = reads.scalar(g, rate)?;
        let (first, second) = (set.arena(Kept::First(own)), set.arena(Kept::Second(own)));
        match *self {
            Optimizer::Sgd { momentum: 0.0, .. } => g.map([p, gradient, rate], |[p, g, lr]| p - lr * g),
            Optimizer::Sgd { momentum, nesterov } => {
                let momentum = reads.number(g, "momentum", momentum)?;
                let old = g.arena(first);
                let b = g.map([old, gradient, momentum], |[b, g, momentum]| momentum * b + g)?;
                g.sink(Sink::Update(first), b);
                g.map([p, gradient, b, rate, momentum], |[p, g, b, lr, momentum]| {
                    p - lr * if nesterov { g + momentum * b } else { b }
                })
            }
            Optimizer::RmsProp { alpha, epsilon } => {
                let alpha = reads.share(g, "alpha", alpha)?;
                let v = moment(g, second, gradient, alpha, |g| g.square())?;
                let epsilon = reads.number(g, "epsilon", epsilon)?;
                g.map([p, gradient, v, rate, epsilon], |[p, g, v, lr, epsilon]| p - lr * g / (v.sqrt() + epsilon))
            }
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => {
                self.adam(g, [first, second], [p, gradient, rate], reads)
            }
        }
    }

    fn adam(
        &self,
        g: &mut Graph,
        moments: [Arena; 2],
        [p, gradient, rate]: [NodeId; 3],
        reads: &Reads,
    ) -> Result<NodeId> {
        let (Optimizer::Adam { beta1, beta2, epsilon } | Optimizer::AdamW { beta1, beta2, epsilon, .. }) = *self else {
            return Err(Error::Internal("an update of Adam's by another optimizer".into()));
        };
        let [beta1, beta2] = [reads.share(g, "beta1", beta1)?, reads.share(g, "beta2", beta2)?];
        let m = moment(g, moments[0], gradient, beta1, |g| g)?;
        let v = moment(g, moments[1], gradient, beta2, |g| g.square())?;
        let [_, first, second] = Scalars::UPDATE;
        let (first, second) = (reads.scalar(g, first)?, reads.scalar(g, second)?);
        let epsilon = reads.number(g, "epsilon", epsilon)?;
        let kept = match *self {
            Optimizer::AdamW { weight_decay, .. } if weight_decay != 0.0 || reads.has_ramp("weight_decay") => {
                let decay = reads.number(g, "weight_decay", weight_decay)?;
                g.map([p, decay, rate], |[p, decay, lr]| p * (1.0 - decay * lr))?
            }
            _ => p,
        };
        g.map([kept, m, v, first, second, epsilon], |[kept, m, v, first, second, epsilon]| {
            kept - first * m / (v.sqrt() * second + epsilon)
        })
    }

    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<()> {
        if let Optimizer::Sgd { momentum: 0.0, nesterov: true } = self {
            return Err(Error::spec("optimizer.momentum", 0, "above 0 where nesterov is set"));
        }
        let check = |(name, value)| Optimizer::check_number(&format!("optimizer.{name}"), name, value);
        self.numbers().into_iter().try_for_each(check)
    }

    /// Checks one of its numbers, which is called `field` in the error.
    pub(super) fn check_number(field: &str, name: &str, value: f64) -> Result<()> {
        match name {
            // Padding has no gradient: with an epsilon of 0 its step would be 0 / 0.
            "epsilon" => positive(field, value),
            "weight_decay" => not_negative(field, value),
            _ if (0.0..1.0).contains(&value) => Ok(()),
            _ => Err(Error::spec(field, value, "0 or more and less than 1")),
        }
    }
}

/// A moment's new value: of `share` what it was, of the rest `f` of the gradient.
fn moment(
    g: &mut Graph,
    arena: Arena,
    gradient: NodeId,
    [share, rest]: [NodeId; 2],
    f: impl FnOnce(Expr) -> Expr,
) -> Result<NodeId> {
    let old = g.arena(arena);
    let new = g.map([old, gradient, share, rest], |[m, g, share, rest]| share * m + rest * f(g))?;
    g.sink(Sink::Update(arena), new);
    Ok(new)
}

/// The factor that brings the norm of all gradients of these sets down to `limit`.
fn clip_scale(g: &mut Graph, sets: &[Set], limit: NodeId) -> Result<NodeId> {
    // Gradients whose own squares overflow halt the run, so that each is below 2^64 here. Divided by the power of two
    // above the root of their number, the sum of their squares cannot overflow either; no digit changes, and what is
    // too small to have a square then is far below the margin.
    let gradients: Vec<NodeId> = sets.iter().map(|set| g.arena(set.arena(Kept::Gradients))).collect();
    let count: f64 = gradients.iter().map(|&id| g.shape(id).elements(1) as f64).sum();
    let unit = 2f64.powf((0.5 * count.log2()).ceil());
    let mut total: Option<NodeId> = None;
    for gradient in gradients {
        let square = g.map([gradient], |[g]| (g * (1.0 / unit)).square())?;
        let columns = g.sum(Over::Rows, square);
        let sum = g.sum_all(columns);
        total = Some(match total {
            Some(total) => g.map([total, sum], |[a, b]| a + b)?,
            None => sum,
        });
    }
    let total = total.unwrap_or_else(|| g.fill(0.0, Shape::scalar()));
    g.map([total, limit], |[s, limit]| (limit / (s.sqrt() * unit + CLIP_MARGIN)).min(1.0))
}
