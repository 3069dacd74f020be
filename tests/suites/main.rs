//! Every suite in one program: it links the library once, and copied to another machine it runs there as it is, since
//! its fixtures are part of it. `cargo test parity::` runs one suite.

mod common;

mod accuracy;
mod activations;
mod beside;
mod checkpoint;
mod compilers;
mod contraction;
mod cotangents;
mod data;
mod documents;
mod endurance;
mod expressions;
mod golden;
mod gradients;
mod graph;
mod half;
mod hostile;
mod kernels;
mod lowered;
mod manifold;
mod model;
mod nan;
mod noop;
mod outliers;
mod parity;
mod pca;
mod plan;
mod planning;
mod pytorch;
mod random;
mod readback;
mod sampling;
mod saving;
mod sets;
mod sums;
mod systems;
mod texts;
mod theory;
mod training;
mod translate;
mod tuning;
mod updates;
mod weights;
mod what_this_device_lacks;
