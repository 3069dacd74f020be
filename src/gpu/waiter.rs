//! Waiting without blocking: one thread a device that waits for it in the place of all who await something, and jobs that
//! keep a thread for long, on one of their own.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::context::{Gpu, lock};
use super::readback::{Shared, Wait};
use crate::error::{Error, Result};

/// How long the thread stays when nobody awaits anything: a run that is awaited has a report every few milliseconds.
const IDLE: Duration = Duration::from_millis(100);

/// A device's waiting thread, while it has one.
#[derive(Default)]
pub(super) struct Waiter {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be waited for, in the order of submission.
    queue: VecDeque<(Gpu, wgpu::SubmissionIndex, Arc<Shared>)>,
    running: bool,
}

impl Waiter {
    /// Has the thread wait for a submission, and starts it where there is none.
    ///
    /// # Errors
    /// [`Error::Device`] where no thread can be started.
    pub fn wait(self: &Arc<Waiter>, gpu: Gpu, submission: wgpu::SubmissionIndex, told: Arc<Shared>) -> Result<()> {
        let mut state = lock(&self.state);
        state.queue.push_back((gpu, submission, told));
        if !state.running {
            let waiter = self.clone();
            let started = std::thread::Builder::new().name("strait waits".into()).spawn(move || waiter.run());
            if let Err(e) = started {
                state.queue.pop_back();
                return Err(Error::Device { op: "read".into(), message: e.to_string() });
            }
            state.running = true;
        }
        self.more.notify_one();
        Ok(())
    }

    fn run(&self) {
        loop {
            let next = {
                let state = lock(&self.state);
                let waited = self.more.wait_timeout_while(state, IDLE, |state| state.queue.is_empty());
                let (mut state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
                // While it is idle it keeps no device.
                let next = state.queue.pop_front();
                state.running = next.is_some();
                next
            };
            let Some((gpu, submission, told)) = next else { return };
            let tell = |what: String| told.tell(Err(what));
            let wait = || {
                // Where this fails the callback will not come any more.
                let waited = gpu.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None });
                waited.unwrap_or_else(|e| tell(e.to_string()));
            };
            // Callbacks and wakers are the host's, and a panic of theirs is not the end of this thread.
            if catch_unwind(AssertUnwindSafe(wait)).is_err() {
                let _ = catch_unwind(AssertUnwindSafe(|| tell("a callback of the host's panicked".into())));
            }
        }
    }
}

/// Lets others have the thread for once, where the caller awaits.
pub(crate) async fn pause(how: Wait) {
    if how == Wait::Await {
        Pause(false).await;
    }
}

struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Does a job that may take long, such as compiling: here, or on a thread of its own where the caller awaits. What it tells
/// on its way reaches `report` on the caller's thread. Where the future is dropped the job comes to its end for nobody, so it
/// changes nothing that others see.
///
/// # Errors
/// What the job fails with; [`Error::Device`] where no thread can be started.
pub(crate) async fn apart<T: Send + 'static, P: Send + 'static>(
    how: Wait,
    report: &mut (dyn FnMut(P) + Send),
    job: impl FnOnce(&dyn Fn(P)) -> Result<T> + Send + 'static,
) -> Result<T> {
    if how == Wait::Block {
        let report = std::cell::RefCell::new(report);
        return job(&|told| (report.borrow_mut())(told));
    }
    let shared: Arc<Mutex<Job<T, P>>> = Arc::new(Mutex::new(Job { told: VecDeque::new(), ended: None, waker: None }));
    let theirs = shared.clone();
    let started = std::thread::Builder::new().name("strait compiles".into()).spawn(move || {
        let tell = |told| Job::change(&theirs, |job| job.told.push_back(told));
        let ended = catch_unwind(AssertUnwindSafe(|| job(&tell)));
        let ended = ended.unwrap_or_else(|_| Err(Error::Internal("a job panicked".into())));
        Job::change(&theirs, |job| job.ended = Some(ended));
    });
    started.map_err(|e| Error::Device { op: "compile".into(), message: e.to_string() })?;
    Ended { shared, report }.await
}

/// What a job and whoever awaits it have in common.
struct Job<T, P> {
    told: VecDeque<P>,
    ended: Option<Result<T>>,
    waker: Option<Waker>,
}

impl<T, P> Job<T, P> {
    /// Changes it and wakes who awaits it, not under the lock.
    fn change(shared: &Mutex<Job<T, P>>, change: impl FnOnce(&mut Job<T, P>)) {
        let waker = {
            let mut job = lock(shared);
            change(&mut job);
            job.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Ended<'a, T, P> {
    shared: Arc<Mutex<Job<T, P>>>,
    report: &'a mut (dyn FnMut(P) + Send),
}

impl<T, P> Future for Ended<'_, T, P> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        // Cloning and dropping a waker runs an executor's code, so it is not done under the lock.
        let mut waker = Some(context.waker().clone());
        let (told, ended) = {
            let mut job = lock(&self.shared);
            std::mem::swap(&mut job.waker, &mut waker);
            (std::mem::take(&mut job.told), job.ended.take())
        };
        drop(waker);
        told.into_iter().for_each(|told| (self.report)(told));
        ended.map_or(Poll::Pending, Poll::Ready)
    }
}
