//! Searching: what candidates, folds and rungs are against plain code, going on from a file in the same process and in others,
//! kernels that are compiled once, what goes wrong with a candidate, and what is refused.

mod candidates;
mod judged;
mod refused;
mod resumed;

use crate::common::{gpu, values};
use strait::search::{Fold, Search, Values};
use strait::{Activation, Data, Spec, Training};

/// A model that is trained in no time.
fn tiny() -> Spec {
    Spec::symmetric(&[3, 4, 2], Activation::Tanh)
}

fn rows(count: usize) -> Data {
    Data::from_rows(3, values(91, count * 3, (-1.0, 1.0))).unwrap()
}

fn training() -> Training {
    Training { batch: 8, epochs: 2, learning_rate: 1e-2, ..Training::default() }
}

/// A search over two numbers.
fn search() -> Search {
    Search::new(tiny(), training())
        .axis("learning_rate", [1e-3, 1e-2], |c, rate| c.training.learning_rate = rate)
        .axis("weight_decay", [0.0, 1e-3, 1e-1], |c, weight| c.spec.weight_decay = weight)
        .folds(3)
}
