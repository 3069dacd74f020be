// Matrix product for hardware adapters. The workgroup's threads are SLICES squares of SIDE x SIDE. Each such slice stages
// tiles of both factors in workgroup memory, over its own part of the inner dimension, and fetches the next one while it
// multiplies; a thread keeps its sums in registers. At the end the slices' sums are added up. Where a sum is left in PARTS,
// each has workgroups and rows of the result of its own.
//{consts}

//{seats}

// What follows the product, for one of the sums of the thread in `seat`: its i-th row and j-th quad.
fn keep(first_a: u32, first_b: u32, i: u32, j: u32, seat: u32, m: u32, piece: u32, sum: T) {
    let row = (first_a + i / 4u * SIDE + down_of(seat)) * 4u + i % 4u;
    let c = first_b + j * SIDE + across_of(seat);
    if (row < m && c < dims.quads) {
        body(row * PARTS + piece, c, sum);
    }
}

fn part(group: u32, lane: u32) {
//{piece}
    let across = (dims.quads + ACROSS - 1u) / ACROSS;
    // The tile's first quads, of rows and of columns.
    let first_a = at / across * DOWN;
    let first_b = at % across * ACROSS;
    let seat = lane % (SIDE * SIDE);
    let slice = lane / (SIDE * SIDE);
    // All slices go through as many rounds, so that they meet at every barrier.
    let k_all = inner_extent();
    let rounds = (k_all + PARTS * SLICES * DEPTH - 1u) / (PARTS * SLICES * DEPTH);
    var k0 = (piece * SLICES + slice) * rounds * DEPTH;
    let k_end = min(k0 + rounds * DEPTH, k_all);
    // Where in a run the slice's quads lie, and the thread's own of both factors.
    let mine = slice * SIDE;
    let my_a = mine + down_of(seat);
    let my_b = mine + across_of(seat);
//{start}
//{fetch}
    var round = 1u;
    loop {
//{keep}
        workgroupBarrier();
        k0 += DEPTH;
//{fetch}
//{products}
        if (round >= rounds) {
            break;
        }
        round++;
        workgroupBarrier();
    }
//{store sums}
}
