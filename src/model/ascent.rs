//! Inputs that a model reconstructs badly, found by ascending its error within a bound: unrolled, as nodes of any graph.

use serde::{Deserialize, Serialize};

use super::build::Builder;
use super::{Latent, Loss, Spec};
use crate::error::{Error, Result, positive};
use crate::graph::{Compare, Expr, Graph, NodeId, Over, Reduction, Shape, Sink};

/// The most steps: all of them are one graph.
const LONGEST: usize = 100;

/// How far a row may be moved at most. Distances are in units of the scaled input: .1 is a tenth of a feature's range under a
/// min-max scaling, and a tenth of its deviation under a standardized one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bound {
    /// Each feature by at most this.
    Infinity(f64),
    /// The row as a whole by at most this length, √(Σ over features of the squares).
    Two(f64),
}

/// Projected gradient ascent of the error of single rows (Madry and others, "Towards deep learning models resistant to adversarial
/// attacks", 2018). A step moves x' by `length`, then takes it to the nearest row within the bound around x. Under
/// [`Bound::Infinity`] each feature moves by `length` in the direction of its gradient's sign; under [`Bound::Two`] the row moves
/// by `length` along its gradient. The gradient is that of the error of x' itself, without noise: of what
/// [`crate::Model::score`] gives. A step that would lower the error is not taken; that row's steps are half as long from then on.
/// So the error never falls. Where the loss is made for values from 0 to 1, x' keeps to these. Features that are missing
/// ([`super::Corruption::Missing`]) stay as they are: the encoder does not see them, and to move what is to be reconstructed finds
/// no input. They count in the error as in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ascent {
    /// How far from x it may lead.
    pub bound: Bound,
    /// Steps, 1 to 100; each costs a forward pass and a backward one.
    pub steps: usize,
    /// How far the first step goes, in units of the scaled input: in each feature, or as a whole, as the bound says.
    pub length: f64,
}

impl Bound {
    /// The largest distance.
    fn radius(self) -> f64 {
        match self {
            Bound::Infinity(radius) | Bound::Two(radius) => radius,
        }
    }

    /// Fails where it is none, or where rows of the spec cannot be moved by it; `field` is where it stands.
    pub(crate) fn check(self, field: &str, spec: &Spec) -> Result<()> {
        positive(&format!("{field}.radius"), self.radius())?;
        match spec.loss {
            Loss::Softmax { .. } => {
                Err(Error::spec("loss", "softmax", "one of rows that can be moved: no distributions"))
            }
            _ => Ok(()),
        }
    }

    /// Where a step of length 1 leads along a gradient, [batch, n].
    fn direction(self, g: &mut Graph, slope: NodeId) -> Result<NodeId> {
        if let Bound::Infinity(_) = self {
            return g.map([slope], |[s]| s.if_positive(1.0, (-&s).if_positive(-1.0, 0.0)));
        }
        let or_one = |n: &Expr| n.if_positive(n.clone(), 1.0);
        // The norm of s / max |s| neither overflows nor vanishes.
        let size = g.map([slope], |[s]| s.abs())?;
        let largest = g.reduce(Reduction::Max, Over::Columns, size);
        let scaled = g.map([slope, largest], |[s, m]| s / or_one(&m))?;
        let square = g.map([scaled], |[s]| s.square())?;
        let squares = g.sum(Over::Columns, square);
        g.map([scaled, squares], |[s, n]| s / or_one(&n).sqrt())
    }

    /// The nearest of all rows within the bound around x.
    fn project(self, g: &mut Graph, x: NodeId, moved: NodeId) -> Result<NodeId> {
        match self {
            Bound::Infinity(radius) => g.map([moved, x], |[m, x]| m.min(&x + radius).max(x - radius)),
            Bound::Two(radius) => {
                let square = g.map([moved, x], |[m, x]| (m - x).square())?;
                let squares = g.sum(Over::Columns, square);
                let inside = Expr::constant(radius * radius);
                g.map([moved, x, squares], |[m, x, s]| {
                    s.select(Compare::LessEqual, &inside, m.clone(), &x + (m - &x) * radius / s.sqrt())
                })
            }
        }
    }

    /// What any values, [batch, n], become that are to be a way within the bound: r tanh(v), or r v / √(1 + ||v||²).
    pub(crate) fn squash(self, g: &mut Graph, v: NodeId) -> Result<NodeId> {
        match self {
            Bound::Infinity(radius) => g.map([v], |[v]| radius * v.tanh()),
            Bound::Two(radius) => {
                let square = g.map([v], |[v]| v.square())?;
                let squares = g.sum(Over::Columns, square);
                g.map([v, squares], |[v, s]| radius * v / (1.0 + s).sqrt())
            }
        }
    }
}

impl Ascent {
    /// Fails where it cannot be one of rows of the spec; `place` is what its fields' names begin with.
    pub(crate) fn check(&self, place: &str, spec: &Spec) -> Result<()> {
        self.bound.check(&format!("{place}bound"), spec)?;
        positive(&format!("{place}length"), self.length)?;
        match self.steps {
            1..=LONGEST => Ok(()),
            steps => Err(Error::spec(format!("{place}steps"), steps, format!("1 to {LONGEST}"))),
        }
    }

    /// A graph over a spec's tensors that gives what the ascent makes of the input's rows, in their units, and in one more column
    /// the error of each, [batch, n + 1].
    pub(crate) fn graph(&self, network: &super::Network) -> Result<Graph> {
        self.check("", network.spec())?;
        let (mut g, width) = (network.tensors(), network.spec().input);
        let x = g.input(0, width);
        let mut builder = network.builder(&mut g, super::build::Places::OWN, false)?;
        let x = builder.scale(x)?;
        let x = builder.nearest(x)?.0;
        let (found, errors) = builder.ascend(x, self)?;
        let found = builder.unscale(found)?;
        let [found, errors] = [g.pad(found, 0, width + 1)?, g.pad(errors, width, width + 1)?];
        let both = g.map([found, errors], |[x, e]| x + e)?;
        g.sink(Sink::Output(0), both);
        network.finished(g)
    }
}

/// Where an ascent has come: rows, their errors, and the gradients of these.
struct Place {
    x: NodeId,
    error: NodeId,
    slope: NodeId,
}

impl Builder<'_> {
    /// Codes of scaled rows as the decoder meets them, or as the encoder predicts them where they are minimised inside.
    pub fn codes(&mut self, x: NodeId) -> Result<NodeId> {
        let input = self.corrupted(x, super::build::stream::CORRUPTION)?;
        let pass = self.pass(x, input, 0)?;
        Ok(if matches!(self.spec.latent, Latent::PredictiveSparse { .. }) { pass.code } else { pass.latent })
    }

    /// The loss of each of scaled rows, [batch, 1].
    pub fn errors(&mut self, x: NodeId) -> Result<NodeId> {
        let input = self.corrupted(x, super::build::stream::CORRUPTION)?;
        let pass = self.pass(x, input, 0)?;
        self.loss_of_rows(pass.decoded, x, None)
    }

    fn place(&mut self, x: NodeId) -> Result<Place> {
        let error = self.errors(x)?;
        // No row's error depends on another row.
        let sum = self.g.sum_all(error);
        let slope = self.g.gradient(sum, &[x])?[0];
        // The encoder does not see what is missing: a step there would move the target alone.
        let slope = self.without_missing(slope)?;
        Ok(Place { x, error, slope })
    }

    /// What an ascent makes of scaled rows that lie where the loss is made for, and their errors, [batch, 1].
    pub fn ascend(&mut self, start: NodeId, ascent: &Ascent) -> Result<(NodeId, NodeId)> {
        let mut at = self.place(start)?;
        let mut length = self.g.fill(ascent.length, Shape::batched(&[1]));
        for i in 0..ascent.steps {
            let direction = ascent.bound.direction(self.g, at.slope)?;
            let moved = self.g.map([at.x, direction, length], |[x, d, l]| x + l * d)?;
            let moved = ascent.bound.project(self.g, start, moved)?;
            let moved = self.nearest(moved)?.0;
            if i + 1 == ascent.steps {
                // Nobody goes on from there.
                let error = self.errors(moved)?;
                let x = self.g.map([at.error, error, at.x, moved], better)?;
                return Ok((x, self.g.map([at.error, error], |[a, b]| a.max(b))?));
            }
            let next = self.place(moved)?;
            let errors = [at.error, next.error];
            length = self.g.map([errors[0], errors[1], length], |[a, b, l]| better([a, b, 0.5 * &l, l]))?;
            at = Place {
                x: self.g.map([errors[0], errors[1], at.x, next.x], better)?,
                slope: self.g.map([errors[0], errors[1], at.slope, next.slope], better)?,
                error: self.g.map(errors, |[a, b]| a.max(b))?,
            };
        }
        Ok((at.x, at.error))
    }
}

/// The second value where the second error is not lower, else the first.
fn better([error, other, value, next]: [Expr; 4]) -> Expr {
    error.select(Compare::LessEqual, &other, next, value)
}
