//! A second network beside a spec's: dense layers over a set of their own, which a step of a run may train against the first.

use std::ops::Range;

use super::{Corruption, Layer, WIDEST};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Set, Shape, Tensor};

/// Dense layers whose tensors are one set of a graph's: see [`crate::train::Run::with_player`].
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    set: Set,
    params: Range<usize>,
    layers: Vec<Layer>,
}

impl Player {
    /// Layers over a graph's set whose tensors begin with this number.
    pub(crate) fn new(set: Set, first: usize, layers: &[Layer]) -> Player {
        Player { set, params: first..first + 2 * layers.len(), layers: layers.to_vec() }
    }

    /// The tensors of such layers: `name.0.weight` `[input, units]`, `name.0.bias` `[units]` and so on.
    pub(crate) fn tensors(name: &str, input: usize, layers: &[Layer]) -> Result<Vec<Tensor>> {
        if layers.is_empty() {
            return Err(Error::spec(name, "empty", "at least one layer"));
        }
        let within = |field: String, units: usize| match units {
            1..=WIDEST => Ok(()),
            _ => Err(Error::spec(field, units, format!("1 to {WIDEST}"))),
        };
        within(format!("{name}.input"), input)?;
        let (mut width, mut tensors) = (input, vec![]);
        for (i, layer) in layers.iter().enumerate() {
            within(format!("{name}[{i}].units"), layer.units)?;
            if layer.noise != Corruption::None {
                let allowed = "none: a player's layers draw nothing";
                return Err(Error::spec(format!("{name}[{i}].noise"), format!("{:?}", layer.noise), allowed));
            }
            for (what, dims) in [("weight", vec![width, layer.units]), ("bias", vec![layer.units])] {
                tensors.push(Tensor { name: format!("{name}.{i}.{what}"), shape: Shape::fixed(&dims) });
            }
            width = layer.units;
        }
        Ok(tensors)
    }

    /// The set of its tensors.
    pub fn set(&self) -> Set {
        self.set
    }

    /// The numbers of its tensors: weight and bias of each layer.
    pub fn params(&self) -> Range<usize> {
        self.params.clone()
    }

    /// Adds what it makes of rows, `[batch, n]`: as wide as its last layer.
    ///
    /// # Errors
    /// [`Error::Shape`] where the rows are of another width; [`Error::Spec`] where the graph has no such tensors.
    pub fn forward(&self, g: &mut Graph, rows: NodeId) -> Result<NodeId> {
        let (mut last, mut params) = (rows, self.params());
        for layer in &self.layers {
            let [weight, bias] = [params.next(), params.next()].map(|i| g.param(i.unwrap_or(self.params.end)));
            let product = g.matmul(last, weight?, false, false)?;
            last = g.map([product, bias?], |[p, b]| layer.activation.of(&(p + b)))?;
        }
        Ok(last)
    }
}
