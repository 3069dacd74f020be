//! Ramps: weights of terms that grow or fade over a run. The host computes them, the kernels of training read them: what differs
//! in a weight or its ramp alone shares these. (In half precision the largest weight says how the backward pass is scaled.)

use serde::{Deserialize, Serialize};

use super::{Latent, Spec};
use crate::error::{Error, Result, not_negative};

/// How a weight comes to its value in the course of a run. Evaluation, and looks at validation rows, take the value itself.
///
/// ```
/// use strait::{Activation, Ramp, Spec};
///
/// // The KL divergence is left out at first, and there in full from the middle of the run on.
/// let spec = Spec::symmetric(&[64, 2], Activation::Tanh).variational(1.0).ramp("latent.beta", Ramp::linear(0.0, 0.5));
/// spec.check()?;
/// # Ok::<(), strait::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The weight before it begins.
    #[serde(default)]
    pub from: f64,
    /// The way from there to the weight's own value.
    #[serde(default)]
    pub curve: Curve,
    /// The part of the run after which it begins, from 0 on,
    #[serde(default)]
    pub begin: f64,
    /// and that after which the weight has its own value, up to 1.
    #[serde(default = "whole")]
    pub end: f64,
}

/// The way of a [`Ramp`], for the part t of it that is over, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Curve {
    /// from + t (to − from).
    #[default]
    Linear,
    /// from + (1 − cos πt)/2 (to − from).
    Cosine,
    /// from^(1 − t) to^t; both above 0.
    Exponential,
    /// `from` until its end, which is before that of the run, then the weight's own value.
    Step,
    /// The weight's own value throughout, read by kernels that are compiled without it.
    Constant,
}

fn whole() -> f64 {
    1.0
}

impl Ramp {
    /// A straight way from a weight to its own value, over the first part of the run.
    pub fn linear(from: f64, end: f64) -> Ramp {
        Ramp { from, curve: Curve::Linear, begin: 0.0, end }
    }

    /// No change over the run, but kernels that are compiled without the weight's value.
    pub fn constant() -> Ramp {
        Ramp { from: 0.0, curve: Curve::Constant, begin: 0.0, end: 1.0 }
    }

    /// The weight after a part of the run, where its own value is `to`.
    pub fn value(&self, to: f64, part: f64) -> f64 {
        let t = ((part - self.begin) / (self.end - self.begin)).clamp(0.0, 1.0);
        let between = |share: f64| self.from + share * (to - self.from);
        match self.curve {
            // At its end it is the value itself, to the last digit.
            _ if t >= 1.0 => to,
            Curve::Linear => between(t),
            Curve::Cosine => between(0.5 * (1.0 - (std::f64::consts::PI * t).cos())),
            Curve::Exponential => self.from.powf(1.0 - t) * to.powf(t),
            Curve::Step => self.from,
            Curve::Constant => to,
        }
    }

    /// The largest weight on the way.
    pub(super) fn most(&self, to: f64) -> f64 {
        if self.curve == Curve::Constant { to } else { self.from.max(to) }
    }

    fn check(&self, path: &str, to: f64) -> Result<()> {
        let field = |name: &str| format!("ramps[{path:?}].{name}");
        not_negative(&field("from"), self.from)?;
        if !(0.0..1.0).contains(&self.begin) {
            return Err(Error::spec(field("begin"), self.begin, "a part of the run: 0 or more and less than 1"));
        }
        if !(self.end > self.begin && self.end <= 1.0) {
            return Err(Error::spec(
                field("end"),
                self.end,
                format!("above {}, where it begins, and at most 1", self.begin),
            ));
        }
        if self.curve == Curve::Step && (self.begin > 0.0 || self.end == 1.0) {
            let found = format!("step from {} to {}", self.begin, self.end);
            return Err(Error::spec(field("curve"), found, "a begin of 0 and an end below 1, for step"));
        }
        let above = self.curve != Curve::Exponential || (self.from > 0.0 && to > 0.0);
        let ends = format!("from {} to {to}", self.from);
        if above { Ok(()) } else { Err(Error::spec(field("curve"), ends, "both above 0, for exponential")) }
    }
}

impl Spec {
    /// The weights that may have a ramp, by their place.
    pub(super) fn weights(&self) -> Vec<String> {
        let beta = matches!(self.latent, Latent::Gaussian { .. }).then(|| "latent.beta".into());
        let penalties = (0..self.penalties.len()).map(penalty_weight);
        let supervised = self.supervised.map(|_| "supervised.weight".into());
        ["weight_decay".into()].into_iter().chain(beta).chain(penalties).chain(supervised).collect()
    }

    /// The weight at a place.
    pub(super) fn weight_mut(&mut self, path: &str) -> Option<&mut f64> {
        match (path, &mut self.latent) {
            ("weight_decay", _) => Some(&mut self.weight_decay),
            ("latent.beta", Latent::Gaussian { beta }) => Some(beta),
            ("supervised.weight", _) => self.supervised.as_mut().map(|supervised| &mut supervised.weight),
            _ => {
                let found = self.penalties.iter_mut().enumerate().find(|(i, _)| penalty_weight(*i) == path);
                found.map(|(_, penalty)| penalty.weight_mut())
            }
        }
    }

    /// Every ramp with the value that it leads to, in order.
    pub(super) fn ramped(&self) -> impl Iterator<Item = (&str, Ramp, f64)> {
        self.ramps.iter().filter_map(|(path, ramp)| Some((&path[..], *ramp, *self.clone().weight_mut(path)?)))
    }

    /// Checks that every ramp is of a weight that there is.
    pub(super) fn check_ramps(&self) -> Result<()> {
        let weights = self.weights();
        if let Some(path) = self.ramps.keys().find(|path| !weights.contains(path)) {
            return Err(Error::spec("ramps", format!("{path:?}"), weights.join(", ")));
        }
        self.ramped().try_for_each(|(path, ramp, to)| ramp.check(path, to))
    }
}

/// The place of a penalty's weight.
pub(super) fn penalty_weight(i: usize) -> String {
    format!("penalties[{i}].weight")
}
