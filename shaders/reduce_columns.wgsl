// Reduces each row to one value. LANES threads share a row; with one lane there is no barrier.
//{consts}

//{if shared}
var<workgroup> shares: array<vec4<f32>, LANES>;

//{end}
@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + group.y * dims.wrap) * (WORKGROUP / LANES) + lane / LANES;
    let row = min(at, max(space_rows(), 1u) - 1u);
    var sum = IDENTITY;
    for (var c = lane % LANES; c < dims.from_quads; c += LANES) {
        let kept = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(dims.from_columns);
        sum = combine(sum, select(IDENTITY, value(row, c), kept));
    }
//{if shared}
    shares[lane] = sum;
    for (var half_lanes = LANES / 2u; half_lanes > 0u; half_lanes /= 2u) {
        workgroupBarrier();
        if (lane < half_lanes) {
            shares[lane] = combine(shares[lane], shares[lane + half_lanes]);
        }
    }
    sum = shares[0];
//{end}
    let pair = combine(vec4<f32>(sum.xy, sum.xy), vec4<f32>(sum.zw, sum.zw));
    if (lane % LANES == 0u && at < space_rows()) {
        body(row, 0u, combine(pair.xxxx, pair.yyyy));
    }
}
