//! Training and using a model on the GPU: the session, its optimizers and schedules, its data feed and checkpoints.

mod apart;
mod cache;
mod checkpoint;
mod divergence;
mod evaluate;
mod feed;
mod fit;
mod infer;
mod memory;
mod optimizer;
mod options;
mod profile;
mod progress;
mod replace;
mod scaling;
mod schedule;
mod session;
mod steps;
mod tensors;
mod trainer;
mod tune;
mod tuning;

pub use checkpoint::Weights;
pub use fit::Reports;
pub use infer::{Attached, Component};
pub use memory::Memory;
pub use optimizer::Optimizer;
pub use options::{EarlyStopping, Training};
pub use profile::Profile;
pub use progress::{Fit, Objective, Progress, Stop};
pub use schedule::{Decay, Schedule};
pub use session::Session;
pub use tune::{Trial, Trials};
