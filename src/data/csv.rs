//! Comma-separated numbers as text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ErrorKind, ReaderBuilder, Terminator, Trim};

use super::{Data, FINITE, excerpt};
use crate::{Error, Result};

/// Which column of a CSV file holds the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { label: None, delimiter: b',' }
    }
}

/// Reads a CSV file of numbers, one row a line, equally many on each. Lines end with a newline, or a carriage
/// return and a newline. The first line is a header if one of its fields
/// is neither a number nor empty. Fields may be quoted and have spaces around them; empty lines are skipped.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`], with the line and the column counted from 1, if a field
/// is not a number or not finite as `f32`, if a line has more or fewer fields than the first, if a label is not a whole
/// number from 0 to 2^32 - 1, if there is no such column of labels, or if no row or no column of values is there.
pub fn read_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Data> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io(path))?;
    parse(&path.display().to_string(), file, options)
}

/// Reads CSV from anywhere; `name` is what errors call it.
pub(super) fn parse(name: &str, reader: impl Read, options: &CsvOptions) -> Result<Data> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .delimiter(options.delimiter)
        // A record then ends behind its newline, never before: that, and a newline at the end of the file, make line
        // numbers right. The carriage return of a Windows file is trimmed with the spaces.
        .terminator(Terminator::Any(b'\n'))
        .from_reader(reader.chain(b"\n".as_slice()));
    let mut record = ByteRecord::new();
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    // The number of fields, known from the first line on, and the column of labels.
    let mut first: Option<(usize, Option<usize>)> = None;
    while reader.read_byte_record(&mut record).map_err(|e| failed(name, e))? {
        let line = Line { name, number: reader.position().line().saturating_sub(1), record: &record };
        if record.len() == 1 && record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        let (fields, label) = match first {
            Some(known) => known,
            None => {
                let header = record.iter().any(|field| !field.is_empty() && number(field).is_none());
                let known = (record.len(), line.label_column(options, header)?);
                first = Some(known);
                if header {
                    log::debug!("{name}: line {} is the header", line.number);
                    continue;
                }
                known
            }
        };
        if record.len() != fields {
            let place = format!("{name}: line {}: number of fields", line.number);
            return Err(Error::data(place, record.len(), format!("{fields}, as on the first line")));
        }
        for (column, field) in record.iter().enumerate() {
            if Some(column) == label {
                labels.push(line.label(column, field)?);
            } else {
                values.push(line.value(column, field)?);
            }
        }
    }
    let (fields, label) = first.unwrap_or_default();
    if fields == 0 || values.is_empty() && labels.is_empty() {
        return Err(Error::data(name, "no line of numbers", "at least one"));
    }
    let data = Data::named(name, fields - usize::from(label.is_some()), values)?;
    if label.is_some() { data.with_labels(labels) } else { Ok(data) }
}

/// One line and where it stands.
struct Line<'a> {
    name: &'a str,
    number: u64,
    record: &'a ByteRecord,
}

impl Line<'_> {
    /// The index of the column of labels, found with the first line.
    fn label_column(&self, options: &CsvOptions, header: bool) -> Result<Option<usize>> {
        let place = format!("{}: column of labels", self.name);
        let fields = self.record.len();
        match &options.label {
            None => Ok(None),
            Some(LabelColumn::Index(index)) if *index < fields => Ok(Some(*index)),
            Some(LabelColumn::Index(index)) => {
                Err(Error::data(place, format!("index {index}"), format!("0 to {}", fields.saturating_sub(1))))
            }
            Some(LabelColumn::Name(label)) if header => {
                let mut found = (0..fields).filter(|&i| self.record.get(i) == Some(label.as_bytes()));
                match (found.next(), found.next()) {
                    (Some(index), None) => Ok(Some(index)),
                    (Some(_), Some(_)) => Err(Error::data(place, format!("{label:?} twice"), "a name that comes once")),
                    (None, _) => {
                        let names: Vec<_> = self.record.iter().map(excerpt).collect();
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

    /// A label; exporters that know only real numbers write 3 as 3.0.
    fn label(&self, column: usize, field: &[u8]) -> Result<u32> {
        let value = std::str::from_utf8(field).ok().and_then(|text| text.parse::<f64>().ok());
        match value {
            Some(value) if value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 => Ok(value as u32),
            _ => Err(self.wrong(column, field, "a label: a whole number from 0 to 4294967295")),
        }
    }

    /// The error for a field.
    fn wrong(&self, column: usize, field: &[u8], allowed: &str) -> Error {
        let place = format!("{}: line {}, column {}", self.name, self.number, column + 1);
        Error::data(place, excerpt(field), allowed)
    }
}

fn number(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Byte records know no other errors than those of reading, but the type does.
fn failed(name: &str, error: csv::Error) -> Error {
    let message = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(source) => Error::io(name)(source),
        _ => Error::data(name, message, "lines of numbers"),
    }
}
