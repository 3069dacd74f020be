//! Distributions that codes are to have, as draws in a graph.

use std::sync::Arc;

use crate::error::{Error, Result, positive};
use crate::graph::{Compare, Distribution, Expr, Graph, NodeId, Shape};

/// Apart from all streams of a network, which lie below. The caller's own draws go from [`OWN`] on.
const STREAM: u32 = 0x4000_0000;
const CHOICE: u32 = STREAM + 2;
const OWN: u32 = STREAM + 16;

/// The widest code that a mixture is drawn for: its means are part of an expression.
const WIDEST: usize = 1024;

/// What codes are to be distributed like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prior {
    /// N(0, I).
    Normal,
    /// Each unit independently between two numbers.
    Uniform {
        /// The lower one.
        low: f64,
        /// The upper one.
        high: f64,
    },
    /// One of several normal distributions, drawn for each row anew.
    Mixture(Vec<Mode>),
    /// One of the caller's own: see [`Prior::own`].
    Own(OwnPrior),
}

/// One of the normal distributions of a mixture: N(mean, deviation² I).
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// How likely it is, beside the weights of the others.
    pub weight: f64,
    /// Its mean, as wide as the code.
    pub mean: Vec<f64>,
    /// Its standard deviation, the same in all directions.
    pub deviation: f64,
}

type Sample = dyn Fn(&mut Graph, u32) -> Result<NodeId> + Send + Sync;

/// A sampler of the caller's own.
#[derive(Clone)]
pub struct OwnPrior(Arc<Sample>);

impl std::fmt::Debug for OwnPrior {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sampler of the caller's own")
    }
}

impl PartialEq for OwnPrior {
    fn eq(&self, other: &OwnPrior) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Prior {
    /// One of the caller's own: nodes of draws, `[batch, code]`, made of [`Expr::random`] with streams from the given one on.
    ///
    /// ```
    /// use strait::graph::{Distribution, Expr, Shape};
    /// use strait::model::Prior;
    ///
    /// // A circle.
    /// let circle = Prior::own(|g, stream| {
    ///     let turn = std::f64::consts::TAU * Expr::random(Distribution::Uniform, stream);
    ///     let angle = g.map_to(turn, &[], Shape::batched(&[1]))?;
    ///     let [across, up] = [g.map([angle], |[a]| a.cos())?, g.map([angle], |[a]| a.sin())?];
    ///     let [across, up] = [g.pad(across, 0, 2)?, g.pad(up, 1, 2)?];
    ///     g.map([across, up], |[a, b]| a + b)
    /// });
    /// ```
    pub fn own(sample: impl Fn(&mut Graph, u32) -> Result<NodeId> + Send + Sync + 'static) -> Prior {
        Prior::Own(OwnPrior(Arc::new(sample)))
    }

    /// Adds a fresh draw for every row, `[batch, code]`.
    ///
    /// # Errors
    /// [`Error::Spec`] where it is no distribution of codes of this width.
    pub fn draw(&self, g: &mut Graph, code: usize) -> Result<NodeId> {
        let shape = Shape::batched(&[code]);
        let normal = Expr::random(Distribution::Normal, STREAM);
        match self {
            Prior::Normal => g.map_to(normal, &[], shape),
            &Prior::Uniform { low, high } => {
                if !(low < high && (low as f32).is_finite() && (high as f32).is_finite()) {
                    return Err(Error::spec(
                        "prior.uniform",
                        format!("{low} to {high}"),
                        "a finite interval, low < high",
                    ));
                }
                g.map_to(low + (high - low) * Expr::random(Distribution::Uniform, STREAM), &[], shape)
            }
            Prior::Mixture(modes) => {
                check(modes, code)?;
                let total: f64 = modes.iter().map(|mode| mode.weight).sum();
                let chosen = g.map_to(Expr::random(Distribution::Uniform, CHOICE), &[], Shape::batched(&[1]))?;
                let draws = g.map_to(normal, &[], shape)?;
                let (mut z, mut below) = (draws, 0.0);
                for (i, mode) in modes.iter().enumerate() {
                    let mean = g.map_to(by_column(&mode.mean, 0), &[], Shape::fixed(&[code]))?;
                    let from = Expr::constant(below / total);
                    let first = i == 0;
                    z = g.map([z, draws, mean, chosen], |[z, n, mean, u]| {
                        let own = mean + mode.deviation * n;
                        if first { own } else { u.select(Compare::Less, &from, z, own) }
                    })?;
                    below += mode.weight;
                }
                Ok(z)
            }
            Prior::Own(OwnPrior(sample)) => {
                let z = sample(g, OWN)?;
                match g.shape(z) {
                    found if *found == shape => Ok(z),
                    found => Err(Error::spec("prior (own)", found.to_string(), shape.to_string())),
                }
            }
        }
    }
}

/// Fails where these are no mixture of codes of this width.
fn check(modes: &[Mode], code: usize) -> Result<()> {
    if modes.is_empty() {
        return Err(Error::spec("prior.mixture", "empty", "at least one mode"));
    }
    if code > WIDEST {
        return Err(Error::spec("prior.mixture", format!("codes of {code} units"), format!("at most {WIDEST}")));
    }
    for (i, mode) in modes.iter().enumerate() {
        let place = format!("prior.mixture[{i}]");
        positive(&format!("{place}.weight"), mode.weight)?;
        positive(&format!("{place}.deviation"), mode.deviation)?;
        if mode.mean.len() != code {
            let found = format!("{} values", mode.mean.len());
            return Err(Error::spec(format!("{place}.mean"), found, format!("{code}, as wide as the code")));
        }
        if let Some(bad) = mode.mean.iter().find(|value| !(**value as f32).is_finite()) {
            return Err(Error::spec(format!("{place}.mean"), bad, "numbers that are finite in f32"));
        }
    }
    Ok(())
}

/// The value that belongs to the column, of those that begin with column `first`.
fn by_column(values: &[f64], first: usize) -> Expr {
    match values {
        [] => Expr::constant(0.0),
        [value] => Expr::constant(*value),
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            let middle = first + left.len();
            let right = by_column(right, middle);
            Expr::column().select(Compare::Less, &Expr::constant(middle as f64), by_column(left, first), right)
        }
    }
}
