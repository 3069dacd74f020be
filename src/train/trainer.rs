//! The trainer: what one run keeps on the GPU, several steps to a submit, at most two submits in flight, reports read
//! behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::divergence::Bad;
use super::evaluate::Evaluation;
use super::feed::Feed;
use super::{Progress, Session};
use crate::data::Source;
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Program, Readback, Timed, Work};
use crate::graph::{Kept, Scalars, Set};
use crate::kernel::{RING, TERMS};
use crate::model::{Purpose, Ramp};
use crate::plan::{Recording, Role, Target};

/// The longest that a submit should keep the device busy: a host's frames and the system's watchdogs wait behind it.
const SUBMIT: Duration = Duration::from_millis(50);

/// Steps in one submit at most: several submits fit the ring.
const STEPS: u64 = RING as u64 / 4;

/// Operations in a whole run from which compiling faster kernels pays.
const LONG_RUN: u64 = 10_000_000_000;

/// Everything that one training run needs beside the session.
pub(super) struct Trainer {
    pub feed: Feed,
    pub validation: Option<Evaluation>,
    /// What one step runs, in order.
    programs: [Program; 3],
    /// What the first program gives way to after the first report: the same to the bit, but faster and longer to
    /// compile.
    faster: Option<Recording>,
    /// Whether a first step was reported.
    reported: bool,
    /// The step whose gradients lie there and may be applied.
    pub apart: Option<u64>,
    terms: Vec<String>,
    pub readbacks: Vec<Readback>,
    pub in_flight: VecDeque<Submit>,
    flags: Buffer,
    begun: Instant,
    /// When the last report arrived.
    pub last: Instant,
    /// Time spent in submitting since then.
    submitting: Duration,
}

/// Steps that are to be taken.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// Steps taken before them.
    pub now: u64,
    pub count: u64,
    /// Whether the gradients of a single one are there already.
    pub apart: bool,
}

/// A submit whose report has not been read.
pub(super) struct Submit {
    pub readback: usize,
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
        let (first, second) = session.training.optimizer.moments();
        let best = session.training.early_stopping.is_some();
        let wanted = [(Kept::Gradients, true), (Kept::First, first), (Kept::Second, second), (Kept::Best, best)];
        for (kept, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            session.keep(kept)?;
        }
        session.shared.insert(Role::Data, feed.buffer.clone());
        let graph = session.network.graph(Purpose::Train, session.training.shuffle)?;
        let target = session.step_target(&feed);
        let recording = Recording::new(&graph, Target { quick: true, ..target.clone() })?;
        let faster = Recording::new(&graph, target)?;
        let flops = faster.cost().flops;
        let taken = session.step.saturating_sub(session.start);
        let steps = feed.steps_per_epoch().saturating_mul(session.training.epochs).saturating_sub(taken);
        let pays = faster.dispatches != recording.dispatches && flops.saturating_mul(steps) >= LONG_RUN;
        let forward = Program::new(&gpu, &recording, &session.state, &session.shared)?;
        let sets: Vec<Set> = graph.sets().collect();
        let update = session.training.optimizer.update_of(&session.tensors, &sets, session.training.clip_norm)?;
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
            apart: None,
            terms: graph.terms().to_vec(),
            readbacks: (0..2).map(|_| Readback::new(&gpu, bytes)).collect::<Result<_>>()?,
            in_flight: VecDeque::new(),
            flags,
            begun: Instant::now(),
            last: Instant::now(),
            submitting: Duration::ZERO,
        })
    }

    /// The buffers it holds, shared or not.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        let readbacks = self.readbacks.iter().map(|readback| (None, readback.buffer()));
        let validation = self.validation.iter().flat_map(Evaluation::held);
        self.programs.iter().flat_map(Program::held).chain(readbacks).chain(validation)
    }

    /// Dispatches of one step.
    pub fn dispatches(&self) -> usize {
        self.programs.iter().map(Program::dispatches).sum()
    }

    /// Changes to another plan of the same step at once.
    pub fn replan(&mut self, gpu: &Gpu, state: &Buffer, recording: Recording) -> Result<()> {
        self.faster = Some(recording);
        self.hasten(gpu, state, true)
    }

    /// Changes to faster kernels where that pays, once a first step was reported or at once.
    pub fn hasten(&mut self, gpu: &Gpu, state: &Buffer, at_once: bool) -> Result<()> {
        if let Some(faster) = self.faster.take_if(|_| self.reported || at_once) {
            // What passes between dispatches is laid out anew.
            let mut shared = self.programs[0].buffers().clone();
            shared.retain(|role, _| !role.is_slot());
            self.programs[0] = Program::new(gpu, &faster, state, &shared)?;
        }
        Ok(())
    }

    /// The place for another report; none where two submits are in flight.
    pub fn free(&self) -> Option<usize> {
        self.readbacks.iter().position(|readback| !readback.busy())
    }

    /// Forgets gradients that nobody applied, and whether they were bad: those of the steps that come are others.
    fn drop_gradients(&mut self, gpu: &Gpu) -> Result<()> {
        match self.apart.take() {
            Some(_) => gpu.write(&self.flags, 4, &[0; 4]),
            None => Ok(()),
        }
    }

    /// Submits the forward and backward passes of the step after `now` others, and neither its end nor its update.
    pub fn backward(&mut self, gpu: &Gpu, state: &Buffer, now: u64, table: &TableWriter) -> Result<()> {
        self.feed.place(gpu, state)?;
        table.write(gpu, now, 1)?;
        self.drop_gradients(gpu)?;
        let [passes, ..] = &self.programs;
        gpu.submit([Work::Run(passes)])?;
        self.apart = Some(now);
        Ok(())
    }

    /// Submits up to `steps.count` steps and returns how many: fewer where the data must be moved on first, none where two
    /// submits are in flight. What comes with it is the error where those steps are taken but cannot be reported.
    pub fn submit(
        &mut self,
        gpu: &Gpu,
        state: &Buffer,
        ring: &Buffer,
        steps: Steps,
        table: &TableWriter,
    ) -> Result<(u64, Result<()>)> {
        let Some(readback) = self.free() else { return Ok((0, Ok(()))) };
        let Steps { now, count, apart } = steps;
        self.feed.place(gpu, state)?;
        let steps = count.min(STEPS).min(self.feed.steps_left());
        if steps == 0 {
            return Ok((0, Ok(())));
        }
        table.write(gpu, now, steps)?;
        match apart {
            true => self.apart = None,
            false => self.drop_gradients(gpu)?,
        }
        let begun = Instant::now();
        let step = self.programs.iter().skip(apart.into()).map(Work::Run);
        gpu.submit((0..steps).flat_map(|_| step.clone()))?;
        let parts = [ring, state, &self.flags].map(|buffer| (buffer, 0..buffer.bytes()));
        let asked = self.readbacks[readback].start(&parts);
        let took = begun.elapsed();
        self.submitting += took;
        self.feed.advance(steps);
        let (rows, epoch) = (steps * self.feed.batch() as u64, self.feed.epoch());
        self.in_flight.push_back(Submit { readback, first: now, steps, rows, epoch, took });
        Ok((steps, asked))
    }

    /// Takes up to `steps` steps in one submit and tells of each how long its dispatches took.
    pub fn timed(
        &mut self,
        gpu: &Gpu,
        state: &Buffer,
        now: u64,
        steps: u64,
        table: &TableWriter,
    ) -> Result<Vec<Vec<Timed>>> {
        self.feed.place(gpu, state)?;
        let steps = steps.min(STEPS).min(self.feed.steps_left());
        table.write(gpu, now, steps)?;
        self.drop_gradients(gpu)?;
        let programs: Vec<&Program> = (0..steps).flat_map(|_| &self.programs).collect();
        let times = gpu.timed(&programs)?;
        self.feed.advance(steps);
        Ok(times.chunks(self.dispatches()).map(<[Timed]>::to_vec).collect())
    }

    /// Forgets the reports that nobody has read.
    pub fn forget(&mut self) {
        self.in_flight.clear();
        self.readbacks.iter_mut().for_each(Readback::discard);
    }

    /// The report of a submit, or what went bad in it: its terms and the state behind it.
    pub fn report(&mut self, bytes: &[u8], submit: &Submit) -> Result<std::result::Result<Progress, Bad>> {
        self.reported = true;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let (ring, state) = words.split_at(RING * TERMS);
        if let Some(bad) = Bad::find(state, submit.first)? {
            return Ok(Err(bad));
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
        Ok(Ok(Progress {
            step: submit.first + submit.steps,
            total_steps: 0,
            epoch: submit.epoch,
            loss: terms.iter().map(|(_, v)| v).sum(),
            terms,
            validation: None,
            learning_rate: 0.0,
            rows_per_second: submit.rows as f64 / elapsed,
            elapsed: self.begun.elapsed(),
        }))
    }
}

const _: () = assert!(RING == Scalars::STEPS, "a row for every step that reports tell apart");
const _: () = assert!(STEPS as usize <= Scalars::FEWEST, "a row for every step of a submit");

/// Writes the scalars of steps to come.
pub(super) struct TableWriter {
    pub table: Buffer,
    pub training: super::Training,
    /// Rows of the table, and values of a row.
    pub rows: u64,
    pub width: usize,
    /// The coefficients that have ramps, in the order of their scalars, each with its own value.
    pub ramps: Vec<(Ramp, f64)>,
    /// The steps at which the run starts and ends.
    pub start: u64,
    pub total: u64,
}

impl TableWriter {
    fn write(&self, gpu: &Gpu, first: u64, steps: u64) -> Result<()> {
        let TableWriter { rows, width, .. } = *self;
        let mut step = first;
        while step < first + steps {
            let at = step % rows;
            let end = step + (first + steps - step).min(rows - at);
            let values: Vec<f32> = (step..end).flat_map(|s| self.row(s)).collect();
            gpu.write(&self.table, at * width as u64 * 4, bytemuck::cast_slice(&values))?;
            step = end;
        }
        Ok(())
    }

    /// The scalars of a step, in order, padded to the width of a row.
    fn row(&self, step: u64) -> Vec<f32> {
        let part = (step - self.start) as f64 / (self.total - self.start) as f64;
        let update = self.training.optimizer.scalars(step, self.learning_rate(step));
        let ramps = self.ramps.iter().map(|(ramp, to)| ramp.value(*to, part));
        let mut row: Vec<f32> = update.into_iter().chain(ramps).map(|value| value as f32).collect();
        row.resize(self.width, 0.0);
        row
    }

    pub fn learning_rate(&self, step: u64) -> f64 {
        self.training.learning_rate * self.training.schedule.factor(step - self.start, self.total - self.start)
    }
}

/// Steps for the next submit, from the time the last ones took.
pub(super) fn next_budget(steps: u64, seconds: f64) -> u64 {
    let each = seconds / steps.max(1) as f64;
    ((SUBMIT.as_secs_f64() / each.max(1e-9)) as u64).clamp(1, STEPS).min(steps * 4)
}
