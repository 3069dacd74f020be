//! What training reports.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The objective and what it is the sum of.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The sum of the terms.
    pub loss: f64,
    /// The terms by name, mean over the rows: `reconstruction`, then what else the spec has.
    pub terms: Vec<(String, f64)>,
}

/// The state of a run at a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Whole passes over the data.
    pub epoch: u64,
    /// The objective: the sum of the terms, each the mean over the steps since the last report.
    pub loss: f64,
    /// The terms by name.
    pub terms: Vec<(String, f64)>,
    /// The objective on the validation rows, where this report ends an epoch and there are any.
    pub validation: Option<Objective>,
    /// The learning rate of the last step: of its first update, 0 where it has none.
    pub learning_rate: f64,
    /// Training rows a second since the last report.
    pub rows_per_second: f64,
    /// Time since training began.
    pub elapsed: Duration,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All epochs are done.
    Done,
    /// The validation loss did not improve; the best parameters are back.
    Early,
    /// The callback said so; the parameters are those of the last step.
    Cancelled,
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The first report of every epoch, every report with a validation loss, and the last.
    pub history: Vec<Progress>,
    /// Steps taken.
    pub steps: u64,
    /// Why it ended.
    pub stop: Stop,
    /// The best objective on the validation rows.
    pub best_validation: Option<f64>,
    /// Time from the call of `fit` to the end of the first step.
    pub first_step: Duration,
    /// Time of the whole run.
    pub elapsed: Duration,
}

/// What early stopping has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Best {
    /// The best objective on the validation rows.
    pub validation: Option<f64>,
    /// Epochs since then.
    pub waited: u64,
}
