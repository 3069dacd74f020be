//! The feed: which rows the GPU holds, and which batch of which epoch comes next. What fits the budget is resident;
//! what is larger is streamed in chunks.
//!
//! The order of rows is a function of seed, epoch and chunk size: chunks are permuted by
//! `permute(i, chunks, seed, epoch)`, the rows of the i-th chunk of an epoch by
//! `permute(row, rows of the chunk, seed, epoch * chunks + i)`. With everything resident there is one chunk.

use std::mem::offset_of;
use std::ops::Range;
use std::sync::Arc;

use super::cached::Cached;
use super::progress::Told;
use super::{Loading, Training};
use crate::data::Source;
use crate::error::{Error, Result, finite_rows};
use crate::gpu::{Buffer, Gpu, Wait, apart, pause, rows_of_piece};
use crate::graph::Scalars;
use crate::random::{key, permute};
use crate::state::State;

/// A part of a source's rows.
pub(super) struct Part {
    pub source: Arc<dyn Source>,
    pub first: usize,
    pub rows: usize,
}

impl Source for Part {
    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.source.columns()
    }

    fn read(&self, first_row: usize, out: &mut [f32]) -> Result<()> {
        self.source.read(self.first + first_row, out)
    }

    fn name(&self) -> &str {
        self.source.name()
    }

    fn is_weighted(&self) -> bool {
        self.source.is_weighted()
    }

    fn has_weight(&self, rows: Range<usize>) -> Option<bool> {
        self.source.has_weight(self.first + rows.start..self.first + rows.end)
    }
}

/// Where a run stands: a function of the steps it has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    /// Whole passes over the data.
    epoch: u64,
    /// Chunks of this pass that are done.
    chunk: usize,
    /// Steps taken in the current chunk.
    step: u64,
}

/// Rows on their way to the GPU.
pub(super) struct Feed {
    source: Arc<dyn Source>,
    /// The resident rows, without padding.
    pub buffer: Buffer,
    batch: usize,
    chunk_rows: usize,
    chunks: usize,
    seed: u64,
    shuffle: bool,
    ragged: bool,
    steps_per_epoch: u64,
    /// The step at which the run started.
    start: u64,
    /// Steps taken.
    taken: u64,
    position: Position,
    /// Whether its rows are computed as they are read, which waits for the GPU.
    computed: bool,
    /// The chunk whose rows the buffer holds.
    resident: Option<usize>,
    /// Whether the state on the GPU is that of the position.
    placed: bool,
}

impl Feed {
    /// A feed of `source` for a run that starts with step `start`, and with an epoch.
    pub fn new(gpu: &Gpu, source: Arc<dyn Source>, training: &Training, start: u64) -> Result<Feed> {
        let (rows, row_bytes) = (source.rows(), source.columns() as u64 * 4);
        let batch = training.batch.min(rows);
        let chunk_rows = chunk_rows(gpu, training, rows, source.columns());
        if chunk_rows == 0 {
            let budget = budget(gpu, training);
            let (needs, what) = (batch as u64 * row_bytes, "one batch of training data".to_string());
            return Err(Error::Limit { what, needs, allowed: budget, limit: "data_budget" });
        }
        let buffer = gpu.buffer("data", (chunk_rows as u64 * row_bytes).next_multiple_of(16))?;
        let computed = source.as_any().is_some_and(|source| source.is::<Cached>());
        let mut feed = Feed {
            source,
            computed,
            buffer,
            batch,
            chunk_rows,
            chunks: rows.div_ceil(chunk_rows),
            seed: training.seed,
            shuffle: training.shuffle,
            ragged: !training.drop_last,
            steps_per_epoch: 0,
            start,
            taken: 0,
            position: Position::default(),
            resident: None,
            placed: false,
        };
        // All chunks but the last are alike.
        let last = feed.chunks - 1;
        feed.steps_per_epoch = last as u64 * feed.steps_of(0) + feed.steps_of(last);
        feed.seek(start);
        Ok(feed)
    }

    /// Rows of the resident buffer.
    pub fn chunk_rows(&self) -> usize {
        self.chunk_rows
    }

    /// Whether a row ends with its weight.
    pub fn is_weighted(&self) -> bool {
        self.source.is_weighted()
    }

    /// The largest batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whole passes over the data that are done.
    pub fn epoch(&self) -> u64 {
        self.position.epoch
    }

    /// Goes to where a run stands that has taken so many steps: a walk over the chunks, for once.
    pub fn seek(&mut self, taken: u64) {
        // A run that follows another goes on with fresh orders of the rows.
        let (epochs_before, steps) = (self.start.div_ceil(self.steps_per_epoch), taken.saturating_sub(self.start));
        let (epoch, step) = (epochs_before + steps / self.steps_per_epoch, steps % self.steps_per_epoch);
        let mut position = Position { epoch, chunk: 0, step };
        // A chunk smaller than a batch has no step where the last batch is dropped.
        while position.step >= self.steps_of(self.chunk_at(position)) {
            position.step -= self.steps_of(self.chunk_at(position));
            position.chunk += 1;
        }
        (self.taken, self.position, self.placed) = (taken, position, false);
    }

    fn chunk_at(&self, position: Position) -> usize {
        match self.shuffle {
            true => permute(position.chunk as u32, self.chunks as u32, self.seed, position.epoch as u32) as usize,
            false => position.chunk,
        }
    }

    fn rows_of(&self, chunk: usize) -> usize {
        self.chunk_rows.min(self.source.rows() - chunk * self.chunk_rows)
    }

    fn steps_of(&self, chunk: usize) -> u64 {
        let rows = self.rows_of(chunk);
        (if self.ragged { rows.div_ceil(self.batch) } else { rows / self.batch }) as u64
    }

    /// Steps of a pass over the data.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Steps left until rows or order must change by the host's hand: until the end of the chunk, or for ever where
    /// there is only one.
    pub fn steps_left(&self) -> u64 {
        if self.chunks == 1 { u64::MAX } else { self.steps_of(self.chunk_at(self.position)) - self.position.step }
    }

    /// Steps left in the current pass over the resident chunk.
    pub fn steps_left_in_chunk(&self) -> u64 {
        self.steps_of(self.chunk_at(self.position)) - self.position.step
    }

    /// Sees to it that the GPU holds the rows of the next step.
    pub async fn fetch(&mut self, gpu: &Gpu, how: Wait, told: Told<'_>) -> Result<()> {
        let chunk = self.chunk_at(self.position);
        if self.placed || self.resident == Some(chunk) {
            return Ok(());
        }
        self.upload(gpu, chunk, how, told).await
    }

    /// Sees to it that the GPU holds the rows and the state for the step after `now` others.
    pub fn place(&mut self, gpu: &Gpu, state: &Buffer, now: u64) -> Result<()> {
        if self.placed {
            return Ok(());
        }
        pollster::block_on(self.fetch(gpu, Wait::Block, &mut |_| {}))?;
        let chunk = self.chunk_at(self.position);
        let rows = self.rows_of(chunk);
        let first_row = self.position.step as usize * self.batch;
        let next = State {
            rows: self.batch.min(rows - first_row) as u32,
            seed: key(self.seed),
            first_row: first_row as u32,
            count: rows as u32,
            batch: self.batch as u32,
            epoch: self.position.epoch.wrapping_mul(self.chunks as u64).wrapping_add(self.position.chunk as u64) as u32,
            ragged: self.ragged.into(),
            ..State::default()
        };
        place(gpu, state, now, next)?;
        self.placed = true;
        Ok(())
    }

    async fn upload(&mut self, gpu: &Gpu, chunk: usize, how: Wait, told: Told<'_>) -> Result<()> {
        self.resident = None;
        let (columns, all) = (self.source.columns(), self.rows_of(chunk));
        let piece_rows = rows_of_piece(columns, how).min(all);
        let mut piece = vec![0.0f32; piece_rows * columns];
        let mut done = 0;
        while done < all {
            pause(how).await;
            let rows = piece_rows.min(all - done);
            let (first, length) = (chunk * self.chunk_rows + done, rows * columns);
            let source = self.source.clone();
            let read = move |_: &dyn Fn(())| source.read(first, &mut piece[..length]).map(|()| piece);
            let read = apart(if self.computed { how } else { Wait::Block }, &mut |()| {}, read).await;
            piece = read.map_err(|error| of_rows(gpu, error))?;
            let values = &piece[..length];
            finite_rows(self.source.name(), self.source.columns(), first, values)?;
            gpu.write(&self.buffer, (done * columns * 4) as u64, bytemuck::cast_slice(values))?;
            done += rows;
            told(Loading::Uploading { rows: done as u64, of: all as u64 });
        }
        self.resident = Some(chunk);
        Ok(())
    }

    /// Notes that `steps` more steps, no more than [`Feed::steps_left`], were submitted.
    pub fn advance(&mut self, steps: u64) {
        if self.chunks == 1 {
            // The GPU goes on by itself, from epoch to epoch.
            self.seek(self.taken + steps);
            self.placed = true;
            return;
        }
        self.taken += steps;
        self.position.step += steps;
        // One chunk at most has no step, so that this ends soon.
        while self.position.step == self.steps_of(self.chunk_at(self.position)) {
            (self.position.step, self.placed) = (0, false);
            self.position.chunk += 1;
            if self.position.chunk == self.chunks {
                (self.position.epoch, self.position.chunk) = (self.position.epoch + 1, 0);
            }
        }
    }
}

/// Has the GPU go on with such rows, after `now` steps.
pub(super) fn place(gpu: &Gpu, state: &Buffer, now: u64, next: State) -> Result<()> {
    let next = State { step: now as u32, table_row: (now % Scalars::STEPS as u64) as u32, ..next };
    // All but what says that a step went bad: it may have been in the submit before this one.
    let (bytes, sticky) = (bytemuck::bytes_of(&next), offset_of!(State, halted)..offset_of!(State, table_row));
    gpu.write(state, 0, &bytes[..sticky.start])?;
    gpu.write(state, sticky.end as u64, &bytes[sticky.end..])
}

/// What reading rows failed with: that a device was lost is another matter where it is not the one that they are read for.
pub(super) fn of_rows(gpu: &Gpu, error: Error) -> Error {
    match error {
        Error::DeviceLost { reason } if gpu.alive().is_ok() => {
            let found = format!("rows on another device, which was lost ({reason})");
            Error::data("rows", found, format!("rows that can be read: a ring is made anew on {}", gpu.adapter().name))
        }
        other => other,
    }
}

/// Bytes that data may take on the GPU.
fn budget(gpu: &Gpu, training: &Training) -> u64 {
    training.data_budget.min(gpu.limits().binding_bytes).min(gpu.limits().buffer_bytes)
}

/// How many of `rows` rows of `columns` values lie on the GPU at a time: all of them, or whole batches; 0 where there is no room
/// for a batch.
pub(super) fn chunk_rows(gpu: &Gpu, training: &Training, rows: usize, columns: usize) -> usize {
    let (fitting, batch) = ((budget(gpu, training) / (columns as u64 * 4)) as usize, training.batch.min(rows));
    if fitting >= rows { rows } else { fitting / batch * batch }
}

/// Rows of `columns` values that may lie on the GPU at a time, at least one.
pub(super) fn fitting(gpu: &Gpu, training: &Training, columns: usize) -> usize {
    ((budget(gpu, training) / (columns as u64 * 4)) as usize).max(1)
}

/// Calls `see` with the rows of a source, some at a time.
pub(super) async fn scan(
    source: &dyn Source,
    how: Wait,
    told: Told<'_>,
    mut see: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let (rows, columns) = (source.rows(), source.columns());
    let together = rows_of_piece(columns, how).min(rows).max(1);
    let mut values = vec![0.0f32; together * columns];
    for first in (0..rows).step_by(together) {
        pause(how).await;
        let count = together.min(rows - first);
        let values = &mut values[..count * columns];
        source.read(first, values)?;
        finite_rows(source.name(), columns, first, values)?;
        see(first, values)?;
        told(Loading::Reading { rows: (first + count) as u64, of: rows as u64 });
    }
    Ok(())
}
