//! Looking at data and models: principal components to compare with, Jacobians and their spectra, nearest neighbours
//! and the manifolds they trace, sampling, inputs that are reconstructed badly.

mod eigen;
mod jacobian;
mod manifold;
mod neighbours;
mod pca;
mod sampling;
mod worst;

pub use jacobian::{Spectrum, saturation};
pub use manifold::{ManifoldParzen, Patch};
pub use neighbours::Neighbours;
pub use pca::Pca;
pub use sampling::{Chain, Sampler};
