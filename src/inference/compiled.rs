//! A purpose that is compiled: rows go in, results come back, some rows at a time.

use std::sync::Arc;
use std::time::Instant;

use super::Model;
use crate::error::{Error, Result, finite_rows};
use crate::gpu::{Buffer, Clock, Gpu, Program, Readback, Together, Wait, Work, seconds};
use crate::model::Purpose;
use crate::plan::{Recording, Role, Target, Tuning};
use crate::state::State;

/// Rows of a batch in inference.
pub(crate) const ROWS: usize = 1024;

/// Draws from steps below this do not meet those of a request's next part.
const PARTS: u32 = 1 << 16;

/// A compiled purpose, with two result buffers so that reading one overlaps computing the other.
pub(super) struct Compiled {
    program: Program,
    state: Buffer,
    readbacks: [Readback; 2],
    pub rows: usize,
    /// Rows that were asked for, where fewer fit.
    pub asked: usize,
    width: usize,
    result: usize,
    /// The tiles that it was planned with.
    pub tuning: Arc<Tuning>,
    /// Rows of a submit, where the device is shared and no draw depends on a row's place in one.
    together: Option<Together>,
    clock: Option<Clock>,
}

impl Compiled {
    /// A plan for `asked` rows, or for as many as fit.
    pub fn new(model: &Model, purpose: Purpose, asked: usize, tuning: Arc<Tuning>) -> Result<Compiled> {
        halving(asked, |rows| Ok(Compiled { asked, ..Compiled::of(model, purpose, rows, tuning.clone())? }))
    }

    fn of(model: &Model, purpose: Purpose, rows: usize, tuning: Arc<Tuning>) -> Result<Compiled> {
        let gpu = model.gpu();
        let recording = recording(model, purpose, rows, tuning.clone())?;
        let state = gpu.buffer("state", 64)?;
        let program = Program::new(gpu, &recording, &state, &model.resident().shared)?;
        let (width, result) = model.network().widths(purpose);
        let draws = matches!(purpose, Purpose::Resample | Purpose::Corrupt | Purpose::Evidence);
        let together = (gpu.is_shared() && !draws).then(Together::default);
        let clock = (together.is_some() && gpu.has_timestamps()).then(|| Clock::new(gpu, 1)).transpose()?;
        let bytes = (rows * result * 4) as u64 + clock.as_ref().map_or(0, |clock| clock.ticks.bytes());
        let readbacks = [Readback::new(gpu, bytes)?, Readback::new(gpu, bytes)?];
        Ok(Compiled { program, state, readbacks, rows, asked: rows, width, result, tuning, together, clock })
    }

    /// The buffers it holds, shared or not.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        let [first, second] = &self.readbacks;
        // What is read back passes out of the dispatches.
        let read = [first, second].map(|readback| (Some(Role::Output(0)), readback.buffer()));
        let ticks = self.clock.iter().map(|clock| (None, &clock.ticks));
        let own = [(None, &self.state)].into_iter().chain(read).chain(ticks);
        self.program.held().chain(own)
    }

    /// The results of rows, which errors call `what`. What is drawn is a function of the seed and the step of `draw`.
    pub async fn run(&mut self, gpu: &Gpu, values: &[f32], what: &str, how: Wait, draw: State) -> Result<Vec<f32>> {
        let mut results = Vec::with_capacity(values.len() / self.width * self.result);
        // A future that was dropped half-way leaves its copies behind.
        self.readbacks.iter_mut().for_each(Readback::discard);
        let (alone, mut pending) = (gpu.submits_alone(how), None);
        let (mut rest, mut first) = (values, 0);
        for i in 0.. {
            if rest.is_empty() {
                break;
            }
            let most = self.together.map_or(self.rows, |together| together.rows().min(self.rows));
            let chunk;
            (chunk, rest) = rest.split_at(rest.len().min(most * self.width));
            let rows = chunk.len() / self.width;
            // Here, since they are uploaded next: so they come from memory once.
            finite_rows(what, self.width, first, chunk)?;
            first += rows;
            // The Jacobian of a linear map is the same everywhere and reads no row.
            if let Ok(input) = self.program.buffer(Role::Input(0)) {
                gpu.write(input, 0, bytemuck::cast_slice(chunk))?;
            }
            let step = part_step(draw.step, i);
            let state = State { step, seed: draw.seed, ..State::once(rows, 0) };
            gpu.write(&self.state, 0, bytemuck::bytes_of(&state))?;
            let output = self.program.buffer(Role::Output(0))?;
            let ticks = self.clock.iter().map(|clock| (&clock.ticks, 0..clock.ticks.bytes()));
            let parts: Vec<_> = [(output, 0..(rows * self.result * 4) as u64)].into_iter().chain(ticks).collect();
            let begun = Instant::now();
            self.readbacks[i % 2].start_after([Work::Run(&self.program)], self.clock.as_ref(), &parts)?;
            let before = pending.replace((i % 2, rows, begun));
            let arrived = if alone { pending.take() } else { before };
            if let Some(submit) = arrived {
                self.received(submit, &mut results, how).await?;
            }
        }
        if let Some(submit) = pending {
            self.received(submit, &mut results, how).await?;
        }
        Ok(results)
    }

    /// Adds what has been read back of so many rows to the results.
    async fn received(
        &mut self,
        (at, rows, begun): (usize, usize, Instant),
        results: &mut Vec<f32>,
        how: Wait,
    ) -> Result<()> {
        let (length, clock) = (rows * self.result * 4, self.clock.as_ref());
        let words = |bytes: &[u8]| {
            let (found, ticks) = bytes.split_at(length.min(bytes.len()));
            results.extend(found.as_chunks().0.iter().map(|&word| f32::from_ne_bytes(word)));
            seconds(clock, ticks, begun)
        };
        let took = self.readbacks[at].finish_with(how, words).await?;
        if let Some(together) = &mut self.together {
            together.learn(rows, took);
        }
        Ok(())
    }
}

/// The step that the draws of a request's part belong to: no two parts share draws.
pub(super) fn part_step(step: u32, part: usize) -> u32 {
    step.wrapping_add((part as u32).wrapping_mul(PARTS))
}

/// What a purpose runs for batches of up to `rows` rows.
pub(super) fn recording(model: &Model, purpose: Purpose, rows: usize, tuning: Arc<Tuning>) -> Result<Recording> {
    if matches!(purpose, Purpose::Train | Purpose::Evaluate) {
        let allowed = "one that reads a batch and gives a result for each row";
        return Err(Error::spec("purpose", format!("{purpose:?}"), allowed));
    }
    if rows == 0 {
        return Err(Error::spec("rows", rows, "1 or more"));
    }
    let graph = model.network().graph(purpose, false)?;
    model.check_known(&graph)?;
    Recording::new(&graph, Target { tuning: Some(tuning), ..Target::of(model.gpu(), rows) })
}

/// Makes something for as many rows as the device can hold: `rows`, or half of them, again and again.
pub(crate) fn halving<T>(mut rows: usize, mut make: impl FnMut(usize) -> Result<T>) -> Result<T> {
    loop {
        match make(rows) {
            Err(Error::Limit { .. }) if rows > 1 => rows /= 2,
            made => return made,
        }
    }
}
