//! Rows 1 to 6: what the model is made of.

use super::Row;

/// In the order of the list.
pub const ROWS: &[Row] = &[];
