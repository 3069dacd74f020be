//! Rows 31 to 33: what Jacobians say of a point, tangents, and manifolds without a model.

use std::f64::consts::{PI, TAU};

use nalgebra::{DMatrix, DVector};
use strait::analysis::{ManifoldParzen, Neighbours, Patch, Spectrum, saturation};
use strait::model::{Mapping, Method};
use strait::{Activation, Data, Decay, Gpu, Loss, Penalty, Schedule, Session, Spec, Training, data};

use super::check::Check;
use super::contractive::layered;
use super::device::{self, solve};
use super::jacobians::{Layers, random_params};
use super::linear::{
    diagonal, eigen, largest, largest_angle, matrix, narrow, normal, orthonormal, rounded, singular_values, values,
    with_spectrum,
};
use super::outcome::Outcome;

fn contracted(spec: Spec, weight: f64) -> Spec {
    spec.penalty(Penalty::Contractive { weight, of: Mapping::Encoder, method: Method::Auto })
}

/// A session with these parameters.
fn session(gpu: &Gpu, spec: &Spec, params: &[Vec<f64>]) -> Outcome<Session> {
    let mut session = Session::new(gpu, spec, Training::default())?;
    session.set_parameters(&params.iter().map(|p| narrow(p)).collect::<Vec<_>>())?;
    Ok(session)
}

/// The share of singular values below 1, and the mean of their squared sum, over all rows.
fn contraction(spectra: &[Spectrum]) -> (f64, f64) {
    let count = spectra.len() as f64;
    let norm = |s: &Spectrum| s.values.iter().map(|v| v * v).sum::<f64>();
    (spectra.iter().map(Spectrum::contracting).sum::<f64>() / count, spectra.iter().map(norm).sum::<f64>() / count)
}

pub fn spectrum(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();

    // Singular values at each row, from the Jacobian in plain loops.
    let spec = layered(8, &[(6, Activation::Tanh), (4, Activation::Sigmoid)]);
    let params = random_params(&spec, 1.3, seed, 0)?;
    let rows = values(&rounded(&normal(32, 8, seed, 10)));
    let encoder = Layers::encoder(&spec, &params)?;
    let expected: Vec<f64> = rows.chunks(8).flat_map(|row| singular_values(&encoder.jacobian(row))).collect();
    let model = session(gpu, &spec, &params)?;
    let found = model.spectra(&narrow(&rows))?;
    let singular: Vec<f64> = found.iter().flat_map(|s| s.values.clone()).collect();
    checks.push(Check::all_equal("8-6-4: singular values of J at 32 rows", &expected, &singular, 2e-6));
    let share = expected.iter().filter(|&&v| v < 1.0).count() as f64 / expected.len() as f64;
    checks.push(Check::equal("8-6-4: share below 1", share, contraction(&found).0, 0.0));
    let w = orthonormal(8, 4, seed, 11) * diagonal(&[1.5, 1.001, 0.999, 0.1]) * orthonormal(4, 4, seed, 12).transpose();
    let spec = layered(8, &[(4, Activation::Identity)]);
    let mut params = random_params(&spec, 1.0, seed, 20)?;
    params[0] = values(&w);
    let found = session(gpu, &spec, &params)?.spectra(&narrow(&rows))?;
    let expected = [1.5, 1.001, 0.999, 0.1].repeat(32);
    let singular: Vec<f64> = found.iter().flat_map(|s| s.values.clone()).collect();
    checks.push(Check::all_equal("linear: those of W at every row", &expected, &singular, 1e-6));
    checks.push(Check::equal("linear: two of four below 1", 0.5, contraction(&found).0, 0.0));

    // Saturation: the larger the weights, the more units are near 0 or 1, and there the Jacobian vanishes.
    let spec = layered(8, &[(16, Activation::Sigmoid)]);
    let params = random_params(&spec, 0.5, seed, 30)?;
    let (mut last, mut rises, mut ratios) = (0.0, f64::INFINITY, Vec::new());
    for factor in [1.0, 4.0, 16.0, 64.0] {
        let scaled: Vec<Vec<f64>> = params.iter().map(|p| p.iter().map(|w| w * factor).collect()).collect();
        let encoder = Layers::encoder(&spec, &scaled)?;
        let exact: Vec<f64> = rows.chunks(8).flat_map(|row| encoder.of(row)).collect();
        let share = exact.iter().filter(|h| **h <= 0.05 || **h >= 0.95).count() as f64 / exact.len() as f64;
        let model = session(gpu, &spec, &scaled)?;
        let codes = model.encode(&narrow(&rows))?;
        let found = saturation(&codes, 0.05);
        checks.push(Check::equal(format!("weights times {factor}: share of codes within .05"), share, found, 0.0));
        rises = rises.min(found - last);
        last = found;
        // ||J||_2 <= max s ||W||_2.
        let norm = singular_values(&matrix(&scaled[0], 16))[0];
        for (spectrum, h) in model.spectra(&narrow(&rows))?.iter().zip(exact.chunks(16)) {
            let steepest = h.iter().map(|h| h * (1.0 - h)).fold(0.0, f64::max);
            ratios.push(spectrum.values[0] / (steepest * norm));
        }
    }
    checks.push(Check::at_least("saturation rises with the weights, by no less than", 0.01, rises));
    checks.push(Check::at_most("||J||_2 over max h(1 - h) ||W||_2, largest", 1.0, largest(&ratios)));

    // Trained on digits with and without the penalty.
    let digits = data::digits()?.split_at(400)?.0;
    let spec = Spec::symmetric(&[64, 16], Activation::Identity).code_activation(Activation::Sigmoid);
    let spec = spec.loss(Loss::Bernoulli).tied();
    let training = Training { epochs: 40, batch: 50, learning_rate: 0.02, seed, ..Training::default() };
    let mut measured = Vec::new();
    for spec in [spec.clone(), contracted(spec, 2.0)] {
        let mut model = Session::new(gpu, &spec, training)?;
        model.fit(&digits)?;
        measured.push(contraction(&model.spectra(&digits.values()[..64 * 100])?));
    }
    let ((plain, free), (share, held)) = (measured[0], measured[1]);
    checks.push(Check::at_least("digits: share below 1 with the penalty, without it", plain + 0.01, share));
    checks.push(Check::at_most("digits: mean ||J||² with it, below half of that without", free / 2.0, held));
    Ok(checks)
}

/// Vectors as the columns of a matrix.
fn columns(vectors: &[Vec<f64>]) -> DMatrix<f64> {
    DMatrix::from_fn(vectors[0].len(), vectors.len(), |r, c| vectors[c][r])
}

/// The mean angle between the leading tangents and the true ones, over points.
fn mean_angle(found: impl Iterator<Item = Vec<Vec<f64>>>, truth: &[DMatrix<f64>]) -> f64 {
    let angles = found.zip(truth).map(|(f, t)| largest_angle(&columns(&f[..t.ncols()]), t));
    angles.sum::<f64>() / truth.len() as f64
}

fn worst_angle(found: impl Iterator<Item = Vec<Vec<f64>>>, truth: &[DMatrix<f64>]) -> f64 {
    found.zip(truth).map(|(f, t)| largest_angle(&columns(&f[..t.ncols()]), t)).fold(0.0, f64::max)
}

/// A contractive denoising autoencoder of these points.
fn trained(gpu: &Gpu, widths: &[usize], sigma: f64, seed: u64, points: &Data) -> Outcome<Session> {
    let spec = Spec::symmetric(widths, Activation::Tanh).loss(Loss::SquaredError).gaussian_corruption(sigma);
    let schedule = Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() };
    let training = Training { epochs: 500, batch: 50, learning_rate: 0.01, schedule, seed, ..Training::default() };
    let mut session = Session::new(gpu, &contracted(spec, 0.1), training)?;
    session.fit(points)?;
    Ok(session)
}

/// A regular circle in the plane and its tangents.
fn circle(count: usize) -> (DMatrix<f64>, Vec<DMatrix<f64>>) {
    let angle = |i: usize| TAU * i as f64 / count as f64;
    let points = DMatrix::from_fn(count, 2, |i, c| if c == 0 { angle(i).cos() } else { angle(i).sin() });
    (points, (0..count).map(|i| DMatrix::from_column_slice(2, 1, &[-angle(i).sin(), angle(i).cos()])).collect())
}

/// Points spread evenly over the sphere along a spiral, and its tangent planes.
fn sphere(count: usize) -> (DMatrix<f64>, Vec<DMatrix<f64>>) {
    let golden = PI * (3.0 - 5f64.sqrt());
    let point = |i: usize| {
        let z = 1.0 - (2 * i + 1) as f64 / count as f64;
        let (r, angle) = ((1.0 - z * z).sqrt(), golden * i as f64);
        [r * angle.cos(), r * angle.sin(), z]
    };
    let tangents = |i: usize| {
        let [x, y, z] = point(i);
        let normal = DVector::from_column_slice(&[x, y, z]);
        // All that is orthogonal to the normal: the other two eigenvectors.
        let (_, axes) = eigen(&(DMatrix::identity(3, 3) - &normal * normal.transpose()));
        axes.columns(0, 2).into_owned()
    };
    (DMatrix::from_fn(count, 3, |i, c| point(i)[c]), (0..count).map(tangents).collect())
}

fn tile(gpu: &Gpu, points: &DMatrix<f64>, count: usize, dimensions: usize) -> Outcome<Vec<Patch>> {
    let data = device::data(points)?;
    Ok(Patch::tile(&data, &data, &Neighbours::graph(gpu, &data, count)?, dimensions)?)
}

pub fn tangents(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let patches = |tiles: &[Patch]| tiles.iter().map(|p| p.tangents.clone()).collect::<Vec<_>>().into_iter();

    // Local principal components. On a circle, three neighbours on either side: the tangent by symmetry, and the mean
    // squared offsets sin² along it and (1 - cos)² across.
    let (points, truth) = circle(200);
    let tiles = tile(gpu, &rounded(&points), 6, 2)?;
    checks.push(Check::at_most("circle, local PCA: angle to the tangent", 1e-5, worst_angle(patches(&tiles), &truth)));
    let offsets = [1.0, 2.0, 3.0].map(|i| TAU * i / 200.0);
    let along = offsets.iter().map(|a| a.sin().powi(2)).sum::<f64>() / 3.0;
    let across = offsets.iter().map(|a| (1.0 - a.cos()).powi(2)).sum::<f64>() / 3.0;
    let found: Vec<f64> = tiles.iter().flat_map(|p| p.variances.clone()).collect();
    checks.push(Check::all_equal("circle, local PCA: variances", &[along, across].repeat(200), &found, 1e-7));
    // On a plane there is nothing else.
    let basis = orthonormal(5, 2, seed, 0);
    let plane = rounded(&(normal(150, 2, seed, 1) * basis.transpose()));
    let tiles = tile(gpu, &plane, 8, 2)?;
    let worst = worst_angle(patches(&tiles), &vec![basis.clone(); 150]);
    checks.push(Check::at_most("plane in 5 dimensions, local PCA: angle", 2e-5, worst));
    // On a sphere, neighbours within r lie r²/2 off the tangent plane: the angle is of the order of r.
    let (points, truth) = sphere(1000);
    let points = rounded(&points);
    let tiles = tile(gpu, &points, 12, 2)?;
    let expected: Vec<f64> = (0..1000).flat_map(|i| brute_tile(&points, i, 12).0[..2].to_vec()).collect();
    let found: Vec<f64> = tiles.iter().flat_map(|p| p.variances.clone()).collect();
    checks.push(Check::all_equal("sphere, local PCA: variances by brute force", &expected, &found, 1e-12));
    let radius = (0..1000).map(|i| brute_tile(&points, i, 12).2).fold(0.0, f64::max);
    checks.push(Check::at_most("sphere, local PCA: angle", radius / 2.0, worst_angle(patches(&tiles), &truth)));

    // A linear encoder's tangents are the right singular vectors of W'.
    let axes = orthonormal(5, 2, seed, 2);
    let w = &axes * diagonal(&[2.0, 0.5]) * orthonormal(2, 2, seed, 3).transpose();
    let spec = layered(5, &[(2, Activation::Identity)]);
    let mut params = random_params(&spec, 1.0, seed, 10)?;
    params[0] = values(&w);
    let found = session(gpu, &spec, &params)?.spectra(&narrow(&values(&plane)))?;
    let first = DMatrix::from_fn(5, 1, |r, _| axes[(r, 0)]);
    let worst = worst_angle(found.iter().map(|s| s.tangents.clone()), &vec![first; 150]);
    checks.push(Check::at_most("linear encoder: angle of the leading tangent", 1e-6, worst));
    // Trained on a plane, a contractive encoder ends in it: what is across is contracted away.
    let flat = with_spectrum(100, &[1.0, 0.6], seed, 4) * basis.transpose();
    let spec = Spec::symmetric(&[5, 2], Activation::Identity).loss(Loss::SquaredError).tied();
    let model = solve(gpu, &contracted(spec, 0.2), 0.05, 1500, seed, &device::data(&rounded(&flat))?)?;
    let found = model.spectra(&narrow(&values(&flat)[..5]))?;
    let angle = worst_angle(found.iter().map(|s| s.tangents.clone()), &[basis]);
    checks.push(Check::at_most("trained on a plane: angle", 1e-5, angle));

    checks.push(round(gpu, seed, "circle", circle(200), [2, 48, 2])?);
    checks.extend(translated(gpu, seed)?);
    Ok(checks)
}

/// The models of row 32 that take longer to train.
pub fn tangents_of_models(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    Ok(vec![round(gpu, seed, "sphere", sphere(400), [3, 48, 3])?, followed(gpu, seed)?])
}

/// Trained on a circle or a sphere, with noise off the manifold to contract. A direction chosen at random is .79 from
/// the tangent of a circle in the mean, a plane 1 from that of a sphere.
fn round(
    gpu: &Gpu,
    seed: u64,
    name: &str,
    (points, truth): (DMatrix<f64>, Vec<DMatrix<f64>>),
    widths: [usize; 3],
) -> Outcome<Check> {
    let points = device::data(&rounded(&points))?;
    let model = trained(gpu, &widths, 0.3, seed, &points)?;
    let found = model.spectra(points.values())?;
    let angle = mean_angle(found.iter().map(|s| s.tangents.clone()), &truth);
    Ok(Check::at_most(format!("trained on a {name}: mean angle of the tangents"), 0.1, angle))
}

/// Pixels of the translated image.
const PIXELS: usize = 16;

/// A blob at t, and its derivative by t.
fn blob(t: f64) -> (Vec<f64>, Vec<f64>) {
    let each = |i: usize| {
        let off = (i as f64 - t) / 1.5;
        ((-0.5 * off * off).exp(), off / 1.5 * (-0.5 * off * off).exp())
    };
    (0..PIXELS).map(each).unzip()
}

/// Images of a blob that moves, and their derivatives by its place.
fn moving() -> (DMatrix<f64>, Vec<DMatrix<f64>>) {
    let places: Vec<f64> = (0..181).map(|i| 3.0 + 0.05 * f64::from(i)).collect();
    let images: Vec<f64> = places.iter().flat_map(|&t| blob(t).0).collect();
    let slopes = places.iter().map(|&t| DMatrix::from_column_slice(PIXELS, 1, &blob(t).1)).collect();
    (rounded(&matrix(&images, PIXELS)), slopes)
}

/// Images away from the ends, where all neighbours lie on one side.
const INNER: std::ops::Range<usize> = 3..178;

/// Images of a blob that moves: the derivative by its place is the tangent.
fn translated(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();
    let (images, slopes) = moving();
    let tiles = tile(gpu, &images, 6, 1)?;
    let found = tiles[INNER].iter().map(|p| p.tangents.clone());
    let angle = worst_angle(found, &slopes[INNER]);
    // Neighbours are .15 away at most, a tenth of the blob's width: what their offsets have besides the first
    // derivative is a hundredth of it.
    checks.push(Check::at_most("moving blob, local PCA: angle to d image/dt", 0.01, angle));

    // How codes move with the blob: J times the tangent, against differences of codes in plain loops.
    let spec = layered(PIXELS, &[(12, Activation::Tanh), (4, Activation::Sigmoid)]);
    let params = random_params(&spec, 0.7, seed, 50)?;
    let encoder = Layers::encoder(&spec, &params)?;
    let few: Vec<f64> = vec![4.0, 6.3, 8.0, 10.7];
    let rows: Vec<f64> = few.iter().flat_map(|&t| blob(t).0).collect();
    let jacobians = session(gpu, &spec, &params)?.jacobian(&narrow(&rows), Mapping::Encoder)?;
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for (&t, jacobian) in few.iter().zip(jacobians.chunks(4 * PIXELS)) {
        let (ahead, behind) = (encoder.of(&blob(t + 1e-4).0), encoder.of(&blob(t - 1e-4).0));
        expected.extend(ahead.iter().zip(&behind).map(|(a, b)| (a - b) / 2e-4));
        let tangent = DVector::from_vec(blob(t).1);
        found.extend((matrix(jacobian, PIXELS) * tangent).iter().copied());
    }
    checks.push(Check::all_equal("moving blob: J d image/dt, by differences of codes", &expected, &found, 2e-6));
    Ok(checks)
}

/// Trained on images of a moving blob, the direction that the code follows most is that of the movement. A direction
/// chosen at random is 1.4 away.
fn followed(gpu: &Gpu, seed: u64) -> Outcome<Check> {
    let (images, slopes) = moving();
    let model = trained(gpu, &[PIXELS, 32, 32, 1], 0.2, seed, &device::data(&images)?)?;
    let spectra = model.spectra(&narrow(&values(&images)))?;
    let found = spectra[INNER].iter().map(|s| s.tangents.clone());
    Ok(Check::at_most("trained on moving blobs: mean angle to d image/dt", 0.3, mean_angle(found, &slopes[INNER])))
}

/// Eigenvalues and vectors of (1/k) Σ (x_j − x)(x_j − x)' over the k nearest others, and the distance of the furthest.
fn brute_tile(points: &DMatrix<f64>, at: usize, count: usize) -> (Vec<f64>, DMatrix<f64>, f64) {
    let mut others: Vec<(f64, usize)> = (0..points.nrows())
        .filter(|&j| j != at)
        .map(|j| ((points.row(j) - points.row(at)).norm_squared(), j))
        .collect();
    others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    others.truncate(count);
    let offsets = DMatrix::from_fn(count, points.ncols(), |r, c| points[(others[r].1, c)] - points[(at, c)]);
    let (variances, axes) = eigen(&(offsets.transpose() * &offsets / count as f64));
    (variances, axes, others[count - 1].0.sqrt())
}

pub fn baselines(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = Vec::new();

    // The graph, by brute force, where f32 would mistake distances: far from 0, and with many that are equal.
    for (name, cloud) in [
        ("normal", normal(300, 5, seed, 0)),
        ("far from 0", normal(300, 5, seed, 1) * 0.01 + DMatrix::from_element(300, 5, 1e4)),
        ("on a grid", (normal(300, 2, seed, 2) * 2.0).map(f64::round)),
    ] {
        let cloud = rounded(&cloud);
        let graph = Neighbours::graph(gpu, &device::data(&cloud)?, 8)?;
        let mut wrong = 0.0;
        for i in 0..300 {
            let distance = |j: usize| (0..cloud.ncols()).map(|c| (cloud[(i, c)] - cloud[(j, c)]).powi(2)).sum::<f64>();
            let mut others: Vec<usize> = (0..300).filter(|&j| j != i).collect();
            others.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            wrong += others.iter().zip(graph.of(i)).filter(|(a, b)| a != b).count() as f64;
        }
        checks.push(Check::equal(format!("8 nearest of 300, {name}: edges that are wrong"), 0.0, wrong, 0.0));
    }

    // The density of a noisy spiral.
    let spiral = |stream: u32, count: usize| {
        let noise = normal(count, 2, seed, stream) * 0.02;
        let t = |i: usize| 3.0 + 9.0 * (i as f64 + 0.5) / count as f64;
        rounded(&DMatrix::from_fn(count, 2, |i, c| {
            0.1 * t(i) * if c == 0 { t(i).cos() } else { t(i).sin() } + noise[(i, c)]
        }))
    };
    let points = spiral(10, 150);
    let (count, sigma) = (10, 0.05);
    let density = ManifoldParzen::fit(gpu, &device::data(&points)?, count, 1, sigma)?;
    let (low, step, cells) = (-4.0, 0.04, 201usize);
    let grid: Vec<f32> =
        (0..cells * cells).flat_map(|i| [i / cells, i % cells].map(|c| (low + step * c as f64) as f32)).collect();
    let integral = |density: &ManifoldParzen| -> Outcome<f64> {
        Ok(density.log_density(&grid)?.iter().map(|l| l.exp()).sum::<f64>() * step * step)
    };
    checks.push(Check::equal("manifold Parzen: integral over a grid", 1.0, integral(&density)?, 1e-6));
    let round = ManifoldParzen::fit(gpu, &device::data(&points)?, 1, 0, 0.1)?;
    checks.push(Check::equal("Parzen, no tangents: integral over a grid", 1.0, integral(&round)?, 1e-6));

    // The same by whole covariances: the leading local component, σ² in every direction.
    let others = spiral(11, 60);
    let gaussians: Vec<(DMatrix<f64>, f64)> = (0..150)
        .map(|i| {
            let (variances, axes, _) = brute_tile(&points, i, count);
            let axis = axes.column(0);
            let covariance = axis * axis.transpose() * variances[0] + DMatrix::identity(2, 2) * (sigma * sigma);
            let determinant = covariance.determinant();
            (covariance.try_inverse().unwrap_or_else(|| DMatrix::from_element(2, 2, f64::NAN)), determinant)
        })
        .collect();
    let expected: Vec<f64> = (0..60)
        .map(|r| {
            let each = gaussians.iter().enumerate().map(|(i, (inverse, determinant))| {
                let off = (others.row(r) - points.row(i)).transpose();
                (-0.5 * off.dot(&(inverse * &off))).exp() / (TAU * determinant.sqrt())
            });
            (each.sum::<f64>() / 150.0).ln()
        })
        .collect();
    let found = density.log_density(&narrow(&values(&others)))?;
    checks.push(Check::all_equal("log density, by whole covariances", &expected, &found, 1e-9));
    let expected: Vec<f64> = (0..60)
        .map(|r| {
            let each = (0..150).map(|i| (-0.5 * (others.row(r) - points.row(i)).norm_squared() / 0.01).exp());
            (each.sum::<f64>() / (150.0 * TAU * 0.01)).ln()
        })
        .collect();
    let found = round.log_density(&narrow(&values(&others)))?;
    checks.push(Check::all_equal("no tangents: log density by plain windows", &expected, &found, 1e-9));

    // What it is for: on points held out, the best of some settings is above the best of ordinary windows.
    let score = |count: usize, dimensions: usize, sigma: f64| -> Outcome<f64> {
        let density = ManifoldParzen::fit(gpu, &device::data(&points)?, count, dimensions, sigma)?;
        Ok(density.log_density(&narrow(&values(&others)))?.iter().sum::<f64>() / 60.0)
    };
    let (mut plain, mut tiled) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for sigma in [0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1] {
        plain = plain.max(score(1, 0, sigma)?);
        tiled = tiled.max(score(3, 1, sigma)?).max(score(6, 1, sigma)?);
    }
    checks.push(Check::at_least("held-out log density, over that of the best round windows", plain, tiled));
    Ok(checks)
}
