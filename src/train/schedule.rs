//! Learning-rate schedules: a factor for each step, computed in f64 on the host and read from a table on the GPU.

use serde::{Deserialize, Serialize};

use super::progress::{Best, Plateau};
use crate::error::{Error, Result, not_negative};

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
    /// Along a straight line to a part of it, where it stays.
    Linear {
        /// That part, 0 to 1; at 0 what is trained stands still.
        to: f64,
        /// The step at which it arrives; the whole run where it is not given.
        #[serde(default)]
        steps: Option<u64>,
    },
    /// By a factor wherever the validation loss stops falling, as PyTorch's `ReduceLROnPlateau` with `mode="min"` and
    /// `threshold_mode="abs"`, whose `patience` is one less. It needs the looks at validation rows that
    /// [`crate::EarlyStopping`] brings to the whole runs of a [`crate::Session`], whose own waiting knows nothing of this.
    ///
    /// ```
    /// use strait::{Decay, EarlyStopping, Schedule, Training};
    ///
    /// // Half the learning rate after 3 epochs without a better one, but no less than a hundredth; no more after 10.
    /// let decay = Decay::Plateau { factor: 0.5, patience: 3, min_delta: 0.0, floor: 0.01 };
    /// let early = EarlyStopping { validation: 0.1, patience: 10, min_delta: 0.0 };
    /// let schedule = Schedule { decay, ..Schedule::default() };
    /// let training = Training { schedule, early_stopping: Some(early), ..Training::default() };
    /// training.check()?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    Plateau {
        /// The factor, below 1.
        factor: f64,
        /// Looks in a row without a better loss until the learning rate falls; then the waiting starts anew.
        patience: u64,
        /// What counts as better: lower than the best so far by more than this.
        #[serde(default)]
        min_delta: f64,
        /// The least part of the learning rate that it falls to, 0 to 1.
        #[serde(default)]
        floor: f64,
    },
}

impl Decay {
    /// Whether it goes by what is found on validation rows.
    pub(super) fn looks(&self) -> bool {
        matches!(self, Decay::Plateau { .. })
    }

    /// What is known after another look, which found this loss.
    pub(super) fn after(&self, known: Plateau, loss: f64) -> Plateau {
        let Decay::Plateau { factor, patience, min_delta, floor } = *self else { return known };
        let seen = known.seen.after(loss, min_delta);
        if seen.waited < patience {
            return Plateau { seen, ..known };
        }
        let least = floor.min(known.factor);
        Plateau { seen: Best { waited: 0, ..seen }, factor: (known.factor * factor).max(least) }
    }
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
    /// The factor of step `step` (counted from 0) in a run of `total` steps; of [`Decay::Plateau`] what it is before the
    /// first look.
    #[doc(hidden)]
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let warm = if self.warm_up == 0 { 1.0 } else { ((step as f64 + 1.0) / self.warm_up as f64).min(1.0) };
        let part = |steps: Option<u64>| (step as f64 / steps.unwrap_or(total).max(1) as f64).min(1.0);
        let decay = match self.decay {
            Decay::Constant | Decay::Plateau { .. } => 1.0,
            Decay::Step { every, factor } => factor.powf((step / every.max(1)) as f64),
            Decay::Cosine { steps } => 0.5 * (1.0 + (std::f64::consts::PI * part(steps)).cos()),
            Decay::Linear { to, steps } => 1.0 + part(steps) * (to - 1.0),
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
            Decay::Linear { to, .. } if !(0.0..=1.0).contains(&to) => {
                Err(Error::spec("schedule.decay.to", to, "0 to 1"))
            }
            Decay::Cosine { steps: Some(0) } | Decay::Linear { steps: Some(0), .. } => {
                Err(Error::spec("schedule.decay.steps", 0, "1 or more"))
            }
            Decay::Plateau { factor, .. } if !(factor > 0.0 && factor < 1.0) => {
                Err(Error::spec("schedule.decay.factor", factor, "above 0 and below 1"))
            }
            Decay::Plateau { patience: 0, .. } => Err(Error::spec("schedule.decay.patience", 0, "1 or more")),
            Decay::Plateau { floor, .. } if !(0.0..=1.0).contains(&floor) => {
                Err(Error::spec("schedule.decay.floor", floor, "0 to 1"))
            }
            Decay::Plateau { min_delta, .. } => not_negative("schedule.decay.min_delta", min_delta),
            _ => Ok(()),
        }
    }
}
