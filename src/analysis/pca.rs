//! Principal component analysis: the linear code that an undercomplete linear autoencoder ends in ("Deep Learning",
//! section 14.1). The Gram matrix is computed on the GPU, its small eigenproblem on the host in f64.

use std::sync::mpsc::{channel, sync_channel};

use nalgebra::DMatrix;

use super::eigen::{dot, leading, normalise};
use crate::data::{Data, Fixed, Source, without_weights};
use crate::error::{Error, Result};
use crate::evaluator::Evaluator;
use crate::gpu::Gpu;
use crate::graph::{Graph, Sink};
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

/// Columns of a part of the Gram matrix, at least, and the most parts there are.
const PART: usize = 192;
const PARTS: usize = 6;

impl Pca {
    /// The `count` leading components of `data`. Rows that are fewer than the features are held in memory; of others there
    /// is a matrix of features by features instead.
    ///
    /// # Errors
    /// [`Error::Spec`] where `count` is 0 or more than the features; [`Error::Data`] where the source gives no rows, a
    /// value that is not finite, or rows with weights; [`Error::Device`].
    pub fn fit(gpu: &Gpu, data: &dyn Source, count: usize) -> Result<Pca> {
        let data = &Fixed::new(data);
        without_weights(data)?;
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
        let (mut eigenvalues, components) = match rows < columns {
            true => of_few_rows(gpu, data, &mean, scale, count)?,
            false => leading(&mut gram(gpu, data, &mean, scale)?, columns, count),
        };
        eigenvalues.iter_mut().for_each(|v| *v /= rows as f64 * scale * scale);
        Ok(Pca { mean, eigenvalues, components })
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
    /// As [`Source::read`]; [`Error::Data`] where the columns differ, or rows have weights.
    pub fn mse(&self, data: &dyn Source) -> Result<f64> {
        let (data, columns) = (&Fixed::new(data), self.columns()?);
        without_weights(data)?;
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

/// The leading eigenvalues and eigenvectors of X'X, X being the centred rows times `scale`, where there are fewer rows
/// than columns: those of XX', which is the smaller matrix, say as much. Where XX' u = λ u, X'u is an eigenvector of
/// X'X with the same λ (Turk and Pentland, "Eigenfaces for recognition", 1991).
fn of_few_rows(
    gpu: &Gpu,
    data: &dyn Source,
    mean: &[f64],
    scale: f64,
    count: usize,
) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let (rows, columns) = (data.rows(), data.columns());
    // X', row-major.
    let mut turned: Vec<f32> = Vec::new();
    let size = rows.checked_mul(columns).filter(|&size| turned.try_reserve_exact(size).is_ok());
    let too_many = || Error::data(data.name(), format!("{rows} x {columns} values"), "as many as fit in memory");
    turned.resize(size.ok_or_else(too_many)?, 0.0);
    let mut row = 0;
    each_batch(data, |values| {
        for values in values.chunks(columns) {
            for (column, (&v, m)) in values.iter().zip(mean).enumerate() {
                turned[column * rows + row] = ((f64::from(v) - m) * scale) as f32;
            }
            row += 1;
        }
        Ok(())
    })?;
    let turned = Data::from_rows(rows, turned)?;
    let mut products = gram(gpu, &turned, &vec![0.0; rows], 1.0)?;
    let (values, vectors) = leading(&mut products, rows, count.min(rows));
    // No eigenvalue is below 0, and those that XX' does not have are 0.
    let mut eigenvalues: Vec<f64> = values.into_iter().map(|v| v.max(0.0)).collect();
    eigenvalues.resize(count, 0.0);
    let mut components: Vec<Vec<f64>> = Vec::with_capacity(count);
    for vector in vectors {
        let along = |row: &[f32]| row.iter().zip(&vector).map(|(&v, u)| f64::from(v) * u).sum();
        components.extend(beside(turned.values().chunks(rows).map(along).collect(), &components));
    }
    // Where X has no more directions, any do.
    let mut axes = 0..columns;
    while let (true, Some(axis)) = (components.len() < count, axes.next()) {
        let unit = (0..columns).map(|i| f64::from(u8::from(i == axis))).collect();
        components.extend(beside(unit, &components));
    }
    Ok((eigenvalues, components))
}

/// What a vector has that is orthogonal to all of `others`, which are so to each other, at length 1; nothing where that
/// is no more than rounding leaves.
fn beside(mut vector: Vec<f64>, others: &[Vec<f64>]) -> Option<Vec<f64>> {
    // What the first time rounds away is gone after the second, unless hardly anything is left.
    for _ in 0..3 {
        normalise(&mut vector)?;
        for other in others {
            let along = dot(other, &vector);
            vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
        }
        if dot(&vector, &vector) > 0.5 {
            normalise(&mut vector)?;
            return Some(vector);
        }
    }
    None
}

/// Σ (x − mean)(x − mean)' over all rows, times scale²: row-major, right only on and below the diagonal, since the rest is
/// the same once more.
///
/// The GPU multiplies one batch while the host reads, centres and adds up others.
fn gram(gpu: &Gpu, data: &dyn Source, mean: &[f64], scale: f64) -> Result<Vec<f64>> {
    let columns = mean.len();
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, columns);
    // Row blocks of the lower triangle: a part of the columns by all up to its end.
    let part = PART.max(columns.div_ceil(PARTS));
    let firsts: Vec<usize> = (0..columns).step_by(part).collect();
    for (i, &first) in firsts.iter().enumerate() {
        let end = columns.min(first + part);
        let (rows, up_to) = (g.slice(x, first, end - first)?, g.slice(x, 0, end)?);
        let block = g.matmul(rows, up_to, true, false)?;
        g.sink(Sink::Output(i), block);
    }
    let evaluator = Evaluator::new(gpu, &g, ROWS.min(data.rows()))?;
    let multiply = |batch: Vec<f32>| -> Result<Vec<Vec<f32>>> {
        let rows = batch.len() / columns;
        evaluator.input(0, &batch)?;
        evaluator.run(State::once(rows, 0))?;
        (0..firsts.len()).map(|i| evaluator.sink(Sink::Output(i), rows)).collect()
    };
    let mut sum = vec![0.0f64; columns * columns];
    let mut add = |blocks: Result<Vec<Vec<f32>>>| -> Result<()> {
        for (block, first) in blocks?.iter().zip(&firsts) {
            let width = columns.min(first + part);
            for (row, values) in block.chunks(width).enumerate() {
                let sums = &mut sum[(first + row) * columns..][..width];
                sums.iter_mut().zip(values).for_each(|(sum, &v)| *sum += f64::from(v));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let (give, batches) = sync_channel::<Vec<f32>>(1);
        let (done, products) = channel();
        // It ends when no more batches come, also where reading fails.
        scope.spawn(move || batches.into_iter().try_for_each(|batch| done.send(multiply(batch))));
        each_batch(data, |values| {
            let centred = |row: &[f32]| {
                let each = row.iter().zip(mean).map(|(&v, m)| ((f64::from(v) - m) * scale) as f32);
                each.collect::<Vec<f32>>()
            };
            // Where nobody takes it any more, what was wrong is among the products.
            let _ = give.send(values.chunks(columns).flat_map(centred).collect());
            products.try_iter().try_for_each(&mut add)
        })?;
        drop(give);
        products.iter().try_for_each(&mut add)
    })?;
    Ok(sum)
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
