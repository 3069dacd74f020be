//! What the oracles share: made data, and small linear algebra in f64.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use strait::Draw;

/// Values as a matrix with `columns` columns, row by row.
pub fn matrix<T: Copy + Into<f64>>(values: &[T], columns: usize) -> DMatrix<f64> {
    DMatrix::from_row_iterator(values.len() / columns, columns, values.iter().map(|&v| v.into()))
}

/// The values of a matrix row by row.
pub fn values(m: &DMatrix<f64>) -> Vec<f64> {
    m.transpose().iter().copied().collect()
}

/// A matrix as f32 holds it: what the GPU is given.
pub fn rounded(m: &DMatrix<f64>) -> DMatrix<f64> {
    m.map(|v| f64::from(v as f32))
}

/// f64 values as the GPU takes them.
pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// f32 values as the oracles take them.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// `rows` x `columns` standard normal values, the same for the same seed and stream.
pub fn normal(rows: usize, columns: usize, seed: u64, stream: u32) -> DMatrix<f64> {
    let draw = Draw { seed, stream, step: 0 };
    DMatrix::from_fn(rows, columns, |r, c| draw.normal(r, c))
}

/// `rows` x `columns` values, uniform between `low` and `high`, the same for the same seed and stream.
pub fn uniform(rows: usize, columns: usize, (low, high): (f64, f64), seed: u64, stream: u32) -> DMatrix<f64> {
    let draw = Draw { seed, stream, step: 0 };
    DMatrix::from_fn(rows, columns, |r, c| low + (high - low) * draw.uniform(r, c))
}

/// A random matrix with orthonormal columns.
pub fn orthonormal(rows: usize, columns: usize, seed: u64, stream: u32) -> DMatrix<f64> {
    normal(rows, columns, seed, stream).qr().q()
}

/// `rows` rows of mean 0 whose covariance has exactly these eigenvalues, along random axes.
pub fn with_spectrum(rows: usize, eigenvalues: &[f64], seed: u64, stream: u32) -> DMatrix<f64> {
    let count = eigenvalues.len();
    let white = centred(&normal(rows, count, seed, stream)).qr().q() * (rows as f64).sqrt();
    let axes = orthonormal(count, count, seed, stream + 1);
    let deviations: Vec<f64> = eigenvalues.iter().map(|e| e.sqrt()).collect();
    white * diagonal(&deviations) * axes.transpose()
}

/// The mean of each column.
pub fn means(x: &DMatrix<f64>) -> DVector<f64> {
    x.row_mean().transpose()
}

/// The data with every column's mean taken off.
pub fn centred(x: &DMatrix<f64>) -> DMatrix<f64> {
    let mean = x.row_mean();
    DMatrix::from_fn(x.nrows(), x.ncols(), |r, c| x[(r, c)] - mean[c])
}

/// The covariance of the columns, divided by the number of rows.
pub fn covariance(x: &DMatrix<f64>) -> DMatrix<f64> {
    let centred = centred(x);
    centred.transpose() * &centred / x.nrows() as f64
}

/// Eigenvalues of a symmetric matrix, largest first, and their eigenvectors as columns.
pub fn eigen(m: &DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let SymmetricEigen { eigenvalues, eigenvectors } = m.clone().symmetric_eigen();
    let mut order: Vec<usize> = (0..m.nrows()).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    let vectors = DMatrix::from_fn(m.nrows(), m.ncols(), |r, c| eigenvectors[(r, order[c])]);
    (order.iter().map(|&i| eigenvalues[i]).collect(), vectors)
}

/// Singular values, largest first.
pub fn singular_values(m: &DMatrix<f64>) -> Vec<f64> {
    let mut found: Vec<f64> = m.singular_values().iter().copied().collect();
    found.sort_by(|a, b| b.total_cmp(a));
    found
}

/// The largest principal angle, in radians, between the spaces that the columns of `a` and of `b` span.
pub fn largest_angle(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let (a, b) = (a.clone().qr().q(), b.clone().qr().q());
    // By the sine, from what the projection leaves over: the cosine loses small angles.
    let left = &b - &a * (a.transpose() * &b);
    left.singular_values().max().min(1.0).asin()
}

/// The matrix whose diagonal this is.
pub fn diagonal(values: &[f64]) -> DMatrix<f64> {
    DMatrix::from_diagonal(&DVector::from_column_slice(values))
}

/// The largest magnitude.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}
