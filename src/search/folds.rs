//! Folds: which rows a candidate is trained on, which it is judged by, and the rows of a source that these are.

use std::collections::HashSet;
use std::sync::Arc;

use crate::data::{Source, Unweighted};
use crate::error::{Error, Result};
use crate::random::permute;

/// Rows to train on and rows to judge by, by their numbers from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to judge by, which are none of these.
    pub held: Vec<usize>,
}

/// How rows are split.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Splits {
    /// Into so many parts, each of which is held out once.
    Folds(usize),
    /// Into rows to train on, and this part of them, which is held out.
    HeldOut(f64),
    /// As the caller says.
    Given(Vec<Fold>),
}

/// Rows that all folds together may have: each knows its own by their numbers.
const MOST: usize = 1 << 28;

impl Splits {
    /// The splits of so many rows. Rows are drawn, and stand in their own order within a part.
    ///
    /// # Errors
    /// [`Error::Spec`] or [`Error::Data`] where the rows cannot be split so.
    pub fn of(&self, rows: usize, seed: u64) -> Result<Vec<Fold>> {
        let all = u32::try_from(rows).map_err(|_| Error::data("rows to split", rows, "fewer than 2^32"))?;
        let places = || (0..all).map(|row| permute(row, all, seed, 0) as usize);
        let holding = |from: usize, to: usize| {
            let (mut train, mut held) = (Vec::with_capacity(rows.saturating_sub(to - from)), Vec::new());
            for (row, place) in places().enumerate() {
                if (from..to).contains(&place) { &mut held } else { &mut train }.push(row);
            }
            Fold { train, held }
        };
        match self {
            Splits::Folds(count) if *count < 2 => Err(Error::spec("folds", count, "2 or more")),
            Splits::Folds(count) if *count > rows => {
                Err(Error::data("rows to split into folds", rows, format!("{count} or more, one for each fold")))
            }
            Splits::Folds(count) if rows.saturating_mul(*count) > MOST => {
                let allowed = format!("at most {MOST} rows in all folds together");
                Err(Error::data("rows to split into folds", format!("{rows} in each of {count}"), allowed))
            }
            &Splits::Folds(count) => {
                let end = |fold: usize| (rows as u128 * fold as u128 / count as u128) as usize;
                Ok((0..count).map(|fold| holding(end(fold), end(fold + 1))).collect())
            }
            Splits::HeldOut(part) if !(*part > 0.0 && *part < 1.0) => {
                Err(Error::spec("hold_out", part, "between 0 and 1"))
            }
            Splits::HeldOut(part) => match ((rows as f64 * part).round() as usize).max(1) {
                held if held < rows => Ok(vec![holding(0, held)]),
                _ => Err(Error::data("rows to split", rows, "enough to hold some out and train on others")),
            },
            Splits::Given(folds) if folds.is_empty() => Err(Error::spec("splits", "none", "1 or more")),
            Splits::Given(folds) => {
                folds.iter().enumerate().try_for_each(|(i, fold)| fold.check(&format!("splits[{i}]"), rows))?;
                Ok(folds.clone())
            }
        }
    }
}

impl Fold {
    /// Checks that it splits so many rows.
    fn check(&self, place: &str, rows: usize) -> Result<()> {
        for (name, part) in [("train", &self.train), ("held", &self.held)] {
            if part.is_empty() {
                return Err(Error::spec(format!("{place}.{name}"), "without rows", "1 or more"));
            }
            if let Some(row) = part.iter().find(|&&row| row >= rows) {
                return Err(Error::spec(format!("{place}.{name}"), format!("row {row}"), format!("less than {rows}")));
            }
        }
        let train: HashSet<usize> = self.train.iter().copied().collect();
        match self.held.iter().find(|row| train.contains(row)) {
            Some(row) => Err(Error::spec(format!("{place}.held"), format!("row {row}"), "rows that are not in train")),
            None => Ok(()),
        }
    }

    /// The rows of a source to train on, and those to judge by, whose weights do not count.
    pub fn split(&self, source: &Arc<dyn Source>) -> [Arc<dyn Source>; 2] {
        let of = |rows: &[usize]| Arc::new(Picked { source: source.clone(), rows: rows.to_vec() });
        let held = of(&self.held);
        [of(&self.train), if source.is_weighted() { Arc::new(Unweighted(held)) } else { held }]
    }
}

/// Some rows of a source.
struct Picked {
    source: Arc<dyn Source>,
    rows: Vec<usize>,
}

impl Source for Picked {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn columns(&self) -> usize {
        self.source.columns()
    }

    fn read(&self, first_row: usize, mut out: &mut [f32]) -> Result<()> {
        let (columns, count) = (self.columns(), out.len() / self.columns().max(1));
        let Some(mut rows) = self.rows.get(first_row..first_row.saturating_add(count)) else {
            let found = format!("{count} rows from row {first_row} on");
            return Err(Error::data(self.name(), found, format!("rows below {}", self.rows.len())));
        };
        // Rows that follow one another are read at once.
        while let Some(&first) = rows.first() {
            let together = rows.iter().enumerate().take_while(|&(i, &row)| row == first + i).count();
            let (part, rest) = out.split_at_mut(together * columns);
            self.source.read(first, part)?;
            (out, rows) = (rest, &rows[together..]);
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn is_weighted(&self) -> bool {
        self.source.is_weighted()
    }
}
