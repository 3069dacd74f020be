//! The table of scalars: for each step to come a row with what its updates and the coefficients with ramps are then.

use super::phase::{Step, Update, taken, turn};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu};
use crate::graph::Scalars;
use crate::model::Ramp;

/// Writes the scalars of steps to come.
pub(super) struct Table {
    buffer: Buffer,
    /// Rows of the table, and values of a row.
    rows: u64,
    width: usize,
    steps: Vec<Taken>,
    /// The steps of a turn, in order.
    pub turn: Vec<usize>,
    /// The coefficients that have ramps, in the order of their scalars, each with its own value.
    ramps: Vec<(Ramp, f64)>,
    span: Span,
    /// The part of all learning rates that looks at validation rows have left, for rows that are written from now on.
    pub factor: f64,
}

/// What the rows of a step are made of.
struct Taken {
    /// How often it is taken in a turn.
    repeat: u64,
    updates: Vec<Updates>,
}

/// One of a step's updates.
struct Updates {
    update: Update,
    /// Its numbers that have ramps.
    ramped: Vec<(Ramp, f64, bool)>,
    /// The columns of what it reads: [`Scalars::UPDATE`], then these numbers, each with what is left of 1 where that is
    /// read.
    columns: Vec<usize>,
    /// What Adam's moments are corrected for after so many of these updates: the products of all shares that have a
    /// ramp.
    kept: (u64, [f64; 2]),
}

/// Where a phase lies among the turns.
#[derive(Clone, Copy)]
struct Span {
    /// The turns at which it starts and ends.
    start: u64,
    total: u64,
}

impl Span {
    /// The part of it that is over before a turn; of what was before it, as if that were one.
    fn part(&self, turn: u64) -> f64 {
        match turn.checked_sub(self.start) {
            Some(turns) => turns as f64 / (self.total - self.start) as f64,
            None => turn as f64 / self.start as f64,
        }
    }
}

impl Updates {
    /// What its moments are corrected for, after so many others; `repeat` are taken in a turn.
    fn kept(&mut self, before: u64, repeat: u64, span: Span) -> [f64; 2] {
        let ramps = ["beta1", "beta2"].map(|name| self.update.ramps.of(name));
        let betas = self.update.optimizer.betas();
        let constant = betas.map(|beta| beta.powf(before as f64 + 1.0));
        if ramps.iter().all(Option::is_none) {
            return constant;
        }
        let (mut done, mut kept) = self.kept;
        let after = before.saturating_add(1);
        if done > after {
            (done, kept) = (0, [1.0; 2]);
        }
        // What is less than that changes no digit of a correction.
        let counts = |(kept, ramp): (&f64, &Option<Ramp>)| ramp.is_some() && *kept > f64::EPSILON / 4.0;
        while done < after && kept.iter().zip(&ramps).any(counts) {
            let part = span.part(done / repeat);
            for ((kept, ramp), beta) in kept.iter_mut().zip(ramps).zip(betas) {
                *kept *= ramp.map_or(1.0, |ramp| ramp.value(beta, part));
            }
            done += 1;
        }
        self.kept = (after, kept);
        std::array::from_fn(|at| if ramps[at].is_some() { kept[at] } else { constant[at] })
    }
}

impl Table {
    /// A table of these scalars in `buffer`, for turns of these steps.
    ///
    /// # Errors
    /// [`crate::Error::Spec`] where the table lacks what an update reads.
    pub fn new(
        buffer: &Buffer,
        scalars: &Scalars,
        steps: &[Step],
        ramps: Vec<(Ramp, f64)>,
        [start, total]: [u64; 2],
    ) -> Result<Table> {
        let of_update = |(i, update): (usize, &Update)| {
            let columns = update.reads(i).columns().iter().map(|name| scalars.column(name)).collect::<Result<_>>()?;
            let ramped = update.ramps.ramped(&update.optimizer, update.clip_norm);
            Ok(Updates { update: update.clone(), ramped, columns, kept: (0, [1.0; 2]) })
        };
        let of = |step: &Step| {
            let updates = step.updates.iter().enumerate().map(of_update).collect::<Result<_>>()?;
            Ok(Taken { repeat: step.repeat, updates })
        };
        Ok(Table {
            buffer: buffer.clone(),
            rows: scalars.rows() as u64,
            width: scalars.quads() * 4,
            turn: turn(steps),
            steps: steps.iter().map(of).collect::<Result<_>>()?,
            ramps,
            span: Span { start, total },
            factor: 1.0,
        })
    }

    /// A table for evaluation: in every row the coefficients' own values.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] or [`crate::Error::Device`].
    pub fn of_values(gpu: &Gpu, scalars: &Scalars, ramps: &[(String, Ramp, f64)]) -> Result<Buffer> {
        let table = gpu.buffer("table of values", scalars.bytes())?;
        let mut row = vec![0.0f32; scalars.quads() * 4];
        row[Scalars::UPDATE.len()..].iter_mut().zip(ramps).for_each(|(value, (.., to))| *value = *to as f32);
        gpu.write(&table, 0, bytemuck::cast_slice(&row.repeat(scalars.rows())))?;
        Ok(table)
    }

    /// Writes the rows of `steps` steps from `first` on.
    pub fn write(&mut self, gpu: &Gpu, first: u64, steps: u64) -> Result<()> {
        let Table { rows, width, .. } = *self;
        let mut step = first;
        while step < first + steps {
            let at = step % rows;
            let end = step + (first + steps - step).min(rows - at);
            let mut values = vec![0.0; (end - step) as usize * width];
            (step..end).zip(values.chunks_mut(width)).for_each(|(step, row)| self.fill(step, row));
            gpu.write(&self.buffer, at * width as u64 * 4, bytemuck::cast_slice(&values))?;
            step = end;
        }
        Ok(())
    }

    /// The turn that the phase ends with.
    pub fn turns(&self) -> u64 {
        self.span.total
    }

    /// The step that the phase ends with.
    pub fn total_steps(&self) -> u64 {
        self.span.total.saturating_mul(self.turn.len() as u64)
    }

    /// The turn of a step, which of a turn's steps it is, and how often that was taken before.
    fn place(&self, step: u64) -> (u64, usize, u64) {
        let (turn, at) = (step / self.turn.len() as u64, (step % self.turn.len() as u64) as usize);
        let which = self.turn[at];
        (turn, which, taken(&self.turn, which, step))
    }

    /// Writes the scalars of a step into its row.
    fn fill(&mut self, step: u64, row: &mut [f32]) {
        let (turn, which, before) = self.place(step);
        let (span, part, factor) = (self.span, self.span.part(turn), self.factor);
        let Taken { repeat, updates } = &mut self.steps[which];
        for taken in updates {
            let kept = taken.kept(before, *repeat, span);
            let Updates { update, ramped, columns, .. } = taken;
            let corrected = update.optimizer.corrected(kept, factor * rate(update, before, *repeat, span));
            let ramped = ramped.iter().flat_map(|&(ramp, to, rest)| {
                let value = ramp.value(to, part);
                [value].into_iter().chain(rest.then_some(1.0 - value))
            });
            let values = corrected.into_iter().chain(ramped);
            columns.iter().zip(values).for_each(|(&column, value)| row[column] = value as f32);
        }
        for (at, (ramp, to)) in self.ramps.iter().enumerate() {
            row[Scalars::UPDATE.len() + at] = ramp.value(*to, part) as f32;
        }
    }

    /// The learning rate of a step's first update; 0 where it has none.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let (_, which, before) = self.place(step);
        let Taken { repeat, updates } = &self.steps[which];
        updates.first().map_or(0.0, |taken| self.factor * rate(&taken.update, before, *repeat, self.span))
    }
}

/// The learning rate of an update after so many others, of which `repeat` are taken in a turn, by its schedule's steps.
fn rate(update: &Update, before: u64, repeat: u64, Span { start, total }: Span) -> f64 {
    let (done, span) = (before - start * repeat, (total - start).saturating_mul(repeat));
    update.learning_rate * update.schedule.factor(done, span)
}
