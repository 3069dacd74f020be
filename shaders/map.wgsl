// Elementwise work: one thread computes four neighbouring columns of one row.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x + id.y * dims.wrap;
    if (i >= space_rows() * dims.quads) {
        return;
    }
    body(i / dims.quads, i % dims.quads);
}
