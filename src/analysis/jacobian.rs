//! Jacobians of a trained model at given rows, and what they say: singular values, and the tangents of the manifold
//! that the model learned ("Deep Learning", section 14.6).

use nalgebra::{DMatrix, SVD};

use crate::error::Result;
use crate::inference::Model;
use crate::model::{Mapping, Purpose};

/// A Jacobian's singular values, largest first, and its right singular vectors, which lie in the input's space.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// The singular values, largest first: below 1 the map contracts.
    pub values: Vec<f64>,
    /// The directions of the input that belong to them, of length 1.
    pub tangents: Vec<Vec<f64>>,
}

impl Spectrum {
    /// Of a matrix with `columns` columns, row-major, as [`Model::jacobian`] gives one for each row.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where the values are no whole rows.
    pub fn of(jacobian: &[f32], columns: usize) -> Result<Spectrum> {
        if columns == 0 || jacobian.is_empty() || !jacobian.len().is_multiple_of(columns) {
            let found = format!("{} values", jacobian.len());
            return Err(crate::Error::data(
                "Jacobian",
                found,
                format!("whole rows of {columns} columns, at least one"),
            ));
        }
        if let Some(at) = jacobian.iter().position(|v| !v.is_finite()) {
            let place = format!("Jacobian: row {}, column {}", at / columns, at % columns);
            return Err(crate::Error::data(place, jacobian[at], "a finite number"));
        }
        let wide: Vec<f64> = jacobian.iter().map(|&v| v.into()).collect();
        Ok(Spectrum::of_matrix(&wide, columns))
    }

    /// Of whole rows of `columns` columns.
    pub(super) fn of_matrix(rows: &[f64], columns: usize) -> Spectrum {
        let matrix = DMatrix::from_row_slice(rows.len() / columns, columns, rows);
        let SVD { singular_values, v_t, .. } = matrix.svd(false, true);
        let mut order: Vec<usize> = (0..singular_values.len()).collect();
        order.sort_by(|&a, &b| singular_values[b].total_cmp(&singular_values[a]));
        let tangent = |&i: &usize| v_t.as_ref().map_or(vec![], |v| v.row(i).iter().copied().collect());
        Spectrum {
            values: order.iter().map(|&i| singular_values[i]).collect(),
            tangents: order.iter().map(tangent).collect(),
        }
    }

    /// The share of singular values below 1: directions in which the map contracts.
    pub fn contracting(&self) -> f64 {
        self.values.iter().filter(|&&v| v < 1.0).count() as f64 / self.values.len().max(1) as f64
    }
}

/// The share of codes, of units with values between 0 and 1, that are no further than `margin` from 0 or from 1: units
/// that are saturated, so that small changes of the input do not move them. 0 of no codes.
pub fn saturation(codes: &[f32], margin: f32) -> f64 {
    codes.iter().filter(|&&h| h <= margin || h >= 1.0 - margin).count() as f64 / codes.len().max(1) as f64
}

impl Model {
    /// The Jacobian at each row by the scaled input: of the code, `[code, input]`, or of the reconstruction in scaled
    /// units, `[input, input]`; one after the other, row-major.
    ///
    /// # Errors
    /// As [`Model::encode`]; [`crate::Error::Spec`] for [`Mapping::Layers`], which is no single map.
    pub fn jacobian(&self, rows: &[f32], of: Mapping) -> Result<Vec<f32>> {
        match of {
            Mapping::Encoder => self.infer(Purpose::EncoderJacobian, rows),
            Mapping::Reconstruction => self.infer(Purpose::ReconstructionJacobian, rows),
            Mapping::Layers => Err(crate::Error::spec("of", "layers", "encoder or reconstruction")),
        }
    }

    /// Singular values and tangents of the encoder at each row.
    ///
    /// # Errors
    /// As [`Model::jacobian`].
    pub fn spectra(&self, rows: &[f32]) -> Result<Vec<Spectrum>> {
        let (input, code) = (self.spec().input, self.spec().code());
        let jacobians = self.jacobian(rows, Mapping::Encoder)?;
        jacobians.chunks(code * input).map(|jacobian| Spectrum::of(jacobian, input)).collect()
    }
}
