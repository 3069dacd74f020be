//! The feed: which rows the GPU holds, and which batch of which epoch comes next. What fits the budget is resident;
//! what is larger is streamed in chunks.
//!
//! The order of rows is a function of seed, epoch and chunk size: chunks are permuted by
//! `permute(i, chunks, seed, epoch)`, the rows of the i-th chunk of an epoch by
//! `permute(row, rows of the chunk, seed, epoch * chunks + i)`. With everything resident there is one chunk.

use std::sync::Arc;

use super::Training;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu};
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
}

/// Where a run stands: enough to go on in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Whole passes over the data.
    pub epoch: u64,
    /// Chunks of this pass that are done.
    pub chunk: usize,
    /// Steps taken in the current chunk.
    pub step: u64,
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
    position: Position,
    /// The chunk whose rows the buffer holds.
    resident: Option<usize>,
    /// Whether the state on the GPU is that of the position.
    placed: bool,
}

impl Feed {
    /// A feed of `source` from its beginning.
    pub fn new(gpu: &Gpu, source: Arc<dyn Source>, training: &Training) -> Result<Feed> {
        let (rows, row_bytes) = (source.rows(), source.columns() as u64 * 4);
        let batch = training.batch.min(rows);
        let budget = training.data_budget.min(gpu.limits().binding_bytes).min(gpu.limits().buffer_bytes);
        let fitting = (budget / row_bytes) as usize;
        let chunk_rows = if fitting >= rows { rows } else { fitting / batch * batch };
        if chunk_rows == 0 {
            let (needs, what) = (batch as u64 * row_bytes, "one batch of training data".to_string());
            return Err(Error::Limit { what, needs, allowed: budget, limit: "data_budget" });
        }
        let buffer = gpu.buffer("data", (chunk_rows as u64 * row_bytes).next_multiple_of(16))?;
        let feed = Feed {
            source,
            buffer,
            batch,
            chunk_rows,
            chunks: rows.div_ceil(chunk_rows),
            seed: training.seed,
            shuffle: training.shuffle,
            ragged: !training.drop_last,
            position: Position::default(),
            resident: None,
            placed: false,
        };
        if feed.steps_per_epoch() == 0 {
            return Err(Error::spec("batch", training.batch, format!("at most the {rows} rows, with drop_last")));
        }
        Ok(feed)
    }

    /// Rows of the resident buffer.
    pub fn chunk_rows(&self) -> usize {
        self.chunk_rows
    }

    /// The largest batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Where the run stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from where another run stood.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        if position.chunk >= self.chunks || position.step >= self.steps_of(self.chunk_at(position)).max(1) {
            let found = format!("chunk {} step {}", position.chunk, position.step);
            return Err(Error::data(self.source.name(), found, "a position in the data that the run was begun with"));
        }
        (self.position, self.placed) = (position, false);
        Ok(())
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
        (0..self.chunks).map(|c| self.steps_of(c)).sum()
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

    /// Sees to it that the GPU holds the rows and the state for the next step.
    pub fn place(&mut self, gpu: &Gpu, state: &Buffer, step: u64) -> Result<()> {
        if self.placed {
            return Ok(());
        }
        let chunk = self.chunk_at(self.position);
        let rows = self.rows_of(chunk);
        if self.resident != Some(chunk) {
            self.upload(gpu, chunk)?;
        }
        let first_row = self.position.step as usize * self.batch;
        let now = State {
            step: step as u32,
            rows: self.batch.min(rows - first_row) as u32,
            seed: key(self.seed),
            first_row: first_row as u32,
            count: rows as u32,
            batch: self.batch as u32,
            epoch: (self.position.epoch * self.chunks as u64) as u32 + self.position.chunk as u32,
            ragged: self.ragged.into(),
            ..State::default()
        };
        gpu.write(state, 0, bytemuck::bytes_of(&now))?;
        self.placed = true;
        Ok(())
    }

    fn upload(&mut self, gpu: &Gpu, chunk: usize) -> Result<()> {
        /// Values read at a time, so that no second copy of a large data set is held.
        const PIECE: usize = 1 << 22;
        self.resident = None;
        let columns = self.source.columns();
        let piece_rows = (PIECE / columns).max(1).min(self.rows_of(chunk));
        let mut piece = vec![0.0f32; piece_rows * columns];
        let mut done = 0;
        while done < self.rows_of(chunk) {
            let rows = piece_rows.min(self.rows_of(chunk) - done);
            let values = &mut piece[..rows * columns];
            let first = chunk * self.chunk_rows + done;
            self.source.read(first, values)?;
            finite(&*self.source, first, values)?;
            gpu.write(&self.buffer, (done * columns * 4) as u64, bytemuck::cast_slice(values))?;
            done += rows;
        }
        self.resident = Some(chunk);
        Ok(())
    }

    /// Notes that `steps` more steps, no more than [`Feed::steps_left`], were submitted.
    pub fn advance(&mut self, mut steps: u64) {
        while steps > 0 {
            let now = steps.min(self.steps_left_in_chunk());
            self.position.step += now;
            steps -= now;
            if self.steps_left_in_chunk() == 0 {
                self.next_chunk();
            }
        }
    }

    fn next_chunk(&mut self) {
        loop {
            self.position.step = 0;
            self.position.chunk += 1;
            if self.position.chunk == self.chunks {
                self.position.chunk = 0;
                self.position.epoch += 1;
            }
            // A chunk smaller than a batch has no step where the last batch is dropped.
            if self.steps_left_in_chunk() > 0 {
                break;
            }
        }
        self.placed = self.chunks == 1;
    }
}

/// Fails where a value is not finite.
fn finite(source: &dyn Source, first_row: usize, values: &[f32]) -> Result<()> {
    let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let (row, column) = (first_row + at / source.columns(), at % source.columns());
    Err(Error::data(format!("{}: row {row}, column {column}", source.name()), values[at], "a finite number"))
}

/// Calls `see` with the rows of a source, some at a time.
pub(super) fn scan(source: &dyn Source, mut see: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
    const ROWS: usize = 4096;
    let columns = source.columns();
    let mut values = vec![0.0f32; ROWS.min(source.rows()) * columns];
    for first in (0..source.rows()).step_by(ROWS) {
        let values = &mut values[..ROWS.min(source.rows() - first) * columns];
        source.read(first, values)?;
        finite(source, first, values)?;
        see(first, values)?;
    }
    Ok(())
}
