//! The trainer of graphs of the caller's own: takes the steps of a run, phase after phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cached::Cached;
use super::divergence::Bad;
use super::engine::{Engine, Steps};
use super::feed::Feed;
use super::resident::Resident;
use super::run::{Phase, Run, turn};
use super::table::Table;
use super::{Fit, Progress, Stop, Taken, Training};
use crate::data::{Fixed, Source};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Wait};
use crate::graph::{Kept, Tensor};
use crate::inference;
use crate::plan::{Role, Target};

/// A run on the GPU: what a [`crate::Session`] is for a spec, this is for graphs of the caller's own, for several that
/// take turns, and for several phases.
///
/// An autoencoder without biases, and a second player that learns to tell its reconstructions from rows of the data,
/// each with an optimizer of its own:
///
/// ```no_run
/// use strait::graph::{NodeId, Set, Shape, Sink, Tensor, TensorSet};
/// use strait::random::Draw;
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
    run: Run,
    resident: Resident,
    /// The current phase, and the steps of it that were submitted.
    phase: usize,
    step: u64,
    /// The rows that the phase began with.
    rows: Option<usize>,
    /// Whether steps were submitted of which no report will tell how they ended.
    unread: bool,
    engine: Option<Engine>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = self.phase().map(|phase| phase.name.as_str());
        f.debug_struct("Trainer").field("gpu", self.gpu()).field("phase", &phase).field("step", &self.step).finish()
    }
}

impl Trainer {
    /// A run before its first step. All tensors are 0.
    ///
    /// # Errors
    /// As [`Run::check`]; [`Error::Limit`] where the adapter cannot hold its tensors.
    pub fn new(gpu: &Gpu, run: Run) -> Result<Trainer> {
        run.check()?;
        let tensors = run.tensors()?;
        let scalars = tensors.scalars().clone();
        let resident = Resident::new(inference::Resident::new(gpu, tensors)?, scalars)?;
        Ok(Trainer { run, resident, phase: 0, step: 0, rows: None, unread: false, engine: None })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.resident.gpu
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The current phase, or the one that the next call of [`Trainer::load`] begins; none where all are over.
    pub fn phase(&self) -> Option<&Phase> {
        self.run.phases.get(self.phase + usize::from(self.over()))
    }

    /// Steps of the current phase that were submitted: those of all its graphs.
    pub fn steps(&self) -> u64 {
        if self.over() { 0 } else { self.step }
    }

    /// The trainable tensors, one set after the other.
    pub fn tensors(&self) -> &[Tensor] {
        self.resident.params()
    }

    /// Reads the trainable tensors back, row-major, in the order of [`Trainer::tensors`].
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        self.resident.read_all(Kept::Values)
    }

    /// Replaces the trainable tensors, row-major, in the order of [`Trainer::tensors`].
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.resident.write_all(Kept::Values, "parameters", values)
    }

    /// Replaces the frozen tensors, row-major, in the order that the run names them.
    ///
    /// # Errors
    /// [`Error::Data`] naming the tensor where the number of values is wrong or one is not finite.
    pub fn set_constants(&mut self, values: &[Vec<f32>]) -> Result<()> {
        let tensors = &self.resident.tensors.constants;
        if values.len() != tensors.len() {
            return Err(Error::data("constants", values.len(), format!("{} tensors", tensors.len())));
        }
        inference::finite(tensors, values)?;
        self.resident.set_constants(values)
    }

    /// Makes rows ready for the current phase and compiles its steps; after a phase that is over it begins the next
    /// one, whose steps are counted from 0 and whose moments are 0. Steps that are under way come to their end first.
    ///
    /// # Errors
    /// [`Error::Spec`] where all phases are over; [`Error::Data`] where the rows are none, of another width than the
    /// graphs gather, or, in the middle of a phase, not as many as it began with; [`Error::Limit`] where the device
    /// cannot hold them; [`Error::Diverged`] where one of the steps under way went bad. It is told once: loading again
    /// goes on from there.
    pub fn load(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<()> {
        let source: Arc<dyn Source> = Arc::new(Fixed::new(data.into()));
        while self.reported()?.is_some() {}
        if self.unread {
            self.unread = false;
            if let Some(bad) = pollster::block_on(self.resident.bad(self.step, Wait::Block))? {
                return Err(self.diverged(&bad));
            }
        }
        let Some(phase) = self.phase() else {
            let found = format!("{:?} is over", self.run.phases.last().map_or("", |phase| &phase.name));
            return Err(Error::spec("phases", found, "another phase after it"));
        };
        let columns = phase.columns();
        if source.columns() != columns {
            let allowed = format!("{columns}, what the graphs of the phase {:?} gather", phase.name);
            return Err(Error::data(format!("{}: columns", source.name()), source.columns(), allowed));
        }
        if source.rows() == 0 {
            return Err(Error::data(format!("{}: rows", source.name()), 0, "1 or more"));
        }
        let rows = source.rows();
        if let Some(begun) = self.rows.filter(|&begun| self.steps() > 0 && begun != rows) {
            let allowed = format!("{begun}, with which the phase {:?} began", phase.name);
            return Err(Error::data(format!("{}: rows", source.name()), rows, allowed));
        }
        let &Phase { batch, epochs, drop_last, .. } = phase;
        let (columns, shuffle) = phase.reads().next().unwrap_or((0, false));
        let source = match &phase.cached {
            Some(graph) => Arc::new(Cached::new(&self.resident, graph, columns, source)?),
            None => source,
        };
        let number = self.phase + usize::from(self.over());
        let (seed, data_budget) = (self.run.seed.wrapping_add(number as u64), self.run.data_budget);
        let order = Training { batch, epochs, drop_last, shuffle, seed, data_budget, ..Training::default() };
        let mut feed = Feed::new(self.gpu(), source, &order, 0)?;
        if self.over() {
            (self.phase, self.step) = (number, 0);
        }
        (self.engine, self.rows) = (None, Some(rows));
        if self.step == 0 {
            self.resident.shared.retain(
                |role, _| !matches!(role, Role::Arena(arena) if matches!(arena.kept, Kept::First | Kept::Second)),
            );
        }
        let (gpu, scalars) = (&self.resident.gpu, self.resident.tensors.scalars());
        let steps = &self.run.phases[self.phase].steps;
        let total = feed.steps_per_epoch().saturating_mul(epochs);
        let table = self.resident.buffer(Role::Table)?;
        let table = Table::new(table, scalars, steps, self.run.ramps().to_vec(), [0, total])?;
        feed.seek(self.step / table.turn.len() as u64);
        let target = Target { data_rows: feed.chunk_rows(), ..Target::of(gpu, feed.batch()) };
        self.engine = Some(Engine::new(&mut self.resident, feed, steps, table, &target, self.step)?);
        Ok(())
    }

    /// Submits up to so many steps of the current phase without waiting and says how many were taken, or why none. It
    /// may end in the middle of a turn. It compiles nothing, so it keeps to the kernels that [`Trainer::load`] made;
    /// [`Trainer::fit`] changes to faster ones where that pays.
    ///
    /// # Errors
    /// [`Error::Data`] before [`Trainer::load`]; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn step(&mut self, steps: u64) -> Result<Taken> {
        let now = self.step;
        let engine = self.engine()?;
        let left = engine.table.total_steps().saturating_sub(now);
        let count = steps.min(left);
        let Some(engine) = &mut self.engine else {
            return Err(Error::Internal("no engine where there was one".into()));
        };
        let (taken, asked) = engine.submit(&self.resident, Steps { now, count, apart: false })?;
        self.step += taken;
        if asked.is_err() && taken > 0 {
            // No report will tell how these steps ended. Loading data finds out.
            (self.engine, self.unread) = (None, true);
        }
        if taken == 0 {
            // Nothing was submitted that would have found it out.
            self.resident.gpu.alive()?;
        }
        asked.map(|()| Taken::of(taken, steps, left))
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
        let Some(engine) = &mut self.engine else { return self.resident.gpu.alive().map(|()| None) };
        let Some(at) = engine.in_flight.front().map(|submit| submit.readback) else {
            return self.resident.gpu.alive().map(|()| None);
        };
        let taken = engine.readbacks[at].take();
        match self.readable(taken)? {
            Some(bytes) => self.received(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Takes what is left of the current phase, or all of the next one where that is over.
    ///
    /// # Errors
    /// As [`Trainer::load`] and [`Trainer::progress`].
    pub fn fit(&mut self, data: impl Into<Arc<dyn Source>>) -> Result<Fit> {
        let begun = Instant::now();
        self.load(data)?;
        let (from, mut first_step, mut history) = (self.step, Duration::ZERO, Vec::<Progress>::new());
        // Whole turns, so that every step of one is reported as often as it is taken.
        let turn = self.engine()?.table.turn.len() as u64;
        let (mut budget, mut last, mut done) = (turn - self.step % turn, None, self.step);
        while !self.over() {
            let engine = self.engine.as_mut().ok_or_else(|| Error::Internal("no engine after load".into()))?;
            engine.hasten(&self.resident, false)?;
            while self.step(budget)?.steps() > 0 {
                budget = budget.max(turn);
                if self.gpu().is_shared() {
                    // The queue is left to the host between two submits.
                    break;
                }
            }
            let Some(progress) = self.reported()? else {
                return Err(Error::Internal("no step was taken and none is under way".into()));
            };
            if first_step.is_zero() {
                first_step = begun.elapsed();
            } else {
                let steps = progress.step - done;
                let gpu = self.gpu().clone();
                let engine = self.engine()?;
                budget = (engine.next_budget(&gpu, steps) / turn).max(1) * turn;
            }
            done = progress.step;
            last = None;
            if history.last().is_none_or(|kept| kept.epoch != progress.epoch) {
                history.push(progress);
            } else {
                last = Some(progress);
            }
        }
        history.extend(last);
        let steps = done - from;
        Ok(Fit { history, steps, stop: Stop::Done, best_validation: None, first_step, elapsed: begun.elapsed() })
    }

    fn engine(&mut self) -> Result<&mut Engine> {
        match &mut self.engine {
            Some(engine) => Ok(engine),
            None => {
                self.resident.gpu.check()?;
                Err(Error::data("training data", "none", "data given to Trainer::load or Trainer::fit"))
            }
        }
    }

    /// Whether all steps of the phase were taken and reported.
    fn over(&self) -> bool {
        let ended = |engine: &Engine| engine.in_flight.is_empty() && self.step >= engine.table.total_steps();
        self.engine.as_ref().is_some_and(ended)
    }

    /// Waits for the next report; none where no submit is in flight.
    fn reported(&mut self) -> Result<Option<Progress>> {
        let Some(engine) = &mut self.engine else { return Ok(None) };
        let Some(at) = engine.in_flight.front().map(|submit| submit.readback) else { return Ok(None) };
        let waited = engine.readbacks[at].wait();
        let bytes = self.readable(waited)?;
        self.received(&bytes).map(Some)
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Progress> {
        let engine = self.engine()?;
        match engine.received(bytes)? {
            Ok(progress) => Ok(progress),
            Err(bad) => Err(self.diverged(&bad)),
        }
    }

    /// A report, or why it cannot be read: then nobody knows how its steps ended until data is loaded.
    fn readable<R>(&mut self, report: Result<R>) -> Result<R> {
        if report.is_err() {
            (self.engine, self.unread) = (None, true);
        }
        report
    }

    /// Goes back to what a bad step left, and says which it was and what of it went bad.
    fn diverged(&mut self, bad: &Bad) -> Error {
        // What is still in flight changes nothing any more.
        (self.step, self.engine) = (bad.taken(), None);
        let steps = self.run.phases.get(self.phase).map_or(&[][..], |phase| &phase.steps);
        let turn = turn(steps);
        let step = turn.get((bad.step % turn.len().max(1) as u64) as usize).and_then(|&which| steps.get(which));
        let what = match bad.named() {
            Ok(name) => name,
            Err(term) => step.and_then(|step| step.graph.terms().get(term)).map_or("", String::as_str),
        };
        Error::Diverged { step: bad.step, term: format!("{}.{what}", step.map_or("", |step| &step.name)) }
    }
}
