//! The numbers of an update, beside its learning rate: constants of its kernel or, where they have ramps, scalars that
//! it reads.

use serde::{Deserialize, Serialize};

use super::{Optimizer, Training};
use crate::error::{Error, Result, positive};
use crate::graph::{Graph, NodeId, Scalars, Shape};
use crate::model::{Network, Ramp, Spec};

/// Ramps of the numbers of an update, each from the ramp's `from` to the number's own value: over the run of a
/// [`crate::Session`], over the phase of a [`crate::train::Trainer`]. The learning rate has a [`crate::Schedule`]
/// instead.
///
/// ```
/// use strait::{Ramp, Training, UpdateRamps};
///
/// // Gradients are clipped less and less in the first tenth of the run.
/// let ramps = UpdateRamps { clip_norm: Some(Ramp::linear(0.1, 0.1)), ..UpdateRamps::default() };
/// let training = Training { clip_norm: Some(5.0), ramps, ..Training::default() };
/// training.check()?;
/// # Ok::<(), strait::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateRamps {
    /// Of the largest norm of the gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<Ramp>,
    /// Of momentum's μ, which is above 0 in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<Ramp>,
    /// Of RMSProp's α.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<Ramp>,
    /// Of Adam's β1. The correction of the first moment divides by 1 less the product of all β1 of the run so far;
    /// steps of runs before it count as if they had been one run that went to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<Ramp>,
    /// Of Adam's β2; its correction as that of β1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<Ramp>,
    /// Of ε.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<Ramp>,
    /// Of AdamW's decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<Ramp>,
}

/// The most that a share which has a ramp may be: then what a moment began with is forgotten in a number of steps that
/// the host can go through.
const LARGEST: f64 = 0.999_999;

/// What is added to the name of a share for the column that has what is left of 1.
const REST: &str = "rest";

impl UpdateRamps {
    /// Whether there are none.
    pub(super) fn is_none(&self) -> bool {
        *self == UpdateRamps::default()
    }

    /// All of them by name.
    fn all(&self) -> [(&'static str, Option<Ramp>); 7] {
        let UpdateRamps { clip_norm, momentum, alpha, beta1, beta2, epsilon, weight_decay } = *self;
        [
            ("clip_norm", clip_norm),
            ("momentum", momentum),
            ("alpha", alpha),
            ("beta1", beta1),
            ("beta2", beta2),
            ("epsilon", epsilon),
            ("weight_decay", weight_decay),
        ]
    }

    /// The ramp of a number.
    pub(super) fn of(&self, name: &str) -> Option<Ramp> {
        self.all().into_iter().find(|(other, _)| *other == name).and_then(|(_, ramp)| ramp)
    }

    /// Those that there are, with the value that each leads to and whether one less it is read, too; in the order of
    /// their columns.
    pub(super) fn ramped(&self, optimizer: &Optimizer, clip_norm: Option<f64>) -> Vec<(Ramp, f64, bool)> {
        let numbers = numbers(optimizer, clip_norm);
        let value = |name| numbers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        self.all().into_iter().filter_map(|(name, ramp)| Some((ramp?, value(name)?, is_share(name)))).collect()
    }

    /// Checks that each is of a number that the update has, and that this could have the value that it comes from.
    pub(super) fn check(&self, optimizer: &Optimizer, clip_norm: Option<f64>) -> Result<()> {
        let numbers = numbers(optimizer, clip_norm);
        for (name, ramp) in self.all() {
            let Some(ramp) = ramp else { continue };
            let place = format!("ramps[{name:?}]");
            let Some(&(_, to)) = numbers.iter().find(|(other, _)| *other == name) else {
                let names: Vec<&str> = numbers.iter().map(|(name, _)| *name).collect();
                let allowed = format!("ramps of what the update has: {}", names.join(", "));
                return Err(Error::spec("ramps", format!("{name:?}"), allowed));
            };
            ramp.check(name, to)?;
            let way = if ramp.is_constant() { [to; 2] } else { [ramp.from, to] };
            let from = match name {
                "clip_norm" => positive("from", way[0]),
                _ => Optimizer::check_number("from", name, way[0]),
            };
            from.map_err(|error| error.inside(&place))?;
            if name == "momentum" && to == 0.0 {
                return Err(Error::spec("optimizer.momentum", 0, "above 0 where it has a ramp"));
            }
            if let Some(most) = way.into_iter().find(|&value| is_share(name) && value > LARGEST) {
                return Err(Error::spec(place, most, format!("at most {LARGEST} on the way of a ramp")));
            }
        }
        Ok(())
    }
}

impl Training {
    /// The numbers of its update that may have ramps, by name.
    pub(crate) fn numbers(&self) -> Vec<(&'static str, f64)> {
        numbers(&self.optimizer, self.clip_norm)
    }

    /// Whether a model of a spec can be trained so, as far as numbers and ramps of both say.
    pub(crate) fn can_train(&self, spec: &Spec) -> bool {
        let fits = |network: Network| beside(network.scalars(), [Reads::new(0, self.ramps)]);
        self.check().and_then(|()| Network::new(spec)).and_then(fits).is_ok()
    }

    /// Gives a number of its update a constant ramp, where there is one of this name and it has no ramp yet.
    pub(crate) fn ramp_constantly(&mut self, name: &str) {
        let UpdateRamps { clip_norm, momentum, alpha, beta1, beta2, epsilon, weight_decay } = &mut self.ramps;
        let all = [clip_norm, momentum, alpha, beta1, beta2, epsilon, weight_decay];
        let names = UpdateRamps::default().all().map(|(name, _)| name);
        let there = numbers(&self.optimizer, self.clip_norm).iter().any(|(other, _)| *other == name);
        let ramp = names.into_iter().zip(all).find(|(other, _)| there && *other == name);
        ramp.into_iter().for_each(|(_, ramp)| *ramp = ramp.or(Some(Ramp::constant())));
    }
}

/// Whether a number is the share of a moment that is kept, so that one less it is read, too.
fn is_share(name: &str) -> bool {
    matches!(name, "alpha" | "beta1" | "beta2")
}

/// The numbers of an update by name.
fn numbers(optimizer: &Optimizer, clip_norm: Option<f64>) -> Vec<(&'static str, f64)> {
    clip_norm.map(|norm| ("clip_norm", norm)).into_iter().chain(optimizer.numbers()).collect()
}

/// What one of a step's updates reads of the table.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    /// What the names of its columns begin with.
    prefix: String,
    ramps: UpdateRamps,
}

impl Reads {
    /// What the i-th update of a step reads.
    pub fn new(i: usize, ramps: UpdateRamps) -> Reads {
        Reads { prefix: if i == 0 { String::new() } else { format!("updates[{i}].") }, ramps }
    }

    /// The name of a column that every update has.
    fn name(&self, of: &str) -> String {
        format!("{}{of}", self.prefix)
    }

    /// That of a number with a ramp: none that a coefficient of a spec has.
    fn ramp_name(&self, of: &str) -> String {
        if self.prefix.is_empty() { format!("update.{of}") } else { self.name(of) }
    }

    /// Its columns: those of [`Scalars::UPDATE`], then those of its ramps.
    pub fn columns(&self) -> Vec<String> {
        let ramped = self.ramps.all().into_iter().filter(|(_, ramp)| ramp.is_some()).map(|(name, _)| name);
        let ramped = ramped.flat_map(|name| {
            let rest = is_share(name).then(|| self.ramp_name(&format!("{name}.{REST}")));
            [self.ramp_name(name)].into_iter().chain(rest)
        });
        Scalars::UPDATE.iter().map(|name| self.name(name)).chain(ramped).collect()
    }

    /// One of the scalars of [`Scalars::UPDATE`].
    pub fn scalar(&self, g: &mut Graph, name: &str) -> Result<NodeId> {
        g.scalar(&self.name(name))
    }

    /// Whether a number has a ramp.
    pub fn has_ramp(&self, name: &str) -> bool {
        self.ramps.of(name).is_some()
    }

    /// A number: its value or, where it has a ramp, the scalar.
    pub fn number(&self, g: &mut Graph, name: &str, value: f64) -> Result<NodeId> {
        if self.has_ramp(name) { g.scalar(&self.ramp_name(name)) } else { Ok(g.fill(value, Shape::scalar())) }
    }

    /// A share and what is left of 1.
    pub fn share(&self, g: &mut Graph, name: &str, value: f64) -> Result<[NodeId; 2]> {
        let rest = match self.has_ramp(name) {
            true => g.scalar(&self.ramp_name(&format!("{name}.{REST}")))?,
            false => g.fill(1.0 - value, Shape::scalar()),
        };
        Ok([self.number(g, name, value)?, rest])
    }
}

/// A table that has, beside these columns, what some updates read.
///
/// # Errors
/// [`Error::Spec`] where these are too many, or one is called as something of the table that is no update's.
pub(super) fn beside(own: &Scalars, updates: impl IntoIterator<Item = Reads>) -> Result<Scalars> {
    let mut names = own.names().to_vec();
    for name in updates.into_iter().flat_map(|reads| reads.columns()) {
        if own.names().contains(&name) && !Scalars::UPDATE.contains(&name.as_str()) {
            return Err(Error::spec("scalars", format!("{name:?}"), "names that no update reads"));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Scalars::new(names)
}
