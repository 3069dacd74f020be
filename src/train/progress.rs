//! What training reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// How far making data ready has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loading {
    /// So many rows of all were looked at: once for weights, once for the scaling, once for labels, once for what the loss needs,
    /// where the data has these or the model asks for them; and so many validation rows of all of these.
    Reading {
        /// Rows so far.
        rows: u64,
        /// Rows in all.
        of: u64,
    },
    /// So many kernels were compiled.
    Compiling {
        /// Kernels so far.
        kernels: u64,
        /// Kernels in all.
        of: u64,
    },
    /// So many rows of those that fit the GPU's share lie there.
    Uploading {
        /// Rows so far.
        rows: u64,
        /// Rows in all.
        of: u64,
    },
}

/// Whoever is told.
pub(super) type Told<'a> = &'a mut (dyn FnMut(Loading) + Send);

/// What became of a call that takes steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// So many were submitted.
    Steps(u64),
    /// None yet, but a part of one, which takes longer than there is time for: the next call goes on with it.
    Part,
    /// None: the device is still at work on those before, or their reports were not read (`progress`).
    Busy,
    /// None: the run has come to its end.
    Over,
    /// None: the run was cancelled ([`crate::train::Cancel`]).
    Cancelled,
}

impl Taken {
    /// What became of `steps` that were asked for, of which `taken` were submitted where `left` were to come.
    pub(super) fn of(taken: u64, steps: u64, left: u64) -> Taken {
        match taken {
            0 if left == 0 => Taken::Over,
            0 if steps > 0 => Taken::Busy,
            taken => Taken::Steps(taken),
        }
    }

    /// How many steps were submitted.
    pub fn steps(self) -> u64 {
        match self {
            Taken::Steps(steps) => steps,
            Taken::Part | Taken::Busy | Taken::Over | Taken::Cancelled => 0,
        }
    }
}

impl From<Taken> for u64 {
    fn from(taken: Taken) -> u64 {
        taken.steps()
    }
}

/// Cancels a run, from any thread: see [`crate::Session::cancel_handle`].
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Cancels the run. Steps that are under way still come to their end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Lets the run go on.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// All epochs are done.
    Done,
    /// The validation loss did not improve; the best parameters are back.
    Early,
    /// The callback said so, or a [`crate::train::Cancel`]; the parameters are those of the last step.
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

impl Fit {
    /// The history as CSV: a line for each report under a header, the terms by name; what a report has not is empty. Numbers below
    /// 1e-5 and from 1e16 on have an exponent, as `1e-38`.
    ///
    /// ```no_run
    /// # fn show(fit: &strait::Fit) -> std::io::Result<()> {
    /// std::fs::write("history.csv", fit.csv())
    /// # }
    /// ```
    pub fn csv(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.history.iter().flat_map(|progress| &progress.terms) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let quoted = |name: &&str| format!("\"{}\"", name.replace('"', "\"\""));
        let ends = ["validation", "learning_rate", "rows_per_second", "seconds"].map(String::from);
        let header =
            ["step", "epoch", "loss"].map(String::from).into_iter().chain(names.iter().map(quoted)).chain(ends);
        let mut lines = vec![header.collect::<Vec<_>>().join(",")];
        for progress in &self.history {
            let term = |name: &&str| progress.terms.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
            // Very small and very large ones with an exponent.
            let number = |value: f64| match value.abs() {
                usual if usual == 0.0 || (1e-5..1e16).contains(&usual) => value.to_string(),
                _ => format!("{value:e}"),
            };
            let optional = |value: Option<f64>| value.map_or(String::new(), number);
            let Progress { step, epoch, loss, learning_rate, rows_per_second, elapsed, .. } = progress;
            let begins = [step.to_string(), epoch.to_string(), number(*loss)];
            let validation = optional(progress.validation.as_ref().map(|found| found.loss));
            let ends = [*learning_rate, *rows_per_second, elapsed.as_secs_f64()].map(number);
            let terms = names.iter().map(|name| optional(term(name)));
            let fields = begins.into_iter().chain(terms).chain([validation]).chain(ends);
            lines.push(fields.collect::<Vec<_>>().join(","));
        }
        lines.push(String::new());
        lines.join("\n")
    }
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

impl Best {
    /// The same after another look. It was better, by more than a margin, where nobody waits since.
    pub fn after(self, loss: f64, margin: f64) -> Best {
        match loss.is_finite() && self.validation.is_none_or(|best| loss < best - margin) {
            true => Best { validation: Some(loss), waited: 0 },
            false => Best { waited: self.waited.saturating_add(1), ..self },
        }
    }
}

/// What a schedule knows that goes by the validation loss ([`super::Decay::Plateau`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plateau {
    /// What it has seen since the learning rate fell last, and the best of all.
    pub seen: Best,
    /// The part of the learning rate that is left.
    pub factor: f64,
}

impl Default for Plateau {
    fn default() -> Plateau {
        Plateau { seen: Best::default(), factor: 1.0 }
    }
}

impl Plateau {
    /// Whether there was no look.
    pub fn is_new(&self) -> bool {
        *self == Plateau::default()
    }
}
