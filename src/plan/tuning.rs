//! Tuning: the tile that each matrix product runs with where that was measured. It is plain data; a plan asks it before
//! its table of defaults.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::values::Values;
use super::{AdapterKind, Target};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Op, Shape, Sink, Tensor};
use crate::kernel::{SUBGROUP, Tile};

/// The shape of a matrix product at the largest batch: [rows, inner] by [inner, columns].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Rows of the result.
    pub rows: usize,
    /// Products that are added up for each value of the result.
    pub inner: usize,
    /// Columns of the result, padding left out.
    pub columns: usize,
    /// Whether the left factor lies in memory transposed, as [inner, rows],
    pub ta: bool,
    /// and the right one, as [columns, inner].
    pub tb: bool,
    /// Whether both lie there in half precision.
    pub half: bool,
}

impl Product {
    /// The product that a node computes for a batch of `rows` rows, if it is one.
    pub(super) fn of(values: &Values, id: NodeId, rows: usize) -> Option<Product> {
        let &Op::MatMul { a, b, ta, tb, parts } = values.op(id) else { return None };
        let (left, result) = (values.shape(a), values.shape(id));
        let inner = if ta { left.matrix_rows(rows) } else { left.columns() };
        let half = [a, b].into_iter().all(|factor| values[values.home(factor)].half);
        let rows = result.matrix_rows(rows) / parts.max(1);
        Some(Product { rows, inner, columns: result.columns(), ta, tb, half })
    }

    /// A graph of this product alone, which is its only output: parameter 0 by parameter 1, both rounded where they are to
    /// lie in half precision.
    ///
    /// # Errors
    /// As [`Graph::matmul`].
    pub fn graph(&self) -> Result<Graph> {
        let &Product { rows, inner, columns, ta, tb, half } = self;
        let factor = |name: &str, transposed: bool, rows: usize, columns: usize| {
            let dims = if transposed { [columns, rows] } else { [rows, columns] };
            Tensor { name: name.into(), shape: Shape::fixed(&dims) }
        };
        let mut graph = Graph::new(vec![factor("left", ta, rows, inner), factor("right", tb, inner, columns)], vec![]);
        let (left, right) = (graph.param(0)?, graph.param(1)?);
        let product = graph.matmul(left, right, ta, tb)?;
        graph.sink(Sink::Output(0), product);
        Ok(if half { graph.halved() } else { graph })
    }

    /// Quads of a row of the result.
    pub(crate) fn quads(&self) -> usize {
        Shape::fixed(&[self.columns]).stride() / 4
    }

    /// As [`Tile::hardware_cost`].
    pub(crate) fn hardware_cost(&self, tile: Tile, parts: usize, cores: usize) -> Option<usize> {
        tile.hardware_cost([self.rows, self.quads(), self.inner], parts, self.ta, cores)
    }

    /// Floating-point operations: two for every product of two numbers.
    pub fn flops(&self) -> u64 {
        [self.rows, self.inner, self.columns].iter().fold(2, |flops: u64, &extent| flops.saturating_mul(extent as u64))
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Product { rows, inner, columns, ta, tb, half } = self;
        let flag = |transposed: &bool| if *transposed { 'T' } else { 'N' };
        let half = if *half { " f16" } else { "" };
        write!(f, "{rows}x{inner}x{columns} {}{}{half}", flag(ta), flag(tb))
    }
}

/// Tiles by product. A product that is not named takes the tile of the table of defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Choice>", into = "Vec<Choice>")]
pub struct Tuning {
    /// The tile of each product.
    #[doc(hidden)]
    pub tiles: BTreeMap<Product, Tile>,
}

/// An entry as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    product: Product,
    tile: Tile,
}

impl From<Tuning> for Vec<Choice> {
    fn from(tuning: Tuning) -> Vec<Choice> {
        tuning.tiles.into_iter().map(|(product, tile)| Choice { product, tile }).collect()
    }
}

impl TryFrom<Vec<Choice>> for Tuning {
    type Error = String;

    fn try_from(choices: Vec<Choice>) -> std::result::Result<Tuning, String> {
        let mut tuning = Tuning::default();
        for Choice { product, tile } in choices {
            if tuning.tiles.insert(product, tile).is_some() {
                return Err(format!("the product {product} twice"));
            }
        }
        Ok(tuning)
    }
}

impl Tuning {
    /// Whether it names no product.
    #[doc(hidden)]
    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// Fails where a product is to take a tile that the target cannot use.
    pub(crate) fn check(&self, target: &Target) -> Result<()> {
        match self.tiles.iter().find(|(product, tile)| !target.can_take(product, **tile)) {
            None => Ok(()),
            Some((product, tile)) => {
                let allowed: Vec<String> = target.tiles(product).map(|tile| tile.to_string()).collect();
                Err(Error::spec("tuning", format!("{tile:?} for {product}"), allowed.join(", ")))
            }
        }
    }
}

impl Target {
    /// The tiles that a matrix product may take.
    pub fn tiles(&self, product: &Product) -> impl Iterator<Item = Tile> {
        Tile::ALL.into_iter().filter(|&tile| self.can_take(product, tile))
    }

    /// Whether a matrix product may take a tile: one that can be used and suits its factors.
    pub fn can_take(&self, product: &Product, tile: Tile) -> bool {
        self.can_use(tile) && tile.suits(product.half)
    }

    /// Whether matrix products may use a tile: one of [`Tile::ALL`] that is for this kind of adapter, its subgroups and its
    /// cooperative matrices.
    pub fn can_use(&self, tile: Tile) -> bool {
        let suits = match (self.kind, tile) {
            (AdapterKind::Hardware, Tile::Shared { .. }) | (AdapterKind::Software, Tile::Registers { .. }) => true,
            (AdapterKind::Software, Tile::Subgroup { .. }) => self.limits.subgroup as usize == SUBGROUP,
            (_, Tile::Cooperative { side, subgroup }) => {
                [self.limits.cooperative, self.limits.subgroup].map(|n| n as usize) == [side, subgroup]
            }
            _ => false,
        };
        suits && Tile::ALL.contains(&tile)
    }
}
