//! Using a model: codes, reconstructions and scores of rows from the host, or from and into the host application's
//! own buffers on the GPU.

use super::Session;
use super::feed::halving;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Program, Readback, Wait, Work};
use crate::model::{Purpose, Scaling};
use crate::plan::{Recording, Role};
use crate::state::State;

/// Rows of a batch in inference.
const ROWS: usize = 1024;

/// Draws from steps below this do not meet those of a request's next part.
const PARTS: u32 = 1 << 16;

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
        let (width, result) = session.network.widths(purpose);
        let bytes = (rows * result * 4) as u64;
        let readbacks = [Readback::new(gpu, bytes)?, Readback::new(gpu, bytes)?];
        Ok(Inference { program, state, readbacks, rows, asked: rows, width, result })
    }

    /// The buffers it holds, shared or not.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        let [first, second] = &self.readbacks;
        let own = [&self.state, first.buffer(), second.buffer()].map(|buffer| (None, buffer));
        self.program.held().chain(own)
    }

    async fn run(&mut self, gpu: &Gpu, values: &[f32], how: Wait, draw: State) -> Result<Vec<f32>> {
        let mut results = Vec::with_capacity(values.len() / self.width * self.result);
        // A future that was dropped half-way leaves its copies behind.
        self.readbacks.iter_mut().for_each(Readback::discard);
        let mut pending = None;
        for (i, chunk) in values.chunks(self.rows * self.width).enumerate() {
            let rows = chunk.len() / self.width;
            // The Jacobian of a linear map is the same everywhere and reads no row.
            if let Ok(input) = self.program.buffer(Role::Input(0)) {
                gpu.write(input, 0, bytemuck::cast_slice(chunk))?;
            }
            // No two parts of a request share draws.
            let step = draw.step.wrapping_add((i as u32).wrapping_mul(PARTS));
            let state = State { step, seed: draw.seed, ..State::once(rows, 0) };
            gpu.write(&self.state, 0, bytemuck::bytes_of(&state))?;
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

/// One component of what a mixture decoder says a row is drawn from: N(mean, sigma² I), with this weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// π, its probability.
    pub weight: f32,
    /// σ, in units of the scaled input.
    pub sigma: f32,
    /// r, in units of the scaled input.
    pub mean: Vec<f32>,
}

impl Session {
    /// Codes of rows (row-major, as wide as the input): row-major, as wide as the code.
    ///
    /// # Errors
    /// [`Error::Data`] where the values are no whole rows or not finite, or the scaling of the input is not learned yet.
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

    /// The logarithms γ of the variances of q(z|x) for each row of a variational autoencoder, as wide as the code; the
    /// means are what [`Session::encode`] gives.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`Error::Spec`] where the model is no variational one.
    pub fn log_variance(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::LogVariance, rows)
    }

    /// Codes that minimise the objective of predictive sparse decomposition, as far as the spec's proximal steps lead;
    /// [`Session::encode`] predicts them.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`Error::Spec`] where the model has no such codes.
    pub fn sparse_codes(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Sparse, rows)
    }

    /// Probabilities of the classes for each row.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`Error::Spec`] where the model has no classifier.
    pub fn classify(&mut self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Classify, rows)
    }

    /// For each row the K components of the density Σ_k π_k N(x; r_k, σ_k² I) that a mixture decoder gives it
    /// ([`crate::Loss::Mixture`]). Its modes are told from these; [`Session::reconstruct`] gives its mean.
    ///
    /// # Errors
    /// As [`Session::encode`]; [`Error::Spec`] where the loss is no mixture.
    pub fn mixture(&mut self, rows: &[f32]) -> Result<Vec<Vec<Component>>> {
        let values = self.infer(Purpose::Mixture, rows)?;
        let (input, width) = self.network.widths(Purpose::Mixture);
        let count = width / (2 + input);
        let component = |row: &[f32], k: usize| Component {
            weight: row[k],
            sigma: row[count + k],
            mean: row[2 * count + k * input..][..input].to_vec(),
        };
        Ok(values.chunks(width).map(|row| (0..count).map(|k| component(row, k)).collect()).collect())
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
        if matches!(purpose, Purpose::Resample | Purpose::Corrupt | Purpose::Evidence) {
            let allowed = "one that draws nothing: every run would draw the same";
            return Err(Error::spec("purpose", format!("{purpose:?}"), allowed));
        }
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
            let allowed = "one that reads a batch and gives a result for each row";
            return Err(Error::spec("purpose", format!("{purpose:?}"), allowed));
        }
        if rows == 0 {
            return Err(Error::spec("rows", rows, "1 or more"));
        }
        let graph = self.network.graph(purpose, false)?;
        self.check_known(&graph)?;
        Recording::new(&graph, self.target(rows))
    }

    pub(crate) fn infer(&mut self, purpose: Purpose, values: &[f32]) -> Result<Vec<f32>> {
        pollster::block_on(self.infer_with(purpose, values, Wait::Block))
    }

    async fn infer_with(&mut self, purpose: Purpose, values: &[f32], how: Wait) -> Result<Vec<f32>> {
        self.infer_drawn(purpose, values, how, State::default()).await
    }

    /// What is drawn is a function of the seed and the step of `draw`.
    pub(crate) async fn infer_drawn(
        &mut self,
        purpose: Purpose,
        values: &[f32],
        how: Wait,
        draw: State,
    ) -> Result<Vec<f32>> {
        let (width, _) = self.network.widths(purpose);
        let what = format!("rows to {purpose:?}");
        let count = self.check_rows(values, width, &what)?;
        if matches!(purpose, Purpose::Score | Purpose::Evidence) && self.spec().scaling == Scaling::None {
            self.check_values(&what, width, 0, values, &[])?;
        }
        // Small requests get a small plan; a larger one replaces it.
        let rows = count.next_power_of_two().min(ROWS);
        if self.inference.get(&purpose).is_none_or(|i| i.asked < rows) {
            let inference = Inference::new(self, purpose, rows)?;
            self.inference.insert(purpose, inference);
        }
        let gpu = self.gpu.clone();
        match self.inference.get_mut(&purpose) {
            Some(inference) => inference.run(&gpu, values, how, draw).await,
            None => Err(Error::Internal("no plan for inference".into())),
        }
    }
}
