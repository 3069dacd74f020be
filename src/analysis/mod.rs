//! Looking at data and models: principal components to compare with, Jacobians and their spectra, sampling.

mod jacobian;
mod pca;
mod sampling;

pub use jacobian::Spectrum;
pub use pca::Pca;
pub use sampling::{Chain, Sampler};
