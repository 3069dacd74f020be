//! Shapes: the extent of one row of the batch, plus whether there is one such block for every row of the batch.
//!
//! The number of rows is not part of a shape: it is data on the GPU, so that one plan serves every batch size.

use std::fmt;

/// The shape of a tensor.
///
/// A batched tensor holds `dims` once for every row of the batch. In memory every tensor is a matrix: the last
/// dimension gives its columns, everything before it (the batch first) its rows; columns are padded with zeros, so that
/// every kernel reads and writes `vec4`, or two of them: see [`Shape::stride`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Whether there is one block of `dims` for every row of the batch.
    pub batched: bool,
    /// The dimensions, without the batch; empty for a scalar.
    pub dims: Vec<usize>,
}

impl Shape {
    /// One block of `dims` per row of the batch.
    pub fn batched(dims: &[usize]) -> Shape {
        Shape { batched: true, dims: dims.to_vec() }
    }

    /// A tensor that does not grow with the batch.
    pub fn fixed(dims: &[usize]) -> Shape {
        Shape { batched: false, dims: dims.to_vec() }
    }

    /// A single value.
    pub fn scalar() -> Shape {
        Shape::fixed(&[])
    }

    /// The extent of the last dimension.
    pub fn columns(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Columns as stored: padded to four or, where there are more, to a multiple of eight, since software adapters load two
    /// quads for little more than one.
    #[doc(hidden)]
    pub fn stride(&self) -> usize {
        let columns = self.columns();
        columns.checked_next_multiple_of(if columns > 4 { 8 } else { 4 }).unwrap_or(usize::MAX)
    }

    /// Whether rows are stored without padding.
    pub(crate) fn is_unpadded(&self) -> bool {
        self.columns() == self.stride()
    }

    /// The dimensions before the last.
    pub(crate) fn lead(&self) -> &[usize] {
        &self.dims[..self.dims.len().saturating_sub(1)]
    }

    /// The extent of the dimension before the last.
    pub(crate) fn inner(&self) -> usize {
        self.lead().last().copied().unwrap_or(1)
    }

    /// Matrix rows per row of the batch (or in all, where the tensor is not batched).
    #[doc(hidden)]
    pub fn blocks(&self) -> usize {
        product(self.lead())
    }

    /// Rows of the matrix for a batch of `rows`.
    #[doc(hidden)]
    pub fn matrix_rows(&self, rows: usize) -> usize {
        self.blocks().saturating_mul(if self.batched { rows } else { 1 })
    }

    /// Values, padding left out, for a batch of `rows`.
    pub fn elements(&self, rows: usize) -> usize {
        self.matrix_rows(rows).saturating_mul(self.columns())
    }

    /// Bytes as stored in f32, padding included, for a batch of `rows`.
    pub(crate) fn bytes(&self, rows: usize) -> u64 {
        (self.matrix_rows(rows) as u64).saturating_mul(self.stride() as u64).saturating_mul(4)
    }

    /// Values without padding, of rows as they are stored.
    pub(crate) fn unpadded<R: Copy>(&self, stored: &[R]) -> Vec<R> {
        let (columns, stride) = (self.columns(), self.stride());
        stored.chunks(stride.max(1)).flat_map(|row| &row[..columns]).copied().collect()
    }

    /// Whether `self` can be repeated to fill `target`.
    #[doc(hidden)]
    pub fn broadcasts_to(&self, target: &Shape) -> bool {
        (!self.batched || target.batched)
            && self.dims.len() <= target.dims.len()
            && self.dims.iter().rev().zip(target.dims.iter().rev()).all(|(&a, &b)| a == b || a == 1)
    }

    /// The smallest shape that both can be repeated to fill.
    #[doc(hidden)]
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.dims.len().max(other.dims.len());
        let at = |shape: &Shape, i: usize| (i + shape.dims.len()).checked_sub(rank).map_or(1, |i| shape.dims[i]);
        let mut dims = Vec::with_capacity(rank);
        for i in 0..rank {
            match (at(self, i), at(other, i)) {
                (a, b) if a == b => dims.push(a),
                (1, b) => dims.push(b),
                (a, 1) => dims.push(a),
                _ => return None,
            }
        }
        Some(Shape { batched: self.batched || other.batched, dims })
    }
}

/// The product of some dimensions. All sizes stop at the largest number: a shape from outside may be absurd, and is
/// refused for its size where it is planned.
pub(super) fn product(dims: &[usize]) -> usize {
    dims.iter().fold(1, |product, &d| product.saturating_mul(d))
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batched.then(|| "batch".to_string());
        let parts: Vec<String> = batch.into_iter().chain(self.dims.iter().map(usize::to_string)).collect();
        write!(f, "[{}]", parts.join(", "))
    }
}

/// How a tensor is read where another shape is being computed: which of its matrix rows and columns belongs to a
/// row and a column of that other shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Whether the row is the same one.
    pub same_row: bool,
    /// Matrix rows of the space per row of the batch.
    pub space_blocks: usize,
    /// Matrix rows of the tensor per row of the batch; 0 where it is not batched.
    pub batch_stride: usize,
    /// Within a block: divide by this,
    pub divisor: usize,
    /// then take the remainder by this.
    pub modulus: usize,
    /// Whether the tensor has one column that is repeated.
    pub splat: bool,
}

impl Access {
    /// How `tensor` is read while `space` is computed, or `None` where no single quotient and remainder does it.
    pub fn new(tensor: &Shape, space: &Shape) -> Option<Access> {
        if !tensor.broadcasts_to(space) {
            return None;
        }
        let splat = tensor.columns() == 1 && space.columns() != 1;
        let lead = space.lead();
        let missing = lead.len() - tensor.lead().len().min(lead.len());
        let own: Vec<usize> = std::iter::repeat_n(1, missing).chain(tensor.lead().iter().copied()).collect();
        // The dimensions that the tensor really has must be neighbours: outer ones are divided away, inner ones kept.
        let varies: Vec<usize> = (0..lead.len()).filter(|&i| own[i] == lead[i] && lead[i] != 1).collect();
        let (first, last) = (varies.first().copied().unwrap_or(0), varies.last().map_or(0, |l| l + 1));
        if (first..last).any(|i| own[i] != lead[i]) {
            return None;
        }
        let divisor = product(&lead[last..]);
        let modulus = product(&lead[first..last]);
        let batch_stride = if tensor.batched { tensor.blocks() } else { 0 };
        let same_row = tensor.batched == space.batched && tensor.blocks() == space.blocks();
        Some(Access { same_row, space_blocks: space.blocks(), batch_stride, divisor, modulus, splat })
    }

    /// The tensor's matrix row for a matrix row of the space; 0 within a block whose extent is 0.
    pub fn row(&self, row: usize) -> usize {
        if self.same_row {
            return row;
        }
        let quotient = |a: usize, b: usize| a.checked_div(b).unwrap_or(0);
        let rest = |a: usize, b: usize| a.checked_rem(b).unwrap_or(0);
        let within = rest(quotient(rest(row, self.space_blocks), self.divisor), self.modulus);
        quotient(row, self.space_blocks).saturating_mul(self.batch_stride).saturating_add(within)
    }
}
