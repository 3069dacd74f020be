// Elementwise work: one thread computes four neighbouring columns of one row.

fn part(group: u32, lane: u32) {
    let i = group * WORKGROUP + lane;
    if (i >= space_rows() * dims.quads) {
        return;
    }
    body(i / dims.quads, i % dims.quads);
}
