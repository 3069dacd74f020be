//! The trainer of graphs of the caller's own: takes the steps of a run, phase after phase.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::cached::Cached;
use super::course::{Ahead, Course};
use super::fit::{Loads, Reading, Reports, Trained, whole};
use super::live::Rows;
use super::progress::Told;
use super::resident::Resident;
use super::ring::Ring;
use super::scaling::{check_labels, check_phase_range, check_range, learn_constants};
use super::table::Table;
use super::{Cancel, Fit, Loading, Phase, Progress, Run, Taken, Training};
#[cfg(doc)]
use super::{Session, Stop};
use crate::data::{Fixed, Source, without_weights};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait, apart};
use crate::graph::{Kept, Tensor};
use crate::inference::{self, Model};
use crate::model::Corruption;
use crate::plan::{Role, Target};

/// A run on the GPU: what a [`crate::Session`] is for a spec, this is for graphs of the caller's own, for several that
/// take turns, and for several phases.
///
/// An autoencoder without biases, and a second player that learns to tell its reconstructions from rows of the data,
/// each with an optimizer of its own:
///
/// ```no_run
/// use strait::graph::{NodeId, Set, Shape, Sink, Tensor, TensorSet};
/// use strait::Draw;
/// use strait::train::{Phase, Run, Step, Trainer, Update};
/// use strait::{Gpu, Result, data};
///
/// let tensor = |name: &str, dims: &[usize]| Tensor { name: name.into(), shape: Shape::fixed(dims) };
/// let autoencoder = TensorSet::new("autoencoder", vec![tensor("encoder", &[64, 8]), tensor("decoder", &[8, 64])]);
/// let critic = TensorSet::new("critic", vec![tensor("weight", &[64, 1])]);
/// let mut run = Run::new(vec![autoencoder, critic], vec![])?;
///
/// // log(1 + exp(x)) of how much the critic takes rows for data, with the sign that its player wants.
/// let told = |g: &mut strait::graph::Graph, rows: NodeId, sign: f64| -> Result<NodeId> {
///     let weight = g.param(2)?;
///     let score = g.matmul(rows, weight, false, false)?;
///     let cost = g.map([score], |[s]| (sign * s).softplus())?;
///     g.batch_mean(cost)
/// };
/// let steps = [("critic", vec![2]), ("autoencoder", vec![0, 1])].map(|(name, trained)| -> Result<Step> {
///     let mut g = run.graph();
///     let x = g.gather(64, true);
///     let (encoder, decoder) = (g.param(0)?, g.param(1)?);
///     let code = g.matmul(x, encoder, false, false)?;
///     let reconstruction = g.matmul(code, decoder, false, false)?;
///     let objective = match name {
///         "critic" => {
///             let (real, made) = (told(&mut g, x, -1.0)?, told(&mut g, reconstruction, 1.0)?);
///             g.map([real, made], |[a, b]| a + b)?
///         }
///         _ => {
///             let error = g.map([reconstruction, x], |[r, x]| (r - x).square())?;
///             let (error, fooled) = (g.batch_mean(error)?, told(&mut g, reconstruction, -1.0)?);
///             g.map([error, fooled], |[a, b]| a + 0.1 * b)?
///         }
///     };
///     g.term("objective", objective);
///     let wanted = trained.iter().map(|&i| g.param(i)).collect::<Result<Vec<_>>>()?;
///     for (i, gradient) in trained.iter().zip(g.gradient(objective, &wanted)?) {
///         g.sink(Sink::Gradient(*i), gradient);
///     }
///     Ok(Step::new(name, g, [Update::adam([Set(usize::from(name == "critic"))], 1e-3)]))
/// });
/// let [critic, autoencoder] = steps;
/// run.phases = vec![Phase { epochs: 5, ..Phase::new("both", [critic?, autoencoder?]) }];
///
/// let mut trainer = Trainer::new(&Gpu::new()?, run)?;
/// let normal = |(i, tensor): (usize, &Tensor)| -> Vec<f32> {
///     let draw = Draw { seed: 0, stream: i as u32, step: 0 };
///     (0..tensor.shape.elements(1)).map(|at| 0.1 * draw.normal(at, 0) as f32).collect()
/// };
/// let initial: Vec<Vec<f32>> = trainer.tensors().iter().enumerate().map(normal).collect();
/// trainer.set_parameters(&initial)?;
/// for report in trainer.fit(data::digits()?)?.history {
///     println!("epoch {}: {:?}", report.epoch, report.terms);
/// }
/// # Ok::<(), strait::Error>(())
/// ```
pub struct Trainer {
    pub(super) run: Run,
    /// That of a run over the tensors of a spec: other handles to the same tensors.
    pub(super) model: Option<Model>,
    /// The current phase, and how far it has come.
    pub(super) phase: usize,
    pub(super) course: Course,
    /// The rows that its steps read.
    loaded: Option<Loaded>,
}

/// Rows that were made ready: of a ring, or else of a source.
type Loaded = (Option<Ring>, Arc<dyn Source>);

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (phase, step) = (self.phase().map(|phase| phase.name.as_str()), self.course.step);
        f.debug_struct("Trainer").field("gpu", self.gpu()).field("phase", &phase).field("step", &step).finish()
    }
}

impl Trained for Trainer {
    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn reading(&self, step: (u64, bool)) -> Result<Reading> {
        Trainer::reading(self, step)
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        if let Some(model) = &self.model {
            model.end_training();
        }
    }
}

impl Loads for Trainer {
    async fn ready(&mut self, data: Arc<dyn Source>, how: Wait, told: Told<'_>) -> Result<()> {
        Trainer::ready(self, data, how, told).await
    }
}

impl Trainer {
    /// A run before its first step. The tensors of a spec start as its layers say, and so do those of players, sets of the caller's own with 0.
    ///
    /// # Errors
    /// As [`Run::check`]; [`Error::Limit`] where the adapter cannot hold its tensors; [`Error::Spec`] where the spec is in half
    /// precision and the adapter is not.
    pub fn new(gpu: &Gpu, run: Run) -> Result<Trainer> {
        run.check()?;
        let tensors = run.tensors()?;
        let scalars = tensors.scalars().clone();
        let resident = inference::Resident::new(gpu, tensors)?;
        let model = run.network.clone().map(|network| Model::over(network, &resident)).transpose()?;
        if run.has_starts() {
            resident.write_all(Kept::Values, "parameters", &run.initial())?;
            // What was written is held twice until something is submitted.
            gpu.submit([])?;
        }
        let resident = Resident::new(resident, scalars)?;
        if let Some(model) = &model {
            model.begin_training()?;
        }
        Ok(Trainer { run, model, phase: 0, course: Course::new("Trainer", resident), loaded: None })
    }

    /// The model of a run over the tensors of a spec: another handle to the one that is trained here. None of a run over sets of
    /// the caller's own alone.
    pub fn model(&self) -> Option<Model> {
        self.model.clone()
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.course.resident.gpu
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The current phase, or the one that the next call of [`Trainer::load`] begins; none where all are over.
    pub fn phase(&self) -> Option<&Phase> {
        self.run.phases.get(self.phase + usize::from(self.is_over()))
    }

    /// Steps of the current phase that were submitted: those of all its graphs.
    pub fn steps(&self) -> u64 {
        if self.is_over() { 0 } else { self.course.step }
    }

    /// The trainable tensors, one set after the other.
    pub fn tensors(&self) -> &[Tensor] {
        self.course.resident.params()
    }

    /// Reads the trainable tensors back, row-major, in the order of [`Trainer::tensors`].
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        self.course.resident.read_all(Kept::Values)
    }

    /// Replaces the trainable tensors, row-major, in the order of [`Trainer::tensors`].
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.course.set_parameters(values)?;
        self.forget_cached(false)
    }

    /// Forgets rows that were computed with other tensors, or checked with another scaling: they are to be loaded again.
    fn forget_cached(&mut self, scaled: bool) -> Result<()> {
        let cached = self.run.phases.get(self.phase).is_some_and(|phase| phase.cached.is_some());
        if (cached || scaled) && self.course.engine.is_some() {
            pollster::block_on(self.course.settle(Wait::Block))?;
            (self.course.finished, self.course.engine, self.loaded) = (self.is_over(), None, None);
        }
        Ok(())
    }

    /// Replaces the frozen tensors, row-major, in the order that the run names them. A step that was begun
    /// ([`Taken::Part`]) begins anew.
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite.
    pub fn set_constants(&mut self, values: &[Vec<f32>]) -> Result<()> {
        let resident = &self.course.resident;
        let tensors = &resident.tensors.constants;
        if values.len() != tensors.len() {
            return Err(Error::data("constants", values.len(), format!("{} tensors", tensors.len())));
        }
        inference::finite(tensors, values)?;
        let mut values = values.to_vec();
        if self.model.is_some() {
            inference::usable_scales(tensors, &mut values)
                .map_err(|(name, bad)| Error::data(name, bad, inference::SCALES))?;
        }
        self.course.abandon()?;
        let Some(model) = self.model.clone() else {
            self.course.resident.set_constants(&values)?;
            return self.forget_cached(false);
        };
        model.set_constants(&values)?;
        self.forget_cached(true)
    }

    /// Gives the model's tensors the values that those of the same names have in another model, which may be of another spec:
    /// layers that were trained for something else. The others stay as they are. What scales the input goes with them where both
    /// specs scale it, also where rows were loaded before (they are then to be loaded again), and so do the ends of its values
    /// where both corrupt by them.
    ///
    /// # Errors
    /// [`Error::Spec`] where the run is not over the tensors of a spec; [`Error::Data`] where no tensor has a name that is there,
    /// or one has another shape, or where the other model has the scaling but not the ends of values that this one's corruption
    /// needs; [`Error::Device`] or [`Error::DeviceLost`]. Nothing is changed then.
    pub fn start_from(&mut self, other: &Model) -> Result<()> {
        let Some(model) = &self.model else {
            return Err(Error::spec("run", "tensors of no spec", "a run over those of one: Run::of"));
        };
        let (mut found, own) = (0, model.tensors());
        let mut values = self.course.resident.read_all(Kept::Values)?;
        for (tensor, values) in own.iter().zip(&mut values) {
            let Some(there) = other.tensors().iter().find(|there| there.name == tensor.name) else { continue };
            if there.shape != tensor.shape {
                return Err(Error::data(
                    &tensor.name,
                    format!("shape {}", there.shape),
                    format!("shape {}", tensor.shape),
                ));
            }
            *values = other.parameter(&tensor.name)?;
            found += 1;
        }
        if found == 0 {
            let names = |model: &Model| model.tensors().iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::data("parameters", names(other), format!("one of {}", names(model))));
        }
        let constants = frozen_from(model, other)?;
        let model = model.clone();
        self.course.set_parameters(&values)?;
        if let Some(constants) = &constants {
            model.set_constants(constants)?;
        }
        self.forget_cached(constants.is_some())
    }

    /// Makes rows ready for the current phase and compiles its steps; after a phase that is over it begins the next
    /// one, whose steps are counted from 0, whose moments are 0 and whose averages begin anew. Steps that are under way
    /// come to their end first. Where it fails, the rows that were loaded before are still there.
    ///
    /// # Errors
    /// [`Error::Spec`] where all phases are over; [`Error::Data`] where the rows are none, of another width than the
    /// graphs gather, outside [`Phase::range`], or, in the middle of a phase, not as many as it began with; [`Error::Limit`] where the device
    /// cannot hold them; [`Error::Diverged`] where one of the steps under way went bad. It is told once: loading again
    /// goes on from there.
    pub fn load(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<()> {
        self.load_with(data, |_| {})
    }

    /// As [`Trainer::load`], with a callback that is told how far it has come.
    ///
    /// # Errors
    /// As [`Trainer::load`].
    pub fn load_with(&mut self, data: impl Into<Arc<dyn Source>>, mut told: impl FnMut(Loading) + Send) -> Result<()> {
        self.course.cancel.clear();
        pollster::block_on(self.ready(data.into(), Wait::Block, &mut told))
    }

    /// As [`Trainer::load_with`], giving the thread back in between: see [`Session::load_async`].
    ///
    /// # Errors
    /// As [`Trainer::load`].
    pub async fn load_async(
        &mut self,
        data: impl Into<Arc<dyn Source>>,
        mut told: impl FnMut(Loading) + Send,
    ) -> Result<()> {
        self.course.cancel.clear();
        self.ready(data.into(), Wait::Await, &mut told).await
    }

    /// [`Trainer::load`], blocking or not.
    async fn ready(&mut self, source: Arc<dyn Source>, how: Wait, told: Told<'_>) -> Result<()> {
        let ring = source.as_any().and_then(|source| source.downcast_ref::<Ring>()).cloned();
        ring.iter().try_for_each(|ring| ring.check_on(self.gpu()))?;
        let source: Arc<dyn Source> = Arc::new(Fixed::new(source));
        self.course.settle(how).await?;
        let over = self.is_over();
        let number = self.phase + usize::from(over);
        let Some(phase) = self.run.phases.get(number) else {
            let found = format!("{:?} is over", self.run.phases.last().map_or("", |phase| &phase.name));
            return Err(Error::spec("phases", found, "another phase after it"));
        };
        if phase.unweighted || phase.rows_of.is_some() {
            without_weights(&*source)?;
        }
        let columns = phase.columns();
        if source.columns() != columns {
            let allowed = format!("{columns}, what the graphs of the phase {:?} gather", phase.name);
            return Err(Error::data(format!("{}: columns", source.name()), source.columns(), allowed));
        }
        let (columns, shuffle) = phase.reads().next().unwrap_or((0, false));
        if let Some(ring) = &ring {
            if phase.cached.is_some() {
                let found = format!("pushed rows in the phase {:?}", phase.name);
                return Err(Error::spec("cached", found, "rows that stay as they are"));
            }
            if shuffle != ring.is_shuffled() {
                let found = format!("{ring:?} where the phase {:?} gathers shuffled: {shuffle}", phase.name);
                return Err(Error::spec("shuffled", found, "Ring::newest gathered in order, others shuffled"));
            }
        }
        let rows = ring.as_ref().map_or(source.rows(), Ring::capacity);
        if source.rows() == 0 {
            return Err(Error::data(format!("{}: rows", source.name()), 0, "1 or more"));
        }
        let step = if over { 0 } else { self.course.step };
        if let Some(begun) = self.course.rows.filter(|&begun| step > 0 && begun != rows as u64) {
            let allowed = format!("{begun}, with which the phase {:?} began", phase.name);
            return Err(Error::data(format!("{}: rows", source.name()), rows, allowed));
        }
        let unknown = self.model.as_ref().filter(|model| !model.is_known()).map(Model::network);
        // What is looked at of a ring is what is there of it now.
        let looks = phase.range.is_some() || phase.rows_of.is_some() || unknown.is_some();
        let looked: Arc<dyn Source> = match ring.clone().filter(|_| looks) {
            Some(ring) => Arc::new(apart(how, &mut |()| {}, move |_| ring.copy()).await?),
            None => source.clone(),
        };
        if let Some(range) = phase.range {
            check_phase_range(&*looked, &phase.name, range, how, told).await?;
        }
        let learned = match unknown {
            Some(network) if looked.columns() < network.spec().input => {
                let (found, allowed) = ("unknown", "one that an earlier phase or another model learned from rows");
                return Err(Error::data("input scaling", found, allowed));
            }
            Some(network) => Some(learn_constants(network, &*looked, how, told).await?),
            None => None,
        };
        if let Some(network) = &phase.rows_of {
            if looked.columns() >= network.data_columns() {
                check_labels(network, &*looked, how, told).await?;
            }
            if network.spec().loss.range().0.is_finite() {
                let constants = match &learned {
                    Some(learned) => learned.clone(),
                    None => {
                        let resident = self.course.resident.clone();
                        apart(how, &mut |()| {}, move |_| resident.constants()).await?
                    }
                };
                check_range(network, &*looked, &constants, how, told).await?;
            }
        }
        if let Some(learned) = &learned {
            // The model knows them when all is ready; until then another load learns them anew.
            self.course.resident.set_constants(learned)?;
        }
        let source = match &phase.cached {
            Some(graph) => {
                let (resident, graph) = (self.course.resident.clone(), graph.clone());
                let make = move |_: &dyn Fn(())| Cached::new(&resident, &graph, columns, source);
                Arc::new(apart(how, &mut |()| {}, make).await?)
            }
            None => source,
        };
        // Its memory is needed. What it knew of the phase is whether that is over. Where the other rows cannot be made ready,
        // those that were there are once more.
        let loaded = self.loaded.take();
        let loaded = self.course.engine.take().and(loaded);
        self.course.finished = over;
        let wanted = (ring, source);
        if let Err(error) = self.begin(number, step, &wanted, how, told).await {
            if let Some(loaded) = loaded {
                match self.begin(self.phase, self.course.step, &loaded, how, &mut |_| {}).await {
                    Ok(()) => self.loaded = Some(loaded),
                    Err(again) => log::warn!("the rows that were loaded before could not be made ready again: {again}"),
                }
            }
            return Err(error);
        }
        self.loaded = Some(wanted);
        let course = &mut self.course;
        (course.rows, course.finished) = (Some(rows as u64), false);
        if step == 0 {
            course.snapshot_at = 0;
        }
        self.phase = number;
        self.model.iter().for_each(Model::know_constants);
        Ok(())
    }

    /// Makes rows ready for a phase of which so many steps were taken.
    async fn begin(&mut self, number: usize, now: u64, loaded: &Loaded, how: Wait, told: Told<'_>) -> Result<()> {
        let (phase, (ring, source)) = (&self.run.phases[number], loaded);
        let (&Phase { batch, epochs, drop_last, .. }, data_budget) = (phase, self.run.data_budget);
        let (seed, shuffle) = (self.run.seed.wrapping_add(number as u64), phase.reads().any(|(_, shuffled)| shuffled));
        let order = Training { batch, epochs, drop_last, shuffle, seed, data_budget, ..Training::default() };
        let mut rows = Rows::of(self.gpu(), ring.as_ref(), source.clone(), &order, 0)?;
        let (course, steps) = (&mut self.course, phase.steps.clone());
        let total = rows.steps_per_epoch().saturating_mul(epochs);
        let (table, scalars) = (course.resident.buffer(Role::Table)?, course.resident.tensors.scalars());
        let table = Table::new(table, scalars, &steps, self.run.ramps().to_vec(), [0, total])?;
        rows.seek(now / table.turn.len() as u64);
        let target = rows.target(Target::of(&course.resident.gpu, rows.batch()));
        course.begin(Ahead { rows, steps, table, target, validation: None, now }, how, told).await
    }

    /// Submits up to so many steps of the current phase without waiting and says how many were taken, or why none. It
    /// may end in the middle of a turn. It compiles nothing, so it keeps to the kernels that [`Trainer::load`] made;
    /// [`Trainer::fit`] changes to faster ones where that pays.
    ///
    /// # Errors
    /// [`Error::Data`] before [`Trainer::load`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn step(&mut self, steps: u64) -> Result<Taken> {
        self.course.step(steps)
    }

    /// Submits as many steps of the current phase as keep the device busy for about `budget`, as [`Session::step_for`].
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`Error::Spec`] where the budget is zero.
    pub fn step_for(&mut self, budget: Duration) -> Result<Taken> {
        self.course.step_for(budget)
    }

    /// The report of the oldest submit, if it has arrived; never waits. Terms are called by their step and their own
    /// name, each the mean over the times that its step was taken since the last report; the loss is their sum.
    /// `total_steps` is that of the phase.
    ///
    /// # Errors
    /// [`Error::Diverged`] where a term or a gradient is not finite: the parameters are then those before the bad step,
    /// and the run goes on there once data is loaded. Or where an update is not: what was not finite of it was not
    /// written, the rest was, and the run goes on after that step.
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        self.course.progress()
    }

    /// A handle that cancels the phase from any thread, as [`Session::cancel_handle`].
    pub fn cancel_handle(&self) -> Cancel {
        self.course.cancel.clone()
    }

    /// Takes what is left of the current phase, or all of the next one where that is over. Reports are of whole turns; one
    /// that was begun when the phase is cancelled is not told.
    ///
    /// # Errors
    /// As [`Trainer::load`] and [`Trainer::progress`].
    pub fn fit(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Fit> {
        self.fit_with(data, |_| ControlFlow::Continue(()))
    }

    /// As [`Trainer::fit`], with a callback at every report that may break off the phase: what is under way then still
    /// comes to its end and is reported.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn fit_with(
        &mut self,
        data: impl Into<Arc<dyn Source>>,
        report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<Fit> {
        pollster::block_on(whole(self, data.into(), report, Wait::Block))
    }

    /// As [`Trainer::fit_with`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub async fn fit_async(
        &mut self,
        data: impl Into<Arc<dyn Source>>,
        report: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<Fit> {
        whole(self, data.into(), report, Wait::Await).await
    }

    /// As [`Trainer::fit`], report by report. Leaving the loop breaks off the phase; what is under way then still comes
    /// to its end.
    ///
    /// # Errors
    /// As [`Trainer::load`]; what goes wrong later is the iterator's last item.
    pub fn fit_iter(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Reports<'_>> {
        Reports::new(self, data.into())
    }

    /// Whether all steps of the phase were taken and reported.
    pub(super) fn is_over(&self) -> bool {
        let course = &self.course;
        let ended = |total: u64| course.in_flight() == 0 && course.step >= total;
        course.engine.as_ref().map_or(course.finished, |engine| ended(engine.table.total_steps()))
    }
}

/// The frozen tensors of a model with those of the same names that another one knows, where that changes any.
fn frozen_from(model: &Model, other: &Model) -> Result<Option<Vec<Vec<f32>>>> {
    let (own, there) = (model.network().constants(), other.network().constants());
    let known = if other.is_known() { other.resident().constants()? } else { vec![] };
    let find = |name: &str| there.iter().zip(&known).find(|(other, _)| other.name == name).map(|(_, values)| values);
    // All of them are of one scaling, or of none.
    let scales = |tensors: &[Tensor]| tensors.iter().any(|tensor| tensor.name == "input.scale");
    let mut moved = own.iter().filter(|tensor| tensor.name != "input.keep");
    if known.is_empty() || scales(own) != scales(there) || !moved.any(|tensor| find(&tensor.name).is_some()) {
        return Ok(None);
    }
    let each = own.iter().map(|tensor| match (tensor.name.as_str(), &model.spec().corruption) {
        // Which features are missing is each spec's own.
        ("input.keep", Corruption::Missing { keep }) => Ok(keep.iter().map(|&k| f32::from(u8::from(k))).collect()),
        (name, _) => match find(name) {
            Some(values) => tensor.check_count(values.len()).map(|()| values.clone()),
            None => Err(Error::data(name, "unknown", "a model that knows it, too: of the same corruption")),
        },
    });
    each.collect::<Result<_>>().map(Some)
}
