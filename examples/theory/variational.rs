//! Rows 35 and 36: variational autoencoders and generation.

use super::Row;

/// In the order of the list.
pub const ROWS: &[Row] = &[];
