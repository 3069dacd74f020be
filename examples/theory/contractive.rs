//! Rows 27 to 34: contraction, manifolds, predictive sparse decomposition.

use super::Row;

/// In the order of the list.
pub const ROWS: &[Row] = &[];
