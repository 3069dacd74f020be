//! The state of a run as it lies on the GPU: the struct of shaders/state.wgsl, word for word.

use crate::random::key;

/// What changes from step to step. See shaders/state.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct State {
    /// Steps taken.
    pub step: u32,
    /// Rows in the current batch.
    pub rows: u32,
    /// The seed, low word first.
    pub seed: [u32; 2],
    /// Where the batch starts in the resident rows.
    pub first_row: u32,
    /// Resident rows.
    pub count: u32,
    /// Rows in a full batch.
    pub batch: u32,
    /// Passes over the resident rows.
    pub epoch: u32,
    /// 1 once a step went bad.
    pub halted: u32,
    /// The step in which it happened.
    pub bad_step: u32,
    /// The term that was not finite, [`BAD_GRADIENT`] or [`BAD_UPDATE`].
    pub bad_term: u32,
    /// The row of scalars of the step that comes, which its passes read.
    pub table_row: u32,
    /// Whether the last, smaller batch of an epoch is used.
    pub ragged: u32,
    /// The row of scalars of the step whose update comes.
    pub update_row: u32,
    /// Unused.
    pub spare: [u32; 2],
}

/// [`State::bad_term`] where a gradient, or its square, was not finite.
pub const BAD_GRADIENT: u32 = u32::MAX;

/// [`State::bad_term`] where the gradient was finite but an updated value would not have been.
pub const BAD_UPDATE: u32 = u32::MAX - 1;

impl State {
    /// The state before the first of `rows` rows, in one batch.
    pub fn once(rows: usize, seed: u64) -> State {
        let rows = rows as u32;
        State { rows, count: rows, batch: rows, seed: key(seed), ragged: 1, ..State::default() }
    }
}
