// Reduces columns downwards: for each result row and each quad of columns, over rows a fixed distance apart.
//{consts}

fn part(group: u32, lane: u32) {
    let at = group * (WORKGROUP / LANES) + lane / LANES;
    let quads = max(space_rows() * dims.quads, 1u);
    let i = min(at, quads - 1u);
    let row = i / dims.quads;
    let c = i % dims.quads;
    var total = Total(neutral(), T());
    for (var t = lane % LANES; t < reduced_rows() + none; t += LANES) {
        total = including(total, value(row * dims.outer + t * dims.inner, c));
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
    if (lane % LANES == 0u && at < space_rows() * dims.quads) {
        body(row, c, sum);
    }
}
