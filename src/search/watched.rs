//! A source that keeps the error of a read that failed: so that a search can tell the trouble of its rows from a candidate's.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::data::Source;
use crate::error::{Error, Result};

/// The first error of a source's reads, where there was one.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// The error, which is forgotten here.
    pub fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The rows of a source, and where to learn why they could not be read.
pub(super) fn watched(source: Arc<dyn Source>) -> (Arc<dyn Source>, Failure) {
    let failure = Failure::default();
    (Arc::new(Watched { source, failure: failure.clone() }), failure)
}

/// A source whose errors are kept, as they are; whoever reads it meets one that tells the same.
struct Watched {
    source: Arc<dyn Source>,
    failure: Failure,
}

impl Source for Watched {
    fn rows(&self) -> usize {
        self.source.rows()
    }

    fn columns(&self) -> usize {
        self.source.columns()
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        self.source.read(first_row, out).map_err(|error| {
            let told = Error::data(self.name(), &error, "rows that can be read");
            self.failure.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            told
        })
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn is_weighted(&self) -> bool {
        self.source.is_weighted()
    }

    fn has_weight(&self, rows: Range<usize>) -> Option<bool> {
        self.source.has_weight(rows)
    }
}
