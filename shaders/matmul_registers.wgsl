// Matrix product for software adapters: no barrier; every thread keeps ROWS x 4 * QUADS sums in registers and reads both
// factors straight from storage, alone or together with the other threads of its subgroup. Where a sum is left in PARTS, each
// has workgroups and rows of the result of its own.
//{consts}

fn part(group: u32, lane: u32) {
//{piece}
    // Also 0, and known to be the same for all threads, which those must be that pass values on.
    let nothing = group >> 31u;
//{if whole}
    let k_begin = 0u;
    let k_end = inner_extent() + nothing;
//{end}
//{if in parts}
    // Parts begin at a multiple of four steps. One that begins after the last step, which only sums over a batch have, comes
    // to zero.
    let each = (inner_extent() + PARTS * 4u - 1u) / (PARTS * 4u) * 4u;
    let k_begin = piece * each;
    let k_end = min(k_begin + each, inner_extent()) + nothing;
//{end}
//{if alone}
    let tile = at * WORKGROUP + lane;
    let tiles = (dims.quads + QUADS - 1u) / QUADS;
    let c0 = tile % tiles * QUADS;
    let row0 = tile / tiles * ROWS;
    let beyond = row0 >= m;
//{end}
//{if together}
    // Down some rows of tiles, then on to the next column: so many that their left factors stay in a core's own cache.
    let tiles = (dims.quads + WORKGROUP * QUADS - 1u) / (WORKGROUP * QUADS);
    let first = at / (dims.down * tiles) * dims.down;
    let downs = min(dims.down, (m + ROWS - 1u) / ROWS - first);
    let within = at - first * tiles;
    let c0 = (within / downs * WORKGROUP + lane) * QUADS;
    let row0 = (first + within % downs) * ROWS;
    // A batch may have fewer rows than were planned for, and so fewer tiles.
    let beyond = row0 >= m || within / downs >= tiles;
//{end}
    if (beyond) {
        return;
    }
//{zero sums}
//{starts}
//{if ahead}
    // Where the right factor is large, its rows lie far apart in slow memory, and each would be waited for in turn. So
    // those of the next steps are asked for together, by the first tile of a column: eight cache lines a load.
    let far = select(0u, dims.far, within % downs == 0u);
    var asked = 0u;
    var next = k_begin;
    loop {
        let ready = min(next + AHEAD, k_end);
        for (var k = next; k < min(ready, far); k += 4u) {
//{ask}
        }
//{end}
//{if not ahead}
    let next = k_begin;
    let ready = k_end;
//{end}
    // Loops that hold a product are left at their ends: Mesa's software driver goes once more through a loop that is left
    // at its top, under a mask that is empty.
    var k = next;
    loop {
//{factors}
//{products}
        k += 4u;
        if (k >= ready) {
            break;
        }
    }
//{if ahead}
        next += AHEAD;
        if (next >= k_end) {
            break;
        }
    }
    // Who asks must seem to need the answer.
    s0_0.x = bitcast<f32>(bitcast<u32>(s0_0.x) | (none & asked));
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
            body(row * PARTS + piece, c, sums[mine + i]);
        }
    }
//{end}
}
