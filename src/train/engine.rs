//! The engine: what the turns of a phase keep on the GPU, several steps to a submit, at most two submits in flight, reports
//! read behind them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Progress;
use super::divergence::Bad;
use super::evaluate::Evaluation;
use super::feed::Feed;
use super::resident::Resident;
use super::run::Step;
use super::table::Table;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Program, Readback, Timed, Work};
use crate::graph::{Kept, Scalars, Sink};
use crate::kernel::{RING, TERMS};
use crate::plan::{Recording, Role, Target};

/// The longest that a submit should keep the device busy: a host's frames and the system's watchdogs wait behind it.
const SUBMIT: Duration = Duration::from_millis(50);

/// Steps in one submit at most: several submits fit the ring.
const STEPS: u64 = RING as u64 / 4;

/// Operations in a whole run from which compiling faster kernels pays.
const LONG_RUN: u64 = 10_000_000_000;

/// What takes the steps of a phase.
pub(super) struct Engine {
    pub feed: Feed,
    pub validation: Option<Evaluation>,
    steps: Vec<Compiled>,
    /// What a turn is: steps by their number, each with the program that ends it.
    turn: Vec<(usize, Program)>,
    pub table: Table,
    /// Whether a first step was reported.
    reported: bool,
    /// The step whose gradients lie there and may be applied.
    pub apart: Option<u64>,
    pub readbacks: Vec<Readback>,
    pub in_flight: VecDeque<Submit>,
    flags: Buffer,
    begun: Instant,
    /// When the last report arrived.
    pub last: Instant,
    /// Time spent in submitting since then.
    submitting: Duration,
}

/// A step's programs.
struct Compiled {
    /// Its name, which those of its terms begin with; empty for a session's.
    name: String,
    terms: Vec<String>,
    /// Forward and backward.
    passes: Program,
    /// What these give way to after the first report: the same to the bit, but faster and longer to compile.
    faster: Option<Recording>,
    /// What follows the end of the step: updates, and next values of state.
    updates: Vec<Program>,
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
    epoch: u64,
    /// How long the call took: a driver that runs shaders on the calling thread does the work in it.
    took: Duration,
}

impl Submit {
    /// The steps that were taken, by their number.
    fn taken(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.steps
    }
}

impl Compiled {
    /// Plans and compiles a step of a table's scalars; `left` turns of it are to come.
    fn new(resident: &Resident, step: &Step, target: &Target, left: u64) -> Result<Compiled> {
        let tensors = &resident.tensors;
        // Its table may be wider than the graph's: updates of other steps have columns, too.
        let graph = step.graph.clone().with_scalars(tensors.scalars().clone());
        let recording = Recording::new(&graph, Target { quick: true, ..target.clone() })?;
        let faster = Recording::new(&graph, target.clone())?;
        let flops = faster.cost().flops.saturating_mul(left).saturating_mul(step.repeat);
        let pays = faster.dispatches != recording.dispatches && flops >= LONG_RUN;
        let passes = Program::new(&resident.gpu, &recording, &resident.state, &resident.shared)?;
        let updates = step.updates.iter().enumerate().map(|(i, update)| update.graph(tensors, i));
        let state = step.state.iter().map(|&set| {
            let mut graph = tensors.without_nodes();
            let next = graph.arena(set.arena(Kept::Gradients));
            graph.sink(Sink::Update(set.arena(Kept::Values)), next);
            Ok(graph)
        });
        let compiled = updates.chain(state).map(|graph| {
            let recording = Recording::new(&graph?, Target::of(&resident.gpu, 1))?;
            Program::new(&resident.gpu, &recording, &resident.state, &resident.shared)
        });
        let updates = compiled.collect::<Result<_>>()?;
        let (name, faster) = (step.name.clone(), pays.then_some(faster));
        Ok(Compiled { name, terms: graph.terms().to_vec(), passes, faster, updates })
    }

    /// What a term of it is called in reports.
    fn term(&self, i: usize) -> String {
        let term = self.terms.get(i).map_or("", String::as_str);
        if self.name.is_empty() { term.into() } else { format!("{}.{term}", self.name) }
    }
}

impl Engine {
    /// An engine of these steps, in the order of a turn, over the rows of `feed`; `now` of them were taken.
    pub fn new(
        resident: &mut Resident,
        feed: Feed,
        steps: &[Step],
        table: Table,
        target: &Target,
        now: u64,
    ) -> Result<Engine> {
        for update in steps.iter().flat_map(|step| &step.updates) {
            let (first, second) = update.optimizer.moments();
            let wanted = [(Kept::Gradients, true), (Kept::First, first), (Kept::Second, second)];
            for (kept, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
                update.sets.iter().try_for_each(|&set| resident.keep(set, kept))?;
            }
        }
        for &set in steps.iter().flat_map(|step| &step.state) {
            resident.keep(set, Kept::Gradients)?;
        }
        resident.shared.insert(Role::Data, feed.buffer.clone());
        let left = table.total.saturating_sub(now / table.turn.len() as u64);
        let compiled = steps.iter().map(|step| Compiled::new(resident, step, target, left));
        let compiled = compiled.collect::<Result<Vec<_>>>()?;
        let (gpu, state, ring) = (&resident.gpu, &resident.state, &resident.ring);
        let flags = resident.buffer(Role::Flags)?.clone();
        gpu.write(&flags, 0, &[0; 16])?;
        gpu.write(state, 0, &[0; 64])?;
        let mut turn = Vec::new();
        for (at, &step) in table.turn.iter().enumerate() {
            let Compiled { passes, terms, .. } = &compiled[step];
            let found = match terms.len() {
                0 => gpu.buffer("no terms", 16)?,
                _ => passes.buffer(Role::Terms)?.clone(),
            };
            // Rows move on after the last one.
            let last = at + 1 == table.turn.len();
            turn.push((step, Program::finish(gpu, state, &found, ring, &flags, terms.len() as u32, last)?));
        }
        let bytes = ring.bytes() + state.bytes() + flags.bytes();
        Ok(Engine {
            feed,
            validation: None,
            steps: compiled,
            turn,
            table,
            reported: false,
            apart: None,
            readbacks: (0..2).map(|_| Readback::new(gpu, bytes)).collect::<Result<_>>()?,
            in_flight: VecDeque::new(),
            flags,
            begun: Instant::now(),
            last: Instant::now(),
            submitting: Duration::ZERO,
        })
    }

    /// The buffers it holds, shared or not.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        let steps = self.steps.iter().flat_map(|step| [&step.passes].into_iter().chain(&step.updates));
        let programs = steps.chain(self.turn.iter().map(|(_, finish)| finish)).flat_map(Program::held);
        let readbacks = self.readbacks.iter().map(|readback| (None, readback.buffer()));
        programs.chain(readbacks).chain(self.validation.iter().flat_map(Evaluation::held))
    }

    /// What a step runs, in order: its passes, its end, and its updates.
    fn programs(&self, step: u64) -> impl Iterator<Item = &Program> {
        let (which, finish) = &self.turn[(step % self.turn.len() as u64) as usize];
        let Compiled { passes, updates, .. } = &self.steps[*which];
        [passes, finish].into_iter().chain(updates)
    }

    /// Dispatches of one turn.
    pub fn dispatches(&self) -> usize {
        (0..self.turn.len() as u64).flat_map(|step| self.programs(step)).map(Program::dispatches).sum()
    }

    /// Changes to another plan of a step at once.
    pub fn replan(&mut self, resident: &Resident, step: usize, recording: Recording) -> Result<()> {
        self.steps[step].faster = Some(recording);
        self.hasten(resident, true)
    }

    /// Changes to faster kernels where that pays, once a first step was reported or at once.
    pub fn hasten(&mut self, resident: &Resident, at_once: bool) -> Result<()> {
        for step in &mut self.steps {
            if let Some(faster) = step.faster.take_if(|_| self.reported || at_once) {
                // What passes between dispatches is laid out anew.
                let mut shared = step.passes.buffers().clone();
                shared.retain(|role, _| !role.is_slot());
                step.passes = Program::new(&resident.gpu, &faster, &resident.state, &shared)?;
            }
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

    /// Submits the forward and backward passes of the step after `now` others, and neither its end nor its updates.
    pub fn backward(&mut self, Resident { gpu, state, .. }: &Resident, now: u64) -> Result<()> {
        self.feed.place(gpu, state, now)?;
        self.table.write(gpu, now, 1)?;
        self.drop_gradients(gpu)?;
        gpu.submit(self.programs(now).take(1).map(Work::Run))?;
        self.apart = Some(now);
        Ok(())
    }

    /// Steps that may be taken in one submit after `now` others: until the data must be moved on by the host's hand, and no more
    /// than whole turns, so that all of a turn are reported together.
    fn room(&self, now: u64) -> u64 {
        let turn = self.turn.len() as u64;
        let turns = self.feed.steps_left().min(STEPS / turn);
        turns.saturating_mul(turn).saturating_sub(now % turn)
    }

    /// Notes that steps were submitted.
    fn advance(&mut self, now: u64, steps: u64) {
        let turn = self.turn.len() as u64;
        self.feed.advance((now % turn + steps) / turn);
    }

    /// Submits up to `steps.count` steps and returns how many: fewer where the data must be moved on first, none where two
    /// submits are in flight. What comes with it is the error where those steps are taken but cannot be reported.
    pub fn submit(&mut self, resident: &Resident, steps: Steps) -> Result<(u64, Result<()>)> {
        let Some(readback) = self.free() else { return Ok((0, Ok(()))) };
        let Resident { gpu, state, ring, .. } = resident;
        let Steps { now, count, apart } = steps;
        self.feed.place(gpu, state, now)?;
        let steps = count.min(self.room(now));
        if steps == 0 {
            return Ok((0, Ok(())));
        }
        self.table.write(gpu, now, steps)?;
        match apart {
            true => self.apart = None,
            false => self.drop_gradients(gpu)?,
        }
        let begun = Instant::now();
        gpu.submit((now..now + steps).flat_map(|step| self.programs(step).skip(apart.into()).map(Work::Run)))?;
        let parts = [ring, state, &self.flags].map(|buffer| (buffer, 0..buffer.bytes()));
        let asked = self.readbacks[readback].start(&parts);
        let took = begun.elapsed();
        self.submitting += took;
        self.advance(now, steps);
        let epoch = self.feed.epoch();
        self.in_flight.push_back(Submit { readback, first: now, steps, epoch, took });
        Ok((steps, asked))
    }

    /// Takes up to `steps` steps in one submit and tells of each how long its dispatches took. Of turns of one step.
    pub fn timed(&mut self, Resident { gpu, state, .. }: &Resident, now: u64, steps: u64) -> Result<Vec<Vec<Timed>>> {
        self.feed.place(gpu, state, now)?;
        let steps = steps.min(self.room(now));
        self.table.write(gpu, now, steps)?;
        self.drop_gradients(gpu)?;
        let programs: Vec<&Program> = (now..now + steps).flat_map(|step| self.programs(step)).collect();
        let times = gpu.timed(&programs)?;
        self.advance(now, steps);
        Ok(times.chunks(self.dispatches()).map(<[Timed]>::to_vec).collect())
    }

    /// Forgets the reports that nobody has read.
    pub fn forget(&mut self) {
        self.in_flight.clear();
        self.readbacks.iter_mut().for_each(Readback::discard);
    }

    /// Takes the report of the oldest submit, or what went bad in it.
    pub fn received(&mut self, bytes: &[u8]) -> Result<std::result::Result<Progress, Bad>> {
        let submit = self.in_flight.pop_front().ok_or_else(|| Error::Internal("no submit in flight".into()))?;
        self.report(bytes, &submit)
    }

    /// The report of a submit, or what went bad in it: its terms and the state behind it.
    fn report(&mut self, bytes: &[u8], submit: &Submit) -> Result<std::result::Result<Progress, Bad>> {
        self.reported = true;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let (ring, state) = words.split_at(RING * TERMS);
        if let Some(bad) = Bad::find(state, submit.first)? {
            return Ok(Err(bad));
        }
        // Of each step of a turn, the mean over those that were taken; none of one that was not.
        let turn = self.turn.len() as u64;
        let mut terms: Vec<(String, f64)> = Vec::new();
        for (which, step) in self.steps.iter().enumerate() {
            let is = |taken: &u64| self.turn[(taken % turn) as usize].0 == which;
            let taken: Vec<usize> = submit.taken().filter(is).map(|taken| taken as usize % RING * TERMS).collect();
            for term in (0..step.terms.len()).filter(|_| !taken.is_empty()) {
                let sum: f64 = taken.iter().map(|row| f64::from(f32::from_bits(ring[row + term]))).sum();
                terms.push((step.term(term), sum / taken.len() as f64));
            }
        }
        // What ran in the calls since the last report belongs to later submits, what ran in this one's call to it.
        let waited = self.last.elapsed().saturating_sub(self.submitting);
        let elapsed = (waited + submit.took).as_secs_f64();
        (self.last, self.submitting) = (Instant::now(), Duration::ZERO);
        Ok(Ok(Progress {
            step: submit.first + submit.steps,
            total_steps: self.table.total_steps(),
            epoch: submit.epoch,
            loss: terms.iter().map(|(_, v)| v).sum(),
            terms,
            validation: None,
            learning_rate: self.table.learning_rate(submit.first + submit.steps - 1),
            rows_per_second: (submit.steps * self.feed.batch() as u64) as f64 / turn as f64 / elapsed,
            elapsed: self.begun.elapsed(),
        }))
    }
}

const _: () = assert!(RING == Scalars::STEPS, "a row for every step that reports tell apart");
const _: () = assert!(STEPS as usize <= Scalars::FEWEST, "a row for every step of a submit");

/// Steps for the next submit, from the time the last ones took.
pub(super) fn next_budget(steps: u64, seconds: f64) -> u64 {
    let each = seconds / steps.max(1) as f64;
    ((SUBMIT.as_secs_f64() / each.max(1e-9)) as u64).clamp(1, STEPS).min(steps * 4)
}
