//! A data set whose shape was read once: everything that is made for it keeps to that shape.

use std::ops::{Deref, Range};

use super::Source;
use crate::{Error, Result};

/// A source with the shape that it had when this was made. A source that says something else later, such as a file that
/// somebody appends to, is refused when it is read.
pub(crate) struct Fixed<S> {
    source: S,
    rows: usize,
    columns: usize,
    weighted: bool,
}

impl<S: Deref<Target: Source>> Fixed<S> {
    /// Asks `source` for its shape, for the only time.
    pub(crate) fn new(source: S) -> Fixed<S> {
        let (rows, columns) = (source.rows(), source.columns());
        let weighted = source.is_weighted();
        Fixed { source, rows, columns, weighted }
    }
}

impl<S: Deref<Target: Source> + Send + Sync> Source for Fixed<S> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        for (what, now, then) in
            [("rows", self.source.rows(), self.rows), ("columns", self.source.columns(), self.columns)]
        {
            if now != then {
                let allowed = format!("{then}, as many as there were when it was asked first");
                return Err(Error::data(format!("{}: {what}", self.name()), now, allowed));
            }
        }
        self.source.read(first_row, out)
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn is_weighted(&self) -> bool {
        self.weighted
    }

    fn has_weight(&self, rows: Range<usize>) -> Option<bool> {
        self.source.has_weight(rows)
    }
}
