#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! Most applications need what is re-exported here: [`Gpu`], [`Spec`], [`Training`], [`Session`], [`Model`] and [`data`]. The other
//! modules are the engine, for those who build graphs of their own: [`graph`] (nodes and differentiation), [`plan`]
//! (from a graph to a recording), [`kernel`], [`gpu`], [`evaluator`] and [`mod@reference`].

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
pub mod error;
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
pub mod reference;
mod state;
pub mod train;

pub use data::{Data, Source};
pub use error::{Error, Result};
pub use gpu::{AdapterSummary, Gpu, GpuOptions, wgpu};
pub use inference::{Model, Weights};
pub use model::{Activation, Corruption, Curve, Init, Latent, Layer, Loss, Penalty, Precision, Ramp, Scaling, Spec};
pub use random::{Draw, fresh_seed};
pub use train::{
    Decay, EarlyStopping, Fit, Objective, Optimizer, Progress, Schedule, Session, Snapshot, Stop, Taken, Training,
    UpdateRamps,
};
