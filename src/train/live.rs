//! Where the rows of steps come from: a source that is uploaded, or rows that lie on the GPU already and change.

use super::Training;
use super::feed::{Feed, place};
use super::progress::Told;
use super::ring::Ring;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Wait};
use crate::inference::Model;
use crate::plan::Target;
use crate::random::key;
use crate::state::State;

/// Rows of steps.
pub(super) enum Rows {
    /// Those of a source.
    Stored(Feed),
    /// Those of a ring.
    Live(Live),
}

/// Rows of a ring. Each submit sees those that are there when it is made.
pub(super) struct Live {
    ring: Ring,
    batch: usize,
    seed: u64,
    /// Batches that were taken, and the first of the run.
    taken: u64,
    start: u64,
    /// Steps of the next submit that find rows, once the GPU knows which.
    placed: Option<u64>,
}

impl Live {
    /// For a run that starts with step `start`.
    pub fn new(ring: &Ring, training: &Training, start: u64) -> Live {
        let batch = training.batch.min(ring.capacity());
        Live { ring: ring.clone(), batch, seed: training.seed, taken: start, start, placed: None }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.ring.capacity().div_ceil(self.batch) as u64
    }

    fn place(&mut self, gpu: &Gpu, state: &Buffer, now: u64) -> Result<()> {
        if self.placed.is_some() {
            return Ok(());
        }
        let (first, rows) = self.ring.window();
        if rows == 0 {
            return Err(Error::data("pushed rows", 0, "1 or more"));
        }
        let batch = self.batch.min(rows);
        let next = State {
            rows: batch as u32,
            seed: key(self.seed),
            first_row: first as u32,
            count: (first + rows) as u32,
            batch: batch as u32,
            // No submit has the order of another: it begins at most one pass a step.
            epoch: now as u32,
            ragged: 1,
            ..State::default()
        };
        place(gpu, state, now, next)?;
        // In order it would go on with the first row of the buffer after the last one.
        self.placed = Some(if self.ring.is_shuffled() { u64::MAX } else { (rows / batch) as u64 });
        Ok(())
    }
}

impl Rows {
    /// The rows, without padding.
    pub fn buffer(&self) -> &Buffer {
        match self {
            Rows::Stored(feed) => &feed.buffer,
            Rows::Live(live) => live.ring.buffer().0,
        }
    }

    /// What steps over its batches are planned for.
    pub fn target(&self, target: Target) -> Target {
        let data_rows = match self {
            Rows::Stored(feed) => feed.chunk_rows(),
            Rows::Live(live) => live.ring.buffer().1,
        };
        Target { data_rows, ..target }
    }

    /// What steps of a model over its batches are planned for.
    pub fn target_of(&self, model: &Model) -> Target {
        self.target(model.target(self.batch()))
    }

    /// Whether they come in a drawn order, where `asked` is what the options say of stored ones.
    pub fn is_shuffled(&self, asked: bool) -> bool {
        match self {
            Rows::Stored(_) => asked,
            Rows::Live(live) => live.ring.is_shuffled(),
        }
    }

    /// The largest batch.
    pub fn batch(&self) -> usize {
        match self {
            Rows::Stored(feed) => feed.batch(),
            Rows::Live(live) => live.batch,
        }
    }

    /// Whole passes that are done.
    pub fn epoch(&self) -> u64 {
        match self {
            Rows::Stored(feed) => feed.epoch(),
            Rows::Live(live) => live.taken / live.steps_per_epoch(),
        }
    }

    /// Steps of a pass.
    pub fn steps_per_epoch(&self) -> u64 {
        match self {
            Rows::Stored(feed) => feed.steps_per_epoch(),
            Rows::Live(live) => live.steps_per_epoch(),
        }
    }

    /// Goes to where a run stands that has taken so many steps.
    pub fn seek(&mut self, taken: u64) {
        match self {
            Rows::Stored(feed) => feed.seek(taken),
            Rows::Live(live) => (live.taken, live.placed) = (taken.max(live.start), None),
        }
    }

    /// Steps left until the host must see to rows or their order.
    pub fn steps_left(&self) -> u64 {
        match self {
            Rows::Stored(feed) => feed.steps_left(),
            Rows::Live(live) => live.placed.unwrap_or(0),
        }
    }

    /// Sees to it that the GPU holds the rows of the next step.
    pub async fn fetch(&mut self, gpu: &Gpu, how: Wait, told: Told<'_>) -> Result<()> {
        match self {
            Rows::Stored(feed) => feed.fetch(gpu, how, told).await,
            Rows::Live(_) => Ok(()),
        }
    }

    /// Sees to it that the GPU holds the rows and the state for the step after `now` others.
    pub fn place(&mut self, gpu: &Gpu, state: &Buffer, now: u64) -> Result<()> {
        match self {
            Rows::Stored(feed) => feed.place(gpu, state, now),
            Rows::Live(live) => live.place(gpu, state, now),
        }
    }

    /// Notes that so many batches more were submitted, no more than [`Rows::steps_left`].
    pub fn advance(&mut self, steps: u64) {
        match self {
            Rows::Stored(feed) => feed.advance(steps),
            Rows::Live(live) => {
                live.taken += steps;
                // The next submit looks again; not within a turn, all of which sees the same rows.
                live.placed = live.placed.filter(|_| steps == 0);
            }
        }
    }
}
