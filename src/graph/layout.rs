//! Where the trainable tensors lie in an arena: the same offsets in parameters, gradients and moments, so that one
//! dispatch can update them all.

use super::node::Tensor;
use super::shape::Shape;
use crate::error::{Error, Result};

/// Bytes between possible starts of a tensor: WebGPU's default alignment of storage offsets.
pub const ALIGNMENT: u64 = 256;

/// Columns of an arena seen as a matrix.
const COLUMNS: usize = 1024;

/// Offsets of tensors in one buffer. Between tensors and behind the last there are only zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first byte of each tensor.
    pub offsets: Vec<u64>,
    /// All bytes, a multiple of a row of the arena's matrix.
    pub bytes: u64,
}

impl Layout {
    /// Lays the tensors out one after the other.
    pub fn new(tensors: &[Tensor]) -> Layout {
        let mut end = 0u64;
        let mut offsets = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            offsets.push(end);
            end = (end + tensor.shape.bytes(1)).next_multiple_of(ALIGNMENT);
        }
        Layout { offsets, bytes: end.max(1).next_multiple_of(COLUMNS as u64 * 4) }
    }

    /// The arena as a matrix.
    pub fn matrix(&self) -> Shape {
        Shape::fixed(&[self.bytes as usize / (COLUMNS * 4), COLUMNS])
    }

    /// Tensors, row-major without padding, as they lie in an arena. A tensor that no values are given for stays zero.
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong.
    pub fn pack<R: Copy + Default>(&self, tensors: &[Tensor], values: &[Vec<R>]) -> Result<Vec<R>> {
        let mut packed = vec![R::default(); self.bytes as usize / 4];
        for ((tensor, &offset), value) in tensors.iter().zip(&self.offsets).zip(values) {
            let wanted = tensor.shape.elements(1);
            if value.len() != wanted {
                return Err(Error::data(&tensor.name, format!("{} values", value.len()), format!("{wanted} values")));
            }
            let stride = tensor.shape.stride();
            for (r, row) in value.chunks(tensor.shape.columns()).enumerate() {
                let at = offset as usize / 4 + r * stride;
                packed[at..at + row.len()].copy_from_slice(row);
            }
        }
        Ok(packed)
    }

    /// Tensors taken out of an arena, without padding.
    ///
    /// # Errors
    /// [`Error::Data`] where it is shorter than an arena.
    pub fn unpack<R: Copy>(&self, tensors: &[Tensor], packed: &[R]) -> Result<Vec<Vec<R>>> {
        let wanted = self.bytes as usize / 4;
        if packed.len() < wanted {
            return Err(Error::data("arena", format!("{} values", packed.len()), format!("{wanted} values")));
        }
        let take = |(tensor, &offset): (&Tensor, &u64)| {
            let (columns, stride) = (tensor.shape.columns(), tensor.shape.stride());
            let start = offset as usize / 4;
            let rows = packed[start..start + tensor.shape.blocks() * stride].chunks(stride);
            rows.flat_map(|row| row[..columns].iter().copied()).collect()
        };
        Ok(tensors.iter().zip(&self.offsets).map(take).collect())
    }
}
