//! Runs whose device is lost, again and again, and that go on from their last snapshot on another; and runs whose futures are
//! dropped. Both end as a run that nobody disturbed, to the bit.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::losses::{self, KINDS, OPERATIONS};
use super::outcome::Outcome;
use super::pending::until_pending;
use super::{rows, spec, watched};
use strait::{Data, Error, Gpu, Session, Snapshot, Stop, Training};

/// Steps of a run: 5 an epoch.
const EPOCHS: u64 = 20;

fn training() -> Training {
    Training { batch: 8, epochs: EPOCHS, ..Training::default() }
}

fn begun(gpu: &Gpu) -> strait::Result<Session> {
    Session::new(gpu, &spec().gaussian_corruption(0.1), training())
}

fn bits(session: &Session) -> strait::Result<Vec<u32>> {
    Ok(session.parameters()?.concat().into_iter().map(f32::to_bits).collect())
}

/// What a run comes to that nobody disturbs, and how long it takes on a device on which nothing was compiled.
fn undisturbed(data: &Data) -> Outcome<(Vec<u32>, Duration)> {
    let gpu = Gpu::new()?;
    let begin = Instant::now();
    let mut session = begun(&gpu)?;
    session.fit(data)?;
    Ok((bits(&session)?, begin.elapsed()))
}

/// What became of runs whose devices were lost.
#[derive(Debug)]
pub struct Lives {
    /// Runs that came to their end, all as they should.
    pub ended: usize,
    /// Devices on which a run came further than its snapshot from the device before.
    pub further: usize,
}

/// Loses `count` devices, each at some time while a run and an operation of another session take turns on it.
pub fn run(count: usize) -> Outcome<Lives> {
    let data = rows(40)?;
    let (whole, time) = undisturbed(&data)?;
    let (mut kept, mut lives): (Option<Snapshot>, Lives) = (None, Lives { ended: 1, further: 0 });
    for i in 0..count {
        let what = format!("life {i}");
        let (data, whole, before) = (data.clone(), whole.clone(), kept.take());
        let from = before.as_ref().map_or(0, Snapshot::step);
        // At all times of a run and of what goes on beside it: a part of twice as long, spread by the golden section.
        let until = time.mul_f64(2.0 * (i as f64 * 0.618_034).fract());
        let (after, over) = watched(&what, move || live(i, until, &data, &whole, before).map_err(|e| e.to_string()))?;
        lives.ended += usize::from(over);
        lives.further += usize::from(over || after.as_ref().is_some_and(|after| after.step() > from));
        kept = after;
    }
    // The last one lives.
    let gpu = Gpu::new()?;
    let mut session = kept.map_or_else(|| begun(&gpu), |snapshot| Session::restore(&gpu, &snapshot))?;
    session.fit(&data)?;
    if bits(&session)? != whole {
        return Err("the run that outlived its devices came to something else".into());
    }
    Ok(lives)
}

/// Goes on with a run until its device is lost, after this time. Returns its last snapshot, none where it came to its end.
fn live(
    i: usize,
    until: Duration,
    data: &Data,
    whole: &[u32],
    before: Option<Snapshot>,
) -> Outcome<(Option<Snapshot>, bool)> {
    let folder = tempfile::tempdir()?;
    let kind = KINDS[i % KINDS.len()];
    let (name, operation) = OPERATIONS[i % OPERATIONS.len()];
    let mut host = losses::host(kind, folder.path().join("model"))?;
    let mut session = match &before {
        Some(snapshot) => Session::restore(&host.gpu, snapshot)?,
        None => begun(&host.gpu)?,
    };
    session.snapshot_every(Some(1 + i as u64 % 7));
    let device = host.gpu.device().clone();
    let losing = std::thread::spawn(move || {
        std::thread::sleep(until);
        device.destroy();
    });
    let mut over = false;
    let lost = loop {
        if let Err(error) = operation(&mut host) {
            break error;
        }
        match session.fit_with(data, |_| ControlFlow::Break(())) {
            Err(error) => break error,
            Ok(fit) if fit.stop == Stop::Done && !over => {
                over = true;
                match bits(&session) {
                    Ok(found) if found == whole => {}
                    Ok(_) => return Err("a run came to something else".into()),
                    Err(error) => break error,
                }
            }
            Ok(_) => {}
        }
    };
    losing.join().map_err(|_| "destroying the device panicked")?;
    match lost {
        Error::DeviceLost { .. } => {}
        other => return Err(format!("{kind:?}, during {name}: {other}").into()),
    }
    // One that came to its end begins anew.
    let after = session.last_snapshot().cloned().or(before).filter(|_| !over);
    Ok((after, over))
}

/// Drops `count` futures of [`Session::fit_async`] at changing moments, on a device of strait's own and on a host's, and takes
/// each run up where it stands. Returns how many runs came to their end, all as they should.
pub fn dropped(count: usize) -> Outcome<usize> {
    let data = rows(40)?;
    let (whole, _) = undisturbed(&data)?;
    let mut ended = 0;
    let gpus = [losses::device(KINDS[0])?, losses::device(KINDS[1])?];
    let mut left = count;
    while left > 0 {
        let now = left.min(250);
        left -= now;
        for gpu in &gpus {
            let (data, whole, gpu) = (data.clone(), whole.clone(), gpu.clone());
            let part = move || drop_them(&gpu, &data, &whole, now / 2).map_err(|e| e.to_string());
            ended += watched("dropped runs", part)?;
        }
    }
    Ok(ended)
}

fn drop_them(gpu: &Gpu, data: &Data, whole: &[u32], count: usize) -> Outcome<usize> {
    let (mut session, mut ended) = (begun(gpu)?, 0);
    for i in 0..count {
        // In the middle of loading, or of the run.
        let fit = until_pending(session.fit_async(data, |_| ControlFlow::Continue(())), i * 7 % 61);
        if fit.transpose()?.is_some_and(|fit| fit.stop == Stop::Done) {
            if bits(&session)? != whole {
                return Err(format!("a run whose futures were dropped came to something else, after {i}").into());
            }
            (session, ended) = (begun(gpu)?, ended + 1);
        }
    }
    session.fit(data)?;
    if bits(&session)? != whole {
        return Err("a run whose futures were dropped came to something else".into());
    }
    Ok(ended + 1)
}
