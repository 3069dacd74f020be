//! A run as a future, on an executor of one thread beside a timer: how soon a timeout around it fires, and how late the timer
//! is.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use strait::{Activation, Data, Gpu, Session, Spec, Training};

/// After how long the run is given up the first time,
const TIMEOUT: Duration = Duration::from_millis(50);

/// and how often the timer fires.
const TICK: Duration = Duration::from_millis(2);

/// What was seen, in milliseconds.
#[derive(Debug)]
pub struct Awaited {
    /// From the start of a run whose kernels were never compiled to the timeout of 50 ms around it.
    pub timeout: f64,
    /// The 99th percentile of the gaps between two ticks of the timer while the run went on to its end.
    pub gap: f64,
    /// The longest that the future kept the thread at a time.
    pub longest: f64,
    /// Reports of the run, and how often its future gave the thread back.
    pub reports: usize,
    pub pending: usize,
}

/// A future that is watched: how long each poll took, and how many of them did not end it.
struct Watched<F> {
    future: F,
    polls: Arc<Mutex<Vec<f64>>>,
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let begun = Instant::now();
        let polled = Pin::new(&mut self.future).poll(context);
        if let Ok(mut polls) = self.polls.lock() {
            polls.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        polled
    }
}

/// A run of a model of 784-300-150 over so many rows, which is cut off once and then taken up.
pub fn run(rows: usize, epochs: u64) -> Outcome<Awaited> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let spec = Spec::symmetric(&[784, 300, 150], Activation::Elu);
    let data = Data::from_rows(784, (0..rows * 784).map(|i| (i * 37 % 101) as f32 / 101.0).collect())?;
    let mut session = Session::new(&Gpu::new()?, &spec, Training { epochs, batch: 16, ..Training::default() })?;
    let begun = Instant::now();
    let timeout = runtime.block_on(async {
        let fit = pin!(session.fit_async(&data, |_| ControlFlow::Continue(())));
        let cut = tokio::time::timeout(TIMEOUT, fit).await.is_err();
        cut.then(|| begun.elapsed().as_secs_f64() * 1e3)
    });
    let timeout = timeout.ok_or("the run ended within its timeout")?;
    let gaps: Arc<Mutex<Vec<f64>>> = Arc::default();
    let (mut reports, polls) = (0, Arc::default());
    runtime.block_on(async {
        let kept = gaps.clone();
        let ticking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            let mut last = Instant::now();
            loop {
                ticks.tick().await;
                if let Ok(mut gaps) = kept.lock() {
                    gaps.push(last.elapsed().as_secs_f64() * 1e3);
                }
                last = Instant::now();
            }
        });
        let fit = pin!(session.fit_async(&data, |_| {
            reports += 1;
            ControlFlow::Continue(())
        }));
        let fit = Watched { future: fit, polls: Arc::clone(&polls) }.await;
        ticking.abort();
        fit
    })?;
    let mut gaps = gaps.lock().map(|gaps| gaps.clone()).unwrap_or_default();
    let polls = polls.lock().map(|polls: std::sync::MutexGuard<'_, Vec<f64>>| polls.clone()).unwrap_or_default();
    gaps.sort_by(f64::total_cmp);
    let gap = gaps.get(gaps.len() * 99 / 100).copied().ok_or("the timer never fired")?;
    let longest = polls.iter().copied().fold(0.0, f64::max);
    Ok(Awaited { timeout, gap, longest, reports, pending: polls.len().saturating_sub(1) })
}
