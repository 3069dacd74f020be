//! Reading back: a staging buffer that is made once, and a copy out of the GPU that can be waited for or awaited.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::buffer::Buffer;
use super::context::{Gpu, lock};
use crate::error::{Error, Result};

/// How long a callback that another thread has taken may take to be called.
const LATE: Duration = Duration::from_secs(5);

/// How to wait for the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Blocks the calling thread.
    Block,
    /// Gives the thread back until the device is done.
    Await,
}

/// A staging buffer for one copy at a time.
#[derive(Debug)]
pub struct Readback {
    gpu: Gpu,
    staging: Buffer,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    bytes: u64,
    shared: Arc<(Mutex<Shared>, Condvar)>,
    submission: wgpu::SubmissionIndex,
    waiter: bool,
}

#[derive(Debug, Default)]
struct Shared {
    done: Option<std::result::Result<(), String>>,
    waker: Option<Waker>,
}

impl Readback {
    /// Room for `bytes`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Readback> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Ok(Readback { gpu: gpu.clone(), staging: gpu.buffer_for("readback", bytes, usage)?, pending: None })
    }

    /// The staging buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.staging
    }

    /// Whether a copy is under way.
    pub fn busy(&self) -> bool {
        self.pending.is_some()
    }

    /// Copies ranges of buffers, one after the other, behind everything submitted so far.
    ///
    /// # Errors
    /// [`Error::Device`] where a range does not fit or a copy is under way.
    pub fn start(&mut self, parts: &[(&Buffer, Range<u64>)]) -> Result<()> {
        let mut bytes = 0;
        for (from, range) in parts {
            from.check("read", range.start, range.end.saturating_sub(range.start))?;
            bytes += range.end.saturating_sub(range.start);
        }
        if self.busy() || bytes > self.staging.bytes() {
            let message = format!("{bytes} bytes into a staging buffer of {}", self.staging.bytes());
            return Err(Error::Device { op: "read".into(), message });
        }
        let gpu = self.gpu.clone();
        let shared = Arc::new((Mutex::new(Shared::default()), Condvar::new()));
        let submission = gpu.scoped("read", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut at = 0;
            for (from, range) in parts {
                let length = range.end.saturating_sub(range.start);
                encoder.copy_buffer_to_buffer(&from.0, range.start, &self.staging.0, at, length);
                at += length;
            }
            let submission = gpu.queue().submit([encoder.finish()]);
            let told = shared.clone();
            self.staging.0.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                tell(&told, result.map_err(|e| e.to_string()));
            });
            submission
        })?;
        self.pending = Some(Pending { bytes, shared, submission, waiter: false });
        Ok(())
    }

    /// The bytes, if they have arrived; never blocks.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`] where the copy failed.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>> {
        let _ = self.gpu.device().poll(wgpu::PollType::Poll);
        self.arrived()
    }

    /// Forgets a copy that nobody waits for any more, so that another can be started.
    pub fn discard(&mut self) {
        if self.pending.take().is_some() {
            self.staging.0.unmap();
        }
    }

    /// Waits for the bytes.
    ///
    /// # Errors
    /// As [`Readback::take`].
    pub fn wait(&mut self) -> Result<Vec<u8>> {
        if let Some(pending) = &self.pending {
            let submission_index = Some(pending.submission.clone());
            let polled = self.gpu.device().poll(wgpu::PollType::Wait { submission_index, timeout: None });
            self.gpu.check()?;
            polled.map_err(|e| Error::Device { op: "read".into(), message: e.to_string() })?;
            // Another thread's poll may have taken the callback and not yet called it.
            let (shared, told) = &*pending.shared;
            let waiting = |shared: &mut Shared| shared.done.is_none();
            drop(told.wait_timeout_while(lock(shared), LATE, waiting));
        }
        let nothing = || Error::Device { op: "read".into(), message: "the copy did not arrive".into() };
        self.arrived()?.ok_or_else(nothing)
    }

    /// Waits for the bytes, blocking the thread or awaiting them.
    ///
    /// # Errors
    /// As [`Readback::take`].
    pub async fn finish(&mut self, how: Wait) -> Result<Vec<u8>> {
        match how {
            Wait::Block => self.wait(),
            Wait::Await => self.arrive().await,
        }
    }

    /// The bytes as a future. Whatever executor polls it: a thread waits for the device and wakes it.
    pub fn arrive(&mut self) -> impl Future<Output = Result<Vec<u8>>> + Send {
        Arrival(self)
    }

    fn arrived(&mut self) -> Result<Option<Vec<u8>>> {
        self.gpu.check()?;
        let Some(pending) = &self.pending else { return Ok(None) };
        let Some(done) = lock(&pending.shared.0).done.take() else { return Ok(None) };
        let bytes = pending.bytes;
        self.pending = None;
        let fail = |message: String| Error::Device { op: "read".into(), message };
        done.map_err(fail)?;
        let view = self.staging.0.get_mapped_range(0..bytes).map_err(|e| fail(e.to_string()))?;
        let copy = view.to_vec();
        drop(view);
        self.staging.0.unmap();
        Ok(Some(copy))
    }
}

struct Arrival<'a>(&'a mut Readback);

impl Future for Arrival<'_> {
    type Output = Result<Vec<u8>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.arrived() {
            Ok(Some(bytes)) => return Poll::Ready(Ok(bytes)),
            Err(error) => return Poll::Ready(Err(error)),
            Ok(None) => {}
        }
        let device = self.0.gpu.device().clone();
        let Some(pending) = &mut self.0.pending else {
            return Poll::Ready(Err(Error::Device { op: "read".into(), message: "no copy was started".into() }));
        };
        let mut shared = lock(&pending.shared.0);
        if shared.done.is_some() {
            context.waker().wake_by_ref();
        }
        shared.waker = Some(context.waker().clone());
        drop(shared);
        if !pending.waiter {
            pending.waiter = true;
            let submission_index = Some(pending.submission.clone());
            let told = pending.shared.clone();
            let waiter = std::thread::Builder::new().name("strait readback".into()).spawn(move || {
                if let Err(e) = device.poll(wgpu::PollType::Wait { submission_index, timeout: None }) {
                    // The callback will not come any more.
                    tell(&told, Err(e.to_string()));
                }
            });
            if let Err(e) = waiter {
                return Poll::Ready(Err(Error::Device { op: "read".into(), message: e.to_string() }));
            }
        }
        Poll::Pending
    }
}

impl Drop for Readback {
    fn drop(&mut self) {
        // A map that is under way would otherwise outlive its owner.
        self.discard();
    }
}

/// Notes how a copy ended and wakes who waits for it.
fn tell(shared: &(Mutex<Shared>, Condvar), done: std::result::Result<(), String>) {
    let mut told = lock(&shared.0);
    told.done.get_or_insert(done);
    shared.1.notify_all();
    if let Some(waker) = told.waker.take() {
        waker.wake();
    }
}

impl Gpu {
    /// Reads f32 values back and waits for them.
    ///
    /// # Errors
    /// As [`Readback::wait`].
    pub fn read(&self, buffer: &Buffer, first: usize, count: usize) -> Result<Vec<f32>> {
        let (start, bytes) = ((first as u64).saturating_mul(4), (count as u64).saturating_mul(4));
        buffer.check("read", start, bytes)?;
        let mut readback = Readback::new(self, bytes)?;
        readback.start(&[(buffer, start..start + bytes)])?;
        Ok(bytemuck::pod_collect_to_vec(&readback.wait()?))
    }
}
