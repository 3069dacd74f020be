//! What training keeps on the GPU beside the tensors: the table of scalars, flags, and the state and the reports of
//! whatever trains them.

use std::ops::{Deref, DerefMut};

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::gpu::Buffer;
use crate::graph::Scalars;
use crate::inference;
use crate::kernel::{RING, TERMS};
use crate::plan::Role;

/// Tensors that are trained. Cloning gives other handles to the same buffers.
#[derive(Clone)]
pub(super) struct Resident {
    tensors: inference::Resident,
    /// The terms of the last steps.
    pub ring: Buffer,
    pub state: Buffer,
}

impl Resident {
    /// Of these tensors, with a table of these scalars.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Device`].
    pub fn new(mut tensors: inference::Resident, scalars: Scalars) -> Result<Resident> {
        let gpu = tensors.gpu.clone();
        tensors.shared.insert(Role::Flags, gpu.buffer("flags", 16)?);
        let (ring, state) = (gpu.buffer("ring", (RING * TERMS * 4) as u64)?, gpu.buffer("state", 64)?);
        let mut resident = Resident { tensors, ring, state };
        resident.set_scalars(scalars)?;
        Ok(resident)
    }

    /// Has a table of other scalars from now on.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Device`].
    pub fn set_scalars(&mut self, scalars: Scalars) -> Result<()> {
        inference::fits_binding(&self.gpu, "table", scalars.bytes())?;
        let table = self.gpu.buffer("table", scalars.bytes())?;
        self.shared.insert(Role::Table, table);
        self.tensors.tensors = self.tensors.tensors.clone().with_scalars(scalars);
        Ok(())
    }

    /// All buffers.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        self.tensors.held().chain([&self.ring, &self.state].map(|buffer| (None, buffer)))
    }
}

impl Deref for Resident {
    type Target = inference::Resident;

    fn deref(&self) -> &inference::Resident {
        &self.tensors
    }
}

impl DerefMut for Resident {
    fn deref_mut(&mut self) -> &mut inference::Resident {
        &mut self.tensors
    }
}
