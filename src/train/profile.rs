//! Profiles: where the time of a training step goes, dispatch by dispatch.

use std::fmt;

use super::Session;
use crate::error::{Error, Result};
use crate::gpu::{Timed, Wait};
use crate::plan::Cost;

/// Steps in one submit at most. A GPU that waits for its host after every step runs at a low clock.
const TOGETHER: u64 = 16;
/// Steps in a profile at most: the time of every dispatch of every step is kept until the medians are taken.
const STEPS: u64 = 1 << 16;

/// Where the time of a training step goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The steps it was measured over.
    pub steps: u64,
    /// The dispatches of a step in order; seconds are medians over the steps.
    pub dispatches: Vec<Timed>,
}

impl Session {
    /// Takes up to `steps` steps of the loaded run and times every dispatch of them on the device, with the kernels
    /// that the run uses behind its first report. They are steps like any other, but some are submitted at a time and
    /// waited for, and no [`Progress`](super::Progress) tells of them; what is under way comes to its end first.
    ///
    /// ```no_run
    /// # use strait::{Activation, Gpu, Session, Spec, Training, data};
    /// # let mut session =
    /// #     Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), Training::default())?;
    /// session.load(data::digits()?)?;
    /// println!("{}", session.profile(20)?);
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] before [`Session::load`], where the run is over, or where `steps` and what is left of the run are
    /// both more than 65,536; [`Error::Limit`] where the device writes no
    /// timestamps; [`Error::Diverged`] where one of the steps went bad.
    pub fn profile(&mut self, steps: u64) -> Result<Profile> {
        let left = self.course.total_steps()?.saturating_sub(self.course.step);
        let steps = steps.min(left);
        if steps == 0 {
            return Err(Error::data("steps to profile", 0, "1 or more that are left of the run"));
        }
        if steps > STEPS {
            return Err(Error::data("steps to profile", steps, format!("1 to {STEPS}")));
        }
        pollster::block_on(self.course.settle(Wait::Block))?;
        pollster::block_on(self.course.hasten(true, Wait::Block))?;
        let mut taken: Vec<Vec<Timed>> = Vec::new();
        while (taken.len() as u64) < steps {
            let more = self.course.timed_steps((steps - taken.len() as u64).min(TOGETHER))?;
            if more.is_empty() {
                break;
            }
            taken.extend(more);
        }
        pollster::block_on(self.course.settle(Wait::Block))?;
        let median = |at: usize| {
            let mut seconds: Vec<f64> = taken.iter().map(|step| step[at].seconds).collect();
            seconds.sort_by(f64::total_cmp);
            seconds[seconds.len() / 2]
        };
        let first = taken.first().into_iter().flatten();
        let dispatches = first.enumerate().map(|(i, d)| Timed { seconds: median(i), ..d.clone() });
        Ok(Profile { steps: taken.len() as u64, dispatches: dispatches.collect() })
    }
}

impl Profile {
    /// Seconds of a step on the device.
    pub fn seconds(&self) -> f64 {
        self.dispatches.iter().map(|d| d.seconds).sum()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.seconds();
        writeln!(f, "{:>9} {:>6} {:>9} {:>7}  dispatch", "ms", "share", "Gflop/s", "GB/s")?;
        let rate = |amount: u64, seconds: f64| match amount {
            0 => String::new(),
            amount => format!("{:.2}", amount as f64 / seconds.max(1e-12) / 1e9),
        };
        let mut line = |label: &str, seconds: f64, cost: Cost| {
            let share = format!("{:.1}%", 100.0 * seconds / total.max(1e-12));
            let (flops, bytes) = (rate(cost.flops, seconds), rate(cost.bytes, seconds));
            writeln!(f, "{:>9.3} {share:>6} {flops:>9} {bytes:>7}  {label}", seconds * 1e3)
        };
        for Timed { label, seconds, cost } in &self.dispatches {
            line(label, *seconds, *cost)?;
        }
        line("all of a step", total, self.dispatches.iter().map(|d| d.cost).sum())
    }
}
