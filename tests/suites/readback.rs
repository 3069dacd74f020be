//! Reading back: copies that are dropped or fail, and executors that do more than wake.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::common::own_gpu;
use strait::gpu::{Buffer, Gpu};
use strait::internals::gpu::Readback;
use strait::{Error, wgpu};

/// A buffer of 64 values, all the same.
fn filled(gpu: &Gpu, value: f32) -> Buffer {
    let buffer = gpu.buffer("values", 256).unwrap();
    gpu.write(&buffer, 0, bytemuck::cast_slice(&[value; 64])).unwrap();
    buffer
}

fn values(bytes: Vec<u8>) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&bytes)
}

#[test]
fn a_copy_that_failed_does_not_spoil_the_next() {
    let gpu = own_gpu();
    let good = filled(&gpu, 3.0);
    // Nothing may be copied out of it.
    let usage = wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false };
    let bad = Buffer::adopt(gpu.device().create_buffer(&descriptor));
    let mut readback = Readback::new(&gpu, 256).unwrap();
    for _ in 0..3 {
        let refused = readback.start(&[(&bad, 0..256)]);
        assert!(matches!(refused, Err(Error::Device { .. })), "{refused:?}");
        assert!(!readback.busy());
        gpu.wait().unwrap();
        readback.start(&[(&good, 0..256)]).unwrap();
        assert_eq!(values(readback.wait().unwrap()), [3.0; 64]);
    }
}

#[test]
fn a_copy_that_nobody_waits_for_does_not_spoil_the_next() {
    let gpu = own_gpu();
    let buffers = [filled(&gpu, 1.0), filled(&gpu, 2.0)];
    let mut readback = Readback::new(&gpu, 256).unwrap();
    for round in 0..20 {
        // Forgotten before, while and after it arrives.
        readback.start(&[(&buffers[0], 0..256)]).unwrap();
        match round % 3 {
            0 => {}
            1 => gpu.device().poll(wgpu::PollType::Poll).map(drop).unwrap(),
            _ => gpu.wait().unwrap(),
        }
        readback.discard();
        assert!(!readback.busy() && readback.take().unwrap().is_none());
        readback.start(&[(&buffers[1], 0..256)]).unwrap();
        assert_eq!(values(readback.wait().unwrap()), [2.0; 64], "round {round}");
    }
}

type Bytes = strait::Result<Vec<u8>>;

/// Polls the future right where it is woken, as some executors do.
struct Eager {
    future: Mutex<Option<Pin<Box<dyn Future<Output = Bytes> + Send>>>>,
    result: Mutex<Option<Bytes>>,
    polled: AtomicUsize,
}

impl Eager {
    fn poll(self: &Arc<Eager>) {
        self.polled.fetch_add(1, Relaxed);
        // Woken while it polls, it would poll again.
        let Some(mut future) = self.future.lock().unwrap().take() else { return };
        let waker = Waker::from(self.clone());
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => *self.result.lock().unwrap() = Some(result),
            Poll::Pending => *self.future.lock().unwrap() = Some(future),
        }
    }
}

impl Wake for Eager {
    fn wake(self: Arc<Eager>) {
        // Long enough for whoever polled last to have put the future back.
        std::thread::sleep(Duration::from_millis(20));
        self.poll();
    }
}

#[test]
fn an_executor_may_poll_while_it_is_woken() {
    let gpu = own_gpu();
    let buffer = filled(&gpu, 5.0);
    for round in 0..10 {
        let mut readback = Readback::new(&gpu, 256).unwrap();
        readback.start(&[(&buffer, 0..256)]).unwrap();
        let future = Box::pin(async move { readback.arrive().await });
        let (result, polled) = Default::default();
        let eager = Arc::new(Eager { future: Mutex::new(Some(future)), result, polled });
        eager.poll();
        let begun = Instant::now();
        while eager.result.lock().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "round {round}: it is stuck");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(values(eager.result.lock().unwrap().take().unwrap().unwrap()), [5.0; 64]);
        assert!(eager.polled.load(Relaxed) <= 2, "polled again and again");
    }
}

/// A waker that tells when it is woken.
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Counts>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The copy that is waited for comes after a large one, so that it ends long after the future is dropped: a future that is
/// dropped in the moment in which it is woken may be woken all the same.
#[test]
fn a_dropped_future_wakes_nobody() {
    const LARGE: u64 = 32 << 20;
    let gpu = own_gpu();
    let (buffer, large) = (filled(&gpu, 5.0), gpu.buffer("large", LARGE).unwrap());
    let counts = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = Waker::from(counts.clone());
    let mut readback = Readback::new(&gpu, 256).unwrap();
    let mut before = Readback::new(&gpu, LARGE).unwrap();
    let mut pending = 0;
    for _ in 0..20 {
        before.start(&[(&large, 0..LARGE)]).unwrap();
        readback.start(&[(&buffer, 0..256)]).unwrap();
        {
            let mut arrival = std::pin::pin!(readback.arrive());
            pending += usize::from(arrival.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let woken = counts.0.load(Relaxed);
        gpu.wait().unwrap();
        readback.discard();
        before.discard();
        assert_eq!(counts.0.load(Relaxed), woken);
    }
    assert!(pending > 0, "nothing was at stake");
}
