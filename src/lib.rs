//! Five things make up most applications:
//!
//! - [`Gpu`]: a device, chosen by strait ([`Gpu::new`]) or the application's own ([`Gpu::adopt`]).
//! - [`Spec`]: what the model is, as plain data: its layers, its loss, and whatever else belongs to the objective.
//! - [`Training`]: how it is trained: epochs, batch, optimizer, schedule, seed.
//! - [`Session`]: a model in training. It reads rows ([`data`]), takes steps, reports, and goes on from checkpoints.
//! - [`Model`]: what comes of it: codes, reconstructions, scores and files, without anything for training.
//!
//! Beyond them: [`analysis`] looks at data and models, [`graph`] and [`train`] are for losses, penalties, kernels and runs of
//! one's own, and [`mod@reference`] checks their gradients. [`rbm`] has restricted Boltzmann machines, [`search`] looks
//! for the best spec and training.
//!
#![doc = include_str!("../README.md")]

/// Compiled with the documentation, like the README.
#[cfg(doctest)]
#[doc = include_str!("../ARCHITECTURE.md")]
mod architecture {}
/// Compiled with the documentation, like the README.
#[cfg(doctest)]
#[doc = include_str!("../CONTRIBUTING.md")]
mod contributing {}

pub mod analysis;
pub mod data;
mod error;
mod evaluator;
pub mod gpu;
pub mod graph;
pub mod inference;
#[doc(hidden)]
pub mod internals;
mod kernel;
pub mod model;
mod plan;
mod random;
pub mod rbm;
pub mod reference;
pub mod search;
mod state;
pub mod train;

/// The wgpu that strait is built on, so that a host shares the same version.
pub use ::wgpu;
pub use data::{Data, Source};
pub use error::{Error, Result};
pub use gpu::{AdapterSummary, Gpu, GpuOptions};
pub use inference::{Model, Weights};
pub use model::{Activation, Corruption, Curve, Init, Latent, Layer, Loss, Penalty, Precision, Ramp, Scaling, Spec};
pub use random::{Draw, fresh_seed};
pub use train::{
    Decay, EarlyStopping, Fit, Objective, Optimizer, Progress, Schedule, Session, Snapshot, Stop, Taken, Training,
    UpdateRamps,
};
