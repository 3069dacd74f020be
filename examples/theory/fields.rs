//! Row 25: the displacement r(x) − x of what has few points, or a spiral, for data.

use std::f64::consts::TAU;

use strait::model::Mapping;
use strait::{Activation, Gpu, Session};

use super::check::Check;
use super::kernels::{GAP, Kernels, spiral};
use super::linear::{narrow, wide};
use super::outcome::Outcome;

/// Row 25.
pub fn vector_fields(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let mut checks = exact_points(gpu)?;
    checks.extend(learned_points(gpu, seed)?);
    checks.extend(learned_spiral(gpu, seed, &SHORT)?);
    Ok(checks)
}

/// Row 25: a larger network on the spiral, trained for longer.
pub fn spiral_learned_long(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    learned_spiral(gpu, seed, &LONG)
}

/// A network that has learned to undo noise on points.
fn learned(
    gpu: &Gpu,
    kernels: &Kernels,
    layers: (&[usize], Activation),
    training: (usize, u64, u64),
) -> Outcome<Session> {
    let (mut session, rows) = kernels.model(gpu, layers, training)?;
    session.fit(&rows)?;
    Ok(session)
}

/// Three points in one dimension.
fn three_points(sigma: f64) -> Kernels {
    Kernels { points: vec![vec![-1.0], vec![0.0], vec![1.0]], weights: vec![1.0; 3], sigma }
}

/// Where a function of one variable is 0 between two places of different sign, by bisection.
fn zero(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let rising = f(high) > f(low);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if (f(middle) > 0.0) == rising { high = middle } else { low = middle }
    }
    0.5 * (low + high)
}

/// The best reconstruction of three points, as the GPU computes it: zeros, and their kind.
fn exact_points(gpu: &Gpu) -> Outcome<Vec<Check>> {
    let sigma = 0.25;
    let kernels = three_points(sigma);
    let session = kernels.session(gpu)?;
    let grid: Vec<f64> = (-300..=300).map(|i| f64::from(i as f32 / 100.0)).collect();
    let r = wide(&session.reconstruct(&narrow(&grid))?);
    let best: Vec<f64> = grid.iter().map(|x| kernels.denoised(&[*x])[0]).collect();
    let mut checks = vec![Check::all_equal("3 points in 1-D: r on [-3, 3] in closed form", &best, &r, 2e-6)];
    // Beyond the first two points the third has a weight of exp(-16): 1e-7.
    let middle = wide(&session.reconstruct(&[-0.5, 0.5])?);
    checks.push(Check::all_equal("3 points in 1-D: r = x mid-gap", &[-0.5, 0.5], &middle, 1e-6));
    let at = |x: f64| kernels.denoised(&[x])[0] - x;
    let places = [zero(at, -1.2, -0.8), zero(at, -0.2, 0.2), zero(at, 0.8, 1.2)];
    let found = wide(&session.reconstruct(&narrow(&places))?);
    checks.push(Check::all_equal("3 points in 1-D: r = x beside each point", &places, &found, 1e-6));
    // dr/dx is the posterior variance over sigma²: ¼/sigma² where two points are equally likely.
    let slopes = wide(&session.jacobian(&[-1.0, -0.5, 0.0, 0.5, 1.0], Mapping::Reconstruction)?);
    let spread = |x: f64| {
        let (mean, h) = (kernels.denoised(&[x])[0], sigma * sigma);
        let weights = [-1.0f64, 0.0, 1.0].map(|p| (-(x - p).powi(2) / (2.0 * h)).exp());
        let square: f64 = weights.iter().zip([-1.0f64, 0.0, 1.0]).map(|(w, p)| w * p * p).sum();
        (square / weights.iter().sum::<f64>() - mean * mean) / h
    };
    let expected: Vec<f64> = [-1.0, -0.5, 0.0, 0.5, 1.0].map(spread).to_vec();
    checks.push(Check::all_equal("3 points in 1-D: dr/dx = Var(x_i | x)/sigma²", &expected, &slopes, 2e-5));
    Ok(checks)
}

/// The same as a small network learns it from corrupted points.
fn learned_points(gpu: &Gpu, seed: u64) -> Outcome<Vec<Check>> {
    let sigma = 0.25;
    let kernels = three_points(sigma);
    let mut session = learned(gpu, &kernels, (&[32, 16], Activation::Tanh), (256, 2000, seed))?;
    let grid: Vec<f64> = (-150..=150).map(|i| f64::from(i as f32 / 100.0)).collect();
    let r = wide(&session.reconstruct(&narrow(&grid))?);
    let best: Vec<f64> = grid.iter().map(|x| kernels.denoised(&[*x])[0]).collect();
    let mut checks = vec![Check::all_equal("3 points in 1-D, learned: r on [-1.5, 1.5]", &best, &r, 0.05)];
    let at = |x: f64| kernels.denoised(&[x])[0] - x;
    let expected = [zero(at, -1.2, -0.8), -0.5, zero(at, -0.2, 0.2), 0.5, zero(at, 0.8, 1.2)];
    let mut found = Vec::new();
    for place in expected {
        found.push(crossing(&mut session, [place], [1.0])?.unwrap_or(f64::NAN) + place);
    }
    checks.push(Check::all_equal("3 points in 1-D, learned: zeros", &expected, &found, 0.02));
    // Far from the points, where no corrupted one came, the best is the nearest point; rectified units go on straight.
    let mut straight = learned(gpu, &kernels, (&[32, 16], Activation::Relu), (256, 1500, seed))?;
    let near = kernels.compare(&mut straight, &narrow(&grid))?.1;
    let far = kernels.compare(&mut straight, &[-5.0, 5.0])?.1;
    checks.push(Check::at_least("3 points in 1-D, relu: r off at ±5 over that near", 5.0, far / near));
    Ok(checks)
}

/// How far on either side of a place a zero is looked for.
const REACH: f64 = 0.15;

/// How far from `place` along `direction` the displacement along it changes its sign, if it does within [`REACH`]: by a
/// straight line between the two nearest of 61 places.
fn crossing<const N: usize>(session: &mut Session, place: [f64; N], direction: [f64; N]) -> Outcome<Option<f64>> {
    let steps: Vec<f64> = (-30..=30).map(|i| REACH / 30.0 * f64::from(i)).collect();
    let at: Vec<f32> =
        steps.iter().flat_map(|s| (0..N).map(|k| (place[k] + s * direction[k]) as f32).collect::<Vec<_>>()).collect();
    let r = session.reconstruct(&at)?;
    let along = |(r, x): (&[f32], &[f32])| -> f64 {
        r.iter().zip(x).zip(direction).map(|((r, x), d)| (f64::from(*r) - f64::from(*x)) * d).sum()
    };
    let values: Vec<f64> = r.chunks(N).zip(at.chunks(N)).map(along).collect();
    let crossings = (1..steps.len()).filter(|&i| (values[i - 1] > 0.0) != (values[i] > 0.0));
    let linear = |i: usize| steps[i - 1] + REACH / 30.0 * values[i - 1] / (values[i - 1] - values[i]);
    Ok(crossings.map(linear).min_by(|a, b| a.abs().total_cmp(&b.abs())))
}

/// How a spiral is learned, and how near that is to come: the mean angle to the score in degrees, and, in sigma, the
/// distance of r from the best and that of a zero from its place.
struct Learned {
    name: &'static str,
    widths: [usize; 2],
    epochs: u64,
    angle: f64,
    apart: f64,
    zeros: f64,
}

const SHORT: Learned =
    Learned { name: "in short", widths: [64, 64], epochs: 1000, angle: 20.0, apart: 0.3, zeros: 0.5 };
const LONG: Learned = Learned { name: "learned", widths: [64, 64], epochs: 3000, angle: 15.0, apart: 0.2, zeros: 0.25 };

/// A curved manifold in the plane.
fn learned_spiral(gpu: &Gpu, seed: u64, how: &Learned) -> Outcome<Vec<Check>> {
    let name = how.name;
    let sigma = 0.2;
    let points: Vec<Vec<f64>> = spiral(256).into_iter().map(Vec::from).collect();
    let kernels = Kernels { weights: vec![1.0; points.len()], points, sigma };
    let mut session = learned(gpu, &kernels, (&how.widths, Activation::Tanh), (256, how.epochs, seed))?;

    // Where corrupted points lie the displacement is the score, as nearly as so small a network learns it.
    let clean = narrow(&kernels.points.concat());
    let near = session.corrupt(&clean, seed.wrapping_add(1))?;
    let (angle, apart) = kernels.compare(&mut session, &near)?;
    let mut checks = vec![
        Check::at_most(format!("spiral, {name}: mean angle to the exact score, degrees"), how.angle, angle),
        Check::at_most(format!("spiral, {name}: distance of r from the best, in sigma"), how.apart, apart / sigma),
    ];

    // Along rays that cross two arms: zeros on both and in the middle between them.
    let (mut on, mut between) = ((vec![], vec![]), (vec![], vec![]));
    for ray in 0..12 {
        let angle = TAU * (0.8 + 0.4 * f64::from(ray) / 11.0);
        let direction = [angle.cos(), angle.sin()];
        for turn in [0.0, 0.5, 1.0] {
            let zeros = if turn == 0.5 { &mut between } else { &mut on };
            let radius = GAP * (angle / TAU + turn);
            let place = direction.map(|d| d * radius);
            let along = |s: f64| {
                let at = [place[0] + s * direction[0], place[1] + s * direction[1]];
                let r = kernels.denoised(&at);
                (0..2).map(|k| (r[k] - at[k]) * direction[k]).sum::<f64>()
            };
            zeros.0.push(zero(along, -REACH, REACH));
            zeros.1.push(crossing(&mut session, place, direction)?.unwrap_or(f64::NAN));
        }
    }
    let identity = format!("spiral, {name}: zeros near the arms, along rays");
    checks.push(Check::all_equal(identity, &on.0, &on.1, how.zeros * sigma));
    let identity = format!("spiral, {name}: zeros between the arms");
    checks.push(Check::all_equal(identity, &between.0, &between.1, how.zeros * sigma));

    // Far away, where no corrupted point came, r lands beside the manifold.
    let ring = |i: i32| [0.0, TAU / 4.0].map(|by| (6.0 * (TAU * f64::from(i) / 64.0 - by).cos()) as f32);
    let (_, far) = kernels.compare(&mut session, &(0..64).flat_map(ring).collect::<Vec<f32>>())?;
    checks.push(Check::at_least(format!("spiral, {name}: that distance at radius 6, in sigma"), 1.0, far / sigma));
    Ok(checks)
}
