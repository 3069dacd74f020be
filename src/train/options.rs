//! How to train: everything about a run that is not the model.

use serde::{Deserialize, Serialize};

use super::averages::check_decay;
use super::{Optimizer, Schedule, Update, UpdateRamps};
use crate::error::{Error, Result, not_negative, positive};
use crate::graph::Set;

/// When to stop before the last epoch. [`crate::Session::step`] does not look: this is for whole runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// The part of the data, taken from its end, that is held out for validation.
    pub validation: f64,
    /// Epochs without a better validation loss before training stops and the best parameters come back.
    pub patience: u64,
    /// What counts as better: lower by more than this.
    #[serde(default)]
    pub min_delta: f64,
}

/// How to train.
///
/// ```
/// use strait::Training;
///
/// let training = Training { epochs: 100, batch: 50, ..Training::default() };
/// training.check()?;
/// # Ok::<(), strait::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// The learning rate before its schedule.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// How the numbers of the optimizer and `clip_norm` change over the run.
    #[serde(skip_serializing_if = "UpdateRamps::is_none")]
    pub ramps: UpdateRamps,
    /// The decay d of an average of the parameters, which is kept where it is given: above 0 and below 1, as .999.
    /// After every update with the new parameters p it becomes a = d a + (1 - d) p, at no dispatch more and the memory
    /// of the parameters once more; [`crate::Session::average`] reads it. In f32 what hardly moves any more is averaged
    /// to 6e-8 / (1 - d) of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Rows in a batch; no more than the data has.
    pub batch: usize,
    /// Passes over the data.
    pub epochs: u64,
    /// Takes the rows of each epoch in a fresh, seeded order.
    pub shuffle: bool,
    /// Leaves out the last batch of an epoch where it is smaller.
    pub drop_last: bool,
    /// Seeds initial weights, the order of rows and every random draw.
    pub seed: u64,
    /// When to stop early.
    pub early_stopping: Option<EarlyStopping>,
    /// Bytes of GPU memory that data may take; what is larger is streamed in chunks. It counts for the training rows,
    /// for the validation rows and for the rows of a call of [`crate::Session::evaluate`], each by itself.
    pub data_budget: u64,
}

impl Default for Training {
    fn default() -> Training {
        Training {
            optimizer: Optimizer::ADAM,
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            clip_norm: None,
            ramps: UpdateRamps::default(),
            average: None,
            batch: 128,
            epochs: 10,
            shuffle: true,
            drop_last: false,
            seed: 0,
            early_stopping: None,
            data_budget: 1 << 30,
        }
    }
}

impl Training {
    /// What it does with some sets.
    pub(super) fn update(&self, sets: impl Iterator<Item = Set>) -> Update {
        let Training { optimizer, learning_rate, schedule, clip_norm, ramps, average, .. } = *self;
        Update { sets: sets.collect(), optimizer, learning_rate, schedule, clip_norm, ramps, average }
    }

    /// Checks that the options can work.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the field, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        positive("learning_rate", self.learning_rate)?;
        if let Some(norm) = self.clip_norm {
            positive("clip_norm", norm)?;
        }
        check_decay(self.average)?;
        if self.batch == 0 {
            return Err(Error::spec("batch", 0, "1 or more"));
        }
        if let Some(early) = self.early_stopping {
            if !(early.validation > 0.0 && early.validation < 1.0) {
                return Err(Error::spec("early_stopping.validation", early.validation, "between 0 and 1"));
            }
            if early.patience == 0 {
                return Err(Error::spec("early_stopping.patience", 0, "1 or more"));
            }
            not_negative("early_stopping.min_delta", early.min_delta)?;
        }
        self.schedule.check()?;
        if self.schedule.decay.looks() && self.early_stopping.is_none() {
            let allowed = "validation rows, where schedule.decay is a plateau of their loss";
            return Err(Error::spec("early_stopping", "none", allowed));
        }
        self.optimizer.check()?;
        self.ramps.check(&self.optimizer, self.clip_norm)
    }
}
