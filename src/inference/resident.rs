//! Tensors that lie on the GPU, with what is kept of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::{Error, Result, not_finite};
use crate::gpu::{Buffer, Gpu, Work};
use crate::graph::{Arena, Graph, Kept, Layout, Set, Tensor};
use crate::plan::Role;

/// Tensors in their sets, on a device. Cloning gives other handles to the same buffers.
#[derive(Clone)]
pub(crate) struct Resident {
    pub gpu: Gpu,
    /// The tensors in their sets, and the scalars: a graph without nodes.
    pub tensors: Graph,
    /// Of each of them its set, and where it lies in the set's buffers.
    offsets: Vec<(Set, u64)>,
    /// Buffers that outlive a step and are shared by all programs.
    pub shared: BTreeMap<Role, Buffer>,
}

impl Resident {
    /// All tensors 0.
    ///
    /// # Errors
    /// [`Error::Limit`] naming the tensor or the set that no binding holds; [`Error::Device`].
    pub fn new(gpu: &Gpu, tensors: Graph) -> Result<Resident> {
        let values = |set: Set| {
            // A set that is too large has one tensor.
            let name = tensors.tensors(set).first().map_or("", |tensor| &tensor.name);
            let what = format!("{}, from {name} on", tensors.set_name(set));
            (Role::Arena(set.arena(Kept::Values)), what, tensors.layout(set).bytes)
        };
        let mut wanted: Vec<(Role, String, u64)> = tensors.sets().map(values).collect();
        if !tensors.constants.is_empty() {
            wanted.push((Role::Constants, "the frozen tensors".into(), Layout::new(&tensors.constants).bytes));
        }
        wanted.iter().try_for_each(|(_, what, bytes)| fits_binding(gpu, what, *bytes))?;
        let mut shared = BTreeMap::new();
        for (role, what, bytes) in wanted {
            shared.insert(role, gpu.buffer(&what, bytes)?);
        }
        Ok(Resident { gpu: gpu.clone(), offsets: tensors.offsets(), tensors, shared })
    }

    /// Its first sets, which are those of `tensors`: other handles to their values, and to the frozen tensors.
    pub fn first(&self, tensors: Graph) -> Resident {
        let sets = tensors.sets().count();
        let mut shared = self.shared.clone();
        shared.retain(|role, _| match role {
            Role::Arena(Arena { set, kept }) => set.0 < sets && *kept == Kept::Values,
            role => *role == Role::Constants,
        });
        Resident { gpu: self.gpu.clone(), offsets: tensors.offsets(), tensors, shared }
    }

    /// The trainable tensors, through all sets.
    pub fn params(&self) -> &[Tensor] {
        &self.tensors.params
    }

    /// The buffer of a role.
    pub fn buffer(&self, role: Role) -> Result<&Buffer> {
        self.shared.get(&role).ok_or_else(|| Error::Internal(format!("no buffer of the role {role:?} is kept")))
    }

    /// All buffers.
    pub fn held(&self) -> impl Iterator<Item = (Option<Role>, &Buffer)> {
        self.shared.iter().map(|(role, buffer)| (Some(*role), buffer))
    }

    /// Makes the buffers that keep something of a set's tensors, where they are not there.
    pub fn keep(&mut self, set: Set, kept: Kept) -> Result<()> {
        if let Entry::Vacant(e) = self.shared.entry(Role::Arena(set.arena(kept))) {
            let what = format!("{kept} of {}", self.tensors.set_name(set));
            e.insert(self.gpu.buffer(&what, self.tensors.layout(set).bytes)?);
        }
        Ok(())
    }

    /// The same for all sets.
    pub fn keep_all(&mut self, kept: Kept) -> Result<()> {
        self.tensors.sets().try_for_each(|set| self.keep(set, kept))
    }

    /// The same for the set of the i-th trainable tensor.
    pub fn keep_of(&mut self, i: usize, kept: Kept) -> Result<()> {
        match self.offsets.get(i) {
            Some(&(set, _)) => self.keep(set, kept),
            None => Ok(()),
        }
    }

    /// Writes something that is kept of all trainable tensors, row-major, where all of it is finite and fits.
    pub fn write_all(&self, kept: Kept, what: &str, values: &[Vec<f32>]) -> Result<()> {
        let tensors = self.params();
        if values.len() != tensors.len() {
            return Err(Error::data(what, values.len(), format!("{} tensors", tensors.len())));
        }
        finite(tensors, values)?;
        tensors.iter().zip(values).try_for_each(|(tensor, values)| tensor.check_count(values.len()))?;
        (0..values.len()).try_for_each(|i| self.write(kept, i, &values[i]))
    }

    /// Writes something that is kept of the i-th trainable tensor, row-major.
    pub fn write(&self, kept: Kept, i: usize, values: &[f32]) -> Result<()> {
        let (buffer, first) = self.place(kept, i)?;
        let tensor = &self.params()[i];
        tensor.check_count(values.len())?;
        let (columns, stride) = (tensor.shape.columns(), tensor.shape.stride());
        if columns == stride {
            return self.gpu.write(buffer, first as u64 * 4, bytemuck::cast_slice(values));
        }
        let mut padded = vec![0.0; tensor.shape.blocks() * stride];
        for (row, values) in padded.chunks_mut(stride).zip(values.chunks(columns)) {
            row[..columns].copy_from_slice(values);
        }
        self.gpu.write(buffer, first as u64 * 4, bytemuck::cast_slice(&padded))
    }

    /// Reads something that is kept of the i-th trainable tensor, row-major.
    pub fn read(&self, kept: Kept, i: usize) -> Result<Vec<f32>> {
        let (buffer, first) = self.place(kept, i)?;
        let shape = &self.params()[i].shape;
        let stored = self.gpu.read(buffer, first, shape.blocks() * shape.stride())?;
        Ok(if shape.is_unpadded() { stored } else { shape.unpadded(&stored) })
    }

    /// Copies the i-th trainable tensor, row-major without padding, into a buffer from the byte `offset` on.
    pub fn copy_out(&self, i: usize, into: &Buffer, offset: u64) -> Result<()> {
        let (from, first) = self.place(Kept::Values, i)?;
        let shape = &self.params()[i].shape;
        let (columns, stride) = (shape.columns(), shape.stride());
        // Where nothing is padded it is one row.
        let (rows, columns, stride) =
            if columns == stride { (1, shape.blocks() * columns, 0) } else { (shape.blocks(), columns, stride) };
        let bytes = columns as u64 * 4;
        let what = format!("place for {} in the host's own buffer", self.params()[i].name);
        into.check_target(&what, offset, bytes.saturating_mul(rows as u64))?;
        let row = |row: u64| {
            let start = (first as u64 + row * stride as u64) * 4;
            Ok([from.slice(start, bytes)?, into.slice(offset + row * bytes, bytes)?])
        };
        let rows = (0..rows as u64).map(row).collect::<Result<Vec<_>>>()?;
        self.gpu.submit(rows.iter().map(|[from, to]| Work::Copy(from, to)))?;
        self.gpu.alive()
    }

    /// Reads something that is kept of all trainable tensors.
    pub fn read_all(&self, kept: Kept) -> Result<Vec<Vec<f32>>> {
        (0..self.params().len()).map(|i| self.read(kept, i)).collect()
    }

    /// Copies what is kept of the tensors over something else that is, on the device.
    pub fn copy(&self, from: Kept, to: Kept) -> Result<()> {
        let mut work = Vec::new();
        for set in self.tensors.sets() {
            let [from, to] = [from, to].map(|kept| self.buffer(Role::Arena(set.arena(kept))));
            work.push(Work::Copy(from?, to?));
        }
        self.gpu.submit(work)?;
        self.gpu.alive()
    }

    /// The frozen tensors.
    pub fn constants(&self) -> Result<Vec<Vec<f32>>> {
        let tensors = &self.tensors.constants;
        if tensors.is_empty() {
            return Ok(vec![]);
        }
        let layout = Layout::new(tensors);
        let packed = self.gpu.read(self.buffer(Role::Constants)?, 0, layout.bytes as usize / 4)?;
        layout.unpack(tensors, &packed)
    }

    /// Replaces the frozen tensors.
    pub fn set_constants(&self, values: &[Vec<f32>]) -> Result<()> {
        let tensors = &self.tensors.constants;
        if tensors.is_empty() {
            return Ok(());
        }
        let packed = Layout::new(tensors).pack(tensors, values)?;
        self.gpu.write(self.buffer(Role::Constants)?, 0, bytemuck::cast_slice(&packed))
    }

    /// Where something that is kept of the i-th trainable tensor lies: the buffer, and the first value in it.
    fn place(&self, kept: Kept, i: usize) -> Result<(&Buffer, usize)> {
        let missing = || Error::Internal(format!("trainable tensor {i} is in no set"));
        let &(set, offset) = self.offsets.get(i).ok_or_else(missing)?;
        Ok((self.buffer(Role::Arena(set.arena(kept)))?, offset as usize / 4))
    }
}

/// Fails where no binding holds so many bytes.
pub(crate) fn fits_binding(gpu: &Gpu, what: &str, needs: u64) -> Result<()> {
    let (allowed, limit) = (gpu.limits().binding_bytes, "max_storage_buffer_binding_size");
    if needs > allowed { Err(Error::Limit { what: what.into(), needs, allowed, limit }) } else { Ok(()) }
}

/// Fails where a value of one of these tensors is not finite.
pub(crate) fn finite(tensors: &[Tensor], values: &[Vec<f32>]) -> Result<()> {
    for (tensor, values) in tensors.iter().zip(values) {
        if let Some(at) = not_finite(values) {
            return Err(Error::data(&tensor.name, values[at], "finite numbers"));
        }
    }
    Ok(())
}
