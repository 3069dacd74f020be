//! Steps that keep the device busy for longer than a frame has room for: submitted dispatch by dispatch, over several
//! calls, so that whatever the host submits comes in between. Updates are not parted, so parameters are always those
//! after whole steps.

use std::ops::Range;
use std::time::Duration;

use super::engine::{Engine, STEPS};
use super::resident::Resident;
use crate::error::Result;
use crate::gpu::{Buffer, Clock, Gpu, Parts, Readback, Wait, Work};

/// How long the parts of steps take, and how far one has come.
pub(super) struct Spread {
    /// Of each of the phase's steps how long every dispatch of its passes takes, then all that follows them.
    steps: Vec<Parts>,
    /// The step that was begun, and how many of its dispatches were submitted.
    begun: Option<(u64, usize)>,
    /// Reads how long some parts took, and of which of the phase's steps they are.
    probe: Readback,
    timed: (usize, Range<usize>),
}

/// What fits a time.
pub(super) enum Fitting {
    /// So many steps, of the first one what is left.
    Steps(u64),
    /// The next step up to a dispatch.
    Part(usize),
}

impl Spread {
    /// Of steps whose passes have so many dispatches.
    fn new(gpu: &Gpu, clock: &Clock, dispatches: impl Iterator<Item = usize>) -> Result<Spread> {
        let probe = Readback::new(gpu, clock.ticks.bytes())?;
        let steps = dispatches.map(|dispatches| Parts::new(dispatches + 1)).collect();
        Ok(Spread { steps, begun: None, probe, timed: (0, 0..0) })
    }

    /// The buffer that it holds.
    pub fn buffer(&self) -> &Buffer {
        self.probe.buffer()
    }

    /// Dispatches of a step that were submitted before it was counted.
    pub fn submitted(&self, step: u64) -> usize {
        self.begun.filter(|(begun, _)| *begun == step).map_or(0, |(_, dispatches)| dispatches)
    }

    /// What was begun counts as a whole step from now on, or is forgotten.
    pub fn end(&mut self) {
        self.begun = None;
    }

    /// Seconds of the whole of one of the phase's steps, where all its parts were measured.
    pub fn whole(&self, which: usize) -> Option<f64> {
        self.steps.get(which)?.whole()
    }

    /// Notes how long some parts of one of the phase's steps took together.
    pub fn learn(&mut self, which: usize, parts: Range<usize>, seconds: f64) {
        if let Some(step) = self.steps.get_mut(which) {
            step.learn(parts, seconds);
        }
    }

    /// Notes what the probe read.
    fn timed(&mut self, clock: &Clock, ticks: &[u8]) {
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(ticks);
        if let Some(seconds) = ticks.first_chunk().and_then(|ticks| clock.seconds(*ticks)) {
            let (which, parts) = self.timed.clone();
            self.learn(which, parts, seconds);
        }
    }

    /// The parts of one of the phase's steps after so many dispatches.
    pub fn parts_after(&self, which: usize, dispatches: usize) -> Range<usize> {
        dispatches..self.steps.get(which).map_or(dispatches, Parts::count)
    }

    fn is_working(&self) -> bool {
        self.probe.waits()
    }
}

impl Engine {
    /// What fits a time after `now` steps; none while the device is at work on something. Whoever polls it finds out.
    pub fn fitting(&mut self, resident: &Resident, now: u64, budget: Duration) -> Result<Option<Fitting>> {
        if self.is_working() || self.spread.as_ref().is_some_and(Spread::is_working) {
            return Ok(None);
        }
        // Rows that change would do so in the middle of a step.
        let Some(clock) = self.clock.as_ref().filter(|_| !self.rows.are_live()) else {
            return Ok(Some(Fitting::Steps(self.steps_in(budget))));
        };
        let spread = match &mut self.spread {
            Some(spread) => spread,
            none => {
                let dispatches = self.steps.iter().map(|step| step.passes.dispatches());
                none.insert(Spread::new(&resident.gpu, clock, dispatches)?)
            }
        };
        if let Some(ticks) = spread.probe.take()? {
            spread.timed(clock, &ticks);
        }
        let (from, which) = (spread.submitted(now), self.which(now));
        let steps = self.steps_within(now, budget);
        if from == 0 && steps > 0 {
            return Ok(Some(Fitting::Steps(steps)));
        }
        let whole = self.steps[which].passes.dispatches() + 1;
        let spread = self.spread.as_ref().and_then(|spread| spread.steps.get(which));
        let end = spread.map_or(whole, |step| step.fitting(from..whole, budget));
        Ok(Some(if end == whole { Fitting::Steps(1) } else { Fitting::Part(end) }))
    }

    /// How many of the steps after `now` others keep the device busy for so long; none where that is not known, or
    /// where the first takes longer.
    fn steps_within(&self, now: u64, budget: Duration) -> u64 {
        let takes = |step: u64| {
            let whole = || self.spread.as_ref().and_then(|spread| spread.whole(self.which(step)));
            // Of steps that are all alike the last measure is the best one.
            if self.steps.len() == 1 { self.each.or_else(whole) } else { whole() }
        };
        let mut left = budget.as_secs_f64();
        let fit = |step: &u64| {
            left -= takes(*step).map_or(f64::INFINITY, |seconds| seconds.max(1e-9));
            left >= 0.0
        };
        (now..now.saturating_add(STEPS)).take_while(fit).count() as u64
    }

    /// Submits the step after `now` others up to a dispatch of its passes.
    pub fn part(&mut self, resident: &Resident, now: u64, end: usize) -> Result<()> {
        let (gpu, state) = (&resident.gpu, &resident.state);
        self.rows.place(gpu, state, now)?;
        self.table.write(gpu, now, 1)?;
        self.drop_gradients(gpu)?;
        let which = self.which(now);
        let (Some(clock), Some(spread)) = (&self.clock, &mut self.spread) else { return Ok(()) };
        let from = spread.submitted(now);
        let work = [Work::Part(&self.steps[which].passes, from, end)];
        if let Err(error) = spread.probe.start_after(work, Some(clock), &[(&clock.ticks, 0..clock.ticks.bytes())]) {
            // They may have run all the same, and what they read is overwritten by later ones: the step begins anew.
            self.abandon(gpu)?;
            return Err(error);
        }
        (spread.begun, spread.timed) = (Some((now, end)), (which, from..end));
        Ok(())
    }

    /// Waits until the part that was submitted last has run.
    pub async fn parted(&mut self, how: Wait) -> Result<()> {
        let (Some(clock), Some(spread)) = (&self.clock, &mut self.spread) else { return Ok(()) };
        let ticks = spread.probe.finish(how).await?;
        spread.timed(clock, &ticks);
        Ok(())
    }

    /// Forgets a step that was begun: another takes its place, of other parameters or in another way.
    pub fn abandon(&mut self, gpu: &Gpu) -> Result<()> {
        match &mut self.spread {
            Some(spread) if spread.begun.is_some() => {
                spread.end();
                gpu.write(&self.flags, 4, &[0; 4])
            }
            _ => Ok(()),
        }
    }
}
