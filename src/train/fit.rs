//! Taking steps: in one go, as a future, or some at a time between a host's frames.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::divergence::Bad;
use super::evaluate::Evaluation;
use super::progress::Best;
use super::trainer::{TableWriter, Trainer, next_budget};
use super::{Fit, Progress, Session, Stop};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::gpu::{Wait, Work};
use crate::graph::Arena;
use crate::plan::Role;

impl Session {
    /// Trains on `data` for all epochs (or what is left of them in a resumed run).
    ///
    /// # Errors
    /// As [`Session::load`]; [`Error::Diverged`] where a term or a gradient is no longer finite: the parameters are
    /// then those before the bad step.
    pub fn fit(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Fit> {
        self.fit_with(data, |_| ControlFlow::Continue(()))
    }

    /// As [`Session::fit`], with a callback at every report that may break off the run: what is under way then still
    /// comes to its end and is reported.
    ///
    /// # Errors
    /// As [`Session::fit`].
    pub fn fit_with(
        &mut self,
        data: impl Into<Arc<dyn Source>>,
        report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<Fit> {
        pollster::block_on(self.run(data.into(), report, Wait::Block))
    }

    /// As [`Session::fit_with`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Session::fit`].
    pub async fn fit_async(
        &mut self,
        data: impl Into<Arc<dyn Source>>,
        report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<Fit> {
        self.run(data.into(), report, Wait::Await).await
    }

    async fn run(
        &mut self,
        data: Arc<dyn Source>,
        mut report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
        how: Wait,
    ) -> Result<Fit> {
        let begun = Instant::now();
        self.ready(data, how).await?;
        let total = self.total_steps()?;
        let mut fit = Fit {
            history: vec![],
            steps: 0,
            stop: Stop::Done,
            best_validation: None,
            first_step: Duration::ZERO,
            elapsed: Duration::ZERO,
        };
        let (mut done, mut budget, mut cancelled) = (self.step, 1, false);
        let from = self.step;
        self.trainer()?.last = begun;
        while done < total && !self.waited_long() {
            loop {
                // Where rows are held out, every epoch ends with a look at them.
                let left = self.steps_left_in_epoch()?.unwrap_or(u64::MAX);
                let wanted = if cancelled { 0 } else { budget.min(total - self.step).min(left) };
                if wanted == 0 || self.submit(wanted)? == 0 {
                    break;
                }
            }
            let progress = match self.next_report(how).await? {
                Some(progress) => progress,
                None if cancelled => break,
                None => return Err(Error::Internal("no step was taken and none is under way".into())),
            };
            let mut progress = Progress { elapsed: begun.elapsed(), ..progress };
            let steps = progress.step - done;
            done = progress.step;
            if fit.first_step.is_zero() {
                fit.first_step = progress.elapsed;
            } else {
                budget = next_budget(steps, steps as f64 * self.batch_rows()? / progress.rows_per_second);
            }
            if self.in_flight() == 0 && (self.epoch_ended()? || done == total) {
                progress.validation = self.validate(how).await?;
            }
            let new_epoch = fit.history.last().is_none_or(|last: &Progress| last.epoch != progress.epoch);
            cancelled |= report(&progress).is_break();
            if new_epoch || done == total || progress.validation.is_some() {
                fit.history.push(progress);
            }
        }
        fit.best_validation = self.best.validation;
        fit.stop = match self.waited_long() {
            true => Stop::Early,
            false if cancelled => Stop::Cancelled,
            false => Stop::Done,
        };
        if fit.stop != Stop::Cancelled && fit.best_validation.is_some() && self.step > from {
            let (best, params) = (self.shared(Role::Arena(Arena::Best))?, self.shared(Role::Arena(Arena::Params))?);
            self.gpu.submit([Work::Copy(best, params)])?;
        }
        fit.steps = self.step - from;
        fit.elapsed = begun.elapsed();
        Ok(fit)
    }

    /// Submits up to `steps` steps without waiting and returns how many were taken: none where two submits are in
    /// flight or the run is over. For hosts that share the device with their frames; see [`Session::progress`].
    ///
    /// # Errors
    /// [`Error::Data`] before [`Session::load`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn step(&mut self, steps: u64) -> Result<u64> {
        let left = self.total_steps()?.saturating_sub(self.step);
        self.submit(steps.min(left))
    }

    /// The report of the oldest submit, if it has arrived; never waits.
    ///
    /// # Errors
    /// [`Error::Diverged`] as [`Session::fit`].
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        self.gpu.check()?;
        let Some(at) = self.oldest() else { return Ok(None) };
        match self.trainer()?.readbacks[at].take()? {
            Some(bytes) => self.received(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The dispatches of one training step, where data is loaded.
    pub fn dispatches_per_step(&self) -> Option<usize> {
        self.trainer.as_ref().map(Trainer::dispatches)
    }

    fn trainer(&mut self) -> Result<&mut Trainer> {
        let none = || Error::data("training data", "none", "data given to Session::load or Session::fit");
        self.trainer.as_mut().ok_or_else(none)
    }

    fn in_flight(&self) -> usize {
        self.trainer.as_ref().map_or(0, |t| t.in_flight.len())
    }

    fn oldest(&self) -> Option<usize> {
        self.trainer.as_ref().and_then(|t| t.in_flight.front()).map(|s| s.readback)
    }

    fn batch_rows(&mut self) -> Result<f64> {
        Ok(self.trainer()?.feed.batch() as f64)
    }

    /// Steps of the whole run.
    fn total_steps(&mut self) -> Result<u64> {
        let epochs = self.training.epochs;
        Ok(self.trainer()?.feed.steps_per_epoch().saturating_mul(epochs))
    }

    /// Steps that may still be submitted before the next validation, where there is one.
    fn steps_left_in_epoch(&mut self) -> Result<Option<u64>> {
        let step = self.step;
        let trainer = self.trainer()?;
        let per_epoch = trainer.feed.steps_per_epoch();
        let ended = step > 0 && step.is_multiple_of(per_epoch);
        Ok(trainer.validation.as_ref().map(|_| match ended && !trainer.in_flight.is_empty() {
            true => 0,
            false => per_epoch - step % per_epoch,
        }))
    }

    fn epoch_ended(&mut self) -> Result<bool> {
        let step = self.step;
        Ok(step.is_multiple_of(self.trainer()?.feed.steps_per_epoch()))
    }

    fn submit(&mut self, steps: u64) -> Result<u64> {
        let table = TableWriter {
            table: self.shared(Role::Table)?.clone(),
            training: self.training,
            total: self.total_steps()?,
        };
        let (gpu, state, ring, now) = (self.gpu.clone(), self.state.clone(), self.ring.clone(), self.step);
        let (taken, asked) = self.trainer()?.submit(&gpu, &state, &ring, now, steps, &table)?;
        self.step += taken;
        self.unread |= taken > 0;
        if asked.is_err() {
            // The steps are taken, but no report will tell how they ended. Loading data again finds out.
            self.trainer = None;
        }
        asked.map(|()| taken)
    }

    /// Waits for what is under way before its trainer goes, so that nothing it came to is lost: a step that went bad is
    /// told, and an epoch that ended is looked at.
    pub(super) async fn settle(&mut self, how: Wait) -> Result<()> {
        if !self.unread {
            return Ok(());
        }
        if let Some(bad) = self.bad(how).await? {
            return Err(self.stop_at(&bad));
        }
        self.unread = false;
        let ended = self.in_flight() > 0 && self.epoch_ended()?;
        if let Some(trainer) = &mut self.trainer {
            trainer.forget();
        }
        if ended {
            self.validate(how).await?;
        }
        Ok(())
    }

    /// Goes back to what a bad step left, and says so.
    fn stop_at(&mut self, bad: &Bad) -> Error {
        // What is still in flight changes nothing any more.
        (self.step, self.trainer, self.unread) = (bad.taken(), None, false);
        self.diverged(bad)
    }

    async fn next_report(&mut self, how: Wait) -> Result<Option<Progress>> {
        let Some(at) = self.oldest() else { return Ok(None) };
        let bytes = self.trainer()?.readbacks[at].finish(how).await?;
        self.received(&bytes).map(Some)
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Progress> {
        let total = self.total_steps()?;
        let training = self.training;
        let table = TableWriter { table: self.shared(Role::Table)?.clone(), training, total };
        let trainer = self.trainer()?;
        let submit = trainer.in_flight.pop_front().ok_or_else(|| Error::Internal("no submit in flight".into()))?;
        match trainer.report(bytes, &submit)? {
            Ok(progress) => {
                let learning_rate = table.learning_rate(progress.step - 1);
                Ok(Progress { total_steps: total, learning_rate, ..progress })
            }
            Err(bad) => Err(self.stop_at(&bad)),
        }
    }

    /// Whether the validation loss has not improved for as long as early stopping waits.
    fn waited_long(&self) -> bool {
        self.training.early_stopping.is_some_and(|e| self.best.waited >= e.patience)
    }

    /// Looks at the validation rows, where there are any, and keeps the parameters where they are the best so far.
    async fn validate(&mut self, how: Wait) -> Result<Option<f64>> {
        let gpu = self.gpu.clone();
        let Some(validation) = &mut self.trainer()?.validation else { return Ok(None) };
        let loss = validation.run(&gpu, how).await?;
        let margin = self.training.early_stopping.map_or(0.0, |e| e.min_delta);
        if loss.is_finite() && self.best.validation.is_none_or(|best| loss < best - margin) {
            self.best = Best { validation: Some(loss), waited: 0 };
            let (best, params) = (self.shared(Role::Arena(Arena::Best))?, self.shared(Role::Arena(Arena::Params))?);
            gpu.submit([Work::Copy(params, best)])?;
        } else {
            self.best.waited += 1;
        }
        Ok(Some(loss))
    }

    /// The mean objective over the rows of `data`, nothing corrupted.
    ///
    /// # Errors
    /// [`Error::Data`] where the data does not fit the model, or the scaling of its input is not known yet.
    pub fn evaluate(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<f64> {
        self.check_scaled()?;
        pollster::block_on(Evaluation::new(self, data.into())?.run(&self.gpu, Wait::Block))
    }
}
