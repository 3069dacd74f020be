//! Runs whose device is lost, again and again, and that go on from their last snapshot on another; and runs whose futures are
//! dropped. Both end as a run that nobody disturbed, to the bit.

use std::ops::ControlFlow;
use std::time::Duration;

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

/// What a run comes to that nobody disturbs.
fn undisturbed(data: &Data) -> Outcome<Vec<u32>> {
    let mut session = begun(&Gpu::new()?)?;
    session.fit(data)?;
    Ok(bits(&session)?)
}

/// Loses `count` devices, each at some time while a run and an operation of another session take turns on it. Returns how
/// many runs came to their end meanwhile, all as they should.
pub fn run(count: usize) -> Outcome<usize> {
    let data = rows(40)?;
    let whole = undisturbed(&data)?;
    let (mut kept, mut ended): (Option<Snapshot>, usize) = (None, 0);
    for i in 0..count {
        let what = format!("life {i}");
        let (data, whole, before) = (data.clone(), whole.clone(), kept.take());
        let (after, over) = watched(&what, move || live(i, &data, &whole, before).map_err(|e| e.to_string()))?;
        (kept, ended) = (after, ended + usize::from(over));
    }
    // The last one lives.
    let gpu = Gpu::new()?;
    let mut session = kept.map_or_else(|| begun(&gpu), |snapshot| Session::restore(&gpu, &snapshot))?;
    session.fit(&data)?;
    if bits(&session)? != whole {
        return Err("the run that outlived its devices came to something else".into());
    }
    Ok(ended + 1)
}

/// Goes on with a run until its device is lost. Returns its last snapshot, none where it came to its end.
fn live(i: usize, data: &Data, whole: &[u32], before: Option<Snapshot>) -> Outcome<(Option<Snapshot>, bool)> {
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
        std::thread::sleep(Duration::from_micros((i * 397 % 9000) as u64));
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
    let whole = undisturbed(&data)?;
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
