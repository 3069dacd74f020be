//! The file of a table: the scores found so far and of which search they are, so that it goes on from there.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scheme::Search;
use super::table::Table;
use super::{Candidate, Fold};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::inference::replace;

/// What the file says it is.
const FORMAT: &str = "strait search 1";

/// More bytes than any table has.
const LONGEST: u64 = 1 << 30;

/// Values of a source that are read at once.
const PIECE: usize = 1 << 16;

/// A file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    /// The fingerprint of the search.
    search: String,
    entries: Vec<Found>,
}

/// What was found of an entry, which the search itself knows the rest of.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Found {
    pub number: usize,
    pub rung: usize,
    pub scores: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The place of a table on disk.
pub(super) struct Place<'a> {
    path: &'a Path,
    fingerprint: String,
}

impl<'a> Place<'a> {
    /// That of a search's table: of these candidates, folds and rows.
    ///
    /// # Errors
    /// As the source.
    pub fn new(
        path: &'a Path,
        search: &Search,
        candidates: &[(Vec<f64>, Candidate)],
        folds: &[Fold],
        source: &Arc<dyn Source>,
    ) -> Result<Place<'a>> {
        let mut print = Fingerprint(0);
        print.text(&search.rules());
        for (values, Candidate { spec, training }) in candidates {
            values.iter().for_each(|value| print.word(value.to_bits()));
            // What the values are put into.
            let text = serde_json::to_string(&(spec, training));
            print.text(&text.map_err(|e| Error::Internal(format!("a candidate: {e}")))?);
        }
        for row in folds.iter().flat_map(|fold| [&fold.train, &fold.held]) {
            print.word(row.len() as u64);
            row.iter().for_each(|&row| print.word(row as u64));
        }
        print.rows(source)?;
        Ok(Place { path, fingerprint: format!("{:016x}", print.0) })
    }

    /// What the file has; nothing where there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] where it is no such file, or one of another search.
    pub fn read(&self) -> Result<Vec<Found>> {
        let file = match std::fs::File::open(self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            opened => opened.map_err(Error::io(self.path))?,
        };
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io(self.path))?;
        if bytes.len() as u64 > LONGEST {
            return Err(self.wrong("length", "more", format!("at most {LONGEST} bytes")));
        }
        let file: File = serde_json::from_slice(&bytes)
            .map_err(|e| self.wrong("contents", e, "a table that Search::kept_at wrote, whole"))?;
        if file.format != FORMAT {
            return Err(self.wrong("format", file.format, FORMAT));
        }
        if file.search != self.fingerprint {
            let allowed = format!("{}: the same axes, base, folds, seed, score and rows", self.fingerprint);
            return Err(self.wrong("search", file.search, allowed));
        }
        Ok(file.entries)
    }

    /// Writes a table in its place.
    ///
    /// # Errors
    /// [`Error::Io`], of the kind `ResourceBusy` where somebody else is writing it.
    pub fn write(&self, table: &Table) -> Result<()> {
        let found = table.entries.iter().map(|entry| {
            let (number, rung, scores) = (entry.number, entry.rung, entry.scores.clone());
            Found { number, rung, scores, error: entry.error.clone() }
        });
        let file = File { format: FORMAT.into(), search: self.fingerprint.clone(), entries: found.collect() };
        let bytes = serde_json::to_vec(&file).map_err(|e| Error::Internal(format!("a table: {e}")))?;
        replace(self.path, |mut file| file.write_all(&bytes).map_err(Error::io(self.path)))
    }

    /// The error of an entry that the search does not have, or not so.
    pub fn wrong_entry(&self, at: usize, found: impl ToString, allowed: impl Into<String>) -> Error {
        self.wrong(format!("entries[{at}]"), found, allowed)
    }

    fn wrong(&self, place: impl Into<String>, found: impl ToString, allowed: impl Into<String>) -> Error {
        let (path, allowed) = (self.path.to_path_buf(), allowed.into());
        Error::Checkpoint { path, place: place.into(), found: found.to_string(), allowed }
    }
}

/// A number that another search has only by chance.
struct Fingerprint(u64);

impl Fingerprint {
    fn word(&mut self, word: u64) {
        // A word moves every bit after it: rotations bring high bits down, the product (by 2^64 over the golden ratio) low ones up.
        let mixed = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        text.bytes().for_each(|byte| self.word(byte.into()));
    }

    fn rows(&mut self, source: &Arc<dyn Source>) -> Result<()> {
        let (rows, columns) = (source.rows(), source.columns());
        [rows as u64, columns as u64, source.is_weighted().into()].into_iter().for_each(|word| self.word(word));
        let most = (PIECE / columns.max(1)).max(1);
        let mut values = vec![];
        for first in (0..rows).step_by(most) {
            values.resize(most.min(rows - first) * columns, 0.0f32);
            source.read(first, &mut values)?;
            values.iter().for_each(|value| self.word(value.to_bits().into()));
        }
        Ok(())
    }
}
