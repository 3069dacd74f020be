// Random numbers: Philox4x32-10, a function of (seed, stream, step, row, column) alone. src/random.rs computes the
// same bits. One call serves the four neighbouring columns of a quad. The rounds are loops whose bound is no constant
// (`none` is 0), since unrolling them would double the time a first step waits for its compiler.

fn multiply_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let middle = ah * bl + ((al * bl) >> 16u);
    let carry = al * bh + (middle & 0xffffu);
    return ah * bh + (middle >> 16u) + (carry >> 16u);
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = seed;
    for (var round = 0u; round < 10u + none; round++) {
        let high0 = multiply_high(0xD2511F53u, c.x);
        let high1 = multiply_high(0xCD9E8D57u, c.z);
        c = vec4<u32>(high1 ^ c.y ^ k.x, 0xCD9E8D57u * c.z, high0 ^ c.w ^ k.y, 0xD2511F53u * c.x);
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

fn random_words(row: u32, quad: u32, stream: u32) -> vec4<u32> {
    return philox(vec4<u32>(row, quad, state.step, stream), vec2<u32>(state.seed0, state.seed1));
}

// Uniform on [0, 1): multiples of 2^-24.
fn random_uniform(row: u32, quad: u32, stream: u32) -> vec4<f32> {
    return vec4<f32>(random_words(row, quad, stream) >> vec4<u32>(8u)) * 5.9604645e-8;
}

// Standard normal: Box and Muller's transform of neighbouring words.
fn random_normal(row: u32, quad: u32, stream: u32) -> vec4<f32> {
    let u = random_uniform(row, quad, stream);
    let radius = sqrt(-2.0 * log_(u.xzxz + 5.9604645e-8));
    // The cosines of both angles, then their sines. Turns are multiples of 2^-24, so their parts are exact.
    let quarters = 4.0 * u.ywyw;
    let nearest = round(quarters);
    let direction = turned((quarters - nearest) * 1.5707964, vec4<i32>(nearest) + vec4<i32>(1, 1, 0, 0));
    return (radius * direction).xzyw;
}

fn mix(value: u32) -> u32 {
    var x = value ^ (value >> 16u);
    x *= 0x85EBCA6Bu;
    x ^= x >> 13u;
    x *= 0xC2B2AE35u;
    return x ^ (x >> 16u);
}

// The row of the data that a thread reads, where it reads several quads of it.
var<private> source: u32;

// The seeded permutation of the resident rows: a Feistel network, walked until it lands inside. What lies outside stays
// where it is; from there the walk might never come in.
fn permute(index: u32) -> u32 {
    if (index >= state.count) {
        return index;
    }
    let half_width = max(1u, (33u - countLeadingZeros(state.count - 1u)) / 2u);
    let mask = (1u << half_width) - 1u;
    var x = index;
    loop {
        var left = x >> half_width;
        var right = x & mask;
        for (var round = 0u; round < 8u + none; round++) {
            let mixed = mix(right ^ mix(state.seed0 ^ mix(state.seed1 ^ mix(state.epoch + round * 0x9E3779B9u))));
            let next = left ^ (mixed & mask);
            left = right;
            right = next;
        }
        x = (left << half_width) | right;
        if (x < state.count) {
            break;
        }
    }
    return x;
}
