//! A session's tuning: what it uses for everything it plans, and how another one takes its place.

use std::sync::Arc;

use super::Session;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::Wait;
use crate::plan::{Recording, Target, Tuning};

impl Session {
    /// The tiles that were measured for this session, or given to it.
    pub fn tuning(&self) -> Arc<Tuning> {
        self.model.tuning()
    }

    /// Uses the tiles of a tuning for every product that it names, from now on. Where data is loaded, its step is
    /// planned and compiled anew at once, behind the steps under way; inference is at its next call, the look at
    /// validation rows when data is loaded next. What was attached and samplers stay as they are.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use strait::train::Tuning;
    /// # fn tuned(session: &mut strait::Session, folder: &std::path::Path) -> strait::Result<()> {
    /// if let Some(tuning) = Tuning::load(folder, session.gpu())? {
    ///     session.use_tuning(tuning)?;
    /// }
    /// session.tune(Duration::from_millis(200))?;
    /// session.tuning().save(folder, session.gpu())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Spec`] naming the product and the tile where the adapter cannot use one; [`Error::Diverged`] where one
    /// of the steps under way went bad; [`Error::Limit`], [`Error::Kernel`] or [`Error::Device`] where the step cannot
    /// be made anew. The tuning before then stays.
    pub fn use_tuning(&mut self, tuning: Tuning) -> Result<()> {
        tuning.check(&Target::of(self.gpu(), 1))?;
        pollster::block_on(self.course.settle(Wait::Block))?;
        let before = self.model.tuning();
        self.model.set_tuning(Arc::new(tuning));
        let planned = self.replan();
        if planned.is_err() {
            self.model.set_tuning(before);
        }
        planned
    }

    /// Plans the step anew, where data is loaded.
    fn replan(&mut self) -> Result<()> {
        let Some(engine) = &self.course.engine else { return Ok(()) };
        let graph = self.training_graph(&engine.rows)?;
        let recording = Recording::new(&graph, engine.rows.target_of(&self.model))?;
        let (engine, resident) = self.course.engine()?;
        engine.replan(resident, 0, recording)
    }
}
