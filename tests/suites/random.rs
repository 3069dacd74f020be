//! Random numbers: known answers of Philox, the distribution of draws, and the permutation of rows.

use strait::internals::random::{permute, philox};
use strait::{Draw, fresh_seed};

/// Chi-square of counts against equal expectations.
fn chi_square(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum()
}

/// Asserts that a chi-square of so many degrees of freedom lies within five standard deviations of its mean: too even
/// is as suspect as too uneven. Wilson and Hilferty: its cube root is nearly normal.
fn assert_plausible(chi: f64, freedom: f64, what: &str) {
    let spread = 2.0 / (9.0 * freedom);
    let z = ((chi / freedom).cbrt() - (1.0 - spread)) / spread.sqrt();
    assert!(z.abs() < 5.0, "{what}: chi-square {chi} with {freedom} degrees of freedom, {z} standard deviations off");
}

#[test]
fn known_answers() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../fixtures/golden.json")).unwrap();
    let vectors = golden["philox4x32_10"].as_array().unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let words = |name: &str| -> Vec<u32> { serde_json::from_value(vector[name].clone()).unwrap() };
        let counter = words("counter").try_into().unwrap();
        let key = words("key").try_into().unwrap();
        assert_eq!(philox(counter, key).to_vec(), words("output"), "{vector}");
    }
}

const ROWS: usize = 500;
const COLUMNS: usize = 203;

fn draws(draw: Draw, one: impl Fn(&Draw, usize, usize) -> f64) -> Vec<f64> {
    (0..ROWS * COLUMNS).map(|i| one(&draw, i / COLUMNS, i % COLUMNS)).collect()
}

/// The mean of `f` over draws, within five of its standard errors of what it should be.
fn assert_mean(values: &[f64], f: impl Fn(f64) -> f64, mean: f64, variance: f64, what: &str) {
    let found = values.iter().map(|&v| f(v)).sum::<f64>() / values.len() as f64;
    let error = (variance / values.len() as f64).sqrt();
    assert!((found - mean).abs() < 5.0 * error, "{what}: {found}, expected {mean} with standard error {error}");
}

#[test]
fn uniform_draws() {
    for (seed, stream, step) in [(0, 0, 0), (7, 1, 100), (u64::MAX, 3, u32::MAX)] {
        let values = draws(Draw { seed, stream, step }, Draw::uniform);
        assert!(values.iter().all(|&v| (0.0..1.0).contains(&v) && f64::from(v as f32) == v));
        assert!(values.iter().all(|&v| (v * f64::from(1u32 << 24)).fract() == 0.0), "multiples of 2^-24");
        assert_mean(&values, |v| v, 0.5, 1.0 / 12.0, "mean");
        assert_mean(&values, |v| v * v, 1.0 / 3.0, 4.0 / 45.0, "second moment");
        let mut counts = vec![0; 256];
        values.iter().for_each(|v| counts[(v * 256.0) as usize] += 1);
        assert_plausible(chi_square(&counts), 255.0, "uniform");
        // Neighbours: columns of one row, and rows of one column.
        for (what, step) in [("columns", 1), ("rows", COLUMNS)] {
            let mut pairs = vec![0; 256];
            values
                .iter()
                .zip(&values[step..])
                .for_each(|(a, b)| pairs[(a * 16.0) as usize * 16 + (b * 16.0) as usize] += 1);
            assert_plausible(chi_square(&pairs), 255.0, what);
        }
    }
}

#[test]
fn normal_draws() {
    let values = draws(Draw { seed: 11, stream: 2, step: 5 }, Draw::normal);
    assert_mean(&values, |v| v, 0.0, 1.0, "mean");
    assert_mean(&values, |v| v * v, 1.0, 2.0, "variance");
    assert_mean(&values, |v| v.powi(3), 0.0, 15.0, "third moment");
    assert_mean(&values, |v| v.powi(4), 3.0, 96.0, "fourth moment");
    // The two halves of a Box-Muller pair share a radius, and must be uncorrelated all the same.
    let products: Vec<f64> = values.chunks_exact(2).map(|p| p[0] * p[1]).collect();
    assert_mean(&products, |v| v, 0.0, 1.0, "product of neighbours");
    // Deciles of the standard normal distribution.
    let deciles = [-1.2815515655, -0.8416212336, -0.5244005127, -0.2533471031, 0.0];
    let mut counts = vec![0; 10];
    for v in &values {
        let below = deciles.iter().filter(|&&d| v.abs() > -d).count();
        counts[if *v < 0.0 { 5 - below } else { 4 + below }] += 1;
    }
    assert_plausible(chi_square(&counts), 9.0, "normal");
}

#[test]
fn draws_differ_by_seed_stream_and_step() {
    let base = Draw { seed: 1, stream: 1, step: 1 };
    let others = [
        Draw { seed: 2, ..base },
        Draw { seed: 1 | 1 << 32, ..base },
        Draw { stream: 2, ..base },
        Draw { step: 2, ..base },
    ];
    let values = draws(base, Draw::uniform);
    for other in others {
        let same = values.iter().zip(draws(other, Draw::uniform)).filter(|(a, b)| **a == *b).count();
        assert!(same < 5, "{other:?}: {same} draws are the same");
    }
}

const COUNTS: [u32; 12] = [1, 2, 3, 4, 5, 7, 16, 17, 64, 65, 1000, 1797];

#[test]
fn permutations_are_bijections() {
    for count in COUNTS {
        for (seed, epoch) in [(0, 0), (0, 1), (42, 0), (u64::MAX, u32::MAX)] {
            let mut seen = vec![false; count as usize];
            (0..count).for_each(|i| seen[permute(i, count, seed, epoch) as usize] = true);
            assert!(seen.iter().all(|&s| s), "count {count}, seed {seed}, epoch {epoch}");
        }
    }
}

#[test]
fn permutations_differ_by_epoch_and_seed() {
    for count in COUNTS.into_iter().filter(|&c| c >= 64) {
        let order = |seed, epoch| (0..count).map(|i| permute(i, count, seed, epoch)).collect::<Vec<_>>();
        let first = order(3, 0);
        for other in [order(3, 1), order(4, 0), order(3 | 1 << 32, 0)] {
            // Two random permutations share one place on average.
            let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 8, "{same} of {count} rows keep their place");
        }
    }
}

/// Over many epochs each row comes to each place equally often, and so do pairs of neighbouring rows.
#[test]
fn permutations_look_uniform() {
    for count in [3u32, 7, 16, 65] {
        let n = count as usize;
        let epochs = 400 * count;
        let (mut places, mut steps) = (vec![0; n * n], vec![0; n - 1]);
        for epoch in 0..epochs {
            let order: Vec<u32> = (0..count).map(|i| permute(i, count, 9, epoch)).collect();
            order.iter().enumerate().for_each(|(i, &p)| places[i * n + p as usize] += 1);
            // The distance from the place of row 0 to that of row 1, around the circle.
            steps[((order[1] + count - order[0]) % count - 1) as usize] += 1;
        }
        // Rows and columns of the table of places have fixed sums.
        let freedom = f64::from((count - 1) * (count - 1));
        let scale = f64::from(count - 1) / f64::from(count);
        assert_plausible(chi_square(&places) * scale, freedom, &format!("places of {count}"));
        if count > 3 {
            assert_plausible(chi_square(&steps), f64::from(count - 2), &format!("neighbours of {count}"));
        }
    }
}

#[test]
fn fresh_seeds_differ() {
    let seeds: Vec<u64> = (0..4).map(|_| fresh_seed().unwrap()).collect();
    assert!(seeds.windows(2).all(|pair| pair[0] != pair[1]), "{seeds:?}");
}
