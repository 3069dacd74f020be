//! A data set in another order, so that rows which lie in an order of their own, by class or by date, do not.

use std::ops::Range;
use std::sync::Arc;

use super::Source;
use crate::random::permute;
use crate::{Error, Result};

/// The rows of a source in an order that a seed draws. Nothing is copied: the row that is asked for is found by a
/// formula.
///
/// Training takes the rows of each epoch in a fresh order anyway; what this changes is which rows are held out for
/// validation, since those are the last ones:
///
/// ```no_run
/// # use strait::{Session, data};
/// # fn show(session: &mut Session) -> strait::Result<()> {
/// // The digits, or any other source, whose last rows may all be of one class.
/// session.fit(data::Shuffled::new(data::digits()?, 7)?)?;
/// # Ok(())
/// # }
/// ```
pub struct Shuffled {
    source: Arc<dyn Source>,
    rows: u32,
    seed: u64,
}

impl Shuffled {
    /// The rows of `source` in the order that `seed` draws.
    ///
    /// # Errors
    /// [`Error::Data`] where there are 2^32 rows or more.
    pub fn new(source: impl Into<Arc<dyn Source>>, seed: u64) -> Result<Shuffled> {
        let source = source.into();
        match u32::try_from(source.rows()) {
            Ok(rows) => Ok(Shuffled { source, rows, seed }),
            Err(_) => {
                let name = format!("{}: rows to shuffle", source.name());
                Err(Error::data(name, source.rows(), "fewer than 2^32"))
            }
        }
    }

    /// Which of the source's rows a row is.
    fn place(&self, row: usize) -> usize {
        // Rows that came later, to a source that grows, stay where they are.
        u32::try_from(row).map_or(row, |row| permute(row, self.rows, self.seed, 0) as usize)
    }
}

impl std::fmt::Debug for Shuffled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shuffled").field("source", &self.source.name()).field("seed", &self.seed).finish()
    }
}

impl From<Shuffled> for Arc<dyn Source> {
    fn from(shuffled: Shuffled) -> Arc<dyn Source> {
        Arc::new(shuffled)
    }
}

impl Source for Shuffled {
    fn rows(&self) -> usize {
        self.source.rows()
    }

    fn columns(&self) -> usize {
        self.source.columns()
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        let span = super::span(self, first_row, out.len())?;
        let columns = self.columns();
        for (row, out) in (span.start / columns..).zip(out.chunks_mut(columns)) {
            self.source.read(self.place(row), out)?;
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn is_weighted(&self) -> bool {
        self.source.is_weighted()
    }

    fn has_weight(&self, rows: Range<usize>) -> Option<bool> {
        let mut found = Some(false);
        for row in rows.map(|row| self.place(row)) {
            found = self.source.has_weight(row..row + 1);
            if found != Some(false) {
                break;
            }
        }
        found
    }
}
