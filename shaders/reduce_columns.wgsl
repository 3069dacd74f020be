// Reduces each row to one value. LANES threads share a row: one, without a barrier, or a whole
// workgroup.
//{consts}

fn part(group: u32, lane: u32) {
    let at = group * (WORKGROUP / LANES) + lane / LANES;
    let row = min(at, max(space_rows(), 1u) - 1u);
    var total = Total(neutral(), T());
    for (var c = lane % LANES; c < dims.from_quads + none; c += LANES) {
        let kept = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(dims.from_columns);
        total = including(total, select(neutral(), value(row, c), kept));
    }
    var sum = settled(total);
//{if shared}
    staged[lane / ROW][lane % ROW] = sum;
    for (var half_lanes = LANES / 2u; half_lanes > 0u; half_lanes /= 2u) {
        workgroupBarrier();
        if (lane < half_lanes) {
            staged[lane / ROW][lane % ROW] = combine(staged[lane / ROW][lane % ROW], staged[(lane + half_lanes) / ROW][(lane + half_lanes) % ROW]);
        }
    }
    sum = staged[0][0];
//{end}
    let pair = combine(vec4<f32>(sum.xy, sum.xy), vec4<f32>(sum.zw, sum.zw));
    if (lane % LANES == 0u && at < space_rows()) {
        body(row, 0u, combine(pair.xxxx, pair.yyyy));
    }
}
