//! What a model does with rows, by the names that everybody knows.

use super::Model;
use super::compiled::{Compiled, ROWS};
use super::model::whole_rows;
use crate::error::{Error, Result};
use crate::gpu::Wait;
use crate::model::Purpose;
use crate::state::State;

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

impl Model {
    /// Codes of rows (row-major, as wide as the input): row-major, as wide as the code. They are those of clean rows, but that
    /// missing features ([`crate::Corruption::Missing`]) are not looked at.
    ///
    /// # Errors
    /// [`Error::Data`] where the values are no whole rows or not finite, or the scaling of the input is not learned
    /// yet; naming the row, where a result would lie beyond f32.
    pub fn encode(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Encode, rows)
    }

    /// Reconstructions of codes, in the units of the input.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn decode(&self, codes: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Decode, codes)
    }

    /// Reconstructions of rows, in the units of the input.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn reconstruct(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Reconstruct, rows)
    }

    /// The loss of each row, reduced over features as the spec's loss says, of the scaled input: the higher, the less
    /// the row is like the training data. Features that are missing count in it, too. A row beyond what the loss is made for costs more for it, as [`crate::Loss`]
    /// says. A loss too large for f32 is infinite.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn score(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Score, rows)
    }

    /// The logarithms γ of the variances of q(z|x) for each row of a variational autoencoder, as wide as the code; the
    /// means are what [`Model::encode`] gives.
    ///
    /// # Errors
    /// As [`Model::encode`]; [`Error::Spec`] where the model is no variational one.
    pub fn log_variance(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::LogVariance, rows)
    }

    /// Codes that minimise the objective of predictive sparse decomposition, as far as the spec's proximal steps lead;
    /// [`Model::encode`] predicts them. As in training they are of all features, also of missing ones, which a prediction is without.
    ///
    /// # Errors
    /// As [`Model::encode`]; [`Error::Spec`] where the model has no such codes.
    pub fn sparse_codes(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Sparse, rows)
    }

    /// Probabilities of the classes for each row.
    ///
    /// # Errors
    /// As [`Model::encode`]; [`Error::Spec`] where the model has no classifier.
    pub fn classify(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer(Purpose::Classify, rows)
    }

    /// For each row the K components of the density Σ_k π_k N(x; r_k, σ_k² I) that a mixture decoder gives it
    /// ([`crate::Loss::Mixture`]). Its modes are told from these; [`Model::reconstruct`] gives its mean.
    ///
    /// # Errors
    /// As [`Model::encode`]; [`Error::Spec`] where the loss is no mixture.
    pub fn mixture(&self, rows: &[f32]) -> Result<Vec<Vec<Component>>> {
        let values = self.infer(Purpose::Mixture, rows)?;
        let (input, width) = self.network().widths(Purpose::Mixture);
        let count = width / (2 + input);
        let component = |row: &[f32], k: usize| Component {
            weight: row[k],
            sigma: row[count + k],
            mean: row[2 * count + k * input..][..input].to_vec(),
        };
        Ok(values.chunks(width).map(|row| (0..count).map(|k| component(row, k)).collect()).collect())
    }

    /// As [`Model::encode`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub async fn encode_async(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Encode, rows, Wait::Await).await
    }

    /// As [`Model::decode`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub async fn decode_async(&self, codes: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Decode, codes, Wait::Await).await
    }

    /// As [`Model::reconstruct`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub async fn reconstruct_async(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Reconstruct, rows, Wait::Await).await
    }

    /// As [`Model::score`], giving the thread back while the GPU works.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub async fn score_async(&self, rows: &[f32]) -> Result<Vec<f32>> {
        self.infer_with(Purpose::Score, rows, Wait::Await).await
    }

    pub(crate) fn infer(&self, purpose: Purpose, values: &[f32]) -> Result<Vec<f32>> {
        pollster::block_on(self.infer_with(purpose, values, Wait::Block))
    }

    async fn infer_with(&self, purpose: Purpose, values: &[f32], how: Wait) -> Result<Vec<f32>> {
        self.infer_drawn(purpose, values, how, State::default()).await
    }

    /// What is drawn is a function of the seed and the step of `draw`.
    pub(crate) async fn infer_drawn(
        &self,
        purpose: Purpose,
        values: &[f32],
        how: Wait,
        draw: State,
    ) -> Result<Vec<f32>> {
        let (width, _) = self.network().widths(purpose);
        let what = format!("rows to {purpose:?}");
        let count = whole_rows(values, width, &what)?;
        // Small requests get a small plan; a larger one replaces it.
        let rows = count.next_power_of_two().min(ROWS);
        let plan = self.take(purpose, rows, how).await?;
        let rows = plan.rows;
        let mut lent = Lent { model: self, purpose, plan: Some(plan) };
        let Some(plan) = &mut lent.plan else { return Err(Error::Internal("no plan for inference".into())) };
        let found = plan.run(self.gpu(), values, &what, how, draw).await;
        if !matches!(found, Ok(_) | Err(Error::Data { .. })) {
            // Nobody knows what became of what it was computing.
            lent.plan = None;
        }
        drop(lent);
        let mut results = found?;
        self.settle_results(purpose, values, &mut results, rows, draw, how).await?;
        Ok(results)
    }
}

/// A plan that is in use. It is given back, also where a future is dropped half-way.
struct Lent<'a> {
    model: &'a Model,
    purpose: Purpose,
    plan: Option<Compiled>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(plan) = self.plan.take() {
            self.model.give_back(self.purpose, plan);
        }
    }
}
