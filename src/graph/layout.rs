//! Where the trainable tensors lie in an arena: the same offsets in parameters, gradients and moments, so that one
//! dispatch can update them all.

use super::real::Real;
use super::set::Tensor;
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
            end = round_up(end.saturating_add(tensor.shape.bytes(1)), ALIGNMENT);
        }
        Layout { offsets, bytes: round_up(end.max(1), COLUMNS as u64 * 4) }
    }

    /// The arena as a matrix.
    pub fn matrix(&self) -> Shape {
        Shape::fixed(&[self.bytes as usize / (COLUMNS * 4), COLUMNS])
    }

    /// Tensors, row-major without padding, as they lie in an arena. A tensor that no values are given for stays zero.
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong, or where the layout is not theirs.
    pub fn pack<R: Copy + Default>(&self, tensors: &[Tensor], values: &[Vec<R>]) -> Result<Vec<R>> {
        tensors.iter().zip(values).try_for_each(|(tensor, value)| tensor.check_count(value.len()))?;
        let (mut packed, length) = (Vec::new(), self.bytes as usize / 4);
        let full = |e| Error::data("arena", format!("{length} values: {e}"), "as many as fit in memory");
        packed.try_reserve_exact(length).map_err(full)?;
        packed.resize(length, R::default());
        for ((tensor, &offset), value) in tensors.iter().zip(&self.offsets).zip(values) {
            let (columns, stride) = (tensor.shape.columns(), tensor.shape.stride());
            let place = packed.get_mut(offset as usize / 4..).unwrap_or_default();
            if place.len() < tensor.shape.blocks().saturating_mul(stride) {
                return Err(elsewhere(tensor));
            }
            for (row, value) in place.chunks_mut(stride.max(1)).zip(value.chunks(columns.max(1))) {
                row[..columns].copy_from_slice(value);
            }
        }
        Ok(packed)
    }

    /// Sets everything in an arena that is no tensor's to zero: between tensors, behind the last, behind the ends of rows.
    pub(crate) fn clear_padding<R: Real>(&self, tensors: &[Tensor], packed: &mut [R]) {
        let mut end = 0;
        for (tensor, &offset) in tensors.iter().zip(&self.offsets) {
            let (start, columns, stride) = (offset as usize / 4, tensor.shape.columns(), tensor.shape.stride());
            packed.get_mut(end..start).unwrap_or_default().fill(R::of(0.0));
            end = start + tensor.shape.blocks() * stride;
            let rows = packed.get_mut(start..end).unwrap_or_default();
            rows.chunks_mut(stride).for_each(|row| row[columns..].fill(R::of(0.0)));
        }
        packed.get_mut(end..).unwrap_or_default().fill(R::of(0.0));
    }

    /// Tensors taken out of an arena, without padding.
    ///
    /// # Errors
    /// [`Error::Data`] where it is shorter than an arena, or where the layout is not that of the tensors.
    pub fn unpack<R: Copy>(&self, tensors: &[Tensor], packed: &[R]) -> Result<Vec<Vec<R>>> {
        let wanted = self.bytes as usize / 4;
        if packed.len() < wanted {
            return Err(Error::data("arena", format!("{} values", packed.len()), format!("{wanted} values")));
        }
        let take = |(tensor, &offset): (&Tensor, &u64)| {
            let length = tensor.shape.blocks().saturating_mul(tensor.shape.stride());
            let place = packed.get(offset as usize / 4..).unwrap_or_default();
            Ok(tensor.shape.unpadded(place.get(..length).ok_or_else(|| elsewhere(tensor))?))
        };
        tensors.iter().zip(&self.offsets).map(take).collect()
    }
}

fn elsewhere(tensor: &Tensor) -> Error {
    Error::data(&tensor.name, "a place outside the arena", "the layout of these tensors")
}

/// The next multiple, or the largest there is.
fn round_up(bytes: u64, to: u64) -> u64 {
    bytes.checked_next_multiple_of(to).unwrap_or(u64::MAX / to * to)
}
