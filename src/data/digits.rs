//! The data set that strait carries along, so that examples and tests need no download. See assets/README.md.

use std::io::Read;

use flate2::read::GzDecoder;

use super::csv::parse;
use super::{CsvOptions, Data, LabelColumn};
use crate::{Error, Result};

const DIGITS: &[u8] = include_bytes!("../../assets/digits.csv.gz");

/// The largest pixel in the file: the number of dots in a 4 x 4 block.
const WHITE: f32 = 16.0;

/// The UCI optical recognition of handwritten digits: 1,797 rows of 8 x 8 pixels from 0 to 1, row-major, with labels
/// 0 to 9. It is built in.
///
/// # Errors
///
/// [`Error::Internal`] if the built-in copy is damaged.
pub fn digits() -> Result<Data> {
    let mut text = Vec::new();
    let unpacked = GzDecoder::new(DIGITS).read_to_end(&mut text);
    unpacked.map_err(|e| Error::Internal(format!("the built-in digits: {e}")))?;
    let options = CsvOptions { label: Some(LabelColumn::Index(64)), ..CsvOptions::default() };
    let data = parse("digits", text.as_slice(), &options).and_then(|d| d.map(|pixel| pixel / WHITE));
    data.map_err(|e| Error::Internal(format!("the built-in digits: {e}")))
}
