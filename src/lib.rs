#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! Most applications need what is re-exported here: [`Gpu`], [`Spec`], [`Training`], [`Session`], [`Model`] and [`data`]. The other
//! modules are the engine, for those who build graphs of their own: [`graph`] (nodes and differentiation), [`plan`]
//! (from a graph to a recording), [`kernel`], [`gpu`], [`evaluator`] and [`mod@reference`]. Restricted Boltzmann machines are in [`rbm`].

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
pub mod evaluator;
pub mod gpu;
pub mod graph;
pub mod inference;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod random;
pub mod rbm;
pub mod reference;
pub mod state;
pub mod train;

pub use data::{Data, Source};
pub use error::{Error, Result};
pub use gpu::{AdapterSummary, Gpu, GpuOptions, wgpu};
pub use inference::{Model, Weights};
pub use model::{Activation, Corruption, Curve, Init, Latent, Layer, Loss, Penalty, Precision, Ramp, Scaling, Spec};
pub use train::{
    Decay, EarlyStopping, Fit, Objective, Optimizer, Progress, Schedule, Session, Snapshot, Stop, Taken, Training,
    UpdateRamps,
};
