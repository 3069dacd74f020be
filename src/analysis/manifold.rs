//! Manifolds without a model: tangent planes by local principal components, and the density that these tiles make up
//! ("Deep Learning", section 14.6): what a learned manifold is compared with.

use std::f64::consts::TAU;

use super::{Neighbours, Spectrum};
use crate::data::Data;
use crate::error::{Error, Result, positive};
use crate::gpu::Gpu;

/// A tile of a manifold: the principal components of a point's neighbours about that point.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// The point.
    pub centre: Vec<f64>,
    /// The mean of the squared offsets of the neighbours from the point along each tangent, largest first.
    pub variances: Vec<f64>,
    /// Directions of length 1, orthogonal to each other.
    pub tangents: Vec<Vec<f64>>,
}

impl Patch {
    /// The `dimensions` leading tangents at each of `points`, from their neighbours in `data`: the eigenvectors of
    /// (1/k) Σ_j (x_j − x)(x_j − x)' over the k neighbours x_j of x.
    ///
    /// # Errors
    /// [`Error::Spec`] where there are fewer neighbours or features than dimensions; [`Error::Data`] where the
    /// neighbours are not those of `points` in `data`.
    pub fn tile(data: &Data, points: &Data, neighbours: &Neighbours, dimensions: usize) -> Result<Vec<Patch>> {
        let columns = data.columns();
        let most = neighbours.count().min(columns);
        if dimensions > most {
            return Err(Error::spec("dimensions", dimensions, format!("at most {most}, of neighbours and features")));
        }
        if neighbours.points() != points.rows() || points.columns() != columns {
            let (found, of) = (format!("{} points", neighbours.points()), points.rows());
            return Err(Error::data("neighbours", found, format!("those of {of} points of {columns} features")));
        }
        let patch = |(i, point): (usize, &[f32])| {
            let mut offsets = Vec::with_capacity(neighbours.count() * columns);
            for &j in neighbours.of(i) {
                let allowed = || Error::data("neighbours", format!("row {j}"), format!("0 to {}", data.rows() - 1));
                let row = data.row(j).ok_or_else(allowed)?;
                offsets.extend(row.iter().zip(point).map(|(&a, &b)| f64::from(a) - f64::from(b)));
            }
            let Spectrum { values, tangents } = Spectrum::of_matrix(&offsets, columns);
            let variance = |s: &f64| s * s / neighbours.count() as f64;
            Ok(Patch {
                centre: point.iter().map(|&v| v.into()).collect(),
                variances: values.iter().take(dimensions).map(variance).collect(),
                tangents: tangents.into_iter().take(dimensions).collect(),
            })
        };
        points.values().chunks(columns).enumerate().map(patch).collect()
    }
}

/// Manifold Parzen windows (Vincent and Bengio, 2003): the mean of normal densities, one at each row of the data, whose
/// covariances Σ_j v_j λ_j v_j' + σ² I are long along the tangents v_j at that row. With no dimensions it is the
/// ordinary Parzen estimate, of one width σ.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifoldParzen {
    patches: Vec<Patch>,
    variance: f64,
}

impl ManifoldParzen {
    /// From the rows of `data`: the `dimensions` leading local components among the `count` nearest neighbours of each,
    /// and the standard deviation `sigma` in every direction, in units of the data.
    ///
    /// # Errors
    /// As [`Neighbours::graph`] and [`Patch::tile`]; [`Error::Spec`] where `sigma` is not above 0.
    pub fn fit(gpu: &Gpu, data: &Data, count: usize, dimensions: usize, sigma: f64) -> Result<ManifoldParzen> {
        positive("sigma", sigma)?;
        let neighbours = Neighbours::graph(gpu, data, count)?;
        Ok(ManifoldParzen { patches: Patch::tile(data, data, &neighbours, dimensions)?, variance: sigma * sigma })
    }

    /// The tiles, one at each row of the data.
    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// The logarithm of the density at each row (row-major), computed in f64 on the host: as many normal densities for
    /// each as the data had rows.
    ///
    /// # Errors
    /// [`Error::Data`] where the values are no whole rows or not finite.
    pub fn log_density(&self, rows: &[f32]) -> Result<Vec<f64>> {
        let columns = self.patches.first().map_or(0, |patch| patch.centre.len());
        if columns == 0 || !rows.len().is_multiple_of(columns) {
            let found = format!("{} values", rows.len());
            return Err(Error::data("rows", found, format!("whole rows of {columns} features")));
        }
        if let Some(bad) = rows.iter().find(|v| !v.is_finite()) {
            return Err(Error::data("rows", bad, "finite numbers"));
        }
        let normalisers: Vec<f64> = self.patches.iter().map(|patch| self.log_normaliser(patch)).collect();
        let mut logs = vec![0.0; self.patches.len()];
        let each = |row: &[f32]| {
            for ((log, patch), normaliser) in logs.iter_mut().zip(&self.patches).zip(&normalisers) {
                *log = -normaliser - 0.5 * self.squared_distance(patch, row);
            }
            // The sum relative to the largest, so that none is lost.
            let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
            largest + (sum / logs.len() as f64).ln()
        };
        Ok(rows.chunks(columns).map(each).collect())
    }

    /// ½ log of the determinant of 2π times the covariance.
    fn log_normaliser(&self, patch: &Patch) -> f64 {
        let along: f64 = patch.variances.iter().map(|v| (TAU * (v + self.variance)).ln()).sum();
        let across = (patch.centre.len() - patch.variances.len()) as f64 * (TAU * self.variance).ln();
        0.5 * (along + across)
    }

    /// The squared Mahalanobis distance.
    fn squared_distance(&self, patch: &Patch, row: &[f32]) -> f64 {
        let offset: Vec<f64> = row.iter().zip(&patch.centre).map(|(&x, c)| f64::from(x) - c).collect();
        let mut left: f64 = offset.iter().map(|o| o * o).sum();
        let mut distance = 0.0;
        for (tangent, variance) in patch.tangents.iter().zip(&patch.variances) {
            let along = tangent.iter().zip(&offset).map(|(t, o)| t * o).sum::<f64>().powi(2);
            left -= along;
            distance += along / (variance + self.variance);
        }
        distance + left.max(0.0) / self.variance
    }
}
