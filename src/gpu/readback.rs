//! Reading back: a staging buffer that is made once, and a copy out of the GPU that can be waited for or awaited.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::buffer::Buffer;
use super::context::{Gpu, lock};
use super::program::{Work, record};
use super::timing::Clock;
use super::waiter::pause;
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
///
/// The buffer is mapped by the device, at some time after the copy, and unmapped here once its bytes were taken. While
/// a map is pending nobody unmaps: another thread that polls may be mapping at that moment, and the buffer would stay
/// mapped for good. So a copy that nobody waits for any more is left to arrive; the next one unmaps the buffer if that
/// has happened, and else takes a new buffer.
#[derive(Debug)]
pub struct Readback {
    gpu: Gpu,
    staging: Buffer,
    usage: Use,
}

/// What the staging buffer is used for.
#[derive(Debug)]
enum Use {
    /// Nothing: it is not mapped, and will not be.
    Free,
    /// A copy that is under way.
    Pending(Pending),
    /// A copy that nobody waits for any more.
    Forgotten(Arc<Shared>),
    /// A copy that failed. Nobody knows whether the buffer is mapped, so it is used no more.
    Failed,
}

#[derive(Debug)]
struct Pending {
    bytes: u64,
    shared: Arc<Shared>,
    submission: wgpu::SubmissionIndex,
    waiter: bool,
}

/// What the device's callback and whoever waits for it have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    copy: Mutex<Copy>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Copy {
    done: Option<std::result::Result<(), String>>,
    waker: Option<Waker>,
}

impl Shared {
    /// Notes how the copy ended and wakes who waits for it: not under the lock, since an executor may poll, or drop a
    /// future, while it is woken.
    pub fn tell(&self, done: std::result::Result<(), String>) {
        let waker = {
            let mut copy = lock(&self.copy);
            copy.done.get_or_insert(done);
            copy.waker.take()
        };
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Sets who is to be woken, unless the copy has ended. True where it has.
    fn ended_or_wakes(&self, waker: &Waker) -> bool {
        // Cloning and dropping a waker, too, runs an executor's code.
        let mut waker = Some(waker.clone());
        let mut copy = lock(&self.copy);
        let ended = copy.done.is_some();
        if !ended {
            std::mem::swap(&mut copy.waker, &mut waker);
        }
        drop(copy);
        ended
    }

    /// Wakes nobody any more.
    fn forget(&self) {
        let waker = lock(&self.copy).waker.take();
        drop(waker);
    }
}

impl Readback {
    /// Room for `bytes`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Readback> {
        Ok(Readback { gpu: gpu.clone(), staging: staging(gpu, bytes)?, usage: Use::Free })
    }

    /// The staging buffer.
    pub fn buffer(&self) -> &Buffer {
        &self.staging
    }

    /// Whether a copy is under way of which it is not known yet that it has arrived. Whoever polls the device finds
    /// out.
    pub fn waits(&self) -> bool {
        match &self.usage {
            Use::Pending(pending) => lock(&pending.shared.copy).done.is_none(),
            _ => false,
        }
    }

    /// Whether a copy is under way.
    pub fn busy(&self) -> bool {
        matches!(self.usage, Use::Pending(_))
    }

    /// Copies ranges of buffers, one after the other, behind everything submitted so far.
    ///
    /// # Errors
    /// [`Error::Spec`] where a range does not fit; [`Error::Device`] where a copy is under way; [`Error::DeviceLost`].
    pub fn start(&mut self, parts: &[(&Buffer, Range<u64>)]) -> Result<()> {
        self.start_after([], None, parts)
    }

    /// Submits work, timed by a clock where one is given, and after it the copies, as one. A driver that works inside
    /// such a call, or lets one submit wait for the one before, would keep the caller waiting for the work if the
    /// copies were another.
    ///
    /// # Errors
    /// As [`Readback::start`], also where the device refuses the work: then none of it is done.
    pub fn start_after<'a>(
        &mut self,
        work: impl IntoIterator<Item = Work<'a>>,
        clock: Option<&Clock>,
        parts: &[(&Buffer, Range<u64>)],
    ) -> Result<()> {
        let mut bytes = 0;
        for (from, range) in parts {
            from.check("read", range.start, range.end.saturating_sub(range.start))?;
            bytes += range.end.saturating_sub(range.start);
        }
        if self.busy() || bytes > self.staging.bytes() {
            let message = format!("{bytes} bytes into a staging buffer of {}", self.staging.bytes());
            return Err(Error::Device { op: "read".into(), message });
        }
        self.free()?;
        let gpu = self.gpu.clone();
        let shared = Arc::new(Shared::default());
        self.usage = Use::Failed;
        let submission = gpu.scoped("read", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            record(&mut encoder, work, clock);
            let mut at = 0;
            for (from, range) in parts {
                let length = range.end.saturating_sub(range.start);
                encoder.copy_buffer_to_buffer(&from.raw, from.start + range.start, &self.staging.raw, at, length);
                at += length;
            }
            let submission = gpu.queue().submit([encoder.finish()]);
            let told = shared.clone();
            self.staging.raw.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                told.tell(result.map_err(|e| e.to_string()));
            });
            submission
        })?;
        // A lost device refuses at once, and reports nothing.
        if let Some(Err(message)) = &lock(&shared.copy).done {
            return Err(gpu.failure("read", message));
        }
        self.usage = Use::Pending(Pending { bytes, shared, submission, waiter: false });
        Ok(())
    }

    /// Sees to it that the staging buffer is not mapped, and will not be before the next copy.
    fn free(&mut self) -> Result<()> {
        let mapped = match &self.usage {
            Use::Free | Use::Pending(_) => return Ok(()),
            Use::Forgotten(shared) => matches!(lock(&shared.copy).done, Some(Ok(()))),
            Use::Failed => false,
        };
        if !mapped || self.gpu.scoped("read", |_| self.staging.raw.unmap()).is_err() {
            // What is dropped may still be mapped: wgpu sees to its end.
            self.staging = staging(&self.gpu, self.staging.bytes())?;
        }
        self.usage = Use::Free;
        Ok(())
    }

    /// The bytes, if they have arrived; never blocks.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`] where the copy failed.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>> {
        self.gpu.poll_once()?;
        self.arrived(<[u8]>::to_vec)
    }

    /// Forgets a copy that nobody waits for any more, so that another can be started.
    pub fn discard(&mut self) {
        if let Use::Pending(pending) = &self.usage {
            let shared = pending.shared.clone();
            shared.forget();
            self.usage = Use::Forgotten(shared);
        }
    }

    /// Waits for the bytes.
    ///
    /// # Errors
    /// As [`Readback::take`].
    pub fn wait(&mut self) -> Result<Vec<u8>> {
        self.wait_with(<[u8]>::to_vec)
    }

    fn wait_with<R>(&mut self, see: impl FnMut(&[u8]) -> R) -> Result<R> {
        self.gpu.check()?;
        if let Use::Pending(pending) = &self.usage {
            let submission_index = Some(pending.submission.clone());
            self.gpu.poll(wgpu::PollType::Wait { submission_index, timeout: None })?;
            // Another thread's poll may have taken the callback and not yet called it.
            let Shared { copy, arrived } = &*pending.shared;
            drop(arrived.wait_timeout_while(lock(copy), LATE, |copy| copy.done.is_none()));
        }
        match self.arrived(see)? {
            Some(seen) => Ok(seen),
            None => Err(self.gpu.failure("read", "the copy did not arrive")),
        }
    }

    /// Waits for the bytes, blocking the thread or awaiting them.
    ///
    /// # Errors
    /// As [`Readback::take`].
    pub async fn finish(&mut self, how: Wait) -> Result<Vec<u8>> {
        self.finish_with(how, <[u8]>::to_vec).await
    }

    /// As [`Readback::finish`], where the bytes are seen where they lie, without a copy of them.
    pub async fn finish_with<R>(&mut self, how: Wait, see: impl FnMut(&[u8]) -> R + Send + Unpin) -> Result<R> {
        match how {
            Wait::Block => self.wait_with(see),
            Wait::Await => {
                // A driver that works inside the submit has its results there already. Others of the executor get their
                // turn all the same.
                pause(how).await;
                Arrival { readback: self, see }.await
            }
        }
    }

    /// The bytes as a future. Whatever executor polls it: the device's thread waits for the device and wakes it, or the
    /// host's polls do ([`Gpu::polled_by_host`]).
    pub fn arrive(&mut self) -> impl Future<Output = Result<Vec<u8>>> + Send {
        Arrival { readback: self, see: <[u8]>::to_vec }
    }

    /// What is seen in the bytes, if they have arrived.
    fn arrived<R>(&mut self, mut see: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        self.gpu.check()?;
        let Use::Pending(pending) = &self.usage else { return Ok(None) };
        let Some(done) = lock(&pending.shared.copy).done.take() else { return Ok(None) };
        let bytes = pending.bytes;
        self.usage = Use::Failed;
        done.map_err(|message| self.gpu.failure("read", message))?;
        let seen = self.gpu.scoped("read", |_| {
            let view = self.staging.raw.get_mapped_range(0..bytes).map_err(|e| e.to_string())?;
            let seen = see(&view);
            drop(view);
            self.staging.raw.unmap();
            Ok(seen)
        })?;
        let seen = seen.map_err(|message: String| self.gpu.failure("read", message))?;
        self.usage = Use::Free;
        Ok(Some(seen))
    }
}

fn staging(gpu: &Gpu, bytes: u64) -> Result<Buffer> {
    gpu.buffer_for("readback", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
}

struct Arrival<'a, F> {
    readback: &'a mut Readback,
    see: F,
}

impl<R, F: FnMut(&[u8]) -> R + Unpin> Future for Arrival<'_, F> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Arrival { readback, see } = &mut *self;
        loop {
            match readback.arrived(&mut *see) {
                Ok(Some(seen)) => return Poll::Ready(Ok(seen)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => {}
            }
            let gpu = readback.gpu.clone();
            let Use::Pending(pending) = &mut readback.usage else {
                return Poll::Ready(Err(gpu.failure("read", "no copy was started")));
            };
            if pending.shared.ended_or_wakes(context.waker()) {
                continue;
            }
            if !pending.waiter
                && let Some(waiter) = gpu.waiter()
            {
                waiter.wait(gpu.clone(), pending.submission.clone(), pending.shared.clone())?;
                pending.waiter = true;
            }
            return Poll::Pending;
        }
    }
}

impl<F> Drop for Arrival<'_, F> {
    fn drop(&mut self) {
        if let Use::Pending(pending) = &self.readback.usage {
            pending.shared.forget();
        }
    }
}

impl Gpu {
    /// Reads f32 values back and waits for them.
    ///
    /// # Errors
    /// As [`Readback::wait`].
    #[doc(hidden)]
    pub fn read(&self, buffer: &Buffer, first: usize, count: usize) -> Result<Vec<f32>> {
        let (start, bytes) = ((first as u64).saturating_mul(4), (count as u64).saturating_mul(4));
        buffer.check("read", start, bytes)?;
        let mut readback = Readback::new(self, bytes)?;
        readback.start(&[(buffer, start..start + bytes)])?;
        Ok(bytemuck::pod_collect_to_vec(&readback.wait()?))
    }
}
