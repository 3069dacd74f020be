//! Losses: what a reconstruction costs, which is to say how the decoder's outputs are distributed. Each is made of
//! expressions and of reductions that are spelled out.

use serde::{Deserialize, Serialize};

use super::own::OwnLoss;
use crate::error::{Error, Result, positive};
use crate::graph::{Compare, Distribution, Expr, Graph, NodeId, Over, Reduction, Shape};

/// The loss of a reconstruction r (or of logits z) for a target x. All but `Mse` are sums over features, mean over the
/// batch; those from `Bernoulli` on are negative log-likelihoods −log p(x|h).
///
/// `Bernoulli` and `Softmax` are made for values from 0 to 1 and for distributions. Rows to train on must be so. A row
/// that is scored, evaluated or held out for validation may lie outside: it is taken for a row x' near it that does not,
/// and costs ½ Σ ((x − x')/s)² more, where s = 1/√12 is the standard deviation of a value with equal chances everywhere
/// from 0 to 1, in units of the scaled input. In x' every value is moved to 0 or 1 where it lies beyond; values of a
/// block of `Softmax` whose sum is then above 1 are divided by it, and what a sum lacks is given to all classes in equal
/// parts. So such a row never has a lower loss than x', and its loss grows with the distance from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Loss {
    /// (r − x)², mean over features and over the batch.
    #[default]
    Mse,
    /// (r − x)², sum over features, mean over the batch.
    SquaredError,
    /// A Bernoulli likelihood from logits: softplus(z) − z x, with softplus(z) = log(1 + exp(z)) computed as
    /// max(z, 0) + log(1 + exp(−|z|)). For targets in [0, 1]; the last layer has no activation, and the reconstruction
    /// is sigmoid(z).
    Bernoulli,
    /// A normal likelihood: (r − x)²/2σ² + log σ + ½ log 2π ("Deep Learning", section 14.4).
    Gaussian {
        /// σ, in units of the scaled input; where it is learned, what it starts from.
        sigma: f64,
        /// Whether one σ for all features is learned (`decoder.log_sigma`).
        #[serde(default)]
        learned: bool,
    },
    /// A categorical likelihood from logits, in blocks of `classes` features each: −Σ x log softmax(z). For targets
    /// that are 1 at the class and 0 elsewhere, or probabilities: the sum of each block is 1. The last layer has no
    /// activation.
    Softmax {
        /// Features in a block.
        classes: usize,
    },
    /// A mixture of normal distributions, jointly over all features, each component with one σ:
    /// −log Σ_k π_k N(x; r_k, σ_k² I), by log-sum-exp (Bishop, "Mixture density networks", 1994). π and σ are
    /// functions of the last hidden layer; the reconstruction is the mean Σ π_k r_k.
    Mixture {
        /// K
        components: usize,
    },
    /// One of the caller's own: see [`Loss::own`]. Rows may have any values; there is no distribution to draw from.
    Own(OwnLoss),
}

/// The smallest log σ of a mixture's component: its likelihood has no upper bound otherwise.
const LEAST_LOG_SIGMA: f64 = -7.0;

/// The standard deviation of a value that lies anywhere from 0 to 1, squared.
const SPREAD_SQUARED: f64 = 1.0 / 12.0;

/// ½ log 2π
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

/// What a decoder says about the input.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    /// Outputs of the last layer, [batch, n]; of a mixture [batch, K, n].
    pub output: NodeId,
    /// Logits of a mixture's components, [batch, K].
    pub logits: Option<NodeId>,
    /// log σ: one value, or [batch, K] of a mixture.
    pub log_sigma: Option<NodeId>,
}

impl From<NodeId> for Decoded {
    fn from(output: NodeId) -> Decoded {
        Decoded { output, logits: None, log_sigma: None }
    }
}

impl Loss {
    /// Losses of nothing but outputs and targets, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Loss; 5] = [
        Loss::Mse,
        Loss::SquaredError,
        Loss::Bernoulli,
        Loss::Gaussian { sigma: 0.5, learned: false },
        Loss::Softmax { classes: 2 },
    ];

    /// Adds the loss of each row, [batch, 1].
    #[doc(hidden)]
    pub fn rows(&self, g: &mut Graph, decoded: impl Into<Decoded>, target: NodeId) -> Result<NodeId> {
        let decoded = decoded.into();
        let Decoded { output, logits, log_sigma } = decoded;
        let features = g.shape(target).columns() as f64;
        let squares = |g: &mut Graph| -> Result<NodeId> {
            let each = g.map([output, target], |[r, x]| (r - x).square())?;
            Ok(g.sum(Over::Columns, each))
        };
        match (self, logits, log_sigma) {
            (Loss::Own(own), ..) => own.rows(g, decoded, target),
            (Loss::SquaredError, ..) => squares(g),
            (Loss::Mse, ..) => {
                let sum = squares(g)?;
                g.map([sum], |[s]| s / features)
            }
            (Loss::Bernoulli, ..) => {
                let each = g.map([output, target], |[z, x]| z.softplus() - z * x)?;
                Ok(g.sum(Over::Columns, each))
            }
            (&Loss::Mixture { components }, Some(logits), Some(log_sigma)) => {
                mixture(g, components, output, logits, log_sigma, target)
            }
            (&Loss::Gaussian { .. }, _, Some(log_sigma)) => {
                let sum = squares(g)?;
                g.map([sum, log_sigma], |[d, s]| 0.5 * d * (-2.0 * &s).exp() + features * (s + HALF_LOG_TAU))
            }
            (&Loss::Gaussian { sigma, .. }, ..) => {
                let sum = squares(g)?;
                let constant = features * (sigma.ln() + HALF_LOG_TAU);
                g.map([sum], |[d]| d / (2.0 * sigma * sigma) + constant)
            }
            (&Loss::Softmax { classes }, ..) => {
                let (z, x) = (blocks(g, output, classes)?, blocks(g, target, classes)?);
                let normaliser = log_sum_exp(g, z)?;
                let each = g.map([z, x, normaliser], |[z, x, l]| x * (l - z))?;
                let sum = g.sum(Over::Blocks, each);
                Ok(g.sum(Over::Columns, sum))
            }
            (Loss::Mixture { .. }, ..) => Err(Error::Internal("a mixture without its logits".into())),
        }
    }

    /// Adds the nearest rows that the loss is made for, and what each row costs for its distance from them, [batch, 1];
    /// nothing where it is made for any.
    pub(super) fn nearest(&self, g: &mut Graph, x: NodeId) -> Result<Option<(NodeId, NodeId)>> {
        if !self.range().0.is_finite() {
            return Ok(None);
        }
        let mut nearest = g.map([x], |[x]| x.max(0.0).min(1.0))?;
        if let &Loss::Softmax { classes } = self {
            let shape = g.shape(x).clone();
            let each = blocks(g, nearest, classes)?;
            let sum = g.sum(Over::Columns, each);
            let whole = g.map([each, sum], |[x, s]| (x + (1.0 - &s).max(0.0) / classes as f64) / s.max(1.0))?;
            nearest = g.view(whole, shape)?;
        }
        let beyond = g.map([x, nearest], |[x, inside]| (x - inside).square())?;
        let sum = g.sum(Over::Columns, beyond);
        Ok(Some((nearest, g.map([sum], |[s]| 0.5 / SPREAD_SQUARED * s)?)))
    }

    /// Adds what the decoder expects the input to be, [batch, n].
    pub(super) fn mean(&self, g: &mut Graph, decoded: Decoded) -> Result<NodeId> {
        let output = decoded.output;
        match (self, decoded.logits) {
            (Loss::Own(own), _) => own.mean(g, decoded),
            (Loss::Bernoulli, _) => g.map([output], |[z]| z.sigmoid()),
            (&Loss::Softmax { classes }, _) => {
                let shape = g.shape(output).clone();
                let z = blocks(g, output, classes)?;
                let p = softmax(g, z)?;
                g.view(p, shape)
            }
            (&Loss::Mixture { components }, Some(logits)) => {
                let p = softmax(g, logits)?;
                let p = g.view(p, Shape::batched(&[components, 1]))?;
                let weighted = g.map([p, output], |[p, r]| p * r)?;
                Ok(g.sum(Over::Blocks, weighted))
            }
            _ => Ok(output),
        }
    }

    /// Adds what a mixture is made of, [batch, K (2 + n)]: π, σ and the means, one after the other.
    ///
    /// # Errors
    /// [`Error::Spec`] for any other loss.
    pub(super) fn components(&self, g: &mut Graph, decoded: Decoded) -> Result<NodeId> {
        let (&Loss::Mixture { components }, Some(logits), Some(log_sigma)) = (self, decoded.logits, decoded.log_sigma)
        else {
            return Err(Error::spec("loss", self.name(), "mixture, to have components"));
        };
        let means = components * g.shape(decoded.output).columns();
        let width = 2 * components + means;
        let p = softmax(g, logits)?;
        let sigma = g.map([log_sigma], |[s]| s.max(LEAST_LOG_SIGMA).exp())?;
        let means = g.view(decoded.output, Shape::batched(&[means]))?;
        let [p, sigma] = [g.pad(p, 0, width)?, g.pad(sigma, components, width)?];
        let means = g.pad(means, 2 * components, width)?;
        g.map([p, sigma, means], |[p, sigma, means]| p + sigma + means)
    }

    /// Adds a draw from p(x|h), [batch, n].
    ///
    /// # Errors
    /// [`Error::Spec`] for a loss that is no likelihood.
    pub(super) fn sample(&self, g: &mut Graph, decoded: Decoded, stream: u32) -> Result<NodeId> {
        let normal = || Expr::random(Distribution::Normal, stream);
        let mean = self.mean(g, decoded)?;
        match (self, decoded.logits, decoded.log_sigma) {
            (Loss::Bernoulli, ..) => {
                let draw = Expr::random(Distribution::Uniform, stream);
                g.map([mean], |[p]| draw.select(Compare::Less, &p, 1.0, 0.0))
            }
            (&Loss::Mixture { components }, Some(logits), Some(log_sigma)) => {
                let chosen = choice(g, logits, stream + 1)?;
                let sigma = g.map([log_sigma], |[s]| s.max(LEAST_LOG_SIGMA).exp())?;
                let [chosen, sigma] = [chosen, sigma].map(|id| g.view(id, Shape::batched(&[components, 1])));
                let each = g.map([chosen?, decoded.output, sigma?], |[c, r, s]| c * (r + s * normal()))?;
                Ok(g.sum(Over::Blocks, each))
            }
            (&Loss::Gaussian { .. }, _, Some(log_sigma)) => g.map([mean, log_sigma], |[r, s]| r + s.exp() * normal()),
            (&Loss::Gaussian { sigma, .. }, ..) => g.map([mean], |[r]| r + sigma * normal()),
            (&Loss::Softmax { classes }, ..) => {
                let shape = g.shape(mean).clone();
                let z = blocks(g, decoded.output, classes)?;
                let chosen = choice(g, z, stream)?;
                g.view(chosen, shape)
            }
            _ => Err(Error::spec(
                "loss",
                self.name(),
                "a likelihood to draw from: bernoulli, gaussian, softmax, mixture",
            )),
        }
    }

    /// Whether it is a negative log-likelihood.
    pub(crate) fn is_likelihood(&self) -> bool {
        !matches!(self, Loss::Mse | Loss::SquaredError | Loss::Own(_))
    }

    /// The interval that targets must lie in.
    pub(crate) fn range(&self) -> (f64, f64) {
        match self {
            Loss::Bernoulli | Loss::Softmax { .. } => (0.0, 1.0),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Whether it takes logits, so that the last layer has no activation.
    #[doc(hidden)]
    pub fn takes_logits(&self) -> bool {
        matches!(self, Loss::Bernoulli | Loss::Softmax { .. })
    }

    /// Checks the parameters for rows of `input` features.
    pub(super) fn check(&self, input: usize) -> Result<()> {
        match self {
            Loss::Own(own) => own.check(),
            &Loss::Gaussian { sigma, .. } => {
                positive("loss.gaussian.sigma", sigma)?;
                // The loss divides by it.
                positive("loss.gaussian.sigma (its square, twice)", 2.0 * sigma * sigma)
            }
            &Loss::Softmax { classes } if classes < 2 || !input.is_multiple_of(classes) => {
                let allowed = format!("2 or more, of which the input's {input} features are a multiple");
                Err(Error::spec("loss.softmax.classes", classes, allowed))
            }
            Loss::Mixture { components } if !(1..=1024).contains(components) => {
                Err(Error::spec("loss.mixture.components", components, "1 to 1024"))
            }
            _ => Ok(()),
        }
    }

    /// Its name in a spec.
    #[doc(hidden)]
    pub fn name(&self) -> &str {
        match self {
            Loss::Mse => "mse",
            Loss::SquaredError => "squared_error",
            Loss::Bernoulli => "bernoulli",
            Loss::Gaussian { .. } => "gaussian",
            Loss::Softmax { .. } => "softmax",
            Loss::Mixture { .. } => "mixture",
            Loss::Own(own) => own.name(),
        }
    }
}

/// Rows of features as blocks of `classes`, [batch, blocks, classes].
fn blocks(g: &mut Graph, rows: NodeId, classes: usize) -> Result<NodeId> {
    let count = g.shape(rows).columns() / classes;
    g.view(rows, Shape::batched(&[count, classes]))
}

/// log Σ exp over columns, free of overflow.
fn log_sum_exp(g: &mut Graph, z: NodeId) -> Result<NodeId> {
    let largest = g.reduce(Reduction::Max, Over::Columns, z);
    // Any constant would do in its place, so nothing flows through it.
    let largest = g.map([largest], |[m]| Expr::detached(m))?;
    let shifted = g.map([z, largest], |[z, m]| (z - m).exp())?;
    let sum = g.sum(Over::Columns, shifted);
    g.map([sum, largest], |[s, m]| s.log() + m)
}

fn softmax(g: &mut Graph, z: NodeId) -> Result<NodeId> {
    let normaliser = log_sum_exp(g, z)?;
    g.map([z, normaliser], |[z, l]| (z - l).exp())
}

/// 1 at a class drawn with the probabilities that the logits stand for, 0 elsewhere: the largest of logits plus Gumbel
/// noise (Gumbel, 1954), the first of them where several are.
fn choice(g: &mut Graph, logits: NodeId, stream: u32) -> Result<NodeId> {
    let uniform = Expr::random(Distribution::Uniform, stream);
    // A draw is a multiple of 2^-24 below 1; 0 has no logarithm.
    let noise = -(-(uniform.max(2f64.powi(-25))).log()).log();
    let noisy = g.map([logits], |[z]| z + noise)?;
    let largest = g.reduce(Reduction::Max, Over::Columns, noisy);
    // Counted from behind, so that the largest number is the first class.
    let number = g.shape(logits).columns() as f64 - Expr::column();
    let each = g.map([noisy, largest], |[z, m]| z.select(Compare::Equal, &m, &number, 0.0))?;
    let first = g.reduce(Reduction::Max, Over::Columns, each);
    let shape = g.shape(logits).clone();
    g.map_to(number.select(Compare::Equal, &Expr::input(0), 1.0, 0.0), &[first], shape)
}

/// −log Σ_k π_k N(x; r_k, σ_k² I).
fn mixture(
    g: &mut Graph,
    components: usize,
    output: NodeId,
    logits: NodeId,
    log_sigma: NodeId,
    target: NodeId,
) -> Result<NodeId> {
    let features = g.shape(target).columns();
    let x = g.view(target, Shape::batched(&[1, features]))?;
    let each = g.map([output, x], |[r, x]| (r - x).square())?;
    let distance = g.sum(Over::Columns, each);
    let distance = g.view(distance, Shape::batched(&[components]))?;
    let n = features as f64;
    let joint = g.map([logits, distance, log_sigma], |[a, d, s]| {
        let s = s.max(LEAST_LOG_SIGMA);
        a - 0.5 * d * (-2.0 * &s).exp() - n * s
    })?;
    let (all, each) = (log_sum_exp(g, logits)?, log_sum_exp(g, joint)?);
    g.map([all, each], |[all, each]| all - each + n * HALF_LOG_TAU)
}
