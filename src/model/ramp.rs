//! Ramps: weights of terms and strengths of noise that grow or fade over a run. The host computes them, the kernels of training
//! read them (and where a ramp is constant those of evaluation): what differs in such a coefficient or its ramp alone shares these. (In half precision the largest weight says how
//! the backward pass is scaled.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Corruption, Latent, Loss, Spec};
use crate::error::{Error, Result};

/// How a coefficient, the weight of a term or the strength of a noise, comes to its value in the course of a run. Evaluation, and
/// looks at validation rows, take the value itself.
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
    /// The coefficient before it begins.
    #[serde(default)]
    pub from: f64,
    /// The way from there to the coefficient's own value.
    #[serde(default)]
    pub curve: Curve,
    /// The part of the run after which it begins, from 0 on,
    #[serde(default)]
    pub begin: f64,
    /// and that after which the coefficient has its own value, up to 1.
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
    /// `from` until its end, which is before that of the run, then the coefficient's own value.
    Step,
    /// The coefficient's own value throughout, read by kernels that are compiled without it, those of evaluation, too.
    Constant,
}

fn whole() -> f64 {
    1.0
}

impl Ramp {
    /// A straight way from a value to the coefficient's own, over the first part of the run.
    pub fn linear(from: f64, end: f64) -> Ramp {
        Ramp { from, curve: Curve::Linear, begin: 0.0, end }
    }

    /// No change over the run, but kernels that are compiled without the coefficient's value.
    pub fn constant() -> Ramp {
        Ramp { from: 0.0, curve: Curve::Constant, begin: 0.0, end: 1.0 }
    }

    /// Whether the coefficient has its own value throughout.
    pub(crate) fn is_constant(&self) -> bool {
        self.curve == Curve::Constant
    }

    /// The coefficient after a part of the run, where its own value is `to`.
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

    /// The smallest value on the way.
    pub(super) fn least(&self, to: f64) -> f64 {
        if self.is_constant() { to } else { self.from.min(to) }
    }

    /// The largest value on the way.
    pub(super) fn most(&self, to: f64) -> f64 {
        if self.is_constant() { to } else { self.from.max(to) }
    }

    /// Checks the ramp of a coefficient that is `to` in the end.
    pub(crate) fn check(&self, path: &str, to: f64) -> Result<()> {
        let field = |name: &str| format!("ramps[{path:?}].{name}");
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
    /// The value of every coefficient that may have a ramp, with its place.
    pub(crate) fn coefficients(&self) -> Vec<(String, f64)> {
        self.clone().coefficients_mut().into_iter().map(|(place, value)| (place, *value)).collect()
    }

    /// Every coefficient that may have a ramp, with its place.
    fn coefficients_mut(&mut self) -> Vec<(String, &mut f64)> {
        let mut found = vec![("weight_decay".into(), &mut self.weight_decay)];
        match &mut self.latent {
            Latent::Deterministic => {}
            Latent::Gaussian { beta } => found.push(("latent.beta".into(), beta)),
            Latent::PredictiveSparse { weight, gamma, .. } => {
                found.extend([("latent.weight".into(), weight), ("latent.gamma".into(), gamma)]);
            }
        }
        if let Loss::Gaussian { sigma, learned: false } = &mut self.loss {
            found.push((SIGMA.into(), sigma));
        }
        for (i, penalty) in self.penalties.iter_mut().enumerate() {
            found.extend(penalty.coefficients_mut().into_iter().map(|(name, value)| (penalty_place(i, name), value)));
        }
        found.extend(self.supervised.iter_mut().map(|s| ("supervised.weight".into(), &mut s.weight)));
        let layers = [("encoder", &mut self.encoder), ("decoder", &mut self.decoder)];
        let layers = layers.into_iter().flat_map(|(name, layers)| {
            layers.iter_mut().enumerate().map(move |(i, layer)| (layer_noise(name, i), &mut layer.noise))
        });
        let noise = [(CORRUPTION.into(), &mut self.corruption)].into_iter().chain(layers);
        found.extend(noise.filter_map(|(place, noise): (String, &mut Corruption)| {
            noise.strength_mut().map(|(name, strength)| (format!("{place}.{name}"), strength))
        }));
        found
    }

    /// The coefficient at a place.
    pub(super) fn coefficient_mut(&mut self, path: &str) -> Option<&mut f64> {
        self.coefficients_mut().into_iter().find(|(place, _)| place == path).map(|(_, value)| value)
    }

    /// Every ramp with the value that it leads to, in order.
    pub(crate) fn ramped(&self) -> Vec<(String, Ramp, f64)> {
        let values = self.coefficients();
        let value = |path: &str| values.iter().find(|(place, _)| place == path).map(|(_, value)| *value);
        self.ramps.iter().filter_map(|(path, ramp)| Some((path.clone(), *ramp, value(path)?))).collect()
    }

    /// Checks that every ramp is of a coefficient that there is, and that the spec could have the value that it comes from.
    pub(super) fn check_ramps(&self) -> Result<()> {
        let places: Vec<String> = self.coefficients().into_iter().map(|(place, _)| place).collect();
        if let Some(path) = self.ramps.keys().find(|path| !places.contains(path)) {
            return Err(Error::spec("ramps", format!("{path:?}"), places.join(", ")));
        }
        for (path, ramp, to) in self.ramped() {
            ramp.check(&path, to)?;
            let mut before = Spec { ramps: BTreeMap::new(), ..self.clone() };
            before.coefficient_mut(&path).into_iter().for_each(|value| *value = ramp.from);
            match before.check() {
                Err(Error::Spec { value, allowed, .. }) if !ramp.is_constant() => {
                    return Err(Error::spec(format!("ramps[{path:?}].from"), value, allowed));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The place of the input's corruption.
pub(super) const CORRUPTION: &str = "corruption";

/// The place of a layer's noise.
pub(super) fn layer_noise(part: &str, i: usize) -> String {
    format!("{part}[{i}].noise")
}

/// The place of a coefficient of a penalty.
pub(super) fn penalty_place(i: usize, name: &str) -> String {
    format!("penalties[{i}].{name}")
}

/// The place of a normal likelihood's σ, where it is not learned.
pub(super) const SIGMA: &str = "loss.gaussian.sigma";
