//! The course of training: how far a run or a phase has come, what takes its steps, and how those that were submitted are
//! followed to their end. A session has one, and so has a trainer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::averages::Average;
use super::divergence::Bad;
use super::engine::{Engine, Steps};
use super::evaluate::{Evaluation, Ground};
use super::live::Rows;
use super::looked::Looked;
use super::options::EarlyStopping;
use super::phase::{Step, keeps};
use super::progress::{Best, Plateau, Told};
use super::resident::Resident;
use super::table::Table;
use super::{Cancel, Decay, Objective, Progress, Snapshot};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Timed, Wait, apart};
use crate::graph::{Arena, Kept, Set};
use crate::plan::{Role, Target};

/// How far training has come.
pub(super) struct Course {
    /// What errors call its owner: Session or Trainer.
    owner: &'static str,
    /// The tensors on the GPU, and what training keeps of them.
    pub resident: Resident,
    /// Steps submitted.
    pub step: u64,
    /// The step at which it started: 0, unless it follows another over the same moments.
    pub start: u64,
    /// Whether it has come to its end, so that loading data begins another.
    pub finished: bool,
    /// How many rows it trains on, once they are loaded. Its steps and epochs are counted in them.
    pub rows: Option<u64>,
    /// Bytes that its rows might take when they were loaded last, by which they may come in parts.
    pub data_budget: Option<u64>,
    /// Whether an epoch has ended, after which the validation rows have not been evaluated yet.
    pub validation_due: bool,
    /// When it stops early, and what that has seen so far.
    pub early: Option<EarlyStopping>,
    pub best: Best,
    /// The rows of the caller's own that it looks at, since they were loaded; none where they are held out.
    pub looked: Option<Looked>,
    /// How learning rates fall, and what looks have made of them.
    pub decay: Decay,
    pub plateau: Plateau,
    /// The averages that are kept.
    pub averages: BTreeMap<Set, Average>,
    /// Whether steps were submitted of which it is not known yet whether all went well.
    pub unchecked: bool,
    pub cancel: Cancel,
    /// Steps between two snapshots of a run, the step from which they count, and the last one.
    snapshots: Option<u64>,
    pub snapshot_at: u64,
    pub snapshot: Option<Snapshot>,
    /// Of each step of a turn what its terms are called.
    terms: Vec<Vec<String>>,
    /// What takes its steps, once data is loaded.
    pub engine: Option<Engine>,
}

/// Steps that are to be made ready.
pub(super) struct Ahead {
    pub rows: Rows,
    pub steps: Vec<Step>,
    pub table: Table,
    pub target: Target,
    pub validation: Option<(Ground, Arc<dyn Source>)>,
    /// How many of them were taken. Before the first one moments are 0 and averages begin anew.
    pub now: u64,
}

impl Course {
    /// One before its first step.
    pub fn new(owner: &'static str, resident: Resident) -> Course {
        Course {
            owner,
            resident,
            step: 0,
            start: 0,
            finished: false,
            rows: None,
            data_budget: None,
            validation_due: false,
            early: None,
            best: Best::default(),
            looked: None,
            decay: Decay::default(),
            plateau: Plateau::default(),
            averages: BTreeMap::new(),
            unchecked: false,
            cancel: Cancel::default(),
            snapshots: None,
            snapshot_at: 0,
            snapshot: None,
            terms: vec![],
            engine: None,
        }
    }

    /// Takes such steps from now on, and looks at validation rows where there are some. Until all is ready nothing of it
    /// changes, so it may be dropped anywhere.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Kernel`] or [`Error::Device`] where they cannot be made ready; as the source of rows.
    pub async fn begin(&mut self, ahead: Ahead, how: Wait, told: Told<'_>) -> Result<()> {
        let Ahead { rows, steps, table, target, validation, now } = ahead;
        let averages = self.averages_of(&steps, now);
        let (resident, anew) = self.kept_for(&steps, &averages, now)?;
        let mut shared = resident.clone();
        shared.shared.insert(Role::Data, rows.buffer().clone());
        let engine = apart(how, &mut *told, move |told| {
            let mut engine = Engine::new(&shared, rows, &steps, table, &target, now, told)?;
            engine.validation = validation.map(|(ground, rows)| Evaluation::new(&ground, rows)).transpose()?;
            Ok(engine)
        });
        let mut engine = engine.await?;
        engine.rows.fetch(&self.resident.gpu, how, told).await?;
        engine.begin(&resident, &anew)?;
        (self.resident, self.averages, self.step) = (resident, averages, now);
        self.terms = engine.term_names();
        self.engine = Some(engine);
        Ok(())
    }

    /// What is kept for such steps, so many of which were taken, and the buffers of it that are there but begin anew.
    fn kept_for(&self, steps: &[Step], averages: &BTreeMap<Set, Average>, now: u64) -> Result<(Resident, Vec<Buffer>)> {
        let averaged = |set: &Set| averages.get(set).is_some_and(|average| self.averages.get(set) == Some(average));
        let goes_on = |arena: &Arena| match arena.kept {
            Kept::First(_) | Kept::Second(_) => now > 0,
            Kept::Average => now > 0 && averaged(&arena.set),
            Kept::Values | Kept::Gradients | Kept::Best => true,
        };
        let wanted = keeps(steps);
        let (mut resident, mut anew) = (self.resident.clone(), vec![]);
        resident.shared.retain(|role, buffer| match role {
            Role::Arena(arena) if !goes_on(arena) => {
                anew.extend(wanted.contains(arena).then(|| buffer.clone()));
                wanted.contains(arena)
            }
            _ => true,
        });
        wanted.iter().try_for_each(|arena| resident.keep(arena.set, arena.kept))?;
        Ok((resident, anew))
    }

    /// Sees to it that the GPU holds the rows of the next step.
    pub async fn fetch(&mut self, how: Wait) -> Result<()> {
        let (engine, resident) = self.engine()?;
        engine.rows.fetch(&resident.gpu, how, &mut |_| {}).await
    }

    /// Forgets a step that was begun, since what it reads is about to change: it begins anew.
    pub fn abandon(&mut self) -> Result<()> {
        match &mut self.engine {
            Some(engine) => engine.abandon(&self.resident.gpu),
            None => Ok(()),
        }
    }

    /// Replaces the trainable tensors. What was seen of others is forgotten.
    pub fn set_parameters(&mut self, values: &[Vec<f32>]) -> Result<()> {
        self.abandon()?;
        self.resident.write_all(Kept::Values, "parameters", values)?;
        self.forget_looks();
        Ok(())
    }

    /// Forgets what looks at validation rows have found: it was of others, or of other parameters. Learning rates stay
    /// what it made of them.
    pub fn forget_looks(&mut self) {
        (self.best, self.plateau.seen, self.validation_due) = (Best::default(), Best::default(), false);
    }

    /// What takes the steps, and what they run on.
    ///
    /// # Errors
    /// [`Error::Data`] where no data is loaded.
    pub fn engine(&mut self) -> Result<(&mut Engine, &Resident)> {
        let Some(engine) = &mut self.engine else {
            // A lost device may have been what it went with.
            self.resident.gpu.check()?;
            let allowed = format!("data given to {0}::load or {0}::fit", self.owner);
            return Err(Error::data("training data", "none", allowed));
        };
        Ok((engine, &self.resident))
    }

    pub fn in_flight(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.in_flight.len())
    }

    /// The step that it ends with.
    pub fn total_steps(&mut self) -> Result<u64> {
        Ok(self.engine()?.0.table.total_steps())
    }

    /// Steps that are left. Asked for where there are none, the run is over.
    pub fn left(&mut self) -> Result<u64> {
        let left = self.total_steps()?.saturating_sub(self.step);
        self.finished |= left == 0;
        Ok(left)
    }

    /// Steps of a turn and of an epoch.
    fn periods(&mut self) -> Result<(u64, u64)> {
        let engine = self.engine()?.0;
        let turn = engine.table.turn.len() as u64;
        Ok((turn, engine.rows.steps_per_epoch().saturating_mul(turn)))
    }

    /// Steps from now on that end with a turn: as many as fit `budget`, at least what is left of the turn.
    pub fn whole_turns(&mut self, budget: u64) -> Result<u64> {
        let (turn, _) = self.periods()?;
        let left = turn - self.step % turn;
        Ok(left.saturating_add(budget.saturating_sub(left) / turn * turn))
    }

    /// Steps that may still be submitted before the next validation, where there is one.
    pub fn steps_left_in_epoch(&mut self) -> Result<Option<u64>> {
        let step = self.step.saturating_sub(self.start);
        let (_, per_epoch) = self.periods()?;
        let (engine, _) = self.engine()?;
        let ended = step > 0 && step.is_multiple_of(per_epoch);
        Ok(engine.validation.as_ref().map(|_| match ended && !engine.in_flight.is_empty() {
            true => 0,
            false => per_epoch - step % per_epoch,
        }))
    }

    pub fn epoch_ended(&mut self) -> Result<bool> {
        let (_, per_epoch) = self.periods()?;
        Ok(self.step.saturating_sub(self.start).is_multiple_of(per_epoch))
    }

    /// Submits up to so many steps, of a single one without the passes where its gradients are there already.
    pub fn submit(&mut self, count: u64, apart: bool) -> Result<u64> {
        let steps = Steps { now: self.step, count, apart };
        let (engine, resident) = self.engine()?;
        let (taken, asked) = engine.submit(resident, steps)?;
        self.step += taken;
        self.unchecked |= taken > 0;
        if asked.is_err() && taken > 0 {
            // No report will tell how these steps ended. Loading data again finds out.
            self.engine = None;
        }
        asked.map(|()| taken)
    }

    /// Takes up to `steps` steps in one submit and tells of each how long its dispatches took.
    pub fn timed_steps(&mut self, steps: u64) -> Result<Vec<Vec<Timed>>> {
        let now = self.step;
        let (engine, resident) = self.engine()?;
        let times = engine.timed(resident, now, steps)?;
        self.step += times.len() as u64;
        self.unchecked = true;
        Ok(times)
    }

    /// Changes to faster kernels where that pays, after the first report or at once. Compiling them takes a while.
    pub async fn hasten(&mut self, at_once: bool, how: Wait) -> Result<()> {
        let (engine, resident) = self.engine()?;
        engine.hasten(resident, at_once, how).await
    }

    /// Waits for what is under way before its engine goes, so that nothing it came to is lost: a step that went bad is
    /// told, and an epoch of a run that ended is looked at. It may be dropped at any point and begun again.
    pub async fn settle(&mut self, how: Wait) -> Result<()> {
        let bad = if self.unchecked { self.bad(how).await? } else { None };
        self.settle_after(bad, how).await
    }

    /// As [`Course::settle`] where everything was waited for, and this went bad.
    pub async fn settle_after(&mut self, bad: Option<Bad>, how: Wait) -> Result<()> {
        if self.unchecked {
            if let Some(bad) = bad {
                return Err(self.stop_at(&bad));
            }
            self.unchecked = false;
            if let Some(engine) = &mut self.engine {
                engine.forget();
            }
        }
        if self.validation_due && self.engine.is_some() {
            self.validate(how).await?;
        }
        Ok(())
    }

    /// Waits for everything submitted and tells whether a step of it went bad.
    pub async fn bad(&self, how: Wait) -> Result<Option<Bad>> {
        self.resident.bad(self.step, how).await
    }

    /// Waits for everything submitted: the step after which training stands then, and whether the next one went bad.
    ///
    /// # Errors
    /// [`Error::Diverged`] where that was taken in part.
    pub async fn settled_step(&self, how: Wait) -> Result<(u64, bool)> {
        match self.bad(how).await? {
            Some(bad) if bad.torn() => Err(self.diverged(&bad)),
            Some(bad) => Ok((bad.step, true)),
            None => Ok((self.step, false)),
        }
    }

    /// See [`super::Session::snapshot_every`]. Between two snapshots lies a step at least, or they were one.
    pub fn snapshot_every(&mut self, steps: Option<u64>) {
        self.snapshots = steps.map(|steps| steps.max(1));
    }

    /// Whether so many steps were taken since the last snapshot as lie between two.
    pub fn snapshot_is_due(&self) -> bool {
        self.snapshots.is_some_and(|every| self.step.saturating_sub(self.snapshot_at) >= every)
    }

    /// Keeps a snapshot in the place of the one before.
    pub fn keep_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot_at = snapshot.step();
        self.snapshot = Some(snapshot);
    }

    /// Sets the course back to where a bad step stopped it. Returns the error that tells of the step.
    fn stop_at(&mut self, bad: &Bad) -> Error {
        // What is still in flight changes nothing any more.
        (self.step, self.engine, self.unchecked, self.validation_due) = (bad.taken(), None, false, false);
        self.finished = false;
        if bad.torn() {
            // They have taken it, too.
            self.averages.clear();
        }
        self.diverged(bad)
    }

    /// The error that names the step and what went bad in it.
    fn diverged(&self, bad: &Bad) -> Error {
        bad.error(&self.terms)
    }

    /// Waits for the report of the oldest submit; none where it ends in the middle of a turn, of which the next one tells.
    ///
    /// # Errors
    /// [`Error::Internal`] where no submit is in flight.
    pub async fn next_report(&mut self, how: Wait) -> Result<Option<Progress>> {
        let readback = self.engine()?.0.oldest();
        let Some(readback) = readback else { return Err(Error::Internal("no submit is in flight".into())) };
        let finished = readback.finish(how).await;
        let bytes = self.readable(finished)?;
        self.received(&bytes, true)
    }

    /// The report of the oldest submit, if it has arrived; never waits.
    pub fn progress(&mut self) -> Result<Option<Progress>> {
        let Some(readback) = self.engine.as_mut().and_then(Engine::oldest) else {
            return self.resident.gpu.alive().map(|()| None);
        };
        let taken = readback.take();
        match self.readable(taken)? {
            Some(bytes) => self.received(&bytes, false),
            None => Ok(None),
        }
    }

    /// A report, or why it cannot be read: then nobody knows how its steps ended until data is loaded.
    fn readable<R>(&mut self, report: Result<R>) -> Result<R> {
        if report.is_err() {
            self.engine = None;
        }
        report
    }

    fn received(&mut self, bytes: &[u8], whole: bool) -> Result<Option<Progress>> {
        match self.engine()?.0.received(bytes, whole)? {
            Ok(progress) => Ok(progress),
            Err(bad) => Err(self.stop_at(&bad)),
        }
    }

    /// Whether the validation loss has not improved for as long as early stopping waits.
    pub fn waited_long(&self) -> bool {
        self.early.is_some_and(|early| self.best.waited >= early.patience)
    }

    /// Looks at the validation rows, where there are any, and keeps the parameters where they are the best so far. The
    /// learning rates of the steps to come may fall by it.
    pub async fn validate(&mut self, how: Wait) -> Result<Option<Objective>> {
        let gpu = self.resident.gpu.clone();
        let Some(validation) = &mut self.engine()?.0.validation else { return Ok(None) };
        let found = validation.run(&gpu, how).await;
        // A look that fails is told by this call, and not tried again: its data may be gone for good.
        self.validation_due = false;
        let found = found?;
        let loss = found.loss;
        let best = self.best.after(loss, self.early.map_or(0.0, |early| early.min_delta));
        if best.waited == 0 {
            self.resident.copy(Kept::Values, Kept::Best)?;
        }
        self.best = best;
        self.plateau = self.decay.after(self.plateau, loss);
        self.engine()?.0.table.factor = self.plateau.factor;
        Ok(Some(found))
    }
}
