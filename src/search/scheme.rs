//! The search as it is described: what is varied, which candidates that makes, how they are split, judged and left out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::axis::Axis;
use super::folds::Splits;
use super::table::{OWN, Table, is_own};
use super::{Candidate, Fold, Values};
use crate::error::{Error, Result};
use crate::model::Spec;
use crate::train::{Session, Training};

/// The most candidates.
const MOST: usize = 1 << 20;

/// Keeps the draw of folds apart from the order of rows in training.
const FOLDS: u64 = 0x5f01_d5ea_4c4e_1d77;

/// A search over any numbers and choices of a spec and its training.
///
/// By itself it is a grid, judged by the term `reconstruction` on 5 folds, seed 0. Candidates are trained on the rows of a fold that
/// are not held out and judged by those that are, with the seed of their training plus the number of the fold. A search on the
/// same device, of the same rows and with the same seed, gives the same table to the bit.
///
/// What candidates differ in, where it may have a ramp ([`Spec::ramps`], [`Training::ramps`]), has a constant one while they are
/// trained ([`crate::Ramp::constant`]), so that models of one shape share their kernels and only the first of a shape compiles any.
#[derive(Debug)]
pub struct Search {
    base: Candidate,
    pub(super) axes: Vec<Axis>,
    /// How many candidates are drawn; where there is none, they are a grid.
    random: Option<usize>,
    halving: Option<usize>,
    splits: Splits,
    seed: u64,
    pub(super) score: Score,
    pub(super) file: Option<PathBuf>,
}

/// What candidates are judged by.
pub(super) enum Score {
    Term(String),
    Loss,
    Own(String, Box<Own>),
}

/// A score of the caller's own.
pub(super) type Own = dyn Fn(&mut Session, &Fold) -> Result<f64> + Send + Sync;

/// Candidates that are tried together, all for the same part of their epochs.
pub(super) struct Rung {
    /// How many go on from the rung before: the best.
    pub count: usize,
    /// What their epochs are divided by.
    pub divisor: u64,
}

impl Search {
    /// A search around a model and its training.
    pub fn new(spec: Spec, training: Training) -> Search {
        Search {
            base: Candidate { spec, training },
            axes: vec![],
            random: None,
            halving: None,
            splits: Splits::Folds(5),
            seed: 0,
            score: Score::Term("reconstruction".into()),
            file: None,
        }
    }

    /// The same over these numbers too; `put` puts one into the spec or the training. Axes have names that differ, and none that the
    /// table's own columns have ([`Table::csv`]).
    pub fn axis(
        mut self,
        name: impl Into<String>,
        values: impl Into<Values>,
        put: impl Fn(&mut Candidate, f64) + Send + Sync + 'static,
    ) -> Search {
        self.axes.push(Axis::of_numbers(name.into(), values.into(), Box::new(put)));
        self
    }

    /// The same over these choices too, each with what tables call it; `put` puts one into the spec or the training.
    pub fn choice<T: Send + Sync + 'static>(
        mut self,
        name: impl Into<String>,
        choices: impl IntoIterator<Item = (impl Into<String>, T)>,
        put: impl Fn(&mut Candidate, &T) + Send + Sync + 'static,
    ) -> Search {
        let (labels, choices): (Vec<String>, Vec<T>) =
            choices.into_iter().map(|(label, choice)| (label.into(), choice)).unzip();
        let put = move |candidate: &mut Candidate, at: f64| {
            choices.get(at as usize).into_iter().for_each(|choice| put(candidate, choice));
        };
        self.axes.push(Axis::of_choices(name.into(), labels, Box::new(put)));
        self
    }

    /// The same over so many candidates that are drawn, on each axis by itself, instead of every combination of values: uniformly
    /// from a list, and from a range as it says. With more of them the first ones stay the same.
    pub fn random(self, candidates: usize) -> Search {
        Search { random: Some(candidates), ..self }
    }

    /// The same by successive halving (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
    /// optimization", 2016). All candidates are trained for few epochs; the best 1 in `ratio` of them go on to the next rung, where
    /// they are trained for `ratio` times as many epochs, and so on. On the last rung they have all epochs of their training. There
    /// are as many rungs as leave at least one candidate and one epoch; counts and epochs are rounded down. 16 candidates of 40
    /// epochs with a ratio of 2 have five rungs: 16 candidates for 2 epochs, 8 for 5, 4 for 10, 2 for 20, 1 for 40. Models of one
    /// rung are not trained on: each rung begins anew, so that schedules and ramps are whole.
    ///
    /// What counts are candidates that can be trained; others have an error on the first rung. Rungs divide the epochs of all by the
    /// same, so where epochs differ, the fewest of one candidate say how many rungs there are: beside one of 3 epochs those of 100
    /// have two rungs of a ratio of 2, and beside one of a single epoch all have one, on which they are trained in full.
    pub fn halving(self, ratio: usize) -> Search {
        Search { halving: Some(ratio), ..self }
    }

    /// The same on so many folds: parts of the rows, drawn and equal to within a row, each of which is held out once.
    pub fn folds(self, folds: usize) -> Search {
        Search { splits: Splits::Folds(folds), ..self }
    }

    /// The same on one split, whose held part, drawn, is this of all rows.
    pub fn hold_out(self, part: f64) -> Search {
        Search { splits: Splits::HeldOut(part), ..self }
    }

    /// The same on these splits.
    pub fn splits(self, splits: Vec<Fold>) -> Search {
        Search { splits: Splits::Given(splits), ..self }
    }

    /// The same with this seed of candidates and folds. That of initial weights and of noise is the training's.
    pub fn seed(self, seed: u64) -> Search {
        Search { seed, ..self }
    }

    /// The same judged by this term of the objective on the held rows, as [`Session::evaluate`] tells it.
    pub fn term(self, term: impl Into<String>) -> Search {
        Search { score: Score::Term(term.into()), ..self }
    }

    /// The same judged by the whole objective on the held rows. Weights of its terms that are searched change what it means.
    pub fn loss(self) -> Search {
        Search { score: Score::Loss, ..self }
    }

    /// The same judged by a score of the caller's own, under this name: a function of the trained session and of which rows were
    /// trained on and which were held out, by their numbers in the data, which it captures itself. Lower is better. An error of it
    /// stands in the table, and the search goes on; one of a file or of the device ends the search. The session's spec is the
    /// candidate's with the ramps that a search gives it.
    pub fn score(
        self,
        name: impl Into<String>,
        score: impl Fn(&mut Session, &Fold) -> Result<f64> + Send + Sync + 'static,
    ) -> Search {
        Search { score: Score::Own(name.into(), Box::new(score)), ..self }
    }

    /// The same with a file that keeps the table, replaced as a whole after every fold. Where it is there, the search goes on from
    /// it, as long as axes, candidates, folds, seed and rows are the same, and the score's name: what a score of one's own does is
    /// not compared, so another score wants another name.
    pub fn kept_at(self, path: impl Into<PathBuf>) -> Search {
        Search { file: Some(path.into()), ..self }
    }

    /// The folds of so many rows.
    ///
    /// # Errors
    /// [`Error::Data`] where the rows are too few; [`Error::Spec`] where they cannot be split so at all, or where splits of the
    /// caller's own name rows that are not there or hold out what they train on.
    pub fn folds_of(&self, rows: usize) -> Result<Vec<Fold>> {
        self.splits.of(rows, self.seed ^ FOLDS)
    }

    /// The candidates in order, each with its values.
    ///
    /// # Errors
    /// [`Error::Spec`] where there are none, or too many, or where an axis cannot be.
    pub(super) fn candidates(&self) -> Result<Vec<(Vec<f64>, Candidate)>> {
        let axes = &self.axes;
        if axes.is_empty() {
            return Err(Error::spec("axes", "none", "1 or more: Search::axis, Search::choice"));
        }
        let mut names = BTreeSet::new();
        let score = self.score.name();
        if is_own(score) {
            return Err(Error::spec("score", format!("{score:?}"), format!("a name that is none of {OWN}")));
        }
        for axis in axes {
            axis.check()?;
            if is_own(&axis.name) || axis.name == score {
                let allowed = format!("a name that is none of {OWN}, nor that of the score, {score:?}");
                return Err(Error::spec("axes", format!("{:?}", axis.name), allowed));
            }
            if !names.insert(&axis.name) {
                return Err(Error::spec("axes", format!("{:?} twice", axis.name), "names that differ"));
            }
        }
        let values: Vec<Vec<f64>> = match self.random {
            Some(count) if !(1..=MOST).contains(&count) => {
                return Err(Error::spec("random", count, format!("1 to {MOST} candidates")));
            }
            Some(count) => {
                let drawn = |i| axes.iter().enumerate().map(move |(at, axis)| axis.draw(self.seed, at, i)).collect();
                (0..count).map(drawn).collect()
            }
            None => {
                let lists = axes.iter().map(Axis::list).collect::<Result<Vec<_>>>()?;
                let count = lists.iter().try_fold(1usize, |count, list| count.checked_mul(list.len()));
                let Some(count) = count.filter(|&count| count <= MOST) else {
                    let found = lists.iter().map(|list| list.len().to_string()).collect::<Vec<_>>().join(" x ");
                    return Err(Error::spec("grid", found, format!("at most {MOST} candidates")));
                };
                // The last axis goes fastest.
                let of = |mut at: usize| {
                    let pick = |list: &&[f64]| {
                        let value = list[at % list.len()];
                        at /= list.len();
                        value
                    };
                    let mut values: Vec<f64> = lists.iter().rev().map(pick).collect();
                    values.reverse();
                    values
                };
                (0..count).map(of).collect()
            }
        };
        let with = |values: Vec<f64>| {
            let mut candidate = self.base.clone();
            axes.iter().zip(&values).for_each(|(axis, &value)| axis.put(&mut candidate, value));
            (values, candidate)
        };
        Ok(values.into_iter().map(with).collect())
    }

    /// The rungs of so many candidates that can be trained, for so many epochs at least; one where there is none.
    ///
    /// # Errors
    /// [`Error::Spec`] where the ratio cannot be.
    pub(super) fn rungs(&self, candidates: usize, epochs: Option<u64>) -> Result<Vec<Rung>> {
        let (candidates, epochs) = (candidates.max(1), epochs.unwrap_or(1));
        let Some(ratio) = self.halving else { return Ok(vec![Rung { count: candidates, divisor: 1 }]) };
        if ratio < 2 {
            return Err(Error::spec("halving", ratio, "a ratio of 2 or more"));
        }
        let (mut rungs, mut count) = (vec![], candidates);
        let mut divisor = Some(1u64);
        while let Some(divides) = divisor.filter(|&divisor| count > 0 && divisor <= epochs) {
            rungs.push(Rung { count, divisor: divides });
            (count, divisor) = (count / ratio, divides.checked_mul(ratio as u64));
        }
        // The first rung has the fewest epochs.
        let divisors: Vec<u64> = rungs.iter().rev().map(|rung| rung.divisor).collect();
        rungs.iter_mut().zip(divisors).for_each(|(rung, divisor)| rung.divisor = divisor);
        Ok(rungs)
    }

    /// By what it goes, beside candidates and folds: searches that differ in this are others.
    pub(super) fn rules(&self) -> String {
        format!("{:?} {:?} {:?} {:?}", self.axes, self.halving, self.seed, self.score)
    }

    /// A table without entries.
    pub(super) fn table(&self) -> Table {
        let axes = self.axes.iter().map(|axis| axis.name.clone()).collect();
        Table { axes, score: self.score.name().into(), entries: vec![], whole: false }
    }
}

impl Score {
    /// What tables call it.
    pub fn name(&self) -> &str {
        match self {
            Score::Term(name) | Score::Own(name, _) => name,
            Score::Loss => "loss",
        }
    }
}

impl std::fmt::Debug for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Score::Term(name) => f.debug_tuple("Term").field(name).finish(),
            Score::Loss => f.write_str("Loss"),
            Score::Own(name, _) => f.debug_tuple("Own").field(name).finish(),
        }
    }
}
