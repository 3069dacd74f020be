//! Averages of the parameters over the updates of a run: when they begin, and what is read of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::course::Course;
use super::phase::{Step, taken, turn};
use super::{Session, Trainer};
use crate::error::{Error, Result};
use crate::gpu::Wait;
use crate::graph::{Kept, Set};

/// How the tensors of a set are averaged, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Average {
    decay: f64,
    /// Updates of the set before the first one that it has seen.
    before: u64,
}

/// Fails where a decay is none.
pub(super) fn check_decay(decay: Option<f64>) -> Result<()> {
    match decay {
        Some(decay) if !(decay > 0.0 && decay < 1.0) => Err(Error::spec("average", decay, "above 0 and below 1")),
        _ => Ok(()),
    }
}

impl Average {
    /// Checks one that a file has, of a set with so many updates.
    pub fn check(&self, updates: u64) -> Result<()> {
        check_decay(Some(self.decay))?;
        match self.before > updates {
            true => Err(Error::spec("average.before", self.before, format!("0 to {updates}"))),
            false => Ok(()),
        }
    }

    /// How much of what is kept, after so many updates of the set, is values of the parameters; the rest is the zeros
    /// that it began with. None before the first update.
    fn part(&self, updates: u64) -> Option<f64> {
        let seen = updates.checked_sub(self.before).filter(|&seen| seen > 0)?;
        // What the kernel has of 1 - decay.
        let rest = f64::from((1.0 - self.decay) as f32);
        Some(-(seen as f64 * (-rest).ln_1p()).exp_m1())
    }
}

impl Course {
    /// What some steps' updates average, so many of which were taken: anew before the first of them, and what was not
    /// averaged before, or by another decay.
    pub(super) fn averages_of(&self, steps: &[Step], now: u64) -> BTreeMap<Set, Average> {
        let (mut wanted, turn) = (BTreeMap::new(), turn(steps));
        for (which, step) in steps.iter().enumerate() {
            for update in &step.updates {
                let Some(decay) = update.average else { continue };
                let goes_on = |average: &&Average| now > 0 && average.decay == decay;
                let begun = |set: &Set| self.averages.get(set).filter(goes_on).copied();
                let anew = Average { decay, before: taken(&turn, which, now) };
                wanted.extend(update.sets.iter().map(|&set| (set, begun(&set).unwrap_or(anew))));
            }
        }
        wanted
    }

    /// The trainable tensors, each as the average of its set where this has seen an update; `updates` tells how many there
    /// were of a set in so many steps.
    fn average(&self, updates: impl Fn(Set, u64) -> u64) -> Result<Vec<Vec<f32>>> {
        let (step, _) = pollster::block_on(self.settled_step(Wait::Block))?;
        if self.averages.is_empty() {
            let allowed = "one that training keeps: `average` of its options, from where data is loaded on";
            return Err(Error::data("average", "none", allowed));
        }
        let of = |i: usize| {
            let set = self.resident.tensors.set_of(i);
            let part = set.and_then(|set| self.averages.get(&set)?.part(updates(set, step)));
            let Some(part) = part else { return self.resident.read(Kept::Values, i) };
            let kept = self.resident.read(Kept::Average, i)?;
            Ok(kept.into_iter().map(|value| (f64::from(value) / part) as f32).collect())
        };
        (0..self.resident.params().len()).map(of).collect()
    }
}

impl Session {
    /// The average of the parameters over the steps so far, row-major, in the order of [`crate::Model::tensors`]:
    /// a / (1 - dⁿ) of a = d a + (1 - d) p, which began at 0 and has seen the parameters p after each of n updates
    /// ([`crate::Training::average`]; Kingma and Ba, 2014, section 7.2). Before the first of them it is the parameters. Waits
    /// for the steps under way; one that went bad is not in it.
    ///
    /// It goes on from one run to the next, with what early stopping brings back and after [`Session::set_parameters`],
    /// as moments do; with another decay, and after a step whose update was taken in part ([`Error::Diverged`]), it
    /// begins anew.
    ///
    /// ```no_run
    /// # use strait::{Activation, Gpu, Session, Spec, Training, data};
    /// let training = Training { average: Some(0.999), ..Training::default() };
    /// let mut session = Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), training)?;
    /// session.fit(data::digits()?)?;
    /// session.use_average()?;
    /// session.save("digits.safetensors")?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] where none is kept: without [`crate::Training::average`], and before data is loaded;
    /// [`Error::Diverged`] where an update was taken in part; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn average(&self) -> Result<Vec<Vec<f32>>> {
        // Its one update trains all sets, in every step.
        self.course.average(|_, steps| steps)
    }

    /// Replaces the parameters by [`Session::average`], as [`Session::set_parameters`] does.
    ///
    /// # Errors
    /// As [`Session::average`].
    pub fn use_average(&mut self) -> Result<()> {
        let average = self.average()?;
        self.set_parameters(&average)
    }
}

impl Trainer {
    /// The averages of the trainable tensors over the updates of the current phase, row-major, in the order of
    /// [`Trainer::tensors`]: as [`Session::average`], each by the [`crate::train::Update::average`] of what trains it. A set
    /// that is not averaged, or was not updated yet, is told as it is.
    ///
    /// # Errors
    /// As [`Session::average`]: [`Error::Data`] where no set of the phase is averaged, and before its rows are loaded.
    pub fn average(&self) -> Result<Vec<Vec<f32>>> {
        let phase = &self.run.phases[self.phase];
        self.course.average(|set, steps| phase.averaged(set, steps))
    }

    /// Replaces the trainable tensors by [`Trainer::average`], as [`Trainer::set_parameters`] does.
    ///
    /// # Errors
    /// As [`Trainer::average`].
    pub fn use_average(&mut self) -> Result<()> {
        let average = self.average()?;
        self.set_parameters(&average)
    }
}
