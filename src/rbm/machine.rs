//! The machine as plain data, what it must fulfil, and the autoencoder that has its tensors.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative};
use crate::graph::Set;
use crate::model::{Activation, Loss, Network, Spec, WIDEST};

/// The most Gibbs steps in one step of training: all of them are one graph.
const LONGEST: usize = 100;

/// The most values of a tensor: what one binding holds.
const MOST: usize = 1 << 29;

/// A restricted Boltzmann machine: p(v, h) is proportional to exp(−E(v, h)), where E(v, h) = −v W h and what [`Units`] say of
/// visible and of hidden units, with the weights W `[visible, hidden]`, the hidden biases b and the visible biases a. Given v, the
/// hidden units get v W + b and are independent of each other, and so are the visible ones, which get W h + a. Rows have the
/// free energy F(v) = −log Σ_h exp(−E(v, h)), so that p(v) is proportional to exp(−F(v)).
///
/// It is trained by descending F(v0) − F(vk), the mean over rows v0 of the data less the mean over rows vk to which Gibbs
/// sampling leads, which are taken for constants (Hinton, "Training products of experts by minimizing contrastive divergence",
/// 2002; Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008). To the
/// outside it is a tied autoencoder ([`Rbm::spec`]), of which [`crate::Model::encode`] gives the mean of h given v, which is
/// P(h = 1 | v) of binary units, and [`crate::Model::reconstruct`] the mean of v given that. [`super::pretrain`] makes a deep
/// autoencoder of several.
///
/// ```no_run
/// use strait::rbm::{Gibbs, Rbm};
/// use strait::train::{Trainer, Update};
/// use strait::{Gpu, Optimizer, data};
///
/// let gpu = Gpu::new()?;
/// let rbm = Rbm { gibbs: Gibbs::Persistent { steps: 1, chains: 100 }, ..Rbm::new(64, 128) };
/// let update = Update { optimizer: Optimizer::SGD, ..Update::adam([Rbm::PARAMETERS], 0.05) };
/// let mut trainer = Trainer::new(&gpu, rbm.run(50, 60, update, 0)?)?;
/// trainer.fit(data::digits()?)?;
///
/// let parameters = trainer.parameters()?;
/// let rows = data::digits()?.values()[..640].to_vec();
/// let energies = rbm.free_energies(&gpu, &parameters)?.of(&rows)?;
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
    pub visible_units: Units,
    /// What the hidden units are: normal ones beside binary visible ones only. Were both normal, p(v, h) would be a normal
    /// density while the largest singular value of W is below 1 and no density beyond that, and training keeps to no such bound.
    #[serde(default)]
    pub hidden_units: Units,
    /// Where the rows come from that the machine is to find less likely.
    #[serde(default)]
    pub gibbs: Gibbs,
    /// Whether training's Gibbs steps take the mean of v given h in place of a draw: less noise for a bias, and often better where
    /// data are grey, which are means themselves while draws are not (Hinton, 2010, section 3.2).
    #[serde(default)]
    pub visible_means: bool,
    /// λ: each step adds λ W to the direction of W, and nothing to those of the biases (Hinton, 2010, section 10, has 1e-5 to
    /// 1e-2).
    #[serde(default)]
    pub weight_decay: f64,
}

/// What the visible or the hidden units of a machine are. What they get, W h + a or v W + b, is called z here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Units {
    /// 0 or 1, with the probability sigmoid(z) of 1; values of data between them are taken for probabilities. Visible ones add −a'v
    /// to E and F, hidden ones −b'h to E and −Σ_j softplus(z_j) to F.
    #[default]
    Bernoulli,
    /// Normal with the mean z and variance 1. Visible ones, for which rows are best standardised first, add ½ ||v − a||² to E and F.
    /// Hidden ones, codes without bounds (Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006),
    /// add ½ ||h||² − b'h to E and −½ Σ_j z_j² to F, where the sum over h is an integral by dh_j/√2π.
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
    /// How many persistent chains there are.
    pub(super) fn chains(self) -> Option<usize> {
        match self {
            Gibbs::Contrastive { .. } => None,
            Gibbs::Persistent { chains, .. } => Some(chains),
        }
    }

    /// Gibbs steps in a step of training.
    pub(super) fn steps(self) -> usize {
        match self {
            Gibbs::Contrastive { steps } | Gibbs::Persistent { steps, .. } => steps,
        }
    }
}

impl Rbm {
    /// A machine with so many visible and hidden units, all of them binary, for CD-1 with draws and without weight decay.
    pub fn new(visible: usize, hidden: usize) -> Rbm {
        let (visible_units, hidden_units, gibbs) = Default::default();
        Rbm { visible, hidden, visible_units, hidden_units, gibbs, visible_means: false, weight_decay: 0.0 }
    }

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
        within("hidden (weights)", self.visible.saturating_mul(self.hidden), MOST)?;
        within("gibbs.steps", self.gibbs.steps(), LONGEST)?;
        let chains = self.gibbs.chains().unwrap_or(1);
        within("gibbs.chains", chains, WIDEST)?;
        within("gibbs.chains (values)", chains.saturating_mul(self.visible), MOST)?;
        if [self.visible_units, self.hidden_units] == [Units::Gaussian; 2] {
            let allowed = "bernoulli beside gaussian visible units: with both there is no density for large weights";
            return Err(Error::spec("hidden_units", "gaussian", allowed));
        }
        not_negative("weight_decay", self.weight_decay)
    }

    /// The tied autoencoder of the same tensors: `encoder.0.weight` `[visible, hidden]` is W, `encoder.0.bias` `[hidden]` is b,
    /// `decoder.0.bias` `[visible]` is a. Its code has sigmoids, or no activation where hidden units are normal; its loss is the likelihood of
    /// [`Rbm::visible_units`].
    ///
    /// # Errors
    /// As [`Rbm::check`].
    pub fn spec(&self) -> Result<Spec> {
        self.check()?;
        let loss = match self.visible_units {
            Units::Bernoulli => Loss::Bernoulli,
            Units::Gaussian => Loss::Gaussian { sigma: 1.0, learned: false },
        };
        let code = match self.hidden_units {
            Units::Bernoulli => Activation::Sigmoid,
            Units::Gaussian => Activation::Identity,
        };
        Ok(Spec::symmetric(&[self.visible, self.hidden], Activation::Identity).code_activation(code).loss(loss).tied())
    }

    /// That autoencoder with its tensors.
    pub(super) fn network(&self) -> Result<Network> {
        Network::new(&self.spec()?)
    }
}
