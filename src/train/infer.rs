//! Using a model: codes, reconstructions and scores of rows from the host, or from and into the host application's
//! own buffers on the GPU.

use super::Session;
use super::feed::halving;
use super::session::check_unit;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Program, Readback, Wait, Work};
use crate::model::Purpose;
use crate::plan::{Recording, Role, Target};
use crate::state::State;

/// Rows of a batch in inference.
const ROWS: usize = 1024;

/// A compiled purpose, with two result buffers so that reading one overlaps computing the other.
pub(super) struct Inference {
    program: Program,
    state: Buffer,
    readbacks: [Readback; 2],
    rows: usize,
    /// Rows that were asked for, where fewer fit.
    asked: usize,
    width: usize,
    result: usize,
}

impl Inference {
    fn new(session: &Session, purpose: Purpose, asked: usize) -> Result<Inference> {
        halving(asked, |rows| Ok(Inference { asked, ..Inference::of(session, purpose, rows)? }))
    }

    fn of(session: &Session, purpose: Purpose, rows: usize) -> Result<Inference> {
        let gpu = &session.gpu;
        let recording = session.inference_recording(purpose, rows)?;
        let state = gpu.buffer("state", 64)?;
        let program = Program::new(gpu, &recording, &state, &session.shared)?;
        let (width, result) = session.widths(purpose);
        let bytes = (rows * result * 4) as u64;
        let readbacks = [Readback::new(gpu, bytes)?, Readback::new(gpu, bytes)?];
        Ok(Inference { program, state, readbacks, rows, asked: rows, width, result })
    }

    async fn run(&mut self, gpu: &Gpu, values: &[f32], how: Wait) -> Result<Vec<f32>> {
        let mut results = Vec::with_capacity(values.len() / self.width * self.result);
        // A future that was dropped half-way leaves its copies behind.
        self.readbacks.iter_mut().for_each(Readback::discard);
        let mut pending = None;
        for (i, chunk) in values.chunks(self.rows * self.width).enumerate() {
            let rows = chunk.len() / self.width;
            gpu.write(self.program.buffer(Role::Input(0))?, 0, bytemuck::cast_slice(chunk))?;
            gpu.write(&self.state, 0, bytemuck::bytes_of(&State::once(rows, 0)))?;
            gpu.submit([Work::Run(&self.program)])?;
            let output = self.program.buffer(Role::Output(0))?;
            self.readbacks[i % 2].start(&[(output, 0..(rows * self.result * 4) as u64)])?;
            if let Some(at) = pending.replace(i % 2) {
                results.extend(self.received(at, how).await?);
            }
        }
        if let Some(at) = pending {
            results.extend(self.received(at, how).await?);
        }
        Ok(results)
    }

    async fn received(&mut self, at: usize, how: Wait) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.readbacks[at].finish(how).await?))
    }
}

/// A purpose bound to the host application's own buffers: see [`Session::attach`].
#[derive(Debug)]
pub struct Attached {
    gpu: Gpu,
    program: Program,
    state: Buffer,
    rows: usize,
}

impl Attached {
    /// Computes the first `rows` rows. Nothing is read back and nothing waits.
    ///
    /// # Errors
    /// [`Error::Spec`] where there are more rows than were attached for.
    pub fn run(&self, rows: usize) -> Result<()> {
        if rows > self.rows {
            return Err(Error::spec("rows", rows, format!("at most the {} rows attached for", self.rows)));
        }
        self.gpu.write(&self.state, 0, bytemuck::bytes_of(&State::once(rows, 0)))?;
        self.gpu.submit([Work::Run(&self.program)])
    }
}

impl Session {
    /// Codes of rows (row-major, as wide as the input): row-major, as wide as the code.
    ///
    /// # Errors
    /// [`Error::Data`] where the values are no whole rows or not finite.
    pub fn encode(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Encode, rows)
    }

    /// Reconstructions of codes, in the units of the input.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub fn decode(&mut self, codes: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Decode, codes)
    }

    /// Reconstructions of rows, in the units of the input.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub fn reconstruct(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Reconstruct, rows)
    }

    /// The loss of each row, reduced over features as the spec's loss says, of the scaled input: the higher, the less
    /// the row is like the training data.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`Error::Data`] where a value is none that the loss is made for: with
    /// [`crate::Loss::Bernoulli`] and no scaling, one outside [0, 1].
    pub fn score(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Score, rows)
    }

    /// As [`Session::encode`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub async fn encode_async(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Encode, rows, Wait::Await).await
    }

    /// As [`Session::decode`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub async fn decode_async(&mut self, codes: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Decode, codes, Wait::Await).await
    }

    /// As [`Session::reconstruct`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub async fn reconstruct_async(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Reconstruct, rows, Wait::Await).await
    }

    /// As [`Session::score`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub async fn score_async(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Score, rows, Wait::Await).await
    }

    /// Binds encoding, decoding, reconstructing or scoring to buffers on the GPU, for up to `rows` rows without
    /// padding: what the host rendered or recorded is read where it lies, and the result stays there.
    ///
    /// # Errors
    /// [`Error::Spec`] for a purpose that reads no batch, [`Error::Limit`] where a buffer is too small.
    pub fn attach(&self, purpose: Purpose, input: Buffer, output: Buffer, rows: usize) -> Result<Attached> {
        let recording = self.inference_recording(purpose, rows)?;
        let state = self.gpu.buffer("state", 64)?;
        let mut shared = self.shared.clone();
        shared.insert(Role::Input(0), input);
        shared.insert(Role::Output(0), output);
        let program = Program::new(&self.gpu, &recording, &state, &shared)?;
        Ok(Attached { gpu: self.gpu.clone(), program, state, rows })
    }

    fn inference_recording(&self, purpose: Purpose, rows: usize) -> Result<Recording> {
        if matches!(purpose, Purpose::Train | Purpose::Evaluate) {
            let allowed = "encode, decode, reconstruct or score";
            return Err(Error::spec("purpose", format!("{purpose:?}"), allowed));
        }
        if rows == 0 {
            return Err(Error::spec("rows", rows, "1 or more"));
        }
        self.check_scaled()?;
        Recording::new(&self.network.graph(purpose, false)?, Target::of(&self.gpu, rows))
    }

    /// Columns of a purpose's input and of its result.
    fn widths(&self, purpose: Purpose) -> (usize, usize) {
        let (input, code) = (self.spec().input, self.spec().code());
        match purpose {
            Purpose::Encode => (input, code),
            Purpose::Decode => (code, input),
            Purpose::Score => (input, 1),
            _ => (input, input),
        }
    }

    fn infer(&mut self, purpose: Purpose, values: &[f32]) -> Result<Vec<f32>> {
        pollster::block_on(self.infer_with(purpose, values, Wait::Block))
    }

    async fn infer_with(&mut self, purpose: Purpose, values: &[f32], how: Wait) -> Result<Vec<f32>> {
        let (width, _) = self.widths(purpose);
        if values.is_empty() || !values.len().is_multiple_of(width) {
            let allowed = format!("whole rows of {width} values, at least one");
            return Err(Error::data(format!("rows to {purpose:?}"), format!("{} values", values.len()), allowed));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let place = format!("rows to {purpose:?}: row {}, column {}", at / width, at % width);
            return Err(Error::data(place, values[at], "a finite number"));
        }
        if purpose == Purpose::Score && self.needs_unit() {
            check_unit(&format!("rows to {purpose:?}"), width, 0, values, &[])?;
        }
        // Small requests get a small plan; a larger one replaces it.
        let rows = (values.len() / width).next_power_of_two().min(ROWS);
        if self.inference.get(&purpose).is_none_or(|i| i.asked < rows) {
            let inference = Inference::new(self, purpose, rows)?;
            self.inference.insert(purpose, inference);
        }
        let gpu = self.gpu.clone();
        match self.inference.get_mut(&purpose) {
            Some(inference) => inference.run(&gpu, values, how).await,
            None => Err(Error::Internal("no plan for inference".into())),
        }
    }
}
