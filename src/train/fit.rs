//! Taking steps: several to a submit, at most two submits in flight, reports read behind them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::evaluate::Evaluation;
use super::feed::Feed;
use super::progress::Best;
use super::{Fit, Progress, Session, Stop};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Program, Readback, Wait, Work};
use crate::graph::{Arena, Layout};
use crate::kernel::{RING, TERMS};
use crate::model::Purpose;
use crate::plan::{Recording, Role, Target};
use crate::state::{BAD_GRADIENT, State};

/// The longest that a submit should keep the device busy: a host's frames and the system's watchdogs wait behind it.
const SUBMIT: Duration = Duration::from_millis(50);

/// Steps in one submit at most: several submits fit the ring.
const STEPS: u64 = RING as u64 / 4;

/// Operations in a whole run from which compiling faster kernels pays.
const LONG_RUN: u64 = 2_000_000_000;

/// Everything that one training run needs beside the session.
pub(super) struct Trainer {
    pub feed: Feed,
    validation: Option<Evaluation>,
    /// What one step runs, in order.
    programs: [Program; 3],
    /// What the first program gives way to after the first report: the same to the bit, but faster and longer to
    /// compile.
    faster: Option<Recording>,
    /// Whether a first step was reported.
    reported: bool,
    terms: Vec<String>,
    readbacks: Vec<Readback>,
    in_flight: VecDeque<Submit>,
    flags: Buffer,
    begun: Instant,
    /// When the last report arrived.
    last: Instant,
    /// Time spent in submitting since then.
    submitting: Duration,
}

/// A submit whose report has not been read.
struct Submit {
    readback: usize,
    first: u64,
    steps: u64,
    rows: u64,
    epoch: u64,
    /// How long the call took: a driver that runs shaders on the calling thread does the work in it.
    took: Duration,
}

impl Trainer {
    pub fn new(session: &mut Session, feed: Feed, validation: Option<Arc<dyn Source>>) -> Result<Trainer> {
        let gpu = session.gpu.clone();
        let layout = Layout::new(session.network.params());
        let (first, second) = session.training.optimizer.moments();
        let best = session.training.early_stopping.is_some();
        let wanted = [(Arena::Grads, true), (Arena::First, first), (Arena::Second, second), (Arena::Best, best)];
        for (arena, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            let role = Role::Arena(arena);
            if let std::collections::btree_map::Entry::Vacant(e) = session.shared.entry(role) {
                e.insert(gpu.buffer(&format!("{arena:?}"), layout.bytes)?);
            }
        }
        session.shared.insert(Role::Data, feed.buffer.clone());
        let graph = session.network.graph(Purpose::Train, session.training.shuffle)?;
        let target = Target { data_rows: feed.chunk_rows(), ..Target::of(&gpu, feed.batch()) };
        let recording = Recording::new(&graph, Target { quick: true, ..target })?;
        let faster = Recording::new(&graph, target)?;
        let flops: u64 = faster.dispatches.iter().map(|d| d.cost.flops).sum();
        let steps = feed.steps_per_epoch().saturating_mul(session.training.epochs).saturating_sub(session.step);
        let pays = faster.dispatches != recording.dispatches && flops.saturating_mul(steps) >= LONG_RUN;
        let forward = Program::new(&gpu, &recording, &session.state, &session.shared)?;
        let update = session.training.optimizer.graph(session.network.params(), session.training.clip_norm)?;
        let update = Recording::new(&update, Target::of(&gpu, 1))?;
        let update = Program::new(&gpu, &update, &session.state, &session.shared)?;
        let (terms, flags) = (forward.buffer(Role::Terms)?, session.shared(Role::Flags)?.clone());
        gpu.write(&flags, 0, &[0; 16])?;
        gpu.write(&session.state, 0, &[0; 64])?;
        let finish = Program::finish(&gpu, &session.state, terms, &session.ring, &flags, graph.terms().len() as u32)?;
        let bytes = session.ring.bytes() + session.state.bytes() + flags.bytes();
        Ok(Trainer {
            feed,
            validation: validation.map(|rows| Evaluation::new(session, rows)).transpose()?,
            programs: [forward, finish, update],
            faster: pays.then_some(faster),
            reported: false,
            terms: graph.terms().to_vec(),
            readbacks: (0..2).map(|_| Readback::new(&gpu, bytes)).collect::<Result<_>>()?,
            in_flight: VecDeque::new(),
            flags,
            begun: Instant::now(),
            last: Instant::now(),
            submitting: Duration::ZERO,
        })
    }

    /// Dispatches of one step.
    pub fn dispatches(&self) -> usize {
        self.programs.iter().map(Program::dispatches).sum()
    }

    /// Submits up to `steps` steps and returns how many: fewer where the data must be moved on first, none where two
    /// submits are in flight.
    fn submit(
        &mut self,
        gpu: &Gpu,
        state: &Buffer,
        ring: &Buffer,
        now: u64,
        steps: u64,
        table: &TableWriter,
    ) -> Result<u64> {
        let Some(readback) = self.readbacks.iter().position(|r| !r.busy()) else { return Ok(0) };
        self.feed.place(gpu, state)?;
        let steps = steps.min(STEPS).min(self.feed.steps_left());
        if steps == 0 {
            return Ok(0);
        }
        table.write(gpu, now, steps)?;
        if let Some(faster) = self.faster.take_if(|_| self.reported) {
            self.programs[0] = Program::new(gpu, &faster, state, self.programs[0].buffers())?;
        }
        let begun = Instant::now();
        let step = self.programs.iter().map(Work::Run);
        gpu.submit((0..steps).flat_map(|_| step.clone()))?;
        let parts = [ring, state, &self.flags].map(|buffer| (buffer, 0..buffer.bytes()));
        self.readbacks[readback].start(&parts)?;
        let took = begun.elapsed();
        self.submitting += took;
        self.feed.advance(steps);
        let (rows, epoch) = (steps * self.feed.batch() as u64, self.feed.epoch());
        self.in_flight.push_back(Submit { readback, first: now, steps, rows, epoch, took });
        Ok(steps)
    }

    /// The report of a submit: its terms and the state behind it.
    fn report(&mut self, bytes: &[u8], submit: &Submit) -> Result<Progress> {
        self.reported = true;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let (ring, rest) = words.split_at(RING * TERMS);
        let (state, flags) = rest.split_at(16);
        let state: State = *bytemuck::try_from_bytes(bytemuck::cast_slice(state))
            .map_err(|e| Error::Internal(format!("the state that was read back: {e}")))?;
        let gradient = || "gradient".to_string();
        if state.halted != 0 {
            let named = |i: u32| self.terms.get(i as usize).cloned().unwrap_or_default();
            let term = if state.bad_term == BAD_GRADIENT { gradient() } else { named(state.bad_term) };
            return Err(Error::Diverged { step: state.bad_step.into(), term });
        }
        if flags[0] != 0 {
            return Err(Error::Diverged { step: u64::from(state.step) - 1, term: gradient() });
        }
        let mean = |term: usize| {
            let at = |step: u64| f64::from(f32::from_bits(ring[step as usize % RING * TERMS + term]));
            (submit.first..submit.first + submit.steps).map(at).sum::<f64>() / submit.steps as f64
        };
        let terms: Vec<(String, f64)> = self.terms.iter().enumerate().map(|(i, n)| (n.clone(), mean(i))).collect();
        // What ran in the calls since the last report belongs to later submits, what ran in this one's call to it.
        let waited = self.last.elapsed().saturating_sub(self.submitting);
        let elapsed = (waited + submit.took).as_secs_f64();
        (self.last, self.submitting) = (Instant::now(), Duration::ZERO);
        Ok(Progress {
            step: submit.first + submit.steps,
            total_steps: 0,
            epoch: submit.epoch,
            loss: terms.iter().map(|(_, v)| v).sum(),
            terms,
            validation: None,
            learning_rate: 0.0,
            rows_per_second: submit.rows as f64 / elapsed,
            elapsed: self.begun.elapsed(),
        })
    }
}

/// Writes the hyperparameters of steps to come.
struct TableWriter {
    table: Buffer,
    training: super::Training,
    total: u64,
}

impl TableWriter {
    fn write(&self, gpu: &Gpu, first: u64, steps: u64) -> Result<()> {
        let mut step = first;
        while step < first + steps {
            let at = step % RING as u64;
            let end = (first + steps).min(step + RING as u64 - at);
            let rows: Vec<[f32; 4]> = (step..end).map(|s| self.row(s)).collect();
            gpu.write(&self.table, at * 16, bytemuck::cast_slice(&rows))?;
            step = end;
        }
        Ok(())
    }

    fn row(&self, step: u64) -> [f32; 4] {
        self.training.optimizer.table_row(step, self.learning_rate(step))
    }

    fn learning_rate(&self, step: u64) -> f64 {
        self.training.learning_rate * self.training.schedule.factor(step, self.total)
    }
}

impl Session {
    /// Trains on `data` for all epochs (or what is left of them in a resumed run).
    ///
    /// # Errors
    /// As [`Session::load`]; [`Error::Diverged`] where a term is no longer finite: the parameters are then those
    /// before the bad step. Where a gradient is not, its elements are left alone and the finite ones took the step.
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
        self.load(data)?;
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
            let at_end = self.in_flight() == 0 && (self.epoch_ended()? || done == total);
            if at_end {
                self.validate(&mut progress, how).await?;
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
        let taken = self.trainer()?.submit(&gpu, &state, &ring, now, steps, &table)?;
        self.step += taken;
        Ok(taken)
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
        match trainer.report(bytes, &submit) {
            Ok(progress) => {
                let learning_rate = table.learning_rate(progress.step - 1);
                Ok(Progress { total_steps: total, learning_rate, ..progress })
            }
            Err(error) => {
                // What is still in flight changes nothing any more.
                if let Error::Diverged { step, .. } = error {
                    self.step = step;
                }
                self.trainer = None;
                Err(error)
            }
        }
    }

    /// Whether the validation loss has not improved for as long as early stopping waits.
    fn waited_long(&self) -> bool {
        self.training.early_stopping.is_some_and(|e| self.best.waited >= e.patience)
    }

    /// Looks at the validation rows, where there are any, and keeps the parameters where they are the best so far.
    async fn validate(&mut self, progress: &mut Progress, how: Wait) -> Result<()> {
        let gpu = self.gpu.clone();
        let Some(validation) = &mut self.trainer()?.validation else { return Ok(()) };
        let loss = validation.run(&gpu, how).await?;
        progress.validation = Some(loss);
        let margin = self.training.early_stopping.map_or(0.0, |e| e.min_delta);
        if loss.is_finite() && self.best.validation.is_none_or(|best| loss < best - margin) {
            self.best = Best { validation: Some(loss), waited: 0 };
            let (best, params) = (self.shared(Role::Arena(Arena::Best))?, self.shared(Role::Arena(Arena::Params))?);
            return gpu.submit([Work::Copy(params, best)]);
        }
        self.best.waited += 1;
        Ok(())
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

/// Steps for the next submit, from the time the last ones took.
fn next_budget(steps: u64, seconds: f64) -> u64 {
    let each = seconds / steps.max(1) as f64;
    ((SUBMIT.as_secs_f64() / each.max(1e-9)) as u64).clamp(1, STEPS).min(steps * 4)
}
