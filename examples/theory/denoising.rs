//! Rows 20 to 26: denoising, the score of a density, sampling.

use super::Row;

/// In the order of the list.
pub const ROWS: &[Row] = &[];
