//! A step in two halves: its gradients, and what is done with them. For whoever looks at gradients, changes them, or adds up
//! those of several devices, between the halves.

use super::Session;
use crate::error::{Error, Result};
use crate::graph::Kept;

impl Session {
    /// Submits the forward and backward passes of the next step, and returns whether it did: not where two submits are in
    /// flight ([`Session::progress`] reads their reports) or the run is over. Its gradients can be read and replaced then, and
    /// [`Session::apply`] takes the step with them. Nothing moves on before: called again, it computes the same.
    ///
    /// A step of a run that is spread over two devices, each with a half of every batch:
    ///
    /// ```no_run
    /// # fn step(sessions: &mut [strait::Session; 2]) -> strait::Result<()> {
    /// for session in &mut *sessions {
    ///     while session.progress()?.is_some() {}
    ///     assert!(session.backward()?, "two steps are in flight, or the run is over");
    /// }
    /// let [mut mean, other] = [sessions[0].gradients()?, sessions[1].gradients()?];
    /// for (mean, other) in mean.iter_mut().flatten().zip(other.iter().flatten()) {
    ///     *mean = (*mean + other) / 2.0;
    /// }
    /// for session in &mut *sessions {
    ///     session.set_gradients(&mean)?;
    ///     session.apply()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn backward(&mut self) -> Result<bool> {
        if self.course.left()? == 0 || self.course.engine()?.0.free().is_none() {
            return self.gpu().alive().map(|()| false);
        }
        let now = self.course.step;
        let (engine, resident) = self.course.engine()?;
        engine.backward(resident, now)?;
        Ok(true)
    }

    /// The gradients that [`Session::backward`] left: of the mean objective of the batch, penalties and weight decay included,
    /// before they are clipped. Row-major, in the order of [`crate::Model::tensors`]; waits for them.
    ///
    /// # Errors
    /// [`Error::Data`] where there are none: before [`Session::backward`], and after [`Session::apply`] or any other step;
    /// [`Error::Device`] and [`Error::DeviceLost`].
    pub fn gradients(&mut self) -> Result<Vec<Vec<f32>>> {
        self.check_gradients()?;
        self.course.resident.read_all(Kept::Gradients)
    }

    /// Replaces the gradients that [`Session::backward`] left, row-major, in the order of [`crate::Model::tensors`].
    ///
    /// # Errors
    /// [`Error::Data`] where there are none to replace, or naming the tensor where the number of values is wrong, or where the
    /// square of one is not finite, which clipping and moments need: nothing is replaced then. [`Error::Device`] and
    /// [`Error::DeviceLost`].
    pub fn set_gradients(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.check_gradients()?;
        for (tensor, values) in self.tensors().iter().zip(values) {
            if let Some(bad) = values.iter().find(|v| !(*v * *v).is_finite()) {
                return Err(Error::data(&tensor.name, bad, "numbers whose squares are finite in f32"));
            }
        }
        self.course.resident.write_all(Kept::Gradients, "gradients", values)
    }

    /// Submits the other half of a step: clips the gradients that are there, updates the parameters, and moves on to the next
    /// batch. Its report comes by [`Session::progress`], like that of any step. One whose objective, or whose gradient as
    /// [`Session::backward`] left it, was not finite changes nothing and ends the run, whatever it was replaced by.
    ///
    /// # Errors
    /// [`Error::Data`] where there are no gradients, as [`Session::gradients`]; as [`Session::step`].
    pub fn apply(&mut self) -> Result<()> {
        self.check_gradients()?;
        // After these steps the parameters are others than those at the epoch's end.
        self.course.validation_due = false;
        // The first half has found room for its report.
        match self.course.submit(1, true)? {
            0 => Err(Error::Internal("no room for the report of a step that was begun".into())),
            _ => Ok(()),
        }
    }

    /// Fails where no gradients lie there that belong to the next step.
    fn check_gradients(&mut self) -> Result<()> {
        let now = self.course.step;
        match self.course.engine()?.0.apart {
            Some(of) if of == now => Ok(()),
            _ => Err(Error::data("gradients", "none", "those that Session::backward leaves until a step is taken")),
        }
    }
}
