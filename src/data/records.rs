//! Records of a delimited text: lines of fields, some of them quoted. No more than one record is held, and no record is
//! longer than [`LONGEST`].

use std::io::{BufRead, Read};

use super::input::other_kind;
use crate::{Error, Result};

/// The bytes of the longest record: a million fields of 16 characters.
const LONGEST: usize = 1 << 24;

/// A reader of records, and the one that was read last.
pub(super) struct Records<R> {
    reader: R,
    name: String,
    delimiter: u8,
    /// Lines that were read.
    lines: u64,
    /// The line that the record starts with, counted from 1.
    line: u64,
    raw: Vec<u8>,
    /// The fields one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<u32>,
    quoted: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Start,
    Plain,
    Quotes,
    /// A quote in quotes ends them, unless another follows.
    Quote,
}

impl<R: BufRead> Records<R> {
    /// Records of `reader`; `name` is what errors call it.
    pub(super) fn new(name: &str, reader: R, delimiter: u8) -> Records<R> {
        let (raw, text, ends) = Default::default();
        Records { reader, name: name.into(), delimiter, lines: 0, line: 0, raw, text, ends, quoted: false }
    }

    /// Reads the next record; false behind the last. Lines of nothing but blanks are none, those of quotes are.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            (self.line, self.quoted) = (self.lines + 1, false);
            self.raw.clear();
            self.text.clear();
            self.ends.clear();
            if !self.more()? {
                return Ok(false);
            }
            if self.line == 1 {
                self.strip_mark()?;
            }
            let (mut at, mut within) = (0, Within::Start);
            loop {
                within = self.split(at, within);
                if within != Within::Quotes {
                    break;
                }
                at = self.raw.len();
                if !self.more()? {
                    return Err(self.wrong("a quote that is never closed", "a closing quote"));
                }
            }
            self.end_field();
            if self.quoted || self.ends.len() > 1 || !self.text.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line that the record starts with, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The number of its fields, at least 1.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Its fields, without blanks around them.
    pub(super) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start as usize..end as usize])
    }

    /// The record as it stands in the file.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Adds a line to the record; false at the end of the file.
    fn more(&mut self) -> Result<bool> {
        let left = (LONGEST + 1).saturating_sub(self.raw.len()) as u64;
        let read = self.reader.by_ref().take(left).read_until(b'\n', &mut self.raw);
        let read = read.map_err(Error::io(&self.name))?;
        if self.raw.len() > LONGEST {
            let found = format!("more than {LONGEST} bytes without an end");
            return Err(self.wrong(found, "lines of numbers that end with a newline"));
        }
        self.lines += 1;
        Ok(read > 0)
    }

    /// Leaves out the mark of UTF-8 at the start of the file, and fails at that of UTF-16 or of what is no text.
    fn strip_mark(&mut self) -> Result<()> {
        if self.raw.starts_with(b"\xff\xfe") || self.raw.starts_with(b"\xfe\xff") {
            return Err(self.wrong("text in UTF-16", "text in UTF-8: save it again, or convert it with iconv"));
        }
        if let Some((kind, advice)) = other_kind(&self.raw) {
            return Err(self.wrong(kind, &format!("lines of numbers as text: {advice}")));
        }
        if self.raw.starts_with(b"\xef\xbb\xbf") {
            self.raw.drain(..3);
        }
        Ok(())
    }

    /// Splits what was read, from `at` on, up to the end of the line or of the file.
    fn split(&mut self, at: usize, mut within: Within) -> Within {
        for i in at..self.raw.len() {
            let byte = self.raw[i];
            within = match (within, byte) {
                (Within::Quotes, b'"') => Within::Quote,
                (Within::Quotes, _) => {
                    self.text.push(byte);
                    Within::Quotes
                }
                (Within::Quote, b'"') => {
                    self.text.push(byte);
                    Within::Quotes
                }
                (_, b'\n') => return Within::Start,
                (_, byte) if byte == self.delimiter => {
                    self.end_field();
                    Within::Start
                }
                (Within::Start, b'"') => {
                    self.quoted = true;
                    Within::Quotes
                }
                (Within::Start, byte) if byte.is_ascii_whitespace() => Within::Start,
                (_, byte) => {
                    self.text.push(byte);
                    Within::Plain
                }
            };
        }
        within
    }

    /// Ends a field, without the blanks around it.
    fn end_field(&mut self) {
        let start = self.ends.last().map_or(0, |&end| end as usize);
        let kept = self.text[start..].trim_ascii_end().len();
        self.text.truncate(start + kept);
        let leading = kept - self.text[start..].trim_ascii_start().len();
        self.text.drain(start..start + leading);
        self.ends.push(self.text.len() as u32);
    }

    fn wrong(&self, found: impl ToString, allowed: &str) -> Error {
        Error::data(format!("{}: line {}", self.name, self.line), found, allowed)
    }
}
