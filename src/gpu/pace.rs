//! How much a submit may have: work in parts, as long as each was measured to take, so that whatever else waits for the device, or
//! for the thread, gets its turn in between.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::context::Gpu;
use super::program::{Program, Work};
use super::readback::{Readback, Wait};
use super::timing::Clock;
use crate::error::Result;
use crate::plan::AdapterKind;

/// The longest that a submit should keep a device that is shared: the host's frames wait for it.
pub(crate) const SHARED: Duration = Duration::from_millis(4);

/// Rows that go together on such a device at first, and at least: a tile of a product has so many, and fewer would take hardly less.
pub(crate) const FEWEST: usize = 64;

/// The part of a difference by which an estimate falls.
const SLOWLY: f64 = 0.1;

/// How long each of some parts, which run one after the other and again from the first on, keeps the device busy: in seconds, as
/// far as it was measured.
#[derive(Clone, Debug)]
pub struct Parts(Vec<Option<f64>>);

impl Parts {
    /// So many, none of which was measured.
    pub fn new(parts: usize) -> Parts {
        Parts(vec![None; parts])
    }

    /// How many there are before they begin anew.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Seconds of all of them, where each was measured.
    pub fn whole(&self) -> Option<f64> {
        self.0.iter().copied().sum()
    }

    /// Seconds of the part at some place, counted through all turns.
    fn seconds(&self, at: usize) -> Option<f64> {
        *self.0.get(at % self.0.len().max(1))?
    }

    /// Notes how long some parts took together. Where each of them was measured before, all estimates change by the
    /// same factor: at once where they took longer, little by little where they took less. Else each is taken for as
    /// long as the others.
    pub fn learn(&mut self, parts: Range<usize>, seconds: f64) {
        let known: Option<f64> = parts.clone().map(|at| self.seconds(at)).sum();
        let (even, count) = (seconds / parts.len().max(1) as f64, self.0.len());
        for at in parts.take(count) {
            let part = &mut self.0[at % count];
            *part = match (*part, known) {
                (Some(before), Some(known)) if known > 0.0 => {
                    let out = seconds / known;
                    Some(before * if out < 1.0 { 1.0 - (1.0 - out) * SLOWLY } else { out })
                }
                _ => Some(even),
            };
        }
    }

    /// Where those of some parts end that fit a time together: one at least, and what was not measured comes alone.
    pub fn fitting(&self, parts: Range<usize>, budget: Duration) -> usize {
        let (start, mut end, mut left) = (parts.start, parts.start, budget.as_secs_f64());
        for at in parts {
            left -= self.seconds(at).unwrap_or(f64::INFINITY);
            if end > start && left < 0.0 {
                break;
            }
            end += 1;
        }
        end
    }
}

/// Runs some programs on a device that is shared, dispatch by dispatch where a submit would keep it busy for longer than
/// [`SHARED`].
pub(crate) struct Paced {
    parts: Parts,
    clock: Option<Clock>,
    /// Comes back after each submit: the clock's ticks, or nothing that matters.
    mark: Buffer,
    probe: Readback,
}

impl Paced {
    /// For programs of so many dispatches, all together.
    pub fn new(gpu: &Gpu, dispatches: usize) -> Result<Paced> {
        let clock = gpu.has_timestamps().then(|| Clock::new(gpu, 1)).transpose()?;
        let mark = match &clock {
            Some(clock) => clock.ticks.clone(),
            None => gpu.buffer("mark", 16)?,
        };
        let probe = Readback::new(gpu, mark.bytes())?;
        Ok(Paced { parts: Parts::new(dispatches), clock, mark, probe })
    }

    /// The buffers that it holds.
    pub fn held(&self) -> impl Iterator<Item = &Buffer> {
        [&self.mark, self.probe.buffer()].into_iter()
    }

    /// Runs them so many times, one after the other, and waits until each submit has run, so that what the host submits meanwhile
    /// comes in between. It may be dropped anywhere: what was submitted comes to its end.
    pub async fn run(&mut self, programs: &[Program], times: usize, how: Wait) -> Result<()> {
        self.probe.discard();
        let (mut at, end) = (0, self.parts.count() * times);
        while at < end {
            let parts = at..self.parts.fitting(at..end, SHARED);
            at = parts.end;
            let begun = Instant::now();
            let work = within(programs, parts.clone());
            self.probe.start_after(work, self.clock.as_ref(), &[(&self.mark, 0..self.mark.bytes())])?;
            let ticks = self.probe.finish(how).await?;
            self.parts.learn(parts, seconds(self.clock.as_ref(), &ticks, begun));
        }
        Ok(())
    }
}

/// Seconds that a submit kept the device busy, by the ticks that came back of a clock, or else no longer than since it was begun.
pub(crate) fn seconds(clock: Option<&Clock>, ticks: &[u8], begun: Instant) -> f64 {
    let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(ticks);
    let timed = clock.and_then(|clock| clock.seconds(*ticks.first_chunk()?));
    timed.unwrap_or_else(|| begun.elapsed().as_secs_f64())
}

/// The dispatches within a range of those that programs have which run one after the other, again and again.
fn within(programs: &[Program], range: Range<usize>) -> Vec<Work<'_>> {
    let each: usize = programs.iter().map(Program::dispatches).sum();
    let (mut work, mut first) = (Vec::new(), range.start / each.max(1) * each);
    for program in programs.iter().cycle() {
        if first >= range.end {
            break;
        }
        let (start, end) = (range.start.max(first), range.end.min(first + program.dispatches()));
        if start < end {
            work.push(Work::Part(program, start - first, end - first));
        }
        first += program.dispatches();
    }
    work
}

/// How many rows go together in one submit on a device that is shared, where a row's result depends on no other row.
#[derive(Clone, Copy, Debug)]
pub struct Together(usize);

impl Default for Together {
    fn default() -> Together {
        Together(FEWEST)
    }
}

impl Together {
    /// Rows of the next submit.
    pub fn rows(self) -> usize {
        self.0
    }

    /// Notes how long so many rows kept the device busy: fewer go together at once where that was too long, more little by
    /// little where there was time left.
    pub fn learn(&mut self, rows: usize, seconds: f64) {
        let fit = (rows as f64 * SHARED.as_secs_f64() / seconds.max(1e-9)) as usize;
        self.0 = if fit < rows { fit.max(FEWEST) } else { self.0.max(fit.min(rows.saturating_mul(4))) };
    }
}

/// Rows of `columns` values that the host reads or looks at in one go, so that no second copy of many is held; fewer where others
/// wait for the thread.
pub(crate) fn rows_of_piece(columns: usize, how: Wait) -> usize {
    let values = if how == Wait::Await { 1 << 18 } else { 1 << 22 };
    (values / columns.max(1)).max(1)
}

impl Gpu {
    /// Whether a submit is made only after the one before has run: the queue of a device that is shared is left to the host
    /// between two submits. So is the thread of an executor, where a driver that works on the CPU lets a submit wait for the one
    /// before.
    pub(crate) fn submits_alone(&self, how: Wait) -> bool {
        self.is_shared() || how == Wait::Await && self.kind() == AdapterKind::Software
    }
}
