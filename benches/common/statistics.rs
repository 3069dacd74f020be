//! What paired ratios come to.

/// The middle of the values; of an even number the mean of the two in the middle. Not a number where there are none.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// A value that the true median lies above in at least 95 of 100 experiments, whatever the values are distributed like:
/// the k-th smallest, with k the largest for which fewer than k of n fair coins show heads in at most 5 of 100 throws.
/// Fewer than 5 values have none.
pub fn lower_bound(values: &[f64]) -> Option<f64> {
    let n = values.len();
    // How likely exactly `heads` of n coins show heads, by logarithms: 2^-n leaves f64 beyond a thousand values.
    let mut log_chance = -(n as f64) * std::f64::consts::LN_2;
    let (mut below, mut k) = (0.0, 0);
    for heads in 0..n {
        below += log_chance.exp();
        if below > 0.05 {
            break;
        }
        k = heads + 1;
        log_chance += ((n - heads) as f64 / (heads + 1) as f64).ln();
    }
    sorted(values).get(k.checked_sub(1)?).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
