//! Taking steps, some at a time: for hosts that do so between their frames, and for whole runs.

use std::time::Duration;

#[cfg(doc)]
use super::Stop;
use super::divergence::Bad;
use super::engine::{Engine, SHARED, Steps};
use super::progress::Best;
use super::resident::Resident;
use super::spread::Fitting;
use super::{Cancel, Objective, Progress, Session, Taken};
use crate::error::{Error, Result};
use crate::gpu::{Timed, Wait};
use crate::graph::Kept;

impl Session {
    /// Submits up to `steps` steps without waiting and says how many were taken, or why none. For hosts that share the
    /// device with their frames; see [`Session::progress`], and [`Session::step_for`] where a frame's time is known.
    ///
    /// It neither waits nor compiles, so it keeps to the kernels that [`Session::load`] made, looks at no validation
    /// rows and never stops early: that takes [`Session::fit`], or [`Session::evaluate`] between two calls. Where the
    /// data is larger than its budget, the call that reaches the end of a chunk reads the next one and uploads it.
    ///
    /// # Errors
    /// [`Error::Data`] before [`Session::load`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn step(&mut self, steps: u64) -> Result<Taken> {
        let left = self.total_steps()?.saturating_sub(self.step);
        self.over |= left == 0;
        let cancelled = self.cancel.is_cancelled();
        let taken = self.submit(if cancelled { 0 } else { steps.min(left) }, false);
        // Behind these steps the parameters are others than those at the epoch's end.
        self.look &= matches!(taken, Ok(0));
        let taken = taken?;
        if taken == 0 {
            // Nothing was submitted that would have found it out.
            self.gpu().alive()?;
        }
        Ok(if cancelled && left > 0 { Taken::Cancelled } else { Taken::of(taken, steps, left) })
    }

    /// Submits as many steps as keep the device busy for about `budget`, and none while it is still at work on those
    /// before: so a host that calls this once a frame gives training that much of it, and no more piles up behind its
    /// own work.
    ///
    /// How long steps take is measured on the device, where it writes timestamps (the feature `TIMESTAMP_QUERY`). A
    /// step that takes longer is then spread over several calls, dispatch by dispatch, as the first one is, of which
    /// nothing is known yet. Without timestamps a call takes one step at least, and what more fits is told by when
    /// reports arrive: read them ([`Session::progress`]) each frame.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn frame(session: &mut strait::Session) -> strait::Result<()> {
    /// use strait::Taken;
    ///
    /// while let Some(progress) = session.progress()? {
    ///     println!("loss {}", progress.loss);
    /// }
    /// match session.step_for(Duration::from_millis(4))? {
    ///     Taken::Steps(_) | Taken::Part | Taken::Busy => {}
    ///     Taken::Over | Taken::Cancelled => println!("trained"),
    ///     _ => {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::step`]; [`Error::Spec`] where the budget is zero.
    pub fn step_for(&mut self, budget: Duration) -> Result<Taken> {
        if budget.is_zero() {
            return Err(Error::spec("budget", "0 s", "a time above 0"));
        }
        let now = self.step;
        if self.total_steps()? <= now || self.cancel.is_cancelled() {
            return self.step(1);
        }
        let (engine, resident) = self.engine()?;
        resident.gpu.poll_once()?;
        match engine.fitting(resident, now, budget)? {
            Some(Fitting::Steps(steps)) => self.step(steps),
            Some(Fitting::Part(end)) if engine.free().is_some() => {
                engine.part(resident, now, end)?;
                Ok(Taken::Part)
            }
            _ => self.gpu().alive().map(|()| Taken::Busy),
        }
    }

    /// Steps that a submit may have on a device that is shared: where one takes longer, its beginning is submitted part
    /// by part, and each is waited for, so that what the host submits meanwhile comes in between.
    pub(super) async fn fitting_a_frame(&mut self, how: Wait) -> Result<u64> {
        let now = self.step;
        loop {
            let (engine, resident) = self.engine()?;
            match engine.fitting(resident, now, SHARED)? {
                Some(Fitting::Steps(steps)) => return Ok(steps),
                Some(Fitting::Part(end)) => engine.part(resident, now, end)?,
                // A part whose future was dropped is still under way.
                None => {}
            }
            self.engine()?.0.parted(how).await?;
        }
    }

    /// A handle that cancels the run from any thread: [`Session::fit`] then ends with [`Stop::Cancelled`] at its next
    /// report, at once where it was cancelled before it began; steps by hand are refused until data is loaded again.
    /// Either way the run goes on from there where it is taken up. What is cancelled after a run's last report is the
    /// next one.
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The report of the oldest submit, if it has arrived; never waits.
    ///
    /// # Errors
    /// [`Error::Diverged`] as [`Session::fit`].
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        let Some(at) = self.oldest() else { return self.gpu().alive().map(|()| None) };
        let taken = self.engine()?.0.readbacks[at].take();
        match self.readable(taken)? {
            Some(bytes) => self.received(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The dispatches of one training step, where data is loaded.
    pub fn dispatches_per_step(&self) -> Option<usize> {
        self.engine.as_ref().map(Engine::dispatches)
    }

    /// What takes the steps, and what they run on.
    pub(super) fn engine(&mut self) -> Result<(&mut Engine, &Resident)> {
        let Some(engine) = &mut self.engine else {
            // A lost device may have been what it went with.
            self.resident.gpu.check()?;
            return Err(Error::data("training data", "none", "data given to Session::load or Session::fit"));
        };
        Ok((engine, &self.resident))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.engine.as_ref().map_or(0, |t| t.in_flight.len())
    }

    fn oldest(&self) -> Option<usize> {
        self.engine.as_ref().and_then(|t| t.in_flight.front()).map(|s| s.readback)
    }

    /// The step that the run ends with.
    pub(super) fn total_steps(&mut self) -> Result<u64> {
        Ok(self.engine()?.0.table.turns())
    }

    /// Steps taken in this run.
    fn steps_of_run(&self) -> u64 {
        self.step.saturating_sub(self.start)
    }

    /// Steps that may still be submitted before the next validation, where there is one.
    pub(super) fn steps_left_in_epoch(&mut self) -> Result<Option<u64>> {
        let step = self.steps_of_run();
        let (engine, _) = self.engine()?;
        let per_epoch = engine.feed.steps_per_epoch();
        let ended = step > 0 && step.is_multiple_of(per_epoch);
        Ok(engine.validation.as_ref().map(|_| match ended && !engine.in_flight.is_empty() {
            true => 0,
            false => per_epoch - step % per_epoch,
        }))
    }

    pub(super) fn epoch_ended(&mut self) -> Result<bool> {
        let step = self.steps_of_run();
        Ok(step.is_multiple_of(self.engine()?.0.feed.steps_per_epoch()))
    }

    /// Submits up to so many steps, of a single one without the passes where its gradients are there already.
    pub(super) fn submit(&mut self, count: u64, apart: bool) -> Result<u64> {
        let steps = Steps { now: self.step, count, apart };
        let (engine, resident) = self.engine()?;
        let (taken, asked) = engine.submit(resident, steps)?;
        self.step += taken;
        self.unread |= taken > 0;
        if asked.is_err() && taken > 0 {
            // No report will tell how these steps ended. Loading data again finds out.
            self.engine = None;
        }
        asked.map(|()| taken)
    }

    /// Takes up to `steps` steps in one submit and tells of each how long its dispatches took.
    pub(super) fn timed_steps(&mut self, steps: u64) -> Result<Vec<Vec<Timed>>> {
        let now = self.step;
        let (engine, resident) = self.engine()?;
        let times = engine.timed(resident, now, steps)?;
        self.step += times.len() as u64;
        self.unread = true;
        Ok(times)
    }

    /// Changes to faster kernels where that pays, behind the first report or at once. Compiling them takes a while.
    pub(super) fn hasten(&mut self, at_once: bool) -> Result<()> {
        let (engine, resident) = self.engine()?;
        engine.hasten(resident, at_once)
    }

    /// Waits for what is under way before its engine goes, so that nothing it came to is lost: a step that went bad is
    /// told, and an epoch of a run that ended is looked at. It may be dropped at any point and begun again.
    pub(super) async fn settle(&mut self, how: Wait) -> Result<()> {
        if self.unread {
            if let Some(bad) = self.bad(how).await? {
                return Err(self.stop_at(&bad));
            }
            self.unread = false;
            if let Some(engine) = &mut self.engine {
                engine.forget();
            }
        }
        if self.look && self.engine.is_some() {
            self.validate(how).await?;
        }
        Ok(())
    }

    /// Goes back to what a bad step left, and says so.
    fn stop_at(&mut self, bad: &Bad) -> Error {
        // What is still in flight changes nothing any more.
        (self.step, self.engine, self.unread, self.look) = (bad.taken(), None, false, false);
        self.diverged(bad)
    }

    pub(super) async fn next_report(&mut self, how: Wait) -> Result<Option<Progress>> {
        let Some(at) = self.oldest() else { return Ok(None) };
        let finished = self.engine()?.0.readbacks[at].finish(how).await;
        let bytes = self.readable(finished)?;
        self.received(&bytes).map(Some)
    }

    /// A report, or why it cannot be read: then nobody knows how its steps ended until data is loaded.
    fn readable<R>(&mut self, report: Result<R>) -> Result<R> {
        if report.is_err() {
            self.engine = None;
        }
        report
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Progress> {
        match self.engine()?.0.received(bytes)? {
            Ok(progress) => Ok(progress),
            Err(bad) => Err(self.stop_at(&bad)),
        }
    }

    /// Whether the validation loss has not improved for as long as early stopping waits.
    pub(super) fn waited_long(&self) -> bool {
        self.training.early_stopping.is_some_and(|e| self.best.waited >= e.patience)
    }

    /// Looks at the validation rows, where there are any, and keeps the parameters where they are the best so far.
    pub(super) async fn validate(&mut self, how: Wait) -> Result<Option<Objective>> {
        let gpu = self.gpu().clone();
        let Some(validation) = &mut self.engine()?.0.validation else { return Ok(None) };
        let found = validation.run(&gpu, how).await;
        // A look that fails is told by this call, and not tried again: its data may be gone for good.
        self.look = false;
        let found = found?;
        let loss = found.loss;
        let margin = self.training.early_stopping.map_or(0.0, |e| e.min_delta);
        if loss.is_finite() && self.best.validation.is_none_or(|best| loss < best - margin) {
            self.resident.copy(Kept::Values, Kept::Best)?;
            self.best = Best { validation: Some(loss), waited: 0 };
        } else {
            self.best.waited = self.best.waited.saturating_add(1);
        }
        Ok(Some(found))
    }
}
