// Four neighbouring values as two words of 64 bits.

fn unpack(quad: vec2<u64>) -> T {
    return bitcast<T>(vec4<u32>(u32(quad.x), u32(quad.x >> 32u), u32(quad.y), u32(quad.y >> 32u)));
}

fn pack(value: T) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(value);
    return vec2<u64>(u64(bits.x) | (u64(bits.y) << 32u), u64(bits.z) | (u64(bits.w) << 32u));
}

