//! Data sets: the [`Source`] that training reads rows from, the in-memory [`Data`], and readers for IDX, NPY, CSV and,
//! with the feature `npz`, NPZ.
//!
//! Every data set is a table of `rows` x `columns` finite `f32`, row-major; one row is one example. Rows and columns
//! are counted from 0, in errors as well; only the CSV reader, whose places are places in a text, counts from 1.

mod csv;
mod digits;
mod element;
mod fixed;
mod fortran;
mod idx;
mod input;
mod mnist;
mod npy;
mod npy_header;
#[cfg(feature = "npz")]
mod npz;
mod records;
mod shuffled;
mod table;
mod weighted;

pub use self::csv::{CsvOptions, LabelColumn, read_csv};
pub use digits::digits;
pub(crate) use fixed::Fixed;
pub use idx::{IdxFile, Scale, read_idx, read_idx_labels, read_idx_within};
pub use mnist::mnist;
pub use npy::read_npy;
#[cfg(feature = "npz")]
pub use npz::{npz_names, read_npz, read_npz_within};
pub use shuffled::Shuffled;
pub use table::Data;
pub use weighted::Weighted;
pub(crate) use weighted::{Check, Unweighted, check_weight, without_weights};

use std::ops::Range;

use crate::{Error, Result};

/// Rows of `f32` that can be read in any order. A data set larger than the GPU's memory, or the host's, is streamed
/// through this trait; [`Data`] and [`IdxFile`] implement it.
pub trait Source: Send + Sync {
    /// The number of rows, at least 1. Training, evaluating and analysis ask once, before they read any; where another
    /// number is told afterwards, reading fails.
    fn rows(&self) -> usize;

    /// The number of values in a row, at least 1; asked once, as the rows.
    fn columns(&self) -> usize;

    /// Fills `out`, row-major, with the rows from `first_row` on; `out.len()` says how many.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if `out.len()` is not a multiple of [`columns`](Source::columns), if the rows do not all exist,
    /// or if a value is not finite; [`Error::Io`] if reading fails. What `out` holds is then unspecified.
    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()>;

    /// What to call this data set in errors and logs: the file, mostly.
    fn name(&self) -> &str;

    /// Whether the last value of a row is its weight, as [`Weighted`] says; asked once, as the rows. A source that hands on the
    /// rows of another one hands this on, too.
    fn is_weighted(&self) -> bool {
        false
    }

    /// Whether one of these rows, which there are, has a weight above 0: where all weights are known to be such, so that
    /// nobody reads the rows for it.
    #[doc(hidden)]
    fn has_weight(&self, rows: Range<usize>) -> Option<bool> {
        let _ = rows;
        None
    }

    /// What it is, where training can use that as it is: rows that lie on the GPU already.
    #[doc(hidden)]
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        None
    }
}

/// Checks a [`Source::read`] of `length` values and returns the range of values it covers, counted over the table.
fn span(source: &(impl Source + ?Sized), first_row: usize, length: usize) -> Result<Range<usize>> {
    let (rows, columns) = (source.rows(), source.columns());
    if !length.is_multiple_of(columns) {
        let allowed = format!("a multiple of the {columns} columns");
        return Err(Error::data(format!("{}: length of the rows to read", source.name()), length, allowed));
    }
    let count = length / columns;
    match first_row.checked_add(count) {
        Some(end) if end <= rows => Ok(first_row * columns..end * columns),
        _ => {
            let found = format!("{count} rows from row {first_row} on");
            Err(Error::data(
                format!("{}: rows to read", source.name()),
                found,
                format!("rows 0 to {}", rows.saturating_sub(1)),
            ))
        }
    }
}

/// The name of a cell in errors.
fn cell(name: &str, row: usize, column: usize) -> String {
    format!("{name}: row {row}, column {column}")
}

/// The most bytes that the values of a file may take in memory, four each, where the file's own size does not bound them
/// (text, and what is packed) and nothing else is asked for: 1 GiB.
#[doc(hidden)]
pub const MAX_BYTES: u64 = 1 << 30;

/// What a value must be.
const FINITE: &str = "a finite number in the range of f32";

/// The first characters of a text from a file, quoted: a file may hold a very long one.
fn excerpt(text: &[u8]) -> String {
    let start: String = String::from_utf8_lossy(text).chars().take(40).collect();
    format!("{start:?}")
}
