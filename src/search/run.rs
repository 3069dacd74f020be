//! Running a search: one training after the other, each entered in the table as soon as it is judged.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::alike::alike;
use super::file::{Found, Place};
use super::scheme::{Rung, Score, Search};
use super::table::{Entry, Table};
use super::watched::{Failure, watched};
use super::{Candidate, Fold};
use crate::data::{Fixed, Source};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::model::{Network, Purpose};
use crate::train::{Progress, Session, Stop, Training};

/// How far a search has come.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What was found so far; its last entry is the one that is under way.
    pub table: &'a Table,
    /// Trainings that are judged, each of a candidate on a fold.
    pub done: usize,
    /// Trainings in all, at most: a candidate that fails has fewer.
    pub of: usize,
    /// The training under way; none where one was just judged.
    pub training: Option<&'a Progress>,
}

/// Whoever is told, and whether it has asked to break off.
struct Told<'a> {
    report: &'a mut (dyn FnMut(Report<'_>) -> ControlFlow<()> + Send),
    done: usize,
    of: usize,
    broken: bool,
}

impl Told<'_> {
    fn tell(&mut self, table: &Table, training: Option<&Progress>) -> ControlFlow<()> {
        let &mut Told { done, of, .. } = self;
        self.broken |= (self.report)(Report { table, done, of, training }).is_break();
        if self.broken { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// A candidate with its values, and as it is trained, or why it cannot be.
struct Trial {
    values: Vec<String>,
    candidate: Candidate,
    trained: std::result::Result<Candidate, String>,
}

/// What a run goes by.
struct Running<'a> {
    gpu: &'a Gpu,
    search: &'a Search,
    source: Arc<dyn Source>,
    /// Why reading the source failed, where it did.
    failure: Failure,
    folds: Vec<Fold>,
    place: Option<Place<'a>>,
    /// What the file has of entries that are still to come.
    known: VecDeque<Found>,
}

impl Search {
    /// Searches, or goes on where a table is kept. A candidate that cannot be trained (one without epochs, too), or whose training
    /// diverges, has an error in the table; the others still run. Models are not kept: a [`crate::Session`] of the best candidate's
    /// spec and training trains it on all rows.
    ///
    /// # Errors
    /// [`Error::Spec`] where there is nothing to search, or an axis, the folds or the ratio of halving cannot be;
    /// [`Error::Data`] where there are fewer rows than folds; [`Error::Checkpoint`] where the file is no table of this search;
    /// [`Error::Io`] where it cannot be read or written; [`Error::Device`] or [`Error::DeviceLost`]; whatever error reading the data
    /// gave. What was judged until then is in the file, and the search goes on from there.
    pub fn run(&self, gpu: &Gpu, data: impl Into<Arc<dyn Source>>) -> Result<Table> {
        self.run_with(gpu, data, |_| ControlFlow::Continue(()))
    }

    /// As [`Search::run`], with a callback at every report of a training and after each, which may break off the search. What it was
    /// training is then trained anew when it goes on.
    ///
    /// ```no_run
    /// # use std::ops::ControlFlow;
    /// # fn show(search: &strait::search::Search, gpu: &strait::Gpu, data: &strait::Data) -> strait::Result<()> {
    /// let table = search.run_with(gpu, data, |report| {
    ///     println!("{} of {}", report.done, report.of);
    ///     ControlFlow::Continue(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn run_with(
        &self,
        gpu: &Gpu,
        data: impl Into<Arc<dyn Source>>,
        mut report: impl FnMut(Report<'_>) -> ControlFlow<()> + Send,
    ) -> Result<Table> {
        let source: Arc<dyn Source> = Arc::new(Fixed::new(data.into()));
        let candidates = self.candidates()?;
        let trials = self.trials(&candidates);
        let epochs: Vec<u64> =
            trials.iter().filter_map(|trial| Some(trial.trained.as_ref().ok()?.training.epochs)).collect();
        let rungs = self.rungs(epochs.len(), epochs.iter().copied().min())?;
        let folds = self.folds_of(source.rows())?;
        let place =
            self.file.as_deref().map(|path| Place::new(path, self, &candidates, &folds, &source)).transpose()?;
        let known = place.as_ref().map_or(Ok(vec![]), Place::read)?.into();
        // Those that cannot be trained are entries of the first rung, too.
        let later: usize = rungs.iter().skip(1).map(|rung| rung.count).sum();
        let of = (trials.len() + later) * folds.len();
        let (source, failure) = watched(source);
        let running = Running { gpu, search: self, source, failure, folds, place, known };
        running.through(&rungs, &trials, Told { report: &mut report, done: 0, of, broken: false })
    }

    /// The candidates as they are tried.
    fn trials(&self, candidates: &[(Vec<f64>, Candidate)]) -> Vec<Trial> {
        let trained = alike(candidates.iter().map(|(_, candidate)| candidate.clone()).collect());
        let trial = |((values, candidate), trained): (&(Vec<f64>, Candidate), Candidate)| {
            let checked = candidate.check().and_then(|()| self.score.check(&trained)).map(|()| trained);
            let values = self.axes.iter().zip(values).map(|(axis, &value)| axis.text(value)).collect();
            Trial { values, candidate: candidate.clone(), trained: checked.map_err(|error| error.to_string()) }
        };
        candidates.iter().zip(trained).map(trial).collect()
    }
}

impl Running<'_> {
    /// Goes through all rungs, or until somebody breaks off.
    fn through(mut self, rungs: &[Rung], trials: &[Trial], mut told: Told<'_>) -> Result<Table> {
        let mut table = self.search.table();
        let mut members: Vec<usize> = (0..trials.len()).collect();
        for (at, rung) in rungs.iter().enumerate() {
            if at > 0 {
                members = survivors(&table, at - 1, rung.count);
            }
            for &number in &members {
                let trial = &trials[number];
                let scaled = |candidate: &Candidate| {
                    let epochs = candidate.training.epochs / rung.divisor;
                    Candidate { training: Training { epochs, ..candidate.training }, ..candidate.clone() }
                };
                let (candidate, values) = (scaled(&trial.candidate), trial.values.clone());
                let error = trial.trained.as_ref().err().cloned();
                let folds = self.folds.len();
                table.entries.push(Entry { number, rung: at, candidate, values, scores: vec![], error, folds });
                self.take_known(&mut table)?;
                if let Ok(trained) = &trial.trained {
                    self.judge(&mut table, &scaled(trained), &mut told)?;
                }
                if told.broken {
                    return Ok(table);
                }
                told.done = table.entries.len() * folds;
            }
        }
        if let Some(found) = self.known.front() {
            let found = format!("candidate {} on rung {}", found.number, found.rung);
            return Err(self.wrong(table.entries.len(), found, "no more entries than the search has"));
        }
        if self.place.is_some() {
            self.keep(&table)?;
        }
        table.whole = true;
        Ok(table)
    }

    /// Takes what the file has of the last entry.
    fn take_known(&mut self, table: &mut Table) -> Result<()> {
        let Some(found) = self.known.pop_front() else { return Ok(()) };
        let at = table.entries.len() - 1;
        let folds = self.folds.len();
        let entry = &mut table.entries[at];
        if (found.number, found.rung) != (entry.number, entry.rung) {
            let said = format!("candidate {} on rung {}", found.number, found.rung);
            let allowed =
                format!("candidate {} on rung {}, which the scores before it lead to", entry.number, entry.rung);
            return Err(self.wrong(at, said, allowed));
        }
        let (count, most) = (found.scores.len(), if found.error.is_some() { folds - 1 } else { folds });
        if count > most {
            return Err(self.wrong(at, format!("{count} scores"), format!("at most {most}")));
        }
        if let Some(score) = found.scores.iter().find(|score| !score.is_finite()) {
            return Err(self.wrong(at, score, "finite scores"));
        }
        if found.error.is_none() && count < folds && !self.known.is_empty() {
            return Err(self.wrong(
                at,
                format!("{count} scores"),
                format!("{folds}, since there are entries after it"),
            ));
        }
        if let Some(error) = &entry.error {
            // The search knows it by itself.
            return match found.error.as_ref() == Some(error) && count == 0 {
                true => Ok(()),
                false => Err(self.wrong(at, format!("{count} scores"), format!("the error {error:?}"))),
            };
        }
        (entry.scores, entry.error) = (found.scores, found.error);
        Ok(())
    }

    fn wrong(&self, at: usize, found: impl ToString, allowed: impl Into<String>) -> Error {
        let told = |place: &Place<'_>| place.wrong_entry(at, found, allowed);
        self.place.as_ref().map_or_else(|| Error::Internal("entries of no file".into()), told)
    }

    /// Trains and judges the last entry on the folds that are left.
    fn judge(&self, table: &mut Table, candidate: &Candidate, told: &mut Told<'_>) -> Result<()> {
        let at = table.entries.len() - 1;
        for (number, fold) in self.folds.iter().enumerate().skip(table.entries[at].scores.len()) {
            if told.broken || table.entries[at].error.is_some() {
                break;
            }
            told.done = at * self.folds.len() + number;
            let scored = self.train(candidate, number, fold, |progress| told.tell(table, Some(progress)));
            if told.broken {
                break;
            }
            // Whatever became of the training: that rows could not be read is no fault of the candidate.
            if let Some(error) = self.failure.take() {
                return Err(error);
            }
            let entry = &mut table.entries[at];
            match scored.transpose() {
                None => break,
                Some(Ok(score)) => entry.scores.push(score),
                Some(Err(error)) if is_of_candidate(&error) => entry.error = Some(format!("fold {number}: {error}")),
                Some(Err(error)) => return Err(error),
            }
            self.keep(table)?;
            told.done += 1;
            let _ = told.tell(table, None);
        }
        Ok(())
    }

    /// Trains a candidate on a fold and judges it; none where training was broken off.
    fn train(
        &self,
        candidate: &Candidate,
        number: usize,
        fold: &Fold,
        report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<Option<f64>> {
        let seed = candidate.training.seed.wrapping_add(number as u64);
        let mut session = Session::new(self.gpu, &candidate.spec, Training { seed, ..candidate.training })?;
        let [train, held] = fold.split(&self.source);
        if session.fit_with(train, report)?.stop == Stop::Cancelled {
            return Ok(None);
        }
        let score = match &self.search.score {
            Score::Own(_, score) => score(&mut session, fold)?,
            Score::Loss => session.evaluate(held)?.loss,
            Score::Term(name) => {
                let terms = session.evaluate(held)?.terms;
                terms.iter().find(|(term, _)| term == name).map_or(f64::NAN, |(_, value)| *value)
            }
        };
        match score.is_finite() {
            true => Ok(Some(score)),
            false => Err(Error::spec(format!("score {:?}", self.search.score.name()), score, "a finite number")),
        }
    }

    /// Keeps the table, where it has a place.
    fn keep(&self, table: &Table) -> Result<()> {
        self.place.as_ref().map_or(Ok(()), |place| place.write(table))
    }
}

/// The numbers of those that go on from a rung: the lowest scores, of the same the first, in the order of their numbers.
fn survivors(table: &Table, rung: usize, count: usize) -> Vec<usize> {
    let entries = table.entries.iter().filter(|entry| entry.rung == rung);
    let mut scored: Vec<(f64, usize)> = entries.filter_map(|entry| Some((entry.score()?, entry.number))).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut numbers: Vec<usize> = scored.into_iter().take(count).map(|(_, number)| number).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether an error is one of the candidate's, so that others may do without it.
fn is_of_candidate(error: &Error) -> bool {
    !matches!(error, Error::Device { .. } | Error::DeviceLost { .. } | Error::Io { .. } | Error::Internal(_))
}

impl Candidate {
    /// Checks that it can be trained.
    fn check(&self) -> Result<()> {
        self.spec.check()?;
        self.training.check()?;
        match self.training.epochs {
            // What it starts with is no score of it.
            0 => Err(Error::spec("training.epochs", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}

impl Score {
    /// Checks that a candidate can be judged so.
    fn check(&self, candidate: &Candidate) -> Result<()> {
        let Score::Term(name) = self else { return Ok(()) };
        let graph = Network::new(&candidate.spec)?.graph(Purpose::Evaluate, false)?;
        match graph.terms().iter().any(|term| term == name) {
            true => Ok(()),
            false => Err(Error::spec("term", format!("{name:?}"), graph.terms().join(", "))),
        }
    }
}
