// Scalar functions that WGSL lacks, or whose built-in forms lose accuracy near 0 or overflow far from it.
// T is the type of a value (a vec4 of neighbouring columns); no function branches, so it may be any float vector.

// Not a number, told by the bits: WGSL lets a compiler take every number for a finite one, and so the larger of NaN and 0
// for 0, or a comparison with NaN for one that holds.
fn is_nan(x: T) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// The value, but NaN where `nan` holds.
fn or_nan(value: T, nan: vec4<bool>) -> T {
    return bitcast<T>(select(bitcast<vec4<u32>>(value), vec4<u32>(0x7fc00000u), nan));
}

// exp(x), which SwiftShader takes for infinite where x is no number.
fn exp_(x: T) -> T {
    return or_nan(exp(x), is_nan(x));
}

// log(x): a power of two, taken from the exponent, and the series of atanh for what is left, between sqrt(1/2) and
// sqrt(2). Built-in forms may be wrong by 2^-21 near 1.
fn log_(x: T) -> T {
    let bits = bitcast<vec4<u32>>(x);
    let power = bitcast<vec4<i32>>(bits - vec4<u32>(0x3f3504f3u)) >> vec4<u32>(23u);
    let rest = bitcast<vec4<f32>>(bits - (bitcast<vec4<u32>>(power) << vec4<u32>(23u)));
    let s = (rest - 1.0) / (rest + 1.0);
    let z = s * s;
    let series = 2.0 * s * (1.0 + z * (0.33333334 + z * (0.2 + z * (0.14285715 + z * 0.11111111))));
    // log(2) in two parts, the first exact in a product with any exponent.
    let value = T(power) * 0.693359375 + (series - T(power) * 2.1219444e-4);
    // -inf at 0, NaN below; infinity and NaN stay what they are. By bits, as in is_nan.
    let below = select(bits, vec4<u32>(0x7fc00000u), bits > vec4<u32>(0x7f800000u));
    let special = select(below, vec4<u32>(0xff800000u), (bits & vec4<u32>(0x7fffffffu)) < vec4<u32>(0x00800000u));
    return select(bitcast<T>(special), value, bits - vec4<u32>(0x00800000u) < vec4<u32>(0x7f000000u));
}

// log(1 + x): the series of atanh near 0, where 1 + x would round x away.
fn log1p_(x: T) -> T {
    let s = x / (2.0 + x);
    let z = s * s;
    let near = 2.0 * s * (1.0 + z * (0.33333334 + z * (0.2 + z * (0.14285715 + z * (0.11111111 + z * 0.09090909)))));
    return select(log_(1.0 + x), near, abs(x) < T(0.35));
}

// exp(x) - 1: the Taylor series near 0, where the difference would cancel.
fn expm1_(x: T) -> T {
    let series = 1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0)));
    let near = x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * series)));
    return select(exp_(x) - 1.0, near, abs(x) < T(0.4));
}

// Exponentiates only what is not positive, so that no backend overflows.
fn tanh_(x: T) -> T {
    let e = expm1_(-2.0 * abs(x));
    return sign(x) * (-e / (2.0 + e));
}

fn sigmoid_(x: T) -> T {
    let e = exp_(-abs(x));
    return select(e, T(1.0), x >= T(0.0)) / (1.0 + e);
}

fn softplus_(x: T) -> T {
    return max(x, T(0.0)) + log1p_(exp_(-abs(x)));
}

// Not finite, told by the exponent bits: a compiler with fast maths may fold x != x.
fn not_finite(x: T) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}

// A quad of a row of the identity matrix.
fn identity(row: u32, c: u32) -> T {
    return select(T(0.0), T(1.0), vec4<u32>(row) == vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u));
}

// Rounded to half precision, to the nearest, even where two are; infinite from 65,520 on. In integers: compilers take a
// conversion there and back for nothing, and devices may round it as they like.
fn half_(x: T) -> T {
    let bits = bitcast<vec4<u32>>(x);
    let sign = bits & vec4<u32>(0x80000000u);
    let size = bits ^ sign;
    let even = (size >> vec4<u32>(13u)) & vec4<u32>(1u);
    let rounded = (size + vec4<u32>(0xfffu) + even) & vec4<u32>(0xffffe000u);
    let large = select(rounded, vec4<u32>(0x7f800000u), rounded >= vec4<u32>(0x47800000u));
    // Below 2^-14 halves are multiples of 2^-24.
    let small = bitcast<vec4<u32>>(round(abs(x) * 16777216.0) * 5.9604645e-8);
    let finite = select(large, small, size < vec4<u32>(0x38800000u));
    return bitcast<T>(sign | select(finite, size, size > vec4<u32>(0x7f800000u)));
}
