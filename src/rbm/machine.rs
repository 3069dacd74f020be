//! The machine as plain data, what it must fulfil, and the autoencoder that has its tensors.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::Set;
use crate::model::{Activation, Loss, Network, Spec, WIDEST};

/// The most Gibbs steps in one step of training: all of them are one graph.
const LONGEST: usize = 100;

/// A restricted Boltzmann machine with binary hidden units h: p(v, h) is proportional to exp(−E(v, h)). With the weights W
/// `[visible, hidden]`, the hidden biases b and the visible biases a it has P(h_j = 1 | v) = sigmoid((v W + b)_j), and rows have
/// the free energy F(v) = −log Σ_h exp(−E(v, h)), so that p(v) is proportional to exp(−F(v)).
///
/// It is trained by descending F(v0) − F(vk), the mean over rows v0 of the data less the mean over rows vk to which Gibbs
/// sampling leads, which are taken for constants (Hinton, "Training products of experts by minimizing contrastive divergence",
/// 2002; Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008). To the
/// outside it is a tied autoencoder with a sigmoid code ([`Rbm::spec`]), of which [`crate::Model::encode`] gives
/// P(h = 1 | v) and [`crate::Model::reconstruct`] the mean of v given these.
///
/// ```no_run
/// use strait::rbm::{Gibbs, Rbm, Units};
/// use strait::train::{Trainer, Update};
/// use strait::{Gpu, Optimizer, data};
///
/// let gpu = Gpu::new()?;
/// let rbm = Rbm { visible: 64, hidden: 128, units: Units::Bernoulli, gibbs: Gibbs::Contrastive { steps: 1 } };
/// let update = Update { optimizer: Optimizer::SGD, ..Update::adam([Rbm::PARAMETERS], 0.05) };
/// let mut trainer = Trainer::new(&gpu, rbm.run(50, 60, update, 0)?)?;
/// trainer.set_parameters(&rbm.initial(0)?)?;
/// trainer.fit(data::digits()?)?;
///
/// let parameters = trainer.parameters()?;
/// let rows = data::digits()?.values()[..640].to_vec();
/// let energies = rbm.free_energies(&gpu, &parameters, &rows)?;
/// let mut chains = rbm.sampler(&gpu, &parameters, &rows, 1)?;
/// chains.advance(1000)?;
/// let samples = chains.rows()?;
/// let codes = rbm.model(&gpu, &parameters)?.encode(&rows)?;
/// # Ok::<(), strait::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rbm {
    /// Visible units: columns of a row.
    pub visible: usize,
    /// Hidden units.
    pub hidden: usize,
    /// What the visible units are.
    #[serde(default)]
    pub units: Units,
    /// Where the rows come from that the machine is to find less likely.
    #[serde(default)]
    pub gibbs: Gibbs,
}

/// What the visible units of a machine are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Units {
    /// 0 or 1; values between them, which data may have, are taken for probabilities. E(v, h) = −a'v − b'h − v W h, F(v) = −a'v −
    /// Σ_j softplus((v W + b)_j), P(v_i = 1 | h) = sigmoid((W h + a)_i).
    #[default]
    Bernoulli,
    /// Normal with variance 1, so rows are best standardised first. E(v, h) = ½ ||v − a||² − b'h − v W h, F(v) = ½ ||v − a||² −
    /// Σ_j softplus((v W + b)_j), p(v | h) = N(a + W h, I).
    Gaussian,
}

/// How Gibbs sampling leads to the rows of the negative phase. A Gibbs step draws h given v, then v given h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Gibbs {
    /// Contrastive divergence, CD-k: from each row of the batch.
    Contrastive {
        /// k, 1 to 100.
        steps: usize,
    },
    /// Persistent contrastive divergence: from where chains were left by the step before. They are state of the run, so that
    /// checkpoints hold them.
    Persistent {
        /// Gibbs steps that every chain takes in a step of training, 1 to 100.
        steps: usize,
        /// How many chains, whatever the rows of a batch are.
        chains: usize,
    },
}

impl Default for Gibbs {
    /// CD-1.
    fn default() -> Gibbs {
        Gibbs::Contrastive { steps: 1 }
    }
}

impl Gibbs {
    /// Gibbs steps in a step of training.
    pub(super) fn steps(self) -> usize {
        match self {
            Gibbs::Contrastive { steps } | Gibbs::Persistent { steps, .. } => steps,
        }
    }
}

impl Rbm {
    /// The set of a run that holds W, b and a.
    pub const PARAMETERS: Set = Set(0);

    /// The set of a run that holds persistent chains.
    pub const CHAINS: Set = Set(1);

    /// Checks that the machine can work.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the field, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        let within = |field: &str, value: usize, most: usize| match value {
            value if (1..=most).contains(&value) => Ok(()),
            value => Err(Error::spec(field, value, format!("1 to {most}"))),
        };
        within("visible", self.visible, WIDEST)?;
        within("hidden", self.hidden, WIDEST)?;
        within("gibbs.steps", self.gibbs.steps(), LONGEST)?;
        match self.gibbs {
            Gibbs::Contrastive { .. } => Ok(()),
            Gibbs::Persistent { chains, .. } => within("gibbs.chains", chains, WIDEST),
        }
    }

    /// The tied autoencoder of the same tensors: `encoder.0.weight` `[visible, hidden]` is W, `encoder.0.bias` `[hidden]` is b,
    /// `decoder.0.bias` `[visible]` is a. Its code has sigmoids, its loss is the likelihood of [`Rbm::units`].
    ///
    /// # Errors
    /// As [`Rbm::check`].
    pub fn spec(&self) -> Result<Spec> {
        self.check()?;
        let loss = match self.units {
            Units::Bernoulli => Loss::Bernoulli,
            Units::Gaussian => Loss::Gaussian { sigma: 1.0, learned: false },
        };
        let spec = Spec::symmetric(&[self.visible, self.hidden], Activation::Identity);
        Ok(spec.code_activation(Activation::Sigmoid).loss(loss).tied())
    }

    /// That autoencoder with its tensors.
    pub(super) fn network(&self) -> Result<Network> {
        Network::new(&self.spec()?)
    }
}
