//! Models: the user's words for an autoencoder, and the functions that turn them into graphs.

mod activation;
mod corruption;
mod init;
mod loss;
mod network;
mod spec;

pub use activation::Activation;
pub use corruption::Corruption;
pub use init::Init;
pub use loss::Loss;
pub use network::{Network, Purpose};
pub use spec::{Layer, Scaling, Spec};
