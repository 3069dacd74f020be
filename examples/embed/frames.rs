//! When frames were due and done, and how long calls took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// From one frame to the next.
pub const PERIOD: Duration = Duration::from_nanos(16_666_667);

/// Frames of one kind.
#[derive(Default)]
pub struct Frames {
    /// Those that the device has not done yet, by their number, and when they were due.
    waiting: BTreeMap<usize, Instant>,
    /// From when each was due to when it was done.
    took: Times,
    /// How many were not begun before the next one was due.
    missed: usize,
}

impl Frames {
    /// A frame is due now.
    pub fn due(&mut self, frame: usize, when: Instant) {
        self.waiting.insert(frame, when);
    }

    /// A frame was done.
    pub fn done(&mut self, frame: usize, when: Instant) {
        if let Some(due) = self.waiting.remove(&frame) {
            self.took.0.push(when.saturating_duration_since(due));
        }
    }

    /// Frames that were due at this time and after it and were not begun until now, but the last of them: when that was due.
    pub fn missed(&mut self, mut due: Instant) -> Instant {
        while due + PERIOD < Instant::now() {
            self.missed += 1;
            due += PERIOD;
        }
        due
    }

    /// Whether frames are not done yet.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many were due.
    pub fn count(&self) -> usize {
        self.took.0.len() + self.missed
    }

    /// The share of frames that were not done when the next one was due.
    pub fn late(&self) -> f64 {
        let late = self.took.0.iter().filter(|&&took| took > PERIOD).count();
        (late + self.missed) as f64 / self.count().max(1) as f64
    }

    /// The time, in milliseconds, within which a share of them was done.
    pub fn quantile(&self, share: f64) -> f64 {
        self.took.quantile(share)
    }
}

/// How long calls took.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Makes a call.
    pub fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = call();
        self.0.push(begun.elapsed());
        result
    }

    /// The time, in milliseconds, that a share of them did not exceed; 0 of none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * share).round() as usize).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// The application's calls of strait, and submits of nothing to compare with.
#[derive(Default)]
pub struct Calls {
    pub ours: Times,
    pub empty: Times,
}
