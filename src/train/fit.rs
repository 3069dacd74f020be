//! Whole runs: in one go, as a future, or report by report.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Fit, Progress, Session, Stop};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::gpu::Wait;
use crate::graph::Kept;

/// A run under way, from one report to the next.
#[derive(Debug)]
struct Fitting {
    begun: Instant,
    /// Steps taken before.
    from: u64,
    /// The step it ends with.
    total: u64,
    /// Steps reported.
    done: u64,
    /// Steps for the next submit.
    budget: u64,
    cancelled: bool,
    first_step: Duration,
    /// Why it ended, once it has.
    stop: Option<Stop>,
}

impl Fitting {
    async fn begin(session: &mut Session, data: Arc<dyn Source>, how: Wait) -> Result<Fitting> {
        let begun = Instant::now();
        session.ready(data, how).await?;
        session.engine()?.0.last = begun;
        let (from, total) = (session.step, session.total_steps()?);
        Ok(Fitting {
            begun,
            from,
            total,
            done: from,
            budget: 1,
            cancelled: false,
            first_step: Duration::ZERO,
            stop: None,
        })
    }

    /// The next report; none where the run is over, or was cancelled and what was under way is reported.
    async fn next(&mut self, session: &mut Session, how: Wait) -> Result<Option<Progress>> {
        if self.stop.is_some() {
            return Ok(None);
        }
        if self.done >= self.total || session.waited_long() {
            return self.end(session).map(|()| None);
        }
        session.hasten(false)?;
        self.cancelled |= session.cancel.is_cancelled();
        // The queue of a device that is shared is left to the host between two submits.
        while !session.gpu().is_shared() || session.in_flight() == 0 {
            // Where rows are held out, every epoch ends with a look at them.
            let left = session.steps_left_in_epoch()?.unwrap_or(u64::MAX);
            let wanted = if self.cancelled { 0 } else { self.budget.min(self.total - session.step).min(left) };
            if wanted == 0 {
                break;
            }
            let wanted = match session.gpu().is_shared() {
                true => session.fitting_a_frame(how).await?.min(wanted),
                false => wanted,
            };
            let before = session.step;
            let taken = session.submit(wanted, false);
            // From here on the look is due, whatever becomes of this future.
            session.look |= session.step - before == left;
            if taken? == 0 {
                break;
            }
        }
        let Some(mut progress) = session.next_report(how).await? else {
            if self.cancelled {
                self.stop = Some(Stop::Cancelled);
                // It has been told. One that comes later is of what comes then.
                session.cancel.clear();
                return Ok(None);
            }
            return Err(Error::Internal("no step was taken and none is under way".into()));
        };
        progress.elapsed = self.begun.elapsed();
        let steps = progress.step - self.done;
        self.done = progress.step;
        if self.first_step.is_zero() {
            self.first_step = progress.elapsed;
        } else {
            let (engine, resident) = session.engine()?;
            self.budget = engine.next_budget(&resident.gpu, steps);
        }
        if session.in_flight() == 0 && (session.epoch_ended()? || self.done == self.total) {
            progress.validation = session.validate(how).await?;
        }
        session.take_snapshot()?;
        Ok(Some(progress))
    }

    /// Nothing is left to do: the best parameters come back, where they were looked for.
    fn end(&mut self, session: &mut Session) -> Result<()> {
        if session.best.validation.is_some() {
            session.resident.copy(Kept::Best, Kept::Values)?;
        }
        session.over = true;
        self.stop = Some(if session.waited_long() { Stop::Early } else { Stop::Done });
        Ok(())
    }
}

/// The reports of a run, one by one: see [`Session::fit_iter`].
#[derive(Debug)]
pub struct Reports<'a> {
    session: &'a mut Session,
    run: Fitting,
}

impl Iterator for Reports<'_> {
    type Item = Result<Progress>;

    fn next(&mut self) -> Option<Result<Progress>> {
        let next = pollster::block_on(self.run.next(self.session, Wait::Block));
        if next.is_err() {
            self.run.stop = Some(Stop::Cancelled);
        }
        next.transpose()
    }
}

impl Drop for Reports<'_> {
    fn drop(&mut self) {
        // As with a callback that breaks off, what is under way comes to its end. What goes wrong in it is told by
        // whatever loads data next.
        if pollster::block_on(self.session.settle(Wait::Block)).is_err() {
            self.session.unread = true;
        }
    }
}

impl Session {
    /// Trains on `data` for all epochs, or what is left of them where the run was broken off or resumed from a
    /// checkpoint. Behind a run that has come to its end, also an early one, it begins another of as many epochs: from
    /// the parameters and moments as they are, with the schedule, ramps and early stopping from their beginning. A run
    /// that was broken off over another number of rows does not go on either: another begins, and a warning in the log
    /// says so.
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

    /// As [`Session::fit`], report by report. Leaving the loop breaks off the run; what is under way then still comes
    /// to its end.
    ///
    /// ```no_run
    /// # use strait::{Activation, Gpu, Session, Spec, Training, data};
    /// # let mut session =
    /// #     Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), Training::default())?;
    /// for progress in session.fit_iter(data::digits()?)? {
    ///     let progress = progress?;
    ///     println!("step {} of {}: {}", progress.step, progress.total_steps, progress.loss);
    ///     if progress.loss < 0.01 {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::load`]; what goes wrong later is the iterator's last item.
    pub fn fit_iter(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Reports<'_>> {
        let run = pollster::block_on(Fitting::begin(self, data.into(), Wait::Block))?;
        Ok(Reports { session: self, run })
    }

    async fn run(
        &mut self,
        data: Arc<dyn Source>,
        mut report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
        how: Wait,
    ) -> Result<Fit> {
        let mut run = Fitting::begin(self, data, how).await?;
        let (mut history, mut last) = (Vec::<Progress>::new(), None);
        while let Some(progress) = run.next(self, how).await? {
            run.cancelled |= report(&progress).is_break();
            let new_epoch = history.last().is_none_or(|kept| kept.epoch != progress.epoch);
            last = None;
            if new_epoch || progress.validation.is_some() {
                history.push(progress);
            } else {
                last = Some(progress);
            }
        }
        history.extend(last);
        Ok(Fit {
            history,
            steps: self.step - run.from,
            stop: run.stop.unwrap_or(Stop::Done),
            best_validation: self.best.validation,
            first_step: run.first_step,
            elapsed: run.begun.elapsed(),
        })
    }
}
