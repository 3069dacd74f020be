//! The table of scalars: for each step to come a row with what its updates and the coefficients with ramps are then.

use super::run::{Step, Update, turn, update_scalars};
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
    /// The turns at which the phase starts and ends.
    pub start: u64,
    pub total: u64,
}

/// What the rows of a step are made of.
struct Taken {
    /// How often it is taken in a turn.
    repeat: u64,
    /// Its updates, each with its three columns.
    updates: Vec<(Update, [usize; 3])>,
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
        let column = |name: &String| scalars.column(name);
        let columns = |i: usize| -> Result<[usize; 3]> {
            let [rate, first, second] = update_scalars(i).each_ref().map(column);
            Ok([rate?, first?, second?])
        };
        let of = |step: &Step| {
            let updates = step.updates.iter().enumerate().map(|(i, update)| Ok((update.clone(), columns(i)?)));
            Ok(Taken { repeat: step.repeat, updates: updates.collect::<Result<_>>()? })
        };
        Ok(Table {
            buffer: buffer.clone(),
            rows: scalars.rows() as u64,
            width: scalars.quads() * 4,
            turn: turn(steps),
            steps: steps.iter().map(of).collect::<Result<_>>()?,
            ramps,
            start,
            total,
        })
    }

    /// Writes the rows of `steps` steps from `first` on.
    pub fn write(&self, gpu: &Gpu, first: u64, steps: u64) -> Result<()> {
        let Table { rows, width, .. } = *self;
        let mut step = first;
        while step < first + steps {
            let at = step % rows;
            let end = step + (first + steps - step).min(rows - at);
            let values: Vec<f32> = (step..end).flat_map(|s| self.row(s)).collect();
            gpu.write(&self.buffer, at * width as u64 * 4, bytemuck::cast_slice(&values))?;
            step = end;
        }
        Ok(())
    }

    /// The step that the phase ends with.
    pub fn total_steps(&self) -> u64 {
        self.total.saturating_mul(self.turn.len() as u64)
    }

    /// The turn of a step, which of a turn's steps it is, and how often that was taken before.
    fn place(&self, step: u64) -> (u64, usize, u64) {
        let (turn, at) = (step / self.turn.len() as u64, (step % self.turn.len() as u64) as usize);
        let which = self.turn[at];
        let earlier = self.turn[..at].iter().filter(|&&other| other == which).count() as u64;
        (turn, which, turn * self.steps[which].repeat + earlier)
    }

    /// The scalars of a step, in order, padded to the width of a row.
    fn row(&self, step: u64) -> Vec<f32> {
        let (turn, which, before) = self.place(step);
        let part = (turn - self.start) as f64 / (self.total - self.start) as f64;
        let mut row = vec![0.0; self.width];
        for (update, columns) in &self.steps[which].updates {
            let values = update.optimizer.scalars(before, self.rate(which, update, before));
            columns.iter().zip(values).for_each(|(&column, value)| row[column] = value as f32);
        }
        for (at, (ramp, to)) in self.ramps.iter().enumerate() {
            row[Scalars::UPDATE.len() + at] = ramp.value(*to, part) as f32;
        }
        row
    }

    /// The learning rate of an update after so many others.
    fn rate(&self, which: usize, update: &Update, before: u64) -> f64 {
        let (repeat, span) = (self.steps[which].repeat, self.total - self.start);
        update.learning_rate * update.schedule.factor(before - self.start * repeat, span.saturating_mul(repeat))
    }

    /// The learning rate of a step's first update; 0 where it has none.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let (_, which, before) = self.place(step);
        self.steps[which].updates.first().map_or(0.0, |(update, _)| self.rate(which, update, before))
    }
}
