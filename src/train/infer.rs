//! Using a model: codes, reconstructions and scores of rows from the host, or from and into the host application's
//! own buffers on the GPU.

use super::Session;
use super::feed::halving;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Program, Readback, Wait, Work};
use crate::graph::{Graph, Op, Sink};
use crate::model::Purpose;
use crate::plan::{Recording, Role};
use crate::reference::{Environment, evaluate};
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
        let gpu = session.gpu();
        let recording = session.inference_recording(purpose, rows)?;
        let state = gpu.buffer("state", 64)?;
        let program = Program::new(gpu, &recording, &state, &session.resident.shared)?;
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
            let step = part_step(draw.step, i);
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

/// The step that the draws of a request's part belong to: no two parts share draws.
fn part_step(step: u32, part: usize) -> u32 {
    step.wrapping_add((part as u32).wrapping_mul(PARTS))
}

/// The rows of `width` values of which one is not finite.
fn bad_rows(values: &[f32], width: usize) -> Vec<usize> {
    // Without a branch, so that it costs next to nothing where all is well.
    let finite = |row: &[f32]| row.iter().fold(true, |all, v| all & v.is_finite());
    let rows = values.chunks(width.max(1)).enumerate();
    rows.filter(|(_, row)| !finite(row)).map(|(at, _)| at).collect()
}

/// A purpose in f64, on the CPU: for the few rows that f32 cannot tell about.
struct Exact {
    graph: Graph,
    env: Environment<f64>,
}

impl Exact {
    fn new(session: &Session, purpose: Purpose) -> Result<Exact> {
        let wide = |tensors: Vec<Vec<f32>>| -> Vec<Vec<f64>> {
            tensors.into_iter().map(|tensor| tensor.into_iter().map(f64::from).collect()).collect()
        };
        let (params, constants) = (wide(session.parameters()?), wide(session.resident.constants()?));
        let graph = session.network.graph(purpose, false)?;
        Ok(Exact { graph, env: Environment { params, constants, ..Environment::default() } })
    }

    /// The one result of each of these rows.
    fn rows(&mut self, rows: &[f32], draw: State) -> Result<Vec<f64>> {
        let width =
            self.graph.nodes().find_map(|(_, node)| matches!(node.op, Op::Input(0)).then(|| node.shape.columns()));
        self.env.rows = rows.len() / width.unwrap_or(1).max(1);
        self.env.inputs = vec![rows.iter().map(|&v| f64::from(v)).collect()];
        let [low, high] = draw.seed.map(u64::from);
        (self.env.seed, self.env.step) = (low | high << 32, draw.step);
        let values = evaluate(&self.graph, &self.env)?;
        let results = self.env.sink(&self.graph, &values, Sink::Output(0));
        results.map(<[f64]>::to_vec).ok_or_else(|| Error::Internal("no result in f64".into()))
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
    /// Computes the first `rows` rows. Nothing is read back and nothing waits, so nobody looks whether the results are
    /// finite either.
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
    /// [`Error::Data`] where the values are no whole rows or not finite, or the scaling of the input is not learned yet;
    /// naming the row, where a result would lie beyond f32.
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
    /// the row is like the training data. A row beyond what the loss is made for costs more for it, as [`crate::Loss`]
    /// says. A loss too large for f32 is infinite.
    ///
    /// # Errors
    /// As [`Session::encode`].
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
        let state = self.gpu().buffer("state", 64)?;
        let mut shared = self.resident.shared.clone();
        shared.insert(Role::Input(0), input);
        shared.insert(Role::Output(0), output);
        let program = Program::new(self.gpu(), &recording, &state, &shared)?;
        Ok(Attached { gpu: self.gpu().clone(), program, state, rows })
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
        // Small requests get a small plan; a larger one replaces it.
        let rows = count.next_power_of_two().min(ROWS);
        if self.inference.get(&purpose).is_none_or(|i| i.asked < rows) {
            let inference = Inference::new(self, purpose, rows)?;
            self.inference.insert(purpose, inference);
        }
        let gpu = self.gpu().clone();
        let Some(inference) = self.inference.get_mut(&purpose) else {
            return Err(Error::Internal("no plan for inference".into()));
        };
        let (mut results, rows) = (inference.run(&gpu, values, how, draw).await?, inference.rows);
        self.settle_results(purpose, values, &mut results, rows, draw)?;
        Ok(results)
    }

    /// Sees to it that no result is NaN, and none is infinite but a loss that truly is. Where the GPU says anything else,
    /// f64 may still know the value, since nothing on the way to it overflows there. `part` is the number of rows that
    /// were computed together.
    fn settle_results(
        &self,
        purpose: Purpose,
        values: &[f32],
        results: &mut [f32],
        part: usize,
        draw: State,
    ) -> Result<()> {
        let (width, result) = self.network.widths(purpose);
        let mut bad = bad_rows(results, result);
        if bad.is_empty() {
            return Ok(());
        }
        if matches!(purpose, Purpose::Score | Purpose::Evidence) {
            let mut exact = Exact::new(self, purpose)?;
            for together in bad.chunk_by(|a, b| a / part == b / part) {
                let (at, last) = (together[0] / part, together[together.len() - 1]);
                // What is drawn depends on a row's place in its part.
                let rows = if purpose == Purpose::Score { together.to_vec() } else { (at * part..=last).collect() };
                let inputs: Vec<f32> = rows.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect();
                let found = exact.rows(&inputs, State { step: part_step(draw.step, at), ..draw })?;
                for (row, found) in rows.into_iter().zip(found) {
                    if !results[row].is_finite() {
                        results[row] = found as f32;
                    }
                }
            }
            bad.retain(|&row| results[row].is_nan());
        }
        let Some(&row) = bad.first() else { return Ok(()) };
        let found = results[row * result..][..result].iter().find(|v| !v.is_finite()).copied().unwrap_or(f32::NAN);
        let allowed = "rows, and a model, for which nothing leaves the range of f32";
        Err(Error::data(format!("rows to {purpose:?}: result of row {row}"), found, allowed))
    }
}
