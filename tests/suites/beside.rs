//! The figures of `benches/beside`, against values by hand.

#[path = "../../benches/common/statistics.rs"]
mod statistics;

use statistics::{lower_bound, median};

#[test]
fn medians() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    assert_eq!(median(&[7.0]), 7.0);
    assert!(median(&[]).is_nan());
}

/// Of n coins fewer than k show heads in at most 5 of 100 throws. For 5 that is 1/32 with k = 1; for 21, by the sums of
/// binomial coefficients: 1 + 21 + 210 + 1330 + 5985 + 20349 + 54264 = 82160 of 2097152 (3.9 %) with k = 7, and 198440
/// (9.5 %) with one more.
#[test]
fn the_lower_bound_is_the_kth_smallest() {
    let values = |n: u32| (1..=n).rev().map(f64::from).collect::<Vec<_>>();
    assert_eq!(lower_bound(&values(4)), None);
    assert_eq!(lower_bound(&values(5)), Some(1.0));
    // (1 + 8)/256 = 3.5 %, (1 + 8 + 28)/256 = 14.5 %.
    assert_eq!(lower_bound(&values(8)), Some(2.0));
    assert_eq!(lower_bound(&values(21)), Some(7.0));
    assert_eq!(lower_bound(&[]), None);
    // By the normal distribution: 5000 − 1.645 · 50, give or take what its steps are.
    let k = lower_bound(&values(10_000)).unwrap_or_default();
    assert!((k - 4917.5).abs() < 2.0, "{k}");
}
