//! Looking at data and models: principal components, to compare with.

mod pca;

pub use pca::Pca;
