//! Runs that go bad: what the GPU says about the step in which it happened.

use std::mem::offset_of;

use super::resident::Resident;
use crate::error::{Error, Result};
use crate::gpu::{Readback, Wait};
use crate::plan::Role;
use crate::state::{BAD_GRADIENT, BAD_UPDATE, State};

/// A step that went bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// The step, counted from 0.
    pub step: u64,
    /// The term of the objective, [`BAD_GRADIENT`] or [`BAD_UPDATE`].
    term: u32,
}

impl Bad {
    /// What went bad in a run of about `near` steps, if anything did, from the words of its state and flags. The GPU
    /// counts steps in 32 bits.
    pub fn find(words: &[u32], near: u64) -> Result<Option<Bad>> {
        let internal = || Error::Internal(format!("{} words of state and flags", words.len()));
        let (state, flags) = words.split_at_checked(16).ok_or_else(internal)?;
        let state: &State = bytemuck::try_cast_slice(state).ok().and_then(<[State]>::first).ok_or_else(internal)?;
        let whole = |step| whole(step, near);
        Ok(match (state.halted, flags.first()) {
            (0, Some(0) | None) => None,
            // The next step would have noticed.
            (0, _) => Some(Bad { step: whole(state.step.wrapping_sub(1)), term: BAD_UPDATE }),
            _ => Some(Bad { step: whole(state.bad_step), term: state.bad_term }),
        })
    }

    /// The error that names the step and what went bad in it; `names` are those of the terms of each step of a turn, each
    /// list ended by what the step's gradient and its update are called.
    pub fn error(&self, names: &[Vec<String>]) -> Error {
        let names = names.get((self.step % names.len().max(1) as u64) as usize);
        let name = names.and_then(|names| match self.term {
            BAD_GRADIENT => names.iter().nth_back(1),
            BAD_UPDATE => names.last(),
            term => names.get(term as usize),
        });
        Error::Diverged { step: self.step, term: name.cloned().unwrap_or_default() }
    }

    /// Whether a part of the step was taken: its gradient was finite, some of the values it led to were not.
    pub fn torn(&self) -> bool {
        self.term == BAD_UPDATE
    }

    /// Steps that the parameters have taken, the torn one included: it must not be taken again.
    pub fn taken(&self) -> u64 {
        self.step.saturating_add(self.torn().into())
    }
}

/// The number of a step near another, of which the GPU knows 32 bits.
fn whole(step: u32, near: u64) -> u64 {
    near.saturating_add_signed(i64::from(step.wrapping_sub(near as u32) as i32))
}

impl Resident {
    /// Waits for everything submitted and tells how many steps were taken: `from` or some more.
    pub fn counted(&self, from: u64) -> Result<u64> {
        let found = self.gpu.read(&self.state, offset_of!(State, step) / 4, 1)?;
        Ok(found.first().map_or(from, |step| whole(step.to_bits(), from).max(from)))
    }

    /// Waits for everything submitted and tells whether one of about `near` steps went bad.
    pub async fn bad(&self, near: u64, how: Wait) -> Result<Option<Bad>> {
        let flags = self.buffer(Role::Flags)?;
        let mut readback = Readback::new(&self.gpu, self.state.bytes() + flags.bytes())?;
        readback.start(&[&self.state, flags].map(|buffer| (buffer, 0..buffer.bytes())))?;
        Bad::find(&bytemuck::pod_collect_to_vec::<u8, u32>(&readback.finish(how).await?), near)
    }
}
