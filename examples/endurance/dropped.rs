//! Futures that are dropped half-way, beside threads that train and poll on the same device.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

use super::outcome::Outcome;
use super::{rows, spec, watched};
use strait::{Gpu, Session, Training, wgpu};

/// What became of the futures.
#[derive(Debug)]
pub struct Dropped {
    /// Dropped while their results were on the way.
    pub dropped: usize,
    /// Finished at the first poll.
    pub finished: usize,
    /// Buffers on the device that were not there before.
    pub buffers: isize,
}

/// Drops `count` futures of [`Session::encode_async`] at changing moments, each on top of the one before, and asks now
/// and then whether codes are still right.
pub fn run(count: usize) -> Outcome<Dropped> {
    let mut left = count;
    let mut sum = Dropped { dropped: 0, finished: 0, buffers: 0 };
    let gpu = Gpu::new()?;
    while left > 0 {
        // Parts that a slow machine, too, gets through before they count as hanging.
        let now = left.min(500);
        left -= now;
        let gpu = gpu.clone();
        let part = watched("dropped futures", move || beside_load(&gpu, now).map_err(|e| e.to_string()))?;
        sum = Dropped {
            dropped: sum.dropped + part.dropped,
            finished: sum.finished + part.finished,
            buffers: sum.buffers + part.buffers,
        };
    }
    Ok(sum)
}

fn beside_load(gpu: &Gpu, count: usize) -> Outcome<Dropped> {
    let data = rows(1500)?;
    let mut session = Session::new(gpu, &spec(), Training::default())?;
    session.load(&data)?;
    let expected = session.encode(data.values())?;
    let mut other = Session::new(gpu, &spec(), Training { epochs: 1 << 40, batch: 32, ..Training::default() })?;
    other.load(&data)?;
    // What was written counts until it was submitted and has run.
    let held = |other: &mut Session| -> strait::Result<isize> {
        other.step(1)?;
        gpu.wait()?;
        while other.progress()?.is_some() {}
        Ok(gpu.device().get_internal_counters().hal.buffers.read())
    };
    let (before, over) = (held(&mut other)?, AtomicBool::new(false));
    let (dropped, finished) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let _ = gpu.device().poll(wgpu::PollType::Poll);
            }
        });
        let training = scope.spawn(|| -> strait::Result<()> {
            while !over.load(Relaxed) {
                other.step(4)?;
                gpu.wait()?;
                while other.progress()?.is_some() {}
            }
            Ok(())
        });
        let outcome = drop_them(&mut session, data.values(), &expected, count);
        over.store(true, Relaxed);
        let trained = training.join().map_err(|_| "the training beside it panicked")?;
        trained.map_err(|e| format!("the training beside it: {e}"))?;
        outcome
    })?;
    Ok(Dropped { dropped, finished, buffers: held(&mut other)? - before })
}

fn drop_them(session: &mut Session, values: &[f32], expected: &[f32], count: usize) -> Outcome<(usize, usize)> {
    let (mut dropped, mut finished) = (0, 0);
    let mut context = Context::from_waker(Waker::noop());
    for i in 0..count {
        // One part of a request, or two.
        let rows = if i % 5 == 0 { 1500 } else { 1 + i % 40 };
        let found = {
            let mut codes = pin!(session.encode_async(&values[..rows * 3]));
            let polled = codes.as_mut().poll(&mut context);
            // Now at once, now when the copy is about to arrive.
            match i % 4 {
                0 => {}
                1 => std::thread::yield_now(),
                n => std::thread::sleep(Duration::from_micros(20 * n as u64)),
            }
            polled.is_ready()
        };
        *(if found { &mut finished } else { &mut dropped }) += 1;
        if i % 500 == 0 && session.encode(values)? != expected {
            return Err(format!("the codes behind {i} dropped futures are others").into());
        }
    }
    Ok((dropped, finished))
}
