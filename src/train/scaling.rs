//! What is learned about data before it trains on it: the scaling of the input, the range of its values; and
//! whether the data is what the loss needs.

use super::feed::scan;
use super::progress::Told;
use crate::data::{Check, Source};
use crate::error::{Error, Result};
use crate::gpu::Wait;
use crate::graph::Tensor;
use crate::model::{Corruption, Loss, Network, Scaling};

/// How far a value may be out of a range: room for rounding.
const EDGE: f32 = 1e-6;

/// Whether a value is outside a range, or no number.
fn is_outside(value: f32, [low, high]: [f32; 2]) -> bool {
    !(low - EDGE..=high + EDGE).contains(&value)
}

/// Fails where a value of a source is outside the range that a phase allows.
pub(super) async fn check_phase_range(
    source: &dyn Source,
    phase: &str,
    range: [f32; 2],
    how: Wait,
    told: Told<'_>,
) -> Result<()> {
    let columns = source.columns();
    scan(source, how, told, |first, values| match values.iter().position(|&value| is_outside(value, range)) {
        None => Ok(()),
        Some(at) => {
            let place = format!("{}: row {}, column {}", source.name(), first + at / columns, at % columns);
            let [low, high] = range;
            Err(Error::data(place, values[at], format!("{low} to {high} in the phase {phase:?}")))
        }
    })
    .await
}

/// How far the sum of a block of probabilities may be from 1: room for rounding, and for quotients with few digits.
const SUM: f64 = 1e-4;

/// The frozen tensors of a network, learned from the training rows.
pub(super) async fn learn_constants(
    network: &Network,
    source: &dyn Source,
    how: Wait,
    told: Told<'_>,
) -> Result<Vec<Vec<f32>>> {
    // Labels may follow the features, and a weight.
    let (stride, columns) = (source.columns(), network.spec().input);
    let (mut low, mut high) = (vec![f32::INFINITY; columns], vec![f32::NEG_INFINITY; columns]);
    let (mut sum, mut square) = (vec![0.0f64; columns], vec![0.0f64; columns]);
    let mut first: Vec<f32> = Vec::new();
    scan(source, how, told, |_, values| {
        if first.is_empty() {
            first = values[..columns].to_vec();
        }
        for (i, &v) in values.iter().enumerate() {
            let c = i % stride;
            if c >= columns {
                continue;
            }
            // Sums of differences from the first row do not cancel where the mean is large.
            let d = f64::from(v) - f64::from(first[c]);
            (low[c], high[c]) = (low[c].min(v), high[c].max(v));
            (sum[c], square[c]) = (sum[c] + d, square[c] + d * d);
        }
        Ok(())
    })
    .await?;
    let rows = source.rows() as f64;
    let (mut shift, mut scale) = (Vec::with_capacity(columns), Vec::with_capacity(columns));
    for c in 0..columns {
        let (start, width) = match network.spec().scaling {
            Scaling::None => (0.0, 1.0),
            Scaling::Standardise => {
                let mean = sum[c] / rows;
                let deviation = (square[c] / rows - mean * mean).max(0.0).sqrt();
                (f64::from(first[c]) + mean, deviation)
            }
            Scaling::Unit => (f64::from(low[c]), f64::from(high[c]) - f64::from(low[c])),
        };
        // What is constant here may differ later, and that must count.
        let width = if high[c] > low[c] { width } else { 1.0 };
        let inverse = (1.0 / width) as f32;
        if !inverse.is_normal() {
            let allowed = "a spread whose inverse f32 can hold, or none";
            return Err(Error::data(format!("{}: spread of column {c}", source.name()), width, allowed));
        }
        shift.push(start as f32);
        scale.push(inverse);
    }
    let scaled = |values: &[f32]| -> Vec<f32> { (0..columns).map(|c| (values[c] - shift[c]) * scale[c]).collect() };
    let (low, high) = (scaled(&low), scaled(&high));
    let each = |tensor: &Tensor| match (tensor.name.as_str(), &network.spec().corruption) {
        ("input.shift", _) => Ok(shift.clone()),
        ("input.scale", _) => Ok(scale.clone()),
        ("input.low", _) => Ok(vec![low.iter().copied().fold(f32::INFINITY, f32::min)]),
        ("input.high", _) => Ok(vec![high.iter().copied().fold(f32::NEG_INFINITY, f32::max)]),
        ("input.keep", Corruption::Missing { keep }) => Ok(keep.iter().map(|&k| f32::from(u8::from(k))).collect()),
        (name, _) => Err(Error::Internal(format!("nothing to learn {name} from"))),
    };
    network.constants().iter().map(each).collect()
}

/// Fails where a scaled value to train on is outside what the loss takes, or a block of a softmax loss is no
/// distribution.
pub(super) async fn check_range(
    network: &Network,
    source: &dyn Source,
    constants: &[Vec<f32>],
    how: Wait,
    told: Told<'_>,
) -> Result<()> {
    if !network.spec().loss.range().0.is_finite() {
        return Ok(());
    }
    let check =
        |first, values: &[f32]| check_values(network, source.name(), source.columns(), first, values, constants);
    scan(source, how, told, check).await
}

/// Fails where a row's label columns are not 1 at one class and 0 at the others.
pub(super) async fn check_labels(network: &Network, source: &dyn Source, how: Wait, told: Told<'_>) -> Result<()> {
    if network.data_columns() == network.spec().input {
        return Ok(());
    }
    let check = |first, values: &[f32]| check_label_rows(network, source.name(), source.columns(), first, values);
    scan(source, how, told, check).await
}

/// As [`check_labels`], of rows of `stride` values that start at row `first`.
pub(super) fn check_label_rows(
    network: &Network,
    name: &str,
    stride: usize,
    first: usize,
    values: &[f32],
) -> Result<()> {
    // A weight may follow the label.
    let (features, end) = (network.spec().input, network.data_columns());
    if end == features {
        return Ok(());
    }
    for (i, row) in values.chunks(stride).enumerate() {
        let label = &row[features..end];
        let ones = label.iter().filter(|&&v| v == 1.0).count();
        if ones != 1 || label.iter().any(|&v| v != 0.0 && v != 1.0) {
            let place = format!("{name}: label columns of row {}", first + i);
            let found = label.iter().take(4).map(f32::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::data(place, found, "1 at one class, 0 at the others (Data::labelled)"));
        }
    }
    Ok(())
}

/// Fails where a row's weight is none, or all are 0: of rows that end with their weight.
pub(super) async fn check_weights(source: &dyn Source, live: bool, how: Wait, told: Told<'_>) -> Result<()> {
    let (stride, mut check) = (source.columns(), Check::default());
    match source.has_weight(0..source.rows()) {
        Some(true) => return Ok(()),
        Some(false) => return check.end(source.name()),
        None => {}
    }
    scan(source, how, told, |first, values| {
        let weights = values.chunks(stride).map(|row| row[stride - 1]);
        weights.enumerate().try_for_each(|(i, weight)| check.see(source.name(), first + i, weight))
    })
    .await?;
    // Rows of a ring may get weights later.
    if live { Ok(()) } else { check.end(source.name()) }
}

/// As [`check_range`], of rows of `stride` values that start at row `first`.
fn check_values(
    network: &Network,
    name: &str,
    stride: usize,
    first: usize,
    values: &[f32],
    constants: &[Vec<f32>],
) -> Result<()> {
    let spec = network.spec();
    let (low, high) = spec.loss.range();
    let range = [low as f32, high as f32];
    let scaling = if spec.scaling == Scaling::None { None } else { constants.first().zip(constants.get(1)) };
    for (i, row) in values.chunks(stride).enumerate() {
        let mut row = row[..spec.input.min(row.len())].to_vec();
        for (c, v) in row.iter_mut().enumerate() {
            *v = scaling.map_or(*v, |(shift, scale)| (*v - shift[c]) * scale[c]);
            if is_outside(*v, range) {
                let place = format!("{name}: row {}, column {c}", first + i);
                let allowed = format!("0 to 1 for a {} loss (scaling: unit helps)", spec.loss.name());
                return Err(Error::data(place, *v, allowed));
            }
        }
        let Loss::Softmax { classes } = spec.loss else { continue };
        for (b, block) in row.chunks(classes).enumerate() {
            let sum: f64 = block.iter().map(|&v| f64::from(v)).sum();
            if (sum - 1.0).abs() > SUM {
                let columns = format!("columns {} to {}", b * classes, (b + 1) * classes - 1);
                let place = format!("{name}: row {}, block {b} ({columns})", first + i);
                let allowed = format!("a sum of 1 within {SUM}: a softmax loss needs probabilities of classes");
                return Err(Error::data(place, format!("a sum of {sum:?}"), allowed));
            }
        }
    }
    Ok(())
}
