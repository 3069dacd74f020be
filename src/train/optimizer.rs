//! Optimizers: each is the expressions of one step over whole arenas. They keep PyTorch's conventions, so that the
//! same run gives the same numbers there.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative, positive};
use crate::graph::{Arena, Expr, Graph, Kept, NodeId, Over, Scalars, Set, Shape, Sink, Tensor, TensorSet};

/// How parameters follow their gradients. g is the gradient, lr the scheduled learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
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
    pub fn moments(&self) -> (bool, bool) {
        match *self {
            Optimizer::Sgd { momentum, .. } => (momentum != 0.0, false),
            Optimizer::RmsProp { .. } => (false, true),
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => (true, true),
        }
    }

    /// The values of [`Scalars::UPDATE`] in a step.
    pub fn scalars(&self, step: u64, learning_rate: f64) -> [f64; 3] {
        let (first, second) = match *self {
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                let left = |beta: f64| 1.0 - beta.powf(step as f64 + 1.0);
                (learning_rate / left(beta1), 1.0 / left(beta2).sqrt())
            }
            _ => (learning_rate, 1.0),
        };
        [learning_rate, first, second]
    }

    /// The graph of one update of all parameters, in one set, gradients clipped to the global norm `clip` where given.
    ///
    /// # Errors
    /// [`Error::Shape`], which sound tensors do not cause.
    pub fn graph(&self, params: &[Tensor], clip: Option<f64>) -> Result<Graph> {
        self.update(vec![TensorSet::new("parameters", params.to_vec())], &[Set::FIRST], clip)
    }

    /// The graph of one update of those of the sets that are `trained`, their gradients clipped to one norm of all of them
    /// where `clip` is given. What else there is keeps its bytes.
    ///
    /// # Errors
    /// [`Error::Spec`] where one of `trained` is none of the sets; [`Error::Shape`], which sound tensors do not cause.
    pub fn update(&self, sets: Vec<TensorSet>, trained: &[Set], clip: Option<f64>) -> Result<Graph> {
        let tensors = Graph::with_sets(sets, vec![]).with_scalars(Scalars::new(Scalars::UPDATE)?);
        self.update_of(&tensors, trained, clip)
    }

    /// [`Optimizer::update`] of the sets of a graph, whose table has what updates read.
    ///
    /// # Errors
    /// As [`Optimizer::update`]; [`Error::Spec`] where the table lacks what updates read.
    pub fn update_of(&self, tensors: &Graph, trained: &[Set], clip: Option<f64>) -> Result<Graph> {
        self.update_named(tensors, trained, clip, &Scalars::UPDATE.map(String::from))
    }

    /// The same with other names for what it reads of the table.
    pub(super) fn update_named(
        &self,
        tensors: &Graph,
        trained: &[Set],
        clip: Option<f64>,
        names: &[String; 3],
    ) -> Result<Graph> {
        let mut g = tensors.without_nodes();
        g.set_scope("update");
        let scale = match clip {
            Some(limit) => Some(clip_scale(&mut g, trained, limit)?),
            None => None,
        };
        for &set in trained {
            self.update_set(&mut g, set, scale, names)?;
        }
        g.check()?;
        Ok(g)
    }

    fn update_set(&self, g: &mut Graph, set: Set, scale: Option<NodeId>, names: &[String; 3]) -> Result<()> {
        let (p, gradient) = (g.arena(set.arena(Kept::Values)), g.arena(set.arena(Kept::Gradients)));
        let gradient = match scale {
            Some(scale) => g.map([gradient, scale], |[g, s]| g * s)?,
            None => gradient,
        };
        let [rate, first, second] = names.each_ref().map(|name| g.scalar(name));
        let table = [rate?, first?, second?];
        let (first, second) = (set.arena(Kept::First), set.arena(Kept::Second));
        let new = match *self {
            Optimizer::Sgd { momentum: 0.0, .. } => g.map([p, gradient, table[0]], |[p, g, lr]| p - lr * g)?,
            Optimizer::Sgd { momentum, nesterov } => {
                let b = update(g, first, gradient, |b, g| momentum * b + g)?;
                g.map([p, gradient, b, table[0]], |[p, g, b, lr]| p - lr * if nesterov { g + momentum * b } else { b })?
            }
            Optimizer::RmsProp { alpha, epsilon } => {
                let v = update(g, second, gradient, |v, g| alpha * v + (1.0 - alpha) * g.square())?;
                g.map([p, gradient, v, table[0]], |[p, g, v, lr]| p - lr * g / (v.sqrt() + epsilon))?
            }
            Optimizer::Adam { beta1, beta2, epsilon } => {
                adam(g, set, [p, gradient], table, [beta1, beta2, epsilon, 0.0])?
            }
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                adam(g, set, [p, gradient], table, [beta1, beta2, epsilon, weight_decay])?
            }
        };
        g.sink(Sink::Update(set.arena(Kept::Values)), new);
        Ok(())
    }

    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<()> {
        let part = |name: &str, value: f64| match value {
            v if (0.0..1.0).contains(&v) => Ok(()),
            v => Err(Error::spec(format!("optimizer.{name}"), v, "0 or more and less than 1")),
        };
        // Padding has no gradient: with an epsilon of 0 its step would be 0 / 0.
        let above = |name: &str, value: f64| positive(&format!("optimizer.{name}"), value);
        match *self {
            Optimizer::Sgd { momentum, nesterov } => {
                if nesterov && momentum == 0.0 {
                    return Err(Error::spec("optimizer.momentum", 0, "above 0 where nesterov is set"));
                }
                part("momentum", momentum)
            }
            Optimizer::RmsProp { alpha, epsilon } => part("alpha", alpha).and(above("epsilon", epsilon)),
            Optimizer::Adam { beta1, beta2, epsilon } => {
                part("beta1", beta1).and(part("beta2", beta2)).and(above("epsilon", epsilon))
            }
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                part("beta1", beta1).and(part("beta2", beta2)).and(above("epsilon", epsilon))?;
                not_negative("optimizer.weight_decay", weight_decay)
            }
        }
    }
}

/// A moment's new value.
fn update(g: &mut Graph, arena: Arena, gradient: NodeId, f: impl FnOnce(Expr, Expr) -> Expr) -> Result<NodeId> {
    let old = g.arena(arena);
    let new = g.map([old, gradient], |[m, g]| f(m, g))?;
    g.sink(Sink::Update(arena), new);
    Ok(new)
}

fn adam(g: &mut Graph, set: Set, [p, gradient]: [NodeId; 2], table: [NodeId; 3], numbers: [f64; 4]) -> Result<NodeId> {
    let [beta1, beta2, epsilon, decay] = numbers;
    let m = update(g, set.arena(Kept::First), gradient, |m, g| beta1 * m + (1.0 - beta1) * g)?;
    let v = update(g, set.arena(Kept::Second), gradient, |v, g| beta2 * v + (1.0 - beta2) * g.square())?;
    g.map([p, m, v, table[0], table[1], table[2]], |[p, m, v, lr, first, second]| {
        let kept = if decay == 0.0 { p } else { &p * (1.0 - decay * lr) };
        kept - first * m / (v.sqrt() * second + epsilon)
    })
}

/// The factor that brings the norm of all gradients of these sets down to `limit`.
fn clip_scale(g: &mut Graph, sets: &[Set], limit: f64) -> Result<NodeId> {
    // Gradients whose own squares overflow halt the run, so that each is below 2^64 here. Divided by the power of two above
    // the root of their number, the sum of their squares cannot overflow either; no digit changes, and what is too small to
    // have a square then is far below the margin.
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
    g.map([total], |[s]| (limit / (s.sqrt() * unit + CLIP_MARGIN)).min(1.0))
}
