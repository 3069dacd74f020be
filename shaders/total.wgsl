// Sums that keep what rounding takes from them (Dekker, "A floating-point technique for extending the available precision",
// 1971): off by a few rounding errors of the sum of absolute values, however many values there are.

struct Total {
    sum: T,
    lost: T,
}

// `none` is 0: compilers that reorder sums would find that nothing was lost.
fn plus(total: Total, next: T) -> Total {
    let sum = bitcast<T>(bitcast<vec4<u32>>(total.sum + next) ^ vec4<u32>(none));
    return Total(sum, total.lost + (next - (sum - total.sum)));
}

// What is lost of an infinite sum is no number.
fn settled(total: Total) -> T {
    return select(total.sum + total.lost, total.sum, not_finite(total.lost));
}
