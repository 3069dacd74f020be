// Ends the forward and backward passes of a step: reports the terms, stops training where one of them or the gradient
// is not finite, and moves on to the next batch after the last step of a turn. One thread; the update of the parameters follows, unless it stopped.
// An evaluation, which changes nothing, sets flags[2]: it goes on, so that every batch reports its terms.

const RING: u32 = 1024u;
const TERMS: u32 = 16u;

@group(0) @binding(0) var<storage, read_write> state: State;
@group(0) @binding(1) var<storage, read> terms: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> ring: array<f32>;
@group(0) @binding(3) var<storage, read_write> flags: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> dims: Dims;

struct Dims {
    terms: u32,
    moves_on: u32, // whether the next step has other rows
}

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    if (state.halted != 0u) {
        return;
    }
    // An update of the step before met a value that was not finite.
    if (atomicLoad(&flags[0]) != 0u) {
        state.halted = 1u;
        state.bad_step = state.step - 1u;
        state.bad_term = 0xfffffffeu;
        return;
    }
    let stops = atomicLoad(&flags[2]) == 0u;
    // A bound that drivers cannot work out: see `none` in kernel/mod.rs.
    for (var i = 0u; i < dims.terms + group.z; i++) {
        let term = terms[i * 16u].x;
        ring[(state.step % RING) * TERMS + i] = term;
        if (stops && state.halted == 0u && (bitcast<u32>(term) & 0x7f800000u) == 0x7f800000u) {
            state.halted = 1u;
            state.bad_step = state.step;
            state.bad_term = i;
        }
    }
    if (state.halted == 0u && atomicLoad(&flags[1]) != 0u) {
        state.halted = 1u;
        state.bad_step = state.step;
        state.bad_term = 0xffffffffu;
    }
    if (state.halted != 0u) {
        return;
    }
    state.update_row = state.step % RING;
    state.step += 1u;
    state.table_row = state.step % RING;
    if (dims.moves_on == 0u) {
        return;
    }
    state.first_row += state.rows;
    var left = state.count - state.first_row;
    if (left == 0u || (left < state.batch && state.ragged == 0u)) {
        state.first_row = 0u;
        state.epoch += 1u;
        left = state.count;
    }
    state.rows = min(state.batch, left);
}
