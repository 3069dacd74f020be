// Matrix product for software adapters: no barrier; every thread keeps ROWS x 4 * QUADS sums
// in registers and reads both factors straight from storage.
//{consts}

//{if along}
// One of four values.
fn pick(v: vec4<f32>, odd: bool, high: bool) -> f32 {
    let pair = select(v.xz, v.yw, odd);
    return select(pair.x, pair.y, high);
}
//{end}

fn part(group: u32, lane: u32) {
    let m = space_rows();
    let k_end = inner_extent() + none;
    let tile = group * WORKGROUP + lane;
    let tiles = (dims.quads + QUADS - 1u) / QUADS;
    let row0 = tile / tiles * ROWS;
    let c0 = tile % tiles * QUADS;
    if (row0 >= m) {
        return;
    }
//{zero sums}
//{starts}
//{if along}
    // Factors along the inner dimension are read four values at a time and taken apart: a load costs more than that.
    for (var k = 0u; k < k_end;) {
//{quads along}
        for (let stop = min(k + 4u, k_end); k < stop; k++) {
            let odd = (k & 1u) != 0u;
            let high = (k & 2u) != 0u;
//{products}
        }
    }
//{end}
//{if across}
    for (var k = 0u; k < k_end; k++) {
//{products}
    }
//{end}
    // Every thread reads back only what it wrote itself.
    let mine = lane * ROWS * QUADS;
//{store sums}
    // A bound that is no constant keeps compilers from unrolling the loop.
    for (var i = 0u; i < min(ROWS, m - row0) * QUADS; i++) {
        let row = row0 + i / QUADS;
        let c = c0 + i % QUADS;
        if (c < dims.quads) {
            body(row, c, sums[mine + i]);
        }
    }
}
