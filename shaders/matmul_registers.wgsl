// Matrix product for software adapters: no barrier; every thread keeps ROWS x 4 * QUADS sums in registers and reads both
// factors straight from storage, alone or together with the other threads of its subgroup.
//{consts}

fn part(group: u32, lane: u32) {
    let m = space_rows();
    let k_end = inner_extent() + none;
//{if alone}
    let tile = group * WORKGROUP + lane;
    let tiles = (dims.quads + QUADS - 1u) / QUADS;
    let c0 = tile % tiles * QUADS;
//{end}
//{if together}
    let tile = group;
    let tiles = (dims.quads + WORKGROUP * QUADS - 1u) / (WORKGROUP * QUADS);
    let c0 = (tile % tiles * WORKGROUP + lane) * QUADS;
//{end}
    let row0 = tile / tiles * ROWS;
    if (row0 >= m) {
        return;
    }
//{zero sums}
//{starts}
//{if ahead}
    // Where the right factor is large, its rows lie far apart in slow memory, and each would be waited for in turn. So
    // those of the next steps are asked for together: eight cache lines a load.
    var asked = 0u;
    for (var next = 0u; next < k_end + (none & asked); next += AHEAD) {
        let ready = min(next + AHEAD, k_end);
        for (var k = next; k < min(ready, dims.far); k += 4u) {
//{ask}
        }
    for (var k = next; k < ready; k += 4u) {
//{end}
//{if not ahead}
    for (var k = 0u; k < k_end; k += 4u) {
//{end}
//{factors}
//{products}
    }
//{if ahead}
    }
//{end}
//{if through memory}
    // Every thread reads back only what it wrote itself.
    let mine = lane * ROWS * QUADS;
//{end}
//{store sums}
//{if through memory}
    // A bound that is no constant keeps compilers from unrolling the loop.
    for (var i = 0u; i < min(ROWS, m - row0) * QUADS; i++) {
        let row = row0 + i / QUADS;
        let c = c0 + i % QUADS;
        if (c < dims.quads) {
            body(row, c, sums[mine + i]);
        }
    }
//{end}
}
