//! Rows 12 to 19: sparse codes.

use super::Row;

/// In the order of the list.
pub const ROWS: &[Row] = &[];
