//! Penalties: what is added to the loss of a reconstruction so that the code becomes sparse or insensitive. Each is a
//! function that builds nodes; the planner fuses them into the passes that compute what they read. To add one, add a
//! variant, its checks and its line in [`Penalty::build`].

use serde::{Deserialize, Serialize};

use super::build::Pass;
use super::jacobian::{self, Mapping, Method};
use super::own::OwnPenalty;
use super::{Activation, Corruption, Spec};
use crate::error::{Error, Result, not_negative, positive};
use crate::graph::{Compare, Expr, Graph, NodeId, Over};

/// A term of the objective beside the loss. Sparsity penalties are sums over units; they act on the output h of the
/// encoder layer `layer` (counted from 0), or on the code where none is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Penalty {
    /// λ Σ |h|, sum over units, mean over the batch: a Laplace prior on the code ("Deep Learning", equations 14.2 to
    /// 14.7). Without [`Spec::unit_norm`] a decoder can cheat it by large weights.
    L1 {
        /// λ
        weight: f64,
        /// The encoder layer, or the code.
        #[serde(default)]
        layer: Option<usize>,
    },
    /// λ (ν + 1)/2 Σ log(1 + h²/ν), sum over units, mean over the batch: a Student-t prior on the code (Ranzato and
    /// others, 2008; Goodfellow and others, section 14.2.1).
    StudentT {
        /// λ
        weight: f64,
        /// ν, the degrees of freedom.
        nu: f64,
        /// The encoder layer, or the code.
        #[serde(default)]
        layer: Option<usize>,
    },
    /// λ Σ ρ log(ρ/q) + (1 − ρ) log((1 − ρ)/(1 − q)) with q the batch mean of a unit, sum over units (Ng, "Sparse
    /// autoencoder", 2011). For codes in (0, 1): sigmoid.
    KlSparsity {
        /// λ
        weight: f64,
        /// ρ, the mean activity that is wanted.
        rho: f64,
        /// The encoder layer, or the code.
        #[serde(default)]
        layer: Option<usize>,
    },
    /// λ Σ (q − ρ)² with q the batch mean of a unit, sum over units.
    SquaredSparsity {
        /// λ
        weight: f64,
        /// ρ, the mean activity that is wanted.
        rho: f64,
        /// The encoder layer, or the code.
        #[serde(default)]
        layer: Option<usize>,
    },
    /// λ ||J||² with J the Jacobian of the code (or of the reconstruction) by the input that the encoder sees, all
    /// entries squared and summed, mean over the batch (Rifai and others, "Contractive auto-encoders", 2011; "Deep
    /// Learning", equations 14.10, 14.11 and 14.18).
    Contractive {
        /// λ
        weight: f64,
        /// What is differentiated.
        #[serde(default)]
        of: Mapping,
        /// How the norm is computed.
        #[serde(default)]
        method: Method,
    },
    /// λ tr J with J the Jacobian of the reconstruction by the input that the encoder sees, mean over the batch: of one encoder
    /// layer and one linear decoder layer, in closed form Σ_j s_j Σ_i W_ij V_ji with s the slopes of the encoder's activation. Tied
    /// it is Σ_j s_j ||W_j||² (Swersky and others, "On autoencoders and score matching for energy based models", 2011); untied it may
    /// be negative, and has no lower bound.
    ///
    /// With a tied sigmoid code it makes the objective that of score matching for a Gaussian-binary restricted Boltzmann machine
    /// (Hyvärinen, 2005), whose score is ψ = (r − x)/σ²: J = ½ ||ψ||² + tr dψ/dx = ||r − x||²/2σ⁴ + (tr J − n)/σ². Weights are 2σ²
    /// for [`super::Loss::SquaredError`], whose objective is 2σ⁴ J + 2 n σ² then; 2σ²/n for [`super::Loss::Mse`], 2σ⁴ J/n + 2σ²; and
    /// 1 for [`super::Loss::Gaussian`] of that σ, σ² J + n + n log σ + ½ n log 2π.
    Trace {
        /// λ
        weight: f64,
    },
    /// One of the caller's own, mean over the batch: see [`Penalty::own`].
    Own {
        /// λ
        weight: f64,
        /// Its name and its numbers.
        of: OwnPenalty,
        /// The encoder layer, or the code.
        #[serde(default)]
        layer: Option<usize>,
    },
}

impl Penalty {
    /// Its name in a spec and in reports.
    #[doc(hidden)]
    pub fn name(&self) -> &str {
        match self {
            Penalty::L1 { .. } => "l1",
            Penalty::StudentT { .. } => "student_t",
            Penalty::KlSparsity { .. } => "kl_sparsity",
            Penalty::SquaredSparsity { .. } => "squared_sparsity",
            Penalty::Contractive { .. } => "contractive",
            Penalty::Trace { .. } => "trace",
            Penalty::Own { of, .. } => of.name(),
        }
    }

    /// λ
    pub(crate) fn weight(&self) -> f64 {
        match self {
            Penalty::L1 { weight, .. }
            | Penalty::StudentT { weight, .. }
            | Penalty::KlSparsity { weight, .. }
            | Penalty::SquaredSparsity { weight, .. }
            | Penalty::Contractive { weight, .. }
            | Penalty::Trace { weight }
            | Penalty::Own { weight, .. } => *weight,
        }
    }

    /// Its coefficients by their names: the weight, and what stands beside it.
    pub(super) fn coefficients_mut(&mut self) -> Vec<(&'static str, &mut f64)> {
        match self {
            Penalty::L1 { weight, .. }
            | Penalty::Contractive { weight, .. }
            | Penalty::Trace { weight }
            | Penalty::Own { weight, .. } => {
                vec![("weight", weight)]
            }
            Penalty::StudentT { weight, nu, .. } => vec![("weight", weight), ("nu", nu)],
            Penalty::KlSparsity { weight, rho, .. } | Penalty::SquaredSparsity { weight, rho, .. } => {
                vec![("weight", weight), ("rho", rho)]
            }
        }
    }

    /// Its coefficient beside the weight, by its name, where it has one.
    pub(super) fn beside(&self) -> Option<(&'static str, f64)> {
        self.clone().coefficients_mut().into_iter().nth(1).map(|(name, value)| (name, *value))
    }

    /// The same on the code.
    pub(super) fn on_code(mut self) -> Penalty {
        match &mut self {
            Penalty::L1 { layer, .. }
            | Penalty::StudentT { layer, .. }
            | Penalty::KlSparsity { layer, .. }
            | Penalty::SquaredSparsity { layer, .. }
            | Penalty::Own { layer, .. } => *layer = None,
            Penalty::Contractive { .. } | Penalty::Trace { .. } => {}
        }
        self
    }

    /// The encoder layer that it acts on, where that is told.
    pub(super) fn layer(&self) -> Option<usize> {
        match *self {
            Penalty::L1 { layer, .. }
            | Penalty::StudentT { layer, .. }
            | Penalty::KlSparsity { layer, .. }
            | Penalty::SquaredSparsity { layer, .. }
            | Penalty::Own { layer, .. } => layer,
            Penalty::Contractive { .. } | Penalty::Trace { .. } => None,
        }
    }

    /// The cost of one activity, for the penalties that are a sum of such: without λ.
    #[doc(hidden)]
    pub fn of(&self, h: &Expr) -> Option<Expr> {
        self.cost(h, &self.constant())
    }

    /// The cost of a unit's mean activity q, for the penalties that are a sum of such: without λ. Never negative.
    #[doc(hidden)]
    pub fn of_mean(&self, q: &Expr) -> Option<Expr> {
        self.cost_of_mean(q, &self.constant())
    }

    /// Its coefficient beside the weight as a constant.
    fn constant(&self) -> Expr {
        Expr::constant(self.beside().map_or(0.0, |(_, value)| value))
    }

    /// [`Penalty::of`] with another coefficient beside the weight.
    fn cost(&self, h: &Expr, beside: &Expr) -> Option<Expr> {
        match self {
            Penalty::L1 { .. } => Some(h.abs()),
            Penalty::StudentT { .. } => Some((beside + 1.0) / 2.0 * (h.square() / beside).log1p()),
            _ => None,
        }
    }

    /// [`Penalty::of_mean`] with another coefficient beside the weight.
    fn cost_of_mean(&self, q: &Expr, rho: &Expr) -> Option<Expr> {
        match self {
            Penalty::KlSparsity { .. } => {
                let (off, idle) = (q - rho, 1.0 - rho);
                let active = excess(&off / rho, q / rho);
                let resting = excess(-off / &idle, (1.0 - q) / &idle);
                Some(rho * active + idle * resting)
            }
            Penalty::SquaredSparsity { .. } => Some((q - rho).square()),
            _ => None,
        }
    }

    /// Adds the penalty of a pass, a scalar, of rows with their weights; `beside` is the coefficient of [`Penalty::beside`].
    pub(super) fn build(&self, g: &mut Graph, spec: &Spec, pass: &Pass, stream: u32, beside: NodeId) -> Result<NodeId> {
        let weight = self.weight();
        let h = self.layer().map_or(pass.code, |layer| pass.encoder[layer].output);
        if let Penalty::Contractive { of, method, .. } = *self {
            let norm = jacobian::squared_norm(g, spec, pass, of, method, stream)?;
            return g.map([norm], |[n]| weight * n);
        }
        if let Penalty::Trace { .. } = self {
            let trace = jacobian::trace(g, pass)?;
            return g.map([trace], |[t]| weight * t);
        }
        if let Penalty::Own { of, .. } = self {
            let rows = of.rows(g, h)?;
            let mean = pass.weights.mean(g, rows)?;
            return g.map([mean], |[m]| weight * m);
        }
        if let Some(cost) = self.cost(&Expr::input(0), &Expr::input(1)) {
            let each = g.map([h, beside], |_| cost)?;
            let each = pass.weights.times(g, each)?;
            let sum = g.sum_all(each);
            return g.map([sum], |[s]| weight * s / Expr::rows());
        }
        let rows = pass.weights.times(g, h)?;
        let sum = g.sum(Over::Rows, rows);
        // Of weighted rows the sum of the weights takes the place of their number.
        let count = pass.weights.0.map(|weights| g.sum_all(weights));
        let mean = match count {
            None => g.map([sum], |[s]| s / Expr::rows())?,
            Some(count) => g.map([sum, count], |[s, n]| s / n.if_positive(n.clone(), 1.0))?,
        };
        let cost = self.cost_of_mean(&Expr::input(0), &Expr::input(1)).unwrap_or(Expr::constant(0.0));
        let each = g.map([mean, beside], |_| cost)?;
        let sum = g.sum_all(each);
        match count {
            None => g.map([sum], |[s]| weight * s),
            // There is no mean where no row counts.
            Some(count) => g.map([sum, count], |[s, n]| n.if_positive(weight * s, 0.0)),
        }
    }

    /// How a Jacobian's norm is computed for this spec, where the penalty is one: what [`Method::Auto`] came to.
    #[doc(hidden)]
    pub fn method(&self, spec: &Spec) -> Option<Method> {
        match *self {
            Penalty::Contractive { of, method, .. } => Some(method.resolve(spec, of)),
            _ => None,
        }
    }

    /// Checks the parameters; `field` is where they stand.
    pub(super) fn check(&self, field: &str, spec: &Spec) -> Result<()> {
        not_negative(&format!("{field}.weight"), self.weight())?;
        let layer = self.layer().unwrap_or(spec.encoder.len() - 1);
        let Some(acts_on) = spec.encoder.get(layer) else {
            let allowed = format!("a layer of the encoder, 0 to {}", spec.encoder.len() - 1);
            return Err(Error::spec(format!("{field}.layer"), layer, allowed));
        };
        match *self {
            Penalty::StudentT { nu, .. } => positive(&format!("{field}.nu"), nu),
            Penalty::KlSparsity { rho, .. } => {
                if !(rho > 0.0 && rho < 1.0) {
                    return Err(Error::spec(format!("{field}.rho"), rho, "between 0 and 1"));
                }
                if acts_on.activation.range() != Activation::Sigmoid.range() {
                    let allowed = format!("one whose values lie between 0 and 1, for {field}: sigmoid");
                    let place = format!("encoder[{layer}].activation");
                    return Err(Error::spec(place, acts_on.activation.name(), allowed));
                }
                if !matches!(acts_on.noise, Corruption::None | Corruption::Masking { rescale: false, .. }) {
                    let allowed = format!("none, or masking without rescale, for {field}: codes stay between 0 and 1");
                    let place = format!("encoder[{layer}].noise");
                    return Err(Error::spec(place, format!("{:?}", acts_on.noise), allowed));
                }
                Ok(())
            }
            Penalty::SquaredSparsity { rho, .. } if !(rho as f32).is_finite() => {
                Err(Error::spec(format!("{field}.rho"), rho, "a finite number"))
            }
            Penalty::Contractive { of, method, .. } => jacobian::check(field, spec, of, method),
            Penalty::Trace { .. } => jacobian::check_trace(field, spec),
            Penalty::Own { ref of, .. } => of.check(&format!("{field}.of")),
            _ => Ok(()),
        }
    }
}

/// x − log(1 + x), where `ratio` is 1 + x: what −log(q/p) is above its tangent at q = p, for x = (q − p)/p. In the sum of
/// two such, weighted by p and 1 − p, the tangents cancel; what is left is accurate however near q is to p.
fn excess(x: Expr, ratio: Expr) -> Expr {
    // log(1 + x) is twice the series of atanh(s) for s = x/(2 + x), and x − 2 s is x s.
    let s = &x / (2.0 + &x);
    let z = s.square();
    let mut series = Expr::constant(0.0);
    for odd in [11.0, 9.0, 7.0, 5.0, 3.0] {
        series = 1.0 / odd + &z * series;
    }
    let near = &x * &s - 2.0 * s * z * series;
    // A saturated unit has a mean of exactly 0 or 1 in f32: its cost is large, not infinite.
    let far = &x - ratio.max(1e-30).log();
    x.abs().select(Compare::Less, &0.35.into(), near, far)
}
