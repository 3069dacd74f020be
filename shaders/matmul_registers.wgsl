// Matrix product for software adapters: no workgroup memory and no barrier; every thread keeps ROWS x 4 * QUADS sums
// in registers and reads both factors straight from storage, four values at a time.
//{consts}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = space_rows();
    let k_end = inner_extent();
    let tile = id.x + id.y * dims.wrap;
    let tiles = (dims.quads + QUADS - 1u) / QUADS;
    let row0 = tile / tiles * ROWS;
    let c0 = tile % tiles * QUADS;
    if (row0 >= m) {
        return;
    }
//{zero sums}
//{starts}
    for (var k = 0u; k < k_end; k += STEP) {
//{products}
    }
//{store sums}
}
