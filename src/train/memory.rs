//! What a session holds on the device.

use std::fmt;

use super::Session;
use crate::gpu::Buffer;
use crate::plan::Role;

/// Bytes that a session holds on the device, by what they are for. While rows are uploaded, copies of up to 64 MiB of them
/// come on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The trainable tensors and what has their layout: gradients, the optimizer's moments, the best parameters so far.
    pub arenas: u64,
    /// Rows that are resident: those that are trained on and those held out.
    pub data: u64,
    /// What passes between dispatches, into them and out of them.
    pub values: u64,
    /// Frozen tensors, scalars, reports, and what reading back needs.
    pub other: u64,
}

impl Memory {
    /// All of it.
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

impl Session {
    /// What the session holds on the device now: more once data is loaded and for each way in which it was used.
    ///
    /// ```no_run
    /// # use strait::{Activation, Gpu, Session, Spec, Training, data};
    /// # let mut session =
    /// #     Session::new(&Gpu::new()?, &Spec::symmetric(&[64, 8], Activation::Elu), Training::default())?;
    /// session.load(data::digits()?)?;
    /// println!("{}", session.memory());
    /// # Ok::<(), strait::Error>(())
    /// ```
    pub fn memory(&self) -> Memory {
        let mut held: Vec<(Option<Role>, &Buffer)> = self.resident.held().collect();
        held.extend(self.engine.iter().flat_map(|engine| engine.held()));
        held.extend(self.inference.values().flat_map(|inference| inference.held()));
        let mut memory = Memory::default();
        let mut seen: Vec<&Buffer> = Vec::new();
        for (role, buffer) in held {
            if seen.contains(&buffer) {
                continue;
            }
            seen.push(buffer);
            let part = match role {
                Some(Role::Arena(_)) => &mut memory.arenas,
                Some(Role::Data) => &mut memory.data,
                Some(Role::Slot(_) | Role::Half(_) | Role::Input(_) | Role::Output(_)) => &mut memory.values,
                _ => &mut memory.other,
            };
            *part += buffer.bytes();
        }
        memory
    }
}
