// Scalar functions that WGSL lacks, or whose built-in forms lose accuracy near 0 or overflow far from it.
// T is the type of a value (a vec4 of neighbouring columns); no function branches, so it may be any float vector.

// log(1 + x): the series of atanh near 0, where 1 + x would round x away.
fn log1p_(x: T) -> T {
    let s = x / (2.0 + x);
    let z = s * s;
    let near = 2.0 * s * (1.0 + z * (0.33333334 + z * (0.2 + z * (0.14285715 + z * (0.11111111 + z * 0.09090909)))));
    return select(log(1.0 + x), near, abs(x) < T(0.35));
}

// exp(x) - 1: the Taylor series near 0, where the difference would cancel.
fn expm1_(x: T) -> T {
    let series = 1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0)));
    let near = x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * series)));
    return select(exp(x) - 1.0, near, abs(x) < T(0.4));
}

// Exponentiates only what is not positive, so that no backend overflows.
fn tanh_(x: T) -> T {
    let e = expm1_(-2.0 * abs(x));
    return sign(x) * (-e / (2.0 + e));
}

fn sigmoid_(x: T) -> T {
    let e = exp(-abs(x));
    return select(e, T(1.0), x >= T(0.0)) / (1.0 + e);
}

fn softplus_(x: T) -> T {
    return max(x, T(0.0)) + log1p_(exp(-abs(x)));
}

// Not finite, told by the exponent bits: a compiler with fast maths may fold x != x.
fn not_finite(x: T) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}

// A quad of a row of the identity matrix.
fn identity(row: u32, c: u32) -> T {
    return select(T(0.0), T(1.0), vec4<u32>(row) == vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u));
}
