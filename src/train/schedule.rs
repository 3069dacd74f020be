//! Learning-rate schedules: a factor for each step, computed in f64 on the host and read from a table on the GPU.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// By a factor, again and again.
    Step {
        /// Steps between.
        every: u64,
        /// The factor.
        factor: f64,
    },
    /// Along half a cosine to 0; Loshchilov and Hutter, 2016.
    Cosine {
        /// The step at which it arrives; the whole run where it is not given.
        #[serde(default)]
        steps: Option<u64>,
    },
}

/// A warm-up and a decay, multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Steps over which the learning rate rises from 1/warm_up of its value to the whole.
    pub warm_up: u64,
    /// What follows; its steps count from the start of the run.
    pub decay: Decay,
}

impl Schedule {
    /// The factor of step `step` (counted from 0) in a run of `total` steps.
    #[doc(hidden)]
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let warm = if self.warm_up == 0 { 1.0 } else { ((step as f64 + 1.0) / self.warm_up as f64).min(1.0) };
        let decay = match self.decay {
            Decay::Constant => 1.0,
            Decay::Step { every, factor } => factor.powf((step / every.max(1)) as f64),
            Decay::Cosine { steps } => {
                let part = step as f64 / steps.unwrap_or(total).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos())
            }
        };
        warm * decay
    }

    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<()> {
        match self.decay {
            Decay::Step { every: 0, .. } => Err(Error::spec("schedule.decay.every", 0, "1 or more")),
            Decay::Step { factor, .. } if !(factor.is_finite() && factor > 0.0) => {
                Err(Error::spec("schedule.decay.factor", factor, "a finite number above 0"))
            }
            Decay::Cosine { steps: Some(0) } => Err(Error::spec("schedule.decay.steps", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}
