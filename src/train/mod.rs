//! Training a model on the GPU: the session, its optimizers and schedules, its data feed and checkpoints.

mod adversarial;
mod apart;
mod averages;
mod cache;
mod cached;
mod checkpoint;
mod classifier;
mod course;
mod divergence;
mod engine;
mod evaluate;
mod feed;
mod fit;
mod greedy;
mod live;
mod memory;
mod numbers;
mod of_spec;
mod optimizer;
mod options;
mod phase;
mod profile;
mod progress;
mod recirculation;
mod resident;
mod resume;
mod ring;
mod run;
mod scaling;
mod schedule;
mod session;
mod snapshot;
mod spread;
mod steps;
mod table;
mod trainer;
pub(crate) mod tune;
mod tuning;

pub use adversarial::{Adversary, Discriminator};
pub use fit::Reports;
pub use numbers::UpdateRamps;
pub use optimizer::Optimizer;
pub use options::{EarlyStopping, Training};
pub use phase::{Phase, Step, Update};
pub use profile::Profile;
pub use progress::{Cancel, Fit, Loading, Objective, Progress, Stop, Taken};
pub use ring::Ring;
pub use run::Run;
pub use schedule::{Decay, Schedule};
pub use session::Session;
pub use snapshot::Snapshot;
pub use trainer::Trainer;
pub use tune::Trials;

/// The tiles that measured products take.
pub use crate::plan::Tuning;
