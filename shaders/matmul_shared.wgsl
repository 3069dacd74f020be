// Matrix product for hardware adapters: a workgroup of 16 x 16 threads stages a tile of both factors in workgroup
// memory, and fetches the next one while it multiplies; every thread keeps ROWS x 4 * QUADS sums in registers, its quads
// sixteen apart, so that threads side by side read and write quads side by side.
//{consts}
const DOWN: u32 = 16u * ROWS;
const ACROSS: u32 = 16u * QUADS;

fn part(group: u32, lane: u32) {
    let m = space_rows();
    let k_end = inner_extent() + none;
    let across = (dims.quads + ACROSS - 1u) / ACROSS;
    let first_row = group / across * DOWN;
    let first_quad = group % across * ACROSS;
    let my_row = lane / 16u * ROWS;
    let my_quad = lane % 16u;
    let row0 = first_row + my_row;
    let c0 = first_quad + my_quad;
//{start}
//{zero sums}
    var k0 = 0u;
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
