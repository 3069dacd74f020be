// Sines and cosines.

// The sine of an angle of at most a quarter of pi, after so many right angles: Taylor's series of sine and cosine. WGSL
// lets built-in forms be wrong by 2^-11, and by anything outside [-pi, pi].
fn turned(angle: T, quarters: vec4<i32>) -> T {
    let z = angle * angle;
    let odd = angle + angle * z * (-0.16666667 + z * (8.333334e-3 + z * (-1.984127e-4 + z * 2.7557319e-6)));
    let even = 1.0 + z * (-0.5 + z * (0.041666668 + z * (-1.3888889e-3 + z * (2.4801588e-5 - z * 2.7557319e-7))));
    let size = select(odd, even, (quarters & vec4<i32>(1)) == vec4<i32>(1));
    return select(size, -size, (quarters & vec4<i32>(2)) == vec4<i32>(2));
}

// sin(x) where `quarters` is 0, cos(x) where it is 1; for |x| up to 8192, beyond which an f32 says little of an angle.
fn wave(x: T, quarters: i32) -> T {
    let nearest = round(x * 0.63661977);
    // A right angle in three parts; products with the first two are exact.
    let angle = ((x - nearest * 1.5703125) - nearest * 4.837513e-4) - nearest * 7.54979e-8;
    return turned(angle, vec4<i32>(nearest) + vec4<i32>(quarters));
}

fn sin_(x: T) -> T {
    return wave(x, 0);
}

fn cos_(x: T) -> T {
    return wave(x, 1);
}
