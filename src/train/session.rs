//! The session: a model and its training.

use std::mem::discriminant;
use std::ops::Deref;
use std::sync::Arc;

use super::course::{Ahead, Course};
use super::feed::{Part, chunk_rows, of_rows};
use super::fit::{Loads, Reading, Trained};
use super::live::Rows;
use super::looked::Looked;
use super::numbers::{Reads, beside};
use super::phase::Step;
use super::progress::{Best, Plateau, Told};
use super::resident::Resident;
use super::ring::Ring;
use super::scaling::{check_labels, check_range, check_weights, learn_constants};
use super::table::Table;

use super::{EarlyStopping, Loading, Training};
use crate::data::{self, Fixed, Unweighted};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait, apart};
use crate::graph::{Graph, Kept};
use crate::inference::Model;
use crate::model::{Network, Purpose, Spec};
use crate::plan::Role;

/// A model that is trained. Everything it learns stays on the GPU; the host sends commands and reads reports.
///
/// It is used like the [`Model`] that it has, which [`Session::model`] gives away: to other threads, and to go on with
/// when the session and all it keeps for training are dropped.
///
/// ```no_run
/// use strait::{data, Activation, Gpu, Session, Spec, Training};
///
/// let (train, test) = data::digits()?.split_at(1500)?;
/// let spec = Spec::symmetric(&[64, 256, 8], Activation::Elu);
/// let mut session = Session::new(&Gpu::new()?, &spec, Training { epochs: 20, ..Training::default() })?;
/// session.fit(&train)?;
/// let codes = session.encode(test.values())?;
/// assert_eq!(codes.len(), test.rows() * 8);
/// # Ok::<(), strait::Error>(())
/// ```
pub struct Session {
    pub(super) model: Model,
    /// The model's network, with the scalars of its training.
    pub(super) network: Network,
    pub(super) training: Training,
    pub(super) course: Course,
    /// Rows to look at after each epoch, where they are the caller's.
    pub(super) validation: Option<Source>,
    /// What its steps read.
    loaded: Option<Loaded>,
}

/// Rows that were made ready: of a ring or of a source, and those that are looked at.
struct Loaded {
    ring: Option<Ring>,
    train: Source,
    validation: Option<Source>,
}

/// Rows from anywhere.
type Source = Arc<dyn data::Source>;

impl Deref for Session {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.model.end_training();
    }
}

impl Trained for Session {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn reading(&self, step: (u64, bool)) -> Result<Reading> {
        Session::reading(self, step)
    }
}

impl Loads for Session {
    async fn ready(&mut self, data: Source, how: Wait, told: Told<'_>) -> Result<()> {
        Session::ready(self, data, how, told).await
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("model", &self.model).field("step", &self.course.step).finish()
    }
}

impl Session {
    /// A model with fresh weights, a function of spec and seed.
    ///
    /// # Errors
    /// As [`Spec::check`] and [`Training::check`]; [`Error::Limit`] where the adapter cannot hold the model.
    pub fn new(gpu: &Gpu, spec: &Spec, training: Training) -> Result<Session> {
        training.check()?;
        let model = Model::blank(gpu, Network::new(spec)?)?;
        for i in 0..model.tensors().len() {
            model.resident().write(Kept::Values, i, &model.network().initial_of(i, training.seed))?;
        }
        Session::of(&model, training)
    }

    /// Trains a model from where it is: one that was opened, or that another session left.
    ///
    /// ```no_run
    /// # use strait::{Gpu, Model, Session, Training, data};
    /// let model = Model::open(&Gpu::new()?, "digits.safetensors")?;
    /// let mut session = Session::of(&model, Training { learning_rate: 1e-4, ..Training::default() })?;
    /// session.fit(data::digits()?)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Training::check`]; [`Error::Spec`] where another session trains it.
    pub fn of(model: &Model, training: Training) -> Result<Session> {
        training.check()?;
        let scalars = beside(model.network().scalars(), [Reads::new(0, training.ramps)])?;
        let resident = Resident::new(model.resident().clone(), scalars.clone())?;
        model.begin_training()?;
        Ok(Session {
            model: model.clone(),
            network: model.network().clone().with_scalars(scalars),
            training,
            course: Course::new("Session", resident),
            validation: None,
            loaded: None,
        })
    }

    /// The model: another handle to the one that is trained here.
    pub fn model(&self) -> Model {
        self.model.clone()
    }

    /// The training options.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// Trains with other options from the next [`Session::load`] or [`Session::fit`] on: after a checkpoint was
    /// resumed, or between two runs. Steps that are under way come to their end first. Moments stay, so the optimizer
    /// is of the same kind; so does the average, unless its decay is another: then it begins anew. What a plateau has made of
    /// the learning rate stays until another run begins ([`crate::Decay::Plateau`]). A run that was broken off goes on, unless the
    /// order of its rows is another (`batch`, `shuffle`, `drop_last`, `seed`, the rows held out, a `data_budget` with which
    /// fewer or more of them lie on the GPU at a time): then another run begins.
    ///
    /// ```no_run
    /// # use strait::{Gpu, Session, Training, data};
    /// let mut session = Session::resume(&Gpu::new()?, "digits.checkpoint")?;
    /// let slower = Training { learning_rate: 1e-4, epochs: 100, ..*session.training() };
    /// session.set_training(slower)?;
    /// session.fit(data::digits()?)?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Training::check`]; [`Error::Spec`] where the optimizer is of another kind; [`Error::Diverged`] where one of
    /// the steps under way went bad. The options before then stay.
    pub fn set_training(&mut self, training: Training) -> Result<()> {
        training.check()?;
        let before = self.training;
        if discriminant(&before.optimizer) != discriminant(&training.optimizer) {
            let found = format!("{:?}", training.optimizer);
            let allowed = format!(
                "one of the kind that the moments are of, {:?}; Session::of begins without moments",
                before.optimizer
            );
            return Err(Error::spec("optimizer", found, allowed));
        }
        let scalars = beside(self.model.network().scalars(), [Reads::new(0, training.ramps)])?;
        let course = &mut self.course;
        pollster::block_on(course.settle(Wait::Block))?;
        let mut resident = course.resident.clone();
        if scalars != *self.network.scalars() {
            resident.set_scalars(scalars.clone())?;
        }
        // A checkpoint has them from now on.
        let (first, second) = training.optimizer.moments();
        for (kept, _) in [(Kept::First(0), first), (Kept::Second(0), second)].into_iter().filter(|(_, has)| *has) {
            resident.keep_all(kept)?;
        }
        course.resident = resident;
        self.network = self.network.clone().with_scalars(scalars);
        let held = |training: &Training| training.early_stopping.map(|early| early.validation);
        let order = |t: &Training| (t.batch, t.shuffle, t.drop_last, t.seed, held(t));
        course.finished |= course.step > course.start && order(&before) != order(&training);
        (course.engine, self.training) = (None, training);
        Ok(())
    }

    /// Steps submitted so far.
    pub fn steps(&self) -> u64 {
        self.course.step
    }

    /// Replaces the trainable tensors, row-major, in the order of [`crate::Model::tensors`]. What early stopping and
    /// [`crate::Decay::Plateau`] have seen was of other parameters and is forgotten; the learning rate stays as it is.
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.course.set_parameters(values)
    }

    /// Makes data ready to be trained on: learns the scaling where it is not known yet, holds out validation rows,
    /// and compiles the training step. [`Session::fit`] does this by itself; call it before [`Session::step`]. Steps
    /// that are under way come to their end first. Where it fails, the rows that were loaded before are still there. Behind a run
    /// that has come to its end, another begins. So it does behind a run that was broken off over another number of rows, since its
    /// steps and epochs were those of other data, or with more or fewer of them on the GPU at a time, since their order was
    /// another; a warning in the log says so.
    ///
    /// # Errors
    /// [`Error::Data`] where the data, or a row of it that is held out, does not fit the model, or where a run that was read from
    /// a file looked at rows that it was not given ([`Session::set_validation`]); [`Error::Limit`] where the device cannot hold
    /// the data; [`Error::Diverged`] where one of the steps under way went bad. It is told once: loading again goes on from
    /// there.
    pub fn load(&mut self, data: impl Into<Arc<dyn data::Source>>) -> Result<()> {
        self.load_with(data, |_| {})
    }

    /// As [`Session::load`], with a callback that is told how far it has come.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn load_with(
        &mut self,
        data: impl Into<Arc<dyn data::Source>>,
        mut told: impl FnMut(Loading) + Send,
    ) -> Result<()> {
        self.course.cancel.clear();
        pollster::block_on(self.ready(data.into(), Wait::Block, &mut told))
    }

    /// As [`Session::load_with`], giving the thread back: rows are read and uploaded some at a time, and kernels compile
    /// on a thread of their own. It may be dropped at any point and begun again.
    ///
    /// ```no_run
    /// # async fn start(session: &mut strait::Session) -> strait::Result<()> {
    /// session.load_async(strait::data::digits()?, |loading| println!("{loading:?}")).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::load`].
    pub async fn load_async(
        &mut self,
        data: impl Into<Arc<dyn data::Source>>,
        mut told: impl FnMut(Loading) + Send,
    ) -> Result<()> {
        self.course.cancel.clear();
        self.ready(data.into(), Wait::Await, &mut told).await
    }

    /// [`Session::load`], blocking or not.
    async fn ready(&mut self, source: Source, how: Wait, told: Told<'_>) -> Result<()> {
        let ring = source.as_any().and_then(|source| source.downcast_ref::<Ring>()).cloned();
        ring.iter().try_for_each(|ring| ring.check_on(self.gpu()))?;
        let source: Source = Arc::new(Fixed::new(source));
        let weighted = source.is_weighted();
        self.check_shape(&*source, weighted)?;
        // A ring changes meanwhile: what is looked at is what is there of it now.
        let source: Source = match &ring {
            Some(ring) => {
                let ring = ring.clone();
                Arc::new(apart(how, &mut |()| {}, move |_| ring.copy()).await?)
            }
            None => source,
        };
        let (train, validation) = self.hold_out(source.clone(), ring.is_some())?;
        if weighted {
            check_weights(&*train, ring.is_some(), how, told).await?;
        }
        // What is read here and below waits for all that is under way.
        let bad = self.course.bad(how).await?;
        let constants = match self.is_known() {
            true => self.course.resident.constants()?,
            false => learn_constants(&self.network, &*train, how, told).await?,
        };
        check_labels(&self.network, &*source, how, told).await?;
        let looked = match &validation {
            Some(rows) => {
                let looked = Looked::at(&self.network, &**rows, how, told).await;
                Some(looked.map_err(|error| of_rows(self.gpu(), error))?)
            }
            None => None,
        };
        // Rows that are held out may lie outside what the loss is made for, and cost more for it.
        check_range(&self.network, &*train, &constants, how, told).await?;
        self.course.settle_after(bad, how).await?;
        for penalty in &self.spec().penalties {
            if let Some(method) = penalty.method(self.spec()) {
                log::info!("the {} penalty is computed by {method:?}", penalty.name());
            }
        }
        let course = &self.course;
        let rows = ring.as_ref().map_or(train.rows(), Ring::capacity) as u64;
        let begun = course.step > course.start && !course.finished;
        let other = course.rows.filter(|&of| begun && of != rows);
        // Rows that lay on the GPU at a time come in an order of their own.
        let parts = |data_budget: u64| {
            let training = Training { data_budget, ..self.training };
            chunk_rows(self.gpu(), &training, train.rows(), train.columns())
        };
        let now_parts = parts(self.training.data_budget);
        let before = course.data_budget.filter(|_| begun && other.is_none() && ring.is_none()).map(parts);
        let other_parts = before.filter(|&before| before != now_parts);
        let anew = course.finished || other.is_some() || other_parts.is_some();
        let (start, done) = (if anew { course.step } else { course.start }, course.step.saturating_sub(course.start));
        if let Some(of) = other {
            log::warn!("{done} steps into a run over {of} rows, {rows} rows were loaded: another run begins");
        }
        if let Some(of) = other_parts {
            log::warn!("{done} steps into a run of {of} rows at a time, there are {now_parts}: another run begins");
        }
        // Its memory is needed. Where the other rows cannot be made ready, those that were there are once more.
        let loaded = self.loaded.take();
        let loaded = self.course.engine.take().and(loaded);
        let wanted = Loaded { ring, train, validation };
        if let Err(error) = self.begin(&wanted, start, how, told).await {
            if let Some(loaded) = loaded {
                match self.begin(&loaded, self.course.start, how, &mut |_| {}).await {
                    Ok(()) => self.loaded = Some(loaded),
                    Err(again) => log::warn!("the rows that were loaded before could not be made ready again: {again}"),
                }
            }
            return Err(error);
        }
        self.loaded = Some(wanted);
        let course = &mut self.course;
        if anew {
            (course.start, course.best, course.finished, course.validation_due) =
                (start, Best::default(), false, false);
        }
        if looked.is_some() {
            let own = looked.filter(|_| self.validation.is_some());
            if course.looked != own {
                course.forget_looks();
            }
            course.looked = own;
        }
        (course.rows, course.early) = (Some(rows), self.training.early_stopping);
        course.data_budget = Some(self.training.data_budget);
        course.decay = self.training.schedule.decay;
        if anew || !course.decay.looks() {
            course.plateau = Plateau::default();
        }
        course.engine()?.0.table.factor = course.plateau.factor;
        if !self.model.is_known() {
            self.model.set_constants(&constants)?;
        }
        if self.course.validation_due {
            // Of the epoch that had just ended when the run was broken off.
            self.course.validate(how).await?;
        }
        Ok(())
    }

    /// Makes rows ready for a run that started with a step.
    async fn begin(&mut self, loaded: &Loaded, start: u64, how: Wait, told: Told<'_>) -> Result<()> {
        let Loaded { ring, train, validation } = loaded;
        let course = &self.course;
        let mut rows = Rows::of(self.gpu(), ring.as_ref(), train.clone(), &self.training, start)?;
        rows.seek(course.step);
        let steps = vec![self.training_step(&rows)?];
        let epochs = rows.steps_per_epoch().saturating_mul(self.training.epochs);
        let ramps = self.network.ramps().iter().map(|(_, ramp, to)| (*ramp, *to)).collect();
        let (table, scalars) = (course.resident.buffer(Role::Table)?, self.network.scalars());
        let table = Table::new(table, scalars, &steps, ramps, [start, epochs.saturating_add(start)])?;
        let target = rows.target_of(&self.model);
        if self.training.early_stopping.is_some() {
            self.course.resident.keep_all(Kept::Best)?;
        }
        let validation = validation.as_ref().map(|rows| (self.ground(), rows.clone()));
        let now = self.course.step;
        self.course.begin(Ahead { rows, steps, table, target, validation, now }, how, told).await?;
        self.course.engine()?.0.table.factor = self.course.plateau.factor;
        Ok(())
    }

    /// Its training as a step: the graph of its objective, and the update of all its sets.
    fn training_step(&self, rows: &Rows) -> Result<Step> {
        let graph = self.training_graph(rows)?;
        let update = self.training.update(graph.sets());
        Ok(Step::new("", graph, [update]))
    }

    /// The graph of its objective for such rows.
    pub(super) fn training_graph(&self, rows: &Rows) -> Result<Graph> {
        let shuffled = rows.is_shuffled(self.training.shuffle);
        match rows.are_weighted() {
            false => self.network.graph(Purpose::Train, shuffled),
            true => self.network.clone().with_row_weights().graph(Purpose::Train, shuffled),
        }
    }

    /// Fails where there are no rows, or none that fit the model; `weighted` says that they may end with their weights.
    pub(super) fn check_shape(&self, source: &dyn data::Source, weighted: bool) -> Result<()> {
        if !weighted {
            data::without_weights(source)?;
        }
        let wanted = self.network.data_columns() + usize::from(weighted);
        if source.columns() != wanted {
            let classes = self.network.data_columns() - self.spec().input;
            let beside =
                if classes > 0 { format!(" and its {classes} classes (Data::labelled)") } else { String::new() };
            let weight = if weighted { " and the weight of a row" } else { "" };
            let allowed = format!("{wanted}, the width of the model's input{beside}{weight}");
            return Err(Error::data(format!("{}: columns", source.name()), source.columns(), allowed));
        }
        if source.rows() == 0 {
            return Err(Error::data(format!("{}: rows", source.name()), 0, "1 or more"));
        }
        Ok(())
    }

    /// Looks at these rows at the end of every epoch, instead of some that are held out of the training rows, from the
    /// next [`Session::load`] or [`Session::fit`] on; where it is `None`, some are held out again.
    /// That there is a look at all, and how long training goes on without a better one, is up to
    /// [`Training::early_stopping`]. What early stopping and [`crate::Decay::Plateau`] have seen of the same rows stays; what
    /// they saw of others is forgotten, and the learning rate stays as it is.
    ///
    /// Files and snapshots do not keep the rows but their number and a checksum: a run that goes on from one asks for them
    /// before it takes data, and goes on to the bit with the same.
    ///
    /// ```no_run
    /// # fn show(session: &mut strait::Session, train: &strait::Data, test: &strait::Data) -> strait::Result<()> {
    /// session.set_validation(Some(test.into()));
    /// session.fit(train)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_validation(&mut self, rows: Option<Arc<dyn data::Source>>) {
        self.validation = rows.map(|rows| Arc::new(Fixed::new(rows)) as Source);
        if self.validation.is_none() && self.course.looked.take().is_some() {
            self.course.forget_looks();
        }
    }

    /// Training rows, and validation rows where some are held out, or where there are some of the caller's.
    fn hold_out(&self, source: Source, pushed: bool) -> Result<(Source, Option<Source>)> {
        let Some(EarlyStopping { validation, .. }) = self.training.early_stopping else { return Ok((source, None)) };
        if let Some(own) = &self.validation {
            self.check_shape(&**own, false)?;
            return Ok((source, Some(own.clone())));
        }
        if let Some(Looked { rows, .. }) = self.course.looked {
            let allowed = format!(
                "the {rows} rows of its own that the run looks at, which no file holds: Session::set_validation, with others \
                 or with None to look at others from here on"
            );
            return Err(Error::data("validation rows", "none", allowed));
        }
        if pushed {
            let allowed = "validation rows of one's own where rows are pushed: Session::set_validation";
            return Err(Error::spec("early_stopping", "rows to hold out", allowed));
        }
        let rows = source.rows();
        let held = ((rows as f64 * validation).round() as usize).max(1);
        if held >= rows {
            let name = format!("{}: rows", source.name());
            return Err(Error::data(name, rows, "enough to hold some out for validation"));
        }
        let part = |first, rows| Arc::new(Part { source: source.clone(), first, rows }) as Source;
        let last = part(rows - held, held);
        // What is looked at are means over rows, as those of rows that are the caller's.
        let last = if source.is_weighted() { Arc::new(Unweighted(last)) } else { last };
        Ok((part(0, rows - held), Some(last)))
    }
}
