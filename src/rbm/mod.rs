//! Restricted Boltzmann machines: learned by contrastive divergence as a run of the trainer, used and kept as the tied
//! autoencoders that they are.

mod machine;
mod nodes;
mod training;
mod using;

pub use machine::{Gibbs, Rbm, Units};
