//! Where the rows of steps come from: a source that is uploaded, or rows that lie on the GPU already and change.

use std::sync::Arc;

use super::Training;
use super::feed::{Feed, place};
use super::progress::Told;
use super::ring::Ring;
use crate::data::Source;
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
    /// Batches that the next submit finds, once the GPU knows where,
    placed: Option<u64>,
    /// and rows of each, as it was seen last: fewer than a batch where no more were pushed.
    found: usize,
}

impl Live {
    /// For a run that starts with step `start`.
    fn new(ring: &Ring, training: &Training, start: u64) -> Live {
        let batch = training.batch.min(ring.capacity());
        Live { ring: ring.clone(), batch, seed: training.seed, taken: start, start, placed: None, found: 0 }
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
            // A submit has the orders of its own step and of as many after it as it begins passes, which are at most as
            // many as it has steps: no other has the same.
            epoch: now as u32,
            ragged: 1,
            ..State::default()
        };
        place(gpu, state, now, next)?;
        self.found = batch;
        // In order it would go on with the first row of the buffer after the last one.
        self.placed = Some(if self.ring.is_shuffled() { u64::MAX } else { (rows / batch) as u64 });
        Ok(())
    }
}

impl Rows {
    /// Those of a ring, or else of a source, for a run that starts with step `start`.
    pub fn of(gpu: &Gpu, ring: Option<&Ring>, source: Arc<dyn Source>, order: &Training, start: u64) -> Result<Rows> {
        match ring {
            Some(ring) => Ok(Rows::Live(Live::new(ring, order, start))),
            None => Ok(Rows::Stored(Feed::new(gpu, source, order, start)?)),
        }
    }

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

    /// Whether a row ends with its weight.
    pub fn are_weighted(&self) -> bool {
        match self {
            Rows::Stored(feed) => feed.is_weighted(),
            Rows::Live(live) => live.ring.is_weighted(),
        }
    }

    /// The largest batch.
    pub fn batch(&self) -> usize {
        match self {
            Rows::Stored(feed) => feed.batch(),
            Rows::Live(live) => live.batch,
        }
    }

    /// Rows of the batches that the next submit sees, once their place is known.
    pub fn rows_of_batch(&self) -> usize {
        match self {
            Rows::Stored(feed) => feed.batch(),
            Rows::Live(live) => live.found,
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

    /// Notes that so many batches more were submitted, no more than [`Rows::steps_left`], and whether a turn has ended with
    /// the last step.
    pub fn advance(&mut self, steps: u64, ended: bool) {
        match self {
            Rows::Stored(feed) => feed.advance(steps),
            Rows::Live(live) => {
                live.taken += steps;
                // The next submit looks again, but for the rest of a turn.
                live.placed = (!ended).then_some(1);
            }
        }
    }

    /// Whether they change while training goes on.
    pub fn are_live(&self) -> bool {
        matches!(self, Rows::Live(_))
    }

    /// Has the next submit see what is there then, where rows change.
    pub fn look_again(&mut self) {
        if let Rows::Live(live) = self {
            live.placed = None;
        }
    }
}
