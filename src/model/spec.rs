//! The spec: an autoencoder as plain data, readable as TOML and JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Activation, Corruption, Init, Latent, Loss, Penalty, Ramp};
use crate::error::{Error, Result};

/// One dense layer: activation(x W + b).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its width.
    pub units: usize,
    /// What it applies to its pre-activations.
    #[serde(default)]
    pub activation: Activation,
    /// How its weights start.
    #[serde(default)]
    pub init: Init,
    /// What is done to its output in training: noise, or masking with `rescale`, which is dropout.
    #[serde(default, skip_serializing_if = "is_default")]
    pub noise: Corruption,
}

impl Layer {
    /// A layer of `units` units without activation.
    pub fn new(units: usize) -> Layer {
        Layer { units, activation: Activation::Identity, init: Init::He, noise: Corruption::None }
    }
}

/// A classifier of the code, trained together with the autoencoder: softmax(h V + c).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervised {
    /// Classes.
    pub classes: usize,
    /// α of L_rec + α L_sup, with L_sup the mean over the batch of −log p(label).
    pub weight: f64,
}

/// Whether a field need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is done to every input before the model sees it; learned from the training data, saved with the model and
/// undone by reconstructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scaling {
    /// Nothing.
    #[default]
    None,
    /// Each feature to [0, 1] by its smallest and largest training value. A feature that is constant in the training data
    /// becomes its difference from that constant.
    Unit,
    /// Each feature to mean 0 and standard deviation 1 over the training data. A feature that is constant there becomes
    /// its difference from that constant.
    Standardise,
}

/// What a model computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// Single precision, everywhere.
    #[default]
    F32,
    /// The factors of matrix products are rounded to half precision, and what is computed only for them lies in memory
    /// so; their sums, parameters, gradients, moments, losses and reductions stay in single precision ("Mixed precision
    /// training", Micikevicius et al., 2017). The backward pass is scaled so that small slopes are not lost and large ones
    /// fit: by the rows of the batch, and for each term of the objective by a power of two that follows from the spec, from
    /// its weight and from the features where the loss is a mean over them. The device must have `SHADER_F16`.
    F16,
}

/// An autoencoder: minimise L(x, g(f(x))) ("Deep Learning", equation 14.1), with f the encoder and g the decoder.
///
/// ```
/// use strait::{Activation, Loss, Spec};
///
/// let spec = Spec::symmetric(&[64, 256, 8], Activation::Elu).loss(Loss::Bernoulli).gaussian_corruption(0.2);
/// spec.check()?;
/// assert_eq!(Spec::from_toml(&spec.to_toml()?)?, spec);
/// # Ok::<(), strait::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Features of a row.
    pub input: usize,
    /// The loss of a reconstruction.
    #[serde(default)]
    pub loss: Loss,
    /// Whether each decoder layer uses the transposed weights of the encoder layer that mirrors it. Biases are not
    /// tied.
    #[serde(default)]
    pub tied: bool,
    /// λ of ½ λ Σ ||W||² over all weights (tied ones once; biases never), added to the loss.
    #[serde(default)]
    pub weight_decay: f64,
    /// What is done to every input first.
    #[serde(default)]
    pub scaling: Scaling,
    /// How the input is corrupted in training; missing features are missing after it, too.
    #[serde(default)]
    pub corruption: Corruption,
    /// How the decoder's input comes from the encoder's output.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latent: Latent,
    /// Keeps the weights that leave each unit of the code at norm 1, so that a penalty on codes cannot be cheated by
    /// large weights in the decoder.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unit_norm: bool,
    /// How often a denoising autoencoder's training, or that of a network with noise at layers of its encoder (a generative
    /// stochastic network), goes on from a draw of its own: the loss is the mean over all passes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub walkback: usize,
    /// What is added to the loss, at most six.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub penalties: Vec<Penalty>,
    /// Coefficients that come to their value in the course of a run, by their place: weights of terms (`weight_decay`,
    /// `latent.beta`, `supervised.weight`, `penalties[0].weight`), what else penalties and latent codes have
    /// (`penalties[0].rho`, `penalties[0].nu`, `latent.weight`, `latent.gamma`), a normal likelihood's `loss.gaussian.sigma`, and
    /// strengths of noise (`corruption.sigma`, `corruption.probability`, `encoder[0].noise.sigma`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ramps: BTreeMap<String, Ramp>,
    /// What it computes in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// A classifier that is trained with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<Supervised>,
    /// From the input to the code.
    pub encoder: Vec<Layer>,
    /// From the code to the reconstruction; its last layer is as wide as the input.
    pub decoder: Vec<Layer>,
}

impl Spec {
    /// An encoder through the given widths (the first is the input's, the last the code's) and a decoder that mirrors
    /// it. `activation` follows every layer but the code's and the last, which have none.
    pub fn symmetric(widths: &[usize], activation: Activation) -> Spec {
        let layer = |units: usize, plain: bool| match plain {
            true => Layer::new(units),
            false => Layer { activation, ..Layer::new(units) },
        };
        let last = widths.len().saturating_sub(1);
        Spec {
            input: widths.first().copied().unwrap_or(0),
            loss: Loss::Mse,
            tied: false,
            weight_decay: 0.0,
            scaling: Scaling::None,
            corruption: Corruption::None,
            latent: Latent::Deterministic,
            unit_norm: false,
            walkback: 0,
            penalties: vec![],
            ramps: BTreeMap::new(),
            precision: Precision::F32,
            supervised: None,
            encoder: (1..=last).map(|i| layer(widths[i], i == last)).collect(),
            decoder: (0..last).rev().map(|i| layer(widths[i], i == 0)).collect(),
        }
    }

    /// The same with this loss.
    pub fn loss(self, loss: Loss) -> Spec {
        Spec { loss, ..self }
    }

    /// The same with tied weights.
    pub fn tied(self) -> Spec {
        Spec { tied: true, ..self }
    }

    /// The same with this weight decay.
    pub fn weight_decay(self, weight_decay: f64) -> Spec {
        Spec { weight_decay, ..self }
    }

    /// The same with this scaling.
    pub fn scaling(self, scaling: Scaling) -> Spec {
        Spec { scaling, ..self }
    }

    /// The same with normal noise of standard deviation `sigma` on the input.
    pub fn gaussian_corruption(self, sigma: f64) -> Spec {
        Spec { corruption: Corruption::Gaussian { sigma }, ..self }
    }

    /// The same with this corruption of the input.
    pub fn corruption(self, corruption: Corruption) -> Spec {
        Spec { corruption, ..self }
    }

    /// The same with this penalty too.
    pub fn penalty(mut self, penalty: Penalty) -> Spec {
        self.penalties.push(penalty);
        self
    }

    /// The same with this ramp of the coefficient at a place, as in [`Spec::ramps`].
    pub fn ramp(mut self, coefficient: impl Into<String>, ramp: Ramp) -> Spec {
        self.ramps.insert(coefficient.into(), ramp);
        self
    }

    /// The same as a variational autoencoder, its KL divergence weighted by `beta`.
    pub fn variational(self, beta: f64) -> Spec {
        Spec { latent: Latent::Gaussian { beta }, ..self }
    }

    /// The same in this precision.
    pub fn precision(self, precision: Precision) -> Spec {
        Spec { precision, ..self }
    }

    /// The same with this activation on the code.
    pub fn code_activation(mut self, activation: Activation) -> Spec {
        if let Some(code) = self.encoder.last_mut() {
            code.activation = activation;
        }
        self
    }

    /// The same with this initialisation in every layer.
    pub fn init(mut self, init: Init) -> Spec {
        self.encoder.iter_mut().chain(&mut self.decoder).for_each(|layer| layer.init = init);
        self
    }

    /// Width of the code.
    pub fn code(&self) -> usize {
        self.encoder.last().map_or(self.input, |layer| layer.units)
    }

    /// Reads a spec.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the line, for what is not TOML, an unknown field or a wrong type; see [`Spec::check`].
    pub fn from_toml(text: &str) -> Result<Spec> {
        let spec: Spec =
            toml::from_str(text).map_err(|e| Error::spec("spec", e.to_string().trim(), "a spec in TOML"))?;
        spec.check()?;
        Ok(spec)
    }

    /// Writes a spec.
    ///
    /// # Errors
    /// As [`Spec::check`]: what is written can be read.
    pub fn to_toml(&self) -> Result<String> {
        self.check()?;
        toml::to_string(self).map_err(|e| Error::spec("spec", e, "what TOML can hold"))
    }

    /// Reads a spec.
    ///
    /// # Errors
    /// As [`Spec::from_toml`].
    pub fn from_json(text: &str) -> Result<Spec> {
        let spec: Spec = serde_json::from_str(text).map_err(|e| Error::spec("spec", e, "a spec in JSON"))?;
        spec.check()?;
        Ok(spec)
    }

    /// Writes a spec.
    ///
    /// # Errors
    /// As [`Spec::check`]: what is written can be read.
    pub fn to_json(&self) -> Result<String> {
        self.check()?;
        serde_json::to_string(self).map_err(|e| Error::spec("spec", e, "what JSON can hold"))
    }
}
