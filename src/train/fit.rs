//! Whole runs: in one go, as a future, or report by report.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::course::Course;
use super::progress::Told;
use super::{Fit, Progress, Session, Snapshot, Stop};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::gpu::{Wait, apart};
use crate::graph::Kept;

/// What is trained in whole runs: a session or a trainer.
pub(super) trait Trained: Send {
    /// How far it has come.
    fn course(&mut self) -> &mut Course;

    /// What reads back everything that it needs to go on elsewhere, where it stands after `step`: see [`Course::settled_step`].
    fn reading(&self, step: (u64, bool)) -> Result<Reading>;
}

/// A job that reads a snapshot back: it waits for the GPU, and may do so on any thread.
pub(super) type Reading = Box<dyn FnOnce() -> Result<Snapshot> + Send>;

/// What makes data ready for such runs.
pub(super) trait Loads: Trained {
    /// Makes data ready, blocking or not: see [`Session::load_with`].
    fn ready(&mut self, data: Arc<dyn Source>, how: Wait, told: Told<'_>) -> impl Future<Output = Result<()>> + Send;
}

/// Makes data ready and goes through a whole run on it.
pub(super) async fn whole(
    trained: &mut impl Loads,
    data: Arc<dyn Source>,
    report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    how: Wait,
) -> Result<Fit> {
    let begun = Instant::now();
    trained.ready(data, how, &mut |_| {}).await?;
    Fitting::new(trained.course(), begun)?.run(trained, report, how).await
}

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
    /// A run of what was made ready, which began before that.
    fn new(course: &mut Course, begun: Instant) -> Result<Fitting> {
        course.engine()?.0.last = begun;
        let (from, total) = (course.step, course.total_steps()?);
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
    async fn next(&mut self, trained: &mut dyn Trained, how: Wait) -> Result<Option<Progress>> {
        let course = trained.course();
        if self.stop.is_some() {
            return Ok(None);
        }
        if self.done >= self.total || course.waited_long() {
            return self.end(course).map(|()| None);
        }
        course.hasten(false, how).await?;
        let mut progress = loop {
            self.cancelled |= course.cancel.is_cancelled();
            self.fill(course, how).await?;
            if course.in_flight() == 0 && self.cancelled {
                self.stop = Some(Stop::Cancelled);
                // It has been told. One that comes later is of what comes then.
                course.cancel.clear();
                return Ok(None);
            }
            if let Some(progress) = course.next_report(how).await? {
                break progress;
            }
        };
        progress.elapsed = self.begun.elapsed();
        let steps = progress.step - self.done;
        self.done = progress.step;
        if self.first_step.is_zero() {
            self.first_step = progress.elapsed;
        } else {
            let (engine, resident) = course.engine()?;
            self.budget = engine.next_budget(&resident.gpu, steps);
        }
        if course.in_flight() == 0 && (course.epoch_ended()? || self.done == self.total) {
            progress.validation = course.validate(how).await?;
        }
        if course.snapshot_is_due() {
            match course.settled_step(how).await {
                Ok(step) => {
                    let reading = trained.reading(step)?;
                    let snapshot = apart(how, &mut |()| {}, |_| reading()).await?;
                    trained.course().keep_snapshot(snapshot);
                }
                // Of a step under way, whose report tells it.
                Err(Error::Diverged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(progress))
    }

    /// Submits steps as long as there is room: whole turns, so that each of their steps is reported as often as it is
    /// taken, but where a frame has no time for them.
    async fn fill(&mut self, course: &mut Course, how: Wait) -> Result<()> {
        let gpu = &course.resident.gpu;
        let shared = gpu.is_shared();
        let one = gpu.submits_alone(how);
        while !one || course.in_flight() == 0 {
            // Where rows are held out, every epoch ends with a look at them.
            let left = course.steps_left_in_epoch()?.unwrap_or(u64::MAX);
            let wanted = course.whole_turns(self.budget)?.min(self.total - course.step).min(left);
            if self.cancelled || wanted == 0 {
                break;
            }
            let wanted = if shared { course.fitting_a_frame(how).await?.min(wanted) } else { wanted };
            course.fetch(how).await?;
            let before = course.step;
            let taken = course.submit(wanted, false);
            // From here on the look is due, whatever becomes of this future.
            course.validation_due |= course.step - before == left;
            if taken? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Nothing is left to do: the best parameters come back, where they were looked for.
    fn end(&mut self, course: &mut Course) -> Result<()> {
        if course.best.validation.is_some() {
            course.resident.copy(Kept::Best, Kept::Values)?;
        }
        course.finished = true;
        self.stop = Some(if course.waited_long() { Stop::Early } else { Stop::Done });
        Ok(())
    }

    /// Goes through the whole run.
    async fn run(
        mut self,
        trained: &mut dyn Trained,
        mut report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
        how: Wait,
    ) -> Result<Fit> {
        let (mut history, mut last) = (Vec::<Progress>::new(), None);
        while let Some(progress) = self.next(trained, how).await? {
            self.cancelled |= report(&progress).is_break();
            let new_epoch = history.last().is_none_or(|kept| kept.epoch != progress.epoch);
            last = None;
            if new_epoch || progress.validation.is_some() {
                history.push(progress);
            } else {
                last = Some(progress);
            }
        }
        history.extend(last);
        let course = trained.course();
        Ok(Fit {
            history,
            steps: course.step - self.from,
            stop: self.stop.unwrap_or(Stop::Done),
            best_validation: course.best.validation,
            first_step: self.first_step,
            elapsed: self.begun.elapsed(),
        })
    }
}

/// The reports of a run, one by one: see [`Session::fit_iter`].
pub struct Reports<'a> {
    trained: &'a mut dyn Trained,
    run: Fitting,
}

impl std::fmt::Debug for Reports<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reports").field("run", &self.run).finish_non_exhaustive()
    }
}

impl<'a> Reports<'a> {
    /// Of a run on `data`.
    pub(super) fn new(trained: &'a mut impl Loads, data: Arc<dyn Source>) -> Result<Reports<'a>> {
        let begun = Instant::now();
        pollster::block_on(trained.ready(data, Wait::Block, &mut |_| {}))?;
        let run = Fitting::new(trained.course(), begun)?;
        Ok(Reports { trained, run })
    }
}

impl Iterator for Reports<'_> {
    type Item = Result<Progress>;

    fn next(&mut self) -> Option<Result<Progress>> {
        let next = pollster::block_on(self.run.next(self.trained, Wait::Block));
        if next.is_err() {
            self.run.stop = Some(Stop::Cancelled);
        }
        next.transpose()
    }
}

impl Drop for Reports<'_> {
    fn drop(&mut self) {
        // As with a callback that breaks off, what is under way comes to its end. A step that goes bad in it is told by
        // whatever loads data next.
        let course = self.trained.course();
        if let Err(error) = pollster::block_on(course.settle(Wait::Block)) {
            log::warn!("after a run was left: {error}");
            course.unchecked = true;
        }
    }
}

impl Session {
    /// Trains on `data` for all epochs, or what is left of them where the run was broken off or resumed from a
    /// checkpoint. After a run that has come to its end, also an early one, it begins another of as many epochs: from
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
        pollster::block_on(whole(self, data.into(), report, Wait::Block))
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
        whole(self, data.into(), report, Wait::Await).await
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
        Reports::new(self, data.into())
    }
}
