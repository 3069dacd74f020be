//! Models: the user's words for an autoencoder, and the functions that turn them into graphs.

mod activation;
mod build;
mod check;
mod corruption;
mod init;
mod jacobian;
mod latent;
mod loss;
pub(crate) mod network;
mod own;
mod pairs;
mod part;
mod penalty;
mod ramp;
mod recirculation;
mod spec;
mod start;

pub use activation::Activation;
pub(crate) use check::WIDEST;
pub use corruption::Corruption;
pub use init::Init;
pub use jacobian::{Mapping, Method};
pub use latent::Latent;
pub use loss::{Decoded, Loss};
pub(crate) use network::Network;
pub use network::Purpose;
pub use own::{Meanings, Own, RowLoss, RowPenalty};
pub use part::Part;
pub use penalty::Penalty;
pub use ramp::{Curve, Ramp};
pub use spec::{Layer, Precision, Scaling, Spec, Supervised};
pub(crate) use start::{Start, Values};
