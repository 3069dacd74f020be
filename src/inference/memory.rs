//! What a model, or a session that trains one, holds on the device.

use std::fmt;

use crate::gpu::Buffer;
use crate::plan::Role;

/// Bytes that a model or a session holds on the device, by what they are for. While rows are uploaded, copies of up to
/// 64 MiB of them come on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The trainable tensors and what has their layout: gradients, the optimizer's moments, the best parameters so far,
    /// averages.
    #[doc(hidden)]
    pub arenas: u64,
    /// Rows that are resident: those that are trained on and those held out.
    #[doc(hidden)]
    pub data: u64,
    /// What passes between dispatches, into them and out of them, back to the host too.
    #[doc(hidden)]
    pub values: u64,
    /// Frozen tensors, scalars, reports, and what reading back needs.
    #[doc(hidden)]
    pub other: u64,
}

impl Memory {
    /// All of it, in bytes; printed, it says what for.
    pub fn total(&self) -> u64 {
        self.arenas + self.data + self.values + self.other
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory { arenas, data, values, other } = self;
        let total = self.total();
        write!(f, "{total} bytes: arenas {arenas}, data {data}, values between dispatches {values}, other {other}")
    }
}

impl Memory {
    /// Of buffers, each counted once, with what they are for.
    pub(crate) fn of(held: impl IntoIterator<Item = (Option<Role>, Buffer)>) -> Memory {
        let mut memory = Memory::default();
        let mut seen: Vec<Buffer> = Vec::new();
        for (role, buffer) in held {
            if seen.contains(&buffer) {
                continue;
            }
            let part = match role {
                Some(Role::Arena(_)) => &mut memory.arenas,
                Some(Role::Data) => &mut memory.data,
                Some(Role::Slot(_) | Role::Half(_) | Role::Input(_) | Role::Output(_)) => &mut memory.values,
                _ => &mut memory.other,
            };
            *part += buffer.bytes();
            seen.push(buffer);
        }
        memory
    }
}
