//! Comma-separated numbers as text.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::records::Records;
use super::{Data, FINITE, MAX_BYTES, excerpt};
use crate::{Error, Result};

/// Which column of a CSV file holds the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelColumn {
    /// The column at this index, counted from 0.
    Index(usize),
    /// The column that the header line gives this name.
    Name(String),
}

/// How to read a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// The column of labels (whole numbers below 2^32), which is then not among the values. Default: none.
    pub label: Option<LabelColumn>,
    /// The byte between two fields. Default: a comma.
    pub delimiter: u8,
    /// Whether the first line is a header. Default: told from that line. It is one where the column of labels is asked
    /// for by a name that it holds, and where no field is a number and not all are empty, which is logged; a line of
    /// both numbers and names is an error that asks for this switch.
    pub header: Option<bool>,
    /// The most bytes that values and labels may take in memory, four each. Default: [`MAX_BYTES`].
    pub max_bytes: u64,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { label: None, delimiter: b',', header: None, max_bytes: MAX_BYTES }
    }
}

/// Reads a CSV file of numbers, one row a line, equally many on each. Lines end with a newline, or a carriage
/// return and a newline. The first line may be a header; see [`CsvOptions::header`]. Fields may be quoted and have
/// spaces around them; empty lines are skipped, and a line of an empty field in quotes is none.
///
/// Numbers become the nearest `f32`, which holds about 7 digits: above 2^24 not every whole number (1700000001, a time
/// in seconds, becomes 1700000000). Where such a number is changed, the first is logged as a warning; subtract an offset
/// from its column before it is written.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`], with the line and the column counted from 1, if a field
/// is not a number or not finite as `f32`, if a line has more or fewer fields than the first, if a label is not a whole
/// number from 0 to 2^32 - 1, if there is no such column of labels, if no row or no column of values is there, if the
/// first line holds numbers and names and nothing says what it is, if a line has more than 2^24 bytes, or if there are
/// more values than [`CsvOptions::max_bytes`] allows.
pub fn read_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Data> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io(path))?;
    parse(&path.display().to_string(), BufReader::new(file), options)
}

/// Reads CSV from anywhere; `name` is what errors call it.
pub(super) fn parse(name: &str, reader: impl BufRead, options: &CsvOptions) -> Result<Data> {
    let mut records = Records::new(name, reader, options.delimiter);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    // The number of fields, known from the first line on, and the column of labels.
    let mut first: Option<(usize, Option<usize>)> = None;
    // The line that was taken for the header, until the line behind it has been read.
    let mut guessed = None;
    let mut rounded = false;
    while records.advance()? {
        let line = Line { name, number: records.line(), records: &records, options, guessed };
        let (fields, label) = match first {
            Some(known) => known,
            None => {
                line.check_ends()?;
                let header = line.header()?;
                let known = (records.len(), line.label_column(header)?);
                first = Some(known);
                if header {
                    if options.header.is_none() {
                        log::info!("{name}: line {} is taken for the header (CsvOptions::header)", line.number);
                        guessed = Some(line.number);
                    }
                    continue;
                }
                known
            }
        };
        if records.len() != fields {
            return Err(line.count(fields));
        }
        let bytes = 4 * (values.len() + labels.len() + fields) as u64;
        if bytes > options.max_bytes {
            let allowed = format!("{} bytes of values and labels (CsvOptions::max_bytes)", options.max_bytes);
            return Err(Error::data(format!("{name}: line {}: size", line.number), bytes, allowed));
        }
        for (column, field) in records.fields().enumerate() {
            if Some(column) == label {
                labels.push(line.label(column, field)?);
            } else {
                let value = line.value(column, field)?;
                if !rounded && value.abs() >= EXACT {
                    rounded = line.warn_rounded(column, field, value);
                }
                values.push(value);
            }
        }
        guessed = None;
    }
    let (fields, label) = first.unwrap_or_default();
    if fields == 0 || values.is_empty() && labels.is_empty() {
        let allowed = match guessed {
            Some(line) => format!("at least one; line {line} was taken for the header"),
            None => "at least one".into(),
        };
        return Err(Error::data(name, "no line of numbers", allowed));
    }
    let data = Data::named(name, fields - usize::from(label.is_some()), values)?;
    if label.is_some() { data.with_labels(labels) } else { Ok(data) }
}

/// Below it `f32` holds every whole number.
const EXACT: f32 = 16_777_216.0;

/// One line and where it stands.
struct Line<'a, R> {
    name: &'a str,
    number: u64,
    records: &'a Records<R>,
    options: &'a CsvOptions,
    /// The line before it, where that was taken for the header.
    guessed: Option<u64>,
}

impl<R: BufRead> Line<'_, R> {
    /// Fails where the first line ends as those of old Macs, so that the whole file is one.
    fn check_ends(&self) -> Result<()> {
        let mut quoted = false;
        let outside = self.records.raw().trim_ascii().iter().filter(|&&byte| {
            quoted ^= byte == b'"';
            !quoted
        });
        if outside.into_iter().any(|&byte| byte == b'\r') {
            let allowed = "lines that end with a newline, with or without a carriage return before it";
            return Err(Error::data(self.place(), "lines that end with a carriage return alone", allowed));
        }
        Ok(())
    }

    /// Whether the first line is a header.
    fn header(&self) -> Result<bool> {
        if let Some(header) = self.options.header {
            return Ok(header);
        }
        if let Some(LabelColumn::Name(label)) = &self.options.label
            && self.records.fields().any(|field| field == label.as_bytes())
        {
            return Ok(true);
        }
        let names =
            || self.records.fields().enumerate().filter(|(_, field)| !field.is_empty() && number(field).is_none());
        let Some((column, name)) = names().next() else { return Ok(false) };
        // Numbers that are not told apart are no names.
        if let Some((column, field)) = names().find(|(_, field)| self.hint(field).is_some()) {
            return Err(self.wrong(column, field, "a number"));
        }
        match self.records.fields().find(|field| number(field).is_some()) {
            None => Ok(true),
            Some(number) => {
                let found = format!("{} beside {}", excerpt(name), excerpt(number));
                let place = format!("{}, column {}", self.place(), column + 1);
                let allowed = "numbers alone, or names alone; CsvOptions::header says whether it is a header";
                Err(Error::data(place, found, allowed))
            }
        }
    }

    /// The index of the column of labels, found with the first line.
    fn label_column(&self, header: bool) -> Result<Option<usize>> {
        let place = format!("{}: column of labels", self.name);
        let fields = self.records.len();
        match &self.options.label {
            None => Ok(None),
            Some(LabelColumn::Index(index)) if *index < fields => Ok(Some(*index)),
            Some(LabelColumn::Index(index)) => {
                Err(Error::data(place, format!("index {index}"), format!("0 to {}", fields.saturating_sub(1))))
            }
            Some(LabelColumn::Name(label)) if header => {
                let named = self.records.fields().enumerate().filter(|(_, field)| *field == label.as_bytes());
                let mut found = named.map(|(index, _)| index);
                match (found.next(), found.next()) {
                    (Some(index), None) => Ok(Some(index)),
                    (Some(_), Some(_)) => Err(Error::data(place, format!("{label:?} twice"), "a name that comes once")),
                    (None, _) => {
                        let names: Vec<_> = self.records.fields().take(50).map(excerpt).collect();
                        let allowed = format!("a name in the header line: {}", names.join(", "));
                        Err(Error::data(place, format!("{label:?}"), allowed))
                    }
                }
            }
            Some(LabelColumn::Name(label)) => {
                Err(Error::data(place, format!("{label:?}, but no header line"), "an index, or a file with a header"))
            }
        }
    }

    fn value(&self, column: usize, field: &[u8]) -> Result<f32> {
        match number(field) {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => Err(self.wrong(column, field, FINITE)),
            None => Err(self.wrong(column, field, "a number")),
        }
    }

    /// Warns where `value` is another number than the whole one that was written, and says whether it is.
    fn warn_rounded(&self, column: usize, field: &[u8], value: f32) -> bool {
        let written: Option<f64> = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
        let changed = written.is_some_and(|written| written.fract() == 0.0 && written != f64::from(value));
        if changed {
            let (place, field) = (self.place(), excerpt(field));
            log::warn!("{place}, column {}: {field} becomes {value:?} in f32; subtract an offset from it", column + 1);
        }
        changed
    }

    /// A label; exporters that know only real numbers write 3 as 3.0.
    fn label(&self, column: usize, field: &[u8]) -> Result<u32> {
        let value = std::str::from_utf8(field).ok().and_then(|text| text.parse::<f64>().ok());
        match value {
            Some(value) if value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 => Ok(value as u32),
            _ => Err(self.wrong(column, field, "a label: a whole number from 0 to 4294967295")),
        }
    }

    /// The error for another number of fields than the first line has.
    fn count(&self, fields: usize) -> Error {
        let mut allowed = format!("{fields}, as on the first line");
        if let Some(hint) = self.records.fields().find_map(|field| self.hint(field)) {
            allowed = format!("{allowed}; {hint}");
        }
        let place = format!("{}: number of fields", self.place());
        Error::data(place, self.records.len(), self.beside_header(allowed))
    }

    /// The error for a field.
    fn wrong(&self, column: usize, field: &[u8], allowed: &str) -> Error {
        let allowed = match self.hint(field) {
            Some(hint) => format!("{allowed}; {hint}"),
            None => allowed.into(),
        };
        let place = format!("{}, column {}", self.place(), column + 1);
        Error::data(place, excerpt(field), self.beside_header(allowed))
    }

    fn place(&self) -> String {
        format!("{}: line {}", self.name, self.number)
    }

    /// What is allowed, and that the line before was taken for the header: it may be that which is wrong.
    fn beside_header(&self, allowed: String) -> String {
        match self.guessed {
            Some(line) => format!("{allowed}; line {line} was taken for the header (CsvOptions::header)"),
            None => allowed,
        }
    }

    /// What may be wrong with a field that is several numbers, or one that is written with a comma.
    fn hint(&self, field: &[u8]) -> Option<String> {
        let numbers = |delimiter: u8| {
            let parts = field.split(|&b| b == delimiter).map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
            parts.clone().count() > 1 && parts.clone().all(|part| number(part).is_some() || has_comma(part))
        };
        let delimiters = [(b';', "a semicolon"), (b'\t', "a tab"), (b'|', "a bar"), (b' ', "a blank")];
        let other = delimiters.into_iter().find(|&(byte, _)| byte != self.options.delimiter && numbers(byte));
        if let Some((byte, name)) = other {
            let byte = char::from(byte).escape_default();
            return Some(format!("the delimiter may be {name} (CsvOptions::delimiter: b'{byte}')"));
        }
        has_comma(field).then(|| "a decimal point, where this has a decimal comma".into())
    }
}

/// Whether it would be a number with a point, or with nothing, for its commas.
fn has_comma(field: &[u8]) -> bool {
    let point: Vec<u8> = field.iter().map(|&b| if b == b',' { b'.' } else { b }).collect();
    let nothing: Vec<u8> = field.iter().copied().filter(|&b| b != b',').collect();
    field.contains(&b',') && (number(&point).is_some() || number(&nothing).is_some())
}

fn number(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}
