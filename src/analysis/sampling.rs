//! Sampling: chains of denoising autoencoders, generation from variational ones, and bounds on their likelihood.

use crate::error::{Error, Result, positive};
use crate::gpu::{Buffer, Gpu, Program, Wait, Work};
use crate::graph::Graph;
use crate::inference::Model;
use crate::model::{Corruption, Latent, Purpose};
use crate::plan::{Recording, Role};
use crate::random::{Draw, key};
use crate::state::State;

/// How a chain moves.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Chain {
    /// Corrupts, encodes and draws from p(x|h), with the noise of every layer: its stationary distribution estimates
    /// that of the data (Bengio, Yao, Alain and Vincent, "Generalized denoising auto-encoders as generative models",
    /// 2013). With noise at hidden layers ([`crate::Layer::noise`]) it is the chain of a generative stochastic network (Alain and
    /// others, "GSNs: generative stochastic networks", 2015), which is trained with [`crate::Spec::walkback`]: h is drawn anew from
    /// x in each step, where GSNs may also have it depend on the h before.
    Alternating,
    /// x + (ε/2) (r(x) − x)/σ² + √ε z with σ that of the spec's Gaussian corruption and z normal, in units of the
    /// scaled input.
    Langevin {
        /// ε
        length: f64,
    },
}

/// Chains that run side by side on the GPU, one for each row they started from.
///
/// ```no_run
/// # use strait::{analysis::Chain, Model};
/// # fn show(model: &Model, start: &[f32]) -> strait::Result<()> {
/// let mut chains = model.sampler(Chain::Alternating, start, 0)?;
/// chains.advance(1000)?;
/// let samples = chains.rows()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sampler {
    gpu: Gpu,
    program: Program,
    state: Buffer,
    rows: usize,
    values: usize,
    seed: u64,
    step: u32,
}

/// Steps after which the host waits, so that commands do not pile up.
const TOGETHER: u64 = 64;

impl Sampler {
    /// Chains of a graph over the model's tensors that gives a batch's next rows to [`crate::graph::Sink::Output`] 0.
    pub(crate) fn new(model: &Model, graph: &Graph, rows: &[f32], seed: u64) -> Result<Sampler> {
        let count = model.check_rows(rows, model.spec().input, "rows to start from")?;
        let gpu = model.gpu().clone();
        let recording = Recording::new(graph, model.target(count))?;
        let state = gpu.buffer("state", 64)?;
        let program = Program::new(&gpu, &recording, &state, model.buffers(graph)?)?;
        gpu.write(program.buffer(Role::Input(0))?, 0, bytemuck::cast_slice(rows))?;
        Ok(Sampler { gpu, program, state, rows: count, values: rows.len(), seed, step: 0 })
    }

    /// Takes steps.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub fn advance(&mut self, steps: u64) -> Result<()> {
        let (input, output) = (self.program.buffer(Role::Input(0))?, self.program.buffer(Role::Output(0))?);
        for done in 1..=steps {
            let state = State { step: self.step, seed: key(self.seed), ..State::once(self.rows, 0) };
            self.gpu.write(&self.state, 0, bytemuck::bytes_of(&state))?;
            self.gpu.submit([Work::Run(&self.program), Work::Copy(output, input)])?;
            self.step = self.step.wrapping_add(1);
            if done % TOGETHER == 0 {
                self.gpu.read(input, 0, 1)?;
            }
        }
        Ok(())
    }

    /// Where the chains are, row-major, in the units of the input.
    ///
    /// # Errors
    /// [`Error::Data`] naming a chain that has left the range of f32; as [`Gpu::read`].
    pub fn rows(&self) -> Result<Vec<f32>> {
        let values = self.gpu.read(self.program.buffer(Role::Input(0))?, 0, self.values)?;
        let width = self.values / self.rows;
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(at) => {
                let place = format!("chains after {} steps: row {}", self.step, at / width);
                Err(Error::data(
                    place,
                    values[at],
                    "chains that stay in the range of f32: shorter steps, another start",
                ))
            }
        }
    }
}

impl Model {
    /// Chains that start at `rows`; what they draw is a function of `seed`.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the field where the model has no noise to sample with; [`Error::Data`] where the values
    /// are no whole rows or not finite; [`Error::Limit`] where there are more rows than a buffer holds.
    pub fn sampler(&self, chain: Chain, rows: &[f32], seed: u64) -> Result<Sampler> {
        let corruption = &self.spec().corruption;
        let graph = match chain {
            Chain::Alternating => {
                if !self.spec().draws_codes() {
                    return Err(Error::spec("corruption", format!("{corruption:?}"), "noise to alternate with"));
                }
                self.network().graph(Purpose::Resample, false)?
            }
            Chain::Langevin { length } => {
                positive("length", length)?;
                let &Corruption::Gaussian { sigma } = corruption else {
                    let allowed = "gaussian: the score of a density smoothed by it is what the model knows";
                    return Err(Error::spec("corruption", format!("{corruption:?}"), allowed));
                };
                positive("corruption.sigma", sigma)?;
                positive("length (over twice sigma squared)", length / (2.0 * sigma * sigma))?;
                self.network().langevin(length, sigma)?
            }
        };
        Sampler::new(self, &graph, rows, seed)
    }

    /// Rows (row-major, as wide as the input) corrupted by the spec's corruption as they are in training, in the units
    /// of the input; unchanged where there is none. A function of `seed`.
    ///
    /// ```no_run
    /// # fn show(model: &strait::Model, rows: &[f32]) -> strait::Result<()> {
    /// let corrupted = model.corrupt(rows, 0)?;
    /// let denoised = model.reconstruct(&corrupted)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] where the values are no whole rows or not finite, or where a scaling or the ends of
    /// [`Corruption::SaltAndPepper`] are not learned yet.
    pub fn corrupt(&self, rows: &[f32], seed: u64) -> Result<Vec<f32>> {
        let draw = State { seed: key(seed), ..State::default() };
        pollster::block_on(self.infer_drawn(Purpose::Corrupt, rows, Wait::Block, draw))
    }

    /// `count` rows that a variational autoencoder generates: z ~ N(0, I), decoded to the mean of p(x|z). A function of
    /// `seed`.
    ///
    /// # Errors
    /// [`Error::Spec`] where the model is no variational one; as [`Model::decode`].
    pub fn generate(&self, count: usize, seed: u64) -> Result<Vec<f32>> {
        self.check_variational()?;
        let code = self.spec().code();
        if count.checked_mul(self.spec().input.max(code)).is_none_or(|values| values > 1 << 32) {
            return Err(Error::spec("count", count, "fewer rows: 2^32 values at most"));
        }
        let draw = Draw { seed, stream: 0, step: 0 };
        let z: Vec<f32> = (0..count * code).map(|i| draw.normal(i / code, i % code) as f32).collect();
        if z.is_empty() {
            return Ok(vec![]);
        }
        self.decode(&z)
    }

    /// The importance-weighted bound on log p(x) of each row, log of the mean of p(x, z)/q(z|x) over `draws` draws of z
    /// (Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015); with one draw an estimate of the
    /// ELBO. It grows with the number of draws, in the mean. A function of `seed`. A row beyond what the loss is made
    /// for is less likely for it, as [`crate::Loss`] says; -infinity where every draw lies beyond f32.
    ///
    /// # Errors
    /// [`Error::Spec`] where the model is no variational one, its loss no likelihood, or `draws` is 0 or above 65,536;
    /// as [`Model::encode`].
    pub fn evidence(&self, rows: &[f32], draws: u32, seed: u64) -> Result<Vec<f64>> {
        self.check_variational()?;
        if !(1..=1 << 16).contains(&draws) {
            return Err(Error::spec("draws", draws, "1 to 65536"));
        }
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for step in 0..draws {
            let draw = State { step, seed: key(seed), ..State::default() };
            let weights = pollster::block_on(self.infer_drawn(Purpose::Evidence, rows, Wait::Block, draw))?;
            sums.resize(weights.len(), (f64::NEG_INFINITY, 0.0));
            // Sums of exponentials relative to the largest so far.
            for ((most, sum), weight) in sums.iter_mut().zip(weights) {
                let weight = f64::from(weight);
                // It adds nothing, and two of them have no difference.
                if weight == f64::NEG_INFINITY {
                    continue;
                }
                let larger = most.max(weight);
                *sum = *sum * (*most - larger).exp() + (weight - larger).exp();
                *most = larger;
            }
        }
        Ok(sums.into_iter().map(|(most, sum)| most + (sum / f64::from(draws)).ln()).collect())
    }

    fn check_variational(&self) -> Result<()> {
        match self.spec().latent {
            Latent::Gaussian { .. } => Ok(()),
            other => Err(Error::spec("latent", format!("{other:?}"), "gaussian: a variational autoencoder")),
        }
    }
}
