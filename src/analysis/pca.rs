//! Principal component analysis: the linear code that an undercomplete linear autoencoder ends in ("Deep Learning",
//! section 14.1). The Gram matrix is computed on the GPU, its small eigenproblem on the host in f64.

use nalgebra::{DMatrix, SymmetricEigen};

use crate::data::{Fixed, Source};
use crate::error::{Error, Result};
use crate::evaluator::Evaluator;
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Sink, Tensor};
use crate::state::State;

/// The leading principal components of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// The mean of each feature.
    pub mean: Vec<f64>,
    /// The leading eigenvalues of the covariance (divided by the number of rows), largest first.
    pub eigenvalues: Vec<f64>,
    /// Their eigenvectors, of length 1, one after the other.
    pub components: Vec<Vec<f64>>,
}

/// Rows that are multiplied on the GPU at a time: sums over more lose digits in f32, so the host adds up in f64.
const ROWS: usize = 256;

impl Pca {
    /// The `count` leading components of `data`.
    ///
    /// # Errors
    /// [`Error::Spec`] where `count` is 0 or more than the features; [`Error::Data`] where the source gives no rows or a
    /// value that is not finite; [`Error::Device`].
    pub fn fit(gpu: &Gpu, data: &dyn Source, count: usize) -> Result<Pca> {
        let data = &Fixed::new(data);
        let (rows, columns) = (data.rows(), data.columns());
        if count == 0 || count > columns {
            return Err(Error::spec("count", count, format!("1 to the {columns} features")));
        }
        if rows == 0 {
            return Err(Error::data(format!("{}: rows", data.name()), rows, "1 or more"));
        }
        let mut mean = vec![0.0f64; columns];
        let mut largest = 0.0f32;
        each_batch(data, |values| {
            for row in values.chunks(columns) {
                largest = row.iter().fold(largest, |l, v| l.max(v.abs()));
                mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
            }
            Ok(())
        })?;
        mean.iter_mut().for_each(|m| *m /= rows as f64);

        // Products of values beyond 1e19 leave the range of f32, small ones vanish: a power of two, which changes no digit,
        // brings the largest near 1.
        let scale = (-f64::from(largest).log2().floor().clamp(-126.0, 126.0)).exp2();
        let tensor = Tensor { name: "mean".into(), shape: Shape::fixed(&[columns]) };
        let mut g = Graph::new(vec![], vec![tensor]);
        let (x, m) = (g.input(0, columns), g.constant(0)?);
        let centred = g.map([x, m], |[x, m]| x * scale - m)?;
        let gram = g.matmul(centred, centred, true, false)?;
        g.sink(Sink::Output(0), gram);
        let evaluator = Evaluator::new(gpu, &g, ROWS.min(rows))?;
        evaluator.constants(&[mean.iter().map(|&m| (m * scale) as f32).collect()])?;
        let mut covariance = DMatrix::<f64>::zeros(columns, columns);
        each_batch(data, |values| {
            evaluator.input(0, values)?;
            evaluator.run(State::once(values.len() / columns, 0))?;
            let part = evaluator.sink(Sink::Output(0), values.len() / columns)?;
            covariance.iter_mut().zip(part).for_each(|(sum, v)| *sum += f64::from(v) / (rows as f64 * scale * scale));
            Ok(())
        })?;
        let SymmetricEigen { eigenvalues, eigenvectors } = covariance.symmetric_eigen();
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
        order.truncate(count);
        Ok(Pca {
            mean,
            eigenvalues: order.iter().map(|&i| eigenvalues[i]).collect(),
            components: order.iter().map(|&i| eigenvectors.column(i).iter().copied().collect()).collect(),
        })
    }

    /// The best linear reconstruction of a row: its projection on mean and components.
    ///
    /// # Errors
    /// [`Error::Data`] where the row has not as many values as the features.
    pub fn reconstruct(&self, row: &[f32]) -> Result<Vec<f64>> {
        let columns = self.columns()?;
        if row.len() != columns {
            return Err(Error::data(
                "row to reconstruct",
                format!("{} values", row.len()),
                format!("{columns} values"),
            ));
        }
        Ok(self.project(row))
    }

    fn project(&self, row: &[f32]) -> Vec<f64> {
        let mut out = self.mean.clone();
        for component in &self.components {
            let dot: f64 = component.iter().zip(row).zip(&self.mean).map(|((c, &v), m)| c * (f64::from(v) - m)).sum();
            out.iter_mut().zip(component).for_each(|(o, c)| *o += dot * c);
        }
        out
    }

    /// The squared error of the reconstructions of `data`, mean over features and rows.
    ///
    /// # Errors
    /// As [`Source::read`]; [`Error::Data`] where the columns differ.
    pub fn mse(&self, data: &dyn Source) -> Result<f64> {
        let (data, columns) = (&Fixed::new(data), self.columns()?);
        if columns != data.columns() {
            return Err(Error::data(format!("{}: columns", data.name()), data.columns(), columns.to_string()));
        }
        let mut sum = 0.0;
        each_batch(data, |values| {
            for row in values.chunks(columns) {
                let error = |(r, &v): (f64, &f32)| (r - f64::from(v)).powi(2);
                sum += self.project(row).into_iter().zip(row).map(error).sum::<f64>();
            }
            Ok(())
        })?;
        Ok(sum / (data.rows() * columns) as f64)
    }

    /// The features: as many values in the mean as in every component, of which there is at least one.
    fn columns(&self) -> Result<usize> {
        let columns = self.mean.len();
        let fits = |c: &Vec<f64>| c.len() == columns && c.iter().all(|v| v.is_finite());
        if columns == 0 || self.components.is_empty() || !self.components.iter().all(fits) {
            let found = format!("{} that do not fit {columns} features", self.components.len());
            return Err(Error::data("components", found, "one or more, each with a finite number for every feature"));
        }
        Ok(columns)
    }

    /// The largest angle, in radians, between the space of the components and the one that `vectors` span: 0 where
    /// they are the same.
    ///
    /// # Errors
    /// [`Error::Data`] where there are not as many vectors as components, of as many features, all finite.
    pub fn largest_angle(&self, vectors: &[Vec<f64>]) -> Result<f64> {
        let (count, columns) = (self.components.len(), self.columns()?);
        if let Some(bad) = vectors.iter().flatten().find(|v| !v.is_finite()) {
            return Err(Error::data("vectors to compare with", bad, "finite numbers"));
        }
        if vectors.len() != count || vectors.iter().any(|v| v.len() != columns) {
            let found = format!("{} vectors", vectors.len());
            return Err(Error::data("vectors to compare with", found, format!("{count} of {columns} values")));
        }
        let basis = DMatrix::from_fn(columns, count, |r, c| vectors[c][r]).qr().q();
        let own = DMatrix::from_fn(columns, count, |r, c| self.components[c][r]);
        // The sine by what the projection leaves over: the cosine alone loses small angles.
        let left = &basis - &own * (own.transpose() * &basis);
        Ok(left.singular_values().max().min(1.0).asin())
    }
}

fn each_batch(data: &dyn Source, mut see: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
    let columns = data.columns();
    let mut values = vec![0.0f32; ROWS.min(data.rows()) * columns];
    for first in (0..data.rows()).step_by(ROWS) {
        let part = &mut values[..ROWS.min(data.rows() - first) * columns];
        data.read(first, part)?;
        if let Some(bad) = part.iter().find(|v| !v.is_finite()) {
            return Err(Error::data(format!("{}: rows from {first} on", data.name()), bad, "finite numbers"));
        }
        see(part)?;
    }
    Ok(())
}
