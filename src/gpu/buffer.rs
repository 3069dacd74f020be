//! Buffers on the device.

use super::context::{Gpu, lock};
use crate::error::{Error, Result};

/// Bytes written at a time.
const PIECE: usize = 8 << 20;
/// Bytes written between two submissions of nothing but copies.
const STAGED: usize = 32 << 20;

/// What was written of late.
#[derive(Default)]
pub(super) struct Staged {
    /// Bytes since the last submission of copies,
    bytes: usize,
    /// and that submission.
    submitted: Option<wgpu::SubmissionIndex>,
}

/// A buffer on the device, or a part of one. Cloning gives another handle to the same memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    /// Where it begins in that, in bytes, and how many it has.
    pub(super) start: u64,
    bytes: u64,
}

impl Buffer {
    /// The host application's own buffer. It needs the usages STORAGE, COPY_SRC and COPY_DST as far as it is bound,
    /// read or written.
    pub fn adopt(buffer: wgpu::Buffer) -> Buffer {
        Buffer { bytes: buffer.size(), raw: buffer, start: 0 }
    }

    /// A part of it: so many bytes from the byte `offset` on. What is bound to a model begins at a multiple of the
    /// device's `min_storage_buffer_offset_alignment`, which is 256 in WebGPU.
    ///
    /// ```no_run
    /// # fn show(model: &strait::Model, frame: strait::wgpu::Buffer) -> strait::Result<()> {
    /// use strait::gpu::Buffer;
    /// use strait::model::Purpose;
    ///
    /// // 64 rows of 64 values after the first MiB of the host's buffer; their codes of 8 values take their place after them.
    /// let frame = Buffer::adopt(frame);
    /// let (rows, codes) = (frame.slice(1 << 20, 64 * 64 * 4)?, frame.slice((1 << 20) + 64 * 64 * 4, 64 * 8 * 4)?);
    /// model.attach(Purpose::Encode, rows, codes, 64)?.run(64)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Spec`] where the part does not lie in the buffer, or is no whole words of 4 bytes.
    pub fn slice(&self, offset: u64, bytes: u64) -> Result<Buffer> {
        self.check("slice", offset, bytes)?;
        Ok(Buffer { raw: self.raw.clone(), start: self.start + offset, bytes })
    }

    /// Whether it is memory of the same buffer of the device.
    pub(crate) fn is_of(&self, other: &Buffer) -> bool {
        self.raw == other.raw
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fails where the bytes do not lie in it, or are no whole words.
    pub(crate) fn check(&self, op: &str, offset: u64, bytes: u64) -> Result<()> {
        let end = offset.checked_add(bytes);
        let allowed = if end.is_none_or(|end| end > self.bytes()) {
            format!("what lies in a buffer of {} bytes", self.bytes())
        } else if !offset.is_multiple_of(4) || !bytes.is_multiple_of(4) {
            "whole words of 4 bytes".into()
        } else {
            return Ok(());
        };
        Err(Error::spec(op, format!("{bytes} bytes from byte {offset} on"), allowed))
    }

    /// Fails where the host's own buffer, which errors call `what`, may not be bound to programs, or begins where the device binds
    /// none.
    pub(crate) fn check_binding(&self, gpu: &Gpu, what: &str) -> Result<()> {
        self.check_usage(what, wgpu::BufferUsages::STORAGE)?;
        let alignment = u64::from(gpu.device().limits().min_storage_buffer_offset_alignment);
        if self.start.is_multiple_of(alignment) {
            return Ok(());
        }
        let allowed = format!("a start at a multiple of {alignment}");
        Err(Error::spec(what, format!("bytes from {} on", self.start), allowed))
    }

    /// Fails where nothing may be copied out of it.
    pub(crate) fn check_source(&self, what: &str) -> Result<()> {
        self.check_usage(what, wgpu::BufferUsages::COPY_SRC)
    }

    /// Fails where so many bytes from the byte `offset` on cannot be copied into it.
    pub(crate) fn check_target(&self, what: &str, offset: u64, bytes: u64) -> Result<()> {
        self.check_usage(what, wgpu::BufferUsages::COPY_DST)?;
        self.check(what, offset, bytes)
    }

    fn check_usage(&self, what: &str, needed: wgpu::BufferUsages) -> Result<()> {
        let usage = self.raw.usage();
        if usage.contains(needed) {
            return Ok(());
        }
        let names =
            |usage: wgpu::BufferUsages| usage.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" | ");
        let allowed = format!("one whose usages have {}", names(needed));
        Err(Error::spec(what, format!("a buffer of the usages {}", names(usage)), allowed))
    }
}

impl Gpu {
    /// A buffer of zeros.
    ///
    /// # Errors
    /// [`Error::Limit`] where it is larger than the adapter allows, [`Error::Device`] where memory is short.
    #[doc(hidden)]
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::UNIFORM
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        self.buffer_for(label, bytes, usage)
    }

    pub(super) fn buffer_for(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        let needs = bytes.max(16).checked_next_multiple_of(16).unwrap_or(u64::MAX);
        let allowed = self.limits().buffer_bytes;
        if needs > allowed {
            return Err(Error::Limit { what: label.into(), needs, allowed, limit: "max_buffer_size" });
        }
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: needs, usage, mapped_at_creation: false };
        let buffer = self.scoped(label, |device| Buffer::adopt(device.create_buffer(&descriptor)))?;
        self.ask().map(|()| buffer)
    }

    /// Writes bytes before anything that is submitted later.
    ///
    /// # Errors
    /// [`Error::Spec`] where they do not fit or are no whole words; [`Error::Device`] and [`Error::DeviceLost`].
    #[doc(hidden)]
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        buffer.check("write", offset, bytes.len() as u64)?;
        for (piece, offset) in bytes.chunks(PIECE).zip((offset..).step_by(PIECE)) {
            let size = wgpu::BufferSize::new(piece.len() as u64);
            let taken = self.scoped("write", |_| {
                let mut room = self.queue().write_buffer_with(&buffer.raw, buffer.start + offset, size?)?;
                room.copy_from_slice(piece);
                Some(())
            })?;
            // A lost device gives no room, and reports nothing.
            taken.ok_or_else(|| self.failure("write", "there is no room for what is written"))?;
            self.retire(piece.len())?;
        }
        Ok(())
    }

    /// wgpu keeps a copy of what is written until it has been submitted and has run. So that an upload of any size
    /// holds few of them, copies are submitted now and then, and those before the last ones are waited for.
    fn retire(&self, bytes: usize) -> Result<()> {
        {
            let mut staged = lock(self.staged());
            staged.bytes += bytes;
            if staged.bytes < STAGED {
                return Ok(());
            }
            staged.bytes = 0;
        }
        // Not under the lock: whoever is called back meanwhile may write.
        let submitted = self.scoped("write", |_| self.queue().submit([]))?;
        let before = lock(self.staged()).submitted.replace(submitted);
        before.map_or(Ok(()), |before| self.wait_for(Some(before)))
    }
}
