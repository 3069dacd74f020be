// Matrix product by cooperative matrices, of factors in half precision: a workgroup stages a tile of both factors in
// workgroup memory, as they lie in storage, and fetches the next one while each of its subgroups multiplies its squares of
// SIDE x SIDE values, which are summed in single precision.
//{consts}

fn part(group: u32, lane: u32) {
    let m = space_rows();
    let k_end = inner_extent();
    let across = (dims.quads * 4u + TILE - 1u) / TILE;
    // The tile's first quads, of rows and of columns, and the subgroup's first row and column in it.
    let first_a = group / across * (TILE / 4u);
    let first_b = group % across * (TILE / 4u);
    let my_row = team / TEAMS_ACROSS * DOWN;
    let my_column = team % TEAMS_ACROSS * ACROSS;
    var k0 = 0u;
//{start}
//{fetch}
    loop {
//{keep}
        workgroupBarrier();
        k0 += DEPTH;
//{fetch}
//{products}
        if (k0 >= k_end) {
            break;
        }
        workgroupBarrier();
    }
//{store sums}
}

// What follows the product, for the square that the subgroup has put into workgroup memory.
fn keep(row0: u32, c0: u32, first: u32) {
    for (var i = seat; i < SIDE * SIDE / 4u; i += SUBGROUP) {
        let row = row0 + i / (SIDE / 4u);
        let c = c0 + i % (SIDE / 4u);
        let at = first + i * 4u;
        if (row < space_rows() && c < dims.quads) {
            body(row, c, T(squares[at], squares[at + 1u], squares[at + 2u], squares[at + 3u]));
        }
    }
}
