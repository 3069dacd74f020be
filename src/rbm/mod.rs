//! Restricted Boltzmann machines: learned by contrastive divergence as a run of the trainer, used and kept as the tied
//! autoencoders that they are.

mod machine;
mod nodes;
mod stack;
mod training;
mod using;

pub use machine::{Gibbs, Rbm, Units};
pub use stack::{Pretraining, pretrain};
pub use using::FreeEnergies;
