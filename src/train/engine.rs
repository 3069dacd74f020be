//! The engine: what the turns of a phase keep on the GPU, several steps to a submit, at most two submits in flight,
//! reports read behind them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::divergence::Bad;
use super::evaluate::Evaluation;
use super::live::Rows;
use super::phase::{Step, moments};
use super::resident::Resident;
use super::spread::Spread;
use super::table::Table;
use super::{Loading, Progress};
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Clock, Gpu, Program, Readback, SHARED, Timed, Wait, Work, apart};
use crate::graph::{Kept, Scalars, Sink};
use crate::kernel::{RING, TERMS};
use crate::plan::{AdapterKind, Recording, Role, Target};
use crate::state::State;

/// The longest that a submit should keep the device busy: the system's watchdogs wait for it,
/// or [`SHARED`] where the host's frames do.
const SUBMIT: Duration = Duration::from_millis(50);

/// Steps in one submit at most: several submits fit the ring.
pub(super) const STEPS: u64 = RING as u64 / 4;

/// Operations in a whole run from which compiling faster kernels pays.
const LONG_RUN: u64 = 10_000_000_000;

/// What takes the steps of a phase.
pub(super) struct Engine {
    pub rows: Rows,
    pub validation: Option<Evaluation>,
    pub steps: Vec<Compiled>,
    /// What a turn is: steps by their number, each with the program that ends it.
    turn: Vec<(usize, Program)>,
    pub table: Table,
    /// Whether a first step was reported.
    reported: bool,
    tally: Tally,
    /// The step whose gradients lie there and may be applied.
    pub apart: Option<u64>,
    readbacks: Vec<Readback>,
    pub in_flight: VecDeque<Submit>,
    pub clock: Option<Clock>,
    /// Seconds that a step keeps the device busy, as it was measured last: a mean over those of a submit.
    pub each: Option<f64>,
    /// What steps are parted by that are longer than a host has time for.
    pub spread: Option<Spread>,
    pub flags: Buffer,
    begun: Instant,
    /// When the last report arrived.
    pub last: Instant,
    /// Time spent in submitting since then.
    submitting: Duration,
}

/// A step's programs.
pub(super) struct Compiled {
    /// Its name, which those of its terms begin with; empty for a session's.
    name: String,
    terms: Vec<String>,
    /// Forward and backward.
    pub passes: Program,
    /// What these give way to after the first report: the same to the bit, but faster and longer to compile.
    faster: Option<Arc<Recording>>,
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
    readback: usize,
    first: u64,
    steps: u64,
    /// Rows that each of its steps saw.
    rows: usize,
    epoch: u64,
    /// Dispatches of its first step that were submitted before.
    submitted: usize,
    /// When it was made, and how long the call took: a driver that runs shaders on the calling thread does the work in
    /// it.
    begun: Instant,
    took: Duration,
}

/// What was reported of steps and not yet given away.
#[derive(Default)]
struct Tally {
    /// Rows that its steps saw, all together.
    rows: u64,
    /// Of each of the phase's steps how often it was taken, and the sums of its terms.
    taken: Vec<(u64, Vec<f64>)>,
}

impl Submit {
    /// The steps that were taken, by their number.
    fn taken(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.steps
    }
}

/// A step's recordings.
struct Planned {
    name: String,
    terms: Vec<String>,
    passes: Recording,
    faster: Option<Recording>,
    updates: Vec<Recording>,
}

impl Planned {
    /// Plans one of some steps of a table's scalars; `left` turns of it are to come.
    fn new(resident: &Resident, steps: &[Step], which: usize, target: &Target, left: u64) -> Result<Planned> {
        let (tensors, step, moments) = (&resident.tensors, &steps[which], moments(steps, which));
        // Its table may be wider than the graph's: updates of other steps have columns, too.
        let graph = step.graph.clone().with_scalars(tensors.scalars().clone());
        let passes = Recording::new(&graph, Target { quick: true, ..target.clone() })?;
        let faster = Recording::new(&graph, target.clone())?;
        let flops = faster.cost().flops.saturating_mul(left).saturating_mul(step.repeat);
        let pays = faster.dispatches != passes.dispatches && flops >= LONG_RUN;
        // The driver of a software adapter compiles in the queue: a host that shares it would wait in the middle of the run.
        let at_once = resident.gpu.is_shared() && target.kind == AdapterKind::Software;
        let (passes, faster) = match pays {
            true if at_once => (faster, None),
            pays => (passes, pays.then_some(faster)),
        };
        let updates = step.updates.iter().zip(&moments).enumerate();
        let updates = updates.map(|(i, (update, moments))| update.graph(tensors, i, moments));
        let state = step.state.iter().map(|&set| {
            let mut graph = tensors.without_nodes();
            let next = graph.arena(set.arena(Kept::Gradients));
            graph.sink(Sink::Update(set.arena(Kept::Values)), next);
            Ok(graph)
        });
        let updates = updates.chain(state).map(|graph| Recording::new(&graph?, Target::of(&resident.gpu, 1)));
        let updates = updates.collect::<Result<_>>()?;
        let (name, terms) = (step.name.clone(), graph.terms().to_vec());
        Ok(Planned { name, terms, passes, faster, updates })
    }

    /// All that is to be compiled.
    fn recordings(&self) -> impl Iterator<Item = &Recording> {
        [&self.passes].into_iter().chain(&self.updates)
    }

    fn compile(self, resident: &Resident, made: &dyn Fn()) -> Result<Compiled> {
        let compile = |recording| Program::with(&resident.gpu, recording, &resident.state, &resident.shared, made);
        let passes = compile(&self.passes)?;
        let updates = self.updates.iter().map(compile).collect::<Result<_>>()?;
        let Planned { name, terms, faster, .. } = self;
        Ok(Compiled { name, terms, passes, faster: faster.map(Arc::new), updates })
    }
}

impl Compiled {
    /// What something of it is called in reports.
    fn named(&self, term: &str) -> String {
        if self.name.is_empty() { term.into() } else { format!("{}.{term}", self.name) }
    }
}

impl Engine {
    /// Begins: nothing went bad yet, and some of what is kept is 0. Not part of making it, which may go on after whoever
    /// wanted it has gone.
    pub fn begin(&self, resident: &Resident, anew: &[Buffer]) -> Result<()> {
        resident.gpu.write(&self.flags, 0, &[0; 16])?;
        resident.gpu.write(&resident.state, 0, &[0; 64])?;
        match anew {
            [] => Ok(()),
            _ => resident.gpu.submit(anew.iter().map(Work::Clear)),
        }
    }

    /// An engine of these steps, in the order of a turn, over such rows; `now` of them were taken. What they keep
    /// is there ([`super::run::keeps`]).
    pub fn new(
        resident: &Resident,
        rows: Rows,
        steps: &[Step],
        table: Table,
        target: &Target,
        now: u64,
        told: &dyn Fn(Loading),
    ) -> Result<Engine> {
        let left = table.turns().saturating_sub(now / table.turn.len() as u64);
        let planned = (0..steps.len()).map(|which| Planned::new(resident, steps, which, target, left));
        let planned = planned.collect::<Result<Vec<_>>>()?;
        let of = planned.iter().flat_map(Planned::recordings).map(|recording| recording.dispatches.len() as u64).sum();
        let kernels = Cell::new(0);
        let made = || {
            kernels.set(kernels.get() + 1);
            told(Loading::Compiling { kernels: kernels.get(), of });
        };
        let compiled = planned.into_iter().map(|step| step.compile(resident, &made));
        let compiled = compiled.collect::<Result<Vec<_>>>()?;
        let (gpu, state, ring) = (&resident.gpu, &resident.state, &resident.ring);
        let flags = resident.buffer(Role::Flags)?.clone();
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
        let clock = gpu.has_timestamps().then(|| Clock::new(gpu, 1)).transpose()?;
        let ticks = clock.as_ref().map_or(0, |clock| clock.ticks.bytes());
        let bytes = ring.bytes() + state.bytes() + flags.bytes() + ticks;
        Ok(Engine {
            rows,
            validation: None,
            steps: compiled,
            turn,
            table,
            reported: false,
            tally: Tally::default(),
            apart: None,
            readbacks: (0..2).map(|_| Readback::new(gpu, bytes)).collect::<Result<_>>()?,
            in_flight: VecDeque::new(),
            clock,
            each: None,
            spread: None,
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
        let probe = self.spread.iter().map(Spread::buffer);
        let ticks = self.clock.iter().map(|clock| &clock.ticks);
        let readbacks =
            self.readbacks.iter().map(Readback::buffer).chain(probe).chain(ticks).map(|buffer| (None, buffer));
        programs.chain(readbacks).chain(self.validation.iter().flat_map(Evaluation::held))
    }

    /// Of each step of a turn what its terms are called, and at the end its gradient and its update.
    pub fn term_names(&self) -> Vec<Vec<String>> {
        let names = |(which, _): &(usize, Program)| {
            let step = &self.steps[*which];
            step.terms.iter().map(String::as_str).chain(["gradient", "update"]).map(|term| step.named(term)).collect()
        };
        self.turn.iter().map(names).collect()
    }

    /// What reads the report of the oldest submit.
    pub fn oldest(&mut self) -> Option<&mut Readback> {
        let at = self.in_flight.front()?.readback;
        self.readbacks.get_mut(at)
    }

    /// What a step runs, in order: its passes, its end, and its updates.
    fn programs(&self, step: u64) -> impl Iterator<Item = &Program> {
        programs(&self.turn, &self.steps, step)
    }

    /// Which of the phase's steps comes after `now` others.
    pub fn which(&self, now: u64) -> usize {
        self.table.turn[(now % self.table.turn.len() as u64) as usize]
    }

    /// Dispatches of one turn.
    pub fn dispatches(&self) -> usize {
        (0..self.turn.len() as u64).flat_map(|step| self.programs(step)).map(Program::dispatches).sum()
    }

    /// Changes to another plan of a step at once.
    pub fn replan(&mut self, resident: &Resident, step: usize, recording: Recording) -> Result<()> {
        self.steps[step].faster = Some(Arc::new(recording));
        pollster::block_on(self.hasten(resident, true, Wait::Block))
    }

    /// Changes to faster kernels where that pays, once a first step was reported or at once.
    pub async fn hasten(&mut self, resident: &Resident, at_once: bool, how: Wait) -> Result<()> {
        if !(self.reported || at_once) {
            return Ok(());
        }
        for at in 0..self.steps.len() {
            let Some(faster) = self.steps[at].faster.clone() else { continue };
            // What was begun is of the kernels that go.
            self.abandon(&resident.gpu)?;
            let (gpu, state) = (resident.gpu.clone(), resident.state.clone());
            // What passes between dispatches is laid out anew.
            let mut shared = self.steps[at].passes.buffers().clone();
            shared.retain(|role, _| !role.is_slot());
            let compiled = apart(how, &mut |()| {}, move |_| Program::new(&gpu, &faster, &state, &shared)).await;
            // What cannot be compiled is not tried again.
            self.steps[at].faster = None;
            self.steps[at].passes = compiled?;
            (self.each, self.spread) = (None, None);
        }
        Ok(())
    }

    /// The place for another report; none where two submits are in flight.
    pub fn free(&self) -> Option<usize> {
        self.readbacks.iter().position(|readback| !readback.busy())
    }

    /// Forgets gradients that nobody applied, and whether they were bad: those of the steps that come are others.
    pub fn drop_gradients(&mut self, gpu: &Gpu) -> Result<()> {
        match self.apart.take() {
            Some(_) => gpu.write(&self.flags, 4, &[0; 4]),
            None => Ok(()),
        }
    }

    /// Submits the forward and backward passes of the step after `now` others, and neither its end nor its updates.
    pub fn backward(&mut self, resident: &Resident, now: u64) -> Result<()> {
        let (gpu, state) = (&resident.gpu, &resident.state);
        self.rows.place(gpu, state, now)?;
        self.table.write(gpu, now, 1)?;
        self.drop_gradients(gpu)?;
        self.abandon(gpu)?;
        gpu.submit(self.programs(now).take(1).map(Work::Run))?;
        self.apart = Some(now);
        Ok(())
    }

    /// Steps that may be taken in one submit after `now` others: until the data must be moved on by the host's hand,
    /// and no more than whole turns, so that all of a turn are reported together.
    fn room(&self, now: u64) -> u64 {
        let turn = self.turn.len() as u64;
        let turns = self.rows.steps_left().min(STEPS / turn);
        turns.saturating_mul(turn).saturating_sub(now % turn)
    }

    /// Notes that steps were submitted.
    fn advance(&mut self, now: u64, steps: u64) {
        let turn = self.turn.len() as u64;
        self.rows.advance((now % turn + steps) / turn, (now + steps).is_multiple_of(turn));
    }

    /// Submits up to `steps.count` steps and returns how many: fewer where the data must be moved on first, none where
    /// two submits are in flight. What comes with it is the error where those steps are taken but cannot be reported.
    pub fn submit(&mut self, resident: &Resident, steps: Steps) -> Result<(u64, Result<()>)> {
        let Some(readback) = self.free() else { return Ok((0, Ok(()))) };
        let (gpu, state, ring) = (&resident.gpu, &resident.state, &resident.ring);
        let Steps { now, count, apart } = steps;
        if count == 0 {
            return Ok((0, Ok(())));
        }
        if self.apart.is_some() && !apart {
            self.rows.look_again();
        }
        self.rows.place(gpu, state, now)?;
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
        // Of the first one what is left.
        let mut programs = (now..now + steps).flat_map(|step| programs(&self.turn, &self.steps, step));
        let passes = programs.next();
        let all = passes.map_or(0, Program::dispatches);
        let parted = self.spread.as_ref().map_or(0, |spread| spread.submitted(now));
        let submitted = if apart { all } else { parted };
        let rest = passes.map(|passes| Work::Part(passes, submitted, all));
        let work = rest.into_iter().chain(programs.map(Work::Run));
        let ticks = self.clock.as_ref().map(|clock| &clock.ticks);
        let parts = [ring, state, &self.flags].into_iter().chain(ticks).map(|buffer| (buffer, 0..buffer.bytes()));
        let parts: Vec<_> = parts.collect();
        if let Err(error) = self.readbacks[readback].start_after(work, self.clock.as_ref(), &parts) {
            // What is reported of such a call may be of something else that the device did in it: it has counted its
            // steps.
            return Ok((resident.counted(now)? - now, Err(error)));
        }
        if let Some(spread) = &mut self.spread {
            spread.end();
        }
        let took = begun.elapsed();
        self.submitting += took;
        self.advance(now, steps);
        let epoch = self.rows.epoch();
        let rows = self.rows.rows_of_batch();
        self.in_flight.push_back(Submit { readback, first: now, steps, rows, epoch, submitted, begun, took });
        Ok((steps, Ok(())))
    }

    /// Takes up to `steps` steps in one submit and tells of each how long its dispatches took. Of turns of one step.
    pub fn timed(&mut self, resident: &Resident, now: u64, steps: u64) -> Result<Vec<Vec<Timed>>> {
        let (gpu, state) = (&resident.gpu, &resident.state);
        self.rows.place(gpu, state, now)?;
        let steps = steps.min(self.room(now));
        self.table.write(gpu, now, steps)?;
        self.drop_gradients(gpu)?;
        self.abandon(gpu)?;
        let programs: Vec<&Program> = (now..now + steps).flat_map(|step| self.programs(step)).collect();
        let times = gpu.timed(&programs)?;
        self.advance(now, steps);
        Ok(times.chunks(self.dispatches()).map(<[Timed]>::to_vec).collect())
    }

    /// Forgets the reports that nobody has read.
    pub fn forget(&mut self) {
        self.in_flight.clear();
        self.tally = Tally::default();
        self.readbacks.iter_mut().for_each(Readback::discard);
    }

    /// Takes the report of the oldest submit, or what went bad in it. Where `whole`, none is given away before its turn has
    /// ended; it tells of the steps of earlier ones, too.
    pub fn received(&mut self, bytes: &[u8], whole: bool) -> Result<std::result::Result<Option<Progress>, Bad>> {
        let submit = self.in_flight.pop_front().ok_or_else(|| Error::Internal("no submit in flight".into()))?;
        self.reported = true;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let (ring, state) = words.split_at(RING * TERMS);
        // What ran in the calls since the last report belongs to later submits, what ran in this one's call to it.
        self.submitting = self.submitting.saturating_sub(submit.took);
        self.measure(&submit, state.get(STATE_WORDS..).unwrap_or_default());
        if let Some(bad) = Bad::find(state, submit.first)? {
            return Ok(Err(bad));
        }
        self.count(ring, &submit);
        let ended = (submit.first + submit.steps).is_multiple_of(self.turn.len() as u64);
        Ok(Ok((ended || !whole).then(|| self.report(&submit))))
    }

    /// Adds up the terms of a submit's steps.
    fn count(&mut self, ring: &[u32], submit: &Submit) {
        self.tally.taken.resize(self.steps.len(), (0, vec![]));
        for step in submit.taken() {
            let which = self.which(step);
            let row = &ring[step as usize % RING * TERMS..];
            let (times, sums) = &mut self.tally.taken[which];
            sums.resize(self.steps[which].terms.len(), 0.0);
            sums.iter_mut().zip(row).for_each(|(sum, bits)| *sum += f64::from(f32::from_bits(*bits)));
            *times += 1;
        }
        self.tally.rows += submit.steps * submit.rows as u64;
    }

    /// Keeps how long a step takes. A clock says how long the submit kept the device busy. Without one it is only known
    /// that the submit took no longer than until now.
    fn measure(&mut self, submit: &Submit, ticks: &[u32]) {
        let timed = match (&self.clock, bytemuck::pod_collect_to_vec::<u32, u64>(ticks).as_slice()) {
            (Some(clock), &[begin, end]) => clock.seconds([begin, end]),
            _ => None,
        };
        let Some(seconds) = timed else {
            // A clock that stands still tells nothing.
            self.clock = None;
            if submit.submitted == 0 {
                let most = submit.begun.elapsed().as_secs_f64() / submit.steps as f64;
                // What else the device does comes and goes, and so does the time until a report is read.
                self.each = Some(self.each.map_or(most, |before| most.min(before * 1.5)));
            }
            return;
        };
        let (which, each) = (self.which(submit.first), seconds / submit.steps as f64);
        let (alone, alike) = (submit.steps == 1, self.steps.len() == 1);
        let taken: Vec<usize> = submit.taken().map(|step| self.which(step)).collect();
        match &mut self.spread {
            Some(spread) if alone || alike && submit.submitted == 0 => {
                spread.learn(which, spread.parts_after(which, submit.submitted), each);
            }
            // Of steps that differ it is known how they share what they took together.
            Some(spread) if submit.submitted == 0 => {
                let known: Option<f64> = taken.iter().map(|&which| spread.whole(which)).sum();
                let factor = known.filter(|known| *known > 0.0).map(|known| seconds / known);
                for which in (0..self.steps.len()).filter(|which| taken.contains(which)) {
                    if let (Some(factor), Some(whole)) = (factor, spread.whole(which)) {
                        spread.learn(which, spread.parts_after(which, 0), whole * factor);
                    }
                }
            }
            _ => {}
        }
        if submit.submitted == 0 {
            self.each = Some(each);
        } else if alone && alike {
            // Parts of a step say what the whole takes once each of them was measured.
            self.each = self.spread.as_ref().and_then(|spread| spread.whole(which)).or(self.each);
        }
    }

    /// Steps that keep the device busy for so long: one where it is not known how long a step takes, or where one takes
    /// longer.
    pub fn steps_in(&self, budget: Duration) -> u64 {
        let fits = |each: f64| (budget.as_secs_f64() / each.max(1e-9)) as u64;
        self.each.map_or(1, fits).clamp(1, STEPS)
    }

    /// Steps for the next submit of a whole run, after one of so many.
    pub fn next_budget(&self, gpu: &Gpu, before: u64) -> u64 {
        self.steps_in(if gpu.is_shared() { SHARED } else { SUBMIT }).min(before.saturating_mul(4))
    }

    /// Whether the device is at work on a submit, as far as is known: whoever polls it finds out.
    pub fn is_working(&self) -> bool {
        self.readbacks.iter().any(Readback::waits)
    }

    /// What is to be told of the steps since the last report, of which a submit has the last ones: of each of the phase's
    /// steps that was taken the means of its terms.
    fn report(&mut self, submit: &Submit) -> Progress {
        let Tally { rows, taken } = std::mem::take(&mut self.tally);
        let elapsed = self.last.elapsed().saturating_sub(self.submitting).as_secs_f64();
        let taken = self.steps.iter().zip(&taken).filter(|(_, (times, _))| *times > 0);
        let terms = taken.flat_map(|(step, (times, sums))| {
            step.terms.iter().zip(sums).map(|(term, sum)| (step.named(term), sum / *times as f64))
        });
        let terms: Vec<(String, f64)> = terms.collect();
        (self.last, self.submitting) = (Instant::now(), Duration::ZERO);
        Progress {
            step: submit.first + submit.steps,
            total_steps: self.table.total_steps(),
            epoch: submit.epoch,
            loss: terms.iter().map(|(_, v)| v).sum(),
            terms,
            validation: None,
            learning_rate: self.table.learning_rate(submit.first + submit.steps - 1),
            rows_per_second: rows as f64 / self.turn.len() as f64 / elapsed,
            elapsed: self.begun.elapsed(),
        }
    }
}

/// What a step of such turns runs, in order.
fn programs<'a>(turn: &'a [(usize, Program)], steps: &'a [Compiled], step: u64) -> impl Iterator<Item = &'a Program> {
    let (which, finish) = &turn[(step % turn.len() as u64) as usize];
    let Compiled { passes, updates, .. } = &steps[*which];
    [passes, finish].into_iter().chain(updates)
}

const _: () = assert!(RING == Scalars::STEPS, "a row for every step that reports tell apart");
const _: () = assert!(STEPS as usize <= Scalars::FEWEST, "a row for every step of a submit");

/// Words of state and flags in a report.
const STATE_WORDS: usize = size_of::<State>() / 4 + 4;
