//! The trials. The example runs them long and prints what they came to, `tests/suites/endurance.rs` runs them short.

#[path = "../common/outcome.rs"]
#[allow(clippy::duplicate_mod, reason = "the program of all suites loads it with those of theory, too")]
pub mod outcome;

#[path = "../common/pending.rs"]
#[allow(clippy::duplicate_mod, reason = "the program of all suites loads it with its own, too")]
pub mod pending;

pub mod awaited;
pub mod dropped;
pub mod losses;
pub mod restored;
pub mod saves;

use std::sync::mpsc;
use std::time::Duration;

use outcome::Outcome;
use strait::{Activation, Data, Spec};

/// How long a part of a trial may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A small model with a scaling of its own.
pub fn spec() -> Spec {
    Spec::symmetric(&[3, 4, 2], Activation::Tanh).scaling(strait::Scaling::Unit)
}

/// Rows for it.
pub fn rows(count: usize) -> Outcome<Data> {
    Ok(Data::from_rows(3, (0..count * 3).map(|i| (i * 37 % 101) as f32 / 101.0).collect())?)
}

/// Runs something on a thread of its own and gives up where it takes too long or panics.
pub fn watched<T: Send + 'static>(what: &str, run: impl FnOnce() -> Result<T, String> + Send + 'static) -> Outcome<T> {
    let (told, outcome) = mpsc::channel();
    std::thread::spawn(move || told.send(run()));
    match outcome.recv_timeout(PATIENCE) {
        Ok(outcome) => Ok(outcome.map_err(|error| format!("{what}: {error}"))?),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(format!("{what}: it panicked").into()),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("{what}: it hangs").into()),
    }
}
