// Matrix product for hardware adapters: a workgroup of 16 x 16 threads stages a tile of both factors in workgroup
// memory; every thread keeps ROWS x 4 * QUADS sums in registers.
//{consts}
const WIDE: u32 = QUADS * 4u;
const TILE_M: u32 = 16u * ROWS;
const TILE_N: u32 = 16u * WIDE;

fn part(group: u32, lane: u32) {
    let m = space_rows();
    let k_end = inner_extent() + none;
    let across = (dims.quads * 4u + TILE_N - 1u) / TILE_N;
    let first_row = group / across * TILE_M;
    let column0 = group % across * TILE_N;
    let my_row = lane / 16u * ROWS;
    let row0 = first_row + my_row;
    let my_column = lane % 16u * WIDE;
//{zero sums}
    for (var k0 = 0u; k0 < k_end; k0 += DEPTH) {
        for (var i = lane; i < TILE_M * DEPTH / 4u; i += 256u) {
//{stage left}
        }
        for (var i = lane; i < TILE_N * DEPTH / 4u; i += 256u) {
//{stage right}
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let l = k * TILE_M + my_row;
            let r = k * TILE_N + my_column;
//{products}
        }
        workgroupBarrier();
    }
    let c0 = (column0 + my_column) / 4u;
//{store sums}
}
