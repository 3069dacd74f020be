//! Taking steps, some at a time, for hosts that do so between their frames.

use std::time::Duration;

#[cfg(doc)]
use super::Stop;
use super::course::Course;
use super::engine::Engine;
use super::spread::Fitting;
use super::{Cancel, Progress, Session, Taken};
use crate::error::{Error, Result};
use crate::gpu::{SHARED, Wait};

impl Session {
    /// Submits up to `steps` steps without waiting and says how many were taken, or why none. For hosts that share the
    /// device with their frames; see [`Session::progress`], and [`Session::step_for`] where a frame's time is known.
    ///
    /// It neither waits nor compiles, so it keeps to the kernels that [`Session::load`] made, looks at no validation
    /// rows and never stops early, nor does the learning rate fall by [`crate::Decay::Plateau`]: that takes
    /// [`Session::fit`], or [`Session::evaluate`] between two calls. Where the data is larger than its budget, the call
    /// that reaches the end of a chunk reads the next one and uploads it.
    ///
    /// # Errors
    /// [`Error::Data`] before [`Session::load`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn step(&mut self, steps: u64) -> Result<Taken> {
        self.course.step(steps)
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
        self.course.step_for(budget)
    }

    /// A handle that cancels the run from any thread: [`Session::fit`] then ends with [`Stop::Cancelled`] at its next
    /// report, at once where it was cancelled before it began; steps by hand are refused until data is loaded again.
    /// Either way the run goes on from there where it is taken up. What is cancelled after a run's last report is the
    /// next one.
    pub fn cancel_handle(&self) -> Cancel {
        self.course.cancel.clone()
    }

    /// The report of the oldest submit, if it has arrived; never waits.
    ///
    /// # Errors
    /// [`Error::Diverged`] as [`Session::fit`].
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        self.course.progress()
    }

    /// The dispatches of one training step, where data is loaded.
    #[doc(hidden)]
    pub fn dispatches_per_step(&self) -> Option<usize> {
        self.course.engine.as_ref().map(Engine::dispatches)
    }
}

impl Course {
    /// See [`Session::step`].
    pub fn step(&mut self, steps: u64) -> Result<Taken> {
        let left = self.left()?;
        let cancelled = self.cancel.is_cancelled();
        let taken = self.submit(if cancelled { 0 } else { steps.min(left) }, false);
        // After these steps the parameters are others than those at the epoch's end.
        self.validation_due &= matches!(taken, Ok(0));
        let taken = taken?;
        if taken == 0 {
            // Nothing was submitted that would have found it out.
            self.resident.gpu.alive()?;
        }
        Ok(if cancelled && left > 0 { Taken::Cancelled } else { Taken::of(taken, steps, left) })
    }

    /// See [`Session::step_for`].
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
            _ => self.resident.gpu.alive().map(|()| Taken::Busy),
        }
    }

    /// Steps that a submit may have on a device that is shared: where one takes longer, its beginning is submitted part
    /// by part, and each is waited for, so that what the host submits meanwhile comes in between.
    pub async fn fitting_a_frame(&mut self, how: Wait) -> Result<u64> {
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
}
