// Matrix product by cooperative matrices, of factors in half precision: four subgroups stage a tile of both factors in
// workgroup memory, and each multiplies two by two squares of SIDE x SIDE values, which it sums in single precision.
//{consts}
const TILE_M: u32 = 4u * SIDE;
const TILE_N: u32 = 4u * SIDE;
const DEPTH: u32 = 2u * SIDE;

fn part(group: u32, lane: u32) {
    let k_end = inner_extent() + none;
    let across = (dims.quads * 4u + TILE_N - 1u) / TILE_N;
    let first_row = group / across * TILE_M;
    let column0 = group % across * TILE_N;
    let my_row = team / 2u * 2u * SIDE;
    let my_column = team % 2u * 2u * SIDE;
//{zero sums}
    for (var k0 = 0u; k0 < k_end; k0 += DEPTH) {
        for (var i = lane; i < TILE_M * DEPTH / 4u; i += WORKGROUP) {
//{stage left}
        }
        for (var i = lane; i < TILE_N * DEPTH / 4u; i += WORKGROUP) {
//{stage right}
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIDE) {
            let l = k * TILE_M + my_row;
            let r = k * TILE_N + my_column;
//{products}
        }
        workgroupBarrier();
    }
//{store sums}
}

// What follows the product, for the square that the subgroup has put into workgroup memory.
fn keep(row0: u32, c0: u32) {
    for (var i = seat; i < SIDE * SIDE / 4u; i += SUBGROUP) {
        let row = row0 + i / (SIDE / 4u);
        let c = c0 + i % (SIDE / 4u);
        let at = team * SIDE * SIDE + i * 4u;
        if (row < space_rows() && c < dims.quads) {
            body(row, c, T(squares[at], squares[at + 1u], squares[at + 2u], squares[at + 3u]));
        }
    }
}
