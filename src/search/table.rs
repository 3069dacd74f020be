//! The table: what became of every candidate, in numbers, as text and as CSV.

use std::fmt;

use super::Candidate;
#[cfg(doc)]
use super::Search;

/// The columns of every table before those of the axes, and two of those after them.
const COUNTS: [&str; 3] = ["candidate", "rung", "epochs"];
const DEVIATION: &str = "deviation";
const ERROR: &str = "error";

/// What a column for the scores of each fold is called, before its number.
const FOLD: &str = "fold ";

/// The names of columns that neither an axis nor a score may have, in words.
pub(super) const OWN: &str = "candidate, rung, epochs, deviation, error, fold 0, fold 1 and so on";

/// Whether a column of every table, or of a fold, is called so.
pub(super) fn is_own(name: &str) -> bool {
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    COUNTS.contains(&name) || [DEVIATION, ERROR].contains(&name) || name.strip_prefix(FOLD).is_some_and(is_number)
}

/// What a search found: an entry for each candidate, in successive halving one for each rung that a candidate came to.
///
/// Its text form is a table for people, with the mean of the scores and their deviation.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub(super) axes: Vec<String>,
    /// What the scores are.
    pub(super) score: String,
    pub(super) entries: Vec<Entry>,
    pub(super) whole: bool,
}

/// A candidate and its scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number among the candidates, from 0 on.
    pub number: usize,
    /// In successive halving how often candidates were left out before; 0 elsewhere.
    pub rung: usize,
    /// What was trained; on early rungs for fewer epochs than the search has.
    pub candidate: Candidate,
    /// Its value on each axis: the label of a choice, a number so that parsing gives it again.
    pub values: Vec<String>,
    /// The score on each fold so far; lower is better.
    pub scores: Vec<f64>,
    /// Why there are no more scores: a spec or training that cannot work, or a run that diverged.
    pub error: Option<String>,
    /// How many folds there are.
    pub(super) folds: usize,
}

impl Entry {
    /// The mean of its scores; none before there is one for each fold.
    pub fn score(&self) -> Option<f64> {
        let whole = self.error.is_none() && self.scores.len() == self.folds;
        whole.then(|| self.scores.iter().sum::<f64>() / self.folds as f64)
    }

    /// The deviation of its scores from fold to fold, √(Σ (s − mean)²/(n − 1)) of n folds; none where there is one fold.
    pub fn deviation(&self) -> Option<f64> {
        let mean = self.score().filter(|_| self.folds > 1)?;
        let squares: f64 = self.scores.iter().map(|score| (score - mean).powi(2)).sum();
        Some((squares / (self.folds - 1) as f64).sqrt())
    }
}

impl Table {
    /// What the axes are called.
    pub fn axes(&self) -> &[String] {
        &self.axes
    }

    /// The entries in the order in which they were tried. The last one of a search that was broken off may lack scores.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the search came to its end.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The entry of the lowest score on the last rung, the first of several; none where no candidate has a score there.
    pub fn best(&self) -> Option<&Entry> {
        let last = self.entries.iter().map(|entry| entry.rung).max()?;
        let scored = self.entries.iter().filter(|entry| entry.rung == last);
        let scored = scored.filter_map(|entry| Some((entry, entry.score()?)));
        scored.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(entry, _)| entry)
    }

    /// The table as CSV: a line for each entry under a header. What an entry has not is empty. Its columns are `candidate`, `rung`,
    /// `epochs`, the axes, the score, `deviation`, `fold 0` and so on, and `error`.
    pub fn csv(&self) -> String {
        let folds = self.entries.first().map_or(0, |entry| entry.folds);
        let each = (0..folds).map(|fold| format!("{FOLD}{fold}"));
        let names = COUNTS.map(String::from).into_iter().chain(self.axes.iter().cloned());
        let names = names.chain([self.score.clone(), DEVIATION.into()]).chain(each).chain([ERROR.into()]);
        let mut lines = vec![names.collect::<Vec<_>>()];
        for entry in &self.entries {
            let counts = [entry.number as u64, entry.rung as u64, entry.candidate.training.epochs];
            let means = [entry.score(), entry.deviation()];
            let each = (0..folds).map(|fold| entry.scores.get(fold).copied());
            let numbers = means.into_iter().chain(each).map(|value| value.map_or(String::new(), |v| v.to_string()));
            let fields = counts.iter().map(u64::to_string).chain(entry.values.iter().cloned()).chain(numbers);
            lines.push(fields.chain([entry.error.clone().unwrap_or_default()]).collect());
        }
        let mut text = String::new();
        for fields in lines {
            text += &fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",");
            text.push('\n');
        }
        text
    }
}

/// A field of CSV, in quotes where it needs them.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.into(),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [number, _, epochs] = COUNTS.map(String::from);
        let names = [number, epochs].into_iter().chain(self.axes.iter().cloned());
        let mut lines = vec![names.chain([self.score.clone(), DEVIATION.into()]).collect::<Vec<_>>()];
        let best = self.best();
        for entry in &self.entries {
            let counts = [entry.number.to_string(), entry.candidate.training.epochs.to_string()];
            let values = entry.values.iter().map(|value| value.parse().map_or_else(|_| value.clone(), short));
            let found = match (entry.score(), &entry.error) {
                (_, Some(error)) => vec![error.clone()],
                (None, None) => vec![format!("{} of {} folds", entry.scores.len(), entry.folds)],
                (Some(score), None) => vec![short(score), entry.deviation().map_or(String::new(), short)],
            };
            let mark = best.is_some_and(|best| std::ptr::eq(best, entry)).then(|| "best".to_string());
            lines.push(counts.into_iter().chain(values).chain(found).chain(mark).collect());
        }
        // What stands in the place of a score may be long.
        let aligned = |line: &[String], at: usize| at < self.axes.len() + 2 || line.len() >= lines[0].len();
        let width = |at: usize| {
            lines
                .iter()
                .filter(|line| aligned(line, at))
                .filter_map(|line| line.get(at))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..lines[0].len()).map(|at| width(at).unwrap_or(0)).collect();
        for line in &lines {
            let cells = line.iter().enumerate().map(|(at, cell)| match widths.get(at) {
                Some(&width) if aligned(line, at) => format!("{cell:>width$}"),
                _ => cell.clone(),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A number in six digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    let size = rounded.abs();
    if size == 0.0 || (1e-4..1e9).contains(&size) { rounded.to_string() } else { format!("{rounded:e}") }
}
