//! Training: the order of rows, the same bits for the same seed, going on in a new process, control over a run, steps in two
//! halves, using the model, sharing a device, runs that go bad or are broken off, validation rows of one's own, and data that
//! changes or is not finite.

mod apart;
mod control;
mod device;
mod diverged;
mod evaluated;
mod frames;
mod interrupted;
mod looked;
mod options;
mod order;
mod processes;
mod sources;
mod using;

pub use looked::Broken;

use crate::common::{gpu, report, values};
use strait::{Activation, Data, Gpu, Optimizer, Session, Spec, Training};

/// A network that is compiled and trained in no time.
fn tiny() -> Spec {
    Spec::symmetric(&[3, 4, 2], Activation::Tanh)
}

/// Rows for it.
fn rows(count: usize) -> Data {
    Data::from_rows(3, values(50, count * 3, (-1.0, 1.0))).unwrap()
}

fn session(gpu: &Gpu, spec: &Spec, training: Training) -> Session {
    Session::new(gpu, spec, training).unwrap()
}

/// Momentum, so that a run has a memory.
const MOMENTUM: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: false };

/// Takes exactly `steps` steps, each in a submit of `each` at most, and returns the reports' losses.
fn take(session: &mut Session, steps: u64, each: u64) -> Vec<f64> {
    let (end, mut losses) = (session.steps() + steps, vec![]);
    let mut reported = session.steps();
    while session.steps() < end {
        let taken = session.step((end - session.steps()).min(each)).unwrap().steps();
        while let Some(progress) = session.progress().unwrap() {
            losses.push(progress.loss);
            reported = progress.step;
        }
        assert!(taken <= each);
    }
    while reported < end {
        let progress = report(session);
        losses.push(progress.loss);
        reported = progress.step;
    }
    losses
}

/// Parameters as bits, for comparisons that allow nothing.
fn bits(session: &Session) -> Vec<Vec<u32>> {
    let tensors = session.parameters().unwrap();
    tensors.iter().map(|values| values.iter().map(|v| v.to_bits()).collect()).collect()
}
